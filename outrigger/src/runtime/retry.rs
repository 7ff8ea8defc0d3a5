//! Waiting for a leader on behalf of a caller: what was certainly not done is tried again, until the request timeout.

use std::time::Duration;

use outrigger_engine::Refusal;
use tokio::time::Instant;

use super::respond::{Doubt, Failure, Reply};
use crate::metrics::MetricsReceiver;

/// Whether what was refused may be taken in once the cluster has its leader again. An overloaded node is not asked again:
/// that would only add to the load. Who has a session asks again all the same, but [leaves it alone](Retry::relieve) before.
pub(crate) const fn is_worth_waiting(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoLeader | Refusal::NotLeader | Refusal::LeadershipLost | Refusal::Transferring { .. })
}

/// The patience of one caller whose first try was refused.
pub(crate) struct Retry {
    metrics: MetricsReceiver,
    /// Until when a leader is waited for.
    deadline: Instant,
    /// Until when the answer to a further try is waited for. A try that was taken in late has as long as any other: to give
    /// it up with the wait for a leader would leave in doubt what is as good as done.
    answer_by: Instant,
    /// How long to wait when the metrics do not change: they may name a leader that has just gone.
    pause: Duration,
    /// How long to wait when a node has too much in hand, the next time.
    relief: Duration,
}

/// The longest time that an overloaded node is left alone.
const RELIEF_MAX: Duration = Duration::from_secs(1);

impl Retry {
    /// Waits for a leader no longer than `patience` after `began`, and for an answer no longer than `timeout`.
    pub(crate) fn new(
        metrics: MetricsReceiver,
        began: Instant,
        (patience, timeout): (Duration, Duration),
        pause: Duration,
    ) -> Self {
        Self { metrics, deadline: began + patience.min(timeout), answer_by: began + timeout, pause, relief: pause }
    }

    /// Leaves a node alone that has too much in hand, for twice as long each time; false when the time is over.
    pub(crate) async fn relieve(&mut self) -> bool {
        let until = Instant::now() + self.relief;
        self.relief = (self.relief * 2).min(RELIEF_MAX);
        if until >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(until).await;
        true
    }

    /// Waits until another try may go better; false when the time is over, or the node has stopped.
    pub(crate) async fn wait(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        let until = self.deadline.min(Instant::now() + self.pause);
        if self.metrics.latest().leader.is_some() {
            // A leader is known, but it refused: it may have stepped down and not said so here.
            let changed = tokio::time::timeout_at(until, self.metrics.changed()).await;
            return !matches!(changed, Ok(Err(_)));
        }
        let named = tokio::time::timeout_at(self.deadline, self.metrics.wait_for(|metrics| metrics.leader.is_some()));
        matches!(named.await, Ok(Ok(_)))
    }

    /// The answer to a further try, if it comes in time.
    pub(crate) async fn answer<T>(&self, reply: Reply<T>) -> Result<T, Failure> {
        let answer = tokio::time::timeout_at(self.answer_by, reply).await;
        answer.unwrap_or(Err(Failure::Unknown(Doubt::TimedOut)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use outrigger_engine::{Engine, EngineConfig, Incarnation, NodeId, Peer, Restored};

    use super::*;
    use crate::metrics::Metrics;
    use crate::runtime::respond::Slot;

    fn retry(patience: Duration, timeout: Duration, pause: Duration) -> (crate::watch::Sender<Arc<Metrics>>, Retry) {
        let peer = Peer::new(NodeId(1), Incarnation::default());
        let engine = Engine::new(EngineConfig::new(peer, 1), Restored::default(), outrigger_engine::Instant(0));
        let metrics = Arc::new(Metrics::new(engine.status(), None, BTreeMap::new()));
        let (sender, metrics) = crate::watch::channel(metrics);
        (sender, Retry::new(MetricsReceiver::new(metrics), Instant::now(), (patience, timeout), pause))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_with_too_much_in_hand_is_left_alone_for_longer_each_time() {
        let pause = Duration::from_millis(100);
        let (_sender, mut retry) = retry(pause * 40, pause * 50, pause);
        let began = Instant::now();
        for pauses in [1, 3, 7, 15, 25, 35] {
            assert!(retry.relieve().await);
            assert_eq!(began.elapsed().as_millis() / 100, pauses, "1, 2, 4, 8 pauses, and then a second");
        }
        assert!(!retry.relieve().await, "the time would be over before");
        assert_eq!(began.elapsed().as_millis() / 100, 35, "and is not waited for");
    }

    fn with_leader(
        (sender, retry): (crate::watch::Sender<Arc<Metrics>>, Retry),
    ) -> (crate::watch::Sender<Arc<Metrics>>, Retry) {
        sender.send_if_modified(|metrics| {
            Arc::make_mut(metrics).leader = Some(NodeId(2));
            true
        });
        (sender, retry)
    }

    /// What may pass with another leader, and nothing else: neither is given up too early, nor tried for nothing.
    #[test]
    fn what_another_leader_may_take_is_worth_waiting_for() {
        let to = NodeId(2);
        for refusal in [Refusal::NoLeader, Refusal::NotLeader, Refusal::LeadershipLost, Refusal::Transferring { to }] {
            assert!(is_worth_waiting(refusal), "{refusal}");
        }
        for refusal in
            [Refusal::Undecodable, Refusal::Halted, Refusal::Unknown, Refusal::Overloaded { current: 1, limit: 1 }]
        {
            assert!(!is_worth_waiting(refusal), "{refusal}");
        }
    }

    /// The known leader may have stepped down and not said so here.
    #[tokio::test(start_paused = true)]
    async fn a_leader_that_refused_is_asked_again_after_a_pause_and_not_beyond_the_time() {
        let pause = Duration::from_millis(100);
        // The patience is longer than the time for all of it.
        let (_sender, mut retry) = with_leader(retry(pause * 9, pause * 3, pause));
        // It is news that somebody leads.
        assert!(retry.wait().await);
        let began = Instant::now();
        for pauses in 1..=3 {
            assert!(retry.wait().await);
            assert_eq!(began.elapsed().as_millis() / 100, pauses);
        }
        assert!(!retry.wait().await);
        assert!(!retry.relieve().await, "nor is a node relieved any longer");
        assert_eq!(began.elapsed().as_millis() / 100, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_node_that_has_ended() {
        let pause = Duration::from_millis(100);
        let (sender, mut retry) = with_leader(retry(pause * 9, pause * 9, pause));
        assert!(retry.wait().await, "it is news that somebody leads");
        let ended = tokio::join!(retry.wait(), async { drop(sender) }).0;
        assert!(!ended);
    }

    /// Found by tests on a busy machine: a write that waited for the first election was given up, in doubt, as soon as
    /// somebody led, because the patience for that was over.
    #[tokio::test(start_paused = true)]
    async fn a_try_that_waited_long_for_a_leader_has_time_for_its_answer() {
        let second = Duration::from_secs(1);
        let (_sender, retry) = retry(second, second * 5, second / 10);
        tokio::time::advance(second).await;
        let (slot, reply) = Slot::one();
        let answered = async {
            tokio::time::sleep(second).await;
            slot.answer(Ok(7))
        };
        assert_eq!(tokio::join!(retry.answer(reply), answered).0, Ok(7));
        let (_slot, reply) = Slot::<u32>::one();
        let began = Instant::now();
        assert_eq!(
            retry.answer(reply).await,
            Err(Failure::Unknown(Doubt::TimedOut)),
            "and no longer than the request timeout"
        );
        assert!(began.elapsed() <= second * 3, "{:?}", began.elapsed());
    }
}
