//! Snapshots outside of a cluster: a new cluster begins from the state that one holds.
//!
//! ```text
//!   a running cluster ── Raft::save_snapshot, Client::save_snapshot ──► FILE
//!
//!   FILE ── verified ──► members, what the cluster is known by: new     ──► data directory of node 1 ── start ──┐
//!                        position, log time, sessions, state: as they were ► ... of node 2 ── start ────────────┼──► elects
//!                                                                          ► ... of node 3 ── start ────────────┘
//! ```
//!
//! Every node restores the same file with the same members, and so begins with the same snapshot, to the byte. Its log is empty
//! and begins far behind the snapshot, beyond all that the old cluster can have come to since: so the ids of sessions, which are
//! indexes, are never given twice, clients of the old one find its terms past, and the responses in the snapshot stay what they are
//! for clients that try again. What the cluster is known by is made of the members and of the snapshot: members of the old
//! cluster are refused, also where the addresses are the same.

use std::io;
use std::path::Path;
use std::sync::Arc;

use outrigger_engine::{Fault, LogId, Membership, Version};
use outrigger_log::{FoundError, OpenError, OpenOptions, RealDisk, SnapshotReader, found};

use crate::config::{Config, ConfigError};
use crate::store::durable::{position, snapshot_id};
use crate::store::snapshots::{decode_head, encode_head};
use crate::store::{self, Moment};

/// So many entries beyond the snapshot the new log begins. At 100,000 entries a second, the old cluster has gone on for less than
/// three hours by then, and at 1,000 for more than eleven days.
const LEAP_ENTRIES: u64 = 1_000_000_000;
/// So many terms beyond the snapshot's the new log begins.
const LEAP_TERMS: u64 = 1_000_000;

/// The first file of the log is made anew by the first start, which knows how long it should be.
const SEGMENT_BYTES: u64 = 64 << 10;

/// A snapshot in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSnapshot {
    /// The last entry that it covers.
    pub last: LogId,
    /// The bytes of its content.
    pub bytes: u64,
    /// CRC-32C of what the file says of it and of its content.
    pub checksum: u32,
}

/// Why no data directory was made from a snapshot. What was there is as it was, or was left by an earlier try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings name no data directory, or no members to begin with.
    #[error("nothing was restored: {setting} is missing")]
    Missing {
        /// Which setting.
        setting: &'static str,
    },
    /// The file is no snapshot, or not all of one, or not as it was saved.
    #[error(
        "{path} is not restored: {}{reason}{}",
        offset.map(|offset| format!("at offset {offset}, ")).unwrap_or_default(),
        if offset.is_some() { "; copy it again from where it is whole, or save another one" } else { "" }
    )]
    File {
        /// The file.
        path: String,
        /// Where it is damaged, in bytes; at its end, if it is cut.
        offset: Option<u64>,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory holds something.
    #[error("nothing was restored: {directory} is not empty (it holds {found:?}); name another one")]
    Occupied {
        /// The data directory.
        directory: String,
        /// A file in it.
        found: String,
    },
    /// Somebody else has the data directory open.
    #[error("nothing was restored: {directory} is in use by another process")]
    Locked {
        /// The data directory.
        directory: String,
    },
    /// The disk failed. Nobody starts from what there is of the directory; restore into it again, or remove it.
    #[error("not restored: {reason}")]
    Storage {
        /// What happened, for people.
        reason: String,
    },
}

/// Makes the data directory of one node of a new cluster, which begins from the snapshot in a file: `config` as for
/// [`Raft::start`](crate::Raft::start), of which the node's id, the cluster's name, the data directory and the initial cluster
/// count. To be called for every node, each with the same file and the same initial cluster; then start them with the same
/// settings. It blocks, for as long as it takes to read the file twice and to write it once. `progress` is told how many bytes
/// of how many were read.
///
/// A try that was interrupted can be repeated; nobody can start from a directory that is not complete. To begin twice from the
/// same file with the same members, give the clusters different names, so that nodes of both cannot meet.
///
/// # Errors
/// [`RestoreError`].
///
/// ```no_run
/// use outrigger::{Config, restore_snapshot};
///
/// # fn main() -> Result<(), outrigger::RestoreError> {
/// let config = Config {
///     id: 1,
///     data_dir: Some("n1".into()),
///     initial_cluster: Config::parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103").unwrap(),
///     ..Config::default()
/// };
/// let restored = restore_snapshot("monday.snapshot".as_ref(), &config, &mut |_, _| {})?;
/// println!("begins behind {}", restored.last);
/// # Ok(())
/// # }
/// ```
pub fn restore_snapshot(
    file: &Path,
    config: &Config,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SavedSnapshot, RestoreError> {
    config.validate()?;
    let Some(directory) = &config.data_dir else { return Err(RestoreError::Missing { setting: "data_dir" }) };
    if config.initial_cluster.is_empty() {
        return Err(RestoreError::Missing { setting: "initial_cluster" });
    }
    let unusable = |error| unusable(file, error);
    let reader = SnapshotReader::open_file(&RealDisk, file).map_err(unusable)?;
    let id = reader.snapshot().id;
    let total = id.bytes.saturating_mul(2);
    // Before anything is made: most of what is wrong with a file is found by reading it.
    reader.verify(&mut |bytes| progress(bytes, total)).map_err(unusable)?;
    let saved = decode_head(snapshot_id(id), reader.snapshot().head.clone());
    let saved = saved.map_err(|error| RestoreError::File {
        path: file.display().to_string(),
        offset: None,
        reason: error.reason,
    })?;
    let (cluster, spoken) = (saved.membership.version(), Version(config.speak_version_max));
    if cluster > spoken {
        let reason = Fault::TooOld { cluster, spoken, is_settled: true }.to_string();
        return Err(RestoreError::File { path: file.display().to_string(), offset: None, reason });
    }

    let membership: Arc<Membership> = Arc::new(config.initial_membership().with_version(saved.membership.version()));
    let genesis = store::genesis_from(&membership, &id);
    let old = saved.last();
    let leap = old.term.0.checked_add(LEAP_TERMS).zip(old.index.0.checked_add(LEAP_ENTRIES));
    let Some((term, index)) = leap else {
        let reason = format!("it covers {old}, beyond which there is no room for a new log");
        return Err(RestoreError::File { path: file.display().to_string(), offset: None, reason });
    };
    let last = LogId::new(term, index);
    let moment = Moment { last, log_time: saved.log_time, membership_at: last, membership };
    // Both are drawn anew by the first start.
    let (incarnation, nonce) = (1, 1);
    let mut options = OpenOptions::new(config.cluster_id(), config.id, incarnation, nonce);
    options.segment_bytes = SEGMENT_BYTES;
    let head = encode_head(&moment, genesis);
    let mut body = Counted { body: reader.body(), bytes: 0, tell: &mut |bytes| progress(id.bytes + bytes, total) };
    let built = found(&RealDisk, directory, &options, position(last), head, &mut body);
    let built = built.map_err(|error| not_made(file, &directory.display().to_string(), error))?;
    Ok(SavedSnapshot { last, bytes: built.id.bytes, checksum: built.id.checksum })
}

/// A body, and how much of it was read.
struct Counted<'a, R> {
    body: R,
    bytes: u64,
    tell: &'a mut dyn FnMut(u64),
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.bytes += read as u64;
        (self.tell)(self.bytes);
        Ok(read)
    }
}

fn unusable(file: &Path, error: outrigger_log::SnapshotError) -> RestoreError {
    let path = file.display().to_string();
    match error {
        outrigger_log::SnapshotError::Corrupt(found) => {
            RestoreError::File { path, offset: Some(found.offset), reason: found.what.into_owned() }
        }
        other => RestoreError::File { path, offset: None, reason: other.to_string() },
    }
}

fn not_made(file: &Path, directory: &str, error: FoundError) -> RestoreError {
    let directory = directory.to_owned();
    match error {
        FoundError::Occupied { found, .. } => RestoreError::Occupied { directory, found },
        FoundError::Open(OpenError::Locked { .. }) => RestoreError::Locked { directory },
        // It was whole a moment ago.
        FoundError::Body(error) => {
            RestoreError::File { path: file.display().to_string(), offset: None, reason: error.to_string() }
        }
        other => RestoreError::Storage { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
