//! What is told of bytes that are not what was written.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Corruption, OpenError};
use crate::snapshot::SnapshotError;
use crate::state::GroupId;

/// Something that is not as it was written, or not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the directory that a file is missing in.
    pub path: PathBuf,
    /// The offset in bytes of the damaged frame, record or block; `None` for what is missing.
    pub offset: Option<u64>,
    /// The group that is concerned, where that can be told.
    pub group: Option<GroupId>,
    /// The first index that may be lost, where that can be told.
    pub index: Option<u64>,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    /// Of an error that says that something is damaged; of any other one, that error.
    pub(super) fn of(error: OpenError) -> Result<Self, OpenError> {
        let missing =
            |path, group, what: &str| Ok(Self { path, offset: None, group, index: None, what: what.to_owned() });
        match error {
            OpenError::Corrupt(corruption) => Ok(corruption.into()),
            OpenError::Snapshots(SnapshotError::Corrupt(corruption)) => Ok(corruption.into()),
            OpenError::Snapshots(SnapshotError::OtherCluster { path, found, expected }) => {
                let what = format!("the snapshot belongs to cluster {found:#x}, the log to {expected:#x}");
                Ok(Self { path, offset: Some(0), group: None, index: None, what })
            }
            OpenError::IdentityMissing { path } => missing(path, None, "there are segments, and no identity"),
            OpenError::SegmentMissing { path, group } => missing(path, group, "a segment is missing"),
            other => Err(other),
        }
    }
}

impl From<Corruption> for Damage {
    fn from(corruption: Corruption) -> Self {
        let Corruption { file, offset, group, index, what } = corruption;
        Self { path: file, offset: Some(offset), group, index, what: what.into_owned() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(group) = self.group {
            write!(f, ", {group}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", index {index}")?;
        }
        write!(f, ": {}", self.what)
    }
}
