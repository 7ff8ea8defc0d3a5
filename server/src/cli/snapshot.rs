//! `outrigger snapshot`: has nodes take a snapshot of their state now, or drop what it covers from their logs.
//!
//! ```text
//!   node  endpoint        snapshot
//!   1     127.0.0.1:7201  4/1207
//!   -     127.0.0.1:7203  -         not answered: ...
//! ```

use std::time::Duration;

use clap::{Args, Subcommand};
use outrigger::engine::LogId;
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
  outrigger snapshot purge --keep-entries 1000        # drop from the logs what snapshots cover
  outrigger snapshot save monday.snapshot             # into a file, from which `snapshot restore` begins a new cluster

Nodes take snapshots by themselves, as the --snapshot-... settings of `outrigger serve` say; this does not wait for that.
Doing it again does no harm. Exit codes: 0 every endpoint has taken one, 1 one of them could not (its log says why),
2 usage, 3 one of them did not answer (safe to try again), 5 done, but the answer could not be printed.";

const PURGE_EXAMPLES: &str = "\
Examples:
  outrigger snapshot && outrigger snapshot purge      # the shortest logs
  outrigger snapshot purge --keep-entries 1000        # but for what followers may need that are a little behind
  outrigger snapshot purge --output json              # for programs

A follower that lacks what the leader's log no longer holds is brought the whole snapshot. Doing it again does no harm.
Exit codes: 0 done by every endpoint, 1 one of them could not (its log says why), 2 usage, 3 one of them did not answer
(safe to try again), 5 done, but the answer could not be printed.";

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
    Purge(Purge),
    Save(save::Save),
    Restore(restore::Restore),
}

/// Have every endpoint drop from its log what its newest snapshot covers
///
/// Nodes do so by themselves when they take a snapshot, but for what --snapshot-keep-entries keeps. Prints behind which entry
/// each log goes on; 0/0 is the beginning, where no snapshot was taken.
#[derive(Args)]
#[command(after_help = PURGE_EXAMPLES)]
struct Purge {
    /// So many of the entries that the snapshot covers stay
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    keep_entries: u64,
    /// A table for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// What every endpoint is to do.
#[derive(Clone, Copy)]
enum Deed {
    Take,
    Purge { keep_entries: u64 },
}

/// What came of it on one node.
#[derive(Debug, Serialize)]
struct Row {
    /// Null if the node did not say.
    node: Option<u64>,
    endpoint: String,
    /// The last entry that the snapshot covers, or that left the log; null if it was not done.
    term: Option<u64>,
    index: Option<u64>,
    /// Why it was not done.
    error: Option<String>,
    /// What that means for the exit code.
    #[serde(skip)]
    code: u8,
}

impl Snapshot {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        match self.verb {
            Some(SnapshotVerb::Purge(Purge { keep_entries, output, reach })) => {
                return Deed::Purge { keep_entries }.run(reach.within(outer), output).await;
            }
            Some(SnapshotVerb::Save(save)) => return save.run(outer).await,
            Some(SnapshotVerb::Restore(restore)) => return restore.run(),
            None => {}
        }
        Deed::Take.run(self.reach.within(outer), self.output).await
    }
}

impl Deed {
    async fn run(self, reach: Reach, output: Output) -> Result<(), Failure> {
        let timeout = reach.timeout.unwrap_or(SNAPSHOT_TIMEOUT);
        let mut asked = JoinSet::new();
        for (place, endpoint) in reach.endpoints()?.into_iter().enumerate() {
            asked.spawn(async move { (place, self.row(endpoint, timeout).await) });
        }
        let mut rows = asked.join_all().await;
        rows.sort_unstable_by_key(|(place, _)| *place);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        match output {
            Output::Table => print(|out| write!(out, "{}", self.table(&rows)))?,
            Output::Json => {
                let json = serde_json::to_string(&rows).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))?;
            }
        }
        verdict(&rows)
    }

    async fn row(self, endpoint: String, timeout: Duration) -> Row {
        let (node, done) = self.ask(&endpoint, timeout).await;
        let (last, error) = match done {
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

    async fn ask(self, endpoint: &str, timeout: Duration) -> (Option<u64>, Result<LogId, ClientError>) {
        let client = match Client::<Store>::connect([endpoint]).await {
            Ok(client) => client.with_timeout(timeout),
            Err(error) => return (None, Err(error)),
        };
        let node = match client.status().await {
            Ok(status) => Some(status.node.0),
            Err(error) => return (None, Err(error)),
        };
        let done = match self {
            Self::Take => client.snapshot().await,
            Self::Purge { keep_entries } => client.purge(keep_entries).await,
        };
        (node, done)
    }

    fn table(self, rows: &[Row]) -> Table {
        let what = match self {
            Self::Take => "snapshot",
            Self::Purge { .. } => "log behind",
        };
        let mut table = Table::new(&["node", "endpoint", what, ""]);
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
}

/// Every endpoint that has not done it, and why. What could not be done counts for more than what was not answered: trying again does
/// not mend it.
fn verdict(rows: &[Row]) -> Result<(), Failure> {
    let failed = || rows.iter().filter(|row| row.code > 0);
    let Some(code) = failed().map(|row| row.code).min() else { return Ok(()) };
    let reasons = failed().map(|Row { endpoint, error, .. }| {
        let reason = error.as_deref().unwrap_or_default();
        let place = format!("{endpoint}: ");
        // Who could not be reached is named by the error itself.
        if reason.contains(&place) { reason.to_owned() } else { place + reason }
    });
    Err(Failure { code, message: reasons.collect::<Vec<_>>().join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_done_counts_for_more_than_what_was_not_answered() {
        let row = |endpoint: &str, code| {
            let error = (code > 0).then(|| format!("code {code}"));
            Row { node: None, endpoint: endpoint.to_owned(), term: None, index: None, error, code }
        };
        assert!(verdict(&[row("a", 0), row("b", 0)]).is_ok());
        let failure = verdict(&[row("a", 3), row("b", 0), row("c", 1), row("d", 3)]).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (1, "a: code 3; c: code 1; d: code 3"), "each is named");
        assert_eq!(verdict(&[row("a", 0), row("b", 3)]).unwrap_err().code, 3);
    }
}
