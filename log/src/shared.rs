//! What the writer, the readers and the preparer of one log have in common.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::disk::Disk;
use crate::identity::Identity;
use crate::index::Index;
use crate::preparer::Preparation;
use crate::segment;

/// Held by an `Arc` in the log, in each reader and in each preparer.
#[derive(Debug)]
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) directory: PathBuf,
    /// This start's.
    pub(crate) identity: Identity,
    /// What is flushed. The writer alone changes it, after the sync.
    index: RwLock<Index>,
    /// The next segment. Held while one is made, so that a flush that needs it waits for it and makes no second one.
    preparation: Mutex<Preparation<D::File>>,
    /// Segments that nothing lives in and whose files are still there. Apart from `preparation`, so that a purge
    /// never waits for zeros to be written.
    retired: Mutex<Vec<u64>>,
    /// Those of them whose removal has failed; tried again when the next segment is made.
    left_over: Mutex<Vec<u64>>,
    /// The first failure of the disk; set once, never cleared.
    poison: OnceLock<String>,
}

impl<D: Disk> Shared<D> {
    pub(crate) fn new(
        disk: D,
        directory: PathBuf,
        identity: Identity,
        index: Index,
        preparation: Preparation<D::File>,
    ) -> Self {
        Self {
            disk,
            directory,
            identity,
            index: RwLock::new(index),
            preparation: Mutex::new(preparation),
            retired: Mutex::default(),
            left_over: Mutex::default(),
            poison: OnceLock::new(),
        }
    }

    // A lock is poisoned only by one of our own asserts, which stops the thread that hosts the log; what the index
    // holds stays true for the others.

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn preparation(&self) -> MutexGuard<'_, Preparation<D::File>> {
        self.preparation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn retired(&self) -> MutexGuard<'_, Vec<u64>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn left_over(&self) -> MutexGuard<'_, Vec<u64>> {
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the first failure, and answers it.
    pub(crate) fn poison(&self, failure: &impl ToString) -> String {
        self.poison.get_or_init(|| failure.to_string()).clone()
    }

    /// The first failure, if there was one.
    pub(crate) fn poisoned(&self) -> Option<String> {
        self.poison.get().cloned()
    }

    /// Where the segment with this sequence number is.
    pub(crate) fn segment_path(&self, sequence: u64) -> PathBuf {
        segment::path(&self.directory, sequence)
    }
}
