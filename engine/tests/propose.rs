//! Proposals that are meant for the leader of one term.

mod cluster;

use std::sync::Arc;

use cluster::{Cluster, command};
use outrigger_engine::*;

/// Three nodes; node 1 leads, and everybody knows it.
fn led() -> Cluster {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.timeout(1);
    cluster.stabilize();
    cluster
}

fn propose_in(cluster: &mut Cluster, id: u64, token: u64, term: u64, value: &str) {
    let event = Event::Propose { token: Token(token), entries: Arc::new([command(value)]), only_in: Some(Term(term)) };
    cluster.handle(id, event);
}

fn last_answer(cluster: &Cluster, id: u64) -> &str {
    cluster.node(id).answers.last().map_or("", String::as_str)
}

#[test]
fn a_leader_takes_in_what_is_meant_for_its_term_and_nothing_else() {
    let mut cluster = led();
    let term = cluster.term(1);
    propose_in(&mut cluster, 1, 7, term, "x");
    cluster.stabilize();
    assert_eq!(cluster.applied(1), ["x"]);
    for other in [term - 1, term + 1] {
        propose_in(&mut cluster, 1, 8, other, "y");
        cluster.stabilize();
        assert_eq!(
            last_answer(&cluster, 1),
            format!("refused #8: a precondition does not hold: the leader's term is {term}")
        );
    }
    assert_eq!(cluster.applied(1), ["x"]);
}

#[test]
fn a_follower_hands_on_what_is_meant_for_its_term_and_refuses_the_rest() {
    let mut cluster = led();
    let term = cluster.term(2);
    propose_in(&mut cluster, 2, 7, term - 1, "x");
    assert_eq!(
        last_answer(&cluster, 2),
        format!("refused #7: a precondition does not hold: the leader's term is {term}")
    );
    propose_in(&mut cluster, 2, 8, term, "y");
    cluster.stabilize();
    assert_eq!(cluster.applied(2), ["y"]);
}

/// It was handed on in one term; by the time it arrives, the same node leads in another.
#[test]
fn a_leader_that_was_elected_again_meanwhile_does_not_take_it_in() {
    let mut cluster = led();
    let term = cluster.term(2);
    propose_in(&mut cluster, 2, 8, term, "x");
    let late = cluster.network.pop_back().expect("what it handed on");
    assert!(matches!(late.message, Message::Propose { .. }), "{late:?}");
    cluster.handle(1, Event::StepDown { token: Token(9) });
    cluster.stabilize();
    cluster.elect(1);
    cluster.stabilize();
    assert!(cluster.term(1) > term && cluster.role(1) == RoleKind::Leader);
    cluster.network.push_back(late);
    cluster.stabilize();
    assert!(cluster.applied(1).is_empty() && cluster.applied(2).is_empty());
}
