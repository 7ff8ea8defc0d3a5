//! The peer's storage, in memory: a log that its three tasks share and a state machine that only counts.
//!
//! ```text
//!   RaftCore ── append ──▶ ┌───────────────┐ ◀── read ── replication task, one per follower
//!                          │ entries, vote │
//!   apply worker ◀─ read ──└───────────────┘
//! ```
//!
//! Made to stand in the peer's way as little as its traits allow: one short lock per call, entries in one
//! block of memory reserved before the clock runs, an append that is "durable" when it returns, and a read
//! for replication that checks the leader and copies the entries under one lock.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt, stream};
use openraft::alias::{EntryOf, LeaderIdOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::errors::LeaderChanged;
use openraft::storage::{
    EntryResponder, IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogStorage, RaftStateMachine,
};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader, RaftSnapshotBuilder};

use super::Types;

/// Entries that the log has room for before it must move: about what a node appends in a second.
const ENTRIES_RESERVED: usize = 1 << 20;

/// The log of one node; its clones are handles to the same log.
#[derive(Clone)]
pub(super) struct MemoryLog {
    kept: Arc<Mutex<Kept>>,
}

/// What a durable log would have on disk.
struct Kept {
    /// The last vote saved.
    vote: Option<VoteOf<Types>>,
    /// The last log id purged; the first entry follows it.
    purged: Option<LogIdOf<Types>>,
    /// Index of the first entry, also while there is none.
    first: u64,
    /// The entries from `first` on, without a gap.
    entries: VecDeque<EntryOf<Types>>,
}

impl MemoryLog {
    /// An empty log with room for a run.
    pub(super) fn new() -> Self {
        let entries = VecDeque::with_capacity(ENTRIES_RESERVED);
        let kept = Kept { vote: None, purged: None, first: 0, entries };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic under this lock has already ended the run; the others may still finish their reads.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Copies the entries of `range` that the log holds.
    fn copy(&self, range: &impl RangeBounds<u64>) -> Vec<EntryOf<Types>> {
        let end = self.first + self.entries.len() as u64;
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => self.first,
        };
        let until = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => end,
        };
        let (from, until) = (from.max(self.first), until.min(end));
        if from >= until {
            return Vec::new();
        }
        self.entries.range(self.position(from)..self.position(until)).cloned().collect()
    }

    /// Where the entry at `index` stands; `index` must not be below the first.
    fn position(&self, index: u64) -> usize {
        assert!(index >= self.first, "index {index} is purged: the log begins at {}", self.first);
        usize::try_from(index - self.first).unwrap_or(usize::MAX)
    }

    /// Adds one entry behind the last.
    fn push(&mut self, entry: EntryOf<Types>) {
        let next = self.first + self.entries.len() as u64;
        assert_eq!(entry.log_id.index, next, "the peer appended an entry with a gap before it");
        self.entries.push_back(entry);
    }
}

impl RaftLogReader<Types> for MemoryLog {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<Types>,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<Types>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let kept = self.lock();
        let led = kept.vote.as_ref().is_some_and(|vote| vote.leader_id() == &leader && vote.is_committed());
        let (entries, refusal) = if led {
            (kept.copy(&range), None)
        } else {
            let changed = LeaderChanged::new(leader, kept.vote);
            (Vec::new(), Some(Err(LeaderBoundedStreamError::LeaderChanged(changed))))
        };
        stream::iter(entries.into_iter().map(Ok).chain(refusal))
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        Ok(self.lock().copy(&range))
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let kept = self.lock();
        let last = kept.entries.back().map(RaftEntry::log_id).or(kept.purged);
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        {
            let mut kept = self.lock();
            for entry in entries {
                kept.push(entry);
            }
        }
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let mut kept = self.lock();
        let keep = last_log_id.map_or(0, |last| kept.position(last.index + 1));
        kept.entries.truncate(keep);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut kept = self.lock();
        let next = log_id.index + 1;
        if next > kept.first {
            let dropped = kept.position(next).min(kept.entries.len());
            kept.entries.drain(..dropped);
            kept.first = next;
            kept.purged = Some(log_id);
        }
        Ok(())
    }
}

/// A state machine without state but the count of the writes it was given.
pub(super) struct Counter {
    /// Writes applied; membership and blank entries do not count.
    count: u64,
    /// Where others read the count. Only this state machine stores it, so a store is enough.
    writes: Arc<AtomicU64>,
    /// The last log id applied.
    applied: Option<LogIdOf<Types>>,
    /// The last membership applied.
    membership: StoredMembershipOf<Types>,
}

impl Counter {
    /// Nothing applied; `writes` is where others read the count.
    pub(super) fn new(writes: Arc<AtomicU64>) -> Self {
        Self { count: 0, writes, applied: None, membership: StoredMembershipOf::<Types>::default() }
    }

    /// The answer to whatever asks for a snapshot, which this benchmark never takes.
    fn refusal() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "the benchmark's state machine takes no snapshots")
    }
}

impl RaftStateMachine<Types> for Counter {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshot;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(_) => {
                    self.count += 1;
                    self.writes.store(self.count, Ordering::Release);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembershipOf::<Types>::new(self.applied, membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshot {
        NoSnapshot
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf<Types>, _snapshot: ()) -> Result<(), io::Error> {
        Err(Self::refusal())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}

/// Refuses to build a snapshot.
pub(super) struct NoSnapshot;

impl RaftSnapshotBuilder<Types> for NoSnapshot {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        Err(Counter::refusal())
    }
}
