//! Commands on their way to a state machine, each with what the table of sessions makes of it.
//!
//! ```text
//!   entries ──► table of sessions ──┬─ applied before, denied, nothing to apply ──────────────► noted
//!                                   └─ command ──► state machine ──► response ─┬─► the table ──┘
//!                                        ▲          one at a time              │
//!                                        └──────── the next ───────────────────┘
//! ```
//!
//! The table must know the response to a command before it judges the next, which may be the same command again. So a batch is
//! gone through one by one, however many commands the state machine puts into one transaction.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;

use outrigger_engine::{Batch, Body, LogId, LogIndex, LogTime, Payload, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LargeStateMachine;
use crate::runtime::encoded::{self, ApplyError, panic_caught};
use crate::runtime::sessions::{Admission, Applied, Denied, Sessions};

/// Who is told what came of each entry; breaks when no more is to be applied for now.
pub(crate) type Note<'a, R> = dyn FnMut(LogId, LogTime, Applied<R>) -> ControlFlow<()> + 'a;

/// Commands that [`LargeStateMachine::apply_batch`] is to apply.
pub struct CommandBatch<'a, S: LargeStateMachine> {
    entries: Entries<'a>,
    sessions: &'a mut Sessions,
    note: &'a mut Note<'a, S::Response>,
    /// The last entry that was gone through.
    last: LogId,
    /// Whether no more is to be applied for now.
    is_over: bool,
    /// Whether the state machine has asked for a command.
    is_taken: bool,
    /// Why the node must stop, if nothing else follows.
    failure: Option<ApplyError>,
}

impl<'a, S: LargeStateMachine> CommandBatch<'a, S> {
    /// `at` is the last entry before this batch.
    pub(crate) fn new(
        at: LogId,
        entries: Entries<'a>,
        sessions: &'a mut Sessions,
        note: &'a mut Note<'a, S::Response>,
    ) -> Self {
        Self { entries, sessions, note, last: at, is_over: false, is_taken: false, failure: None }
    }

    /// Applies the commands of this batch one after the other, and answers each with what `apply` returns.
    pub fn each(&mut self, mut apply: impl FnMut(S::Command) -> S::Response) {
        let Ok(()) = self.try_each(|command| Ok::<_, Infallible>(apply(command)));
    }

    /// As [`each`](Self::each), for a state whose storage may fail. `apply_batch` must fail then too: the command is not applied, and
    /// none behind it.
    ///
    /// # Errors
    /// The first that `apply` answers.
    pub fn try_each<E>(&mut self, mut apply: impl FnMut(S::Command) -> Result<S::Response, E>) -> Result<(), E> {
        while let Some((id, log_time, payload, command)) = self.next() {
            self.failure = Some(ApplyError::LeftOut);
            let response = apply(command)?;
            self.failure = None;
            keep(self.sessions, payload, &response);
            self.note(id, log_time, Applied::Response(response));
        }
        Ok(())
    }

    /// The last entry whose command was applied here, or that needed none: what the state is at, once the commands are applied. If this
    /// batch brings nothing, because its first command does not decode, that is where the state was before.
    #[must_use]
    pub const fn last(&self) -> LogId {
        self.last
    }

    /// Why the node must stop, although `apply_batch` has answered no error.
    pub(crate) fn into_failure(self) -> Option<ApplyError> {
        // One that takes nothing would be called again and again.
        if self.is_taken { self.failure } else { Some(ApplyError::LeftOut) }
    }

    /// The next command that is to be applied; none behind one that failed.
    fn next(&mut self) -> Option<(LogId, LogTime, &'a Payload, S::Command)> {
        self.is_taken = true;
        self.is_over |= self.failure.is_some();
        while !self.is_over {
            let (id, log_time, payload) = self.entries.next()?;
            let Some(applied) = settled(self.sessions.admit(id.index, log_time, payload), payload) else {
                let Body::Command(command) = &payload.body else { unreachable!("only a command is to be applied") };
                return match encoded::decode(command) {
                    Ok(command) => Some((id, log_time, payload, command)),
                    Err(error) => {
                        self.failure = Some(ApplyError::Decode(error));
                        None
                    }
                };
            };
            self.note(id, log_time, applied);
        }
        None
    }

    fn note(&mut self, id: LogId, log_time: LogTime, applied: Applied<S::Response>) {
        self.last = id;
        self.is_over |= (self.note)(id, log_time, applied).is_break();
    }
}

impl<S: LargeStateMachine> fmt::Debug for CommandBatch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandBatch").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The command is applied, whatever becomes of the response.
fn keep<R: Serialize>(sessions: &mut Sessions, payload: &Payload, response: &R) {
    if payload.session == SessionId(0) {
        return;
    }
    match panic_caught(|| encoded::encode(response)) {
        Ok(Ok(bytes)) => sessions.keep(payload, bytes),
        Ok(Err(_)) | Err(_) => sessions.keep_nothing(payload),
    }
}

/// What came of an entry that the table has judged; `None` if its command is to be applied.
pub(crate) fn settled<R: DeserializeOwned>(admission: Admission, payload: &Payload) -> Option<Applied<R>> {
    Some(match admission {
        Admission::Apply if matches!(payload.body, Body::Command(_)) => return None,
        Admission::Kept(response) => {
            // A response that encodes and does not decode is of no use to anybody.
            let response = panic_caught(|| encoded::decode(&response)).ok().and_then(Result::ok);
            response.map_or(Applied::Denied(Denied::NotKept), Applied::Response)
        }
        Admission::Denied(denied) => Applied::Denied(denied),
        Admission::Alive(session) => Applied::Alive(session),
        Admission::Apply | Admission::Nothing => Applied::Nothing,
    })
}

/// The entries of some batches, one by one.
pub(crate) struct Entries<'a> {
    batches: &'a [Batch],
    /// How many of the first batch are behind us.
    passed: usize,
}

impl<'a> Entries<'a> {
    /// The entries of consecutive batches, from one on that they hold.
    pub(crate) fn from(from: LogIndex, batches: &'a [Batch]) -> Self {
        let before = batches.partition_point(|batch| batch.last().index < from);
        let batches = &batches[before..];
        let passed = batches.first().map_or(0, |batch| from.since(batch.first().index));
        Self { batches, passed: usize::try_from(passed).expect("a batch is in memory") }
    }

    /// The index of the next one.
    pub(crate) fn peek(&self) -> Option<LogIndex> {
        self.batches.first().map(|batch| LogIndex(batch.first().index.0 + self.passed as u64))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (LogId, LogTime, &'a Payload);

    fn next(&mut self) -> Option<Self::Item> {
        let (batch, rest) = self.batches.split_first()?;
        let payload = &batch.entries()[self.passed];
        let id = LogId { term: batch.term(), index: LogIndex(batch.first().index.0 + self.passed as u64) };
        self.passed += 1;
        if self.passed == batch.len() {
            (self.batches, self.passed) = (rest, 0);
        }
        Some((id, batch.log_time(), payload))
    }
}
