//! Reading a complete snapshot. Whoever reads holds the file open, so that it stays readable when a newer one has taken
//! its place and its name is gone.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes};

use super::layout::{BLOCK_BYTES, CHECKSUM_BYTES, END_BYTES, HEADER_BYTES, Header, corruption};
use super::{Snapshot, SnapshotError, SnapshotId};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Corruption, During};
use crate::segment::size;
use crate::state::LogPosition;

/// A complete snapshot whose file is open. Nobody else has it open.
pub(super) struct Complete<F: DiskFile> {
    pub(super) snapshot: Snapshot,
    pub(super) header: Header,
    /// Where it is, unless it was replaced meanwhile.
    pub(super) path: PathBuf,
    pub(super) file: F,
    /// Whether a newer one has taken its place, and its name was removed.
    pub(super) is_replaced: AtomicBool,
}

impl<F: DiskFile> Drop for Complete<F> {
    fn drop(&mut self) {
        // The last of its readers has gone now. A file that was only looked at is somebody else's, whatever became of its name.
        if self.is_replaced.load(Ordering::Relaxed) {
            self.file.give_back(&self.path);
        }
    }
}

impl<F: DiskFile> Complete<F> {
    /// Opens a file that has the name of a complete snapshot, and verifies all of it but the body.
    pub(super) fn open<D: Disk<File = F>>(
        disk: &D,
        path: PathBuf,
        cluster: u64,
        position: LogPosition,
    ) -> Result<Self, SnapshotError> {
        let file = disk.open(&path, Access::Read).during("open", &path)?;
        let (header, length) = read_header(&file, &path, cluster)?;
        let corrupt = |offset, what: &'static str| corruption(&path, offset, Some(position), what);
        let found = header.id.position;
        if found != position {
            let what = format!("its name says another position than its header: {position}, and {found}");
            return Err(corruption(&path, 0, Some(position), what).into());
        }
        // Before anything is allocated for what the header promises.
        if length != header.file_bytes() {
            let what = format!(
                "its length is not what its header says: {length} bytes are there, {} were written",
                header.file_bytes()
            );
            return Err(corruption(&path, length, Some(position), what).into());
        }
        let head = file.read_exact_at(header.head_bytes as usize, HEADER_BYTES as u64).during("read", &path)?;
        let head_checksum = crc32c::crc32c(&head);
        mutate!(log_snapshot_head_unchecked, head_checksum = header.head_checksum);
        if head_checksum != header.head_checksum {
            return Err(corrupt(HEADER_BYTES as u64, "the head's checksum does not match").into());
        }
        let end = file.read_exact_at(END_BYTES, header.end_offset()).during("read", &path)?;
        if end != header.encode_end() {
            return Err(corrupt(header.end_offset(), "the end does not verify").into());
        }
        // With a block there is somebody who sums the whole while it is read.
        if header.id.bytes == 0 && header.id.checksum != header.head_checksum {
            return Err(corrupt(0, "an empty body, and another checksum than the head's").into());
        }
        let snapshot = Snapshot { id: header.id, head: Bytes::from(head) };
        Ok(Self { snapshot, header, path, file, is_replaced: AtomicBool::new(false) })
    }

    /// Opens a file of whatever name, cluster and position.
    pub(super) fn open_any<D: Disk<File = F>>(disk: &D, path: PathBuf) -> Result<Self, SnapshotError> {
        let cluster = cluster_of(disk, &path)?;
        let file = disk.open(&path, Access::Read).during("open", &path)?;
        let (header, _) = read_header(&file, &path, cluster)?;
        Self::open(disk, path, cluster, header.id.position)
    }

    fn corrupt(&self, offset: u64, what: impl Into<Cow<'static, str>>) -> Corruption {
        corruption(&self.path, offset, Some(self.header.id.position), what)
    }

    /// The verified bytes of a block.
    fn block(&self, block: u64) -> Result<Vec<u8>, SnapshotError> {
        let (blocks, length) = (self.header.blocks(), self.header.block_bytes(block) + CHECKSUM_BYTES);
        let offset = blocks.offset(block);
        let stored = match self.file.read_exact_at(length, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let found = self.file.length().during("measure", &self.path)?;
                let what = format!(
                    "the file is cut short: {found} bytes are there, {} were written",
                    self.header.file_bytes()
                );
                return Err(self.corrupt(offset, what).into());
            }
            stored => stored.during("read", &self.path)?,
        };
        let verified = blocks.open(block, stored);
        Ok(verified.ok_or_else(|| self.corrupt(offset, "a block's checksum does not match"))?)
    }
}

/// The header of a file, whatever its name, and the file's length.
pub(super) fn read_header<F: DiskFile>(file: &F, path: &Path, cluster: u64) -> Result<(Header, u64), SnapshotError> {
    let length = file.length().during("measure", path)?;
    let first = file.read_exact_at(size(length.min(HEADER_BYTES as u64)), 0).during("read", path)?;
    Ok((Header::decode(&first, cluster, path)?, length))
}

/// The cluster that a file says it belongs to, not verified; 0 of one that is too short to say so.
pub(super) fn cluster_of<D: Disk>(disk: &D, path: &Path) -> Result<u64, SnapshotError> {
    let file = disk.open(path, Access::Read).during("open", path)?;
    let length = file.length().during("measure", path)?;
    let first = file.read_exact_at(size(length.min(HEADER_BYTES as u64)), 0).during("read", path)?;
    Ok(first.get(16..24).map_or(0, |mut bytes| bytes.get_u64_le()))
}

/// Reads a complete snapshot. Cheap to clone; goes on when a newer one has replaced it.
pub struct SnapshotReader<D: Disk> {
    complete: Arc<Complete<D::File>>,
}

impl<D: Disk> SnapshotReader<D> {
    pub(super) fn new(complete: Arc<Complete<D::File>>) -> Self {
        Self { complete }
    }

    /// What is read.
    pub fn snapshot(&self) -> &Snapshot {
        &self.complete.snapshot
    }

    /// The body's bytes from `offset` on: `bytes_max` of them, or as many as there are up to its end. Each block that
    /// they lie in is verified whole.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] or [`SnapshotError::Disk`]: nothing of what cannot be verified is answered.
    pub fn read_at(&self, offset: u64, bytes_max: usize) -> Result<Bytes, SnapshotError> {
        let end = offset.saturating_add(bytes_max as u64).min(self.complete.header.id.bytes);
        let mut found = Vec::with_capacity(size(end.saturating_sub(offset)));
        let mut next = offset;
        while next < end {
            let start = next % BLOCK_BYTES as u64;
            let block = self.complete.block(next / BLOCK_BYTES as u64)?;
            let wanted = (end - next).min(block.len() as u64 - start);
            found.extend_from_slice(&block[size(start)..size(start + wanted)]);
            next += wanted;
        }
        Ok(Bytes::from(found))
    }

    /// The body from its beginning. What it reads is verified block by block, and the whole once the end is reached.
    pub fn body(&self) -> SnapshotBody<D> {
        let checksum = self.complete.header.head_checksum;
        SnapshotBody { complete: Arc::clone(&self.complete), next: 0, block: Vec::new(), given: 0, checksum }
    }
}

impl<D: Disk> Clone for SnapshotReader<D> {
    fn clone(&self) -> Self {
        Self { complete: Arc::clone(&self.complete) }
    }
}

impl<D: Disk> fmt::Debug for SnapshotReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader").field("id", &self.complete.snapshot.id).finish_non_exhaustive()
    }
}

/// The body of a snapshot as a stream. An error that it answers has a [`SnapshotError`] within.
pub struct SnapshotBody<D: Disk> {
    complete: Arc<Complete<D::File>>,
    /// The next block to read.
    next: u64,
    /// The last block that was read.
    block: Vec<u8>,
    /// How much of that was given out.
    given: usize,
    /// Of the head and of all blocks that were read.
    checksum: u32,
}

impl<D: Disk> SnapshotBody<D> {
    /// Verifies all of it; `progress` is told how many bytes are done.
    pub(super) fn read_through(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), SnapshotError> {
        let mut done = 0;
        while self.next < self.complete.header.block_count() {
            self.advance()?;
            done += self.block.len() as u64;
            progress(done);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), SnapshotError> {
        let header = &self.complete.header;
        assert!(self.next < header.block_count(), "block {} of {}", self.next, header.block_count());
        let block = self.complete.block(self.next)?;
        let checksum = crc32c::crc32c_append(self.checksum, &block);
        // Before the last bytes are given out: who has read to the end holds what was written.
        if self.next + 1 == header.block_count() && checksum != header.id.checksum {
            return Err(self.complete.corrupt(HEADER_BYTES as u64, "its checksum does not match").into());
        }
        (self.block, self.given, self.checksum) = (block, 0, checksum);
        self.next += 1;
        Ok(())
    }
}

impl<D: Disk> io::Read for SnapshotBody<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.block.len() && self.next < self.complete.header.block_count() {
            self.advance().map_err(|error| io::Error::new(error.kind(), error))?;
        }
        let left = &self.block[self.given..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.given += length;
        Ok(length)
    }
}

impl<D: Disk> fmt::Debug for SnapshotBody<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id: SnapshotId = self.complete.snapshot.id;
        f.debug_struct("SnapshotBody").field("id", &id).field("next", &self.next).finish_non_exhaustive()
    }
}
