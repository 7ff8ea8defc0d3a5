//! A disk that lets somebody else come in between: what a test has ready is done once, before the next call of one kind.

#![allow(unreachable_pub, reason = "a module of several test crates")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use outrigger_log::{Access, Disk, FaultyDisk, FaultyFile, FaultyLock};

/// What somebody else does.
type Deed = Box<dyn FnOnce() + Send>;

/// Before which call it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// [`Disk::lock`].
    Lock,
    /// [`Disk::open`], to read.
    Open,
}

#[derive(Clone)]
pub struct Meddled {
    disk: FaultyDisk,
    deed: Arc<Mutex<Option<(Before, Deed)>>>,
}

impl Meddled {
    pub fn new(disk: FaultyDisk) -> Self {
        Self { disk, deed: Arc::default() }
    }

    pub fn once(&self, before: Before, deed: impl FnOnce() + Send + 'static) {
        *self.deed.lock().unwrap() = Some((before, Box::new(deed)));
    }

    fn meddle(&self, here: Before) {
        let deed = self.deed.lock().unwrap().take_if(|(before, _)| *before == here);
        if let Some((_, deed)) = deed {
            deed();
        }
    }
}

impl Disk for Meddled {
    type File = FaultyFile;
    type Lock = FaultyLock;

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<FaultyFile> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<FaultyFile> {
        if access == Access::Read {
            self.meddle(Before::Open);
        }
        self.disk.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<FaultyLock> {
        self.meddle(Before::Lock);
        self.disk.lock(path)
    }

    fn lock_directory(&self, directory: &Path) -> io::Result<FaultyLock> {
        self.disk.lock_directory(directory)
    }
}
