//! The engine decides, a runtime does: the trait between them, and the driver that every runtime shares.
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

use outrigger_engine::Command;

use crate::store::StorageError;

mod driver;
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
pub(crate) mod core;
#[cfg(feature = "tokio")]
mod expected;
#[cfg(feature = "tokio")]
pub(crate) mod log_writer;
#[cfg(feature = "tokio")]
mod mailbox;
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
pub(crate) mod supervise;

pub use driver::Driver;
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
