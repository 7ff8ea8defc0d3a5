//! What a node is and knows at one moment, for those who watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::membership::Membership;
use crate::types::{LogId, LogIndex, NodeId, Term};
use crate::version::Version;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Receives entries and does not vote for itself.
    Learner,
    /// Receives entries.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped for good.
    Halted,
}

impl RoleKind {
    /// The word for people and machines: `leader`, `follower`, `pre-candidate`, ...
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Halted => "halted",
        }
    }
}

/// How much of a snapshot a follower has that its leader brings it, or has another node bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Brought {
    /// So many of its bytes.
    pub held: u64,
    /// How many there are.
    pub bytes: u64,
}

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which node.
    pub node: NodeId,
    /// What it does.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// The leader of the term, as far as the node knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log, durable or not.
    pub last: LogId,
    /// The last durable index of its log.
    pub flushed: LogIndex,
    /// Whether its disk had finished no write for [`EngineConfig::election_timeout_max`](crate::EngineConfig::election_timeout_max) when
    /// the last event came, although it had one to do: the node does not lead then, nor campaign.
    pub disk_hangs: bool,
    /// What stands before the first entry of its log: it and all before it is in a snapshot only.
    pub purged: LogId,
    /// The last entry that its newest durable snapshot covers.
    pub snapshot: LogId,
    /// Its commit index.
    pub commit: LogIndex,
    /// The last index that the state machine reported as applied.
    pub applied: LogIndex,
    /// The membership that counts.
    pub membership: Arc<Membership>,
    /// The entry that it stands in.
    pub membership_at: LogId,
    /// On a leader: up to which index each other member's log is known to be durable and equal.
    pub matched: BTreeMap<NodeId, LogIndex>,
    /// On a leader: how much of a snapshot each member has that is being brought one, as its log does not reach back to what that one
    /// lacks.
    pub brought: BTreeMap<NodeId, Brought>,
    /// The cluster's version, as far as the node knows it to be committed. It never goes back in one life; what
    /// [`Status::membership`] says may be rolled back yet.
    pub version: Version,
    /// Which version each node speaks, as this one last heard from it in this life of its own; its own too.
    pub versions: BTreeMap<NodeId, Version>,
    /// On a leader: which members keep the cluster from the newest version that any of them speaks, and what each of those was heard to
    /// speak; `None` of who was not heard yet.
    pub version_held_back_by: BTreeMap<NodeId, Option<Version>>,
    /// Which peers have lately refused to listen to this node, and why.
    pub refused_by: BTreeMap<NodeId, String>,
    /// Which peers have lately contradicted what Raft guarantees, so that this node refused to listen to them, and how; and where somebody
    /// else is than the peer that is said to be there.
    pub refuses: BTreeMap<NodeId, String>,
}
