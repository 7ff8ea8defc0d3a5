//! The trial of mutants: each lives through seeds until the check of the protocol finds it that is meant to.
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
#[path = "trial.rs"]
mod trial;
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
    _: &crate::Arguments,
    _: &[Mutant],
    _: impl Fn(u64) -> outrigger_simulation::History + Sync,
) -> io::Result<ExitCode> {
    Ok(outrigger_simulation::mutants::rebuild("simulate"))
}
