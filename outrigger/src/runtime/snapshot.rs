//! Snapshots on their way to and from the disk: short-lived tasks, so that applying, writing and voting go on meanwhile.
//!
//! ```text
//!   worker ── BuildSnapshot: view of the state ──► task: write ──(pace)──► SnapshotStore ── SnapshotBuilt ──► RaftCore
//!   RaftCore ── ReceiveSnapshot: one piece ──────► task ────────────────► SnapshotStore ── SnapshotReceived ─► RaftCore
//!   stream ── SendSnapshot ── read one piece ◄─────────────────(pace)──── SnapshotStore
//!   worker ── InstallSnapshot: the state ── restore ◄──────────────────── SnapshotStore
//! ```
//!
//! Whatever the size of a state, no more than a block of it and a piece are in memory here. What is built and what is sent keep a
//! pace, each one of its own: nobody needs a snapshot as soon as all else.
//!
//! When the node ends, a build is given up where it is, and whatever has a snapshot in hand is waited for: until then the
//! directory is in use.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{Event, LogIndex, Snapshot, SnapshotId, StateHash};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::encoded::panic_caught;
use super::ending::Ending;
use super::environment::{Environment, blocking, task};
use super::pace::Pace;
use super::sessions::{Replicated, ReplicatedView, StateView};
use crate::LargeStateMachine;
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
    ending: Arc<Ending>,
    /// How fast states are written...
    building: Mutex<Pace>,
    /// ... and snapshots are sent, to all peers together.
    sending: Mutex<Pace>,
    /// What the moments of both are counted from...
    origin: Instant,
    /// ... and by threads, which wait by the system's clock, also where tokio's is paused.
    origin_of_threads: std::time::Instant,
    /// Whether the disk is simulated: whoever waits for it must not block.
    is_simulated: bool,
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
    ending: Arc<Ending>,
    in_use: mpsc::Receiver<()>,
}

impl SnapshotsEnd {
    /// Gives up what is being built, and waits until nobody has a snapshot in hand any more.
    pub(crate) async fn reached(mut self) {
        self.ending.begin();
        let nothing = self.in_use.recv().await;
        assert!(nothing.is_none(), "nobody sends anything here");
    }
}

/// So much of a state is written at a time, however much comes.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// However the node ends, nobody keeps its pace any longer.
impl Drop for SnapshotsEnd {
    fn drop(&mut self) {
        self.ending.begin();
    }
}

/// Where a state is written to, at its pace, until the node ends.
struct Paced<'a> {
    out: &'a mut dyn io::Write,
    shared: &'a Shared,
    /// On a simulated disk, how long it has yet to take.
    owed: &'a mut Duration,
}

impl Paced<'_> {
    /// Waits for the turn of so many bytes; answers whether it comes before the node's end.
    fn wait(&mut self, bytes: usize) -> bool {
        let Shared { building, ending, origin, origin_of_threads, is_simulated, .. } = self.shared;
        if *is_simulated {
            // Nobody else writes meanwhile, and the clock stands still.
            *self.owed = locked(building).take(bytes, origin.elapsed());
            return !ending.has_begun();
        }
        let wait = locked(building).take(bytes, origin_of_threads.elapsed());
        !ending.begins_within(wait)
    }
}

impl io::Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is written at once is waited for at once.
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        match self.wait(bytes.len()) {
            true => self.out.write(bytes),
            false => Err(io::Error::other("the node ends")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn locked(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    // It is whole at every moment.
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SnapshotAccess {
    /// `bytes_per_second_max` is the pace; 0 for none.
    pub(crate) fn new(
        store: Arc<dyn SnapshotStore>,
        environment: Arc<dyn Environment>,
        bytes_per_second_max: u64,
    ) -> (Self, SnapshotsEnd) {
        let (sender, in_use) = mpsc::channel(1);
        let ending = Arc::new(Ending::default());
        let pace = || Mutex::new(Pace::new(bytes_per_second_max));
        let shared = Shared {
            store,
            ending: Arc::clone(&ending),
            building: pace(),
            sending: pace(),
            origin: Instant::now(),
            origin_of_threads: std::time::Instant::now(),
            is_simulated: environment.disk_time().is_some(),
            _in_use: sender,
        };
        (Self { shared: Arc::new(shared), environment }, SnapshotsEnd { ending, in_use })
    }

    pub(crate) fn source(&self) -> SnapshotSource {
        SnapshotSource { shared: Arc::downgrade(&self.shared), environment: Arc::clone(&self.environment) }
    }

    /// Builds one of a state; tells what came of it.
    pub(crate) fn build<S: LargeStateMachine>(
        &self,
        of: Moment,
        view: ReplicatedView<S>,
        tell: impl FnOnce(Event) + Send + 'static,
    ) {
        let own = self.clone();
        let work = async move {
            let (shared, last) = (Arc::clone(&own.shared), of.last);
            let build = move || {
                let mut owed = Duration::ZERO;
                let content =
                    &mut |out: &mut dyn io::Write| view.write(&mut Paced { out, shared: &shared, owed: &mut owed });
                let built = panic_caught(|| shared.store.build(&of, content));
                (built.unwrap_or_else(|panic| Ok(Built::Not(panic))), owed)
            };
            let built = blocking(own.environment.as_ref(), build).await;
            let (built, owed) = built.unwrap_or_else(|error| (Ok(Built::Not(error.to_string())), Duration::ZERO));
            own.shared.ending.or_after(owed).await;
            tell(match built {
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

    /// Hashes a state; tells what came of it, `None` if nothing.
    pub(crate) fn hash<S: LargeStateMachine>(
        &self,
        at: LogIndex,
        view: StateView<S>,
        tell: impl FnOnce(Option<StateHash>) + Send + 'static,
    ) {
        let own = self.clone();
        let work = async move {
            let shared = Arc::clone(&own.shared);
            let hash = move || {
                let mut owed = Duration::ZERO;
                let mut paced = Paced { out: &mut io::sink(), shared: &shared, owed: &mut owed };
                let mut pace = |bytes| if paced.wait(bytes) { Ok(()) } else { Err(io::Error::other("the node ends")) };
                let hashed = panic_caught(|| view.hash(&mut pace));
                (hashed.unwrap_or_else(|panic| Err(io::Error::other(panic))), owed)
            };
            let hashed = blocking(own.environment.as_ref(), hash).await;
            let (hashed, owed) = hashed.unwrap_or_else(|error| (Err(io::Error::other(error)), Duration::ZERO));
            own.shared.ending.or_after(owed).await;
            tell(match hashed {
                Ok(hash) => Some(hash),
                Err(error) => {
                    tracing::warn!(%at, %error, "the state was not hashed, and is not compared this time");
                    None
                }
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
            let is_question = chunk.is_empty();
            let receive = move || shared.store.receive(&snapshot, offset, &chunk);
            let received = blocking(own.environment.as_ref(), receive).await;
            tell(match received.unwrap_or_else(|error| Ok(Received::Spoiled(error.to_string()))) {
                Ok(Received::Held(held)) => {
                    if held == id.bytes {
                        tracing::info!(snapshot = %id, "a snapshot has come from another node");
                    } else if is_question {
                        tracing::info!(snapshot = %id, held, "a snapshot is coming from another node");
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

    /// Whether another one of the same entries has taken the place of this one.
    pub(crate) fn is_replaced(&self, id: SnapshotId) -> bool {
        self.shared.store.newest().is_some_and(|newest| newest.id.last == id.last && newest.id != id)
    }

    /// Waits until so many bytes of a snapshot may be sent.
    pub(crate) async fn sending(&self, bytes: usize) {
        let wait = locked(&self.shared.sending).take(bytes, self.shared.origin.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Has a state take in what a snapshot holds. After a failure it must not be used; it is not even there when the thread
    /// that worked on it has ended.
    pub(crate) async fn load<S: LargeStateMachine>(
        &self,
        id: SnapshotId,
        mut replicated: Replicated<S>,
    ) -> (Option<Replicated<S>>, Result<(), String>) {
        let shared = Arc::clone(&self.shared);
        let load = move || {
            let content = shared.store.content(id).map_err(|error| error.reason);
            let restored = content.and_then(|content| panic_caught(|| replicated.restore(content, id.last))?);
            (Some(replicated), restored)
        };
        let loaded = blocking(self.environment.as_ref(), load).await;
        let (replicated, restored) = loaded.unwrap_or_else(|error| (None, Err(error.to_string())));
        (replicated, restored.map_err(|reason| format!("the snapshot {id} cannot be taken in: {reason}")))
    }
}

#[cfg(test)]
mod tests;
