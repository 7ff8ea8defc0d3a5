//! The demonstration: what it prints, and that it leaves nothing behind however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Ran, binary, complete, run, signal, wait_until};

/// A place for temporary files that only one test uses.
fn ground() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn demo(ground: &TempDir, arguments: &[&str]) -> Ran {
    complete(binary().env("TMPDIR", ground.path()).arg("demo").args(arguments))
}

/// The processes whose command line names a path: their ids, and that line.
fn commands_in(path: &Path) -> Vec<(u32, String)> {
    let path = path.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = processes.filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        Some((process.file_name().to_str()?.parse().ok()?, String::from_utf8_lossy(&line).into_owned()))
    });
    commands.filter(|(_, line)| line.contains(&path)).collect()
}

fn processes_in(path: &Path) -> Vec<String> {
    commands_in(path).into_iter().map(|(_, line)| line).collect()
}

#[track_caller]
fn assert_nothing_left(ground: &TempDir) {
    assert_eq!(processes_in(ground.path()), [""; 0]);
    let files: Vec<_> = fs::read_dir(ground.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "{files:?}");
}

/// Kills processes unless they are known to be gone: also when this test is killed, for then its end of the pipe closes.
struct Reaper(Child);

impl Reaper {
    fn new(pids: &str) -> Self {
        let script = format!("read -r _ || kill -9 {pids}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// The processes are gone: their ids may belong to others by now.
    fn dismiss(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // Waiting closes the pipe, if it is still there.
        let _ = self.0.wait();
    }
}

/// A demonstration under way.
struct Demo {
    child: Child,
    stderr: BufReader<ChildStderr>,
    reaper: Reaper,
}

/// A demonstration in the middle of writing far more than it will get to.
fn in_the_middle(ground: &TempDir) -> Demo {
    let mut command = binary();
    command.env("TMPDIR", ground.path()).args(["demo", "--writes", "50000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reaper = Reaper::new(&child.id().to_string());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("leads in term") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before a node led");
    }
    assert_eq!(processes_in(ground.path()).len(), 3);
    Demo { child, stderr, reaper }
}

#[test]
fn it_ends_with_its_account_and_leaves_nothing() {
    let ground = ground();
    let ran = demo(&ground, &["--writes", "400"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let last = ran.stdout.lines().last().unwrap();
    let millis = last.strip_prefix("acknowledged 400, lost 0, failover ").and_then(|rest| rest.strip_suffix(" ms"));
    let millis: u64 = millis.unwrap_or_else(|| panic!("the last line is `{last}`")).parse().unwrap();
    // Followers wait for at least the shortest election timeout before they stand.
    assert!(millis >= 100, "{last}");
    let hashes: Vec<&str> =
        ran.stdout.lines().skip(1).take(3).map(|row| row.split_whitespace().last().unwrap()).collect();
    assert!(hashes.iter().all(|hash| hash.len() == 16 && *hash == hashes[0]), "{}", ran.stdout);
    assert!(ran.stderr.contains("400/400 writes"), "{}", ran.stderr);
    assert_nothing_left(&ground);
}

#[test]
fn a_single_write_is_enough_and_five_nodes_are_possible() {
    let ground = ground();
    let ran = demo(&ground, &["--writes", "1", "--nodes", "5"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.lines().last().unwrap().starts_with("acknowledged 1, lost 0, failover "), "{ran:?}");
    assert_nothing_left(&ground);
}

#[test]
fn signals_end_it_and_leave_nothing() {
    for name in ["INT", "TERM", "HUP"] {
        let ground = ground();
        let mut demo = in_the_middle(&ground);
        signal(name, demo.child.id());
        let mut rest = String::new();
        demo.stderr.read_to_string(&mut rest).unwrap();
        let status = demo.child.wait().unwrap();
        demo.reaper.dismiss();
        assert_eq!(status.code(), Some(130), "{name}: {rest}");
        assert_nothing_left(&ground);
    }
}

#[test]
fn its_nodes_notice_when_it_is_killed() {
    let ground = ground();
    let mut demo = in_the_middle(&ground);
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    demo.reaper.dismiss();
    wait_until("the nodes are gone", || processes_in(ground.path()).is_empty());
    assert_eq!(fs::read_dir(ground.path()).unwrap().count(), 1, "nobody could remove its directory");
    // The next one does.
    assert_eq!(self::demo(&ground, &["--writes", "1"]).code, Some(0));
    assert_nothing_left(&ground);
}

#[test]
fn a_directory_of_ones_own_is_used_and_put_back() {
    let ground = ground();
    let dir = ground.path().join("cluster");
    let dir = dir.to_str().unwrap();
    assert_eq!(demo(&ground, &["--writes", "10", "--dir", dir]).code, Some(0));
    assert_nothing_left(&ground);

    fs::create_dir(dir).unwrap();
    fs::write(ground.path().join("cluster/precious"), "x").unwrap();
    let refused = demo(&ground, &["--writes", "10", "--dir", dir]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(dir) && refused.stderr.contains("not empty"), "{refused:?}");
    assert_eq!(fs::read_to_string(ground.path().join("cluster/precious")).unwrap(), "x");
}

#[test]
fn a_kept_cluster_serves_on_and_says_how_to_use_and_end_it() {
    let ground = ground();
    let ran = demo(&ground, &["--writes", "20", "--keep"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.lines().last().unwrap().starts_with("acknowledged 20, lost 0, failover "), "{ran:?}");
    let after = |head: &str| ran.stdout.split_once(head).unwrap().1.lines().next().unwrap();
    let ending = after("  kill ");
    let reaper = Reaper::new(ending.split_once(" &&").unwrap().0);
    let endpoints = after("OUTRIGGER_ENDPOINTS=");
    let status = run(["status", "--endpoints", endpoints]);
    assert!(status.code == Some(0) && status.stdout.contains("leader"), "{status:?}");
    assert_eq!(run(["get", "--endpoints", endpoints, "demo/000000019"]).stdout, "value of write 19\n");

    let root = after(" && rmdir ").to_owned();
    for node in 1..=3 {
        let logged = fs::read_to_string(format!("{root}/node-{node}.log")).unwrap();
        assert!(!logged.contains("stopping"), "the leader was asked to stop instead of killed:\n{logged}");
    }
    let ended = Command::new("sh").args(["-c", &format!("kill {ending}")]).status().unwrap();
    assert!(ended.success());
    wait_until("the nodes are gone", || processes_in(ground.path()).is_empty());
    assert!(!Path::new(&root).exists(), "something of it is left");
    reaper.dismiss();
}

/// Found by reading: it said to remove a directory that was not its own, and not so that a shell would take it for one word.
#[test]
fn what_ends_a_kept_cluster_removes_nothing_but_it() {
    let ground = ground();
    let outer = ground.path().join("my data; it's");
    fs::create_dir(&outer).unwrap();
    let ran = demo(&ground, &["--writes", "20", "--keep", "--dir", outer.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ending = ran.stdout.split_once("  kill ").unwrap().1.lines().next().unwrap();
    let reaper = Reaper::new(ending.split_once(" &&").unwrap().0);
    fs::write(outer.join("precious"), "x").unwrap();
    let ended = Command::new("sh").args(["-c", &format!("kill {ending}")]).status().unwrap();
    assert!(ended.success(), "{ending}");
    wait_until("the nodes are gone", || processes_in(ground.path()).is_empty());
    let left: Vec<_> = fs::read_dir(&outer).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["precious"], "{ending}");
    reaper.dismiss();
}

#[test]
fn chaos_ends_with_the_same_account_and_leaves_nothing() {
    let ground = ground();
    let ran = demo(&ground, &["--chaos", "--for", "8s", "--seed", "7"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("acknowledged ") && last.contains(", lost 0, failover "), "{last}");
    let times = |trouble: &str| -> u64 {
        let row = ran.stdout.lines().find_map(|line| line.strip_prefix(trouble));
        row.unwrap_or_else(|| panic!("no {trouble}")).split_whitespace().next().unwrap().parse().unwrap()
    };
    let others = ["node killed", "node paused", "member added", "member removed", "leadership moved", "snapshot taken"];
    assert!(times("leader killed") >= 1 && others.into_iter().map(times).sum::<u64>() >= 2, "{}", ran.stdout);
    let states = ran.stdout.lines().skip_while(|line| !line.starts_with("node  role ")).skip(1);
    let hashes: Vec<&str> = states.map_while(|row| row.split_whitespace().last()).collect();
    assert!(hashes.len() >= 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{}", ran.stdout);
    assert!(ran.stderr.contains("8s of chaos from seed 7"), "{}", ran.stderr);
    assert_nothing_left(&ground);
}

/// Chaos without end, as far as this word of it.
fn in_chaos(ground: &TempDir, seed: &str, word: &str) -> (Child, Reaper, BufReader<ChildStderr>) {
    let mut command = binary();
    command.env("TMPDIR", ground.path()).args(["demo", "--chaos", "--for", "1h", "--seed", seed]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reaper = Reaper::new(&child.id().to_string());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it said {word:?}");
    }
    (child, reaper, stderr)
}

#[test]
fn chaos_can_be_interrupted_with_nodes_paused_or_away() {
    let ground = ground();
    let (mut child, reaper, mut stderr) = in_chaos(&ground, "3", "paused");
    signal("INT", child.id());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    reaper.dismiss();
    assert_eq!(status.code(), Some(130), "{rest}");
    assert_nothing_left(&ground);
}

/// Found by reading: it was killed once more, started again, and the account was as good as ever.
#[test]
fn chaos_fails_when_a_node_stops_by_itself() {
    let ground = ground();
    let (mut child, reaper, mut stderr) = in_chaos(&ground, "5", "of chaos from seed");
    let mut next = Instant::now();
    wait_until("it ends", || {
        // What it kills itself in the same moment does not count: then another one must stop.
        if Instant::now() >= next {
            if let Some((node, _)) = commands_in(ground.path()).first() {
                // It may be gone by now.
                let _ = Command::new("sh").args(["-c", &format!("kill -KILL {node}")]).status().unwrap();
            }
            next += Duration::from_secs(5);
        }
        child.try_wait().unwrap().is_some()
    });
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    reaper.dismiss();
    assert_eq!(status.code(), Some(1), "{rest}");
    assert!(rest.contains("has stopped by itself: signal: 9"), "{rest}");
    assert_nothing_left(&ground);
}

#[test]
fn what_makes_no_sense_with_or_without_chaos_is_refused() {
    for wrong in [
        &["--chaos", "--for", "0s"][..],
        &["--chaos", "--for", "25h"],
        &["--chaos", "--for", "soon"],
        &["--chaos", "--writes", "5"],
        &["--seed", "7"],
        &["--for", "5s"],
    ] {
        let ground = ground();
        let refused = demo(&ground, wrong);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("--help"), "{refused:?}");
        assert_nothing_left(&ground);
    }
}
