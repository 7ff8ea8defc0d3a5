//! What must hold in every state of the extended model, and over every step of it.

use super::System;
use super::configuration::{Configuration, Value};
use super::server::{Role, Server};
use crate::log::{Log, LogIndex};
use crate::server_set::{ServerId, ServerSet};
use std::fmt;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name, as in figure 3 of the Raft paper where it is from there.
    pub invariant: &'static str,
    /// What contradicts it.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is violated: {}", self.invariant, self.reason)
    }
}

impl std::error::Error for Violation {}

fn require(holds: bool, invariant: &'static str, reason: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, reason: reason() }) }
}

/// Whether all invariants of a state hold.
///
/// # Errors
/// The first that does not.
pub fn check_state<V: Value>(system: &System<V>) -> Result<(), Violation> {
    one_vote(system)?;
    election_safety(system)?;
    log_matching(system)?;
    state_machine_safety(system)?;
    leader_completeness(system)?;
    promises_kept(system)?;
    committed_on_quorum(system)?;
    linearizable_reads(system)?;
    system.servers.iter().try_for_each(|(id, server)| well_formed(id, server))
}

/// Whether a step from one state to another keeps what must not change.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_step<V: Value>(before: &System<V>, after: &System<V>) -> Result<(), Violation> {
    for ((id, old), (_, new)) in before.servers.iter().zip(after.servers.iter()) {
        let is_same_office =
            |server: &Server<V>| server.role == Role::Leader && server.current_term == old.current_term;
        let append_only =
            !(is_same_office(old) && is_same_office(new)) || old.log.common_prefix(&new.log) == old.log.len();
        require(append_only, "LeaderAppendOnly", || format!("leader {id} had {} and has {}", old.log, new.log))?;
        let grows = old.disk.current_term <= new.disk.current_term;
        require(grows, "Monotonic", || format!("the durable term of {id} goes back"))?;
    }
    Ok(())
}

/// A server votes for at most one candidate in a term (5.2).
fn one_vote<V>(system: &System<V>) -> Result<(), Violation> {
    let votes: Vec<_> = system.said.granted.iter().collect();
    votes.windows(2).try_for_each(|pair| {
        let ((term, voter, first), (other, also, second)) = (pair[0], pair[1]);
        let is_double = term == other && voter == also;
        require(!is_double, "OneVote", || format!("{voter} votes in term {term} for {first} and for {second}"))
    })
}

/// At most one leader is elected in a term (5.2).
fn election_safety<V>(system: &System<V>) -> Result<(), Violation> {
    let leaders: Vec<_> = system.said.led.keys().collect();
    leaders.windows(2).try_for_each(|pair| {
        let ((term, first), (other, second)) = (pair[0], pair[1]);
        require(term != other, "ElectionSafety", || format!("{first} and {second} both lead in term {term}"))
    })
}

/// Logs that hold an entry of the same index and term are equal up to it (5.3).
fn log_matching<V: Value>(system: &System<V>) -> Result<(), Violation> {
    let own = system.servers.iter().flat_map(|(_, server)| [&server.log, &server.disk.log]);
    let logs: Vec<&Log<V>> = own.chain(system.said.led.values()).collect();
    for (position, one) in logs.iter().enumerate() {
        for other in &logs[position + 1..] {
            let same = one.common_prefix(other);
            let later = one
                .iter()
                .skip(same.0)
                .find(|(index, entry)| other.entry(*index).is_some_and(|held| held.term == entry.term));
            require(later.is_none(), "LogMatching", || format!("{one} and {other} differ before an equal term"))?;
        }
    }
    Ok(())
}

/// No two different entries are committed at one index (5.4.3).
fn state_machine_safety<V: Value>(system: &System<V>) -> Result<(), Violation> {
    let committed: Vec<_> = system.said.committed.keys().collect();
    committed.windows(2).try_for_each(|pair| {
        let ((index, first), (other, second)) = (pair[0], pair[1]);
        require(index != other, "StateMachineSafety", || {
            format!("{first:?} and {second:?} are both committed at {index}")
        })
    })
}

/// What is committed in a term is in the log of every leader of a later term (5.4).
fn leader_completeness<V: Value>(system: &System<V>) -> Result<(), Violation> {
    for ((index, entry), (committed_in, _)) in &system.said.committed {
        for ((term, leader), log) in system.said.led.iter().filter(|((term, _), _)| term > committed_in) {
            require(log.entry(*index) == Some(entry), "LeaderCompleteness", || {
                format!("{leader} leads in term {term} without {entry:?} at {index}, committed in term {committed_in}")
            })?;
        }
    }
    Ok(())
}

/// What was said is on the disk of who said it, until a later term.
fn promises_kept<V: Value>(system: &System<V>) -> Result<(), Violation> {
    for (term, voter, candidate) in &system.said.granted {
        let Some(server) = system.servers.at(*voter) else { continue };
        let disk = &server.disk;
        let kept = disk.current_term > *term || (disk.current_term == *term && disk.voted_for == Some(*candidate));
        require(kept, "PromiseKept", || format!("{voter} has forgotten its vote for {candidate} in term {term}"))?;
    }
    for ((term, follower), index) in &system.said.acknowledged {
        let Some(server) = system.servers.at(*follower) else { continue };
        let kept = server.disk.current_term > *term || server.disk.log.len() >= *index;
        require(kept, "PromiseKept", || format!("{follower} acknowledged {index} in term {term} and lost it"))?;
    }
    Ok(())
}

/// What is committed is on the disks of a quorum, by the configuration that it was committed by.
fn committed_on_quorum<V: Value>(system: &System<V>) -> Result<(), Violation> {
    let everybody = Configuration::stable(system.servers.ids().collect());
    for ((index, entry), (term, configured_at)) in &system.said.committed {
        let log = system.said.led_in(*term).and_then(|log| log.entry(*configured_at));
        let configuration = log.and_then(|entry| entry.value.configuration()).unwrap_or(&everybody);
        let holds = |i: ServerId| system.servers.at(i).is_some_and(|it| it.disk.log.entry(*index) == Some(entry));
        require(configuration.is_quorum(holds), "CommittedOnQuorum", || {
            let holders: ServerSet = system.servers.ids().filter(|i| holds(*i)).collect();
            format!("{entry:?} is committed at {index} by {configuration} and on the disks of {holders}")
        })?;
    }
    Ok(())
}

/// A read sees everything that was committed before it was asked for (thesis, section 6.4).
fn linearizable_reads<V>(system: &System<V>) -> Result<(), Violation> {
    for (id, read) in &system.said.reads {
        let floor = read.floor;
        let sees = read.served.is_none_or(|served| served >= floor);
        require(sees, "LinearizableRead", || format!("read {id} began after {floor} and sees {:?}", read.served))?;
    }
    Ok(())
}

/// What is true of every server by itself.
fn well_formed<V: Value>(id: ServerId, server: &Server<V>) -> Result<(), Violation> {
    let Server { current_term, commit_index, log, .. } = server;
    let ends = || format!("{id} in term {current_term} has committed {commit_index} of {log}");
    require(*commit_index <= log.len(), "CommitInLog", ends)?;
    require(log.last_term() <= *current_term, "TermsInLog", ends)?;
    let same = log.common_prefix(&server.disk.log);
    let claimed: LogIndex = server.durable_index();
    require(claimed <= same, "DurableIndex", || format!("{id} counts {claimed} as durable, and {same} is on its disk"))
}
