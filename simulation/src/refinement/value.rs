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
