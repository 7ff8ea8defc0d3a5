//! What a node finds on its disk when it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::membership::Membership;
use crate::snapshot::Snapshot;
use crate::types::{Genesis, Incarnation, LogId, LogIndex, LogTime, NodeId, Vote};

/// What the log lane had made durable before this start; all empty for a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// The vote.
    pub vote: Vote,
    /// The id of the first entry of each term in the log, oldest first.
    pub terms: Vec<LogId>,
    /// The last entry; `purged` when the log is empty.
    pub last: LogId,
    /// What stands before the first entry: it and all before it was purged. [`LogId::ZERO`] when nothing was.
    pub purged: LogId,
    /// The log time of the last entry.
    pub log_time: LogTime,
    /// The commit index as far as it was saved; at most `last.index`.
    pub commit: LogIndex,
    /// The memberships in the log, oldest first, with the entries that they stand in: at least those behind `commit`, which may
    /// yet be truncated, and the last one before them, if the log still holds that.
    pub memberships: Vec<(LogId, Arc<Membership>)>,
    /// The newest snapshot. Its last entry is in the log, or right before the first of the log.
    pub snapshot: Option<Arc<Snapshot>>,
    /// About how many bytes of entries the log holds behind what the snapshot covers: the policy counts on from there.
    pub log_bytes: u64,
    /// Of which cluster the log is, if it says so: by its snapshot, or its first entry.
    pub genesis: Genesis,
    /// The highest life of each peer that was met.
    pub peers: BTreeMap<NodeId, Incarnation>,
}
