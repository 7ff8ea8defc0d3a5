//! Mutants on trial, one by one, and what became of each: a line each, a table for the documentation, figures for programs.

use std::fmt;
use std::io;
use std::ops::Range;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use outrigger_simulation::mutants::{Find, Mutant, SOON, choose, table};
use outrigger_simulation::{Check, Failure, History};

use crate::output::{answer, say};
use crate::progress::Progress;
use crate::table::quoted;
use crate::{Arguments, file, interrupt};

/// What became of a mutant.
struct Trial {
    mutant: Mutant,
    /// The first history in which the check found it that is meant to.
    found: Option<Failure>,
    /// How many histories it lived through, the last included.
    seeds: u64,
    /// How many steps all of them had.
    steps: u64,
    /// How many of them an assertion ended.
    assertions: u64,
    /// How many of them another check ended.
    others: u64,
    /// The first that an assertion or another check ended.
    ended: Option<Failure>,
}

impl Trial {
    const fn of(mutant: Mutant) -> Self {
        Self { mutant, found: None, seeds: 0, steps: 0, assertions: 0, others: 0, ended: None }
    }

    /// It has lived through one more history, which a failure has ended, if any has.
    fn add(&mut self, steps: u64, ended: Option<Failure>, is_find: impl Fn(&Failure) -> bool) {
        self.seeds += 1;
        self.steps += steps;
        match ended {
            Some(found) if is_find(&found) => self.found = Some(found),
            Some(ended) => {
                let is_assertion = ended.violation.check == Check::Assertion;
                let count = if is_assertion { &mut self.assertions } else { &mut self.others };
                *count += 1;
                self.ended.get_or_insert(ended);
            }
            None => {}
        }
    }

    /// Which check found it, in which seed.
    fn find(&self) -> Option<Find> {
        let (mutant, found) = (self.mutant, self.found.as_ref()?);
        Some(Find { mutant, check: found.violation.check, seed: found.seed })
    }

    /// Prints what became of it; more if it is the only one, or was not found.
    fn tell(&self, is_only: bool) -> io::Result<()> {
        answer(self)?;
        let Mutant { breaks, source, .. } = self.mutant;
        match &self.found {
            None => answer(format_args!("    {breaks} ({source})"))?,
            Some(found) if is_only => answer(found)?,
            Some(_) => {}
        }
        let Some(ended) = self.ended.as_ref().filter(|_| is_only || self.found.is_none()) else { return Ok(()) };
        let (seed, violation) = (ended.seed, &ended.violation);
        if violation.check == Check::Assertion {
            return answer(format_args!("    an assertion in seed {seed}: {}", violation.reason));
        }
        let meant = self.mutant.found_by().map_or_else(|| "any check".to_owned(), |check| check.to_string());
        answer(format_args!(
            "    {meant} is meant to find it (simulation/src/mutants/found_by.rs); in seed {seed} {violation}"
        ))
    }

    /// The same for programs.
    fn json(&self) -> String {
        let Self { mutant, seeds, steps, assertions, others, .. } = self;
        let null = || "null".to_owned();
        let name = |check: Option<Check>| check.map_or_else(null, |check| quoted(&check.to_string()));
        let find = self.find();
        format!(
            concat!(
                r#"{{"mutant":{},"breaks":{},"source":{},"meant":{},"found_by":{},"seed":{},"#,
                r#""seeds":{},"steps":{},"faults":{},"assertions":{},"others":{}}}"#
            ),
            quoted(mutant.name),
            quoted(mutant.breaks),
            quoted(mutant.source),
            name(mutant.found_by()),
            name(find.map(|find| find.check)),
            find.map_or_else(null, |find| find.seed.to_string()),
            seeds,
            steps,
            self.kinds(),
            assertions,
            others,
        )
    }

    /// How many kinds of fault struck in the history in which it was found.
    fn kinds(&self) -> usize {
        self.found.as_ref().map_or(0, |failure| failure.faults.len())
    }
}

/// A line of the table.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let find = self.find();
        let (check, seed) = find.map_or_else(
            || ("nothing".to_owned(), "-".to_owned()),
            |find| (find.check.to_string(), find.seed.to_string()),
        );
        let counts = [self.seeds, self.steps, self.kinds() as u64, self.assertions, self.others];
        let [seeds, steps, kinds, assertions, others] = counts.map(|count| count.to_string());
        f.write_str(&row([self.mutant.name, &check, &seed, &seeds, &steps, &kinds, &assertions, &others]))
    }
}

fn row([mutant, check, seed, seeds, steps, faults, assertions, others]: [&str; 8]) -> String {
    format!("{mutant:<36}{check:<20}{seed:>6}{seeds:>7}{steps:>10}{faults:>8}{assertions:>12}{others:>8}")
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
    arguments: &Arguments,
    mutants: &[Mutant],
    history: impl Fn(u64) -> History + Sync,
) -> io::Result<ExitCode> {
    // An assertion that fails is no news here.
    panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    if let [only] = mutants {
        introduce(only);
    }
    answer(row(["mutant", "found by", "seed", "seeds", "steps", "faults", "assertions", "others"]))?;
    let (mut trials, all) = (Vec::new(), mutants.len());
    let mut progress = Progress::new("simulate");
    for mutant in mutants {
        let part = format!("mutant {} of {all}, {}", trials.len() + 1, mutant.name);
        progress.begin(&part);
        choose(mutant);
        let trial = try_seeds(*mutant, arguments, &history, |lived| {
            progress.show(trials.len() as u64, all as u64, format_args!("{part}: {lived} seeds"));
        });
        progress.clear();
        // Who was not found in some of its seeds might have been in the others.
        if interrupt::came() && trial.found.is_none() {
            break;
        }
        trial.tell(all == 1)?;
        trials.push(trial);
    }
    conclude(arguments, all, &trials, began)
}

/// Says how many were found, and how soon, and writes that wherever it was asked for.
fn conclude(arguments: &Arguments, all: usize, trials: &[Trial], began: Instant) -> io::Result<ExitCode> {
    let (tried, took) = (trials.len(), began.elapsed().as_secs_f64());
    let finds: Vec<Find> = trials.iter().filter_map(Trial::find).collect();
    let found = finds.len();
    if tried < all {
        say(format_args!("simulate: interrupted after {tried} of {all} mutants, {took:.0} s"));
    } else {
        say(format_args!("simulate: {all} mutant{} in {took:.1} s", if all == 1 { "" } else { "s" }));
    }
    let soon =
        SOON.map(|most| (most, trials.iter().filter(|trial| trial.found.is_some() && trial.seeds <= most).count()));
    if all > 1 {
        let told = soon.map(|(most, found)| format!("{found} within {most}"));
        answer(format_args!("seeds that it takes: {}", told.join(", ")))?;
    }
    answer(format_args!("found {found} of {tried}"))?;
    if let Some(file) = &arguments.json {
        let trials: Vec<_> = trials.iter().map(Trial::json).collect();
        let soon = soon.map(|(most, found)| format!(r#""{most}":{found}"#));
        let text = format!(
            "{{\"mutants\":[{}],\"interrupted\":{},\"found\":{found},\"found_within\":{{{}}}}}\n",
            trials.join(","),
            tried < all,
            soon.join(","),
        );
        if !file::write(file, &text)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    if tried < all {
        return Ok(interrupt::code().unwrap_or(ExitCode::FAILURE));
    }
    let is_written = arguments.table.as_deref().map_or(Ok(true), |file| write_table(file, &finds, all))?;
    Ok(if found == all && is_written { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the table, which has all mutants or is not worth to be had.
fn write_table(file: &Path, finds: &[Find], all: usize) -> io::Result<bool> {
    if finds.len() < all {
        say(format_args!("simulate: {} is left as it is: it has all mutants, and some were not found", file.display()));
        return Ok(false);
    }
    file::write(file, &table(finds))
}

/// Lives through the seeds in their order, until one is found to be wrong, and tells `told` after each how many it
/// were. The first that is wrong is the same on every run, whatever the number of processors.
fn try_seeds(
    mutant: Mutant,
    arguments: &Arguments,
    history: &(impl Fn(u64) -> History + Sync),
    mut told: impl FnMut(usize),
) -> Trial {
    let Range { start, end } = arguments.seeds();
    let (next, end) = (AtomicU64::new(start), AtomicU64::new(end));
    let checks = arguments.checks();
    let is_find = |failure: &Failure| mutant.is_found_by(failure.violation.check, checks);
    let mut lived = Vec::new();
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..arguments.jobs() {
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
    let mut trial = Trial::of(mutant);
    lived.into_iter().for_each(|(_, steps, failure)| trial.add(steps, failure, is_find));
    trial
}
