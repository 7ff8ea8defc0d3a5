//! A snapshot that rots while its node serves. The file is mended before the next start, from its mirror, unless another one has taken
//! its place: what a start makes of damage is the matter of another trouble.

use std::path::PathBuf;

use outrigger::engine::SnapshotId;
use outrigger_log::FaultyDisk;

use super::{Home, Node};
use crate::count::note;
use crate::rng::Rng;

/// What stands at the end of a snapshot's file, behind its content.
const END_BYTES: u64 = 40;
/// A content is kept in blocks of so many bytes, each followed by a checksum.
const BLOCK_BYTES: u64 = 64 << 10;
const CHECKSUM_BYTES: u64 = 4;

/// A file that has rotted.
#[derive(Debug)]
pub(super) struct Decay {
    file: PathBuf,
    /// Where, and which bit.
    at: (u64, u32),
    /// What it holds since.
    bytes: Vec<u8>,
}

impl Decay {
    /// Lets a bit rot within these bytes of a snapshot's content.
    fn strike(disk: &FaultyDisk, id: SnapshotId, (offset, bytes): (u64, u64), rng: &mut Rng) -> Option<Self> {
        let name = format!("snapshot-{:020}-{:020}", id.last.index.0, id.last.term.0);
        let (file, before) = disk.files().into_iter().find(|(file, _)| file.ends_with(&name))?;
        let blocks = id.bytes.div_ceil(BLOCK_BYTES);
        let begin = (before.len() as u64).checked_sub(END_BYTES + blocks * CHECKSUM_BYTES + id.bytes)?;
        let struck = offset + rng.below(bytes);
        let at =
            (begin + struck + struck / BLOCK_BYTES * CHECKSUM_BYTES, u32::try_from(rng.below(8)).unwrap_or_default());
        disk.flip_bit(&file, at.0, at.1).then(|| disk.files().remove(&file)).flatten().map(|bytes| Self {
            file,
            at,
            bytes,
        })
    }

    /// Whether the file is still there.
    fn is_on(&self, disk: &FaultyDisk) -> bool {
        disk.files().get(&self.file) == Some(&self.bytes)
    }
}

impl Node {
    /// These bytes of its newest snapshot rot before they are read. Answers whether they do.
    pub(crate) fn decay(&mut self, id: SnapshotId, bytes: (u64, u64), rng: &mut Rng) -> bool {
        if self.disguise().is_some() || self.has_decayed() {
            return false;
        }
        self.home.decay = Decay::strike(&self.home.disk, id, bytes, rng);
        let has_struck = self.home.decay.is_some();
        if has_struck {
            note(&mut self.faults, "snapshot rotted");
        }
        has_struck
    }

    /// Whether its snapshot was found to be rotten, and none has taken its place.
    pub(crate) fn has_decayed(&self) -> bool {
        self.running.is_some() && self.home.decay.is_some()
    }

    /// A snapshot has become durable: maybe in the place of the one that has rotted.
    pub(crate) fn look_at_decay(&mut self) {
        let Home { disk, decay, .. } = &mut self.home;
        let _replaced = decay.take_if(|decay| !decay.is_on(disk));
    }

    /// A file that is still there is as it was before.
    pub(super) fn mend_decay(&mut self) {
        let Some(decay) = self.home.decay.take() else { return };
        if decay.is_on(&self.home.disk) {
            self.home.disk.flip_bit(&decay.file, decay.at.0, decay.at.1);
        }
    }
}
