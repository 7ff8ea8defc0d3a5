//! Our side: three nodes of `outrigger`, with the log in memory and the in-process transport.
//!
//! Everything is as `Config::default()` has it, the heartbeats of 100 ms included: what a user gets who sets nothing. What a client
//! asks for is an [`Act`].

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger::engine::RoleKind;
use outrigger::network::InProcessNetwork;
use outrigger::{Config, Consistency, Metrics, Raft, Session, StateMachine};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{Cluster, Failure, Leader, NODES};

/// How long the first election may take before the benchmark gives up.
const ELECTION_MAX: Duration = Duration::from_secs(30);

/// A state machine without state but the count of what it was asked; requests are empty, and so are its answers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counter {
    /// Writes applied.
    count: u64,
    /// Where others read the count of writes, and of reads.
    #[serde(skip)]
    served: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    type Command = ();
    type Response = ();

    fn apply(&mut self, (): ()) {
        self.count += 1;
        self.served.fetch_add(1, Ordering::Release);
    }
}

/// What a client asks for.
pub(crate) trait Act: Send + Sync + 'static {
    /// What tables and errors call it.
    const NAME: &'static str;

    /// What differs from the defaults.
    fn configure(_: &mut Config) {}
    /// Asks for one, and awaits its answer.
    fn act(client: &Node<Self>) -> impl Future<Output = Result<(), Failure>> + Send
    where
        Self: Sized;
}

/// A write.
pub(crate) struct Write;

impl Act for Write {
    const NAME: &'static str = "outrigger";

    async fn act(client: &Node<Self>) -> Result<(), Failure> {
        client.raft.write(()).await.map_err(|cause| Failure::write(Self::NAME, &cause))
    }
}

/// A write in a session of the client's own.
pub(crate) struct WriteInSession;

impl Act for WriteInSession {
    const NAME: &'static str = "writes in sessions";

    async fn act(client: &Node<Self>) -> Result<(), Failure> {
        let failed = |cause| Failure::write(Self::NAME, &cause);
        let session = client.session.get_or_try_init(|| client.raft.session()).await.map_err(failed)?;
        session.write(()).await.map_err(failed)
    }
}

/// A linearizable read by a round of heartbeats: `ReadIndex`.
pub(crate) struct ReadIndex;

impl Act for ReadIndex {
    const NAME: &'static str = "reads by a round";

    async fn act(client: &Node<Self>) -> Result<(), Failure> {
        read(client, Consistency::Linearizable).await
    }
}

/// A linearizable read by the leader's lease.
pub(crate) struct LeaseRead;

impl Act for LeaseRead {
    const NAME: &'static str = "reads by a lease";

    fn configure(config: &mut Config) {
        // Below it by more than clocks may drift.
        config.lease = config.election_timeout_min / 2;
    }

    async fn act(client: &Node<Self>) -> Result<(), Failure> {
        read(client, Consistency::Lease).await
    }
}

async fn read<A: Act>(client: &Node<A>, consistency: Consistency) -> Result<(), Failure> {
    let count = |state: &Counter| state.served.fetch_add(1, Ordering::Release);
    client.raft.read_with(consistency, count).await.map(drop).map_err(|cause| Failure::write(A::NAME, &cause))
}

/// Three nodes and their leader.
pub(crate) struct Ours<A: Act> {
    /// All nodes.
    nodes: Vec<Node<A>>,
    /// The one that leads.
    leader: Node<A>,
}

/// A node's handle, as a client holds it.
pub(crate) struct Node<A> {
    raft: Raft<Counter>,
    /// What the node's state machine has served.
    served: Arc<AtomicU64>,
    /// The client's own, once it has used it.
    session: OnceCell<Session<Counter>>,
    act: PhantomData<A>,
}

impl<A> Node<A> {
    fn new(raft: Raft<Counter>, served: Arc<AtomicU64>) -> Self {
        Self { raft, served, session: OnceCell::new(), act: PhantomData }
    }
}

/// Another client.
impl<A> Clone for Node<A> {
    fn clone(&self) -> Self {
        Self::new(self.raft.clone(), Arc::clone(&self.served))
    }
}

impl<A: Act> Cluster for Ours<A> {
    const NAME: &'static str = A::NAME;
    type Leader = Node<A>;

    async fn start() -> Result<Self, Failure> {
        let network = InProcessNetwork::default();
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let initial_cluster = (1..=NODES).map(|id| (id, format!("node-{id}:1"))).collect();
            let mut config = Config { id, initial_cluster, ..Config::default() };
            A::configure(&mut config);
            let state = Counter::default();
            let served = Arc::clone(&state.served);
            let started = Raft::builder(config, state).transport(Arc::new(network.transport())).start().await;
            nodes.push(Node::new(started.map_err(|cause| Failure::start(Self::NAME, &cause))?, served));
        }
        let elected = timeout(ELECTION_MAX, elect(&nodes)).await;
        let leader = elected.map_err(|_| Failure::start(Self::NAME, &"no leader was elected in 30 s"))??;
        Ok(Self { nodes, leader })
    }

    fn leader(&self) -> Node<A> {
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
async fn elect<A: Act>(nodes: &[Node<A>]) -> Result<Node<A>, Failure> {
    let failed = |cause| Failure::start(A::NAME, &cause);
    let first = nodes.first().ok_or_else(|| Failure::start(A::NAME, &"a cluster without nodes"))?;
    let metrics = first.raft.metrics().wait_for(|metrics| metrics.leader.is_some()).await.map_err(failed)?;
    let leader = nodes.iter().find(|node| Some(node.raft.config().node()) == metrics.leader);
    let leader = leader.ok_or_else(|| Failure::start(A::NAME, &"a node that nobody started leads"))?;
    leader.raft.metrics().wait_for(leads).await.map_err(failed)?;
    Ok(leader.clone())
}

/// Whether the node of these metrics leads, by an entry of its own term that it has applied.
fn leads(metrics: &Metrics) -> bool {
    let in_term = metrics.last.term == metrics.term && metrics.applied == metrics.last.index;
    metrics.role == RoleKind::Leader && in_term
}

impl<A: Act> Leader for Node<A> {
    async fn write(&self) -> Result<(), Failure> {
        A::act(self).await
    }

    async fn write_many(&self, entries: u64) -> Result<(), Failure> {
        let batch = vec![(); usize::try_from(entries).unwrap_or(usize::MAX)];
        let answers = self.raft.write_many(batch).await.map_err(|cause| Failure::write(A::NAME, &cause))?;
        assert_eq!(answers.len() as u64, entries, "an answer for each entry");
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }
}
