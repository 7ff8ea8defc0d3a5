//! `cargo xtask` as a person meets it, on small repositories made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of this test's own with these files, made anew.
fn repository(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_tidy_repository_is_silent_and_exits_0() {
    let root = repository(
        "tidy",
        &[("engine/src/lib.rs", "//! The engine.\n"), ("README.md", "[engine](engine/src/lib.rs)\n")],
    );
    let output = xtask(&["tidy", root.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("tidy: 2 files, 0 findings, "));
}

#[test]
fn findings_are_printed_by_place_and_exit_1() {
    let engine = "//! The engine.\n\nuse std::fs;\n";
    let root = repository("untidy", &[("engine/src/lib.rs", engine), ("README.md", "[a](gone.md)\n")]);
    let output = xtask(&["tidy", root.to_str().unwrap()]);
    let printed = text(&output.stdout);
    let places: Vec<&str> = printed.lines().filter_map(|line| line.split_once(": ").map(|(place, _)| place)).collect();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(places, ["README.md:1", "engine/src/lib.rs:3"]);
}

#[test]
fn what_git_ignores_is_not_read() {
    let files =
        [(".gitignore", "/target\n"), ("target/a.rs", "fn get_a() {}"), ("src/a.rs", "//! A.\n"), (".git/a.rs", "")];
    let root = repository("ignored", &files);
    let output = xtask(&["tidy", root.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("tidy: 2 files, 0 findings, "), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_prints_help_with_examples_and_exits_2() {
    for arguments in [&[][..], &["polish"], &["tidy", "a", "b"], &["rules", "all"]] {
        let output = xtask(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("Examples:\n  cargo xtask tidy"), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
    assert!(text(&xtask(&["polish"]).stderr).starts_with("unknown verb `polish`"));
}

#[test]
fn help_and_rules_are_printed_on_demand() {
    let help = xtask(&["help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Examples:"));
    let rules = xtask(&["rules"]);
    assert_eq!(rules.status.code(), Some(0));
    assert_eq!(text(&rules.stdout).lines().filter(|line| !line.is_empty()).count(), xtask::Rule::ALL.len() + 1);
}

#[test]
fn a_root_that_cannot_be_read_is_named_and_exits_3() {
    let output = xtask(&["tidy", "no/such/directory"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("cannot read no/such/directory: "));
}

/// Linux has a device that is full whatever is written to it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_is_no_panic() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("rules").stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("xtask: standard output cannot be written: "), "{said}");
}
