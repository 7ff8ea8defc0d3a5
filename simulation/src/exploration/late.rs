//! Messages that come too late to change anything, now or ever: as good as lost, so they are.
//!
//! A search need not tell apart what no node can tell apart. Only what is durable proves that a message is late, since a
//! crash may take back all else: the term on the receiver's disk never goes back, and nobody is a candidate or leader in one
//! term twice, for each campaign takes a new one.

use outrigger::engine::{DelegateSnapshot, Message, RoleKind, Term};

use super::network::Envelope;
use super::node::Node;

/// Whether `receiver` will never do anything at this message, whatever happens before it arrives.
pub(super) fn is_late(envelope: &Envelope, receiver: &Node) -> bool {
    let life = envelope.from.incarnation;
    let Some(met) = receiver.disk.peers.get(&envelope.from.node) else { return false };
    if life != *met {
        // A node that was met in a later life is not listened to in this one; of a later life it is news.
        return life.start < met.start;
    }
    let durable = receiver.disk.vote.term;
    let is = |role: RoleKind, term: Term| receiver.engine.role_kind() == role && receiver.engine.vote().term == term;
    match &envelope.message {
        // A refusal tells nothing but its term: a campaign that cannot be won ends as one that is pending.
        Message::PreVoteReply(it) => it.term <= durable && (!it.granted || it.asked <= durable),
        Message::RequestVoteReply(it) => {
            let counts = it.granted && (it.asked > durable || is(RoleKind::Candidate, it.asked));
            it.term <= durable && !counts
        }
        Message::AppendEntriesReply(it) => it.term <= durable && !is(RoleKind::Leader, it.term),
        Message::HeartbeatReply(it) => it.term <= durable && !is(RoleKind::Leader, it.asked),
        Message::InstallSnapshotReply(it) => it.term <= durable && !is(RoleKind::Leader, it.term),
        Message::Committed { term, .. }
        | Message::TimeoutNow { term }
        | Message::HashState { term, .. }
        | Message::DelegateSnapshot(DelegateSnapshot { term, .. })
        | Message::StateDiffers { term, .. } => *term < durable,
        // These are answered, be it with a refusal, or belong to a question whose fate only the engine knows.
        Message::PreVote(_)
        | Message::RequestVote(_)
        | Message::AppendEntries(_)
        | Message::InstallSnapshot(_)
        | Message::Heartbeat(_)
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. }
        | Message::Propose { .. }
        | Message::ProposeReply { .. }
        | Message::StateHashed { .. } => false,
    }
}
