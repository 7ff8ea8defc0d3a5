//! Reading everything that is under a checksum, and telling all that is not as it was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::damage::Damage;
use super::segment::{self, States};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{During, OpenError};
use crate::identity::{self, Identity};
use crate::open;
use crate::recovery::Cut;
use crate::refused::{self, Refused};
use crate::segment::{parse_file_name, path};
use crate::snapshot::{self, Snapshot, SnapshotError};
use crate::state::{GroupId, GroupState};

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes of files are done.
    pub bytes: u64,
    /// How many there are.
    pub total: u64,
}

/// What a directory holds, and what of it is damaged.
#[derive(Debug, Default)]
pub struct Verification {
    /// Whose log it is; `None` if the file that says so is damaged.
    pub identity: Option<Identity>,
    /// The mark that a peer has refused the directory.
    pub refused: Option<Refused>,
    /// What each group's records add up to; empty if they do not.
    pub groups: BTreeMap<GroupId, GroupState>,
    /// How many segment files there are.
    pub segments: u64,
    /// How many intact writes, each with a sync of its own, they hold.
    pub writes: u64,
    /// How many intact records these are made of.
    pub records: u64,
    /// How many bytes of files were read.
    pub bytes: u64,
    /// The complete snapshots that are intact, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What the next start will cut off, as a write that was not finished: no damage.
    pub cut: Option<Cut>,
    /// What is not as it was written; empty if all is well.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// How many entries are in the logs of all groups.
    pub fn entries(&self) -> u64 {
        self.groups.values().map(|state| state.last.index - state.purged.index).sum()
    }

    /// Damage that is told twice, by the scan and by whoever reads all, is told once.
    fn add(&mut self, damage: Damage) {
        let is_known = |known: &&mut Damage| known.path == damage.path && known.offset == damage.offset;
        match self.damage.iter_mut().find(is_known) {
            // The scan knows less of what was before.
            Some(known) if known.index.is_none() => (known.group, known.index) = (damage.group, damage.index),
            Some(_) => {}
            None => self.damage.push(damage),
        }
    }
}

/// Reads all of a directory and says what is damaged. Nothing is changed. `progress` is called now and then.
///
/// Entries that a purge or a truncation has let go are read too: they are of no use any more, but a disk that has lost some
/// of what it was given will lose more.
///
/// # Errors
/// [`OpenError::NoLog`], `NotALog`, `Locked`, `NewerFormat` or `Disk`: then nothing can be said. What is damaged is no error.
///
/// ```
/// use outrigger_log::{FaultyDisk, Log, OpenOptions, verify};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (disk, directory) = (FaultyDisk::new(), "/data".as_ref());
/// let options = OpenOptions { segment_bytes: 64 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
/// drop(Log::open(disk.clone(), directory, options)?);
/// assert!(verify(&disk, directory, &mut |_| {})?.damage.is_empty());
///
/// disk.flip_bit("/data/identity".as_ref(), 17, 0);
/// let found = verify(&disk, directory, &mut |_| {})?.damage;
/// assert_eq!(found[0].to_string(), "/data/identity at offset 0: the identity's checksum does not match");
/// # Ok(())
/// # }
/// ```
pub fn verify<D: Disk>(
    disk: &D,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, OpenError> {
    let mut found = Verification::default();
    let _lock = match open::hold(disk, directory) {
        Err(error @ OpenError::IdentityMissing { .. }) => {
            found.add(Damage::of(error)?);
            None
        }
        lock => {
            let lock = lock?;
            whose(disk, directory, &mut found)?;
            Some(lock)
        }
    };
    let mut active = None;
    if let Some(identity) = found.identity {
        match super::scan(disk, directory, &identity) {
            Ok((index, cut)) => {
                active = index.segments.last_key_value().map(|(newest, _)| *newest);
                found.groups = index.groups.into_iter().map(|(group, known)| (group, known.state)).collect();
                found.cut = cut;
            }
            Err(error) => found.add(Damage::of(error)?),
        }
    }
    // Nobody has ever used what a creation leaves that was interrupted, and it may be as torn as it likes.
    let mut sequences = Vec::new();
    if found.identity.is_none_or(|identity| identity.start > 0) {
        let names = disk.list(directory).during("list", directory)?;
        sequences.extend(names.iter().filter_map(|name| parse_file_name(name)));
    }
    let paths: Vec<PathBuf> = sequences.iter().map(|sequence| path(directory, *sequence)).collect();
    let cluster = found.identity.map(|identity| identity.cluster);
    let snapshots = snapshot::look(disk, directory, cluster)?;
    let all = paths.iter().chain(snapshots.iter().map(|file| &file.path));
    let total = all.map(|path| length(disk, path)).sum::<Result<u64, _>>()?;

    segments(disk, &sequences, &paths, active, &mut found, &mut |bytes| progress(Progress { bytes, total }))?;
    for file in snapshots {
        let bytes = length(disk, &file.path)?;
        let before = found.bytes;
        let mut advance = |done: u64| progress(Progress { bytes: (before + done).min(total), total });
        let read = file.opened.and_then(|reader| reader.verify(&mut advance).map(|()| reader.snapshot().clone()));
        match read {
            Ok(snapshot) => found.snapshots.push(snapshot),
            Err(error) => found.add(Damage::of(in_place(error))?),
        }
        found.bytes += bytes;
    }
    progress(Progress { bytes: total, total });
    Ok(found)
}

/// The failures of a disk keep their kind.
fn in_place(error: SnapshotError) -> OpenError {
    match error {
        SnapshotError::Disk(error) => OpenError::Disk(error),
        other => OpenError::Snapshots(other),
    }
}

/// The identity, and the mark.
fn whose<D: Disk>(disk: &D, directory: &Path, found: &mut Verification) -> Result<(), OpenError> {
    match identity::read(disk, directory) {
        Ok(identity) => found.identity = Some(identity),
        Err(error) => found.add(Damage::of(error)?),
    }
    match refused::read(disk, directory) {
        Ok(refused) => found.refused = refused,
        Err(error) => found.add(Damage::of(error)?),
    }
    Ok(())
}

fn segments<D: Disk>(
    disk: &D,
    sequences: &[u64],
    paths: &[PathBuf],
    active: Option<u64>,
    found: &mut Verification,
    progress: &mut dyn FnMut(u64),
) -> Result<(), OpenError> {
    let incarnation = found.identity.map(|identity| identity.incarnation);
    // Before the first segment there is nothing. Before one whose predecessor is gone, nobody knows.
    let mut before: (u64, Option<States>) = (0, Some(States::new()));
    for (sequence, path) in sequences.iter().zip(paths) {
        let base = before.1.take().filter(|_| before.0 + 1 == *sequence);
        let may_be_torn = active.is_some_and(|active| *sequence >= active);
        let segment = segment::inspect(disk, path, incarnation, base, may_be_torn)?;
        found.segments += 1;
        found.writes += segment.writes;
        found.records += segment.records;
        found.bytes += length(disk, path)?;
        segment.damage.into_iter().for_each(|damage| found.add(damage));
        before = (*sequence, segment.states);
        progress(found.bytes);
    }
    Ok(())
}

fn length<D: Disk>(disk: &D, path: &Path) -> Result<u64, OpenError> {
    let file = disk.open(path, Access::Read).during("open", path)?;
    Ok(file.length().during("measure", path)?)
}
