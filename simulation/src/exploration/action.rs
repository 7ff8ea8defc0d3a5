//! What an explorer can do in one step: let one thing happen to one node, and choose which of the messages that the node
//! sends will ever arrive.

use std::fmt;
use std::sync::Arc;

use outrigger::engine::{Lapse, LogIndex, NodeId, Token};

use super::network::Envelope;
use super::node::{Effects, Node};
use crate::check::Violation;

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    /// Time passes, as far as this needs.
    Elapse(Lapse),
    /// Time passes, and that is all: the next event finds it so.
    Pass(Lapse),
    /// Time passes without any sign from the followers, until the leader looks.
    QuorumSilent,
    /// A message arrives.
    Receive {
        envelope: Arc<Envelope>,
        /// Whether the leader counts as silent when it does.
        leader_silent: bool,
    },
    /// A write becomes durable.
    Flush,
    /// The process dies, and starts from its disk.
    Crash {
        /// So many of the pending writes are durable.
        kept: usize,
        /// What the disk says of the commit index.
        commit: LogIndex,
    },
    /// A caller of a leader wants an entry in the log.
    Propose(Token),
    /// A caller of a follower does.
    Forward(Token),
    /// A caller wants to read.
    Read(Token),
}

impl Cause {
    /// What it is called.
    const fn name(&self) -> &'static str {
        match self {
            Self::Elapse(Lapse::Election) => "election",
            Self::Elapse(Lapse::Heartbeat) => "heartbeat",
            Self::Elapse(Lapse::Forward) => "forward given up",
            Self::Elapse(Lapse::Question) => "question asked again",
            Self::Elapse(_) => "time",
            Self::Pass(Lapse::Lease) => "lease over",
            Self::Pass(Lapse::Pledge) => "pledge over",
            Self::Pass(_) => "time passes",
            Self::QuorumSilent => "quorum silent",
            Self::Receive { leader_silent: true, .. } => "leader silent",
            Self::Receive { .. } => "receive",
            Self::Flush => "flush",
            Self::Crash { .. } => "crash",
            Self::Propose(_) => "propose",
            Self::Forward(_) => "forward",
            Self::Read(_) => "read",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Crash { kept, commit } => write!(f, " keeps {kept} writes, commit {commit}"),
            Self::Propose(token) | Self::Forward(token) | Self::Read(token) => write!(f, " {token}"),
            Self::Elapse(_) | Self::Pass(_) | Self::QuorumSilent | Self::Receive { .. } | Self::Flush => Ok(()),
        }
    }
}

/// What a node becomes, and what it says.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) node: Arc<Node>,
    pub(super) effects: Effects,
    /// What went wrong, if anything did; then the others are as far as they came.
    pub(super) violation: Option<Violation>,
}

/// One thing happens to one node, and of what the node says some is lost.
///
/// Its text names it in a script: `n1 election`, `n2 receive 0, loses 1`, where messages on their way and those that are sent
/// are counted from 0.
#[derive(Clone, Debug)]
pub struct Action {
    pub(super) id: NodeId,
    pub(super) cause: Cause,
    /// The place in the network of the message that arrives, if one does.
    pub(super) place: Option<usize>,
    /// Whether it is on its way still, as a copy of it.
    pub(super) leaves_copy: bool,
    /// Of the messages that are sent, those that never arrive: a bit each.
    pub(super) lost: u32,
    /// What comes of it; the same for all choices of what is lost.
    pub(super) outcome: Arc<Outcome>,
}

impl Action {
    /// What it is counted as.
    pub(super) const fn name(&self) -> &'static str {
        if self.leaves_copy { "duplicate" } else { self.cause.name() }
    }

    /// Whether the message that is sent at this place is lost.
    pub(super) const fn loses(&self, place: usize) -> bool {
        self.lost >> place & 1 == 1
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{} {}", self.id, self.cause)?;
        self.place.iter().try_for_each(|place| write!(f, " {place}"))?;
        f.write_str(if self.leaves_copy { " and leave a copy" } else { "" })?;
        if self.lost > 0 {
            f.write_str(", loses")?;
            (0..32).filter(|place| self.loses(*place)).try_for_each(|place| write!(f, " {place}"))?;
        }
        Ok(())
    }
}
