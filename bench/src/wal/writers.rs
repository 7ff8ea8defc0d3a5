//! The writers: threads that append a batch, wait until it is durable, and append the next.
//!
//! The clock runs from the moment that all threads stand ready until the last append is durable.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::group_commit::DurableLog;
use super::payload::Pool;

/// When the writers of a sample stop: at the first of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// After this much time.
    pub(super) time: Duration,
    /// After this many appends of each writer, at least 1.
    pub(super) appends: u64,
}

/// What the writers did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Written {
    /// Appends that became durable, of all writers together.
    pub(super) appends: u64,
    /// How long that took.
    pub(super) elapsed: Duration,
    /// Flushes of the log in that time, if it tells.
    pub(super) flushes: Option<u64>,
}

/// Runs `writers` threads over `log` until the quota is met.
///
/// # Errors
/// The first append that failed, or a thread that could not be started.
pub(super) fn write(log: &dyn DurableLog, pool: &Pool, writers: usize, quota: Quota) -> io::Result<Written> {
    assert!(writers > 0 && quota.appends > 0, "nothing would be written: {writers} writers, {quota:?}");
    let flushes_before = log.flushes();
    let (appends, elapsed) = if writers == 1 {
        // On this thread: a barrier and a second thread would only add noise.
        let started = Instant::now();
        (write_alone(log, pool, 0, quota, started)?, started.elapsed())
    } else {
        write_together(log, pool, writers, quota)?
    };
    assert!(appends >= writers as u64, "{writers} writers made {appends} appends, but each makes at least one");
    let flushes = log.flushes().zip(flushes_before).map(|(after, before)| after - before);
    Ok(Written { appends, elapsed, flushes })
}

/// Many writers, each on a thread of its own.
fn write_together(log: &dyn DurableLog, pool: &Pool, writers: usize, quota: Quota) -> io::Result<(u64, Duration)> {
    let ready = Barrier::new(writers + 1);
    thread::scope(|scope| {
        let run = |writer| {
            ready.wait();
            write_alone(log, pool, writer, quota, Instant::now())
        };
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || run(writer))).collect();
        ready.wait();
        let started = Instant::now();
        let mut appends = 0;
        for thread in threads {
            appends += thread.join().map_err(|_| io::Error::other("a writer's thread panicked"))??;
        }
        Ok((appends, started.elapsed()))
    })
}

/// One writer: at least one append, then more until its quota is met. Answers how many.
fn write_alone(log: &dyn DurableLog, pool: &Pool, writer: usize, quota: Quota, started: Instant) -> io::Result<u64> {
    let mut appends = 0;
    for batch in pool.cycle_from(writer) {
        log.append_durably(writer, batch)?;
        appends += 1;
        if appends >= quota.appends || started.elapsed() >= quota.time {
            break;
        }
    }
    Ok(appends)
}

#[cfg(test)]
mod tests {
    use super::{DurableLog, Pool, Quota, write};
    use crate::wal::payload::Batch;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Counts the appends of each writer.
    #[derive(Default)]
    struct Counted([AtomicU64; 4]);

    impl DurableLog for Counted {
        fn append_durably(&self, writer: usize, _batch: &Arc<Batch>) -> io::Result<()> {
            self.0[writer].fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn flushes(&self) -> Option<u64> {
            Some(self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum())
        }
    }

    impl Counted {
        fn counts(&self) -> [u64; 4] {
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn each_writer_appends_its_share() {
        let (log, pool) = (Counted::default(), Pool::new(8, 1));
        let quota = Quota { time: Duration::MAX, appends: 25 };
        let written = write(&log, &pool, 4, quota).unwrap();
        assert_eq!(log.counts(), [25; 4]);
        assert_eq!((written.appends, written.flushes), (100, Some(100)));
        let written = write(&log, &pool, 1, quota).unwrap();
        assert_eq!((written.appends, written.flushes), (25, Some(25)), "only what this run did counts");
    }

    #[test]
    fn time_ends_a_run_after_an_append_of_each() {
        let (log, pool) = (Counted::default(), Pool::new(8, 1));
        let written = write(&log, &pool, 3, Quota { time: Duration::ZERO, appends: u64::MAX }).unwrap();
        assert_eq!(log.counts(), [1, 1, 1, 0]);
        assert_eq!(written.appends, 3);
    }

    #[test]
    fn an_append_that_fails_fails_the_run() {
        struct Broken;
        impl DurableLog for Broken {
            fn append_durably(&self, writer: usize, _batch: &Arc<Batch>) -> io::Result<()> {
                if writer == 2 { Err(io::Error::other("no space")) } else { Ok(()) }
            }
            fn flushes(&self) -> Option<u64> {
                None
            }
        }
        let quota = Quota { time: Duration::MAX, appends: 10 };
        let failure = write(&Broken, &Pool::new(8, 1), 3, quota).unwrap_err();
        assert_eq!(failure.to_string(), "no space");
    }
}
