//! Nodes that have applied the same entries and are in different states all the same.

use std::sync::Arc;
use std::time::Duration;

use outrigger::network::InProcessNetwork;
use outrigger::{Error, Outcome, Raft};

use crate::counter::{Change, Cluster, Ledger, config};

/// Nodes whose states begin with these numbers, and are compared all the time.
async fn started(states: [&[u64]; 3]) -> Cluster {
    let network = InProcessNetwork::default();
    let mut nodes = Vec::new();
    for (id, added) in (1..).zip(states) {
        let mut config = config(id);
        config.state_check_interval = Duration::from_millis(50);
        let state = Ledger { added: added.to_vec() };
        let builder = Raft::builder(config, state).transport(Arc::new(network.transport()));
        nodes.push(builder.start().await.expect("the node starts"));
    }
    Cluster { network, nodes }
}

/// Writes by these nodes in turn until `node` has stopped; answers why it has.
async fn write_until_stopped(cluster: &Cluster, node: u64) -> Error {
    let stopped = cluster.node(node).clone();
    let mut stopped = tokio::spawn(async move { stopped.stopped().await });
    loop {
        for id in 1..=3 {
            if let Err(error) = cluster.node(id).write(Change::Add(id)).await {
                assert!(id == node || error.outcome() == Outcome::Unknown, "{error}");
            }
        }
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(5), &mut stopped).await {
            return ended.expect("it ran to its end").expect_err("it had a reason");
        }
    }
}

#[tokio::test]
async fn who_is_in_another_state_than_the_others_stops_and_they_go_on() {
    for strange in 1..=3 {
        let mut states: [&[u64]; 3] = [&[]; 3];
        states[strange - 1] = &[7];
        let cluster = started(states).await;
        let why = write_until_stopped(&cluster, strange as u64).await;
        let text = why.to_string();
        assert!(text.contains("and that of a majority") && text.contains("add it again"), "{text}");
        let rest: Vec<u64> = (1..=3).filter(|id| *id != strange as u64).collect();
        cluster.leader_of(&rest).await;
        cluster.node(rest[0]).write(Change::Add(8)).await.expect("two of three go on");
        for id in rest {
            cluster.node(id).shutdown().await.expect("a clean end");
        }
    }
}
