//! What the engine is told once, at its start: who it is, its timing, its limits.

use std::fmt;
use std::time::Duration;

use crate::types::Peer;
use crate::version::Version;

/// The engine's settings. Fields may be set freely; [`EngineConfig::validate`] says whether they fit together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineConfig {
    /// This node, in this life, and the [version](crate::Version) that it speaks: at most [`Version::LATEST`](crate::Version::LATEST).
    pub node: Peer,
    /// Seeds the engine's own random numbers, which spread the election timeouts. Differs from node to node.
    pub seed: u64,
    /// How often a leader tells that it leads. Above zero.
    pub heartbeat_interval: Duration,
    /// A follower that has heard from no leader campaigns after a random time of at least this. Above `heartbeat_interval`.
    pub election_timeout_min: Duration,
    /// ... and below this. Above `election_timeout_min`. A node whose disk has finished no write for so long, although it has some to
    /// finish, does not campaign.
    pub election_timeout_max: Duration,
    /// How much this node wants to lead, from 0 to 255, until [`Event::SetPriority`](crate::Event::SetPriority) says otherwise. One of
    /// less than 255 campaigns later than `election_timeout_min` and `election_timeout_max` say, by up to the difference of the
    /// two: of two nodes whose logs are equal, one of 255 always comes before one of 0, and in most cases before one between.
    pub priority: u8,
    /// Whether to ask for votes without obligation first, so that a node that was cut off does not depose a working
    /// leader when it comes back (thesis, section 9.6).
    pub pre_vote: bool,
    /// Whether a leader that does not hear from a quorum for `election_timeout_max`, or whose disk finishes no write for
    /// so long, steps down (thesis, section 6.2). With pre-vote and without this, a leader that can send but not receive
    /// blocks its cluster for good.
    pub check_quorum: bool,
    /// For how long after it sent a round of heartbeats that a quorum has answered a leader serves reads with
    /// [`Consistency::Lease`](crate::Consistency::Lease) by itself; `None`: never. Above zero, at most [`EngineConfig::lease_max`],
    /// and only with `check_quorum`. Reads are wrong where a clock runs worse than `clock_drift_ppm_max` says, or stands
    /// still, as that of a machine that is suspended or moved may. `election_timeout_min` must be as long on every voter as on this
    /// node, or longer: a voter that starts again keeps still for its own.
    pub lease: Option<Duration>,
    /// By how much any node's clock may run too fast or too slowly, in parts per million, and leases stay right. Below 1,000,000.
    pub clock_drift_ppm_max: u32,
    /// When a leader ends a change of the members that another one began: for how long new voters may acknowledge nothing while
    /// they catch up. See [`ChangeRequest::patience`](crate::ChangeRequest::patience).
    pub change_patience: Duration,
    /// How often a leader has the nodes' states compared; `None`: never. Above zero. Each time, every node hashes its state once.
    pub state_check_interval: Option<Duration>,
    /// Whether a leader binds the members' data directories to their ids, by entries of its log. The same on all nodes.
    pub bind_directories: bool,
    /// When a snapshot is taken, and what of the log it lets go.
    pub snapshots: SnapshotPolicy,
    /// How much is held at once.
    pub limits: Limits,
}

/// When a snapshot is taken: as soon as any of these says so. Nothing is purged that no snapshot covers, so a node that takes
/// none keeps its whole log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotPolicy {
    /// Once so many entries were committed since the last one.
    pub entries: Option<u64>,
    /// Once the log took in so many bytes since the last one, or as many as that one had, if those are more.
    pub bytes: Option<u64>,
    /// Once so much time has passed since the last one, if anything was committed since.
    pub interval: Option<Duration>,
    /// So many entries that a snapshot covers stay in the log, for followers that are a little behind.
    pub keep_entries: u64,
    /// Whether a leader has a follower send a snapshot to a node that lacks one, in its stead, where one can.
    pub delegated: bool,
}

impl SnapshotPolicy {
    /// Only when somebody asks for one.
    pub const BY_HAND: Self = Self { entries: None, bytes: None, interval: None, keep_entries: 0, delegated: true };
}

/// Every 64 MiB of log, or as much as the last snapshot had if that is more; 10,000 entries stay.
impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { bytes: Some(64 << 20), keep_entries: 10_000, ..Self::BY_HAND }
    }
}

/// Limits, in bytes and in counts; each at least 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of one entry's payload.
    pub entry_bytes_max: usize,
    /// Bytes of entries in one `append_entries`; a single larger entry still travels.
    pub append_bytes_max: usize,
    /// `append_entries` requests to one follower that are sent and not acknowledged.
    pub inflight_requests_max: usize,
    /// Bytes of entries to one follower that are sent and not acknowledged.
    pub inflight_bytes_max: usize,
    /// Bytes of entries that a leader took in and has not committed, and that are committed but not applied.
    pub uncommitted_bytes_max: usize,
    /// The same in entries.
    pub uncommitted_entries_max: usize,
    /// Bytes handed to the log lane that are not durable yet.
    pub unflushed_bytes_max: usize,
    /// Writes and reads of this node's callers that are on their way to the leader.
    pub forwards_max: usize,
    /// Bytes of one piece of a snapshot. One is under way at a time, so this bounds how fast a snapshot travels far; a large one is felt
    /// by what is urgent on the same disks.
    pub snapshot_chunk_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            entry_bytes_max: 4 * MIB,
            append_bytes_max: MIB,
            inflight_requests_max: 256,
            inflight_bytes_max: 16 * MIB,
            uncommitted_bytes_max: 64 * MIB,
            uncommitted_entries_max: 1 << 20,
            unflushed_bytes_max: 64 * MIB,
            forwards_max: 1 << 16,
            snapshot_chunk_bytes_max: 256 << 10,
        }
    }
}

impl EngineConfig {
    /// The defaults for a node: heartbeats every 100 ms, elections after 500 to 1,000 ms, pre-vote and check-quorum on.
    ///
    /// ```
    /// use outrigger_engine::{EngineConfig, Incarnation, NodeId, Peer};
    /// let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 42);
    /// assert_eq!(config.validate(), Ok(()));
    /// ```
    #[must_use]
    pub fn new(node: Peer, seed: u64) -> Self {
        Self {
            node,
            seed,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            priority: u8::MAX,
            pre_vote: true,
            check_quorum: true,
            lease: None,
            clock_drift_ppm_max: 10_000,
            change_patience: Duration::from_secs(10),
            state_check_interval: None,
            bind_directories: true,
            snapshots: SnapshotPolicy::default(),
            limits: Limits::default(),
        }
    }

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// The first inequality that does not hold, with its numbers.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (heartbeat, min, max) = (self.heartbeat_interval, self.election_timeout_min, self.election_timeout_max);
        for (name, value) in
            [("heartbeat_interval", heartbeat), ("election_timeout_min", min), ("election_timeout_max", max)]
        {
            if value.is_zero() {
                return Err(ConfigError::Zero { name });
            }
        }
        if heartbeat >= min {
            return Err(ConfigError::HeartbeatTooSlow { heartbeat, election: min });
        }
        if min >= max {
            return Err(ConfigError::NoSpread { min, max });
        }
        let (version, latest) = (self.node.version, Version::LATEST);
        if version < Version::FIRST || version > latest {
            return Err(ConfigError::UnknownVersion { version, latest });
        }
        self.validate_lease()?;
        if self.state_check_interval == Some(Duration::ZERO) {
            return Err(ConfigError::Zero { name: "state_check_interval" });
        }
        let SnapshotPolicy { entries, bytes, interval, keep_entries: _, delegated: _ } = self.snapshots;
        let amounts = [("snapshots.entries", entries), ("snapshots.bytes", bytes)];
        let is_zero = |(name, amount): (&'static str, Option<u64>)| (amount == Some(0)).then_some(name);
        let zero = amounts.into_iter().find_map(is_zero);
        if let Some(name) = zero.or((interval == Some(Duration::ZERO)).then_some("snapshots.interval")) {
            return Err(ConfigError::Zero { name });
        }
        self.limits.validate()
    }

    fn validate_lease(&self) -> Result<(), ConfigError> {
        let drift_ppm = self.clock_drift_ppm_max;
        if drift_ppm >= 1_000_000 {
            return Err(ConfigError::DriftTooLarge { drift_ppm });
        }
        let (Some(lease), lease_max) = (self.lease, self.lease_max()) else { return Ok(()) };
        if lease.is_zero() {
            return Err(ConfigError::Zero { name: "lease" });
        }
        if !self.check_quorum {
            return Err(ConfigError::LeaseWithoutCheckQuorum);
        }
        if lease > lease_max {
            return Err(ConfigError::LeaseTooLong { lease, lease_max, election: self.election_timeout_min, drift_ppm });
        }
        Ok(())
    }
}

impl Limits {
    fn validate(&self) -> Result<(), ConfigError> {
        let all = [
            ("entry_bytes_max", self.entry_bytes_max),
            ("append_bytes_max", self.append_bytes_max),
            ("inflight_requests_max", self.inflight_requests_max),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("uncommitted_entries_max", self.uncommitted_entries_max),
            ("unflushed_bytes_max", self.unflushed_bytes_max),
            ("forwards_max", self.forwards_max),
            ("snapshot_chunk_bytes_max", self.snapshot_chunk_bytes_max),
        ];
        match all.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(ConfigError::Zero { name }),
            None => Ok(()),
        }
    }
}

/// Why settings do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that must be above zero is zero.
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A follower would campaign before it could hear from its leader.
    HeartbeatTooSlow {
        /// `heartbeat_interval`.
        heartbeat: Duration,
        /// `election_timeout_min`.
        election: Duration,
    },
    /// Election timeouts could not spread, and candidates would split the vote for ever.
    NoSpread {
        /// `election_timeout_min`.
        min: Duration,
        /// `election_timeout_max`.
        max: Duration,
    },
    /// A clock that stands still, or worse, bounds nothing.
    DriftTooLarge {
        /// `clock_drift_ppm_max`.
        drift_ppm: u32,
    },
    /// A lease could outlast what voters have pledged: they campaign after `election_timeout_min` on a clock that may run fast, and
    /// the leader's may run slowly.
    LeaseTooLong {
        /// `lease`.
        lease: Duration,
        /// The longest that is allowed: [`EngineConfig::lease_max`].
        lease_max: Duration,
        /// `election_timeout_min`.
        election: Duration,
        /// `clock_drift_ppm_max`.
        drift_ppm: u32,
    },
    /// The node is to speak a version that this build does not know.
    UnknownVersion {
        /// What it is to speak.
        version: Version,
        /// What this build knows.
        latest: Version,
    },
    /// A leader with leases whom nobody can answer would keep its voters from electing another one for good.
    LeaseWithoutCheckQuorum,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DriftTooLarge { drift_ppm } => {
                write!(f, "clock_drift_ppm_max {drift_ppm} must be below 1000000; 10000 (1 %) is sane")
            }
            Self::LeaseTooLong { lease, lease_max, election, drift_ppm } => write!(
                f,
                "lease {lease:?} must not exceed election_timeout_min {election:?} * (1000000 - {drift_ppm}) / (1000000 + \
                 {drift_ppm}) = {lease_max:?}, as clocks may drift by clock_drift_ppm_max {drift_ppm}; shorten the lease, or lengthen \
                 election_timeout_min on all nodes, with leases off on all of them until that is done"
            ),
            Self::LeaseWithoutCheckQuorum => f.write_str(
                "lease needs check_quorum: a leader that nobody can answer would keep its voters from electing another; switch on \
                 check_quorum, or leave out lease",
            ),
            Self::UnknownVersion { version, latest } => {
                write!(f, "version {version} is not spoken by this build, which speaks versions 1 to {latest}")
            }
            Self::Zero { name } => write!(f, "{name} is 0; it must be above 0"),
            Self::HeartbeatTooSlow { heartbeat, election } => write!(
                f,
                "heartbeat_interval {heartbeat:?} must be below election_timeout_min {election:?}; a third of it or less is sane"
            ),
            Self::NoSpread { min, max } => write!(
                f,
                "election_timeout_min {min:?} must be below election_timeout_max {max:?}; twice as long is sane"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    #[test]
    fn a_broken_inequality_is_named_with_both_numbers() {
        let sane = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 1);
        let refused = |change: fn(&mut EngineConfig)| {
            let mut config = sane.clone();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(refused(|c| c.heartbeat_interval = Duration::from_millis(500)).contains("500ms must be below"));
        assert!(refused(|c| c.election_timeout_max = Duration::from_millis(500)).contains("500ms must be below"));
        assert_eq!(refused(|c| c.heartbeat_interval = Duration::ZERO), "heartbeat_interval is 0; it must be above 0");
        assert_eq!(refused(|c| c.lease = Some(Duration::ZERO)), "lease is 0; it must be above 0");
        assert_eq!(refused(|c| c.limits.append_bytes_max = 0), "append_bytes_max is 0; it must be above 0");
    }

    #[test]
    fn a_lease_longer_than_the_drift_of_clocks_allows_is_refused_with_the_inequality() {
        let mut config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 1);
        assert_eq!((config.lease, config.lease_max()), (None, Duration::from_nanos(490_099_009)), "off by default");
        config.lease = Some(config.lease_max());
        assert_eq!(config.validate(), Ok(()));
        config.lease = Some(Duration::from_millis(500));
        let error = config.validate().unwrap_err().to_string();
        let inequality =
            "lease 500ms must not exceed election_timeout_min 500ms * (1000000 - 10000) / (1000000 + 10000) = ";
        assert!(error.starts_with(&format!("{inequality}490.099009ms")), "{error}");
        assert!(
            error.ends_with("election_timeout_min on all nodes, with leases off on all of them until that is done"),
            "{error}"
        );
        config.clock_drift_ppm_max = 0;
        assert_eq!(config.validate(), Ok(()), "clocks that do not drift allow all of it");
        config.check_quorum = false;
        assert_eq!(config.validate(), Err(ConfigError::LeaseWithoutCheckQuorum));
        config.clock_drift_ppm_max = 1_000_000;
        assert_eq!(config.validate(), Err(ConfigError::DriftTooLarge { drift_ppm: 1_000_000 }));
    }
}
