//! Looking into the directories of nodes that are stopped: what is printed, what is damaged, and that no byte changes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Ran, binary, run};

/// All files under a directory.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// A verb of `outrigger log`, which must change nothing.
#[track_caller]
fn log(verb: &str, directory: &Path, arguments: &[&str]) -> Ran {
    let before = files(directory);
    let ran = run(["log", verb, "--data-dir", directory.to_str().unwrap()].iter().chain(arguments));
    assert!(files(directory) == before, "`log {verb}` has changed something");
    ran
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One node that has stopped, with a snapshot, entries behind it, and what `put` has written.
fn stopped(values: &[&str]) -> (Cluster, PathBuf) {
    let mut cluster = Cluster::started_with(1, &["--snapshot-bytes", "0", "--snapshot-keep-entries", "1"]);
    for (number, value) in values.iter().enumerate() {
        cluster.done(&["put", &format!("key-{number}"), value]);
        if number == values.len() / 2 {
            cluster.done(&["snapshot"]);
        }
    }
    assert!(cluster.nodes[0].stop("TERM").success());
    let directory = cluster.nodes[0].data_dir.clone();
    (cluster, directory)
}

#[test]
fn a_directory_is_whole_and_its_entries_are_printed() {
    let (cluster, directory) = stopped(&["Oslo", "Bergen", "Tromsø", "Bodø"]);
    let ran = log("verify", &directory, &[]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("whole    node 1: "), "{ran:?}");
    assert_eq!(ran.stderr, "", "no progress where there is no terminal");
    let verified = log("verify", &directory, &["--output", "json"]);
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&report["whole"], &report["node"], &report["snapshots"]), (&json!(true), &json!(1), &json!(1)));
    assert!(report["damage"].as_array().unwrap().is_empty() && report["torn"].is_null(), "{report}");

    let lines = objects(&log("dump", &directory, &["--output", "json", "--payloads", "text"]).stdout);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    assert_eq!((&of("identity")[0]["node"], &of("identity")[0]["start"]), (&json!(1), &json!(1)));
    assert_eq!(of("vote")[0]["voted_for"], json!(1));
    let (held, snapshot) = (of("log")[0], of("snapshot")[0]);
    assert_eq!(snapshot["members"][0]["id"], json!(1));
    assert!(held["purged"]["index"].as_u64() < snapshot["last"]["index"].as_u64(), "{held} {snapshot}");
    let entries = of("entry");
    assert_eq!(json!(entries.len()), held["entries"]);
    let last = entries.last().unwrap();
    assert_eq!((&last["index"], &last["term"]), (&held["last"]["index"], &held["last"]["term"]));
    let written = |line: &&&Value| line["payload"].as_str().is_some_and(|text| text.contains("Bodø"));
    let written = entries.iter().find(written).unwrap();
    assert!(written["kind"] == "command" && written["session"].is_u64() && written["sequence"].is_u64(), "{written}");

    let index = written["index"].to_string();
    let text = log("dump", &directory, &["--from", &index, "--to", &index, "--payloads", "hex"]).stdout;
    let entry = text.lines().filter(|line| line.starts_with("entry ")).collect::<Vec<_>>();
    assert_eq!(entry.len(), 1, "{text}");
    assert!(entry[0].contains(" command at ") && entry[0].ends_with("426f64c3b8"), "{text}");
    drop(cluster);
}

#[test]
fn a_directory_that_a_node_runs_from_is_not_looked_into() {
    let cluster = Cluster::started(1);
    let directory = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    for verb in ["dump", "verify"] {
        let ran = run(["log", verb, "--data-dir", &directory, "--output", "json"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("is in use: a node runs from it"), "{ran:?}");
    }
    cluster.done(&["put", "city", "Oslo"]);
}

/// Flips a bit of what stands at this offset of a file.
fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Where these bytes stand in a file.
fn find(path: &Path, wanted: &[u8]) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(wanted.len()).rposition(|window| window == wanted).unwrap()
}

#[test]
fn damage_is_told_with_file_offset_and_index_and_a_torn_end_is_none() {
    let (mut cluster, directory) = stopped(&["Oslo", "Bergen", "Bodø", "a value to find", "the last"]);
    let segment = directory.join("00000000000000000001.segment");
    let of_entry = |ran: &Ran| {
        let lines = objects(&ran.stdout);
        let entry = lines.iter().find(|line| line["payload"].as_str().is_some_and(|text| text.contains("to find")));
        entry.unwrap()["index"].clone()
    };
    let index = of_entry(&log("dump", &directory, &["--output", "json", "--payloads", "text"]));

    // What a start would find at the end, had the power failed.
    let bytes = fs::read(&segment).unwrap();
    flip(&segment, bytes.iter().rposition(|byte| *byte != 0).unwrap());
    let ran = log("verify", &directory, &[]);
    assert!(ran.code == Some(0) && ran.stdout.contains("torn     ") && ran.stdout.contains("whole"), "{ran:?}");
    let torn = log("dump", &directory, &[]);
    assert!(torn.code == Some(0) && torn.stdout.contains("\ntorn  "), "{torn:?}");
    fs::write(&segment, bytes).unwrap();

    let at = find(&segment, b"a value to find");
    flip(&segment, at);
    let ran = log("verify", &directory, &["--output", "json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("is damaged in 1 place:"), "{ran:?}");
    // Who empties the directory without that is refused for good.
    assert!(ran.stderr.contains("to have the node back, `outrigger member remove 1`, start it with --join"), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let damage = &report["damage"][0];
    assert_eq!((&damage["file"], &damage["index"]), (&json!(segment), &index), "{report}");
    let offset = usize::try_from(damage["offset"].as_u64().unwrap()).unwrap();
    assert!(offset < at && at - offset < 200, "the record at {offset} holds {at}");
    let text = log("verify", &directory, &[]);
    assert!(text.stdout.starts_with(&format!("damaged  {} at offset {offset}, index {index}: ", segment.display())));
    let dump = log("dump", &directory, &[]);
    assert!(dump.code == Some(1) && dump.stderr.contains("corrupt at offset"), "{dump:?}");
    flip(&segment, at);

    let snapshot = fs::read_dir(directory.join("snapshots")).unwrap().map(|file| file.unwrap().path());
    let snapshot = snapshot.max().unwrap();
    flip(&snapshot, find(&snapshot, b"Bergen"));
    let ran = log("verify", &directory, &[]);
    assert!(ran.code == Some(1) && ran.stdout.contains(snapshot.to_str().unwrap()), "{ran:?}");
    flip(&snapshot, find(&snapshot, b"Bergen".map(|byte| if byte == b'B' { b'B' ^ 4 } else { byte }).as_slice()));
    assert_eq!(log("verify", &directory, &[]).code, Some(0));
    cluster.nodes[0].start();
    assert_eq!(cluster.done(&["get", "key-3"]), "a value to find\n");
}

#[test]
fn a_dump_ends_quietly_with_its_reader() {
    let value = "x".repeat(100_000);
    let (_cluster, directory) = stopped(&["first", "second", &value, &value, &value]);
    let mut command = binary();
    command.args(["log", "dump", "--payloads", "hex", "--data-dir"]).arg(&directory);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // More is printed than any pipe holds, so that it must notice that nobody reads.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("identity    node 1 of cluster cacf337d7b9dab37"), "{line}");
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let scratch = tempfile::tempdir().unwrap();
    for verb in ["dump", "verify"] {
        let ran = log(verb, scratch.path(), &[]);
        assert!(ran.code == Some(1) && ran.stderr.contains("holds no log"), "{ran:?}");
        let gone = scratch.path().join("gone");
        let ran = run(["log", verb, "--data-dir", gone.to_str().unwrap()]);
        assert!(ran.code == Some(1) && ran.stderr.contains("No such file"), "{ran:?}");
        assert!(!gone.exists());
        let help = run(["log", verb, "--help"]).stdout;
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
    for arguments in [&["log"][..], &["log", "dump"], &["log", "dump", "--data-dir", "x", "--from", "2", "--to", "1"]] {
        assert_eq!(run(arguments).code, Some(2), "{arguments:?}");
    }
}

/// Found by reading: then nothing was printed at all.
#[test]
fn members_that_cannot_be_read_hide_nothing_else() {
    let mut cluster = Cluster::started_with(1, &["--snapshot-bytes", "0"]);
    let value = "x".repeat(100_000);
    for number in 0..50 {
        cluster.done(&["put", &format!("key-{number}"), &value]);
    }
    assert!(cluster.nodes[0].stop("TERM").success());
    let directory = cluster.nodes[0].data_dir.clone();
    // In a file that is complete, so that a start does not go through it entry by entry.
    let segment = directory.join("00000000000000000001.segment");
    let bytes = fs::read(&segment).unwrap();
    let address = cluster.nodes[0].peer_address();
    flip(&segment, bytes.windows(address.len()).position(|window| window == address.as_bytes()).unwrap());
    let dump = log("dump", &directory, &["--from", "40", "--output", "json"]);
    assert_eq!(dump.code, Some(1), "{}", dump.stderr);
    let lines = objects(&dump.stdout);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    assert_eq!((of("identity").len(), of("log").len()), (1, 1));
    assert!(of("unreadable_members")[0]["error"].is_string(), "{:?}", of("unreadable_members"));
    assert!(of("entry").len() > 10, "{} entries", of("entry").len());
}
