//! All that the engine wants done: its whole output.
//!
//! Commands are plain data, emitted only once their condition holds: whoever executes them judges nothing. They travel
//! in lanes, each in order:
//!
//! | lane | commands | hands back |
//! |---|---|---|
//! | log | `SaveVote`, `SavePeer`, `AppendInputEntries`, `TruncateLog`, `SaveCommitted` | never: that would block votes |
//! | apply | `Apply`, `StateMachine` | when the state machine lags |
//! | peer, one each | `Replicate`, `ReplicateCommitted` | when the connection is full |
//! | client | `Accepted`, `Refused`, `Abandoned` | never |
//! | none | all others | never |
//!
//! The log lane needs no back-pressure from below: the engine itself bounds the bytes that are not flushed.

use std::fmt;

use crate::entry::Batch;
use crate::message::{Heartbeat, Message, VoteRequest};
use crate::types::{Epoch, LogId, LogIndex, NodeId, Peer, RequestId, Term, Token, Vote, WriteId};

/// One thing to do, taken from [`Engine::poll_command`](crate::Engine::poll_command).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make the vote durable; answer with [`Event::LogFlushed`](crate::Event::LogFlushed).
    SaveVote {
        /// Names the write.
        write: WriteId,
        /// The vote.
        vote: Vote,
    },
    /// Make it durable that this life of a peer was met, so that an older one is refused after a restart too; answer with
    /// [`Event::LogFlushed`](crate::Event::LogFlushed).
    SavePeer {
        /// Names the write.
        write: WriteId,
        /// The peer.
        peer: Peer,
    },
    /// Append entries to the log, durably; answer with [`Event::LogFlushed`](crate::Event::LogFlushed).
    AppendInputEntries {
        /// Names the write.
        write: WriteId,
        /// The entries; the first follows the last of the log.
        batches: Vec<Batch>,
    },
    /// Drop every entry with a higher index: they conflict with the leader's (Raft paper, section 5.3).
    TruncateLog {
        /// Names the write.
        write: WriteId,
        /// The last entry that stays.
        after: LogId,
    },
    /// Remember the commit index. Nothing waits for it: it may reach the disk with whatever is written next.
    SaveCommitted {
        /// The commit index.
        commit: LogIndex,
    },
    /// Apply these entries to the state machine; answer with [`Event::Applied`](crate::Event::Applied).
    Apply {
        /// The first one, right after the last of the `Apply` before.
        first: LogIndex,
        /// The last one.
        last: LogId,
    },
    /// Ask the state machine. Everything that the answer depends on has been handed to the same lane before.
    StateMachine(StateMachineRequest),
    /// Send entries to a peer as [`Message::AppendEntries`]; answer with [`Event::Sent`](crate::Event::Sent), or with
    /// [`Event::ReplicateGone`](crate::Event::ReplicateGone) if the log no longer holds `prev..last` under those ids. At most
    /// one per target is not yet answered.
    Replicate {
        /// To whom.
        target: NodeId,
        /// The replication stream.
        epoch: Epoch,
        /// Matches the answers.
        request: RequestId,
        /// The leader's term.
        term: Term,
        /// The entry before the first to send.
        prev: LogId,
        /// The last entry to send; `prev` for none.
        last: LogId,
        /// The leader's commit index.
        commit: LogIndex,
        /// Send no more than this many bytes of entries, but at least one entry.
        bytes_max: usize,
    },
    /// Tell a peer how much is committed, as [`Message::Committed`].
    ReplicateCommitted {
        /// To whom.
        target: NodeId,
        /// The leader's term.
        term: Term,
        /// Its commit index.
        commit: LogIndex,
    },
    /// From now on there is one replication stream to each of these and to nobody else; others end.
    RebuildReplicationStreams {
        /// To whom, and the name of the stream; empty when this node does not lead.
        targets: Vec<(NodeId, Epoch)>,
    },
    /// Send a heartbeat to each of these.
    BroadcastHeartbeat {
        /// To whom.
        targets: Vec<NodeId>,
        /// What to send.
        heartbeat: Heartbeat,
    },
    /// Ask each of these for a vote.
    SendVote {
        /// To whom.
        targets: Vec<NodeId>,
        /// What to ask.
        request: VoteRequest,
        /// Whether as [`Message::PreVote`] or as [`Message::RequestVote`].
        pre_vote: bool,
    },
    /// Send any other message: an answer, or a client's request on its way to the leader.
    SendMessage {
        /// To whom.
        target: NodeId,
        /// What.
        message: Message,
    },
    /// Close the connection to a peer and say why.
    RefusePeer {
        /// Whom.
        peer: Peer,
        /// Why.
        reason: PeerRefusal,
    },
    /// The entries of a [`Event::Propose`](crate::Event::Propose) will have these ids, or will never be applied. Whoever
    /// applies them answers the callers.
    Accepted {
        /// Who asked.
        token: Token,
        /// The id of the first entry.
        first: LogId,
    },
    /// The answer to whoever asked is no.
    Refused {
        /// Who asked.
        token: Token,
        /// Why, and whether the outcome is known.
        refusal: Refusal,
    },
    /// What becomes of accepted entries from this index on is not known any more: leadership changed. Callers that
    /// wait for them are told so.
    Abandoned {
        /// The first index whose outcome is unknown.
        from: LogIndex,
    },
    /// The node has stopped taking part, for good.
    Halt {
        /// Why.
        fault: Fault,
    },
}

/// What the state machine is asked, in its place among the entries to apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StateMachineRequest {
    /// Run the read of this caller: it is linearizable here (thesis, section 6.4).
    Read {
        /// Who asked.
        token: Token,
    },
}

/// The lane in which a command travels; within a lane, order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes and entries, to the disk.
    Log,
    /// Entries and requests, to the state machine.
    Apply,
    /// Entries, to one peer.
    Peer(NodeId),
    /// Answers to callers.
    Client,
}

impl Command {
    /// The lane of this command; `None` if it stands in none.
    #[must_use]
    pub const fn lane(&self) -> Option<Lane> {
        match self {
            Self::SaveVote { .. }
            | Self::SavePeer { .. }
            | Self::AppendInputEntries { .. }
            | Self::TruncateLog { .. }
            | Self::SaveCommitted { .. } => Some(Lane::Log),
            Self::Apply { .. } | Self::StateMachine(_) => Some(Lane::Apply),
            Self::Replicate { target, .. } | Self::ReplicateCommitted { target, .. } => Some(Lane::Peer(*target)),
            Self::Accepted { .. } | Self::Refused { .. } | Self::Abandoned { .. } => Some(Lane::Client),
            Self::RebuildReplicationStreams { .. }
            | Self::BroadcastHeartbeat { .. }
            | Self::SendVote { .. }
            | Self::SendMessage { .. }
            | Self::RefusePeer { .. }
            | Self::Halt { .. } => None,
        }
    }
}

/// Why a caller is told no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No leader is known. Nothing was done; try again when there is one.
    NoLeader,
    /// The node that was asked does not lead in the term that the question named. Nothing was done.
    NotLeader,
    /// Leadership changed before a read was confirmed. Nothing was done; try again.
    LeadershipLost,
    /// More is in hand than the limits allow. Nothing was done; try again later.
    Overloaded {
        /// What is in hand, in the unit of the limit (bytes or counts).
        current: usize,
        /// The limit.
        limit: usize,
    },
    /// An entry is larger than the limit. Nothing was done, and nothing will be.
    EntryTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The log is not empty: there is nothing to initialize.
    AlreadyInitialized,
    /// The membership of an `Initialize` has no voter.
    NoVoters,
    /// The entries were handed to the leader and no answer came: they may or may not be applied.
    Unknown,
    /// This node has halted. Nothing was done.
    Halted,
}

impl Refusal {
    /// Whether it is certain that nothing was done, so that trying again cannot do it twice.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader is known; try again when there is one"),
            Self::NotLeader => f.write_str("the node that was asked does not lead; try again"),
            Self::LeadershipLost => f.write_str("leadership changed before the read was confirmed; try again"),
            Self::Overloaded { current, limit } => {
                write!(f, "{current} in hand, the limit is {limit}; try again later")
            }
            Self::EntryTooLarge { bytes, limit } => {
                write!(f, "an entry of {bytes} bytes exceeds the limit of {limit} bytes; send less")
            }
            Self::AlreadyInitialized => f.write_str("the log is not empty; the cluster is initialized already"),
            Self::NoVoters => f.write_str("the membership has no voter; name at least one"),
            Self::Unknown => f.write_str("the leader did not answer; the entries may or may not be applied"),
            Self::Halted => f.write_str("this node has halted"),
        }
    }
}

/// Why a peer is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// Its data directory is not the one that was met under its id: it was wiped or replaced.
    OtherIncarnation {
        /// The incarnation that was met.
        met: u64,
    },
    /// It runs from an older copy of its data directory.
    EarlierStart {
        /// The highest start that was met.
        met: u64,
    },
    /// Two copies of its data directory run at once.
    SecondCopy,
    /// It claims to be this very node.
    OwnId,
    /// More nodes than this have been met already, and it is not a member.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Its message contradicts what Raft guarantees.
    Inconsistent(Inconsistency),
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherIncarnation { met } => write!(
                f,
                "another data directory (incarnation {met:016x}) was met under its id; was it wiped? remove the node and add it again"
            ),
            Self::EarlierStart { met } => {
                write!(f, "start {met} was met under its id; is its data directory an older copy?")
            }
            Self::SecondCopy => f.write_str("another copy of its data directory is running; stop one"),
            Self::OwnId => f.write_str("it uses this node's own id; every node needs an id of its own"),
            Self::TooMany { limit } => write!(f, "{limit} nodes were met already, and it is not a member"),
            Self::Inconsistent(inconsistency) => inconsistency.fmt(f),
        }
    }
}

/// How a message contradicts what Raft guarantees: a bug or a corrupt disk elsewhere. The message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Inconsistency {
    /// Another node claims leadership in a term that has a leader (Election Safety).
    SecondLeader {
        /// The term.
        term: Term,
        /// Its leader.
        leader: NodeId,
    },
    /// Entries would replace one that is committed (Leader Completeness).
    CommittedConflict {
        /// The committed entry.
        committed: LogId,
        /// What should take its place.
        proposed: LogId,
    },
    /// Entries are not contiguous, go back in term, or exceed the term of their leader.
    Entries {
        /// The entry that should have come before.
        prev: LogId,
        /// The one that came.
        found: LogId,
    },
    /// The leader of a term replaces an entry that it has itself sent in that term (Leader Append-Only).
    Rewritten {
        /// What it sent first.
        held: LogId,
        /// What should take its place.
        proposed: LogId,
    },
    /// A follower lacks entries that it had acknowledged as durable: its disk lied, or it runs on an older copy.
    Forgotten {
        /// What it had acknowledged.
        acknowledged: LogIndex,
        /// How far its log can agree now.
        holds: LogIndex,
    },
    /// A term or an index that no cluster reaches, or a leader of term 0.
    OutOfRange {
        /// The number.
        number: u64,
    },
    /// An acknowledgement goes beyond what was sent.
    BeyondLog {
        /// What was acknowledged.
        matched: LogIndex,
        /// The last index of the log.
        last: LogIndex,
    },
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondLeader { term, leader } => {
                write!(f, "it claims to lead in term {term}, which node {leader} leads")
            }
            Self::CommittedConflict { committed, proposed } => {
                write!(f, "it would replace the committed entry {committed} by {proposed}")
            }
            Self::Entries { prev, found } => write!(f, "its entry {found} cannot follow {prev}"),
            Self::Rewritten { held, proposed } => {
                write!(f, "it replaces its own entry {held} by {proposed} within a term")
            }
            Self::Forgotten { acknowledged, holds } => write!(
                f,
                "it acknowledged index {acknowledged} as durable and holds no more than {holds}; did its disk lose data, or is \
                 its directory an older copy? remove the node and add it again"
            ),
            Self::OutOfRange { number } => write!(f, "no cluster reaches a term or an index of {number}"),
            Self::BeyondLog { matched, last } => {
                write!(f, "it acknowledges index {matched}, but the log ends at {last}")
            }
        }
    }
}

/// Why a node has stopped taking part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The log lane failed.
    Storage {
        /// What went wrong.
        reason: String,
    },
    /// The state machine could not apply an entry.
    StateMachine {
        /// The entry.
        at: LogIndex,
        /// What went wrong.
        reason: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { reason } => write!(f, "the log failed: {reason}"),
            Self::StateMachine { at, reason } => write!(f, "the state machine stopped at index {at}: {reason}"),
        }
    }
}
