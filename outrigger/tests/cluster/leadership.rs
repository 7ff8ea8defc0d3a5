//! Who leads, as far as a program has a say in it.

use std::time::{Duration, Instant};

use outrigger::engine::{NodeId, NotElected, NotTransferred, Refusal, RoleKind};
use outrigger::{ElectError, RoleError, TransferError};
use tokio::task::JoinSet;

use crate::counter::{Change, Cluster, config};

/// Elections that nobody sees happen by themselves within a test.
async fn patient() -> Cluster {
    let cluster = Cluster::start_with(|config| {
        config.heartbeat_interval = Duration::from_millis(100);
        config.election_timeout_min = Duration::from_secs(2);
        config.election_timeout_max = Duration::from_secs(3);
    });
    cluster.await
}

/// Waits until every node knows that this one leads.
async fn all_follow(cluster: &Cluster, id: u64) {
    for node in &cluster.nodes {
        node.metrics().wait_for(|metrics| metrics.leader == Some(NodeId(id))).await.expect("the node runs");
    }
}

#[tokio::test]
async fn leadership_goes_to_whom_it_is_handed_and_no_caller_sees_an_error() {
    let cluster = Cluster::start().await;
    let mut leader = cluster.leader().await;
    let mut writers = JoinSet::new();
    for (writer, node) in cluster.nodes.iter().enumerate() {
        let node = node.clone();
        writers.spawn(async move {
            for number in 0..200 {
                node.write(Change::Add(writer as u64 * 1000 + number)).await.expect("a write");
                node.read(|ledger| ledger.added.len()).await.expect("a read");
            }
        });
    }
    for _ in 0..10 {
        let heir = leader % 3 + 1;
        let next = cluster.node(leader).transfer_leadership(Some(NodeId(heir))).await.expect("it takes over");
        assert_eq!(next.leader, NodeId(heir));
        all_follow(&cluster, heir).await;
        leader = heir;
        let metrics = cluster.node(heir).metrics().latest();
        assert_eq!((metrics.role, metrics.term), (RoleKind::Leader, next.term));
    }
    while let Some(written) = writers.join_next().await {
        written.expect("no writer saw an error");
    }
    let mut held = cluster.node(leader).read(|ledger| ledger.added.clone()).await.unwrap();
    held.sort_unstable();
    let wanted: Vec<u64> = (0..3).flat_map(|writer| writer * 1000..writer * 1000 + 200).collect();
    assert_eq!(held, wanted, "each write once");
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_write_after_a_transfer_waits_for_no_election_timeout() {
    let cluster = patient().await;
    let leader = cluster.leader().await;
    let began = Instant::now();
    let next = cluster.node(leader).transfer_leadership(None).await.expect("somebody takes over");
    assert_eq!(cluster.node(leader).write(Change::Add(1)).await, Ok(1));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_ne!(next.leader.0, leader);
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_transfer_that_cannot_be_is_refused_and_one_that_fails_leaves_the_leader_at_work() {
    let cluster = Cluster::start().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let refused = |why| Err(TransferError::NotTransferred { why });
    assert_eq!(cluster.node(follower).transfer_leadership(None).await, refused(NotTransferred::NotLeader));
    let stranger = cluster.node(leader).transfer_leadership(Some(NodeId(9))).await;
    assert_eq!(stranger, refused(NotTransferred::NotVoter { node: NodeId(9) }));
    let term = cluster.node(leader).metrics().latest().term;
    let own = cluster.node(leader).transfer_leadership(Some(NodeId(leader))).await.expect("it leads");
    assert_eq!((own.leader, own.term), (NodeId(leader), term));

    cluster.node(follower).shutdown().await.unwrap();
    cluster.node(leader).write(Change::Add(1)).await.unwrap();
    let began = Instant::now();
    let gone = cluster.node(leader).transfer_leadership(Some(NodeId(follower)));
    let writer = cluster.node(leader).clone();
    let (gone, written) = tokio::join!(gone, writer.write(Change::Add(2)));
    assert!(matches!(gone, Err(TransferError::NotTransferred { why: NotTransferred::Lagging { .. } })), "{gone:?}");
    assert!(began.elapsed() >= config(1).election_timeout_min, "{:?}", began.elapsed());
    assert_eq!(written, Ok(2), "a write meanwhile waits, and is done");
    assert_eq!(cluster.node(leader).metrics().latest().term, term);
    cluster.node(leader).shutdown().await.unwrap();
    assert_eq!(cluster.node(leader).transfer_leadership(None).await, Err(TransferError::Stopped));
}

#[tokio::test]
async fn elections_are_held_by_hand() {
    let cluster = patient().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.node(leader).metrics().latest().term;
    let refused = cluster.node(follower).elect(true).await;
    assert_eq!(refused, Err(ElectError::NotElected { why: NotElected::Refused }), "beside a leader that is at work");
    assert_eq!(cluster.node(follower).elect(false).await, Ok(term.next()));
    all_follow(&cluster, follower).await;
    assert_eq!(cluster.node(follower).elect(true).await, Ok(term.next()), "it leads already");

    assert_eq!(cluster.node(leader).step_down().await, Err(RoleError::Refused { refusal: Refusal::NotLeader }));
    cluster.node(follower).step_down().await.unwrap();
    let role = cluster.node(follower).metrics().wait_for(|metrics| metrics.role == RoleKind::Follower).await;
    assert_eq!(role.unwrap().leader, None);
    let no_leader = cluster.node(follower).forget_leader().await;
    assert_eq!(no_leader, Err(RoleError::Refused { refusal: Refusal::NoLeader }));
    for node in cluster.nodes.iter().filter(|node| ![leader, follower].contains(&node.config().id)) {
        node.forget_leader().await.unwrap();
    }
    // The other two count their leader for silent: one needs the pre-vote of the other only.
    assert_eq!(cluster.node(leader).elect(true).await, Ok(term.next().next()));
    cluster.shut_down().await;
}

#[tokio::test]
async fn nobody_campaigns_where_elections_are_off() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    for node in &cluster.nodes {
        node.set_elections(false).await.unwrap();
    }
    cluster.node(leader).step_down().await.unwrap();
    // Long enough for several elections.
    let leads = |metrics: &outrigger::Metrics| metrics.leader.is_some_and(|next| next.0 != leader);
    let mut metrics = cluster.node(leader).metrics();
    let quiet = tokio::time::timeout(config(1).election_timeout_max * 5, metrics.wait_for(leads)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    cluster.node(leader % 3 + 1).set_elections(true).await.unwrap();
    all_follow(&cluster, leader % 3 + 1).await;
    cluster.shut_down().await;
}
