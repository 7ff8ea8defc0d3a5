//! The clients: each awaits the applied response of its request, then sends the next.
//!
//! ```text
//!   client runtime, 1 worker          server runtime, n workers
//!   client 1   write ───────────────▶ leader ──▶ followers
//!              ◀─────────── applied ─ leader
//!   client 2   write ...
//! ```
//!
//! The clock runs from before the first write until the last client has its last answer. An answer means
//! that the leader has applied the write, so the clock stops when the leader has applied all.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Failure, Leader};

/// How long the leader may apply nothing before the run is given up.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How long clients go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quota {
    /// Until this much time has passed; writes under way then are waited for, and count.
    Time(Duration),
    /// Until all of them together have written this many entries, rounded up to whole rounds of all clients.
    Entries(u64),
}

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many clients write at the same time, at least 1.
    pub(crate) clients: u64,
    /// How many entries one write holds, at least 1.
    pub(crate) batch: u64,
    /// When they stop.
    pub(crate) quota: Quota,
}

impl Load {
    /// How many writes one client makes at most.
    fn writes(&self) -> u64 {
        match self.quota {
            Quota::Time(_) => u64::MAX,
            Quota::Entries(entries) => entries.div_ceil(self.clients.saturating_mul(self.batch)),
        }
    }
}

/// What the clients did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Entries answered as applied.
    pub(super) entries: u64,
    /// From before the first write until after the last answer.
    pub(super) elapsed: Duration,
}

impl Done {
    /// Entries a second.
    pub(super) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a run writes far fewer than 2^53 entries")]
        let entries = self.entries as f64;
        entries / self.elapsed.as_secs_f64()
    }
}

/// Runs the clients on the current runtime until their quota is met and all their writes are answered.
///
/// # Errors
/// The first write that failed, a client that panicked, or `Stalled` when the leader applied nothing for
/// ten seconds although writes were waiting.
pub(super) async fn drive<L: Leader>(leader: L, load: Load) -> Result<Done, Failure> {
    assert!(load.clients > 0 && load.batch > 0, "a load needs clients and entries: {load:?}");
    let over = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let clients: Vec<_> = (0..load.clients)
        .map(|_| tokio::spawn(client(leader.clone(), load.batch, load.writes(), Arc::clone(&over))))
        .collect();
    let timer = match load.quota {
        Quota::Time(time) => Some(tokio::spawn(async move {
            tokio::time::sleep(time).await;
            over.store(true, Ordering::Relaxed);
        })),
        Quota::Entries(_) => None,
    };
    let mut finished = pin!(join(clients));
    let mut applied = leader.applied();
    let written = loop {
        if let Ok(written) = timeout(STALL_MAX, &mut finished).await {
            break written;
        }
        if leader.applied() == applied {
            break Err(Failure::Stalled { applied, seconds: STALL_MAX.as_secs() });
        }
        applied = leader.applied();
    };
    let elapsed = started.elapsed();
    if let Some(timer) = timer {
        timer.abort();
    }
    Ok(Done { entries: written? * load.batch, elapsed })
}

/// One client: writes until it has made `writes` of them or the time is over. Answers how many it made.
async fn client<L: Leader>(leader: L, batch: u64, writes: u64, over: Arc<AtomicBool>) -> Result<u64, Failure> {
    let mut made = 0;
    while made < writes && !over.load(Ordering::Relaxed) {
        if batch == 1 {
            leader.write().await?;
        } else {
            leader.write_many(batch).await?;
        }
        made += 1;
    }
    Ok(made)
}

/// Waits for all clients and adds up their writes.
async fn join(clients: Vec<JoinHandle<Result<u64, Failure>>>) -> Result<u64, Failure> {
    let mut writes = 0;
    for client in clients {
        writes += client.await.map_err(|cause| Failure::Client(cause.to_string()))??;
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::{Failure, Leader, Load, Quota, drive};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use tokio::time::timeout;

    /// Applies at once, until it has applied `until` entries; then it answers no more.
    #[derive(Clone)]
    struct Instantly {
        applied: Arc<AtomicU64>,
        until: u64,
    }

    impl Instantly {
        fn new(until: u64) -> Self {
            Self { applied: Arc::default(), until }
        }
    }

    impl Leader for Instantly {
        async fn write(&self) -> Result<(), Failure> {
            self.write_many(1).await
        }

        async fn write_many(&self, entries: u64) -> Result<(), Failure> {
            if self.applied() >= self.until {
                std::future::pending::<()>().await;
            }
            self.applied.fetch_add(entries, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(())
        }

        fn applied(&self) -> u64 {
            self.applied.load(Ordering::Relaxed)
        }
    }

    fn run(leader: Instantly, load: Load) -> Result<super::Done, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // An hour of paused time passes at once: a run that never ends fails instead of hanging.
        runtime.block_on(async { timeout(Duration::from_secs(3_600), drive(leader, load)).await.expect("no end") })
    }

    #[test]
    fn every_client_makes_its_share_of_the_entries() {
        let leader = Instantly::new(u64::MAX);
        let load = Load { clients: 3, batch: 4, quota: Quota::Entries(25) };
        let done = run(leader.clone(), load).unwrap();
        assert_eq!(done.entries, 36, "25 entries are 3 rounds of 3 clients with 4 entries each");
        assert_eq!(leader.applied(), 36);
    }

    #[test]
    fn time_ends_a_run_and_all_that_was_applied_counts() {
        let leader = Instantly::new(u64::MAX);
        let load = Load { clients: 2, batch: 1, quota: Quota::Time(Duration::ZERO) };
        let done = run(leader.clone(), load).unwrap();
        assert_eq!(done.entries, leader.applied());
    }

    #[test]
    fn a_leader_that_answers_no_more_is_a_failure() {
        let load = Load { clients: 2, batch: 1, quota: Quota::Entries(100) };
        let failure = run(Instantly::new(10), load).unwrap_err();
        assert!(matches!(failure, Failure::Stalled { applied: 10.., .. }), "{failure}");
    }
}
