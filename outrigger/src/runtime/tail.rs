//! The newest entries of the log in memory: what was just written is never read back from disk.
//!
//! ```text
//!            before                                   last
//!   log  ──────┤ 3/5..7 │ 3/8 │ 4/9..12 │ 4/13..20 │
//!              └─ evicted oldest first ─┘└─ pinned: not durable or not applied yet ─┘
//! ```
//!
//! Only `run_command` changes it, in the order of the log lane; everybody else gets batches that share its memory.

use std::collections::VecDeque;

use outrigger_engine::{Batch, LogId, LogIndex, Term};

/// The batches at the end of the log, contiguous.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The entry before the first of `batches`; the last of the log if there are none.
    before: LogId,
    /// Contiguous, in order, terms never going back.
    batches: VecDeque<Batch>,
    /// The sum of the batches' sizes.
    bytes: usize,
    /// Up to this size nothing is evicted.
    bytes_max: usize,
}

/// Whether a run of entries can be had from a [`Tail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it, cut at the limit in bytes.
    Here(Vec<Batch>),
    /// Not all: the entries up to and with this one must be read from the log. They are durable.
    InLog(LogIndex),
    /// The log does not hold these entries under these ids.
    Gone,
}

impl Tail {
    /// An empty tail behind `last`, the last entry of the log, that keeps at most `bytes_max` of what need not stay.
    #[must_use]
    pub const fn new(last: LogId, bytes_max: usize) -> Self {
        Self { before: last, batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.batches.back().map_or(self.before, Batch::last)
    }

    /// The size of what is held, as the limits count it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in what is appended to the log.
    ///
    /// # Panics
    /// If a batch does not follow the last entry: nothing but a bug asks for it.
    pub fn append(&mut self, batches: &[Batch]) {
        for batch in batches {
            let last = self.last();
            let follows = batch.first().index == last.index.next() && batch.term() >= last.term;
            mutate!(tail_not_truncated, follows = true);
            assert!(follows, "a batch {batch} cannot follow {last}");
            self.bytes += batch.bytes();
            self.batches.push_back(batch.clone());
        }
    }

    /// Drops every entry behind `after`, which conflict with the leader's.
    ///
    /// # Panics
    /// If the log holds another entry than `after` at its index.
    pub fn truncate(&mut self, after: LogId) {
        mutate!(tail_not_truncated, return);
        if after.index < self.before.index {
            *self = Self::new(after, self.bytes_max);
            return;
        }
        while self.batches.back().is_some_and(|batch| batch.first().index > after.index) {
            self.bytes -= self.batches.pop_back().map_or(0, |batch| batch.bytes());
        }
        if let Some(batch) = self.batches.pop_back() {
            self.bytes -= batch.bytes();
            let kept = batch.through(after.index);
            self.bytes += kept.as_ref().map_or(0, Batch::bytes);
            self.batches.extend(kept);
        }
        assert!(self.last() == after, "truncated behind {after}, but the log holds {} there", self.last());
    }

    /// The log lets go of the entries up to `through`; of all, if it does not hold that one. What memory holds may stay there
    /// until it is evicted.
    pub fn purge(&mut self, through: LogId) {
        let holds = through.index < self.before.index || self.term(through.index) == Some(through.term);
        if !holds {
            *self = Self::new(through, self.bytes_max);
        }
    }

    /// Drops batches, oldest first, until the rest fits the limit; none with an entry behind `through`, which is not
    /// durable or not applied yet.
    pub fn evict(&mut self, through: LogIndex) {
        while self.bytes > self.bytes_max
            && let Some(batch) = self.batches.front()
            && batch.last().index <= through
        {
            self.bytes -= batch.bytes();
            self.before = batch.last();
            self.batches.pop_front();
        }
        self.check();
    }

    /// The entries behind `prev` up to `last`, at most `bytes_max` of them but at least one, if there are any.
    ///
    /// # Panics
    /// If `last` stands before `prev`.
    #[must_use]
    pub fn between(&self, prev: LogId, last: LogId, bytes_max: usize) -> Held {
        assert!(prev.index <= last.index, "entries from {prev} back to {last}");
        if prev.index < self.before.index {
            return Held::InLog(last.index.min(self.before.index));
        }
        let is_held = self.term(prev.index) == Some(prev.term) && self.term(last.index) == Some(last.term);
        mutate!(tail_ignores_terms, is_held = self.term(prev.index).is_some() && self.term(last.index).is_some());
        if !is_held {
            return Held::Gone;
        }
        mutate!(tail_skips_an_entry, prev = LogId { index: prev.index.max(LogIndex(last.index.0.max(1) - 1)), ..prev });
        let mut bytes_left = bytes_max;
        let mut found = Vec::new();
        for batch in self.from(prev.index.next()) {
            let Some(batch) = batch.between(prev.index, last.index) else { break };
            let len = batch.len();
            let fitting = if batch.bytes() <= bytes_left { batch } else { batch.within(bytes_left) };
            if fitting.bytes() > bytes_left && !found.is_empty() {
                break;
            }
            let is_cut = fitting.len() < len;
            bytes_left = bytes_left.saturating_sub(fitting.bytes());
            found.push(fitting);
            if is_cut || bytes_left == 0 {
                break;
            }
        }
        Held::Here(found)
    }

    /// The entries from `first` to `last`, as far as they are held: the first of them may come later than `first`, and
    /// what is before it must be read from the log, where it is durable.
    ///
    /// # Panics
    /// If the log holds another entry than `last` at its index.
    #[must_use]
    pub fn ending(&self, first: LogIndex, last: LogId) -> Vec<Batch> {
        assert!(first > LogIndex::ZERO && first <= last.index, "entries from {first} to {last}");
        if last.index <= self.before.index {
            return Vec::new();
        }
        assert!(self.term(last.index) == Some(last.term), "{last} is asked for, the log ends with {}", self.last());
        let wanted = self.from(first).take_while(|batch| batch.first().index <= last.index);
        wanted.filter_map(|batch| batch.between(first.previous(), last.index)).collect()
    }

    fn check(&self) {
        assert!(!self.batches.is_empty() || self.bytes == 0, "{} bytes in no batch", self.bytes);
        let first = self.batches.front().map(Batch::first);
        assert!(first.is_none_or(|first| first.index == self.before.index.next()), "{first:?} after {}", self.before);
    }

    /// The term of a held entry, or of the one before them.
    fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        let batch = self.from(index).next()?;
        (batch.first().index <= index).then(|| batch.term())
    }

    /// The batches from the one that holds `index` on.
    fn from(&self, index: LogIndex) -> impl Iterator<Item = &Batch> {
        // Nearly always it is the last one, and a search would touch memory all over the tail.
        let is_last =
            self.batches.back().is_some_and(|batch| batch.first().index <= index && index <= batch.last().index);
        let skipped = if is_last {
            self.batches.len() - 1
        } else {
            self.batches.partition_point(|batch| batch.last().index < index)
        };
        self.batches.range(skipped..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use outrigger_engine::{LogTime, Payload};

    /// Entries of 42 bytes each, as the limits count them.
    fn batch(term: u64, first: u64, len: usize) -> Batch {
        let entries = (0..len).map(|_| Payload::command(Bytes::from_static(&[0; 10]))).collect();
        Batch::new(LogId::new(term, first), LogTime(0), entries)
    }

    fn tail() -> Tail {
        let mut tail = Tail::new(LogId::new(2, 4), 100);
        tail.append(&[batch(3, 5, 3), batch(3, 8, 1), batch(4, 9, 4)]);
        tail
    }

    fn ids(batches: &[Batch]) -> Vec<String> {
        batches.iter().map(ToString::to_string).collect()
    }

    fn here(held: Held) -> Vec<String> {
        match held {
            Held::Here(batches) => ids(&batches),
            other @ (Held::InLog(_) | Held::Gone) => panic!("not held: {other:?}"),
        }
    }

    #[test]
    fn a_run_is_cut_at_both_ends_and_at_the_limit() {
        let (prev, last) = (LogId::new(3, 6), LogId::new(4, 10));
        assert_eq!(here(tail().between(prev, last, 1000)), ["3/7", "3/8", "4/9..10"]);
        assert_eq!(here(tail().between(prev, last, 126)), ["3/7", "3/8", "4/9"]);
        assert_eq!(here(tail().between(prev, last, 100)), ["3/7", "3/8"]);
        assert_eq!(here(tail().between(prev, last, 1)), ["3/7"], "at least one entry travels");
        assert_eq!(here(tail().between(last, last, 100)), [""; 0]);
    }

    #[test]
    fn entries_under_other_ids_are_gone_and_older_ones_are_in_the_log() {
        let tail = tail();
        assert_eq!(tail.between(LogId::new(2, 6), LogId::new(4, 10), 100), Held::Gone);
        assert_eq!(tail.between(LogId::new(3, 6), LogId::new(3, 10), 100), Held::Gone);
        assert_eq!(tail.between(LogId::new(3, 6), LogId::new(4, 13), 100), Held::Gone);
        assert_eq!(tail.between(LogId::new(2, 3), LogId::new(4, 10), 100), Held::InLog(LogIndex(4)));
        assert_eq!(tail.between(LogId::new(1, 2), LogId::new(2, 3), 100), Held::InLog(LogIndex(3)));
        assert_eq!(here(tail.between(LogId::new(2, 4), LogId::new(3, 5), 100)), ["3/5"]);
    }

    #[test]
    fn what_is_pinned_stays_and_the_rest_goes_oldest_first() {
        let mut tail = tail();
        tail.evict(LogIndex(7));
        assert_eq!((tail.before, tail.bytes()), (LogId::new(3, 7), 5 * 42));
        tail.evict(LogIndex(11));
        assert_eq!(tail.before, LogId::new(3, 8), "4/9..12 holds an entry that is pinned");
        tail.evict(LogIndex(12));
        assert_eq!((tail.before, tail.last(), tail.bytes()), (LogId::new(4, 12), LogId::new(4, 12), 0));
    }

    #[test]
    fn truncation_cuts_within_a_batch_and_before_all() {
        let mut tail = tail();
        tail.truncate(LogId::new(4, 10));
        assert_eq!((tail.last(), tail.bytes()), (LogId::new(4, 10), 6 * 42));
        tail.truncate(LogId::new(3, 8));
        tail.append(&[batch(5, 9, 1)]);
        assert_eq!(ids(&tail.ending(LogIndex(7), LogId::new(5, 9))), ["3/7", "3/8", "5/9"]);
        tail.truncate(LogId::new(2, 4));
        assert_eq!((tail.last(), tail.bytes()), (LogId::new(2, 4), 0));
        tail.truncate(LogId::new(1, 2));
        tail.append(&[batch(6, 3, 1)]);
        assert_eq!(tail.last(), LogId::new(6, 3));
    }

    #[test]
    fn what_is_to_be_applied_is_found_as_far_as_it_is_held() {
        let tail = tail();
        assert_eq!(ids(&tail.ending(LogIndex(2), LogId::new(3, 6))), ["3/5..6"]);
        assert_eq!(ids(&tail.ending(LogIndex(6), LogId::new(4, 9))), ["3/6..7", "3/8", "4/9"]);
        assert_eq!(ids(&tail.ending(LogIndex(2), LogId::new(2, 4))), [""; 0]);
    }

    #[test]
    #[should_panic(expected = "cannot follow")]
    fn a_hole_is_a_bug() {
        Tail::new(LogId::new(2, 4), 100).append(&[batch(3, 6, 1)]);
    }
}
