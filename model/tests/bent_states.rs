//! Every invariant of raft.tla notices what it is there for: a sound state is bent, and all who look at states must say so.

use outrigger_model::explore::{Bounds, Raft, TransitionSystem};
use outrigger_model::invariant::{self, Violation};
use outrigger_model::{
    Body, Election, Entry, History, Log, LogIndex, Message, Model, Server, ServerId, ServerSet, ServerState, Term,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);
const S3: ServerId = ServerId(3);

fn raft() -> Raft {
    let bounds = Bounds { servers: 3, values: 2, term_max: 3, log_max: 2, messages_max: 2 };
    Raft::new(bounds).expect("the bounds can be searched")
}

fn server(model: &mut Model<u8>, id: ServerId) -> &mut Server<u8> {
    model.system.servers.at_mut(id).expect("one of the three")
}

fn history(model: &mut Model<u8>) -> &mut History<u8> {
    Arc::make_mut(&mut model.history)
}

fn log<const N: usize>(entries: [(usize, u8); N]) -> Log<u8> {
    entries.into_iter().map(|(term, value)| Entry { term: Term(term), value }).collect()
}

/// The initial state, after it was bent.
fn bent(bend: impl FnOnce(&mut Model<u8>)) -> Model<u8> {
    let mut model = raft().initial();
    bend(&mut model);
    model
}

/// What the functions and the explorer say to a state, alone and at the end of a step: all the same.
fn said_to(model: &Model<u8>) -> Option<Violation<u8>> {
    let said = invariant::check_state(model).err();
    assert_eq!(raft().check_state(model).err(), said, "the explorer looks at states");
    assert_eq!(invariant::check_step(&model.system, model).err(), said, "a step leads to a state");
    said
}

#[test]
fn a_state_that_nobody_has_bent_is_sound() {
    assert_eq!(said_to(&bent(|_| ())), None);
}

#[test]
fn two_leaders_in_one_term_are_noticed() {
    let model = bent(|model| {
        server(model, S1).state = ServerState::Leader;
        server(model, S3).state = ServerState::Leader;
    });
    let term = Term(1);
    assert_eq!(said_to(&model), Some(Violation::ElectionSafety { term, first: S1, second: S3 }));
    // One of them may have gone: that it was elected is remembered.
    let gone = bent(|model| {
        server(model, S1).state = ServerState::Leader;
        history(model).elections.insert(election(1, S2));
    });
    assert_eq!(said_to(&gone), Some(Violation::ElectionSafety { term, first: S2, second: S1 }));
}

fn election(term: usize, leader: ServerId) -> Election<u8> {
    let votes: ServerSet = [S2, S3].into_iter().collect();
    Election { term: Term(term), leader, log: Log::new(), votes, voter_log: BTreeMap::new() }
}

#[test]
fn logs_with_the_same_last_entry_that_differ_before_it_are_noticed() {
    let (first, second) = (log([(1, 1), (1, 1)]), log([(1, 2), (1, 1)]));
    let model = bent(|model| {
        server(model, S1).log = first.clone();
        server(model, S2).log = second.clone();
    });
    assert_eq!(
        said_to(&model),
        Some(Violation::LogMatching { index: LogIndex(1), first: first.clone(), second: second.clone() })
    );
    // The log that it differs from may be gone.
    let gone = bent(|model| {
        server(model, S1).log = first.clone();
        history(model).all_logs.insert(second.clone());
    });
    assert_eq!(said_to(&gone), Some(Violation::LogMatching { index: LogIndex(1), first, second }));
}

#[test]
fn a_leader_without_what_was_committed_before_its_term_is_noticed() {
    let entry = Entry { term: Term(1), value: 1 };
    let led_with = |term, log: Log<u8>| {
        let model = bent(|model| {
            history(model).committed.insert((LogIndex(1), entry), Term(1));
            history(model).elections.insert(Election { log, ..election(term, S2) });
        });
        said_to(&model)
    };
    let led_in = |term| led_with(term, Log::new());
    let (index, committed_in) = (LogIndex(1), Term(1));
    let lacks = Violation::LeaderCompleteness { leader: S2, term: Term(2), index, entry, committed_in };
    assert_eq!((led_in(1), led_in(2)), (None, Some(lacks.clone())));
    assert_eq!(led_with(2, log([(1, 1)])), None);
    assert_eq!(led_with(2, log([(1, 2)])), Some(lacks), "another entry stands there");
}

#[test]
fn two_entries_that_are_committed_at_one_index_are_noticed() {
    let (first, second) = (Entry { term: Term(1), value: 1 }, Entry { term: Term(2), value: 1 });
    let committed_at = |places: [usize; 2]| {
        let model = bent(|model| {
            for (index, entry) in places.into_iter().zip([first, second]) {
                history(model).committed.insert((LogIndex(index), entry), Term(2));
            }
        });
        said_to(&model)
    };
    assert_eq!(committed_at([1, 2]), None);
    assert_eq!(committed_at([2, 2]), Some(Violation::StateMachineSafety { index: LogIndex(2), first, second }));
}

#[test]
fn a_commit_index_beyond_the_log_is_noticed() {
    let model = bent(|model| server(model, S3).commit_index = LogIndex(1));
    let (commit_index, length) = (LogIndex(1), LogIndex::ZERO);
    assert_eq!(said_to(&model), Some(Violation::CommitInLog { server: S3, commit_index, length }));
}

#[test]
fn a_second_vote_in_a_term_is_noticed() {
    let voted_for = |candidate| {
        let model = bent(|model| {
            server(model, S3).voted_for = Some(candidate);
            server(model, S2).state = ServerState::Candidate;
            server(model, S2).votes_granted.insert(S3);
        });
        said_to(&model)
    };
    let twice = Violation::OneVote { voter: S3, term: Term(1), first: S2, second: S1 };
    assert_eq!((voted_for(S2), voted_for(S1)), (None, Some(twice)));
}

#[test]
fn a_second_vote_that_is_on_its_way_is_noticed() {
    let votes_for = |candidate| {
        let model = bent(|model| {
            server(model, S3).voted_for = Some(S1);
            let body = Body::RequestVoteResponse { vote_granted: true };
            model.system.messages.send(Message::new(Term(1), S3, candidate, body));
            let refusal = Body::RequestVoteResponse { vote_granted: false };
            model.system.messages.send(Message::new(Term(1), S3, S2, refusal));
        });
        said_to(&model)
    };
    let twice = Violation::OneVote { voter: S3, term: Term(1), first: S1, second: S2 };
    assert_eq!((votes_for(S1), votes_for(S2)), (None, Some(twice)));
}

#[test]
fn a_leader_that_drops_an_entry_of_its_log_is_noticed() {
    let leads = |term, entries: &Log<u8>| {
        bent(|model| {
            let leader = server(model, S1);
            (leader.state, leader.current_term, leader.log) = (ServerState::Leader, Term(term), entries.clone());
        })
    };
    let (before, after) = (log([(1, 1), (1, 2)]), log([(1, 1)]));
    let noticed = Some(Violation::LeaderAppendOnly { leader: S1, before: before.clone(), after: after.clone() });
    let over = |from: &Model<u8>, to: &Model<u8>| {
        let said = invariant::check_step(&from.system, to).err();
        assert_eq!(raft().check_step(from, to).err(), said, "the explorer looks at steps");
        said
    };
    assert_eq!(over(&leads(1, &before), &leads(1, &after)), noticed);
    assert_eq!(over(&leads(1, &after), &leads(1, &before)), None, "it grows");
    assert_eq!(over(&leads(1, &before), &leads(2, &after)), None, "it was deposed in between");
    let mut follows = leads(1, &after);
    server(&mut follows, S1).state = ServerState::Follower;
    assert_eq!(over(&leads(1, &before), &follows), None, "it leads no more");
    assert_eq!(over(&follows, &leads(1, &log([]))), None, "it did not lead before");
}
