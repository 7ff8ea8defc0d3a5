//! What goes wrong.

use std::sync::Arc;

use outrigger::engine::{
    Event, Incarnation, InstallSnapshot, Instant, Majority, Message, NodeId, Peer, RoleKind, VoteResult,
};

use super::happening::Happening;
use super::peace::Outside;
use super::{NOBODY, Node, World, initial_members, picture};
use crate::check::Violation;
use crate::count::note;
use crate::diagram::{self, Mark};
use crate::node::Disguise;
use crate::plan::{MILLISECOND, SECOND, STRIKES, Trouble};

/// A flush that goes on in another segment makes that one first, and names it. Then come the footer of the one that is full, in two
/// writes and a sync, and what is flushed; a group that still fits comes before all that.
const SEALING_OPERATIONS: u64 = 7;

impl World {
    /// Where messages come twice, the last piece of a snapshot comes again when its leader wants another one: whoever sent it in the
    /// leader's stead was slow. Hardly any other copy would be so late.
    pub(super) fn repeat_former_piece(&mut self, target: NodeId, from: Peer, piece: &InstallSnapshot) {
        let comes_twice = self.plan.odds(Trouble::Duplicates) > 0 && !self.is_calm();
        let Some(running) = self.nodes.at_mut(target).and_then(|node| node.running.as_mut()) else { return };
        let Some((peer, former)) = running.runtime.pieces.follow(from, piece).filter(|_| comes_twice) else { return };
        note(&mut self.faults, "late piece of a snapshot");
        let delay = (1 + former.request.0 % 8) * 3 * MILLISECOND;
        let former = Message::InstallSnapshot(former);
        self.trace.tell(self.now, Some(target), || format!("will get {former} again in {} ms", delay / MILLISECOND));
        let message = Some(self.network.encode(&former));
        self.after(delay, Happening::Arrive { target, from: peer, message });
    }

    /// What happens in any world.
    pub(super) fn schedule_beginning(&mut self) {
        for node in self.plan.node_ids() {
            let delay = self.rng.below(SECOND / 5);
            self.after(delay, Happening::Start { node });
        }
        for client in 0..self.plan.clients {
            let delay = self.rng.below(SECOND);
            self.after(delay, Happening::Ask { client });
        }
        for node in self.plan.node_ids() {
            self.set_clock(node);
        }
        self.schedule_strike();
        self.schedule_slip();
        self.schedule_partition();
        self.schedule_steward();
        self.schedule_wish();
        self.schedule_upgrade();
        self.after(self.plan.faults_last, Happening::Calm);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.patience.is_some()
    }

    /// Whether this trouble, which could be spared, strikes. Troubles are numbered in the order in which they could.
    pub(super) fn strikes(&mut self) -> bool {
        self.troubles += 1;
        let strikes = !self.changes.spares(self.troubles);
        #[cfg(test)]
        if let (Some(from), false) = self.falls_over {
            self.falls_over.1 = strikes && self.now >= from;
        }
        strikes
    }

    fn schedule_strike(&mut self) {
        let delay = self.rng.between(self.plan.strike_every / 4, self.plan.strike_every * 2);
        self.after(delay, Happening::Strike);
    }

    fn schedule_slip(&mut self) {
        let delay = self.rng.between(self.plan.slip_every / 4, self.plan.slip_every * 2);
        self.after(delay, Happening::Slip);
    }

    fn schedule_partition(&mut self) {
        let delay = self.rng.between(self.plan.partition_every / 4, self.plan.partition_every * 2);
        self.after(delay, Happening::ComeApart);
    }

    /// Something happens to all processes, or to one: to the leader as often as to any.
    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        if self.is_calm() {
            return Ok(());
        }
        self.schedule_strike();
        let all: Vec<NodeId> = self.plan.node_ids().collect();
        let any = *self.rng.pick(&all);
        let victim = if self.rng.chance(500_000) { self.present_leader().unwrap_or(any) } else { any };
        let trouble = STRIKES.into_iter().find(|trouble| self.rng.chance(self.plan.odds(*trouble)));
        let Some(trouble) = trouble.filter(|_| self.strikes()) else { return Ok(()) };
        match trouble {
            Trouble::PowerCuts => {
                self.trace.tell(self.now, None, || "all nodes lose power at once");
                note(&mut self.faults, "power cut of all at once");
                return all.into_iter().try_for_each(|node| self.crash(node, true));
            }
            Trouble::Pauses => self.pause(victim),
            Trouble::FailingSyncs => {
                if let Some(node) = self.running(victim) {
                    node.fail_sync();
                    self.trace.tell(self.now, Some(victim), || "has a disk of which one of the next syncs fails");
                }
            }
            Trouble::FullDisks => self.fill(victim),
            Trouble::Disguises => return self.disguise(victim),
            Trouble::Replacements => return all.into_iter().try_for_each(|node| self.replace_disk(node)),
            _ => {
                let power = self.rng.chance(self.plan.tears);
                return self.crash(victim, power);
            }
        }
        Ok(())
    }

    /// A node that runs from its own disk.
    fn running(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.at_mut(id).filter(|node| node.running.is_some() && node.disguise().is_none())
    }

    fn fill(&mut self, id: NodeId) {
        let lasts = self.rng.between(1, self.plan.outage * 3);
        let Some(node) = self.running(id) else { return };
        node.fill();
        self.trace.tell(self.now, Some(id), || format!("has a full disk for {} ms", lasts / MILLISECOND));
        self.mark(|| Mark::World { text: format!("the disk of node {id} is full for {}", diagram::lasts(lasts)) });
        self.after(lasts, Happening::MakeRoom { node: id });
    }

    /// Whether a process dies just before this message leaves it: others never hear of what it has done already.
    pub(super) fn dies_speaking(&mut self, id: NodeId, message: &Message) -> bool {
        let weight = match message {
            Message::Heartbeat(_) | Message::HeartbeatReply(_) => return false,
            // What it has taken in, and nobody will hear of.
            Message::ProposeReply { .. } => 8,
            // All of a snapshot may be there, and the log not begin behind it yet.
            Message::InstallSnapshotReply(_) => 40,
            _ => 1,
        };
        let odds = self.plan.odds(Trouble::LastWords) * weight;
        let dies = !self.is_calm() && self.nodes.at_mut(id).is_some_and(|node| node.rng.chance(odds));
        dies && self.strikes()
    }

    /// Whether a process is to die in this flush if it seals a segment: any other does not ask so much of the disk.
    pub(super) fn may_die_sealing(&mut self, id: NodeId) -> bool {
        let (odds, is_calm) = (self.plan.odds(Trouble::Crashes) / 32, self.is_calm());
        let Some(node) = self.running(id).filter(|node| !is_calm && !node.has_disk_trouble()) else { return false };
        // Drawn beside: what else is drawn stays what it is.
        let mut beside = node.rng.clone().fork();
        let dies = beside.chance(odds) && self.strikes();
        if let (true, Some(node)) = (dies, self.nodes.at_mut(id)) {
            node.end_after(SEALING_OPERATIONS + beside.below(5));
        }
        dies
    }

    /// Whether it has, or the flush has come to its end.
    pub(super) fn has_died_sealing(&mut self, id: NodeId, has_died: bool) -> bool {
        self.nodes.at(id).into_iter().for_each(Node::end_not);
        if has_died {
            note(&mut self.faults, "crash while a segment is sealed");
        }
        has_died
    }

    // ---- clocks ------------------------------------------------------------------------------------------------

    /// A node's clock runs too fast or too slow from the beginning.
    fn set_clock(&mut self, id: NodeId) {
        let drift = self.plan.odds(Trouble::Drift);
        let rate = self.rng.between(1_000_000 - drift, 1_000_000 + drift);
        let is_fast = rate >= 1_000_000;
        // What leases allow is met, not only approached.
        let rate = match self.plan.reads {
            Some(_) if is_fast => 1_000_000 + drift,
            Some(_) => 1_000_000 - drift,
            None => rate,
        };
        let Some(node) = self.nodes.at_mut(id) else { return };
        if drift > 0 {
            note(&mut self.faults, "clock adrift");
            self.trace.tell(self.now, Some(id), || format!("has a clock that shows {rate} \u{b5}s for each second"));
        }
        node.clock.run_at(rate, self.now);
    }

    /// A node's clock leaps ahead, or is set back.
    pub(super) fn slip(&mut self) {
        if self.is_calm() {
            return;
        }
        self.schedule_slip();
        let (nodes, now): (Vec<NodeId>, _) = (self.plan.node_ids().collect(), self.now);
        let (id, ahead, by) = (*self.rng.pick(&nodes), self.rng.chance(700_000), self.rng.between(1, self.plan.outage));
        let leads = self.nodes.at(id).and_then(Node::look).is_some_and(|look| look.leads());
        if !self.plan.may_slip(ahead, leads) || !self.rng.chance(self.plan.odds(Trouble::Leaps)) || !self.strikes() {
            return;
        }
        note(&mut self.faults, if ahead { "clock leaps ahead" } else { "clock set back" });
        let text =
            format!("the clock of node {id} {} {} ms", if ahead { "leaps" } else { "is set back" }, by / MILLISECOND);
        self.trace.note(Instant(now), id, '!', &text);
        self.mark(|| {
            let how = if ahead { "leaps" } else { "is set back" };
            Mark::World { text: format!("the clock of node {id} {how} by {}", diagram::lasts(by)) }
        });
        let Some(node) = self.nodes.at_mut(id) else { return };
        if ahead {
            node.clock.leap(by, now);
        } else {
            node.clock.set_back(by, now);
        }
        node.disturbed_at = node.disturbed_at.max(now);
        node.running.iter_mut().for_each(|running| running.armed = None);
        self.arm(id);
    }

    // ---- replacements ------------------------------------------------------------------------------------------

    /// The disk of a node that was removed is replaced; whoever changes the members adds it again, as the way back is. Only one
    /// that is no member any more, and only if no node that may still count its
    /// vote takes the new one for the old one: a peer that has met nothing, and knows of no binding, can know nothing.
    fn replace_disk(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.at(id).filter(|node| node.running.is_some()) else { return Ok(()) };
        let directory = node.directory();
        let knows = |other: &Node| {
            let has_met = other.durable().met(id).is_some_and(|met| met.id == directory);
            let membership = other.running.as_ref().map(|running| running.driver.engine().membership());
            let is_told = membership.is_some_and(|membership| {
                let bound = membership.bindings().get(&id).map(|binding| binding.directory);
                !membership.is_voter(id) || bound == Some(directory)
            });
            has_met || is_told
        };
        let is_replaceable = self.changes_members() && self.members.is_replaceable(id);
        if !is_replaceable || !self.nodes.iter().filter(|other| other.id != id).all(knows) {
            return Ok(());
        }
        self.crash(id, true)?;
        // The model has no other server of the same name: this history goes on without it.
        self.checks.model = false;
        self.judge.forget_votes(id);
        let is_old = self.nodes.at_mut(id).is_some_and(Node::replace_disk);
        note(&mut self.faults, if is_old { "replaced disk found again" } else { "disk replaced" });
        let what =
            if is_old { "gets the disk back that was replaced" } else { "gets an empty disk in the place of its own" };
        self.trace.note(Instant(self.now), id, '!', &what);
        self.mark(|| Mark::Process { node: id, lives: false, text: what.to_owned() });
        Ok(())
    }

    // ---- disguises ---------------------------------------------------------------------------------------------

    /// A node dies and comes back from an empty disk, or from an older copy of its own. One at a time, and only if every
    /// other node has met a life that tells this one from it: a peer that has met nothing can know nothing.
    fn disguise(&mut self, id: NodeId) -> Result<(), Violation> {
        let met = self.met_by_all(id);
        let is_first = self.nodes.iter().all(|node| node.disguise().is_none());
        if met.is_none() || !is_first || self.running(id).is_none() {
            return Ok(());
        }
        self.crash(id, true)?;
        let disguise = self.nodes.at_mut(id).and_then(|node| node.put_on(met));
        let what = match disguise {
            Some(Disguise::Wiped) => "finds its disk wiped",
            Some(Disguise::Copy) => "finds an older copy of its disk",
            None => return Ok(()),
        };
        self.trace.note(Instant(self.now), id, '!', &what);
        self.mark(|| Mark::Process { node: id, lives: false, text: what.to_owned() });
        Ok(())
    }

    /// The earliest of the lives of a node that others have durably met last; none if one of them has met none.
    fn met_by_all(&self, id: NodeId) -> Option<Incarnation> {
        let others = self.nodes.iter().filter(|node| node.id != id);
        let met: Option<Vec<Incarnation>> = others.map(|other| other.durable().met(id)).collect();
        met?.into_iter().min_by_key(|life| life.start)
    }

    /// A node in disguise was refused, and has ended. Its own disk is found again, or is lost.
    pub(super) fn unmask(&mut self, id: NodeId) -> Result<(), Violation> {
        let is_lost = self.rng.chance(self.plan.odds(Trouble::Losses));
        let delay = self.rng.between(1, self.plan.outage);
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        let disguise = node.disguise();
        node.end();
        node.take_off(&self.plan, true)?;
        node.is_lost = is_lost && disguise == Some(Disguise::Wiped);
        note(
            &mut self.faults,
            if disguise == Some(Disguise::Wiped) { "wiped disk refused" } else { "old copy refused" },
        );
        if node.is_lost {
            note(&mut self.faults, "disk lost for good");
        }
        let what =
            if node.is_lost { "is refused; its own disk is lost" } else { "is refused; its own disk is found again" };
        self.trace.note(Instant(self.now), id, '!', &what);
        self.mark(|| Mark::Process { node: id, lives: false, text: what.to_owned() });
        self.after(delay, Happening::Start { node: id });
        self.lose_callers(id)
    }

    // ---- processes ---------------------------------------------------------------------------------------------

    /// Somebody was elected.
    pub(super) fn schedule_hunt(&mut self, leader: NodeId) {
        if self.rng.chance(self.plan.odds(Trouble::Hunts)) {
            let delay = self.rng.below(self.plan.delay.1 * 6);
            self.after(delay, Happening::Hunt { node: leader });
        }
    }

    /// The new leader is left with one follower or none, or dies.
    pub(super) fn hunt(&mut self, leader: NodeId) -> Result<(), Violation> {
        if self.is_calm() || !self.strikes() {
            return Ok(());
        }
        if self.rng.chance(400_000) {
            return self.crash(leader, true);
        }
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        self.network.strand(leader, &nodes);
        if self.network.is_cut() {
            self.announce_network();
        }
        let lasts = self.rng.between(1, self.plan.partition_every);
        self.schedule_tidying(lasts);
        self.after(lasts, Happening::Join);
        Ok(())
    }

    /// A leader counts by two majorities from now on.
    pub(super) fn schedule_split(&mut self, leader: NodeId) {
        // Drawn beside: what else is drawn stays what it is.
        let mut rng = self.rng.clone().fork();
        if rng.chance(self.plan.odds(Trouble::Partitions) / 8) {
            let delay = rng.below(self.plan.delay.1 * 2);
            self.after(delay, Happening::Split { node: leader });
        }
    }

    /// It is cut off from as many old voters as the new majority can do without, if the old one cannot: its office is over.
    pub(super) fn split(&mut self, leader: NodeId) {
        let running = self.nodes.at(leader).and_then(|node| node.running.as_ref());
        let engine = running.map(|running| running.driver.engine()).filter(|it| it.role_kind() == RoleKind::Leader);
        let Some(engine) = engine.filter(|engine| engine.membership().is_joint()) else { return };
        let quorum = engine.membership().quorum();
        let (new, old) = (quorum.incoming, quorum.outgoing);
        let is_lost = |majority: Majority<'_>, cut: &[NodeId]| {
            majority.vote_result(|node| Some(!cut.contains(&node))) != VoteResult::Won
        };
        // Those first who vote no longer.
        let (both, leaving): (Vec<NodeId>, Vec<NodeId>) =
            old.0.iter().filter(|node| **node != leader).partition(|node| new.0.contains(node));
        let mut cut = Vec::new();
        for node in leaving.into_iter().chain(both) {
            cut.push(node);
            if is_lost(new, &cut) {
                cut.pop();
            }
        }
        if !is_lost(old, &cut) || self.is_calm() || !self.strikes() {
            return;
        }
        note(&mut self.faults, "old voters cut off");
        self.network.cut_links(cut.into_iter().flat_map(|node| [(leader, node), (node, leader)]));
        self.announce_network();
        let lasts = u64::try_from(self.election_timeout().as_nanos()).unwrap_or(u64::MAX);
        self.after(lasts.saturating_mul(4), Happening::Join);
    }

    /// A process is stopped for a while: its clock runs on, and when it wakes it knows nothing of what it missed.
    fn pause(&mut self, id: NodeId) {
        let lasts = self.rng.between(1, self.plan.outage);
        self.pause_for(id, lasts);
    }

    pub(super) fn pause_for(&mut self, id: NodeId, lasts: u64) {
        let Some(node) = self.nodes.at_mut(id) else { return };
        note(&mut self.faults, "pause");
        node.paused_until = self.now + lasts;
        node.disturbed_at = node.paused_until;
        self.trace.tell(self.now, Some(id), || format!("is paused for {} ms", lasts / MILLISECOND));
        let until = self.now + lasts;
        self.mark(|| Mark::Pause { node: id, until, text: format!("is paused for {}", diagram::lasts(lasts)) });
    }

    pub(super) fn crash(&mut self, id: NodeId, power: bool) -> Result<(), Violation> {
        let Some(node) = self.nodes.at_mut(id).filter(|node| node.running.is_some()) else { return Ok(()) };
        let is_flushing = node.running.as_ref().is_some_and(|running| !running.runtime.in_flight().is_empty());
        let during = if is_flushing { ", in the middle of a flush" } else { "" };
        self.acting = Some(id);
        node.crash(power);
        if node.disguise().is_some() {
            node.take_off(&self.plan, false)?;
        }
        note(&mut self.faults, if power { "power cut" } else { "kill" });
        let what = if power { "loses power" } else { "is killed" };
        self.trace.tell(self.now, Some(id), || format!("{what}{during}"));
        self.mark(|| Mark::Process { node: id, lives: false, text: what.to_owned() });
        let is_long = !self.is_calm() && self.rng.chance(self.plan.odds(Trouble::Outages));
        if is_long {
            note(&mut self.faults, "long outage");
        }
        // At times the process is back before anybody has noticed.
        let outage = match self.rng.below(10) {
            _ if is_long => self.plan.outage * 10,
            0..4 => MILLISECOND,
            _ => self.plan.outage,
        };
        let delay = self.rng.between(outage / 10, outage);
        self.after(delay, Happening::Start { node: id });
        // What it was writing is in the cache only, where its next life finds it.
        if !power && is_flushing && self.rng.chance(self.plan.odds(Trouble::Crashes) / 4) {
            let lives = self.rng.below(self.plan.flush.1 * 8);
            self.after(delay + lives, Happening::LosePower { node: id });
        }
        self.lose_callers(id)
    }

    /// What a start has taken over from the life before must be on its disk by now, if it has told anybody.
    pub(super) fn lose_power(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.is_calm() || !self.strikes() {
            return Ok(());
        }
        self.crash(id, true)
    }

    /// Whoever waits for a node that has died learns nothing any more.
    fn lose_callers(&mut self, id: NodeId) -> Result<(), Violation> {
        for client in self.workload.lose(id, self.now)? {
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
        }
        Ok(())
    }

    /// A process starts, says hello to the others, and begins the cluster if there is none yet.
    pub(super) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.outsiders.get(&id) == Some(&Outside::Away) {
            return Ok(());
        }
        let is_away = |node: &&mut Node| node.running.is_none() && !node.is_lost;
        let Some(node) = self.nodes.at_mut(id).filter(is_away) else { return Ok(()) };
        self.acting = Some(id);
        node.start(&self.plan, self.checks, self.now)?;
        self.host(id);
        if self.nodes.at(id).is_none_or(|node| node.running.is_none()) {
            let delay = self.plan.outage;
            self.after(delay, Happening::Start { node: id });
            return Ok(());
        }
        if !self.takes_part(id)? {
            return Ok(());
        }
        let Some(running) = self.nodes.at(id).and_then(|node| node.running.as_ref()) else { return Ok(()) };
        let (me, is_new) = (running.runtime.me, running.runtime.accepted.0.is_empty());
        self.trace.note(Instant(self.now), id, '!', &"starts");
        self.mark(|| Mark::Process { node: id, lives: true, text: "starts".to_owned() });
        if let (Some(diagram), Some(running)) =
            (&self.diagram, self.nodes.at(id).and_then(|node| node.running.as_ref()))
        {
            picture::mark_writes(diagram, self.now, &running.runtime, 0);
        }
        self.refine_start(id)?;
        self.settle(id)?;
        self.wish_at_start(id);
        let is_replaced = self.nodes.at(id).is_some_and(Node::is_replaced);
        if is_new && !is_replaced && self.plan.founders().any(|founder| founder == id) {
            let membership = Arc::new(initial_members(&self.plan));
            self.step(id, Event::Initialize { token: NOBODY, membership })?;
        }
        for target in self.plan.node_ids().filter(|target| *target != id) {
            let delays = self.network.route(&self.plan, id, target, None);
            if self.trace.is_told() {
                self.tell_way((id, target), None, delays);
            }
            for delay in delays {
                self.after(delay, Happening::Arrive { target, from: me, message: None });
            }
        }
        Ok(())
    }

    pub(super) fn come_apart(&mut self) {
        if self.is_calm() {
            return;
        }
        self.schedule_partition();
        if !self.rng.chance(self.plan.odds(Trouble::Partitions)) || !self.strikes() {
            return;
        }
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        let was_cut = self.network.join();
        self.network.come_apart(&nodes);
        // At times all stay on one side.
        if was_cut || self.network.is_cut() {
            self.announce_network();
        }
        let lasts = self.rng.between(SECOND / 20, self.plan.partition_every);
        self.schedule_tidying(lasts);
        self.after(lasts, Happening::Join);
    }

    pub(super) fn join(&mut self) {
        if self.network.join() {
            self.announce_network();
        }
    }
}
