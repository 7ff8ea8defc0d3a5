//! The words of the protocol as types: every number that could be mistaken for another has a type of its own.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use crate::version::Version;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                assert!(self.0 < u64::MAX, concat!(stringify!($name), " is exhausted"));
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// What clusters are told apart by, as far as a node knows its own.
macro_rules! cluster_mark {
    ($(#[$doc:meta])* $name:ident { $(#[$of_none:meta])* $unknown:ident }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            $(#[$of_none])*
            pub const $unknown: Self = Self(0);

            /// Whether it is known at all.
            #[must_use]
            pub fn is_known(self) -> bool {
                self != Self::$unknown
            }

            /// Whether both are known, and of two clusters.
            #[must_use]
            pub fn contradicts(self, other: Self) -> bool {
                self.is_known() && other.is_known() && self != other
            }
        }

        /// `00000001a2b3c4d5`
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

number! {
    /// The name of a node, unique in its cluster for ever. Chosen by the user; zero is a legal name.
    NodeId
}
number! {
    /// A term: Raft's logical clock (Raft paper, section 5.1). Term 0 has no leader; only the initial membership carries it.
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 stands before it.
    LogIndex
}
/// A hash of a state machine's state: nodes that have applied the same entries have the same. How it is made is for the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub u64);

/// `00000000deadbeef`.
impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

number! {
    /// Names one write to the log lane (a vote, entries, a truncation). Ids increase; flushing one flushes all before it.
    WriteId
}
number! {
    /// Names one waiting caller. The runtime chooses it, the engine only hands it back.
    Token
}
number! {
    /// Names one replication stream from one leader to one target, so that what an older stream left behind cannot
    /// count for a newer one. Never used twice by a node, restarts included.
    Epoch
}
number! {
    /// Names one request to a peer. Increases for the life of a node, restarts included, so that a late answer
    /// cannot be taken for the answer to another question.
    RequestId
}
number! {
    /// Counts the heartbeats of a leader in its term; a reply names the heartbeat that it answers.
    Round
}
number! {
    /// A client's exactly-once session (thesis, section 6.3); 0 stands for none.
    SessionId
}
number! {
    /// Milliseconds of log time: stamped by the leader as the last entry's time plus what has passed since, so that
    /// every node sees the same time at the same entry and it never goes back.
    LogTime
}

impl LogIndex {
    /// Stands before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index before this one; [`LogIndex::ZERO`] has none.
    ///
    /// # Panics
    /// On [`LogIndex::ZERO`].
    #[must_use]
    pub fn previous(self) -> Self {
        assert!(self.0 > 0, "nothing stands before index 0");
        Self(self.0 - 1)
    }

    /// How many entries lie after `earlier` up to and with this index; 0 when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The identity of an entry. Two entries with the same id are the same entry (Log Matching, Raft paper, section 5.3).
///
/// Ids order by term first, then index: the order in which Raft compares logs when it votes (section 5.4.1).
///
/// ```
/// use outrigger_engine::LogId;
/// assert!(LogId::new(2, 1) > LogId::new(1, 9));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// Its position.
    pub index: LogIndex,
}

impl LogId {
    /// Stands before the first entry of every log.
    pub const ZERO: Self = Self { term: Term(0), index: LogIndex(0) };

    /// An id from bare numbers.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

/// What a node has promised: the highest term it has seen, and for whom it voted in it. Durable before anyone hears of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vote {
    /// `current_term` of the Raft paper; never goes back.
    pub term: Term,
    /// `voted_for`: the candidate that has this node's vote in `term`. Within a term it is set at most once.
    pub voted_for: Option<NodeId>,
}

/// A moment: nanoseconds since an arbitrary start that only the driver knows. The engine has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// What has passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Which life of which data directory speaks. Peers remember the highest that they met under a node's id and refuse
/// another incarnation (a wiped disk), a lower start (a restored copy) and the same start with another nonce (two
/// copies that run at once).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Drawn at random when the data directory was created.
    pub id: u64,
    /// Durably increased by each start; the first is 1.
    pub start: u64,
    /// Drawn at random by this start.
    pub nonce: u64,
}

cluster_mark! {
    /// How a cluster began: a checksum of its first members, and of the snapshot that they were restored from. Nodes of two clusters
    /// must never mix, whatever name, ids and addresses they have in common.
    Genesis {
        /// Of a node that was started to join, and has not heard yet from whom.
        UNKNOWN
    }
}
cluster_mark! {
    /// Which of the clusters that began alike it is: drawn at random by the first leader, which says it in an entry of the log before
    /// anybody is added. Where all of a quorum of the first members are made anew, they are another cluster than the one whose log
    /// the members have who were added to it.
    Founding {
        /// Of a cluster that had no leader yet, or of a node that does not know whether it had: what is not committed is not known.
        UNKNOWN
    }
}

/// A node in one of its lives: what every message is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it speaks in this life. It is told to others and never stored: the next life may speak another one.
    pub version: Version,
    /// Its claim: the entry by which this data directory is a member, as far as it knows; `None` if it knows of none. Who knows
    /// the members by an older entry, and another directory under this id, is behind.
    pub bound: Option<LogId>,
    /// How its cluster began, as far as it knows.
    pub genesis: Genesis,
    /// As what its cluster was founded, as far as it knows that to be committed.
    pub founding: Founding,
}

impl Peer {
    /// A node in a life in which it speaks all that this build knows, claims nothing, and does not know of which cluster it is.
    #[must_use]
    pub const fn new(node: NodeId, incarnation: Incarnation) -> Self {
        let (genesis, founding) = (Genesis::UNKNOWN, Founding::UNKNOWN);
        Self { node, incarnation, version: Version::LATEST, bound: None, genesis, founding }
    }

    /// The same, but it speaks this version.
    #[must_use]
    pub const fn speaking(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The same, but it claims to be bound by this entry.
    #[must_use]
    pub const fn claiming(self, bound: Option<LogId>) -> Self {
        Self { bound, ..self }
    }

    /// The same, but it is of a cluster that began so.
    #[must_use]
    pub const fn of(self, genesis: Genesis) -> Self {
        Self { genesis, ..self }
    }

    /// The same, but it is of the cluster that was founded as this one.
    #[must_use]
    pub const fn founded(self, founding: Founding) -> Self {
        Self { founding, ..self }
    }

    /// Whether both are the same life of the same node, whatever it claims.
    #[must_use]
    pub fn is_same_life(&self, other: &Self) -> bool {
        self.node == other.node && self.incarnation == other.incarnation
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} (incarnation {:016x}, start {})", self.node, self.incarnation.id, self.incarnation.start)
    }
}
