//! What a seed decides before anything happens: how large the cluster is, how bad its world.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outrigger_engine::{Consistency, EngineConfig, Incarnation, Limits, NodeId, Peer, SnapshotPolicy};

use outrigger::runtime::sessions::SessionLimits;

use crate::check::Terms;
use crate::machine::RESPONSE_BYTES;
use crate::rng::Rng;

/// A kind of trouble. Each is left out of some histories: some bugs need one kind and quiet from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A message is lost.
    Loss,
    /// A message arrives twice.
    Duplicates,
    /// A message takes a hundred times as long as others, so that many overtake it.
    Stragglers,
    /// The network comes apart.
    Partitions,
    /// A leader is struck soon after its election, so that it has replicated little and to few (Raft paper, figure 8).
    Hunts,
    /// A process dies.
    Crashes,
    /// The power of all nodes is cut at once.
    PowerCuts,
    /// A process is stopped for a while.
    Pauses,
    /// A process stays away for long.
    Outages,
    /// A process dies when it is about to say something, other than that it lives.
    LastWords,
    /// A flush takes fifty times as long as others, or hangs.
    SlowFlushes,
    /// A sync fails.
    FailingSyncs,
    /// A write takes only a part of what it was given.
    ShortWrites,
    /// A disk has no more room for a while.
    FullDisks,
    /// What was synced is damaged before a start: a bit has rotted, a write was lost or went astray.
    Damage,
    /// A node runs from an empty disk, or from an older copy of its own.
    Disguises,
    /// A disk is lost for good.
    Losses,
    /// A node's clock leaps ahead or is set back.
    Leaps,
    /// Clocks run too fast or too slow, by so many parts per million at most.
    Drift,
    /// Nodes stay away from the cluster that is healed.
    Outsiders,
    /// A request carries fewer entries than its leader sent, as that of a leader with other limits might.
    ShortRequests,
    /// A peer lane takes a hundred times as long as others to send.
    SlowSends,
    /// What has ended is told once more, some time later.
    Echoes,
    /// A node that is no member says what a member said.
    Strangers,
    /// The disk of a node that was removed is replaced by an empty one, or by the one that it had before.
    Replacements,
    /// A snapshot rots while its node serves, and is found so when it is to be sent.
    Decay,
}

impl Trouble {
    /// Each kind with its name; how likely it is at least and at most where it is not left out, in parts per million of the
    /// occasions that there are for it; and what it is, for a list on a terminal.
    #[rustfmt::skip] // a table
    pub(crate) const ALL: [(Self, &'static str, u64, u64, &'static str); 26] = [
        (Self::Loss,         "loss",            1_000,   200_000, "a message is lost"),
        (Self::Duplicates,   "duplicates",      1_000,   200_000, "a message arrives twice"),
        (Self::Stragglers,   "stragglers",      1_000,    60_000, "a message takes a hundred times as long as others"),
        (Self::Partitions,   "partitions",    500_000, 1_000_000, "the network comes apart"),
        (Self::Hunts,        "hunts",         100_000,   900_000, "a leader is struck soon after its election"),
        (Self::Crashes,      "crashes",       500_000, 1_000_000, "a process dies"),
        (Self::PowerCuts,    "power-cuts",     20_000,   200_000, "the power of all nodes is cut at once"),
        (Self::Pauses,       "pauses",         50_000,   400_000, "a process is stopped for a while"),
        (Self::Outages,      "outages",        10_000,   100_000, "a process stays away for long"),
        (Self::LastWords,    "last-words",        100,     6_000, "a process dies when it is about to say something"),
        (Self::SlowFlushes,  "slow-flushes",    1_000,   100_000, "a flush takes fifty times as long as others, or hangs"),
        (Self::FailingSyncs, "failing-syncs",  50_000,   300_000, "a sync fails"),
        (Self::ShortWrites,  "short-writes",    1_000,   100_000, "a write takes only a part of what it was given"),
        (Self::FullDisks,    "full-disks",     20_000,   200_000, "a disk has no more room for a while"),
        (Self::Damage,       "damage",         10_000,   200_000, "what was synced is damaged before a start"),
        (Self::Disguises,    "disguises",      50_000,   400_000, "a node runs from an empty disk, or from an older copy of its own"),
        (Self::Losses,       "losses",         60_000,   400_000, "a disk is lost for good"),
        (Self::Leaps,        "leaps",          50_000,   500_000, "a clock leaps ahead or is set back"),
        (Self::Drift,        "drift",           1_000,   100_000, "clocks run too fast or too slow"),
        (Self::Outsiders,    "outsiders",     300_000,   800_000, "nodes stay away from the cluster that is healed"),
        (Self::ShortRequests, "short-requests", 1_000,   100_000, "a request carries fewer entries than its leader sent"),
        (Self::SlowSends,    "slow-sends",      1_000,    60_000, "a peer lane takes a hundred times as long as others to send"),
        (Self::Echoes,       "echoes",          1_000,    60_000, "what has ended is told once more"),
        (Self::Strangers,    "strangers",       1_000,    20_000, "a node that is no member says what a member said"),
        (Self::Replacements, "replacements",  100_000,   500_000, "the disk of a node that was removed is replaced"),
        (Self::Decay,        "decay",          10_000,   200_000, "a snapshot rots while its node serves"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl FromStr for Trouble {
    type Err = UnknownTrouble;

    fn from_str(name: &str) -> Result<Self, UnknownTrouble> {
        let found = Self::ALL.into_iter().find(|(_, known, ..)| *known == name.trim());
        found.map(|(trouble, ..)| trouble).ok_or_else(|| UnknownTrouble(name.to_owned()))
    }
}

/// What strikes a process or a disk, in the order in which it is asked whether it does; the first that does is the only one.
pub(crate) const STRIKES: [Trouble; 7] = [
    Trouble::PowerCuts,
    Trouble::Pauses,
    Trouble::FailingSyncs,
    Trouble::FullDisks,
    Trouble::Disguises,
    Trouble::Replacements,
    Trouble::Crashes,
];

/// A name that no trouble has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownTrouble(String);

impl fmt::Display for UnknownTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Trouble::ALL.iter().map(|(_, name, ..)| *name).collect();
        write!(f, "no trouble is called {:?}; there are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownTrouble {}

/// How likely each kind of trouble is, in parts per million.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Odds([u64; Trouble::ALL.len()]);

impl Odds {
    fn draw(rng: &mut Rng) -> Self {
        // What came later is drawn beside the others: a world without it is what it was before.
        let mut late = rng.clone().fork();
        Self(Trouble::ALL.map(|(trouble, _, low, high, _)| {
            let rng = if trouble == Trouble::Decay { &mut late } else { &mut *rng };
            if rng.chance(300_000) { 0 } else { rng.between(low, high) }
        }))
    }
}

/// The conditions of one history. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many nodes the cluster begins with, all of them voters.
    pub(crate) nodes: u64,
    /// How many more wait to be added. Where there are none, the members do not change.
    pub(crate) spares: u64,
    /// From one change of the members to the next, about.
    pub(crate) change_every: u64,
    /// From one wish for another leader to the next, about; 0 where nobody has any.
    pub(crate) wish_every: u64,
    /// From one start of a node in another build to the next, about; 0 where all speak the same.
    pub(crate) upgrade_every: u64,
    /// By how much elections and faults come more often than in production: more terms fit in one history.
    pub(crate) hurry: u32,
    /// How long there are faults.
    pub(crate) faults_last: u64,
    /// How long a healed cluster may take until it must have converged and served.
    pub(crate) calm_lasts: u64,
    odds: Odds,
    /// A process that is killed alone loses its power: its disk tears what was not synced. In parts per million.
    pub(crate) tears: u64,
    /// How long a message takes at least and at most.
    pub(crate) delay: (u64, u64),
    /// How long a flush takes at least and at most.
    pub(crate) flush: (u64, u64),
    /// How long a flush hangs at most, if it does; where its leader is struck meanwhile, twice as long.
    pub(crate) hang_max: u64,
    /// How long the state machine takes for one piece of work, at least and at most.
    pub(crate) apply: (u64, u64),
    /// From one fault of a process or a disk to the next, about.
    pub(crate) strike_every: u64,
    /// From one leap of a clock to the next, about.
    pub(crate) slip_every: u64,
    /// How long a process stays away, at most, unless it does so for long.
    pub(crate) outage: u64,
    /// From one partition to the next, about; it lasts up to as long.
    pub(crate) partition_every: u64,
    /// How many clients there are.
    pub(crate) clients: u64,
    /// How long a client waits between two requests, at most.
    pub(crate) think: u64,
    /// How many bytes of entries a node keeps in memory, beyond those that it must.
    pub(crate) tail_bytes: usize,
    /// How large a segment of the log is.
    pub(crate) segment_bytes: u64,
    /// How many pieces of work the state machine's lane takes.
    pub(crate) apply_lane: usize,
    /// Engine settings that the seed draws.
    pub(crate) pre_vote: bool,
    /// Engine limits that the seed draws.
    pub(crate) limits: Limits,
    /// How often nodes' states are compared; never in some worlds.
    pub(crate) state_check_interval: Option<Duration>,
    /// When snapshots are taken; never in some worlds.
    pub(crate) snapshots: SnapshotPolicy,
    /// Sessions in which clients write; none in some worlds.
    pub(crate) sessions: Option<SessionPlan>,
    /// How clients read; linearizably, and without leases, in most worlds.
    pub(crate) reads: Option<ReadPlan>,
}

/// How clients read where not all reads are linearizable by a round. Clocks keep within a bound there.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan {
    /// By how much a clock may run too fast or too slowly, in parts per million.
    drift_ppm: u32,
    /// Whether nodes with an even name hold no leases of their own: they keep their pledges all the same.
    is_mixed: bool,
    /// Decides what clients want.
    rng: Rng,
}

impl ReadPlan {
    /// How new the state must be that a client reads next.
    pub(crate) fn consistency(&mut self) -> Consistency {
        let bound = Duration::from_millis(self.rng.between(1, 600));
        match self.rng.below(10) {
            0 | 1 => Consistency::Linearizable,
            2..=6 => Consistency::Lease,
            7 | 8 => Consistency::Acknowledged { age_max: bound },
            _ => Consistency::Stale { staleness_max: bound },
        }
    }

    /// The longest time of the world for which a clock may show so much.
    pub(crate) fn at_most(&self, shown: Duration) -> u64 {
        let (shown, drift) = (shown.as_nanos(), u128::from(self.drift_ppm));
        let passed = (shown * 1_000_000).div_ceil(1_000_000 - drift);
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

/// How clients write exactly once.
#[derive(Clone, Debug)]
pub(crate) struct SessionPlan {
    /// Of every node's table: small ones, so that all are met.
    pub(crate) limits: SessionLimits,
    /// For how long a session is kept unused, in milliseconds of log time.
    pub(crate) time_to_live_ms: u64,
    /// How many sessions the clients share.
    pub(crate) shared: usize,
    /// Decides what clients do with them.
    pub(crate) rng: Rng,
}

/// A millisecond in nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// A second in nanoseconds.
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let odds = Odds::draw(rng);
        let hurry = *rng.pick(&[1, 1, 4, 8]);
        // What takes longer than an election timeout allows nothing, so that only patient clusters get a slow world.
        let slow = if hurry == 1 && rng.chance(300_000) { 10 } else { 1 };
        let (slowest_flush, slowest_message) = (8 * slow * MILLISECOND, 10 * slow * MILLISECOND);
        let mut between = |low: u64, high: u64| rng.between(low, high) / u64::from(hurry);
        let change_every = between(SECOND / 4, 3 * SECOND);
        let (strike_every, partition_every) = (between(SECOND, 8 * SECOND), between(SECOND / 2, 8 * SECOND));
        let outage = between(SECOND / 20, 3 * SECOND);
        let delay_min = rng.between(50_000, MILLISECOND);
        let spares = if rng.chance(350_000) { rng.between(1, 3) } else { 0 };
        let mut plan = Self {
            spares,
            change_every,
            wish_every: 0,
            upgrade_every: 0,
            nodes: *rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5]),
            hurry,
            faults_last: rng.between(5 * SECOND, 15 * SECOND),
            calm_lasts: 12 * SECOND,
            odds,
            tears: 500_000,
            delay: (delay_min, delay_min + rng.between(0, slowest_message)),
            flush: (50_000, rng.between(100_000, slowest_flush)),
            hang_max: 7 * SECOND / u64::from(hurry),
            apply: (10_000, rng.between(20_000, 4 * MILLISECOND)),
            strike_every,
            slip_every: strike_every,
            outage,
            partition_every,
            clients: rng.between(1, 8),
            think: rng.between(5 * MILLISECOND, 150 * MILLISECOND) / u64::from(hurry.min(2)),
            tail_bytes: rng.count(0, 4000),
            segment_bytes: rng.between(8, 48) << 10,
            apply_lane: rng.count(1, 8),
            pre_vote: rng.chance(750_000),
            limits: draw_limits(rng),
            snapshots: draw_snapshots(rng),
            sessions: draw_sessions(rng.clone().fork()),
            reads: None,
            state_check_interval: None,
        };
        if plan.takes_snapshots() {
            plan.limits.snapshot_chunk_bytes_max = rng.count(50, 4_000);
        }
        if plan.spares > 0 {
            // Whether the rest can be a quorum would depend on when a disk is lost; and where one node was a quorum at some
            // time, an older copy of it is one again, before anybody can refuse it.
            plan.spare(Trouble::Losses);
            plan.spare(Trouble::Disguises);
        }
        // Drawn beside all the others: a world without wishes is what it was before there were any.
        let mut late = rng.clone().fork();
        if late.chance(300_000) {
            plan.wish_every = late.between(SECOND / 8, 2 * SECOND) / u64::from(hurry);
        }
        plan.draw_reads(late.fork());
        if late.chance(400_000) {
            let interval = late.between(SECOND / 4, 3 * SECOND) / u64::from(hurry);
            plan.state_check_interval = Some(Duration::from_nanos(interval));
        }
        plan.draw_builds(late.fork());
        plan
    }

    /// In some worlds nodes are upgraded one at a time; what the newest build alone knows is said there as soon as it may be.
    fn draw_builds(&mut self, mut rng: Rng) {
        if !rng.chance(250_000) {
            return;
        }
        self.upgrade_every = rng.between(SECOND / 4, 3 * SECOND) / u64::from(self.hurry);
        let interval = rng.between(SECOND / 8, SECOND) / u64::from(self.hurry);
        self.state_check_interval = Some(Duration::from_nanos(interval));
        // An older copy of a disk does not know what the node has heard since, and would be taken for one that has not gone back.
        self.spare(Trouble::Losses);
        self.spare(Trouble::Disguises);
        // Who only learns must speak it too.
        if self.spares == 0 && rng.chance(400_000) {
            self.spares = rng.between(1, 3);
        }
    }

    /// In some worlds clocks can be trusted: leaders hold leases, and clients read in all ways.
    fn draw_reads(&mut self, mut rng: Rng) {
        if rng.chance(600_000) {
            return;
        }
        let drift_ppm = *rng.pick(&[10_000, 100_000, 100_000]);
        self.set_odds(Trouble::Drift, drift_ppm.into());
        self.reads = Some(ReadPlan { drift_ppm, is_mixed: rng.chance(200_000), rng });
    }

    /// Where clocks drift further than leases allow, there are none.
    pub(crate) fn mistrust_clocks(&mut self) {
        let drift = self.odds(Trouble::Drift);
        self.reads.take_if(|reads| drift > u64::from(reads.drift_ppm));
    }

    /// Whether the clock of a node may leap ahead, or be set back. Where clocks are trusted, only that of a leader may, and only
    /// ahead: nobody counts on its own pledge, and what it counts by is over earlier.
    pub(crate) const fn may_slip(&self, ahead: bool, leads: bool) -> bool {
        self.reads.is_none() || (ahead && leads)
    }

    /// How likely this trouble is, in parts per million.
    pub(crate) const fn odds(&self, trouble: Trouble) -> u64 {
        self.odds.0[trouble as usize]
    }

    /// The same conditions without this trouble.
    pub(crate) const fn spare(&mut self, trouble: Trouble) {
        self.set_odds(trouble, 0);
    }

    /// The same conditions, in which this trouble never was: where no process dies, nobody starts one in another build either.
    pub(crate) fn leave_out(&mut self, trouble: Trouble) {
        self.spare(trouble);
        if trouble == Trouble::Crashes {
            self.upgrade_every = 0;
        }
    }

    /// The same conditions with this trouble as likely as that, in parts per million.
    pub(crate) const fn set_odds(&mut self, trouble: Trouble, odds: u64) {
        self.odds.0[trouble as usize] = odds;
    }

    /// Whether nodes take snapshots in this world.
    pub(crate) fn takes_snapshots(&self) -> bool {
        self.snapshots != SnapshotPolicy::BY_HAND
    }

    /// The engine's settings of one node in one life.
    pub(crate) fn engine(&self, node: Peer, seed: u64) -> EngineConfig {
        let mut config = EngineConfig::new(node, seed);
        config.heartbeat_interval /= self.hurry;
        config.election_timeout_min /= self.hurry;
        config.election_timeout_max /= self.hurry;
        config.pre_vote = self.pre_vote;
        config.limits = self.limits.clone();
        config.snapshots = self.snapshots.clone();
        config.state_check_interval = self.state_check_interval;
        config.change_patience /= self.hurry;
        if let Some(reads) = &self.reads {
            config.clock_drift_ppm_max = reads.drift_ppm;
            let holds = !reads.is_mixed || node.node.0 % 2 == 1;
            config.lease = holds.then(|| config.lease_max());
        }
        config
    }

    /// Whether the memory of a node may rot, so that the others must find it: not where one node may be a quorum.
    pub(crate) const fn may_rot(&self) -> bool {
        self.state_check_interval.is_some() && self.nodes >= 3 && self.spares == 0
    }

    /// What the settings say about leaders.
    pub(crate) fn terms(&self) -> Terms {
        let anybody = Peer::new(NodeId(1), Incarnation::default());
        Terms::new(self.engine(anybody, 0))
    }

    /// The ids of all nodes.
    pub(crate) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes + self.spares).map(NodeId)
    }

    /// The ids of the nodes that the cluster begins with.
    pub(crate) fn founders(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId)
    }

    /// How many of the nodes that a cluster begins with are a majority.
    pub(crate) fn majority(&self) -> usize {
        usize::try_from(self.nodes / 2 + 1).expect("a small cluster")
    }
}

/// Often enough that most nodes start from one, and small enough that they travel in pieces.
fn draw_snapshots(rng: &mut Rng) -> SnapshotPolicy {
    if rng.chance(700_000) {
        return SnapshotPolicy::BY_HAND;
    }
    let by_bytes = rng.chance(300_000);
    SnapshotPolicy {
        entries: (!by_bytes).then(|| rng.between(10, 120)),
        bytes: by_bytes.then(|| rng.between(500, 8_000)),
        interval: rng.chance(200_000).then(|| Duration::from_millis(rng.between(200, 2_000))),
        keep_entries: if rng.chance(500_000) { 0 } else { rng.between(1, 60) },
        delegated: rng.chance(700_000),
    }
}

/// From dice of its own, so that worlds without them are as they would be.
fn draw_sessions(mut rng: Rng) -> Option<SessionPlan> {
    if rng.chance(650_000) {
        return None;
    }
    let shared = rng.count(1, 3);
    let mut limits = SessionLimits::STANDARD;
    limits.window = rng.between(1, 6);
    limits.sessions_max = if rng.chance(500_000) { rng.count(shared, shared + 2) } else { 64 };
    limits.response_bytes_max = if rng.chance(100_000) { RESPONSE_BYTES - 1 } else { RESPONSE_BYTES };
    // At least what one session may keep for each of those that are in use.
    let least = shared * usize::try_from(limits.window).expect("a small window");
    limits.kept_bytes_max = RESPONSE_BYTES * if rng.chance(300_000) { least } else { 10_000 };
    let time_to_live_ms = rng.between(1_000, 4_000);
    limits.time_to_live_max_ms = if rng.chance(300_000) { 1_500 } else { 1_000_000 };
    Some(SessionPlan { limits, time_to_live_ms, shared, rng })
}

/// Mostly the defaults, at times so narrow that every limit is met.
fn draw_limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    if rng.chance(500_000) {
        // Some of the clients' writes are larger.
        limits.entry_bytes_max = 2_500;
        limits.append_bytes_max = rng.count(1, 500);
        limits.inflight_requests_max = rng.count(1, 6);
        limits.inflight_bytes_max = rng.count(1, 2000);
        limits.uncommitted_entries_max = rng.count(1, 40);
        limits.uncommitted_bytes_max = rng.count(100, 4000);
        limits.unflushed_bytes_max = rng.count(100, 4000);
        limits.forwards_max = rng.count(1, 8);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_stands_in_its_place_and_is_found_by_its_name() {
        for (place, (trouble, name, low, high, _)) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!((trouble as usize, trouble.name(), name.parse()), (place, name, Ok(trouble)));
            assert!(low <= high && high <= 1_000_000, "{name}");
        }
        assert!("fog".parse::<Trouble>().unwrap_err().to_string().contains("\"fog\"; there are loss, duplicates,"));
    }
}
