//! Members that come and go: in some worlds nodes wait to be added, and somebody keeps changing who belongs to the cluster.
//!
//! ```text
//!   every now and then ──► a leader, or anybody ──► other voters, another learner, a demotion ──► done, refused, unknown
//!                                                                                           │
//!                                        what it was told must be what the committed entry says
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::{
    ChangeMembers, ChangeRequest, Event, LogId, LogIndex, Majority, Membership, Node, NodeId, Preconditions, Refusal,
    RoleKind, Token, VoteResult,
};

use super::World;
use super::happening::Happening;
use crate::by_node::ByNode;
use crate::check::{Violation, require};
use crate::count::note;
use crate::durable::Stamps;
use crate::look::Look;
use crate::plan::SECOND;

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
    /// The voters that were asked for, by the token of who asked.
    asked: BTreeMap<Token, BTreeSet<NodeId>>,
    /// How often something was asked.
    count: u64,
}

/// Where a node is reached.
pub(crate) fn node_at(id: NodeId) -> (NodeId, Node) {
    (id, Node { address: format!("node-{id}:7101") })
}

/// Whether a token is the steward's.
pub(crate) const fn is_stewards(token: Token) -> bool {
    token.0 >= FIRST_TOKEN
}

impl Members {
    pub(super) fn new(initial: Membership) -> Self {
        let committed = (LogIndex(0), Arc::new(initial));
        Self { seen: BTreeMap::new(), counted_by: ByNode::default(), committed, asked: BTreeMap::new(), count: 0 }
    }

    /// A node holds this membership; answers the one by which it counted until now, if that was another.
    pub(super) fn see(&mut self, node: NodeId, at: LogId, membership: &Membership) -> Option<Arc<Membership>> {
        if self.counted_by.at(node) == Some(&at) {
            return None;
        }
        self.seen.entry((at.index, at)).or_insert_with(|| Arc::new(membership.clone()));
        let before = self.counted_by.insert(node, at)?;
        self.seen.get(&(before.index, before)).cloned()
    }

    /// An entry with a membership was committed.
    pub(super) fn commit(&mut self, index: LogIndex, membership: &Arc<Membership>) {
        self.committed = (index, Arc::clone(membership));
    }

    /// Whether a node is a member by the last committed entry that says so.
    pub(super) fn hold(&self, node: NodeId) -> bool {
        self.committed.1.nodes().contains_key(&node)
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
        let behind = (commit.next(), LogId::ZERO);
        let is_its_own = |((_, at), _): &(&(LogIndex, LogId), _)| log.has(*at);
        let committed = self.seen.range(..behind).rev().find(is_its_own);
        let later = self.seen.range(behind..).filter(is_its_own);
        committed.into_iter().chain(later).any(|(_, membership)| membership.is_voter(node))
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
            let delay = self.rng.between(self.plan.change_every / 4, self.plan.change_every * 2);
            self.after(delay, Happening::Change);
        }
    }

    /// Somebody wants other members.
    pub(super) fn change_members(&mut self) {
        if self.is_calm() {
            return;
        }
        self.schedule_steward();
        let all: Vec<NodeId> = self.plan.node_ids().collect();
        let alive: Vec<NodeId> = self.nodes.iter().filter(|node| node.running.is_some()).map(|node| node.id).collect();
        if alive.is_empty() {
            return;
        }
        let any = *self.rng.pick(&alive);
        let asked = self.present_leader().filter(|leader| alive.contains(leader)).unwrap_or(any);
        let size = self.rng.count(1, all.len().min(5));
        let mut voters: BTreeSet<NodeId> = BTreeSet::new();
        while voters.len() < size {
            voters.insert(*self.rng.pick(&all));
        }
        let learner = *self.rng.pick(&all);
        let change = match self.rng.below(8) {
            0 => ChangeMembers::AddNodes([node_at(learner)].into()),
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
        let request = ChangeRequest {
            change,
            retain: self.rng.chance(500_000),
            patience,
            preconditions: Preconditions::default(),
        };
        self.members.count += 1;
        let token = Token(FIRST_TOKEN + self.members.count);
        if is_whole {
            self.members.asked.insert(token, voters);
        }
        note(&mut self.faults, "members to change");
        let life = self.nodes.at(asked).map_or(0, |node| node.life);
        let event = Event::ChangeMembers { token, request: Arc::new(request) };
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
        let wanted = self.members.asked.remove(&token);
        let Ok(at) = outcome else {
            let lags = matches!(outcome, Err(Refusal::Lagging { .. }));
            note(&mut self.faults, if lags { "change given up" } else { "change refused" });
            return Ok(());
        };
        note(&mut self.faults, "members changed");
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
        require!(
            *said.voters() == wanted,
            Membership,
            "node {from} was asked for the voters {wanted:?} and says that they are so by {at}, where it is {said}"
        );
        Ok(())
    }

    /// A node that may have to lead looks at the time, so that it will campaign: its log may be the only one that the others can
    /// be elected without, even if it is about to leave (thesis, section 4.2.2).
    pub(super) fn judge_candidacy(&self, look: &Look) -> Result<(), Violation> {
        let id = look.node;
        let Some(running) = self.nodes.at(id).and_then(|node| node.running.as_ref()) else { return Ok(()) };
        let waits = running.driver.poll_timeout().is_some();
        if waits || matches!(look.role, RoleKind::Leader | RoleKind::Halted) {
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

    use super::*;
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
        assert_eq!(members.see(two, lost, &voters(&[2])).as_deref(), Some(&voters(&[1, 2, 3])));
        assert_eq!(members.see(one, next, &voters(&[1, 3])).as_deref(), Some(&voters(&[1, 2, 3])), "not {{2}}");
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
}
