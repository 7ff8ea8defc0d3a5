//! The messages of this API, and how those between servers stand for messages of raft.tla.

use super::LogEntry;
use crate::log::{Entry, LogIndex, Term};
use crate::message::{AppendEntriesRequest, Body, Message};
use crate::server_set::ServerId;
use std::fmt::Debug;

/// What a server is told and what it says. Terms and indexes count from 1; 0 stands before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RaftMessage<T>
where
    T: Sized + Clone + PartialEq + Eq + Debug + Default,
{
    /// An order to a leader: append `value`. Others ignore it.
    ClientRequest {
        /// The server that the order is for.
        dest: usize,
        /// What to append.
        value: T,
    },
    /// An order to a candidate: take office, if a quorum has voted for it. It is no way around an election.
    BecomeLeader {
        /// The server that the order is for.
        dest: usize,
        /// Whom to tell at once; members of its cluster.
        followers: Vec<usize>,
    },
    /// An order to a leader: send each of `followers` what it needs next, or a heartbeat. Others ignore it.
    AppendEntries {
        /// The server that the order is for.
        dest: usize,
        /// Whom to send to; members of its cluster, strangers are passed over.
        followers: Vec<usize>,
    },
    /// A leader replicates entries.
    AppendEntriesRequest {
        /// The leader.
        src: usize,
        /// The follower.
        dest: usize,
        /// The leader's term.
        term: usize,
        /// The place just before `entries`.
        prev_index: usize,
        /// The term of the entry there, 0 if there is none.
        prev_term: usize,
        /// How far the leader has committed.
        commit_index: usize,
        /// What to append: a [`RaftServer`](super::RaftServer) sends at most one entry, and takes any number.
        entries: Vec<LogEntry<T>>,
    },
    /// A follower's answer to `AppendEntriesRequest`.
    AppendEntriesResponse {
        /// The follower.
        src: usize,
        /// The leader.
        dest: usize,
        /// The follower's term.
        term: usize,
        /// Whether its log agrees with the request.
        success: bool,
        /// On success the last place that the request covered, else 0.
        match_index: usize,
    },
    /// An order to a follower or candidate: start an election. Leaders ignore it.
    TimeOut {
        /// The server that the order is for.
        dest: usize,
        /// The rest of its cluster: who votes, besides itself, and whose logs count for commitment.
        followers: Vec<usize>,
    },
    /// A candidate asks for a vote.
    RequestVoteRequest {
        /// The candidate.
        src: usize,
        /// The voter.
        dest: usize,
        /// The candidate's term.
        term: usize,
        /// The length of the candidate's log.
        last_log_index: usize,
        /// The term of its last entry, 0 if there is none.
        last_log_term: usize,
    },
    /// A voter's answer to `RequestVoteRequest`.
    RequestVoteResponse {
        /// The voter.
        src: usize,
        /// The candidate.
        dest: usize,
        /// The voter's term.
        term: usize,
        /// Whether it votes for the candidate.
        vote_granted: bool,
    },
}

impl<T> RaftMessage<T>
where
    T: Sized + Clone + PartialEq + Eq + Debug + Default,
{
    /// The server that the message is for.
    pub(super) fn dest(&self) -> ServerId {
        ServerId(match self {
            RaftMessage::ClientRequest { dest, .. }
            | RaftMessage::BecomeLeader { dest, .. }
            | RaftMessage::AppendEntries { dest, .. }
            | RaftMessage::AppendEntriesRequest { dest, .. }
            | RaftMessage::AppendEntriesResponse { dest, .. }
            | RaftMessage::TimeOut { dest, .. }
            | RaftMessage::RequestVoteRequest { dest, .. }
            | RaftMessage::RequestVoteResponse { dest, .. } => *dest,
        })
    }

    /// The messages of raft.tla that a message between servers stands for, to be received in order until one is not
    /// accepted. None for an order, and none for a request that no leader sends.
    pub(super) fn into_model(self) -> Vec<Message<T>> {
        let (term, src, dest, body) = match self {
            RaftMessage::ClientRequest { .. }
            | RaftMessage::BecomeLeader { .. }
            | RaftMessage::AppendEntries { .. }
            | RaftMessage::TimeOut { .. } => return Vec::new(),
            RaftMessage::AppendEntriesRequest { src, dest, term, prev_index, prev_term, commit_index, entries } => {
                let requests = append_entries_requests(
                    Term(term),
                    (LogIndex(prev_index), Term(prev_term)),
                    LogIndex(commit_index),
                    entries,
                );
                let message = |request| {
                    let body = Body::AppendEntriesRequest(request);
                    Message::new(Term(term), ServerId(src), ServerId(dest), body)
                };
                return requests.into_iter().map(message).collect();
            }
            RaftMessage::AppendEntriesResponse { src, dest, term, success, match_index } => {
                let match_index = LogIndex(match_index);
                let body = Body::AppendEntriesResponse { success, match_index };
                (term, src, dest, body)
            }
            RaftMessage::RequestVoteRequest { src, dest, term, last_log_index, last_log_term } => {
                let body = Body::RequestVoteRequest {
                    last_log_term: Term(last_log_term),
                    last_log_index: LogIndex(last_log_index),
                };
                (term, src, dest, body)
            }
            RaftMessage::RequestVoteResponse { src, dest, term, vote_granted } => {
                (term, src, dest, Body::RequestVoteResponse { vote_granted })
            }
        };
        vec![Message::new(Term(term), ServerId(src), ServerId(dest), body)]
    }

    /// A message of raft.tla in the form of this API.
    pub(super) fn from_model(m: Message<T>) -> Self {
        let (src, dest, term) = (m.source.0, m.dest.0, m.term.0);
        match m.body {
            Body::RequestVoteRequest { last_log_term, last_log_index } => RaftMessage::RequestVoteRequest {
                src,
                dest,
                term,
                last_log_index: last_log_index.0,
                last_log_term: last_log_term.0,
            },
            Body::RequestVoteResponse { vote_granted } => {
                RaftMessage::RequestVoteResponse { src, dest, term, vote_granted }
            }
            Body::AppendEntriesRequest(request) => RaftMessage::AppendEntriesRequest {
                src,
                dest,
                term,
                prev_index: request.prev_log_index.0,
                prev_term: request.prev_log_term.0,
                commit_index: request.commit_index.0,
                entries: request.entry.into_iter().map(LogEntry::from).collect(),
            },
            Body::AppendEntriesResponse { success, match_index } => {
                RaftMessage::AppendEntriesResponse { src, dest, term, success, match_index: match_index.0 }
            }
        }
    }
}

/// A request of any number of entries behind `prev` as requests of at most one, each of which continues the one before.
///
/// raft.tla's leader claims as committed at most what its message covers. Senders that do not know that rule are held to
/// it here, since a follower takes the leader's word. Entries whose terms go down, or above the leader's, make the whole
/// request void: no leader's log holds such.
fn append_entries_requests<T>(
    term: Term,
    prev: (LogIndex, Term),
    commit_index: LogIndex,
    entries: Vec<LogEntry<T>>,
) -> Vec<AppendEntriesRequest<T>>
where
    T: Sized + Clone + PartialEq + Eq + Debug + Default,
{
    let terms = || entries.iter().map(|entry| Term(entry.term));
    if !terms().is_sorted() || terms().any(|own| own == Term::ZERO || own > term) {
        return Vec::new();
    }
    let (mut prev_log_index, mut prev_log_term) = prev;
    if entries.is_empty() {
        return vec![AppendEntriesRequest {
            prev_log_index,
            prev_log_term,
            entry: None,
            commit_index: commit_index.min(prev_log_index),
        }];
    }
    let mut requests = Vec::with_capacity(entries.len());
    for entry in entries {
        let index = prev_log_index.next();
        let entry_term = Term(entry.term);
        requests.push(AppendEntriesRequest {
            prev_log_index,
            prev_log_term,
            entry: Some(Entry::from(entry)),
            commit_index: commit_index.min(index),
        });
        (prev_log_index, prev_log_term) = (index, entry_term);
    }
    requests
}
