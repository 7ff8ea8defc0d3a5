//! What a node says must be durable when it says it.

use outrigger::engine::{AppendOutcome, LogIndex, Message, NodeId, Term, Vote};

use super::node::{Node, place};
use crate::check::{Violation, require};
use crate::words;

/// Whether `node` may send this now.
pub(super) fn check(node: &Node, to: NodeId, message: &Message) -> Result<(), Violation> {
    let own = node.id();
    match message {
        Message::RequestVote(request) => votes_for(node, request.term, own)?,
        Message::RequestVoteReply(reply) if reply.granted => votes_for(node, reply.asked, to)?,
        Message::AppendEntriesReply(reply) => {
            if let AppendOutcome::Matched(index) = reply.outcome {
                holds(node, index)?;
            }
        }
        Message::HeartbeatReply(reply) => holds(node, reply.matched)?,
        // A question speaks for no term: whoever hears it learns the term of its leader, or nothing new.
        Message::ReadIndex { .. } | Message::Propose { .. } => return Ok(()),
        Message::RequestVoteReply(_)
        | Message::PreVote(_)
        | Message::PreVoteReply(_)
        | Message::AppendEntries(_)
        | Message::Heartbeat(_)
        | Message::Committed { .. }
        | Message::ReadIndexReply { .. }
        | Message::ProposeReply { .. }
        | Message::InstallSnapshot(_)
        | Message::InstallSnapshotReply(_)
        | Message::DelegateSnapshot(_)
        | Message::TimeoutNow { .. }
        | Message::HashState { .. }
        | Message::StateHashed { .. }
        | Message::StateDiffers { .. } => {}
    }
    let (term, durable) = (message.term().unwrap_or_default(), node.disk.vote.term);
    require!(term <= durable, Promise, "node {own} speaks for term {term}, only {durable} is durable: {message}");
    Ok(())
}

fn votes_for(node: &Node, term: Term, candidate: NodeId) -> Result<(), Violation> {
    let (own, Vote { term: durable, voted_for }) = (node.id(), node.disk.vote);
    if let (true, Some(other)) = (term == durable, voted_for) {
        require!(other == candidate, OneVote, "node {own} votes for {other} and {candidate} in term {term}");
    }
    let (kept, written) = (term == durable && voted_for == Some(candidate), words::vote(node.disk.vote));
    require!(kept, Promise, "node {own} votes for {candidate} in term {term}; durable is {written}");
    Ok(())
}

/// The entries themselves may be overtaken already by what is on its way to the disk; what was promised is there.
fn holds(node: &Node, index: LogIndex) -> Result<(), Violation> {
    let (own, durable) = (node.id(), node.disk.log.len());
    require!(place(index) <= durable, Promise, "node {own} acknowledges index {index}, of which {durable} are durable");
    Ok(())
}
