//! What a node finds on its disk when it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::membership::Membership;
use crate::types::{Incarnation, LogId, LogIndex, LogTime, NodeId, Vote};

/// What the log lane had made durable before this start; all empty for a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// The vote.
    pub vote: Vote,
    /// The id of the first entry of each term in the log, oldest first.
    pub terms: Vec<LogId>,
    /// The last entry; [`LogId::ZERO`] when the log is empty.
    pub last: LogId,
    /// The log time of the last entry.
    pub log_time: LogTime,
    /// The commit index as far as it was saved; at most `last.index`.
    pub commit: LogIndex,
    /// The last two memberships in the log, or all, oldest first, with their indexes.
    pub memberships: Vec<(LogIndex, Arc<Membership>)>,
    /// The highest life of each peer that was met.
    pub peers: BTreeMap<NodeId, Incarnation>,
}
