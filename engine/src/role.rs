//! What a node does now, and the data that only this makes sense with.
//!
//! ```text
//!              timeout            pre-vote quorum            quorum
//!   Follower ──────────► PreCandidate ──────────► Candidate ──────────► Leader
//!      ▲                     │                        │                    │
//!      └─────────────────────┴────────────────────────┴────────────────────┘
//!          a leader is heard from, a higher term is seen, or a leader lost its quorum
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::change::Change;
use crate::change_members::ChangeRequest;
use crate::compare::Comparison;
use crate::delegate::Lendings;
use crate::fingerprint::Fingerprint;
use crate::lease::Rounds;
use crate::message::Warrant;
use crate::node_map::NodeMap;
use crate::progress::Progress;
use crate::read::{Confirmation, Questions};
use crate::types::{Instant, LogIndex, NodeId, RequestId, Round, Token};

/// What a node does now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Follows a leader, or waits for one.
    Follower(Follower),
    /// Asks whether it would be elected in the next term.
    PreCandidate(Campaign),
    /// Asks to be elected in its term.
    Candidate(Campaign),
    /// Leads in its term.
    Leader(Box<Leader>),
}

/// What a follower knows of its leader. All of it ends with the leader or the term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Who leads in this term, once heard from.
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard from; `None` while it counts as silent because somebody wants it to.
    pub(crate) heard_at: Option<Instant>,
    /// Up to here the log is known to be the same as this leader's; no more than this is committed at its word.
    pub(crate) verified: LogIndex,
    /// Reads on their way.
    pub(crate) reads: Questions,
    /// Snapshots that this node sends in its leader's stead.
    pub(crate) lendings: Lendings,
}

/// How one leader follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// By the wish of somebody: the leader is there, answers what it was asked, and has nothing uncommitted if the wish was its own.
    Orderly,
    /// In any other way: what the leader had in hand may be lost.
    Abrupt,
}

/// Entries on their way to the leader: who asked, and when to give up. An orderly succession does not end them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forwards {
    pub(crate) waiting: BTreeMap<RequestId, Forward>,
    /// The sum of their bytes.
    pub(crate) bytes: usize,
}

/// Entries of this node's callers that were handed to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Forward {
    pub(crate) token: Token,
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
}

/// The votes of a campaign; this node's own is among them once it counts.
pub(crate) type Votes = NodeMap<bool>;

/// A campaign for votes or for pre-votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Campaign {
    /// The answers.
    pub(crate) votes: Votes,
    /// By whose will; its own with pre-votes.
    pub(crate) warrant: Warrant,
    /// Who asked for it and was not told yet what has come of it.
    pub(crate) token: Option<Token>,
}

/// What a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The first entry of its term. Nothing is committed by counting, and nothing is read, before it is.
    pub(crate) term_start: LogIndex,
    /// Everybody else who is a member by any entry that may come to count.
    pub(crate) progress: NodeMap<Progress>,
    /// The last heartbeat.
    pub(crate) round: Round,
    /// When that and those before it were sent.
    pub(crate) rounds: Rounds,
    /// Whether another was asked to lead in this term: there is no lease any more, whatever comes of it.
    pub(crate) lease_given_up: bool,
    /// Reads that wait for a quorum to confirm that this node still leads.
    pub(crate) reads: VecDeque<Confirmation>,
    /// Reads that are confirmed and wait for the log to be committed up to their index, which is `term_start` for all that wait.
    pub(crate) confirmed: VecDeque<(LogIndex, Token)>,
    /// What was taken in and is not applied.
    pub(crate) in_hand: InHand,
    /// The change of the members that is under way.
    pub(crate) change: Option<Change>,
    /// A change that waits for an entry that only binds members to be committed.
    pub(crate) next_change: Option<(Token, Arc<ChangeRequest>)>,
    /// When the members were last changed, or the term began: who is not bound yet is waited for from then on.
    pub(crate) unbound_since: Instant,
    /// What is compared of the nodes' states.
    pub(crate) comparison: Comparison,
}

/// The entries that a leader took in and that are not applied yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct InHand {
    /// The last index, count and bytes of each proposal, oldest first.
    proposals: VecDeque<(LogIndex, usize, usize)>,
    /// The sum of the counts.
    entries: usize,
    /// The sum of the bytes.
    bytes: usize,
}

impl Leader {
    /// Reads that are not with the state machine yet.
    pub(crate) fn reads_in_hand(&self) -> usize {
        self.reads.len() + self.confirmed.len()
    }
}

impl InHand {
    pub(crate) fn add(&mut self, last: LogIndex, entries: usize, bytes: usize) {
        self.proposals.push_back((last, entries, bytes));
        self.entries += entries;
        self.bytes += bytes;
    }

    pub(crate) fn remove_through(&mut self, applied: LogIndex) {
        while let Some((_, entries, bytes)) = self.proposals.front().filter(|(last, _, _)| *last <= applied) {
            self.entries -= entries;
            self.bytes -= bytes;
            self.proposals.pop_front();
        }
    }

    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { proposals, entries, bytes } = self;
        [*entries, *bytes, proposals.len()].into_iter().for_each(|size| out.size(size));
        for (last, entries, bytes) in proposals {
            out.number(last.0);
            out.size(*entries);
            out.size(*bytes);
        }
    }

    pub(crate) const fn entries(&self) -> usize {
        self.entries
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
