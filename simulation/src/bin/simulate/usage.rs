//! What goes together on a command line, and what does not: nothing that was asked for is left undone without a word.
//!
//! clap takes a flag that `requires` another for satisfied where a third conflicts with that other one (`--seeds 2
//! --diagram FILE` with `--seed` missing), so this is decided here.

use std::path::PathBuf;

use outrigger_simulation::Changes;

use crate::{Arguments, file};

/// What the histories are changed in, or why what was asked for makes no sense: what to do instead.
pub(crate) fn check(arguments: &Arguments) -> Result<Changes, String> {
    let mut changes = Changes::parse(&arguments.without, arguments.clients, &arguments.spare)?;
    if let Some(only) = &arguments.only {
        changes = changes.only(only)?;
    }
    let seeds = arguments.seeds();
    let (first, there_are) = (seeds.start, seeds.end - seeds.start);
    if there_are < arguments.seeds.unwrap_or(1) {
        return Err(format!("seeds end at 2^64 - 2: there are only {there_are} from {first} on"));
    }
    if arguments.verbose {
        return Err("--verbose goes with --list-mutants".to_owned());
    }
    let refusals =
        [of_costs(arguments), of_many(arguments), of_mutants(arguments), of_table(arguments), of_output(arguments)];
    refusals.into_iter().flatten().next().map_or(Ok(changes), |why| Err(why.to_owned()))
}

/// What has no meaning while costs are measured.
fn of_costs(arguments: &Arguments) -> Option<&'static str> {
    let Arguments { costs, diagram, trace, json, checks, spare, only, .. } = arguments;
    [
        (
            diagram.is_some(),
            "--diagram draws one history, and --costs measures many: use --seed N --diagram FILE alone",
        ),
        (*trace, "--trace prints one history, and --costs measures many: use --seed N --trace alone"),
        (json.is_some(), "--costs prints a table and no JSON: leave --json out"),
        (checks.is_some(), "--costs measures every choice of checks: leave --checks out"),
        (!spare.is_empty(), "--spare names troubles of one history, and --costs measures many: leave --spare out"),
        (only.is_some(), "--only names troubles of one history, and --costs measures many: leave --only out"),
    ]
    .into_iter()
    .find_map(|(is_said, why)| (*costs && is_said).then_some(why))
}

/// What has no meaning for more histories than one.
fn of_many(arguments: &Arguments) -> Option<&'static str> {
    let Arguments { seed, mutants, diagram, trace, spare, only, .. } = arguments;
    let is_one = seed.is_some() && !mutants;
    [
        (diagram.is_some(), "--diagram draws one history: say which with --seed N"),
        (*trace, "--trace prints one history: say which with --seed N"),
        (!spare.is_empty(), "--spare names troubles of one history, which numbers its own: say which with --seed N"),
        (only.is_some(), "--only names troubles of one history, which numbers its own: say which with --seed N"),
    ]
    .into_iter()
    .find_map(|(is_said, why)| (!is_one && is_said).then_some(why))
}

/// What has no meaning while mutants are tried.
fn of_mutants(arguments: &Arguments) -> Option<&'static str> {
    let is_trial = arguments.mutants || arguments.mutant.is_some();
    let is_rows = |file: &Option<PathBuf>| file.as_deref().is_some_and(file::is_stdout);
    [
        (
            is_trial && arguments.seed.is_some() && arguments.json.is_some(),
            "--json holds the figures of many histories where mutants are tried: use --mutant NAME --seeds N, or leave --json out",
        ),
        (
            arguments.mutants && arguments.seed.is_some(),
            "--mutants tries each mutant on many histories, and one seed shows nothing: use --mutants --seeds N",
        ),
        (
            is_trial && is_rows(&arguments.json),
            "standard output takes a line for each mutant: name a file for --json",
        ),
    ]
    .into_iter()
    .find_map(|(is_said, why)| is_said.then_some(why))
}

/// What has no meaning for the table of mutants: it says what everybody finds from the first seed on.
fn of_table(arguments: &Arguments) -> Option<&'static str> {
    let Arguments { mutants, table, json, start_seed, checks, without, clients, .. } = arguments;
    let file = table.as_deref()?;
    let is_changed = *start_seed != 1 || checks.is_some() || !without.is_empty() || clients.is_some();
    [
        (!mutants, "--table holds all mutants: use --mutants --table FILE"),
        (file::is_stdout(file), "standard output takes a line for each mutant: name a file for --table"),
        (is_changed, "--table says what everybody finds: leave --start-seed, --checks, --without and --clients out"),
        (table == json, "--table and --json name the same file: name another for one of them"),
    ]
    .into_iter()
    .find_map(|(is_said, why)| is_said.then_some(why))
}

/// Two things in one place.
fn of_output(arguments: &Arguments) -> Option<&'static str> {
    let Arguments { diagram, json, trace, .. } = arguments;
    let to_stdout = [diagram, json].map(|file| file.as_deref().is_some_and(file::is_stdout));
    let count = to_stdout.into_iter().chain([*trace]).filter(|is_said| *is_said).count();
    if count > 1 {
        return Some("standard output takes one of --trace, --diagram - and --json -: name a file for the others");
    }
    (diagram.is_some() && diagram == json)
        .then_some("--diagram and --json name the same file: name another for one of them")
}
