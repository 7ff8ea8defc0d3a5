//! Something for each node, in the order of their ids: a sorted list. A cluster has a handful of nodes, and what is known of
//! each is looked up with every message, where a list is quicker to search than a tree, and to go through.

use crate::types::NodeId;

/// So many are looked through one by one.
const FEW: usize = 16;

/// A map from nodes, whatever their ids. As quick as a cluster is small; who has thousands pays for each that is added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeMap<T>(
    /// Strictly sorted by id.
    Vec<(NodeId, T)>,
);

impl<T> Default for NodeMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> NodeMap<T> {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn at(&self, node: &NodeId) -> Option<&T> {
        self.0.get(self.place(*node).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn at_mut(&mut self, node: &NodeId) -> Option<&mut T> {
        let place = self.place(*node).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, node: &NodeId) -> bool {
        self.place(*node).is_ok()
    }

    pub(crate) fn insert(&mut self, node: NodeId, value: T) {
        match self.place(node) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (node, value)),
        }
    }

    /// Makes a value for a node that has none.
    pub(crate) fn insert_if_absent(&mut self, node: NodeId, make: impl FnOnce() -> T) {
        if let Err(place) = self.place(node) {
            self.0.insert(place, (node, make()));
        }
    }

    pub(crate) fn retain(&mut self, keeps: impl Fn(&NodeId) -> bool) {
        self.0.retain(|(node, _)| keeps(node));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &T)> {
        self.0.iter().map(|(node, value)| (node, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut T)> {
        self.0.iter_mut().map(|(node, value)| (&*node, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().map(|(node, _)| node)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
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

impl<T> FromIterator<(NodeId, T)> for NodeMap<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(all: I) -> Self {
        let mut found = Self::default();
        all.into_iter().for_each(|(node, value)| found.insert(node, value));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
            assert_eq!((map.at(&node), map.contains_key(&node)), (tree.get(&node), tree.contains_key(&node)), "{id}");
            assert_eq!(map.at_mut(&node), tree.get_mut(&node), "{id}");
            map.insert_if_absent(node, || 100);
            tree.entry(node).or_insert(100);
        }
        map.retain(|node| node.0 != 3);
        tree.remove(&NodeId(3));
        map.iter_mut().for_each(|(_, at)| *at += 1);
        tree.values_mut().for_each(|at| *at += 1);
        assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()), "{map:?}");
    }
}
