//! Where snapshots live: the trait, and what is kept of a snapshot beside its content.
//!
//! ```text
//!   state machine worker ── build ──────► newest ── read, content ──► peers, this node's own start
//!   leader's pieces ─────── receive ────►    ▲
//!                            └── all there, and what was announced ──┘
//! ```

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use outrigger_engine::{Genesis, LogId, LogIndex, LogTime, Membership, Snapshot, SnapshotId, Term};

use super::StorageError;
use super::envelope::{decode_membership, encode_membership};

/// The snapshots of one node: the newest complete one, and at most one that is being built and one that is being received.
/// Shared by the threads that do each. A [`LogStore`](super::LogStore) has one. The checksum in a snapshot's id is [`checksum`].
pub trait SnapshotStore: Send + Sync + 'static {
    /// The newest complete one. It is durable, and never gets older.
    fn newest(&self) -> Option<Arc<Snapshot>>;

    /// Builds one: `content` writes what it holds. When this has answered, it is durable and the newest, also in the place of one of
    /// the same entries, which may be damaged. What is written streams to where it is kept; no more than a part of it is in memory, if
    /// the store is not.
    ///
    /// # Errors
    /// When the disk fails. The node stops then: nobody knows any more what is on it.
    fn build(
        &self,
        of: &Moment,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Built, StorageError>;

    /// The piece of a snapshot's content from `offset` on, at most `bytes_max` bytes of it, verified; `None` if the
    /// snapshot is not there any more.
    ///
    /// # Errors
    /// When the disk fails, or what is on it is not what was written.
    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, StorageError>;

    /// The whole content of the newest snapshot, which must be this one, verified while it is read.
    ///
    /// # Errors
    /// When it is another one, or cannot be opened.
    fn content(&self, id: SnapshotId) -> Result<Box<dyn Read + Send>, StorageError>;

    /// Keeps a piece of a snapshot that comes from elsewhere, if what is there reaches up to it. What is there of another
    /// one is thrown away. Once all of it is there it is verified, made durable, and the newest.
    ///
    /// # Errors
    /// When the disk fails. The node stops then: nobody knows any more what is on it.
    fn receive(&self, snapshot: &Arc<Snapshot>, offset: u64, chunk: &[u8]) -> Result<Received, StorageError>;
}

/// The moment that a snapshot shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The last entry that it covers.
    pub last: LogId,
    /// The log time of that entry.
    pub log_time: LogTime,
    /// The entry that says who the members are.
    pub membership_at: LogId,
    /// The members.
    pub membership: Arc<Membership>,
}

/// What came of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Built {
    /// It is durable, and the newest.
    Snapshot(Arc<Snapshot>),
    /// There was no room, or what should be in it could not be had. Nothing of it is left.
    Not(String),
}

/// What came of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes are there, from the beginning; all of them only if they are durable and what was announced.
    Held(u64),
    /// What came is not what was announced, or there is no room for it; it was thrown away.
    Spoiled(String),
}

impl Moment {
    /// The one that a snapshot shows.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { id, log_time, membership_at, .. } = *snapshot;
        Self { last: id.last, log_time, membership_at, membership: Arc::clone(&snapshot.membership) }
    }
}

/// What [`SnapshotId::checksum`] must be: the CRC-32C of what is kept of the moment, and then of the content. The same in every
/// store, as nodes with different ones send each other their snapshots. `genesis` is [`Snapshot::genesis`].
#[must_use]
pub fn checksum(of: &Moment, genesis: Genesis, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&encode_head(of, genesis)), content)
}

/// The layout of [`encode_head`]; a reader refuses a later one.
const HEAD_VERSION: u8 = 1;

/// What is kept of a snapshot beside its content and its id.
///
/// ```text
///   version u8, log time u64, entry of the members (term u64, index u64), genesis u64,
///   length of the members u32, members (see store::envelope)
/// ```
///
/// The length tells a head that was cut between two members, which alone would read as fewer of them.
///
/// # Panics
/// If the members take 4 GiB or more: the limit on an entry's size lies far below.
#[must_use]
pub fn encode_head(of: &Moment, genesis: Genesis) -> Bytes {
    let mut out = Vec::with_capacity(64 + of.membership.bytes());
    out.put_u8(HEAD_VERSION);
    for number in [of.log_time.0, of.membership_at.term.0, of.membership_at.index.0, genesis.0] {
        out.put_u64_le(number);
    }
    let mut members = Vec::with_capacity(of.membership.bytes());
    encode_membership(&of.membership, &mut members);
    out.put_u32_le(u32::try_from(members.len()).expect("members are an entry, and those are far below 4 GiB"));
    out.extend_from_slice(&members);
    out.into()
}

/// Reads what [`encode_head`] made, for a snapshot with this id.
///
/// # Errors
/// When it is not what [`encode_head`] makes of anything, or of this version.
pub fn decode_head(id: SnapshotId, mut head: Bytes) -> Result<Snapshot, StorageError> {
    let failed = |what: &str| StorageError::new(format!("the head of the snapshot {id} is not readable: {what}"));
    if head.len() < 1 + 4 * 8 + 4 {
        return Err(failed("it is too short"));
    }
    let version = head.get_u8();
    if version != HEAD_VERSION {
        return Err(failed(&format!("its version is {version}, this program knows {HEAD_VERSION}")));
    }
    let mut number = || head.get_u64_le();
    let log_time = LogTime(number());
    let membership_at = LogId { term: Term(number()), index: LogIndex(number()) };
    let genesis = Genesis(number());
    let length = head.get_u32_le();
    if head.len() as u64 != u64::from(length) {
        return Err(failed(&format!("{} bytes of members are there, {length} were written", head.len())));
    }
    let membership = decode_membership(&head).map_err(|error| failed(&error.to_string()))?;
    if membership.voters().is_empty() {
        return Err(failed("it names no voters"));
    }
    Ok(Snapshot { id, log_time, membership: Arc::new(membership), membership_at, genesis })
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_engine::{Node, NodeId};

    fn moment() -> Moment {
        let node = |id| (NodeId(id), Node { address: format!("host-{id}:7101") });
        Moment {
            last: LogId::new(3, 9),
            log_time: LogTime(77),
            membership_at: LogId::new(2, 4),
            membership: Arc::new(Membership::new([1, 2].map(node), [node(5)])),
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let (of, id) = (moment(), SnapshotId { last: LogId::new(3, 9), bytes: 8, checksum: 5 });
        let read = decode_head(id, encode_head(&of, Genesis(1234))).unwrap();
        let Moment { log_time, membership_at, membership, .. } = of;
        assert_eq!(read, Snapshot { id, log_time, membership, membership_at, genesis: Genesis(1234) });
    }

    #[test]
    fn a_head_that_is_cut_or_newer_is_refused() {
        let (whole, id) = (encode_head(&moment(), Genesis::UNKNOWN), SnapshotId::default());
        for length in 0..whole.len() {
            assert!(decode_head(id, whole.slice(..length)).is_err(), "{length} bytes");
        }
        let mut newer = whole.to_vec();
        newer[0] = 2;
        let error = decode_head(id, newer.into()).unwrap_err();
        assert!(error.reason.ends_with("its version is 2, this program knows 1"), "{error}");
    }

    #[test]
    fn a_head_with_a_member_too_many_or_without_voters_is_refused() {
        let (of, id) = (moment(), SnapshotId::default());
        let one = Membership::new([], [(NodeId(9), Node { address: "host-9:7101".to_owned() })]);
        let mut longer = encode_head(&of, Genesis::UNKNOWN).to_vec();
        encode_membership(&one, &mut longer);
        let error = decode_head(id, longer.into()).unwrap_err();
        assert!(error.reason.contains("bytes of members are there"), "{error}");
        let head = encode_head(&Moment { membership: Arc::new(one), ..of }, Genesis::UNKNOWN);
        let error = decode_head(id, head).unwrap_err();
        assert!(error.reason.ends_with("it names no voters"), "{error}");
    }
}
