//! The nodes of a case: each has a transport and writes down what arrives.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use outrigger_engine::{Genesis, Incarnation, Message, Node, NodeId, NodeMap, Peer};

use super::Make;
use super::message::urgent;
use crate::network::{Local, Receive, Transport};

/// A case that waits for longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A probe that did not come through by then is sent again.
const PROBE_AGAIN: Duration = Duration::from_millis(20);

/// The network of one case.
pub struct Network<'a> {
    /// Makes transports.
    make: &'a mut Make<'a>,
    /// Where each node that was started is found, the last start of each.
    addresses: NodeMap<Node>,
    /// Every node that was started.
    stations: Vec<Arc<Station>>,
}

/// A node of a case.
pub(super) struct Station {
    /// What is checked.
    pub(super) transport: Arc<dyn Transport>,
    /// Who it is.
    local: Local,
    /// What arrived.
    recorder: Arc<Recorder>,
}

#[derive(Default)]
struct Recorder {
    log: Mutex<Recorded>,
    arrived: Condvar,
}

#[derive(Default)]
struct Recorded {
    /// What was taken in, in order.
    taken: Vec<(Peer, Option<Message>)>,
    /// Who has refused this node, and what it had met instead.
    refused: Vec<(Peer, Option<Incarnation>)>,
    /// How many messages were offered, taken in or not.
    offered: usize,
    /// Whether to refuse what arrives.
    full: bool,
}

impl Receive for Recorder {
    fn receive(&self, from: Peer, message: Option<Message>) -> bool {
        let mut log = self.lock();
        log.offered += usize::from(message.is_some());
        let taken = !log.full;
        if taken {
            log.taken.push((from, message));
        }
        self.arrived.notify_all();
        taken
    }

    fn refused(&self, by: Peer, met: Option<Incarnation>, reason: String) {
        assert!(!reason.is_empty(), "{by} refuses this node and does not say why");
        self.lock().refused.push((by, met));
        self.arrived.notify_all();
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `holds` or the time is over, and tells which.
    fn wait(&self, patience: Duration, mut holds: impl FnMut(&Recorded) -> bool) -> bool {
        let end = Instant::now() + patience;
        let mut log = self.lock();
        while !holds(&log) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            log = self.arrived.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl<'a> Network<'a> {
    pub(super) fn new(make: &'a mut Make<'a>) -> Self {
        Self { make, addresses: NodeMap::new(), stations: Vec::new() }
    }

    /// Starts a node, in one more life; everyone who was started is its peer, and it theirs.
    pub(super) fn start(&mut self, node: u64) -> Arc<Station> {
        let station = self.start_as(node, |_| ());
        self.introduce();
        station
    }

    /// Starts a node that is different, and does not introduce it.
    pub(super) fn start_as(&mut self, node: u64, change: impl FnOnce(&mut Local)) -> Arc<Station> {
        let (transport, address) = (self.make)();
        let start = self.stations.len() as u64 + 1;
        let incarnation = Incarnation { id: 100 + node, start, nonce: start * 7 };
        let peer = Peer::new(NodeId(node), incarnation).of(Genesis(6));
        let (client_address, peer_address) = (Some(format!("client of {node}")), Some(address.address.clone()));
        let mut local = Local { cluster: 5, peer, client_address, peer_address };
        change(&mut local);
        let recorder = Arc::new(Recorder::default());
        transport.start(local.clone(), Arc::clone(&recorder) as Arc<dyn Receive>).expect("the transport starts");
        self.addresses.insert(NodeId(node), address);
        let station = Arc::new(Station { transport, local, recorder });
        self.stations.push(Arc::clone(&station));
        station
    }

    /// Makes everyone everyone's peer.
    pub(super) fn introduce(&self) {
        for station in &self.stations {
            let mut peers = self.addresses.clone();
            peers.remove(&station.node());
            station.transport.set_peers(&peers);
        }
    }

    pub(super) fn set_peers(&self, station: &Station, peers: &[&Arc<Station>]) {
        let peers = peers.iter().map(|peer| (peer.node(), self.addresses[&peer.node()].clone())).collect();
        station.transport.set_peers(&peers);
    }

    /// Nodes 1 and 2, linked in both directions.
    pub(super) fn linked_pair(&mut self) -> (Arc<Station>, Arc<Station>) {
        let (a, b) = (self.start(1), self.start(2));
        self.link(&a, &b);
        self.link(&b, &a);
        (a, b)
    }

    /// Waits until a message has come through in this direction; what arrived until then is forgotten, but for
    /// handshakes.
    pub(super) fn link(&self, from: &Station, to: &Station) {
        let end = Instant::now() + PATIENCE;
        for probe in (0..).map(|number| urgent(u64::MAX - number)) {
            from.transport.send(to.node(), probe.clone());
            let came =
                |log: &Recorded| log.taken.iter().any(|(at, m)| *at == from.peer() && m.as_ref() == Some(&probe));
            if to.recorder.wait(PROBE_AGAIN, came) {
                break;
            }
            assert!(Instant::now() < end, "nothing came from {} to {} in {PATIENCE:?}", from.peer(), to.peer());
        }
        to.forget();
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        self.stations.iter().for_each(|station| station.transport.stop());
    }
}

impl Station {
    pub(super) fn peer(&self) -> Peer {
        self.local.peer
    }

    pub(super) fn node(&self) -> NodeId {
        self.local.peer.node
    }

    /// Sends in the bulk lane, and waits for its turn.
    pub(super) fn send_bulk(&self, target: NodeId, message: Message) {
        let thread = Arc::new(Thread(std::thread::current()));
        let waker = Waker::from(thread);
        let end = Instant::now() + PATIENCE;
        while self.transport.poll_ready(target, &mut Context::from_waker(&waker)) == Poll::Pending {
            std::thread::park_timeout(PATIENCE);
            assert!(Instant::now() < end, "no room in the bulk lane to {target} in {PATIENCE:?}");
        }
        self.transport.send_bulk(target, message);
    }

    /// Whether something like this arrived by now.
    pub(super) fn saw(&self, like: impl Fn(Peer, Option<&Message>) -> bool) -> bool {
        self.recorder.lock().taken.iter().any(|(from, message)| like(*from, message.as_ref()))
    }

    /// Waits until something like this has arrived.
    pub(super) fn wait_for(&self, like: impl Fn(Peer, Option<&Message>) -> bool) {
        let arrived = |log: &Recorded| log.taken.iter().any(|(from, message)| like(*from, message.as_ref()));
        assert!(self.recorder.wait(PATIENCE, arrived), "what was sent to {} did not arrive", self.peer());
    }

    /// Waits until a peer has refused this node, and said that it had met `met` instead.
    pub(super) fn wait_for_refusal(&self, by: Peer, met: Incarnation) {
        let told = |log: &Recorded| log.refused.contains(&(by, Some(met)));
        assert!(self.recorder.wait(PATIENCE, told), "{} is not told that {by} refuses it", self.local.peer);
    }

    /// Waits until these messages have arrived, in this order, with others before, between and behind them.
    pub(super) fn wait_for_all(&self, messages: &[Message]) {
        let (mut found, mut looked_at) = (0, 0);
        let arrived = |log: &Recorded| {
            for (_, message) in &log.taken[looked_at..] {
                found += usize::from(found < messages.len() && message.as_ref() == Some(&messages[found]));
            }
            looked_at = log.taken.len();
            found == messages.len()
        };
        assert!(self.recorder.wait(PATIENCE, arrived), "{found} of {} messages arrived in order", messages.len());
    }

    pub(super) fn wait_until_offered(&self, count: usize) {
        assert!(self.recorder.wait(PATIENCE, |log| log.offered >= count), "fewer than {count} messages were offered");
    }

    /// Whether to take in what arrives from now on; what was offered is counted anew.
    pub(super) fn take_in(&self, takes: bool) {
        let mut log = self.recorder.lock();
        (log.full, log.offered) = (!takes, 0);
    }

    /// Forgets the messages that arrived; handshakes stay known.
    pub(super) fn forget(&self) {
        self.recorder.lock().taken.retain(|(_, message)| message.is_none());
    }
}

/// Wakes a thread that is parked.
struct Thread(std::thread::Thread);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
