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
//! It holds the end of a history: what led to a violation is near it. Here is what is kept of a history; `words` says it,
//! `fold` makes rows of it, and `drawing` draws them. Small marks on a node's line are what its disk does and what its
//! clients ask and are told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use outrigger::engine::{NodeId, RoleKind, Term, Vote};

mod drawing;
mod fold;
mod style;
mod words;

use drawing::Drawing;
pub(crate) use words::{Flushed, network};

/// So many marks are kept. Most of them are heartbeats, and many of those share a row.
const MARKS_MAX: usize = 4_000;
/// So many rows are drawn: about what a person can follow.
const ROWS_MAX: usize = 160;
/// What a disk does or a client is told may be so long beside others; what is longer has a row to itself.
const TICK_LETTERS: usize = 31;

/// A message that leaves.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// A few words, for a label.
    label: String,
    /// What it has in common with those that repeat it.
    shape: String,
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
    /// A disk writes or has flushed, a client asks or is answered.
    Tick(Tick),
    /// Something happens to all.
    World { text: String },
    /// All that was on its way gets lost.
    Emptied,
}

/// Who does something small on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its disk.
    Disk,
    /// A client of it.
    Client,
    /// Its state machine.
    Machine,
    /// Its engine.
    Engine,
}

/// Something small on a node.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    node: NodeId,
    kind: Kind,
    text: String,
    /// What it has in common with those that repeat it; nothing, if each counts.
    shape: Option<String>,
    /// What the disk holds from now on.
    kept: Kept,
}

/// What a disk holds beside the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    vote: Option<Vote>,
    /// The nodes that this one has met.
    met: BTreeSet<NodeId>,
}

/// What a node does at some time.
#[derive(Clone, Debug)]
struct Condition {
    role: RoleKind,
    term: Term,
    lives: bool,
    paused_until: u64,
    kept: Kept,
}

impl Default for Condition {
    fn default() -> Self {
        Self { role: RoleKind::Follower, term: Term(0), lives: false, paused_until: 0, kept: Kept::default() }
    }
}

/// What all nodes do.
type Conditions = BTreeMap<NodeId, Condition>;

fn apply(conditions: &mut Conditions, mark: &Mark) {
    match mark {
        Mark::Role { node, role, term } => {
            let condition = conditions.entry(*node).or_default();
            (condition.role, condition.term, condition.lives) = (*role, *term, true);
        }
        Mark::Process { node, lives, .. } => {
            let condition = conditions.entry(*node).or_default();
            (condition.role, condition.lives, condition.paused_until) = (RoleKind::Follower, *lives, 0);
        }
        Mark::Pause { node, until, .. } => conditions.entry(*node).or_default().paused_until = *until,
        Mark::Tick(Tick { node, kept, .. }) => {
            let condition = conditions.entry(*node).or_default();
            condition.kept.vote = kept.vote.or(condition.kept.vote);
            condition.kept.met.extend(&kept.met);
        }
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
    /// Where it went wrong then.
    culprits: BTreeSet<NodeId>,
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

    /// It has gone wrong on these nodes.
    pub(crate) fn blame(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.borrow_mut().culprits.extend(nodes);
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

/// All nodes that a violation names.
pub(crate) fn named(violated: &str) -> impl Iterator<Item = NodeId> {
    let behind = violated.split("node ").skip(1).chain(violated.split("nodes ").skip(1));
    behind
        .flat_map(|behind| {
            let words = behind.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            words
                .map_while(|word| if word == "and" { Some(None) } else { word.parse().ok().map(|id| Some(NodeId(id))) })
        })
        .flatten()
}

/// A time or a while as the trace has times: in seconds.
fn seconds(nanoseconds: u64) -> String {
    let (seconds, micros) = (nanoseconds / 1_000_000_000, nanoseconds / 1000 % 1_000_000);
    format!("{seconds}.{micros:06} s")
}

/// A while that was drawn in whole milliseconds.
pub(crate) fn lasts(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests;
