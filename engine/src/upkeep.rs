//! What a leader writes into the membership of its own accord: as what the cluster is founded ([`Founding`](crate::Founding)), which
//! data directories its members run from ([`binding`](crate::binding)), and the version that all of them speak by now
//! ([`version`](crate::version)).
//!
//! Nobody has asked for such an entry, so nobody need know of it. It has the members of another entry, which it names
//! ([`Membership::of`]): the first change that is wanted while it is on its way waits for it, and a precondition that names the one
//! holds for the other. It is an ordinary membership otherwise: it counts once appended, and goes with a truncation.
//!
//! # Which cluster it is
//! ```text
//!   first members {1}    directory a1 ── first leader ── founded as 7d21.. ──► 2 and 3 are added
//!          │ the directory is lost, and begun anew with the same settings
//!          └───────────► directory b1 ── first leader ── founded as 09c4.. ──► 7 is added, and leads ──► asks 2 and 3: refused
//! ```
//!
//! Clusters that began alike have all in common but what their first leaders drew. So the first leader says it before anything else that
//! concerns the members: as soon as an entry of its term is committed, and no change begins before that. A node says it with every
//! message, and judges who speaks by it ([`meeting`](crate::meeting)), once it knows it to be committed: by its commit index, by a
//! snapshot, or as another membership follows it in the log. One that is not may be truncated for another leader's.
//!
//! Until a node knows, it takes for its own any cluster that began alike. So do the first members before they have heard that this
//! entry is committed, which a crash right then makes them forget; and who joins, if it is started again before its log has come so
//! far, while nothing is counted on it yet.

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
