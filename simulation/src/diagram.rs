//! A history as a sequence diagram: nodes from left to right, time from top to bottom, one row for each thing that happens.
//!
//! ```text
//!   node 1                  node 2               node 3
//!   ┃ leader, term 3        │                    │
//!   ┃─── append_entries ───►│                    │
//!   ┃─── committed 4 · lost ── ✕                 │
//!   ┃                       ✕ loses power        │
//!   ╎┄┄┄┄┄┄ 7 rounds of heartbeats, 350 ms ┄┄┄┄┄┄╎
//! ```
//!
//! It holds the end of a history: what led to a violation is near it. Here is what is kept of a history; `fold` makes rows
//! of it, and `drawing` draws them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use outrigger::engine::{AppendOutcome, Message, NodeId, RoleKind, Term};

mod drawing;
mod fold;

use drawing::Drawing;

/// So many marks are kept. Most of them are heartbeats, and many of those share a row.
const MARKS_MAX: usize = 4_000;
/// So many rows are drawn: about what a person can follow.
const ROWS_MAX: usize = 140;

/// A message that leaves.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// A few words, for a label.
    label: String,
    /// All of it, for whoever points at the label.
    text: String,
    /// When its copies arrive; never, if it is lost.
    arrives: Vec<u64>,
    /// Whether it is lost because the link is cut.
    is_cut: bool,
    /// The term, if it is a heartbeat or the answer to one.
    heartbeat: Option<Term>,
    /// Whether it is the answer.
    is_reply: bool,
}

/// One thing that is drawn.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// A message leaves.
    Message(Sent),
    /// A node does something else from now on, or in another term.
    Role { node: NodeId, role: RoleKind, term: Term },
    /// Something happens to a process.
    Process { node: NodeId, lives: bool, text: String },
    /// A process stands still until then.
    Pause { node: NodeId, until: u64, text: String },
    /// Something happens to all.
    World { text: String },
    /// All that was on its way gets lost.
    Emptied,
}

impl Mark {
    pub(crate) fn message(
        (from, to): (NodeId, NodeId),
        message: &Message,
        arrives: impl Iterator<Item = u64>,
        is_cut: bool,
    ) -> Self {
        let (heartbeat, is_reply) = match message {
            Message::Heartbeat(it) => (Some(it.term), false),
            Message::HeartbeatReply(it) => (Some(it.term), true),
            _ => (None, false),
        };
        let (label, text) = (label(message), message.to_string());
        Self::Message(Sent { from, to, label, text, arrives: arrives.collect(), is_cut, heartbeat, is_reply })
    }
}

/// What of a message there is room for beside an arrow.
fn label(message: &Message) -> String {
    let vote = |name, granted| format!("{name} {}", if granted { "granted" } else { "refused" });
    match message {
        Message::PreVote(it) => format!("pre_vote, term {}", it.term),
        Message::PreVoteReply(it) => vote("pre_vote", it.granted),
        Message::RequestVote(it) => format!("request_vote, term {}", it.term),
        Message::RequestVoteReply(it) => format!("{}, term {}", vote("vote", it.granted), it.asked),
        Message::AppendEntries(it) => {
            let batches: Vec<_> = it.batches.iter().map(ToString::to_string).collect();
            let entries = if batches.is_empty() { "nothing".to_owned() } else { batches.join(" ") };
            format!("append_entries {entries}")
        }
        Message::AppendEntriesReply(it) => match it.outcome {
            AppendOutcome::Matched(index) => format!("has entries up to {index}"),
            AppendOutcome::Conflict { hint } => format!("conflict, hint {hint}"),
            AppendOutcome::Stale => format!("stale, own term {}", it.term),
        },
        Message::Heartbeat(it) => format!("heartbeat, term {}", it.term),
        Message::HeartbeatReply(it) => format!("heartbeat_reply, term {}", it.term),
        Message::Committed { commit, .. } => format!("committed {commit}"),
        other => other.to_string(),
    }
}

/// What a node does at some time.
#[derive(Clone, Copy, Debug)]
struct Condition {
    role: RoleKind,
    term: Term,
    lives: bool,
    paused_until: u64,
}

impl Default for Condition {
    fn default() -> Self {
        Self { role: RoleKind::Follower, term: Term(0), lives: false, paused_until: 0 }
    }
}

/// What all nodes do.
type Conditions = BTreeMap<NodeId, Condition>;

fn apply(conditions: &mut Conditions, mark: &Mark) {
    match mark {
        Mark::Role { node, role, term } => {
            let condition = conditions.entry(*node).or_default();
            *condition = Condition { role: *role, term: *term, lives: true, ..*condition };
        }
        Mark::Process { node, lives, .. } => {
            let condition = conditions.entry(*node).or_default();
            *condition = Condition { role: RoleKind::Follower, lives: *lives, paused_until: 0, ..*condition };
        }
        Mark::Pause { node, until, .. } => conditions.entry(*node).or_default().paused_until = *until,
        Mark::Message(_) | Mark::World { .. } | Mark::Emptied => {}
    }
}

/// The marks of a history, shared by the world that makes them and by whoever draws them.
#[derive(Clone, Debug, Default)]
pub struct Diagram(Rc<RefCell<Marks>>);

#[derive(Debug, Default)]
struct Marks {
    nodes: u64,
    /// With the virtual time of each, in nanoseconds; the last ones.
    marks: VecDeque<(u64, Mark)>,
    /// What each node did before the first mark that is kept.
    before: Conditions,
    /// Whether there were marks before that.
    is_cut_short: bool,
    /// When the history ended; the last mark may be earlier.
    end: u64,
}

impl Diagram {
    pub(crate) fn set_nodes(&self, nodes: u64) {
        self.0.borrow_mut().nodes = nodes;
    }

    pub(crate) fn mark(&self, now: u64, mark: Mark) {
        let marks = &mut *self.0.borrow_mut();
        marks.marks.push_back((now, mark));
        marks.end = now;
        if marks.marks.len() > MARKS_MAX
            && let Some((_, mark)) = marks.marks.pop_front()
        {
            apply(&mut marks.before, &mark);
            marks.is_cut_short = true;
        }
    }

    /// The history has ended.
    pub(crate) fn end(&self, now: u64) {
        self.0.borrow_mut().end = now;
    }

    /// Draws it as SVG, under a title and with the words of what was violated at its end.
    #[must_use]
    pub fn svg(&self, title: &str, violated: Option<&str>) -> String {
        self.drawing(title, violated).svg()
    }

    fn drawing(&self, title: &str, violated: Option<&str>) -> Drawing {
        Drawing::of(&self.0.borrow(), title, violated)
    }
}

#[cfg(test)]
mod tests;
