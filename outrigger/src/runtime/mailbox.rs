//! A mailbox: many put in, one takes all at once. The hot path of the runtime.
//!
//! ```text
//!   put ──┐                                     ┌── sleeping: its waker lies in the mailbox
//!   put ──┼──► queue, under a very short lock ──┤
//!   put ──┘                                     └── awake: swaps the whole queue for an empty one
//! ```
//!
//! The owner swaps its empty queue, with the capacity that it has grown, for the full one: no item is moved one by one
//! and nothing is allocated once the queues have their size. Whoever puts in wakes the owner only when it sleeps, so a
//! thousand callers cause one wake.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a mailbox collects.
pub(crate) trait Queue: Default + Send {
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
}

impl<T: Send> Queue for Vec<T> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mailbox<Q> {
    inside: Mutex<Inside<Q>>,
}

#[derive(Debug, Default)]
struct Inside<Q> {
    /// What was put in since it was last taken. Empty when closed.
    queue: Q,
    /// The owner's, while it sleeps; then `queue` is empty.
    waker: Option<Waker>,
    /// Whether the owner has gone: nobody would take what is put in.
    is_closed: bool,
}

impl<Q: Queue> Mailbox<Q> {
    pub(crate) fn new() -> Self {
        Self { inside: Mutex::new(Inside { queue: Q::default(), waker: None, is_closed: false }) }
    }

    /// Puts something in. `put` runs under the lock; `None` when the owner has gone, and `put` was not called.
    pub(crate) fn put<R>(&self, put: impl FnOnce(&mut Q) -> R) -> Option<R> {
        let (result, waker) = {
            let mut inside = self.lock();
            if inside.is_closed {
                return None;
            }
            let result = put(&mut inside.queue);
            let waker = if inside.queue.is_empty() { None } else { inside.waker.take() };
            (result, waker)
        };
        // Outside of the lock, so that the owner does not wake up only to wait for it.
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(result)
    }

    /// Looks at what a take would find.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Q) -> R) -> R {
        look(&self.lock().queue)
    }

    /// Takes all that is there in exchange for `taken`, which must be empty; waits while there is nothing.
    pub(crate) fn poll_take(&self, taken: &mut Q, context: &mut Context<'_>) -> Poll<()> {
        assert!(taken.is_empty(), "what was taken before is not dealt with yet");
        let mut inside = self.lock();
        if inside.queue.is_empty() {
            let is_same = inside.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if !is_same {
                inside.waker = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        inside.waker = None;
        std::mem::swap(&mut inside.queue, taken);
        Poll::Ready(())
    }

    /// Takes nothing in any more, and gives back what nobody took.
    pub(crate) fn close(&self) -> Q {
        let mut inside = self.lock();
        inside.is_closed = true;
        inside.waker = None;
        std::mem::take(&mut inside.queue)
    }

    fn lock(&self) -> MutexGuard<'_, Inside<Q>> {
        // Nothing that runs under the lock leaves a queue half changed.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_are_taken_at_once_and_wake_once() {
        let (mailbox, count) = (Mailbox::<Vec<u32>>::new(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut taken = Vec::with_capacity(64);
        assert!(mailbox.poll_take(&mut taken, &mut context).is_pending());
        for item in 0..3 {
            assert_eq!(mailbox.put(|queue| queue.push(item)), Some(()));
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "the first put wakes the owner, the others find it awake");
        assert!(mailbox.poll_take(&mut taken, &mut context).is_ready());
        assert_eq!(taken, [0, 1, 2]);
        mailbox.put(|queue| queue.push(3));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "an owner that is awake is not woken");
        assert_eq!(mailbox.look(Vec::len), 1);
        taken.clear();
        assert!(mailbox.poll_take(&mut taken, &mut context).is_ready(), "a put while it was busy is not lost");
        assert_eq!(taken, [3]);
    }

    #[test]
    fn a_closed_mailbox_gives_back_and_refuses() {
        let mailbox = Mailbox::<Vec<u32>>::new();
        mailbox.put(|queue| queue.push(1));
        assert_eq!(mailbox.close(), [1]);
        assert_eq!(mailbox.put(|queue| queue.push(2)), None);
        assert!(mailbox.close().is_empty());
    }

    #[test]
    fn a_refused_item_wakes_nobody() {
        let (mailbox, count) = (Mailbox::<Vec<u32>>::new(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        assert!(mailbox.poll_take(&mut Vec::new(), &mut Context::from_waker(&waker)).is_pending());
        assert_eq!(mailbox.put(|_| false), Some(false));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        mailbox.put(|queue| queue.push(1));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "and the owner can still be woken");
    }
}
