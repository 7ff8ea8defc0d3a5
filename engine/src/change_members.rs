//! What callers can want of the members, and what becomes of a membership by it. Nothing here knows of logs or terms.

use std::time::Duration;

use crate::binding::Binding;
use crate::membership::{Goal, Membership, Node};
use crate::node_map::NodeMap;
use crate::node_set::NodeSet;
use crate::refusal::Refusal;
use crate::types::{LogId, NodeId, Term};

/// A change of the members. Whatever its form, one call leads from any set of voters to any other (thesis, section 4.3).
///
/// What holds already is left as it is: to add a member that is there, with the address that it has, changes nothing.
///
/// Whatever its form, a change is refused with [`Refusal::AddressTaken`] if it gives a member an address that another one has when it
/// is through, letter by letter. Who leaves by the same change may leave its address to another, and two may change places. An empty
/// address is none.
///
/// ```
/// use outrigger_engine::{ChangeMembers, Membership, Node, NodeId};
/// let node = |id: u64| (NodeId(id), Node { address: format!("10.0.0.{id}:7101") });
/// let replace_3_by_4 = ChangeMembers::Batch(vec![
///     ChangeMembers::AddVoters([node(4)].into()),
///     ChangeMembers::RemoveVoters([NodeId(3)].into()),
/// ]);
/// # let _ = replace_3_by_4;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChangeMembers {
    /// These learners vote from now on. Refused with [`Refusal::UnknownNode`] for who is no member.
    AddVoterIds(NodeSet),
    /// These nodes are voters from now on, whether they are members already or not. They receive the log first, and vote once
    /// they have caught up. Refused with [`Refusal::AddressDiffers`] for a member at another address.
    AddVoters(NodeMap<Node>),
    /// These voters vote no more. They stay as learners if the [request](ChangeRequest::retain) says so, and leave otherwise.
    /// Refused with [`Refusal::UnknownNode`] for who is no member.
    RemoveVoters(NodeSet),
    /// These members vote, and no others.
    ReplaceAllVoters(NodeSet),
    /// These nodes are learners, if they are no members yet. Refused with [`Refusal::AddressDiffers`] for a member at another
    /// address.
    AddNodes(NodeMap<Node>),
    /// These members are reached there from now on. Refused with [`Refusal::UnknownNode`] for who is no member.
    ///
    /// Nobody tries the address, not even the leader's own: others reach a leader that is at work where it says itself that it is
    /// reached, and where another node is to be found the leader cannot know before it is there. A wrong one is put right by another
    /// such change, best before its node is started again.
    SetNodes(NodeMap<Node>),
    /// These learners leave. Refused with [`Refusal::StillVoter`] for a voter.
    RemoveNodes(NodeSet),
    /// These are the members, and no others. Refused with [`Refusal::StillVoter`] if a voter is not among them.
    ReplaceAllNodes(NodeMap<Node>),
    /// All of these, one after the other, as one change. Refused with [`Refusal::AddedAgain`] if one of them removes a member that
    /// another one adds.
    Batch(Vec<ChangeMembers>),
}

/// A change of the members, and under which conditions it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeRequest {
    /// What is wanted.
    pub change: ChangeMembers,
    /// Whether voters that are removed stay as learners.
    pub retain: bool,
    /// For how long new voters may acknowledge nothing, and get nothing of a snapshot, while they catch up. Then the change is
    /// given up, with [`Refusal::Lagging`], or [`Refusal::NoMajority`] if others are silent. Zero lets only those vote that lack nothing.
    pub patience: Duration,
    /// What must hold on the leader, else nothing is done.
    pub preconditions: Preconditions,
}

impl From<ChangeMembers> for ChangeRequest {
    /// Without preconditions; voters that are removed leave; new ones have ten seconds to acknowledge something.
    fn from(change: ChangeMembers) -> Self {
        let patience = Duration::from_secs(10);
        Self { change, retain: false, patience, preconditions: Preconditions::default() }
    }
}

impl ChangeRequest {
    /// Whether the members are as this wants them, and no change is under way: then it has been done, by this request or another.
    #[must_use]
    pub fn holds_in(&self, membership: &Membership) -> bool {
        membership.goal().is_none() && self.change.holds_in(membership, self.retain)
    }
}

impl ChangeMembers {
    fn holds_in(&self, members: &Membership, retain: bool) -> bool {
        let is_there = |(id, node): (&NodeId, &Node)| members.nodes().get(id) == Some(node);
        match self {
            Self::AddVoterIds(ids) => ids.iter().all(|id| members.is_voter(*id)),
            Self::AddVoters(nodes) => nodes.iter().all(is_there) && nodes.keys().all(|id| members.is_voter(*id)),
            Self::RemoveVoters(ids) => {
                let has_left = |id: &NodeId| retain || !members.nodes().contains_key(id);
                ids.iter().all(|id| !members.is_voter(*id) && has_left(id))
            }
            Self::ReplaceAllVoters(ids) => members.voters() == ids,
            Self::AddNodes(nodes) | Self::SetNodes(nodes) => nodes.iter().all(is_there),
            Self::RemoveNodes(ids) => ids.iter().all(|id| !members.nodes().contains_key(id)),
            Self::ReplaceAllNodes(nodes) => members.nodes() == nodes,
            Self::Batch(changes) => changes.iter().all(|change| change.holds_in(members, retain)),
        }
    }
}

/// What must hold on the leader for a change to begin; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preconditions {
    /// It leads in this term.
    pub term: Option<Term>,
    /// This is the last entry of its log.
    pub last: Option<LogId>,
    /// The members are those that this entry says: nobody has changed them since.
    pub membership: Option<LogId>,
}

/// Which of the [`Preconditions`] does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precondition {
    /// The leader's term is this one.
    Term(Term),
    /// The last entry is this one.
    Last(LogId),
    /// The members are those of this entry.
    Membership(LogId),
}

/// The members and voters that a change leads to, while it is being put together.
struct Draft {
    voters: NodeSet,
    nodes: NodeMap<Node>,
    retain: bool,
    /// Who has left on the way, and must not be among them at the end: whether it is to come from the same directory, nobody says.
    left: NodeSet,
}

impl Draft {
    fn change(&mut self, change: &ChangeMembers) -> Result<(), Refusal> {
        match change {
            ChangeMembers::AddVoterIds(ids) => {
                self.require(ids)?;
                self.voters.extend(ids);
            }
            ChangeMembers::AddVoters(nodes) => {
                self.add(nodes)?;
                self.voters.extend(nodes.keys());
            }
            ChangeMembers::RemoveVoters(ids) => {
                self.require(ids)?;
                self.dismiss(|id| ids.contains(&id));
            }
            ChangeMembers::ReplaceAllVoters(ids) => {
                self.require(ids)?;
                self.dismiss(|id| !ids.contains(&id));
                self.voters.extend(ids);
            }
            ChangeMembers::AddNodes(nodes) => self.add(nodes)?,
            ChangeMembers::SetNodes(nodes) => {
                self.require(nodes.keys())?;
                self.nodes.extend(nodes.clone());
            }
            ChangeMembers::RemoveNodes(ids) => {
                self.require(ids)?;
                self.refuse_voters(|id| ids.contains(&id))?;
                self.nodes.retain(|id, _| !ids.contains(id));
                self.left.extend(ids);
            }
            ChangeMembers::ReplaceAllNodes(nodes) => {
                self.refuse_voters(|id| !nodes.contains_key(&id))?;
                self.left.extend(self.nodes.keys().filter(|id| !nodes.contains_key(id)));
                self.nodes.clone_from(nodes);
            }
            ChangeMembers::Batch(changes) => changes.iter().try_for_each(|change| self.change(change))?,
        }
        Ok(())
    }

    fn require<'a>(&self, ids: impl IntoIterator<Item = &'a NodeId>) -> Result<(), Refusal> {
        let unknown = ids.into_iter().find(|id| !self.nodes.contains_key(id));
        unknown.map_or(Ok(()), |node| Err(Refusal::UnknownNode { node: *node }))
    }

    fn add(&mut self, nodes: &NodeMap<Node>) -> Result<(), Refusal> {
        let differs = |(id, node): &(&NodeId, &Node)| self.nodes.get(id).is_some_and(|known| known != *node);
        if let Some((id, _)) = nodes.iter().find(differs) {
            return Err(Refusal::AddressDiffers { node: *id });
        }
        self.nodes.extend(nodes.clone());
        Ok(())
    }

    fn dismiss(&mut self, leaves: impl Fn(NodeId) -> bool) {
        let leaving: Vec<NodeId> = self.voters.iter().copied().filter(|id| leaves(*id)).collect();
        for id in leaving {
            self.voters.remove(&id);
            let stays = self.retain;
            mutate!(removed_voters_retained_or_not, stays = !self.retain);
            if !stays {
                self.nodes.remove(&id);
                self.left.insert(id);
            }
        }
    }

    fn refuse_voters(&self, leaves: impl Fn(NodeId) -> bool) -> Result<(), Refusal> {
        let voter = self.voters.iter().copied().find(|id| leaves(*id));
        voter.map_or(Ok(()), |node| Err(Refusal::StillVoter { node }))
    }
}

impl Membership {
    /// The first step of a change of a stable membership; the same membership when there is nothing to change.
    ///
    /// # Errors
    /// Why the change is none that this membership can make.
    ///
    /// # Panics
    /// If this membership is itself a step of a change.
    pub fn changed(&self, change: &ChangeMembers, retain: bool) -> Result<Self, Refusal> {
        assert!(self.goal().is_none(), "{self} is under way to another one");
        let mut draft =
            Draft { voters: self.voters().clone(), nodes: self.nodes().clone(), retain, left: NodeSet::new() };
        draft.change(change)?;
        let Draft { voters, nodes, left, .. } = draft;
        mutate!(added_again_at_once, left = NodeSet::new());
        if let Some(node) = left.into_iter().find(|id| nodes.contains_key(id)) {
            return Err(Refusal::AddedAgain { node });
        }
        if voters.is_empty() {
            return Err(Refusal::NoVoters);
        }
        self.refuse_taken(&nodes)?;
        if voters == *self.voters() {
            return Ok(Self::sound(voters, NodeSet::new(), nodes, None).after(self));
        }
        let members: NodeSet = nodes.keys().copied().collect();
        let added = members.iter().copied().filter(|id| !self.nodes().contains_key(id)).collect();
        let mut all = self.nodes().clone();
        all.extend(nodes);
        let next = Self::sound(self.voters().clone(), NodeSet::new(), all, Some(Goal { voters, members, added }));
        Ok(next.after(self))
    }

    /// Two members at one address are none that can be told apart by who dials them. What is so already is no fault of this change.
    fn refuse_taken(&self, nodes: &NodeMap<Node>) -> Result<(), Refusal> {
        let comes = |(id, node): &(&NodeId, &Node)| !node.address.is_empty() && self.nodes().get(id) != Some(*node);
        for (id, node) in nodes.iter().filter(comes) {
            if let Some((by, _)) = nodes.iter().find(|(by, other)| *by != id && other.address == node.address) {
                return Err(Refusal::AddressTaken { node: *id, by: *by });
            }
        }
        Ok(())
    }

    /// The step from catching up to two majorities.
    ///
    /// # Panics
    /// If this is not a membership under way to other voters.
    #[must_use]
    pub fn joint(&self) -> Self {
        let goal = self.goal().expect("a membership under way").clone();
        assert!(!self.is_joint() && goal.voters != *self.voters(), "{self} is no membership under way to other voters");
        let next = Self::sound(goal.voters.clone(), self.voters().clone(), self.nodes().clone(), Some(goal));
        next.after(self)
    }

    /// The last step: the goal is reached.
    ///
    /// # Panics
    /// If this is not a joint membership.
    #[must_use]
    pub fn settled(&self) -> Self {
        let goal = self.goal().filter(|_| self.is_joint()).expect("a joint membership");
        let stays = |(id, node): (&NodeId, &Node)| goal.members.contains(id).then(|| (*id, node.clone()));
        let nodes = self.nodes().iter().filter_map(stays).collect();
        Self::sound(goal.voters.clone(), NodeSet::new(), nodes, None).after(self)
    }

    /// The way back, as long as nobody votes who did not before: who was added leaves.
    ///
    /// # Panics
    /// If this is not a membership under way whose voters are still the old ones.
    #[must_use]
    pub fn given_up(&self) -> Self {
        let goal = self.goal().filter(|_| !self.is_joint()).expect("a membership under way that is not joint");
        let stays = |(id, node): (&NodeId, &Node)| (!goal.added.contains(id)).then(|| (*id, node.clone()));
        let nodes = self.nodes().iter().filter_map(stays).collect();
        Self::sound(self.voters().clone(), NodeSet::new(), nodes, None).after(self)
    }

    /// These members in the cluster of those: it keeps its version and what it was founded as, and who stays is bound as before.
    fn after(self, before: &Self) -> Self {
        let stays = |(node, binding): (&NodeId, &Binding)| self.nodes().contains_key(node).then_some((*node, *binding));
        let bindings = before.bindings().iter().filter_map(stays).collect();
        let next = self.with_bindings(bindings, None).expect("only members are bound");
        mutate!(founding_forgotten_by_change, return next.with_version(before.version()));
        let next = next.founded(before.founding());
        mutate!(version_forgotten_by_change, return next);
        next.with_version(before.version())
    }

    fn sound(voters: NodeSet, outgoing: NodeSet, nodes: NodeMap<Node>, goal: Option<Goal>) -> Self {
        Self::from_parts(voters, outgoing, nodes, goal).expect("the steps of a change are sound memberships")
    }
}

#[cfg(test)]
mod tests;
