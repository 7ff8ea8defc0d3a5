//! `outrigger demo`: a real cluster on this machine, a real crash in the middle of writing, an account of every write.
//!
//! ```text
//!   start three nodes ── leader? ── write ─────────── SIGKILL the leader ─────────── go on ── restart it ── caught up?
//!                                    0 ...          half of the writes                ... all      │
//!                                                   └── failover ──┘ next acknowledgement          ▼
//!                                   acknowledged N, lost 0, failover M ms ◄── compare hashes ◄── read every key back
//! ```
//!
//! The nodes are processes of this program, each with its own directory. Whichever way the demonstration ends, by
//! success, failure, panic or signal, dropping the [`Cluster`] kills them and removes what they wrote. What no program
//! can catch (SIGKILL) they notice themselves: their standard input ends.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use outrigger::Client;
use outrigger_server::store::Store;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Failure, print};

mod account;
mod cluster;
mod ground;
mod process;
mod progress;
mod report;
mod workload;

use cluster::Cluster;
use progress::Progress;
use report::Report;
use workload::{Workload, Written};

/// How long any single step may take before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  outrigger demo
  outrigger demo --nodes 5 --writes 100000
  outrigger demo --keep              leaves the cluster running and says how to use it

The last line of standard output is `acknowledged N, lost 0, failover M ms`: N distinct keys were acknowledged, and M
passed from the SIGKILL to the next acknowledgement. Exits with 0 only if nothing was lost and all nodes hold the same
state.";

/// Start a cluster on this machine, kill its leader while it is written to, and account for every write
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// How many keys to write
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    writes: u64,
    /// Where the nodes keep their data: a directory that is empty or not there yet [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the cluster running and its data in place
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let cannot = |error| Failure::plain(format_args!("cannot listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(cannot)?;
        let signal = tokio::select! {
            biased;
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = hang_up.recv() => "SIGHUP",
            outcome = self.demonstrate() => return outcome,
        };
        Err(Failure::interrupted(format_args!("{signal}: the cluster is stopped and its data removed")))
    }

    async fn demonstrate(&self) -> Result<(), Failure> {
        let mut cluster = Cluster::start(self.nodes, self.dir.as_deref()).await?;
        let outcome = self.on(&mut cluster).await;
        match &outcome {
            Ok(_) if self.keep => cluster.keep()?,
            Ok(_) => {}
            Err(_) => tell(&cluster.last_words()),
        }
        let report = outcome?;
        let advice = self.keep.then(|| cluster.advice());
        print(|out| {
            write!(out, "{}", report.table())?;
            advice.map_or(Ok(()), |advice| write!(out, "\n{advice}"))?;
            writeln!(out, "\n{}", report.last_line())
        })?;
        report.verdict().map_err(Failure::plain)
    }

    async fn on(&self, cluster: &mut Cluster) -> Result<Report, Failure> {
        let leader = cluster.leader().await?;
        tell(&format!("node {} leads in term {}", leader.node, leader.term));
        let client = connect(cluster.endpoints(), Duration::from_secs(5)).await?;
        let workload = Workload { client: client.clone(), writes: self.writes };
        let progress = Progress::new(self.writes);
        let written = workload.run(progress, async || cluster.kill_leader().await).await?;
        tell(&format!("failover took {} ms", written.failover.as_millis()));

        let before = Instant::now();
        let killed = cluster.restart_killed().await?;
        let states = cluster.settled().await?;
        tell(&format!("node {killed} was restarted and caught up in {} ms", before.elapsed().as_millis()));
        let lost = account::lost(&client, self.writes).await?;
        let Written { acknowledged, doubts, failover } = written;
        Ok(Report { acknowledged, doubts, lost, failover, states })
    }
}

async fn connect(endpoints: Vec<String>, timeout: Duration) -> Result<Client<Store>, Failure> {
    let client = Client::connect(endpoints).await;
    let client = client.map_err(|error| Failure::plain(format_args!("cannot connect to the cluster: {error}")))?;
    Ok(client.with_timeout(timeout))
}

/// Progress goes to standard error; one who closed it does not stop the demonstration.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
