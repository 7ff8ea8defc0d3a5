//! Leadership by the command line and by signals, with real processes.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::Client;
use outrigger::engine::NodeId;
use outrigger_server::store::{Answer, Change, Command, Query, Store};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, PATIENCE, run, signal, wait_until};

/// So long nobody campaigns by itself.
const PATIENT: [&str; 6] =
    ["--heartbeat-interval", "100ms", "--election-timeout-min", "3s", "--election-timeout-max", "4s"];

/// What a write takes that waits for no election: a small part of the shortest timeout, process and all.
const SOON: Duration = Duration::from_millis(700);

#[test]
fn leadership_is_handed_over_by_the_command_line() {
    let cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let leader = cluster.leader();
    let heir = (leader + 1) % 3 + 1;
    let told = cluster.done(&["transfer", &heir.to_string()]);
    assert!(told.starts_with(&format!("node {heir} leads in term ")), "{told}");
    assert_eq!(cluster.leader() + 1, heir);
    let json: Value = serde_json::from_str(&cluster.done(&["transfer", "--output", "json"])).unwrap();
    assert_ne!(json["leader"], heir, "somebody else");
    assert!(json["term"].as_u64().is_some(), "{json}");

    let stranger = cluster.run(&["transfer", "9"]);
    assert_eq!((stranger.code, stranger.stdout.as_str()), (Some(1), ""), "{stranger:?}");
    assert!(stranger.stderr.contains("node 9 is no voter"), "{stranger:?}");
    for wrong in [&["transfer", "0"][..], &["transfer", "two"], &["elect"], &["elect", "1", "--pre-vote"]] {
        assert_eq!(cluster.run(wrong).code, Some(2), "{wrong:?}");
    }
    for verb in ["transfer", "elect", "priority"] {
        let help = run([verb, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{}", help.stdout);
    }
}

#[test]
fn when_a_leader_dies_the_node_that_wants_most_leads() {
    let spread = ["--heartbeat-interval", "100ms", "--election-timeout-min", "500ms", "--election-timeout-max", "3s"];
    let mut cluster = Cluster::started_with(3, &spread);
    cluster.done(&["--timeout", "20s", "put", "city", "Oslo"]);
    for heirs_before in [1, 0] {
        let leader = cluster.leader();
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        let (heir, other) = (others[heirs_before], others[1 - heirs_before]);
        let told = cluster.done(&["priority", &(other + 1).to_string(), "0"]);
        assert_eq!(told, format!("node {} has priority 0\n", other + 1));
        let json = cluster.done(&["priority", &(heir + 1).to_string(), "255", "--output", "json"]);
        assert_eq!(json, format!("{{\"node\":{},\"priority\":255}}\n", heir + 1));
        // It counts from the next heartbeat on, which brings what is committed.
        cluster.done(&["put", "city", "Bergen"]);
        wait_until("both have heard of it", || {
            let rows = cluster.status();
            rows.iter().all(|row| row["committed"] == rows[leader]["last_index"])
        });
        cluster.nodes[leader].kill();
        cluster.done(&["--timeout", "20s", "put", "city", "Hamar"]);
        assert_eq!(cluster.leader(), heir);
        cluster.nodes[leader].start();
        wait_until("all are there", || {
            cluster.status().iter().all(|row| row["error"].is_null() && row["leader"] == heir + 1)
        });
    }
    for wrong in [&["priority", "1"][..], &["priority", "1", "256"], &["priority", "0", "1"]] {
        assert_eq!(cluster.run(wrong).code, Some(2), "{wrong:?}");
    }
    assert_eq!(cluster.run(&["priority", "9", "1"]).code, Some(2), "it is none of the endpoints");
}

#[test]
fn a_transfer_to_a_node_that_is_gone_is_given_up_and_writes_go_on() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].kill();
    let ran = cluster.run(&["transfer", &(gone + 1).to_string()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("the leader leads on"), "{ran:?}");
    cluster.done(&["put", "city", "Bergen"]);
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_node_is_elected_by_hand() {
    let cluster = Cluster::started_with(3, &PATIENT);
    cluster.done(&["--timeout", "20s", "put", "city", "Oslo"]);
    let leader = cluster.leader();
    let other = ((leader + 1) % 3 + 1).to_string();
    let refused = cluster.run(&["elect", &other]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("a leader is at work"), "{refused:?}");
    let told = cluster.done(&["elect", &other, "--force"]);
    assert!(told.starts_with(&format!("node {other} leads in term ")), "{told}");
    let json: Value = serde_json::from_str(&cluster.done(&["elect", &other, "--output", "json"])).unwrap();
    assert_eq!(json["leader"].to_string(), other, "it leads already");
    let only = cluster.nodes[leader].endpoint();
    let elsewhere = run(["--endpoints", &only, "elect", &other]);
    assert_eq!(elsewhere.code, Some(2), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("is none of the endpoints"), "{elsewhere:?}");
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_first_and_a_write_right_after_waits_for_no_election() {
    for name in ["TERM", "INT"] {
        let mut cluster = Cluster::started_with(3, &PATIENT);
        cluster.done(&["--timeout", "20s", "put", "city", "Oslo"]);
        let leader = cluster.leader();
        signal(name, cluster.nodes[leader].pid());
        let began = Instant::now();
        cluster.done(&["put", "city", "Bergen"]);
        assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
        assert!(cluster.nodes[leader].exited().success());
        assert!(cluster.nodes[leader].logged().contains("leadership is handed over"));
        assert_eq!(cluster.done(&["get", "city"]).trim(), "Bergen");
    }
}

#[test]
fn a_leader_whose_others_are_dead_stops_in_time() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let leader = cluster.leader();
    for other in (0..3).filter(|other| *other != leader) {
        cluster.nodes[other].kill();
    }
    let began = Instant::now();
    assert!(cluster.nodes[leader].stop("TERM").success());
    // One election timeout, and what it takes to flush and to end.
    assert!(began.elapsed() < Duration::from_secs(1) + SOON, "{:?}", began.elapsed());
    assert!(cluster.nodes[leader].logged().contains("stopping without an heir"), "{}", cluster.nodes[leader].logged());
}

/// Clients that write numbers, each to a key of its own, and note when each was acknowledged.
struct Traffic {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    is_over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<u64>>,
}

fn key(writer: usize) -> Bytes {
    format!("writer-{writer}").into()
}

impl Traffic {
    fn start(runtime: &Runtime, endpoints: &[String], writers: usize) -> Self {
        let (acknowledged, is_over): (Arc<Mutex<Vec<Instant>>>, Arc<AtomicBool>) = Default::default();
        let writer = |writer| {
            let (acknowledged, is_over, endpoints) =
                (Arc::clone(&acknowledged), Arc::clone(&is_over), endpoints.to_vec());
            runtime.spawn(async move {
                let client = Client::<Store>::connect(endpoints).await.unwrap().with_timeout(PATIENCE);
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let command = Command::Put { key: key(writer), value: (last + 1).to_string().into() };
                    let response = client.write(command).await.expect("no write fails");
                    assert!(matches!(response, Ok(Change::Done { .. })), "{response:?}");
                    last += 1;
                    acknowledged.lock().unwrap().push(Instant::now());
                }
                last
            })
        };
        let writers = (0..writers).map(writer).collect();
        Self { acknowledged, is_over, writers }
    }

    /// The first acknowledgement after a moment.
    fn first_after(&self, moment: Instant) -> Instant {
        let mut first = None;
        wait_until("a write is acknowledged", || {
            let acknowledged = self.acknowledged.lock().unwrap();
            first = acknowledged.iter().copied().find(|at| *at > moment);
            first.is_some()
        });
        first.unwrap()
    }

    /// Ends it; every number that was acknowledged must be there.
    fn stop(self, runtime: &Runtime, endpoints: Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let client = runtime.block_on(Client::<Store>::connect(endpoints)).unwrap();
        for (number, writer) in self.writers.into_iter().enumerate() {
            let last = runtime.block_on(writer).expect("no write fails");
            let held = runtime.block_on(client.query(Query::Get { key: key(number) })).unwrap();
            let Answer::Value(Some(held)) = held else { panic!("{held:?}") };
            assert_eq!(held.value, last.to_string().as_bytes(), "the last acknowledged write of client {number}");
        }
    }
}

/// With the settings of every day. How long clients are without a leader is printed, for whoever measures it.
#[test]
fn transfers_under_load_lose_no_write_and_fail_none() {
    const TRANSFERS: usize = 50;
    let cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let runtime = Runtime::new().unwrap();
    let traffic = Traffic::start(&runtime, &cluster.endpoints(), 4);
    let client = runtime.block_on(Client::<Store>::connect(cluster.endpoints())).unwrap();
    let mut heir = cluster.leader() as u64 + 1;
    let mut waits = Vec::new();
    for _ in 0..TRANSFERS {
        heir = heir % 3 + 1;
        traffic.first_after(Instant::now());
        let asked = Instant::now();
        let next = runtime.block_on(client.transfer_leadership(Some(NodeId(heir)))).expect("it takes over");
        assert_eq!(next.leader, NodeId(heir));
        // From here on, only the next leader acknowledges.
        let done = Instant::now();
        waits.push(traffic.first_after(done) - asked);
    }
    traffic.stop(&runtime, cluster.endpoints());
    waits.sort_unstable();
    let (median, worst) = (waits[TRANSFERS / 2], waits[TRANSFERS - 1]);
    println!(
        "{TRANSFERS} transfers under load: a write was acknowledged {median:?} (median), {worst:?} (worst) after the request"
    );
    assert!(median < Duration::from_millis(250), "half of the shortest election timeout: {waits:?}");
}
