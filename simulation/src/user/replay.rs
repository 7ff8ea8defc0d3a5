//! The command that replays a failure: this seed with what was left out of it, in this test of this target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use super::Seeds;
use super::seeds::variables;
use crate::{Again, Failure};

/// The failure with what to type to see it again, in whatever runs now.
pub(super) fn replayed(failure: Failure, seeds: &Seeds) -> Failure {
    // Cargo tells this and the directory to what it runs.
    let package = env::var("CARGO_PKG_NAME").ok();
    let thread = thread::current();
    let place = Place {
        thread: thread.name(),
        program: &env::current_exe().unwrap_or_default(),
        package: package.as_deref(),
        directory: &env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default(),
        is_release: !cfg!(debug_assertions),
    };
    let deaf = if seeds.is_from_env { "" } else { " # once the test takes Seeds::from_env()" };
    let command = format!("{}{}{deaf}", variables(failure.seed, &failure.changes), place.command());
    let again = Again { command: Some(command), ..*failure.again };
    Failure { again: Box::new(again), ..failure }
}

/// The program that rustdoc makes of an example in documentation.
const DOCTEST: &str = "rust_out";

/// Where something runs.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// A test has a thread that bears its name, unless tests run one after the other; examples and programs run on the
    /// first.
    thread: Option<&'a str>,
    /// The file that runs.
    program: &'a Path,
    package: Option<&'a str>,
    /// Of the package.
    directory: &'a Path,
    is_release: bool,
}

impl Place<'_> {
    /// What runs it again.
    fn command(&self) -> String {
        let name = |path: Option<&Path>| Some(path?.file_name()?.to_str()?.to_owned());
        let folder = name(self.program.parent()).unwrap_or_default();
        let program = name(Some(self.program)).unwrap_or_default();
        // Cargo puts a hash behind the names of what `cargo test` runs, and of nothing that `cargo run` does.
        let tested = program.rsplit_once('-').filter(|(_, hash)| is_hash(hash)).map(|(name, _)| name);
        let test = self.thread.filter(|name| *name != "main");
        let is_doc = tested.is_none() && program == DOCTEST;
        let target = match (folder.as_str(), tested) {
            ("examples", Some(name)) => format!(" --example {}", self.source("examples", name).unwrap_or(name.into())),
            ("examples", None) => format!(" --example {program}"),
            (_, Some(name)) => self.test_target(name).map(|name| format!(" --test {name}")).unwrap_or_default(),
            (_, None) if is_doc => " --doc".to_owned(),
            (_, None) if test.is_none() => format!(" --bin {program}"),
            _ => String::new(),
        };
        let verb = if tested.is_some() || test.is_some() || is_doc { "test" } else { "run" };
        let words = match test {
            Some(test) => format!(" {test} -- --exact --nocapture"),
            None if verb == "test" => " -- --nocapture".to_owned(),
            None => String::new(),
        };
        let release = if self.is_release { " --release" } else { "" };
        let package = self.package.map(|package| format!(" -p {package}")).unwrap_or_default();
        format!("cargo {verb}{release}{package}{target}{words}")
    }

    /// The name of the integration test that a program was built from. None where the library or a program of the package
    /// may be what runs: Cargo tries those unless a target is named.
    fn test_target(&self, name: &str) -> Option<String> {
        let is_package = self.package.is_some_and(|package| package.replace('-', "_") == name);
        let is_other = is_package || self.source("src/bin", name).is_some();
        self.source("tests", name).filter(|_| !is_other)
    }

    /// The name of the source in a folder of the package that becomes a program of this name: files may have hyphens where
    /// crates have underscores.
    fn source(&self, folder: &str, name: &str) -> Option<String> {
        let sources = fs::read_dir(self.directory.join(folder)).ok()?.filter_map(|source| Some(source.ok()?.path()));
        sources
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file()
            })
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .find(|source| source.replace('-', "_") == name.replace('-', "_"))
    }
}

fn is_hash(word: &str) -> bool {
    word.len() == 16 && word.chars().all(|letter| letter.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this package, which has `tests/user.rs`, `tests/tokio_runtime/main.rs`, `examples/bank.rs`, and the
    /// program `explore` beside `tests/exploration.rs`.
    fn command(program: &str, thread: Option<&str>) -> String {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = Some(env!("CARGO_PKG_NAME"));
        Place { thread, program: Path::new(program), package, directory, is_release: false }.command()
    }

    #[test]
    fn a_test_is_replayed_by_its_name_in_its_target() {
        let test = Some("store::survives");
        for (program, target) in [
            ("user", " --test user"),
            ("tokio_runtime", " --test tokio_runtime"),
            ("outrigger_simulation", ""),
            ("elsewhere", ""),
            ("simulate", ""),
        ] {
            assert_eq!(
                command(&format!("target/debug/deps/{program}-0123456789abcdef"), test),
                format!("cargo test -p outrigger-simulation{target} store::survives -- --exact --nocapture")
            );
        }
        assert_eq!(
            command("target/debug/examples/bank-0123456789abcdef", test),
            "cargo test -p outrigger-simulation --example bank store::survives -- --exact --nocapture"
        );
        assert_eq!(
            command("target/debug/deps/user-0123456789abcdef", Some("main")),
            "cargo test -p outrigger-simulation --test user -- --nocapture",
            "with --test-threads=1 a test runs on the first thread"
        );
    }

    #[test]
    fn an_integration_test_that_is_called_as_another_target_is_not_taken_for_it() {
        let parent = env::temp_dir().join(format!("outrigger-replay-{}", std::process::id()));
        for folder in ["tests", "src/bin"] {
            fs::create_dir_all(parent.join(folder)).unwrap();
        }
        for file in ["tests/shop.rs", "tests/till.rs", "tests/in-order.rs", "src/bin/till.rs"] {
            fs::write(parent.join(file), "").unwrap();
        }
        let target = |name| {
            let place = Place {
                thread: None,
                program: Path::new(""),
                package: Some("shop"),
                directory: &parent,
                is_release: true,
            };
            place.test_target(name)
        };
        let found = [target("shop"), target("till"), target("in_order")];
        fs::remove_dir_all(&parent).unwrap();
        assert_eq!(found, [None, None, Some("in-order".to_owned())]);
    }

    #[test]
    fn an_example_in_documentation_is_replayed_with_all_of_them() {
        assert_eq!(
            command("rustdoctest0123/rust_out", Some("main")),
            "cargo test -p outrigger-simulation --doc -- --nocapture"
        );
    }

    #[test]
    fn an_example_and_a_program_are_run_again() {
        let package = Some("shop");
        let example = Path::new("target/release/examples/my-cafe");
        let place =
            Place { thread: Some("main"), program: example, package, directory: Path::new(""), is_release: true };
        assert_eq!(place.command(), "cargo run --release -p shop --example my-cafe");
        let program = Path::new("target/debug/soak");
        let place = Place { thread: None, program, package: None, is_release: false, ..place };
        assert_eq!(place.command(), "cargo run --bin soak");
    }
}
