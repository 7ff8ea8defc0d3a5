//! The trial of mutants: each lives through seeds until a check of the protocol finds it.
//!
//! ```text
//!   normal build        rebuilds itself with --cfg outrigger_mutants into target/mutants, and runs that
//!   build of mutants    one mutant at a time, for the choice is the process's; the seeds on all processors
//! ```

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use outrigger_simulation::mutants::{MUTANTS, Mutant, find, unknown};

use crate::output::answer;

/// One name a line; for people, with what it breaks.
pub(crate) fn list(is_verbose: bool) -> io::Result<ExitCode> {
    let is_for_people = is_verbose || io::stdout().is_terminal();
    for mutant in MUTANTS {
        let Mutant { name, breaks, source, .. } = mutant;
        if is_for_people { answer(format_args!("{name:<38}{breaks} ({source})"))? } else { answer(name)? }
    }
    Ok(ExitCode::SUCCESS)
}

/// The mutants that are meant: the one of that name, or all.
pub(crate) fn meant(name: Option<&str>) -> Result<Vec<Mutant>, String> {
    let Some(name) = name else { return Ok(MUTANTS.to_vec()) };
    find(name).map(|mutant| vec![*mutant]).ok_or_else(|| unknown(name))
}

#[cfg(outrigger_mutants)]
pub(crate) use trial::{become_one, run};

/// This build cannot be a mutant.
#[cfg(not(outrigger_mutants))]
pub(crate) const fn become_one(_: &[Mutant]) -> bool {
    false
}

/// Builds the mutants and lets that binary do what this one was asked for.
#[cfg(not(outrigger_mutants))]
pub(crate) fn run(
    _: &[Mutant],
    _: std::ops::Range<u64>,
    _: usize,
    _: impl Fn(u64) -> outrigger_simulation::History + Sync,
) -> io::Result<ExitCode> {
    Ok(outrigger_simulation::mutants::rebuild("simulate"))
}

#[cfg(outrigger_mutants)]
mod trial {
    use std::io;
    use std::ops::Range;
    use std::panic;
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Instant;

    use outrigger_simulation::mutants::{Mutant, choose};
    use outrigger_simulation::{Check, Failure, History};

    use crate::interrupt;
    use crate::output::{answer, say};
    use crate::progress::Progress;

    /// What became of a mutant.
    #[derive(Default)]
    struct Trial {
        /// The first history in which a check of the protocol found it.
        found: Option<Failure>,
        /// How many histories it lived through, the last included.
        seeds: u64,
        /// How many steps all of them had.
        steps: u64,
        /// How many of them an assertion ended.
        assertions: u64,
        /// What the first of those assertions said.
        said: Option<String>,
    }

    /// From now on the process is the mutant that is meant, if that is one.
    pub(crate) fn become_one(mutants: &[Mutant]) -> bool {
        let [mutant] = mutants else { return false };
        choose(mutant);
        introduce(mutant);
        true
    }

    /// Says what is broken.
    fn introduce(Mutant { name, breaks, source, .. }: &Mutant) {
        say(format_args!("simulate: mutant {name}: {breaks} ({source})"));
    }

    /// Tries these mutants one by one; success is to find them all.
    pub(crate) fn run(
        mutants: &[Mutant],
        seeds: Range<u64>,
        jobs: usize,
        history: impl Fn(u64) -> History + Sync,
    ) -> io::Result<ExitCode> {
        // An assertion that fails is no news here.
        panic::set_hook(Box::new(|_| {}));
        let began = Instant::now();
        if let [only] = mutants {
            introduce(only);
        }
        answer(row(["mutant", "found by", "seeds", "steps", "faults", "assertions"]))?;
        let (mut tried, mut found, all) = (0, 0, mutants.len());
        let mut progress = Progress::new("simulate");
        for mutant in mutants {
            let part = format!("mutant {} of {all}, {}", tried + 1, mutant.name);
            progress.begin(&part);
            choose(mutant);
            let trial = try_seeds(seeds.clone(), jobs, &history, |lived| {
                progress.show(tried as u64, all as u64, format_args!("{part}: {lived} seeds"));
            });
            progress.clear();
            // Who was not found in some of its seeds might have been in the others.
            if interrupt::came() && trial.found.is_none() {
                break;
            }
            tell(mutant, &trial, all == 1)?;
            tried += 1;
            found += usize::from(trial.found.is_some());
        }
        let took = began.elapsed().as_secs_f64();
        if tried < all {
            say(format_args!("simulate: interrupted after {tried} of {all} mutants, {took:.0} s"));
            answer(format_args!("found {found} of {tried}"))?;
            return Ok(interrupt::code().unwrap_or(ExitCode::FAILURE));
        }
        say(format_args!("simulate: {all} mutant{} in {took:.1} s", if all == 1 { "" } else { "s" }));
        answer(format_args!("found {found} of {all}"))?;
        Ok(if found == all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Prints what became of a mutant; more of it if it is the only one, or was not found.
    fn tell(mutant: &Mutant, trial: &Trial, is_only: bool) -> io::Result<()> {
        let Trial { found, seeds, steps, assertions, said } = trial;
        let check = found.as_ref().map_or_else(|| "nothing".to_owned(), |it| it.violation.check.to_string());
        let kinds = found.as_ref().map_or(0, |failure| failure.faults.len());
        let [seeds, steps, kinds, assertions] =
            [*seeds, *steps, kinds as u64, *assertions].map(|count| count.to_string());
        answer(row([mutant.name, &check, &seeds, &steps, &kinds, &assertions]))?;
        match found {
            None => answer(format_args!("    {} ({})", mutant.breaks, mutant.source))?,
            Some(found) if is_only => answer(found)?,
            Some(_) => {}
        }
        match said {
            Some(said) if is_only || found.is_none() => answer(format_args!("    an assertion: {said}")),
            Some(_) | None => Ok(()),
        }
    }

    fn row([mutant, check, seeds, steps, faults, assertions]: [&str; 6]) -> String {
        format!("{mutant:<38}{check:<22}{seeds:>6}{steps:>10}{faults:>8}{assertions:>12}")
    }

    /// Lives through the seeds in their order, until one is found to be wrong, and tells `told` after each how many it
    /// were. The first that is wrong is the same on every run, whatever the number of processors.
    fn try_seeds(
        seeds: Range<u64>,
        jobs: usize,
        history: &(impl Fn(u64) -> History + Sync),
        mut told: impl FnMut(usize),
    ) -> Trial {
        let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
        let mut lived = Vec::new();
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            for _ in 0..jobs {
                let (sender, next, end) = (sender.clone(), &next, &end);
                scope.spawn(move || {
                    while !interrupt::came() {
                        let taken = next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seed| {
                            (seed < end.load(Ordering::SeqCst)).then(|| seed + 1)
                        });
                        let Ok(seed) = taken else { return };
                        let lived = history(seed).live();
                        if lived.as_ref().is_err_and(is_find) {
                            end.fetch_min(seed + 1, Ordering::SeqCst);
                        }
                        let steps = lived.as_ref().map_or_else(|failure| failure.steps, |report| report.steps);
                        let _ = sender.send((seed, steps, lived.err()));
                    }
                });
            }
            drop(sender);
            for each in receiver {
                lived.push(each);
                told(lived.len());
            }
        });
        let end = end.into_inner();
        lived.retain(|(seed, ..)| *seed < end);
        lived.sort_by_key(|(seed, ..)| *seed);
        lived.into_iter().fold(Trial::default(), |mut trial, (_, steps, failure)| {
            trial.seeds += 1;
            trial.steps += steps;
            match failure {
                Some(failure) if is_find(&failure) => trial.found = Some(failure),
                Some(failure) => {
                    trial.assertions += 1;
                    trial.said.get_or_insert(failure.violation.reason);
                }
                None => {}
            }
            trial
        })
    }

    /// Whether a check of the protocol speaks, and no assertion.
    fn is_find(failure: &Failure) -> bool {
        failure.violation.check != Check::Assertion
    }
}
