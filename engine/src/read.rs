//! Reads without writing to the log (thesis, section 6.4).
//!
//! ```text
//!   on the leader     read ─► proof that it leads: its lease, or a round begun after the read ─► the state machine
//!   on a follower     read ─► ask the leader for an index ─► wait until that much is committed here ─► the state machine
//!   stale, anywhere   read ─► heard from a leader lately, and has all that it had committed? ─► the state machine, or no
//! ```
//!
//! A linearizable read sees everything that was acknowledged before it began: the index is the commit index at that time, or the
//! first entry of the leader's term if that is not committed yet, and the proof is that no later leader existed then. That is a
//! round of heartbeats that a quorum answers, or a lease (`lease.rs`). Where a read may be older, an older round will do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::{Command, StateMachineRequest};
use crate::consistency::{Consistency, Proof};
use crate::engine::{Engine, Handled};
use crate::fingerprint::Fingerprint;
use crate::message::Message;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::timer::Timer;
use crate::types::{Instant, LogIndex, NodeId, RequestId, Round, Term, Token};

/// A read that waits for a quorum to confirm that its leader leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Confirmation {
    who: Asker,
    /// Everything acknowledged before the read is at or below.
    index: LogIndex,
    /// The heartbeat round that confirms it; begun after the read.
    round: Round,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asker {
    Here(Token),
    There(NodeId, RequestId),
}

/// Reads on a follower. One question is under way at a time; those who come meanwhile share the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Questions {
    /// The question under way.
    asked: Option<Asked>,
    /// Who shares the next question.
    waiting: Vec<Token>,
    /// What the next question must be answered by; the strictest that any of those wants.
    proof: Option<Proof>,
    /// Who knows its index and waits for it to be committed here.
    indexed: BTreeMap<LogIndex, Vec<Token>>,
    /// How many wait in all.
    count: usize,
}

/// A question to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    request: RequestId,
    /// Who shares it; at least one.
    tokens: Vec<Token>,
    proof: Proof,
    /// When to ask again.
    deadline: Instant,
}

impl Confirmation {
    pub(crate) fn fingerprint(&self, own: NodeId, term: Term, out: &mut Fingerprint) {
        let Self { who, index, round } = self;
        match who {
            Asker::Here(token) => out.number(2 * token.0),
            Asker::There(node, request) => {
                out.number(2 * node.0 + 1);
                out.question(*node, *request);
            }
        }
        out.number(index.0);
        out.round(own, term, *round);
    }
}

impl Questions {
    /// Everyone who waits.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let asked = self.asked.iter().flat_map(|asked| &asked.tokens);
        asked.chain(&self.waiting).chain(self.indexed.values().flatten()).copied().collect()
    }

    /// The question under way has waited long enough.
    pub(crate) fn fall_due(&mut self, now: Instant) {
        self.asked.iter_mut().for_each(|asked| asked.deadline = now);
    }

    pub(crate) fn fingerprint(&self, own: NodeId, out: &mut Fingerprint) {
        let Self { asked, waiting, proof, indexed, count } = self;
        out.flag(asked.is_some());
        if let Some(Asked { request, tokens, proof, deadline: _ }) = asked {
            out.question(own, *request);
            out.tokens(tokens);
            out.proof(*proof);
        }
        out.tokens(waiting);
        proof.iter().for_each(|proof| out.proof(*proof));
        out.size(indexed.len());
        for (index, tokens) in indexed {
            out.number(index.0);
            out.tokens(tokens);
        }
        out.size(*count);
    }

    /// When to ask again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.deadline)
    }
}

impl Engine {
    pub(crate) fn handle_read(&mut self, token: Token, consistency: Consistency, now: Instant) {
        match consistency {
            Consistency::Linearizable => self.read_by(token, Proof::Round, now),
            Consistency::Lease => self.read_by(token, Proof::Lease, now),
            Consistency::Acknowledged { age_max } => self.read_by(token, Proof::Age(age_max), now),
            Consistency::Stale { staleness_max } => self.read_here(token, staleness_max, now),
        }
    }

    /// Reads the state of this node, if that is new enough.
    fn read_here(&mut self, token: Token, staleness_max: Duration, now: Instant) {
        let staleness = self.staleness(now);
        mutate!(stale_without_bound, staleness = staleness.map(|_| Duration::ZERO));
        if staleness.is_some_and(|staleness| staleness <= staleness_max) {
            self.push(Command::StateMachine(StateMachineRequest::Read { token }));
        } else {
            self.refuse(token, Refusal::TooStale { staleness, staleness_max });
        }
    }

    /// Reads what a leader proves to be new enough.
    fn read_by(&mut self, token: Token, proof: Proof, now: Instant) {
        mutate!(read_from_anywhere, return self.push(Command::StateMachine(StateMachineRequest::Read { token })));
        let limit = self.config.limits.forwards_max;
        mutate!(reads_without_limit, limit = usize::MAX);
        if let Some(to) = self.transferring_to() {
            mutate!(transfer_keeps_lease if proof == Proof::Lease, return self.confirm_read(Asker::Here(token), proof, now));
            return self.refuse(token, Refusal::Transferring { to });
        }
        let (is_removed, is_silenced) = (self.is_removed(now), self.is_silenced(now));
        match &mut self.role {
            Role::Follower(_) if is_removed => self.refuse_as_removed(token),
            Role::Leader(leader) if leader.reads_in_hand() >= limit => {
                let current = leader.reads_in_hand();
                self.refuse(token, Refusal::Overloaded { current, limit });
            }
            Role::Leader(_) => self.confirm_read(Asker::Here(token), proof, now),
            Role::Follower(follower) if follower.leader.is_some() && is_silenced => {
                self.refuse(token, Refusal::DiskHangs);
            }
            Role::Follower(follower) if follower.leader.is_some() => {
                let current = follower.reads.count;
                if current >= limit {
                    return self.refuse(token, Refusal::Overloaded { current, limit });
                }
                follower.reads.count += 1;
                follower.reads.waiting.push(token);
                follower.reads.proof = Some(follower.reads.proof.map_or(proof, |other| other.both(proof)));
                self.ask_leader(now);
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => self.refuse(token, Refusal::NoLeader),
        }
    }

    // ---- on the leader -----------------------------------------------------------------------------------------

    pub(crate) fn handle_read_index(
        &mut self,
        from: NodeId,
        term: Term,
        (request, proof): (RequestId, Proof),
        now: Instant,
    ) -> Handled {
        let limit = self.config.limits.forwards_max;
        mutate!(questions_without_limit, limit = usize::MAX);
        match &self.role {
            Role::Leader(_) if term == self.vote.term && self.transfer.is_some() => {
                let outcome =
                    self.transferring_to().map_or(Err(Refusal::NotLeader), |to| Err(Refusal::Transferring { to }));
                self.send(from, Message::ReadIndexReply { request, outcome });
            }
            Role::Leader(leader) if term == self.vote.term && leader.reads_in_hand() < limit => {
                self.confirm_read(Asker::There(from, request), proof, now);
            }
            Role::Leader(leader) if term == self.vote.term => {
                let refusal = Refusal::Overloaded { current: leader.reads_in_hand(), limit };
                self.send(from, Message::ReadIndexReply { request, outcome: Err(refusal) });
            }
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.send(from, Message::ReadIndexReply { request, outcome: Err(Refusal::NotLeader) });
            }
        }
        Ok(())
    }

    /// Confirms a read: at once if there is proof already, else once the next round is answered.
    fn confirm_read(&mut self, who: Asker, proof: Proof, now: Instant) {
        let commit = self.commit_index;
        let Role::Leader(leader) = &self.role else { return };
        let index = commit.max(leader.term_start);
        mutate!(read_before_own_entry, index = commit);
        if self.is_proven(leader, proof, now) {
            mutate!(lease_before_own_entry, index = commit);
            self.confirmed(&who, index);
            return self.release_reads();
        }
        let Role::Leader(leader) = &mut self.role else { return };
        leader.reads.push_back(Confirmation { who, index, round: leader.round.next() });
        mutate!(earlier_round_confirms, leader.reads.back_mut().into_iter().for_each(|read| read.round = leader.round));
        mutate!(read_without_round, return self.take_confirmed(Round(u64::MAX)));
        self.confirm_reads(now);
    }

    /// A round was answered: reads that it confirms go on, and the next round begins for those that came since.
    pub(crate) fn confirm_reads(&mut self, now: Instant) {
        loop {
            let Role::Leader(leader) = &self.role else { return };
            let Some(waits_for) = leader.reads.front().map(|read| read.round) else { return };
            if waits_for > leader.round {
                // All that waited for the last round are confirmed; nobody waits for a round that has not begun.
                self.broadcast_heartbeat(now);
                continue;
            }
            let confirmed = self.acknowledged(leader);
            if waits_for > confirmed {
                return;
            }
            self.take_confirmed(confirmed);
        }
    }

    fn take_confirmed(&mut self, confirmed: Round) {
        while let Role::Leader(leader) = &mut self.role
            && leader.reads.front().is_some_and(|read| read.round <= confirmed)
            && let Some(read) = leader.reads.pop_front()
        {
            self.confirmed(&read.who, read.index);
        }
        self.release_reads();
    }

    /// A read is confirmed that must see all up to `index`.
    fn confirmed(&mut self, who: &Asker, index: LogIndex) {
        let Role::Leader(leader) = &mut self.role else { return };
        match *who {
            Asker::Here(token) => leader.confirmed.push_back((index, token)),
            Asker::There(node, request) => self.send(node, Message::ReadIndexReply { request, outcome: Ok(index) }),
        }
    }

    pub(crate) fn refuse_confirmation(&mut self, read: &Confirmation) {
        match read.who {
            Asker::Here(token) => self.refuse(token, Refusal::LeadershipLost),
            Asker::There(node, request) => {
                self.send(node, Message::ReadIndexReply { request, outcome: Err(Refusal::LeadershipLost) });
            }
        }
    }

    // ---- on a follower -----------------------------------------------------------------------------------------

    fn ask_leader(&mut self, now: Instant) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.reads.asked.is_some() || follower.reads.waiting.is_empty() {
            return;
        }
        self.next_id += 1;
        let tokens = std::mem::take(&mut follower.reads.waiting);
        let proof = follower.reads.proof.take().unwrap_or(Proof::Round);
        follower.reads.asked = Some(Asked { request: RequestId(self.next_id), tokens, proof, deadline: now });
        self.ask_leader_again(now);
    }

    /// The question is new, or it or its answer was lost, or takes long. It is the same question, so that an answer to
    /// any of its copies will do: whatever the leader answers, it was asked after those reads began.
    pub(crate) fn ask_leader_again(&mut self, now: Instant) {
        let (term, patience) = (self.vote.term, self.config.heartbeat_interval);
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader else { return };
        if let Some(asked) = &mut follower.reads.asked
            && asked.deadline <= now
        {
            asked.deadline = now + patience;
            let (request, proof) = (asked.request, asked.proof);
            self.arm_requests();
            self.send(leader, Message::ReadIndex { term, request, proof });
        }
    }

    /// Nobody answers what a node has asked that was removed: whoever waits for that is told so. To be called only when it is known
    /// that no leader brings it up to an entry that added it again.
    pub(crate) fn refuse_reads_of_removed(&mut self) {
        mutate!(removed_node_lets_reads_wait, return);
        if !self.memberships.may_hold(self.id()) {
            self.refuse_questions(Refusal::NotMember);
        }
    }

    /// Nobody answers what this node has asked its leader for.
    pub(crate) fn refuse_questions(&mut self, refusal: Refusal) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.reads.count == 0 {
            return;
        }
        for token in std::mem::take(&mut follower.reads).tokens() {
            self.refuse(token, refusal);
        }
        self.arm_requests();
    }

    /// Whoever asks a node that was removed is told so, and those with them who asked before.
    pub(crate) fn refuse_as_removed(&mut self, token: Token) {
        self.refuse_reads_of_removed();
        self.refuse(token, Refusal::NotMember);
    }

    pub(crate) fn handle_read_index_reply(
        &mut self,
        request: RequestId,
        outcome: Result<LogIndex, Refusal>,
        now: Instant,
    ) -> Handled {
        let Role::Follower(follower) = &mut self.role else { return Ok(()) };
        mutate!(any_read_index_counts, request = follower.reads.asked.as_ref().map_or(request, |asked| asked.request));
        let Some(Asked { tokens, .. }) = follower.reads.asked.take_if(|asked| asked.request == request) else {
            return Ok(());
        };
        match outcome {
            Ok(index) => {
                mutate!(follower_read_does_not_wait, index = LogIndex::ZERO);
                follower.reads.indexed.entry(index).or_default().extend(tokens);
                self.release_reads();
            }
            Err(refusal) => {
                follower.reads.count -= tokens.len();
                tokens.into_iter().for_each(|token| self.refuse(token, refusal));
            }
        }
        self.arm_requests();
        self.ask_leader(now);
        Ok(())
    }

    // ---- on both -----------------------------------------------------------------------------------------------

    /// Reads whose index is committed here go to the state machine, behind the entries that they must see.
    pub(crate) fn release_reads(&mut self) {
        let commit = self.commit_index;
        let mut tokens = Vec::new();
        match &mut self.role {
            Role::Leader(leader) => {
                while let Some((_, token)) = leader.confirmed.front().filter(|(index, _)| *index <= commit) {
                    tokens.push(*token);
                    leader.confirmed.pop_front();
                }
            }
            Role::Follower(follower) => {
                while let Some(entry) = follower.reads.indexed.first_entry().filter(|entry| *entry.key() <= commit) {
                    tokens.extend(entry.remove());
                }
                follower.reads.count -= tokens.len();
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        for token in tokens {
            self.push(Command::StateMachine(StateMachineRequest::Read { token }));
        }
    }

    /// Runs the timer of this node's own questions and proposals to the leader.
    pub(crate) fn arm_requests(&mut self) {
        let question = match &self.role {
            Role::Follower(follower) => follower.reads.deadline(),
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => None,
        };
        // Later requests have later deadlines.
        let forward = self.forwards.waiting.first_key_value().map(|(_, forward)| forward.deadline);
        match forward.into_iter().chain(question).min() {
            Some(deadline) => self.timers.set(Timer::Requests, deadline),
            None => self.timers.stop(Timer::Requests),
        }
    }
}
