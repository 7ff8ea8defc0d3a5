//! The explored system: nodes, what is on its way between them, and what has happened.
//!
//! ```text
//!   state ── one cause ──► one node steps ──┬── its messages: any of them lost, within the bound the others on their way
//!                                           └── the history: does all that must hold still hold?
//! ```
//!
//! States share what they have in common: a step makes one new node and a list of the others.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use bytes::Bytes;
use outrigger::engine::{
    Consistency, Event, Fingerprint, Lapse, LogId, LogIndex, Membership, Message, NodeId, Payload, Token,
};
use outrigger_model::explore::TransitionSystem;

use super::Bounds;
use super::action::{Action, Cause, Outcome};
use super::beside::{Beside, Steps};
use super::history::{History, READS_FROM};
use super::late::is_late;
use super::network::{Envelope, Network};
use super::node::{Effects, Entry, NOW, Node};
use super::pool::Pool;
use crate::check::{Check, Violation};
use crate::count::{Counts, note};

/// How much of what is bounded was spent.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    crashes: u8,
    heartbeats: u8,
    copies: u8,
    proposals: u8,
    forwards: u8,
    reads: u8,
}

/// A system at one moment.
#[derive(Clone, Debug)]
pub struct State {
    /// By id.
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) network: Network,
    pub(super) history: Arc<History>,
    /// The model beside it, if there is one. It tells states apart no more than how they were reached does.
    model: Option<Arc<Beside>>,
    spent: Spent,
    /// Whether nothing has happened yet.
    pub(super) is_first: bool,
    /// What went wrong in the step that led here.
    pub(super) violation: Option<Violation>,
}

/// A small cluster of engines within bounds: states and steps for a search.
#[derive(Debug)]
pub struct Cluster {
    bounds: Bounds,
    first: State,
    /// What was worked out before.
    pool: Pool,
    /// How often each action was taken, and each kind of message delivered.
    counts: RefCell<(Counts, Counts)>,
    /// The steps of the model from the state that is searched.
    steps: RefCell<Steps>,
}

impl Cluster {
    /// A cluster that was just initialized; `is_refined` says whether each of its steps is held against the extended model.
    #[must_use]
    pub fn new(bounds: Bounds, is_refined: bool) -> Self {
        let ids: Vec<NodeId> = (1..=u64::from(bounds.nodes)).map(NodeId).collect();
        let members = ids.iter().map(|id| (*id, outrigger::engine::Node::default()));
        let membership = Arc::new(Membership::new(members, []));
        let entry = Entry { id: LogId::new(0, 1), payload: Payload::membership(membership) };
        let pool = Pool::default();
        let node = |id: &NodeId| pool.node(Arc::new(Node::new(*id, &entry, &ids, &bounds)));
        let first = State {
            nodes: ids.iter().map(node).collect(),
            network: Network::default(),
            history: Arc::default(),
            model: is_refined.then(|| Arc::new(Beside::new(&ids, &entry))),
            spent: Spent::default(),
            is_first: true,
            violation: None,
        };
        Self { bounds, first, pool, counts: RefCell::default(), steps: RefCell::default() }
    }

    /// How often each action was taken, and each kind of message delivered.
    pub(super) fn into_counts(self) -> (Counts, Counts) {
        self.counts.into_inner()
    }

    /// All that can happen to a node.
    pub(super) fn causes(&self, state: &State, node: &Node) -> Vec<Cause> {
        let (bounds, spent) = (&self.bounds, &state.spent);
        let term = node.engine.vote().term.0;
        let leader = node.engine.leadership().1;
        let mut causes = Vec::new();
        for lapse in node.engine.lapses() {
            match lapse {
                Lapse::Election if term >= u64::from(bounds.term_max) => {}
                Lapse::Heartbeat | Lapse::Question if spent.heartbeats >= bounds.heartbeats => {}
                Lapse::CheckQuorum => causes.push(Cause::QuorumSilent),
                Lapse::Lease if node.engine.rounds_on_lease(NOW) > 0 => causes.push(Cause::Pass(lapse)),
                Lapse::Pledge if all_leases_are_over(state) => causes.push(Cause::Pass(lapse)),
                lapse if lapse.is_timeout() => causes.push(Cause::Elapse(lapse)),
                _ => {}
            }
        }
        if node.pending() > 0 {
            causes.push(Cause::Flush);
        }
        let next_proposal = Token(u64::from(spent.proposals + spent.forwards) + 1);
        if leader == Some(node.id()) && spent.proposals < bounds.proposals {
            causes.push(Cause::Propose(next_proposal));
        }
        if leader.is_some_and(|leader| leader != node.id()) && spent.forwards < bounds.forwards {
            causes.push(Cause::Forward(next_proposal));
        }
        if leader.is_some() && spent.reads < bounds.reads {
            causes.push(Cause::Read(Token(u64::from(spent.reads) + READS_FROM)));
        }
        if spent.crashes < bounds.crashes {
            for kept in 0..=node.pending() {
                let commits = (0..=node.commits_after_crash(kept).0).map(LogIndex);
                causes.extend(commits.map(|commit| Cause::Crash { kept, commit }));
            }
        }
        causes
    }

    /// Adds an action for each choice of what the node's messages come to.
    fn append(&self, state: &State, node: &Arc<Node>, place: Option<usize>, cause: Cause, actions: &mut Vec<Action>) {
        let outcome = self.pool.outcome(node, &cause, || outcome(node, &cause, Effects::default()));
        self.choose(state, Action { id: node.id(), cause, place, leaves_copy: false, lost: 0, outcome }, actions);
    }

    /// Adds an action as often as there are choices: whether a copy stays behind, and which messages are lost.
    pub(super) fn choose(&self, state: &State, action: Action, actions: &mut Vec<Action>) {
        self.choose_losses(state, &action, actions);
        if action.place.is_some() && state.spent.copies < self.bounds.copies {
            self.choose_losses(state, &Action { leaves_copy: true, ..action }, actions);
        }
    }

    /// Adds an action for each choice of messages that are lost.
    fn choose_losses(&self, state: &State, action: &Action, actions: &mut Vec<Action>) {
        let sent = action.outcome.effects.sent.len();
        assert!(sent < 32, "{sent} messages at once");
        let arrives = usize::from(action.place.is_some() && !action.leaves_copy);
        let room = usize::from(self.bounds.messages_max).saturating_sub(state.network.len() - arrives);
        let nothing_to_choose = !self.bounds.loss || action.outcome.violation.is_some();
        let all = if nothing_to_choose { 1 } else { 1_u32 << sent };
        let before = actions.len();
        for lost in 0..all {
            if nothing_to_choose || sent - lost.count_ones() as usize <= room {
                actions.push(Action { lost, ..action.clone() });
            }
        }
        if actions.len() > before {
            let (taken, delivered) = &mut *self.counts.borrow_mut();
            note(taken, action.name());
            if let Cause::Receive { envelope, .. } = &action.cause {
                note(delivered, envelope.kind());
            }
        }
    }
}

/// Whether a voter's pledge may end. It was given when a round was heard, so after that was sent, and lasts longer than the lease that
/// is counted from then; a round that is younger must have been sent since. Some leases may rest on others' pledges: that a
/// voter waits for those too is left out of what is explored.
fn all_leases_are_over(state: &State) -> bool {
    state.nodes.iter().all(|node| node.engine.rounds_on_lease(NOW) == 0)
}

/// The place of a node among all.
fn at(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("few nodes, from 1 on")
}

/// The ways in which a message can arrive at a node.
pub(super) fn arrivals(node: &Node, envelope: &Arc<Envelope>) -> impl Iterator<Item = Cause> {
    let leader = node.engine.leadership().1;
    let is_follower = leader.is_some_and(|leader| leader != node.id());
    let also_silent = is_follower && matches!(envelope.message, Message::PreVote(_));
    let arrive = |leader_silent| Cause::Receive { envelope: Arc::clone(envelope), leader_silent };
    [Some(arrive(false)), also_silent.then(|| arrive(true))].into_iter().flatten()
}

/// Whether a message changes nothing if it arrives now.
fn does_nothing(node: &Node, envelope: &Envelope) -> bool {
    let mut effects = Effects::default();
    let mut node_after = node.clone();
    let event = Event::Received { from: envelope.from, message: Some(envelope.message.clone()) };
    let handled = panic::catch_unwind(AssertUnwindSafe(|| node_after.handle(event, &mut effects)));
    let silent = effects.sent.is_empty() && effects.answers.is_empty();
    matches!(handled, Ok(Ok(()))) && silent && node_after.fingerprint == node.fingerprint
}

/// What comes of a cause, an assertion that fails included.
pub(super) fn outcome(node: &Node, cause: &Cause, mut effects: Effects) -> Outcome {
    let mut node = node.clone();
    let handled = panic::catch_unwind(AssertUnwindSafe(|| take_place(&mut node, cause, &mut effects)));
    let failed =
        |panic: Box<dyn Any + Send>| Violation { check: Check::Assertion, reason: crate::panic_words(&*panic) };
    let violation = handled.map_err(failed).and_then(|handled| handled).err();
    Outcome { node: Arc::new(node), effects, violation }
}

fn take_place(node: &mut Node, cause: &Cause, effects: &mut Effects) -> Result<(), Violation> {
    match cause {
        Cause::Elapse(lapse) => {
            node.engine.lapse(*lapse, NOW);
            node.handle(Event::Timeout, effects)
        }
        Cause::Pass(lapse) => {
            node.elapse(*lapse, effects);
            Ok(())
        }
        Cause::QuorumSilent => {
            let silent = node.engine.lapses().into_iter().filter(|it| matches!(it, Lapse::FollowerSilent(_)));
            silent.chain([Lapse::CheckQuorum]).for_each(|lapse| node.engine.lapse(lapse, NOW));
            node.handle(Event::Timeout, effects)
        }
        Cause::Receive { envelope, leader_silent, .. } => {
            if *leader_silent {
                node.engine.lapse(Lapse::LeaderSilent, NOW);
            }
            node.handle(Event::Received { from: envelope.from, message: Some(envelope.message.clone()) }, effects)
        }
        Cause::Flush => node.flush(effects),
        Cause::Crash { kept, commit } => node.crash(*kept, *commit, effects),
        Cause::Propose(token) | Cause::Forward(token) => {
            let command = u8::try_from(token.0).expect("few proposals");
            let entries = Arc::new([Payload::command(Bytes::copy_from_slice(&[command]))]);
            node.handle(Event::Propose { token: *token, entries, only_in: None }, effects)
        }
        Cause::Read(token) => {
            let by_lease = node.holds_leases();
            let (token, consistency) = (*token, if by_lease { Consistency::Lease } else { Consistency::Linearizable });
            node.handle(Event::Read { token, consistency }, effects)
        }
    }
}

impl State {
    /// What counts of what was, and of what there is.
    pub(super) fn past(&self) -> Fingerprint {
        let Spent { crashes, heartbeats, copies, proposals, forwards, reads } = self.spent;
        let mut out = Fingerprint::default();
        [crashes, heartbeats, copies, proposals, forwards, reads]
            .into_iter()
            .for_each(|spent| out.number(u64::from(spent)));
        self.history.fingerprint(&mut out);
        out.number(self.network.len() as u64);
        out
    }

    /// What counts of its nodes, and of the messages between them.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Fingerprint> + Clone {
        let nodes = self.nodes.iter().map(|node| &node.fingerprint);
        nodes.chain(self.network.iter().map(|envelope| &envelope.fingerprint))
    }

    /// What the outcome of an action makes of this state.
    fn change(&mut self, action: &Action, steps: &mut Steps) -> Result<(), Violation> {
        let outcome = &action.outcome;
        let changed = at(action.id);
        self.is_first = false;
        self.nodes[changed] = Arc::clone(&outcome.node);
        match action.place {
            Some(_) if action.leaves_copy => self.spent.copies += 1,
            Some(place) => self.network.remove(place),
            None => {}
        }
        match &action.cause {
            Cause::Crash { .. } => {
                self.spent.crashes += 1;
                Arc::make_mut(&mut self.history).forget_callers(action.id);
            }
            Cause::Propose(_) => self.spent.proposals += 1,
            Cause::Forward(_) => self.spent.forwards += 1,
            Cause::Elapse(Lapse::Heartbeat | Lapse::Question) => self.spent.heartbeats += 1,
            Cause::Read(token) => {
                self.spent.reads += 1;
                Arc::make_mut(&mut self.history).ask(*token, action.id);
            }
            Cause::Elapse(_) | Cause::Pass(_) | Cause::QuorumSilent | Cause::Receive { .. } | Cause::Flush => {}
        }
        for (place, envelope) in outcome.effects.sent.iter().enumerate() {
            if !action.loses(place) {
                self.network.add(Arc::clone(envelope));
            }
        }
        if let Some(violation) = &outcome.violation {
            return Err(violation.clone());
        }
        self.history.check(&self.nodes, changed)?;
        if self.history.has_news(&self.nodes, changed) {
            Arc::make_mut(&mut self.history).extend(&self.nodes, changed)?;
        }
        if !outcome.effects.answers.is_empty() {
            Arc::make_mut(&mut self.history).answer(&outcome.effects.answers)?;
        }
        self.model.as_mut().map_or(Ok(()), |model| steps.take(model, outcome))
    }

    /// Drops the messages that come too late. What is late is tried once: a node that does anything at it gets it.
    fn drop_late(&mut self) {
        let nodes = &self.nodes;
        self.network.retain(|envelope| {
            let receiver = &nodes[at(envelope.to)];
            !is_late(envelope, receiver) || !does_nothing(receiver, envelope)
        });
    }
}

impl TransitionSystem for Cluster {
    type State = State;
    type Packed = State;
    type Action = Action;
    type Violation = Violation;

    fn initial(&self) -> State {
        self.first.clone()
    }

    fn append_actions(&self, state: &State, actions: &mut Vec<Action>) {
        // All nodes are alike at first: whichever is the first to do something is called node 1.
        let nodes = state.nodes.iter().take(if state.is_first { 1 } else { usize::MAX });
        for node in nodes {
            for cause in self.causes(state, node) {
                self.append(state, node, None, cause, actions);
            }
            for (place, envelope) in state.network.different().filter(|(_, envelope)| envelope.to == node.id()) {
                for cause in arrivals(node, envelope) {
                    self.append(state, node, Some(place), cause, actions);
                }
            }
        }
    }

    fn step(&self, from: &State, action: &Action, next: &mut State) {
        next.clone_from(from);
        next.violation = next.change(action, &mut self.steps.borrow_mut()).err();
        if !self.bounds.keeps_late && next.violation.is_none() {
            next.drop_late();
        }
    }

    fn is_within(&self, state: &State) -> bool {
        let Bounds { term_max, log_max, messages_max, .. } = self.bounds;
        let fits = |node: &Arc<Node>| {
            node.engine.vote().term.0 <= u64::from(term_max) && node.log.len() <= usize::from(log_max)
        };
        state.network.len() <= usize::from(messages_max) && state.nodes.iter().all(fits)
    }

    fn key(&self, state: &State, key: &mut Vec<u8>) -> u64 {
        let past = state.past();
        Fingerprint::canonical([&past].into_iter().chain(state.parts()), key);
        1
    }

    fn check_step(&self, _: &State, next: &State) -> Result<(), Violation> {
        next.violation.clone().map_or(Ok(()), Err)
    }

    fn pack(&self, state: &State) -> State {
        state.clone()
    }

    fn unpack(&self, packed: &State, state: &mut State) {
        state.clone_from(packed);
    }

    fn describe(&self, from: &State, action: &Action) -> String {
        let traced = outcome(&from.nodes[at(action.id)], &action.cause, Effects::traced());
        traced.effects.trace.iter().flatten().fold(action.to_string(), |line, done| line + "\n     # " + done)
    }

    fn show(&self, state: &State) -> String {
        let mut text = String::new();
        for node in &state.nodes {
            let (vote, id) = (node.engine.vote(), node.id());
            let log: Vec<String> = node.log.iter().map(|entry| entry.id.to_string()).collect();
            let _ = writeln!(
                text,
                "node {id}: {} in term {}, voted for {}, log [{}], {} of it durable, commit {}; {} writes pending",
                node.engine.role_kind().name(),
                vote.term,
                vote.voted_for.map_or_else(|| "nobody".to_owned(), |it| it.to_string()),
                log.join(" "),
                node.engine.status().flushed,
                node.engine.commit_index(),
                node.pending(),
            );
        }
        state.network.iter().for_each(|envelope| {
            let _ = writeln!(text, "on its way: {envelope}");
        });
        text
    }
}
