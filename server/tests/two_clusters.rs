//! Two clusters of the same name, whose operator mixes up their nodes, with real processes: a node that was started with `--join`
//! is of the cluster that added it, and of no other.

use serde_json::Value;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Ran, run, wait_until};

/// Nodes 1 to 3; the last two were started to join, and then added.
fn grown() -> Cluster {
    let mut cluster = Cluster::started(1);
    for _ in 0..2 {
        let (id, address) = {
            let node = cluster.join();
            (node.id, node.peer_address())
        };
        cluster.done(&["member", "add", &format!("{id}={address}")]);
    }
    cluster.done(&["put", "precious", "gold"]);
    cluster
}

/// One node that has seen more terms and entries than the other cluster.
fn older(arguments: &[&str]) -> Cluster {
    let mut cluster = Cluster::started_with(1, arguments);
    write_much(&cluster);
    raise_term(&mut cluster);
    cluster
}

/// More entries than any other cluster here has.
fn write_much(cluster: &Cluster) {
    for number in 0..60 {
        cluster.done(&["put", "number", &number.to_string()]);
    }
}

/// The only node is elected again and again, and then writes what would take the place of what the other cluster holds.
fn raise_term(cluster: &mut Cluster) {
    for _ in 0..5 {
        cluster.nodes[0].kill();
        cluster.nodes[0].start();
        cluster.leader();
    }
    cluster.done(&["put", "precious", "lead"]);
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

fn add(to: &Cluster, of: &Cluster) -> Ran {
    let places: Vec<String> = of.nodes[1..].iter().map(|node| format!("{}={}", node.id, node.peer_address())).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    to.run(&[&["--timeout", "3s", "member", "add"], &places[..]].concat())
}

/// The other cluster adds two voters of this one to itself, so that it would have to be believed by a majority of this one.
fn tries_to_take_over(other: &Cluster, own: &mut Cluster) {
    let term = |cluster: &Cluster, place: usize| number(&cluster.status()[place], "term");
    let before = term(own, 1);
    assert!(term(other, 0) > before, "else its leader would not be heard for its term");
    let ran = add(other, own);
    assert!(ran.code == Some(3) && ran.stderr.contains("did not catch up"), "{ran:?}");
    wait_until("it is told why", || other.nodes[0].logged().contains("the cluster began otherwise"));
    for place in [1, 2] {
        assert_eq!(term(own, place), before, "{}", own.nodes[place].logged());
    }
    for node in &own.nodes {
        let asked = ["--endpoints", &node.endpoint(), "get", "precious"];
        assert_eq!(run(asked).stdout, "gold\n", "asked of node {}", node.id);
    }
    own.done(&["put", "more", "silver"]);
    // The lives after the first one know it by their logs.
    for place in [1, 2] {
        own.nodes[place].kill();
        own.nodes[place].start();
    }
    assert_eq!(own.done(&["get", "precious"]), "gold\n");
    assert_eq!(own.done(&["get", "more"]), "silver\n");
}

#[test]
fn who_joined_one_cluster_is_not_taken_over_by_another_one_that_brings_it_a_snapshot() {
    let other = older(&["--snapshot-entries", "20", "--snapshot-keep-entries", "0"]);
    wait_until("its log has no beginning", || number(&other.status()[0], "purged") > 20);
    tries_to_take_over(&other, &mut grown());
}

#[test]
fn who_joined_one_cluster_is_not_taken_over_by_another_one_that_brings_it_its_log() {
    tries_to_take_over(&older(&[]), &mut grown());
}

#[test]
fn who_joined_one_cluster_is_not_taken_over_by_one_that_began_from_its_snapshot() {
    let mut own = grown();
    let file = own.dir.path().join("saved");
    own.done(&["snapshot", "save", file.to_str().unwrap()]);
    let mut other = Cluster::new(1);
    let flags = ["--id", "--data-dir", "--initial-cluster"];
    let pairs = other.nodes[0].arguments.chunks(2).filter(|pair| flags.contains(&pair[0].as_str()));
    let arguments: Vec<&str> = pairs.flatten().map(String::as_str).collect();
    let restored = run(["snapshot", "restore", file.to_str().unwrap()].iter().chain(&arguments));
    assert_eq!(restored.code, Some(0), "{restored:?}");
    for _ in 0..5 {
        other.nodes[0].start();
        other.leader();
        other.nodes[0].kill();
    }
    other.nodes[0].start();
    other.leader();
    tries_to_take_over(&other, &mut own);
}

/// The first node of `own` loses its data directory and begins anew, with the very same settings: that is another cluster, whatever it
/// has in common with the old one. It grows by a node that the old one never met, which leads it alone in the end.
fn begun_anew(own: &mut Cluster, arguments: &[&str]) -> Cluster {
    own.nodes[0].kill();
    let mut other = Cluster::new(1);
    let data_dir = other.nodes[0].data_dir.display().to_string();
    other.nodes[0] = {
        let mut first = own.nodes.remove(0);
        let place = first.arguments.iter().position(|argument| argument == "--data-dir").expect("it has one");
        first.arguments[place + 1] = data_dir;
        first.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        first
    };
    other.nodes[0].start();
    let (id, address) = {
        let node = other.join_as(7, arguments);
        (node.id, node.peer_address())
    };
    other.done(&["member", "add", &format!("{id}={address}")]);
    write_much(&other);
    other.done(&["transfer", "7"]);
    other.done(&["member", "remove", "1"]);
    other.nodes[0].kill();
    other.nodes.remove(0);
    raise_term(&mut other);
    other
}

/// All that the two clusters began with is the same; neither has met a node of the other.
fn is_not_taken_over_by_one_that_was_begun_anew(arguments: &[&str]) {
    let mut own = grown();
    let first = own.nodes[0].endpoint();
    let other = begun_anew(&mut own, arguments);
    own.leader();
    assert!(!other.endpoints().contains(&first));
    let terms = |cluster: &Cluster| cluster.status().iter().map(|row| number(row, "term")).collect::<Vec<_>>();
    let is_earlier = |own: &Cluster| terms(own).iter().max() < terms(&other).iter().min();
    assert!(is_earlier(&own), "else its leader would not be heard for its term");
    let places: Vec<String> = own.nodes.iter().map(|node| format!("{}={}", node.id, node.peer_address())).collect();
    for (is_restarted, place) in [false, true].into_iter().zip(&places) {
        if is_restarted {
            // The lives after the first one know it by their logs.
            own.nodes[1].kill();
            own.nodes[1].start();
        }
        own.leader();
        let ran = other.run(&["--timeout", "3s", "member", "add", place]);
        assert!(ran.code == Some(3) && ran.stderr.contains("did not catch up"), "{ran:?}");
        assert!(ran.stderr.contains("node 7 says: ") && ran.stderr.contains("that was founded as"), "{ran:?}");
        assert!(is_earlier(&own), "{:?}: {}", terms(&own), own.nodes[0].logged());
    }
    wait_until("it is told why", || other.nodes[0].logged().contains("that was founded as"));
    assert_eq!(own.done(&["get", "precious"]), "gold\n");
    own.done(&["put", "more", "silver"]);
    assert_eq!(own.done(&["get", "more"]), "silver\n");
}

#[test]
fn who_joined_one_cluster_is_not_taken_over_by_a_snapshot_of_one_whose_first_member_was_begun_anew() {
    is_not_taken_over_by_one_that_was_begun_anew(&["--snapshot-entries", "20", "--snapshot-keep-entries", "0"]);
}

#[test]
fn who_joined_one_cluster_is_not_taken_over_by_the_log_of_one_whose_first_member_was_begun_anew() {
    is_not_taken_over_by_one_that_was_begun_anew(&[]);
}
