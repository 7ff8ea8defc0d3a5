//! One look at an engine, from outside: what the checks see of a node after a step.

use std::fmt;

use outrigger::engine::{Engine, LogId, LogIndex, NodeId, RoleKind, Term, Vote};

use crate::words::or;

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
    /// The entry that says who the members are.
    pub(crate) membership_at: LogId,
    /// To whom it hands leadership over, if it does.
    pub(crate) heir: Option<NodeId>,
    /// Whether it waits for an heir of its leader.
    pub(crate) awaits_heir: bool,
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
            membership_at: engine.membership_at(),
            heir: engine.transferring_to(),
            awaits_heir: engine.awaits_heir(),
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == RoleKind::Leader
    }
}

/// In a sentence about the node.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, role, term, leader, last, flushed, commit, applied, .. } = self;
        let leader = or(leader.map(|leader| format!("node {leader}")), "nobody");
        write!(
            f,
            "node {node} is a {} in term {term} and knows {leader} as its leader; its log ends with ",
            role.name()
        )?;
        write!(f, "{last}, is durable to {flushed}, committed to {commit} and applied to {applied}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::is_plain;

    #[test]
    fn a_node_is_told_in_a_sentence() {
        let mut look = Look {
            node: NodeId(2),
            role: RoleKind::Follower,
            term: Term(3),
            vote: Vote::default(),
            leader: Some(NodeId(1)),
            last: LogId::new(3, 14),
            flushed: LogIndex(13),
            commit: LogIndex(12),
            applied: LogIndex(11),
            membership_at: LogId::ZERO,
            heir: None,
            awaits_heir: false,
        };
        assert_eq!(
            look.to_string(),
            "node 2 is a follower in term 3 and knows node 1 as its leader; its log ends with 3/14, is durable to 13, \
             committed to 12 and applied to 11"
        );
        look.leader = None;
        assert!(
            look.to_string().contains(" and knows nobody as its leader; ") && is_plain(&look.to_string()),
            "{look}"
        );
    }
}
