//! Lives through many histories, and says how to see those again in which something went wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

#[path = "simulate/campaign.rs"]
mod campaign;
#[path = "simulate/mutation.rs"]
mod mutation;
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
  simulate --seed 17 --trace              # one history, everything that happens in it
  simulate --seed 17 --diagram 17.svg     # the end of it as a sequence diagram
  simulate --mutants                      # how soon each named fault is found; builds the mutants first")]
struct Arguments {
    /// How many seeds to try [default: 1000; 500 for each mutant]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    start_seed: u64,
    /// Only this seed
    #[arg(long, conflicts_with_all = ["seeds", "start_seed"])]
    seed: Option<u64>,
    /// Print everything that happens, to standard output
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Draw the end of the history into this file, as a sequence diagram (SVG)
    #[arg(long, value_name = "FILE", requires = "seed")]
    diagram: Option<PathBuf>,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many histories to live through at the same time [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Break the code as this mutant does, and see how soon a check finds it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["json", "trace"])]
    mutant: Option<String>,
    /// The same with every mutant, one by one; exit code 1 unless all are found
    #[arg(long, conflicts_with_all = ["mutant", "json", "trace"])]
    mutants: bool,
    /// Print the names of all mutants, one a line
    #[arg(long, exclusive = true)]
    list_mutants: bool,
}

/// How many seeds are tried.
const SEEDS: u64 = 1000;
/// How many seeds a mutant has to live through.
const SEEDS_FOR_MUTANT: u64 = 500;

impl Arguments {
    fn seeds(&self) -> std::ops::Range<u64> {
        let is_trial = self.mutants || self.mutant.is_some();
        let count = self.seeds.unwrap_or(if is_trial { SEEDS_FOR_MUTANT } else { SEEDS });
        let (first, count) = self.seed.map_or((self.start_seed, count), |seed| (seed, 1));
        first..first.saturating_add(count)
    }

    fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.map_or_else(processors, usize::from)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_mutants {
        return mutation::list();
    }
    if arguments.mutants || arguments.mutant.is_some() {
        return match mutation::meant(arguments.mutant.as_deref()) {
            Ok(mutants) => mutation::run(&mutants, arguments.seeds(), arguments.jobs()),
            Err(unknown) => {
                eprintln!("simulate: {unknown}");
                ExitCode::from(2)
            }
        };
    }
    if let (Some(file), Some(seed)) = (&arguments.diagram, arguments.seed) {
        return draw(seed, arguments.trace, file);
    }
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

/// Lives through one history and draws it.
fn draw(seed: u64, trace: bool, file: &Path) -> ExitCode {
    let (history, diagram) = outrigger_simulation::live_through_drawn(seed, trace);
    let violated = history.as_ref().err().map(|failure| failure.violation.to_string());
    if let Err(error) = std::fs::write(file, diagram.svg(&format!("seed {seed}"), violated.as_deref())) {
        eprintln!("simulate: {} cannot be written: {error}", file.display());
        return ExitCode::FAILURE;
    }
    match history {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
