//! `vs-openraft`: the framework alone. Three nodes in one process, the log in memory, calls instead of a
//! network, an empty request and an empty answer; what is left is what the framework itself costs.

mod peer;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::alternate::{RATIOS, alternate, figures};
use crate::arguments::seconds;
use crate::in_process::ours::{Ours, Write};
use crate::in_process::{Cluster, Failure, Load, Quota, contestant};
use crate::report::Report;
use clap::{Args, ValueEnum};

/// What is measured of Outrigger.
type OurSide = Ours<Write>;

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

/// Measures all settings and reports them.
///
/// # Errors
/// The first failure of either contestant, or of the report.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let caption = format!(
        "peer = {}, ours = {}, ratio = ours / peer; entries a second, batch {}, {} server worker(s), medians of {} alternation(s)",
        peer::Peer::NAME,
        OurSide::NAME,
        arguments.batch,
        arguments.server_workers,
        arguments.alternations,
    );
    let columns = [&["clients", "peer", "ours"], &RATIOS[..]].concat();
    let mut report = Report::new(io::stdout(), arguments.json.as_deref(), &caption, columns)?;
    for &clients in &arguments.clients {
        let rates = measure(arguments, clients)?;
        #[expect(clippy::cast_precision_loss, reason = "a million clients are exact in a double")]
        let setting = [Some(clients as f64)];
        report.row(&[&setting[..], &figures(rates.peer.as_deref(), rates.ours.as_deref())].concat())?;
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
    let quota = arguments.operations.map_or(Quota::Time(arguments.seconds), Quota::Entries);
    let load = Load { clients, batch: arguments.batch, quota };
    let mut contestants = Vec::new();
    if wanted(Side::Peer) {
        contestants.push(contestant::<peer::Peer>(load, arguments.server_workers));
    }
    if wanted(Side::Ours) {
        contestants.push(contestant::<OurSide>(load, arguments.server_workers));
    }
    let rounds = arguments.alternations;
    let sampled = alternate(&mut contestants, usize::from(rounds), |round, name, rate| {
        eprintln!("{clients} clients, round {round} of {rounds}: {name} {rate:.0}/s");
    })?;
    let mut sampled = sampled.into_iter();
    let mut next = |side| if wanted(side) { sampled.next() } else { None };
    Ok(Rates { peer: next(Side::Peer), ours: next(Side::Ours) })
}

#[cfg(test)]
mod tests {
    use super::{Cluster, Load, OurSide, Quota, peer};
    use crate::in_process::sample;

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
        counts_every_write::<OurSide>();
    }
}
