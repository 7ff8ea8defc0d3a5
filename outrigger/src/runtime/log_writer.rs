//! The log lane: votes and entries on their way to the log, in their one order.
//!
//! ```text
//!   RaftCore ── submit ──► queue ──► thread: all that is queued, then ONE flush ── LogFlushed(last) ──► RaftCore
//!                                      (a store that does not block is written where it is submitted)
//! ```
//!
//! A slow disk holds up the thread and nothing else: votes are counted, heartbeats are sent, reads are answered. While
//! it syncs, the next writes queue up and share the next sync.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrigger_engine::{Batch, Event, Incarnation, LogId, LogIndex, Peer, Vote, WriteId};

use crate::store::{LogReader, LogStore, StorageError};

/// One write, as the engine commands it.
#[derive(Debug)]
pub(crate) enum Write {
    Vote(WriteId, Vote),
    Peer(WriteId, Peer),
    Append(WriteId, Vec<Batch>),
    Truncate(WriteId, LogId),
    /// Nobody waits for it.
    Committed(LogIndex),
    /// The node has ended and the last word is written before its thread ends.
    Refusal(Peer, Incarnation),
}

impl Write {
    /// What is to be reported once the write is durable.
    const fn id(&self) -> Option<WriteId> {
        match self {
            Self::Vote(id, _) | Self::Peer(id, _) | Self::Append(id, _) | Self::Truncate(id, _) => Some(*id),
            Self::Committed(_) | Self::Refusal(..) => None,
        }
    }

    fn queue_in(&self, store: &mut dyn LogStore) -> Result<(), StorageError> {
        match self {
            Self::Vote(_, vote) => store.save_vote(*vote),
            Self::Peer(_, peer) => store.save_peer(*peer),
            Self::Append(_, batches) => store.append(batches),
            Self::Truncate(_, after) => store.truncate(*after),
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
    /// The queue of a thread.
    Thread(Arc<WriteQueue>),
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
            Self::Thread(queue) => queue.push(write),
        }
        Ok(())
    }

    /// What is durable and not reported yet, where no thread reports it.
    pub(crate) const fn take_flushed(&mut self) -> Option<WriteId> {
        match self {
            Self::Inline { flushed, .. } => flushed.take(),
            Self::Thread(_) => None,
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

/// What waits for the log writer's thread.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    inside: Mutex<Inside>,
    /// Rings when a write that somebody waits for is queued, or the end has come.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    /// In the order of their ids.
    writes: VecDeque<Write>,
    /// Whether a write in `writes` is waited for.
    is_urgent: bool,
    /// Whether the thread is to end, once all is written.
    is_closed: bool,
}

impl WriteQueue {
    fn push(&self, write: Write) {
        let is_urgent = write.id().is_some();
        let must_ring = {
            let mut inside = self.lock();
            inside.writes.push_back(write);
            let is_first = is_urgent && !inside.is_urgent;
            inside.is_urgent |= is_urgent;
            is_first
        };
        if must_ring {
            self.bell.notify_one();
        }
    }

    /// Lets the thread end once all that is queued is durable.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.bell.notify_one();
    }

    /// Waits for writes and takes them all; for no longer than `at_most`, if that is given.
    fn take(&self, taken: &mut Vec<Write>, at_most: Option<Duration>) -> Taken {
        let mut inside = self.lock();
        while !inside.is_urgent && !inside.is_closed {
            let Some(at_most) = at_most else {
                inside = self.bell.wait(inside).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, waited) = self.bell.wait_timeout(inside, at_most).unwrap_or_else(PoisonError::into_inner);
            inside = guard;
            if waited.timed_out() && !inside.is_urgent && !inside.is_closed {
                return Taken::Nothing;
            }
        }
        inside.is_urgent = false;
        taken.extend(inside.writes.drain(..));
        if taken.is_empty() { Taken::End } else { Taken::Writes }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread that owns the store. It calls `written` after each flush, and tells `report` what is durable, in
/// order, and a failure once.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn spawn(
    name: String,
    mut store: Box<dyn LogStore>,
    written: impl Fn() + Send + 'static,
    report: impl Fn(Event) + Send + 'static,
) -> std::io::Result<(Arc<WriteQueue>, JoinHandle<()>)> {
    let queue = Arc::new(WriteQueue::default());
    let own = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut writes = Vec::new();
        let mut rests_in = Some(REST_AFTER);
        loop {
            match own.take(&mut writes, rests_in) {
                Taken::Writes => rests_in = Some(REST_AFTER),
                Taken::Nothing => {
                    rests_in = None;
                    if let Err(error) = store.rest() {
                        return report(Event::StorageFailed { reason: error.reason });
                    }
                    continue;
                }
                Taken::End => break,
            }
            let began = Instant::now();
            let outcome = write_all(store.as_mut(), &writes);
            let took = began.elapsed();
            if took >= SLOW_AFTER {
                tracing::warn!(?took, writes = writes.len(), "the disk is slow: a write of the log took long");
            }
            match outcome {
                Ok(Some(write)) => report(Event::LogFlushed { write }),
                Ok(None) => {}
                // After a failed sync nobody knows what is on the disk: nothing is written any more.
                Err(error) => return report(Event::StorageFailed { reason: error.reason }),
            }
            written();
            writes.clear();
        }
        // What nobody waits for may still be queued in the store: a clean end loses nothing. If it fails, nothing that
        // was promised is lost either.
        if let Err(error) = store.flush().and_then(|()| store.rest()) {
            tracing::warn!(reason = error.reason, "the last commit index is not saved");
        }
    })?;
    Ok((queue, thread))
}

/// Reads entries that memory no longer holds, without holding up the thread that asks.
#[derive(Clone)]
pub(crate) struct LogAccess {
    pub(crate) reader: Arc<dyn LogReader>,
    /// Whether reading may take long.
    pub(crate) blocks: bool,
}

impl LogAccess {
    /// The entries from `from` to `through`, contiguous, at least one, cut at about `bytes_max`.
    pub(crate) async fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, StorageError> {
        let batches = if self.blocks {
            let reader = Arc::clone(&self.reader);
            let read = tokio::task::spawn_blocking(move || reader.batches(from, through, bytes_max));
            read.await.unwrap_or_else(|error| Err(StorageError::new(format!("the read ended early: {error}"))))?
        } else {
            self.reader.batches(from, through, bytes_max)?
        };
        check(from, through, &batches)?;
        Ok(batches)
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
