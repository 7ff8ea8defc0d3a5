//! The limit: one write into a preallocated, zeroed file, then one fdatasync. No header, no checksum, no index.
//!
//! ```text
//!   file   |=====written=====|..........zeros..........|
//!                            ^ place: the next write goes here, and to the front when it does not fit
//! ```
//!
//! Writing over blocks that are already allocated and written changes no metadata of the file, so the
//! fdatasync has the data alone to bring to the disk: no log can be faster that way.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;

use super::group_commit::Appender;
use super::payload::Batch;

/// Bytes of zeros written at a time when the file is made.
const ZEROS: usize = 1 << 20;
/// How many parts one gathering write takes at most (Linux's `IOV_MAX`).
const PARTS_MAX: usize = 1_024;

/// A file that is written over in a circle.
pub(super) struct Bare {
    file: File,
    /// Length of the file; all of it has been written before.
    capacity: u64,
    /// Where the next write begins, at most `capacity`.
    place: u64,
    /// What the next flush writes.
    queued: Vec<Bytes>,
}

impl Bare {
    /// Makes the file, fills at least `bytes` of it with zeros and syncs them.
    pub(super) fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
        let zeros = vec![0; ZEROS];
        let blocks = bytes.div_ceil(ZEROS as u64);
        for _ in 0..blocks {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, capacity: blocks * ZEROS as u64, place: 0, queued: Vec::new() })
    }

    /// Goes to the front when the next `bytes` would make the file longer.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.capacity {
            let refusal = format!("{bytes} bytes at once do not fit into the file of {} bytes", self.capacity);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, refusal));
        }
        if self.place + bytes > self.capacity {
            self.file.seek(SeekFrom::Start(0))?;
            self.place = 0;
        }
        self.place += bytes;
        Ok(())
    }
}

impl Appender for Bare {
    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        self.queued.push(batch.block.clone());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes: usize = self.queued.iter().map(Bytes::len).sum();
        self.make_room(bytes as u64)?;
        let queued = std::mem::take(&mut self.queued);
        let mut slices: Vec<IoSlice<'_>> = queued.iter().map(|block| IoSlice::new(block)).collect();
        write_all_gathered(&mut self.file, &mut slices)?;
        self.file.sync_data()
    }
}

/// Writes all slices, in as few calls as the system allows.
fn write_all_gathered(file: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        let parts = slices.get(..PARTS_MAX).unwrap_or(slices);
        let written = file.write_vectored(parts)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Appender, Bare, ZEROS, write_all_gathered};
    use crate::wal::payload::Pool;
    use std::io::{self, IoSlice, Write};

    #[test]
    fn what_was_queued_is_in_the_file_in_order_and_the_file_keeps_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bare");
        let mut bare = Bare::create(&path, 1).unwrap();
        let pool = Pool::new(ZEROS / 4 + 1, 1);
        let batches = pool.batches();
        for batch in &batches[..3] {
            bare.append(batch).unwrap();
        }
        bare.flush().unwrap();
        let written = [&batches[0].block[..], &batches[1].block[..], &batches[2].block[..]].concat();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len(), ZEROS);
        assert_eq!(file[..written.len()], written);

        // The fourth does not fit behind the third any more: it goes to the front.
        bare.append(&batches[3]).unwrap();
        bare.flush().unwrap();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len(), ZEROS, "a file that grows is not the limit");
        assert_eq!(file[..batches[3].block.len()], batches[3].block);
        assert_eq!(file[batches[3].block.len()..written.len()], written[batches[3].block.len()..]);
    }

    #[test]
    fn a_write_longer_than_the_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut bare = Bare::create(&directory.path().join("bare"), 1).unwrap();
        bare.append(&Pool::new(ZEROS + 1, 1).batches()[0]).unwrap();
        assert_eq!(bare.flush().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn short_writes_are_continued() {
        /// Takes five bytes at a time.
        struct Five(Vec<u8>);
        impl Write for Five {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.len().min(5);
                self.0.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut file = Five(Vec::new());
        let texts: [&[u8]; 3] = [b"one, ", b"two and ", b"three"];
        write_all_gathered(&mut file, &mut texts.map(IoSlice::new)).unwrap();
        assert_eq!(file.0, b"one, two and three");
    }
}
