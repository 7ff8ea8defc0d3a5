//! Why not: what callers are told when the answer is no, why a peer is not listened to, and why a node stops for good.

use std::fmt;
use std::time::Duration;

use crate::change_members::Precondition;
use crate::snapshot::SnapshotId;
use crate::types::{Founding, Genesis, Incarnation, LogId, LogIndex, NodeId, StateHash, Term};
use crate::version::Version;

/// Why a caller is told no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No leader is known. Nothing was done; try again when there is one.
    NoLeader,
    /// The node that was asked does not lead in the term that the question named. Nothing was done.
    NotLeader,
    /// This node is no member any more: it learns nothing new, and its leader does not hear it. Nothing was done; ask another node.
    NotMember,
    /// This node's disk has finished nothing for longer than an election timeout, and before it does the node may say nothing to its
    /// leader. Nothing was done; ask another node.
    DiskHangs,
    /// Leadership changed before a read was confirmed. Nothing was done; try again.
    LeadershipLost,
    /// The leader is handing its leadership over, for an election timeout at most. Nothing was done; try again in a moment.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// More is in hand than the limits allow. Nothing was done; try again later.
    Overloaded {
        /// What is in hand, in the unit of the limit (bytes or counts).
        current: usize,
        /// The limit.
        limit: usize,
    },
    /// An entry, or a group of entries that must stay together, is larger than the limit. Nothing was done, and nothing will
    /// be.
    EntryTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The log is not empty: there is nothing to initialize.
    AlreadyInitialized,
    /// The membership of an `Initialize` has no voter.
    NoVoters,
    /// The membership of an `Initialize` is of a version that this node does not speak. Nothing was done, and the node is as empty as it
    /// was.
    VersionNotSpoken {
        /// The membership's version.
        cluster: Version,
        /// The newest that the node speaks.
        spoken: Version,
    },
    /// The entries were handed to the leader and no answer came: they may or may not be applied.
    Unknown,
    /// This node has halted. Nothing was done.
    Halted,
    /// The leader cannot read the command: it runs another version of the program. Nothing was done.
    Undecodable,
    /// A change of the members names a node that is no member. Nothing was done.
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// A change adds a node that is a member already, at another address. Nothing was done.
    AddressDiffers {
        /// Which.
        node: NodeId,
    },
    /// A change gives a member the address of another one. Nothing was done. Two may change places by one change.
    AddressTaken {
        /// Who would be reached there from now on.
        node: NodeId,
        /// Who is, or would be too.
        by: NodeId,
    },
    /// A change removes a node that votes, without taking its vote. Nothing was done.
    StillVoter {
        /// Which.
        node: NodeId,
    },
    /// A change removes a node and adds it again. Nothing was done. Whether it comes back as it was, or from an empty directory, is
    /// known by two changes only: remove it with one, and add it with the next.
    AddedAgain {
        /// Which.
        node: NodeId,
    },
    /// Another change of the members is under way. Nothing was done; try again when it has ended.
    ChangeInProgress {
        /// The membership entry of its last step.
        at: LogIndex,
    },
    /// The leader has not committed an entry of its own term yet, and changes no members before. Nothing was done; try again
    /// in a moment.
    NotReady,
    /// The change was given up: a new voter did not catch up in time. The voters are those that were; an address that was to change
    /// along has.
    Lagging {
        /// Which.
        node: NodeId,
        /// Up to where its log is known to be durable and equal to the leader's.
        matched: LogIndex,
        /// The last entry of the leader's log.
        last: LogIndex,
    },
    /// So many of those who would vote are silent that they would be no majority: nothing could be committed any more, not even the
    /// change itself. Nothing was done, or all that was done is taken back.
    NoMajority {
        /// One that the leader has not heard from for an election timeout.
        silent: NodeId,
    },
    /// Nothing is committed here yet: there is nothing to take a snapshot of.
    NothingToSnapshot,
    /// A snapshot could not be kept; the node's log says why. Nothing is lost by it; try again when that is mended.
    SnapshotFailed,
    /// A precondition does not hold. Nothing was done.
    PreconditionFailed {
        /// How it is instead.
        actual: Precondition,
    },
    /// The state of this node is older than a read allows. Nothing was done; try again, or elsewhere.
    TooStale {
        /// How long ago it was known to have everything that was committed; `None` if never since its start.
        staleness: Option<Duration>,
        /// How long ago the read allows.
        staleness_max: Duration,
    },
}

impl Refusal {
    /// Whether it is certain that nothing was done, so that trying again cannot do it twice.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

impl fmt::Display for Precondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(term) => write!(f, "the leader's term is {term}"),
            Self::Last(last) => write!(f, "the last entry is {last}"),
            Self::Membership(at) => write!(f, "the members are those of entry {at}"),
        }
    }
}

fn too_stale(f: &mut fmt::Formatter<'_>, staleness: Option<Duration>, staleness_max: Duration) -> fmt::Result {
    match staleness {
        Some(staleness) => write!(f, "this node had everything that was committed {staleness:?} ago, ")?,
        None => f.write_str("it is not known how old the state of this node is, ")?,
    }
    write!(f, "and {staleness_max:?} are allowed; try again, or on another node")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader is known; try again when there is one"),
            Self::NotLeader => f.write_str("the node that was asked does not lead; try again"),
            Self::NotMember => f.write_str("this node is no member of the cluster any more; ask another"),
            Self::LeadershipLost => f.write_str("leadership changed before the read was confirmed; try again"),
            Self::Transferring { to } => {
                write!(f, "not now: leadership is being handed over to node {to}; try again in a moment")
            }
            Self::Overloaded { current, limit } => {
                write!(f, "{current} in hand, the limit is {limit}; try again later")
            }
            Self::EntryTooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes at once exceed the limit of {limit} bytes; send less")
            }
            Self::AlreadyInitialized => f.write_str("the log is not empty; the cluster is initialized already"),
            Self::NoVoters => f.write_str("the membership has no voter; name at least one"),
            Self::VersionNotSpoken { cluster, spoken } => {
                write!(
                    f,
                    "the cluster would begin with version {cluster}, and this node speaks no more than {spoken}; begin with members of \
                     version {spoken}, or start the node in a build that speaks version {cluster}"
                )
            }
            Self::Unknown => f.write_str("the leader did not answer; the entries may or may not be applied"),
            Self::Halted => f.write_str("this node has halted"),
            Self::UnknownNode { node } => write!(f, "node {node} is no member; add it before it is to vote"),
            Self::AddressDiffers { node } => {
                write!(f, "node {node} is a member already, at another address; change its address instead")
            }
            Self::AddressTaken { node, by } => write!(
                f,
                "nodes {node} and {by} would be reached at one address; every member needs an address of its own (if the two change \
                 places, say both by one change)"
            ),
            Self::StillVoter { node } => write!(f, "node {node} votes; remove it from the voters first"),
            Self::AddedAgain { node } => {
                write!(
                    f,
                    "one change cannot remove node {node} and add it again; remove it first, and add it by another change"
                )
            }
            Self::ChangeInProgress { at } => {
                write!(f, "another change of the members is under way (entry {at}); try again when it has ended")
            }
            Self::DiskHangs => f.write_str(
                "this node's disk hangs: it has finished nothing for longer than an election timeout; ask another node",
            ),
            Self::NotReady => f.write_str("the leader has just been elected; try again in a moment"),
            Self::Lagging { node, matched, last } => {
                write!(
                    f,
                    "node {node} did not catch up: it holds entries up to {matched} of {last}; \
                     is it running, reachable, and no node of another cluster? the voters have not changed"
                )
            }
            Self::NoMajority { silent } => {
                write!(
                    f,
                    "those who would vote could decide nothing, because node {silent} is silent; start it, or leave it out, and try again"
                )
            }
            Self::NothingToSnapshot => f.write_str("nothing is committed yet; there is nothing to take a snapshot of"),
            Self::SnapshotFailed => f.write_str("the snapshot could not be kept; the node's log says why"),
            Self::TooStale { staleness, staleness_max } => too_stale(f, *staleness, *staleness_max),
            Self::PreconditionFailed { actual } => write!(f, "a precondition does not hold: {actual}"),
            Self::Undecodable => {
                f.write_str("the leader cannot decode the command; update all nodes before a new command is used")
            }
        }
    }
}

/// Why a peer is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// Its data directory is not the one that was met under its id: it was wiped or replaced.
    OtherIncarnation {
        /// What was met.
        met: Incarnation,
    },
    /// It runs from an older copy of its data directory.
    EarlierStart {
        /// What was met; its start is the highest.
        met: Incarnation,
    },
    /// Two copies of its data directory run at once.
    SecondCopy {
        /// What was met; its start is the same.
        met: Incarnation,
    },
    /// It claims to be this very node.
    OwnId,
    /// It is of a cluster that began otherwise, or leads or asks for votes and does not know of which it is.
    OtherCluster {
        /// This node's.
        ours: Genesis,
        /// What it says; [`Genesis::UNKNOWN`] if it does not know.
        theirs: Genesis,
    },
    /// It is of another cluster, which began alike.
    OtherFounding {
        /// As what this node's was founded.
        ours: Founding,
        /// As what its one was.
        theirs: Founding,
    },
    /// It is no member of the cluster.
    NotMember,
    /// More nodes than this have been met already, and it is not a member.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Its build is too old for what may be said in the cluster.
    TooOld {
        /// The cluster's version.
        cluster: Version,
        /// The newest that the peer speaks.
        spoken: Version,
    },
    /// Its message contradicts what Raft guarantees.
    Inconsistent(Inconsistency),
}

impl PeerRefusal {
    /// What was met under the peer's id, if that is the reason: it outranks the peer, which may judge so itself.
    #[must_use]
    pub const fn met(&self) -> Option<Incarnation> {
        match self {
            Self::OtherIncarnation { met } | Self::EarlierStart { met } | Self::SecondCopy { met } => Some(*met),
            Self::OwnId
            | Self::OtherCluster { .. }
            | Self::OtherFounding { .. }
            | Self::NotMember
            | Self::TooMany { .. }
            | Self::TooOld { .. }
            | Self::Inconsistent(_) => None,
        }
    }
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherIncarnation { met } => write!(
                f,
                "another data directory (incarnation {:016x}) was met under its id; was it wiped? to have it back, \
                 remove it from the members, and add it again",
                met.id
            ),
            Self::EarlierStart { met } => {
                write!(f, "start {} was met under its id; is its data directory an older copy?", met.start)
            }
            Self::SecondCopy { .. } => f.write_str("another copy of its data directory is running; stop one"),
            Self::OwnId => f.write_str("it uses this node's own id; every node needs an id of its own"),
            Self::OtherCluster { ours, theirs } if theirs.is_known() => write!(
                f,
                "it is of the cluster that began as {theirs}, and this node of one that began as {ours}; do its address or its id \
                 belong to a node of another cluster?"
            ),
            Self::OtherCluster { ours, .. } => {
                write!(f, "it does not know of which cluster it is, and this node is of one that began as {ours}")
            }
            Self::OtherFounding { ours, theirs } => write!(
                f,
                "it is of the cluster that was founded as {theirs}, and this node of the one that was founded as {ours}, though both \
                 began alike; do its address or its id belong to a node of another cluster?"
            ),
            Self::NotMember => f.write_str("it is no member of this cluster"),
            Self::TooMany { limit } => write!(f, "{limit} nodes were met already, and no members are known yet"),
            Self::TooOld { cluster, spoken } => write!(
                f,
                "the cluster has version {cluster}, and its build speaks no more than {spoken}; start it in a build that speaks {cluster}"
            ),
            Self::Inconsistent(inconsistency) => inconsistency.fmt(f),
        }
    }
}

/// How a message contradicts what Raft guarantees: a bug or a corrupt disk elsewhere. The message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Inconsistency {
    /// Another node claims leadership in a term that has a leader (Election Safety).
    SecondLeader {
        /// The term.
        term: Term,
        /// Its leader.
        leader: NodeId,
    },
    /// Entries would replace one that is committed (Leader Completeness).
    CommittedConflict {
        /// The committed entry.
        committed: LogId,
        /// What should take its place.
        proposed: LogId,
    },
    /// Entries are not contiguous, go back in term, or exceed the term of their leader.
    Entries {
        /// The entry that should have come before.
        prev: LogId,
        /// The one that came.
        found: LogId,
    },
    /// The leader of a term replaces an entry that it has itself sent in that term (Leader Append-Only).
    Rewritten {
        /// What it sent first.
        held: LogId,
        /// What should take its place.
        proposed: LogId,
    },
    /// A follower lacks entries that it had acknowledged as durable: its disk lied, or it runs on an older copy.
    Forgotten {
        /// What it had acknowledged.
        acknowledged: LogIndex,
        /// How far its log can agree now.
        holds: LogIndex,
    },
    /// A term or an index that no cluster reaches, or a leader of term 0.
    OutOfRange {
        /// The number.
        number: u64,
    },
    /// A snapshot that cannot be: of entries or members beyond its last entry, without voters, with a piece beyond its end, of another
    /// cluster.
    Snapshot {
        /// What it says that it is.
        id: SnapshotId,
    },
    /// A membership or a snapshot would take the cluster's version back.
    VersionLowered {
        /// The cluster's version.
        from: Version,
        /// What it would be then.
        to: Version,
    },
    /// A membership or a snapshot is of a cluster that was founded as another one.
    FoundedAgain {
        /// As what the cluster was founded.
        from: Founding,
        /// As what it would be then.
        to: Founding,
    },
    /// An acknowledgement goes beyond what was sent.
    BeyondLog {
        /// What was acknowledged.
        matched: LogIndex,
        /// The last index of the log.
        last: LogIndex,
    },
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondLeader { term, leader } => {
                write!(f, "it claims to lead in term {term}, which node {leader} leads")
            }
            Self::CommittedConflict { committed, proposed } => {
                write!(f, "it would replace the committed entry {committed} by {proposed}")
            }
            Self::Entries { prev, found } => write!(f, "its entry {found} cannot follow {prev}"),
            Self::Rewritten { held, proposed } => {
                write!(f, "it replaces its own entry {held} by {proposed} within a term")
            }
            Self::Forgotten { acknowledged, holds } => write!(
                f,
                "it acknowledged index {acknowledged} as durable and holds no more than {holds}; did its disk lose data, or is \
                 its directory an older copy? stop it: it cannot take part with this directory"
            ),
            Self::OutOfRange { number } => write!(f, "no cluster reaches a term or an index of {number}"),
            Self::VersionLowered { from, to } => {
                write!(f, "it would take the cluster's version back from {from} to {to}")
            }
            Self::FoundedAgain { from, to } => {
                write!(f, "its members are of the cluster that was founded as {to}, and this one was as {from}")
            }
            Self::Snapshot { id } => write!(f, "what it says of a snapshot {id} cannot be"),
            Self::BeyondLog { matched, last } => {
                write!(f, "it acknowledges index {matched}, but the log ends at {last}")
            }
        }
    }
}

/// Why a node has stopped taking part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The log lane failed.
    Storage {
        /// What went wrong.
        reason: String,
    },
    /// The state machine could not apply an entry.
    StateMachine {
        /// The entry.
        at: LogIndex,
        /// What went wrong.
        reason: String,
    },
    /// A peer has met another life of this node, which outranks this one: what this one does not know, it may have
    /// acknowledged there. It must never take part again, in no later start either.
    Refused {
        /// The peer.
        by: NodeId,
        /// What it has met.
        met: Incarnation,
        /// This life, or that earlier one of the same data which was refused.
        own: Incarnation,
    },
    /// This node's build is too old: its log, a snapshot or its leader says that more may be said in the cluster than it knows.
    TooOld {
        /// The cluster's version.
        cluster: Version,
        /// The newest that this build speaks, or was told to speak.
        spoken: Version,
        /// Whether that may last. If not, it is an entry of the node's own log that says so, and that is not known to be committed: in
        /// the newer build the node may hear that the others went on without it.
        is_settled: bool,
    },
    /// After the same entries, this node's state is another than that of a quorum.
    Diverged {
        /// Behind this entry.
        at: LogIndex,
        /// This node's.
        own: StateHash,
        /// The quorum's.
        agreed: StateHash,
    },
}

/// Whether `met` shows that what lives as `own` is wiped, an older copy or one of two: a later life of the same data is
/// neither, and its own life is no news.
#[must_use]
pub(crate) const fn outranks(met: Incarnation, own: Incarnation) -> bool {
    met.id != own.id || met.start > own.start || (met.start == own.start && met.nonce != own.nonce)
}

fn refused(f: &mut fmt::Formatter<'_>, by: NodeId, met: Incarnation, own: Incarnation) -> fmt::Result {
    if met.id != own.id {
        write!(
            f,
            "this data directory ({:016x}) was made after another ({:016x}), which node {by} has met:",
            own.id, met.id
        )?;
        f.write_str(" what the node had acknowledged was wiped;")?;
    } else if met.start > own.start {
        write!(
            f,
            "this data directory is an older copy: this is start {}, node {by} has met start {};",
            own.start, met.start
        )?;
        f.write_str(" what the node has acknowledged since may be missing;")?;
    } else {
        write!(f, "this data directory is one of two copies: node {by} has met another start {};", met.start)?;
        f.write_str(" what either has acknowledged may be missing in the other;")?;
    }
    f.write_str(" it is marked and will not be started again.")?;
    if met.id == own.id {
        f.write_str(" Start the other copy instead; only if this one is the newest: stop that one, delete the file `refused` here,")?;
        return f.write_str(" and start this one until it has been started more often");
    }
    f.write_str(" Start the node from the other directory; if that one is gone, remove the node from the members,")?;
    f.write_str(" add it again as a learner,")?;
    f.write_str(" start it with an empty directory, to join and not with the initial members, and promote it")
}

fn too_old(f: &mut fmt::Formatter<'_>, cluster: Version, spoken: Version, is_settled: bool) -> fmt::Result {
    let speaker = if cluster <= Version::LATEST { "this node is told to speak" } else { "this build speaks" };
    if is_settled {
        write!(f, "the cluster has version {cluster}, and {speaker} no more than {spoken}:")?;
        f.write_str(" it would not understand what the others say and what its log may hold.")?;
    } else {
        write!(
            f,
            "the last entry about the members raises the cluster's version to {cluster}, and {speaker} no more than {spoken}:"
        )?;
        f.write_str(" it would not understand what may be said once that is committed.")?;
    }
    f.write_str(" Nothing is lost.")?;
    if cluster <= Version::LATEST {
        write!(f, " Start the node without `speak_version_max`, or in a build that speaks version {cluster};")?;
    } else {
        write!(f, " Start the node in a build that speaks version {cluster};")?;
    }
    if is_settled {
        return f.write_str(" there is no way back to an older one");
    }
    write!(
        f,
        " if the others turn out to have gone on without that entry, and the cluster's version is {spoken} still,"
    )?;
    f.write_str(" the node can be started so again afterwards")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { by, met, own } => refused(f, *by, *met, *own),
            Self::TooOld { cluster, spoken, is_settled } => too_old(f, *cluster, *spoken, *is_settled),
            Self::Diverged { at, own, agreed } => write!(
                f,
                "the state after entry {at} has the hash {own}, and that of a majority {agreed}: what this node would answer is wrong. \
                 Does the state machine look at a clock, at chance, or at the order of a hash map, or does another version of it run \
                 here? Once that is mended, remove the node, and add it again with an empty data directory"
            ),
            Self::Storage { reason } => write!(f, "the log failed: {reason}"),
            Self::StateMachine { at, reason } => write!(f, "the state machine stopped at index {at}: {reason}"),
        }
    }
}
