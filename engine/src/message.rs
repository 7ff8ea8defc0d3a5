//! What nodes say to each other, by the names of the paper and the thesis.
//!
//! Every request that wants an answer carries what its answer is matched by (a term, a round, a request id), so that a
//! message that is late, lost, doubled or overtaken does no harm.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::consistency::Proof;
use crate::entry::{Batch, Payload};
use crate::refusal::{Inconsistency, Refusal};
use crate::snapshot::{Snapshot, SnapshotId};
use crate::types::{Epoch, LogId, LogIndex, NodeId, RequestId, Round, StateHash, Term};

/// One message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Would you vote for me? Changes nothing at the receiver (thesis, section 9.6).
    PreVote(VoteRequest),
    /// The answer to [`Message::PreVote`].
    PreVoteReply(VoteReply),
    /// Vote for me (Raft paper, section 5.2).
    RequestVote(VoteRequest),
    /// The answer to [`Message::RequestVote`].
    RequestVoteReply(VoteReply),
    /// Append these entries (Raft paper, section 5.3).
    AppendEntries(AppendEntries),
    /// The answer to [`Message::AppendEntries`], sent once what it promises is durable.
    AppendEntriesReply(AppendEntriesReply),
    /// I lead. Needs no disk to be answered, so that a slow disk costs no leader its leadership.
    Heartbeat(Heartbeat),
    /// The answer to [`Message::Heartbeat`].
    HeartbeatReply(HeartbeatReply),
    /// This much is committed; sent when there is nothing to replicate that could carry it. Wants no answer.
    Committed {
        /// The leader's term.
        term: Term,
        /// Its commit index.
        commit: LogIndex,
    },
    /// A follower asks its leader for a read index (thesis, section 6.4).
    ReadIndex {
        /// The term in which the receiver is believed to lead; it answers in no other.
        term: Term,
        /// Matches the answer.
        request: RequestId,
        /// What must show the leader that it leads before it answers.
        proof: Proof,
    },
    /// The answer to [`Message::ReadIndex`].
    ReadIndexReply {
        /// The question's.
        request: RequestId,
        /// Everything acknowledged before the question is at or below this index; or why there is none.
        outcome: Result<LogIndex, Refusal>,
    },
    /// A follower hands its clients' entries to its leader. Sent at most once.
    Propose {
        /// The term in which the receiver is believed to lead. It takes the entries in no other, so that a late copy
        /// of this message cannot append them again.
        term: Term,
        /// Matches the answer; a leader takes only increasing ones from a node.
        request: RequestId,
        /// The entries, not empty.
        entries: Arc<[Payload]>,
    },
    /// The answer to [`Message::Propose`].
    ProposeReply {
        /// The question's.
        request: RequestId,
        /// The id that the first entry got in the leader's log (the others follow it); or why they were not taken in.
        outcome: Result<LogId, Refusal>,
    },
    /// A piece of a snapshot, for a follower that lacks what the log no longer holds (Raft paper, section 7). Once the follower
    /// has installed all of it, it answers like to [`Message::AppendEntries`].
    InstallSnapshot(InstallSnapshot),
    /// The answer to [`Message::InstallSnapshot`] while the snapshot is not installed; to the leader, whoever has sent the piece.
    InstallSnapshotReply(InstallSnapshotReply),
    /// Send a piece of your snapshot to somebody in my stead, as [`Message::InstallSnapshot`]. Wants no answer: the target
    /// answers me.
    DelegateSnapshot(DelegateSnapshot),
    /// Campaign at once: the leader wants the receiver, which has all of its log, to lead instead (thesis, section 3.10). Wants no
    /// answer: the campaign is one.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// Hash the state right behind an entry, as soon as that is applied, so that it can be compared with the leader's.
    HashState {
        /// The leader's term.
        term: Term,
        /// The entry.
        at: LogIndex,
    },
    /// The answer to [`Message::HashState`]; it is as good in any term, for the entry is committed.
    StateHashed {
        /// The question's.
        at: LogIndex,
        /// Of the state behind it.
        hash: StateHash,
    },
    /// The receiver's state is another than that of a quorum. It must stop.
    StateDiffers {
        /// The leader's term.
        term: Term,
        /// Behind this entry.
        at: LogIndex,
        /// What a quorum has.
        agreed: StateHash,
    },
}

/// [`Message::PreVote`] and [`Message::RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VoteRequest {
    /// The term that the sender campaigns in; in a pre-vote the one that it would campaign in.
    pub term: Term,
    /// The sender's last entry: a voter refuses a log that lacks what it has (Raft paper, section 5.4.1).
    pub last: LogId,
    /// Whether a leader that is at work may be deposed by it.
    pub warrant: Warrant,
}

/// By whose will a node campaigns: whether a leader that is at work may be deposed by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Warrant {
    /// By its own: it is not heard beside such a leader (thesis, section 4.2.3).
    #[default]
    None,
    /// By that of a person: such a leader is deposed, unless it may hold a lease.
    Operator,
    /// By that of the leader itself (thesis, section 3.10), which has given up its lease before.
    Leader,
}

impl Warrant {
    /// Whether a leader that is at work, and holds no lease, may be deposed.
    #[must_use]
    pub const fn may_disrupt(self) -> bool {
        matches!(self, Self::Operator | Self::Leader)
    }
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VoteReply {
    /// The voter's term; when higher than the asker's, the asker adopts it.
    pub term: Term,
    /// The term that was asked for: matches the answer to the campaign.
    pub asked: Term,
    /// Whether the vote was given.
    pub granted: bool,
}

/// [`Message::AppendEntries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The replication stream that this is part of.
    pub epoch: Epoch,
    /// Matches the answer.
    pub request: RequestId,
    /// The entry before the first of `batches`; the receiver must have it.
    pub prev: LogId,
    /// The entries, contiguous from `prev` on; none to probe.
    pub batches: Vec<Batch>,
    /// The leader's commit index; may be beyond `batches`.
    pub commit: LogIndex,
}

/// [`Message::AppendEntriesReply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntriesReply {
    /// The follower's term when it took the request in.
    pub term: Term,
    /// The question's.
    pub epoch: Epoch,
    /// The question's.
    pub request: RequestId,
    /// What came of it.
    pub outcome: AppendOutcome,
}

/// What came of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The follower's log is durable and the same as the leader's up to this index.
    Matched(LogIndex),
    /// The follower lacks `prev`. `hint` is the last entry of its own log, at or before `prev`, that could be the
    /// leader's too: its term is not above `prev`'s. The leader goes on from there (Raft paper, end of section 5.3).
    Conflict {
        /// See above; [`LogId::ZERO`] when there is none.
        hint: LogId,
    },
    /// The sender's term is over.
    Stale,
}

/// [`Message::InstallSnapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshot {
    /// The leader's term.
    pub term: Term,
    /// Who leads in it, and gets the answer: the sender, unless that sends in the leader's stead.
    pub leader: NodeId,
    /// The leader's replication stream that this is part of.
    pub epoch: Epoch,
    /// Matches the answer.
    pub request: RequestId,
    /// Which snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Where in its content the piece stands, in bytes.
    pub offset: u64,
    /// The piece; empty to ask how much of the snapshot is there already.
    pub chunk: Bytes,
}

/// [`Message::InstallSnapshotReply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshotReply {
    /// The follower's term when it took the piece in.
    pub term: Term,
    /// The question's.
    pub epoch: Epoch,
    /// The question's.
    pub request: RequestId,
    /// Which snapshot: a leader does not know before what its delegate has.
    pub snapshot: SnapshotId,
    /// How many bytes of the snapshot are there, from its beginning; `None` if the piece came and could not be taken in now.
    pub held: Option<u64>,
}

/// [`Message::DelegateSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DelegateSnapshot {
    /// The leader's term.
    pub term: Term,
    /// Whom the piece is for.
    pub target: NodeId,
    /// The leader's replication stream to the target.
    pub epoch: Epoch,
    /// Matches the target's answer; increases.
    pub request: RequestId,
    /// What is to be sent.
    pub wanted: Wanted,
}

/// What a delegate is to send of its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The question how much the target has of the newest, if that covers this entry: the leader's log goes on behind it.
    Newest {
        /// The entry.
        covers: LogIndex,
    },
    /// A piece of this one.
    Piece {
        /// Which.
        id: SnapshotId,
        /// Where in its content the piece begins, in bytes.
        offset: u64,
    },
}

/// [`Message::Heartbeat`]: the same for all followers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// The leader's term.
    pub term: Term,
    /// Matches the answer; increases.
    pub round: Round,
    /// The leader's commit index. A follower commits no more of it than it has verified against this leader.
    pub commit: LogIndex,
    /// For how long, from when it hears this, a node must neither vote for another nor campaign: the leader's lease rests on it.
    /// Zero if this leader holds no leases.
    pub pledge: Duration,
}

/// [`Message::HeartbeatReply`]: also tells what of the leader's stream arrived, so that neither a lost request nor a
/// lost answer stalls replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeartbeatReply {
    /// The follower's term.
    pub term: Term,
    /// The question's term: rounds begin anew with each, and an answer to an earlier leadership counts for nothing.
    pub asked: Term,
    /// The question's.
    pub round: Round,
    /// The highest index up to which the follower verified its log against this leader, durable or not.
    pub received: LogIndex,
    /// The part of `received` that is durable.
    pub matched: LogIndex,
}

/// No cluster reaches a term or an index beyond this; what is beyond it is garbage, and would overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// In which part somebody says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As the leader of a term, or in its stead.
    Leader,
    /// As one that asks for a vote.
    Candidate,
    /// As one that answers, or asks its leader for something.
    Follower,
}

impl Message {
    /// Who says this: whether it is listened to, and answered, hangs on that.
    pub(crate) const fn part(&self) -> Part {
        match self {
            Self::AppendEntries(_)
            | Self::Heartbeat(_)
            | Self::Committed { .. }
            | Self::InstallSnapshot(_)
            | Self::DelegateSnapshot(_)
            | Self::TimeoutNow { .. }
            | Self::HashState { .. }
            | Self::StateDiffers { .. } => Part::Leader,
            Self::PreVote(_) | Self::RequestVote(_) => Part::Candidate,
            Self::PreVoteReply(_)
            | Self::RequestVoteReply(_)
            | Self::AppendEntriesReply(_)
            | Self::HeartbeatReply(_)
            | Self::InstallSnapshotReply(_)
            | Self::ReadIndex { .. }
            | Self::ReadIndexReply { .. }
            | Self::Propose { .. }
            | Self::ProposeReply { .. }
            | Self::StateHashed { .. } => Part::Follower,
        }
    }

    /// Whether its terms and indexes are ones that a cluster can reach: else the first that is not.
    pub(crate) fn check_range(&self) -> Result<(), Inconsistency> {
        let term = self.term().map_or(0, |term| term.0);
        let numbers = match self {
            Self::PreVote(it) | Self::RequestVote(it) => [it.term.0, it.last.term.0, it.last.index.0],
            Self::PreVoteReply(it) | Self::RequestVoteReply(it) => [it.term.0, it.asked.0, 0],
            Self::AppendEntries(it) => {
                let batches = it.batches.iter().map(|batch| batch.first().index.0.max(batch.term().0));
                [it.prev.term.0, it.prev.index.0, batches.max().unwrap_or(0)]
            }
            Self::AppendEntriesReply(it) => match it.outcome {
                AppendOutcome::Matched(index) => [index.0, 0, 0],
                AppendOutcome::Conflict { hint } => [hint.term.0, hint.index.0, 0],
                AppendOutcome::Stale => [0; 3],
            },
            Self::InstallSnapshot(it) => {
                let Snapshot { id, membership_at, .. } = &*it.snapshot;
                let at = membership_at.term.0.max(membership_at.index.0);
                [id.last.term.0.max(at), id.last.index.0, id.bytes.max(it.offset)]
            }
            Self::InstallSnapshotReply(it) => {
                [it.snapshot.last.term.0, it.snapshot.last.index.0, it.snapshot.bytes.max(it.held.unwrap_or(0))]
            }
            Self::DelegateSnapshot(it) => match it.wanted {
                Wanted::Newest { covers } => [covers.0, 0, 0],
                Wanted::Piece { id, offset } => [id.last.term.0, id.last.index.0, id.bytes.max(offset)],
            },
            Self::ProposeReply { outcome: Ok(first), .. } => [first.term.0, first.index.0, 0],
            Self::ReadIndexReply { outcome: Ok(index), .. } => [index.0, 0, 0],
            Self::HashState { at, .. } | Self::StateHashed { at, .. } | Self::StateDiffers { at, .. } => [at.0, 0, 0],
            Self::Heartbeat(_)
            | Self::HeartbeatReply(_)
            | Self::Committed { .. }
            | Self::ReadIndex { .. }
            | Self::ReadIndexReply { .. }
            | Self::Propose { .. }
            | Self::ProposeReply { .. }
            | Self::TimeoutNow { .. } => [0; 3],
        };
        let from_leader = self.part() == Part::Leader;
        if from_leader && term == 0 {
            return Err(Inconsistency::OutOfRange { number: term });
        }
        match numbers.into_iter().chain([term]).find(|number| *number > NUMBER_MAX) {
            Some(number) => Err(Inconsistency::OutOfRange { number }),
            None => Ok(()),
        }
    }

    /// The sender's term, where the kind of message has one.
    #[must_use]
    pub const fn term(&self) -> Option<Term> {
        match self {
            // A pre-vote's term is the one that its sender would take, not one that anybody has.
            Self::PreVote(_) | Self::ReadIndexReply { .. } | Self::ProposeReply { .. } | Self::StateHashed { .. } => {
                None
            }
            Self::RequestVote(request) => Some(request.term),
            Self::PreVoteReply(reply) | Self::RequestVoteReply(reply) => Some(reply.term),
            Self::AppendEntries(request) => Some(request.term),
            Self::AppendEntriesReply(reply) => Some(reply.term),
            Self::InstallSnapshot(request) => Some(request.term),
            Self::InstallSnapshotReply(reply) => Some(reply.term),
            Self::DelegateSnapshot(order) => Some(order.term),
            Self::Heartbeat(request) => Some(request.term),
            Self::HeartbeatReply(reply) => Some(reply.term),
            Self::Committed { term, .. }
            | Self::ReadIndex { term, .. }
            | Self::Propose { term, .. }
            | Self::TimeoutNow { term }
            | Self::HashState { term, .. }
            | Self::StateDiffers { term, .. } => Some(*term),
        }
    }
}
