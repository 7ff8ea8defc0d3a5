//! The extended model as something to explore: every state within bounds, by [`explore`](crate::explore).

use super::configuration::{Command, Configuration, Value};
use super::{Action, Bounds, System, Violation, check_state, check_step};
use crate::explore::TransitionSystem;
use crate::server_set::ServerSet;
use std::hash::{Hash, Hasher};

/// The extended model within bounds; clients ask for one value, 0.
///
/// ```
/// use outrigger_model::explore::{Search, Verdict};
/// use outrigger_model::extended::{Bounds, Explored};
///
/// let (restarts, snapshots, leases, is_instant) = (true, true, false, false);
/// let bounds = Bounds { term_max: 1, log_max: 1, batch_max: 1, reads: 0, leases, restarts, snapshots, is_instant };
/// let report = Search::new(Explored::new(2, bounds)).run()?;
/// assert!(matches!(report.verdict, Verdict::Exhausted));
/// # Ok::<(), outrigger_model::explore::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Explored<V = u8> {
    servers: ServerSet,
    bounds: Bounds,
    /// What clients ask for.
    value: V,
    /// The entry of term 0, if its voters begin with it.
    first: Option<V>,
    /// The configurations that leaders may append.
    configurations: Vec<V>,
}

impl Explored {
    /// A cluster of so many servers, which all vote.
    #[must_use]
    pub fn new(servers: usize, bounds: Bounds) -> Self {
        let servers = ServerSet::first(servers);
        Self { servers, bounds, value: 0, first: None, configurations: Vec::new() }
    }
}

impl Explored<Command> {
    /// A cluster of so many servers whose voters are `path[0]`, and may be changed to the next of `path` from each.
    ///
    /// # Panics
    /// If `path` is empty.
    #[must_use]
    pub fn with_configurations(servers: usize, path: &[ServerSet], bounds: Bounds) -> Self {
        let stable: Vec<_> = path.iter().cloned().map(Configuration::stable).collect();
        let steps = stable.windows(2).flat_map(|pair| [pair[0].joint(pair[1].voters.clone()), pair[1].clone()]);
        let mut configurations: Vec<_> = steps.map(Command::Configure).collect();
        configurations.sort();
        configurations.dedup();
        let first = Some(Command::Configure(stable[0].clone()));
        Self { servers: ServerSet::first(servers), bounds, value: Command::Client(0), first, configurations }
    }
}

impl<V: Value + Hash> TransitionSystem for Explored<V> {
    type State = System<V>;
    type Packed = System<V>;
    type Action = Action<V>;
    type Violation = Violation;

    fn initial(&self) -> System<V> {
        match &self.first {
            Some(first) => System::configured(&self.servers, first),
            None => System::new(&self.servers),
        }
    }

    fn append_actions(&self, state: &System<V>, actions: &mut Vec<Action<V>>) {
        actions.extend(state.enabled(&self.value, &self.configurations, &self.bounds));
    }

    fn step(&self, from: &System<V>, action: &Action<V>, next: &mut System<V>) {
        next.clone_from(from);
        next.take(action, &self.bounds).expect("only enabled actions are taken");
    }

    fn is_within(&self, state: &System<V>) -> bool {
        state.is_within(&self.bounds)
    }

    fn key(&self, state: &System<V>, key: &mut Vec<u8>) -> u64 {
        state.hash(&mut Bytes(key));
        1
    }

    fn check_state(&self, state: &System<V>) -> Result<(), Violation> {
        check_state(state)
    }

    fn check_step(&self, from: &System<V>, next: &System<V>) -> Result<(), Violation> {
        check_step(from, next)
    }

    fn pack(&self, state: &System<V>) -> System<V> {
        state.clone()
    }

    fn unpack(&self, packed: &System<V>, state: &mut System<V>) {
        state.clone_from(packed);
    }
}

/// Keeps what is hashed: `Hash` writes different values as different bytes, lengths included.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Hasher for Bytes<'_> {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
