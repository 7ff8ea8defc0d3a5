//! Nodes that come back without what they had acknowledged: the others do not listen to them, and everybody says so.

use std::sync::Arc;

use outrigger::engine::{Incarnation, LogId, LogIndex, NodeId, Peer};
use outrigger::network::InProcessNetwork;
use outrigger::store::{LogStore, MemoryStore};
use outrigger::{Error, Raft, StartError};

use crate::counter::{Change, Cluster, Ledger, caught_up, config};

/// A life of a node, in its first data.
const fn life(id: u64, start: u64, nonce: u64) -> Peer {
    Peer { node: NodeId(id), incarnation: Incarnation { id: 70 + id, start, nonce }, bound: None }
}

async fn start(network: &InProcessNetwork, peer: Peer, store: &MemoryStore) -> Result<Raft<Ledger>, StartError> {
    let builder = Raft::builder(config(peer.node.0), Ledger::default()).transport(Arc::new(network.transport()));
    builder.log_store(Box::new(store.clone()), peer).start().await
}

/// Three nodes that have each written a few numbers down, their stores, and one that follows.
async fn three() -> (Cluster, Vec<MemoryStore>, u64) {
    let network = InProcessNetwork::default();
    let stores: Vec<_> = (1..=3).map(|_| MemoryStore::new()).collect();
    let mut nodes = Vec::new();
    for (id, store) in (1..).zip(&stores) {
        nodes.push(start(&network, life(id, 1, 1), store).await.expect("the node starts"));
    }
    let cluster = Cluster { network, nodes };
    let follower = cluster.follower().await;
    for number in 0..5 {
        cluster.node(1).write(Change::Add(number)).await.expect("all are up");
    }
    for id in 1..=3 {
        caught_up(cluster.node(id), cluster.node(1)).await;
    }
    (cluster, stores, follower)
}

/// Found by an attack: such a follower was stuck for ever, without a word anywhere.
#[tokio::test]
async fn a_follower_that_has_forgotten_is_named_by_its_leader_and_by_itself() {
    let (cluster, stores, follower) = three().await;
    let leader = cluster.node(cluster.leader().await);
    cluster.node(follower).shutdown().await.unwrap();
    let mut whole = stores[usize::try_from(follower).unwrap() - 1].clone();
    let restored = whole.restore().unwrap();
    let mut forgetful = MemoryStore::new();
    forgetful.save_vote(restored.vote).unwrap();
    forgetful.append(&whole.reader().batches(LogIndex(1), LogIndex(1), 0).unwrap()).unwrap();
    let back = start(&cluster.network, life(follower, 2, 2), &forgetful).await.unwrap();
    leader.write(Change::Add(5)).await.unwrap();

    let node = NodeId(follower);
    let told = leader.metrics().wait_for(|metrics| metrics.refuses.contains_key(&node)).await.unwrap();
    let said = told.trouble().unwrap();
    assert!(
        said.contains(&format!("refuses node {follower}: it acknowledged index {}", restored.last.index)),
        "{said}"
    );
    let by = leader.config().node();
    let told = back.metrics().wait_for(|metrics| metrics.refused_by.contains_key(&by)).await.unwrap();
    let said = told.trouble().unwrap();
    assert!(said.contains(&format!("node {by} refuses this node: it acknowledged")), "{said}");
    assert_eq!(leader.write(Change::Add(6)).await, Ok(7), "the others go on");
    back.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_copy_stops_and_its_log_is_never_started_from_again() {
    let (cluster, stores, follower) = three().await;
    cluster.node(follower).shutdown().await.unwrap();
    let store = &stores[usize::try_from(follower).unwrap() - 1];
    let copy = start(&cluster.network, life(follower, 1, 9), store).await.unwrap();
    let Err(Error::Fault { reason, .. }) = copy.stopped().await else { panic!("it should have stopped") };
    assert!(reason.contains("one of two copies") && reason.contains("another start 1"), "{reason}");
    // Its start would be higher than what was met.
    let again = start(&cluster.network, life(follower, 2, 10), store).await.expect_err("it was refused").to_string();
    assert!(again.contains("has met another life"), "{again}");
}

#[tokio::test]
async fn a_node_that_was_wiped_stops_and_says_so() {
    let (cluster, _, follower) = three().await;
    cluster.node(follower).shutdown().await.unwrap();
    let mut wiped = life(follower, 1, 1);
    wiped.incarnation.id = 8;
    let wiped = start(&cluster.network, wiped, &MemoryStore::new()).await.unwrap();
    let Err(Error::Fault { reason, .. }) = wiped.stopped().await else { panic!("it should have stopped") };
    assert!(reason.contains("was made after another") && reason.contains("was wiped"), "{reason}");
    assert_ne!(wiped.metrics().latest().last, LogId::ZERO, "it had begun as on a first start");
    let other = (1..=3).find(|id| *id != follower).unwrap();
    assert_eq!(cluster.node(other).write(Change::Add(9)).await, Ok(6), "the others go on");
}
