//! Records that wait for the next flush, already encoded, behind room for the header of their group.

use std::collections::BTreeSet;
use std::mem;

use crate::record::{self, Record, Summary};
use crate::segment::{self, GROUP_HEADER, GroupHeader, SegmentHeader};
use crate::state::{GroupId, GroupState, LogPosition};

/// Buffers that grew beyond this in one large flush are given back afterwards.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// One record in a batch's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued {
    /// Where its bytes end; they begin where those of the one before end.
    end: usize,
    pub(crate) group: GroupId,
    pub(crate) summary: Summary,
    /// By how many bytes it can make the next footer longer, at most.
    footer_growth: u64,
    /// It went ahead of others because the disk is full.
    is_urgent: bool,
}

impl Queued {
    /// Whether the record may use the space that is kept for when the disk is full: votes, and what frees space.
    fn may_use_reserve(&self) -> bool {
        match self.summary {
            Summary::Vote(_) | Summary::Truncate { .. } | Summary::Purge { .. } | Summary::Peer { .. } => true,
            Summary::Entries { .. } | Summary::Committed { .. } => self.is_urgent,
        }
    }

    fn is_run(&self) -> bool {
        matches!(self.summary, Summary::Entries { .. })
    }
}

/// Encoded records in their order, to become one group.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Room for a group's header, then the records without gaps.
    bytes: Vec<u8>,
    records: Vec<Queued>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![0; GROUP_HEADER], records: Vec::new() }
    }
}

/// How much room a segment has for groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Where the next group begins.
    pub(crate) offset: u64,
    /// Where trailer and groups meet.
    pub(crate) end: u64,
    /// Bytes at the end that are kept for votes and for what frees space.
    pub(crate) reserve: u64,
    /// What the groups' states take in a footer now.
    pub(crate) states_bytes: u64,
    /// How many runs the segment holds.
    pub(crate) runs: u64,
}

impl Batch {
    /// Encodes a record behind the others. `is_new` says that it is the first of its group ever.
    pub(crate) fn push(&mut self, group: GroupId, record: &Record<'_>, summary: Summary, is_new: bool) {
        record::encode(&mut self.bytes, group, record);
        let group_growth = if is_new { new_group_bytes() } else { 0 };
        let footer_growth = group_growth
            + match summary {
                Summary::Entries { count, marked, .. } => 16 + if marked { 8 * u64::from(count) } else { 0 },
                Summary::Peer { .. } => 32,
                _ => 0,
            };
        assert!(self.records.last().is_none_or(|last| last.end < self.bytes.len()), "a record of no bytes");
        self.records.push(Queued { end: self.bytes.len(), group, summary, footer_growth, is_urgent: false });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The records' bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.bytes.len() - GROUP_HEADER
    }

    /// How many of the records fit, from the first on.
    pub(crate) fn fitting(&self, room: Room) -> usize {
        let mut growth = 0;
        let mut runs = room.runs;
        let mut count = 0;
        for queued in &self.records {
            growth += queued.footer_growth;
            runs += u64::from(queued.is_run());
            let reserve = if queued.may_use_reserve() { 0 } else { room.reserve };
            let group_end = room.offset + segment::sectors_up(queued.end as u64);
            let footer = segment::footer_bytes(room.states_bytes + growth, runs);
            if group_end + footer + reserve > room.end {
                break;
            }
            count += 1;
        }
        count
    }

    /// How long a segment must be for the first record, and some for those behind it.
    pub(crate) fn segment_bytes_min(&self, room: Room) -> u64 {
        let Some(first) = self.records.first() else { return 0 };
        let group = segment::sectors_up(first.end as u64);
        let footer = segment::footer_bytes(room.states_bytes + first.footer_growth, 1);
        segment::FIRST_GROUP + group + footer + room.reserve + segment::SECTOR
    }

    /// Takes the first `count` records; the buffer of `spare` is used again for what is left.
    pub(crate) fn take(&mut self, count: usize, spare: Batch) -> Batch {
        assert!(count <= self.records.len(), "{count} of {} records", self.records.len());
        let mut rest = spare;
        rest.clear();
        if count < self.records.len() {
            let cut = self.records.get(..count).and_then(<[_]>::last).map_or(GROUP_HEADER, |last| last.end);
            rest.bytes.extend_from_slice(&self.bytes[cut..]);
            rest.records.extend(
                self.records.drain(count..).map(|queued| Queued { end: queued.end - cut + GROUP_HEADER, ..queued }),
            );
            self.bytes.truncate(cut);
        }
        mem::swap(self, &mut rest);
        assert_eq!(rest.records.len(), count, "taken");
        assert_eq!(rest.records.last().map_or(GROUP_HEADER, |last| last.end), rest.bytes.len(), "taken bytes");
        assert_eq!(self.records.last().map_or(GROUP_HEADER, |last| last.end), self.bytes.len(), "bytes that are left");
        rest
    }

    /// Takes from between the others what may go ahead of them when the disk is full: votes, and what frees space.
    ///
    /// `flushed` answers the last flushed index of a group. A purge up to there does not depend on the queued entries,
    /// unless a truncation is queued; commits up to there go with it, so that none of them comes after the purge.
    pub(crate) fn take_urgent(&mut self, flushed: impl Fn(GroupId) -> u64) -> Batch {
        let is_purge = |queued: &&Queued| matches!(queued.summary, Summary::Purge { .. });
        let is_truncation = |queued: &&Queued| matches!(queued.summary, Summary::Truncate { .. });
        let mut freeing: BTreeSet<GroupId> = self.records.iter().filter(is_purge).map(|queued| queued.group).collect();
        for queued in self.records.iter().filter(is_truncation) {
            freeing.remove(&queued.group);
        }
        self.split_off(|queued| match queued.summary {
            Summary::Vote(_) => true,
            Summary::Purge { through: LogPosition { index, .. } } | Summary::Committed { index } => {
                freeing.contains(&queued.group) && index <= flushed(queued.group)
            }
            _ => false,
        })
    }

    fn split_off(&mut self, is_urgent: impl Fn(&Queued) -> bool) -> Batch {
        let whole = mem::take(self);
        let mut urgent = Batch::default();
        let mut start = GROUP_HEADER;
        for queued in whole.records {
            let goes_ahead = is_urgent(&queued);
            let target = if goes_ahead { &mut urgent } else { &mut *self };
            target.bytes.extend_from_slice(&whole.bytes[start..queued.end]);
            // What goes ahead may make a group known before the record that was counted for it.
            let footer_growth = if goes_ahead { new_group_bytes() } else { queued.footer_growth };
            let end = target.bytes.len();
            let is_urgent = goes_ahead || queued.is_urgent;
            target.records.push(Queued { end, footer_growth, is_urgent, ..queued });
            start = queued.end;
        }
        let bytes = urgent.queued_bytes() + self.queued_bytes();
        assert_eq!(bytes, whole.bytes.len() - GROUP_HEADER, "no byte is lost between the urgent and the others");
        urgent
    }

    /// Puts these records back before the others.
    pub(crate) fn put_back(&mut self, mut first: Batch) {
        let shift = first.bytes.len() - GROUP_HEADER;
        first.bytes.extend_from_slice(&self.bytes[GROUP_HEADER..]);
        first.records.extend(self.records.iter().map(|queued| Queued { end: queued.end + shift, ..*queued }));
        *self = first;
    }

    /// Completes the bytes of the group for the place where it will be written, in whole sectors.
    pub(crate) fn seal(&mut self, header: &SegmentHeader, offset: u64, synced: u64) -> &[u8] {
        let mut start = GROUP_HEADER;
        for queued in &self.records {
            record::bind(&mut self.bytes[start..queued.end], header.place(offset + start as u64));
            start = queued.end;
        }
        assert_eq!(start, self.bytes.len(), "the last record ends with the buffer");
        let bytes = record::narrow(self.queued_bytes());
        let records = record::narrow(self.records.len());
        GroupHeader { bytes, records, place: header.place(offset), synced }.write(&mut self.bytes);
        segment::pad(&mut self.bytes);
        assert!((self.bytes.len() as u64).is_multiple_of(segment::SECTOR), "a group ends with a sector");
        &self.bytes
    }

    /// The records, each with where its bytes begin and how many they are, from the group's first byte.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Queued, usize, usize)> + '_ {
        self.records.iter().scan(GROUP_HEADER, |start, queued| {
            let found = (*queued, *start, queued.end - *start);
            *start = queued.end;
            Some(found)
        })
    }

    fn clear(&mut self) {
        self.bytes.truncate(GROUP_HEADER);
        self.bytes.shrink_to(SPARE_BYTES_MAX);
        self.records.clear();
        assert_eq!(self.bytes.len(), GROUP_HEADER, "an empty batch keeps room for a header");
    }
}

/// What a group takes in a footer that none has listed before.
fn new_group_bytes() -> u64 {
    segment::footer_group_bytes(&GroupState::default())
}
