//! Elections: timeouts, pre-votes and votes (Raft paper, sections 5.2 and 5.4.1; thesis, section 9.6), and how a node
//! leaves the role that it had.

use crate::by_hand::NotElected;
use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::message::{Message, VoteReply, VoteRequest, Warrant};
use crate::quorum::VoteResult;
use crate::refusal::Refusal;
use crate::role::{Campaign, Follower, Role, Succession, Votes};
use crate::timer::Timer;
use crate::types::{Instant, LogIndex, NodeId, Term, Token, Vote};
use crate::writes::Promise;

impl Engine {
    /// No leader was heard from for a whole timeout, or a campaign came to nothing.
    pub(crate) fn handle_election_timeout(&mut self, now: Instant) {
        assert!(!matches!(self.role, Role::Leader(_)), "a leader has no election timer");
        let token = self.take_campaign_token();
        self.answer_not_elected(token, NotElected::NoAnswer);
        let disk_hangs = !self.disk_works(now);
        mutate!(hung_disk_campaigns, disk_hangs = false);
        if disk_hangs || !self.campaigns_by_itself() {
            // Whose disk hangs cannot keep its own vote, and so not lead. A campaign that somebody wanted ends here, and nothing follows.
            return match self.role {
                Role::Follower(_) => self.arm_election(now),
                Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => self.step_down(now),
            };
        }
        if self.is_pledged(now) {
            // Its leader has a longer election timeout than itself.
            self.timers.set(Timer::Election, now + self.pledged_for(now));
        } else if self.config.pre_vote {
            self.ask_for_pre_votes(None, now);
        } else {
            self.campaign(None, Warrant::None, now);
        }
    }

    pub(crate) fn ask_for_pre_votes(&mut self, token: Option<Token>, now: Instant) {
        self.leave_role(Succession::Abrupt);
        // It is over; a clock that is set back must not bring it back.
        self.pledge = None;
        let votes = [(self.id(), true)].into_iter().collect();
        self.role = Role::PreCandidate(Campaign { votes, warrant: Warrant::None, token });
        self.arm_campaign(now);
        let request = VoteRequest { term: self.vote.term.next(), last: self.log.last(), warrant: Warrant::None };
        let targets = self.other_voters();
        if !targets.is_empty() {
            self.push_after_vote(Command::SendVote { targets, request, pre_vote: true }, now);
        }
        self.count_votes(now);
    }

    /// Increments the term and votes for itself. The others are asked once that is durable.
    pub(crate) fn campaign(&mut self, token: Option<Token>, warrant: Warrant, now: Instant) {
        assert!(warrant == Warrant::Leader || !self.is_pledged(now), "pledged for another {:?}", self.pledged_for(now));
        self.pledge = None;
        self.leave_role(if warrant.may_disrupt() { Succession::Orderly } else { Succession::Abrupt });
        let vote = Vote { term: self.vote.term.next(), voted_for: Some(self.id()) };
        self.role = Role::Candidate(Campaign { votes: Votes::default(), warrant, token });
        self.arm_campaign(now);
        self.save_vote(vote);
        mutate!(own_vote_before_flush, return self.handle_own_vote(vote.term, now));
        self.push_after(self.writes.of_vote(), Promise::OwnVote(vote.term), now);
    }

    /// This node's vote for itself is durable.
    pub(crate) fn handle_own_vote(&mut self, term: Term, now: Instant) {
        let (own, last) = (self.id(), self.log.last());
        let warrant = match &mut self.role {
            Role::Candidate(campaign) if self.vote.term == term => {
                campaign.votes.insert(own, true);
                campaign.warrant
            }
            Role::Candidate(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Leader(_) => return,
        };
        let request = VoteRequest { term, last, warrant };
        let targets = self.other_voters();
        if !targets.is_empty() {
            self.push(Command::SendVote { targets, request, pre_vote: false });
        }
        self.count_votes(now);
    }

    /// Beside a leader that is at work, a request for votes is not heard, and its term not taken: who sends it was cut off or
    /// removed, and would only disturb (thesis, section 4.2.3). Without check-quorum, a leader that nobody can answer would
    /// keep its followers from electing another one.
    pub(crate) fn is_unheard(&self, message: &Message, now: Instant) -> bool {
        mutate!(vote_beside_leader, return false);
        let Message::RequestVote(request) = message else { return false };
        let is_later = request.term > self.vote.term;
        let disturbs = !request.warrant.may_disrupt() && self.config.check_quorum && self.has_live_leader(now);
        is_later && (disturbs || self.is_bound_against(request.warrant, now))
    }

    /// Whether a leader counts on this node not to give its vote to such a candidate.
    fn is_bound_against(&self, warrant: Warrant, now: Instant) -> bool {
        warrant != Warrant::Leader && self.is_pledged(now)
    }

    /// A pre-vote is given when a campaign would succeed here and no leader is at work. It changes nothing.
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, request: VoteRequest, now: Instant) -> Handled {
        mutate!(pre_vote_raises_term if request.term > self.vote.term, self.adopt_term(request.term, Succession::Abrupt, now));
        let is_free = !self.has_live_leader(now) && !self.is_pledged(now);
        let granted = request.term > self.vote.term && self.is_up_to_date(&request) && is_free;
        mutate!(pre_vote_beside_leader, granted = request.term > self.vote.term && self.is_up_to_date(&request));
        mutate!(learner_never_votes, granted = granted && self.membership().is_voter(self.id()));
        let reply = VoteReply { term: self.vote.term, asked: request.term, granted };
        self.answer_after_vote(from, Message::PreVoteReply(reply), now);
        self.campaign_as_needed(&request, now);
        Ok(())
    }

    pub(crate) fn handle_pre_vote_reply(&mut self, from: NodeId, reply: VoteReply, now: Instant) -> Handled {
        mutate!(pre_vote_counts_as_vote if !matches!(self.role, Role::PreCandidate(_)),
            return self.handle_request_vote_reply(from, reply, now));
        if let Role::PreCandidate(campaign) = &mut self.role
            && reply.asked == self.vote.term.next()
        {
            campaign.votes.insert(from, reply.granted);
            self.count_votes(now);
        }
        Ok(())
    }

    /// One vote a term, first come, first served, and only for a log that lacks nothing of this one's.
    pub(crate) fn handle_request_vote(&mut self, from: NodeId, request: VoteRequest, now: Instant) -> Handled {
        let free = self.vote.voted_for.is_none_or(|candidate| candidate == from);
        let free = free && !self.is_bound_against(request.warrant, now);
        mutate!(vote_twice, free = true);
        let granted = request.term == self.vote.term && free && self.is_up_to_date(&request);
        mutate!(
            disrupting_vote_without_log_check,
            granted = granted || (request.warrant.may_disrupt() && request.term == self.vote.term && free)
        );
        mutate!(vote_without_log_check, granted = request.term == self.vote.term && free);
        mutate!(learner_never_votes, granted = granted && self.membership().is_voter(self.id()));
        if granted {
            mutate!(disrupting_vote_not_saved if request.warrant.may_disrupt() && self.vote.voted_for.is_none(),
                self.vote.voted_for = Some(from));
            if self.vote.voted_for.is_none() {
                self.save_vote(Vote { term: self.vote.term, voted_for: Some(from) });
            }
            self.arm_election(now);
        }
        let reply = VoteReply { term: self.vote.term, asked: request.term, granted };
        mutate!(vote_before_flush, self.send(from, Message::RequestVoteReply(reply)); return Ok(()));
        self.answer_after_vote(from, Message::RequestVoteReply(reply), now);
        self.campaign_as_needed(&request, now);
        Ok(())
    }

    /// Who asks counts on the vote of this node by an entry that this node lacks, and lacks what this node has: maybe nobody can be
    /// elected but this node, which is a learner by its own log and waits for no time. So it campaigns by the members that it
    /// knows, once for each such request, and hands over to a voter as one who was removed does (thesis, section 4.2.2: who is no
    /// voter may be needed as leader). Its own vote does not count.
    fn campaign_as_needed(&mut self, request: &VoteRequest, now: Instant) {
        let is_ahead = !self.is_up_to_date(request);
        mutate!(learner_campaigns_unneeded, is_ahead = true);
        let waits = matches!(self.role, Role::Follower(_)) && !self.has_live_leader(now) && !self.is_pledged(now);
        let is_learner = self.memberships.may_hold(self.id()) && !self.memberships.may_vote(self.id());
        if is_ahead && waits && is_learner && self.elections && self.is_the_member() && self.disk_works(now) {
            if self.config.pre_vote {
                self.ask_for_pre_votes(None, now);
            } else {
                self.campaign(None, Warrant::None, now);
            }
        }
    }

    pub(crate) fn handle_request_vote_reply(&mut self, from: NodeId, reply: VoteReply, now: Instant) -> Handled {
        mutate!(refused_vote_counts, reply = VoteReply { granted: true, ..reply });
        mutate!(late_vote_counts, reply = VoteReply { asked: self.vote.term, ..reply });
        if let Role::Candidate(campaign) = &mut self.role
            && reply.asked == self.vote.term
        {
            campaign.votes.insert(from, reply.granted);
            self.count_votes(now);
        }
        Ok(())
    }

    fn count_votes(&mut self, now: Instant) {
        let (Role::PreCandidate(campaign) | Role::Candidate(campaign)) = &self.role else { return };
        let result = self.membership().quorum().vote_result(|id| campaign.votes.get(&id).copied());
        match result {
            VoteResult::Won if matches!(self.role, Role::Candidate(_)) => self.become_leader(now),
            VoteResult::Won => {
                let token = self.take_campaign_token();
                self.campaign(token, Warrant::None, now);
            }
            // It ends like one that is pending: with the next timeout. Whoever asked for it need not wait for that.
            VoteResult::Lost => {
                let token = self.take_campaign_token();
                self.answer_not_elected(token, NotElected::Refused);
            }
            VoteResult::Pending => {}
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
                let lately = |heard_at| now.since(heard_at) < self.config.election_timeout_min;
                follower.leader.is_some() && follower.heard_at.is_some_and(lately)
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// A higher term was seen: whatever this node was, it is a follower now (section 5.1).
    pub(crate) fn adopt_term(&mut self, term: Term, succession: Succession, now: Instant) {
        assert!(term > self.vote.term, "term {term} is not above {}", self.vote.term);
        mutate!(candidate_keeps_role if matches!(self.role, Role::Candidate(_)),
            return self.save_vote(Vote { term, voted_for: None }));
        self.leave_role(succession);
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
                follower.heard_at = Some(now);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.leave_role(Succession::Orderly);
                let heard_at = Some(now);
                self.role = Role::Follower(Follower { leader: Some(from), heard_at, ..Follower::default() });
            }
        }
        self.know_leadership();
        self.awaits_heir = false;
        self.end_transfer(from);
        mutate!(election_timer_not_reset, return Ok(()));
        self.arm_election(now);
        Ok(())
    }

    /// This life has heard from the leader of its term, or is it: no other directory under its id has led in that or a later one.
    pub(crate) fn know_leadership(&mut self) {
        if self.config.bind_directories && !self.has_heard_leader {
            self.has_heard_leader = true;
            self.born_with = Vote { term: self.vote.term, voted_for: None };
        }
    }

    const fn second_leader(&self, leader: NodeId) -> crate::refusal::Inconsistency {
        crate::refusal::Inconsistency::SecondLeader { term: self.vote.term, leader }
    }

    /// Ends what only the present role can finish: whoever waits for it is told so.
    pub(crate) fn leave_role(&mut self, succession: Succession) {
        let role = std::mem::replace(&mut self.role, Role::Follower(Follower::default()));
        match role {
            Role::PreCandidate(campaign) | Role::Candidate(campaign) => {
                self.answer_not_elected(campaign.token, NotElected::Overtaken);
                self.leave_leader(false, succession);
            }
            Role::Follower(follower) => {
                for token in follower.reads.tokens() {
                    self.refuse(token, Refusal::LeadershipLost);
                }
                self.end_lendings(&follower.lendings);
                self.leave_leader(follower.leader.is_some(), succession);
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
                if let Some((token, _)) = leader.next_change {
                    self.refuse(token, Refusal::NotLeader);
                }
                self.timers.stop(Timer::Heartbeat);
                self.timers.stop(Timer::CheckQuorum);
                // What it handed to the leader before itself may still be answered, or not.
                self.abandon_forwards();
                self.push(Command::RebuildReplicationStreams { targets: Vec::new() });
                mutate!(abandoned_not_sent, return);
                self.push(Command::Abandoned { from: self.commit_index.next() });
            }
        }
    }

    /// What becomes of what this node's callers handed to its leader, or to one whose heir it waits for.
    fn leave_leader(&mut self, has_leader: bool, succession: Succession) {
        let (awaits, was_awaiting) = (succession == Succession::Orderly, self.awaits_heir);
        self.awaits_heir = awaits && (has_leader || was_awaiting);
        if !awaits {
            self.abandon_forwards();
            if has_leader || was_awaiting {
                self.push(Command::Abandoned { from: self.commit_index.next() });
            }
        }
        self.arm_requests();
    }

    /// Nobody knows what becomes of what is on its way to the leader.
    pub(crate) fn abandon_forwards(&mut self) {
        for forward in std::mem::take(&mut self.forwards).waiting.into_values() {
            mutate!(forward_refused_for_certain, self.refuse(forward.token, Refusal::LeadershipLost));
            self.refuse(forward.token, Refusal::Unknown);
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
        let membership = self.membership();
        let nodes = membership.nodes().keys().copied();
        nodes.filter(|node| *node != self.id() && membership.is_voter(*node)).collect()
    }

    /// Up to where the log is known to be the same as the present leader's.
    pub(crate) fn verified(&self) -> LogIndex {
        match &self.role {
            Role::Follower(follower) => follower.verified,
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => LogIndex::ZERO,
        }
    }
}
