//! Lives through many histories, and says how to see those again in which something went wrong.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use output::{answer, say};
use outrigger_simulation::{Changes, Checks, History};

#[path = "simulate/campaign.rs"]
mod campaign;
#[path = "simulate/costs.rs"]
mod costs;
#[path = "simulate/file.rs"]
mod file;
#[path = "console/finds.rs"]
mod finds;
#[path = "console/interrupt.rs"]
mod interrupt;
#[path = "simulate/mutation.rs"]
mod mutation;
#[path = "console/output.rs"]
mod output;
#[path = "console/progress.rs"]
mod progress;
#[path = "simulate/single.rs"]
mod single;
#[path = "simulate/table.rs"]
mod table;
#[path = "simulate/usage.rs"]
mod usage;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates Outrigger clusters under faults, each history from one seed.
///
/// The engine, its driver, the log and the codec are those of production; time, network, disks and the death of processes
/// are simulated. Every step is held against the extended model.
///
/// Exit code 0 if all went well, 1 if anything went wrong or the answer cannot be written, 2 for wrong usage or a file that
/// cannot be opened, 130 after Ctrl-C (the first ends the work with what was done so far).
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  simulate --seeds 2000                   # two thousand histories; the table of what struck goes to stderr
  simulate --seeds 500 --json out.json    # figures for programs
  simulate --seed 17 --trace              # one history, everything that happens in it
  simulate --seed 17 --diagram 17.svg     # the end of it as a sequence diagram; shrunk, if it goes wrong
  simulate --seeds 500 --without drift,leaps --checks light
  simulate --costs --seeds 200 --jobs 1   # steps a second with each of the dearer checks
  simulate --mutant vote_twice --seed 4 --diagram 4.svg
  simulate --mutants                      # how soon each named fault is found; builds the mutants first
  simulate --mutants --table simulation/MUTANTS.md      # the same, and publishes it")]
struct Arguments {
    /// How many seeds to try, 1 or more [default: 1000; as many for each mutant]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed: 0 to 2^64 - 1, less the number of seeds
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    start_seed: u64,
    /// Only this seed: 0 to 2^64 - 2
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "start_seed"])]
    #[arg(value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    seed: Option<u64>,
    /// Leave these kinds of trouble out, with commas between them, or `all`: `--without help` names them
    #[arg(long, value_name = "KINDS", default_value = "", hide_default_value = true)]
    without: String,
    /// How many clients there are, 1 to 99, instead of as many as each seed says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..100))]
    clients: Option<u64>,
    /// Leave single troubles out, by their numbers, such as 1-3,7: the line that replays a shrunk failure has them
    #[arg(long, value_name = "NUMBERS", default_value = "", hide_default_value = true)]
    spare: String,
    /// Leave all single troubles out but these, or `none`: that line has what is shorter
    #[arg(long, value_name = "NUMBERS", conflicts_with = "spare")]
    only: Option<String>,
    /// Show histories that go wrong as they are: do not look for smaller ones
    #[arg(long)]
    no_shrink: bool,
    /// Print everything that happens, to standard output
    #[arg(long)]
    trace: bool,
    /// Draw the end of the history into this file, as a sequence diagram (SVG); `-` is standard output
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,
    /// Which of the dearer checks are made: all, light, or some of model, recovery, linearizability, conduct [default: all]
    #[arg(long, value_name = "WHICH")]
    checks: Option<Checks>,
    /// Write the figures to this file, as JSON; `-` is standard output, but where mutants are tried
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many histories to live through at the same time, 1 to 1024 [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Break the code as this mutant does, and see how soon a check finds it; with --seed, show that history
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// The same with every mutant, one by one; exit code 1 unless each is found by the check that is meant to
    #[arg(long, conflicts_with = "mutant")]
    mutants: bool,
    /// With --mutants: write to this file, as a table in Markdown, which check found each, and in which seed
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Measure what each of the dearer checks costs, and print a table
    #[arg(long, conflicts_with_all = ["mutant", "mutants", "seed"])]
    costs: bool,
    /// Print the names of all mutants, one a line; on a terminal, with what each of them breaks
    #[arg(long, conflicts_with_all = [
        "seeds", "start_seed", "seed", "without", "clients", "spare", "only", "no_shrink", "trace", "diagram", "checks",
        "json", "jobs", "mutant", "mutants", "costs", "table",
    ])]
    list_mutants: bool,
    /// With --list-mutants: print what each of them breaks, wherever the list goes
    #[arg(long)]
    verbose: bool,
}

/// So many failures are shrunk; more are shown as they are.
const SHRUNK_MAX: usize = 3;
/// How many seeds are tried, and a mutant has to live through.
const SEEDS: u64 = 1000;

impl Arguments {
    fn seeds(&self) -> std::ops::Range<u64> {
        let count = self.seeds.unwrap_or(SEEDS);
        let (first, count) = self.seed.map_or((self.start_seed, count), |seed| (seed, 1));
        first..first.saturating_add(count)
    }

    fn history(&self, seed: u64, changes: &Changes) -> History {
        History::new(seed).checks(self.checks()).changed(changes.clone())
    }

    fn checks(&self) -> Checks {
        self.checks.unwrap_or(Checks::ALL)
    }

    fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.map_or_else(processors, usize::from)
    }
}

fn main() -> ExitCode {
    output::run("simulate", work)
}

/// What was asked for makes no sense.
fn refused(why: impl std::fmt::Display) -> io::Result<ExitCode> {
    say(format_args!("simulate: {why}"));
    Ok(ExitCode::from(2))
}

/// Does what the command line says.
fn work(arguments: &Arguments) -> io::Result<ExitCode> {
    if arguments.list_mutants {
        return mutation::list(arguments.verbose);
    }
    if arguments.without == "help" {
        Changes::kinds().try_for_each(|(kind, told)| answer(format_args!("{kind:<16}{told}")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let changes = match usage::check(arguments) {
        Ok(changes) => changes,
        Err(why) => return refused(why),
    };
    let mutants = match mutation::meant(arguments.mutant.as_deref()) {
        Ok(mutants) => mutants,
        Err(unknown) => return refused(unknown),
    };
    for file in arguments.json.iter().chain(&arguments.diagram).chain(&arguments.table) {
        if let Err(error) = file::open(file) {
            return refused(file::unwritten(file, &error));
        }
    }
    interrupt::listen();
    // One history of a mutant is shown as any other is.
    let is_one = arguments.mutant.is_some() && arguments.seed.is_some() && mutation::become_one(&mutants);
    if (arguments.mutants || arguments.mutant.is_some()) && !is_one {
        return mutation::run(arguments, &mutants, |seed| arguments.history(seed, &changes));
    }
    match arguments.seed {
        _ if arguments.costs => costs::run(arguments, &changes),
        Some(seed) => single::run(arguments, &arguments.history(seed, &changes)),
        None => many(arguments, &changes),
    }
}

/// Lives through many histories.
fn many(arguments: &Arguments, changes: &Changes) -> io::Result<ExitCode> {
    finds::tell_once();
    let mut progress = progress::Progress::new("simulate");
    let history = |seed| arguments.history(seed, changes);
    let mut outcome = campaign::run(
        arguments.seeds(),
        arguments.jobs(),
        |seed| history(seed).live(),
        |outcome| {
            let (tried, seeds, failures) = (outcome.tried(), outcome.seeds, outcome.failures.len());
            let steps = outcome.total.steps;
            progress.show(tried, seeds, format_args!("{tried} of {seeds} seeds, {steps} steps, {failures} failures"));
        },
    );
    progress.clear();
    say(table::table(&outcome).trim_end());
    let (tried, seeds) = (outcome.tried(), outcome.seeds);
    if outcome.is_interrupted {
        say(format_args!("simulate: interrupted after {tried} of {seeds} seeds"));
    }
    if outcome.is_given_up() {
        let failures = outcome.failures.len();
        say(format_args!("simulate: given up after {failures} failures, {tried} of {seeds} seeds were tried"));
    }
    if !arguments.no_shrink {
        for failure in outcome.failures.iter_mut().take(SHRUNK_MAX) {
            *failure = single::shrunk(&history(failure.seed), failure.clone());
        }
    }
    for failure in &outcome.failures {
        answer(failure)?;
    }
    if *changes != Changes::default() {
        say("simulate: as something is left out, nobody asks whether each kind of fault and action came");
    }
    let is_whole = *changes == Changes::default() && tried == seeds;
    let missing = if is_whole { outcome.total.missing(arguments.checks()) } else { Vec::new() };
    if !missing.is_empty() {
        answer(format_args!("in {} histories these never came: {}", outcome.total.seeds, missing.join(", ")))?;
    }
    if let Some(file) = &arguments.json
        && !file::write(file, &table::json(&outcome, &missing))?
    {
        return Ok(ExitCode::FAILURE);
    }
    if let Some(interrupted) = interrupt::code() {
        return Ok(interrupted);
    }
    Ok(if outcome.is_well(&missing) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
