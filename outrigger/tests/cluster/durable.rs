//! Nodes on disk: what they come back with, and what they leave.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger::network::InProcessNetwork;
use outrigger::{Config, Raft, StartError};

use crate::counter::{Change, Ledger, caught_up, config};

fn on_disk(id: u64, directory: &Path) -> Config {
    let mut config = Config { data_dir: Some(directory.join(id.to_string())), ..config(id) };
    config.limits.segment_bytes = 1 << 20;
    config
}

fn alone(directory: &Path) -> Config {
    Config { initial_cluster: [(1, "node-1:1".into())].into(), ..on_disk(1, directory) }
}

async fn start(config: Config, network: &InProcessNetwork) -> Raft<Ledger> {
    let builder = Raft::builder(config, Ledger::default()).transport(Arc::new(network.transport()));
    builder.start().await.expect("the node starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_come_back_with_everything_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let network = InProcessNetwork::default();
        let mut nodes = Vec::new();
        for id in 1..=3 {
            nodes.push(start(on_disk(id, directory.path()), &network).await);
        }
        for number in 0..20 {
            let node = &nodes[(number % 3) as usize];
            assert_eq!(node.write(Change::Add(round * 20 + number)).await, Ok(round * 20 + number + 1));
        }
        for node in &nodes {
            caught_up(node, &nodes[0]).await;
            let added = node.read(|ledger| ledger.added.clone()).await.unwrap();
            assert_eq!(added, (0..round * 20 + 20).collect::<Vec<_>>());
        }
        for node in &nodes {
            node.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_node_that_was_away_gets_from_the_log_what_memory_has_let_go_of() {
    let directory = tempfile::tempdir().unwrap();
    let network = InProcessNetwork::default();
    let small = |id| {
        let mut config = on_disk(id, directory.path());
        config.limits.tail_bytes_max = 100;
        config.limits.append_bytes_max = 500;
        config
    };
    let (one, two) = (start(small(1), &network).await, start(small(2), &network).await);
    for number in 0..200 {
        one.write(Change::Add(number)).await.unwrap();
    }
    let three = start(small(3), &network).await;
    caught_up(&three, &one).await;
    assert_eq!(three.read_local(|ledger| ledger.added.clone()).await.unwrap(), (0..200).collect::<Vec<_>>());
    for node in [one, two, three] {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_in_use_or_of_another_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let network = InProcessNetwork::default();
    let node = start(alone(directory.path()), &network).await;
    let again = |config: Config| {
        let network = InProcessNetwork::default();
        let builder = Raft::builder(config, Ledger::default()).transport(Arc::new(network.transport()));
        async move { builder.start().await.expect_err("the directory is not this node's").to_string() }
    };
    let refused = again(alone(directory.path())).await;
    assert!(refused.contains("in use"), "{refused}");
    node.shutdown().await.unwrap();
    let refused = again(Config { cluster: "other".into(), ..alone(directory.path()) }).await;
    assert!(refused.contains("belongs to cluster"), "{refused}");
    let moved = Config { data_dir: Some(directory.path().join("1")), ..on_disk(2, directory.path()) };
    let refused = again(moved).await;
    assert!(refused.contains("belongs to node 1"), "{refused}");
    start(alone(directory.path()), &network).await.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_first_start_without_a_cluster_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { initial_cluster: [].into(), ..on_disk(1, directory.path()) };
    let network = InProcessNetwork::default();
    let builder = Raft::builder(config, Ledger::default()).transport(Arc::new(network.transport()));
    assert!(matches!(builder.start().await, Err(StartError::NoInitialCluster { id: 1 })));
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "the directory is as it was");
    start(alone(directory.path()), &network).await.shutdown().await.unwrap();
    let later = Config { initial_cluster: [].into(), ..on_disk(1, directory.path()) };
    let node = start(later, &network).await;
    assert_eq!(node.write(Change::Add(1)).await, Ok(1), "a later start knows its cluster");
    node.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_shutdown_leaves_no_thread_and_no_lock() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("raft-77-")).count()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let lonely = || Config {
        id: 77,
        initial_cluster: [(77, "node-77:1".into())].into(),
        request_timeout: Duration::from_secs(60),
        ..alone(directory.path())
    };
    runtime.block_on(async {
        for start_number in 1..=3 {
            let node = start(lonely(), &InProcessNetwork::default()).await;
            assert_eq!(node.write(Change::Add(start_number)).await, Ok(start_number));
            assert_eq!(threads(), 2, "the log's writer and its preparer");
            node.shutdown().await.unwrap();
            assert_eq!(threads(), 0, "after shutdown");
        }
        let node = start(lonely(), &InProcessNetwork::default()).await;
        node.write(Change::Add(4)).await.unwrap();
        std::mem::forget(node);
    });
    // The runtime goes without a shutdown: the threads end by themselves.
    drop(runtime);
    while threads() > 0 {
        std::thread::yield_now();
    }
}
