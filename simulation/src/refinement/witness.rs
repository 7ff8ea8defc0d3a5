//! The witness of a step: the actions of the model that it stands for.

use outrigger::engine::{AppendEntries, AppendOutcome, Consistency, Event, Message, NodeId, Proof, RoleKind};
use outrigger_model::extended::{Action, Read, Role};
use outrigger_model::{LogIndex, ServerId};

use super::{After, Note, Question, Refinement, Value, index, server, term};
use crate::check::{Check, Violation};
use crate::words::of_model;

impl Refinement {
    /// Takes the actions that a step stands for, in their order.
    pub(super) fn witness(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        self.cause(i, event, after)?;
        self.last_commit(i, event, after)?;
        self.change_of_role(i, after)?;
        if self.at(i).role == Role::Leader {
            self.office(i, event, after)?;
        } else if let Event::Read { token, consistency } = event
            && proof_wanted(*consistency).is_some()
        {
            self.ask(Question::Caller(after.look.node, *token))?;
        }
        self.serve_reads(i, after)
    }

    /// What a leader does in its office.
    fn office(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        let mut new = after.memberships().map(|(at, _)| at);
        let first_new = new.find(|at| *at > self.at(i).log.len().0);
        self.proposals(i, after, first_new.unwrap_or(usize::MAX))?;
        self.acknowledgements(i, after)?;
        match first_new {
            None => self.advance_commit(i, after)?,
            Some(_) => self.advance_commit_as_held(i, after)?,
        }
        self.rounds_and_reads(i, event, after)?;
        first_new.map_or(Ok(()), |first_new| self.changes(i, after, first_new))
    }

    /// What the event itself brings about.
    fn cause(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        match event {
            Event::Initialize { .. } if self.at(i).log.is_empty() && !after.log.0.is_empty() => {
                Value::first(event).map_or(Ok(()), |first| self.take(&Action::Initialize(i, first)))
            }
            Event::LogFlushed { write } => {
                let count = self.finish(after.look.node, *write);
                self.take(&Action::Flush(i, count))?;
                self.count_own_vote(i)
            }
            Event::SnapshotReceived { .. } | Event::Applied { .. } => self.taken_in(i, event, after),
            Event::Received { from, message: Some(message) } if !after.notes.contains(&Note::Unheard) => {
                self.received(i, from.node, message, after)
            }
            _ => Ok(()),
        }
    }

    /// A candidate's vote for itself counts once it is durable.
    fn count_own_vote(&mut self, i: ServerId) -> Result<(), Violation> {
        let own = self.at(i);
        let counts = own.role == Role::Candidate
            && !own.votes_granted.contains(i)
            && self.system.said.granted.contains(&(own.current_term, i, i));
        if counts { self.take(&Action::CountVote(i, i)) } else { Ok(()) }
    }

    fn received(&mut self, i: ServerId, from: NodeId, message: &Message, after: &After<'_>) -> Result<(), Violation> {
        if let Some(later) = message.term().map(term).filter(|later| *later > self.at(i).current_term)
            && term(after.look.vote.term) >= later
        {
            self.take(&Action::UpdateTerm(i, later))?;
        }
        let (own, j) = (self.at(i), server(from));
        let is_present = |other: outrigger::engine::Term| term(other) == own.current_term;
        match message {
            Message::RequestVote(request) if is_present(request.term) => {
                let is_new = own.voted_for.is_none() && after.look.vote.voted_for == Some(from);
                if is_new { self.take(&Action::GrantVote(i, j)) } else { Ok(()) }
            }
            Message::RequestVoteReply(reply)
                if reply.granted && is_present(reply.asked) && own.role == Role::Candidate =>
            {
                self.take(&Action::CountVote(i, j))
            }
            Message::AppendEntries(append) if is_present(append.term) => self.append(i, j, append, after),
            Message::Heartbeat(heartbeat) if is_present(heartbeat.term) => {
                self.follow(i)?;
                self.commit(i, j, after)?;
                let round = usize::try_from(heartbeat.round.0).expect("a short history");
                self.take(&Action::AnswerRound(i, j, round))
            }
            Message::Committed { term, .. } if is_present(*term) => {
                self.follow(i)?;
                self.commit(i, j, after)
            }
            Message::InstallSnapshot(piece) if is_present(piece.term) && piece.leader == from => {
                self.follow(i)?;
                self.brought(i, from, piece)
            }
            // Who does not follow that leader does not listen.
            Message::InstallSnapshot(piece) if is_present(piece.term) && after.look.leader == Some(piece.leader) => {
                self.brought_by_delegate(i, piece)
            }
            Message::DelegateSnapshot(order) if is_present(order.term) => self.follow(i),
            _ => Ok(()),
        }
    }

    /// A candidate that hears from the leader of its term follows it.
    fn follow(&mut self, i: ServerId) -> Result<(), Violation> {
        if self.at(i).role == Role::Candidate { self.take(&Action::StepDown(i)) } else { Ok(()) }
    }

    fn append(&mut self, i: ServerId, j: ServerId, append: &AppendEntries, after: &After<'_>) -> Result<(), Violation> {
        self.follow(i)?;
        let last = append.batches.last().map_or(append.prev, outrigger::engine::Batch::last);
        if last.index < after.purged.index && after.look.role == RoleKind::Follower {
            // All of it is covered by a snapshot, which is of what every leader has: so much is acknowledged. Which entries those were
            // the node does not know any more.
            self.install(i, after.purged)?;
        } else if after.log.has(append.prev) && after.log.has(last) {
            // What the node did not take in counts as lost on the way.
            let (prev, last) = (index(append.prev.index), index(last.index));
            self.take(&Action::HandleAppendEntries { server: i, leader: j, prev, last })?;
        }
        self.commit(i, j, after)
    }

    /// A follower commits what its leader says.
    fn commit(&mut self, i: ServerId, leader: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let commit = index(after.look.commit);
        if commit > self.at(i).commit_index {
            return self.take(&Action::HandleCommit(i, leader, commit));
        }
        Ok(())
    }

    /// Campaigns, offices, and the ends of both.
    fn change_of_role(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let role = after.look.role;
        let campaigns = term(after.look.vote.term) > self.at(i).current_term;
        if self.at(i).role == Role::Leader && (campaigns || role != RoleKind::Leader) {
            self.begin_rounds(i, after)?;
            self.take(&Action::StepDown(i))?;
        }
        if campaigns {
            self.take(&Action::Timeout(i))?;
            self.count_own_vote(i)?;
        }
        let own = self.at(i).role;
        match role {
            RoleKind::Leader if own != Role::Leader => self.take(&Action::BecomeLeader(i)),
            RoleKind::Leader | RoleKind::Candidate => Ok(()),
            _ if own == Role::Candidate => self.take(&Action::StepDown(i)),
            _ => Ok(()),
        }
    }

    /// A leader that is no voter any more steps down as soon as that is committed (thesis, section 4.2.2): what it commits, and
    /// hears last, it does not know any more after the step.
    fn last_commit(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        let own = self.at(i);
        let commits = index(after.look.commit) > own.commit_index;
        if own.role != Role::Leader || after.look.role == RoleKind::Leader || !commits {
            return Ok(());
        }
        if let Event::Received { from, message: Some(message) } = event {
            let matched = match message {
                Message::AppendEntriesReply(reply) => match reply.outcome {
                    AppendOutcome::Matched(matched) => Some(matched),
                    _ => None,
                },
                Message::HeartbeatReply(reply) => Some(reply.matched),
                _ => None,
            };
            if let Some(matched) = matched {
                self.take(&Action::HandleAcknowledgement(i, server(from.node), index(matched)))?;
            }
        }
        self.advance_commit(i, after)?;
        self.begin_rounds(i, after)?;
        self.confirm(i)
    }

    /// What a leader has appended of its own, up to the first membership.
    fn proposals(&mut self, i: ServerId, after: &After<'_>, membership: usize) -> Result<(), Violation> {
        let own = self.at(i);
        let (held, end) = (own.log.len().0, after.log.0.len().min(membership - 1));
        if own.role != Role::Leader || end <= held {
            return Ok(());
        }
        let values = after.log.0[held..end].iter().map(|stamp| Value::plain(stamp.digest)).collect();
        self.take(&Action::ClientRequest(i, values))
    }

    /// The memberships that a leader has appended, and what is committed by the majorities that count from then on.
    fn changes(&mut self, i: ServerId, after: &After<'_>, first: usize) -> Result<(), Violation> {
        for (at, membership) in after.memberships().filter(|(at, _)| *at >= first) {
            self.proposals(i, after, at)?;
            self.take(&Action::ChangeConfiguration(i, Value::membership(membership)))?;
            self.advance_commit_as_held(i, after)?;
        }
        self.proposals(i, after, usize::MAX)?;
        self.advance_commit(i, after)?;
        self.confirm(i)
    }

    /// What a leader has learned of the others.
    fn acknowledgements(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        for (other, matched) in &after.matched {
            let (j, matched) = (server(*other), index(*matched));
            if self.at(i).match_index.at(j).is_some_and(|held| matched > *held) {
                self.take(&Action::HandleAcknowledgement(i, j, matched))?;
            }
        }
        if self.at(i).role == Role::Leader && after.matched.len() + 1 < self.system.servers.len() {
            self.forget_who_left(i, after)?;
        }
        Ok(())
    }

    /// A leader knows nothing of who is no member; one that comes back begins anew.
    fn forget_who_left(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let is_member = |j: ServerId| after.matched.iter().any(|(other, _)| server(*other) == j);
        let known = self.at(i).match_index.iter().filter(|(_, matched)| **matched > LogIndex::ZERO);
        let left: Vec<_> = known.map(|(j, _)| j).filter(|j| !is_member(*j)).collect();
        left.into_iter().try_for_each(|j| self.take(&Action::ForgetMatch(i, j)))
    }

    /// A leader commits what the engine says that it has.
    fn advance_commit(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let commit = index(after.look.commit);
        if self.at(i).role == Role::Leader && commit > self.at(i).commit_index {
            self.take(&Action::AdvanceCommitIndex(i, commit))?;
        }
        Ok(())
    }

    /// The same, as far as the majorities allow that count now: others do before and after a membership.
    fn advance_commit_as_held(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let committed = self.at(i).commit_index.0;
        let mut more = (committed + 1..=index(after.look.commit).0).rev().map(LogIndex);
        let held = more.find(|at| self.system.can_advance_commit_index(i, *at));
        held.map_or(Ok(()), |held| self.take(&Action::AdvanceCommitIndex(i, held)))
    }

    // ---- reads -------------------------------------------------------------------------------------------------

    fn rounds_and_reads(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        match event {
            Event::Read { token, consistency } => {
                if let Some(proof) = proof_wanted(*consistency) {
                    let question = Question::Caller(after.look.node, *token);
                    self.ask(question)?;
                    self.begin(i, question)?;
                    self.prove(i, question, proof, after)?;
                }
            }
            Event::Received { from, message: Some(Message::ReadIndex { term: asked, request, proof }) }
                if term(*asked) == self.at(i).current_term =>
            {
                let question = Question::Follower(from.node, *request);
                self.begin(i, question)?;
                self.prove(i, question, *proof, after)?;
            }
            _ => {}
        }
        // The rounds of a leader without others are not to be seen: each read that it takes in, and must prove, begins one.
        if let Event::Read { token, consistency } = event
            && proof_wanted(*consistency).is_some()
            && !after.is_proven
            && after.matched.is_empty()
            && self.at(i).role == Role::Leader
            && !after.notes.contains(&Note::Refused(*token))
        {
            self.take(&Action::BeginRound(i))?;
        }
        self.begin_rounds(i, after)?;
        self.confirm(i)
    }

    fn serve_reads(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        for note in &after.notes {
            if let Note::Read(token) = note {
                self.serve(i, Question::Caller(after.look.node, *token))?;
            }
        }
        Ok(())
    }

    /// The rounds of a leader; one that steps down in the same step has begun them before.
    fn begin_rounds(&mut self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let own = self.at(i);
        let (place, leads) = ((own.current_term, i), own.role == Role::Leader);
        for note in after.notes.iter().filter(|_| leads) {
            let Note::Round(round) = note else { continue };
            // Those of a leader without others are not to be seen: it may have begun some before this one.
            while self.system.said.begun.get(&place).is_none_or(|begun| *begun < super::number(round.0)) {
                self.take(&Action::BeginRound(i))?;
            }
        }
        Ok(())
    }

    /// Somebody asks for a read.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Violation> {
        if self.reads.contains_key(&question) {
            return Ok(());
        }
        self.asked += 1;
        self.reads.insert(question, self.asked);
        self.take(&Action::AskRead(self.asked))
    }

    /// A leader learns of it; any other node does not.
    fn begin(&mut self, i: ServerId, question: Question) -> Result<(), Violation> {
        let Some(read) = self.reads.get(&question).copied() else { return Ok(()) };
        let own = self.at(i);
        // A copy of the question changes nothing: the first is answered first.
        let here = |(leader, term, ..): (ServerId, _, _, _)| leader == i && term == own.current_term;
        let is_new = |read: &Read| read.confirmed.is_none() && !read.begun.is_some_and(here);
        if own.role == Role::Leader && self.system.said.reads.get(&read).is_some_and(is_new) {
            self.open.insert(read);
            return self.take(&Action::BeginRead(i, read));
        }
        Ok(())
    }

    /// A leader that has proof already confirms a read at once.
    fn prove(&mut self, i: ServerId, question: Question, proof: Proof, after: &After<'_>) -> Result<(), Violation> {
        let Some(read) = self.reads.get(&question).copied().filter(|_| after.is_proven) else { return Ok(()) };
        let is_confirmed = self.system.said.reads.get(&read).is_none_or(|read| read.confirmed.is_some());
        if is_confirmed || self.at(i).role != Role::Leader {
            return Ok(());
        }
        self.open.remove(&read);
        self.take(&match proof {
            Proof::Lease => Action::ConfirmReadByLease(i, read),
            Proof::Round | Proof::Age(_) => Action::ConfirmOldRead(i, read),
        })
    }

    /// A leader confirms its reads as soon as it may.
    fn confirm(&mut self, i: ServerId) -> Result<(), Violation> {
        if self.at(i).role != Role::Leader {
            return Ok(());
        }
        let is_due = |read: &u64| self.system.can_confirm_read(i, *read);
        let due: Vec<_> = self.open.iter().copied().filter(is_due).collect();
        for read in due {
            self.open.remove(&read);
            self.take(&Action::ConfirmRead(i, read))?;
        }
        Ok(())
    }

    /// The state machine answers a caller's read. One that a follower asked for on behalf of several callers is served
    /// with the last of them; which one that is only the engine knows, so the model serves those of leaders only.
    fn serve(&mut self, i: ServerId, question: Question) -> Result<(), Violation> {
        let Some(read) = self.reads.remove(&question) else { return Ok(()) };
        let is_leaders = self.system.said.reads.get(&read).is_some_and(|read| read.begun.is_some());
        if is_leaders { self.take(&Action::ServeRead(i, read)) } else { Ok(()) }
    }
}

/// What must prove a read; `None` where nobody is asked.
pub(crate) fn proof_wanted(consistency: Consistency) -> Option<Proof> {
    match consistency {
        Consistency::Lease => Some(Proof::Lease),
        Consistency::Acknowledged { age_max } => Some(Proof::Age(age_max)),
        Consistency::Stale { .. } => None,
        _ => Some(Proof::Round),
    }
}

impl From<outrigger_model::extended::Violation> for Violation {
    fn from(violation: outrigger_model::extended::Violation) -> Self {
        Self { check: Check::Refinement, reason: format!("in the model, {}", of_model(&violation.to_string())) }
    }
}
