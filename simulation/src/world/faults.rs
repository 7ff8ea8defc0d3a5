//! What goes wrong, and the end of it.

use std::sync::Arc;

use outrigger::engine::{Event, Instant, Message, NodeId};

use super::happening::Happening;
use super::peace::Peace;
use super::{NOBODY, Node, World, initial_members};
use crate::check::Violation;
use crate::count::note;
use crate::diagram::Mark;
use crate::plan::{MILLISECOND, SECOND};

impl World {
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
        self.schedule_fault();
        self.schedule_partition();
        self.after(self.plan.faults_last, Happening::Calm);
    }

    fn is_calm(&self) -> bool {
        self.calm_until.is_some()
    }

    fn schedule_fault(&mut self) {
        let delay = self.rng.between(self.plan.crash_every / 4, self.plan.crash_every * 2);
        self.after(delay, Happening::Fault);
    }

    fn schedule_partition(&mut self) {
        let delay = self.rng.between(self.plan.partition_every / 4, self.plan.partition_every * 2);
        self.after(delay, Happening::ComeApart);
    }

    /// Some processes die or stop: one, one that leads, or all at once.
    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        if self.is_calm() {
            return Ok(());
        }
        self.schedule_fault();
        let all: Vec<NodeId> = self.plan.node_ids().collect();
        if self.rng.chance(self.plan.power_cuts) {
            note(&mut self.faults, "power cut of all at once");
            return all.into_iter().try_for_each(|node| self.crash(node, true));
        }
        let leads = |node: &&NodeId| {
            let status = self.nodes.get(node).and_then(Node::status);
            status.is_some_and(|status| status.role == outrigger::engine::RoleKind::Leader)
        };
        let leader = all.iter().find(leads).copied();
        let any = *self.rng.pick(&all);
        let victim = if self.rng.chance(500_000) { leader.unwrap_or(any) } else { any };
        if self.rng.chance(self.plan.pauses) {
            self.pause(victim);
            return Ok(());
        }
        if self.rng.chance(self.plan.failing_syncs) {
            self.nodes.get_mut(&victim).filter(|node| node.running.is_some()).into_iter().for_each(Node::fail_sync);
            return Ok(());
        }
        let power = self.rng.chance(self.plan.tears);
        self.crash(victim, power)
    }

    /// Whether a process dies just before this message leaves it: others never hear of what it has done already.
    pub(super) fn dies_speaking(&mut self, message: &Message) -> bool {
        let lives = matches!(message, Message::Heartbeat(_) | Message::HeartbeatReply(_));
        !lives && !self.is_calm() && self.rng.chance(self.plan.dies_speaking)
    }

    /// Somebody was elected.
    pub(super) fn schedule_hunt(&mut self, leader: NodeId) {
        if self.rng.chance(self.plan.hunts) {
            let delay = self.rng.below(self.plan.delay.1 * 6);
            self.after(delay, Happening::Hunt { node: leader });
        }
    }

    /// The new leader is left with one follower or none, or dies.
    pub(super) fn hunt(&mut self, leader: NodeId) -> Result<(), Violation> {
        if self.is_calm() {
            return Ok(());
        }
        if self.rng.chance(400_000) {
            return self.crash(leader, true);
        }
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        self.network.strand(leader, &nodes);
        self.mark(|| Mark::World { text: self.network.to_string() });
        let lasts = self.rng.between(1, self.plan.partition_every);
        self.after(lasts, Happening::Join);
        Ok(())
    }

    /// A process is stopped for a while: its clock runs on, and when it wakes it knows nothing of what it missed.
    fn pause(&mut self, id: NodeId) {
        let lasts = self.rng.between(1, self.plan.outage);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        note(&mut self.faults, "pause");
        node.paused_until = self.now + lasts;
        self.trace.note(Instant(self.now), id, '!', &"is paused");
        self.mark(|| Mark::World { text: format!("node {id} is paused for {} ms", lasts / MILLISECOND) });
    }

    pub(super) fn crash(&mut self, id: NodeId, power: bool) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.running.is_some()) else { return Ok(()) };
        node.crash(power);
        note(&mut self.faults, if power { "power cut" } else { "kill" });
        let what = if power { "loses power" } else { "is killed" };
        self.trace.note(Instant(self.now), id, '!', &what);
        self.mark(|| Mark::Process { node: id, lives: false, text: what.to_owned() });
        // At times the process is back before anybody has noticed.
        let outage = if self.rng.chance(400_000) { MILLISECOND } else { self.plan.outage };
        let delay = self.rng.between(1, outage);
        self.after(delay, Happening::Start { node: id });
        for client in self.workload.lose(id, self.now)? {
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
        }
        Ok(())
    }

    /// A process starts, says hello to the others, and begins the cluster if there is none yet.
    pub(super) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.running.is_none()) else { return Ok(()) };
        node.start(&self.plan, Instant(self.now))?;
        self.host(id);
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let Some(running) = &node.running else { return Ok(()) };
        let (me, is_new) = (running.runtime.me, running.runtime.accepted.0.is_empty());
        self.trace.note(Instant(self.now), id, '!', &"starts");
        self.mark(|| Mark::Process { node: id, lives: true, text: "starts".to_owned() });
        self.refine_start(id)?;
        self.settle(id)?;
        if is_new {
            let membership = Arc::new(initial_members(&self.plan));
            self.step(id, &Event::Initialize { token: NOBODY, membership })?;
        }
        for target in self.plan.node_ids().filter(|target| *target != id) {
            for delay in self.network.route(&self.plan, id, target) {
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
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        self.network.come_apart(&nodes);
        self.mark(|| Mark::World { text: self.network.to_string() });
        let lasts = self.rng.between(SECOND / 20, self.plan.partition_every);
        self.after(lasts, Happening::Join);
    }

    pub(super) fn join(&mut self) {
        self.network.join();
        self.mark(|| Mark::World { text: self.network.to_string() });
    }

    /// All faults are over: whoever is away comes back, and the cluster must converge and serve.
    pub(super) fn become_calm(&mut self) -> Result<(), Violation> {
        self.calm_until = Some(self.now + self.plan.calm_lasts);
        self.network.heal();
        self.plan.slow_flushes = 0;
        self.deafen();
        self.workload.become_calm(&self.plan);
        for node in self.plan.node_ids() {
            self.start(node)?;
        }
        self.after(SECOND / 5, Happening::Review);
        Ok(())
    }

    /// The healed cluster has converged and nobody writes any more. A node that is restarted now must catch up and serve
    /// reads all the same: nothing but heartbeats can tell it what it needs to know.
    pub(super) fn become_idle(&mut self) -> Result<(), Violation> {
        self.peace = Peace::Idle;
        self.deaf = None;
        self.join();
        self.calm_until = Some(self.now + self.plan.calm_lasts);
        self.workload.become_idle(&self.plan);
        let nodes: Vec<NodeId> = self.plan.node_ids().collect();
        let victim = *self.rng.pick(&nodes);
        self.crash(victim, true)
    }
}
