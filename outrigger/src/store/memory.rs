//! The log in memory: for tests, benchmarks, and state that may be lost with all of its nodes.
//!
//! ```text
//!   owner ── append, truncate ──► ┌ held ──────────────────────────────┐ ◄── batches ── readers
//!                                 │ [1/1..3] [1/4] [2/5..9] [2/10..12] │
//!                                 └────────────────────────────────────┘   Arc clones: nothing is copied or encoded
//! ```
//!
//! Nothing is ever evicted: a node needs all of its log until snapshots can replace a part of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrigger_engine::{Batch, Body, Incarnation, LogId, LogIndex, LogTime, Membership, NodeId, Peer, Restored, Vote};

use super::{LogReader, LogStore, StorageError};

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
    /// The entries: the first batch begins at index 1, each other right after the one before it; terms never go back.
    batches: VecDeque<Batch>,
    /// The last vote; its term never goes back.
    vote: Vote,
    /// The commit index; never goes back, never beyond the last entry.
    commit: LogIndex,
    /// The last life that was met of each peer.
    peers: BTreeMap<NodeId, Incarnation>,
    /// Who has refused the node, once somebody has: nobody starts from this log again.
    refused_by: Option<Peer>,
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
        let held = self.held();
        match held.refused_by {
            Some(by) => {
                Err(StorageError::new(format!("{by} has met another life of this node; begin with an empty log")))
            }
            None => Ok(held.restored()),
        }
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

    fn blocks(&self) -> bool {
        false
    }
}

impl LogReader for MemoryStore {
    fn batches(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Vec<Batch>, StorageError> {
        let held = self.held();
        let last = held.last();
        if from == LogIndex::ZERO || from > through || through > last.index {
            return Err(StorageError::new(format!("entries {from} to {through} are not in the log 1 to {last}")));
        }
        Ok(held.read(from, through, bytes_max))
    }
}

impl Held {
    /// The last entry; [`LogId::ZERO`] of an empty log.
    fn last(&self) -> LogId {
        self.batches.back().map_or(LogId::ZERO, Batch::last)
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
        Restored {
            vote: self.vote,
            terms,
            last: self.last(),
            log_time: self.batches.back().map_or(LogTime(0), Batch::log_time),
            commit: self.commit,
            memberships: self.memberships(),
            peers: self.peers.clone(),
        }
    }

    fn memberships(&self) -> Vec<(LogIndex, Arc<Membership>)> {
        let indexed = self.batches.iter().flat_map(|batch| (batch.first().index.0..).zip(batch.entries()));
        let found = indexed.filter_map(|(index, entry)| match &entry.body {
            Body::Membership(membership) => Some((LogIndex(index), Arc::clone(membership))),
            Body::Blank | Body::Command(_) => None,
        });
        found.collect()
    }
}
