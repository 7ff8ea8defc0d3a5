//! What a node is told, held against what it makes of it: whom it remembers, to whom it does not listen, and for how long it
//! leads.

use std::time::Duration;

use outrigger::engine::{
    Epoch, Event, Instant, LogId, LogIndex, LogTime, Message, NodeId, Peer, RoleKind, Round, Term,
};

use super::World;
use super::happening::Happening;
use crate::check::{LogClock, Office, Violation, office, require};
use crate::count::note;
use crate::look::Look;
use crate::node::Running;
use crate::plan::{MILLISECOND, Trouble};

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

#[cfg(test)]
mod tests {
    use outrigger::engine::{Command, Heartbeat, HeartbeatReply, Incarnation, PeerRefusal, Warrant, WriteId};

    use super::super::tests::{another, look, refusing, running, world_with};
    use super::*;
    use crate::check::Check;
    use crate::plan::SECOND;
    use crate::runtime::Effect;

    fn event(from: Peer, message: Message) -> Event {
        Event::Received { from, message: Some(message) }
    }

    /// A world in which a node that knows members follows one that leads, and that leader.
    fn following() -> (World, NodeId, Peer) {
        let (world, id) = world_with(|world, node, running| {
            let look = node.look().expect("it runs");
            let leader =
                look.leader.and_then(|leader| world.nodes.at(leader)).and_then(|leader| leader.running.as_ref());
            let bindings = running.driver.engine().membership().bindings();
            let is_wanted = |leader: &Running| {
                let is_bound =
                    |peer: Peer| bindings.get(&peer.node).is_some_and(|it| it.directory == peer.incarnation.id);
                let is_settled = |peer: Peer| bindings.get(&peer.node).is_some_and(|it| it.at.index <= look.commit);
                let (own, peer) = (running.runtime.me, leader.runtime.me);
                is_bound(own) && is_bound(peer) && is_settled(peer) && running.runtime.remembers(peer)
            };
            let judged = running.judged == Some(look);
            look.role == RoleKind::Follower && judged && leader.is_some_and(is_wanted)
        });
        let leader = look(&world, id).leader.expect("it follows somebody");
        let leader = world.nodes.at(leader).and_then(|node| node.running.as_ref()).expect("it runs").runtime.me;
        (world, id, leader)
    }

    #[test]
    fn who_is_heard_and_not_remembered_or_not_the_one_that_is_bound_is_noticed() {
        let (mut world, id, leader) = following();
        let look = look(&world, id);
        let heard =
            |world: &mut World, from: Peer, word| refusing(is_heard_rightly(running(world, id), &look, from, word));
        let leader = Peer { bound: None, ..leader };
        assert_eq!(heard(&mut world, leader, Word::NONE), None);
        let later = Peer { incarnation: Incarnation { start: 1_000, ..leader.incarnation }, ..leader };
        assert_eq!(heard(&mut world, later, Word::NONE), Some(Check::Acquaintance), "it is not written down");
        let behind = LogId { index: look.membership_at.index.next(), ..look.membership_at };
        assert_eq!(heard(&mut world, Peer { bound: Some(behind), ..later }, Word::NONE), None, "the node is behind");
        let other = Peer { incarnation: Incarnation { id: 99, start: 1, nonce: 1 }, ..leader };
        running(&mut world, id).runtime.durable.write(&Command::SavePeer { write: WriteId(1), peer: other });
        assert_eq!(heard(&mut world, other, Word::NONE), Some(Check::Acquaintance), "another one is bound");
        assert_eq!(heard(&mut world, Peer { bound: Some(behind), ..other }, Word::NONE), None, "the node is behind");
        let refused = Effect::RefusePeer(other, PeerRefusal::NotMember);
        running(&mut world, id).runtime.effects.push(refused);
        assert_eq!(heard(&mut world, other, Word::NONE), None, "it is not heard");
    }

    #[test]
    fn a_leader_is_not_behind_what_does_not_depose_it() {
        let (mut world, id, leader) = following();
        let mut leads = look(&world, id);
        leads.role = RoleKind::Leader;
        let before = running(&mut world, id).judged.replace(leads);
        assert!(before.is_some());
        let later = Some(LogId { index: leads.membership_at.index.next(), ..leads.membership_at });
        let from = Peer { incarnation: Incarnation { id: 99, start: 1, nonce: 1 }, bound: later, ..leader };
        let mut heard = |word| refusing(is_heard_rightly(running(&mut world, id), &leads, from, word));
        let named = |term| Word { is_greeting: false, named: Some(term), ..Word::NONE };
        assert_eq!(heard(Word::NONE), None, "a greeting");
        assert_eq!(heard(named(Term(leads.term.0 + 1))), None);
        assert_eq!(heard(named(leads.term)), Some(Check::Acquaintance), "it has what is committed");
    }

    #[test]
    fn a_later_term_that_is_heard_and_not_adopted_is_noticed() {
        let (mut world, id, leader) = following();
        let look = look(&world, id);
        let later = Term(look.term.0 + 1);
        let mut judge = |message| {
            let occasion = Occasion::of(&event(Peer { bound: None, ..leader }, message));
            let own = world.time_at(id);
            refusing(world.judge_occasion(id, &look, occasion, own))
        };
        assert_eq!(judge(Message::Committed { term: look.term, commit: look.commit }), None);
        assert_eq!(judge(Message::Committed { term: later, commit: look.commit }), Some(Check::TermAdoption));
        let request = outrigger::engine::VoteRequest { term: later, last: look.last, warrant: Warrant::None };
        assert_eq!(judge(Message::RequestVote(request)), None, "who asks for a vote need not be heard");
        assert_eq!(judge(Message::PreVote(request)), None, "nobody is in that term");
    }

    #[test]
    fn a_node_that_campaigns_and_is_not_the_one_that_is_bound_or_has_a_disk_that_hangs_is_noticed() {
        let (mut world, id, _) = following();
        let (own, campaigns) = (world.time_at(id), Look { role: RoleKind::Candidate, ..look(&world, id) });
        let judge = |world: &mut World, before: Look, occasion| {
            running(world, id).judged = Some(before);
            refusing(world.judge_occasion(id, &campaigns, occasion, own))
        };
        assert_eq!(judge(&mut world, Look { role: RoleKind::Follower, ..campaigns }, Occasion::Other), None);
        running(&mut world, id).runtime.me.incarnation.id ^= 1;
        let earlier = Look { term: Term(campaigns.term.0 - 1), ..campaigns };
        assert_eq!(judge(&mut world, earlier, Occasion::Other), Some(Check::Acquaintance), "it campaigns again");
        assert_eq!(judge(&mut world, campaigns, Occasion::Other), None, "it goes on");
        running(&mut world, id).runtime.me.incarnation.id ^= 1;
        world.now += 600 * SECOND;
        running(&mut world, id).flush_began = Some(world.now - 500 * SECOND);
        assert_eq!(judge(&mut world, earlier, Occasion::Look), Some(Check::Candidacy));
        assert_eq!(judge(&mut world, earlier, Occasion::Other), None, "somebody wants it to");
        world.nodes.at_mut(id).expect("it is there").disturbed_at = world.now;
        assert_eq!(judge(&mut world, earlier, Occasion::Look), None, "it has slept");
    }

    #[test]
    fn who_asks_for_a_vote_and_is_not_heard_needs_nobody_to_campaign() {
        let (world, id, leader) = following();
        let look = look(&world, id);
        let request = outrigger::engine::VoteRequest { term: look.term, last: LogId::ZERO, warrant: Warrant::None };
        let occasion = Occasion::of(&event(leader, Message::PreVote(request)));
        assert_eq!(refusing(is_needed(&look, occasion, true)), None);
        assert_eq!(refusing(is_needed(&look, occasion, false)), Some(Check::Candidacy));
    }

    #[test]
    fn what_waits_for_a_node_and_what_a_flush_lets_go_is_held_against_the_limits() {
        let (mut world, id, leader) = following();
        let (own, now) = (world.time_at(id), look(&world, id));
        let limit = world.plan.limits.forwards_max;
        let reply = HeartbeatReply {
            term: now.term,
            asked: now.term,
            round: Round(1),
            received: LogIndex(0),
            matched: LogIndex(0),
        };
        let answers = (0..9).map(|_| Effect::Send(leader.node, Message::HeartbeatReply(reply)));
        running(&mut world, id).runtime.effects.extend(answers);
        let judge = |world: &mut World, occasion| refusing(world.judge_occasion(id, &now, occasion, own));
        assert_eq!(judge(&mut world, Occasion::Other), None);
        assert_eq!(judge(&mut world, Occasion::Flush), Some(Check::Limits));
        let questions = (0..=limit as u64).map(|number| {
            let (request, proof) = (outrigger::engine::RequestId(number), outrigger::engine::Proof::Round);
            event(leader, Message::ReadIndex { term: now.term, request, proof })
        });
        questions.for_each(|question| running(&mut world, id).runtime.hear(&question));
        assert_eq!(judge(&mut world, Occasion::Other), Some(Check::Limits));
    }

    /// A world in which a node leads others that remember it, its office known, and one of those.
    fn leading(is_wanted: impl Fn(&World, &Running) -> bool) -> (World, NodeId, Peer) {
        let (world, id) = world_with(|world, node, running| {
            let (look, engine) = (node.look().expect("it runs"), running.driver.engine());
            let other = world.nodes.iter().find(|other| other.id != node.id && other.disguise().is_none());
            let other = other.and_then(|other| other.running.as_ref()).map(|other| other.runtime.me);
            let is_idle = |other: Peer| {
                let is_member = engine.membership().nodes().contains_key(&other.node);
                is_member && running.runtime.remembers(other) && !running.runtime.is_sending_to(other.node)
            };
            let votes = engine.membership().voters().len() > 1 && engine.membership().is_voter(node.id);
            look.leads() && votes && running.office.is_some() && other.is_some_and(is_idle) && is_wanted(world, running)
        });
        let other = another(&world, id);
        (world, id, Peer { bound: None, ..other })
    }

    #[test]
    fn a_leader_that_nobody_has_answered_for_long_is_noticed_when_it_looks() {
        let (mut world, id, _) = leading(|_, _| true);
        let (own, now) = (world.time_at(id), look(&world, id));
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Look, own)), None);
        let later = own + Duration::from_secs(3_600);
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Other, later)), None);
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Look, later)), Some(Check::Office));
    }

    #[test]
    fn a_leader_that_takes_in_more_than_it_may_is_noticed() {
        let (mut world, id, other) = leading(|_, running| running.driver.engine().commit_index().0 > 5);
        let (own, now) = (world.time_at(id), look(&world, id));
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Other, own)), None);
        let mut config = world.plan.engine(other, 1);
        config.limits.uncommitted_entries_max = 0;
        world.terms = office::Terms::new(config);
        let (at, before) = (now.membership_at, LogIndex(0));
        let engine = running(&mut world, id).driver.engine();
        let office = Office::begin(now.term, before, engine.membership(), at, own);
        running(&mut world, id).office = Some(office);
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Other, own)), None, "all came at once");
        let last = LogId { index: now.last.index.next(), ..now.last };
        let grown = Look { last, applied: LogIndex(0), ..now };
        assert_eq!(refusing(world.judge_occasion(id, &grown, Occasion::Other, own)), Some(Check::Limits));
    }

    /// Which check refuses that a follower has answered so many heartbeats of a leader whose log goes on.
    fn answered(world: &mut World, id: NodeId, from: Peer, rounds: std::ops::Range<u64>) -> Option<Check> {
        let (own, now) = (world.time_at(id), look(world, id));
        let last = LogId { index: LogIndex(now.last.index.0 + 9), ..now.last };
        rounds.map(Round).find_map(|round| {
            let (term, none) = (now.term, LogIndex(0));
            let reply = HeartbeatReply { term, asked: term, round, received: none, matched: none };
            let occasion = Occasion::of(&event(from, Message::HeartbeatReply(reply)));
            running(world, id).office.as_mut().expect("it leads").turns_to(NodeId(0));
            let judged = world.judge_occasion(id, &Look { last, membership_at: last, ..now }, occasion, own);
            refusing(judged)
        })
    }

    #[test]
    fn a_follower_that_answers_and_is_sent_nothing_is_noticed_whatever_else_left_before() {
        let (mut world, id, other) = leading(|_, running| running.driver.engine().purged() == LogId::ZERO);
        let term = look(&world, id).term;
        let heartbeat = |round| {
            let (pledge, commit) = (Duration::ZERO, LogIndex(0));
            Message::Heartbeat(Heartbeat { term, round: Round(round), commit, pledge })
        };
        assert_eq!(refusing(world.judge_request(id, other.node, &heartbeat(1_000))), None);
        running(&mut world, id).office.as_mut().expect("it leads").turns_to(other.node);
        assert_eq!(answered(&mut world, id, other, 900..1_001), None, "they left before it was sent something");
        assert_eq!(answered(&mut world, id, other, 1_001..1_010), Some(Check::Replication));
    }

    #[test]
    fn a_piece_of_a_snapshot_that_is_too_large_is_noticed() {
        let (mut world, id, other) = leading(|_, _| true);
        let term = look(&world, id).term;
        let bytes = world.plan.limits.snapshot_chunk_bytes_max;
        let mut judge = |bytes| {
            let piece = super::super::tests::step::piece(id, 5, 1);
            let piece = outrigger::engine::InstallSnapshot { term, chunk: vec![0; bytes].into(), ..piece };
            refusing(world.judge_request(id, other.node, &Message::InstallSnapshot(piece)))
        };
        assert_eq!((judge(bytes), judge(bytes + 1)), (None, Some(Check::Limits)));
    }

    #[test]
    fn an_office_follows_the_members_and_gives_new_ones_time() {
        let (mut world, id, _) = leading(|world, _| world.plan.spares > 0);
        let (own, now) = (world.time_at(id), look(&world, id));
        let others = outrigger::engine::Membership::new([7, 8, 9].map(|id| (NodeId(id), Default::default())), []);
        let office = Office::begin(now.term, LogIndex(0), &others, LogId::new(0, 1 << 20), own);
        running(&mut world, id).office = Some(office);
        let later = own + Duration::from_secs(3_600);
        assert_eq!(refusing(world.judge_occasion(id, &now, Occasion::Look, later)), None, "others vote since");
    }
}
