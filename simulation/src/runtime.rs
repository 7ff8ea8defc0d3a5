//! The simulator's [`RaftRuntime`]: what a node does at its engine's word, in virtual time.
//!
//! ```text
//!   log lane     queued ──► in flight ──(a drawn delay)──► durable ──► LogFlushed
//!   apply lane   work ──(a drawn delay)──► machine ──► Applied, answers          hands back when full
//!   peer lanes   sending ──(a drawn delay)──► network, Sent or ReplicateGone     hand back while they send
//!   all others   network, answers: at once
//! ```
//!
//! Nothing here waits or draws: the world takes the effects and decides when each comes about.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use outrigger::engine::{
    AppendEntries, Batch, Body, Command, Event, Fault, Instant, Lane, LogId, LogIndex, Membership, Message, NodeId,
    Payload, Peer, PeerRefusal, Refusal, Snapshot, SnapshotId, StateHash, StateMachineRequest, Token, WriteId,
};
use outrigger::runtime::RaftRuntime;
use outrigger::store::{DurableStore, LogStore, StorageError};
use outrigger_log::FaultyDisk;

use crate::by_node::ByNode;
use crate::check::{Checks, Lanes, Pieces, Violation, Waiting, require};
use crate::durable::{Durable, Stamps};
use crate::machine::{Answer, Callers, Came, Machine};
use crate::plan::Plan;
use crate::reading::LogView;
use crate::refinement::Note;
use crate::trace::{Trace, digest};
use crate::world::leadership::{Fulfilment, is_wish};
use crate::world::members::is_stewards;

pub(crate) mod snapshot;

use snapshot::Keeping;

/// What the world must bring about.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A message leaves.
    Send(NodeId, Message),
    /// A peer lane begins to send.
    SendBulk(NodeId, u64),
    /// A caller gets its answer.
    Answer(Token, Answer),
    /// Something of a snapshot is on its way to the disk, by its number.
    Keep(u64),
    /// Who wants other members gets an answer.
    Changed(Token, Result<LogId, Refusal>),
    /// Who has a wish about the leader gets an answer.
    Wish(Token, Fulfilment),
    /// An entry of a session was applied, and this came of it.
    Came(LogIndex, Came),
    /// After this entry the sessions have this digest.
    Sessions(LogIndex, u64),
    /// The engine refuses a peer.
    RefusePeer(Peer, PeerRefusal),
    /// The engine stops.
    Halt(Fault),
}

/// A piece of the state machine's work.
#[derive(Debug)]
enum Work {
    /// From the first entry to the last one; what memory held of them then.
    Apply(LogIndex, LogId, Vec<Batch>),
    Read(Token),
    Build(LogId, LogId, Arc<Membership>),
    Hash(LogIndex),
    Install(Arc<Snapshot>),
}

/// One node, in one life, without its engine.
pub(crate) struct Runtime {
    /// When the engine's step is taken, in the world's time; set by the world before it.
    pub(crate) now: Instant,
    /// Who this is.
    pub(crate) me: Peer,
    /// What the engine said, digested.
    pub(crate) trace: Trace,
    /// What happened and was not brought about yet.
    pub(crate) effects: Vec<Effect>,
    /// Whether anybody wants to know what a step did.
    takes_notes: bool,
    /// What the step under way did that the model knows.
    pub(crate) notes: Vec<Note>,
    /// The log as the engine has it, flushed or not.
    pub(crate) accepted: Stamps,
    /// How much of `accepted` was checked; a truncation takes it back.
    pub(crate) checked: usize,
    /// What was purged of `log`.
    purged: LogId,
    /// Whether entries were dropped since the last check.
    pub(crate) truncated: bool,
    /// What must be on the disk.
    pub(crate) durable: Durable,
    /// The state machine.
    pub(crate) machine: Machine,
    /// Who waits for the state machine.
    pub(crate) callers: Callers,
    /// The real log on the simulated disk.
    store: DurableStore<FaultyDisk>,
    /// The log as the lanes read it.
    log: LogView,
    /// Log writes that no flush has taken up.
    queued: Vec<Command>,
    /// Log writes that the flush under way makes durable.
    in_flight: Vec<Command>,
    /// What the state machine has to do; the first is under way.
    work: VecDeque<Work>,
    /// Whether somebody was handed back and must be told that there is room.
    apply_waits: bool,
    /// How much work the state machine's lane takes.
    work_max: usize,
    /// What each peer lane sends now, by its number.
    sending: ByNode<(u64, Command)>,
    /// What streams were sending when they ended: nobody can call it back.
    ended: Vec<(u64, Command)>,
    /// What of snapshots is on its way to the disk, by its number.
    keeping: Vec<(u64, Keeping)>,
    /// The last entries of snapshots that may be on the disk, although it said that they are not.
    maybe_covers: Vec<LogId>,
    /// How much of that there ever was.
    keepings: u64,
    /// How many commands the peer lanes were given.
    sends: u64,
    /// The order of all lanes.
    lanes: Lanes,
    /// The pieces of snapshots that came.
    pub(crate) pieces: Pieces,
    /// What waits for the engine.
    pub(crate) waiting: Option<Waiting>,
    /// How many votes the last flush has made durable.
    pub(crate) votes_flushed: usize,
    /// Whom the engine refused last, and why.
    pub(crate) refused_last: Option<(Token, Refusal)>,
    /// What was hashed last of its state, and behind which entry.
    pub(crate) hashed: Option<(LogIndex, StateHash)>,
}

impl Runtime {
    pub(crate) fn new(
        plan: &Plan,
        store: DurableStore<FaultyDisk>,
        (durable, batches): (Durable, Vec<Batch>),
        trace: Trace,
        checks: Checks,
    ) -> Self {
        let mut machine = Machine::default();
        plan.sessions.iter().for_each(|sessions| machine.keep_sessions(sessions.limits));
        let log = LogView::new(durable.log.last(), batches, store.reader(), plan.tail_bytes);
        Self {
            now: Instant(0),
            me: store.identity(),
            trace,
            effects: Vec::new(),
            takes_notes: checks.model,
            notes: Vec::new(),
            accepted: durable.log.clone(),
            purged: durable.purged(),
            checked: 0,
            truncated: false,
            durable,
            machine,
            callers: Callers::default(),
            store,
            log,
            queued: Vec::new(),
            in_flight: Vec::new(),
            work: VecDeque::new(),
            apply_waits: false,
            work_max: plan.apply_lane,
            sending: ByNode::default(),
            ended: Vec::new(),
            keeping: Vec::new(),
            keepings: 0,
            maybe_covers: Vec::new(),
            sends: 0,
            lanes: Lanes::new(&plan.limits),
            pieces: Pieces::default(),
            waiting: checks.conduct.then(Waiting::default),
            votes_flushed: 0,
            hashed: None,
            refused_last: None,
        }
    }

    /// The engine is about to be told something.
    pub(crate) fn hear(&mut self, event: &Event) {
        self.pieces.hear(event);
        if let Some(waiting) = &mut self.waiting {
            waiting.begins(event);
        }
    }

    /// Writes down what the model knows of a command.
    fn take_notes(&mut self, command: &Command) {
        if !self.takes_notes {
            return;
        }
        match command {
            // A snapshot takes the place of a log that does not hold what it covers.
            Command::PurgeLog { write, through } if !self.accepted.has(*through) => {
                self.notes.push(Note::Install(*write, *through));
            }
            other => self.notes.extend(notes(other)),
        }
    }

    /// Whether the step that was taken last has listened to whoever spoke: it refuses nobody.
    pub(crate) fn has_listened(&self) -> bool {
        !self.effects.iter().any(|effect| matches!(effect, Effect::RefusePeer(..)))
    }

    /// Whether its log has changed since it was checked.
    pub(crate) fn has_unchecked(&self) -> bool {
        self.truncated || self.checked != self.accepted.0.len()
    }

    /// Takes up a flush, if there is something that somebody waits for and none is under way.
    pub(crate) fn begin_flush(&mut self) -> bool {
        let wanted = self.queued.iter().any(|write| write_id(write).is_some());
        if !wanted || !self.in_flight.is_empty() {
            return false;
        }
        self.in_flight = mem::take(&mut self.queued);
        true
    }

    /// The flush under way comes to its end: the last write that is durable now.
    pub(crate) fn end_flush(&mut self) -> Result<WriteId, StorageError> {
        self.write_in_flight()?;
        let mut writes = mem::take(&mut self.in_flight);
        self.lanes.flushed(&writes);
        self.votes_flushed = writes.iter().filter(|write| matches!(write, Command::SaveVote { .. })).count();
        writes.iter().for_each(|write| self.durable.write_as_in(&self.accepted, write));
        let last = writes.iter().rev().find_map(write_id);
        if self.queued.capacity() == 0 {
            // Its memory serves the next writes.
            writes.clear();
            self.queued = writes;
        }
        Ok(last.expect("a flush was begun for a write that has an id"))
    }

    /// Does the disk work of the flush under way, as far as the disk lets it. What its writes may leave behind after a
    /// power cut is told by the answer.
    pub(crate) fn write_in_flight(&mut self) -> Result<(), StorageError> {
        let Self { store, in_flight, .. } = self;
        for write in in_flight.iter() {
            match write {
                Command::SaveVote { vote, .. } => store.save_vote(*vote)?,
                Command::SavePeer { peer, .. } => store.save_peer(*peer)?,
                Command::AppendInputEntries { batches, .. } => store.append(batches)?,
                Command::TruncateLog { after, .. } => store.truncate(*after)?,
                Command::PurgeLog { through, .. } => store.purge(*through)?,
                Command::SaveCommitted { commit } => store.save_committed(*commit)?,
                Command::SaveRefusal { by, met } => store.save_refusal(*by, *met)?,
                other => panic!("{other:?} does not stand in the log lane"),
            }
        }
        store.flush()
    }

    /// The log was not written for a while.
    pub(crate) fn rest(&mut self) -> Result<(), StorageError> {
        self.store.rest()
    }

    /// Writes everything that waits for the disk: the last words of a node that has halted.
    pub(crate) fn write_all(&mut self) -> Result<(), StorageError> {
        let queued = mem::take(&mut self.queued);
        self.in_flight.extend(queued);
        self.write_in_flight()
    }

    /// The writes that the flush under way may or may not have made durable.
    pub(crate) fn in_flight(&self) -> &[Command] {
        &self.in_flight
    }

    /// What a process that has ended has left for certain, and the writes that were under way.
    pub(crate) fn take_left(&mut self) -> (Durable, Vec<Command>) {
        (mem::take(&mut self.durable), mem::take(&mut self.in_flight))
    }

    /// The writes that no flush has taken up.
    pub(crate) fn queued(&self) -> &[Command] {
        &self.queued
    }

    /// What was done out of its order, if anything was.
    pub(crate) fn order(&mut self) -> Result<(), Violation> {
        self.pieces.order(self.me.node)?;
        self.lanes.order()
    }

    /// Whether this life of a peer is on the disk, or on its way there.
    pub(crate) fn remembers(&self, peer: Peer) -> bool {
        let is_it =
            |write: &Command| matches!(write, Command::SavePeer { peer: saved, .. } if saved.is_same_life(&peer));
        self.durable.met(peer.node) == Some(peer.incarnation) || self.in_flight.iter().chain(&self.queued).any(is_it)
    }

    /// Whether its directory began its log itself.
    pub(crate) fn remembers_itself(&self) -> bool {
        self.remembers(self.me)
            || self.durable.met(self.me.node).is_some_and(|begun| begun.id == self.me.incarnation.id)
    }

    /// The bytes of the entries behind this one that are not applied, and of the last batch of them.
    pub(crate) fn in_hand(&mut self, applied: LogIndex, before: LogIndex) -> (usize, usize) {
        self.lanes.in_hand(applied, before)
    }

    /// Whether the state machine's lane takes whatever it is given at once.
    pub(crate) const fn has_room(&self) -> bool {
        !self.apply_waits
    }

    /// The entry at an index of the log.
    pub(crate) fn payload_at(&self, index: LogIndex) -> Payload {
        let id = self.accepted.at(index).expect("only entries of the log are asked for").id;
        self.log.entry(id).expect("the log can be read")
    }

    /// Whether something is on its way into the network.
    pub(crate) fn is_sending_to(&self, target: NodeId) -> bool {
        self.sending.at(target).is_some()
    }

    /// Whether the state machine has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Does the first piece of work. Answers with the event that follows, and whether the lane had been full.
    pub(crate) fn end_work(&mut self) -> (Option<Event>, bool) {
        let work = self.work.pop_front().expect("work was under way");
        let event = match work {
            Work::Apply(first, last, held) => Some(self.apply(first, last, held)),
            Work::Read(token) => {
                self.machine.look();
                let answer = self.callers.read(token, &self.machine);
                self.answer(answer);
                None
            }
            Work::Build(last, membership_at, membership) => {
                self.begin_build(last, membership_at, membership);
                None
            }
            Work::Hash(at) => {
                assert_eq!(self.machine.last(), at, "the state is hashed behind the entry that was asked for");
                self.hashed = Some((at, self.machine.hash()));
                self.hashed.map(|(at, hash)| Event::StateHashed { at, hash: Some(hash) })
            }
            Work::Install(snapshot) => Some(self.install(&snapshot)),
        };
        self.evict();
        (event, mem::take(&mut self.apply_waits))
    }

    fn apply(&mut self, first: LogIndex, last: LogId, held: Vec<Batch>) -> Event {
        let batches = match self.log.ending(first, last, held) {
            Ok(batches) => batches,
            Err(StorageError { reason }) => return Event::StateMachineFailed { at: first, reason },
        };
        assert_eq!(batches.last().map(Batch::last), Some(last), "the entries to apply are the log's");
        for batch in &batches {
            for (index, payload) in (batch.first().index.0..).zip(batch.entries()) {
                let id = LogId { term: batch.term(), index: LogIndex(index) };
                let came = self.machine.apply(id, batch.log_time(), payload);
                self.effects.extend(came.map(|came| Effect::Came(id.index, came)));
                let answer = self.callers.applied(id, came);
                self.answer(answer);
                while let Some(answer) = self.callers.overtaken(id) {
                    self.answer(Some(answer));
                }
            }
        }
        self.show_sessions();
        Event::Applied { last: self.machine.last() }
    }

    /// Whoever compares them sees the sessions as they are now.
    fn show_sessions(&mut self) {
        if self.machine.has_sessions() {
            let digest = digest(&self.machine.sessions());
            self.effects.push(Effect::Sessions(self.machine.last(), digest));
        }
    }

    /// The bytes of a snapshot that a peer lane is about to read, if there are any: of which, from where on, and how many.
    pub(crate) fn about_to_read(&self, to: NodeId, number: u64) -> Option<(SnapshotId, u64, u64)> {
        let (_, command) = self.sending.at(to).filter(|(sent, _)| *sent == number)?;
        let Command::SendSnapshot { snapshot, offset, bytes_max, .. } = command else { return None };
        let id = snapshot.id;
        let bytes = id.bytes.saturating_sub(*offset).min(*bytes_max as u64);
        let is_there = self.store.snapshots().newest().is_some_and(|newest| newest.id == id);
        // Whoever has yet to take it in itself would have nothing to take another one of.
        (bytes > 0 && is_there && self.machine.last() >= id.last.index).then_some((id, *offset, bytes))
    }

    /// A peer lane has sent what it was sending: the message leaves. The entries are read only now, and may be gone by now if
    /// the stream has ended.
    pub(crate) fn end_sending(&mut self, to: NodeId, number: u64) -> Result<Option<Event>, Violation> {
        let present = self.sending.at(to).is_some_and(|(sent, _)| *sent == number);
        let ended = self.ended.iter().position(|(sent, _)| *sent == number).map(|place| self.ended.swap_remove(place));
        let (target, epoch, request, term, prev, last, commit, bytes_max) =
            match if present { self.sending.remove(to) } else { ended } {
                Some((_, Command::Replicate { target, epoch, request, term, prev, last, commit, bytes_max })) => {
                    (target, epoch, request, term, prev, last, commit, bytes_max)
                }
                Some((_, Command::ReplicateCommitted { target, term, commit })) => {
                    self.effects.push(Effect::Send(target, Message::Committed { term, commit }));
                    return Ok(None);
                }
                Some((_, piece @ Command::SendSnapshot { .. })) => return Ok(self.end_sending_piece(piece)),
                Some((_, other)) => panic!("{other:?} does not stand in a peer lane"),
                None => return Ok(None),
            };
        if prev.index < self.purged.index {
            return Ok(Some(Event::ReplicateGone { target, epoch, request }));
        }
        let is_held = self.accepted.has(prev) && self.accepted.has(last);
        require!(is_held || !present, Lanes, "node {} leads, and its log lost {prev} or {last}", self.me.node);
        let batches = match self.log.between(prev, last, bytes_max, is_held) {
            Ok(batches) => batches,
            Err(error) => return Ok(Some(Event::StorageFailed { reason: error.reason })),
        };
        let found = batches.is_some();
        let does = if found { "sends" } else { "cannot send" };
        let held = if is_held { "its log holds" } else { "its log does not hold" };
        require!(found == is_held, Lanes, "node {} {does} {prev} to {last}, which {held}", self.me.node);
        let Some(batches) = batches else { return Ok(Some(Event::ReplicateGone { target, epoch, request })) };
        assert_eq!(batches.is_empty(), prev == last, "{prev} to {last} are as many entries as were found");
        let bytes = batches.iter().map(Batch::bytes).sum();
        let sent = batches.last().map_or(prev, Batch::last).index;
        let message = Message::AppendEntries(AppendEntries { term, epoch, request, prev, batches, commit });
        self.effects.push(Effect::Send(target, message));
        Ok(Some(Event::Sent { target, epoch, request, last: sent, bytes }))
    }

    fn evict(&mut self) {
        let done = self.machine.last().min(self.durable.log.last().index);
        self.log.evict(done);
    }

    fn answer(&mut self, answer: Option<(Token, Answer)>) {
        self.effects.extend(answer.map(|(token, answer)| Effect::Answer(token, answer)));
    }

    fn send_to_all(&mut self, targets: Vec<NodeId>, message: &Message) {
        self.effects.extend(targets.into_iter().map(|target| Effect::Send(target, message.clone())));
    }

    fn queue_write(&mut self, command: Command) {
        if !self.lanes.writes(write_id(&command), &command) {
            return;
        }
        match &command {
            Command::AppendInputEntries { batches, .. } => {
                self.log.append(batches);
                batches.iter().for_each(|batch| self.accepted.append(batch));
            }
            Command::TruncateLog { after, .. } => {
                self.log.truncate(*after);
                self.accepted.truncate(after.index);
                self.checked = self.checked.min(self.accepted.0.len());
                self.truncated = true;
            }
            Command::PurgeLog { through, .. } => self.purge(*through),
            _ => {}
        }
        self.queued.push(command);
    }

    fn queue_work(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
        if self.work.len() >= self.work_max {
            self.apply_waits = true;
            return Ok(Some(command));
        }
        match command {
            Command::Apply { first, last } if !self.lanes.applies(first, last.index) => {}
            Command::Apply { first, last } => {
                let held = self.log.held(first, last);
                self.work.push_back(Work::Apply(first, last, held));
            }
            Command::StateMachine(StateMachineRequest::Read { token }) => self.work.push_back(Work::Read(token)),
            Command::StateMachine(StateMachineRequest::BuildSnapshot { last, membership_at, membership }) => {
                self.work.push_back(Work::Build(last, membership_at, membership));
            }
            Command::StateMachine(StateMachineRequest::HashState { at }) => self.work.push_back(Work::Hash(at)),
            Command::StateMachine(StateMachineRequest::InstallSnapshot { snapshot }) => {
                if self.lanes.installs(snapshot.last().index) {
                    self.work.push_back(Work::Install(snapshot));
                }
            }
            other => panic!("{other:?} does not stand in the apply lane"),
        }
        Ok(None)
    }

    fn replicate(&mut self, target: NodeId, command: Command) -> Option<Command> {
        if self.sending.at(target).is_some() {
            return Some(command);
        }
        if self.lanes.sends(&command) {
            self.sends += 1;
            self.sending.insert(target, (self.sends, command));
            self.effects.push(Effect::SendBulk(target, self.sends));
        }
        None
    }
}

impl Runtime {
    /// Whoever had a wish about the leader is told what has come of it.
    fn fulfilled(&mut self, command: &Command) {
        let (token, outcome) = match command {
            Command::Transferred { token, result } => (*token, Fulfilment::Transferred(*result)),
            Command::Elected { token, result } => (*token, Fulfilment::Elected(*result)),
            Command::Done { token } => (*token, Fulfilment::Done),
            Command::SnapshotTaken { token, last } => (*token, Fulfilment::Snapshot(*last)),
            Command::Purged { token, through } => (*token, Fulfilment::Purged(*through)),
            other => panic!("{other} answers no wish"),
        };
        self.effects.push(Effect::Wish(token, outcome));
    }

    fn refused(&mut self, token: Token, refusal: Refusal) {
        self.refused_last = Some((token, refusal));
        if is_wish(token) {
            self.effects.push(Effect::Wish(token, Fulfilment::Refused));
        } else if is_stewards(token) {
            self.effects.push(Effect::Changed(token, Err(refusal)));
        } else {
            let answer = self.callers.refused(token, refusal.is_certain());
            self.answer(answer);
        }
    }
}

impl RaftRuntime for Runtime {
    fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
        self.trace.note(self.now, self.me.node, '<', &command);
        self.take_notes(&command);
        self.waiting.iter_mut().for_each(|waiting| waiting.ends(&command));
        match command {
            Command::SaveVote { .. }
            | Command::SavePeer { .. }
            | Command::AppendInputEntries { .. }
            | Command::TruncateLog { .. }
            | Command::PurgeLog { .. }
            | Command::SaveCommitted { .. }
            | Command::SaveRefusal { .. } => self.queue_write(command),
            Command::Apply { .. } | Command::StateMachine(_) => return self.queue_work(command),
            Command::Replicate { target, .. }
            | Command::ReplicateCommitted { target, .. }
            | Command::SendSnapshot { target, .. } => {
                return Ok(self.replicate(target, command));
            }
            Command::RebuildReplicationStreams { targets } => {
                for (number, command) in mem::take(&mut self.sending).into_values() {
                    let goes_on = |target: NodeId| targets.iter().any(|(node, _)| *node == target);
                    match command.lane() {
                        Some(Lane::Peer(target)) if goes_on(target) => {
                            self.sending.insert(target, (number, command));
                        }
                        _ => self.ended.push((number, command)),
                    }
                }
                self.lanes.rebuild(targets);
            }
            Command::BroadcastHeartbeat { targets, heartbeat } => {
                self.send_to_all(targets, &Message::Heartbeat(heartbeat));
            }
            Command::SendVote { targets, request, pre_vote } => {
                let message = if pre_vote { Message::PreVote(request) } else { Message::RequestVote(request) };
                self.send_to_all(targets, &message);
            }
            Command::SendMessage { target, message } => self.effects.push(Effect::Send(target, message)),
            Command::RefusePeer { peer, reason } => self.effects.push(Effect::RefusePeer(peer, reason)),
            Command::Accepted { token, first } => {
                let answer = self.callers.accepted(token, first, &self.machine);
                self.answer(answer);
            }
            Command::ReceiveSnapshot { snapshot, offset, chunk } => {
                self.pieces.take(snapshot.id);
                self.keep(Keeping::Piece(snapshot, offset, chunk));
            }
            // Every node reaches every other here.
            Command::AnswerPeer { .. } | Command::SetPeers { .. } => {}
            // Whom to reach is known; how to sign is told as a transport is told it.
            Command::Sign { signature } => self.me = signature,
            Command::Changed { token, at } => self.effects.push(Effect::Changed(token, Ok(at))),
            Command::Transferred { .. }
            | Command::Elected { .. }
            | Command::SnapshotTaken { .. }
            | Command::Purged { .. }
            | Command::Done { .. } => self.fulfilled(&command),
            Command::Refused { token, refusal } => self.refused(token, refusal),
            Command::Abandoned { from } => {
                let answers = self.callers.abandoned(from).into_iter();
                self.effects.extend(answers.map(|(token, answer)| Effect::Answer(token, answer)));
            }
            Command::StatesDiffer { at, agreed, hashes } => {
                let differ = hashes.values().any(|hash| *hash != agreed.unwrap_or(*hash)) || agreed.is_none();
                assert!(
                    differ,
                    "node {} is told that states differ after {at}, and they do not: {hashes:?}",
                    self.me.node
                );
            }
            Command::Halt { fault } => self.effects.push(Effect::Halt(fault)),
        }
        Ok(None)
    }
}

/// What the model knows of a command, the members that it puts into the log among it.
pub(crate) fn notes(command: &Command) -> impl Iterator<Item = Note> + '_ {
    let batches = match command {
        Command::AppendInputEntries { batches, .. } => &batches[..],
        _ => &[],
    };
    note(command).into_iter().chain(batches.iter().filter(|batch| batch.has_membership()).flat_map(memberships))
}

/// What it knows of it but for members. A read that is handed back is noted when it is tried again, too.
fn note(command: &Command) -> Option<Note> {
    Some(match command {
        Command::SaveVote { write, .. } => Note::Vote(*write),
        Command::AppendInputEntries { write, batches } => Note::Entries(*write, batches.iter().map(Batch::len).sum()),
        Command::TruncateLog { write, .. } => Note::Truncation(*write),
        Command::SavePeer { write, .. } | Command::PurgeLog { write, .. } => Note::Other(*write),
        Command::BroadcastHeartbeat { heartbeat, .. } => Note::Round(heartbeat.round),
        Command::RefusePeer { .. } => Note::Unheard,
        Command::StateMachine(StateMachineRequest::Read { token }) => Note::Read(*token),
        Command::Refused { token, .. } => Note::Refused(*token),
        _ => return None,
    })
}

/// The memberships that a batch puts into the log.
fn memberships(batch: &Batch) -> impl Iterator<Item = Note> + '_ {
    let indexes = (batch.first().index.0..).map(LogIndex);
    indexes.zip(batch.entries()).filter_map(|(index, entry)| match &entry.body {
        Body::Membership(membership) => Some(Note::Membership(index, Arc::clone(membership))),
        Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
    })
}

/// The id of a write that somebody waits for.
const fn write_id(command: &Command) -> Option<WriteId> {
    match command {
        Command::SaveVote { write, .. }
        | Command::SavePeer { write, .. }
        | Command::AppendInputEntries { write, .. }
        | Command::TruncateLog { write, .. }
        | Command::PurgeLog { write, .. } => Some(*write),
        _ => None,
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("me", &self.me).finish_non_exhaustive()
    }
}
