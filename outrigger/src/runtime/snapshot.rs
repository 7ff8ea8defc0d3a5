//! Snapshots on their way to and from the disk: short-lived tasks, so that applying, writing and voting go on meanwhile.
//!
//! ```text
//!   worker ── BuildSnapshot: clone of the state ──► task: encode ──► SnapshotStore ── SnapshotBuilt ──► RaftCore
//!   RaftCore ── ReceiveSnapshot: one piece ───────► task ──────────► SnapshotStore ── SnapshotReceived ─► RaftCore
//!   stream ── SendSnapshot ── read one piece ◄────────────────────── SnapshotStore
//!   worker ── InstallSnapshot ── decode ◄──────────────────────────── SnapshotStore
//! ```
//!
//! When the node ends, a build is given up where it is, and whatever has a snapshot in hand is waited for: until then the
//! directory is in use.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use outrigger_engine::{Event, Snapshot, SnapshotId};
use tokio::sync::mpsc;

use super::encoded::panic_caught;
use super::environment::{Environment, blocking, task};
use super::sessions::Replicated;
use crate::StateMachine;
use crate::store::{Built, Moment, Received, SnapshotStore, StorageError};

/// How a node's tasks come at its snapshots without holding up each other.
#[derive(Clone)]
pub(crate) struct SnapshotAccess {
    shared: Arc<Shared>,
    environment: Arc<dyn Environment>,
}

/// Held by whatever has a snapshot in hand.
struct Shared {
    store: Arc<dyn SnapshotStore>,
    /// Whether the node ends.
    is_ending: Arc<AtomicBool>,
    /// Closes when this is gone, behind the store.
    _in_use: mpsc::Sender<()>,
}

/// How a handle, which may outlive its node, comes at the node's snapshots. It keeps nobody waiting.
#[derive(Clone)]
pub(crate) struct SnapshotSource {
    shared: Weak<Shared>,
    environment: Arc<dyn Environment>,
}

impl SnapshotSource {
    /// The newest one, and a stream of what it holds, which goes on when a newer one has taken its place; `None` once the node
    /// has ended.
    pub(crate) async fn newest(&self) -> Option<Result<(Arc<Snapshot>, Box<dyn Read + Send>), StorageError>> {
        let shared = self.shared.upgrade()?;
        let open = move || {
            loop {
                let newest = shared.store.newest().ok_or_else(|| StorageError::new("there is no snapshot"))?;
                match shared.store.content(newest.id) {
                    Ok(content) => return Ok((newest, content)),
                    // A newer one has come in between.
                    Err(_) if shared.store.newest().is_some_and(|now| now.id != newest.id) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        self.work(open).await
    }

    /// Does what may take long where it holds up nobody; `None` if it cannot be done any more.
    pub(crate) async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        blocking(self.environment.as_ref(), work).await.ok()
    }
}

/// The end of all accesses to one node's snapshots.
pub(crate) struct SnapshotsEnd {
    is_ending: Arc<AtomicBool>,
    in_use: mpsc::Receiver<()>,
}

impl SnapshotsEnd {
    /// Gives up what is being built, and waits until nobody has a snapshot in hand any more.
    pub(crate) async fn reached(mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let nothing = self.in_use.recv().await;
        assert!(nothing.is_none(), "nobody sends anything here");
    }
}

/// Where a state is written to, until the node ends.
struct Interruptible<'a> {
    out: &'a mut dyn io::Write,
    is_ending: &'a AtomicBool,
}

impl io::Write for Interruptible<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.is_ending.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the node ends")),
            false => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl SnapshotAccess {
    pub(crate) fn new(store: Arc<dyn SnapshotStore>, environment: Arc<dyn Environment>) -> (Self, SnapshotsEnd) {
        let (sender, in_use) = mpsc::channel(1);
        let is_ending = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared { store, is_ending: Arc::clone(&is_ending), _in_use: sender });
        (Self { shared, environment }, SnapshotsEnd { is_ending, in_use })
    }

    pub(crate) fn source(&self) -> SnapshotSource {
        SnapshotSource { shared: Arc::downgrade(&self.shared), environment: Arc::clone(&self.environment) }
    }

    /// Builds one of a state; tells what came of it.
    pub(crate) fn build<S: StateMachine>(
        &self,
        of: Moment,
        state: Replicated<S>,
        tell: impl FnOnce(Event) + Send + 'static,
    ) {
        let own = self.clone();
        let work = async move {
            let (shared, last) = (Arc::clone(&own.shared), of.last);
            let build = move || {
                let is_ending = &shared.is_ending;
                let content = &mut |out: &mut dyn io::Write| state.write(&mut Interruptible { out, is_ending });
                panic_caught(|| shared.store.build(&of, content)).unwrap_or_else(|panic| Ok(Built::Not(panic)))
            };
            let built = blocking(own.environment.as_ref(), build).await;
            tell(match built.unwrap_or_else(|error| Ok(Built::Not(error.to_string()))) {
                Ok(Built::Snapshot(snapshot)) => {
                    tracing::debug!(snapshot = %snapshot.id, "a snapshot was taken");
                    Event::SnapshotBuilt { snapshot }
                }
                Ok(Built::Not(reason)) => {
                    tracing::warn!(%last, reason, "no snapshot was taken; it is tried again later");
                    Event::SnapshotFailed { reason }
                }
                Err(StorageError { reason }) => Event::StorageFailed { reason },
            });
        };
        self.environment.spawn(task(work));
    }

    /// Keeps a piece that has come; tells what came of it.
    pub(crate) fn receive(
        &self,
        snapshot: Arc<Snapshot>,
        offset: u64,
        chunk: Bytes,
        tell: impl FnOnce(Event) + Send + 'static,
    ) {
        let own = self.clone();
        let work = async move {
            let (shared, id) = (Arc::clone(&own.shared), snapshot.id);
            let receive = move || shared.store.receive(&snapshot, offset, &chunk);
            let received = blocking(own.environment.as_ref(), receive).await;
            tell(match received.unwrap_or_else(|error| Ok(Received::Spoiled(error.to_string()))) {
                Ok(Received::Held(held)) => {
                    if held == id.bytes {
                        tracing::info!(snapshot = %id, "a snapshot has come from the leader");
                    }
                    Event::SnapshotReceived { id, held }
                }
                Ok(Received::Spoiled(reason)) => {
                    tracing::warn!(snapshot = %id, reason, "a snapshot from the leader is not kept; it is sent again");
                    Event::SnapshotSpoiled { id, reason }
                }
                Err(StorageError { reason }) => Event::StorageFailed { reason },
            });
        };
        self.environment.spawn(task(work));
    }

    /// A piece of one, to send; `None` if it is not there any more.
    pub(crate) async fn read(
        &self,
        id: SnapshotId,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, StorageError> {
        let shared = Arc::clone(&self.shared);
        if bytes_max == 0 {
            // Nothing but a question.
            return Ok(shared.store.newest().filter(|newest| newest.id == id).map(|_| Bytes::new()));
        }
        let read = blocking(self.environment.as_ref(), move || shared.store.read(id, offset, bytes_max)).await;
        read.unwrap_or_else(|error| Err(StorageError::new(format!("the read ended early: {error}"))))
    }

    /// The state that one holds.
    pub(crate) async fn load<S: StateMachine>(&self, id: SnapshotId) -> Result<Replicated<S>, String> {
        let shared = Arc::clone(&self.shared);
        let load = move || {
            let mut content = Vec::with_capacity(usize::try_from(id.bytes).unwrap_or(0));
            let mut reader = shared.store.content(id).map_err(|error| error.reason)?;
            reader.read_to_end(&mut content).map_err(|error| error.to_string())?;
            panic_caught(|| Replicated::read(&content))?
        };
        let loaded = blocking(self.environment.as_ref(), load).await;
        let loaded = loaded.unwrap_or_else(|error| Err(error.to_string()));
        loaded.map_err(|reason| format!("the snapshot {id} cannot be taken in: {reason}"))
    }
}
