//! A user's state machine in the world: each node has one in each of its lives.

use outrigger::engine::NodeId;

use super::World;
use crate::user::{Commands, Subject};

impl World {
    /// The same world, whose entries carry a user's commands as well.
    pub(crate) fn hosting(mut self, subject: Subject, commands: Commands) -> Self {
        self.hosted = Some(subject);
        self.workload.commands = Some(commands);
        self
    }

    /// A node has started, and has applied nothing yet.
    pub(super) fn host(&mut self, id: NodeId) {
        let Some(subject) = &self.hosted else { return };
        let Some(node) = self.nodes.at_mut(id) else { return };
        let rng = node.rng.fork();
        if let Some(running) = &mut node.running {
            running.runtime.machine.host(subject.replica(id, rng));
        }
    }
}
