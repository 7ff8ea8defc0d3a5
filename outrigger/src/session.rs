//! Writing exactly once: the handle of a session, and the numbers that its writes have.
//!
//! ```text
//!   Session::write ──► number 8 ──► Raft: try, try again ... ──► response ──► number 8 is free
//!                        │
//!                        └─ waits while 8 - 64 is still being tried: the table holds no more
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_engine::SessionId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::DURATION_MAX;
use crate::error::WriteError;
use crate::runtime::sessions::WINDOW;
use crate::{LargeStateMachine, Raft};

/// A session: what is written in it is applied exactly once, whatever crashes, as long as somebody tries again. Cheap to
/// clone; the clones share one session.
///
/// [`Raft::write`] cannot repeat a try whose answer was lost, for it might be applied twice, and reports that nobody knows.
/// In a session every write has a number, and all nodes remember which were applied, and the newest responses
/// ([`runtime::sessions`](crate::runtime::sessions)). So a try that was lost, by whatever crash, is repeated until its response
/// is there.
///
/// A session is gone when nothing was written in it for its time to live (an hour, if nothing else is said), or
/// when 65,536 newer ones are in use. Reading does not keep it; [`Session::keep_alive`] does.
pub struct Session<S: LargeStateMachine> {
    raft: Raft<S>,
    id: SessionId,
    numbers: Arc<Numbers>,
    patience: Duration,
}

impl<S: LargeStateMachine> Clone for Session<S> {
    fn clone(&self) -> Self {
        Self { raft: self.raft.clone(), numbers: Arc::clone(&self.numbers), ..*self }
    }
}

impl<S: LargeStateMachine> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<S: LargeStateMachine> Session<S> {
    pub(crate) fn new(raft: Raft<S>, id: SessionId, patience: Duration) -> Self {
        Self { raft, id, numbers: Numbers::new(), patience }
    }

    /// How long a write is tried; four times [`Config::request_timeout`](crate::Config::request_timeout) when nothing is said,
    /// and at most a year.
    #[must_use]
    pub fn with_timeout(self, patience: Duration) -> Self {
        Self { patience: patience.min(DURATION_MAX), ..self }
    }

    /// Its id: the index of the entry that registered it.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Changes the state on all nodes by one command, exactly once, and answers what its
    /// [`apply`](crate::StateMachine::apply) returned. Tries again through changes of the leader, lost answers and timeouts, until the time
    /// is over. Many may be under way at once; beyond a [window](crate::runtime::sessions::WINDOW) they wait for each other.
    ///
    /// Dropping the future gives up: the command may be applied all the same, but not twice.
    ///
    /// # Errors
    /// [`WriteError::Unknown`] when the time is over; [`WriteError::SessionExpired`], which says whether an earlier try may
    /// have been applied; the others as [`Raft::write`].
    pub async fn write(&self, command: S::Command) -> Result<S::Response, WriteError> {
        let (number, patience) = match self.numbers.try_take() {
            // As a rule the window has room, and nothing of the time is spent.
            Some(number) => (number, self.patience),
            None => self.wait_for_number().await?,
        };
        self.raft.write_once(&command, (self.id, number.sequence), patience).await
    }

    /// A number, once the window has room, and how long it may be tried then.
    async fn wait_for_number(&self) -> Result<(Number, Duration), WriteError> {
        let until = Instant::now() + self.patience;
        let number = timeout_at(until, self.numbers.take()).await;
        let number = number.map_err(|_| WriteError::NotApplied { refusal: crowded() })?;
        Ok((number, until.saturating_duration_since(Instant::now())))
    }

    /// Keeps the session for another time to live, as a write does.
    ///
    /// # Errors
    /// [`WriteError::SessionExpired`] when it is gone already; the others as [`Raft::write`].
    pub async fn keep_alive(&self) -> Result<(), WriteError> {
        self.raft.keep_session_alive(self.id, (self.patience, self.patience)).await
    }
}

/// Others are still tried in the whole window.
fn crowded() -> outrigger_engine::Refusal {
    let window = usize::try_from(WINDOW).unwrap_or(usize::MAX);
    outrigger_engine::Refusal::Overloaded { current: window, limit: window }
}

/// The numbers of one session's writes.
pub(crate) struct Numbers {
    given: Mutex<Given>,
    /// Tells who waits that a number is not tried any more.
    freed: Notify,
}

struct Given {
    /// The next number; the first is 1.
    next: u64,
    /// Those that are tried. The oldest is above `next - 1 - WINDOW`, so that the table knows it.
    tried: BTreeSet<u64>,
}

/// A number that is tried, until it is dropped.
pub(crate) struct Number {
    numbers: Arc<Numbers>,
    pub(crate) sequence: u64,
}

impl Numbers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { given: Mutex::new(Given { next: 1, tried: BTreeSet::new() }), freed: Notify::new() })
    }

    /// The next number, if the window has room.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Number> {
        let mut given = self.lock();
        let sequence = given.next;
        if given.tried.first().is_some_and(|oldest| sequence - oldest >= WINDOW) {
            return None;
        }
        given.next += 1;
        given.tried.insert(sequence);
        Some(Number { numbers: Arc::clone(self), sequence })
    }

    /// The next number, as soon as the window has room.
    pub(crate) async fn take(self: &Arc<Self>) -> Number {
        loop {
            // Before the look, so that nothing is missed that is freed after it.
            let freed = self.freed.notified();
            if let Some(number) = self.try_take() {
                return number;
            }
            freed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.numbers.lock().tried.remove(&self.sequence);
        self.numbers.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_number_that_is_tried_stays_in_the_window() {
        let numbers = Numbers::new();
        let oldest = numbers.take().await;
        let mut others: Vec<Number> = Vec::new();
        while let Some(number) = numbers.try_take() {
            others.push(number);
        }
        assert_eq!((oldest.sequence, others.last().map(|last| last.sequence)), (1, Some(WINDOW)));
        // A gap in the middle makes no room: the table forgets by distance, not by count.
        drop(others.remove(0));
        assert!(numbers.try_take().is_none());
        let waiting = tokio::spawn({
            let numbers = Arc::clone(&numbers);
            async move { numbers.take().await.sequence }
        });
        tokio::task::yield_now().await;
        drop(oldest);
        assert_eq!(waiting.await.unwrap(), WINDOW + 1);
    }
}
