//! What is in hand for one connection: requests that are not answered, and answers that are not written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Buf;
use outrigger_engine::{LogIndex, Refusal};
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit};

use super::holdings::{FREE_BYTES, Gauge, Holdings, Reserved};
use crate::client::protocol::{Leader, Outcome};
use crate::client::status::NodeStatus;
use crate::network::frame::{BODY_BYTES_MAX, FrameBuffer, FrameError, kind};
use crate::raft::Export;
use crate::{Metrics, Query, Raft};

/// Requests of one connection that are not answered; with more, it is not read from.
const REQUESTS_MAX: usize = 8192;

/// Their bytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// What is in hand for one connection.
pub(super) struct Desk<S: Query> {
    /// The node.
    pub(super) raft: Raft<S>,
    /// What all connections hold.
    pub(super) holdings: Arc<Holdings>,
    /// The answers of this one that are not written: those in `output`, those that are being written, and those that are
    /// there and not encoded yet.
    pub(super) gauge: Arc<Gauge>,
    /// Whose queries go on first when there is room again.
    pub(super) turn: AsyncMutex<()>,
    /// The snapshot that this connection reads out, and the leave to.
    pub(super) export: AsyncMutex<Option<(Export, OwnedSemaphorePermit)>>,
    state: Mutex<State>,
    /// Tells the writer that there is something to write.
    filled: Notify,
}

#[derive(Default)]
struct State {
    /// Answers that wait to be written.
    output: FrameBuffer,
    /// Requests that are not answered.
    requests: usize,
    /// Their bytes.
    bytes: usize,
    /// Bytes of what has arrived and is no whole request yet.
    partial: usize,
    /// The bytes of the output that is being written.
    writing: usize,
    /// The leader that the client was told last.
    told: Option<Leader>,
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
    pub(super) fn new(raft: Raft<S>, holdings: Arc<Holdings>) -> Self {
        let limit = raft.config().limits.connection_answers_bytes_max;
        let gauge = Arc::new(Gauge::new(Arc::clone(&holdings), limit));
        let (turn, export, state) = (AsyncMutex::default(), AsyncMutex::default(), Mutex::default());
        let desk = Self { raft, holdings, gauge, turn, export, state, filled: Notify::new() };
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
        self.holdings.requests.change(0, bytes);
    }

    /// So many bytes have arrived that are no whole request yet.
    pub(super) fn hold_partial(&self, bytes: usize) {
        let before = std::mem::replace(&mut self.lock().partial, bytes);
        self.holdings.requests.change(before, bytes);
    }

    /// Puts answers, and before them who leads, if the client was not told yet.
    pub(super) fn answer(&self, put: impl FnOnce(&mut Answers<'_>)) {
        self.answer_reserved(Reserved::none(Arc::clone(&self.gauge)), put);
    }

    /// Puts answers for which room was made.
    pub(super) fn answer_reserved(&self, reserved: Reserved, put: impl FnOnce(&mut Answers<'_>)) {
        let leader = leader(&self.raft.metrics().latest());
        let mut state = self.lock();
        let (before, bytes_before) = (state.output.remaining(), state.bytes);
        if state.told.as_ref() != Some(&leader) {
            // An address that does not fit into a frame was never an address.
            let _ = leader.encode(&mut state.output);
            state.told = Some(leader);
        }
        let mut answers = Answers { state };
        put(&mut answers);
        let state = answers.state;
        reserved.settle(state.output.remaining() - before);
        self.holdings.requests.change(bytes_before, state.bytes);
        self.gauge.drained.notify_one();
        if before == 0 && state.output.has_remaining() {
            self.filled.notify_one();
        }
    }

    /// Tells the log, once in a while, that queries are refused.
    pub(super) fn report_overload(&self, refusal: Refusal) {
        if let Some(suppressed) = self.holdings.log.admit("", "overload", std::time::Instant::now()) {
            let node = self.raft.config().id;
            tracing::warn!(
                node,
                suppressed,
                "queries are refused, because clients do not take in their answers: {refusal} bytes"
            );
        }
    }

    /// Answers how this node is.
    pub(super) fn status(&self, request: (u64, usize)) {
        let body = status(&self.raft.metrics().latest()).encode();
        self.answer(|answers| answers.put(request, &Outcome::Done { applied: LogIndex::ZERO, body }));
    }

    /// Answers that this node is there.
    pub(super) fn pong(&self) -> Result<(), FrameError> {
        let mut state = self.lock();
        let before = state.output.remaining();
        state.output.frame(kind::PONG, 0, BODY_BYTES_MAX, |_| {})?;
        self.gauge.change(before, state.output.remaining());
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is less in hand than the limits allow.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.gauge.drained.notified().await;
        }
    }

    fn has_room(&self) -> bool {
        let State { requests, bytes, .. } = *self.lock();
        // Who has little in hand is not held up by those who have much.
        let is_crowded = bytes >= FREE_BYTES && self.holdings.requests.refusal().is_some();
        requests < REQUESTS_MAX && bytes < REQUEST_BYTES_MAX && !is_crowded && !self.gauge.is_full()
    }

    /// Waits until there is something to write and takes it all. What was taken before is written.
    pub(super) async fn collect(&self, output: &mut FrameBuffer) {
        assert!(!output.has_remaining(), "{} bytes of answers are lost", output.remaining());
        // Only now its memory is given back.
        output.clear();
        let written = std::mem::take(&mut self.lock().writing);
        self.gauge.change(written, 0);
        while !self.take(output) {
            self.filled.notified().await;
        }
    }

    fn take(&self, output: &mut FrameBuffer) -> bool {
        let mut state = self.lock();
        std::mem::swap(output, &mut state.output);
        state.writing = output.remaining();
        output.has_remaining()
    }
}

impl<S: Query> Drop for Desk<S> {
    fn drop(&mut self) {
        let State { bytes, partial, .. } = *self.lock();
        self.holdings.requests.change(bytes + partial, 0);
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
        snapshot: metrics.snapshot,
        purged: metrics.purged,
        committed: metrics.committed,
        applied: metrics.applied,
        membership: metrics.membership.as_ref().clone(),
        membership_at: metrics.membership_at,
        version: metrics.version,
        versions: metrics.versions.clone(),
        matched: metrics.matched.clone(),
        brought: metrics.brought.clone(),
        client_addresses: metrics.client_addresses.clone(),
        fault: metrics.trouble(),
    }
}
