//! What a node is and knows, to watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_engine::{Brought, LogId, LogIndex, Membership, NodeId, RoleKind, Status, Term, Version};

use crate::error::Stopped;
use crate::watch;

/// That a disk hangs, for people.
pub(crate) const DISK_HANGS: &str =
    "the disk of this node hangs: a write of its log has not come to an end for longer than an election timeout";

/// A node at one moment. All of it is of the same moment, at most about a millisecond ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Which node.
    pub node: NodeId,
    /// What it does.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// The leader of the term, as far as the node knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log, durable or not.
    pub last: LogId,
    /// The last durable index of its log.
    pub flushed: LogIndex,
    /// Whether its disk has finished no write for longer than an election timeout, although it has one to do: it does not lead then, nor
    /// campaign.
    pub disk_hangs: bool,
    /// The last entry that its newest durable snapshot covers; [`LogId::ZERO`] if it has none.
    pub snapshot: LogId,
    /// What stands before the first entry of its log: it and all before it is in the snapshot only.
    pub purged: LogId,
    /// Up to which index it knows entries to be committed.
    pub committed: LogIndex,
    /// Up to which index its state machine has applied them.
    pub applied: LogIndex,
    /// The cluster's version, as far as the node knows it to be committed: all members speak it. It never goes back while the node
    /// runs; one that has just started may know less until it has heard its leader. [`Membership::version`] may be rolled back yet.
    /// It tells nothing of the program's own commands.
    pub version: Version,
    /// Which version each node speaks, as far as this one has heard it in this life; its own too.
    pub versions: BTreeMap<NodeId, Version>,
    /// On a leader: which members keep the cluster from the newest version that any of them speaks, and what each of those was heard to
    /// speak; `None` of who was not heard yet. The log says so too, once that has been the same for a second.
    pub version_held_back_by: BTreeMap<NodeId, Option<Version>>,
    /// The membership that counts; while a change is under way, it says where that leads.
    pub membership: Arc<Membership>,
    /// The entry that it stands in.
    pub membership_at: LogId,
    /// On a leader: up to which index each other member's log is known to be durable and equal.
    pub matched: BTreeMap<NodeId, LogIndex>,
    /// On a leader: how much of a snapshot each member has that is being brought one, as its log does not reach back to what that one
    /// lacks.
    pub brought: BTreeMap<NodeId, Brought>,
    /// Whether this node has been a member at any time since it started.
    pub was_member: bool,
    /// Which peers have lately refused to listen to this node, and why.
    pub refused_by: BTreeMap<NodeId, String>,
    /// Which peers have lately contradicted what Raft guarantees, so that this node refused to listen to them, and how; and where somebody
    /// else is than the peer that is said to be there.
    pub refuses: BTreeMap<NodeId, String>,
    /// Why the node has stopped, if it did so by a fault.
    pub fault: Option<String>,
    /// Where clients reach each node whose address is known, this one included.
    pub client_addresses: BTreeMap<NodeId, String>,
}

impl Metrics {
    pub(crate) fn new(status: Status, fault: Option<String>, client_addresses: BTreeMap<NodeId, String>) -> Self {
        assert!(status.commit <= status.last.index, "committed {} of {}", status.commit, status.last);
        assert!(status.applied <= status.commit, "applied {} of {} committed", status.applied, status.commit);
        Self {
            node: status.node,
            role: status.role,
            term: status.term,
            leader: status.leader,
            last: status.last,
            flushed: status.flushed,
            disk_hangs: status.disk_hangs,
            snapshot: status.snapshot,
            purged: status.purged,
            committed: status.commit,
            applied: status.applied,
            was_member: status.membership.nodes().contains_key(&status.node),
            version: status.version,
            versions: status.versions,
            version_held_back_by: status.version_held_back_by,
            membership: status.membership,
            membership_at: status.membership_at,
            matched: status.matched,
            brought: status.brought,
            refused_by: status.refused_by,
            refuses: status.refuses,
            fault,
            client_addresses,
        }
    }

    /// Whether this node has no log yet and waits until a leader adds it to the members.
    #[must_use]
    pub fn waits_to_be_added(&self) -> bool {
        self.membership.nodes().is_empty()
    }

    /// Whether this node was removed from the members: it was one and is none by what is committed, or a majority tells it so.
    ///
    /// That it is none by its log is not enough: one that has just been added reads of the past before it reads of itself. And who
    /// was removed may never hear that this is committed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        let is_member = self.waits_to_be_added() || self.membership.nodes().contains_key(&self.node);
        let is_settled = self.was_member && self.membership_at.index <= self.committed;
        !is_member && (is_settled || self.is_told_to_be_a_stranger())
    }

    /// Whether most voters refuse this node, and its leader does, as far as it has one: others may know less than the leader.
    fn is_told_to_be_a_stranger(&self) -> bool {
        let voters = self.membership.voters();
        let refusing = voters.iter().filter(|voter| self.refused_by.contains_key(voter)).count();
        let leader = self.leader.filter(|leader| voters.contains(leader));
        2 * refusing > voters.len() && leader.is_none_or(|leader| self.refused_by.contains_key(&leader))
    }

    /// What is wrong with this node or with one that it talks to, in a line for people: its fault, else that it was removed, else
    /// that its disk hangs, who refuses it, and whom it refuses. `None` when all is well, as far as it knows.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.fault.is_none() && self.is_removed() {
            return Some(format!(
                "this node was removed from the members (entry {}): stop it. To have it back under its id, add it again: with this \
                 data directory as it is; or with an empty one, which is added as a learner, started to join (not with the initial \
                 members), and promoted once it has caught up",
                self.membership_at
            ));
        }
        let hangs = self.disk_hangs.then(|| DISK_HANGS.to_owned());
        let refused = self.refused_by.iter().map(|(by, reason)| format!("node {by} refuses this node: {reason}"));
        let refuses = self.refuses.iter().map(|(of, reason)| format!("this node refuses node {of}: {reason}"));
        let all: Vec<String> = self.fault.iter().cloned().chain(hangs).chain(refused).chain(refuses).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Watches the metrics of a node: always the latest, never a queue of old ones.
///
/// It hands out what it sees as an [`Arc`] and lends nothing, so that no watcher, however slow, can hold the node up.
#[derive(Clone, Debug)]
pub struct MetricsReceiver(watch::Receiver<Arc<Metrics>>);

impl MetricsReceiver {
    pub(crate) const fn new(receiver: watch::Receiver<Arc<Metrics>>) -> Self {
        Self(receiver)
    }

    /// A receiver that has seen what there is now.
    pub(crate) fn fresh(&self) -> Self {
        let mut fresh = self.clone();
        fresh.0.latest_seen();
        fresh
    }

    /// The metrics as they are now; of a node that has stopped, as they were last.
    #[must_use]
    pub fn latest(&self) -> Arc<Metrics> {
        self.0.latest()
    }

    /// Waits until the metrics differ from those that this receiver saw last.
    ///
    /// Cancel safe: a change that is not returned is returned by the next call.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn changed(&mut self) -> Result<Arc<Metrics>, Stopped> {
        self.0.changed().await.map_err(|_| Stopped)
    }

    /// Waits until the metrics satisfy a condition; they are looked at at once.
    ///
    /// # Errors
    /// When the node has stopped before they did.
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&Metrics) -> bool) -> Result<Arc<Metrics>, Stopped> {
        self.0.wait_for(|metrics| condition(metrics)).await.map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::Node;

    use super::*;

    /// Node 3, by whose log 1, 2 and 4 are the members.
    fn outsider(was_member: bool, committed: u64, leader: Option<u64>, refused_by: &[u64]) -> Metrics {
        let nodes = [1, 2, 4].map(|id| (NodeId(id), Node::default()));
        Metrics {
            node: NodeId(3),
            role: RoleKind::Learner,
            term: Term(2),
            leader: leader.map(NodeId),
            last: LogId::new(2, 9),
            flushed: LogIndex(9),
            disk_hangs: false,
            snapshot: LogId::ZERO,
            purged: LogId::ZERO,
            committed: LogIndex(committed),
            applied: LogIndex(0),
            membership: Arc::new(Membership::new(nodes, [])),
            membership_at: LogId::new(2, 7),
            version: Version::FIRST,
            versions: BTreeMap::new(),
            version_held_back_by: BTreeMap::new(),
            matched: BTreeMap::new(),
            brought: BTreeMap::new(),
            was_member,
            refused_by: refused_by.iter().map(|id| (NodeId(*id), "no member".to_owned())).collect(),
            refuses: BTreeMap::new(),
            fault: None,
            client_addresses: BTreeMap::new(),
        }
    }

    #[test]
    fn who_is_removed_is_told_from_who_is_not_there_yet() {
        let removed = outsider(true, 7, Some(1), &[]);
        assert!(removed.is_removed());
        assert!(!outsider(true, 6, Some(1), &[]).is_removed(), "it may still be rolled back");
        assert!(!outsider(false, 7, Some(1), &[2, 4]).is_removed(), "the leader sends it the log");
        assert!(!outsider(false, 7, None, &[2]).is_removed(), "one may lag");
        assert!(outsider(false, 6, Some(1), &[1, 2]).is_removed(), "nobody told it that this is committed");
        assert!(outsider(false, 7, None, &[2, 4]).is_removed(), "it has been restarted");
        assert!(outsider(false, 7, Some(3), &[2, 4]).is_removed(), "its leader has left too");
        let waits = Metrics { membership: Arc::default(), ..outsider(false, 0, None, &[1, 2, 4]) };
        assert!(waits.waits_to_be_added() && !waits.is_removed());
        assert_eq!(outsider(false, 7, Some(1), &[]).trouble(), None);
    }

    /// Found by a user: it was told that no other directory could ever come back under its id, which is what the way back is for.
    #[test]
    fn who_is_removed_is_told_both_ways_back() {
        let told = outsider(true, 7, Some(1), &[]).trouble().unwrap();
        for part in
            ["(entry 2/7)", "stop it", "add it again: with this data directory", "or with an empty one", "promoted"]
        {
            assert!(told.contains(part), "no `{part}` in {told}");
        }
        assert!(!told.contains("only"), "{told}");
    }
}
