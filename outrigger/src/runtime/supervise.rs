//! The end of a node: whatever ended it, everything that belongs to it ends in order, and those who wait are told.
//!
//! ```text
//!   RaftCore ends ──► inbox closed, transport stopped ──► worker, builds end ──► log written, its threads end ──► told
//! ```

use std::sync::Arc;
use std::thread::JoinHandle as ThreadHandle;

use tokio::task::JoinHandle;

use super::apply::{Job, Jobs};
use super::arrivals::Inbox;
use super::log_writer::WriteQueue;
use super::preparer::Bell;
use super::snapshot::SnapshotsEnd;
use crate::LargeStateMachine;
use crate::metrics::Metrics;
use crate::network::Transport;
use crate::watch;

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Told,
    /// By a fault, for people.
    Fault(String),
}

/// What hosts a log writer.
pub(crate) enum Hosted {
    Thread(ThreadHandle<()>),
    Task(JoinHandle<Option<String>>),
}

/// The threads of a node. When this is dropped they end by themselves; [`Threads::join`] waits for that.
#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) writer: Option<(Arc<WriteQueue>, Hosted)>,
    pub(crate) preparer: Option<(Arc<Bell>, ThreadHandle<()>)>,
}

impl Threads {
    fn close(&self) {
        if let Some((queue, _)) = &self.writer {
            queue.close();
        }
        if let Some((bell, _)) = &self.preparer {
            bell.close();
        }
    }

    /// Lets the threads finish what was queued, and waits for them. A fault if one of them panicked.
    async fn join(mut self) -> Option<String> {
        self.close();
        let mut threads: Vec<_> = self.preparer.take().map(|(_, thread)| thread).into_iter().collect();
        let mut is_clean = true;
        match self.writer.take() {
            Some((_, Hosted::Thread(thread))) => threads.push(thread),
            Some((_, Hosted::Task(task))) => is_clean = task.await.is_ok(),
            None => {}
        }
        if !threads.is_empty() {
            let joined = move || threads.into_iter().map(ThreadHandle::join).all(|end| end.is_ok());
            is_clean &= tokio::task::spawn_blocking(joined).await.unwrap_or(false);
        }
        (!is_clean).then(|| "a thread of the log panicked; this is a bug".to_owned())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

/// A node that runs, seen from where its end is seen to.
pub(crate) struct Supervisor<S: LargeStateMachine> {
    pub(crate) core: JoinHandle<Option<String>>,
    pub(crate) worker: JoinHandle<Option<String>>,
    pub(crate) threads: Threads,
    pub(crate) snapshots: SnapshotsEnd,
    pub(crate) inbox: Arc<Inbox<S>>,
    pub(crate) jobs: Arc<Jobs<S>>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) metrics: Arc<watch::Sender<Arc<Metrics>>>,
    pub(crate) end: watch::Sender<Option<End>>,
}

impl<S: LargeStateMachine> Supervisor<S> {
    /// Waits for the end and sees to it.
    pub(crate) async fn run(self) {
        let fault = self.core.await.unwrap_or_else(|error| Some(format!("RaftCore failed ({error}); this is a bug")));
        self.inbox.close();
        self.transport.stop();
        let _: Option<()> = self.jobs.put(|jobs| jobs.push(Job::Stop));
        let worker = self.worker.await.err().map(|error| format!("the state machine worker failed ({error})"));
        self.snapshots.reached().await;
        let threads = self.threads.join().await;
        let fault = fault.or(worker).or(threads);
        self.metrics.send_if_modified(|metrics| {
            let is_news = metrics.fault != fault;
            Arc::make_mut(metrics).fault.clone_from(&fault);
            is_news
        });
        self.end.send_if_modified(|end| {
            *end = Some(fault.map_or(End::Told, End::Fault));
            true
        });
    }
}
