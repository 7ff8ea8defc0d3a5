//! A transport that lets through what a test wants, and notes what passed of snapshots.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use outrigger::engine::{LogId, Message, Node, NodeId, Peer, PeerRefusal};
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
}

impl Gate {
    /// A gate that is open.
    pub(crate) fn before(target: u64) -> Self {
        let state = State { target: NodeId(target), passes_entries: true, pieces: usize::MAX, offsets: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Stands before another node from now on.
    pub(crate) fn stand_before(&self, target: u64) {
        self.0.lock().unwrap().target = NodeId(target);
    }

    pub(crate) fn entries(&self, pass: bool) {
        self.0.lock().unwrap().passes_entries = pass;
    }

    /// Lets no more than so many pieces pass from now on, and forgets which ones came.
    pub(crate) fn pieces(&self, count: usize) {
        let mut state = self.0.lock().unwrap();
        state.pieces = count;
        state.offsets.clear();
    }

    /// Where the pieces began that came.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.0.lock().unwrap().offsets.clone()
    }

    fn passes(&self, target: NodeId, message: &Message) -> bool {
        let mut state = self.0.lock().unwrap();
        match message {
            _ if target != state.target => true,
            Message::AppendEntries(_) | Message::Committed { .. } => state.passes_entries,
            Message::InstallSnapshot(piece) if !piece.chunk.is_empty() => {
                state.offsets.push(piece.offset);
                let passes = state.pieces > 0;
                state.pieces = state.pieces.saturating_sub(1);
                passes
            }
            _ => true,
        }
    }

    /// This transport, with the gate on its way.
    pub(crate) fn on(&self, inner: impl Transport) -> Arc<dyn Transport> {
        Arc::new(Gated { gate: self.clone(), inner: Box::new(inner) })
    }
}

struct Gated {
    gate: Gate,
    inner: Box<dyn Transport>,
}

impl Transport for Gated {
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> io::Result<()> {
        self.inner.start(local, receive)
    }
    fn set_peers(&self, peers: &BTreeMap<NodeId, Node>) {
        self.inner.set_peers(peers);
    }
    fn sign(&self, bound: Option<LogId>) {
        self.inner.sign(bound);
    }
    fn send(&self, target: NodeId, message: Message) {
        if self.gate.passes(target, &message) {
            self.inner.send(target, message);
        }
    }
    fn poll_ready(&self, target: NodeId, context: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_ready(target, context)
    }
    fn send_bulk(&self, target: NodeId, message: Message) {
        if self.gate.passes(target, &message) {
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
