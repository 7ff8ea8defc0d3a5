//! One explored node: an engine, its log and its disk, and what a runtime would do for it.
//!
//! ```text
//!   accepted   1 vote ─ 2 entries ─ 3 truncation       the engine counts with all of it
//!   disk       1 vote │ 2 │ 3                          one write at a time becomes durable, when the explorer says so
//!                     └───┴───► a crash keeps any beginning
//! ```
//!
//! Everything but the disk is done at once: entries are applied, and requests to peers leave. What a node says is held
//! against its disk as it leaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outrigger::engine::{
    Batch, Body, Command, Engine, EngineConfig, Event, Fingerprint, Incarnation, Instant, Lapse, LogId, LogIndex,
    LogTime, Message, NodeId, Payload, Peer, PeerRefusal, Refusal, Restored, StateMachineRequest, Token, Version, Vote,
    WriteId,
};

use super::Bounds;
use super::network::Envelope;
use super::promise;
use crate::check::{Violation, require};
use crate::refinement::{Note, proof_wanted};
use crate::runtime::notes;
use crate::words;

/// The moment at which everything happens: whatever waits for time is brought about.
pub(super) const NOW: Instant = Instant(1 << 40);

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: LogId,
    pub(super) payload: Payload,
}

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) vote: Vote,
    /// The highest life of each peer that was met.
    pub(super) peers: BTreeMap<NodeId, Incarnation>,
    /// The entry with index i is at i - 1.
    pub(super) log: Vec<Entry>,
}

/// What the log lane was told to make durable.
#[derive(Clone, Debug)]
enum Write {
    Vote(Vote),
    Peer(Peer),
    Entries(Vec<Entry>),
    Truncation(LogIndex),
}

/// A node between two steps: nothing is left to do for it but to write. Those of one history share what does not change.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) engine: Engine,
    /// The log as accepted; the entry with index i is at i - 1.
    pub(super) log: Arc<Vec<Entry>>,
    pub(super) disk: Arc<Disk>,
    /// What is on its way to the disk, in order; the ids have no gap.
    pending: VecDeque<(WriteId, Write)>,
    /// What counts of all this.
    pub(super) fingerprint: Fingerprint,
    /// Settings for its next life.
    config: EngineConfig,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its entry will have this id, or none.
    Accepted(Token, LogId),
    /// No, and whether nothing was done for certain.
    Refused(Token, Refusal),
    /// What it reads: everything applied up to here.
    Read(Token, LogIndex),
}

/// What happens to an engine in a step.
#[derive(Debug, Default)]
pub(super) enum Handed {
    /// Time has passed that it will only find at the next event.
    #[default]
    Nothing,
    Event(Event),
    /// It starts anew from its disk.
    Start,
}

/// What a step made a node say, and what it did, for the model and for people.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) sent: Vec<Arc<Envelope>>,
    pub(super) answers: Vec<Answer>,
    /// What has happened to the engine.
    pub(super) handed: Handed,
    /// Whether it had, before, what proves that it leads, as far as the event wants it proven.
    pub(super) is_proven: bool,
    /// What the model knows of what was done.
    pub(super) notes: Vec<Note>,
    /// What was done, if somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

impl Effects {
    /// Of a step that somebody reads.
    pub(super) fn traced() -> Self {
        Self { trace: Some(Vec::new()), ..Self::default() }
    }

    fn note(&mut self, what: &impl ToString) {
        self.trace.iter_mut().for_each(|trace| trace.push(what.to_string()));
    }
}

impl Node {
    /// A member of a cluster that was just initialized: the membership is durable, everybody has met everybody.
    pub(super) fn new(id: NodeId, first: &Entry, members: &[NodeId], bounds: &Bounds) -> Self {
        let life = Incarnation { id: id.0, start: 1, nonce: 0 };
        // What the cluster begins with: nothing is raised.
        let mut config = EngineConfig::new(Peer::new(id, life).speaking(Version::FIRST), id.0);
        config.bind_directories = false;
        config.pre_vote = bounds.pre_vote;
        config.check_quorum = bounds.check_quorum;
        config.lease = bounds.leases.then(|| config.lease_max());
        let others = members.iter().filter(|other| **other != id);
        let peers = others.map(|other| (*other, Incarnation { id: other.0, ..life })).collect();
        let disk = Arc::new(Disk { vote: Vote::default(), peers, log: vec![first.clone()] });
        let engine = started(&config, disk.restored(LogIndex::ZERO));
        let log = Arc::new(disk.log.clone());
        let pending = VecDeque::new();
        let mut node = Self { engine, log, disk, pending, fingerprint: Fingerprint::default(), config };
        node.run(&mut Effects::default()).expect("a first start has nothing to say");
        node.settle();
        node
    }

    /// Whether it leads by leases, and reads by them.
    pub(super) const fn holds_leases(&self) -> bool {
        self.config.lease.is_some()
    }

    pub(super) const fn id(&self) -> NodeId {
        self.config.node.node
    }

    /// What is on its way to the disk.
    #[cfg(test)]
    pub(super) fn writes_pending(&self) -> impl std::fmt::Debug {
        &self.pending
    }

    /// How many writes are on their way to the disk.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What the engine makes of an event, and everything that follows at once.
    pub(super) fn handle(&mut self, event: Event, effects: &mut Effects) -> Result<(), Violation> {
        effects.note(&event);
        effects.handed = Handed::Event(event.clone());
        effects.is_proven = proof_wanted(&event).is_some_and(|proof| self.engine.proves(proof, NOW));
        let (term, commit) = (self.engine.vote().term, self.engine.commit_index());
        self.engine.handle_event(event, NOW);
        self.run(effects)?;
        let (id, later, further) = (self.id(), self.engine.vote().term, self.engine.commit_index());
        require!(term <= later, Monotonic, "the term of node {id} goes back from {term} to {later}");
        require!(commit <= further, Monotonic, "the commit index of node {id} goes back from {commit} to {further}");
        self.settle();
        Ok(())
    }

    /// Time passes that the engine finds at the next event.
    pub(super) fn elapse(&mut self, lapse: Lapse, effects: &mut Effects) {
        effects.note(&format!("{lapse:?} is over"));
        self.engine.lapse(lapse, NOW);
        self.settle();
    }

    /// The oldest write becomes durable, and the engine hears of it.
    pub(super) fn flush(&mut self, effects: &mut Effects) -> Result<(), Violation> {
        let Some((write, what)) = self.pending.pop_front() else { return Ok(()) };
        Arc::make_mut(&mut self.disk).write(self.config.node.node, what)?;
        self.handle(Event::LogFlushed { write }, effects)
    }

    /// The node dies and comes back with what its disk holds: so many of the pending writes, and a commit index.
    pub(super) fn crash(&mut self, kept: usize, commit: LogIndex, effects: &mut Effects) -> Result<(), Violation> {
        let id = self.id();
        for (_, write) in self.pending.drain(..).take(kept) {
            Arc::make_mut(&mut self.disk).write(id, write)?;
        }
        self.config.node.incarnation.start += 1;
        self.log = Arc::new(self.disk.log.clone());
        self.engine = started(&self.config, self.disk.restored(commit));
        effects.handed = Handed::Start;
        effects.note(&format!("node {id} starts again with {} entries, {commit} of them committed", self.log.len()));
        self.run(effects)?;
        self.settle();
        Ok(())
    }

    /// How far a restart may know what is committed, if so many of the pending writes are kept.
    pub(super) fn commits_after_crash(&self, kept: usize) -> LogIndex {
        let mut last = self.disk.log.len();
        for (_, write) in self.pending.iter().take(kept) {
            match write {
                Write::Entries(entries) => last += entries.len(),
                Write::Truncation(after) => last = last.min(place(*after)),
                Write::Vote(_) | Write::Peer(_) => {}
            }
        }
        self.engine.commit_index().min(LogIndex(last as u64))
    }

    /// Executes what the engine wants done, until there is nothing more.
    fn run(&mut self, effects: &mut Effects) -> Result<(), Violation> {
        while let Some(command) = self.engine.poll_command() {
            effects.note(&format!("  {command}"));
            effects.notes.extend(notes(&command));
            self.execute(command, effects)?;
        }
        Ok(())
    }

    fn execute(&mut self, command: Command, effects: &mut Effects) -> Result<(), Violation> {
        match command {
            Command::SaveVote { write, vote } => self.pending.push_back((write, Write::Vote(vote))),
            Command::SavePeer { write, peer } => self.pending.push_back((write, Write::Peer(peer))),
            Command::AppendInputEntries { write, batches } => {
                let entries: Vec<Entry> = batches.iter().flat_map(entries).collect();
                Arc::make_mut(&mut self.log).extend_from_slice(&entries);
                self.pending.push_back((write, Write::Entries(entries)));
            }
            Command::TruncateLog { write, after } => {
                Arc::make_mut(&mut self.log).truncate(place(after.index));
                self.pending.push_back((write, Write::Truncation(after.index)));
            }
            Command::Apply { last, .. } => self.engine.handle_event(Event::Applied { last: last.index }, NOW),
            Command::StateMachine(StateMachineRequest::Read { token }) => {
                effects.answers.push(Answer::Read(token, self.engine.commit_index()));
            }
            Command::SendVote { targets, request, pre_vote } => {
                let message = if pre_vote { Message::PreVote(request) } else { Message::RequestVote(request) };
                self.send_all(&targets, &message, effects)?;
            }
            Command::BroadcastHeartbeat { targets, heartbeat } => {
                self.send_all(&targets, &Message::Heartbeat(heartbeat), effects)?;
            }
            Command::SendMessage { target, message } => self.send(target, message, effects)?,
            Command::ReplicateCommitted { target, term, commit } => {
                self.send(target, Message::Committed { term, commit }, effects)?;
            }
            Command::Replicate { .. } => self.replicate(&command, effects)?,
            Command::Accepted { token, first } => effects.answers.push(Answer::Accepted(token, first)),
            Command::Refused { token, refusal } => effects.answers.push(Answer::Refused(token, refusal)),
            Command::RefusePeer { peer, reason } => {
                // What an earlier life of a node said may still be on its way.
                let late = matches!(reason, PeerRefusal::EarlierStart { .. });
                require!(late, Health, "node {} refuses {peer}: {reason}", self.id());
            }
            Command::Halt { fault } => require!(false, Health, "node {} stops: {fault}", self.id()),
            Command::PurgeLog { .. }
            | Command::SendSnapshot { .. }
            | Command::ReceiveSnapshot { .. }
            | Command::SnapshotTaken { .. }
            | Command::Purged { .. }
            | Command::StatesDiffer { .. }
            | Command::StateMachine(_) => {
                panic!("node {} was told to take no snapshots, but wants {command}", self.id())
            }
            // What a restart knows of it is chosen by the explorer; callers and streams need nothing here.
            Command::SaveCommitted { .. }
            | Command::SaveRefusal { .. }
            | Command::RebuildReplicationStreams { .. }
            | Command::SetPeers { .. }
            | Command::Sign { .. }
            | Command::AnswerPeer { .. }
            | Command::Changed { .. }
            | Command::Transferred { .. }
            | Command::Elected { .. }
            | Command::Done { .. }
            | Command::Abandoned { .. } => {}
        }
        Ok(())
    }

    /// Sends entries as they are in the log now, if they are there.
    fn replicate(&mut self, command: &Command, effects: &mut Effects) -> Result<(), Violation> {
        let &Command::Replicate { target, epoch, request, term, prev, last, commit, .. } = command else {
            return Ok(());
        };
        let holds = |id: LogId| id == LogId::ZERO || self.log.get(place(id.index) - 1).is_some_and(|it| it.id == id);
        if !holds(prev) || !holds(last) {
            self.engine.handle_event(Event::ReplicateGone { target, epoch, request }, NOW);
            return Ok(());
        }
        let batches = batches(&self.log[place(prev.index)..place(last.index)]);
        let bytes = batches.iter().map(Batch::bytes).sum();
        let append = outrigger::engine::AppendEntries { term, epoch, request, prev, batches, commit };
        self.send(target, Message::AppendEntries(append), effects)?;
        self.engine.handle_event(Event::Sent { target, epoch, request, last: last.index, bytes }, NOW);
        Ok(())
    }

    fn send_all(&self, targets: &[NodeId], message: &Message, effects: &mut Effects) -> Result<(), Violation> {
        targets.iter().try_for_each(|target| self.send(*target, message.clone(), effects))
    }

    fn send(&self, to: NodeId, message: Message, effects: &mut Effects) -> Result<(), Violation> {
        promise::check(self, to, &message)?;
        effects.sent.push(Arc::new(Envelope::new(self.config.node, to, message)));
        Ok(())
    }

    /// Notes what counts of the node, now that nothing is left to do.
    fn settle(&mut self) {
        let mut out = self.engine.fingerprint();
        out.number(self.engine.rounds_on_lease(NOW) as u64);
        out.vote(self.disk.vote);
        out.number(self.disk.peers.len() as u64);
        for (node, life) in &self.disk.peers {
            [node.0, life.id, life.start].into_iter().for_each(|number| out.number(number));
        }
        note_entries(&self.disk.log, &mut out);
        out.number(self.pending.len() as u64);
        for (_, write) in &self.pending {
            match write {
                Write::Vote(vote) => {
                    out.number(0);
                    out.vote(*vote);
                }
                Write::Peer(peer) => [1, peer.node.0, peer.incarnation.start].into_iter().for_each(|it| out.number(it)),
                Write::Entries(entries) => {
                    out.number(2);
                    note_entries(entries, &mut out);
                }
                Write::Truncation(after) => [3, after.0].into_iter().for_each(|number| out.number(number)),
            }
        }
        self.fingerprint = out;
    }
}

impl Disk {
    fn write(&mut self, own: NodeId, write: Write) -> Result<(), Violation> {
        match write {
            Write::Vote(vote) => {
                let Vote { term, voted_for } = self.vote;
                require!(vote.term >= term, Monotonic, "node {own} writes term {} after {term}", vote.term);
                let stands = vote.term > term || voted_for.is_none() || vote.voted_for == voted_for;
                require!(stands, OneVote, "node {own} writes {} over {}", words::vote(vote), words::vote(self.vote));
                self.vote = vote;
            }
            Write::Peer(peer) => drop(self.peers.insert(peer.node, peer.incarnation)),
            Write::Entries(entries) => self.log.extend(entries),
            Write::Truncation(after) => self.log.truncate(place(after)),
        }
        Ok(())
    }

    /// What a start finds.
    fn restored(&self, commit: LogIndex) -> Restored {
        let mut terms: Vec<LogId> = self.log.iter().map(|entry| entry.id).collect();
        terms.dedup_by_key(|id| id.term);
        let memberships = self.log.iter().filter_map(|entry| match &entry.payload.body {
            Body::Membership(membership) => Some((entry.id, Arc::clone(membership))),
            Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
        });
        Restored {
            vote: self.vote,
            terms,
            last: self.log.last().map_or(LogId::ZERO, |entry| entry.id),
            log_time: LogTime(0),
            commit,
            memberships: memberships.collect(),
            peers: self.peers.clone(),
            ..Restored::default()
        }
    }

    /// Whether it holds this very entry.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        self.log.get(place(entry.id.index) - 1) == Some(entry)
    }
}

/// How many entries there are up to `index`.
pub(super) fn place(index: LogIndex) -> usize {
    usize::try_from(index.0).expect("an index of a short log")
}

/// Adds entries to what counts.
pub(super) fn note_entries(entries: &[Entry], out: &mut Fingerprint) {
    out.number(entries.len() as u64);
    for entry in entries {
        out.log_id(entry.id);
        out.payload(&entry.payload);
    }
}

/// A node that has started. Where no leader holds leases, it keeps still no longer than it must: whatever it does not do meanwhile is
/// like a message that is lost, or a timeout that comes later.
fn started(config: &EngineConfig, restored: Restored) -> Engine {
    let mut engine = Engine::new(config.clone(), restored, NOW);
    if config.lease.is_none() {
        engine.lapse(Lapse::Pledge, NOW);
    }
    engine
}

fn entries(batch: &Batch) -> impl Iterator<Item = Entry> + '_ {
    let id = |index| LogId { term: batch.term(), index: LogIndex(index) };
    (batch.first().index.0..).map(id).zip(batch.entries().iter().cloned()).map(|(id, payload)| Entry { id, payload })
}

/// A batch for each run of entries of one term.
fn batches(entries: &[Entry]) -> Vec<Batch> {
    let runs = entries.chunk_by(|one, next| one.id.term == next.id.term);
    runs.map(|run| Batch::new(run[0].id, LogTime(0), run.iter().map(|entry| entry.payload.clone()).collect())).collect()
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{Fault, Term, VoteReply};

    use super::super::tests::state_with;
    use super::*;
    use crate::check::Check;

    fn node() -> Node {
        let state = state_with(Bounds::PAIR, |state| state.nodes[0].id() == NodeId(1));
        Node::clone(&state.nodes[0])
    }

    fn refusing<T>(judged: Result<T, Violation>) -> Option<Check> {
        judged.err().map(|violation| violation.check)
    }

    #[test]
    fn a_vote_that_is_written_over_another_one_or_goes_back_is_noticed() {
        let writes = |term, candidate: Option<u64>| {
            let mut disk = Disk::clone(&node().disk);
            disk.vote = Vote { term: Term(5), voted_for: Some(NodeId(1)) };
            let vote = Vote { term: Term(term), voted_for: candidate.map(NodeId) };
            refusing(disk.write(NodeId(1), Write::Vote(vote)))
        };
        assert_eq!([writes(5, Some(1)), writes(6, Some(2)), writes(6, None)], [None; 3]);
        assert_eq!([writes(5, Some(2)), writes(5, None)], [Some(Check::OneVote); 2]);
        assert_eq!(writes(4, Some(1)), Some(Check::Monotonic));
    }

    #[test]
    fn what_a_node_says_is_held_against_its_disk_and_that_it_stops_or_refuses_a_peer_is_noticed() {
        let (mut node, mut effects) = (node(), Effects::default());
        let reply = VoteReply { term: Term(1), asked: Term(1), granted: true };
        let says = node.send(NodeId(2), Message::RequestVoteReply(reply), &mut effects);
        assert_eq!(refusing(says), Some(Check::Promise));
        let fault = Fault::Storage { reason: "as somebody said".to_owned() };
        assert_eq!(refusing(node.execute(Command::Halt { fault }, &mut effects)), Some(Check::Health));
        let peer = Peer::new(NodeId(2), Incarnation { id: 2, start: 99, nonce: 1 });
        let refuses = Command::RefusePeer { peer, reason: PeerRefusal::NotMember };
        assert_eq!(refusing(node.execute(refuses, &mut effects)), Some(Check::Health));
    }
}
