//! In which ways clients are served, counted: a way that never comes is a gap in what is simulated.

use outrigger::engine::{Consistency, Engine, NodeId, RoleKind, Token};

use super::World;
use crate::count::note;
use crate::machine::Answer;
use crate::workload::Wish;

impl World {
    /// Counts in which ways clients are answered.
    pub(super) fn count_answer(&mut self, id: NodeId, token: Token, answer: &Answer) {
        let Some((_, wish)) = self.workload.asked(token) else { return };
        match (wish, answer) {
            (Wish::Read(_, consistency), Answer::Read(..)) => {
                let kind = match consistency {
                    Consistency::Lease => Some("read by lease"),
                    Consistency::Acknowledged { .. } => Some("read of an acknowledged age"),
                    Consistency::Stale { .. } => Some("stale read"),
                    _ => None,
                };
                kind.into_iter().for_each(|kind| note(&mut self.workload.services, kind));
                let engine = self.nodes.at(id).and_then(|node| node.running.as_ref()).map(|it| it.driver.engine());
                let place = match engine.map(Engine::role_kind) {
                    Some(RoleKind::Leader) => "read answered by a leader",
                    Some(RoleKind::Learner) => "read answered by a learner",
                    _ => "read answered by a follower",
                };
                note(&mut self.workload.services, place);
            }
            (Wish::Write(writes), Answer::Written(_)) if writes.len() > 1 => {
                note(&mut self.workload.services, "writes together");
            }
            _ => {}
        }
    }
}
