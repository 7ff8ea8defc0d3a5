//! The judge's sittings: after every step of a node, and when the healed cluster should have converged.

use std::time::Duration;

use outrigger::engine::{Body, Event, LogId, LogIndex, LogTime, Message, NodeId, Payload};

use super::World;
use super::peace::{PATIENCE, Peace};
use crate::check::{self, Observed, Violation, require};
use crate::diagram::Mark;
use crate::look::Look;
use crate::machine::{Came, Write};
use crate::node::{Node, Running};
use crate::plan::MILLISECOND;
use crate::refinement::{After, Refinement};
use crate::runtime::Effect;
use crate::user::Subject;
use crate::words;
use crate::workload::Workload;

/// A leader may wait for its disk for so many of the longest election timeouts: one until it counts as hung, one until that
/// is looked at, and one more for clocks that are slow.
const HUNG_TIMEOUTS: u32 = 3;

impl World {
    /// Holds a node, as a step has left it, against everything that must hold.
    pub(super) fn judge_step(&mut self, id: NodeId, look: &Look) -> Result<(), Violation> {
        let Some(node) = self.nodes.at(id).filter(|node| node.disguise().is_none()) else { return Ok(()) };
        let Some(running) = &node.running else { return Ok(()) };
        if self.checks.conduct {
            self.judge_candidacy(look, running)?;
        }
        let runtime = &running.runtime;
        if running.judged.as_ref() == Some(look) && !runtime.has_unchecked() {
            // Nothing is to be seen that was not seen before.
            self.judge_hosted()?;
            return self.judge_disk(node, running);
        }
        if runtime.truncated {
            self.judge.truncated(look)?;
        }
        let (at, membership) = (look.membership_at, running.driver.engine().membership());
        let before = (self.plan.spares > 0).then(|| self.members.see(id, at, membership)).flatten();
        let becomes_joint = before.is_some() && look.leads() && membership.is_joint();
        let disks = |id: NodeId| self.nodes.at(id).map(Node::durable);
        let observed = Observed {
            life: node.life,
            may_halt: node.is_failing || node.is_full || node.is_rotten() || node.has_gone_back(),
            look,
            membership,
            counted_by: before.as_ref().map(|(at, before)| (*at, &**before)),
            log: &runtime.accepted,
            checked: runtime.checked,
            callers: &runtime.callers,
            disks: &disks,
        };
        let (now, before) = ((look.role, look.term), self.judge.role(id));
        if before != Some(now) {
            self.mark(|| Mark::Role { node: id, role: now.0, term: now.1 });
        }
        let leaders = self.judge.leaders();
        let new = self.judge.observe(&observed)?;
        let is_elected = self.judge.leaders() > leaders;
        for (index, payload) in new.map(LogIndex).map(|index| (index, runtime.payload_at(index))) {
            let stamp = runtime.accepted.at(index).expect("what is committed is in the log");
            self.workload.committed((stamp.id, stamp.log_time), &payload)?;
            if let Body::Membership(membership) = &payload.body {
                self.members.commit(index, membership);
                self.builds.commit(stamp.id, membership)?;
                self.founded.commit(membership)?;
            }
            self.hosted.iter().try_for_each(|subject| subject.committed(index, &payload))?;
        }
        self.judge_hosted()?;
        let Some(running) = self.nodes.at_mut(id).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        running.runtime.checked = running.runtime.accepted.0.len();
        running.runtime.truncated = false;
        running.judged = Some(*look);
        self.founded.says(id, running.runtime.me.founding)?;
        running.leads_since = if look.leads() { running.leads_since.or(Some(self.now)) } else { None };
        if is_elected {
            self.schedule_hunt(id);
        }
        if becomes_joint {
            self.schedule_split(id);
        }
        match self.nodes.at(id) {
            Some(node @ Node { running: Some(running), .. }) => self.judge_disk(node, running),
            _ => Ok(()),
        }
    }

    /// What was found of a user's state machine, where there is one.
    fn judge_hosted(&self) -> Result<(), Violation> {
        match &self.hosted {
            Some(subject) => subject.check(),
            None => Ok(()),
        }
    }

    /// What a node makes of the entries of sessions.
    pub(super) fn judge_sessions(&mut self, id: NodeId, effect: &Effect) -> Result<(), Violation> {
        let is_itself = self.nodes.at(id).is_some_and(|node| node.disguise().is_none());
        let Some(sessions) = self.workload.sessions.as_mut().filter(|_| is_itself) else { return Ok(()) };
        match *effect {
            Effect::Came(index, came) => sessions.judge.applied(id, index, came),
            Effect::Sessions(index, digest) => sessions.judge.table(id, index, digest),
            _ => Ok(()),
        }
    }

    /// A leader whose disk has hung for several election timeouts leads no more: it can commit nothing, and should let
    /// others try.
    fn judge_disk(&self, node: &Node, running: &Running) -> Result<(), Violation> {
        let since = running.flush_began.zip(running.leads_since).filter(|_| self.checks.conduct);
        let Some((began, leads)) = since else { return Ok(()) };
        let hangs = self.now.saturating_sub(began.max(leads).max(node.disturbed_at));
        let at_most = self.election_timeout() * HUNG_TIMEOUTS;
        require!(
            Duration::from_nanos(hangs) <= at_most,
            Health,
            "node {} leads, although its disk has hung for {} ms",
            node.id,
            hangs / MILLISECOND
        );
        Ok(())
    }

    /// Holds a step of a node against the model.
    pub(super) fn refine(&mut self, look: &Look, event: &Event, is_proven: bool) -> Result<(), Violation> {
        self.beside_model(look, is_proven, |refinement, after| refinement.step(event, after))
    }

    /// Holds the beginning of a node's life against the model.
    pub(super) fn refine_start(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(look) = self.nodes.at(id).and_then(Node::look) else { return Ok(()) };
        self.beside_model(&look, false, Refinement::restart)
    }

    fn beside_model(
        &mut self,
        look: &Look,
        is_proven: bool,
        hold: impl FnOnce(&mut Refinement, &After<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let Some(node) = self.nodes.at_mut(look.node) else { return Ok(()) };
        let is_itself = node.disguise().is_none();
        let Some(running) = &mut node.running else { return Ok(()) };
        if !self.checks.model || !is_itself {
            running.runtime.notes.clear();
            return Ok(());
        }
        let notes = std::mem::take(&mut running.runtime.notes);
        let engine = running.driver.engine();
        let (matched, membership) = (engine.matched().collect(), engine.membership());
        let (purged, snapshot) = (engine.purged(), engine.snapshot());
        let (log, unchanged) = (&running.runtime.accepted, running.runtime.checked);
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests falsify it"))]
        let mut after = After { look: *look, membership, matched, log, unchanged, purged, snapshot, is_proven, notes };
        #[cfg(test)]
        if let Some(falsify) = &mut self.falsify {
            falsify.step(&mut after);
        }
        hold(&mut self.refinement, &after)
    }

    /// Holds what a node says against the model.
    pub(super) fn refine_message(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        #[cfg(test)]
        if let Some(falsified) = self.falsify.as_mut().and_then(|falsify| falsify.message(message)) {
            return self.refinement.said(from, to, &falsified);
        }
        self.refinement.said(from, to, message)
    }

    /// Looks whether the healed cluster has converged; it is a violation if it takes too long.
    pub(super) fn review(&mut self) -> Result<bool, Violation> {
        if let Some(excuse) = self.excuse() {
            self.trace.tell(self.now, None, || excuse);
            self.is_excused = true;
            self.check_clients()?;
            return Ok(true);
        }
        if self.peace == Peace::Still {
            self.require_stillness()?;
        }
        let states: Option<Vec<_>> = self.core().map(|node| Some((node.look()?, node.running.as_ref()?))).collect();
        let nodes = states.iter().flatten().map(|(look, running)| (look, &running.runtime.accepted));
        if self.workload.is_content()
            && states.is_some()
            && self.rotten().is_none()
            && !self.core().any(Node::has_decayed)
            && self.members_are_settled()
            && check::converged(nodes, self.judge.chain())
        {
            match self.peace {
                Peace::Calm => self.become_idle()?,
                // A flush that was slow already when the faults ended may still be under way: then its leader steps down, and
                // rightly so.
                Peace::Idle if self.core().any(Node::is_flushing) => {}
                Peace::Idle => self.become_still(),
                Peace::Still | Peace::Over => return self.conclude(),
            }
        }
        self.require_patience()?;
        self.require_rot_found()?;
        self.review_next();
        Ok(false)
    }

    /// A cluster without faults must get on. One that catches up in small pieces over slow links may take its time, but
    /// not for ever. A change of the members waits for who is outside, as long as that one gets on.
    fn require_patience(&mut self) -> Result<(), Violation> {
        let applied: u64 = self.nodes.iter().filter_map(Node::look).map(|look| look.applied.0).sum();
        let gets_on = std::mem::replace(&mut self.applied, applied) < applied;
        let patience = self.patience.as_mut().expect("reviews begin when it is calm");
        if gets_on {
            patience.until = (self.now + self.plan.calm_lasts).min(patience.at_most);
        }
        let is_over = self.now >= patience.until;
        let lasts = self.plan.calm_lasts / MILLISECOND;
        let lasts = if gets_on {
            format!("{} ms of peace", lasts * PATIENCE)
        } else {
            format!("{lasts} ms of peace without progress")
        };
        require!(!is_over, Convergence, "after {lasts}, {}", self.state_in_words());
        Ok(())
    }

    /// What clients wait for and what each node is, a node a line.
    fn state_in_words(&self) -> String {
        let clients = if self.workload.is_content() { "all clients are served" } else { "some clients are not served" };
        let node = |node: &Node| {
            let is_outside =
                if self.outsiders.contains_key(&node.id) { " (outside of the healed cluster)" } else { "" };
            match node.look() {
                Some(look) => format!("\n{look}{is_outside}"),
                None => format!("\nnode {} does not run{is_outside}", node.id),
            }
        };
        format!("{clients}:{}", self.nodes.iter().map(node).collect::<String>())
    }

    /// What must hold in the end, whoever is left.
    fn check_clients(&mut self) -> Result<(), Violation> {
        self.refinement.check()?;
        self.is_decided = self.workload.history.check(self.checks.linearizability)?;
        self.workload
            .judge
            .kept("the chain of all that was committed", |index| self.judge.chain().at(index).map(|stamp| stamp.id))
    }

    /// What was acknowledged is on each node that has converged: in its log, and in its state.
    fn check_kept(&self, node: &Node) -> Result<(), Violation> {
        let (Some(running), judge) = (&node.running, &self.workload.judge) else { return Ok(()) };
        let (runtime, id) = (&running.runtime, node.id);
        judge.kept(&format!("the log of node {id}"), |index| runtime.accepted.at(index).map(|stamp| stamp.id))?;
        judge.kept(&format!("what node {id} has applied"), |index| runtime.machine.id_at(index))?;
        judge.shown(&format!("the state of node {id}"), runtime.machine.registers())
    }

    /// What must hold in the end of a cluster that has converged.
    pub(super) fn conclude(&mut self) -> Result<bool, Violation> {
        self.check_clients()?;
        self.wishes.all_answered(&self.nodes)?;
        let expected = self.workload.judge.last_values();
        self.hosted.iter().try_for_each(Subject::finish)?;
        for node in self.core() {
            let id = node.id;
            let runtime = node.running.as_ref().map(|running| &running.runtime);
            self.check_kept(node)?;
            let waiting = runtime.and_then(|runtime| runtime.callers.waiting());
            require!(waiting.is_none(), Answers, "{} of node {id} was never answered", words::request(waiting));
            runtime.iter().for_each(|runtime| runtime.machine.look());
            let found = runtime.map(|runtime| runtime.machine.registers());
            require!(
                found == Some(&expected),
                StateMachineSafety,
                "in the end node {id} {}",
                words::registers(found, &expected)
            );
        }
        self.judge_hosted()?;
        Ok(true)
    }
}

impl Workload {
    /// An entry was committed.
    fn committed(&mut self, (id, log_time): (LogId, LogTime), payload: &Payload) -> Result<(), Violation> {
        let at = id.index;
        let came = self.sessions.as_mut().and_then(|sessions| sessions.judge.committed(id, log_time, payload));
        match Write::of(payload).filter(|_| came.is_none_or(|came| came == Came::Applied)) {
            Some(write) => {
                self.history.committed(write, at);
                self.judge.committed(write, id)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::words::is_plain;

    /// A check of what never happens would check nothing.
    #[test]
    fn whatever_may_come_of_an_entry_of_a_session_comes_in_some_world() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 1..=150 {
            let mut world = World::new(&History::new(seed));
            if world.workload.sessions.is_none() {
                continue;
            }
            world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            let sessions = world.workload.sessions.take().expect("clients keep their sessions");
            sessions.judge.counts.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_insert(0) += count);
        }
        let due = [
            "session registered or kept alive",
            "write in a session applied",
            "write in a session answered again",
            "session found expired",
            "write in a session forgotten",
            "response in a session not kept",
            "session displaced",
            "session over",
        ];
        let found: Vec<u64> = due.iter().map(|kind| counts.get(kind).copied().unwrap_or_default()).collect();
        assert!(found.iter().all(|count| *count > 0), "{due:?} came {found:?} times");
    }

    #[test]
    fn a_cluster_that_does_not_converge_is_told_a_node_a_line() {
        let mut world = World::new(&History::new(9));
        world.run().expect("all is well");
        let told = world.state_in_words();
        let nodes = told.lines().skip(1).filter(|line| line.starts_with("node "));
        let nodes = nodes.filter(|line| line.contains(" in term ") || line.contains(" does not run"));
        assert!(nodes.count() == world.nodes.iter().count() && is_plain(&told), "{told}");
        assert!(told.starts_with("all clients are served:\n"), "{told}");
        let beginning = World::new(&History::new(9)).state_in_words();
        assert!(beginning.contains("\nnode 3 does not run") && is_plain(&beginning), "{beginning}");
    }
}
