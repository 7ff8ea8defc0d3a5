//! Proposals: what callers want in the log, on whichever node they ask. A leader takes entries in; a follower hands them
//! to its leader, at most once, and learns the ids that they got, so that it can answer when it applies them itself.

use std::sync::Arc;

use crate::change_members::Precondition;
use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::entry::{Body, Payload};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::role::{Forward, Role};
use crate::types::{Instant, LogId, NodeId, Peer, RequestId, Term, Token};

impl Engine {
    pub(crate) fn handle_propose(
        &mut self,
        token: Token,
        entries: Arc<[Payload]>,
        only_in: Option<Term>,
        now: Instant,
    ) {
        assert!(is_proposable(&entries), "a proposal is made of blanks and commands, at least one");
        // A leader to whom they are handed takes them in in the term in which they were sent only.
        let current = self.vote.term;
        mutate!(proposed_in_any_term, only_in = None);
        mutate!(own_term_refused if only_in == Some(current), return self.refuse(token,
            Refusal::PreconditionFailed { actual: Precondition::Term(current) }));
        if only_in.is_some_and(|wanted| wanted != current) {
            return self.refuse(token, Refusal::PreconditionFailed { actual: Precondition::Term(current) });
        }
        let is_silenced = self.is_silenced(now);
        match &self.role {
            Role::Leader(_) => match self.take_in(entries, now) {
                Ok(first) => self.push(Command::Accepted { token, first }),
                Err(refusal) => self.refuse(token, refusal),
            },
            Role::Follower(_) if self.is_removed(now) => self.refuse_as_removed(token),
            Role::Follower(follower) => match follower.leader {
                Some(_) if is_silenced => self.refuse(token, Refusal::DiskHangs),
                Some(leader) => self.forward(leader, token, entries, now),
                None => self.refuse(token, Refusal::NoLeader),
            },
            Role::PreCandidate(_) | Role::Candidate(_) => self.refuse(token, Refusal::NoLeader),
        }
    }

    fn forward(&mut self, leader: NodeId, token: Token, entries: Arc<[Payload]>, now: Instant) {
        let (limits, term) = (&self.config.limits, self.vote.term);
        let forwards = &mut self.forwards;
        let bytes: usize = entries.iter().map(Payload::bytes).sum();
        let checks =
            [(forwards.waiting.len(), 1, limits.forwards_max), (forwards.bytes, bytes, limits.uncommitted_bytes_max)];
        mutate!(forwards_any_count, checks = [checks[1]; 2]);
        mutate!(forwards_any_bytes, checks = [checks[0]; 2]);
        if let Some((current, _, limit)) = checks.into_iter().find(|(now, more, max)| *now > 0 && now + more > *max) {
            return self.refuse(token, Refusal::Overloaded { current, limit });
        }
        self.next_id += 1;
        let request = RequestId(self.next_id);
        let deadline = now + self.config.election_timeout_max;
        forwards.waiting.insert(request, Forward { token, bytes, deadline });
        forwards.bytes += bytes;
        self.arm_requests();
        self.send(leader, Message::Propose { term, request, entries });
    }

    /// A follower's proposal. What is not newer than all that was seen of its sender is a copy, or was overtaken: it is not
    /// taken in, and nothing is said of it, because its original may have been. Its sender will give it up as unknown.
    pub(crate) fn handle_forwarded(
        &mut self,
        peer: Peer,
        term: Term,
        request: RequestId,
        entries: Arc<[Payload]>,
        now: Instant,
    ) -> Handled {
        let (from, sender) = (peer.node, (peer.node, peer.incarnation.id));
        mutate!(forwarded_twice, self.forwarded.remove(&sender));
        if self.forwarded.get(&sender).is_some_and(|seen| *seen >= request) || !is_proposable(&entries) {
            mutate!(
                copy_refused_for_certain,
                self.send(from, Message::ProposeReply { request, outcome: Err(Refusal::NotLeader) })
            );
            return Ok(());
        }
        self.forwarded.insert(sender, request);
        let leads = matches!(self.role, Role::Leader(_)) && term == self.vote.term;
        mutate!(forwarded_to_any_term, leads = matches!(self.role, Role::Leader(_)));
        let outcome = if leads {
            self.take_in(entries, now)
        } else if self.may_have_led(term) {
            Err(Refusal::Unknown)
        } else {
            Err(Refusal::NotLeader)
        };
        self.send(from, Message::ProposeReply { request, outcome });
        Ok(())
    }

    pub(crate) fn handle_propose_reply(&mut self, request: RequestId, outcome: Result<LogId, Refusal>) -> Handled {
        let Some(Forward { token, bytes, .. }) = self.forwards.waiting.remove(&request) else { return Ok(()) };
        self.forwards.bytes -= bytes;
        self.arm_requests();
        match outcome {
            Ok(first) if first.index > self.commit_index => self.push(Command::Accepted { token, first }),
            // The answer was overtaken by the entries themselves: their results are gone.
            Ok(_) => self.refuse(token, Refusal::Unknown),
            Err(refusal) => self.refuse(token, refusal),
        }
        Ok(())
    }

    /// Proposals that the leader did not answer for are given up; reads are asked for again.
    pub(crate) fn handle_request_timeout(&mut self, now: Instant) {
        while let Some(oldest) = self.forwards.waiting.first_entry().filter(|oldest| oldest.get().deadline <= now) {
            let Forward { token, bytes, .. } = oldest.remove();
            self.forwards.bytes -= bytes;
            mutate!(forward_given_up_for_certain, self.refuse(token, Refusal::NoLeader));
            self.refuse(token, Refusal::Unknown);
        }
        if self.is_removed(now) {
            self.refuse_reads_of_removed();
        } else if self.is_silenced(now) {
            self.refuse_questions(Refusal::DiskHangs);
        }
        self.ask_leader_again(now);
        self.arm_requests();
    }
}

fn is_proposable(entries: &[Payload]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| !matches!(entry.body, Body::Membership(_)))
}
