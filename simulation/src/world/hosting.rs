//! A user's state machine in the world: each node has one in each of its lives.

use outrigger::engine::{Limits, NodeId};

use super::World;
use crate::user::{Commands, Subject};

impl World {
    /// The same world, whose entries carry a user's commands as well.
    pub(crate) fn hosting(mut self, subject: Subject, commands: Commands) -> Self {
        // Whoever writes a machine need not know of an entry's limit; a command beyond it would be refused for ever.
        self.plan.limits.entry_bytes_max = Limits::default().entry_bytes_max;
        // Nor of a limit of pieces: a large state in the smallest of them would take longer than anybody waits.
        self.plan.limits.snapshot_chunk_bytes_max = Limits::default().snapshot_chunk_bytes_max;
        self.terms = self.plan.terms();
        // What comes twice would have to be kept from the machine beside the cluster, too.
        (self.plan.sessions, self.workload.sessions) = (None, None);
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
