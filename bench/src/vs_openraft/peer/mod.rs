//! The peer: three nodes of openraft 0.10.0-alpha.37, set up as its own `benchmarks/minimal` does it, or better.
//!
//! Being fair to the peer decides every choice here: no snapshots or purges while the clock runs, heartbeats
//! so rare that none falls into a run, its own pipelined append between the nodes, the smaller of its two
//! leader ids, `runtime-stats` off. A change that makes the peer faster belongs in this file.

mod network;
mod store;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use openraft::{Config, RaftMetrics, ServerState, SnapshotPolicy};

use self::network::Router;
use self::store::{Counter, MemoryLog};
use crate::in_process::{Cluster, Failure, Leader, NODES};

openraft::declare_raft_types!(
    /// The peer's types: an empty request, an empty answer.
    pub(super) Types:
        D = Empty,
        R = (),
        NodeId = u64,
        Node = openraft::EmptyNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// A node's handle.
type Handle = openraft::Raft<Types, Counter>;

/// A request of no bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Empty;

impl fmt::Display for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("empty")
    }
}

/// How long the first election may take before the benchmark gives up.
const ELECTION_MAX: Duration = Duration::from_secs(30);

/// Three nodes and their leader.
pub(super) struct Peer {
    /// All nodes, by id.
    nodes: Vec<Handle>,
    /// The leader's handle and count.
    leader: PeerLeader,
}

/// The leader's handle, as a client holds it.
#[derive(Clone)]
pub(super) struct PeerLeader {
    handle: Handle,
    /// Writes that the leader's state machine has applied.
    writes: Arc<AtomicU64>,
}

impl Cluster for Peer {
    const NAME: &'static str = "openraft";
    type Leader = PeerLeader;

    async fn start() -> Result<Self, Failure> {
        let config = Arc::new(configuration()?);
        let router = Router::default();
        let mut nodes = Vec::new();
        let mut counts = Vec::new();
        for id in 0..NODES {
            let writes = Arc::new(AtomicU64::new(0));
            let machine = Counter::new(Arc::clone(&writes));
            let node = Handle::new(id, Arc::clone(&config), router.clone(), MemoryLog::new(), machine).await;
            nodes.push(node.map_err(|cause| Failure::start(Self::NAME, &cause))?);
            counts.push(writes);
        }
        router.connect(nodes.clone());
        let leader = elect(&nodes).await?;
        let place = usize::try_from(leader).unwrap_or(usize::MAX);
        match (nodes.get(place).cloned(), counts.get(place).cloned()) {
            (Some(handle), Some(writes)) => Ok(Self { nodes, leader: PeerLeader { handle, writes } }),
            _ => Err(Failure::start(Self::NAME, &format!("node {leader}, which nobody started, leads"))),
        }
    }

    fn leader(&self) -> PeerLeader {
        self.leader.clone()
    }

    async fn stop(self) -> Result<(), Failure> {
        for node in self.nodes {
            node.shutdown().await.map_err(|cause| Failure::stop(Self::NAME, &cause))?;
        }
        Ok(())
    }
}

/// What `benchmarks/minimal` sets, with larger batches and rarer heartbeats.
fn configuration() -> Result<Config, Failure> {
    let config = Config {
        heartbeat_interval: 5_000,
        election_timeout_min: 20_000,
        election_timeout_max: 40_000,
        max_payload_entries: 4_096,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    config.validate().map_err(|cause| Failure::start(Peer::NAME, &cause))
}

/// Forms the cluster by its first node and waits until that node leads and has applied its own first entry:
/// before, it may already be named leader and still refuse a write.
async fn elect(nodes: &[Handle]) -> Result<u64, Failure> {
    let first = nodes.first().ok_or_else(|| Failure::start(Peer::NAME, &"a cluster without nodes"))?;
    let members: BTreeSet<u64> = (0..NODES).collect();
    first.initialize(members).await.map_err(|cause| Failure::start(Peer::NAME, &cause))?;
    let elected = first.wait(Some(ELECTION_MAX));
    let metrics = elected.metrics(leads, "a leader").await;
    Ok(metrics.map_err(|cause| Failure::start(Peer::NAME, &cause))?.id)
}

/// Whether the node of these metrics leads, by an entry of its own term that it has applied.
fn leads(metrics: &RaftMetrics<Types>) -> bool {
    let in_term = metrics.last_applied.is_some_and(|last| last.committed_leader_id().term == metrics.current_term);
    metrics.state == ServerState::Leader && in_term
}

impl Leader for PeerLeader {
    async fn write(&self) -> Result<(), Failure> {
        match self.handle.client_write(Empty).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(Failure::write(Peer::NAME, &cause)),
        }
    }

    async fn write_many(&self, entries: u64) -> Result<(), Failure> {
        let batch = (0..entries).map(|_| Empty);
        let failed = |cause| Failure::write(Peer::NAME, &cause);
        let mut answers = self.handle.client_write_many(batch).await.map_err(failed)?;
        while let Some(answer) = answers.try_next().await.map_err(failed)? {
            answer.map_err(|cause| Failure::write(Peer::NAME, &cause))?;
        }
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }
}
