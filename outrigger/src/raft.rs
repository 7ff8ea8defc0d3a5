//! The handle of a node: what a program does with it.
//!
//! ```text
//!   Raft::write ──► encode ──► RaftCore ──► log, peers ──► committed ──► state machine ──► response
//!   Raft::read  ──────────────► RaftCore ──► still the leader? ────────► state machine ──► answer
//!   Raft::read_local ──────────────────────────────────────────────────► state machine ──► answer, maybe of the past
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{ChangeRequest, Consistency, LogId, LogIndex, Payload, Refusal, SessionId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::LargeStateMachine;
use crate::builder::Builder;
use crate::config::Config;
use crate::error::{ChangeError, Error, ReadError, SnapshotError, StartError, WriteError, may_pass};
use crate::metrics::MetricsReceiver;
use crate::network::frame::BODY_BYTES_MAX;
use crate::runtime::apply::{Job, Jobs};
use crate::runtime::arrivals::{Inbox, Notice};
use crate::runtime::clock::Clock;
use crate::runtime::encoded::{EncodeError, encode};
use crate::runtime::order::{Order, OrderSlot};
use crate::runtime::respond::{BoxedRead, Doubt, Failure, ReadAnswer, ReadClosure, Reply, Responses, Slot};
use crate::runtime::retry::{Retry, is_worth_waiting};
use crate::runtime::sessions::{self, Denied};
use crate::runtime::snapshot::SnapshotSource;
use crate::runtime::spin::Lookout;
use crate::runtime::supervise::End;
use crate::session::Session;
use crate::watch;

mod leadership;
mod saving;
mod writing;

pub(crate) use saving::{Export, SaveFile};
pub use writing::Writes;

/// How often a caller who is alone looks for its answer before it sleeps, when that pays: for about 20 us.
const LOOKS_MAX: u32 = 500;

/// A group of commands travels to the leader in one frame: half of the largest, as many small ones have more beside them
/// than they count for.
const GROUP_BYTES_MAX: usize = BODY_BYTES_MAX / 2;

/// A write in a session is tried for so many request timeouts: one may pass before the loss of a leader shows.
const SESSION_PATIENCE: u32 = 4;

/// A node of a cluster that replicates a state machine. Cheap to clone; when the last clone is dropped the node stops.
///
/// Every method works on every node: what only the leader can do reaches it by itself.
///
/// ```
/// use outrigger::{Config, Raft, StateMachine};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Command = u64;
///     type Response = u64;
///     fn apply(&mut self, add: u64) -> u64 {
///         self.0 += add;
///         self.0
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), outrigger::Error> {
/// let config = Config {
///     listen_peer: "127.0.0.1:0".into(),
///     initial_cluster: [(1, "127.0.0.1:7101".into())].into(), // a cluster of one node
///     ..Config::default()
/// };
/// let raft = Raft::start(config, Counter::default()).await?;
/// assert_eq!(raft.write(3).await?, 3);
/// assert_eq!(raft.write(4).await?, 7);
/// assert_eq!(raft.read(|counter| counter.0).await?, 7);
/// raft.shutdown().await
/// # }
/// ```
pub struct Raft<S: LargeStateMachine>(Arc<Handle<S>>);

/// What the clones of a handle share.
struct Handle<S: LargeStateMachine> {
    config: Arc<Config>,
    inbox: Arc<Inbox<S>>,
    jobs: Arc<Jobs<S>>,
    metrics: MetricsReceiver,
    end: watch::Receiver<Option<End>>,
    /// The node's.
    clock: Clock,
    /// Where a caller waits who is alone.
    lookout: Lookout,
    /// The node's snapshots, while it runs.
    snapshots: SnapshotSource,
}

impl<S: LargeStateMachine> Drop for Handle<S> {
    fn drop(&mut self) {
        self.inbox.notice(Notice::Stop);
    }
}

impl<S: LargeStateMachine> Clone for Raft<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: LargeStateMachine> std::fmt::Debug for Raft<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raft").field("metrics", &self.0.metrics.latest()).finish_non_exhaustive()
    }
}

impl<S: LargeStateMachine> Raft<S> {
    pub(crate) fn new(
        config: Arc<Config>,
        (inbox, jobs, snapshots): (Arc<Inbox<S>>, Arc<Jobs<S>>, SnapshotSource),
        metrics: MetricsReceiver,
        end: watch::Receiver<Option<End>>,
        clock: Clock,
        processors: usize,
    ) -> Self {
        let lookout = Lookout::new(LOOKS_MAX, processors);
        Self(Arc::new(Handle { config, inbox, jobs, metrics, end, clock, lookout, snapshots }))
    }

    /// Starts a node on TCP, with its log in [`Config::data_dir`] or, without one, in memory. `state` is the state before
    /// the first command, the same on every node. Call it on a tokio runtime; the node lives on that.
    ///
    /// The node is up when this returns, but the cluster may still be electing its leader: requests wait for it.
    ///
    /// # Errors
    /// [`StartError`]: the settings do not fit together, the log cannot be opened, the address is in use.
    pub async fn start(config: Config, state: S) -> Result<Self, StartError> {
        Self::builder(config, state).start().await
    }

    /// Starts a node with another transport or another log.
    pub fn builder(config: Config, state: S) -> Builder<S> {
        Builder::new(config, state)
    }

    /// Changes the state on all nodes by one command, and answers what its [`apply`](crate::StateMachine::apply) returned on this
    /// one.
    /// When this returns, a majority of the nodes hold the command durably.
    ///
    /// It is applied at most once: without a leader this waits for one, up to [`Config::request_timeout`], but a try whose
    /// outcome is unknown is not repeated. Where that is not enough, write in a [session](Raft::session), which costs a
    /// few bytes more. Dropping the future leaves the outcome open.
    ///
    /// # Errors
    /// [`WriteError`], which says whether the command was certainly not applied, or whether nobody knows.
    pub async fn write(&self, command: S::Command) -> Result<S::Response, WriteError> {
        let submit = move |raft: &Self| {
            let payload = raft.payload(encode(&command)?)?;
            let (slot, reply) = Slot::one();
            raft.0.inbox.write(payload, slot)?;
            Ok(reply)
        };
        self.answered(submit, self.0.config.request_timeout).await
    }

    /// Changes the state by several commands, one right after the other: no other command comes between them. Answers
    /// their responses in the same order; without commands, at once. Together they may have 32 MiB, of which each command
    /// takes 32 bytes beside its own.
    ///
    /// They are not a transaction: when leadership changes in the middle, the first of them may be applied alone, and the
    /// outcome of the whole is unknown.
    ///
    /// # Errors
    /// As [`Raft::write`], for all of them together.
    pub async fn write_many(&self, commands: Vec<S::Command>) -> Result<Vec<S::Response>, WriteError> {
        let submit = move |raft: &Self| {
            let payloads = commands.iter().map(|command| raft.payload(encode(command)?)).collect::<Result<_, _>>()?;
            raft.submit_group(payloads)
        };
        let responses = self.answered(submit, self.0.config.request_timeout).await?;
        responses.into_iter().map(|response| response.map_err(WriteError::from)).collect()
    }

    /// Writes commands that are encoded already; each of them must decode and be within the limit, or all nodes stop. Waits for
    /// a leader no longer than `patience`.
    pub(crate) async fn write_encoded_within(
        &self,
        payloads: &[Payload],
        patience: Duration,
    ) -> Result<Responses<S::Response>, WriteError> {
        self.answered(|raft: &Self| raft.submit_group(payloads.to_vec()), patience).await
    }

    /// Begins a session of its own for whoever writes through it: see [`Session`]. It takes one entry, and costs as much as
    /// one write.
    ///
    /// Dropping the future may leave a session behind that nobody uses; it expires.
    ///
    /// # Errors
    /// As [`Raft::write`]; beginning another is always safe.
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine<Command = u64>>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error> {
    /// let session = raft.session().await?;
    /// session.write(5).await?; // applied once, even if the leader dies on the way
    /// # Ok(())
    /// # }
    /// ```
    pub async fn session(&self) -> Result<Session<S>, WriteError> {
        self.session_with(Duration::from_millis(sessions::TIME_TO_LIVE_MS)).await
    }

    /// As [`Raft::session`], kept for so long while nothing is written in it; at most a week.
    ///
    /// # Errors
    /// As [`Raft::session`].
    pub async fn session_with(&self, time_to_live: Duration) -> Result<Session<S>, WriteError> {
        let patience = self.0.config.request_timeout * SESSION_PATIENCE;
        let id = self.register_session(time_to_live, (patience, patience)).await?;
        Ok(Session::new(self.clone(), id, patience))
    }

    /// Registers a session. A try whose answer is lost is repeated: the session that it leaves behind expires.
    pub(crate) async fn register_session(
        &self,
        time_to_live: Duration,
        patience: (Duration, Duration),
    ) -> Result<SessionId, WriteError> {
        let milliseconds = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX);
        let registered = self.once(&Payload::register_session(milliseconds), Slot::passed, patience).await?;
        Ok(SessionId(registered.index.0))
    }

    /// Keeps a session alive.
    pub(crate) async fn keep_session_alive(
        &self,
        session: SessionId,
        patience: (Duration, Duration),
    ) -> Result<(), WriteError> {
        let used = self.once(&Payload::blank().in_session(session, 0), Slot::passed, patience).await;
        used.map(drop).map_err(|error| match error {
            // Nothing was to be applied.
            WriteError::SessionExpired { .. } => WriteError::SessionExpired { in_doubt: false },
            error => error,
        })
    }

    /// Writes in a session.
    pub(crate) async fn write_once(
        &self,
        command: &S::Command,
        (session, sequence): (SessionId, u64),
        patience: Duration,
    ) -> Result<S::Response, WriteError> {
        let payload = encode(command).map_err(NotSubmitted::from).and_then(|command| self.payload(command))?;
        self.once(&payload.in_session(session, sequence), Slot::one, (patience, patience)).await
    }

    /// Submits an entry that may come into the log twice without harm, again and again until it is answered or the time is
    /// over: that for further tries, and that for the answer to the last.
    async fn once<T>(
        &self,
        payload: &Payload,
        slot: impl Fn() -> (Slot<S::Response>, Reply<T>),
        (leader_patience, patience): (Duration, Duration),
    ) -> Result<T, WriteError> {
        let began = Instant::now();
        // The node answers every try when its own timeout is over: whoever has more patience needs no clock for the first.
        let outlasts = patience >= self.0.config.request_timeout * 2;
        let mut retry: Option<Retry> = None;
        let mut doubt = None;
        loop {
            let (slot, reply) = slot();
            let answer = match self.0.inbox.write(payload.clone(), slot) {
                Ok(()) if outlasts && retry.is_none() => self.first_answer(reply).await,
                Ok(()) => {
                    let answer = timeout_at(began + patience, self.first_answer(reply)).await;
                    answer.unwrap_or(Err(Failure::Unknown(Doubt::TimedOut)))
                }
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may_help = match failure {
                Failure::Refused(refusal) => may_pass(refusal),
                Failure::Unknown(why) => {
                    doubt = Some(why);
                    why != Doubt::Stopped
                }
                Failure::Denied(_) | Failure::Stopped => false,
            };
            let is_overloaded = matches!(failure, Failure::Refused(Refusal::Overloaded { .. }));
            if may_help && !self.is_removed() {
                let retry = retry.get_or_insert_with(|| self.retry(began, leader_patience, patience));
                if if is_overloaded { retry.relieve().await } else { retry.wait().await } {
                    continue;
                }
            }
            let failure = self.why(failure, may_help);
            return Err(match (failure, doubt) {
                (Failure::Denied(Denied::Expired), doubt) => WriteError::SessionExpired { in_doubt: doubt.is_some() },
                (Failure::Refused(_) | Failure::Stopped, Some(doubt)) => Failure::Unknown(doubt).into(),
                (failure, _) => failure.into(),
            });
        }
    }

    /// Reads the state such that everything is seen whose write was answered, anywhere, before this was called. `read`
    /// runs on this node's state; it should be short, because the next commands wait for it.
    ///
    /// Without a leader it waits for one, up to [`Config::request_timeout`].
    ///
    /// Dropping the future gives up waiting; `read` may run all the same.
    ///
    /// # Errors
    /// [`ReadError`]; trying again is always safe. When `read` panics, it answers that, and the node goes on.
    pub async fn read<R: Send + 'static>(&self, read: impl FnOnce(&S) -> R + Send + 'static) -> Result<R, ReadError> {
        self.read_with(Consistency::Linearizable, read).await
    }

    /// As [`Raft::read`], with a say in how new the state must be that `read` sees: what may be older costs less.
    ///
    /// # Errors
    /// As [`Raft::read`]. [`Refusal::TooStale`] comes at once, with how old this node's state is: another may have a newer one.
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error> {
    /// use std::time::Duration;
    /// use outrigger::Consistency;
    ///
    /// let bound = Consistency::Stale { staleness_max: Duration::from_millis(500) };
    /// let size = raft.read_with(bound, |state| size_of_val(state)).await?; // asks no other node
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_with<R: Send + 'static>(
        &self,
        consistency: Consistency,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.read_within(consistency, read, self.0.config.request_timeout).await
    }

    /// As [`Raft::read_with`], but waits for a leader no longer than `patience`.
    pub(crate) async fn read_within<R: Send + 'static>(
        &self,
        consistency: Consistency,
        mut read: impl FnOnce(&S) -> R + Send + 'static,
        patience: Duration,
    ) -> Result<R, ReadError> {
        let mut retry = None;
        loop {
            let (sender, receiver) = oneshot::channel();
            // A closure that is not taken in is gone with its box; it is refused for good then.
            let boxed = Box::new(ReadClosure { read, sender });
            self.0.inbox.read(consistency, boxed).map_err(|failure| self.read_error(failure))?;
            let failure = match receiver.await {
                Ok(ReadAnswer::Done(_, answer)) => return Ok(answer),
                Ok(ReadAnswer::Panicked(reason)) => return Err(ReadError::Panicked { reason }),
                Ok(ReadAnswer::NotRun(again, failure)) => {
                    read = again;
                    failure
                }
                Err(_) => return Err(ReadError::Stopped),
            };
            let may_wait = match failure {
                Failure::Refused(refusal) => is_worth_waiting(refusal),
                Failure::Unknown(doubt) => doubt == Doubt::LeaderSilent,
                Failure::Stopped | Failure::Denied(_) => false,
            };
            let waits = may_wait && !self.is_removed();
            if !waits || !retry.get_or_insert_with(|| self.retry_from_now(patience)).wait().await {
                return Err(self.read_error(self.why(failure, may_wait)));
            }
        }
    }

    /// Reads the state as this node has it now, which may be old: a node that is cut off does not know what it misses.
    /// Asks no other node.
    ///
    /// Dropping the future gives up waiting; `read` may run all the same.
    ///
    /// # Errors
    /// [`ReadError::Stopped`]; [`ReadError::Panicked`] when `read` panics; [`ReadError::TimedOut`] when the node waits
    /// for its disk before it can go on.
    pub async fn read_local<R: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.read_local_at(read).await.map(|(_, answer)| answer)
    }

    /// As [`Raft::read_local`]; also answers the index of the last entry that the state holds.
    ///
    /// # Errors
    /// As [`Raft::read_local`].
    pub async fn read_local_at<R: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<(LogIndex, R), ReadError> {
        let (sender, receiver) = oneshot::channel();
        let job: BoxedRead<S> = Box::new(ReadClosure { read, sender });
        let (limit, patience) = (self.0.config.limits.requests_max, self.0.config.request_timeout);
        let deadline = self.0.clock.now() + patience;
        let current = self.0.jobs.put(|jobs| {
            let current = jobs.len();
            if current < limit {
                jobs.push(Job::Read { reads: vec![job], deadline });
            }
            current
        });
        match current {
            Some(current) if current >= limit => {
                return Err(ReadError::Refused { refusal: Refusal::Overloaded { current, limit } });
            }
            Some(_) => {}
            None => return Err(ReadError::Stopped),
        }
        match receiver.await {
            Ok(ReadAnswer::Done(applied, answer)) => Ok((applied, answer)),
            Ok(ReadAnswer::Panicked(reason)) => Err(ReadError::Panicked { reason }),
            Ok(ReadAnswer::NotRun(_, failure)) => Err(self.read_error(failure)),
            Err(_) => Err(ReadError::Stopped),
        }
    }

    /// Changes the members: adds, promotes, demotes and removes nodes, and says where they are reached. One call leads from any
    /// voters to any others (thesis, section 4.3); new voters receive the log before they vote. Answers the entry that says who
    /// the members are now, when it is committed. Meanwhile [`Metrics::membership`](crate::Metrics::membership) and
    /// [`Metrics::matched`](crate::Metrics::matched) of the leader show how far it has come.
    ///
    /// Only the leader can do it; another node refuses, and its metrics say who leads. Dropping the future does not stop the
    /// change, and neither does the end of the leader: the next one ends what is begun.
    ///
    /// # Errors
    /// [`ChangeError`], which says whether certainly nothing has changed, or whether nobody knows yet.
    ///
    /// ```no_run
    /// use outrigger::engine::{ChangeMembers, Node, NodeId};
    /// # async fn add<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::ChangeError> {
    /// let fourth = Node { address: "10.0.0.4:7101".into() };
    /// raft.change_members(ChangeMembers::AddVoters([(NodeId(4), fourth)].into())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_members(&self, request: impl Into<ChangeRequest>) -> Result<LogId, ChangeError> {
        let (slot, answer) = oneshot::channel();
        self.0.inbox.notice(Notice::Change(Arc::new(request.into()), OrderSlot::Entry(slot)));
        match answer.await {
            Ok(Ok(at)) => Ok(at),
            Ok(Err(Failure::Refused(refusal))) => Err(ChangeError::Refused { refusal }),
            Ok(Err(Failure::Unknown(doubt))) => Err(ChangeError::Unknown { reason: doubt.to_string() }),
            Ok(Err(Failure::Stopped | Failure::Denied(_))) | Err(_) => Err(ChangeError::Stopped),
        }
    }

    /// Takes a snapshot of all that is committed here now, whatever the policy says, and drops what it covers from the log, but
    /// for [`Config::snapshot_keep_entries`](crate::Config::snapshot_keep_entries). Answers the last entry that it covers, once it
    /// is durable. Every node takes its own; on the leader it is what followers are sent that lack more than the log holds.
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`SnapshotError`]. Nothing is lost by any of them.
    ///
    /// ```no_run
    /// # async fn take<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::SnapshotError> {
    /// let last = raft.snapshot().await?;
    /// println!("a snapshot covers all up to {last}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn snapshot(&self) -> Result<LogId, SnapshotError> {
        self.about_snapshots(Order::TakeSnapshot).await
    }

    /// Drops from this node's log what its newest snapshot covers, but for the last `keep_entries` of it, for followers that are a
    /// little behind, whatever [`Config::snapshot_keep_entries`](crate::Config::snapshot_keep_entries) says. Takes no snapshot:
    /// [take one](Raft::snapshot) first for the shortest log. Answers behind which entry the log goes on;
    /// [`LogId::ZERO`](crate::engine::LogId::ZERO) if it holds everything, as where no snapshot was taken. The disk has the room again
    /// a moment later. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`SnapshotError::Stopped`], or [`SnapshotError::Refused`] by a node that has halted.
    ///
    /// ```no_run
    /// # async fn purge<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::SnapshotError> {
    /// raft.snapshot().await?;
    /// let through = raft.purge(1_000).await?;
    /// println!("the log goes on behind {through}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge(&self, keep_entries: u64) -> Result<LogId, SnapshotError> {
        self.about_snapshots(Order::Purge { keep_entries }).await
    }

    async fn about_snapshots(&self, order: Order) -> Result<LogId, SnapshotError> {
        let (slot, answer) = oneshot::channel();
        self.order(order, OrderSlot::Entry(slot));
        match answer.await {
            Ok(Ok(last)) => Ok(last),
            Ok(Err(Failure::Refused(refusal))) => Err(SnapshotError::Refused { refusal }),
            Ok(Err(Failure::Unknown(_) | Failure::Stopped | Failure::Denied(_))) | Err(_) => {
                Err(SnapshotError::Stopped)
            }
        }
    }

    /// Watches what the node is and knows.
    #[must_use]
    pub fn metrics(&self) -> MetricsReceiver {
        self.0.metrics.fresh()
    }

    /// The settings that the node was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Stops the node and waits until all of it has ended: its log is written, its port is free, none of its tasks and
    /// threads is left. Callers who wait are told. Calling it again does no harm.
    ///
    /// Dropping the future does not keep the node from stopping.
    ///
    /// # Errors
    /// [`Error::Fault`] if a fault had stopped the node before.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.inbox.notice(Notice::Stop);
        self.stopped().await
    }

    /// Waits until the node has stopped: by [`Raft::shutdown`], or by a fault.
    ///
    /// Dropping the future does nothing to the node.
    ///
    /// # Errors
    /// [`Error::Fault`]: the log failed, or the state machine could not apply an entry.
    pub async fn stopped(&self) -> Result<(), Error> {
        let mut end = self.0.end.clone();
        let end = end.wait_for(Option::is_some).await.ok().flatten();
        let id = self.0.config.id;
        match end {
            Some(End::Told) => Ok(()),
            Some(End::Fault(reason)) => Err(Error::Fault { id, reason }),
            None => Err(Error::Fault { id, reason: "the runtime that it lived on has ended".to_owned() }),
        }
    }

    /// Nobody leads whom this node could wait for: somebody else must be asked.
    fn is_removed(&self) -> bool {
        self.0.metrics.latest().is_removed()
    }

    /// That nobody leads is true of a node that has stopped, or was removed, but it is not why.
    fn why(&self, failure: Failure, may_wait: bool) -> Failure {
        match failure {
            _ if may_wait && self.has_stopped() => Failure::Stopped,
            Failure::Refused(_) if may_wait && self.is_removed() => Failure::Refused(Refusal::NotMember),
            failure => failure,
        }
    }

    fn has_stopped(&self) -> bool {
        self.0.end.latest().is_some() || self.0.metrics.latest().fault.is_some()
    }

    // ---- writes, step by step ----------------------------------------------------------------------------------

    /// Submits a write, and again for as long as it was certainly not taken in and may be later.
    async fn answered<T>(
        &self,
        mut submit: impl FnMut(&Self) -> Result<Reply<T>, NotSubmitted>,
        patience: Duration,
    ) -> Result<T, WriteError> {
        let mut retry: Option<Retry> = None;
        loop {
            let reply = submit(self)?;
            let answer = match &retry {
                None => self.first_answer(reply).await,
                Some(retry) => retry.answer(reply).await,
            };
            let failure = match answer {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let may_wait = matches!(failure, Failure::Refused(refusal) if is_worth_waiting(refusal));
            let waits = may_wait && !self.is_removed();
            if !waits || !retry.get_or_insert_with(|| self.retry_from_now(patience)).wait().await {
                return Err(self.why(failure, may_wait).into());
            }
        }
    }

    async fn first_answer<T>(&self, mut reply: Reply<T>) -> Result<T, Failure> {
        if self.0.inbox.has_one_caller()
            && let Some(answer) = self.0.lookout.find(|| reply.look())
        {
            return answer;
        }
        reply.await
    }

    fn submit_group(&self, payloads: Vec<Payload>) -> Result<Reply<Responses<S::Response>>, NotSubmitted> {
        if payloads.is_empty() {
            return Ok(Reply::ready(Vec::new()));
        }
        let bytes = payloads.iter().map(Payload::bytes).sum();
        // One alone has its own limit.
        if bytes > GROUP_BYTES_MAX && payloads.len() > 1 {
            return Err(Failure::Refused(Refusal::EntryTooLarge { bytes, limit: GROUP_BYTES_MAX }).into());
        }
        let (slot, reply) = Slot::group(payloads.len());
        self.0.inbox.write_group(payloads, slot)?;
        Ok(reply)
    }

    fn payload(&self, command: Bytes) -> Result<Payload, NotSubmitted> {
        let (bytes, limit) = (command.len(), self.0.config.limits.entry_bytes_max);
        if bytes > limit {
            return Err(Failure::Refused(Refusal::EntryTooLarge { bytes, limit }).into());
        }
        Ok(Payload::command(command))
    }

    /// Waits for a leader for so long from now on, and for an answer as long as the node does.
    fn retry_from_now(&self, patience: Duration) -> Retry {
        self.retry(Instant::now(), patience, self.0.config.request_timeout)
    }

    fn retry(&self, began: Instant, patience: Duration, timeout: Duration) -> Retry {
        Retry::new(self.metrics(), began, (patience, timeout), self.0.config.heartbeat_interval)
    }

    fn read_error(&self, failure: Failure) -> ReadError {
        match failure {
            Failure::Refused(refusal) => ReadError::Refused { refusal },
            Failure::Unknown(Doubt::Stopped) | Failure::Stopped | Failure::Denied(_) => ReadError::Stopped,
            Failure::Unknown(_) => ReadError::TimedOut { waited: self.0.config.request_timeout },
        }
    }
}

/// Why a write did not get into the inbox: nothing was done.
enum NotSubmitted {
    Failed(Failure),
    Encode(EncodeError),
}

impl From<Failure> for NotSubmitted {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<EncodeError> for NotSubmitted {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<NotSubmitted> for WriteError {
    fn from(why: NotSubmitted) -> Self {
        match why {
            NotSubmitted::Failed(failure) => failure.into(),
            NotSubmitted::Encode(EncodeError { reason }) => Self::Encode { reason },
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::NotApplied { refusal },
            Failure::Unknown(doubt) => Self::Unknown { reason: doubt.to_string() },
            Failure::Stopped => Self::Stopped,
            Failure::Denied(denied) => denied.into(),
        }
    }
}

impl From<Denied> for WriteError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Expired => Self::SessionExpired { in_doubt: false },
            Denied::Forgotten => Self::Forgotten,
            Denied::NotKept => Self::ResponseNotKept,
        }
    }
}
