//! Memory that rots: in some worlds a node's state becomes another than it should be, in a way that nobody reads.
//!
//! ```text
//!   memory rots ──► states are compared ──► the leader names who differs ──► that one stops, and begins anew
//!        └────────► the node dies first: its next life reads a sound state from its disk
//! ```

use std::time::Duration;

use outrigger::engine::{Event, LogIndex, Message, NodeId, RoleKind, StateHash, Term};

use super::World;
use super::peace::Peace;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::node::Node;

/// After so many comparisons in peace a state that has rotted is found: at times one of them comes to nothing.
const COMPARISONS: u32 = 20;
/// A healed cluster may take so long to elect a leader, and to raise its version to where states are compared.
const SETTLING: Duration = Duration::from_secs(20);

/// A leader says that a state is another than a majority's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Differs {
    pub(super) from: NodeId,
    pub(super) term: Term,
    /// Behind which entry.
    pub(super) at: LogIndex,
    /// What the majority has.
    pub(super) agreed: StateHash,
}

impl Differs {
    pub(super) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Received { from, message: Some(Message::StateDiffers { term, at, agreed }) } => {
                Some(Self { from: from.node, term: *term, at: *at, agreed: *agreed })
            }
            _ => None,
        }
    }
}

impl World {
    /// The memory of one node rots at times, and the others must find it when states are compared.
    pub(super) fn rot_at_times(&mut self, id: NodeId) {
        if self.plan.may_rot() && !self.nodes.iter().any(Node::is_rotten) && self.rng.chance(200_000) {
            self.rot(id);
        }
    }

    /// So it does when the faults are over, where nothing but a comparison puts an end to it: that of the leader as often as any.
    pub(super) fn rot_in_peace(&mut self) {
        // Drawn beside: what else is drawn stays what it is.
        let mut rng = self.rng.clone().fork();
        let core: Vec<NodeId> = self.core().map(|node| node.id).collect();
        let may_rot = self.plan.may_rot() && self.hosted.is_none() && !self.nodes.iter().any(Node::is_rotten);
        if !may_rot || core.is_empty() || !rng.chance(300_000) {
            return;
        }
        let any = *rng.pick(&core);
        let leader = self.present_leader().filter(|leader| core.contains(leader) && rng.chance(500_000));
        self.rot(leader.unwrap_or(any));
    }

    fn rot(&mut self, id: NodeId) {
        let Some(running) = self.nodes.at_mut(id).and_then(|node| node.running.as_mut()) else { return };
        running.runtime.machine.rot();
        note(&mut self.faults, "state rotted");
        self.trace.tell(self.now, Some(id), || "has a state that rots".to_owned());
    }

    /// The node of the healed cluster whose state has rotted, if the others are to find it: they are a quorum of more than one, and go
    /// on.
    pub(super) fn rotten(&self) -> Option<NodeId> {
        self.plan.state_check_interval.filter(|_| self.peace == Peace::Calm)?;
        // Where somebody who is away speaks an older version only, nobody knows how to compare.
        self.core().all(Node::compares_states).then_some(())?;
        let rotten = self.core().find(|node| node.is_rotten())?.id;
        let sound: Vec<NodeId> = self.core().map(|node| node.id).filter(|node| *node != rotten).collect();
        (sound.len() > 1 && self.members.have_quorum(&sound)).then_some(rotten)
    }

    /// A state that has rotted is found once states were compared often enough.
    pub(super) fn require_rot_found(&self) -> Result<(), Violation> {
        let (Some(rotten), Some(interval)) = (self.rotten(), self.plan.state_check_interval) else { return Ok(()) };
        let passed = Duration::from_nanos(self.now - self.calm_since);
        require!(
            passed <= SETTLING + interval * COMPARISONS,
            Divergence,
            "the state of node {rotten} has rotted, and nobody has found it in {passed:?} of peace, though states are compared every \
             {interval:?}"
        );
        Ok(())
    }

    /// Who is told by its leader that its state is another than a majority's, and knows it to be so, stops.
    pub(super) fn judge_rot(&self, look: &Look, told: Option<&Differs>) -> Result<(), Violation> {
        let Some(Differs { from, term, at, agreed }) = told else { return Ok(()) };
        let running = self.nodes.at(look.node).and_then(|node| node.running.as_ref());
        let hashed = running.and_then(|running| running.runtime.hashed);
        let knows = hashed.is_some_and(|(own, hash)| own == *at && hash != *agreed);
        let is_heard = running.is_some_and(|running| running.runtime.has_listened());
        let is_its_leader = is_heard && look.leader == Some(*from) && look.term == *term;
        let goes_on = is_its_leader && knows && look.role != RoleKind::Halted;
        require!(!goes_on, Divergence, "node {} is told that its state differs after {at}, and goes on", look.node);
        Ok(())
    }
}
