//! The binary as a person uses it: in processes of its own.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_seed_is_the_same_history_byte_for_byte_in_another_process() {
    let [first, second] = [(); 2].map(|()| simulate(&["--seed", "9", "--trace"]));
    assert!(first.status.success(), "{}", text(&first.stdout));
    assert!(first.stdout.len() > 100_000, "a history of {} bytes", first.stdout.len());
    assert!(first.stdout == second.stdout, "two processes live through two histories");
    let other = simulate(&["--seed", "10", "--trace"]);
    assert!(first.stdout != other.stdout, "two seeds with one history");
}

#[test]
fn checks_do_not_change_what_happens() {
    // What a check of starts does to a copy of a disk is told too, where that is checked.
    let happened = |arguments: &[&str]| {
        let told = text(&simulate(arguments).stdout);
        told.lines().filter(|line| !line.contains(" ! has a damaged disk (")).collect::<Vec<_>>().join("\n")
    };
    for seed in ["1", "2", "3", "9"] {
        let light = happened(&["--seed", seed, "--trace", "--checks", "light"]);
        assert!(light.len() > 10_000 && light == happened(&["--seed", seed, "--trace"]), "seed {seed}");
    }
}

#[test]
fn what_is_left_out_does_not_happen() {
    let kinds = "crashes,power-cuts,last-words,hunts,disguises,failing-syncs,full-disks,outsiders,replacements";
    let calmer = text(&simulate(&["--seed", "8", "--trace", "--without", kinds]).stdout);
    let deaths = |trace: &str| trace.matches("! loses power\n").count() + trace.matches("! is killed").count();
    assert_eq!(deaths(&calmer), 1, "but for the restart in the end");
    let worse = deaths(&text(&simulate(&["--seed", "8", "--trace"]).stdout));
    assert!(worse > 10, "only {worse} deaths with everything");
}

#[test]
fn who_leaves_something_out_is_told_that_what_never_came_is_no_failure() {
    let told = |arguments: &[&str]| {
        let ran = simulate(&[&["--seeds", "2", "--jobs", "1"], arguments].concat());
        assert!(ran.status.success(), "{}", text(&ran.stdout));
        text(&ran.stderr).contains("nobody asks whether each kind of fault and action came")
    };
    assert!(!told(&[]) && told(&["--without", "drift"]) && told(&["--clients", "1"]));
}

/// What a program is told of each kind of fault, and how a person reads it.
const FAULTS: [(&str, &str); 19] = [
    ("message lost", " is lost\n"),
    ("message cut off", " is cut off"),
    ("message doubled", " is doubled, and arrives after "),
    ("request cut short", " is cut short on the way: "),
    ("sync slow", " ! has a slow sync, of "),
    ("send slow", " ms to send to "),
    ("write short", " ! has a disk of which one of the next writes is cut short"),
    ("completion told twice", " ! will be told again in "),
    ("crash before a word", " ! dies before it can say to "),
    ("crash in the middle of a flush", ", in the middle of a flush"),
    ("power cut of all at once", "world  ! all nodes lose power at once"),
    ("power cut in a recovery", " ! loses power while it starts"),
    ("sync failed in a recovery", " ! has a disk of which a sync fails while it starts"),
    ("kill", " ! is killed"),
    ("pause", " ! is paused for "),
    ("clock adrift", " ! has a clock that shows "),
    ("clock leaps ahead", " leaps "),
    ("clock set back", " is set back "),
    ("start without room", " ! finds no room on its disk to start"),
];

#[test]
fn everything_that_strikes_is_in_the_trace() {
    let directory = directory_of("strikes");
    let mut struck = [0; FAULTS.len()];
    for seed in (8..=20).chain([28]) {
        let (seed, file) = (seed.to_string(), directory.join("figures.json"));
        let output = simulate(&["--seed", &seed, "--trace", "--json", file.to_str().expect("text")]);
        let (trace, figures) = (text(&output.stdout), std::fs::read_to_string(&file).unwrap());
        for ((fault, told), struck) in FAULTS.iter().zip(&mut struck) {
            let count = figures.split_once(&format!("\"{fault}\":")).expect("every fault is counted").1;
            let count: usize = count.split([',', '}']).next().and_then(|count| count.parse().ok()).expect("a number");
            assert_eq!(trace.matches(told).count(), count, "{told:?} for {fault:?} in seed {seed}");
            *struck += count;
        }
        assert!(trace.contains("world  ! peace begins: all faults end"), "seed {seed}");
        let is_cut = trace.contains(" | ") || trace.contains(" hears ");
        assert!(trace.contains("world  ! all links work") || !is_cut, "seed {seed}: what comes apart comes together");
        assert!(trace.contains(" is answered: "), "seed {seed}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let never = FAULTS.iter().zip(struck).filter(|(_, struck)| *struck == 0).map(|((fault, _), _)| fault);
    assert_eq!(never.collect::<Vec<_>>(), Vec::<&&str>::new(), "seeds that show everything");
}

#[test]
fn mistakes_are_told_with_what_is_possible() {
    for (arguments, told) in [
        (["--seeds", "1", "--without", "fog"], "no trouble is called \"fog\"; there are loss,"),
        (["--seed", "1", "--spare", "7-x"], "\"7-x\" is neither a number nor a range"),
        (["--seeds", "1", "--checks", "speed"], "no check is called \"speed\"; say all, light"),
    ] {
        let output = simulate(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
    let last = u64::MAX.to_string();
    for (arguments, told) in [
        (["--seeds", "0"], "0 is not in 1.."),
        (["--jobs", "1025"], "1025 is not in 1..=1024"),
        (["--clients", "100"], "100 is not in 1..100"),
        (["--start-seed", &last], "there are only 0 from 18446744073709551615 on"),
        (["--seed", &last], "is not in 0..18446744073709551615"),
    ] {
        let output = simulate(&arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(told), "{arguments:?}: {said}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_what_to_do_instead() {
    let directory = directory_of("refused");
    for (arguments, told) in [
        ("--seeds 2 --diagram q.svg", "--diagram draws one history: say which with --seed N"),
        ("--mutants --seed 3 --diagram q.svg", "--diagram draws one history"),
        ("--mutant vote_twice --seeds 3 --diagram q.svg", "--diagram draws one history"),
        ("--costs --diagram q.svg", "use --seed N --diagram FILE alone"),
        ("--seeds 2 --trace", "--trace prints one history: say which with --seed N"),
        ("--start-seed 3 --trace", "--trace prints one history"),
        ("--mutant vote_twice --trace", "--trace prints one history"),
        ("--costs --trace", "use --seed N --trace alone"),
        ("--seeds 2 --spare 1-3", "which numbers its own: say which with --seed N"),
        ("--mutant vote_twice --spare 1-3", "say which with --seed N"),
        ("--costs --spare 1-3", "leave --spare out"),
        ("--seeds 2 --only 1-3", "which numbers its own: say which with --seed N"),
        ("--mutant vote_twice --only 1-3", "say which with --seed N"),
        ("--costs --only none", "leave --only out"),
        ("--seed 3 --only 1 --spare 2", "cannot be used with"),
        ("--seed 3 --only some", "\"some\" is neither a number nor a range"),
        ("--costs --json q.json", "leave --json out"),
        ("--costs --checks light", "leave --checks out"),
        ("--mutant vote_twice --seed 3 --json q.json", "use --mutant NAME --seeds N, or leave --json out"),
        ("--mutant vote_twice --json -", "takes a line for each mutant: name a file for --json"),
        ("--mutants --json -", "takes a line for each mutant: name a file for --json"),
        ("--mutants --table -", "takes a line for each mutant: name a file for --table"),
        ("--mutants --table q --json q", "--table and --json name the same file"),
        ("--table q.md", "--table holds all mutants: use --mutants --table FILE"),
        ("--mutant vote_twice --table q.md", "--table holds all mutants"),
        ("--mutants --start-seed 2 --table q.md", "--table says what everybody finds: leave --start-seed"),
        ("--mutants --without crashes --table q.md", "--table says what everybody finds"),
        ("--mutants --checks light --table q.md", "--table says what everybody finds"),
        ("--mutants --clients 2 --table q.md", "--table says what everybody finds"),
        ("--mutants --seed 3", "one seed shows nothing: use --mutants --seeds N"),
        ("--costs --seed 3", "cannot be used with"),
        ("--mutants --mutant vote_twice", "cannot be used with"),
        ("--mutants --costs", "cannot be used with"),
        ("--seed 3 --seeds 2", "cannot be used with"),
        ("--list-mutants --seeds 2", "cannot be used with"),
        ("--verbose --seeds 2", "--verbose goes with --list-mutants"),
        ("--seed 3 --trace --json -", "standard output takes one of --trace, --diagram - and --json -"),
        ("--seed 3 --diagram - --json -", "standard output takes one of"),
        ("--seed 3 --diagram q --json q", "name the same file"),
        ("--seed 3 --spare 1-99999999999", "\"1-99999999999\" names no trouble: they are numbered from 1 to 1000000"),
        ("--seed 3 --spare 0", "\"0\" names no trouble"),
        ("--mutant vote_twise", "did you mean vote_twice?"),
        ("--mutant fog --seed 3", "no mutant is called fog; simulate --list-mutants prints all names"),
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let output = Command::new(env!("CARGO_BIN_EXE_simulate")).args(&arguments).current_dir(&directory).output();
        let output = output.expect("the binary runs");
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(told), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    }
    // What is refused leaves no file behind.
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn files_that_cannot_be_written_are_told_before_any_work() {
    let of_one: fn(&str) -> Vec<&str> = |flag| vec!["--seed", "9", flag];
    for arguments in [of_one("--diagram"), of_one("--json"), vec!["--mutants", "--json"], vec!["--mutants", "--table"]]
    {
        let output = simulate(&[&arguments[..], &["/nowhere/at/all"]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("simulate: /nowhere/at/all cannot be written: "), "{arguments:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_are_full_are_told_alike() {
    for flag in ["--diagram", "--json"] {
        let output = simulate(&["--seed", "9", flag, "/dev/full"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flag}: {said}");
        assert!(said.contains("simulate: /dev/full cannot be written: No space left"), "{flag}: {said}");
    }
}

#[test]
fn a_trouble_that_never_comes_cannot_be_spared() {
    let told = |numbers: &str| text(&simulate(&["--seed", "9", "--spare", numbers]).stderr);
    let said = told("1,998-999");
    assert!(said.contains("simulate: --spare 998-999 spares nothing: the last trouble of this history has "), "{said}");
    assert!(!told("1").contains("spares nothing"));
    let only = |numbers: &str| text(&simulate(&["--seed", "9", "--trace", "--only", numbers]).stderr);
    assert!(
        only("1,998-999").contains("simulate: --only 998-999 keeps nothing: the last trouble of this history has ")
    );
    assert!(!only("1").contains("keeps nothing") && !only("none").contains("keeps nothing"));
}

/// A directory of this process's own for a test.
fn directory_of(test: &str) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("outrigger-simulate-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The lines of help about flags that take a number.
fn numbers(help: &str) -> Vec<&str> {
    let of_numbers = ["<N>", "<SEED>", "<TERM>"];
    help.lines().filter(|line| line.contains("--") && of_numbers.iter().any(|name| line.contains(name))).collect()
}

#[test]
fn help_says_what_each_number_may_be_and_shows_examples() {
    for (binary, least) in [(env!("CARGO_BIN_EXE_simulate"), 5), (env!("CARGO_BIN_EXE_explore"), 11)] {
        // The short help has a flag and what it means on one line.
        let help = Command::new(binary).arg("-h").output().expect("the binary runs");
        let help = text(&help.stdout);
        let flags = numbers(&help);
        assert!(flags.len() >= least && help.contains("\nExamples:\n  "), "{help}");
        for line in flags {
            assert!(line.contains(" to ") || line.contains(" or more"), "no range: {line}");
        }
    }
}

#[test]
fn figures_for_programs_are_written() {
    let directory = directory_of("figures");
    let (json, svg) = (directory.join("figures.json"), directory.join("history.svg"));
    let output = simulate(&["--seeds", "3", "--start-seed", "9", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures = std::fs::read_to_string(&json).unwrap();
    let output = simulate(&["--seed", "9", "--diagram", svg.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let drawn = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    for key in [
        "\"seeds\":3,",
        "\"steps\":",
        "\"steps_per_second\":",
        "\"times_real_time\":",
        "\"failures\":[]",
        "\"never_came\":[]",
    ] {
        assert!(figures.contains(key), "{key} is not in {figures}");
    }
    assert!(drawn.starts_with("<svg") && drawn.contains("append_entries"), "{}", &drawn[..200]);
    // A single history has figures too, and standard output takes either.
    let one = text(&simulate(&["--seed", "9", "--json", "-"]).stdout);
    assert!(one.starts_with("{\"seeds\":1,") && one.ends_with("\"never_came\":[]}\n"), "{one}");
    assert!(text(&simulate(&["--seeds", "2", "--json", "-"]).stdout).starts_with("{\"seeds\":2,"));
    assert!(simulate(&["--seed", "9", "--diagram", "-"]).stdout == drawn.as_bytes());
}

/// A device that is full, whatever is written to it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_a_closed_pipe_is_not() {
    use std::fs::OpenOptions;
    use std::process::Stdio;
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
    let [simulate, explore] = [env!("CARGO_BIN_EXE_simulate"), env!("CARGO_BIN_EXE_explore")];
    for (binary, arguments) in [
        (simulate, "--help"),
        (simulate, "--list-mutants"),
        (simulate, "--without help --seed 9"),
        (simulate, "--seed 9 --trace"),
        (explore, "--help"),
        (explore, "--crashes 0 --copies 0 --heartbeats 0"),
    ] {
        let run = |stdout: Stdio| {
            let output = Command::new(binary).args(arguments.split(' ')).stdout(stdout).output().expect("it runs");
            (output.status.code(), text(&output.stderr))
        };
        let (code, said) = run(full().into());
        let words = "standard output cannot be written: No space left on device";
        assert!(code == Some(1) && said.contains(words) && !said.contains("panicked"), "{arguments}: {code:?} {said}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, said) = run(writer.into());
        let is_quiet = !said.contains("written") && !said.contains("panicked");
        assert!(is_quiet && code == Some(1), "{arguments}: {code:?} {said}");
    }
    // Nobody hears the remarks, and the answer is as it was.
    let plain = Command::new(simulate).args(["--seed", "9"]).stderr(full()).output().expect("it runs");
    assert_eq!(plain.status.code(), Some(0));
}

/// How a process ends that is sent SIGINT once it can hear it, as Linux tells of it.
#[cfg(target_os = "linux")]
fn interrupted(binary: &str, arguments: &[&str]) -> Output {
    use std::process::Stdio;
    /// The place of SIGTERM, which is the last that is listened for, in the mask of signals.
    const SIGTERM: u64 = 1 << 14;
    let mut command = Command::new(binary);
    let mut child =
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let hears = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & SIGTERM != 0))
    };
    while !hears(&std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default()) {
        assert!(child.try_wait().expect("our child").is_none(), "{arguments:?} is over already");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    child.wait_with_output().expect("it ends")
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_ends_a_campaign_with_the_table_of_what_was_done() {
    let file = std::env::temp_dir().join(format!("outrigger-interrupted-{}.json", std::process::id()));
    let arguments = ["--seeds", "200", "--jobs", "1", "--json", file.to_str().expect("text")];
    let output = interrupted(env!("CARGO_BIN_EXE_simulate"), &arguments);
    let figures = std::fs::read_to_string(&file).expect("the figures of what was done");
    std::fs::remove_file(&file).expect("it is there");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let tried = said.split("interrupted after ").nth(1).and_then(|rest| rest.strip_suffix(" of 200 seeds\n"));
    let tried: u64 = tried.expect("it says how far it came").parse().expect("a number");
    assert!(said.contains("engine steps") && tried < 200, "{said}");
    assert!(figures.starts_with(&format!("{{\"seeds\":{tried},\"interrupted\":true,")), "{figures}");
    assert_eq!(text(&output.stdout), "", "what came in so few histories is no judgement");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_ends_measurements_and_explorations() {
    let output = interrupted(env!("CARGO_BIN_EXE_simulate"), &["--costs", "--jobs", "1", "--seeds", "20"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.starts_with("simulate: turn 1 of 5, checks light: measurement 1 of "), "{said}");
    assert!(said.contains("interrupted after 0 of "), "{said}");
    let bounds = ["--nodes", "3", "--max-term", "5", "--max-log", "9", "--max-states", "500000"];
    let output = interrupted(env!("CARGO_BIN_EXE_explore"), &bounds);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("explore: interrupted after ") && said.contains(" of them wait"), "{said}");
    assert!(text(&output.stdout).ends_with("violations=0\n"), "{}", text(&output.stdout));
}
