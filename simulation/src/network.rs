//! The network: what becomes of a message on its way.
//!
//! ```text
//!   message ── codec ──► bytes ──┬── lost
//!                                ├── cut off: a partition stands between the two
//!                                ├── arrives after a while
//!                                ├── arrives after a long while: many overtake it
//!                                └── arrives twice
//! ```
//!
//! It is worse than any transport: nothing is kept in order, and a message may arrive after its sender's death, and
//! after that of the node that it was meant for.

use std::collections::BTreeSet;

use bytes::Bytes;
use outrigger::engine::{Message, NodeId};
use outrigger::network::handshake::Hello;
use outrigger::network::{Local, codec, frame};

use crate::count::Tally;
use crate::plan::{Plan, Trouble};
use crate::rng::Rng;

/// The group that all frames belong to.
const GROUP: u64 = 0;

/// How long each copy of a message is on its way, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays([Option<u64>; 2]);

impl Delays {
    /// That of the first copy and, if there are two, of the other; `None` if no copy arrives.
    pub(crate) fn of_copies(self) -> Option<(u64, Option<u64>)> {
        let [first, second] = self.0;
        first.map(|first| (first, second))
    }
}

impl IntoIterator for Delays {
    type Item = u64;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<u64>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// All links between the nodes.
#[derive(Debug)]
pub(crate) struct Network {
    /// Decides what becomes of each message.
    rng: Rng,
    /// Links that carry nothing, by direction.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Whether messages are lost, doubled and held up at all.
    healed: bool,
    /// What it did.
    pub(crate) faults: Tally,
    /// Where messages are encoded; empty between two of them.
    buffer: frame::FrameBuffer,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        let (cut, buffer) = (BTreeSet::new(), frame::FrameBuffer::default());
        Self { rng, cut, healed: false, faults: Tally::default(), buffer }
    }

    /// How long each copy of a message takes; none if it is lost. Without content it is a handshake.
    pub(crate) fn route(&mut self, plan: &Plan, from: NodeId, target: NodeId, message: Option<&Message>) -> Delays {
        if self.cut.contains(&(from, target)) {
            self.faults.note("message cut off");
            return Delays::default();
        }
        if !self.healed && self.rng.chance(plan.odds(Trouble::Loss)) {
            self.faults.note("message lost");
            return Delays::default();
        }
        let is_doubled = !self.healed && self.rng.chance(plan.odds(Trouble::Duplicates));
        if is_doubled {
            self.faults.note("message doubled");
        }
        let first = self.delay(plan);
        let second = is_doubled.then(|| match message {
            // It may meet the next life of whoever took the first one in, or come when somebody else leads.
            Some(Message::Propose { .. } | Message::DelegateSnapshot(_)) => {
                self.delay(plan) + self.rng.below(plan.outage)
            }
            _ => self.delay(plan),
        });
        Delays([Some(first), second])
    }

    fn delay(&mut self, plan: &Plan) -> u64 {
        let straggles = !self.healed && self.rng.chance(plan.odds(Trouble::Stragglers));
        if straggles {
            self.faults.note("message overtaken");
        }
        self.rng.between(plan.delay.0, plan.delay.1) * if straggles { 100 } else { 1 }
    }

    /// Whether any link between two nodes carries nothing.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.iter().any(|(from, target)| from != target)
    }

    /// Whether a link carries nothing.
    pub(crate) fn cuts(&self, from: NodeId, target: NodeId) -> bool {
        self.cut.contains(&(from, target))
    }

    /// What is left of a request that is cut short: the same question with fewer entries, which its leader might have sent as
    /// well. So a follower hears things of a new leader that bring nothing new to its log.
    pub(crate) fn cut_short(&mut self, plan: &Plan, message: &Message) -> Option<Message> {
        let Message::AppendEntries(append) = message else { return None };
        if self.healed || append.batches.is_empty() || !self.rng.chance(plan.odds(Trouble::ShortRequests)) {
            return None;
        }
        self.faults.note("request cut short");
        let mut append = append.clone();
        append.batches.truncate(self.rng.count(0, append.batches.len() - 1));
        Some(Message::AppendEntries(append))
    }

    /// The bytes of a message, as a connection would carry them.
    pub(crate) fn encode(&mut self, message: &Message) -> Bytes {
        let buffer = &mut self.buffer;
        codec::encode(message, GROUP, frame::BODY_BYTES_MAX, buffer).expect("messages stay far below the frame limit");
        let bytes = buffer.to_vec();
        buffer.clear();
        bytes.into()
    }

    /// Cuts links, in one of the ways in which networks come apart.
    pub(crate) fn come_apart(&mut self, nodes: &[NodeId]) {
        self.cut.clear();
        let kind = self.rng.below(5);
        let (lonely, deaf) = (*self.rng.pick(nodes), self.rng.chance(500_000));
        let name = match kind {
            0 => "partition in two",
            1 => "node cut off",
            2 => "node heard or hearing one way",
            3 => "partition with a bridge",
            _ => "links cut one by one",
        };
        self.faults.note(name);
        let side: BTreeSet<NodeId> = nodes.iter().copied().filter(|_| self.rng.chance(500_000)).collect();
        let links = nodes.iter().flat_map(|from| nodes.iter().map(|target| (*from, *target)));
        for (from, target) in links.filter(|(from, target)| from != target) {
            let cut = match kind {
                // Two sides that do not hear each other.
                0 => side.contains(&from) != side.contains(&target),
                // One node that nobody hears and that hears nobody.
                1 => from == lonely || target == lonely,
                // One node that all hear and that hears nobody, or the other way round.
                2 => lonely == if deaf { target } else { from },
                // Two sides that only one node hears and is heard by.
                3 => side.contains(&from) != side.contains(&target) && from != lonely && target != lonely,
                // Any link, each way by itself.
                _ => self.rng.chance(300_000),
            };
            if cut {
                self.cut.insert((from, target));
            }
        }
    }

    /// Leaves a node with one other at most that hears it.
    pub(crate) fn strand(&mut self, lonely: NodeId, nodes: &[NodeId]) {
        self.faults.note("leader stranded");
        let friend = *self.rng.pick(nodes);
        self.cut.extend(nodes.iter().filter(|node| **node != friend).map(|node| (lonely, *node)));
    }

    /// Cuts a node off from all others, both ways.
    pub(crate) fn isolate(&mut self, node: NodeId, nodes: &[NodeId]) {
        let others = nodes.iter().filter(|other| **other != node);
        self.cut.extend(others.flat_map(|other| [(node, *other), (*other, node)]));
    }

    /// Cuts these links, and leaves the others as they are.
    pub(crate) fn cut_links(&mut self, links: impl IntoIterator<Item = (NodeId, NodeId)>) {
        self.cut.extend(links);
    }

    /// Joins what came apart. Answers whether anything had.
    pub(crate) fn join(&mut self) -> bool {
        let was_cut = self.is_cut();
        self.cut.clear();
        was_cut
    }

    /// From now on every message arrives, once and soon.
    pub(crate) fn heal(&mut self) {
        self.join();
        self.healed = true;
    }
}

/// Whether a node talks to who calls, by the first frame of that connection.
pub(crate) fn is_let_in(local: &Local, caller: &Local, target: NodeId) -> bool {
    let mut buffer = frame::FrameBuffer::default();
    Hello::new(caller, target).encode(&mut buffer).expect("a hello without an address fits");
    let frame = frame::whole(buffer.to_vec().into()).expect("a frame");
    Hello::decode(frame.expect("a frame as long as it was encoded")).is_ok_and(|hello| hello.check(local, None).is_ok())
}

/// The message that was encoded to these bytes.
pub(crate) fn decode(input: Bytes) -> Message {
    let frame = frame::whole(input).expect("a frame").expect("a frame as long as it was encoded");
    codec::decode(frame.kind, frame.body).expect("what was encoded is decoded")
}
