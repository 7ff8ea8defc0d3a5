//! Leases, and the pledges that they rest on, by an account of the world's: it knows what every clock shows.
//!
//! ```text
//!   heartbeat heard ──── until then the voter keeps still, restarts included ────►
//!   read by lease        only while a quorum keeps still for this leader
//!   read by a round      only if a quorum heard from this leader so long ago
//! ```

use std::time::Duration;

use outrigger::engine::{Event, Instant, Message, NodeId, Proof, Term, Vote, VoteResult, Warrant};

use super::World;
use crate::check::{Violation, require};
use crate::look::Look;
use crate::refinement::proof_wanted;
use crate::runtime::Effect;

/// Whom a node heard last as its leader, whatever became of it since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allegiance {
    leader: NodeId,
    term: Term,
    /// When, in the world's time.
    heard_at: u64,
    /// Until when it keeps still, by its own clock.
    until: Instant,
}

/// What a step has to do with leases.
#[derive(Clone, Copy, Debug)]
pub(super) enum Matter {
    /// A heartbeat, and for how long it wants its hearer to keep still.
    Heartbeat(NodeId, Term, Duration),
    /// A leader wants another one to lead.
    LeadersWish,
    /// A read, and what must prove that its leader leads.
    Read(Proof),
    Other,
}

impl Matter {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Received { from, message: Some(Message::Heartbeat(it)) } => {
                Self::Heartbeat(from.node, it.term, it.pledge)
            }
            Event::Received { message: Some(Message::TimeoutNow { .. }), .. } => Self::LeadersWish,
            Event::Received { message: Some(Message::RequestVote(request)), .. }
                if request.warrant == Warrant::Leader =>
            {
                Self::LeadersWish
            }
            _ => proof_wanted(event).map_or(Self::Other, Self::Read),
        }
    }
}

impl World {
    /// Judges a step of a node that voted like `before`, and had proof before the step or not.
    pub(super) fn judge_pledge(
        &mut self,
        look: &Look,
        matter: Matter,
        (before, is_proven): (Vote, bool),
        own: Instant,
    ) -> Result<(), Violation> {
        if self.plan.reads.is_none() {
            return Ok(());
        }
        let Some(stepped) = self.nodes.at(look.node).filter(|node| node.disguise().is_none()) else { return Ok(()) };
        let effects = stepped.running.iter().flat_map(|running| &running.runtime.effects);
        let is_heard = !effects.into_iter().any(|effect| matches!(effect, Effect::RefusePeer(..)));
        let (node, now) = (look.node, self.now);
        // What it heard in a term that a crash took from its disk it has not answered: no leader counts on that.
        let bound = self.allegiances.at(node).filter(|it| it.term <= before.term);
        let until = bound.map_or(Instant(0), |it| it.until);
        if look.vote != before
            && let Some(candidate) = look.vote.voted_for
        {
            let is_free = own >= until || matches!(matter, Matter::LeadersWish);
            let left = until.since(own);
            require!(is_free, Pledge, "node {node} votes for {candidate} and is to keep still for another {left:?}");
            if let Some(allegiance) = self.allegiances.at_mut(node).filter(|_| candidate == node) {
                allegiance.until = own;
            }
        }
        match matter {
            Matter::Heartbeat(leader, term, pledge) if is_heard && look.leader == Some(leader) && look.term == term => {
                let until = until.max(own + pledge);
                self.allegiances.insert(node, Allegiance { leader, term, heard_at: now, until });
                Ok(())
            }
            Matter::Read(proof) if is_proven && look.leads() => self.judge_proof(look, proof),
            _ => Ok(()),
        }
    }

    /// Whether what a leader takes for proof is one.
    fn judge_proof(&self, look: &Look, proof: Proof) -> Result<(), Violation> {
        let Some((plan, running)) =
            self.plan.reads.as_ref().zip(self.nodes.at(look.node).and_then(|it| it.running.as_ref()))
        else {
            return Ok(());
        };
        let vouches = |voter: NodeId| {
            let vouches = self.allegiances.at(voter).is_some_and(|it| match proof {
                Proof::Round => false,
                // Whom it heard before a later leader is not known any more; it may have been this one, lately.
                Proof::Age(_) if it.term > look.term => true,
                _ if it.leader != look.node || it.term != look.term => false,
                Proof::Lease => self.time_at(voter) < it.until,
                Proof::Age(age) => it.heard_at + plan.at_most(age) >= self.now,
            });
            Some(voter == look.node || vouches)
        };
        let result = running.driver.engine().membership().quorum().vote_result(vouches);
        let (node, term) = (look.node, look.term);
        require!(
            result == VoteResult::Won,
            Pledge,
            "node {node} reads {proof} in term {term}, and no quorum vouches for it"
        );
        Ok(())
    }
}
