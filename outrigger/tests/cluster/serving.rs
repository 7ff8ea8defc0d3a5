//! What a cluster that works answers.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger::engine::{LogIndex, Refusal, RoleKind};
use outrigger::{Outcome, ReadError, WriteError};

use crate::counter::{Change, Cluster, caught_up};

#[tokio::test]
async fn a_write_is_seen_by_a_read_on_every_node() {
    let cluster = Cluster::start().await;
    for (count, id) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(cluster.node(id).write(Change::Add(id)).await, Ok(count));
        for reader in &cluster.nodes {
            let seen = reader.read(|ledger| ledger.added.clone()).await.unwrap();
            assert_eq!(seen, (1..=id).collect::<Vec<_>>(), "read on {reader:?}");
        }
    }
    cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_many_callers_on_all_nodes_are_each_applied_once() {
    const CALLERS: u64 = 60;
    const WRITES: u64 = 50;
    let cluster = Cluster::start().await;
    let callers = (0..CALLERS).map(|caller| {
        let node = cluster.node(caller % 3 + 1).clone();
        tokio::spawn(async move {
            for write in 0..WRITES {
                node.write(Change::Add(caller * WRITES + write)).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let first = cluster.node(1).read(Clone::clone).await.unwrap();
    let mut sorted = first.added.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..CALLERS * WRITES).collect::<Vec<_>>());
    for other in [2, 3] {
        caught_up(cluster.node(other), cluster.node(1)).await;
        assert_eq!(cluster.node(other).read_local(Clone::clone).await.unwrap(), first, "node {other}");
    }
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_group_of_writes_is_applied_in_one_piece() {
    let cluster = Cluster::start().await;
    let follower = cluster.node(cluster.follower().await).clone();
    let group = |base: u64| (base..base + 4).map(Change::Add).collect::<Vec<_>>();
    let (one, other) = tokio::join!(follower.write_many(group(10)), cluster.node(1).write_many(group(20)));
    assert_eq!((one.unwrap().len(), other.unwrap().len()), (4, 4));
    let added = cluster.node(1).read(|ledger| ledger.added.clone()).await.unwrap();
    assert!(added == [10, 11, 12, 13, 20, 21, 22, 23] || added == [20, 21, 22, 23, 10, 11, 12, 13], "{added:?}");
    assert_eq!(follower.write_many(Vec::new()).await, Ok(Vec::new()));
    // More than one frame takes: it could never reach the leader.
    let large = follower.write_many((0..1_100_000).map(Change::Add).collect()).await.unwrap_err();
    assert!(large.to_string().contains("limit of 33554432 bytes") && !large.is_retryable(), "{large}");
    cluster.shut_down().await;
}

#[tokio::test]
async fn metrics_agree_on_leader_members_and_progress() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    leader.write(Change::Add(1)).await.unwrap();
    let mut watched = leader.metrics();
    let all_matched = watched.wait_for(|metrics| {
        metrics.matched.len() == 2 && metrics.matched.values().all(|index| *index == metrics.last.index)
    });
    let metrics = all_matched.await.unwrap();
    assert_eq!(metrics.role, RoleKind::Leader);
    assert_eq!(metrics.membership.to_string(), "voters {1 2 3}");
    assert_eq!(metrics.fault, None);
    let applied = leader.metrics().wait_for(|metrics| metrics.applied == metrics.last.index).await.unwrap();
    assert_eq!((applied.committed, applied.flushed), (applied.last.index, applied.last.index));
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_command_over_the_limit_is_refused_and_nothing_is_applied() {
    let cluster = Cluster::start_with(|config| config.limits.entry_bytes_max = 3).await;
    let refused = cluster.node(1).write(Change::Add(u64::MAX)).await.unwrap_err();
    assert_eq!(refused, WriteError::NotApplied { refusal: Refusal::EntryTooLarge { bytes: 11, limit: 3 } });
    assert_eq!((refused.outcome(), refused.is_retryable()), (Outcome::NotApplied, false));
    assert_eq!(cluster.node(1).write(Change::Add(1)).await, Ok(1));
    cluster.shut_down().await;
}

#[tokio::test]
async fn an_overloaded_node_refuses_at_once_and_serves_on() {
    let cluster = Cluster::start_with(|config| config.limits.requests_max = 2).await;
    let leader = cluster.node(cluster.leader().await).clone();
    // On this runtime of one thread RaftCore has its turn after all three: the last finds two waiting.
    let writes = (0..3).map(|number| {
        let leader = leader.clone();
        tokio::spawn(async move { leader.write(Change::Add(number)).await })
    });
    let mut outcomes = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        outcomes.push(write.await.unwrap());
    }
    let overloaded = WriteError::NotApplied { refusal: Refusal::Overloaded { current: 2, limit: 2 } };
    assert!(overloaded.is_retryable());
    assert_eq!(outcomes, [Ok(1), Ok(2), Err(overloaded)]);
    assert_eq!(leader.write(Change::Add(2)).await, Ok(3));
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_read_that_panics_answers_its_caller_and_harms_nobody() {
    let cluster = Cluster::start().await;
    let node = cluster.node(2);
    let failed = node.read(|_| -> u64 { panic!("no such page") }).await.unwrap_err();
    assert_eq!(failed, ReadError::Panicked { reason: "no such page".into() });
    let failed = node.read_local(|_| -> u64 { panic!("nor here") }).await.unwrap_err();
    assert!(matches!(failed, ReadError::Panicked { .. }), "{failed:?}");
    assert_eq!(node.write(Change::Add(1)).await, Ok(1));
    cluster.shut_down().await;
}

#[tokio::test]
async fn local_reads_say_how_far_they_see() {
    let cluster = Cluster::start().await;
    let node = cluster.node(3);
    node.write(Change::Add(7)).await.unwrap();
    let (applied, added) = node.read_local_at(|ledger| ledger.added.clone()).await.unwrap();
    assert_eq!(added, [7], "what this node answered, this node has applied");
    let later = node.metrics().wait_for(|metrics| metrics.applied >= applied).await.unwrap();
    assert!(later.committed >= applied);
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_slow_state_machine_leaves_the_others_on_its_thread_their_turns() {
    let cluster = Cluster::start_with(|config| {
        config.election_timeout_min = Duration::from_millis(500);
        config.election_timeout_max = Duration::from_millis(1000);
    })
    .await;
    let leader = cluster.node(cluster.leader().await);
    let mut metrics = leader.metrics();
    let before = metrics.wait_for(|metrics| metrics.applied == metrics.last.index).await.unwrap();
    // Three nodes on one thread: 2.4 s of work, longer than any election timeout.
    let work = leader.write_many((0..200).map(|_| Change::Dawdle(4)).collect());
    let watch = async {
        let mut seen = BTreeSet::<LogIndex>::new();
        while seen.last().is_none_or(|applied| applied.since(before.applied) < 200) {
            seen.insert(metrics.changed().await.unwrap().applied);
        }
        seen.len()
    };
    let (work, seen) = tokio::join!(work, watch);
    assert!(work.is_ok(), "{work:?}");
    assert!(seen > 50, "RaftCore had {seen} turns while the state machine was at work");
    assert_eq!(leader.metrics().latest().term, before.term, "nobody was taken for dead");
    cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_that_lags_holds_entries_back_and_then_gets_them_all() {
    let cluster = Cluster::start_with(|config| {
        config.limits.unapplied_entries_max = 1;
        config.limits.tail_bytes_max = 1;
    })
    .await;
    let writers = (0..8).map(|writer| {
        let node = cluster.node(writer % 3 + 1).clone();
        tokio::spawn(async move {
            for number in 0..50 {
                let slow = node.write(Change::Dawdle(number % 3));
                let (slow, added) = tokio::join!(slow, node.write(Change::Add(writer * 50 + number)));
                assert!(slow.is_ok() && added.is_ok(), "{slow:?} {added:?}");
                assert!(node.read(|ledger| ledger.added.len()).await.unwrap() > 0);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut added = cluster.node(1).read(|ledger| ledger.added.clone()).await.unwrap();
    added.sort_unstable();
    assert_eq!(added, (0..400).collect::<Vec<_>>());
    cluster.shut_down().await;
}
