//! Somebody who has wishes, mostly about who leads: in some worlds leadership is handed over, elections are held by hand, priorities
//! change, snapshots are taken and logs purged.
//!
//! ```text
//!   every now and then ──► the leader, or anybody ──► hand over, campaign, step down, forget, .. ──► done or not
//!                                                                                      │
//!                                     who was told that a node leads must find that it did, in that term
//! ```

use std::collections::BTreeMap;

use outrigger::engine::{Engine, Event, LogId, Message, NodeId, NotElected, NotTransferred, Term, Token, Transferred};

use super::World;
use super::happening::Happening;
use crate::check::{Violation, may_take_over, require};
use crate::count::note;
use crate::look::Look;
use crate::node::{Nodes, Running};
use crate::runtime::Effect;

/// Tokens from here on are those of wishes; no steward comes that far.
const FIRST_TOKEN: u64 = 1 << 61;

/// What came of a wish.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fulfilment {
    Transferred(Result<Transferred, NotTransferred>),
    Elected(Result<Term, NotElected>),
    Snapshot(LogId),
    Purged(LogId),
    Done,
    Refused,
}

/// What was wished for and not answered.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Who was to lead, by the token of who asked; `None` for anybody, and for other wishes.
    asked: BTreeMap<Token, Option<NodeId>>,
    count: u64,
    /// Which node in which of its lives owes an answer to whom, about leaders or members.
    owed: BTreeMap<Token, (NodeId, u64)>,
}

impl Wishes {
    /// A wish has reached a node.
    pub(super) fn reach(&mut self, node: NodeId, life: u64, event: &Event) {
        if let Event::TransferLeadership { token, .. }
        | Event::Elect { token, .. }
        | Event::StepDown { token }
        | Event::ForgetLeader { token }
        | Event::SetPriority { token, .. }
        | Event::TakeSnapshot { token }
        | Event::Purge { token, .. }
        | Event::ChangeMembers { token, .. } = event
        {
            self.owed.insert(*token, (node, life));
        }
    }

    /// Whoever had a wish is answered, once.
    pub(super) fn answered(&mut self, from: NodeId, token: Token) -> Result<(), Violation> {
        let was_owed = self.owed.remove(&token).is_some();
        require!(was_owed, Answers, "node {from} answers somebody a second time who had a wish, #{token}");
        Ok(())
    }

    /// In the end nothing is owed but by those that have died meanwhile.
    pub(super) fn all_answered(&self, nodes: &Nodes) -> Result<(), Violation> {
        let lives = |node: NodeId, life: u64| nodes.at(node).is_some_and(|it| it.life == life && it.running.is_some());
        let owes = self.owed.iter().find(|(_, (node, life))| lives(*node, *life));
        let Some((token, (node, _))) = owes else { return Ok(()) };
        require!(
            false,
            Answers,
            "node {node} has never answered somebody who had a wish about leaders or members, #{token}"
        );
        Ok(())
    }
}

/// Whether a token is that of a wish about who leads.
pub(crate) const fn is_wish(token: Token) -> bool {
    token.0 >= FIRST_TOKEN
}

impl World {
    pub(super) fn schedule_wish(&mut self) {
        let every = self.plan.wish_every;
        if every > 0 {
            let delay = self.rng.between(every / 4, every * 2);
            self.after(delay, Happening::Wish);
        }
    }

    /// Somebody wants another leader, or something else of a node.
    pub(super) fn wish(&mut self) {
        if self.is_calm() {
            return;
        }
        self.schedule_wish();
        let alive: Vec<NodeId> = self.nodes.iter().filter(|node| node.running.is_some()).map(|node| node.id).collect();
        if alive.is_empty() {
            return;
        }
        let any = *self.rng.pick(&alive);
        let leader = self.present_leader().filter(|leader| alive.contains(leader)).unwrap_or(any);
        let all: Vec<NodeId> = self.plan.node_ids().collect();
        self.wishes.count += 1;
        let token = Token(FIRST_TOKEN + self.wishes.count);
        let (what, node, event, heir) = match self.rng.below(13) {
            0..=3 => {
                let to = *self.rng.pick(&all);
                let event = Event::TransferLeadership { token, to: Some(to) };
                ("leadership to hand over", leader, event, Some(to))
            }
            4 | 5 => ("leadership to hand over", leader, Event::TransferLeadership { token, to: None }, None),
            6 => ("election wanted", any, Event::Elect { token, pre_vote: true }, Some(any)),
            7 => ("election wanted", any, Event::Elect { token, pre_vote: false }, Some(any)),
            8 => ("leader told to step down", leader, Event::StepDown { token }, None),
            9 => ("leader to be forgotten", any, Event::ForgetLeader { token }, None),
            10 => {
                let priority = *self.rng.pick(&[0, 100, u8::MAX]);
                ("priority set", any, Event::SetPriority { token, priority }, None)
            }
            11 if self.plan.takes_snapshots() => ("snapshot wanted", any, Event::TakeSnapshot { token }, None),
            _ => {
                let keep_entries = self.rng.below(8);
                ("log to be purged", any, Event::Purge { token, keep_entries }, None)
            }
        };
        self.rot_at_times(any);
        note(&mut self.faults, what);
        self.wishes.asked.insert(token, heir);
        let life = self.nodes.at(node).map_or(0, |node| node.life);
        self.after(0, Happening::Request { node, life, event: Box::new(event) });
    }

    /// Where leaders hold leases, somebody wants a node to lead at times as soon as it has started: it has forgotten what it pledged.
    /// In users' worlds nobody has wishes.
    pub(super) fn wish_at_start(&mut self, id: NodeId) {
        let is_asked = self.plan.reads.is_some() && self.hosted.is_none() && !self.is_calm();
        if !is_asked || !self.rng.chance(200_000) {
            return;
        }
        self.wishes.count += 1;
        let token = Token(FIRST_TOKEN + self.wishes.count);
        note(&mut self.faults, "election wanted");
        self.wishes.asked.insert(token, Some(id));
        let life = self.nodes.at(id).map_or(0, |node| node.life);
        self.after(0, Happening::Request { node: id, life, event: Box::new(Event::Elect { token, pre_vote: false }) });
    }

    /// Whoever had a wish is told what has come of it.
    pub(super) fn told_of_wish(&mut self, from: NodeId, token: Token, outcome: Fulfilment) -> Result<(), Violation> {
        self.wishes.answered(from, token)?;
        let wanted = self.wishes.asked.remove(&token).flatten();
        let (what, leads) = match outcome {
            Fulfilment::Transferred(Ok(Transferred { leader, term })) => {
                ("leadership handed over", Some((leader, term)))
            }
            Fulfilment::Transferred(Err(_)) => ("leadership not handed over", None),
            Fulfilment::Elected(Ok(term)) => ("election won by hand", Some((from, term))),
            Fulfilment::Elected(Err(_)) => ("election lost by hand", None),
            Fulfilment::Snapshot(last) => {
                self.judge_log_of(
                    from,
                    |engine| engine.snapshot().index >= last.index,
                    "a snapshot covers all up to",
                    last,
                )?;
                ("snapshot taken by hand", None)
            }
            Fulfilment::Purged(through) => {
                self.judge_log_of(from, |engine| engine.purged() == through, "its log goes on behind", through)?;
                ("log purged by hand", None)
            }
            Fulfilment::Done => ("wish about the leader done", None),
            Fulfilment::Refused => ("wish about the leader refused", None),
        };
        note(&mut self.faults, what);
        let Some((leader, term)) = leads else { return Ok(()) };
        let led = self.judge.leader_of(term) == Some(leader);
        require!(led, Succession, "node {from} says that node {leader} leads in term {term}, which it never did");
        let is_wanted = wanted.is_none_or(|wanted| wanted == leader);
        require!(is_wanted, Succession, "node {from} says that node {leader} leads, and it was another that was to");
        Ok(())
    }

    /// What a node says about its snapshots and its log must be so.
    fn judge_log_of(
        &self,
        node: NodeId,
        holds: impl Fn(&Engine) -> bool,
        what: &str,
        at: LogId,
    ) -> Result<(), Violation> {
        let running = self.nodes.at(node).and_then(|node| node.running.as_ref());
        let is_so = running.is_none_or(|running| holds(running.driver.engine()));
        require!(is_so, Answers, "node {node} says that {what} {at}, which is not so");
        Ok(())
    }
}

/// What a node makes of a succession in this step.
pub(super) fn judge_succession(running: &Running, look: &Look) -> Result<bool, Violation> {
    let mut has_ended = false;
    for effect in &running.runtime.effects {
        match effect {
            Effect::Wish(_, Fulfilment::Transferred(_)) => has_ended = true,
            Effect::Send(heir, Message::TimeoutNow { .. }) => {
                let engine = running.driver.engine();
                let matched = engine.matched().find(|(node, _)| node == heir).map(|(_, matched)| matched);
                may_take_over(look, engine.membership().is_voter(look.node), *heir, matched)?;
            }
            _ => {}
        }
    }
    Ok(has_ended)
}
