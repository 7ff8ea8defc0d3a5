//! A segment: one preallocated file of the log, and the bytes that frame its records.
//!
//! ```text
//!  0         512                                                     footer_offset              file_bytes - 512
//!  +---------+---------+--------+---------+------------------+-------+--------+-----------------+---------+
//!  | segment | group   | group  | group   | zeros, written   |reserve| footer | (only when it   | trailer |
//!  | header  |         |        |         | and synced ahead |       |        |  is sealed)     |         |
//!  +---------+---------+--------+---------+------------------+-------+--------+-----------------+---------+
//!            one write, one sync each; each begins on a sector of its own, so that no synced sector is written again
//! ```
//!
//! A *group header* says where it stands and up to which offset the file was synced when it was written. That is the
//! evidence by which recovery tells a tear from corruption. The *footer* lists the runs that live in the segment and
//! the state of all groups at its end, so that a start need not read the bodies of sealed segments.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::index::RunPlace;
use crate::record::{self, Place, narrow};
use crate::state::{GroupId, GroupState, LogPosition, PeerIdentity, Vote};

/// The unit in which a disk writes or does not write.
pub(crate) const SECTOR: u64 = 512;
/// Where the first group of a segment begins.
pub(crate) const FIRST_GROUP: u64 = SECTOR;
/// Bytes of a group's header; its first record follows at once.
pub(crate) const GROUP_HEADER: usize = 64;
/// The version of everything in the directory; see `FORMAT.md`.
pub(crate) const FORMAT_VERSION: u32 = 1;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"OUTRSEGM");
const GROUP_MAGIC: u64 = u64::from_le_bytes(*b"OUTRGRUP");
const TRAILER_MAGIC: u64 = u64::from_le_bytes(*b"OUTRTRAI");

/// What a group's state takes in a footer at least: see `encode_state`.
const STATE_BYTES: usize = 80;
/// What a run takes in a footer.
pub(crate) const RUN_BYTES: usize = 28;
/// What a group takes in a footer besides its state and its runs.
const FOOTER_GROUP_BYTES: usize = 12;

/// The next multiple of a sector.
pub(crate) fn sectors_up(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR).saturating_mul(SECTOR)
}

/// What the name of a segment file ends in.
const SUFFIX: &str = ".segment";
/// How many digits it begins with: as many as the highest sequence number has.
const DIGITS: usize = 20;

/// Where the segment with this sequence number is; the names of a directory sort as the numbers do.
///
/// Every read of entries and every start of a log name segments, which is why the digits do not go through the formatter.
pub(crate) fn path(directory: &Path, sequence: u64) -> PathBuf {
    let mut name = [b'0'; DIGITS + SUFFIX.len()];
    let (digits, suffix) = name.split_at_mut(DIGITS);
    let mut rest = sequence;
    for digit in digits.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    suffix.copy_from_slice(SUFFIX.as_bytes());
    let name = str::from_utf8(&name).expect("digits and letters");
    let mut path = PathBuf::with_capacity(directory.as_os_str().len() + 1 + name.len());
    path.push(directory);
    path.push(name);
    path
}

/// The sequence number in a segment file's name.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_ours { digits.parse().ok() } else { None }
}

/// The first sector of a segment: which file this is, of which directory, and in which of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Counts the segments of a directory from 1; also in the file's name.
    pub(crate) sequence: u64,
    /// The start that made the file; with the sequence it is never used twice.
    pub(crate) generation: u64,
    /// That of the directory, so that no other directory's segment is taken for ours.
    pub(crate) incarnation: u64,
    /// The whole file's length in bytes: a multiple of a sector, below 4 GiB.
    pub(crate) file_bytes: u64,
}

impl SegmentHeader {
    /// The first sector's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.file_bytes.is_multiple_of(SECTOR), "{} bytes are no whole sectors", self.file_bytes);
        assert!(u32::try_from(self.file_bytes).is_ok(), "a segment of {} bytes is too long", self.file_bytes);
        let mut out = Vec::with_capacity(size(SECTOR));
        out.put_u64_le(SEGMENT_MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(0);
        for word in [self.sequence, self.generation, self.incarnation, self.file_bytes] {
            out.put_u64_le(word);
        }
        finish_sector(out)
    }

    /// Reads a first sector; `None` if it is not one.
    pub(crate) fn decode(sector: &[u8]) -> Option<Self> {
        let mut fields = checked(sector, 48, SEGMENT_MAGIC)?;
        if fields.try_get_u32_le().ok()? != FORMAT_VERSION {
            return None;
        }
        fields.try_get_u32_le().ok()?;
        let mut word = || fields.try_get_u64_le().ok();
        let header = Self { sequence: word()?, generation: word()?, incarnation: word()?, file_bytes: word()? };
        let whole = header.file_bytes.is_multiple_of(SECTOR) && u32::try_from(header.file_bytes).is_ok();
        (whole && header.file_bytes >= 2 * SECTOR).then_some(header)
    }

    /// The place of a record or a footer in this segment.
    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { segment: self.sequence, generation: self.generation, offset }
    }

    /// Where the trailer begins, and groups must have ended.
    pub(crate) fn groups_end(&self) -> u64 {
        self.file_bytes - SECTOR
    }
}

/// The frame of all records that were written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Bytes of the records that follow; zeros fill the last sector.
    pub(crate) bytes: u32,
    /// How many records follow.
    pub(crate) records: u32,
    /// Where this header stands, in which file: a header elsewhere is no header.
    pub(crate) place: Place,
    /// Everything before this offset had been synced when the header was written; at most `place.offset`.
    pub(crate) synced: u64,
}

impl GroupHeader {
    /// Writes the header over the first [`GROUP_HEADER`] bytes of `out`.
    pub(crate) fn write(&self, out: &mut [u8]) {
        assert!(self.synced <= self.place.offset, "synced up to {}, beyond {:?}", self.synced, self.place);
        assert!(self.place.offset.is_multiple_of(SECTOR), "a group begins on a sector: {:?}", self.place);
        let header = &mut out[..GROUP_HEADER];
        let mut rest = &mut header[..];
        rest.put_u64_le(GROUP_MAGIC);
        rest.put_u32_le(self.bytes);
        rest.put_u32_le(self.records);
        for word in [self.place.segment, self.place.generation, self.place.offset, self.synced, 0] {
            rest.put_u64_le(word);
        }
        rest.put_u32_le(0);
        let checksum = crc32c::crc32c(&header[..GROUP_HEADER - 4]);
        header[GROUP_HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the header at `place`; `None` if there is none.
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Option<Self> {
        let mut fields = checked(bytes, GROUP_HEADER - 4, GROUP_MAGIC)?;
        let bytes = fields.try_get_u32_le().ok()?;
        let records = fields.try_get_u32_le().ok()?;
        let mut word = || fields.try_get_u64_le().ok();
        let found = Place { segment: word()?, generation: word()?, offset: word()? };
        let synced = word()?;
        let proves = synced <= place.offset && synced.is_multiple_of(SECTOR);
        (found == place && proves).then_some(Self { bytes, records, place, synced })
    }

    /// Where the next group begins.
    pub(crate) fn end(&self) -> u64 {
        self.place.offset + sectors_up(GROUP_HEADER as u64 + u64::from(self.bytes))
    }
}

/// The last sector of a sealed segment: where its footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Where the footer's group begins.
    pub(crate) footer_offset: u64,
    /// The footer group's length with its header, in whole sectors.
    pub(crate) footer_bytes: u64,
    /// Everything before this offset had been synced when the segment was sealed; at most `footer_offset`.
    pub(crate) synced: u64,
}

impl Trailer {
    /// The last sector's bytes.
    pub(crate) fn encode(&self, header: &SegmentHeader) -> Vec<u8> {
        let mut out = Vec::with_capacity(size(SECTOR));
        out.put_u64_le(TRAILER_MAGIC);
        assert!(self.synced <= self.footer_offset, "synced up to {}, beyond the footer", self.synced);
        for word in [header.sequence, header.generation, self.footer_offset, self.footer_bytes, self.synced] {
            out.put_u64_le(word);
        }
        finish_sector(out)
    }

    /// Reads a last sector; `None` if the segment is not sealed.
    pub(crate) fn decode(sector: &[u8], header: &SegmentHeader) -> Option<Self> {
        let mut fields = checked(sector, 48, TRAILER_MAGIC)?;
        let mut word = || fields.try_get_u64_le().ok();
        let same = word()? == header.sequence && word()? == header.generation;
        let trailer = Self { footer_offset: word()?, footer_bytes: word()?, synced: word()? };
        let end = trailer.footer_offset.checked_add(trailer.footer_bytes)?;
        let whole =
            [trailer.footer_offset, trailer.footer_bytes, trailer.synced].iter().all(|at| at.is_multiple_of(SECTOR));
        let inside = whole && trailer.footer_offset >= FIRST_GROUP && end <= header.groups_end();
        (same && inside && trailer.footer_bytes >= SECTOR && trailer.synced <= trailer.footer_offset).then_some(trailer)
    }
}

/// What one group has in a segment's footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FooterGroup {
    /// Whose state and runs these are.
    pub(crate) group: GroupId,
    /// The group's state when the segment was sealed.
    pub(crate) state: GroupState,
    /// The runs of the segment that were live then, by index.
    pub(crate) runs: Vec<RunPlace>,
}

/// An upper bound of the bytes of a footer, with its framing, whose groups and runs take this many bytes.
pub(crate) fn footer_bytes(groups_bytes: u64, runs: u64) -> u64 {
    let framing = (GROUP_HEADER + record::RECORD_HEADER + 4) as u64;
    sectors_up(framing.saturating_add(groups_bytes).saturating_add(runs.saturating_mul(RUN_BYTES as u64)))
}

/// What a group takes in a footer, its runs not counted.
pub(crate) fn footer_group_bytes(state: &GroupState) -> u64 {
    let lists = state.terms.len() * 16 + state.marked.len() * 8 + state.peers.len() * 32;
    (FOOTER_GROUP_BYTES + STATE_BYTES + lists) as u64
}

/// The bytes of a whole footer, framed as a group at `offset`, in whole sectors; `synced` as in a group's header.
pub(crate) fn encode_footer<'a>(
    header: &SegmentHeader,
    offset: u64,
    synced: u64,
    groups: impl ExactSizeIterator<Item = (GroupId, &'a GroupState, Vec<RunPlace>)>,
) -> Vec<u8> {
    // Of one group, as a rule with some runs.
    let mut body = Vec::with_capacity(2 * size(SECTOR));
    body.put_u32_le(narrow(groups.len()));
    for (group, state, runs) in groups {
        body.put_u64_le(group.0);
        encode_state(&mut body, state);
        body.put_u32_le(narrow(runs.len()));
        for run in runs {
            assert_eq!(run.segment, header.sequence, "a run of another segment in the footer");
            body.put_u64_le(run.term);
            body.put_u64_le(run.first);
            body.put_u32_le(run.count);
            body.put_u32_le(run.offset);
            body.put_u32_le(run.length);
        }
    }
    let mut out = Vec::with_capacity(size(sectors_up((GROUP_HEADER + record::RECORD_HEADER + body.len()) as u64)));
    out.resize(GROUP_HEADER, 0);
    record::encode_footer(&mut out, &body);
    let record = &mut out[GROUP_HEADER..];
    let bytes = narrow(record.len());
    record::bind(record, header.place(offset + GROUP_HEADER as u64));
    GroupHeader { bytes, records: 1, place: header.place(offset), synced }.write(&mut out);
    pad(&mut out);
    out
}

/// Reads a footer that [`encode_footer`] made for `offset`; `None` if it is not intact.
pub(crate) fn decode_footer(bytes: &[u8], header: &SegmentHeader, offset: u64) -> Option<Vec<FooterGroup>> {
    let frame = GroupHeader::decode(bytes, header.place(offset))?;
    let record = bytes.get(GROUP_HEADER..)?.get(..frame.bytes as usize)?;
    let verified = record::verify(record, header.place(offset + GROUP_HEADER as u64)).ok()?;
    if !verified.is_footer() {
        return None;
    }
    let mut fields = verified.body;
    let mut groups = Vec::new();
    for _ in 0..fields.try_get_u32_le().ok()? {
        let group = GroupId(fields.try_get_u64_le().ok()?);
        let state = decode_state(&mut fields)?;
        let runs = decode_list(&mut fields, RUN_BYTES, |fields| {
            Some(RunPlace {
                segment: header.sequence,
                term: fields.try_get_u64_le().ok()?,
                first: fields.try_get_u64_le().ok()?,
                count: fields.try_get_u32_le().ok()?,
                offset: fields.try_get_u32_le().ok()?,
                length: fields.try_get_u32_le().ok()?,
            })
        })?;
        let is_next = groups.last().is_none_or(|last: &FooterGroup| last.group < group);
        if !is_next || !are_runs_sound(&runs, header) {
            return None;
        }
        groups.push(FooterGroup { group, state, runs });
    }
    fields.is_empty().then_some(groups)
}

/// Whether runs that a footer lists lie within its segment and follow one another. Its checksum says that they are as they
/// were written, and not that somebody of sense wrote them: what they say is used to allocate and to read.
fn are_runs_sound(runs: &[RunPlace], header: &SegmentHeader) -> bool {
    let is_within = |run: &RunPlace| {
        let (start, length) = (u64::from(run.offset), u64::from(run.length));
        start >= FIRST_GROUP && length >= record::RECORD_HEADER as u64 && start + length <= header.groups_end()
    };
    let is_range = |run: &RunPlace| run.first > 0 && run.count > 0 && run.first.checked_add(run.count.into()).is_some();
    runs.iter().all(|run| is_within(run) && is_range(run))
        && runs.is_sorted_by(|one, next| one.last() < next.first && one.term <= next.term)
}

fn encode_state(out: &mut Vec<u8>, state: &GroupState) {
    let start = out.len();
    out.put_u64_le(state.vote.term);
    out.put_u32_le(u32::from(state.vote.voted_for.is_some()));
    out.put_u64_le(state.vote.voted_for.unwrap_or_default());
    out.put_u64_le(state.committed);
    for position in [state.purged, state.last] {
        out.put_u64_le(position.term);
        out.put_u64_le(position.index);
    }
    for list in [state.terms.len(), state.marked.len(), state.peers.len()] {
        out.put_u32_le(narrow(list));
    }
    // Room for one word more, so that a later version may add it without a new layout.
    out.put_u64_le(0);
    assert_eq!(out.len() - start, STATE_BYTES, "the fixed part of a state");
    for position in &state.terms {
        out.put_u64_le(position.term);
        out.put_u64_le(position.index);
    }
    for &index in &state.marked {
        out.put_u64_le(index);
    }
    for (&node, identity) in &state.peers {
        for word in [node, identity.incarnation, identity.start, identity.nonce] {
            out.put_u64_le(word);
        }
    }
}

fn decode_state(fields: &mut &[u8]) -> Option<GroupState> {
    let term = fields.try_get_u64_le().ok()?;
    let voted = fields.try_get_u32_le().ok()? != 0;
    let voted_for = fields.try_get_u64_le().ok()?;
    let committed = fields.try_get_u64_le().ok()?;
    let (purged, last) = (decode_position(fields)?, decode_position(fields)?);
    let mut count = || fields.try_get_u32_le().ok();
    let (terms, marked, peers) = (count()?, count()?, count()?);
    fields.try_get_u64_le().ok()?;
    let state = GroupState {
        vote: Vote { term, voted_for: voted.then_some(voted_for) },
        committed,
        purged,
        last,
        terms: decode_items(fields, terms, 16, decode_position)?,
        marked: decode_items(fields, marked, 8, |fields| fields.try_get_u64_le().ok())?,
        peers: decode_items(fields, peers, 32, decode_peer)?.into_iter().collect(),
    };
    (state.is_consistent() && state.is_sorted()).then_some(state)
}

fn decode_position(fields: &mut &[u8]) -> Option<LogPosition> {
    Some(LogPosition { term: fields.try_get_u64_le().ok()?, index: fields.try_get_u64_le().ok()? })
}

fn decode_peer(fields: &mut &[u8]) -> Option<(u64, PeerIdentity)> {
    let node = fields.try_get_u64_le().ok()?;
    let mut word = || fields.try_get_u64_le().ok();
    Some((node, PeerIdentity { incarnation: word()?, start: word()?, nonce: word()? }))
}

fn decode_list<T>(fields: &mut &[u8], bytes_each: usize, item: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = fields.try_get_u32_le().ok()?;
    decode_items(fields, count, bytes_each, item)
}

/// Reads `count` items, once it is known that as many bytes are there: a hostile count allocates nothing.
fn decode_items<T>(
    fields: &mut &[u8],
    count: u32,
    bytes_each: usize,
    item: impl Fn(&mut &[u8]) -> Option<T>,
) -> Option<Vec<T>> {
    if (count as usize).checked_mul(bytes_each)? > fields.len() {
        return None;
    }
    // Not collected: a list whose items may fail grows by doubling.
    let mut items = Vec::with_capacity(count as usize);
    for _ in 0..count {
        items.push(item(fields)?);
    }
    Some(items)
}

/// Ends a sector of fields with their checksum and zeros.
fn finish_sector(mut out: Vec<u8>) -> Vec<u8> {
    out.put_u32_le(crc32c::crc32c(&out));
    pad(&mut out);
    assert_eq!(out.len() as u64, SECTOR, "one sector");
    out
}

/// The fields behind the magic, once magic and the checksum behind `length` bytes are right.
fn checked(bytes: &[u8], length: usize, magic: u64) -> Option<&[u8]> {
    let (fields, mut rest) = bytes.split_at_checked(length)?;
    let mut behind_magic = fields;
    let right = behind_magic.try_get_u64_le().ok()? == magic && rest.try_get_u32_le().ok()? == crc32c::crc32c(fields);
    right.then_some(behind_magic)
}

/// Fills the last sector with zeros.
pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(size(sectors_up(out.len() as u64)), 0);
}

/// A length of something in memory; saturates where memory is smaller than the file, and is refused there.
pub(crate) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { sequence: 2, generation: 3, incarnation: 4, file_bytes: 16 * SECTOR };

    fn state() -> GroupState {
        GroupState {
            vote: Vote { term: 7, voted_for: Some(3) },
            committed: 6,
            purged: LogPosition { term: 1, index: 4 },
            last: LogPosition { term: 3, index: 9 },
            terms: vec![LogPosition { term: 1, index: 5 }, LogPosition { term: 3, index: 8 }],
            marked: vec![6],
            peers: [(2, PeerIdentity { incarnation: 1, start: 2, nonce: 3 })].into(),
        }
    }

    #[test]
    fn frames_read_back_and_every_flipped_bit_is_noticed() {
        let mut group = vec![0; GROUP_HEADER];
        let frame = GroupHeader { bytes: 90, records: 2, place: HEADER.place(1_024), synced: 512 };
        frame.write(&mut group);
        let trailer = Trailer { footer_offset: 1_024, footer_bytes: 512, synced: 512 };
        assert_eq!(frame.end(), 1_536);
        assert_eq!(SegmentHeader::decode(&HEADER.encode()), Some(HEADER));
        assert_eq!(GroupHeader::decode(&group, HEADER.place(1_024)), Some(frame));
        assert_eq!(GroupHeader::decode(&group, HEADER.place(512)), None);
        assert_eq!(Trailer::decode(&trailer.encode(&HEADER), &HEADER), Some(trailer));
        let flips = |mut bytes: Vec<u8>, used: usize, intact: &dyn Fn(&[u8]) -> bool| {
            for bit in 0..used * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!intact(&bytes), "bit {bit} may flip");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        };
        flips(HEADER.encode(), 52, &|bytes| SegmentHeader::decode(bytes).is_some());
        flips(group, GROUP_HEADER, &|bytes| GroupHeader::decode(bytes, HEADER.place(1_024)).is_some());
        flips(trailer.encode(&HEADER), 52, &|bytes| Trailer::decode(bytes, &HEADER).is_some());
    }

    #[test]
    fn a_frame_that_verifies_and_ends_or_was_synced_within_a_sector_is_none() {
        let mut group = vec![0; GROUP_HEADER];
        GroupHeader { bytes: 90, records: 2, place: HEADER.place(1_024), synced: 513 }.write(&mut group);
        assert_eq!(GroupHeader::decode(&group, HEADER.place(1_024)), None);
        let trailer = Trailer { footer_offset: 1_024, footer_bytes: 512, synced: 512 };
        for trailer in [
            Trailer { footer_offset: 1_025, ..trailer },
            Trailer { footer_bytes: 600, ..trailer },
            Trailer { synced: 511, ..trailer },
        ] {
            assert_eq!(Trailer::decode(&trailer.encode(&HEADER), &HEADER), None, "{trailer:?}");
        }
    }

    #[test]
    fn a_trailer_that_says_that_more_was_synced_than_there_was_is_none() {
        let trailer = Trailer { footer_offset: 1_024, footer_bytes: 512, synced: 512 };
        let saying = |synced: u64| {
            let mut sector = trailer.encode(&HEADER);
            sector[40..48].copy_from_slice(&synced.to_le_bytes());
            let checksum = crc32c::crc32c(&sector[..48]);
            sector[48..52].copy_from_slice(&checksum.to_le_bytes());
            Trailer::decode(&sector, &HEADER)
        };
        assert_eq!(saying(1_024), Some(Trailer { synced: 1_024, ..trailer }));
        assert_eq!(saying(1_536), None, "the footer itself was not synced before it was written");
    }

    #[test]
    fn a_footer_reads_back_and_stays_within_its_bound() {
        let run = RunPlace { segment: 2, term: 1, first: 5, count: 3, offset: 576, length: 99 };
        let groups = [(GroupId(1), state(), vec![run]), (GroupId(9), GroupState::default(), vec![])];
        let bytes = encode_footer(
            &HEADER,
            2_048,
            1_024,
            groups.iter().map(|(group, state, runs)| (*group, state, runs.clone())),
        );
        let bound = groups.iter().map(|(_, state, _)| footer_group_bytes(state)).sum();
        assert!(bytes.len() as u64 <= footer_bytes(bound, 1), "{} bytes", bytes.len());
        let read = decode_footer(&bytes, &HEADER, 2_048).unwrap();
        assert_eq!(read[0], FooterGroup { group: GroupId(1), state: state(), runs: vec![run] });
        assert_eq!(read.len(), 2);
        assert!(decode_footer(&bytes, &HEADER, 1_024).is_none());
    }

    #[test]
    fn a_footer_that_verifies_and_lists_what_cannot_be_is_none() {
        let run = |first, offset| RunPlace { segment: 2, term: 3, first, count: 2, offset, length: 99 };
        let read = |state: &GroupState, runs: &[RunPlace]| {
            let groups = [(GroupId(1), state, runs.to_vec())];
            decode_footer(&encode_footer(&HEADER, 2_048, 1_024, groups.into_iter()), &HEADER, 2_048)
        };
        assert!(read(&state(), &[run(5, 576), run(7, 700)]).is_some());
        let beyond = narrow(size(HEADER.groups_end() - 98));
        for runs in [
            [run(5, 576), run(7, beyond)],                         // reaches into the trailer
            [run(5, 511), run(7, 700)],                            // begins within the first sector
            [run(5, 576), RunPlace { length: 47, ..run(7, 700) }], // is no record
            [run(0, 576), run(7, 700)],                            // begins before the first index
            [run(5, 576), RunPlace { count: 0, ..run(7, 700) }],   // has no entries
            [run(5, 576), run(u64::MAX, 700)],                     // ends behind the last index
            [run(5, 576), run(6, 700)],                            // overlaps
            [run(5, 576), RunPlace { term: 2, ..run(7, 700) }],    // goes back to an older term
        ] {
            assert_eq!(read(&state(), &runs), None, "{runs:?}");
        }
        let empty = GroupState::default();
        let groups = |ids: [u64; 2]| {
            let groups = ids.map(|id| (GroupId(id), &empty, Vec::new()));
            decode_footer(&encode_footer(&HEADER, 2_048, 1_024, groups.into_iter()), &HEADER, 2_048)
        };
        assert!(groups([1, 2]).is_some());
        assert_eq!((groups([1, 1]), groups([2, 1])), (None, None), "each group is there once, in order");
        let position = |term, index| LogPosition { term, index };
        let unsorted = [position(1, 5), position(3, 9), position(2, 7), position(3, 8)];
        let endless = LogPosition { term: 3, index: u64::MAX };
        for state in [
            GroupState { terms: unsorted.to_vec(), ..state() },
            GroupState { marked: vec![6, 9, 8, 9], ..state() },
            GroupState { last: endless, ..state() },
        ] {
            assert_eq!(read(&state, &[]), None, "{state:?}");
        }
    }

    #[test]
    fn a_record_of_another_kind_is_no_footer_though_its_body_would_read_as_one_of_no_groups() {
        let mut bytes = vec![0; GROUP_HEADER];
        let payloads = [bytes::Bytes::new()];
        let run = record::Record::Entries { term: 1, first: 1, log_time: 0, payloads: &payloads, marked: false };
        record::encode(&mut bytes, GroupId(1), &run);
        let record = &mut bytes[GROUP_HEADER..];
        let length = narrow(record.len());
        record::bind(record, HEADER.place(2_048 + GROUP_HEADER as u64));
        GroupHeader { bytes: length, records: 1, place: HEADER.place(2_048), synced: 512 }.write(&mut bytes);
        pad(&mut bytes);
        assert_eq!(decode_footer(&bytes, &HEADER, 2_048), None);
    }

    #[test]
    fn names_sort_as_their_numbers() {
        let name = |sequence| path(Path::new("there"), sequence).strip_prefix("there").unwrap().display().to_string();
        for sequence in [0, 17, u64::MAX] {
            assert_eq!(name(sequence), format!("{sequence:020}.segment"));
            assert_eq!(parse_file_name(&name(sequence)), Some(sequence));
        }
        assert!(name(9) < name(10));
        assert_eq!(parse_file_name("17.segment"), None);
        assert_eq!(parse_file_name("00000000000000000017.segment.new"), None);
    }

    /// A sector whose words are these, with a checksum that is right.
    fn forged(sector: &[u8], words: &[(usize, u64)]) -> Vec<u8> {
        let mut sector = sector.to_vec();
        for (at, word) in words {
            sector[*at..*at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&sector[..48]);
        sector[48..52].copy_from_slice(&checksum.to_le_bytes());
        sector
    }

    #[test]
    fn a_first_sector_that_verifies_and_says_what_cannot_be_is_none() {
        let first = |at, word| SegmentHeader::decode(&forged(&HEADER.encode(), &[(at, word)]));
        assert_eq!(first(40, 16 * SECTOR), Some(HEADER));
        assert_eq!(first(40, 2 * SECTOR).map(|header| header.file_bytes), Some(2 * SECTOR));
        for file_bytes in [0, SECTOR, 16 * SECTOR + 1, 1 << 32] {
            assert_eq!(first(40, file_bytes), None, "a length of {file_bytes}");
        }
        assert_eq!(first(8, u64::from(FORMAT_VERSION) + 1), None, "another format");
    }

    #[test]
    fn a_trailer_that_verifies_and_speaks_of_what_is_not_between_the_first_sector_and_itself_is_none() {
        let trailer = Trailer { footer_offset: 1_024, footer_bytes: 512, synced: 512 };
        let saying = |words: &[(usize, u64)]| Trailer::decode(&forged(&trailer.encode(&HEADER), words), &HEADER);
        let end = HEADER.groups_end();
        assert_eq!(saying(&[]), Some(trailer));
        assert_eq!(saying(&[(24, 512)]), Some(Trailer { footer_offset: 512, ..trailer }));
        assert_eq!(saying(&[(32, end - 1_024)]), Some(Trailer { footer_bytes: end - 1_024, ..trailer }));
        assert_eq!(saying(&[(24, 0), (40, 0)]), None, "a footer in the place of the first sector");
        assert_eq!(saying(&[(32, end - 512)]), None, "a footer that reaches into the trailer");
        assert_eq!(saying(&[(32, 0)]), None, "a footer of no bytes");
    }

    #[test]
    fn a_group_that_says_that_more_was_synced_than_stands_before_it_is_none() {
        let saying = |synced: u64| {
            let mut group = vec![0; GROUP_HEADER];
            GroupHeader { bytes: 90, records: 2, place: HEADER.place(1_024), synced: 512 }.write(&mut group);
            group[40..48].copy_from_slice(&synced.to_le_bytes());
            let checksum = crc32c::crc32c(&group[..GROUP_HEADER - 4]);
            group[GROUP_HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
            GroupHeader::decode(&group, HEADER.place(1_024)).map(|frame| frame.synced)
        };
        assert_eq!((saying(1_024), saying(1_536)), (Some(1_024), None));
    }

    #[test]
    fn the_bound_of_a_footer_is_its_length_whatever_it_lists() {
        for listed in 0..40 {
            let run = |at| RunPlace { segment: 2, term: 1, first: at, count: 1, offset: 576, length: 99 };
            let peer = |node| (node, PeerIdentity::default());
            let state = GroupState { peers: (0..listed % 7).map(peer).collect(), ..state() };
            let groups = [(GroupId(1), &state, (0..listed).map(run).collect())];
            let footer = encode_footer(&HEADER, 2_048, 1_024, groups.into_iter());
            assert_eq!(footer.len() as u64, footer_bytes(footer_group_bytes(&state), listed), "{listed} runs");
        }
    }

    #[test]
    fn a_footer_that_verifies_and_has_more_or_fewer_bytes_than_it_counts_is_none() {
        let read = |body: &[u8]| {
            let mut bytes = vec![0; GROUP_HEADER];
            record::encode_footer(&mut bytes, body);
            let length = narrow(bytes.len() - GROUP_HEADER);
            record::bind(&mut bytes[GROUP_HEADER..], HEADER.place(2_048 + GROUP_HEADER as u64));
            GroupHeader { bytes: length, records: 1, place: HEADER.place(2_048), synced: 512 }.write(&mut bytes);
            pad(&mut bytes);
            decode_footer(&bytes, &HEADER, 2_048)
        };
        let mut body = vec![1, 0, 0, 0];
        body.put_u64_le(7);
        encode_state(&mut body, &GroupState::default());
        body.put_u32_le(0);
        assert_eq!(read(&body).map(|groups| groups.len()), Some(1));
        assert_eq!(read(&[&body[..], &[0]].concat()), None, "a byte too many");
        let runs = body.len() - 4;
        body[runs..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&body), None, "runs of which there is none");
    }

    #[test]
    fn a_footer_that_verifies_and_holds_a_state_that_contradicts_itself_is_none() {
        let read = |state: &GroupState| {
            let groups = [(GroupId(1), state, Vec::new())];
            decode_footer(&encode_footer(&HEADER, 2_048, 1_024, groups.into_iter()), &HEADER, 2_048)
        };
        let position = |term, index| LogPosition { term, index };
        assert!(read(&state()).is_some());
        for state in [
            GroupState { committed: 3, ..state() },  // purged what is not committed
            GroupState { committed: 10, ..state() }, // committed what is not there
            GroupState { terms: vec![position(1, 6), position(3, 8)], ..state() }, // the first entry has no term
            GroupState { terms: vec![position(1, 5), position(3, 10)], ..state() }, // a term behind the last entry
            GroupState { terms: vec![position(1, 5), position(2, 8)], ..state() }, // another term than the last entry's
            GroupState { terms: Vec::new(), marked: Vec::new(), ..state() }, // entries of no term
            GroupState { marked: vec![4], ..state() }, // marked what is purged
            GroupState { marked: vec![10], ..state() }, // marked what is not there
        ] {
            assert_eq!(read(&state), None, "{state:?}");
        }
    }
}
