//! Something for each node, in the order of their ids: a sorted list. A cluster has a handful of nodes, and what is known of
//! each is looked up with every message, where a list is quicker to search than a tree, and to go through.

use std::ops::Index;
use std::slice;

use crate::types::NodeId;

/// So many are looked through one by one.
pub(crate) const FEW: usize = 16;

/// Something for each of some nodes, sorted by id.
///
/// It takes the place of a `BTreeMap<NodeId, T>`, and is made from one, or from anything else that lists pairs, by `collect`. As
/// quick as a cluster is small: an insertion into the middle moves what is behind it, which is felt from some thousand nodes on.
///
/// ```
/// use outrigger_engine::{NodeId, NodeMap};
/// let racks: NodeMap<&str> = [(NodeId(2), "b"), (NodeId(1), "a")].into_iter().collect();
/// assert_eq!(racks.get(&NodeId(2)), Some(&"b"));
/// assert!(racks.values().eq(&["a", "b"]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeMap<T>(
    /// Strictly sorted by id.
    Vec<(NodeId, T)>,
);

impl<T> Default for NodeMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> NodeMap<T> {
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

    /// What there is of a node.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&T> {
        self.0.get(self.place(*node).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn at_mut(&mut self, node: &NodeId) -> Option<&mut T> {
        let place = self.place(*node).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Whether there is anything of a node.
    #[must_use]
    pub fn contains_key(&self, node: &NodeId) -> bool {
        self.place(*node).is_ok()
    }

    /// The last node, and what there is of it.
    #[must_use]
    pub fn last(&self) -> Option<(&NodeId, &T)> {
        self.0.last().map(|(node, value)| (node, value))
    }

    /// Puts something in for a node, and takes out what was there.
    pub fn insert(&mut self, node: NodeId, value: T) -> Option<T> {
        // Whoever decodes or collects them comes in order.
        if self.0.last().is_none_or(|(last, _)| *last < node) {
            self.0.push((node, value));
            return None;
        }
        match self.place(node) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (node, value));
                None
            }
        }
    }

    /// Makes something for a node that has nothing.
    pub(crate) fn insert_if_absent(&mut self, node: NodeId, make: impl FnOnce() -> T) {
        if let Err(place) = self.place(node) {
            self.0.insert(place, (node, make()));
        }
    }

    /// Takes out what there is of a node.
    pub fn remove(&mut self, node: &NodeId) -> Option<T> {
        let place = self.place(*node).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Keeps only what there is of some of the nodes.
    pub fn retain(&mut self, mut keeps: impl FnMut(&NodeId, &mut T) -> bool) {
        self.0.retain_mut(|(node, value)| keeps(node, value));
    }

    /// Everything, lowest id first.
    #[must_use]
    pub fn iter(&self) -> NodeMapIter<'_, T> {
        NodeMapIter(self.0.iter())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut T)> {
        self.0.iter_mut().map(|(node, value)| (&*node, value))
    }

    /// The nodes, lowest id first.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &NodeId> + Clone {
        self.0.iter().map(|(node, _)| node)
    }

    /// What there is of each, in the order of their ids.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// Where a node stands, or would stand.
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        if self.0.len() > FEW {
            return self.0.binary_search_by_key(&node, |(known, _)| *known);
        }
        match self.0.iter().position(|(known, _)| *known >= node) {
            Some(place) if self.0[place].0 == node => Ok(place),
            Some(place) => Err(place),
            None => Err(self.0.len()),
        }
    }
}

/// Goes through a [`NodeMap`], lowest id first.
#[derive(Clone, Debug)]
pub struct NodeMapIter<'a, T>(slice::Iter<'a, (NodeId, T)>);

impl<'a, T> Iterator for NodeMapIter<'a, T> {
    type Item = (&'a NodeId, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(node, value)| (node, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for NodeMapIter<'_, T> {}

impl<T> Index<&NodeId> for NodeMap<T> {
    type Output = T;

    /// # Panics
    /// If there is nothing of the node.
    fn index(&self, node: &NodeId) -> &T {
        self.get(node).expect("something of the node")
    }
}

impl<'a, T> IntoIterator for &'a NodeMap<T> {
    type Item = (&'a NodeId, &'a T);
    type IntoIter = NodeMapIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for NodeMap<T> {
    type Item = (NodeId, T);
    type IntoIter = std::vec::IntoIter<(NodeId, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> FromIterator<(NodeId, T)> for NodeMap<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(all: I) -> Self {
        let mut found = Self::new();
        found.extend(all);
        found
    }
}

impl<T, const N: usize> From<[(NodeId, T); N]> for NodeMap<T> {
    fn from(all: [(NodeId, T); N]) -> Self {
        all.into_iter().collect()
    }
}

impl<T> Extend<(NodeId, T)> for NodeMap<T> {
    fn extend<I: IntoIterator<Item = (NodeId, T)>>(&mut self, more: I) {
        let is_in_order = |pair: &[(NodeId, T)]| pair[0].0 < pair[1].0;
        self.0.extend(more);
        // Not one by one: however many there are, and in whatever order, this takes no longer than to sort them.
        if !self.0.windows(2).all(is_in_order) {
            // Of one node the last counts, which a sort leaves behind the others, and which is put in the place of each.
            self.0.sort_by_key(|(node, _)| *node);
            self.0.dedup_by(|later, kept| {
                let is_again = later.0 == kept.0;
                if is_again {
                    std::mem::swap(later, kept);
                }
                is_again
            });
        }
        debug_assert!(self.0.windows(2).all(is_in_order), "a node stands twice, or out of order");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn of_a_node_that_comes_twice_the_last_counts_in_whatever_order_they_come() {
        let of = |pairs: &[(u64, u8)]| pairs.iter().map(|(id, value)| (NodeId(*id), *value)).collect::<Vec<_>>();
        for pairs in
            [of(&[(1, 1), (2, 2)]), of(&[(2, 1), (1, 2), (2, 3), (2, 4), (1, 5)]), of(&[(1, 1), (1, 2), (1, 3)])]
        {
            let tree: BTreeMap<NodeId, u8> = pairs.iter().copied().collect();
            let mut map = NodeMap::from([(NodeId(2), 9), (NodeId(3), 9)]);
            assert!(pairs.iter().copied().collect::<NodeMap<u8>>().into_iter().eq(tree.clone()), "{pairs:?}");
            map.extend(pairs);
            let mut both = BTreeMap::from([(NodeId(2), 9), (NodeId(3), 9)]);
            both.extend(tree);
            assert!(map.iter().eq(&both) && map.last() == both.last_key_value(), "{map:?}");
            assert_eq!((map.remove(&NodeId(2)), map.remove(&NodeId(7))), (both.remove(&NodeId(2)), None));
            assert!(map.iter().eq(&both) && map[&NodeId(3)] == 9, "{map:?}");
        }
    }

    #[test]
    fn it_is_a_map_in_the_order_of_the_ids() {
        let (mut map, mut tree) = (NodeMap::default(), BTreeMap::new());
        for (at, id) in [7, 3, u64::MAX, 0, 3, 9, 7].into_iter().enumerate() {
            map.insert(NodeId(id), at);
            tree.insert(NodeId(id), at);
            assert!(map.iter().eq(&tree), "{map:?}");
            assert_eq!((map.len(), map.is_empty()), (tree.len(), false));
        }
        assert_eq!(map, tree.iter().map(|(node, at)| (*node, *at)).collect());
        for id in 0..2 * FEW as u64 {
            let node = NodeId(id);
            assert_eq!((map.get(&node), map.contains_key(&node)), (tree.get(&node), tree.contains_key(&node)), "{id}");
            assert_eq!(map.at_mut(&node), tree.get_mut(&node), "{id}");
            map.insert_if_absent(node, || 100);
            tree.entry(node).or_insert(100);
        }
        map.retain(|node, _| node.0 != 3);
        tree.remove(&NodeId(3));
        map.iter_mut().for_each(|(_, at)| *at += 1);
        tree.values_mut().for_each(|at| *at += 1);
        assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()), "{map:?}");
    }
}
