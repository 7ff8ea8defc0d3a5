//! Lives through many histories, and says how to see those again in which something went wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[path = "simulate/campaign.rs"]
mod campaign;
#[path = "simulate/table.rs"]
mod table;

/// Simulates Outrigger clusters under faults, each history from one seed.
///
/// The engine, its driver, the log and the codec are those of production; time, network, disks and the death of processes
/// are simulated. Every step is held against the extended model. Exit code 1 if anything went wrong.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  simulate --seeds 2000                   # two thousand histories; the table of what struck goes to stderr
  simulate --seeds 500 --json out.json    # figures for programs
  simulate --seed 17 --trace              # one history, everything that happens in it")]
struct Arguments {
    /// How many seeds to try
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    start_seed: u64,
    /// Only this seed
    #[arg(long, conflicts_with_all = ["seeds", "start_seed"])]
    seed: Option<u64>,
    /// Print everything that happens, to standard output
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many histories to live through at the same time [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl Arguments {
    fn seeds(&self) -> std::ops::Range<u64> {
        let (first, count) = self.seed.map_or((self.start_seed, self.seeds), |seed| (seed, 1));
        first..first.saturating_add(count)
    }

    fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.map_or_else(processors, usize::from)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = campaign::run(arguments.seeds(), arguments.jobs(), arguments.trace);
    eprint!("{}", table::table(&outcome));
    for failure in &outcome.failures {
        println!("{failure}");
    }
    let missing = outcome.total.missing();
    if !missing.is_empty() {
        println!("in {} histories these never came: {}", outcome.total.seeds, missing.join(", "));
    }
    if let Some(file) = &arguments.json
        && let Err(error) = std::fs::write(file, table::json(&outcome))
    {
        eprintln!("simulate: {} cannot be written: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if outcome.failures.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
