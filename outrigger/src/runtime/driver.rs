//! The driver: one synchronous loop around the engine, the same in production and in simulation.

use std::collections::{BTreeMap, VecDeque};

use outrigger_engine::{Command, Engine, Epoch, Event, Instant, Lane, NodeId};

use super::RaftRuntime;

/// Owns the engine and the commands that wait for room in their lane.
///
/// ```
/// use outrigger::engine::{Command, Engine, EngineConfig, Event, Incarnation, Instant, NodeId, Peer, Restored};
/// use outrigger::runtime::{Driver, RaftRuntime};
/// use outrigger::store::StorageError;
///
/// /// Writes down what it is told to do.
/// #[derive(Default)]
/// struct Notes(Vec<Command>);
///
/// impl RaftRuntime for Notes {
///     fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
///         self.0.push(command);
///         Ok(None)
///     }
/// }
///
/// let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 7);
/// let mut driver = Driver::new(Engine::new(config, Restored::default(), Instant(0)));
/// let mut runtime = Notes::default();
/// driver.step(Event::Timeout, Instant(1), &mut runtime);
/// assert!(runtime.0.is_empty(), "a node without a membership waits");
/// ```
#[derive(Debug)]
pub struct Driver {
    /// Decides.
    engine: Engine,
    /// What was handed back, by lane, in order. No queue in it is empty.
    parked: BTreeMap<Lane, VecDeque<Command>>,
}

impl Driver {
    /// A driver around an engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine, parked: BTreeMap::new() }
    }

    /// The engine, to look at.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// When the engine wants [`Event::Timeout`]; `None` for never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Hands one event to the engine and starts every command that follows from it.
    pub fn step(&mut self, event: Event, now: Instant, runtime: &mut impl RaftRuntime) {
        self.engine.handle_event(event, now);
        self.run_commands(now, runtime);
    }

    /// Starts what an engine that was just created wants done.
    pub fn start(&mut self, now: Instant, runtime: &mut impl RaftRuntime) {
        self.run_commands(now, runtime);
    }

    /// A lane has room again: starts what was parked in it, as far as it goes.
    pub fn room(&mut self, lane: Lane, now: Instant, runtime: &mut impl RaftRuntime) {
        self.start_parked(lane, now, runtime);
        self.run_commands(now, runtime);
    }

    fn start_parked(&mut self, lane: Lane, now: Instant, runtime: &mut impl RaftRuntime) {
        let Some(mut queue) = self.parked.remove(&lane) else { return };
        mutate!(driver_starts_last_first, queue.make_contiguous().reverse());
        while let Some(command) = queue.pop_front() {
            if let Some(command) = self.run(command, now, runtime) {
                mutate!(driver_hands_back_last, {
                    queue.push_back(command);
                    self.parked.insert(lane, queue);
                    break;
                });
                queue.push_front(command);
                self.parked.insert(lane, queue);
                break;
            }
        }
    }

    fn run_commands(&mut self, now: Instant, runtime: &mut impl RaftRuntime) {
        while let Some(command) = self.engine.poll_command() {
            let mut begun: Vec<NodeId> = Vec::new();
            if let Command::RebuildReplicationStreams { targets } = &command {
                self.end_streams(targets);
                begun.extend(targets.iter().map(|(node, _)| *node));
            }
            self.start_in_turn(command, now, runtime);
            // A stream that has just begun has room, and nobody would say so.
            for node in begun {
                self.start_parked(Lane::Peer(node), now, runtime);
            }
        }
    }

    /// Starts a command, unless others wait in its lane.
    fn start_in_turn(&mut self, command: Command, now: Instant, runtime: &mut impl RaftRuntime) {
        // As a rule nothing is parked, and nobody need ask for the lane.
        let lane = if self.parked.is_empty() { None } else { command.lane() };
        if let Some(queue) = lane.and_then(|lane| self.parked.get_mut(&lane)) {
            mutate!(driver_read_overtakes if matches!(command, Command::StateMachine(_)), return queue.push_front(command));
            queue.push_back(command);
        } else if let Some(command) = self.run(command, now, runtime) {
            let lane = command.lane().expect("only a command that stands in a lane is handed back");
            self.parked.insert(lane, VecDeque::from([command]));
        }
    }

    /// What a stream that has ended did not get to send is of no use to its successor. Others go on: of each that has, all ended
    /// before, with the leadership or when its target was no member.
    fn end_streams(&mut self, targets: &[(NodeId, Epoch)]) {
        mutate!(driver_keeps_ended_streams, return);
        mutate!(driver_ends_all_streams, targets = &[]);
        self.parked.retain(|lane, parked| match lane {
            Lane::Peer(node) => {
                let epoch = targets.iter().find(|(target, _)| target == node).map(|(_, epoch)| *epoch);
                // Another stream may lead to the same peer, as another data directory has come there.
                parked.retain(|command| match command {
                    Command::Replicate { epoch: own, .. } | Command::SendSnapshot { epoch: own, .. } => {
                        epoch == Some(*own)
                    }
                    _ => epoch.is_some(),
                });
                !parked.is_empty()
            }
            Lane::Log | Lane::Apply | Lane::Client => true,
        });
    }

    /// Starts one command; gives it back if its lane is full.
    fn run(&mut self, command: Command, now: Instant, runtime: &mut impl RaftRuntime) -> Option<Command> {
        match runtime.run_command(command) {
            Ok(Some(command)) => {
                let lane = command.lane();
                assert!(
                    matches!(lane, Some(Lane::Apply | Lane::Peer(_))),
                    "lane {lane:?} must not hand back: {command:?}"
                );
                Some(command)
            }
            Ok(None) => None,
            Err(error) => {
                self.engine.handle_event(Event::StorageFailed { reason: error.reason }, now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_engine::{
        EngineConfig, Incarnation, LogIndex, Membership, Message, Node, Peer, Restored, RoleKind, Term, Token, Vote,
        VoteReply,
    };

    use super::*;
    use crate::store::StorageError;

    /// A runtime whose connections are full, or are not, and which writes down what it starts.
    #[derive(Default)]
    struct Connections {
        are_full: bool,
        started: Vec<Command>,
    }

    impl RaftRuntime for Connections {
        fn run_command(&mut self, command: Command) -> Result<Option<Command>, StorageError> {
            if self.are_full && matches!(command.lane(), Some(Lane::Peer(_))) {
                return Ok(Some(command));
            }
            // A stream that begins anew has room.
            self.are_full &= !matches!(command, Command::RebuildReplicationStreams { .. });
            self.started.push(command);
            Ok(None)
        }
    }

    /// A node that knows nobody yet.
    fn newcomer() -> Driver {
        let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation { id: 1, start: 1, nonce: 1 }), 7);
        Driver::new(Engine::new(EngineConfig { bind_directories: false, ..config }, Restored::default(), Instant(0)))
    }

    #[test]
    fn what_is_parked_for_a_peer_starts_with_its_next_stream() {
        let (mut driver, mut runtime) = (newcomer(), Connections { are_full: true, ..Connections::default() });
        let members = [1, 2].map(|id| (NodeId(id), Node { address: format!("node-{id}:1") }));
        let membership = Arc::new(Membership::new(members, []));
        driver.step(Event::Initialize { token: Token(1), membership }, Instant(1), &mut runtime);
        let told = Command::ReplicateCommitted { target: NodeId(2), term: Term(1), commit: LogIndex(1) };
        driver.parked.insert(Lane::Peer(NodeId(2)), VecDeque::from([told.clone()]));
        driver.room(Lane::Peer(NodeId(2)), Instant(1), &mut runtime);
        assert!(!runtime.started.contains(&told), "there is none");
        // It campaigns, and is elected: its streams begin.
        let mut now = Instant(0);
        while driver.engine().vote() == Vote::default() {
            now = driver.poll_timeout().expect("it looks at the time").max(now);
            driver.step(Event::Timeout, now, &mut runtime);
            driver.step(vote_of(NodeId(2), driver.engine(), true), now, &mut runtime);
        }
        let vote = runtime.started.iter().rev().find_map(|it| match it {
            Command::SaveVote { write, .. } => Some(*write),
            _ => None,
        });
        driver.step(Event::LogFlushed { write: vote.expect("it votes for itself") }, now, &mut runtime);
        driver.step(vote_of(NodeId(2), driver.engine(), false), now, &mut runtime);
        assert_eq!(driver.engine().role_kind(), RoleKind::Leader, "{:?}", runtime.started);
        assert!(runtime.started.contains(&told), "nobody says that there is room: {:?}", runtime.started);
    }

    fn vote_of(from: NodeId, engine: &Engine, pre_vote: bool) -> Event {
        let term = engine.vote().term;
        let asked = if pre_vote { term.next() } else { term };
        let reply = VoteReply { term, asked, granted: true };
        let message = if pre_vote { Message::PreVoteReply(reply) } else { Message::RequestVoteReply(reply) };
        Event::Received { from: Peer::new(from, Incarnation { id: 2, start: 1, nonce: 2 }), message: Some(message) }
    }
}
