//! Three nodes on TCP, with their logs on disk, one of which is away at times.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger::{Config, Error, Metrics, Raft};
use tokio::time::timeout;

use super::Failure;
use super::state::Large;

const NODES: u64 = 3;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct Cluster {
    directory: PathBuf,
    addresses: BTreeMap<u64, String>,
    state_bytes: u64,
    bytes_per_second_max: Option<u64>,
    nodes: BTreeMap<u64, Raft<Large>>,
    leader: u64,
    /// The follower that is away at times.
    follower: u64,
}

impl Cluster {
    pub(super) async fn start(
        directory: &Path,
        state_bytes: u64,
        bytes_per_second_max: Option<u64>,
    ) -> Result<Self, Failure> {
        // Held all at once, so that they differ.
        let mut listeners = Vec::new();
        for _ in 0..NODES {
            listeners.push(TcpListener::bind("127.0.0.1:0")?);
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr().map(|address| address.to_string()));
        let addresses: Vec<String> = addresses.collect::<Result<_, _>>()?;
        drop(listeners);
        let mut cluster = Self {
            directory: directory.to_owned(),
            addresses: (1..).zip(addresses).collect(),
            state_bytes,
            bytes_per_second_max,
            nodes: BTreeMap::new(),
            leader: 0,
            follower: 0,
        };
        for id in 1..=NODES {
            cluster.start_node(id).await?;
        }
        let first = cluster.nodes.values().next().expect("three were started");
        let elected = first.metrics().wait_for(|metrics| metrics.leader.is_some()).await.map_err(Error::from)?;
        cluster.leader = elected.leader.map_or(0, |leader| leader.0);
        cluster.follower = (1..=NODES).find(|id| *id != cluster.leader).unwrap_or(1);
        Ok(cluster)
    }

    pub(super) fn leader(&self) -> &Raft<Large> {
        &self.nodes[&self.leader]
    }

    async fn start_node(&mut self, id: u64) -> Result<(), Failure> {
        let mut config = Config {
            id,
            data_dir: Some(self.directory.join(id.to_string())),
            listen_peer: self.addresses[&id].clone(),
            initial_cluster: self.addresses.clone(),
            // They are taken when this benchmark says so, and nothing of the log is left behind them.
            snapshot_bytes: 0,
            snapshot_keep_entries: 0,
            ..Config::default()
        };
        config.snapshot_bytes_per_second_max =
            self.bytes_per_second_max.unwrap_or(config.snapshot_bytes_per_second_max);
        // It takes seconds, in which no task of the others must wait.
        let bytes = self.state_bytes;
        let state = tokio::task::spawn_blocking(move || Large::new(bytes)).await.map_err(io::Error::other)?;
        let node = Raft::start(config, state).await.map_err(Error::from)?;
        self.nodes.insert(id, node);
        Ok(())
    }

    pub(super) async fn stop_follower(&mut self) -> Result<(), Failure> {
        match self.nodes.remove(&self.follower) {
            Some(node) => Ok(node.shutdown().await?),
            None => Ok(()),
        }
    }

    pub(super) async fn start_follower(&mut self) -> Result<(), Failure> {
        self.start_node(self.follower).await
    }

    /// Waits until the follower has all of a snapshot that is as new as the leader's.
    pub(super) async fn received(&self) -> Result<(), Failure> {
        let snapshot = self.leader().metrics().latest().snapshot;
        self.follower_is("the follower's snapshot", move |metrics| metrics.snapshot >= snapshot).await
    }

    /// Waits until the follower's state is what it says.
    pub(super) async fn taken_in(&self) -> Result<(), Failure> {
        self.follower_is("the follower's state", |metrics| metrics.applied >= metrics.snapshot.index).await
    }

    async fn follower_is(&self, what: &'static str, is: impl FnMut(&Metrics) -> bool) -> Result<(), Failure> {
        let mut metrics = self.nodes[&self.follower].metrics();
        let there = metrics.wait_for(is);
        timeout(PATIENCE, there)
            .await
            .map_err(|_| Failure::TooSlow { what, waited: PATIENCE })?
            .map_err(Error::from)?;
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        for node in self.nodes.into_values() {
            node.shutdown().await?;
        }
        Ok(())
    }
}
