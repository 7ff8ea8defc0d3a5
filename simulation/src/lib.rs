//! Deterministic simulation of Outrigger clusters under faults.
//!
//! The engine, the driver, the durable store and the codec that run here are those that run in production, to the
//! letter. Only what they stand on is simulated: time, network, disks, the death of processes. One seed decides all of
//! it, so that whatever goes wrong once goes wrong again, as often as it takes to understand it.
//!
//! ```text
//!   seed ─► plan ─► world ──┬── nodes: Driver(Engine) + Runtime(DurableStore on a FaultyDisk, tail, state machine)
//!                           ├── network: loss, delay, duplicates, reordering, partitions, bridges, one-way links
//!                           ├── troubles: crashes, pauses, outages; disks that tear, fail, fill up, rot, are wiped or copied;
//!                           │             clocks that drift and leap
//!                           ├── workload: clients that write unique values and read them, through any node
//!                           └── judge: after every step, everything that must always hold
//! ```
//!
//! # Your own state machine
//!
//! The same, for what you have written, in a test of some lines:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use outrigger::StateMachine;
//! use outrigger_simulation::{Seeds, run};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Store(BTreeMap<String, String>);
//!
//! #[derive(Serialize, Deserialize)]
//! enum Command {
//!     Put(String, String),
//! }
//!
//! impl StateMachine for Store {
//!     type Command = Command;
//!     type Response = Option<String>;
//!     fn apply(&mut self, Command::Put(key, text): Command) -> Option<String> {
//!         self.0.insert(key, text)
//!     }
//! }
//!
//! # /*
//! #[test]
//! # */
//! fn store_survives_everything() {
//!     # /*
//!     run::<Store>(Seeds::from_env(), |sim| {
//!     # */
//!     # run::<Store>(Seeds::from_env_or(3), |sim| {
//!         sim.cluster(5).crash(0.01).partition(0.02).torn_writes(0.01);
//!         sim.clients(8, |rng| Command::Put(rng.key(16), rng.text()));
//!         sim.check_linearizable();
//!     });
//! }
//! # store_survives_everything();
//! ```
//!
//! Each seed is one history: 100 unless the environment says otherwise (`OUTRIGGER_SEEDS=2000`, `OUTRIGGER_SEEDS=17..20`).
//! A failure says what went wrong, at which command, on which node. It is shrunk: kinds of trouble, clients and single troubles
//! that it does not take are left out, as long as the same check fails. It ends with the line that replays what is left, and
//! prints everything that happens; `OUTRIGGER_DIAGRAM=FILE.svg` before that line draws it ([`Seeds::from_env`] has all
//! variables):
//!
//! ```text
//! seed 17 after 2904 ms: Determinism is violated: node 3 answers the command at index 57, Put("key-4", "ab"), with
//!   ...
//! left out of its history: 23 of 24 kinds of trouble (all but crashes), 8 of 9 single troubles, all clients but 1
//! no kind, client or single trouble more can be left out (71 histories tried)
//! replay it with: OUTRIGGER_SEED=17 OUTRIGGER_WITHOUT=.. OUTRIGGER_CLIENTS=1 OUTRIGGER_ONLY=4 cargo test -p shop --test store ...
//! draw it with the same, behind OUTRIGGER_DIAGRAM=FILE.svg
//! a replay may go well, for the seed does not decide what is not deterministic: repeat it some times, or look ...
//! ```
//!
//! ## What is checked of it
//!
//! - [`Check::Determinism`]: every node's response to a command, and its state after it, are those of one machine that
//!   applies the committed commands once; also when a node restarts and applies all of them again.
//! - [`Check::Snapshot`]: at random points, a state that is serialised, restored and serialised again is the same, and the
//!   restored copy goes on alike; a clone stays as it is while the original goes on.
//! - [`Check::Apply`]: `apply` does not panic, which would stop every node.
//! - [`Check::Encoding`]: commands, responses and states can be encoded as production does it, and are not too large.
//!
//! States are compared by their bytes: after every command while they have 4 KiB at most, after every so many when they
//! are larger (for each command 4 KiB are serialised on each node, on average), and always in the end.
//!
//! And everything is checked that is checked of our own histories, on the same entries, in the same run.
//!
//! ## Why your state machine is linearizable
//!
//! Each entry holds a write of the simulation's own registers and, behind it, your command. Of the registers the whole
//! history is checked: there is one chain of committed entries; what ends before something else begins, as clients see it,
//! has a lower place in it; a read on any node sees the state after a place that is no lower than all that was told
//! before it began; and with [`Sim::check_linearizable`] a search that knows no log finds an order as well. Your machine's
//! commands stand at the same places. If every node's responses and states are those of one machine that goes along the
//! chain, then what a client is told of its write is the response at the write's place, and what a read sees is the state
//! after the read's place: the chain is the order that linearizability asks for. A read is compared as a whole state, so
//! that it holds for whatever a closure would make of it.
//!
//! ## What it cannot find
//!
//! - Whether `apply` does what you want. Assert it: a `panic!` in `apply` is reported with its command.
//! - What differs only between machines or versions: another architecture, another locale, another version of `apply`.
//! - A clock that is coarser than the simulation is quick. One that counts whole seconds shows only when a second ends
//!   between two nodes' turns, so that it may take hundreds of seeds.
//!
//! # When a replay goes well
//!
//! A seed decides all that the simulation does, and nothing that your machine takes from elsewhere. What hangs on hash order
//! or on a clock mostly fails again with its seed, though perhaps at another command, and sometimes does not; a smaller
//! history is only told of if it has failed twice. When the line that replays a failure goes well, the machine is not
//! deterministic all the same. Run the line some times; run it with `OUTRIGGER_SEED` alone, which is the history that failed
//! first; or read `apply`, and everything that it calls, for a `HashMap` or `HashSet` that is iterated, for `now()`, for random
//! numbers, for statics, files and the environment. The failure names the command to begin with.
//!
//! ## How long it takes
//!
//! 100 histories of a small store, which is what a test lives through if nobody says otherwise, take 11 s of one core when
//! this crate and yours are compiled with optimisation, 21 s when this crate alone is, and minutes when neither is. So say in
//! the `Cargo.toml` of your workspace:
//!
//! ```toml
//! [profile.dev]
//! opt-level = 1
//!
//! [profile.dev.package."*"]
//! opt-level = 2
//! ```
//!
//! The first is for your own crate: types of yours run through generic code of serde and of this crate, which is compiled
//! with your crate and as your crate is.
//!
//! # Features
//!
//! `mimalloc`, on by default, is the allocator of the programs `simulate` and `explore` and needs a C compiler. A test of
//! your own state machine does without: `outrigger-simulation = { version = "0.1", default-features = false }`.
//!
//! # Our own histories
//!
//! ```
//! let report = outrigger_simulation::History::new(1).live()?;
//! assert!(report.written > 0, "the cluster served");
//! # Ok::<(), outrigger_simulation::Failure>(())
//! ```

use std::any::Any;
use std::fmt;

mod by_node;
mod check;
mod clock;
mod content;
mod count;
mod diagram;
mod durable;
pub mod exploration;
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
mod user;
mod words;
mod workload;
mod world;

pub use check::{Check, Checks, UnknownCheck, Violation};
pub use count::Counts;
pub use diagram::Diagram;
pub use history::History;
pub use report::{Report, Total};
pub use shrink::{Changes, Shrunk, shrink};
pub use user::{Rng, Seeds, SeedsError, Sim, run, run_with, try_run_with};

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
    /// How far it was shrunk, if anybody tried.
    pub shrunk: Option<Shrunk>,
    /// How it is lived through again.
    pub(crate) again: Box<Again>,
}

/// What says, beside the seed and the changes, how a history is lived through again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Again {
    /// Which of the dearer checks were made.
    pub(crate) checks: Checks,
    /// The command, if it is not this crate's own.
    pub(crate) command: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, milliseconds, violation, .. } = self;
        writeln!(f, "seed {seed} after {milliseconds} ms: {violation}")?;
        let left_out = self.changes.told(self.troubles);
        if !left_out.is_empty() {
            writeln!(f, "left out of its history: {left_out}")?;
        }
        if let Some(shrunk) = &self.shrunk {
            // Of our own histories only whoever interrupts ends the search for a smaller one before that.
            let is_short_of_time =
                self.again.command.is_some() && !shrunk.is_minimal && shrunk.tries < shrink::TRIES_MAX;
            let more = if is_short_of_time { "; OUTRIGGER_SHRINK_SECONDS=120 gives it more time" } else { "" };
            writeln!(f, "{shrunk}{more}")?;
        }
        let replay = self.replay();
        if self.again.command.is_none() {
            if self.shrunk.is_none() && *self.changes == Changes::default() {
                writeln!(f, "look for a smaller one with: {replay}")?;
            }
            return write!(f, "replay it with: {replay} --trace");
        }
        writeln!(f, "replay it with: {replay}")?;
        write!(f, "draw it with the same, behind OUTRIGGER_DIAGRAM=FILE.svg")?;
        if violation.check == Check::Determinism {
            // No seed decides what a clock shows, or in which order a hash map goes.
            write!(
                f,
                "\na replay may go well, for the seed does not decide what is not deterministic: repeat it some times, or look \
                 at once for what apply reads beside its state and its command"
            )?;
        }
        Ok(())
    }
}

impl Failure {
    /// The command that replays the history. Of one of [this crate's own](History), ` --trace` behind it prints everything
    /// that happens, and ` --diagram FILE.svg` draws it. That of a [state machine of one's own](run) prints it, and
    /// `OUTRIGGER_DIAGRAM=FILE.svg ` before it draws it.
    #[must_use]
    pub fn replay(&self) -> String {
        let own = || {
            let mutant = mutants::chosen().map(|name| format!(" --mutant {name}"));
            let changes = Some(self.changes.to_string()).filter(|changes| !changes.is_empty());
            let checks = (self.again.checks != Checks::ALL).then(|| format!(" --checks {}", self.again.checks));
            [
                "cargo run --release -p outrigger-simulation --bin simulate --".to_owned(),
                mutant.unwrap_or_default(),
                format!(" --seed {}", self.seed),
                changes.map(|changes| format!(" {changes}")).unwrap_or_default(),
                checks.unwrap_or_default(),
            ]
            .concat()
        };
        self.again.command.clone().unwrap_or_else(own)
    }
}

impl std::error::Error for Failure {}

/// What a panic said.
fn panic_words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
