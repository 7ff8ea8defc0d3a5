//! The network: connections that are made, break and are made again, and what becomes of the messages on them.
//!
//! ```text
//!   send ──► codec ──► bytes ──┬── lost: by chance, by a cut, for want of a connection
//!                              ├── on its way ──► arrives, if its connection still stands
//!                              ├── arrives late, whatever has become of connection and sender
//!                              └── arrives twice
//! ```
//!
//! One task carries everything, in the order of arrival: nothing depends on which task wakes first. A message that was
//! sent over a connection is lost with it; one that strays arrives even in another life of its target.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use outrigger::engine::{Message, Node, NodeId, NodeMap, Peer, PeerRefusal};
use outrigger::network::{Local, Receive, Transport, codec, frame};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::plan::Plan;
use crate::rng::Rng;
use crate::trace::{Trace, hash};

/// All that connects the nodes.
pub(crate) struct Network {
    inside: Mutex<Inside>,
    /// Rings when something is on its way that may arrive before all else.
    bell: Notify,
    trace: Trace,
    plan: Arc<Plan>,
}

struct Inside {
    /// Decides what becomes of each message.
    rng: Rng,
    /// Whether messages are not lost, doubled and held up any more.
    is_healed: bool,
    /// The nodes that run.
    stations: BTreeMap<NodeId, Station>,
    /// The connections that stand, the smaller id first, each with a number that no other ever has.
    links: BTreeMap<(NodeId, NodeId), u64>,
    next_link: u64,
    /// Directions in which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which nothing arrives before then: the peer does not read, and lanes fill up.
    stalled: BTreeMap<(NodeId, NodeId), Duration>,
    /// Bulk messages on their way, by direction.
    lanes: BTreeMap<(NodeId, NodeId), Lane>,
    /// What is due when, in order; the second number makes each key its own.
    due: BTreeMap<(Duration, u64), Due>,
    next_due: u64,
}

struct Station {
    local: Local,
    receive: Arc<dyn Receive>,
    /// Whom it wants to talk to.
    peers: BTreeSet<NodeId>,
}

#[derive(Default)]
struct Lane {
    /// How many messages are on their way over the connection that stands.
    messages: usize,
    /// Who waits for room.
    wakers: Vec<Waker>,
}

enum Due {
    /// Two nodes try to connect.
    Dial(NodeId, NodeId),
    Message {
        from: Peer,
        target: NodeId,
        /// The connection that it needs; none if it strays.
        link: Option<u64>,
        /// Whether it takes room in the bulk lane.
        is_bulk: bool,
        bytes: Bytes,
    },
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

impl Network {
    pub(crate) fn new(rng: Rng, plan: Arc<Plan>, trace: Trace) -> Self {
        let inside = Inside {
            rng,
            is_healed: false,
            stations: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            cut: BTreeSet::new(),
            stalled: BTreeMap::new(),
            lanes: BTreeMap::new(),
            due: BTreeMap::new(),
            next_due: 0,
        };
        Self { inside: Mutex::new(inside), bell: Notify::new(), trace, plan }
    }

    /// Carries everything, for ever.
    pub(crate) async fn carry(self: Arc<Self>) {
        loop {
            let rung = self.bell.notified();
            let next = self.lock().due.first_key_value().map(|((at, _), _)| *at);
            match next {
                None => rung.await,
                Some(at) if at > self.trace.now() => drop(timeout_at(self.trace.at(at), rung).await),
                Some(_) => {
                    self.arrive();
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Cuts directions, in one of the ways in which networks come apart; some connections break over it.
    pub(crate) fn come_apart(&self, rng: &mut Rng) {
        let nodes: Vec<NodeId> = (1..=self.plan.nodes).map(NodeId).collect();
        let lonely = *rng.pick(&nodes);
        let (kind, is_deaf) = (rng.below(4), rng.chance(500_000));
        let side: BTreeSet<NodeId> = nodes.iter().copied().filter(|_| rng.chance(500_000)).collect();
        let ways = nodes.iter().flat_map(|from| nodes.iter().map(|target| (*from, *target)));
        let cut: BTreeSet<_> = ways
            .filter(|(from, target)| match kind {
                0 => side.contains(from) != side.contains(target),
                1 => (*from == lonely) != (*target == lonely),
                2 => from != target && lonely == if is_deaf { *target } else { *from },
                _ => from != target && rng.chance(300_000),
            })
            .collect();
        let name = ["partition in two", "node cut off", "node heard or hearing one way", "links cut one by one"];
        self.trace.count(name[usize::try_from(kind).expect("a small number")], &[cut.len() as u64]);
        let broken: BTreeSet<_> = cut.iter().map(|(a, b)| pair(*a, *b)).filter(|_| rng.chance(500_000)).collect();
        self.lock().cut = cut;
        broken.into_iter().for_each(|(one, other)| self.break_link(one, other));
    }

    /// Lets nothing arrive in one direction for so long; nothing is lost.
    pub(crate) fn stall(&self, from: NodeId, target: NodeId, time: Duration) {
        self.trace.count("connection stalled", &[from.0, target.0]);
        self.lock().stalled.insert((from, target), self.trace.now() + time);
    }

    /// Joins what came apart.
    pub(crate) fn join(&self) {
        self.lock().cut.clear();
    }

    /// From now on every message arrives, once and soon.
    pub(crate) fn heal(&self) {
        let mut inside = self.lock();
        inside.cut.clear();
        inside.is_healed = true;
    }

    /// Breaks a connection; what is on it is lost, and it is made anew after a while.
    pub(crate) fn break_link(&self, one: NodeId, other: NodeId) {
        let mut inside = self.lock();
        if inside.links.contains_key(&pair(one, other)) {
            let wakers = inside.part(one, other);
            let wait = Duration::from_millis(inside.rng.between(1, 500));
            inside.dial(self.trace.now() + wait, one, other);
            drop(inside);
            self.trace.count("connection broken", &[one.0, other.0]);
            wakers.into_iter().for_each(Waker::wake);
            self.bell.notify_one();
        }
    }

    /// A node is gone, if it still is in this life.
    pub(crate) fn vanish(&self, life: Peer) {
        let wakers = {
            let mut inside = self.lock();
            let node = life.node;
            if inside.stations.get(&node).is_none_or(|station| !station.local.peer.is_same_life(&life)) {
                return;
            }
            inside.stations.remove(&node);
            let linked: Vec<_> = inside.links.keys().copied().filter(|(a, b)| *a == node || *b == node).collect();
            linked.into_iter().flat_map(|(one, other)| inside.part(one, other)).collect::<Vec<_>>()
        };
        self.trace.note("vanished", &[life.node.0], String::new);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn send(&self, from: Peer, target: NodeId, message: &Message, is_bulk: bool) {
        let mut buffer = frame::FrameBuffer::default();
        codec::encode(message, 0, frame::BODY_BYTES_MAX, &mut buffer).expect("messages stay below the frame limit");
        let bytes = Bytes::from(buffer.to_vec());
        self.trace.note("sent", &[from.node.0, target.0, hash(&bytes)], || format!("{message:?}"));
        let now = self.trace.now();
        let mut inside = self.lock();
        let Some(link) = inside.link(from, target) else { return };
        if is_bulk {
            inside.lanes.entry((from.node, target)).or_default().messages += 1;
        }
        let plan = &self.plan;
        let is_healed = inside.is_healed;
        let is_lost = inside.cut.contains(&(from.node, target)) || !is_healed && inside.rng.chance(plan.loss);
        let is_doubled = !is_healed && inside.rng.chance(plan.doubles);
        let strays = !is_healed && inside.rng.chance(plan.stragglers);
        let delay = |inside: &mut Inside| Duration::from_micros(inside.rng.between(plan.delay.0, plan.delay.1));
        // What is stalled arrives in the order in which it was sent, all at once, as from a peer that reads again.
        let stalled = inside.stalled.get(&(from.node, target)).copied().unwrap_or_default();
        let arrival = stalled.max(now + delay(&mut inside));
        // What is lost takes its room for as long as it would have taken.
        let is_away = is_lost || strays;
        let carried = if is_away { Bytes::new() } else { bytes.clone() };
        inside.queue(arrival, Due::Message { from, target, link: Some(link), is_bulk, bytes: carried });
        for _ in 0..u8::from(is_doubled) + u8::from(strays) {
            let late = arrival + delay(&mut inside) * if strays { 50 } else { 1 };
            inside.queue(late, Due::Message { from, target, link: None, is_bulk: false, bytes: bytes.clone() });
        }
        drop(inside);
        for (is_so, what) in [(is_lost, "message lost"), (is_doubled, "message doubled"), (strays, "message held up")] {
            if is_so {
                self.trace.count(what, &[from.node.0, target.0]);
            }
        }
        self.bell.notify_one();
    }

    /// Whether a bulk lane has room.
    fn poll_ready(&self, from: Peer, target: NodeId, context: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.lock();
        if inside.link(from, target).is_none() {
            return Poll::Ready(());
        }
        let lane = inside.lanes.entry((from.node, target)).or_default();
        if lane.messages < self.plan.lane {
            return Poll::Ready(());
        }
        lane.wakers.push(context.waker().clone());
        drop(inside);
        self.trace.count("bulk lane full", &[from.node.0, target.0]);
        Poll::Pending
    }

    /// What is due arrives, as far as it can.
    fn arrive(&self) {
        let now = self.trace.now();
        loop {
            let mut inside = self.lock();
            let Some(next) = inside.due.first_entry().filter(|next| next.key().0 <= now) else { return };
            match next.remove() {
                Due::Dial(one, other) => {
                    let met = inside.connect(now, one, other);
                    drop(inside);
                    for (receive, peer) in met {
                        self.trace.note("connected", &[peer.node.0], String::new);
                        receive.receive(peer, None);
                    }
                }
                Due::Message { from, target, link, is_bulk, bytes } => {
                    let way = (from.node, target);
                    let stands = link.is_none() || inside.links.get(&pair(from.node, target)).copied() == link;
                    let wakers = if is_bulk && stands { inside.leave_lane(way) } else { Vec::new() };
                    let station = inside.stations.get(&target).filter(|_| stands && !bytes.is_empty());
                    let receive = station.map(|station| Arc::clone(&station.receive));
                    drop(inside);
                    wakers.into_iter().for_each(Waker::wake);
                    if let Some(receive) = receive {
                        self.deliver(receive.as_ref(), from, target, bytes);
                    }
                }
            }
        }
    }

    fn deliver(&self, receive: &dyn Receive, from: Peer, target: NodeId, bytes: Bytes) {
        self.trace.note("arrived", &[from.node.0, target.0, hash(&bytes)], String::new);
        let mut input = BytesMut::from(bytes);
        let frame = frame::split(&mut input, frame::BODY_BYTES_MAX).ok().flatten().expect("a whole frame");
        let message = codec::decode(frame.kind, frame.body).expect("what was encoded is decoded");
        if !receive.receive(from, Some(message)) {
            self.trace.count("message finds its inbox full or closed", &[from.node.0, target.0]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn queue(&mut self, at: Duration, due: Due) {
        self.next_due += 1;
        self.due.insert((at, self.next_due), due);
    }

    fn dial(&mut self, at: Duration, one: NodeId, other: NodeId) {
        self.queue(at, Due::Dial(one, other));
    }

    /// The connection of a node that runs to another one.
    fn link(&self, from: Peer, target: NodeId) -> Option<u64> {
        self.stations.get(&from.node).filter(|station| station.local.peer.is_same_life(&from))?;
        self.links.get(&pair(from.node, target)).copied()
    }

    /// Ends a connection; whoever waits for room on it must be woken.
    fn part(&mut self, one: NodeId, other: NodeId) -> Vec<Waker> {
        self.links.remove(&pair(one, other));
        let lanes = [self.lanes.remove(&(one, other)), self.lanes.remove(&(other, one))];
        lanes.into_iter().flatten().flat_map(|lane| lane.wakers).collect()
    }

    /// One message less is on its way; whoever waits for room must be woken.
    fn leave_lane(&mut self, way: (NodeId, NodeId)) -> Vec<Waker> {
        let lane = self.lanes.entry(way).or_default();
        lane.messages = lane.messages.checked_sub(1).expect("it was counted when it was sent");
        std::mem::take(&mut lane.wakers)
    }

    /// Connects two nodes if both run and want it; who meets whom.
    fn connect(&mut self, now: Duration, one: NodeId, other: NodeId) -> Vec<(Arc<dyn Receive>, Peer)> {
        let (Some(a), Some(b)) = (self.stations.get(&one), self.stations.get(&other)) else { return Vec::new() };
        let is_wanted = a.peers.contains(&other) && b.peers.contains(&one);
        if !is_wanted || self.links.contains_key(&pair(one, other)) {
            return Vec::new();
        }
        if self.cut.contains(&(one, other)) || self.cut.contains(&(other, one)) {
            let wait = Duration::from_millis(self.rng.between(50, 300));
            self.dial(now + wait, one, other);
            return Vec::new();
        }
        let met = vec![(Arc::clone(&a.receive), b.local.peer), (Arc::clone(&b.receive), a.local.peer)];
        self.links.insert(pair(one, other), self.next_link);
        self.next_link += 1;
        met
    }
}

/// The end that one life of a node has.
pub(crate) struct Wire {
    pub(crate) network: Arc<Network>,
    /// Who it is; set by `start`.
    own: OnceLock<Peer>,
}

impl Wire {
    pub(crate) const fn new(network: Arc<Network>) -> Self {
        Self { network, own: OnceLock::new() }
    }
}

impl Transport for Wire {
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> io::Result<()> {
        let peer = local.peer;
        self.own.set(peer).map_err(|_| io::Error::other("a transport starts once"))?;
        let station = Station { local, receive, peers: BTreeSet::new() };
        let before = self.network.lock().stations.insert(peer.node, station);
        assert!(before.is_none(), "node {} runs twice", peer.node);
        Ok(())
    }

    fn set_peers(&self, peers: &NodeMap<Node>) {
        let Some(own) = self.own.get() else { return };
        let network = &self.network;
        let mut inside = network.lock();
        let Some(station) = inside.stations.get_mut(&own.node).filter(|station| station.local.peer.is_same_life(own))
        else {
            return;
        };
        station.peers = peers.keys().copied().collect();
        for peer in peers.keys() {
            let wait = Duration::from_millis(inside.rng.below(50));
            inside.dial(network.trace.now() + wait, own.node, *peer);
        }
        drop(inside);
        network.bell.notify_one();
    }

    /// No member comes back from another directory, and there is one cluster: nobody needs to hear more than who starts says.
    fn sign(&self, _: Peer) {}

    /// Every node reaches every other here.
    fn answer(&self, _: Peer) {}

    fn send(&self, target: NodeId, message: Message) {
        if let Some(own) = self.own.get() {
            self.network.send(*own, target, &message, false);
        }
    }

    fn poll_ready(&self, target: NodeId, context: &mut Context<'_>) -> Poll<()> {
        self.own.get().map_or(Poll::Ready(()), |own| self.network.poll_ready(*own, target, context))
    }

    fn send_bulk(&self, target: NodeId, message: Message) {
        if let Some(own) = self.own.get() {
            self.network.send(*own, target, &message, true);
        }
    }

    /// No disk is ever wiped or copied, so that only what strays from an earlier life may be refused.
    fn refuse(&self, peer: Peer, reason: PeerRefusal) {
        let is_alive =
            self.network.lock().stations.get(&peer.node).is_some_and(|other| other.local.peer.is_same_life(&peer));
        if is_alive {
            self.network.trace.violate(format!("node {} is refused: {reason}", peer.node));
        } else {
            self.network.trace.count("message of an earlier life refused", &[peer.node.0]);
        }
    }

    fn client_addresses(&self) -> BTreeMap<NodeId, String> {
        BTreeMap::new()
    }

    fn stop(&self) {
        if let Some(own) = self.own.get() {
            self.network.vanish(*own);
        }
    }
}
