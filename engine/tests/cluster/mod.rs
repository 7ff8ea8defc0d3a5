//! A cluster of engines on a table: no disk, no network, no clock. Whoever writes a test moves every message and every
//! flush by hand, or lets [`Cluster::stabilize`] do it, and reads what happened from the trace.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::*;

/// One node: its engine, what its disk holds, what is on the way there.
pub(crate) struct TestNode {
    pub(crate) engine: Engine,
    pub(crate) config: EngineConfig,
    /// The log as accepted, entry by entry: what a log lane would hold.
    pub(crate) log: Vec<(LogId, Payload)>,
    /// What survives a crash.
    pub(crate) disk: Disk,
    /// Writes that are accepted and not durable.
    pub(crate) queued: VecDeque<Command>,
    /// What the state machine has applied: the commands, as text.
    pub(crate) applied: Vec<(LogId, String)>,
    /// What callers were told, oldest first.
    pub(crate) answers: Vec<String>,
    pub(crate) alive: bool,
    /// Whom it refused, oldest first.
    pub(crate) refused: Vec<(Peer, PeerRefusal)>,
    /// Whom it answers wherever they are, though it does not know them so.
    pub(crate) answered: Vec<Peer>,
}

/// What survives a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) vote: Vote,
    pub(crate) log: Vec<(LogId, Payload)>,
    pub(crate) peers: BTreeMap<NodeId, Incarnation>,
    pub(crate) starts: u64,
    /// How many directories the node has lost: this is the next one.
    pub(crate) wipes: u64,
    /// What stands before the first entry of `log`.
    pub(crate) purged: LogId,
    /// The newest snapshot, with its content: what was applied, a line an entry.
    pub(crate) snapshot: Option<(Arc<Snapshot>, String)>,
    /// That rots: it cannot be read any more.
    pub(crate) rots: bool,
    /// How often it was found so.
    pub(crate) found_rotten: usize,
    /// What was received of another one.
    pub(crate) received: Option<(SnapshotId, Vec<u8>)>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) from: Peer,
    pub(crate) to: u64,
    pub(crate) message: Message,
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, TestNode>,
    pub(crate) network: VecDeque<Envelope>,
    pub(crate) now: Instant,
    /// Nodes that no message reaches or leaves.
    pub(crate) cut: Vec<u64>,
    /// The node whose snapshot is not taken before [`Cluster::end_build`] says so.
    pub(crate) slow_builder: Option<u64>,
    /// The snapshot that it is taking.
    building: Option<Command>,
    pub(crate) trace: String,
    membership: Arc<Membership>,
}

pub(crate) fn text(payload: &Payload) -> String {
    match &payload.body {
        Body::Blank => "blank".into(),
        Body::RegisterSession { time_to_live_ms } => format!("session for {time_to_live_ms} ms"),
        Body::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Body::Membership(membership) => membership.to_string(),
    }
}

pub(crate) fn command(text: &str) -> Payload {
    Payload::command(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn peer(node: u64, start: u64) -> Peer {
    Peer::new(NodeId(node), Incarnation { id: 100 + node, start, nonce: start })
}

/// What was applied, as the machine's state: FNV-1a.
fn hash_of(applied: &[(LogId, String)]) -> StateHash {
    let bytes = applied.iter().flat_map(|(_, text)| text.bytes().chain([b';']));
    StateHash(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

fn restored(disk: &Disk) -> Restored {
    let mut terms: Vec<LogId> = Vec::new();
    for (id, _) in &disk.log {
        if terms.last().is_none_or(|last| last.term < id.term) {
            terms.push(*id);
        }
    }
    let membership = |(id, payload): &(LogId, Payload)| match &payload.body {
        Body::Membership(membership) => Some((*id, Arc::clone(membership))),
        Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
    };
    Restored {
        vote: disk.vote,
        terms,
        last: disk.log.last().map_or(disk.purged, |(id, _)| *id),
        purged: disk.purged,
        snapshot: disk.snapshot.as_ref().map(|(snapshot, _)| Arc::clone(snapshot)),
        memberships: disk.log.iter().filter_map(membership).collect(),
        peers: disk.peers.clone(),
        ..Restored::default()
    }
}

impl TestNode {
    fn apply(&mut self, first: LogIndex, last: LogId) {
        let before = self.applied.last().map_or(self.engine.applied(), |(id, _)| id.index);
        assert_eq!(first, before.next(), "no entry is applied twice");
        let entries = self.log.iter().filter(|(id, _)| id.index >= first && id.index <= last.index);
        self.applied.extend(entries.map(|(id, payload)| (*id, text(payload))));
        assert_eq!(self.applied.last().map(|(id, _)| *id), Some(last), "applied in order, without a hole");
    }

    fn hash_state(&mut self, at: LogIndex, now: Instant) {
        let last = self.applied.last().map(|(id, _)| id.index);
        assert_eq!(last, Some(at), "all before it is applied, and no more");
        let hash = Some(hash_of(&self.applied));
        self.engine.handle_event(Event::StateHashed { at, hash }, now);
    }
}

impl Cluster {
    /// Nodes that know nothing yet.
    pub(crate) fn empty(ids: &[u64], change: impl Fn(&mut EngineConfig)) -> Self {
        let voters = ids.iter().map(|id| (NodeId(*id), Node { address: format!("node{id}") }));
        // All speak the cluster's version from the beginning, unless a test wants it otherwise: nothing is raised.
        let mut anybody = EngineConfig::new(peer(0, 1).speaking(Version::FIRST), 0);
        change(&mut anybody);
        let membership = Arc::new(Membership::new(voters, []).with_version(anybody.node.version));
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: VecDeque::new(),
            now: Instant(0),
            cut: Vec::new(),
            slow_builder: None,
            building: None,
            trace: String::new(),
            membership,
        };
        for id in ids {
            let mut config = EngineConfig::new(peer(*id, 1).speaking(Version::FIRST), *id);
            config.bind_directories = false;
            change(&mut config);
            cluster.start(*id, config, Disk { starts: 1, ..Disk::default() });
        }
        cluster
    }

    /// Nodes that all hold the same first entry.
    pub(crate) fn new(ids: &[u64]) -> Self {
        Self::with(ids, |_| {})
    }

    pub(crate) fn with(ids: &[u64], change: impl Fn(&mut EngineConfig)) -> Self {
        let mut cluster = Self::empty(ids, change);
        for id in ids {
            let membership = Arc::clone(&cluster.membership);
            cluster.handle(*id, Event::Initialize { token: Token(0), membership });
            cluster.flush(*id);
        }
        cluster.trace.clear();
        cluster
    }

    /// Nodes that have run before: their logs are given by the terms of the entries behind the membership, and their
    /// current term.
    pub(crate) fn with_logs(logs: &[(u64, u64, &[u64])]) -> Self {
        let ids: Vec<u64> = logs.iter().map(|(id, ..)| *id).collect();
        let mut cluster = Self::new(&ids);
        for (id, term, terms) in logs {
            let mut disk = cluster.nodes[id].disk.clone();
            disk.vote = Vote { term: Term(*term), voted_for: None };
            for (index, term) in (2..).zip(terms.iter()) {
                disk.log.push((LogId::new(*term, index), command(&format!("{term}.{index}"))));
            }
            let config = cluster.nodes[id].config.clone();
            cluster.start(*id, config, disk);
        }
        cluster
    }

    pub(crate) fn start(&mut self, id: u64, mut config: EngineConfig, mut disk: Disk) {
        repair(&mut disk);
        config.node = peer(id, disk.starts).speaking(config.node.version);
        config.node.incarnation.id += 1000 * disk.wipes;
        config.seed = id + 1000 * disk.starts;
        let engine = Engine::new(config.clone(), restored(&disk), self.now);
        let log = disk.log.clone();
        let node = TestNode {
            engine,
            config,
            log,
            disk,
            queued: VecDeque::new(),
            applied: Vec::new(),
            answers: Vec::new(),
            alive: true,
            refused: Vec::new(),
            answered: Vec::new(),
        };
        self.nodes.insert(id, node);
        self.run_commands(id);
    }

    pub(crate) fn node(&self, id: u64) -> &TestNode {
        &self.nodes[&id]
    }

    pub(crate) fn engine(&self, id: u64) -> &Engine {
        &self.nodes[&id].engine
    }

    pub(crate) fn role(&self, id: u64) -> RoleKind {
        self.engine(id).role_kind()
    }

    pub(crate) fn term(&self, id: u64) -> u64 {
        self.engine(id).vote().term.0
    }

    pub(crate) fn commit(&self, id: u64) -> u64 {
        self.engine(id).commit_index().0
    }

    /// The ids of a node's log as accepted, as text: `0/1 1/2`.
    pub(crate) fn log(&self, id: u64) -> String {
        self.nodes[&id].log.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// The commands that a node has applied.
    pub(crate) fn applied(&self, id: u64) -> Vec<&str> {
        let commands = |(_, text): &'_ (LogId, String)| !(text == "blank" || text.starts_with("voters"));
        self.nodes[&id].applied.iter().filter(|it| commands(it)).map(|(_, text)| text.as_str()).collect()
    }

    // ---- causes ------------------------------------------------------------------------------------------------

    pub(crate) fn handle(&mut self, id: u64, event: Event) {
        let _ = writeln!(self.trace, "{id} {event}");
        let now = self.now;
        self.nodes.get_mut(&id).expect("a node").engine.handle_event(event, now);
        self.run_commands(id);
    }

    /// Lets a node's next deadline come.
    pub(crate) fn timeout(&mut self, id: u64) {
        let deadline = self.engine(id).poll_timeout().expect("a running timer");
        self.now = self.now.max(deadline);
        self.handle(id, Event::Timeout);
    }

    /// Lets time pass; every timer that comes due fires, in order.
    pub(crate) fn elapse(&mut self, duration: Duration) {
        let end = self.now + duration;
        let next = |cluster: &Self| {
            let alive = cluster.nodes.iter().filter(|(_, node)| node.alive);
            alive.filter_map(|(id, node)| Some((node.engine.poll_timeout()?, *id))).min()
        };
        while let Some((at, id)) = next(self).filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.handle(id, Event::Timeout);
        }
        self.now = end;
    }

    pub(crate) fn propose(&mut self, id: u64, token: u64, value: &str) {
        self.handle(id, Event::Propose { token: Token(token), entries: Arc::new([command(value)]), only_in: None });
    }

    /// Lets a node take a snapshot.
    pub(crate) fn snapshot(&mut self, id: u64) {
        self.handle(id, Event::TakeSnapshot { token: Token(99) });
        self.flush(id);
    }

    /// The snapshot is taken that the slow builder was told to take.
    pub(crate) fn end_build(&mut self) {
        let id = self.slow_builder.take().expect("somebody takes one slowly");
        let command = self.building.take().expect("it was told to");
        let event = self.run_snapshot(id, command);
        self.handle(id, event);
        self.flush(id);
    }

    pub(crate) fn read(&mut self, id: u64, token: u64) {
        self.handle(id, Event::Read { token: Token(token), consistency: Consistency::Linearizable });
    }

    pub(crate) fn receive(&mut self, to: u64, from: u64, message: Message) {
        let from = self.nodes.get(&from).map_or(peer(from, 1), |node| node.config.node);
        self.handle(to, Event::Received { from, message: Some(message) });
    }

    /// Makes everything durable that a node has accepted.
    pub(crate) fn flush(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id).expect("a node");
        let mut last = None;
        for command in node.queued.drain(..) {
            last = Some(node.disk.write(command)).flatten().or(last);
        }
        if let Some(write) = last {
            self.handle(id, Event::LogFlushed { write });
        }
        last.is_some()
    }

    /// Delivers the oldest message for which `wanted` holds.
    pub(crate) fn deliver(&mut self, wanted: impl Fn(&Envelope) -> bool) -> bool {
        let Some(place) = self.network.iter().position(wanted) else { return false };
        let Envelope { from, to, message } = self.network.remove(place).expect("it is there");
        if !self.cut.contains(&to) && !self.cut.contains(&from.node.0) && self.nodes[&to].alive {
            self.handle(to, Event::Received { from, message: Some(message) });
        }
        true
    }

    pub(crate) fn drop_messages(&mut self, unwanted: impl Fn(&Envelope) -> bool) -> usize {
        let before = self.network.len();
        self.network.retain(|envelope| !unwanted(envelope));
        before - self.network.len()
    }

    /// Flushes and delivers until nothing is left to do. No time passes.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..100_000 {
            let ids: Vec<u64> = self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
            let flushed = ids.into_iter().filter(|id| self.flush(*id)).count();
            if !self.deliver(|_| true) && flushed == 0 {
                return;
            }
        }
        panic!("no end in sight:\n{}", self.trace.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
    }

    /// Starts nodes with empty disks, which wait to be added.
    pub(crate) fn join(&mut self, ids: &[u64]) {
        for id in ids {
            let own = peer(*id, 1).speaking(self.membership.version());
            let config = EngineConfig { bind_directories: false, ..EngineConfig::new(own, *id) };
            self.start(*id, config, Disk { starts: 1, ..Disk::default() });
        }
    }

    /// Starts a node with an empty disk, which waits to be added.
    pub(crate) fn join_with(&mut self, id: u64, change: impl Fn(&mut EngineConfig)) {
        let mut config = EngineConfig::new(peer(id, 1), id);
        change(&mut config);
        self.start(id, config, Disk { starts: 1, ..Disk::default() });
    }

    /// Asks a node for a change of the members, with ten seconds of patience.
    pub(crate) fn change(&mut self, id: u64, token: u64, change: ChangeMembers) {
        let patience = Duration::from_secs(10);
        self.request(
            id,
            token,
            ChangeRequest { change, retain: false, patience, preconditions: Preconditions::default() },
        );
    }

    pub(crate) fn request(&mut self, id: u64, token: u64, request: ChangeRequest) {
        self.handle(id, Event::ChangeMembers { token: Token(token), request: Arc::new(request) });
    }

    /// Flushes and delivers, one message at a time, until something holds.
    pub(crate) fn stabilize_until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let ids: Vec<u64> = self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
            for id in ids {
                if !holds(self) {
                    self.flush(id);
                }
            }
            assert!(holds(self) || self.deliver(|_| true), "it never comes to that:\n{}", self.trace);
        }
    }

    /// Lets a node campaign until it leads. The others must be willing.
    pub(crate) fn elect(&mut self, id: u64) {
        for _ in 0..20 {
            self.timeout(id);
            self.stabilize();
            if self.role(id) == RoleKind::Leader {
                return;
            }
        }
        panic!("node {id} was not elected:\n{}", self.trace);
    }

    pub(crate) fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.alive = false;
        node.queued.clear();
        let _ = writeln!(self.trace, "{id} crashed");
    }

    /// A node comes back with an empty directory.
    pub(crate) fn wipe(&mut self, id: u64) {
        let wipes = self.nodes[&id].disk.wipes + 1;
        let config = self.nodes[&id].config.clone();
        let _ = writeln!(self.trace, "{id} started with an empty directory");
        self.start(id, config, Disk { starts: 1, wipes, ..Disk::default() });
    }

    pub(crate) fn restart(&mut self, id: u64) {
        let mut disk = self.nodes[&id].disk.clone();
        disk.starts += 1;
        let config = self.nodes[&id].config.clone();
        let _ = writeln!(self.trace, "{id} started");
        self.start(id, config, disk);
    }

    // ---- effects -----------------------------------------------------------------------------------------------

    fn run_commands(&mut self, id: u64) {
        while let Some(command) = self.nodes.get_mut(&id).expect("a node").engine.poll_command() {
            let _ = writeln!(self.trace, "    {command}");
            self.run(id, command);
        }
    }

    fn run(&mut self, id: u64, command: Command) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let from = node.engine.signature();
        match command {
            Command::SaveVote { .. }
            | Command::SavePeer { .. }
            | Command::AppendInputEntries { .. }
            | Command::TruncateLog { .. }
            | Command::PurgeLog { .. } => node.accept(command),
            Command::Apply { first, last } => {
                node.apply(first, last);
                let now = self.now;
                node.engine.handle_event(Event::Applied { last: last.index }, now);
            }
            Command::StateMachine(StateMachineRequest::Read { token }) => {
                let sees = node.applied.last().map_or(LogIndex::ZERO, |(id, _)| id.index);
                node.answers.push(format!("read #{token} sees {sees}"));
            }
            Command::StateMachine(StateMachineRequest::HashState { at }) => node.hash_state(at, self.now),
            Command::StateMachine(StateMachineRequest::BuildSnapshot { .. }) if self.slow_builder == Some(id) => {
                self.building = Some(command);
            }
            Command::StateMachine(
                StateMachineRequest::BuildSnapshot { .. } | StateMachineRequest::InstallSnapshot { .. },
            )
            | Command::SendSnapshot { .. }
            | Command::ReceiveSnapshot { .. } => {
                let event = self.run_snapshot(id, command);
                let now = self.now;
                self.nodes.get_mut(&id).expect("a node").engine.handle_event(event, now);
            }
            Command::Accepted { .. }
            | Command::SnapshotTaken { .. }
            | Command::Purged { .. }
            | Command::Changed { .. }
            | Command::Transferred { .. }
            | Command::Elected { .. }
            | Command::Done { .. }
            | Command::Refused { .. }
            | Command::Abandoned { .. }
            | Command::StatesDiffer { .. }
            | Command::Halt { .. } => node.answers.push(command.to_string()),
            Command::Replicate { target, epoch, request, term, prev, last, commit, bytes_max } => {
                let (batches, sent) = node.batches(prev, last, bytes_max);
                let bytes = batches.iter().map(Batch::bytes).sum();
                let message = AppendEntries { term, epoch, request, prev, batches, commit };
                self.send(from, target, Message::AppendEntries(message));
                let now = self.now;
                let engine = &mut self.nodes.get_mut(&id).expect("a node").engine;
                engine.handle_event(Event::Sent { target, epoch, request, last: sent, bytes }, now);
            }
            Command::ReplicateCommitted { target, term, commit } => {
                self.send(from, target, Message::Committed { term, commit });
            }
            Command::BroadcastHeartbeat { targets, heartbeat } => {
                targets.into_iter().for_each(|target| self.send(from, target, Message::Heartbeat(heartbeat)));
            }
            Command::SendVote { targets, request, pre_vote } => {
                let message = if pre_vote { Message::PreVote(request) } else { Message::RequestVote(request) };
                targets.into_iter().for_each(|target| self.send(from, target, message.clone()));
            }
            Command::SendMessage { target, message } => self.send(from, target, message),
            Command::SaveRefusal { by, .. } => panic!("no message on this table is a refusal, but {by} sent one"),
            Command::SaveCommitted { .. } | Command::RebuildReplicationStreams { .. } => {}
            Command::SetPeers { .. } | Command::Sign { .. } => {}
            Command::AnswerPeer { peer } => node.answered.push(peer),
            Command::RefusePeer { peer, reason } => node.refused.push((peer, reason)),
        }
    }

    /// What snapshots need happens at once.
    fn run_snapshot(&mut self, id: u64, command: Command) -> Event {
        let node = self.nodes.get_mut(&id).expect("a node");
        match command {
            Command::StateMachine(StateMachineRequest::BuildSnapshot { last, membership_at, membership }) => {
                assert_eq!(node.applied.last().map(|(id, _)| *id), Some(last), "all before it is applied, and no more");
                Event::SnapshotBuilt { snapshot: node.disk.take_snapshot(&node.applied, membership_at, membership) }
            }
            Command::StateMachine(StateMachineRequest::InstallSnapshot { snapshot }) => {
                let (there, content) = node.disk.snapshot.as_ref().expect("what is installed is durable");
                assert_eq!(there.id, snapshot.id, "the newest is installed");
                node.applied = content.lines().map(entry_from_line).collect();
                Event::Applied { last: snapshot.last().index }
            }
            Command::SendSnapshot { target, epoch, request, term, leader, snapshot, offset, bytes_max } => {
                let content = node.disk.snapshot.as_ref().filter(|(there, _)| there.id == snapshot.id);
                let Some((_, content)) = content else { return Event::ReplicateGone { target, epoch, request } };
                if node.disk.rots && bytes_max > 0 {
                    node.disk.found_rotten += 1;
                    let (id, reason) = (snapshot.id, "it rots".to_owned());
                    return Event::SnapshotUnreadable { target, epoch, request, id, reason };
                }
                let (content, from) = (content.as_bytes(), usize::try_from(offset).expect("small"));
                let chunk = Bytes::copy_from_slice(&content[from..content.len().min(from + bytes_max)]);
                let (own, piece) = (
                    node.engine.signature(),
                    InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk },
                );
                self.send(own, target, Message::InstallSnapshot(piece));
                Event::SnapshotSent { target, epoch, request }
            }
            Command::ReceiveSnapshot { snapshot, offset, chunk } => {
                match node.disk.receive(&snapshot, offset, &chunk) {
                    Some(held) => Event::SnapshotReceived { id: snapshot.id, held },
                    None => Event::SnapshotSpoiled { id: snapshot.id, reason: "it is another".into() },
                }
            }
            other => panic!("{other} has to do with no snapshot"),
        }
    }

    fn send(&mut self, from: Peer, to: NodeId, message: Message) {
        self.network.push_back(Envelope { from, to: to.0, message });
    }
}

impl TestNode {
    /// A write is accepted, and not durable yet.
    fn accept(&mut self, command: Command) {
        match &command {
            Command::AppendInputEntries { batches, .. } => self.log.extend(batches.iter().flat_map(entries_of)),
            Command::TruncateLog { after, .. } => self.log.retain(|(id, _)| id.index <= after.index),
            Command::PurgeLog { through, .. } => purge(&mut self.log, *through),
            _ => {}
        }
        self.queued.push_back(command);
    }

    /// The entries between two ids, one batch each, as far as the size allows.
    fn batches(&self, prev: LogId, last: LogId, bytes_max: usize) -> (Vec<Batch>, LogIndex) {
        let (mut batches, mut bytes, mut sent) = (Vec::new(), 0, prev.index);
        for (id, payload) in self.log.iter().filter(|(id, _)| id.index > prev.index && id.index <= last.index) {
            let batch = Batch::new(*id, LogTime(0), Arc::new([payload.clone()]));
            bytes += batch.bytes();
            if bytes > bytes_max && !batches.is_empty() {
                break;
            }
            sent = id.index;
            batches.push(batch);
        }
        (batches, sent)
    }
}

impl Disk {
    fn write(&mut self, command: Command) -> Option<WriteId> {
        match command {
            Command::SaveVote { write, vote } => {
                self.vote = vote;
                Some(write)
            }
            Command::SavePeer { write, peer } => {
                self.peers.insert(peer.node, peer.incarnation);
                Some(write)
            }
            Command::AppendInputEntries { write, batches } => {
                self.log.extend(batches.iter().flat_map(entries_of));
                Some(write)
            }
            Command::TruncateLog { write, after } => {
                self.log.retain(|(id, _)| id.index <= after.index);
                Some(write)
            }
            Command::PurgeLog { write, through } => {
                purge(&mut self.log, through);
                self.purged = through;
                Some(write)
            }
            other => panic!("{other} is not for the disk"),
        }
    }

    fn take_snapshot(
        &mut self,
        applied: &[(LogId, String)],
        membership_at: LogId,
        membership: Arc<Membership>,
    ) -> Arc<Snapshot> {
        let line = |(id, text): &(LogId, String)| format!("{} {} {text}\n", id.term, id.index);
        let content: String = applied.iter().map(line).collect();
        let last = applied.last().map_or(LogId::ZERO, |(id, _)| *id);
        let id = SnapshotId { last, bytes: content.len() as u64, checksum: checksum(content.as_bytes()) };
        let snapshot =
            Arc::new(Snapshot { id, log_time: LogTime(0), membership, membership_at, genesis: Genesis::UNKNOWN });
        self.snapshot = Some((Arc::clone(&snapshot), content));
        self.rots = false;
        snapshot
    }

    /// How much is there of a snapshot, this piece included; `None` if it is not the one that it should be.
    fn receive(&mut self, snapshot: &Arc<Snapshot>, offset: u64, chunk: &[u8]) -> Option<u64> {
        let mut received = self.received.take().filter(|(id, _)| *id == snapshot.id).map_or(Vec::new(), |(_, it)| it);
        if received.len() as u64 == offset {
            received.extend_from_slice(chunk);
        }
        let held = received.len() as u64;
        if held < snapshot.id.bytes {
            self.received = Some((snapshot.id, received));
            return Some(held);
        }
        if checksum(&received) != snapshot.id.checksum {
            return None;
        }
        self.snapshot = Some((Arc::clone(snapshot), String::from_utf8(received).expect("text")));
        self.rots = false;
        Some(held)
    }
}

/// What a start does to a log that ends before its snapshot, or holds something else.
fn repair(disk: &mut Disk) {
    let Some((snapshot, _)) = &disk.snapshot else { return };
    let last = snapshot.last();
    if last != disk.purged && !disk.log.iter().any(|(id, _)| *id == last) {
        purge(&mut disk.log, last);
        disk.purged = last;
    }
}

fn purge(log: &mut Vec<(LogId, Payload)>, through: LogId) {
    let holds = log.iter().any(|(id, _)| *id == through);
    log.retain(|(id, _)| holds && id.index > through.index);
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn entry_from_line(line: &str) -> (LogId, String) {
    let mut parts = line.splitn(3, ' ');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number");
    let id = LogId::new(number(), number());
    (id, parts.next().unwrap_or_default().to_owned())
}

fn entries_of(batch: &Batch) -> Vec<(LogId, Payload)> {
    let at = |offset| LogId { term: batch.term(), index: LogIndex(batch.first().index.0 + offset) };
    (0..).zip(batch.entries()).map(|(offset, payload)| (at(offset), payload.clone())).collect()
}
