//! `itself`: what one way of asking costs beside another. Three nodes in one process, the log in memory, calls instead of a network.
//!
//! ```text
//!   sessions   writes in sessions, which are applied once whatever happens, beside plain writes
//!   leases     linearizable reads by a leader's lease, beside those by a round of heartbeats each
//!   reads      linearizable reads by a round, beside writes
//! ```

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::alternate::{Contestant, RATIOS, alternate, figures};
use crate::arguments::seconds;
use crate::in_process::ours::{LeaseRead, Ours, ReadIndex, Write, WriteInSession};
use crate::in_process::{Failure, Load, Quota, contestant};
use crate::report::Report;

/// What `itself` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// What to compare; several are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "sessions,leases,reads")]
    what: Vec<What>,
    /// How many clients ask at the same time; several settings are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clients: Vec<u64>,
    /// Worker threads of the runtime that the three nodes share (the clients' runtime has one)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    server_workers: u16,
    /// Length of a sample; a fifth of it is added to warm up
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Samples of each contestant, taken in turns; fewer than 9 are for a quick look
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    alternations: u16,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Writes in sessions beside plain writes
    Sessions,
    /// Reads by a lease beside reads by a round of heartbeats
    Leases,
    /// Reads by a round of heartbeats beside writes
    Reads,
}

impl What {
    /// The one that the other is measured by, and that one.
    fn contestants(self, load: Load, workers: u16) -> [Contestant<'static, Failure>; 2] {
        match self {
            Self::Sessions => {
                [contestant::<Ours<Write>>(load, workers), contestant::<Ours<WriteInSession>>(load, workers)]
            }
            Self::Leases => {
                [contestant::<Ours<ReadIndex>>(load, workers), contestant::<Ours<LeaseRead>>(load, workers)]
            }
            Self::Reads => [contestant::<Ours<Write>>(load, workers), contestant::<Ours<ReadIndex>>(load, workers)],
        }
    }
}

/// Measures all settings and reports them.
///
/// # Errors
/// The first failure of a cluster, or of the report.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let columns = [&["what", "clients", "a", "b"], &RATIOS[..]].concat();
    let caption = format!("requests a second, medians of {} alternation(s)", arguments.alternations);
    let mut report = Report::new(io::stdout(), arguments.json.as_deref(), &caption, columns)?;
    println!(
        "ratio: b / a; what: 1 sessions (a plain writes, b in sessions), 2 leases (a by a round, b by a lease), 3 reads (a writes, b reads)"
    );
    for what in &arguments.what {
        for &clients in &arguments.clients {
            let load = Load { clients, batch: 1, quota: Quota::Time(arguments.seconds) };
            let mut contestants = what.contestants(load, arguments.server_workers);
            let rounds = arguments.alternations;
            let rates = alternate(&mut contestants, usize::from(rounds), |round, name, rate| {
                eprintln!("{clients} clients, round {round} of {rounds}: {name} {rate:.0}/s");
            })?;
            #[expect(clippy::cast_precision_loss, reason = "a million clients are exact in a double")]
            let setting = [Some(f64::from(*what as u8 + 1)), Some(clients as f64)];
            report.row(&[&setting[..], &figures(Some(&rates[0]), Some(&rates[1]))].concat())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Load, Quota};
    use crate::in_process::ours::{LeaseRead, Ours, ReadIndex, WriteInSession};
    use crate::in_process::{Cluster, sample};

    fn counts_every_request<C: Cluster>() {
        let load = Load { clients: 8, batch: 1, quota: Quota::Entries(1_000) };
        let rate = sample::<C>(load, 2).unwrap();
        assert!(rate > 0.0, "{rate}/s");
    }

    #[test]
    fn a_sample_counts_every_read_and_every_write_in_a_session() {
        counts_every_request::<Ours<ReadIndex>>();
        counts_every_request::<Ours<LeaseRead>>();
        counts_every_request::<Ours<WriteInSession>>();
    }
}
