//! How a node is put together: its log, its transport, its threads and tasks.
//!
//! ```text
//!   settings checked ─► port bound ─► log opened, restored ─► threads, worker, RaftCore, supervisor ─► handle
//!         nothing is changed on disk so far ┘
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use outrigger_engine::{Engine, Fault, Incarnation, LogId, Membership, Node, NodeId, Peer, Restored, Version};
use outrigger_log::{OpenError, OpenOptions, PeerIdentity, Preparer, RealDisk, Refused};

use crate::LargeStateMachine;
use crate::config::{Config, resolve};
use crate::error::StartError;
use crate::metrics::{Metrics, MetricsReceiver};
use crate::network::frame::BODY_BYTES_MAX;
use crate::network::{Local, TcpTransport, Transport};
use crate::raft::Raft;
use crate::runtime::apply::{Jobs, Worker};
use crate::runtime::arrivals::{Inbox, Inlet};
use crate::runtime::clock::Clock;
use crate::runtime::command::TokioRuntime;
use crate::runtime::core::Core;
use crate::runtime::environment::{Machine, blocking, task};
use crate::runtime::log_writer::{self, LogAccess, LogWriter, WriteQueue};
use crate::runtime::preparer;
use crate::runtime::publish::Publisher;
use crate::runtime::sessions::Replicated;
use crate::runtime::snapshot::SnapshotAccess;
use crate::runtime::supervise::{Hosted, Supervisor, Threads};
use crate::runtime::tail::Tail;
use crate::runtime::{Driver, Environment};
use crate::store::{self, DurableStore, LogStore, MemoryStore};
use crate::watch;

/// Starts a node with parts of one's own; see [`Raft::builder`].
///
/// ```
/// # use outrigger::{Config, Raft, StateMachine};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Default, Serialize, Deserialize)]
/// # struct Counter(u64);
/// # impl StateMachine for Counter {
/// #     type Command = u64;
/// #     type Response = u64;
/// #     fn apply(&mut self, add: u64) -> u64 {
/// #         self.0 += add;
/// #         self.0
/// #     }
/// # }
/// use std::sync::Arc;
/// use outrigger::network::InProcessNetwork;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), outrigger::Error> {
/// let network = InProcessNetwork::default();
/// let mut nodes = Vec::new();
/// for id in 1..=3 {
///     let cluster = [(1, "a:1".into()), (2, "b:1".into()), (3, "c:1".into())].into();
///     let config = Config { id, initial_cluster: cluster, ..Config::default() };
///     let transport = Arc::new(network.transport());
///     nodes.push(Raft::builder(config, Counter::default()).transport(transport).start().await?);
/// }
/// assert_eq!(nodes[2].write(5).await?, 5);
/// # for node in nodes {
/// #     node.shutdown().await?;
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Builder<S: LargeStateMachine> {
    config: Config,
    state: S,
    transport: Option<Arc<dyn Transport>>,
    store: Option<(Box<dyn LogStore>, Peer)>,
    environment: Arc<dyn Environment>,
}

/// A log that is open.
struct Opened {
    store: Box<dyn LogStore>,
    peer: Peer,
    restored: Restored,
    /// Makes the files of a durable log ahead of need.
    preparer: Option<Preparer<RealDisk>>,
}

impl<S: LargeStateMachine> Builder<S> {
    pub(crate) fn new(config: Config, state: S) -> Self {
        Self { config, state, transport: None, store: None, environment: Arc::new(Machine) }
    }

    /// Carries messages by this transport instead of TCP.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Keeps the log in this store instead of [`Config::data_dir`]. `peer` is the node in the life that this opening of
    /// the store began: its `start` is higher than that of every earlier one, its `id` the same for as long as the store
    /// forgets nothing.
    #[must_use]
    pub fn log_store(mut self, store: Box<dyn LogStore>, peer: Peer) -> Self {
        self.store = Some((store, peer));
        self
    }

    /// Lets the node live in this environment instead of the machine's: for simulations, which replay from a seed.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// As [`Raft::start`].
    pub async fn start(self) -> Result<Raft<S>, StartError> {
        let Self { config, state, transport, store, environment } = self;
        config.validate()?;
        // Who brings a transport knows what its addresses mean.
        let calls_by_address = transport.is_none();
        let transport = match transport {
            Some(transport) => transport,
            None => tcp(&config).await?,
        };
        let mut opened = open(&config, store, &environment).await?;
        opened.peer = opened.peer.speaking(Version(config.speak_version_max));
        // The engine would not take part either; but nothing has begun yet.
        if let Some(fault) = opened.restored.too_old(opened.peer.version) {
            return Err(StartError::TooOld { id: opened.peer.node.0, fault });
        }
        let replicated = Replicated::new(state);
        if let Some(held) = replicated.held() {
            fit(held, &mut opened.restored)?;
        }
        if opened.peer.node != config.node() {
            return Err(StartError::OtherNode { id: config.id, found: opened.peer.node.0 });
        }
        let is_first = opened.restored.last == LogId::ZERO;
        if is_first && config.initial_cluster.is_empty() && config.join.is_empty() {
            return Err(StartError::NoInitialCluster { id: config.id });
        }
        let begins = is_first && config.join.is_empty();
        let initial = begins.then(|| Arc::new(config.initial_membership()));
        let in_snapshot = opened.restored.snapshot.as_ref().map(|snapshot| &snapshot.membership);
        let in_log = opened.restored.memberships.last().map(|(_, members)| members);
        let members = initial.as_ref().or(in_log).or(in_snapshot);
        if let Some(members) = members.filter(|_| calls_by_address) {
            warn_if_out_of_reach(&config, members);
        }
        assemble(Arc::new(config), replicated, transport, opened, initial, &environment)
    }
}

/// Whether the log holds what a state on disk has applied. All of that is committed, whether the log was told so in time or not.
fn fit(held: LogId, log: &mut Restored) -> Result<(), StartError> {
    if held.index > log.last.index {
        return Err(StartError::StateAhead { held, last: log.last });
    }
    let found = match log.terms.iter().rev().find(|first| first.index <= held.index) {
        Some(first) => LogId { term: first.term, index: held.index },
        None if held.index == log.purged.index => log.purged,
        // What was before the log is not known any more; the snapshot holds all of it.
        None => held,
    };
    if found != held {
        return Err(StartError::OtherState { held, found });
    }
    log.commit = log.commit.max(held.index);
    Ok(())
}

async fn tcp(config: &Config) -> Result<Arc<dyn Transport>, StartError> {
    resolve::distinct(config).await?;
    let bound = TcpTransport::bind(&config.listen_peer);
    let bound = bound.map_err(|reason| transport_error(config, reason))?;
    Ok(Arc::new(bound))
}

/// Nobody but this node can notice: the others see a peer that is down.
fn warn_if_out_of_reach(config: &Config, members: &Membership) {
    let named = members.nodes().get(&config.node()).map(|node| node.address.as_str());
    if let Some(named) = named.filter(|named| config.listens_elsewhere(named)) {
        tracing::warn!(
            node = config.id,
            "the others call this node at {named}, but it listens on {}: correct one of them, or say that {named} leads \
             here (advertise_peer)",
            config.advertise_peer.as_deref().unwrap_or(&config.listen_peer)
        );
    }
}

fn transport_error(config: &Config, reason: io::Error) -> StartError {
    StartError::Transport { id: config.id, address: config.listen_peer.clone(), reason }
}

/// Opens the log, which may take long, and reads what the engine needs to know of it.
async fn open(
    config: &Config,
    store: Option<(Box<dyn LogStore>, Peer)>,
    environment: &Arc<dyn Environment>,
) -> Result<Opened, StartError> {
    let (config, own) = (config.clone(), Arc::clone(environment));
    let opening = move || match (store, &config.data_dir) {
        (Some((mut store, peer)), _) => {
            let restored = store.restore()?;
            Ok(Opened { store, peer, restored, preparer: None })
        }
        (None, Some(directory)) => open_directory(&config, directory, own.as_ref()),
        (None, None) => {
            let incarnation = Incarnation { id: own.random(), start: 1, nonce: own.random() };
            let peer = Peer::new(config.node(), incarnation);
            let store = Box::new(MemoryStore::new());
            Ok(Opened { store, peer, restored: Restored::default(), preparer: None })
        }
    };
    let opened = blocking(environment.as_ref(), opening).await;
    opened.unwrap_or_else(|error| Err(StartError::Storage { reason: format!("opening it failed: {error}") }))
}

fn open_directory(config: &Config, directory: &Path, environment: &dyn Environment) -> Result<Opened, StartError> {
    let is_new = match std::fs::read_dir(directory) {
        Ok(mut files) => files.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        // What cannot be looked into is not taken for empty.
        Err(error) => {
            return Err(StartError::Storage { reason: format!("cannot look into {}: {error}", directory.display()) });
        }
    };
    if is_new && config.initial_cluster.is_empty() && config.join.is_empty() {
        // Before anything is made in it.
        return Err(StartError::NoInitialCluster { id: config.id });
    }
    let (incarnation, nonce) = (environment.random(), environment.random());
    let mut options = OpenOptions::new(config.cluster_id(), config.id, incarnation, nonce);
    // Whatever a leader may send is stored, with its envelope: what is taken in is decided where it is proposed, by limits that
    // may be others, or may have been.
    options.entry_bytes_max = BODY_BYTES_MAX;
    options.segment_bytes = config.limits.segment_bytes;
    let opened = DurableStore::open(RealDisk, directory, options);
    let mut store = opened.map_err(|error| match error {
        OpenError::Refused(refused) => refused_before(directory, &refused),
        error => StartError::Storage { reason: error.to_string() },
    })?;
    let (peer, preparer, restored) = (store.identity(), store.preparer(), store.restore()?);
    Ok(Opened { store: Box::new(store), peer, restored, preparer: Some(preparer) })
}

/// The same words as when it was refused.
fn refused_before(directory: &Path, refused: &Refused) -> StartError {
    let life = |of: PeerIdentity| Incarnation { id: of.incarnation, start: of.start, nonce: of.nonce };
    let fault = Fault::Refused { by: NodeId(refused.by), met: life(refused.met), own: life(refused.own) };
    StartError::Refused { directory: directory.display().to_string(), fault }
}

/// What an operator wants to see of every start.
fn tell_of_start(config: &Config, restored: &Restored) {
    let (node, cluster) = (config.id, config.cluster.as_str());
    let (last, commit, term) = (restored.last, restored.commit, restored.vote.term);
    match &config.data_dir {
        Some(directory) if last == LogId::ZERO => {
            tracing::info!(node, cluster, directory = %directory.display(), "starts for the first time");
        }
        Some(directory) => {
            let directory = directory.display();
            tracing::info!(node, cluster, %directory, %last, %commit, %term, "starts from its log");
        }
        None if config.initial_cluster.len() > 1 => tracing::warn!(
            node,
            cluster,
            "keeps its log in memory: after a restart it is a new node, which the others refuse; set data_dir to keep it"
        ),
        None => tracing::info!(node, cluster, "keeps its log in memory"),
    }
}

/// Puts the parts together and sets them in motion.
fn assemble<S: LargeStateMachine>(
    config: Arc<Config>,
    replicated: Replicated<S>,
    transport: Arc<dyn Transport>,
    opened: Opened,
    initial: Option<Arc<Membership>>,
    environment: &Arc<dyn Environment>,
) -> Result<Raft<S>, StartError> {
    let Opened { store, peer, restored, preparer } = opened;
    let clock = Clock::start();
    let inbox = Arc::new(Inbox::<S>::new(config.limits.clone()));
    let jobs = Arc::new(Jobs::<S>::new());
    let log = LogAccess { reader: store.reader(), environment: store.blocks().then(|| Arc::clone(environment)) };
    let pace = config.snapshot_bytes_per_second_max;
    let (snapshots, snapshots_end) = SnapshotAccess::new(store.snapshots(), Arc::clone(environment), pace);
    // A node that is started to join hears it from whoever leads it first.
    let peer = peer.of(initial.as_deref().map_or(restored.genesis, store::genesis_of));
    let tail = Tail::new(restored.last, config.limits.tail_bytes_max);
    tell_of_start(&config, &restored);
    let engine = Engine::new(config.engine(peer, environment.random()), restored, clock.now());

    let (writer, threads) = host(&config, store, preparer, &inbox, environment)?;
    let client_address = config.client_address().map(ToOwned::to_owned);
    let (cluster, peer_address) = (config.cluster_id(), config.peer_address().map(ToOwned::to_owned));
    let local = Local { cluster, peer, client_address: client_address.clone(), peer_address };
    let begun = transport.start(local, Arc::new(Inlet(Arc::clone(&inbox))));
    begun.map_err(|reason| transport_error(&config, reason))?;
    if engine.membership().nodes().is_empty() {
        // Until a leader has said who the members are.
        let node = |(id, address): (&u64, &String)| (NodeId(*id), Node { address: address.clone() });
        transport.set_peers(&config.join.iter().map(node).collect());
    }

    let metrics = Arc::new(Metrics::new(engine.status(), None, std::collections::BTreeMap::new()));
    let (metrics, watched) = watch::channel(metrics);
    let metrics = Arc::new(metrics);
    let publisher = Publisher::new(Arc::clone(&metrics), client_address);
    let mailboxes = (Arc::clone(&jobs), Arc::clone(&inbox));
    // A state on disk must not know more than the log does after a crash.
    let durable = replicated.held().map(|_| engine.flushed_index());
    let worker = Worker::new(replicated, mailboxes, (log.clone(), snapshots.clone()), clock);
    let source = snapshots.source();
    let parts = (tail, writer, log, snapshots);
    let limits = &config.limits;
    let runtime = TokioRuntime::new(
        parts,
        Arc::clone(&transport),
        Arc::clone(&jobs),
        Arc::clone(&inbox),
        (limits.unapplied_entries_max, durable),
    );
    let settings = (config.request_timeout, limits.append_bytes_max, environment.processors());
    let core = Core::new(Driver::new(engine), runtime, publisher, Arc::clone(&inbox), clock, settings, initial);
    let (end, ended) = watch::channel(None);
    let supervisor = Supervisor {
        core: environment.spawn(Box::pin(core.run())),
        worker: environment.spawn(task(worker.run())),
        threads,
        snapshots: snapshots_end,
        inbox: Arc::clone(&inbox),
        jobs: Arc::clone(&jobs),
        transport,
        metrics,
        end,
    };
    environment.spawn(task(supervisor.run()));
    Ok(Raft::new(config, (inbox, jobs, source), MetricsReceiver::new(watched), ended, clock, environment.processors()))
}

/// Gives a store that blocks a thread of its own, and its preparer another; a store on a simulated disk gets a task.
fn host<S: LargeStateMachine>(
    config: &Config,
    store: Box<dyn LogStore>,
    preparer: Option<Preparer<RealDisk>>,
    inbox: &Arc<Inbox<S>>,
    environment: &Arc<dyn Environment>,
) -> Result<(LogWriter, Threads), StartError> {
    let mut threads = Threads::default();
    if !store.blocks() {
        return Ok((LogWriter::Inline { store, flushed: None }, threads));
    }
    let own = Arc::clone(inbox);
    let report = move |event| own.notify(event);
    if environment.disk_time().is_some() {
        let queue = Arc::new(WriteQueue::default());
        let run = log_writer::run(Arc::clone(&queue), store, Arc::clone(environment), report);
        threads.writer = Some((Arc::clone(&queue), Hosted::Task(environment.spawn(task(run)))));
        return Ok((LogWriter::Queue(queue), threads));
    }
    let failed = |reason| StartError::Thread { reason };
    let id = config.id;
    if let Some(preparer) = preparer {
        threads.preparer = Some(preparer::spawn(format!("raft-{id}-prepare"), preparer).map_err(failed)?);
    }
    let bell = threads.preparer.as_ref().map(|(bell, _)| Arc::clone(bell));
    let written = move || bell.iter().for_each(|bell| bell.ring());
    let (queue, thread) = log_writer::spawn(format!("raft-{id}-log"), store, written, report).map_err(failed)?;
    threads.writer = Some((Arc::clone(&queue), Hosted::Thread(thread)));
    Ok((LogWriter::Queue(queue), threads))
}
