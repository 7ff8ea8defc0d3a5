//! The log itself: appending, and flushing all that has queued up with one write and one sync.
//!
//! ```text
//!   append -> queue (encoded) --+
//!   append -> queue ------------+--> flush:  header + records -> one write -> one fdatasync -> index -> readers
//!   append -> queue ------------+            (a full segment: footer, sync, and on in the next one)
//! ```
//!
//! While one flush waits for the disk nothing else is written, so at most one group is not synced at any time; that is
//! what makes the recovery's rules so few.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::{AppendError, DiskError, During, FlushError, OpenError};
use crate::identity::Identity;
use crate::index::{RunPlace, SegmentUse};
use crate::open::{self, Held, OpenOptions, Opened};
use crate::preparer::{self, Preparer, Segment};
use crate::queue::{Batch, Room};
use crate::reader::LogReader;
use crate::record::{self, Record, Summary, narrow};
use crate::recovery::Cut;
use crate::refused::{self, Refused};
use crate::segment::{self, FIRST_GROUP, SegmentHeader, Trailer, size};
use crate::shared::Shared;
use crate::state::{GroupId, GroupState, PeerIdentity};

/// A run of entries is split into records of about this many bytes, so that reading a few entries reads a few bytes.
const RUN_BYTES_MAX: usize = 1 << 20;

/// The durable log of all Raft groups of one node, in one directory.
///
/// A synchronous object that somebody hosts: a thread of a runtime, or a simulator inline. See the crate's front page.
pub struct Log<D: Disk = RealDisk> {
    shared: Arc<Shared<D>>,
    lock: Arc<Held<D::Lock>>,
    entry_bytes_max: usize,
    /// Bytes at the end of each segment that are kept for votes when the disk is full.
    reserve_bytes: u64,
    /// As of everything appended; the index holds the same as of everything flushed.
    appended: BTreeMap<GroupId, GroupState>,
    /// What was appended since the last flush.
    queue: Batch,
    /// An empty batch whose buffers are used again.
    spare: Option<Batch>,
    active: Active<D::File>,
    /// What this opening has cut.
    cut: Option<Cut>,
}

/// The segment that is written to.
pub(crate) struct Active<F> {
    pub(crate) header: SegmentHeader,
    pub(crate) file: F,
    pub(crate) path: PathBuf,
    /// Where the next group begins.
    pub(crate) end: u64,
    /// Everything before is synced; `synced <= end`, less only behind a mark.
    pub(crate) synced: u64,
    /// The highest synced offset that a header in the file states; at most `synced`.
    pub(crate) stated: u64,
    /// How many runs were written to it, dead ones counted.
    pub(crate) runs: u64,
    /// What all flushed states take in a footer.
    pub(crate) states_bytes: u64,
}

impl<F> Active<F> {
    /// What the fields' documentation promises; asked after every change.
    fn assert_invariants(&self) {
        let Self { header, end, synced, stated, .. } = self;
        assert!(*stated >= FIRST_GROUP, "the header of the segment is synced, {stated} says less");
        assert!(stated <= synced, "a header states {stated}, synced is {synced}");
        assert!(synced <= end, "synced up to {synced}, beyond the end at {end}");
        assert!(*end <= header.groups_end(), "groups end at {end}, beyond {}", header.groups_end());
        assert!(end.is_multiple_of(segment::SECTOR), "a group would begin within a sector, at {end}");
        assert!(synced.is_multiple_of(segment::SECTOR), "a group was synced in part, up to {synced}");
        assert!(self.runs <= *end, "{} runs in {end} bytes", self.runs);
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in `directory`: creates it if the directory is empty or absent, else recovers it. Takes the
    /// directory's exclusive lock, and durably increases [`Identity::start`].
    ///
    /// Everything is judged before anything is changed; opening may be interrupted at any step and repeated.
    ///
    /// # Errors
    /// [`OpenError`]; for all but failures of the disk the directory is as it was.
    pub fn open(disk: D, directory: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let Opened { shared, lock, active, cut } = open::open(disk, directory, &options)?;
        let groups = &shared.index().groups;
        active.assert_invariants();
        let appended = groups.iter().map(|(group, index)| (*group, index.state.clone())).collect();
        Ok(Self {
            lock: Arc::new(lock),
            entry_bytes_max: options.entry_bytes_max,
            reserve_bytes: options.reserve_bytes(),
            appended,
            queue: Batch::default(),
            spare: None,
            active,
            cut,
            shared: Arc::clone(&shared),
        })
    }

    /// Whose log this is, with this start's number and nonce.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// What this opening has cut off: the bytes of a write that was not finished; `None` after a clean end. Nothing of
    /// it was ever acknowledged, unless the disk has lost what it had synced: worth a line in the host's log.
    pub const fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// Marks the directory, durably: node `by` had met `met` under this node's name, which is not this start of this
    /// directory. From now on nobody opens it any more; see [`OpenError::Refused`]. This log itself goes on.
    ///
    /// # Errors
    /// When the disk fails; on a full one only if not even the segment made ahead of need gave room.
    ///
    /// # Panics
    /// If `met` is this very start.
    pub fn refuse(&mut self, by: u64, met: PeerIdentity) -> Result<(), DiskError> {
        let Identity { incarnation, start, nonce, .. } = self.shared.identity;
        let refused = Refused { by, met, own: PeerIdentity { incarnation, start, nonce } };
        let (disk, directory) = (&self.shared.disk, &self.shared.directory);
        match refused::write(disk, directory, &refused) {
            Err(error) if error.is_full() && preparer::give_up_next(&self.shared)? => {
                refused::write(disk, directory, &refused)
            }
            written => written,
        }
    }

    /// All groups that anything was ever appended for, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.appended.keys().copied()
    }

    /// A group's state as of everything appended, flushed or not; right after opening, what was recovered.
    pub fn group(&self, group: GroupId) -> Option<&GroupState> {
        self.appended.get(&group)
    }

    /// Bytes of the records that wait for a flush.
    pub fn queued_bytes(&self) -> usize {
        self.queue.queued_bytes()
    }

    /// A reader of what is flushed, for any thread.
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// What makes the next segment ahead of need; for one thread, or for the simulator to call between flushes.
    pub fn preparer(&self) -> Preparer<D> {
        Preparer::new(Arc::clone(&self.shared), Arc::clone(&self.lock))
    }

    /// Queues a record. Nothing of it is durable before [`flush`](Self::flush) has answered. Never blocks, no I/O.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing was queued.
    ///
    /// # Panics
    /// If the group's state does not allow the record, which is a caller's fault: entries that do not follow the last
    /// one or whose term goes back, a vote that goes back or changes, a truncation of what is committed or purged, a
    /// committed index that goes back or is not in the log, a purge that goes back or contradicts a term.
    pub fn append(&mut self, group: GroupId, record: Record<'_>) -> Result<(), AppendError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(AppendError::Poisoned { reason });
        }
        let Record::Entries { term, first, log_time, payloads, marked } = record else {
            self.push(group, &record);
            return Ok(());
        };
        self.refuse_large(first, payloads)?;
        assert!(!payloads.is_empty(), "{group}: a run of no entries at index {first}");
        let (mut rest, mut first) = (payloads, first);
        while !rest.is_empty() {
            let (payloads, behind) = rest.split_at(run_length(rest));
            self.push(group, &Record::Entries { term, first, log_time, payloads, marked });
            first += payloads.len() as u64;
            rest = behind;
        }
        let last = self.appended.get(&group).map(|state| state.last.index + 1);
        assert_eq!(last, Some(first), "{group}: all entries are queued");
        Ok(())
    }

    fn refuse_large(&self, first: u64, payloads: &[bytes::Bytes]) -> Result<(), AppendError> {
        match (first..).zip(payloads).find(|(_, payload)| payload.len() > self.entry_bytes_max) {
            Some((index, payload)) => {
                Err(AppendError::EntryTooLarge { index, bytes: payload.len(), bytes_max: self.entry_bytes_max })
            }
            None => Ok(()),
        }
    }

    fn push(&mut self, group: GroupId, record: &Record<'_>) {
        let summary = record.summary();
        let (state, is_new) = match self.appended.entry(group) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(new) => (new.insert(GroupState::default()), true),
        };
        // The state judges first: what it does not allow must never reach the queue, even if somebody catches the panic.
        if let Err(contradiction) = state.apply(&summary) {
            panic!("{group}: {contradiction}");
        }
        self.queue.push(group, record, summary, is_new);
    }

    /// Makes durable all that is queued: one group, one write, one sync (and one more of each for the footer, when it
    /// does not fit in the segment). Afterwards it survives a power cut, and readers see it.
    ///
    /// # Errors
    /// [`FlushError::DiskFull`] leaves the log usable. After [`FlushError::Disk`] it is poisoned for good: what is
    /// durable is unknown until it is opened again, and no sync is ever tried again.
    pub fn flush(&mut self) -> Result<(), FlushError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(FlushError::Poisoned { reason });
        }
        while !self.queue.is_empty() {
            let fitting = self.queue.fitting(self.room());
            if fitting > 0 {
                self.write_group(fitting).map_err(|error| self.fail(error))?;
                continue;
            }
            match self.roll() {
                Err(source) if source.is_scarce() => {
                    mutate!(log_full_disk_counts_as_written, return Ok(()));
                    let before = self.queue.len();
                    let votes_saved = self.save_urgent().map_err(|error| self.fail(error))?;
                    // A purge among them may have made the room that was missing: worth another try.
                    let made_room = self.queue.len() < before && !self.shared.retired().is_empty();
                    if !made_room {
                        return Err(FlushError::DiskFull { votes_saved, source });
                    }
                }
                rolled => rolled.map_err(|error| self.fail(error))?,
            }
        }
        Ok(())
    }

    /// Writes, without a sync, that the last group was synced, so that even rot in that one is told from a tear. Worth
    /// it when nothing else has been written for a while; does nothing if a later header says so already.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn mark(&mut self) -> Result<(), FlushError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(FlushError::Poisoned { reason });
        }
        let Active { end, synced, stated, .. } = self.active;
        let room = self.room();
        let footer = segment::footer_bytes(room.states_bytes, room.runs);
        if stated == synced || end + segment::SECTOR + footer + room.reserve > room.end {
            return Ok(());
        }
        mutate!(log_mark_states_nothing, synced = stated);
        let mut mark = Batch::default();
        let bytes = mark.seal(&self.active.header, end, synced);
        let written = self.active.file.write_all_at(bytes, end).during("write", &self.active.path);
        written.map_err(|error| self.fail(error))?;
        self.active.end += segment::SECTOR;
        self.active.stated = synced;
        self.active.assert_invariants();
        Ok(())
    }

    fn fail(&self, error: DiskError) -> FlushError {
        self.shared.poison(&error);
        FlushError::Disk(error)
    }

    fn room(&self) -> Room {
        Room {
            offset: self.active.end,
            end: self.active.header.groups_end(),
            reserve: self.reserve_bytes,
            states_bytes: self.active.states_bytes,
            runs: self.active.runs,
        }
    }

    /// Writes the first `count` queued records as one group, syncs, and lets readers see them.
    fn write_group(&mut self, count: usize) -> Result<(), DiskError> {
        let spare = self.spare.take().unwrap_or_default();
        let mut batch = self.queue.take(count, spare);
        assert!(!batch.is_empty(), "a flush of nothing");
        self.write(&mut batch)?;
        self.spare = Some(batch);
        Ok(())
    }

    fn write(&mut self, batch: &mut Batch) -> Result<(), DiskError> {
        let Active { header, file, path, end, synced, .. } = &mut self.active;
        let offset = *end;
        let bytes = batch.seal(header, offset, *synced);
        assert!(offset + bytes.len() as u64 <= header.groups_end(), "a group beyond the end of {}", path.display());
        file.write_all_at(bytes, offset).during("write", path)?;
        self.active.stated = self.active.synced;
        self.active.end += bytes.len() as u64;
        mutate!(log_flush_without_sync, self.publish(batch, offset); return Ok(()));
        mutate!(log_failed_sync_tried_again, self.active.file.sync_data().ok());
        self.active.file.sync_data().during("sync", &self.active.path)?;
        self.active.synced = self.active.end;
        self.active.assert_invariants();
        self.publish(batch, offset);
        Ok(())
    }

    /// Brings the index up to what has just been synced.
    fn publish(&mut self, batch: &Batch, offset: u64) {
        let mut index = self.shared.index_mut();
        let segment = self.active.header.sequence;
        let mut freeing = false;
        for (queued, start, length) in batch.records() {
            let place = match queued.summary {
                Summary::Entries { term, first, count, .. } => {
                    self.active.runs += 1;
                    let offset = narrow(size(offset) + start);
                    Some(RunPlace { segment, term, first, count, offset, length: narrow(length) })
                }
                Summary::Truncate { .. } | Summary::Purge { .. } => {
                    freeing = true;
                    None
                }
                _ => None,
            };
            if let Err(contradiction) = index.apply(queued.group, &queued.summary, place) {
                panic!("{}: what was appended cannot be flushed: {contradiction}", queued.group);
            }
        }
        self.active.states_bytes = index.states_bytes;
        let footer = segment::footer_bytes(self.active.states_bytes, self.active.runs);
        let end = self.active.end;
        assert!(end + footer <= self.active.header.groups_end(), "no room is left at {end} for a footer of {footer}");
        if freeing {
            let retired = index.retire(segment - 1);
            drop(index);
            self.shared.retired().extend(retired);
        }
    }

    /// Seals the segment in use and goes on in the next one, which is durable before the footer is written.
    fn roll(&mut self) -> Result<(), DiskError> {
        let bytes_min = self.queue.segment_bytes_min(self.room());
        let Segment { header, file } = preparer::take_next(&self.shared, bytes_min)?;
        assert!(header.file_bytes >= bytes_min, "{} bytes were made, {bytes_min} asked for", header.file_bytes);
        assert_eq!(header.incarnation, self.shared.identity.incarnation, "a segment of another directory");
        // Want of room for the next segment changes nothing; half a footer does.
        self.write_footer().map_err(DiskError::in_doubt)?;
        let sealed = self.active.header.sequence;
        assert_eq!(header.sequence, sealed + 1, "the segment after {sealed}");
        let mut index = self.shared.index_mut();
        index.segments.insert(header.sequence, SegmentUse { header, live_runs: 0 });
        let retired = index.retire(sealed);
        let states_bytes = index.states_bytes;
        drop(index);
        self.shared.retired().extend(retired);
        let path = self.shared.segment_path(header.sequence);
        let end = FIRST_GROUP;
        self.active = Active { header, file, path, end, synced: end, stated: end, runs: 0, states_bytes };
        self.active.assert_invariants();
        assert!(self.queue.fitting(self.room()) > 0, "the new segment has no room for what it was made for");
        Ok(())
    }

    fn write_footer(&mut self) -> Result<(), DiskError> {
        let Active { header, file, path, end, synced, .. } = &self.active;
        let index = self.shared.index();
        let groups = index.groups.iter().map(|(group, known)| {
            let written_here = known.runs.iter().rev().take_while(|run| run.segment == header.sequence);
            let mut runs: Vec<RunPlace> = written_here.copied().collect();
            runs.reverse();
            (*group, &known.state, runs)
        });
        let footer = segment::encode_footer(header, *end, *synced, groups);
        drop(index);
        let footer_bytes = footer.len() as u64;
        assert!(end + footer_bytes <= header.groups_end(), "no room was kept for a footer of {footer_bytes} bytes");
        file.write_all_at(&footer, *end).during("write", path)?;
        let trailer = Trailer { footer_offset: *end, footer_bytes, synced: *synced };
        file.write_all_at(&trailer.encode(header), header.groups_end()).during("write", path)?;
        mutate!(log_footer_not_synced, return Ok(()));
        file.sync_data().during("sync", path)
    }

    /// Writes the queued votes, and the purges of what is flushed, ahead of the entries that there is no room for.
    /// Nobody was told of those, so nobody can tell that others overtook them. Answers whether there was room.
    fn save_urgent(&mut self) -> Result<bool, DiskError> {
        let index = self.shared.index();
        let flushed = |group| index.groups.get(&group).map_or(0, |known| known.state.last.index);
        let mut urgent = self.queue.take_urgent(flushed);
        drop(index);
        if urgent.is_empty() {
            return Ok(true);
        }
        if urgent.fitting(self.room()) < urgent.records().count() {
            self.queue.put_back(urgent);
            return Ok(false);
        }
        self.write(&mut urgent)?;
        Ok(true)
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("directory", &self.shared.directory)
            .field("identity", &self.shared.identity)
            .field("groups", &self.appended.len())
            .field("queued_bytes", &self.queued_bytes())
            .finish_non_exhaustive()
    }
}

/// How many of the payloads go into one record: as many as fit, and at least one.
fn run_length(payloads: &[bytes::Bytes]) -> usize {
    let mut bytes = record::RECORD_HEADER;
    let fitting = payloads.iter().take_while(|payload| {
        bytes += 4 + payload.len();
        bytes <= RUN_BYTES_MAX
    });
    fitting.count().max(1)
}
