//! Somebody who has wishes, mostly about who leads: in some worlds leadership is handed over, elections are held by hand, priorities
//! change, snapshots are taken and logs purged.
//!
//! ```text
//!   every now and then ──► the leader, or anybody ──► hand over, campaign, step down, forget, .. ──► done or not
//!                                                                                      │
//!                                     who was told that a node leads must find that it did, in that term
//! ```

use std::collections::BTreeMap;

use outrigger::engine::{
    Engine, Event, LogId, Message, NodeId, NotElected, NotTransferred, RoleKind, Term, Token, Transferred,
};

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

/// What was wished for, as far as what comes of it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// That this node leads.
    Leader(NodeId),
    /// That a leader leads no more.
    Retreat,
    /// That a node wants to lead so much.
    Priority(u8),
    /// Anything else.
    Other,
}

/// What somebody asks a node for, and what it is called where faults are counted.
#[derive(Debug)]
struct Wish {
    what: &'static str,
    node: NodeId,
    wanted: Wanted,
    event: Event,
}

/// What was wished for and not answered.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// What was wished for, by the token of who asked.
    asked: BTreeMap<Token, Wanted>,
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
        let token = self.wish_token();
        let (what, node, event, wanted) = match self.rng.below(13) {
            0..=3 => {
                let to = *self.rng.pick(&all);
                let event = Event::TransferLeadership { token, to: Some(to) };
                ("leadership to hand over", leader, event, Wanted::Leader(to))
            }
            4 | 5 => {
                let event = Event::TransferLeadership { token, to: None };
                ("leadership to hand over", leader, event, Wanted::Other)
            }
            6 => ("election wanted", any, Event::Elect { token, pre_vote: true }, Wanted::Leader(any)),
            7 => ("election wanted", any, Event::Elect { token, pre_vote: false }, Wanted::Leader(any)),
            8 => ("leader told to step down", leader, Event::StepDown { token }, Wanted::Retreat),
            9 => ("leader to be forgotten", any, Event::ForgetLeader { token }, Wanted::Other),
            10 => {
                let priority = *self.rng.pick(&[0, 100, u8::MAX]);
                ("priority set", any, Event::SetPriority { token, priority }, Wanted::Priority(priority))
            }
            11 if self.plan.takes_snapshots() => ("snapshot wanted", any, Event::TakeSnapshot { token }, Wanted::Other),
            _ => {
                let keep_entries = self.rng.below(8);
                ("log to be purged", any, Event::Purge { token, keep_entries }, Wanted::Other)
            }
        };
        self.rot_at_times(any);
        self.want(token, 0, Wish { what, node, wanted, event });
    }

    /// A token that nobody else has, for who has a wish.
    fn wish_token(&mut self) -> Token {
        self.wishes.count += 1;
        Token(FIRST_TOKEN + self.wishes.count)
    }

    /// A node is asked for something after a while, if it is still alive then.
    fn want(&mut self, token: Token, delay: u64, wish: Wish) {
        let Wish { what, node, wanted, event } = wish;
        note(&mut self.faults, what);
        self.wishes.asked.insert(token, wanted);
        let life = self.nodes.at(node).map_or(0, |node| node.life);
        self.after(delay, Happening::Request { node, life, event: Box::new(event) });
    }

    /// Where leaders hold leases, somebody wants a node to lead at times as soon as it has started: it has forgotten what it pledged.
    /// In users' worlds nobody has wishes.
    pub(super) fn wish_at_start(&mut self, id: NodeId) {
        let is_asked = self.plan.reads.is_some() && self.hosted.is_none() && !self.is_calm();
        if !is_asked || !self.rng.chance(200_000) {
            return;
        }
        let token = self.wish_token();
        let event = Event::Elect { token, pre_vote: false };
        self.want(token, 0, Wish { what: "election wanted", node: id, wanted: Wanted::Leader(id), event });
    }

    /// Whoever is cut off will find that the log begins behind what it has: its leader takes a snapshot meanwhile, and purges all.
    pub(super) fn schedule_tidying(&mut self, within: u64) {
        // Drawn beside: what else is drawn stays what it is.
        let mut rng = self.rng.clone().fork();
        if self.plan.takes_snapshots() && self.hosted.is_none() && rng.chance(500_000) {
            self.after(within - within / 8, Happening::Tidy);
        }
    }

    pub(super) fn tidy(&mut self) {
        let Some(leader) = self.present_leader().filter(|_| !self.is_calm()) else { return };
        let (node, wanted, token) = (leader, Wanted::Other, self.wish_token());
        let event = Event::TakeSnapshot { token };
        self.want(token, 0, Wish { what: "snapshot wanted", node, wanted, event });
        let token = self.wish_token();
        let event = Event::Purge { token, keep_entries: 0 };
        // It is kept by then, as a rule.
        let delay = (self.plan.apply.1 + self.plan.flush.1) * 3;
        self.want(token, delay, Wish { what: "log to be purged", node, wanted, event });
    }

    /// Whoever had a wish is told what has come of it.
    pub(super) fn told_of_wish(&mut self, from: NodeId, token: Token, outcome: Fulfilment) -> Result<(), Violation> {
        self.wishes.answered(from, token)?;
        let wanted = self.wishes.asked.remove(&token).unwrap_or(Wanted::Other);
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
            Fulfilment::Done => {
                self.judge_done(from, wanted)?;
                ("wish about the leader done", None)
            }
            Fulfilment::Refused => ("wish about the leader refused", None),
        };
        note(&mut self.faults, what);
        let Some((leader, term)) = leads else { return Ok(()) };
        let led = self.judge.leader_of(term) == Some(leader);
        require!(led, Succession, "node {from} says that node {leader} leads in term {term}, which it never did");
        let is_wanted = !matches!(wanted, Wanted::Leader(wanted) if wanted != leader);
        require!(is_wanted, Succession, "node {from} says that node {leader} leads, and it was another that was to");
        Ok(())
    }

    /// What a node says that it has done must be done.
    fn judge_done(&self, node: NodeId, wanted: Wanted) -> Result<(), Violation> {
        let running = self.nodes.at(node).and_then(|node| node.running.as_ref());
        let Some(engine) = running.map(|running| running.driver.engine()) else { return Ok(()) };
        let leads_on = wanted == Wanted::Retreat && engine.role_kind() == RoleKind::Leader;
        require!(!leads_on, Succession, "node {node} says that it leads no more, and does");
        let priority = engine.priority();
        let is_set = !matches!(wanted, Wanted::Priority(wanted) if wanted != priority);
        require!(is_set, Succession, "node {node} says that it has the priority that it was told, and has {priority}");
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

#[cfg(test)]
mod tests {
    use super::super::tests::{look, refusing, running, world_with};
    use super::*;
    use crate::check::Check;
    use crate::node::Node;
    use crate::plan::SECOND;

    const TOKEN: Token = Token(FIRST_TOKEN + 77);

    /// A node is told to step down, for whatever reason somebody has, and says that this has come of it.
    fn told(world: &mut World, id: NodeId, wanted: Wanted, outcome: Fulfilment) -> Option<Check> {
        let life = world.nodes.at(id).expect("it is there").life;
        world.wishes.reach(id, life, &Event::StepDown { token: TOKEN });
        world.wishes.asked.insert(TOKEN, wanted);
        refusing(world.told_of_wish(id, TOKEN, outcome))
    }

    /// A world in which a node leads, and has applied something.
    fn led_world() -> (World, NodeId) {
        world_with(|world, node, running| {
            let look = node.look().expect("it runs");
            let has_led = world.judge.leader_of(look.term) == Some(node.id);
            look.leads() && has_led && look.applied.0 > 5 && running.driver.engine().snapshot().index.0 > 2
        })
    }

    #[test]
    fn what_a_node_says_of_its_snapshots_and_its_log_and_is_not_so_is_noticed() {
        let (mut world, id) = led_world();
        let engine = running(&mut world, id).driver.engine();
        let (snapshot, purged) = (engine.snapshot(), engine.purged());
        let behind = |id: LogId| LogId { index: id.index.next(), ..id };
        let mut told = |outcome| told(&mut world, id, Wanted::Other, outcome);
        assert_eq!(told(Fulfilment::Snapshot(snapshot)), None);
        assert_eq!(told(Fulfilment::Snapshot(behind(snapshot))), Some(Check::Answers));
        assert_eq!(told(Fulfilment::Purged(purged)), None);
        assert_eq!(told(Fulfilment::Purged(behind(purged))), Some(Check::Answers));
    }

    #[test]
    fn what_a_node_says_that_it_has_done_and_has_not_is_noticed() {
        let (mut world, id) = led_world();
        let (look, priority) = (look(&world, id), running(&mut world, id).driver.engine().priority());
        let follower = world.nodes.iter().filter_map(Node::look).find(|it| it.role == RoleKind::Follower);
        let follower = follower.expect("somebody follows").node;
        let mut told = |id, wanted, outcome| told(&mut world, id, wanted, outcome);
        assert_eq!(told(id, Wanted::Retreat, Fulfilment::Done), Some(Check::Succession), "it leads on");
        assert_eq!(told(id, Wanted::Retreat, Fulfilment::Refused), None);
        assert_eq!(told(follower, Wanted::Retreat, Fulfilment::Done), None);
        assert_eq!(told(id, Wanted::Priority(priority), Fulfilment::Done), None);
        assert_eq!(told(id, Wanted::Priority(priority ^ 1), Fulfilment::Done), Some(Check::Succession));
        let transferred = |leader, term| Fulfilment::Transferred(Ok(Transferred { leader, term }));
        assert_eq!(told(id, Wanted::Leader(id), transferred(id, look.term)), None);
        assert_eq!(told(id, Wanted::Leader(follower), transferred(id, look.term)), Some(Check::Succession));
        assert_eq!(told(id, Wanted::Other, transferred(id, Term(999))), Some(Check::Succession), "nobody led then");
        assert_eq!(told(id, Wanted::Other, Fulfilment::Elected(Ok(look.term))), None);
        assert_eq!(told(follower, Wanted::Other, Fulfilment::Elected(Ok(look.term))), Some(Check::Succession));
    }

    #[test]
    fn who_had_a_wish_and_is_never_answered_or_twice_is_noticed() {
        let (mut world, id) = world_with(|world, _, _| world.now > SECOND);
        let life = world.nodes.at(id).expect("it is there").life;
        let (mut wishes, event) = (Wishes::default(), Event::StepDown { token: TOKEN });
        assert_eq!(refusing(wishes.all_answered(&world.nodes)), None);
        wishes.reach(id, life, &event);
        assert_eq!(refusing(wishes.all_answered(&world.nodes)), Some(Check::Answers));
        assert_eq!(refusing(wishes.answered(id, TOKEN)), None);
        assert_eq!(refusing(wishes.all_answered(&world.nodes)), None);
        assert_eq!(refusing(wishes.answered(id, TOKEN)), Some(Check::Answers), "a second time");
        wishes.reach(id, life - 1, &event);
        assert_eq!(refusing(wishes.all_answered(&world.nodes)), None, "that life is over");
        wishes.reach(id, life, &event);
        world.crash(id, false).expect("all is well");
        assert_eq!(refusing(wishes.all_answered(&world.nodes)), None, "so is this one");
    }
}
