//! What RaftCore does with each command of the engine: the tokio runtime's [`RaftRuntime`].
//!
//! ```text
//!   log lane      SaveVote .. SaveRefusal ────────► LogWriter (and the tail)
//!   apply lane    Apply, StateMachine ────────────► the state machine worker's jobs
//!   peer lanes    Replicate .. SendSnapshot ──────► Stream ──► Transport, bulk lane
//!   client lane   Accepted .. Abandoned ──────────► callers, and the worker's jobs
//!   no lane       votes, heartbeats, answers ─────► Transport, urgent lane; SetPeers too
//!                 ReceiveSnapshot ────────────────► a task of SnapshotAccess
//! ```
//!
//! Nothing in here waits: what takes time happens elsewhere and comes back as an event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use outrigger_engine::{
    Command, Epoch, Event, Fault, Heartbeat, Instant, Lane, LogId, LogIndex, Message, NodeId, Refusal, Snapshot,
    StateHash, StateMachineRequest, Token, VoteRequest, WriteId,
};
use tokio::task::JoinSet;

use super::RaftRuntime;
use super::apply::{Job, Jobs};
use super::arrivals::Inbox;
use super::committing::Committing;
use super::expected::Run;
use super::log_writer::{LogAccess, LogWriter, Write};
use super::order::OrderAnswer;
use super::replication::{Outgoing, Replicate, SendSnapshot, Stream};
use super::respond::{Asked, Callers, Doubt, Failure};
use super::snapshot::SnapshotAccess;
use super::tail::{Held, Tail};
use crate::LargeStateMachine;
use crate::network::Transport;
use crate::store::StorageError;

/// Everything that RaftCore acts on beside the engine.
pub(crate) struct TokioRuntime<S: LargeStateMachine> {
    /// The newest entries. Changed here only, in the order of the log lane.
    pub(crate) tail: Tail,
    pub(crate) log: LogWriter,
    pub(crate) log_access: LogAccess,
    snapshots: SnapshotAccess,
    /// One for each node that the engine replicates to.
    streams: BTreeMap<NodeId, Stream<S>>,
    /// The tasks of `streams`, and of those that have just ended.
    stream_tasks: JoinSet<()>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) callers: Callers<S>,
    /// Who waits for a commit.
    pub(crate) committing: Committing,
    /// What happened at once, to be told to the engine after what it is told now.
    pub(crate) completions: VecDeque<Event>,
    /// The state machine's jobs, and those not handed over yet.
    jobs: Arc<Jobs<S>>,
    next_jobs: Vec<Job<S>>,
    /// Whether one of `next_jobs` is not just a note for later ones.
    jobs_are_urgent: bool,
    /// The last entry that the worker has been given.
    given: LogIndex,
    /// The last entry that it has applied; at most `given`.
    applied: LogIndex,
    /// More entries than this are not with the worker at once.
    unapplied_max: u64,
    /// Whether `Apply` was handed back since the worker last applied something.
    apply_wants_room: bool,
    /// For a state on disk: the worker is given no entry behind this one, which is durable here, so that the log of a later start
    /// holds what the state does.
    durable: Option<LogIndex>,
    /// Whether `Apply` was handed back since `durable` was last raised.
    apply_wants_durable: bool,
    inbox: Arc<Inbox<S>>,
    /// Why the engine has stopped.
    pub(crate) fault: Option<Fault>,
}

impl<S: LargeStateMachine> TokioRuntime<S> {
    pub(crate) fn new(
        (tail, log, log_access, snapshots): (Tail, LogWriter, LogAccess, SnapshotAccess),
        transport: Arc<dyn Transport>,
        jobs: Arc<Jobs<S>>,
        inbox: Arc<Inbox<S>>,
        (unapplied_max, durable): (u64, Option<LogIndex>),
    ) -> Self {
        Self {
            tail,
            log,
            log_access,
            snapshots,
            streams: BTreeMap::new(),
            stream_tasks: JoinSet::new(),
            transport,
            // Token 0 is the node's own, for what nobody waits for.
            callers: Callers::new(Token(1)),
            committing: Committing::default(),
            completions: VecDeque::new(),
            jobs,
            next_jobs: Vec::new(),
            jobs_are_urgent: false,
            given: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            unapplied_max,
            apply_wants_room: false,
            durable,
            apply_wants_durable: false,
            inbox,
            fault: None,
        }
    }

    /// The worker has applied entries; answers whether the apply lane wants to hear of the room.
    pub(crate) fn applied(&mut self, last: LogIndex) -> bool {
        assert!(self.applied < last && last <= self.given, "applied {last} of {} after {}", self.given, self.applied);
        self.applied = last;
        std::mem::take(&mut self.apply_wants_room)
    }

    /// Entries up to this one are durable here; answers whether the apply lane wants to hear of that.
    pub(crate) fn is_durable(&mut self, last: LogIndex) -> bool {
        let is_more = self.durable.as_mut().is_some_and(|durable| std::mem::replace(durable, last) < last);
        is_more && std::mem::take(&mut self.apply_wants_durable)
    }

    /// Whether the state holds every entry of the log: nothing is under way.
    pub(crate) fn has_applied_all(&self) -> bool {
        self.applied == self.tail.last().index
    }

    /// Answers those who have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.callers.expire(now);
        self.committing.expire(now);
        self.give(Job::Expire { now });
    }

    /// Gives the worker what has come together, if it has reason to look at it now.
    pub(crate) fn hand_over_jobs(&mut self) {
        if std::mem::take(&mut self.jobs_are_urgent) {
            let _: Option<()> = self.jobs.put(|jobs| jobs.append(&mut self.next_jobs));
        }
    }

    /// Ends what only this node's callers and tasks wait for. The worker and the log writer go on.
    pub(crate) async fn stop(&mut self) {
        self.streams.clear();
        self.stream_tasks.shutdown().await;
        self.callers.fail_all(Failure::Unknown(Doubt::Stopped));
        self.committing.stop();
        self.next_jobs.clear();
    }

    fn give(&mut self, job: Job<S>) {
        self.jobs_are_urgent |= !matches!(job, Job::Expect(_));
        self.next_jobs.push(job);
    }

    // ---- log lane ----------------------------------------------------------------------------------------------

    fn append(&mut self, write: WriteId, batches: Vec<outrigger_engine::Batch>) -> Result<(), StorageError> {
        self.tail.append(&batches);
        self.log.submit(Write::Append(write, batches))
    }

    fn truncate(&mut self, write: WriteId, after: LogId) -> Result<(), StorageError> {
        assert!(after.index >= self.given, "truncated behind {after}, but entries up to {} are committed", self.given);
        self.tail.truncate(after);
        // What is appended in its place is not durable, and may be committed in the same step.
        self.durable.iter_mut().for_each(|durable| *durable = after.index.min(*durable));
        self.log.submit(Write::Truncate(write, after))
    }

    fn purge(&mut self, write: WriteId, through: LogId) -> Result<(), StorageError> {
        // What is purged is in a snapshot: it was applied before that was taken, whether that was reported or not. What a
        // snapshot brings takes the place of all.
        let may_go = through.index <= self.given || self.given == self.applied;
        assert!(may_go, "a purge up to {through} of what is being applied: {} of {}", self.applied, self.given);
        self.tail.purge(through);
        self.log.submit(Write::Purge(write, through))
    }

    // ---- lanes that hand back ----------------------------------------------------------------------------------

    /// Whether the lane of this command takes nothing now.
    fn is_full(&mut self, command: &Command) -> bool {
        match (command, command.lane()) {
            (Command::Apply { last, .. }, _) => {
                let unapplied = last.index.since(self.applied);
                // A run that is larger than the limit by itself still goes when nothing else is under way.
                let is_full = self.given > self.applied && unapplied > self.unapplied_max;
                self.apply_wants_room |= is_full;
                let is_early = self.durable.is_some_and(|durable| last.index > durable);
                self.apply_wants_durable |= is_early;
                is_full || is_early
            }
            (_, Some(Lane::Peer(target))) => self.streams.get(&target).is_some_and(Stream::is_full),
            (_, Some(Lane::Log | Lane::Apply | Lane::Client) | None) => false,
        }
    }

    fn apply(&mut self, first: LogIndex, last: LogId) {
        assert!(first == self.given.next(), "entries from {first} do not follow {}", self.given);
        let batches = self.tail.ending(first, last);
        self.given = last.index;
        self.give(Job::Apply { first, last, batches });
    }

    fn state_machine(&mut self, request: StateMachineRequest) {
        match request {
            StateMachineRequest::Read { token } => self.read(token),
            StateMachineRequest::BuildSnapshot { last, membership_at, membership } => {
                self.give(Job::BuildSnapshot { last, membership_at, membership });
            }
            StateMachineRequest::HashState { at } => self.give(Job::HashState { at }),
            StateMachineRequest::InstallSnapshot { snapshot } => {
                assert!(snapshot.last().index > self.given, "{} would take back {}", snapshot.id, self.given);
                self.given = snapshot.last().index;
                self.give(Job::InstallSnapshot(snapshot));
            }
        }
    }

    fn read(&mut self, token: Token) {
        match self.callers.take(token) {
            Some((deadline, Asked::Reads(reads))) => self.give(Job::Read { reads, deadline }),
            Some((_, Asked::Writes(slots))) => panic!("{} writes wait behind the read {token}", slots.len()),
            None => {}
        }
    }

    fn replicate(&mut self, target: NodeId, replicate: Replicate) {
        let epoch = replicate.epoch;
        let stream = self.streams.get(&target);
        let Some(stream) = stream.filter(|stream| stream.epoch() == epoch) else {
            panic!("there is no stream {epoch} to node {target}")
        };
        let outgoing = match self.tail.between(replicate.prev, replicate.last, replicate.bytes_max) {
            Held::Here(batches) => Outgoing::Entries(replicate, batches),
            Held::InLog(through) => Outgoing::FromLog(replicate, through),
            Held::Gone => {
                let request = replicate.request;
                return self.completions.push_back(Event::ReplicateGone { target, epoch, request });
            }
        };
        self.completions.extend(stream.send(outgoing));
    }

    fn replicate_committed(&mut self, target: NodeId, outgoing: Outgoing) {
        let Some(stream) = self.streams.get(&target) else { panic!("there is no stream to node {target}") };
        self.completions.extend(stream.send(outgoing));
    }

    fn send_snapshot(&mut self, target: NodeId, piece: SendSnapshot) {
        let stream = self.streams.get(&target).filter(|stream| stream.epoch() == piece.epoch);
        let Some(stream) = stream else { panic!("there is no stream {} to node {target}", piece.epoch) };
        self.completions.extend(stream.send(Outgoing::Snapshot(piece)));
    }

    fn receive_snapshot(&self, snapshot: Arc<Snapshot>, offset: u64, chunk: Bytes) {
        let inbox = Arc::clone(&self.inbox);
        self.snapshots.receive(snapshot, offset, chunk, move |event| inbox.notify(event));
    }

    fn rebuild_streams(&mut self, targets: &[(NodeId, Epoch)]) {
        self.streams.retain(|node, stream| targets.contains(&(*node, stream.epoch())));
        // Tasks that have ended are let go of here; there are no others. One that has panicked has said so.
        while self.stream_tasks.try_join_next().is_some() {}
        for target in targets {
            if !self.streams.contains_key(&target.0) {
                let tasks = &mut self.stream_tasks;
                let parts = (&self.log_access, &self.snapshots);
                let stream = Stream::begin(*target, &self.transport, parts, &self.inbox, tasks);
                self.streams.insert(target.0, stream);
            }
        }
    }

    // ---- no lane -----------------------------------------------------------------------------------------------

    fn broadcast(&self, targets: &[NodeId], heartbeat: Heartbeat) {
        for target in targets {
            self.transport.send(*target, Message::Heartbeat(heartbeat));
        }
    }

    fn send_vote(&self, targets: &[NodeId], request: VoteRequest, pre_vote: bool) {
        let message = if pre_vote { Message::PreVote } else { Message::RequestVote };
        for target in targets {
            self.transport.send(*target, message(request));
        }
    }

    // ---- client lane -------------------------------------------------------------------------------------------

    fn accepted(&mut self, token: Token, first: LogId) {
        match self.callers.take(token) {
            Some((deadline, Asked::Writes(mut slots))) => {
                self.committing.wait(&mut slots, first, deadline);
                self.give(Job::Expect(Run { next: first, slots: slots.into(), deadline }));
            }
            Some((_, Asked::Reads(reads))) => panic!("{} reads wait behind the write {token}", reads.len()),
            None => {}
        }
    }

    fn refused(&mut self, token: Token, refusal: Refusal) {
        let failure = |doubt| match refusal {
            certain if certain.is_certain() => Failure::Refused(certain),
            _ => Failure::Unknown(doubt),
        };
        if let Some(slot) = self.callers.take_order(token) {
            // A change of the members is asked of the leader itself: what it cannot tell, its successor decides.
            slot.fail(failure(Doubt::LeadershipLost));
        } else if let Some((_, asked)) = self.callers.take(token) {
            asked.fail(failure(Doubt::LeaderSilent));
        }
    }

    /// An order has come to its end.
    fn done(&mut self, token: Token, answer: OrderAnswer) {
        if let Some(slot) = self.callers.take_order(token) {
            slot.answer(answer);
        }
    }

    fn halt(&mut self, fault: Fault) {
        tracing::error!(%fault, "this node has stopped taking part");
        self.fault = Some(fault);
    }
}

impl<S: LargeStateMachine> RaftRuntime for TokioRuntime<S> {
    fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
        if self.is_full(&command) {
            return Ok(Some(command));
        }
        match command {
            Command::SaveVote { write, vote } => self.log.submit(Write::Vote(write, vote))?,
            Command::SavePeer { write, peer } => self.log.submit(Write::Peer(write, peer))?,
            Command::AppendInputEntries { write, batches } => self.append(write, batches)?,
            Command::TruncateLog { write, after } => self.truncate(write, after)?,
            Command::PurgeLog { write, through } => self.purge(write, through)?,
            Command::SaveCommitted { commit } => self.log.submit(Write::Committed(commit))?,
            Command::SaveRefusal { by, met } => self.log.submit(Write::Refusal(by, met))?,
            Command::Apply { first, last } => self.apply(first, last),
            Command::StateMachine(request) => self.state_machine(request),
            Command::Replicate { target, epoch, request, term, prev, last, commit, bytes_max } => {
                self.replicate(target, Replicate { epoch, request, term, prev, last, commit, bytes_max });
            }
            Command::ReplicateCommitted { target, term, commit } => {
                self.replicate_committed(target, Outgoing::Committed { term, commit });
            }
            Command::SendSnapshot { target, epoch, request, term, leader, snapshot, offset, bytes_max } => {
                self.send_snapshot(target, SendSnapshot { epoch, request, term, leader, snapshot, offset, bytes_max });
            }
            Command::ReceiveSnapshot { snapshot, offset, chunk } => self.receive_snapshot(snapshot, offset, chunk),
            Command::RebuildReplicationStreams { targets } => self.rebuild_streams(&targets),
            Command::SetPeers { peers } => self.transport.set_peers(&peers),
            Command::Sign { signature } => self.transport.sign(signature),
            Command::BroadcastHeartbeat { targets, heartbeat } => self.broadcast(&targets, heartbeat),
            Command::SendVote { targets, request, pre_vote } => self.send_vote(&targets, request, pre_vote),
            Command::SendMessage { target, message } => self.transport.send(target, message),
            Command::AnswerPeer { peer } => self.transport.answer(peer),
            Command::RefusePeer { peer, reason } => self.transport.refuse(peer, reason),
            Command::Accepted { token, first } => self.accepted(token, first),
            Command::Changed { token, at }
            | Command::SnapshotTaken { token, last: at }
            | Command::Purged { token, through: at } => {
                self.done(token, OrderAnswer::Entry(at));
            }
            Command::Transferred { token, result } => self.done(token, OrderAnswer::Transfer(result)),
            Command::Elected { token, result } => self.done(token, OrderAnswer::Election(result)),
            Command::Done { token } => self.done(token, OrderAnswer::Deed),
            Command::Refused { token, refusal } => self.refused(token, refusal),
            Command::Abandoned { from } => {
                self.committing.abandon(from);
                self.give(Job::Abandon { from });
            }
            Command::StatesDiffer { at, agreed, hashes } => report_divergence(at, agreed, &hashes),
            Command::Halt { fault } => self.halt(fault),
        }
        Ok(None)
    }
}

/// Somebody should know that nodes differ, also where nobody can tell who is right.
fn report_divergence(at: LogIndex, agreed: Option<StateHash>, hashes: &BTreeMap<NodeId, StateHash>) {
    let states: Vec<String> = hashes.iter().map(|(node, hash)| format!("node {node}: {hash}")).collect();
    let states = states.join(", ");
    let agreed = agreed.map_or_else(|| "nothing".to_owned(), |agreed| agreed.to_string());
    tracing::error!(%at, states, agreed, "nodes have applied the same and are in different states; who differs from a majority stops");
}

#[cfg(test)]
mod tests;
