//! The state machine worker: applies what is committed, in order, one entry after the other; answers callers; reads.
//!
//! ```text
//!   RaftCore ── Expect, Apply, Build- and InstallSnapshot, Read, Abandon, Expire ──►┐
//!                                                       ├─► worker ──► state machine, callers' slots
//!   Raft::read_local ── Read ──────────────────────────►┘      │
//!                                                              └── Applied, StateMachineFailed ──► RaftCore
//! ```
//!
//! It is the only one that touches the state machine, but while that is restored, on a thread that may block. Every node,
//! the leader included, applies what it decodes from the log's bytes, so that all apply the same. A command that does not
//! decode, or an `apply` that panics, ends it there: nothing is skipped.
//!
//! What memory no longer holds it reads from the log, and waits for the disk. Those who wait for it meanwhile wait no
//! longer than they would have, even if the disk never answers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use outrigger_engine::{Batch, Body, Event, Instant, LogId, LogIndex, LogTime, Membership, Payload, Snapshot};

use super::arrivals::Inbox;
use super::clock::Clock;
use super::encoded::{self, ApplyError, panic_caught};
use super::expected::{Expected, Run};
use super::log_writer::LogAccess;
use super::mailbox::Mailbox;
use super::respond::{BoxedRead, Doubt, Failure};
use super::sessions::{Applied, Replicated};
use super::snapshot::SnapshotAccess;
use crate::LargeStateMachine;
use crate::store::{Moment, StorageError};

/// What the worker is asked to do, in this order.
pub(crate) enum Job<S: LargeStateMachine> {
    /// These callers are answered by entries that are applied later.
    Expect(Run<S::Response>),
    /// Apply the entries from `first` to `last`.
    Apply {
        /// Right behind the last entry that was applied.
        first: LogIndex,
        last: LogId,
        /// The end of the run; what is before it must be read from the log.
        batches: Vec<Batch>,
    },
    /// Take a snapshot of the state as it is then, after `last`.
    BuildSnapshot { last: LogId, membership_at: LogId, membership: Arc<Membership> },
    /// Hash the state as it is then, after `at`.
    HashState { at: LogIndex },
    /// Take in a snapshot in the place of the state.
    InstallSnapshot(Arc<Snapshot>),
    /// Read the state as it is then, if that is before the deadline.
    Read { reads: Vec<BoxedRead<S>>, deadline: Instant },
    /// The callers of entries from here on are told that the outcome is unknown.
    Abandon { from: LogIndex },
    /// Those who have waited for too long are told so.
    Expire { now: Instant },
    /// Answer everybody and end.
    Stop,
}

impl<S: LargeStateMachine> Job<S> {
    /// The job, unless those who wait for it have done so for too long; then they are told so.
    fn in_time(self, now: Instant) -> Option<Self> {
        match self {
            Self::Expect(run) if run.deadline <= now => run.fail(Failure::Unknown(Doubt::TimedOut)),
            Self::Read { reads, deadline } if deadline <= now => {
                reads.into_iter().for_each(|read| read.fail(Failure::Unknown(Doubt::TimedOut)));
            }
            // Others will follow.
            Self::Expire { .. } => {}
            job => return Some(job),
        }
        None
    }
}

pub(crate) type Jobs<S> = Mailbox<Vec<Job<S>>>;

/// After so long other tasks get their turn...
const SLICE: Duration = Duration::from_micros(500);
/// ... and at least after so many entries the clock is looked at; after one, when they take long.
const ENTRIES_PER_LOOK_MAX: u32 = 64;
/// How much is read from the log at a time, for what memory no longer holds.
const LOG_READ_BYTES: usize = 1 << 20;
/// While the disk is waited for, those who have waited for too long are looked for so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Worker<S: LargeStateMachine> {
    /// Away while it is restored, and for good if that has failed.
    replicated: Option<Replicated<S>>,
    /// The last entry that was applied.
    applied: LogIndex,
    /// Its log time.
    log_time: LogTime,
    /// What of it RaftCore was told; at most `applied`.
    reported: LogIndex,
    expected: Expected<S::Response>,
    /// What was taken from `jobs` and is yet to be done, in order.
    taken: VecDeque<Job<S>>,
    /// Whether it stopped at the entry behind `applied`, for good.
    has_failed: bool,
    turn: Turn,
    jobs: Arc<Jobs<S>>,
    inbox: Arc<Inbox<S>>,
    log: LogAccess,
    snapshots: SnapshotAccess,
    clock: Clock,
}

/// How long other tasks have waited for theirs.
struct Turn {
    /// After so many entries the clock is looked at.
    entries_to_look: u32,
    /// After how many it was looked at last; 1 to `ENTRIES_PER_LOOK_MAX`.
    entries_per_look: u32,
    /// When other tasks had their turn last.
    began: Instant,
    clock: Clock,
}

impl Turn {
    fn begin(&mut self) {
        self.began = self.clock.now();
    }

    fn is_over(&self) -> bool {
        self.clock.now().since(self.began) >= SLICE
    }

    /// An entry was applied; breaks when it is the others' turn.
    fn step(&mut self) -> ControlFlow<()> {
        self.entries_to_look -= 1;
        if self.entries_to_look > 0 {
            return ControlFlow::Continue(());
        }
        let is_over = self.is_over();
        self.entries_per_look = if is_over { 1 } else { (self.entries_per_look * 2).min(ENTRIES_PER_LOOK_MAX) };
        self.entries_to_look = self.entries_per_look;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl<S: LargeStateMachine> Worker<S> {
    /// A worker on a state before the first entry, or on one that is on disk, as it was left.
    pub(crate) fn new(
        replicated: Replicated<S>,
        (jobs, inbox): (Arc<Jobs<S>>, Arc<Inbox<S>>),
        (log, snapshots): (LogAccess, SnapshotAccess),
        clock: Clock,
    ) -> Self {
        Self {
            replicated: Some(replicated),
            applied: LogIndex::ZERO,
            log_time: LogTime(0),
            reported: LogIndex::ZERO,
            expected: Expected::new(),
            taken: VecDeque::new(),
            has_failed: false,
            turn: Turn { entries_to_look: 1, entries_per_look: 1, began: clock.now(), clock },
            jobs,
            inbox,
            log,
            snapshots,
            clock,
        }
    }

    /// Works until it is told to stop.
    pub(crate) async fn run(mut self) {
        let mut jobs = Vec::new();
        let mailbox = Arc::clone(&self.jobs);
        loop {
            poll_fn(|context| mailbox.poll_take(&mut jobs, context)).await;
            self.turn.begin();
            self.taken.extend(jobs.drain(..));
            while let Some(job) = self.taken.pop_front() {
                match job {
                    Job::Expect(run) => self.expect(run),
                    Job::Apply { first, last, batches } => self.apply(first, last, batches).await,
                    Job::BuildSnapshot { last, membership_at, membership } => {
                        self.build_snapshot(last, membership_at, membership);
                    }
                    Job::HashState { at } => self.hash_state(at),
                    Job::InstallSnapshot(snapshot) => self.install_snapshot(&snapshot).await,
                    Job::Read { reads, .. } => self.read(reads),
                    Job::Abandon { from } => self.expected.abandon(from),
                    Job::Expire { now } => self.expected.expire(now),
                    Job::Stop => return,
                }
            }
            self.report();
        }
    }

    fn expect(&mut self, run: Run<S::Response>) {
        self.expected.expect(run, self.applied);
        if self.has_failed {
            self.expected.stop();
        }
    }

    fn read(&self, reads: Vec<BoxedRead<S>>) {
        for read in reads {
            match &self.replicated {
                // A state on disk may have more in it than was gone through since the start.
                Some(replicated) if !self.has_failed => {
                    let held = replicated.held().map_or(LogIndex::ZERO, |held| held.index);
                    read.run(replicated.state(), self.applied.max(held));
                }
                _ => read.fail(Failure::Stopped),
            }
        }
    }

    async fn apply(&mut self, first: LogIndex, last: LogId, batches: Vec<Batch>) {
        if self.has_failed {
            return;
        }
        assert!(first == self.applied.next(), "entries from {first} to {last} do not follow {}", self.applied);
        let outcome = self.apply_all(last, batches).await;
        if let Err(reason) = outcome {
            self.has_failed = true;
            self.expected.stop();
            self.report();
            let at = self.applied.next();
            self.inbox.notify(Event::StateMachineFailed { at, reason });
            return;
        }
        assert!(self.applied == last.index, "applied up to {} instead of {last}", self.applied);
    }

    /// Applying pauses while the state gives a view of itself, and goes on while that is written.
    fn build_snapshot(&mut self, last: LogId, membership_at: LogId, membership: Arc<Membership>) {
        // RaftCore hears of what is applied before it hears of the snapshot that covers it: whoever has asked for one and then has the
        // log purged finds all of that gone.
        self.report();
        let inbox = Arc::clone(&self.inbox);
        let tell = move |event| inbox.notify(event);
        match self.view(last.index, Replicated::view) {
            Ok(view) => {
                let of = Moment { last, log_time: self.log_time, membership_at, membership };
                self.snapshots.build(of, view, tell);
            }
            Err(reason) => {
                tracing::warn!(%last, reason, "no snapshot was taken; it is tried again later");
                tell(Event::SnapshotFailed { reason });
            }
        }
    }

    /// As a snapshot is built, but that nothing is kept.
    fn hash_state(&self, at: LogIndex) {
        let inbox = Arc::clone(&self.inbox);
        let tell = move |hash| inbox.notify(Event::StateHashed { at, hash });
        match self.view(at, Replicated::state_view) {
            Ok(view) => self.snapshots.hash(at, view, tell),
            Err(reason) => {
                tracing::warn!(%at, reason, "the state was not hashed, and is not compared this time");
                tell(None);
            }
        }
    }

    /// A view of the state after `last`, of the kind that `of` takes.
    fn view<V>(&self, last: LogIndex, of: impl FnOnce(&Replicated<S>, LogIndex) -> io::Result<V>) -> Result<V, String> {
        let Some(replicated) = self.replicated.as_ref().filter(|_| !self.has_failed) else {
            return Err("the state machine has stopped".to_owned());
        };
        assert!(self.applied == last, "a view of {last}, but {} is applied", self.applied);
        panic_caught(|| of(replicated, last))?.map_err(|error| error.to_string())
    }

    async fn install_snapshot(&mut self, snapshot: &Snapshot) {
        let Some(replicated) = self.replicated.take_if(|_| !self.has_failed) else { return };
        let last = snapshot.last().index;
        assert!(last > self.applied, "a snapshot of {last}, but {} is applied", self.applied);
        let snapshots = self.snapshots.clone();
        let (replicated, restored) = self.once_there(snapshots.load(snapshot.id, replicated)).await;
        self.replicated = replicated;
        match restored {
            Ok(()) => (self.applied, self.log_time) = (last, snapshot.log_time),
            Err(reason) => {
                self.has_failed = true;
                self.expected.stop();
                self.inbox.notify(Event::StateMachineFailed { at: last, reason });
            }
        }
    }

    async fn apply_all(&mut self, last: LogId, batches: Vec<Batch>) -> Result<(), String> {
        let held = batches.first().map_or(last.index.next(), |batch| batch.first().index);
        while self.applied.next() < held {
            let read = self.read_log(held.previous()).await;
            let read = read.map_err(|error| format!("its entry cannot be read from the log: {error}"))?;
            self.apply_batches(&read).await?;
        }
        self.apply_batches(&batches).await
    }

    /// The next entries, up to `through` at most, from the log.
    async fn read_log(&mut self, through: LogIndex) -> Result<Vec<Batch>, StorageError> {
        let (log, from) = (self.log.clone(), self.applied.next());
        self.once_there(log.read(from, through, LOG_READ_BYTES)).await
    }

    /// What the disk is asked for. Nobody's deadline waits for it.
    async fn once_there<T>(&mut self, read: impl Future<Output = T>) -> T {
        let mut read = pin!(read);
        loop {
            match tokio::time::timeout(LOOK_EVERY, read.as_mut()).await {
                Ok(outcome) => return outcome,
                Err(_) => self.expire_all(self.clock.now()),
            }
        }
    }

    /// Answers those who have waited for too long, wherever they wait.
    fn expire_all(&mut self, now: Instant) {
        self.expected.expire(now);
        self.taken = std::mem::take(&mut self.taken).into_iter().filter_map(|job| job.in_time(now)).collect();
        let _: Option<()> = self.jobs.put(|jobs| {
            *jobs = std::mem::take(jobs).into_iter().filter_map(|job| job.in_time(now)).collect();
        });
    }

    async fn apply_batches(&mut self, batches: &[Batch]) -> Result<(), String> {
        while let Some(last) = batches.last().map(Batch::last).filter(|last| self.applied < last.index) {
            let before = self.applied;
            self.apply_some(batches).map_err(|error| error.to_string())?;
            assert!(before < self.applied, "no entry up to {last} is applied behind {before}");
            if self.turn.is_over() {
                // On a runtime of one thread, the leader's heartbeats are among those who had to wait.
                self.report();
                tokio::task::yield_now().await;
                self.turn.begin();
            }
        }
        Ok(())
    }

    /// Applies what comes next, until it is the turn of others.
    fn apply_some(&mut self, batches: &[Batch]) -> Result<(), ApplyError> {
        let next = self.applied.next();
        let Self { replicated, applied, log_time, expected, turn, .. } = self;
        let mut note = |id: LogId, time: LogTime, came: Applied<S::Response>| {
            assert!(id.index == applied.next(), "{id} does not follow {applied}");
            match came {
                Applied::Response(response) => expected.applied(id, Ok(response)),
                Applied::Denied(denied) => expected.applied(id, Err(denied)),
                Applied::Alive(_) | Applied::Nothing => expected.passed(id),
            }
            (*applied, *log_time) = (id.index, time);
            turn.step()
        };
        let replicated = replicated.as_mut().expect("a worker that has not failed has its state");
        replicated.apply(next, batches, &mut note)
    }

    fn report(&mut self) {
        assert!(self.reported <= self.applied, "reported {} of {}", self.reported, self.applied);
        if self.reported < self.applied {
            self.reported = self.applied;
            self.inbox.notify(Event::Applied { last: self.applied });
        }
    }
}

/// However the worker ends, nobody waits for it.
impl<S: LargeStateMachine> Drop for Worker<S> {
    fn drop(&mut self) {
        self.expected.stop();
        if std::thread::panicking() {
            // A node that applies nothing any more must not lead, nor be counted on.
            let reason = "the state machine worker has panicked".to_owned();
            self.inbox.notify(Event::StateMachineFailed { at: self.applied.next(), reason });
        }
        for job in self.taken.drain(..).chain(self.jobs.close()) {
            match job {
                Job::Expect(run) => run.fail(Failure::Unknown(Doubt::Stopped)),
                Job::Read { reads, .. } => reads.into_iter().for_each(|read| read.fail(Failure::Stopped)),
                Job::Apply { .. }
                | Job::BuildSnapshot { .. }
                | Job::HashState { .. }
                | Job::InstallSnapshot(_)
                | Job::Abandon { .. }
                | Job::Expire { .. }
                | Job::Stop => {}
            }
        }
    }
}

/// Whether these entries can be applied: a command that cannot must never get into the log, as it would stop every node.
pub(crate) fn decode<S: LargeStateMachine>(entries: &[Payload]) -> bool {
    entries.iter().all(|entry| match &entry.body {
        Body::Command(command) => {
            matches!(panic_caught(|| encoded::decode::<S::Command>(command)), Ok(Ok(_)))
        }
        Body::Blank | Body::Membership(_) | Body::RegisterSession { .. } => true,
    })
}

#[cfg(test)]
mod tests;
