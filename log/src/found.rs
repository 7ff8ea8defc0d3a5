//! Making a directory whose log begins behind a snapshot: how a cluster begins from the state of another one.
//!
//! ```text
//!   lock -> restore.new, synced -> snapshots/ built, synced, named -> identity (start 0), first segment -> restore.new removed
//!           '- from here on nobody starts from it -----------------'   '- from here on it is a log
//! ```
//!
//! The identity comes last, since it is what makes a directory a log: a node that was started on a directory with half a
//! snapshot, or none, would begin an empty cluster. Whatever was interrupted is done again from the beginning.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::error::{DiskError, During, OpenError};
use crate::identity::{self, IDENTITY};
use crate::open::{self, Held, OpenOptions, RESTORING};
use crate::snapshot::{self, Snapshot, SnapshotBuilder, SnapshotError, Snapshots};
use crate::state::LogPosition;

/// How much of a body is in memory at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why a directory was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum FoundError {
    /// The directory holds something already, which is left as it is.
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// A file in it.
        found: String,
    },
    /// An option is outside of its range, somebody else has the directory locked, or it is damaged.
    Open(OpenError),
    /// The snapshot cannot be built.
    Snapshot(SnapshotError),
    /// Its body cannot be read.
    Body(io::Error),
    /// The disk failed.
    Disk(DiskError),
}

impl fmt::Display for FoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied { directory, found } => {
                write!(f, "{} is not empty (it holds {found:?}): name another directory", directory.display())
            }
            Self::Open(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl Error for FoundError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Disk(error) => Some(&error.source),
            Self::Occupied { .. } | Self::Open(_) | Self::Snapshot(_) => None,
        }
    }
}

impl From<DiskError> for FoundError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<OpenError> for FoundError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<SnapshotError> for FoundError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

/// Makes a directory, absent or empty so far, that holds an empty log and a snapshot of everything up to `position`. What a
/// call before has begun and not finished is begun anew; until one has finished, nobody can open the log.
///
/// # Errors
/// [`FoundError`]: what was there before is as it was.
///
/// ```
/// use outrigger_log::{FaultyDisk, FoundError, Log, LogPosition, OpenOptions, Snapshots, found};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (disk, directory) = (FaultyDisk::new(), "/data".as_ref());
/// let options = OpenOptions { segment_bytes: 64 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
/// let position = LogPosition { term: 2, index: 90 };
/// let built = found(&disk, directory, &options, position, "members".into(), &mut &b"all that was applied"[..])?;
/// let again = found(&disk, directory, &options, position, "members".into(), &mut &b""[..]);
/// assert!(matches!(again, Err(FoundError::Occupied { .. })));
///
/// let log = Log::open(disk.clone(), directory, options)?;
/// assert_eq!(log.identity().start, 1);
/// assert_eq!(Snapshots::open(disk, directory, 7)?.newest(), Some(built));
/// # Ok(())
/// # }
/// ```
pub fn found<D: Disk>(
    disk: &D,
    directory: &Path,
    options: &OpenOptions,
    position: LogPosition,
    head: Bytes,
    body: &mut dyn Read,
) -> Result<Snapshot, FoundError> {
    options.validate()?;
    let _lock = claim(disk, directory)?;
    let mark = directory.join(RESTORING);
    let file = disk.create(&mark).during("create", &mark)?;
    file.sync_all().during("sync", &mark)?;
    disk.sync_directory(directory).during("sync", directory)?;
    clear(disk, directory)?;

    let snapshots = Snapshots::open(disk.clone(), directory, options.cluster)?;
    let built = build(snapshots.build(position, head)?, body)?;
    drop(snapshots);
    disk.sync_directory(directory).during("sync", directory)?;

    open::create(disk, directory, options)?;
    disk.remove(&mark).during("remove", &mark)?;
    disk.sync_directory(directory).during("sync", directory)?;
    Ok(built)
}

/// Locks a directory that is absent or empty, or that an earlier call has not finished with.
fn claim<D: Disk>(disk: &D, directory: &Path) -> Result<Held<D::Lock>, FoundError> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        names => refuse_occupied(disk, directory, &names.during("list", directory)?)?,
    }
    // Also one that is there: whoever made it may have died before its name was synced.
    disk.create_directory(directory).during("create", directory)?;
    let lock = open::lock_directory(disk, directory)?;
    // Once more, now that nobody else can change it.
    refuse_occupied(disk, directory, &disk.list(directory).during("list", directory)?)?;
    Ok(lock)
}

fn refuse_occupied<D: Disk>(disk: &D, directory: &Path, names: &[String]) -> Result<(), FoundError> {
    let occupied = |found: &String| Err(FoundError::Occupied { directory: directory.to_owned(), found: found.clone() });
    if names.iter().any(|name| name == RESTORING) {
        // The mark may stay behind when everything else is done; a start removes it.
        let identity = names.iter().find(|name| *name == IDENTITY);
        return match identity {
            Some(found) if identity::read(disk, directory)?.start > 0 => occupied(found),
            _ => Ok(()),
        };
    }
    names.iter().find(|name| open::is_foreign(name)).map_or(Ok(()), occupied)
}

/// Removes what an earlier call has left. The identity goes first, durably: without it what is left is no log.
fn clear<D: Disk>(disk: &D, directory: &Path) -> Result<(), FoundError> {
    let identity = directory.join(IDENTITY);
    match disk.remove(&identity) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => {
            removed.during("remove", &identity)?;
            disk.sync_directory(directory).during("sync", directory)?;
        }
    }
    Ok(snapshot::clear(disk, directory)?)
}

/// Builds the snapshot from what is read.
fn build<D: Disk>(mut build: SnapshotBuilder<D>, body: &mut dyn Read) -> Result<Snapshot, FoundError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match body.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Its builder is dropped, and with it what was built.
            read => read.map_err(FoundError::Body)?,
        };
        // Why it cannot be written is what the end of the build answers.
        if read == 0 || build.write_all(piece.get(..read).unwrap_or_default()).is_err() {
            return Ok(build.finish()?);
        }
    }
}
