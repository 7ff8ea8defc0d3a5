//! A log whose disk fails or hangs as a test says.

use std::sync::Arc;

use outrigger::engine::{Batch, Incarnation, LogId, LogIndex, Peer, Restored, Vote};
use outrigger::store::{LogReader, LogStore, MemoryStore, SnapshotStore, StorageError};

/// A log in memory that does something of its own before each flush.
pub(crate) struct Frail<F> {
    inner: MemoryStore,
    blocks: bool,
    before_flush: F,
}

impl<F: FnMut() -> Result<(), StorageError> + Send> Frail<F> {
    /// `blocks` is [`LogStore::blocks`].
    pub(crate) fn new(blocks: bool, before_flush: F) -> Self {
        Self { inner: MemoryStore::new(), blocks, before_flush }
    }
}

impl<F: FnMut() -> Result<(), StorageError> + Send + 'static> LogStore for Frail<F> {
    fn restore(&mut self) -> Result<Restored, StorageError> {
        self.inner.restore()
    }
    fn save_vote(&mut self, vote: Vote) -> Result<(), StorageError> {
        self.inner.save_vote(vote)
    }
    fn save_peer(&mut self, peer: Peer) -> Result<(), StorageError> {
        self.inner.save_peer(peer)
    }
    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        self.inner.append(batches)
    }
    fn truncate(&mut self, after: LogId) -> Result<(), StorageError> {
        self.inner.truncate(after)
    }
    fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.inner.purge(through)
    }
    fn save_committed(&mut self, commit: LogIndex) -> Result<(), StorageError> {
        self.inner.save_committed(commit)
    }
    fn save_refusal(&mut self, by: Peer, met: Incarnation) -> Result<(), StorageError> {
        self.inner.save_refusal(by, met)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        (self.before_flush)()?;
        self.inner.flush()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }
    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        self.inner.snapshots()
    }
    fn blocks(&self) -> bool {
        self.blocks
    }
}
