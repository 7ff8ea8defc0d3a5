//! The ids of a whole log in a few words: the first id of each term. Terms are answered from here, never from storage.
//!
//! ```text
//!   log        1/1 1/2 1/3 | 4/4 4/5 | 5/6
//!   terms      1/1           4/4       5/6         last 5/6
//!
//!   purged     ...       1/3 | 4/4 4/5 | 5/6       a snapshot covers what was before: only the last of it is known
//!   terms                      4/4       5/6         purged 1/3
//! ```

use crate::fingerprint::Fingerprint;
use crate::types::{LogId, LogIndex, Term};

/// Which ids a log holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogIds {
    /// The first id of each term; terms and indexes increase; the first one is the first entry of the log.
    terms: Vec<LogId>,
    /// The last entry; `purged` of an empty log. Not before the last of `terms`.
    last: LogId,
    /// What stands before the first entry: committed, and no longer in the log. [`LogId::ZERO`] before the first purge.
    purged: LogId,
}

impl LogIds {
    pub(crate) fn restore(terms: Vec<LogId>, last: LogId, purged: LogId) -> Self {
        let ids = Self { terms, last, purged };
        ids.check();
        ids
    }

    fn check(&self) {
        let increasing = |pair: &[LogId]| pair[0].term < pair[1].term && pair[0].index < pair[1].index;
        assert!(self.terms.windows(2).all(increasing), "terms and indexes increase: {:?}", self.terms);
        match self.terms.last() {
            Some(first) => assert!(first.term == self.last.term && first.index <= self.last.index, "{self:?}"),
            None => assert_eq!(self.last, self.purged, "an empty log ends with what was purged"),
        }
        let first = self.terms.first().copied().unwrap_or(self.last);
        assert!(self.purged.term <= first.term && self.purged.index <= self.last.index, "{self:?}");
        assert!(self.terms.first().is_none_or(|first| first.index == self.purged.index.next()), "{self:?}");
    }

    /// What stands before the first entry.
    pub(crate) const fn purged(&self) -> LogId {
        self.purged
    }

    pub(crate) const fn last(&self) -> LogId {
        self.last
    }

    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { terms, last, purged } = self;
        out.size(terms.len());
        terms.iter().for_each(|first| out.log_id(*first));
        out.log_id(*last);
        out.log_id(*purged);
    }

    /// The term of the entry at `index`, or of what stands before the first; `None` for what is not in the log.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index > self.last.index {
            return None;
        }
        let later = self.terms.partition_point(|first| first.index <= index);
        self.terms.get(later.checked_sub(1)?).map(|first| first.term)
    }

    pub(crate) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        self.term_at(index).map(|term| LogId { term, index })
    }

    /// Whether the log holds this very entry, or begins right behind it.
    pub(crate) fn has(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The last entry at or before `limit` whose term is not above `limit`'s: the last place where a log that ends
    /// its term-wise comparison at `limit` can agree with this one. Where it must lie before what this log reaches back to, that
    /// is all that is known of it, and it is answered under `limit`'s term.
    pub(crate) fn last_not_beyond(&self, limit: LogId) -> LogId {
        if limit.index < self.purged.index {
            return limit;
        }
        if limit.term < self.purged.term {
            return LogId { index: self.purged.index.previous(), ..limit };
        }
        let mut index = limit.index.min(self.last.index);
        for first in self.terms.iter().rev() {
            if first.index > index {
                continue;
            }
            if first.term <= limit.term {
                return LogId { term: first.term, index };
            }
            index = first.index.previous();
        }
        self.purged
    }

    /// The first index in `first..=last` at which the log does not hold an entry of `first`'s term.
    pub(crate) fn first_difference(&self, first: LogId, last: LogId) -> Option<LogIndex> {
        assert!(first.term == last.term && first.index <= last.index, "a run of one term: {first}..{last}");
        if first.index > self.last.index {
            return Some(first.index);
        }
        // Terms never go back along a log: if both ends have the term, all between have it.
        if self.has(first) && self.has(last) {
            return None;
        }
        let mut index = first.index;
        while self.term_at(index) == Some(first.term) {
            index = index.next();
        }
        Some(index)
    }

    pub(crate) fn append(&mut self, first: LogId, last: LogId) {
        assert_eq!(first.index, self.last.index.next(), "entries follow the last one, {}", self.last);
        assert!(first.term >= self.last.term, "terms go back from {} to {first}", self.last);
        assert!(first.term == last.term && first.index <= last.index, "a run of one term: {first}..{last}");
        if self.terms.last().is_none_or(|known| known.term < first.term) {
            self.terms.push(first);
        }
        self.last = last;
    }

    pub(crate) fn truncate(&mut self, after: LogId) {
        assert!(self.has(after), "truncating after {after}, which the log does not hold");
        let kept = self.terms.partition_point(|first| first.index <= after.index);
        self.terms.truncate(kept);
        self.last = after;
        self.check();
    }

    /// Lets go of the entries up to `through`; of all, if the log does not hold it: then a snapshot takes their place.
    pub(crate) fn purge(&mut self, through: LogId) {
        assert!(through.index >= self.purged.index, "a purge goes back from {} to {through}", self.purged);
        if !self.has(through) {
            self.terms.clear();
            self.last = through;
        }
        let later = self.terms.partition_point(|first| first.index <= through.index);
        let behind = LogId { index: through.index.next(), ..through };
        let runs_on = self.term_at(behind.index) == Some(behind.term);
        self.terms.drain(..later);
        if runs_on {
            self.terms.insert(0, behind);
        }
        self.purged = through;
        self.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(term, index)
    }

    /// 1/1 1/2 1/3 | 4/4 4/5 | 5/6
    fn sample() -> LogIds {
        let mut ids = LogIds::restore(vec![], LogId::ZERO, LogId::ZERO);
        ids.append(id(1, 1), id(1, 2));
        ids.append(id(1, 3), id(1, 3));
        ids.append(id(4, 4), id(4, 5));
        ids.append(id(5, 6), id(5, 6));
        ids
    }

    #[test]
    fn terms_are_answered_for_every_index() {
        let ids = sample();
        let terms: Vec<_> = (0..=7).map(|index| ids.term_at(LogIndex(index)).map(|term| term.0)).collect();
        assert_eq!(terms, [Some(0), Some(1), Some(1), Some(1), Some(4), Some(4), Some(5), None]);
        assert!(ids.has(LogId::ZERO) && ids.has(id(4, 5)) && !ids.has(id(3, 5)) && !ids.has(id(5, 7)));
    }

    #[test]
    fn truncation_forgets_terms_and_lets_others_take_their_place() {
        let mut ids = sample();
        ids.truncate(id(4, 4));
        assert_eq!((ids.last(), ids.term_at(LogIndex(5))), (id(4, 4), None));
        ids.truncate(id(1, 3));
        ids.append(id(2, 4), id(2, 9));
        assert_eq!(ids.term_at(LogIndex(7)), Some(Term(2)));
        ids.truncate(LogId::ZERO);
        assert_eq!(ids, LogIds::restore(vec![], LogId::ZERO, LogId::ZERO));
    }

    #[test]
    fn a_purge_keeps_the_ids_of_what_follows_and_the_last_of_what_went() {
        let mut ids = sample();
        ids.purge(id(1, 2));
        assert_eq!((ids.purged(), ids.terms.clone()), (id(1, 2), vec![id(1, 3), id(4, 4), id(5, 6)]));
        ids.purge(id(1, 3));
        assert_eq!(ids.terms, [id(4, 4), id(5, 6)]);
        let terms: Vec<_> = (1..=6).map(|index| ids.term_at(LogIndex(index)).map(|term| term.0)).collect();
        assert_eq!(terms, [None, None, Some(1), Some(4), Some(4), Some(5)]);
        assert!(ids.has(id(1, 3)) && !ids.has(LogId::ZERO));
        assert_eq!(ids.last_not_beyond(id(3, 5)), id(1, 3), "what was purged is all that can agree");
        assert_eq!(ids.last_not_beyond(id(1, 2)), id(1, 2), "and of what was before it nothing is known");
        assert_eq!(ids.last_not_beyond(id(0, 5)), id(0, 2), "what was purged is of a later term");
        ids.purge(id(5, 6));
        assert_eq!((ids.last(), ids.terms.len()), (id(5, 6), 0));
        ids.append(id(5, 7), id(5, 8));
        assert_eq!((ids.terms.clone(), ids.last()), (vec![id(5, 7)], id(5, 8)));
    }

    #[test]
    fn what_a_snapshot_brings_takes_the_place_of_a_log_that_does_not_hold_it() {
        let mut ids = sample();
        ids.purge(id(6, 9));
        assert_eq!(ids, LogIds::restore(vec![], id(6, 9), id(6, 9)));
        let mut ids = sample();
        ids.purge(id(7, 5));
        assert_eq!((ids.last(), ids.term_at(LogIndex(6))), (id(7, 5), None), "another entry stands there");
    }

    #[test]
    fn a_hint_is_the_last_place_where_two_logs_can_agree() {
        let ids = sample();
        assert_eq!(ids.last_not_beyond(id(5, 9)), id(5, 6), "behind the log");
        assert_eq!(ids.last_not_beyond(id(4, 6)), id(4, 5), "skips a term that is too high");
        assert_eq!(ids.last_not_beyond(id(3, 6)), id(1, 3), "skips two");
        assert_eq!(ids.last_not_beyond(id(0, 6)), LogId::ZERO, "nothing is left");
    }

    #[test]
    fn the_first_difference_ends_the_equal_prefix() {
        let ids = sample();
        assert_eq!(ids.first_difference(id(4, 4), id(4, 5)), None);
        assert_eq!(ids.first_difference(id(4, 4), id(4, 8)), Some(LogIndex(6)));
        assert_eq!(ids.first_difference(id(5, 6), id(5, 8)), Some(LogIndex(7)));
        assert_eq!(ids.first_difference(id(2, 2), id(2, 3)), Some(LogIndex(2)));
        assert_eq!(ids.first_difference(id(5, 7), id(5, 7)), Some(LogIndex(7)));
    }
}
