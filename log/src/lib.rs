//! A durable write-ahead log for one or many Raft groups, and the files of [`Snapshots`].
//!
//! One directory holds one ordered stream of records: votes, entries, truncations, purges, committed indexes. All that
//! has queued up becomes durable with one write and one `fdatasync`.
//!
//! ```text
//!              append (encodes)         flush (one write, one fdatasync)
//!   caller  ------------------>  queue ---------------------------------->  segment ... segment
//!              never blocks                                                   ^             |
//!                                    Preparer: zeros the next one ahead ------'             |
//!   caller  <---------------------------------------------------------- LogReader <---------'
//! ```
//!
//! # What it promises
//! - What [`Log::flush`] has answered survives a power cut; nothing else ever appears out of order.
//! - A torn end is cut, and [`Log::cut`] tells of it; anything else that is damaged is refused with file, offset and
//!   index, never skipped.
//! - After one failed write or sync the log is poisoned: it never tries a sync again (a retry may lie).
//! - When the disk is full, reads go on and votes can still be saved.
//! - A snapshot that was finished survives a power cut, until a newer one has been finished; one that was received is
//!   what was announced, and none that is cut or damaged is ever taken for complete.
//! - [`verify`] tells all that is damaged, also where nobody reads, and like [`Inspection`] changes nothing.
//! - A directory belongs to one cluster, one node and one process at a time; once [refused](Log::refuse), to nobody.
//!
//! The log has no thread, no clock and no randomness of its own: who hosts it decides when it flushes, and hands it the
//! random numbers it needs. All of it runs on the simulated [`FaultyDisk`] exactly as on [`RealDisk`]. The files are
//! described byte by byte in `FORMAT.md`.
//!
//! # Example
//! ```
//! use bytes::Bytes;
//! use outrigger_log::{FaultyDisk, GroupId, Log, OpenOptions, Record};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = FaultyDisk::new();
//! let (directory, group) = ("/data".as_ref(), GroupId(1));
//! let options = OpenOptions { segment_bytes: 64 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
//!
//! let mut log = Log::open(disk.clone(), directory, options)?;
//! log.append(group, Record::Vote { term: 1, voted_for: Some(1) })?;
//! let payloads = [Bytes::from_static(b"x = 1"), Bytes::from_static(b"y = 2")];
//! log.append(group, Record::Entries { term: 1, first: 1, log_time: 0, payloads: &payloads, marked: false })?;
//! log.flush()?;
//! log.append(group, Record::Committed { index: 2 })?; // never flushed
//!
//! disk.crash(42); // the power is cut, and what was not synced is torn as the number says
//!
//! let log = Log::open(disk, directory, options)?;
//! let state = log.group(group).expect("the vote and the entries were flushed");
//! assert_eq!((state.vote.voted_for, state.last.index), (Some(1), 2));
//! assert_eq!(log.identity().start, 2);
//! let runs = log.reader().entries(group, 1, 2, usize::MAX)?;
//! assert_eq!(runs[0].payloads, payloads);
//! # Ok(())
//! # }
//! ```

#[cfg(not(unix))]
compile_error!("outrigger-log needs flock and positional writes: Unix only so far");

#[macro_use]
mod mutation;

mod disk;
mod error;
mod faulty;
mod found;
mod frames;
mod identity;
mod index;
mod inspect;
mod open;
mod preparer;
mod queue;
mod reader;
mod record;
mod recovery;
mod refused;
mod segment;
mod shared;
mod snapshot;
mod state;
mod writer;
mod zeros;

pub use disk::{Access, Disk, DiskFile};
#[cfg(unix)]
pub use disk::{RealDisk, RealFile, RealLock};
pub use error::{AppendError, Corruption, DiskError, FlushError, OpenError, PrepareError, ReadError};
pub use faulty::{Counts, FaultyDisk, FaultyFile, FaultyLock};
pub use found::{FoundError, found};
#[doc(hidden)]
pub use frames::{Frames, Seal};
pub use identity::Identity;
pub use inspect::{Damage, Inspection, Progress, SnapshotFile, Verification, verify};
pub use open::OpenOptions;
pub use preparer::Preparer;
pub use reader::{LogReader, Run};
pub use record::Record;
pub use recovery::Cut;
pub use refused::Refused;
pub use snapshot::{
    SNAPSHOT_HEAD_BYTES_MAX, Snapshot, SnapshotBody, SnapshotBuilder, SnapshotError, SnapshotFileWriter, SnapshotId,
    SnapshotReader, SnapshotReceiver, Snapshots,
};
pub use state::{GroupId, GroupState, LogPosition, PeerIdentity, Vote};
pub use writer::Log;

#[cfg(outrigger_mutants)]
#[doc(hidden)]
pub use mutation::{choose_mutant, is_mutant, mutant_id};
