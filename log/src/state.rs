//! What a group's records add up to: vote, bounds of the log, terms, marks, peers.
//!
//! Every record changes this state by the same function, [`GroupState::apply`], whether it was just appended, was just
//! flushed, or is read back by recovery. What a caller may not ask for and what an intact log cannot hold is therefore
//! one and the same list, [`Contradiction`].
//!
//! ```text
//!    purged.index            committed            last.index
//!         |                      |                     |
//!   ------]======================|=====================]
//!   gone    committed, readable    may be truncated      index of the next entry = last.index + 1
//! ```

use std::collections::BTreeMap;
use std::fmt;

use crate::record::Summary;

/// Which Raft group a record belongs to; many groups share one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// The term and the index of an entry. `(0, 0)` stands before the first entry; indexes start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// The term of the leader that created the entry.
    pub term: u64,
    /// The entry's place in its group's log.
    pub index: u64,
}

impl LogPosition {
    /// Stands before the first entry of every log.
    pub const ZERO: LogPosition = LogPosition { term: 0, index: 0 };
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {} of term {}", self.index, self.term)
    }
}

/// The current term and the vote given in it (Raft paper, figure 2: `currentTerm` and `votedFor`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Vote {
    /// The latest term that the node has seen; never goes back.
    pub term: u64,
    /// Whom it voted for in that term; once given it stays for the term.
    pub voted_for: Option<u64>,
}

/// The highest identity that was met under a peer's id: a wiped disk has another `incarnation`, a restored copy a lower
/// `start`, a second running copy the same `start` with another `nonce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PeerIdentity {
    /// Drawn when the peer's data directory was created.
    pub incarnation: u64,
    /// How often that directory was opened.
    pub start: u64,
    /// Drawn at that start.
    pub nonce: u64,
}

/// The last index that an entry may have: there is always a next one, so that nobody need ask.
const INDEX_MAX: u64 = u64::MAX - 1;

/// What all the records of one group add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupState {
    /// The current term and vote; its term never goes back.
    pub vote: Vote,
    /// All entries up to this index are committed; `purged.index <= committed <= last.index`, never goes back.
    pub committed: u64,
    /// The last entry that was dropped from the front; never goes back.
    pub purged: LogPosition,
    /// The last entry; equals `purged` when there is none.
    pub last: LogPosition,
    /// The first position of each term still in the log, in order; empty exactly when the log is.
    pub terms: Vec<LogPosition>,
    /// The indexes of all entries of marked runs still in the log, ascending: those that recovery has to look at.
    pub marked: Vec<u64>,
    /// By node id, the highest identity that was met under it.
    pub peers: BTreeMap<u64, PeerIdentity>,
}

impl GroupState {
    /// The term of the entry at `index`, that of [`purged`](Self::purged) included; `None` for all others.
    ///
    /// ```
    /// use outrigger_log::{GroupState, LogPosition};
    ///
    /// let state = GroupState {
    ///     purged: LogPosition { term: 1, index: 4 },
    ///     last: LogPosition { term: 3, index: 9 },
    ///     terms: vec![LogPosition { term: 1, index: 5 }, LogPosition { term: 3, index: 8 }],
    ///     ..GroupState::default()
    /// };
    /// assert_eq!(state.term_at(3), None);
    /// assert_eq!(state.term_at(4), Some(1));
    /// assert_eq!(state.term_at(7), Some(1));
    /// assert_eq!(state.term_at(8), Some(3));
    /// assert_eq!(state.term_at(10), None);
    /// ```
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last.index {
            return None;
        }
        let after = self.terms.partition_point(|first| first.index <= index);
        Some(self.terms.get(after.checked_sub(1)?)?.term)
    }

    /// Applies one record, or changes nothing and says what it contradicts.
    pub(crate) fn apply(&mut self, summary: &Summary) -> Result<(), Contradiction> {
        match *summary {
            Summary::Vote(vote) => self.vote(vote)?,
            Summary::Entries { term, first, count, marked } => self.entries(term, first, count, marked)?,
            Summary::Truncate { after } => self.truncate(after)?,
            Summary::Purge { through } => self.purge(through)?,
            Summary::Committed { index } => self.commit(index)?,
            Summary::Peer { node, identity } => {
                self.peers.insert(node, identity);
            }
        }
        self.assert_invariants();
        Ok(())
    }

    fn vote(&mut self, vote: Vote) -> Result<(), Contradiction> {
        let given_before = self.vote.term == vote.term && self.vote.voted_for.is_some();
        if vote.term < self.vote.term || (given_before && vote.voted_for != self.vote.voted_for) {
            return Err(Contradiction::VoteChanged { saved: self.vote, vote });
        }
        self.vote = vote;
        Ok(())
    }

    fn entries(&mut self, term: u64, first: u64, count: u32, marked: bool) -> Result<(), Contradiction> {
        let entries = LogPosition { term, index: first };
        if count == 0 || self.last.index.checked_add(1) != Some(first) || term < self.last.term {
            return Err(Contradiction::NotContiguous { last: self.last, entries, count });
        }
        let index = self.last.index.checked_add(u64::from(count));
        let Some(index) = index.filter(|index| *index <= INDEX_MAX) else {
            return Err(Contradiction::NotContiguous { last: self.last, entries, count });
        };
        if self.terms.last().is_none_or(|newest| newest.term != term) {
            self.terms.push(entries);
        }
        if marked {
            self.marked.extend(first..=index);
        }
        self.last = LogPosition { term, index };
        assert!(self.last.index >= first, "{count} entries from {first} end at {index}");
        Ok(())
    }

    fn truncate(&mut self, after: u64) -> Result<(), Contradiction> {
        let refusal = Contradiction::TruncatesCommitted { after, committed: self.committed, last: self.last };
        if after < self.committed || after > self.last.index {
            return Err(refusal);
        }
        let Some(term) = self.term_at(after) else { return Err(refusal) };
        self.last = LogPosition { term, index: after };
        self.terms.truncate(self.terms.partition_point(|first| first.index <= after));
        self.marked.truncate(self.marked.partition_point(|&first| first <= after));
        assert_eq!(self.term_at(after), Some(term), "a truncation changes no term");
        Ok(())
    }

    fn purge(&mut self, through: LogPosition) -> Result<(), Contradiction> {
        let known = self.term_at(through.index);
        let is_outside = through.index < self.purged.index || through.index > INDEX_MAX;
        if is_outside || known.is_some_and(|term| term != through.term) {
            return Err(Contradiction::PurgesUnknown { through, known, purged: self.purged });
        }
        self.purged = through;
        self.committed = self.committed.max(through.index);
        if through.index >= self.last.index {
            self.last = through;
            self.terms.clear();
            self.marked.clear();
            return Ok(());
        }
        let next = through.index + 1;
        let covered = self.terms.partition_point(|first| first.index <= next).saturating_sub(1);
        self.terms.drain(..covered);
        if let Some(oldest) = self.terms.first_mut() {
            oldest.index = oldest.index.max(next);
        }
        self.marked.drain(..self.marked.partition_point(|&first| first < next));
        assert_eq!(self.term_at(through.index), Some(through.term), "the purged position is known");
        assert!(self.term_at(next).is_some(), "what follows the purge keeps its term");
        Ok(())
    }

    fn commit(&mut self, index: u64) -> Result<(), Contradiction> {
        if index < self.committed || index > self.last.index {
            return Err(Contradiction::CommitOutside { index, committed: self.committed, last: self.last });
        }
        self.committed = index;
        Ok(())
    }

    /// The invariants that the fields' documentation states. Cheap: the lists are checked at their ends only.
    pub(crate) fn assert_invariants(&self) {
        assert!(self.is_consistent(), "the state of a group contradicts itself: {self:?}");
    }

    /// Whether bounds and lists agree; what is read from a file is asked, what we built is asserted.
    pub(crate) fn is_consistent(&self) -> bool {
        let bounds =
            self.purged.index <= self.committed && self.committed <= self.last.index && self.last.index <= INDEX_MAX;
        let next = self.purged.index.saturating_add(1);
        let terms = match (self.terms.first(), self.terms.last()) {
            (Some(oldest), Some(newest)) => {
                oldest.index == next && newest.index <= self.last.index && newest.term == self.last.term
            }
            _ => self.purged == self.last,
        };
        let marked = self.marked.first().is_none_or(|&first| first >= next)
            && self.marked.last().is_none_or(|&first| first <= self.last.index);
        bounds && terms && marked
    }

    /// Whether the lists are in order from end to end: asked of what is read from a file, once.
    pub(crate) fn is_sorted(&self) -> bool {
        let terms = self.terms.is_sorted_by(|one, next| one.term < next.term && one.index < next.index);
        terms && self.marked.is_sorted_by(|one, next| one < next)
    }
}

/// A record that the state before it does not allow: a caller's fault on append, damage on recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contradiction {
    VoteChanged { saved: Vote, vote: Vote },
    NotContiguous { last: LogPosition, entries: LogPosition, count: u32 },
    TruncatesCommitted { after: u64, committed: u64, last: LogPosition },
    PurgesUnknown { through: LogPosition, known: Option<u64>, purged: LogPosition },
    CommitOutside { index: u64, committed: u64, last: LogPosition },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VoteChanged { saved, vote } => write!(
                f,
                "the vote for {:?} in term {} contradicts the saved one for {:?} in term {}",
                vote.voted_for, vote.term, saved.voted_for, saved.term
            ),
            Self::NotContiguous { last, entries, count } => {
                write!(f, "{count} entries from {entries} do not follow the last entry, {last}")
            }
            Self::TruncatesCommitted { after, committed, last } => write!(
                f,
                "a truncation after index {after} is outside of what may go: committed {committed}, last {last}"
            ),
            Self::PurgesUnknown { through, known, purged } => write!(
                f,
                "a purge through {through} contradicts the log: term {known:?} there, purged through {purged}"
            ),
            Self::CommitOutside { index, committed, last } => {
                write!(f, "committed index {index} is outside of {committed}..={}", last.index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition { term, index }
    }

    /// Entries 1..=3 of term 1, 4..=6 of term 2 (marked), committed up to 2.
    fn six_entries() -> GroupState {
        let mut state = GroupState::default();
        state.apply(&Summary::Entries { term: 1, first: 1, count: 3, marked: false }).unwrap();
        state.apply(&Summary::Entries { term: 2, first: 4, count: 3, marked: true }).unwrap();
        state.apply(&Summary::Committed { index: 2 }).unwrap();
        state
    }

    fn refuses(state: &GroupState, summary: Summary) {
        let mut copy = state.clone();
        assert!(copy.apply(&summary).is_err(), "{summary:?} was accepted");
        assert_eq!(&copy, state, "a refused record changed the state");
    }

    #[test]
    fn entries_extend_the_log_and_open_terms() {
        let state = six_entries();
        assert_eq!(state.last, position(2, 6));
        assert_eq!(state.terms, [position(1, 1), position(2, 4)]);
        assert_eq!(state.marked, [4, 5, 6]);
        assert_eq!((state.term_at(0), state.term_at(3), state.term_at(4)), (Some(0), Some(1), Some(2)));
    }

    #[test]
    fn entries_must_follow_the_last_one() {
        for (term, first, count) in [(2, 8, 1), (2, 6, 1), (1, 7, 1), (2, 7, 0)] {
            refuses(&six_entries(), Summary::Entries { term, first, count, marked: false });
        }
    }

    #[test]
    fn behind_every_entry_there_is_an_index_for_the_next() {
        let mut state = GroupState::default();
        refuses(&state, Summary::Purge { through: position(2, u64::MAX) });
        state.apply(&Summary::Purge { through: position(2, u64::MAX - 2) }).unwrap();
        refuses(&state, Summary::Entries { term: 2, first: u64::MAX - 1, count: 2, marked: false });
        state.apply(&Summary::Entries { term: 2, first: u64::MAX - 1, count: 1, marked: false }).unwrap();
        refuses(&state, Summary::Entries { term: 2, first: u64::MAX, count: 1, marked: false });
    }

    #[test]
    fn a_truncation_goes_back_to_the_term_before() {
        let mut state = six_entries();
        state.apply(&Summary::Truncate { after: 3 }).unwrap();
        assert_eq!((state.last, state.terms.len(), state.marked.len()), (position(1, 3), 1, 0));
        refuses(&state, Summary::Truncate { after: 1 });
        refuses(&state, Summary::Truncate { after: 4 });
    }

    #[test]
    fn a_purge_keeps_the_term_of_what_follows() {
        let mut state = six_entries();
        state.apply(&Summary::Purge { through: position(2, 4) }).unwrap();
        assert_eq!((state.purged, state.committed), (position(2, 4), 4));
        assert_eq!(state.terms, [position(2, 5)]);
        assert_eq!(state.marked, [5, 6]);
        refuses(&state, Summary::Purge { through: position(1, 3) });
        refuses(&state, Summary::Purge { through: position(1, 5) });
        state.apply(&Summary::Purge { through: position(9, 20) }).unwrap();
        assert_eq!((state.last, state.terms.len()), (position(9, 20), 0));
        state.apply(&Summary::Entries { term: 9, first: 21, count: 1, marked: false }).unwrap();
        assert_eq!(state.terms, [position(9, 21)]);
    }

    #[test]
    fn votes_and_commits_never_go_back() {
        let mut state = six_entries();
        state.apply(&Summary::Vote(Vote { term: 5, voted_for: None })).unwrap();
        state.apply(&Summary::Vote(Vote { term: 5, voted_for: Some(1) })).unwrap();
        refuses(&state, Summary::Vote(Vote { term: 5, voted_for: Some(2) }));
        refuses(&state, Summary::Vote(Vote { term: 5, voted_for: None }));
        refuses(&state, Summary::Vote(Vote { term: 4, voted_for: Some(1) }));
        refuses(&state, Summary::Committed { index: 1 });
        refuses(&state, Summary::Committed { index: 7 });
    }

    #[test]
    fn a_purge_of_less_than_is_committed_takes_no_commit_back() {
        let mut state = six_entries();
        state.apply(&Summary::Committed { index: 5 }).unwrap();
        state.apply(&Summary::Purge { through: position(1, 3) }).unwrap();
        assert_eq!((state.purged.index, state.committed), (3, 5));
    }
}
