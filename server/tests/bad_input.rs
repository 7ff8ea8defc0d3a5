//! Bad input: what is refused, what the refusal says, and that the node serves on or nothing was touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use outrigger::{Client, Outcome, Query, StateMachine};
use outrigger_server::store::{KEY_BYTES_MAX, Refusal, Store, VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, PATIENCE, Ran, run, wait_until};

/// Runs `serve` with a node's arguments and further ones, which must be refused.
#[track_caller]
fn assert_refused(node: &Node, further: &[&str], code: i32, parts: &[&str]) {
    let arguments = ["serve"].into_iter().chain(node.arguments.iter().map(String::as_str));
    let ran = run(arguments.chain(further.iter().copied()));
    assert_said(&ran, code, parts);
    assert_eq!(ran.stdout, "", "{ran:?}");
}

#[track_caller]
fn assert_said(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "no `{part}` in {}", ran.stderr);
    }
}

/// A node that is not started, with one argument replaced.
fn with(flag: &str, value: &str) -> Cluster {
    let mut cluster = Cluster::new(3);
    replace(&mut cluster.nodes[0], flag, value);
    cluster
}

fn replace(node: &mut Node, flag: &str, value: &str) {
    let place = node.arguments.iter().position(|argument| argument == flag).unwrap();
    node.arguments[place + 1] = value.to_owned();
}

/// Every file below a directory, that of the snapshots included, with its bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(path).unwrap());
        }
    }
    found
}

/// A stopped node whose data holds a few synced writes.
fn with_data() -> Cluster {
    let mut cluster = Cluster::started(1);
    for number in 0..5 {
        cluster.done(&["put", &format!("key-{number}"), &format!("the value of key number {number}")]);
    }
    cluster.nodes[0].stop("TERM");
    cluster
}

#[test]
fn a_cluster_that_cannot_be_is_refused_before_anything_is_touched() {
    for (flag, value, parts) in [
        ("--id", "7", &["node 7", "1, 2, 3"][..]),
        ("--id", "0", &["id is 0; it must be above 0"]),
        ("--id", "one", &["one"]),
        ("--initial-cluster", "1=127.0.0.1:7101,2=127.0.0.1:7101", &["1", "2", "127.0.0.1:7101"]),
        (
            "--initial-cluster",
            "1=127.0.0.1:7101,2=localhost:7101",
            &["nodes 1 and 2", "127.0.0.1:7101 and localhost:7101"],
        ),
        ("--initial-cluster", "1=127.0.0.1:7101,1=127.0.0.1:7102", &["127.0.0.1:7101", "127.0.0.1:7102"]),
        ("--initial-cluster", "1=nowhere", &["nowhere"]),
        ("--initial-cluster", "1", &["1"]),
        ("--listen-peer", "127.0.0.1", &["127.0.0.1"]),
        ("--listen-client", "127.0.0.1:99999", &["127.0.0.1:99999"]),
    ] {
        let cluster = with(flag, value);
        assert_refused(&cluster.nodes[0], &[], 2, parts);
        assert!(!cluster.nodes[0].data_dir.exists(), "{flag} {value} left a directory behind");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, parts) in [
        (
            "--listen-client",
            ["listen for clients on", "stop the process that listens there, or say another --listen-client"],
        ),
        (
            "--listen-peer",
            ["listen for its peers on", "stop the process that listens there, or choose another address"],
        ),
    ] {
        let cluster = with(flag, &address);
        assert_refused(&cluster.nodes[0], &[], 1, &[&parts[..], &["node 1 ", &address]].concat());
    }
}

#[test]
fn who_has_nothing_to_begin_with_is_told_what_to_say() {
    let mut cluster = Cluster::new(1);
    let node = &mut cluster.nodes[0];
    let place = node.arguments.iter().position(|argument| argument == "--initial-cluster").unwrap();
    node.arguments.drain(place..=place + 1);
    let own = format!("such as 1={} for a cluster of one node", node.peer_address());
    assert_refused(&cluster.nodes[0], &[], 1, &["node 1 has an empty log", &own, "--initial-cluster", "--join"]);
}

#[test]
fn timeouts_that_cannot_work_are_refused_with_both_numbers() {
    let cluster = Cluster::new(3);
    for (further, parts) in [
        (&["--heartbeat-interval", "0s"][..], &["heartbeat_interval", "0"][..]),
        (&["--election-timeout-min", "0ms"], &["election_timeout_min", "0"]),
        (&["--election-timeout-min", "2s", "--election-timeout-max", "1500ms"], &["2s", "1.5s"]),
        (&["--election-timeout-min", "800ms", "--election-timeout-max", "800ms"], &["800ms"]),
        (&["--heartbeat-interval", "700ms", "--election-timeout-min", "600ms"], &["700ms", "600ms"]),
        (&["--heartbeat-interval", "fast"], &["fast"]),
        (
            &["--lease", "500ms"],
            &["lease 500ms must not exceed election_timeout_min 500ms * ", "490.099009ms", "shorten the lease"],
        ),
        (&["--clock-drift-ppm-max", "1000000"], &["clock_drift_ppm_max 1000000 must be below 1000000"]),
        (&["--log-level", "loud"], &["loud"]),
    ] {
        assert_refused(&cluster.nodes[0], further, 2, parts);
    }
    assert!(!cluster.nodes[0].data_dir.exists());
}

#[test]
fn addresses_beyond_loopback_need_plaintext() {
    for (flag, value) in [("--listen-peer", "0.0.0.0:7101"), ("--listen-client", "10.1.2.3:7201")] {
        let cluster = with(flag, value);
        assert_refused(&cluster.nodes[0], &["--advertise-client", "127.0.0.1:1"], 2, &[flag, value, "--plaintext"]);
    }
    for flag in ["--advertise-peer", "--advertise-client"] {
        let cluster = Cluster::new(1);
        let mut node = &cluster.nodes[0];
        let renamed;
        if flag == "--advertise-peer" {
            renamed = with("--initial-cluster", "1=10.1.2.3:7");
            node = &renamed.nodes[0];
        }
        assert_refused(node, &[flag, "10.1.2.3:7"], 2, &["10.1.2.3:7", "--plaintext"]);
    }
    let mut cluster = with("--listen-client", "0.0.0.0:0");
    let advertised = format!("127.0.0.1:{}", cluster.nodes[0].client);
    cluster.nodes[0].arguments.extend(["--advertise-client", &advertised, "--plaintext"].map(str::to_owned));
    let ready = cluster.nodes[0].start();
    assert!(ready.trim_end().ends_with(&format!("client={advertised}")), "{ready}");
}

#[test]
fn the_data_of_another_node_or_cluster_is_refused_and_left_alone() {
    let mut cluster = with_data();
    let before = contents(&cluster.nodes[0].data_dir);
    let refused = |node: &Node, further: &[&str], parts: &[&str]| {
        assert_refused(node, further, 1, parts);
        assert_eq!(contents(&node.data_dir), before, "{further:?} changed something");
    };
    refused(&cluster.nodes[0], &["--cluster", "other"], &["cluster"]);
    let node = &mut cluster.nodes[0];
    let members = format!("2=127.0.0.1:{}", node.peer);
    replace(node, "--id", "2");
    replace(node, "--initial-cluster", &members);
    refused(&cluster.nodes[0], &[], &["node 1", "node 2"]);
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let cluster = Cluster::started(1);
    cluster.done(&["put", "k", "v"]);
    let mut other = Cluster::new(1);
    let data_dir = cluster.nodes[0].data_dir.display().to_string();
    replace(&mut other.nodes[0], "--data-dir", &data_dir);
    assert_refused(&other.nodes[0], &[], 1, &[&data_dir, "another process"]);
    assert_eq!(cluster.done(&["get", "k"]), "v\n");
}

#[test]
fn data_of_a_newer_format_is_refused_and_left_alone() {
    let cluster = with_data();
    let node = &cluster.nodes[0];
    let path = node.data_dir.join("identity");
    let mut identity = fs::read(&path).unwrap();
    // Where the format version stands: see log/FORMAT.md.
    identity[8..12].copy_from_slice(&77_u32.to_le_bytes());
    fs::write(&path, identity).unwrap();
    let before = contents(&node.data_dir);
    assert_refused(node, &[], 1, &["77", "upgrade"]);
    assert_eq!(contents(&node.data_dir), before);
}

#[test]
fn a_data_directory_that_cannot_be_is_refused_by_name() {
    let cluster = Cluster::new(1);
    let file = cluster.dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let below = file.join("data").display().to_string();
    assert_refused(&cluster.nodes[0], &["--data-dir", &below], 2, &["--data-dir"]);
    let mut cluster = cluster;
    replace(&mut cluster.nodes[0], "--data-dir", &below);
    assert_refused(&cluster.nodes[0], &[], 1, &[&below]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
}

/// Found by reading: it was taken for an empty log, and the node asked for members to begin with.
#[test]
fn a_data_directory_that_cannot_be_looked_into_is_no_empty_one() {
    let cluster = Cluster::new(1);
    let file = cluster.nodes[0].log.with_file_name("a-file");
    fs::write(&file, "no directory").unwrap();
    let ran = run(["serve", "--id", "1", "--data-dir", file.to_str().unwrap(), "--listen-client", "127.0.0.1:0"]);
    assert_said(&ran, 1, &["cannot look into", "a-file", "Not a directory"]);
}

#[test]
fn a_synced_record_that_is_corrupt_is_refused_with_file_offset_and_index() {
    let cluster = with_data();
    let node = &cluster.nodes[0];
    let needle = b"the value of key number 1";
    let damaged = contents(&node.data_dir).into_iter().find_map(|(path, bytes)| {
        let at = bytes.windows(needle.len()).position(|window| window == needle)?;
        Some((path, bytes, at))
    });
    let (path, mut bytes, at) = damaged.expect("the value is in a file of the data directory");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let before = contents(&node.data_dir);
    assert_refused(node, &[], 1, &[&path, "offset", "index"]);
    assert_eq!(contents(&node.data_dir), before);
}

/// Sends bytes to a port and waits until the node closes the connection.
#[track_caller]
fn assert_closed_after(port: u16, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may close before everything is sent.
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "port {port}: {error}"),
    }
}

#[test]
fn garbage_on_either_port_closes_the_connection_with_one_line_and_no_more() {
    let cluster = Cluster::started(1);
    let node = &cluster.nodes[0];
    let too_long = [&u32::MAX.to_le_bytes()[..], &[1, 1], &[0; 64]].concat();
    for port in [node.peer, node.client] {
        let before = node.logged().lines().count();
        assert_closed_after(port, &[0xa5; 4096]);
        assert_closed_after(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_closed_after(port, &too_long);
        wait_until("the node logs why", || node.logged().lines().count() > before);
        // Rate limited: however many come, the log does not grow with them.
        for _ in 0..50 {
            assert_closed_after(port, &[0xa5; 64]);
        }
        let lines = node.logged().lines().count() - before;
        assert!(lines < 20, "{lines} lines:\n{}", node.logged());
    }
    cluster.done(&["put", "city", "Oslo"]);
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}

#[test]
fn a_peer_of_another_cluster_is_refused_and_both_serve_on() {
    let cluster = Cluster::started(1);
    let mut stranger = Cluster::new(1);
    let members = format!("1=127.0.0.1:{},2=127.0.0.1:{}", cluster.nodes[0].peer, stranger.nodes[0].peer);
    let node = &mut stranger.nodes[0];
    replace(node, "--id", "2");
    replace(node, "--initial-cluster", &members);
    node.arguments.extend(["--cluster", "other"].map(str::to_owned));
    node.start();
    wait_until("the stranger is refused", || cluster.nodes[0].logged().contains("is not cluster"));
    cluster.done(&["put", "city", "Oslo"]);
    let local = run(["get", "city", "--local", "--endpoints", &stranger.nodes[0].endpoint()]);
    assert_eq!(local.code, Some(1), "{local:?}");
}

#[test]
fn a_wiped_node_stays_locked_out_and_the_others_serve_on() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let wiped = (cluster.leader() + 1) % 3;
    cluster.nodes[wiped].kill();
    fs::remove_dir_all(&cluster.nodes[wiped].data_dir).unwrap();
    cluster.nodes[wiped].start();
    let said = stopped_as_refused(&mut cluster.nodes[wiped]);
    assert!(said.contains("was made after another") && said.contains("was wiped"), "{said}");
    cluster.done(&["put", "city", "Rome"]);
    refused_for_good(&cluster.nodes[wiped], &said);
}

/// Waits until a node has stopped by itself with exit code 1, and answers what it says last.
#[track_caller]
fn stopped_as_refused(node: &mut Node) -> String {
    assert_eq!(node.exited().code(), Some(1), "{}", node.logged());
    let logged = node.logged();
    let last = logged.lines().last().unwrap_or_default();
    last.split_once("this data directory").unwrap_or_else(|| panic!("{logged}")).1.to_owned()
}

/// Every later start says the same, and changes nothing.
#[track_caller]
fn refused_for_good(node: &Node, said: &str) {
    let before = contents(&node.data_dir);
    for _ in 0..3 {
        assert_refused(
            node,
            &[],
            1,
            &[said, "it is marked and will not be started again", &node.data_dir.display().to_string()],
        );
        assert_eq!(contents(&node.data_dir), before);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (path, bytes) in contents(from) {
        let path = to.join(Path::new(&path).strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Found by an attack that lost twenty acknowledged writes: an older copy was refused, but each start of it raised its
/// number, so that the second or third passed for the original, and could elect a leader that had forgotten them.
#[test]
fn an_older_copy_of_a_data_directory_is_refused_for_good_and_loses_nothing() {
    let mut cluster = Cluster::started(3);
    cluster.done(&["put", "city", "Oslo"]);
    let leader = cluster.leader();
    let (copied, witness) = ((leader + 1) % 3, (leader + 2) % 3);
    assert!(cluster.nodes[copied].stop("TERM").success());
    let kept = cluster.dir.path().join("copy");
    copy(&cluster.nodes[copied].data_dir, &kept);
    cluster.nodes[copied].start();
    cluster.done(&["put", "city", "Rome"]);
    // Both have met its second start; the writes that follow are on the leader and on it only.
    wait_until("it was met", || {
        cluster.status().iter().all(|row| row["last_index"] == cluster.status()[leader]["last_index"])
    });
    cluster.nodes[witness].kill();
    for number in 0..5 {
        cluster.done(&["put", &format!("late-{number}"), "x"]);
    }
    cluster.nodes[leader].kill();
    cluster.nodes[copied].kill();
    let original = cluster.dir.path().join("original");
    fs::rename(&cluster.nodes[copied].data_dir, &original).unwrap();
    fs::rename(&kept, &cluster.nodes[copied].data_dir).unwrap();
    cluster.nodes[witness].start();
    cluster.nodes[copied].start();
    let said = stopped_as_refused(&mut cluster.nodes[copied]);
    refused_for_good(&cluster.nodes[copied], &said);
    // What the words ask for: the copy goes, the original comes back.
    fs::remove_dir_all(&cluster.nodes[copied].data_dir).unwrap();
    fs::rename(&original, &cluster.nodes[copied].data_dir).unwrap();
    cluster.nodes[copied].start();
    for number in 0..5 {
        assert_eq!(cluster.done(&["get", &format!("late-{number}")]), "x\n");
    }
}

#[test]
fn an_address_where_nobody_calls_is_told_at_the_start() {
    let mut cluster = Cluster::new(1);
    let elsewhere = Cluster::new(1).nodes[0].peer;
    let named = cluster.nodes[0].peer;
    replace(&mut cluster.nodes[0], "--listen-peer", &format!("127.0.0.1:{elsewhere}"));
    cluster.nodes[0].start();
    let line = format!("call this node at 127.0.0.1:{named}, but it listens on 127.0.0.1:{elsewhere}");
    wait_until("it is told", || cluster.nodes[0].logged().contains(&line));
}

/// A log line that could not be written was complained of on the same stream, which panicked in the task that logged it: the
/// nodes never connected.
#[test]
fn nodes_whose_log_cannot_be_written_serve_all_the_same() {
    let mut cluster = Cluster::new(3);
    for node in &mut cluster.nodes {
        node.log = "/dev/full".into();
        node.spawn();
    }
    cluster.nodes.iter_mut().for_each(|node| drop(node.ready()));
    cluster.done(&["put", "city", "Oslo"]);
    assert!(cluster.nodes[0].stop("TERM").success());
}

#[test]
fn keys_and_values_beyond_their_limits_are_refused_with_the_limit() {
    let cluster = Cluster::started(1);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for verb in [&["put", &long, "v"][..], &["del", &long], &["cas", &long, "a", "b"]] {
        assert_said(&cluster.run(verb), 2, &["4097", "4096"]);
    }
    assert_said(&cluster.run(&["put", "", "v"]), 2, &["empty"]);
    cluster.done(&["put", &long[1..], "v"]);
    assert_eq!(cluster.done(&["get", &long[1..]]), "v\n");
}

/// A client that sends what the command line would not: the store's own check is asked.
#[test]
fn the_node_itself_refuses_what_breaks_a_limit() {
    let cluster = Cluster::started(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::<Store>::connect(cluster.endpoints()).await.unwrap();
        let put = |key: Vec<u8>, value: Vec<u8>| outrigger_server::store::Command::put(key, value);
        assert_eq!(client.write(put(vec![], vec![])).await.unwrap(), Err(Refusal::KeyEmpty));
        let bytes = VALUE_BYTES_MAX + 1;
        let refused = client.write(put(b"k".to_vec(), vec![0; bytes])).await.unwrap();
        assert_eq!(refused, Err(Refusal::ValueTooLong { bytes, bytes_max: VALUE_BYTES_MAX }));
        let taken = client.write(put(b"k".to_vec(), vec![0; VALUE_BYTES_MAX])).await.unwrap();
        assert!(taken.is_ok(), "{taken:?}");
    });
}

/// Speaks the protocol of the server's clients with operations that the store does not know.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Stranger;

#[derive(Serialize, Deserialize)]
enum Operation {
    Put,
    Delete,
    CompareAndSwap,
    Unknown,
}

impl StateMachine for Stranger {
    type Command = Operation;
    type Response = ();

    fn apply(&mut self, _: Operation) {}
}

impl Query for Stranger {
    type Query = Operation;
    type Answer = ();

    fn query(&self, _: Operation) {}
}

#[test]
fn an_unknown_operation_is_refused_and_never_reaches_the_log() {
    let cluster = Cluster::started(1);
    cluster.done(&["put", "city", "Oslo"]);
    let before = cluster.status();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // The registration of a session would be an entry.
        let client = Client::<Stranger>::connect(cluster.endpoints()).await.unwrap().without_sessions();
        // What is known lacks its fields here: as undecodable as what is not known at all.
        for operation in [Operation::Unknown, Operation::Put, Operation::Delete, Operation::CompareAndSwap] {
            let error = client.write(operation).await.unwrap_err();
            assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotApplied, false), "{error}");
        }
        assert!(client.query(Operation::Unknown).await.is_err());
    });
    assert_eq!(cluster.status()[0]["last_index"], before[0]["last_index"]);
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}
