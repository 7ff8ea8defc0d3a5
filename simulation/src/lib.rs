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
//! let report = outrigger_simulation::run(1, false)?;
//! assert!(report.written > 0, "the cluster served");
//! # Ok::<(), outrigger_simulation::Failure>(())
//! ```

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

mod check;
mod count;
mod diagram;
mod durable;
pub mod exploration;
pub mod linearizability;
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
mod trace;
mod workload;
mod world;

pub use check::{Check, Violation};
pub use count::Counts;
pub use diagram::Diagram;
pub use report::{Report, Total};

use world::World;

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
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, milliseconds, violation, .. } = self;
        writeln!(f, "seed {seed} after {milliseconds} ms: {violation}")?;
        write!(f, "replay it with: {}", self.replay())
    }
}

impl Failure {
    /// The command that replays the history.
    #[must_use]
    pub fn replay(&self) -> String {
        format!("cargo run --release -p outrigger-simulation --bin simulate -- --seed {} --trace", self.seed)
    }
}

impl std::error::Error for Failure {}

/// Lives through the history that a seed names, and prints it if asked to.
///
/// # Errors
/// What went wrong first.
pub fn run(seed: u64, trace: bool) -> Result<Report, Failure> {
    live_through(seed, World::new(seed, trace))
}

/// As [`run`], and draws the end of the history.
///
/// ```
/// let (history, diagram) = outrigger_simulation::run_drawn(1, false);
/// assert!(history.is_ok());
/// assert!(diagram.svg("seed 1", None).starts_with("<svg"));
/// ```
pub fn run_drawn(seed: u64, trace: bool) -> (Result<Report, Failure>, Diagram) {
    let diagram = Diagram::default();
    let history = live_through(seed, World::new(seed, trace).drawn(diagram.clone()));
    (history, diagram)
}

fn live_through(seed: u64, mut world: World) -> Result<Report, Failure> {
    let violation = match panic::catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => return Ok(world.report(seed)),
        Ok(Err(violation)) => violation,
        Err(panic) => Violation { check: Check::Assertion, reason: said(&*panic).to_owned() },
    };
    Err(world.failure(seed, violation))
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
