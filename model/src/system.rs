//! The system: all servers and the network between them, and every step that raft.tla's `Next` allows.
//!
//! A [`System`] is one value and holds exactly what tells two states of raft.tla apart in a search. [`System::enabled`]
//! lists the steps that are possible, [`System::apply`] takes one. A [`Model`] is a system with the histories of
//! raft.tla beside it, which no server reads and only proofs and invariants look at.

use crate::handle::Outcome;
use crate::history::History;
use crate::message::{Bag, Body, Message};
use crate::server::Server;
use crate::server_set::{ServerId, ServerMap, ServerSet};
use std::fmt;
use std::sync::Arc;

/// One step of the system; the variants are the disjuncts of raft.tla's `Next`, in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action<V> {
    /// A server crashes and starts again.
    Restart(ServerId),
    /// A server starts an election.
    Timeout(ServerId),
    /// The first server asks the second for its vote.
    RequestVote(ServerId, ServerId),
    /// The first server sends the second an entry or a heartbeat.
    AppendEntries(ServerId, ServerId),
    /// A candidate with a quorum of votes takes office.
    BecomeLeader(ServerId),
    /// A leader appends a client's value.
    ClientRequest(ServerId, V),
    /// A leader commits what a quorum holds.
    AdvanceCommitIndex(ServerId),
    /// A message's destination receives it.
    Receive(Message<V>),
    /// The network delivers a message once more than it was sent.
    DuplicateMessage(Message<V>),
    /// The network loses a message.
    DropMessage(Message<V>),
}

impl<V> Action<V> {
    /// The names of all actions, in raft.tla's order.
    pub const NAMES: [&'static str; 10] = [
        "Restart",
        "Timeout",
        "RequestVote",
        "AppendEntries",
        "BecomeLeader",
        "ClientRequest",
        "AdvanceCommitIndex",
        "Receive",
        "DuplicateMessage",
        "DropMessage",
    ];

    /// The action's name in raft.tla.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Restart(_) => "Restart",
            Self::Timeout(_) => "Timeout",
            Self::RequestVote(..) => "RequestVote",
            Self::AppendEntries(..) => "AppendEntries",
            Self::BecomeLeader(_) => "BecomeLeader",
            Self::ClientRequest(..) => "ClientRequest",
            Self::AdvanceCommitIndex(_) => "AdvanceCommitIndex",
            Self::Receive(_) => "Receive",
            Self::DuplicateMessage(_) => "DuplicateMessage",
            Self::DropMessage(_) => "DropMessage",
        }
    }

    /// The server that takes the step: the receiver of a message, its sender where the network acts.
    #[must_use]
    pub fn server(&self) -> ServerId {
        match self {
            Self::Restart(i)
            | Self::Timeout(i)
            | Self::RequestVote(i, _)
            | Self::AppendEntries(i, _)
            | Self::BecomeLeader(i)
            | Self::ClientRequest(i, _)
            | Self::AdvanceCommitIndex(i) => *i,
            Self::Receive(m) => m.dest,
            Self::DuplicateMessage(m) | Self::DropMessage(m) => m.source,
        }
    }
}

impl<V: fmt::Debug> fmt::Display for Action<V> {
    /// Prints the action as raft.tla would write it: `RequestVote(s1, s2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Restart(i) | Self::Timeout(i) | Self::BecomeLeader(i) | Self::AdvanceCommitIndex(i) => {
                write!(f, "{name}({i})")
            }
            Self::RequestVote(i, j) | Self::AppendEntries(i, j) => write!(f, "{name}({i}, {j})"),
            Self::ClientRequest(i, value) => write!(f, "{name}({i}, {value:?})"),
            Self::Receive(m) | Self::DuplicateMessage(m) | Self::DropMessage(m) => {
                write!(f, "{name}({m})")
            }
        }
    }
}

/// Why [`System::apply`] did not take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyError {
    /// The action names a server that is not in the system.
    UnknownServer(ServerId),
    /// The guard of the action does not hold on this server, or the message is not in the network.
    NotEnabled {
        /// The action's name.
        action: &'static str,
        /// The server that would take it.
        server: ServerId,
    },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownServer(id) => {
                write!(f, "no server {id} in the system: name one of its servers")
            }
            Self::NotEnabled { action, server } => {
                write!(f, "{action} is not enabled on {server}: choose among what `enabled` lists")
            }
        }
    }
}

impl std::error::Error for ApplyError {}

/// All servers, and the messages between them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct System<V> {
    /// The variables of each server.
    pub servers: ServerMap<Server<V>>,
    /// The network.
    pub messages: Bag<Message<V>>,
}

impl<V: Clone> Clone for System<V> {
    fn clone(&self) -> Self {
        Self { servers: self.servers.clone(), messages: self.messages.clone() }
    }

    /// Keeps the memory that it has: a search copies a state for every step that it looks at.
    fn clone_from(&mut self, source: &Self) {
        self.servers.clone_from(&source.servers);
        self.messages.clone_from(&source.messages);
    }
}

impl<V: fmt::Debug> fmt::Display for System<V> {
    /// Prints a line for each server, then one for each kind of message in the network.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, server) in self.servers.iter() {
            writeln!(f, "{id}: {server}")?;
        }
        for (message, count) in self.messages.iter() {
            let copies = if count == 1 { String::new() } else { format!(", {count} times") };
            writeln!(f, "in flight: {message}{copies}")?;
        }
        Ok(())
    }
}

impl<V: Ord + Clone> System<V> {
    /// The initial state of the cluster `servers`: nothing in the network, all followers of term 1.
    #[must_use]
    pub fn new(servers: &ServerSet) -> Self {
        Self { servers: ServerMap::new(servers, |_| Server::new(servers)), messages: Bag::new() }
    }

    /// Every step that is possible, clients asking for any of `values`. Each leads to one next state.
    #[must_use]
    pub fn enabled(&self, values: &[V]) -> Vec<Action<V>> {
        let mut actions = Vec::new();
        self.append_enabled(values, &mut actions);
        actions
    }

    /// [`System::enabled`], added to `actions`.
    pub(crate) fn append_enabled(&self, values: &[V], actions: &mut Vec<Action<V>>) {
        for (i, server) in self.servers.iter() {
            self.enabled_on(i, server, values, actions);
        }
        for (m, _) in self.messages.iter() {
            let receiver = self.servers.at(m.dest);
            if receiver.is_some_and(|server| server.receive_case(m).is_some()) {
                actions.push(Action::Receive(m.clone()));
            }
            actions.push(Action::DuplicateMessage(m.clone()));
            actions.push(Action::DropMessage(m.clone()));
        }
    }

    /// Adds the steps that `server`, named `i`, can take of its own accord.
    fn enabled_on(&self, i: ServerId, server: &Server<V>, values: &[V], actions: &mut Vec<Action<V>>) {
        actions.push(Action::Restart(i));
        if server.can_timeout() {
            actions.push(Action::Timeout(i));
        }
        for j in self.servers.ids() {
            if server.can_request_vote(j) {
                actions.push(Action::RequestVote(i, j));
            }
            if server.can_append_entries(i, j) {
                actions.push(Action::AppendEntries(i, j));
            }
        }
        if server.can_become_leader() {
            actions.push(Action::BecomeLeader(i));
        }
        if server.can_client_request() {
            let requests = values.iter().cloned();
            actions.extend(requests.map(|value| Action::ClientRequest(i, value)));
        }
        if server.can_advance_commit_index() {
            actions.push(Action::AdvanceCommitIndex(i));
        }
    }

    /// Takes the step `action`. Messages that it sends carry no log for proofs.
    ///
    /// ```
    /// use outrigger_model::{Action, ServerId, ServerSet, ServerState, System};
    ///
    /// let mut system: System<char> = System::new(&ServerSet::first(1));
    /// let s1 = ServerId(1);
    /// system.apply(&Action::Timeout(s1))?;
    /// system.apply(&Action::RequestVote(s1, s1))?;
    /// for _ in ["the request", "the answer"] {
    ///     let message = system.messages.iter().next().map(|(message, _)| message.clone());
    ///     system.apply(&Action::Receive(message.unwrap()))?;
    /// }
    /// system.apply(&Action::BecomeLeader(s1))?;
    /// assert_eq!(system.servers.at(s1).unwrap().state, ServerState::Leader);
    /// # Ok::<(), outrigger_model::ApplyError>(())
    /// ```
    ///
    /// # Errors
    /// The system does not change, and the error says which: [`ApplyError::UnknownServer`] if `action` names a server
    /// outside the system, [`ApplyError::NotEnabled`] if its guard does not hold or its message is not in the network.
    pub fn apply(&mut self, action: &Action<V>) -> Result<(), ApplyError> {
        self.step(action, false)
    }

    /// [`System::apply`]; with `proof`, messages carry the sender's log as in raft.tla.
    fn step(&mut self, action: &Action<V>, proof: bool) -> Result<(), ApplyError> {
        if !self.is_enabled(action)? {
            return Err(ApplyError::NotEnabled { action: action.name(), server: action.server() });
        }
        let Some(mut message) = self.take(action)? else {
            return Ok(());
        };
        if proof && !matches!(action, Action::DuplicateMessage(_)) {
            self.attach_log(&mut message);
        }
        self.messages.send(message);
        Ok(())
    }

    /// Whether the guard of `action` holds.
    fn is_enabled(&self, action: &Action<V>) -> Result<bool, ApplyError> {
        let server = self.server(action.server())?;
        Ok(match action {
            Action::Restart(_) => true,
            Action::Timeout(_) => server.can_timeout(),
            Action::RequestVote(_, j) => {
                self.server(*j)?;
                server.can_request_vote(*j)
            }
            Action::AppendEntries(i, j) => server.can_append_entries(*i, *j),
            Action::BecomeLeader(_) => server.can_become_leader(),
            Action::ClientRequest(..) => server.can_client_request(),
            Action::AdvanceCommitIndex(_) => server.can_advance_commit_index(),
            Action::Receive(m) => self.messages.contains(m) && server.receive_case(m).is_some(),
            Action::DuplicateMessage(m) | Action::DropMessage(m) => self.messages.contains(m),
        })
    }

    /// The effect of an enabled `action`, but for what it sends, which is returned.
    fn take(&mut self, action: &Action<V>) -> Result<Option<Message<V>>, ApplyError> {
        let server = self.server_mut(action.server())?;
        match action {
            Action::Restart(_) => server.restart(),
            Action::Timeout(_) => server.timeout(),
            Action::RequestVote(i, j) => return Ok(Some(server.request_vote(*i, *j))),
            Action::AppendEntries(i, j) => return Ok(Some(server.append_entries(*i, *j))),
            Action::BecomeLeader(_) => server.become_leader(),
            Action::ClientRequest(_, value) => server.client_request(value.clone()),
            Action::AdvanceCommitIndex(i) => server.advance_commit_index(*i),
            Action::Receive(m) => {
                let outcome = server.receive(m);
                return Ok(self.settle(m, outcome));
            }
            Action::DuplicateMessage(m) => return Ok(Some(m.clone())),
            Action::DropMessage(m) => {
                self.messages.discard(m);
            }
        }
        Ok(None)
    }

    /// Leaves or discards the message `m` that was received with `outcome`; what is to be sent in reply.
    fn settle(&mut self, m: &Message<V>, outcome: Option<Outcome<V>>) -> Option<Message<V>> {
        match outcome {
            None | Some(Outcome::Stay) => None,
            Some(Outcome::Discard) => {
                self.messages.discard(m);
                None
            }
            Some(Outcome::Reply(response)) => {
                self.messages.discard(m);
                Some(response)
            }
        }
    }

    /// Puts the sender's log into a message of the kinds that carry it in raft.tla.
    fn attach_log(&self, m: &mut Message<V>) {
        let carries = matches!(m.body, Body::RequestVoteResponse { .. } | Body::AppendEntriesRequest(_));
        if let (true, Some(sender)) = (carries, self.servers.at(m.source)) {
            m.log = sender.log.clone();
        }
    }

    fn server(&self, id: ServerId) -> Result<&Server<V>, ApplyError> {
        self.servers.at(id).ok_or(ApplyError::UnknownServer(id))
    }

    fn server_mut(&mut self, id: ServerId) -> Result<&mut Server<V>, ApplyError> {
        self.servers.at_mut(id).ok_or(ApplyError::UnknownServer(id))
    }
}

/// A system with the histories of raft.tla, kept beside it so that they can be left out when states are compared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model<V> {
    /// What the servers and the network are. Its messages carry logs for proofs.
    pub system: System<V>,
    /// What has been. Copies of a model share it until one of them takes a step.
    pub history: Arc<History<V>>,
}

impl<V: Clone> Clone for Model<V> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), history: Arc::clone(&self.history) }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &Self) {
        self.system.clone_from(&source.system);
        if !Arc::ptr_eq(&self.history, &source.history) {
            self.history = Arc::clone(&source.history);
        }
    }
}

impl<V: Ord + Clone> Model<V> {
    /// The initial state of the cluster `servers`.
    #[must_use]
    pub fn new(servers: &ServerSet) -> Self {
        let system = System::new(servers);
        let history = Arc::new(History::new(&system));
        Self { system, history }
    }

    /// Takes the step `action` and records it.
    ///
    /// # Errors
    /// As [`System::apply`]; the history does not change either.
    pub fn apply(&mut self, action: &Action<V>) -> Result<(), ApplyError> {
        let vote = History::vote_in(&self.system, action);
        self.system.step(action, true)?;
        Arc::make_mut(&mut self.history).record(&self.system, action, vote);
        Ok(())
    }
}
