//! Writers that must not stop when the leader does, and the clock that measures how long they had to wait.
//!
//! ```text
//!   writers   ──●──●──●──●──●──✗ ? ? ?  ● ● ──●──●──●      ? unknown or refused: written again, same key, same value
//!                             │  │        │
//!                      SIGKILL┘  │dead    └ first acknowledgement of a write that began after the leader was dead
//!                             └───────────┘
//!                                failover
//! ```
//!
//! An answer of the old leader may still be on its way when it dies. It counts as acknowledged, because it is; but it
//! says nothing about the failover, so only writes begun after the death do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger::{Client, ClientError, Outcome};
use outrigger_server::store::{Change, Command, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::PATIENCE;
use super::account::{key, value};
use super::progress::Progress;
use crate::cli::Failure;

/// How many writes wait at a time.
const WRITERS: u64 = 64;

/// Some writes of distinct keys.
pub(super) struct Workload {
    pub(super) client: Client<Store>,
    /// At least one.
    pub(super) writes: u64,
}

/// What the writers saw.
pub(super) struct Written {
    pub(super) acknowledged: u64,
    /// How often a write was written anew although an earlier try may be applied.
    pub(super) doubts: u64,
    pub(super) failover: Duration,
}

/// When a leader was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Killing {
    /// Just before SIGKILL was sent.
    pub(super) sent: Instant,
    /// The process was gone.
    pub(super) dead: Instant,
}

/// One write is acknowledged.
struct Acknowledged {
    /// When its last attempt began.
    began: Instant,
    at: Instant,
    /// How many tries before it may be applied as well.
    doubts: u64,
}

impl Workload {
    /// Writes everything; calls `kill` when half is acknowledged.
    pub(super) async fn run(
        self,
        mut progress: Progress,
        kill: impl AsyncFnOnce() -> Result<Killing, Failure>,
    ) -> Result<Written, Failure> {
        let (tell, mut acknowledgements) = mpsc::unbounded_channel();
        let (open_gate, gate) = watch::channel(false);
        let mut writers = self.writers(&tell, &gate);
        drop(tell);
        let mut kill = Some(kill);
        let mut killing: Option<Killing> = None;
        let (mut written, mut doubts, mut failover) = (0, 0, None);
        loop {
            if written >= self.writes / 2
                && let Some(kill) = kill.take()
            {
                progress.tell(&format!("killing the leader after {written} writes"));
                killing = Some(kill().await?);
                open_gate.send_replace(true);
            }
            let next = tokio::time::timeout(PATIENCE, acknowledgements.recv()).await;
            let next = next.map_err(|_| Failure::plain(format_args!("no write was acknowledged for {PATIENCE:?}")))?;
            let Some(acknowledged) = next else { break };
            written += 1;
            doubts += acknowledged.doubts;
            progress.advance();
            if failover.is_none()
                && let Some(Killing { sent, dead }) = killing
                && acknowledged.began >= dead
            {
                failover = Some(acknowledged.at - sent);
            }
        }
        while let Some(writer) = writers.join_next().await {
            writer.map_err(|error| Failure::plain(format_args!("a writer failed: {error}")))??;
        }
        assert_eq!(written, self.writes, "every writer ended well");
        let failover = failover.expect("the gate leaves writes for after the crash");
        Ok(Written { acknowledged: written, doubts, failover })
    }

    fn writers(
        &self,
        tell: &mpsc::UnboundedSender<Acknowledged>,
        gate: &watch::Receiver<bool>,
    ) -> JoinSet<Result<(), Failure>> {
        let next = Arc::new(AtomicU64::new(0));
        let reserved = (self.writes / 2).clamp(1, WRITERS);
        let writers = (0..WRITERS.min(self.writes)).map(|_| Writer {
            client: self.client.clone(),
            next: Arc::clone(&next),
            writes: self.writes,
            gated_from: self.writes - reserved,
            gate: gate.clone(),
            tell: tell.clone(),
        });
        let mut set = JoinSet::new();
        for writer in writers {
            set.spawn(writer.run());
        }
        set
    }
}

/// Takes one write after the other until there are none left.
struct Writer {
    client: Client<Store>,
    /// The next write that nobody has taken, shared by all writers.
    next: Arc<AtomicU64>,
    writes: u64,
    /// These wait until the leader is dead, so that however few writes there are, some come after it.
    gated_from: u64,
    gate: watch::Receiver<bool>,
    tell: mpsc::UnboundedSender<Acknowledged>,
}

impl Writer {
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let write = self.next.fetch_add(1, Ordering::Relaxed);
            if write >= self.writes {
                return Ok(());
            }
            if write >= self.gated_from && self.gate.wait_for(|&is_open| is_open).await.is_err() {
                return Ok(());
            }
            let acknowledged = self.write(write).await?;
            if self.tell.send(acknowledged).is_err() {
                return Ok(());
            }
        }
    }

    /// Tries until the write is acknowledged. The client itself tries again in its session, so that it is applied once; only
    /// when that has taken too long is it written anew, which is safe here, and is counted.
    async fn write(&self, write: u64) -> Result<Acknowledged, Failure> {
        let failed = |reason: &dyn std::fmt::Display| Failure::plain(format_args!("write {write} failed: {reason}"));
        let (first, mut doubts) = (Instant::now(), 0);
        loop {
            let began = Instant::now();
            match self.client.write(Command::put(key(write), value(write))).await {
                Ok(Ok(Change::Done { .. })) => return Ok(Acknowledged { began, at: Instant::now(), doubts }),
                Ok(other) => return Err(failed(&format_args!("{other:?}"))),
                Err(error) if may_try_again(&error) && first.elapsed() < PATIENCE => {
                    doubts += u64::from(error.outcome() == Outcome::Unknown);
                    // No spinning while there is no leader; far below what an election takes.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }
}

fn may_try_again(error: &ClientError) -> bool {
    error.is_retryable() || error.outcome() == Outcome::Unknown
}
