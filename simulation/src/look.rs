//! One look at an engine, from outside: what the checks see of a node after a step.

use outrigger::engine::{Engine, LogId, LogIndex, NodeId, RoleKind, Term, Vote};

/// What is to be seen of a node. Taken once a step, so it holds nothing that is dear to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) node: NodeId,
    pub(crate) role: RoleKind,
    pub(crate) term: Term,
    pub(crate) vote: Vote,
    /// Who leads, as far as it knows.
    pub(crate) leader: Option<NodeId>,
    /// The last entry of its log, durable or not.
    pub(crate) last: LogId,
    /// Up to here its log is durable.
    pub(crate) flushed: LogIndex,
    pub(crate) commit: LogIndex,
    pub(crate) applied: LogIndex,
}

impl Look {
    pub(crate) fn at(node: NodeId, engine: &Engine) -> Self {
        let (term, leader) = engine.leadership();
        Self {
            node,
            role: engine.role_kind(),
            term,
            vote: engine.vote(),
            leader,
            last: engine.last_log_id(),
            flushed: engine.flushed_index(),
            commit: engine.commit_index(),
            applied: engine.applied(),
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == RoleKind::Leader
    }
}
