//! One server behind `handle_message`: the API of the crate `raftmodel` 0.1.3 on the actions of raft.tla.
//!
//! A [`RaftServer`] is driven by messages alone. Some are orders from outside (a client's request, a timer that ran out),
//! the others are what servers say to each other. What `handle_message` returns is to be delivered to the servers named
//! as `dest`: at once, late, twice or never.
//!
//! | message | actions of raft.tla that it stands for |
//! |---|---|
//! | `TimeOut` | Timeout; its own vote, at once; `BecomeLeader` if that is a quorum, else `RequestVote` to each of `followers` |
//! | `ClientRequest` | `ClientRequest`, `AdvanceCommitIndex` |
//! | `AppendEntries` | `AppendEntries` to each of `followers` |
//! | `BecomeLeader` | `BecomeLeader` if a quorum has voted for the candidate; on a leader, `AppendEntries` to each of `followers` |
//! | `RequestVoteRequest` | Receive |
//! | `RequestVoteResponse` | Receive; `BecomeLeader` if that makes a quorum |
//! | `AppendEntriesRequest` | Receive, once for each entry |
//! | `AppendEntriesResponse` | Receive; `AdvanceCommitIndex`; `AppendEntries` to the sender if it lacks entries |
//!
//! Receive is repeated while the message stays (see [`crate::Outcome::Stay`]), so that one call does all there is to do.
//! Messages that no server running this code sends are ignored, whatever numbers are in them.
//!
//! Ids may be any numbers. A server learns its own from the first message that names it as `dest`, and its cluster (itself
//! and `followers`) from `TimeOut`.
//!
//! # Quick Start
//! ```
//! use outrigger_model::raftmodel::*;
//! use std::collections::{VecDeque, HashSet};
//! use std::fmt::Debug;
//! fn run_message<T>(initial_message: RaftMessage<T>, servers: &mut Vec<RaftServer<T>>)
//! where
//!     T: Sized + Clone + PartialEq + Eq + Debug + Default,
//! {
//!     let mut messages = VecDeque::new();
//!     messages.push_back(initial_message);
//!     while let Some(msg) = messages.pop_front() {
//!         let dest = match msg {
//!             RaftMessage::ClientRequest { dest, .. }
//!             | RaftMessage::BecomeLeader { dest, .. }
//!             | RaftMessage::AppendEntries { dest, .. }
//!             | RaftMessage::AppendEntriesRequest { dest, .. }
//!             | RaftMessage::AppendEntriesResponse { dest, .. }
//!             | RaftMessage::RequestVoteRequest { dest, .. }
//!             | RaftMessage::RequestVoteResponse { dest, .. }
//!             | RaftMessage::TimeOut { dest, .. } => dest,
//!         };
//!         let server = &mut servers[dest as usize];
//!         let responses = server.handle_message(msg);
//!         messages.append(&mut responses.into_iter().collect());
//!     }
//! }
//!
//!
//!
//! let log = create_empty_log();
//!
//! let mut servers = vec![
//!     RaftServer::new(log.clone()),
//!     RaftServer::new(log.clone()),
//!     RaftServer::new(log.clone()),
//!     RaftServer::new(log.clone()),
//!     RaftServer::new(log.clone()),
//!     RaftServer::new(log.clone()),
//! ];
//!
//! // Let server 1 time out to become a candidate. It should win the election with all votes
//! run_message(
//!     RaftMessage::TimeOut {
//!         dest: 1,
//!         followers: (2..6).collect(),
//!     },
//!     &mut servers,
//! );
//! assert_eq!(*servers[1].server_state(), ServerState::Leader);
//!
//! // Client append a new entry to the leader's log
//! run_message(
//!     RaftMessage::ClientRequest{
//!         dest:1,
//!         value: "x".to_string(),
//!     },
//!     &mut servers,
//! );
//!
//! // The first AppendEntries will update leader commit_index
//! run_message(
//!     RaftMessage::AppendEntries {
//!         dest: 1,
//!         followers: (2..6).collect(),
//!     },
//!     &mut servers,
//! );
//!
//! // The second AppendEntries will update all followers commit_index
//! run_message(
//!     RaftMessage::AppendEntries {
//!         dest: 1,
//!         followers: (2..6).collect(),
//!     },
//!     &mut servers,
//! );
//!
//! assert!(servers.iter().skip(1).all(|x| { servers[1].log() == x.log() }));
//!
//!
//! ```

mod log;
mod message;

pub use self::log::{LogEntry, append_entries, create_empty_log};
pub use self::message::RaftMessage;
pub use crate::server::ServerState;

use crate::handle::Outcome;
use crate::log::{Entry, LogIndex, Term};
use crate::message::{Body, Message};
use crate::server::Server;
use crate::server_set::{ServerId, ServerMap, ServerSet};
use std::fmt::Debug;

/// A server that does nothing but handle messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftServer<T>
where
    T: Sized + Clone + PartialEq + Eq + Debug + Default,
{
    /// Its own name; `None` until a message has told it.
    id: Option<ServerId>,
    /// The variables of raft.tla. The domain of its maps is its cluster, empty until a `TimeOut` has told it.
    server: Server<T>,
    /// The entries of `server.log` behind a placeholder: the form in which this API shows them.
    log: Vec<LogEntry<T>>,
}

impl<T> RaftServer<T>
where
    T: Sized + Clone + PartialEq + Eq + Debug + Default,
{
    /// A follower with `log`, the placeholder at index 0 included.
    ///
    /// It is in term 1, or in the latest term of its log: no server holds an entry of a term that it has not been in.
    /// It has voted for nobody, so this is no way back from a crash: that is [`RaftServer::restart`].
    #[must_use]
    pub fn new(mut log: Vec<LogEntry<T>>) -> RaftServer<T> {
        if log.is_empty() {
            log = create_empty_log();
        }
        let mut server = Server::new(&ServerSet::new());
        for entry in log.iter().skip(1) {
            server.log.push(Entry::from(entry.clone()));
            server.current_term = server.current_term.max(Term(entry.term));
        }
        RaftServer { id: None, server, log }
    }

    /// Leader, candidate or follower.
    #[must_use]
    pub fn server_state(&self) -> &ServerState {
        &self.server.state
    }

    /// The log: a placeholder at index 0, and the entries from 1 on.
    #[must_use]
    pub fn log(&self) -> &Vec<LogEntry<T>> {
        &self.log
    }

    /// The server's current term, from 1 on.
    #[must_use]
    pub fn current_term(&self) -> usize {
        self.server.current_term.0
    }

    /// How far the server knows the log to be committed; 0 if it knows nothing.
    #[must_use]
    pub fn commit_index(&self) -> usize {
        self.server.commit_index.0
    }

    /// Crashes the server and starts it again: the Restart of raft.tla. It keeps its term, its vote and its log.
    ///
    /// ```
    /// use outrigger_model::raftmodel::*;
    ///
    /// let mut server = RaftServer::new(create_empty_log::<String>());
    /// server.handle_message(RaftMessage::TimeOut { dest: 1, followers: vec![] });
    /// assert_eq!(*server.server_state(), ServerState::Leader);
    /// server.restart();
    /// assert_eq!(*server.server_state(), ServerState::Follower);
    /// assert_eq!(server.current_term(), 2);
    /// ```
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// Does what `msg` asks for and returns what the server sends; the table above says which actions that takes.
    ///
    /// A message for another `dest` than the first one's is not for this server and is ignored.
    ///
    /// ```
    /// use outrigger_model::raftmodel::*;
    ///
    /// let mut server = RaftServer::new(create_empty_log::<String>());
    /// let requests = server.handle_message(RaftMessage::TimeOut {
    ///     dest: 1,
    ///     followers: vec![2, 3],
    /// });
    /// assert_eq!(requests.len(), 2);
    /// assert!(matches!(requests[0], RaftMessage::RequestVoteRequest { src: 1, dest: 2, term: 2, .. }));
    /// ```
    pub fn handle_message(&mut self, msg: RaftMessage<T>) -> Vec<RaftMessage<T>> {
        let i = msg.dest();
        if *self.id.get_or_insert(i) != i {
            return Vec::new();
        }
        match msg {
            RaftMessage::TimeOut { followers, .. } => self.time_out(i, &followers),
            RaftMessage::ClientRequest { value, .. } => self.client_request(i, value),
            RaftMessage::BecomeLeader { followers, .. } => {
                self.become_leader_if_elected();
                self.append_entries(i, &followers)
            }
            RaftMessage::AppendEntries { followers, .. } => self.append_entries(i, &followers),
            sent_by_server => self.receive_all(i, sent_by_server),
        }
    }

    /// Timeout, and the election that follows from it.
    fn time_out(&mut self, i: ServerId, followers: &[usize]) -> Vec<RaftMessage<T>> {
        if !self.server.can_timeout() {
            return Vec::new();
        }
        let others = followers.iter().copied().map(ServerId);
        let cluster: ServerSet = others.chain([i]).collect();
        // raft.tla knows the cluster from the start. Only a leader reads these maps, and taking office fills them anew.
        self.server.next_index = ServerMap::new(&cluster, |_| LogIndex::FIRST);
        self.server.match_index = ServerMap::new(&cluster, |_| LogIndex::ZERO);
        self.server.timeout();

        let own_request = self.server.request_vote(i, i);
        if let Some(own_vote) = self.receive(&own_request) {
            self.receive(&own_vote);
        }
        self.become_leader_if_elected();
        let voters = cluster.iter().filter(|j| self.server.can_request_vote(*j));
        let requests = voters.map(|j| self.server.request_vote(i, j));
        requests.map(RaftMessage::from_model).collect()
    }

    /// `ClientRequest`; in a cluster of one that is enough to commit.
    fn client_request(&mut self, i: ServerId, value: T) -> Vec<RaftMessage<T>> {
        if self.server.can_client_request() {
            self.server.client_request(value);
            self.show_last_entry();
            self.server.advance_commit_index(i);
        }
        Vec::new()
    }

    /// `BecomeLeader` as soon as it is possible; without an election it never is.
    fn become_leader_if_elected(&mut self) {
        if self.server.can_become_leader() {
            self.server.become_leader();
        }
    }

    /// `AppendEntries` to those of `followers` that are in the cluster.
    fn append_entries(&self, i: ServerId, followers: &[usize]) -> Vec<RaftMessage<T>> {
        let targets = followers.iter().copied().map(ServerId);
        let targets = targets.filter(|j| self.server.can_append_entries(i, *j));
        let requests = targets.map(|j| self.server.append_entries(i, j));
        requests.map(RaftMessage::from_model).collect()
    }

    /// Receives what another server said, and takes the actions of its own that this makes possible.
    fn receive_all(&mut self, i: ServerId, msg: RaftMessage<T>) -> Vec<RaftMessage<T>> {
        let messages = msg.into_model();
        let Some(first) = messages.first() else {
            return Vec::new();
        };
        if self.acknowledges_too_much(first) {
            return Vec::new();
        }
        let mut reply = None;
        for m in &messages {
            reply = self.receive(m);
            if !reply.as_ref().is_some_and(is_acceptance) {
                break;
            }
        }
        self.become_leader_if_elected();
        let next = self.next_append_entries(i, first);
        let sent = reply.into_iter().chain(next);
        sent.map(RaftMessage::from_model).collect()
    }

    /// Whether `m` claims that a follower holds more than this server's own log: no follower of its says so.
    fn acknowledges_too_much(&self, m: &Message<T>) -> bool {
        matches!(m.body, Body::AppendEntriesResponse { match_index, .. } if match_index > self.server.log.len())
    }

    /// Receive, until the message is gone; what is sent in reply.
    fn receive(&mut self, m: &Message<T>) -> Option<Message<T>> {
        loop {
            let outcome = self.server.receive(m);
            self.show_last_entry();
            match outcome {
                Some(Outcome::Stay) => {}
                Some(Outcome::Reply(response)) => return Some(response),
                Some(Outcome::Discard) | None => return None,
            }
        }
    }

    /// After the answer `m` to an append: commits what it allows; the next append if the sender needs more.
    fn next_append_entries(&mut self, i: ServerId, m: &Message<T>) -> Option<Message<T>> {
        if !matches!(m.body, Body::AppendEntriesResponse { .. }) {
            return None;
        }
        if m.term != self.server.current_term || !self.server.can_append_entries(i, m.source) {
            return None;
        }
        self.server.advance_commit_index(i);
        let next_index = self.server.next_index.at(m.source)?;
        // So it does after each rejection: that has just moved next_index back.
        let lacks_entries = *next_index <= self.server.log.len();
        lacks_entries.then(|| self.server.append_entries(i, m.source))
    }

    /// Brings the shown log up to date after an action, which changes it by at most its last entry.
    fn show_last_entry(&mut self) {
        let length = self.server.log.len();
        self.log.truncate(length.next().0);
        if self.log.len() < length.next().0
            && let Some(entry) = self.server.log.entry(length)
        {
            self.log.push(LogEntry::from(entry.clone()));
        }
        assert_eq!(self.log.len(), length.next().0, "the shown log fell behind");
    }
}

/// Whether `reply` says that an append was accepted.
fn is_acceptance<T>(reply: &Message<T>) -> bool {
    matches!(reply.body, Body::AppendEntriesResponse { success: true, .. })
}
