//! Looking into a directory without changing a byte of it: what a start would find, and whether all of it is intact.
//!
//! ```text
//!   open     look -> lock (its file only if there is one) -> identity, mark -> scan          what a start would go on with
//!   verify   the same, and then every byte under a checksum, whether a start would read it or not:
//!
//!            states of the footer before --+--> record -> record -> ... --> states of this segment's footer
//!                                          '- each verified, and allowed by those before it;   ^
//!                                             in the end they must add up to what is said here '
//! ```
//!
//! A start reads the footers and the last segment; bodies are verified when they are read. So what nobody has read for long
//! may have rotted without a word, and [`verify`] tells. Both take the lock, so that nobody writes meanwhile; neither makes
//! a file, not even that of the lock.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::identity::{self, Identity};
use crate::index::Index;
use crate::open::{self, Held};
use crate::preparer::Preparation;
use crate::reader::LogReader;
use crate::recovery::{self, Cut};
use crate::refused::{self, Refused};
use crate::shared::Shared;
use crate::snapshot::{self, SnapshotError, SnapshotReader};
use crate::state::{GroupId, GroupState};

mod damage;
mod segment;
mod verify;

pub use damage::Damage;
pub use verify::{Progress, Verification, verify};

/// A log that is looked into; nothing in its directory changes, and nobody else opens it before this is dropped.
///
/// ```
/// use bytes::Bytes;
/// use outrigger_log::{FaultyDisk, GroupId, Inspection, Log, OpenOptions, Record};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (disk, directory, group) = (FaultyDisk::new(), "/data".as_ref(), GroupId(1));
/// let options = OpenOptions { segment_bytes: 64 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
/// let mut log = Log::open(disk.clone(), directory, options)?;
/// let payloads = [Bytes::from_static(b"x = 1")];
/// log.append(group, Record::Entries { term: 1, first: 1, log_time: 0, payloads: &payloads, marked: false })?;
/// log.flush()?;
/// drop(log);
///
/// let before = disk.files();
/// let inspection = Inspection::open(disk.clone(), directory)?;
/// assert_eq!(inspection.identity().start, 1, "looking is no start");
/// assert_eq!(inspection.group(group).expect("an entry was flushed").last.index, 1);
/// assert_eq!(inspection.reader().entries(group, 1, 1, usize::MAX)?[0].payloads, payloads);
/// assert_eq!(disk.files(), before);
/// # Ok(())
/// # }
/// ```
pub struct Inspection<D: Disk> {
    shared: Arc<Shared<D>>,
    refused: Option<Refused>,
    cut: Option<Cut>,
    snapshots: Vec<SnapshotFile<D>>,
    _lock: Held<D::Lock>,
}

/// A file that has the name of a complete snapshot.
#[derive(Debug)]
pub struct SnapshotFile<D: Disk> {
    /// Where it is.
    pub path: PathBuf,
    /// Its reader, or why there is none; its body is not verified yet.
    pub opened: Result<SnapshotReader<D>, SnapshotError>,
}

impl<D: Disk> Inspection<D> {
    /// Looks into a directory. One that a peer has refused, or that a creation has not finished, is looked into all the
    /// same.
    ///
    /// # Errors
    /// [`OpenError::NoLog`] if there is none, and what else [`Log::open`](crate::Log::open) says of a directory that it
    /// cannot read or that is damaged. Which node and which cluster it belongs to does not matter.
    pub fn open(disk: D, directory: &Path) -> Result<Self, OpenError> {
        let lock = open::hold(&disk, directory)?;
        let identity = identity::read(&disk, directory)?;
        let refused = refused::read(&disk, directory)?;
        let (index, cut) = scan(&disk, directory, &identity)?;
        let snapshots = snapshot::look(&disk, directory, Some(identity.cluster))?;
        let next_sequence = index.segments.last_key_value().map_or(1, |(newest, _)| newest + 1);
        // Nobody makes files of it; a log that is opened to write says how long they are.
        let preparation = Preparation { ready: None, next_sequence, segment_bytes: 0 };
        let shared = Arc::new(Shared::new(disk, directory.to_owned(), identity, index, preparation));
        Ok(Self { shared, refused, cut, snapshots, _lock: lock })
    }

    /// Whose log it is, and how often it was opened; start 0 while the directory is being created.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// The mark that a peer has refused the directory, if it has one.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// What the next start will cut off the end, as a write that was not finished.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The groups that have anything in the log.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.index().groups.keys().copied().collect()
    }

    /// What the records of a group add up to; `None` if there is none of it.
    pub fn group(&self, group: GroupId) -> Option<GroupState> {
        self.shared.index().groups.get(&group).map(|known| known.state.clone())
    }

    /// Reads the entries, each of them verified.
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// The complete snapshots, oldest first. The next start keeps the last one.
    pub fn snapshots(&self) -> &[SnapshotFile<D>] {
        &self.snapshots
    }
}

impl<D: Disk> fmt::Debug for Inspection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

/// What a start would go on with.
fn scan<D: Disk>(disk: &D, directory: &Path, identity: &Identity) -> Result<(Index, Option<Cut>), OpenError> {
    // A creation that was interrupted: the next start begins it again, whatever there is of it.
    if identity.start == 0 {
        return Ok((Index::default(), None));
    }
    let scan = recovery::scan(disk, directory, identity.incarnation)?;
    Ok((scan.index, scan.cut))
}

#[cfg(test)]
mod tests;
