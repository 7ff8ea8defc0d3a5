//! A runtime of one's own: three nodes on one thread, without async, threads or sockets. The same engine and driver as
//! in production decide everything; what is here only does.
//!
//! `cargo run -p outrigger --example own_runtime --no-default-features`
//!
//! ```text
//!   messages ─┐                          ┌─► log lane: a store in memory, durable at once
//!   timeouts ─┼─► Driver ─ run_command ──┼─► apply lane: a map
//!  completed ─┘      ▲                   └─► peer lanes: the messages of the others
//!                    └── completions ◄───────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger::engine::{
    AppendEntries, Batch, Body, Command, Engine, EngineConfig, Event, Incarnation, Instant, LogId, Membership, Message,
    Node, NodeId, Payload, Peer, Restored, RoleKind, SnapshotPolicy, Token,
};
use outrigger::runtime::{Driver, Held, RaftRuntime, Tail};
use outrigger::store::{LogStore, MemoryStore, StorageError};

/// What one node does: its log, its state, and what it has to tell.
struct Doer {
    name: Peer,
    store: MemoryStore,
    tail: Tail,
    /// The state machine: the command `key=value` sets a key.
    state: BTreeMap<String, String>,
    /// What was done and is to be told to this node's engine.
    completed: VecDeque<Event>,
    /// What was said to others.
    said: Vec<(NodeId, Message)>,
}

impl Doer {
    /// Writes through to the store, which has it for good when this returns.
    fn append(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        self.tail.append(batches);
        self.store.append(batches)
    }

    fn truncate(&mut self, after: LogId) -> Result<(), StorageError> {
        self.tail.truncate(after);
        self.store.truncate(after)
    }

    fn apply(&mut self, batches: &[Batch], last: LogId) {
        for entry in batches.iter().flat_map(Batch::entries) {
            if let Body::Command(command) = &entry.body
                && let Some((key, value)) = String::from_utf8_lossy(command).split_once('=')
            {
                self.state.insert(key.to_owned(), value.to_owned());
            }
        }
        self.completed.push_back(Event::Applied { last: last.index });
    }

    fn say(&mut self, targets: &[NodeId], message: &Message) {
        self.said.extend(targets.iter().map(|target| (*target, message.clone())));
    }
}

impl RaftRuntime for Doer {
    fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
        let flushed = |write| Event::LogFlushed { write };
        match command {
            Command::SaveVote { write, vote } => {
                self.store.save_vote(vote)?;
                self.completed.push_back(flushed(write));
            }
            Command::SavePeer { write, peer } => {
                self.store.save_peer(peer)?;
                self.completed.push_back(flushed(write));
            }
            Command::AppendInputEntries { write, batches } => {
                self.append(&batches)?;
                self.completed.push_back(flushed(write));
            }
            Command::TruncateLog { write, after } => {
                self.truncate(after)?;
                self.completed.push_back(flushed(write));
            }
            Command::SaveCommitted { commit } => self.store.save_committed(commit)?,
            Command::Apply { first, last } => self.apply(&self.tail.ending(first, last), last),
            Command::Replicate { target, epoch, request, term, prev, last, commit, bytes_max } => {
                let Held::Here(batches) = self.tail.between(prev, last, bytes_max) else {
                    self.completed.push_back(Event::ReplicateGone { target, epoch, request });
                    return Ok(None);
                };
                let last = batches.last().map_or(prev, Batch::last).index;
                let bytes = batches.iter().map(Batch::bytes).sum();
                self.completed.push_back(Event::Sent { target, epoch, request, last, bytes });
                let append = AppendEntries { term, epoch, request, prev, batches, commit };
                self.say(&[target], &Message::AppendEntries(append));
            }
            Command::ReplicateCommitted { target, term, commit } => {
                self.say(&[target], &Message::Committed { term, commit });
            }
            Command::BroadcastHeartbeat { targets, heartbeat } => self.say(&targets, &Message::Heartbeat(heartbeat)),
            Command::SendVote { targets, request, pre_vote } => {
                self.say(&targets, &if pre_vote { Message::PreVote(request) } else { Message::RequestVote(request) });
            }
            Command::SendMessage { target, message } => self.said.push((target, message)),
            Command::SaveRefusal { by, met } => self.store.save_refusal(by, met)?,
            Command::Halt { fault } => println!("node {} has stopped: {fault}", self.name.node),
            // Nobody here takes snapshots: the engine was told to wait until somebody asks for one.
            Command::PurgeLog { .. }
            | Command::SendSnapshot { .. }
            | Command::ReceiveSnapshot { .. }
            | Command::SnapshotTaken { .. }
            | Command::Purged { .. }
            | Command::StatesDiffer { .. } => {}
            // Nobody here keeps connections, or waits for an answer.
            Command::RebuildReplicationStreams { .. }
            | Command::SetPeers { .. }
            | Command::Sign { .. }
            | Command::RefusePeer { .. }
            | Command::AnswerPeer { .. }
            | Command::StateMachine(_)
            | Command::Accepted { .. }
            | Command::Changed { .. }
            | Command::Transferred { .. }
            | Command::Elected { .. }
            | Command::Done { .. }
            | Command::Refused { .. }
            | Command::Abandoned { .. } => {}
        }
        Ok(None)
    }
}

/// A node that is alone with its thoughts until somebody steps it.
fn node(id: u64) -> (Driver, Doer) {
    let name = Peer::new(NodeId(id), Incarnation { id, start: 1, nonce: 0 });
    let config = EngineConfig { snapshots: SnapshotPolicy::BY_HAND, ..EngineConfig::new(name, id) };
    let engine = Engine::new(config, Restored::default(), Instant(0));
    let (tail, store) = (Tail::new(LogId::ZERO, usize::MAX), MemoryStore::new());
    let doer = Doer { name, store, tail, state: BTreeMap::new(), completed: VecDeque::new(), said: Vec::new() };
    (Driver::new(engine), doer)
}

/// Delivers what was said and done until nobody has anything to say; what the nodes do takes no time.
fn settle(nodes: &mut BTreeMap<NodeId, (Driver, Doer)>, now: Instant) {
    let mut busy = true;
    while std::mem::take(&mut busy) {
        let mut post = Vec::new();
        for (driver, doer) in nodes.values_mut() {
            while let Some(event) = doer.completed.pop_front() {
                driver.step(event, now, doer);
            }
            post.extend(doer.said.drain(..).map(|(target, message)| (doer.name, target, message)));
        }
        for (from, target, message) in post {
            if let Some((driver, doer)) = nodes.get_mut(&target) {
                driver.step(Event::Received { from, message: Some(message) }, now, doer);
                busy = true;
            }
        }
    }
}

fn main() {
    let mut nodes: BTreeMap<_, _> = (1..=3).map(|id| (NodeId(id), node(id))).collect();
    let members = Arc::new(Membership::new(nodes.keys().map(|id| (*id, Node::default())), []));
    for (driver, doer) in nodes.values_mut() {
        let begin = Event::Initialize { token: Token(0), membership: Arc::clone(&members) };
        driver.step(begin, Instant(0), doer);
    }
    let (mut now, mut written) = (Instant(0), 0);
    settle(&mut nodes, now);
    while nodes.values().any(|(_, doer)| doer.state.len() < 3) {
        // Time passes only when there is nothing to do: it jumps to the next deadline.
        now = nodes.values().filter_map(|(driver, _)| driver.poll_timeout()).min().unwrap_or(now).max(now);
        assert!(now < Instant(0) + Duration::from_secs(60), "three nodes elect a leader in a minute");
        for (driver, doer) in nodes.values_mut() {
            driver.step(Event::Timeout, now, doer);
            if driver.engine().role_kind() == RoleKind::Leader && written < 3 {
                written += 1;
                println!("{:?}: node {} leads and writes key-{written}", now.since(Instant(0)), doer.name.node);
                let command = Payload::command(Bytes::from(format!("key-{written}=value-{written}")));
                driver.step(
                    Event::Propose { token: Token(written), entries: Arc::new([command]), only_in: None },
                    now,
                    doer,
                );
            }
        }
        settle(&mut nodes, now);
    }
    for (driver, doer) in nodes.values() {
        println!("node {} has applied {}: {:?}", doer.name.node, driver.engine().status().applied, doer.state);
    }
}
