//! Our side: three nodes of `outrigger`, with the log in memory and the in-process transport.
//!
//! Everything is as `Config::default()` has it, the heartbeats of 100 ms included: what a user gets who sets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger::engine::RoleKind;
use outrigger::network::InProcessNetwork;
use outrigger::{Config, Metrics, Raft, StateMachine};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Cluster, Failure, Leader, NODES};

/// How long the first election may take before the benchmark gives up.
const ELECTION_MAX: Duration = Duration::from_secs(30);

/// A state machine without state but the count of the writes that it was given; they are empty, and so are its answers.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter {
    /// Writes applied.
    count: u64,
    /// Where others read the count. Only this state machine stores it, so a store is enough.
    #[serde(skip)]
    writes: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    type Command = ();
    type Response = ();

    fn apply(&mut self, (): ()) {
        self.count += 1;
        self.writes.store(self.count, Ordering::Release);
    }
}

/// Three nodes and their leader.
pub(super) struct Ours {
    /// All nodes.
    nodes: Vec<Node>,
    /// The one that leads.
    leader: Node,
}

/// A node's handle, as a client holds it.
#[derive(Clone)]
pub(super) struct Node {
    raft: Raft<Counter>,
    /// Writes that the node's state machine has applied.
    writes: Arc<AtomicU64>,
}

impl Cluster for Ours {
    const NAME: &'static str = "outrigger";
    type Leader = Node;

    async fn start() -> Result<Self, Failure> {
        let network = InProcessNetwork::default();
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let initial_cluster = (1..=NODES).map(|id| (id, format!("node-{id}:1"))).collect();
            let config = Config { id, initial_cluster, ..Config::default() };
            let state = Counter::default();
            let writes = Arc::clone(&state.writes);
            let started = Raft::builder(config, state).transport(Arc::new(network.transport())).start().await;
            nodes.push(Node { raft: started.map_err(|cause| Failure::start(Self::NAME, &cause))?, writes });
        }
        let elected = timeout(ELECTION_MAX, elect(&nodes)).await;
        let leader = elected.map_err(|_| Failure::start(Self::NAME, &"no leader was elected in 30 s"))??;
        Ok(Self { nodes, leader })
    }

    fn leader(&self) -> Node {
        self.leader.clone()
    }

    async fn stop(self) -> Result<(), Failure> {
        for node in self.nodes {
            node.raft.shutdown().await.map_err(|cause| Failure::stop(Self::NAME, &cause))?;
        }
        Ok(())
    }
}

/// Waits until a node leads and has applied its own first entry.
async fn elect(nodes: &[Node]) -> Result<Node, Failure> {
    let failed = |cause| Failure::start(Ours::NAME, &cause);
    let first = nodes.first().ok_or_else(|| Failure::start(Ours::NAME, &"a cluster without nodes"))?;
    let metrics = first.raft.metrics().wait_for(|metrics| metrics.leader.is_some()).await.map_err(failed)?;
    let leader = nodes.iter().find(|node| Some(node.raft.config().node()) == metrics.leader);
    let leader = leader.ok_or_else(|| Failure::start(Ours::NAME, &"a node that nobody started leads"))?;
    leader.raft.metrics().wait_for(leads).await.map_err(failed)?;
    Ok(leader.clone())
}

/// Whether the node of these metrics leads, by an entry of its own term that it has applied.
fn leads(metrics: &Metrics) -> bool {
    let in_term = metrics.last.term == metrics.term && metrics.applied == metrics.last.index;
    metrics.role == RoleKind::Leader && in_term
}

impl Leader for Node {
    async fn write(&self) -> Result<(), Failure> {
        self.raft.write(()).await.map_err(|cause| Failure::write(Ours::NAME, &cause))
    }

    async fn write_many(&self, entries: u64) -> Result<(), Failure> {
        let batch = vec![(); usize::try_from(entries).unwrap_or(usize::MAX)];
        let answers = self.raft.write_many(batch).await.map_err(|cause| Failure::write(Ours::NAME, &cause))?;
        assert_eq!(answers.len() as u64, entries, "an answer for each entry");
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }
}
