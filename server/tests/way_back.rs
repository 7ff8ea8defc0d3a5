//! A member whose disk is lost, and what becomes of it: it is refused by all, comes back as a new one, and leads those who slept.
//!
//! ```text
//!   3 wiped ─► refused ─► member remove 3 ─► member add-learner 3=ADDR ─► serve --join ─► member promote 3 ─► as good as the others
//!                 also by who never met it            here, or at another port                                  even as a leader
//! ```

use std::fs;

use serde_json::{Value, json};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, free_port, run, wait_until};

/// Sets a flag's value.
fn set(node: &mut Node, flag: &str, value: &str) {
    let place = node.arguments.iter().position(|argument| argument == flag).unwrap();
    node.arguments[place + 1] = value.to_owned();
}

fn place(node: &Node) -> String {
    format!("{}={}", node.id, node.peer_address())
}

fn list(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.done(&["member", "list", "--output", "json"])).unwrap()
}

/// The directory that is bound to a member's id, once one is.
fn directory(cluster: &Cluster, id: u64) -> Value {
    let mut bound = Value::Null;
    wait_until("its directory is bound", || {
        let listed = list(cluster);
        let found = listed["members"].as_array().unwrap().iter().find(|member| member["id"] == json!(id));
        bound = found.map_or(Value::Null, |found| found["directory"].clone());
        !bound.is_null()
    });
    bound
}

/// Everything that a node's own state holds.
fn held(node: &Node) -> String {
    let ran = run(["get", "--prefix", "--local", "", "--endpoints", &node.endpoint()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

#[track_caller]
fn write(cluster: &Cluster, keys: std::ops::Range<u32>) {
    keys.for_each(|key| assert!(!cluster.done(&["put", &format!("key/{key}"), &format!("value {key}")]).is_empty()));
}

/// Its disk is lost.
fn wipe(node: &mut Node) {
    if node.is_running() {
        node.kill();
    }
    fs::remove_dir_all(&node.data_dir).unwrap();
}

/// From now on it waits to be added, by whoever of these is there; at another port if there is one.
fn joins(cluster: &mut Cluster, at: usize, by: &[usize], port: Option<u16>) {
    let members = by.iter().map(|by| place(&cluster.nodes[*by])).collect::<Vec<_>>().join(",");
    let node = &mut cluster.nodes[at];
    for flag in ["--initial-cluster", "--join"] {
        if let Some(place) = node.arguments.iter().position(|argument| argument == flag) {
            node.arguments.drain(place..=place + 1);
        }
    }
    node.arguments.extend(["--join".to_owned(), members]);
    if let Some(port) = port {
        node.peer = port;
        set(node, "--listen-peer", &format!("127.0.0.1:{port}"));
    }
}

/// The way back, as the README tells it, while the others serve.
fn come_back(cluster: &mut Cluster, at: usize, port: Option<u16>) {
    let id = cluster.nodes[at].id.to_string();
    let by: Vec<usize> = (0..cluster.nodes.len()).filter(|by| *by != at).collect();
    cluster.done(&["member", "remove", &id]);
    if cluster.nodes[at].data_dir.exists() {
        wipe(&mut cluster.nodes[at]);
    }
    joins(cluster, at, &by, port);
    let place = place(&cluster.nodes[at]);
    cluster.done(&["member", "add-learner", &place]);
    assert!(!cluster.nodes[at].start().is_empty());
    cluster.done(&["member", "promote", &id, "--wait", "--timeout", "50s"]);
}

/// `is_elsewhere`: it comes back at another peer address.
fn a_wiped_member_comes_back(is_elsewhere: bool) {
    let mut cluster = Cluster::started(3);
    write(&cluster, 0..10);
    let lost = (cluster.leader() + 1) % 3;
    let id = cluster.nodes[lost].id;
    let before = directory(&cluster, id);
    wipe(&mut cluster.nodes[lost]);
    cluster.join();
    cluster.done(&["member", "add", &place(&cluster.nodes[3])]);

    assert!(!cluster.nodes[lost].start().is_empty());
    assert_eq!(cluster.nodes[lost].exited().code(), Some(1), "{}", cluster.nodes[lost].logged());
    let said = cluster.nodes[lost].logged();
    for part in ["was wiped", "remove the node from the members, add it again as a learner", "promote it"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    // Alone with a member that has never met the lost directory.
    wipe(&mut cluster.nodes[lost]);
    joins(&mut cluster, lost, &[3], None);
    let logged = cluster.nodes[3].logged().lines().count();
    assert!(!cluster.nodes[lost].start().is_empty());
    wait_until("also who never met it refuses another one", || {
        let logs = cluster.nodes[3].logged();
        logs.lines().skip(logged).any(|line| line.contains("another data directory (incarnation"))
    });
    write(&cluster, 10..20);

    come_back(&mut cluster, lost, is_elsewhere.then(free_port));
    let after = directory(&cluster, id);
    assert_ne!(after, before);
    assert_eq!(list(&cluster)["voters"], json!([1, 2, 3, 4]));
    write(&cluster, 20..30);
    let all = cluster.done(&["get", "--prefix", ""]);
    for node in &cluster.nodes {
        wait_until("all hold the same", || held(node) == all);
    }
    // Its vote and its disk count: without them no three of four are there.
    let leader = cluster.leader();
    let other = (0..4).find(|at| ![leader, lost].contains(at)).unwrap();
    cluster.nodes[other].kill();
    write(&cluster, 30..35);
    cluster.nodes[lost].kill();
    assert!(!cluster.nodes[lost].start().is_empty());
    write(&cluster, 35..40);
    assert_eq!(directory(&cluster, id), after);
}

#[test]
fn a_wiped_member_is_refused_by_all_and_comes_back_as_a_learner_that_is_promoted() {
    a_wiped_member_comes_back(false);
}

#[test]
fn a_wiped_member_comes_back_at_another_address() {
    a_wiped_member_comes_back(true);
}

/// Found by a user: it was told that all is done, and its node was refused all the same.
#[test]
fn who_adds_a_wiped_voter_is_told_that_nothing_was_done_and_what_comes_first() {
    let mut cluster = Cluster::started(3);
    write(&cluster, 0..1);
    let lost = (cluster.leader() + 1) % 3;
    let id = cluster.nodes[lost].id;
    directory(&cluster, id);
    wipe(&mut cluster.nodes[lost]);
    let place = place(&cluster.nodes[lost]);
    let said = cluster.done(&["member", "add", &place]);
    let parts =
        [format!("nothing to do, members already: {id};"), format!("`outrigger member remove {id}` comes first")];
    parts.iter().for_each(|part| assert!(said.contains(part), "no `{part}` in {said}"));
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&cluster.done(&[&["member"], arguments, &["--output", "json"]].concat())).unwrap()
    };
    assert_eq!(json(&["add", &place])["is_new"], json!(false));
    assert_eq!(json(&["remove", &id.to_string()])["is_new"], json!(true));
    let added = cluster.done(&["member", "add-learner", &place]);
    assert!(!added.contains("nothing to do"), "{added}");
}

#[test]
fn who_is_added_again_and_began_with_the_initial_members_learns_from_the_others() {
    let mut cluster = Cluster::started(3);
    write(&cluster, 0..10);
    let lost = (cluster.leader() + 1) % 3;
    let id = cluster.nodes[lost].id.to_string();
    let before = directory(&cluster, cluster.nodes[lost].id);
    wipe(&mut cluster.nodes[lost]);
    cluster.done(&["member", "remove", &id]);
    let place = place(&cluster.nodes[lost]);
    cluster.done(&["member", "add-learner", &place]);
    cluster.nodes[lost].start();
    cluster.done(&["member", "promote", &id, "--wait", "--timeout", "50s"]);
    assert_ne!(directory(&cluster, cluster.nodes[lost].id), before);
    write(&cluster, 10..20);
    let all = cluster.done(&["get", "--prefix", ""]);
    wait_until("it holds the same", || held(&cluster.nodes[lost]) == all);
}

#[test]
fn a_removed_node_keeps_no_client_waiting_for_a_leader_that_is_gone() {
    let mut cluster = Cluster::started(4);
    write(&cluster, 0..1);
    let first = cluster.leader();
    let (removed, next) = ((first + 1) % 4, (first + 2) % 4);
    let id = |cluster: &Cluster, at: usize| cluster.nodes[at].id.to_string();
    cluster.done(&["member", "remove", &id(&cluster, removed)]);
    wait_until("it knows that it was removed", || {
        cluster.nodes[removed].logged().contains("was removed from the members")
    });
    cluster.done(&["transfer", &id(&cluster, next)]);
    cluster.nodes[first].kill();
    // Whichever is asked first, by chance: it does not cost the time that another would need to answer.
    let endpoints = [removed, next].map(|at| cluster.nodes[at].endpoint()).join(",");
    for _ in 0..8 {
        let ran = run(["--endpoints", &endpoints, "--timeout", "3s", "get", "key/0"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "value 0\n"), "{ran:?}");
    }
    let alone = run(["--endpoints", &cluster.nodes[removed].endpoint(), "--timeout", "1s", "get", "key/0"]);
    assert!(alone.code == Some(3) && alone.stderr.contains("no member of the cluster any more"), "{alone:?}");
}

/// Who sleeps, and who comes to lead meanwhile; neither leads now.
fn two_of_five(cluster: &Cluster) -> (usize, usize) {
    let leader = cluster.leader();
    ((leader + 1) % 5, (leader + 2) % 5)
}

#[test]
fn who_slept_answers_a_leader_that_has_come_back_at_another_address() {
    let mut cluster = Cluster::started(5);
    write(&cluster, 0..10);
    let (sleeper, lost) = two_of_five(&cluster);
    let id = cluster.nodes[lost].id;
    directory(&cluster, id);
    wait_until("the sleeper knows the members' directories", || {
        let dumped = cluster.nodes[sleeper].endpoint();
        let listed = run(["--endpoints", &dumped, "member", "list", "--output", "json"]);
        listed.stdout.contains("\"directory\"") && !listed.stdout.contains("\"directory\":null")
    });
    cluster.nodes[sleeper].kill();
    wipe(&mut cluster.nodes[lost]);
    come_back(&mut cluster, lost, Some(free_port()));
    cluster.done(&["transfer", &id.to_string()]);
    write(&cluster, 10..20);

    cluster.nodes[sleeper].start();
    let all = cluster.done(&["get", "--prefix", ""]);
    wait_until("the sleeper has caught up", || held(&cluster.nodes[sleeper]) == all);
    assert_eq!(cluster.leader(), lost, "nobody had to take over");
}

#[test]
fn who_slept_answers_a_leader_that_has_only_moved() {
    let mut cluster = Cluster::started(3);
    write(&cluster, 0..10);
    let moved = (cluster.leader() + 1) % 3;
    let sleeper = (moved + 1) % 3;
    let id = cluster.nodes[moved].id;
    cluster.nodes[sleeper].kill();
    let node = &mut cluster.nodes[moved];
    node.kill();
    node.peer = free_port();
    let listen = node.peer_address();
    set(node, "--listen-peer", &listen);
    node.start();
    let place = place(&cluster.nodes[moved]);
    cluster.done(&["--timeout", "30s", "member", "update", &place]);
    wait_until("it leads", || cluster.run(&["transfer", &id.to_string()]).code == Some(0));
    write(&cluster, 10..20);

    cluster.nodes[sleeper].start();
    let all = cluster.done(&["get", "--prefix", ""]);
    wait_until("the sleeper has caught up", || held(&cluster.nodes[sleeper]) == all);
    assert_eq!(cluster.leader(), moved, "nobody had to take over");
}

#[test]
fn who_slept_answers_a_leader_that_was_added_meanwhile() {
    let mut cluster = Cluster::started(3);
    write(&cluster, 0..10);
    let sleeper = (cluster.leader() + 1) % 3;
    cluster.nodes[sleeper].kill();
    cluster.join();
    cluster.done(&["member", "add", &place(&cluster.nodes[3])]);
    wait_until("it leads", || cluster.run(&["transfer", "4"]).code == Some(0));
    write(&cluster, 10..20);

    cluster.nodes[sleeper].start();
    let all = cluster.done(&["get", "--prefix", ""]);
    wait_until("the sleeper has caught up", || held(&cluster.nodes[sleeper]) == all);
    assert_eq!(cluster.leader(), 3, "nobody had to take over");
}
