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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::engine::{
        AppendEntriesReply, Epoch, HeartbeatReply, LogId, RequestId, Round, VoteReply, VoteRequest, Warrant,
    };

    use super::super::Bounds;
    use super::super::tests::state_with;
    use super::*;
    use crate::check::Check;

    const TERM: Term = Term(1);

    /// Which check refuses that node 1, which has voted like this in term 1 and holds one entry, says something to node 2.
    fn says(voted_for: Option<u64>, message: &Message) -> Option<Check> {
        let state = state_with(Bounds::PAIR, |state| state.nodes[0].id() == NodeId(1));
        let mut node = Node::clone(&state.nodes[0]);
        Arc::make_mut(&mut node.disk).vote = Vote { term: TERM, voted_for: voted_for.map(NodeId) };
        check(&node, NodeId(2), message).err().map(|violation| violation.check)
    }

    #[test]
    fn a_vote_leaves_once_it_is_durable_and_for_one_candidate() {
        let grants = |term, granted| Message::RequestVoteReply(VoteReply { term: TERM, asked: Term(term), granted });
        assert_eq!([says(Some(2), &grants(1, true)), says(None, &grants(1, false))], [None, None]);
        assert_eq!(says(None, &grants(1, true)), Some(Check::Promise));
        assert_eq!(says(Some(2), &grants(2, true)), Some(Check::Promise), "in another term");
        assert_eq!(says(Some(1), &grants(1, true)), Some(Check::OneVote));
        let request = VoteRequest { term: TERM, last: LogId::ZERO, warrant: Warrant::None };
        let asks = Message::RequestVote(request);
        assert_eq!([says(Some(1), &asks), says(Some(2), &asks)], [None, Some(Check::OneVote)]);
        assert_eq!(says(None, &asks), Some(Check::Promise));
    }

    #[test]
    fn what_is_acknowledged_and_whatever_term_is_named_is_durable() {
        let matched = |term, index| {
            let (epoch, request, outcome) = (Epoch(1), RequestId(1), AppendOutcome::Matched(LogIndex(index)));
            Message::AppendEntriesReply(AppendEntriesReply { term: Term(term), epoch, request, outcome })
        };
        let beat = |term, index| {
            let (term, matched) = (Term(term), LogIndex(index));
            Message::HeartbeatReply(HeartbeatReply { term, asked: term, round: Round(1), received: matched, matched })
        };
        for (right, more, later) in
            [(matched(1, 1), matched(1, 2), matched(2, 1)), (beat(1, 1), beat(1, 2), beat(2, 1))]
        {
            let [right, more, later] = [right, more, later].map(|message| says(None, &message));
            assert_eq!([right, more, later], [None, Some(Check::Promise), Some(Check::Promise)]);
        }
    }
}
