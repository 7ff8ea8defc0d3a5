//! The disk of a node: a faulty one, every operation of which is noted, and before or after any of which the power can go.
//!
//! ```text
//!   log writer ──► write ──► sync ──► write ──► sync          one task, one call
//!                        ▲                                    the power goes here: the tasks of the node never
//!                        └─ Slot::crash                       run again, and what was not synced is at chance's mercy
//! ```
//!
//! Or the operation never ends, and the power goes a little later: whoever believes before its end that it has is found
//! out.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_log::{Access, Disk, DiskFile, FaultyDisk};

use crate::life::Life;
use crate::slot::{PowerCut, Slot};
use crate::trace::hash;

/// See the module. Clones share the disk.
#[derive(Clone)]
pub(crate) struct SlotDisk {
    disk: FaultyDisk,
    /// Who uses it.
    user: User,
}

pub(crate) struct SlotFile {
    file: <FaultyDisk as Disk>::File,
    user: User,
    /// The digest of its path.
    path: u64,
}

/// A node in the one life in which it may use the disk.
#[derive(Clone)]
struct User {
    slot: Arc<Slot>,
    life: Arc<Life>,
}

impl SlotDisk {
    pub(crate) const fn new(disk: FaultyDisk, slot: Arc<Slot>, life: Arc<Life>) -> Self {
        Self { disk, user: User { slot, life } }
    }

    fn file(&self, path: &Path, file: <FaultyDisk as Disk>::File) -> SlotFile {
        SlotFile { file, user: self.user.clone(), path: digest(path) }
    }
}

impl User {
    /// Notes an operation and does it, if the power is on, and stays on.
    fn operate<T>(
        &self,
        what: &'static str,
        values: [u64; 3],
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.lives()?;
        let slot = &self.slot;
        let cut = slot.power_goes_off();
        if cut.is_some_and(|cut| !cut.is_behind) {
            self.lose_power(cut);
            self.lives()?;
        }
        slot.trace.note(what, &[slot.id, values[0], values[1], values[2]], String::new);
        let outcome = operation();
        if cut.is_some_and(|cut| cut.is_behind) {
            self.lose_power(cut);
        }
        self.lives().and(outcome)
    }

    /// Lets the node die now; or lets the task that waits for the disk wait for ever, and the node die later.
    fn lose_power(&self, cut: Option<PowerCut>) {
        let delay = cut.map_or(Duration::ZERO, |cut| cut.delay);
        if delay.is_zero() || !self.life.hosts_this_task() {
            let is_behind = cut.is_some_and(|cut| cut.is_behind);
            let what = ["power cut before a disk operation", "power cut after a disk operation"];
            return self.slot.crash(what[usize::from(is_behind)]);
        }
        self.life.lose_disk();
        let user = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            user.slot.end(&user.life, "power cut while a disk operation was under way");
        });
        // Nothing in the task runs on, and nobody else hears of it.
        std::panic::resume_unwind(Box::new("the disk never answers"));
    }

    /// The dead do nothing, although the call in which they died goes on to its end.
    fn lives(&self) -> io::Result<()> {
        if self.life.has_disk() { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }
}

fn digest(path: &Path) -> u64 {
    hash(path.as_os_str().as_encoded_bytes())
}

impl Disk for SlotDisk {
    type File = SlotFile;
    type Lock = <FaultyDisk as Disk>::Lock;

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.user.lives()?;
        self.disk.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.user.lives()?;
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<SlotFile> {
        let values = [digest(path), 0, 0];
        let file = self.user.operate("file created", values, || self.disk.create(path))?;
        Ok(self.file(path, file))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<SlotFile> {
        self.user.lives()?;
        Ok(self.file(path, self.disk.open(path, access)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.user.operate("file renamed", [digest(from), digest(to), 0], || self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.user.operate("file removed", [digest(path), 0, 0], || self.disk.remove(path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let values = [digest(directory), 0, 0];
        self.user.operate("directory synced", values, || self.disk.sync_directory(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.user.lives()?;
        self.disk.lock(path)
    }

    fn lock_directory(&self, directory: &Path) -> io::Result<Self::Lock> {
        self.user.lives()?;
        self.disk.lock_directory(directory)
    }
}

impl DiskFile for SlotFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let values = [self.path, offset, hash(bytes)];
        self.user.operate("file written", values, || self.file.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.user.operate("file synced", [self.path, 0, 0], || self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.user.operate("file synced with its metadata", [self.path, 0, 0], || self.file.sync_all())
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
