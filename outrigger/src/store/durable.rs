//! The log on disk: this crate's words on one side, the records of `outrigger-log` on the other.
//!
//! ```text
//!   Batch 3/7..9 [command, membership, command]
//!     │ encode each payload (envelope), a membership into a marked run of its own
//!     ▼
//!   Entries 3/7 │ Entries 3/8, marked │ Entries 3/9        queued in the log
//!     │ flush: one write, one fdatasync
//!     ▼
//!   disk
//! ```
//!
//! Marks make a start quick: only the last committed membership, those behind it, and the last entry are read, whatever the
//! log's length.
//!
//! # A full disk
//! The log itself could go on: what does not fit stays queued, reads are answered, a vote still has its reserve. This
//! store takes it for a failure all the same, and the node stops. A leader that stays in office and cannot append would
//! keep the whole cluster from writing, although the others have room: when it stops, one of those is elected. A
//! follower that cannot append cannot acknowledge, so that the cluster is as well without it. Nothing is lost by
//! stopping; when there is room again, the node starts, and says until then that there is none.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use outrigger_engine::{
    Batch, Body, Genesis, Incarnation, LogId, LogIndex, LogTime, Membership, NodeId, Payload, Peer, Restored, Snapshot,
    SnapshotId, Term, Vote,
};
use outrigger_log::{
    Cut, Disk, GroupId, GroupState, Log, LogPosition, OpenError, OpenOptions, PeerIdentity, Preparer, ReadError,
    Record, Run, SnapshotBuilder, SnapshotError, SnapshotReceiver, Snapshots,
};

use super::snapshots::{decode_head, encode_head};
use super::{Built, Fetched, LogReader, LogStore, Moment, Received, SnapshotStore, StorageError, envelope};

/// The one group of a store. Its number is in every record, so that many groups can share a log later.
pub(super) const GROUP: GroupId = GroupId(0);

/// A [`LogStore`] on a [`Disk`]: the one that a node of a durable cluster has.
///
/// ```
/// use outrigger::engine::{Term, Vote};
/// use outrigger::store::{DurableStore, LogStore};
/// use outrigger_log::{OpenOptions, RealDisk};
///
/// let directory = tempfile::tempdir()?;
/// // The numbers that must be random are fixed here for the example's sake.
/// let options = OpenOptions::new(7, 1, 0x1234, 0x5678);
/// let mut store = DurableStore::open(RealDisk, directory.path(), options.clone())?;
/// store.save_vote(Vote { term: Term(1), voted_for: None })?;
/// store.flush()?;
/// drop(store);
///
/// let mut store = DurableStore::open(RealDisk, directory.path(), options)?;
/// assert_eq!(store.identity().incarnation.start, 2, "the second start of this directory");
/// assert_eq!(store.restore()?.vote.term, Term(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DurableStore<D: Disk> {
    /// Queues, writes, recovers.
    log: Log<D>,
    /// What stands for what the log has dropped.
    snapshots: Arc<Files<D>>,
    /// Why the store is poisoned; set once, by the first failure.
    failure: Option<StorageError>,
}

impl<D: Disk> DurableStore<D> {
    /// Opens the log of a directory, or creates it in an empty or absent one, and takes its lock until it is dropped.
    ///
    /// # Errors
    /// When the directory belongs to another node or cluster, is in use, is not readable or is damaged. Nothing in it
    /// is changed then.
    pub fn open(disk: D, directory: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let (own, cluster) = (disk.clone(), options.cluster);
        let log = Log::open(disk, directory, options)?;
        let files = Snapshots::open(own, directory, cluster)?;
        #[cfg(feature = "tokio")]
        if let Some(cut) = log.cut() {
            tracing::warn!(
                node = log.identity().node,
                file = %cut.file.display(),
                offset = cut.offset,
                bytes = cut.bytes,
                first_index = cut.index,
                "the last write to the log was not finished and is cut: {}",
                cut.what
            );
        }
        let snapshots = Arc::new(Files { files, log: Reader(log.reader()), receiving: Mutex::new(None) });
        Ok(Self { log, snapshots, failure: None })
    }

    /// The node, in the life that this opening began.
    pub fn identity(&self) -> Peer {
        let identity = self.log.identity();
        let incarnation = Incarnation { id: identity.incarnation, start: identity.start, nonce: identity.nonce };
        Peer::new(NodeId(identity.node), incarnation)
    }

    /// What this opening has cut off the end of the log, as a write that was not finished; see [`Log::cut`].
    pub const fn cut(&self) -> Option<&Cut> {
        self.log.cut()
    }

    /// Makes files ahead of need. Whoever hosts the store hosts this on another thread, so that a flush never waits for
    /// a new file; nothing breaks without it.
    pub fn preparer(&self) -> Preparer<D> {
        self.log.preparer()
    }

    /// The state of everything that was queued; `None` before anything ever was.
    fn state(&self) -> Option<&GroupState> {
        self.log.group(GROUP)
    }

    fn queue(&mut self, record: Record<'_>) -> Result<(), StorageError> {
        self.whole()?;
        self.log.append(GROUP, record).map_err(|error| self.poison(error))
    }

    /// Queues consecutive entries of a batch as one run.
    fn queue_run(
        &mut self,
        batch: &Batch,
        offset: usize,
        payloads: &[Bytes],
        marked: bool,
    ) -> Result<(), StorageError> {
        if payloads.is_empty() {
            return Ok(());
        }
        let (term, log_time) = (batch.term().0, batch.log_time().0);
        let first = batch.first().index.0 + offset as u64;
        self.queue(Record::Entries { term, first, log_time, payloads, marked })
    }

    fn queue_batch(&mut self, batch: &Batch) -> Result<(), StorageError> {
        if let [only] = batch.entries() {
            // Most batches hold one entry, which needs no lists.
            let mut memory = Vec::with_capacity(envelope::encoded_len(only));
            envelope::encode(only, &mut memory);
            return self.queue_run(batch, 0, &[memory.into()], is_membership(only));
        }
        let payloads = encoded(batch.entries());
        let mut done = 0;
        for (at, _) in batch.entries().iter().enumerate().filter(|(_, entry)| is_membership(entry)) {
            self.queue_run(batch, done, &payloads[done..at], false)?;
            self.queue_run(batch, at, &payloads[at..=at], true)?;
            done = at + 1;
        }
        self.queue_run(batch, done, &payloads[done..], false)
    }

    /// Makes the log begin behind the newest snapshot if it does not hold the last entry of that: a crash came between the
    /// two. What else the log holds behind its commit index is not in the snapshot, or is covered by it.
    fn begin_behind(&mut self, snapshot: &Snapshot) -> Result<(), StorageError> {
        mutate!(store_begins_before_snapshot, return Ok(()));
        let (last, state) = (snapshot.last(), self.state().cloned().unwrap_or_default());
        // What is missing between the two is for the caller to tell.
        if state.term_at(last.index.0) == Some(last.term.0) || last.index.0 < state.purged.index {
            return Ok(());
        }
        if contradicts(last, &state) {
            let (committed, name) = (state.committed, self.log_name());
            return Err(StorageError::new(format!(
                "the snapshot of {last} contradicts {name}, which is committed up to {committed}: are the files of two nodes in one \
                 directory?"
            )));
        }
        if state.vote.term < last.term.0 {
            // Its vote was still on the way to the disk; nobody was told of it.
            self.queue(Record::Vote { term: last.term.0, voted_for: None })?;
        }
        if state.last.index > state.committed {
            self.queue(Record::Truncate { after: state.committed })?;
        }
        self.queue(Record::Purge { through: position(last) })?;
        self.flush()
    }

    fn log_name(&self) -> String {
        format!("the log of node {}", self.log.identity().node)
    }

    /// Fails if something failed before.
    fn whole(&self) -> Result<(), StorageError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Remembers the first failure.
    fn poison(&mut self, error: impl fmt::Display) -> StorageError {
        self.failure.get_or_insert_with(|| StorageError::new(error)).clone()
    }
}

impl<D: Disk> LogStore for DurableStore<D> {
    fn restore(&mut self) -> Result<Restored, StorageError> {
        self.whole()?;
        let snapshot = self.snapshots.newest_decoded()?;
        if let Some(snapshot) = &snapshot {
            let (state, log) = (self.state().cloned().unwrap_or_default(), Reader(self.log.reader()));
            if let Some(reason) = other_cluster(snapshot, &state, &log)? {
                let name = self.log_name();
                return Err(StorageError::new(format!("{name}: {reason} put back what belongs here")));
            }
            self.begin_behind(snapshot)?;
        }
        let Some(state) = self.state() else { return Ok(Restored::default()) };
        let (purged, covered) = (log_id(state.purged), snapshot.as_ref().map_or(LogId::ZERO, Snapshot::last));
        if purged.index > covered.index {
            let (name, node) = (self.log_name(), self.log.identity().node);
            return Err(StorageError::new(format!(
                "{name} begins behind {purged}, but its snapshots cover no more than {covered}: were files removed? put them back. \
                 If they are lost: remove node {node} from the members, empty this directory, add the node again as a learner, start it \
                 to join and not with the initial members, and promote it once it has caught up"
            )));
        }
        let reader = Reader(self.log.reader());
        let last = log_id(state.last);
        let log_time = match &snapshot {
            _ if state.last != state.purged => reader.one(last.index)?.log_time(),
            Some(snapshot) => snapshot.log_time,
            None => LogTime(0),
        };
        let genesis = match self.snapshots.genesis()? {
            Err(reason) if last != LogId::ZERO => return Err(StorageError::new(reason)),
            genesis => genesis.unwrap_or_default(),
        };
        let mut memberships = Vec::new();
        for index in undecided(state) {
            let term = state.term_at(*index).unwrap_or(0);
            memberships.push((LogId::new(term, *index), reader.membership(LogIndex(*index))?));
        }
        mutate!(store_forgets_membership, memberships = Vec::new());
        Ok(Restored {
            vote: Vote { term: Term(state.vote.term), voted_for: state.vote.voted_for.map(NodeId) },
            terms: state.terms.iter().copied().map(log_id).collect(),
            last,
            purged,
            snapshot: snapshot.map(Arc::new),
            log_bytes: reader.0.bytes_behind(GROUP, covered.index.0),
            log_time,
            commit: LogIndex(state.committed),
            memberships,
            genesis,
            peers: state.peers.iter().map(|(node, life)| (NodeId(*node), incarnation(*life))).collect(),
        })
    }

    fn save_vote(&mut self, vote: Vote) -> Result<(), StorageError> {
        mutate!(store_forgets_candidate, vote = Vote { voted_for: None, ..vote });
        self.queue(Record::Vote { term: vote.term.0, voted_for: vote.voted_for.map(|node| node.0) })
    }

    fn save_peer(&mut self, peer: Peer) -> Result<(), StorageError> {
        mutate!(store_forgets_peer, return Ok(()));
        let Incarnation { id, start, nonce } = peer.incarnation;
        let identity = PeerIdentity { incarnation: id, start, nonce };
        self.queue(Record::Peer { node: peer.node.0, identity })
    }

    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        batches.iter().try_for_each(|batch| self.queue_batch(batch))
    }

    fn truncate(&mut self, after: LogId) -> Result<(), StorageError> {
        self.whole()?;
        let term = self.state().map_or(Some(0), |state| state.term_at(after.index.0));
        assert_eq!(term, Some(after.term.0), "a truncation keeps {after}, which the log does not hold");
        self.queue(Record::Truncate { after: after.index.0 })
    }

    fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.queue(Record::Purge { through: position(through) })
    }

    fn save_committed(&mut self, commit: LogIndex) -> Result<(), StorageError> {
        self.queue(Record::Committed { index: commit.0 })
    }

    fn save_refusal(&mut self, by: Peer, met: Incarnation) -> Result<(), StorageError> {
        let met = PeerIdentity { incarnation: met.id, start: met.start, nonce: met.nonce };
        self.log.refuse(by.node.0, met).map_err(StorageError::new)
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.whole()?;
        self.log.flush().map_err(|error| self.poison(error))
    }

    fn rest(&mut self) -> Result<(), StorageError> {
        self.whole()?;
        self.log.mark().map_err(|error| self.poison(error))
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(Reader(self.log.reader()))
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        Arc::clone(&self.snapshots) as Arc<dyn SnapshotStore>
    }
}

impl<D: Disk> fmt::Debug for DurableStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DurableStore");
        shown.field("identity", &self.identity()).field("failure", &self.failure).finish_non_exhaustive()
    }
}

/// What a snapshot and a log say of their clusters that no two files of one node say; nothing where the log says nothing of it.
pub(super) fn other_cluster<D: Disk>(
    snapshot: &Snapshot,
    state: &GroupState,
    log: &Reader<D>,
) -> Result<Option<String>, StorageError> {
    let last = snapshot.last();
    // Behind a purge or a restored snapshot only the snapshots say how it began.
    if state.purged.index == 0 && state.last.index > 0 {
        let began = super::genesis(&log.one(LogIndex(1))?);
        if began.contradicts(snapshot.genesis) {
            let theirs = snapshot.genesis;
            return Ok(Some(format!(
                "the snapshot of {last} is of a cluster that began otherwise ({theirs}) than that of the log ({began}): are the files of \
                 two nodes in one directory?"
            )));
        }
    }
    // What is not committed may be of a founding that came to nothing. It goes, unless the log holds what the snapshot covers.
    let (ours, at) = (&snapshot.membership, snapshot.membership_at.index.0);
    let goes_on = state.term_at(last.index.0) == Some(last.term.0);
    for index in undecided(state) {
        let theirs = log.membership(LogIndex(*index))?;
        let is_other = (goes_on || *index <= state.committed) && theirs.founding().contradicts(ours.founding());
        let cannot_follow = goes_on && *index > at && !ours.may_be_followed_by(&theirs);
        if is_other || cannot_follow {
            return Ok(Some(format!(
                "the snapshot of {last} is of the cluster that was founded as {} (version {}), and entry {index} of the log of the one \
                 that was founded as {} (version {}): are the files of two nodes in one directory?",
                ours.founding(),
                ours.version(),
                theirs.founding(),
                theirs.version()
            )));
        }
    }
    Ok(None)
}

/// The entries with members that are behind the commit index, and may yet be truncated, and the last before them, which counts then.
fn undecided(state: &GroupState) -> &[u64] {
    let committed = state.marked.partition_point(|index| *index <= state.committed);
    &state.marked[committed.saturating_sub(1)..]
}

/// Reads what was flushed, on any thread.
pub(super) struct Reader<D: Disk>(pub(super) outrigger_log::LogReader<D>);

impl<D: Disk> Reader<D> {
    /// The entry at an index, as a batch.
    fn one(&self, index: LogIndex) -> Result<Batch, StorageError> {
        let found = self.batches(index, index, 0)?;
        found.into_iter().next().ok_or_else(|| StorageError::new(format!("entry {index} is not in the log")))
    }

    /// The membership that the entry at an index holds.
    pub(super) fn membership(&self, index: LogIndex) -> Result<Arc<Membership>, StorageError> {
        match self.one(index)?.entries() {
            [Payload { body: Body::Membership(membership), .. }, ..] => Ok(Arc::clone(membership)),
            _ => Err(StorageError::new(format!("entry {index} is marked as a membership and is none"))),
        }
    }
}

impl<D: Disk> LogReader for Reader<D> {
    fn batches(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Vec<Batch>, StorageError> {
        match self.fetch(from, through, bytes_max)? {
            Fetched::Batches(batches) => Ok(batches),
            Fetched::NotNow(reason) => Err(StorageError::new(reason)),
        }
    }

    fn fetch(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Fetched, StorageError> {
        if from == LogIndex::ZERO || from > through {
            return Err(StorageError::new(format!("{from} to {through} is no range of entries")));
        }
        let runs = match self.0.entries(GROUP, from.0, through.0, bytes_max) {
            Err(ReadError::Disk(error)) if error.is_scarce() => return Ok(Fetched::NotNow(error.to_string())),
            runs => runs.map_err(StorageError::new)?,
        };
        let mut batches: Vec<Batch> = Vec::with_capacity(runs.len());
        let (mut next, mut room) = (from, bytes_max);
        for run in runs {
            // A hole would become a wrong log at a follower: asked here too, where it costs nothing.
            if run.first != next.0 {
                return Err(StorageError::new(format!("entry {} was read where {next} was due", run.first)));
            }
            let whole = decoded(run)?;
            next = whole.last().index.next();
            // The log counts payloads and the limit counts entries: many small ones are cut here.
            let len = whole.len();
            let fitting = if whole.bytes() <= room { whole } else { whole.within(room) };
            if !batches.is_empty() && fitting.bytes() > room {
                break;
            }
            room = room.saturating_sub(fitting.bytes());
            let is_cut = fitting.len() < len;
            batches.push(fitting);
            if is_cut {
                break;
            }
        }
        match batches.is_empty() {
            true => Err(StorageError::new(format!("entries {from} to {through} were read as none"))),
            false => Ok(Fetched::Batches(batches)),
        }
    }

    fn purged(&self) -> LogId {
        log_id(self.0.purged(GROUP))
    }
}

/// The snapshots of one log, as files.
struct Files<D: Disk> {
    files: Snapshots<D>,
    /// The log, for what a first snapshot says about the cluster.
    log: Reader<D>,
    /// The reception that is under way.
    receiving: Mutex<Option<SnapshotReceiver<D>>>,
}

impl<D: Disk> Files<D> {
    fn newest_decoded(&self) -> Result<Option<Snapshot>, StorageError> {
        self.files.newest().map(|newest| decode_head(snapshot_id(newest.id), newest.head)).transpose()
    }

    /// What the cluster is known by: the checksum of the first entry, which the log holds until it is in a snapshot; or why that
    /// cannot be told yet.
    fn genesis(&self) -> Result<Result<Genesis, String>, StorageError> {
        if let Some(newest) = self.newest_decoded()? {
            return Ok(Ok(newest.genesis));
        }
        match self.log.0.entries(GROUP, 1, 1, 0) {
            Err(ReadError::Beyond { .. } | ReadError::UnknownGroup { .. }) => {
                Ok(Err("the first entry of the log is not durable yet".to_owned()))
            }
            Err(ReadError::Disk(error)) if error.is_scarce() => Ok(Err(error.to_string())),
            runs => {
                let first = runs.map_err(StorageError::new)?.into_iter().next().map(decoded).transpose()?;
                Ok(Ok(first.as_ref().map_or(Genesis::UNKNOWN, super::genesis)))
            }
        }
    }
}

impl<D: Disk> SnapshotStore for Files<D> {
    fn newest(&self) -> Option<Arc<Snapshot>> {
        // What was kept here was readable when it was built, and again when it was opened.
        self.newest_decoded().ok().flatten().map(Arc::new)
    }

    fn build(
        &self,
        of: &Moment,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Built, StorageError> {
        let genesis = match self.genesis()? {
            Ok(genesis) => genesis,
            Err(reason) => return Ok(Built::Not(reason)),
        };
        let head = encode_head(of, genesis);
        let builder = match self.files.build(position(of.last), head) {
            Ok(builder) => builder,
            Err(error) => return survived(error).map(Built::Not),
        };
        let mut out = Watched { builder, has_failed: false };
        let written = content(&mut out);
        if let (Err(error), false) = (&written, out.has_failed) {
            // What should be in it could not be had; it goes with its builder.
            return Ok(Built::Not(error.to_string()));
        }
        match out.builder.finish() {
            Ok(built) => decode_head(snapshot_id(built.id), built.head).map(|it| Built::Snapshot(Arc::new(it))),
            Err(error) => survived(error).map(Built::Not),
        }
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let reader = match self.files.reader(file_id(id)) {
            Err(SnapshotError::Unknown { .. }) => return Ok(None),
            reader => reader.map_err(StorageError::new)?,
        };
        reader.read_at(offset, bytes_max).map(Some).map_err(StorageError::new)
    }

    fn content(&self, id: SnapshotId) -> Result<Box<dyn Read + Send>, StorageError> {
        let reader = self.files.reader(file_id(id)).map_err(StorageError::new)?;
        Ok(Box::new(reader.body()))
    }

    fn receive(&self, snapshot: &Arc<Snapshot>, offset: u64, chunk: &[u8]) -> Result<Received, StorageError> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let id = file_id(snapshot.id);
        let mut receiver = match receiving.take().filter(|receiver| receiver.snapshot().id == id) {
            Some(receiver) => receiver,
            None => {
                let head = encode_head(&Moment::of(snapshot), snapshot.genesis);
                match self.files.receive(outrigger_log::Snapshot { id, head }) {
                    Ok(receiver) => receiver,
                    Err(error) => return survived(error).map(Received::Spoiled),
                }
            }
        };
        let held = match receiver.write(offset, chunk) {
            Ok(held) | Err(SnapshotError::Hole { held, .. }) => held,
            Err(error) => return survived(error).map(Received::Spoiled),
        };
        if held < snapshot.id.bytes {
            *receiving = Some(receiver);
            return Ok(Received::Held(held));
        }
        match receiver.finish() {
            Ok(_) => Ok(Received::Held(held)),
            Err(error) => survived(error).map(Received::Spoiled),
        }
    }
}

/// Where a snapshot's content goes; tells a failure of the disk from one of whoever writes.
struct Watched<D: Disk> {
    builder: SnapshotBuilder<D>,
    has_failed: bool,
}

impl<D: Disk> Write for Watched<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.builder.write(bytes).inspect_err(|_| self.has_failed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.builder.flush().inspect_err(|_| self.has_failed = true)
    }
}

/// Why there is no snapshot, if the node can go on without it. After a failure of the disk it cannot: what is on it is not known
/// any more, and a node that keeps no snapshot would keep its whole log, and could receive none.
fn survived(error: SnapshotError) -> Result<String, StorageError> {
    match error {
        SnapshotError::Disk(_) | SnapshotError::Poisoned { .. } | SnapshotError::Corrupt(_) => {
            Err(StorageError::new(error))
        }
        other => Ok(other.to_string()),
    }
}

/// Whether a snapshot of everything up to `last` and a log that holds something else in its place cannot be of one node.
pub(super) fn contradicts(last: LogId, state: &GroupState) -> bool {
    let is_held = (state.purged.index..=state.committed).contains(&last.index.0);
    is_held && state.term_at(last.index.0) != Some(last.term.0)
}

/// The payloads' envelopes, all in one piece of memory.
fn encoded(entries: &[Payload]) -> Vec<Bytes> {
    let mut memory = Vec::with_capacity(entries.iter().map(envelope::encoded_len).sum());
    let mut ends = Vec::with_capacity(entries.len());
    for entry in entries {
        envelope::encode(entry, &mut memory);
        ends.push(memory.len());
    }
    let mut memory = Bytes::from(memory);
    let mut start = 0;
    let pieces = ends.into_iter().map(|end| {
        let piece = memory.split_to(end - start);
        start = end;
        piece
    });
    pieces.collect()
}

/// A batch from a run as the log holds it.
fn decoded(run: Run) -> Result<Batch, StorageError> {
    let first = LogId::new(run.term, run.first);
    let named = |(index, bytes): (u64, Bytes)| {
        let failed = |error| StorageError::new(format!("entry {index} of term {} is not readable: {error}", run.term));
        envelope::decode(bytes).map_err(failed)
    };
    let payloads: Arc<[Payload]> = match <[Bytes; 1]>::try_from(run.payloads) {
        // Most runs hold one entry, which needs no list first.
        Ok([only]) => Arc::new([named((run.first, only))?]),
        Err(several) => {
            // Not collected: a list whose items may fail grows by doubling.
            let mut payloads = Vec::with_capacity(several.len());
            for entry in (run.first..).zip(several) {
                payloads.push(named(entry)?);
            }
            payloads.into()
        }
    };
    if payloads.is_empty() || run.first == 0 {
        return Err(StorageError::new(format!("a run of {} entries at {first} is none", payloads.len())));
    }
    Ok(Batch::new(first, LogTime(run.log_time), payloads))
}

const fn is_membership(entry: &Payload) -> bool {
    matches!(entry.body, Body::Membership(_))
}

pub(super) const fn log_id(position: LogPosition) -> LogId {
    LogId::new(position.term, position.index)
}

pub(crate) const fn position(id: LogId) -> LogPosition {
    LogPosition { term: id.term.0, index: id.index.0 }
}

pub(crate) const fn snapshot_id(id: outrigger_log::SnapshotId) -> SnapshotId {
    SnapshotId { last: log_id(id.position), bytes: id.bytes, checksum: id.checksum }
}

pub(crate) const fn file_id(id: SnapshotId) -> outrigger_log::SnapshotId {
    outrigger_log::SnapshotId { position: position(id.last), bytes: id.bytes, checksum: id.checksum }
}

pub(super) const fn incarnation(life: PeerIdentity) -> Incarnation {
    Incarnation { id: life.incarnation, start: life.start, nonce: life.nonce }
}
