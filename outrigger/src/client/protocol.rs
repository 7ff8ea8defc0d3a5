//! What clients and nodes say to each other, in the frames of [`network::frame`](crate::network::frame).
//!
//! ```text
//!   client                                     node
//!     │ ── 64 hello: magic, version, cluster ──► │   cluster 0 stands for any
//!     │ ◄──────── 65 welcome: cluster, node ──── │   or a reject, and the end
//!     │ ◄── 68 leader: term, node, address ───── │   whenever it changed since it was last told here
//!     │ ── 66 request: id, time, operation, … ─► │   as many as the client likes, without waiting
//!     │ ◄────────── 67 reply: id, outcome, … ─── │   in any order
//! ```
//!
//! All numbers are little endian. Commands, responses, queries and answers are in postcard; the rest has fixed layouts, those of
//! changes of the members, of a status and of what is saved in [`members`](super::members), [`status`](super::status) and
//! [`snapshots`](super::snapshots). A snapshot is answered by
//! the last entry that it covers: term u64, index u64. A write in a session has session u64 and sequence u64 behind its operation,
//! and so has what keeps a session alive the session. A query that need not be linearizable has a code u8 and its bound in
//! nanoseconds, u64: 1 by lease (bound 0), 2 acknowledged, 3 stale.

use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{Consistency, LogId, LogIndex, NodeId, SessionId, Term};

use crate::network::DecodeError;
use crate::network::codec;
use crate::network::fields::Fields;
use crate::network::frame::{Frame, FrameBuffer, FrameError};
use crate::network::handshake::{BODY_BYTES_MAX, PROTOCOL_VERSION, Rejection, cut};
use crate::runtime::sessions::Denied;

pub(super) const HELLO: u8 = 64;
pub(super) const WELCOME: u8 = 65;
pub(super) const REQUEST: u8 = 66;
pub(super) const REPLY: u8 = 67;
pub(super) const LEADER: u8 = 68;

/// Begins every client's hello: `OUTRCLNT`.
const MAGIC: u64 = u64::from_le_bytes(*b"OUTRCLNT");

/// A cluster that a client does not know yet: any will do.
pub(super) const ANY_CLUSTER: u64 = 0;

/// What a client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Replicate and apply the command that follows.
    Write,
    /// Answer the query that follows.
    Query {
        /// From a state that is how new.
        consistency: Consistency,
    },
    /// Answer the query that follows from the state as this node has it.
    QueryLocal,
    /// Tell how this node is.
    Status,
    /// Change the members as the request that follows says.
    ChangeMembers,
    /// Take a snapshot of this node's state.
    Snapshot,
    /// Hand leadership over.
    Transfer,
    /// Campaign.
    Elect,
    /// Take a snapshot of this node's state and send its first piece, or send the next one.
    SaveSnapshot,
    /// Drop what this node's newest snapshot covers from its log, but for so many entries as follow, u64. It is answered by the entry
    /// behind which the log goes on.
    Purge,
    /// Want to lead as much as follows, u64.
    SetPriority,
    /// Replicate the command that follows, and apply it unless that was done before (thesis, section 6.3).
    WriteOnce {
        /// The client's session.
        session: SessionId,
        /// The command's number in it.
        sequence: u64,
    },
    /// Register a session; for how long it is kept follows, in milliseconds, u64. It is answered by the session's id, u64.
    RegisterSession,
    /// Keep a session alive.
    KeepAlive {
        /// Which.
        session: SessionId,
    },
}

impl Operation {
    /// Whether it changes something.
    pub(super) const fn changes(self) -> bool {
        matches!(self, Self::Write | Self::WriteOnce { .. } | Self::ChangeMembers)
    }

    /// Whether it must not be repeated unless it was certainly not done.
    pub(super) const fn is_at_most_once(self) -> bool {
        matches!(self, Self::Write | Self::ChangeMembers)
    }

    /// Whether it asks the state.
    pub(super) const fn is_query(self) -> bool {
        matches!(self, Self::Query { .. } | Self::QueryLocal)
    }

    /// Whether a node may refuse it because its state is too old.
    pub(super) const fn may_be_stale(self) -> bool {
        matches!(self, Self::Query { consistency: Consistency::Stale { .. } })
    }

    /// Whether it is asked of an endpoint for itself, not of the cluster.
    pub(super) const fn is_local(self) -> bool {
        match self {
            Self::QueryLocal
            | Self::Status
            | Self::Snapshot
            | Self::Elect
            | Self::SaveSnapshot
            | Self::Purge
            | Self::SetPriority => true,
            Self::Write
            | Self::Query { .. }
            | Self::ChangeMembers
            | Self::Transfer
            | Self::WriteOnce { .. }
            | Self::RegisterSession
            | Self::KeepAlive { .. } => false,
        }
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Matches the reply; chosen by the client, unique on its connection.
    pub(super) id: u64,
    /// How long the client waits: later answers are not looked at.
    pub(super) patience: Duration,
    /// What to do.
    pub(super) operation: Operation,
    /// The command, the query, the change, the wish for a leader, or a number; empty for a status, a snapshot, and to keep a session
    /// alive.
    pub(super) body: Bytes,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done. The response, answer or status follows; `applied` says at which index a local query was answered. Of a
    /// change of the members this is the last word, which may be that it is refused.
    Done {
        /// 0 for all but local queries.
        applied: LogIndex,
        /// The response, answer or status, or what came of a change of the members.
        body: Bytes,
    },
    /// Certainly nothing was done, and trying again may help.
    NotNow {
        /// Why, for people.
        reason: String,
    },
    /// Certainly nothing was done, and trying again will not help.
    Never {
        /// Why, for people.
        reason: String,
    },
    /// It may be done already, or soon, or never.
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// This is all that its session can say.
    Denied(Denied),
}

/// Who leads, as far as a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leader {
    /// In which term.
    pub(super) term: Term,
    /// Where clients reach the leader; empty when nobody leads or it is not known.
    pub(super) address: String,
}

/// Adds a client's first frame.
pub(super) fn put_hello(cluster: u64, output: &mut FrameBuffer) -> Result<(), FrameError> {
    output.frame(HELLO, 0, BODY_BYTES_MAX, |body| {
        body.put_u64(MAGIC);
        body.put_u32(PROTOCOL_VERSION);
        body.put_u64(cluster);
    })
}

/// Reads a client's first frame: which cluster it wants.
pub(super) fn hello(frame: Frame) -> Result<u64, Rejection> {
    let mut fields = Fields::new(frame.body);
    let (magic, version) = (fields.u64().ok(), fields.u32().ok());
    let (HELLO, Some(MAGIC), Some(theirs)) = (frame.kind, magic, version) else { return Err(Rejection::NoHello) };
    if theirs != PROTOCOL_VERSION {
        return Err(Rejection::Protocol { ours: PROTOCOL_VERSION, theirs });
    }
    let cluster = fields.u64().map_err(|_| Rejection::NoHello)?;
    fields.finish().map(|()| cluster).map_err(|_| Rejection::NoHello)
}

/// Adds a node's answer to a hello.
pub(super) fn put_welcome(cluster: u64, node: NodeId, output: &mut FrameBuffer) -> Result<(), FrameError> {
    output.frame(WELCOME, 0, BODY_BYTES_MAX, |body| {
        body.put_u64(cluster);
        body.put_u64(node.0);
    })
}

/// Reads a node's answer to a hello: its cluster and name.
pub(super) fn welcome(body: Bytes) -> Result<(u64, NodeId), DecodeError> {
    let mut fields = Fields::new(body);
    let welcome = (fields.u64()?, NodeId(fields.u64()?));
    fields.finish().map(|()| welcome)
}

impl Request {
    pub(super) fn encode(&self, limit: usize, output: &mut FrameBuffer) -> Result<(), FrameError> {
        output.frame(REQUEST, 0, limit, |body| {
            body.put_u64(self.id);
            body.put_u64(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
            body.put_u8(match self.operation {
                Operation::Write => 1,
                Operation::Query { consistency: Consistency::Linearizable } => 2,
                Operation::Query { .. } => 9,
                Operation::QueryLocal => 3,
                Operation::Status => 4,
                Operation::ChangeMembers => 5,
                Operation::Snapshot => 6,
                Operation::Transfer => 7,
                Operation::Elect => 8,
                Operation::SaveSnapshot => 10,
                Operation::Purge => 11,
                Operation::SetPriority => 12,
                Operation::WriteOnce { .. } => 16,
                Operation::RegisterSession => 17,
                Operation::KeepAlive { .. } => 18,
            });
            match self.operation {
                Operation::WriteOnce { session, sequence } => {
                    body.put_u64(session.0);
                    body.put_u64(sequence);
                }
                Operation::KeepAlive { session } => body.put_u64(session.0),
                Operation::Query { consistency } => put_consistency(consistency, body),
                _ => {}
            }
            body.put_shared(&self.body);
        })
    }

    pub(super) fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(body);
        let (id, patience) = (fields.u64()?, Duration::from_millis(fields.u64()?));
        let operation = match fields.u8()? {
            1 => Operation::Write,
            2 => Operation::Query { consistency: Consistency::Linearizable },
            9 => Operation::Query { consistency: consistency(&mut fields)? },
            3 => Operation::QueryLocal,
            4 => Operation::Status,
            5 => Operation::ChangeMembers,
            6 => Operation::Snapshot,
            7 => Operation::Transfer,
            8 => Operation::Elect,
            10 => Operation::SaveSnapshot,
            11 => Operation::Purge,
            12 => Operation::SetPriority,
            16 => Operation::WriteOnce { session: SessionId(fields.u64()?), sequence: fields.u64()? },
            17 => Operation::RegisterSession,
            18 => Operation::KeepAlive { session: SessionId(fields.u64()?) },
            value => return Err(DecodeError::Invalid { what: "operation", value: value.into() }),
        };
        Ok(Self { id, patience, operation, body: fields.rest() })
    }
}

/// Adds what a query says beside its text; nothing if it is linearizable.
fn put_consistency(consistency: Consistency, body: &mut FrameBuffer) {
    let (code, bound) = match consistency {
        Consistency::Lease => (1, Duration::ZERO),
        Consistency::Acknowledged { age_max } => (2, age_max),
        Consistency::Stale { staleness_max } => (3, staleness_max),
        // What a node does not know is asked for as what is never too old.
        _ if consistency == Consistency::Linearizable => return,
        _ => (2, Duration::ZERO),
    };
    body.put_u8(code);
    body.put_u64(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX));
}

fn consistency(fields: &mut Fields) -> Result<Consistency, DecodeError> {
    let (code, bound) = (fields.u8()?, Duration::from_nanos(fields.u64()?));
    Ok(match code {
        1 => Consistency::Lease,
        2 => Consistency::Acknowledged { age_max: bound },
        3 => Consistency::Stale { staleness_max: bound },
        value => return Err(DecodeError::Invalid { what: "consistency", value: value.into() }),
    })
}

impl Outcome {
    /// Adds a reply. An answer that exceeds the limit is told as such: the client must not wait for it.
    pub(super) fn encode(&self, id: u64, limit: usize, output: &mut FrameBuffer) {
        let Err(error) = self.put(id, limit, output) else { return };
        let reason = format!("it was done, but its answer cannot be sent: {error}");
        let told = Self::Unknown { reason }.put(id, BODY_BYTES_MAX, output);
        assert!(told.is_ok(), "a reason is cut to fit into {BODY_BYTES_MAX} bytes");
    }

    fn put(&self, id: u64, limit: usize, output: &mut FrameBuffer) -> Result<(), FrameError> {
        output.frame(REPLY, 0, limit, |body| {
            body.put_u64(id);
            let (code, reason) = match self {
                Self::Done { applied, body: answer } => {
                    body.put_u8(0);
                    body.put_u64(applied.0);
                    body.put_shared(answer);
                    return;
                }
                Self::NotNow { reason } => (1, reason),
                Self::Never { reason } => (2, reason),
                Self::Unknown { reason } => (3, reason),
                Self::Denied(denied) => return body.put_u8(denied_code(*denied)),
            };
            body.put_u8(code);
            body.put_text(cut(reason));
        })
    }

    /// Reads a reply: its request's id, and what came of it.
    pub(super) fn decode(body: Bytes) -> Result<(u64, Self), DecodeError> {
        let mut fields = Fields::new(body);
        let (id, code) = (fields.u64()?, fields.u8()?);
        if code == 0 {
            return Ok((id, Self::Done { applied: LogIndex(fields.u64()?), body: fields.rest() }));
        }
        if let Some(denied) = DENIED.into_iter().find(|denied| denied_code(*denied) == code) {
            return fields.finish().map(|()| (id, Self::Denied(denied)));
        }
        let reason = fields.text()?;
        fields.finish()?;
        match code {
            1 => Ok((id, Self::NotNow { reason })),
            2 => Ok((id, Self::Never { reason })),
            3 => Ok((id, Self::Unknown { reason })),
            value => Err(DecodeError::Invalid { what: "outcome", value: value.into() }),
        }
    }
}

/// All that a session can say.
const DENIED: [Denied; 3] = [Denied::Expired, Denied::Forgotten, Denied::NotKept];

const fn denied_code(denied: Denied) -> u8 {
    match denied {
        Denied::Expired => 4,
        Denied::Forgotten => 5,
        Denied::NotKept => 6,
    }
}

/// A time to live, or the id of a session.
pub(super) fn encode_number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

pub(super) fn decode_number(body: Bytes) -> Result<u64, DecodeError> {
    let mut fields = Fields::new(body);
    let number = fields.u64()?;
    fields.finish().map(|()| number)
}

/// The answer to a request for a snapshot.
pub(super) fn encode_log_id(id: LogId) -> Bytes {
    [id.term.0.to_le_bytes(), id.index.0.to_le_bytes()].concat().into()
}

pub(super) fn decode_log_id(body: Bytes) -> Result<LogId, DecodeError> {
    let mut fields = Fields::new(body);
    let id = codec::log_id(&mut fields)?;
    fields.finish().map(|()| id)
}

impl Leader {
    pub(super) fn encode(&self, output: &mut FrameBuffer) -> Result<(), FrameError> {
        output.frame(LEADER, 0, BODY_BYTES_MAX, |body| {
            body.put_u64(self.term.0);
            body.put_text(&self.address);
        })
    }

    pub(super) fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(body);
        let leader = Self { term: Term(fields.u64()?), address: fields.text()? };
        fields.finish().map(|()| leader)
    }
}

#[cfg(test)]
mod tests;
