//! The forms of a write: what each of them waits for, and under which condition.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;

use outrigger::engine::{Precondition, Refusal, Term};
use outrigger::{Outcome, WriteError};

use crate::counter::{Change, Cluster};

async fn added(cluster: &Cluster, id: u64) -> Vec<u64> {
    cluster.node(id).read(|ledger| ledger.added.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_answered_while_the_state_machine_is_busy() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await).clone();
    let ((begun, begins), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let reader = leader.clone();
    let reading = tokio::spawn(async move {
        let busy = move |_: &_| {
            begun.send(()).unwrap();
            released.recv().unwrap();
        };
        reader.read_local(busy).await.unwrap();
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    let first = leader.write_until_committed(Change::Add(1)).await.unwrap();
    let second = leader.write_until_committed(Change::Add(2)).await.unwrap();
    assert!(first < second);
    release.send(()).unwrap();
    reading.await.unwrap();
    assert_eq!(added(&cluster, leader.config().id).await, [1, 2]);
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_follower_hears_of_its_commit_and_mixes_it_with_writes_in_order() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let follower = cluster.node(cluster.follower().await);
    let mixed = tokio::join!(
        follower.write(Change::Add(1)),
        follower.write_until_committed(Change::Add(2)),
        follower.barrier(),
        follower.write(Change::Add(3)),
    );
    let (committed, barrier) = (mixed.1.unwrap(), mixed.2.unwrap());
    assert_eq!((mixed.0, mixed.3), (Ok(1), Ok(3)), "each gets its own response");
    assert!(committed < barrier);
    assert_eq!(added(&cluster, follower.config().id).await, [1, 2, 3]);
    cluster.shut_down().await;
}

#[tokio::test]
async fn who_waits_for_a_commit_when_leadership_goes_is_told_that_nobody_knows() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    cluster.network.isolate(leader.config().node());
    let outcome = leader.write_until_committed(Change::Add(1)).await.unwrap_err();
    assert_eq!(outcome.outcome(), Outcome::Unknown, "{outcome}");
    cluster.network.heal();
    cluster.shut_down().await;
}

#[tokio::test]
async fn behind_a_barrier_a_local_read_on_any_node_sees_what_was_written_before() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let follower = cluster.node(cluster.follower().await);
    for number in 1..=20 {
        leader.write(Change::Add(number)).await.unwrap();
        follower.barrier().await.unwrap();
        let seen = follower.read_local(|ledger| ledger.added.len() as u64).await.unwrap();
        assert_eq!(seen, number);
    }
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_write_for_one_term_is_not_taken_in_in_another() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    let follower = cluster.node(cluster.follower().await);
    let term = leader.metrics().latest().term;
    assert_eq!(leader.write_in_term(term, Change::Add(1)).await, Ok(1));
    assert_eq!(follower.write_in_term(term, Change::Add(2)).await, Ok(2), "handed on");
    let next = leader.transfer_leadership(Some(follower.config().node())).await.unwrap();
    for node in [leader, follower] {
        let refused = node.write_in_term(term, Change::Add(3)).await.unwrap_err();
        let refusal = Refusal::PreconditionFailed { actual: Precondition::Term(next.term) };
        assert_eq!(refused, WriteError::NotApplied { refusal });
        assert!(!refused.is_retryable(), "that term is over");
    }
    assert_eq!(follower.write_in_term(next.term, Change::Add(4)).await, Ok(3));
    let early = follower.write_in_term(Term(next.term.0 + 1), Change::Add(5)).await.unwrap_err();
    assert_eq!(early.outcome(), Outcome::NotApplied);
    assert_eq!(added(&cluster, follower.config().id).await, [1, 2, 4]);
    cluster.shut_down().await;
}

#[tokio::test]
async fn what_is_written_and_forgotten_is_applied_in_order() {
    let cluster = Cluster::start().await;
    let leader = cluster.node(cluster.leader().await);
    for number in 1..=500 {
        leader.write_and_forget(Change::Add(number)).unwrap();
    }
    leader.barrier().await.unwrap();
    assert_eq!(added(&cluster, leader.config().id).await, (1..=500).collect::<Vec<u64>>());
    leader.shutdown().await.unwrap();
    assert_eq!(leader.write_and_forget(Change::Add(501)), Err(WriteError::Stopped));
    cluster.shut_down().await;
}

#[tokio::test]
async fn many_writes_answer_one_by_one_in_their_order() {
    let cluster = Cluster::start().await;
    let nodes = [cluster.leader().await, cluster.follower().await];
    for (round, id) in nodes.into_iter().enumerate() {
        let first = 1 + 1_000 * round as u64;
        let commands = (first..first + 1_000).map(Change::Add).collect();
        let mut responses = cluster.node(id).write_each(commands).await.unwrap();
        for number in first..first + 1_000 {
            // A wait that is given up takes nothing away.
            let once = poll_fn(|context| Poll::Ready(pin!(responses.next()).poll(context)));
            let response = match once.await {
                Poll::Ready(response) => response,
                Poll::Pending => responses.next().await,
            };
            assert_eq!(response, Some(Ok(number)));
        }
        assert_eq!((responses.next().await, responses.remaining()), (None, 0));
    }
    assert_eq!(added(&cluster, nodes[1]).await, (1..=2_000).collect::<Vec<u64>>());
    let mut none = cluster.node(nodes[0]).write_each(Vec::new()).await.unwrap();
    assert_eq!(none.next().await, None);
    cluster.shut_down().await;
}
