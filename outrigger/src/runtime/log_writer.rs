//! The log lane: votes and entries on their way to the log, in their one order.
//!
//! ```text
//!   RaftCore ── submit ──► queue ──► thread: all that is queued, then ONE flush ── LogFlushed(last) ──► RaftCore
//!                                      (a store that does not block is written where it is submitted)
//! ```
//!
//! A slow disk holds up the thread and nothing else: votes are counted, heartbeats are sent, reads are answered. While
//! it syncs, the next writes queue up and share the next sync. In a simulation a task stands in the thread's place; the
//! two differ in how they wait, and in nothing else.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use outrigger_engine::{Batch, Event, Incarnation, LogId, LogIndex, Peer, Vote, WriteId};
use tokio::time::{Instant, sleep, timeout};

use super::environment::{Environment, blocking};
use crate::store::{Fetched, LogReader, LogStore, StorageError};

/// Where the system has no room to read the log, it is not asked again for so long.
const PAUSE_WHEN_SCARCE: Duration = Duration::from_secs(1);

/// One write, as the engine commands it.
#[derive(Debug)]
pub(crate) enum Write {
    Vote(WriteId, Vote),
    Peer(WriteId, Peer),
    Append(WriteId, Vec<Batch>),
    Truncate(WriteId, LogId),
    Purge(WriteId, LogId),
    /// Nobody waits for it.
    Committed(LogIndex),
    /// The node has ended and the last word is written before its thread ends.
    Refusal(Peer, Incarnation),
}

impl Write {
    /// What is to be reported once the write is durable.
    const fn id(&self) -> Option<WriteId> {
        match self {
            Self::Vote(id, _)
            | Self::Peer(id, _)
            | Self::Append(id, _)
            | Self::Truncate(id, _)
            | Self::Purge(id, _) => Some(*id),
            Self::Committed(_) | Self::Refusal(..) => None,
        }
    }

    fn queue_in(&self, store: &mut dyn LogStore) -> Result<(), StorageError> {
        match self {
            Self::Vote(_, vote) => store.save_vote(*vote),
            Self::Peer(_, peer) => store.save_peer(*peer),
            Self::Append(_, batches) => store.append(batches),
            Self::Truncate(_, after) => store.truncate(*after),
            Self::Purge(_, through) => store.purge(*through),
            Self::Committed(commit) => store.save_committed(*commit),
            Self::Refusal(by, met) => store.save_refusal(*by, *met).inspect_err(|error| {
                tracing::error!(reason = error.reason, "that this node was refused is not saved: remove its data");
            }),
        }
    }
}

/// Makes writes durable in one group. Answers the last of them that somebody waits for.
fn write_all(store: &mut dyn LogStore, writes: &[Write]) -> Result<Option<WriteId>, StorageError> {
    let mut last = None;
    for write in writes {
        assert!(write.id().is_none() || write.id() > last, "write {:?} after {last:?}", write.id());
        write.queue_in(store)?;
        last = write.id().or(last);
    }
    if last.is_some() {
        store.flush()?;
    }
    Ok(last)
}

/// Where RaftCore submits writes.
pub(crate) enum LogWriter {
    /// A store that does not block, and what RaftCore is yet to be told is durable.
    Inline { store: Box<dyn LogStore>, flushed: Option<WriteId> },
    /// The queue of a thread, or of a task in its place.
    Queue(Arc<WriteQueue>),
}

impl LogWriter {
    /// Takes a write; never blocks on a disk.
    ///
    /// # Errors
    /// When the store is poisoned.
    pub(crate) fn submit(&mut self, write: Write) -> Result<(), StorageError> {
        match self {
            Self::Inline { store, flushed } => {
                let written = write_all(store.as_mut(), &[write])?;
                *flushed = written.or(*flushed);
            }
            Self::Queue(queue) => queue.push(write),
        }
        Ok(())
    }

    /// What is durable and not reported yet, where nobody else reports it.
    pub(crate) const fn take_flushed(&mut self) -> Option<WriteId> {
        match self {
            Self::Inline { flushed, .. } => flushed.take(),
            Self::Queue(_) => None,
        }
    }
}

/// A log that was not written for so long may rest.
const REST_AFTER: Duration = Duration::from_millis(100);
/// A write that takes longer is told: an operator wants to know that it is the disk.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// What came of waiting for writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Writes,
    /// There were none for as long as was asked for.
    Nothing,
    /// There will be none.
    End,
}

/// What waits for the log writer.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    inside: Mutex<Inside>,
    /// Rings for a thread when a write that somebody waits for is queued, or the end has come.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    /// In the order of their ids.
    writes: VecDeque<Write>,
    /// Whether a write in `writes` is waited for.
    is_urgent: bool,
    /// Whether the log writer is to end, once all is written.
    is_closed: bool,
    /// The log writer's while it sleeps, if it is a task.
    waker: Option<Waker>,
}

impl Inside {
    /// Whether the log writer has to look at it now.
    const fn is_due(&self) -> bool {
        self.is_urgent || self.is_closed
    }

    /// Takes all writes.
    fn take(&mut self, taken: &mut Vec<Write>) -> Taken {
        self.is_urgent = false;
        taken.extend(self.writes.drain(..));
        if taken.is_empty() { Taken::End } else { Taken::Writes }
    }
}

impl WriteQueue {
    fn push(&self, write: Write) {
        let is_urgent = write.id().is_some();
        let sleeper = {
            let mut inside = self.lock();
            inside.writes.push_back(write);
            let is_first = is_urgent && !inside.is_urgent;
            inside.is_urgent |= is_urgent;
            is_first.then(|| inside.waker.take())
        };
        if let Some(waker) = sleeper {
            self.ring(waker);
        }
    }

    /// Lets the log writer end once all that is queued is durable.
    pub(crate) fn close(&self) {
        let waker = {
            let mut inside = self.lock();
            inside.is_closed = true;
            inside.waker.take()
        };
        self.ring(waker);
    }

    /// Wakes the log writer, whichever it is.
    fn ring(&self, waker: Option<Waker>) {
        match waker {
            Some(waker) => waker.wake(),
            None => self.bell.notify_one(),
        }
    }

    /// Waits for writes, as a thread, and takes them all; for no longer than `at_most`, if that is given.
    fn take(&self, taken: &mut Vec<Write>, at_most: Option<Duration>) -> Taken {
        let mut inside = self.lock();
        while !inside.is_due() {
            let Some(at_most) = at_most else {
                inside = self.bell.wait(inside).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, waited) = self.bell.wait_timeout(inside, at_most).unwrap_or_else(PoisonError::into_inner);
            inside = guard;
            if waited.timed_out() && !inside.is_due() {
                return Taken::Nothing;
            }
        }
        inside.take(taken)
    }

    /// Waits until there are writes to take, or the end; false if that takes longer than `at_most`. For a task.
    async fn due(&self, at_most: Option<Duration>) -> bool {
        let due = poll_fn(|context| {
            let mut inside = self.lock();
            if inside.is_due() {
                return Poll::Ready(());
            }
            inside.waker = Some(context.waker().clone());
            Poll::Pending
        });
        match at_most {
            Some(at_most) => timeout(at_most, due).await.is_ok(),
            None => {
                due.await;
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log writer's work, whoever hosts it. It calls `written` after each flush, and tells `report` what is durable, in
/// order, and a failure once.
struct Work<W, R: Fn(Event)> {
    store: Box<dyn LogStore>,
    /// What was taken from the queue; empty between two pieces of work, with the capacity that it has grown.
    writes: Vec<Write>,
    /// How long to wait for writes before the log rests; for ever, when it does.
    rests_in: Option<Duration>,
    written: W,
    report: R,
}

impl<W: Fn(), R: Fn(Event)> Work<W, R> {
    const fn new(store: Box<dyn LogStore>, written: W, report: R) -> Self {
        Self { store, writes: Vec::new(), rests_in: Some(REST_AFTER), written, report }
    }

    /// Does what came of waiting; false when that was the last.
    fn go_on(&mut self, taken: Taken) -> bool {
        let outcome = match taken {
            Taken::Writes => self.write(),
            Taken::Nothing => {
                self.rests_in = None;
                self.store.rest()
            }
            Taken::End => {
                self.end();
                return false;
            }
        };
        // After a failed sync nobody knows what is on the disk: nothing is written any more.
        outcome.map_err(|error| (self.report)(Event::StorageFailed { reason: error.reason })).is_ok()
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.rests_in = Some(REST_AFTER);
        let began = Instant::now();
        let outcome = write_all(self.store.as_mut(), &self.writes);
        let took = began.elapsed();
        if took >= SLOW_AFTER {
            tracing::warn!(?took, writes = self.writes.len(), "the disk is slow: a write of the log took long");
        }
        if let Some(write) = outcome? {
            (self.report)(Event::LogFlushed { write });
        }
        (self.written)();
        self.writes.clear();
        Ok(())
    }

    fn end(&mut self) {
        // What nobody waits for may still be queued in the store: a clean end loses nothing. If it fails, nothing that
        // was promised is lost either.
        if let Err(error) = self.store.flush().and_then(|()| self.store.rest()) {
            tracing::warn!(reason = error.reason, "the last commit index is not saved");
        }
    }
}

/// When it panics: a node that writes nothing any more must not be counted on, nor believe that its disk is only slow.
impl<W, R: Fn(Event)> Drop for Work<W, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.report)(Event::StorageFailed { reason: "the log's writer has panicked".to_owned() });
        }
    }
}

/// Starts the thread that owns the store. It calls `written` after each flush, and tells `report` what is durable, in
/// order, and a failure once.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn spawn(
    name: String,
    store: Box<dyn LogStore>,
    written: impl Fn() + Send + 'static,
    report: impl Fn(Event) + Send + 'static,
) -> std::io::Result<(Arc<WriteQueue>, JoinHandle<()>)> {
    let queue = Arc::new(WriteQueue::default());
    let own = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut work = Work::new(store, written, report);
        loop {
            let taken = own.take(&mut work.writes, work.rests_in);
            if !work.go_on(taken) {
                return;
            }
        }
    })?;
    Ok((queue, thread))
}

/// The same as a task, for a disk that is simulated and takes the time that its environment says. A crash finds a write
/// begun or not, as it does with a thread.
pub(crate) async fn run(
    queue: Arc<WriteQueue>,
    store: Box<dyn LogStore>,
    environment: Arc<dyn Environment>,
    report: impl Fn(Event),
) {
    let mut work = Work::new(store, || (), report);
    loop {
        let taken = if queue.due(work.rests_in).await { queue.lock().take(&mut work.writes) } else { Taken::Nothing };
        sleep(environment.disk_time().unwrap_or_default()).await;
        if !work.go_on(taken) {
            return;
        }
    }
}

/// Reads entries that memory no longer holds, without holding up the thread that asks.
#[derive(Clone)]
pub(crate) struct LogAccess {
    pub(crate) reader: Arc<dyn LogReader>,
    /// Who sees to it that reading holds up nobody; none where it takes no time.
    pub(crate) environment: Option<Arc<dyn Environment>>,
}

impl LogAccess {
    /// The entries from `from` to `through`, contiguous, at least one, cut at about `bytes_max`. Waits while the system has no
    /// room to read them.
    pub(crate) async fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, StorageError> {
        loop {
            match self.fetch(from, through, bytes_max).await? {
                Fetched::Batches(batches) => {
                    check(from, through, &batches)?;
                    return Ok(batches);
                }
                Fetched::NotNow(reason) => {
                    tracing::warn!(%from, reason, "the log cannot be read now; it is tried again");
                    // Nobody tells when there is room again: it is asked for.
                    sleep(PAUSE_WHEN_SCARCE).await;
                }
            }
        }
    }

    async fn fetch(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Fetched, StorageError> {
        let Some(environment) = &self.environment else { return self.reader.fetch(from, through, bytes_max) };
        let reader = Arc::clone(&self.reader);
        let read = blocking(environment.as_ref(), move || reader.fetch(from, through, bytes_max)).await;
        read.unwrap_or_else(|error| Err(StorageError::new(format!("the read ended early: {error}"))))
    }
}

/// A log that answers with a hole, or with nothing, is not one to replicate or to apply.
fn check(from: LogIndex, through: LogIndex, batches: &[Batch]) -> Result<(), StorageError> {
    let mut next = LogId { term: outrigger_engine::Term(0), index: from };
    for batch in batches {
        if batch.first().index != next.index || batch.term() < next.term || batch.last().index > through {
            let reason = format!("the log answered {batch} where an entry from {next} to index {through} should be");
            return Err(StorageError::new(reason));
        }
        next = LogId { term: batch.term(), index: batch.last().index.next() };
    }
    if batches.is_empty() {
        return Err(StorageError::new(format!("the log has no entries from {from} to {through}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
