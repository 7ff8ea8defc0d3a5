//! The judge's sittings: after every step of a node, and when the healed cluster should have converged.

use outrigger::engine::{Event, LogIndex, Message, NodeId, Payload};

use super::World;
use super::peace::Peace;
use crate::check::{self, Observed, Violation, require};
use crate::diagram::Mark;
use crate::machine::Write;
use crate::node::Node;
use crate::plan::MILLISECOND;
use crate::refinement::{After, Refinement};
use crate::user::Subject;
use crate::workload::Workload;

impl World {
    /// Holds a node, as a step has left it, against everything that must hold.
    pub(super) fn judge_step(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let (Some(status), Some(running)) = (node.status(), &node.running) else { return Ok(()) };
        let runtime = &running.runtime;
        if runtime.truncated {
            self.judge.truncated(&status)?;
        }
        let disks = |id: NodeId| self.nodes.get(&id).map(Node::durable);
        let observed = Observed {
            life: node.life,
            may_halt: node.is_failing,
            status: &status,
            log: &runtime.accepted,
            checked: runtime.checked,
            callers: &runtime.callers,
            disks: &disks,
        };
        let (now, before) = ((status.role, status.term), self.judge.role(id));
        if before != Some(now) {
            self.mark(|| Mark::Role { node: id, role: now.0, term: now.1 });
        }
        let leaders = self.judge.leaders();
        let new = self.judge.observe(&observed)?;
        let is_elected = self.judge.leaders() > leaders;
        for (index, payload) in new.into_iter().map(|index| (index, runtime.payload_at(index))) {
            self.workload.committed(index, &payload)?;
            self.hosted.iter().try_for_each(|subject| subject.committed(index, &payload))?;
        }
        self.hosted.iter().try_for_each(Subject::check)?;
        let Some(running) = self.nodes.get_mut(&id).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        running.runtime.checked = running.runtime.accepted.0.len();
        running.runtime.truncated = false;
        if is_elected {
            self.schedule_hunt(id);
        }
        Ok(())
    }

    /// Holds a step of a node against the model.
    pub(super) fn refine(&mut self, id: NodeId, event: &Event) -> Result<(), Violation> {
        self.beside_model(id, |refinement, after| refinement.step(event, after))
    }

    /// Holds the beginning of a node's life against the model.
    pub(super) fn refine_start(&mut self, id: NodeId) -> Result<(), Violation> {
        self.beside_model(id, Refinement::restart)
    }

    fn beside_model(
        &mut self,
        id: NodeId,
        hold: impl FnOnce(&mut Refinement, &After<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let (Some(status), Some(running)) = (node.status(), &mut node.running) else { return Ok(()) };
        let notes = std::mem::take(&mut running.runtime.notes);
        let (log, unchanged) = (&running.runtime.accepted, running.runtime.checked);
        let vote = running.driver.engine().vote();
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests falsify it"))]
        let mut after = After { status, vote, log, unchanged, notes };
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
        if self.peace == Peace::Still {
            self.require_stillness()?;
        }
        let states: Option<Vec<_>> = self.core().map(|node| Some((node.status()?, node.running.as_ref()?))).collect();
        let nodes = states.iter().flatten().map(|(status, running)| (status, &running.runtime.accepted));
        if self.workload.is_content() && states.is_some() && check::converged(nodes, self.judge.chain()) {
            match self.peace {
                Peace::Calm => self.become_idle()?,
                Peace::Idle => self.become_still(),
                Peace::Still | Peace::Over => return self.conclude(),
            }
        }
        self.require_patience()?;
        self.review_next();
        Ok(false)
    }

    fn require_patience(&self) -> Result<(), Violation> {
        let until = self.calm_until.expect("reviews begin when it is calm");
        let shown: Vec<_> = self.nodes.values().map(Node::status).collect();
        let (content, lasts) = (self.workload.is_content(), self.plan.calm_lasts / MILLISECOND);
        require!(
            self.now < until,
            Convergence,
            "after {lasts} ms of peace, clients content: {content}, nodes: {shown:?}"
        );
        Ok(())
    }

    /// What must hold in the end.
    pub(super) fn conclude(&mut self) -> Result<bool, Violation> {
        self.refinement.check()?;
        self.is_decided = self.workload.history.check()?;
        self.workload.judge.kept(|index| self.judge.chain().at(index).map(|stamp| stamp.id))?;
        let expected = self.workload.judge.last_values();
        self.hosted.iter().try_for_each(Subject::finish)?;
        for (id, node) in &self.nodes {
            let runtime = node.running.as_ref().map(|running| &running.runtime);
            let waiting = runtime.and_then(|runtime| runtime.callers.waiting());
            require!(waiting.is_none(), Answers, "{waiting:?} of node {id} was never answered");
            runtime.iter().for_each(|runtime| runtime.machine.look());
            let found = runtime.map(|runtime| runtime.machine.registers());
            require!(
                found == Some(&expected),
                StateMachineSafety,
                "node {id} ends with {found:?}, others with {expected:?}"
            );
        }
        self.hosted.iter().try_for_each(Subject::check)?;
        Ok(true)
    }
}

impl Workload {
    /// An entry was committed.
    fn committed(&mut self, at: LogIndex, payload: &Payload) -> Result<(), Violation> {
        match Write::of(payload) {
            Some(write) => {
                self.history.committed(write, at);
                self.judge.committed(write, at)
            }
            None => Ok(()),
        }
    }
}
