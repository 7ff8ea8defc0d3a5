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
    let light = simulate(&["--seed", "9", "--trace", "--checks", "light"]);
    assert!(light.stdout == simulate(&["--seed", "9", "--trace"]).stdout);
}

#[test]
fn what_is_left_out_does_not_happen() {
    let kinds = "crashes,power-cuts,last-words,hunts,disguises,failing-syncs,full-disks,outsiders";
    let calmer = text(&simulate(&["--seed", "9", "--trace", "--without", kinds]).stdout);
    let deaths = |trace: &str| trace.matches("! loses power").count() + trace.matches("! is killed").count();
    assert_eq!(deaths(&calmer), 1, "but for the restart in the end");
    assert!(deaths(&text(&simulate(&["--seed", "9", "--trace"]).stdout)) > 10);
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
}

#[test]
fn figures_for_programs_are_written() {
    let directory = std::env::temp_dir().join(format!("outrigger-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (json, svg) = (directory.join("figures.json"), directory.join("history.svg"));
    let output = simulate(&["--seeds", "3", "--start-seed", "9", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures = std::fs::read_to_string(&json).unwrap();
    let output = simulate(&["--seed", "9", "--diagram", svg.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let drawn = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    for key in ["\"seeds\":3,", "\"steps\":", "\"steps_per_second\":", "\"times_real_time\":", "\"failures\":[]"] {
        assert!(figures.contains(key), "{key} is not in {figures}");
    }
    assert!(drawn.starts_with("<svg") && drawn.contains("append_entries"), "{}", &drawn[..200]);
}
