//! The extended model: every state within some bounds, and what its invariants notice.

use outrigger_model::explore::{Report, Search, TransitionSystem, Verdict};
use outrigger_model::extended::{Action, Bounds, Explored, Role, System, Violation, Write};
use outrigger_model::{Entry, LogIndex, ServerId, Term};

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);

fn bounds([term_max, log_max, batch_max]: [usize; 3], reads: u64, restarts: bool) -> Bounds {
    Bounds { term_max, log_max, batch_max, reads, leases: false, restarts, snapshots: false, is_instant: false }
}

fn explore<S: TransitionSystem>(system: S) -> Report<S::Action, S::Violation> {
    Search::new(system).run().expect("the initial state is within the bounds")
}

/// Visits every state, finds nothing wrong in any, and counts them.
fn exhaust(servers: usize, bounds: Bounds) -> [u64; 3] {
    let report = explore(Explored::new(servers, bounds));
    match report.verdict {
        Verdict::Exhausted => [report.generated, report.distinct, report.depth],
        Verdict::Violated(found) => panic!("{found}"),
        Verdict::NotExhausted { waiting } => panic!("{waiting} states wait"),
    }
}

#[test]
fn one_server_with_crashes_batches_and_a_read_is_always_right() {
    exhaust(1, bounds([2, 3, 2], 1, true));
}

#[test]
fn two_servers_with_crashes_in_two_terms_are_always_right() {
    exhaust(2, bounds([2, 1, 1], 0, true));
}

#[test]
fn two_servers_with_crashes_batches_and_a_read_are_always_right() {
    exhaust(2, bounds([1, 2, 2], 1, true));
}

#[test]
fn two_servers_with_longer_logs_in_two_terms_are_always_right() {
    exhaust(2, bounds([2, 2, 1], 0, false));
}

#[test]
fn two_servers_with_a_read_in_two_terms_are_always_right() {
    exhaust(2, bounds([2, 1, 1], 1, false));
}

/// The thesis, section 6.4.1: as long as nobody leads in a later term, a leader that a quorum follows need not ask.
#[test]
fn two_servers_with_a_lease_in_two_terms_are_always_right() {
    exhaust(2, Bounds { leases: true, ..bounds([2, 1, 1], 1, false) });
}

#[test]
fn three_servers_in_one_term_are_always_right() {
    exhaust(3, bounds([1, 1, 1], 0, false));
}

#[test]
fn a_search_counts_the_same_each_time() {
    let small = bounds([1, 1, 1], 0, true);
    assert_eq!(exhaust(2, small), exhaust(2, small));
}

/// The model with one rule broken: after a step, something else happens too.
struct Broken {
    model: Explored,
    breaks: fn(&Action<u8>, &mut System<u8>),
}

impl TransitionSystem for Broken {
    type State = System<u8>;
    type Packed = System<u8>;
    type Action = Action<u8>;
    type Violation = Violation;

    fn initial(&self) -> System<u8> {
        self.model.initial()
    }

    fn append_actions(&self, state: &System<u8>, actions: &mut Vec<Action<u8>>) {
        self.model.append_actions(state, actions);
    }

    fn step(&self, from: &System<u8>, action: &Action<u8>, next: &mut System<u8>) {
        self.model.step(from, action, next);
        (self.breaks)(action, next);
    }

    fn is_within(&self, state: &System<u8>) -> bool {
        self.model.is_within(state)
    }

    fn key(&self, state: &System<u8>, key: &mut Vec<u8>) -> u64 {
        self.model.key(state, key)
    }

    fn check_state(&self, state: &System<u8>) -> Result<(), Violation> {
        self.model.check_state(state)
    }

    fn check_step(&self, from: &System<u8>, next: &System<u8>) -> Result<(), Violation> {
        self.model.check_step(from, next)
    }

    fn pack(&self, state: &System<u8>) -> System<u8> {
        self.model.pack(state)
    }

    fn unpack(&self, packed: &System<u8>, state: &mut System<u8>) {
        self.model.unpack(packed, state);
    }
}

/// Which invariant notices, after how many steps at least.
fn noticed(servers: usize, bounds: Bounds, breaks: fn(&Action<u8>, &mut System<u8>)) -> (&'static str, usize) {
    match explore(Broken { model: Explored::new(servers, bounds), breaks }).verdict {
        Verdict::Violated(found) => (found.violation.invariant, found.actions.len()),
        _ => panic!("nobody noticed"),
    }
}

#[test]
fn a_vote_that_is_said_before_it_is_durable_is_noticed() {
    let found = noticed(2, bounds([1, 1, 1], 0, true), |action, next| {
        if let Action::GrantVote(i, candidate) = action {
            let term = next.servers.at(*i).unwrap().current_term;
            next.said.granted.insert((term, *i, *candidate));
        }
    });
    assert_eq!(found.0, "PromiseKept");
}

#[test]
fn an_acknowledgement_of_what_is_not_durable_is_noticed() {
    let found = noticed(2, bounds([1, 1, 1], 0, true), |action, next| {
        if let Action::HandleAppendEntries { server, last, .. } = action {
            let term = next.servers.at(*server).unwrap().current_term;
            next.said.acknowledged.insert((term, *server), *last);
        }
    });
    assert_eq!(found.0, "PromiseKept");
}

#[test]
fn a_leader_that_counts_what_its_own_disk_lacks_is_noticed() {
    let found = noticed(1, bounds([1, 1, 1], 0, true), |action, next| {
        if let Action::ClientRequest(i, _) = action {
            let server = next.servers.at_mut(*i).unwrap();
            server.commit_index = server.log.len();
            let (index, entry, term) =
                (server.log.len(), *server.log.entry(server.log.len()).unwrap(), server.current_term);
            next.said.committed.insert((index, entry), (term, LogIndex::ZERO));
        }
    });
    assert_eq!(found.0, "CommittedOnQuorum");
}

#[test]
fn a_restart_that_forgets_the_vote_is_noticed() {
    let found = noticed(2, bounds([1, 0, 1], 0, true), |action, next| {
        if let Action::Restart { server, .. } = action {
            let server = next.servers.at_mut(*server).unwrap();
            server.voted_for = None;
            server.disk.voted_for = None;
        }
    });
    assert_eq!(found.0, "PromiseKept");
}

#[test]
fn a_leader_that_drops_an_entry_of_its_own_is_noticed() {
    let found = noticed(1, bounds([1, 2, 1], 0, false), |action, next| {
        if let Action::ClientRequest(i, _) = action {
            let server = next.servers.at_mut(*i).unwrap();
            if server.log.len() == LogIndex(2) {
                server.log =
                    [Entry { term: Term(1), value: 9 }, Entry { term: Term(1), value: 0 }].into_iter().collect();
            }
        }
    });
    assert_eq!(found.0, "LeaderAppendOnly");
}

#[test]
fn a_read_from_before_its_question_is_noticed() {
    let found = noticed(1, bounds([1, 1, 1], 1, false), |action, next| {
        if let Action::ServeRead(_, read) = action {
            next.said.reads.get_mut(read).unwrap().served = Some(LogIndex::ZERO);
        }
    });
    assert_eq!(found.0, "LinearizableRead");
}

#[test]
fn what_its_guard_forbids_is_refused_and_changes_nothing() {
    let mut system: System<u8> = System::new(&[S1, S2].into_iter().collect());
    let before = system.clone();
    for action in [
        Action::Flush(S1, 1),
        Action::StepDown(S1),
        Action::GrantVote(S1, S2),
        Action::CountVote(S1, S1),
        Action::BecomeLeader(S1),
        Action::ClientRequest(S1, vec![0]),
        Action::HandleAppendEntries { server: S1, leader: S2, prev: LogIndex(0), last: LogIndex(0) },
        Action::HandleAcknowledgement(S1, S2, LogIndex(1)),
        Action::AdvanceCommitIndex(S1, LogIndex(1)),
        Action::HandleCommit(S1, S2, LogIndex(1)),
        Action::UpdateTerm(S1, Term(1)),
        Action::Restart { server: S1, kept: 1, votes: 0, commit: LogIndex(0) },
        Action::Restart { server: S1, kept: 0, votes: 0, commit: LogIndex(1) },
        Action::BeginRound(S1),
        Action::AnswerRound(S1, S2, 1),
        Action::BeginRead(S1, 1),
        Action::ConfirmRead(S1, 1),
        Action::ConfirmReadByLease(S1, 1),
        Action::ConfirmOldRead(S1, 1),
        Action::ServeRead(S1, 1),
        Action::Timeout(ServerId(3)),
    ] {
        let refused = system.apply(&action).unwrap_err();
        assert!(refused.to_string().contains("is not allowed: "), "{refused}");
        assert_eq!(system, before, "{action}");
    }
}

/// What an earlier leader's entries took up on a disk is not counted for a later leader, however they were flushed.
#[test]
fn a_flush_after_a_truncation_counts_for_what_was_left() {
    let mut system: System<u8> = System::new(&[S1].into_iter().collect());
    for action in [Action::Timeout(S1), Action::Flush(S1, 1), Action::CountVote(S1, S1), Action::BecomeLeader(S1)] {
        system.apply(&action).unwrap();
    }
    system.apply(&Action::ClientRequest(S1, vec![1, 2])).unwrap();
    let server = system.servers.at_mut(S1).unwrap();
    assert_eq!((server.role, server.durable_index()), (Role::Leader, LogIndex(0)));
    server.pending.push_back(Write::Truncate(LogIndex(1)));
    system.apply(&Action::Flush(S1, 2)).unwrap();
    assert_eq!(system.servers.at(S1).unwrap().durable_index(), LogIndex(1), "the cut is still to come");
}

/// The candidate is elected by itself and the voter.
fn elect(candidate: ServerId, voter: ServerId, term: usize) -> [Action<u8>; 9] {
    [
        Action::Timeout(candidate),
        Action::Flush(candidate, 1),
        Action::UpdateTerm(voter, Term(term)),
        Action::Flush(voter, 1),
        Action::GrantVote(voter, candidate),
        Action::Flush(voter, 1),
        Action::CountVote(candidate, candidate),
        Action::CountVote(candidate, voter),
        Action::BecomeLeader(candidate),
    ]
}

/// The thesis, section 6.4: what others answered before a read was asked for does not say who leads when it is. Server 3 may lead by
/// then, with entries that server 1 has never seen.
#[test]
fn a_round_that_was_answered_before_a_read_was_asked_for_confirms_nothing() {
    let mut system: System<u8> = System::new(&[S1, S2, ServerId(3)].into_iter().collect());
    let mut take = |actions: &[Action<u8>]| {
        actions.iter().for_each(|action| system.apply(action).unwrap_or_else(|error| panic!("{action}: {error}")));
    };
    take(&elect(S1, S2, 1));
    take(&[Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1), Action::AskRead(1), Action::BeginRead(S1, 1)]);
    let mut replaced = system.clone();
    assert!(system.apply(&Action::ConfirmRead(S1, 1)).is_err());
    // Nor does one that begins later, before anybody answers it.
    for action in [Action::BeginRound(S1), Action::AnswerRound(S2, S1, 2)] {
        assert!(system.apply(&Action::ConfirmRead(S1, 1)).is_err(), "before {action}");
        assert_eq!(system.apply(&action), Ok(()));
    }
    assert_eq!(system.apply(&Action::ConfirmRead(S1, 1)), Ok(()));
    // Server 3 has been elected meanwhile: nobody answers any more.
    let third = ServerId(3);
    let gone = [&[Action::UpdateTerm(third, Term(1)), Action::Flush(third, 1)][..], &elect(third, S2, 2)].concat();
    gone.iter()
        .chain(&[Action::BeginRound(S1)])
        .for_each(|action| assert_eq!(replaced.apply(action), Ok(()), "{action}"));
    assert!(replaced.apply(&Action::AnswerRound(S2, S1, 2)).is_err());
    assert!(replaced.apply(&Action::ConfirmRead(S1, 1)).is_err());
}

/// A leader that a later one has replaced, which it does not know, serves nothing by lease: what clocks would have to prevent.
#[test]
fn a_lease_does_not_hold_beside_a_later_leader() {
    let mut system: System<u8> = System::new(&[S1, S2].into_iter().collect());
    let mut take = |actions: &[Action<u8>]| {
        actions.iter().for_each(|action| system.apply(action).unwrap_or_else(|error| panic!("{action}: {error}")));
    };
    take(&elect(S1, S2, 1));
    take(&[Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1), Action::AskRead(1), Action::BeginRead(S1, 1)]);
    let held = system.clone();
    assert_eq!(system.apply(&Action::ConfirmReadByLease(S1, 1)), Ok(()));
    system = held;
    // Server 2 campaigns; server 1 has voted for it and lost its office with that.
    let mut later = system.clone();
    for action in &elect(S2, S1, 2) {
        later.apply(action).unwrap();
    }
    assert!(later.apply(&Action::ConfirmReadByLease(S1, 1)).is_err());
    // Where one server's vote elects another, it still leads.
    let mut system: System<u8> = System::new(&[S1, S2, ServerId(3)].into_iter().collect());
    let mut take = |actions: &[Action<u8>]| {
        actions.iter().for_each(|action| system.apply(action).unwrap_or_else(|error| panic!("{action}: {error}")));
    };
    take(&elect(S1, S2, 1));
    take(&[Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1), Action::AskRead(1), Action::BeginRead(S1, 1)]);
    take(&[Action::UpdateTerm(ServerId(3), Term(1)), Action::Flush(ServerId(3), 1)]);
    take(&elect(ServerId(3), S2, 2));
    let refused = system.apply(&Action::ConfirmReadByLease(S1, 1)).unwrap_err().to_string();
    assert!(refused.contains("nobody has led in a later term"), "{refused}");
    assert_eq!(system.apply(&Action::ConfirmOldRead(S1, 1)), Ok(()), "which is no matter where the past is enough");
}
