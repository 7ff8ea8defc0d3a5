//! Messages, and the bag that is the network: it loses nothing by itself, keeps no order, and may hold two of a kind.
//!
//! ```text
//!   send       count + 1
//!   discard    count - 1; at zero the message is gone: nobody can receive or duplicate it any more
//!   reply      discard the request and send the response, in one step
//! ```

use crate::log::{Entry, Log, LogIndex, Term};
use crate::server_set::ServerId;
use std::fmt;

/// A message between two servers (or from a server to itself: a candidate's request for its own vote).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message<V> {
    /// The sender's term when it sent this.
    pub term: Term,
    /// Who sent it.
    pub source: ServerId,
    /// Who may receive it.
    pub dest: ServerId,
    /// What it says.
    pub body: Body<V>,
    /// For proofs only, raft.tla's `mlog`: the sender's log when it sent an `AppendEntriesRequest` or a
    /// `RequestVoteResponse`. No server reads it. It is empty in other messages and wherever histories are not kept.
    pub log: Log<V>,
}

impl<V> Message<V> {
    /// The message that says `body`, with no log for proofs.
    #[must_use]
    pub fn new(term: Term, source: ServerId, dest: ServerId, body: Body<V>) -> Self {
        Self { term, source, dest, body, log: Log::new() }
    }
}

/// The four kinds of message (Raft paper, figure 2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body<V> {
    /// A candidate asks for a vote.
    RequestVoteRequest {
        /// The term of the candidate's last entry, [`Term::ZERO`] when its log is empty.
        last_log_term: Term,
        /// The length of the candidate's log.
        last_log_index: LogIndex,
    },
    /// The answer to a request for a vote.
    RequestVoteResponse {
        /// Whether the sender votes for the receiver in the message's term.
        vote_granted: bool,
    },
    /// A leader replicates one entry, or none as a heartbeat.
    AppendEntriesRequest(AppendEntriesRequest<V>),
    /// The answer to an `AppendEntriesRequest`.
    AppendEntriesResponse {
        /// Whether the sender's log agrees with the request.
        success: bool,
        /// On success the last place that the request covered, else 0.
        match_index: LogIndex,
    },
}

/// What a leader tells a follower about its log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendEntriesRequest<V> {
    /// The place just before `entry`, 0 for the first.
    pub prev_log_index: LogIndex,
    /// The leader's term at `prev_log_index`, [`Term::ZERO`] where it has no entry.
    pub prev_log_term: Term,
    /// raft.tla's `mentries`, a sequence of at most one entry.
    pub entry: Option<Entry<V>>,
    /// The leader's commit index, at most the last place that this message covers.
    pub commit_index: LogIndex,
}

impl<V: fmt::Debug> fmt::Display for Message<V> {
    /// Prints one line: `s1 -> s2 term 2 RequestVoteRequest last 0@0`, a place being written index@term.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} term {} ", self.source, self.dest, self.term)?;
        match &self.body {
            Body::RequestVoteRequest { last_log_term, last_log_index } => {
                write!(f, "RequestVoteRequest last {last_log_index}@{last_log_term}")
            }
            Body::RequestVoteResponse { vote_granted: true } => f.write_str("RequestVoteResponse granted"),
            Body::RequestVoteResponse { vote_granted: false } => f.write_str("RequestVoteResponse refused"),
            Body::AppendEntriesRequest(request) => request.fmt(f),
            Body::AppendEntriesResponse { success: true, match_index } => {
                write!(f, "AppendEntriesResponse match {match_index}")
            }
            Body::AppendEntriesResponse { success: false, .. } => f.write_str("AppendEntriesResponse rejected"),
        }
    }
}

impl<V: fmt::Debug> fmt::Display for AppendEntriesRequest<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prev_log_index, prev_log_term, entry, commit_index } = self;
        write!(f, "AppendEntriesRequest prev {prev_log_index}@{prev_log_term} ")?;
        if let Some(entry) = entry {
            write!(f, "entry {}:{:?} ", entry.term, entry.value)?;
        }
        write!(f, "commit {commit_index}")
    }
}

/// A bag (multiset): how many of each element there are. An element that there is none of is not in it.
///
/// ```
/// use outrigger_model::Bag;
///
/// let mut bag = Bag::new();
/// bag.send("x");
/// bag.send("x");
/// assert_eq!(bag.count(&"x"), 2);
/// assert!(bag.discard(&"x") && bag.discard(&"x"));
/// assert!(!bag.contains(&"x"));
/// assert_eq!(bag, Bag::new());
/// ```
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bag<T> {
    /// Strictly ascending by element; every count is at least 1.
    counts: Vec<(T, usize)>,
}

impl<T> Bag<T> {
    /// The bag that holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Takes everything away.
    pub(crate) fn clear(&mut self) {
        self.counts.clear();
    }

    /// The number of elements, copies counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The elements with their counts, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&T, usize)> {
        self.counts.iter().map(|(element, count)| (element, *count))
    }
}

impl<T: Clone> Clone for Bag<T> {
    fn clone(&self) -> Self {
        Self { counts: self.counts.clone() }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &Self) {
        self.counts.clone_from(&source.counts);
    }
}

impl<T: Ord> Bag<T> {
    /// Adds one `element`.
    pub fn send(&mut self, element: T) {
        match self.place(&element) {
            Ok(place) => self.counts[place].1 += 1,
            Err(place) => self.counts.insert(place, (element, 1)),
        }
    }

    /// Takes one `element` away; `false` if there was none.
    pub fn discard(&mut self, element: &T) -> bool {
        let Ok(place) = self.place(element) else {
            return false;
        };
        if self.counts[place].1 > 1 {
            self.counts[place].1 -= 1;
        } else {
            self.counts.remove(place);
        }
        true
    }

    /// How many there are of `element`.
    #[must_use]
    pub fn count(&self, element: &T) -> usize {
        self.place(element).map_or(0, |place| self.counts[place].1)
    }

    /// Whether there is any `element`.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.place(element).is_ok()
    }

    /// Where `element` is (`Ok`) or would be (`Err`).
    fn place(&self, element: &T) -> Result<usize, usize> {
        self.counts.binary_search_by(|(own, _)| own.cmp(element))
    }
}

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_is_the_same_value_whatever_the_order_of_sending() {
        let mut one = Bag::new();
        let mut other = Bag::new();
        for number in [3, 1, 2, 1] {
            one.send(number);
        }
        for number in [1, 1, 2, 3] {
            other.send(number);
        }
        assert_eq!(one, other);
        assert_eq!((one.len(), one.count(&1), one.count(&4)), (4, 2, 0));
    }

    #[test]
    fn what_was_discarded_to_zero_is_gone() {
        let mut bag = Bag::new();
        bag.send(1);
        assert!(bag.discard(&1));
        assert!(!bag.discard(&1));
        assert!(bag.is_empty() && bag.iter().next().is_none());
    }

    #[test]
    fn a_message_prints_as_one_line() {
        let body = Body::AppendEntriesRequest(AppendEntriesRequest {
            prev_log_index: LogIndex(1),
            prev_log_term: Term(2),
            entry: Some(Entry { term: Term(3), value: 'x' }),
            commit_index: LogIndex(1),
        });
        let message = Message::new(Term(3), ServerId(1), ServerId(2), body);
        assert_eq!(message.to_string(), "s1 -> s2 term 3 AppendEntriesRequest prev 1@2 entry 3:'x' commit 1");
    }
}
