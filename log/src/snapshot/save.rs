//! A snapshot as a file of its own, outside of any data directory: saved, and opened again. It has the bytes that it has in
//! a node's directory, so that whatever is cut or flipped in it is found, and where.
//!
//! ```text
//!   FILE.partial  locked, created -> header -> head -> blocks, as they come -> end -> synced -> renamed to FILE
//!                                                                                        -> directory synced
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Header;
use super::read::{Complete, SnapshotReader};
use super::write::FileWriter;
use super::{Snapshot, SnapshotError};
use crate::disk::Disk;
use crate::error::During;

/// Takes the body of a snapshot that is known, front to back. Dropped before [`finish`](Self::finish), it leaves what was
/// there under the name before, and nothing else.
pub struct SnapshotFileWriter<D: Disk> {
    disk: D,
    path: PathBuf,
    partial: PathBuf,
    header: Header,
    /// `None` once it is the file, or after a failure: then nobody knows what is in it.
    writer: Option<FileWriter<D::File>>,
    _lock: D::Lock,
}

impl<D: Disk> SnapshotFileWriter<D> {
    /// Begins a file. A file that has this name is replaced by it in the end.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`] if somebody else writes it, `TooLarge`, `DiskFull` or `Disk`.
    pub fn create(disk: D, path: &Path, cluster: u64, snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let header = Header::new(cluster, snapshot)?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let lock = match disk.lock(&partial) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(SnapshotError::Locked { path: partial });
            }
            lock => lock.during("lock", &partial)?,
        };
        // From here on a failure drops it, which removes the file.
        let mut saving = Self { disk, path: path.to_owned(), partial, header, writer: None, _lock: lock };
        saving.writer = Some(saving.begin(snapshot).inspect_err(|_| saving.discard())?);
        Ok(saving)
    }

    fn begin(&self, snapshot: &Snapshot) -> Result<FileWriter<D::File>, SnapshotError> {
        let file = self.disk.create(&self.partial).during("create", &self.partial)?;
        let writer = FileWriter::begin(file, self.partial.clone(), self.header.blocks(), &snapshot.head)?;
        writer.write_header(&self.header)?;
        Ok(writer)
    }

    /// How many bytes of the body are there.
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, FileWriter::bytes)
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// [`SnapshotError::Beyond`] behind its end: then it goes on as if nothing had come. `DiskFull` or `Disk`: then nothing is
    /// left of it, and all further calls are answered with `Ended`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let (end, all) = (self.bytes().saturating_add(bytes.len() as u64), self.header.id.bytes);
        if end > all && self.writer.is_some() {
            return Err(SnapshotError::Beyond { end, bytes: all });
        }
        let Some(writer) = &mut self.writer else { return Err(ended()) };
        if let Err(error) = writer.append(bytes) {
            self.writer = None;
            self.discard();
            return Err(error.into());
        }
        Ok(())
    }

    /// Checks that all has come, and that it is what was announced, and gives the file its name, durably.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`], `NotAsAnnounced`, `Ended`, `DiskFull` or `Disk`: then nothing is left of it. If it was the sync
    /// of the directory that failed, the file is there, and may be gone after a power cut.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let Some(mut writer) = self.writer.take() else { return Err(ended()) };
        let done = self.complete(&mut writer).inspect_err(|_| self.discard());
        done?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        Ok(self.disk.sync_directory(directory).during("sync", directory)?)
    }

    fn complete(&self, writer: &mut FileWriter<D::File>) -> Result<(), SnapshotError> {
        let (held, id) = (writer.bytes(), self.header.id);
        if held < id.bytes {
            return Err(SnapshotError::Incomplete { held, bytes: id.bytes });
        }
        writer.end_body()?;
        if writer.checksum() != id.checksum {
            return Err(SnapshotError::NotAsAnnounced { id, found: writer.checksum() });
        }
        writer.complete(&self.header)?;
        Ok(self.disk.rename(&self.partial, &self.path).during("rename", &self.partial)?)
    }

    fn discard(&self) {
        let _ = self.disk.remove(&self.partial);
    }
}

fn ended() -> SnapshotError {
    SnapshotError::Ended { reason: "a write to the file has failed".to_owned() }
}

impl<D: Disk> Drop for SnapshotFileWriter<D> {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.discard();
        }
    }
}

impl<D: Disk> fmt::Debug for SnapshotFileWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFileWriter")
            .field("path", &self.path)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl<D: Disk> SnapshotReader<D> {
    /// Opens a file that [`SnapshotFileWriter`] has made, of whatever cluster it is, and verifies all of it but the body.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] with the offset at which it is cut, damaged or no snapshot at all, `NewerFormat` or `Disk`.
    pub fn open_file(disk: &D, path: &Path) -> Result<Self, SnapshotError> {
        Ok(Self::new(Arc::new(Complete::open_any(disk, path.to_owned())?)))
    }

    /// Reads all of the body and verifies it; nothing of it stays in memory. `progress` is told how many bytes of it are done.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] or [`SnapshotError::Disk`].
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<(), SnapshotError> {
        self.body().read_through(progress)
    }
}
