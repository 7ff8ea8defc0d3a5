//! What a directory holds when it is opened: read everything first, judge, and only then repair.
//!
//! Segments are written one after the other, and a segment gets its footer (synced) before the next gets its first
//! group. So all but the last in use are sealed, and behind that one there is at most an empty one, made ahead of need: two, if
//! the next but one was made while the last in use was being sealed.
//!
//! | what is found                                        | what it is      | what happens |
//! |------------------------------------------------------|-----------------|--------------|
//! | a file `*.new`, a second empty segment                              | interrupted     | removed |
//! | a segment's first sector does not verify             | corruption      | refused: it was synced before the file got its name |
//! | a file shorter than its first sector says                           | corruption      | refused |
//! | no footer, and a later segment holds a group         | corruption      | refused: the footer was synced before that |
//! | a sealed segment without a successor                 | a missing file  | refused: the successor was there before the footer |
//! | runs that do not cover a group's log                                | a missing file  | refused |
//! | in the last segment: zeros to the end                               | a clean end     | nothing |
//! | a bad group, and a later header, or the trailer, says it was synced | corruption      | refused, with file, offset and index |
//! | a bad group, and nothing that says so                               | a tear          | cut there, and told: [`Cut`] |
//! | a footer that is whole, without its trailer                         | a torn sealing  | cut there |
//! | a record that contradicts what is before it                         | corruption      | refused |
//! | groups up to where the footer must go                               | corruption      | refused: room for it is never given away |
//!
//! Repair: what follows the cut becomes zeros again; what nothing proves to have been synced (the last group, as a rule)
//! is written once more; then the file is synced. Both are needed before anybody is told of it. A process that was
//! killed leaves its writes in the page cache only, and after a failed sync the cache may hold as clean what never
//! reached the disk (TRAPS 39). All of this may be interrupted and repeated at every step.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Corruption, DiskError, During, OpenError};
use crate::identity;
use crate::index::{Index, RunPlace, SegmentUse};
use crate::preparer::Segment;
use crate::record::{self, Summary, narrow};
use crate::segment::{self, FIRST_GROUP, FooterGroup, GROUP_HEADER, GroupHeader, SECTOR, SegmentHeader, Trailer, size};
use crate::state::GroupId;
use crate::zeros;

/// The end of a log that a start has cut off, because nothing proves that it was ever synced; see
/// [`Log::cut`](crate::Log::cut).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// How many bytes stood behind it, up to the last that is not zero; at least 1.
    pub bytes: u64,
    /// The group whose entries were cut, where that can be told.
    pub group: Option<GroupId>,
    /// The first index that is not in the log, where that can be told. Whether there was an entry with it cannot.
    pub index: Option<u64>,
    /// Why the bytes do not count.
    pub what: &'static str,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was cut at offset {}, {} bytes behind it", self.file.display(), self.offset, self.bytes)?;
        if let Some(index) = self.index {
            write!(f, ", the first index that is not there is {index}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What was read, before anything is changed.
pub(crate) struct Scan {
    /// Everything that is intact.
    pub(crate) index: Index,
    /// The segment that is written to next.
    active: ActiveScan,
    /// The newest sealed segment with its footer, if nothing proves that the footer was synced.
    unproven_footer: Option<UnprovenFooter>,
    /// The empty segment behind the active one.
    prepared: Option<SegmentHeader>,
    /// Empty segments behind that: one, if a crash came while the segment in use was being sealed, and the next but one had been
    /// made. They go first, durably: from the segment in use on nothing may be missing.
    superfluous: Vec<u64>,
    /// Files that something interrupted has left.
    pub(crate) leftovers: Vec<String>,
    /// The highest synced offset that a header in the active segment states.
    pub(crate) stated: u64,
    /// What the repair will cut off.
    pub(crate) cut: Option<Cut>,
}

struct ActiveScan {
    header: SegmentHeader,
    /// The whole file; what is to be written again is taken from here.
    image: Vec<u8>,
    /// Where it ends but for zeros, the trailer not counted.
    used: u64,
    walk: Walk,
}

struct UnprovenFooter {
    header: SegmentHeader,
    trailer: Trailer,
}

/// What the repair leaves behind: the writer goes on from here.
pub(crate) struct Recovered<F> {
    pub(crate) active: Segment<F>,
    /// Where the next group begins; everything before is synced.
    pub(crate) end: u64,
    /// How many runs the active segment holds, dead ones counted.
    pub(crate) runs: u64,
    /// The empty segment behind the active one.
    pub(crate) ready: Option<Segment<F>>,
}

/// One segment file, without the bodies of its records.
struct Inspected {
    header: SegmentHeader,
    trailer: Option<Trailer>,
    /// There exactly if the segment is sealed.
    footer: Option<Vec<FooterGroup>>,
    /// Whether a group was ever written to it, as far as the ends of the file tell.
    is_used: bool,
}

/// Reads everything and judges it. Changes nothing.
pub(crate) fn scan<D: Disk>(disk: &D, directory: &Path, incarnation: u64) -> Result<Scan, OpenError> {
    let names = disk.list(directory).during("list", directory)?;
    let leftovers = names.iter().filter(|name| identity::is_leftover(name)).cloned().collect();
    let mut segments = Vec::new();
    for sequence in names.iter().filter_map(|name| segment::parse_file_name(name)) {
        segments.push(inspect(disk, directory, sequence, incarnation)?);
    }
    let active = find_active(directory, &segments)?;
    let mut later = segments.split_off(active);
    let active = later.remove(0).header;
    let newest_sealed = segments.last().map(|sealed| (sealed.header, sealed.trailer));

    let mut index = Index::default();
    index.load(segments.into_iter().map(|sealed| (sealed.header, sealed.footer.unwrap_or_default())));
    index.segments.insert(active.sequence, SegmentUse { header: active, live_runs: 0 });

    let image = read_whole(disk, directory, &active)?;
    let file = segment::path(directory, active.sequence);
    let used = zeros::used(image.get(..size(active.groups_end())).unwrap_or_default()) as u64;
    let (walk, bad) = walk(&image, &active, used, &file, &mut index)?;
    if walk.end + segment::footer_bytes(index.states_bytes, walk.runs) > active.groups_end() {
        let what = "the groups leave no room for the footer of their segment";
        return Err(Corruption::at(&file, walk.end, what).into());
    }
    let residue = used.saturating_sub(walk.end);
    let cut = (residue > 0).then(|| cut(&image, file, residue, &walk, &bad, &index));
    if let Some(group) = index.uncovered() {
        return Err(OpenError::SegmentMissing { path: directory.to_owned(), group: Some(group) });
    }
    let unproven_footer = match newest_sealed {
        Some((header, Some(trailer))) if walk.end == FIRST_GROUP => Some(UnprovenFooter { header, trailer }),
        _ => None,
    };
    let mut empty = later.into_iter().map(|empty| empty.header);
    let prepared: Option<SegmentHeader> = empty.next();
    let superfluous = empty.map(|empty| empty.sequence).collect();
    let stated = walk.proven;
    assert_eq!(image.len() as u64, active.file_bytes, "the whole segment was read");
    assert!(prepared.is_none_or(|prepared| prepared.sequence == active.sequence + 1), "{prepared:?}");
    let active = ActiveScan { header: active, image, used, walk };
    Ok(Scan { index, active, unproven_footer, prepared, superfluous, leftovers, stated, cut })
}

/// Reads what a segment says of itself at both ends.
fn inspect<D: Disk>(disk: &D, directory: &Path, sequence: u64, incarnation: u64) -> Result<Inspected, OpenError> {
    let path = segment::path(directory, sequence);
    let corrupt = |offset, what: &'static str| Corruption::at(&path, offset, what);
    let file = disk.open(&path, Access::Read).during("open", &path)?;
    let length = file.length().during("measure", &path)?;
    if length < 2 * SECTOR {
        return Err(corrupt(length, "the segment is shorter than its first and last sectors").into());
    }
    let read = |offset, bytes: u64| file.read_exact_at(size(bytes), offset).during("read", &path);
    let header = SegmentHeader::decode(&read(0, SECTOR)?)
        .filter(|header| header.sequence == sequence)
        .ok_or_else(|| corrupt(0, "the segment's first sector does not verify"))?;
    if header.incarnation != incarnation {
        return Err(corrupt(0, "the segment belongs to another directory").into());
    }
    if header.file_bytes > length {
        return Err(corrupt(length, "the segment is shorter than its first sector says").into());
    }
    let trailer = Trailer::decode(&read(header.groups_end(), SECTOR)?, &header);
    let footer = match trailer {
        // The trailer lies within the file, so its footer is no longer than what is there.
        Some(Trailer { footer_offset, footer_bytes, .. }) => {
            segment::decode_footer(&read(footer_offset, footer_bytes)?, &header, footer_offset)
        }
        None => None,
    };
    // Most segments are sealed: of these the first group need not be read.
    let is_used =
        trailer.is_some() || GroupHeader::decode(&read(FIRST_GROUP, SECTOR)?, header.place(FIRST_GROUP)).is_some();
    Ok(Inspected { header, trailer, footer, is_used })
}

/// Finds the segment to write to: the first that is not sealed.
fn find_active(directory: &Path, segments: &[Inspected]) -> Result<usize, OpenError> {
    let missing = |sequence| {
        let path = segment::path(directory, sequence);
        Err(OpenError::SegmentMissing { path, group: None })
    };
    let Some(active) = segments.iter().position(|segment| segment.footer.is_none()) else {
        return missing(segments.last().map_or(1, |newest| newest.header.sequence + 1));
    };
    let (sealed, rest) = segments.split_at(active);
    let (Some(unsealed), later) = (rest.first(), rest.get(1..).unwrap_or_default()) else {
        return missing(1);
    };
    mutate!(log_damaged_footer_cut, return Ok(active));
    if later.iter().any(|segment| segment.is_used) {
        let offset = unsealed.trailer.map_or(unsealed.header.groups_end(), |trailer| trailer.footer_offset);
        let what = "the footer of a sealed segment does not verify";
        let file = segment::path(directory, unsealed.header.sequence);
        return Err(Corruption::at(&file, offset, what).into());
    }
    // Older ones may have been purged; from the newest sealed one on nothing may be missing.
    let expected = sealed.last().map_or(1, |newest| newest.header.sequence + 1);
    for (sequence, segment) in (expected..).zip(rest) {
        if segment.header.sequence != sequence {
            return missing(sequence);
        }
    }
    Ok(active)
}

fn read_whole<D: Disk>(disk: &D, directory: &Path, header: &SegmentHeader) -> Result<Vec<u8>, DiskError> {
    let path = segment::path(directory, header.sequence);
    let file = disk.open(&path, Access::Read).during("open", &path)?;
    // The file was seen to be at least this long, so that a hostile length allocates nothing.
    file.read_exact_at(size(header.file_bytes), 0).during("read", &path)
}

/// What a walk over the groups of a segment has found.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// Behind the last intact group: where the next one goes.
    end: u64,
    /// The file is known to have been synced up to here: the highest offset that an intact header states.
    proven: u64,
    /// How many runs it holds.
    runs: u64,
}

/// Why a walk ended where it did.
pub(crate) struct Bad {
    /// The bad frame or record.
    pub(crate) offset: u64,
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// The records of its group before it, which are intact.
    before: Vec<(u64, Sound)>,
}

impl Bad {
    /// A group that does not begin where one must.
    pub(crate) fn at(offset: u64, what: &'static str) -> Self {
        Self { offset, what, before: Vec::new() }
    }
}

/// A record of a group that has been verified whole.
pub(crate) type Sound = (GroupId, Summary, Option<RunPlace>);

/// Applies all intact groups of a segment that is not sealed to the index, up to a clean end or a tear: where it ended,
/// and why.
fn walk(
    image: &[u8],
    header: &SegmentHeader,
    used: u64,
    file: &Path,
    index: &mut Index,
) -> Result<(Walk, Bad), Corruption> {
    let mut walk = Walk { end: FIRST_GROUP, proven: FIRST_GROUP, runs: 0 };
    let bad = loop {
        match read_group(behind(image, walk.end), header, walk.end) {
            Ok((frame, records)) => {
                mutate!(
                    log_last_group_dropped,
                    if let Err(bad) = read_group(behind(image, frame.end()), header, frame.end()) {
                        break bad;
                    }
                );
                for (offset, (group, summary, place)) in records {
                    walk.runs += u64::from(place.is_some());
                    index.apply(group, &summary, place).map_err(|_| Corruption {
                        file: file.to_owned(),
                        offset,
                        group: Some(group),
                        index: index.groups.get(&group).map(|known| known.state.last.index.saturating_add(1)),
                        what: "a record contradicts those before it".into(),
                    })?;
                }
                walk.proven = walk.proven.max(frame.synced);
                assert!(frame.end() > walk.end, "a group of no bytes at {}", walk.end);
                assert!(frame.end() <= header.groups_end(), "a group beyond the segment at {}", walk.end);
                assert!(frame.end().is_multiple_of(SECTOR), "a group ends within a sector, at {}", frame.end());
                walk.end = frame.end();
                assert!(walk.proven <= walk.end, "proven up to {}, beyond {}", walk.proven, walk.end);
            }
            Err(bad) => break bad,
        }
    };
    mutate!(log_cuts_at_corruption, return Ok((walk, bad)));
    if synced_later(image, header, walk.end, used) > walk.end {
        let (group, index) = first_lost(image, &bad, index);
        return Err(Corruption { file: file.to_owned(), offset: bad.offset, group, index, what: bad.what.into() });
    }
    Ok((walk, bad))
}

/// The bytes from an offset on.
fn behind(image: &[u8], offset: u64) -> &[u8] {
    image.get(size(offset)..).unwrap_or_default()
}

/// What is cut off: so many bytes behind the end of the groups, up to the last that is not zero.
fn cut(image: &[u8], file: PathBuf, bytes: u64, walk: &Walk, bad: &Bad, index: &Index) -> Cut {
    let (group, index) = first_lost(image, bad, index);
    Cut { file, offset: walk.end, bytes, group, index, what: bad.what }
}

/// Reads the group that begins at `start`, of which `bytes` are the file's bytes from there on; only as a whole is it worth
/// anything, for none of it was acknowledged before all of it was synced.
pub(crate) fn read_group(
    bytes: &[u8],
    header: &SegmentHeader,
    start: u64,
) -> Result<(GroupHeader, Vec<(u64, Sound)>), Bad> {
    let bad = Bad::at;
    let frame =
        GroupHeader::decode(bytes, header.place(start)).ok_or_else(|| bad(start, "no group begins where one must"))?;
    if frame.end() > header.groups_end() {
        return Err(bad(start, "a group is longer than its segment"));
    }
    let mut offset = start + GROUP_HEADER as u64;
    let end = offset + u64::from(frame.bytes);
    let mut records = Vec::new();
    while offset < end {
        let rest = bytes.get(size(offset - start)..size(end - start)).unwrap_or_default();
        let read = record::verify(rest, header.place(offset)).and_then(|verified| {
            let summary = if verified.is_footer() { None } else { Some(verified.summary()?) };
            Ok((verified, summary))
        });
        let (verified, summary) = match read {
            Ok((verified, Some(summary))) => (verified, summary),
            Ok((_, None)) => return Err(bad(start, "a footer without a trailer")),
            Err(fault) => return Err(Bad { before: records, ..bad(offset, fault.as_str()) }),
        };
        let place = match summary {
            Summary::Entries { term, first, count, .. } => Some(RunPlace {
                segment: header.sequence,
                term,
                first,
                count,
                offset: narrow(size(offset)),
                length: narrow(verified.length),
            }),
            _ => None,
        };
        records.push((offset, (verified.group(), summary, place)));
        offset += verified.length as u64;
    }
    if records.len() != frame.records as usize {
        return Err(bad(start, "a group holds another number of records than it says"));
    }
    Ok((frame, records))
}

/// Up to where headers behind `offset`, and the trailer, say that the file had been synced. From `used` on there are zeros, and in
/// these no header.
fn synced_later(image: &[u8], header: &SegmentHeader, offset: u64, used: u64) -> u64 {
    let behind = (offset + SECTOR..used).step_by(size(SECTOR));
    let headers = behind.filter_map(|at| {
        let bytes = image.get(size(at)..)?;
        Some(GroupHeader::decode(bytes, header.place(at))?.synced)
    });
    let trailer = image.get(size(header.groups_end())..).and_then(|sector| Trailer::decode(sector, header));
    headers.max().unwrap_or(0).max(trailer.map_or(0, |trailer| trailer.synced))
}

/// The first index that is lost with the bad record, as far as that can be told.
fn first_lost(image: &[u8], bad: &Bad, index: &Index) -> (Option<GroupId>, Option<u64>) {
    let next = |group: GroupId| {
        let behind_run = |(_, (of, _, place)): &(u64, Sound)| place.filter(|_| *of == group).map(|run| run.last() + 1);
        let behind_flushed = || index.groups.get(&group).map(|known| known.state.last.index.saturating_add(1));
        bad.before.iter().rev().find_map(behind_run).or_else(behind_flushed)
    };
    // The record's own words may be rotten, so they count only if they fit.
    let claimed = image.get(size(bad.offset)..).and_then(record::claimed_entries);
    match claimed.filter(|(group, first)| next(*group) == Some(*first)) {
        Some((group, first)) => (Some(group), Some(first)),
        None => match (index.groups.len(), index.groups.keys().next()) {
            (1, Some(only)) => (Some(*only), next(*only)),
            _ => (None, None),
        },
    }
}

impl Scan {
    /// Removes the empty segment that was made ahead of need, to make room, once all leftovers are removed. Answers whether there
    /// was one.
    pub(crate) fn give_up_prepared<D: Disk>(&mut self, disk: &D, directory: &Path) -> Result<bool, DiskError> {
        assert!(self.superfluous.is_empty(), "segments {:?} would be behind a gap", self.superfluous);
        let Some(prepared) = self.prepared.take() else { return Ok(false) };
        let path = segment::path(directory, prepared.sequence);
        disk.remove(&path).during("remove", &path)?;
        Ok(true)
    }

    /// Removes what something interrupted has left. `keep` is no leftover.
    pub(crate) fn remove_leftovers<D: Disk>(
        &mut self,
        disk: &D,
        directory: &Path,
        keep: &str,
    ) -> Result<(), DiskError> {
        for leftover in std::mem::take(&mut self.leftovers).iter().filter(|name| *name != keep) {
            let path = directory.join(leftover);
            disk.remove(&path).during("remove", &path)?;
        }
        let superfluous = std::mem::take(&mut self.superfluous);
        for sequence in superfluous.iter().rev() {
            let path = segment::path(directory, *sequence);
            disk.remove(&path).during("remove", &path)?;
        }
        if superfluous.is_empty() { Ok(()) } else { disk.sync_directory(directory).during("sync", directory) }
    }

    /// Makes durable what was found, and the rest of the segment fit to be written to. `keep` is no leftover.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        disk: &D,
        directory: &Path,
        keep: &str,
    ) -> Result<Recovered<D::File>, DiskError> {
        self.rewrite_footer(disk, directory)?;
        let active = self.rewrite_tail(disk, directory)?;
        self.remove_leftovers(disk, directory, keep)?;
        let ready = match self.prepared {
            Some(header) => Some(open_segment(disk, directory, header)?),
            None => None,
        };
        let Walk { end, runs, .. } = self.active.walk;
        Ok(Recovered { active, end, runs, ready })
    }

    /// Writes the unproven end of the active segment again, zeros behind it, and syncs.
    fn rewrite_tail<D: Disk>(&self, disk: &D, directory: &Path) -> Result<Segment<D::File>, DiskError> {
        let ActiveScan { header, image, used, walk } = &self.active;
        assert!(walk.proven <= walk.end, "proven up to {}, beyond the end at {}", walk.proven, walk.end);
        let active = open_segment(disk, directory, *header)?;
        let path = segment::path(directory, header.sequence);
        mutate!(log_repair_not_synced, return Ok(active));
        let residue = used.saturating_sub(walk.end);
        mutate!(
            log_tail_not_written_again if residue == 0,
            return active.file.sync_data().during("sync", &path).map(|()| active)
        );
        let mut tail = image.get(size(walk.proven)..size(walk.end)).unwrap_or_default().to_vec();
        tail.resize(tail.len() + size(segment::sectors_up(residue)), 0);
        assert!(walk.proven + tail.len() as u64 <= header.groups_end(), "the repair of {} is too long", path.display());
        assert!((tail.len() as u64).is_multiple_of(SECTOR), "a repair of {} bytes", tail.len());
        active.file.write_all_at(&tail, walk.proven).during("write", &path)?;
        let trailer = image.get(size(header.groups_end())..).unwrap_or_default();
        if !zeros::are_zeros(trailer) {
            active.file.write_all_at(&vec![0; trailer.len()], header.groups_end()).during("write", &path)?;
        }
        active.file.sync_data().during("sync", &path)?;
        Ok(active)
    }

    /// Writes a footer again that nothing proves to have been synced, and syncs it.
    fn rewrite_footer<D: Disk>(&self, disk: &D, directory: &Path) -> Result<(), DiskError> {
        mutate!(log_footer_not_written_again, return Ok(()));
        let Some(UnprovenFooter { header, trailer }) = &self.unproven_footer else { return Ok(()) };
        let path = segment::path(directory, header.sequence);
        let sealed = open_segment(disk, directory, *header)?;
        assert!(header.sequence < self.active.header.sequence, "the footer of a segment that is in use");
        let footer =
            sealed.file.read_exact_at(size(trailer.footer_bytes), trailer.footer_offset).during("read", &path)?;
        sealed.file.write_all_at(&footer, trailer.footer_offset).during("write", &path)?;
        sealed.file.write_all_at(&trailer.encode(header), header.groups_end()).during("write", &path)?;
        sealed.file.sync_data().during("sync", &path)
    }
}

fn open_segment<D: Disk>(disk: &D, directory: &Path, header: SegmentHeader) -> Result<Segment<D::File>, DiskError> {
    let path = segment::path(directory, header.sequence);
    let file = disk.open(&path, Access::ReadWrite).during("open", &path)?;
    Ok(Segment { header, file })
}
