//! The settings of a node: one struct, for code, for files (serde) and for the command line (clap).
//!
//! ```
//! use outrigger::Config;
//!
//! let config = Config {
//!     id: 1,
//!     initial_cluster: [(1, "127.0.0.1:7101".to_string())].into(),
//!     ..Config::default()
//! };
//! assert_eq!(config.validate(), Ok(()));
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_engine::{EngineConfig, Membership, Node, NodeId, Peer, SnapshotPolicy, Version};
use serde::{Deserialize, Serialize};

use crate::fnv;

mod check;
mod limits;
#[cfg(feature = "tokio")]
pub(crate) mod resolve;
mod text;

pub use check::ConfigError;
pub use limits::Limits;

/// The default of [`Config::snapshot_bytes`].
const SNAPSHOT_BYTES: u64 = 64 << 20;
/// The default of [`Config::snapshot_keep_entries`].
const SNAPSHOT_KEEP_ENTRIES: u64 = 10_000;
/// The default of [`Config::snapshot_bytes_per_second_max`]: a part of what disks and networks do, so that writes wait less beside it.
const SNAPSHOT_BYTES_PER_SECOND_MAX: u64 = 64 << 20;
/// The default of [`Config::clock_drift_ppm_max`]: one percent, a hundred times what a clock that is disciplined does.
const CLOCK_DRIFT_PPM_MAX: u32 = 10_000;

/// The default of [`Config::state_check_interval`].
const STATE_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// A year: no duration may be longer, so that every sum of an instant and some of them is one.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings of one node. [`Config::validate`] says whether they fit together; [`Raft::start`](crate::Raft::start)
/// calls it.
///
/// Durations are text such as `150ms` or `2s`, on the command line and in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Parser))]
#[cfg_attr(feature = "clap", command(about = "One node of a replicated state machine", long_about = None))]
pub struct Config {
    /// The name of this node: a number above 0 that no other node of the cluster has, now or ever.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ID", default_value_t = 1))]
    pub id: u64,

    /// The name of the cluster. Nodes of different clusters do not talk to each other.
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME", default_value = "outrigger"))]
    pub cluster: String,

    /// Where the log lives; the server needs one. A node of the library without one keeps its log in memory and is a new
    /// node after each start, which the others refuse.
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub data_dir: Option<PathBuf>,

    /// The address to listen on for the other nodes.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ADDR", default_value = "127.0.0.1:7101"))]
    pub listen_peer: String,

    /// The address under which the other nodes reach this one, if it is not the one it listens on. It must be the one
    /// that the initial cluster names.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ADDR"))]
    pub advertise_peer: Option<String>,

    /// The address that clients are told to call, and that the server listens on; port 0 picks a free one. A program that
    /// embeds a node listens itself, and hands the listener to `Raft::serve_clients`.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ADDR"))]
    pub listen_client: Option<String>,

    /// The address under which clients reach this node, if it is not the one it listens on.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ADDR"))]
    pub advertise_client: Option<String>,

    /// The members that a new cluster begins with, the same on every node: `1=10.0.0.1:7101,2=10.0.0.2:7101`. Read on
    /// the first start only.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ID=ADDR,...", value_parser = text::parse_cluster, default_value = ""))]
    pub initial_cluster: BTreeMap<u64, String>,

    /// Members of a running cluster that this node is to be added to, by whom it is not named in an initial cluster:
    /// `1=10.0.0.1:7101,2=10.0.0.2:7101`. It starts with an empty log and waits until a leader sends it one, once it is added
    /// there. Read until then only; other nodes need not be named.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ID=ADDR,...", value_parser = text::parse_cluster, default_value = ""))]
    pub join: BTreeMap<u64, String>,

    /// A leader tells the others so often that it leads. Below the election timeouts.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "100ms"))]
    pub heartbeat_interval: Duration,

    /// A follower that hears from no leader campaigns after a random time of at least this.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "500ms"))]
    pub election_timeout_min: Duration,

    /// A follower that hears from no leader campaigns before so long. Above the least election timeout.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "1s"))]
    pub election_timeout_max: Duration,

    /// How much this node wants to lead, from 0 to 255, the most. One that wants to less campaigns later, by up to the difference of the
    /// election timeouts: when a leader dies, of two nodes that have the same log one of 255 always comes before one of 0. A node that
    /// leads is not deposed by one that wants to more.
    #[cfg_attr(feature = "clap", arg(long, value_name = "NUMBER", default_value_t = u8::MAX))]
    pub priority: u8,

    /// For how long after it sent heartbeats that a majority answered a leader serves reads that ask for a lease by itself; 0s for
    /// never. At most the least election timeout, less the drift of clocks. Such reads are wrong where a clock drifts by more than
    /// `clock_drift_ppm_max`, or stands still, as that of a virtual machine that is moved or suspended may. Set the least election
    /// timeout to the same on all nodes, and do not shorten it while a leader may hold a lease.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "0s"))]
    pub lease: Duration,

    /// By how much the clock of any node may run too fast or too slowly, in parts per million, such that leases stay right.
    #[cfg_attr(feature = "clap", arg(long, value_name = "PPM", default_value_t = CLOCK_DRIFT_PPM_MAX))]
    pub clock_drift_ppm_max: u32,

    /// How long a write or a read is waited for, the search for a leader included. It is checked about ten times in
    /// that span, so that a wait may last a tenth longer.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "5s"))]
    pub request_timeout: Duration,

    /// A snapshot is taken once the log has grown by so many bytes, or by as many as the last snapshot has, if those are more;
    /// 0 for never. What it covers leaves the log.
    #[cfg_attr(feature = "clap", arg(long, value_name = "BYTES", default_value_t = SNAPSHOT_BYTES))]
    pub snapshot_bytes: u64,

    /// A snapshot is taken once so many entries were committed since the last one; 0 for never.
    #[cfg_attr(feature = "clap", arg(long, value_name = "COUNT", default_value_t = 0))]
    pub snapshot_entries: u64,

    /// A snapshot is taken once so much time has passed since the last one, if anything was committed since; 0s for never.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "0s"))]
    pub snapshot_interval: Duration,

    /// So many entries that a snapshot covers stay in the log, for followers that are a little behind: they need no snapshot.
    #[cfg_attr(feature = "clap", arg(long, value_name = "COUNT", default_value_t = SNAPSHOT_KEEP_ENTRIES))]
    pub snapshot_keep_entries: u64,

    /// A snapshot is written to disk, and sent to followers, at so many bytes a second at most, each by itself, all followers together,
    /// so that writes wait less beside it; 0 for as fast as it goes. So is a state that is hashed. At least one piece a second
    /// (`snapshot_chunk_bytes_max` of the limits).
    #[cfg_attr(feature = "clap", arg(long, value_name = "BYTES", default_value_t = SNAPSHOT_BYTES_PER_SECOND_MAX))]
    pub snapshot_bytes_per_second_max: u64,

    /// While this node leads, it sends snapshots to nodes that lack one itself. Else a follower that has one does it in its stead, where
    /// one can, so that the leader's disk and network are left to writes.
    #[cfg_attr(feature = "clap", arg(long))]
    pub snapshots_by_leader: bool,

    /// How often a leader has the nodes' states compared, by a hash that each makes of its own after one and the same entry; 0s for
    /// never. Who is in another state than a majority stops, and says so: it would answer wrongly. Each time, every node goes
    /// through its state once, as for a snapshot.
    #[serde(with = "text::duration")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = text::parse_duration, default_value = "10m"))]
    pub state_check_interval: Duration,

    /// The newest version of what nodes say to each other that this node speaks; for experts. The cluster's version is raised to what
    /// all members speak, and there is no way back from that: as long as one member is told to speak an older version, all can still
    /// be started in the build before. Leave it out, and start the node again, once the new build has proved itself.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", default_value_t = Version::LATEST.0, hide_default_value = true))]
    pub speak_version_max: u16,

    /// How much is held at once.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: 1,
            cluster: "outrigger".to_owned(),
            data_dir: None,
            listen_peer: "127.0.0.1:7101".to_owned(),
            advertise_peer: None,
            listen_client: None,
            advertise_client: None,
            initial_cluster: BTreeMap::new(),
            join: BTreeMap::new(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_secs(1),
            priority: u8::MAX,
            lease: Duration::ZERO,
            clock_drift_ppm_max: CLOCK_DRIFT_PPM_MAX,
            request_timeout: Duration::from_secs(5),
            snapshot_bytes: SNAPSHOT_BYTES,
            snapshot_entries: 0,
            snapshot_interval: Duration::ZERO,
            snapshot_keep_entries: SNAPSHOT_KEEP_ENTRIES,
            snapshot_bytes_per_second_max: SNAPSHOT_BYTES_PER_SECOND_MAX,
            snapshots_by_leader: false,
            state_check_interval: STATE_CHECK_INTERVAL,
            speak_version_max: Version::LATEST.0,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// The settings that the command line names; ends the process with a message if they cannot be read.
    #[cfg(feature = "clap")]
    #[must_use]
    pub fn parse() -> Self {
        <Self as clap::Parser>::parse()
    }

    /// Reads an initial cluster as the command line writes it: `1=10.0.0.1:7101,2=10.0.0.2:7101`.
    ///
    /// # Errors
    /// What is wrong with the text, for people: a part without `=`, an id that is not a number, an id named twice.
    ///
    /// ```
    /// use outrigger::Config;
    /// let cluster = Config::parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7102").unwrap();
    /// assert_eq!(cluster[&2], "127.0.0.1:7102");
    /// assert!(Config::parse_cluster("1=a:1,1=b:1").unwrap_err().contains("twice"));
    /// ```
    pub fn parse_cluster(text: &str) -> Result<BTreeMap<u64, String>, String> {
        text::parse_cluster(text)
    }

    /// Whether an address is one that a node may be told to be at, or a client to call: `HOST:PORT`, where the host may be a name, and
    /// an IPv6 address stands in brackets. Whether anybody is there is not asked.
    ///
    /// ```
    /// use outrigger::Config;
    /// assert!(Config::is_address("[::1]:7101") && !Config::is_address("::1:7101"));
    /// ```
    #[must_use]
    pub fn is_address(text: &str) -> bool {
        check::is_place(text)
    }

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// The first fault found: what is wrong, with the numbers or addresses that do not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::validate(self)
    }

    /// This node's name as the engine has it.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        NodeId(self.id)
    }

    /// The number that stands for the cluster's name in files and handshakes: FNV-1a, 64 bits, over its bytes.
    ///
    /// ```
    /// use outrigger::Config;
    /// assert_eq!(Config::default().cluster_id(), 0xcacf_337d_7b9d_ab37);
    /// ```
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        fnv::hash(fnv::OFFSET_BASIS, self.cluster.as_bytes())
    }

    /// The membership that a new cluster begins with: every node of the initial cluster votes. It is of the first version, whatever
    /// the build: all must begin with the same, and the leader raises it once it has heard from everybody.
    #[must_use]
    pub fn initial_membership(&self) -> Membership {
        let node = |(id, address): (&u64, &String)| (NodeId(*id), Node { address: address.clone() });
        Membership::new(self.initial_cluster.iter().map(node), [])
    }

    /// Whether the others, who call this node at `named`, cannot be expected to reach it there, as it listens elsewhere
    /// and [`advertise_peer`](Config::advertise_peer) does not say that something between them forwards.
    #[must_use]
    pub fn listens_elsewhere(&self, named: &str) -> bool {
        check::listens_elsewhere(self, named)
    }

    /// Where clients reach this node, if they do.
    #[must_use]
    pub fn client_address(&self) -> Option<&str> {
        self.advertise_client.as_deref().or(self.listen_client.as_deref())
    }

    /// Where peers reach this node, as far as it knows itself: an address to listen on may be no place to go to. Then it is where
    /// the others find it in [`initial_cluster`](Config::initial_cluster).
    #[must_use]
    pub fn peer_address(&self) -> Option<&str> {
        let listens = Some(self.listen_peer.as_str()).filter(|address| check::leads_somewhere(address));
        let named = || self.initial_cluster.get(&self.id).map(String::as_str);
        self.advertise_peer.as_deref().or(listens).or_else(named)
    }

    fn snapshot_policy(&self) -> SnapshotPolicy {
        let some = |value: u64| (value > 0).then_some(value);
        SnapshotPolicy {
            entries: some(self.snapshot_entries),
            bytes: some(self.snapshot_bytes),
            interval: Some(self.snapshot_interval).filter(|interval| !interval.is_zero()),
            keep_entries: self.snapshot_keep_entries,
            delegated: !self.snapshots_by_leader,
        }
    }

    /// The engine's settings for this node in this life.
    #[must_use]
    pub fn engine(&self, node: Peer, seed: u64) -> EngineConfig {
        let mut engine = EngineConfig::new(node.speaking(Version(self.speak_version_max)), seed);
        engine.heartbeat_interval = self.heartbeat_interval;
        engine.election_timeout_min = self.election_timeout_min;
        engine.election_timeout_max = self.election_timeout_max;
        engine.priority = self.priority;
        engine.lease = Some(self.lease).filter(|lease| !lease.is_zero());
        engine.clock_drift_ppm_max = self.clock_drift_ppm_max;
        engine.state_check_interval = Some(self.state_check_interval).filter(|interval| !interval.is_zero());
        engine.snapshots = self.snapshot_policy();
        engine.limits = self.limits.engine();
        engine
    }
}

#[cfg(test)]
mod tests;
