//! Which endpoint to ask next.
//!
//! ```text
//!   writes, queries      the leader, if an address is known and did not just fail ──► else the named ones in turn
//!   local queries        the named ones in turn, and no others
//!   stale queries        the named one whose turn it is; if its state is too old, as other queries
//! ```
//!
//! A named endpoint is asked as long as it answers, so that a client stays where it is at home. When one does not say
//! hello at once, the next is tried beside it, and the first that does is where the client goes.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use super::protocol::Leader;

/// An address that a node told and that failed is not tried again for so long: it may not be reachable from here.
const SHUNNED: Duration = Duration::from_secs(10);
/// A leader that cannot do what it was asked is not asked again for so long: it may lead no more, and not know who does.
const RESTED: Duration = Duration::from_secs(1);

/// The endpoints that were named, and the leader that was learned.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// As they were named; not empty.
    named: Vec<String>,
    /// Which of `named` is asked; below its length.
    current: usize,
    /// The last leader that a node told; its term never goes back.
    leader: Leader,
    /// Addresses of leaders that failed, and until when they are not tried.
    shunned: BTreeMap<String, Instant>,
}

impl Endpoints {
    pub(super) fn new(named: Vec<String>, first: usize) -> Self {
        assert!(!named.is_empty(), "a client needs an endpoint");
        let current = first % named.len();
        Self { named, current, leader: Leader::default(), shunned: BTreeMap::new() }
    }

    /// How many were named.
    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    /// Whom to ask; only a named endpoint if `named`.
    pub(super) fn choose(&self, named: bool, now: Instant) -> &str {
        let leader = Some(self.leader.address.as_str()).filter(|address| !named && !address.is_empty());
        let leader = leader.filter(|address| self.shunned.get(*address).is_none_or(|until| *until <= now));
        leader.unwrap_or(&self.named[self.current])
    }

    /// Whom to ask, and whom if that one is silent: each once.
    pub(super) fn candidates(&self, named: bool, now: Instant) -> Vec<String> {
        let first = self.choose(named, now);
        let (before, from) = self.named.split_at(self.current);
        let mut candidates = vec![first.to_owned()];
        for endpoint in from.iter().chain(before) {
            if !candidates.contains(endpoint) {
                candidates.push(endpoint.clone());
            }
        }
        candidates
    }

    /// This endpoint answered first: if it is a named one, it is where the client goes from now on. Who was asked because it
    /// leads is not: the client stays where it is at home.
    pub(super) fn prefer(&mut self, endpoint: &str, named: bool) {
        if !named && self.leader.address == endpoint {
            return;
        }
        if let Some(place) = self.named.iter().position(|named| named == endpoint) {
            self.current = place;
        }
    }

    /// A node told who leads.
    pub(super) fn learn(&mut self, leader: Leader) {
        let forgets = leader.term == self.leader.term && leader.address.is_empty();
        if leader.term >= self.leader.term && !forgets {
            self.leader = leader;
        }
    }

    /// An endpoint cannot be reached.
    pub(super) fn failed(&mut self, endpoint: &str, now: Instant) {
        if self.leader.address == endpoint {
            self.shunned.retain(|_, until| *until > now);
            self.shunned.insert(endpoint.to_owned(), now + SHUNNED);
            self.leader.address.clear();
        }
        self.turn(endpoint, now);
    }

    /// An endpoint cannot do now what it was asked; if it is a named one, the next takes its turn.
    pub(super) fn turn(&mut self, endpoint: &str, now: Instant) {
        if self.leader.address == endpoint {
            self.shunned.insert(endpoint.to_owned(), now + RESTED);
        }
        if self.named[self.current] == endpoint {
            self.current = (self.current + 1) % self.named.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::Term;

    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints::new(["a", "b", "c"].map(str::to_owned).to_vec(), 0)
    }

    fn leader(term: u64, address: &str) -> Leader {
        Leader { term: Term(term), address: address.to_owned() }
    }

    #[test]
    fn the_leader_is_asked_first_and_named_endpoints_in_turn_as_they_fail() {
        let (mut endpoints, now) = (endpoints(), Instant::now());
        assert_eq!(endpoints.choose(false, now), "a");
        endpoints.failed("a", now);
        assert_eq!(endpoints.choose(false, now), "b");
        endpoints.learn(leader(2, "z"));
        assert_eq!((endpoints.choose(false, now), endpoints.choose(true, now)), ("z", "b"));
        endpoints.failed("z", now);
        assert_eq!(endpoints.choose(false, now), "b");
        endpoints.failed("b", now);
        endpoints.failed("c", now);
        assert_eq!(endpoints.choose(false, now), "a");
        endpoints.failed("c", now);
        assert_eq!(endpoints.choose(false, now), "a", "who is not asked now fails nothing");
    }

    #[test]
    fn the_others_stand_by_each_once_and_who_answers_first_is_preferred() {
        let (mut endpoints, now) = (endpoints(), Instant::now());
        assert_eq!(endpoints.candidates(false, now), ["a", "b", "c"]);
        endpoints.learn(leader(1, "c"));
        assert_eq!(endpoints.candidates(false, now), ["c", "a", "b"]);
        endpoints.prefer("c", false);
        assert_eq!(
            endpoints.choose(true, now),
            "a",
            "who is asked because it leads is not where the client is at home"
        );
        endpoints.prefer("b", false);
        assert_eq!(endpoints.candidates(false, now), ["c", "b", "a"]);
        assert_eq!(endpoints.candidates(true, now), ["b", "c", "a"]);
        endpoints.learn(leader(2, "z"));
        endpoints.prefer("z", true);
        assert_eq!(endpoints.candidates(false, now), ["z", "b", "c", "a"]);
    }

    #[test]
    fn an_older_leader_is_not_believed() {
        let (mut endpoints, now) = (endpoints(), Instant::now());
        endpoints.learn(leader(5, "new"));
        endpoints.learn(leader(4, "old"));
        assert_eq!(endpoints.choose(false, now), "new");
        endpoints.learn(leader(5, ""));
        assert_eq!(endpoints.choose(false, now), "new", "who does not know does not make forget");
        endpoints.learn(leader(6, ""));
        assert_eq!(endpoints.choose(false, now), "a", "but a new term does");
    }

    #[test]
    fn a_leader_that_cannot_be_reached_is_left_alone_for_a_while() {
        let (mut endpoints, now) = (endpoints(), Instant::now());
        endpoints.learn(leader(1, "hidden"));
        endpoints.failed("hidden", now);
        endpoints.learn(leader(1, "hidden"));
        assert_eq!(endpoints.choose(false, now), "a");
        assert_eq!(endpoints.choose(false, now + SHUNNED), "hidden");
    }

    #[test]
    fn a_leader_that_leads_no_more_and_does_not_know_who_does_keeps_nobody() {
        let (mut endpoints, now) = (endpoints(), Instant::now());
        endpoints.learn(leader(1, "x"));
        assert_eq!(endpoints.choose(false, now), "x");
        endpoints.turn("x", now);
        assert_eq!(endpoints.choose(false, now), "a", "somebody else may know");
        assert_eq!(endpoints.choose(false, now + RESTED), "x", "or it was only busy");
        endpoints.learn(leader(2, "y"));
        assert_eq!(endpoints.choose(false, now), "y");
    }
}
