//! The state machine that the tests replicate, and clusters of it in memory.

use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::NodeId;
use outrigger::network::InProcessNetwork;
use outrigger::{Config, Metrics, Raft, StateMachine};
use serde::{Deserialize, Serialize};

/// Keeps every number that was added, so that a lost, doubled or reordered one is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) added: Vec<u64>,
}

/// What a [`Ledger`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Writes a number down; the response says how many there are then.
    Add(u64),
    /// Takes its time, in milliseconds.
    Dawdle(u64),
    /// Panics on the nodes whose `apply` runs it.
    Panic,
}

impl StateMachine for Ledger {
    type Command = Change;
    type Response = u64;

    fn apply(&mut self, change: Change) -> u64 {
        match change {
            Change::Add(number) => self.added.push(number),
            Change::Dawdle(millis) => std::thread::sleep(Duration::from_millis(millis)),
            Change::Panic => panic!("told to panic"),
        }
        self.added.len() as u64
    }
}

/// Three nodes and what connects them.
pub(crate) struct Cluster {
    pub(crate) network: InProcessNetwork,
    pub(crate) nodes: Vec<Raft<Ledger>>,
}

/// Settings of a node of three, quick to elect.
pub(crate) fn config(id: u64) -> Config {
    Config {
        id,
        initial_cluster: (1..=3).map(|id| (id, format!("node-{id}:1"))).collect(),
        heartbeat_interval: Duration::from_millis(20),
        election_timeout_min: Duration::from_millis(100),
        election_timeout_max: Duration::from_millis(200),
        ..Config::default()
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With settings that differ.
    pub(crate) async fn start_with(change: impl Fn(&mut Config)) -> Self {
        let network = InProcessNetwork::default();
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let mut config = config(id);
            change(&mut config);
            let builder = Raft::builder(config, Ledger::default()).transport(Arc::new(network.transport()));
            nodes.push(builder.start().await.expect("the node starts"));
        }
        Self { network, nodes }
    }

    pub(crate) fn node(&self, id: u64) -> &Raft<Ledger> {
        self.nodes.iter().find(|node| node.config().id == id).expect("a node of the cluster")
    }

    /// The leader that all of these nodes agree on, once they do.
    pub(crate) async fn leader_of(&self, ids: &[u64]) -> u64 {
        let first = self.node(ids[0]).metrics().wait_for(|metrics| is_named(metrics, ids)).await;
        let leader = first.expect("the node runs").leader;
        for id in &ids[1..] {
            let agrees = self.node(*id).metrics().wait_for(|metrics| metrics.leader == leader).await;
            agrees.expect("the node runs");
        }
        leader.expect("it was named").0
    }

    pub(crate) async fn leader(&self) -> u64 {
        self.leader_of(&[1, 2, 3]).await
    }

    /// One that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        (1..=3).find(|id| *id != leader).expect("two of three follow")
    }

    pub(crate) async fn shut_down(self) {
        for node in &self.nodes {
            node.shutdown().await.expect("a clean end");
        }
    }
}

fn is_named(metrics: &Metrics, ids: &[u64]) -> bool {
    metrics.leader.is_some_and(|NodeId(leader)| ids.contains(&leader))
}

/// Waits until a node has applied what another has.
pub(crate) async fn caught_up(node: &Raft<Ledger>, other: &Raft<Ledger>) {
    let applied = other.read_local_at(|_| ()).await.expect("the node runs").0;
    let done = node.metrics().wait_for(|metrics| metrics.applied >= applied).await;
    done.expect("the node runs");
}
