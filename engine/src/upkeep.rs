//! What a leader writes into the membership of its own accord: as what the cluster is founded ([`Founding`](crate::Founding)), which
//! data directories its members run from ([`binding`](crate::binding)), and the version that all of them speak by now
//! ([`version`](crate::version)).
//!
//! Nobody has asked for such an entry, so nobody need know of it. It has the members of another entry, which it names
//! ([`Membership::of`]): the first change that is wanted while it is on its way waits for it, and a precondition that names the one
//! holds for the other. It is an ordinary membership otherwise: it counts once appended, and goes with a truncation.

use std::sync::Arc;

use crate::binding::Binding;
use crate::engine::Engine;
use crate::entry::Payload;
use crate::membership::Membership;
use crate::node_map::NodeMap;
use crate::role::Role;
use crate::types::{Instant, LogId};

impl Engine {
    /// Founds the cluster, binds whom the leader knows and who is not bound, and raises the version, once nothing else is under way:
    /// one entry for all of it. Runs after every event.
    pub(crate) fn keep_membership(&mut self, now: Instant) {
        let (at, membership) = self.memberships.last();
        if !self.may_keep(*at, membership) {
            return;
        }
        let founds = self.is_to_found(membership);
        let bound = match self.to_bind(membership, now) {
            Some(bound) => bound,
            None if founds => NodeMap::new(),
            None => return,
        };
        let raised = self.version_to_raise(membership);
        if bound.is_empty() && raised.is_none() && !founds {
            return;
        }
        let of = membership.of().unwrap_or(*at);
        let mut next = membership.bound(bound, Some(of)).with_version(raised.unwrap_or(membership.version()));
        if founds {
            next = next.founded(self.random.founding());
        }
        self.append_own(Arc::new([Payload::membership(Arc::new(next))]), now);
        if let Role::Leader(leader) = &mut self.role {
            leader.unbound_since = now;
        }
        self.advance_commit();
    }

    fn may_keep(&self, at: LogId, membership: &Membership) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let lacks_bindings = self.config.bind_directories && membership.bindings().len() < membership.nodes().len();
        let lacks_something = lacks_bindings || self.is_to_found(membership);
        let is_settled = at.index <= self.commit_index && leader.term_start <= self.commit_index;
        let is_changing = leader.change.is_some() || membership.goal().is_some() || self.transfer.is_some();
        // Who is no voter any more is about to go, and is not answered by those who know.
        let stays = || membership.is_voter(self.id());
        (lacks_something || membership.version() < self.config.node.version) && is_settled && !is_changing && stays()
    }

    /// Whom to bind now; `None` while more of them may be expected. Who is not there does not keep the others waiting for ever.
    fn to_bind(&self, membership: &Membership, now: Instant) -> Option<NodeMap<Binding>> {
        let Role::Leader(leader) = &self.role else { return None };
        if !self.config.bind_directories {
            return Some(NodeMap::new());
        }
        let known = self.known_directories(membership);
        let is_all = membership.bindings().len() + known.len() == membership.nodes().len();
        let has_waited = now.since(leader.unbound_since) >= self.config.election_timeout_max;
        (is_all || has_waited).then_some(known)
    }

    /// The first leader of a cluster founds it, at once, and thus before any change of the members.
    fn is_to_found(&self, membership: &Membership) -> bool {
        mutate!(founded_by_each_leader if self.memberships.last().0.term < self.vote.term, return true);
        self.config.bind_directories && !membership.founding().is_known()
    }
}
