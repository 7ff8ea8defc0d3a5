//! Who belongs to the cluster: voters, learners, and a joint configuration while the voters change (thesis, section 4.3).
//!
//! ```text
//!   stable        voters {1 2 3}                                       a quorum is a majority of it
//!     │ change to {1 2 4}
//!   catching up   voters {1 2 3}  learners {4}      goal {1 2 4}       4 receives the log (thesis, section 4.2.1)
//!     │ 4 has caught up, and is bound       └─► given up: it did not, stable again without it
//!   joint         voters {1 2 4}  outgoing {1 2 3}  goal {1 2 4}       a quorum is a majority of each
//!     │ that is committed
//!   stable        voters {1 2 4}
//! ```
//!
//! All of it stands in the log, so that any leader can go on where another one stopped.

use std::fmt;
use std::sync::Arc;

use crate::binding::Binding;
use crate::fingerprint::Fingerprint;
use crate::node_map::NodeMap;
use crate::node_set::NodeSet;
use crate::quorum::{Joint, Majority};
use crate::snapshot::Snapshot;
use crate::types::{Founding, LogId, LogIndex, NodeId};
use crate::version::Version;

/// What a cluster knows of one of its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Where its peers reach it, for example `10.0.0.1:7101`. The engine never looks inside.
    pub address: String,
}

/// The members of a cluster, sorted by id, so that equal memberships are equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Who votes. Every voter is in `nodes`.
    voters: NodeSet,
    /// Who voted before the change that is under way; empty when there is none. Every one is in `nodes`.
    outgoing: NodeSet,
    /// Every member. Who is neither in `voters` nor in `outgoing` is a learner.
    nodes: NodeMap<Node>,
    /// Where the change that is under way leads; `None` when there is none.
    goal: Option<Goal>,
    /// What may be said in the cluster: every member speaks it.
    version: Version,
    /// As what the cluster was founded.
    founding: Founding,
    /// Whose data directory is known to all; every one is in `nodes`.
    bindings: NodeMap<Binding>,
    /// The entry whose members these are, if this one only binds them or raises the version.
    of: Option<LogId>,
}

/// Where a change of the members leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Goal {
    /// Who will vote; at least one, each in `members`.
    pub voters: NodeSet,
    /// Who will be a member. Other members leave when the change ends.
    pub members: NodeSet,
    /// Those of `members` that this change has added: they leave again if it is given up.
    pub added: NodeSet,
}

impl Membership {
    /// A stable membership: all of `voters` vote, all of `learners` only learn.
    ///
    /// A node named as both votes.
    ///
    /// ```
    /// use outrigger_engine::{Membership, Node, NodeId};
    /// let node = |port: u16| Node { address: format!("127.0.0.1:{port}") };
    /// let membership = Membership::new([(NodeId(1), node(7101)), (NodeId(2), node(7102))], []);
    /// assert!(membership.is_voter(NodeId(1)));
    /// assert_eq!(membership.to_string(), "voters {1 2}");
    /// ```
    #[must_use]
    pub fn new(
        voters: impl IntoIterator<Item = (NodeId, Node)>,
        learners: impl IntoIterator<Item = (NodeId, Node)>,
    ) -> Self {
        let mut nodes: NodeMap<Node> = learners.into_iter().collect();
        let voting: NodeMap<Node> = voters.into_iter().collect();
        let voters = voting.keys().copied().collect();
        nodes.extend(voting);
        Self { voters, nodes, ..Self::default() }
    }

    /// A membership from its parts, as they stand in a log or a message; `None` if they contradict each other: somebody is not
    /// among the nodes, a joint membership has no goal or another one than its voters, or a goal has no voter.
    #[must_use]
    pub fn from_parts(voters: NodeSet, outgoing: NodeSet, nodes: NodeMap<Node>, goal: Option<Goal>) -> Option<Self> {
        let known = |set: &NodeSet| set.iter().all(|id| nodes.contains_key(id));
        let leads_somewhere = goal.as_ref().is_none_or(|goal| {
            let within = |set: &NodeSet| set.is_subset(&goal.members);
            known(&goal.members) && within(&goal.voters) && within(&goal.added) && !goal.voters.is_empty()
        });
        let is_joint_rightly = outgoing.is_empty() || goal.as_ref().is_some_and(|goal| goal.voters == voters);
        let is_sound = known(&voters) && known(&outgoing) && leads_somewhere && is_joint_rightly;
        is_sound.then_some(Self { voters, outgoing, nodes, goal, ..Self::default() })
    }

    /// The same members in a cluster of this version. [`Version::FIRST`] is what a membership has that says nothing of it.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The same members in the cluster that was founded as this one.
    #[must_use]
    pub fn founded(self, founding: Founding) -> Self {
        Self { founding, ..self }
    }

    /// The same members with these directories bound to their ids; `of` names the entry whose members they are, if nothing else
    /// than bindings and the version has changed since. `None` if somebody is not among the nodes.
    #[must_use]
    pub fn with_bindings(self, bindings: NodeMap<Binding>, of: Option<LogId>) -> Option<Self> {
        let is_sound =
            bindings.keys().all(|id| self.nodes.contains_key(id)) && (of.is_none() || !self.nodes.is_empty());
        is_sound.then_some(Self { bindings, of, ..self })
    }

    /// Whether both have the same members, roles, bindings and version; whose entry they stem from is nothing that anybody asks for.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let Self { voters, outgoing, nodes, version, founding, bindings, of: _, goal } = self;
        (voters, outgoing, nodes) == (&other.voters, &other.outgoing, &other.nodes)
            && (version, founding, bindings, goal) == (&other.version, &other.founding, &other.bindings, &other.goal)
    }

    /// Whether a membership may follow this one in a log: the cluster's version never goes back, and what it was founded as stays.
    #[must_use]
    pub fn may_be_followed_by(&self, next: &Self) -> bool {
        self.version <= next.version && self.may_have_founding(next.founding)
    }

    /// Whether a membership that follows this one may say that the cluster was founded as that.
    pub(crate) fn may_have_founding(&self, next: Founding) -> bool {
        !self.founding.is_known() || self.founding == next
    }

    /// The same members, of whom these are bound too.
    pub(crate) fn bound(&self, more: NodeMap<Binding>, of: Option<LogId>) -> Self {
        let mut bindings = self.bindings.clone();
        bindings.extend(more);
        self.clone().with_bindings(bindings, of).expect("only members are bound")
    }

    /// The cluster's version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// As what the cluster was founded: its first leader has said so, and every membership since. [`Founding::UNKNOWN`] before that, and
    /// where no directories are bound.
    #[must_use]
    pub const fn founding(&self) -> Founding {
        self.founding
    }

    /// Which data directory each member runs from, as the log says; peers refuse any other. Who is not in it was not bound yet.
    #[must_use]
    pub const fn bindings(&self) -> &NodeMap<Binding> {
        &self.bindings
    }

    /// The entry whose members these are, if this one only binds them to their directories or raises the version.
    #[must_use]
    pub const fn of(&self) -> Option<LogId> {
        self.of
    }

    /// Who votes; during a change, who will vote after it.
    #[must_use]
    pub const fn voters(&self) -> &NodeSet {
        &self.voters
    }

    /// Who voted before the change that is under way; empty when there is none.
    #[must_use]
    pub const fn outgoing(&self) -> &NodeSet {
        &self.outgoing
    }

    /// Every member and what is known of it.
    #[must_use]
    pub const fn nodes(&self) -> &NodeMap<Node> {
        &self.nodes
    }

    /// Members that do not vote, in the order of their ids.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied().filter(|id| !self.is_voter(*id))
    }

    /// Whether a change of voters is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Where the change that is under way leads; `None` when there is none.
    #[must_use]
    pub const fn goal(&self) -> Option<&Goal> {
        self.goal.as_ref()
    }

    /// Whether the node votes, before or after a change that is under way.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Its quorums.
    #[must_use]
    pub fn quorum(&self) -> Joint<'_> {
        Joint { incoming: Majority(&self.voters), outgoing: Majority(&self.outgoing) }
    }

    /// Its size as the limits count it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        8 * (self.voters.len() + self.outgoing.len())
            + self.nodes.values().map(|node| 16 + node.address.len()).sum::<usize>()
            + 24 * self.bindings.len()
            + if self.of.is_some() { 16 } else { 0 }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &NodeSet| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "voters {{{}}}", list(&self.voters))?;
        match &self.goal {
            _ if self.is_joint() => write!(f, " outgoing {{{}}}", list(&self.outgoing))?,
            Some(goal) => write!(f, " soon {{{}}}", list(&goal.voters))?,
            None => {}
        }
        let learners: NodeSet = self.learners().collect();
        if !learners.is_empty() {
            write!(f, " learners {{{}}}", list(&learners))?;
        }
        Ok(())
    }
}

/// The memberships in the log that matter: the last one counts, those before it are what to fall back to.
///
/// A membership takes effect when it is appended and loses it when it is truncated (thesis, section 4.1). A leader has
/// one change under way at a time, but a follower may receive several before it learns that they are committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memberships {
    /// With the entries that they stand in, whose indexes increase. Never empty; all but the first may still be truncated.
    known: Vec<(LogId, Arc<Membership>)>,
    /// The entry that raised the version of the first of them, or one behind it: at or before the entry that the first one stands in.
    /// Whoever has acknowledged it never loses it again, whatever memberships come later.
    spoken_since: LogIndex,
    /// Whether they are others than when that was last [asked](Memberships::take_changed).
    changed: bool,
}

impl Memberships {
    /// From what a snapshot says and the log holds, oldest first. Before the first entry of a log nobody is a member.
    pub(crate) fn restore(snapshot: Option<&Snapshot>, mut found: Vec<(LogId, Arc<Membership>)>) -> Self {
        let nobody = || (LogId::ZERO, Arc::new(Membership::default()));
        let first = snapshot.map_or_else(nobody, |it| (it.membership_at, Arc::clone(&it.membership)));
        found.retain(|(at, _)| at.index > first.0.index);
        let mut known = vec![first];
        known.append(&mut found);
        let in_order = |pair: &[(LogId, Arc<Membership>)]| pair[0].0.index < pair[1].0.index;
        assert!(known.windows(2).all(in_order), "memberships in the order of the log");
        let follows = |pair: &[(LogId, Arc<Membership>)]| pair[0].1.may_be_followed_by(&pair[1].1);
        assert!(known.windows(2).all(follows), "a log is of one cluster, whose version does not go back");
        let spoken_since = known[0].0.index;
        Self { known, spoken_since, changed: false }
    }

    /// Whether the memberships are others than when that was last asked.
    pub(crate) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Everybody who is a member by any entry that may come to count, at the last address.
    pub(crate) fn everybody(&self) -> NodeMap<Node> {
        let nodes = self.known.iter().flat_map(|(_, membership)| membership.nodes());
        nodes.map(|(id, node)| (*id, node.clone())).collect()
    }

    /// All that may come to count, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Membership>> {
        self.known.iter().map(|(_, membership)| membership)
    }

    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { known, spoken_since, changed: _ } = self;
        out.size(known.len());
        if known[0].1.version > Version::FIRST {
            out.number(spoken_since.0);
        }
        for (at, membership) in known {
            out.log_id(*at);
            out.membership(membership);
        }
    }

    /// The membership by what the log says up to this entry, which is at or behind the last committed one.
    pub(crate) fn at(&self, index: LogIndex) -> &Arc<Membership> {
        let last = self.known.iter().rev().find(|(at, _)| at.index <= index);
        &last.unwrap_or_else(|| self.committed()).1
    }

    /// The membership that counts, and the entry that it stands in.
    pub(crate) fn last(&self) -> &(LogId, Arc<Membership>) {
        self.known.last().expect("the first one is never dropped")
    }

    /// As what the cluster was founded, if that is committed for certain: the first membership is, and so is each that another one
    /// follows, since a leader waits for that.
    pub(crate) fn founding(&self) -> Founding {
        mutate!(founding_told_uncommitted, return self.last().1.founding);
        let settled = self.known.len().saturating_sub(2);
        self.known[settled].1.founding
    }

    /// The membership of the state at the commit index, and the entry that it stands in.
    pub(crate) fn committed(&self) -> &(LogId, Arc<Membership>) {
        self.known.first().expect("the first one is never dropped")
    }

    /// A snapshot takes the place of the whole log: what it says about the members counts, and nothing else does.
    pub(crate) fn install(&mut self, at: LogId, membership: Arc<Membership>) {
        mutate!(snapshot_keeps_members, return);
        self.changed |= *self.last() != (at, Arc::clone(&membership));
        self.known = vec![(at, membership)];
        self.spoken_since = at.index;
    }

    /// From where on a log says that what is known since the committed version may be said: an upper bound.
    pub(crate) const fn spoken_since(&self) -> LogIndex {
        self.spoken_since
    }

    /// Whether a node is a member by any entry that may come to count, or no member is known at all.
    pub(crate) fn may_hold(&self, node: NodeId) -> bool {
        let mut nodes = self.known.iter().map(|(_, membership)| membership.nodes());
        nodes.clone().any(|nodes| nodes.contains_key(&node)) || nodes.all(NodeMap::is_empty)
    }

    /// Whether a node votes by any entry that may come to count. One that is no voter by the last of them may have to campaign all
    /// the same: its log may be the only one that others can be elected without, until that entry is committed (thesis, section
    /// 4.2.2).
    pub(crate) fn may_vote(&self, node: NodeId) -> bool {
        mutate!(learner_campaigns, return true);
        mutate!(removed_voter_never_campaigns, return self.effective().is_voter(node));
        self.known.iter().any(|(_, membership)| membership.is_voter(node))
    }

    pub(crate) fn effective(&self) -> &Arc<Membership> {
        mutate!(members_count_once_committed if !self.known[0].1.voters().is_empty(), return &self.known[0].1);
        &self.last().1
    }

    pub(crate) fn append(&mut self, at: LogId, membership: Arc<Membership>) {
        assert!(at.index > self.last().0.index, "a membership at {at} behind the one at {}", self.last().0);
        mutate!(version_forgotten_by_change, self.known.push((at, membership)); self.changed = true; return);
        let (before, after) = (self.last().1.version, membership.version);
        assert!(after >= before, "the cluster's version goes back from {before} to {after} at {at}");
        self.known.push((at, membership));
        self.changed = true;
    }

    pub(crate) fn truncate(&mut self, after: LogId) {
        let (first, _) = self.committed();
        assert!(after.index >= first.index, "truncating to {after} drops the membership at {first}");
        mutate!(members_not_rolled_back, return);
        let before = self.known.len();
        self.known.retain(|(at, _)| at.index <= after.index);
        self.changed |= self.known.len() < before;
    }

    /// What is committed cannot be truncated any more: nobody falls back to what was before it.
    pub(crate) fn commit(&mut self, commit: LogIndex) {
        let settled = self.known.partition_point(|(at, _)| at.index <= commit);
        self.changed |= settled > 1;
        let raises = |pair: &&[(LogId, Arc<Membership>)]| pair[1].1.version > pair[0].1.version;
        if let Some(raise) = self.known[..settled].windows(2).rfind(raises) {
            self.spoken_since = raise[1].0.index;
        }
        assert!(
            self.spoken_since <= commit,
            "version {} is spoken from {commit} on, before it is committed",
            self.spoken_since
        );
        self.known.drain(..settled.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SnapshotId;
    use crate::types::{Genesis, LogTime};

    fn voters(ids: &[u64]) -> Arc<Membership> {
        Arc::new(Membership::new(ids.iter().map(|id| (NodeId(*id), Node::default())), []))
    }

    #[test]
    fn a_membership_counts_when_appended_and_falls_back_when_truncated() {
        let mut all = Memberships::restore(None, vec![(LogId::new(0, 1), voters(&[1, 2, 3]))]);
        all.commit(LogIndex(1));
        all.append(LogId::new(2, 5), voters(&[1, 2]));
        assert_eq!(all.effective(), &voters(&[1, 2]));
        all.append(LogId::new(2, 7), voters(&[1]));
        all.truncate(LogId::new(2, 6));
        assert_eq!(all.effective(), &voters(&[1, 2]));
        all.truncate(LogId::new(1, 4));
        assert_eq!(all.effective(), &voters(&[1, 2, 3]));
    }

    /// Nobody who lacks that entry may be spoken to so: it has not been told of the version.
    #[test]
    fn what_a_snapshot_says_is_spoken_from_the_entry_of_its_members_on() {
        let mut all = Memberships::restore(None, vec![(LogId::new(0, 1), voters(&[1, 2, 3]))]);
        assert_eq!(all.spoken_since(), LogIndex::ZERO);
        let raised = Arc::new(voters(&[1, 2, 3]).as_ref().clone().with_version(Version::LATEST));
        all.install(LogId::new(2, 9), Arc::clone(&raised));
        assert_eq!(all.spoken_since(), LogIndex(9));
        let id = SnapshotId { last: LogId::new(2, 12), ..SnapshotId::default() };
        let (membership_at, log_time, genesis) = (LogId::new(2, 9), LogTime(0), Genesis::UNKNOWN);
        let snapshot = Snapshot { id, log_time, membership: raised, membership_at, genesis };
        let restored = Memberships::restore(Some(&snapshot), Vec::new());
        assert_eq!(restored.spoken_since(), LogIndex(9), "in the next life too");
    }

    #[test]
    fn of_several_raises_that_are_committed_at_once_the_last_says_since_when_its_version_is_spoken() {
        let raised = |version| Arc::new(voters(&[1, 2, 3]).as_ref().clone().with_version(Version(version)));
        let mut all = Memberships::restore(None, vec![(LogId::new(0, 1), voters(&[1, 2, 3]))]);
        (2..=4).for_each(|version| all.append(LogId::new(1, 3 * u64::from(version)), raised(version)));
        all.append(LogId::new(1, 20), raised(4));
        all.commit(LogIndex(30));
        assert_eq!(all.spoken_since(), LogIndex(12), "the last entry raises nothing");
    }

    #[test]
    fn what_a_cluster_was_founded_as_stays_and_its_version_does_not_go_back() {
        let members = |version, founding| {
            Membership::clone(&voters(&[1])).with_version(Version(version)).founded(Founding(founding))
        };
        let (before, later) = (members(2, 7), members(3, 7));
        assert!(before.may_be_followed_by(&later) && before.may_be_followed_by(&before));
        assert!(members(2, 0).may_be_followed_by(&before), "it is founded");
        for next in [members(2, 8), members(2, 0), members(1, 7)] {
            assert!(!before.may_be_followed_by(&next), "{next:?}");
        }
    }

    #[test]
    fn learners_are_the_members_that_do_not_vote() {
        let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<NodeSet>();
        let nodes: NodeMap<Node> = (1..=5).map(|id| (NodeId(id), Node::default())).collect();
        let goal = Goal { voters: set(&[1, 2, 4]), members: set(&[1, 2, 4, 5]), added: set(&[4]) };
        let joint = Membership::from_parts(set(&[1, 2, 4]), set(&[1, 2, 3]), nodes.clone(), Some(goal)).unwrap();
        assert!(joint.is_joint() && joint.is_voter(NodeId(3)) && joint.is_voter(NodeId(4)));
        assert_eq!(joint.learners().collect::<Vec<_>>(), [NodeId(5)]);
        assert_eq!(joint.to_string(), "voters {1 2 4} outgoing {1 2 3} learners {5}");
        assert_eq!(Membership::from_parts(set(&[9]), set(&[]), nodes, None), None);
    }

    #[test]
    fn parts_that_contradict_each_other_are_no_membership() {
        let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<NodeSet>();
        let nodes: NodeMap<Node> = (1..=3).map(|id| (NodeId(id), Node::default())).collect();
        let goal = |voters: &[u64], members: &[u64], added: &[u64]| {
            Some(Goal { voters: set(voters), members: set(members), added: set(added) })
        };
        for (outgoing, goal, why) in [
            (&[1_u64][..], None, "joint without a goal"),
            (&[1], goal(&[1], &[1, 2], &[]), "joint with another goal than its voters"),
            (&[9], goal(&[1, 2], &[1, 2], &[]), "an outgoing voter that is no member"),
            (&[], goal(&[1], &[1, 9], &[]), "a goal with a stranger"),
            (&[], goal(&[1, 2], &[1], &[]), "a goal whose voter is no member of it"),
            (&[], goal(&[1], &[1], &[2]), "one that was added and is no member of the goal"),
            (&[], goal(&[], &[1], &[]), "a goal without a voter"),
        ] {
            assert_eq!(Membership::from_parts(set(&[1, 2]), set(outgoing), nodes.clone(), goal), None, "{why}");
        }
    }

    #[test]
    fn only_members_are_bound_and_a_binding_has_a_size() {
        let binding = Binding { directory: 7, at: LogId::new(1, 2) };
        let members = Membership::clone(&voters(&[1, 2]));
        assert_eq!(members.clone().with_bindings([(NodeId(3), binding)].into(), None), None);
        assert_eq!(Membership::default().with_bindings(NodeMap::new(), Some(binding.at)), None, "nobody's members");
        let bound = members.clone().with_bindings([(NodeId(1), binding)].into(), None).expect("a member");
        assert_eq!(bound.bytes(), members.bytes() + 24);
    }
}
