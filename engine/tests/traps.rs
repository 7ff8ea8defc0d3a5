//! What went wrong in other implementations, and does not here: a test for each trap that an engine can fall into, by its
//! number in the list of traps that the project keeps; then every limit, every refusal, every way to halt, every
//! contradiction of a peer, and a stream of hostile messages.
//!
//! Most tests hold one node in the hand ([`Desk`]): node 1 of `{1 2 3}` or so, whose peers and whose disk are played by
//! the test. Stories of several nodes use the cluster on the table.

#[path = "traps/answers.rs"]
mod answers;
mod cluster;
#[path = "traps/clusters.rs"]
mod clusters;
#[path = "traps/elections.rs"]
mod elections;
#[path = "traps/foundings.rs"]
mod foundings;
#[path = "traps/hostile.rs"]
mod hostile;
#[path = "traps/limits.rs"]
mod limits;
#[path = "traps/logs.rs"]
mod logs;
#[path = "traps/peers.rs"]
mod peers;
#[path = "traps/reads.rs"]
mod reads;

use std::sync::Arc;
use std::time::Duration;

use cluster::{command, peer};
use outrigger_engine::*;

const HEARTBEAT: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_millis(1000);

/// One node; everything around it is played by the test.
struct Desk {
    engine: Engine,
    now: Instant,
    /// The last write that the node has asked for.
    written: WriteId,
    /// The last request to replicate to each node that was reported sent.
    sent: Vec<(NodeId, Epoch, RequestId)>,
    /// Whether requests to replicate are reported sent at once.
    sends: bool,
}

fn voters(ids: &[u64]) -> Arc<Membership> {
    // As high as the nodes speak: nothing is to be raised.
    Arc::new(Membership::new(ids.iter().map(|id| (NodeId(*id), Node::default())), []).with_version(Version::LATEST))
}

impl Desk {
    /// Node 1, which knows nothing.
    fn empty(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config = EngineConfig::new(peer(1, 1), 7);
        config.bind_directories = false;
        change(&mut config);
        Self::restored(config, Restored::default())
    }

    fn restored(config: EngineConfig, restored: Restored) -> Self {
        let now = Instant(0);
        let engine = Engine::new(config, restored, now);
        Self { engine, now, written: WriteId(0), sent: Vec::new(), sends: true }
    }

    /// Node 1 among these voters; all is durable.
    fn with(ids: &[u64], change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut desk = Self::empty(change);
        desk.feed(Event::Initialize { token: Token(0), membership: voters(ids) });
        desk.flush();
        desk
    }

    fn of(ids: &[u64]) -> Self {
        Self::with(ids, |_| {})
    }

    /// Node 1 leads; its first entry is durable, and known to nobody else.
    fn leading_with(ids: &[u64], change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut desk = Self::with(ids, change);
        desk.become_leader();
        desk
    }

    fn leading(ids: &[u64]) -> Self {
        Self::leading_with(ids, |_| {})
    }

    fn become_leader(&mut self) {
        self.timeout();
        let others: Vec<NodeId> = self.engine.status().membership.nodes().keys().copied().skip(1).collect();
        let asked = if self.engine.role_kind() == RoleKind::Candidate { self.term() } else { self.term().next() };
        for node in &others {
            let granted = VoteReply { term: self.term(), asked, granted: true };
            if self.engine.role_kind() == RoleKind::PreCandidate {
                self.receive(node.0, Message::PreVoteReply(granted));
            }
        }
        self.flush();
        for node in &others {
            let granted = VoteReply { term: asked, asked, granted: true };
            if self.engine.role_kind() == RoleKind::Candidate {
                self.receive(node.0, Message::RequestVoteReply(granted));
            }
        }
        self.flush();
        assert_eq!(self.engine.role_kind(), RoleKind::Leader);
    }

    /// Node 1 leads, and everybody holds all that it holds.
    fn followed(ids: &[u64]) -> Self {
        let mut desk = Self::leading(ids);
        for id in &ids[1..] {
            desk.matched(*id);
        }
        // Whom it has met is durable as well.
        desk.flush();
        desk
    }

    /// Hands in an event; what the node wants done comes back.
    fn feed(&mut self, event: Event) -> Vec<Command> {
        self.engine.handle_event(event, self.now);
        let mut commands = Vec::new();
        while let Some(command) = self.engine.poll_command() {
            match &command {
                Command::SaveVote { write, .. }
                | Command::SavePeer { write, .. }
                | Command::AppendInputEntries { write, .. }
                | Command::TruncateLog { write, .. } => {
                    assert!(*write > self.written, "writes are numbered upwards");
                    self.written = *write;
                }
                Command::Replicate { target, epoch, request, last, .. } if self.sends => {
                    self.sent.push((*target, *epoch, *request));
                    let (target, epoch, request, last) = (*target, *epoch, *request, last.index);
                    self.engine.handle_event(Event::Sent { target, epoch, request, last, bytes: 100 }, self.now);
                }
                _ => {}
            }
            commands.push(command);
        }
        commands
    }

    fn receive(&mut self, from: u64, message: Message) -> Vec<Command> {
        self.feed(Event::Received { from: peer(from, 1), message: Some(message) })
    }

    /// Everything that was asked for is durable.
    fn flush(&mut self) -> Vec<Command> {
        self.feed(Event::LogFlushed { write: self.written })
    }

    fn timeout(&mut self) -> Vec<Command> {
        self.now = self.now.max(self.engine.poll_timeout().expect("a running timer"));
        self.feed(Event::Timeout)
    }

    fn elapse(&mut self, duration: Duration) -> Vec<Command> {
        let end = self.now + duration;
        let mut commands = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            commands.extend(self.feed(Event::Timeout));
        }
        self.now = end;
        commands
    }

    fn propose(&mut self, token: u64, size: usize) -> Vec<Command> {
        let entries = Arc::new([command(&"x".repeat(size))]);
        self.feed(Event::Propose { token: Token(token), entries, only_in: None })
    }

    fn read(&mut self, token: u64) -> Vec<Command> {
        self.feed(Event::Read { token: Token(token), consistency: Consistency::Linearizable })
    }

    fn term(&self) -> Term {
        self.engine.vote().term
    }

    fn commit(&self) -> u64 {
        self.engine.commit_index().0
    }

    /// The last request to a node: its stream and its id.
    fn request_to(&self, node: u64) -> (Epoch, RequestId) {
        let found = self.sent.iter().rev().find(|(target, ..)| *target == NodeId(node));
        found.map(|(_, epoch, request)| (*epoch, *request)).expect("something was sent")
    }

    /// The node acknowledges all that the leader's log holds.
    fn matched(&mut self, node: u64) -> Vec<Command> {
        let (epoch, request) = self.request_to(node);
        let outcome = AppendOutcome::Matched(self.engine.status().last.index);
        let reply = AppendEntriesReply { term: self.term(), epoch, request, outcome };
        self.receive(node, Message::AppendEntriesReply(reply))
    }

    /// The node answers the heartbeat of a round.
    fn beat(&mut self, node: u64, round: u64, received: u64, matched: u64) -> Vec<Command> {
        let (term, received, matched) = (self.term(), LogIndex(received), LogIndex(matched));
        let reply = HeartbeatReply { term, asked: term, round: Round(round), received, matched };
        self.receive(node, Message::HeartbeatReply(reply))
    }
}

/// What a leader of `term` sends: an entry of each of `terms` behind `prev`.
fn append(term: u64, prev: (u64, u64), terms: &[u64], commit: u64) -> Message {
    let batch = |(index, term): (u64, &u64)| {
        Batch::new(LogId::new(*term, index), LogTime(0), Arc::new([command(&format!("{term}.{index}"))]))
    };
    let batches = (prev.1 + 1..).zip(terms).map(batch).collect();
    let (prev, commit) = (LogId::new(prev.0, prev.1), LogIndex(commit));
    let (epoch, request) = (Epoch(1), RequestId(1));
    Message::AppendEntries(AppendEntries { term: Term(term), epoch, request, prev, batches, commit })
}

fn heartbeat(term: u64, round: u64, commit: u64) -> Message {
    Message::Heartbeat(Heartbeat {
        term: Term(term),
        round: Round(round),
        commit: LogIndex(commit),
        pledge: Duration::ZERO,
    })
}

/// One that is heard even beside a leader.
fn ask_vote(term: u64, last: (u64, u64)) -> Message {
    Message::RequestVote(VoteRequest { term: Term(term), last: LogId::new(last.0, last.1), warrant: Warrant::Operator })
}

fn ask_pre_vote(term: u64, last: (u64, u64)) -> Message {
    Message::PreVote(VoteRequest { term: Term(term), last: LogId::new(last.0, last.1), warrant: Warrant::None })
}

fn vote(term: u64, asked: u64, granted: bool) -> VoteReply {
    VoteReply { term: Term(term), asked: Term(asked), granted }
}

/// The messages among commands.
fn messages(commands: &[Command]) -> Vec<&Message> {
    fn message(command: &Command) -> Option<&Message> {
        if let Command::SendMessage { message, .. } = command { Some(message) } else { None }
    }
    commands.iter().filter_map(message).collect()
}

fn outcomes(commands: &[Command]) -> Vec<AppendOutcome> {
    let outcome = |message: &Message| match message {
        Message::AppendEntriesReply(reply) => Some(reply.outcome),
        _ => None,
    };
    messages(commands).into_iter().filter_map(outcome).collect()
}

fn granted(commands: &[Command]) -> Option<bool> {
    messages(commands).into_iter().find_map(|message| match message {
        Message::RequestVoteReply(reply) | Message::PreVoteReply(reply) => Some(reply.granted),
        _ => None,
    })
}

/// Commands as text, one a line.
fn said(commands: &[Command]) -> String {
    commands.iter().map(|command| format!("{command}\n")).collect()
}

/// The refusal of this caller.
fn refusal(commands: &[Command], wanted: u64) -> Option<Refusal> {
    commands.iter().find_map(|command| match command {
        Command::Refused { token, refusal } if *token == Token(wanted) => Some(*refusal),
        _ => None,
    })
}

/// Why a peer was turned away.
fn turned_away(commands: &[Command]) -> Option<PeerRefusal> {
    commands.iter().find_map(|command| match command {
        Command::RefusePeer { reason, .. } => Some(*reason),
        _ => None,
    })
}

fn inconsistency(commands: &[Command]) -> Option<Inconsistency> {
    match turned_away(commands)? {
        PeerRefusal::Inconsistent(inconsistency) => Some(inconsistency),
        other => panic!("turned away for another reason: {other}"),
    }
}
