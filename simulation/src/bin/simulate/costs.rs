//! What each of the dearer checks costs: the same seeds with each of them, in turns.

use std::io;
use std::process::ExitCode;

use outrigger_simulation::{Changes, Checks};

use crate::output::{answer, say};
use crate::progress::Progress;
use crate::{Arguments, campaign, interrupt, table};

/// How often every choice of checks has its turn; the median counts.
const TURNS: usize = 5;

/// What was measured with one choice of checks, a figure for each turn.
struct Measured {
    name: &'static str,
    checks: Checks,
    steps_per_second: Vec<f64>,
    times_real_time: Vec<f64>,
}

/// Measures, and prints a table.
pub(crate) fn run(arguments: &Arguments, changes: &Changes) -> io::Result<ExitCode> {
    let choices = [("light", Checks::LIGHT)].into_iter().chain(Checks::EACH).chain([("all", Checks::ALL)]);
    let mut choices: Vec<_> = choices
        .map(|(name, checks)| Measured { name, checks, steps_per_second: Vec::new(), times_real_time: Vec::new() })
        .collect();
    let (seeds, count) = (arguments.seeds(), choices.len());
    let (each, all) = (seeds.end - seeds.start, (TURNS * count) as u64);
    let mut progress = Progress::new("simulate");
    for measurement in 0..TURNS * count {
        let (turn, measured) = (measurement / count + 1, &mut choices[measurement % count]);
        let part = format!("turn {turn} of {TURNS}, checks {}", measured.name);
        progress.begin(format_args!("{part}: measurement {} of {all}", measurement + 1));
        let history = |seed| arguments.history(seed, changes).checks(measured.checks);
        let outcome = campaign::run(seeds.clone(), arguments.jobs(), history, |outcome| {
            let (tried, before) = (outcome.tried(), measurement as u64 * each);
            progress.show(before + tried, all * each, format_args!("{part}: {tried} of {each} seeds"));
        });
        if let Some(failure) = outcome.failures.first() {
            progress.clear();
            answer(failure)?;
            return Ok(ExitCode::FAILURE);
        }
        if outcome.is_interrupted {
            progress.clear();
            say(format_args!("simulate: interrupted after {measurement} of {all} measurements"));
            break;
        }
        measured.steps_per_second.push(table::steps_per_second(&outcome));
        measured.times_real_time.push(table::times_real_time(&outcome));
    }
    progress.clear();
    tell(&mut choices)?;
    Ok(interrupt::code().unwrap_or(ExitCode::SUCCESS))
}

/// Prints the table of those that were measured.
fn tell(choices: &mut [Measured]) -> io::Result<()> {
    let [speed, took, times, cost] = ["steps a second", "ns a step", "times real time", "cost"];
    answer(format_args!("{:<18}{speed:>16}{took:>16}{times:>18}{cost:>12}", "checks"))?;
    // The first is what the others are compared with.
    let mut light = None;
    for Measured { name, steps_per_second, times_real_time, .. } in choices {
        if let (Some(speed), Some(times)) = (median(steps_per_second), median(times_real_time)) {
            let took = 1e9 / speed;
            let cost = took - *light.get_or_insert(took);
            answer(format_args!("{name:<18}{speed:>16.0}{took:>16.0}{times:>18.0}{cost:>9.0} ns"))?;
        }
    }
    Ok(())
}

fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
