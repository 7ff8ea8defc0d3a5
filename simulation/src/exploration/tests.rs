//! What a search stands on: equal keys are systems that behave the same.

use std::collections::BTreeMap;

use outrigger_model::explore::TransitionSystem;

use super::{Bounds, Cluster, State};

fn key(cluster: &Cluster, state: &State) -> Vec<u8> {
    let mut key = Vec::new();
    cluster.key(state, &mut key);
    key
}

/// All that can come next, within the bounds.
fn successors(cluster: &Cluster, state: &State) -> Vec<State> {
    let (mut actions, mut next) = (Vec::new(), state.clone());
    cluster.append_actions(state, &mut actions);
    let mut states = Vec::new();
    for action in &actions {
        cluster.step(state, action, &mut next);
        states.extend(cluster.is_within(&next).then(|| next.clone()));
    }
    states
}

fn future(cluster: &Cluster, state: &State) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = successors(cluster, state).iter().map(|next| key(cluster, next)).collect();
    keys.sort_unstable();
    keys
}

/// Goes through `limit` states; wherever two ways meet in one key, both states must have the same future. Answers how often
/// that was.
fn ways_that_meet_have_one_future(bounds: Bounds, limit: usize) -> usize {
    let cluster = Cluster::new(bounds);
    let first = cluster.initial();
    let mut known = BTreeMap::from([(key(&cluster, &first), future(&cluster, &first))]);
    let (mut queue, mut met) = (vec![first], 0);
    let mut searched = 0;
    while let Some(state) = queue.get(searched).cloned() {
        searched += 1;
        for next in successors(&cluster, &state) {
            let key = key(&cluster, &next);
            match known.get(&key) {
                // By another way, and with other names, mostly.
                Some(known) if met < 2 * limit => {
                    assert_eq!(known, &future(&cluster, &next), "{}", cluster.show(&next));
                    met += 1;
                }
                Some(_) => {}
                None if queue.len() < limit => {
                    known.insert(key, future(&cluster, &next));
                    queue.push(next);
                }
                None => {}
            }
        }
    }
    met
}

#[test]
fn whatever_way_leads_to_a_fingerprint_it_has_one_future() {
    let small = Bounds { log_max: 4, crashes: 1, heartbeats: 2, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(small, 3_000) > 3_000);
}

#[test]
fn so_it_is_with_reads_forwards_and_two_terms() {
    let more = Bounds { term_max: 2, proposals: 0, forwards: 1, reads: 1, pre_vote: true, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(more, 3_000) > 3_000);
    let three = Bounds { nodes: 3, check_quorum: true, reads: 1, ..more };
    assert!(ways_that_meet_have_one_future(three, 2_000) > 2_000);
}
