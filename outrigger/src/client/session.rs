//! Sessions of a client: its own, in which [`Client::write`] numbers what it writes, and those that a caller begins.
//!
//! ```text
//!   write ──► pool: a session with room ─┬─► number ──► asked here and there until it is answered
//!                     none: register one ┘       ▲
//!                                                └── expired before anything was lost: another session
//! ```
//!
//! The sessions of the pool are not kept alive while nobody writes: an idle client costs the cluster nothing, and the next
//! write after their time to live takes one entry more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use outrigger_engine::SessionId;
use tokio::time::{Duration, Instant, timeout_at};

use super::protocol::{self, Operation};
use super::{Client, ClientError, Shared, decode, encode};
use crate::Query;
use crate::session::{Number, Numbers};

/// So many new sessions one write takes without a pause...
const FRESH_AT_ONCE: u32 = 2;
/// ... and then one in so long.
const PAUSE_BETWEEN_SESSIONS: Duration = Duration::from_millis(100);

/// The sessions in which a client numbers its writes: as many as it takes to hold all that is under way.
#[derive(Default)]
pub(super) struct Pool {
    /// The first that has room is used, so that those go that are not needed any more.
    held: Mutex<Vec<(SessionId, Arc<Numbers>)>>,
    /// Taken by who registers another one; the others wait and look again.
    registering: tokio::sync::Mutex<()>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<(SessionId, Arc<Numbers>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is gone. So are those behind it, which are used only when it is full: all of them expire while nobody writes,
    /// and a write should not try one after the other.
    fn forget(&self, expired: SessionId) {
        let mut held = self.lock();
        if let Some(place) = held.iter().position(|(session, _)| *session == expired) {
            held.truncate(place);
        }
    }

    fn try_take(&self) -> Option<(SessionId, Number)> {
        self.lock().iter().find_map(|(session, numbers)| Some((*session, numbers.try_take()?)))
    }
}

impl Shared {
    /// Writes a command exactly once.
    pub(super) async fn write_once(
        &self,
        command: Bytes,
        time_to_live: Duration,
        patience: Duration,
    ) -> Result<Bytes, ClientError> {
        let deadline = Instant::now() + patience;
        let mut expired = 0;
        loop {
            let (session, number) = self.number(time_to_live, deadline, patience).await?;
            let operation = Operation::WriteOnce { session, sequence: number.sequence };
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = self.ask(operation, command.clone(), left).await;
            if let Err(ClientError::SessionExpired { in_doubt }) = outcome {
                self.pool.forget(session);
                if !in_doubt {
                    // It expired while the client was idle, and certainly nothing was applied. One that is kept for too short a
                    // time expires before it is used, and the next will, too.
                    expired += 1;
                    let pause = if expired > FRESH_AT_ONCE { PAUSE_BETWEEN_SESSIONS } else { Duration::ZERO };
                    tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
                    continue;
                }
            }
            return outcome.map(|(_, response)| response);
        }
    }

    /// A number in a session that has room.
    async fn number(
        &self,
        time_to_live: Duration,
        deadline: Instant,
        patience: Duration,
    ) -> Result<(SessionId, Number), ClientError> {
        if let Some(taken) = self.pool.try_take() {
            return Ok(taken);
        }
        let late = || ClientError::NotApplied { waited: patience, reason: "no session was registered".to_owned() };
        let _turn = timeout_at(deadline, self.pool.registering.lock()).await.map_err(|_| late())?;
        if let Some(taken) = self.pool.try_take() {
            return Ok(taken);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let session = self.register(time_to_live, left).await?;
        let numbers = Numbers::new();
        let number = numbers.try_take().ok_or_else(late)?;
        self.pool.lock().push((session, numbers));
        Ok((session, number))
    }

    async fn register(&self, time_to_live: Duration, patience: Duration) -> Result<SessionId, ClientError> {
        let milliseconds = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX);
        let registered = self.ask(Operation::RegisterSession, protocol::encode_number(milliseconds), patience).await;
        let (_, session) = registered.map_err(|error| match error {
            // Without a session, the write that wanted one was not sent.
            ClientError::NotAnswered { waited, reason } => ClientError::NotApplied { waited, reason },
            error => error,
        })?;
        let session = protocol::decode_number(session);
        session.map(SessionId).map_err(|error| ClientError::Decode { reason: error.to_string() })
    }
}

/// A session of a client that its caller holds: see [`Session`](crate::Session), which is the same on a node itself. Cheap to
/// clone; the clones share one session.
///
/// ```no_run
/// # async fn example<S: outrigger::Query<Command = u64>>(client: outrigger::Client<S>) -> Result<(), outrigger::ClientError> {
/// let session = client.session().await?;
/// session.write(5).await?;
/// # Ok(())
/// # }
/// ```
pub struct ClientSession<S> {
    client: Client<S>,
    id: SessionId,
    numbers: Arc<Numbers>,
}

impl<S> Clone for ClientSession<S> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), id: self.id, numbers: Arc::clone(&self.numbers) }
    }
}

impl<S: Query> ClientSession<S> {
    pub(super) async fn begin(client: Client<S>, time_to_live: Duration) -> Result<Self, ClientError> {
        let id = client.shared.register(time_to_live, client.patience).await?;
        Ok(Self { client, id, numbers: Numbers::new() })
    }

    /// Its id: the index of the entry that registered it.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Replicates and applies a command, exactly once, and returns its response. It is tried until the client's
    /// [time](Client::with_timeout) is over. Many may be under way at once; beyond a
    /// [window](crate::runtime::sessions::WINDOW) they wait for each other.
    ///
    /// # Errors
    /// [`ClientError::SessionExpired`], which says whether an earlier try may have been applied; the others as
    /// [`Client::write`].
    pub async fn write(&self, command: S::Command) -> Result<S::Response, ClientError> {
        let command = encode(&command)?;
        let patience = self.client.patience;
        let deadline = Instant::now() + patience;
        let number = timeout_at(deadline, self.numbers.take()).await.map_err(|_| ClientError::NotApplied {
            waited: patience,
            reason: "all numbers of the session are being tried".to_owned(),
        })?;
        let operation = Operation::WriteOnce { session: self.id, sequence: number.sequence };
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, response) = self.client.shared.ask(operation, command, left).await?;
        decode(&response)
    }

    /// Keeps the session for another time to live, as a write does.
    ///
    /// Dropping the future leaves open whether it was kept.
    ///
    /// # Errors
    /// [`ClientError::SessionExpired`] when it is gone already; the others as for a query.
    pub async fn keep_alive(&self) -> Result<(), ClientError> {
        let (shared, patience) = (&self.client.shared, self.client.patience);
        shared.ask(Operation::KeepAlive { session: self.id }, Bytes::new(), patience).await.map(drop)
    }
}
