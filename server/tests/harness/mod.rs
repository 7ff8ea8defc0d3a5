//! Real processes of the real binary, for the tests beside this directory: clusters in directories of their own, on
//! ports of their own, that are gone when a test ends, however it ends.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test fails: far longer than it takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_outrigger");

/// Waits until a condition holds; the test fails when it never does.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ports on the loopback address that nobody uses, below those that the system hands out to outgoing connections; no
/// two calls of one test process give the same.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU64::new(RandomState::new().build_hasher().finish() % 20_000));
    loop {
        let port = u16::try_from(11_000 + next.fetch_add(1, Ordering::Relaxed) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// What a run of the binary came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The binary, not yet running, without settings from outside.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(BINARY);
    command.env_remove("OUTRIGGER_ENDPOINTS").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
#[track_caller]
pub(crate) fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    complete(binary().args(arguments))
}

/// Runs a command to its end, which must come: what should be refused but serves instead would never end.
#[track_caller]
pub(crate) fn complete(command: &mut Command) -> Ran {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (tell, ended) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap().into(),
        Err(_) => {
            signal("KILL", pid);
            panic!("{command:?} still ran after {PATIENCE:?}");
        }
    }
}

/// Sends a signal by name, as an operator would.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "cannot send {name} to {pid}");
}

/// A node of a cluster, running or not.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) peer: u16,
    pub(crate) client: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) arguments: Vec<String>,
    process: Option<Child>,
}

impl Node {
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    pub(crate) fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer)
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Starts the process, without waiting for it.
    pub(crate) fn spawn(&mut self) {
        self.spawn_under(binary());
    }

    /// Starts the process behind a program that runs it, such as a tracer.
    pub(crate) fn spawn_under(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "node {} runs already", self.id);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        // A test that is killed drops nothing, but its end of this pipe closes all the same.
        command.arg("serve").args(&self.arguments).arg("--exit-with-parent").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Waits for the line that says that the node serves, and returns it.
    #[track_caller]
    pub(crate) fn ready(&mut self) -> String {
        let process = self.process.as_mut().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "node {}: {line:?}\n{}", self.id, self.logged());
        line
    }

    pub(crate) fn start(&mut self) -> String {
        self.spawn();
        self.ready()
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks the process to stop with a signal and waits until it did.
    pub(crate) fn stop(&mut self, name: &str) -> ExitStatus {
        signal(name, self.pid());
        self.exited()
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub(crate) fn exited(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let mut status = None;
        wait_until("the process ends", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Everything that it wrote to standard error, in all its lives.
    pub(crate) fn logged(&self) -> String {
        let mut text = Vec::new();
        if let Ok(log) = File::open(&self.log) {
            // Some tests log to a device that never ends.
            let _ = log.take(1 << 20).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- node {} logged:\n{}", self.id, self.logged());
        }
    }
}

/// Some nodes, and the directory that holds all that they write.
pub(crate) struct Cluster {
    // The processes go before their files do.
    pub(crate) nodes: Vec<Node>,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// Nodes 1 to `count` that do not run yet.
    pub(crate) fn new(count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<(u64, u16, u16)> = (1..=count).map(|id| (id, free_port(), free_port())).collect();
        let mut members = String::new();
        for (id, peer, _) in &ports {
            write!(members, "{}{id}=127.0.0.1:{peer}", if members.is_empty() { "" } else { "," }).unwrap();
        }
        let begins = ("--initial-cluster", members.as_str());
        let nodes = ports.iter().map(|&(id, peer, client)| node(dir.path(), id, peer, client, begins)).collect();
        Self { nodes, dir }
    }

    /// Starts the next node, which waits to be added.
    pub(crate) fn join(&mut self) -> &mut Node {
        let id = self.nodes.last().map_or(1, |node| node.id + 1);
        self.join_as(id, &[])
    }

    /// Starts a node that waits to be added, with these settings more.
    pub(crate) fn join_as(&mut self, id: u64, arguments: &[&str]) -> &mut Node {
        let place = |node: &Node| format!("{}={}", node.id, node.peer_address());
        let members = self.nodes.iter().map(place).collect::<Vec<_>>().join(",");
        self.nodes.push(node(self.dir.path(), id, free_port(), free_port(), ("--join", &members)));
        let node = self.nodes.last_mut().unwrap();
        node.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        assert!(!node.start().is_empty());
        node
    }

    /// Nodes that serve.
    pub(crate) fn started(count: u64) -> Self {
        Self::started_with(count, &[])
    }

    /// Nodes that serve with these settings more.
    pub(crate) fn started_with(count: u64, arguments: &[&str]) -> Self {
        let mut cluster = Self::new(count);
        for node in &mut cluster.nodes {
            node.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        }
        cluster.nodes.iter_mut().for_each(Node::spawn);
        cluster.nodes.iter_mut().for_each(|node| assert!(!node.ready().is_empty()));
        cluster
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::endpoint).collect()
    }

    /// Runs a verb against all nodes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let endpoints = self.endpoints().join(",");
        run(["--endpoints", &endpoints].iter().chain(arguments))
    }

    /// Runs a verb that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// What the nodes say of themselves, as JSON.
    pub(crate) fn status(&self) -> Vec<serde_json::Value> {
        let json = self.run(&["--timeout", "2s", "status", "--output", "json"]).stdout;
        serde_json::from_str(&json).unwrap()
    }

    /// Waits until a running node leads, and returns its place.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        wait_until("a node leads", || {
            let is_leader = |row: &serde_json::Value| row["role"] == "leader";
            let newest = |row: &&serde_json::Value| row["term"].as_u64();
            let rows = self.status();
            let found = rows.iter().filter(|row| is_leader(row)).max_by_key(newest);
            leader = found.and_then(|row| rows.iter().position(|other| other == row));
            leader.is_some()
        });
        leader.unwrap()
    }
}

fn node(root: &Path, id: u64, peer: u16, client: u16, (begins, members): (&str, &str)) -> Node {
    let data_dir = root.join(format!("node-{id}"));
    let arguments = [
        ("--id", id.to_string()),
        ("--data-dir", data_dir.display().to_string()),
        ("--listen-peer", format!("127.0.0.1:{peer}")),
        ("--listen-client", format!("127.0.0.1:{client}")),
        (begins, members.to_owned()),
        // Many nodes on one disk would have it busy with nothing but zeros.
        ("--segment-bytes", (4 << 20).to_string()),
    ];
    let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    Node { id, peer, client, data_dir, log: root.join(format!("node-{id}.log")), arguments, process: None }
}
