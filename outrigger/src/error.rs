//! What can go wrong, one enum per operation. Each error of a request says what it means for the request: it was
//! certainly not applied, or nobody knows.
//!
//! ```text
//!   write ─┬─ Ok(response)                                applied, on the state that the response shows
//!          └─ Err(error) ─┬─ Outcome::NotApplied          nothing happened; is_retryable() says whether to try again
//!                         ├─ Outcome::Unknown             it may be applied already, or soon, or never
//!                         └─ Outcome::Applied             it is applied once; only in a session can this be known
//! ```

use std::time::Duration;

use outrigger_engine::{Fault, LogId, NotElected, NotTransferred, Refusal};

use crate::config::ConfigError;
use crate::store::StorageError;

/// What an error says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did nothing and will do nothing: trying again cannot do it twice.
    NotApplied,
    /// It may have been applied, may still be, or never: only who can tell its effect from another's may try again.
    Unknown,
    /// It was applied, once: only its response is not there.
    Applied,
}

/// Why [`Raft::start`](crate::Raft::start) did not start a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log is empty and no cluster is named to begin with.
    #[error(
        "node {id} has an empty log and no initial cluster; name one, {id}=HOST:PORT with its own address for a cluster of one \
         node, or name members of a running cluster to join"
    )]
    NoInitialCluster {
        /// This node.
        id: u64,
    },
    /// The log cannot be opened.
    #[error("the log cannot be opened: {reason}")]
    Storage {
        /// What is wrong, where, and what to do.
        reason: String,
    },
    /// A peer has refused this very directory in an earlier start, as a copy or as made after a wipe.
    #[error("{directory} cannot be started from: {fault}")]
    Refused {
        /// The directory.
        directory: String,
        /// Who refused it, and why; the words with which the node stopped then.
        fault: Fault,
    },
    /// The build is too old for the cluster's version, as the log or a snapshot says it. Nothing was done.
    #[error("node {id} is not started: {fault}")]
    TooOld {
        /// This node.
        id: u64,
        /// Both versions, and what to do.
        fault: Fault,
    },
    /// The log belongs to another node.
    #[error("the log belongs to node {found}, but this is node {id}; correct the id or the log")]
    OtherNode {
        /// This node.
        id: u64,
        /// Whose log it is.
        found: u64,
    },
    /// A state on disk has applied more than the log holds.
    #[error(
        "the state machine has applied up to {held} on disk, but the log ends at {last}: one of them is of another node, or was put \
         back from an older copy, or the log is gone, as that in memory is at each start; put the right one in its place (`data_dir`). \
         Only if the log reaches back to a snapshot or to its beginning can it be made from them: then remove the state"
    )]
    StateAhead {
        /// What the state says of itself.
        held: LogId,
        /// The last entry of the log.
        last: LogId,
    },
    /// A state on disk has applied another entry than the log holds, so it is not committed there.
    #[error(
        "the state machine has applied {held} on disk, but in the log that is {found}: one of them is of another node; put the \
         right one in its place, or remove the state, and it is made from the snapshot and the log"
    )]
    OtherState {
        /// What the state says of itself.
        held: LogId,
        /// What the log holds in its place.
        found: LogId,
    },
    /// The transport cannot begin.
    #[error(
        "node {id} cannot listen for its peers on {address}: {reason}{}",
        if reason.kind() == std::io::ErrorKind::AddrInUse { "; stop the process that listens there, or choose another address" } else { "" }
    )]
    Transport {
        /// This node.
        id: u64,
        /// Where it wanted to listen.
        address: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The system gave no thread.
    #[error("no thread for the log: {reason}")]
    Thread {
        /// What the system said.
        reason: std::io::Error,
    },
}

impl From<StorageError> for StartError {
    fn from(error: StorageError) -> Self {
        Self::Storage { reason: error.reason }
    }
}

/// Why a write has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nothing was applied, for a reason that may pass or not: see [`WriteError::is_retryable`].
    #[error("not applied: {refusal}")]
    NotApplied {
        /// Why.
        refusal: Refusal,
    },
    /// Nothing was applied: the command cannot be encoded.
    #[error("not applied: the command cannot be encoded: {reason}")]
    Encode {
        /// What serde said.
        reason: String,
    },
    /// The command may or may not be applied.
    #[error("it is not known whether the command is applied: {reason}")]
    Unknown {
        /// How its trace was lost.
        reason: String,
    },
    /// Nothing was applied: this node has stopped.
    #[error("not applied: this node has stopped; ask another")]
    Stopped,
    /// The session is gone: it was unused for longer than its time to live, or there are too many. The last try was not
    /// applied. If an earlier one was lost on its way, nobody knows whether that was: what would tell went with the session.
    #[error(
        "the session has expired; {}", if *in_doubt {
            "it is not known whether an earlier try of the command was applied; read what became of it, and begin another session"
        } else { "the command was not applied; begin another session and write it there" }
    )]
    SessionExpired {
        /// Whether an earlier try may have been applied.
        in_doubt: bool,
    },
    /// The command may or may not be applied: its session has gone far beyond its number.
    #[error(
        "it is not known whether the command is applied: its session has gone far beyond its number, so that this try was not; read what \
         became of an earlier one, and go on in another session"
    )]
    Forgotten,
    /// The command was applied, once, by a try that got no answer, and its response was not kept: it was too
    /// large, or a crash took it from a node whose state is on disk.
    #[error("the command was applied once, but its response was not kept for a second answer")]
    ResponseNotKept,
}

impl WriteError {
    /// What is known about the command.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotApplied { .. }
            | Self::Encode { .. }
            | Self::Stopped
            | Self::SessionExpired { in_doubt: false } => Outcome::NotApplied,
            Self::Unknown { .. } | Self::SessionExpired { in_doubt: true } | Self::Forgotten => Outcome::Unknown,
            Self::ResponseNotKept => Outcome::Applied,
        }
    }

    /// Whether trying again, on this node, is safe and may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotApplied { refusal } => may_pass(*refusal),
            Self::Encode { .. }
            | Self::Unknown { .. }
            | Self::Stopped
            | Self::SessionExpired { .. }
            | Self::Forgotten
            | Self::ResponseNotKept => false,
        }
    }
}

/// Why the members are not changed, or not for certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Nothing has changed. [`Refusal`] says why, and whether it is worth trying again.
    #[error("the members are not changed: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// It may have begun: then the next leader ends it. The metrics will tell.
    #[error("the members may be changed yet: {reason}; look at the metrics of the next leader")]
    Unknown {
        /// How the trace was lost.
        reason: String,
    },
    /// The node has stopped.
    #[error("this node has stopped; the members may be changed yet if it led")]
    Stopped,
}

/// Why leadership is not where it was to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// It is not handed over. [`NotTransferred`] says why, and whether this node leads on.
    #[error("leadership is not handed over: {why}")]
    NotTransferred {
        /// Why.
        why: NotTransferred,
    },
    /// The node has stopped.
    #[error("this node has stopped; if it led, another one will")]
    Stopped,
}

/// Why a node that was told to campaign does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElectError {
    /// It was not elected.
    #[error("not elected: {why}")]
    NotElected {
        /// Why.
        why: NotElected,
    },
    /// The node has stopped.
    #[error("not elected: this node has stopped")]
    Stopped,
}

/// Why a node did not do what was wanted of it in its present role. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// It is in another role.
    #[error("not done: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The node has stopped.
    #[error("not done: this node has stopped")]
    Stopped,
}

/// Why no snapshot was taken. Nothing is lost by it: the log holds what it would have covered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is nothing to take one of, or it could not be kept. [`Refusal`] says which.
    #[error("no snapshot was taken: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The node has stopped.
    #[error("no snapshot was taken: this node has stopped")]
    Stopped,
}

#[cfg(feature = "tokio")]
impl SnapshotError {
    /// Whether trying again, here or on another node, may help.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Stopped | Self::Refused { refusal: Refusal::Overloaded { .. } })
    }
}

/// Why a snapshot was not saved to a file. Under the file's name is what was there before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// This node could not make sure that it has all that was acknowledged.
    #[error("not saved, as it is not certain to be the latest: {reason}")]
    NotLatest {
        /// Why.
        reason: ReadError,
    },
    /// No snapshot could be taken.
    #[error("not saved: {reason}")]
    NotTaken {
        /// Why.
        reason: SnapshotError,
    },
    /// The snapshot cannot be read, or the file not be written.
    #[error("not saved: {reason}")]
    File {
        /// What happened, for people.
        reason: String,
    },
    /// The node has stopped.
    #[error("not saved: this node has stopped")]
    Stopped,
}

/// Why a read has no answer. A read changes nothing, so that trying again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be answered now.
    #[error("not read: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// No answer came in time.
    #[error("not read: no answer within {waited:?}; is a majority of the nodes up?")]
    TimedOut {
        /// How long it was waited for, at least.
        waited: Duration,
    },
    /// The closure that reads panicked. The node goes on.
    #[error("the read panicked: {reason}")]
    Panicked {
        /// What the panic said.
        reason: String,
    },
    /// This node has stopped.
    #[error("not read: this node has stopped; ask another")]
    Stopped,
}

impl ReadError {
    /// What is known about the read: it did nothing.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }

    /// Whether trying again, on this node, may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { refusal } => may_pass(*refusal),
            Self::TimedOut { .. } => true,
            Self::Panicked { .. } | Self::Stopped => false,
        }
    }
}

/// Whether what was refused now may be taken in later.
pub(crate) const fn may_pass(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NoLeader
            | Refusal::NotLeader
            | Refusal::LeadershipLost
            | Refusal::Transferring { .. }
            | Refusal::Overloaded { .. }
            | Refusal::NotMember
            | Refusal::DiskHangs
            | Refusal::TooStale { .. }
    )
}

/// The node has stopped, so that there is nothing more to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has stopped")]
pub struct Stopped;

/// Any error of this library: what a `main` returns.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A write has no response.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A read has no answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A node has stopped by a fault.
    #[error("node {id} has stopped: {reason}")]
    Fault {
        /// The node.
        id: u64,
        /// What happened, for people.
        reason: String,
    },
    /// A node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// In words: this is what is printed of the error that a `main` returns.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_the_command_may_be_applied() {
        let refused = |refusal| WriteError::NotApplied { refusal };
        assert!(refused(Refusal::NoLeader).is_retryable());
        assert!(!refused(Refusal::EntryTooLarge { bytes: 9, limit: 8 }).is_retryable());
        assert_eq!(refused(Refusal::NoLeader).outcome(), Outcome::NotApplied);
        for (error, known) in [
            (WriteError::SessionExpired { in_doubt: false }, "the command was not applied"),
            (WriteError::SessionExpired { in_doubt: true }, "read what became of it"),
            (WriteError::Forgotten, "read what became of an earlier one"),
        ] {
            let said = error.to_string();
            assert!(said.contains(known) && said.contains("another session"), "{said}");
        }
        let unknown = WriteError::Unknown { reason: "leadership changed".into() };
        assert_eq!((unknown.outcome(), unknown.is_retryable()), (Outcome::Unknown, false));
        assert!(unknown.to_string().contains("not known whether"));
    }
}
