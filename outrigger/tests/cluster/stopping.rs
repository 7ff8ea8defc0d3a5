//! How a node ends, and what is left of it.

use std::sync::Arc;

use outrigger::engine::{Incarnation, NodeId, Peer};
use outrigger::network::InProcessNetwork;
use outrigger::store::MemoryStore;
use outrigger::{Config, Error, Raft, StartError};

use crate::counter::{Change, Cluster, Ledger, config};

#[tokio::test]
async fn a_shutdown_answers_everybody_who_waits() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    // Nothing is committed any more, so that writes and reads wait.
    cluster.network.isolate(NodeId(leader));
    let node = cluster.node(leader).clone();
    let write = tokio::spawn({
        let node = node.clone();
        async move { node.write(Change::Add(1)).await }
    });
    let read = tokio::spawn({
        let node = node.clone();
        async move { node.read(|ledger| ledger.added.len()).await }
    });
    tokio::task::yield_now().await;
    node.shutdown().await.unwrap();
    assert!(write.await.unwrap().is_err());
    assert!(read.await.unwrap().is_err());
    assert!(node.stopped().await.is_ok());
    assert!(node.shutdown().await.is_ok(), "a second time does no harm");
    assert!(node.metrics().changed().await.is_err(), "there is nothing more to watch");
    cluster.shut_down().await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_node() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let node = cluster.nodes.remove(cluster.nodes.iter().position(|node| node.config().id == leader).unwrap());
    let mut metrics = node.metrics();
    drop(node.clone());
    assert!(node.read(|_| ()).await.is_ok(), "a clone is not the last");
    drop(node);
    while metrics.changed().await.is_ok() {}
    let rest: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    assert_ne!(cluster.leader_of(&rest).await, leader);
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_node_with_a_store_of_ones_own_comes_back_with_what_it_had() {
    let store = MemoryStore::new();
    let alone = Config { initial_cluster: [(1, "node-1:1".into())].into(), ..config(1) };
    for start in 1..=3 {
        let peer = Peer { node: NodeId(1), incarnation: Incarnation { id: 7, start, nonce: start }, bound: None };
        let transport = Arc::new(InProcessNetwork::default().transport());
        let builder = Raft::builder(alone.clone(), Ledger::default()).transport(transport);
        let node = builder.log_store(Box::new(store.clone()), peer).start().await.unwrap();
        assert_eq!(node.write(Change::Add(start)).await, Ok(start));
        assert_eq!(node.read(|ledger| ledger.added.clone()).await.unwrap(), (1..=start).collect::<Vec<_>>());
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_the_start() {
    let start = |config: Config| Raft::start(config, Ledger::default());
    let stranger = start(Config { id: 9, ..config(9) }).await.unwrap_err();
    assert!(matches!(stranger, StartError::Config(_)), "{stranger}");
    let local = || Config { listen_peer: "127.0.0.1:0".into(), ..config(1) };
    let lonely = start(Config { initial_cluster: [].into(), ..local() }).await.unwrap_err();
    assert!(matches!(lonely, StartError::NoInitialCluster { id: 1 }), "{lonely}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = start(Config { listen_peer: address.clone(), ..config(1) }).await.unwrap_err();
    assert!(refused.to_string().contains(&address), "{refused}");

    let other = Peer { node: NodeId(2), incarnation: Incarnation::default(), bound: None };
    let builder = Raft::builder(local(), Ledger::default()).log_store(Box::new(MemoryStore::new()), other);
    let refused = Error::from(builder.start().await.unwrap_err());
    assert!(refused.to_string().contains("belongs to node 2"), "{refused}");
}
