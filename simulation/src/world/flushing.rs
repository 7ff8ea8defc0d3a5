//! How long a disk takes, and what happens meanwhile.
//!
//! ```text
//!   flush begins ──► it ends soon
//!        ├─────────► it ends late, or hangs ──► the leader of that node is struck: it must not want to lead
//!        └─────────► what is flushed came from a leader, for another directory than this ──► the same
//! ```

use outrigger::engine::NodeId;

use super::World;
use super::happening::Happening;
use crate::count::note;
use crate::node::{Node, Running};
use crate::plan::{MILLISECOND, Trouble};

impl World {
    /// A flush has begun: decides when it ends.
    pub(super) fn time_flush(&mut self, id: NodeId) {
        let Some(node) = self.nodes.at_mut(id) else { return };
        let (life, rng) = (node.life, &mut node.rng);
        let Some(running) = &mut node.running else { return };
        let (odds, hunts) = (self.plan.odds(Trouble::SlowFlushes), self.plan.odds(Trouble::Hunts));
        let has_raise = odds > 0 && self.plan.upgrade_every > 0;
        let is_slow =
            rng.chance(odds) || (has_raise && Self::is_slow_to_raise(running.driver.engine(), rng.clone().fork()));
        let slow = if is_slow { 50 } else { 1 };
        if slow > 1 {
            note(&mut node.faults, "sync slow");
        }
        running.flush_began = Some(self.now);
        // At times it hangs for longer than a leader may wait for it.
        let hangs = if slow > 1 && rng.chance(25_000) { self.plan.hang_max } else { 0 };
        let delay = rng.between(self.plan.flush.0, self.plan.flush.1) * slow + rng.between(0, hangs);
        // Drawn beside: what else is drawn stays what it is.
        let mut beside = rng.clone().fork();
        // What hangs so long comes to its end before the peace does.
        let outlasts = hangs > 0 && beside.chance(hunts) && self.now + delay + hangs <= self.plan.faults_last;
        let delay = if outlasts { delay + hangs } else { delay };
        if slow > 1 {
            self.trace.tell(self.now, Some(id), || format!("has a slow sync, of {} ms", delay / MILLISECOND));
        }
        self.queue.put(self.now + delay, Happening::FlushEnds { node: id, life });
        if rng.chance(self.plan.odds(Trouble::ShortWrites)) {
            node.write_short();
            self.trace.tell(self.now, Some(id), || "has a disk of which one of the next writes is cut short");
        }
        if outlasts {
            // By then the node must know that its disk hangs.
            self.schedule_hunt_of_leader(id, (hangs + delay) / 2);
        } else if self.nodes.at(id).is_some_and(is_in_place_of_another) && beside.chance(hunts / 4) {
            self.schedule_hunt_of_leader(id, beside.below(self.plan.delay.1 * 6));
        }
    }

    /// Whoever leads this node is struck.
    fn schedule_hunt_of_leader(&mut self, id: NodeId, delay: u64) {
        let leader = self.present_leader().filter(|leader| *leader != id);
        leader.into_iter().for_each(|leader| self.after(delay, Happening::Hunt { node: leader }));
    }
}

/// Whether a disk that was replaced has come, in its leader's log, to where another one voted under this id.
fn is_in_place_of_another(node: &Node) -> bool {
    let is_of_another = |running: &Running| {
        let membership = running.driver.engine().membership();
        let directory = running.runtime.me.incarnation.id;
        let is_bound = membership.bindings().get(&node.id).is_some_and(|bound| bound.directory != directory);
        is_bound && membership.is_voter(node.id)
    };
    node.is_replaced() && node.running.as_ref().is_some_and(is_of_another)
}
