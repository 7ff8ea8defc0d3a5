//! The table of mutants and their sites in the sources belong together, and no build that is meant for use has any.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_simulation::mutants::{Find, MUTANTS, are_built_in, find, table};

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

/// What stands in the documentation.
const PUBLISHED: &str = include_str!("../MUTANTS.md");

#[test]
fn what_is_published_of_the_mutants_is_what_there_is() {
    let anew = "simulate --mutants --table simulation/MUTANTS.md writes it anew";
    let finds: Vec<Find> = PUBLISHED
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (name, cells) = row.split_once('`').expect("a name");
            let mutant = *find(name).unwrap_or_else(|| panic!("{name} is gone: {anew}"));
            let cells: Vec<&str> = cells.trim_end_matches(" |").split(" | ").collect();
            let [.., by, seed] = cells[..] else { panic!("{row}") };
            let check = mutant.found_by().expect("a check is meant to find each");
            assert_eq!(by, check.to_string(), "{name} is meant to be found by another check: {anew}");
            Find { mutant, check, seed: seed.parse().expect("a seed") }
        })
        .collect();
    let published: BTreeSet<&str> = finds.iter().map(|find| find.mutant.name).collect();
    let missing: Vec<&str> =
        MUTANTS.iter().map(|mutant| mutant.name).filter(|name| !published.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "they are not published: {anew}");
    assert!(finds.iter().all(|find| (1..=1000).contains(&find.seed)), "who tries all gives up after a thousand seeds");
    assert!(finds.iter().map(|find| find.mutant).eq(MUTANTS.iter().copied()), "in their order: {anew}");
    assert_eq!(table(&finds), PUBLISHED, "{anew}");
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

/// What only a build of mutants can show: `.ci/run` runs this there.
#[cfg(outrigger_mutants)]
mod found {
    use outrigger_simulation::mutants::{choose, find};
    use outrigger_simulation::{Changes, Check, Failure, History, shrink};

    use super::{BTreeMap, BTreeSet, simulate};

    /// Mutants, a seed from which on one that finds them is looked for, and the checks: some of these histories take several
    /// troubles.
    const FOUND: [(&str, u64, &str); 5] = [
        ("vote_twice", 19, "light"),
        ("read_before_own_entry", 8, "all"),
        ("hint_counts_as_match", 1, "recovery"),
        ("log_tail_not_written_again", 18, "recovery,linearizability"),
        ("read_from_anywhere", 1, "linearizability"),
    ];

    /// The flags of the line that replays a failure.
    fn flags(replay: &str) -> BTreeMap<String, String> {
        let words: Vec<_> = replay.split_once(" -- ").expect("flags").1.split(' ').collect();
        words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    /// The history that these flags mean.
    fn history(flags: &BTreeMap<String, String>) -> History {
        let said = |flag: &str| flags.get(flag).map(String::as_str);
        let clients = said("--clients").map(|clients| clients.parse().unwrap());
        let changes =
            Changes::parse(said("--without").unwrap_or_default(), clients, said("--spare").unwrap_or_default());
        let changes = said("--only").map_or(changes.clone(), |only| changes.unwrap().only(only)).unwrap();
        let checks = said("--checks").unwrap_or("all").parse().unwrap();
        History::new(said("--seed").unwrap().parse().unwrap()).checks(checks).changed(changes)
    }

    /// The flags of every history that has one kind of trouble, client or single trouble less.
    fn with_one_less(flags: &BTreeMap<String, String>, failure: &Failure) -> Vec<BTreeMap<String, String>> {
        let with = |flag: &str, words: String| {
            let mut flags = flags.clone();
            flags.insert(flag.to_owned(), words);
            flags
        };
        let without = flags.get("--without").map_or("", String::as_str);
        let out: BTreeSet<&str> = without.split(',').collect();
        let kinds = Changes::kinds().filter(|(kind, _)| without != "all" && !out.contains(kind));
        let kinds = kinds.map(|(kind, _)| with("--without", format!("{without},{kind}")));
        let clients = (failure.clients > 1).then(|| with("--clients", (failure.clients - 1).to_string()));
        let numbers = |flag: &str| -> Option<BTreeSet<u64>> {
            let runs = flags.get(flag)?.split(',').filter(|run| *run != "none");
            let ends = runs.map(|run| run.split_once('-').unwrap_or((run, run)));
            Some(ends.flat_map(|(first, last)| first.parse::<u64>().unwrap()..=last.parse().unwrap()).collect())
        };
        let spared = numbers("--spare").unwrap_or_default();
        let left =
            numbers("--only").unwrap_or_else(|| (1..=failure.troubles).filter(|it| !spared.contains(it)).collect());
        let singles = left.iter().map(|trouble| {
            let others: Vec<_> = left.iter().filter(|other| *other != trouble).map(u64::to_string).collect();
            let mut flags = with("--only", if others.is_empty() { "none".to_owned() } else { others.join(",") });
            flags.remove("--spare");
            flags
        });
        kinds.chain(clients).chain(singles).collect()
    }

    /// The columns of a mutant's line.
    fn columns(printed: &str, name: &str) -> Vec<String> {
        let line = printed.lines().find(|line| line.starts_with(name)).expect("its line");
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_trial_says_which_check_found_the_mutant_and_in_which_seed() {
        let file = std::env::temp_dir().join(format!("outrigger-mutant-{}.json", std::process::id()));
        let json = file.to_str().expect("text");
        let (succeeds, printed) =
            simulate(&["--mutant", "vote_twice", "--start-seed", "19", "--seeds", "200", "--json", json]);
        let figures = std::fs::read_to_string(&file).expect("the figures");
        std::fs::remove_file(&file).expect("it is there");
        let columns = columns(&printed, "vote_twice");
        let [name, check, seed, seeds, ..] = &columns[..] else { panic!("{printed}") };
        assert!(succeeds && name == "vote_twice" && check == "OneVote", "{printed}");
        let counted = 18 + seeds.parse::<u64>().expect("a number");
        assert_eq!(seed.parse(), Ok(counted), "{printed}");
        assert!(printed.contains(&format!("seed {seed} after ")) && printed.ends_with("found 1 of 1\n"), "{printed}");
        let told = format!(r#""meant":"OneVote","found_by":"OneVote","seed":{seed},"seeds":{seeds},"#);
        assert!(figures.starts_with(r#"{"mutants":[{"mutant":"vote_twice","breaks":"#), "{figures}");
        assert!(figures.contains(&told) && figures.contains(r#""interrupted":false,"found":1,"#), "{figures}");
    }

    /// A seed in whose history a check ends it that is not meant to find this mutant.
    fn seed_of_another_check(name: &str) -> (u64, Check) {
        let mutant = find(name).expect("a mutant");
        choose(mutant);
        let failures = (1..200).filter_map(|seed| History::new(seed).live().err());
        let mut checks = failures.map(|failure| (failure.seed, failure.violation.check));
        let is_another = |check| check != Check::Assertion && Some(check) != mutant.found_by();
        checks.find(|(_, check)| is_another(*check)).expect("another check finds it at times")
    }

    #[test]
    fn who_is_found_by_another_check_than_the_one_that_is_meant_is_not_found() {
        let (seed, other) = {
            let _choice = super::CHOICE.lock().unwrap();
            seed_of_another_check("vote_twice")
        };
        let arguments = ["--mutant", "vote_twice", "--seeds", "1", "--start-seed", &seed.to_string()];
        let (succeeds, printed) = simulate(&arguments);
        let columns = columns(&printed, "vote_twice");
        let [_, check, first, .., assertions, others] = &columns[..] else { panic!("{printed}") };
        assert_eq!([check, first, assertions, others], ["nothing", "-", "0", "1"], "{printed}");
        let told = format!(
            "    OneVote is meant to find it (simulation/src/mutants/found_by.rs); in seed {seed} {other} is violated"
        );
        assert!(!succeeds && printed.contains(&told) && printed.ends_with("found 0 of 1\n"), "{printed}");
        // Who leaves checks out may have left out the one that is meant.
        let (succeeds, printed) = simulate(&["--mutant", "quorum_of_half", "--seeds", "200", "--checks", "light"]);
        assert!(succeeds && printed.ends_with("found 1 of 1\n"), "{printed}");
    }

    /// What the model, which sees every step, would have found before them: without it Raft's own invariants find it.
    const FOUND_BY_INVARIANTS: [(Check, [&str; 2]); 4] = [
        (Check::LogMatching, ["no_prev_check", "pre_vote_counts_as_vote"]),
        (Check::LeaderCompleteness, ["quorum_of_half", "vote_without_log_check"]),
        (Check::StateMachineSafety, ["conflict_not_truncated", "commit_beyond_verified"]),
        (Check::CommittedOnQuorum, ["counts_unflushed", "joint_commits_by_new_voters"]),
    ];

    #[test]
    fn without_the_model_the_invariants_of_raft_find_what_it_finds() {
        let _choice = super::CHOICE.lock().unwrap();
        for (check, names) in FOUND_BY_INVARIANTS {
            for name in names {
                let mutant = find(name).expect("a mutant");
                choose(mutant);
                assert_eq!(mutant.found_by(), Some(Check::Refinement), "{name} is another's business");
                let light = |seed| History::new(seed).checks("light".parse().unwrap());
                let mut failures = (1..100).filter_map(|seed| light(seed).live().err());
                assert!(failures.any(|failure| failure.violation.check == check), "{check} does not find {name}");
            }
        }
    }

    #[test]
    fn a_mutant_that_is_found_is_replayed_and_takes_all_that_is_left() {
        let _choice = super::CHOICE.lock().unwrap();
        let mut singles = 0;
        for (name, seed, checks) in FOUND {
            choose(find(name).unwrap());
            let mut histories = (seed..seed + 200).map(|seed| History::new(seed).checks(checks.parse().unwrap()));
            let found = histories.find_map(|first| first.live().err().map(|failure| (first, failure)));
            let (first, failure) = found.expect(name);
            let shrunk = shrink(failure, |changes| first.clone().changed(changes).live(), |_| true);
            assert!(shrunk.shrunk.is_some_and(|shrunk| shrunk.is_minimal), "{shrunk}");
            let flags = flags(&shrunk.replay());
            assert_eq!(flags.get("--mutant").map(String::as_str), Some(name));
            assert_eq!(flags.get("--checks").map_or("all", String::as_str), checks);
            let mut again = history(&flags).live().expect_err("it can be replayed");
            again.shrunk = shrunk.shrunk;
            assert_eq!(again, shrunk, "the same check, at the same step");
            for less in with_one_less(&flags, &shrunk) {
                singles += usize::from(less.contains_key("--only"));
                let lived = history(&less).live();
                assert!(!lived.is_err_and(|it| it.violation.check == shrunk.violation.check), "{less:?}: {shrunk}");
            }
            // The binary takes the line as it is.
            let arguments: Vec<_> = flags.iter().flat_map(|(flag, words)| [flag.as_str(), words]).collect();
            let (succeeds, said) = simulate(&[&arguments[..], &["--no-shrink"]].concat());
            let said_first = shrunk.to_string().split("left out").next().unwrap().to_owned();
            assert!(!succeeds && said.starts_with(&said_first), "{arguments:?}: {said}\n{shrunk}");
        }
        assert!(singles > 0, "some of them take single troubles");
    }
}

/// A process is one mutant at a time: whoever chooses holds this until it is done with it.
#[cfg(outrigger_mutants)]
static CHOICE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// What no other check can see within these bounds, the model beside each explored step does.
#[cfg(outrigger_mutants)]
#[test]
fn an_explored_step_that_the_model_forbids_is_found_by_it_alone() {
    use outrigger_simulation::exploration::{Bounds, Plan, explore};
    use outrigger_simulation::{Check, mutants};

    let _choice = CHOICE.lock().unwrap();
    for name in ["commits_older_term", "short_request_truncates", "acknowledges_unverified"] {
        mutants::choose(find(name).expect("a mutant"));
        let found_by = |without_model| {
            let plan = Plan { without_model, states_max: Some(40_000), ..Plan::default() };
            let report = explore(Bounds::PAIR, &plan, |_| {}).expect("it begins within its bounds");
            report.counter_example().map(|found| found.violation.check)
        };
        assert_eq!((found_by(true), found_by(false)), (None, Some(Check::Refinement)), "{name}");
    }
}
