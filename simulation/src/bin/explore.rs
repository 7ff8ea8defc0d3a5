//! Explores all that a small cluster of engines can do within bounds, and shows a shortest way to what is wrong.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use output::{answer, say};
use outrigger_model::explore::{Script, Verdict};
use outrigger_simulation::exploration::{Bounds, Plan, Report, explore_while};

#[path = "console/finds.rs"]
mod finds;
#[path = "console/interrupt.rs"]
mod interrupt;
#[path = "explore/meter.rs"]
mod meter;
#[path = "explore/mutation.rs"]
mod mutation;
#[path = "console/output.rs"]
mod output;
#[cfg(outrigger_mutants)]
#[path = "console/progress.rs"]
mod progress;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Explores all that a small cluster of Raft engines can do within bounds, until nothing new is left.
///
/// The engines are those of production; the explorer chooses when time passes, what arrives, is lost or comes twice, what
/// becomes durable and who crashes. What lies outside the bounds is not visited. The last line is for programs.
///
/// Exit code 0 if nothing is wrong in any state, 1 if something is (a shortest way to it is printed, as a script for
/// --script) or standard output cannot be written, 2 for wrong usage, 3 if --max-states came first, 130 after Ctrl-C (the
/// first ends the search with what was found so far).
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  explore                                                   # two nodes, one election, a few seconds
  explore --nodes 3 --max-term 1 --crashes 0 --copies 0     # three nodes elect one and commit
  explore --nodes 2 --max-term 2 --pre-vote --check-quorum  # as in production
  explore --max-term 2 --max-messages 1 --reads 1 --proposals 0 --check-quorum --leases      # reads by lease
  explore --max-term 2 --max-log 4                          # two nodes, generously: 5.7 million states, three minutes
  explore --nodes 3 --max-term 2 --max-messages 2 --copies 0 --proposals 0 --heartbeats 0 --without-model
                                                            # 42 million: 6 minutes, 3.5 GiB
  explore --nodes 3 --max-term 2 --crashes 0 --heartbeats 0 --without-model
                                                            # reordering, a copy, a proposal and loss: 17.6 million
  explore --mutant vote_before_flush                        # a fault on purpose, and the shortest story of its harm
  explore --mutants                                         # many of them, each in bounds that find it")]
struct Arguments {
    /// Nodes, all of them voters: 1 to 5
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    nodes: u8,
    /// The last term of any node, which begins in term 0: 1 to 255; 3 is much
    #[arg(long, value_name = "TERM", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=255))]
    max_term: u8,
    /// Entries in the longest log, the initial membership among them: 1 to 255; 5 is much
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=255))]
    max_log: u8,
    /// Messages on their way that will arrive: 0 to 255; 3 is much
    #[arg(long, value_name = "N", default_value_t = 2)]
    max_messages: u8,
    /// How often nodes crash, all together: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 1)]
    crashes: u8,
    /// How often leaders' heartbeat timers fire, or a question for a read index is asked again: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 1)]
    heartbeats: u8,
    /// How often a message arrives and leaves a copy behind: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 1)]
    copies: u8,
    /// Entries that clients propose to leaders: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 1)]
    proposals: u8,
    /// Entries that clients propose to followers: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 0)]
    forwards: u8,
    /// Reads that clients ask for: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 0)]
    reads: u8,
    /// Messages are not lost
    #[arg(long)]
    no_loss: bool,
    /// Messages stay on their way that come too late to do anything: more states, and nothing is taken for granted
    #[arg(long)]
    keep_late: bool,
    /// Candidates ask for pre-votes first
    #[arg(long)]
    pre_vote: bool,
    /// Leaders that hear from no quorum step down
    #[arg(long)]
    check_quorum: bool,
    /// Leaders hold leases, and reads are by lease
    #[arg(long, requires = "check_quorum")]
    leases: bool,
    /// Begin where the actions in this file lead; a printed counter-example is such a file
    #[arg(long, value_name = "FILE", conflicts_with = "prefix")]
    script: Option<PathBuf>,
    /// The same with the actions themselves, `;` between them
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// End after so many states, 1 or more, whether all were visited or not; a million takes some 130 MiB
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_states: Option<u64>,
    /// Do not hold every step against the extended model: three times faster, in half the memory
    #[arg(long)]
    without_model: bool,
    /// No progress on standard error
    #[arg(long)]
    quiet: bool,
    /// Break the code as this mutant does, and see whether the exploration finds it; simulate --list-mutants names all
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Try each mutant that small bounds are known to find; exit code 1 unless all are found
    #[arg(long, exclusive = true)]
    mutants: bool,
}

impl Arguments {
    fn bounds(&self) -> Bounds {
        Bounds {
            nodes: self.nodes,
            term_max: self.max_term,
            log_max: self.max_log,
            messages_max: self.max_messages,
            crashes: self.crashes,
            heartbeats: self.heartbeats,
            copies: self.copies,
            proposals: self.proposals,
            forwards: self.forwards,
            reads: self.reads,
            loss: !self.no_loss,
            keeps_late: self.keep_late,
            pre_vote: self.pre_vote,
            check_quorum: self.check_quorum,
            leases: self.leases,
        }
    }

    fn plan(&self) -> Result<Plan, String> {
        let text = match (&self.script, &self.prefix) {
            (Some(file), _) => fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
            (None, prefix) => prefix.clone().unwrap_or_default(),
        };
        Ok(Plan { script: Script::parse(&text), states_max: self.max_states, without_model: self.without_model })
    }
}

fn main() -> ExitCode {
    output::run("explore", work)
}

/// Does what the command line says.
fn work(arguments: &Arguments) -> io::Result<ExitCode> {
    if let Some(name) = &arguments.mutant
        && let Some(ended) = mutation::choose(name)
    {
        return Ok(ended);
    }
    interrupt::listen();
    if arguments.mutants {
        return mutation::try_all();
    }
    finds::tell_once();
    let began = Instant::now();
    match search(arguments) {
        Ok(report) => tell(&report, began.elapsed()),
        Err(error) => {
            say(format_args!("explore: {error}"));
            Ok(ExitCode::from(2))
        }
    }
}

fn search(arguments: &Arguments) -> Result<Report, String> {
    let mut meter = meter::Meter::new(arguments.quiet);
    explore_while(arguments.bounds(), &arguments.plan()?, |progress| {
        meter.tell(progress);
        !interrupt::came()
    })
    .map_err(|error| error.to_string())
}

fn tell(report: &Report, took: Duration) -> io::Result<ExitCode> {
    say(meter::table(report).trim_end());
    let missing = report.missing();
    let code = match &report.verdict {
        Verdict::Violated(found) => {
            write!(io::stdout(), "{found}")?;
            1
        }
        Verdict::NotExhausted { waiting } if interrupt::came() => {
            say(format_args!("explore: interrupted after {} states; {waiting} of them wait", report.states));
            return answer(report).map(|()| interrupt::code().unwrap_or(ExitCode::FAILURE));
        }
        Verdict::NotExhausted { waiting } => {
            answer(format_args!("not all was visited: {waiting} states wait"))?;
            3
        }
        Verdict::Exhausted => {
            say(format_args!("explore: nothing is left to visit, after {:.1} s", took.as_secs_f64()));
            if !missing.is_empty() {
                answer(format_args!("within these bounds these never came: {}", missing.join(", ")))?;
            }
            0
        }
    };
    answer(report)?;
    Ok(ExitCode::from(code))
}
