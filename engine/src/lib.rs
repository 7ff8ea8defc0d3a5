//! The Raft consensus algorithm as a pure function of events: everything that *decides*, nothing that *does*.
//!
//! ```text
//!                       handle_event(event, now)
//!     messages, ───────────────────────────────────►┌──────────┐
//!     timeouts,                                     │  Engine  │   no clock, no chance but a seed in its own state,
//!     proposals,        poll_timeout() ◄────────────│          │   no channel, no I/O, no async, no type parameter
//!     completions       poll_command() ◄────────────└──────────┘
//! ```
//!
//! Whoever owns an [`Engine`] hands it [`Event`]s, executes its [`Command`]s in the order of their [`Lane`]s and reports
//! completions as events. The engine emits a command only once its condition holds: a vote's answer leaves after the
//! vote is durable, a read reaches the state machine behind what it must see. Whoever executes commands judges nothing.
//!
//! What is durable, and who may be told, follows one order of storage writes:
//!
//! - *accepted*: the engine has handled it; the log, the vote and the membership already count with it;
//! - *submitted*: the command has been taken over by the log lane;
//! - *flushed*: [`Event::LogFlushed`] said that it is durable; now others may hear of it.
//!
//! The files follow the protocol: `election` (Raft paper, sections 5.2 and 5.4.1; thesis, section 9.6), `leader`,
//! `replication` and `progress` (5.3 and 5.4.2), `follower` (5.3), `change`, `change_members` and `membership` (thesis,
//! chapter 4), `binding` (which directory is a member), `version` (what may be said while builds differ), `upkeep` (what a leader
//! writes of its own accord of these two), `snapshot` (Raft paper, section 7), `read` (thesis, section 6.4), `propose`, `writes`
//! (the order of storage writes). `engine` dispatches; `role` holds what only one role needs; `invariant` is checked after every event.
//!
//! # A single node, step by step
//! ```
//! use std::sync::Arc;
//! use outrigger_engine::*;
//!
//! let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 42);
//! let mut engine = Engine::new(config, Restored::default(), Instant(0));
//! let alone = Membership::new([(NodeId(1), Node::default())], []).with_version(Version::LATEST);
//! engine.handle_event(Event::Initialize { token: Token(1), membership: Arc::new(alone) }, Instant(0));
//!
//! // Execute what it wants done: here, everything is durable at once.
//! let mut trace = Vec::new();
//! while let Some(now) = engine.poll_timeout().filter(|_| engine.role_kind() != RoleKind::Leader) {
//!     engine.handle_event(Event::Timeout, now);
//!     while let Some(command) = engine.poll_command() {
//!         trace.push(command.to_string());
//!         if let Command::SaveVote { write, .. } | Command::AppendInputEntries { write, .. } = command {
//!             engine.handle_event(Event::LogFlushed { write }, now);
//!         }
//!     }
//! }
//! let applied = trace.iter().find(|it| it.starts_with("apply"));
//! assert_eq!(applied.unwrap(), "apply 1..1/2", "the membership and the leader's blank entry are committed");
//! ```

#[macro_use]
mod mutation;

mod binding;
mod by_hand;
mod change;
mod change_members;
mod command;
mod compare;
mod config;
mod consistency;
mod delegate;
mod election;
mod engine;
mod entry;
mod event;
mod fingerprint;
mod follower;
mod invariant;
mod lapse;
mod leader;
mod lease;
mod log_ids;
mod meeting;
mod membership;
mod message;
mod node_map;
mod node_set;
mod progress;
mod propose;
mod quorum;
mod random;
mod read;
mod refusal;
mod replication;
mod restored;
mod role;
mod snapshot;
mod status;
mod timer;
mod trace;
mod transfer;
mod types;
mod upkeep;
mod version;
mod writes;

pub use binding::Binding;
pub use by_hand::NotElected;
pub use change_members::{ChangeMembers, ChangeRequest, Precondition, Preconditions};
pub use command::{Command, Lane, StateMachineRequest};
pub use config::{ConfigError, EngineConfig, Limits, SnapshotPolicy};
pub use consistency::{Consistency, Proof};
pub use engine::Engine;
pub use entry::{Batch, Body, Payload};
pub use event::Event;
pub use fingerprint::Fingerprint;
pub use lapse::Lapse;
pub use membership::{Goal, Membership, Node};
pub use message::{
    AppendEntries, AppendEntriesReply, AppendOutcome, DelegateSnapshot, Heartbeat, HeartbeatReply, InstallSnapshot,
    InstallSnapshotReply, Message, VoteReply, VoteRequest, Wanted, Warrant,
};
pub use node_map::{NodeMap, NodeMapIter};
pub use node_set::NodeSet;
pub use quorum::{Joint, Majority, VoteResult};
pub use refusal::{Fault, Inconsistency, PeerRefusal, Refusal};
pub use restored::Restored;
pub use snapshot::{Snapshot, SnapshotId};
pub use status::{Brought, RoleKind, Status};
pub use transfer::{NotTransferred, Transferred};
pub use types::{
    Epoch, Founding, Genesis, Incarnation, Instant, LogId, LogIndex, LogTime, NodeId, Peer, RequestId, Round,
    SessionId, StateHash, Term, Token, Vote, WriteId,
};
pub use version::Version;

#[cfg(outrigger_mutants)]
#[doc(hidden)]
pub use mutation::{choose_mutant, is_mutant, mutant_id};
