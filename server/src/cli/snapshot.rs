//! `outrigger snapshot`: has nodes take a snapshot of their state now.
//!
//! ```text
//!   node  endpoint        snapshot
//!   1     127.0.0.1:7201  4/1207
//!   -     127.0.0.1:7203  -         not answered within 5s: ...
//! ```

use std::time::Duration;

use clap::{Args, Subcommand};
use outrigger::{Client, ClientError};
use outrigger_server::store::Store;
use serde::Serialize;
use tokio::task::JoinSet;

use super::status::Output;
use super::{Failure, Reach, print};
use crate::table::Table;

mod restore;
mod save;

/// How long it may take when nothing else is said: a large state takes its time on a disk.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203 snapshot
  outrigger snapshot --endpoints 127.0.0.1:7201       # on this node only
  outrigger snapshot --output json                    # for programs
  outrigger snapshot save monday.snapshot             # into a file, from which `snapshot restore` begins a new cluster

Nodes take snapshots by themselves, as the --snapshot-... settings of `outrigger serve` say; this does not wait for that.
Doing it again does no harm. Exit codes: 0 every endpoint has taken one, 1 one of them could not (its log says why),
2 usage, 3 one of them did not answer (safe to try again), 5 done, but the answer could not be printed.";

/// Have every endpoint take a snapshot of its state now
///
/// Prints the last log entry that each snapshot covers, once it is durable. What it covers leaves the log, but for what
/// --snapshot-keep-entries keeps.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    verb: Option<SnapshotVerb>,
    /// A table for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum SnapshotVerb {
    Save(save::Save),
    Restore(restore::Restore),
}

/// What came of it on one node.
#[derive(Debug, Serialize)]
struct Row {
    /// Null if the node did not say.
    node: Option<u64>,
    endpoint: String,
    /// The last entry that the snapshot covers; null if none was taken.
    term: Option<u64>,
    index: Option<u64>,
    /// Why none was taken.
    error: Option<String>,
    /// What that means for the exit code.
    #[serde(skip)]
    code: u8,
}

impl Snapshot {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        match self.verb {
            Some(SnapshotVerb::Save(save)) => return save.run(outer).await,
            Some(SnapshotVerb::Restore(restore)) => return restore.run(),
            None => {}
        }
        let reach = self.reach.within(outer);
        let timeout = reach.timeout.unwrap_or(SNAPSHOT_TIMEOUT);
        let mut asked = JoinSet::new();
        for (place, endpoint) in reach.endpoints()?.into_iter().enumerate() {
            asked.spawn(async move { (place, take(endpoint, timeout).await) });
        }
        let mut rows = asked.join_all().await;
        rows.sort_unstable_by_key(|(place, _)| *place);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        match self.output {
            Output::Table => print(|out| write!(out, "{}", table(&rows)))?,
            Output::Json => {
                let json = serde_json::to_string(&rows).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))?;
            }
        }
        verdict(&rows)
    }
}

/// What could not be done counts for more than what was not answered: trying again does not mend it.
fn verdict(rows: &[Row]) -> Result<(), Failure> {
    let failed = rows.iter().filter(|row| row.code > 0).min_by_key(|row| row.code);
    let Some(Row { endpoint, error, code, .. }) = failed else { return Ok(()) };
    let reason = error.as_deref().unwrap_or_default();
    Err(Failure { code: *code, message: format!("{endpoint}: {reason}") })
}

async fn take(endpoint: String, timeout: Duration) -> Row {
    let (node, taken) = ask(&endpoint, timeout).await;
    let (last, error) = match taken {
        Ok(last) => (Some(last), None),
        Err(error) => (None, Some(error)),
    };
    let code = match &error {
        None => 0,
        Some(ClientError::Refused { .. }) => 1,
        Some(_) => 3,
    };
    let (term, index) = (last.map(|last| last.term.0), last.map(|last| last.index.0));
    Row { node, endpoint, term, index, error: error.map(|error| error.to_string()), code }
}

async fn ask(endpoint: &str, timeout: Duration) -> (Option<u64>, Result<outrigger::engine::LogId, ClientError>) {
    let client = match Client::<Store>::connect([endpoint]).await {
        Ok(client) => client.with_timeout(timeout),
        Err(error) => return (None, Err(error)),
    };
    match client.status().await {
        Ok(status) => (Some(status.node.0), client.snapshot().await),
        Err(error) => (None, Err(error)),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["node", "endpoint", "snapshot", ""]);
    for Row { node, endpoint, term, index, error, .. } in rows {
        let last = term.zip(*index).map(|(term, index)| format!("{term}/{index}"));
        table.push([
            node.map_or_else(|| "-".to_owned(), |node| node.to_string()),
            endpoint.clone(),
            last.unwrap_or_else(|| "-".to_owned()),
            error.clone().unwrap_or_default(),
        ]);
    }
    table
}
