//! Why a request of a client has no answer, and what that means for it.

use std::time::Duration;

use outrigger_engine::{NotElected, NotTransferred, Refusal};

use crate::Outcome;

/// Why a request of a [`Client`](super::Client) has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No endpoint was named, or one that is no `host:port`.
    #[error("{endpoint:?} is no endpoint; name at least one as host:port")]
    Endpoint {
        /// What was named; empty when nothing was.
        endpoint: String,
    },
    /// The time was over before any endpoint took the write or the change and did it. Nothing was done.
    #[error("not applied within {waited:?}: {reason}")]
    NotApplied {
        /// How long it was tried; not up to the last moment: its answer could come too late.
        waited: Duration,
        /// What the last attempt came to.
        reason: String,
    },
    /// The time was over before any endpoint answered the query, or none can be reached of which only one may answer. It changes nothing.
    #[error("not answered{}: {reason}", if waited.is_zero() { String::new() } else { format!(" within {waited:?}") })]
    NotAnswered {
        /// How long it was tried; zero if it failed before the time was over and was not tried again, as the status of a node is not.
        waited: Duration,
        /// What the last attempt came to.
        reason: String,
    },
    /// The request itself is refused. Nothing was done, and trying again will not help.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The leader refuses to change the members, for good or for now. Nothing has changed.
    #[error("the members are not changed: {refusal}")]
    MembersNotChanged {
        /// Why.
        refusal: Refusal,
    },
    /// Leadership is not where it was to be.
    #[error("leadership is not handed over: {why}")]
    NotTransferred {
        /// Why.
        why: NotTransferred,
    },
    /// The node that was to lead was not elected.
    #[error("not elected: {why}")]
    NotElected {
        /// Why.
        why: NotElected,
    },
    /// It may be done already, or soon, or never.
    #[error("it is not known whether the request is applied: {reason}")]
    Unknown {
        /// How its trace was lost.
        reason: String,
    },
    /// The session is gone: it was unused for longer than its time to live, or there are too many. If an earlier try of the
    /// write was lost on its way, nobody knows whether that was applied: what would tell went with the session.
    #[error(
        "the session has expired; {}",
        if *in_doubt {
            "it is not known whether an earlier try of the write was applied; read what became of it, and begin another session"
        } else { "nothing was applied; begin another session and write there" }
    )]
    SessionExpired {
        /// Whether an earlier try may have been applied.
        in_doubt: bool,
    },
    /// The write was applied, once, by a try whose answer was lost, and its response was not kept: it was too
    /// large, or a crash took it from a node whose state is on disk.
    #[error("applied once, but the response was not kept for a second answer")]
    ResponseNotKept,
    /// A snapshot that is saved cannot be written, or what has come is not what was announced. Nothing has changed but that it
    /// was taken.
    #[error("not saved: {reason}")]
    File {
        /// What happened, for people.
        reason: String,
    },
    /// The command or query cannot be encoded. Nothing was done.
    #[error("not sent: the request cannot be encoded: {reason}")]
    Encode {
        /// What serde said.
        reason: String,
    },
    /// The request was done, but its answer has another type than this client believes.
    #[error("done, but the answer cannot be decoded; do client and cluster run the same version? {reason}")]
    Decode {
        /// What serde said.
        reason: String,
    },
}

impl ClientError {
    /// What is known about the request. A query changes nothing: for it, nothing is ever unknown.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Endpoint { .. }
            | Self::NotApplied { .. }
            | Self::NotAnswered { .. }
            | Self::Refused { .. }
            | Self::MembersNotChanged { .. }
            | Self::NotTransferred { .. }
            | Self::NotElected { .. }
            | Self::SessionExpired { in_doubt: false }
            | Self::File { .. }
            | Self::Encode { .. } => Outcome::NotApplied,
            // Its effect is there; that it must not be tried again is what counts.
            Self::Unknown { .. } | Self::SessionExpired { in_doubt: true } | Self::Decode { .. } => Outcome::Unknown,
            Self::ResponseNotKept => Outcome::Applied,
        }
    }

    /// Whether trying again is safe and may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotApplied { .. } | Self::NotAnswered { .. } => true,
            Self::MembersNotChanged { refusal } => {
                matches!(
                    refusal,
                    Refusal::ChangeInProgress { .. }
                        | Refusal::Lagging { .. }
                        | Refusal::NoMajority { .. }
                        | Refusal::Overloaded { .. }
                )
            }
            Self::NotTransferred { why } => {
                matches!(why, NotTransferred::InProgress { .. } | NotTransferred::LeadershipLost)
            }
            Self::NotElected { why } => {
                matches!(why, NotElected::NoAnswer | NotElected::Overtaken | NotElected::Pledged { .. })
            }
            _ => false,
        }
    }
}
