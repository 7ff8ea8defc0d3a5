//! What a leader has in memory stays bounded, whatever happens to one of its followers.
//!
//! ```text
//!   a follower is     dead ──► stopped, its connection open ──► far behind, and catching up
//!   the leader        takes in many times what it may hold, and its memory stays below one bound
//! ```
//!
//! `OUTRIGGER_MEMORY_MIB` says how much is written in each of the three: 10240 is the benchmark of 10 GiB.

use std::fs;

use bytes::Bytes;
use outrigger::Client;
use outrigger_server::store::{Change, Command, Store};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, PATIENCE, signal, wait_until};

const MIB: usize = 1 << 20;
const VALUE_BYTES: usize = 256 << 10;
const WRITERS: usize = 16;
/// The tail, and 16 MiB on their way to each follower; what is written is more than that while a follower does each of those things,
/// so that a queue without a bound would show.
const RESIDENT_MIB_MAX: usize = 192;

/// The most that a process has ever had in memory, in MiB.
fn resident_max(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// Writers that overwrite their own key, so that the state stays small.
fn write(runtime: &Runtime, client: &Client<Store>, mebibytes: usize) {
    let each = mebibytes * MIB / VALUE_BYTES / WRITERS;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        let write = async move {
            for number in 0..each {
                let value = Bytes::from(vec![u8::try_from(number % 251).unwrap(); VALUE_BYTES]);
                let command = Command::Put { key: format!("memory/{writer}").into(), value };
                let response = client.write(command).await.unwrap();
                assert!(matches!(response, Ok(Change::Done { .. })), "{response:?}");
            }
        };
        writers.spawn_on(write, runtime.handle());
    }
    runtime.block_on(writers.join_all());
}

#[test]
fn a_leaders_memory_is_bounded_whatever_a_follower_does() {
    let mebibytes = std::env::var("OUTRIGGER_MEMORY_MIB").map_or(256, |mebibytes| mebibytes.parse().unwrap());
    // No snapshots: who was away is brought the whole log.
    let mut cluster = Cluster::started_with(3, &["--snapshot-bytes", "0"]);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(Client::<Store>::connect(cluster.endpoints())).unwrap().with_timeout(PATIENCE);
    write(&runtime, &client, WRITERS);
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let pid = cluster.nodes[leader].pid();
    let bounded = |what: &str| {
        let resident = resident_max(pid);
        println!("a follower is {what}: the leader had {resident} MiB at most");
        assert!(resident <= RESIDENT_MIB_MAX, "{resident} MiB, although a follower is only {what}");
    };
    bounded("well");

    cluster.nodes[other].kill();
    write(&runtime, &client, mebibytes);
    bounded("dead");

    cluster.nodes[other].start();
    write(&runtime, &client, mebibytes);
    bounded("far behind");

    let last = |place: usize| cluster.status()[place]["last_index"].as_u64();
    wait_until("it has caught up", || last(other) >= last(leader));
    signal("STOP", cluster.nodes[other].pid());
    write(&runtime, &client, mebibytes);
    signal("CONT", cluster.nodes[other].pid());
    bounded("stopped");

    wait_until("it has caught up again", || last(other) >= last(leader));
    bounded("well again");
    assert_eq!(cluster.leader(), leader, "another one leads, which was not measured");
}
