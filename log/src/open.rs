//! Opening a log: the options, the lock, creation, and the order in which a start becomes durable.
//!
//! ```text
//!   look -> lock -> identity, no mark of a refusal -> scan (all of it reading only)
//!        -> identity.new written and synced -> segments repaired and synced -> renamed to identity, directory synced
//! ```
//!
//! The new identity is written first, because it is the step that fails when the directory is not writable, and put in
//! force last, so that a start counts only once its log is usable. The sync of the directory at the end also covers
//! the names of segments that a killed process had given but not synced.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{During, OpenError};
use crate::identity::{self, IDENTITY, Identity, Replacement};
use crate::preparer::{self, Preparation};
use crate::recovery::{self, Cut, Recovered, Scan};
use crate::refused;
use crate::segment::{self, SegmentHeader};
use crate::shared::Shared;
use crate::snapshot;
use crate::writer::Active;

/// The lock file's name.
const LOCK: &str = "lock";
/// The mark of a directory that is being made from a snapshot. Its name is one of a leftover, which it is once the identity is there.
pub(crate) const RESTORING: &str = "restore.new";
/// What a file system keeps in the root directory of a disk of its own.
const LOST_AND_FOUND: &str = "lost+found";

const SEGMENT_BYTES_MIN: u64 = 4_096;
const SEGMENT_BYTES_MAX: u64 = 1 << 31;
const ENTRY_BYTES_MAX: usize = 1 << 29;
const RESERVE_BYTES_MAX: u64 = 64 << 10;

/// How a log is opened. Make one with [`OpenOptions::new`] and change what should differ from the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// The cluster that the data must belong to.
    pub cluster: u64,
    /// The node that the data must belong to.
    pub node: u64,
    /// A random number; used only if the directory is created now, else the one on the disk stays.
    pub incarnation: u64,
    /// A random number of this start.
    pub nonce: u64,
    /// How long a segment file is made, in bytes: 4 KiB to 2 GiB, rounded up to whole sectors. One that must hold more,
    /// because of a large entry or of many groups, is made longer. Default 64 MiB.
    pub segment_bytes: u64,
    /// The largest payload, in bytes: 1 to 512 MiB. Default 16 MiB.
    pub entry_bytes_max: usize,
}

impl OpenOptions {
    /// The defaults for this node; `incarnation` and `nonce` are fresh random numbers.
    pub fn new(cluster: u64, node: u64, incarnation: u64, nonce: u64) -> Self {
        Self { cluster, node, incarnation, nonce, segment_bytes: 64 << 20, entry_bytes_max: 16 << 20 }
    }

    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        let invalid = |reason| Err(OpenError::InvalidOptions { reason });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return invalid(format!(
                "segment_bytes is {}, must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if !(1..=ENTRY_BYTES_MAX).contains(&self.entry_bytes_max) {
            return invalid(format!("entry_bytes_max is {}, must be 1 to {ENTRY_BYTES_MAX}", self.entry_bytes_max));
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        segment::sectors_up(self.segment_bytes)
    }

    /// What each segment keeps for votes: 128 of them by default, fewer in tiny segments.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        segment::sectors_up(self.segment_bytes / 8).min(RESERVE_BYTES_MAX)
    }
}

/// An opened log, ready for the writer.
pub(crate) struct Opened<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) lock: Held<D::Lock>,
    pub(crate) active: Active<D::File>,
    pub(crate) cut: Option<Cut>,
}

/// See [`Log::open`](crate::Log::open).
pub(crate) fn open<D: Disk>(disk: D, directory: &Path, options: &OpenOptions) -> Result<Opened<D>, OpenError> {
    options.validate()?;
    let lock = take_lock(&disk, directory)?;
    let found = match look(&disk, directory)? {
        Contents::Log => Some(identity::read(&disk, directory)?),
        Contents::Nothing => None,
    };
    if let Some(found) = found {
        check_owner(&found, options)?;
        let refused = refused::read(&disk, directory)?;
        mutate!(log_opens_what_was_refused, refused = None::<refused::Refused>);
        if let Some(refused) = refused {
            return Err(OpenError::Refused(refused));
        }
    }
    let before = match found {
        // Start 0: a creation that was interrupted, so nobody has ever used what is there.
        Some(identity) if identity.start > 0 => identity,
        _ => create(&disk, directory, options)?,
    };
    let scan = recovery::scan(&disk, directory, before.incarnation)?;
    let identity = Identity { start: before.start + 1, nonce: options.nonce, ..before };
    start(disk, directory, options, identity, scan, lock)
}

/// Makes the start durable and the segments fit to be written to.
fn start<D: Disk>(
    disk: D,
    directory: &Path,
    options: &OpenOptions,
    identity: Identity,
    mut scan: Scan,
    lock: Held<D::Lock>,
) -> Result<Opened<D>, OpenError> {
    let replacement = match identity::write_new(&disk, directory, &identity) {
        Err(error) if error.is_full() => write_in_room_made(&disk, directory, &identity, &mut scan)?,
        written => written?,
    };
    let Recovered { active, end, runs, ready } = scan.repair(&disk, directory, identity::IDENTITY_NEW)?;
    replacement.commit(&disk, directory)?;

    let (header, cut) = (active.header, scan.cut);
    let mut index = scan.index;
    assert!(identity.start >= 1, "start 0 is a creation");
    assert!(index.segments.contains_key(&header.sequence), "the segment in use is known");
    assert_eq!(index.segments.last_key_value().map(|(newest, _)| *newest), Some(header.sequence), "and the newest");
    let retired = index.retire(header.sequence - 1);
    let active = Active {
        header,
        file: active.file,
        path: segment::path(directory, header.sequence),
        end,
        synced: end,
        stated: scan.stated,
        runs,
        states_bytes: index.states_bytes,
    };
    let preparation = Preparation { ready, next_sequence: header.sequence + 1, segment_bytes: options.segment_bytes() };
    let shared = Shared::new(disk, directory.to_owned(), identity, index, preparation);
    shared.retired().extend(retired);
    Ok(Opened { shared: Arc::new(shared), lock, active, cut })
}

/// Votes must be possible on a full disk, so a start is: what nobody needs goes first, which may be what fills it, and then the
/// empty segment, which can be made again when there is room.
fn write_in_room_made<D: Disk>(
    disk: &D,
    directory: &Path,
    identity: &Identity,
    scan: &mut Scan,
) -> Result<Replacement, OpenError> {
    scan.remove_leftovers(disk, directory, identity::IDENTITY_NEW)?;
    snapshot::clear_build(disk, directory)?;
    match identity::write_new(disk, directory, identity) {
        Err(error) if error.is_full() && scan.give_up_prepared(disk, directory)? => {
            Ok(identity::write_new(disk, directory, identity)?)
        }
        written => Ok(written?),
    }
}

/// What a directory holds.
enum Contents {
    /// Nothing, or what is left of a creation that did not get far.
    Nothing,
    /// An identity, hence a log.
    Log,
}

fn look<D: Disk>(disk: &D, directory: &Path) -> Result<Contents, OpenError> {
    let names = disk.list(directory).during("list", directory)?;
    if names.iter().any(|name| name == IDENTITY) {
        return Ok(Contents::Log);
    }
    if names.iter().any(|name| name == RESTORING) {
        return Err(OpenError::Unfinished { directory: directory.to_owned() });
    }
    if names.iter().any(|name| segment::parse_file_name(name).is_some()) {
        return Err(OpenError::IdentityMissing { path: directory.join(IDENTITY) });
    }
    match names.iter().find(|name| is_foreign(name)) {
        Some(found) => Err(OpenError::NotALog { directory: directory.to_owned(), found: found.clone() }),
        None => Ok(Contents::Nothing),
    }
}

/// Whether a file is none that stands in a directory before there is an identity.
pub(crate) fn is_foreign(name: &str) -> bool {
    ![LOCK, LOST_AND_FOUND, identity::IDENTITY_NEW].contains(&name)
}

/// Takes the directory's lock. The directory is created if it is absent, and refused before it is touched if it holds
/// something else. Its own name is durable when this answers.
fn take_lock<D: Disk>(disk: &D, directory: &Path) -> Result<Held<D::Lock>, OpenError> {
    match look(disk, directory) {
        Err(OpenError::Disk(error)) if error.source.kind() == io::ErrorKind::NotFound => {}
        looked => {
            looked?;
        }
    }
    disk.create_directory(directory).during("create", directory)?;
    lock_directory(disk, directory)
}

/// The locks of a directory in use: of the file in it, which every file system can lock, and of itself, which cannot be removed
/// under whoever holds it.
#[derive(Debug)]
pub(crate) struct Held<L> {
    /// `None` if there is no such file, and whoever holds this makes none.
    _file: Option<L>,
    _directory: L,
}

/// Takes the locks of a directory that is there, whatever it holds.
pub(crate) fn lock_directory<D: Disk>(disk: &D, directory: &Path) -> Result<Held<D::Lock>, OpenError> {
    let path = directory.join(LOCK);
    let file = locked(disk.lock(&path), &path)?;
    Ok(Held { _file: Some(file), _directory: locked(disk.lock_directory(directory), directory)? })
}

fn locked<L>(lock: io::Result<L>, path: &Path) -> Result<L, OpenError> {
    match lock {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::Locked { path: path.to_owned() }),
        lock => Ok(lock.during("lock", path)?),
    }
}

/// Takes the directory's locks for somebody who changes nothing: where their file is missing, it is not made.
pub(crate) fn hold<D: Disk>(disk: &D, directory: &Path) -> Result<Held<D::Lock>, OpenError> {
    if let Contents::Nothing = look(disk, directory)? {
        return Err(OpenError::NoLog { directory: directory.to_owned() });
    }
    if disk.list(directory).during("list", directory)?.iter().any(|name| name == LOCK) {
        return lock_directory(disk, directory);
    }
    Ok(Held { _file: None, _directory: locked(disk.lock_directory(directory), directory)? })
}

fn check_owner(found: &Identity, options: &OpenOptions) -> Result<(), OpenError> {
    if found.cluster != options.cluster {
        return Err(OpenError::OtherCluster { found: found.cluster, expected: options.cluster });
    }
    if found.node != options.node {
        return Err(OpenError::OtherNode { found: found.node, expected: options.node });
    }
    Ok(())
}

/// Creates an empty log, which no start has used yet.
pub(crate) fn create<D: Disk>(disk: &D, directory: &Path, options: &OpenOptions) -> Result<Identity, OpenError> {
    let OpenOptions { cluster, node, incarnation, nonce, .. } = *options;
    let identity = Identity { cluster, node, incarnation, start: 0, nonce };
    identity::write_new(disk, directory, &identity)?.commit(disk, directory)?;
    let header = SegmentHeader { sequence: 1, generation: 0, incarnation, file_bytes: options.segment_bytes() };
    preparer::make_segment(disk, directory, &header)?;
    Ok(identity)
}
