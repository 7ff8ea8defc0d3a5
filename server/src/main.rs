//! The binary `outrigger`: one program that is a node of the cluster, its client and its demonstration.

use std::process::ExitCode;

mod cli;
mod demo;
mod observe;
mod table;

fn main() -> ExitCode {
    cli::run()
}
