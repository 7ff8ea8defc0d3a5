//! Where a node lives: what it takes from its surroundings, beside its transport, its log and tokio's clock.
//!
//! ```text
//!                      on a machine                          in a simulation
//!   random        from the operating system              from a seed
//!   processors    as many as there are                   as many as the simulation says
//!   spawn         tokio::spawn                           the same, and the task can be killed with its node
//!   disk          real: whatever waits for it            simulated: asked within tasks, takes a time that is drawn,
//!                 gets a thread that it may block        and blocks nobody
//!   now, sleep    tokio's clock                          tokio's clock, paused: it leaps when nothing is left to do
//! ```
//!
//! A node decides nothing by a clock of the system, by the order of a hash map or by which thread was faster. So a node
//! whose environment is simulated, on one thread, lives through the same history as often as its seed is run.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

/// A task of a node; it answers the fault that has ended it, for people.
pub type Task = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A task that has no fault to answer.
pub(crate) fn task(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Box::pin(async {
        work.await;
        None
    })
}

/// What a node takes from its surroundings, beside its transport, its log and tokio's clock, which a test can pause. Set by
/// [`Builder::environment`](crate::Builder::environment), and not needed but for simulations.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use outrigger::runtime::{Environment, Task};
/// use tokio::task::JoinHandle;
///
/// /// All of it follows from one number.
/// struct Simulated(AtomicU64);
///
/// impl Environment for Simulated {
///     fn random(&self) -> u64 {
///         self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).rotate_left(17)
///     }
///     fn processors(&self) -> usize {
///         1
///     }
///     fn spawn(&self, task: Task) -> JoinHandle<Option<String>> {
///         tokio::spawn(task)
///     }
///     fn disk_time(&self) -> Option<Duration> {
///         Some(Duration::from_millis(self.random() % 10))
///     }
/// }
/// ```
pub trait Environment: Send + Sync + 'static {
    /// A number that nobody else draws: of it are made the names of new logs and the times of elections.
    fn random(&self) -> u64;

    /// How many threads run at the same time. With one, nobody keeps it busy to look for what another may bring.
    fn processors(&self) -> usize;

    /// Starts a task of the node, on the runtime that this is called on.
    fn spawn(&self, task: Task) -> JoinHandle<Option<String>>;

    /// How long the disk takes for what it is about to be asked. `None` if the disk is real: then nobody knows, and the
    /// log's work is done on threads of its own, which may block. Always `None`, or always not.
    fn disk_time(&self) -> Option<Duration>;
}

/// The machine that the process runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine;

impl Environment for Machine {
    /// Nobody can foresee it: the standard library draws the keys of its hash maps from the system.
    fn random(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn processors(&self) -> usize {
        // Where the system does not say, there are as many as most machines have.
        std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
    }

    fn spawn(&self, task: Task) -> JoinHandle<Option<String>> {
        tokio::spawn(task)
    }

    fn disk_time(&self) -> Option<Duration> {
        None
    }
}

/// Does what waits for the disk, where it holds up nobody.
///
/// # Errors
/// When it panics, or its thread ends with the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    environment: &dyn Environment,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match environment.disk_time() {
        None => tokio::task::spawn_blocking(work).await,
        Some(time) => {
            tokio::time::sleep(time).await;
            Ok(work())
        }
    }
}
