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

use std::pin::pin;
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

/// What the writers saw.
pub(super) struct Written {
    pub(super) acknowledged: u64,
    /// How often a write was written anew although an earlier try may be applied.
    pub(super) doubts: u64,
    /// The longest, if a leader was killed more than once.
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

/// The account of all writes so far.
#[derive(Default)]
struct Account {
    written: u64,
    doubts: u64,
    /// A killing after which nothing was acknowledged yet.
    killing: Option<Killing>,
    failover: Option<Duration>,
}

impl Account {
    /// If nothing was acknowledged since a leader was killed before, this goes on from then.
    fn killed(&mut self, killing: Killing) {
        let sent = self.killing.map_or(killing.sent, |before| before.sent);
        self.killing = Some(Killing { sent, ..killing });
    }

    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        self.written += 1;
        self.doubts += acknowledged.doubts;
        if let Some(Killing { sent, .. }) = self.killing.take_if(|killing| acknowledged.began >= killing.dead) {
            self.failover = self.failover.max(Some(acknowledged.at - sent));
        }
    }

    fn end(self) -> Result<Written, Failure> {
        let Self { written, doubts, failover, .. } = self;
        let none = || Failure::plain("nothing was acknowledged after a leader was killed");
        Ok(Written { acknowledged: written, doubts, failover: failover.ok_or_else(none)? })
    }
}

/// So many writes of distinct keys, of which the last wait until `kill`, which is called when half is acknowledged, has killed a
/// leader.
pub(super) async fn write_over_a_crash(
    client: Client<Store>,
    writes: u64,
    mut progress: Progress,
    kill: impl AsyncFnOnce() -> Result<Killing, Failure>,
) -> Result<Written, Failure> {
    let (open_gate, gate) = watch::channel(false);
    let (_clients, client) = watch::channel(client);
    let reserved = (writes / 2).clamp(1, WRITERS);
    let limit = Limit::Count { writes, gated_from: writes - reserved, gate };
    let (mut writers, mut acknowledgements) = writers(WRITERS.min(writes), &client, &limit);
    let (mut kill, mut account) = (Some(kill), Account::default());
    loop {
        if account.written >= writes / 2
            && let Some(kill) = kill.take()
        {
            progress.tell(&format!("killing the leader after {} writes", account.written));
            account.killed(kill().await?);
            open_gate.send_replace(true);
        }
        let Some(acknowledged) = next(&mut acknowledgements).await? else { break };
        account.acknowledged(&acknowledged);
        progress.advance();
    }
    ended(&mut writers).await?;
    assert_eq!(account.written, writes, "every writer ended well");
    account.end()
}

/// Writes distinct keys until `trouble` has ended, through whichever client there is by then; `trouble` tells how many are
/// acknowledged when it asks, and tells of the leaders that it kills.
pub(super) async fn write_through(
    client: watch::Receiver<Client<Store>>,
    written: &watch::Sender<u64>,
    mut killings: mpsc::UnboundedReceiver<Killing>,
    trouble: impl Future<Output = Result<(), Failure>>,
) -> Result<Written, Failure> {
    let (stop, stopped) = watch::channel(false);
    let (mut writers, mut acknowledgements) = writers(WRITERS, &client, &Limit::Word(stopped));
    let mut account = Account::default();
    let (mut trouble, mut has_ended) = (pin!(trouble), false);
    loop {
        let acknowledged = tokio::select! {
            biased;
            Some(killing) = killings.recv() => {
                account.killed(killing);
                continue;
            }
            outcome = &mut trouble, if !has_ended => {
                outcome?;
                has_ended = true;
                stop.send_replace(true);
                continue;
            }
            acknowledged = next(&mut acknowledgements) => acknowledged?,
        };
        let Some(acknowledged) = acknowledged else { break };
        account.acknowledged(&acknowledged);
        written.send_replace(account.written);
    }
    ended(&mut writers).await?;
    account.end()
}

/// The next acknowledgement; none when all writers have ended.
async fn next(acknowledgements: &mut mpsc::UnboundedReceiver<Acknowledged>) -> Result<Option<Acknowledged>, Failure> {
    let next = tokio::time::timeout(PATIENCE, acknowledgements.recv()).await;
    next.map_err(|_| Failure::plain(format_args!("no write was acknowledged for {PATIENCE:?}")))
}

async fn ended(writers: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(writer) = writers.join_next().await {
        writer.map_err(|error| Failure::plain(format_args!("a writer failed: {error}")))??;
    }
    Ok(())
}

fn writers(
    count: u64,
    client: &watch::Receiver<Client<Store>>,
    limit: &Limit,
) -> (JoinSet<Result<(), Failure>>, mpsc::UnboundedReceiver<Acknowledged>) {
    let (tell, acknowledgements) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicU64::new(0));
    let mut set = JoinSet::new();
    for _ in 0..count {
        let (client, next, limit, tell) = (client.clone(), Arc::clone(&next), limit.clone(), tell.clone());
        set.spawn(Writer { client, next, limit, tell }.run());
    }
    (set, acknowledgements)
}

/// How long writers write.
#[derive(Clone)]
enum Limit {
    /// So many writes. Some wait until the leader is dead, so that however few writes there are, some come after it.
    Count { writes: u64, gated_from: u64, gate: watch::Receiver<bool> },
    /// Until they are told to stop.
    Word(watch::Receiver<bool>),
}

impl Limit {
    /// The next write, once it may begin; none when there are no more.
    async fn next(&mut self, next: &AtomicU64) -> Option<u64> {
        match self {
            Self::Count { writes, gated_from, gate } => {
                let write = next.fetch_add(1, Ordering::Relaxed);
                let is_one =
                    write < *writes && (write < *gated_from || gate.wait_for(|&is_open| is_open).await.is_ok());
                is_one.then_some(write)
            }
            // Asked before a number is taken: each that is taken is written.
            Self::Word(stopped) => (!*stopped.borrow()).then(|| next.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Takes one write after the other until there are none left.
struct Writer {
    client: watch::Receiver<Client<Store>>,
    /// The next write that nobody has taken, shared by all writers.
    next: Arc<AtomicU64>,
    limit: Limit,
    tell: mpsc::UnboundedSender<Acknowledged>,
}

impl Writer {
    async fn run(mut self) -> Result<(), Failure> {
        while let Some(write) = self.limit.next(&self.next).await {
            let acknowledged = self.write(write).await?;
            if self.tell.send(acknowledged).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Tries until the write is acknowledged. The client itself tries again in its session, so that it is applied once; only
    /// when that has taken too long is it written anew, which is safe here, and is counted.
    async fn write(&self, write: u64) -> Result<Acknowledged, Failure> {
        let failed = |reason: &dyn std::fmt::Display| Failure::plain(format_args!("write {write} failed: {reason}"));
        let (first, mut doubts) = (Instant::now(), 0);
        loop {
            let began = Instant::now();
            let client = self.client.borrow().clone();
            match client.write(Command::put(key(write), value(write))).await {
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
