//! The state machine under test: a few registers, and the whole order in which they were written.
//!
//! Every state knows what was applied before it, in which order, and has one number for all of that. So whatever any
//! node ever shows, even one that has died since, can be held against the order that the cluster ends with.

use std::collections::BTreeMap;

use outrigger::StateMachine;
use serde::{Deserialize, Serialize};

use crate::trace::mix;

/// The name of a register.
pub(crate) type Key = u64;

/// A write, and the number of its call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    /// The call; each has its own.
    pub(crate) call: u64,
    pub(crate) key: Key,
    pub(crate) change: Change,
    /// Makes the command longer.
    pub(crate) ballast: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// The value is that of the call: its number.
    Put,
    Delete,
    /// As `Put`, if the value is this one.
    Cas(u64),
}

/// What the caller of a write is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Its place in the order of all writes; the first has 1.
    pub(crate) place: u64,
    /// Whether there was a value.
    pub(crate) existed: bool,
    /// Whether it changed anything.
    pub(crate) has_changed: bool,
}

/// What a reader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The value, and the place of the write that it comes from.
    pub(crate) value: Option<(u64, u64)>,
    /// How many writes the state has seen.
    pub(crate) place: u64,
    /// Their order.
    pub(crate) chain: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Register {
    values: BTreeMap<Key, (u64, u64)>,
    /// The calls in the order in which they were applied.
    pub(crate) applied: Vec<u64>,
    /// The digest of `applied`.
    chain: u64,
}

impl Register {
    pub(crate) fn seen(&self, key: Key) -> Seen {
        Seen { value: self.values.get(&key).copied(), place: self.applied.len() as u64, chain: self.chain }
    }
}

/// The digest of each beginning of an order, the empty one first.
pub(crate) fn chains(applied: &[u64]) -> Vec<u64> {
    let mut chains = vec![0];
    for call in applied {
        let before = chains.last().copied().unwrap_or_default();
        chains.push(mix(before, *call));
    }
    chains
}

impl StateMachine for Register {
    type Command = Command;
    type Response = Answer;

    fn apply(&mut self, command: Command) -> Answer {
        let Command { call, key, change, ballast: _ } = command;
        self.applied.push(call);
        self.chain = mix(self.chain, call);
        let place = self.applied.len() as u64;
        let before = self.values.get(&key).map(|(value, _)| *value);
        let existed = before.is_some();
        let has_changed = match change {
            Change::Put => self.values.insert(key, (call, place)) != Some((call, place)),
            Change::Delete => self.values.remove(&key).is_some(),
            Change::Cas(expected) if before == Some(expected) => {
                self.values.insert(key, (call, place));
                true
            }
            Change::Cas(_) => false,
        };
        Answer { place, existed, has_changed }
    }
}
