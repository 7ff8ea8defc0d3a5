//! The extended model as something to explore: every state within bounds, by [`explore`](crate::explore).

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
/// let bounds = Bounds { term_max: 1, log_max: 1, batch_max: 1, reads: 0, restarts: true };
/// let report = Search::new(Explored::new(2, bounds)).run()?;
/// assert!(matches!(report.verdict, Verdict::Exhausted));
/// # Ok::<(), outrigger_model::explore::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Explored {
    servers: ServerSet,
    bounds: Bounds,
}

impl Explored {
    /// A cluster of so many servers.
    #[must_use]
    pub fn new(servers: usize, bounds: Bounds) -> Self {
        Self { servers: ServerSet::first(servers), bounds }
    }
}

impl TransitionSystem for Explored {
    type State = System<u8>;
    type Packed = System<u8>;
    type Action = Action<u8>;
    type Violation = Violation;

    fn initial(&self) -> System<u8> {
        System::new(&self.servers)
    }

    fn append_actions(&self, state: &System<u8>, actions: &mut Vec<Action<u8>>) {
        actions.extend(state.enabled(&0, &self.bounds));
    }

    fn step(&self, from: &System<u8>, action: &Action<u8>, next: &mut System<u8>) {
        next.clone_from(from);
        next.apply(action).expect("only enabled actions are taken");
    }

    fn is_within(&self, state: &System<u8>) -> bool {
        state.is_within(&self.bounds)
    }

    fn key(&self, state: &System<u8>, key: &mut Vec<u8>) -> u64 {
        state.hash(&mut Bytes(key));
        1
    }

    fn check_state(&self, state: &System<u8>) -> Result<(), Violation> {
        check_state(state)
    }

    fn check_step(&self, from: &System<u8>, next: &System<u8>) -> Result<(), Violation> {
        check_step(from, next)
    }

    fn pack(&self, state: &System<u8>) -> System<u8> {
        state.clone()
    }

    fn unpack(&self, packed: &System<u8>, state: &mut System<u8>) {
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
