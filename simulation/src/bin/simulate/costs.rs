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
    /// How long a step took, in nanoseconds.
    step_took: Vec<f64>,
    times_real_time: Vec<f64>,
}

/// Measures, and prints a table.
pub(crate) fn run(arguments: &Arguments, changes: &Changes) -> io::Result<ExitCode> {
    let choices = [("light", Checks::LIGHT)].into_iter().chain(Checks::EACH).chain([("all", Checks::ALL)]);
    let mut choices: Vec<_> = choices
        .map(|(name, checks)| Measured { name, checks, step_took: Vec::new(), times_real_time: Vec::new() })
        .collect();
    let (seeds, count) = (arguments.seeds(), choices.len());
    let (each, all) = (seeds.end - seeds.start, (TURNS * count) as u64);
    let mut progress = Progress::new("simulate");
    for measurement in 0..TURNS * count {
        let (turn, measured) = (measurement / count + 1, &mut choices[measurement % count]);
        let part = format!("turn {turn} of {TURNS}, checks {}", measured.name);
        progress.begin(format_args!("{part}: measurement {} of {all}", measurement + 1));
        let history = |seed| arguments.history(seed, changes).checks(measured.checks);
        let outcome = campaign::run(
            seeds.clone(),
            arguments.jobs(),
            |seed| history(seed).live(),
            |outcome| {
                let (tried, before) = (outcome.tried(), measurement as u64 * each);
                progress.show(before + tried, all * each, format_args!("{part}: {tried} of {each} seeds"));
            },
        );
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
        measured.step_took.push(1e9 / table::steps_per_second(&outcome));
        measured.times_real_time.push(table::times_real_time(&outcome));
    }
    progress.clear();
    tell(&mut choices)?;
    Ok(interrupt::code().unwrap_or(ExitCode::SUCCESS))
}

/// Prints the table of those that were measured.
fn tell(choices: &mut [Measured]) -> io::Result<()> {
    let [speed, took, times, cost] = ["steps a second", "ns a step", "times real time", "cost"];
    answer(format_args!("{:<18}{speed:>16}{took:>18}{times:>18}{cost:>12}", "checks"))?;
    // The first is what the others are compared with.
    let mut light = None;
    for Measured { name, step_took, times_real_time, .. } in choices {
        if let (Some(took), Some((times, _))) = (median(step_took), median(times_real_time)) {
            answer(row(name, took, times, *light.get_or_insert(took)))?;
        }
    }
    answer(format_args!(
        "each is the median of its turns, {TURNS} if nobody interrupts; \u{b1} is half of what lies between the least and the most"
    ))
}

/// A line of the table: what a step took and how far the turns differ in it, beside those with the cheap checks only.
fn row(name: &str, (took, differs): (f64, f64), times: f64, (light, light_differs): (f64, f64)) -> String {
    let (speed, cost) = (1e9 / took, took - light);
    // Those with the cheap checks only are compared with themselves.
    let is_noise = cost != 0.0 && cost.abs() <= differs + light_differs;
    let noise = if is_noise { ", within noise" } else { "" };
    format!("{name:<18}{speed:>16.0}{took:>11.0} \u{b1}{differs:>5.0}{times:>18.0}{cost:>9.0} ns{noise}")
}

/// The figure in the middle, and half of what lies between the least and the most.
fn median(figures: &mut [f64]) -> Option<(f64, f64)> {
    figures.sort_by(f64::total_cmp);
    let differ = (figures.last()? - figures.first()?) / 2.0;
    Some((*figures.get(figures.len() / 2)?, differ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_less_than_the_turns_do_is_noise() {
        assert_eq!(median(&mut [300.0, 100.0, 110.0]), Some((110.0, 100.0)));
        assert_eq!(median(&mut []), None);
        let ends = |took, light| row("model", took, 9.0, light).contains("ns, within noise");
        assert!(ends((110.0, 6.0), (100.0, 5.0)) && ends((95.0, 6.0), (100.0, 5.0)));
        assert!(!ends((112.0, 6.0), (100.0, 5.0)) && !ends((100.0, 5.0), (100.0, 5.0)));
        assert!(row("model", (110.0, 6.0), 9.0, (100.0, 5.0)).contains("        110 \u{b1}    6 "));
    }
}
