//! All that the engine wants done: its whole output.
//!
//! Commands are plain data, emitted only once their condition holds: whoever executes them judges nothing. They travel
//! in lanes, each in order:
//!
//! | lane | commands | hands back |
//! |---|---|---|
//! | log | `Save*`, `AppendInputEntries`, `TruncateLog`, `PurgeLog` | never: that would block votes |
//! | apply | `Apply`, `StateMachine` | when the state machine lags |
//! | peer, one each | `Replicate`, `ReplicateCommitted`, `SendSnapshot` | when the connection is full |
//! | client | `Accepted`, `Changed`, `Transferred`, `Elected`, `Done`, `SnapshotTaken`, `Purged`, `Refused`, `Abandoned` | never |
//! | none | all others | never |
//!
//! The log lane needs no back-pressure from below: the engine itself bounds the bytes that are not flushed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::by_hand::NotElected;
use crate::entry::Batch;
use crate::membership::{Membership, Node};
use crate::message::{Heartbeat, Message, VoteRequest};
use crate::node_map::NodeMap;
use crate::refusal::{Fault, PeerRefusal, Refusal};
use crate::snapshot::Snapshot;
use crate::transfer::{NotTransferred, Transferred};
use crate::types::{
    Epoch, Incarnation, LogId, LogIndex, NodeId, Peer, RequestId, StateHash, Term, Token, Vote, WriteId,
};

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
    /// Drop every entry up to this one, durably: a durable snapshot covers them. If the log does not hold this entry, drop all
    /// entries: the log goes on right behind it. Answer with [`Event::LogFlushed`](crate::Event::LogFlushed).
    PurgeLog {
        /// Names the write.
        write: WriteId,
        /// The last entry that goes; all before it is committed, and it too.
        through: LogId,
    },
    /// Remember the commit index. Nothing waits for it: it may reach the disk with whatever is written next.
    SaveCommitted {
        /// The commit index.
        commit: LogIndex,
    },
    /// Make it durable that this node must never run from its data again: a peer had met a life that outranks it. Nothing
    /// waits for it: [`Command::Halt`] follows, and whoever runs the node writes what is queued before it ends.
    SaveRefusal {
        /// The peer.
        by: Peer,
        /// What it had met under this node's id.
        met: Incarnation,
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
    /// Send a piece of a snapshot to a peer as [`Message::InstallSnapshot`]; answer with
    /// [`Event::SnapshotSent`](crate::Event::SnapshotSent), or with [`Event::ReplicateGone`](crate::Event::ReplicateGone) if the
    /// snapshot is not there any more, or with [`Event::SnapshotUnreadable`](crate::Event::SnapshotUnreadable). At most one of these
    /// and `Replicate` per target is not yet answered.
    SendSnapshot {
        /// To whom.
        target: NodeId,
        /// The replication stream.
        epoch: Epoch,
        /// Matches the answers.
        request: RequestId,
        /// The leader's term.
        term: Term,
        /// Who leads in it: another node if this one sends in its stead.
        leader: NodeId,
        /// Which one.
        snapshot: Arc<Snapshot>,
        /// From which byte of its content on.
        offset: u64,
        /// How many bytes at most; 0 to ask how much of it is there.
        bytes_max: usize,
    },
    /// Keep a piece of a snapshot that is being received, if what is there of this very snapshot reaches up to it; answer with
    /// [`Event::SnapshotReceived`](crate::Event::SnapshotReceived) or [`Event::SnapshotSpoiled`](crate::Event::SnapshotSpoiled).
    /// What is there of another snapshot is thrown away. One at a time.
    ReceiveSnapshot {
        /// Which one.
        snapshot: Arc<Snapshot>,
        /// Where the piece stands in its content.
        offset: u64,
        /// The piece; it may be empty.
        chunk: Bytes,
    },
    /// From now on there is one replication stream to each of these and to nobody else; others end. A follower has some only while
    /// it sends snapshots in its leader's stead.
    RebuildReplicationStreams {
        /// To whom, and the name of the stream; empty when this node sends nothing.
        targets: Vec<(NodeId, Epoch)>,
    },
    /// From now on these are the other nodes, and there they are reached. Connections to others end.
    SetPeers {
        /// Everybody who is a member by any entry that may come to count, but this node.
        peers: NodeMap<Node>,
    },
    /// From now on this node's messages say this of it: it has learnt of which cluster it is, or by which entry its directory is a
    /// member. It comes before what is sent knowing that.
    Sign {
        /// This node, in this life: [`Engine::signature`](crate::Engine::signature).
        signature: Peer,
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
    /// What is sent to this node is for this life of it, there where that says itself that it is reached: it leads, or asks for a
    /// vote that it may get, and may have another address in the members that are known here, or none. So it stays until a
    /// [`Command::SetPeers`] says another address than before, or this life is connected to this node no more.
    ///
    /// It comes before what is answered; once for a life, and again once it has connected anew, another one was answered, or
    /// [`Command::SetPeers`] came. Most of the time the life is where the members say, and there is nothing to do.
    AnswerPeer {
        /// Whom.
        peer: Peer,
    },
    /// The entries of a [`Event::Propose`](crate::Event::Propose) will have these ids, or will never be applied. Whoever
    /// applies them answers the callers.
    Accepted {
        /// Who asked.
        token: Token,
        /// The id of the first entry.
        first: LogId,
    },
    /// The members are what the caller of [`Event::ChangeMembers`](crate::Event::ChangeMembers) wanted: all steps are committed.
    Changed {
        /// Who asked.
        token: Token,
        /// The entry that says who they are.
        at: LogId,
    },
    /// What has come of [`Event::TransferLeadership`](crate::Event::TransferLeadership).
    Transferred {
        /// Who asked.
        token: Token,
        /// Who leads now, if it is who was to.
        result: Result<Transferred, NotTransferred>,
    },
    /// What has come of [`Event::Elect`](crate::Event::Elect).
    Elected {
        /// Who asked.
        token: Token,
        /// The term in which this node leads.
        result: Result<Term, NotElected>,
    },
    /// What the caller wanted of this node is done.
    Done {
        /// Who asked.
        token: Token,
    },
    /// A snapshot that covers all that was committed when it was asked for is durable.
    SnapshotTaken {
        /// Who asked.
        token: Token,
        /// The last entry that it covers.
        last: LogId,
    },
    /// What the caller of [`Event::Purge`](crate::Event::Purge) wanted the log to let go of is ordered gone.
    Purged {
        /// Who asked.
        token: Token,
        /// The log goes on behind this entry; [`LogId::ZERO`] if it holds everything.
        through: LogId,
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
    /// Nodes that have applied the same entries are in different states: somebody should be told. Those that differ from what a
    /// quorum agrees upon stop by themselves.
    StatesDiffer {
        /// Behind this entry.
        at: LogIndex,
        /// What a quorum has; `None` if nobody can tell who is right.
        agreed: Option<StateHash>,
        /// Who has which, as far as they have said.
        hashes: BTreeMap<NodeId, StateHash>,
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
    /// Take a snapshot of the state as it is here: after `last`. Answer with
    /// [`Event::SnapshotBuilt`](crate::Event::SnapshotBuilt) once it is durable, or with
    /// [`Event::SnapshotFailed`](crate::Event::SnapshotFailed); the entries behind need not wait for that.
    BuildSnapshot {
        /// The last entry that it covers.
        last: LogId,
        /// The entry that says who the members are.
        membership_at: LogId,
        /// The members.
        membership: Arc<Membership>,
    },
    /// Hash the state as it is here: after `at`. Answer with [`Event::StateHashed`](crate::Event::StateHashed); the entries behind
    /// need not wait for that. There is one at a time.
    HashState {
        /// The last entry that is applied.
        at: LogIndex,
    },
    /// Take in this snapshot, which is durable, in the place of the state. Answer with
    /// [`Event::Applied`](crate::Event::Applied).
    InstallSnapshot {
        /// Which one.
        snapshot: Arc<Snapshot>,
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
            | Self::PurgeLog { .. }
            | Self::SaveCommitted { .. }
            | Self::SaveRefusal { .. } => Some(Lane::Log),
            Self::Apply { .. } | Self::StateMachine(_) => Some(Lane::Apply),
            Self::Replicate { target, .. }
            | Self::ReplicateCommitted { target, .. }
            | Self::SendSnapshot { target, .. } => Some(Lane::Peer(*target)),
            Self::Accepted { .. }
            | Self::Changed { .. }
            | Self::Transferred { .. }
            | Self::Elected { .. }
            | Self::Done { .. }
            | Self::SnapshotTaken { .. }
            | Self::Purged { .. }
            | Self::Refused { .. }
            | Self::Abandoned { .. } => Some(Lane::Client),
            Self::RebuildReplicationStreams { .. }
            | Self::SetPeers { .. }
            | Self::Sign { .. }
            | Self::ReceiveSnapshot { .. }
            | Self::BroadcastHeartbeat { .. }
            | Self::SendVote { .. }
            | Self::SendMessage { .. }
            | Self::RefusePeer { .. }
            | Self::AnswerPeer { .. }
            | Self::StatesDiffer { .. }
            | Self::Halt { .. } => None,
        }
    }
}
