//! What can happen.

use bytes::Bytes;
use outrigger::engine::{Event, NodeId, Peer, Token};

/// One thing that happens. What names a life happens only to that life of its node.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A deadline of an engine is due, or was when it was armed.
    Wake { node: NodeId, life: u64, due: u64 },
    /// A client's request reaches a node. Boxed, as events are by far the largest of what happens, and seldom wait.
    Request { node: NodeId, life: u64, event: Box<Event> },
    /// A message's way ends; without content it is a handshake.
    Arrive { target: NodeId, from: Peer, message: Option<Bytes> },
    /// The disk has synced.
    FlushEnds { node: NodeId, life: u64 },
    /// Somebody looks whether the log was not written for so long that it may rest.
    Rest { node: NodeId, life: u64 },
    /// Something of a snapshot has come to the disk, by its number.
    KeepEnds { node: NodeId, life: u64, number: u64 },
    /// The state machine has done a piece of work.
    WorkEnds { node: NodeId, life: u64 },
    /// A peer lane has sent what it was given, by its number.
    SendEnds { node: NodeId, life: u64, target: NodeId, number: u64 },
    /// A client has thought of something.
    Ask { client: u64 },
    /// A client waits no longer.
    LoseHope { token: Token },
    /// Something happens to a process, its disk, or all of them.
    Strike,
    /// A disk has room again.
    MakeRoom { node: NodeId },
    /// A clock may leap.
    Slip,
    /// A node that was elected a moment ago is struck.
    Hunt { node: NodeId },
    /// A leader that counts by two majorities loses the old one.
    Split { node: NodeId },
    /// A process starts.
    Start { node: NodeId },
    /// A process that has just started loses its power.
    LosePower { node: NodeId },
    /// The network comes apart.
    ComeApart,
    /// The network is whole again.
    Join,
    /// All faults are over.
    Calm,
    /// Somebody looks whether the cluster has converged.
    Review,
    /// Somebody wants other members.
    Change,
    /// Somebody wants another leader.
    Wish,
    /// The leader is told to take a snapshot, and to purge all of its log that it covers.
    Tidy,
    /// Somebody starts a node in another build.
    Upgrade,
}

impl Happening {
    /// The process that must run for this to happen.
    pub(crate) const fn process(&self) -> Option<NodeId> {
        match self {
            Self::Wake { node, .. }
            | Self::Request { node, .. }
            | Self::Arrive { target: node, .. }
            | Self::FlushEnds { node, .. }
            | Self::Rest { node, .. }
            | Self::WorkEnds { node, .. }
            | Self::KeepEnds { node, .. }
            | Self::SendEnds { node, .. } => Some(*node),
            Self::Ask { .. }
            | Self::LoseHope { .. }
            | Self::Strike
            | Self::MakeRoom { .. }
            | Self::Slip
            | Self::Change
            | Self::Wish
            | Self::Tidy
            | Self::Upgrade
            | Self::Hunt { .. }
            | Self::Split { .. }
            | Self::Start { .. }
            | Self::LosePower { .. }
            | Self::ComeApart
            | Self::Join
            | Self::Calm
            | Self::Review => None,
        }
    }
}
