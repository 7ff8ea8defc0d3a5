//! Replication streams: one task for each target, which sends what the engine decided, in order.
//!
//! ```text
//!   RaftCore ─┬─ nothing waits, the lane has room, memory holds it ──────────────► Transport::send_bulk
//!             └─ else ──► Outbox ──► task: waits for room, reads from the log ───► Transport::send_bulk
//!                                     │
//!                                     └── Sent, ReplicateGone, SnapshotUnreadable, Room ──► RaftCore
//! ```
//!
//! The task is for waiting; what needs no waiting is sent by RaftCore itself, which saves a change of tasks for each
//! request. Either way a target's commands leave in the order in which they were given.
//!
//! A log that cannot be read stops the node; a snapshot that cannot be read does not: it is of a state that is in memory, and is
//! taken anew.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use outrigger_engine::{
    AppendEntries, Batch, Epoch, Event, InstallSnapshot, Lane, LogId, LogIndex, Message, NodeId, RequestId, Snapshot,
    Term,
};
use tokio::task::{AbortHandle, JoinSet};

use super::arrivals::{Inbox, Notice};
use super::log_writer::LogAccess;
use super::mailbox::Mailbox;
use super::snapshot::SnapshotAccess;
use crate::LargeStateMachine;
use crate::network::Transport;
use crate::store::StorageError;

/// So many commands wait in a stream; the next ones are handed back.
const COMMANDS_MAX: usize = 8;

/// [`Command::Replicate`](outrigger_engine::Command::Replicate), without its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicate {
    pub(crate) epoch: Epoch,
    pub(crate) request: RequestId,
    pub(crate) term: Term,
    pub(crate) prev: LogId,
    pub(crate) last: LogId,
    pub(crate) commit: LogIndex,
    pub(crate) bytes_max: usize,
}

impl Replicate {
    /// The message that carries these entries, and what is to be reported once it is sent.
    fn message(self, target: NodeId, batches: Vec<Batch>) -> (Message, Event) {
        let Self { epoch, request, term, prev, last: wanted, commit, .. } = self;
        let last = batches.last().map_or(prev, Batch::last);
        assert!(
            last.index <= wanted.index && (last == prev) == (wanted == prev),
            "{last} is sent to node {target} where {prev} to {wanted} was asked for"
        );
        let bytes = batches.iter().map(Batch::bytes).sum();
        let sent = Event::Sent { target, epoch, request, last: last.index, bytes };
        (Message::AppendEntries(AppendEntries { term, epoch, request, prev, batches, commit }), sent)
    }
}

/// [`Command::SendSnapshot`](outrigger_engine::Command::SendSnapshot), without its lane.
#[derive(Clone, Debug)]
pub(crate) struct SendSnapshot {
    pub(crate) epoch: Epoch,
    pub(crate) request: RequestId,
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) offset: u64,
    pub(crate) bytes_max: usize,
}

/// What a stream is asked to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// These entries.
    Entries(Replicate, Vec<Batch>),
    /// The entries after `Replicate::prev` up to this index, which must be read from the log.
    FromLog(Replicate, LogIndex),
    /// A piece of a snapshot, which must be read.
    Snapshot(SendSnapshot),
    /// That piece.
    Piece(SendSnapshot, Bytes),
    /// How much is committed.
    Committed { term: Term, commit: LogIndex },
}

/// What RaftCore and the task share.
struct Shared<S: LargeStateMachine> {
    target: NodeId,
    outbox: Mailbox<Vec<Outgoing>>,
    /// Commands that were given to the task and not yet sent. Only RaftCore increases it.
    waiting: AtomicUsize,
    /// Whether a command was handed back since the task last told of room.
    wants_room: AtomicBool,
    transport: Arc<dyn Transport>,
    log: LogAccess,
    snapshots: SnapshotAccess,
    inbox: Arc<Inbox<S>>,
}

/// Tells of a task that panics. Nobody else would: its target would be sent nothing any more, and count as slow.
struct PanicGuard<'a, S: LargeStateMachine>(&'a Shared<S>);

impl<S: LargeStateMachine> Drop for PanicGuard<'_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = format!("the replication stream to node {} has panicked", self.0.target);
            self.0.inbox.notify(Event::StorageFailed { reason });
        }
    }
}

/// RaftCore's end of a stream.
pub(crate) struct Stream<S: LargeStateMachine> {
    epoch: Epoch,
    shared: Arc<Shared<S>>,
    task: AbortHandle,
}

impl<S: LargeStateMachine> Stream<S> {
    /// Begins a stream; its task joins `tasks`.
    pub(crate) fn begin(
        (target, epoch): (NodeId, Epoch),
        transport: &Arc<dyn Transport>,
        (log, snapshots): (&LogAccess, &SnapshotAccess),
        inbox: &Arc<Inbox<S>>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let shared = Arc::new(Shared {
            target,
            outbox: Mailbox::new(),
            waiting: AtomicUsize::new(0),
            wants_room: AtomicBool::new(false),
            transport: Arc::clone(transport),
            log: log.clone(),
            snapshots: snapshots.clone(),
            inbox: Arc::clone(inbox),
        });
        let task = tasks.spawn(Arc::clone(&shared).run());
        Self { epoch, shared, task }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it takes no command now. If it does not, it tells RaftCore when it has room.
    pub(crate) fn is_full(&self) -> bool {
        if self.shared.waiting.load(Ordering::SeqCst) < COMMANDS_MAX {
            return false;
        }
        self.shared.wants_room.store(true, Ordering::SeqCst);
        // The task may have sent all of it before it could see the wish.
        self.shared.waiting.load(Ordering::SeqCst) >= COMMANDS_MAX
    }

    /// Sends it now if that needs no waiting, and answers what is to be reported; else leaves it to the task.
    pub(crate) fn send(&self, outgoing: Outgoing) -> Option<Event> {
        let shared = &self.shared;
        // Only RaftCore gives commands: where none waits now, none will before this one.
        let is_first = shared.waiting.load(Ordering::SeqCst) == 0;
        let mut unobserved = Context::from_waker(Waker::noop());
        if is_first
            && !matches!(outgoing, Outgoing::FromLog(..) | Outgoing::Snapshot(_))
            && shared.transport.poll_ready(shared.target, &mut unobserved).is_ready()
        {
            return shared.hand_over(outgoing);
        }
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        let _: Option<()> = shared.outbox.put(|commands| commands.push(outgoing));
        None
    }
}

/// A stream that ends sends nothing any more.
impl<S: LargeStateMachine> Drop for Stream<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: LargeStateMachine> Shared<S> {
    async fn run(self: Arc<Self>) {
        let _guard = PanicGuard(&self);
        let mut taken = Vec::new();
        loop {
            poll_fn(|context| self.outbox.poll_take(&mut taken, context)).await;
            for outgoing in taken.drain(..) {
                match self.send(outgoing).await {
                    Ok(event) => event.into_iter().for_each(|event| self.inbox.notify(event)),
                    // What is flushed cannot be read: this log is damaged, and the node must not lead with it.
                    Err(error) => return self.inbox.notify(Event::StorageFailed { reason: error.reason }),
                }
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                if self.wants_room.swap(false, Ordering::SeqCst) {
                    self.inbox.notice(Notice::Room(Lane::Peer(self.target)));
                }
            }
        }
    }

    /// Sends one command; answers what is to be reported.
    async fn send(&self, outgoing: Outgoing) -> Result<Option<Event>, StorageError> {
        let outgoing = match outgoing {
            Outgoing::FromLog(replicate, through) => match self.read(replicate, through).await? {
                Some(batches) => Outgoing::Entries(replicate, batches),
                None => return Ok(Some(self.gone(replicate.epoch, replicate.request))),
            },
            Outgoing::Snapshot(piece) => {
                match self.snapshots.read(piece.snapshot.id, piece.offset, piece.bytes_max).await {
                    Ok(Some(chunk)) => {
                        self.snapshots.sending(chunk.len()).await;
                        Outgoing::Piece(piece, chunk)
                    }
                    // RaftCore would want the one that it knows sent for ever: it is to know another one.
                    Ok(None) if self.snapshots.is_replaced(piece.snapshot.id) => {
                        return Ok(Some(self.replaced(&piece)));
                    }
                    Ok(None) => return Ok(Some(self.gone(piece.epoch, piece.request))),
                    Err(error) => return Ok(Some(self.unreadable(&piece, error))),
                }
            }
            ready @ (Outgoing::Entries(..) | Outgoing::Piece(..) | Outgoing::Committed { .. }) => ready,
        };
        poll_fn(|context| self.transport.poll_ready(self.target, context)).await;
        Ok(self.hand_over(outgoing))
    }

    /// Gives it to the transport, which has room.
    fn hand_over(&self, outgoing: Outgoing) -> Option<Event> {
        match outgoing {
            Outgoing::Entries(replicate, batches) => {
                let (message, sent) = replicate.message(self.target, batches);
                self.transport.send_bulk(self.target, message);
                Some(sent)
            }
            Outgoing::Piece(piece, chunk) => {
                let SendSnapshot { epoch, request, term, leader, snapshot, offset, .. } = piece;
                let piece = InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk };
                self.transport.send_bulk(self.target, Message::InstallSnapshot(piece));
                Some(Event::SnapshotSent { target: self.target, epoch, request })
            }
            Outgoing::Committed { term, commit } => {
                self.transport.send_bulk(self.target, Message::Committed { term, commit });
                None
            }
            Outgoing::Snapshot(piece) => {
                panic!("the piece of {} at {} is not read yet", piece.snapshot.id, piece.offset)
            }
            Outgoing::FromLog(replicate, through) => {
                panic!("entries from {} to {through} are not read yet", replicate.prev)
            }
        }
    }

    /// The entries behind `prev` up to `through`, cut at the limit; `None` if the log holds others under these indexes.
    async fn read(&self, replicate: Replicate, through: LogIndex) -> Result<Option<Vec<Batch>>, StorageError> {
        let before = self.log.reader.purged();
        let read = self.read_behind(replicate, through).await;
        let purged = self.log.reader.purged();
        // What is purged meanwhile is no damage.
        if read.is_err() && purged != before && purged.index >= replicate.prev.index { Ok(None) } else { read }
    }

    async fn read_behind(&self, replicate: Replicate, through: LogIndex) -> Result<Option<Vec<Batch>>, StorageError> {
        let Replicate { prev, last, bytes_max, .. } = replicate;
        let purged = self.log.reader.purged();
        if purged.index > prev.index || (purged.index == prev.index && purged != prev) {
            return Ok(None);
        }
        if prev.index > purged.index {
            let before = self.log.read(prev.index, prev.index, 0).await?;
            if before.first().is_none_or(|batch| batch.first() != prev) {
                return Ok(None);
            }
        }
        if through == prev.index {
            return Ok(Some(Vec::new()));
        }
        let batches = self.log.read(prev.index.next(), through, bytes_max).await?;
        let found = batches.last().map_or(prev, Batch::last);
        let is_same = if found.index == last.index { found == last } else { found.term <= last.term };
        Ok(is_same.then_some(batches))
    }

    const fn gone(&self, epoch: Epoch, request: RequestId) -> Event {
        Event::ReplicateGone { target: self.target, epoch, request }
    }

    fn replaced(&self, piece: &SendSnapshot) -> Event {
        let (epoch, request, id) = (piece.epoch, piece.request, piece.snapshot.id);
        let reason = "another one of the same entries has taken its place".to_owned();
        tracing::warn!(snapshot = %id, to = %self.target, reason, "this snapshot cannot be sent; another one is taken");
        Event::SnapshotUnreadable { target: self.target, epoch, request, id, reason }
    }

    /// The snapshot's file is damaged. That is no reason to stop: nothing of what this node answers with comes from there.
    fn unreadable(&self, piece: &SendSnapshot, StorageError { reason }: StorageError) -> Event {
        let (epoch, request, id) = (piece.epoch, piece.request, piece.snapshot.id);
        tracing::error!(
            snapshot = %id,
            to = %self.target,
            reason,
            "this node's snapshot cannot be read to be sent; another one of the state in memory will take its place, and until then \
             this node must not be restarted"
        );
        Event::SnapshotUnreadable { target: self.target, epoch, request, id, reason }
    }
}

#[cfg(test)]
mod tests;
