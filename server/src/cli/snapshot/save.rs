//! `outrigger snapshot save`: the state of a running cluster, in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use outrigger::{Client, ClientError, SavedSnapshot};
use outrigger_server::store::Store;
use serde::Serialize;

use super::SNAPSHOT_TIMEOUT;
use crate::cli::progress::ProgressLine;
use crate::cli::status::Output;
use crate::cli::{Failure, Reach, print};

/// How long what was being written may take to be gone when it is given up, and how often to look.
const GONE_PATIENCE: Duration = Duration::from_secs(2);
const GONE_LOOK: Duration = Duration::from_millis(5);

/// Save the state of the running cluster to a file, from which `snapshot restore` begins a new one
///
/// One of the endpoints takes a snapshot, with all in it that was acknowledged before, and sends it. The file is complete and
/// durable, or not there; one that has the name already is replaced only then. Until then it is FILE.partial, which is gone after
/// an error or Ctrl-C; only a process that was killed leaves it, and it may be removed. --timeout is for taking the snapshot, and
/// then for each piece of it: there is no limit to how long all of it takes.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202 snapshot save monday.snapshot
  outrigger --endpoints 127.0.0.1:7201 snapshot save last.snapshot --local    # the majority is lost

Exit codes: 0 saved, 1 not saved, 2 usage, 3 no answer, or the connection broke (safe to try again), 5 saved, but the answer
could not be printed, 130 interrupted.")]
pub(super) struct Save {
    /// Where to
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take what the node that answers has, without asking the others whether there is more
    #[arg(long)]
    local: bool,
    /// A line for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// A snapshot in a file, as programs read of it.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    term: u64,
    index: u64,
    bytes: u64,
    checksum: String,
}

impl From<SavedSnapshot> for Saved {
    fn from(saved: SavedSnapshot) -> Self {
        let SavedSnapshot { last, bytes, checksum } = saved;
        Self { term: last.term.0, index: last.index.0, bytes, checksum: format!("{checksum:08x}") }
    }
}

impl Saved {
    /// Says what was done.
    pub(super) fn print(&self, verb: &str, output: Output) -> Result<(), Failure> {
        let Self { term, index, bytes, checksum } = self;
        match output {
            Output::Table => print(|out| {
                writeln!(out, "{verb}: up to index {index} of term {term}, {bytes} bytes, checksum {checksum}")
            }),
            Output::Json => {
                let json = serde_json::to_string(self).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))
            }
        }
    }
}

impl Save {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let reach = self.reach.within(outer);
        let client = Client::<Store>::connect(reach.endpoints()?).await.map_err(|error| Failure::of_client(&error))?;
        let client = client.with_timeout(reach.timeout.unwrap_or(SNAPSHOT_TIMEOUT));
        let mut line = ProgressLine::new();
        let saved = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => None,
            saved = client.save_snapshot(&self.file, self.local, |bytes, total| line.show("saving", bytes, total)) => Some(saved),
        };
        drop(line);
        let Some(saved) = saved else {
            given_up(&self.file).await;
            return Err(Failure::interrupted(format_args!("{} is not saved: interrupted", self.file.display())));
        };
        let saved = saved.map_err(|error| not_saved(&self.file, &error))?;
        Saved::from(saved).print("saved", self.output)
    }
}

/// What an error means for whoever saves to this file; that it is not saved is said once.
fn not_saved(file: &Path, error: &ClientError) -> Failure {
    let (code, reason) = match error {
        ClientError::Refused { reason } | ClientError::File { reason } => (1, reason.clone()),
        ClientError::Decode { .. } => (1, error.to_string()),
        _ => (3, error.to_string()),
    };
    Failure { code, message: format!("{} is not saved: {reason}", file.display()) }
}

/// Waits until what was being written is gone: it is removed by whoever writes it, which may be in the middle of that.
async fn given_up(file: &Path) {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let is_gone = async {
        while std::fs::exists(&partial).unwrap_or(false) {
            tokio::time::sleep(GONE_LOOK).await;
        }
    };
    // Neither a disk that hangs nor another process that saves there keeps anybody here.
    let _ = tokio::time::timeout(GONE_PATIENCE, is_gone).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a user: "x is not saved: not saved: ...".
    #[test]
    fn that_it_is_not_saved_is_said_once() {
        let reason = || "why".to_owned();
        let late = ClientError::NotAnswered { waited: Duration::from_secs(1), reason: reason() };
        for (error, code, expected) in [
            (ClientError::File { reason: reason() }, 1, "x is not saved: why"),
            (ClientError::Refused { reason: reason() }, 1, "x is not saved: why"),
            (late, 3, "x is not saved: not answered within 1s: why"),
        ] {
            let failure = not_saved(Path::new("x"), &error);
            assert_eq!((failure.code, failure.message.as_str()), (code, expected));
        }
    }
}
