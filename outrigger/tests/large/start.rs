//! What a start makes of a state on disk, and how far such a state may be ahead.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use outrigger::engine::{Batch, Incarnation, LogId, LogIndex, NodeId, Peer, Restored, Vote};
use outrigger::network::InProcessNetwork;
use outrigger::store::{LogReader, LogStore, MemoryStore, SnapshotStore, StorageError};
use outrigger::{Config, Raft, StartError};

use crate::kept::{Kept, alone, start, state};

#[tokio::test]
async fn a_state_that_is_newer_than_the_snapshot_is_kept_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    for number in 0..10 {
        assert_eq!(node.write(number).await, Ok(number + 1));
    }
    node.snapshot().await.unwrap();
    for number in 10..20 {
        assert_eq!(node.write(number).await, Ok(number + 1));
    }
    node.shutdown().await.unwrap();
    let node = start(directory.path()).await;
    assert_eq!(node.write(20).await, Ok(21));
    assert_eq!(node.read(|kept| kept.added.clone()).await.unwrap(), (0..=20).collect::<Vec<_>>());
    // One that is gone is made from the snapshot and the log.
    node.shutdown().await.unwrap();
    fs::remove_file(directory.path().join("state")).unwrap();
    let node = start(directory.path()).await;
    assert_eq!(node.read(|kept| kept.added.clone()).await.unwrap(), (0..=20).collect::<Vec<_>>());
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_state_that_does_not_fit_its_log_is_refused_with_both() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    node.write(1).await.unwrap();
    node.shutdown().await.unwrap();
    let last = state(directory.path()).applied();
    let refused = |held: LogId| {
        let mut state = state(directory.path());
        state.commit(held).unwrap();
        let config = alone(directory.path());
        async move { Raft::start(config, state).await.expect_err("the state is another node's") }
    };
    let ahead = LogId { index: last.index.next(), ..last };
    let error = refused(ahead).await;
    assert!(matches!(error, StartError::StateAhead { held, last: log } if held == ahead && log == last), "{error}");
    assert!(error.to_string().contains(&format!("up to {ahead} on disk, but the log ends at {last}")), "{error}");
    let other = LogId { term: last.term.next(), ..last };
    let error = refused(other).await;
    assert!(matches!(error, StartError::OtherState { held, found } if held == other && found == last), "{error}");
    // Nothing was changed by that.
    state(directory.path()).commit(last).unwrap();
    let node = start(directory.path()).await;
    assert_eq!(node.read(|kept| kept.added.clone()).await.unwrap(), [1]);
    node.shutdown().await.unwrap();
}

/// A log whose disk stands still while the gate is closed.
struct Slow {
    store: MemoryStore,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl LogStore for Slow {
    fn restore(&mut self) -> Result<Restored, StorageError> {
        self.store.restore()
    }
    fn save_vote(&mut self, vote: Vote) -> Result<(), StorageError> {
        self.store.save_vote(vote)
    }
    fn save_peer(&mut self, peer: Peer) -> Result<(), StorageError> {
        self.store.save_peer(peer)
    }
    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        self.store.append(batches)
    }
    fn truncate(&mut self, after: LogId) -> Result<(), StorageError> {
        self.store.truncate(after)
    }
    fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.store.purge(through)
    }
    fn save_committed(&mut self, commit: LogIndex) -> Result<(), StorageError> {
        self.store.save_committed(commit)
    }
    fn save_refusal(&mut self, by: Peer, met: Incarnation) -> Result<(), StorageError> {
        self.store.save_refusal(by, met)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        let (is_closed, opened) = &*self.gate;
        drop(opened.wait_while(is_closed.lock().unwrap(), |is_closed| *is_closed).unwrap());
        self.store.flush()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.store.reader()
    }
    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        self.store.snapshots()
    }
}

/// Two others hold it, so it is committed: a state in memory would show it at once, and a crash now would take it from this log.
#[tokio::test]
async fn what_is_committed_waits_for_its_own_log_before_a_state_on_disk_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let (network, gate) = (InProcessNetwork::default(), Arc::new((Mutex::new(false), Condvar::new())));
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let config = Config {
            id,
            initial_cluster: (1..=3).map(|id| (id, format!("node-{id}:1"))).collect(),
            // A leader whose disk stands still steps down after that; and nobody else campaigns.
            election_timeout_min: Duration::from_secs(30),
            election_timeout_max: Duration::from_secs(60),
            ..Config::default()
        };
        let state = Kept::open(&directory.path().join(id.to_string()));
        let mut builder = Raft::builder(config, state).transport(Arc::new(network.transport()));
        if id == 1 {
            let peer = Peer { node: NodeId(1), incarnation: Incarnation { id: 1, start: 1, nonce: 1 }, bound: None };
            let store = Slow { store: MemoryStore::new(), gate: Arc::clone(&gate) };
            builder = builder.log_store(Box::new(store), peer);
        }
        nodes.push(builder.start().await.unwrap());
    }
    nodes[0].elect(false).await.unwrap();
    assert_eq!(nodes[0].write(1).await, Ok(1));
    *gate.0.lock().unwrap() = true;
    let committed = nodes[0].write_until_committed(2).await.unwrap();
    nodes[1].metrics().wait_for(|metrics| metrics.applied >= committed.index).await.unwrap();
    let applied = |id: u64| Kept::open(&directory.path().join(id.to_string())).applied();
    assert!(applied(1).index < committed.index, "{} is applied, and its log does not hold {committed}", applied(1));
    assert_eq!(applied(2).index, committed.index, "whose log does");
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    nodes[0].metrics().wait_for(|metrics| metrics.applied >= committed.index).await.unwrap();
    assert_eq!(applied(1).index, committed.index);
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
