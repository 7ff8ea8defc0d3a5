//! A value that is watched: its watchers see the latest, never a queue of old ones, and wake in the order in which they
//! began to wait.
//!
//! ```text
//!   Sender ── changes the value, wakes all ──► Receiver: sees that its version is old, takes the new value
//! ```
//!
//! That order is why it is not tokio's channel of the same name, which spreads its watchers over several lists and draws
//! at random in which of them each waits: callers who wait for a leader would try again in an order that no seed repeats.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Both ends of a watched value.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value, version: 0, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
}

/// The one who changes the value. When it is dropped, those who wait are told that there will be no change.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// One who watches; each clone for itself.
#[derive(Clone, Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that it saw last; no later than the latest.
    seen: u64,
}

/// There will be no change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Wakes everybody who waits, the first of them first.
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// How often it was changed.
    version: u64,
    /// Whether the sender has gone.
    is_closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A value is exchanged for a whole one, or compared: nothing is left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Lets `modify` change the value, under the lock; its answer says whether it did.
    pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) {
        {
            let mut state = self.0.lock();
            if !modify(&mut state.value) {
                return;
            }
            state.version += 1;
        }
        self.0.changed.notify_waiters();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Receiver<T> {
    /// The value as it is now. It counts as seen by [`latest_seen`](Self::latest_seen) only.
    pub(crate) fn latest(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// The value as it is now, seen.
    pub(crate) fn latest_seen(&mut self) -> T {
        let state = self.shared.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits until the value is another than this receiver saw last, and sees it. Cancel safe: what is not returned is
    /// not seen.
    ///
    /// # Errors
    /// When the sender has gone, and everything is seen.
    pub(crate) async fn changed(&mut self) -> Result<T, Closed> {
        loop {
            // It hears of all that changes from here on, even before it is polled.
            let changed = self.shared.changed.notified();
            {
                let state = self.shared.lock();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(state.value.clone());
                }
                if state.is_closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// Waits until the value satisfies a condition; it is looked at at once.
    ///
    /// # Errors
    /// When the sender has gone before it did.
    pub(crate) async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<T, Closed> {
        let mut value = self.latest_seen();
        while !condition(&value) {
            value = self.changed().await?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_change_is_seen_once_by_each_and_the_last_one_even_when_the_sender_has_gone() {
        let (sender, mut one) = channel(1);
        let mut other = one.clone();
        assert!(poll(pin!(one.changed())).is_pending());
        sender.send_if_modified(|_| false);
        assert!(poll(pin!(one.changed())).is_pending(), "what did not change wakes nobody");
        for value in [2, 3] {
            sender.send_if_modified(|old| {
                *old = value;
                true
            });
        }
        assert_eq!(poll(pin!(one.changed())), Poll::Ready(Ok(3)));
        assert!(poll(pin!(one.changed())).is_pending());
        drop(sender);
        assert_eq!(poll(pin!(one.changed())), Poll::Ready(Err(Closed)));
        assert_eq!(poll(pin!(other.changed())), Poll::Ready(Ok(3)));
        assert_eq!(poll(pin!(other.wait_for(|value| *value == 4))), Poll::Ready(Err(Closed)));
        assert_eq!(poll(pin!(other.wait_for(|value| *value == 3))), Poll::Ready(Ok(3)));
    }

    #[tokio::test]
    async fn whoever_waits_hears_that_the_sender_has_gone() {
        let (sender, mut receiver) = channel(1);
        let waits = tokio::spawn(async move { receiver.changed().await });
        tokio::task::yield_now().await;
        drop(sender);
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), waits).await;
        assert_eq!(heard.expect("it is woken").unwrap(), Err(Closed));
    }

    /// Found by the simulation of the runtime: with tokio's own channel, callers who waited for a leader tried again in
    /// any order.
    #[tokio::test]
    async fn those_who_wait_wake_in_the_order_in_which_they_began() {
        let (sender, receiver) = channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (mut receiver, woken) = (receiver.clone(), Arc::clone(&woken));
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    woken.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_if_modified(|value| {
            *value = 1;
            true
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
