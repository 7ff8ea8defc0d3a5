//! What was said, and what has been: knowledge that only grows.

use super::ReadId;
use crate::log::{Entry, Log, LogIndex, Term};
use crate::server_set::ServerId;
use std::collections::{BTreeMap, BTreeSet};

/// A read of a client, from its question to its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    /// What was committed, anywhere, when the client asked: its answer must be at least as new.
    pub floor: LogIndex,
    /// What the leader noted: itself and its term, what must be applied, and the round that proves that it leads.
    pub begun: Option<(ServerId, Term, LogIndex, usize)>,
    /// What must be applied, once a quorum has answered that round.
    pub confirmed: Option<LogIndex>,
    /// The commit index of who answered.
    pub served: Option<LogIndex>,
}

/// Everything that may arrive anywhere, at any time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Said<V> {
    /// The entry of term 0, once a server has it.
    pub first: Option<V>,
    /// Who asked for votes in which term, with the term and the index of the last entry of its log.
    pub asked: BTreeMap<(Term, ServerId), (Term, LogIndex)>,
    /// Durable votes: the term, the voter, the candidate.
    pub granted: BTreeSet<(Term, ServerId, ServerId)>,
    /// The log of each leader, as far as it ever went in its term.
    pub led: BTreeMap<(Term, ServerId), Log<V>>,
    /// How far each leader's log was durable on each follower, in its term.
    pub acknowledged: BTreeMap<(Term, ServerId), LogIndex>,
    /// How much each leader had committed in its term.
    pub told: BTreeMap<(Term, ServerId), LogIndex>,
    /// The last round of heartbeats of each leader.
    pub begun: BTreeMap<(Term, ServerId), usize>,
    /// The last round of the leader, the first, that the follower has answered.
    pub answered: BTreeMap<(Term, ServerId, ServerId), usize>,
    /// Every entry that was ever committed, the first term in which it was, and where the configuration that it was committed
    /// by stands in the log of that term's leader; 0 for none. For invariants only.
    pub committed: BTreeMap<(LogIndex, Entry<V>), (Term, LogIndex)>,
    /// Every read. Its floor is for invariants only.
    pub reads: BTreeMap<ReadId, Read>,
}

impl<V> Default for Said<V> {
    fn default() -> Self {
        Self {
            first: None,
            asked: BTreeMap::new(),
            granted: BTreeSet::new(),
            led: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            told: BTreeMap::new(),
            begun: BTreeMap::new(),
            answered: BTreeMap::new(),
            committed: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }
}

impl<V: Ord> Said<V> {
    /// The last index that was ever committed.
    #[must_use]
    pub fn last_committed(&self) -> LogIndex {
        self.committed.last_key_value().map_or(LogIndex::ZERO, |((index, _), _)| *index)
    }

    /// The log of the leader of a term.
    #[must_use]
    pub fn led_in(&self, term: Term) -> Option<&Log<V>> {
        let led = self.led.range((term, ServerId(0))..).next();
        led.filter(|((of, _), _)| *of == term).map(|(_, log)| log)
    }

    /// How much the leader of a term had committed in it.
    #[must_use]
    pub fn told_in(&self, term: Term) -> Option<LogIndex> {
        let told = self.told.range((term, ServerId(0))..).next();
        told.filter(|((of, _), _)| *of == term).map(|(_, index)| *index)
    }

    /// Whether a leader was ever known by this name in this term.
    #[must_use]
    pub fn has_led(&self, leader: ServerId, term: Term) -> bool {
        self.led.contains_key(&(term, leader))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{S1, S2, committed};
    use super::*;

    #[test]
    fn a_term_has_its_own_leader_or_none() {
        let said = committed().said;
        assert_eq!(said.led_in(Term(1)).map(Log::len), Some(LogIndex(1)));
        assert_eq!(said.told_in(Term(1)), Some(LogIndex(1)));
        for term in [Term(0), Term(2)] {
            assert_eq!((said.led_in(term), said.told_in(term)), (None, None), "nobody led in term {term}");
        }
        assert!(said.has_led(S1, Term(1)) && !said.has_led(S2, Term(1)) && !said.has_led(S1, Term(2)));
    }
}
