//! One node as a process of this program, on a leash: its standard input. When this process ends, however it does,
//! the leash goes and the node stops by itself; a byte on it sets the node free.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use crate::cli::serve::RELEASE;

/// How many lines of a log are worth showing.
const LAST_LINES: usize = 12;

/// Why a node did not come up.
pub(super) struct StartError {
    pub(super) message: String,
    /// Another port, or the same a little later, may do.
    pub(super) is_address_in_use: bool,
}

impl StartError {
    pub(super) fn of(error: &io::Error) -> Self {
        let is_address_in_use = error.kind() == io::ErrorKind::AddrInUse;
        Self { message: error.to_string(), is_address_in_use }
    }
}

/// What a node begins with, as `outrigger serve` wants it: a flag and its value.
pub(super) type Beginning = (&'static str, String);

/// A node, running or not.
pub(super) struct Node {
    id: u64,
    peer: u16,
    client: u16,
    arguments: Vec<String>,
    /// What it writes to standard error, all its lives.
    log: PathBuf,
    process: Option<Process>,
    is_paused: bool,
}

impl Node {
    /// A node that does not run yet.
    pub(super) fn new(id: u64, (peer, client): (u16, u16), beginning: Beginning, root: &Path) -> Self {
        let data_dir = root.join(format!("node-{id}"));
        let arguments = [
            ("--id", id.to_string()),
            ("--data-dir", data_dir.display().to_string()),
            ("--listen-peer", format!("127.0.0.1:{peer}")),
            ("--listen-client", format!("127.0.0.1:{client}")),
            beginning,
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let log = root.join(format!("node-{id}.log"));
        Self { id, peer, client, arguments, log, process: None, is_paused: false }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Where clients reach it.
    pub(super) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    /// Where its peers reach it.
    pub(super) fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer)
    }

    /// Whether it has a process, and that is not paused.
    pub(super) const fn is_running(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Starts the process, without waiting for it.
    pub(super) fn spawn(&mut self) -> Result<(), StartError> {
        assert!(self.process.is_none(), "node {} runs already", self.id);
        let id = self.id;
        let start = || {
            let log = File::options().create(true).append(true).open(&self.log)?;
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("serve").args(&self.arguments).arg("--exit-with-parent");
            // A group of its own: Ctrl-C reaches the demonstration alone, which then decides about its nodes.
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
            let mut child = command.spawn()?;
            let leash = child.stdin.take();
            Ok(Process { child, leash, is_released: false })
        };
        let process = start().map_err(|error: io::Error| StartError {
            message: format!("cannot start node {id}: {error}"),
            is_address_in_use: false,
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until the node says that it serves.
    pub(super) async fn ready(&mut self, patience: Duration) -> Result<(), StartError> {
        let process = self.process.as_mut().expect("ready is asked after spawn");
        let line = tokio::time::timeout(patience, process.first_line()).await;
        match line {
            Ok(Ok(line)) if line.starts_with("ready ") => return Ok(()),
            Ok(Ok(_)) | Ok(Err(_)) | Err(_) => {}
        }
        // A process that is gone has said why; one that hangs is not worth waiting for.
        self.process = None;
        let words = self.last_words();
        Err(StartError {
            message: format!("node {} did not become ready\n{words}", self.id),
            is_address_in_use: words.contains("in use"),
        })
    }

    /// How its process ended, if it did so by itself.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), |process| process.child.try_wait())
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) fn kill(&mut self) {
        assert!(self.process.is_some(), "node {} does not run", self.id);
        self.process = None;
        self.is_paused = false;
    }

    /// SIGSTOP: the process is there and does nothing.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        self.is_paused = true;
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn wake(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)?;
        self.is_paused = false;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let process = self.process.as_ref().expect("only processes get signals");
        kill_process(Pid::from_child(&process.child), signal).map_err(io::Error::from)
    }

    /// Sets the process free: it outlives this one.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::release)
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LAST_LINES));
        last.map(|line| format!("  node {}: {line}\n", self.id)).collect()
    }
}

/// A process that is killed and waited for when this is dropped, unless it was released.
struct Process {
    child: Child,
    leash: Option<ChildStdin>,
    is_released: bool,
}

impl Process {
    /// The first line of its standard output; an error when it ends without one.
    async fn first_line(&mut self) -> io::Result<String> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(ChildStdout::from_std(stdout)?).read_line(&mut line).await?;
        Ok(line)
    }

    fn release(&mut self) -> io::Result<()> {
        if let Some(mut leash) = self.leash.take() {
            leash.write_all(RELEASE)?;
        }
        self.is_released = true;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_released {
            return;
        }
        // An error means that it is gone already; waiting leaves no zombie and no lock on its files.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
