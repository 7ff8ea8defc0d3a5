//! Nodes in one process: a message is one call, without queue, copy or task. For tests, and to measure everything else.
//!
//! ```text
//!   transport of 1 ── links of 1: { 2: ─┐  3: ─┐ } ──► Receive of 2, Receive of 3
//!                                       │      │
//!   InProcessNetwork  changes all links when a node starts, stops, or a link is cut or healed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};

use outrigger_engine::{Message, Node, NodeId, NodeMap, Peer, PeerRefusal, Version};

use super::{Local, Receive, Transport};

/// What connects the nodes of one process; cheap to clone. Links can be cut and healed, for tests.
///
/// ```
/// use outrigger::network::InProcessNetwork;
/// use outrigger::engine::NodeId;
///
/// let network = InProcessNetwork::default();
/// let transports = [network.transport(), network.transport(), network.transport()];
/// // ... three nodes, each started with one of them ...
/// network.cut(NodeId(1), NodeId(2));
/// network.heal();
/// # drop(transports);
/// ```
#[derive(Clone, Default)]
pub struct InProcessNetwork {
    /// Who is there and who may talk to whom.
    hub: Arc<Mutex<Hub>>,
}

/// One node's end of an [`InProcessNetwork`].
///
/// A life that is [refused](Transport::refuse) stays disconnected until the peers are told again, or its claim or its life is
/// another, unless it is for its build.
pub struct InProcessTransport {
    /// What it is part of.
    network: InProcessNetwork,
    /// Who this is, and whom it reaches; set by `start`.
    own: OnceLock<(Local, Arc<Links>)>,
    /// As whom it speaks, once it has learnt more of that than it started with.
    signature: Mutex<Option<Peer>>,
}

/// Whom a node reaches. Only the hub changes it, and a node's own tasks read it: nobody waits for anybody.
type Links = RwLock<BTreeMap<NodeId, (Arc<dyn Receive>, Version)>>;

#[derive(Default)]
struct Hub {
    /// The nodes that have started and not stopped.
    stations: BTreeMap<NodeId, Station>,
    /// Pairs that do not reach each other, the smaller id first.
    cut: BTreeSet<(NodeId, NodeId)>,
}

struct Station {
    /// What the node said when it started.
    local: Local,
    /// Takes what arrives.
    receive: Arc<dyn Receive>,
    /// Whom it wants to talk to.
    peers: BTreeSet<NodeId>,
    /// Whom it reaches, and in which life; `links` holds the same nodes.
    reached: BTreeMap<NodeId, Peer>,
    /// Shared with the transport.
    links: Arc<Links>,
    /// Lives that it refuses.
    refused: BTreeSet<Peer>,
}

/// A handshake to deliver once no lock is held.
type Handshake = (Arc<dyn Receive>, Peer);

impl InProcessNetwork {
    /// A node's end; the node says who it is when it starts.
    #[must_use]
    pub fn transport(&self) -> InProcessTransport {
        InProcessTransport { network: self.clone(), own: OnceLock::new(), signature: Mutex::default() }
    }

    /// Cuts the link between two nodes, in both directions.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        self.change(|hub| {
            hub.cut.insert(pair(one, other));
        });
    }

    /// Cuts all links of a node that has started, to all that have.
    pub fn isolate(&self, node: NodeId) {
        self.change(|hub| {
            let others: Vec<_> = hub.stations.keys().filter(|other| **other != node).map(|o| pair(node, *o)).collect();
            hub.cut.extend(others);
        });
    }

    /// Heals every link.
    pub fn heal(&self) {
        self.change(|hub| hub.cut.clear());
    }

    fn change(&self, change: impl FnOnce(&mut Hub)) {
        let handshakes = {
            let mut hub = self.lock();
            change(&mut hub);
            hub.connect()
        };
        for (receive, peer) in handshakes {
            receive.receive(peer, None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

impl Hub {
    /// Makes every node's links what they should be, and tells which handshakes follow from that.
    fn connect(&mut self) -> Vec<Handshake> {
        let mut handshakes = Vec::new();
        let nodes: Vec<NodeId> = self.stations.keys().copied().collect();
        for node in nodes {
            let Some(station) = self.stations.get(&node) else { continue };
            let reached: BTreeMap<NodeId, &Station> = station
                .peers
                .iter()
                .filter_map(|peer| self.stations.get_key_value(peer))
                .filter(|(peer, other)| self.talk(station, **peer, other))
                .map(|(peer, other)| (*peer, other))
                .collect();
            for (peer, other) in &reached {
                if station.reached.get(peer) != Some(&other.local.peer) {
                    handshakes.push((Arc::clone(&other.receive), station.local.peer));
                    handshakes.push((Arc::clone(&station.receive), other.local.peer));
                }
            }
            let link = |other: &Station| (Arc::clone(&other.receive), other.local.peer.version);
            let links = reached.iter().map(|(peer, other)| (*peer, link(other))).collect();
            let reached = reached.iter().map(|(peer, other)| (*peer, other.local.peer)).collect();
            *station.links.write().unwrap_or_else(PoisonError::into_inner) = links;
            if let Some(station) = self.stations.get_mut(&node) {
                station.reached = reached;
            }
        }
        handshakes
    }

    /// What the handshake of another transport would judge.
    fn talk(&self, one: &Station, peer: NodeId, other: &Station) -> bool {
        let (a, b) = (&one.local, &other.local);
        let same_cluster = !a.peer.genesis.contradicts(b.peer.genesis) && !a.peer.founding.contradicts(b.peer.founding);
        let refused = one.refused.contains(&b.peer) || other.refused.contains(&a.peer);
        a.peer.node != peer
            && a.cluster == b.cluster
            && same_cluster
            && !refused
            && !self.cut.contains(&pair(a.peer.node, peer))
    }
}

impl InProcessTransport {
    fn signature(&self) -> Option<Peer> {
        *self.signature.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_own(&self, change: impl FnOnce(&mut Station)) {
        let Some((local, links)) = self.own.get() else { return };
        self.network.change(|hub| {
            // A later life of the same node may have taken the place.
            if let Some(station) = hub.stations.get_mut(&local.peer.node).filter(|s| Arc::ptr_eq(&s.links, links)) {
                change(station);
            }
        });
    }
}

impl Transport for InProcessTransport {
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> io::Result<()> {
        let links = Arc::new(Links::default());
        let node = local.peer.node;
        if self.own.set((local.clone(), Arc::clone(&links))).is_err() {
            return Err(io::Error::other("a transport starts once"));
        }
        let (peers, reached, refused) = Default::default();
        self.network.change(|hub| {
            hub.stations.insert(node, Station { local, receive, peers, reached, links, refused });
        });
        Ok(())
    }

    fn set_peers(&self, peers: &NodeMap<Node>) {
        self.change_own(|station| {
            // Whom it refused, it judged by what it knew of the members before.
            station.refused.clear();
            station.peers = peers.keys().copied().collect();
        });
    }

    fn sign(&self, signature: Peer) {
        let before = self.signature.lock().unwrap_or_else(PoisonError::into_inner).replace(signature);
        if before != Some(signature) {
            // Another claim may be heard where the last one was refused: that is another handshake.
            self.change_own(|station| station.local.peer = signature);
        }
    }

    fn answer(&self, peer: Peer) {
        let is_done = self.own.get().is_some_and(|(local, _)| {
            let hub = self.network.lock();
            let own = hub.stations.get(&local.peer.node);
            own.is_some_and(|own| own.peers.contains(&peer.node) && !own.refused.contains(&peer))
        });
        // The links of all would be looked at for nothing.
        if is_done {
            return;
        }
        self.change_own(|station| {
            station.refused.remove(&peer);
            station.peers.insert(peer.node);
        });
    }

    fn send(&self, target: NodeId, message: Message) {
        let Some((local, links)) = self.own.get() else { return };
        // The lock is gone before the call: who receives may send in turn.
        let link = links.read().unwrap_or_else(PoisonError::into_inner).get(&target).cloned();
        // Who is there may be another than the engine has heard, in an older build.
        if let Some((receive, _)) = link.filter(|(_, spoken)| message.since() <= *spoken) {
            receive.receive(self.signature().unwrap_or(local.peer), Some(message));
        }
    }

    fn poll_ready(&self, _target: NodeId, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn send_bulk(&self, target: NodeId, message: Message) {
        self.send(target, message);
    }

    fn refuse(&self, peer: Peer, reason: PeerRefusal) {
        // Whose build is too old is heard again as soon as the cluster turns out to have an older version.
        let mut is_first = matches!(reason, PeerRefusal::TooOld { .. });
        if !is_first {
            self.change_own(|station| is_first = station.refused.insert(peer));
        }
        let Some((local, _)) = self.own.get().filter(|_| is_first) else { return };
        let station = {
            let hub = self.network.lock();
            hub.stations
                .get(&peer.node)
                .filter(|other| other.local.peer.is_same_life(&peer))
                .map(|other| Arc::clone(&other.receive))
        };
        if let Some(receive) = station {
            receive.refused(local.peer, reason.met(), reason.to_string());
        }
    }

    fn client_addresses(&self) -> BTreeMap<NodeId, String> {
        let hub = self.network.lock();
        let Some(station) = self.own.get().and_then(|(local, _)| hub.stations.get(&local.peer.node)) else {
            return BTreeMap::new();
        };
        let known = station.reached.keys().filter_map(|node| hub.stations.get_key_value(node));
        known.filter_map(|(node, other)| Some((*node, other.local.client_address.clone()?))).collect()
    }

    fn stop(&self) {
        let Some((local, links)) = self.own.get() else { return };
        let mut stopped = None;
        self.network.change(|hub| {
            if hub.stations.get(&local.peer.node).is_some_and(|station| Arc::ptr_eq(&station.links, links)) {
                stopped = hub.stations.remove(&local.peer.node);
            }
        });
        links.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for InProcessTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
