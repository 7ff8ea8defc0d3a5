//! What the simulator found: a test for each fault, named for what went wrong.

mod cluster;

use cluster::Cluster;
use outrigger_engine::*;

fn beat(term: u64, round: u64) -> Message {
    Message::Heartbeat(Heartbeat { term: Term(term), round: Round(round), commit: LogIndex(0) })
}

/// Rounds begin anew with each term. A heartbeat of an earlier leadership that came late was answered in the present
/// term, and the answer counted for the present leadership's round of the same number: it could confirm a read that
/// had begun after the answer was given, and a healthy peer was refused when its number had not been reached yet.
#[test]
fn an_answer_to_a_heartbeat_of_an_earlier_leadership_counts_for_nothing() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    let (old, _) = cluster.engine(1).leadership();
    cluster.elect(2);
    cluster.elect(1);
    cluster.read(1, 7);
    cluster.network.clear();
    // Node 3 gets a heartbeat of node 1's first term now; its answer reaches node 1 at once.
    for round in [1, 2, 3, 64] {
        cluster.receive(3, 1, beat(old.0, round));
        cluster.stabilize();
    }
    assert!(!cluster.trace.contains("refuse_peer"), "node 3 did nothing wrong");
    assert!(!cluster.node(1).answers.iter().any(|it| it.contains("read #7")), "nobody has confirmed this leadership");
    cluster.elapse(std::time::Duration::from_millis(100));
    cluster.stabilize();
    assert!(cluster.node(1).answers.iter().any(|it| it.contains("read #7")), "now they have");
}
