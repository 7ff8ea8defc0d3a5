//! Proposals: what callers want in the log, on whichever node they ask. A leader takes entries in; a follower hands them
//! to its leader, at most once, and learns the ids that they got, so that it can answer when it applies them itself.

use std::sync::Arc;

use crate::command::{Command, Refusal};
use crate::engine::{Engine, Handled};
use crate::entry::{Body, Payload};
use crate::message::Message;
use crate::role::{Forward, Role};
use crate::types::{Instant, LogId, NodeId, RequestId, Term, Token};

impl Engine {
    pub(crate) fn handle_propose(&mut self, token: Token, entries: Arc<[Payload]>, now: Instant) {
        assert!(is_proposable(&entries), "a proposal is made of blanks and commands, at least one");
        match &self.role {
            Role::Leader(_) => match self.take_in(entries, now) {
                Ok(first) => self.push(Command::Accepted { token, first }),
                Err(refusal) => self.refuse(token, refusal),
            },
            Role::Follower(follower) => match follower.leader {
                Some(leader) => self.forward(leader, token, entries, now),
                None => self.refuse(token, Refusal::NoLeader),
            },
            Role::PreCandidate(_) | Role::Candidate(_) => self.refuse(token, Refusal::NoLeader),
        }
    }

    fn forward(&mut self, leader: NodeId, token: Token, entries: Arc<[Payload]>, now: Instant) {
        let (limits, term) = (&self.config.limits, self.vote.term);
        let Role::Follower(follower) = &mut self.role else { return };
        let (current, limit) = (follower.forwards.len(), limits.forwards_max);
        if current >= limit {
            return self.refuse(token, Refusal::Overloaded { current, limit });
        }
        self.next_id += 1;
        let request = RequestId(self.next_id);
        let deadline = now + self.config.election_timeout_max;
        follower.forwards.insert(request, Forward { token, deadline });
        self.arm_requests();
        self.send(leader, Message::Propose { term, request, entries });
    }

    /// A follower's proposal. A copy, or one that a later one overtook, is not taken in: its sender was told, or will be,
    /// that its outcome is unknown.
    pub(crate) fn handle_forwarded(
        &mut self,
        from: NodeId,
        term: Term,
        request: RequestId,
        entries: Arc<[Payload]>,
        now: Instant,
    ) -> Handled {
        let current = self.vote.term;
        let Role::Leader(leader) = &mut self.role else {
            self.send(from, Message::ProposeReply { request, outcome: Err(Refusal::NotLeader) });
            return Ok(());
        };
        if term != current {
            self.send(from, Message::ProposeReply { request, outcome: Err(Refusal::NotLeader) });
            return Ok(());
        }
        if leader.forwarded.get(&from).is_some_and(|seen| *seen >= request) || !is_proposable(&entries) {
            return Ok(());
        }
        leader.forwarded.insert(from, request);
        let outcome = self.take_in(entries, now);
        self.send(from, Message::ProposeReply { request, outcome });
        Ok(())
    }

    pub(crate) fn handle_propose_reply(&mut self, request: RequestId, outcome: Result<LogId, Refusal>) -> Handled {
        let Role::Follower(follower) = &mut self.role else { return Ok(()) };
        let Some(Forward { token, .. }) = follower.forwards.remove(&request) else { return Ok(()) };
        self.arm_requests();
        match outcome {
            Ok(first) => self.push(Command::Accepted { token, first }),
            Err(refusal) => self.refuse(token, refusal),
        }
        Ok(())
    }

    /// Proposals that the leader did not answer for are given up; reads are asked for again.
    pub(crate) fn handle_request_timeout(&mut self, now: Instant) {
        let Role::Follower(follower) = &mut self.role else { return };
        let mut overdue = Vec::new();
        follower.forwards.retain(|_, forward| {
            let waits = forward.deadline > now;
            if !waits {
                overdue.push(forward.token);
            }
            waits
        });
        for token in overdue {
            self.refuse(token, Refusal::Unknown);
        }
        self.ask_leader_again(now);
        self.arm_requests();
    }
}

fn is_proposable(entries: &[Payload]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| !matches!(entry.body, Body::Membership(_)))
}
