//! Outrigger beside its peers: two contestants in turns, in one process, in one run. And beside itself: what one thing costs
//! another.
//!
//! Machines differ and are noisy, so an absolute rate proves nothing; the ratio of two rates measured in
//! turns does. Every subcommand therefore takes its samples A B A B, prints the medians and the ratio with
//! its lower quartile on stdout, its progress on stderr, and with `--json FILE` the same figures for machines.
//!
//! ```text
//!   main ──▶ vs_openraft   three nodes in one process, log in memory     ──┐
//!        ├─▶ wal           the durable log against a bare write and sync ──┤
//!        │                                   alternate (A B A B, quartiles) ◀─┘ ──▶ report (table, JSON)
//!        ├─▶ itself        sessions, leases and reads beside each other, as vs_openraft ──┘
//!        └─▶ snapshot      writes at rest, and while a large state is written to disk and sent ──▶ report
//! ```

mod alternate;
mod arguments;
mod in_process;
mod itself;
mod report;
mod snapshot;
mod vs_openraft;
mod wal;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `bench --help` ends with.
const EXAMPLES: &str = "\
Examples:
  cargo run --release --manifest-path bench/Cargo.toml -- vs-openraft --clients 1,64,1024
  cargo run --release --manifest-path bench/Cargo.toml -- vs-openraft --clients 4096 --batch 4 --json figures.json
  cargo run --release --manifest-path bench/Cargo.toml -- itself --what leases --clients 1,64
  cargo run --release --manifest-path bench/Cargo.toml -- wal --payload 1024 --batch 256 --dir /var/tmp
  cargo run --release --manifest-path bench/Cargo.toml --features log-peers -- wal
  cargo run --release --manifest-path bench/Cargo.toml -- snapshot --state-mib 1024 --dir /var/tmp

Run it on an otherwise idle machine, and compare only figures of one run.";

/// Measures Outrigger beside its peers, in turns, and prints rates and their ratio
#[derive(Parser)]
#[command(name = "bench", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The framework alone against openraft: three nodes in one process, log in memory, no network
    VsOpenraft(vs_openraft::Arguments),
    /// One way of asking beside another: sessions and plain writes, leases and rounds, reads and writes
    Itself(itself::Arguments),
    /// The durable log against a bare loop of one write and one fdatasync
    Wal(wal::Arguments),
    /// What writes feel of a snapshot of a large state: exit code 1 if p99 more than doubles
    Snapshot(snapshot::Arguments),
}

fn main() -> ExitCode {
    let done: Result<(), Box<dyn Error>> = match Arguments::parse().command {
        Command::VsOpenraft(arguments) => vs_openraft::run(&arguments).map_err(Into::into),
        Command::Itself(arguments) => itself::run(&arguments).map_err(Into::into),
        Command::Wal(arguments) => wal::run(&arguments).map_err(Into::into),
        Command::Snapshot(arguments) => snapshot::run(&arguments).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
