//! What the logs of the model hold: digests, and of memberships what decides anything.

use std::fmt;
use std::sync::Arc;

use outrigger::engine::{Body, Event, Membership, NodeSet, Payload};
use outrigger_model::ServerSet;
use outrigger_model::extended::{self, Configuration};

use super::{After, Note, server};
use crate::trace::digest;

/// An entry's payload, as far as the model can tell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Value {
    pub(super) digest: u64,
    /// Who votes from here on. Learners, addresses and where a change leads decide nothing in the model.
    configuration: Option<Arc<Configuration>>,
}

impl Value {
    pub(super) const fn plain(digest: u64) -> Self {
        Self { digest, configuration: None }
    }

    pub(super) fn membership(membership: &Arc<Membership>) -> Self {
        let configuration = Some(Arc::new(configuration(membership)));
        Self { digest: digest(&Payload::membership(Arc::clone(membership))), configuration }
    }

    /// That of any entry.
    pub(super) fn of(payload: &Payload) -> Self {
        match &payload.body {
            Body::Membership(membership) => Self::membership(membership),
            Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => Self::plain(digest(payload)),
        }
    }

    /// The first entry of a log, as the event that made it says.
    pub(super) fn first(event: &Event) -> Option<Self> {
        let Event::Initialize { membership, .. } = event else { return None };
        Some(Self::membership(membership))
    }
}

/// In a sentence about an action.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.configuration {
            Some(configuration) => write!(f, "{configuration}"),
            None => write!(f, "{}", self.digest),
        }
    }
}

impl extended::Value for Value {
    fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_deref()
    }
}

fn configuration(membership: &Membership) -> Configuration {
    let set = |ids: &NodeSet| ids.iter().copied().map(server).collect::<ServerSet>();
    Configuration { voters: set(membership.voters()), outgoing: set(membership.outgoing()) }
}

/// Whether a node counts by the configuration of its model. Before the first one nobody is a member.
pub(super) fn same_configuration(own: Option<&Configuration>, membership: &Membership) -> bool {
    let Some(own) = own else { return membership.voters().is_empty() && !membership.is_joint() };
    let same =
        |set: &ServerSet, ids: &NodeSet| set.len() == ids.len() && set.iter().eq(ids.iter().copied().map(server));
    same(&own.voters, membership.voters()) && same(&own.outgoing, membership.outgoing())
}

impl After<'_> {
    /// The memberships that the step has put into the log, and where.
    pub(super) fn memberships(&self) -> impl Iterator<Item = (usize, &Arc<Membership>)> {
        self.notes.iter().filter_map(|note| match note {
            Note::Membership(index, membership) => Some((super::number(index.0), membership)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{Goal, Node, NodeId};

    use super::*;

    #[test]
    fn a_configuration_is_the_same_only_with_the_same_voters_before_and_after_a_change() {
        let of = |ids: &[u64]| Membership::new(ids.iter().map(|id| (NodeId(*id), Node::default())), []);
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<NodeSet>();
        let joint = |ids: &[u64], before: &[u64]| {
            let goal = Goal { voters: set(ids), members: set(before), added: NodeSet::new() };
            let nodes = before.iter().map(|id| (NodeId(*id), Node::default())).collect();
            Membership::from_parts(set(ids), set(before), nodes, Some(goal)).expect("a sound membership")
        };
        let (three, leads) = (of(&[1, 2, 3]), joint(&[1, 2], &[1, 2, 3]));
        let same = |one: &Membership, other: &Membership| same_configuration(Some(&configuration(one)), other);
        assert!(same(&three, &three) && same(&leads, &leads));
        assert!(!same(&three, &of(&[1, 2])) && !same(&of(&[1, 2]), &three), "one has more");
        assert!(!same(&three, &of(&[1, 2, 4])));
        assert!(!same(&leads, &of(&[1, 2])) && !same(&of(&[1, 2]), &leads), "one is joint");
        assert!(!same(&leads, &joint(&[1, 2], &[1, 2, 4])), "others voted before");
        assert!(same_configuration(None, &Membership::default()) && !same_configuration(None, &three));
    }
}
