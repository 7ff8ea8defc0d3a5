//! Clients, as the world serves them: what they ask of nodes, and what they are told. In which ways they are served is counted: a way
//! that never comes is a gap in what is simulated.

use outrigger::engine::{Consistency, Engine, Event, NodeId, RoleKind, Term, Token};

use super::World;
use super::happening::Happening;
use crate::check::Violation;
use crate::count::note;
use crate::machine::Answer;
use crate::workload::{Wish, Workload};

impl World {
    /// A client has waited for long enough.
    pub(super) fn lose_hope(&mut self, token: Token) -> Result<(), Violation> {
        if self.trace.is_told() && self.workload.waits_for(token) {
            self.trace.tell(self.now, None, || format!("the client waits no longer for request #{token}"));
        }
        self.answer(token, Answer::Unknown)
    }

    /// Whoever waits for it gets its answer.
    pub(super) fn answer(&mut self, token: Token, answer: Answer) -> Result<(), Violation> {
        if self.trace.is_told() && self.workload.waits_for(token) {
            self.trace.tell(self.now, None, || format!("request #{token} is answered: {answer}"));
        }
        if self.diagram.is_some() {
            self.mark_answer(token, &answer);
        }
        if let Some(client) = self.workload.answer(token, answer, self.now)? {
            self.queue.end_wait(token);
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
        }
        Ok(())
    }

    /// A client asks a node, or thinks again.
    pub(super) fn ask(&mut self, client: u64) -> Result<(), Violation> {
        if self.workload.is_quiet(client) || !self.core().any(|node| node.running.is_some()) {
            let thinking = self.workload.thinking(&self.plan);
            self.after(thinking, Happening::Ask { client });
            return Ok(());
        }
        let mut alive = Vec::with_capacity(self.nodes.len());
        alive.extend(self.core().filter(|node| node.running.is_some()).map(|node| node.id));
        let nodes = &self.nodes;
        let term = |id| {
            nodes.at(id).and_then(|node| node.running.as_ref()).map_or(Term(0), |it| it.driver.engine().vote().term)
        };
        let request = self.workload.ask(client, &alive, term, self.now);
        if let Event::Propose { only_in: Some(_), .. } = request.event {
            note(&mut self.workload.services, "write meant for one term");
        }
        let node = self.nodes.at_mut(request.node).expect("a node is asked");
        let life = node.life;
        let callers = &mut node.running.as_mut().expect("only nodes that live are asked").runtime.callers;
        match self.workload.asked(request.token) {
            Some((_, Wish::Write(writes))) => callers.propose(request.token, writes.len() as u64, false),
            Some((_, Wish::Read(key, _))) => callers.ask(request.token, *key),
            _ => callers.propose(request.token, 1, true),
        }
        if self.diagram.is_some() {
            self.mark_asked(&request);
        }
        self.queue.wait(self.now + Workload::patience(), request.token);
        let (node, event) = (request.node, request.event);
        if self.queue.is_free_at(self.now) && self.wakes_at(node).is_none() {
            // It would be the next thing to happen anyway.
            self.acting = Some(node);
            return self.request(node, life, event);
        }
        self.after(0, Happening::Request { node, life, event: Box::new(event) });
        Ok(())
    }

    /// Counts in which ways clients are answered.
    pub(super) fn count_answer(&mut self, id: NodeId, token: Token, answer: &Answer) {
        let Some((_, wish)) = self.workload.asked(token) else { return };
        match (wish, answer) {
            (Wish::Read(_, consistency), Answer::Read(..)) => {
                let kind = match consistency {
                    Consistency::Lease => Some("read by lease"),
                    Consistency::Acknowledged { .. } => Some("read of an acknowledged age"),
                    Consistency::Stale { .. } => Some("stale read"),
                    _ => None,
                };
                kind.into_iter().for_each(|kind| note(&mut self.workload.services, kind));
                let engine = self.nodes.at(id).and_then(|node| node.running.as_ref()).map(|it| it.driver.engine());
                let place = match engine.map(Engine::role_kind) {
                    Some(RoleKind::Leader) => "read answered by a leader",
                    Some(RoleKind::Learner) => "read answered by a learner",
                    _ => "read answered by a follower",
                };
                note(&mut self.workload.services, place);
            }
            (Wish::Write(writes), Answer::Written(_)) if writes.len() > 1 => {
                note(&mut self.workload.services, "writes together");
            }
            _ => {}
        }
    }
}
