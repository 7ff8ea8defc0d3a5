//! What is written and what is certain: the cache over a file's bytes and over a directory's names.
//!
//! ```text
//!   platter:  what a power cut leaves for certain
//!   unsynced: the changes since the last sync, in order; a power cut keeps of each sector any state that it went through
//!   cache:    platter and all unsynced changes: what a read sees
//! ```
//!
//! Of a file only the cache is kept, and what each unsynced write has overwritten: a write costs what it writes, a sync
//! nothing, and only a power cut, which is rare, has to go back.

use std::collections::BTreeMap;
use std::mem;

/// The unit that a power cut leaves whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// One file's bytes.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a read sees.
    pub(super) cache: Vec<u8>,
    /// What was overwritten since the last sync, in order.
    unsynced: Vec<Undo>,
    /// What a power cut leaves for certain, once a failed sync has lost something of what the cache holds. Otherwise it is
    /// the cache without what is not synced.
    strayed: Option<Vec<u8>>,
}

/// How to take a write back.
#[derive(Clone)]
struct Undo {
    offset: usize,
    /// How many bytes were written.
    length: usize,
    /// How long the file was.
    file_length: usize,
    /// What stood there, as far as the file reached.
    before: Vec<u8>,
}

/// A write that a power cut may keep or not, sector by sector.
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
        let file_length = self.cache.len();
        let end = (offset + bytes.len()).min(file_length);
        let before = self.cache.get(offset..end).unwrap_or_default().to_vec();
        self.unsynced.push(Undo { offset, length: bytes.len(), file_length, before });
        overlay(&mut self.cache, offset, bytes);
    }

    /// A failed sync: what was not synced stays in the cache as if it had been, and no later sync will write it.
    pub(super) fn forget_unsynced(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        if self.strayed.is_none() {
            let mut platter = self.cache.clone();
            self.unsynced.iter().rev().for_each(|undo| undo.apply(&mut platter));
            self.strayed = Some(platter);
        }
        self.unsynced.clear();
    }

    pub(super) fn sync(&mut self) {
        let Self { cache, unsynced, strayed } = self;
        if let Some(platter) = strayed {
            unsynced.iter().for_each(|undo| overlay(platter, undo.offset, &cache[undo.offset..][..undo.length]));
        }
        unsynced.clear();
    }

    /// Changes one byte wherever it stands, as if it had always been so; answers whether there is such a byte.
    pub(super) fn damage(&mut self, at: usize, change: impl Fn(&mut u8)) -> bool {
        let overwritten = self.unsynced.iter_mut().map(|undo| (undo.offset, &mut undo.before));
        let whole = self.strayed.iter_mut().chain([&mut self.cache]).map(|bytes| (0, bytes));
        let mut found = false;
        for (start, bytes) in overwritten.chain(whole) {
            if let Some(byte) = at.checked_sub(start).and_then(|at| bytes.get_mut(at)) {
                change(byte);
                found = true;
            }
        }
        found
    }

    /// Keeps of each sector any state that it went through since the last sync, and of the length likewise.
    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let writes = self.take_back();
        if let Some(platter) = self.strayed.take() {
            self.cache = platter;
        }
        if writes.is_empty() {
            return;
        }
        let platter = &mut self.cache;
        let mut lengths = vec![platter.len()];
        lengths.extend(writes.iter().map(|write| write.offset + write.bytes.len()));
        lengths.retain(|length| *length >= platter.len());
        lengths.dedup();
        let length = lengths[choose(lengths.len())];
        platter.resize(length, 0);
        let mut sectors: BTreeMap<usize, Vec<&Write>> = BTreeMap::new();
        for write in &writes {
            let touched = write.offset / SECTOR_BYTES..(write.offset + write.bytes.len()).div_ceil(SECTOR_BYTES);
            touched.for_each(|sector| sectors.entry(sector).or_default().push(write));
        }
        for (sector, versions) in sectors {
            crash_sector(platter, sector, &versions, choose);
        }
    }

    /// Takes back what was not synced; answers with what was written, in order.
    fn take_back(&mut self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(self.unsynced.len());
        while let Some(undo) = self.unsynced.pop() {
            writes.push(Write { offset: undo.offset, bytes: self.cache[undo.offset..][..undo.length].to_vec() });
            undo.apply(&mut self.cache);
        }
        writes.reverse();
        writes
    }
}

impl Undo {
    fn apply(&self, bytes: &mut Vec<u8>) {
        bytes.truncate(self.file_length);
        bytes[self.offset.min(self.file_length)..][..self.before.len()].copy_from_slice(&self.before);
    }
}

/// Keeps any of the states that a sector went through. Asks only where there are several: zeros over zeros would double
/// the work of who enumerates all crashes, and show nothing.
fn crash_sector(platter: &mut [u8], sector: usize, versions: &[&Write], choose: &mut dyn FnMut(usize) -> usize) {
    let start = (sector * SECTOR_BYTES).min(platter.len());
    let end = (start + SECTOR_BYTES).min(platter.len());
    let mut states = vec![platter[start..end].to_vec()];
    for write in versions {
        overlay_sector(platter, sector, write);
        if states.last().is_some_and(|state| *state != platter[start..end]) {
            states.push(platter[start..end].to_vec());
        }
    }
    let kept = if states.len() > 1 { choose(states.len()) } else { 0 };
    platter[start..end].copy_from_slice(&states[kept]);
}

/// Writes bytes over others, which grow if need be.
fn overlay(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if target.len() < offset {
        target.resize(offset, 0);
    }
    let (over, behind) = bytes.split_at(bytes.len().min(target.len() - offset));
    target[offset..][..over.len()].copy_from_slice(over);
    target.extend_from_slice(behind);
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
