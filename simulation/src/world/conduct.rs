//! What a node makes of what it is told: whom it hears, when it campaigns and for how long it leads, how fresh it reads, what it
//! refuses and lets wait. It is judged beside Raft's own invariants, which hold however a node conducts itself.

use outrigger::engine::{Event, Instant, NodeId, Peer, Term, Token, Version, Vote};

use super::World;
use super::freshness::Freshness;
use super::leadership::judge_succession;
use super::members::Standing;
use super::office::Occasion;
use super::pledge::Matter;
use super::rot::Differs;
use super::serving;
use crate::check::{Prompt, Violation};
use crate::look::Look;

/// What a node is told, as far as its conduct is judged: the step takes the event away.
pub(super) struct Told {
    occasion: Occasion,
    prompt: Prompt,
    freshness: Freshness,
    matter: Matter,
    standing: Standing,
    /// How the node had voted before.
    voted: Option<Vote>,
    differs: Option<Differs>,
    meant: Option<(Token, Term)>,
    heard: Option<(Peer, Version)>,
}

impl World {
    /// Takes down what a node is about to be told; `None` where nobody judges what it makes of it.
    pub(super) fn take_down(&mut self, node: NodeId, event: &Event) -> Option<Told> {
        if !self.checks.conduct {
            return None;
        }
        let (freshness, matter) = match &self.plan.reads {
            Some(_) => (Freshness::of(event), Matter::of(event)),
            None => (Freshness::Nothing, Matter::Other),
        };
        let running = self.nodes.at(node).and_then(|node| node.running.as_ref());
        let voted = running.map(|running| running.driver.engine().vote());
        Some(Told {
            occasion: Occasion::of(event),
            prompt: Prompt::of(event),
            freshness,
            matter,
            standing: if self.plan.spares > 0 { Standing::of(event) } else { Standing::Nothing },
            voted,
            differs: Differs::of(event),
            meant: serving::meant(event),
            heard: self.heard(node, event),
        })
    }

    /// Holds what a node has made of what it was told against what it should.
    pub(super) fn judge_conduct(&mut self, look: &Look, told: &Told, own: Instant) -> Result<(), Violation> {
        let Told { occasion, prompt, freshness, matter, standing, voted, differs, meant, heard } = *told;
        let node = look.node;
        let Some(running) = self.nodes.at_mut(node).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        let has_ended = judge_succession(running, look)?;
        let may_vote = || self.members.may_need(node, &running.runtime.accepted, look.commit);
        running.succession.judge(prompt, look, has_ended, self.terms.election_timeouts(), own, may_vote)?;
        self.judge_occasion(node, look, occasion, own)?;
        self.judge_rot(look, differs.as_ref())?;
        self.judge_meant(look, meant)?;
        self.judge_log_time(look, own)?;
        self.judge_version(look, heard)?;
        self.judge_standing(look, standing, own)?;
        if let Some(voted) = voted.filter(|_| self.plan.reads.is_some()) {
            self.judge_freshness(look, freshness)?;
            self.judge_pledge(look, matter, voted, own)?;
        }
        Ok(())
    }
}
