//! Linearizability: is there an order of all operations, each at one point between its call and its return, in which
//! every answer is the right one?
//!
//! ```text
//!   client 1   ├─ put 1 ─┤              ├─ get → 2 ─┤            put 1, put 2, get → 2, get → 2: linearizable
//!   client 2        ├─ put 2 ─┤
//!   client 3                      ├─ get → 2 ─┤
//!
//!   history ──► split by key ──► search of each part ──► Linearizable, with the order
//!                                 │  lift what can come next, remember where one has been, unlift at dead ends
//!                                 ├─► Violated, with what got stuck and a picture
//!                                 └─► Undecided, at the limit
//! ```
//!
//! The search is that of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993) with what Lowe added to it
//! (*Testing for Linearizability*, 2017): configurations that were visited are not visited again, and the operations
//! that are left form a linked list. Herlihy and Wing's locality (*Linearizability*, 1990, section 3.1) allows to check
//! each key by itself. What is ours is how operations of unknown outcome are kept from multiplying; see [`check`].
//!
//! Where the order is known, as it is behind a log, [`check_applied`] needs no search.
//!
//! ```
//! use outrigger_simulation::linearizability::key_value::{KeyValue, Operation, Outcome};
//! use outrigger_simulation::linearizability::{History, Limits, Verdict, check};
//!
//! let mut history = History::new();
//! let put = history.call(1, 0, Operation::Put { key: "x", value: 7 });
//! history.returned(put, 10, Outcome::Written { revision: None })?;
//! let get = history.call(2, 20, Operation::Get { key: "x" });
//! history.returned(get, 30, Outcome::Got { value: None, revision: None })?;
//!
//! let Verdict::Violated(violation) = check(&KeyValue::new(), &history, Limits::default()) else {
//!     panic!("a read that misses a finished write is not linearizable");
//! };
//! assert_eq!(violation.stuck, get);
//! println!("{violation}");
//! # Ok::<(), outrigger_simulation::linearizability::HistoryError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

mod applied;
mod bits;
mod history;
pub mod key_value;
mod picture;
mod search;
mod timeline;
mod verdict;

#[cfg(test)]
mod tests;

pub use applied::{AppliedViolation, check_applied};
pub use history::{Fate, History, HistoryError, Invocation, OperationId};
pub use verdict::{Limit, Limits, Linearization, Undecided, Verdict, Violation};

use search::{Outlook, Search};

/// What an operation does to the state if nobody learns its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, in any state: it only reads.
    Nothing,
    /// What was there before makes no difference: whatever can follow another operation of unknown outcome and then
    /// this one, can follow this one alone.
    Overwrites,
    /// Anything else.
    Depends,
}

/// What the operations of one object do, one after another: the truth that answers are held against.
///
/// ```
/// use outrigger_simulation::linearizability::Specification;
///
/// /// One counter: an operation adds, its outcome is the sum.
/// struct Counter;
///
/// impl Specification for Counter {
///     type Key = ();
///     type State = u64;
///     type Operation = u64;
///     type Outcome = u64;
///
///     fn key(&self, _: &u64) {}
///
///     fn initial(&self, (): &()) -> u64 {
///         0
///     }
///
///     fn step(&self, sum: &u64, add: &u64, outcome: Option<&u64>) -> Option<u64> {
///         let sum = sum + add;
///         outcome.is_none_or(|told| *told == sum).then_some(sum)
///     }
/// }
///
/// assert_eq!(Counter.step(&1, &2, Some(&3)), Some(3));
/// assert_eq!(Counter.step(&1, &2, Some(&4)), None);
/// ```
pub trait Specification {
    /// Names an independent part of the object: no operation on one key can be told by operations on others. `()` if
    /// the object has no parts.
    type Key: Clone + Ord + Debug;
    /// The state behind one key. Equal states must have equal futures.
    type State: Clone + Eq + Hash + Debug;
    /// What a client asks for.
    type Operation: Debug;
    /// What a client is told.
    type Outcome: Debug;

    /// The one key that an operation reads and writes.
    fn key(&self, operation: &Self::Operation) -> Self::Key;

    /// The state behind a key before the first operation.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after the operation, if the operation may be answered like that in this state.
    ///
    /// Without an `outcome` nobody knows the answer, and the state after the operation's effect is asked for; the
    /// case that it has none need not be covered, since an operation of unknown outcome may never have happened.
    /// The same arguments must give the same answer.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        outcome: Option<&Self::Outcome>,
    ) -> Option<Self::State>;

    /// What is known of an operation's effect before any state is: spares the search work where outcomes are unknown.
    /// What it says must be so; [`Effect::Depends`] always is.
    fn effect(&self, _operation: &Self::Operation) -> Effect {
        Effect::Depends
    }

    /// An operation and its outcome as people read them; `None` if nobody knows it. As their `Debug` shows them, unless
    /// this says otherwise.
    fn operation_text(&self, operation: &Self::Operation, outcome: Option<&Self::Outcome>) -> String {
        outcome.map_or_else(|| format!("{operation:?}: ?"), |outcome| format!("{operation:?}: {outcome:?}"))
    }

    /// What a key holds, as people read it. As its `Debug` shows it, unless this says otherwise.
    fn state_text(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}

/// The history that a specification speaks about.
pub type HistoryOf<S> = History<<S as Specification>::Operation, <S as Specification>::Outcome>;

/// Searches, key by key, for an order of all operations that real time allows and the specification answers alike.
///
/// An operation must come after all that returned before it was called; equal times count as at once. An operation of
/// [unknown](Fate::Unknown) outcome may come at any point after its call, or at none; one that was
/// [refused](Fate::Refused) comes at none.
///
/// Every key is searched, even when an earlier one is undecided, and a violation of any key is the verdict. A key
/// with `n` operations takes some `n` steps if values are told apart; where they are not, and `c` operations are under
/// way at once, up to `n * 2^c` for each state that they can leave. Operations of unknown outcome stay under way for
/// ever, so they come last: tried only where nothing else can go on, and dropped again if the operation after them
/// would have had the same effect without them. In a register nothing multiplies then; in an object where every write
/// leaves a trace for ever, such as a list that is appended to, `u` of them can still cost `2^u`, for which there are
/// [`Limits`].
///
/// # Examples
/// See the [module](self).
pub fn check<S: Specification>(specification: &S, history: &HistoryOf<S>, mut limits: Limits<'_>) -> Verdict {
    let mut parts: BTreeMap<S::Key, Vec<OperationId>> = BTreeMap::new();
    for (id, invocation) in history.invocations() {
        if !matches!(invocation.fate, Fate::Refused) {
            parts.entry(specification.key(&invocation.operation)).or_default().push(id);
        }
    }
    let (mut steps, mut orders, mut undecided) = (0, Vec::with_capacity(parts.len()), None);
    for (key, ids) in &parts {
        let mut search = Search::new(specification, history, specification.initial(key), ids);
        let outlook = search.run(&mut limits);
        steps += search.steps();
        match outlook {
            Outlook::Explained(order) => orders.push(order),
            Outlook::Stuck => return Verdict::Violated(search.violation(format!("{key:?}"))),
            Outlook::Limit(limit) => {
                let here = Undecided { key: format!("{key:?}"), operations: ids.len(), steps: search.steps(), limit };
                if limit == Limit::Stopped {
                    return Verdict::Undecided(here);
                }
                undecided.get_or_insert(here);
            }
        }
    }
    match undecided {
        Some(undecided) => Verdict::Undecided(undecided),
        None => Verdict::Linearizable(Linearization { orders, steps }),
    }
}
