//! One record: what a caller appends, its bytes, and its checksum.
//!
//! ```text
//!  0        4          8     9      10     12      16      24     32      40       48
//!  +--------+----------+-----+------+------+-------+-------+------+-------+--------+----------------+----------+
//!  | length | checksum | kind| flags| zero | count | group | term | index | extra  | count lengths  | payloads |
//!  +--------+----------+-----+------+------+-------+-------+------+-------+--------+----------------+----------+
//!             crc32c over everything behind it, then over the binding:
//!             length, and segment, generation and offset of the place that the record was written for
//! ```
//!
//! The checksum is made in two steps. [`encode`] runs over the bytes once, when the record is appended and its bytes are
//! in the cache; [`bind`] adds the place, which is known only when the group is written. A record that is found anywhere
//! else, or is left over from an earlier life of its segment, does not verify (TRAPS: recycled segments).

use bytes::{Buf, BufMut, Bytes};

use crate::state::{GroupId, LogPosition, PeerIdentity, Vote};

/// Bytes of a record before its payload lengths.
pub(crate) const RECORD_HEADER: usize = 48;
/// Where the checksummed part of a record begins.
const CHECKED_FROM: usize = 8;

const KIND_VOTE: u8 = 1;
const KIND_ENTRIES: u8 = 2;
const KIND_TRUNCATE: u8 = 3;
const KIND_PURGE: u8 = 4;
const KIND_COMMITTED: u8 = 5;
const KIND_PEER: u8 = 6;
/// The footer of a sealed segment: no group's record, but framed and checked as one.
const KIND_FOOTER: u8 = 7;

/// On a vote: it was given to somebody. On entries: the run is marked.
const FLAG_SET: u8 = 1;

/// One change of one group, as it is appended. All records of a log form one total order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// The current term and the vote in it; neither goes back.
    Vote {
        /// The current term.
        term: u64,
        /// Whom the node voted for in it, if anybody yet.
        voted_for: Option<u64>,
    },
    /// One run of entries of one term that follows the last entry.
    Entries {
        /// The term of all of them; not below that of the last entry.
        term: u64,
        /// The index of the first of them: that of the last entry and one.
        first: u64,
        /// Milliseconds, stamped by the leader; opaque to the log.
        log_time: u64,
        /// One opaque payload for each entry; at least one, each of at most `entry_bytes_max` bytes.
        payloads: &'a [Bytes],
        /// An entry of the run must be found again at a start without reading every body (a membership, say): all of
        /// its indexes are listed in [`GroupState::marked`](crate::GroupState::marked).
        marked: bool,
    },
    /// Drops all entries with a higher index. None of them may be committed.
    Truncate {
        /// The last index that stays.
        after: u64,
    },
    /// Drops the prefix up to and with this position, which a snapshot covers; it may lie beyond the last entry.
    Purge {
        /// The last position that goes.
        through: LogPosition,
    },
    /// All entries up to this index are committed.
    Committed {
        /// An index that is in the log.
        index: u64,
    },
    /// The highest identity that was met under a peer's id.
    Peer {
        /// The peer's node id.
        node: u64,
        /// What it called itself.
        identity: PeerIdentity,
    },
}

/// A record without its payloads: all that state and index need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summary {
    Vote(Vote),
    Entries { term: u64, first: u64, count: u32, marked: bool },
    Truncate { after: u64 },
    Purge { through: LogPosition },
    Committed { index: u64 },
    Peer { node: u64, identity: PeerIdentity },
}

impl Record<'_> {
    /// The record without its payloads.
    pub(crate) fn summary(&self) -> Summary {
        match *self {
            Self::Vote { term, voted_for } => Summary::Vote(Vote { term, voted_for }),
            Self::Entries { term, first, payloads, marked, .. } => {
                Summary::Entries { term, first, count: narrow(payloads.len()), marked }
            }
            Self::Truncate { after } => Summary::Truncate { after },
            Self::Purge { through } => Summary::Purge { through },
            Self::Committed { index } => Summary::Committed { index },
            Self::Peer { node, identity } => Summary::Peer { node, identity },
        }
    }
}

/// Where a record is written: what its checksum binds it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment's sequence number.
    pub(crate) segment: u64,
    /// The segment file's generation.
    pub(crate) generation: u64,
    /// The record's first byte in the file.
    pub(crate) offset: u64,
}

/// The fixed words of a record's header; what `term`, `index` and `extra` mean depends on the kind.
#[derive(Debug, Clone, Copy)]
struct Words {
    kind: u8,
    flag: bool,
    count: u32,
    group: u64,
    term: u64,
    index: u64,
    extra: u64,
}

/// Appends a record's bytes to `out`. Its checksum lacks the place until [`bind`] adds it.
pub(crate) fn encode(out: &mut Vec<u8>, group: GroupId, record: &Record<'_>) {
    let words = |kind, term, index| Words { kind, flag: false, count: 0, group: group.0, term, index, extra: 0 };
    let start = out.len();
    match *record {
        Record::Vote { term, voted_for } => {
            let flag = voted_for.is_some();
            put_words(out, Words { flag, ..words(KIND_VOTE, term, voted_for.unwrap_or_default()) });
        }
        Record::Entries { term, first, log_time, payloads, marked } => {
            let count = narrow(payloads.len());
            put_words(out, Words { flag: marked, count, extra: log_time, ..words(KIND_ENTRIES, term, first) });
            for payload in payloads {
                out.put_u32_le(narrow(payload.len()));
            }
            for payload in payloads {
                out.put_slice(payload);
            }
        }
        Record::Truncate { after } => put_words(out, words(KIND_TRUNCATE, 0, after)),
        Record::Purge { through } => put_words(out, words(KIND_PURGE, through.term, through.index)),
        Record::Committed { index } => put_words(out, words(KIND_COMMITTED, 0, index)),
        Record::Peer { node, identity } => {
            put_words(out, Words { extra: identity.start, ..words(KIND_PEER, identity.incarnation, node) });
            out.put_u64_le(identity.nonce);
        }
    }
    seal(out, start);
}

/// Appends the footer's bytes, framed as a record.
pub(crate) fn encode_footer(out: &mut Vec<u8>, body: &[u8]) {
    let start = out.len();
    put_words(out, Words { kind: KIND_FOOTER, flag: false, count: 0, group: 0, term: 0, index: 0, extra: 0 });
    out.put_slice(body);
    seal(out, start);
}

/// How many bytes [`encode`] makes of a run of payloads.
#[cfg(test)]
fn entries_bytes(payloads: &[Bytes]) -> usize {
    payloads.iter().fold(RECORD_HEADER, |bytes, payload| bytes + 4 + payload.len())
}

fn put_words(out: &mut Vec<u8>, words: Words) {
    let mut header = [0; RECORD_HEADER];
    let mut rest = &mut header[..];
    rest.put_u64_le(0); // length and checksum follow when the body is there
    rest.put_u8(words.kind);
    rest.put_u8(if words.flag { FLAG_SET } else { 0 });
    rest.put_u16_le(0);
    rest.put_u32_le(words.count);
    rest.put_u64_le(words.group);
    rest.put_u64_le(words.term);
    rest.put_u64_le(words.index);
    rest.put_u64_le(words.extra);
    assert!(rest.is_empty(), "{} bytes of a record's header were not written", rest.len());
    out.put_slice(&header);
}

/// Writes the length, and the checksum of the bytes as far as it does not depend on the place.
fn seal(out: &mut [u8], start: usize) {
    let record = &mut out[start..];
    let length = narrow(record.len());
    let checksum = crc32c::crc32c(&record[CHECKED_FROM..]);
    record[..4].copy_from_slice(&length.to_le_bytes());
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Completes the checksum of a record that [`encode`] made with the place where it will be written.
pub(crate) fn bind(record: &mut [u8], place: Place) {
    assert!(record.len() >= RECORD_HEADER, "a record has at least {RECORD_HEADER} bytes, not {}", record.len());
    let checksum = (&record[4..8]).get_u32_le();
    let bound = bound_checksum(checksum, narrow(record.len()), place);
    record[4..8].copy_from_slice(&bound.to_le_bytes());
}

fn bound_checksum(checksum: u32, length: u32, place: Place) -> u32 {
    let mut binding = [0; 28];
    let mut rest = &mut binding[..];
    rest.put_u32_le(length);
    rest.put_u64_le(place.segment);
    rest.put_u64_le(place.generation);
    rest.put_u64_le(place.offset);
    crc32c::crc32c_append(checksum, &binding)
}

/// A record whose checksum has been verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verified<'a> {
    words: Words,
    /// The whole record's length in bytes, at least [`RECORD_HEADER`].
    pub(crate) length: usize,
    /// What follows the fixed words.
    pub(crate) body: &'a [u8],
}

/// What is wrong with a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The length is impossible where it stands.
    Length,
    /// The checksum does not match: other bytes, another place, or another generation.
    Checksum,
    /// Verified, and still not a record that this version knows how to read.
    Content,
}

impl Fault {
    /// The fault in words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Length => "a record's length does not fit in its group",
            Self::Checksum => "a record's checksum does not match",
            Self::Content => "a record's checksum matches, but its content is not of this format",
        }
    }
}

/// Verifies the record at the beginning of `bytes`, which was read from `place`.
pub(crate) fn verify(bytes: &[u8], place: Place) -> Result<Verified<'_>, Fault> {
    let (length, checksum, words) = read_words(bytes).ok_or(Fault::Length)?;
    let end = usize::try_from(length).map_err(|_| Fault::Length)?;
    if end < RECORD_HEADER {
        return Err(Fault::Length);
    }
    let checked = bytes.get(CHECKED_FROM..end).ok_or(Fault::Length)?;
    mutate!(log_checksum_ignored, checksum = bound_checksum(crc32c::crc32c(checked), length, place));
    if bound_checksum(crc32c::crc32c(checked), length, place) != checksum {
        return Err(Fault::Checksum);
    }
    let body = bytes.get(RECORD_HEADER..end).ok_or(Fault::Length)?;
    Ok(Verified { words, length: end, body })
}

/// The group and the first index that unverified bytes claim to be entries of: a hint for an error message, no more.
pub(crate) fn claimed_entries(bytes: &[u8]) -> Option<(GroupId, u64)> {
    let (_, _, words) = read_words(bytes)?;
    (words.kind == KIND_ENTRIES).then_some((GroupId(words.group), words.index))
}

fn read_words(bytes: &[u8]) -> Option<(u32, u32, Words)> {
    let mut header = &bytes.first_chunk::<RECORD_HEADER>()?[..];
    let (length, checksum) = (header.get_u32_le(), header.get_u32_le());
    let (kind, flag) = (header.get_u8(), header.get_u8() & FLAG_SET != 0);
    header.advance(2);
    let (count, group) = (header.get_u32_le(), header.get_u64_le());
    let (term, index, extra) = (header.get_u64_le(), header.get_u64_le(), header.get_u64_le());
    Some((length, checksum, Words { kind, flag, count, group, term, index, extra }))
}

impl<'a> Verified<'a> {
    /// Whether this is a segment's footer, and no record of a group.
    pub(crate) fn is_footer(&self) -> bool {
        self.words.kind == KIND_FOOTER
    }

    /// The group that the record belongs to.
    pub(crate) fn group(&self) -> GroupId {
        GroupId(self.words.group)
    }

    /// The leader's time of a run of entries.
    pub(crate) fn log_time(&self) -> u64 {
        self.words.extra
    }

    /// The record without its payloads. The payloads' lengths have been checked against the record's.
    pub(crate) fn summary(&self) -> Result<Summary, Fault> {
        let Words { kind, flag, count, term, index, extra, .. } = self.words;
        let bodyless = |summary| if self.body.is_empty() { Ok(summary) } else { Err(Fault::Content) };
        match kind {
            KIND_VOTE => bodyless(Summary::Vote(Vote { term, voted_for: flag.then_some(index) })),
            KIND_ENTRIES => {
                let _checked = self.payload_lengths()?;
                Ok(Summary::Entries { term, first: index, count, marked: flag })
            }
            KIND_TRUNCATE => bodyless(Summary::Truncate { after: index }),
            KIND_PURGE => bodyless(Summary::Purge { through: LogPosition { term, index } }),
            KIND_COMMITTED => bodyless(Summary::Committed { index }),
            KIND_PEER => {
                let nonce = self.body.try_into().map(u64::from_le_bytes).map_err(|_| Fault::Content)?;
                let identity = PeerIdentity { incarnation: term, start: extra, nonce };
                Ok(Summary::Peer { node: index, identity })
            }
            _ => Err(Fault::Content),
        }
    }

    /// Term, first index and length of a run of entries, if it is one; its payloads are looked at by [`Self::payloads`].
    pub(crate) fn run(&self) -> Option<(u64, u64, u32)> {
        let Words { kind, count, term, index, .. } = self.words;
        (kind == KIND_ENTRIES).then_some((term, index, count))
    }

    /// The lengths of the payloads of a run, once they are known to fill the record exactly.
    fn payload_lengths(&self) -> Result<impl Iterator<Item = usize> + 'a, Fault> {
        let table = usize::try_from(self.words.count).ok().and_then(|count| count.checked_mul(4));
        let (table, payloads) = table.and_then(|bytes| self.body.split_at_checked(bytes)).ok_or(Fault::Content)?;
        let lengths = table.chunks_exact(4).map(|mut length| length.get_u32_le() as usize);
        let mut left = payloads.len();
        for length in lengths.clone() {
            left = left.checked_sub(length).ok_or(Fault::Content)?;
        }
        if left == 0 { Ok(lengths) } else { Err(Fault::Content) }
    }

    /// Cuts the payloads out of `buffer`, in which this record was verified; nothing is copied.
    ///
    /// # Panics
    /// If it was verified elsewhere.
    pub(crate) fn payloads(&self, buffer: &Bytes) -> Result<Vec<Bytes>, Fault> {
        let lengths = self.payload_lengths()?;
        let body = buffer.slice_ref(self.body);
        let mut at = 4 * self.words.count as usize;
        Ok(lengths
            .map(|length| {
                let payload = body.slice(at..at + length);
                at += length;
                payload
            })
            .collect())
    }
}

/// A length that a caller's limit or a segment's size bounds below 4 GiB.
pub(crate) fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("lengths are bounded by a segment's size, below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 3, generation: 7, offset: 512 };

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, GroupId(5), record);
        bind(&mut bytes, PLACE);
        bytes
    }

    fn every_kind(payloads: &[Bytes]) -> [Record<'_>; 7] {
        [
            Record::Vote { term: 4, voted_for: Some(2) },
            Record::Vote { term: 4, voted_for: None },
            Record::Entries { term: 4, first: 9, log_time: 1_234, payloads, marked: true },
            Record::Truncate { after: 8 },
            Record::Purge { through: LogPosition { term: 3, index: 7 } },
            Record::Committed { index: 8 },
            Record::Peer { node: 2, identity: PeerIdentity { incarnation: 11, start: 12, nonce: 13 } },
        ]
    }

    #[test]
    fn every_kind_reads_back_as_it_was_written() {
        let payloads = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        for record in every_kind(&payloads) {
            let bytes = Bytes::from(encoded(&record));
            let verified = verify(&bytes, PLACE).unwrap();
            assert_eq!(verified.summary().unwrap(), record.summary());
            assert_eq!((verified.group(), verified.length), (GroupId(5), bytes.len()));
            if let Record::Entries { log_time, .. } = record {
                assert_eq!(bytes.len(), entries_bytes(&payloads));
                assert_eq!(verified.log_time(), log_time);
                assert_eq!(verified.payloads(&bytes).unwrap(), payloads);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let payloads = [Bytes::from_static(b"payload")];
        for record in every_kind(&payloads) {
            let bytes = encoded(&record);
            for bit in 0..bytes.len() * 8 {
                let mut rotten = bytes.clone();
                rotten[bit / 8] ^= 1 << (bit % 8);
                assert!(verify(&rotten, PLACE).is_err(), "bit {bit} of {record:?} may flip");
            }
        }
    }

    #[test]
    fn a_record_verifies_only_where_it_was_written() {
        let bytes = encoded(&Record::Committed { index: 1 });
        let elsewhere =
            [Place { segment: 4, ..PLACE }, Place { generation: 8, ..PLACE }, Place { offset: 1_024, ..PLACE }];
        for place in elsewhere {
            assert_eq!(verify(&bytes, place).unwrap_err(), Fault::Checksum, "{place:?}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_allocated() {
        let mut bytes = encoded(&Record::Truncate { after: 1 });
        for length in [0, 47, 49, u32::MAX] {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(verify(&bytes, PLACE).unwrap_err(), Fault::Length, "{length}");
        }
        // A count that promises more lengths than there are bytes, under a checksum that is right.
        let mut bytes = Vec::new();
        encode(
            &mut bytes,
            GroupId(5),
            &Record::Entries { term: 1, first: 1, log_time: 0, payloads: &[Bytes::from_static(b"x")], marked: false },
        );
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        seal(&mut bytes, 0);
        bind(&mut bytes, PLACE);
        assert_eq!(verify(&bytes, PLACE).unwrap().summary(), Err(Fault::Content));
    }

    #[test]
    fn a_record_that_verifies_and_has_a_byte_more_than_its_kind_is_none() {
        let payloads = [Bytes::from_static(b"one"), Bytes::new()];
        for record in every_kind(&payloads) {
            let mut bytes = Vec::new();
            encode(&mut bytes, GroupId(5), &record);
            bytes.push(0);
            seal(&mut bytes, 0);
            bind(&mut bytes, PLACE);
            assert_eq!(verify(&bytes, PLACE).unwrap().summary(), Err(Fault::Content), "{record:?}");
        }
    }
}
