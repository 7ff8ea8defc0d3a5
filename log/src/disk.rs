//! What the log asks of a disk, and the disk that the operating system offers.
//!
//! The log never touches `std::fs` itself: it goes through [`Disk`] and [`DiskFile`], so that the very same code runs
//! on [`RealDisk`] and on the simulated [`FaultyDisk`](crate::FaultyDisk), which forgets, tears and refuses on demand.
//! The traits promise as little as POSIX does:
//!
//! ```text
//!   write_at ----> cache ----sync_data----> platter          a crash keeps any sectors of what was not synced
//!   create, rename, remove ----sync_directory----> platter   a crash may undo any of them that was not synced
//! ```

use std::io;
use std::path::Path;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading only: nothing in the file can change through this handle.
    Read,
    /// For reading and for writing in place.
    ReadWrite,
}

/// A place for files that can be synced. Clones share the same files.
///
/// Every method answers as `std::fs` would: [`io::ErrorKind::NotFound`] for what is absent,
/// [`io::ErrorKind::StorageFull`] when there is no room, [`io::ErrorKind::WouldBlock`] for a lock that another holds.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// A held lock; dropping it gives the lock up.
    type Lock: Send + Sync + 'static;

    /// Creates a directory and its missing parents, unless it is there. When this returns they survive a power cut; one that was
    /// there, too: whoever made it may have died before its name was synced.
    ///
    /// # Errors
    /// As `std::fs::create_dir_all`; an existing directory is no error.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// The names of the entries of a directory, sorted.
    ///
    /// # Errors
    /// As `std::fs::read_dir`.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates an empty file, or empties the one that is there, for reading and writing.
    ///
    /// # Errors
    /// As `std::fs::File::create`.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// As `std::fs::File::open`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Self::File>;

    /// Renames a file within its directory, over another one if need be, atomically.
    ///
    /// # Errors
    /// As `std::fs::rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; handles that are open stay usable.
    ///
    /// # Errors
    /// As `std::fs::remove_file`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes all creations, renames and removals in the directory survive a power cut. Opens no file for it while the directory
    /// is locked: that the process has too many open must not leave names in doubt.
    ///
    /// # Errors
    /// Any failure of the disk. What had not been synced before is then in doubt for good.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which is created if it is absent; never waits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process, or another handle of this one, holds it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    /// Takes the exclusive lock of a directory itself, which nobody can remove as they can a file in it; never waits. Where
    /// directories cannot be locked, as on some network file systems, it holds nothing.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and [`io::ErrorKind::NotFound`] if it is absent.
    fn lock_directory(&self, directory: &Path) -> io::Result<Self::Lock>;
}

/// An open file of a [`Disk`]; all positions are explicit, so that one handle serves readers and the writer at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads into `buffer` from `offset`; 0 stands for the end of the file, less than asked for is no error.
    ///
    /// # Errors
    /// Any failure of the disk.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset` and answers how many of the bytes were taken, which may be fewer than given.
    ///
    /// # Errors
    /// Any failure of the disk; then any part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the file's bytes, and the length that is needed to read them, survive a power cut (`fdatasync`).
    ///
    /// # Errors
    /// Any failure of the disk. The unsynced writes may then be lost **although** a later sync succeeds: never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), with all the metadata as well (`fsync`).
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    fn sync_all(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Any failure of the disk.
    fn length(&self) -> io::Result<u64>;

    /// The file had this name, which was removed; nobody of this process will use it any more, and it is closed next. Once the
    /// removal is durable, its room may be given back bit by bit, behind this call: a disk that frees a gigabyte at once stands
    /// still for whoever syncs meanwhile.
    ///
    /// Another process that has the file open sees it become shorter: whoever copies files out of a directory in use must be
    /// ready for that.
    fn give_back(&self, _name: &Path) {}

    /// Writes all the bytes, in as few calls as the disk needs: one, but for short writes.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and [`io::ErrorKind::WriteZero`] if the disk takes nothing more.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    bytes = bytes.get(taken..).unwrap_or_default();
                    offset += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The `length` bytes from `offset` on. Allocates them at once: `length` must be known to be in the file.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at), and [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match self.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }
}

#[cfg(unix)]
pub use real::{RealDisk, RealFile, RealLock};

#[cfg(unix)]
mod real {
    use std::collections::BTreeMap;
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
    use std::thread;
    use std::time::Duration;

    use rustix::fs::{FlockOperation, flock, fstatvfs};
    use rustix::io::Errno;

    use super::{Access, Disk, DiskFile};

    /// So much of the room of a file is given back at a time: a disk that is told to discard it is done with that soon...
    const PIECE_BYTES: u64 = 4 << 20;
    /// ... and then nothing for so long, which makes 80 MiB a second.
    const PIECE_PAUSE: Duration = Duration::from_millis(50);

    /// The operating system's files.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct RealDisk;

    /// An open file of the operating system.
    #[derive(Debug)]
    pub struct RealFile(File);

    /// A lock that the kernel holds for us, and drops with the process, however that ends.
    #[derive(Debug)]
    pub struct RealLock {
        file: Arc<File>,
        /// The path under which the directory was locked; `None` for a file.
        directory: Option<PathBuf>,
    }

    /// The handles of locked directories, by their paths.
    static DIRECTORIES: Mutex<BTreeMap<PathBuf, Weak<File>>> = Mutex::new(BTreeMap::new());

    fn directories() -> MutexGuard<'static, BTreeMap<PathBuf, Weak<File>>> {
        DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Drop for RealLock {
        fn drop(&mut self) {
            let Some(path) = &self.directory else { return };
            let mut directories = directories();
            if directories.get(path).is_some_and(|file| file.as_ptr() == Arc::as_ptr(&self.file)) {
                directories.remove(path);
            }
        }
    }

    /// The handle of a directory that is locked, if the path still leads to it.
    fn handle_of(directory: &Path) -> io::Result<Option<Arc<File>>> {
        let Some(file) = directories().get(directory).and_then(Weak::upgrade) else { return Ok(None) };
        let (there, held) = (fs::metadata(directory)?, file.metadata()?);
        Ok(((there.dev(), there.ino()) == (held.dev(), held.ino())).then_some(file))
    }

    impl Disk for RealDisk {
        type File = RealFile;
        type Lock = RealLock;

        fn create_directory(&self, directory: &Path) -> io::Result<()> {
            let Some(parent) = directory.parent() else { return Ok(()) };
            if directory.is_dir() {
                return self.sync_name_in(parent);
            }
            self.create_directory(parent)?;
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            self.sync_directory(parent)
        }

        fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(directory)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        }

        fn create(&self, path: &Path) -> io::Result<RealFile> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true);
            options.open(path).map(RealFile)
        }

        fn open(&self, path: &Path, access: Access) -> io::Result<RealFile> {
            let mut options = OpenOptions::new();
            options.read(true).write(access == Access::ReadWrite);
            options.open(path).map(RealFile)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            fs::remove_file(path)
        }

        fn sync_directory(&self, directory: &Path) -> io::Result<()> {
            // The parent of a relative path of one component is spelled as nothing.
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            match handle_of(directory)? {
                Some(handle) => handle.sync_all(),
                None => File::open(directory)?.sync_all(),
            }
        }

        fn lock(&self, path: &Path) -> io::Result<RealLock> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(RealLock { file: Arc::new(file), directory: None })
        }

        fn lock_directory(&self, directory: &Path) -> io::Result<RealLock> {
            let file = File::open(directory)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // What a file system says that locks files alone, or nothing.
                Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP) => {}
                locked => locked?,
            }
            let file = Arc::new(file);
            directories().insert(directory.to_owned(), Arc::downgrade(&file));
            Ok(RealLock { file, directory: Some(directory.to_owned()) })
        }
    }

    impl RealDisk {
        /// Whoever made the directory may have died before its name was synced. Where that cannot be asked for, nobody but the
        /// operator can have made it, or it is a disk of its own.
        fn sync_name_in(self, parent: &Path) -> io::Result<()> {
            use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
            match self.sync_directory(parent) {
                Err(error)
                    if matches!(
                        error.kind(),
                        InvalidInput | NotFound | PermissionDenied | ReadOnlyFilesystem | Unsupported
                    ) =>
                {
                    Ok(())
                }
                synced => synced,
            }
        }
    }

    impl DiskFile for RealFile {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.read_at(buffer, offset)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            self.0.write_at(bytes, offset)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn sync_all(&self) -> io::Result<()> {
            self.0.sync_all()
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.0.metadata()?.len())
        }

        fn give_back(&self, name: &Path) {
            // Without it, the system gives all of it back when the file is closed.
            let _ = self.shrink_apart(name);
        }
    }

    impl RealFile {
        /// Has a thread shrink the file until nothing is left of it.
        fn shrink_apart(&self, name: &Path) -> io::Result<()> {
            let (of, disk) = (self.0.metadata()?, fstatvfs(&self.0)?);
            let is_scarce = disk.f_bavail.saturating_mul(disk.f_frsize) < of.len().saturating_mul(2);
            // Where room is scarce, somebody may need it now.
            if of.nlink() > 0 || of.len() <= PIECE_BYTES || is_scarce {
                return Ok(());
            }
            // It may be open for reading only, and its name is gone.
            let own = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            let (file, mut left) = (OpenOptions::new().write(true).open(own)?, of.len());
            // By a handle of its own, so that a failure is told to this one, and to that which all else depends on.
            let directory = File::open(name.parent().unwrap_or(Path::new("/")))?;
            let shrink = move || {
                // A power cut must not bring the name back, of a file that is cut.
                if directory.sync_all().is_err() {
                    return;
                }
                while left > 0 {
                    left = left.saturating_sub(PIECE_BYTES);
                    if file.set_len(left).is_err() {
                        return;
                    }
                    // Nobody wakes it: the pause is all there is to wait for.
                    thread::park_timeout(PIECE_PAUSE);
                }
            };
            thread::Builder::new().name("outrigger-room".to_owned()).spawn(shrink).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A file of which every other call is interrupted, and the others do no more than a byte.
    #[derive(Default)]
    struct Interrupted(Mutex<(Vec<u8>, bool)>);

    impl Interrupted {
        fn call<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
            let mut state = self.0.lock().unwrap();
            state.1 = !state.1;
            if state.1 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(work(&mut state.0)) }
        }
    }

    impl DiskFile for Interrupted {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.call(|bytes| match bytes.get(usize::try_from(offset).unwrap()) {
                Some(byte) => {
                    buffer[0] = *byte;
                    1
                }
                None => 0,
            })
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            self.call(|written| {
                assert_eq!(written.len() as u64, offset, "a hole, or twice the same");
                written.push(bytes[0]);
                1
            })
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().0.len() as u64)
        }
    }

    #[test]
    fn what_is_interrupted_is_gone_on_with() {
        let file = Interrupted::default();
        file.write_all_at(b"whole", 0).unwrap();
        assert_eq!(file.read_exact_at(5, 0).unwrap(), b"whole");
        assert_eq!(file.read_exact_at(6, 0).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    /// A file that takes nothing more.
    struct Sated;

    impl DiskFile for Sated {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }

        fn length(&self) -> io::Result<u64> {
            Ok(0)
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_more_is_not_asked_for_ever() {
        assert_eq!(Sated.write_all_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert!(Sated.write_all_at(b"", 0).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_one_lock_and_the_parent_of_a_bare_name_can_be_synced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = RealDisk.lock(&path).unwrap();
        assert_eq!(RealDisk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk.lock(&path).unwrap();
        RealDisk.sync_directory(Path::new("bare").parent().unwrap()).unwrap();
    }
}
