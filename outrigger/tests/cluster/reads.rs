//! Reads that cost less than asking a majority, and what they promise.

use std::time::{Duration, Instant};

use outrigger::engine::{NotElected, Refusal, RoleKind};
use outrigger::{Consistency, ElectError, ReadError};

use crate::counter::{Change, Cluster, caught_up};

/// For so long a leader reads by itself; no voter elects another within the shortest election timeout.
const LEASE: Duration = Duration::from_millis(1900);

/// Leases that outlast what a test does meanwhile.
async fn leased() -> Cluster {
    let cluster = Cluster::start_with(|config| {
        config.lease = LEASE;
        config.heartbeat_interval = Duration::from_millis(100);
        config.election_timeout_min = Duration::from_secs(2);
        config.election_timeout_max = Duration::from_secs(3);
        config.request_timeout = Duration::from_secs(20);
    });
    cluster.await
}

const fn stale(bound: Duration) -> Consistency {
    Consistency::Stale { staleness_max: bound }
}

#[tokio::test]
async fn reads_of_every_kind_see_what_was_written_before_on_every_node() {
    let cluster = leased().await;
    let leader = cluster.leader().await;
    for number in 0..5 {
        cluster.node(leader).write(Change::Add(number)).await.unwrap();
        for node in &cluster.nodes {
            let acknowledged = Consistency::Acknowledged { age_max: Duration::ZERO };
            for consistency in [Consistency::Linearizable, Consistency::Lease, acknowledged] {
                let seen = node.read_with(consistency, |ledger| ledger.added.len()).await.unwrap();
                assert_eq!(seen as u64, number + 1, "{consistency} on {node:?}");
            }
        }
    }
    for node in &cluster.nodes {
        caught_up(node, cluster.node(leader)).await;
        assert_eq!(node.read_with(stale(Duration::from_secs(20)), |ledger| ledger.added.len()).await, Ok(5));
    }
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_reads_by_its_lease_until_that_is_over_and_then_nothing() {
    let cluster = leased().await;
    let id = cluster.leader().await;
    let leader = cluster.node(id).clone();
    leader.write(Change::Add(7)).await.unwrap();
    // It has just asked, and was answered.
    leader.read(|_| ()).await.unwrap();
    cluster.network.isolate(outrigger::engine::NodeId(id));
    let began = Instant::now();
    assert_eq!(leader.read_with(Consistency::Lease, |ledger| ledger.added.len()).await, Ok(1));
    assert!(began.elapsed() < LEASE, "it asked nobody: {:?}", began.elapsed());
    let asks = leader.clone();
    let asks = tokio::spawn(async move { asks.read(|ledger| ledger.added.len()).await });
    // The others elect another, which is no sooner than it has stopped.
    let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
    let next = cluster.leader_of(&others).await;
    assert!(began.elapsed() + Duration::from_millis(100) >= LEASE, "{:?}", began.elapsed());
    cluster.node(next).write(Change::Add(8)).await.unwrap();
    let gone = leader.metrics().wait_for(|metrics| metrics.role != RoleKind::Leader).await.unwrap();
    assert_ne!(gone.leader, Some(outrigger::engine::NodeId(id)));
    let late = leader.clone();
    let late = tokio::spawn(async move { late.read_with(Consistency::Lease, |ledger| ledger.added.len()).await });
    cluster.network.heal();
    assert_eq!(asks.await.unwrap(), Ok(2), "the read that waited is answered by the next leader");
    assert_eq!(late.await.unwrap(), Ok(2));
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_follower_that_is_cut_off_says_how_old_its_state_is() {
    let cluster = leased().await;
    let id = cluster.follower().await;
    let follower = cluster.node(id).clone();
    cluster.network.isolate(outrigger::engine::NodeId(id));
    let refused = follower.read_with(stale(Duration::ZERO), |_| ()).await.unwrap_err();
    let ReadError::Refused { refusal: Refusal::TooStale { staleness: Some(staleness), staleness_max } } = refused
    else {
        panic!("{refused}")
    };
    assert!(staleness > staleness_max && staleness_max.is_zero() && staleness < Duration::from_secs(20));
    assert!(refused.is_retryable());
    assert!(refused.to_string().contains(&format!("{staleness:?} ago, and 0ns are allowed")), "{refused}");
    assert_eq!(follower.read_with(stale(Duration::from_secs(60)), |ledger| ledger.added.len()).await, Ok(0));
    cluster.shut_down().await;
}

#[tokio::test]
async fn an_election_by_hand_that_could_break_a_lease_is_refused() {
    let cluster = leased().await;
    let follower = cluster.node(cluster.follower().await);
    for pre_vote in [true, false] {
        let refused = follower.elect(pre_vote).await.unwrap_err();
        let ElectError::NotElected { why: NotElected::Pledged { left } } = refused else { panic!("{refused}") };
        assert!(left <= Duration::from_secs(2), "{left:?}");
    }
    cluster.shut_down().await;
}

/// On one thread they are taken in together.
#[tokio::test]
async fn reads_that_come_together_are_each_judged_by_their_own_consistency() {
    let cluster = Cluster::start_with(|config| config.request_timeout = Duration::from_secs(1)).await;
    let id = cluster.follower().await;
    let follower = cluster.node(id);
    follower.write(Change::Add(7)).await.unwrap();
    caught_up(follower, cluster.node(cluster.leader().await)).await;
    cluster.network.isolate(outrigger::engine::NodeId(id));
    let lax = stale(Duration::from_secs(60));
    let (first, strict, second) = tokio::join!(
        follower.read_with(lax, |ledger| ledger.added.len()),
        follower.read(|ledger| ledger.added.len()),
        follower.read_with(lax, |ledger| ledger.added.len()),
    );
    assert_eq!((first, second), (Ok(1), Ok(1)));
    assert!(strict.is_err(), "it may have missed something: {strict:?}");
    cluster.shut_down().await;
}

#[tokio::test]
async fn local_reads_wait_up_to_a_number_and_those_beyond_are_refused() {
    let cluster = Cluster::start_with(|config| config.limits.requests_max = 4).await;
    let node = cluster.node(cluster.leader().await);
    // On one thread all of them ask before the first one is read.
    let reads: Vec<_> = (0..10)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.read_local(|_| ()).await })
        })
        .collect();
    let mut done = Vec::new();
    for read in reads {
        done.push(read.await.unwrap());
    }
    let refused = Err(ReadError::Refused { refusal: Refusal::Overloaded { current: 4, limit: 4 } });
    assert_eq!(done, [vec![Ok(()); 4], vec![refused; 6]].concat());
    cluster.shut_down().await;
}
