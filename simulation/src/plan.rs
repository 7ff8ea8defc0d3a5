//! What a seed decides before anything happens: how large the cluster is, how bad its world.

use outrigger_engine::{EngineConfig, Limits, NodeId, Peer};

use crate::rng::Rng;

/// The conditions of one history. Probabilities are in parts per million, times in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many nodes there are, all of them voters.
    pub(crate) nodes: u64,
    /// By how much elections and faults come more often than in production: more terms fit in one history.
    pub(crate) hurry: u32,
    /// How long there are faults.
    pub(crate) faults_last: u64,
    /// How long a healed cluster may take until it must have converged and served.
    pub(crate) calm_lasts: u64,
    /// A process that is killed alone loses its power: its disk tears what was not synced.
    pub(crate) tears: u64,
    /// A message is lost.
    pub(crate) loss: u64,
    /// A message arrives twice.
    pub(crate) duplicates: u64,
    /// A message takes a hundred times as long as others, so that many overtake it.
    pub(crate) stragglers: u64,
    /// How long a message takes at least and at most.
    pub(crate) delay: (u64, u64),
    /// How long a flush takes at least and at most.
    pub(crate) flush: (u64, u64),
    /// A flush takes fifty times as long as others.
    pub(crate) slow_flushes: u64,
    /// How long the state machine takes for one piece of work, at least and at most.
    pub(crate) apply: (u64, u64),
    /// From one fault of a process to the next, about.
    pub(crate) crash_every: u64,
    /// A fault of a process cuts the power of all nodes at once.
    pub(crate) power_cuts: u64,
    /// A fault of a process stops it for a while instead of ending it.
    pub(crate) pauses: u64,
    /// A leader is struck soon after its election, so that it has replicated little and to few (Raft paper, figure 8).
    pub(crate) hunts: u64,
    /// How long a process stays away, at most.
    pub(crate) outage: u64,
    /// From one partition to the next, about; it lasts up to as long.
    pub(crate) partition_every: u64,
    /// One node is deaf for a while when the cluster is healed.
    pub(crate) deaf: u64,
    /// A crash is preceded by a sync that fails.
    pub(crate) failing_syncs: u64,
    /// A process dies when it is about to say something, other than that it lives.
    pub(crate) dies_speaking: u64,
    /// A bit of the log rots before a start.
    pub(crate) rot: u64,
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
}

/// A millisecond in nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// A second in nanoseconds.
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        // Kinds of faults are left out at times: some bugs need one kind and quiet from the others.
        let mut often = |low: u64, high: u64| if rng.chance(300_000) { 0 } else { rng.between(low, high) };
        let (loss, duplicates, stragglers) = (often(1_000, 200_000), often(1_000, 200_000), often(1_000, 60_000));
        let (power_cuts, pauses) = (often(50_000, 500_000), often(50_000, 500_000));
        let (slow_flushes, hunts) = (often(1_000, 100_000), often(100_000, 900_000));
        let (failing_syncs, rot) = (often(50_000, 500_000), often(10_000, 200_000));
        let dies_speaking = often(100, 6_000);
        let hurry = *rng.pick(&[1, 1, 4, 8]);
        // What takes longer than an election timeout allows nothing, so that only patient clusters get a slow world.
        let slow = if hurry == 1 && rng.chance(300_000) { 10 } else { 1 };
        let (slowest_flush, slowest_message) = (8 * slow * MILLISECOND, 10 * slow * MILLISECOND);
        let mut between = |low: u64, high: u64| rng.between(low, high) / u64::from(hurry);
        let (crash_every, partition_every) = (between(SECOND / 5, 4 * SECOND), between(SECOND / 2, 8 * SECOND));
        let outage = between(SECOND / 20, 3 * SECOND);
        let delay_min = rng.between(50_000, MILLISECOND);
        Self {
            nodes: *rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5]),
            hurry,
            faults_last: rng.between(5 * SECOND, 15 * SECOND),
            calm_lasts: 12 * SECOND,
            tears: 500_000,
            loss,
            duplicates,
            stragglers,
            delay: (delay_min, delay_min + rng.between(0, slowest_message)),
            flush: (50_000, rng.between(100_000, slowest_flush)),
            slow_flushes,
            apply: (10_000, rng.between(20_000, 4 * MILLISECOND)),
            crash_every,
            power_cuts,
            pauses,
            hunts,
            outage,
            partition_every,
            deaf: 500_000,
            failing_syncs,
            dies_speaking,
            rot,
            clients: rng.between(1, 8),
            think: rng.between(5 * MILLISECOND, 150 * MILLISECOND) / u64::from(hurry.min(2)),
            tail_bytes: rng.count(0, 4000),
            segment_bytes: rng.between(8, 64) << 10,
            apply_lane: rng.count(1, 8),
            pre_vote: rng.chance(750_000),
            limits: draw_limits(rng),
        }
    }

    /// The engine's settings of one node in one life.
    pub(crate) fn engine(&self, node: Peer, seed: u64) -> EngineConfig {
        let mut config = EngineConfig::new(node, seed);
        config.heartbeat_interval /= self.hurry;
        config.election_timeout_min /= self.hurry;
        config.election_timeout_max /= self.hurry;
        config.pre_vote = self.pre_vote;
        config.limits = self.limits.clone();
        config
    }

    /// The ids of all nodes.
    pub(crate) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId)
    }
}

/// Mostly the defaults, at times so narrow that every limit is met.
fn draw_limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    if rng.chance(500_000) {
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
