//! `snapshot`: what writes feel of a snapshot of a large state. Three nodes on TCP with the durable log, in one process.
//!
//! ```text
//!   writers ──▶ leader ──▶ follower           all along, one write after the other each
//!                  │  └ ─ ▶ follower that was away
//!                  │
//!      at rest     │ (a)
//!      built       │ (b)   leader's state ──▶ its disk
//!      sent        │ (c)   its disk ──▶ the follower's disk
//! ```
//!
//! All three share one machine, its processors and its disk: each of them has less than it would have by itself. So writes come at a
//! rate that is given, which leaves all of that room: a machine that is busy with writes alone shows how long they wait for each
//! other, and a disk that is hired by its operations shows when these are used up. There is a phase at rest before and after
//! each other one, and what is told is the median of the rounds' ratios: a disk that stands still once is in one round of them.

mod cluster;
mod latency;
mod state;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outrigger::SnapshotError;

use self::cluster::Cluster;
use self::latency::{Latencies, Writers};
use crate::alternate::Spread;
use crate::arguments::seconds;
use crate::report::{Report, ReportError};

/// What p99 may be with a snapshot, in parts of what it is without, in the median of the rounds.
const RATIO_MAX: f64 = 2.0;

/// What `snapshot` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Size of the state, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    state_mib: u64,
    /// How fast snapshots are written and sent, in bytes a second; 0 for as fast as it goes [default: that of a node]
    #[arg(long, value_name = "BYTES")]
    bytes_per_second_max: Option<u64>,
    /// Writers that each wait for their own write
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    writers: u16,
    /// Writes a second, of all writers together
    #[arg(long, value_name = "WRITES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Length of a phase at rest; the others last as long as the snapshot does
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// How often a snapshot is built and sent
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// A directory on the disk to measure, with room for four times the state; the one made in it is removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why there are no figures, or bad ones.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// No directory for the nodes could be made.
    #[error("cannot use {}: {cause}; name a directory that you may write to with --dir", dir.display())]
    Directory {
        /// The directory that `--dir` names.
        dir: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The runtime or a port was refused by the system.
    #[error("the system gives no thread or no port: {0}")]
    System(#[from] io::Error),
    /// A node did not do what it was asked.
    #[error("{0}")]
    Node(#[from] outrigger::Error),
    /// The leader took no snapshot.
    #[error("the leader took no snapshot: {0}")]
    NoSnapshot(#[from] SnapshotError),
    /// Something did not come about in time.
    #[error("{what} did not come about in {waited:?}")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The figures could not be printed or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Writes feel a snapshot too much.
    #[error(
        "p99 while a snapshot is {phase} is {ratio:.2} times what it is at rest, in the median of the rounds; at most {RATIO_MAX} \
         times is what it should be"
    )]
    TooMuch {
        /// Built or sent.
        phase: &'static str,
        /// How much more.
        ratio: f64,
    },
}

/// Measures, and prints a row for each phase.
///
/// # Errors
/// [`Failure`], also when the ratio is above what it should be.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let failed = |cause| Failure::Directory { dir: arguments.dir.clone(), cause };
    let directory = tempfile::Builder::new().prefix("bench-snapshot-").tempdir_in(&arguments.dir).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rounds = runtime.block_on(measure(arguments, directory.path()))?;
    let mib = arguments.state_mib;
    let (writers, rate) = (arguments.writers, arguments.rate);
    let caption =
        format!("state {mib} MiB, {writers} writers, {rate} writes/s; latencies of a write on the leader in us");
    let columns = vec!["phase", "writes", "p50", "p99", "max", "ratio_p50", "ratio_p99", "ratio_p99_max"];
    let mut report = Report::new(io::stdout(), arguments.json.as_deref(), &caption, columns)?;
    println!(
        "phases: 1 at rest, 2 while it is built, 3 while it is sent; medians of the rounds, and the worst ratio of one"
    );
    let of_rounds = |phase: usize, part| rounds.iter().map(|round| round[phase].at(part)).collect::<Vec<f64>>();
    let mut row = |phase: usize| {
        #[expect(clippy::cast_precision_loss, reason = "there are three")]
        let number = (phase + 1) as f64;
        let writes = rounds.iter().map(|round| round[phase].count()).sum();
        let median = |part| Spread::of(&of_rounds(phase, part)).map(|it| it.median);
        let ratio = |part| Spread::of_ratios(&of_rounds(phase, part), &of_rounds(0, part));
        let (p50, p99) = (ratio(0.5).map(|it| it.median), ratio(0.99));
        let (usual, most) = (p99.map(|it| it.median), p99.map(|it| it.max));
        report
            .row(&[Some(number), Some(writes), median(0.5), median(0.99), median(1.0), p50, usual, most])
            .map(|()| usual.unwrap_or(f64::INFINITY))
    };
    row(0)?;
    let ratios = [("built", row(1)?), ("sent", row(2)?)];
    match ratios.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)) {
        Some((phase, ratio)) if ratio > RATIO_MAX => Err(Failure::TooMuch { phase, ratio }),
        _ => Ok(()),
    }
}

/// At rest, while it is built, while it is sent.
type Round = [Latencies; 3];

/// Measures all rounds.
async fn measure(arguments: &Arguments, directory: &std::path::Path) -> Result<Vec<Round>, Failure> {
    let bytes = arguments.state_mib << 20;
    let mut cluster = Cluster::start(directory, bytes, arguments.bytes_per_second_max).await?;
    let leader = cluster.leader().clone();
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let mut phases = [const { Latencies::new() }; 3];
        let mut writers = Writers::start(&leader, arguments.writers, arguments.rate);
        // Files, connections and caches are as they stay.
        tokio::time::sleep(arguments.seconds / 5).await;
        writers.taken().await?;
        tokio::time::sleep(arguments.seconds).await;
        phases[0].add(writers.taken().await?);
        leader.snapshot().await?;
        phases[1].add(writers.taken().await?);
        cluster.stop_follower().await?;
        tokio::time::sleep(arguments.seconds / 5).await;
        // What it has not seen by now is in the next one only.
        leader.snapshot().await?;
        writers.taken().await?;
        tokio::time::sleep(arguments.seconds).await;
        phases[0].add(writers.taken().await?);
        cluster.start_follower().await?;
        writers.taken().await?;
        cluster.received().await?;
        phases[2].add(writers.taken().await?);
        // On a machine of its own, nobody would feel that.
        cluster.taken_in().await?;
        writers.stop().await?;
        let p99 = [0, 1, 2].map(|phase: usize| format!("{:.0}", phases[phase].at(0.99))).join(", ");
        eprintln!("round {number} of {}: p99 at rest, built, sent: {p99} us", arguments.rounds);
        rounds.push(phases);
    }
    cluster.stop().await?;
    Ok(rounds)
}
