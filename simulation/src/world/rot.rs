//! Memory that rots: in some worlds a node's state becomes another than it should be, in a way that nobody reads.
//!
//! ```text
//!   memory rots ──► states are compared ──► the leader names who differs ──► that one stops, and begins anew
//!        └────────► the node dies first: its next life reads a sound state from its disk
//! ```

use outrigger::engine::{LogIndex, NodeId, RoleKind, StateHash, Term};

use super::World;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::node::Node;

impl World {
    /// The memory of one node rots at times, and the others must find it when states are compared.
    pub(super) fn rot_at_times(&mut self, id: NodeId) {
        if !self.plan.may_rot() || self.nodes.iter().any(Node::is_rotten) || !self.rng.chance(200_000) {
            return;
        }
        let Some(running) = self.nodes.at_mut(id).and_then(|node| node.running.as_mut()) else { return };
        running.runtime.machine.rot();
        note(&mut self.faults, "state rotted");
        self.trace.tell(self.now, Some(id), || "has a state that rots".to_owned());
    }

    /// Who is told that its state is another than a majority's, by somebody that it listens to, and knows it to be so, stops.
    pub(super) fn judge_rot(&self, look: &Look, told: Option<(Term, LogIndex, StateHash)>) -> Result<(), Violation> {
        let Some((term, at, agreed)) = told else { return Ok(()) };
        let running = self.nodes.at(look.node).and_then(|node| node.running.as_ref());
        let knows =
            running.and_then(|running| running.runtime.hashed).is_some_and(|(own, hash)| own == at && hash != agreed);
        let is_heard = running.is_some_and(|running| running.runtime.has_listened());
        let goes_on = is_heard && term == look.term && knows && look.role != RoleKind::Halted;
        require!(!goes_on, Divergence, "node {} is told that its state differs after {at}, and goes on", look.node);
        Ok(())
    }
}
