//! What callers hear while nodes fail.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrigger::engine::{
    Batch, Incarnation, LogId, LogIndex, LogTime, Membership, Node, NodeId, Payload, Peer, Refusal, RoleKind,
};
use outrigger::network::InProcessNetwork;
use outrigger::store::{LogStore, MemoryStore, StorageError};
use outrigger::{Config, Error, Outcome, Raft, ReadError, WriteError};

use crate::counter::{Change, Cluster, Ledger, caught_up, config};
use crate::frail::Frail;
use crate::gate::Gate;

#[tokio::test]
async fn when_the_leader_stops_the_others_go_on() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    cluster.node(leader).write(Change::Add(1)).await.unwrap();
    cluster.node(leader).shutdown().await.unwrap();
    let rest: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    // No waiting for the election here: the write does that.
    let write = write_until_applied(&cluster, rest[0], 2).await;
    assert!(write >= 2);
    let next = cluster.leader_of(&rest).await;
    assert_ne!(next, leader);
    let added = cluster.node(rest[1]).read(|ledger| ledger.added.clone()).await.unwrap();
    assert_eq!((added[0], added.last()), (1, Some(&2)));
    assert_eq!(cluster.node(leader).write(Change::Add(3)).await, Err(WriteError::Stopped));
    assert_eq!(cluster.node(leader).read(|_| ()).await, Err(ReadError::Stopped));
    assert_eq!(cluster.node(leader).read_local(|_| ()).await, Err(ReadError::Stopped));
    cluster.shut_down().await;
}

/// A write that was handed to a leader that has just gone is in doubt; here it may be written twice.
async fn write_until_applied(cluster: &Cluster, id: u64, number: u64) -> u64 {
    loop {
        match cluster.node(id).write(Change::Add(number)).await {
            Ok(count) => return count,
            Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_answers_that_the_outcome_is_unknown() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    cluster.network.isolate(NodeId(leader));
    let error = cluster.node(leader).write(Change::Add(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let rest: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    write_until_applied(&cluster, rest[0], 2).await;
    cluster.network.heal();
    caught_up(cluster.node(leader), cluster.node(rest[0])).await;
    let added = cluster.node(leader).read(|ledger| ledger.added.clone()).await.unwrap();
    assert!(!added.contains(&1), "the entry of the old leader was overwritten: {added:?}");
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_not_tried_again() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    cluster.network.isolate(leader.config().node());
    let mut metrics = leader.metrics();
    let (write, ()) = tokio::join!(leader.write(Change::Add(1)), async {
        metrics.wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
        cluster.network.heal();
    });
    let error = write.expect_err("it was in a log when leadership was lost");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    leader.write(Change::Add(2)).await.unwrap();
    let added = leader.read(|ledger| ledger.added.clone()).await.unwrap();
    assert!(added == [2] || added == [1, 2], "{added:?}");
    cluster.shut_down().await;
}

#[tokio::test]
async fn what_nobody_answers_ends_with_the_request_timeout() {
    let cluster = Cluster::start_with(|config| {
        config.request_timeout = Duration::from_millis(100);
        config.election_timeout_max = Duration::from_secs(3);
    })
    .await;
    let leader = cluster.node(cluster.leader().await);
    // As it sees it, it goes on leading for three seconds.
    cluster.network.isolate(leader.config().node());
    let (write, read) = tokio::join!(leader.write(Change::Add(1)), leader.read(|_| ()));
    let WriteError::Unknown { reason } = write.unwrap_err() else { panic!("it is in the leader's log") };
    assert!(reason.contains("request timeout"), "{reason}");
    assert_eq!(read, Err(ReadError::TimedOut { waited: Duration::from_millis(100) }));
    assert_eq!(leader.metrics().latest().role, RoleKind::Leader);
    cluster.shut_down().await;
}

#[tokio::test]
async fn without_a_majority_a_request_ends_in_time_with_nothing_done() {
    let cluster = Cluster::start_with(|config| config.request_timeout = Duration::from_millis(300)).await;
    let leader = cluster.leader().await;
    cluster.network.isolate(NodeId(leader));
    let node = cluster.node(leader);
    node.metrics().wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
    let error = node.write(Change::Add(1)).await.unwrap_err();
    assert_eq!(error, WriteError::NotApplied { refusal: Refusal::NoLeader });
    assert!(error.is_retryable());
    assert_eq!(node.read(|_| ()).await, Err(ReadError::Refused { refusal: Refusal::NoLeader }));
    assert_eq!(node.read_local(|ledger| ledger.added.len()).await, Ok(0), "what it has it can show");
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_request_without_a_leader_waits_for_one() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        cluster.network.cut(NodeId(one), NodeId(other));
    }
    for id in [leader, follower] {
        cluster.node(id).metrics().wait_for(|metrics| metrics.leader.is_none()).await.unwrap();
    }
    let node = cluster.node(follower).clone();
    let (write, ()) = tokio::join!(node.write(Change::Add(5)), async { cluster.network.heal() });
    assert_eq!(write, Ok(1));
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_panic_in_apply_stops_every_node_at_that_entry() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let node = cluster.node(1);
    node.write(Change::Add(1)).await.unwrap();
    let before = node.read_local_at(|_| ()).await.unwrap().0;
    let error = node.write(Change::Panic).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    for node in &cluster.nodes {
        let Err(Error::Fault { reason, .. }) = node.stopped().await else { panic!("{node:?} should have stopped") };
        assert!(reason.contains("told to panic"), "{reason}");
        assert!(reason.contains(&format!("at index {}", before.next())), "{reason}");
        let metrics = node.metrics().latest();
        assert_eq!((metrics.role, metrics.applied), (RoleKind::Halted, before), "nothing is skipped");
        assert_eq!(metrics.fault.as_deref(), Some(reason.as_str()));
        assert_eq!(node.write(Change::Add(2)).await, Err(WriteError::Stopped));
    }
}

#[tokio::test]
async fn a_command_that_does_not_decode_stops_the_node_at_that_entry() {
    for (garbage, words) in [(&b"\x07"[..], "does not decode"), (&b"\x00\x01\x02"[..], "bytes too many")] {
        let members = Membership::new([(NodeId(1), Node { address: "node-1:1".into() })], []);
        let entries = [Payload::membership(Arc::new(members)), Payload::command(Bytes::from_static(garbage))];
        let mut store = MemoryStore::new();
        store.append(&[Batch::new(LogId::new(0, 1), LogTime(0), Arc::new(entries))]).unwrap();
        let peer = Peer::new(NodeId(1), Incarnation { id: 7, start: 1, nonce: 1 });
        let alone = Config { initial_cluster: [].into(), ..config(1) };
        let transport = Arc::new(InProcessNetwork::default().transport());
        let builder = Raft::builder(alone, Ledger::default()).transport(transport);
        let node = builder.log_store(Box::new(store), peer).start().await.unwrap();
        let Err(Error::Fault { id: 1, reason }) = node.stopped().await else { panic!("it should have stopped") };
        assert!(reason.contains("at index 2") && reason.contains(words), "{reason}");
        assert_eq!(node.metrics().latest().applied, LogIndex(1));
    }
}

#[tokio::test]
async fn a_log_that_fails_stops_the_node_and_tells_its_callers() {
    let alone = Config { initial_cluster: [(1, "node-1:1".into())].into(), ..config(1) };
    let peer = Peer::new(NodeId(1), Incarnation { id: 7, start: 1, nonce: 1 });
    for (blocks, panics) in [(true, false), (false, false), (true, true)] {
        // More flushes than it takes to lead.
        let store = Frail::new(blocks, goes_away_after(12, panics));
        let transport = Arc::new(InProcessNetwork::default().transport());
        let builder = Raft::builder(alone.clone(), Ledger::default()).transport(transport);
        let node = builder.log_store(Box::new(store), peer).start().await.unwrap();
        let mut failed = None;
        for number in 0..100 {
            failed = node.write(Change::Add(number)).await.err();
            if failed.is_some() {
                break;
            }
        }
        let error = failed.expect("the disk goes away long before");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        let Err(Error::Fault { reason, .. }) = node.stopped().await else { panic!("it should have stopped") };
        let why = if panics { "the log's writer has panicked" } else { "the disk is gone" };
        assert!(reason.contains(&format!("the log failed: {why}")), "{reason}");
        assert_eq!(node.write(Change::Add(9)).await, Err(WriteError::Stopped));
    }
}

/// A disk that goes away after so many flushes.
fn goes_away_after(mut flushes: u32, panics: bool) -> impl FnMut() -> Result<(), StorageError> + Send {
    move || {
        assert!(flushes > 0 || !panics, "it does not know what to do");
        flushes = flushes.checked_sub(1).ok_or_else(|| StorageError::new("the disk is gone"))?;
        Ok(())
    }
}

/// Whether a disk hangs. No longer than the test: a runtime waits for the threads of its nodes.
#[derive(Default)]
struct Hanging(Arc<(Mutex<bool>, Condvar)>);

impl Hanging {
    fn set(&self, hangs: bool) {
        *self.0.0.lock().unwrap() = hangs;
        self.0.1.notify_all();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Five nodes, of which the first leads, as no other would for long; its disk hangs while `hanging` says so.
async fn led_by_a_disk_that_hangs(hanging: &Hanging, gate: &Gate) -> Cluster {
    let network = InProcessNetwork::default();
    let mut nodes = Vec::new();
    for id in 1..=5 {
        let mut config = config(id);
        config.initial_cluster = (1..=5).map(|id| (id, format!("node-{id}:1"))).collect();
        (config.election_timeout_min, config.election_timeout_max) = (Duration::from_secs(5), Duration::from_secs(6));
        // Nothing stays in memory that need not.
        config.limits.tail_bytes_max = 1;
        let hangs = Arc::clone(&hanging.0);
        let waits = move || {
            let hung = hangs.1.wait_while(hangs.0.lock().unwrap(), |hangs| *hangs && id == 1);
            hung.map(drop).map_err(|error| StorageError::new(error.to_string()))
        };
        let peer = Peer::new(NodeId(id), Incarnation { id: 70 + id, start: 1, nonce: 1 });
        let builder = Raft::builder(config, Ledger::default()).transport(gate.on(network.transport()));
        let store = Box::new(Frail::new(true, waits));
        nodes.push(builder.log_store(store, peer).start().await.expect("the node starts"));
    }
    nodes[0].elect(false).await.expect("nobody else campaigns");
    for node in &nodes {
        node.metrics().wait_for(|metrics| metrics.membership.bindings().len() == 5).await.expect("the node runs");
    }
    Cluster { network, nodes }
}

/// The others commit without its disk, and it applies what is committed. It could not read it back for who was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_keeps_what_its_disk_does_not_hold_yet_for_who_lacks_it() {
    let gate = Gate::before(5);
    let hanging = Hanging::default();
    let cluster = led_by_a_disk_that_hangs(&hanging, &gate).await;
    let leader = cluster.node(1);
    caught_up(cluster.node(5), leader).await;
    gate.entries(false);
    hanging.set(true);
    for number in 1..=20 {
        assert_eq!(leader.write(Change::Add(number)).await, Ok(number));
    }
    // Once its metrics say so, it has let go of what it need not keep.
    caught_up(leader, leader).await;
    gate.entries(true);
    let sent = tokio::time::timeout(Duration::from_secs(10), caught_up(cluster.node(5), leader));
    sent.await.expect("it is sent what the leader has applied");
    let metrics = leader.metrics().latest();
    assert!(metrics.flushed < metrics.applied, "its disk hangs: {metrics:?}");
    assert_eq!(metrics.role, RoleKind::Leader);
    hanging.set(false);
    cluster.shut_down().await;
}
