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

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use outrigger::Client;
use outrigger_server::store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::{Failure, print};

mod account;
mod chaos;
mod cluster;
mod dice;
mod ground;
mod process;
mod progress;
mod report;
mod workload;

use chaos::{Chaos, Troubles};
use cluster::Cluster;
use progress::Progress;
use report::Report;
use workload::Written;

/// How long any single step may take before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a try of a write or a read may take before it is made anew.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  outrigger demo
  outrigger demo --nodes 5 --writes 100000
  outrigger demo --keep              leaves the cluster running and says how to use it
  outrigger demo --chaos             a minute in which everything happens at once
  outrigger demo --chaos --for 10m --seed 7

With --chaos, members are added and removed, leadership is moved, snapshots are taken, nodes are paused and killed, all
the while a majority of the voters runs; M is then the longest failover.
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
    #[arg(conflicts_with = "chaos")]
    writes: u64,
    /// Where the nodes keep their data: a directory that is empty or not there yet [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the cluster running and its data in place
    #[arg(long)]
    keep: bool,
    /// Instead of one crash: everything that may happen to a cluster, at once
    #[arg(long)]
    chaos: bool,
    /// How long everything happens: 1s to 24h
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "chaos")]
    duration: Duration,
    /// What happens, as a number: the same one makes the same troubles, as far as the cluster can bear them [default: another
    /// one each time, which is printed]
    #[arg(long, requires = "chaos")]
    seed: Option<u64>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let range = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        Ok(_) => Err("it is not between 1s and 24h".to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
            if let Some(troubles) = &report.troubles {
                writeln!(out, "{}", troubles.table())?;
            }
            write!(out, "{}", report.table())?;
            advice.map_or(Ok(()), |advice| write!(out, "\n{advice}"))?;
            writeln!(out, "\n{}", report.last_line())
        })?;
        report.verdict().map_err(Failure::plain)
    }

    async fn on(&self, cluster: &mut Cluster) -> Result<Report, Failure> {
        let leader = cluster.leader().await?;
        tell(&format!("node {} leads in term {}", leader.node, leader.term));
        let client = connect(cluster.endpoints(), WRITE_TIMEOUT).await?;
        let (written, troubles) = if self.chaos {
            let (written, troubles) = self.in_chaos(cluster, client).await?;
            (written, Some(troubles))
        } else {
            (self.over_a_crash(cluster, client).await?, None)
        };
        let states = cluster.settled().await?;
        let Written { acknowledged, doubts, failover } = written;
        let reader = connect(cluster.endpoints(), WRITE_TIMEOUT).await?;
        let lost = account::lost(&reader, acknowledged).await?;
        Ok(Report { acknowledged, doubts, lost, failover, states, troubles })
    }

    async fn over_a_crash(&self, cluster: &mut Cluster, client: Client<Store>) -> Result<Written, Failure> {
        let (progress, mut killed) = (Progress::new(self.writes), None);
        let kill = async || {
            let (id, killing) = cluster.kill_leader().await?;
            killed = Some(id);
            Ok(killing)
        };
        let written = workload::write_over_a_crash(client, self.writes, progress, kill).await?;
        tell(&format!("failover took {} ms", written.failover.as_millis()));
        let (before, killed) = (Instant::now(), killed.expect("a leader was killed in the middle"));
        cluster.restart(killed).await?;
        cluster.settled().await?;
        tell(&format!("node {killed} was restarted and caught up in {} ms", before.elapsed().as_millis()));
        Ok(written)
    }

    async fn in_chaos(&self, cluster: &mut Cluster, client: Client<Store>) -> Result<(Written, Troubles), Failure> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        tell(&format!("{} of chaos from seed {seed}", humantime::format_duration(self.duration)));
        let (clients, client) = watch::channel(client);
        let (count, counted) = watch::channel(0);
        let (killings, killed) = mpsc::unbounded_channel();
        let (chaos, mut troubles) = (Chaos::new(cluster, seed, clients, counted, killings), None);
        let trouble = async {
            troubles = Some(chaos.run(self.duration).await?);
            Ok(())
        };
        let written = workload::write_through(client, &count, killed, trouble).await?;
        Ok((written, troubles.expect("writers write until all trouble has ended")))
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
