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
        // As many entries are not the same entries; where the last is the same, so are those before it (LogMatching).
        let holds = |led: &Log<V>| {
            *index == LogIndex::ZERO || server.disk.log.entry(*index).is_some_and(|own| led.entry(*index) == Some(own))
        };
        let kept = server.disk.current_term > *term || system.said.led_in(*term).is_some_and(holds);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Entry, Term};

    const S1: ServerId = ServerId(1);
    const S2: ServerId = ServerId(2);
    const S3: ServerId = ServerId(3);

    fn server(system: &mut System<u8>, id: ServerId) -> &mut Server<u8> {
        system.servers.at_mut(id).expect("one of the three")
    }

    fn log(entries: &[(usize, u8)]) -> Log<u8> {
        entries.iter().map(|(term, value)| Entry { term: Term(*term), value: *value }).collect()
    }

    /// Three servers, after they were bent.
    fn bent(bend: impl FnOnce(&mut System<u8>)) -> System<u8> {
        let mut system = System::new(&ServerSet::first(3));
        bend(&mut system);
        system
    }

    /// Which invariant of a state notices.
    fn noticed(bend: impl FnOnce(&mut System<u8>)) -> Option<&'static str> {
        check_state(&bent(bend)).err().map(|violation| violation.invariant)
    }

    /// Holds this, in memory and on its disk.
    fn holds(server: &mut Server<u8>, term: usize, entries: &[(usize, u8)]) {
        (server.current_term, server.disk.current_term) = (Term(term), Term(term));
        (server.log, server.disk.log) = (log(entries), log(entries));
    }

    #[test]
    fn every_invariant_of_a_state_notices_what_it_is_there_for() {
        assert_eq!(noticed(|_| ()), None);
        let vote = |candidate| {
            move |system: &mut System<u8>| {
                server(system, S3).disk.voted_for = Some(S1);
                system.said.granted.extend([(Term(0), S3, S1), (Term(0), S3, candidate)]);
            }
        };
        assert_eq!((noticed(vote(S1)), noticed(vote(S2))), (None, Some("OneVote")));
        let led = |term| {
            move |system: &mut System<u8>| {
                system.said.led.extend([((Term(1), S1), log(&[])), ((Term(term), S2), log(&[]))]);
            }
        };
        assert_eq!((noticed(led(2)), noticed(led(1))), (None, Some("ElectionSafety")));
        let differs = |value| {
            move |system: &mut System<u8>| {
                holds(server(system, S1), 1, &[(1, 1), (1, 3)]);
                holds(server(system, S2), 1, &[(1, value), (1, 3)]);
            }
        };
        assert_eq!((noticed(differs(1)), noticed(differs(2))), (None, Some("LogMatching")));
        let committed = |index| {
            move |system: &mut System<u8>| {
                let entries = [(1, Entry { term: Term(1), value: 1 }), (index, Entry { term: Term(1), value: 2 })];
                let entries = entries.map(|(index, entry)| ((LogIndex(index), entry), (Term(1), LogIndex::ZERO)));
                system.said.committed.extend(entries);
                [S1, S2].into_iter().for_each(|id| holds(server(system, id), 1, &[(1, 1), (1, 2)]));
            }
        };
        assert_eq!((noticed(committed(2)), noticed(committed(1))), (None, Some("StateMachineSafety")));
        let read = |served| {
            move |system: &mut System<u8>| {
                let read =
                    super::super::Read { floor: LogIndex(2), served: Some(LogIndex(served)), ..Default::default() };
                system.said.reads.insert(1, read);
            }
        };
        assert_eq!((noticed(read(2)), noticed(read(1))), (None, Some("LinearizableRead")));
        let commits = |index| {
            move |system: &mut System<u8>| {
                holds(server(system, S1), 1, &[(1, 1)]);
                server(system, S1).commit_index = LogIndex(index);
            }
        };
        assert_eq!((noticed(commits(1)), noticed(commits(2))), (None, Some("CommitInLog")));
        let of_term = |term| move |system: &mut System<u8>| holds(server(system, S1), 1, &[(term, 1)]);
        assert_eq!((noticed(of_term(1)), noticed(of_term(2))), (None, Some("TermsInLog")));
        let durable = |index| {
            move |system: &mut System<u8>| {
                holds(server(system, S1), 1, &[(1, 1)]);
                server(system, S1).on_disk = LogIndex(index);
            }
        };
        assert_eq!((noticed(durable(1)), noticed(durable(2))), (None, Some("DurableIndex")));
    }

    #[test]
    fn every_log_there_is_matches_the_others() {
        let on_disk = |value| {
            move |system: &mut System<u8>| {
                holds(server(system, S1), 1, &[(1, 1)]);
                (server(system, S2).current_term, server(system, S2).disk.log) = (Term(1), log(&[(1, value)]));
            }
        };
        assert_eq!((noticed(on_disk(1)), noticed(on_disk(2))), (None, Some("LogMatching")));
        let led = |value| {
            move |system: &mut System<u8>| {
                holds(server(system, S1), 1, &[(1, 1)]);
                system.said.led.insert((Term(1), S3), log(&[(1, value)]));
            }
        };
        assert_eq!((noticed(led(1)), noticed(led(2))), (None, Some("LogMatching")));
    }

    /// s1 and s2 hold what is committed in term 1, and s3 led in a term without it.
    #[test]
    fn a_leader_of_a_later_term_has_what_is_committed() {
        let led = |term, entries: &'static [(usize, u8)]| {
            move |system: &mut System<u8>| {
                [S1, S2].into_iter().for_each(|id| holds(server(system, id), 1, &[(1, 1)]));
                let committed = (LogIndex(1), Entry { term: Term(1), value: 1 });
                system.said.committed.insert(committed, (Term(1), LogIndex::ZERO));
                system.said.led.insert((Term(term), S3), log(entries));
            }
        };
        assert_eq!((noticed(led(2, &[(1, 1)])), noticed(led(2, &[]))), (None, Some("LeaderCompleteness")));
        assert_eq!(noticed(led(2, &[(0, 1)])), Some("LeaderCompleteness"), "another entry there");
        assert_eq!(noticed(led(1, &[])), None, "in its own term it may come to it yet");
    }

    #[test]
    fn a_vote_that_was_said_is_on_the_disk_until_a_later_term() {
        let disk = |term, vote| {
            move |system: &mut System<u8>| {
                let disk = &mut server(system, S3).disk;
                (disk.current_term, disk.voted_for) = (Term(term), vote);
                system.said.granted.insert((Term(1), S3, S1));
            }
        };
        assert_eq!((noticed(disk(1, Some(S1))), noticed(disk(2, None))), (None, None));
        for (term, vote) in [(1, None), (1, Some(S2)), (0, Some(S1))] {
            assert_eq!(noticed(disk(term, vote)), Some("PromiseKept"), "{vote:?} in term {term}");
        }
    }

    #[test]
    fn what_is_committed_is_on_the_disks_of_who_decided_it() {
        let commits = |holders: &'static [ServerId]| {
            move |system: &mut System<u8>| {
                holders.iter().for_each(|id| holds(server(system, *id), 1, &[(1, 1)]));
                let committed = (LogIndex(1), Entry { term: Term(1), value: 1 });
                system.said.committed.insert(committed, (Term(1), LogIndex::ZERO));
            }
        };
        assert_eq!((noticed(commits(&[S1, S2])), noticed(commits(&[S1]))), (None, Some("CommittedOnQuorum")));
        // By a configuration in which one decides alone.
        let decided_by = |voter: usize| {
            let first = super::super::sample::stable(&[voter]);
            let mut system = System::configured(&ServerSet::first(3), &first);
            let entry = Entry { term: Term::ZERO, value: first };
            let led: Log<_> = [entry.clone()].into_iter().collect();
            system.said.led.insert((Term(1), S1), led);
            system.said.committed.insert((LogIndex(1), entry), (Term(1), LogIndex(1)));
            system.servers.at_mut(S1).expect("one of the three").disk.log.pop();
            check_state(&system).err().map(|violation| violation.invariant)
        };
        assert_eq!((decided_by(2), decided_by(1)), (None, Some("CommittedOnQuorum")));
    }

    #[test]
    fn who_holds_other_entries_than_it_acknowledged_has_not_kept_its_promise() {
        let acknowledged = |term, entries: &'static [(usize, u8)]| {
            move |system: &mut System<u8>| {
                system.said.led.insert((Term(1), S1), log(&[(1, 1), (1, 2)]));
                system.said.acknowledged.insert((Term(1), S2), LogIndex(2));
                holds(server(system, S2), term, entries);
            }
        };
        assert_eq!(noticed(acknowledged(1, &[(1, 1), (1, 2)])), None);
        assert_eq!(noticed(acknowledged(1, &[(1, 1)])), Some("PromiseKept"));
        assert_eq!(noticed(acknowledged(1, &[(0, 7), (0, 7)])), Some("PromiseKept"), "as many, and others");
        assert_eq!(noticed(acknowledged(2, &[])), None, "a later leader may have had them dropped");
    }

    #[test]
    fn every_invariant_of_a_step_notices_what_it_is_there_for() {
        let over = |before: &System<u8>, after: &System<u8>| {
            check_step(before, after).err().map(|violation| violation.invariant)
        };
        let leads = |term, entries: &[(usize, u8)]| {
            bent(|system| {
                holds(server(system, S1), term, entries);
                server(system, S1).role = Role::Leader;
            })
        };
        let (short, long) = (leads(1, &[(1, 1)]), leads(1, &[(1, 1), (1, 2)]));
        assert_eq!((over(&short, &long), over(&long, &short)), (None, Some("LeaderAppendOnly")));
        assert_eq!(over(&long, &leads(2, &[(1, 1)])), None, "it was deposed in between");
        let durable = |term| bent(|system| server(system, S2).disk.current_term = Term(term));
        assert_eq!((over(&durable(1), &durable(2)), over(&durable(2), &durable(1))), (None, Some("Monotonic")));
    }
}
