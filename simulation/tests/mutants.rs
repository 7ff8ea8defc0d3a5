//! The table of mutants and their sites in the sources belong together, and no build that is meant for use has any.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_simulation::mutants::{MUTANTS, are_built_in};

/// Where mutants are sown.
const SOWN: [&str; 3] = ["engine/src", "log/src", "outrigger/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each name that a site has, with the files that have it.
fn sites() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut files = Vec::new();
    SOWN.iter().for_each(|directory| rust_files(&root().join(directory), &mut files));
    let mut sites: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| !file.ends_with("mutation.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for site in text.split("mutate!(").skip(1) {
            let name: String = site.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            sites.entry(name).or_default().insert(file.clone());
        }
    }
    sites
}

fn simulate(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap();
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn there_are_at_least_forty_mutants_with_a_name_of_their_own() {
    let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), MUTANTS.len(), "two mutants with one name");
    assert!(names.len() >= 40, "{} mutants", names.len());
    for mutant in MUTANTS {
        assert!(!mutant.breaks.is_empty() && !mutant.source.is_empty(), "{mutant:?} does not say what it breaks");
    }
}

#[test]
fn every_mutant_has_a_site_and_every_site_a_mutant() {
    let told: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.name.to_owned()).collect();
    let sown: BTreeSet<String> = sites().into_keys().collect();
    assert_eq!(told.difference(&sown).collect::<Vec<_>>(), Vec::<&String>::new(), "no site has these names");
    assert_eq!(sown.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "the table lacks these names");
}

#[test]
fn mutants_are_sown_in_the_engine_the_driver_and_the_log() {
    let files: BTreeSet<PathBuf> = sites().into_values().flatten().collect();
    for directory in SOWN {
        let directory = root().join(directory);
        assert!(files.iter().any(|file| file.starts_with(&directory)), "none in {}", directory.display());
    }
}

#[test]
fn a_build_without_the_switch_has_no_mutant() {
    assert_eq!(are_built_in(), cfg!(outrigger_mutants));
    if !are_built_in() {
        // The crates offer the choice in builds of mutants only, and name the switch wherever they do.
        for crate_root in ["engine/src/lib.rs", "log/src/lib.rs"] {
            let text = fs::read_to_string(root().join(crate_root)).unwrap();
            let choice = text.find("pub use mutation::").expect("the choice of a mutant");
            let before = &text[..choice];
            assert!(before.trim_end().ends_with("#[doc(hidden)]"), "{crate_root}: the choice is shown");
            let switched = before.trim_end().trim_end_matches("#[doc(hidden)]").trim_end();
            assert!(switched.ends_with("#[cfg(outrigger_mutants)]"), "{crate_root}: the choice is in every build");
        }
    }
}

#[test]
fn the_names_are_printed_one_a_line_and_an_unknown_one_is_refused() {
    let (succeeds, printed) = simulate(&["--list-mutants"]);
    assert!(succeeds);
    assert_eq!(printed.lines().collect::<Vec<_>>(), MUTANTS.iter().map(|mutant| mutant.name).collect::<Vec<_>>());
    let (succeeds, printed) = simulate(&["--list-mutants", "--verbose"]);
    assert!(succeeds);
    for (line, mutant) in printed.lines().zip(MUTANTS) {
        assert!(line.starts_with(mutant.name) && line.contains(mutant.breaks), "{line}");
    }
    assert_eq!(printed.lines().count(), MUTANTS.len());
    let (succeeds, said) = simulate(&["--mutant", "no_such_mutant"]);
    assert!(!succeeds && said.contains("no mutant is called no_such_mutant"), "{said}");
}
