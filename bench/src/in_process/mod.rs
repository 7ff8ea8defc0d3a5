//! Three nodes in one process and the clients of their leader: what comparisons of the framework alone are made of.
//!
//! Each sample builds a fresh cluster, elects, warms up, measures, checks that the leader has done exactly what was answered, and
//! stops the cluster. So no sample inherits memory from another, and only one contestant is alive at a time.

mod load;
pub(crate) mod ours;

use std::fmt::Display;
use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

use self::load::drive;
pub(crate) use self::load::{Load, Quota};
use crate::alternate::Contestant;
use crate::report::ReportError;

/// Nodes of a cluster, with the ids 1, 2 and 3 or 0, 1 and 2.
pub(crate) const NODES: u64 = 3;
/// A warm-up is this part of a sample.
const WARM_UP_PART: u32 = 5;

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// A cluster did not come up.
    #[error("{contestant}: the cluster did not start: {cause}")]
    Start {
        /// Whose cluster.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// A write or a read failed, which none may: nobody crashes and nothing is lost here.
    #[error("{contestant}: a request failed: {cause}; rerun with fewer --clients to see whether it is overload")]
    Write {
        /// Whose request.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// A cluster did not stop.
    #[error("{contestant}: the cluster did not stop: {cause}")]
    Stop {
        /// Whose cluster.
        contestant: &'static str,
        /// What it said.
        cause: String,
    },
    /// Writes wait, but the leader applies none.
    #[error("the leader has applied {applied} writes and then none for {seconds} s, while clients wait for answers")]
    Stalled {
        /// Writes applied so far.
        applied: u64,
        /// How long it has been still.
        seconds: u64,
    },
    /// What was answered and what was applied differ: the figure would be a lie.
    #[error("{contestant}: {answered} writes were answered, but the leader has applied {applied}; this figure is void")]
    Miscounted {
        /// Whose leader.
        contestant: &'static str,
        /// Writes answered.
        answered: u64,
        /// Writes applied.
        applied: u64,
    },
    /// A client's task ended without a result.
    #[error("a client did not finish: {0}")]
    Client(String),
    /// A runtime could not be built.
    #[error("cannot start the threads of a runtime: {0}; lower --server-workers or the limit on threads is too low")]
    Runtime(#[from] io::Error),
    /// The figures could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl Failure {
    /// A [`Failure::Start`].
    pub(crate) fn start(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Start { contestant, cause: cause.to_string() }
    }

    /// A [`Failure::Write`].
    pub(crate) fn write(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Write { contestant, cause: cause.to_string() }
    }

    /// A [`Failure::Stop`].
    pub(crate) fn stop(contestant: &'static str, cause: &dyn Display) -> Self {
        Self::Stop { contestant, cause: cause.to_string() }
    }
}

/// Three nodes of a contestant, on the runtime that started them.
pub(crate) trait Cluster: Sized + Send + 'static {
    /// What tables and errors call the contestant.
    const NAME: &'static str;
    /// The handle that clients write by.
    type Leader: Leader;

    /// Starts [`NODES`] nodes and waits until one of them leads.
    fn start() -> impl Future<Output = Result<Self, Failure>> + Send;
    /// A handle of the node that leads.
    fn leader(&self) -> Self::Leader;
    /// Stops all nodes and waits for their end.
    fn stop(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A handle of the leading node. It writes to that node only: nothing is forwarded.
pub(crate) trait Leader: Clone + Send + Sync + 'static {
    /// Makes an empty request and awaits its applied, empty answer.
    fn write(&self) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Makes `entries` empty requests at once and awaits all their answers.
    fn write_many(&self, entries: u64) -> impl Future<Output = Result<(), Failure>> + Send;
    /// How many requests this node's state machine has served.
    fn applied(&self) -> u64;
}

/// `C` as a contestant under one load.
pub(crate) fn contestant<'a, C: Cluster>(load: Load, server_workers: u16) -> Contestant<'a, Failure> {
    Contestant { name: C::NAME, sample: Box::new(move || sample::<C>(load, server_workers)) }
}

/// One sample: a fresh cluster, a warm-up, the measured run, the check of the count, the end of the cluster.
pub(crate) fn sample<C: Cluster>(load: Load, server_workers: u16) -> Result<f64, Failure> {
    let warm_up = match load.quota {
        Quota::Time(time) => Quota::Time(time / WARM_UP_PART),
        Quota::Entries(entries) => Quota::Entries(entries.div_ceil(u64::from(WARM_UP_PART))),
    };
    let servers = runtime("server", server_workers)?;
    let clients = runtime("client", 1)?;
    let cluster = finish(&servers, C::start())?;
    let leader = cluster.leader();
    let warmed = finish(&clients, drive(leader.clone(), Load { quota: warm_up, ..load }))?;
    let measured = finish(&clients, drive(leader.clone(), load))?;
    let (answered, applied) = (warmed.entries + measured.entries, leader.applied());
    if answered != applied {
        return Err(Failure::Miscounted { contestant: C::NAME, answered, applied });
    }
    finish(&servers, cluster.stop())?;
    Ok(measured.rate())
}

/// A runtime whose tasks all run on `workers` threads of its own.
fn runtime(name: &str, workers: u16) -> Result<Runtime, Failure> {
    let runtime =
        Builder::new_multi_thread().worker_threads(usize::from(workers)).thread_name(name).enable_time().build()?;
    Ok(runtime)
}

/// Runs `work` on the workers of `runtime`, not on the calling thread, and waits for it.
fn finish<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    runtime.block_on(runtime.spawn(work)).map_err(|cause| Failure::Client(cause.to_string()))?
}
