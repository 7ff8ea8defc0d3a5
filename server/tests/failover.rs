//! How long clients wait when a leader dies: `kill -9` of real processes over and over, with the default timeouts.
//!
//! ```text
//!   a client writes   ──●──●──●──✗ · · · · · · · ●──●──●──
//!   the leader        ──────────┘kill -9         └ the first write that began after the death is acknowledged
//!                               └────────────────┘
//!                                     failover
//! ```
//!
//! `OUTRIGGER_FAILOVERS` says how many.

use std::time::{Duration, Instant};

use outrigger::Client;
use outrigger_server::store::{Change, Command, Store};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, PATIENCE, wait_until};

/// The longest election timeout, by default.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(1);

async fn write(client: &Client<Store>, number: usize) {
    let command = Command::Put { key: "failover".into(), value: number.to_string().into() };
    let response = client.write(command).await.unwrap();
    assert!(matches!(response, Ok(Change::Done { .. })), "{response:?}");
}

/// All nodes follow one leader and lack nothing: the next failover does not depend on the last.
fn rest(cluster: &Cluster) {
    wait_until("all nodes have what the leader has", || {
        let rows = cluster.status();
        let agree = |field: &str| rows.iter().all(|row| !row[field].is_null() && row[field] == rows[0][field]);
        agree("leader") && agree("term") && agree("last_index") && agree("applied")
    });
}

#[test]
fn a_leader_that_is_killed_is_replaced_within_an_election_timeout() {
    let failovers = std::env::var("OUTRIGGER_FAILOVERS").map_or(10, |count| count.parse().unwrap());
    let mut cluster = Cluster::started(3);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(Client::<Store>::connect(cluster.endpoints())).unwrap().with_timeout(PATIENCE);
    let mut waits: Vec<Duration> = Vec::new();
    for number in 0..failovers {
        runtime.block_on(write(&client, number));
        rest(&cluster);
        let leader = cluster.leader();
        let began = Instant::now();
        cluster.nodes[leader].kill();
        runtime.block_on(write(&client, number));
        waits.push(began.elapsed());
        cluster.nodes[leader].start();
    }
    waits.sort_unstable();
    let (median, late) = (waits[failovers / 2], waits[failovers * 99 / 100]);
    println!("{failovers} failovers: median {median:?}, 99 of 100 within {late:?}, longest {:?}", waits[failovers - 1]);
    assert!(median < ELECTION_TIMEOUT_MAX * 9 / 10, "{waits:?}");
    assert!(late < ELECTION_TIMEOUT_MAX * 2, "{waits:?}");
}
