//! The world: one queue of things that happen, in the order of virtual time, and everything they happen to.
//!
//! ```text
//!   queue (time, number) ──► happening ──► node: Driver::step ──► effects ──► queue
//!                                             │
//!                                             └──► judge: what must hold after every step
//! ```
//!
//! Nothing in it depends on anything but the seed: no clock, no thread, no hash order.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use outrigger::engine::{
    Event, Fault, Instant, Lane, Membership, Message, NodeId, Peer, PeerRefusal, RoleKind, Term, Token,
};

use crate::by_node::ByNode;
use crate::check::{Check, Checks, Judge, Terms, Violation, require};
use crate::count::{Counts, add, note};
use crate::diagram::Diagram;
use crate::history::History;
use crate::look::Look;
use crate::network::{self, Network};
use crate::node::{Node, Nodes, Running};
use crate::plan::{MILLISECOND, Plan, Trouble};
use crate::refinement::Refinement;
use crate::report::Report;
use crate::rng::Rng;
use crate::runtime::Effect;
use crate::shrink::Changes;
use crate::trace::Trace;
use crate::user::Subject;
use crate::workload::{ClientSessions, Workload};
use crate::{Again, Failure};

mod conduct;
mod decay;
mod faults;
mod flushing;
mod founding;
mod freshness;
mod happening;
mod hosting;
pub(crate) mod leadership;
pub(crate) mod members;
mod office;
mod peace;
mod picture;
mod pledge;
mod queue;
mod rot;
mod serving;
mod strangers;
mod telling;
#[cfg(test)]
mod tests;
mod verdict;
mod version;

use founding::Founded;
use happening::Happening;
use leadership::Wishes;
use members::{Members, node_at};
use peace::{Outside, Patience, Peace};
use pledge::Allegiance;
use queue::Queue;
use version::{Builds, first_version};

/// Whoever asks to initialize is not a client.
const NOBODY: Token = Token(0);
/// A log that was not written for so long rests: as long as in production, for who is in no hurry.
const REST_AFTER: u64 = 100 * MILLISECOND;

/// One history while it happens.
#[derive(Debug)]
pub(crate) struct World {
    /// How bad the world is.
    plan: Plan,
    /// Virtual time, in nanoseconds.
    now: u64,
    /// How many events were handed to an engine.
    steps: u64,
    /// What will happen.
    queue: Queue,
    /// Decides about faults.
    rng: Rng,
    /// Decides which snapshots rot.
    decay: Rng,
    /// All nodes, alive or not.
    nodes: Nodes,
    /// Between the nodes.
    network: Network,
    /// The clients.
    workload: Workload,
    /// What must hold.
    judge: Judge,
    /// What holds for leaders.
    terms: Terms,
    /// The model beside it.
    refinement: Refinement,
    /// Whom each node heard last as its leader, where clocks are trusted.
    allegiances: ByNode<Allegiance>,
    /// What the model is told that is not so.
    #[cfg(test)]
    pub(crate) falsify: Option<crate::refinement::Falsify>,
    /// When the faults ended.
    calm_since: u64,
    /// Once the faults are over: how long the cluster may take to converge.
    patience: Option<Patience>,
    /// How much all healed nodes together had applied when it was looked at last.
    applied: u64,
    /// How many troubles could be spared so far.
    troubles: u64,
    /// Those that are.
    changes: Changes,
    /// Nodes that do not belong to the healed cluster yet.
    outsiders: BTreeMap<NodeId, Outside>,
    /// What is asked of the healed cluster.
    peace: Peace,
    /// Who led, and in which term, when the cluster was left alone.
    reign: Option<(Term, NodeId)>,
    /// What went wrong with processes and disks.
    faults: Counts,
    /// Whether so many disks are lost that nobody can ask it to converge.
    is_excused: bool,
    /// Whether the search for an order of all that clients did came to an end.
    is_decided: bool,
    /// What happened outside of the nodes.
    trace: Trace,
    /// From this time on, each trouble that strikes is taken for a violation; and whether one has struck.
    #[cfg(test)]
    falls_over: (Option<u64>, bool),
    /// What is drawn of it, if anything.
    diagram: Option<Diagram>,
    /// Whose doing is looked at now, if it is one node's.
    acting: Option<NodeId>,
    /// Which of the dearer checks are made.
    checks: Checks,
    /// A user's state machine, if there is one.
    hosted: Option<Subject>,
    /// Who belongs to the cluster, and who changes that.
    members: Members,
    /// Which builds the nodes are of.
    builds: Builds,
    /// As what the cluster was founded.
    founded: Founded,
    /// Who wants another leader.
    wishes: Wishes,
    /// Whether somebody is being told that it is refused.
    is_refusing: bool,
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        Self::under(history, |_| {})
    }

    /// A world whose plan is not all the seed's.
    pub(crate) fn under(history: &History, change: impl FnOnce(&mut Plan)) -> Self {
        let mut rng = Rng::new(history.seed);
        let mut plan = Plan::draw(&mut rng);
        change(&mut plan);
        plan.mistrust_clocks();
        history.changes.apply(&mut plan);
        let telling = history.telling;
        let build = first_version(&plan);
        let nodes = Nodes::new(plan.node_ids().map(|id| Node::new(id, rng.fork(), telling).of_build(build)));
        let (network, workload) = (Network::new(rng.fork()), Workload::new(rng.fork()));
        let mut workload = workload;
        workload.sessions = plan.sessions.clone().map(ClientSessions::new);
        workload.reads_plan.clone_from(&plan.reads);
        let mut world = Self {
            now: 0,
            steps: 0,
            queue: Queue::default(),
            nodes,
            network,
            workload,
            judge: Judge::default(),
            terms: plan.terms(),
            refinement: Refinement::new(plan.node_ids()),
            allegiances: ByNode::default(),
            #[cfg(test)]
            falsify: None,
            calm_since: 0,
            patience: None,
            applied: 0,
            troubles: 0,
            changes: history.changes.clone(),
            outsiders: BTreeMap::new(),
            peace: Peace::Calm,
            reign: None,
            faults: Counts::new(),
            is_excused: false,
            is_decided: false,
            trace: Trace::new(telling),
            #[cfg(test)]
            falls_over: (history.falls_over, false),
            diagram: history.diagram.clone(),
            acting: None,
            checks: history.checks,
            hosted: None,
            members: Members::new(initial_members(&plan)),
            builds: Builds::default(),
            founded: Founded::default(),
            wishes: Wishes::default(),
            is_refusing: false,
            decay: rng.clone().fork(),
            rng,
            plan,
        };
        if let Some(diagram) = &world.diagram {
            diagram.set_nodes(world.plan.nodes + world.plan.spares);
        }
        world.schedule_beginning();
        world
    }

    /// Lets everything happen until the healed cluster has converged.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        while !self.happen_next()? {}
        Ok(())
    }

    /// What went wrong, and what had struck until then.
    pub(crate) fn failure(&self, seed: u64, violation: Violation) -> Failure {
        self.blame(&violation);
        Failure {
            seed,
            milliseconds: self.now / MILLISECOND,
            violation,
            steps: self.steps,
            faults: self.all_faults(),
            clients: self.plan.clients,
            troubles: self.troubles,
            changes: Box::new(self.changes.clone()),
            shrunk: None,
            again: Box::new(Again { checks: self.checks, command: None }),
        }
    }

    /// How often each kind of fault struck.
    fn all_faults(&self) -> Counts {
        let mut faults = self.faults.clone();
        self.nodes.iter().for_each(|node| add(&mut faults, &node.faults));
        self.network.faults.add_to(&mut faults);
        faults
    }

    /// What the history came to.
    pub(crate) fn report(mut self, seed: u64) -> Report {
        for node in self.nodes.iter() {
            self.trace.join(node.running.as_ref().map_or(&node.trace, |running| &running.runtime.trace));
        }
        let (read, unknown) = self.workload.counts();
        let (faults, mut services) = (self.all_faults(), self.workload.services.clone());
        self.workload.sessions.iter().for_each(|sessions| add(&mut services, &sessions.judge.counts));
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
            troubles: self.troubles,
            is_excused: self.is_excused,
            is_decided: self.is_decided,
            faults,
            services,
            actions: self.refinement.counts().clone(),
            digest: self.trace.digest(),
        }
    }

    /// Lets the next thing happen; answers whether it was the last.
    fn happen_next(&mut self) -> Result<bool, Violation> {
        let (at, happening) = self.queue.take().expect("a world that is not over goes on");
        assert!(at >= self.now, "time goes back from {} to {at}", self.now);
        #[cfg(test)]
        require!(!self.falls_over.1, Health, "it falls over");
        self.now = at;
        self.acting = happening.process();
        if let Some(wakes) = self.acting.and_then(|node| self.wakes_at(node)) {
            // Whatever reaches a process that does not run waits for it, in its order; its timers are looked at last, as
            // runtimes do, so that it acts on what is old before it learns how late it is.
            let last = u64::from(matches!(happening, Happening::Wake { .. }));
            self.after(wakes - self.now + last, happening);
            return Ok(false);
        }
        match happening {
            Happening::Wake { node, life, due } => self.wake(node, life, due)?,
            Happening::Request { node, life, event } => self.request(node, life, *event)?,
            Happening::Arrive { target, from, message } => self.arrive(target, from, message)?,
            Happening::FlushEnds { node, life } => self.end_flush(node, life)?,
            Happening::Rest { node, life } => self.rest(node, life)?,
            Happening::KeepEnds { node, life, number } => self.end_keeping(node, life, number)?,
            Happening::WorkEnds { node, life } => self.end_work(node, life)?,
            Happening::SendEnds { node, life, target, number } => self.end_sending(node, life, target, number)?,
            Happening::Ask { client } => self.ask(client)?,
            Happening::LoseHope { token } => self.lose_hope(token)?,
            Happening::Strike => self.strike()?,
            Happening::MakeRoom { node } => {
                self.nodes.at_mut(node).into_iter().for_each(Node::make_room);
                self.trace.tell(self.now, Some(node), || "has room on its disk again");
            }
            Happening::Slip => self.slip(),
            Happening::Hunt { node } => self.hunt(node)?,
            Happening::Split { node } => self.split(node),
            Happening::Start { node } => self.start(node)?,
            Happening::LosePower { node } => self.lose_power(node)?,
            Happening::ComeApart => self.come_apart(),
            Happening::Join => self.join(),
            Happening::Calm => self.become_calm()?,
            Happening::Review => return self.review(),
            Happening::Change => self.change_members(),
            Happening::Wish => self.wish(),
            Happening::Tidy => self.tidy(),
            Happening::Upgrade => self.upgrade()?,
        }
        Ok(false)
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.queue.put(self.now + delay, happening);
    }

    /// The node, if it still lives the life that something was meant for.
    fn alive(&mut self, node: NodeId, life: u64) -> Option<&mut Running> {
        self.nodes.at_mut(node).filter(|node| node.life == life)?.running.as_mut()
    }

    /// When a process that is paused runs again.
    fn wakes_at(&self, node: NodeId) -> Option<u64> {
        self.nodes.at(node).map(|node| node.paused_until).filter(|until| *until > self.now)
    }

    fn request(&mut self, node: NodeId, life: u64, event: Event) -> Result<(), Violation> {
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        self.wishes.reach(node, life, &event);
        self.step(node, event)
    }

    fn wake(&mut self, node: NodeId, life: u64, due: u64) -> Result<(), Violation> {
        let own = self.time_at(node);
        // A look that an earlier deadline has overtaken has nothing to see.
        let Some(running) = self.alive(node, life).filter(|running| running.armed == Some(due)) else { return Ok(()) };
        running.armed = None;
        if running.driver.poll_timeout().is_some_and(|deadline| deadline <= own) {
            return self.step(node, Event::Timeout);
        }
        self.arm(node);
        Ok(())
    }

    /// What the node's clock shows.
    fn time_at(&self, node: NodeId) -> Instant {
        self.nodes.at(node).map_or(Instant(self.now), |node| node.clock.at(self.now))
    }

    /// Sees to it that the node's deadline is looked at in time. One that moves away costs nothing: it is the look that
    /// finds it moved.
    fn arm(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.at_mut(id) else { return };
        let (life, clock) = (node.life, node.clock);
        let Some(running) = &mut node.running else { return };
        let Some(deadline) = running.driver.poll_timeout() else { return };
        // As a rule it is the deadline that the look was put in for, or a later one.
        if running.armed.is_some() && clock == running.armed_for.0 && deadline >= running.armed_for.1 {
            return;
        }
        let due = clock.reaches(deadline, now);
        if running.armed.is_none_or(|armed| due < armed) {
            (running.armed, running.armed_for) = (Some(due), (clock, deadline));
            self.after(due - now, Happening::Wake { node: id, life, due });
        }
    }

    fn arrive(&mut self, target: NodeId, from: Peer, message: Option<Bytes>) -> Result<(), Violation> {
        let message = message.map(network::decode);
        if self.trace.is_told() {
            self.tell_arrival(target, from, message.as_ref());
        }
        if let Some(Message::InstallSnapshot(piece)) = &message {
            self.repeat_former_piece(target, from, piece);
        }
        self.speak_strangely(target, from, message.as_ref())?;
        if !self.is_heard_of(target, from, message.as_ref())? {
            return Ok(());
        }
        self.step(target, Event::Received { from, message })?;
        self.cut_relapse_short(target, from)
    }

    fn end_flush(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let (now, patience) = (self.now, self.rest_after());
        let writes = if self.diagram.is_some() { self.writes_under_way(node) } else { None };
        let may_die = self.alive(node, life).is_some() && self.may_die_sealing(node);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        running.flush_began = None;
        running.wrote_at = now;
        let rested = std::mem::take(&mut running.rests);
        let ended = running.runtime.end_flush();
        if may_die && self.has_died_sealing(node, ended.is_err()) {
            return self.crash(node, false);
        }
        let event = match ended {
            Ok(write) => Event::LogFlushed { write },
            Err(error) => Event::StorageFailed { reason: error.reason },
        };
        if rested {
            self.queue.put(now + patience, Happening::Rest { node, life });
        }
        if let Some(writes) = writes {
            self.mark_flush(node, &writes, &event);
        }
        self.echo(node, life, &event);
        self.step(node, event)
    }

    /// For how long a log is not written before it rests.
    fn rest_after(&self) -> u64 {
        REST_AFTER / u64::from(self.plan.hurry)
    }

    /// A log that was not written for a while rests, once; else somebody looks again when it may be.
    fn rest(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let (now, patience) = (self.now, self.rest_after());
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        let (wrote_at, is_writing) = (running.wrote_at, running.flush_began.is_some());
        if is_writing || now < wrote_at + patience {
            let due = if is_writing { now } else { wrote_at } + patience;
            self.queue.put(due, Happening::Rest { node, life });
            return Ok(());
        }
        running.rests = true;
        match running.runtime.rest() {
            Ok(()) => Ok(()),
            Err(error) => self.step(node, Event::StorageFailed { reason: error.reason }),
        }
    }

    fn end_work(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        running.working = false;
        let restored_at = running.runtime.machine.restored_at();
        let (event, was_full) = running.runtime.end_work();
        if restored_at != running.runtime.machine.restored_at() {
            self.mark_restored(node);
        }
        match event {
            Some(event) => {
                self.echo(node, life, &event);
                self.step(node, event)?;
            }
            None => self.settle(node)?,
        }
        if !was_full {
            return Ok(());
        }
        let own = self.time_at(node);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        running.room(Lane::Apply, own);
        self.settle(node)
    }

    fn end_keeping(&mut self, node: NodeId, life: u64, number: u64) -> Result<(), Violation> {
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        let Some(event) = running.runtime.end_keeping(number) else { return Ok(()) };
        let (what, is_whole) = match &event {
            Event::SnapshotBuilt { .. } => ("snapshot taken", true),
            Event::SnapshotReceived { id, held } if *held == id.bytes => ("snapshot received", true),
            Event::SnapshotReceived { .. } => ("piece of a snapshot received", false),
            _ => ("snapshot not kept", false),
        };
        if is_whole {
            self.nodes.at_mut(node).into_iter().for_each(Node::look_at_decay);
        }
        note(&mut self.faults, what);
        self.step(node, event)
    }

    fn end_sending(&mut self, node: NodeId, life: u64, target: NodeId, number: u64) -> Result<(), Violation> {
        let own = self.time_at(node);
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        self.decay_at_times(node, target, number);
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        let sent = running.runtime.end_sending(target, number)?;
        match sent {
            Some(sent) => {
                if let Event::ReplicateGone { .. } = sent {
                    note(&mut self.faults, "entries gone before they were sent");
                }
                self.echo(node, life, &sent);
                self.step(node, sent)?;
            }
            None => self.settle(node)?,
        }
        let Some(running) = self.alive(node, life) else { return Ok(()) };
        running.room(Lane::Peer(target), own);
        if running.runtime.effects.is_empty() { Ok(()) } else { self.settle(node) }
    }

    /// Hands an event to a node, if it lives, and brings about what follows.
    fn step(&mut self, node: NodeId, event: Event) -> Result<(), Violation> {
        let (now, own) = (Instant(self.now), self.time_at(node));
        let is_proven = self.is_proven(node, &event, own)?;
        let told = self.take_down(node, &event);
        let Some(running) = self.nodes.at_mut(node).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        self.steps += 1;
        self.acting = Some(node);
        running.runtime.now = now;
        running.runtime.trace.note(now, node, '>', &event);
        let queued = running.runtime.queued().len();
        let is_timeout = matches!(event, Event::Timeout);
        // The model is told of it afterwards; where there is none, nothing need be copied.
        let copy = self.checks.model.then(|| event.clone());
        running.runtime.hear(&event);
        running.driver.step(event, own, &mut running.runtime);
        let look = Look::at(node, running.driver.engine());
        if let Some(diagram) = &self.diagram {
            picture::mark_writes(diagram, self.now, &running.runtime, queued);
            picture::mark_step(diagram, self.now, running, &look, is_timeout);
        }
        running.runtime.order()?;
        if let Some(told) = told {
            self.judge_conduct(&look, &told, own)?;
        }
        if let Some(event) = copy {
            self.refine(&look, &event, is_proven)?;
        }
        self.settle_as_seen(node, &look)
    }

    /// Judges a node after a step, and schedules what the step has set going.
    fn settle(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(look) = self.nodes.at(id).and_then(Node::look) else { return Ok(()) };
        self.settle_as_seen(id, &look)
    }

    fn settle_as_seen(&mut self, id: NodeId, look: &Look) -> Result<(), Violation> {
        self.judge_step(id, look)?;
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        let life = node.life;
        let Some(running) = &mut node.running else { return Ok(()) };
        running.runtime.order()?;
        if running.runtime.begin_flush() {
            self.time_flush(id);
        }
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        let (Some(running), rng) = (&mut node.running, &mut node.rng) else { return Ok(()) };
        if !running.working && running.runtime.has_work() {
            running.working = true;
            let delay = rng.between(self.plan.apply.0, self.plan.apply.1);
            self.queue.put(self.now + delay, Happening::WorkEnds { node: id, life });
        }
        let mut effects = std::mem::take(&mut running.runtime.effects);
        self.arm(id);
        let brought = effects.iter().try_for_each(|effect| self.bring_about(id, life, effect));
        effects.clear();
        // Its memory serves the next step, unless that has been taken meanwhile.
        if let Some(running) = self.alive(id, life).filter(|running| running.runtime.effects.is_empty()) {
            running.runtime.effects = effects;
        }
        brought
    }

    fn bring_about(&mut self, node: NodeId, life: u64, effect: &Effect) -> Result<(), Violation> {
        // A process that has died meanwhile does nothing more.
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        match *effect {
            Effect::Send(target, ref message) if self.dies_speaking(node, message) => {
                note(&mut self.faults, "crash before a word");
                self.trace.tell(self.now, Some(node), || format!("dies before it can say to {target}: {message}"));
                let power = self.rng.chance(500_000);
                self.crash(node, power)
            }
            Effect::Send(target, ref message) => self.send(node, target, message),
            Effect::Changed(token, outcome) => self.told_of_change(node, token, outcome),
            Effect::Wish(token, outcome) => self.told_of_wish(node, token, outcome),
            Effect::SendBulk(target, number) => {
                // What is drawn for every message is not drawn from where faults are: one that is left out shifts few others.
                let odds = self.plan.odds(Trouble::SlowSends);
                let delay = self.nodes.at_mut(node).map_or(0, |node| {
                    let slow = if node.rng.chance(odds) { 100 } else { 1 };
                    if slow > 1 {
                        note(&mut node.faults, "send slow");
                    }
                    let delay = node.rng.below(MILLISECOND) * slow;
                    if slow > 1 {
                        let takes = || format!("takes {} ms to send to {target}", delay / MILLISECOND);
                        self.trace.tell(self.now, Some(node.id), takes);
                    }
                    delay
                });
                if let Some(office) = self.alive(node, life).and_then(|running| running.office.as_mut()) {
                    office.turns_to(target);
                }
                self.after(delay, Happening::SendEnds { node, life, target, number });
                Ok(())
            }
            Effect::Answer(token, answer) => {
                self.count_answer(node, token, &answer);
                self.answer(token, answer)
            }
            Effect::Came(..) | Effect::Sessions(..) => self.judge_sessions(node, effect),
            Effect::Keep(number) => {
                let ((low, high), odds) = (self.plan.flush, self.plan.odds(Trouble::SlowFlushes));
                let delay = self.nodes.at_mut(node).map_or(0, |node| {
                    // Drawn beside: what else is drawn for a node stays what it is.
                    let slow = if node.rng.clone().fork().chance(odds) { 50 } else { 1 };
                    let delay = node.rng.between(low, high) * slow;
                    if slow > 1 {
                        note(&mut node.faults, "snapshot slow to be kept");
                        let takes = || format!("takes {} ms to keep a snapshot", delay / MILLISECOND);
                        self.trace.tell(self.now, Some(node.id), takes);
                    }
                    delay
                });
                self.after(delay, Happening::KeepEnds { node, life, number });
                Ok(())
            }
            Effect::RefusePeer(peer, ref reason) => self.refuse(node, peer, reason),
            Effect::Halt(ref fault) => self.halt(node, fault),
        }
    }

    /// A node does not listen to a peer.
    fn refuse(&mut self, node: NodeId, peer: Peer, reason: &PeerRefusal) -> Result<(), Violation> {
        if self.refused_as_too_old(node, peer, reason)? {
            return self.tell_refusal(node, peer, reason);
        }
        let (Some(own), Some(refused)) = (self.nodes.at(node), self.nodes.at(peer.node)) else { return Ok(()) };
        let is_member = |running: &Running| running.driver.engine().membership().nodes().contains_key(&peer.node);
        let is_stranger = matches!(reason, PeerRefusal::NotMember) && !own.running.as_ref().is_some_and(is_member);
        let is_other = matches!(reason, PeerRefusal::OtherIncarnation { .. });
        let may_be_old = is_other && own.running.as_ref().is_some_and(|own| may_know_another(own, peer));
        let is_present = refused.incarnation() == peer.incarnation && !is_stranger && !may_be_old;
        require!(!is_present, Health, "node {node} refuses {peer}: {reason}");
        self.tell_refusal(node, peer, reason)
    }

    fn tell_refusal(&mut self, node: NodeId, peer: Peer, reason: &PeerRefusal) -> Result<(), Violation> {
        // Who is refused by those that it refuses itself is told nothing: the connection is closed already.
        if std::mem::replace(&mut self.is_refusing, true) {
            return Ok(());
        }
        let told = self.tell_refused(node, peer, reason);
        self.is_refusing = false;
        told
    }

    fn tell_refused(&mut self, node: NodeId, peer: Peer, reason: &PeerRefusal) -> Result<(), Violation> {
        let running = self.nodes.at(node).and_then(|own| own.running.as_ref());
        let Some(by) = running.map(|running| running.runtime.me) else { return Ok(()) };
        // Whoever runs there now hears of it, late and wrongly addressed as such words may come. A message that outlived
        // its sender's last life is refused, and rightly so: the present life must not mind.
        self.step(peer.node, Event::Refused { by, met: reason.met(), reason: reason.to_string() })?;
        self.acting = Some(node);
        Ok(())
    }

    /// A node has stopped for good: its process ends, and whoever runs it sees to what made it stop.
    fn halt(&mut self, id: NodeId, fault: &Fault) -> Result<(), Violation> {
        let Some(node) = self.nodes.at(id) else { return Ok(()) };
        match fault {
            Fault::Storage { reason } if node.may_fail_so(reason) => {
                note(&mut self.faults, if node.is_failing { "sync failed" } else { "disk full" });
                let power = self.rng.chance(500_000);
                self.crash(id, power)
            }
            Fault::TooOld { cluster, .. } => self.find_too_old(id, *cluster),
            Fault::Refused { .. } if node.disguise().is_some() => self.unmask(id),
            Fault::Diverged { .. } if node.is_rotten() => {
                note(&mut self.faults, "rotten state found");
                self.crash(id, false)
            }
            _ => Err(Violation { check: Check::Health, reason: format!("node {id} stops: {fault}") }),
        }
    }

    fn send(&mut self, from: NodeId, target: NodeId, message: &Message) -> Result<(), Violation> {
        let Some(node) = self.nodes.at(from) else { return Ok(()) };
        let Some(running) = &node.running else { return Ok(()) };
        let (peer, (term, _)) = (running.runtime.me, running.driver.engine().leadership());
        let delays = self.network.route(&self.plan, from, target, Some(message));
        if self.diagram.is_some() {
            self.mark_message((from, target), message, delays);
        }
        // Nobody listens to a node in disguise, so it may say anything.
        let is_itself = node.disguise().is_none();
        if is_itself {
            self.judge.said((from, term), target, message, node.durable())?;
            self.count_delegated(from, message);
        }
        if is_itself && self.checks.conduct {
            self.judge_request(from, target, message)?;
            self.judge_saying(from, target, message)?;
        }
        if is_itself && self.checks.model {
            self.refine_message(from, target, message)?;
        }
        if self.trace.is_told() {
            self.tell_way((from, target), Some(message), delays);
        }
        let Some((first, second)) = delays.of_copies() else { return Ok(()) };
        let cut = self.network.cut_short(&self.plan, message);
        if let Some(cut) = &cut {
            let arrives = || format!("to {target}: {message} is cut short on the way: {cut} arrives");
            self.trace.tell(self.now, Some(from), arrives);
        }
        let bytes = self.network.encode(cut.as_ref().unwrap_or(message));
        let mut arrives =
            |delay, bytes| self.after(delay, Happening::Arrive { target, from: peer, message: Some(bytes) });
        let Some(second) = second else {
            arrives(first, bytes);
            return Ok(());
        };
        arrives(first, bytes.clone());
        arrives(second, bytes);
        Ok(())
    }
}

/// Whether a node that refuses a peer, as of another directory, may know no better: its log has not come to where this one was
/// added, or bound. A leader has it all.
fn may_know_another(own: &Running, peer: Peer) -> bool {
    let engine = own.driver.engine();
    let (membership, leads) = (engine.membership(), engine.role_kind() == RoleKind::Leader);
    let is_claimed = !leads && peer.bound.is_some_and(|claim| claim > engine.membership_at());
    let is_let_in = match membership.bindings().get(&peer.node) {
        Some(binding) => binding.directory == peer.incarnation.id,
        None => membership.nodes().contains_key(&peer.node) && !membership.is_voter(peer.node),
    };
    !is_claimed && !is_let_in
}

/// The members that every cluster begins with.
pub(crate) fn initial_members(plan: &Plan) -> Membership {
    Membership::new(plan.founders().map(node_at), []).with_version(first_version(plan))
}
