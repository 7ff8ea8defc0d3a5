//! A disk that remembers itself: before each operation it keeps a copy of all that is on it and in its cache.
//!
//! ```text
//!   create  write  write  sync  rename  sync_directory
//!   ^       ^      ^      ^     ^       ^                a copy at each: all the moments at which the power can fail
//! ```

use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrigger_log::{Access, Disk, DiskFile, FaultyDisk, FaultyFile, FaultyLock};

/// A [`FaultyDisk`] that is copied before each operation while it is watched.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) disk: FaultyDisk,
    /// The copies since it is watched; `None` while it is not.
    copies: Arc<Mutex<Option<Vec<FaultyDisk>>>>,
}

/// A file of a [`Watched`] disk.
pub(crate) struct WatchedFile {
    file: FaultyFile,
    disk: Watched,
}

impl Watched {
    pub(crate) fn new(disk: FaultyDisk) -> Self {
        Self { disk, copies: Arc::default() }
    }

    /// From now on a copy is kept before each operation.
    pub(crate) fn watch(&self) {
        *self.copies() = Some(Vec::new());
    }

    /// The copies since [`watch`](Self::watch): the disk before each operation, in order.
    pub(crate) fn seen(&self) -> Vec<FaultyDisk> {
        mem::take(&mut *self.copies()).unwrap_or_default()
    }

    fn copies(&self) -> MutexGuard<'_, Option<Vec<FaultyDisk>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self) {
        if let Some(copies) = self.copies().as_mut() {
            copies.push(self.disk.fork());
        }
    }

    fn wrap(&self, file: FaultyFile) -> WatchedFile {
        WatchedFile { file, disk: self.clone() }
    }
}

impl Disk for Watched {
    type File = WatchedFile;
    type Lock = FaultyLock;

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        // One that is there is durable here.
        if self.disk.list(directory).is_err() {
            self.see();
        }
        self.disk.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<WatchedFile> {
        self.see();
        self.disk.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<WatchedFile> {
        self.disk.open(path, access).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.see();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.see();
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.see();
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<FaultyLock> {
        self.see();
        self.disk.lock(path)
    }

    fn lock_directory(&self, directory: &Path) -> io::Result<FaultyLock> {
        self.disk.lock_directory(directory)
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.see();
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.see();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.see();
        self.file.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
