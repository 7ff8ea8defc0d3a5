//! Elections: timeouts, pre-votes and votes (Raft paper, sections 5.2 and 5.4.1; thesis, section 9.6), and how a node
//! leaves the role that it had.

use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::message::{Message, VoteReply, VoteRequest};
use crate::quorum::VoteResult;
use crate::refusal::Refusal;
use crate::role::{Follower, Role, Votes};
use crate::timer::Timer;
use crate::types::{Instant, LogIndex, NodeId, Term, Vote};
use crate::writes::Promise;

impl Engine {
    /// No leader was heard from for a whole timeout, or a campaign came to nothing.
    pub(crate) fn handle_election_timeout(&mut self, now: Instant) {
        assert!(!matches!(self.role, Role::Leader(_)), "a leader has no election timer");
        if self.memberships.may_vote(self.id()) {
            if self.config.pre_vote {
                self.ask_for_pre_votes(now);
            } else {
                self.campaign(now);
            }
        }
    }

    fn ask_for_pre_votes(&mut self, now: Instant) {
        self.leave_role();
        self.role = Role::PreCandidate(Votes::from([(self.id(), true)]));
        self.arm_election(now);
        let request = VoteRequest { term: self.vote.term.next(), last: self.log.last() };
        let targets = self.other_voters();
        if !targets.is_empty() {
            self.push_after_vote(Command::SendVote { targets, request, pre_vote: true }, now);
        }
        self.count_votes(now);
    }

    /// Increments the term and votes for itself. The others are asked once that is durable.
    fn campaign(&mut self, now: Instant) {
        self.leave_role();
        let vote = Vote { term: self.vote.term.next(), voted_for: Some(self.id()) };
        self.role = Role::Candidate(Votes::new());
        self.arm_election(now);
        self.save_vote(vote);
        mutate!(own_vote_before_flush, return self.handle_own_vote(vote.term, now));
        self.push_after(self.writes.of_vote(), Promise::OwnVote(vote.term), now);
    }

    /// The leader, which is about to lead no more, asks this node to take over at once (thesis, section 3.10).
    pub(crate) fn handle_timeout_now(&mut self, from: NodeId, term: Term, now: Instant) -> Handled {
        let is_asked = match &self.role {
            Role::Follower(follower) => follower.leader == Some(from) && term == self.vote.term,
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => false,
        };
        if is_asked && self.memberships.may_vote(self.id()) {
            self.campaign(now);
        }
        Ok(())
    }

    /// This node's vote for itself is durable.
    pub(crate) fn handle_own_vote(&mut self, term: Term, now: Instant) {
        let own = self.id();
        match &mut self.role {
            Role::Candidate(votes) if self.vote.term == term => votes.insert(own, true),
            Role::Candidate(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Leader(_) => return,
        };
        let request = VoteRequest { term, last: self.log.last() };
        let targets = self.other_voters();
        if !targets.is_empty() {
            self.push(Command::SendVote { targets, request, pre_vote: false });
        }
        self.count_votes(now);
    }

    /// A pre-vote is given when a campaign would succeed here and no leader is at work. It changes nothing.
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, request: VoteRequest, now: Instant) -> Handled {
        mutate!(pre_vote_raises_term if request.term > self.vote.term, self.adopt_term(request.term, now));
        let granted = request.term > self.vote.term && self.is_up_to_date(&request) && !self.has_live_leader(now);
        mutate!(pre_vote_beside_leader, granted = request.term > self.vote.term && self.is_up_to_date(&request));
        let reply = VoteReply { term: self.vote.term, asked: request.term, granted };
        self.answer_after_vote(from, Message::PreVoteReply(reply), now);
        Ok(())
    }

    pub(crate) fn handle_pre_vote_reply(&mut self, from: NodeId, reply: VoteReply, now: Instant) -> Handled {
        mutate!(pre_vote_counts_as_vote if !matches!(self.role, Role::PreCandidate(_)),
            return self.handle_request_vote_reply(from, reply, now));
        if let Role::PreCandidate(votes) = &mut self.role
            && reply.asked == self.vote.term.next()
        {
            votes.insert(from, reply.granted);
            self.count_votes(now);
        }
        Ok(())
    }

    /// One vote a term, first come, first served, and only for a log that lacks nothing of this one's.
    pub(crate) fn handle_request_vote(&mut self, from: NodeId, request: VoteRequest, now: Instant) -> Handled {
        let free = self.vote.voted_for.is_none_or(|candidate| candidate == from);
        mutate!(vote_twice, free = true);
        let granted = request.term == self.vote.term && free && self.is_up_to_date(&request);
        mutate!(vote_without_log_check, granted = request.term == self.vote.term && free);
        if granted {
            if self.vote.voted_for.is_none() {
                self.save_vote(Vote { term: self.vote.term, voted_for: Some(from) });
            }
            self.arm_election(now);
        }
        let reply = VoteReply { term: self.vote.term, asked: request.term, granted };
        mutate!(vote_before_flush, self.send(from, Message::RequestVoteReply(reply)); return Ok(()));
        self.answer_after_vote(from, Message::RequestVoteReply(reply), now);
        Ok(())
    }

    pub(crate) fn handle_request_vote_reply(&mut self, from: NodeId, reply: VoteReply, now: Instant) -> Handled {
        mutate!(refused_vote_counts, reply = VoteReply { granted: true, ..reply });
        mutate!(late_vote_counts, reply = VoteReply { asked: self.vote.term, ..reply });
        if let Role::Candidate(votes) = &mut self.role
            && reply.asked == self.vote.term
        {
            votes.insert(from, reply.granted);
            self.count_votes(now);
        }
        Ok(())
    }

    fn count_votes(&mut self, now: Instant) {
        let quorum = self.membership().quorum();
        match &self.role {
            Role::PreCandidate(votes) if quorum.vote_result(|id| votes.get(&id).copied()) == VoteResult::Won => {
                self.campaign(now);
            }
            Role::Candidate(votes) if quorum.vote_result(|id| votes.get(&id).copied()) == VoteResult::Won => {
                self.become_leader(now);
            }
            // A campaign that is lost ends like one that is pending: with the next timeout.
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Follower(_) | Role::Leader(_) => {}
        }
    }

    /// A log is up to date when its last entry is of a later term, or of the same term and not shorter (section 5.4.1).
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        mutate!(vote_by_log_length, return request.last.index >= self.log.last().index);
        request.last >= self.log.last()
    }

    /// Whether a leader was heard from within the shortest election timeout, or is this very node.
    pub(crate) fn has_live_leader(&self, now: Instant) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                follower.leader.is_some() && now.since(follower.heard_at) < self.config.election_timeout_min
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// A higher term was seen: whatever this node was, it is a follower now (section 5.1).
    pub(crate) fn adopt_term(&mut self, term: Term, now: Instant) {
        assert!(term > self.vote.term, "term {term} is not above {}", self.vote.term);
        mutate!(candidate_keeps_role if matches!(self.role, Role::Candidate(_)),
            return self.save_vote(Vote { term, voted_for: None }));
        self.leave_role();
        self.role = Role::Follower(Follower::default());
        self.save_vote(Vote { term, voted_for: None });
        if !self.timers.is_running(Timer::Election) {
            self.arm_election(now);
        }
    }

    /// The leader of this term was heard from. Answers whether it is one.
    pub(crate) fn hear_leader(&mut self, from: NodeId, now: Instant) -> Handled {
        match &mut self.role {
            Role::Leader(_) => return Err(self.second_leader(self.id())),
            Role::Follower(Follower { leader: Some(leader), .. }) if *leader != from => {
                let leader = *leader;
                return Err(self.second_leader(leader));
            }
            Role::Follower(follower) => {
                follower.leader = Some(from);
                follower.heard_at = now;
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.role = Role::Follower(Follower { leader: Some(from), heard_at: now, ..Follower::default() });
            }
        }
        mutate!(election_timer_not_reset, return Ok(()));
        self.arm_election(now);
        Ok(())
    }

    const fn second_leader(&self, leader: NodeId) -> crate::refusal::Inconsistency {
        crate::refusal::Inconsistency::SecondLeader { term: self.vote.term, leader }
    }

    /// Ends what only the present role can finish: whoever waits for it is told so.
    pub(crate) fn leave_role(&mut self) {
        let role = std::mem::replace(&mut self.role, Role::Follower(Follower::default()));
        match role {
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Follower(follower) => {
                for forward in follower.forwards.values() {
                    mutate!(forward_refused_for_certain, self.refuse(forward.token, Refusal::LeadershipLost));
                    self.refuse(forward.token, Refusal::Unknown);
                }
                for token in follower.reads.tokens() {
                    self.refuse(token, Refusal::LeadershipLost);
                }
                self.timers.stop(Timer::Requests);
                if follower.leader.is_some() {
                    self.push(Command::Abandoned { from: self.commit_index.next() });
                }
            }
            Role::Leader(leader) => {
                for read in &leader.reads {
                    mutate!(pending_reads_dropped, continue);
                    self.refuse_confirmation(read);
                }
                for (_, token) in &leader.confirmed {
                    self.refuse(*token, Refusal::LeadershipLost);
                }
                if let Some(token) = leader.change.and_then(|change| change.token) {
                    self.refuse(token, Refusal::Unknown);
                }
                self.timers.stop(Timer::Heartbeat);
                self.timers.stop(Timer::CheckQuorum);
                self.push(Command::RebuildReplicationStreams { targets: Vec::new() });
                mutate!(abandoned_not_sent, return);
                self.push(Command::Abandoned { from: self.commit_index.next() });
            }
        }
    }

    pub(crate) fn save_vote(&mut self, vote: Vote) {
        let keeps_promise = self.vote.voted_for.is_none() || self.vote.voted_for == vote.voted_for;
        assert!(
            vote.term > self.vote.term || (vote.term == self.vote.term && keeps_promise),
            "{:?} to {vote:?}",
            self.vote
        );
        self.vote = vote;
        mutate!(term_not_saved if vote.voted_for.is_none(), return);
        let write = self.writes.accept_vote();
        self.push(Command::SaveVote { write, vote });
    }

    pub(crate) fn answer_after_vote(&mut self, target: NodeId, message: Message, now: Instant) {
        self.push_after_vote(Command::SendMessage { target, message }, now);
    }

    fn other_voters(&self) -> Vec<NodeId> {
        self.others().into_keys().filter(|node| self.membership().is_voter(*node)).collect()
    }

    /// Up to where the log is known to be the same as the present leader's.
    pub(crate) fn verified(&self) -> LogIndex {
        match &self.role {
            Role::Follower(follower) => follower.verified,
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => LogIndex::ZERO,
        }
    }
}
