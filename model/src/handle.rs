//! **Receive(m)**: what a server does with a message, case by case as in raft.tla.
//!
//! At most one case holds for a message, so receiving is a decision ([`Server::receive_case`]) and a dispatch
//! ([`Server::receive`]). Some cases leave the message where it is, to be received again in the next step:
//!
//! ```text
//!   m.term > current_term            UpdateTerm                                  the message stays
//!   response, m.term < current_term  DropStaleResponse                           discarded
//!   RequestVoteRequest               HandleRequestVoteRequest                    replied to
//!   RequestVoteResponse              HandleRequestVoteResponse                   discarded
//!   AppendEntriesRequest             HandleAppendEntriesRequest: reject, done    replied to
//!                                        step down, conflict, append             the message stays
//!   AppendEntriesResponse            HandleAppendEntriesResponse                 discarded
//! ```

use crate::log::{Entry, LogIndex, Term};
use crate::message::{AppendEntriesRequest, Body, Message};
use crate::server::{Server, ServerState};
use crate::server_set::ServerId;

/// The case of raft.tla's `Receive` that holds for a message, with what its effect needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case<'m, V> {
    /// The message is of a later term than the server.
    UpdateTerm,
    /// A response to what the server asked in an earlier term.
    DropStaleResponse,
    /// A request for a vote.
    HandleRequestVoteRequest {
        /// Whether the server votes for the sender.
        grant: bool,
    },
    /// An answer to a request for a vote, of the current term.
    HandleRequestVoteResponse {
        /// Whether the sender votes for the server.
        vote_granted: bool,
    },
    /// An append of an earlier term, or one whose previous entry the follower's log does not have.
    RejectAppendEntries,
    /// Another server leads the candidate's term.
    StepDown,
    /// All that the append carries is in the log already.
    AppendEntriesDone {
        /// The leader's commit index, which the follower takes over.
        commit_index: LogIndex,
        /// The last place that the message covers.
        match_index: LogIndex,
    },
    /// Where the entry belongs, the log has one of another term.
    Conflict,
    /// The entry belongs just behind the log.
    AppendEntry(&'m Entry<V>),
    /// An answer to an append, of the current term.
    HandleAppendEntriesResponse {
        /// What the sender is known to hold; `None` if it rejected.
        matched: Option<LogIndex>,
    },
}

impl<V> Case<'_, V> {
    /// The case's name, for counting which of them a run has been through.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UpdateTerm => "UpdateTerm",
            Self::DropStaleResponse => "DropStaleResponse",
            Self::HandleRequestVoteRequest { .. } => "HandleRequestVoteRequest",
            Self::HandleRequestVoteResponse { .. } => "HandleRequestVoteResponse",
            Self::RejectAppendEntries => "HandleAppendEntriesRequest: reject",
            Self::StepDown => "HandleAppendEntriesRequest: step down",
            Self::AppendEntriesDone { .. } => "HandleAppendEntriesRequest: done",
            Self::Conflict => "HandleAppendEntriesRequest: conflict",
            Self::AppendEntry(_) => "HandleAppendEntriesRequest: append",
            Self::HandleAppendEntriesResponse { .. } => "HandleAppendEntriesResponse",
        }
    }
}

/// What becomes of a message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<V> {
    /// It stays in the network: the server has more to do with it.
    Stay,
    /// It is discarded.
    Discard,
    /// It is discarded, and this is sent.
    Reply(Message<V>),
}

impl<V: Clone> Server<V> {
    /// The case of **Receive** that holds for `m`; `None` if none does.
    ///
    /// None holds for an append of the term that the server itself leads: nobody sends such a message.
    #[must_use]
    pub fn receive_case<'m>(&self, m: &'m Message<V>) -> Option<Case<'m, V>> {
        if m.term > self.current_term {
            return Some(Case::UpdateTerm);
        }
        match &m.body {
            Body::RequestVoteRequest { last_log_term, last_log_index } => {
                Some(Case::HandleRequestVoteRequest { grant: self.grants_vote(m, *last_log_term, *last_log_index) })
            }
            Body::RequestVoteResponse { .. } | Body::AppendEntriesResponse { .. } if m.term < self.current_term => {
                Some(Case::DropStaleResponse)
            }
            Body::RequestVoteResponse { vote_granted } => {
                Some(Case::HandleRequestVoteResponse { vote_granted: *vote_granted })
            }
            Body::AppendEntriesRequest(request) => self.append_entries_case(m.term, request),
            Body::AppendEntriesResponse { success, match_index } => {
                Some(Case::HandleAppendEntriesResponse { matched: success.then_some(*match_index) })
            }
        }
    }

    /// **Receive(m)** on the server `m.dest`, this one: takes the case that holds; `None`, and no change, if none does.
    pub fn receive(&mut self, m: &Message<V>) -> Option<Outcome<V>> {
        Some(match self.receive_case(m)? {
            Case::UpdateTerm => self.update_term(m.term),
            Case::DropStaleResponse => Outcome::Discard,
            Case::HandleRequestVoteRequest { grant } => self.handle_request_vote_request(m, grant),
            Case::HandleRequestVoteResponse { vote_granted } => {
                self.handle_request_vote_response(m.source, vote_granted)
            }
            Case::RejectAppendEntries => self.reply_append_entries(m, false, LogIndex::ZERO),
            Case::StepDown => self.step_down(),
            Case::AppendEntriesDone { commit_index, match_index } => {
                self.append_entries_done(m, commit_index, match_index)
            }
            Case::Conflict => self.remove_last_entry(),
            Case::AppendEntry(entry) => self.append_entry(entry),
            Case::HandleAppendEntriesResponse { matched } => self.handle_append_entries_response(m.source, matched),
        })
    }

    /// **`HandleRequestVoteRequest`**, the grant: the candidate's log is at least as new as the server's (Raft paper,
    /// 5.4.1), and the server has not voted for another in this term.
    fn grants_vote(&self, m: &Message<V>, last_log_term: Term, last_log_index: LogIndex) -> bool {
        let log_ok = last_log_term > self.log.last_term()
            || (last_log_term == self.log.last_term() && last_log_index >= self.log.len());
        let vote_free = self.voted_for.is_none_or(|candidate| candidate == m.source);
        m.term == self.current_term && log_ok && vote_free
    }

    /// **`HandleAppendEntriesRequest`**, its `logOk`: whether the log has an entry of `term` at `index`, or `index` is 0.
    fn agrees_at(&self, index: LogIndex, term: Term) -> bool {
        index == LogIndex::ZERO || self.log.entry(index).is_some_and(|own| own.term == term)
    }

    /// **`HandleAppendEntriesRequest`**: which of its cases holds for a request of `term`, at most the current one.
    fn append_entries_case<'m>(&self, term: Term, request: &'m AppendEntriesRequest<V>) -> Option<Case<'m, V>> {
        assert!(term <= self.current_term, "UpdateTerm comes first");
        if term < self.current_term {
            return Some(Case::RejectAppendEntries);
        }
        let log_ok = self.agrees_at(request.prev_log_index, request.prev_log_term);
        match self.state {
            ServerState::Leader => None,
            ServerState::Candidate => Some(Case::StepDown),
            ServerState::Follower if !log_ok => Some(Case::RejectAppendEntries),
            ServerState::Follower => Some(self.accept_case(request)),
        }
    }

    /// **`HandleAppendEntriesRequest`**, *accept*: the log agrees before the entry. (Raft paper, figure 2, steps 3 to 5.)
    fn accept_case<'m>(&self, request: &'m AppendEntriesRequest<V>) -> Case<'m, V> {
        let done = |match_index| Case::AppendEntriesDone { commit_index: request.commit_index, match_index };
        let Some(entry) = &request.entry else {
            return done(request.prev_log_index);
        };
        let index = request.prev_log_index.next();
        match self.log.entry(index) {
            Some(own) if own.term == entry.term => done(index),
            Some(_) => Case::Conflict,
            None => Case::AppendEntry(entry),
        }
    }

    /// **`UpdateTerm`**: any message of a later term ends the server's own (Raft paper, 5.1).
    fn update_term(&mut self, term: Term) -> Outcome<V> {
        assert!(term > self.current_term, "UpdateTerm to {term}");
        self.current_term = term;
        self.state = ServerState::Follower;
        self.voted_for = None;
        Outcome::Stay
    }

    /// **`HandleRequestVoteRequest`**, the effect.
    fn handle_request_vote_request(&mut self, m: &Message<V>, grant: bool) -> Outcome<V> {
        if grant {
            self.voted_for = Some(m.source);
        }
        self.reply(m, Body::RequestVoteResponse { vote_granted: grant })
    }

    /// **`HandleRequestVoteResponse`**: counted in any state; only a candidate acts on the count.
    fn handle_request_vote_response(&mut self, j: ServerId, vote_granted: bool) -> Outcome<V> {
        self.votes_responded.insert(j);
        if vote_granted {
            self.votes_granted.insert(j);
        }
        Outcome::Discard
    }

    /// **`HandleAppendEntriesRequest`**, *step down*: another won the election of this term (Raft paper, 5.2).
    fn step_down(&mut self) -> Outcome<V> {
        assert_eq!(self.state, ServerState::Candidate, "only candidates yield");
        self.state = ServerState::Follower;
        Outcome::Stay
    }

    /// **`HandleAppendEntriesRequest`**, *done*: the only place where a follower's commit index moves.
    fn append_entries_done(&mut self, m: &Message<V>, commit_index: LogIndex, match_index: LogIndex) -> Outcome<V> {
        assert!(match_index <= self.log.len(), "acknowledged past the log's end");
        self.commit_index = commit_index;
        self.reply_append_entries(m, true, match_index)
    }

    /// **`HandleAppendEntriesRequest`**, *conflict*: one entry a step; the message comes again until none conflicts.
    fn remove_last_entry(&mut self) -> Outcome<V> {
        let removed = self.log.pop();
        assert!(removed.is_some(), "a conflict needs an entry");
        Outcome::Stay
    }

    /// **`HandleAppendEntriesRequest`**, *append*: when the message comes again, it is done.
    fn append_entry(&mut self, entry: &Entry<V>) -> Outcome<V> {
        self.log.push(entry.clone());
        Outcome::Stay
    }

    /// **`HandleAppendEntriesResponse`**: in any state, and taken at its word: an older answer moves both indexes back.
    fn handle_append_entries_response(&mut self, j: ServerId, matched: Option<LogIndex>) -> Outcome<V> {
        if let Some(next_index) = self.next_index.at_mut(j) {
            *next_index = match matched {
                Some(match_index) => match_index.next(),
                None => next_index.previous().max(LogIndex::FIRST),
            };
            assert!(*next_index >= LogIndex::FIRST, "next_index below 1");
        }
        if let (Some(known), Some(match_index)) = (self.match_index.at_mut(j), matched) {
            *known = match_index;
        }
        Outcome::Discard
    }

    /// The reply to the append `m`.
    fn reply_append_entries(&self, m: &Message<V>, success: bool, match_index: LogIndex) -> Outcome<V> {
        self.reply(m, Body::AppendEntriesResponse { success, match_index })
    }

    /// `body` in the current term, back to whom `m` came from.
    fn reply(&self, m: &Message<V>, body: Body<V>) -> Outcome<V> {
        Outcome::Reply(Message::new(self.current_term, m.dest, m.source, body))
    }
}
