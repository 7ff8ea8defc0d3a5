//! `outrigger serve`: one node, from its first log line to a clean stop.
//!
//! ```text
//!   check settings ─► bind the client port ─► recover, listen to peers ─► serve clients ─► `ready` on stdout
//!                                                                                              │
//!             exit 0 ◄── flush, join ◄── hand over ◄── SIGTERM, SIGINT, the parent is gone ◄───┤
//!                        exit 1 ◄── a fault: the disk, an entry that cannot be applied ◄───────┘
//! ```
//!
//! Logs go to standard error, so that standard output holds one line that programs can wait for.

use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr};

use clap::Args;
use outrigger::engine::RoleKind;
use outrigger::{Config, Limits, Raft, StartError};
use outrigger_server::store::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Failure;

mod standing;

/// What a parent writes to the standard input of a node that may outlive it.
pub(crate) const RELEASE: &[u8] = b"r";

const EXAMPLES: &str = "\
Examples:
  outrigger serve --id 1 --data-dir n1 --listen-peer 127.0.0.1:7101 --listen-client 127.0.0.1:7201 \\
      --initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  outrigger serve --id 2 --data-dir /var/lib/outrigger --plaintext \\
      --listen-peer 0.0.0.0:7101 --advertise-peer 10.0.0.2:7101 \\
      --listen-client 0.0.0.0:7201 --advertise-client 10.0.0.2:7201 \\
      --initial-cluster 1=10.0.0.1:7101,2=10.0.0.2:7101,3=10.0.0.3:7101
  outrigger serve --id 4 --data-dir n4 --listen-peer 127.0.0.1:7104 --listen-client 127.0.0.1:7204 \\
      --join 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  outrigger --endpoints 127.0.0.1:7201 member add 4=127.0.0.1:7104      # then it is one of them

The first start with an empty directory creates the node's data; later starts recover from it. A node whose directory
was wiped, or is an older copy, is refused by the others: it stops with exit code 1, and never starts from that
directory again. When it serves, standard output says `ready id=1 peer=ADDR client=ADDR`. SIGTERM and SIGINT stop it
cleanly: a leader hands its leadership over first, which takes a few milliseconds, and an election timeout at most.";

/// Run one node of a cluster
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    config: Config,
    /// Allow addresses that are not loopback: everything travels unencrypted and unauthenticated
    #[arg(long)]
    plaintext: bool,
    /// How long each file of the log is made, 1 MiB to 1 GiB; a new node makes and zeroes two of them
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 30))]
    segment_bytes: u64,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,outrigger=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_filter)]
    log_level: EnvFilter,
    /// Stop when standard input ends without a byte: a parent that dies, however it dies, takes its nodes along.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut stop = Stop::new(self.exit_with_parent)?;
        let limits = Limits { segment_bytes: self.segment_bytes, ..self.config.limits };
        let config = settled(Config { limits, ..self.config }, self.plaintext)?;
        log_to_stderr(self.log_level);
        raise_open_files();
        tokio::select! {
            biased;
            reason = stop.requested() => {
                tracing::info!(reason, "stopped before it served");
                Ok(())
            }
            started = start(config) => serve(started?, stop).await,
        }
    }
}

/// A node that serves, and where.
struct Serving {
    raft: Raft<Store>,
    id: u64,
    peer: String,
    client: String,
}

async fn start(mut config: Config) -> Result<Serving, Failure> {
    let address = config.listen_client.clone().expect("settled settings have a client address");
    let listener = TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| cannot_listen(&config, &address, &error))?;
    let bound = listener.local_addr().map_err(|error| cannot_listen(&config, &address, &error))?;
    // Port 0 was a wish; the other nodes and the clients need to know what became of it.
    let client = config.advertise_client.get_or_insert_with(|| bound.to_string()).clone();
    let (id, joins) = (config.id, !config.join.is_empty());
    let peer = config.advertise_peer.clone().unwrap_or_else(|| config.listen_peer.clone());
    let raft = Raft::start(config, Store::default()).await;
    let raft = raft.map_err(|error| match error {
        StartError::Config(error) => Failure::usage(error),
        StartError::NoInitialCluster { id } => no_cluster(id, &peer),
        // It names the node itself.
        error @ StartError::Transport { .. } => Failure::plain(error),
        error => Failure::plain(format_args!("node {id} did not start: {error}")),
    })?;
    raft.serve_clients(listener).await;
    tokio::spawn(standing::tell(raft.metrics(), joins, peer.clone()));
    Ok(Serving { raft, id, peer, client })
}

async fn serve(serving: Serving, mut stop: Stop) -> Result<(), Failure> {
    let Serving { raft, id, peer, client } = serving;
    announce(&format!("ready id={id} peer={peer} client={client}\n"));
    tokio::select! {
        biased;
        reason = stop.requested() => tracing::info!(reason, "stopping"),
        stopped = raft.stopped() => return stopped.map_err(Failure::plain),
    }
    tokio::select! {
        biased;
        reason = stop.requested() => Err(Failure::interrupted(format_args!("{reason} again: stopped at once"))),
        stopped = stop_in_order(&raft) => stopped.map_err(|error| Failure::plain(format_args!("did not stop cleanly: {error}"))),
    }
}

/// Stops a node. A leader hands its leadership over first, so that clients need not wait for an election.
async fn stop_in_order(raft: &Raft<Store>) -> Result<(), outrigger::Error> {
    let leads = raft.metrics().latest().role == RoleKind::Leader;
    let own = raft.config().id;
    let has_heir = raft.metrics().latest().membership.voters().iter().any(|voter| voter.0 != own);
    if leads && has_heir {
        // The engine gives it up after this time; a node that answers nothing any more is stopped all the same.
        let patience = raft.config().election_timeout_max;
        match tokio::time::timeout(patience, raft.transfer_leadership(None)).await {
            Ok(Ok(next)) => tracing::info!(leader = %next.leader, term = %next.term, "leadership is handed over"),
            Ok(Err(error)) => tracing::warn!(%error, "stopping without an heir"),
            Err(_) => tracing::warn!(?patience, "stopping without an heir: no answer"),
        }
    }
    raft.shutdown().await
}

/// Tells whoever started the node; when nobody listens any more the node serves all the same.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads standard output");
    }
}

fn cannot_listen(config: &Config, address: &str, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; stop the process that listens there, or say another --listen-client",
        _ => "",
    };
    Failure::plain(format_args!("node {} cannot listen for clients on {address}: {error}{advice}", config.id))
}

/// Nothing says what an empty directory is to begin with. `peer` is where this node's peers would reach it.
fn no_cluster(id: u64, peer: &str) -> Failure {
    let is_everywhere = peer.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    let own = if is_everywhere { "HOST:PORT" } else { peer };
    Failure::plain(format_args!(
        "node {id} has an empty log and nothing to begin with: say --initial-cluster with all its first members, such as {id}={own} \
         for a cluster of one node, or --join with members of a running cluster, to be added to it"
    ))
}

/// The settings, checked as a whole before anything is touched.
fn settled(config: Config, plaintext: bool) -> Result<Config, Failure> {
    config.validate().map_err(Failure::usage)?;
    if config.data_dir.is_none() {
        return Err(Failure::usage("--data-dir is missing: say where this node keeps its log"));
    }
    let Some(listen_client) = &config.listen_client else {
        return Err(Failure::usage("--listen-client is missing: say where clients reach this node, as HOST:PORT"));
    };
    let own = [("--listen-peer", Some(&config.listen_peer)), ("--listen-client", Some(listen_client))];
    let told = [
        ("--advertise-peer", config.advertise_peer.as_ref()),
        ("--advertise-client", config.advertise_client.as_ref()),
    ];
    let members = config.initial_cluster.values().map(|address| ("--initial-cluster", Some(address)));
    let joined = config.join.values().map(|address| ("--join", Some(address)));
    let exposed = own.into_iter().chain(told).chain(members).chain(joined).find_map(|(flag, address)| {
        let address = address?;
        (!is_loopback(address)).then_some((flag, address))
    });
    match exposed {
        Some((flag, address)) if !plaintext => Err(Failure::usage(format_args!(
            "{flag} {address} is not a loopback address, and there is no encryption yet: say --plaintext if everyone \
             who can reach that network may read and change everything"
        ))),
        _ => Ok(config),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A filter would take a level that is none for the name of a module, and log nothing at all.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    if !text.contains('=') && !is_level(text) {
        return Err("it is none of error, warn, info, debug, trace, off".to_owned());
    }
    text.parse().map_err(|error| format!("{error}"))
}

fn log_to_stderr(filter: EnvFilter) {
    let is_terminal = std::io::stderr().is_terminal();
    // A line that cannot be written is lost; complaining of it, on the same broken stream, would panic in whatever task logged.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    lines.log_internal_errors(false).init();
}

/// As many files as this process may allow itself to have open: what shells and service managers set is meant for programs that wait
/// with `select`, and few for a node with many clients. What is left is judged by whoever serves them.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, ?limit, "the limit of open files cannot be raised");
    }
}

/// Everything that asks the node to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Told when the parent is gone; never, when the node may outlive it.
    orphaned: oneshot::Receiver<()>,
    /// Whether the parent can still matter.
    has_parent: bool,
}

impl Stop {
    /// From now on signals are requests.
    fn new(exit_with_parent: bool) -> Result<Self, Failure> {
        let cannot = |error| Failure::plain(format_args!("cannot listen for signals: {error}"));
        let (tell, orphaned) = oneshot::channel();
        if exit_with_parent {
            std::thread::spawn(move || {
                if !matches!(std::io::stdin().read(&mut [0]), Ok(1..)) {
                    // Nobody waits any more once the node has stopped for another reason.
                    let _ = tell.send(());
                }
            });
        }
        let terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        Ok(Self { terminate, interrupt, orphaned, has_parent: exit_with_parent })
    }

    /// Waits for the next request and names it.
    async fn requested(&mut self) -> &'static str {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                orphaned = &mut self.orphaned, if self.has_parent => {
                    self.has_parent = false;
                    if orphaned.is_ok() {
                        return "the parent is gone";
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            data_dir: Some("data".into()),
            listen_client: Some("127.0.0.1:0".to_owned()),
            initial_cluster: [(1, "127.0.0.1:7101".to_owned())].into(),
            ..Config::default()
        }
    }

    #[test]
    fn loopback_is_told_from_the_world() {
        for address in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1", "example.org:1", "127.0.0.1.org:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_plaintext() {
        let outside = || "10.0.0.1:7101".to_owned();
        let inner = config();
        assert!(settled(inner.clone(), false).is_ok());
        for (flag, exposed) in [
            ("--listen-peer", Config { listen_peer: outside(), ..inner.clone() }),
            ("--listen-client", Config { listen_client: Some(outside()), ..inner.clone() }),
            ("--advertise-client", Config { advertise_client: Some(outside()), ..inner.clone() }),
            ("--initial-cluster", Config { initial_cluster: [(1, outside())].into(), ..inner.clone() }),
            ("--join", Config { initial_cluster: [].into(), join: [(2, outside())].into(), ..inner.clone() }),
        ] {
            let message = format!("{:?}", settled(exposed.clone(), false).unwrap_err());
            assert!(message.contains(flag) && message.contains("--plaintext"), "{message}");
            assert!(settled(exposed, true).is_ok(), "{flag}");
        }
    }

    /// Found by a user: the example named a port that was not its own.
    #[test]
    fn who_has_nothing_to_begin_with_is_told_with_its_own_address() {
        for (peer, example) in [
            ("127.0.0.1:7311", " 4=127.0.0.1:7311 "),
            ("0.0.0.0:7311", " 4=HOST:PORT "),
            ("[::]:7311", " 4=HOST:PORT "),
        ] {
            let message = format!("{:?}", no_cluster(4, peer));
            assert!(message.contains(example) && message.contains("--join"), "{message}");
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for text in ["info", "WARN", "off", "info,outrigger=debug"] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for text in ["loud", "", "info,debug", "info,outrigger=loud"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_server_needs_beyond_the_library_is_asked_for() {
        for (flag, config) in [
            ("--data-dir", Config { data_dir: None, ..config() }),
            ("--listen-client", Config { listen_client: None, ..config() }),
        ] {
            let message = format!("{:?}", settled(config, true).unwrap_err());
            assert!(message.contains(flag), "{message}");
        }
    }
}
