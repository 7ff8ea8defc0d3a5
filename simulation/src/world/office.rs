//! What a node is told, held against what it makes of it: whom it remembers, to whom it does not listen, and for how long it
//! leads.

use std::time::Duration;

use outrigger::engine::{
    Engine, Epoch, Event, Incarnation, Instant, LogId, LogIndex, LogTime, Message, NodeId, Peer, RoleKind, Round, Term,
};
use outrigger::network::Local;

use super::World;
use super::happening::Happening;
use crate::check::{LogClock, Office, Violation, office, require};
use crate::count::note;
use crate::look::Look;
use crate::network::is_let_in;
use crate::node::{CLUSTER, Running};
use crate::plan::{MILLISECOND, Trouble};
use crate::runtime::Effect;

/// What a step was taken for, as far as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Occasion {
    /// A look at the time.
    Look,
    /// A flush has ended.
    Flush,
    /// Somebody wants the leader to lead no more.
    StepDown,
    /// A word of another node.
    Word(Peer, Word),
    /// Anything else.
    Other,
}

/// What a message says, as far as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// A term that somebody is in. One who asks for a vote may not be heard, and a pre-vote is of a term that nobody is in.
    term: Option<Term>,
    /// The term that it names, whoever is in that; `None` if it names none.
    named: Option<Term>,
    /// Whether it says nothing: somebody has connected, or refuses.
    is_greeting: bool,
    /// The term of the leader whom it answers, with the stream of the request.
    answers: Option<(Term, Option<Epoch>)>,
    /// Which of its leader's heartbeats it answers, and how far the follower has its log.
    beat: Option<(Round, LogIndex)>,
    /// The last entry of who asks for a vote or a pre-vote.
    asks_with: Option<LogId>,
}

impl Word {
    const NONE: Self = Self { term: None, named: None, is_greeting: true, answers: None, beat: None, asks_with: None };

    fn of(message: &Message) -> Self {
        let asks_with = match message {
            Message::PreVote(request) | Message::RequestVote(request) => Some(request.last),
            _ => None,
        };
        let beat = match message {
            Message::HeartbeatReply(reply) => Some((reply.round, reply.received)),
            _ => None,
        };
        let (named, answers) = (message.term(), office::answered(message));
        Self { term: named.filter(|_| asks_with.is_none()), named, is_greeting: false, answers, beat, asks_with }
    }
}

/// Whether a node wants to be elected.
const fn is_campaign(look: &Look) -> bool {
    matches!(look.role, RoleKind::PreCandidate | RoleKind::Candidate)
}

impl Occasion {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Timeout => Self::Look,
            Event::LogFlushed { .. } => Self::Flush,
            Event::StepDown { .. } => Self::StepDown,
            Event::Received { from, message } => Self::Word(*from, message.as_ref().map_or(Word::NONE, Word::of)),
            Event::Refused { by, .. } => Self::Word(*by, Word::NONE),
            _ => Self::Other,
        }
    }
}

impl World {
    /// Holds what a step has made of its occasion against what must come of it.
    pub(super) fn judge_occasion(
        &mut self,
        id: NodeId,
        look: &Look,
        occasion: Occasion,
        own: Instant,
    ) -> Result<(), Violation> {
        let changes_members = self.changes_members();
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        let (disturbed, has_decayed, now) = (node.disturbed_at, node.has_decayed(), self.now);
        let Some(running) = &mut node.running else { return Ok(()) };
        let runtime = &running.runtime;
        if let Some(waiting) = &runtime.waiting {
            waiting.check(id, &self.plan.limits, runtime.has_room())?;
        }
        if matches!(occasion, Occasion::Flush) {
            office::answers_after_flush(id, &runtime.effects, runtime.votes_flushed)?;
        }
        let is_heard = match occasion {
            Occasion::Word(from, word) if look.role != RoleKind::Halted => is_heard_rightly(running, look, from, word)?,
            _ => false,
        };
        // It may have slept, and seen nothing of what its disk did meanwhile.
        let is_excused = disturbed + self.terms.pardon() > now || look.role == RoleKind::Halted;
        let began = running.flush_began;
        let hangs = || Duration::from_nanos(began.map_or(0, |began| now - began));
        let campaigned = |before: &Look| is_campaign(before) && before.term == look.term;
        if is_campaign(look) && !running.judged.as_ref().is_some_and(campaigned) {
            campaigns_rightly(running, id)?;
            let was_asking = running.judged.is_some_and(|before| before.role == RoleKind::PreCandidate);
            let may_vote = || self.members.may_need(id, &running.runtime.accepted, look.commit);
            if changes_members && !was_asking && !may_vote() {
                is_needed(look, occasion, is_heard)?;
                running.needed_since = Some(own);
            }
            if matches!(occasion, Occasion::Look) && !is_excused {
                office::campaigns(id, &self.terms, hangs())?;
            }
        }
        if let Some(since) = running.needed_since.take_if(|_| !is_campaign(look) || matches!(occasion, Occasion::Look))
        {
            ends_once(look, own.since(since), &self.terms)?;
            running.needed_since = is_campaign(look).then_some(since);
        }
        let office = running.office.take_if(|office| !look.leads() || look.term != office.term());
        let is_told_to = matches!(occasion, Occasion::StepDown) || !running.driver.engine().membership().is_voter(id);
        if let Some(office) = office.filter(|office| !is_told_to && office.term() == look.term) {
            let hangs = if is_excused { Duration::from_nanos(u64::MAX) } else { hangs() };
            office.gives_up(id, &self.terms, own, hangs)?;
        }
        if !look.leads() {
            return Ok(());
        }
        let (engine, at) = (running.driver.engine(), look.membership_at);
        let is_new = running.office.is_none();
        let office = running.office.get_or_insert_with(|| {
            let before = running.runtime.accepted.before(look.term);
            Office::begin(look.term, before, engine.membership(), at, own)
        });
        if is_new || self.plan.spares > 0 || self.plan.upgrade_every > 0 {
            office.follow(engine.membership(), at, || engine.matched().map(|(other, _)| other), own);
        }
        office.takes_in(look, &self.terms, |before| running.runtime.in_hand(look.applied, before))?;
        match occasion {
            Occasion::Look => office.goes_on(id, &self.terms, own),
            Occasion::Word(from, Word { answers: Some(answers), beat, .. })
                if is_heard && !beat.is_some_and(|(round, _)| office.is_late(from.node, round)) =>
            {
                office.hear(from.node, answers, own);
                let is_idle = answers.0 == look.term && !running.runtime.is_sending_to(from.node);
                let Some(beat) = beat.filter(|_| is_idle) else { return Ok(()) };
                let matched = engine.matched().find(|(node, _)| *node == from.node).map(|(_, matched)| matched);
                // What only a snapshot holds waits for the one that takes the place of a rotten one.
                let waits = |matched: &LogIndex| has_decayed && *matched < engine.purged().index;
                let matched = matched.filter(|matched| !waits(matched));
                matched.map_or(Ok(()), |matched| office.serves(look, from.node, beat, matched))
            }
            _ => Ok(()),
        }
    }

    /// Holds the log time of what a leader has appended against its clock.
    pub(super) fn judge_log_time(&mut self, look: &Look, own: Instant) -> Result<(), Violation> {
        let itself = self.nodes.at_mut(look.node).filter(|node| node.disguise().is_none());
        let Some(running) = itself.and_then(|node| node.running.as_mut()) else { return Ok(()) };
        let entries = &running.runtime.accepted.0;
        if look.leads() {
            let (known, new) = entries.split_at(running.runtime.checked);
            let before = known.last().map_or(LogTime(0), |last| last.log_time);
            return running.log_clock.judge(look.node, before, new, own);
        }
        if running.judged.is_some_and(|before| before.last != look.last) {
            running.log_clock = LogClock(entries.last().map_or(LogTime(0), |last| last.log_time), own);
        }
        Ok(())
    }

    /// Counts the pieces of snapshots that followers send.
    pub(super) fn count_delegated(&mut self, from: NodeId, message: &Message) {
        if matches!(message, Message::InstallSnapshot(piece) if piece.leader != from) {
            note(&mut self.faults, "piece of a snapshot sent by a follower");
        }
    }

    /// Holds a request that leaves against the limits.
    pub(super) fn judge_request(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        if let Message::InstallSnapshot(piece) = message {
            office::sends_piece(from, to, piece, &self.terms)?;
        }
        let office = self.nodes.at_mut(from).and_then(|node| node.running.as_mut()?.office.as_mut());
        match (office, message) {
            (Some(office), Message::AppendEntries(append)) => office.sends(from, to, append, &self.terms),
            (Some(office), Message::Heartbeat(heartbeat)) => {
                office.beats(heartbeat.term, heartbeat.round);
                Ok(())
            }
            (Some(office), Message::InstallSnapshot(piece)) => {
                office.brings(to, piece.term, piece.epoch);
                Ok(())
            }
            (Some(office), Message::DelegateSnapshot(order)) => {
                office.brings(order.target, order.term, order.epoch);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// At times somebody who is no member says what was just said, or the node's own name speaks to it, or to a leader another directory
    /// than the one that is bound: it must change nothing.
    pub(super) fn speak_strangely(
        &mut self,
        id: NodeId,
        said_by: NodeId,
        message: Option<&Message>,
    ) -> Result<(), Violation> {
        let odds = self.plan.odds(Trouble::Strangers);
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        if !node.rng.chance(odds) {
            return Ok(());
        }
        let (own, now, nodes) = (node.clock.at(self.now), Instant(self.now), self.plan.nodes + self.plan.spares);
        let (is_namesake, incarnation) =
            (node.rng.chance(200_000), Incarnation { id: node.rng.next(), ..Incarnation::default() });
        let Some(running) = &mut node.running else { return Ok(()) };
        // Who does not know the members yet listens to anybody.
        if running.runtime.accepted.0.is_empty() {
            return Ok(());
        }
        let impostor = impostor(running.driver.engine(), said_by, message, incarnation).filter(|_| !is_namesake);
        // A node that missed how the members changed cannot know who leads, or who needs its vote.
        let may_be_unknown = matches!(
            message,
            None | Some(
                Message::AppendEntries(_)
                    | Message::InstallSnapshot(_)
                    | Message::DelegateSnapshot(_)
                    | Message::Heartbeat(_)
                    | Message::Committed { .. }
                    | Message::TimeoutNow { .. }
                    | Message::HashState { .. }
                    | Message::StateDiffers { .. }
                    | Message::PreVote(_)
                    | Message::RequestVote(_)
            )
        );
        if may_be_unknown && !is_namesake && impostor.is_none() {
            return Ok(());
        }
        // A leader may be about to take a step of a change, or to bind whom it knows, because time has passed, whoever speaks.
        let membership = running.driver.engine().membership();
        if membership.goal().is_some() || membership.bindings().len() < membership.nodes().len() {
            return Ok(());
        }
        note(&mut self.faults, "stranger refused");
        call_strangely(running.runtime.me, NodeId(1 + id.0 % nodes), incarnation)?;
        let stranger = Peer::new(if is_namesake { id } else { NodeId(nodes + 1) }, incarnation);
        let from = impostor.unwrap_or(stranger);
        let event = Event::Received { from, message: message.cloned() };
        let (before, due, effects) =
            (Look::at(id, running.driver.engine()), running.driver.poll_timeout(), running.runtime.effects.len());
        running.runtime.now = now;
        running.runtime.trace.note(now, id, '>', &event);
        if let Some(waiting) = &mut running.runtime.waiting {
            waiting.begins(&event);
        }
        running.driver.step(event, own, &mut running.runtime);
        let same = Look::at(id, running.driver.engine()) == before && running.driver.poll_timeout() == due;
        let answers: Vec<Effect> = running.runtime.effects.drain(effects..).collect();
        running.runtime.notes.clear();
        let is_refused =
            before.role == RoleKind::Halted || matches!(&answers[..], [Effect::RefusePeer(peer, _)] if *peer == from);
        let does = if is_refused { "refuses it, and is not as it was before" } else { "does not refuse it" };
        require!(same && is_refused, Acquaintance, "node {id} listens to {from}, who is no member: it {does}");
        Ok(())
    }

    /// At times what has ended is told once more, when other things have ended since.
    pub(super) fn echo(&mut self, id: NodeId, life: u64, event: &Event) {
        let odds = self.plan.odds(Trouble::Echoes);
        let Some(node) = self.nodes.at_mut(id) else { return };
        if !node.rng.chance(odds) {
            return;
        }
        note(&mut node.faults, "completion told twice");
        let delay = node.rng.below(40 * MILLISECOND);
        self.trace.tell(self.now, Some(id), || format!("will be told again in {} ms: {event}", delay / MILLISECOND));
        self.after(delay, Happening::Request { node: id, life, event: Box::new(event.clone()) });
    }
}

/// Whether the node listens to who speaks; and whether it should, and remembers it.
fn is_heard_rightly(running: &Running, look: &Look, from: Peer, word: Word) -> Result<bool, Violation> {
    if !running.runtime.has_listened() {
        return Ok(false);
    }
    let id = look.node;
    let membership = running.driver.engine().membership();
    let binding = membership.bindings().get(&from.node);
    // The greeting of somebody who is no member says nothing.
    let is_member = || membership.nodes().contains_key(&from.node);
    // Who is heard as this node is behind, or as what shuts it out may be truncated, is not remembered before that is settled.
    let is_behind = || {
        let before = running.judged.unwrap_or(*look);
        let is_settled = binding.is_none_or(|binding| binding.at.index <= before.commit);
        let at = before.membership_at.min(look.membership_at);
        let is_later = from.bound.is_some_and(|claim| claim > at);
        if before.leads() {
            // What is committed a leader has, and nothing of what it has written goes, but by a later term.
            is_later && (word.is_greeting || word.named > Some(before.term))
        } else {
            is_later || (from.bound.is_some() && !is_settled)
        }
    };
    let remembers = running.runtime.remembers(from) || !is_member() || is_behind();
    require!(remembers, Acquaintance, "node {id} listens to {from} and does not write down that it does");
    let bound = binding.map(|binding| binding.directory);
    let is_bound = bound.is_none_or(|directory| directory == from.incarnation.id);
    require!(
        is_bound || is_behind(),
        Acquaintance,
        "node {id} listens to {from}, whose id is bound to the directory {:016x}",
        bound.unwrap_or_default()
    );
    // Raft paper, section 5.1.
    let told = word.term.unwrap_or(look.term);
    require!(told <= look.term, TermAdoption, "node {id} hears of term {told}, and stays in {}", look.term);
    Ok(true)
}

/// Who knows that its id is bound to another directory has not what that one has acknowledged, and asks nobody for a vote.
fn campaigns_rightly(running: &Running, id: NodeId) -> Result<(), Violation> {
    let (membership, own) = (running.driver.engine().membership(), running.runtime.me.incarnation.id);
    let bound = membership.bindings().get(&id).map_or(own, |binding| binding.directory);
    require!(bound == own, Acquaintance, "node {id} campaigns, whose id is bound to the directory {bound:016x}");
    Ok(())
}

/// Who is no voter campaigns only when somebody needs its vote and lacks what it has: maybe nobody else can be elected
/// (thesis, section 4.2.2).
fn is_needed(look: &Look, occasion: Occasion, is_heard: bool) -> Result<(), Violation> {
    let asks_with = match occasion {
        Occasion::Word(_, word) if is_heard => word.asks_with,
        Occasion::Word(..) | Occasion::Look | Occasion::Flush | Occasion::StepDown | Occasion::Other => None,
    };
    let (id, last) = (look.node, look.last);
    require!(
        asks_with.is_some_and(|theirs| theirs < last),
        Candidacy,
        "node {id} campaigns, which no membership lets vote, and nobody needs it to: its log ends with {last}, and {}",
        asks_with.map_or_else(|| "nobody has asked it for a vote".to_owned(), |it| format!("who asks it has {it}"))
    );
    Ok(())
}

/// Who is no voter asks for votes once, and then once more in the next term, and waits for no time any more.
fn ends_once(look: &Look, lasts: Duration, terms: &office::Terms) -> Result<(), Violation> {
    let (id, is_over) = (look.node, !is_campaign(look) || lasts <= terms.election_timeouts().1 * 4);
    require!(
        is_over,
        Candidacy,
        "node {id} is no voter, and has campaigned for {lasts:?}, with nobody who needs it to"
    );
    Ok(())
}

/// Another directory than the one that is bound to the speaker's id, half of the times that it might say this to a leader. Whatever entry
/// it claims to be bound by, no leader lacks it, but for one that a later term has deposed.
fn impostor(engine: &Engine, said_by: NodeId, message: Option<&Message>, incarnation: Incarnation) -> Option<Peer> {
    let is_bound = engine.membership().bindings().contains_key(&said_by);
    let deposes = message.is_none_or(|message| message.term().is_some_and(|term| term > engine.vote().term));
    let may_be = engine.role_kind() == RoleKind::Leader && is_bound && !deposes && incarnation.id.is_multiple_of(2);
    let claim = LogId { term: engine.vote().term, index: engine.last_log_id().index.next() };
    may_be.then(|| Peer::new(said_by, incarnation).claiming(Some(claim)))
}

/// Somebody calls a node and says one thing that does not fit: the handshake must not let it in.
fn call_strangely(me: Peer, caller: NodeId, incarnation: Incarnation) -> Result<(), Violation> {
    let fits = |peer| Local { cluster: CLUSTER, peer, genesis: 1, client_address: None, peer_address: None };
    let (local, call) = (fits(me), fits(Peer::new(caller, incarnation)));
    let calls = [
        ("is of another cluster", Local { cluster: CLUSTER + 1, ..call.clone() }, me.node),
        ("began with other members", Local { genesis: 2, ..call.clone() }, me.node),
        ("calls another node", call.clone(), NodeId(me.node.0 + 1)),
        ("has the same id", Local { peer: Peer::new(me.node, incarnation), ..call.clone() }, me.node),
    ];
    // A cluster of one node has nobody who could call it.
    let lets_in = caller == me.node || is_let_in(&local, &call, me.node);
    require!(lets_in, Acquaintance, "node {} does not let {caller} in, which says all that it must", me.node);
    for (what, call, target) in calls {
        let lets_in = is_let_in(&local, &call, target);
        require!(!lets_in, Acquaintance, "node {} lets {} in, which {what}", me.node, call.peer);
    }
    Ok(())
}
