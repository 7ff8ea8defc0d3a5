//! The history variables of raft.tla: what has been, for invariants to look at. No server reads them.
//!
//! `elections`, `all_logs` and `voter_log` are raft.tla's own. `committed` is ours: raft.tla lets a commit index go down
//! and a restart forgets it, but what was committed once stays so.

use crate::handle::Case;
use crate::log::{Entry, Log, LogIndex, Term};
use crate::server_set::{ServerId, ServerMap, ServerSet};
use crate::system::{Action, System};
use std::collections::{BTreeMap, BTreeSet};

/// A won election, as it was when the leader took office.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Election<V> {
    /// The term of the election.
    pub term: Term,
    /// Who won it.
    pub leader: ServerId,
    /// The leader's log.
    pub log: Log<V>,
    /// Who voted for the leader; a quorum.
    pub votes: ServerSet,
    /// The voters' logs when they voted, as far as the leader had heard.
    pub voter_log: BTreeMap<ServerId, Log<V>>,
}

/// A vote that a step counts: the candidate, the voter, the voter's log.
pub(crate) type CountedVote<V> = (ServerId, ServerId, Log<V>);

/// All that has been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History<V> {
    /// Every election that was won; only grows.
    pub elections: BTreeSet<Election<V>>,
    /// Every log that any server ever had; only grows.
    pub all_logs: BTreeSet<Log<V>>,
    /// For each candidate, the logs of those who voted for it in its present election.
    pub voter_log: ServerMap<BTreeMap<ServerId, Log<V>>>,
    /// Every entry that a server ever held committed, with the first term in which one did; only grows.
    pub committed: BTreeMap<(LogIndex, Entry<V>), Term>,
}

impl<V: Ord + Clone> History<V> {
    /// The history of a system that has taken no step.
    #[must_use]
    pub fn new(system: &System<V>) -> Self {
        let servers: ServerSet = system.servers.ids().collect();
        let mut history = Self {
            elections: BTreeSet::new(),
            all_logs: BTreeSet::new(),
            voter_log: ServerMap::new(&servers, |_| BTreeMap::new()),
            committed: BTreeMap::new(),
        };
        history.observe(system);
        history
    }

    /// The vote that `action` would count in `system`.
    pub(crate) fn vote_in(system: &System<V>, action: &Action<V>) -> Option<CountedVote<V>> {
        let Action::Receive(m) = action else {
            return None;
        };
        let case = system.servers.at(m.dest)?.receive_case(m)?;
        let counted = matches!(case, Case::HandleRequestVoteResponse { vote_granted: true });
        counted.then(|| (m.dest, m.source, m.log.clone()))
    }

    /// Records the step `action`, which led to `system` and counted `vote`.
    pub(crate) fn record(&mut self, system: &System<V>, action: &Action<V>, vote: Option<CountedVote<V>>) {
        match action {
            Action::Restart(i) | Action::Timeout(i) => {
                if let Some(voter_log) = self.voter_log.at_mut(*i) {
                    voter_log.clear();
                }
            }
            Action::BecomeLeader(i) => self.record_election(system, *i),
            _ => {}
        }
        if let Some((candidate, voter, log)) = vote
            && let Some(voter_log) = self.voter_log.at_mut(candidate)
        {
            // A vote that is counted twice keeps the log of the first.
            voter_log.entry(voter).or_insert(log);
        }
        self.observe(system);
    }

    /// Adds the election that `i` has just won.
    fn record_election(&mut self, system: &System<V>, i: ServerId) {
        let (Some(leader), Some(voter_log)) = (system.servers.at(i), self.voter_log.at(i)) else {
            return;
        };
        self.elections.insert(Election {
            term: leader.current_term,
            leader: i,
            log: leader.log.clone(),
            votes: leader.votes_granted.clone(),
            voter_log: voter_log.clone(),
        });
    }

    /// Whether the step `action` from `before` to `after` shows anything that a history might not hold yet. (A search
    /// asks first: most steps show nothing, and a history is dear to copy.)
    pub(crate) fn is_news(before: &System<V>, action: &Action<V>, after: &System<V>) -> bool {
        let mut pairs = before.servers.iter().zip(after.servers.iter());
        let differs = pairs.any(|((_, old), (_, new))| old.commit_index != new.commit_index || old.log != new.log);
        differs || matches!(action, Action::BecomeLeader(_))
    }

    /// Adds what can be seen in `system` by itself: the logs, and what is committed in them.
    ///
    /// [`Model::apply`](crate::Model::apply) does this after each step; whoever changes a system by hand does it here.
    pub fn observe(&mut self, system: &System<V>) {
        for (_, server) in system.servers.iter() {
            if !self.all_logs.contains(&server.log) {
                self.all_logs.insert(server.log.clone());
            }
            for (index, entry) in server.log.iter() {
                if index > server.commit_index {
                    break;
                }
                let seen = self.committed.entry((index, entry.clone()));
                let term = seen.or_insert(server.current_term);
                *term = server.current_term.min(*term);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Body, Message};
    use crate::server::Server;

    const S1: ServerId = ServerId(1);
    const S2: ServerId = ServerId(2);

    fn server(system: &mut System<u8>, id: ServerId) -> &mut Server<u8> {
        system.servers.at_mut(id).expect("one of the two")
    }

    fn log(values: &[u8]) -> Log<u8> {
        values.iter().map(|value| Entry { term: Term(1), value: *value }).collect()
    }

    /// Two servers, of which s1 asks for votes in term 2.
    fn campaign() -> System<u8> {
        let mut system = System::new(&ServerSet::first(2));
        system.apply(&Action::Timeout(S1)).expect("it follows");
        system
    }

    /// s1 receives an answer of s2.
    fn receives(term: usize, body: Body<u8>) -> Action<u8> {
        Action::Receive(Message { log: log(&[7]), ..Message::new(Term(term), S2, S1, body) })
    }

    #[test]
    fn only_a_vote_that_is_given_and_that_counts_is_counted() {
        let counted = |action: &Action<u8>| History::vote_in(&campaign(), action);
        let answers = |term, vote_granted| receives(term, Body::RequestVoteResponse { vote_granted });
        assert_eq!(counted(&answers(2, true)), Some((S1, S2, log(&[7]))));
        assert_eq!(counted(&answers(2, false)), None, "refused");
        assert_eq!((counted(&answers(1, true)), counted(&answers(3, true))), (None, None), "of another term");
        let matched = Body::AppendEntriesResponse { success: true, match_index: LogIndex(0) };
        assert_eq!((counted(&receives(2, matched)), counted(&Action::Timeout(S1))), (None, None));
    }

    #[test]
    fn the_logs_of_voters_are_those_of_the_first_vote_in_the_present_election() {
        let system = campaign();
        let mut history = History::new(&system);
        let action = receives(2, Body::RequestVoteResponse { vote_granted: true });
        history.record(&system, &action, Some((S1, S2, log(&[7]))));
        history.record(&system, &action, Some((S1, S2, log(&[8]))));
        let of_first = BTreeMap::from([(S2, log(&[7]))]);
        assert_eq!(history.voter_log.at(S1), Some(&of_first));
        history.record(&system, &Action::Timeout(S2), None);
        assert_eq!(history.voter_log.at(S1), Some(&of_first), "another's election");
        for action in [Action::Restart(S1), Action::Timeout(S1)] {
            let mut later = history.clone();
            later.record(&system, &action, None);
            assert_eq!(later.voter_log.at(S1), Some(&BTreeMap::new()), "{action}");
        }
        history.record(&system, &Action::BecomeLeader(S1), None);
        let elected: Vec<_> = history.elections.iter().map(|it| (it.term, it.leader, &it.voter_log)).collect();
        assert_eq!(elected, [(Term(2), S1, &of_first)]);
    }

    #[test]
    fn logs_commits_and_elections_are_news() {
        let before = campaign();
        let is_news = |action: &Action<u8>, bend: fn(&mut Server<u8>)| {
            let mut after = before.clone();
            bend(server(&mut after, S2));
            History::is_news(&before, action, &after)
        };
        assert!(!is_news(&Action::Timeout(S2), |server| server.current_term = Term(2)));
        assert!(is_news(&Action::BecomeLeader(S1), |_| ()));
        assert!(is_news(&Action::Restart(S2), |server| server.commit_index = LogIndex(1)));
        assert!(is_news(&Action::Restart(S2), |server| server.log.push(Entry { term: Term(1), value: 1 })));
    }

    #[test]
    fn an_entry_counts_as_committed_from_the_first_term_in_which_it_was() {
        let mut system = campaign();
        let mut history = History::new(&system);
        let mut committed_in = |term| {
            let server = server(&mut system, S2);
            (server.current_term, server.log, server.commit_index) = (Term(term), log(&[1, 2]), LogIndex(1));
            history.observe(&system);
            history.committed.clone()
        };
        let only = |term| BTreeMap::from([((LogIndex(1), Entry { term: Term(1), value: 1 }), Term(term))]);
        assert_eq!(committed_in(3), only(3));
        assert_eq!(committed_in(2), only(2), "somebody in an earlier term had it committed too");
        assert_eq!(committed_in(4), only(2));
        assert!(history.all_logs.contains(&log(&[1, 2])) && history.all_logs.contains(&log(&[])));
    }
}
