//! `outrigger snapshot restore`: the data directory of a node of a new cluster, from a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use outrigger::{Config, RestoreError, restore_snapshot};

use super::save::Saved;
use crate::cli::Failure;
use crate::cli::progress::ProgressLine;
use crate::cli::status::Output;

/// Make the data directory of a node of a new cluster that begins from a saved snapshot
///
/// Run it for every node, each with the same file and the same initial cluster; then start the nodes with `serve` and the same
/// settings. The new cluster has the state and the clients' sessions of the snapshot, and nothing to do with the cluster that
/// it comes from: their nodes refuse each other. A restore that was interrupted is run again.
#[derive(Args)]
#[command(after_help = "Examples:
  for id in 1 2 3; do
    outrigger snapshot restore monday.snapshot --id $id --data-dir m$id \\
        --initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  done
  outrigger serve --id 1 --data-dir m1 --listen-peer 127.0.0.1:7101 --listen-client 127.0.0.1:7201 \\
      --initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103

To begin a second time from the same file with the same members, name the new cluster otherwise (--cluster), also to serve.
Exit codes: 0 restored, 1 not restored (the file is not whole, the directory is not empty, the disk has failed), 2 usage, 5
restored, but the answer could not be printed.")]
pub(super) struct Restore {
    /// What `snapshot save` has saved
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the node: a number, as for serve
    #[arg(long, alias = "node-id", value_name = "ID")]
    id: u64,
    /// The name of the cluster, as for serve
    #[arg(long, value_name = "NAME", default_value = "outrigger")]
    cluster: String,
    /// Where the node will keep its log; absent, or empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The members that the new cluster begins with, the same on every node
    #[arg(long, value_name = "ID=ADDR,...", value_parser = Config::parse_cluster)]
    initial_cluster: Members,
    /// A line for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

type Members = BTreeMap<u64, String>;

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { file, id, cluster, data_dir, initial_cluster, output } = self;
        let config = Config { id, cluster, data_dir: Some(data_dir), initial_cluster, ..Config::default() };
        let mut line = ProgressLine::new();
        let restored = restore_snapshot(&file, &config, &mut |bytes, total| line.show("restoring", bytes, total));
        drop(line);
        let restored = restored.map_err(|error| match error {
            RestoreError::Config(_) | RestoreError::Missing { .. } => Failure::usage(error),
            error => Failure::plain(error),
        })?;
        Saved::from(restored).print("restored", output)
    }
}
