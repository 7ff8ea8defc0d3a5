//! The log in memory: for tests, benchmarks, and state that may be lost with all of its nodes.
//!
//! ```text
//!   owner ── append, truncate ──► ┌ held ──────────────────────────────┐ ◄── batches ── readers
//!                                 │ [1/1..3] [1/4] [2/5..9] [2/10..12] │
//!                                 └────────────────────────────────────┘   Arc clones: nothing is copied or encoded
//! ```
//!
//! What a snapshot covers leaves the log; the newest snapshot is in memory too.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use outrigger_engine::{
    Batch, Body, Genesis, Incarnation, LogId, LogIndex, LogTime, Membership, NodeId, Peer, Restored, Snapshot,
    SnapshotId, Vote,
};

use super::snapshots::checksum;
use super::{Built, LogReader, LogStore, Moment, Received, SnapshotStore, StorageError};

/// A [`LogStore`] in memory. What is queued is at once as durable as it will ever be, so it never blocks.
///
/// Clones share one log: opening a clone is what restarting a process on its disk is, which tests of restarts use.
///
/// ```
/// use outrigger::engine::{LogId, Vote, Term};
/// use outrigger::store::{LogStore, MemoryStore};
///
/// let mut store = MemoryStore::new();
/// store.save_vote(Vote { term: Term(1), voted_for: None })?;
/// let mut reopened = store.clone();
/// assert_eq!(reopened.restore()?.vote.term, Term(1));
/// assert_eq!(reopened.restore()?.last, LogId::ZERO);
/// # Ok::<(), outrigger::store::StorageError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Shared with the readers; locked for no longer than it takes to push or to clone a few batches.
    held: Arc<Mutex<Held>>,
}

/// The log and what stands beside it.
#[derive(Debug, Default)]
struct Held {
    /// What stands before the first entry.
    purged: LogId,
    /// The entries: the first batch begins right behind `purged`, each other right after the one before it; terms never go
    /// back.
    batches: VecDeque<Batch>,
    /// The last vote; its term never goes back.
    vote: Vote,
    /// The commit index; never goes back, never beyond the last entry.
    commit: LogIndex,
    /// The last life that was met of each peer.
    peers: BTreeMap<NodeId, Incarnation>,
    /// Who has refused the node, once somebody has: nobody starts from this log again.
    refused_by: Option<Peer>,
    /// The newest snapshot and its content.
    snapshot: Option<(Arc<Snapshot>, Bytes)>,
    /// What is there of a snapshot that is being received.
    received: Option<(SnapshotId, Vec<u8>)>,
}

impl MemoryStore {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing is changed before it is checked, so that a panic under the lock leaves the log whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemoryStore {
    fn restore(&mut self) -> Result<Restored, StorageError> {
        let mut held = self.held();
        if let Some(by) = held.refused_by {
            let reason = format!("{by} has met another life of this node; begin with an empty log");
            return Err(StorageError::new(reason));
        }
        let covered = held.snapshot.as_ref().map_or(LogId::ZERO, |(snapshot, _)| snapshot.last());
        if held.purged.index > covered.index {
            let reason =
                format!("the log begins behind {}, but its snapshot covers no more than {covered}", held.purged);
            return Err(StorageError::new(reason));
        }
        if !held.has(covered) {
            held.purge(covered);
            if held.vote.term < covered.term {
                held.vote = Vote { term: covered.term, voted_for: None };
            }
        }
        Ok(held.restored())
    }

    fn save_vote(&mut self, vote: Vote) -> Result<(), StorageError> {
        let mut held = self.held();
        assert!(vote.term >= held.vote.term, "the vote goes back from {:?} to {vote:?}", held.vote);
        held.vote = vote;
        Ok(())
    }

    fn save_peer(&mut self, peer: Peer) -> Result<(), StorageError> {
        self.held().peers.insert(peer.node, peer.incarnation);
        Ok(())
    }

    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        let mut held = self.held();
        for batch in batches {
            held.append(batch);
        }
        Ok(())
    }

    fn truncate(&mut self, after: LogId) -> Result<(), StorageError> {
        self.held().truncate(after);
        Ok(())
    }

    fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.held().purge(through);
        Ok(())
    }

    fn save_committed(&mut self, commit: LogIndex) -> Result<(), StorageError> {
        let mut held = self.held();
        let last = held.last();
        assert!(held.commit <= commit && commit <= last.index, "{commit} committed of a log that ends at {last}");
        held.commit = commit;
        Ok(())
    }

    fn save_refusal(&mut self, by: Peer, _: Incarnation) -> Result<(), StorageError> {
        self.held().refused_by = Some(by);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        Arc::new(self.clone())
    }

    fn blocks(&self) -> bool {
        false
    }
}

impl SnapshotStore for MemoryStore {
    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.held().snapshot.as_ref().map(|(snapshot, _)| Arc::clone(snapshot))
    }

    fn build(
        &self,
        of: &Moment,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Built, StorageError> {
        let genesis = self.held().genesis();
        let mut bytes = Vec::new();
        if let Err(error) = content(&mut bytes) {
            return Ok(Built::Not(error.to_string()));
        }
        let checksum = checksum(of, genesis, &bytes);
        let id = SnapshotId { last: of.last, bytes: bytes.len() as u64, checksum };
        let Moment { log_time, membership_at, .. } = *of;
        let membership = Arc::clone(&of.membership);
        let snapshot = Arc::new(Snapshot { id, log_time, membership, membership_at, genesis });
        Ok(match self.held().keep_snapshot(&snapshot, bytes.into()) {
            true => Built::Snapshot(snapshot),
            false => Built::Not(format!("one that covers more than {} is there already", of.last)),
        })
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let held = self.held();
        let content = held.snapshot.as_ref().filter(|(snapshot, _)| snapshot.id == id).map(|(_, content)| content);
        Ok(content.map(|content| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
            content.slice(start..start.saturating_add(bytes_max).min(content.len()))
        }))
    }

    fn content(&self, id: SnapshotId) -> Result<Box<dyn Read + Send>, StorageError> {
        match &self.held().snapshot {
            Some((snapshot, content)) if snapshot.id == id => Ok(Box::new(Cursor::new(content.clone()))),
            _ => Err(StorageError::new(format!("the snapshot {id} is not there"))),
        }
    }

    fn receive(&self, snapshot: &Arc<Snapshot>, offset: u64, chunk: &[u8]) -> Result<Received, StorageError> {
        // Nobody else receives meanwhile, and the log must not wait for the checksum.
        let before = self.held().received.take().filter(|(id, _)| *id == snapshot.id);
        let mut bytes = before.map_or_else(Vec::new, |(_, bytes)| bytes);
        if bytes.len() as u64 == offset {
            bytes.extend_from_slice(chunk);
        }
        let count = bytes.len() as u64;
        if count < snapshot.id.bytes {
            self.held().received = Some((snapshot.id, bytes));
        } else if count > snapshot.id.bytes
            || checksum(&Moment::of(snapshot), snapshot.genesis, &bytes) != snapshot.id.checksum
        {
            return Ok(Received::Spoiled(format!("{count} bytes came that are not the snapshot {}", snapshot.id)));
        } else {
            if !self.held().keep_snapshot(snapshot, bytes.into()) {
                return Ok(Received::Spoiled(format!("a newer snapshot than {} is there", snapshot.id)));
            }
        }
        Ok(Received::Held(count))
    }
}

impl LogReader for MemoryStore {
    fn batches(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Vec<Batch>, StorageError> {
        let held = self.held();
        let last = held.last();
        if from == LogIndex::ZERO || from > through || through > last.index {
            return Err(StorageError::new(format!("entries {from} to {through} are not in the log 1 to {last}")));
        }
        if from <= held.purged.index {
            return Err(StorageError::new(format!("entry {from} was purged, as all up to {}", held.purged)));
        }
        Ok(held.read(from, through, bytes_max))
    }

    fn purged(&self) -> LogId {
        self.held().purged
    }
}

impl Held {
    /// The last entry; of an empty log what stands before it.
    fn last(&self) -> LogId {
        self.batches.back().map_or(self.purged, Batch::last)
    }

    /// Whether the log holds an entry, or begins right behind it.
    fn has(&self, id: LogId) -> bool {
        let holds = |batch: &Batch| batch.first().index <= id.index && id.index <= batch.last().index;
        id == self.purged || self.batches.iter().any(|batch| holds(batch) && batch.term() == id.term)
    }

    fn genesis(&self) -> Genesis {
        match (&self.snapshot, self.batches.front()) {
            (Some((snapshot, _)), _) => snapshot.genesis,
            (None, Some(first)) => super::genesis(first),
            (None, None) => Genesis::UNKNOWN,
        }
    }

    /// One that comes late never takes the place of one that covers more. Answers whether it was kept.
    fn keep_snapshot(&mut self, snapshot: &Arc<Snapshot>, content: Bytes) -> bool {
        let is_kept = self.snapshot.as_ref().is_none_or(|(newest, _)| newest.last() <= snapshot.last());
        if is_kept {
            self.snapshot = Some((Arc::clone(snapshot), content));
        }
        is_kept
    }

    fn purge(&mut self, through: LogId) {
        assert!(through.index >= self.purged.index, "a purge goes back from {} to {through}", self.purged);
        let batches = if self.has(through) { std::mem::take(&mut self.batches) } else { VecDeque::new() };
        self.batches = batches.iter().filter_map(|batch| batch.after(through.index)).collect();
        self.purged = through;
        self.commit = self.commit.max(through.index);
    }

    fn append(&mut self, batch: &Batch) {
        let (last, first) = (self.last(), batch.first());
        assert!(first.index == last.index.next() && first.term >= last.term, "{first} cannot follow {last}");
        self.batches.push_back(batch.clone());
    }

    fn truncate(&mut self, after: LogId) {
        assert!(after.index >= self.commit, "a truncation after {after} of what is committed up to {}", self.commit);
        let dropped = self.batches.partition_point(|batch| batch.first().index <= after.index);
        self.batches.truncate(dropped);
        if let Some(end) = self.batches.pop_back() {
            self.batches.extend(end.through(after.index));
        }
        assert_eq!(self.last(), after, "a truncation keeps the entry that it names");
    }

    /// The entries from `from` to `through`, which are there, cut at about `bytes_max`.
    fn read(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Vec<Batch> {
        let start = self.batches.partition_point(|batch| batch.last().index < from);
        let mut found: Vec<Batch> = Vec::new();
        let mut room = bytes_max;
        for batch in self.batches.range(start..).take_while(|batch| batch.first().index <= through) {
            let whole = batch.after(from.previous()).and_then(|batch| batch.through(through));
            let whole = whole.expect("the range holds only batches that overlap with what is asked for");
            // One entry is always answered, even if it alone is beyond the limit.
            let fitting = whole.within(room);
            if !found.is_empty() && fitting.bytes() > room {
                break;
            }
            let cut = fitting.len() < whole.len();
            room = room.saturating_sub(fitting.bytes());
            found.push(fitting);
            if cut {
                break;
            }
        }
        assert_eq!(found.first().map(|batch| batch.first().index), Some(from), "a read begins where it was asked to");
        found
    }

    fn restored(&self) -> Restored {
        let mut terms: Vec<LogId> = Vec::new();
        for first in self.batches.iter().map(Batch::first) {
            if terms.last().is_none_or(|newest| newest.term != first.term) {
                terms.push(first);
            }
        }
        let snapshot = self.snapshot.as_ref().map(|(snapshot, _)| Arc::clone(snapshot));
        let before = snapshot.as_ref().map_or(LogTime(0), |snapshot| snapshot.log_time);
        Restored {
            vote: self.vote,
            terms,
            last: self.last(),
            purged: self.purged,
            snapshot,
            log_bytes: self.batches.iter().map(|batch| batch.bytes() as u64).sum(),
            log_time: self.batches.back().map_or(before, Batch::log_time),
            commit: self.commit,
            memberships: self.memberships(),
            genesis: self.genesis(),
            peers: self.peers.clone(),
        }
    }

    fn memberships(&self) -> Vec<(LogId, Arc<Membership>)> {
        let ids = |batch: &Batch| {
            let term = batch.term();
            (batch.first().index.0..).map(move |index| LogId { term, index: LogIndex(index) })
        };
        let identified = self.batches.iter().flat_map(|batch| ids(batch).zip(batch.entries()));
        let found = identified.filter_map(|(id, entry)| match &entry.body {
            Body::Membership(membership) => Some((id, Arc::clone(membership))),
            Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
        });
        found.collect()
    }
}
