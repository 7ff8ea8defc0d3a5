//! The log of a server: a sequence of entries with indexes from 1, and the numbers that name a place in it.
//!
//! ```text
//!   index     0    1    2    3    4         len() is 4, last_term() is 3
//!   term      0    1    1    2    3         index 0 stands before the first entry and has term 0
//!   value     -    a    b    c    d
//! ```

use std::fmt;

/// A term. 0 is the term of the place before the first entry; servers start in term 1 (Raft paper, 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(
    /// The number of the term.
    pub usize,
);

impl Term {
    /// What stands before the first term; no server is ever in it.
    pub const ZERO: Self = Self(0);
    /// The term in which every server starts.
    pub const FIRST: Self = Self(1);

    /// The term after this one; `None` after the last that a number can name.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the log. The first entry has index 1; 0 stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(
    /// The number of entries up to and including this place.
    pub usize,
);

impl LogIndex {
    /// The place before the first entry.
    pub const ZERO: Self = Self(0);
    /// The place of the first entry.
    pub const FIRST: Self = Self(1);

    /// The place after this one. It stops at the largest number, which no log can reach.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; 0 for 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a leader appended for a client: {term, value}.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry<V> {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// What the client asked for; the protocol never looks into it.
    pub value: V,
}

/// A server's log.
///
/// ```
/// use outrigger_model::{Entry, Log, LogIndex, Term};
///
/// let mut log = Log::new();
/// assert_eq!(log.last_term(), Term::ZERO);
/// log.push(Entry { term: Term(1), value: 'x' });
/// assert_eq!(log.len(), LogIndex(1));
/// assert_eq!(log.term_at(LogIndex(1)), Term(1));
/// assert_eq!(log.entry(LogIndex(0)), None);
/// ```
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log<V> {
    /// The entry of index n is at position n - 1.
    entries: Vec<Entry<V>>,
}

impl<V> Log<V> {
    /// The log without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// `Len(log)`: the index of the last entry, 0 for the empty log.
    #[must_use]
    pub fn len(&self) -> LogIndex {
        LogIndex(self.entries.len())
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `index`; `None` at 0 and past the end.
    #[must_use]
    pub fn entry(&self, index: LogIndex) -> Option<&Entry<V>> {
        self.entries.get(index.0.checked_sub(1)?)
    }

    /// The term of the entry at `index`, [`Term::ZERO`] where there is none.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Term {
        self.entry(index).map_or(Term::ZERO, |entry| entry.term)
    }

    /// `LastTerm(log)`: the term of the last entry, [`Term::ZERO`] for the empty log.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(Term::ZERO, |entry| entry.term)
    }

    /// `Append(log, entry)`.
    pub fn push(&mut self, entry: Entry<V>) {
        self.entries.push(entry);
    }

    /// Removes every entry.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Removes the last entry and returns it.
    pub fn pop(&mut self) -> Option<Entry<V>> {
        self.entries.pop()
    }

    /// The entries with their indexes, from the first on.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (LogIndex, &Entry<V>)> {
        self.entries.iter().enumerate().map(|(position, entry)| (LogIndex(position).next(), entry))
    }

    /// The largest index up to which both logs hold equal entries.
    #[must_use]
    pub fn common_prefix(&self, other: &Self) -> LogIndex
    where
        V: PartialEq,
    {
        let pairs = self.entries.iter().zip(&other.entries);
        LogIndex(pairs.take_while(|(own, others)| own == others).count())
    }
}

impl<V: Clone> Clone for Log<V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &Self) {
        self.entries.clone_from(&source.entries);
    }
}

impl<V> Default for Log<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> FromIterator<Entry<V>> for Log<V> {
    fn from_iter<I: IntoIterator<Item = Entry<V>>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

impl<V: fmt::Debug> fmt::Display for Log<V> {
    /// Prints terms and values: `[1:'a' 2:'b']`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, entry) in self.iter() {
            let separator = if index == LogIndex::FIRST { "" } else { " " };
            write!(f, "{separator}{}:{:?}", entry.term, entry.value)?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[usize]) -> Log<char> {
        let entry = |&term| Entry { term: Term(term), value: 'v' };
        terms.iter().map(entry).collect()
    }

    #[test]
    fn places_outside_the_log_have_term_zero() {
        let log = log(&[1, 3]);
        assert_eq!(log.term_at(LogIndex(0)), Term::ZERO);
        assert_eq!(log.term_at(LogIndex(2)), Term(3));
        assert_eq!(log.term_at(LogIndex(usize::MAX)), Term::ZERO);
    }

    #[test]
    fn numbers_stop_at_their_ends() {
        assert_eq!(Term(usize::MAX).next(), None);
        assert_eq!(LogIndex(usize::MAX).next(), LogIndex(usize::MAX));
        assert_eq!(LogIndex::ZERO.previous(), LogIndex::ZERO);
    }

    #[test]
    fn a_common_prefix_ends_where_entries_differ() {
        assert_eq!(log(&[1, 1, 2]).common_prefix(&log(&[1, 1, 3])), LogIndex(2));
        assert_eq!(log(&[1]).common_prefix(&log(&[1, 1])), LogIndex(1));
        assert_eq!(log(&[1, 2]).to_string(), "[1:'v' 2:'v']");
    }
}
