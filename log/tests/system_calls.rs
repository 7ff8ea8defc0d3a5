//! What reaches the kernel: the simulated disk shows that the log syncs when it must, and a tracer that a sync of the
//! real disk is one.
//!
//! ```text
//!   mkdir(a)  fsync(parent of a)  mkdir(a/b)  fsync(a)      a directory outlives a power cut with its parent, also
//!             fsync(a)                                      if it is there: who made it may not have come that far
//!   pwrite64(N.segment.new)  fsync(N.segment.new)  rename  fsync(directory)
//!   pwrite64(N.segment)  fdatasync(N.segment)  write(stdout, "acknowledged")
//!   pwrite64(building)  fsync(building)  rename  fsync(snapshots)  unlink(the older one)  fsync(snapshots)  ftruncate(it)
//! ```
//!
//! The traced process is this very test program. Without strace, or where it may not trace, the test says so and ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use outrigger_log::{GroupId, Log, LogPosition, OpenOptions, PeerIdentity, RealDisk, Record, Snapshots};

/// Tells the traced process where its log is.
const DIRECTORY: &str = "OUTRIGGER_LOG_TRACED_DIRECTORY";
const FLUSHES: u64 = 3;

fn can_trace() -> bool {
    let mut trace = Command::new("strace");
    trace.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    trace.status().is_ok_and(|status| status.success())
}

/// The process that is traced; without a tracer it only shows that it works.
#[test]
fn a_log_is_made_written_and_refused_and_snapshots_are_built() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = std::env::var_os(DIRECTORY).map_or_else(|| scratch.path().join("made/now"), PathBuf::from);
    let options = OpenOptions { segment_bytes: 32 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
    let mut log = Log::open(RealDisk, &directory, options).unwrap();
    for first in 1..=FLUSHES {
        let payloads = [Bytes::from(format!("payload {first}"))];
        let run = Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false };
        log.append(GroupId(1), run).unwrap();
        log.flush().unwrap();
        // Past the capture of the test's output: the tracer must see it.
        std::io::stdout().write_all(format!("acknowledged {first}\n").as_bytes()).unwrap();
    }
    let snapshots = Snapshots::open(RealDisk, &directory, 7).unwrap();
    for index in 1..=2 {
        let mut build = snapshots.build(LogPosition { term: 1, index }, Bytes::from_static(b"head")).unwrap();
        // So much that its room is given back bit by bit.
        build.write_all(&vec![7; 5 << 20]).unwrap();
        build.finish().unwrap();
    }
    while has_nameless(&directory) {
        std::thread::yield_now();
    }
    log.refuse(2, PeerIdentity { incarnation: 1, start: 2, nonce: 3 }).unwrap();
    assert_eq!(log.reader().verify().unwrap(), FLUSHES);
}

/// Whether this process has a file of this directory open whose name was removed.
fn has_nameless(directory: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.any(|target| target.starts_with(directory) && target.to_string_lossy().ends_with(" (deleted)"))
}

/// The calls of the traced process that succeeded, in order, from the creation of the directory on.
fn trace(scratch: &Path, directory: &Path) -> Vec<String> {
    let output = scratch.join("trace");
    let mut traced = Command::new("strace");
    traced.args([
        "-f",
        "-y",
        "-s",
        "4096",
        "-e",
        "trace=mkdir,pwrite64,fsync,fdatasync,rename,unlink,ftruncate,write",
        "-o",
    ]);
    traced.arg(&output).arg(std::env::current_exe().unwrap());
    traced
        .args(["--exact", "a_log_is_made_written_and_refused_and_snapshots_are_built", "--nocapture"])
        .env(DIRECTORY, directory);
    let ended = traced.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(ended.success(), "the traced process failed: {ended}");
    let trace = std::fs::read_to_string(output).unwrap();
    let succeeded = |line: &&str| !line.contains(" = -1 ");
    trace.lines().filter(succeeded).map(ToOwned::to_owned).collect()
}

/// Finds the calls in this order, each behind the one before; panics at the first that is not there.
fn assert_in_order(calls: &[String], expected: &[(&str, &str)]) {
    let mut rest = calls.iter();
    for (call, about) in expected {
        let found = rest.any(|line| line.contains(&format!(" {call}(")) && line.contains(about));
        assert!(found, "no {call} of {about} where it must be, in:\n{}", calls.join("\n"));
    }
}

#[test]
fn every_sync_of_the_real_disk_reaches_the_kernel_before_what_relies_on_it() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace here");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (made, directory) = (scratch.path().join("made"), scratch.path().join("made/now"));
    let calls = trace(scratch.path(), &directory);
    let descriptor = |path: &Path| format!("<{}>", path.display());
    let named = |path: &Path| format!("\"{}\"", path.display());
    let (above, made_synced, here) = (descriptor(scratch.path()), descriptor(&made), descriptor(&directory));
    let (make_made, make_now) = (named(&made), named(&directory));
    assert_in_order(&calls, &[("mkdir", &make_made), ("fsync", &above), ("mkdir", &make_now), ("fsync", &made_synced)]);
    for name in ["identity", "00000000000000000001.segment", "refused"] {
        let (new, target) = (directory.join(format!("{name}.new")), named(&directory.join(name)));
        let new = descriptor(&new);
        assert_in_order(&calls, &[("pwrite64", &new), ("fsync", &new), ("rename", &target), ("fsync", &here)]);
    }
    let snapshots = directory.join("snapshots");
    let (building, here) = (descriptor(&snapshots.join("building")), descriptor(&snapshots));
    let name = |index| named(&snapshots.join(format!("snapshot-{index:020}-{:020}", 1)));
    let (older, newer) = (name(1), name(2));
    // The second, whose calls are those behind the first one's end.
    let first = calls.iter().position(|line| line.contains(" rename(") && line.contains(&older)).unwrap();
    let built = [("pwrite64", &building[..]), ("fsync", &building), ("rename", &newer), ("fsync", &here)];
    let replaced = [("unlink", &older[..]), ("fsync", &here), ("ftruncate", older.trim_matches('"'))];
    assert_in_order(&calls[first + 1..], &[&built[..], &replaced].concat());
    let segment = descriptor(&directory.join("00000000000000000001.segment"));
    for flush in 1..=FLUSHES {
        // Between the write of a payload and the word that it is durable there is a sync of that very file.
        let (payload, word) = (format!("payload {flush}"), format!("acknowledged {flush}"));
        let written = calls.iter().position(|line| line.contains(" pwrite64(") && line.contains(&payload)).unwrap();
        let told = calls.iter().position(|line| line.contains(" write(") && line.contains(&word)).unwrap();
        let between = calls.get(written..told).unwrap_or_default();
        assert_in_order(between, &[("pwrite64", &segment), ("fdatasync", &segment)]);
    }
}

/// Found by reading: a start that died between the two left a directory whose name no later start synced.
#[test]
fn the_name_of_a_directory_that_is_there_is_synced_before_anything_in_it_counts() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace here");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (made, directory) = (scratch.path().join("made"), scratch.path().join("made/now"));
    std::fs::create_dir_all(&directory).unwrap();
    let calls = trace(scratch.path(), &directory);
    let (above, identity) = (format!("<{}>", made.display()), format!("\"{}\"", directory.join("identity").display()));
    assert_in_order(&calls, &[("fsync", &above), ("rename", &identity)]);
    assert!(!calls.iter().any(|call| call.contains("mkdir(") && call.contains("made/now\"")), "it was there");
}
