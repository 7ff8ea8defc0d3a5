//! `vs-openraft`: the framework alone. Three nodes in one process, the log in memory, calls instead of a
//! network, an empty request and an empty answer; what is left is what the framework itself costs.
//!
//! Each sample builds a fresh cluster, elects, warms up, measures, checks that the leader has applied
//! exactly what was answered, and stops the cluster. So no sample inherits memory from another, and only
//! one contestant is alive at a time.

mod load;
mod ours;
mod peer;

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::runtime::{Builder, Runtime};

use self::load::{Load, Quota, drive};
use crate::alternate::{Contestant, Spread, alternate};
use crate::arguments::seconds;
use crate::report::{Report, ReportError};

/// Nodes of a cluster, with the ids 0, 1 and 2.
const NODES: u64 = 3;
/// A warm-up is this part of a sample.
const WARM_UP_PART: u32 = 5;

/// What `vs-openraft` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How many clients write at the same time; several settings are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,1024,4096", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clients: Vec<u64>,
    /// Entries of one write: above 1, each client writes that many at once and awaits them all
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    batch: u64,
    /// Worker threads of the runtime that the three nodes share (the clients' runtime has one)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    server_workers: u16,
    /// Length of a sample; a fifth of it is added to warm up
    #[arg(long, default_value = "1", value_parser = seconds, conflicts_with = "operations")]
    seconds: Duration,
    /// Entries of a sample, instead of a length (for counts of instructions that repeat)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,
    /// Samples of each contestant, taken in turns; fewer than 9 are for a quick look
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    alternations: u16,
    /// Measure one contestant alone, without a ratio (to profile it)
    #[arg(long, value_name = "SIDE")]
    only: Option<Side>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One of the two contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    /// openraft
    Peer,
    /// Outrigger
    Ours,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// A cluster did not come up.
    #[error("{contestant}: the cluster did not start: {cause}")]
    Start {
        /// Whose cluster.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// A write failed, which none may: nobody crashes and nothing is lost here.
    #[error("{contestant}: a write failed: {cause}; rerun with fewer --clients to see whether it is overload")]
    Write {
        /// Whose write.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// A cluster did not stop.
    #[error("{contestant}: the cluster did not stop: {cause}")]
    Stop {
        /// Whose cluster.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// Writes wait, but the leader applies none.
    #[error("the leader has applied {applied} writes and then none for {seconds} s, while clients wait for answers")]
    Stalled {
        /// Writes applied so far.
        applied: u64,
        /// How long it has been still.
        seconds: u64,
    },
    /// What was answered and what was applied differ: the figure would be a lie.
    #[error("{contestant}: {answered} writes were answered, but the leader has applied {applied}; this figure is void")]
    Miscounted {
        /// Whose leader.
        contestant: &'static str,
        /// Writes answered.
        answered: u64,
        /// Writes applied.
        applied: u64,
    },
    /// A client's task ended without a result.
    #[error("a client did not finish: {0}")]
    Client(String),
    /// A runtime could not be built.
    #[error("cannot start the threads of a runtime: {0}; lower --server-workers or the limit on threads is too low")]
    Runtime(#[from] io::Error),
    /// The figures could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl Failure {
    /// A [`Failure::Start`].
    fn start(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Start { contestant, cause: cause.to_string() }
    }

    /// A [`Failure::Write`].
    fn write(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Write { contestant, cause: cause.to_string() }
    }

    /// A [`Failure::Stop`].
    fn stop(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Stop { contestant, cause: cause.to_string() }
    }
}

/// Three nodes of a contestant, on the runtime that started them.
trait Cluster: Sized + Send + 'static {
    /// What tables and errors call the contestant.
    const NAME: &'static str;
    /// The handle that clients write by.
    type Leader: Leader;

    /// Starts [`NODES`] nodes and waits until one of them leads.
    fn start() -> impl Future<Output = Result<Self, Failure>> + Send;
    /// A handle of the node that leads.
    fn leader(&self) -> Self::Leader;
    /// Stops all nodes and waits for their end.
    fn stop(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A handle of the leading node. It writes to that node only: nothing is forwarded.
trait Leader: Clone + Send + Sync + 'static {
    /// Writes an empty request and awaits its applied, empty answer.
    fn write(&self) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Writes `entries` empty requests at once and awaits all their answers.
    fn write_many(&self, entries: u64) -> impl Future<Output = Result<(), Failure>> + Send;
    /// How many writes this node's state machine has applied.
    fn applied(&self) -> u64;
}

/// Measures all settings and reports them.
///
/// # Errors
/// The first failure of either contestant, or of the report.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let caption = format!(
        "peer = {}, ours = {}, ratio = ours / peer; entries a second, batch {}, {} server worker(s), medians of {} alternation(s)",
        peer::Peer::NAME,
        ours::Ours::NAME,
        arguments.batch,
        arguments.server_workers,
        arguments.alternations,
    );
    let columns = vec!["clients", "peer", "ours", "ratio", "ratio_q1", "ratio_min", "ratio_max"];
    let mut report = Report::new(io::stdout(), arguments.json.as_deref(), &caption, columns)?;
    for &clients in &arguments.clients {
        let rates = measure(arguments, clients)?;
        let ratio = match (&rates.peer, &rates.ours) {
            (Some(peer), Some(ours)) => Spread::of_ratios(ours, peer),
            _ => None,
        };
        let median =
            |rates: Option<Vec<f64>>| rates.and_then(|rates| Spread::of(&rates)).map(|spread| spread.median.round());
        #[expect(clippy::cast_precision_loss, reason = "a million clients are exact in a double")]
        let clients = clients as f64;
        report.row(&[
            Some(clients),
            median(rates.peer),
            median(rates.ours),
            ratio.map(|ratio| ratio.median),
            ratio.map(|ratio| ratio.lower),
            ratio.map(|ratio| ratio.min),
            ratio.map(|ratio| ratio.max),
        ])?;
    }
    Ok(())
}

/// Samples of both sides, or of the one that was asked for.
struct Rates {
    peer: Option<Vec<f64>>,
    ours: Option<Vec<f64>>,
}

/// Takes the samples of one setting, in turns.
fn measure(arguments: &Arguments, clients: u64) -> Result<Rates, Failure> {
    let wanted = |side| arguments.only.is_none_or(|only| only == side);
    let mut contestants = Vec::new();
    if wanted(Side::Peer) {
        contestants.push(contestant::<peer::Peer>(arguments, clients));
    }
    if wanted(Side::Ours) {
        contestants.push(contestant::<ours::Ours>(arguments, clients));
    }
    let rounds = arguments.alternations;
    let sampled = alternate(&mut contestants, usize::from(rounds), |round, name, rate| {
        eprintln!("{clients} clients, round {round} of {rounds}: {name} {rate:.0}/s");
    })?;
    let mut sampled = sampled.into_iter();
    let mut next = |side| if wanted(side) { sampled.next() } else { None };
    Ok(Rates { peer: next(Side::Peer), ours: next(Side::Ours) })
}

/// `C` as a contestant under one setting.
fn contestant<C: Cluster>(arguments: &Arguments, clients: u64) -> Contestant<'_, Failure> {
    let quota = arguments.operations.map_or(Quota::Time(arguments.seconds), Quota::Entries);
    let load = Load { clients, batch: arguments.batch, quota };
    Contestant { name: C::NAME, sample: Box::new(move || sample::<C>(load, arguments.server_workers)) }
}

/// One sample: a fresh cluster, a warm-up, the measured run, the check of the count, the end of the cluster.
fn sample<C: Cluster>(load: Load, server_workers: u16) -> Result<f64, Failure> {
    let warm_up = match load.quota {
        Quota::Time(time) => Quota::Time(time / WARM_UP_PART),
        Quota::Entries(entries) => Quota::Entries(entries.div_ceil(u64::from(WARM_UP_PART))),
    };
    let servers = runtime("server", server_workers)?;
    let clients = runtime("client", 1)?;
    let cluster = finish(&servers, C::start())?;
    let leader = cluster.leader();
    let warmed = finish(&clients, drive(leader.clone(), Load { quota: warm_up, ..load }))?;
    let measured = finish(&clients, drive(leader.clone(), load))?;
    let (answered, applied) = (warmed.entries + measured.entries, leader.applied());
    if answered != applied {
        return Err(Failure::Miscounted { contestant: C::NAME, answered, applied });
    }
    finish(&servers, cluster.stop())?;
    Ok(measured.rate())
}

/// A runtime whose tasks all run on `workers` threads of its own.
fn runtime(name: &str, workers: u16) -> Result<Runtime, Failure> {
    let runtime =
        Builder::new_multi_thread().worker_threads(usize::from(workers)).thread_name(name).enable_time().build()?;
    Ok(runtime)
}

/// Runs `work` on the workers of `runtime`, not on the calling thread, and waits for it.
fn finish<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    runtime.block_on(runtime.spawn(work)).map_err(|cause| Failure::Client(cause.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::{Cluster, Load, Quota, ours, peer, sample};

    /// Counts that differ fail the sample: every answered write must be applied on the leader, once.
    fn counts_every_write<C: Cluster>() {
        for batch in [1, 4] {
            let load = Load { clients: 8, batch, quota: Quota::Entries(1_000) };
            let rate = sample::<C>(load, 2).unwrap();
            assert!(rate > 0.0, "batch {batch}: {rate}/s");
        }
    }

    #[test]
    fn a_sample_of_the_peer_counts_every_write_that_its_leader_applies() {
        counts_every_write::<peer::Peer>();
    }

    #[test]
    fn a_sample_of_ours_counts_every_write_that_its_leader_applies() {
        counts_every_write::<ours::Ours>();
    }
}
