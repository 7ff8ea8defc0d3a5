//! A transport that lets through what a test wants, and notes what passed of snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use outrigger::engine::{Message, Node, NodeId, NodeMap, Peer, PeerRefusal};
use outrigger::network::{Local, Receive, Transport};

/// Stands before the way to one node; shared by the transports of all others.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

struct State {
    /// The node that it stands before.
    target: NodeId,
    /// Whether entries pass.
    passes_entries: bool,
    /// So many more pieces of snapshots pass.
    pieces: usize,
    /// Where the pieces began that came to the gate, whether they passed or not; questions are none.
    offsets: Vec<u64>,
    /// Who has sent pieces.
    senders: BTreeSet<NodeId>,
}

impl Gate {
    /// A gate that is open.
    pub(crate) fn before(target: u64) -> Self {
        let (target, offsets, senders) = (NodeId(target), Vec::new(), BTreeSet::new());
        let state = State { target, passes_entries: true, pieces: usize::MAX, offsets, senders };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Stands before another node from now on.
    pub(crate) fn stand_before(&self, target: u64) {
        self.0.lock().unwrap().target = NodeId(target);
    }

    pub(crate) fn entries(&self, pass: bool) {
        self.0.lock().unwrap().passes_entries = pass;
    }

    /// Who has sent pieces of snapshots since they were counted last, whether those passed or not.
    pub(crate) fn senders(&self) -> BTreeSet<NodeId> {
        self.0.lock().unwrap().senders.clone()
    }

    /// Lets no more than so many pieces pass from now on, and forgets which ones came.
    pub(crate) fn pieces(&self, count: usize) {
        let mut state = self.0.lock().unwrap();
        state.pieces = count;
        state.offsets.clear();
        state.senders.clear();
    }

    /// Where the pieces began that came.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.0.lock().unwrap().offsets.clone()
    }

    fn passes(&self, from: NodeId, target: NodeId, message: &Message) -> bool {
        let mut state = self.0.lock().unwrap();
        match message {
            _ if target != state.target => true,
            Message::AppendEntries(_) | Message::Committed { .. } => state.passes_entries,
            Message::InstallSnapshot(piece) if !piece.chunk.is_empty() => {
                state.offsets.push(piece.offset);
                state.senders.insert(from);
                let passes = state.pieces > 0;
                state.pieces = state.pieces.saturating_sub(1);
                passes
            }
            _ => true,
        }
    }

    /// This transport, with the gate on its way.
    pub(crate) fn on(&self, inner: impl Transport) -> Arc<dyn Transport> {
        Arc::new(Gated { gate: self.clone(), own: OnceLock::new(), inner: Box::new(inner) })
    }
}

struct Gated {
    gate: Gate,
    /// Whose transport it is, once it has started.
    own: OnceLock<NodeId>,
    inner: Box<dyn Transport>,
}

impl Gated {
    fn passes(&self, target: NodeId, message: &Message) -> bool {
        self.own.get().is_none_or(|own| self.gate.passes(*own, target, message))
    }
}

impl Transport for Gated {
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> io::Result<()> {
        self.own.get_or_init(|| local.peer.node);
        self.inner.start(local, receive)
    }
    fn set_peers(&self, peers: &NodeMap<Node>) {
        self.inner.set_peers(peers);
    }
    fn sign(&self, signature: Peer) {
        self.inner.sign(signature);
    }
    fn answer(&self, peer: Peer) {
        self.inner.answer(peer);
    }
    fn send(&self, target: NodeId, message: Message) {
        if self.passes(target, &message) {
            self.inner.send(target, message);
        }
    }
    fn poll_ready(&self, target: NodeId, context: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_ready(target, context)
    }
    fn send_bulk(&self, target: NodeId, message: Message) {
        if self.passes(target, &message) {
            self.inner.send_bulk(target, message);
        }
    }
    fn refuse(&self, peer: Peer, reason: PeerRefusal) {
        self.inner.refuse(peer, reason);
    }
    fn client_addresses(&self) -> BTreeMap<NodeId, String> {
        self.inner.client_addresses()
    }
    fn stop(&self) {
        self.inner.stop();
    }
}
