//! The end of a node, for those who wait for something else: on a thread that they block, or in a task.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Whether a node ends.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    has_begun: Mutex<bool>,
    /// Wakes threads...
    begins: Condvar,
    /// ... and tasks.
    tasks: Notify,
}

impl Ending {
    /// The node ends: nobody waits any longer.
    pub(crate) fn begin(&self) {
        *self.has_begun.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.begins.notify_all();
        self.tasks.notify_waiters();
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.has_begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread for so long, or until the node ends; answers whether it does.
    pub(crate) fn begins_within(&self, time: Duration) -> bool {
        if time.is_zero() {
            return self.has_begun();
        }
        let has_begun = self.has_begun.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.begins.wait_timeout_while(has_begun, time, |has_begun| !*has_begun);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for so long, or until the node ends.
    pub(crate) async fn or_after(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let begins = self.tasks.notified();
        if !self.has_begun() {
            let _: Result<(), _> = tokio::time::timeout(time, begins).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_thread_that_waits_is_woken_by_the_end() {
        let ending = Arc::new(Ending::default());
        assert!(!ending.begins_within(Duration::from_millis(1)));
        let other = Arc::clone(&ending);
        let waits = std::thread::spawn(move || other.begins_within(LONG));
        ending.begin();
        assert!(waits.join().unwrap(), "it was told of the end");
        assert!(ending.begins_within(LONG), "and whoever comes later does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_is_woken_by_the_end() {
        let ending = Arc::new(Ending::default());
        let began = tokio::time::Instant::now();
        ending.or_after(LONG).await;
        assert_eq!(began.elapsed(), LONG);
        let other = Arc::clone(&ending);
        let waits = tokio::spawn(async move { other.or_after(LONG).await });
        tokio::task::yield_now().await;
        ending.begin();
        waits.await.unwrap();
        ending.or_after(LONG).await;
        assert_eq!(began.elapsed(), LONG);
    }
}
