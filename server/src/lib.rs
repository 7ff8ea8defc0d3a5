//! The key-value store that the server `outrigger` replicates, for Rust programs that want to talk to it.
//!
//! ```text
//!   outrigger put city Oslo ─┐                     ┌─ node 1: Store
//!                            ├─ Client<Store> ─────┼─ node 2: Store     same commands, same order, same state
//!   your own program ────────┘                     └─ node 3: Store
//! ```
//!
//! ```no_run
//! use outrigger::Client;
//! use outrigger_server::store::{Command, Store};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::<Store>::connect(["127.0.0.1:7201", "127.0.0.1:7202"]).await?;
//! let change = client.write(Command::put("city", "Oslo")).await??;
//! println!("{change:?}");
//! # Ok(())
//! # }
//! ```

pub mod store;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
