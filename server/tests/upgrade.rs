//! A cluster is upgraded one node at a time while it serves, as the README tells it: how a build of before speaks, and when there is no
//! way back to it.

use serde_json::{Value, json};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, wait_until};

/// A node of the new build that speaks as the one before.
const AS_BEFORE: [&str; 2] = ["--speak-version-max", "1"];

fn list(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.done(&["member", "list", "--output", "json"])).unwrap()
}

/// What the leader has heard each member speak; null for one that it has not heard.
fn spoken(cluster: &Cluster) -> Vec<Value> {
    let leader = cluster.leader();
    let listed = cluster.nodes[leader].endpoint();
    let listed = harness::run(["member", "list", "--output", "json", "--endpoints", &listed]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
    listed["members"].as_array().into_iter().flatten().map(|member| member["version"].clone()).collect()
}

fn put(cluster: &Cluster, key: &str) {
    assert!(!cluster.done(&["put", key, "kept"]).is_empty());
}

/// Stopped as an operator does it, and started so.
fn restart(node: &mut Node, speaks_as_before: bool) {
    assert!(node.stop("TERM").success());
    let flag = node.arguments.iter().position(|argument| argument == AS_BEFORE[0]);
    flag.into_iter().for_each(|at| drop(node.arguments.drain(at..=at + 1)));
    if speaks_as_before {
        node.arguments.extend(AS_BEFORE.map(str::to_owned));
    }
    node.spawn();
}

#[test]
fn nodes_are_upgraded_one_at_a_time_and_after_the_last_there_is_no_way_back() {
    let mut cluster = Cluster::started_with(3, &AS_BEFORE);
    put(&cluster, "before");
    for at in 0..3 {
        assert_eq!(list(&cluster)["cluster_version"], json!(1), "before node {} is upgraded", at + 1);
        restart(&mut cluster.nodes[at], false);
        assert!(!cluster.nodes[at].ready().is_empty());
        put(&cluster, &format!("upgraded/{at}"));
        if at == 0 {
            // As long as one speaks less, whoever was upgraded may go back.
            wait_until("node 1 is heard to speak more", || spoken(&cluster) == [json!(2), json!(1), json!(1)]);
            restart(&mut cluster.nodes[at], true);
            assert!(!cluster.nodes[at].ready().is_empty());
            wait_until("node 1 is heard to have gone back", || spoken(&cluster) == [json!(1), json!(1), json!(1)]);
            restart(&mut cluster.nodes[at], false);
            assert!(!cluster.nodes[at].ready().is_empty());
        }
    }
    wait_until("the version is raised", || list(&cluster)["cluster_version"] == json!(2));
    let table = cluster.done(&["member", "list"]);
    assert!(table.contains("speaks"), "{table}");

    put(&cluster, "raised");
    wait_until("node 2 has all that the leader has", || {
        let rows = cluster.status();
        rows[1]["committed"] == rows[cluster.leader()]["committed"]
    });
    restart(&mut cluster.nodes[1], true);
    assert_eq!(cluster.nodes[1].exited().code(), Some(1));
    let logged = cluster.nodes[1].logged();
    let told = "the cluster has version 2, and this node is told to speak no more than 1";
    assert!(logged.contains(told) && logged.contains("there is no way back"), "{logged}");
    let directory = cluster.nodes[1].data_dir.display().to_string();
    let dump = harness::run(["log", "dump", "--data-dir", &directory]);
    assert!(dump.stdout.contains("version 2, founded as "), "{dump:?}");

    let at = cluster.nodes[1].arguments.len() - AS_BEFORE.len();
    cluster.nodes[1].arguments.truncate(at);
    assert!(!cluster.nodes[1].start().is_empty(), "nothing is lost");
    for key in ["before", "upgraded/0", "upgraded/1", "upgraded/2", "raised"] {
        assert_eq!(cluster.done(&["get", key]).trim(), "kept");
    }
}
