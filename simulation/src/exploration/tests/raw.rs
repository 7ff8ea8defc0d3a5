//! The fingerprint against the whole: a search that tells states apart by everything that they hold.
//!
//! ```text
//!   everything that nodes and messages hold    s1    s2    s3    s4    s5      a step from each, for each possible cause
//!                                               └──┬──┘    │     └──┬──┘
//!   their fingerprints                             a       b        c          one step from each, or the test fails
//! ```
//!
//! No nodes are pooled here, and no messages taken for one, so that a field which is missing in the fingerprint joins states
//! that do different things, and these are found. Only moments and chance are left out, as `engine/src/fingerprint.rs` says.
//! If all that have one fingerprint do the same in one step, they do the same for ever: what a step leads to is among what is
//! compared. And the search that goes by fingerprints must meet as many of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use outrigger::engine::Fingerprint;
use outrigger_model::explore::TransitionSystem;

use super::super::action::{Action, Cause};
use super::super::network::Envelope;
use super::super::node::{Answer, Effects, Node};
use super::super::system::{arrivals, outcome};
use super::super::{Bounds, Cluster, Plan, State, explore};

/// Two digests of one value: no two of some millions have them in common.
type Digest = (u64, u64);

fn digest(value: &(impl Hash + ?Sized)) -> Digest {
    let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
    value.hash(&mut one);
    0xff_u8.hash(&mut other);
    value.hash(&mut other);
    (one.finish(), other.finish())
}

/// All of a value that is neither a moment nor chance: of those it only matters whether they are there.
fn everything(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    // Who was answered wherever it is decides only whether the runtime is told so again.
    let text = match text.split_once("answered: Some(") {
        Some((before, behind)) => {
            let rest = behind.split_once("})").expect("what is opened is closed").1;
            format!("{before}answered: None{rest}")
        }
        None => text,
    };
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(place) = rest.find("Instant(").into_iter().chain(rest.find("Random(")).min() {
        let (before, from) = rest.split_at(place);
        kept.push_str(before);
        rest = &from[from.find(')').expect("what is opened is closed")..];
    }
    kept + rest
}

fn everything_of_node(node: &Node) -> Digest {
    digest(&everything(&(&node.engine, &node.log, &node.disk, node.writes_pending())))
}

/// A state, and what its nodes hold.
struct Raw {
    state: State,
    nodes: Vec<Digest>,
}

impl Raw {
    fn identity(&self) -> Digest {
        let whole = |it: &Arc<Envelope>| digest(&everything(&(it.from, it.to, &it.message)));
        let mut messages: Vec<Digest> = self.state.network.iter().map(whole).collect();
        messages.sort_unstable();
        digest(&(&self.nodes, messages, self.state.past(), self.state.is_first))
    }
}

/// Every action that is possible, each worked out by itself.
fn actions(cluster: &Cluster, state: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    for node in state.nodes.iter().take(if state.is_first { 1 } else { usize::MAX }) {
        let at = |(_, envelope): &(usize, &Arc<Envelope>)| envelope.to == node.id();
        let messages = state.network.iter().enumerate().filter(at);
        let received = messages.flat_map(|(place, it)| arrivals(node, it).map(move |cause| (Some(place), cause)));
        let causes = cluster.causes(state, node).into_iter().map(|cause| (None, cause));
        for (place, cause) in causes.chain(received) {
            let outcome = Arc::new(outcome(node, &cause, Effects::default()));
            cluster.choose(
                state,
                Action { id: node.id(), cause, place, leaves_copy: false, lost: 0, outcome },
                &mut actions,
            );
        }
    }
    actions
}

/// What an action is, and what comes of it, in the words of those who know only fingerprints.
fn told(cluster: &Cluster, from: &State, action: &Action, next: &State) -> Digest {
    let (mut key, mut what) = (Vec::new(), Vec::new());
    cluster.key(next, &mut key);
    let past = from.past();
    if let Cause::Receive { envelope, .. } = &action.cause {
        // Which of the messages it is, whatever their names.
        Fingerprint::canonical([&envelope.fingerprint, &past].into_iter().chain(from.parts()), &mut what);
    }
    let Action { id, cause, leaves_copy, lost, outcome, .. } = action;
    let answers: Vec<String> = outcome.effects.answers.iter().map(answered).collect();
    let lost = lost.count_ones();
    digest(&(id, cause.to_string(), action.name(), what, leaves_copy, lost, answers, key, next.violation.is_some()))
}

/// What a caller is told: of a refusal counts whether it is certain.
fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Refused(token, refusal) => format!("{token} refused, for certain {}", refusal.is_certain()),
        Answer::Accepted(..) | Answer::Read(..) => format!("{answer:?}"),
    }
}

/// Visits everything within the bounds; what has one fingerprint must do the same. Answers how many states there are, and how
/// many fingerprints.
fn states_and_fingerprints(bounds: Bounds) -> (usize, u64) {
    let cluster = Cluster::new(bounds, false);
    let state = cluster.initial();
    let first = Raw { nodes: state.nodes.iter().map(|node| everything_of_node(node)).collect(), state };
    let mut known = HashSet::from([first.identity()]);
    let mut behaviours: HashMap<Digest, Digest> = HashMap::new();
    let mut waiting = vec![first];
    while let Some(Raw { state, nodes }) = waiting.pop() {
        let (mut next, mut does) = (state.clone(), Vec::new());
        for action in actions(&cluster, &state) {
            cluster.step(&state, &action, &mut next);
            does.push(told(&cluster, &state, &action, &next));
            if !cluster.is_within(&next) {
                continue;
            }
            let mut raw = Raw { state: next.clone(), nodes: nodes.clone() };
            let changed = usize::try_from(action.id.0 - 1).expect("few nodes");
            raw.nodes[changed] = everything_of_node(&raw.state.nodes[changed]);
            if known.insert(raw.identity()) {
                waiting.push(raw);
            }
        }
        does.sort_unstable();
        does.dedup();
        let mut key = Vec::new();
        cluster.key(&state, &mut key);
        let (key, does) = (digest(&key), digest(&does));
        let known = *behaviours.entry(key).or_insert(does);
        assert!(
            known == does,
            "a fingerprint stands for two states that do not do the same, of which one is\n{}",
            cluster.show(&state)
        );
    }
    (known.len(), behaviours.len() as u64)
}

/// The fingerprints of a search that knows everything are those of the search that knows only them.
#[track_caller]
fn fingerprints_are_enough(bounds: Bounds) {
    let bounds = Bounds { keeps_late: true, ..bounds };
    let (states, fingerprints) = states_and_fingerprints(bounds);
    let report = explore(bounds, &Plan::default(), |_| {}).expect("it begins within its bounds");
    println!("{states} states with {fingerprints} fingerprints; {report}");
    assert_eq!(report.states, fingerprints, "{report}");
    assert!(states as u64 > fingerprints, "every state has a fingerprint of its own: nothing was compared");
}

/// Two nodes and one message at a time.
const FEW: Bounds = Bounds { messages_max: 1, copies: 0, ..Bounds::PAIR };

#[test]
fn what_is_left_out_of_a_fingerprint_decides_nothing_in_one_term() {
    fingerprints_are_enough(Bounds { heartbeats: 2, ..FEW });
}

#[test]
fn nor_with_messages_that_overtake_each_other() {
    fingerprints_are_enough(Bounds { crashes: 0, heartbeats: 1, messages_max: 2, ..FEW });
}

#[test]
fn nor_with_copies() {
    fingerprints_are_enough(Bounds { copies: 1, proposals: 0, heartbeats: 2, ..FEW });
}

#[test]
fn nor_in_two_terms() {
    fingerprints_are_enough(Bounds { term_max: 2, log_max: 4, crashes: 0, ..FEW });
}

#[test]
fn nor_with_pre_votes_and_leaders_that_step_down() {
    fingerprints_are_enough(Bounds { term_max: 2, crashes: 0, pre_vote: true, check_quorum: true, ..FEW });
}

#[test]
fn nor_with_reads() {
    fingerprints_are_enough(Bounds { reads: 2, proposals: 0, crashes: 0, heartbeats: 2, ..FEW });
}

#[test]
fn nor_with_proposals_by_way_of_a_follower() {
    fingerprints_are_enough(Bounds { proposals: 0, forwards: 2, log_max: 4, copies: 1, crashes: 0, ..FEW });
}

#[test]
fn nor_among_three_nodes() {
    fingerprints_are_enough(Bounds { nodes: 3, crashes: 0, heartbeats: 0, ..FEW });
}
