//! What is in hand for one connection: requests that are not answered, and answers that are not written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Buf;
use outrigger_engine::LogIndex;
use tokio::sync::Notify;

use crate::client::protocol::{Leader, Outcome};
use crate::client::status::NodeStatus;
use crate::network::frame::{BODY_BYTES_MAX, FrameBuffer, FrameError, kind};
use crate::{Metrics, Query, Raft};

/// Requests of one connection that are not answered; with more, it is not read from.
const REQUESTS_MAX: usize = 8192;

/// Their bytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Bytes of answers that wait to be written; with more, the connection is not read from.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is in hand for one connection.
pub(super) struct Desk<S: Query> {
    /// The node.
    pub(super) raft: Raft<S>,
    state: Mutex<State>,
    /// Tells the writer that there is something to write.
    filled: Notify,
    /// Tells the reader that there is less in hand.
    drained: Notify,
}

#[derive(Default)]
struct State {
    /// Answers that wait to be written.
    output: FrameBuffer,
    /// Requests that are not answered.
    requests: usize,
    /// Their bytes.
    bytes: usize,
    /// The leader that the client was told last.
    told: Option<Leader>,
}

impl State {
    fn has_room(&self) -> bool {
        self.requests < REQUESTS_MAX && self.bytes < REQUEST_BYTES_MAX && self.output.remaining() < ANSWER_BYTES_MAX
    }
}

/// The answers to some requests, to be put one by one.
pub(super) struct Answers<'a> {
    state: MutexGuard<'a, State>,
}

impl Answers<'_> {
    /// Answers one request that weighed so many bytes.
    pub(super) fn put(&mut self, (id, bytes): (u64, usize), outcome: &Outcome) {
        let state = &mut *self.state;
        assert!(state.requests > 0 && state.bytes >= bytes, "request {id} is answered and was not in hand");
        state.requests -= 1;
        state.bytes -= bytes;
        outcome.encode(id, BODY_BYTES_MAX, &mut state.output);
    }
}

impl<S: Query> Desk<S> {
    pub(super) fn new(raft: Raft<S>) -> Self {
        let desk = Self { raft, state: Mutex::default(), filled: Notify::new(), drained: Notify::new() };
        desk.answer(|_| ());
        desk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that weighs so many bytes is in hand now.
    pub(super) fn take_in(&self, bytes: usize) {
        let mut state = self.lock();
        state.requests += 1;
        state.bytes += bytes;
    }

    /// Puts answers, and before them who leads, if the client was not told yet.
    pub(super) fn answer(&self, put: impl FnOnce(&mut Answers<'_>)) {
        let leader = leader(&self.raft.metrics().latest());
        let mut state = self.lock();
        let was_idle = !state.output.has_remaining();
        if state.told.as_ref() != Some(&leader) {
            // An address that does not fit into a frame was never an address.
            let _ = leader.encode(&mut state.output);
            state.told = Some(leader);
        }
        let mut answers = Answers { state };
        put(&mut answers);
        self.drained.notify_one();
        if was_idle && answers.state.output.has_remaining() {
            self.filled.notify_one();
        }
    }

    /// Answers how this node is.
    pub(super) fn status(&self, request: (u64, usize)) {
        let body = status(&self.raft.metrics().latest()).encode();
        self.answer(|answers| answers.put(request, &Outcome::Done { applied: LogIndex::ZERO, body }));
    }

    /// Answers that this node is there.
    pub(super) fn pong(&self) -> Result<(), FrameError> {
        self.lock().output.frame(kind::PONG, 0, BODY_BYTES_MAX, |_| {})?;
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is less in hand than the limits allow.
    pub(super) async fn room(&self) {
        while !self.lock().has_room() {
            self.drained.notified().await;
        }
    }

    /// Waits until there is something to write and takes it all.
    pub(super) async fn collect(&self, output: &mut FrameBuffer) {
        output.clear();
        loop {
            std::mem::swap(output, &mut self.lock().output);
            if output.has_remaining() {
                self.drained.notify_one();
                return;
            }
            self.filled.notified().await;
        }
    }
}

fn leader(metrics: &Metrics) -> Leader {
    let address = metrics.leader.and_then(|leader| metrics.client_addresses.get(&leader));
    Leader { term: metrics.term, address: address.cloned().unwrap_or_default() }
}

fn status(metrics: &Metrics) -> NodeStatus {
    NodeStatus {
        node: metrics.node,
        role: metrics.role,
        term: metrics.term,
        leader: metrics.leader,
        last: metrics.last,
        flushed: metrics.flushed,
        committed: metrics.committed,
        applied: metrics.applied,
        voters: metrics.membership.voters().iter().copied().collect(),
        learners: metrics.membership.learners().collect(),
        client_addresses: metrics.client_addresses.clone(),
        fault: metrics.fault.clone(),
    }
}
