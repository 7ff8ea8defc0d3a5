//! Writing the file of a snapshot, front to back; what builds and receptions have in common.
//!
//! It is synced every now and then. That promises nothing, but whoever syncs another file of the same disk meanwhile, such as
//! the log, does not wait for all of a large snapshot that the system has yet to write.

use std::mem;
use std::path::PathBuf;

use super::layout::{BLOCK_BYTES, Blocks, HEADER_BYTES, Header, STORED_BLOCK_BYTES};
use crate::disk::DiskFile;
use crate::error::{DiskError, During};

/// At most so many bytes of a file are left to the system to write: a flush of the log waits for no more than that. With 4 MiB, p99 of
/// writes beside it was three times as long.
const UNSYNCED_BYTES_MAX: u64 = 256 << 10;

/// A file that is being written. After a failure it must not be used any more: whether a block is there is unknown.
pub(super) struct FileWriter<F> {
    file: F,
    path: PathBuf,
    blocks: Blocks,
    /// How many blocks are written.
    written: u64,
    /// The bytes of the next block that have come so far; fewer than a whole one.
    pending: Vec<u8>,
    /// Of the head and of all bytes taken.
    checksum: u32,
    /// How many bytes of the body were taken.
    bytes: u64,
    /// How many blocks are written and not synced.
    unsynced: u64,
    /// Whether a sync has failed: then what reads well may be lost all the same.
    sync_has_failed: bool,
}

impl<F: DiskFile> FileWriter<F> {
    /// Begins to write into a file that is empty, or holds these very bytes. The header comes with [`write_header`](Self::write_header).
    pub(super) fn begin(file: F, path: PathBuf, blocks: Blocks, head: &[u8]) -> Result<Self, DiskError> {
        file.write_all_at(head, HEADER_BYTES as u64).during("write", &path)?;
        let pending = Vec::with_capacity(STORED_BLOCK_BYTES);
        let checksum = crc32c::crc32c(head);
        Ok(Self { file, path, blocks, written: 0, pending, checksum, bytes: 0, unsynced: 0, sync_has_failed: false })
    }

    pub(super) fn file(&self) -> &F {
        &self.file
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Whether a sync has failed: then nothing in the file must be counted on.
    pub(super) fn sync_has_failed(&self) -> bool {
        self.sync_has_failed
    }

    /// Takes the next bytes of the body.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let (fitting, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(fitting);
            self.count(fitting);
            if self.pending.len() == BLOCK_BYTES {
                self.write_block()?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Writes the last block, if it is not whole.
    pub(super) fn end_body(&mut self) -> Result<(), DiskError> {
        if self.pending.is_empty() { Ok(()) } else { self.write_block() }
    }

    pub(super) fn write_header(&self, header: &Header) -> Result<(), DiskError> {
        self.file.write_all_at(&header.encode(), 0).during("write", &self.path)
    }

    /// Writes the end, and makes all of the file durable.
    pub(super) fn complete(&self, header: &Header) -> Result<(), DiskError> {
        assert!(self.pending.is_empty(), "{} bytes are not written", self.pending.len());
        assert_eq!(self.bytes, header.id.bytes, "the length of {}", self.path.display());
        assert_eq!(self.checksum, header.id.checksum, "the checksum of {}", self.path.display());
        self.file.write_all_at(&header.encode_end(), header.end_offset()).during("write", &self.path)?;
        mutate!(log_snapshot_unsynced, return Ok(()));
        self.file.sync_all().during("sync", &self.path)
    }

    pub(super) fn into_file(self) -> F {
        self.file
    }

    fn count(&mut self, bytes: &[u8]) {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.bytes += bytes.len() as u64;
    }

    fn write_block(&mut self) -> Result<(), DiskError> {
        let mut block = mem::take(&mut self.pending);
        self.blocks.seal(self.written, &mut block);
        self.file.write_all_at(&block, self.blocks.offset(self.written)).during("write", &self.path)?;
        self.written += 1;
        block.clear();
        self.pending = block;
        self.unsynced += 1;
        if self.unsynced * BLOCK_BYTES as u64 >= UNSYNCED_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.unsynced = 0;
        self.file.sync_data().during("sync", &self.path).inspect_err(|_| self.sync_has_failed = true)
    }
}
