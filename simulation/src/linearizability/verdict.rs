//! How long to search, and what a search can say.

use std::fmt;

use super::OperationId;
use crate::count::counted;

/// How many steps pass between two questions to the caller.
const STEPS_PER_QUESTION: u64 = 1024;

/// Which limit ended a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many steps were allowed.
    Steps,
    /// The caller's own question was answered with yes.
    Stopped,
}

/// When to give up.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use outrigger_simulation::linearizability::key_value::{KeyValue, Operation, Outcome};
/// use outrigger_simulation::linearizability::{History, Limits, check};
///
/// let history: History<Operation<u8, u8>, Outcome<u8>> = History::new();
/// let end = Instant::now() + Duration::from_secs(10);
/// let mut is_late = || Instant::now() >= end;
/// let verdict = check(&KeyValue::new(), &history, Limits::steps(1_000_000).or_when(&mut is_late));
/// assert!(verdict.is_linearizable());
/// ```
pub struct Limits<'a> {
    /// The most steps that the search of one key may take.
    steps: u64,
    /// Asked now and then whether to stop.
    stop: Option<&'a mut dyn FnMut() -> bool>,
    /// The number of steps, over all keys, that were taken since the caller was asked.
    unasked: u64,
}

impl Default for Limits<'_> {
    /// Ten million steps for each key: some seconds, and up to some GiB if they lead to nothing but dead ends.
    fn default() -> Self {
        Self::steps(10_000_000)
    }
}

impl<'a> Limits<'a> {
    /// So many steps for each key: the same history then gets the same verdict on every machine. A step is a question
    /// to the specification; the search remembers one state for each at most.
    #[must_use]
    pub const fn steps(steps: u64) -> Self {
        Self { steps, stop: None, unasked: 0 }
    }

    /// Also stops, all keys at once, when this says so. It is asked every 1,024 steps, and may look at a clock.
    #[must_use]
    pub fn or_when(self, stop: &'a mut dyn FnMut() -> bool) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// One more step is wanted, after so many on this key. Answers with the limit that forbids it.
    pub(super) fn reached(&mut self, steps: u64) -> Option<Limit> {
        if steps >= self.steps {
            return Some(Limit::Steps);
        }
        self.unasked += 1;
        if self.unasked < STEPS_PER_QUESTION {
            return None;
        }
        self.unasked = 0;
        self.stop.as_mut().and_then(|stop| stop().then_some(Limit::Stopped))
    }
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("steps", &self.steps).field("stop", &self.stop.is_some()).finish()
    }
}

/// What a search says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// There is an order; here it is.
    Linearizable(Linearization),
    /// There is none.
    Violated(Violation),
    /// There may be one: the search was given up.
    Undecided(Undecided),
}

impl Verdict {
    /// Whether an order was found. False is no proof that there is none: the verdict may be
    /// [`Undecided`](Self::Undecided).
    #[must_use]
    pub const fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable(found) => write!(f, "linearizable, in {} steps", found.steps),
            Self::Violated(violation) => violation.fmt(f),
            Self::Undecided(undecided) => undecided.fmt(f),
        }
    }
}

/// An order that explains every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linearization {
    /// For each key, in ascending order of the keys: the operations on it in an order that real time allows and the
    /// specification answers alike. Every answered operation is in it; of those with unknown outcome, those that must
    /// have happened.
    pub orders: Vec<Vec<OperationId>>,
    /// How many steps it took to find.
    pub steps: u64,
}

/// A history that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key, as its `Debug` shows it.
    pub key: String,
    /// The operation that no order gets past: of all answers that stopped an order, the one that arrived last.
    pub stuck: OperationId,
    /// Whose it is.
    pub client: u64,
    /// What it is and how it was answered, in [words](super::Specification::operation_text).
    pub said: String,
    /// The longest order up to the answer of [`stuck`](Self::stuck).
    pub prefix: Vec<OperationId>,
    /// The state after that order, in [words](super::Specification::state_text).
    pub state: String,
    /// Some of the other states to which orders lead that come as far, in words: in none of them could it be answered so.
    pub others: Vec<String>,
    /// The operations around it as intervals, one a line, in lines of about 150 columns.
    pub picture: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, stuck, client, said, prefix, state, others, picture } = self;
        writeln!(
            f,
            "not linearizable: no order of the operations on key {key} explains what client {client} was told"
        )?;
        writeln!(f, "by {stuck}, {said}")?;
        f.write_str(picture)?;
        let operations = counted(prefix.len() as u64, "operation", "operations");
        write!(f, "the longest order before {stuck} has {operations}, and leaves {state} in {key}")?;
        if !others.is_empty() {
            write!(f, "; others that come as far leave {}", others.join(", or "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// A search that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The first key that was given up, as its `Debug` shows it.
    pub key: String,
    /// How many operations it has.
    pub operations: usize,
    /// How many steps its search took.
    pub steps: u64,
    /// Which limit ended it.
    pub limit: Limit,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operations, steps, limit } = self;
        let why = match limit {
            Limit::Steps => "the limit of steps",
            Limit::Stopped => "its caller",
        };
        write!(f, "undecided: the search on key {key} with {operations} operations was ended by {why} after {steps} ")?;
        f.write_str("steps; give it more, or use more keys with fewer operations each")
    }
}

impl std::error::Error for Undecided {}
