//! Looking into the data directory of a node that does not run, without changing a byte of it.
//!
//! ```text
//!   Inspection   what a start would go on with: identity, vote, members, snapshots, and the entries, as many as one likes
//!   verify       whether all of it is as it was written, also what no start reads
//! ```
//!
//! ```
//! use outrigger::store::inspect::{Inspection, verify};
//! use outrigger::store::{DurableStore, LogStore};
//! use outrigger_log::{OpenOptions, RealDisk};
//!
//! let directory = tempfile::tempdir()?;
//! # let mut options = OpenOptions::new(7, 1, 0x1234, 0x5678);
//! # options.segment_bytes = 64 << 10;
//! drop(DurableStore::open(RealDisk, directory.path(), options)?);
//! let found = Inspection::open(directory.path())?.summary();
//! assert_eq!((found.identity.node, found.identity.start), (1, 1));
//! assert!(verify(directory.path(), &mut |_| {})?.damage.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_engine::{Batch, Body, LogId, LogIndex, Membership, NodeId, Payload, Peer, Snapshot, Term, Vote};
use outrigger_log::{GroupState, RealDisk, SnapshotFile};

use super::durable::{GROUP, Reader, contradicts, incarnation, log_id, other_cluster, snapshot_id};
use super::snapshots::decode_head;
use super::{LogReader, StorageError};

pub use outrigger_log::{Cut, Damage, Identity, OpenError, Progress, Refused, Verification};

/// About so many bytes of entries are in memory at once.
const BATCH_BYTES: usize = 1 << 20;

/// A data directory that is looked into; nobody starts from it meanwhile.
pub struct Inspection {
    log: outrigger_log::Inspection<RealDisk>,
}

/// What a directory holds beside its entries.
#[derive(Debug)]
pub struct Summary {
    /// Whose it is, and how often it was started from.
    pub identity: Identity,
    /// The mark that a peer has refused it: then nobody will ever start from it again.
    pub refused: Option<Refused>,
    /// What the next start cuts off the end, as a write that was not finished.
    pub cut: Option<Cut>,
    /// The term and the vote in it.
    pub vote: Vote,
    /// All up to here is committed, as far as this node has noted it.
    pub commit: LogIndex,
    /// What stands before the first entry.
    pub purged: LogId,
    /// The last entry.
    pub last: LogId,
    /// The peers that it has met, each in its latest life.
    pub peers: Vec<Peer>,
    /// The members that the entries of the log name, and by which entry each time, or why that one cannot be read.
    pub memberships: Vec<(LogId, Result<Arc<Membership>, StorageError>)>,
    /// The complete snapshots, oldest first, or why one cannot be read. A start begins with the last one.
    pub snapshots: Vec<(PathBuf, Result<Arc<Snapshot>, StorageError>)>,
}

impl Inspection {
    /// Looks into a directory.
    ///
    /// # Errors
    /// [`OpenError::NoLog`] or `NotALog` if there is nothing to look into, [`OpenError::Locked`] if a node runs from it,
    /// and what else a start would say of a directory that is damaged.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { log: outrigger_log::Inspection::open(RealDisk, directory)? })
    }

    /// Everything but the entries.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let reader = self.reader();
        let mut memberships = Vec::new();
        for index in &state.marked {
            let id = LogId::new(state.term_at(*index).unwrap_or(0), *index);
            memberships.push((id, reader.membership(LogIndex(*index))));
        }
        Summary {
            identity: self.log.identity(),
            refused: self.log.refused(),
            cut: self.log.cut().cloned(),
            vote: Vote { term: Term(state.vote.term), voted_for: state.vote.voted_for.map(NodeId) },
            commit: LogIndex(state.committed),
            purged: log_id(state.purged),
            last: log_id(state.last),
            peers: peers(&state),
            memberships,
            snapshots: self.log.snapshots().iter().map(snapshot).collect(),
        }
    }

    /// The entries from `from` to `through`, as far as they are in the log, read piece by piece. After an error it ends.
    pub fn entries(&self, from: LogIndex, through: LogIndex) -> Entries {
        let state = self.state();
        let next = from.max(LogIndex(state.purged.index.saturating_add(1)));
        Entries { reader: self.reader(), next, through: through.min(LogIndex(state.last.index)) }
    }

    fn state(&self) -> GroupState {
        self.log.group(GROUP).unwrap_or_default()
    }

    fn reader(&self) -> Reader<RealDisk> {
        Reader(self.log.reader())
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").field("identity", &self.log.identity()).finish_non_exhaustive()
    }
}

/// Entries of a log, in batches of one term each; see [`Inspection::entries`].
pub struct Entries {
    reader: Reader<RealDisk>,
    next: LogIndex,
    /// The last one that is wanted.
    through: LogIndex,
}

impl Iterator for Entries {
    type Item = Result<Vec<Batch>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.through {
            return None;
        }
        let batches = self.reader.batches(self.next, self.through, BATCH_BYTES);
        let last = batches.as_ref().ok().and_then(|batches| batches.last());
        self.next = last.map_or(LogIndex(u64::MAX), |last| last.last().index.next());
        Some(batches)
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("next", &self.next).field("through", &self.through).finish_non_exhaustive()
    }
}

fn peers(state: &GroupState) -> Vec<Peer> {
    let peer = |(&node, &life): (&u64, &_)| Peer::new(NodeId(node), incarnation(life));
    state.peers.iter().map(peer).collect()
}

fn snapshot(file: &SnapshotFile<RealDisk>) -> (PathBuf, Result<Arc<Snapshot>, StorageError>) {
    let decoded = match &file.opened {
        Ok(reader) => {
            let found = reader.snapshot();
            decode_head(snapshot_id(found.id), found.head.clone()).map(Arc::new)
        }
        Err(error) => Err(StorageError::new(error)),
    };
    (file.path.clone(), decoded)
}

/// Reads all of a directory, and tells what of it is not as it was written: what [`outrigger_log::verify`] does, and that
/// every entry and every snapshot's head is what a node can read, that those entries name members that are marked so, and that
/// a snapshot covers what the log has dropped. `progress` is called now and then.
///
/// # Errors
/// [`OpenError`] when there is nothing to look into, when a node runs from it, or when the disk fails. Damage is no error.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Verification, OpenError> {
    let mut found = outrigger_log::verify(&RealDisk, directory, progress)?;
    if found.damage.is_empty() {
        let inspection = Inspection::open(directory)?;
        found.damage.extend(unreadable(&inspection));
        found.damage.extend(uncovered(&inspection, directory));
    }
    Ok(found)
}

/// The first entry that is not what a node can read: intact, but nobody knows what it means.
fn unreadable(inspection: &Inspection) -> Option<Damage> {
    let state = inspection.state();
    let mut next = LogIndex(state.purged.index.saturating_add(1));
    let damage = |index: LogIndex, what: String| {
        let place = inspection.log.reader().place(GROUP, index.0);
        let (path, offset) = place.unzip();
        Damage { path: path.unwrap_or_default(), offset, group: Some(GROUP), index: Some(index.0), what }
    };
    for batches in inspection.entries(next, LogIndex(u64::MAX)) {
        let batches = match batches {
            Ok(batches) => batches,
            Err(error) => {
                // In a run that cannot be read as a whole, one by one.
                let at = |index: &LogIndex| inspection.reader().batches(*index, *index, 0).is_err();
                let bad = (next.0..=state.last.index).map(LogIndex).find(at);
                return Some(damage(bad.unwrap_or(next), error.reason));
            }
        };
        for batch in batches {
            for (index, entry) in (batch.first().index.0..).zip(batch.entries()) {
                let is_marked = state.marked.binary_search(&index).is_ok();
                if is_marked != names_members(entry) {
                    let what = match is_marked {
                        true => "the entry is marked as one that names members, and names none",
                        false => "the entry names members, and is not marked as one that does",
                    };
                    return Some(damage(LogIndex(index), what.to_owned()));
                }
            }
            next = batch.last().index.next();
        }
    }
    None
}

const fn names_members(entry: &Payload) -> bool {
    matches!(entry.body, Body::Membership(_))
}

/// A snapshot that no node can read, the newest if it contradicts the log, or what the log has dropped and none covers.
fn uncovered(inspection: &Inspection, directory: &Path) -> Vec<Damage> {
    let state = inspection.state();
    let (purged, mut covered) = (state.purged.index, 0);
    let mut damage = Vec::new();
    let mut add = |path: PathBuf, index, what| {
        damage.push(Damage { path, offset: None, group: Some(GROUP), index, what });
    };
    for (path, snapshot) in inspection.log.snapshots().iter().map(snapshot) {
        match snapshot {
            Ok(snapshot) => covered = covered.max(snapshot.last().index.0),
            Err(error) => add(path, None, error.reason),
        }
    }
    if let Some((path, Ok(newest))) = inspection.log.snapshots().last().map(snapshot) {
        let (last, committed) = (newest.last(), state.committed);
        if contradicts(last, &state) {
            let what = format!("the snapshot of {last} contradicts the log, which is committed up to {committed}");
            add(path, Some(last.index.0), what);
        } else if let Ok(Some(what)) = other_cluster(&newest, &state, &inspection.reader()) {
            add(path, Some(last.index.0), what);
        }
    }
    if covered < purged {
        let what = format!("the log begins behind {purged}, and the snapshots cover no more than {covered}");
        add(directory.join("snapshots"), Some(covered + 1), what);
    }
    damage
}

#[cfg(test)]
mod tests;
