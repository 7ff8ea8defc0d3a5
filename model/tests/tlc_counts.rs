//! The model against TLC: a breadth-first search within bounds must meet exactly the states that TLC meets in raft.tla.
//!
//! A state outside the bounds is generated, but neither counted as distinct nor searched further. The initial state
//! counts as generated and distinct, and its depth is 1. The expected numbers are those of TLC 2.15 without symmetry.

use outrigger_model::{LogIndex, ServerSet, System, Term};
use std::collections::HashSet;

/// What the search stays within.
#[derive(Clone, Copy)]
struct Bounds {
    servers: usize,
    values: usize,
    term_max: usize,
    log_max: usize,
    messages_max: usize,
}

impl Bounds {
    fn hold(self, system: &System<u8>) -> bool {
        let servers_ok = system.servers.iter().all(|(_, server)| {
            server.current_term <= Term(self.term_max) && server.log.len() <= LogIndex(self.log_max)
        });
        let single_copies = system.messages.iter().all(|(_, count)| count == 1);
        servers_ok && single_copies && system.messages.len() <= self.messages_max
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    generated: usize,
    distinct: usize,
    depth: usize,
}

fn search(bounds: Bounds) -> Counts {
    let values: Vec<u8> = (1..).take(bounds.values).collect();
    let initial = System::new(&ServerSet::first(bounds.servers));
    let mut seen = HashSet::from([initial.clone()]);
    let mut level = vec![initial];
    let (mut generated, mut depth) = (1, 0);
    while !level.is_empty() {
        depth += 1;
        let mut next_level = Vec::new();
        for system in &level {
            for action in system.enabled(&values) {
                let mut next = system.clone();
                next.apply(&action).expect("what is enabled can be applied");
                generated += 1;
                if bounds.hold(&next) && seen.insert(next.clone()) {
                    next_level.push(next);
                }
            }
        }
        level = next_level;
    }
    Counts { generated, distinct: seen.len(), depth }
}

#[track_caller]
fn assert_counts(bounds: [usize; 5], counts: [usize; 3]) {
    let [servers, values, term_max, log_max, messages_max] = bounds;
    let [generated, distinct, depth] = counts;
    let ours = search(Bounds { servers, values, term_max, log_max, messages_max });
    let tlc = Counts { generated, distinct, depth };
    assert_eq!(ours, tlc);
}

// Bounds: servers, values, last term, longest log, messages in flight. Counts: generated, distinct, depth.

#[test]
fn an_election_and_an_entry_count_as_in_tlc() {
    assert_counts([2, 1, 2, 1, 1], [12_861, 1_645, 28]);
}

#[test]
fn conflicts_between_leaders_of_two_terms_count_as_in_tlc() {
    assert_counts([2, 1, 3, 2, 1], [367_277, 46_207, 46]);
}

#[test]
fn two_values_count_as_in_tlc() {
    assert_counts([2, 2, 2, 2, 1], [41_173, 5_133, 33]);
}

#[test]
fn two_messages_in_flight_count_as_in_tlc() {
    assert_counts([2, 1, 2, 1, 2], [134_721, 13_479, 32]);
}
