//! The files of snapshots: how one is built, received and read, and why a crash leaves a whole one.
//!
//! ```text
//!   DIR/snapshots/lock                        empty; its lock is held while a process has the snapshots open
//!   DIR/snapshots/snapshot-<index>-<term>     a complete one; 20 digits each, so that names sort as indexes do
//!   DIR/snapshots/building                    a build; removed when it is dropped, and at the next open
//!   DIR/snapshots/receiving                   a reception; resumed behind the last block that verifies
//!
//!   build    write .. write ---+
//!                              +--> end --> sync the file --> rename --> sync the directory --> remove the older one
//!   receive  write .. write ---+                                 ^                      ^
//!                 ^                                              |                      '- from here on the older is not needed
//!                 '- a crash: some blocks verify                 '- a crash before: the older one, after: either
//! ```
//!
//! A file, in which all numbers are little-endian and all checksums CRC-32C. No byte of it is without a checksum:
//!
//! ```text
//!   offset
//!   0           header, 64 bytes
//!               0   8  magic OUTRSNAP
//!               8   4  format version, 1: it stands first and alone, so that a later one is refused by name
//!               12  4  zero
//!               16  8  cluster id
//!               24  8  term    \
//!               32  8  index    |
//!               40  8  bytes of the body           the id
//!               48  4  checksum of head and body   /
//!               52  4  bytes of the head, at most 1 MiB
//!               56  4  checksum of the head
//!               60  4  checksum of 0..60
//!   64          the head
//!   64 + head   the body, in blocks: up to 65,536 bytes of it (only the last has fewer), then
//!                  4  checksum of these bytes, then of the binding: term (8), index (8), number of the block from 0 (8),
//!                     its bytes (4), so that a block that was written elsewhere does not verify
//!   ..          end, 40 bytes: written when everything else is there, and all of it has been checked
//!               0   8  magic OUTRSNEN
//!               8   8  term    \
//!               16  8  index    |  the id once more
//!               24  8  bytes    |
//!               32  4  checksum /
//!               36  4  checksum of 0..36
//! ```
//!
//! A build writes its header last, for only then are length and checksum known; a reception, whose id came with it, first.
//! Nothing holds more of a body in memory than a block and what its caller has given or asked for.

mod build;
mod directory;
mod error;
mod inspect;
mod layout;
mod read;
mod receive;
mod save;
mod write;

use std::fmt;

use bytes::Bytes;

use crate::state::LogPosition;

pub use build::SnapshotBuilder;
pub use directory::Snapshots;
pub use error::SnapshotError;
pub(crate) use inspect::{clear, clear_build, look};
pub use read::{SnapshotBody, SnapshotReader};
pub use receive::SnapshotReceiver;
pub use save::SnapshotFileWriter;

/// The most bytes that the head of a snapshot may have.
pub const SNAPSHOT_HEAD_BYTES_MAX: usize = 1 << 20;

/// What a snapshot is: where it stands in the log, and its content. Two snapshots with the same id hold the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotId {
    /// The last entry that it covers.
    pub position: LogPosition,
    /// The bytes of its body.
    pub bytes: u64,
    /// CRC-32C of its head and of its body behind that.
    pub checksum: u32,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot at {}, {} bytes, checksum {:08x}", self.position, self.bytes, self.checksum)
    }
}

/// A snapshot without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which one it is.
    pub id: SnapshotId,
    /// What the caller wants to know of it without reading the body, such as the members; at most
    /// [`SNAPSHOT_HEAD_BYTES_MAX`].
    pub head: Bytes,
}

/// Whether a snapshot at `position` would take back something of the one at `newest`.
fn is_older(position: LogPosition, newest: LogPosition) -> bool {
    position.index < newest.index || position.term < newest.term
}
