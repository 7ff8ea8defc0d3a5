//! Writes and queries from another process.
//!
//! ```text
//!   Client ──┬── link ═══ TCP ═══ service ──┐
//!            │   (one connection for each   ├─► Raft handle of that node ─► the leader, wherever it is
//!            └── link ═══ endpoint in use)  │
//!                                           └─► answers, in any order, and who leads now
//! ```
//!
//! A [`Client`] asks the leader once it knows where it is, and any endpoint until then. It writes in sessions of its own
//! ([`runtime::sessions`](crate::runtime::sessions)), so that it may try again whatever became of the last attempt, until its
//! patience is over, and the write is applied once. Without sessions it repeats only what was certainly not done, and reports
//! the rest as [`ClientError::Unknown`]. Queries change nothing, so that they are always repeated.
//!
//! A request is handed only to a node that has said hello on this connection. When one does not within 100 ms, the next
//! endpoint is dialled beside it, and so on; the first to say hello gets the request, and no other.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use outrigger_engine::{ChangeRequest, Consistency, LogId, LogIndex, NodeId, Preconditions, Term, Transferred};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};

use crate::Query;
use crate::config::DURATION_MAX;
use crate::network::frame::BODY_BYTES_MAX;
use crate::network::handshake::Rejection;
use crate::network::random::Random;
use crate::runtime::sessions::{Denied, TIME_TO_LIVE_MS};
use endpoints::Endpoints;
use link::{Hear, Link, LinkError, Phase};
use protocol::{ANY_CLUSTER, Leader, Operation, Outcome};
use session::Pool;

mod again;
mod endpoints;
mod error;
mod follow;
mod leadership;
mod link;
mod members;
mod protocol;
mod service;
mod session;
mod snapshots;
mod status;

#[doc(hidden)]
pub use again::{answer_again, change_again, frame_again, opened_again, status_again, wanted_again};
pub use error::ClientError;
pub use members::MembersChanged;
pub use session::ClientSession;
pub use status::NodeStatus;

/// How long a request is tried when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest command or query: with what stands before it, it fits into a frame. A cluster's own limit is lower.
const REQUEST_BYTES_MAX: usize = BODY_BYTES_MAX - 1024;

/// The first pause before a request that was not done is tried again; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// With less time left than this, and than a fifth of the whole, a write is not tried again.
const ANSWER_MARGIN_MIN: Duration = Duration::from_millis(100);

/// For so long a node may be silent before another is dialled beside it.
const HEAD_START: Duration = Duration::from_millis(100);

/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// An answer from one node's state as it has it, which may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// The last entry that the state has in it.
    pub applied: LogIndex,
    /// The answer.
    pub answer: T,
}

/// Talks to a cluster from another process; cheap to clone, and all clones share their connections.
///
/// ```no_run
/// use outrigger::client::Client;
/// # use outrigger::{Query, StateMachine};
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// # struct Counter(u64);
/// # impl StateMachine for Counter {
/// #     type Command = u64;
/// #     type Response = u64;
/// #     fn apply(&mut self, add: u64) -> u64 { self.0 += add; self.0 }
/// # }
/// # impl Query for Counter {
/// #     type Query = ();
/// #     type Answer = u64;
/// #     fn query(&self, (): ()) -> u64 { self.0 }
/// # }
/// # async fn example() -> Result<(), outrigger::client::ClientError> {
/// let client = Client::<Counter>::connect(["127.0.0.1:7201", "127.0.0.1:7202", "127.0.0.1:7203"]).await?;
/// let sum = client.write(5).await?;
/// assert!(client.query(()).await? >= sum);
/// # Ok(())
/// # }
/// ```
pub struct Client<S> {
    shared: Arc<Shared>,
    /// How long a request is tried.
    patience: Duration,
    /// Whether writes are numbered in sessions.
    in_sessions: bool,
    /// For how long such a session is kept while nothing is written in it.
    time_to_live: Duration,
    /// Only its types are used.
    state_machine: PhantomData<fn() -> S>,
}

impl<S> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ..*self }
    }
}

/// What the clones of a client share.
struct Shared {
    /// Whom to ask, and who leads.
    told: Arc<Told>,
    /// The connections in use, by endpoint.
    links: Mutex<BTreeMap<String, Arc<Link>>>,
    /// The sessions that writes are numbered in.
    pool: Pool,
    /// Spreads the pauses of clients that lost the same node.
    random: Mutex<Random>,
}

/// What the nodes told.
struct Told {
    endpoints: Mutex<Endpoints>,
    /// The cluster, once a node has told its own.
    cluster: AtomicU64,
}

impl<S: Query> Client<S> {
    /// A client of the cluster that has these endpoints: addresses (`127.0.0.1:7201`, `[::1]:7201`) or host names with
    /// a port. Connections are made when they are needed, so that the nodes need not be up yet.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] when there is none, or one has no port.
    #[expect(clippy::unused_async, reason = "it may shake hands one day, and callers should not change then")]
    pub async fn connect(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ClientError> {
        let named: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let is_endpoint = |text: &str| {
            text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if let Some(endpoint) = named.iter().find(|text| !is_endpoint(text)) {
            return Err(ClientError::Endpoint { endpoint: endpoint.clone() });
        }
        if named.is_empty() {
            return Err(ClientError::Endpoint { endpoint: String::new() });
        }
        // The address of what is allocated differs from client to client, and so do their seeds.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &named);
        let endpoints = Mutex::new(Endpoints::new(named, 0));
        let told = Arc::new(Told { endpoints, cluster: AtomicU64::new(ANY_CLUSTER) });
        let random = Mutex::new(Random::new(seed));
        let shared = Shared { told, links: Mutex::default(), pool: Pool::default(), random };
        Ok(Self {
            shared: Arc::new(shared),
            patience: PATIENCE,
            in_sessions: true,
            time_to_live: Duration::from_millis(TIME_TO_LIVE_MS),
            state_machine: PhantomData,
        })
    }

    /// How long a request is tried, from its call to its end; 10 s when nothing is said, and at most a year.
    #[must_use]
    pub fn with_timeout(self, patience: Duration) -> Self {
        Self { patience: patience.min(DURATION_MAX), ..self }
    }

    /// Writes without sessions: each at most once. A write whose answer is lost is not repeated, and nobody knows what became
    /// of it. It spares the entry that registers a session.
    #[must_use]
    pub fn without_sessions(self) -> Self {
        Self { in_sessions: false, ..self }
    }

    /// For how long the cluster keeps this client's sessions while nothing is written in them; an hour when nothing is said, and
    /// at most a week. A program that writes once and ends should leave no session behind for so long: it may say little more
    /// than how long it [tries](Client::with_timeout).
    #[must_use]
    pub fn with_session_time_to_live(self, time_to_live: Duration) -> Self {
        Self { time_to_live, ..self }
    }

    /// Replicates and applies a command, exactly once, and returns its response.
    ///
    /// It is tried here and there until the time is over, whatever crashes: the first write registers a session, in which it
    /// and those that follow are numbered, and further sessions when one is full. A session that has expired between two
    /// writes is replaced. Dropping the future gives up waiting: the command may be applied all the same, but not twice.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::outcome`] tells whether the command may have been applied.
    pub async fn write(&self, command: S::Command) -> Result<S::Response, ClientError> {
        let command = encode(&command)?;
        let response = match self.in_sessions {
            true => self.shared.write_once(command, self.time_to_live, self.patience).await?,
            false => self.ask(Operation::Write, command).await?.1,
        };
        decode(&response)
    }

    /// Begins a session of the caller's own, kept for an hour while nothing is written in it. [`Client::write`] has sessions by
    /// itself; this is for who wants to know when one ends, and what an earlier try may have done then.
    ///
    /// Dropping the future may leave a session behind that nobody uses; it expires.
    ///
    /// # Errors
    /// See [`ClientError`]; beginning another is always safe.
    pub async fn session(&self) -> Result<ClientSession<S>, ClientError> {
        self.session_with(Duration::from_millis(TIME_TO_LIVE_MS)).await
    }

    /// As [`Client::session`], kept for so long while nothing is written in it; at most a week.
    ///
    /// # Errors
    /// As [`Client::session`].
    pub async fn session_with(&self, time_to_live: Duration) -> Result<ClientSession<S>, ClientError> {
        ClientSession::begin(self.clone(), time_to_live).await
    }

    /// Asks the state: the answer has in it all that was acknowledged before the call (linearizable).
    ///
    /// Dropping the future gives up waiting; a query changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query(&self, query: S::Query) -> Result<S::Answer, ClientError> {
        self.query_with(Consistency::Linearizable, query).await
    }

    /// As [`Client::query`], with a say in how new the state must be: what may be older costs less. A node whose state is too old
    /// for [`Consistency::Stale`] says so, and another is asked.
    ///
    /// Dropping the future gives up waiting.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query_with(&self, consistency: Consistency, query: S::Query) -> Result<S::Answer, ClientError> {
        let (_, answer) = self.ask(Operation::Query { consistency }, encode(&query)?).await?;
        decode(&answer)
    }

    /// Asks the state of one of the endpoints that [`connect`](Client::connect) was given, as that node has it: fast,
    /// possible without a leader, and possibly old.
    ///
    /// Dropping the future gives up waiting.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query_local(&self, query: S::Query) -> Result<Answered<S::Answer>, ClientError> {
        let (applied, answer) = self.ask(Operation::QueryLocal, encode(&query)?).await?;
        Ok(Answered { applied, answer: decode(&answer)? })
    }

    /// How one of the endpoints that [`connect`](Client::connect) was given is.
    ///
    /// Dropping the future gives up waiting; nothing is changed by asking.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        let (_, status) = self.ask(Operation::Status, Bytes::new()).await?;
        NodeStatus::decode(status).map_err(|error| ClientError::Decode { reason: error.to_string() })
    }

    /// Has one of the endpoints that [`connect`](Client::connect) was given take a snapshot of its state now, whatever its policy
    /// says, and drop what it covers from its log; see [`Raft::snapshot`](crate::Raft::snapshot). Answers the last entry that it
    /// covers, once it is durable. Doing it again does no harm.
    ///
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is nothing to take one of, or it could not be kept or not in time; else as for a
    /// query.
    pub async fn snapshot(&self) -> Result<LogId, ClientError> {
        let (_, last) = self.ask(Operation::Snapshot, Bytes::new()).await?;
        protocol::decode_log_id(last).map_err(|error| ClientError::Decode { reason: error.to_string() })
    }

    /// Has one of the endpoints that [`connect`](Client::connect) was given drop from its log what its newest snapshot covers, but for
    /// the last `keep_entries` of it; see [`Raft::purge`](crate::Raft::purge). Answers behind which entry its log goes on. Doing it
    /// again does no harm.
    ///
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    /// As for a [snapshot](Client::snapshot).
    pub async fn purge(&self, keep_entries: u64) -> Result<LogId, ClientError> {
        let (_, through) = self.ask(Operation::Purge, protocol::encode_number(keep_entries)).await?;
        protocol::decode_log_id(through).map_err(|error| ClientError::Decode { reason: error.to_string() })
    }

    /// Changes the members of the cluster; see [`Raft::change_members`](crate::Raft::change_members). Answers who they are when
    /// that is committed. New voters receive the log first: grant it [time](Client::with_timeout).
    ///
    /// What has certainly not begun, as nobody leads, is tried again until the time is over. A change that has begun goes on
    /// when this future is dropped, when its time is over, and when the leader dies: the next one ends it. If the answer is lost, the
    /// leader is asked until the members are as wanted, by changes of nothing; one with
    /// [preconditions](ChangeRequest::preconditions) is not followed so, as the members may be as wanted by another's change.
    ///
    /// # Errors
    /// [`ClientError::MembersNotChanged`] when the leader refuses; [`ClientError::Unknown`] when its answer was lost, and no leader
    /// has confirmed that the members are as wanted before the time was over, or for three seconds in which no change was under way. A
    /// change of nothing ([`ChangeMembers::Batch`](outrigger_engine::ChangeMembers::Batch) of none) tells later who they are. The others
    /// as for a write.
    pub async fn change_members(&self, request: impl Into<ChangeRequest>) -> Result<MembersChanged, ClientError> {
        let (request, deadline) = (request.into(), Instant::now() + self.patience);
        let answer = match self.ask(Operation::ChangeMembers, members::encode_request(&request)).await {
            Ok((_, answer)) => members::decode_answer(answer),
            Err(ClientError::Unknown { reason }) if request.preconditions == Preconditions::default() => {
                let followed = self.shared.follow(&request, deadline).await;
                return followed.ok_or(ClientError::Unknown { reason });
            }
            Err(error) => return Err(error),
        };
        let answer = answer.map_err(|error| ClientError::Decode { reason: error.to_string() })?;
        answer.map_err(|refusal| ClientError::MembersNotChanged { refusal })
    }

    /// Has the leader hand its leadership over to a voter, or to the one that lacks the least; see
    /// [`Raft::transfer_leadership`](crate::Raft::transfer_leadership). Answers who leads when that one is heard from. It is asked
    /// again when an answer is lost, which does no harm if a node is named; else leadership may move on once more.
    ///
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`ClientError::NotTransferred`] when it is not handed over; else as for a query.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<Transferred, ClientError> {
        let (_, answer) = self.ask(Operation::Transfer, leadership::encode_heir(to)).await?;
        let answer = leadership::decode_transferred(answer);
        let answer = answer.map_err(|error| ClientError::Decode { reason: error.to_string() })?;
        answer.map_err(|why| ClientError::NotTransferred { why })
    }

    /// Has one of the endpoints that [`connect`](Client::connect) was given campaign now, with pre-vote or without; see
    /// [`Raft::elect`](crate::Raft::elect). Answers the term in which it leads.
    ///
    /// Dropping the future does not stop the campaign.
    ///
    /// # Errors
    /// [`ClientError::NotElected`] when it is not elected; else as for a query.
    pub async fn elect(&self, pre_vote: bool) -> Result<Term, ClientError> {
        let (_, answer) = self.ask(Operation::Elect, leadership::encode_pre_vote(pre_vote)).await?;
        let answer = leadership::decode_elected(answer);
        let answer = answer.map_err(|error| ClientError::Decode { reason: error.to_string() })?;
        answer.map_err(|why| ClientError::NotElected { why })
    }

    /// Tells one of the endpoints that [`connect`](Client::connect) was given how much it shall want to lead, from 0 to 255, the most;
    /// see [`Raft::set_priority`](crate::Raft::set_priority).
    ///
    /// Dropping the future does not undo it.
    ///
    /// # Errors
    /// As for a query.
    pub async fn set_priority(&self, priority: u8) -> Result<(), ClientError> {
        self.ask(Operation::SetPriority, protocol::encode_number(priority.into())).await.map(|_| ())
    }

    async fn ask(&self, operation: Operation, body: Bytes) -> Result<(LogIndex, Bytes), ClientError> {
        self.shared.ask(operation, body, self.patience).await
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes, ClientError> {
    let bytes = postcard::to_stdvec(value).map_err(|error| ClientError::Encode { reason: error.to_string() })?;
    Ok(bytes.into())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    postcard::from_bytes(bytes).map_err(|error| ClientError::Decode { reason: error.to_string() })
}

/// What one attempt came to.
enum Attempt {
    /// The request is done.
    Done(LogIndex, Bytes),
    /// It will never be done, or perhaps is.
    Failed(ClientError),
    /// This is all that the session can say.
    Denied(Denied),
    /// Another attempt may help, for this reason, which a node gave itself or not. Certainly nothing was done unless it is in
    /// doubt, and then doing it again does no harm.
    Again { reason: String, by_node: bool, in_doubt: bool },
}

impl Shared {
    /// Tries a request here and there until it is done, or may be, or the time is over.
    async fn ask(
        &self,
        operation: Operation,
        body: Bytes,
        patience: Duration,
    ) -> Result<(LogIndex, Bytes), ClientError> {
        if body.len() > REQUEST_BYTES_MAX {
            let reason = format!("a request of {} bytes exceeds the limit of {REQUEST_BYTES_MAX} bytes", body.len());
            return Err(ClientError::Refused { reason });
        }
        let start = Instant::now();
        let deadline = start + patience;
        // A write that certainly is not applied yet is not put at stake by an attempt whose answer might come too late.
        let margin = if operation.changes() { (patience / 5).max(ANSWER_MARGIN_MIN) } else { Duration::ZERO };
        let (mut attempts, mut in_doubt) = (0, false);
        // A node that says why tells more than one that cannot be reached.
        let mut told: Option<String> = None;
        loop {
            // What may be stale needs no leader; it is for whoever the client is at home with, unless that one lags.
            let named = operation.is_local() || (operation.may_be_stale() && attempts == 0);
            let reason = match self.attempt(operation, body.clone(), named, deadline).await {
                Attempt::Done(applied, answer) => return Ok((applied, answer)),
                // This attempt was refused; an earlier one may have been taken in elsewhere.
                Attempt::Failed(ClientError::Refused { reason }) if in_doubt => {
                    return Err(ClientError::Unknown { reason });
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::Denied(Denied::Expired) => return Err(ClientError::SessionExpired { in_doubt }),
                Attempt::Denied(Denied::NotKept) => return Err(ClientError::ResponseNotKept),
                Attempt::Denied(denied) => return Err(ClientError::Unknown { reason: denied.to_string() }),
                Attempt::Again { reason, by_node, in_doubt: doubt } => {
                    in_doubt |= doubt;
                    if by_node { told.insert(reason).clone() } else { told.clone().unwrap_or(reason) }
                }
            };
            // What is in doubt already is not put at stake any more.
            let margin = if in_doubt { Duration::ZERO } else { margin };
            let next = Instant::now() + self.pause(attempts);
            // What is asked for is how it is now: a node that is not there is an answer too.
            if operation == Operation::Status || next + margin >= deadline {
                // Whole milliseconds: more is of no use to anybody. Who gave up at once did not wait for so long.
                let waited = if operation == Operation::Status && Instant::now() < deadline {
                    Duration::ZERO
                } else {
                    Duration::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
                };
                return Err(if in_doubt {
                    ClientError::Unknown { reason }
                } else if operation.changes() {
                    ClientError::NotApplied { waited, reason }
                } else {
                    ClientError::NotAnswered { waited, reason }
                });
            }
            sleep_until(next).await;
            attempts += 1;
        }
    }

    async fn attempt(&self, operation: Operation, body: Bytes, named: bool, deadline: Instant) -> Attempt {
        let (endpoint, link) = match self.link(named, deadline).await {
            Ok(found) => found,
            Err(reason) => return Attempt::Again { reason, by_node: false, in_doubt: false },
        };
        let outcome = link.ask(operation, body, deadline).await;
        match &outcome {
            Err(_) => self.told.endpoints().failed(&endpoint, Instant::now()),
            // Nobody is left for what may be too old for a moment, as long as there is somebody else to ask now.
            Ok(Outcome::NotNow { .. }) if named && operation.may_be_stale() && self.leads_elsewhere(&endpoint) => {}
            Ok(Outcome::NotNow { .. }) => self.told.endpoints().turn(&endpoint, Instant::now()),
            // It may be this node that cannot tell; another one may.
            Ok(Outcome::Unknown { .. }) if !operation.is_at_most_once() && !operation.is_query() => {
                self.told.endpoints().turn(&endpoint, Instant::now());
            }
            Ok(_) => {}
        }
        match outcome {
            Ok(Outcome::Done { applied, body }) => Attempt::Done(applied, body),
            Ok(Outcome::Never { reason }) => Attempt::Failed(ClientError::Refused { reason }),
            Ok(Outcome::Denied(denied)) => Attempt::Denied(denied),
            Ok(Outcome::NotNow { reason }) => Attempt::Again { reason, by_node: true, in_doubt: false },
            Ok(Outcome::Unknown { reason }) | Err(LinkError { sent: true, reason }) if operation.is_at_most_once() => {
                Attempt::Failed(ClientError::Unknown { reason })
            }
            // It was asked, and its answer cannot be sent: nor could another's.
            Ok(Outcome::Unknown { reason }) if operation.is_query() => Attempt::Failed(ClientError::Refused { reason }),
            Ok(Outcome::Unknown { reason }) => Attempt::Again { reason, by_node: true, in_doubt: operation.changes() },
            Err(LinkError { reason, sent }) => {
                Attempt::Again { reason, by_node: false, in_doubt: sent && operation.changes() }
            }
        }
    }

    /// The connection to ask on: to the endpoint whose turn it is if it is up, else to the first that says hello. The error
    /// says why there is none.
    async fn link(&self, named: bool, deadline: Instant) -> Result<(String, Arc<Link>), String> {
        let endpoint = self.told.endpoints().choose(named, Instant::now()).to_owned();
        let link = self.links().get(&endpoint).cloned();
        match link {
            Some(link) if link.phase() == Phase::Up => return Ok((endpoint, link)),
            // It was in use, or was not looked at since another was faster.
            Some(link) if link.phase() == Phase::Ended => self.told.endpoints().failed(&endpoint, Instant::now()),
            _ => {}
        }
        let candidates = self.told.endpoints().candidates(named, Instant::now());
        let (endpoint, link) = self.race(candidates, deadline).await?;
        self.told.endpoints().prefer(&endpoint, named);
        Ok((endpoint, link))
    }

    /// Whether a leader is known that is not at this endpoint.
    fn leads_elsewhere(&self, endpoint: &str) -> bool {
        self.told.endpoints().choose(false, Instant::now()) != endpoint
    }

    /// Dials one endpoint after another, each with a head start, until one says hello. The others go on dialling: they may
    /// be needed next.
    async fn race(&self, endpoints: Vec<String>, deadline: Instant) -> Result<(String, Arc<Link>), String> {
        let mut endpoints = endpoints.into_iter().peekable();
        let mut running = JoinSet::new();
        // Each that was dialled, and why it is of no use: all of them, so that nobody looks at one alone.
        let mut failed: BTreeMap<String, String> = BTreeMap::new();
        while !running.is_empty() || endpoints.peek().is_some() {
            let mut until = deadline;
            if let Some(endpoint) = endpoints.next() {
                let link = self.dialled(&endpoint);
                failed.insert(endpoint.clone(), format!("{endpoint}: it did not say hello in time"));
                if endpoints.peek().is_some() {
                    until = deadline.min(link.since() + HEAD_START);
                }
                running.spawn(async move { (link.is_up().await, endpoint, link) });
            }
            match timeout_at(until, running.join_next()).await {
                Ok(Some(Ok((Ok(()), endpoint, link)))) => return Ok((endpoint, link)),
                Ok(Some(Ok((Err(why), endpoint, _)))) => {
                    self.told.endpoints().failed(&endpoint, Instant::now());
                    failed.insert(endpoint, why);
                }
                Ok(_) => {}
                Err(_) if Instant::now() >= deadline => break,
                Err(_) => {}
            }
        }
        let reasons: Vec<String> = failed.into_values().collect();
        Err(if reasons.is_empty() { "no endpoint said hello in time".to_owned() } else { reasons.join("; ") })
    }

    /// The connection to an endpoint, made anew if there is none.
    fn dialled(&self, endpoint: &str) -> Arc<Link> {
        let mut links = self.links();
        links.retain(|_, link| link.phase() != Phase::Ended);
        let dial = || {
            Arc::new(Link::dial(endpoint.to_owned(), self.told.cluster.load(Ordering::Relaxed), Arc::clone(&self.told)))
        };
        Arc::clone(links.entry(endpoint.to_owned()).or_insert_with(dial))
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait before the next attempt. Every endpoint is tried once before there is a pause.
    fn pause(&self, attempts: u32) -> Duration {
        let rounds = attempts + 1 - u32::try_from(self.told.endpoints().len()).unwrap_or(u32::MAX).min(attempts + 1);
        if rounds == 0 {
            return Duration::ZERO;
        }
        let pause = BACKOFF_MIN.saturating_mul(1 << rounds.min(16)).min(BACKOFF_MAX);
        let half = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX / 2);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(half + random.below(half + 1))
    }
}

impl Told {
    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hear for Told {
    fn cluster(&self, cluster: u64) -> Result<(), Rejection> {
        match self.cluster.compare_exchange(ANY_CLUSTER, cluster, Ordering::Relaxed, Ordering::Relaxed) {
            Err(known) if known != cluster => Err(Rejection::Cluster { ours: known, theirs: cluster }),
            _ => Ok(()),
        }
    }

    fn leader(&self, leader: Leader) {
        self.endpoints().learn(leader);
    }
}

#[cfg(test)]
mod tests;
