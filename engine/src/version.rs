//! The cluster's version: what may be said in it while builds differ. A new kind of message or entry is used only once every
//! member knows it, so that nodes are upgraded one at a time while the cluster serves.
//!
//! ```text
//!   node 1   build 1 ───────────────────────► │ stops, starts in build 2 ─────────────────────────────────────────────►
//!   node 2   build 1 ──────────► │ build 2 ────────────────────────────────────────────────────────────────────────►
//!   node 3   build 1 ─► │ build 2 ─────────────────────────────────────────────────────────────────────────────────►
//!
//!   cluster  version 1: all say what build 1 knows             │ 2 is appended  │ 2 is committed, and held durably
//!            any node may go back to build 1                   │ by the leader  │ by who is spoken to: 2 is spoken
//!                                                              │ who goes back to build 1 is refused, and says why
//! ```
//!
//! - A *build* speaks every version from the first to its own, [`Version::LATEST`]; a node may be told to speak an older one
//!   ([`Peer::version`](crate::Peer::version)). It tells so with its first word on every connection.
//! - The *cluster's version* stands in its [`Membership`], and thus in the log and in snapshots. One that says nothing is
//!   of version 1. It never goes back: whoever restores a log, and whoever takes in entries or a snapshot, sees to that.
//! - The *leader* raises it, by a membership entry of its own, to what all members speak: once each of them, learners too, was
//!   heard in the life that it lives now, no change of the members and no transfer is under way, and an entry of the
//!   leader's term is committed. A change that somebody wants meanwhile waits until the raise is committed.
//!
//! # Why nobody is told what it does not know
//! A node says what is new since version *v* only if
//!
//! 1. the membership that says *v* is **committed**: it cannot be rolled back any more, by whatever leader; and
//! 2. whoever is spoken to **holds that entry durably**, or a snapshot that covers it. Of its followers a leader knows by
//!    their acknowledgements, and it begins only when its own disk has it too. A follower speaks so to its leader only:
//!    one that was elected after the entry was committed holds it (Leader Completeness) and had flushed it before its own
//!    vote counted; the one that committed it itself has asked first, which it does only once its own disk has it.
//!
//! A node whose log or snapshot says *v* does not start in a build that does not speak *v*: it [halts](crate::Fault::TooOld)
//! before it says a word. So (2) makes it certain that whoever hears the new words, now or after any restart, and however long a
//! message was on its way, knows them. Neither the effective membership nor the committed one would do alone: the effective
//! one may be rolled back, and after that nobody would be kept from an older build; and a member that lacks a committed entry
//! may have been restarted in one.
//!
//! The membership entry itself is of version 1: every build can read which version it says. A build that does not speak that
//! halts instead of appending it (`Engine::understands`), and so does one that would be brought a snapshot that says it. This can
//! only happen to a node that spoke *v* when the leader heard it, and went back since. Mostly it does not come so far: a node that
//! knows *v* to be committed refuses whoever speaks less ([`TooOld`](crate::PeerRefusal::TooOld)), and so does a leader that has
//! appended it. Any other node whose log says *v* listens: that entry may have to be rolled back, by a leader of an older build.
//!
//! What (2) cannot see is a node that has lost its disk, and was started under its old id in an older build before anybody met that life.
//! Against this a transport sends nobody what is newer than what its hello says: the engine's word is for the node that it has heard, and
//! who is at the other end may be another one, which is about to be refused.
//!
//! # What a version fixes
//! Version 1 is all that is not in the table below as newer, in the layouts that nodes of the first release write and read: among them
//! a snapshot's piece that says whose stead it is sent in, and who leads. From that release on a layout is frozen with its kind: who
//! needs another one makes a new kind, of a new version. What a new kind of *entry* is allowed to be: it stands in the log behind
//! the raise, so that whoever is handed it has been handed the raise before; but an older build could not even read a message with
//! both. So a leader appends none before the raise is committed, and whoever brings followers up must end a message with the raise.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::entry::{Batch, Body};
use crate::membership::Membership;
use crate::message::Message;
use crate::progress::Progress;
use crate::refusal::{Fault, Inconsistency, PeerRefusal};
use crate::restored::Restored;
use crate::role::{Leader, Role};
use crate::types::{LogIndex, NodeId, Peer};

/// What nodes say to each other, and what their logs hold: each version knows all that the versions before it know.
///
/// ```
/// use outrigger_engine::Version;
/// assert!(Version::FIRST < Version::LATEST);
/// assert_eq!(Version::default(), Version::FIRST);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// All that is not named below.
    pub const FIRST: Self = Self(1);
    /// States are compared.
    pub(crate) const COMPARISON: Self = Self(2);
    /// A follower is told to send its snapshot in the leader's stead.
    pub(crate) const DELEGATION: Self = Self(2);
    /// The newest that this build speaks.
    pub const LATEST: Self = Self(2);
}

/// A cluster that says nothing of its version has the first.
impl Default for Version {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// ---- the table: what is known since when ---------------------------------------------------------------------------

impl Message {
    /// Since which version this kind of message is known.
    #[must_use]
    pub const fn since(&self) -> Version {
        match self {
            Self::PreVote(_)
            | Self::PreVoteReply(_)
            | Self::RequestVote(_)
            | Self::RequestVoteReply(_)
            | Self::AppendEntries(_)
            | Self::AppendEntriesReply(_)
            | Self::Heartbeat(_)
            | Self::HeartbeatReply(_)
            | Self::Committed { .. }
            | Self::ReadIndex { .. }
            | Self::ReadIndexReply { .. }
            | Self::Propose { .. }
            | Self::ProposeReply { .. }
            | Self::InstallSnapshot(_)
            | Self::InstallSnapshotReply(_)
            | Self::TimeoutNow { .. } => Version::FIRST,
            Self::HashState { .. } | Self::StateHashed { .. } | Self::StateDiffers { .. } => Version::COMPARISON,
            Self::DelegateSnapshot(_) => Version::DELEGATION,
        }
    }
}

impl Body {
    /// Since which version this kind of entry is known.
    #[must_use]
    pub const fn since(&self) -> Version {
        match self {
            // One that raises the version too: every build can read it, and halts if it does not speak that.
            Self::Blank | Self::Command(_) | Self::Membership(_) | Self::RegisterSession { .. } => Version::FIRST,
        }
    }
}

// ---- how it is raised ----------------------------------------------------------------------------------------------

impl Engine {
    /// The version that the leader may raise the cluster's to, if all members speak more than that.
    pub(crate) fn version_to_raise(&self, membership: &Membership) -> Option<Version> {
        let version = membership.version();
        if version >= self.config.node.version {
            return None;
        }
        mutate!(version_raised_unheard, return Some(self.config.node.version));
        self.spoken_by_all(membership).filter(|spoken| *spoken > version)
    }

    /// The newest version that every member speaks; none if one of them was not heard.
    fn spoken_by_all(&self, membership: &Membership) -> Option<Version> {
        let Role::Leader(leader) = &self.role else { return None };
        let spoken = |node: &NodeId| self.spoken_by(leader, *node);
        mutate!(version_raised_without_learners, return membership.voters().iter().map(spoken).min().flatten());
        // Nothing is less than any version.
        membership.nodes().keys().map(spoken).min().flatten()
    }

    /// What a member speaks, if it was heard in this life of the two, from the directory whose log this leader counts: what came under
    /// the id before it was removed, or lost its disk, speaks for nobody.
    fn spoken_by(&self, leader: &Leader, node: NodeId) -> Option<Version> {
        let own = self.config.node;
        if node == own.node {
            return Some(own.version);
        }
        let met = self.peers.get(&node)?;
        let progress = leader.progress.get(&node)?;
        met.version.filter(|_| !self.config.bind_directories || progress.is_known_of(met.life.id))
    }

    /// On a leader: which members keep the cluster from the newest version that any of them speaks, and what each of those was heard to
    /// speak; the leader itself may be one.
    pub(crate) fn version_held_back_by(&self) -> BTreeMap<NodeId, Option<Version>> {
        let Role::Leader(leader) = &self.role else { return BTreeMap::new() };
        let membership = self.membership();
        let spoken = membership.nodes().keys().map(|node| (*node, self.spoken_by(leader, *node)));
        let newest = spoken.clone().filter_map(|(_, spoken)| spoken).max().unwrap_or_default();
        let is_less = |spoken: Option<Version>| spoken.is_none_or(|spoken| spoken < newest);
        spoken.filter(|(_, spoken)| membership.version() < newest && is_less(*spoken)).collect()
    }
}

fn too_old_for(cluster: Version, spoken: Version, is_settled: bool) -> Option<Fault> {
    mutate!(older_build_takes_part, return None);
    (cluster > spoken).then_some(Fault::TooOld { cluster, spoken, is_settled })
}

impl Restored {
    /// Why a build that speaks this version must not start from this log and this snapshot; `None` if it may.
    #[must_use]
    pub fn too_old(&self, spoken: Version) -> Option<Fault> {
        let (snapshot, log) = (self.snapshot.iter(), self.memberships.iter());
        let in_snapshot = snapshot.clone().map(|it| (it.membership_at.index, it.membership.version()));
        let known = in_snapshot.chain(log.map(|(at, membership)| (at.index, membership.version())));
        let commit = snapshot.map(|it| it.last().index).fold(self.commit, LogIndex::max);
        // It never goes back: the highest is the last.
        let highest = |until| known.clone().filter(|(at, _)| *at <= until).map(|(_, version)| version).max();
        let cluster = |until| highest(until).unwrap_or_default();
        too_old_for(cluster(commit), spoken, true).or_else(|| too_old_for(cluster(self.last.index), spoken, false))
    }
}

// ---- how it is kept ------------------------------------------------------------------------------------------------

impl Engine {
    /// The cluster's version as far as this node knows it to be committed: it never goes back in one life, and lasts in whatever becomes of
    /// the nodes. The [membership that counts](Self::membership) may say more, and be rolled back yet.
    #[must_use]
    pub fn version(&self) -> Version {
        self.memberships.committed().1.version()
    }

    /// Whether a leader speaks what is known since this version at all: it is committed, and on its own disk.
    pub(crate) fn is_in_use(&self, since: Version) -> bool {
        mutate!(version_used_before_raise, return true);
        mutate!(version_used_uncommitted, return self.memberships.last().1.version() >= since);
        mutate!(version_used_unflushed, return self.version() >= since);
        self.version() >= since && self.memberships.spoken_since() <= self.writes.flushed_index()
    }

    /// Whether this node may say to that one what is known since this version: the file's second condition.
    pub(crate) fn may_send(&self, target: NodeId, since: Version) -> bool {
        if since == Version::FIRST {
            return true;
        }
        let at = self.memberships.spoken_since();
        mutate!(version_used_before_raise, return true);
        mutate!(version_used_uncommitted, return true);
        match &self.role {
            Role::Leader(leader) => {
                mutate!(version_used_to_who_lacks_it, return self.is_in_use(since));
                let matched = leader.progress.get(&target).map(Progress::match_index);
                self.is_in_use(since) && matched.is_some_and(|matched| matched >= at)
            }
            // What its own disk has does not matter: it speaks to who was elected with that entry, or has asked it.
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.version() >= since && self.leader() == Some(target)
            }
        }
    }

    /// Why this node must not go on, if the cluster has that version; `is_settled`: whether that may be rolled back no more.
    pub(crate) fn is_too_old_for(&self, cluster: Version, is_settled: bool) -> Option<Fault> {
        too_old_for(cluster, self.config.node.version, is_settled)
    }

    /// Whoever speaks less than the cluster's version is not listened to, whether it is a member or wants to be one.
    ///
    /// It is the committed version that counts. A raise that is not committed may have been left behind by a cluster that went back to
    /// the older build: whoever has it in its log must hear the others, so that it is rolled back. A leader never rolls back an
    /// entry of its own, and shuts out at once who would not understand it.
    pub(crate) fn check_version(&self, from: Peer) -> Result<(), PeerRefusal> {
        let leads = matches!(self.role, Role::Leader(_));
        let (effective, spoken) = (self.memberships.effective().version(), from.version);
        let cluster = if leads { effective } else { self.version() };
        mutate!(refused_by_uncommitted, cluster = effective);
        mutate!(older_build_heard, return Ok(()));
        if spoken < cluster { Err(PeerRefusal::TooOld { cluster, spoken }) } else { Ok(()) }
    }

    /// Whether this build knows what a leader wants to append behind `keep`, where the logs agree; if not, it halts. The leader has
    /// committed so much.
    pub(crate) fn understands(
        &mut self,
        keep: LogIndex,
        batches: &[Batch],
        commit: LogIndex,
    ) -> Result<bool, Inconsistency> {
        let mut last = None;
        for batch in batches.iter().filter(|batch| batch.has_membership()) {
            for (place, entry) in (0..).zip(batch.entries()) {
                let Body::Membership(membership) = &entry.body else { continue };
                let before = last.unwrap_or_else(|| Arc::clone(self.memberships.at(keep)));
                let is_settled = LogIndex(batch.first().index.0 + place) <= commit;
                if !self.understands_members(&before, membership, is_settled)? {
                    return Ok(false);
                }
                last = Some(Arc::clone(membership));
            }
        }
        Ok(true)
    }

    /// Whether this build knows what may be said among these members, which follow those; if not, it halts. `is_settled`: whether that
    /// may be rolled back no more.
    pub(crate) fn understands_members(
        &mut self,
        before: &Membership,
        members: &Membership,
        is_settled: bool,
    ) -> Result<bool, Inconsistency> {
        let (from, to) = (before.version(), members.version());
        if !before.may_have_founding(members.founding()) {
            return Err(Inconsistency::FoundedAgain { from: before.founding(), to: members.founding() });
        }
        mutate!(version_forgotten_by_change, return Ok(true));
        if to < from {
            return Err(Inconsistency::VersionLowered { from, to });
        }
        let fault = self.is_too_old_for(to, is_settled);
        let understands = fault.is_none();
        fault.into_iter().for_each(|fault| self.halt(fault));
        Ok(understands)
    }

    /// What each node speaks, as far as this life has heard it.
    pub(crate) fn versions(&self) -> BTreeMap<NodeId, Version> {
        let heard = self.peers.iter().filter_map(|(node, met)| Some((*node, met.version?)));
        heard.chain([(self.id(), self.config.node.version)]).collect()
    }
}
