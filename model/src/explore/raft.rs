//! raft.tla as a [`TransitionSystem`]: bounds, switched off actions, symmetry, and the invariants with their histories.

use super::TransitionSystem;
use super::encoding::{self, NUMBER_MAX, Relabeling, SERVERS_MAX};
use super::symmetry::Symmetry;
use crate::history::History;
use crate::invariant::{self, Violation};
use crate::log::{LogIndex, Term};
use crate::server_set::ServerSet;
use crate::system::{Action, Model, System};
use std::fmt;
use std::sync::Arc;

/// The most servers whose permutations are tried: 720 of them.
const SYMMETRIC_SERVERS_MAX: usize = 6;

/// What a search of raft.tla stays within. A state outside is generated, but neither counted as distinct nor searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The number of servers, 1 to 8; 6 at most with symmetry.
    pub servers: usize,
    /// The number of values that clients may ask for, 1 to 255; they are called 1, 2 and so on.
    pub values: usize,
    /// The last term of any server, 1 to 254. Servers begin in term 1, so 2 allows for one election each.
    pub term_max: usize,
    /// The length of the longest log, 0 to 254.
    pub log_max: usize,
    /// The most messages in flight, 0 to 254, all of them different.
    pub messages_max: usize,
}

/// Why raft.tla cannot be searched so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaftError {
    /// A bound is not one that can be searched.
    Bound {
        /// Which one.
        bound: &'static str,
        /// What it was to be.
        value: usize,
        /// The least that it can be.
        least: usize,
        /// The most that it can be.
        most: usize,
    },
    /// There is no such action.
    UnknownAction(String),
}

impl fmt::Display for RaftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { bound, value, least, most } => {
                write!(f, "{bound} cannot be {value}: choose from {least} to {most}")
            }
            Self::UnknownAction(name) => {
                write!(f, "no action is called `{name}`: name one of {}", Action::<u8>::NAMES.map(spelled).join(", "))
            }
        }
    }
}

impl std::error::Error for RaftError {}

/// How an action is named to be switched off: `request-vote` for RequestVote, `drop` for DropMessage.
fn spelled(action: &str) -> String {
    let name = action.strip_suffix("Message").unwrap_or(action);
    let letters = name.chars().enumerate().map(|(place, letter)| {
        let hyphen = if place > 0 && letter.is_ascii_uppercase() { "-" } else { "" };
        format!("{hyphen}{}", letter.to_ascii_lowercase())
    });
    letters.collect()
}

/// raft.tla within bounds.
///
/// ```
/// use outrigger_model::explore::{Bounds, Raft, Script, Search};
///
/// // What can a candidate of two servers do without restarts, and with a network that never delivers twice?
/// let bounds = Bounds { servers: 2, values: 1, term_max: 2, log_max: 1, messages_max: 1 };
/// let raft = Raft::new(bounds)?.without("restart")?.without("duplicate")?;
/// let report = Search::new(raft).after(Script::parse("Timeout(s1)")).run()?;
/// assert_eq!(report.to_string(), "generated=4058 distinct=673 depth=26 violations=0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Raft {
    /// What the search stays within; each bound in its range.
    bounds: Bounds,
    /// What clients may ask for: 1, 2 and so on.
    values: Vec<u8>,
    /// The names of the actions that are switched off.
    without: Vec<&'static str>,
    /// Which states are taken for the same.
    symmetry: Symmetry,
    /// Whether histories tell states apart.
    has_histories: bool,
}

impl Raft {
    /// All of raft.tla within `bounds`.
    ///
    /// # Errors
    /// [`RaftError::Bound`] if one of them is not in the range that [`Bounds`] names.
    pub fn new(bounds: Bounds) -> Result<Self, RaftError> {
        let Bounds { servers, values, term_max, log_max, messages_max } = bounds;
        within("the number of servers", servers, 1, SERVERS_MAX)?;
        within("the number of values", values, 1, NUMBER_MAX)?;
        // One less than fits, since a next index is one past the log.
        within("the last term", term_max, 1, NUMBER_MAX - 1)?;
        within("the length of the longest log", log_max, 0, NUMBER_MAX - 1)?;
        within("the number of messages in flight", messages_max, 0, NUMBER_MAX - 1)?;
        let values = (1..=u8::MAX).take(values).collect();
        Ok(Self { bounds, values, without: Vec::new(), symmetry: Symmetry::none(servers), has_histories: false })
    }

    /// Takes states for the same that differ only in the names of their servers.
    ///
    /// # Errors
    /// [`RaftError::Bound`] if there are more servers than permutations can be tried for.
    pub fn with_symmetry(mut self) -> Result<Self, RaftError> {
        let servers = self.bounds.servers;
        within("the number of servers, with symmetry,", servers, 1, SYMMETRIC_SERVERS_MAX)?;
        self.symmetry = Symmetry::full(servers);
        Ok(self)
    }

    /// Tells states apart by their histories too: who was elected when, what was ever committed or in a log. There are
    /// more states then, and an invariant that only a history betrays is checked on every way to a state, not the first.
    #[must_use]
    pub fn with_histories(mut self) -> Self {
        self.has_histories = true;
        self
    }

    /// Switches an action off: the search never takes it, though a script may. It is named as in raft.tla, whatever the
    /// case (`request-vote` will do), `duplicate` and `drop` being enough for the two that end in Message.
    ///
    /// # Errors
    /// [`RaftError::UnknownAction`] if there is no such action.
    pub fn without(mut self, action: &str) -> Result<Self, RaftError> {
        let letters = action.chars().filter(|letter| letter.is_alphanumeric());
        let wanted: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        let is_wanted = |name: &&str| {
            let name = name.to_ascii_lowercase();
            name == wanted || name.strip_suffix("message") == Some(&wanted)
        };
        let found = Action::<u8>::NAMES.into_iter().find(is_wanted);
        self.without.push(found.ok_or_else(|| RaftError::UnknownAction(action.to_owned()))?);
        Ok(self)
    }

    /// Appends to `bytes` what `history` says to the invariants, under the names of `names`.
    fn write_history(history: &History<u8>, names: &Relabeling, bytes: &mut Vec<u8>) {
        for log in &history.all_logs {
            encoding::write_log(log, bytes);
        }
        // Between the parts: no log is so long.
        bytes.push(u8::MAX);
        for election in &history.elections {
            bytes.push(encoding::byte(election.term.0));
            encoding::write_name(election.leader, names, bytes);
            encoding::write_log(&election.log, bytes);
        }
        bytes.push(u8::MAX);
        for ((index, entry), term) in &history.committed {
            bytes.extend([encoding::byte(index.0), encoding::byte(entry.term.0), entry.value, encoding::byte(term.0)]);
        }
    }
}

/// Whether `value` is in its range.
fn within(bound: &'static str, value: usize, least: usize, most: usize) -> Result<(), RaftError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(RaftError::Bound { bound, value, least, most }) }
}

/// A model as it waits in the queue.
#[derive(Clone, Debug)]
pub struct PackedModel {
    /// The system under its own names.
    system: Box<[u8]>,
    /// Shared with the state before, unless the step added to it.
    history: Arc<History<u8>>,
}

impl TransitionSystem for Raft {
    type State = Model<u8>;
    type Packed = PackedModel;
    type Action = Action<u8>;
    type Violation = Violation<u8>;

    fn initial(&self) -> Model<u8> {
        Model::new(&ServerSet::first(self.bounds.servers))
    }

    fn append_actions(&self, model: &Model<u8>, actions: &mut Vec<Action<u8>>) {
        model.system.append_enabled(&self.values, actions);
        if !self.without.is_empty() {
            actions.retain(|action| !self.without.contains(&action.name()));
        }
    }

    fn append_scripted_actions(&self, model: &Model<u8>, actions: &mut Vec<Action<u8>>) {
        model.system.append_enabled(&self.values, actions);
    }

    /// Without a message's log for proofs, which no invariant reads and which would tell messages apart.
    fn step(&self, from: &Model<u8>, action: &Action<u8>, next: &mut Model<u8>) {
        next.clone_from(from);
        let applied = next.system.apply(action);
        assert_eq!(applied, Ok(()), "{action} was said to be possible");
        if self.has_histories {
            self.remember(from, action, next);
        }
    }

    fn is_within(&self, model: &Model<u8>) -> bool {
        let Bounds { term_max, log_max, messages_max, .. } = self.bounds;
        let System { servers, messages } = &model.system;
        servers.iter().all(|(_, server)| server.current_term <= Term(term_max) && server.log.len() <= LogIndex(log_max))
            && messages.iter().all(|(_, count)| count == 1)
            && messages.len() <= messages_max
    }

    fn key(&self, model: &Model<u8>, key: &mut Vec<u8>) -> u64 {
        self.symmetry.write_canonical(&model.system, key, |names, bytes| {
            encoding::write(&model.system, names, bytes);
            if self.has_histories {
                Self::write_history(&model.history, names, bytes);
            }
        })
    }

    /// Adds to the history what the step showed; to one that has it already, nothing.
    fn remember(&self, from: &Model<u8>, action: &Action<u8>, next: &mut Model<u8>) {
        if History::is_news(&from.system, action, &next.system) {
            Arc::make_mut(&mut next.history).record(&next.system, action, None);
        }
    }

    fn check_state(&self, model: &Model<u8>) -> Result<(), Violation<u8>> {
        invariant::check_state(model)
    }

    fn check_step(&self, from: &Model<u8>, next: &Model<u8>) -> Result<(), Violation<u8>> {
        invariant::leader_append_only(&from.system, &next.system)
    }

    fn pack(&self, model: &Model<u8>) -> PackedModel {
        let mut bytes = Vec::with_capacity(encoding::length(&model.system));
        encoding::write(&model.system, &Relabeling::identity(self.bounds.servers), &mut bytes);
        PackedModel { system: bytes.into_boxed_slice(), history: Arc::clone(&model.history) }
    }

    fn unpack(&self, packed: &PackedModel, model: &mut Model<u8>) {
        encoding::read(&packed.system, &mut model.system);
        model.history = Arc::clone(&packed.history);
    }

    /// Adds which case of Receive it is.
    fn describe(&self, from: &Model<u8>, action: &Action<u8>) -> String {
        if let Action::Receive(m) = action
            && let Some(case) = from.system.servers.at(m.dest).and_then(|server| server.receive_case(m))
        {
            return format!("{action}  # {}", case.name());
        }
        action.to_string()
    }

    fn show(&self, model: &Model<u8>) -> String {
        model.system.to_string()
    }
}
