//! A disk in memory that forgets, tears, fills up, rots and fails: for simulations and for tests.
//!
//! ```text
//!   write_at ---> cache ---sync_data---> platter        crash: every sector of the cache that was not synced is kept
//!                   |                       |                  or not, as the caller's choice says; then cache = platter
//!   read_at <-------'                       |           kill:  the process is gone, the cache stays
//!   create, rename, remove: the same, name by name, until sync_directory
//! ```
//!
//! It draws nothing at random: [`FaultyDisk::crash`] takes a number that decides everything, so a run is replayed from
//! the numbers of its owner. Faults happen when they are ordered, counted in operations from now.
//!
//! A sync that fails does what Linux does: it reports the failure once, forgets the unsynced writes, and keeps them in
//! the cache as if they had been written. A later sync succeeds, and a power cut shows that they were lost.

mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::disk::{Access, Disk, DiskFile};

use cache::{Change, Directory, Inode};

/// How often a disk was asked to do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls of [`DiskFile::write_at`].
    pub writes: u64,
    /// Calls of [`DiskFile::sync_data`] and [`DiskFile::sync_all`].
    pub syncs: u64,
    /// Calls of [`Disk::sync_directory`].
    pub directory_syncs: u64,
    /// Calls of [`DiskFile::give_back`].
    pub given_back: u64,
    /// Calls that change anything or sync it: writes, syncs, creations, renames and removals.
    pub operations: u64,
}

/// A simulated disk. Clones share it, as handles of one disk do.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`FaultyDisk`]; dead after a crash or a kill.
pub struct FaultyFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    life: u64,
    access: Access,
}

/// A lock on a [`FaultyDisk`]; gone after a crash or a kill, as a dead process's locks are.
pub struct FaultyLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    life: u64,
}

/// Everything that is on the disk and in its cache.
#[derive(Clone, Default)]
struct State {
    /// Counts crashes and kills: handles of an earlier life are dead.
    life: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// By path as it is spelled: to compare paths part by part is slow, and every operation looks one up.
    directories: BTreeMap<OsString, Directory>,
    locks: BTreeSet<PathBuf>,
    counts: Counts,
    faults: Faults,
}

/// What was ordered; countdowns name the operation before which they stand at 0.
#[derive(Clone, Default)]
struct Faults {
    sync_failure: Option<u64>,
    sync_failure_kind: Option<io::ErrorKind>,
    write_failure: Option<u64>,
    short_write: Option<u64>,
    power_off: Option<u64>,
    bytes_max: Option<u64>,
    read_only: bool,
    no_removals: bool,
    no_open_files: bool,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy of the disk, its cache and its orders: what a copied virtual machine sees.
    pub fn fork(&self) -> Self {
        let copy = self.lock_state().clone();
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// Cuts the power. `choice` decides which unsynced sectors and names are kept: everything, nothing, or any mixture.
    /// All handles and locks are dead; all ordered faults are forgotten, but for a limit of bytes.
    pub fn crash(&self, choice: u64) {
        let mut random = choice;
        let mode = splitmix(&mut random) % 4;
        self.crash_with(&mut |ways| match mode {
            0 => 0,
            1 => ways - 1,
            _ => usize::try_from(splitmix(&mut random) % ways as u64).unwrap_or_default(),
        });
    }

    /// As [`crash`](Self::crash), with a free choice: `choose(n)` is asked in an order that depends on the history
    /// only, and answers below `n`; 0 keeps as little as may be, `n - 1` as much. For enumerating all crashes.
    pub fn crash_with(&self, choose: &mut dyn FnMut(usize) -> usize) {
        let mut state = self.lock_state();
        for inode in state.inodes.values_mut() {
            inode.crash(choose);
        }
        for directory in state.directories.values_mut() {
            directory.crash(choose);
        }
        let linked: BTreeSet<u64> =
            state.directories.values().flat_map(|directory| directory.platter.values().copied()).collect();
        state.inodes.retain(|inode, _| linked.contains(inode));
        let bytes_max = state.faults.bytes_max;
        state.faults = Faults { bytes_max, ..Faults::default() };
        state.end_life();
    }

    /// Kills the process that uses the disk: handles and locks are dead, everything written stays in the cache.
    pub fn kill(&self) {
        self.lock_state().end_life();
    }

    /// Lets one sync fail, of a file or of a directory: the one after `syncs` more.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.fail_sync_with(io::ErrorKind::Other, syncs);
    }

    /// As [`fail_sync_after`](Self::fail_sync_after), with an error of this kind. Where room is only sought when what was written
    /// is synced, as on some file systems, that may be [`io::ErrorKind::StorageFull`].
    pub fn fail_sync_with(&self, kind: io::ErrorKind, syncs: u64) {
        let mut state = self.lock_state();
        (state.faults.sync_failure, state.faults.sync_failure_kind) = (Some(syncs), Some(kind));
    }

    /// Lets one write fail after half of its bytes: the one after `writes` more.
    pub fn fail_write_after(&self, writes: u64) {
        self.lock_state().faults.write_failure = Some(writes);
    }

    /// Lets one write take only half of its bytes, and say so: the one after `writes` more.
    pub fn short_write_after(&self, writes: u64) {
        self.lock_state().faults.short_write = Some(writes);
    }

    /// Lets every removal of a file fail, until it is told otherwise or a crash.
    pub fn fail_removals(&self, fail: bool) {
        self.lock_state().faults.no_removals = fail;
    }

    /// Lets no file be created or opened, as if the process had as many open as it may, until it is told otherwise or a crash.
    pub fn run_out_of_files(&self, has_run_out: bool) {
        self.lock_state().faults.no_open_files = has_run_out;
    }

    /// Lets every operation fail that comes after `operations` more (see [`Counts::operations`]), until a crash.
    pub fn power_off_after(&self, operations: u64) {
        self.lock_state().faults.power_off = Some(operations);
    }

    /// Limits the bytes of all files together; `None` lifts the limit. What is there stays.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.lock_state().faults.bytes_max = bytes_max;
    }

    /// Refuses all changes, as a file system that is mounted read-only does.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock_state().faults.read_only = read_only;
    }

    /// Lets one bit of a file rot, on the platter and in the cache. Answers whether there is such a byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) -> bool {
        let mut state = self.lock_state();
        let Some(inode) = state.find(path).and_then(|inode| state.inodes.get_mut(&inode)) else { return false };
        inode.damage(index(offset), |byte| *byte ^= 1 << (bit % 8))
    }

    /// Overwrites bytes of a file, on the platter and in the cache, past all accounting; the file does not grow.
    /// Answers whether the file is there.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock_state();
        let Some(inode) = state.find(path).and_then(|inode| state.inodes.get_mut(&inode)) else { return false };
        for (at, byte) in (index(offset)..).zip(bytes) {
            inode.damage(at, |old| *old = *byte);
        }
        true
    }

    /// A file's bytes as a read sees them.
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock_state();
        state.find(path).and_then(|inode| state.inodes.get(&inode)).map(|inode| inode.cache.whole())
    }

    /// Every file with its bytes as a read sees them, by path: to compare a directory before and after.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock_state();
        let in_directory = |(path, directory): (&OsString, &Directory)| {
            let path = PathBuf::from(path);
            directory.cache.clone().into_iter().map(move |(name, inode)| (path.join(name), inode))
        };
        let bytes = |inode: u64| state.inodes.get(&inode).map(|inode| inode.cache.whole()).unwrap_or_default();
        state.directories.iter().flat_map(in_directory).map(|(path, inode)| (path, bytes(inode))).collect()
    }

    /// How many bytes all files hold.
    pub fn bytes_held(&self) -> u64 {
        self.lock_state().bytes_held(|_| true)
    }

    /// How often the disk was asked to do what, since it was made.
    pub fn counts(&self) -> Counts {
        self.lock_state().counts
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once the operation is counted and not refused.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock_state();
        state.begin_operation()?;
        Ok(state)
    }
}

impl Faults {
    fn failed_sync(&self, what: &'static str) -> io::Error {
        io::Error::new(self.sync_failure_kind.unwrap_or(io::ErrorKind::Other), what)
    }
}

impl State {
    fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
    }

    fn begin_operation(&mut self) -> io::Result<()> {
        self.counts.operations += 1;
        match &mut self.faults.power_off {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.faults.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> Option<u64> {
        let (directory, name) = split(path);
        self.directories.get(directory.as_os_str())?.cache.get(name).copied()
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        self.directories.get_mut(spelled(path)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn admit_open_file(&self) -> io::Result<()> {
        if self.faults.no_open_files { Err(Errno::MFILE.into()) } else { Ok(()) }
    }

    /// Refuses what would exceed the limit of bytes.
    fn admit_growth(&self, inode: u64, length: usize) -> io::Result<()> {
        let Some(bytes_max) = self.faults.bytes_max else { return Ok(()) };
        let used = self.bytes_held(|other| other != inode) + length as u64;
        if used > bytes_max { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// How many bytes the files hold that count.
    fn bytes_held(&self, counts: impl Fn(u64) -> bool) -> u64 {
        let linked = self.directories.values().flat_map(|directory| directory.cache.values());
        let counted = linked.filter(|inode| counts(**inode)).filter_map(|inode| self.inodes.get(inode));
        counted.map(|inode| inode.cache.length() as u64).sum()
    }
}

/// A directory without what may follow its name.
fn spelled(directory: &Path) -> &OsStr {
    directory.components().as_path().as_os_str()
}

/// Counts down to an ordered fault; answers whether it happens now, which it does once.
fn is_due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;
    type Lock = FaultyLock;

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let directory = spelled(directory);
        if self.lock_state().directories.contains_key(directory) {
            return Ok(());
        }
        self.begin()?.directories.entry(directory.to_owned()).or_default();
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Ok(self.lock_state().directory(directory)?.cache.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<FaultyFile> {
        let mut state = self.begin()?;
        state.admit_open_file()?;
        let (directory, name) = split(path);
        let inode = state.next_inode;
        // An old file of that name becomes another one: none of its bytes may ever be taken for the new one's.
        state.directory(directory)?.change(Change::Link { name: name.to_owned(), inode });
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        let life = state.life;
        Ok(FaultyFile { state: Arc::clone(&self.state), inode, life, access: Access::ReadWrite })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<FaultyFile> {
        let state = self.lock_state();
        state.admit_open_file()?;
        if state.faults.read_only && access == Access::ReadWrite {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let inode = state.find(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(FaultyFile { state: Arc::clone(&self.state), inode, life: state.life, access })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = state.find(from).ok_or(io::ErrorKind::NotFound)?;
        let ((directory, from), (_, to)) = (split(from), split(to));
        state.directory(directory)?.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.faults.no_removals {
            return Err(io::Error::other("a removal failed, as ordered"));
        }
        state.find(path).ok_or(io::ErrorKind::NotFound)?;
        let (directory, name) = split(path);
        state.directory(directory)?.change(Change::Unlink { name: name.to_owned() });
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.counts.directory_syncs += 1;
        if is_due(&mut state.faults.sync_failure) {
            return Err(state.faults.failed_sync("the sync of a directory failed, as ordered"));
        }
        state.directory(directory)?.sync();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<FaultyLock> {
        if self.lock_state().find(path).is_none() {
            self.create(path)?;
        }
        let mut state = self.lock_state();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(FaultyLock { state: Arc::clone(&self.state), path: path.to_owned(), life: state.life })
    }

    fn lock_directory(&self, directory: &Path) -> io::Result<FaultyLock> {
        let mut state = self.lock_state();
        state.directory(directory)?;
        let path = PathBuf::from(spelled(directory));
        if !state.locks.insert(path.clone()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(FaultyLock { state: Arc::clone(&self.state), path, life: state.life })
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

impl FaultyFile {
    /// The state, unless the process that opened the file is dead.
    fn lock_state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("the process that opened it is dead")) }
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock_state()?;
        state.begin_operation()?;
        Ok(state)
    }

    fn inode<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Inode> {
        state.inodes.get_mut(&self.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock_state()?;
        let found = self.inode(&mut state)?.cache.read(index(offset), buffer.len());
        buffer[..found.len()].copy_from_slice(&found);
        Ok(found.len())
    }

    fn read_exact_at(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut state = self.lock_state()?;
        let found = self.inode(&mut state)?.cache.read(index(offset), length);
        if found.len() == length { Ok(found) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.begin()?;
        state.counts.writes += 1;
        let fails = is_due(&mut state.faults.write_failure);
        let taken = if fails || is_due(&mut state.faults.short_write) { bytes.len() / 2 } else { bytes.len() };
        let end = index(offset) + taken;
        // Asked for once more only if it is to grow under a limit.
        if state.faults.bytes_max.is_some() && end > self.inode(&mut state)?.cache.length() {
            state.admit_growth(self.inode, end)?;
        }
        self.inode(&mut state)?.write(index(offset), &bytes[..taken]);
        if fails { Err(io::Error::other("a write failed half way, as ordered")) } else { Ok(taken) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        state.counts.syncs += 1;
        let fails = is_due(&mut state.faults.sync_failure);
        let inode = self.inode(&mut state)?;
        if fails {
            inode.forget_unsynced();
            return Err(state.faults.failed_sync("a sync failed, as ordered"));
        }
        inode.sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn give_back(&self, _: &Path) {
        if let Ok(mut state) = self.lock_state() {
            state.counts.given_back += 1;
        }
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.lock_state()?;
        Ok(self.inode(&mut state)?.cache.length() as u64)
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDisk").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFile").field("inode", &self.inode).field("life", &self.life).finish_non_exhaustive()
    }
}

impl fmt::Debug for FaultyLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyLock").field("path", &self.path).field("life", &self.life).finish_non_exhaustive()
    }
}

/// A path's directory and name. Paths that end in `/` or `..` have no name, and none is asked for.
fn split(path: &Path) -> (&Path, &str) {
    match path.to_str().and_then(|path| path.rsplit_once(MAIN_SEPARATOR)) {
        Some((directory, name)) if !directory.is_empty() => (Path::new(directory), name),
        _ => (
            path.parent().unwrap_or(Path::new("")),
            path.to_str().unwrap_or_default().trim_start_matches(MAIN_SEPARATOR),
        ),
    }
}

/// An offset in memory; what does not fit reads as beyond the end.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX / 2)
}

/// The next number of a sequence that its seed determines (splitmix64: a counter, mixed).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
