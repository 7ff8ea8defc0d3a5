//! One server: the per-server variables of raft.tla under their own names.
//!
//! What survives a restart and what does not:
//!
//! ```text
//!   kept       current_term   voted_for   log
//!   reset      state   commit_index   votes_responded   votes_granted   next_index   match_index
//! ```
//!
//! A server does not hold its own name: every action is told who takes it, as in raft.tla, where `i` is a parameter.

use crate::log::{Log, LogIndex, Term};
use crate::server_set::{ServerId, ServerMap, ServerSet};
use std::fmt;

/// What a server is in its current term: raft.tla's `state[i]` (Raft paper, 5.1 and figure 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// It won the election of its term: it alone appends entries of that term.
    Leader,
    /// It asks for votes.
    Candidate,
    /// It answers leaders and candidates; every server starts so.
    Follower,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Follower => "follower",
        })
    }
}

/// The variables of one server.
///
/// The fields are open, as variables of a specification are: tests break them on purpose to see an invariant notice.
/// The domain of `next_index` and `match_index` is the constant `Server` as this server knows it: the whole cluster,
/// itself included.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server<V> {
    /// Never goes down, at least [`Term::FIRST`].
    pub current_term: Term,
    /// A leader or candidate leaves its role when its term ends.
    pub state: ServerState,
    /// Whom it voted for in `current_term`; goes from `None` to one candidate and stays until the term ends.
    pub voted_for: Option<ServerId>,
    /// Terms ascend in it and none is above `current_term`.
    pub log: Log<V>,
    /// At most the log's length. It may go down: a restart forgets it, and raft.tla takes a leader's word for it.
    pub commit_index: LogIndex,
    /// While it is a candidate: who has answered its request of `current_term`. Left over otherwise.
    pub votes_responded: ServerSet,
    /// While it is a candidate or leader: who voted for it in `current_term`; part of `votes_responded`.
    pub votes_granted: ServerSet,
    /// While it is a leader: the next entry to send to each server, at least 1. Its own place is never read.
    pub next_index: ServerMap<LogIndex>,
    /// While it is a leader: the last entry that each server is known to share with it. Its own place is never read.
    pub match_index: ServerMap<LogIndex>,
}

impl<V> Server<V> {
    /// A server as raft.tla's `Init` has it: a follower of term 1 with an empty log, in the cluster `servers`.
    #[must_use]
    pub fn new(servers: &ServerSet) -> Self {
        Self {
            current_term: Term::FIRST,
            state: ServerState::Follower,
            voted_for: None,
            log: Log::new(),
            commit_index: LogIndex::ZERO,
            votes_responded: ServerSet::new(),
            votes_granted: ServerSet::new(),
            next_index: ServerMap::new(servers, |_| LogIndex::FIRST),
            match_index: ServerMap::new(servers, |_| LogIndex::ZERO),
        }
    }

    /// Whether `votes` is a quorum: more than half of the cluster. Strangers to the cluster do not count.
    ///
    /// ```
    /// use outrigger_model::{Server, ServerId, ServerSet};
    ///
    /// let server: Server<char> = Server::new(&ServerSet::first(4));
    /// assert!(!server.is_quorum(&ServerSet::first(2)));
    /// assert!(server.is_quorum(&ServerSet::first(3)));
    /// assert!(!server.is_quorum(&[1, 2, 8, 9].map(ServerId).into_iter().collect()));
    /// ```
    #[must_use]
    pub fn is_quorum(&self, votes: &ServerSet) -> bool {
        let counted = self.match_index.ids().filter(|id| votes.contains(*id));
        self.is_majority(counted.count())
    }

    /// Whether `count` servers of the cluster are more than half of it; of an empty cluster none are.
    #[must_use]
    pub fn is_majority(&self, count: usize) -> bool {
        count > self.match_index.len() / 2
    }
}

impl<V: Clone> Clone for Server<V> {
    fn clone(&self) -> Self {
        Self {
            current_term: self.current_term,
            state: self.state,
            voted_for: self.voted_for,
            log: self.log.clone(),
            commit_index: self.commit_index,
            votes_responded: self.votes_responded.clone(),
            votes_granted: self.votes_granted.clone(),
            next_index: self.next_index.clone(),
            match_index: self.match_index.clone(),
        }
    }

    /// Keeps the memory that it has: a search copies a state for every step that it looks at.
    fn clone_from(&mut self, source: &Self) {
        self.current_term = source.current_term;
        self.state = source.state;
        self.voted_for = source.voted_for;
        self.log.clone_from(&source.log);
        self.commit_index = source.commit_index;
        self.votes_responded.clone_from(&source.votes_responded);
        self.votes_granted.clone_from(&source.votes_granted);
        self.next_index.clone_from(&source.next_index);
        self.match_index.clone_from(&source.match_index);
    }
}

impl<V: fmt::Debug> fmt::Display for Server<V> {
    /// Prints one line, without what a server in its state does not look at:
    /// `leader of term 2, voted for s1, log [2:1], commit 0, next {s1: 1, s2: 2}, match {s1: 0, s2: 1}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}, ", self.state, self.current_term)?;
        match self.voted_for {
            Some(candidate) => write!(f, "voted for {candidate}, ")?,
            None => f.write_str("no vote, ")?,
        }
        write!(f, "log {}, commit {}", self.log, self.commit_index)?;
        match self.state {
            ServerState::Leader => write!(f, ", next {}, match {}", self.next_index, self.match_index),
            ServerState::Candidate => write!(f, ", votes {} of {}", self.votes_granted, self.votes_responded),
            ServerState::Follower => Ok(()),
        }
    }
}
