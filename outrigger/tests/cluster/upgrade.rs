//! A cluster that is upgraded one node at a time, while it serves: what the new build alone knows is used after the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger::engine::{Incarnation, LogIndex, NodeId, Peer, Version};
use outrigger::network::InProcessNetwork;
use outrigger::store::{LogStore, MemoryStore};
use outrigger::{Error, Metrics, Raft, StartError};

use crate::counter::{Change, Cluster, Ledger, config};

/// A node that speaks no more than this version. The state of node 3 begins as another than the others', so that the first comparison of
/// states stops it.
async fn start(
    network: &InProcessNetwork,
    (id, start): (u64, u64),
    version: Version,
    store: &MemoryStore,
) -> Result<Raft<Ledger>, StartError> {
    let mut config = config(id);
    config.state_check_interval = Duration::from_millis(50);
    config.speak_version_max = version.0;
    let state = Ledger { added: if id == 3 { vec![7] } else { Vec::new() } };
    let peer = Peer::new(NodeId(id), Incarnation { id: 90 + id, start, nonce: start });
    let builder = Raft::builder(config, state).transport(Arc::new(network.transport()));
    builder.log_store(Box::new(store.clone()), peer).start().await
}

/// Writes through the node until so many are applied.
async fn load(node: &Raft<Ledger>, count: u64) {
    for number in 0..count {
        // A leader may just have been shut down.
        while node.write(Change::Add(number)).await.is_err() {}
    }
}

#[tokio::test]
async fn nodes_are_upgraded_under_load_and_an_older_build_is_refused_afterwards() {
    let network = InProcessNetwork::default();
    let stores: Vec<_> = (0..3).map(|_| MemoryStore::new()).collect();
    let mut nodes = Vec::new();
    for (id, store) in (1..).zip(&stores) {
        nodes.push(start(&network, (id, 1), Version::FIRST, store).await.expect("the node starts"));
    }
    let mut cluster = Cluster { network: network.clone(), nodes };
    cluster.leader().await;
    let version = |node: &Raft<Ledger>| node.metrics().latest().membership.version();
    for id in 1..=3_u64 {
        let (place, other) = (usize::try_from(id).unwrap() - 1, usize::try_from(id % 3).unwrap());
        assert!(cluster.nodes.iter().all(|node| version(node) == Version::FIRST), "before node {id} is upgraded");
        cluster.nodes[place].shutdown().await.expect("a clean end");
        load(&cluster.nodes[other], 20).await;
        cluster.nodes[place] = start(&network, (id, 2), Version::LATEST, &stores[place]).await.expect("it starts");
        if id < 3 {
            // Long enough for many comparisons: node 3 would have been stopped.
            let until = tokio::time::Instant::now() + Duration::from_millis(400);
            while tokio::time::Instant::now() < until {
                load(&cluster.nodes[place], 5).await;
            }
        }
    }
    for node in &cluster.nodes {
        node.metrics().wait_for(|metrics| metrics.version == Version::LATEST).await.expect("it is raised");
    }
    let node_3 = cluster.nodes[2].clone();
    let mut stopped = tokio::spawn(async move { node_3.stopped().await });
    let ended = loop {
        load(&cluster.nodes[0], 1).await;
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(5), &mut stopped).await {
            break ended.expect("it ran to its end");
        }
    };
    let Err(Error::Fault { reason, .. }) = ended else { panic!("states are compared now: {ended:?}") };
    assert!(reason.contains("and that of a majority"), "{reason}");

    cluster.nodes[1].shutdown().await.expect("a clean end");
    let error = start(&network, (2, 3), Version::FIRST, &stores[1]).await.expect_err("there is no way back");
    let text = Error::from(error).to_string();
    assert!(text.contains("version 2") && text.contains("no more than 1"), "{text}");
    assert!(text.contains("without `speak_version_max`, or in a build that speaks version 2"), "{text}");
    let back = start(&network, (2, 4), Version::LATEST, &stores[1]).await.expect("nothing is lost");
    load(&back, 1).await;
    back.shutdown().await.expect("a clean end");
    cluster.nodes[0].shutdown().await.expect("a clean end");
}

/// It lacks the raise, so that nothing on its disk keeps it from starting: the others do not listen to it, and say why.
#[tokio::test]
async fn a_member_that_speaks_less_is_refused_by_the_others_and_says_so() {
    let network = InProcessNetwork::default();
    let stores: Vec<_> = (0..3).map(|_| MemoryStore::new()).collect();
    let mut nodes = Vec::new();
    for (id, store) in (1..).zip(&stores) {
        nodes.push(start(&network, (id, 1), Version::FIRST, store).await.expect("the node starts"));
    }
    let cluster = Cluster { network: network.clone(), nodes };
    cluster.leader().await;
    load(&cluster.nodes[2], 3).await;
    // The log of node 2 as it was before the raise.
    cluster.nodes[1].shutdown().await.expect("a clean end");
    let mut whole = stores[1].clone();
    let restored = whole.restore().expect("it is whole");
    let mut before = MemoryStore::new();
    before.save_vote(restored.vote).expect("memory");
    let entries = whole.reader().batches(LogIndex(1), restored.last.index, usize::MAX).expect("memory");
    before.append(&entries).expect("memory");
    let two = start(&network, (2, 2), Version::LATEST, &stores[1]).await.expect("it starts");
    // Whoever drops the last handle stops the node.
    let mut running = Vec::new();
    for place in [0, 2] {
        let id = place as u64 + 1;
        cluster.nodes[place].shutdown().await.expect("a clean end");
        let upgraded = start(&network, (id, 2), Version::LATEST, &stores[place]).await.expect("it starts");
        load(&upgraded, 1).await;
        if place == 2 {
            upgraded.metrics().wait_for(|metrics| metrics.membership.version() == Version::LATEST).await.unwrap();
        }
        running.push(upgraded);
    }
    two.shutdown().await.expect("a clean end");
    let older = start(&network, (2, 3), Version::FIRST, &before).await.expect("its log says nothing of it");
    let told = older.metrics().wait_for(|metrics| !metrics.refused_by.is_empty()).await.unwrap().trouble().unwrap();
    assert!(told.contains("the cluster has version 2, and its build speaks no more than 1"), "{told}");
}

/// What is logged for people, a line for each event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Message::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[tokio::test]
async fn a_leader_says_once_who_holds_the_version_back() {
    let lines = Lines::default();
    let _logged = tracing::subscriber::set_default(lines.clone());
    let network = InProcessNetwork::default();
    let stores: Vec<_> = (0..3).map(|_| MemoryStore::new()).collect();
    let mut nodes = Vec::new();
    for (id, store) in (1..).zip(&stores) {
        let version = if id == 2 { Version::FIRST } else { Version::LATEST };
        nodes.push(start(&network, (id, 1), version, store).await.expect("the node starts"));
    }
    let mut cluster = Cluster { network: network.clone(), nodes };
    let leader = cluster.leader().await;
    let by_two = BTreeMap::from([(NodeId(2), Some(Version::FIRST))]);
    let mut metrics = cluster.node(leader).metrics();
    metrics.wait_for(|metrics| metrics.version_held_back_by == by_two).await.expect("it runs");
    let told = || {
        let lines = lines.0.lock().unwrap();
        lines.iter().filter(|line| line.contains("held back by")).cloned().collect::<Vec<_>>()
    };
    let wanted = "the cluster stays at version 1, held back by node 2, which speaks no more than 1";
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while told().is_empty() {
        assert!(tokio::time::Instant::now() < until, "nothing was said");
        load(cluster.node(leader), 1).await;
    }
    load(cluster.node(leader), 20).await;
    assert!(told().iter().all(|line| line == wanted) && told().len() == 1, "once: {:?}", told());

    cluster.node(2).shutdown().await.expect("a clean end");
    cluster.nodes[1] = start(&network, (2, 2), Version::LATEST, &stores[1]).await.expect("it starts");
    for node in &cluster.nodes {
        let raised = |metrics: &Metrics| metrics.version == Version::LATEST && metrics.version_held_back_by.is_empty();
        node.metrics().wait_for(raised).await.expect("it is raised");
    }
}
