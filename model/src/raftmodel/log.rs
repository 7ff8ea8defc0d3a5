//! Logs in the form of this API: a vector whose position is the index, with a placeholder at 0.

use crate::log::{Entry, Term};
use std::fmt::Debug;

/// An entry of a log: what a client asked for, and the term of the leader that took it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogEntry<T: Sized + Clone + PartialEq + Eq + Default + Debug> {
    /// The term, from 1 on; 0 in the placeholder before the first entry.
    pub term: usize,
    /// The client's value.
    pub item: T,
}

/// A log without entries. Indexes start at 1, so it holds a placeholder at 0, which nobody reads.
///
/// ```
/// use outrigger_model::raftmodel::*;
///
/// assert_eq!(create_empty_log::<String>().len(), 1);
/// ```
#[must_use]
pub fn create_empty_log<T>() -> Vec<LogEntry<T>>
where
    T: Sized + Clone + PartialEq + Eq + Default + Debug,
{
    vec![LogEntry::default()]
}

/// Puts `entries` into `log` behind the place `prev_index`, as a follower does (Raft paper, figure 2, `AppendEntries`,
/// steps 2 to 4): what is there already stays, and from the first entry of another term on the log is replaced.
///
/// Returns `false`, and changes nothing, if the log has no entry of `prev_term` at `prev_index`. The place 0 is always there.
///
/// ```
/// use outrigger_model::raftmodel::*;
///
/// let entry = |term, item| LogEntry { term, item };
/// let mut log = create_empty_log();
/// assert!(append_entries(&mut log, 0, 0, vec![entry(1, "a"), entry(1, "b")]));
/// // There is no entry 3, so there cannot be a fourth.
/// assert!(!append_entries(&mut log, 3, 1, vec![entry(1, "d")]));
/// // A request that arrives late takes nothing away.
/// assert!(append_entries(&mut log, 0, 0, vec![entry(1, "a")]));
/// assert_eq!(log.len(), 3);
/// // A leader of term 2 has something else at index 2.
/// assert!(append_entries(&mut log, 1, 1, vec![entry(2, "c")]));
/// assert_eq!(log[1..], [entry(1, "a"), entry(2, "c")]);
/// ```
pub fn append_entries<T: Sized + Clone + PartialEq + Eq + Default + Debug>(
    log: &mut Vec<LogEntry<T>>,
    prev_index: usize,
    prev_term: usize,
    entries: Vec<LogEntry<T>>,
) -> bool {
    let has_prev = || log.get(prev_index).is_some_and(|own| own.term == prev_term);
    if prev_index != 0 && !has_prev() {
        return false;
    }
    if log.is_empty() {
        log.push(LogEntry::default());
    }
    for (index, entry) in (prev_index + 1..).zip(entries) {
        let present = log.get(index).is_some_and(|own| own.term == entry.term);
        if !present {
            log.truncate(index);
            log.push(entry);
        }
    }
    true
}

impl<T> From<LogEntry<T>> for Entry<T>
where
    T: Sized + Clone + PartialEq + Eq + Default + Debug,
{
    fn from(entry: LogEntry<T>) -> Self {
        Entry { term: Term(entry.term), value: entry.item }
    }
}

impl<T> From<Entry<T>> for LogEntry<T>
where
    T: Sized + Clone + PartialEq + Eq + Default + Debug,
{
    fn from(entry: Entry<T>) -> Self {
        LogEntry { term: entry.term.0, item: entry.value }
    }
}
