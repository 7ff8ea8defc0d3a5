//! Quorums: what a majority, and a joint configuration of two, has committed and how it has voted.
//!
//! A joint configuration decides only what both of its majorities decide (thesis, section 4.3). Everything here is
//! computed by definition, not by a cunning scan: it is short, and a test compares it with brute force.

use std::fmt::Write;

use crate::node_set::NodeSet;
use crate::types::{LogIndex, NodeId};

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteResult {
    /// So many refused that it cannot be won any more.
    Lost,
    /// It depends on those who have not voted yet.
    Pending,
    /// A quorum said yes.
    Won,
}

/// A set of voters that decides by more than half. An empty set decides everything: it stands for the absent half of
/// a joint configuration and must not hinder the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Majority<'a>(pub &'a NodeSet);

impl Majority<'_> {
    /// How many voters are more than half of them; 0 of nobody.
    ///
    /// ```
    /// use outrigger_engine::{Majority, NodeId};
    /// let five = (1..=5).map(NodeId).collect();
    /// assert_eq!(Majority(&five).size(), 3);
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        mutate!(quorum_of_half, return self.0.len().div_ceil(2));
        match self.0.len() {
            0 => 0,
            voters => voters / 2 + 1,
        }
    }

    /// The highest index that more than half of the voters hold durably (Raft paper, section 5.3), where `matched` tells
    /// how far a voter does. Of nobody: the highest index there is.
    ///
    /// ```
    /// use outrigger_engine::{LogIndex, Majority, NodeId};
    /// let three = (1..=3).map(NodeId).collect();
    /// let matched = |node: NodeId| LogIndex(10 * node.0);
    /// assert_eq!(Majority(&three).committed_index(matched), LogIndex(20));
    /// ```
    #[must_use]
    pub fn committed_index(&self, matched: impl Fn(NodeId) -> LogIndex) -> LogIndex {
        // Asked for at every acknowledgement: clusters of a sane size cost no allocation.
        let (mut few, mut many) = ([LogIndex::ZERO; 9], Vec::new());
        let indexes = match self.0.len() {
            0 => return LogIndex(u64::MAX),
            voters if voters <= few.len() => &mut few[..voters],
            voters => {
                many.resize(voters, LogIndex::ZERO);
                &mut many[..]
            }
        };
        indexes.iter_mut().zip(self.0).for_each(|(index, node)| *index = matched(*node));
        mutate!(quorum_unsorted, return indexes[self.size() - 1]);
        indexes.sort_unstable_by(|a, b| b.cmp(a));
        indexes[self.size() - 1]
    }

    /// How the vote stands, where `votes` tells how a voter voted; `None` if it has not.
    #[must_use]
    pub fn vote_result(&self, votes: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        let count = |wanted| self.0.iter().filter(|node| votes(**node) == Some(wanted)).count();
        let (granted, refused) = (count(true), count(false));
        if granted >= self.size() {
            VoteResult::Won
        } else if self.0.len() - refused >= self.size() {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        }
    }

    /// Who holds how much and why that makes the committed index, for people: a line per voter, highest index first.
    ///
    /// ```
    /// use outrigger_engine::{LogIndex, Majority, NodeId};
    /// let three = (1..=3).map(NodeId).collect();
    /// let text = Majority(&three).describe(|node| LogIndex(10 * node.0));
    /// assert_eq!(text, "node 3 holds 30\nnode 2 holds 20 <- committed: 2 of 3 hold it\nnode 1 holds 10\n");
    /// ```
    #[must_use]
    pub fn describe(&self, matched: impl Fn(NodeId) -> LogIndex) -> String {
        let mut held: Vec<(LogIndex, NodeId)> = self.0.iter().map(|node| (matched(*node), *node)).collect();
        if held.is_empty() {
            return "nobody votes: everything is committed\n".into();
        }
        held.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(b.1.cmp(&a.1)));
        let mut text = String::new();
        for (place, (index, node)) in held.iter().enumerate() {
            let _ = write!(text, "node {node} holds {index}");
            if place + 1 == self.size() {
                let _ = write!(text, " <- committed: {} of {} hold it", self.size(), held.len());
            }
            text.push('\n');
        }
        text
    }
}

/// Two majorities that must agree; while no change is under way, `outgoing` is empty and `incoming` decides alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint<'a> {
    /// The voters after the change.
    pub incoming: Majority<'a>,
    /// The voters before the change.
    pub outgoing: Majority<'a>,
}

impl Joint<'_> {
    /// The highest index that a majority of each half holds durably.
    #[must_use]
    pub fn committed_index(&self, matched: impl Fn(NodeId) -> LogIndex) -> LogIndex {
        mutate!(joint_commits_by_new_voters, return self.incoming.committed_index(&matched));
        mutate!(joint_commits_by_old_voters if !self.outgoing.0.is_empty(), return self.outgoing.committed_index(matched));
        self.incoming.committed_index(&matched).min(self.outgoing.committed_index(&matched))
    }

    /// Won when each half has won it, lost when either has lost it.
    #[must_use]
    pub fn vote_result(&self, votes: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        mutate!(joint_elects_by_new_voters, return self.incoming.vote_result(&votes));
        mutate!(joint_elects_by_old_voters if !self.outgoing.0.is_empty(), return self.outgoing.vote_result(votes));
        self.incoming.vote_result(&votes).min(self.outgoing.vote_result(&votes))
    }

    /// Both halves as [`Majority::describe`] tells them.
    #[must_use]
    pub fn describe(&self, matched: impl Fn(NodeId) -> LogIndex) -> String {
        if self.outgoing.0.is_empty() {
            return self.incoming.describe(matched);
        }
        let committed = self.committed_index(&matched);
        let (incoming, outgoing) = (self.incoming.describe(&matched), self.outgoing.describe(&matched));
        format!("incoming:\n{incoming}outgoing:\n{outgoing}joint: both hold {committed}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> NodeSet {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    /// By brute force: the highest index for which some set of more than half of the voters holds it.
    fn committed_by_definition(held: &[u64]) -> u64 {
        (0..=9).rev().find(|index| 2 * held.iter().filter(|h| *h >= index).count() > held.len()).unwrap()
    }

    #[test]
    fn committed_index_is_what_the_definition_says_for_every_small_majority() {
        for size in 1..=5_usize {
            let voters: NodeSet = (0..size as u64).map(NodeId).collect();
            for case in 0..4_u64.pow(u32::try_from(size).unwrap()) {
                let held: Vec<u64> = (0..size).map(|i| case / 4_u64.pow(u32::try_from(i).unwrap()) % 4).collect();
                let matched = |node: NodeId| LogIndex(held[usize::try_from(node.0).unwrap()]);
                assert_eq!(Majority(&voters).committed_index(matched).0, committed_by_definition(&held), "{held:?}");
            }
        }
    }

    #[test]
    fn a_vote_is_won_by_more_than_half_and_lost_when_that_is_out_of_reach() {
        let result = |voters: &[u64], yes: &[u64], no: &[u64]| {
            let (voters, yes, no) = (set(voters), set(yes), set(no));
            let vote = |id| if yes.contains(&id) { Some(true) } else { no.contains(&id).then_some(false) };
            Majority(&voters).vote_result(vote)
        };
        assert_eq!(result(&[], &[], &[]), VoteResult::Won);
        assert_eq!(result(&[1], &[], &[]), VoteResult::Pending);
        assert_eq!(result(&[1, 2], &[1], &[]), VoteResult::Pending);
        assert_eq!(result(&[1, 2], &[1], &[2]), VoteResult::Lost);
        assert_eq!(result(&[1, 2, 3], &[1, 2], &[]), VoteResult::Won);
        assert_eq!(result(&[1, 2, 3], &[1], &[2, 3]), VoteResult::Lost);
        assert_eq!(result(&[1, 2, 3, 4], &[1, 2], &[]), VoteResult::Pending);
        assert_eq!(result(&[1, 2, 3, 4], &[1, 2], &[3, 4]), VoteResult::Lost);
        assert_eq!(result(&[1, 2, 3], &[1, 7, 8, 9], &[]), VoteResult::Pending, "strangers do not count");
    }

    #[test]
    fn a_joint_configuration_decides_what_both_halves_decide() {
        let (incoming, outgoing, nobody) = (set(&[1, 2, 4]), set(&[1, 2, 3]), set(&[]));
        let joint = Joint { incoming: Majority(&incoming), outgoing: Majority(&outgoing) };
        let matched = |node: NodeId| LogIndex([0, 9, 2, 7, 5][usize::try_from(node.0).unwrap()]);
        assert_eq!(joint.committed_index(matched), LogIndex(5));
        assert_eq!(joint.vote_result(|id| [1, 3].contains(&id.0).then_some(true)), VoteResult::Pending);
        assert_eq!(joint.vote_result(|id| Some(id.0 != 3 && id.0 != 2)), VoteResult::Lost);
        assert_eq!(joint.vote_result(|id| [1, 2].contains(&id.0).then_some(true)), VoteResult::Won);
        let stable = Joint { incoming: Majority(&incoming), outgoing: Majority(&nobody) };
        assert_eq!(stable.committed_index(matched), LogIndex(5));
        assert!(joint.describe(matched).ends_with("joint: both hold 5\n"));
    }
}
