//! The command line of the chores: finds the repository's root, runs the verb, prints, and says by its exit
//! code whether all is well.

use std::io::{self, Write};
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

Exit code: 0 all is well, 1 findings, or the output cannot be written, 2 wrong usage, 3 a file could not be read
";

const TIDY: u8 = 0;
const FINDINGS: u8 = 1;
const USAGE: u8 = 2;
const UNREADABLE: u8 = 3;
const UNWRITTEN: u8 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = run(&words).and_then(|code| io::stdout().flush().map(|()| code));
    ExitCode::from(ended.unwrap_or_else(|error| {
        // Whoever closed it, as `head` does, has seen enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            say(format_args!("xtask: standard output cannot be written: {error}"));
        }
        UNWRITTEN
    }))
}

fn run(words: &[&str]) -> io::Result<u8> {
    match words {
        ["tidy"] => tidy(&repository()),
        ["tidy", root] => tidy(Path::new(root)),
        ["rules"] => rules(),
        ["help" | "--help" | "-h"] => {
            write!(io::stdout(), "{HELP}")?;
            Ok(TIDY)
        }
        [] => Ok(usage("a verb is missing")),
        ["tidy" | "rules" | "help", ..] => Ok(usage("too many arguments")),
        [verb, ..] => Ok(usage(&format!("unknown verb `{verb}`"))),
    }
}

/// The directory above this package, as it was when the program was compiled.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

fn tidy(root: &Path) -> io::Result<u8> {
    let start = Instant::now();
    let report = match xtask::tidy(root) {
        Ok(report) => report,
        Err(error) => {
            say(format_args!("cannot read {}: {error}", root.display()));
            return Ok(UNREADABLE);
        }
    };
    for finding in &report.findings {
        writeln!(io::stdout(), "{finding}")?;
    }
    let (files, found, elapsed) = (report.files, report.findings.len(), start.elapsed().as_millis());
    say(format_args!("tidy: {files} files, {found} findings, {elapsed} ms"));
    Ok(if report.findings.is_empty() { TIDY } else { FINDINGS })
}

fn rules() -> io::Result<u8> {
    for rule in xtask::Rule::ALL {
        writeln!(io::stdout(), "{:<14} {}", rule.name(), rule.meaning())?;
    }
    let form = xtask::allowance::FORM;
    writeln!(io::stdout(), "\nA line is excepted by a comment on it or on the line above: `{form}`.")?;
    Ok(TIDY)
}

fn usage(problem: &str) -> u8 {
    say(format_args!("{problem}\n\n{HELP}"));
    USAGE
}

/// Says it on standard error; a remark that reaches nobody is not missed.
fn say(line: impl std::fmt::Display) {
    let _: io::Result<()> = writeln!(io::stderr(), "{line}");
}
