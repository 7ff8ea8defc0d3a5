//! What is written and what is certain: the cache over a file's bytes and over a directory's names.
//!
//! ```text
//!   platter:  what a power cut leaves for certain
//!   unsynced: the changes since the last sync, in order; a power cut keeps of each sector any state that it went through
//!   cache:    platter and all unsynced changes: what a read sees
//! ```

use std::collections::BTreeMap;
use std::mem;

/// The unit that a power cut leaves whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// One file's bytes.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a read sees.
    pub(super) cache: Vec<u8>,
    /// What a power cut leaves for certain.
    pub(super) platter: Vec<u8>,
    /// What was written since the last sync, in order.
    unsynced: Vec<Write>,
    /// Whether the cache holds what a failed sync has lost: without it and unsynced writes, cache and platter are equal.
    strayed: bool,
}

#[derive(Clone)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

/// One directory's names.
#[derive(Clone, Default)]
pub(super) struct Directory {
    pub(super) cache: BTreeMap<String, u64>,
    pub(super) platter: BTreeMap<String, u64>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Link { name: String, inode: u64 },
    Unlink { name: String },
    Rename { from: String, to: String, inode: u64 },
}

impl Inode {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        overlay(&mut self.cache, offset, bytes);
        self.unsynced.push(Write { offset, bytes: bytes.to_vec() });
    }

    /// A failed sync: what was not synced stays in the cache as if it had been, and no later sync will write it.
    pub(super) fn forget_unsynced(&mut self) {
        self.strayed |= !self.unsynced.is_empty();
        self.unsynced.clear();
    }

    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            overlay(&mut self.platter, write.offset, &write.bytes);
        }
    }

    /// Keeps of each sector any state that it went through since the last sync, and of the length likewise.
    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let writes = mem::take(&mut self.unsynced);
        if writes.is_empty() && !mem::take(&mut self.strayed) {
            return;
        }
        if !writes.is_empty() {
            let mut lengths = vec![self.platter.len()];
            lengths.extend(writes.iter().map(|write| write.offset + write.bytes.len()));
            lengths.retain(|length| *length >= self.platter.len());
            lengths.dedup();
            let length = lengths[choose(lengths.len())];
            self.platter.resize(length, 0);
            let mut sectors: BTreeMap<usize, Vec<&Write>> = BTreeMap::new();
            for write in &writes {
                let touched = write.offset / SECTOR_BYTES..(write.offset + write.bytes.len()).div_ceil(SECTOR_BYTES);
                touched.for_each(|sector| sectors.entry(sector).or_default().push(write));
            }
            for (sector, versions) in sectors {
                self.crash_sector(sector, &versions, choose);
            }
        }
        self.strayed = false;
        self.cache.clone_from(&self.platter);
    }

    /// Keeps any of the states that a sector went through. Asks only where there are several: zeros over zeros would
    /// double the work of who enumerates all crashes, and show nothing.
    fn crash_sector(&mut self, sector: usize, versions: &[&Write], choose: &mut dyn FnMut(usize) -> usize) {
        let start = (sector * SECTOR_BYTES).min(self.platter.len());
        let end = (start + SECTOR_BYTES).min(self.platter.len());
        let mut states = vec![self.platter[start..end].to_vec()];
        for write in versions {
            overlay_sector(&mut self.platter, sector, write);
            if states.last().is_some_and(|state| *state != self.platter[start..end]) {
                states.push(self.platter[start..end].to_vec());
            }
        }
        let kept = if states.len() > 1 { choose(states.len()) } else { 0 };
        self.platter[start..end].copy_from_slice(&states[kept]);
    }
}

/// Writes bytes over others, which grow if need be.
fn overlay(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[offset..end].copy_from_slice(bytes);
}

/// Writes the part of a write that falls into one sector, as far as the target reaches.
fn overlay_sector(target: &mut [u8], sector: usize, write: &Write) {
    let sector = sector * SECTOR_BYTES;
    let start = sector.max(write.offset);
    let end = (sector + SECTOR_BYTES).min(write.offset + write.bytes.len()).min(target.len());
    if start < end {
        target[start..end].copy_from_slice(&write.bytes[start - write.offset..end - write.offset]);
    }
}

impl Directory {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.cache);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.drain(..).for_each(|change| change.apply(&mut self.platter));
    }

    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        for change in mem::take(&mut self.unsynced) {
            if choose(2) == 1 {
                change.apply(&mut self.platter);
            }
        }
        self.cache.clone_from(&self.platter);
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}
