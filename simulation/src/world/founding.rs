//! A cluster is founded once, and nobody says as what before that is committed.
//!
//! Who judged others by an entry that is truncated yet would shut out its own leader, and nodes of two clusters that began with the
//! same members are told apart by nothing else.

use outrigger::engine::{Founding, Membership, NodeId};

use crate::check::{Violation, require};

/// As what the cluster was founded.
#[derive(Debug, Default)]
pub(super) struct Founded {
    committed: Founding,
}

impl Founded {
    /// A membership was committed.
    pub(super) fn commit(&mut self, membership: &Membership) -> Result<(), Violation> {
        let (before, after) = (self.committed, membership.founding());
        require!(
            before == after || !before.is_known(),
            Acquaintance,
            "the cluster was founded as {before}, and its members are now those of one that was founded as {after}"
        );
        self.committed = after;
        Ok(())
    }

    /// What a node says with every message.
    pub(super) fn says(&self, id: NodeId, founding: Founding) -> Result<(), Violation> {
        let committed = self.committed;
        require!(
            !founding.is_known() || founding == committed,
            Acquaintance,
            "node {id} says that its cluster was founded as {founding}, and what is committed is {committed}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refusing;
    use super::*;
    use crate::check::Check;

    #[test]
    fn a_cluster_is_founded_once_and_nobody_knows_of_it_before() {
        let of = |founding| Membership::default().founded(Founding(founding));
        let mut founded = Founded::default();
        assert_eq!(refusing(founded.says(NodeId(1), Founding::UNKNOWN)), None);
        assert_eq!(refusing(founded.says(NodeId(1), Founding(7))), Some(Check::Acquaintance), "it is not committed");
        for founding in [0, 7, 7] {
            assert_eq!(refusing(founded.commit(&of(founding))), None);
        }
        assert_eq!(refusing(founded.says(NodeId(1), Founding(7))), None);
        assert_eq!(refusing(founded.says(NodeId(1), Founding(8))), Some(Check::Acquaintance));
        assert_eq!(refusing(founded.says(NodeId(1), Founding::UNKNOWN)), None, "it need not know it yet");
        for founding in [8, 0] {
            assert_eq!(refusing(founded.commit(&of(founding))), Some(Check::Acquaintance));
        }
    }
}
