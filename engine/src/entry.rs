//! What the log holds: payloads, in batches that are shared and never copied.
//!
//! ```text
//!   a proposal          Arc<[Payload]>                         (no ids: the engine stamps them)
//!   what the log holds  Batch { first: 3/7, log_time, .. }     entries 7, 8, 9 of term 3
//!   a part of it        batch.after(LogIndex(7))               entries 8, 9: the same memory
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use crate::membership::Membership;
use crate::types::{LogId, LogIndex, LogTime, SessionId, Term};

/// What one entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Nothing: a leader's first entry, which commits what its predecessors left (Raft paper, section 8).
    Blank,
    /// A user's command, encoded. The engine never looks inside.
    Command(Bytes),
    /// The membership from this entry on (effective as soon as it is appended; thesis, section 4.1).
    Membership(Arc<Membership>),
    /// A new exactly-once session, whose id is this entry's index (thesis, section 6.3). The engine never looks inside.
    RegisterSession {
        /// For so many milliseconds of log time it is kept while nothing is written in it.
        time_to_live_ms: u64,
    },
}

/// One entry without its id: its body, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// The exactly-once session that it belongs to; 0 for none.
    pub session: SessionId,
    /// Its number within the session; 0 without a session.
    pub sequence: u64,
    /// What it carries.
    pub body: Body,
}

impl Payload {
    /// What an entry costs beside its body, in bytes: the limits count it, so that a flood of empty entries is bounded too.
    pub const OVERHEAD_BYTES: usize = 32;

    /// A command outside any session.
    #[must_use]
    pub const fn command(command: Bytes) -> Self {
        Self { session: SessionId(0), sequence: 0, body: Body::Command(command) }
    }

    /// An entry that carries nothing.
    #[must_use]
    pub const fn blank() -> Self {
        Self { session: SessionId(0), sequence: 0, body: Body::Blank }
    }

    /// An entry that sets the membership.
    #[must_use]
    pub const fn membership(membership: Arc<Membership>) -> Self {
        Self { session: SessionId(0), sequence: 0, body: Body::Membership(membership) }
    }

    /// An entry that registers a session which is kept for so long while nothing is written in it.
    #[must_use]
    pub const fn register_session(time_to_live_ms: u64) -> Self {
        Self { session: SessionId(0), sequence: 0, body: Body::RegisterSession { time_to_live_ms } }
    }

    /// The same in a session. A blank entry in a session keeps that alive.
    #[must_use]
    pub fn in_session(self, session: SessionId, sequence: u64) -> Self {
        Self { session, sequence, ..self }
    }

    /// Its size as the limits count it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::OVERHEAD_BYTES
            + match &self.body {
                Body::Blank | Body::RegisterSession { .. } => 0,
                Body::Command(command) => command.len(),
                Body::Membership(membership) => membership.bytes(),
            }
    }
}

/// A run of entries of one term with consecutive indexes, never empty. Cloning and cutting share the memory.
#[derive(Clone)]
pub struct Batch {
    /// The id of the first visible entry.
    first: LogId,
    /// When the leader took the entries in; all of a batch share it.
    log_time: LogTime,
    /// The entries of the batch as it was proposed; `skip..skip + len` of them are visible.
    entries: Arc<[Payload]>,
    /// How many entries a cut has hidden at the front.
    skip: usize,
    /// How many entries are visible; at least one.
    len: usize,
    /// The size of the visible entries as the limits count it.
    bytes: usize,
    /// Whether any entry, visible or hidden, may set the membership.
    has_membership: bool,
}

impl Batch {
    /// A batch whose first entry gets the id `first`.
    ///
    /// # Panics
    /// If `entries` is empty or `first` stands before the first entry of a log: nothing but a bug asks for either.
    #[must_use]
    pub fn new(first: LogId, log_time: LogTime, entries: Arc<[Payload]>) -> Self {
        assert!(!entries.is_empty(), "a batch at {first} without entries");
        assert!(first.index > LogIndex::ZERO, "a batch begins at index 1 or later, not at {first}");
        let (len, bytes) = (entries.len(), entries.iter().map(Payload::bytes).sum());
        let has_membership = entries.iter().any(|entry| matches!(entry.body, Body::Membership(_)));
        Self { first, log_time, entries, skip: 0, len, bytes, has_membership }
    }

    /// The id of the first entry.
    #[must_use]
    pub const fn first(&self) -> LogId {
        self.first
    }

    /// The id of the last entry.
    #[must_use]
    pub fn last(&self) -> LogId {
        LogId { term: self.first.term, index: LogIndex(self.first.index.0.saturating_add(self.len as u64 - 1)) }
    }

    /// The term of all its entries.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.first.term
    }

    /// When the leader took the entries in.
    #[must_use]
    pub const fn log_time(&self) -> LogTime {
        self.log_time
    }

    /// The entries, in the order of their indexes.
    #[must_use]
    pub fn entries(&self) -> &[Payload] {
        &self.entries[self.skip..self.skip + self.len]
    }

    /// How many entries it has; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Its size as the limits count it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an entry of it may set the membership.
    #[must_use]
    pub const fn has_membership(&self) -> bool {
        self.has_membership
    }

    /// The entries with an index above `index`; `None` when there are none.
    #[must_use]
    pub fn after(&self, index: LogIndex) -> Option<Self> {
        let hidden = index.next().since(self.first.index);
        if hidden >= self.len as u64 {
            return None;
        }
        Some(self.cut(usize::try_from(hidden).ok()?, self.len))
    }

    /// The entries with an index up to and with `index`; `None` when there are none.
    #[must_use]
    pub fn through(&self, index: LogIndex) -> Option<Self> {
        let visible = index.next().since(self.first.index).min(self.len as u64);
        if visible == 0 {
            return None;
        }
        Some(self.cut(0, usize::try_from(visible).ok()?))
    }

    /// The entries with an index above `after` and up to and with `through`; `None` when there are none.
    #[must_use]
    pub fn between(&self, after: LogIndex, through: LogIndex) -> Option<Self> {
        let hidden = after.next().since(self.first.index);
        let visible = through.next().since(self.first.index).min(self.len as u64);
        if hidden >= visible {
            return None;
        }
        Some(self.cut(usize::try_from(hidden).ok()?, usize::try_from(visible).ok()?))
    }

    /// The longest beginning of at least one entry whose size is at most `bytes_max`.
    #[must_use]
    pub fn within(&self, bytes_max: usize) -> Self {
        if self.bytes <= bytes_max {
            return self.clone();
        }
        let mut bytes = 0;
        let fitting = self.entries().iter().take_while(|entry| {
            bytes += entry.bytes();
            bytes <= bytes_max
        });
        let len = fitting.count().max(1);
        self.cut(0, len)
    }

    fn cut(&self, from: usize, to: usize) -> Self {
        assert!(from < to && to <= self.len, "a cut {from}..{to} of {} entries", self.len);
        if from == 0 && to == self.len {
            return self.clone();
        }
        let first = LogId { term: self.first.term, index: LogIndex(self.first.index.0 + from as u64) };
        let bytes = self.entries()[from..to].iter().map(Payload::bytes).sum();
        Self { first, entries: Arc::clone(&self.entries), skip: self.skip + from, len: to - from, bytes, ..*self }
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first && self.log_time == other.log_time && self.entries() == other.entries()
    }
}

impl Eq for Batch {}

impl Hash for Batch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.first.hash(state);
        self.log_time.hash(state);
        self.entries().hash(state);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("first", &self.first)
            .field("log_time", &self.log_time)
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

/// As a trace shows it: `3/7` for one entry, `3/7..9` for three.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}..{}", self.first, self.last().index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, len: usize) -> Batch {
        let entries = (0..len).map(|i| Payload::command(Bytes::from(vec![0; i]))).collect();
        Batch::new(LogId::new(3, first), LogTime(5), entries)
    }

    #[test]
    fn cuts_share_the_memory_and_keep_the_ids() {
        let whole = batch(7, 4);
        let tail = whole.after(LogIndex(8)).unwrap();
        assert_eq!((tail.first(), tail.last(), tail.len()), (LogId::new(3, 9), LogId::new(3, 10), 2));
        assert_eq!(tail.entries(), &whole.entries()[2..]);
        let middle = whole.through(LogIndex(9)).unwrap().after(LogIndex(7)).unwrap();
        assert_eq!((middle.first(), middle.len()), (LogId::new(3, 8), 2));
        assert_eq!(middle.bytes(), middle.entries().iter().map(Payload::bytes).sum::<usize>());
        assert!(Arc::ptr_eq(&whole.entries, &middle.entries));
        let ends = [(7, 9), (2, 8), (8, 99), (2, 99), (8, 8), (9, 8), (10, 12), (2, 6)]
            .map(|(a, b)| (LogIndex(a), LogIndex(b)));
        for (after, through) in ends {
            let cut_twice = whole.after(after).and_then(|tail| tail.through(through));
            assert_eq!(whole.between(after, through), cut_twice, "behind {after} to {through}");
        }
        assert_eq!(whole.after(LogIndex(10)), None);
        assert_eq!(whole.through(LogIndex(6)), None);
        assert_eq!(whole.after(LogIndex(2)), Some(whole.clone()));
        assert_eq!(whole.through(LogIndex(99)), Some(whole));
    }

    #[test]
    fn a_size_limit_keeps_at_least_one_entry() {
        let whole = batch(1, 4);
        assert_eq!(whole.within(0).len(), 1);
        assert_eq!(whole.within(Payload::OVERHEAD_BYTES * 2 + 1).len(), 2);
        assert_eq!(whole.within(usize::MAX), whole);
    }

    #[test]
    fn equal_entries_are_equal_however_they_were_cut() {
        let (long, short) = (batch(7, 4), batch(7, 2));
        assert_eq!(long.through(LogIndex(8)).unwrap(), short);
        assert_ne!(long, short);
    }
}
