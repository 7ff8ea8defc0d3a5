//! What was worked out before: every node as it was, once, and what each cause makes of it.
//!
//! There are far fewer ways for one node to be than for all of them together, so nearly all steps were taken before by the
//! same node beside other ones. States then hold nodes in common, and a step costs a look-up.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::action::{Cause, Outcome};
use super::node::Node;

/// Equal hashes on each run. Nothing goes through these tables in their order.
type Build = BuildHasherDefault<DefaultHasher>;

/// A node as it was.
#[derive(Debug)]
struct Known(Arc<Node>);

impl Known {
    /// Nodes that are equal in this do the same from now on, down to the names that they will give out.
    fn identity(&self) -> impl Eq + Hash + '_ {
        (&self.0.fingerprint, self.0.engine.last_name())
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// All that was worked out.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Kept for ever, so that no two nodes are ever at one address.
    nodes: RefCell<HashSet<Known, Build>>,
    /// By the node's address and the cause.
    outcomes: RefCell<HashMap<(usize, Cause), Arc<Outcome>, Build>>,
}

impl Pool {
    /// The one that stands for all nodes that are equal to this one.
    pub(super) fn node(&self, node: Arc<Node>) -> Arc<Node> {
        let (known, mut nodes) = (Known(node), self.nodes.borrow_mut());
        if let Some(Known(node)) = nodes.get(&known) {
            return Arc::clone(node);
        }
        let node = Arc::clone(&known.0);
        nodes.insert(known);
        node
    }

    /// What a cause makes of a node out of this pool; `work_out` tells if it is not known.
    pub(super) fn outcome(&self, node: &Arc<Node>, cause: &Cause, work_out: impl FnOnce() -> Outcome) -> Arc<Outcome> {
        let place = (Arc::as_ptr(node).addr(), cause.clone());
        if let Some(known) = self.outcomes.borrow().get(&place) {
            return Arc::clone(known);
        }
        let mut outcome = work_out();
        outcome.node = self.node(outcome.node);
        let outcome = Arc::new(outcome);
        self.outcomes.borrow_mut().insert(place, Arc::clone(&outcome));
        outcome
    }
}
