//! Deterministic simulation of Outrigger clusters under faults.
//!
//! The engine, the driver, the durable store and the codec that run here are those that run in production, to the
//! letter. Only what they stand on is simulated: time, network, disks, the death of processes. One seed decides all of
//! it, so that whatever goes wrong once goes wrong again, as often as it takes to understand it.
//!
//! ```text
//!   seed ─► plan ─► world ──┬── nodes: Driver(Engine) + Runtime(DurableStore on a FaultyDisk, tail, state machine)
//!                           ├── network: loss, delay, duplicates, reordering, partitions
//!                           ├── faults: processes that are killed or lose power, one or all
//!                           ├── workload: clients that write unique values and read them, through any node
//!                           └── judge: after every step, everything that must always hold
//! ```
//!
//! ```
//! let report = outrigger_simulation::History::new(1).live()?;
//! assert!(report.written > 0, "the cluster served");
//! # Ok::<(), outrigger_simulation::Failure>(())
//! ```

use std::fmt;

mod check;
mod clock;
mod count;
mod diagram;
mod durable;
mod history;
pub mod linearizability;
mod look;
mod machine;
pub mod mutants;
mod network;
mod node;
mod plan;
mod reading;
mod refinement;
mod report;
mod rng;
mod runtime;
mod shrink;
mod trace;
mod workload;
mod world;

pub use check::{Check, Checks, UnknownCheck, Violation};
pub use count::Counts;
pub use diagram::Diagram;
pub use history::History;
pub use report::{Report, Total};
pub use shrink::{Changes, shrink};

/// A history in which something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that replays it.
    pub seed: u64,
    /// When it went wrong, in virtual milliseconds.
    pub milliseconds: u64,
    /// What went wrong.
    pub violation: Violation,
    /// How many events the engines had handled.
    pub steps: u64,
    /// How often each kind of fault had struck.
    pub faults: Counts,
    /// How many clients there were.
    pub clients: u64,
    /// How many troubles there had been, struck or spared.
    pub troubles: u64,
    /// What was left out of the history that the seed means.
    pub changes: Box<Changes>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, milliseconds, violation, .. } = self;
        writeln!(f, "seed {seed} after {milliseconds} ms: {violation}")?;
        write!(f, "replay it with: {} --trace", self.replay())
    }
}

impl Failure {
    /// The command that replays the history. With ` --trace` behind it everything that happens is printed, with
    /// ` --diagram FILE.svg` it is drawn.
    #[must_use]
    pub fn replay(&self) -> String {
        let (seed, changes) = (self.seed, self.changes.to_string());
        let space = if changes.is_empty() { "" } else { " " };
        format!("cargo run --release -p outrigger-simulation --bin simulate -- --seed {seed}{space}{changes}")
    }
}

impl std::error::Error for Failure {}
