//! Waiting for a leader on behalf of a caller: what was certainly not done is tried again, until the request timeout.

use std::time::Duration;

use outrigger_engine::Refusal;
use tokio::time::Instant;

use super::respond::{Doubt, Failure, Reply};
use crate::metrics::MetricsReceiver;

/// Whether what was refused may be taken in once the cluster has its leader again. An overloaded node is not asked again:
/// that would only add to the load.
pub(crate) const fn is_worth_waiting(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoLeader | Refusal::NotLeader | Refusal::LeadershipLost)
}

/// The patience of one caller whose first try was refused.
pub(crate) struct Retry {
    metrics: MetricsReceiver,
    deadline: Instant,
    /// How long to wait when the metrics do not change: they may name a leader that has just gone.
    pause: Duration,
}

impl Retry {
    pub(crate) fn new(metrics: MetricsReceiver, timeout: Duration, pause: Duration) -> Self {
        Self { metrics, deadline: Instant::now() + timeout, pause }
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
        let answer = tokio::time::timeout_at(self.deadline, reply).await;
        answer.unwrap_or(Err(Failure::Unknown(Doubt::TimedOut)))
    }
}
