//! What of the world is drawn, if it is drawn at all.

use outrigger::engine::{Event, Message, NodeId, Payload, RoleKind, Token};

use super::World;
use super::peace::Peace;
use crate::check::{Check, Violation};
use crate::diagram::{self, Diagram, Flushed, Mark, named};
use crate::look::Look;
use crate::machine::{Answer, Write};
use crate::network::Delays;
use crate::node::{Node, Running};
use crate::runtime::Runtime;
use crate::workload::Request;

/// What a step has told a disk to keep: all that is queued since so many were.
#[cold]
pub(super) fn mark_writes(diagram: &Diagram, now: u64, runtime: &Runtime, since: usize) {
    let new = runtime.queued().iter().skip(since);
    new.filter_map(|write| Mark::write(runtime.me.node, write)).for_each(|mark| diagram.mark(now, mark));
}

/// What an engine has made of an event beside what it says and writes, as it has not been judged yet: what is wrong is seen, too.
#[cold]
pub(super) fn mark_step(diagram: &Diagram, now: u64, running: &Running, look: &Look, is_timeout: bool) {
    let Some(before) = running.judged else { return };
    let is_campaign = |look: &Look| matches!(look.role, RoleKind::PreCandidate | RoleKind::Candidate);
    if is_timeout && is_campaign(look) && (!is_campaign(&before) || before.term < look.term) {
        diagram.mark(now, Mark::timed_out(look.node));
    }
    let committed = running.runtime.accepted.at(look.commit).filter(|_| look.commit > before.commit);
    committed.into_iter().for_each(|stamp| diagram.mark(now, Mark::commits(look.node, stamp.id)));
}

impl World {
    pub(super) fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(diagram) = &self.diagram {
            diagram.mark(self.now, mark());
        }
    }

    #[cold]
    pub(super) fn mark_message(&self, (from, target): (NodeId, NodeId), message: &Message, delays: Delays) {
        self.mark(|| {
            let arrives = delays.into_iter().map(|delay| self.now + delay);
            let is_cut = self.network.cuts(from, target);
            Mark::message((from, target), message, arrives, is_cut, |payload| self.command_text(payload))
        });
    }

    /// What the flush that a node's disk is about to end makes durable.
    #[cold]
    pub(super) fn writes_under_way(&self, id: NodeId) -> Option<Box<Flushed>> {
        let running = self.nodes.at(id)?.running.as_ref()?;
        Some(Box::new(Flushed::of(running.runtime.in_flight())))
    }

    #[cold]
    pub(super) fn mark_flush(&self, id: NodeId, writes: &Flushed, event: &Event) {
        self.mark(|| Mark::flush(id, writes, event));
    }

    #[cold]
    pub(super) fn mark_restored(&self, id: NodeId) {
        let at = self.nodes.at(id).and_then(|node| node.running.as_ref()?.runtime.machine.restored_at());
        at.into_iter().for_each(|at| self.mark(|| Mark::restored(id, at)));
    }

    /// Who hears whom from now on.
    pub(super) fn announce_network(&mut self) {
        self.announce(|world| {
            let nodes: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
            diagram::network(&nodes, |from, to| world.network.cuts(from, to))
        });
    }

    #[cold]
    pub(super) fn mark_asked(&self, request: &Request) {
        self.mark(|| {
            // Our own commands are as their writes.
            let commands: Vec<String> = match (&request.event, &self.hosted) {
                (Event::Propose { entries, .. }, Some(_)) => entries.iter().map(|it| self.command_text(it)).collect(),
                _ => Vec::new(),
            };
            let (node, wish) = self.workload.asked(request.token).expect("it is asked just now");
            Mark::asked(node, request.token.0, wish, &commands)
        });
    }

    #[cold]
    pub(super) fn mark_answer(&self, token: Token, answer: &Answer) {
        let Some(diagram) = &self.diagram else { return };
        let Some((node, wish)) = self.workload.asked(token) else { return };
        diagram.mark(self.now, Mark::answered(node, token.0, wish, answer));
    }

    /// What an entry holds: a user's command, or a write of our own.
    pub(super) fn command_text(&self, payload: &Payload) -> String {
        let of_user = self.hosted.as_ref().and_then(|subject| subject.text(payload));
        of_user.or_else(|| Write::of(payload).map(|write| format!("write {}", write.value))).unwrap_or_default()
    }

    /// Notes where something has gone wrong.
    pub(super) fn blame(&self, violation: &Violation) {
        let Some(diagram) = &self.diagram else { return };
        diagram.end(self.now);
        diagram.blame(match (self.acting, violation.check) {
            (Some(node), _) => vec![node],
            (None, Check::Convergence) if self.peace == Peace::Still => self.deposed(),
            (None, Check::Convergence) => self.behind(),
            (None, _) => named(&violation.reason).filter(|node| self.nodes.at(*node).is_some()).collect(),
        });
    }

    /// Who led when the cluster was left alone, and who leads now.
    fn deposed(&self) -> Vec<NodeId> {
        [self.reign, self.present_reign()].into_iter().flatten().map(|(_, leader)| leader).collect()
    }

    /// The nodes that have not converged; if all have, those whose clients wait; if nobody waits, all that should serve.
    fn behind(&self) -> Vec<NodeId> {
        let chain = self.judge.chain();
        let is_behind = |node: &&Node| {
            let holds = node.running.as_ref().is_some_and(|running| running.runtime.accepted == *chain);
            !holds || node.look().is_none_or(|look| look.applied != chain.last().index)
        };
        let behind: Vec<NodeId> = self.core().filter(is_behind).map(|node| node.id).collect();
        let waiting = || self.workload.waited_for().collect::<Vec<_>>();
        let or = |nodes: Vec<NodeId>, other: &dyn Fn() -> Vec<NodeId>| if nodes.is_empty() { other() } else { nodes };
        or(or(behind, &waiting), &|| self.core().map(|node| node.id).collect())
    }
}
