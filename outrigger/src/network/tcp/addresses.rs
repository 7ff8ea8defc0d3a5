//! Where clients reach the nodes that were met, as each life of theirs said in its handshake.
//!
//! Whoever shakes hands may say that it is any node; the engine judges that only then. So nothing of an earlier life is forgotten
//! before the later one proves to be heard: once that is refused, what the earlier one said counts again.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_engine::{NodeId, Peer};

/// So many lives of a node are kept. More come only while refusals are under way.
const LIVES_MAX: usize = 4;

/// What handshakes said.
#[derive(Debug, Default)]
pub(super) struct ClientAddresses {
    /// The other members, as far as this node knows.
    members: BTreeSet<NodeId>,
    /// The lives of each node that were not refused, and where their clients go; the one that was met last comes last. Never empty,
    /// one for each directory, at most `LIVES_MAX`.
    known: BTreeMap<NodeId, Vec<(Peer, String)>>,
}

impl ClientAddresses {
    /// A life has shaken hands.
    pub(super) fn met(&mut self, peer: Peer, address: String) {
        let lives = self.known.entry(peer.node).or_default();
        lives.retain(|(life, _)| life.incarnation.id != peer.incarnation.id);
        if lives.len() == LIVES_MAX {
            // The first one is the surest: nobody has refused it for the longest time.
            lives.remove(1);
        }
        lives.push((peer, address));
        assert!(lives.len() <= LIVES_MAX, "{} lives of node {} are kept", lives.len(), peer.node);
    }

    /// Nothing that this life said counts.
    pub(super) fn refuse(&mut self, peer: Peer) {
        if let Some(lives) = self.known.get_mut(&peer.node) {
            lives.retain(|(life, _)| !life.is_same_life(&peer));
            if lives.is_empty() {
                self.known.remove(&peer.node);
            }
        }
    }

    /// From now on these are the other members.
    pub(super) fn set_members(&mut self, members: impl Iterator<Item = NodeId>) {
        self.members = members.collect();
    }

    /// Forgets who is no member unless it is connected: then it may be one of whom this node is yet to hear.
    pub(super) fn forget_strangers(&mut self, is_connected: impl Fn(NodeId) -> bool) {
        let Self { members, known } = self;
        known.retain(|node, _| members.contains(node) || is_connected(*node));
    }

    /// Where clients reach each node.
    pub(super) fn newest(&self) -> BTreeMap<NodeId, String> {
        self.known.iter().filter_map(|(node, lives)| Some((*node, lives.last()?.1.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::Incarnation;

    use super::*;

    fn life(node: u64, directory: u64, start: u64) -> Peer {
        Peer::new(NodeId(node), Incarnation { id: directory, start, nonce: start })
    }

    fn newest(addresses: &ClientAddresses) -> Vec<(u64, String)> {
        addresses.newest().into_iter().map(|(node, address)| (node.0, address)).collect()
    }

    #[test]
    fn what_a_refused_life_said_gives_way_to_what_was_said_before() {
        let mut addresses = ClientAddresses::default();
        addresses.met(life(2, 1, 1), "real:1".into());
        addresses.met(life(2, 7, 1), "wiped:1".into());
        addresses.refuse(life(2, 7, 1));
        assert_eq!(newest(&addresses), [(2, "real:1".into())]);
        // A later start of the same directory takes the place of the earlier one.
        addresses.met(life(2, 1, 2), "real:2".into());
        addresses.refuse(life(2, 1, 2));
        assert_eq!(newest(&addresses), []);
    }

    #[test]
    fn however_many_pretend_to_be_a_node_it_is_remembered() {
        let mut addresses = ClientAddresses::default();
        addresses.met(life(2, 1, 1), "real:1".into());
        (10..30).for_each(|directory| addresses.met(life(2, directory, 1), "wiped:1".into()));
        (10..30).for_each(|directory| addresses.refuse(life(2, directory, 1)));
        assert_eq!(newest(&addresses), [(2, "real:1".into())]);
    }
}
