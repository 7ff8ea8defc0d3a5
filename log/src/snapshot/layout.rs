//! The bytes of a snapshot's file, as the picture in `snapshot.rs` has them: where each part stands, and what verifies it.

use std::borrow::Cow;
use std::path::Path;

use bytes::{Buf, BufMut};

use super::{SNAPSHOT_HEAD_BYTES_MAX, Snapshot, SnapshotError, SnapshotId};
use crate::error::Corruption;
use crate::state::LogPosition;

/// What the name of a complete one begins with.
const PREFIX: &str = "snapshot-";
/// How many digits each number in it has: as many as the highest has.
const DIGITS: usize = 20;

const FORMAT_VERSION: u32 = 1;
const MAGIC: u64 = u64::from_le_bytes(*b"OUTRSNAP");
const END_MAGIC: u64 = u64::from_le_bytes(*b"OUTRSNEN");
pub(super) const CHECKSUM_BYTES: usize = 4;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const END_BYTES: usize = 40;
/// How many bytes of the body a block has, but for the last.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// A block and its checksum.
pub(super) const STORED_BLOCK_BYTES: usize = BLOCK_BYTES + CHECKSUM_BYTES;
/// With this no offset in a file overflows, and no disk has it.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 56;

/// The name of the complete snapshot at this position.
pub(super) fn file_name(position: LogPosition) -> String {
    format!("{PREFIX}{:0DIGITS$}-{:0DIGITS$}", position.index, position.term)
}

/// The position that a file's name stands for; `None` for all names that we do not give.
pub(super) fn parse_file_name(name: &str) -> Option<LogPosition> {
    let (index, term) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let position = LogPosition { term: term.parse().ok()?, index: index.parse().ok()? };
    (file_name(position) == name).then_some(position)
}

/// Everything that the first bytes of a file say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster: u64,
    /// Its bytes are at most [`BODY_BYTES_MAX`].
    pub(super) id: SnapshotId,
    /// At most [`SNAPSHOT_HEAD_BYTES_MAX`].
    pub(super) head_bytes: u32,
    pub(super) head_checksum: u32,
}

impl Header {
    pub(super) fn new(cluster: u64, snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let head_bytes = checked_head(&snapshot.head)?;
        let bytes = snapshot.id.bytes;
        if bytes > BODY_BYTES_MAX {
            return Err(SnapshotError::TooLarge { what: "body", bytes, bytes_max: BODY_BYTES_MAX });
        }
        Ok(Self { cluster, id: snapshot.id, head_bytes, head_checksum: crc32c::crc32c(&snapshot.head) })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_u64_le(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.cluster);
        put_id(&mut out, self.id);
        out.put_u32_le(self.head_bytes);
        out.put_u32_le(self.head_checksum);
        out.put_u32_le(crc32c::crc32c(&out));
        assert_eq!(out.len(), HEADER_BYTES, "the length of a header");
        out
    }

    /// Reads the header of a file of this cluster. Nothing in it is believed before its checksum is right, but for the
    /// version: a later one may have another length.
    pub(super) fn decode(bytes: &[u8], cluster: u64, path: &Path) -> Result<Self, SnapshotError> {
        let corrupt = |what: &'static str| corruption(path, 0, None, what);
        let is_cut_short = || {
            corruption(
                path,
                0,
                None,
                format!("the header is cut short: it has {HEADER_BYTES} bytes, and {} are there", bytes.len()),
            )
        };
        let cut_short = |_| is_cut_short();
        let mut fields = bytes;
        if fields.try_get_u64_le().map_err(cut_short)? != MAGIC {
            return Err(corrupt("this is no snapshot").into());
        }
        let found = fields.try_get_u32_le().map_err(cut_short)?;
        if found > FORMAT_VERSION {
            return Err(SnapshotError::NewerFormat { path: path.to_owned(), found, supported: FORMAT_VERSION });
        }
        let (checked, mut checksum) = bytes
            .get(..HEADER_BYTES)
            .and_then(|header| header.split_at_checked(HEADER_BYTES - CHECKSUM_BYTES))
            .ok_or_else(is_cut_short)?;
        if checksum.try_get_u32_le() != Ok(crc32c::crc32c(checked)) {
            return Err(corrupt("the header's checksum does not match").into());
        }
        let mut fields = checked.get(16..).unwrap_or_default();
        let found = fields.try_get_u64_le().map_err(cut_short)?;
        if found != cluster {
            return Err(SnapshotError::OtherCluster { path: path.to_owned(), found, expected: cluster });
        }
        let id = take_id(&mut fields).ok_or_else(is_cut_short)?;
        let head_bytes = fields.try_get_u32_le().map_err(cut_short)?;
        let head_checksum = fields.try_get_u32_le().map_err(cut_short)?;
        if head_bytes as usize > SNAPSHOT_HEAD_BYTES_MAX || id.bytes > BODY_BYTES_MAX {
            let what = format!(
                "the header states lengths that cannot be: a head of {head_bytes} bytes (the most is {SNAPSHOT_HEAD_BYTES_MAX}), and a \
                 body of {} (the most is {BODY_BYTES_MAX})",
                id.bytes
            );
            return Err(corruption(path, 0, None, what).into());
        }
        Ok(Self { cluster, id, head_bytes, head_checksum })
    }

    /// The blocks, of which there is none if the body is empty.
    pub(super) fn blocks(&self) -> Blocks {
        Blocks { position: self.id.position, start: HEADER_BYTES as u64 + u64::from(self.head_bytes) }
    }

    pub(super) fn block_count(&self) -> u64 {
        self.id.bytes.div_ceil(BLOCK_BYTES as u64)
    }

    /// How many bytes of the body the block has, without its checksum.
    pub(super) fn block_bytes(&self, block: u64) -> usize {
        assert!(block < self.block_count(), "block {block} of {}", self.block_count());
        let left = self.id.bytes - block * BLOCK_BYTES as u64;
        usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
    }

    /// Where the end stands.
    pub(super) fn end_offset(&self) -> u64 {
        self.blocks().start + self.id.bytes + self.block_count() * CHECKSUM_BYTES as u64
    }

    /// How long the complete file is.
    pub(super) fn file_bytes(&self) -> u64 {
        self.end_offset() + END_BYTES as u64
    }

    /// What makes the file complete.
    pub(super) fn encode_end(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(END_BYTES);
        out.put_u64_le(END_MAGIC);
        put_id(&mut out, self.id);
        out.put_u32_le(crc32c::crc32c(&out));
        assert_eq!(out.len(), END_BYTES, "the length of an end");
        out
    }
}

/// Where blocks stand, and what they are bound to; known before the body's length is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    position: LogPosition,
    /// Where the first one stands.
    start: u64,
}

impl Blocks {
    /// The blocks behind a head.
    pub(super) fn behind(position: LogPosition, head_bytes: u32) -> Self {
        Self { position, start: HEADER_BYTES as u64 + u64::from(head_bytes) }
    }

    /// Where the block stands.
    pub(super) fn offset(&self, block: u64) -> u64 {
        self.start + block * STORED_BLOCK_BYTES as u64
    }

    /// Adds the checksum behind a block's bytes.
    pub(super) fn seal(&self, block: u64, bytes: &mut Vec<u8>) {
        assert!(!bytes.is_empty() && bytes.len() <= BLOCK_BYTES, "a block of {} bytes", bytes.len());
        let checksum = self.checksum(block, bytes);
        bytes.put_u32_le(checksum);
    }

    /// Takes the checksum off a stored block; `None` if it does not verify.
    pub(super) fn open(&self, block: u64, mut stored: Vec<u8>) -> Option<Vec<u8>> {
        let (bytes, mut checksum) = stored.split_at_checked(stored.len().checked_sub(CHECKSUM_BYTES)?)?;
        if checksum.try_get_u32_le() != Ok(self.checksum(block, bytes)) {
            return None;
        }
        stored.truncate(stored.len() - CHECKSUM_BYTES);
        Some(stored)
    }

    /// The bytes come first, as in the log's records, so that only the binding is summed beside them.
    fn checksum(&self, block: u64, bytes: &[u8]) -> u32 {
        let mut binding = Vec::with_capacity(28);
        binding.put_u64_le(self.position.term);
        binding.put_u64_le(self.position.index);
        binding.put_u64_le(block);
        binding.put_u32_le(u32::try_from(bytes.len()).expect("a block is short"));
        crc32c::crc32c_append(crc32c::crc32c(bytes), &binding)
    }
}

/// The head's length, once it is known to be within the limit.
pub(super) fn checked_head(head: &[u8]) -> Result<u32, SnapshotError> {
    match u32::try_from(head.len()) {
        Ok(bytes) if head.len() <= SNAPSHOT_HEAD_BYTES_MAX => Ok(bytes),
        _ => Err(SnapshotError::TooLarge {
            what: "head",
            bytes: head.len() as u64,
            bytes_max: SNAPSHOT_HEAD_BYTES_MAX as u64,
        }),
    }
}

/// What is wrong with a file, and where.
pub(super) fn corruption(
    path: &Path,
    offset: u64,
    position: Option<LogPosition>,
    what: impl Into<Cow<'static, str>>,
) -> Corruption {
    Corruption { index: position.map(|position| position.index), ..Corruption::at(path, offset, what) }
}

fn put_id(out: &mut Vec<u8>, id: SnapshotId) {
    out.put_u64_le(id.position.term);
    out.put_u64_le(id.position.index);
    out.put_u64_le(id.bytes);
    out.put_u32_le(id.checksum);
}

fn take_id(fields: &mut &[u8]) -> Option<SnapshotId> {
    let (term, index) = (fields.try_get_u64_le().ok()?, fields.try_get_u64_le().ok()?);
    let position = LogPosition { term, index };
    Some(SnapshotId { position, bytes: fields.try_get_u64_le().ok()?, checksum: fields.try_get_u32_le().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: LogPosition = LogPosition { term: 3, index: 70 };
    const HEADER: Header = Header {
        cluster: 7,
        id: SnapshotId { position: POSITION, bytes: 3 * BLOCK_BYTES as u64 + 1, checksum: 9 },
        head_bytes: 5,
        head_checksum: 11,
    };

    fn decode(bytes: &[u8]) -> Result<Header, SnapshotError> {
        Header::decode(bytes, 7, Path::new("snapshot"))
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = HEADER.encode();
        assert_eq!(decode(&bytes).unwrap(), HEADER);
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&rotten).is_err(), "bit {bit} may flip");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes are enough");
        }
    }

    #[test]
    fn hostile_lengths_under_a_right_checksum_are_refused() {
        let huge = [
            Header { head_bytes: 1 + (1 << 20), ..HEADER },
            Header { head_bytes: u32::MAX, ..HEADER },
            Header { id: SnapshotId { bytes: BODY_BYTES_MAX + 1, ..HEADER.id }, ..HEADER },
            Header { id: SnapshotId { bytes: u64::MAX, ..HEADER.id }, ..HEADER },
        ];
        for header in huge {
            let error = decode(&header.encode()).unwrap_err();
            assert!(matches!(error, SnapshotError::Corrupt(_)), "{header:?}");
            let said = error.to_string();
            let numbers = [format!("head of {} bytes", header.head_bytes), format!("body of {} (", header.id.bytes)];
            assert!(numbers.iter().all(|number| said.contains(number)), "{said}");
        }
        let most = Header { id: SnapshotId { bytes: BODY_BYTES_MAX, ..HEADER.id }, ..HEADER };
        assert!(decode(&most.encode()).unwrap().file_bytes() > BODY_BYTES_MAX);
    }

    #[test]
    fn the_parts_of_a_file_follow_each_other_without_gaps() {
        let blocks = HEADER.blocks();
        assert_eq!((blocks.offset(0), HEADER.block_count()), (69, 4));
        for block in 0..3 {
            assert_eq!(HEADER.block_bytes(block), BLOCK_BYTES);
            assert_eq!(blocks.offset(block + 1), blocks.offset(block) + BLOCK_BYTES as u64 + 4);
        }
        assert_eq!(HEADER.block_bytes(3), 1);
        assert_eq!(HEADER.end_offset(), blocks.offset(3) + 1 + 4);
        let empty = Header { id: SnapshotId { bytes: 0, ..HEADER.id }, ..HEADER };
        assert_eq!((empty.block_count(), empty.end_offset()), (0, blocks.offset(0)));
    }

    #[test]
    fn a_block_verifies_only_where_it_was_written() {
        let mut stored = b"block".to_vec();
        HEADER.blocks().seal(2, &mut stored);
        assert_eq!(HEADER.blocks().open(2, stored.clone()).as_deref(), Some(&b"block"[..]));
        assert_eq!(HEADER.blocks().open(1, stored.clone()), None, "another block");
        let elsewhere = [LogPosition { term: 4, ..POSITION }, LogPosition { index: 71, ..POSITION }];
        for position in elsewhere {
            assert_eq!(Blocks { position, ..HEADER.blocks() }.open(2, stored.clone()), None, "{position}");
        }
        for length in 0..stored.len() {
            assert_eq!(HEADER.blocks().open(2, stored[..length].to_vec()), None, "{length} bytes are enough");
        }
    }

    #[test]
    fn only_the_names_that_we_give_are_ours() {
        for position in [POSITION, LogPosition::ZERO, LogPosition { term: u64::MAX, index: u64::MAX }] {
            assert_eq!(parse_file_name(&file_name(position)), Some(position));
        }
        let name = file_name(POSITION);
        let other = [
            name.replace("snapshot", "Snapshot"),
            format!("{name}.bak"),
            name.replacen('0', "+", 1),
            name.replacen('0', "", 1),
            "snapshot-99999999999999999999-00000000000000000001".to_owned(),
            "snapshot-70-3".to_owned(),
            String::new(),
        ];
        for name in other {
            assert_eq!(parse_file_name(&name), None, "{name}");
        }
    }
}
