//! The order of system calls: the entry is written and synced before the reply of its write leaves.
//!
//! ```text
//!   read(client socket)  ... key ...            the request
//!   pwrite64(segment)    ... key ...            the record
//!   fdatasync(segment) = 0                      durable
//!   write(client socket)                        the reply
//! ```
//!
//! Only a tracer sees this, so the test needs strace and the permission to trace; where it has neither it says so.

use std::fs;
use std::process::{Command, Stdio};

use outrigger::Client;
use outrigger_server::store::{Command as Change, Store};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{BINARY, Cluster, wait_until};

const KEY: &str = "traced-key";

fn can_trace() -> bool {
    let mut trace = Command::new("strace");
    trace.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    trace.status().is_ok_and(|status| status.success())
}

/// One system call, or a half of one that another thread's call interrupted.
struct Call<'a> {
    thread: &'a str,
    text: &'a str,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (thread, text) = line.trim_start().split_once(' ')?;
        Some(Self { thread, text: text.trim_start() })
    }

    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    }

    /// Whether it ends here, and well.
    fn is_end_of(&self, name: &str) -> bool {
        let is_whole = self.is(&[name]) && !self.text.ends_with("<unfinished ...>");
        let is_rest = self.text.starts_with(&format!("<... {name} resumed>"));
        (is_whole || is_rest) && self.text.ends_with("= 0")
    }
}

const RECEIVE: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const SEND: &[&str] = &["write", "writev", "sendto", "sendmsg"];
const STORE: &[&str] = &["write", "writev", "pwrite64", "pwritev", "pwritev2"];

#[test]
fn a_write_is_synced_before_its_reply_leaves() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace here");
        return;
    }
    let mut cluster = Cluster::new(1);
    let trace = cluster.dir.path().join("trace");
    let calls =
        "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fdatasync,fsync";
    let mut traced = Command::new("strace");
    // -D: the node is our child and strace its companion, so that killing the child leaves neither.
    traced.args(["-D", "-f", "-yy", "-s", "1000", "-e", calls, "-o"]).arg(&trace).arg(BINARY);
    let client_port = cluster.nodes[0].client;
    cluster.nodes[0].spawn_under(traced);
    cluster.nodes[0].ready();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::<Store>::connect(cluster.endpoints()).await.unwrap();
        // The first write finds the leader; what is traced of the second is the request and its reply alone.
        assert!(client.write(Change::put("first", "v")).await.unwrap().is_ok());
        assert!(client.write(Change::put(KEY, "v")).await.unwrap().is_ok());
    });
    assert_eq!(cluster.nodes[0].stop("TERM").code(), Some(0));
    let mut traced = String::new();
    wait_until("strace has written everything down", || {
        traced = fs::read_to_string(&trace).unwrap();
        traced.trim_end().ends_with("+++ exited with 0 +++")
    });
    assert_synced_before_reply(&traced, client_port);
}

#[track_caller]
fn assert_synced_before_reply(traced: &str, client_port: u16) {
    let calls: Vec<Call<'_>> = traced.lines().filter_map(Call::parse).collect();
    let local = format!("<TCP:[127.0.0.1:{client_port}->");
    let is_received = |call: &Call<'_>| call.is(RECEIVE) || call.text.starts_with("<... re");
    let is_request = |call: &Call<'_>| call.text.contains(KEY) && is_received(call);
    let request = calls.iter().position(is_request).expect("the request arrives");
    let behind = &calls[request..];
    let reply = behind.iter().position(|call| call.is(SEND) && call.text.contains(&local)).expect("a reply leaves");
    let before = &behind[..reply];
    let is_record = |call: &Call<'_>| call.is(STORE) && [KEY, ".segment"].iter().all(|part| call.text.contains(part));
    let record = before.iter().position(is_record).expect("the record is written before the reply leaves");
    let synced = before[record..].iter().any(|call| call.is_end_of("fdatasync") || call.is_end_of("fsync"));
    assert!(synced, "no sync between the record and the reply:\n{}", quoted(before));
}

fn quoted(calls: &[Call<'_>]) -> String {
    calls.iter().map(|call| format!("{} {}\n", call.thread, call.text)).collect()
}

#[test]
fn the_check_would_notice_a_reply_without_a_sync() {
    let request = r#"7 recvfrom(9<TCP:[127.0.0.1:5->127.0.0.1:6]>, "..traced-key..", 100, 0, NULL, NULL) = 30"#;
    let record = r#"8 pwrite64(5</d/1.segment>, "..traced-key..", 512, 1024) = 512"#;
    let reply = r#"7 sendto(9<TCP:[127.0.0.1:5->127.0.0.1:6]>, "..", 20, MSG_NOSIGNAL, NULL, 0) = 20"#;
    let sync = "8 fdatasync(5</d/1.segment>) = 0";
    let halves = ["8 fdatasync(5</d/1.segment> <unfinished ...>", "8 <... fdatasync resumed>) = 0"];
    assert_synced_before_reply(&[request, record, sync, reply].join("\n"), 5);
    assert_synced_before_reply(&[request, record, halves[0], halves[1], reply].join("\n"), 5);
    for wrong in [
        vec![request, record, reply, sync],
        vec![request, sync, record, reply],
        vec![request, record, halves[0], reply, halves[1]],
        vec![request, sync, reply, record],
        vec![request, record, "8 fdatasync(5</d/1.segment>) = -1 EIO (Input/output error)", reply],
    ] {
        let traced = wrong.join("\n");
        assert!(std::panic::catch_unwind(|| assert_synced_before_reply(&traced, 5)).is_err(), "{traced}");
    }
}
