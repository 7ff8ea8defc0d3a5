//! Who votes: configurations as values of the log, and a change between them by two majorities (thesis, section 4.3).
//!
//! ```text
//!   log     [ {1 2 3} ]  x  [ {3 4} and {1 2 3} ]  y  [ {3 4} ]  z
//!              stable               joint             settled
//! ```
//!
//! A server uses the last configuration in its own log, committed or not, and falls back when it is truncated. Before the
//! first one all servers vote. Learners decide nothing, so that the model has none: they are servers that do not vote.

use super::System;
use super::server::Server;
use crate::log::{Entry, LogIndex, Term};
use crate::server_set::{ServerId, ServerSet};
use std::fmt;

/// Who votes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// Who votes; while joint, who will vote after it.
    pub voters: ServerSet,
    /// While joint, who voted before; empty otherwise.
    pub outgoing: ServerSet,
}

impl Configuration {
    /// One in which `voters` decide alone.
    #[must_use]
    pub const fn stable(voters: ServerSet) -> Self {
        Self { voters, outgoing: ServerSet::new() }
    }

    /// The joint one on the way from this one to `voters`.
    #[must_use]
    pub fn joint(&self, voters: ServerSet) -> Self {
        Self { voters, outgoing: self.voters.clone() }
    }

    /// Whether two majorities decide.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a server votes, before or after a change that is under way.
    #[must_use]
    pub fn is_voter(&self, i: ServerId) -> bool {
        self.voters.contains(i) || self.outgoing.contains(i)
    }

    /// Whether those who `agree` are a majority of the voters and, while joint, of those who voted before too. Nobody is
    /// no majority of nobody.
    ///
    /// ```
    /// use outrigger_model::{ServerId, ServerSet, extended::Configuration};
    /// let joint = Configuration::stable(ServerSet::first(1)).joint(ServerSet::first(3));
    /// assert!(joint.is_quorum(|server| server != ServerId(3)));
    /// assert!(!joint.is_quorum(|server| server != ServerId(1)));
    /// ```
    #[must_use]
    pub fn is_quorum(&self, agree: impl Fn(ServerId) -> bool) -> bool {
        let majority = |set: &ServerSet| 2 * set.iter().filter(|server| agree(*server)).count() > set.len();
        majority(&self.voters) && (!self.is_joint() || majority(&self.outgoing))
    }

    /// Whether one entry may lead from this configuration to `next`: into a joint one that leaves from here, out of it to
    /// where it leads, or to another with the same voters.
    #[must_use]
    pub fn leads_to(&self, next: &Self) -> bool {
        let begins = !self.is_joint() && next.outgoing == self.voters;
        let stays_or_ends = !next.is_joint() && next.voters == self.voters;
        !next.voters.is_empty() && (begins || stays_or_ends)
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { voters, outgoing } = self;
        if self.is_joint() { write!(f, "{voters} and {outgoing}") } else { voters.fmt(f) }
    }
}

/// What a log holds: the model looks into it for a configuration and for nothing else.
pub trait Value: Ord + Clone + fmt::Debug {
    /// The configuration that counts from here on, if it is one.
    fn configuration(&self) -> Option<&Configuration> {
        None
    }
}

impl Value for u8 {}
impl Value for char {}

/// What a search through configurations puts into logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// A client's.
    Client(u8),
    /// An operator's.
    Configure(Configuration),
}

impl Value for Command {
    fn configuration(&self) -> Option<&Configuration> {
        match self {
            Self::Client(_) => None,
            Self::Configure(configuration) => Some(configuration),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(value) => value.fmt(f),
            Self::Configure(configuration) => fmt::Display::fmt(configuration, f),
        }
    }
}

impl<V: Value> Server<V> {
    /// The configuration that counts here: the last one in the log, committed or not. `None` before the first one.
    #[must_use]
    pub fn configuration(&self) -> Option<&Configuration> {
        self.log.entry(self.configured_at())?.value.configuration()
    }

    /// Where that one stands; 0 before the first one.
    #[must_use]
    pub fn configured_at(&self) -> LogIndex {
        self.configured.last().copied().unwrap_or_default()
    }
}

impl<V: Value> System<V> {
    /// The initial state of a cluster whose voters have the entry of term 0, the configuration `first`, on their disks. The
    /// other servers have empty logs.
    ///
    /// # Panics
    /// If `first` is no configuration.
    #[must_use]
    pub fn configured(servers: &ServerSet, first: &V) -> Self {
        let mut system = Self::new(servers);
        let configuration = first.configuration().expect("the first entry is a configuration");
        for (_, server) in system.servers.iter_mut().filter(|(i, _)| configuration.is_voter(*i)) {
            server.append(Entry { term: Term::ZERO, value: first.clone() });
            server.flush();
        }
        system.said.first = Some(first.clone());
        system
    }

    /// Whether those who `agree` are a quorum by the configuration of the server that counts.
    pub(super) fn is_quorum(&self, counts: &Server<V>, agree: impl Fn(ServerId) -> bool) -> bool {
        match counts.configuration() {
            Some(configuration) => configuration.is_quorum(agree),
            None => 2 * self.servers.ids().filter(|i| agree(*i)).count() > self.servers.len(),
        }
    }

    /// Whether a server may lead. Where the first entry is a configuration, a server without it may not. One that is no voter may
    /// have to: its log may be the only one that nobody can be elected against (thesis, section 4.2.2). That it has no quorum of
    /// those that it knows without their votes is what keeps this safe.
    pub(super) fn may_campaign(&self, server: &Server<V>) -> bool {
        server.configuration().is_some() || self.said.first.as_ref().is_none_or(|first| first.configuration().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{S1, S2, S3};
    use super::*;

    fn stable(voters: &[ServerId]) -> Configuration {
        Configuration::stable(voters.iter().copied().collect())
    }

    #[test]
    fn a_change_goes_through_one_joint_configuration_and_to_where_it_leads() {
        let (first, second) = (stable(&[S1, S2]), stable(&[S3]));
        let joint = first.joint(second.voters.clone());
        assert!(first.leads_to(&joint) && joint.leads_to(&second) && first.leads_to(&first));
        assert!(!first.leads_to(&second), "not at once");
        assert!(!joint.leads_to(&first), "not back");
        assert!(!second.leads_to(&joint), "not from elsewhere");
        let further = second.joint(first.voters.clone());
        assert!(second.leads_to(&further) && !joint.leads_to(&further), "one change at a time");
        assert!(!first.leads_to(&first.joint(ServerSet::new())), "somebody votes");
    }

    #[test]
    fn two_majorities_decide_while_a_change_is_under_way() {
        let joint = stable(&[S1]).joint(ServerSet::first(3));
        assert!(joint.is_quorum(|server| server != S2));
        assert!(!joint.is_quorum(|server| server == S1), "one of the next three");
        assert!(!joint.is_quorum(|server| server != S1), "none of those before");
        assert!(!stable(&[S1, S2]).is_quorum(|server| server == S1), "half is no majority");
        assert!(!stable(&[]).is_quorum(|_| true), "nobody is no majority of nobody");
        let leaves = stable(&[S1, S2]).joint([S3].into_iter().collect());
        assert!(leaves.is_voter(S1) && leaves.is_voter(S3) && !stable(&[S3]).is_voter(S1));
    }

    #[test]
    fn before_the_first_configuration_more_than_half_of_all_decide() {
        let system: System<u8> = System::new(&ServerSet::first(4));
        let server = system.servers.at(S1).expect("one of the four");
        assert!(system.is_quorum(server, |i| i != S1));
        assert!(!system.is_quorum(server, |i| i <= S2));
    }
}
