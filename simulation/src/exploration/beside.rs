//! The extended model beside the explored engines: each step that a search takes is held against it.
//!
//! ```text
//!   state ─── one cause ──► state'        what a search tells states apart by: engines, messages, history
//!     │                       │
//!   model ── its actions ─► model'        of the first way that led to the state; it goes along, and tells nothing apart
//! ```
//!
//! The model remembers all that was ever said, so two ways to one state leave two models. A search goes on from the first
//! of them, one of the shortest. So every step is held against the model, from every state, though not behind every way to it: that
//! is what the search trusts its fingerprints for.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger::engine::{Event, LogTime, NodeId, WriteId};

use super::action::Outcome;
use super::node::{Effects, Entry, Handed, Node};
use crate::by_node::ByNode;
use crate::check::Violation;
use crate::durable::{Stamp, Stamps};
use crate::look::Look;
use crate::refinement::{After, Note, Refinement};
use crate::trace::digest;

/// The model of one way to a state.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    refinement: Refinement,
    /// The last write of each node that began, and the last that came to its end, counted from the beginning: nodes that differ in
    /// the numbers of their writes alone are one to the search (`exploration/pool.rs`).
    writes: ByNode<(WriteId, WriteId)>,
}

/// The steps of one model that were taken: whatever becomes of a node's messages, the model takes the same. Those that stay in
/// common save time, and more memory.
#[derive(Debug, Default)]
pub(super) struct Steps {
    from: Option<Arc<Beside>>,
    /// What each outcome makes of it, by the outcome's address.
    taken: HashMap<usize, (Arc<Outcome>, Taken)>,
}

/// The model behind a step, if it allows it.
type Taken = Result<Arc<Beside>, Violation>;

impl Steps {
    /// The model takes the step that led to an outcome.
    pub(super) fn take(&mut self, model: &mut Arc<Beside>, outcome: &Arc<Outcome>) -> Result<(), Violation> {
        if !self.from.as_ref().is_some_and(|from| Arc::ptr_eq(from, model)) {
            self.taken.clear();
            self.from = Some(Arc::clone(model));
        }
        let (_, taken) = self.taken.entry(Arc::as_ptr(outcome).addr()).or_insert_with(|| {
            let mut next = Beside::clone(model);
            let taken = next.step(&outcome.node, &outcome.effects).map(|()| Arc::new(next));
            (Arc::clone(outcome), taken)
        });
        *model = taken.clone()?;
        Ok(())
    }
}

impl Beside {
    /// Of a cluster in which everybody has begun with this entry.
    pub(super) fn new(nodes: &[NodeId], first: &Entry) -> Self {
        let refinement = Refinement::initialized(nodes.iter().copied(), &first.payload);
        Self { refinement, writes: ByNode::default() }
    }

    /// A node has become what it is by a step that had these effects; all its messages are said, whatever becomes of them.
    fn step(&mut self, node: &Node, effects: &Effects) -> Result<(), Violation> {
        let stamp = |entry: &Entry| Stamp { id: entry.id, log_time: LogTime(0), digest: digest(&entry.payload) };
        let log = Stamps(node.log.iter().map(stamp).collect());
        let engine = &node.engine;
        let after = After {
            look: Look::at(node.id(), engine),
            membership: engine.membership(),
            matched: engine.matched().collect(),
            log: &log,
            unchanged: 0,
            purged: engine.purged(),
            snapshot: engine.snapshot(),
            is_proven: effects.is_proven,
            notes: self.renumbered(node.id(), effects),
        };
        match &effects.handed {
            Handed::Nothing => {}
            Handed::Event(Event::LogFlushed { .. }) => {
                let write = self.finish_next(node.id());
                self.refinement.step(&Event::LogFlushed { write }, &after)?;
            }
            Handed::Event(event) => self.refinement.step(event, &after)?,
            Handed::Start => {
                self.forget_writes(node.id());
                self.refinement.restart(&after)?;
            }
        }
        effects.sent.iter().try_for_each(|it| self.refinement.said(it.from.node, it.to, &it.message))
    }

    /// What the model knows of a step, with its writes counted on from those before it.
    fn renumbered(&mut self, node: NodeId, effects: &Effects) -> Vec<Note> {
        let (mut begun, finished) = self.writes.at(node).copied().unwrap_or_default();
        let mut next = || {
            begun = begun.next();
            begun
        };
        let renumber = |note: &Note| match note.clone() {
            Note::Vote(_) => Note::Vote(next()),
            Note::Entries(_, count) => Note::Entries(next(), count),
            Note::Truncation(_) => Note::Truncation(next()),
            Note::Install(_, last) => Note::Install(next(), last),
            Note::Other(_) => Note::Other(next()),
            other => other,
        };
        let notes = effects.notes.iter().map(renumber).collect();
        self.writes.insert(node, (begun, finished));
        notes
    }

    /// A crash ends whatever was on its way.
    fn forget_writes(&mut self, node: NodeId) {
        let (begun, _) = self.writes.at(node).copied().unwrap_or_default();
        self.writes.insert(node, (begun, begun));
    }

    /// The oldest write of a node comes to its end, one at a time.
    fn finish_next(&mut self, node: NodeId) -> WriteId {
        let (begun, finished) = self.writes.at(node).copied().unwrap_or_default();
        self.writes.insert(node, (begun, finished.next()));
        finished.next()
    }
}
