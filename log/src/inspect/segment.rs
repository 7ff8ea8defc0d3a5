//! Every group of one segment, read through a window: a file of gigabytes takes no more memory than its largest group.
//!
//! ```text
//!   bad, and a later header or the trailer says that it had been synced    damage
//!   bad, and nothing that says so       in use: a tear, which the next start cuts       sealed: a mark, which nobody needs
//! ```
//!
//! Behind a bad group the next one is looked for, a sector at a time: what is told is all of the damage, not only where it
//! begins.

use std::collections::BTreeMap;
use std::path::Path;

use super::damage::Damage;
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{DiskError, During};
use crate::index::RunPlace;
use crate::record;
use crate::recovery::{self, Bad, Sound};
use crate::segment::{self, FIRST_GROUP, FooterGroup, GROUP_HEADER, GroupHeader, SECTOR, SegmentHeader, Trailer, size};
use crate::state::{GroupId, GroupState};

/// How much of a file is read at once, unless a group is longer.
const WINDOW_BYTES: u64 = 1 << 20;

/// What the groups of a log add up to, at one place in it.
pub(super) type States = BTreeMap<GroupId, GroupState>;

/// What was found in one segment.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many intact groups: each was one write, with one sync.
    pub(super) writes: u64,
    /// How many intact records.
    pub(super) records: u64,
    pub(super) damage: Vec<Damage>,
    /// What its footer says; `None` without one.
    pub(super) states: Option<States>,
}

/// Reads one segment. `base` is what the log added up to before it, where that is known; `may_be_torn` of the one that is in
/// use, and of those behind it.
pub(super) fn inspect<D: Disk>(
    disk: &D,
    path: &Path,
    incarnation: Option<u64>,
    base: Option<States>,
    may_be_torn: bool,
) -> Result<Found, DiskError> {
    let file = disk.open(path, Access::Read).during("open", path)?;
    let length = file.length().during("measure", path)?;
    let mut window = Window { file, path, length, start: 0, bytes: Vec::new() };
    let whole =
        |what: &str| Damage { path: path.to_owned(), offset: Some(0), group: None, index: None, what: what.into() };
    let Some(header) = SegmentHeader::decode(window.read(0, SECTOR)?) else {
        let damage = vec![whole("the segment's first sector does not verify")];
        return Ok(Found { damage, ..Found::default() });
    };
    let named = path.file_name().and_then(|name| name.to_str()).and_then(segment::parse_file_name);
    if named != Some(header.sequence) || incarnation.is_some_and(|own| own != header.incarnation) {
        let damage = vec![whole("the segment belongs to another directory, or has another one's name")];
        return Ok(Found { damage, ..Found::default() });
    }
    if header.file_bytes > length {
        let damage = Damage { offset: Some(length), ..whole("the segment is shorter than its first sector says") };
        return Ok(Found { damage: vec![damage], ..Found::default() });
    }
    let trailer = Trailer::decode(window.read(header.groups_end(), SECTOR)?, &header);
    let mut walk =
        Walk { header, path, states: base, runs: BTreeMap::new(), found: Found::default(), doubted: Vec::new() };
    match trailer.filter(|_| !may_be_torn) {
        Some(trailer) => walk.sealed(&mut window, &trailer)?,
        None => walk.unsealed(&mut window, trailer.as_ref())?,
    }
    Ok(walk.found)
}

struct Walk<'a> {
    header: SegmentHeader,
    path: &'a Path,
    /// What everything so far adds up to; `None` from the first bad group on, and where what was before is not known.
    states: Option<States>,
    /// The runs that the footer lists and that were not met yet, by offset.
    runs: BTreeMap<u64, (GroupId, RunPlace)>,
    found: Found,
    /// What is bad, and damage only if something later says that it had been synced.
    doubted: Vec<Damage>,
}

impl Walk<'_> {
    fn sealed<F: DiskFile>(&mut self, window: &mut Window<'_, F>, trailer: &Trailer) -> Result<(), DiskError> {
        let footer = window.read(trailer.footer_offset, trailer.footer_bytes)?;
        let footer = segment::decode_footer(footer, &self.header, trailer.footer_offset);
        if footer.is_none() {
            let what = "the footer of a sealed segment does not verify";
            self.found.damage.push(self.damage(trailer.footer_offset, None, what));
        }
        for FooterGroup { group, runs, .. } in footer.iter().flatten() {
            self.runs.extend(runs.iter().map(|run| (u64::from(run.offset), (*group, *run))));
        }
        self.groups(window, trailer.footer_offset)?;
        // Between what was synced and the footer there can only be a mark, which a crash while the segment was sealed may tear.
        self.prove(trailer.synced);
        let Some(footer) = footer else { return Ok(()) };
        let states: States = footer.into_iter().map(|FooterGroup { group, state, .. }| (group, state)).collect();
        if self.states.as_ref().is_some_and(|counted| *counted != states) {
            let what = "the records do not add up to what the footer says";
            self.found.damage.push(self.damage(trailer.footer_offset, None, what));
        }
        // Where a group is bad, its runs cannot have been met, and that has been said.
        if self.found.damage.is_empty() {
            for (offset, (group, run)) in &self.runs {
                let what = "the footer lists a run of entries here, and there is none";
                self.found.damage.push(self.damage(*offset, Some((*group, run.first)), what));
            }
        }
        self.found.states = Some(states);
        Ok(())
    }

    fn unsealed<F: DiskFile>(
        &mut self,
        window: &mut Window<'_, F>,
        trailer: Option<&Trailer>,
    ) -> Result<(), DiskError> {
        self.groups(window, self.header.groups_end())?;
        self.prove(trailer.map_or(0, |trailer| trailer.synced));
        Ok(())
    }

    /// Reads every group before `end`.
    fn groups<F: DiskFile>(&mut self, window: &mut Window<'_, F>, end: u64) -> Result<(), DiskError> {
        let mut offset = FIRST_GROUP;
        // Of bad ones that follow each other only the first is told: nobody knows where one ends.
        let mut is_lost = false;
        while offset < end {
            let frame = GroupHeader::decode(window.read(offset, GROUP_HEADER as u64)?, self.header.place(offset));
            let Some(frame) = frame.filter(|frame| frame.end() <= end) else {
                if !is_lost {
                    self.doubt(&Bad::at(offset, "no group begins where one must"), None);
                }
                is_lost = true;
                offset += SECTOR;
                continue;
            };
            is_lost = false;
            self.prove(frame.synced);
            let bytes = window.read(offset, frame.end() - offset)?;
            match recovery::read_group(bytes, &self.header, offset) {
                Ok((_, records)) => self.take(records),
                Err(bad) => {
                    let claimed = bytes.get(size(bad.offset - offset)..).and_then(record::claimed_entries);
                    self.doubt(&bad, claimed);
                }
            }
            offset = frame.end();
        }
        Ok(())
    }

    /// Takes in an intact group.
    fn take(&mut self, records: Vec<(u64, Sound)>) {
        self.found.writes += 1;
        for (offset, (group, summary, place)) in records {
            self.found.records += 1;
            let is_met = |(listed, run): &(GroupId, RunPlace)| {
                let same = |place: RunPlace| {
                    let found = (place.term, place.first, place.length);
                    found == (run.term, run.first, run.length) && place.count >= run.count
                };
                *listed == group && place.is_some_and(same)
            };
            if self.runs.get(&offset).is_some_and(is_met) {
                self.runs.remove(&offset);
            }
            let Some(states) = &mut self.states else { continue };
            if let Err(contradiction) = states.entry(group).or_default().apply(&summary) {
                let index = place.map(|run| (group, run.first));
                self.found.damage.push(self.damage(offset, index, &contradiction.to_string()));
                self.states = None;
            }
        }
    }

    /// A group that does not verify. What it says of itself may be rotten: it counts only if it fits to what is known.
    fn doubt(&mut self, bad: &Bad, claimed: Option<(GroupId, u64)>) {
        let listed = self.runs.range(bad.offset..).next().map(|(_, (group, run))| (*group, run.first));
        let next = |group: &GroupId| {
            let state = self.states.as_ref()?.get(group);
            Some(state.map_or(0, |state| state.last.index).saturating_add(1))
        };
        let fitting = claimed.filter(|(group, first)| next(group) == Some(*first));
        let lost = listed.or(fitting);
        self.doubted.push(self.damage(bad.offset, lost, bad.what));
        self.states = None;
    }

    /// Everything before this offset had been synced.
    fn prove(&mut self, synced: u64) {
        let proven = self.doubted.partition_point(|bad| bad.offset.is_some_and(|offset| offset < synced));
        self.found.damage.extend(self.doubted.drain(..proven));
    }

    fn damage(&self, offset: u64, lost: Option<(GroupId, u64)>, what: &str) -> Damage {
        Damage {
            path: self.path.to_owned(),
            offset: Some(offset),
            group: lost.map(|(group, _)| group),
            index: lost.map(|(_, index)| index),
            what: what.to_owned(),
        }
    }
}

/// A file, of which a piece is in memory.
struct Window<'a, F> {
    file: F,
    path: &'a Path,
    length: u64,
    /// Where the piece begins.
    start: u64,
    bytes: Vec<u8>,
}

impl<F: DiskFile> Window<'_, F> {
    /// So many bytes from an offset on, or as many as there are.
    fn read(&mut self, offset: u64, bytes: u64) -> Result<&[u8], DiskError> {
        let end = offset.saturating_add(bytes).min(self.length);
        let is_held = self.start <= offset && end <= self.start + self.bytes.len() as u64;
        if !is_held {
            // Never more than is there, whatever a header promises.
            let wanted = (end.saturating_sub(offset)).max(WINDOW_BYTES).min(self.length.saturating_sub(offset));
            self.bytes = self.file.read_exact_at(size(wanted), offset).during("read", self.path)?;
            self.start = offset;
        }
        let from = size(offset - self.start).min(self.bytes.len());
        let to = size(end.max(offset) - self.start).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }
}
