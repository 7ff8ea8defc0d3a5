//! The layout of messages between nodes: each kind of [`Message`] is a kind of frame with fields of fixed width.
//!
//! ```text
//!   kind                    body (numbers little endian, u64 where nothing is said; id = term, index)
//!   16 pre_vote             term, id of last, warrant u8  18 request_vote       the same
//!   17 pre_vote_reply       term, asked, granted u8     19 request_vote_reply   the same
//!   20 append_entries       term, epoch, request, id of prev, commit, count u32, batches
//!   21 append_entries_reply term, epoch, request, 0u8 index | 1u8 id of hint | 2u8
//!   22 heartbeat            term, round, commit, pledge in nanoseconds
//!   23 heartbeat_reply      term, round, received, matched
//!   24 committed            term, commit
//!   25 read_index           term, request, 0u8 by a round | 1u8 by lease | 2u8 age in nanoseconds
//!   26 read_index_reply     request, 0u8 index | refusal
//!   27 propose              term, request, entries
//!   28 propose_reply        request, 0u8 id | refusal
//!   29 timeout_now          term
//!   30 install_snapshot     term, epoch, request, snapshot, offset, chunk
//!   31 install_snapshot_reply  term, epoch, request, held
//!
//!   batch    id of first, log time, entries
//!   entries  count u32, then for each: length u32, envelope (see store::envelope)
//!   snapshot id of its last entry, bytes, checksum u32, log time, id of the members' entry, genesis, length u32, members
//!   chunk    length u32, bytes
//!   refusal  1u8 no leader .. 22u8 never fresh; some with numbers more
//! ```
//!
//! Commands come out of [`decode`] as slices of the frame: nothing is copied. What a hostile body can make [`decode`]
//! allocate is bounded by a small multiple of its own size (an entry of 5 bytes takes about 60 in memory).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{
    AppendEntries, AppendEntriesReply, AppendOutcome, Batch, Body, DelegateSnapshot, Epoch, Genesis, Heartbeat,
    HeartbeatReply, InstallSnapshot, InstallSnapshotReply, LogId, LogIndex, LogTime, Message, NodeId, Payload,
    Precondition, Proof, Refusal, RequestId, Round, Snapshot, SnapshotId, StateHash, Term, VoteReply, VoteRequest,
    Wanted, Warrant,
};

use super::fields::{DecodeError, Fields};
use super::frame::{FrameBuffer, FrameError};
use crate::store::envelope;

const PRE_VOTE: u8 = 16;
const PRE_VOTE_REPLY: u8 = 17;
const REQUEST_VOTE: u8 = 18;
const REQUEST_VOTE_REPLY: u8 = 19;
const APPEND_ENTRIES: u8 = 20;
const APPEND_ENTRIES_REPLY: u8 = 21;
const HEARTBEAT: u8 = 22;
const HEARTBEAT_REPLY: u8 = 23;
const COMMITTED: u8 = 24;
const READ_INDEX: u8 = 25;
const READ_INDEX_REPLY: u8 = 26;
const PROPOSE: u8 = 27;
const PROPOSE_REPLY: u8 = 28;
const TIMEOUT_NOW: u8 = 29;
const INSTALL_SNAPSHOT: u8 = 30;
const INSTALL_SNAPSHOT_REPLY: u8 = 31;
const HASH_STATE: u8 = 32;
const STATE_HASHED: u8 = 33;
const STATE_DIFFERS: u8 = 34;
const DELEGATE_SNAPSHOT: u8 = 35;

/// The tag of an answer that is no refusal.
const TAKEN: u8 = 0;

/// The shortest entry: its length, and the kind of a blank.
const ENTRY_BYTES_MIN: usize = 4 + 1;

/// The shortest batch: the id of its first entry, log time, count, one entry.
const BATCH_BYTES_MIN: usize = 16 + 8 + 4 + ENTRY_BYTES_MIN;

/// Adds a message as one frame.
///
/// # Errors
/// [`FrameError::TooLong`] when its body exceeds `limit` bytes: then nothing was added.
///
/// ```
/// use std::time::Duration;
///
/// use outrigger::engine::{Heartbeat, LogIndex, Message, Round, Term};
/// use outrigger::network::frame::{BODY_BYTES_MAX, FrameBuffer, split};
/// use outrigger::network::codec;
///
/// let (term, round, commit) = (Term(3), Round(9), LogIndex(7));
/// let beat = Message::Heartbeat(Heartbeat { term, round, commit, pledge: Duration::ZERO });
/// let mut output = FrameBuffer::default();
/// codec::encode(&beat, 0, BODY_BYTES_MAX, &mut output)?;
/// let frame = split(&mut bytes::BytesMut::from(&output.to_vec()[..]), BODY_BYTES_MAX)?.expect("it is complete");
/// assert_eq!(codec::decode(frame.kind, frame.body)?, beat);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode(message: &Message, group: u64, limit: usize, output: &mut FrameBuffer) -> Result<(), FrameError> {
    output.frame(kind(message), group, limit, |body| put_message(message, body))
}

const fn kind(message: &Message) -> u8 {
    match message {
        Message::PreVote(_) => PRE_VOTE,
        Message::PreVoteReply(_) => PRE_VOTE_REPLY,
        Message::RequestVote(_) => REQUEST_VOTE,
        Message::RequestVoteReply(_) => REQUEST_VOTE_REPLY,
        Message::AppendEntries(_) => APPEND_ENTRIES,
        Message::AppendEntriesReply(_) => APPEND_ENTRIES_REPLY,
        Message::Heartbeat(_) => HEARTBEAT,
        Message::HeartbeatReply(_) => HEARTBEAT_REPLY,
        Message::Committed { .. } => COMMITTED,
        Message::ReadIndex { .. } => READ_INDEX,
        Message::ReadIndexReply { .. } => READ_INDEX_REPLY,
        Message::Propose { .. } => PROPOSE,
        Message::ProposeReply { .. } => PROPOSE_REPLY,
        Message::TimeoutNow { .. } => TIMEOUT_NOW,
        Message::HashState { .. } => HASH_STATE,
        Message::StateHashed { .. } => STATE_HASHED,
        Message::StateDiffers { .. } => STATE_DIFFERS,
        Message::InstallSnapshot(_) => INSTALL_SNAPSHOT,
        Message::InstallSnapshotReply(_) => INSTALL_SNAPSHOT_REPLY,
        Message::DelegateSnapshot(_) => DELEGATE_SNAPSHOT,
    }
}

/// How many bytes the frame of a message has, about: what queues count.
#[must_use]
pub fn bytes(message: &Message) -> usize {
    const FIXED: usize = 96;
    FIXED
        + match message {
            Message::AppendEntries(append) => append.batches.iter().map(Batch::bytes).sum(),
            Message::Propose { entries, .. } => entries.iter().map(Payload::bytes).sum(),
            Message::InstallSnapshot(piece) => piece.chunk.len() + piece.snapshot.membership.bytes(),
            _ => 0,
        }
}

fn put_message(message: &Message, out: &mut FrameBuffer) {
    match message {
        Message::PreVote(request) | Message::RequestVote(request) => {
            put_numbers(out, [request.term.0]);
            put_id(out, request.last);
            out.put_u8(match request.warrant {
                Warrant::None => 0,
                Warrant::Operator => 1,
                Warrant::Leader => 2,
            });
        }
        Message::PreVoteReply(reply) | Message::RequestVoteReply(reply) => {
            put_numbers(out, [reply.term.0, reply.asked.0]);
            out.put_u8(reply.granted.into());
        }
        Message::AppendEntries(append) => put_append(append, out),
        Message::AppendEntriesReply(reply) => put_append_reply(reply, out),
        Message::Heartbeat(beat) => {
            put_numbers(out, [beat.term.0, beat.round.0, beat.commit.0, nanoseconds(beat.pledge)]);
        }
        Message::HeartbeatReply(reply) => {
            put_numbers(out, [reply.term.0, reply.asked.0, reply.round.0, reply.received.0, reply.matched.0]);
        }
        Message::Committed { term, commit } => put_numbers(out, [term.0, commit.0]),
        Message::ReadIndex { term, request, proof } => {
            put_numbers(out, [term.0, request.0]);
            match proof {
                Proof::Round => out.put_u8(0),
                Proof::Lease => out.put_u8(1),
                Proof::Age(age) => put_numbered(out, 2, [nanoseconds(*age)]),
            }
        }
        Message::ReadIndexReply { request, outcome } => {
            put_numbers(out, [request.0]);
            put_outcome(out, outcome, |out, index| out.put_u64(index.0));
        }
        Message::Propose { term, request, entries } => {
            put_numbers(out, [term.0, request.0]);
            put_entries(entries, out);
        }
        Message::ProposeReply { request, outcome } => {
            put_numbers(out, [request.0]);
            put_outcome(out, outcome, |out, first| put_id(out, *first));
        }
        Message::TimeoutNow { term } => put_numbers(out, [term.0]),
        Message::HashState { term, at } => put_numbers(out, [term.0, at.0]),
        Message::StateHashed { at, hash } => put_numbers(out, [at.0, hash.0]),
        Message::StateDiffers { term, at, agreed } => put_numbers(out, [term.0, at.0, agreed.0]),
        Message::InstallSnapshot(piece) => put_install(piece, out),
        Message::InstallSnapshotReply(reply) => {
            put_numbers(out, [reply.term.0, reply.epoch.0, reply.request.0]);
            put_snapshot_id(out, reply.snapshot);
            match reply.held {
                None => out.put_u8(0),
                Some(held) => put_numbered(out, 1, [held]),
            }
        }
        Message::DelegateSnapshot(order) => {
            put_numbers(out, [order.term.0, order.target.0, order.epoch.0, order.request.0]);
            match order.wanted {
                Wanted::Newest { covers } => put_numbered(out, 0, [covers.0]),
                Wanted::Piece { id, offset } => {
                    out.put_u8(1);
                    put_snapshot_id(out, id);
                    out.put_u64(offset);
                }
            }
        }
    }
}

/// Puts numbers, all in one piece.
fn put_numbers<const N: usize>(out: &mut FrameBuffer, numbers: [u64; N]) {
    out.put_slice(numbers.map(u64::to_le_bytes).as_flattened());
}

fn put_id(out: &mut FrameBuffer, id: LogId) {
    put_numbers(out, [id.term.0, id.index.0]);
}

fn put_snapshot_id(out: &mut FrameBuffer, id: SnapshotId) {
    put_id(out, id.last);
    out.put_u64(id.bytes);
    out.put_u32(id.checksum);
}

fn put_append(append: &AppendEntries, out: &mut FrameBuffer) {
    put_numbers(out, [append.term.0, append.epoch.0, append.request.0]);
    put_id(out, append.prev);
    out.put_u64(append.commit.0);
    out.put_length(append.batches.len());
    for batch in &append.batches {
        put_id(out, batch.first());
        out.put_u64(batch.log_time().0);
        put_entries(batch.entries(), out);
    }
}

fn put_install(piece: &InstallSnapshot, out: &mut FrameBuffer) {
    put_numbers(out, [piece.term.0, piece.leader.0, piece.epoch.0, piece.request.0]);
    let Snapshot { id, log_time, membership, membership_at, genesis } = &*piece.snapshot;
    put_snapshot_id(out, *id);
    out.put_u64(log_time.0);
    put_id(out, *membership_at);
    out.put_u64(genesis.0);
    let mut members = Vec::with_capacity(membership.bytes());
    envelope::encode_membership(membership, &mut members);
    out.put_length(members.len());
    out.put_slice(&members);
    out.put_u64(piece.offset);
    out.put_length(piece.chunk.len());
    out.put_shared(&piece.chunk);
}

fn put_append_reply(reply: &AppendEntriesReply, out: &mut FrameBuffer) {
    put_numbers(out, [reply.term.0, reply.epoch.0, reply.request.0]);
    match reply.outcome {
        AppendOutcome::Matched(index) => {
            out.put_u8(0);
            out.put_u64(index.0);
        }
        AppendOutcome::Conflict { hint } => {
            out.put_u8(1);
            put_id(out, hint);
        }
        AppendOutcome::Stale => out.put_u8(2),
    }
}

fn put_entries(entries: &[Payload], out: &mut FrameBuffer) {
    out.put_length(entries.len());
    for entry in entries {
        out.put_length(envelope::encoded_len(entry));
        if let Body::Command(command) = &entry.body {
            // An envelope ends with its command, so that its head can be encoded apart and the command be shared.
            let head = Payload { session: entry.session, sequence: entry.sequence, body: Body::Command(Bytes::new()) };
            out.put_with(|text| envelope::encode(&head, text));
            out.put_shared(command);
        } else {
            out.put_with(|text| envelope::encode(entry, text));
        }
    }
}

/// Puts an answer, or why there is none.
pub(crate) fn put_outcome<T>(
    out: &mut FrameBuffer,
    outcome: &Result<T, Refusal>,
    put: impl FnOnce(&mut FrameBuffer, &T),
) {
    match outcome {
        Ok(value) => {
            out.put_u8(TAKEN);
            put(out, value);
        }
        Err(refusal) => put_refusal(out, *refusal),
    }
}

fn put_refusal(out: &mut FrameBuffer, refusal: Refusal) {
    match refusal {
        Refusal::NoLeader => out.put_u8(1),
        Refusal::NotLeader => out.put_u8(2),
        Refusal::LeadershipLost => out.put_u8(3),
        Refusal::Overloaded { current, limit } => put_numbered(out, 4, [current as u64, limit as u64]),
        Refusal::EntryTooLarge { bytes, limit } => put_numbered(out, 5, [bytes as u64, limit as u64]),
        Refusal::AlreadyInitialized => out.put_u8(6),
        Refusal::NoVoters => out.put_u8(7),
        Refusal::Halted => out.put_u8(9),
        Refusal::Undecodable => out.put_u8(10),
        Refusal::UnknownNode { node } => put_numbered(out, 11, [node.0]),
        Refusal::AddressDiffers { node } => put_numbered(out, 12, [node.0]),
        Refusal::StillVoter { node } => put_numbered(out, 13, [node.0]),
        Refusal::ChangeInProgress { at } => put_numbered(out, 14, [at.0]),
        Refusal::NotReady => out.put_u8(15),
        Refusal::Lagging { node, matched, last } => put_numbered(out, 16, [node.0, matched.0, last.0]),
        Refusal::PreconditionFailed { actual } => {
            out.put_u8(17);
            put_precondition(out, actual);
        }
        Refusal::NothingToSnapshot => out.put_u8(18),
        Refusal::SnapshotFailed => out.put_u8(19),
        Refusal::Transferring { to } => put_numbered(out, 20, [to.0]),
        Refusal::TooStale { staleness: Some(staleness), staleness_max } => {
            put_numbered(out, 21, [nanoseconds(staleness), nanoseconds(staleness_max)]);
        }
        Refusal::TooStale { staleness: None, staleness_max } => put_numbered(out, 22, [nanoseconds(staleness_max)]),
        Refusal::AddedAgain { node } => put_numbered(out, 23, [node.0]),
        Refusal::NotMember => out.put_u8(24),
        Refusal::AddressTaken { node, by } => put_numbered(out, 25, [node.0, by.0]),
        Refusal::NoMajority { silent } => put_numbered(out, 26, [silent.0]),
        Refusal::DiskHangs => out.put_u8(27),
        // A refusal that this codec has no word for must not become one that promises more than it knows.
        Refusal::Unknown | _ => out.put_u8(8),
    }
}

/// Of more than five hundred years there are no more than that.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn put_numbered<const N: usize>(out: &mut FrameBuffer, tag: u8, numbers: [u64; N]) {
    out.put_u8(tag);
    put_numbers(out, numbers);
}

fn put_precondition(out: &mut FrameBuffer, actual: Precondition) {
    match actual {
        Precondition::Term(term) => put_numbered(out, 1, [term.0]),
        Precondition::Last(last) => put_numbered(out, 2, [last.term.0, last.index.0]),
        Precondition::Membership(at) => put_numbered(out, 3, [at.term.0, at.index.0]),
    }
}

/// Reads a message from the body of a frame of kind `kind`.
///
/// # Errors
/// When the body is not what [`encode`] makes of some message.
pub fn decode(kind: u8, body: Bytes) -> Result<Message, DecodeError> {
    let mut fields = Fields::new(body);
    let message = match kind {
        PRE_VOTE => Message::PreVote(vote_request(&mut fields)?),
        PRE_VOTE_REPLY => Message::PreVoteReply(vote_reply(&mut fields)?),
        REQUEST_VOTE => Message::RequestVote(vote_request(&mut fields)?),
        REQUEST_VOTE_REPLY => Message::RequestVoteReply(vote_reply(&mut fields)?),
        APPEND_ENTRIES => Message::AppendEntries(append_entries(&mut fields)?),
        APPEND_ENTRIES_REPLY => Message::AppendEntriesReply(append_entries_reply(&mut fields)?),
        HEARTBEAT => Message::Heartbeat(Heartbeat {
            term: Term(fields.u64()?),
            round: Round(fields.u64()?),
            commit: LogIndex(fields.u64()?),
            pledge: duration(&mut fields)?,
        }),
        HEARTBEAT_REPLY => Message::HeartbeatReply(HeartbeatReply {
            term: Term(fields.u64()?),
            asked: Term(fields.u64()?),
            round: Round(fields.u64()?),
            received: LogIndex(fields.u64()?),
            matched: LogIndex(fields.u64()?),
        }),
        COMMITTED => Message::Committed { term: Term(fields.u64()?), commit: LogIndex(fields.u64()?) },
        READ_INDEX => Message::ReadIndex {
            term: Term(fields.u64()?),
            request: RequestId(fields.u64()?),
            proof: proof(&mut fields)?,
        },
        READ_INDEX_REPLY => Message::ReadIndexReply {
            request: RequestId(fields.u64()?),
            outcome: outcome(&mut fields, |fields| fields.u64().map(LogIndex))?,
        },
        PROPOSE => Message::Propose {
            term: Term(fields.u64()?),
            request: RequestId(fields.u64()?),
            entries: entries(&mut fields)?,
        },
        PROPOSE_REPLY => {
            Message::ProposeReply { request: RequestId(fields.u64()?), outcome: outcome(&mut fields, log_id)? }
        }
        TIMEOUT_NOW => Message::TimeoutNow { term: Term(fields.u64()?) },
        HASH_STATE => Message::HashState { term: Term(fields.u64()?), at: LogIndex(fields.u64()?) },
        STATE_HASHED => Message::StateHashed { at: LogIndex(fields.u64()?), hash: StateHash(fields.u64()?) },
        STATE_DIFFERS => {
            let (term, at) = (Term(fields.u64()?), LogIndex(fields.u64()?));
            Message::StateDiffers { term, at, agreed: StateHash(fields.u64()?) }
        }
        INSTALL_SNAPSHOT => Message::InstallSnapshot(install_snapshot(&mut fields)?),
        INSTALL_SNAPSHOT_REPLY => Message::InstallSnapshotReply(InstallSnapshotReply {
            term: Term(fields.u64()?),
            epoch: Epoch(fields.u64()?),
            request: RequestId(fields.u64()?),
            snapshot: snapshot_id(&mut fields)?,
            held: match fields.u8()? {
                0 => None,
                1 => Some(fields.u64()?),
                value => return Err(DecodeError::Invalid { what: "what is held of a snapshot", value: value.into() }),
            },
        }),
        DELEGATE_SNAPSHOT => Message::DelegateSnapshot(delegate_snapshot(&mut fields)?),
        _ => return Err(DecodeError::UnknownKind { kind }),
    };
    fields.finish()?;
    Ok(message)
}

pub(crate) fn log_id(fields: &mut Fields) -> Result<LogId, DecodeError> {
    Ok(LogId { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) })
}

fn vote_request(fields: &mut Fields) -> Result<VoteRequest, DecodeError> {
    let (term, last) = (Term(fields.u64()?), log_id(fields)?);
    let warrant = match fields.u8()? {
        0 => Warrant::None,
        1 => Warrant::Operator,
        2 => Warrant::Leader,
        value => return Err(DecodeError::Invalid { what: "warrant", value: value.into() }),
    };
    Ok(VoteRequest { term, last, warrant })
}

fn proof(fields: &mut Fields) -> Result<Proof, DecodeError> {
    Ok(match fields.u8()? {
        0 => Proof::Round,
        1 => Proof::Lease,
        2 => Proof::Age(duration(fields)?),
        value => return Err(DecodeError::Invalid { what: "proof", value: value.into() }),
    })
}

fn duration(fields: &mut Fields) -> Result<Duration, DecodeError> {
    fields.u64().map(Duration::from_nanos)
}

fn vote_reply(fields: &mut Fields) -> Result<VoteReply, DecodeError> {
    Ok(VoteReply { term: Term(fields.u64()?), asked: Term(fields.u64()?), granted: fields.bool("vote")? })
}

fn append_entries(fields: &mut Fields) -> Result<AppendEntries, DecodeError> {
    let (term, epoch, request) = (Term(fields.u64()?), Epoch(fields.u64()?), RequestId(fields.u64()?));
    let (prev, commit) = (log_id(fields)?, LogIndex(fields.u64()?));
    let count = fields.count(BATCH_BYTES_MIN)?;
    // Not collected: a list whose items may fail grows by doubling.
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        batches.push(batch(fields)?);
    }
    Ok(AppendEntries { term, epoch, request, prev, batches, commit })
}

fn snapshot_id(fields: &mut Fields) -> Result<SnapshotId, DecodeError> {
    Ok(SnapshotId { last: log_id(fields)?, bytes: fields.u64()?, checksum: fields.u32()? })
}

fn delegate_snapshot(fields: &mut Fields) -> Result<DelegateSnapshot, DecodeError> {
    let (term, target) = (Term(fields.u64()?), NodeId(fields.u64()?));
    let (epoch, request) = (Epoch(fields.u64()?), RequestId(fields.u64()?));
    let wanted = match fields.u8()? {
        0 => Wanted::Newest { covers: LogIndex(fields.u64()?) },
        1 => Wanted::Piece { id: snapshot_id(fields)?, offset: fields.u64()? },
        value => return Err(DecodeError::Invalid { what: "what a delegate is to send", value: value.into() }),
    };
    Ok(DelegateSnapshot { term, target, epoch, request, wanted })
}

fn install_snapshot(fields: &mut Fields) -> Result<InstallSnapshot, DecodeError> {
    let (term, leader) = (Term(fields.u64()?), NodeId(fields.u64()?));
    let (epoch, request, id) = (Epoch(fields.u64()?), RequestId(fields.u64()?), snapshot_id(fields)?);
    let (log_time, membership_at, genesis) = (LogTime(fields.u64()?), log_id(fields)?, Genesis(fields.u64()?));
    let membership = Arc::new(envelope::decode_membership(&fields.bytes()?)?);
    let snapshot = Arc::new(Snapshot { id, log_time, membership, membership_at, genesis });
    Ok(InstallSnapshot { term, leader, epoch, request, snapshot, offset: fields.u64()?, chunk: fields.bytes()? })
}

fn append_entries_reply(fields: &mut Fields) -> Result<AppendEntriesReply, DecodeError> {
    let (term, epoch, request) = (Term(fields.u64()?), Epoch(fields.u64()?), RequestId(fields.u64()?));
    let outcome = match fields.u8()? {
        0 => AppendOutcome::Matched(LogIndex(fields.u64()?)),
        1 => AppendOutcome::Conflict { hint: log_id(fields)? },
        2 => AppendOutcome::Stale,
        value => return Err(DecodeError::Invalid { what: "outcome of an append", value: value.into() }),
    };
    Ok(AppendEntriesReply { term, epoch, request, outcome })
}

fn batch(fields: &mut Fields) -> Result<Batch, DecodeError> {
    let (first, log_time) = (log_id(fields)?, LogTime(fields.u64()?));
    let entries = entries(fields)?;
    // What Batch asserts of our own code must hold of a stranger's bytes before they become one. The bound on the end
    // leaves room for `next()`.
    let ends = first.index.0.checked_add(entries.len() as u64).is_some_and(|end| end < u64::MAX);
    if first.index == LogIndex::ZERO || !ends {
        return Err(DecodeError::Invalid { what: "index of a first entry", value: first.index.0 });
    }
    Ok(Batch::new(first, log_time, entries))
}

/// At least one entry.
fn entries(fields: &mut Fields) -> Result<Arc<[Payload]>, DecodeError> {
    let count = fields.count(ENTRY_BYTES_MIN)?;
    if count == 0 {
        return Err(DecodeError::Invalid { what: "count of entries", value: 0 });
    }
    let mut entry = || Ok::<_, DecodeError>(envelope::decode(fields.bytes()?)?);
    if count == 1 {
        // Most batches hold one entry, which needs no list first.
        return Ok(Arc::new([entry()?]));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(entry()?);
    }
    Ok(entries.into())
}

/// Reads what [`put_outcome`] put.
pub(crate) fn outcome<T>(
    fields: &mut Fields,
    taken: impl FnOnce(&mut Fields) -> Result<T, DecodeError>,
) -> Result<Result<T, Refusal>, DecodeError> {
    match fields.u8()? {
        TAKEN => taken(fields).map(Ok),
        tag => refusal(fields, tag).map(Err),
    }
}

fn refusal(fields: &mut Fields, tag: u8) -> Result<Refusal, DecodeError> {
    Ok(match tag {
        1 => Refusal::NoLeader,
        2 => Refusal::NotLeader,
        3 => Refusal::LeadershipLost,
        4 => Refusal::Overloaded { current: fields.size("amount in hand")?, limit: fields.size("limit")? },
        5 => Refusal::EntryTooLarge { bytes: fields.size("size of an entry")?, limit: fields.size("limit")? },
        6 => Refusal::AlreadyInitialized,
        7 => Refusal::NoVoters,
        8 => Refusal::Unknown,
        9 => Refusal::Halted,
        10 => Refusal::Undecodable,
        11 => Refusal::UnknownNode { node: NodeId(fields.u64()?) },
        12 => Refusal::AddressDiffers { node: NodeId(fields.u64()?) },
        13 => Refusal::StillVoter { node: NodeId(fields.u64()?) },
        14 => Refusal::ChangeInProgress { at: LogIndex(fields.u64()?) },
        15 => Refusal::NotReady,
        16 => Refusal::Lagging {
            node: NodeId(fields.u64()?),
            matched: LogIndex(fields.u64()?),
            last: LogIndex(fields.u64()?),
        },
        17 => Refusal::PreconditionFailed { actual: precondition(fields)? },
        18 => Refusal::NothingToSnapshot,
        19 => Refusal::SnapshotFailed,
        20 => Refusal::Transferring { to: NodeId(fields.u64()?) },
        21 => Refusal::TooStale { staleness: Some(duration(fields)?), staleness_max: duration(fields)? },
        22 => Refusal::TooStale { staleness: None, staleness_max: duration(fields)? },
        23 => Refusal::AddedAgain { node: NodeId(fields.u64()?) },
        24 => Refusal::NotMember,
        25 => Refusal::AddressTaken { node: NodeId(fields.u64()?), by: NodeId(fields.u64()?) },
        26 => Refusal::NoMajority { silent: NodeId(fields.u64()?) },
        27 => Refusal::DiskHangs,
        tag => return Err(DecodeError::Invalid { what: "refusal", value: tag.into() }),
    })
}

fn precondition(fields: &mut Fields) -> Result<Precondition, DecodeError> {
    match fields.u8()? {
        1 => fields.u64().map(Term).map(Precondition::Term),
        2 => log_id(fields).map(Precondition::Last),
        3 => log_id(fields).map(Precondition::Membership),
        tag => Err(DecodeError::Invalid { what: "precondition", value: tag.into() }),
    }
}

#[cfg(test)]
mod tests;
