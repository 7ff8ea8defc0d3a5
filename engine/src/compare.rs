//! States compared: nodes that have applied the same entries must be in the same state. A state machine that looks at a clock, or
//! memory that forgets, makes one that is not, and no protocol over logs would ever notice.
//!
//! ```text
//!   leader     every now and then: hash_state at 905, which is not appended yet
//!   everybody  applies .. 904 905 ─ HashState ─ 906 ..        (the state machine goes on; the hash comes when it is there)
//!   follower   state_hashed at 905: 7f3a ──► leader: a quorum has 7f3a
//!                                                    node 3 has 91c0 ──► state_differs ──► node 3 halts
//! ```
//!
//! The entry lies so far ahead that every follower hears of it before it commits it; one that does not is not compared this time.
//! Who differs from a quorum of more than one node halts, the leader too. If none agrees, nobody can tell who is right: the leader
//! says so in its log.

use std::collections::BTreeMap;

use crate::command::{Command, StateMachineRequest};
use crate::engine::Engine;
use crate::message::Message;
use crate::quorum::VoteResult;
use crate::refusal::Fault;
use crate::role::Role;
use crate::types::{Instant, LogId, LogIndex, NodeId, StateHash, Term};
use crate::version::Version;

/// So many rounds of heartbeats tell who is to hash what; as many ask for what was not answered.
const ROUNDS: u32 = 3;

/// What a node hashes of its own state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Hashing {
    /// The next entry behind which to; beyond the commit index.
    wanted: Option<LogIndex>,
    /// The state machine has been asked.
    under_way: Option<LogIndex>,
    /// What came of it last.
    last: Option<(LogIndex, StateHash)>,
}

/// What a leader compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Comparison {
    /// When the last one began, or the office did.
    began: Instant,
    /// The last index at the last heartbeat: how fast the log grows.
    grown_to: LogIndex,
    /// Behind which entry; [`LogIndex::ZERO`] before the first.
    at: LogIndex,
    /// Who has which.
    hashes: BTreeMap<NodeId, StateHash>,
    /// What a quorum has.
    agreed: Option<StateHash>,
    /// For so many rounds it is asked for.
    rounds: u32,
    /// It was told that they differ.
    is_told: bool,
}

impl Comparison {
    pub(crate) const fn new(now: Instant) -> Self {
        let (grown_to, at) = (LogIndex::ZERO, LogIndex::ZERO);
        Self { began: now, grown_to, at, hashes: BTreeMap::new(), agreed: None, rounds: 0, is_told: false }
    }
}

impl Engine {
    /// Runs with each round of a leader's heartbeats.
    pub(crate) fn compare_states(&mut self, now: Instant) {
        let (Some(interval), last) = (self.config.state_check_interval, self.log.last().index) else { return };
        // Off as long as a member may not know what is said.
        if !self.is_in_use(Version::COMPARISON) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let comparison = &mut leader.comparison;
        let grew = last.since(std::mem::replace(&mut comparison.grown_to, last));
        if now.since(comparison.began) >= interval && !leader.progress.is_empty() {
            // Two rounds ahead, as far as one can tell.
            let at = LogIndex(last.0 + 1 + 2 * grew);
            *comparison = Comparison { grown_to: last, at, rounds: ROUNDS, ..Comparison::new(now) };
            self.hashing.wanted = Some(at);
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let comparison = &mut leader.comparison;
        if comparison.rounds == 0 {
            return;
        }
        comparison.rounds -= 1;
        let (term, at, agreed) = (self.vote.term, comparison.at, comparison.agreed);
        let Role::Leader(leader) = &self.role else { return };
        let is_silent = |node: &NodeId| !leader.comparison.hashes.contains_key(node);
        let asked = leader.progress.keys().copied().filter(is_silent);
        let asked: Vec<NodeId> = asked.filter(|node| self.may_send(*node, Version::COMPARISON)).collect();
        asked.into_iter().for_each(|target| self.send(target, Message::HashState { term, at }));
        // Who was told may not have heard.
        agreed.into_iter().for_each(|agreed| self.name_those_who_differ(at, agreed));
    }

    /// A leader wants to know this node's state behind an entry.
    pub(crate) fn handle_hash_state(&mut self, from: NodeId, term: Term, at: LogIndex) {
        if term != self.vote.term || self.leader() != Some(from) {
            return;
        }
        match self.hashing.last {
            Some((last, hash)) if last == at => self.send(from, Message::StateHashed { at, hash }),
            _ if at > self.commit_index => self.hashing.wanted = Some(at),
            // It came too late.
            _ => {}
        }
    }

    /// Entries from `first` to `last` are to be applied; in between, the state may be to hash.
    pub(crate) fn push_apply(&mut self, mut first: LogIndex, last: LogId) {
        if let Some(at) = self.hashing.wanted.take_if(|at| *at <= last.index)
            && at >= first
            && self.hashing.under_way.is_none()
        {
            let through = self.log.id_at(at).expect("what is committed now is in the log");
            self.push(Command::Apply { first, last: through });
            self.push(Command::StateMachine(StateMachineRequest::HashState { at }));
            self.hashing.under_way = Some(at);
            first = at.next();
        }
        if first <= last.index {
            self.push(Command::Apply { first, last });
        }
    }

    /// The state machine has hashed its state, or could not.
    pub(crate) fn handle_own_hash(&mut self, at: LogIndex, hash: Option<StateHash>) {
        // Completions may come twice.
        let Some(hash) = self.hashing.under_way.take_if(|asked| *asked == at).and(hash) else { return };
        self.hashing.last = Some((at, hash));
        match self.leader() {
            Some(leader) if leader == self.id() => self.note_hash(leader, at, hash),
            Some(leader) => self.send(leader, Message::StateHashed { at, hash }),
            None => {}
        }
    }

    /// A leader learns which state a node is in behind an entry. Nobody but a member is heard with such a word.
    pub(crate) fn note_hash(&mut self, from: NodeId, at: LogIndex, hash: StateHash) {
        let Role::Leader(leader) = &mut self.role else { return };
        let comparison = &mut leader.comparison;
        if comparison.at != at || at == LogIndex::ZERO {
            return;
        }
        comparison.hashes.insert(from, hash);
        // Whose answer was lost is asked again.
        comparison.rounds = ROUNDS;
        let Role::Leader(leader) = &self.role else { return };
        let (comparison, quorum) = (&leader.comparison, self.membership().quorum());
        let has = |node: NodeId| comparison.hashes.get(&node).map(|of| *of == hash);
        let have_it = comparison.hashes.values().filter(|of| **of == hash).count();
        // One node's word is none, even if it is the only voter: its memory may be the one that forgets.
        let agrees = have_it > 1 && quorum.vote_result(has) == VoteResult::Won;
        mutate!(states_agree_by_first_word, agrees = true);
        let agreed = comparison.agreed.or(agrees.then_some(hash));
        let differ = comparison.hashes.values().any(|other| *other != hash);
        let Role::Leader(leader) = &mut self.role else { return };
        let comparison = &mut leader.comparison;
        comparison.agreed = agreed;
        let is_all = leader.progress.len() < comparison.hashes.len();
        if differ && (agreed.is_some() || is_all) && !std::mem::replace(&mut comparison.is_told, true) {
            let hashes = comparison.hashes.clone();
            self.push(Command::StatesDiffer { at, agreed, hashes });
        }
        if let Some(agreed) = agreed {
            self.name_those_who_differ(at, agreed);
        }
    }

    /// Who is in another state than a quorum stops.
    fn name_those_who_differ(&mut self, at: LogIndex, agreed: StateHash) {
        let (own, term) = (self.id(), self.vote.term);
        let Role::Leader(leader) = &self.role else { return };
        let differ = leader.comparison.hashes.iter().filter(|(_, hash)| **hash != agreed);
        let differ: Vec<NodeId> = differ.map(|(node, _)| *node).collect();
        let told = |node: &NodeId| *node != own && self.may_send(*node, Version::COMPARISON);
        let others: Vec<NodeId> = differ.iter().copied().filter(told).collect();
        for node in &others {
            self.send(*node, Message::StateDiffers { term, at, agreed });
        }
        mutate!(leader_that_differs_leads_on, return);
        if differ.contains(&own) {
            self.stop_if_different(at, agreed);
        }
    }

    /// A quorum is in this state, behind that entry.
    pub(crate) fn handle_state_differs(&mut self, from: NodeId, term: Term, at: LogIndex, agreed: StateHash) {
        if term == self.vote.term && self.leader() == Some(from) {
            self.stop_if_different(at, agreed);
        }
    }

    fn stop_if_different(&mut self, at: LogIndex, agreed: StateHash) {
        if let Some((_, own)) = self.hashing.last.filter(|(last, own)| *last == at && *own != agreed) {
            mutate!(who_differs_goes_on, return);
            self.halt(Fault::Diverged { at, own, agreed });
        }
    }
}
