//! One history: printed, drawn, and made smaller if something goes wrong in it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use outrigger_simulation::{Changes, Diagram, Failure, History, Report, shrink};

use crate::output::{answer, say};
use crate::{Arguments, interrupt, unwritten};

/// So long a smaller history is looked for.
const SHRINK_FOR: Duration = Duration::from_secs(20);

/// Lives through one history, and shows what it was asked to show.
pub(crate) fn run(arguments: &Arguments, history: &History) -> io::Result<ExitCode> {
    // Who prints a history, or has left something out of it, means this one.
    let is_meant = arguments.no_shrink || arguments.trace || !history.changes().to_string().is_empty();
    let lived = if arguments.trace { history.clone().printed().live() } else { history.live() };
    let lived = lived.map_err(|failure| if is_meant { failure } else { shrunk(history, failure) });
    if let Some(file) = &arguments.diagram {
        if let Err(error) = draw(arguments, history, &lived, file) {
            unwritten(file, &error);
            return Ok(ExitCode::FAILURE);
        }
        say(format_args!("simulate: drawn into {}", file.display()));
    }
    match lived {
        Ok(report) => {
            say(told(&report));
            if let Some(mutant) = &arguments.mutant {
                say(format_args!(
                    "the mutant {mutant} was not found in this history; `--mutant {mutant}` alone looks for one"
                ));
            }
            Ok(interrupt::code().unwrap_or(ExitCode::SUCCESS))
        }
        Err(failure) => {
            let mutant = arguments.mutant.iter().map(|mutant| format!("--mutant {mutant} ")).collect::<String>();
            answer(failure.to_string().replace("-- --seed ", &format!("-- {mutant}--seed ")))?;
            Ok(interrupt::code().unwrap_or(ExitCode::FAILURE))
        }
    }
}

/// Draws the history, or the smaller one in which something went wrong.
fn draw(arguments: &Arguments, history: &History, lived: &Result<Report, Failure>, file: &Path) -> io::Result<()> {
    let failure = lived.as_ref().err();
    let changes = failure.map_or_else(|| history.changes().clone(), |failure| Changes::clone(&failure.changes));
    let (diagram, summary) = (Diagram::default(), changes.summary());
    // It is the same history once more: its end is known.
    let _ = history.clone().changed(changes).drawn(&diagram).live();
    let mutant = arguments.mutant.iter().map(|mutant| format!("mutant {mutant}, ")).collect::<String>();
    let title = format!("{mutant}seed {} {summary}", history.seed());
    std::fs::write(file, diagram.svg(title.trim_end(), failure.map(|it| it.violation.to_string()).as_deref()))
}

/// A smaller history in which the same check fails, if one is found soon.
pub(crate) fn shrunk(history: &History, failure: Failure) -> Failure {
    let (began, is_watched) = (Instant::now(), io::stderr().is_terminal());
    let mut tries = 0;
    let shrunk = shrink(
        failure,
        |changes| history.clone().changed(changes).live(),
        |best| {
            tries += 1;
            if is_watched {
                let changes = best.changes.to_string();
                let shown: String = changes.chars().take(80).collect();
                let _: io::Result<()> =
                    write!(io::stderr(), "\r\x1b[Kshrinking seed {}: {tries} tries {shown}", best.seed);
            }
            began.elapsed() < SHRINK_FOR && !interrupt::came()
        },
    );
    if is_watched {
        let _: io::Result<()> = write!(io::stderr(), "\r\x1b[K");
    }
    shrunk
}

fn told(report: &Report) -> String {
    let Report { seed, nodes, steps, simulated, leaders, written, read, unknown, .. } = report;
    let seconds = simulated.as_secs_f64();
    let crashes = report.crashes();
    format!(
        "seed {seed}: {nodes} nodes, {steps} steps in {seconds:.1} s, {leaders} terms with a leader, {crashes} crashes, \
         {written} writes, {read} reads, {unknown} in doubt: nothing went wrong"
    )
}
