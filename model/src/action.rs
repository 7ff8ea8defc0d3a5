//! The actions that a server takes of its own accord, one function each, in the order and with the names of raft.tla.
//!
//! An action is a guard and an effect. The guard is a function `can_...` of its own, so that a search can ask which
//! actions are possible; the effect asserts it. Sending is left to the caller: an action that sends returns its message.
//!
//! ```text
//!                    Timeout                    BecomeLeader
//!    Follower ───────────────────▶ Candidate ─────────────────▶ Leader
//!       ▲                           │  ▲  │                       │
//!       │                           │  └──┘ Timeout               │
//!       └──── Restart, UpdateTerm, ─┴─────── Restart, UpdateTerm ─┘
//!             step down (handle.rs)
//! ```

use crate::log::{Entry, LogIndex};
use crate::message::{AppendEntriesRequest, Body, Message};
use crate::server::{Server, ServerState};
use crate::server_set::ServerId;

impl<V: Clone> Server<V> {
    /// **Restart(i)**: always possible. The server loses all but `current_term`, `voted_for` and `log`.
    pub fn restart(&mut self) {
        self.state = ServerState::Follower;
        self.votes_responded.clear();
        self.votes_granted.clear();
        self.next_index.fill(LogIndex::FIRST);
        self.match_index.fill(LogIndex::ZERO);
        self.commit_index = LogIndex::ZERO;
    }

    /// Whether **Timeout(i)** is possible: for followers and candidates, while there is a next term.
    #[must_use]
    pub fn can_timeout(&self) -> bool {
        self.state != ServerState::Leader && self.current_term.next().is_some()
    }

    /// **Timeout(i)**: starts an election (Raft paper, 5.2). The candidate votes for itself by message, like anyone else.
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_timeout`].
    pub fn timeout(&mut self) {
        assert!(self.can_timeout(), "Timeout: {} may not", self.state);
        let Some(term) = self.current_term.next() else {
            return;
        };
        self.state = ServerState::Candidate;
        self.current_term = term;
        self.voted_for = None;
        self.votes_responded.clear();
        self.votes_granted.clear();
    }

    /// Whether **RequestVote(i, j)** is possible: for a candidate that has no answer from `j`, which may be itself.
    #[must_use]
    pub fn can_request_vote(&self, j: ServerId) -> bool {
        self.state == ServerState::Candidate && !self.votes_responded.contains(j)
    }

    /// **RequestVote(i, j)**: `i`, this server, asks `j` for its vote.
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_request_vote`].
    #[must_use]
    pub fn request_vote(&self, i: ServerId, j: ServerId) -> Message<V> {
        assert!(self.can_request_vote(j), "RequestVote({i}, {j})");
        let body = Body::RequestVoteRequest { last_log_term: self.log.last_term(), last_log_index: self.log.len() };
        Message::new(self.current_term, i, j, body)
    }

    /// Whether **AppendEntries(i, j)** is possible: for a leader `i`, this server, towards another server of its cluster.
    #[must_use]
    pub fn can_append_entries(&self, i: ServerId, j: ServerId) -> bool {
        self.state == ServerState::Leader && i != j && self.next_index.at(j).is_some()
    }

    /// **AppendEntries(i, j)**: sends `j` the entry that it needs next, or none (Raft paper, 5.3).
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_append_entries`].
    #[must_use]
    pub fn append_entries(&self, i: ServerId, j: ServerId) -> Message<V> {
        assert!(self.can_append_entries(i, j), "AppendEntries({i}, {j})");
        let next_index = self.next_index.at(j).copied().unwrap_or(LogIndex::FIRST);
        assert!(next_index >= LogIndex::FIRST, "next_index below 1");
        let prev_log_index = next_index.previous();
        let last_entry = next_index.min(self.log.len());
        let body = Body::AppendEntriesRequest(AppendEntriesRequest {
            prev_log_index,
            prev_log_term: self.log.term_at(prev_log_index),
            entry: self.log.entry(next_index).cloned(),
            // Never more than the receiver can check by this message.
            commit_index: self.commit_index.min(last_entry),
        });
        Message::new(self.current_term, i, j, body)
    }

    /// Whether **`BecomeLeader(i)`** is possible: for a candidate with the votes of a quorum.
    #[must_use]
    pub fn can_become_leader(&self) -> bool {
        self.state == ServerState::Candidate && self.is_quorum(&self.votes_granted)
    }

    /// **`BecomeLeader(i)`**: what it knows of the others' logs starts afresh.
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_become_leader`].
    pub fn become_leader(&mut self) {
        assert!(self.can_become_leader(), "BecomeLeader: no quorum of votes");
        self.state = ServerState::Leader;
        self.next_index.fill(self.log.len().next());
        self.match_index.fill(LogIndex::ZERO);
    }

    /// Whether **`ClientRequest(i, v)`** is possible: for a leader.
    #[must_use]
    pub fn can_client_request(&self) -> bool {
        self.state == ServerState::Leader
    }

    /// **`ClientRequest(i, v)`**: appends `value` under the leader's term.
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_client_request`].
    pub fn client_request(&mut self, value: V) {
        assert!(self.can_client_request(), "ClientRequest: {}", self.state);
        let term = self.current_term;
        self.log.push(Entry { term, value });
    }

    /// Whether **`AdvanceCommitIndex(i)`** is possible: for a leader, also when nothing will change.
    #[must_use]
    pub fn can_advance_commit_index(&self) -> bool {
        self.state == ServerState::Leader
    }

    /// **`AdvanceCommitIndex(i)`**: commits up to the largest index that a quorum holds, if the entry there is of the
    /// leader's own term (Raft paper, 5.4.2 and figure 8). It may go down again when an older answer arrives late.
    ///
    /// # Panics
    /// If the action is not possible, see [`Server::can_advance_commit_index`].
    pub fn advance_commit_index(&mut self, i: ServerId) {
        assert!(self.can_advance_commit_index(), "AdvanceCommitIndex({i})");
        let agreed = self.log.iter().map(|(index, _)| index).rfind(|index| self.is_majority(self.agree(i, *index)));
        if let Some(index) = agreed
            && self.log.term_at(index) == self.current_term
        {
            self.commit_index = index;
        }
    }

    /// The size of raft.tla's `Agree(index)`: the leader `i` itself and all that are known to hold `index`.
    fn agree(&self, i: ServerId, index: LogIndex) -> usize {
        let holders = self.match_index.iter();
        holders.filter(|(k, held)| *k == i || **held >= index).count()
    }
}
