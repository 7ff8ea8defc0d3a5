//! What a user writes: the state machine that the cluster replicates.
//!
//! ```text
//!   StateMachine        one method; the state is cloned for a snapshot ──┐ every one is
//!   LargeStateMachine   four methods; the state is shared, or on disk ◄──┘
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) mod batch;
mod large;

pub use batch::CommandBatch;
pub use large::LargeStateMachine;

/// A state machine: the one thing that a user of this library must write, with one required method.
///
/// Every node applies the same commands in the same order, so [`apply`](StateMachine::apply) must be deterministic: no
/// clock, no random numbers, nothing read from outside. The state is `Clone + Serialize + DeserializeOwned` so that it
/// can be snapshotted; use `BTreeMap`, not `HashMap`, so that all nodes serialise alike: states are
/// [compared](crate::Config::state_check_interval), and a node whose bytes differ stops. A state that is too large to be cloned
/// is a [`LargeStateMachine`].
///
/// ```
/// use outrigger::StateMachine;
/// use serde::{Deserialize, Serialize};
///
/// /// Counts.
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Command = u64;
///     type Response = u64;
///     fn apply(&mut self, add: u64) -> u64 {
///         self.0 += add;
///         self.0
///     }
/// }
/// ```
pub trait StateMachine: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// What changes the state. Travels through the log, encoded by [postcard](https://docs.rs/postcard), which writes
    /// values in their order and no names.
    ///
    /// The log outlives your program's version: a start applies every command again that it holds behind the newest snapshot.
    /// So a new version may **append** variants to an enum, and nothing else: never remove, reorder or change one, nor a field
    /// of a struct. A command that no longer decodes stops each node that meets it, until a version runs that knows it; one that
    /// decodes to something else would change the state's history. The same holds of the state itself: a snapshot is the state
    /// in postcard, read again by later versions, and by other nodes, which may run another one.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What the caller of a change gets back.
    type Response: Serialize + DeserializeOwned + Send + 'static;

    /// Changes the state by one command, on every node alike.
    ///
    /// A panic stops the node at this entry: it is never skipped, because nodes that skip differently would differ. As all
    /// nodes apply the same, a command that panics stops **all of them**, and stops them again at each start, until a
    /// version runs that can apply it. Answer what a caller can get wrong with an error in the response.
    fn apply(&mut self, command: Self::Command) -> Self::Response;
}

/// A state machine that other processes may ask. A closure cannot travel to where the state is; a value of
/// [`Query::Query`] can.
pub trait Query: LargeStateMachine {
    /// What is asked.
    type Query: Serialize + DeserializeOwned + Send + 'static;
    /// What comes back.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Answers from the state as it is.
    fn query(&self, query: Self::Query) -> Self::Answer;
}
