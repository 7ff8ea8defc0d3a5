//! One history: printed, drawn, and made smaller if something goes wrong in it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use outrigger_simulation::{Changes, Diagram, Failure, History, Report, shrink};

use crate::campaign::Outcome;
use crate::output::{answer, say};
use crate::{Arguments, file, finds, interrupt, table};

/// Lives through one history, and shows what it was asked to show.
pub(crate) fn run(arguments: &Arguments, history: &History) -> io::Result<ExitCode> {
    // Who prints a history, or has left something out of it, means this one.
    let is_meant = arguments.no_shrink || arguments.trace || !history.changes().to_string().is_empty();
    let began = Instant::now();
    let lived = if arguments.trace { history.clone().printed().live() } else { history.live() };
    let took = began.elapsed();
    let mut outcome = Outcome::of_one(&lived, took);
    if !is_meant {
        finds::tell_once();
    }
    let lived = lived.map_err(|failure| if is_meant { failure } else { shrunk(history, failure) });
    // What is told of a failure is how to see it; what is counted is what was lived through.
    outcome.failures = lived.as_ref().err().cloned().into_iter().collect();
    if let Some(file) = &arguments.json
        && !file::write(file, &table::json(&outcome, &[]))?
    {
        return Ok(ExitCode::FAILURE);
    }
    if let Some(file) = &arguments.diagram {
        if !file::write(file, &draw(arguments, history, &lived))? {
            return Ok(ExitCode::FAILURE);
        }
        if !file::is_stdout(file) {
            say(format_args!("simulate: drawn into {}", file.display()));
        }
    }
    let troubles = lived.as_ref().map_or_else(|failure| failure.troubles, |report| report.troubles);
    if let Some(told) = history.changes().beyond(troubles) {
        say(format_args!("simulate: {told}"));
    }
    match lived {
        Ok(report) => {
            say(&report);
            if let Some(mutant) = &arguments.mutant {
                say(format_args!(
                    "the mutant {mutant} was not found in this history; `--mutant {mutant}` alone looks for one"
                ));
            }
            Ok(interrupt::code().unwrap_or(ExitCode::SUCCESS))
        }
        Err(failure) => {
            answer(failure)?;
            Ok(interrupt::code().unwrap_or(ExitCode::FAILURE))
        }
    }
}

/// Draws the history, or the smaller one in which something went wrong.
fn draw(arguments: &Arguments, history: &History, lived: &Result<Report, Failure>) -> String {
    let failure = lived.as_ref().err();
    let changes = failure.map_or_else(|| history.changes().clone(), |failure| Changes::clone(&failure.changes));
    let (diagram, summary) = (Diagram::default(), changes.summary());
    // It is the same history once more: its end is known.
    let _ = history.clone().changed(changes).drawn(&diagram).live();
    let mutant = arguments.mutant.iter().map(|mutant| format!("mutant {mutant}, ")).collect::<String>();
    let title = format!("{mutant}seed {} {summary}", history.seed());
    diagram.svg(title.trim_end(), failure.map(|it| it.violation.to_string()).as_deref())
}

/// The smallest history in which the same check fails that is found before somebody interrupts.
pub(crate) fn shrunk(history: &History, failure: Failure) -> Failure {
    let is_watched = io::stderr().is_terminal();
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
            !interrupt::came()
        },
    );
    if is_watched {
        let _: io::Result<()> = write!(io::stderr(), "\r\x1b[K");
    }
    shrunk
}
