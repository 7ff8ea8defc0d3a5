//! Peace: what a healed cluster must bear, and what it must not do.
//!
//! ```text
//!   faults ──► calm: a quorum is healed ──► idle: all are, one restarts ──► still: one link fails, no client asks ──► end
//!              it must converge, and serve       all converge                nobody may be deposed
//! ```
//!
//! The quorum is drawn; the others stay away, are cut off, or hear nobody. With pre-votes a node that does not hear its
//! leader must not disturb the others; without them it may, and hears it. That the healed nodes do not converge is
//! excused in one case only, which is proven by counting: so many disks are lost that the rest is no quorum.

use std::time::Duration;

use outrigger::engine::{Event, Incarnation, NodeId, Peer, Term};

use super::World;
use super::happening::Happening;
use crate::check::{Violation, require};
use crate::count::note;
use crate::diagram::Mark;
use crate::look::Look;
use crate::node::Node;
use crate::plan::{SECOND, Trouble};
use crate::words;

/// For so many of the longest election timeouts nothing happens in the end.
const STILLNESS: u32 = 3;

/// What is asked of a cluster without faults, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peace {
    /// A quorum is to converge and to serve, whatever the others do.
    Calm,
    /// All are; one of them restarts, and is to serve reads.
    Idle,
    /// To stay as it is.
    Still,
    /// Nothing more but to converge once more.
    Over,
}

/// For so many times the time without progress that is allowed a cluster may take in all.
pub(super) const PATIENCE: u64 = 10;

/// How long a cluster may take to converge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until then something more must be applied.
    pub(super) until: u64,
    /// Until then it must have converged.
    pub(super) at_most: u64,
}

/// How a node does not belong to the healed cluster yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// Its process does not run.
    Away,
    /// It hears nobody, and nobody hears it.
    CutOff,
    /// It hears nobody, or one other node only; all hear it.
    Deaf,
}

impl World {
    /// The faults are over. A quorum that is drawn heals, and must converge and serve.
    pub(super) fn become_calm(&mut self) -> Result<(), Violation> {
        self.be_patient();
        self.calm_since = self.now;
        self.network.heal();
        for trouble in [Trouble::SlowFlushes, Trouble::SlowSends, Trouble::ShortWrites, Trouble::Damage] {
            self.plan.spare(trouble);
        }
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        for node in &nodes {
            self.nodes.at_mut(*node).into_iter().for_each(Node::make_room);
            if self.nodes.at(*node).is_some_and(|node| node.disguise().is_some()) {
                self.crash(*node, true)?;
                self.nodes.at_mut(*node).map_or(Ok(()), |node| node.take_off(&self.plan, false))?;
            }
        }
        self.upgrade_all()?;
        // Who is left outside is no voter of any quorum that may come to count: none may be asked for any more.
        self.queue
            .keep(|happening| !matches!(happening, Happening::Request { event, .. } if matches!(**event, Event::ChangeMembers { .. })));
        self.leave_some_outside()?;
        self.announce(|world| format!("peace begins: all faults end{}", world.who_is_outside()));
        self.rot_in_peace();
        self.workload.become_calm(&self.plan);
        for node in nodes {
            self.start(node)?;
        }
        self.after(SECOND / 5, Happening::Review);
        Ok(())
    }

    /// In words.
    fn who_is_outside(&self) -> String {
        let told = self.outsiders.iter().map(|(node, outside)| match outside {
            Outside::Away => format!(", but node {node} stays away"),
            Outside::CutOff => format!(", but node {node} stays cut off"),
            Outside::Deaf => format!(", but node {node} stays deaf"),
        });
        told.collect()
    }

    pub(super) fn be_patient(&mut self) {
        let (until, at_most) = (self.now + self.plan.calm_lasts, self.now + self.plan.calm_lasts * PATIENCE);
        self.patience = Some(Patience { until, at_most });
    }

    /// Why the cluster cannot converge, if it cannot: too many disks are lost.
    pub(super) fn excuse(&self) -> Option<String> {
        let (lost, nodes) = (self.nodes.iter().filter(|node| node.is_lost).count(), self.plan.nodes);
        let left = self.nodes.iter().count() - lost;
        (left < self.plan.majority()).then(|| format!("{lost} of {nodes} disks are lost: {left} nodes are no quorum"))
    }

    /// Draws who does not belong to the healed cluster yet. Those who do are a quorum.
    fn leave_some_outside(&mut self) -> Result<(), Violation> {
        let mut intact: Vec<NodeId> = self.nodes.iter().filter(|node| !node.is_lost).map(|node| node.id).collect();
        let spare =
            if self.changes_members() { intact.len() - 1 } else { intact.len().saturating_sub(self.plan.majority()) };
        if spare == 0 || !self.rng.chance(self.plan.odds(Trouble::Outsiders)) || !self.strikes() {
            return Ok(());
        }
        for _ in 0..self.rng.count(1, spare) {
            let any = *self.rng.pick(&intact);
            let leader = self.present_leader().filter(|leader| intact.contains(leader));
            let node = leader.filter(|_| self.rng.chance(300_000)).unwrap_or(any);
            let rest: Vec<NodeId> = intact.iter().copied().filter(|other| *other != node).collect();
            if !self.members.have_quorum(&rest) {
                continue;
            }
            intact = rest;
            let may_be_deaf = self.plan.pre_vote && !self.outsiders.values().any(|outside| *outside == Outside::Deaf);
            let outside = match self.rng.below(4) {
                0 => Outside::Away,
                1 => Outside::CutOff,
                _ if may_be_deaf => Outside::Deaf,
                _ => Outside::Away,
            };
            self.leave_outside(node, outside)?;
        }
        Ok(())
    }

    fn leave_outside(&mut self, node: NodeId, outside: Outside) -> Result<(), Violation> {
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        self.outsiders.insert(node, outside);
        match outside {
            Outside::Away => {
                note(&mut self.faults, "node away from the healed cluster");
                self.crash(node, true)?;
            }
            Outside::CutOff => {
                note(&mut self.faults, "node cut off from the healed cluster");
                self.network.isolate(node, &nodes);
            }
            Outside::Deaf => {
                note(&mut self.faults, "node deaf in the healed cluster");
                // With whom it hears it must not be a quorum: it would lead, and nobody else could ask it for anything. Where
                // members change, those two may become one.
                let is_minority = nodes.len() > 3 && !self.changes_members();
                let friend = Some(*self.rng.pick(&nodes)).filter(|_| is_minority);
                let others = nodes.into_iter().filter(|other| *other != node && Some(*other) != friend);
                self.network.cut_links(others.map(|other| (other, node)));
            }
        }
        Ok(())
    }

    /// The nodes that must converge.
    pub(super) fn core(&self) -> impl Iterator<Item = &Node> {
        let belongs = |node: &&Node| !self.outsiders.contains_key(&node.id) && self.members.hold(node.id);
        self.nodes.iter().filter(|node| !node.is_lost).filter(belongs)
    }

    /// The healed quorum has converged, and nobody writes any more. Now all come back, and one is restarted: it must catch
    /// up and serve reads all the same. Nothing but heartbeats can tell it what it needs to know.
    pub(super) fn become_idle(&mut self) -> Result<(), Violation> {
        self.plan.spare(Trouble::Decay);
        self.peace = Peace::Idle;
        self.outsiders.clear();
        self.join();
        self.be_patient();
        self.workload.become_idle(&self.plan);
        let nodes: Vec<NodeId> = self.core().map(|node| node.id).collect();
        for node in &nodes {
            self.start(*node)?;
        }
        let victim = *self.rng.pick(&nodes);
        let text =
            || format!("all have converged; peace goes on: node {victim} crashes once more, and clients only read");
        self.mark(|| Mark::World { text: text() });
        self.crash(victim, true)
    }

    /// The cluster has converged in all that was asked of it. Now it is left alone, but for one link from its leader. What
    /// is still on its way from worse times gets lost: it might be a reason to change the leader after all.
    pub(super) fn become_still(&mut self) {
        self.reign = self.present_reign();
        let Some((_, leader)) = self.reign else { return };
        self.peace = Peace::Still;
        self.queue.keep(|happening| !matches!(happening, Happening::Arrive { .. }));
        self.mark(|| Mark::World { text: "all have converged; the cluster is left alone, and nobody asks".to_owned() });
        self.mark(|| Mark::Emptied);
        self.trace.tell(self.now, None, || "all that is still on its way gets lost");
        let followers: Vec<NodeId> = self.core().map(|node| node.id).filter(|node| *node != leader).collect();
        // With one follower less there must still be a quorum.
        let all: Vec<NodeId> = self.core().map(|node| node.id).collect();
        let may_miss = |deaf: &NodeId| {
            let rest: Vec<NodeId> = all.iter().copied().filter(|node| node != deaf).collect();
            self.members.have_quorum(&rest)
        };
        let candidates: Vec<NodeId> = followers.into_iter().filter(may_miss).collect();
        if self.plan.pre_vote && !candidates.is_empty() {
            let deaf = *self.rng.pick(&candidates);
            self.network.cut_links([(leader, deaf)]);
            self.announce_network();
        }
    }

    /// Whoever led when the cluster was left alone must lead now, in the same term.
    pub(super) fn require_stillness(&mut self) -> Result<(), Violation> {
        let (before, now, lasts) = (self.reign, self.present_reign(), self.stillness().as_millis());
        require!(
            now == before,
            Convergence,
            "in {lasts} ms without a cause the leader changed from {} to {}",
            words::reign(before),
            words::reign(now)
        );
        if self.network.join() {
            self.announce_network();
        }
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
        self.election_timeout() * STILLNESS
    }

    /// The longest one.
    pub(super) fn election_timeout(&self) -> Duration {
        let anybody = Peer::new(NodeId(1), Incarnation::default());
        self.plan.engine(anybody, 0).election_timeout_max
    }

    /// The highest term that has a leader, and who it is.
    pub(super) fn present_reign(&self) -> Option<(Term, NodeId)> {
        let itself = self.nodes.iter().filter(|node| node.disguise().is_none());
        let leaders = itself.filter_map(Node::look).filter(Look::leads);
        leaders.map(|Look { term, node, .. }| (term, node)).max()
    }

    pub(super) fn present_leader(&self) -> Option<NodeId> {
        self.present_reign().map(|(_, leader)| leader)
    }
}
