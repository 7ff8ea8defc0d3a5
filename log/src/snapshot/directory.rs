//! The directory of the snapshots: what a start keeps of it, and how a new one comes into force.
//!
//! ```text
//!   open     lock -> look at all (reading only) -> sync the directory -> remove what is not needed
//!   install  rename -> sync the directory -> it is the newest -> remove the older one
//! ```
//!
//! Whoever reads the older one reads on; when nobody does any more, its room is given back bit by bit
//! ([`DiskFile::give_back`]).
//!
//! Both sync the directory before they remove anything: a process that was killed may have renamed without a sync, and
//! without it a power cut could undo the name of the newer one and keep the removal of the older.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::layout::{Header, file_name, parse_file_name};
use super::read::{Complete, read_header};
use super::{Snapshot, SnapshotBuilder, SnapshotError, SnapshotId, SnapshotReader, SnapshotReceiver, is_older};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{DiskError, During};
use crate::state::LogPosition;

pub(super) const DIRECTORY: &str = "snapshots";
const LOCK: &str = "lock";
/// The name of a build until it is complete.
pub(super) const BUILDING: &str = "building";
/// The name of a reception until it is complete.
pub(super) const RECEIVING: &str = "receiving";

/// The snapshots of one data directory: the newest complete one, and the next, while it is built or received.
///
/// Cheap to clone. Builds, receptions and readers may run on threads of their own, all at once.
///
/// ```
/// use std::io::{Read, Write};
///
/// use bytes::Bytes;
/// use outrigger_log::{FaultyDisk, LogPosition, Snapshots};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (disk, cluster) = (FaultyDisk::new(), 7);
/// let snapshots = Snapshots::open(disk.clone(), "/data".as_ref(), cluster)?;
/// let mut build = snapshots.build(LogPosition { term: 2, index: 90 }, Bytes::from_static(b"members"))?;
/// build.write_all(b"all that was applied")?;
/// let built = build.finish()?;
/// drop(snapshots);
///
/// disk.crash(42); // the power is cut: what was finished is there
///
/// let snapshots = Snapshots::open(disk, "/data".as_ref(), cluster)?;
/// assert_eq!(snapshots.newest(), Some(built.clone()));
/// let mut body = String::new();
/// snapshots.reader(built.id)?.body().read_to_string(&mut body)?;
/// assert_eq!(body, "all that was applied");
///
/// // Another node, which receives it in chunks of 8 bytes.
/// let (theirs, reader) = (Snapshots::open(FaultyDisk::new(), "/data".as_ref(), cluster)?, snapshots.reader(built.id)?);
/// let mut reception = theirs.receive(built.clone())?;
/// while reception.held() < built.id.bytes {
///     let held = reception.held();
///     reception.write(held, &reader.read_at(held, 8)?)?;
/// }
/// assert_eq!(reception.finish()?, built);
/// assert_eq!(theirs.newest(), Some(built));
/// # Ok(())
/// # }
/// ```
pub struct Snapshots<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Snapshots<D> {
    /// Opens the snapshots in `directory`, a log's, or creates them. Removed is what a build that never ended has left, and
    /// every complete one but the newest; a reception that may be resumed is kept.
    ///
    /// Open the log first: it takes no directory that holds something else, and tells whose data this is.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`], or `Corrupt`, `NewerFormat` or `OtherCluster` if that is so of a complete one (of an older
    /// one it does not matter whether it is corrupt): then nothing was removed. [`SnapshotError::Disk`] or `DiskFull`.
    pub fn open(disk: D, directory: &Path, cluster: u64) -> Result<Self, SnapshotError> {
        let directory = directory.join(DIRECTORY);
        disk.create_directory(&directory).during("create", &directory)?;
        let path = directory.join(LOCK);
        let locks = [locked(disk.lock(&path), &path)?, locked(disk.lock_directory(&directory), &directory)?];
        let found = Found::look(&disk, &directory, cluster)?;
        disk.sync_directory(&directory).during("sync", &directory)?;
        for name in &found.useless {
            let path = directory.join(name);
            disk.remove(&path).during("remove", &path)?;
        }
        let shared = Shared {
            disk,
            directory,
            cluster,
            newest: Mutex::new(found.newest.map(Arc::new)),
            building: Mutex::new(None),
            reception: Mutex::new(Reception { turn: 0, position: found.reception }),
            installation: Mutex::new(Installation { poisoned: None, retired: Vec::new() }),
            _locks: locks,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The newest complete one. It never gets older, and survives a power cut.
    pub fn newest(&self) -> Option<Snapshot> {
        self.shared.newest().map(|complete| complete.snapshot.clone())
    }

    /// Begins to build the snapshot of everything up to `position`. `head` is what the caller wants to know of it without
    /// reading the body, at most [`SNAPSHOT_HEAD_BYTES_MAX`](crate::SNAPSHOT_HEAD_BYTES_MAX).
    ///
    /// # Errors
    /// [`SnapshotError::BuildUnderWay`], `Older`, `TooLarge`, `Poisoned`, `DiskFull` or `Disk`: then nothing has begun.
    pub fn build(&self, position: LogPosition, head: Bytes) -> Result<SnapshotBuilder<D>, SnapshotError> {
        SnapshotBuilder::begin(&self.shared, position, head)
    }

    /// Reads the complete one with this id, which must be the newest.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`] if it is not.
    pub fn reader(&self, id: SnapshotId) -> Result<SnapshotReader<D>, SnapshotError> {
        match self.shared.newest() {
            Some(complete) if complete.snapshot.id == id => Ok(SnapshotReader::new(complete)),
            other => Err(SnapshotError::Unknown { id, newest: other.map(|complete| complete.snapshot.id) }),
        }
    }

    /// Begins to receive exactly this snapshot, or goes on behind what is held of it, which may take as long as to read
    /// that. Any other reception, also one of the same snapshot, is over; what is held of another snapshot is thrown away.
    ///
    /// # Errors
    /// [`SnapshotError::Older`], `TooLarge`, `Poisoned`, `DiskFull` or `Disk`.
    pub fn receive(&self, snapshot: Snapshot) -> Result<SnapshotReceiver<D>, SnapshotError> {
        SnapshotReceiver::begin(&self.shared, snapshot)
    }
}

impl<D: Disk> Clone for Snapshots<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> fmt::Debug for Snapshots<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

/// What a directory holds.
struct Found<F: DiskFile> {
    newest: Option<Complete<F>>,
    /// The position of a reception that may be resumed.
    reception: Option<LogPosition>,
    /// The names of our files that nobody needs.
    useless: Vec<String>,
}

impl<F: DiskFile> Found<F> {
    fn look<D: Disk<File = F>>(disk: &D, directory: &Path, cluster: u64) -> Result<Self, SnapshotError> {
        let names = disk.list(directory).during("list", directory)?;
        let is_there = |wanted: &str| names.iter().any(|name| name == wanted);
        let mut positions: Vec<LogPosition> = names.iter().filter_map(|name| parse_file_name(name)).collect();
        positions.sort_unstable_by_key(|position| (position.index, position.term));
        let open = |position| Complete::open(disk, directory.join(file_name(position)), cluster, position);
        let newest = positions.pop().map(open).transpose()?;
        let mut useless = Vec::new();
        for position in positions {
            match open(position) {
                Ok(_) | Err(SnapshotError::Corrupt(_)) => useless.push(file_name(position)),
                Err(error) => return Err(error),
            }
        }
        if is_there(BUILDING) {
            useless.push(BUILDING.to_owned());
        }
        let mut reception = None;
        if is_there(RECEIVING) {
            reception = received(disk, &directory.join(RECEIVING), cluster)?;
            let newest = newest.as_ref().map(|newest| newest.header.id.position);
            reception = reception.filter(|position| !newest.is_some_and(|newest| is_older(*position, newest)));
            if reception.is_none() {
                useless.push(RECEIVING.to_owned());
            }
        }
        Ok(Self { newest, reception, useless })
    }
}

/// The position of what is being received, if the beginning of the file can be told, and it is of this cluster. Nothing is lost
/// with one that is not.
fn received<D: Disk>(disk: &D, path: &Path, cluster: u64) -> Result<Option<LogPosition>, SnapshotError> {
    let file = disk.open(path, Access::Read).during("open", path)?;
    match read_header(&file, path, cluster) {
        Ok((header, _)) => Ok(Some(header.id.position)),
        Err(SnapshotError::Corrupt(_) | SnapshotError::NewerFormat { .. } | SnapshotError::OtherCluster { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What all handles of one directory share. Whoever takes several of the locks takes `reception` before `installation`, and
/// these before the others.
pub(super) struct Shared<D: Disk> {
    pub(super) disk: D,
    pub(super) directory: PathBuf,
    pub(super) cluster: u64,
    newest: Mutex<Option<Arc<Complete<D::File>>>>,
    /// The position of the one build under way.
    pub(super) building: Mutex<Option<LogPosition>>,
    pub(super) reception: Mutex<Reception>,
    installation: Mutex<Installation>,
    /// Of the file, and of the directory itself, which cannot be removed under whoever holds it.
    _locks: [D::Lock; 2],
}

/// Who may write to the file of the reception. Whoever writes holds the lock meanwhile, so that nobody writes to it after
/// another one has taken it over.
pub(super) struct Reception {
    /// Whose turn it is: that of the receiver that was made with this number.
    pub(super) turn: u64,
    /// The position of the one whose file is there; there may be no receiver of it yet.
    pub(super) position: Option<LogPosition>,
}

/// Held while a snapshot comes into force.
struct Installation {
    /// The failed sync of the directory, after which no other one is believed.
    poisoned: Option<String>,
    /// Older ones that could not be removed yet.
    retired: Vec<PathBuf>,
}

impl<D: Disk> Shared<D> {
    pub(super) fn newest(&self) -> Option<Arc<Complete<D::File>>> {
        lock(&self.newest).clone()
    }

    /// Whether a snapshot at this position could come into force.
    pub(super) fn admit(&self, position: LogPosition) -> Result<(), SnapshotError> {
        if let Some(reason) = &lock(&self.installation).poisoned {
            return Err(SnapshotError::Poisoned { reason: reason.clone() });
        }
        self.check_order(position)
    }

    fn check_order(&self, position: LogPosition) -> Result<(), SnapshotError> {
        match self.newest().map(|newest| newest.header.id.position) {
            Some(newest) if is_older(position, newest) => Err(SnapshotError::Older { position, newest }),
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Removes a file that is not complete; one that stays goes with the next open, or is overwritten.
    pub(super) fn discard(&self, name: &str) {
        let _ = self.disk.remove(&self.path(name));
    }

    /// Puts a snapshot in force whose file is complete and synced, durably; then removes the older one.
    pub(super) fn install(
        &self,
        from: &str,
        file: D::File,
        header: Header,
        head: Bytes,
    ) -> Result<Snapshot, SnapshotError> {
        let mut installation = lock(&self.installation);
        if let Some(reason) = &installation.poisoned {
            return Err(SnapshotError::Poisoned { reason: reason.clone() });
        }
        self.check_order(header.id.position)?;
        let (from, path) = (self.path(from), self.path(&file_name(header.id.position)));
        self.disk.rename(&from, &path).during("rename", &from)?;
        if let Err(error) = self.sync_names() {
            installation.poisoned = Some(error.to_string());
            return Err(error.into());
        }
        let snapshot = Snapshot { id: header.id, head };
        let is_replaced = AtomicBool::new(false);
        let complete = Arc::new(Complete { snapshot: snapshot.clone(), header, path: path.clone(), file, is_replaced });
        // Kept until it has no name any more: see its drop.
        let before = lock(&self.newest).replace(complete);
        installation.retired.extend(before.as_ref().map(|before| before.path.clone()));
        // One that stays is tried again with the next, and at the next open: the new one is in force whatever becomes of it.
        installation.retired.retain(|older| *older != path);
        installation.retired.retain(|older| {
            let removed = self.disk.remove(older);
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
        if let Some(before) = before {
            // One of the same position has lost its name to the new one.
            let has_name = installation.retired.contains(&before.path);
            before.is_replaced.store(!has_name, Ordering::Relaxed);
        }
        Ok(snapshot)
    }

    fn sync_names(&self) -> Result<(), DiskError> {
        mutate!(log_snapshot_name_unsynced, return Ok(()));
        self.disk.sync_directory(&self.directory).during("sync", &self.directory).map_err(DiskError::in_doubt)
    }

    /// Throws away what is held of a snapshot that is older than the newest: it could never come into force.
    pub(super) fn discard_older_reception(&self) {
        let mut reception = lock(&self.reception);
        if reception.position.is_some_and(|position| self.check_order(position).is_err()) {
            reception.turn += 1;
            reception.position = None;
            self.discard(RECEIVING);
        }
    }
}

fn locked<L>(lock: io::Result<L>, path: &Path) -> Result<L, SnapshotError> {
    match lock {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SnapshotError::Locked { path: path.to_owned() }),
        lock => Ok(lock.during("lock", path)?),
    }
}

/// Takes a lock; what it guards is whole at every moment, also if somebody has panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
