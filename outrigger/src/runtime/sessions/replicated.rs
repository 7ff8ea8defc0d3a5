//! A state machine with the sessions of its clients: what a node applies its log to, and what its snapshots hold.
//!
//! ```text
//!   snapshot   sessions │ state ──► start                    state on disk: it holds 1 .. 40 already
//!   log        31 .. 40 ──────────► the table alone          they were applied: their responses are gone
//!              41 .. ─────────────► the table, and the state
//! ```

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;

use outrigger_engine::{Batch, LogId, LogIndex, StateHash};

use super::{Applied, Denied, SessionLimits, Sessions};
use crate::LargeStateMachine;
use crate::fnv;
use crate::runtime::encoded::{ApplyError, panic_caught};
use crate::state_machine::batch::{CommandBatch, Entries, Note, settled};

/// How much of a snapshot is on its way between the state machine and the file.
const BUFFER_BYTES: usize = 64 << 10;

/// A state machine with the sessions of its clients. See the [module](super).
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use outrigger::engine::{Batch, LogId, LogIndex, LogTime, Payload};
/// use outrigger::runtime::sessions::{Applied, Replicated};
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// # struct Counter(u64);
/// # impl outrigger::StateMachine for Counter {
/// #     type Command = u64;
/// #     type Response = u64;
/// #     fn apply(&mut self, add: u64) -> u64 {
/// #         self.0 += add;
/// #         self.0
/// #     }
/// # }
///
/// let mut replicated = Replicated::new(Counter::default());
/// let commands = [3, 4].map(|add| Payload::command(Bytes::from(vec![add])));
/// let batch = Batch::new(LogId::new(1, 1), LogTime(0), Arc::new(commands));
/// let mut came = Vec::new();
/// replicated.apply(LogIndex(1), &[batch], &mut |id, _, applied| {
///     came.push((id.index.0, applied));
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(came, [(1, Applied::Response(3)), (2, Applied::Response(7))]);
/// # Ok::<(), outrigger::runtime::encoded::ApplyError>(())
/// ```
pub struct Replicated<S> {
    /// What users read.
    state: S,
    sessions: Sessions,
    /// What the state held already when it came here, if it is one on disk. Up to there nothing is applied to it.
    held: Option<LogId>,
    /// The last entry that the state has in it.
    at: LogId,
}

impl<S: LargeStateMachine> Replicated<S> {
    /// A state before the first entry, or, if it is on disk, as it was left.
    pub fn new(state: S) -> Self {
        let held = state.last_applied();
        let at = held.unwrap_or(LogId::ZERO);
        Self { state, sessions: Sessions::new(SessionLimits::STANDARD), held, at }
    }

    /// The state.
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// What the state held already when it came here; `None` if it begins anew with each start.
    #[cfg(feature = "tokio")]
    pub(crate) const fn held(&self) -> Option<LogId> {
        self.held
    }

    /// Applies entries of consecutive batches, `next` first, until `note` breaks or all are applied: it is told what came of each.
    /// After an error the state may be half changed: it must not be read or changed again.
    ///
    /// # Errors
    /// [`ApplyError`], at the entry behind the last that was noted.
    pub fn apply(
        &mut self,
        next: LogIndex,
        batches: &[Batch],
        note: &mut Note<'_, S::Response>,
    ) -> Result<(), ApplyError> {
        let mut entries = Entries::from(next, batches);
        if self.pass(&mut entries, note)?.is_break() || entries.peek().is_none() {
            return Ok(());
        }
        let mut batch = CommandBatch::new(self.at, entries, &mut self.sessions, note);
        let applied = panic_caught(|| self.state.apply_batch(&mut batch));
        self.at = batch.last();
        match applied.map_err(|reason| ApplyError::Panicked { reason })? {
            Err(error) => Err(ApplyError::Failed { reason: error.to_string() }),
            Ok(()) => batch.into_failure().map_or(Ok(()), Err),
        }
    }

    /// Goes through the entries that the state held before: what is known of sessions must be as if they had been applied here.
    fn pass(
        &mut self,
        entries: &mut Entries<'_>,
        note: &mut Note<'_, S::Response>,
    ) -> Result<ControlFlow<()>, ApplyError> {
        let Some(held) = self.held else { return Ok(ControlFlow::Continue(())) };
        while entries.peek().is_some_and(|next| next <= held.index) {
            let Some((id, log_time, payload)) = entries.next() else { break };
            if id.index == held.index && id != held {
                return Err(ApplyError::OtherEntry { applied: held, found: id });
            }
            let applied = match settled(self.sessions.admit(id.index, log_time, payload), payload) {
                Some(applied) => applied,
                None => {
                    self.sessions.keep_nothing(payload);
                    Applied::Denied(Denied::NotKept)
                }
            };
            if note(id, log_time, applied).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What a snapshot of now, after the entry `last`, is written from.
    ///
    /// # Errors
    /// What the state machine says, and when the state holds more than `last`, which its log has not come to again.
    pub fn view(&self, last: LogIndex) -> io::Result<ReplicatedView<S>> {
        let StateView { state } = self.state_view(last)?;
        Ok(ReplicatedView { sessions: self.sessions.clone(), state })
    }

    /// What the state of now, after the entry `last`, is hashed from. The table of sessions is not in it, and may be large.
    ///
    /// # Errors
    /// What the state machine says, and when the state holds more than `last`, which its log has not come to again.
    pub fn state_view(&self, last: LogIndex) -> io::Result<StateView<S>> {
        if let Some(held) = self.held.filter(|held| last < held.index) {
            return Err(io::Error::other(format!("the state is at {held} already, and the log at {last}")));
        }
        Ok(StateView { state: self.state.view()? })
    }

    /// Takes in what a snapshot up to `last` holds: all of it, or only the sessions, if the state is as new.
    ///
    /// # Errors
    /// In words, what is wrong with the content. The state must not be used any more.
    pub fn restore(&mut self, content: impl Read, last: LogId) -> Result<(), String> {
        let mut content = io::BufReader::with_capacity(BUFFER_BYTES, content);
        self.sessions = Sessions::read(&mut content, SessionLimits::STANDARD).map_err(|error| error.to_string())?;
        match self.held {
            Some(held) if held.index == last.index && held != last => {
                return Err(ApplyError::OtherEntry { applied: held, found: last }.to_string());
            }
            Some(held) if last.index <= held.index => return Ok(()),
            _ => {}
        }
        self.state.restore(&mut content, last).map_err(|error| error.to_string())?;
        self.at = last;
        // Whoever has read to the end knows that the whole is as it was written.
        let mut rest = [0];
        match content.read(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => Err("it was not read to its end".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Replicated<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicated").field("state", &self.state).field("held", &self.held).finish_non_exhaustive()
    }
}

/// What a snapshot is written from, while its original goes on.
pub struct ReplicatedView<S: LargeStateMachine> {
    sessions: Sessions,
    state: S::View,
}

impl<S: LargeStateMachine> ReplicatedView<S> {
    /// Writes what a snapshot holds.
    ///
    /// # Errors
    /// What the state machine says, and what the writer says.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, out);
        self.sessions.write(&mut out)?;
        S::write_view(&self.state, &mut out)?;
        io::Write::flush(&mut out)
    }
}

/// What a state is hashed from, while its original goes on.
pub struct StateView<S: LargeStateMachine> {
    state: S::View,
}

impl<S: LargeStateMachine> StateView<S> {
    /// Hashes the state. `pace` is told before so many bytes are, and may wait, or say that nobody wants to know any more. What was
    /// answered in sessions is not in it: a state on disk may have forgotten some of that in a crash.
    ///
    /// # Errors
    /// What the state machine says, and what `pace` does.
    pub fn hash(&self, pace: impl FnMut(usize) -> io::Result<()>) -> io::Result<StateHash> {
        let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, Hashed { hash: fnv::OFFSET_BASIS, pace });
        S::write_view(&self.state, &mut out)?;
        let hashed = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(StateHash(hashed.hash))
    }
}

/// What is written here is hashed, and kept nowhere.
struct Hashed<F> {
    hash: u64,
    pace: F,
}

impl<F: FnMut(usize) -> io::Result<()>> io::Write for Hashed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(BUFFER_BYTES)];
        (self.pace)(bytes.len())?;
        self.hash = fnv::hash(self.hash, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: LargeStateMachine> fmt::Debug for ReplicatedView<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedView").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl<S: LargeStateMachine> fmt::Debug for StateView<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
