//! The command line of the chores: finds the repository's root, runs the verb, prints, and says by its exit
//! code whether all is well.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
Chores of the Outrigger repository.

Usage: cargo xtask <VERB> [DIR]

Verbs:
  tidy [DIR]   check what the compiler cannot: lengths, purity of the engine, the direction of
               dependencies, links, names, leftovers (DIR: the root to check; default: this repository)
  rules        list the rules of `tidy`, and how a line may be excepted from one
  help         print this text

Examples:
  cargo xtask tidy            # what is wrong here, as file:line: what, and what to do
  cargo xtask tidy ../fork    # the same for another checkout
  cargo test -p xtask         # the same, as a test

Exit code: 0 all is well, 1 findings, 2 wrong usage, 3 a file could not be read
";

const TIDY: u8 = 0;
const FINDINGS: u8 = 1;
const USAGE: u8 = 2;
const UNREADABLE: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    ExitCode::from(match words.as_slice() {
        ["tidy"] => tidy(&repository()),
        ["tidy", root] => tidy(Path::new(root)),
        ["rules"] => rules(),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            TIDY
        }
        [] => usage("a verb is missing"),
        ["tidy" | "rules" | "help", ..] => usage("too many arguments"),
        [verb, ..] => usage(&format!("unknown verb `{verb}`")),
    })
}

/// The directory above this package, as it was when the program was compiled.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

fn tidy(root: &Path) -> u8 {
    let start = Instant::now();
    let report = match xtask::tidy(root) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("cannot read {}: {error}", root.display());
            return UNREADABLE;
        }
    };
    for finding in &report.findings {
        println!("{finding}");
    }
    let (files, found, elapsed) = (report.files, report.findings.len(), start.elapsed().as_millis());
    eprintln!("tidy: {files} files, {found} findings, {elapsed} ms");
    if report.findings.is_empty() { TIDY } else { FINDINGS }
}

fn rules() -> u8 {
    for rule in xtask::Rule::ALL {
        println!("{:<14} {}", rule.name(), rule.meaning());
    }
    println!("\nA line is excepted by a comment on it or on the line above: `{}`.", xtask::allowance::FORM);
    TIDY
}

fn usage(problem: &str) -> u8 {
    eprintln!("{problem}\n\n{HELP}");
    USAGE
}
