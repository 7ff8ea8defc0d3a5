//! Members that come and go: in some worlds nodes wait to be added, and somebody keeps changing who belongs to the cluster.
//!
//! ```text
//!   every now and then ──► a leader, or anybody ──► other voters, another learner, a demotion ──► done, refused, unknown
//!                                                                                           │
//!                                        what it was told must be what the committed entry says
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::{
    ChangeMembers, ChangeRequest, Consistency, Event, Instant, LogId, LogIndex, Majority, Membership, Message, Node,
    NodeId, NodeMap, NodeSet, Preconditions, Refusal, RoleKind, Term, Token, VoteResult,
};

use super::World;
use super::happening::Happening;
use crate::by_node::ByNode;
use crate::check::{Violation, Waiting, require};
use crate::count::note;
use crate::durable::Stamps;
use crate::look::Look;
use crate::node::Running;
use crate::plan::{MILLISECOND, SECOND};

/// Tokens from here on are the steward's; no client comes that far.
const FIRST_TOKEN: u64 = 1 << 60;

/// Who changes the members, and what is known of them.
#[derive(Debug)]
pub(crate) struct Members {
    /// Every membership that any node has held, by its entry.
    seen: BTreeMap<(LogIndex, LogId), Arc<Membership>>,
    /// The entry by which each node counted when it was looked at last.
    counted_by: ByNode<LogId>,
    /// The last committed one, and its index.
    committed: (LogIndex, Arc<Membership>),
    /// Who is a member by that.
    held: ByNode<()>,
    /// What was asked for, by the token of who asked.
    asked: BTreeMap<Token, Arc<ChangeRequest>>,
    /// Who was to be removed and added by one change, by the token of who asked.
    asked_again: BTreeMap<Token, NodeId>,
    /// Who is to be promoted next.
    added: Option<NodeId>,
    /// How often something was asked.
    count: u64,
}

/// What a step has to do with whether a node was removed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// A leader of this term says what shows that it leads.
    Led(NodeId, Term),
    /// It is to forget that.
    Forgets,
    /// Somebody asks for what only members do.
    Asked(Token),
    Nothing,
}

impl Standing {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Received { from, message: Some(message) } => match message {
                Message::Heartbeat(it) => Self::Led(from.node, it.term),
                Message::AppendEntries(it) => Self::Led(from.node, it.term),
                Message::Committed { term, .. } => Self::Led(from.node, *term),
                Message::InstallSnapshot(it) => Self::Led(from.node, it.term),
                Message::DelegateSnapshot(it) => Self::Led(from.node, it.term),
                _ => Self::Nothing,
            },
            Event::ForgetLeader { .. } => Self::Forgets,
            Event::Read { consistency: Consistency::Stale { .. }, .. } => Self::Nothing,
            Event::Propose { token, .. } | Event::Read { token, .. } => Self::Asked(*token),
            _ => Self::Nothing,
        }
    }
}

/// Where a node is reached.
pub(crate) fn node_at(id: NodeId) -> (NodeId, Node) {
    (id, Node { address: format!("node-{id}:7101") })
}

/// A node leaves and comes back by one change: it cannot be told from which directory.
fn removal_and_return(node: NodeId, is_voter: bool) -> ChangeMembers {
    let back = [node_at(node)].into();
    ChangeMembers::Batch(vec![
        ChangeMembers::RemoveVoters([node].into()),
        ChangeMembers::RemoveNodes([node].into()),
        if is_voter { ChangeMembers::AddVoters(back) } else { ChangeMembers::AddNodes(back) },
    ])
}

/// What a change makes of the voters and of all members, as its documentation has it, where it is not refused.
fn carry_out(change: &ChangeMembers, retain: bool, voters: &mut NodeSet, nodes: &mut NodeMap<Node>) {
    match change {
        ChangeMembers::AddVoterIds(ids) => voters.extend(ids),
        ChangeMembers::AddVoters(added) => {
            nodes.extend(added.clone());
            voters.extend(added.keys());
        }
        ChangeMembers::RemoveVoters(ids) => {
            nodes.retain(|id, _| retain || !(ids.contains(id) && voters.contains(id)));
            voters.retain(|id| !ids.contains(id));
        }
        ChangeMembers::ReplaceAllVoters(ids) => {
            nodes.retain(|id, _| retain || ids.contains(id) || !voters.contains(id));
            voters.clone_from(ids);
        }
        ChangeMembers::AddNodes(added) | ChangeMembers::SetNodes(added) => nodes.extend(added.clone()),
        ChangeMembers::RemoveNodes(ids) => nodes.retain(|id, _| !ids.contains(id)),
        ChangeMembers::ReplaceAllNodes(all) => nodes.clone_from(all),
        ChangeMembers::Batch(changes) => changes.iter().for_each(|it| carry_out(it, retain, voters, nodes)),
    }
}

/// Whether a token is the steward's.
pub(crate) const fn is_stewards(token: Token) -> bool {
    token.0 >= FIRST_TOKEN
}

/// The members, to be asked for often.
fn members(membership: &Membership) -> ByNode<()> {
    membership.nodes().keys().map(|node| (*node, ())).collect()
}

impl Members {
    pub(super) fn new(initial: Membership) -> Self {
        let held = members(&initial);
        let committed = (LogIndex(0), Arc::new(initial));
        Self {
            seen: BTreeMap::new(),
            counted_by: ByNode::default(),
            committed,
            held,
            asked: BTreeMap::new(),
            asked_again: BTreeMap::new(),
            added: None,
            count: 0,
        }
    }

    /// A node holds this membership; answers the one by which it counted until now, with its entry, if that was another.
    pub(super) fn see(&mut self, node: NodeId, at: LogId, membership: &Membership) -> Option<(LogId, Arc<Membership>)> {
        if self.counted_by.at(node) == Some(&at) {
            return None;
        }
        self.seen.entry((at.index, at)).or_insert_with(|| Arc::new(membership.clone()));
        let before = self.counted_by.insert(node, at)?;
        Some((before, self.seen.get(&(before.index, before)).cloned()?))
    }

    /// An entry with a membership was committed.
    pub(super) fn commit(&mut self, index: LogIndex, membership: &Arc<Membership>) {
        self.committed = (index, Arc::clone(membership));
        self.held = members(membership);
    }

    /// Whether a node is a member by the last committed entry that says so.
    pub(super) fn hold(&self, node: NodeId) -> bool {
        self.held.at(node).is_some()
    }

    /// Whether another disk may take the place of a node's: it is no member by what is committed, and by nothing that may be
    /// committed yet. One that is about to be given a vote would be lost with it.
    pub(super) fn is_replaceable(&self, node: NodeId) -> bool {
        let later = self.seen.range((self.committed.0, LogId::ZERO)..).map(|(_, membership)| membership);
        later.chain([&self.committed.1]).all(|it| !it.nodes().contains_key(&node))
    }

    /// Whether a node votes by a membership of its log that may come to count: the last that it knows to be committed, or one
    /// behind that.
    pub(super) fn may_need(&self, node: NodeId, log: &Stamps, commit: LogIndex) -> bool {
        self.known_to(log, commit).any(|membership| membership.is_voter(node))
    }

    /// Whether a node is a member by no membership of its log that may come to count, and some stands there.
    fn is_removed(&self, node: NodeId, log: &Stamps, commit: LogIndex) -> bool {
        let mut is_any_known = false;
        // One of them may be that nobody is.
        let is_in_none = self.known_to(log, commit).all(|it| {
            is_any_known |= !it.nodes().is_empty();
            !it.nodes().contains_key(&node)
        });
        is_in_none && is_any_known
    }

    /// The memberships of a log that may come to count, the last first: those that its node does not know to be committed, and the
    /// last that it does.
    fn known_to(&self, log: &Stamps, commit: LogIndex) -> impl Iterator<Item = &Arc<Membership>> {
        let mut is_committed = false;
        let from_the_last = self.seen.iter().rev().filter(|((_, at), _)| log.has(*at));
        from_the_last.map_while(move |((index, _), membership)| {
            let counts = !std::mem::replace(&mut is_committed, *index <= commit);
            counts.then_some(membership)
        })
    }

    /// Who asked for other members has them.
    fn require_done(
        &self,
        from: NodeId,
        (at, said): (LogId, &Membership),
        wanted: &ChangeRequest,
        chain: &Stamps,
    ) -> Result<(), Violation> {
        // Every entry of a change but the last says what it leads to; what it begins with is the last one before that does not.
        let before = self.seen.range(..(at.index, LogId::ZERO)).rev();
        let mut stable = before.filter(|((_, at), before)| chain.has(*at) && before.goal().is_none());
        let Some((_, before)) = stable.next() else { return Ok(()) };
        let (mut voters, mut nodes) = (before.voters().clone(), before.nodes().clone());
        carry_out(&wanted.change, wanted.retain, &mut voters, &mut nodes);
        require!(
            *said.voters() == voters && *said.nodes() == nodes,
            Membership,
            "node {from} was asked for {:?}, where removed voters {}, and says that this is done by {at}: that makes {said} of {before}",
            wanted.change,
            if wanted.retain { "stay" } else { "leave" }
        );
        Ok(())
    }

    /// Whether these nodes are a quorum, by whichever of the memberships comes to count.
    pub(super) fn have_quorum(&self, nodes: &[NodeId]) -> bool {
        let later = self.seen.range((self.committed.0, LogId::ZERO)..).map(|(_, membership)| membership);
        let is_there = |node: NodeId| Some(nodes.contains(&node));
        later.chain([&self.committed.1]).all(|it| {
            let will_be = it.goal().is_none_or(|goal| Majority(&goal.voters).vote_result(is_there) == VoteResult::Won);
            will_be && it.quorum().vote_result(is_there) == VoteResult::Won
        })
    }
}

impl World {
    /// Whether members come and go.
    pub(super) const fn changes_members(&self) -> bool {
        self.plan.spares > 0
    }

    pub(super) fn schedule_steward(&mut self) {
        if self.changes_members() {
            // Who was added is promoted soon, when that has ended and what follows from it has not.
            let usual = (self.plan.change_every / 4, self.plan.change_every * 2);
            let (least, most) = self.members.added.map_or(usual, |_| (5 * MILLISECOND, 150 * MILLISECOND));
            let delay = self.rng.between(least, most);
            self.after(delay, Happening::Change);
        }
    }

    /// Somebody wants other members.
    pub(super) fn change_members(&mut self) {
        if self.is_calm() {
            return;
        }
        let all: Vec<NodeId> = self.plan.node_ids().collect();
        let alive: Vec<NodeId> = self.nodes.iter().filter(|node| node.running.is_some()).map(|node| node.id).collect();
        if alive.is_empty() {
            return self.schedule_steward();
        }
        let any = *self.rng.pick(&alive);
        let asked = self.present_leader().filter(|leader| alive.contains(leader)).unwrap_or(any);
        let size = self.rng.count(1, all.len().min(5));
        let mut voters = NodeSet::new();
        while voters.len() < size {
            voters.insert(*self.rng.pick(&all));
        }
        let (learner, another) = (*self.rng.pick(&all), *self.rng.pick(&all));
        let (added, kind) = (self.members.added.take(), self.rng.below(8));
        self.members.added = Some(learner).filter(|_| added.is_none() && kind == 0);
        self.schedule_steward();
        let change = match kind {
            _ if let Some(added) = added => ChangeMembers::AddVoters([node_at(added)].into()),
            0 => ChangeMembers::AddNodes([node_at(learner), node_at(another)].into()),
            1 => ChangeMembers::RemoveNodes([learner].into()),
            2 => ChangeMembers::AddVoters([node_at(learner)].into()),
            3 => ChangeMembers::RemoveVoters([learner].into()),
            _ => ChangeMembers::Batch(vec![
                ChangeMembers::AddVoters(voters.iter().copied().map(node_at).collect()),
                ChangeMembers::ReplaceAllVoters(voters.clone()),
            ]),
        };
        let is_whole = matches!(change, ChangeMembers::Batch(_));
        let patience = Duration::from_nanos(self.rng.between(0, 2 * SECOND));
        let (retain, preconditions) = (self.rng.chance(500_000), Preconditions::default());
        let mut request = ChangeRequest { change, retain, patience, preconditions };
        self.members.count += 1;
        let token = Token(FIRST_TOKEN + self.members.count);
        // Nothing is drawn for it: it is often there, and leaves the other changes what they were.
        if self.members.count.is_multiple_of(6) {
            (request.change, request.retain) = (removal_and_return(learner, is_whole), true);
            self.members.asked_again.insert(token, learner);
        }
        let request = Arc::new(request);
        self.members.asked.insert(token, Arc::clone(&request));
        note(&mut self.faults, "members to change");
        let life = self.nodes.at(asked).map_or(0, |node| node.life);
        let event = Event::ChangeMembers { token, request };
        self.after(0, Happening::Request { node: asked, life, event: Box::new(event) });
    }

    /// The steward is told what has come of it.
    pub(super) fn told_of_change(
        &mut self,
        from: NodeId,
        token: Token,
        outcome: Result<LogId, Refusal>,
    ) -> Result<(), Violation> {
        self.wishes.answered(from, token)?;
        let (wanted, again) = (self.members.asked.remove(&token), self.members.asked_again.remove(&token));
        let Ok(at) = outcome else {
            let lags = matches!(outcome, Err(Refusal::Lagging { .. }));
            note(&mut self.faults, if lags { "change given up" } else { "change refused" });
            return Ok(());
        };
        note(&mut self.faults, "members changed");
        require!(
            again.is_none(),
            Membership,
            "node {from} says that node {} is removed and added again by one change, which leaves its directory what it was",
            again.unwrap_or_default()
        );
        let is_committed = self.judge.chain().at(at.index).is_some_and(|stamp| stamp.id == at);
        require!(
            is_committed,
            Membership,
            "node {from} says that the members are those of {at}, which is not committed"
        );
        let said = self.members.seen.get(&(at.index, at)).cloned();
        let is_stable = said.as_ref().is_some_and(|said| said.goal().is_none());
        require!(is_stable, Membership, "node {from} says that the change at {at} is over, and it is not");
        let (Some(said), Some(wanted)) = (said, wanted) else { return Ok(()) };
        self.members.require_done(from, (at, &said), &wanted, self.judge.chain())
    }

    /// A node that may have to lead looks at the time, so that it will campaign: its log may be the only one that the others can
    /// be elected without, even if it is about to leave (thesis, section 4.2.2).
    pub(super) fn judge_candidacy(&self, look: &Look, running: &Running) -> Result<(), Violation> {
        let id = look.node;
        if matches!(look.role, RoleKind::Leader | RoleKind::Halted) || running.driver.poll_timeout().is_some() {
            return Ok(());
        }
        let log = &running.runtime.accepted;
        let is_voter = if self.changes_members() {
            self.members.may_need(id, log, look.commit)
        } else {
            log.last() != LogId::ZERO
        };
        // One that catches up in the place of another directory is no voter yet, whatever its log says of that one's vote.
        let (engine, own) = (running.driver.engine(), running.runtime.me.incarnation.id);
        let is_member = match engine.membership().bindings().get(&id) {
            Some(binding) => binding.directory == own,
            None => running.runtime.remembers_itself() || engine.signature().bound.is_some(),
        };
        require!(
            !is_voter || !is_member,
            Candidacy,
            "node {id} may be needed as leader, and will never campaign: it waits for no time"
        );
        Ok(())
    }

    /// Who was removed says so at once to whoever asks it, since nobody is to tell it anything any more. Whom a leader brings up does
    /// not say it: its log may not have come to where it was added.
    pub(super) fn judge_standing(&mut self, look: &Look, standing: Standing, own: Instant) -> Result<(), Violation> {
        if matches!(standing, Standing::Nothing) || !self.changes_members() {
            return Ok(());
        }
        let id = look.node;
        let running = self.nodes.at_mut(id).and_then(|node| node.running.as_mut());
        let Some(running) = running else { return Ok(()) };
        let token = match standing {
            Standing::Led(leader, term) => {
                if running.runtime.has_listened() && (look.leader, look.term) == (Some(leader), term) {
                    running.led_at = Some(own);
                }
                return Ok(());
            }
            Standing::Forgets => {
                running.led_at = None;
                return Ok(());
            }
            Standing::Asked(token) => token,
            Standing::Nothing => return Ok(()),
        };
        let runtime = &running.runtime;
        let refusal = runtime.refused_last.filter(|(of, _)| *of == token).map(|(_, refusal)| refusal);
        let lately = |at: Instant| own.since(at) < self.terms.election_timeouts().0;
        let is_led = look.leads() || (look.leader.is_some() && running.led_at.is_some_and(lately));
        let is_removed = !is_led && self.members.is_removed(id, &runtime.accepted, look.commit);
        let waits = refusal.is_none_or(|refusal| refusal == Refusal::NoLeader);
        require!(!(is_removed && waits), Answers, "node {id} was removed, and does not say so to who asks it");
        let says_so = refusal == Some(Refusal::NotMember);
        require!(is_removed || !says_so, Answers, "node {id} says that it was removed, and cannot know that");
        let lets_wait = says_so && runtime.has_room() && runtime.waiting.as_ref().is_some_and(Waiting::has_reads);
        require!(!lets_wait, Answers, "node {id} says that it was removed, and lets those wait who asked before");
        if says_so {
            note(&mut self.faults, "removed node asked");
        }
        Ok(())
    }

    /// Whether no node of the healed cluster has a change of the members under way.
    pub(super) fn members_are_settled(&self) -> bool {
        let mut running = self.core().filter_map(|node| node.running.as_ref());
        running.all(|running| {
            let membership = running.driver.engine().membership();
            membership.goal().is_none() && *membership == *self.members.committed.1
        })
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::LogTime;

    use super::super::peace::Outside;
    use super::super::tests::{refusing, world_with};
    use super::*;
    use crate::check::Check;
    use crate::durable::Stamp;

    fn voters(ids: &[u64]) -> Membership {
        Membership::new(ids.iter().map(|id| node_at(NodeId(*id))), [])
    }

    /// What was before an entry on another branch of the log is not what its leader counted by: a commitment that was right was
    /// taken for one without a quorum.
    #[test]
    fn a_node_counted_by_what_it_held_itself() {
        let mut members = Members::new(voters(&[1, 2, 3]));
        let (one, two) = (NodeId(1), NodeId(2));
        let (begin, lost, next) = (LogId::new(0, 1), LogId::new(2, 5), LogId::new(3, 6));
        assert_eq!(members.see(one, begin, &voters(&[1, 2, 3])), None);
        assert_eq!(members.see(two, begin, &voters(&[1, 2, 3])), None);
        let first = || Some((begin, Arc::new(voters(&[1, 2, 3]))));
        assert_eq!(members.see(two, lost, &voters(&[2])), first());
        assert_eq!(members.see(one, next, &voters(&[1, 3])), first(), "not {{2}}");
        assert_eq!(members.see(one, next, &voters(&[1, 3])), None, "from then on it counts by that alone");
    }

    #[test]
    fn who_leaves_may_be_needed_until_it_knows_that_to_be_committed() {
        let (three, log_time, digest) = (NodeId(3), LogTime(0), 0);
        let mut members = Members::new(voters(&[1, 2, 3]));
        let ids = [LogId::new(0, 1), LogId::new(2, 2), LogId::new(2, 3)];
        members.see(three, ids[0], &voters(&[1, 2, 3]));
        members.see(three, ids[1], &voters(&[1, 2]));
        members.see(NodeId(1), LogId::new(1, 2), &voters(&[1]));
        let log = |length| Stamps(ids.iter().take(length).map(|id| Stamp { id: *id, log_time, digest }).collect());
        assert!(members.may_need(three, &log(3), LogIndex(1)), "the old voters may yet decide");
        assert!(!members.may_need(three, &log(3), LogIndex(2)), "it has left");
        assert!(members.may_need(three, &log(1), LogIndex(0)), "others have an entry that it lacks");
        assert!(!members.may_need(NodeId(4), &log(3), LogIndex(1)));
    }

    /// A world in which a node runs that knows members, and the last entry that is committed.
    fn world() -> (World, NodeId, LogId) {
        let (world, id) = world_with(|world, _, running| {
            let commit = running.driver.engine().commit_index();
            commit.0 > 5 && world.judge.chain().last().index == commit && world.changes_members()
        });
        let last = world.judge.chain().last();
        (world, id, last)
    }

    const TOKEN: Token = Token(FIRST_TOKEN + 77);

    /// Somebody asks a node for this, and is told that it is done.
    fn told_done(world: &mut World, id: NodeId, change: ChangeMembers, retain: bool, at: LogId) -> Option<Check> {
        let request = Arc::new(ChangeRequest { retain, ..change.into() });
        world.members.asked.insert(TOKEN, Arc::clone(&request));
        world.wishes.reach(id, 1, &Event::ChangeMembers { token: TOKEN, request });
        world.told_of_change(id, TOKEN, Ok(at)).err().map(|violation| violation.check)
    }

    /// From now on the entry says that these vote, and that those are members besides.
    fn say(world: &mut World, at: LogId, ids: &[u64], learners: &[u64]) {
        let all = |ids: &[u64]| ids.iter().map(|id| node_at(NodeId(*id))).collect::<Vec<_>>();
        let said = Membership::new(all(ids), all(learners));
        world.members.seen.insert((at.index, at), Arc::new(said));
    }

    #[test]
    fn a_change_that_is_told_done_and_is_not_committed_or_not_over_is_noticed() {
        let (mut world, id, last) = world();
        let nothing = || ChangeMembers::Batch(Vec::new());
        world.members.seen.clear();
        say(&mut world, last, &[1, 2], &[]);
        assert_eq!(told_done(&mut world, id, nothing(), true, last), None);
        let next = LogId { index: last.index.next(), ..last };
        say(&mut world, next, &[1, 2], &[]);
        assert_eq!(told_done(&mut world, id, nothing(), true, next), Some(Check::Membership), "it is not committed");
        let begun = voters(&[1, 2]).changed(&ChangeMembers::RemoveVoters([NodeId(2)].into()), true);
        world.members.seen.insert((last.index, last), Arc::new(begun.expect("it can be made")));
        assert_eq!(told_done(&mut world, id, nothing(), true, last), Some(Check::Membership), "it goes on");
        world.members.seen.clear();
        assert_eq!(told_done(&mut world, id, nothing(), true, last), Some(Check::Membership), "it says of no members");
    }

    #[test]
    fn a_change_that_is_told_done_and_makes_other_members_is_noticed() {
        let (mut world, id, last) = world();
        let before = world.judge.chain().at(LogIndex(last.index.0 - 1)).expect("there are some").id;
        let (four, one) = (ChangeMembers::AddVoters([node_at(NodeId(4))].into()), NodeId(1));
        let cases = [
            (ChangeMembers::AddNodes([node_at(NodeId(4))].into()), true, ([1, 2].as_slice(), [3, 4].as_slice())),
            (ChangeMembers::RemoveNodes([NodeId(3)].into()), true, (&[1, 2], &[])),
            (ChangeMembers::AddVoterIds([NodeId(3)].into()), true, (&[1, 2, 3], &[])),
            (four.clone(), false, (&[1, 2, 4], &[3])),
            (ChangeMembers::RemoveVoters([one].into()), true, (&[2], &[1, 3])),
            (ChangeMembers::RemoveVoters([one, NodeId(3)].into()), false, (&[2], &[3])),
            (ChangeMembers::ReplaceAllVoters([one].into()), true, (&[1], &[2, 3])),
            (ChangeMembers::ReplaceAllVoters([NodeId(3)].into()), false, (&[3], &[])),
            (ChangeMembers::Batch(vec![four, ChangeMembers::RemoveVoters([one].into())]), false, (&[2, 4], &[3])),
        ];
        for (done, (change, retain, _)) in cases.iter().enumerate() {
            for (made, (.., (voters, learners))) in cases.iter().enumerate() {
                world.members.seen.clear();
                say(&mut world, before, &[1, 2], &[3]);
                say(&mut world, last, voters, learners);
                let expected = (done != made).then_some(Check::Membership);
                assert_eq!(told_done(&mut world, id, change.clone(), *retain, last), expected, "{change:?}: {made}");
            }
        }
    }

    #[test]
    fn members_are_settled_once_all_count_by_what_is_committed_and_that_leads_to_nothing_else() {
        let (mut world, id) = world_with(|world, _, running| {
            let membership = running.driver.engine().membership();
            world.members_are_settled() && membership.voters().len() > 1
        });
        let committed = world.members.committed.clone();
        let all: Vec<_> = committed.1.nodes().keys().map(|node| node_at(*node)).collect();
        let other = Membership::new(all[..1].to_vec(), all[1..].to_vec());
        world.members.commit(committed.0, &Arc::new(other));
        assert!(!world.members_are_settled(), "node {id} counts by something else");
        world.members.commit(committed.0, &committed.1);
        assert!(world.members_are_settled());
        let (mut world, id) = world_with(|_, node, running| {
            let membership = running.driver.engine().membership();
            membership.goal().is_some() && membership.nodes().contains_key(&node.id)
        });
        let membership = world.nodes.at(id).and_then(|node| node.running.as_ref()).expect("it runs");
        let membership = Arc::new(membership.driver.engine().membership().clone());
        world.members.commit(LogIndex(99), &membership);
        let others: Vec<NodeId> = world.nodes.iter().map(|node| node.id).filter(|other| *other != id).collect();
        world.outsiders.extend(others.into_iter().map(|other| (other, Outside::Away)));
        assert!(!world.members_are_settled(), "a change is under way");
    }

    #[test]
    fn what_shows_that_a_node_is_led_and_what_only_members_are_asked_for_is_known() {
        use outrigger::engine::{
            Epoch, Genesis, Incarnation, InstallSnapshot, LogTime, Peer, RequestId, Snapshot, SnapshotId,
        };
        let id = SnapshotId { last: LogId::new(0, 5), bytes: 9, checksum: 0 };
        let (membership, membership_at) = (Arc::new(Membership::default()), LogId::new(0, 1));
        let snapshot =
            Arc::new(Snapshot { id, genesis: Genesis::UNKNOWN, log_time: LogTime(0), membership, membership_at });
        let (term, leader, epoch, request) = (Term(3), NodeId(2), Epoch(1), RequestId(1));
        let piece = InstallSnapshot { term, leader, epoch, request, snapshot, offset: 0, chunk: Default::default() };
        let from = Peer::new(leader, Incarnation::default());
        let heard = |message| Standing::of(&Event::Received { from, message: Some(message) });
        for message in [Message::InstallSnapshot(piece), Message::Committed { term, commit: LogIndex(1) }] {
            assert!(matches!(heard(message), Standing::Led(NodeId(2), Term(3))));
        }
        let propose = Event::Propose { token: TOKEN, entries: Arc::from([]), only_in: None };
        assert!(matches!(Standing::of(&propose), Standing::Asked(TOKEN)));
        let stale = Consistency::Stale { staleness_max: Duration::ZERO };
        assert!(matches!(Standing::of(&Event::Read { token: TOKEN, consistency: stale }), Standing::Nothing));
    }

    #[test]
    fn who_may_come_to_vote_is_not_replaceable_and_counts_for_a_quorum() {
        let mut members = Members::new(voters(&[1, 2]));
        assert!(members.is_replaceable(NodeId(3)) && !members.is_replaceable(NodeId(2)));
        let quorum =
            |members: &Members, ids: &[u64]| members.have_quorum(&ids.iter().copied().map(NodeId).collect::<Vec<_>>());
        assert!(quorum(&members, &[1, 2]) && !quorum(&members, &[1]));
        let goes =
            voters(&[1, 2]).changed(&ChangeMembers::AddVoters([node_at(NodeId(3)), node_at(NodeId(4))].into()), true);
        members.see(NodeId(1), LogId::new(2, 5), &goes.expect("it can be made"));
        assert!(!members.is_replaceable(NodeId(3)), "it is about to be given a vote");
        assert!(!quorum(&members, &[1, 2]), "three of four are needed once it is done");
        assert!(quorum(&members, &[1, 2, 3]));
    }

    #[test]
    fn what_stood_on_another_branch_is_not_what_a_change_began_with() {
        let (mut world, id, last) = world();
        let before = world.judge.chain().at(LogIndex(last.index.0 - 2)).expect("there are some").id;
        world.members.seen.clear();
        say(&mut world, before, &[1, 2], &[]);
        let elsewhere = LogId { term: Term(99), index: LogIndex(last.index.0 - 1) };
        say(&mut world, elsewhere, &[1, 2, 3], &[]);
        say(&mut world, last, &[1, 2], &[]);
        assert_eq!(told_done(&mut world, id, ChangeMembers::Batch(Vec::new()), true, last), None);
        world.members.asked_again.insert(TOKEN, NodeId(2));
        let judged = told_done(&mut world, id, ChangeMembers::Batch(Vec::new()), true, last);
        assert_eq!(judged, Some(Check::Membership), "it was to be refused");
    }

    /// A spare that may vote by an entry of its log, in the eyes of the world, and waits for no time.
    #[test]
    fn who_may_be_needed_and_will_never_campaign_is_noticed() {
        let (mut world, id) = world_with(|world, _, running| {
            world.changes_members() && running.driver.poll_timeout().is_none() && running.runtime.accepted.0.is_empty()
        });
        let look = world.nodes.at(id).and_then(crate::node::Node::look).expect("it runs");
        let at = LogId::new(0, 1);
        say(&mut world, at, &[id.0], &[]);
        let running = |world: &mut World| {
            let running = world.nodes.at_mut(id).and_then(|node| node.running.take());
            running.expect("it runs")
        };
        let mut own = running(&mut world);
        let judge = |world: &World, own: &Running| refusing(world.judge_candidacy(&look, own));
        assert_eq!(judge(&world, &own), None);
        own.runtime.accepted.0.push(Stamp { id: at, log_time: LogTime(0), digest: 0 });
        assert_eq!(judge(&world, &own), None, "it catches up in the place of another directory");
        let write = outrigger::engine::WriteId(1);
        let itself = outrigger::engine::Command::SavePeer { write, peer: own.runtime.me };
        own.runtime.durable.write(&itself);
        assert_eq!(judge(&world, &own), Some(Check::Candidacy));
        assert_eq!(refusing(world.judge_candidacy(&Look { role: RoleKind::Halted, ..look }, &own)), None);
        world.nodes.at_mut(id).expect("it is there").running = Some(own);
        assert_eq!(refusing(world.judge_step(id, &look)), Some(Check::Candidacy));
    }

    #[test]
    fn who_was_removed_and_does_not_say_so_is_noticed() {
        let (mut world, id) = world_with(|world, node, running| {
            let look = node.look().expect("it runs");
            world.changes_members() && look.role == RoleKind::Follower && running.runtime.has_room()
        });
        let look = world.nodes.at(id).and_then(crate::node::Node::look).expect("it runs");
        let own = world.time_at(id) + Duration::from_secs(3_600);
        let judge = |world: &mut World, refusal: Option<Refusal>| {
            let running = world.nodes.at_mut(id).and_then(|node| node.running.as_mut()).expect("it runs");
            running.runtime.refused_last = refusal.map(|refusal| (TOKEN, refusal));
            refusing(world.judge_standing(&look, Standing::Asked(TOKEN), own))
        };
        let not_member = Some(Refusal::NotMember);
        assert_eq!((judge(&mut world, None), judge(&mut world, not_member)), (None, Some(Check::Answers)));
        world.members.seen.clear();
        say(&mut world, look.last, &[77], &[]);
        assert_eq!(judge(&mut world, None), Some(Check::Answers), "it lets who asks wait");
        assert_eq!(judge(&mut world, Some(Refusal::NoLeader)), Some(Check::Answers));
        assert_eq!(judge(&mut world, not_member), None);
        let read = Event::Read { token: Token(1), consistency: Consistency::Linearizable };
        let running = |world: &mut World| world.nodes.at_mut(id).and_then(|node| node.running.take()).expect("it runs");
        let mut waits = running(&mut world);
        waits.runtime.hear(&read);
        world.nodes.at_mut(id).expect("it is there").running = Some(waits);
        assert_eq!(judge(&mut world, not_member), Some(Check::Answers), "others wait who asked before");
    }

    #[test]
    fn a_node_is_led_from_when_it_listens_to_its_leader() {
        let (mut world, id) = world_with(|world, node, _| {
            let look = node.look().expect("it runs");
            world.changes_members() && look.role == RoleKind::Follower && look.leader.is_some()
        });
        let look = world.nodes.at(id).and_then(crate::node::Node::look).expect("it runs");
        let (own, leader) = (world.time_at(id), look.leader.expect("it follows somebody"));
        let mut led_at = |standing, refuses: bool| {
            let running = world.nodes.at_mut(id).and_then(|node| node.running.as_mut()).expect("it runs");
            running.led_at = None;
            running.runtime.effects.clear();
            let peer = running.runtime.me;
            let refuse = crate::runtime::Effect::RefusePeer(peer, outrigger::engine::PeerRefusal::NotMember);
            running.runtime.effects.extend(refuses.then_some(refuse));
            world.judge_standing(&look, standing, own).expect("nobody is asked for anything");
            world.nodes.at(id).and_then(|node| node.running.as_ref()).and_then(|running| running.led_at)
        };
        assert_eq!(led_at(Standing::Led(leader, look.term), false), Some(own));
        assert_eq!(led_at(Standing::Led(leader, look.term), true), None, "it does not listen");
        assert_eq!(led_at(Standing::Led(NodeId(77), look.term), false), None);
        assert_eq!(led_at(Standing::Led(leader, Term(look.term.0 + 1)), false), None);
    }
}
