//! Something for each node: nodes are numbered from 1, so a list finds it faster than a map.

use outrigger::engine::NodeId;

/// A map from nodes, whose ids are small. Two are equal where nothing was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByNode<T>(Vec<Option<T>>);

impl<T> ByNode<T> {
    pub(crate) fn at(&self, node: NodeId) -> Option<&T> {
        self.0.get(place(node))?.as_ref()
    }

    /// Answers with what was there.
    pub(crate) fn insert(&mut self, node: NodeId, value: T) -> Option<T> {
        assert!(node > NodeId(0), "nodes are numbered from 1");
        let place = place(node);
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place].replace(value)
    }

    pub(crate) fn remove(&mut self, node: NodeId) -> Option<T> {
        self.0.get_mut(place(node))?.take()
    }

    pub(crate) fn at_mut(&mut self, node: NodeId) -> Option<&mut T> {
        self.0.get_mut(place(node))?.as_mut()
    }

    /// In the order of the nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> {
        (1..).map(NodeId).zip(&self.0).filter_map(|(node, value)| Some((node, value.as_ref()?)))
    }

    /// In the order of the nodes.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// In the order of the nodes.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flatten()
    }
}

impl<T> FromIterator<(NodeId, T)> for ByNode<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(all: I) -> Self {
        let mut found = Self::default();
        for (node, value) in all {
            found.insert(node, value);
        }
        found
    }
}

impl<T> Default for ByNode<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Where a node stands in a list of all. The id 0 is nobody's: no list has that place.
pub(crate) fn place(node: NodeId) -> usize {
    usize::try_from(node.0.wrapping_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_and_zero_is_none() {
        let mut names = ByNode::default();
        assert_eq!((names.insert(NodeId(3), 'c'), names.insert(NodeId(1), 'a')), (None, None));
        assert_eq!([0, 1, 2, 3, 4].map(|id| names.at(NodeId(id)).copied()), [None, Some('a'), None, Some('c'), None]);
        assert_eq!(
            (names.insert(NodeId(3), 'C'), names.remove(NodeId(3)), names.remove(NodeId(3))),
            (Some('c'), Some('C'), None)
        );
        assert_eq!((names.remove(NodeId(0)), names.remove(NodeId(9))), (None, None));
        assert!(ByNode::from_iter([(NodeId(2), 'b'), (NodeId(1), 'a')]).into_values().eq(['a', 'b']));
    }
}
