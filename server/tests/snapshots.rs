//! Snapshots by the command line: taken when asked for, shown by the status, and sent to a node that lacks the log.

use serde_json::{Value, json};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, free_port, run, wait_until};

/// No snapshot but those that a test asks for, and nothing that one covers stays.
const BY_HAND: [&str; 4] = ["--snapshot-bytes", "0", "--snapshot-keep-entries", "0"];

#[track_caller]
fn rows(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn put(cluster: &Cluster, range: std::ops::Range<u32>) {
    for number in range {
        cluster.done(&["put", &format!("key-{number}"), &number.to_string()]);
    }
}

#[test]
fn every_endpoint_takes_a_snapshot_and_the_status_shows_it() {
    let cluster = Cluster::started_with(3, &BY_HAND);
    put(&cluster, 0..5);
    let before = cluster.status();
    assert!(before.iter().all(|row| row["snapshot"] == json!(0) && row["purged"] == json!(0)), "{before:?}");
    wait_until("all have applied the same", || {
        let rows = cluster.status();
        rows.iter().all(|row| row["applied"] == rows[0]["last_index"])
    });
    let last = cluster.status()[0]["last_index"].clone();
    let taken = rows(&cluster.done(&["snapshot", "--output", "json"]));
    for (row, node) in taken.iter().zip(&cluster.nodes) {
        let Value::Object(fields) = row else { panic!("{row}") };
        assert_eq!(fields.len(), 5, "{row}");
        assert_eq!((&row["node"], &row["endpoint"]), (&json!(node.id), &json!(node.endpoint())));
        assert_eq!((&row["index"], &row["error"]), (&last, &Value::Null), "{row}");
    }
    wait_until("the status shows what was taken and purged", || {
        cluster.status().iter().all(|row| row["snapshot"] == last && row["purged"] == last)
    });
    let table = cluster.done(&["snapshot"]);
    assert!(table.lines().count() == 4 && table.contains(&format!("/{last}")), "{table}");
    assert!(cluster.done(&["status"]).contains("snapshot"));
}

#[test]
fn the_logs_let_go_of_what_snapshots_cover_when_they_are_told_to() {
    let cluster = Cluster::started_with(3, &["--snapshot-bytes", "0", "--snapshot-keep-entries", "1000000"]);
    put(&cluster, 0..9);
    wait_until("all have applied the same", || {
        let rows = cluster.status();
        rows.iter().all(|row| row["applied"] == rows[0]["last_index"])
    });
    let last = cluster.status()[0]["last_index"].as_u64().unwrap();
    let purged = |rows: &[Value]| rows.iter().map(|row| row["purged"].as_u64().unwrap()).collect::<Vec<_>>();
    let table = cluster.done(&["snapshot", "purge"]);
    assert!(table.contains("log behind") && table.contains("0/0"), "nothing is covered yet: {table}");
    cluster.done(&["snapshot"]);
    assert_eq!(purged(&cluster.status()), [0; 3]);
    for keep in [4, 0] {
        let told = rows(&cluster.done(&["snapshot", "purge", "--keep-entries", &keep.to_string(), "--output", "json"]));
        assert!(told.iter().all(|row| row["index"] == last - keep && row["error"].is_null()), "{told:?}");
        wait_until("the status shows it", || purged(&cluster.status()) == [last - keep; 3]);
    }
    assert_eq!(cluster.done(&["get", "key-3"]), "3\n");
    let help = run(["snapshot", "purge", "--help"]);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{help:?}");
}

#[test]
fn a_node_that_was_away_too_long_for_the_log_gets_the_snapshot() {
    let mut cluster = Cluster::started_with(3, &BY_HAND);
    put(&cluster, 0..3);
    let away = (cluster.leader() + 1) % 3;
    cluster.nodes[away].kill();
    put(&cluster, 3..10);
    let others: Vec<String> = cluster.nodes.iter().filter(|node| node.is_running()).map(Node::endpoint).collect();
    let ran = run(["--endpoints", &others.join(","), "snapshot"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    cluster.nodes[away].start();
    wait_until("it has what the others have", || {
        let rows = cluster.status();
        rows.iter().all(|row| row["state_hash"] == rows[0]["state_hash"] && row["error"].is_null())
    });
    assert!(cluster.status()[away]["purged"].as_u64().unwrap() > 3);
    assert!(cluster.nodes[away].logged().contains("a snapshot has come from another node"));
}

#[test]
fn a_snapshot_is_taken_by_the_setting_and_a_restart_begins_with_it() {
    let mut cluster = Cluster::started_with(1, &["--snapshot-entries", "10", "--snapshot-keep-entries", "2"]);
    put(&cluster, 0..25);
    wait_until("snapshots are taken", || cluster.status()[0]["snapshot"].as_u64() >= Some(20));
    let purged = cluster.status()[0]["purged"].as_u64().unwrap();
    assert!(purged >= 10, "{purged}");
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    for number in 0..25 {
        assert_eq!(cluster.done(&["get", &format!("key-{number}")]), format!("{number}\n"));
    }
}

#[test]
fn each_error_has_its_code() {
    let mut cluster = Cluster::new(3);
    cluster.nodes[0].start();
    // Alone of three it has nothing that is committed.
    let ran = run(["--endpoints", &cluster.nodes[0].endpoint(), "snapshot"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("nothing is committed yet"), "{ran:?}");

    cluster.nodes[1].start();
    cluster.done(&["put", "city", "Oslo"]);
    let gone = format!("127.0.0.1:{}", free_port());
    let endpoints = format!("{},{gone}", cluster.nodes[0].endpoint());
    wait_until("it knows what is committed", || cluster.status()[0]["committed"].as_u64() > Some(0));
    let ran = run(["--endpoints", &endpoints, "--timeout", "2s", "snapshot", "--output", "json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let taken = rows(&ran.stdout);
    assert!(taken[0]["error"].is_null() && taken[0]["index"].is_u64(), "one of them has taken it: {ran:?}");
    assert!(taken[1]["node"].is_null() && taken[1]["index"].is_null() && taken[1]["error"].is_string(), "{ran:?}");

    assert_eq!(run(["snapshot"]).code, Some(2));
    let help = run(["snapshot", "--help"]);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{help:?}");
}
