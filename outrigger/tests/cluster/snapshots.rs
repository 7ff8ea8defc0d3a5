//! Snapshots: taken, started from, and brought to nodes that lack what the log no longer holds.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use outrigger::engine::{ChangeMembers, LogId, Node, NodeId, Refusal};
use outrigger::network::InProcessNetwork;
use outrigger::{Config, Error, Metrics, Outcome, Raft, SaveError, SnapshotError};

use crate::counter::{Change, Cluster, Ledger, caught_up, config};
use crate::gate::Gate;

/// How nodes reach each other.
enum Net {
    InProcess(InProcessNetwork),
    Tcp,
}

/// Three nodes on disk, by their ids, whose snapshots are taken by hand and leave nothing in the log.
struct Place {
    directory: tempfile::TempDir,
    net: Net,
    /// Before node 3.
    gate: Gate,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Raft<Ledger>>,
    change: fn(&mut Config),
}

impl Place {
    fn new(net: Net, change: fn(&mut Config)) -> Self {
        // Held all at once, so that they differ.
        let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
        Self {
            directory: tempfile::tempdir().unwrap(),
            net,
            gate: Gate::before(3),
            addresses: (1..).zip(addresses).collect(),
            nodes: BTreeMap::new(),
            change,
        }
    }

    async fn started(net: Net, change: fn(&mut Config)) -> Self {
        let mut place = Self::new(net, change);
        for id in 1..=3 {
            place.start(id).await;
        }
        // The leader binds everybody's directory in an entry of its own, which would else come at any time.
        for node in place.nodes.values() {
            let is_bound = |it: &Metrics| it.membership.bindings().len() == 3 && it.committed >= it.membership_at.index;
            node.metrics().wait_for(is_bound).await.unwrap();
        }
        place
    }

    fn in_process() -> Net {
        Net::InProcess(InProcessNetwork::default())
    }

    fn config(&self, id: u64) -> Config {
        let members = self.addresses.clone().into_iter().take(3).collect();
        let mut config = Config {
            data_dir: Some(self.directory.path().join(id.to_string())),
            listen_peer: self.addresses[&id].clone(),
            snapshot_bytes: 0,
            snapshot_keep_entries: 0,
            ..config(id)
        };
        config.limits.segment_bytes = 1 << 20;
        if id <= 3 {
            config.initial_cluster = members;
        } else {
            (config.initial_cluster, config.join) = (BTreeMap::new(), members);
        }
        (self.change)(&mut config);
        config
    }

    async fn start(&mut self, id: u64) {
        let builder = Raft::builder(self.config(id), Ledger::default());
        let builder = match &self.net {
            Net::InProcess(network) => builder.transport(self.gate.on(network.transport())),
            Net::Tcp => builder,
        };
        self.nodes.insert(id, builder.start().await.expect("the node starts"));
    }

    async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).expect("the node runs").shutdown().await.unwrap();
    }

    fn node(&self, id: u64) -> &Raft<Ledger> {
        &self.nodes[&id]
    }

    /// The leader that all running ones of the first three nodes agree on.
    async fn leader(&self) -> u64 {
        loop {
            let mut named = Vec::new();
            for (_, node) in self.nodes.range(..=3) {
                let is_up = |leader: Option<NodeId>| leader.is_some_and(|leader| self.nodes.contains_key(&leader.0));
                let metrics = node.metrics().wait_for(|metrics| is_up(metrics.leader)).await.unwrap();
                named.push((metrics.term, metrics.leader.unwrap().0));
            }
            if named.iter().all(|it| *it == named[0]) {
                return named[0].1;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Writes these numbers, in their order.
    async fn write(&self, numbers: std::ops::Range<u64>) {
        let writer = self.node(self.leader().await);
        for number in numbers {
            assert_eq!(writer.write(Change::Add(number)).await, Ok(number + 1));
        }
    }

    /// Takes a snapshot of the same moment on each of these nodes.
    async fn snapshot(&self, ids: &[u64]) -> LogId {
        let leader = self.node(self.leader().await);
        let last = leader.snapshot().await.unwrap();
        for id in ids {
            self.node(*id).metrics().wait_for(|metrics| metrics.committed >= last.index).await.unwrap();
            assert_eq!(self.node(*id).snapshot().await, Ok(last), "node {id}");
        }
        last
    }

    async fn holds(&self, id: u64, count: u64) {
        caught_up(self.node(id), self.node(self.leader().await)).await;
        let added = self.node(id).read_local(|ledger| ledger.added.clone()).await.unwrap();
        assert_eq!(added, (0..count).collect::<Vec<_>>(), "node {id}");
    }

    async fn shut_down(mut self) {
        while let Some((_, node)) = self.nodes.pop_first() {
            node.shutdown().await.unwrap();
        }
    }
}

fn alone(directory: &Path) -> Config {
    Config {
        data_dir: Some(directory.to_owned()),
        initial_cluster: [(1, "node-1:1".into())].into(),
        snapshot_bytes: 0,
        snapshot_keep_entries: 0,
        ..config(1)
    }
}

async fn start<S: outrigger::StateMachine>(config: Config, state: S) -> Raft<S> {
    let transport = Arc::new(InProcessNetwork::default().transport());
    Raft::builder(config, state).transport(transport).start().await.expect("the node starts")
}

/// Each start begins with a state of its own: a node that replayed from the first entry would show it.
#[tokio::test]
async fn a_node_starts_from_its_snapshot_and_replays_only_what_follows() {
    for keep in [0, 1_000] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { snapshot_keep_entries: keep, ..alone(directory.path()) };
        for round in 0..3 {
            let begin = if round == 0 { Ledger::default() } else { Ledger { added: vec![999] } };
            let node = start(config.clone(), begin).await;
            let added = node.read(|ledger| ledger.added.clone()).await.unwrap();
            assert_eq!(added, (0..round * 20).collect::<Vec<_>>(), "round {round}, {keep} entries kept");
            for number in round * 20..round * 20 + 10 {
                node.write(Change::Add(number)).await.unwrap();
            }
            let last = node.snapshot().await.unwrap();
            for number in round * 20 + 10..round * 20 + 20 {
                node.write(Change::Add(number)).await.unwrap();
            }
            let metrics = node.metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap();
            assert_eq!(metrics.purged, if keep == 0 { last } else { LogId::ZERO });
            node.shutdown().await.unwrap();
        }
    }
}

/// A state that is taken in only when the test says so.
#[derive(Clone, Default, serde::Serialize)]
struct Slow(u64);

/// Whether states may be taken in.
static MAY_LOAD: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

fn let_load(may: bool) {
    *MAY_LOAD.0.lock().unwrap() = may;
    MAY_LOAD.1.notify_all();
}

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let _may = MAY_LOAD.1.wait_while(MAY_LOAD.0.lock().unwrap(), |may| !*may).unwrap();
        Ok(Self(number))
    }
}

impl outrigger::StateMachine for Slow {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, add: u64) -> u64 {
        self.0 += add;
        self.0
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_they_would_while_a_snapshot_is_taken_in() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { request_timeout: Duration::from_millis(300), ..alone(directory.path()) };
    let node = start(config.clone(), Slow::default()).await;
    node.write(7).await.unwrap();
    node.snapshot().await.unwrap();
    node.shutdown().await.unwrap();
    let_load(false);
    let node = start(config, Slow::default()).await;
    let read = tokio::time::timeout(Duration::from_secs(20), node.read(|state| state.0)).await.expect("an answer");
    assert!(matches!(read, Err(outrigger::ReadError::TimedOut { .. })), "{read:?}");
    let_load(true);
    while node.read(|state| state.0).await.ok() != Some(7) {
        tokio::task::yield_now().await;
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_longer_than_the_log_reaches_comes_back_by_itself() {
    for net in [Place::in_process(), Net::Tcp] {
        let mut place = Place::started(net, |_| ()).await;
        place.write(0..10).await;
        place.stop(3).await;
        place.write(10..100).await;
        let last = place.snapshot(&[1, 2]).await;
        place.write(100..110).await;
        place.start(3).await;
        place.holds(3, 110).await;
        let metrics = place.node(3).metrics().latest();
        assert_eq!((metrics.snapshot, metrics.purged), (last, last), "its log begins behind the snapshot");
        // What came is durable.
        place.stop(3).await;
        place.start(3).await;
        place.holds(3, 110).await;
        place.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_late_gets_a_snapshot_and_votes() {
    for net in [Place::in_process(), Net::Tcp] {
        let mut place = Place::started(net, |_| ()).await;
        place.write(0..50).await;
        let last = place.snapshot(&[1, 2, 3]).await;
        place.start(4).await;
        let fourth = Node { address: place.addresses[&4].clone() };
        let leader = place.node(place.leader().await);
        leader.change_members(ChangeMembers::AddVoters([(NodeId(4), fourth)].into())).await.unwrap();
        let metrics = place.node(4).metrics().wait_for(|metrics| metrics.membership.is_voter(NodeId(4))).await.unwrap();
        assert_eq!((metrics.snapshot, metrics.purged), (last, last));
        place.holds(4, 50).await;
        assert_eq!(place.node(4).write(Change::Add(50)).await, Ok(51));
        place.shut_down().await;
    }
}

#[tokio::test]
async fn a_snapshot_is_taken_by_each_policy() {
    let policies: [fn(&mut Config); 3] = [
        |config| config.snapshot_entries = 10,
        |config| config.snapshot_bytes = 1_000,
        |config| config.snapshot_interval = Duration::from_millis(50),
    ];
    for policy in policies {
        let directory = tempfile::tempdir().unwrap();
        let mut config = alone(directory.path());
        policy(&mut config);
        let node = start(config.clone(), Ledger::default()).await;
        let mut before = LogId::ZERO;
        let mut next = 0;
        for _ in 0..3 {
            for _ in 0..50 {
                node.write(Change::Add(next)).await.unwrap();
                next += 1;
            }
            let taken = node.metrics().wait_for(|metrics| metrics.snapshot > before).await.unwrap();
            before = taken.snapshot;
        }
        let purged = node.metrics().wait_for(|metrics| metrics.purged >= before).await;
        purged.expect("what it covers leaves the log");
        node.shutdown().await.unwrap();
        let node = start(config, Ledger::default()).await;
        assert_eq!(node.read(|ledger| ledger.added.len() as u64).await, Ok(next));
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_taken_says_why() {
    let place = Place::started(Place::in_process(), |_| ()).await;
    place.write(0..5).await;
    let last = place.snapshot(&[1]).await;
    assert_eq!(place.node(1).snapshot().await, Ok(last), "nothing new: the one that is there will do");
    let stopped = place.node(1).clone();
    stopped.shutdown().await.unwrap();
    assert_eq!(stopped.snapshot().await, Err(SnapshotError::Stopped));
    place.shut_down().await;

    // Its two peers are not there: nothing is ever committed.
    let mut lonely = Place::new(Place::in_process(), |_| ());
    lonely.start(1).await;
    let refused = lonely.node(1).snapshot().await.unwrap_err();
    assert_eq!(refused, SnapshotError::Refused { refusal: Refusal::NothingToSnapshot });
    lonely.shut_down().await;

    let directory = tempfile::tempdir().unwrap();
    let halted = start(alone(directory.path()), Ledger::default()).await;
    halted.write(Change::Panic).await.unwrap_err();
    let Err(Error::Fault { .. }) = halted.stopped().await else { panic!("it should have stopped") };
    assert_eq!(halted.snapshot().await, Err(SnapshotError::Stopped));
}

/// Small pieces, and none may be lost for long.
fn small_pieces(config: &mut Config) {
    config.limits.snapshot_chunk_bytes_max = 100;
}

/// Node 3 lacks what is in a snapshot only, up to the entry that is answered, and five pieces of it may pass.
async fn five_pieces_may_pass() -> (Place, LogId) {
    let mut place = Place::started(Place::in_process(), small_pieces).await;
    place.write(0..10).await;
    place.stop(3).await;
    place.write(10..1_000).await;
    let last = place.snapshot(&[1, 2]).await;
    place.gate.pieces(5);
    place.start(3).await;
    (place, last)
}

/// Whoever sends it now, nothing of what is there is sent again.
async fn the_rest_comes(place: Place, last: LogId) {
    place.node(3).metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap();
    let offsets = place.gate.offsets();
    assert!(offsets.iter().all(|offset| *offset >= 500), "what was there is not sent again: {offsets:?}");
    place.holds(3, 1_000).await;
    place.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_under_the_next_leader_when_the_leader_stops_in_the_middle() {
    let (mut place, last) = five_pieces_may_pass().await;
    let first = place.leader().await;
    until(|| place.gate.offsets().len() >= 6).await;
    let offsets = place.gate.offsets();
    assert_eq!(offsets[..5], [0, 100, 200, 300, 400], "one piece after the other");
    assert_eq!(place.node(3).metrics().latest().snapshot, LogId::ZERO, "a part is no snapshot");
    place.stop(first).await;
    let second = 3 - first;
    // The log of node 3 is too short for it to be elected.
    place.node(3).metrics().wait_for(|metrics| metrics.leader == Some(NodeId(second))).await.unwrap();
    place.gate.pieces(usize::MAX);
    the_rest_comes(place, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_after_a_restart_of_the_follower_and_loses_pieces_without_harm() {
    let (mut place, last) = five_pieces_may_pass().await;
    until(|| place.gate.offsets().len() >= 7).await;
    assert_eq!(place.gate.offsets()[5..7], [500, 500], "what was lost is sent again");
    place.stop(3).await;
    place.gate.pieces(usize::MAX);
    place.start(3).await;
    place.node(3).metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap();
    place.holds(3, 1_000).await;
    place.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sends_its_snapshot_in_the_leaders_stead_and_goes_on_after_a_restart() {
    let (mut place, last) = five_pieces_may_pass().await;
    let leader = place.leader().await;
    let delegate = 3 - leader;
    until(|| place.gate.offsets().len() >= 6).await;
    assert_eq!(place.gate.senders(), [NodeId(delegate)].into());
    place.stop(delegate).await;
    place.gate.pieces(usize::MAX);
    place.start(delegate).await;
    the_rest_comes(place, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sends_its_snapshots_itself_where_that_is_wanted() {
    let mut place = Place::started(Place::in_process(), |config| config.snapshots_by_leader = true).await;
    place.stop(3).await;
    place.write(0..100).await;
    let last = place.snapshot(&[1, 2]).await;
    place.start(3).await;
    place.node(3).metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap();
    assert_eq!(place.gate.senders(), [NodeId(place.leader().await)].into());
    place.shut_down().await;
}

/// Waits until a condition holds of which no metrics tell.
async fn until(holds: impl Fn() -> bool) {
    let looks = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("it comes to that within a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_a_large_snapshot_is_sent() {
    let mut place = Place::started(Place::in_process(), |config| {
        config.limits.snapshot_chunk_bytes_max = 64 << 10;
    })
    .await;
    place.stop(3).await;
    let leader = place.node(place.leader().await).clone();
    let count = 400_000;
    for from in (0..count).step_by(10_000) {
        leader.write_many((from..from + 10_000).map(Change::Add).collect()).await.unwrap();
    }
    let last = place.snapshot(&[1, 2]).await;
    place.gate.pieces(3);
    place.start(3).await;
    until(|| place.gate.offsets().len() >= 4).await;
    place.write(count..count + 100).await;
    assert_eq!(place.node(3).metrics().latest().snapshot, LogId::ZERO, "it is under way all the time");
    place.gate.pieces(usize::MAX);
    place.node(3).metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap();
    place.holds(3, count + 100).await;
    place.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_what_a_snapshot_covers_is_told_that_nobody_knows() {
    let place = Place::started(Place::in_process(), |config| {
        // No time is over in this test, and nobody else leads because the machine is busy.
        config.request_timeout = Duration::from_secs(600);
        config.election_timeout_min = Duration::from_secs(1);
        config.election_timeout_max = Duration::from_secs(2);
    })
    .await;
    let leader = place.leader().await;
    let behind = if leader == 3 { 2 } else { 3 };
    place.gate.stand_before(behind);
    place.write(0..5).await;
    place.holds(behind, 5).await;
    let leader = place.node(leader);
    place.gate.entries(false);
    // Its metrics may lag behind what it has answered.
    let committed = leader.read_local_at(|_| ()).await.unwrap().0;
    let follower = place.node(behind).clone();
    let write = tokio::spawn(async move { follower.write(Change::Add(5)).await });
    // It is in the leader's log and committed; the follower knows its id, and does not get it.
    leader.metrics().wait_for(|metrics| metrics.committed > committed).await.unwrap();
    let follower = place.node(behind).clone();
    let read = tokio::spawn(async move { follower.read(|ledger| ledger.added.len()).await });
    let last = leader.snapshot().await.unwrap();
    place.gate.entries(true);
    let metrics = place.node(behind).metrics().wait_for(|metrics| metrics.committed >= last.index).await.unwrap();
    assert_eq!(metrics.snapshot, last, "it did not get the entry");
    let error = write.await.unwrap().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(read.await.unwrap(), Ok(6));
    assert_eq!(place.node(behind).write(Change::Add(6)).await, Ok(7));
    place.shut_down().await;
}

mod damaged;
mod stubborn;

#[tokio::test]
async fn a_directory_whose_snapshots_were_removed_refuses_to_start_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(alone(directory.path()), Ledger::default()).await;
    node.write(Change::Add(1)).await.unwrap();
    let last = node.snapshot().await.unwrap();
    node.metrics().wait_for(|metrics| metrics.purged == last).await.unwrap();
    node.shutdown().await.unwrap();
    std::fs::remove_dir_all(directory.path().join("snapshots")).unwrap();
    let transport = Arc::new(InProcessNetwork::default().transport());
    let builder = Raft::builder(alone(directory.path()), Ledger::default()).transport(transport);
    let error = builder.start().await.expect_err("nothing stands for what is gone").to_string();
    let expected =
        format!("begins behind {last}, but its snapshots cover no more than 0/0: were files removed? put them back");
    assert!(error.contains(&expected), "{error}");
}

/// Whoever saves it takes it for all that was written until then.
#[tokio::test]
async fn a_node_that_is_cut_off_saves_no_snapshot_as_the_newest() {
    let cluster = Cluster::start_with(|config| config.request_timeout = Duration::from_secs(1)).await;
    let id = cluster.follower().await;
    let follower = cluster.node(id);
    follower.write(Change::Add(7)).await.unwrap();
    cluster.network.isolate(NodeId(id));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("saved");
    let refused = follower.save_snapshot(&path).await;
    assert!(matches!(refused, Err(SaveError::NotLatest { .. })), "{refused:?}");
    assert!(!path.exists());
    cluster.shut_down().await;
}
