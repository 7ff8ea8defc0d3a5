//! Refinement: every step of an engine is a step, or some, of the extended model.
//!
//! ```text
//!   engine   before ──── event, commands ────► after
//!              │             │ witness           │
//!   model    before ──── actions ───────────► after        equal: term, vote, role, log, commit, matches, durable log
//! ```
//!
//! The actions are computed from what the step was and did, never searched for. The model refuses what its guards do not
//! allow; where it allows the actions, the two states are compared. What a node says must be among what the model lets
//! it say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use outrigger::engine::{
    Event, LogId, LogIndex, Membership, Message, NodeId, Payload, Proof, RequestId, RoleKind, Round, Token, Vote,
    WriteId,
};
use outrigger_model::extended::{Action, ReadId, Role, Server, System, Write, check_state};
use outrigger_model::{self as model, ServerId, ServerSet};

use crate::by_node::ByNode;
use crate::check::{Check, Violation, require};
use crate::count::{Counts, counted, note};
use crate::durable::{Stamp, Stamps};
use crate::look::Look;
use crate::words::{self, of_model, or};

mod claims;
mod snapshots;
#[cfg(test)]
mod tests;
mod value;
mod witness;

#[cfg(test)]
pub(crate) use tests::Falsify;
use value::{Value, same_configuration};

/// What of a step's commands the model knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A vote is on its way to the disk.
    Vote(WriteId),
    /// So many entries are.
    Entries(WriteId, usize),
    /// One of the entries sets the members.
    Membership(LogIndex, Arc<Membership>),
    /// A truncation is.
    Truncation(WriteId),
    /// A snapshot that takes the place of the log is.
    Install(WriteId, LogId),
    /// Something is that the model does not know.
    Other(WriteId),
    /// It does not listen to who sent the message.
    Unheard,
    /// A round of heartbeats begins.
    Round(Round),
    /// The state machine answers a read.
    Read(Token),
    /// Somebody is told that nothing comes of what was asked.
    Refused(Token),
}

/// A node as a step leaves it.
pub(crate) struct After<'a> {
    pub(crate) look: Look,
    /// The members by the last entry that says who they are.
    pub(crate) membership: &'a Membership,
    /// What it knows of the others' logs, while it leads: an entry for every other member.
    pub(crate) matched: Vec<(NodeId, LogIndex)>,
    pub(crate) log: &'a Stamps,
    /// How much of the log has not changed since the step before.
    pub(crate) unchanged: usize,
    /// What it has purged of its log.
    pub(crate) purged: LogId,
    /// What its newest snapshot covers.
    pub(crate) snapshot: LogId,
    /// Whether it had proof, before the step, that it leads, as far as the read that it is asked for wants it.
    pub(crate) is_proven: bool,
    /// What it did, in order.
    pub(crate) notes: Vec<Note>,
}

/// What must show the node that an event goes to that it leads, before it answers at once.
pub(crate) fn proof_wanted(event: &Event) -> Option<Proof> {
    match event {
        Event::Read { consistency, .. } => witness::proof_wanted(*consistency),
        Event::Received { message: Some(Message::ReadIndex { proof, .. }), .. } => Some(*proof),
        _ => None,
    }
}

/// Whose read it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// A caller's of a node that led.
    Caller(NodeId, Token),
    /// A follower's, on behalf of its callers.
    Follower(NodeId, RequestId),
}

/// The model beside the world.
#[derive(Clone, Debug)]
pub(crate) struct Refinement {
    system: System<Value>,
    /// For each write that a node's disk has not finished, in order: how many writes of the model it stands for.
    unfinished: BTreeMap<NodeId, VecDeque<(WriteId, usize)>>,
    /// The reads that the model knows and that were not served.
    reads: BTreeMap<Question, ReadId>,
    /// The entry by which each node was last seen to count by the voters that its model counts by.
    members: ByNode<LogId>,
    /// The last entry of the snapshot that each node has received last, in this life.
    received: ByNode<LogId>,
    /// The snapshot that each node was last seen to bring to others.
    brought: ByNode<snapshots::Brought>,
    /// Those that a leader has begun and not confirmed.
    open: BTreeSet<ReadId>,
    /// How many reads were asked for.
    asked: ReadId,
    /// How often each action was taken.
    counts: Counts,
    /// How many steps were checked.
    steps: u64,
}

/// The whole state of the model is checked once in so many steps: its invariants follow from those of its steps.
const STEPS_PER_CHECK: u64 = 4_096;

impl Refinement {
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let servers: ServerSet = nodes.map(server).collect();
        Self {
            system: System::new(&servers),
            unfinished: BTreeMap::new(),
            reads: BTreeMap::new(),
            members: ByNode::default(),
            received: ByNode::default(),
            brought: ByNode::default(),
            open: BTreeSet::new(),
            asked: 0,
            counts: Counts::new(),
            steps: 0,
        }
    }

    /// A cluster that all of these nodes have begun with this entry, which says that they are its members; it is on their disks.
    pub(crate) fn initialized(nodes: impl Iterator<Item = NodeId> + Clone, first: &Payload) -> Self {
        let (mut model, first) = (Self::new(nodes.clone()), Value::of(first));
        for i in nodes.map(server) {
            let begins = [Action::Initialize(i, first.clone()), Action::Flush(i, 1)];
            begins.iter().try_for_each(|action| model.take(action)).expect("a server may begin");
        }
        model
    }

    /// How often each action was taken.
    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A node took a step.
    pub(crate) fn step(&mut self, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        let i = server(after.look.node);
        let holds = self.witness(i, event, after);
        let holds = holds.and_then(|()| self.compare(i, after)).and_then(|()| self.compare_members(i, after));
        let holds = holds.and_then(|()| self.note_writes(i, &after.notes));
        holds.map_err(|Violation { check, reason }| Violation { check, reason: format!("{reason}; at {event}") })?;
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_CHECK) { self.check() } else { Ok(()) }
    }

    /// A node starts from what it found on its disk.
    pub(crate) fn restart(&mut self, after: &After<'_>) -> Result<(), Violation> {
        let node = after.look.node;
        let i = server(node);
        self.unfinished.insert(node, VecDeque::new());
        self.members.remove(node);
        self.received.remove(node);
        let (kept, votes) = self.survivors(i, after);
        let commit = match index(after.look.commit) {
            // That is the snapshot's: what the log on the disk holds of it, and what in its place, is not known yet.
            commit if commit == index(after.snapshot.index) => model::LogIndex::ZERO,
            commit => commit,
        };
        self.take(&Action::Restart { server: i, kept, votes, commit })?;
        self.restored(i, after.snapshot)?;
        self.compare(i, after)?;
        self.compare_members(i, after)
    }

    /// How many of the writes that were under way a restart has found, and how many votes had overtaken the others.
    fn survivors(&self, i: ServerId, after: &After<'_>) -> (usize, usize) {
        let vote = (term(after.look.vote.term), after.look.vote.voted_for.map(server));
        let pending = &self.at(i).pending;
        // How many votes behind so many writes are found, if the last of them is the one that is there.
        let votes_behind = |kept: usize| {
            let votes = pending.iter().skip(kept).filter_map(|write| match write {
                Write::Vote(term, vote) => Some((*term, *vote)),
                Write::Append(_) | Write::Truncate(_) | Write::Install(..) => None,
            });
            votes.enumerate().filter(|(_, found)| *found == vote).map(|(place, _)| place + 1).last()
        };
        let mut disk = self.at(i).disk.clone();
        let mut kept = 0;
        let mut overtaken = None;
        let found = model::LogIndex(after.log.0.len());
        let is_found = |log: &model::Log<Value>| {
            same_log(log, after.log, 0) || snapshots::takes_the_place(after.snapshot, log, found)
        };
        for write in pending {
            let has_log = is_found(&disk.log);
            if has_log && (disk.current_term, disk.voted_for) == vote {
                return (kept, 0);
            }
            if has_log && overtaken.is_none() {
                overtaken = votes_behind(kept).map(|votes| (kept, votes));
            }
            disk.write(write);
            kept += 1;
        }
        match overtaken {
            Some(overtaken) if (disk.current_term, disk.voted_for) != vote || !is_found(&disk.log) => overtaken,
            Some(_) | None => (kept, 0),
        }
    }

    /// Whether the invariants of the model hold.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        check_state(&self.system)?;
        Ok(())
    }

    fn take(&mut self, action: &Action<Value>) -> Result<(), Violation> {
        let taken = self.system.apply(action);
        taken.map_err(|error| Violation { check: Check::Refinement, reason: of_model(&error.to_string()) })?;
        note(&mut self.counts, action.name());
        Ok(())
    }

    fn at(&self, i: ServerId) -> &Server<Value> {
        self.system.servers.at(i).expect("the model has every node")
    }

    /// Whether the model's server is as the engine is.
    fn compare(&self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let own = self.at(i);
        let Look { node, role, commit, flushed, last, vote, .. } = after.look;
        let vote = (term(vote.term), vote.voted_for.map(server));
        let owned = (own.current_term, own.voted_for);
        let (has, owns) = (promise(vote), promise(owned));
        require!(vote == owned, Refinement, "node {node} has {has}, its model {owns}");
        let expected = match role {
            RoleKind::Leader => Role::Leader,
            RoleKind::Candidate => Role::Candidate,
            _ => Role::Follower,
        };
        let is_same = own.role == expected;
        require!(is_same, Refinement, "node {node} is {}, its model {}", role.name(), role_name(own.role));
        let same = same_log(&own.log, after.log, after.unchanged);
        let ends = (own.log.last_term(), own.log.len());
        require!(same, Refinement, "the log of node {node} ends with {last}, its model's with {}/{}", ends.0, ends.1);
        let (at, configured_at) = (after.look.membership_at.index, own.configured_at());
        let is_there = index(at) == configured_at;
        require!(is_there, Refinement, "node {node} has its members from entry {at}, its model from {configured_at}");
        let commits = index(commit) == own.commit_index;
        require!(commits, Refinement, "node {node} has committed {commit}, its model {}", own.commit_index);
        // Of what a snapshot takes the place of, a node need not know what is the same.
        let (durable, installs) = (own.durable_index(), own.pending.iter().any(|it| matches!(it, Write::Install(..))));
        let holds = if installs { index(flushed) <= durable } else { index(flushed) == durable };
        require!(holds, Refinement, "{flushed} is durable on node {node}, {durable} on its model");
        self.compare_snapshots(i, after)?;
        for (other, matched) in &after.matched {
            let held = own.match_index.at(server(*other)).copied();
            require!(
                held == Some(index(*matched)),
                Refinement,
                "node {node} knows that {other} holds {matched}, its model that it holds {}",
                or(held, "nothing")
            );
        }
        Ok(())
    }

    /// Whether both count by the same voters. Which entry says so is compared after every step; what that says does not change.
    fn compare_members(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let Look { node, membership_at, .. } = after.look;
        if self.members.at(node) == Some(&membership_at) {
            return Ok(());
        }
        let (configuration, members) = (self.at(i).configuration(), after.membership);
        require!(
            same_configuration(configuration, members),
            Refinement,
            "node {node} counts by {members}, its model by {}",
            or(configuration.map(|configuration| of_model(&configuration.to_string())), "nobody")
        );
        self.members.insert(node, membership_at);
        Ok(())
    }

    /// Notes how many writes of the model each write of the engine stands for.
    fn note_writes(&mut self, i: ServerId, notes: &[Note]) -> Result<(), Violation> {
        let queue = self.unfinished.entry(node(i)).or_default();
        // What makes room for a snapshot is one with it: the snapshot is on the disk already, whatever comes between the two.
        let installs = notes.iter().any(|note| matches!(note, Note::Install(..)));
        queue.extend(notes.iter().filter_map(|note| match note {
            Note::Truncation(write) if installs => Some((*write, 0)),
            Note::Vote(write) | Note::Truncation(write) | Note::Install(write, _) => Some((*write, 1)),
            Note::Entries(write, count) => Some((*write, *count)),
            Note::Other(write) => Some((*write, 0)),
            Note::Membership(..) | Note::Unheard | Note::Round(_) | Note::Read(_) | Note::Refused(_) => None,
        }));
        let (unfinished, pending) = (queue.iter().map(|(_, count)| count).sum::<usize>(), self.at(i).pending.len());
        require!(
            unfinished == pending,
            Refinement,
            "node {} has {} pending, as the model counts them, and its model {pending}; the step began{}",
            node(i),
            counted(unfinished as u64, "write", "writes"),
            writes(notes)
        );
        Ok(())
    }

    /// How many writes of the model are durable once this one of the engine is.
    fn finish(&mut self, node: NodeId, write: WriteId) -> usize {
        let queue = self.unfinished.entry(node).or_default();
        let mut count = 0;
        while let Some((id, writes)) = queue.front().copied()
            && id <= write
        {
            count += writes;
            queue.pop_front();
        }
        count
    }
}

/// A term and the vote in it, in words.
fn promise((term, voted_for): (model::Term, Option<ServerId>)) -> String {
    words::vote(Vote { term: outrigger::engine::Term(term.0 as u64), voted_for: voted_for.map(node) })
}

/// The engine's word for a role of the model.
const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => RoleKind::Follower.name(),
        Role::Candidate => RoleKind::Candidate.name(),
        Role::Leader => RoleKind::Leader.name(),
    }
}

/// The writes that a step began, in words.
fn writes(notes: &[Note]) -> String {
    let words = notes.iter().filter_map(|note| match note {
        Note::Vote(write) => Some(format!(" w{write}: a vote")),
        Note::Entries(write, count) => Some(format!(" w{write}: {}", counted(*count as u64, "entry", "entries"))),
        Note::Truncation(write) => Some(format!(" w{write}: a truncation")),
        Note::Install(write, last) => Some(format!(" w{write}: a snapshot of {last}")),
        Note::Other(write) => Some(format!(" w{write}: what the model does not know")),
        Note::Membership(..) | Note::Unheard | Note::Round(_) | Note::Read(_) | Note::Refused(_) => None,
    });
    or(words.reduce(|all, next| format!("{all},{next}")), " none")
}

fn server(node: NodeId) -> ServerId {
    ServerId(number(node.0))
}

fn node(server: ServerId) -> NodeId {
    NodeId(server.0 as u64)
}

fn term(term: outrigger::engine::Term) -> model::Term {
    model::Term(number(term.0))
}

fn index(index: LogIndex) -> model::LogIndex {
    model::LogIndex(number(index.0))
}

fn number(number: u64) -> usize {
    usize::try_from(number).expect("a number of a short history")
}

/// Whether a log of the model is a log of the world; the first `known` entries are known to be.
fn same_log(log: &model::Log<Value>, stamps: &Stamps, known: usize) -> bool {
    let same = |((_, entry), stamp): ((model::LogIndex, &model::Entry<Value>), &Stamp)| {
        entry.term == term(stamp.id.term) && entry.value.digest == stamp.digest
    };
    log.len().0 == stamps.0.len() && log.iter().zip(&stamps.0).skip(known).all(same)
}
