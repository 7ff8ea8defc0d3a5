//! Changes of the members: carried through by the leader, and awaited for as long as the client waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{ChangeRequest, LogId, LogIndex, Refusal};
use tokio::time::timeout;

use super::batch::Ticket;
use super::desk::Desk;
use crate::client::members::{self, CHANGE_BYTES_MAX, MembersChanged};
use crate::client::protocol::Outcome;
use crate::error::ChangeError;
use crate::{Query, Raft};

/// Whether a change may be asked for: no client can make every node hold as much as it likes.
pub(super) fn judge(body: Bytes) -> Result<ChangeRequest, String> {
    let bytes = body.len();
    if bytes > CHANGE_BYTES_MAX {
        return Err(format!("a change of the members of {bytes} bytes exceeds the limit of {CHANGE_BYTES_MAX} bytes"));
    }
    members::decode_request(body).map_err(|error| format!("the change of the members does not decode: {error}"))
}

/// Changes the members, if this node leads.
pub(super) async fn change<S: Query>(desk: Arc<Desk<S>>, ticket: Ticket, patience: Duration, request: ChangeRequest) {
    let outcome = match timeout(patience, carry_through(&desk.raft, request)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let reason = format!("it is not done within {patience:?}, and may go on; look who the members are");
            Outcome::Unknown { reason }
        }
    };
    desk.answer(|answers| answers.put(ticket, &outcome));
}

async fn carry_through<S: Query>(raft: &Raft<S>, request: ChangeRequest) -> Outcome {
    let answer = match raft.change_members(request).await {
        Ok(at) => match changed(raft, at).await {
            Some(changed) => Ok(changed),
            None => return Outcome::Unknown { reason: "it was done, and then the node stopped".to_owned() },
        },
        Err(ChangeError::Refused { refusal }) if is_elsewhere_or_later(refusal) => {
            return Outcome::NotNow { reason: refusal.to_string() };
        }
        Err(ChangeError::Refused { refusal }) => Err(refusal),
        // The client says itself what that means for the change.
        Err(ChangeError::Unknown { reason }) => return Outcome::Unknown { reason },
        Err(error @ ChangeError::Stopped) => return Outcome::Unknown { reason: error.to_string() },
    };
    Outcome::Done { applied: LogIndex::ZERO, body: members::encode_answer(&answer) }
}

/// Whether another node, or this one in a moment, will do it: the client asks again by itself.
const fn is_elsewhere_or_later(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NoLeader | Refusal::NotLeader | Refusal::NotReady | Refusal::Transferring { .. } | Refusal::Halted
    )
}

/// The members by an entry that is committed, or by one after it; `None` when the node stops before it can tell.
async fn changed<S: Query>(raft: &Raft<S>, at: LogId) -> Option<MembersChanged> {
    // The metrics may lag behind the answer.
    let told = raft.metrics().wait_for(|metrics| metrics.membership_at.index >= at.index).await.ok()?;
    Some(MembersChanged { at: told.membership_at, membership: told.membership.as_ref().clone() })
}

#[cfg(test)]
mod tests {
    use outrigger_engine::{LogIndex, NodeId};

    use super::*;

    /// What is told to the client as the change's end is not tried again, by nobody.
    #[test]
    fn a_change_that_may_soon_be_taken_in_is_asked_for_again_and_one_that_is_refused_is_not() {
        let soon = [
            Refusal::NoLeader,
            Refusal::NotLeader,
            Refusal::NotReady,
            Refusal::Transferring { to: NodeId(2) },
            Refusal::Halted,
        ];
        assert!(soon.into_iter().all(is_elsewhere_or_later));
        let refused = [Refusal::ChangeInProgress { at: LogIndex(3) }, Refusal::NoMajority { silent: NodeId(2) }];
        assert!(!refused.into_iter().any(is_elsewhere_or_later));
    }
}
