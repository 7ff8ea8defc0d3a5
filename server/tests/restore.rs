//! A snapshot out of a running cluster into a file, and a new cluster from the file, with real processes.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outrigger_server::store::{Command, Store};
use serde_json::Value;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, PATIENCE, Ran, binary, complete, run, signal, wait_until};

fn put(cluster: &Cluster, range: std::ops::Range<u32>) {
    for number in range {
        cluster.done(&["put", &format!("key-{number}"), &number.to_string()]);
    }
}

fn object(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Saves a snapshot beside the directories of a cluster's nodes.
fn save(cluster: &Cluster) -> PathBuf {
    let file = cluster.dir.path().join("saved");
    cluster.done(&["snapshot", "save", file.to_str().unwrap()]);
    file
}

/// The flags of a node that also `snapshot restore` has.
fn restore_arguments(node: &Node) -> Vec<String> {
    let flags = ["--id", "--data-dir", "--initial-cluster"];
    let pairs = node.arguments.chunks(2).filter(|pair| flags.contains(&pair[0].as_str()));
    pairs.flatten().cloned().collect()
}

fn restore(file: &std::path::Path, node: &Node) -> Ran {
    complete(binary().args(["snapshot", "restore"]).arg(file).args(restore_arguments(node)))
}

/// Restores the file on every node of a cluster that has not begun, and starts them.
fn begin(file: &std::path::Path, cluster: &mut Cluster) {
    for node in &cluster.nodes {
        let ran = restore(file, node);
        assert!(ran.code == Some(0) && ran.stdout.starts_with("restored: up to index "), "{ran:?}");
    }
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.nodes.iter_mut().for_each(|node| assert!(!node.ready().is_empty()));
}

#[test]
fn what_is_saved_under_load_is_restored_into_a_new_cluster_that_goes_on() {
    // Snapshots come and go all along, also while one is saved.
    let old = Cluster::started_with(3, &["--snapshot-entries", "20", "--snapshot-keep-entries", "0"]);
    put(&old, 0..30);
    // Larger than one piece.
    let large = "x".repeat(90_000);
    for number in 0..30 {
        old.done(&["put", &format!("large-{number}"), &large]);
    }
    let stop = AtomicBool::new(false);
    let file = old.dir.path().join("saved");
    let saved = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                old.done(&["put", "counter", &written.to_string()]);
                written += 1;
            }
            written
        });
        let mut saved = Value::Null;
        for _ in 0..5 {
            saved = object(&old.run(&["snapshot", "save", file.to_str().unwrap(), "--output", "json"]));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(load.join().unwrap() > 0);
        saved
    });
    let names: Vec<_> = fs::read_dir(old.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("partial")), "{names:?}");
    assert!(saved["bytes"].as_u64().unwrap() > 2 << 20, "{saved}");

    let mut new = Cluster::new(3);
    begin(&file, &mut new);
    for number in 0..30 {
        assert_eq!(new.done(&["get", &format!("key-{number}")]), format!("{number}\n"));
    }
    assert_eq!(new.done(&["get", "large-29"]).len(), large.len() + 1);
    new.done(&["put", "city", "Oslo"]);
    let index = saved["index"].as_u64().unwrap();
    wait_until("all have the same, behind what was restored", || {
        let rows = new.status();
        rows.iter().all(|row| row["state_hash"] == rows[0]["state_hash"] && row["applied"].as_u64() > Some(index))
    });
    let members = new.done(&["member", "list"]);
    assert!(members.contains(&new.nodes[2].peer_address()), "{members}");
    for node in &mut new.nodes {
        node.kill();
        node.start();
    }
    assert_eq!(new.done(&["get", "city"]), "Oslo\n");
    assert_eq!(old.run(&["get", "city"]).code, Some(1), "the old cluster knows nothing of it");
}

#[test]
fn a_saved_file_holds_all_that_was_acknowledged_before_whoever_is_asked() {
    let old = Cluster::started(3);
    let file = old.dir.path().join("saved");
    for number in 0..6 {
        old.done(&["put", "number", &number.to_string()]);
        let asked = old.nodes[number % 3].endpoint();
        let ran = run(["--endpoints", &asked, "snapshot", "save", file.to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut new = Cluster::new(1);
        begin(&file, &mut new);
        assert_eq!(new.done(&["get", "number"]), format!("{number}\n"));
    }
}

#[test]
fn members_of_the_old_cluster_are_not_let_into_the_new_one() {
    let mut old = Cluster::started(3);
    put(&old, 0..3);
    let file = save(&old);
    // The new cluster has the very addresses and ids of the old one, of which one node is left.
    old.nodes.iter_mut().for_each(Node::kill);
    for place in [0, 1] {
        fs::remove_dir_all(&old.nodes[place].data_dir).unwrap();
        assert_eq!(restore(&file, &old.nodes[place]).code, Some(0));
    }
    for place in 0..3 {
        old.nodes[place].start();
    }
    old.done(&["put", "city", "Oslo"]);
    wait_until("they refuse each other by what their clusters are known by", || {
        old.nodes[2]
            .logged()
            .contains("from the same snapshot file; if this is a node of another cluster of the same name")
    });
    let rows = old.status();
    assert!(
        rows[0]["last_index"] == rows[1]["last_index"] && rows[2]["last_index"] != rows[0]["last_index"],
        "{rows:?}"
    );
    assert!(old.nodes[2].is_running(), "nothing has happened to it");
}

#[test]
fn a_lone_survivor_is_saved_locally_and_not_otherwise() {
    let mut old = Cluster::started(3);
    put(&old, 0..3);
    wait_until("all have it", || {
        let rows = old.status();
        rows.iter().all(|row| row["state_hash"] == rows[0]["state_hash"])
    });
    old.nodes[0].kill();
    old.nodes[1].kill();
    let (file, endpoint) = (old.dir.path().join("saved"), old.nodes[2].endpoint());
    let arguments = ["--endpoints", &endpoint, "--timeout", "2s", "snapshot", "save", file.to_str().unwrap()];
    let ran = run(arguments);
    assert!(ran.code == Some(3) && !file.exists(), "{ran:?}");
    let ran = run(arguments.iter().chain(&["--local"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut new = Cluster::new(3);
    begin(&file, &mut new);
    assert_eq!(new.done(&["get", "key-2"]), "2\n");
}

#[test]
fn a_transfer_that_breaks_leaves_what_was_there() {
    let mut old = Cluster::started(1);
    let large = "x".repeat(90_000);
    for number in 0..40 {
        old.done(&["put", &format!("large-{number}"), &large]);
    }
    let file = old.dir.path().join("saved");
    fs::write(&file, "what was there").unwrap();
    let mut child = binary()
        .args(["--endpoints", &old.nodes[0].endpoint(), "--timeout", "3s", "snapshot", "save"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = old.dir.path().join("saved.partial");
    wait_until("a part has come, or all", || partial.exists() || child.try_wait().unwrap().is_some());
    old.nodes[0].kill();
    let code = child.wait().unwrap().code();
    // It may have been faster.
    match code {
        Some(0) => assert!(fs::read(&file).unwrap().starts_with(b"OUTRSNAP")),
        code => {
            assert_eq!(code, Some(3));
            assert_eq!(fs::read(&file).unwrap(), b"what was there");
        }
    }
    assert!(!partial.exists());
    let nowhere = old.dir.path().join("gone").join("saved");
    old.nodes[0].start();
    let ran = old.run(&["snapshot", "save", nowhere.to_str().unwrap()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is no directory, or not there"), "{ran:?}");
}

#[test]
fn a_restore_that_is_killed_anywhere_can_be_done_again_and_is_never_started_from() {
    let old = Cluster::started(1);
    let large = "x".repeat(90_000);
    for number in 0..60 {
        old.done(&["put", &format!("large-{number}"), &large]);
    }
    old.done(&["put", "city", "Oslo"]);
    let file = save(&old);
    let mut interrupted = 0;
    for delay in 0..24 {
        let mut new = Cluster::new(1);
        let node = &mut new.nodes[0];
        let mut child =
            binary().args(["snapshot", "restore"]).arg(&file).args(restore_arguments(node)).spawn().unwrap();
        if delay % 2 == 0 {
            let mark = node.data_dir.join("restore.new");
            // Without a pause between two looks: it is to be killed at once, while it has most to do.
            let began = Instant::now();
            while !mark.exists() && child.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < PATIENCE, "it has neither begun nor ended within {PATIENCE:?}");
                std::thread::yield_now();
            }
        }
        std::thread::sleep(Duration::from_millis(delay / 2));
        let _ = child.kill();
        let done = child.wait().unwrap().success();
        if !done && node.data_dir.join("restore.new").exists() && !node.data_dir.join("identity").exists() {
            interrupted += 1;
            node.spawn();
            assert_eq!(node.exited().code(), Some(1));
            assert!(node.logged().contains("has not finished: run it again"), "{}", node.logged());
        }
        let ran = restore(&file, node);
        let is_complete = ran.code == Some(1) && ran.stderr.contains("is not empty");
        assert!(ran.code == Some(0) || (!interrupted_only(node) && is_complete), "{ran:?}");
        node.start();
        assert_eq!(new.done(&["get", "city"]), "Oslo\n");
    }
    assert!(interrupted > 0, "no restore was ever killed on the way");
}

/// Whether there is a mark of a restore, and nothing that makes the directory one of a node.
fn interrupted_only(node: &Node) -> bool {
    node.data_dir.join("restore.new").exists() && !node.data_dir.join("identity").exists()
}

#[test]
fn what_cannot_be_restored_is_refused_and_each_error_has_its_code() {
    let old = Cluster::started(1);
    put(&old, 0..3);
    let file = save(&old);
    let new = Cluster::new(1);
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], part: &str| {
        let rotten = old.dir.path().join("rotten");
        fs::write(&rotten, bytes).unwrap();
        let ran = restore(&rotten, &new.nodes[0]);
        assert!(ran.code == Some(1) && ran.stderr.contains(part), "{part}: {ran:?}");
        assert!(!new.nodes[0].data_dir.exists(), "{part}");
    };
    let mut rotten = whole.clone();
    rotten[whole.len() - 60] ^= 1;
    refused(&rotten, "at offset ");
    let cut = whole.len() - 1;
    let lengths = format!("{cut} bytes are there, {} were written", whole.len());
    let advice = "copy it again from where it is whole, or save another one";
    refused(&whole[..cut], &format!("at offset {cut}, its length is not what its header says: {lengths}; {advice}"));
    refused(b"%PDF-1.7 and so on", "at offset 0, this is no snapshot");

    let ran = restore(&file, &old.nodes[0]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not empty"), "{ran:?}");
    old.done(&["get", "key-2"]);
    // Nobody is asked: nobody is there.
    let (nobody, directory) =
        (format!("127.0.0.1:{}", harness::free_port()), old.dir.path().to_str().unwrap().to_owned());
    let ran = run(["--endpoints", &nobody, "snapshot", "save", &directory]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is a directory; name a file in it"), "{ran:?}");
    for arguments in [
        &["snapshot", "save"][..],
        &["snapshot", "save", "x"],
        &["snapshot", "restore", "x"],
        &["snapshot", "restore", "x", "--id", "2", "--data-dir", "y", "--initial-cluster", "1=127.0.0.1:7101"],
        &["snapshot", "--output", "json", "save", "x"],
    ] {
        assert_eq!(run(arguments).code, Some(2), "{arguments:?}");
    }
    for verb in ["save", "restore"] {
        let help = run(["snapshot", verb, "--help"]).stdout;
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
}

/// Found by reading: it was found when the snapshot had been taken already.
#[test]
fn a_file_that_can_be_nowhere_is_refused_before_a_snapshot_is_taken() {
    let cluster = Cluster::started(1);
    cluster.done(&["put", "city", "Oslo"]);
    let file = cluster.dir.path().join("nowhere").join("a.snapshot");
    let ran = cluster.run(&["snapshot", "save", file.to_str().unwrap()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("nowhere is no directory, or not there"), "{ran:?}");
    assert_eq!(cluster.status()[0]["snapshot"], 0);
}

/// Found by reading: what had come was left behind.
#[test]
fn a_save_that_is_interrupted_leaves_nothing() {
    let cluster = Cluster::started(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(outrigger::Client::<Store>::connect(cluster.endpoints())).unwrap();
    for number in 0..64 {
        let value = vec![u8::try_from(number).unwrap(); 1 << 20].into();
        let command = Command::Put { key: format!("key-{number}").into(), value };
        runtime.block_on(client.write(command)).unwrap().unwrap();
    }
    let (file, partial) = (cluster.dir.path().join("a"), cluster.dir.path().join("a.partial"));
    let mut command = binary();
    command.args(["--endpoints", &cluster.endpoints()[0], "snapshot", "save", file.to_str().unwrap()]);
    let mut save = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !partial.exists() {
        assert!(save.try_wait().unwrap().is_none(), "it has ended");
        std::hint::spin_loop();
    }
    // From now on nothing comes.
    signal("STOP", cluster.nodes[0].pid());
    assert!(partial.exists(), "it was done before it could be interrupted");
    signal("INT", save.id());
    let ended = save.wait_with_output().unwrap();
    signal("CONT", cluster.nodes[0].pid());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(130) && said.contains("is not saved: interrupted"), "{said}");
    assert!(!file.exists() && !partial.exists(), "something is left");
}
