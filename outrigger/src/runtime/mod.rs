//! The engine decides, a runtime does: the trait between them, the driver that every runtime shares, and the runtime on
//! tokio.
//!
//! ```text
//!            events                         commands
//!   ┌─────────────────────► Engine ───────────────────────┐
//!   │                    (pure: decides)                  ▼
//!   │                                                   Driver ── parks what a full lane hands back
//!   │                                                     │
//!   │        completions, messages, timeouts              ▼ run_command
//!   └──────────────────────────────────────────────── RaftRuntime
//!                                        (does: disk, network, state machine, answers)
//! ```
//!
//! # The runtime on tokio
//!
//! Behind [`Raft`](crate::Raft) (feature `tokio`) stand these tasks and threads, each with one job, and between any two of
//! them a mailbox that is emptied at once. What hosts them, and gives them random numbers, is the node's [`Environment`]:
//!
//! ```text
//!   callers ──► RaftCore ──────────► log writer (thread) ──► disk        preparer (thread): makes files ahead of need
//!                │  │  ▲                  │
//!                │  │  └─── completions ──┴──────────────────────┐
//!                │  └─────► replication streams, one per peer ───┤
//!                │            └──► transport ──► peers           │
//!                └────────► state machine worker ────────────────┘
//!                             └──► callers
//! ```
//!
//! The way of one write, file by file: `raft.rs` encodes it and puts it into the inbox (`arrivals.rs`); RaftCore (`core.rs`)
//! proposes all that has come together; the engine commands `AppendInputEntries` and `Replicate` (`command.rs`), which
//! the log writer (`log_writer.rs`) and the streams (`replication.rs`) carry out at the same time; once a majority holds it
//! durably, the engine commands `Apply`, and the worker (`apply.rs`) applies it and answers the caller who waits for that
//! log id (`expected.rs`).

use outrigger_engine::Command;

use crate::store::StorageError;

mod driver;
pub mod encoded;
pub mod sessions;
pub(crate) mod tail;

#[cfg(feature = "tokio")]
pub(crate) mod apply;
#[cfg(feature = "tokio")]
pub(crate) mod arrivals;
#[cfg(feature = "tokio")]
pub(crate) mod clock;
#[cfg(feature = "tokio")]
pub(crate) mod command;
#[cfg(feature = "tokio")]
mod committing;
#[cfg(feature = "tokio")]
pub(crate) mod core;
#[cfg(feature = "tokio")]
mod ending;
#[cfg(feature = "tokio")]
pub(crate) mod environment;
#[cfg(feature = "tokio")]
mod expected;
#[cfg(feature = "tokio")]
pub(crate) mod log_writer;
#[cfg(feature = "tokio")]
mod mailbox;
#[cfg(all(test, feature = "tokio"))]
mod nothing;
#[cfg(feature = "tokio")]
pub(crate) mod order;
#[cfg(feature = "tokio")]
mod pace;
#[cfg(feature = "tokio")]
pub(crate) mod preparer;
#[cfg(feature = "tokio")]
pub(crate) mod publish;
#[cfg(feature = "tokio")]
mod replication;
#[cfg(feature = "tokio")]
pub(crate) mod respond;
#[cfg(feature = "tokio")]
pub(crate) mod retry;
#[cfg(feature = "tokio")]
pub(crate) mod snapshot;
#[cfg(feature = "tokio")]
pub(crate) mod spin;
#[cfg(feature = "tokio")]
pub(crate) mod supervise;

pub use driver::Driver;
#[cfg(feature = "tokio")]
pub use environment::{Environment, Task};
pub use tail::{Held, Tail};

/// Executes what the engine decides. The tokio runtime, the simulator and the single-threaded example all are one.
pub trait RaftRuntime {
    /// Starts a command; never blocks, never waits. Its completion, also its failure, comes back as an event.
    ///
    /// `Ok(None)`: it is under way. `Ok(Some(command))`: its lane is full; the driver keeps it at the head of that lane
    /// and tries again when [`Driver::room`] says that there is room. Only the apply lane and the peer lanes hand back.
    ///
    /// # Errors
    /// The log lane is poisoned already; the driver tells the engine, which halts.
    fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError>;
}
