//! A change of the members whose answer was lost: it goes on without its caller, so the leader is asked what came of it.
//!
//! ```text
//!   change ─► leader A ─ ✗           A dies, or hands over: nobody answers any more
//!             leader B ends what A began
//!   change of nothing ─► leader B    a change is under way: asked again
//!                                    the members are as wanted: done
//!                                    they are not: asked for a while, as the request may be on its way still; then nobody knows
//! ```
//!
//! A change of nothing is answered once a quorum has confirmed, by an entry of its own, who the members are. What a node says of itself
//! would not do: one that lags, that waits to be added, or that leads no more and does not know, has members of other times.

use bytes::Bytes;
use outrigger_engine::{ChangeMembers, ChangeRequest, Refusal};
use tokio::time::{Duration, Instant, sleep_until};

use super::Shared;
use super::members::{self, MembersChanged};
use super::protocol::Operation;

/// What has not come to a leader for so long, since one was asked, will hardly come to it any more.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// From one question to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// Who does not answer for so long keeps nobody from asking another one.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shared {
    /// Waits until the members are committed as they were wanted; `None` once the time is over, or nothing is under way any more. What
    /// somebody else has changed back by then is not seen.
    pub(super) async fn follow(&self, wanted: &ChangeRequest, deadline: Instant) -> Option<MembersChanged> {
        let nothing = members::encode_request(&ChangeMembers::Batch(Vec::new()).into());
        let mut until = deadline;
        while Instant::now() < until {
            let next = Instant::now() + PAUSE;
            match self.ask_for_members(nothing.clone(), until).await {
                Some(Ok(members)) if wanted.holds_in(&members.membership) => return Some(members),
                Some(Ok(_)) => until = until.min(Instant::now() + QUIET_MAX),
                Some(Err(Refusal::ChangeInProgress { .. })) => until = deadline,
                // Somebody leads next, or can be reached again.
                Some(Err(_)) | None => {}
            }
            sleep_until(next.min(until)).await;
        }
        None
    }

    async fn ask_for_members(&self, nothing: Bytes, until: Instant) -> Option<Result<MembersChanged, Refusal>> {
        let patience = until.saturating_duration_since(Instant::now()).min(PATIENCE);
        let (_, answer) = self.ask(Operation::ChangeMembers, nothing, patience).await.ok()?;
        members::decode_answer(answer).ok()
    }
}
