//! From many writers, each waiting for its own append, to one log that syncs once for all of them.
//!
//! ```text
//!   writer 1 ── append ─┐                          ┌── unpark ──▶ writer 1
//!   writer 2 ── append ─┼─▶ queue ──▶ host thread ─┼── unpark ──▶ writer 2
//!   writer 3 ── append ─┘             all queued,  └── unpark ──▶ writer 3
//!                                     one flush
//! ```
//!
//! While one flush is under way the next group gathers, so the busier the log, the fewer syncs an append
//! costs. Every log that syncs by itself is measured behind this same host; a log with a host of its own
//! (raft-engine, raft-log) brings that one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::payload::Batch;

/// A log for one caller at a time: appends queue up, a flush makes all of them durable.
pub(super) trait Appender: Send {
    /// Queues a batch behind the others.
    fn append(&mut self, batch: &Batch) -> io::Result<()>;
    /// Writes what is queued and syncs once.
    fn flush(&mut self) -> io::Result<()>;
}

/// A log for many writers at a time.
pub(super) trait DurableLog: Sync {
    /// Appends a batch and returns once it is durable; `writer` numbers the caller from 0.
    fn append_durably(&self, writer: usize, batch: &Arc<Batch>) -> io::Result<()>;
    /// How many flushes there have been, if this log tells.
    fn flushes(&self) -> Option<u64>;
}

/// A log that is flushed by its writer, without any hop to another thread: the way of a single writer.
pub(super) struct Direct<A> {
    log: Mutex<A>,
    flushes: AtomicU64,
}

impl<A: Appender> Direct<A> {
    /// Wraps `log`.
    pub(super) fn new(log: A) -> Self {
        Self { log: Mutex::new(log), flushes: AtomicU64::new(0) }
    }
}

impl<A: Appender> DurableLog for Direct<A> {
    fn append_durably(&self, _writer: usize, batch: &Arc<Batch>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(batch)?;
        log.flush()?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.flushes.load(Ordering::Relaxed))
    }
}

/// A log hosted by a thread of its own that flushes for all who wait.
pub(super) struct GroupCommit {
    shared: Arc<Shared>,
    /// The host; taken when it is joined.
    host: Option<JoinHandle<()>>,
}

/// What writers and host share.
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when the queue is no longer empty, or is closed.
    work: Condvar,
    /// How many appends are durable, in the order of their tickets; all of them once the log has failed.
    durable: AtomicU64,
    /// How many flushes there have been.
    flushes: AtomicU64,
    /// Why the log has failed, if it has; set before `durable` lets everyone go.
    failure: OnceLock<String>,
}

/// What waits for the next flush.
struct Queue {
    /// Batches with the threads that wait for them, in the order of their tickets.
    waiting: Vec<(Arc<Batch>, Thread)>,
    /// How many appends have ever been queued: the last ticket.
    tickets: u64,
    /// No append comes any more.
    closed: bool,
}

impl GroupCommit {
    /// Starts the host thread over `log`.
    pub(super) fn start<A: Appender + 'static>(log: A) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { waiting: Vec::new(), tickets: 0, closed: false }),
            work: Condvar::new(),
            durable: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            failure: OnceLock::new(),
        });
        let hosted = Arc::clone(&shared);
        let host = thread::Builder::new().name("log-host".to_owned()).spawn(move || hosted.host(log))?;
        Ok(Self { shared, host: Some(host) })
    }
}

impl DurableLog for GroupCommit {
    fn append_durably(&self, _writer: usize, batch: &Arc<Batch>) -> io::Result<()> {
        let ticket = {
            let mut queue = self.shared.lock();
            queue.waiting.push((Arc::clone(batch), thread::current()));
            queue.tickets += 1;
            queue.tickets
        };
        self.shared.work.notify_one();
        while self.shared.durable.load(Ordering::Acquire) < ticket {
            thread::park();
        }
        self.shared.failure.get().map_or(Ok(()), |failure| Err(io::Error::other(failure.clone())))
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.shared.flushes.load(Ordering::Relaxed))
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(host) = self.host.take() {
            // The host catches the log's panics; one of its own has been printed, and nobody waits any more.
            let _ = host.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the host: group after group, until the queue is closed and empty or the log fails.
    fn host(&self, mut log: impl Appender) {
        while let Some(group) = self.next_group() {
            match flush_group(&mut log, &group) {
                Ok(()) => {
                    self.flushes.fetch_add(1, Ordering::Relaxed);
                    self.durable.fetch_add(group.len() as u64, Ordering::Release);
                }
                Err(failure) => {
                    // The first failure is final: what it left on the disk is unknown.
                    let _ = self.failure.set(failure.to_string());
                    self.durable.store(u64::MAX, Ordering::Release);
                }
            }
            for (_, writer) in &group {
                writer.unpark();
            }
            if self.failure.get().is_some() {
                return;
            }
        }
    }

    /// All that is queued, once there is something; `None` when the queue is closed and empty.
    fn next_group(&self) -> Option<Vec<(Arc<Batch>, Thread)>> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut queue.waiting))
    }
}

/// Appends a whole group and flushes once. A panic of the log is a failure like any other: its writers wait.
fn flush_group(log: &mut impl Appender, group: &[(Arc<Batch>, Thread)]) -> io::Result<()> {
    assert!(!group.is_empty(), "a flush without an append would count a sync for nothing");
    let flush = || {
        for (batch, _) in group {
            log.append(batch)?;
        }
        log.flush()
    };
    catch_unwind(AssertUnwindSafe(flush)).unwrap_or_else(|_| Err(io::Error::other("the log panicked")))
}

#[cfg(test)]
mod tests {
    use super::{Appender, Direct, DurableLog, GroupCommit};
    use crate::wal::payload::{Batch, Pool};
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::thread;

    /// Remembers which batches each flush held; a flush waits for leave and reports itself, when asked to.
    #[derive(Default)]
    struct Recorded {
        queued: Vec<usize>,
        groups: Arc<Mutex<Vec<Vec<usize>>>>,
        gate: Option<(Sender<()>, Receiver<()>)>,
        fails: bool,
    }

    impl Appender for Recorded {
        fn append(&mut self, batch: &Batch) -> io::Result<()> {
            self.queued.push(batch.number);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            if let Some((begun, leave)) = &self.gate {
                // Closed when the test has seen the flushes that it expects; more of them pass.
                let _ = begun.send(());
                let _ = leave.recv();
            }
            if self.fails {
                return Err(io::Error::other("the disk is gone"));
            }
            self.groups.lock().unwrap().push(std::mem::take(&mut self.queued));
            Ok(())
        }
    }

    #[test]
    fn writers_that_wait_during_a_flush_share_the_next() {
        let pool = Pool::new(8, 1);
        let (begun, flush_begun) = channel();
        let (leave, leave_given) = channel();
        let log = Recorded { gate: Some((begun, leave_given)), ..Recorded::default() };
        let groups = Arc::clone(&log.groups);
        let commit = GroupCommit::start(log).unwrap();
        thread::scope(|scope| {
            let append = |number: usize| commit.append_durably(0, &pool.batches()[number]).unwrap();
            scope.spawn(move || append(0));
            flush_begun.recv().unwrap();
            for number in 1..=3 {
                scope.spawn(move || append(number));
            }
            while commit.shared.lock().waiting.len() < 3 {
                thread::yield_now();
            }
            leave.send(()).unwrap();
            flush_begun.recv().unwrap();
            leave.send(()).unwrap();
            drop(leave);
        });
        let mut groups = groups.lock().unwrap().clone();
        groups.iter_mut().for_each(|group| group.sort_unstable());
        assert_eq!(groups, [vec![0], vec![1, 2, 3]]);
        assert_eq!(commit.flushes(), Some(2), "four appends, two syncs");
    }

    #[test]
    fn nobody_returns_before_the_flush_of_its_own_append() {
        let pool = Pool::new(8, 1);
        let log = Recorded::default();
        let groups = Arc::clone(&log.groups);
        let commit = GroupCommit::start(log).unwrap();
        thread::scope(|scope| {
            for writer in 0..4 {
                let (commit, groups, pool) = (&commit, &groups, &pool);
                scope.spawn(move || {
                    for batch in pool.cycle_from(writer * 10).take(10) {
                        commit.append_durably(writer, batch).unwrap();
                        let flushed = groups.lock().unwrap().iter().flatten().any(|number| *number == batch.number);
                        assert!(flushed, "writer {writer} returned before batch {} was flushed", batch.number);
                    }
                });
            }
        });
        assert_eq!(groups.lock().unwrap().iter().flatten().count(), 40);
    }

    #[test]
    fn a_failed_flush_fails_its_writers_and_all_later_ones() {
        let pool = Pool::new(8, 1);
        let commit = GroupCommit::start(Recorded { fails: true, ..Recorded::default() }).unwrap();
        for _ in 0..2 {
            let failure = commit.append_durably(0, &pool.batches()[0]).unwrap_err();
            assert_eq!(failure.to_string(), "the disk is gone");
        }
        assert_eq!(commit.flushes(), Some(0));
    }

    #[test]
    fn a_log_that_panics_fails_its_writers_and_leaves_none_waiting() {
        struct Panics;
        impl Appender for Panics {
            fn append(&mut self, _batch: &Batch) -> io::Result<()> {
                panic!("this panic belongs to the test");
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let pool = Pool::new(8, 1);
        let commit = GroupCommit::start(Panics).unwrap();
        let failure = commit.append_durably(0, &pool.batches()[0]).unwrap_err();
        assert_eq!(failure.to_string(), "the log panicked");
    }

    #[test]
    fn a_single_writer_flushes_by_itself() {
        let pool = Pool::new(8, 1);
        let log = Recorded::default();
        let groups = Arc::clone(&log.groups);
        let direct = Direct::new(log);
        for batch in &pool.batches()[..3] {
            direct.append_durably(0, batch).unwrap();
        }
        assert_eq!(*groups.lock().unwrap(), [vec![0], vec![1], vec![2]]);
        assert_eq!(direct.flushes(), Some(3));
    }
}
