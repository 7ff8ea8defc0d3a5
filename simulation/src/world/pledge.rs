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

#[cfg(test)]
mod tests {
    use super::super::tests::{look, refusing, running, world_with};
    use super::*;
    use crate::check::Check;

    fn heard(leader: NodeId, term: Term, heard_at: u64, until: Instant) -> Allegiance {
        Allegiance { leader, term, heard_at, until }
    }

    #[test]
    fn a_voter_vouches_for_the_leader_that_it_heard_lately_in_its_term() {
        let (mut world, id) = world_with(|world, node, running| {
            let look = node.look().expect("it runs");
            world.plan.reads.is_some() && look.leads() && running.driver.engine().membership().voters().len() > 2
        });
        let (term, now) = (look(&world, id).term, world.now);
        let judge = |world: &mut World, proof, of: &dyn Fn(Instant) -> Allegiance| {
            for voter in world.plan.node_ids() {
                let own = world.time_at(voter);
                world.allegiances.insert(voter, of(own));
            }
            let engine = world.nodes.at(id).and_then(|node| node.running.as_ref()).expect("it runs").driver.engine();
            refusing(world.judge_proof(id, engine, proof))
        };
        let (a_while, refused) = (Duration::from_millis(100), Some(Check::Pledge));
        let lease = |world: &mut World, of: &dyn Fn(Instant) -> Allegiance| judge(world, Proof::Lease, of);
        assert_eq!(lease(&mut world, &|own| heard(id, term, now, own + a_while)), None);
        assert_eq!(lease(&mut world, &|own| heard(id, term, now, own)), refused, "it is over");
        assert_eq!(lease(&mut world, &|own| heard(NodeId(77), term, now, own + a_while)), refused);
        let before = Term(term.0 - 1);
        assert_eq!(lease(&mut world, &|own| heard(id, before, now, own + a_while)), refused, "of its last office");
        let aged = |world: &mut World, at, term| judge(world, Proof::Age(a_while), &|own| heard(id, term, at, own));
        assert_eq!(aged(&mut world, now, term), None);
        world.now += 3_600_000_000_000;
        assert_eq!(aged(&mut world, now, term), refused, "long ago");
        assert_eq!(aged(&mut world, now, Term(term.0 + 1)), None, "it may have heard of this one lately");
    }

    #[test]
    fn what_a_node_pledged_is_what_it_has_not_forgotten_and_goes_on_until_the_last_of_it() {
        let (mut world, id) = world_with(|world, node, _| {
            world.plan.reads.is_some()
                && node.look().is_some_and(|look| look.vote.term > Term(1) && look.leader.is_some())
        });
        let (own, now) = (world.time_at(id), look(&world, id));
        let a_while = Duration::from_secs(9);
        let votes = Look { vote: Vote { term: Term(99), voted_for: Some(id) }, ..now };
        let judge = |world: &mut World, allegiance| {
            world.allegiances.insert(id, allegiance);
            refusing(world.judge_pledge(&votes, Matter::Other, now.vote, own))
        };
        let leader = NodeId(77);
        assert_eq!(judge(&mut world, heard(leader, now.vote.term, 0, own + a_while)), Some(Check::Pledge));
        let forgotten = Term(now.vote.term.0 + 1);
        assert_eq!(judge(&mut world, heard(leader, forgotten, 0, own + a_while)), None, "a crash took that term");
        assert!(!world.allegiances.at(id).expect("it is known").keeps_still(own), "it owes nobody else anything");
        // A shorter pledge does not end a longer one.
        world.allegiances.insert(id, heard(leader, now.vote.term, 0, own + a_while));
        let leader = now.leader.expect("it knows one");
        let matter = Matter::Heartbeat(leader, now.term, Duration::ZERO);
        assert_eq!(refusing(world.judge_pledge(&now, matter, now.vote, own)), None);
        assert!(world.allegiances.at(id).expect("it is known").keeps_still(own + a_while / 2));
        let longer = Matter::Heartbeat(leader, now.term, a_while * 2);
        let peer = running(&mut world, id).runtime.me;
        let refuses = crate::runtime::Effect::RefusePeer(peer, outrigger::engine::PeerRefusal::NotMember);
        running(&mut world, id).runtime.effects.push(refuses);
        assert_eq!(refusing(world.judge_pledge(&now, longer, now.vote, own)), None);
        assert!(!world.allegiances.at(id).expect("it is known").keeps_still(own + a_while), "it did not listen");
    }

    #[test]
    fn only_a_leader_can_wish_that_another_one_leads() {
        use outrigger::engine::{Incarnation, LogId, Peer, VoteRequest};
        let from = Peer::new(NodeId(2), Incarnation::default());
        let asks = |warrant| {
            let request = VoteRequest { term: Term(3), last: LogId::ZERO, warrant };
            Matter::of(&Event::Received { from, message: Some(Message::RequestVote(request)) })
        };
        assert!(matches!(asks(Warrant::Leader), Matter::LeadersWish));
        assert!(matches!(asks(Warrant::None), Matter::Other));
    }
}
