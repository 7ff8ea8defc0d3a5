//! Builds that differ: in some worlds all nodes begin in an older build, and somebody upgrades them one after the other, all along.
//!
//! ```text
//!   all in build 1 ──► every now and then: one starts anew in build 2 ── all are, and were heard ──► the version is raised
//!                                  └──► one goes back to build 1 ──► before that: it is heard
//!                                                                └─► after that: it is refused or halts, and is upgraded
//! ```
//!
//! Once, when one node alone is left to be upgraded, another goes back just before, says one word to the leader in the older build,
//! and is not heard for a while, in which that last one is upgraded. By the word of an earlier life all would speak the newer version.
//!
//! What must hold is judged by what the world knows and no node does: who was handed which message of which life, and in which
//! build every node ever was.

use std::collections::BTreeMap;

use outrigger::engine::{
    Engine, Event, Incarnation, LogId, Membership, Message, NodeId, Peer, PeerRefusal, RoleKind, Version,
};

use super::World;
use super::happening::Happening;
use crate::by_node::ByNode;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::node::Node;
use crate::plan::{MILLISECOND, Plan, SECOND};
use crate::rng::Rng;
use crate::runtime::Effect;

/// A directory that was heard, the highest of its lives, and what that speaks.
#[derive(Debug)]
struct Spoken {
    by: NodeId,
    directory: u64,
    start: u64,
    version: Version,
}

/// Somebody goes back just before the last node is upgraded.
#[derive(Clone, Copy, Debug)]
struct Relapse {
    /// Who goes back.
    node: NodeId,
    /// Who is upgraded next.
    last: NodeId,
    /// Whether the one has told the leader, and the other was upgraded, or is not to be any more.
    is_over: bool,
}

/// What is known of the nodes' builds, and of what the cluster says that may be said.
#[derive(Debug, Default)]
pub(super) struct Builds {
    /// The highest life of each directory that a node was handed a message of, in its own life, and what that speaks.
    heard: ByNode<Vec<Spoken>>,
    /// The version by each node's log when it was looked at last.
    effective: ByNode<Version>,
    /// The highest that was committed.
    committed: Version,
    /// The first entry that was committed of each.
    raised_by: BTreeMap<Version, LogId>,
    /// Who has gone back when one was left to be upgraded.
    relapse: Option<Relapse>,
}

impl Builds {
    /// A node begins a life, in which it has heard nobody.
    fn begin(&mut self, id: NodeId) {
        self.heard.insert(id, Vec::new());
    }

    fn hear(&mut self, id: NodeId, from: Peer) {
        let Some(heard) = self.heard.at_mut(id) else { return };
        let Peer { node: by, incarnation: Incarnation { id: directory, start, .. }, version, .. } = from;
        match heard.iter_mut().find(|last| last.by == by && last.directory == directory) {
            Some(last) => (last.start, last.version) = (last.start, last.version).max((start, version)),
            None => heard.push(Spoken { by, directory, start, version }),
        }
    }

    /// What a node has heard a member speak: from the directory that is bound to the id, or from any while none is.
    fn spoken(&self, id: NodeId, by: NodeId, membership: &Membership) -> Version {
        let bound = membership.bindings().get(&by).map(|binding| binding.directory);
        let all = self.heard.at(id).into_iter().flatten().filter(|heard| heard.by == by);
        let counts = all.filter(|heard| bound.is_none_or(|bound| bound == heard.directory));
        counts.map(|heard| heard.version).max().unwrap_or(Version(0))
    }

    /// An entry is committed that says who the members are.
    pub(super) fn commit(&mut self, id: LogId, membership: &Membership) -> Result<(), Violation> {
        let (before, after) = (self.committed, membership.version());
        require!(after >= before, Version, "the cluster's version goes back from {before} to {after}");
        self.committed = after;
        self.raised_by.entry(after).or_insert(id);
        Ok(())
    }
}

/// The members that a cluster begins with where all nodes speak the same, or not.
pub(super) fn first_version(plan: &Plan) -> Version {
    if plan.upgrade_every > 0 { Version::FIRST } else { Version::LATEST }
}

impl World {
    const fn has_builds(&self) -> bool {
        self.plan.upgrade_every > 0
    }

    pub(super) fn schedule_upgrade(&mut self) {
        if self.has_builds() {
            let delay = self.rng.between(self.plan.upgrade_every / 4, self.plan.upgrade_every * 2);
            self.after(delay, Happening::Upgrade);
        }
    }

    /// Somebody starts a node in another build: mostly in a newer one.
    pub(super) fn upgrade(&mut self) -> Result<(), Violation> {
        if self.is_calm() {
            return Ok(());
        }
        self.schedule_upgrade();
        let goes_back = self.rng.chance(250_000);
        let wanted = if goes_back { Version::LATEST } else { Version::FIRST };
        let all = self.nodes.iter().filter(|node| node.build == wanted && !node.is_lost);
        let candidates: Vec<NodeId> = all.map(|node| node.id).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let id = *self.rng.pick(&candidates);
        if !self.strikes() {
            return Ok(());
        }
        let is_last = !goes_back && candidates.len() == 1 && self.builds.relapse.is_none();
        if is_last && self.builds.committed == Version::FIRST && self.rng.chance(700_000) {
            return self.relapse(id);
        }
        note(&mut self.faults, if goes_back { "node downgraded" } else { "node upgraded" });
        self.change_build(id, if goes_back { Version::FIRST } else { Version::LATEST })
    }

    /// A follower goes back before the last one is upgraded, where there is one. Otherwise everything waits for another occasion.
    fn relapse(&mut self, last: NodeId) -> Result<(), Violation> {
        let Some(leader) = self.present_leader().filter(|leader| *leader != last) else { return Ok(()) };
        let follows = |node: &&Node| ![last, leader].contains(&node.id) && !node.is_lost && self.members.hold(node.id);
        let followers: Vec<NodeId> = self.nodes.iter().filter(follows).map(|node| node.id).collect();
        if followers.is_empty() {
            return Ok(());
        }
        let node = *self.rng.pick(&followers);
        self.builds.relapse = Some(Relapse { node, last, is_over: false });
        note(&mut self.faults, "node downgraded");
        self.change_build(node, Version::FIRST)
    }

    /// A node was handed a message. If it is the leader, and this the first word of who has just gone back, that one is paused, and the
    /// last node upgraded.
    pub(super) fn cut_relapse_short(&mut self, target: NodeId, from: Peer) -> Result<(), Violation> {
        let is_word = |relapse: &&mut Relapse| {
            !relapse.is_over && relapse.node == from.node && from.version == Version::FIRST && relapse.last != target
        };
        let Some(Relapse { node, last, .. }) = self.builds.relapse.as_mut().filter(is_word).copied() else {
            return Ok(());
        };
        if self.is_calm() || self.present_leader() != Some(target) {
            return Ok(());
        }
        self.builds.relapse.iter_mut().for_each(|relapse| relapse.is_over = true);
        if !self.strikes() {
            return Ok(());
        }
        note(&mut self.faults, "older build heard once");
        self.trace.tell(self.now, Some(node), || format!("has been heard once by node {target}"));
        self.pause_for(node, SECOND / u64::from(self.plan.hurry));
        note(&mut self.faults, "node upgraded");
        self.change_build(last, Version::LATEST)?;
        // Soon, so that the leader still is one.
        self.after(MILLISECOND, Happening::Start { node: last });
        Ok(())
    }

    /// Whether a leader's disk is slow just as that is written which raises the version, so that the others commit it before.
    pub(super) fn is_slow_to_raise(engine: &Engine, mut rng: Rng) -> bool {
        let raises = engine.role_kind() == RoleKind::Leader && engine.membership().version() > engine.version();
        raises && rng.chance(500_000)
    }

    /// Whoever runs the node puts another build in place, and ends the process.
    fn change_build(&mut self, id: NodeId, build: Version) -> Result<(), Violation> {
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        node.change_build(build);
        self.trace.tell(self.now, Some(id), || format!("gets a build that speaks version {build}"));
        self.crash(id, false)
    }

    /// In peace all nodes are in the newest build.
    pub(super) fn upgrade_all(&mut self) -> Result<(), Violation> {
        let older = self.nodes.iter().filter(|node| node.build < Version::LATEST).map(|node| node.id);
        let older: Vec<NodeId> = older.collect();
        older.into_iter().try_for_each(|id| self.change_build(id, Version::LATEST))
    }

    /// A node has started; answers whether it takes part.
    pub(super) fn takes_part(&mut self, id: NodeId) -> Result<bool, Violation> {
        if !self.has_builds() {
            return Ok(true);
        }
        self.builds.begin(id);
        let Some(running) = self.nodes.at(id).and_then(|node| node.running.as_ref()) else { return Ok(false) };
        let engine = running.driver.engine();
        let (spoken, cluster) = (running.runtime.me.version, engine.membership().version());
        self.builds.effective.insert(id, cluster);
        let halts = engine.role_kind() == RoleKind::Halted;
        require!(
            halts == (spoken < cluster),
            Version,
            "node {id} starts in a build that speaks version {spoken} from a log of version {cluster}, and {}",
            if halts { "halts" } else { "takes part" }
        );
        if halts {
            self.find_too_old(id, cluster)?;
        }
        Ok(!halts)
    }

    /// A node halts, as its build is too old. That happens to nobody who has not gone back.
    pub(super) fn find_too_old(&mut self, id: NodeId, cluster: Version) -> Result<(), Violation> {
        self.require_gone_back(id, cluster)?;
        note(&mut self.faults, "older build halts");
        self.change_build(id, Version::LATEST)
    }

    fn require_gone_back(&self, id: NodeId, cluster: Version) -> Result<(), Violation> {
        // One that is no member does not hold the version back, and may be added afterwards all the same.
        if self.changes_members() {
            return Ok(());
        }
        let newest = self.nodes.at(id).map_or(Version::FIRST, Node::newest_build);
        require!(
            newest >= cluster,
            Version,
            "node {id} is shut out of a cluster of version {cluster}, and was never in a build that speaks more than {newest}"
        );
        Ok(())
    }

    /// Whether a peer is refused because its build is too old, and rightly so.
    pub(super) fn refused_as_too_old(
        &mut self,
        by: NodeId,
        peer: Peer,
        reason: &PeerRefusal,
    ) -> Result<bool, Violation> {
        let PeerRefusal::TooOld { cluster, .. } = reason else { return Ok(false) };
        let running = self.nodes.at(by).and_then(|node| node.running.as_ref());
        // One that leads has asked all, and rolls back no raise of its own.
        let leads = running.is_some_and(|running| running.driver.engine().role_kind() == RoleKind::Leader);
        require!(
            leads || *cluster <= self.builds.committed,
            Version,
            "node {by} shuts {peer} out of a cluster of version {cluster}, of which version {} is committed",
            self.builds.committed
        );
        self.require_gone_back(peer.node, *cluster)?;
        note(&mut self.faults, "older build refused");
        Ok(true)
    }

    /// A node says something. What is new is said only to who holds the raise on its disk, so that it never comes back from one that
    /// lets an older build take part; and by a leader only once its own disk has that, for the answer's sake.
    pub(super) fn judge_saying(&self, from: NodeId, target: NodeId, message: &Message) -> Result<(), Violation> {
        let since = message.since();
        if since == Version::FIRST || !self.has_builds() {
            return Ok(());
        }
        let raised = self.builds.raised_by.range(since..).next().map(|(_, id)| *id);
        let holds = |id: NodeId| {
            let disk = self.nodes.at(id).map(Node::durable);
            raised.is_some_and(|raised| disk.is_some_and(|disk| disk.log.has(raised)))
        };
        let leads = self.nodes.at(from).and_then(Node::look).is_some_and(|look| look.leads());
        require!(
            !leads || holds(from),
            Version,
            "node {from} says to {target} what is known since {since}, and does not hold durably that it may"
        );
        // Where a disk is replaced, what was said to the one before is on its way to the next.
        require!(
            self.changes_members() || holds(target),
            Version,
            "node {from} says to {target} what is known since {since}, and that node does not hold durably that it may"
        );
        Ok(())
    }

    /// A node is handed a message: only what its build knows. Answers whether it reaches it.
    pub(super) fn is_heard_of(&mut self, id: NodeId, from: Peer, message: Option<&Message>) -> Result<bool, Violation> {
        let Some(node) = self.nodes.at(id) else { return Ok(true) };
        let Some(running) = &node.running else { return Ok(true) };
        let (spoken, since) = (running.runtime.me.version, message.map_or(Version::FIRST, Message::since));
        if since > spoken && node.is_replaced() {
            // It was said to another directory, which knew it. A connection ends with that one; the next one begins with what
            // the build of this one speaks, and its sender leaves out what is newer.
            self.trace.tell(self.now, Some(id), || {
                format!("is on another disk, and is not told what is known since {since}")
            });
            return Ok(false);
        }
        require!(
            since <= spoken,
            Version,
            "node {id} speaks version {spoken}, and {from} tells it what is known since {since}"
        );
        Ok(true)
    }

    /// Whom an event lets a node hear, and the version before that it must speak: what the node knows to be committed. Where builds do
    /// not differ, nobody wants to know.
    pub(super) fn heard(&mut self, id: NodeId, event: &Event) -> Option<(Peer, Version)> {
        let (Event::Received { from, .. } | Event::Refused { by: from, .. }) = event else { return None };
        if !self.has_builds() {
            return None;
        }
        self.builds.hear(id, *from);
        let is_message = matches!(event, Event::Received { .. });
        let running = self.nodes.at(id)?.running.as_ref().filter(|_| is_message)?;
        Some((*from, running.driver.engine().version()))
    }

    /// A step has left a node so.
    pub(super) fn judge_version(&mut self, look: &Look, heard: Option<(Peer, Version)>) -> Result<(), Violation> {
        if !self.has_builds() {
            return Ok(());
        }
        let id = look.node;
        let Some(running) = self.nodes.at(id).and_then(|node| node.running.as_ref()) else { return Ok(()) };
        let (engine, spoken) = (running.driver.engine(), running.runtime.me.version);
        let version = engine.membership().version();
        require!(version <= spoken, Version, "node {id} speaks version {spoken}, and its log is of version {version}");
        if let Some((from, before)) = heard.filter(|(from, before)| from.version < *before) {
            let refuses = |effect: &Effect| matches!(effect, Effect::RefusePeer(peer, _) if *peer == from);
            let is_refused = running.runtime.effects.iter().any(refuses);
            let (theirs, halted) = (from.version, look.role == RoleKind::Halted);
            require!(
                is_refused || halted,
                Version,
                "node {id} of version {before} listens to {from}, which speaks no more than {theirs}"
            );
        }
        let before = self.builds.effective.insert(id, version).unwrap_or_default();
        if version > before && look.leads() && look.membership_at.term == look.term {
            let membership = engine.membership();
            let others = membership.nodes().keys().filter(|node| **node != id);
            let unheard = others.copied().find(|node| self.builds.spoken(id, *node, membership) < version);
            require!(
                unheard.is_none(),
                Version,
                "node {id} raises the version to {version}, and has not heard node {} speak it",
                unheard.unwrap_or_default()
            );
            note(&mut self.faults, "version raised");
        }
        Ok(())
    }
}

#[cfg(test)]
impl World {
    /// Whether no entry that is committed has raised the version.
    pub(super) fn builds_are_first(&self) -> bool {
        self.builds.committed <= Version::FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{another, look, refusing, running, world_with};
    use super::*;
    use crate::check::Check;

    fn world() -> (World, NodeId) {
        world_with(|world, node, running| {
            let others = world.nodes.iter().filter(|it| it.running.is_some() && it.disguise().is_none()).count();
            let look = node.look().expect("it runs");
            let members = running.driver.engine().membership();
            let is_bound = members.nodes().keys().all(|node| members.bindings().contains_key(node));
            let is_wanted = world.has_builds() && !world.changes_members() && look.leads() && is_bound;
            is_wanted && others > 1 && members.nodes().len() > 1
        })
    }

    #[test]
    fn who_goes_back_just_before_the_last_upgrade_is_heard_once_by_the_leader_and_paused() {
        let (mut world, id) = world_with(|world, node, _| {
            let leads = world.present_leader() == Some(node.id) && !world.is_calm();
            leads && world.has_builds() && world.nodes.iter().filter(|it| it.running.is_some()).count() > 2
        });
        let from = another(&world, id);
        let is_last = |node: &&Node| ![id, from.node].contains(&node.id) && node.running.is_some();
        let last = world.nodes.iter().find(is_last).expect("a third one").id;
        world.nodes.at_mut(last).expect("it is there").change_build(Version::FIRST);
        world.builds.relapse = Some(Relapse { node: from.node, last, is_over: false });
        let (older, newer) = (Peer { version: Version::FIRST, ..from }, Peer { version: Version::LATEST, ..from });
        let mut upgraded_by = |target, peer| {
            world.cut_relapse_short(target, peer).expect("nothing is wrong");
            let is_paused = world.wakes_at(from.node).is_some();
            let build = world.nodes.at(last).expect("it is there").build;
            assert_eq!(is_paused, build == Version::LATEST);
            is_paused
        };
        assert!(!upgraded_by(id, newer), "of a life before");
        assert!(!upgraded_by(from.node, older), "to another one than the leader");
        assert!(upgraded_by(id, older));
        assert_eq!(world.faults.get("older build heard once"), Some(&1));
        world.cut_relapse_short(id, older).expect("nothing is wrong");
        assert_eq!(world.faults.get("older build heard once"), Some(&1), "once");
    }

    #[test]
    fn a_version_that_goes_back_or_was_never_committed_is_noticed() {
        let (mut world, _) = world();
        let members = Membership::default();
        let commit = |world: &mut World, version, index| {
            refusing(world.builds.commit(LogId::new(1, index), &members.clone().with_version(Version(version))))
        };
        assert_eq!([commit(&mut world, 7, 100), commit(&mut world, 7, 101)], [None, None]);
        assert_eq!(commit(&mut world, 6, 102), Some(Check::Version));
        let mut next = World::new(&crate::history::History::new(1));
        next.builds.committed = Version(9);
        assert_eq!(refusing(next.run()), Some(Check::Version), "with the first entry that is committed");
    }

    #[test]
    fn a_node_that_takes_part_and_speaks_less_than_its_log_is_noticed() {
        let (mut world, id) = world();
        assert_eq!(world.takes_part(id), Ok(true));
        running(&mut world, id).runtime.me.version = Version(0);
        assert_eq!(refusing(world.takes_part(id)), Some(Check::Version));
    }

    #[test]
    fn who_is_shut_out_by_what_is_not_committed_is_noticed_unless_a_leader_does_it() {
        let (mut world, id) = world();
        let follower = world.nodes.iter().filter_map(Node::look).find(|look| !look.leads()).expect("one follows").node;
        let peer = another(&world, id);
        // Whoever was in that build has gone back.
        let node = world.nodes.at_mut(peer.node).expect("it is there");
        node.has_run_in(Version(9));
        world.builds.committed = Version(7);
        let mut refuse = |by, cluster| {
            let reason = PeerRefusal::TooOld { cluster: Version(cluster), spoken: peer.version };
            refusing(world.refused_as_too_old(by, peer, &reason))
        };
        assert_eq!([refuse(follower, 7), refuse(follower, 8), refuse(id, 8)], [None, Some(Check::Version), None]);
    }

    #[test]
    fn a_leader_that_raises_the_version_unheard_is_noticed() {
        let (mut world, id) = world();
        let mut leads = look(&world, id);
        leads.membership_at.term = leads.term;
        let membership = running(&mut world, id).driver.engine().membership().clone();
        let (others, me) =
            (membership.nodes().keys().copied().filter(|node| *node != id), running(&mut world, id).runtime.me);
        let others: Vec<NodeId> = others.collect();
        let directory = |node| membership.bindings().get(&node).map_or(1, |binding| binding.directory);
        let judge = |world: &mut World, heard: &dyn Fn(NodeId) -> Peer| {
            world.builds.begin(id);
            others.iter().for_each(|node| world.builds.hear(id, heard(*node)));
            world.builds.effective.insert(id, Version(0));
            refusing(world.judge_version(&leads, None))
        };
        let version = membership.version().max(me.version);
        let speaks = |node, directory, start, version| {
            let peer = Peer::new(node, Incarnation { id: directory, start, nonce: 1 });
            Peer { version, ..peer }
        };
        assert_eq!(judge(&mut world, &|node| speaks(node, directory(node), 1, version)), None);
        assert_eq!(judge(&mut world, &|node| speaks(node, directory(node), 1, Version(0))), Some(Check::Version));
        let other = judge(&mut world, &|node| speaks(node, 99, 1, version));
        assert_eq!(other, Some(Check::Version), "another directory's word");
        // What a later life speaks counts, and not what an earlier one did.
        world.builds.begin(id);
        let first = others[0];
        for (start, version) in [(2, Version(1)), (1, Version(9))] {
            world.builds.hear(id, speaks(first, directory(first), start, version));
        }
        assert_eq!(world.builds.spoken(id, first, &membership), Version(1));
    }

    #[test]
    fn what_is_new_is_said_by_a_leader_and_to_others_only_once_it_is_on_their_disks() {
        let (mut world, id) = world();
        let (target, now) = (another(&world, id).node, look(&world, id));
        let newer = Message::HashState { term: now.term, at: now.commit };
        let mut judge = |raised| {
            world.builds.raised_by = [(newer.since(), raised)].into();
            refusing(world.judge_saying(id, target, &newer))
        };
        let nowhere = LogId::new(99, 99);
        assert_eq!(judge(nowhere), Some(Check::Version));
        assert_eq!(judge(LogId::ZERO), None);
        // It is on the leader's disk, and the other one has lost it.
        let raised = world.nodes.at(id).expect("it is there").durable().log.last();
        world.builds.raised_by = [(newer.since(), raised)].into();
        running(&mut world, target).runtime.durable.log.truncate(raised.index.previous());
        assert_eq!(refusing(world.judge_saying(id, target, &newer)), Some(Check::Version));
        assert_eq!(refusing(world.judge_saying(target, id, &newer)), None, "who does not lead was told by who does");
    }
}
