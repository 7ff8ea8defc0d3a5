//! A change of the members whose answer was lost: it goes on without its caller, so the members are asked what came of it.
//!
//! ```text
//!   change ─► leader A ─ ✗           A dies, or hands over: nobody answers any more
//!             leader B ends what A began
//!   status ─► any node               a committed membership that is as wanted: done
//!                                    still under way: asked again
//!                                    neither, for a while: nobody knows
//! ```

use bytes::Bytes;
use outrigger_engine::ChangeRequest;
use tokio::time::{Duration, Instant, sleep_until};

use super::members::MembersChanged;
use super::protocol::{Operation, Outcome};
use super::status::NodeStatus;
use super::{BACKOFF_MAX, Shared};

/// A change of which nothing is to be seen for so long may never have arrived: enough for some elections.
const QUIET_MAX: Duration = Duration::from_secs(3);

impl Shared {
    /// Waits until the members are committed as they were wanted; `None` once the time is over, or nothing is under way any more. What
    /// somebody else has changed back by then is not seen.
    pub(super) async fn follow(&self, wanted: &ChangeRequest, deadline: Instant) -> Option<MembersChanged> {
        let mut quiet_since = Instant::now();
        while Instant::now() < deadline.min(quiet_since + QUIET_MAX) {
            let next = Instant::now() + BACKOFF_MAX / 5;
            let candidates = self.told.endpoints().candidates(false, Instant::now());
            for endpoint in candidates {
                // Who is silent does not keep the others waiting.
                let Some(status) = self.status_of(&endpoint, deadline.min(Instant::now() + BACKOFF_MAX)).await else {
                    continue;
                };
                if status.membership.goal().is_some() {
                    quiet_since = Instant::now();
                } else if status.membership_at.index <= status.committed && wanted.holds_in(&status.membership) {
                    return Some(MembersChanged { at: status.membership_at, membership: status.membership });
                }
            }
            sleep_until(next.min(deadline)).await;
        }
        None
    }

    async fn status_of(&self, endpoint: &str, deadline: Instant) -> Option<NodeStatus> {
        let link = self.dialled(endpoint);
        tokio::time::timeout_at(deadline, link.is_up()).await.ok()?.ok()?;
        match link.ask(Operation::Status, Bytes::new(), deadline).await {
            Ok(Outcome::Done { body, .. }) => NodeStatus::decode(body).ok(),
            Ok(_) | Err(_) => None,
        }
    }
}
