//! The code of the tokio runtime, all of it, under a clock that does not run by itself: hundreds of histories, each of
//! which its seed repeats to the letter.
//!
//! ```text
//!   Raft ── RaftCore, worker, streams, log writer, supervisor       the code of production, on one thread
//!    │            │                    │
//!    │      Transport: Wire      DurableStore on a FaultyDisk       a network and disks that fail as the seed says
//!    │                                                              tokio's clock, paused: it leaps from timer to timer
//!   clients, who write, read, lose patience ──► a history, judged
//! ```
//!
//! The simulator in `src/` hosts engine and log in a runtime of its own; what it cannot see are the faults of the runtime
//! on tokio: a caller whom nobody answers, an answer that comes too early, a task that outlives its node. Here that
//! runtime is hosted by an [`Environment`](outrigger::runtime::Environment) of the test's.
//!
//! `OUTRIGGER_SEEDS` says how many seeds a run takes, `OUTRIGGER_START_SEED` which is the first, and `OUTRIGGER_TRACE=1`
//! prints each event. A failure names the command that replays it.

mod client;
mod disk;
mod faults;
mod life;
mod network;
mod plan;
mod record;
mod register;
#[path = "../../src/rng.rs"]
mod rng;
mod slot;
mod trace;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trace::Counts;
use world::{Report, run};

/// How many seeds a usual run of the tests takes.
const SEEDS: u64 = 500;
/// What must have happened in them, or they prove nothing.
const MUST_HAPPEN: &[&str] = &[
    "answers held back",
    "bulk lane full",
    "call given up",
    "connection broken",
    "connection stalled",
    "disk hangs",
    "failure of the disk ordered",
    "history searched to the end",
    "links cut one by one",
    "local read answered",
    "local read refused",
    "message doubled",
    "message finds its inbox full or closed",
    "message held up",
    "message lost",
    "message of an earlier life refused",
    "node cut off",
    "node heard or hearing one way",
    "node started",
    "node stopped as it was told",
    "node stopped by its disk",
    "partition in two",
    "power cut",
    "power cut after a disk operation",
    "power cut before a disk operation",
    "power cut of all nodes",
    "power cut while a disk operation was under way",
    "process killed",
    "read answered",
    "read refused",
    "short write ordered",
    "write answered",
    "write in doubt",
    "write in doubt: leadership changed",
    "write in doubt: no answer within the request timeout",
    "write refused",
    "write refused: the node has stopped",
];

/// A number from the environment of the process.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`; it must be a number")))
}

/// Lives through seeds, on as many threads as there are processors; the reports in the order of the seeds.
fn run_all(seeds: std::ops::Range<u64>, prints: bool) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed, prints);
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|report| report.seed);
    reports
}

fn failure(report: &Report) -> Option<String> {
    let (seed, violation) = (report.seed, report.violation.as_ref()?);
    Some(format!(
        "seed {seed}: {violation}\nreplay it with: OUTRIGGER_START_SEED={seed} OUTRIGGER_SEEDS=1 OUTRIGGER_TRACE=1 cargo \
         test -p outrigger-simulation --test tokio_runtime clusters_survive -- --nocapture"
    ))
}

#[test]
fn clusters_survive_hundreds_of_seeds() {
    let start = setting("OUTRIGGER_START_SEED").unwrap_or(1);
    let seeds = setting("OUTRIGGER_SEEDS").unwrap_or(SEEDS);
    let reports = run_all(start..start + seeds, setting("OUTRIGGER_TRACE") == Some(1));
    let failures: Vec<String> = reports.iter().filter_map(failure).collect();
    let mut counts = Counts::new();
    for (what, count) in reports.iter().flat_map(|report| &report.counts) {
        *counts.entry(what).or_default() += count;
    }
    let digest = reports.iter().fold(0, |digest, report| trace::mix(digest, report.digest));
    println!("{seeds} seeds with digest {digest:016x}: {counts:#?}");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed\n{}", failures.len(), failures.join("\n"));
    if seeds >= SEEDS {
        let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !counts.contains_key(*what)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        let answered = counts["write answered"];
        assert!(answered > 50 * seeds, "{answered} writes were answered in {seeds} seeds");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let start = setting("OUTRIGGER_START_SEED").unwrap_or(1);
    let seeds = start..start + setting("OUTRIGGER_SEEDS").unwrap_or(SEEDS).div_ceil(10);
    let first = run_all(seeds.clone(), false);
    let second = run_all(seeds, false);
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second, "the second time");
    }
    let mut digests: Vec<u64> = first.iter().map(|report| report.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), first.len(), "two seeds with one history");
}
