//! One life of a node, as its environment: what hosts its tasks and can end all of them at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outrigger::runtime::{Environment, Task};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::plan::Plan;
use crate::rng::Rng;

/// See the module.
pub(crate) struct Life {
    rng: Mutex<Rng>,
    /// All tasks that it ever hosted.
    tasks: Mutex<Vec<AbortHandle>>,
    /// Until when the disk answers nothing that it is asked.
    hangs_until: Mutex<Instant>,
    processors: usize,
    /// How long the disk takes, at most, in microseconds.
    disk_max: u64,
    /// Whether the disk answers nothing any more; so it is when the life was ended.
    has_no_disk: AtomicBool,
    /// Whether it was ended.
    has_ended: AtomicBool,
    /// Rings when it is.
    end: Notify,
}

impl Life {
    pub(crate) fn new(rng: Rng, plan: &Plan) -> Self {
        Self {
            rng: Mutex::new(rng),
            tasks: Mutex::new(Vec::new()),
            hangs_until: Mutex::new(Instant::now()),
            processors: plan.processors,
            disk_max: plan.disk_max,
            has_no_disk: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Ends it: none of its tasks runs again, not even the one that calls this.
    pub(crate) fn end(&self) {
        self.lose_disk();
        self.has_ended.store(true, Ordering::Relaxed);
        lock(&self.tasks).iter().for_each(AbortHandle::abort);
        self.end.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// From now on the disk answers nothing; the end is near.
    pub(crate) fn lose_disk(&self) {
        self.has_no_disk.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_disk(&self) -> bool {
        !self.has_no_disk.load(Ordering::Relaxed)
    }

    /// Whether the task that runs now is one of its own.
    pub(crate) fn hosts_this_task(&self) -> bool {
        let this = tokio::task::try_id();
        lock(&self.tasks).iter().any(|task| Some(task.id()) == this)
    }

    /// Waits until it is ended. For one at a time.
    pub(crate) async fn ended(&self) {
        while !self.has_ended() {
            self.end.notified().await;
        }
    }

    /// How many of its tasks are left.
    pub(crate) fn tasks_left(&self) -> usize {
        lock(&self.tasks).iter().filter(|task| !task.is_finished()).count()
    }

    /// Lets the disk hang from now on, for so long; whatever it is asked meanwhile waits.
    pub(crate) fn hang(&self, time: Duration) {
        *lock(&self.hangs_until) = Instant::now() + time;
    }
}

impl Environment for Life {
    fn random(&self) -> u64 {
        lock(&self.rng).next()
    }

    fn processors(&self) -> usize {
        self.processors
    }

    fn spawn(&self, task: Task) -> JoinHandle<Option<String>> {
        let task = tokio::spawn(task);
        lock(&self.tasks).push(task.abort_handle());
        task
    }

    fn disk_time(&self) -> Option<Duration> {
        let hang = lock(&self.hangs_until).saturating_duration_since(Instant::now());
        Some(hang + Duration::from_micros(lock(&self.rng).below(self.disk_max)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
