//! Damage to what was synced: a bit that rots, a write that the disk took and lost, a write that went astray. A start must
//! refuse it, or find all that was left; then somebody mends the disk from its mirror.
//!
//! Only groups of records are struck that a later header proves to have been synced: in the very last group damage looks
//! like a tear, which is the known limit of a log without a second copy. A log that has rested has a mark behind that group.

use std::path::PathBuf;

use outrigger_log::{Disk, FaultyDisk, Frames};

use crate::rng::Rng;

const SECTOR: usize = Frames::SECTOR;

/// Sectors as they were.
#[derive(Debug)]
pub(super) struct Damage {
    /// What it is counted as when a start refuses it.
    pub(super) name: &'static str,
    file: PathBuf,
    /// The offset of each piece and what stood there.
    before: Vec<(u64, Vec<u8>)>,
}

impl Damage {
    /// Damages something on the disk, if something may be.
    pub(super) fn strike(disk: &FaultyDisk, rng: &mut Rng) -> Option<Self> {
        let files: Vec<_> = disk.files().into_iter().filter(|(_, bytes)| groups(bytes).0.len() > 3).collect();
        let (file, bytes) = files.get(rng.count(0, files.len().max(1) - 1))?;
        let (groups, is_marked) = groups(bytes);
        // The last two stay whole: they prove what was synced before them. A mark is enough by itself, and what only that
        // proves is struck as often as all the rest.
        let is_last = is_marked && rng.chance(500_000);
        let first = groups[if is_last { groups.len() - 2 } else { rng.count(0, groups.len() - 3) }];
        let piece = |sector: usize| ((sector * SECTOR) as u64, bytes[sector * SECTOR..][..SECTOR].to_vec());
        let mut damage = Self { name: "bit rotten and refused", file: file.clone(), before: vec![piece(first)] };
        match rng.below(3) {
            0 => {
                let (offset, bit) = (first * SECTOR + rng.count(0, SECTOR - 1), rng.below(8));
                disk.flip_bit(file, offset as u64, u32::try_from(bit).unwrap_or_default());
            }
            1 => {
                damage.name = "write lost and refused";
                damage.write(disk, first, &[0; SECTOR]);
            }
            _ => {
                damage.name = "write astray and refused";
                // It lies where another group should be, or behind all of them.
                let behind = (bytes.len() / SECTOR - 1).min(groups[groups.len() - 1] + 4);
                let elsewhere = *rng.pick(&[groups[groups.len() - 3], behind]);
                damage.before.push(piece(elsewhere));
                damage.write(disk, elsewhere, &bytes[first * SECTOR..][..SECTOR]);
                if elsewhere != first {
                    damage.write(disk, first, &[0; SECTOR]);
                }
            }
        }
        Some(damage)
    }

    fn write(&self, disk: &FaultyDisk, sector: usize, bytes: &[u8]) {
        disk.overwrite(&self.file, (sector * SECTOR) as u64, bytes);
    }

    /// Undoes it.
    pub(super) fn mend(&self, disk: &FaultyDisk) {
        for (offset, bytes) in &self.before {
            disk.overwrite(&self.file, *offset, bytes);
        }
    }
}

/// Damages what holds the log together, if it is there: removes a whole segment, or lets a bit rot in what a segment says of
/// itself at its ends. What it is counted as when a start refuses it.
pub(super) fn strike_frame(disk: &FaultyDisk, rng: &mut Rng) -> Option<&'static str> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    let segments: Vec<_> = disk.files().into_iter().filter(|(path, _)| is_segment(path)).collect();
    let (file, bytes) = segments.get(rng.count(0, segments.len().max(1) - 1))?;
    if rng.below(2) == 0 {
        return disk.remove(file).ok().map(|()| "segment missing and refused");
    }
    let mut frames = vec![0];
    frames.extend(Frames::find(bytes)?.seal.into_iter().flat_map(|seal| [seal.trailer, seal.footer]));
    let offset = *rng.pick(&frames) + rng.below(Frames::BYTES_MIN);
    let bit = u32::try_from(rng.below(8)).unwrap_or_default();
    disk.flip_bit(file, offset, bit).then_some("frame rotten and refused")
}

/// Lets a bit rot in a snapshot, if there is one: in what it says of itself, or in its content.
pub(super) fn strike_snapshot(disk: &FaultyDisk, rng: &mut Rng) -> Option<&'static str> {
    let is_one = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot-"));
    let (file, bytes) = disk.files().into_iter().rfind(|(path, _)| is_one(path))?;
    // The header, the head behind it, which is short, and the end; or anything.
    let length = bytes.len() as u64;
    let (first, bytes) = match rng.below(4) {
        0 => (0, 64),
        1 => (64, 100),
        2 => (length.checked_sub(40)?, 40),
        _ => (0, length),
    };
    let (offset, bit) = (first + rng.below(bytes), u32::try_from(rng.below(8)).unwrap_or_default());
    (offset < length && disk.flip_bit(&file, offset, bit)).then_some("snapshot rotten and refused")
}

/// The sectors at which the groups of a segment begin, and whether the last is a mark; none, if these are not the bytes of one.
fn groups(bytes: &[u8]) -> (Vec<usize>, bool) {
    let Some(Frames { groups, is_marked, .. }) = Frames::find(bytes) else { return (Vec::new(), false) };
    let sectors = groups.iter().filter_map(|group| usize::try_from(group.start).ok()).map(|start| start / SECTOR);
    (sectors.collect(), is_marked)
}
