//! What has happened, as far as it binds the future: who led, what was committed, what callers were told.
//!
//! It tells states apart like all else. Two ways to the same nodes and messages are the same only if the same is at stake.

use std::sync::Arc;

use outrigger::engine::{Body, Fingerprint, LogIndex, NodeId, RoleKind, Term, Token};

use super::node::{Answer, Entry, Node, note_entries, place};
use crate::check::{Violation, require};

/// The tokens of reads begin here; those below are proposals.
pub(super) const READS_FROM: u64 = 100;

/// An entry that a leader committed.
#[derive(Clone, Debug)]
struct Committed {
    entry: Entry,
    /// The term in which it was.
    during: Term,
}

/// A read that was not answered.
#[derive(Clone, Copy, Debug)]
struct Read {
    token: Token,
    at: NodeId,
    /// How much was committed anywhere when it was asked.
    must_see: LogIndex,
}

/// All that must stay true.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Who leads or led, for each term that some disk has not left behind.
    leaders: Vec<(Term, NodeId)>,
    /// The one log of what was ever committed.
    committed: Vec<Committed>,
    /// Proposals whose callers were told that nothing was done.
    refused: Vec<Token>,
    /// In the order in which they were asked.
    reads: Vec<Read>,
}

impl History {
    /// What counts of it.
    pub(super) fn fingerprint(&self, out: &mut Fingerprint) {
        out.number(self.leaders.len() as u64);
        self.leaders.iter().for_each(|(term, node)| [term.0, node.0].into_iter().for_each(|it| out.number(it)));
        out.number(self.committed.len() as u64);
        for Committed { entry, during } in &self.committed {
            out.number(during.0);
            note_entries(std::slice::from_ref(entry), out);
        }
        out.number(self.refused.len() as u64);
        self.refused.iter().for_each(|token| out.number(token.0));
        out.number(self.reads.len() as u64);
        for Read { token, at, must_see } in &self.reads {
            [token.0, at.0, must_see.0].into_iter().for_each(|number| out.number(number));
        }
    }

    /// A caller asks `at` for a read.
    pub(super) fn ask(&mut self, token: Token, at: NodeId) {
        self.reads.push(Read { token, at, must_see: LogIndex(self.committed.len() as u64) });
    }

    /// Whoever asked `node` is gone with it.
    pub(super) fn forget_callers(&mut self, node: NodeId) {
        self.reads.retain(|read| read.at != node);
    }

    /// What a node told its callers.
    pub(super) fn answer(&mut self, answers: &[Answer]) -> Result<(), Violation> {
        for answer in answers {
            match *answer {
                Answer::Accepted(..) => {}
                Answer::Refused(token, refusal) => {
                    self.reads.retain(|read| read.token != token);
                    if token.0 < READS_FROM && refusal.is_certain() {
                        self.refused.push(token);
                        self.nothing_refused_is_committed()?;
                    }
                }
                Answer::Read(token, seen) => {
                    let place = self.reads.iter().position(|read| read.token == token);
                    let Some(read) = place.map(|place| self.reads.remove(place)) else {
                        require!(false, Answers, "read #{token} is answered, but nobody waits for it");
                        continue;
                    };
                    let Read { at, must_see, .. } = read;
                    require!(
                        seen >= must_see,
                        LinearizableRead,
                        "read #{token} at node {at} sees {seen} entries; {must_see} were committed before it"
                    );
                }
            }
        }
        Ok(())
    }

    /// One node was changed by a step, the one at `changed`: whether all that must hold still holds, but for what is new.
    pub(super) fn check(&self, nodes: &[Arc<Node>], changed: usize) -> Result<(), Violation> {
        let node = &*nodes[changed];
        for other in nodes.iter().filter(|other| other.id() != node.id()) {
            logs_match(node, other)?;
        }
        let (id, commit) = (node.id(), place(node.engine.commit_index()));
        for (entry, agreed) in node.log[..commit].iter().zip(&self.committed) {
            let (at, agreed) = (entry.id, &agreed.entry);
            require!(agreed == entry, StateMachineSafety, "node {id} commits {at} where {} is committed", agreed.id);
        }
        self.is_complete(node)
    }

    /// Whether the step that changed a node made history.
    pub(super) fn has_news(&self, nodes: &[Arc<Node>], changed: usize) -> bool {
        let engine = &nodes[changed].engine;
        let known = self.leader_of(engine.vote().term);
        let leads_anew = engine.role_kind() == RoleKind::Leader && known != Some(nodes[changed].id());
        let commits = place(engine.commit_index()) > self.committed.len();
        let settles = self.leaders.first().is_some_and(|(term, _)| *term < oldest_term(nodes));
        leads_anew || commits || settles
    }

    /// Takes in what is new since the step that changed a node, and checks it.
    pub(super) fn extend(&mut self, nodes: &[Arc<Node>], changed: usize) -> Result<(), Violation> {
        let node = &nodes[changed];
        if node.engine.role_kind() == RoleKind::Leader {
            self.lead(node)?;
        }
        if place(node.engine.commit_index()) > self.committed.len() {
            self.commit(nodes, node)?;
            nodes.iter().try_for_each(|leader| self.is_complete(leader))?;
        }
        // Nobody will lead any more in a term that all disks have left behind.
        let oldest = oldest_term(nodes);
        self.leaders.retain(|(term, _)| *term >= oldest);
        Ok(())
    }

    fn leader_of(&self, term: Term) -> Option<NodeId> {
        self.leaders.iter().find(|(led, _)| *led == term).map(|(_, leader)| *leader)
    }

    fn lead(&mut self, node: &Node) -> Result<(), Violation> {
        let (term, id) = (node.engine.vote().term, node.id());
        let known = self.leader_of(term);
        let other = known.unwrap_or(id);
        require!(other == id, ElectionSafety, "node {id} and node {other} both lead in term {term}");
        if known.is_none() {
            self.leaders.push((term, id));
            self.leaders.sort_unstable();
        }
        Ok(())
    }

    /// What a node takes for committed and nobody did before must be durable on a quorum.
    fn commit(&mut self, nodes: &[Arc<Node>], node: &Node) -> Result<(), Violation> {
        let (id, during) = (node.id(), node.engine.vote().term);
        for entry in &node.log[self.committed.len()..place(node.engine.commit_index())] {
            let at = entry.id;
            let holders = nodes.iter().filter(|other| other.disk.holds(entry)).count();
            let count = nodes.len();
            require!(holders * 2 > count, CommittedOnQuorum, "node {id} commits {at}, durable on {holders} of {count}");
            let twice = proposal(entry).is_some() && self.committed.iter().any(|it| it.entry.payload == entry.payload);
            require!(!twice, AtMostOnce, "the same proposal is committed twice, the second time as {at}");
            self.committed.push(Committed { entry: entry.clone(), during });
        }
        self.nothing_refused_is_committed()
    }

    fn nothing_refused_is_committed(&self) -> Result<(), Violation> {
        for token in &self.refused {
            let done = self.committed.iter().any(|it| proposal(&it.entry) == Some(*token));
            require!(!done, AtMostOnce, "proposal #{token} is committed, although it was refused for certain");
        }
        Ok(())
    }

    /// A leader has all that was committed in terms before its own.
    fn is_complete(&self, leader: &Node) -> Result<(), Violation> {
        let (term, id) = (leader.engine.vote().term, leader.id());
        if leader.engine.role_kind() == RoleKind::Leader {
            for Committed { entry, .. } in self.committed.iter().filter(|it| it.during < term) {
                let has = leader.log.get(place(entry.id.index) - 1) == Some(entry);
                require!(has, LeaderCompleteness, "node {id} leads in term {term} without the committed {}", entry.id);
            }
        }
        Ok(())
    }
}

/// Where two logs hold entries of one id, they are the same up to there.
fn logs_match(one: &Node, other: &Node) -> Result<(), Violation> {
    let both = one.log.iter().zip(&*other.log);
    let agree = both.clone().take_while(|(one, other)| one == other).count();
    let again = both.skip(agree).find(|(one, other)| one.id == other.id);
    if let Some((entry, _)) = again {
        let (a, b) = (one.id(), other.id());
        require!(false, LogMatching, "nodes {a} and {b} both hold {}, but not the same up to there", entry.id);
    }
    Ok(())
}

/// A term that every disk has reached.
fn oldest_term(nodes: &[Arc<Node>]) -> Term {
    nodes.iter().map(|node| node.disk.vote.term).min().unwrap_or_default()
}

/// Whose proposal it is: a command holds the token of its caller.
fn proposal(entry: &Entry) -> Option<Token> {
    match &entry.payload.body {
        Body::Command(command) => command.first().map(|token| Token(u64::from(*token))),
        Body::Blank | Body::Membership(_) | Body::RegisterSession { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{LogId, Payload, Refusal};

    use super::super::tests::state_with;
    use super::super::{Bounds, State};
    use super::*;
    use crate::check::Check;

    /// Two nodes that hold three entries, the last of them a proposal; one leads, and has committed all. Its place, and the other's.
    fn committed() -> (State, usize, usize) {
        let bounds = Bounds { crashes: 0, copies: 0, heartbeats: 0, ..Bounds::PAIR };
        let has_all = |node: &Arc<Node>| node.log.len() == 3;
        let leads =
            |node: &Arc<Node>| node.engine.role_kind() == RoleKind::Leader && place(node.engine.commit_index()) == 3;
        let state = state_with(bounds, |state| state.nodes.iter().all(has_all) && state.nodes.iter().any(leads));
        let leader = state.nodes.iter().position(leads).expect("one leads");
        (state, leader, 1 - leader)
    }

    fn refusing<T>(judged: Result<T, Violation>) -> Option<Check> {
        judged.err().map(|violation| violation.check)
    }

    fn log(state: &mut State, node: usize) -> &mut Vec<Entry> {
        Arc::make_mut(&mut Arc::make_mut(&mut state.nodes[node]).log)
    }

    fn history(state: &State) -> History {
        History::clone(&state.history)
    }

    #[test]
    fn logs_that_part_before_an_entry_of_both_and_what_is_committed_otherwise_are_noticed() {
        let (mut state, leader, other) = committed();
        let judge = |state: &State, history: &History| refusing(history.check(&state.nodes, leader));
        let known = history(&state);
        assert_eq!(judge(&state, &known), None);
        let mut differs = known.clone();
        differs.committed[2].entry.payload = Payload::blank();
        assert_eq!(judge(&state, &differs), Some(Check::StateMachineSafety));
        log(&mut state, other)[1].payload = Payload::membership(Arc::default());
        assert_eq!(judge(&state, &known), Some(Check::LogMatching));
    }

    #[test]
    fn a_leader_that_lacks_what_was_committed_in_an_earlier_term_is_noticed() {
        let (state, leader, _) = committed();
        let term = state.nodes[leader].engine.vote().term;
        let judge = |during, extends: bool| {
            let mut history = history(&state);
            let entry = Entry { id: LogId::new(0, 4), payload: Payload::blank() };
            history.committed.push(Committed { entry, during });
            if extends {
                // Who commits is another node than the one that leads and lacks it.
                history.committed.truncate(2);
                history.committed[1].entry.id = LogId::new(0, 2);
                history.committed[1].during = during;
                return refusing(history.extend(&state.nodes, leader));
            }
            refusing(history.check(&state.nodes, leader))
        };
        let before = Term(term.0 - 1);
        assert_eq!([judge(before, false), judge(term, false)], [Some(Check::LeaderCompleteness), None]);
        assert_eq!([judge(before, true), judge(term, true)], [Some(Check::LeaderCompleteness), None]);
    }

    #[test]
    fn a_second_leader_is_noticed_as_long_as_its_term_may_have_one() {
        let (state, leader, other) = committed();
        let (id, term) = (state.nodes[leader].id(), state.nodes[leader].engine.vote().term);
        let mut known = history(&state);
        assert!(!known.has_news(&state.nodes, leader));
        known.leaders = vec![(term, state.nodes[other].id())];
        assert!(known.has_news(&state.nodes, leader));
        assert_eq!(refusing(known.extend(&state.nodes, leader)), Some(Check::ElectionSafety));
        known.leaders.clear();
        assert!(known.has_news(&state.nodes, leader));
        known.leaders = vec![(Term(0), NodeId(9))];
        assert_eq!(refusing(known.extend(&state.nodes, leader)), None);
        assert_eq!(known.leaders, [(term, id)], "nobody will lead any more in the term that all disks have left");
    }

    #[test]
    fn what_is_committed_is_on_the_disks_of_a_quorum_once_and_was_not_refused() {
        let (mut state, leader, other) = committed();
        let commit = |state: &State, bend: &dyn Fn(&mut History)| {
            let mut history = history(state);
            history.committed.truncate(2);
            bend(&mut history);
            refusing(history.extend(&state.nodes, leader))
        };
        assert_eq!(commit(&state, &|_| ()), None);
        let proposal = state.nodes[leader].log[2].clone();
        let twice = |history: &mut History| history.committed[1].entry.payload = proposal.payload.clone();
        assert_eq!(commit(&state, &twice), Some(Check::AtMostOnce));
        assert_eq!(commit(&state, &|history| history.refused.push(Token(1))), Some(Check::AtMostOnce));
        assert_eq!(commit(&state, &|history| history.refused.push(Token(2))), None, "that is another one");
        Arc::make_mut(&mut Arc::make_mut(&mut state.nodes[other]).disk).log.pop();
        assert_eq!(commit(&state, &|_| ()), Some(Check::CommittedOnQuorum), "one of two is no quorum");
    }

    #[test]
    fn what_callers_are_told_is_held_against_what_is_committed() {
        let (state, ..) = committed();
        let told = |answer| refusing(history(&state).answer(&[answer]));
        assert_eq!(told(Answer::Refused(Token(1), Refusal::NotLeader)), Some(Check::AtMostOnce));
        assert_eq!(told(Answer::Refused(Token(2), Refusal::NotLeader)), None);
        let (read, node) = (Token(READS_FROM), NodeId(1));
        let sees = |seen, is_gone: bool| {
            let mut history = history(&state);
            history.ask(read, node);
            history.forget_callers(if is_gone { node } else { NodeId(2) });
            refusing(history.answer(&[Answer::Read(read, LogIndex(seen))]))
        };
        assert_eq!([sees(3, false), sees(2, false)], [None, Some(Check::LinearizableRead)]);
        assert_eq!(sees(3, true), Some(Check::Answers), "nobody waits for it");
    }

    /// Which checks refuse a step from this state, once its history is bent.
    fn steps_refused(bounds: Bounds, state: &State, bend: impl Fn(&mut History)) -> Vec<Check> {
        use outrigger_model::explore::TransitionSystem;
        let cluster = super::super::Cluster::new(bounds, false);
        let (mut from, mut actions) = (state.clone(), Vec::new());
        bend(Arc::make_mut(&mut from.history));
        cluster.append_actions(&from, &mut actions);
        let mut next = from.clone();
        let judged = actions.iter().filter_map(|action| {
            cluster.step(&from, action, &mut next);
            cluster.check_step(&from, &next).err().map(|violation| violation.check)
        });
        judged.collect()
    }

    #[test]
    fn each_explored_step_is_shown_to_the_judges_of_history() {
        let bounds = Bounds { crashes: 0, copies: 0, heartbeats: 1, ..Bounds::PAIR };
        let is_about_to_answer = |state: &State| {
            let refused = |history: &mut History| history.refused.push(Token(1));
            steps_refused(bounds, state, refused).contains(&Check::AtMostOnce)
        };
        let holds = |node: &Arc<Node>| node.log.len() == 3;
        let state = state_with(bounds, |state| state.nodes.iter().all(holds) && is_about_to_answer(state));
        assert_eq!(steps_refused(bounds, &state, |_| ()), [], "all is well");
        let other = |history: &mut History| {
            let entry = Entry { id: LogId::new(0, 1), payload: Payload::blank() };
            history.committed = vec![Committed { entry, during: Term(0) }];
        };
        assert!(steps_refused(bounds, &state, other).contains(&Check::StateMachineSafety));
        let reads = Bounds { reads: 1, heartbeats: 0, copies: 0, crashes: 0, ..Bounds::PAIR };
        let too_much = |history: &mut History| history.reads.iter_mut().for_each(|read| read.must_see = LogIndex(99));
        let is_served = |state: &State| {
            let waits = !state.history.reads.is_empty();
            waits && steps_refused(reads, state, too_much).contains(&Check::LinearizableRead)
        };
        let state = state_with(reads, is_served);
        assert_eq!(steps_refused(reads, &state, |_| ()), [], "all is well");
    }
}
