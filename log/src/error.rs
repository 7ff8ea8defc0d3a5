//! What can go wrong, one type for each operation.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::refused::Refused;
use crate::snapshot::SnapshotError;
use crate::state::{GroupId, LogPosition};

/// A failure of the disk, with what was being done to which file.
#[derive(Debug)]
pub struct DiskError {
    /// What was being done: "write", "sync", ...
    pub operation: &'static str,
    /// To which file or directory.
    pub path: PathBuf,
    /// What the disk answered.
    pub source: io::Error,
}

impl DiskError {
    /// Whether the system merely had no room for this at the moment: on the disk, or for one more open file. It may be tried
    /// again once there is some.
    pub fn is_scarce(&self) -> bool {
        self.is_full() || self.is_out_of_files()
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// What is on the disk is in doubt after this failure, so that nobody may go on as if it were merely full: a sync may say
    /// so too, where room is only sought when it writes.
    pub(crate) fn in_doubt(self) -> Self {
        Self { source: io::Error::other(self.source), ..self }
    }

    /// Whether the process, or the system, has as many files open as it may.
    fn is_out_of_files(&self) -> bool {
        let codes = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        self.source.raw_os_error().is_some_and(|code| codes.contains(&code))
    }

    /// What there is too little of, and what to do.
    pub(crate) fn shortage(&self) -> &'static str {
        if self.is_out_of_files() { "no more files can be opened" } else { "the disk is full, free some space" }
    }

    fn is_denied(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} failed: {}", self.operation, self.path.display(), self.source)?;
        if self.is_out_of_files() {
            f.write_str(": raise the limit of open files")?;
        }
        Ok(())
    }
}

impl Error for DiskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Adds what was being done to an answer of the disk.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError { operation, path: path.to_owned(), source })
    }
}

/// Bytes that had been synced and are no longer what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// The offset in bytes of the damaged frame or record.
    pub offset: u64,
    /// The group that is concerned, where that can be told.
    pub group: Option<GroupId>,
    /// The first index that may be lost, where that can be told.
    pub index: Option<u64>,
    /// What is wrong there, with the numbers that do not fit.
    pub what: Cow<'static, str>,
}

impl Corruption {
    /// Of a file, where no group is concerned.
    pub(crate) fn at(file: &Path, offset: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self { file: file.to_owned(), offset, group: None, index: None, what: what.into() }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is corrupt at offset {}", self.file.display(), self.offset)?;
        if let Some(group) = self.group {
            write!(f, ", {group}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", index {index}")?;
        }
        write!(
            f,
            ": {}; nothing was changed: keep the directory to look into, and let the other nodes serve",
            self.what
        )
    }
}

impl Error for Corruption {}

/// How a node comes back whose data is lost: under its id the others refuse another directory for as long as it is a member.
pub(crate) const WAY_BACK: &str =
    "to have the node back, remove it from the members, empty its directory, and add it again";

/// Why a log was not opened. Unless it is [`OpenError::Disk`] or [`OpenError::DiskFull`], nothing in the directory was
/// changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is outside of its range.
    InvalidOptions {
        /// The broken condition, with its numbers.
        reason: String,
    },
    /// Another process, or another log of this one, has the directory open.
    Locked {
        /// The file whose lock is held, or the directory, if that file was removed.
        path: PathBuf,
    },
    /// The directory or a file in it may not be written.
    NotWritable(DiskError),
    /// The directory holds something else than a log.
    NotALog {
        /// The directory.
        directory: PathBuf,
        /// A file in it that is none of a log's.
        found: String,
    },
    /// There is no log to look into.
    NoLog {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory was to be made from a snapshot, and that has not finished; see [`found`](crate::found).
    Unfinished {
        /// The directory.
        directory: PathBuf,
    },
    /// There are segments, but no identity: the directory has lost a file.
    IdentityMissing {
        /// Where the identity should be.
        path: PathBuf,
    },
    /// The data was written by a later version.
    NewerFormat {
        /// The version in the identity file.
        found: u32,
        /// The latest version that this library reads.
        supported: u32,
    },
    /// The data belongs to another cluster.
    OtherCluster {
        /// The cluster id in the identity file.
        found: u64,
        /// The cluster id in the options.
        expected: u64,
    },
    /// The data belongs to another node.
    OtherNode {
        /// The node id in the identity file.
        found: u64,
        /// The node id in the options.
        expected: u64,
    },
    /// A peer has refused this directory in an earlier start: it is a copy, or came after a wipe. There is nothing to
    /// repair; start the original, or remove the node from the members, and add it again with an empty directory.
    Refused(Refused),
    /// A segment that must be there is not.
    SegmentMissing {
        /// The missing file, or for a hole among older ones the directory.
        path: PathBuf,
        /// The group whose entries are gone, where that can be told.
        group: Option<GroupId>,
    },
    /// Something that had been synced is corrupt.
    Corrupt(Corruption),
    /// The snapshots beside the log cannot be opened.
    Snapshots(SnapshotError),
    /// There is no room to record this start; free some and open again.
    DiskFull(DiskError),
    /// The disk failed.
    Disk(DiskError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOptions { reason } => write!(f, "invalid options: {reason}"),
            Self::Locked { path } => write!(
                f,
                "the log is in use: another process holds {}: find that process and stop it; do not remove the file",
                path.display()
            ),
            Self::NotWritable(error) => write!(f, "the log is not writable: {error}"),
            Self::NotALog { directory, found } => write!(
                f,
                "{} is neither empty nor a log (it holds {found:?}): name another directory",
                directory.display()
            ),
            Self::Unfinished { directory } => write!(
                f,
                "the restore of a snapshot into {} has not finished: run it again, or remove the directory",
                directory.display()
            ),
            Self::NoLog { directory } => {
                write!(f, "{} holds no log: name the data directory of a node", directory.display())
            }
            Self::IdentityMissing { path } => {
                write!(f, "there are segments, but {} is missing: put it back; {WAY_BACK}", path.display())
            }
            Self::NewerFormat { found, supported } => {
                write!(f, "the log has format version {found}, this version reads up to {supported}: upgrade")
            }
            Self::OtherCluster { found, expected } => {
                write!(f, "the log belongs to cluster {found:#x}, not to {expected:#x}: check the cluster's name")
            }
            Self::OtherNode { found, expected } => {
                write!(f, "the log belongs to node {found}, not to {expected}: check the node's id")
            }
            Self::Refused(refused) => refused.fmt(f),
            Self::SegmentMissing { path, group: Some(group) } => {
                write!(f, "a segment with entries of {group} is missing in {}: put it back; {WAY_BACK}", path.display())
            }
            Self::SegmentMissing { path, group: None } => {
                write!(f, "{} is missing: put it back; {WAY_BACK}", path.display())
            }
            Self::Corrupt(corruption) => write!(f, "{corruption}; {WAY_BACK}"),
            Self::Snapshots(error) => error.fmt(f),
            Self::DiskFull(error) => write!(f, "the disk is full, free some space: {error}"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotWritable(error) | Self::DiskFull(error) | Self::Disk(error) => Some(&error.source),
            Self::Snapshots(error) => error.source(),
            _ => None,
        }
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        if error.is_full() {
            Self::DiskFull(error)
        } else if error.is_denied() {
            Self::NotWritable(error)
        } else {
            Self::Disk(error)
        }
    }
}

impl From<SnapshotError> for OpenError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Disk(error) | SnapshotError::DiskFull(error) => error.into(),
            SnapshotError::Corrupt(corruption) => Self::Corrupt(corruption),
            other => Self::Snapshots(other),
        }
    }
}

impl From<Corruption> for OpenError {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(corruption)
    }
}

/// Why a record was not queued. The log and the queue are as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// A payload exceeds the limit; propose less at once.
    EntryTooLarge {
        /// The entry's index.
        index: u64,
        /// Its payload's bytes.
        bytes: usize,
        /// The limit, `entry_bytes_max`.
        bytes_max: usize,
    },
    /// An earlier write or sync failed; only opening the log again tells what is durable.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryTooLarge { index, bytes, bytes_max } => {
                write!(f, "the entry at index {index} has {bytes} bytes, the limit is {bytes_max}")
            }
            Self::Poisoned { reason } => {
                write!(f, "the log is poisoned; look after the disk, and restart the node: {reason}")
            }
        }
    }
}

impl Error for AppendError {}

/// Why the queue was not made durable.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlushError {
    /// There is no room for the queued entries, or no file can be opened for them (see [`DiskError::is_scarce`]). They stay
    /// queued and the log works on: free some space, or append a purge, and flush again.
    DiskFull {
        /// Whether all queued votes are durable nevertheless, in the space that is kept for them.
        votes_saved: bool,
        /// What the disk answered.
        source: DiskError,
    },
    /// The disk failed; whether the queue is durable is unknown. The log is poisoned.
    Disk(DiskError),
    /// An earlier write or sync failed; only opening the log again tells what is durable.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull { votes_saved, source } => {
                let votes = if *votes_saved { "votes are saved" } else { "not even votes could be saved" };
                write!(f, "{} ({votes}): {source}", source.shortage())
            }
            Self::Disk(error) => write!(f, "the log is poisoned; look after the disk, and restart the node: {error}"),
            Self::Poisoned { reason } => {
                write!(f, "the log is poisoned; look after the disk, and restart the node: {reason}")
            }
        }
    }
}

impl Error for FlushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::DiskFull { source: error, .. } | Self::Disk(error) => Some(&error.source),
            Self::Poisoned { .. } => None,
        }
    }
}

/// Why the next segment was not prepared.
#[derive(Debug)]
#[non_exhaustive]
pub enum PrepareError {
    /// There is no room for another segment, or no file can be opened for it; nothing is lost yet, try again later.
    DiskFull(DiskError),
    /// A segment that nothing needs any more could not be removed; all else is done. It is tried again when the next one is made,
    /// and at the next start.
    NotRemoved(DiskError),
    /// The disk failed, and the log is poisoned.
    Disk(DiskError),
    /// An earlier write or sync failed.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull(error) => write!(f, "cannot prepare a segment yet, {}: {error}", error.shortage()),
            Self::NotRemoved(error) => write!(f, "a segment that nothing needs stays on the disk: {error}"),
            Self::Disk(error) => write!(f, "cannot prepare a segment: {error}"),
            Self::Poisoned { reason } => {
                write!(f, "the log is poisoned; look after the disk, and restart the node: {reason}")
            }
        }
    }
}

impl Error for PrepareError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::DiskFull(error) | Self::NotRemoved(error) | Self::Disk(error) => Some(&error.source),
            Self::Poisoned { .. } => None,
        }
    }
}

/// Why entries were not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing of this group has ever been flushed.
    UnknownGroup {
        /// The group asked for.
        group: GroupId,
    },
    /// The first entries asked for were purged; a snapshot covers them.
    Purged {
        /// The first index asked for.
        from: u64,
        /// Up to where entries are gone.
        purged: LogPosition,
    },
    /// The last entries asked for are not flushed yet, or do not exist.
    Beyond {
        /// The last index asked for.
        through: u64,
        /// The last entry that is flushed.
        last: LogPosition,
    },
    /// An entry is no longer what was written.
    Corrupt(Corruption),
    /// The disk failed.
    Disk(DiskError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownGroup { group } => write!(f, "the log holds nothing of {group}"),
            Self::Purged { from, purged } => {
                write!(f, "index {from} is gone: purged through {purged}, read the snapshot")
            }
            Self::Beyond { through, last } => write!(f, "index {through} is not flushed: the last is {last}"),
            Self::Corrupt(corruption) => corruption.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disk(error) => Some(&error.source),
            _ => None,
        }
    }
}

impl From<DiskError> for ReadError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<Corruption> for ReadError {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(corruption)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PeerIdentity;

    fn failed(source: io::Error) -> DiskError {
        DiskError { operation: "create", path: "/data/new".into(), source }
    }

    /// Found by a user: whoever wipes the directory of a member and starts it again is refused by the others for good.
    #[test]
    fn who_cannot_start_from_its_directory_is_told_the_way_back() {
        let path = || PathBuf::from("/data/lost");
        let life = |incarnation| PeerIdentity { incarnation, start: 1, nonce: 1 };
        let corruption = Corruption { file: path(), offset: 9, group: None, index: None, what: "rotten".into() };
        for error in [
            OpenError::IdentityMissing { path: path() },
            OpenError::SegmentMissing { path: path(), group: None },
            OpenError::SegmentMissing { path: path(), group: Some(GroupId(1)) },
            OpenError::Corrupt(corruption),
            OpenError::Refused(Refused { by: 2, met: life(7), own: life(9) }),
        ] {
            let said = error.to_string();
            let steps = ["remove it from the members", "empty its directory", "add it again"];
            let places = steps.map(|step| said.find(step));
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
        }
    }

    #[test]
    fn what_there_is_too_little_of_is_told_apart_and_from_a_failure() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let full = || failed(kind.into());
            assert!(full().is_full() && full().is_scarce(), "{kind}");
            assert!(matches!(OpenError::from(full()), OpenError::DiskFull(_)), "{kind}");
            let said = SnapshotError::from(full()).to_string();
            assert!(said.starts_with("the disk is full, free some space: create of /data/new"), "{said}");
            assert!(!full().in_doubt().is_scarce(), "{kind}");
        }
        for code in [Errno::MFILE, Errno::NFILE] {
            let scarce = || failed(code.into());
            assert!(!scarce().is_full() && scarce().is_scarce(), "{code}");
            assert!(matches!(OpenError::from(scarce()), OpenError::Disk(_)), "no start waits for it: {code}");
            let said = SnapshotError::from(scarce()).to_string();
            assert!(said.starts_with("no more files can be opened: create of /data/new"), "{said}");
            assert!(said.ends_with("raise the limit of open files"), "{said}");
        }
        for code in [Errno::IO, Errno::ACCESS, Errno::NOMEM] {
            assert!(!failed(code.into()).is_scarce(), "{code}");
        }
    }
}
