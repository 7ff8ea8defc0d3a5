//! Lives through many histories, and says how to see the first one again in which something went wrong.

use std::process::ExitCode;

use clap::Parser;

/// Simulates Outrigger clusters under faults, each from one seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to try.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start_seed: u64,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// Prints a line for each seed.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut happened, mut written, mut crashes) = (0, 0, 0);
    for seed in arguments.start_seed..arguments.start_seed.saturating_add(arguments.seeds) {
        match outrigger_simulation::run(seed, arguments.trace) {
            Ok(report) => {
                if arguments.verbose {
                    println!("{report:?}");
                }
                happened += report.happened;
                written += report.written;
                crashes += report.crashes;
            }
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    let seeds = arguments.seeds;
    println!(
        "{seeds} seeds, {happened} things happened, {crashes} crashes, {written} writes acknowledged, all is well"
    );
    ExitCode::SUCCESS
}
