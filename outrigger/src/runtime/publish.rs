//! What RaftCore tells those who watch: its metrics, at most about once a millisecond; and to the transport, its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_engine::{Fault, Instant, NodeId, Status, Term, Version};

use super::driver::Driver;
use crate::metrics::{DISK_HANGS, Metrics};
use crate::network::Transport;
use crate::watch;

/// Metrics are not published more often: under load each write would change them.
const PAUSE: Duration = Duration::from_millis(1);

/// For so long the same members hold the cluster's version back before the log tells of it: most of those that were not heard yet are
/// about to be.
const HELD_BACK_FOR: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Publisher {
    sender: Arc<watch::Sender<Arc<Metrics>>>,
    /// When metrics may be published next.
    not_before: Instant,
    /// Whether something happened since they were published.
    is_stale: bool,
    /// Whether `addresses` may be out of date.
    addresses_are_stale: bool,
    /// Where clients reach whom, as the metrics say it.
    addresses: BTreeMap<NodeId, String>,
    /// Where clients reach this node.
    own_address: Option<String>,
    /// The term and the leader that the log was told last.
    logged: (Term, Option<NodeId>),
    /// Whether the log was told that the disk hangs.
    hangs: bool,
    /// Who holds the cluster's version back, since when it is those, and whether the log was told.
    held_back: (BTreeMap<NodeId, Option<Version>>, Instant, bool),
}

impl Publisher {
    pub(crate) const fn new(sender: Arc<watch::Sender<Arc<Metrics>>>, own_address: Option<String>) -> Self {
        Self {
            sender,
            not_before: Instant(0),
            is_stale: true,
            addresses_are_stale: true,
            addresses: BTreeMap::new(),
            own_address,
            logged: (Term(0), None),
            hangs: false,
            held_back: (BTreeMap::new(), Instant(0), false),
        }
    }

    /// When it wants to be called; `None` when everything is published.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.is_stale.then_some(self.not_before)
    }

    /// Client addresses may have changed: a peer has introduced itself.
    pub(crate) const fn addresses_changed(&mut self) {
        self.addresses_are_stale = true;
    }

    /// Something may have happened: publishes it now or, if it is too early, notes that it is due. Answers the status
    /// if it looked at it.
    pub(crate) fn publish(
        &mut self,
        driver: &Driver,
        transport: &dyn Transport,
        fault: Option<&Fault>,
        now: Instant,
    ) -> Option<Status> {
        self.is_stale = true;
        if now < self.not_before {
            return None;
        }
        self.is_stale = false;
        self.not_before = now + PAUSE;
        let status = driver.engine().status();
        if std::mem::take(&mut self.addresses_are_stale) {
            self.addresses = transport.client_addresses();
            self.addresses.extend(self.own_address.clone().map(|own| (status.node, own)));
        }
        self.log(&status);
        self.log_disk(&status);
        self.log_held_back(&status, now);
        self.send(Metrics::new(status.clone(), fault.map(ToString::to_string), self.addresses.clone()));
        Some(status)
    }

    /// Says who leads, when that changes.
    fn log(&mut self, status: &Status) {
        let leadership = (status.term, status.leader);
        if self.logged == leadership {
            return;
        }
        self.logged = leadership;
        let Status { node, role, term, leader, last, commit, .. } = status;
        let (node, term, role) = (node.0, term.0, role.name());
        match leader {
            Some(leader) => tracing::info!(node, term, role, %last, %commit, "node {leader} leads"),
            None => tracing::debug!(node, term, role, %last, %commit, "nobody leads"),
        }
    }

    /// Says when the disk hangs, and when it does no more.
    fn log_disk(&mut self, status: &Status) {
        let Status { node, disk_hangs: hangs, .. } = status;
        match (std::mem::replace(&mut self.hangs, *hangs), *hangs) {
            (false, true) => tracing::warn!(node = node.0, "{DISK_HANGS}"),
            (true, false) => tracing::info!(node = node.0, "the disk of this node works again"),
            (true, true) | (false, false) => {}
        }
    }

    /// Says who holds the cluster's version back, once for as long as it is the same members in the same builds.
    fn log_held_back(&mut self, status: &Status, now: Instant) {
        let Status { node, membership, version_held_back_by: by, .. } = status;
        if self.held_back.0 != *by {
            self.held_back = (by.clone(), now, false);
        }
        let (_, since, is_told) = &mut self.held_back;
        if by.is_empty() || *is_told || now.since(*since) < HELD_BACK_FOR {
            return;
        }
        *is_told = true;
        let members: Vec<String> = by.iter().map(|(node, spoken)| held_back_by(*node, *spoken)).collect();
        let (node, version, members) = (node.0, membership.version(), members.join(", "));
        tracing::info!(node, %version, "the cluster stays at version {version}, held back by {members}");
    }

    /// Publishes what will not change any more.
    pub(crate) fn publish_last(&mut self, status: Status, fault: Option<String>) {
        let addresses = std::mem::take(&mut self.addresses);
        self.send(Metrics::new(status, fault, addresses));
    }

    fn send(&self, mut metrics: Metrics) {
        self.sender.send_if_modified(|latest| {
            metrics.was_member |= latest.was_member;
            let is_new = **latest != metrics;
            if is_new {
                *latest = Arc::new(metrics);
            }
            is_new
        });
    }
}

/// A member that holds the cluster's version back, and why.
fn held_back_by(node: NodeId, spoken: Option<Version>) -> String {
    match spoken {
        Some(spoken) => format!("node {node}, which speaks no more than {spoken}"),
        None => format!("node {node}, which was not heard yet"),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::{Engine, EngineConfig, Incarnation, Peer, Restored};

    use super::*;

    fn metrics() -> Metrics {
        let peer = Peer::new(NodeId(1), Incarnation::default());
        let engine = Engine::new(EngineConfig::new(peer, 1), Restored::default(), Instant(0));
        Metrics::new(engine.status(), None, BTreeMap::new())
    }

    /// By it a node that was removed is told from one that was not added yet.
    #[test]
    fn who_was_a_member_once_has_been_one_for_good() {
        let was = Metrics { was_member: true, ..metrics() };
        let (sender, receiver) = watch::channel(Arc::new(was));
        let publisher = Publisher::new(Arc::new(sender), None);
        let leader = Some(NodeId(2));
        publisher.send(Metrics { leader, was_member: false, ..metrics() });
        assert_eq!((receiver.latest().leader, receiver.latest().was_member), (leader, true));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_woken_for_what_is_no_news() {
        let (sender, mut receiver) = watch::channel(Arc::new(metrics()));
        let publisher = Publisher::new(Arc::new(sender), None);
        publisher.send(metrics());
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, receiver.changed()).await.is_err());
        publisher.send(Metrics { leader: Some(NodeId(2)), ..metrics() });
        assert!(tokio::time::timeout(second, receiver.changed()).await.is_ok());
    }
}
