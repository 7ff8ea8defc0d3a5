//! Who the servers are: the constant `Server` of raft.tla, its subsets, and functions on it.
//!
//! Both collections are sorted vectors. A cluster has a handful of servers, so a scan beats a tree; an empty one
//! costs no allocation, and equal contents are equal values, which is what telling states apart needs.

use std::fmt;

/// The name of a server; any number will do, it is only ever compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(
    /// The number, printed as `s1` for 1.
    pub usize,
);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// A set of servers.
///
/// ```
/// use outrigger_model::{ServerId, ServerSet};
///
/// let votes: ServerSet = [ServerId(2), ServerId(1), ServerId(2)].into_iter().collect();
/// assert_eq!(votes.len(), 2);
/// assert_eq!(votes.to_string(), "{s1, s2}");
/// ```
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerSet {
    /// Strictly ascending, so that equal sets are equal vectors.
    ids: Vec<ServerId>,
}

impl ServerSet {
    /// The set without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { ids: Vec::new() }
    }

    /// The servers s1 to s`count`, the usual cluster of a model.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (1..=count).map(ServerId).collect()
    }

    /// Makes `id` a member.
    pub fn insert(&mut self, id: ServerId) {
        if let Err(place) = self.ids.binary_search(&id) {
            self.ids.insert(place, id);
        }
        debug_assert!(self.ids.is_sorted_by(|a, b| a < b));
    }

    /// Removes every member.
    pub fn clear(&mut self) {
        self.ids.clear();
    }

    /// Whether `id` is a member.
    #[must_use]
    pub fn contains(&self, id: ServerId) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.ids.iter().copied()
    }
}

impl Clone for ServerSet {
    fn clone(&self) -> Self {
        Self { ids: self.ids.clone() }
    }

    /// Keeps the memory that it has: a search copies a state for every step that it looks at.
    fn clone_from(&mut self, source: &Self) {
        self.ids.clone_from(&source.ids);
    }
}

impl FromIterator<ServerId> for ServerSet {
    fn from_iter<I: IntoIterator<Item = ServerId>>(ids: I) -> Self {
        let mut ids: Vec<ServerId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self { ids }
    }
}

impl fmt::Display for ServerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, id) in self.ids.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{id}")?;
        }
        f.write_str("}")
    }
}

/// A function on a set of servers, as `[Server -> T]` in raft.tla. Its domain is fixed when it is made.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerMap<T> {
    /// Strictly ascending by server; one pair for each server of the domain.
    pairs: Vec<(ServerId, T)>,
}

impl<T> ServerMap<T> {
    /// The function that has `value(id)` at each `id` of `domain`.
    pub fn new(domain: &ServerSet, mut value: impl FnMut(ServerId) -> T) -> Self {
        Self { pairs: domain.iter().map(|id| (id, value(id))).collect() }
    }

    /// The value at `id`; `None` outside the domain.
    #[must_use]
    pub fn at(&self, id: ServerId) -> Option<&T> {
        self.pairs.iter().find(|(own, _)| *own == id).map(|(_, value)| value)
    }

    /// The value at `id`, to be changed; `None` outside the domain.
    #[must_use]
    pub fn at_mut(&mut self, id: ServerId) -> Option<&mut T> {
        self.pairs.iter_mut().find(|(own, _)| *own == id).map(|(_, value)| value)
    }

    /// The values, to be changed, ascending by server.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pairs.iter_mut().map(|(_, value)| value)
    }

    /// The servers and their values, ascending by server.
    pub fn iter(&self) -> impl Iterator<Item = (ServerId, &T)> {
        self.pairs.iter().map(|(id, value)| (*id, value))
    }

    /// The servers and their values, to be changed, ascending by server.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ServerId, &mut T)> {
        self.pairs.iter_mut().map(|(id, value)| (*id, value))
    }

    /// The domain, ascending.
    pub fn ids(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.pairs.iter().map(|(id, _)| *id)
    }

    /// The number of servers in the domain.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether the domain is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl<T: Clone> Clone for ServerMap<T> {
    fn clone(&self) -> Self {
        Self { pairs: self.pairs.clone() }
    }

    /// Keeps the memory that it has, and that its values have, if both have as many.
    fn clone_from(&mut self, source: &Self) {
        if self.pairs.len() != source.pairs.len() {
            self.pairs.clone_from(&source.pairs);
            return;
        }
        for ((id, value), (source_id, source_value)) in self.pairs.iter_mut().zip(&source.pairs) {
            *id = *source_id;
            value.clone_from(source_value);
        }
    }
}

impl<T: Copy> ServerMap<T> {
    /// Sets the value of every server to `value`.
    pub fn fill(&mut self, value: T) {
        for (_, own) in &mut self.pairs {
            *own = value;
        }
    }
}

impl<T: fmt::Display> fmt::Display for ServerMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, (id, value)) in self.pairs.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{id}: {value}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_same_value_whatever_the_order_of_insertion() {
        let mut upward = ServerSet::new();
        let mut downward = ServerSet::new();
        for number in 1..=5 {
            upward.insert(ServerId(number));
            downward.insert(ServerId(6 - number));
            downward.insert(ServerId(6 - number));
        }
        assert_eq!(upward, downward);
        assert_eq!(upward, ServerSet::first(5));
        assert!(upward.contains(ServerId(3)) && !upward.contains(ServerId(6)));
    }

    #[test]
    fn a_map_keeps_its_domain() {
        let mut map = ServerMap::new(&ServerSet::first(2), |id| id.0);
        assert_eq!(map.at(ServerId(2)), Some(&2));
        assert_eq!(map.at_mut(ServerId(3)), None);
        map.fill(7);
        assert_eq!(map.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [7, 7]);
    }
}
