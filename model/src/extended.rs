//! The extended model: Raft as a product runs it, with what raft.tla leaves out.
//!
//! | raft.tla | here |
//! |---|---|
//! | what a server has is durable at once | writes queue up in one order; a crash keeps any beginning of that queue |
//! | one entry in a message | any run of a leader's log |
//! | a candidate votes for itself by message | by its own durable vote |
//! | `commitIndex` and `matchIndex` may go down | they only grow, but for a restart |
//! | no way out of leadership but a later term | [`Action::StepDown`]: check-quorum, or a pre-vote that begins |
//! | no reads | read index: asked, begun on the leader, confirmed by a round of heartbeats, served |
//! | no clocks | none here either: a lease is what clocks must see to, [`Action::ConfirmReadByLease`] |
//! | a fixed set of voters | configurations in the log, changed by joint consensus: [`Configuration`] |
//! | nothing but its leader's log brings a follower on | snapshots: [`Action::InstallSnapshot`] |
//!
//! # The network is what was said
//! A network that loses, doubles, delays and reorders may deliver anything that was ever said, at any time, or never. So
//! there are no messages here but [`Said`]: knowledge that only grows. A vote may be said from when it is durable, an
//! acknowledgement from when the entries are, an entry from when its leader has it. Nothing needs to be lost or doubled
//! on purpose: a step that uses what was said may be taken, or not, or twice.
//!
//! ```text
//!   Timeout ──► pending: vote ──Flush──► said: asked, granted ──► GrantVote, elsewhere ──Flush──► said: granted
//!                                                                                                   │
//!   said: led ◄── ClientRequest ◄── BecomeLeader ◄── CountVote ◄─────────────────────────────────────┘
//!     │
//!     └──► HandleAppendEntries, elsewhere ──Flush──► said: acknowledged ──► HandleAcknowledgement ──► AdvanceCommitIndex
//! ```
//!
//! A pre-vote changes nothing that is modelled: it is a stutter. A transfer of leadership is the [`Action::Timeout`] of whom it goes to,
//! which may come at any time.
//!
//! # Snapshots
//! The log is whole here for ever: what a server purged because a snapshot covers it is a ghost. So neither taking a snapshot nor
//! a purge is a step. Installing one is: a log that lacks what it covers becomes that prefix of the log, in one write. It is a
//! prefix of what was committed in the server's term or an earlier one. A server that finds a snapshot at a restart that its log
//! lacks restarts from its log, and installs the snapshot then.
//!
//! # An example
//! ```
//! use outrigger_model::extended::{Action, System, check_state};
//! use outrigger_model::{LogIndex, ServerId, ServerSet, Term};
//!
//! let s1 = ServerId(1);
//! let mut system = System::new(&ServerSet::first(1));
//! for action in [
//!     Action::Timeout(s1),
//!     Action::Flush(s1, 1), // its vote for itself is durable
//!     Action::CountVote(s1, s1),
//!     Action::BecomeLeader(s1),
//!     Action::ClientRequest(s1, vec!['x', 'y']),
//!     Action::Flush(s1, 2),
//!     Action::AdvanceCommitIndex(s1, LogIndex(2)),
//! ] {
//!     system.apply(&action)?;
//!     assert_eq!(check_state(&system), Ok(()));
//! }
//! assert_eq!(system.servers.at(s1).unwrap().commit_index, LogIndex(2));
//! # Ok::<(), outrigger_model::extended::NotEnabled>(())
//! ```

mod configuration;
mod enabled;
mod invariant;
mod said;
#[cfg(test)]
mod sample;
mod search;
mod server;
mod step;

pub use configuration::{Command, Configuration, Value};
pub use enabled::Bounds;
pub use invariant::{Violation, check_state, check_step};
pub use said::{Read, Said};
pub use search::Explored;
pub use server::{Disk, Role, Server, Write};
pub use step::NotEnabled;

use crate::log::{LogIndex, Term};
use crate::server_set::{ServerId, ServerMap, ServerSet};
use std::fmt;

/// All servers, what was said between them, and what has been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct System<V> {
    /// The variables of each server.
    pub servers: ServerMap<Server<V>>,
    /// What may arrive anywhere.
    pub said: Said<V>,
}

impl<V: Value> System<V> {
    /// The initial state of the cluster `servers`: followers in term 0 with empty logs.
    #[must_use]
    pub fn new(servers: &ServerSet) -> Self {
        Self { servers: ServerMap::new(servers, |_| Server::new(servers)), said: Said::default() }
    }
}

/// The number of a read; the caller of the model gives it.
pub type ReadId = u64;

/// One step of the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action<V> {
    /// A server with an empty log gets the entry of term 0, the same on all of them.
    Initialize(ServerId, V),
    /// A server crashes and starts again: so many of its pending writes survive, and it remembers this commit index. If its
    /// disk was full, votes behind those writes may survive too, as far as they were written: a log keeps a reserve for them.
    Restart {
        /// The server.
        server: ServerId,
        /// How many of its pending writes survive, from the first on.
        kept: usize,
        /// How many of the votes behind them survive too, from the first on.
        votes: usize,
        /// What it remembers of its commit index.
        commit: LogIndex,
    },
    /// So many pending writes of a server become durable.
    Flush(ServerId, usize),
    /// A server hears of a later term.
    UpdateTerm(ServerId, Term),
    /// A candidate or a leader becomes a follower in its own term.
    StepDown(ServerId),
    /// A server begins a campaign, and votes for itself.
    Timeout(ServerId),
    /// The first server votes for the second, which has asked for it in their term.
    GrantVote(ServerId, ServerId),
    /// A candidate, the first, counts the vote of the second.
    CountVote(ServerId, ServerId),
    /// A candidate with a quorum of votes takes office.
    BecomeLeader(ServerId),
    /// A leader appends what clients want, in one batch.
    ClientRequest(ServerId, Vec<V>),
    /// A leader appends a configuration; it counts there at once.
    ChangeConfiguration(ServerId, V),
    /// A follower takes in the entries behind `prev` up to `last` of the log of the leader of its term.
    HandleAppendEntries {
        /// The follower.
        server: ServerId,
        /// The leader of its term.
        leader: ServerId,
        /// The entry before the first one; the follower has it.
        prev: LogIndex,
        /// The last one.
        last: LogIndex,
    },
    /// A leader, the first, hears that the second holds its log durably up to an index.
    HandleAcknowledgement(ServerId, ServerId, LogIndex),
    /// A leader, the first, forgets how much of its log the second holds.
    ForgetMatch(ServerId, ServerId),
    /// A leader commits up to an index that a quorum holds durably.
    AdvanceCommitIndex(ServerId, LogIndex),
    /// A follower, the first, learns from its leader, the second, that entries up to an index are committed.
    HandleCommit(ServerId, ServerId, LogIndex),
    /// A server takes in a snapshot, of what the leader of a term had committed up to an index.
    InstallSnapshot {
        /// The server.
        server: ServerId,
        /// The term, its own or an earlier one.
        term: Term,
        /// The last entry that the snapshot covers.
        last: LogIndex,
    },
    /// A leader begins the next round of heartbeats.
    BeginRound(ServerId),
    /// A follower, the first, answers a round of the leader of its term, the second.
    AnswerRound(ServerId, ServerId, usize),
    /// A client asks for a read, anywhere.
    AskRead(ReadId),
    /// A leader learns of a read, and notes what it must see.
    BeginRead(ServerId, ReadId),
    /// A leader knows that it led when it began the read.
    ConfirmRead(ServerId, ReadId),
    /// A leader knows it by its lease: a quorum has followed it in its term, and clocks see to it that nobody has led in a later one.
    ConfirmReadByLease(ServerId, ReadId),
    /// A leader knows that it led some time ago, and the client wants no more: what was committed since need not be seen.
    ConfirmOldRead(ServerId, ReadId),
    /// A server answers a read from its state.
    ServeRead(ServerId, ReadId),
}

impl<V> Action<V> {
    /// The action's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Initialize(..) => "Initialize",
            Self::Restart { .. } => "Restart",
            Self::Flush(..) => "Flush",
            Self::UpdateTerm(..) => "UpdateTerm",
            Self::StepDown(_) => "StepDown",
            Self::Timeout(_) => "Timeout",
            Self::GrantVote(..) => "GrantVote",
            Self::CountVote(..) => "CountVote",
            Self::BecomeLeader(_) => "BecomeLeader",
            Self::ClientRequest(..) => "ClientRequest",
            Self::ChangeConfiguration(..) => "ChangeConfiguration",
            Self::HandleAppendEntries { .. } => "HandleAppendEntries",
            Self::HandleAcknowledgement(..) => "HandleAcknowledgement",
            Self::ForgetMatch(..) => "ForgetMatch",
            Self::AdvanceCommitIndex(..) => "AdvanceCommitIndex",
            Self::HandleCommit(..) => "HandleCommit",
            Self::InstallSnapshot { .. } => "InstallSnapshot",
            Self::BeginRound(_) => "BeginRound",
            Self::AnswerRound(..) => "AnswerRound",
            Self::AskRead(_) => "AskRead",
            Self::BeginRead(..) => "BeginRead",
            Self::ConfirmRead(..) => "ConfirmRead",
            Self::ConfirmReadByLease(..) => "ConfirmReadByLease",
            Self::ConfirmOldRead(..) => "ConfirmOldRead",
            Self::ServeRead(..) => "ServeRead",
        }
    }

    /// The names of all actions, in their order.
    pub const NAMES: [&'static str; 25] = [
        "Initialize",
        "Restart",
        "Flush",
        "UpdateTerm",
        "StepDown",
        "Timeout",
        "GrantVote",
        "CountVote",
        "BecomeLeader",
        "ClientRequest",
        "ChangeConfiguration",
        "HandleAppendEntries",
        "HandleAcknowledgement",
        "ForgetMatch",
        "AdvanceCommitIndex",
        "HandleCommit",
        "InstallSnapshot",
        "BeginRound",
        "AnswerRound",
        "AskRead",
        "BeginRead",
        "ConfirmRead",
        "ConfirmReadByLease",
        "ConfirmOldRead",
        "ServeRead",
    ];
}

impl<V: fmt::Debug> fmt::Display for Action<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Initialize(i, value) | Self::ChangeConfiguration(i, value) => write!(f, "{name}({i}, {value:?})"),
            Self::Restart { server, kept, votes, commit } => {
                let later = if *votes == 0 { String::new() } else { format!(" and {votes} later votes") };
                write!(f, "{name}({server}, {kept} writes{later} survive, commit {commit})")
            }
            Self::Flush(i, count) => write!(f, "{name}({i}, {count} writes)"),
            Self::UpdateTerm(i, term) => write!(f, "{name}({i}, term {term})"),
            Self::StepDown(i) | Self::Timeout(i) | Self::BecomeLeader(i) | Self::BeginRound(i) => {
                write!(f, "{name}({i})")
            }
            Self::GrantVote(i, j) | Self::CountVote(i, j) | Self::ForgetMatch(i, j) => write!(f, "{name}({i}, {j})"),
            Self::ClientRequest(i, values) => write!(f, "{name}({i}, {values:?})"),
            Self::HandleAppendEntries { server, leader, prev, last } => {
                write!(f, "{name}({server}, from {leader}, behind {prev} up to {last})")
            }
            Self::HandleAcknowledgement(i, j, index) | Self::HandleCommit(i, j, index) => {
                write!(f, "{name}({i}, {j}, index {index})")
            }
            Self::InstallSnapshot { server, term, last } => {
                write!(f, "{name}({server}, committed in term {term} up to {last})")
            }
            Self::AdvanceCommitIndex(i, index) => write!(f, "{name}({i}, index {index})"),
            Self::AnswerRound(i, j, round) => write!(f, "{name}({i}, {j}, round {round})"),
            Self::AskRead(read) => write!(f, "{name}(read {read})"),
            Self::BeginRead(i, read)
            | Self::ConfirmRead(i, read)
            | Self::ConfirmReadByLease(i, read)
            | Self::ConfirmOldRead(i, read)
            | Self::ServeRead(i, read) => {
                write!(f, "{name}({i}, read {read})")
            }
        }
    }
}
