//! What `log dump` says, each a line for people or an object for programs.
//!
//! ```text
//!   identity    node 1 of cluster cacf337d7b9dab37, directory 1f0e..., start 3
//!   vote        for 2 in term 4
//!   log         200 entries behind 1/100, committed up to 290, last 4/300
//!   snapshot    up to 4/200, 1234 bytes, checksum 0a1b2c3d, members of 0/1, version 1: 1=127.0.0.1:7101, ...
//!   members     1/9, version 2, founded as 7d21...: 1=127.0.0.1:7101, 2=127.0.0.1:7102, 3=127.0.0.1:7103 (learner)
//!   peer        node 2, directory 77ab..., start 5
//!   entry       4/201 command at 1234 ms, 48 bytes, session 17 number 3: put city Oslo
//! ```

use std::fmt;

use outrigger::engine::Membership;
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    Identity { node: u64, cluster: String, incarnation: String, start: u64 },
    Refused { reason: String },
    Vote { term: u64, voted_for: Option<u64> },
    Log { entries: u64, purged: Id, committed: u64, last: Id },
    Torn { file: String, offset: u64, bytes: u64, index: Option<u64>, reason: String },
    Snapshot(Snapshot),
    Unreadable { file: String, error: String },
    Members { at: Id, version: u16, founding: Option<String>, members: Vec<Member> },
    UnreadableMembers { at: Id, error: String },
    Peer { node: u64, incarnation: String, start: u64 },
    Entry(Entry),
}

/// A term and an index.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Id {
    pub(super) term: u64,
    pub(super) index: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    pub(super) last: Id,
    pub(super) bytes: u64,
    pub(super) checksum: String,
    pub(super) log_time_ms: u64,
    pub(super) members_at: Id,
    /// The cluster's.
    pub(super) version: u16,
    /// What it was founded as; null before that.
    pub(super) founding: Option<String>,
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Serialize)]
pub(super) struct Member {
    id: u64,
    address: String,
    /// Whether it votes, in the new set of voters while that changes.
    voter: bool,
    /// Whether it voted before a change that is under way.
    outgoing: bool,
    /// The data directory that is bound to the id; null before it was.
    directory: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) id: Id,
    pub(super) kind: &'static str,
    pub(super) log_time_ms: u64,
    /// Null outside of a session.
    pub(super) session: Option<u64>,
    pub(super) sequence: Option<u64>,
    /// Of the command, or whatever else it carries.
    pub(super) bytes: usize,
    /// Only if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<String>,
}

impl From<outrigger::engine::LogId> for Id {
    fn from(id: outrigger::engine::LogId) -> Self {
        Self { term: id.term.0, index: id.index.0 }
    }
}

pub(super) fn members(membership: &Membership) -> Vec<Member> {
    let member = |(id, node): (&outrigger::engine::NodeId, &outrigger::engine::Node)| Member {
        id: id.0,
        address: node.address.clone(),
        voter: membership.voters().contains(id),
        outgoing: membership.outgoing().contains(id),
        directory: membership.bindings().get(id).map(|binding| format!("{:016x}", binding.directory)),
    };
    membership.nodes().iter().map(member).collect()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.address)?;
        f.write_str(match (self.voter, self.outgoing) {
            (true, _) => "",
            (false, true) => " (leaves)",
            (false, false) => " (learner)",
        })
    }
}

fn joined(members: &[Member]) -> String {
    members.iter().map(Member::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { node, cluster, incarnation, start } => {
                write!(f, "identity    node {node} of cluster {cluster}, directory {incarnation}, start {start}")
            }
            Self::Refused { reason } => write!(f, "refused     {reason}"),
            Self::Vote { term, voted_for: Some(node) } => write!(f, "vote        for {node} in term {term}"),
            Self::Vote { term, voted_for: None } => write!(f, "vote        none in term {term}"),
            Self::Log { entries, purged, committed, last } => {
                write!(f, "log         {entries} entries behind {purged}, committed up to {committed}, last {last}")
            }
            Self::Torn { file, offset, bytes, index, reason } => {
                write!(f, "torn        {file} at offset {offset}, {bytes} bytes, which the next start cuts")?;
                index.map_or(Ok(()), |index| write!(f, " behind index {}", index.saturating_sub(1)))?;
                write!(f, ": {reason}")
            }
            Self::Snapshot(Snapshot { last, bytes, checksum, members_at, version, founding, members, .. }) => {
                write!(f, "snapshot    up to {last}, {bytes} bytes, checksum {checksum}")?;
                write!(f, ", members of {members_at}, version {version}")?;
                founding.iter().try_for_each(|founding| write!(f, ", founded as {founding}"))?;
                write!(f, ": {}", joined(members))
            }
            Self::Unreadable { file, error } => write!(f, "snapshot    {file} cannot be read: {error}"),
            Self::Members { at, version, founding, members } => {
                write!(f, "members     {at}, version {version}")?;
                founding.iter().try_for_each(|founding| write!(f, ", founded as {founding}"))?;
                write!(f, ": {}", joined(members))
            }
            Self::UnreadableMembers { at, error } => write!(f, "members     {at} cannot be read: {error}"),
            Self::Peer { node, incarnation, start } => {
                write!(f, "peer        node {node}, directory {incarnation}, start {start}")
            }
            Self::Entry(entry) => entry.fmt(f),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, log_time_ms, session, sequence, bytes, payload } = self;
        write!(f, "entry       {id} {kind} at {log_time_ms} ms, {bytes} bytes")?;
        if let (Some(session), Some(sequence)) = (session, sequence) {
            write!(f, ", session {session} number {sequence}")?;
        }
        payload.as_ref().map_or(Ok(()), |payload| write!(f, ": {payload}"))
    }
}
