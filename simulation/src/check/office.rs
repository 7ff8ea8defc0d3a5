//! A leader's office: how long it lasts, and what its holder may ask of the others, by an account of its own.
//!
//! ```text
//!   elected ── answers of a quorum, each within the longest election timeout of the one before ──► goes on
//!                └── silence for that long ──► seen at the next look, a heartbeat later at most ──► over, and no sooner
//! ```
//!
//! Time is what the leader's own clock shows: it is judged by what it can know.

use std::time::Duration;

use outrigger::engine::{
    AppendEntries, AppendOutcome, Batch, EngineConfig, Instant, Limits, LogIndex, Message, NodeId, Term,
};

use super::{Violation, require};
use crate::by_node::ByNode;
use crate::look::Look;

/// What the settings of a cluster say about offices.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// For so long a quorum may be silent.
    silence_max: Duration,
    /// So often a leader looks at least.
    look_every: Duration,
    limits: Limits,
    /// How many nodes are a quorum.
    majority: usize,
}

impl Terms {
    pub(crate) fn new(config: EngineConfig, majority: usize) -> Self {
        let (silence_max, look_every) = (config.election_timeout_max, config.heartbeat_interval);
        Self { silence_max, look_every, limits: config.limits, majority }
    }
}

impl Terms {
    /// A process that was disturbed less long ago, in nanoseconds, may have missed what its disk did.
    pub(crate) fn pardon(&self) -> u64 {
        u64::try_from((self.silence_max * 2).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The term of the leader whom a message answers.
pub(crate) fn answered(message: &Message) -> Option<Term> {
    match message {
        // What is stale answers a request of an earlier term, though it may tell of this one.
        Message::AppendEntriesReply(reply) if reply.outcome != AppendOutcome::Stale => Some(reply.term),
        Message::HeartbeatReply(reply) => Some(reply.asked),
        _ => None,
    }
}

/// Another node, as a leader sees it.
#[derive(Debug)]
struct Other {
    /// When it answered last; in the beginning, when the office began.
    heard: Instant,
    /// How many requests went to it since.
    requests: usize,
    /// The bytes of their entries, without the first one's: that may have been on its way when the answer came.
    bytes: usize,
}

/// The office of a leader in one term.
#[derive(Debug)]
pub(crate) struct Office {
    term: Term,
    /// The last entry before it began.
    before: LogIndex,
    /// The last entry when it was looked at last.
    last: LogIndex,
    others: ByNode<Other>,
}

impl Office {
    /// A node leads from now on; `before` is the last entry that is not its own.
    pub(crate) fn begin(term: Term, before: LogIndex, others: impl Iterator<Item = NodeId>, now: Instant) -> Self {
        let other = |node| (node, Other { heard: now, requests: 0, bytes: 0 });
        Self { term, before, last: before.next(), others: others.map(other).collect() }
    }

    pub(crate) const fn term(&self) -> Term {
        self.term
    }

    /// An answer came; only one to this leader in this term counts.
    pub(crate) fn hear(&mut self, from: NodeId, answered: Term, now: Instant) {
        if let Some(other) = self.others.at_mut(from).filter(|_| answered == self.term) {
            *other = Other { heard: other.heard.max(now), requests: 0, bytes: 0 };
        }
    }

    /// For how long the leader has had no quorum.
    fn silence(&self, terms: &Terms, now: Instant) -> Duration {
        let mut heard: Vec<Instant> = self.others.values().map(|other| other.heard).collect();
        heard.sort_unstable();
        // The leader itself is one of the quorum, and needs no answer.
        let needed = terms.majority - 1;
        needed.checked_sub(1).map_or(Duration::ZERO, |_| now.since(heard[heard.len() - needed]))
    }

    /// It has looked at the time, and goes on.
    pub(crate) fn goes_on(&self, node: NodeId, terms: &Terms, now: Instant) -> Result<(), Violation> {
        let (silence, at_most) = (self.silence(terms, now), terms.silence_max + terms.look_every);
        require!(silence <= at_most, Office, "node {node} leads, and no quorum has answered for {silence:?}");
        Ok(())
    }

    /// It has looked at the time, and gives up; `hangs` says for how long its disk has not finished a write.
    pub(crate) fn gives_up(&self, node: NodeId, terms: &Terms, now: Instant, hangs: Duration) -> Result<(), Violation> {
        let silence = self.silence(terms, now);
        // That the disk has nothing to do is seen at a look only.
        let hangs_long = hangs + terms.look_every * 2 >= terms.silence_max;
        require!(
            silence >= terms.silence_max || hangs_long,
            Office,
            "node {node} leads no more, although a quorum answered {silence:?} ago and its disk hangs for {hangs:?}"
        );
        Ok(())
    }

    /// A request leaves to another node. Until that is heard again, no more are under way than may be.
    pub(crate) fn sends(
        &mut self,
        node: NodeId,
        to: NodeId,
        sent: &AppendEntries,
        terms: &Terms,
    ) -> Result<(), Violation> {
        let Some(other) = self.others.at_mut(to).filter(|_| sent.term == self.term) else { return Ok(()) };
        other.requests += 1;
        if other.requests > 1 {
            let (others, bytes, limits) = (other.requests - 2, other.bytes, &terms.limits);
            let has_room = others < limits.inflight_requests_max && bytes < limits.inflight_bytes_max;
            require!(
                has_room,
                Limits,
                "node {node} sends to {to} while {others} requests of {bytes} bytes are under way"
            );
            other.bytes += sent.batches.iter().map(Batch::bytes).sum::<usize>();
        }
        Ok(())
    }

    /// After a step: what it took in, was not alone, and is not applied stays within bounds.
    pub(crate) fn takes_in(&mut self, look: &Look, terms: &Terms) -> Result<(), Violation> {
        let last = look.last.index;
        let taken = last.0 - std::mem::replace(&mut self.last, last).0;
        let (held, limit) = (last.0 - look.applied.max(self.before).0, terms.limits.uncommitted_entries_max as u64);
        let may_be = taken == 0 || held <= limit.max(taken);
        require!(may_be, Limits, "node {} takes in {taken} entries and has {held} in hand", look.node);
        Ok(())
    }
}
