//! Leases, and the pledges that they rest on, by an account of the world's: it knows what every clock shows.
//!
//! ```text
//!   heartbeat heard ──── until then the voter keeps still, restarts included ────►
//!   read by lease        only while a quorum keeps still for this leader
//!   read by a round      only if a quorum heard from this leader so long ago
//! ```

use std::time::Duration;

use outrigger::engine::{Engine, Event, Instant, Message, NodeId, Proof, Term, Vote, VoteResult, Warrant};

use super::World;
use crate::check::{Violation, require};
use crate::look::Look;
use crate::refinement::proof_wanted;

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

#[cfg(test)]
impl Allegiance {
    pub(super) fn keeps_still(&self, own: Instant) -> bool {
        own < self.until
    }
}

/// What a step has to do with leases.
#[derive(Clone, Copy, Debug)]
pub(super) enum Matter {
    /// A heartbeat, and for how long it wants its hearer to keep still.
    Heartbeat(NodeId, Term, Duration),
    /// A leader wants another one to lead.
    LeadersWish,
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
            _ => Self::Other,
        }
    }
}

impl World {
    /// Whether a node that is about to take a step has proof that it leads, as far as the read wants it that it is asked for. What
    /// it takes for proof must be one, by the members as they are now: the same step may change them.
    pub(super) fn is_proven(&self, id: NodeId, event: &Event, own: Instant) -> Result<bool, Violation> {
        let is_asked = self.checks.conduct || self.checks.model;
        let Some(proof) = proof_wanted(event).filter(|_| is_asked) else { return Ok(false) };
        let Some(node) = self.nodes.at(id) else { return Ok(false) };
        let engine = node.running.as_ref().map(|running| running.driver.engine());
        let Some(engine) = engine.filter(|engine| engine.proves(proof, own)) else { return Ok(false) };
        if self.checks.conduct && node.disguise().is_none() {
            self.judge_proof(id, engine, proof)?;
        }
        Ok(true)
    }

    /// Judges a step of a node that voted like `before`, where clocks are trusted.
    pub(super) fn judge_pledge(
        &mut self,
        look: &Look,
        matter: Matter,
        before: Vote,
        own: Instant,
    ) -> Result<(), Violation> {
        let Some(stepped) = self.nodes.at(look.node).filter(|node| node.disguise().is_none()) else { return Ok(()) };
        let is_heard = stepped.running.as_ref().is_none_or(|running| running.runtime.has_listened());
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
            _ => Ok(()),
        }
    }

    /// Whether what a leader takes for proof is one.
    pub(super) fn judge_proof(&self, id: NodeId, engine: &Engine, proof: Proof) -> Result<(), Violation> {
        // One that began before the read says nothing of who leads when the read is asked for.
        require!(proof != Proof::Round, LinearizableRead, "node {id} reads {proof}, and has not begun one since");
        let Some(plan) = &self.plan.reads else { return Ok(()) };
        let (term, _) = engine.leadership();
        let vouches = |voter: NodeId| {
            let vouches = self.allegiances.at(voter).is_some_and(|it| match proof {
                Proof::Round => false,
                // Whom it heard before a later leader is not known any more; it may have been this one, lately.
                Proof::Age(_) if it.term > term => true,
                _ if it.leader != id || it.term != term => false,
                Proof::Lease => self.time_at(voter) < it.until,
                Proof::Age(age) => it.heard_at + plan.at_most(age) >= self.now,
            });
            Some(voter == id || vouches)
        };
        let result = engine.membership().quorum().vote_result(vouches);
        require!(
            result == VoteResult::Won,
            Pledge,
            "node {id} reads {proof} in term {term}, and no quorum vouches for it"
        );
        Ok(())
    }
}
