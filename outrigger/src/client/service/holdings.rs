//! What clients make a node hold: answers that they have not taken in, and requests that are not answered. Counted as it
//! comes and goes, for each connection and for all of them.
//!
//! ```text
//!   query runs ──► Reserved ──► output ──► written ──► freed
//!                  └──────── Gauge of the connection ─────┘     full: its next queries wait, it is not read from
//!                  └──────── Budget of the node ──────────┘     full: queries are refused as overload
//! ```
//!
//! How large an answer is shows only when it is there. The state machine runs one query at a time, and none while a limit
//! is reached: what is held exceeds a limit by at most one answer. Refusals weigh something too: while the node is full, a
//! connection is answered no more than [`FREE_BYTES`] and one batch before it has taken something in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_engine::Refusal;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Duration, Instant, timeout_at};

use crate::Limits;
use crate::network::log_limit::LogLimit;

/// A connection that holds less than this is read from, and told at least why not, however much the others hold.
pub(super) const FREE_BYTES: usize = 64 << 10;

/// So many connections at once may read a snapshot out.
pub(super) const EXPORTS_MAX: usize = 16;

/// What all connections of clients hold together.
pub(super) struct Holdings {
    /// Answers that are not written.
    pub(super) answers: Budget,
    /// Requests that are not answered, whole or in part.
    pub(super) requests: Budget,
    /// Who may have a snapshot open: each may be another one, with a file and its room on the disk.
    pub(super) exports: Arc<Semaphore>,
    /// Whose turn it is to exceed the limit of `requests` by the rest of one request.
    beyond: Semaphore,
    /// Keeps strangers from filling the log.
    pub(super) log: LogLimit,
}

impl Holdings {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            answers: Budget::new(limits.answers_bytes_max),
            requests: Budget::new(limits.received_bytes_max),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            beyond: Semaphore::new(1),
            log: LogLimit::default(),
        }
    }

    /// Waits for the turn to receive more than all connections together may hold; whoever waits, and whoever has it,
    /// must be done within `patience` of the beginning.
    pub(super) async fn turn(&self, patience: Duration) -> Turn<'_> {
        let until = Instant::now() + patience;
        // Without a permit, the time is over. The semaphore is never closed.
        let permit = timeout_at(until, self.beyond.acquire()).await.ok().and_then(Result::ok);
        Turn { _permit: permit, until }
    }
}

/// The turn to exceed what all connections together may receive.
pub(super) struct Turn<'a> {
    /// Held for others to wait.
    _permit: Option<SemaphorePermit<'a>>,
    /// Until when.
    pub(super) until: Instant,
}

/// Bytes that many hold together.
pub(super) struct Budget {
    held: AtomicUsize,
    limit: usize,
}

impl Budget {
    const fn new(limit: usize) -> Self {
        Self { held: AtomicUsize::new(0), limit }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Why there can be no more, if there cannot.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let (current, limit) = (self.held(), self.limit);
        (current >= limit).then_some(Refusal::Overloaded { current, limit })
    }

    /// Someone who held `before` holds `after` now.
    pub(super) fn change(&self, before: usize, after: usize) {
        change(&self.held, before, after);
    }
}

fn change(held: &AtomicUsize, before: usize, after: usize) {
    if after > before {
        held.fetch_add(after - before, Ordering::Relaxed);
    } else if after < before {
        let held = held.fetch_sub(before - after, Ordering::Relaxed);
        assert!(held >= before - after, "{held} bytes are held, and {} of them are let go", before - after);
    }
}

/// The answers of one connection that are not written, in bytes.
pub(super) struct Gauge {
    holdings: Arc<Holdings>,
    held: AtomicUsize,
    limit: usize,
    /// Tells the one query whose turn it is that less is held.
    freed: Notify,
    /// Tells whoever reads from the connection that less is held, or less is in hand.
    pub(super) drained: Notify,
}

impl Gauge {
    pub(super) fn new(holdings: Arc<Holdings>, limit: usize) -> Self {
        let (held, freed, drained) = (AtomicUsize::new(0), Notify::new(), Notify::new());
        Self { holdings, held, limit, freed, drained }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether the client must take something in before it is answered more. When that is for the sake of others, who
    /// waits here is not woken by them; but it is by its own writer, which has something to write.
    pub(super) fn is_full(&self) -> bool {
        let held = self.held();
        held >= self.limit || held >= FREE_BYTES && self.refusal().is_some()
    }

    /// Why no query may be answered now, on whatever connection.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.holdings.answers.refusal()
    }

    /// What was held as `before` is held as `after` now.
    pub(super) fn change(&self, before: usize, after: usize) {
        change(&self.held, before, after);
        self.holdings.answers.change(before, after);
        if after < before {
            self.freed.notify_one();
            self.drained.notify_one();
        }
    }

    /// Waits until less is held than the limit. One waits at a time.
    pub(super) async fn room(&self) {
        while self.is_full() {
            self.freed.notified().await;
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.holdings.answers.change(self.held(), 0);
    }
}

/// Room for answers that are there and not in the output yet; freed when it is dropped with them.
pub(super) struct Reserved {
    gauge: Arc<Gauge>,
    bytes: usize,
}

impl Reserved {
    pub(super) const fn none(gauge: Arc<Gauge>) -> Self {
        Self { gauge, bytes: 0 }
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.gauge.change(0, bytes);
    }

    /// The answers are held as so many bytes elsewhere now.
    pub(super) fn settle(mut self, bytes: usize) {
        self.gauge.change(self.bytes, bytes);
        self.bytes = 0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.gauge.change(self.bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(answers_bytes_max: usize) -> Arc<Holdings> {
        Arc::new(Holdings::new(&Limits { answers_bytes_max, ..Limits::default() }))
    }

    #[test]
    fn what_is_reserved_settled_or_dropped_is_counted_once() {
        let holdings = holdings(100);
        let gauge = Arc::new(Gauge::new(Arc::clone(&holdings), 50));
        let mut reserved = Reserved::none(Arc::clone(&gauge));
        reserved.add(30);
        assert!(!gauge.is_full());
        reserved.add(20);
        assert!(gauge.is_full() && gauge.refusal().is_none());
        let mut dropped = Reserved::none(Arc::clone(&gauge));
        dropped.add(60);
        assert_eq!(gauge.refusal(), Some(Refusal::Overloaded { current: 110, limit: 100 }));
        drop(dropped);
        reserved.settle(52);
        assert_eq!((gauge.held(), holdings.answers.held()), (52, 52));
        drop(gauge);
        assert_eq!(holdings.answers.held(), 0, "a connection that is gone holds nothing");
    }
}
