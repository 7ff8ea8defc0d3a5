//! The layout of one entry in log records and frames: its payload, without its id.
//!
//! ```text
//!   kind u8 | [session u64 | sequence u64] | body
//!
//!   kind 1  blank        no body
//!   kind 2  command      the command's bytes, to the end
//!   kind 3  membership   head, then nodes, to the end, by increasing id
//!             head       parts u8 | [term u64 | index u64] | [version u16] | [founding u64]
//!             node       id u64 | role u8 | address length u32 | address (UTF-8) | [directory u64 | term u64 | index u64]
//!   kind 4  a new session: for how long it is kept while nothing is written in it, u64 milliseconds of log time
//!   kind + 0x80          session and sequence follow; without it both are 0
//! ```
//!
//! Numbers are little endian. A role's bit 0 stands for a voter, bit 1 for a voter before the change that is under way,
//! neither for a learner; while a change is under way, bit 2 for who will vote after it, bit 3 for who will be a member, bit 4
//! for who was added by it. Bit 5 stands for whose data directory is bound: it, and term and index of the entry that bound it,
//! follow the address. The head's parts are what is said of all members, each if its bit is set; nothing is where nobody is a
//! member. Bit 0: this entry only binds, or raises the version, and has the members of the entry that is named. Bit 1: the cluster has
//! another version than the first. Bit 2: it was founded. An envelope does not know its length: records and frames do, once for each
//! entry, so that nothing is said twice. No entry begins with a zero byte, so that zeroed memory is none.
//!
//! The layout is canonical: one payload has one encoding, and what decodes encodes to the same bytes again. Nodes may
//! therefore compare checksums of encoded memberships.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use outrigger_engine::{
    Binding, Body, Founding, Goal, LogId, Membership, Node, NodeId, NodeMap, NodeSet, Payload, SessionId, Version,
};

/// The kind of a blank entry: a leader's first one.
const BLANK: u8 = 1;
/// The kind of a user's command.
const COMMAND: u8 = 2;
/// The kind of a membership.
const MEMBERSHIP: u8 = 3;
/// The kind of an entry that registers a session.
const REGISTER_SESSION: u8 = 4;
/// Added to a kind when session and sequence follow it.
const IN_SESSION: u8 = 0x80;

/// A role's bit for who votes (after the change, if one is under way).
const VOTER: u8 = 1;
/// A role's bit for who voted before the change that is under way.
const OUTGOING: u8 = 2;
/// A role's bit for who votes when the change that is under way has ended.
const WILL_VOTE: u8 = 4;
/// A role's bit for who is still a member then.
const STAYS: u8 = 8;
/// A role's bit for who was added by it.
const ADDED: u8 = 16;

/// A role's bit for whose data directory is bound: that and the entry that bound it follow the address.
const BOUND: u8 = 32;
/// All bits that a role may have.
const ROLES: u8 = VOTER | OUTGOING | WILL_VOTE | STAYS | ADDED | BOUND;

/// A bit of a head: the entry whose members these are follows, as this one only binds them or raises the version.
const OF: u8 = 1;
/// A bit of a head: the cluster's version follows.
const VERSION: u8 = 2;
/// A bit of a head: what the cluster was founded as follows.
const FOUNDING: u8 = 4;

/// What a binding takes: directory, term, index.
const BINDING_BYTES: usize = 24;
/// The id of an entry: term, index.
const ID_BYTES: usize = 16;
/// The cluster's version.
const VERSION_BYTES: usize = 2;
/// What it was founded as.
const FOUNDING_BYTES: usize = 8;
/// What stands before the address of a node: id, role, length of the address.
const NODE_HEAD_BYTES: usize = 8 + 1 + 4;

/// Bytes that are not an envelope. What the host of the bytes does about it differs: a peer's connection is closed, a
/// log is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes end in the middle of a field.
    #[error("an entry's bytes end early: {needed} more were due and {found} are left")]
    Short {
        /// How many bytes the next field takes.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// A kind that this version does not know.
    #[error("entry kind {kind} is unknown; was it written by a newer version?")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
    /// A blank entry is followed by something.
    #[error("a blank entry has a body of {bytes} bytes; it must have none")]
    BlankWithBody {
        /// How many bytes follow.
        bytes: usize,
    },
    /// An entry that registers a session is followed by something.
    #[error("an entry that registers a session has {bytes} bytes too many")]
    SessionWithBody {
        /// How many bytes follow.
        bytes: usize,
    },
    /// The entry says that it belongs to a session and names none.
    #[error("an entry in a session has session 0 and sequence 0")]
    EmptySession,
    /// A membership's nodes are not in increasing order of their ids.
    #[error("node {found} follows node {before} in a membership; ids must increase")]
    Unsorted {
        /// The node before.
        before: NodeId,
        /// The node that came.
        found: NodeId,
    },
    /// A membership's head says what it need not say, or has parts that this version does not know.
    #[error("a membership's head has the parts {parts}, and cannot be so; was it written by a newer version?")]
    UnknownParts {
        /// The bits.
        parts: u8,
    },
    /// A node's role has bits that this version does not know.
    #[error("node {node} has the role {role}, which is unknown; was it written by a newer version?")]
    UnknownRole {
        /// The node.
        node: NodeId,
        /// The role.
        role: u8,
    },
    /// The roles of a membership's nodes contradict each other.
    #[error("the roles of a membership's nodes contradict each other")]
    ContradictoryMembership,
    /// A node's address is not UTF-8.
    #[error("the address of node {node} is not UTF-8")]
    BadAddress {
        /// The node.
        node: NodeId,
    },
}

/// How many bytes [`encode`] appends for this payload.
#[must_use]
pub fn encoded_len(payload: &Payload) -> usize {
    let session = if is_in_session(payload) { 16 } else { 0 };
    let body = match &payload.body {
        Body::Blank => 0,
        Body::Command(command) => command.len(),
        Body::Membership(membership) => membership_len(membership),
        Body::RegisterSession { .. } => 8,
    };
    1 + session + body
}

/// Appends the encoding of a payload: exactly [`encoded_len`] bytes.
///
/// ```
/// use bytes::Bytes;
/// use outrigger::engine::Payload;
/// use outrigger::store::envelope::{decode, encode};
///
/// let payload = Payload::command(Bytes::from_static(b"set x"));
/// let mut bytes = Vec::new();
/// encode(&payload, &mut bytes);
/// assert_eq!(bytes, b"\x02set x");
/// assert_eq!(decode(Bytes::from(bytes)), Ok(payload));
/// ```
pub fn encode(payload: &Payload, out: &mut Vec<u8>) {
    let kind = match &payload.body {
        Body::Blank => BLANK,
        Body::Command(_) => COMMAND,
        Body::Membership(_) => MEMBERSHIP,
        Body::RegisterSession { .. } => REGISTER_SESSION,
    };
    if is_in_session(payload) {
        out.push(kind | IN_SESSION);
        out.extend_from_slice(&payload.session.0.to_le_bytes());
        out.extend_from_slice(&payload.sequence.to_le_bytes());
    } else {
        out.push(kind);
    }
    match &payload.body {
        Body::Blank => {}
        Body::Command(command) => out.extend_from_slice(command),
        Body::Membership(membership) => encode_membership(membership, out),
        Body::RegisterSession { time_to_live_ms } => out.extend_from_slice(&time_to_live_ms.to_le_bytes()),
    }
}

/// Reads a payload from exactly its bytes. A command is a slice of them: nothing is copied.
///
/// # Errors
/// When the bytes are not what [`encode`] makes of some payload.
pub fn decode(mut bytes: Bytes) -> Result<Payload, EnvelopeError> {
    let mut rest = &bytes[..];
    let [first] = take(&mut rest)?;
    let (session, sequence) = if first & IN_SESSION == 0 { (0, 0) } else { decode_session(&mut rest)? };
    let body = match first & !IN_SESSION {
        BLANK if rest.is_empty() => Body::Blank,
        BLANK => return Err(EnvelopeError::BlankWithBody { bytes: rest.len() }),
        COMMAND => {
            let head = bytes.len() - rest.len();
            bytes.advance(head);
            Body::Command(bytes)
        }
        MEMBERSHIP => Body::Membership(Arc::new(decode_membership(rest)?)),
        REGISTER_SESSION => decode_registration(rest)?,
        _ => return Err(EnvelopeError::UnknownKind { kind: first }),
    };
    Ok(Payload { session: SessionId(session), sequence, body })
}

fn is_in_session(payload: &Payload) -> bool {
    payload.session != SessionId(0) || payload.sequence != 0
}

fn decode_session(bytes: &mut &[u8]) -> Result<(u64, u64), EnvelopeError> {
    let session = u64::from_le_bytes(take(bytes)?);
    let sequence = u64::from_le_bytes(take(bytes)?);
    if session == 0 && sequence == 0 {
        return Err(EnvelopeError::EmptySession);
    }
    Ok((session, sequence))
}

fn decode_registration(mut bytes: &[u8]) -> Result<Body, EnvelopeError> {
    let time_to_live_ms = u64::from_le_bytes(take(&mut bytes)?);
    match bytes.len() {
        0 => Ok(Body::RegisterSession { time_to_live_ms }),
        bytes => Err(EnvelopeError::SessionWithBody { bytes }),
    }
}

fn membership_len(membership: &Membership) -> usize {
    1 + membership.nodes().values().map(|node| NODE_HEAD_BYTES + node.address.len()).sum::<usize>()
        + BINDING_BYTES * membership.bindings().len()
        + Head::of(membership).len()
}

/// What a membership says of all its members.
#[derive(Default)]
struct Head {
    of: Option<LogId>,
    version: Option<Version>,
    founding: Option<Founding>,
}

impl Head {
    /// What is to be said; nobody speaks where nobody is a member.
    fn of(membership: &Membership) -> Self {
        if membership.nodes().is_empty() {
            return Self::default();
        }
        let version = Some(membership.version()).filter(|version| *version > Version::FIRST);
        let founding = Some(membership.founding()).filter(|founding| founding.is_known());
        Self { of: membership.of(), version, founding }
    }

    fn parts(&self) -> u8 {
        let parts = [(OF, self.of.is_some()), (VERSION, self.version.is_some()), (FOUNDING, self.founding.is_some())];
        bits(&parts)
    }

    /// How many bytes follow its parts.
    fn len(&self) -> usize {
        self.of.map_or(0, |_| ID_BYTES)
            + self.version.map_or(0, |_| VERSION_BYTES)
            + self.founding.map_or(0, |_| FOUNDING_BYTES)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.parts());
        if let Some(of) = self.of {
            out.extend_from_slice(&of.term.0.to_le_bytes());
            out.extend_from_slice(&of.index.0.to_le_bytes());
        }
        self.version.iter().for_each(|version| out.extend_from_slice(&version.0.to_le_bytes()));
        self.founding.iter().for_each(|founding| out.extend_from_slice(&founding.0.to_le_bytes()));
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, EnvelopeError> {
        let [parts] = take(bytes)?;
        let mut head = Self::default();
        if parts & OF != 0 {
            head.of = Some(decode_id(bytes)?);
        }
        if parts & VERSION != 0 {
            head.version = Some(Version(u16::from_le_bytes(take(bytes)?))).filter(|version| *version > Version::FIRST);
        }
        if parts & FOUNDING != 0 {
            head.founding = Some(Founding(u64::from_le_bytes(take(bytes)?))).filter(|founding| founding.is_known());
        }
        // What need not be said is not: one membership has one encoding.
        if parts == head.parts() && (parts == 0 || !bytes.is_empty()) {
            return Ok(head);
        }
        Err(EnvelopeError::UnknownParts { parts })
    }
}

/// The bits that hold.
fn bits(parts: &[(u8, bool)]) -> u8 {
    parts.iter().filter(|(_, holds)| *holds).fold(0, |bits, (part, _)| bits | part)
}

/// Appends a membership as the body of its entry holds it; equal memberships give equal bytes.
///
/// # Panics
/// If an address is 4 GiB long or longer: the limit on an entry's size lies far below.
pub fn encode_membership(membership: &Membership, out: &mut Vec<u8>) {
    Head::of(membership).encode(out);
    for (id, node) in membership.nodes() {
        let binding = membership.bindings().get(id);
        let length = u32::try_from(node.address.len()).expect("an address of 4 GiB");
        let goal = membership.goal();
        let role = bits(&[
            (VOTER, membership.voters().contains(id)),
            (OUTGOING, membership.outgoing().contains(id)),
            (WILL_VOTE, goal.is_some_and(|goal| goal.voters.contains(id))),
            (STAYS, goal.is_some_and(|goal| goal.members.contains(id))),
            (ADDED, goal.is_some_and(|goal| goal.added.contains(id))),
            (BOUND, binding.is_some()),
        ]);
        out.extend_from_slice(&id.0.to_le_bytes());
        out.push(role);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(node.address.as_bytes());
        let numbers = binding.map(|it| [it.directory, it.at.term.0, it.at.index.0]);
        numbers.into_iter().flatten().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }
}

/// Reads what [`encode_membership`] wrote.
///
/// # Errors
/// When the bytes are not what [`encode_membership`] makes of some membership.
pub fn decode_membership(mut bytes: &[u8]) -> Result<Membership, EnvelopeError> {
    let head = Head::decode(&mut bytes)?;
    // Room for about as many as there are: a node takes 13 bytes, its address, and 24 if it is bound.
    let about = bytes.len() / 24;
    let (mut voters, mut outgoing, mut goal) = (NodeSet::with_capacity(about), NodeSet::new(), Goal::default());
    let mut nodes: NodeMap<Node> = NodeMap::with_capacity(about);
    let mut bindings = NodeMap::with_capacity(about);
    while !bytes.is_empty() {
        let (id, role, node) = decode_node(&mut bytes)?;
        if let Some((&before, _)) = nodes.last().filter(|(before, _)| **before >= id) {
            return Err(EnvelopeError::Unsorted { before, found: id });
        }
        if role & !ROLES != 0 {
            return Err(EnvelopeError::UnknownRole { node: id, role });
        }
        let sets = [
            (VOTER, &mut voters),
            (OUTGOING, &mut outgoing),
            (WILL_VOTE, &mut goal.voters),
            (STAYS, &mut goal.members),
            (ADDED, &mut goal.added),
        ];
        for (part, set) in sets {
            if role & part != 0 {
                set.insert(id);
            }
        }
        if role & BOUND != 0 {
            let directory = u64::from_le_bytes(take(&mut bytes)?);
            bindings.insert(id, Binding { directory, at: decode_id(&mut bytes)? });
        }
        nodes.insert(id, node);
    }
    let goal = (goal != Goal::default()).then_some(goal);
    let membership = Membership::from_parts(voters, outgoing, nodes, goal);
    let membership = membership.and_then(|it| it.with_bindings(bindings, head.of));
    let membership = membership.ok_or(EnvelopeError::ContradictoryMembership)?;
    Ok(membership.with_version(head.version.unwrap_or_default()).founded(head.founding.unwrap_or_default()))
}

fn decode_node(bytes: &mut &[u8]) -> Result<(NodeId, u8, Node), EnvelopeError> {
    let id = NodeId(u64::from_le_bytes(take(bytes)?));
    let [role] = take::<1>(bytes)?;
    let length = usize::try_from(u32::from_le_bytes(take(bytes)?)).unwrap_or(usize::MAX);
    let Some((address, rest)) = bytes.split_at_checked(length) else {
        return Err(EnvelopeError::Short { needed: length, found: bytes.len() });
    };
    *bytes = rest;
    let address = str::from_utf8(address).map_err(|_| EnvelopeError::BadAddress { node: id })?.to_owned();
    Ok((id, role, Node { address }))
}

fn decode_id(bytes: &mut &[u8]) -> Result<LogId, EnvelopeError> {
    Ok(LogId::new(u64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?)))
}

/// Takes the next `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], EnvelopeError> {
    let Some((array, rest)) = bytes.split_first_chunk::<N>() else {
        return Err(EnvelopeError::Short { needed: N, found: bytes.len() });
    };
    *bytes = rest;
    Ok(*array)
}

#[cfg(test)]
mod tests;
