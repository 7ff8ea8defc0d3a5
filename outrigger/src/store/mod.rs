//! Where the log lives: the trait, one store on disk, one in memory.

use std::sync::Arc;

use outrigger_engine::{Batch, Body, Genesis, Incarnation, LogId, LogIndex, Membership, Peer, Restored, Vote};

pub mod durable;
pub mod envelope;
pub mod inspect;
pub mod memory;
pub mod snapshots;
pub mod suite;

pub use durable::DurableStore;
pub use memory::MemoryStore;
pub use snapshots::{Built, Moment, Received, SnapshotStore};

/// What a Raft node must never forget: its vote, its entries, whom it met. One ordered stream of writes: what was
/// written first is durable first.
///
/// A store is a synchronous object with one owner, who hosts it on a thread of its own (the tokio runtime, if
/// [`blocks`](LogStore::blocks)) or calls it inline (the simulator). Writes queue up; [`flush`](LogStore::flush) makes
/// all of them durable at once. After an error the store is poisoned and answers every call with an error.
///
/// An implementation of one's own can be checked with [`suite`].
pub trait LogStore: Send + 'static {
    /// What was durable when the store was opened. Called once, before any write. Where the log does not hold the last entry
    /// of the newest snapshot, a crash came between the two: then the log is made to begin behind the snapshot first.
    ///
    /// [`Restored::genesis`] is that of the newest snapshot; without one, it is [that](genesis_of) of the members in the first entry. By
    /// it this node and those of other clusters refuse each other.
    ///
    /// # Errors
    /// When an entry that must be decoded (a membership) cannot be read, when no snapshot covers what the log has dropped, or
    /// after a [refusal](LogStore::save_refusal).
    fn restore(&mut self) -> Result<Restored, StorageError>;

    /// Queues a vote. Its term never goes back.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn save_vote(&mut self, vote: Vote) -> Result<(), StorageError>;

    /// Queues that this life of a peer was met.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn save_peer(&mut self, peer: Peer) -> Result<(), StorageError>;

    /// Queues entries; the first follows the last of the log.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError>;

    /// Queues that every entry behind `after` is dropped.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn truncate(&mut self, after: LogId) -> Result<(), StorageError>;

    /// Queues that every entry up to `through` is dropped: a durable snapshot covers them. If the log ends before
    /// this entry, all entries are dropped, and the next one follows it; where it holds another one in its place, it is truncated
    /// first.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn purge(&mut self, through: LogId) -> Result<(), StorageError>;

    /// Queues the commit index. It may become durable with any later flush; nobody waits for it.
    ///
    /// # Errors
    /// When the store is poisoned.
    fn save_committed(&mut self, commit: LogIndex) -> Result<(), StorageError>;

    /// Makes it durable at once that no node may ever start from this store again: the peer `by` had met `met` under the
    /// node's id, which outranks what is here. A store that forgets everything when it is closed has nothing to do.
    ///
    /// # Errors
    /// When it cannot be made durable. The store need not be poisoned: nothing that was promised depends on it.
    fn save_refusal(&mut self, by: Peer, met: Incarnation) -> Result<(), StorageError>;

    /// Makes everything queued so far durable.
    ///
    /// # Errors
    /// When the disk fails; the store is poisoned from then on.
    fn flush(&mut self) -> Result<(), StorageError>;

    /// Nothing was written for a while, or the end has come: a moment to leave evidence that the last write was durable,
    /// so that rot in it is told from a write that was cut short. Quick, and not necessary for safety.
    ///
    /// # Errors
    /// When the disk fails; the store is poisoned from then on.
    fn rest(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// A reader of what is written, for other threads.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// The snapshots that stand for what the log has dropped.
    fn snapshots(&self) -> Arc<dyn SnapshotStore>;

    /// Whether [`flush`](LogStore::flush) may take long, so that it wants a thread of its own.
    fn blocks(&self) -> bool {
        true
    }
}

/// Reads entries while the owner of the [`LogStore`] goes on writing.
pub trait LogReader: Send + Sync + 'static {
    /// The entries from `from` to `through`, contiguous, in order, at least one, cut at about `bytes_max`. Only
    /// entries that are flushed can be asked for.
    ///
    /// # Errors
    /// When they are not in the log, or not readable. A hole is an error, never an early end.
    fn batches(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Vec<Batch>, StorageError>;

    /// As [`batches`](Self::batches), for who can wait: a store that cannot read just now, and may soon, says so.
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    fn fetch(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Fetched, StorageError> {
        self.batches(from, through, bytes_max).map(Fetched::Batches)
    }

    /// What stands before the first entry, as far as that is flushed: it and all before it was purged.
    fn purged(&self) -> LogId;
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The entries.
    Batches(Vec<Batch>),
    /// The system has no room for it now, such as for one more open file. Nothing is damaged: ask again.
    NotNow(String),
}

/// What a cluster is known by: the checksum of the first entry of its log, the members that it began with.
pub(crate) fn genesis(first: &Batch) -> Genesis {
    match first.entries().first().map(|entry| &entry.body) {
        Some(Body::Membership(membership)) => genesis_of(membership),
        _ => Genesis::UNKNOWN,
    }
}

/// What a cluster that begins with these members is known by.
#[must_use]
pub fn genesis_of(membership: &Membership) -> Genesis {
    let mut encoded = Vec::new();
    envelope::encode_membership(membership, &mut encoded);
    genesis_by(&encoded)
}

/// What a cluster is known by that begins with these members from a snapshot of another one: another number than that of every
/// cluster that began with the same members, or from another snapshot.
pub(crate) fn genesis_from(membership: &Membership, begun_from: &outrigger_log::SnapshotId) -> Genesis {
    let mut encoded = Vec::new();
    envelope::encode_membership(membership, &mut encoded);
    for number in [begun_from.position.term, begun_from.position.index, begun_from.bytes, begun_from.checksum.into()] {
        encoded.extend_from_slice(&number.to_le_bytes());
    }
    genesis_by(&encoded)
}

fn genesis_by(beginning: &[u8]) -> Genesis {
    // Never that of an unknown one.
    Genesis(u64::from(crc32c::crc32c(beginning)) | 1 << 32)
}

/// The log cannot go on: the reason, for people. The node stops; nothing is tried again, because after a failed sync
/// nobody knows what is on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StorageError {
    /// What happened, where, and what to do.
    pub reason: String,
}

impl StorageError {
    /// An error for people.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}
