//! A process that is killed between any two lines, over and over.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::kept::{start, state};

/// Where the process that is killed finds its node; only that one has it.
const DIRECTORY: &str = "OUTRIGGER_TEST_KEPT";

/// What the process does that is killed: adds one number after the other, and says which are acknowledged. Every tenth time it
/// takes a snapshot, without waiting for it.
async fn add_for_ever(directory: &Path) {
    let node = start(directory).await;
    let session = node.session().await.unwrap();
    let first = node.read(|kept| kept.added.last().map_or(0, |last| last + 1)).await.unwrap();
    for number in first.. {
        session.write(number).await.unwrap();
        println!("added {number}");
        if number % 10 == 0 {
            let node = node.clone();
            tokio::spawn(async move { node.snapshot().await });
        }
    }
}

fn spawn(directory: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::what_is_acknowledged_is_there_once_after_a_kill", "--nocapture"]);
    child.env(DIRECTORY, directory).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_is_acknowledged_is_there_once_after_a_kill() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return runtime.block_on(add_for_ever(&PathBuf::from(directory)));
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let mut child = spawn(directory.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledged = lines.filter_map(|line| line.strip_prefix("added ")?.parse::<u64>().ok());
        let last = acknowledged.take(7 * round).last().expect("it adds numbers until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        let held = state(directory.path()).added;
        runtime.block_on(async {
            let node = start(directory.path()).await;
            let added = node.read(|kept| kept.added.clone()).await.unwrap();
            assert!(added.starts_with(&held), "a start takes nothing back, and applies nothing again");
            assert_eq!(added, (0..added.len() as u64).collect::<Vec<_>>(), "each once, in their order");
            assert!(added.len() as u64 > last, "{last} was acknowledged before the kill in round {round}");
            node.shutdown().await.unwrap();
        });
    }
}
