//! What each of the dearer checks costs: the same seeds with each of them, in turns.

use std::io;
use std::process::ExitCode;

use outrigger_simulation::{Checks, History};

use crate::output::answer;
use crate::{Arguments, campaign, table};

/// How often every choice of checks has its turn; the median counts.
const TURNS: usize = 5;

/// Measures, and prints a table.
pub(crate) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let choices: Vec<(&str, Checks)> =
        [("light", Checks::LIGHT)].into_iter().chain(Checks::EACH).chain([("all", Checks::ALL)]).collect();
    let mut measured = vec![Vec::new(); choices.len()];
    let mut times_real_time = vec![Vec::new(); choices.len()];
    for _ in 0..TURNS {
        for (place, (_, checks)) in choices.iter().enumerate() {
            let history = |seed| History::new(seed).checks(*checks);
            let outcome = campaign::run(arguments.seeds(), arguments.jobs(), history);
            if let Some(failure) = outcome.failures.first() {
                answer(failure)?;
                return Ok(ExitCode::FAILURE);
            }
            measured[place].push(table::steps_per_second(&outcome));
            times_real_time[place].push(table::times_real_time(&outcome));
        }
    }
    let [speed, took, times, cost] = ["steps a second", "ns a step", "times real time", "cost"];
    answer(format_args!("{:<18}{speed:>16}{took:>16}{times:>18}{cost:>12}", "checks"))?;
    let light = 1e9 / median(&mut measured[0]);
    for (place, (name, _)) in choices.iter().enumerate() {
        let (speed, times) = (median(&mut measured[place]), median(&mut times_real_time[place]));
        let took = 1e9 / speed;
        answer(format_args!("{name:<18}{speed:>16.0}{took:>16.0}{times:>18.0}{:>9.0} ns", took - light))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
