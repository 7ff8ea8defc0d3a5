//! Where the frames of a segment stand, for tests that damage one or look at it: else they would have to know its bytes.

use std::ops::Range;

use crate::segment::{FIRST_GROUP, GROUP_HEADER, GroupHeader, SECTOR, SegmentHeader, Trailer, size};

/// The frames of a segment that are intact and stand where they were written; offsets in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// The groups in their order, a footer's included: each from its header to the end of its records, of which a mark has
    /// none.
    pub groups: Vec<Range<u64>>,
    /// Whether the last group is a mark: it proves that what stands before it was synced.
    pub is_marked: bool,
    /// Of a sealed segment, its trailer, and the footer that this speaks of, which need not be intact.
    pub seal: Option<Seal>,
}

/// Where the end of a sealed segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Where the trailer begins.
    pub trailer: u64,
    /// Where the footer begins.
    pub footer: u64,
}

impl Frames {
    /// The unit in which a disk writes or does not write, in bytes; every frame begins on one.
    #[allow(clippy::cast_possible_truncation, reason = "512 fits")]
    pub const SECTOR: usize = SECTOR as usize;
    /// The bytes that every frame has at least, its checksum included.
    pub const BYTES_MIN: u64 = 52;

    /// Finds the frames in the bytes of a whole segment; `None` if its header is not intact.
    pub fn find(segment: &[u8]) -> Option<Self> {
        let header = SegmentHeader::decode(segment)?;
        let group = |offset: u64| {
            let GroupHeader { bytes, .. } = GroupHeader::decode(segment.get(size(offset)..)?, header.place(offset))?;
            Some(offset..offset + GROUP_HEADER as u64 + u64::from(bytes))
        };
        let trailer = (segment.len() as u64).checked_sub(SECTOR)?;
        let sealed = Trailer::decode(&segment[size(trailer)..], &header);
        let groups: Vec<_> = (FIRST_GROUP..trailer).step_by(Self::SECTOR).filter_map(group).collect();
        Some(Self {
            is_marked: groups.last().is_some_and(|last| last.end - last.start == GROUP_HEADER as u64),
            groups,
            seal: sealed.map(|sealed| Seal { trailer, footer: sealed.footer_offset }),
        })
    }
}
