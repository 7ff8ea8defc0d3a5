//! Elections by hand: what people and their tools may want of a node, whatever its timers say.

use std::fmt;
use std::time::Duration;

use crate::command::Command;
use crate::engine::Engine;
use crate::message::Warrant;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::timer::Timer;
use crate::types::{Instant, Token};

/// Why a node that was told to campaign does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotElected {
    /// It is no voter. Nothing was done.
    NotVoter,
    /// It has pledged itself to a leader that may hold a lease, or has just started and does not know whether it had: it neither
    /// campaigns nor votes for another before that is over. Nothing was done; transfer leadership instead, or try again.
    Pledged {
        /// For how long still.
        left: Duration,
    },
    /// A majority refused: a leader is at work (if pre-votes were asked for), or others have more of the log, or have voted in
    /// that term already.
    Refused,
    /// No majority answered before its election timeout.
    NoAnswer,
    /// It heard from a leader, or of a later term: from whoever campaigns there, or from a voter that refuses it for that.
    Overtaken,
}

impl fmt::Display for NotElected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pledged { left } => {
                return write!(
                    f,
                    "for another {left:?} a leader may count on this node not to campaign, as its lease rests on that; to replace \
                     a leader, transfer leadership, else try again once the leader is silent"
                );
            }
            Self::NotVoter => "the node is no voter; only a voter can be asked to lead",
            Self::Refused => {
                "a majority refused: a leader is at work, or others have more of the log; to replace a leader, transfer leadership"
            }
            Self::NoAnswer => "no majority answered; is it running, and reachable?",
            Self::Overtaken => {
                "another node leads, or a later term has begun: another node was faster, or a voter was in that term already and \
                 refused; try again if nobody leads"
            }
        })
    }
}

impl Engine {
    pub(crate) fn handle_elect(&mut self, token: Token, pre_vote: bool, now: Instant) {
        if matches!(self.role, Role::Leader(_)) {
            self.answer_elected(Some(token));
        } else if !self.memberships.may_vote(self.id()) || !self.is_the_member() {
            self.answer_not_elected(Some(token), NotElected::NotVoter);
        } else if self.is_pledged(now) {
            self.answer_not_elected(Some(token), NotElected::Pledged { left: self.pledged_for(now) });
        } else if pre_vote {
            self.ask_for_pre_votes(Some(token), now);
        } else {
            self.campaign(Some(token), Warrant::Operator, now);
        }
    }

    pub(crate) fn answer_elected(&mut self, token: Option<Token>) {
        let result = Ok(self.vote.term);
        token.into_iter().for_each(|token| self.push(Command::Elected { token, result }));
    }

    pub(crate) fn answer_not_elected(&mut self, token: Option<Token>, why: NotElected) {
        let result = Err(why);
        mutate!(lost_election_answered_won, result = Ok(self.vote.term));
        token.into_iter().for_each(|token| self.push(Command::Elected { token, result }));
    }

    /// Who asked for the campaign that is under way, if nobody has told them yet.
    pub(crate) fn take_campaign_token(&mut self) -> Option<Token> {
        match &mut self.role {
            Role::PreCandidate(campaign) | Role::Candidate(campaign) => {
                mutate!(election_answered_twice, return campaign.token);
                campaign.token.take()
            }
            Role::Follower(_) | Role::Leader(_) => None,
        }
    }

    pub(crate) fn handle_step_down(&mut self, token: Token, now: Instant) {
        if !matches!(self.role, Role::Leader(_)) {
            return self.refuse(token, Refusal::NotLeader);
        }
        mutate!(told_to_step_down_leads_on, return self.push(Command::Done { token }));
        self.step_down(now);
        mutate!(steps_down_to_come_back, return self.push(Command::Done { token }));
        // The others are to be first.
        self.arm_election(now + self.config.election_timeout_max);
        self.push(Command::Done { token });
    }

    pub(crate) fn handle_forget_leader(&mut self, token: Token) {
        match &mut self.role {
            Role::Follower(follower) if follower.leader.is_some() => {
                follower.heard_at = None;
                self.push(Command::Done { token });
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.refuse(token, Refusal::NoLeader);
            }
        }
    }

    pub(crate) fn handle_set_elections(&mut self, token: Token, on: bool, now: Instant) {
        self.elections = on;
        // A campaign that is under way goes on to its end.
        if matches!(self.role, Role::Follower(_))
            && self.campaigns_by_itself() != self.timers.is_running(Timer::Election)
        {
            self.arm_election(now);
        }
        self.push(Command::Done { token });
    }

    pub(crate) fn handle_set_priority(&mut self, token: Token, priority: u8) {
        mutate!(priority_not_taken, return self.push(Command::Done { token }));
        self.priority = priority;
        self.push(Command::Done { token });
    }
}
