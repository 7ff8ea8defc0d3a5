//! What is published of the mutants: which check found each, and in which seed. `simulation/MUTANTS.md` is this, to the letter.

use std::fmt::Write;

use super::Mutant;
use crate::check::Check;

/// Which check found a mutant first, and in which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Find {
    /// The mutant.
    pub mutant: Mutant,
    /// The check that found it, and was meant to.
    pub check: Check,
    /// The first seed in whose history it did.
    pub seed: u64,
}

/// So many seeds, from the first on, are soon.
pub const SOON: [u64; 5] = [10, 50, 100, 500, 1000];

/// Before the table: what it is, and how it is made.
const HEAD: &str = "\
# Mutants

Faults that are made on purpose, each on one line beside the real code, to show that the checks of the simulator can see. They exist in
a build of their own only. `simulate --mutants` lives through seed after seed with each of them, from seed 1 on, until a check
finds it that is *meant* to: what is meant stands in [found_by.rs](src/mutants/found_by.rs), the faults in
[mutants.rs](src/mutants.rs), the checks in [check.rs](src/check.rs). A find by any other check, or by an assertion of the code under
test, does not count.

The seeds are those of this version: whatever changes what is drawn, or what nodes do, changes them. This file is written by

```sh
cargo run --release -p outrigger-simulation --bin simulate -- --mutants --table simulation/MUTANTS.md
```

and `.ci/run` compares it with what it finds. One find is replayed by `simulate --mutant NAME --seed SEED`.
";

/// The table in Markdown.
#[must_use]
pub fn table(finds: &[Find]) -> String {
    let mut text = format!("{HEAD}\n## How soon\nOf {} mutants are found\n\n", finds.len());
    // Writing to a string never fails.
    let _ = writeln!(text, "| within so many seeds | mutants |\n|---:|---:|");
    for most in SOON {
        let found = finds.iter().filter(|find| find.seed <= most).count();
        let _ = writeln!(text, "| {most} | {found} |");
    }
    let _ = writeln!(text, "\n## By whom\n\n| check | mutants |\n|---|---:|");
    let mut checks: Vec<Check> = finds.iter().map(|find| find.check).collect();
    checks.sort_unstable();
    checks.dedup();
    for check in checks {
        let found = finds.iter().filter(|find| find.check == check).count();
        let _ = writeln!(text, "| {check} | {found} |");
    }
    let _ = writeln!(text, "\n## All\n\n| mutant | what it does that must not be done | says who | found by | seed |");
    let _ = writeln!(text, "|---|---|---|---|---:|");
    for Find { mutant: Mutant { name, breaks, source, .. }, check, seed } in finds {
        let _ = writeln!(text, "| `{name}` | {breaks} | {source} | {check} | {seed} |");
    }
    text
}
