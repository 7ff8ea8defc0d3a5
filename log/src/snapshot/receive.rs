//! Receiving a snapshot from another node, in chunks, over as many connections and lives of the process as it takes.
//!
//! What counts as held after a crash is what verifies: the blocks up to the first that does not; they are written again. So no
//! promise depends on the syncs on the way. In the end the checksum of the whole decides whether it is what was announced.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};

use super::directory::{RECEIVING, Reception, Shared, lock};
use super::layout::{CHECKSUM_BYTES, HEADER_BYTES, Header};
use super::write::FileWriter;
use super::{Snapshot, SnapshotError};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{DiskError, During};

/// Takes the chunks of a snapshot that another node sends. Dropped before [`finish`](Self::finish), what it holds in whole
/// blocks is kept for the next [`receive`](super::Snapshots::receive) of the same.
pub struct SnapshotReceiver<D: Disk> {
    shared: Arc<Shared<D>>,
    snapshot: Snapshot,
    header: Header,
    writer: FileWriter<D::File>,
    /// It may write while this is the turn of the reception.
    turn: u64,
    /// The first failure: after it nobody knows what is in the file.
    failure: Option<String>,
}

impl<D: Disk> SnapshotReceiver<D> {
    pub(super) fn begin(shared: &Arc<Shared<D>>, snapshot: Snapshot) -> Result<Self, SnapshotError> {
        let header = Header::new(shared.cluster, &snapshot)?;
        shared.admit(snapshot.id.position)?;
        let mut reception = lock(&shared.reception);
        let held = held(shared, &header, &snapshot)?;
        reception.turn += 1;
        reception.position = Some(snapshot.id.position);
        let writer = match held {
            Some(file) => resume(file, shared.path(RECEIVING), &header, &snapshot),
            None => create(shared, &header, &snapshot),
        };
        let writer = writer.inspect_err(|_| throw_away(shared, &mut reception))?;
        let turn = reception.turn;
        drop(reception);
        Ok(Self { shared: Arc::clone(shared), snapshot, header, writer, turn, failure: None })
    }

    /// What is received.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How many bytes of the body are held; the next chunk begins there.
    pub fn held(&self) -> u64 {
        self.writer.bytes()
    }

    /// Takes the bytes of the body that begin at `offset`. Of what is held already nothing is written again. Answers how
    /// many bytes are held now.
    ///
    /// # Errors
    /// [`SnapshotError::Hole`] or `Beyond`: then it goes on as if nothing had come. `Ended` if another reception has begun.
    /// `DiskFull`, or `Disk` when a sync fails, and it is thrown away; other `Disk`, and what verifies is kept for the next reception.
    pub fn write(&mut self, offset: u64, chunk: &[u8]) -> Result<u64, SnapshotError> {
        let (held, bytes) = (self.held(), self.header.id.bytes);
        let end = offset.saturating_add(chunk.len() as u64);
        if offset > held {
            return Err(SnapshotError::Hole { offset, held });
        }
        if end > bytes {
            return Err(SnapshotError::Beyond { end, bytes });
        }
        let shared = Arc::clone(&self.shared);
        let mut reception = self.take_turn(&shared)?;
        let known = usize::try_from(held - offset).unwrap_or(usize::MAX);
        let new = chunk.get(known..).unwrap_or_default();
        if let Err(error) = self.append(new) {
            let error = SnapshotError::from(error);
            self.failure = Some(error.to_string());
            // A file whose sync has failed must not be resumed: it may read well, and be lost.
            if error.is_full() || self.writer.sync_has_failed() {
                throw_away(&shared, &mut reception);
            }
            return Err(error);
        }
        Ok(self.held())
    }

    /// Checks that it is what was announced, and makes it durable; then it is the newest, and the older one is removed.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`] if bytes are missing: these can still be received. `Ended` if another reception has
    /// begun. With `NotAsAnnounced`, `Older`, `DiskFull`, `Disk` and `Poisoned` it is thrown away, and the newest is as it
    /// was. If it was the sync of the directory that failed, it may be that this one is the newest after the next open.
    pub fn finish(self) -> Result<Snapshot, SnapshotError> {
        let (held, bytes) = (self.held(), self.header.id.bytes);
        let shared = Arc::clone(&self.shared);
        let mut reception = self.take_turn(&shared)?;
        if held < bytes {
            return Err(SnapshotError::Incomplete { held, bytes });
        }
        // A file whose sync has failed must not be resumed: it may read well, and be lost.
        let completed = self.complete().inspect_err(|_| throw_away(&shared, &mut reception));
        if completed.is_ok() {
            reception.position = None;
        }
        completed
    }

    fn complete(self) -> Result<Snapshot, SnapshotError> {
        let (header, found) = (self.header, self.writer.checksum());
        if found != header.id.checksum {
            return Err(SnapshotError::NotAsAnnounced { id: header.id, found });
        }
        self.writer.complete(&header)?;
        self.shared.install(RECEIVING, self.writer.into_file(), header, self.snapshot.head)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.writer.append(bytes)?;
        // The last block at once, so that a reception that lacks nothing is resumed with nothing left to send.
        if self.held() == self.header.id.bytes { self.writer.end_body() } else { Ok(()) }
    }

    /// The right to write to the file, for as long as it is held.
    fn take_turn<'a>(&self, shared: &'a Shared<D>) -> Result<MutexGuard<'a, Reception>, SnapshotError> {
        let reception = lock(&shared.reception);
        if let Some(reason) = &self.failure {
            return Err(SnapshotError::Ended { reason: reason.clone() });
        }
        if reception.turn != self.turn {
            return Err(SnapshotError::Ended { reason: "another snapshot is received, or was built".to_owned() });
        }
        Ok(reception)
    }
}

impl<D: Disk> fmt::Debug for SnapshotReceiver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SnapshotReceiver");
        debug.field("id", &self.snapshot.id).field("held", &self.held()).finish_non_exhaustive()
    }
}

/// The file that is there, if it belongs to this very snapshot. What cannot be read is not held, but one that cannot be opened for
/// want of open files is kept for later.
fn held<D: Disk>(shared: &Shared<D>, header: &Header, snapshot: &Snapshot) -> Result<Option<D::File>, DiskError> {
    let path = shared.path(RECEIVING);
    match shared.disk.open(&path, Access::ReadWrite).during("open", &path) {
        Ok(file) => Ok(is_of(&file, header, snapshot).unwrap_or(false).then_some(file)),
        Err(error) if error.is_scarce() => Err(error),
        Err(_) => Ok(None),
    }
}

fn is_of<F: DiskFile>(file: &F, header: &Header, snapshot: &Snapshot) -> io::Result<bool> {
    let expected = [&header.encode()[..], &snapshot.head].concat();
    // A longer one would end behind its end.
    Ok(file.length()? <= header.file_bytes() && file.read_exact_at(expected.len(), 0)? == expected)
}

/// Goes on behind what verifies of a file. All of it is written once more: an earlier process may have seen a sync of it fail,
/// and what the system then holds as written may be lost (TRAPS 39).
fn resume<F: DiskFile>(
    file: F,
    path: PathBuf,
    header: &Header,
    snapshot: &Snapshot,
) -> Result<FileWriter<F>, DiskError> {
    let (blocks, length) = (header.blocks(), file.length().during("measure", &path)?);
    let mut writer = FileWriter::begin(file, path, header.blocks(), &snapshot.head)?;
    writer.write_header(header)?;
    for block in 0..header.block_count() {
        let stored_bytes = header.block_bytes(block) + CHECKSUM_BYTES;
        // A short file makes nobody ask for more than it has.
        if blocks.offset(block) + stored_bytes as u64 > length {
            break;
        }
        let stored = writer.file().read_exact_at(stored_bytes, blocks.offset(block));
        let Some(verified) = stored.ok().and_then(|stored| blocks.open(block, stored)) else { break };
        writer.append(&verified)?;
    }
    if writer.bytes() == header.id.bytes {
        writer.end_body()?;
    }
    Ok(writer)
}

/// Begins with an empty file, under which no bytes of another one can lie.
fn create<D: Disk>(shared: &Shared<D>, header: &Header, snapshot: &Snapshot) -> Result<FileWriter<D::File>, DiskError> {
    let path = shared.path(RECEIVING);
    shared.discard(RECEIVING);
    let file = shared.disk.create(&path).during("create", &path)?;
    let writer = FileWriter::begin(file, path, header.blocks(), &snapshot.head)?;
    assert!(HEADER_BYTES as u64 <= header.blocks().offset(0), "the blocks begin behind the header");
    writer.write_header(header)?;
    Ok(writer)
}

/// Removes the file of the reception.
fn throw_away<D: Disk>(shared: &Shared<D>, reception: &mut Reception) {
    reception.position = None;
    shared.discard(RECEIVING);
}
