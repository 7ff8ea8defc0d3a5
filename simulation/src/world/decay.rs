//! Snapshots that rot while their nodes serve.
//!
//! ```text
//!   a piece is to be sent ──► its file rots ──► it cannot be read ──► another one takes its place ──► the follower is served
//!                                                   └── the node goes on, whatever it is: its state is in memory
//! ```
//!
//! In peace it happens once more at most: nothing else may lead to another snapshot then. That the node goes on is seen by the same
//! check as with everything that is no reason to stop; that the file is replaced is a part of having converged.

use outrigger::engine::NodeId;

use super::World;
use crate::plan::Trouble;

impl World {
    /// What a node is about to read of its snapshot rots at times.
    pub(super) fn decay_at_times(&mut self, id: NodeId, target: NodeId, number: u64) {
        let odds = match self.plan.odds(Trouble::Decay) {
            some if some > 0 && self.is_calm() => 300_000,
            odds => odds,
        };
        let piece = self.nodes.at(id).and_then(|node| node.running.as_ref()?.runtime.about_to_read(target, number));
        let Some((snapshot, offset, bytes)) = piece else { return };
        if !self.decay.chance(odds) || !self.strikes() {
            return;
        }
        let is_calm = self.is_calm();
        let Some(node) = self.nodes.at_mut(id) else { return };
        if node.decay(snapshot, (offset, bytes), &mut self.decay) {
            if is_calm {
                self.plan.spare(Trouble::Decay);
                // Another one is not taken at once.
                self.be_patient();
            }
            self.trace.tell(self.now, Some(id), || format!("has a snapshot of {snapshot} that rots"));
        }
    }
}
