//! Members that come and go, by the command line, while keys are written and read, and while processes are killed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use outrigger::{Client, Outcome};
use outrigger_server::store::{Answer, Change, Command, Query, Store};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, PATIENCE, Ran, run, wait_until};

/// Runs a verb of `member` against all nodes.
fn member(cluster: &Cluster, arguments: &[&str]) -> Ran {
    cluster.run(&[&["member"], arguments].concat())
}

/// Runs one that must succeed.
#[track_caller]
fn changed(cluster: &Cluster, arguments: &[&str]) -> Value {
    let ran = member(cluster, &[arguments, &["--output", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What `member list` says.
#[track_caller]
fn list(cluster: &Cluster) -> Value {
    changed(cluster, &["list"])
}

#[track_caller]
fn assert_refused(ran: &Ran, code: i32, part: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    assert!(ran.stderr.contains(part), "no `{part}` in {ran:?}");
}

fn place(node: &Node) -> String {
    format!("{}={}", node.id, node.peer_address())
}

/// Writes numbers to one key in turn and reads each back, until it is told to stop.
struct Traffic {
    runtime: Runtime,
    client: Client<Store>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

fn key() -> Bytes {
    Bytes::from_static(b"traffic")
}

fn number(answer: &Answer) -> u64 {
    let Answer::Value(Some(versioned)) = answer else { return 0 };
    std::str::from_utf8(&versioned.value).unwrap().parse().unwrap()
}

async fn write_and_read(client: Client<Store>, is_over: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) {
    for next in 1.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let command = Command::Put { key: key(), value: next.to_string().into() };
        match client.write(command).await {
            Ok(response) => {
                assert!(matches!(response, Ok(Change::Done { .. })), "{response:?}");
                acknowledged.store(next, Ordering::Relaxed);
            }
            // Its leader was killed or left with it in hand; the next number tells whether anything is lost.
            Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
        }
        let read = client.query(Query::Get { key: key() }).await.unwrap();
        let (read, acknowledged) = (number(&read), acknowledged.load(Ordering::Relaxed));
        assert!(acknowledged <= read && read <= next, "{read} is read after {acknowledged} was acknowledged");
    }
}

impl Traffic {
    fn start(endpoints: Vec<String>) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(Client::<Store>::connect(endpoints)).unwrap().with_timeout(PATIENCE);
        let (is_over, acknowledged) = (Arc::default(), Arc::default());
        let task = runtime.spawn(write_and_read(client.clone(), Arc::clone(&is_over), Arc::clone(&acknowledged)));
        Self { runtime, client, is_over, acknowledged, task }
    }

    /// Waits until more is acknowledged.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait_until("writes go on", || {
            assert!(!self.task.is_finished(), "the traffic has ended");
            self.acknowledged.load(Ordering::Relaxed) > before + 5
        });
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.task).unwrap();
        let last = self.runtime.block_on(self.client.query(Query::Get { key: key() })).unwrap();
        assert!(number(&last) >= self.acknowledged.load(Ordering::Relaxed), "an acknowledged write is lost");
    }
}

/// A node that was started with `--join` says what it waits for, and nobody is alarmed.
#[track_caller]
fn assert_waits_quietly(cluster: &Cluster, place: usize) {
    let node = &cluster.nodes[place];
    let expected = format!("say `outrigger member add {}", self::place(node));
    wait_until("the node says what it waits for", || node.logged().contains(&expected));
    for node in &cluster.nodes {
        assert!(!node.logged().contains("WARN"), "node {}: {}", node.id, node.logged());
    }
    let table = cluster.done(&["status"]);
    assert!(table.contains("waits to be added"), "{table}");
}

#[test]
fn members_are_added_and_removed_while_keys_are_written() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let listed = list(&cluster);
    assert_eq!(
        (&listed["voters"], &listed["learners"], &listed["goal"]),
        (&json!([1, 2, 3]), &json!([]), &Value::Null)
    );
    for _ in 0..2 {
        cluster.join();
        assert_waits_quietly(&cluster, cluster.nodes.len() - 1);
    }
    let traffic = Traffic::start(cluster.endpoints());
    traffic.goes_on();

    let (fourth, fifth) = (place(&cluster.nodes[3]), place(&cluster.nodes[4]));
    assert_eq!(changed(&cluster, &["add", &fourth, &fifth])["voters"], json!([1, 2, 3, 4, 5]));
    traffic.goes_on();
    let listed = list(&cluster);
    assert_eq!(listed["voters"], json!([1, 2, 3, 4, 5]));
    let members = listed["members"].as_array().unwrap();
    assert_eq!(members.len(), 5);
    for (listed, node) in members.iter().zip(&cluster.nodes) {
        assert_eq!((&listed["id"], &listed["address"]), (&json!(node.id), &json!(node.peer_address())), "{listed}");
        assert_eq!((&listed["role"], &listed["becomes"]), (&json!("voter"), &Value::Null));
        assert!(listed["matched"].as_u64().is_some_and(|matched| matched > 0), "{listed}");
    }
    wait_until("the new ones say that they vote", || {
        cluster.nodes[3..].iter().all(|node| node.logged().contains("is a member and votes"))
    });

    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let (first, second) = (cluster.nodes[leader].id.to_string(), cluster.nodes[other].id.to_string());
    let left = json!((1..=5).filter(|id| ![&first, &second].contains(&&id.to_string())).collect::<Vec<u64>>());
    assert_eq!(changed(&cluster, &["remove", &first, &second])["voters"], left);
    traffic.goes_on();
    let listed = list(&cluster);
    assert_eq!((&listed["voters"], &listed["goal"]), (&left, &Value::Null));
    assert!(left.as_array().unwrap().contains(&listed["leader"]), "{listed}");
    for place in [leader, other] {
        wait_until("who was removed says so in its log", || {
            cluster.nodes[place].logged().contains("was removed from the members")
        });
        wait_until("who was removed says so in its status", || {
            let error = cluster.status()[place]["error"].clone();
            error.as_str().is_some_and(|error| error.contains("was removed") && error.contains("stop it"))
        });
        assert_eq!(cluster.nodes[place].stop("TERM").code(), Some(0));
    }
    traffic.goes_on();
    traffic.stop();
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}

#[test]
fn who_was_removed_says_so_after_a_restart_and_can_be_added_again() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let removed = cluster.nodes[other].id.to_string();
    changed(&cluster, &["remove", &removed]);
    let says_so = |cluster: &Cluster| {
        wait_until("who was removed says so in its status", || {
            let error = cluster.status()[other]["error"].clone();
            error.as_str().is_some_and(|error| error.contains("was removed") && error.contains("stop it"))
        });
    };
    says_so(&cluster);
    cluster.nodes[other].kill();
    cluster.nodes[other].start();
    says_so(&cluster);
    changed(&cluster, &["add", &place(&cluster.nodes[other])]);
    wait_until("it is a member again", || cluster.status()[other]["error"].is_null());
    assert_eq!(list(&cluster)["voters"], json!([1, 2, 3]));
}

#[test]
fn a_change_goes_on_when_its_leader_is_killed() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let traffic = Traffic::start(cluster.endpoints());
    cluster.join();
    let fourth = place(&cluster.nodes[3]);
    // Added while it is down: the change cannot end before it is there.
    cluster.nodes[3].kill();
    let endpoints = cluster.endpoints().join(",");
    let (tell, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let arguments = ["--endpoints", &endpoints, "member", "add", &fourth, "--timeout", "50s"];
        tell.send(run(arguments))
    });
    wait_until("the change is under way", || list(&cluster)["goal"]["voters"] == json!([1, 2, 3, 4]));
    let listed = list(&cluster);
    assert_eq!((&listed["voters"], &listed["learners"]), (&json!([1, 2, 3]), &json!([4])));
    assert_eq!(listed["members"][3]["becomes"], json!("voter"));

    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    cluster.nodes[3].start();
    let ran = ended.recv_timeout(PATIENCE).unwrap();
    // Whoever asked for it hears of its end all the same, from the next leader.
    assert!(ran.code == Some(0) && ran.stdout.starts_with("voters {1 2 3 4}, by entry "), "{ran:?}");
    let listed = list(&cluster);
    assert!(listed["goal"].is_null() && listed["voters"] == json!([1, 2, 3, 4]), "{listed}");
    traffic.goes_on();
    cluster.nodes[leader].start();
    traffic.goes_on();
    traffic.stop();
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}

#[test]
fn learners_are_added_promoted_demoted_moved_and_removed() {
    let mut cluster = Cluster::started(1);
    cluster.done(&["put", "city", "Oslo"]);
    cluster.join();
    let second = place(&cluster.nodes[1]);
    let answer = changed(&cluster, &["add-learner", &second]);
    assert_eq!((&answer["voters"], &answer["learners"]), (&json!([1]), &json!([2])));
    assert_eq!(changed(&cluster, &["promote", "2", "--wait"])["voters"], json!([1, 2]));
    let answer = changed(&cluster, &["demote", "2"]);
    assert_eq!((&answer["voters"], &answer["learners"]), (&json!([1]), &json!([2])));
    assert_eq!(changed(&cluster, &["change", "--voters", "1,2"])["voters"], json!([1, 2]));
    let answer = changed(&cluster, &["change", "--voters", "1", "--keep"]);
    assert_eq!((&answer["voters"], &answer["learners"]), (&json!([1]), &json!([2])));
    let elsewhere = format!("2=127.0.0.1:{}", harness::free_port());
    changed(&cluster, &["update", &elsewhere]);
    assert_eq!(list(&cluster)["members"][1]["address"], json!(elsewhere.trim_start_matches("2=")));
    let line = cluster.done(&["member", "remove", "2"]);
    assert!(line.starts_with("voters {1}, by entry "), "{line}");
    let table = cluster.done(&["member", "list"]);
    assert!(table.lines().count() == 2 && table.contains("leads"), "{table}");
}

#[test]
fn each_error_has_its_code_and_says_what_to_do() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let stranger = "node 9 is no member; add it first by `outrigger member add-learner 9=PEER_ADDR`";
    assert_refused(&member(&cluster, &["promote", "9"]), 1, stranger);
    let stranger = "node 9 is no member; see by `outrigger member list` who is one";
    assert_refused(&member(&cluster, &["remove", "9"]), 1, stranger);
    assert_refused(&member(&cluster, &["demote", "9"]), 1, stranger);
    let stranger = "node 9 is no member; if it is a new one, say where its peers reach it: --voters 9=PEER_ADDR";
    assert_refused(&member(&cluster, &["change", "--voters", "1,9"]), 1, stranger);
    assert_refused(&member(&cluster, &["remove", "1", "2", "3"]), 1, "no voter would be left, ");
    assert_refused(
        &member(&cluster, &["add", "1=127.0.0.1:9"]),
        1,
        "`outrigger member update 1=127.0.0.1:9` changes it",
    );
    let third = cluster.nodes[2].peer_address();
    let taken =
        |node, by| format!("nodes {node} and {by} would both be reached at {third}; give each an address of its own");
    assert_refused(&member(&cluster, &["update", &format!("2={third}")]), 1, &taken(2, 3));
    assert_refused(&member(&cluster, &["add", &format!("4={third}")]), 1, &taken(4, 3));
    assert_refused(&member(&cluster, &["add-learner", &format!("4={third}")]), 1, &taken(4, 3));
    assert_refused(&member(&cluster, &["change", "--voters", &format!("1,2,3,4={third}")]), 1, &taken(4, 3));
    assert_refused(&member(&cluster, &["add", "4"]), 2, "the address is missing");
    assert_refused(&member(&cluster, &["add", "4=nowhere"]), 2, "is not HOST:PORT");
    assert_refused(&member(&cluster, &["promote", "four"]), 2, "invalid value");
    assert_refused(&run(["member", "list"]), 2, "OUTRIGGER_ENDPOINTS");

    let nobody = format!("4=127.0.0.1:{}", harness::free_port());
    changed(&cluster, &["add-learner", &nobody]);
    assert_refused(&member(&cluster, &["promote", "4"]), 3, "did not catch up");
    let endpoints = cluster.endpoints().join(",");
    let waits = std::thread::spawn(move || {
        run(["--endpoints", &endpoints, "member", "promote", "4", "--wait", "--timeout", "8s"])
    });
    wait_until("the change is under way", || !list(&cluster)["goal"].is_null());
    assert_refused(&member(&cluster, &["remove", "4"]), 3, "another change of the members is under way");
    let ran = waits.join().unwrap();
    assert_refused(&ran, 3, "node 4 did not catch up");
    assert!(ran.stderr.contains("node 4 catches up: 0 of "), "progress: {ran:?}");

    let leader = cluster.leader();
    for place in [leader, (leader + 1) % 3] {
        cluster.nodes[place].kill();
    }
    let left = cluster.nodes[(leader + 2) % 3].endpoint();
    wait_until("the last one knows that nobody leads", || {
        let row = &cluster.status()[(leader + 2) % 3];
        row["error"].is_null() && row["leader"].is_null()
    });
    let ran = run(["--endpoints", &left, "--timeout", "1s", "member", "remove", "4"]);
    assert_refused(&ran, 3, "no leader is known");
    let listed = run(["--endpoints", &left, "member", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&listed["leader"], &listed["voters"]), (&Value::Null, &json!([1, 2, 3])));
    cluster.nodes[(leader + 2) % 3].kill();
    assert_refused(&member(&cluster, &["list", "--timeout", "300ms"]), 3, "none of 3 endpoints answered");
    assert_refused(&member(&cluster, &["remove", "4", "--timeout", "300ms"]), 3, "not applied within");
}

/// Found on real processes: a node that waited to be added has no members, and so none who was to leave; it was believed.
#[test]
fn a_change_is_not_done_because_some_node_knows_no_better() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    cluster.join();
    let leader = cluster.leader();
    let others: Vec<u32> = (0..3).filter(|place| *place != leader).map(|place| cluster.nodes[place].pid()).collect();
    others.iter().for_each(|pid| harness::signal("STOP", *pid));
    let leaves = cluster.nodes[leader].id.to_string();
    let ran = member(&cluster, &["remove", &leaves, "--timeout", "4s"]);
    others.iter().for_each(|pid| harness::signal("CONT", *pid));
    assert_refused(&ran, 4, "");
    cluster.done(&["put", "city", "Bergen"]);
    let code = member(&cluster, &["remove", &leaves]).code;
    let members = list(&cluster)["members"].to_string();
    // Whoever lived to see it may have ended it meanwhile.
    assert!(
        matches!(code, Some(0 | 1)) && !members.contains(&cluster.nodes[leader].peer_address()),
        "{code:?}: {members}"
    );
}
