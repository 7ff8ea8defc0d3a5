//! What must always hold, checked after every step of every node.
//!
//! The judge knows nothing of how nodes decide. It sees what they hold, what they say and what clients were told, and
//! keeps the one history that all of it must fit: who led, who voted, which entry followed which, and one chain of
//! committed entries that only grows.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use outrigger::engine::{
    AppendOutcome, LogId, LogIndex, LogTime, Membership, Message, NodeId, RoleKind, Term, VoteResult,
};

use crate::by_node::ByNode;
use crate::durable::{Durable, Stamp, Stamps};
use crate::look::Look;
use crate::machine::Callers;
use crate::words;

mod choice;
mod clients;
mod freshness;
mod history;
mod lanes;
mod log_time;
pub(crate) mod office;
mod pieces;
mod sessions;
mod succession;
#[cfg(test)]
mod tests;
mod waiting;

pub use choice::{Checks, UnknownCheck};
pub(crate) use clients::ClientJudge;
pub(crate) use freshness::{Heard, Word};
pub(crate) use history::ClientHistory;
pub(crate) use lanes::Lanes;
pub(crate) use log_time::LogClock;
pub(crate) use office::{Office, Terms};
pub(crate) use pieces::Pieces;
pub(crate) use sessions::SessionJudge;
pub(crate) use succession::{Prompt, Succession, may_take_over};
pub(crate) use waiting::Waiting;

/// The properties that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Check {
    /// One leader in each term at most (Raft paper, figure 3).
    ElectionSafety,
    /// A leader drops none of its entries (figure 3).
    LeaderAppendOnly,
    /// Entries with the same id are the same, and so is all before them (figure 3).
    LogMatching,
    /// Log time never goes back along a log, whatever the clocks of its leaders show.
    LogTime,
    /// A leader's log has every entry that was committed in a term before its own (figure 3).
    LeaderCompleteness,
    /// No two nodes commit or apply different entries at one index (figure 3).
    StateMachineSafety,
    /// A node votes for one candidate in a term at most, restarts included.
    OneVote,
    /// Votes and acknowledgements leave only when what they promise is durable.
    Promise,
    /// What a leader commits is durable on a quorum.
    CommittedOnQuorum,
    /// Nobody is told what its build does not know; the cluster's version is raised only once all members were heard to speak it,
    /// never goes back, and shuts nobody out who has not gone back.
    Version,
    /// Term, commit index and applied index do not go back while a node lives.
    Monotonic,
    /// A restart finds what was flushed, and nothing that was never written.
    Recovery,
    /// Whoever asked for other members is told what became of it: what is done is committed, and is what was asked for.
    Membership,
    /// What a client was told is done is done, in the order that it could observe, and stays.
    Acknowledged,
    /// What a client was told is not done never happens, and nothing happens twice.
    AtMostOnce,
    /// A write that is meant for the leader of one term gets into the log of no other.
    Precondition,
    /// A command of a session is applied once, whatever was tried again, and every try gets the same response; sessions end on
    /// every node at the same entry (thesis, section 6.3).
    ExactlyOnce,
    /// Whoever asks is answered, whatever becomes of the request.
    Answers,
    /// A read sees every write that was acknowledged before it began, and what any read before it saw.
    LinearizableRead,
    /// A read that may be old sees all that a leader had committed no longer ago than it allows.
    BoundedStaleness,
    /// Who has pledged itself to a leader neither votes nor campaigns, and a lease is used only while a quorum keeps to that.
    Pledge,
    /// What clients were told is what one object that does one thing at a time could have told them.
    Linearizability,
    /// Every step of an engine is a step, or some, of the extended model.
    Refinement,
    /// A user's state machine answers and comes to the same on every node, and again after every restart.
    Determinism,
    /// A user's state that is cloned, serialised or restored is the same as before, and goes on alike.
    Snapshot,
    /// A user's state machine can apply every command that its clients make.
    Apply,
    /// A user's commands, responses and states can be encoded, and decoded again.
    Encoding,
    /// The commands of a lane are carried out in their order, and those of a stream that has ended not at all.
    Lanes,
    /// Nobody holds or sends more than the limits allow.
    Limits,
    /// A leader stays for as long as a quorum answers it, and no longer.
    Office,
    /// A leader hands over in order or leads on, and who is told that a node leads finds that it did.
    Succession,
    /// Who hears of a later term is in it from then on (Raft paper, section 5.1).
    TermAdoption,
    /// A leader sends a follower what it lacks, while that answers.
    Replication,
    /// Whoever may have to lead will campaign.
    Candidacy,
    /// Whose state is another than a majority's, after the same entries, stops.
    Divergence,
    /// Who is heard is remembered, who is no member changes nothing, and nobody mistakes its cluster.
    Acquaintance,
    /// Nodes that follow the protocol refuse nobody and do not stop.
    Health,
    /// Without faults the cluster comes to agree, and serves.
    Convergence,
    /// The code under test has an assertion of its own that failed.
    Assertion,
}

/// Its name, as tables and failures have it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub check: Check,
    /// What contradicts it.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is violated: {}", self.check, self.reason)
    }
}

impl std::error::Error for Violation {}

/// Fails with a violation unless the condition holds.
macro_rules! require {
    ($condition:expr, $check:ident, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::check::violated($crate::check::Check::$check, format_args!($($reason)+)));
        }
    };
}
pub(crate) use require;

/// Apart, and called cold, so that the words of all that is required do not stand in the way of the code that goes on.
#[cold]
#[inline(never)]
pub(crate) fn violated(check: Check, reason: fmt::Arguments<'_>) -> Violation {
    Violation { check, reason: reason.to_string() }
}

/// What was seen of one node in its present life.
#[derive(Debug)]
struct Seen {
    life: u64,
    role: RoleKind,
    term: Term,
    commit: LogIndex,
    applied: LogIndex,
}

/// An entry that once stood in a log.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// The entry before it.
    before: LogId,
}

/// The entries that ever stood at one index: hardly ever more than one.
#[derive(Debug, Default)]
struct Standing {
    first: Option<Known>,
    others: Vec<Known>,
}

impl Standing {
    fn find(&self, id: LogId) -> Option<&Known> {
        self.first.iter().chain(&self.others).find(|known| known.stamp.id == id)
    }

    fn add(&mut self, known: Known) {
        match &self.first {
            None => self.first = Some(known),
            Some(_) => self.others.push(known),
        }
    }
}

/// Keeps the one history that everything must fit.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// The leader of each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Whom each node gave its vote in each term.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Each entry that ever stood in a log, by its index.
    entries: Vec<Standing>,
    /// Every entry that ever was committed, the one with index 1 first; only grows.
    chain: Stamps,
    /// The term in which each entry of the chain was committed; never goes back along the chain.
    committed_in: Vec<Term>,
    /// The last state of each node.
    seen: ByNode<Seen>,
}

/// A node as it is after a step.
pub(crate) struct Observed<'a> {
    pub(crate) life: u64,
    /// Whether its disk fails.
    pub(crate) may_halt: bool,
    pub(crate) look: &'a Look,
    /// The membership by which it counts quorums.
    pub(crate) membership: &'a Membership,
    /// The one by which it counted before the step, and the entry that says so, if that was another: what is committed in a step may
    /// be followed by a change in the same.
    pub(crate) counted_by: Option<(LogId, &'a Membership)>,
    /// Its log, flushed or not.
    pub(crate) log: &'a Stamps,
    /// How much of the log was seen before, and did not change since.
    pub(crate) checked: usize,
    /// Who waits for the state machine.
    pub(crate) callers: &'a Callers,
    /// What each node has on its disk, itself included.
    pub(crate) disks: &'a dyn Fn(NodeId) -> Option<&'a Durable>,
}

impl Judge {
    /// Every committed entry.
    pub(crate) const fn chain(&self) -> &Stamps {
        &self.chain
    }

    /// Who led in a term.
    pub(crate) fn leader_of(&self, term: Term) -> Option<NodeId> {
        self.leaders.get(&term).copied()
    }

    /// How many terms had a leader.
    pub(crate) fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// What a node was seen to do last, and in which term.
    pub(crate) fn role(&self, node: NodeId) -> Option<(RoleKind, Term)> {
        self.seen.at(node).map(|seen| (seen.role, seen.term))
    }

    /// A node took a step. Answers with the range of the chain that is new.
    pub(crate) fn observe(&mut self, node: &Observed<'_>) -> Result<RangeInclusive<u64>, Violation> {
        self.observe_entries(node)?;
        self.observe_role(node)?;
        let new = self.observe_commit(node)?;
        self.observe_progress(node)?;
        Ok(new)
    }

    fn observe_entries(&mut self, node: &Observed<'_>) -> Result<(), Violation> {
        let id = node.look.node;
        require!(node.log.last() == node.look.last, Health, "node {id} says its log ends at {}", node.look.last);
        let mut before = node.checked.checked_sub(1).map_or(LogId::ZERO, |last| node.log.0[last].id);
        for (place, stamp) in node.log.0.iter().enumerate().skip(node.checked) {
            let entry = stamp.id;
            require!(entry.term >= before.term, LogMatching, "{entry} follows {before} on node {id}");
            let earlier = place.checked_sub(1).map_or(LogTime(0), |before| node.log.0[before].log_time);
            let goes_on = stamp.log_time >= earlier;
            require!(goes_on, LogTime, "{entry} on node {id} has the log time {}, after {earlier}", stamp.log_time);
            if self.entries.len() <= place {
                self.entries.resize_with(place + 1, Standing::default);
            }
            match self.entries[place].find(entry) {
                Some(Known { stamp: known, before: after }) => {
                    require!(*after == before, LogMatching, "{entry} follows {after} and, on node {id}, {before}");
                    require!(known == stamp, LogMatching, "{entry} on node {id} is another entry than elsewhere");
                }
                None => self.entries[place].add(Known { stamp: *stamp, before }),
            }
            before = entry;
        }
        Ok(())
    }

    fn observe_role(&mut self, node: &Observed<'_>) -> Result<(), Violation> {
        let Look { node: id, role, term, .. } = *node.look;
        require!(role != RoleKind::Halted || node.may_halt, Health, "node {id} has halted");
        if role != RoleKind::Leader {
            return Ok(());
        }
        if self.seen.at(id).is_some_and(|seen| seen.role == role && seen.term == term) {
            return Ok(());
        }
        let leader = *self.leaders.entry(term).or_insert(id);
        require!(leader == id, ElectionSafety, "nodes {leader} and {id} both lead in term {term}");
        // A leader that learns late that it was elected owes nothing to the terms after its own.
        let owed = self.committed_in.partition_point(|committed| *committed < term);
        let last = owed.checked_sub(1).map_or(LogId::ZERO, |last| self.chain.0[last].id);
        require!(
            node.log.has(last),
            LeaderCompleteness,
            "node {id} leads in term {term} without the committed entry {last}"
        );
        Ok(())
    }

    fn observe_commit(&mut self, node: &Observed<'_>) -> Result<RangeInclusive<u64>, Violation> {
        let Look { node: id, term, commit, role, .. } = *node.look;
        let last = self.seen.at(id).filter(|seen| seen.life == node.life);
        let before = last.map_or(LogIndex::ZERO, |seen| seen.commit);
        // One that leaves its office in this step, as it has committed its own removal, has committed that as leader.
        let has_led = last.is_some_and(|seen| seen.role == RoleKind::Leader && seen.term == term);
        let known = self.chain.last().index;
        let place = |index: LogIndex| usize::try_from(index.0).expect("a small index");
        for at in place(before)..place(commit) {
            let Some(stamp) = node.log.0.get(at) else {
                let reason = format!("node {id} commits {} and lacks it", at + 1);
                return Err(Violation { check: Check::Health, reason });
            };
            match self.chain.0.get(at) {
                Some(committed) => {
                    let (found, was) = (stamp.id, committed.id);
                    require!(
                        stamp == committed,
                        StateMachineSafety,
                        "node {id} commits {found}, and {was} was committed"
                    );
                }
                None => {
                    self.chain.0.push(*stamp);
                    self.committed_in.push(term);
                }
            }
        }
        if (role == RoleKind::Leader || has_led) && commit > before {
            Self::observe_quorum(node, before, commit)?;
        }
        Ok(known.next().0..=self.chain.last().index.0)
    }

    /// What a leader has just committed is on the disks of a quorum. Who the members were until now is decided by those themselves,
    /// whoever votes from now on.
    fn observe_quorum(node: &Observed<'_>, before: LogIndex, commit: LogIndex) -> Result<(), Violation> {
        let holds = |entry: LogId| move |other: NodeId| Some((node.disks)(other).is_some_and(|it| it.log.has(entry)));
        let has_won = |entry, by: &Membership| by.quorum().vote_result(holds(entry)) == VoteResult::Won;
        let (id, committed) = (node.look.node, node.log.at(commit).map_or(LogId::ZERO, |stamp| stamp.id));
        let won = has_won(committed, node.membership) || node.counted_by.is_some_and(|(_, by)| has_won(committed, by));
        require!(won, CommittedOnQuorum, "node {id} commits {committed}, which no quorum holds on its disks");
        let Some((at, by)) = node.counted_by.filter(|(at, _)| before < at.index && at.index <= commit) else {
            return Ok(());
        };
        require!(
            has_won(at, by),
            CommittedOnQuorum,
            "node {id} commits {at}, which no quorum of the members that stand there holds on its disks: {by}"
        );
        Ok(())
    }

    fn observe_progress(&mut self, node: &Observed<'_>) -> Result<(), Violation> {
        let Look { node: id, role, term, commit, applied, .. } = *node.look;
        let now = Seen { life: node.life, role, term, commit, applied };
        let same = self
            .seen
            .at(id)
            .is_some_and(|seen| seen.term == term && (seen.role == role || seen.role != RoleKind::Leader));
        // In an orderly succession nothing is lost, or it is told of a little later.
        let forgotten = if same || node.look.awaits_heir { None } else { node.callers.waiting_behind(commit) };
        require!(
            forgotten.is_none(),
            Answers,
            "the leader of node {id} has changed, and {} is not told",
            words::request(forgotten)
        );
        require!(applied <= commit, Monotonic, "node {id} applied {applied} and committed {commit}");
        if let Some(before) = self.seen.insert(id, now).filter(|before| before.life == node.life) {
            require!(term >= before.term, Monotonic, "the term of node {id} goes from {} to {term}", before.term);
            require!(commit >= before.commit, Monotonic, "node {id} committed {} and then {commit}", before.commit);
            require!(applied >= before.applied, Monotonic, "node {id} applied {} and then {applied}", before.applied);
        }
        Ok(())
    }

    /// A leader dropped entries of its own log.
    pub(crate) fn truncated(&self, look: &Look) -> Result<(), Violation> {
        let Look { node, role, term, .. } = *look;
        let led = self.seen.at(node).is_some_and(|seen| seen.role == RoleKind::Leader && seen.term == term);
        require!(!led || role != RoleKind::Leader, LeaderAppendOnly, "node {node} leads in term {term} and truncates");
        Ok(())
    }

    /// A node, now in a term, sends a message: what it promises must be on its disk by now.
    pub(crate) fn said(
        &mut self,
        (from, term): (NodeId, Term),
        to: NodeId,
        message: &Message,
        disk: &Durable,
    ) -> Result<(), Violation> {
        match message {
            Message::RequestVote(request) => self.voted(from, request.term, from, disk),
            Message::RequestVoteReply(reply) if reply.granted => self.voted(from, reply.asked, to, disk),
            Message::HeartbeatReply(reply) => {
                self.spoke(from, reply.term, disk)?;
                acknowledged(from, (reply.term, reply.matched), term, disk)
            }
            Message::InstallSnapshotReply(reply) => self.spoke(from, reply.term, disk),
            Message::AppendEntriesReply(reply) => {
                self.spoke(from, reply.term, disk)?;
                let AppendOutcome::Matched(matched) = reply.outcome else { return Ok(()) };
                acknowledged(from, (reply.term, matched), term, disk)
            }
            _ => Ok(()),
        }
    }

    /// Whoever answers in a term must still know of it after a crash.
    fn spoke(&self, from: NodeId, term: Term, disk: &Durable) -> Result<(), Violation> {
        let kept = disk.vote.term >= term;
        require!(kept, Promise, "node {from} answers in term {term}, and its disk holds {}", words::vote(disk.vote));
        Ok(())
    }

    /// From now on another server speaks under this id, of which nothing is known yet.
    pub(crate) fn forget_votes(&mut self, node: NodeId) {
        self.votes.retain(|(voter, _), _| *voter != node);
    }

    fn voted(&mut self, from: NodeId, term: Term, candidate: NodeId, disk: &Durable) -> Result<(), Violation> {
        let first = *self.votes.entry((from, term)).or_insert(candidate);
        require!(first == candidate, OneVote, "node {from} votes in term {term} for {first} and for {candidate}");
        let vote = disk.vote;
        let kept = vote.term > term || (vote.term == term && vote.voted_for == Some(candidate));
        require!(
            kept,
            Promise,
            "node {from} votes in term {term} for {candidate}, and its disk holds {}",
            words::vote(vote)
        );
        Ok(())
    }
}

/// What a node in `term` tells a leader of `told` that it holds must still be there after a crash.
fn acknowledged(from: NodeId, (told, matched): (Term, LogIndex), term: Term, disk: &Durable) -> Result<(), Violation> {
    let last = disk.log.last().index;
    // In a later term its log may have been cut again; the acknowledgement is of no use to anybody then.
    let kept = last >= matched || term > told;
    require!(kept, Promise, "node {from} acknowledges {matched}, and its disk holds entries up to {last}");
    Ok(())
}

/// All nodes hold the same log and have applied all of it.
pub(crate) fn converged<'a>(mut nodes: impl Iterator<Item = (&'a Look, &'a Stamps)>, chain: &Stamps) -> bool {
    let last = chain.last().index;
    nodes.all(|(look, log)| look.applied == last && log == chain)
}
