//! What must hold in every state (and over every step) of raft.tla, as functions that say what is wrong.
//!
//! raft.tla states no invariants. These are the five properties of figure 3 of the Raft paper and two more on which they
//! rest. Each looks at the present state and at the histories, so that a violation is seen even when its traces in the
//! servers are gone.
//!
//! | invariant | holds over | source |
//! |---|---|---|
//! | [`election_safety`] | a state | figure 3, 5.2: at most one leader is elected in a term |
//! | [`log_matching`] | a state | figure 3, 5.3: logs with an entry of the same index and term are equal up to it |
//! | [`leader_completeness`] | a state | figure 3, 5.4: what is committed in a term is in the log of all later leaders |
//! | [`state_machine_safety`] | a state | figure 3, 5.4.3: no two different entries are committed at one index |
//! | [`leader_append_only`] | a step | figure 3, 5.3: a leader never removes or overwrites entries of its log |
//! | [`commit_in_log`] | a state | a commit index is never past the log's end |
//! | [`one_vote`] | a state | 5.2: a server votes for at most one candidate in a term |

use crate::log::{Entry, Log, LogIndex, Term};
use crate::message::Body;
use crate::server::ServerState;
use crate::server_set::ServerId;
use crate::system::{Model, System};
use std::collections::BTreeMap;
use std::fmt;

/// An invariant that does not hold, with what broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation<V> {
    /// Two leaders in one term.
    ElectionSafety {
        /// The term.
        term: Term,
        /// One of its leaders.
        first: ServerId,
        /// Another.
        second: ServerId,
    },
    /// Two logs with an entry of the same index and term that differ at or before it.
    LogMatching {
        /// The index at which both have an entry of the same term.
        index: LogIndex,
        /// A log.
        first: Log<V>,
        /// Another.
        second: Log<V>,
    },
    /// A leader without an entry that was committed before its term.
    LeaderCompleteness {
        /// The leader.
        leader: ServerId,
        /// Its term.
        term: Term,
        /// Where the entry is missing.
        index: LogIndex,
        /// The entry.
        entry: Entry<V>,
        /// The term in which it was committed.
        committed_in: Term,
    },
    /// Two different entries were committed at one index.
    StateMachineSafety {
        /// The index.
        index: LogIndex,
        /// One of the entries.
        first: Entry<V>,
        /// Another.
        second: Entry<V>,
    },
    /// A leader's log lost or changed an entry within its term.
    LeaderAppendOnly {
        /// The leader.
        leader: ServerId,
        /// Its log before the step.
        before: Log<V>,
        /// Its log after the step.
        after: Log<V>,
    },
    /// A commit index is past the end of the log.
    CommitInLog {
        /// The server.
        server: ServerId,
        /// Its commit index.
        commit_index: LogIndex,
        /// The length of its log.
        length: LogIndex,
    },
    /// A server voted for two candidates in one term.
    OneVote {
        /// The voter.
        voter: ServerId,
        /// The term.
        term: Term,
        /// One of the candidates.
        first: ServerId,
        /// Another.
        second: ServerId,
    },
}

impl<V: fmt::Debug> fmt::Display for Violation<V> {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ElectionSafety { term, first, second } =>
                write!(f, "election safety: {first} and {second} both lead term {term}"),
            Self::LogMatching { index, first, second } =>
                write!(f, "log matching: {first} and {second} have the same term at index {index} but are not equal up to it"),
            Self::LeaderCompleteness { leader, term, index, entry, committed_in } =>
{
                write!(f, "leader completeness: {leader}, leader of term {term}, lacks ")?;
                write!(f, "{}:{:?} at index {index}, committed in term {committed_in}", entry.term, entry.value)
            }
            Self::StateMachineSafety { index, first, second } =>
{
                let (a, b) = ((first.term, &first.value), (second.term, &second.value));
                write!(f, "state machine safety: {}:{:?} and {}:{:?} were both committed at index {index}", a.0, a.1, b.0, b.1)
            }
            Self::LeaderAppendOnly { leader, before, after } =>
                write!(f, "leader append-only: the log of leader {leader} went from {before} to {after}"),
            Self::CommitInLog { server, commit_index, length } =>
                write!(f, "commit in log: {server} committed up to {commit_index} in a log of {length}"),
            Self::OneVote { voter, term, first, second } =>
                write!(f, "one vote: {voter} voted for {first} and for {second} in term {term}"),
        }
    }
}

impl<V: fmt::Debug> std::error::Error for Violation<V> {}

/// Checks every invariant of a state.
///
/// # Errors
/// The first violation, in the order of the table above.
pub fn check_state<V: Ord + Clone>(model: &Model<V>) -> Result<(), Violation<V>> {
    election_safety(model)?;
    log_matching(model)?;
    leader_completeness(model)?;
    state_machine_safety(model)?;
    commit_in_log(&model.system)?;
    one_vote(&model.system)
}

/// Checks every invariant of a step and of the state that it led to.
///
/// # Errors
/// The first violation.
pub fn check_step<V: Ord + Clone>(before: &System<V>, after: &Model<V>) -> Result<(), Violation<V>> {
    leader_append_only(before, &after.system)?;
    check_state(after)
}

/// **`ElectionSafety`**: at most one leader in each term, now and ever (Raft paper, 5.2).
///
/// # Errors
/// [`Violation::ElectionSafety`] with the term and two of its leaders.
pub fn election_safety<V>(model: &Model<V>) -> Result<(), Violation<V>> {
    let mut leaders: BTreeMap<Term, ServerId> = BTreeMap::new();
    let elected = model.history.elections.iter().map(|e| (e.term, e.leader));
    let in_office = model.system.servers.iter();
    let in_office = in_office.filter(|(_, server)| server.state == ServerState::Leader);
    for (term, second) in elected.chain(in_office.map(|(id, server)| (server.current_term, id))) {
        let first = *leaders.entry(term).or_insert(second);
        if first != second {
            return Err(Violation::ElectionSafety { term, first, second });
        }
    }
    Ok(())
}

/// **`LogMatching`**: two logs with an entry of the same index and term are equal up to it (Raft paper, 5.3).
///
/// Compares the servers' logs with all that ever were: every log was once a server's, so all pairs are met in time.
///
/// # Errors
/// [`Violation::LogMatching`] with the index and both logs.
pub fn log_matching<V: PartialEq + Clone>(model: &Model<V>) -> Result<(), Violation<V>> {
    let current = || model.system.servers.iter().map(|(_, server)| &server.log);
    for first in current() {
        for second in model.history.all_logs.iter().chain(current()) {
            let equal_up_to = first.common_prefix(second);
            let mut beyond = first.iter().skip(equal_up_to.0);
            let clash = beyond.find(|(index, own)| own.term == second.term_at(*index));
            if let Some((index, _)) = clash {
                return Err(Violation::LogMatching { index, first: first.clone(), second: second.clone() });
            }
        }
    }
    Ok(())
}

/// **`LeaderCompleteness`**: an entry committed in a term is in the log of every leader of a later term (Raft paper, 5.4).
///
/// # Errors
/// [`Violation::LeaderCompleteness`] with the leader and the entry that it lacks.
pub fn leader_completeness<V: PartialEq + Clone>(model: &Model<V>) -> Result<(), Violation<V>> {
    for ((index, entry), committed_in) in &model.history.committed {
        let later = |election: &&crate::Election<V>| election.term > *committed_in;
        for election in model.history.elections.iter().filter(later) {
            if election.log.entry(*index) != Some(entry) {
                return Err(Violation::LeaderCompleteness {
                    leader: election.leader,
                    term: election.term,
                    index: *index,
                    entry: entry.clone(),
                    committed_in: *committed_in,
                });
            }
        }
    }
    Ok(())
}

/// **`StateMachineSafety`**: no two different entries were ever committed at the same index (Raft paper, 5.4.3).
///
/// # Errors
/// [`Violation::StateMachineSafety`] with the index and both entries.
pub fn state_machine_safety<V: PartialEq + Clone>(model: &Model<V>) -> Result<(), Violation<V>> {
    let committed = model.history.committed.keys();
    // Keys ascend by index first, so two entries of one index stand side by side.
    for ((index, first), (next, second)) in committed.clone().zip(committed.skip(1)) {
        if index == next {
            return Err(Violation::StateMachineSafety { index: *index, first: first.clone(), second: second.clone() });
        }
    }
    Ok(())
}

/// **`LeaderAppendOnly`**: a leader's log only grows while it leads (Raft paper, 5.3).
///
/// # Errors
/// [`Violation::LeaderAppendOnly`] with the leader and both logs.
pub fn leader_append_only<V: PartialEq + Clone>(before: &System<V>, after: &System<V>) -> Result<(), Violation<V>> {
    for (leader, old) in before.servers.iter() {
        let Some(new) = after.servers.at(leader) else {
            continue;
        };
        let leads_on = old.state == ServerState::Leader
            && new.state == ServerState::Leader
            && old.current_term == new.current_term;
        if leads_on && new.log.common_prefix(&old.log) != old.log.len() {
            return Err(Violation::LeaderAppendOnly { leader, before: old.log.clone(), after: new.log.clone() });
        }
    }
    Ok(())
}

/// **`CommitInLog`**: no server holds committed what it does not have.
///
/// # Errors
/// [`Violation::CommitInLog`] with the server and both numbers.
pub fn commit_in_log<V>(system: &System<V>) -> Result<(), Violation<V>> {
    for (id, server) in system.servers.iter() {
        if server.commit_index > server.log.len() {
            return Err(Violation::CommitInLog {
                server: id,
                commit_index: server.commit_index,
                length: server.log.len(),
            });
        }
    }
    Ok(())
}

/// **`OneVote`**: a server votes for at most one candidate in a term (Raft paper, 5.2).
///
/// A vote is seen in three places: on the voter, on its way, and with the candidate that counts it.
///
/// # Errors
/// [`Violation::OneVote`] with the voter, the term and two candidates.
pub fn one_vote<V>(system: &System<V>) -> Result<(), Violation<V>> {
    let mut votes: BTreeMap<(ServerId, Term), ServerId> = BTreeMap::new();
    for (voter, term, second) in votes_seen(system) {
        let first = *votes.entry((voter, term)).or_insert(second);
        if first != second {
            return Err(Violation::OneVote { voter, term, first, second });
        }
    }
    Ok(())
}

/// Every vote that can be seen: voter, term, candidate.
fn votes_seen<V>(system: &System<V>) -> Vec<(ServerId, Term, ServerId)> {
    let mut votes = Vec::new();
    for (id, server) in system.servers.iter() {
        if let Some(candidate) = server.voted_for {
            votes.push((id, server.current_term, candidate));
        }
        // A follower's are left over from an election that it no longer stands in.
        if server.state != ServerState::Follower {
            let granted = server.votes_granted.iter();
            votes.extend(granted.map(|voter| (voter, server.current_term, id)));
        }
    }
    for (m, _) in system.messages.iter() {
        if let Body::RequestVoteResponse { vote_granted: true } = m.body {
            votes.push((m.source, m.term, m.dest));
        }
    }
    votes
}
