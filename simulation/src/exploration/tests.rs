//! What a search stands on: equal keys are systems that behave the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outrigger_model::explore::TransitionSystem;

use super::{Bounds, Cluster, State};

mod raw;

/// The first state that is as wanted, of all that these bounds allow.
pub(super) fn state_with(bounds: Bounds, is_wanted: impl Fn(&State) -> bool) -> State {
    let cluster = Cluster::new(bounds, false);
    let mut queue = VecDeque::from([cluster.initial()]);
    let mut known = BTreeSet::new();
    while let Some(state) = queue.pop_front() {
        if is_wanted(&state) {
            return state;
        }
        let new = successors(&cluster, &state).into_iter().filter(|next| known.insert(key(&cluster, next)));
        queue.extend(new);
    }
    panic!("no state is as wanted");
}

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

/// The keys of all that can come within so many steps.
fn future(cluster: &Cluster, state: &State, steps: usize, keys: &mut BTreeSet<Vec<u8>>) {
    for next in successors(cluster, state) {
        keys.insert(key(cluster, &next));
        if steps > 1 {
            future(cluster, &next, steps - 1, keys);
        }
    }
}

/// Goes through `limit` states; wherever two ways meet in one key, both states must have the same future, three steps far.
/// Answers how often that was.
fn ways_that_meet_have_one_future(bounds: Bounds, limit: usize) -> usize {
    let cluster = Cluster::new(bounds, false);
    let first = cluster.initial();
    let mut known = BTreeMap::from([(key(&cluster, &first), 0)]);
    let (mut queue, mut searched, mut met) = (vec![first], 0, 0);
    while let Some(state) = queue.get(searched).cloned() {
        searched += 1;
        for next in successors(&cluster, &state) {
            let key = key(&cluster, &next);
            if let Some(first) = known.get(&key) {
                let [mut one, mut other] = [BTreeSet::new(), BTreeSet::new()];
                future(&cluster, &queue[*first], 3, &mut one);
                future(&cluster, &next, 3, &mut other);
                assert!(one == other, "two futures of\n{}", cluster.show(&next));
                met += 1;
            } else if queue.len() < limit {
                known.insert(key, queue.len());
                queue.push(next);
            }
        }
    }
    met
}

#[test]
fn whatever_way_leads_to_a_fingerprint_it_has_one_future() {
    // One message at a time: deep enough for followers that forget, and leaders that ask again.
    let deep = Bounds { messages_max: 1, copies: 0, heartbeats: 2, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(deep, 3_000) > 3_000);
    let wide = Bounds { log_max: 4, heartbeats: 2, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(wide, 1_000) > 1_000);
}

#[test]
fn so_it_is_with_reads_forwards_and_two_terms() {
    let more = Bounds { term_max: 2, proposals: 0, forwards: 1, reads: 1, pre_vote: true, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(more, 1_000) > 1_000);
    let three = Bounds { nodes: 3, check_quorum: true, ..more };
    assert!(ways_that_meet_have_one_future(three, 500) > 500);
}

#[test]
fn so_it_is_with_leases_and_pledges_that_end() {
    let leases = Bounds { reads: 1, check_quorum: true, leases: true, messages_max: 1, ..Bounds::default() };
    assert!(ways_that_meet_have_one_future(leases, 500) > 500);
}
