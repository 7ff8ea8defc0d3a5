//! The world: one queue of things that happen, in the order of virtual time, and everything they happen to.
//!
//! ```text
//!   queue (time, number) ──► happening ──► node: Driver::step ──► effects ──► queue
//!                                             │
//!                                             └──► judge: what must hold after every step
//! ```
//!
//! Nothing in it depends on anything but the seed: no clock, no thread, no hash order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use outrigger::engine::{Event, Fault, Instant, Lane, Membership, NodeId, Peer, PeerRefusal, RequestId, Term, Token};

use crate::Failure;
use crate::check::{Check, Judge, Violation};
use crate::count::{Counts, add, note};
use crate::diagram::{Diagram, Mark};
use crate::machine::Answer;
use crate::network::{self, Network};
use crate::node::{Node, Running};
use crate::plan::{MILLISECOND, Plan};
use crate::refinement::Refinement;
use crate::report::Report;
use crate::rng::Rng;
use crate::runtime::Effect;
use crate::trace::Trace;
use crate::user::Subject;
use crate::workload::{Wish, Workload};

mod faults;
mod happening;
mod hosting;
mod peace;
mod verdict;

use happening::{Happening, Scheduled};
use peace::Peace;

/// Whoever asks to initialize is not a client.
const NOBODY: Token = Token(0);

/// One history while it happens.
#[derive(Debug)]
pub(crate) struct World {
    /// How bad the world is.
    plan: Plan,
    /// Virtual time, in nanoseconds.
    now: u64,
    /// How many things were ever scheduled; makes their order total.
    scheduled: u64,
    /// How many events were handed to an engine.
    steps: u64,
    /// What will happen.
    queue: BinaryHeap<Reverse<Scheduled>>,
    /// Decides about faults.
    rng: Rng,
    /// All nodes, alive or not.
    nodes: BTreeMap<NodeId, Node>,
    /// Between the nodes.
    network: Network,
    /// The clients.
    workload: Workload,
    /// What must hold.
    judge: Judge,
    /// The model beside it.
    refinement: Refinement,
    /// What the model is told that is not so.
    #[cfg(test)]
    pub(crate) falsify: Option<crate::refinement::Falsify>,
    /// Once the faults are over: when the cluster must have converged.
    calm_until: Option<u64>,
    /// A node of the healed cluster that does not hear the others yet.
    deaf: Option<NodeId>,
    /// What is asked of the healed cluster.
    peace: Peace,
    /// Who led, and in which term, when the cluster was left alone.
    reign: Option<(Term, NodeId)>,
    /// What went wrong with processes and disks.
    faults: Counts,
    /// Whether the search for an order of all that clients did came to an end.
    is_decided: bool,
    /// What happened outside of the nodes.
    trace: Trace,
    /// What is drawn of it, if anything.
    diagram: Option<Diagram>,
    /// A user's state machine, if there is one.
    hosted: Option<Subject>,
}

impl World {
    pub(crate) fn new(seed: u64, print: bool) -> Self {
        Self::under(seed, print, |_| {})
    }

    /// A world whose plan is not all the seed's.
    pub(crate) fn under(seed: u64, print: bool, change: impl FnOnce(&mut Plan)) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        change(&mut plan);
        let nodes = plan.node_ids().map(|id| (id, Node::new(id, rng.fork(), print))).collect();
        let (network, workload) = (Network::new(rng.fork()), Workload::new(rng.fork()));
        let mut world = Self {
            now: 0,
            scheduled: 0,
            steps: 0,
            queue: BinaryHeap::new(),
            nodes,
            network,
            workload,
            judge: Judge::default(),
            refinement: Refinement::new(plan.node_ids()),
            #[cfg(test)]
            falsify: None,
            calm_until: None,
            deaf: None,
            peace: Peace::Calm,
            reign: None,
            faults: Counts::new(),
            is_decided: false,
            trace: Trace::new(print),
            diagram: None,
            hosted: None,
            rng,
            plan,
        };
        world.schedule_beginning();
        world
    }

    /// The same world, which is drawn.
    pub(crate) fn drawn(mut self, diagram: Diagram) -> Self {
        diagram.set_nodes(self.plan.nodes);
        self.diagram = Some(diagram);
        self
    }

    fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(diagram) = &self.diagram {
            diagram.mark(self.now, mark());
        }
    }

    /// Lets everything happen until the healed cluster has converged.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        while !self.happen_next()? {}
        Ok(())
    }

    /// What went wrong, and what had struck until then.
    pub(crate) fn failure(&self, seed: u64, violation: Violation) -> Failure {
        let (milliseconds, faults) = (self.now / MILLISECOND, self.all_faults());
        Failure { seed, milliseconds, violation, steps: self.steps, faults, replayed_by: None }
    }

    /// How often each kind of fault struck.
    fn all_faults(&self) -> Counts {
        let mut faults = self.faults.clone();
        self.nodes.values().for_each(|node| add(&mut faults, &node.faults));
        add(&mut faults, &self.network.faults);
        faults
    }

    /// What the history came to.
    pub(crate) fn report(mut self, seed: u64) -> Report {
        for node in self.nodes.values() {
            self.trace.join(node.running.as_ref().map_or(&node.trace, |running| &running.runtime.trace));
        }
        let (read, unknown) = self.workload.counts();
        let faults = self.all_faults();
        Report {
            seed,
            nodes: self.plan.nodes,
            steps: self.steps,
            simulated: Duration::from_nanos(self.now),
            leaders: self.judge.leaders(),
            committed: self.judge.chain().last().index.0,
            written: self.workload.judge.acknowledged(),
            read,
            unknown,
            is_decided: self.is_decided,
            faults,
            actions: self.refinement.counts().clone(),
            digest: self.trace.digest(),
        }
    }

    /// Lets the next thing happen; answers whether it was the last.
    fn happen_next(&mut self) -> Result<bool, Violation> {
        let Reverse(Scheduled { at, happening, .. }) = self.queue.pop().expect("a world that is not over goes on");
        assert!(at >= self.now, "time goes back from {} to {at}", self.now);
        self.now = at;
        if let Some(wakes) = happening.process().and_then(|node| self.wakes_at(node)) {
            // Whatever reaches a process that does not run waits for it, in its order; its timers are looked at last, as
            // runtimes do, so that it acts on what is old before it learns how late it is.
            let last = u64::from(matches!(happening, Happening::Wake { .. }));
            self.after(wakes - self.now + last, happening);
            return Ok(false);
        }
        match happening {
            Happening::Wake { node, life } => self.wake(node, life)?,
            Happening::Request { node, life, event } => self.request(node, life, &event)?,
            Happening::Arrive { target, from, message } => self.arrive(target, from, message)?,
            Happening::FlushEnds { node, life } => self.end_flush(node, life)?,
            Happening::WorkEnds { node, life } => self.end_work(node, life)?,
            Happening::SendEnds { node, life, target, request } => self.end_sending(node, life, target, request)?,
            Happening::Ask { client } => self.ask(client),
            Happening::LoseHope { token } => self.answer(token, Answer::Unknown)?,
            Happening::Fault => self.strike()?,
            Happening::Hunt { node } => self.hunt(node)?,
            Happening::Start { node } => self.start(node)?,
            Happening::ComeApart => self.come_apart(),
            Happening::Join => self.join(),
            Happening::Calm => self.become_calm()?,
            Happening::Review => return self.review(),
        }
        Ok(false)
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + delay, number: self.scheduled, happening }));
    }

    /// The node, if it still lives the life that something was meant for.
    fn alive(&mut self, node: NodeId, life: u64) -> Option<&mut Running> {
        self.nodes.get_mut(&node).filter(|node| node.life == life)?.running.as_mut()
    }

    /// When a process that is paused runs again.
    fn wakes_at(&self, node: NodeId) -> Option<u64> {
        self.nodes.get(&node).map(|node| node.paused_until).filter(|until| *until > self.now)
    }

    fn request(&mut self, node: NodeId, life: u64, event: &Event) -> Result<(), Violation> {
        if self.alive(node, life).is_some() { self.step(node, event) } else { Ok(()) }
    }

    fn wake(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let now = Instant(self.now);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        if running.driver.poll_timeout().is_some_and(|deadline| deadline <= now) {
            running.armed = None;
            self.step(node, &Event::Timeout)?;
        }
        Ok(())
    }

    fn arrive(&mut self, target: NodeId, from: Peer, message: Option<Bytes>) -> Result<(), Violation> {
        let message = message.map(network::decode);
        self.step(target, &Event::Received { from, message })
    }

    fn end_flush(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        let event = match running.runtime.end_flush() {
            Ok(write) => Event::LogFlushed { write },
            Err(error) => Event::StorageFailed { reason: error.reason },
        };
        self.step(node, &event)
    }

    fn end_work(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let now = Instant(self.now);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        running.working = false;
        let (event, was_full) = running.runtime.end_work();
        self.settle(node)?;
        if let Some(event) = event {
            self.step(node, &event)?;
        }
        if let Some(running) = self.alive(node, life).filter(|_| was_full) {
            running.runtime.now = now;
            running.room(Lane::Apply, now);
        }
        self.settle(node)
    }

    fn end_sending(&mut self, node: NodeId, life: u64, target: NodeId, request: RequestId) -> Result<(), Violation> {
        let now = Instant(self.now);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        let Some(sent) = running.runtime.end_sending(target, request) else { return Ok(()) };
        self.step(node, &sent)?;
        if let Some(running) = self.alive(node, life) {
            running.room(Lane::Peer(target), now);
        }
        self.settle(node)
    }

    /// Hands an event to a node, if it lives, and brings about what follows.
    fn step(&mut self, node: NodeId, event: &Event) -> Result<(), Violation> {
        let now = Instant(self.now);
        let Some(running) = self.nodes.get_mut(&node).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        self.steps += 1;
        running.runtime.now = now;
        running.runtime.trace.note(now, node, '>', event);
        running.driver.step(event.clone(), now, &mut running.runtime);
        self.refine(node, event)?;
        self.settle(node)
    }

    /// Judges a node after a step, and schedules what the step has set going.
    fn settle(&mut self, id: NodeId) -> Result<(), Violation> {
        self.judge_step(id)?;
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let (life, rng) = (node.life, &mut node.rng);
        let Some(running) = &mut node.running else { return Ok(()) };
        let effects = std::mem::take(&mut running.runtime.effects);
        let mut scheduled = Vec::new();
        if running.runtime.begin_flush() {
            let slow = if rng.chance(self.plan.slow_flushes) { 50 } else { 1 };
            if slow > 1 {
                note(&mut node.faults, "sync slow");
            }
            let delay = rng.between(self.plan.flush.0, self.plan.flush.1) * slow;
            scheduled.push((delay, Happening::FlushEnds { node: id, life }));
        }
        if !running.working && running.runtime.has_work() {
            running.working = true;
            let delay = rng.between(self.plan.apply.0, self.plan.apply.1);
            scheduled.push((delay, Happening::WorkEnds { node: id, life }));
        }
        let deadline = running.driver.poll_timeout();
        if deadline != running.armed {
            running.armed = deadline;
            let delay = deadline.map(|deadline| deadline.0.saturating_sub(self.now));
            scheduled.extend(delay.map(|delay| (delay, Happening::Wake { node: id, life })));
        }
        for (delay, happening) in scheduled {
            self.after(delay, happening);
        }
        effects.into_iter().try_for_each(|effect| self.bring_about(id, life, effect))
    }

    fn bring_about(&mut self, node: NodeId, life: u64, effect: Effect) -> Result<(), Violation> {
        // A process that has died meanwhile does nothing more.
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        match effect {
            Effect::Send(_, message) if self.dies_speaking(&message) => {
                note(&mut self.faults, "crash before a word");
                let power = self.rng.chance(500_000);
                self.crash(node, power)
            }
            Effect::Send(target, message) => self.send(node, target, &message),
            Effect::SendBulk(target, request) => {
                let delay = self.rng.below(MILLISECOND);
                self.after(delay, Happening::SendEnds { node, life, target, request });
                Ok(())
            }
            Effect::Answer(token, answer) => self.answer(token, answer),
            // A message that outlived its sender's last life is refused, and rightly so.
            // Its present life hears of it, late and wrongly addressed as such words may come, and must not mind.
            Effect::RefusePeer(peer, reason @ PeerRefusal::EarlierStart { .. }) => {
                let Some(running) = self.nodes.get(&node).and_then(|node| node.running.as_ref()) else { return Ok(()) };
                let by = running.runtime.me;
                self.step(peer.node, &Event::Refused { by, met: reason.met(), reason: reason.to_string() })
            }
            Effect::RefusePeer(peer, reason) => {
                Err(Violation { check: Check::Health, reason: format!("node {node} refuses {peer}: {reason}") })
            }
            // Its process ends, and whoever runs it starts it again.
            Effect::Halt(Fault::Storage { .. }) if self.nodes.get(&node).is_some_and(|node| node.is_failing) => {
                note(&mut self.faults, "sync failed");
                let power = self.rng.chance(500_000);
                self.crash(node, power)
            }
            Effect::Halt(fault) => {
                Err(Violation { check: Check::Health, reason: format!("node {node} stops: {fault}") })
            }
        }
    }

    fn send(&mut self, from: NodeId, target: NodeId, message: &outrigger::engine::Message) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&from) else { return Ok(()) };
        let (Some(status), Some(running)) = (node.status(), &node.running) else { return Ok(()) };
        let peer = running.runtime.me;
        self.judge.said(&status, target, message, node.durable())?;
        self.refine_message(from, target, message)?;
        let bytes = network::encode(message);
        let delays = self.network.route(&self.plan, from, target);
        self.mark(|| {
            let arrives = delays.iter().map(|delay| self.now + delay).collect();
            Mark::Message { from, to: target, text: message.to_string(), arrives }
        });
        for delay in delays {
            self.after(delay, Happening::Arrive { target, from: peer, message: Some(bytes.clone()) });
        }
        Ok(())
    }

    fn answer(&mut self, token: Token, answer: Answer) -> Result<(), Violation> {
        if let Some(client) = self.workload.answer(token, answer, self.now)? {
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
        }
        Ok(())
    }

    fn ask(&mut self, client: u64) {
        let alive: Vec<NodeId> = self.core().filter(|node| node.running.is_some()).map(|node| node.id).collect();
        if alive.is_empty() || self.workload.is_quiet(client) {
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
            return;
        }
        let request = self.workload.ask(client, &alive, self.now);
        let node = self.nodes.get_mut(&request.node).expect("a node is asked");
        let life = node.life;
        let callers = &mut node.running.as_mut().expect("only nodes that live are asked").runtime.callers;
        match &request.wish {
            Wish::Write(writes) => callers.propose(request.token, writes.len() as u64),
            Wish::Read(key) => callers.ask(request.token, *key),
        }
        self.after(Workload::patience(), Happening::LoseHope { token: request.token });
        self.after(0, Happening::Request { node: request.node, life, event: request.event });
    }
}

/// The members that every cluster begins with.
fn initial_members(plan: &Plan) -> Membership {
    let node = |id: NodeId| (id, outrigger::engine::Node { address: format!("node-{id}:7101") });
    Membership::new(plan.node_ids().map(node), [])
}
