//! Some nodes, in the order of their ids: a sorted list, for the same reasons as [`NodeMap`](crate::NodeMap).

use std::slice;
use std::vec;

use crate::node_map::FEW;
use crate::types::NodeId;

/// A set of nodes, sorted by id.
///
/// It takes the place of a `BTreeSet<NodeId>`, and is made from one, or from anything else that lists nodes, by `collect`. A
/// cluster has a handful of nodes: a short list is quicker to search, to copy and to throw away than a tree. An insertion into
/// the middle moves what is behind it, which is felt from some thousand nodes on.
///
/// ```
/// use outrigger_engine::{NodeId, NodeSet};
/// let voters: NodeSet = [3, 1, 2, 3].map(NodeId).into();
/// assert!(voters.contains(&NodeId(3)) && !voters.contains(&NodeId(4)));
/// assert!(voters.iter().eq(&[NodeId(1), NodeId(2), NodeId(3)]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSet(
    /// Strictly sorted.
    Vec<NodeId>,
);

impl NodeSet {
    /// Nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Nobody, with room for so many.
    #[must_use]
    pub fn with_capacity(nodes: usize) -> Self {
        Self(Vec::with_capacity(nodes))
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the node is one of them.
    #[must_use]
    pub fn contains(&self, node: &NodeId) -> bool {
        if self.0.len() > FEW { self.0.binary_search(node).is_ok() } else { self.0.contains(node) }
    }

    /// Whether all of these are among those.
    #[must_use]
    pub fn is_subset(&self, those: &Self) -> bool {
        self.0.iter().all(|node| those.contains(node))
    }

    /// Adds a node; answers whether it is new.
    pub fn insert(&mut self, node: NodeId) -> bool {
        // Whoever decodes or collects them comes in order.
        if self.0.last().is_none_or(|last| *last < node) {
            self.0.push(node);
            return true;
        }
        match self.0.binary_search(&node) {
            Ok(_) => false,
            Err(place) => {
                self.0.insert(place, node);
                true
            }
        }
    }

    /// Takes a node out; answers whether it was there.
    pub fn remove(&mut self, node: &NodeId) -> bool {
        self.0.binary_search(node).map(|place| self.0.remove(place)).is_ok()
    }

    /// Keeps only some of them.
    pub fn retain(&mut self, keeps: impl FnMut(&NodeId) -> bool) {
        self.0.retain(keeps);
    }

    /// All of them, lowest id first.
    pub fn iter(&self) -> slice::Iter<'_, NodeId> {
        self.0.iter()
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(all: I) -> Self {
        let mut found = Self::new();
        found.extend(all);
        found
    }
}

impl<const N: usize> From<[NodeId; N]> for NodeSet {
    fn from(all: [NodeId; N]) -> Self {
        all.into_iter().collect()
    }
}

impl Extend<NodeId> for NodeSet {
    fn extend<I: IntoIterator<Item = NodeId>>(&mut self, more: I) {
        let is_in_order = |pair: &[NodeId]| pair[0] < pair[1];
        self.0.extend(more);
        // Not one by one: however many there are, and in whatever order, this takes no longer than to sort them.
        if !self.0.windows(2).all(is_in_order) {
            self.0.sort_unstable();
            self.0.dedup();
        }
        debug_assert!(self.0.windows(2).all(is_in_order), "{self:?}");
    }
}

impl<'a> Extend<&'a NodeId> for NodeSet {
    fn extend<I: IntoIterator<Item = &'a NodeId>>(&mut self, more: I) {
        self.extend(more.into_iter().copied());
    }
}

impl IntoIterator for NodeSet {
    type Item = NodeId;
    type IntoIter = vec::IntoIter<NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a NodeSet {
    type Item = &'a NodeId;
    type IntoIter = slice::Iter<'a, NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_set_in_the_order_of_the_ids() {
        let (mut set, mut tree) = (NodeSet::new(), BTreeSet::new());
        for id in [7, 3, u64::MAX, 0, 3, 9, 7].into_iter().chain(20..20 + 2 * FEW as u64).map(NodeId) {
            assert_eq!(set.insert(id), tree.insert(id), "{id}");
            assert!(set.iter().eq(&tree) && set.clone().into_iter().eq(tree.clone()), "{set:?}");
            assert_eq!((set.len(), set.is_empty()), (tree.len(), false));
            assert!((0..80).map(NodeId).all(|id| set.contains(&id) == tree.contains(&id)), "{set:?}");
        }
        assert_eq!(set, tree.iter().copied().collect());
        for id in (0..60).rev().chain([5]).map(NodeId) {
            assert_eq!(set.remove(&id), tree.remove(&id), "{id}");
            assert!(set.iter().eq(&tree), "{set:?}");
        }
        set.insert(NodeId(4));
        set.retain(|id| id.0 != 4);
        assert_eq!(set, NodeSet::from([NodeId(u64::MAX)]));
    }

    #[test]
    fn it_is_extended_by_whoever_comes_in_whatever_order() {
        for more in [&[4_u64, 5][..], &[3, 4], &[5, 4, 3, 2, 1, 0, 0], &[]] {
            let (mut set, mut tree) = (NodeSet::from([NodeId(1), NodeId(3)]), BTreeSet::from([NodeId(1), NodeId(3)]));
            let more: Vec<NodeId> = more.iter().copied().map(NodeId).collect();
            set.extend(&more);
            tree.extend(&more);
            assert!(set.iter().eq(&tree), "{set:?}");
        }
    }

    #[test]
    fn a_subset_has_nobody_that_the_other_lacks() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<NodeSet>();
        assert!(set(&[]).is_subset(&set(&[])) && set(&[1, 3]).is_subset(&set(&[1, 2, 3])));
        assert!(!set(&[1, 4]).is_subset(&set(&[1, 2, 3])) && !set(&[1]).is_subset(&set(&[])));
    }
}
