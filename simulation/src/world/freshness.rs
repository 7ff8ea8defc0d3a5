//! Reads of a node's own state, with a bound on how old it is.

use std::time::Duration;

use outrigger::engine::{Consistency, Event, LogIndex, Token};

use super::World;
use crate::check::{Violation, Word, require};
use crate::look::Look;
use crate::machine::Answer;
use crate::runtime::Effect;

/// What a step has to do with how new a state is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Freshness {
    /// A leader says what it has committed.
    Word(Word),
    /// Somebody wants to read a state that is no older than this.
    Read(Token, Duration),
    Nothing,
}

impl Freshness {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Read { token, consistency: Consistency::Stale { staleness_max } } => {
                Self::Read(*token, *staleness_max)
            }
            _ => Word::of(event).map_or(Self::Nothing, Self::Word),
        }
    }
}

impl World {
    /// A read that was let through sees what was committed so long ago: as a leader has said, or as clients know.
    pub(super) fn judge_freshness(&mut self, look: &Look, freshness: Freshness) -> Result<(), Violation> {
        let (Some(plan), now) = (&self.plan.reads, self.now) else { return Ok(()) };
        let Some(running) = self.nodes.at_mut(look.node).and_then(|node| node.running.as_mut()) else { return Ok(()) };
        let (token, bound) = match freshness {
            Freshness::Word(word) => {
                running.heard.note(word, look, now);
                return Ok(());
            }
            Freshness::Read(token, bound) => (token, bound),
            Freshness::Nothing => return Ok(()),
        };
        let refused = |effect: &Effect| matches!(effect, Effect::Answer(of, Answer::Refused) if *of == token);
        if running.runtime.effects.iter().any(refused) {
            return Ok(());
        }
        let time = now.saturating_sub(plan.at_most(bound));
        let accepted = &running.runtime.accepted.0;
        let place = |index: LogIndex| usize::try_from(index.0).ok()?.checked_sub(1);
        let term_at = |index: LogIndex| place(index).and_then(|place| accepted.get(place)).map(|stamp| stamp.id.term);
        let floor = self.workload.judge.floor_at(time);
        let (node, commit) = (look.node, look.commit);
        let holds = running.heard.had_all(time, commit, term_at) || (look.leads() && commit >= floor);
        require!(
            holds,
            BoundedStaleness,
            "node {node} serves the state at {commit}, and has not heard for {bound:?} that nothing more is committed"
        );
        Ok(())
    }
}
