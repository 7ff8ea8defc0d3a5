//! Peace: what a healed cluster must bear, and what it must not do.
//!
//! ```text
//!   faults ──► calm: one node may still be deaf ──► idle: one restarts ──► still: one link fails, no client asks ──► end
//!              the others must converge, serve       all converge           nobody may be deposed
//! ```
//!
//! With pre-votes a node that does not hear its leader must not disturb the others; without them it may, and hears it.

use std::time::Duration;

use outrigger::engine::{Incarnation, NodeId, Peer, Term};

use super::World;
use super::happening::Happening;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::node::Node;
use crate::plan::SECOND;

/// For so many of the longest election timeouts nothing happens in the end.
const STILLNESS: u32 = 3;

/// What is asked of a cluster without faults, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peace {
    /// To converge and to serve, although one node may be deaf.
    Calm,
    /// To bring back a node that restarts, and to serve reads.
    Idle,
    /// To stay as it is.
    Still,
    /// Nothing more but to converge once more.
    Over,
}

impl World {
    /// Of the healed cluster one node goes on hearing nobody, or one other node only: the others are a quorum.
    pub(super) fn deafen(&mut self) {
        if !self.plan.pre_vote || self.plan.nodes < 3 || !self.rng.chance(self.plan.deaf) {
            return;
        }
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        let leader = self.nodes.iter().filter_map(Node::look).find(Look::leads);
        let any = *self.rng.pick(&nodes);
        let lonely = leader.map(|look| look.node).filter(|_| self.rng.chance(500_000)).unwrap_or(any);
        let friend = Some(*self.rng.pick(&nodes)).filter(|_| nodes.len() > 3);
        let others = nodes.into_iter().filter(|node| *node != lonely && Some(*node) != friend);
        self.network.cut_links(others.map(|other| (other, lonely)));
        note(&mut self.faults, "node deaf in the healed cluster");
        self.deaf = Some(lonely);
    }

    /// The nodes that must converge: all but one that is deaf.
    pub(super) fn core(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| Some(node.id) != self.deaf)
    }

    /// The cluster has converged in all that was asked of it. Now it is left alone, but for one link from its leader. What
    /// is still on its way from worse times gets lost: it might be a reason to change the leader after all.
    pub(super) fn become_still(&mut self) {
        self.reign = self.present_reign();
        let Some((_, leader)) = self.reign else { return };
        self.peace = Peace::Still;
        self.queue.keep(|happening| !matches!(happening, Happening::Arrive { .. }));
        let followers: Vec<NodeId> = self.plan.node_ids().filter(|node| *node != leader).collect();
        if self.plan.pre_vote && followers.len() > 1 {
            let deaf = *self.rng.pick(&followers);
            self.network.cut_links([(leader, deaf)]);
        }
    }

    /// Whoever led when the cluster was left alone must lead now, in the same term.
    pub(super) fn require_stillness(&mut self) -> Result<(), Violation> {
        let (before, now, lasts) = (self.reign, self.present_reign(), self.stillness().as_millis());
        require!(
            now == before,
            Convergence,
            "in {lasts} ms without a cause the leader changed from {before:?} to {now:?}"
        );
        self.network.join();
        self.peace = Peace::Over;
        Ok(())
    }

    /// When to look next.
    pub(super) fn review_next(&mut self) {
        let stillness = u64::try_from(self.stillness().as_nanos()).unwrap_or(u64::MAX);
        let delay = if self.peace == Peace::Still { stillness } else { SECOND / 5 };
        self.after(delay, Happening::Review);
    }

    fn stillness(&self) -> Duration {
        let anybody = Peer { node: NodeId(1), incarnation: Incarnation::default() };
        self.plan.engine(anybody, 0).election_timeout_max * STILLNESS
    }

    /// The highest term that has a leader, and who it is.
    fn present_reign(&self) -> Option<(Term, NodeId)> {
        let leaders = self.nodes.iter().filter_map(Node::look).filter(Look::leads);
        leaders.map(|Look { term, node, .. }| (term, node)).max()
    }
}
