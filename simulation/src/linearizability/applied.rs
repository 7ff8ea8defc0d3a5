//! The check for when the order is known: one pass, no search.
//!
//! ```text
//!   log     1: put a   2: put b   3: (leader's own)   4: put a   ...
//!   reads           ▲ at 1                      ▲ at 3, 3        each after the entry at its index, before the next
//!
//!   in this order:  no operation was called after one behind it had returned  (real time)
//!                   the specification, entry by entry, gives every answer      (responses)
//!                   every answered operation is there, none twice, none that was refused
//! ```
//!
//! It asks more than [`check`](super::check): not whether some order explains the answers, but whether the one that the
//! system claims does; over all keys together, since one log orders them all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use super::{Fate, HistoryOf, Invocation, OperationId, Specification};

/// What contradicts the order of application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppliedViolation {
    /// An operation that the history does not have.
    NeverCalled {
        /// The operation.
        operation: OperationId,
        /// Its place in the log.
        index: u64,
    },
    /// The list of what was applied goes back; found before all else.
    OutOfOrder {
        /// The operation.
        operation: OperationId,
        /// Its place in the log.
        index: u64,
        /// The place of the operation listed before it.
        previous: u64,
    },
    /// An operation that was applied or read twice.
    Twice {
        /// The operation.
        operation: OperationId,
        /// The place of the second time.
        index: u64,
    },
    /// An operation whose client was told that it never happens.
    Refused {
        /// The operation.
        operation: OperationId,
        /// Its place in the log.
        index: u64,
    },
    /// An operation that was answered and has no place.
    Lost {
        /// The operation.
        operation: OperationId,
    },
    /// Two operations whose places and times contradict each other.
    RealTime {
        /// The one that comes first in the order.
        first: OperationId,
        /// When it was called.
        called: u64,
        /// The one that comes after it.
        second: OperationId,
        /// When it had returned already.
        returned: u64,
    },
    /// An answer other than the state gives.
    Answer {
        /// The operation.
        operation: OperationId,
        /// Whose it is.
        client: u64,
        /// Its place in the log.
        index: u64,
        /// What it is and how it was answered, in [words](Specification::operation_text).
        said: String,
        /// The state before it, in [words](Specification::state_text).
        state: String,
    },
}

impl AppliedViolation {
    /// The operations that it is about.
    #[must_use]
    pub fn operations(&self) -> Vec<OperationId> {
        match *self {
            Self::NeverCalled { operation, .. }
            | Self::OutOfOrder { operation, .. }
            | Self::Twice { operation, .. }
            | Self::Refused { operation, .. }
            | Self::Lost { operation }
            | Self::Answer { operation, .. } => vec![operation],
            Self::RealTime { first, second, .. } => vec![first, second],
        }
    }
}

impl fmt::Display for AppliedViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverCalled { operation, index } => {
                write!(f, "{operation} has its place at index {index} and was never called")
            }
            Self::OutOfOrder { operation, index, previous } => {
                write!(f, "{operation} is listed at index {index}, after an operation at {previous}; list by index")
            }
            Self::Twice { operation, index } => write!(f, "{operation} takes effect again at index {index}"),
            Self::Refused { operation, index } => {
                write!(f, "{operation} takes effect at index {index}, and its client was told that it never does")
            }
            Self::Lost { operation } => write!(f, "{operation} was answered, and took effect nowhere"),
            Self::RealTime { first, called, second, returned } => write!(
                f,
                "{first} comes before {second} in the log, and was called at {called}, after {second} had returned at \
                 {returned}"
            ),
            Self::Answer { operation, client, index, said, state } => {
                write!(
                    f,
                    "client {client} was told by {operation}, {said}, and at its place, index {index}, there was {state}"
                )
            }
        }
    }
}

impl std::error::Error for AppliedViolation {}

/// Checks that the order in which operations were applied fits real time and the answers.
///
/// `applied` are the operations in the log with their indexes, in ascending order; several may share an index if they
/// were one entry, and indexes may be left out. `reads` are the operations that no entry stands for, each with the last
/// index that was applied when it read; those between two entries of `applied` see the same state, so that their order
/// among each other does not matter. One pass over all, `O(n)`; reads that come unsorted are sorted first. Answers with
/// how many operations have a place.
///
/// ```
/// use outrigger_simulation::linearizability::key_value::{KeyValue, Operation, Outcome};
/// use outrigger_simulation::linearizability::{History, check_applied};
///
/// let mut history = History::new();
/// let put = history.call(1, 0, Operation::Put { key: 'x', value: 7 });
/// let get = history.call(2, 5, Operation::Get { key: 'x' });
/// history.returned(get, 8, Outcome::Got { value: Some(7), revision: None })?;
/// // Nobody knows what became of the put; the log knows that it is entry 4, and the read was served after entry 6.
/// assert_eq!(check_applied(&KeyValue::new(), &history, &[(4, put)], &[(6, get)])?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first contradiction, in the order of the log; an acknowledged operation that it lacks comes last.
pub fn check_applied<S: Specification>(
    specification: &S,
    history: &HistoryOf<S>,
    applied: &[(u64, OperationId)],
    reads: &[(u64, OperationId)],
) -> Result<usize, AppliedViolation> {
    let back = applied.iter().zip(applied.iter().skip(1)).find(|(previous, (index, _))| previous.0 > *index);
    if let Some((&(previous, _), &(index, operation))) = back {
        return Err(AppliedViolation::OutOfOrder { operation, index, previous });
    }
    let mut reads = reads.to_vec();
    reads.sort_by_key(|(index, _)| *index);
    let mut reads = reads.as_slice();
    let mut replay = Replay {
        specification,
        history,
        states: BTreeMap::new(),
        seen: vec![false; history.len()],
        count: 0,
        last_called: None,
    };
    for &(index, operation) in applied {
        let (before, behind) = reads.split_at(reads.iter().take_while(|(read, _)| *read < index).count());
        replay.together(before)?;
        reads = behind;
        replay.together(&[(index, operation)])?;
    }
    replay.together(reads)?;
    replay.finish()
}

/// The object, as the log builds it up.
struct Replay<'a, S: Specification> {
    specification: &'a S,
    history: &'a HistoryOf<S>,
    states: BTreeMap<S::Key, S::State>,
    /// Which operations have had their place.
    seen: Vec<bool>,
    /// How many have.
    count: usize,
    /// Of those, the one that was called last, and when.
    last_called: Option<(u64, OperationId)>,
}

impl<'a, S: Specification> Replay<'a, S> {
    /// These come next, in no order among each other as to time.
    fn together(&mut self, group: &[(u64, OperationId)]) -> Result<(), AppliedViolation> {
        let before = self.last_called;
        for &(index, operation) in group {
            let invocation = self.claim(operation, index)?;
            if let Some((called, first)) = before.filter(|(called, _)| *called > invocation.returned()) {
                let (second, returned) = (operation, invocation.returned());
                return Err(AppliedViolation::RealTime { first, called, second, returned });
            }
            self.last_called = self.last_called.max(Some((invocation.called, operation)));
            self.step(operation, index, invocation)?;
        }
        Ok(())
    }

    /// An operation has its place: the only one, and rightly.
    fn claim(
        &mut self,
        operation: OperationId,
        index: u64,
    ) -> Result<&'a Invocation<S::Operation, S::Outcome>, AppliedViolation> {
        let invocation =
            self.history.invocation(operation).ok_or(AppliedViolation::NeverCalled { operation, index })?;
        if std::mem::replace(&mut self.seen[operation.index()], true) {
            return Err(AppliedViolation::Twice { operation, index });
        }
        self.count += 1;
        match invocation.fate {
            Fate::Refused => Err(AppliedViolation::Refused { operation, index }),
            Fate::Unknown | Fate::Returned { .. } => Ok(invocation),
        }
    }

    fn step(
        &mut self,
        operation: OperationId,
        index: u64,
        invocation: &Invocation<S::Operation, S::Outcome>,
    ) -> Result<(), AppliedViolation> {
        let state = match self.states.entry(self.specification.key(&invocation.operation)) {
            Entry::Occupied(state) => state.into_mut(),
            Entry::Vacant(place) => {
                let initial = self.specification.initial(place.key());
                place.insert(initial)
            }
        };
        match self.specification.step(state, &invocation.operation, invocation.outcome()) {
            Some(next) => *state = next,
            // An effect that the state does not allow is none.
            None if invocation.outcome().is_none() => {}
            None => {
                let said = self.specification.operation_text(&invocation.operation, invocation.outcome());
                let (client, state) = (invocation.client, self.specification.state_text(state));
                return Err(AppliedViolation::Answer { operation, client, index, said, state });
            }
        }
        Ok(())
    }

    /// Everything has had its place: nothing that was answered may lack one.
    fn finish(self) -> Result<usize, AppliedViolation> {
        assert!(self.count <= self.history.len(), "{} places for {} operations", self.count, self.history.len());
        let answered = self.history.invocations().filter(|(_, invocation)| invocation.outcome().is_some());
        match answered.map(|(id, _)| id).find(|id| !self.seen[id.index()]) {
            Some(operation) => Err(AppliedViolation::Lost { operation }),
            None => Ok(self.count),
        }
    }
}
