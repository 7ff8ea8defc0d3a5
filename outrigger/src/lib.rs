//! Replicate a state machine with Raft: write one method, [`StateMachine::apply`], and get a cluster that stays up while
//! a majority of its nodes does, loses nothing that it has acknowledged, and answers linearizable reads on every node.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! use outrigger::{Config, Raft};
//! use outrigger::StateMachine;
//! use serde::{Deserialize, Serialize};
//! use std::collections::BTreeMap;
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Store(BTreeMap<String, String>);
//!
//! impl StateMachine for Store {
//!     type Command = (String, String);
//!     type Response = Option<String>;
//!
//!     fn apply(&mut self, (key, value): (String, String)) -> Option<String> {
//!         self.0.insert(key, value)
//!     }
//! }
//!
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), outrigger::Error> {
//! # let directory = tempfile::tempdir().expect("a directory");
//! # let directory = directory.path();
//! let config = Config {
//!     id: 1,
//!     data_dir: Some(directory.join("node-1")),
//!     listen_peer: "127.0.0.1:0".into(),
//!     initial_cluster: [(1, "127.0.0.1:7101".into())].into(), // name three nodes to survive the loss of one
//!     ..Config::default()
//! };
//! let raft = Raft::start(config, Store::default()).await?;
//! raft.write(("city".into(), "Oslo".into())).await?;
//! let city = raft.read(|store| store.0.get("city").cloned()).await?;
//! assert_eq!(city.as_deref(), Some("Oslo"));
//! raft.shutdown().await
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # Where to go from here
//!
//! | you want to | look at |
//! |---|---|
//! | write to and read from a node | [`Raft`], [`WriteError`], [`ReadError`] |
//! | write exactly once, whatever crashes | [`Raft::session`], [`Session`], [`runtime::sessions`] |
//! | do so from another process | [`Client`], [`Query`], [`Raft::serve_clients`] |
//! | replicate a state that is large, or on disk | [`LargeStateMachine`] |
//! | set a node up | [`Config`], by code, file or command line |
//! | watch a node | [`Raft::metrics`], [`Metrics`] |
//! | swap the log or the network | [`store`], [`network`], [`Raft::builder`] |
//! | run the consensus yourself | [`engine`], [`runtime`], the example `own_runtime` |
//!
//! # How it is made
//!
//! ```text
//!   Raft, Client          what a program holds
//!      │
//!   runtime               does: tasks, threads, queues         ◄─ commands ─┐
//!      ├── store          the log, on disk or in memory                     │
//!      ├── network        between nodes, TCP or in process                  │
//!      └── Driver ──────► engine   decides: a pure function of events ──────┘
//! ```
//!
//! # Features
//!
//! `tokio` (on): [`Raft`], [`Client`] and TCP. `clap` (on): [`Config::parse`]. Without both, the engine, the driver, the
//! stores and the codecs are left, for a runtime of one's own.
#![cfg_attr(
    not(all(feature = "tokio", feature = "clap")),
    allow(rustdoc::broken_intra_doc_links, reason = "the front page speaks of all features")
)]

/// The consensus algorithm as a pure function of events; see [`runtime`] for what executes its commands.
pub use outrigger_engine as engine;

#[macro_use]
mod mutation;

mod config;
mod error;
mod fnv;
mod state_machine;

pub mod network;
pub mod runtime;
pub mod store;

mod backup;
#[cfg(feature = "tokio")]
mod builder;
#[cfg(feature = "tokio")]
pub mod client;
#[cfg(feature = "tokio")]
mod metrics;
#[cfg(feature = "tokio")]
mod raft;
#[cfg(feature = "tokio")]
mod session;
#[cfg(feature = "tokio")]
mod watch;

pub use backup::{RestoreError, SavedSnapshot, restore_snapshot};
pub use config::{Config, ConfigError, Limits};
pub use engine::Consistency;
pub use error::{
    ChangeError, ElectError, Error, Outcome, ReadError, RoleError, SaveError, SnapshotError, StartError, Stopped,
    TransferError, WriteError,
};
pub use state_machine::{CommandBatch, LargeStateMachine, Query, StateMachine};

#[cfg(feature = "tokio")]
pub use builder::Builder;
#[cfg(feature = "tokio")]
pub use client::{Answered, Client, ClientError, ClientSession, MembersChanged, NodeStatus};
#[cfg(feature = "tokio")]
pub use metrics::{Metrics, MetricsReceiver};
#[cfg(feature = "tokio")]
pub use raft::{Raft, Writes};
#[cfg(feature = "tokio")]
pub use session::Session;
