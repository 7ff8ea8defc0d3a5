//! A node that may have few files open: clients must not take those that its log needs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use bytes::Bytes;
use outrigger::Client;
use outrigger_server::store::{self, Store};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{BINARY, Cluster, Node, PATIENCE, wait_until};

/// So many files a node may have open here; 96 of them clients must leave free.
const FILES_MAX: usize = 256;
/// So many clients come.
const CLIENTS: usize = 400;

/// Starts a node that may have so many files open, and may allow itself more up to another limit.
fn start(node: &mut Node, soft: usize, hard: usize) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\""), BINARY]);
    node.spawn_under(command);
    assert!(!node.ready().is_empty());
}

/// What a client says first.
fn hello(runtime: &Runtime) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let client = runtime.spawn(async move { Client::<Store>::connect([endpoint]).await.unwrap().status().await });
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = vec![0; 1000];
    let length = stream.read(&mut hello).unwrap();
    client.abort();
    hello.truncate(length);
    hello
}

fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// Found by reading: clients that did nothing but connect took all descriptors, and the node halted when its log began a file.
#[test]
fn many_idle_clients_leave_a_node_the_files_of_its_log() {
    let mut cluster = Cluster::new(1);
    let node = &mut cluster.nodes[0];
    node.arguments.extend(["--snapshot-bytes", "4000000", "--snapshot-keep-entries", "0"].map(str::to_owned));
    start(node, FILES_MAX, FILES_MAX);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(Client::<Store>::connect(cluster.endpoints())).unwrap().with_timeout(PATIENCE);
    let put = |number: u32| {
        let value = Bytes::from(vec![u8::try_from(number % 251).unwrap(); 1 << 20]);
        let command = store::Command::Put { key: format!("key-{}", number % 4).into(), value };
        runtime.block_on(client.write(command)).unwrap().unwrap();
    };
    put(0);
    let hello = hello(&runtime);
    let (mut idle, endpoint) = (Vec::new(), cluster.nodes[0].endpoint());
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(&endpoint).unwrap();
        // One that is closed at once may not even take that in.
        if stream.write_all(&hello).is_ok() && stream.read(&mut [0; 1000]).is_ok_and(|bytes| bytes > 0) {
            idle.push(stream);
        }
    }
    let open = open_files(&cluster.nodes[0]);
    assert!(
        (100..FILES_MAX - 90).contains(&idle.len()) && open < FILES_MAX - 60,
        "{} clients, {open} files",
        idle.len()
    );
    let before = runtime.block_on(client.status()).unwrap();
    for number in 1..30 {
        put(number);
    }
    wait_until("snapshots are taken, and the log begins behind them", || {
        let status = runtime.block_on(client.status()).unwrap();
        status.snapshot.index > before.last.index && status.purged.index > before.purged.index
    });
    let logged = cluster.nodes[0].logged();
    assert!(logged.contains("this process may have 256 files open, and 4096 connections of clients"), "{logged}");
    assert!(logged.contains("was closed: this process may have 256 files open"), "{logged}");

    drop(idle);
    wait_until("others are served again", || cluster.run(&["get", "key-1"]).code == Some(0));
}

#[test]
fn a_node_allows_itself_as_many_files_as_it_may() {
    let mut cluster = Cluster::new(1);
    start(&mut cluster.nodes[0], 256, 10_000);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.nodes[0].pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("10000"), "{files}");
    assert!(!cluster.nodes[0].logged().contains("files open"), "{}", cluster.nodes[0].logged());
}
