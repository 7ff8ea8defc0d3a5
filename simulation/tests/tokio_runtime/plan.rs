//! What a seed decides before anything happens: how many nodes, how slow, how lossy, how narrow.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger::{Config, Limits};

use crate::rng::Rng;

/// How long a write or a read is waited for. Shorter than usual, so that many of them end in a timeout.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A caller who has waited for so long will wait for ever: a try may take a tenth more than the timeout, a wait for a
/// leader as long, a last try again. No disk that hangs makes it longer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// No disk hangs longer.
pub(crate) const HANG_MAX: Duration = Duration::from_secs(9);
/// A node that is told to stop does so in that time, although its log must be written first.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(40);
/// A cluster in which all is well again serves, on every node, and all nodes are equal, before so long.
pub(crate) const CONVERGE_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many nodes; 3 to 5.
    pub(crate) nodes: u64,
    /// Whether there are many clients, which all call the leader, on a quick network with narrow lanes and under wide limits;
    /// most faults are answers that come late and all at once. Nothing else fills a replication stream: the engine has one
    /// request in it at a time, and so it takes a row of commit indexes, each learnt from an answer of its own.
    pub(crate) is_crowded: bool,
    /// How many clients.
    pub(crate) clients: u64,
    /// How many keys they write to; few, so that they meet.
    pub(crate) keys: u64,
    /// How long a client rests between two calls, at most, in milliseconds.
    pub(crate) rest_max: u64,
    /// How long faults strike.
    pub(crate) faults_for: Duration,
    /// The time between two of them, in milliseconds.
    pub(crate) pause: (u64, u64),
    /// How long a message takes, in microseconds.
    pub(crate) delay: (u64, u64),
    /// Messages that are lost, that come twice, and that come late, of a million.
    pub(crate) loss: u64,
    pub(crate) doubles: u64,
    pub(crate) stragglers: u64,
    /// So many messages fit in a bulk lane.
    pub(crate) lane: usize,
    /// How long the disk takes, at most, in microseconds.
    pub(crate) disk_max: u64,
    /// How many processors a node believes to have.
    pub(crate) processors: usize,
    /// How much a node holds at once.
    limits: Limits,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let is_crowded = rng.chance(100_000);
        let quick = is_crowded || rng.chance(500_000);
        Self {
            nodes: rng.between(3, 5),
            is_crowded,
            clients: if is_crowded { rng.between(20, 40) } else { rng.between(2, 6) },
            keys: rng.between(1, 4),
            rest_max: if is_crowded { 200 } else { *rng.pick(&[10, 50, 200]) },
            faults_for: Duration::from_millis(rng.between(6_000, 12_000)),
            pause: if is_crowded { (50, 1_000) } else { *rng.pick(&[(1, 300), (50, 1_000), (200, 3_000)]) },
            delay: if quick { (10, 1_500) } else { (500, rng.between(2_000, 60_000)) },
            loss: *rng.pick(&[0, 1_000, 20_000, 100_000]),
            doubles: *rng.pick(&[0, 1_000, 50_000]),
            stragglers: *rng.pick(&[0, 1_000, 20_000]),
            lane: rng.count(1, if is_crowded { 2 } else { 6 }),
            disk_max: *rng.pick(&[100, 5_000, 30_000]),
            processors: rng.count(1, 2),
            limits: limits(rng, is_crowded),
        }
    }

    /// The settings of one node.
    pub(crate) fn config(&self, id: u64) -> Config {
        let cluster: BTreeMap<u64, String> = (1..=self.nodes).map(|id| (id, format!("node-{id}:1"))).collect();
        Config {
            id,
            initial_cluster: cluster,
            request_timeout: REQUEST_TIMEOUT,
            limits: self.limits.clone(),
            ..Config::default()
        }
    }

    /// How long the files of a log are.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.limits.segment_bytes
    }
}

/// Limits as they come, or so narrow that every one of them is met.
fn limits(rng: &mut Rng, is_crowded: bool) -> Limits {
    let segment_bytes = *rng.pick(&[8 << 10, 64 << 10]);
    if is_crowded || rng.chance(400_000) {
        return Limits { segment_bytes, ..Limits::default() };
    }
    Limits {
        segment_bytes,
        append_bytes_max: rng.count(100, 2_000),
        inflight_requests_max: rng.count(1, 4),
        inflight_bytes_max: rng.count(200, 4_000),
        uncommitted_entries_max: rng.count(4, 64),
        forwards_max: rng.count(2, 16),
        requests_max: rng.count(2, 16),
        messages_max: rng.count(8, 64),
        messages_bytes_max: rng.count(1_000, 10_000),
        unapplied_entries_max: rng.between(1, 16),
        tail_bytes_max: rng.count(1, 4_000),
        ..Limits::default()
    }
}
