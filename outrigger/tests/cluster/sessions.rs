//! Writes in sessions: applied once each, whatever becomes of leaders and answers.

use std::time::Duration;

use outrigger::engine::RoleKind;
use outrigger::{Outcome, WriteError};

use crate::counter::{Change, Cluster};

async fn added(cluster: &Cluster, id: u64) -> Vec<u64> {
    cluster.node(id).read(|ledger| ledger.added.clone()).await.unwrap()
}

/// As `a_write_of_unknown_outcome_is_not_tried_again` outside of a session: there nobody knows.
#[tokio::test]
async fn a_write_of_unknown_outcome_is_tried_again_and_applied_once() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let session = leader.session().await.unwrap();
    cluster.network.isolate(leader.config().node());
    let mut metrics = leader.metrics();
    let (write, ()) = tokio::join!(session.write(Change::Add(1)), async {
        metrics.wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
        cluster.network.heal();
    });
    assert_eq!(write, Ok(1), "it was in a log when leadership was lost");
    assert_eq!(session.write(Change::Add(2)).await, Ok(2));
    assert_eq!(added(&cluster, leader.config().id).await, [1, 2]);
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_leader_that_stops_costs_no_write_and_doubles_none() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let session = cluster.node(follower).session().await.unwrap();
    // More than the window, so that some wait for others.
    let writers = (1..=200_u64).map(|number| {
        let session = session.clone();
        async move { session.write(Change::Add(number)).await }
    });
    let writers: Vec<_> = writers.map(tokio::spawn).collect();
    let mut metrics = cluster.node(follower).metrics();
    let before = metrics.latest().applied;
    metrics.wait_for(|metrics| metrics.applied.0 > before.0 + 20).await.unwrap();
    cluster.node(leader).shutdown().await.unwrap();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let mut numbers = added(&cluster, follower).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<u64>>());
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_session_that_was_unused_for_too_long_says_so_and_applies_nothing() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let session = leader.session_with(Duration::from_millis(20)).await.unwrap();
    // Log time passes as the leader's clock does.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = session.write(Change::Add(1)).await.unwrap_err();
    assert_eq!(error, WriteError::SessionExpired { in_doubt: false });
    assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotApplied, false));
    assert_eq!(session.keep_alive().await, Err(WriteError::SessionExpired { in_doubt: false }));
    let another = leader.session().await.unwrap();
    assert_ne!(another.id(), session.id());
    assert_eq!(another.write(Change::Add(2)).await, Ok(1));
    assert_eq!(another.keep_alive().await, Ok(()));
    cluster.shut_down().await;
}

#[tokio::test]
async fn an_expired_session_says_when_an_earlier_try_may_have_been_applied() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let session = leader.session_with(Duration::from_millis(50)).await.unwrap();
    cluster.network.isolate(leader.config().node());
    let mut metrics = leader.metrics();
    let (write, ()) = tokio::join!(session.write(Change::Add(1)), async {
        metrics.wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader.config().id).collect();
        let next = cluster.leader_of(&others).await;
        // The others' log time passes; an election alone takes 100 ms.
        cluster.node(next).write(Change::Add(2)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.network.heal();
    });
    let error = write.unwrap_err();
    assert_eq!((&error, error.outcome()), (&WriteError::SessionExpired { in_doubt: true }, Outcome::Unknown));
    assert!(error.to_string().contains("not known whether an earlier try"), "{error}");
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_write_that_nobody_answers_ends_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let session = leader.session().await.unwrap().with_timeout(Duration::from_millis(300));
    cluster.network.isolate(leader.config().node());
    let error = session.write(Change::Add(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    // It was given up, and may still be applied, but not twice.
    cluster.network.heal();
    assert!(session.with_timeout(Duration::from_secs(20)).write(Change::Add(2)).await.is_ok());
    let numbers = added(&cluster, leader.config().id).await;
    assert!(numbers == [2] || numbers == [1, 2], "{numbers:?}");
    cluster.shut_down().await;
}

/// The first try was in a log when leadership was lost; that the node has stopped since says nothing of it.
#[tokio::test]
async fn a_write_of_unknown_outcome_stays_so_when_its_node_stops() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await).clone();
    let session = leader.session().await.unwrap();
    cluster.network.isolate(leader.config().node());
    let mut metrics = leader.metrics();
    let (write, ()) = tokio::join!(session.write(Change::Add(1)), async {
        metrics.wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
        leader.shutdown().await.unwrap();
    });
    let error = write.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    cluster.network.heal();
    cluster.shut_down().await;
}
