//! What is written and what is certain: the cache over a file's bytes and over a directory's names.
//!
//! ```text
//!   platter:  what a power cut leaves for certain
//!   unsynced: the changes since the last sync, in order; a power cut keeps of each sector any state that it went through
//!   cache:    platter and all unsynced changes: what a read sees
//! ```
//!
//! Of a file only the cache is kept, and what each unsynced write has overwritten: a write costs what it writes, a sync
//! nothing, and only a power cut, which is rare, has to go back. Nor are zeros kept that nothing follows.

use std::collections::BTreeMap;
use std::mem;

use crate::zeros;

/// The unit that a power cut leaves whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// A file's bytes. The zeros at the end, which are most of a segment that was made ahead of need, are only counted.
#[derive(Clone, Default)]
pub(super) struct Content {
    /// At least all bytes up to the last that is not zero.
    held: Vec<u8>,
    /// How many bytes there are; at least as many as are held.
    length: usize,
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a read sees.
    pub(super) cache: Content,
    /// What was overwritten since the last sync, in order.
    unsynced: Vec<Undo>,
    /// What a power cut leaves for certain, once a failed sync has lost something of what the cache holds. Otherwise it is
    /// the cache without what is not synced.
    strayed: Option<Content>,
}

/// How to take a write back.
#[derive(Clone)]
struct Undo {
    offset: usize,
    /// How many bytes were written.
    length: usize,
    /// How long the file was.
    file_length: usize,
    /// How much of it was held.
    held: usize,
    /// What stood there, as far as it was held.
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

impl Content {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The bytes from an offset on, up to `length` of them, as far as the file reaches.
    pub(super) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let length = length.min(self.length.saturating_sub(offset));
        let held = self.held(offset, length);
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(held);
        bytes.resize(length, 0);
        bytes
    }

    pub(super) fn whole(&self) -> Vec<u8> {
        self.read(0, self.length)
    }

    /// What is held of the bytes from an offset on; what is missing to `length` are zeros.
    fn held(&self, offset: usize, length: usize) -> &[u8] {
        let end = offset.saturating_add(length).min(self.held.len());
        self.held.get(offset..end).unwrap_or_default()
    }

    /// Writes bytes over others; the file grows if need be.
    fn overlay(&mut self, offset: usize, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len());
        if offset >= self.held.len() && zeros::are_zeros(bytes) {
            return;
        }
        // Once for the whole file, as nearly all files are as long from the beginning as they will ever be.
        self.held.reserve(self.length - self.held.len());
        if self.held.len() < offset {
            self.held.resize(offset, 0);
        }
        let (over, behind) = bytes.split_at(bytes.len().min(self.held.len() - offset));
        self.held[offset..][..over.len()].copy_from_slice(over);
        self.held.extend_from_slice(behind);
    }

    /// Takes a write back.
    fn undo(&mut self, undo: &Undo) {
        let Undo { offset, length, file_length, held, before } = undo;
        self.held.truncate(*held);
        self.length = *file_length;
        let end = (offset + length).min(self.held.len());
        if let Some(over) = self.held.get_mut(*offset..end) {
            over[..before.len()].copy_from_slice(before);
            over[before.len()..].fill(0);
        }
    }

    /// The byte at an offset, held from now on; `None` beyond the end.
    fn byte_mut(&mut self, at: usize) -> Option<&mut u8> {
        if at >= self.length {
            return None;
        }
        if self.held.len() <= at {
            self.held.resize(at + 1, 0);
        }
        self.held.get_mut(at)
    }
}

impl Inode {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let Content { held, length } = &self.cache;
        let before = self.cache.held(offset, bytes.len()).to_vec();
        self.unsynced.push(Undo { offset, length: bytes.len(), file_length: *length, held: held.len(), before });
        self.cache.overlay(offset, bytes);
    }

    /// A failed sync: what was not synced stays in the cache as if it had been, and no later sync will write it.
    pub(super) fn forget_unsynced(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        if self.strayed.is_none() {
            let mut platter = self.cache.clone();
            self.unsynced.iter().rev().for_each(|undo| platter.undo(undo));
            self.strayed = Some(platter);
        }
        self.unsynced.clear();
    }

    pub(super) fn sync(&mut self) {
        let Self { cache, unsynced, strayed } = self;
        if let Some(platter) = strayed {
            unsynced.iter().for_each(|undo| platter.overlay(undo.offset, &cache.read(undo.offset, undo.length)));
        }
        unsynced.clear();
    }

    /// Changes one byte wherever it stands, as if it had always been so; answers whether there is such a byte.
    pub(super) fn damage(&mut self, at: usize, change: impl Fn(&mut u8)) -> bool {
        let mut found = false;
        for undo in self.unsynced.iter_mut().filter(|undo| at < undo.file_length) {
            // Who takes the write back keeps the byte, and finds it among what stood there.
            undo.held = undo.held.max(at + 1);
            if let Some(place) = at.checked_sub(undo.offset).filter(|place| *place < undo.length) {
                undo.before.resize(undo.before.len().max(place + 1), 0);
                change(&mut undo.before[place]);
                found = true;
            }
        }
        for byte in self.strayed.iter_mut().chain([&mut self.cache]).filter_map(|content| content.byte_mut(at)) {
            change(byte);
            found = true;
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
        let mut platter = mem::take(&mut self.cache.held);
        let mut lengths = vec![self.cache.length];
        let ends = writes.iter().map(|write| write.offset + write.bytes.len());
        lengths.extend(ends.clone().filter(|end| *end >= self.cache.length));
        lengths.dedup();
        let length = lengths[choose(lengths.len())];
        // Behind what was held and what was written there are zeros, whatever is kept.
        let reach = ends.max().unwrap_or_default().min(length);
        platter.resize(platter.len().max(reach), 0);
        let mut sectors: BTreeMap<usize, Vec<&Write>> = BTreeMap::new();
        for write in &writes {
            let touched = write.offset / SECTOR_BYTES..(write.offset + write.bytes.len()).div_ceil(SECTOR_BYTES);
            touched.for_each(|sector| sectors.entry(sector).or_default().push(write));
        }
        for (sector, versions) in sectors {
            crash_sector(&mut platter, sector, &versions, choose);
        }
        platter.truncate(zeros::used(&platter));
        self.cache = Content { held: platter, length };
    }

    /// Takes back what was not synced; answers with what was written, in order.
    fn take_back(&mut self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(self.unsynced.len());
        while let Some(undo) = self.unsynced.pop() {
            writes.push(Write { offset: undo.offset, bytes: self.cache.read(undo.offset, undo.length) });
            self.cache.undo(&undo);
        }
        writes.reverse();
        writes
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A number below `bound`, and the next state of a plain generator.
    fn below(state: &mut u64, bound: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap() % bound
    }

    /// Bytes of which some are zeros, or all, as most of a segment is.
    fn some_bytes(state: &mut u64) -> Vec<u8> {
        let (zeros, others) = (below(state, 700), below(state, 3) * below(state, 300));
        let mut bytes = vec![0; zeros / 2];
        bytes.resize(zeros / 2 + others, 1 + u8::try_from(below(state, 200)).unwrap());
        bytes.resize(zeros + others + 1, 0);
        bytes
    }

    /// Beside a list of all states since the last sync, each with all its bytes.
    #[test]
    fn zeros_that_are_not_kept_are_there_all_the_same() {
        for seed in 0..400 {
            let (mut state, mut inode, mut states) = (seed, Inode::default(), vec![Vec::new()]);
            for _ in 0..40 {
                let mut last = states.last().unwrap().clone();
                match below(&mut state, 8) {
                    0 => {
                        inode.sync();
                        states = vec![last.clone()];
                    }
                    1 => {
                        let at = below(&mut state, 3_000);
                        let known = states.iter_mut().filter_map(|bytes: &mut Vec<u8>| bytes.get_mut(at));
                        known.for_each(|byte| *byte ^= 4);
                        assert_eq!(inode.damage(at, |byte| *byte ^= 4), at < last.len());
                        last.clone_from(states.last().unwrap());
                    }
                    _ => {
                        let (offset, bytes) = (below(&mut state, 2_500), some_bytes(&mut state));
                        inode.write(offset, &bytes);
                        last.resize(last.len().max(offset + bytes.len()), 0);
                        last[offset..offset + bytes.len()].copy_from_slice(&bytes);
                        states.push(last.clone());
                    }
                }
                assert_eq!(inode.cache.whole(), last, "seed {seed}");
                let (offset, length) = (below(&mut state, 3_000), below(&mut state, 900));
                let expected = last.get(offset..last.len().min(offset + length)).unwrap_or_default();
                assert_eq!(inode.cache.read(offset, length), expected, "seed {seed}");
            }
            inode.crash(&mut |_| 0);
            assert_eq!(inode.cache.whole(), states[0], "seed {seed}: a power cut that keeps nothing");
        }
    }
}
