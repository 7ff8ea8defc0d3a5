//! Histories: who asked for what, when, and what became of it.
//!
//! ```text
//!   call ──► returned, with an outcome      an interval: [called, returned]
//!     ├────► refused                        it has not happened and never will
//!     └────► (nothing)                      unknown: it may happen at any time after the call, or never
//! ```

use std::fmt;

/// Names an operation of one [`History`]: the first that was called is `#0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

impl OperationId {
    /// How many operations the history recorded before this one.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }

    /// The operation before which a history recorded so many.
    pub(crate) const fn at(index: usize) -> Self {
        Self(index)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<R> {
    /// Nobody knows: it took or takes effect at some time after its call, or never.
    Unknown,
    /// It took effect between its call and this time.
    Returned {
        /// When the answer arrived; never before the call.
        at: u64,
        /// The answer.
        outcome: R,
    },
    /// It took no effect and never will.
    Refused,
}

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation<O, R> {
    /// Who asked. Only pictures show it: the times alone say what is ordered.
    pub client: u64,
    /// When, on the one clock of the history.
    pub called: u64,
    /// For what.
    pub operation: O,
    /// What became of it.
    pub fate: Fate<R>,
}

impl<O, R> Invocation<O, R> {
    /// The answer, if there is one.
    #[must_use]
    pub const fn outcome(&self) -> Option<&R> {
        match &self.fate {
            Fate::Returned { outcome, .. } => Some(outcome),
            Fate::Unknown | Fate::Refused => None,
        }
    }

    /// When the answer arrived; the end of time if it did not.
    #[must_use]
    pub const fn returned(&self) -> u64 {
        match &self.fate {
            Fate::Returned { at, .. } => *at,
            Fate::Unknown | Fate::Refused => u64::MAX,
        }
    }
}

/// Why an operation cannot have the fate that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryError {
    /// The history has no such operation.
    NoSuchOperation {
        /// The operation that was named.
        operation: OperationId,
        /// How many the history has.
        operations: usize,
    },
    /// The operation has returned or was refused before.
    Settled {
        /// The operation.
        operation: OperationId,
    },
    /// The operation would return before it was called.
    ReturnBeforeCall {
        /// The operation.
        operation: OperationId,
        /// When it was called.
        called: u64,
        /// When it is said to return.
        returned: u64,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchOperation { operation, operations } => {
                write!(f, "the history has {operations} operations and no {operation}; use the id that `call` gave")
            }
            Self::Settled { operation } => write!(f, "{operation} has its outcome already; settle each call once"),
            Self::ReturnBeforeCall { operation, called, returned } => {
                write!(f, "{operation} was called at {called} and cannot return at {returned}; use one clock for both")
            }
        }
    }
}

impl std::error::Error for HistoryError {}

/// All operations of all clients on one object, with their times and outcomes.
///
/// Times are in any unit, of one clock for all clients; where only the order of events is known, the number of the
/// event is a time. Calls may be recorded in any order.
///
/// ```
/// use outrigger_simulation::linearizability::History;
///
/// let mut history = History::new();
/// let put = history.call(1, 0, "put");
/// let lost = history.call(2, 5, "put");
/// history.returned(put, 10, true)?;
/// // Nothing is known of the second one, and nothing need be recorded.
/// assert_eq!(history.len(), 2);
/// assert!(history.invocation(lost).is_some_and(|lost| lost.outcome().is_none()));
/// # Ok::<(), outrigger_simulation::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<O, R> {
    /// By id. What has returned has done so no earlier than it was called.
    invocations: Vec<Invocation<O, R>>,
}

impl<O, R> Default for History<O, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O, R> History<O, R> {
    /// A history in which nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self { invocations: Vec::new() }
    }

    /// One in which nothing has happened, with room for so many calls.
    pub(crate) fn with_capacity(calls: usize) -> Self {
        Self { invocations: Vec::with_capacity(calls) }
    }

    /// A client calls an operation. Until told otherwise, its outcome is unknown.
    pub fn call(&mut self, client: u64, at: u64, operation: O) -> OperationId {
        let id = OperationId(self.invocations.len());
        self.invocations.push(Invocation { client, called: at, operation, fate: Fate::Unknown });
        id
    }

    /// An operation is answered.
    ///
    /// # Errors
    /// When the operation is not of this history, is settled, or was called later than `at`; nothing changes then.
    pub fn returned(&mut self, operation: OperationId, at: u64, outcome: R) -> Result<(), HistoryError> {
        let open = self.open(operation)?;
        let called = open.called;
        if at < called {
            return Err(HistoryError::ReturnBeforeCall { operation, called, returned: at });
        }
        open.fate = Fate::Returned { at, outcome };
        Ok(())
    }

    /// An operation is known to have had no effect, now and for ever.
    ///
    /// # Errors
    /// When the operation is not of this history or is settled; nothing changes then.
    pub fn refused(&mut self, operation: OperationId) -> Result<(), HistoryError> {
        self.open(operation)?.fate = Fate::Refused;
        Ok(())
    }

    fn open(&mut self, operation: OperationId) -> Result<&mut Invocation<O, R>, HistoryError> {
        let operations = self.invocations.len();
        let found = self.invocations.get_mut(operation.0);
        let found = found.ok_or(HistoryError::NoSuchOperation { operation, operations })?;
        if matches!(found.fate, Fate::Unknown) { Ok(found) } else { Err(HistoryError::Settled { operation }) }
    }

    /// How many operations were called.
    #[must_use]
    pub fn len(&self) -> usize {
        self.invocations.len()
    }

    /// Whether nothing was called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.invocations.is_empty()
    }

    /// An operation; `None` if it is not of this history.
    #[must_use]
    pub fn invocation(&self, operation: OperationId) -> Option<&Invocation<O, R>> {
        self.invocations.get(operation.0)
    }

    /// Every operation, in the order in which calls were recorded.
    pub fn invocations(&self) -> impl Iterator<Item = (OperationId, &Invocation<O, R>)> {
        self.invocations.iter().enumerate().map(|(index, invocation)| (OperationId(index), invocation))
    }

    /// An operation whose id this history gave.
    pub(super) fn known(&self, operation: OperationId) -> &Invocation<O, R> {
        &self.invocations[operation.0]
    }
}
