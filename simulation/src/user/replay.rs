//! The command that replays a failure: this seed, in this test.

use std::env;
use std::path::Path;
use std::thread;

/// What to type to see a seed again, in whatever runs now.
pub(super) fn command(seed: u64) -> String {
    let program = env::current_exe().unwrap_or_default();
    // Cargo tells it to what it runs.
    let package = env::var("CARGO_PKG_NAME").ok();
    command_in(seed, thread::current().name(), &program, package.as_deref(), !cfg!(debug_assertions))
}

/// A test has a thread that bears its name, unless tests run one after the other; examples and programs run on the first.
fn command_in(seed: u64, thread: Option<&str>, program: &Path, package: Option<&str>, is_release: bool) -> String {
    let name = |path: Option<&Path>| Some(path?.file_name()?.to_str()?.to_owned());
    let (directory, program) = (name(program.parent()).unwrap_or_default(), name(Some(program)).unwrap_or_default());
    let test = thread.filter(|name| *name != "main");
    let verb = if test.is_some() || directory == "deps" { "test" } else { "run" };
    let release = if is_release { " --release" } else { "" };
    let package = package.map(|package| format!(" -p {package}")).unwrap_or_default();
    let what = match (test, directory.as_str()) {
        (Some(test), _) => format!(" {test} -- --exact --nocapture"),
        (None, "deps") => " -- --nocapture".to_owned(),
        (None, "examples") => format!(" --example {program}"),
        (None, _) => format!(" --bin {program}"),
    };
    format!("OUTRIGGER_SEED={seed} cargo {verb}{release}{package}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_replayed_by_its_name() {
        let (test, program) = (Some("store::survives"), Path::new("target/debug/deps/store-0123"));
        assert_eq!(
            command_in(17, test, program, Some("shop"), false),
            "OUTRIGGER_SEED=17 cargo test -p shop store::survives -- --exact --nocapture"
        );
        assert_eq!(
            command_in(17, Some("main"), program, None, true),
            "OUTRIGGER_SEED=17 cargo test --release -- --nocapture"
        );
    }

    #[test]
    fn an_example_and_a_program_are_run_again() {
        let example = Path::new("target/release/examples/bank");
        assert_eq!(
            command_in(3, Some("main"), example, Some("shop"), true),
            "OUTRIGGER_SEED=3 cargo run --release -p shop --example bank"
        );
        assert_eq!(
            command_in(3, None, Path::new("target/debug/soak"), None, false),
            "OUTRIGGER_SEED=3 cargo run --bin soak"
        );
    }
}
