//! Leadership that is handed over (thesis, section 3.10).
//!
//! ```text
//!   asked ─► takes nothing in ─► heir has the whole log ─► timeout_now ─► heir campaigns ─► heir is heard from ─► done
//!                   │                                          ▲ │ each heartbeat
//!                   │                                          └─┘
//!                   └── an election timeout later: given up, and all is as before
//! ```
//!
//! While it lasts, the log does not grow, so that the heir can get all of it; what was taken in before goes on. A leader that was
//! removed asks its heir at once: those that know of it do not answer it any more, and the longest log is elected anyhow. The heir
//! campaigns without pre-vote, and its request for votes says that it may disrupt, because every voter still hears from its
//! leader. The leader stays one until it hears of the later term: if the heir is not elected, nothing is lost but time.
//!
//! Who leads next is known when the next leader is heard from; by then this node leads no more. So a transfer outlives the
//! leadership that it ends, but never its deadline: somebody waits for its end.

use std::fmt;

use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::fingerprint::Fingerprint;
use crate::message::{Message, Warrant};
use crate::progress::Progress;
use crate::role::Role;
use crate::timer::Timer;
use crate::types::{Instant, LogIndex, NodeId, Term, Token};

/// Leadership on its way to another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    /// Who asked; `None` if it is by this leader's own wish, because it is no voter any more.
    pub(crate) token: Option<Token>,
    /// The heir.
    to: NodeId,
    /// Whether it was told to campaign since the last heartbeat.
    is_asked: bool,
}

impl Transfer {
    pub(crate) const fn to(&self) -> NodeId {
        self.to
    }

    /// What the heir was told may be lost: it is told again.
    pub(crate) const fn ask_again(&mut self) {
        self.is_asked = false;
    }

    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { token, to, is_asked } = self;
        out.tokens(token.as_slice());
        out.number(to.0);
        out.flag(*is_asked);
    }
}

/// Leadership is where it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transferred {
    /// Who leads.
    pub leader: NodeId,
    /// In which term.
    pub term: Term,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotTransferred {
    /// The node that was asked does not lead. Nothing was done.
    NotLeader,
    /// The node that shall lead is no voter. Nothing was done.
    NotVoter {
        /// Which.
        node: NodeId,
    },
    /// There is no other voter. Nothing was done.
    NobodyElse,
    /// Leadership is being handed over already. Nothing was done.
    InProgress {
        /// To whom.
        to: NodeId,
    },
    /// The other node did not get the whole log within an election timeout. The leader leads on.
    Lagging {
        /// Which.
        node: NodeId,
        /// Up to where its log is known to be durable and equal to the leader's.
        matched: LogIndex,
        /// The last entry of the leader's log.
        last: LogIndex,
    },
    /// The other node has the whole log and was not heard to campaign within an election timeout. The leader leads on; if what it
    /// told the other node arrives late, that one may still take over.
    NoAnswer {
        /// Which.
        node: NodeId,
    },
    /// This node leads no more, and another one than it was asked for does, or none was heard from in time.
    LeadershipLost,
}

impl fmt::Display for NotTransferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => {
                f.write_str("the node that was asked does not lead; ask the leader, or wait until there is one")
            }
            Self::NotVoter { node } => write!(f, "node {node} is no voter; only a voter can be asked to lead"),
            Self::NobodyElse => f.write_str("there is no other voter"),
            Self::InProgress { to } => write!(f, "leadership is being handed over to node {to} already"),
            Self::Lagging { node, matched, last } => write!(
                f,
                "node {node} did not catch up within an election timeout: it holds entries up to {matched} of {last}; \
                 is it running, and reachable? the leader leads on"
            ),
            Self::NoAnswer { node } => write!(
                f,
                "node {node} did not take over within an election timeout; is it running, and reachable? the leader leads on"
            ),
            Self::LeadershipLost => f.write_str("leadership was lost, and not to the node that was to have it"),
        }
    }
}

impl Engine {
    pub(crate) fn handle_transfer_leadership(&mut self, token: Token, to: Option<NodeId>, now: Instant) {
        match self.heir(to, now) {
            Ok(heir) if heir == self.id() => {
                let here = Transferred { leader: heir, term: self.vote.term };
                self.push(Command::Transferred { token, result: Ok(here) });
            }
            Ok(heir) => self.begin_transfer(Some(token), heir, now),
            Err(why) => self.push(Command::Transferred { token, result: Err(why) }),
        }
    }

    fn heir(&self, to: Option<NodeId>, now: Instant) -> Result<NodeId, NotTransferred> {
        if !matches!(self.role, Role::Leader(_)) {
            return Err(NotTransferred::NotLeader);
        }
        if let Some(to) = self.transferring_to() {
            return Err(NotTransferred::InProgress { to });
        }
        match to {
            Some(node) if self.membership().is_voter(node) => Ok(node),
            Some(node) => Err(NotTransferred::NotVoter { node }),
            None => self.best_heir(now).ok_or(NotTransferred::NobodyElse),
        }
    }

    /// The voter that lacks the least of those that were heard from lately, and among equals the one that was heard from last.
    pub(crate) fn best_heir(&self, now: Instant) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let silence_max = self.config.election_timeout_min;
        let others = leader.progress.iter().filter(|(node, _)| self.membership().voters().contains(node));
        let best = others.max_by_key(|(_, progress)| {
            let heard_at = progress.heard_at();
            (now.since(heard_at) < silence_max, progress.match_index(), heard_at)
        });
        best.map(|(node, _)| *node)
    }

    pub(crate) fn begin_transfer(&mut self, token: Option<Token>, to: NodeId, now: Instant) {
        assert!(to != self.id() && self.transfer.is_none(), "one transfer at a time, to another node");
        self.transfer = Some(Transfer { token, to, is_asked: false });
        self.timers.set(Timer::Transfer, now + self.config.election_timeout_min);
    }

    /// Tells the heir to campaign: as soon as it has the whole log, or at once if this leader is no member any more. Runs after
    /// every event.
    pub(crate) fn ask_heir(&mut self) {
        let (Role::Leader(leader), Some(transfer)) = (&self.role, &mut self.transfer) else { return };
        let (to, last) = (transfer.to, self.log.last().index);
        // What is committed needs no doubt: whoever waits for it will be answered.
        let is_settled = self.commit_index >= last;
        mutate!(heir_asked_before_commit, is_settled = true);
        let has_all = is_settled && leader.progress.get(&to).is_some_and(|progress| progress.match_index() >= last);
        // Once the others know that it is removed they do not listen to it any more: nothing that it waits for would come.
        let is_member = self.memberships.may_hold(self.config.node.node);
        let has_all = has_all || !is_member;
        mutate!(heir_asked_too_early, has_all = true);
        if has_all && !transfer.is_asked {
            transfer.is_asked = true;
            self.give_up_lease();
            self.send(to, Message::TimeoutNow { term: self.vote.term });
        }
    }

    /// The leader wants this node to lead instead. What came late, or to somebody who may not lead, changes nothing.
    pub(crate) fn handle_timeout_now(&mut self, from: NodeId, term: Term, now: Instant) -> Handled {
        let is_asked = match &self.role {
            Role::Follower(follower) => follower.leader == Some(from) && term == self.vote.term,
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => false,
        };
        mutate!(late_timeout_now_obeyed, is_asked = !matches!(self.role, Role::Leader(_)));
        if is_asked && self.memberships.may_vote(self.id()) && self.is_the_member() {
            self.campaign(None, Warrant::Leader, now);
        }
        Ok(())
    }

    /// A leader was heard from, after this one or by its own election: the transfer has come to its end.
    pub(crate) fn end_transfer(&mut self, leader: NodeId) {
        let Some(Transfer { token, to, .. }) = self.transfer.take() else { return };
        self.timers.stop(Timer::Transfer);
        let done = Transferred { leader: to, term: self.vote.term };
        let result = if leader == to { Ok(done) } else { Err(NotTransferred::LeadershipLost) };
        mutate!(any_leader_is_the_heir, result = Ok(done));
        token.into_iter().for_each(|token| self.push(Command::Transferred { token, result }));
    }

    /// An election timeout has passed. Without this, a lost heir would keep a cluster from writing.
    pub(crate) fn handle_transfer_timeout(&mut self, now: Instant) {
        mutate!(
            transfer_never_given_up,
            return self.timers.set(Timer::Transfer, now + self.config.election_timeout_min)
        );
        let Some(Transfer { token, to: node, .. }) = self.transfer.take() else { return };
        let last = self.log.last().index;
        let why = match &self.role {
            Role::Leader(leader) => {
                let matched = leader.progress.get(&node).map_or(LogIndex::ZERO, Progress::match_index);
                let lags = matched < last;
                if lags { NotTransferred::Lagging { node, matched, last } } else { NotTransferred::NoAnswer { node } }
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => NotTransferred::LeadershipLost,
        };
        mutate!(
            given_up_is_done,
            return token.into_iter().for_each(|token| {
                let done = Transferred { leader: node, term: self.vote.term };
                self.push(Command::Transferred { token, result: Ok(done) });
            })
        );
        match token {
            Some(token) => {
                self.push(Command::Transferred { token, result: Err(why) });
            }
            None if matches!(self.role, Role::Leader(_)) => self.step_down(now),
            None => {}
        }
    }
}
