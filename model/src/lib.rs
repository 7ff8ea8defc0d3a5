//! The specification of Raft as executable Rust: raft.tla, action by action.
//!
//! Diego Ongaro's TLA+ specification of Raft (`raft.tla`, in the repository ongardie/raft.tla) is what this library's
//! consensus is held against. This crate is that specification as code that can be run, searched and compared with:
//! it is the judge, so it knows nothing of the engine that it judges, and depends on nothing at all.
//!
//! # How to read it beside raft.tla
//! Variables keep their names. Those of one server are the fields of [`Server`]; `messages` is a [`Bag`] of [`Message`];
//! both together are a [`System`], one value that can be compared, ordered, hashed and cloned. Histories stand apart in
//! [`History`], and a [`Model`] is a system with its history. Actions keep their names and their order:
//!
//! | raft.tla | guard | effect | one step of the system |
//! |---|---|---|---|
//! | Restart(i) | always | [`Server::restart`] | [`Action::Restart`] |
//! | Timeout(i) | [`Server::can_timeout`] | [`Server::timeout`] | [`Action::Timeout`] |
//! | RequestVote(i, j) | [`Server::can_request_vote`] | [`Server::request_vote`] | [`Action::RequestVote`] |
//! | AppendEntries(i, j) | [`Server::can_append_entries`] | [`Server::append_entries`] | [`Action::AppendEntries`] |
//! | BecomeLeader(i) | [`Server::can_become_leader`] | [`Server::become_leader`] | [`Action::BecomeLeader`] |
//! | ClientRequest(i, v) | [`Server::can_client_request`] | [`Server::client_request`] | [`Action::ClientRequest`] |
//! | AdvanceCommitIndex(i) | [`Server::can_advance_commit_index`] | [`Server::advance_commit_index`] | [`Action::AdvanceCommitIndex`] |
//! | Receive(m) | [`Server::receive_case`] | [`Server::receive`] | [`Action::Receive`] |
//! | UpdateTerm, DropStaleResponse, Handle... | [`Case`] | private functions of `handle.rs` | |
//! | DuplicateMessage(m) | in the bag | [`Bag::send`] | [`Action::DuplicateMessage`] |
//! | DropMessage(m) | in the bag | [`Bag::discard`] | [`Action::DropMessage`] |
//!
//! raft.tla states no invariants; ours are in [`invariant`], and [`explore`] visits every state within bounds to see that
//! they hold, or prints a shortest way to where one does not. [`raftmodel`] is another face of the same actions: a single
//! server behind `handle_message`, with the API of the crate of that name.
//!
//! # What is different on purpose
//! - `mlog`, which only proofs read, is filled in by [`Model::apply`] and left empty by [`System::apply`], so that a search
//!   over systems tells states apart as TLC does when that field is emptied.
//! - A server does not know its name: `i` is a parameter, as in the specification.
//! - Numbers end: there is no `Timeout` after the last term that a `usize` can name.
//!
//! # An example
//! The shortest way to a committed entry, in a cluster of one:
//! ```
//! use outrigger_model::{Action, LogIndex, Model, ServerId, ServerSet, invariant};
//!
//! let s1 = ServerId(1);
//! let mut model = Model::new(&ServerSet::first(1));
//! let mut step = |action: Action<char>| {
//!     model.apply(&action)?;
//!     assert_eq!(invariant::check_state(&model), Ok(()));
//!     Ok(model.system.clone())
//! };
//! step(Action::Timeout(s1))?;
//! // A candidate asks itself for its vote, and tells itself the answer.
//! let mut system = step(Action::RequestVote(s1, s1))?;
//! while !system.messages.is_empty() {
//!     let message = system.messages.iter().next().map(|(message, _)| message.clone());
//!     system = step(Action::Receive(message.unwrap()))?;
//! }
//! step(Action::BecomeLeader(s1))?;
//! step(Action::ClientRequest(s1, 'x'))?;
//! let system = step(Action::AdvanceCommitIndex(s1))?;
//! assert_eq!(system.servers.at(s1).unwrap().commit_index, LogIndex(1));
//! # Ok::<(), outrigger_model::ApplyError>(())
//! ```

mod action;
pub mod explore;
pub mod extended;
mod handle;
mod history;
pub mod invariant;
mod log;
mod message;
pub mod raftmodel;
mod server;
mod server_set;
mod system;

pub use handle::{Case, Outcome};
pub use history::{Election, History};
pub use log::{Entry, Log, LogIndex, Term};
pub use message::{AppendEntriesRequest, Bag, Body, Message};
pub use server::{Server, ServerState};
pub use server_set::{ServerId, ServerMap, ServerSet};
pub use system::{Action, ApplyError, Model, System};
