//! The order of storage writes: what has been handed to the log lane, what of it is durable, and what waits for that.
//!
//! ```text
//!   accepted   1 SaveVote   2 AppendInputEntries ..7   3 TruncateLog 5   4 AppendInputEntries ..9
//!   flushed    ────────────►│                                             (Event::LogFlushed { write: 1 })
//!   promises                 "granted" may leave      "matched 9" waits for write 4
//! ```
//!
//! Votes and entries form one total order, so a promise only has to name the write that it waits for. A write that was
//! overtaken by a truncation counts for no more than what the truncation left (an old leader's entries must not be
//! counted for a new one's).

use std::collections::VecDeque;
use std::time::Duration;

use crate::command::Command;
use crate::fingerprint::Fingerprint;
use crate::message::AppendOutcome::Matched;
use crate::message::Message;
use crate::types::{Instant, LogIndex, Peer, Term, WriteId};

/// What leaves once a write is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Promise {
    /// A message that promises what the write says.
    Command(Command),
    /// This node's vote for itself in this term: it counts now, and the others may be asked.
    OwnVote(Term),
}

impl Promise {
    /// Whether this makes an earlier promise superfluous: acknowledgements of one stream are cumulative, the answer to a later
    /// heartbeat says all that the one before it said, and of a candidate's questions and their answers the last ones count.
    pub(crate) fn supersedes(&self, earlier: &Self) -> bool {
        let (Self::Command(later), Self::Command(earlier)) = (self, earlier) else { return false };
        if let (Command::SendVote { pre_vote: true, .. }, Command::SendVote { pre_vote: true, .. }) = (later, earlier) {
            return true;
        }
        mutate!(promises_pile_up, return false);
        let Command::SendMessage { target, message } = later else { return false };
        let Command::SendMessage { target: other, message: before } = earlier else { return false };
        match (message, before) {
            (Message::AppendEntriesReply(later), Message::AppendEntriesReply(earlier)) => {
                let (Matched(more), Matched(index)) = (later.outcome, earlier.outcome) else { return false };
                target == other && later.term == earlier.term && later.epoch == earlier.epoch && index <= more
            }
            (Message::HeartbeatReply(later), Message::HeartbeatReply(earlier)) => {
                target == other && later.asked == earlier.asked && earlier.round <= later.round
            }
            (Message::PreVoteReply(later), Message::PreVoteReply(earlier))
            | (Message::RequestVoteReply(later), Message::RequestVoteReply(earlier)) => {
                target == other && earlier.asked <= later.asked
            }
            _ => false,
        }
    }
}

/// Entries that were handed to the log lane and are not durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unflushed {
    write: WriteId,
    /// The last index that this write still stands for; a truncation lowers it.
    last: LogIndex,
    bytes: usize,
}

/// The log lane as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writes {
    /// The last write that was handed out.
    accepted: WriteId,
    /// The last durable write; `flushed <= accepted`.
    flushed: WriteId,
    /// The last write of a vote; `vote <= accepted`.
    vote: WriteId,
    /// The last index that is durable; never beyond the log.
    flushed_index: LogIndex,
    /// Writes of entries that are not durable, in order; each `write > flushed`.
    unflushed: VecDeque<Unflushed>,
    /// The sum of their bytes.
    unflushed_bytes: usize,
    /// What waits, ordered by the write that it waits for; each `> flushed`.
    promises: VecDeque<(WriteId, Promise)>,
    /// The last durable write when the disk was last seen to work, and when that was.
    seen: (WriteId, Instant),
    /// How long that had been when it was looked at last.
    silent_for: Duration,
}

impl Writes {
    /// Everything up to `last` is durable, as it was read from the disk.
    pub(crate) const fn restore(last: LogIndex, now: Instant) -> Self {
        Self {
            accepted: WriteId(0),
            flushed: WriteId(0),
            vote: WriteId(0),
            flushed_index: last,
            unflushed: VecDeque::new(),
            unflushed_bytes: 0,
            promises: VecDeque::new(),
            seen: (WriteId(0), now),
            silent_for: Duration::ZERO,
        }
    }

    /// Writes count from the last durable one. How the durable ones were numbered is past.
    pub(crate) fn fingerprint(&self, own: Peer, out: &mut Fingerprint) {
        let Self {
            accepted,
            flushed,
            vote,
            flushed_index,
            unflushed,
            unflushed_bytes,
            promises,
            seen: _,
            silent_for: _,
        } = self;
        let from_flushed = |write: &WriteId| write.0.saturating_sub(flushed.0);
        [accepted, vote].into_iter().for_each(|write| out.number(from_flushed(write)));
        out.number(flushed_index.0);
        out.size(*unflushed_bytes);
        out.size(unflushed.len());
        for Unflushed { write, last, bytes } in unflushed {
            out.number(from_flushed(write));
            out.number(last.0);
            out.size(*bytes);
        }
        out.size(promises.len());
        for (write, promise) in promises {
            out.number(from_flushed(write));
            out.promise(own, promise);
        }
    }

    pub(crate) const fn flushed_index(&self) -> LogIndex {
        self.flushed_index
    }

    pub(crate) const fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// Whether everything that was handed out is durable.
    pub(crate) fn is_idle(&self) -> bool {
        self.flushed == self.accepted
    }

    /// For how long the disk has finished nothing, although it has something to do. It is looked at before every event, so that this
    /// counts from the event that gave it something to do.
    pub(crate) fn look_at_disk(&mut self, now: Instant) -> Duration {
        if self.is_idle() || self.flushed > self.seen.0 {
            self.seen = (self.flushed, now);
        }
        self.silent_for = now.since(self.seen.1);
        self.silent_for
    }

    /// What [`look_at_disk`](Self::look_at_disk) found last.
    pub(crate) const fn silent_for(&self) -> Duration {
        self.silent_for
    }

    /// The disk counts as seen to work at this moment, whatever it did.
    pub(crate) const fn disk_seen(&mut self, when: Instant) {
        self.seen = (self.flushed, when);
    }

    /// The name of the next write.
    pub(crate) fn accept(&mut self) -> WriteId {
        self.accepted = self.accepted.next();
        self.accepted
    }

    pub(crate) fn accept_vote(&mut self) -> WriteId {
        self.vote = self.accept();
        self.vote
    }

    pub(crate) fn accept_entries(&mut self, last: LogIndex, bytes: usize) -> WriteId {
        let write = self.accept();
        self.unflushed.push_back(Unflushed { write, last, bytes });
        self.unflushed_bytes += bytes;
        write
    }

    pub(crate) fn accept_truncation(&mut self, after: LogIndex) -> WriteId {
        for entries in &mut self.unflushed {
            mutate!(truncated_write_counts, continue);
            entries.last = entries.last.min(after);
        }
        self.flushed_index = self.flushed_index.min(after);
        self.accept()
    }

    /// A snapshot takes the place of a log that ended before `last`: what it covers counts as durable once it is written that
    /// the log begins behind it.
    pub(crate) fn accept_snapshot(&mut self, last: LogIndex) -> WriteId {
        mutate!(snapshot_counts_unflushed, self.flushed_index = last);
        self.accept_entries(last, 0)
    }

    /// The last write of a vote: what a message waits for that speaks for a term but for no entry.
    pub(crate) const fn of_vote(&self) -> WriteId {
        self.vote
    }

    /// Whether the node's term is durable: not while its last vote is under way.
    pub(crate) fn has_durable_term(&self) -> bool {
        self.vote <= self.flushed
    }

    /// The write that makes the log durable up to `index`, but not before the last vote.
    pub(crate) fn of_entries(&self, index: LogIndex) -> WriteId {
        mutate!(
            acknowledges_at_first_write,
            return self.unflushed.front().map_or(self.vote, |first| first.write.max(self.vote))
        );
        mutate!(acknowledges_before_term if index <= self.flushed_index, return self.flushed);
        if index <= self.flushed_index {
            return self.vote;
        }
        let covering = self.unflushed.get(self.unflushed.partition_point(|entries| entries.last < index));
        covering.map_or(self.accepted, |entries| entries.write).max(self.vote)
    }

    /// Keeps a promise until `write` is durable; gives it back if that is so already.
    #[must_use]
    pub(crate) fn promise(&mut self, write: WriteId, promise: Promise) -> Option<Promise> {
        assert!(write <= self.accepted, "write {write} is not accepted; the last one is {}", self.accepted);
        if write <= self.flushed {
            return Some(promise);
        }
        let place = self.promises.partition_point(|(other, _)| *other <= write);
        let of_write = self.promises.iter_mut().rev().skip_while(|(other, _)| *other > write);
        let mut of_write = of_write.take_while(|(other, _)| *other == write);
        match of_write.find(|(_, earlier)| promise.supersedes(earlier) || earlier.supersedes(&promise)) {
            // It was overtaken on its way by what asked for more.
            Some((_, earlier)) if !promise.supersedes(earlier) => {}
            // While a disk hangs, promises must not pile up.
            Some((_, earlier)) => *earlier = promise,
            None => self.promises.insert(place, (write, promise)),
        }
        None
    }

    /// Everything up to `write` is durable. Completions that come late or twice change nothing.
    pub(crate) fn flush(&mut self, write: WriteId) {
        assert!(
            write <= self.accepted,
            "write {write} was flushed but never accepted; the last one is {}",
            self.accepted
        );
        mutate!(flush_counts_for_all, write = self.accepted);
        mutate!(flush_told_twice_counts_twice if write <= self.flushed && self.flushed < self.accepted,
            return self.flush(self.flushed.next()));
        mutate!(late_flush_rewinds if write < self.flushed, self.flushed = write; return);
        self.flushed = self.flushed.max(write);
        while let Some(entries) = self.unflushed.front().filter(|entries| entries.write <= write) {
            assert!(entries.last >= self.flushed_index, "a flush takes the durable log back");
            self.flushed_index = entries.last;
            self.unflushed_bytes -= entries.bytes;
            self.unflushed.pop_front();
        }
    }

    /// The next promise that may leave.
    pub(crate) fn take_kept(&mut self) -> Option<Promise> {
        let (write, _) = self.promises.front()?;
        if *write > self.flushed {
            return None;
        }
        self.promises.pop_front().map(|(_, promise)| promise)
    }

    /// The promise that [`Writes::take_kept`] would give next.
    pub(crate) fn peek_kept(&self) -> Option<&Promise> {
        self.promises.front().filter(|(write, _)| *write <= self.flushed).map(|(_, promise)| promise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn promise(term: u64) -> Promise {
        Promise::OwnVote(Term(term))
    }

    #[test]
    fn a_promise_leaves_when_its_write_is_durable_and_no_earlier() {
        let mut writes = Writes::restore(LogIndex(0), Instant(0));
        let vote = writes.accept_vote();
        let entries = writes.accept_entries(LogIndex(3), 10);
        assert_eq!(writes.promise(entries, promise(2)), None);
        assert_eq!(writes.promise(vote, promise(1)), None);
        writes.flush(vote);
        assert_eq!((writes.take_kept(), writes.take_kept()), (Some(promise(1)), None));
        writes.flush(entries);
        assert_eq!(writes.take_kept(), Some(promise(2)));
        assert_eq!(writes.promise(entries, promise(3)), Some(promise(3)));
    }

    #[test]
    fn an_old_write_that_completes_after_a_truncation_counts_for_what_was_left() {
        let mut writes = Writes::restore(LogIndex(2), Instant(0));
        let old = writes.accept_entries(LogIndex(7), 10);
        writes.accept_truncation(LogIndex(4));
        assert_eq!(writes.flushed_index(), LogIndex(2), "what is left of them is not durable by that");
        let new = writes.accept_entries(LogIndex(9), 10);
        writes.flush(old);
        assert_eq!(writes.flushed_index(), LogIndex(4));
        assert_eq!(writes.of_entries(LogIndex(6)), new);
        writes.flush(new);
        assert_eq!((writes.flushed_index(), writes.unflushed_bytes()), (LogIndex(9), 0));
    }

    #[test]
    fn completions_out_of_order_never_take_the_durable_log_back() {
        let mut writes = Writes::restore(LogIndex(0), Instant(0));
        let first = writes.accept_entries(LogIndex(1), 1);
        let second = writes.accept_entries(LogIndex(2), 1);
        writes.flush(second);
        writes.flush(first);
        assert_eq!(writes.flushed_index(), LogIndex(2));
    }

    #[test]
    fn a_truncation_of_durable_entries_takes_the_durable_log_back_at_once() {
        let mut writes = Writes::restore(LogIndex(5), Instant(0));
        writes.accept_truncation(LogIndex(3));
        assert_eq!(writes.flushed_index(), LogIndex(3));
    }

    /// A copy of an old question comes late: what was said of a later term is not lost for that.
    #[test]
    fn an_answer_to_an_earlier_question_does_not_take_the_place_of_a_vote() {
        let mut writes = Writes::restore(LogIndex(0), Instant(0));
        let vote = writes.accept_vote();
        let answer = |asked, granted| {
            let reply = crate::message::VoteReply { asked: Term(asked), term: Term(5), granted };
            let message = Message::RequestVoteReply(reply);
            Promise::Command(Command::SendMessage { target: crate::types::NodeId(2), message })
        };
        assert_eq!((writes.promise(vote, answer(5, true)), writes.promise(vote, answer(3, false))), (None, None));
        writes.flush(vote);
        assert_eq!((writes.take_kept(), writes.take_kept()), (Some(answer(5, true)), None));
    }

    #[test]
    fn of_two_answers_that_say_as_much_the_later_one_leaves() {
        let mut writes = Writes::restore(LogIndex(0), Instant(0));
        let vote = writes.accept_vote();
        let answer = |granted| {
            let reply = crate::message::VoteReply { asked: Term(2), term: Term(2), granted };
            let message = Message::PreVoteReply(reply);
            Promise::Command(Command::SendMessage { target: crate::types::NodeId(2), message })
        };
        assert_eq!((writes.promise(vote, answer(false)), writes.promise(vote, answer(true))), (None, None));
        writes.flush(vote);
        assert_eq!((writes.take_kept(), writes.take_kept()), (Some(answer(true)), None));
    }
}
