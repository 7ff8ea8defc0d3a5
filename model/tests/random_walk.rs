//! Random walks through raft.tla as it is: every invariant holds after every step, and the walks have been everywhere.

mod random;
mod walk;

use outrigger_model::invariant::check_step;
use outrigger_model::{Action, Model, ServerSet, Term};
use walk::{Failure, Taken, cluster, follow_the_rules, walk};

const STEPS: usize = 3_000;

/// Walks through clusters of `servers` under `seeds`; the last models and what was taken.
fn walks(servers: usize, seeds: std::ops::Range<u64>) -> (Vec<Model<u8>>, Taken) {
    let mut all_taken = Taken::new();
    let mut ends = Vec::new();
    for seed in seeds {
        let walked =
            walk(cluster(servers), seed, STEPS, follow_the_rules, |before, after| check_step(&before.system, after));
        let (end, taken) = match walked {
            Ok(walked) => walked,
            Err(Failure { violation, path }) => {
                let path: Vec<String> = path.iter().map(Action::to_string).collect();
                panic!("seed {seed}: {violation}\n{}", path.join("\n"));
            }
        };
        for (name, count) in taken {
            *all_taken.entry(name).or_default() += count;
        }
        ends.push(end);
    }
    (ends, all_taken)
}

#[test]
fn every_invariant_holds_in_three_servers() {
    let (ends, taken) = walks(3, 0..40);
    // Ten actions, and ten cases of Receive: a walk that never met one of them proves nothing about it.
    assert_eq!(taken.len(), 20, "{taken:#?}");
    assert!(taken.values().all(|count| *count >= 40), "{taken:#?}");
    let elections: usize = ends.iter().map(|end| end.history.elections.len()).sum();
    let committed: usize = ends.iter().map(|end| end.history.committed.len()).sum();
    assert!(elections >= 1_000, "{elections} elections");
    assert!(committed >= 200, "{committed} entries committed");
    // Entries were committed by leaders of many terms, so that later leaders had something to lack.
    let late = |end: &Model<u8>| end.history.committed.values().any(|term| *term > Term(10));
    assert!(ends.iter().filter(|end| late(end)).count() >= 10);
}

#[test]
fn every_invariant_holds_in_two_four_and_five_servers() {
    for servers in [2, 4, 5] {
        let (ends, taken) = walks(servers, 0..10);
        assert!(taken.len() >= 19, "{servers} servers: {taken:#?}");
        let committed: usize = ends.iter().map(|end| end.history.committed.len()).sum();
        assert!(committed >= 20, "{servers} servers: {committed} committed");
    }
}

#[test]
fn every_election_is_recorded_with_the_logs_of_its_voters() {
    let (ends, _) = walks(3, 0..10);
    for election in ends.iter().flat_map(|end| &end.history.elections) {
        let voters: ServerSet = election.voter_log.keys().copied().collect();
        assert_eq!(voters, election.votes);
        assert!(voters.len() >= 2);
        // Section 5.4.1: nobody votes for a candidate whose log is behind its own.
        for (voter, log) in &election.voter_log {
            let newest = (election.log.last_term(), election.log.len());
            assert!((log.last_term(), log.len()) <= newest, "{voter}'s log");
        }
    }
    assert!(ends.iter().all(|end| end.history.all_logs.len() > 10));
}

#[test]
fn one_server_needs_no_other() {
    let (ends, _) = walks(1, 0..3);
    assert!(ends.iter().all(|end| end.history.committed.len() >= 3));
}

#[test]
fn a_walk_is_the_same_each_time() {
    assert_eq!(walks(3, 7..8), walks(3, 7..8));
}
