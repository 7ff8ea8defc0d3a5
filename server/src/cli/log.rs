//! `outrigger log`: looks into the data directory of a node that is stopped, without changing a byte of it.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use outrigger::store::inspect::OpenError;

use super::Failure;
use super::status::Output;

mod dump;
mod line;
mod verify;

const EXAMPLES: &str = "\
Examples:
  outrigger log verify --data-dir n1                         # is all of it as it was written?
  outrigger log dump --data-dir n1 | head                    # whose it is, the vote, the members, the first entries
  outrigger log dump --data-dir n1 --from 100 --to 200 --payloads text
  outrigger log dump --data-dir n1 --output json             # an object for each line, for programs

Nothing in the directory changes. A directory that a node runs from is not looked into: stop the node first. A
copy that is made file by file while it runs is none of any one moment, and looks damaged.";

/// Look into the data directory of a node that is stopped
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Log {
    #[command(subcommand)]
    verb: LogVerb,
}

#[derive(Subcommand)]
enum LogVerb {
    Dump(dump::Dump),
    Verify(verify::Verify),
}

/// Which directory, and for whom.
#[derive(Args)]
struct Place {
    /// The data directory of a node that is stopped
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Lines for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Log {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb {
            LogVerb::Dump(dump) => dump.run(),
            LogVerb::Verify(verify) => verify.run(),
        }
    }
}

impl Place {
    fn failure(&self, error: &OpenError) -> Failure {
        let directory = self.data_dir.display();
        match error {
            OpenError::Locked { .. } => Failure::plain(format_args!(
                "{directory} is in use: a node runs from it, which would change it meanwhile; stop the node first \
                 ({error})"
            )),
            error => Failure::plain(format_args!("{directory} cannot be looked into: {error}")),
        }
    }
}

/// Standard output, line by line, for as long as somebody reads it.
struct Lines {
    out: BufWriter<io::StdoutLock<'static>>,
}

/// Why no more lines are written.
enum Closed {
    /// Whoever read them has seen enough, as `head` has.
    Read,
    /// They cannot be written.
    Failed(io::Error),
}

impl Closed {
    fn outcome(self) -> Result<(), Failure> {
        match self {
            Self::Read => Ok(()),
            Self::Failed(error) => Err(Failure::unprinted(&error)),
        }
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Read } else { Self::Failed(error) }
    }
}

impl Lines {
    fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    fn put(&mut self, line: &impl Display) -> Result<(), Closed> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn end(mut self) -> Result<(), Closed> {
        Ok(self.out.flush()?)
    }
}
