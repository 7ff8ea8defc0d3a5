//! Clients, as the world serves them: what they ask of nodes, and what they are told. In which ways they are served is counted: a way
//! that never comes is a gap in what is simulated.

use outrigger::engine::{Consistency, Engine, Event, NodeId, Precondition, Refusal, RoleKind, Term, Token};

use super::World;
use super::happening::Happening;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::machine::Answer;
use crate::words::or;
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
        // States are compared as the log grows: until one that has rotted is found it does, slowly, so that all keep up.
        let is_quiet = self.workload.is_quiet(client) && (client > 0 || self.rotten().is_none());
        if is_quiet || !self.core().any(|node| node.running.is_some()) {
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

    /// A write that is meant for one term is refused for that reason in every other, and in that one never.
    pub(super) fn judge_meant(&mut self, look: &Look, meant: Option<(Token, Term)>) -> Result<(), Violation> {
        let Some((token, only_in)) = meant else { return Ok(()) };
        let Some(running) = self.nodes.at(look.node).and_then(|node| node.running.as_ref()) else { return Ok(()) };
        let refusal = running.runtime.refused_last.filter(|(of, _)| *of == token).map(|(_, refusal)| refusal);
        let (node, term) = (look.node, look.term);
        let found = match refusal {
            Some(Refusal::PreconditionFailed { actual: Precondition::Term(actual) }) => Some(actual),
            _ => None,
        };
        let due = Some(term).filter(|term| *term != only_in);
        let or_none = |term: Option<Term>| or(term.map(|term| format!("it is {term}")), "nothing");
        require!(
            look.role == RoleKind::Halted || found == due,
            Precondition,
            "node {node} is in term {term}, and says of a write that is meant for term {only_in}: {}, where that should be {}",
            or_none(found),
            or_none(due)
        );
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
            (Wish::Write(writes), Answer::Written(_)) => {
                let is_meant = writes.first().is_some_and(|write| self.workload.judge.was_meant(*write));
                let kinds = [(writes.len() > 1, "writes together"), (is_meant, "write meant for one term")];
                let services = &mut self.workload.services;
                kinds.iter().filter(|(is_so, _)| *is_so).for_each(|(_, kind)| note(services, kind));
            }
            _ => {}
        }
    }
}

/// The term that a write is meant for, if it is for one only, and who wants it.
pub(super) const fn meant(event: &Event) -> Option<(Token, Term)> {
    match event {
        Event::Propose { token, only_in: Some(term), .. } => Some((*token, *term)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{look, refusing, running, world_with};
    use super::*;
    use crate::check::Check;

    #[test]
    fn a_write_that_is_refused_for_its_term_and_need_not_be_is_noticed() {
        let (mut world, id) = world_with(|_, node, _| node.look().is_some_and(|look| look.term > Term(1)));
        let (look, token) = (look(&world, id), Token(7));
        let mut judge = |refusal: Option<Refusal>, only_in| {
            running(&mut world, id).runtime.refused_last = refusal.map(|refusal| (token, refusal));
            refusing(world.judge_meant(&look, Some((token, only_in))))
        };
        let wrong = |actual| Some(Refusal::PreconditionFailed { actual: Precondition::Term(actual) });
        let (now, before) = (look.term, Term(look.term.0 - 1));
        assert_eq!(judge(None, now), None);
        assert_eq!(judge(Some(Refusal::NoLeader), now), None, "for another reason");
        assert_eq!(judge(wrong(now), now), Some(Check::Precondition), "it is that term");
        assert_eq!(judge(wrong(now), before), None);
        assert_eq!(judge(wrong(before), before), Some(Check::Precondition), "it is another term");
        assert_eq!(judge(None, before), Some(Check::Precondition), "it is not refused");
        assert_eq!(refusing(world.judge_meant(&look, None)), None);
    }
}
