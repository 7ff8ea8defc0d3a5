//! All that can happen to the engine: its whole input.

use std::sync::Arc;

use crate::change_members::ChangeRequest;
use crate::consistency::Consistency;
use crate::entry::Payload;
use crate::membership::Membership;
use crate::message::Message;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::types::{Epoch, Incarnation, LogIndex, NodeId, Peer, RequestId, StateHash, Term, Token, WriteId};

/// One thing that happened, handed to [`Engine::handle_event`](crate::Engine::handle_event).
///
/// Events are plain data: whoever waits for an answer is a [`Token`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The deadline that [`Engine::poll_timeout`](crate::Engine::poll_timeout) named has come.
    Timeout,
    /// The first entry of an empty log. Every node of a new cluster gets the same. Refused with
    /// [`Refusal::AlreadyInitialized`](crate::Refusal::AlreadyInitialized) when the log is not empty, and with
    /// [`Refusal::VersionNotSpoken`](crate::Refusal::VersionNotSpoken) when the members are of a version that the node does not speak.
    Initialize {
        /// Who is asking.
        token: Token,
        /// The members that the cluster begins with.
        membership: Arc<Membership>,
    },
    /// Clients want these entries in the log, in this order. A leader stamps and appends them; a follower hands them to its leader.
    Propose {
        /// Who is asking.
        token: Token,
        /// The entries, not empty; each is blank or a command.
        entries: Arc<[Payload]>,
        /// The only term whose leader may take them in, and thereby the only leader, if it matters. Otherwise refused with
        /// [`Refusal::PreconditionFailed`](crate::Refusal::PreconditionFailed).
        only_in: Option<Term>,
    },
    /// Somebody wants other members (thesis, chapter 4). Only a leader takes it; it answers with
    /// [`Command::Changed`](crate::Command::Changed) when all of it is committed. If leadership goes meanwhile, the caller is told
    /// that the outcome is unknown, and the next leader ends what was begun.
    ChangeMembers {
        /// Who is asking.
        token: Token,
        /// What is wanted.
        request: Arc<ChangeRequest>,
    },
    /// A client wants to read (thesis, section 6.4).
    Read {
        /// Who is asking.
        token: Token,
        /// How new the state must be that it sees.
        consistency: Consistency,
    },
    /// Somebody wants another leader (thesis, section 3.10). Only a leader takes it; it answers with
    /// [`Command::Transferred`](crate::Command::Transferred). Until then, for the shortest election timeout at most, it takes no
    /// proposals, reads or changes of the members: they are refused with [`Refusal::Transferring`](crate::Refusal::Transferring).
    TransferLeadership {
        /// Who is asking.
        token: Token,
        /// Who shall lead; `None` for the voter that lacks the least, and of those the one that was heard from last.
        to: Option<NodeId>,
    },
    /// Somebody wants this node to campaign now. Answered with [`Command::Elected`](crate::Command::Elected).
    Elect {
        /// Who is asking.
        token: Token,
        /// Whether to ask for pre-votes first, as a node that campaigns by itself does: a leader that is at work stays. Without,
        /// it is deposed if this node's log lacks nothing of a majority's, and if it may hold no lease: no election by hand comes
        /// before that is over, see [`NotElected::Pledged`](crate::NotElected::Pledged).
        pre_vote: bool,
    },
    /// Somebody wants this leader to lead no more, whoever comes after it. It does not campaign by itself for one (the longest)
    /// election timeout. Answered with [`Command::Done`](crate::Command::Done); refused on a node that does not lead.
    StepDown {
        /// Who is asking.
        token: Token,
    },
    /// Somebody knows that the leader is gone: this follower takes it for silent from now on, and gives pre-votes at once rather
    /// than after an election timeout, though not before a lease of that leader is over. One that is heard from after all is followed
    /// as before. Answered with
    /// [`Command::Done`](crate::Command::Done); refused on a node that follows nobody.
    ForgetLeader {
        /// Who is asking.
        token: Token,
    },
    /// Whether this node campaigns by itself, which it does until it is told otherwise. If not, it still votes, and campaigns when
    /// its leader or [`Event::Elect`] wants it to. A restart forgets it. Answered with [`Command::Done`](crate::Command::Done).
    SetElections {
        /// Who is asking.
        token: Token,
        /// Whether it does.
        on: bool,
    },
    /// How much this node wants to lead, in the place of [`EngineConfig::priority`](crate::EngineConfig::priority), to which a
    /// restart returns. It counts from when this node hears from its leader next, or campaigns; nobody is deposed by it. Answered
    /// with [`Command::Done`](crate::Command::Done).
    SetPriority {
        /// Who is asking.
        token: Token,
        /// From 0 to 255, the most.
        priority: u8,
    },
    /// A message from another node, or a handshake with it, which is a message without content.
    Received {
        /// Who sent it, in which life.
        from: Peer,
        /// What it says; `None` for a handshake.
        message: Option<Message>,
    },
    /// A peer has refused to listen to this life of this node. A runtime reports it only if the peer could be believed to be
    /// who it says: after a handshake, on a connection that this node made itself.
    Refused {
        /// The peer.
        by: Peer,
        /// What it had met under this node's id, if that is why.
        met: Option<Incarnation>,
        /// Why, for people.
        reason: String,
    },
    /// A handshake with whoever is where a peer is said to be came to nothing, here or there: it is another node, or of another cluster,
    /// or speaks another protocol. It is told in the [status](crate::Status::refuses), for a while.
    Misfit {
        /// The peer.
        node: NodeId,
        /// What does not fit, for people.
        reason: String,
    },
    /// Everything on the log lane up to this write is durable.
    LogFlushed {
        /// The last durable write.
        write: WriteId,
    },
    /// The log lane failed: nothing after what was flushed is durable, and nothing will be.
    StorageFailed {
        /// What went wrong, for people.
        reason: String,
    },
    /// A [`Command::Replicate`](crate::Command::Replicate) has been handed to the network. Whether it arrives is not known.
    Sent {
        /// The command's.
        target: NodeId,
        /// The command's.
        epoch: Epoch,
        /// The command's.
        request: RequestId,
        /// The last entry that was sent; before the command's `last` when `bytes_max` cut it.
        last: LogIndex,
        /// How many bytes of entries were sent, as the limits count them.
        bytes: usize,
    },
    /// A [`Command::Replicate`](crate::Command::Replicate) could not be executed: the log no longer holds those entries under those ids.
    ReplicateGone {
        /// The command's.
        target: NodeId,
        /// The command's.
        epoch: Epoch,
        /// The command's.
        request: RequestId,
    },
    /// Somebody wants a snapshot of what is committed now, whatever the policy says. Answered with
    /// [`Command::SnapshotTaken`](crate::Command::SnapshotTaken) once it is durable.
    TakeSnapshot {
        /// Who is asking.
        token: Token,
    },
    /// Somebody wants the log to let go of what the newest durable snapshot covers, whatever the policy keeps. Answered with
    /// [`Command::Purged`](crate::Command::Purged).
    Purge {
        /// Who is asking.
        token: Token,
        /// So many entries that the snapshot covers stay, for followers that are a little behind.
        keep_entries: u64,
    },
    /// What a [`StateMachineRequest::BuildSnapshot`](crate::StateMachineRequest::BuildSnapshot) asked for is durable.
    SnapshotBuilt {
        /// The snapshot.
        snapshot: Arc<Snapshot>,
    },
    /// What a [`StateMachineRequest::BuildSnapshot`](crate::StateMachineRequest::BuildSnapshot) asked for could not be kept.
    /// Nothing is lost by it; it is tried again later.
    SnapshotFailed {
        /// What went wrong, for people.
        reason: String,
    },
    /// A [`Command::ReceiveSnapshot`](crate::Command::ReceiveSnapshot) was executed.
    SnapshotReceived {
        /// The command's.
        id: SnapshotId,
        /// How many bytes are there, from the beginning. All of them only once they are durable and match the checksum.
        held: u64,
    },
    /// What was received of a snapshot is not what was sent, or there is no room for it. It was removed.
    SnapshotSpoiled {
        /// The command's.
        id: SnapshotId,
        /// What went wrong, for people.
        reason: String,
    },
    /// A [`Command::SendSnapshot`](crate::Command::SendSnapshot) has been handed to the network. One that could not be
    /// executed, because the snapshot is not there any more, is a [`Event::ReplicateGone`].
    SnapshotSent {
        /// The command's.
        target: NodeId,
        /// The command's.
        epoch: Epoch,
        /// The command's.
        request: RequestId,
    },
    /// A [`Command::SendSnapshot`](crate::Command::SendSnapshot) could not be executed: the snapshot cannot be read, or is not what
    /// was written, or another one of the same entries has taken its place. The node goes on, for its state is in memory, and takes
    /// another one.
    SnapshotUnreadable {
        /// The command's.
        target: NodeId,
        /// The command's.
        epoch: Epoch,
        /// The command's.
        request: RequestId,
        /// The snapshot's.
        id: SnapshotId,
        /// What is wrong and where, for people.
        reason: String,
    },
    /// The newest snapshot was read for somebody outside of the cluster and is not what was written, as in
    /// [`SnapshotUnreadable`](Event::SnapshotUnreadable).
    SnapshotRotten {
        /// The snapshot's.
        id: SnapshotId,
        /// What is wrong and where, for people.
        reason: String,
    },
    /// The state machine has applied everything up to this index, or has taken in a snapshot of it.
    Applied {
        /// The last applied entry.
        last: LogIndex,
    },
    /// A [`StateMachineRequest::HashState`](crate::StateMachineRequest::HashState) was carried out.
    StateHashed {
        /// The request's.
        at: LogIndex,
        /// What came of it; `None` if the state could not be hashed, which harms nobody.
        hash: Option<StateHash>,
    },
    /// The state machine cannot go on: an entry did not decode, or `apply` panicked.
    StateMachineFailed {
        /// The entry at which it stopped.
        at: LogIndex,
        /// What went wrong, for people.
        reason: String,
    },
}
