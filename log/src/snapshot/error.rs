//! What can go wrong with snapshots.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::SnapshotId;
use crate::error::{Corruption, DiskError};
use crate::state::LogPosition;

/// Why something was not done with a snapshot. Whatever it is, the newest complete one is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Another process, or another [`Snapshots`](super::Snapshots) of this one, has the directory open.
    Locked {
        /// The file whose lock is held, or the directory, if that file was removed.
        path: PathBuf,
    },
    /// A complete snapshot is no longer what was written.
    Corrupt(Corruption),
    /// A snapshot was written by a later version.
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The latest version that this library reads.
        supported: u32,
    },
    /// A snapshot belongs to another cluster.
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster id in it.
        found: u64,
        /// The cluster id that was asked for.
        expected: u64,
    },
    /// Another build has not ended; wait for it, or drop it.
    BuildUnderWay {
        /// The position of the other one.
        position: LogPosition,
    },
    /// There is a newer one already, which must not be replaced.
    Older {
        /// The position of the one that was to be built or received.
        position: LogPosition,
        /// The position of the newest.
        newest: LogPosition,
    },
    /// The snapshot that was asked for is not the newest one.
    Unknown {
        /// What was asked for.
        id: SnapshotId,
        /// What there is.
        newest: Option<SnapshotId>,
    },
    /// A head or a body is larger than may be.
    TooLarge {
        /// "head" or "body".
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A chunk does not begin where the last one has ended; go on from there.
    Hole {
        /// Where the chunk begins.
        offset: u64,
        /// How many bytes of the body are held.
        held: u64,
    },
    /// A chunk reaches behind the end of the body.
    Beyond {
        /// Where the chunk ends.
        end: u64,
        /// The bytes of the body.
        bytes: u64,
    },
    /// A reception was to be finished before all was there. What is held is kept.
    Incomplete {
        /// How many bytes of the body are held.
        held: u64,
        /// The bytes of the body.
        bytes: u64,
    },
    /// What was received is not the snapshot that was announced. It was thrown away.
    NotAsAnnounced {
        /// What was announced.
        id: SnapshotId,
        /// The checksum of what came.
        found: u32,
    },
    /// This build or reception is over: something in it has failed, or another reception has taken its place.
    Ended {
        /// The first failure.
        reason: String,
    },
    /// A sync of the directory has failed, so that none of them tells what is durable any more; open it again.
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// There is no room, on the disk or for one more open file. What was written is gone; make room and begin again.
    DiskFull(DiskError),
    /// The disk failed.
    Disk(DiskError),
}

impl SnapshotError {
    /// Whether it is for want of space on the disk, or of open files.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::DiskFull(_))
    }

    /// What it is to callers behind `io::Read` and `io::Write`.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::DiskFull(error) | Self::Disk(error) => error.source.kind(),
            Self::Corrupt(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "the snapshots are in use: somebody else holds {}: find that process; do not remove the file",
                path.display()
            ),
            Self::Corrupt(corruption) => corruption.fmt(f),
            Self::NewerFormat { path, found, supported } => write!(
                f,
                "{} has format version {found}, this version reads up to {supported}: upgrade",
                path.display()
            ),
            Self::OtherCluster { path, found, expected } => write!(
                f,
                "{} belongs to cluster {found:#x}, not to {expected:#x}: check the cluster's name",
                path.display()
            ),
            Self::BuildUnderWay { position } => {
                write!(f, "a snapshot at {position} is being built: wait for it, or drop it")
            }
            Self::Older { position, newest } => {
                write!(f, "a snapshot at {position} is older than the newest, at {newest}: use that one")
            }
            Self::Unknown { id, newest: Some(newest) } => {
                write!(f, "there is no {id}; the newest is the {newest}: use that one")
            }
            Self::Unknown { id, newest: None } => write!(f, "there is no {id}, and no other either"),
            Self::TooLarge { what, bytes, bytes_max } => {
                write!(f, "the {what} of a snapshot has {bytes} bytes, the limit is {bytes_max}")
            }
            Self::Hole { offset, held } => {
                write!(f, "a chunk begins at {offset} and only {held} bytes are held: go on from there")
            }
            Self::Beyond { end, bytes } => write!(f, "a chunk ends at {end}, behind the body's {bytes} bytes"),
            Self::Incomplete { held, bytes } => {
                write!(f, "{held} of {bytes} bytes are held: go on from there before it is finished")
            }
            Self::NotAsAnnounced { id, found } => {
                write!(f, "what came has checksum {found:08x} and is not the {id}: thrown away, ask for it again")
            }
            Self::Ended { reason } => write!(f, "this one is over, begin again: {reason}"),
            Self::Poisoned { reason } => write!(f, "snapshots can only be read until the node is restarted: {reason}"),
            Self::DiskFull(error) => write!(f, "{}: {error}", error.shortage()),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::DiskFull(error) | Self::Disk(error) => Some(&error.source),
            _ => None,
        }
    }
}

impl From<DiskError> for SnapshotError {
    fn from(error: DiskError) -> Self {
        if error.is_scarce() { Self::DiskFull(error) } else { Self::Disk(error) }
    }
}

impl From<Corruption> for SnapshotError {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(corruption)
    }
}
