//! A disk that hangs, as a network disk does whose server is gone: no error, only no end. A tracer holds every sync of one real
//! process, and lets go of it in the end.
//!
//! ```text
//!   strace ──► fdatasync of the leader never returns ──► it steps down, though it answers; another one leads and serves
//!                                                   └──► told to stop twice it stops, though it cannot write
//! ```
//!
//! The test needs strace and the permission to trace; where it has neither it says so.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, run, signal, wait_until};

/// Holds the syncs of a process for as long as it lives.
struct Hang(Child);

impl Hang {
    /// `None` where nobody may trace.
    fn of(pid: u32) -> Option<Self> {
        let syncs = "fdatasync,fsync";
        let mut tracer = Command::new("strace");
        // An hour, in microseconds, before each of them begins.
        tracer.args(["-f", "-o", "/dev/null", "-e", &format!("trace={syncs}")]);
        tracer.args(["-e", &format!("inject={syncs}:delay_enter=3600000000"), "-p", &pid.to_string()]);
        let mut tracer = tracer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Self)?;
        let mut may_trace = true;
        wait_until("all threads are traced, or none may be", || {
            may_trace = tracer.0.try_wait().unwrap().is_none();
            !may_trace || is_traced(pid)
        });
        may_trace.then_some(tracer)
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether all threads of a process are.
fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// Three nodes, and the place of their leader, whose disk hangs; `None` where nobody may trace.
fn with_a_hung_leader() -> Option<(Cluster, usize, Hang)> {
    let cluster = Cluster::started(3);
    cluster.done(&["put", "before", "1"]);
    let leader = cluster.leader();
    let Some(hang) = Hang::of(cluster.nodes[leader].pid()) else {
        println!("skipped: strace is missing or may not trace here");
        return None;
    };
    Some((cluster, leader, hang))
}

/// Waits until another node than this leads.
fn deposed(cluster: &Cluster, hung: usize) -> usize {
    let mut leader = hung;
    wait_until("another one leads", || {
        // Its disk has nothing to do until there is something to write.
        cluster.run(&["--timeout", "2s", "put", "meanwhile", "1"]);
        leader = cluster.leader();
        leader != hung
    });
    leader
}

#[test]
fn a_leader_whose_disk_hangs_leads_no_more_and_catches_up_once_it_works() {
    let Some((cluster, hung, hang)) = with_a_hung_leader() else { return };
    let leader = deposed(&cluster, hung);
    let rows = cluster.status();
    assert_ne!(rows[hung]["role"], "leader", "it answers, and does not lead: {}", rows[hung]);
    assert!(rows[leader]["term"].as_u64() > Some(1), "it was elected after it: {}", rows[leader]);
    assert!(rows[hung]["error"].to_string().contains("disk of this node hangs"), "{}", rows[hung]);
    let logged = cluster.nodes[hung].logged();
    assert!(logged.contains("the disk of this node hangs"), "also in its log, while it does: {logged}");
    let begun = Instant::now();
    let (first, then) = (cluster.nodes[hung].endpoint(), cluster.nodes[leader].endpoint());
    for verb in [&["get", "before"][..], &["put", "meanwhile", "2"]] {
        let ran = run([&["--endpoints", &format!("{first},{then}"), "--timeout", "30s"], verb].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it says at once that another is to be asked: {:?}",
        begun.elapsed()
    );
    cluster.done(&["put", "after", "2"]);
    assert_eq!(cluster.done(&["get", "before"]).trim(), "1", "nothing is lost");

    drop(hang);
    let behind = |place: usize| cluster.status()[place]["applied"].as_u64();
    wait_until("its trouble is over", || cluster.status()[hung]["error"].is_null());
    wait_until("it has caught up", || behind(hung).is_some() && behind(hung) >= behind(leader));
    cluster.done(&["put", "in the end", "3"]);
}

#[test]
fn a_node_whose_disk_hangs_stops_when_it_is_told_twice() {
    let Some((mut cluster, hung, hang)) = with_a_hung_leader() else { return };
    deposed(&cluster, hung);
    let pid = cluster.nodes[hung].pid();
    let log = cluster.nodes[hung].log.clone();
    let says = |text: &str| fs::read_to_string(&log).unwrap().contains(text);
    signal("TERM", pid);
    wait_until("it has begun to stop", || says("stopping"));
    signal("TERM", pid);
    wait_until("it stops, though its disk has not answered", || says("stopped at once"));
    // Its tracer keeps what is left of a process that it traces.
    drop(hang);
    assert_eq!(cluster.nodes[hung].exited().code(), Some(130), "{}", cluster.nodes[hung].logged());
    cluster.nodes[hung].start();
    cluster.done(&["put", "after", "2"]);
    assert_eq!(cluster.done(&["get", "before"]).trim(), "1");
}
