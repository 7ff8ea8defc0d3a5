//! A state machine for tests of what stands around one.

use serde::{Deserialize, Serialize};

use crate::StateMachine;

/// It holds nothing, and its commands do nothing.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Response = ();
    fn apply(&mut self, (): ()) {}
}
