//! The requests that arrived together: judged one by one, done together, answered together.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::LogIndex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::Desk;
use crate::client::protocol::{Operation, Outcome, Request};
use crate::error::{ReadError, WriteError};
use crate::{Config, Query};

/// So many requests make a full batch: beyond that, sharing saves nothing more.
const REQUESTS_MAX: usize = 1024;

/// And so many bytes.
const BYTES_MAX: usize = 1 << 20;

/// Of the time that a client waits, a leader is waited for this part, so that the client hears in time that nothing
/// was done, not that nobody knows.
const LEADER_PATIENCE_PERCENT: u32 = 90;

/// ... and no longer than this.
const LEADER_PATIENCE_MAX: Duration = Duration::from_millis(500);

/// A request is told apart by its id; and how many bytes it weighs.
type Ticket = (u64, usize);

/// Requests that wait to be started.
pub(super) struct Batch<S: Query> {
    /// Encoded commands, each of which decodes.
    writes: Group<Bytes>,
    /// Linearizable queries.
    queries: Group<S::Query>,
    /// Queries of the state as this node has it.
    local_queries: Group<S::Query>,
    /// The bytes of all of them.
    bytes: usize,
}

struct Group<T> {
    tickets: Vec<Ticket>,
    /// What is asked; as many as tickets.
    items: Vec<T>,
    /// The shortest and the longest time that the clients wait for one of them.
    patience: (Duration, Duration),
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self { tickets: Vec::new(), items: Vec::new(), patience: (Duration::MAX, Duration::ZERO) }
    }
}

impl<T> Group<T> {
    fn add(&mut self, ticket: Ticket, patience: Duration, item: T) {
        self.tickets.push(ticket);
        self.items.push(item);
        let (shortest, longest) = self.patience;
        self.patience = (shortest.min(patience), longest.max(patience));
    }

    /// How long to wait for a leader, and how long for the answer. Who waits for a leader is done no wrong when it is
    /// told early that nothing was done: it asks again, and elsewhere. A node that is cut off must not use up the patience
    /// of clients that others would serve. Whoever was taken in is waited for as long as anyone waits.
    fn patience(&self) -> (Duration, Duration) {
        let (shortest, longest) = self.patience;
        ((shortest / 100 * LEADER_PATIENCE_PERCENT).min(LEADER_PATIENCE_MAX), longest)
    }

    /// Takes the group, if there is anything in it.
    fn take(&mut self) -> Option<Self> {
        (!self.items.is_empty()).then(|| std::mem::take(self))
    }
}

impl<S: Query> Default for Batch<S> {
    fn default() -> Self {
        Self { writes: Group::default(), queries: Group::default(), local_queries: Group::default(), bytes: 0 }
    }
}

impl<S: Query> Batch<S> {
    /// Takes a request in, or answers it at once: a status, or what cannot be done.
    pub(super) fn add(&mut self, request: Request, desk: &Desk<S>) {
        let Request { id, patience, operation, body } = request;
        let ticket = (id, body.len());
        desk.take_in(body.len());
        self.bytes += body.len();
        let refused = match operation {
            Operation::Status => return desk.status(ticket),
            Operation::Write => match judge::<S>(&body, desk.raft.config()) {
                Ok(()) => return self.writes.add(ticket, patience, body),
                Err(reason) => reason,
            },
            Operation::Query | Operation::QueryLocal => match decode::<S::Query>(&body) {
                Ok(query) if operation == Operation::Query => return self.queries.add(ticket, patience, query),
                Ok(query) => return self.local_queries.add(ticket, patience, query),
                Err(reason) => format!("the query does not decode: {reason}"),
            },
        };
        desk.answer(|answers| answers.put(ticket, &Outcome::Never { reason: refused }));
    }

    /// Whether it should be started before more is added. A batch must fit into what a leader may have in hand, or it
    /// would be refused for ever.
    pub(super) fn is_full(&self, config: &Config) -> bool {
        let limits = &config.limits;
        let requests_max = REQUESTS_MAX.min(limits.uncommitted_entries_max / 4).min(limits.requests_max / 4);
        let bytes_max = BYTES_MAX.min(limits.uncommitted_bytes_max / 4).min(limits.requests_bytes_max / 4);
        let requests = self.writes.items.len().max(self.queries.items.len()).max(self.local_queries.items.len());
        requests >= requests_max.max(1) || self.bytes >= bytes_max
    }

    /// Starts what was taken in: a task for each kind of request.
    pub(super) fn start(&mut self, desk: &Arc<Desk<S>>, tasks: &mut JoinSet<()>) {
        self.bytes = 0;
        if let Some(group) = self.writes.take() {
            tasks.spawn(write(Arc::clone(desk), group));
        }
        if let Some(group) = self.queries.take() {
            tasks.spawn(query(Arc::clone(desk), group));
        }
        if let Some(group) = self.local_queries.take() {
            tasks.spawn(query_local(Arc::clone(desk), group));
        }
    }
}

/// Whether a command may be proposed: no client can put one into the log that stops the nodes.
fn judge<S: Query>(command: &Bytes, config: &Config) -> Result<(), String> {
    let (bytes, limit) = (command.len(), config.limits.entry_bytes_max);
    if bytes > limit {
        return Err(format!("a command of {bytes} bytes exceeds the limit of {limit} bytes; send less"));
    }
    decode::<S::Command>(command).map(drop).map_err(|reason| format!("the command does not decode: {reason}"))
}

/// A value, and nothing behind it.
fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes follow it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

async fn write<S: Query>(desk: Arc<Desk<S>>, group: Group<Bytes>) {
    let (leader_patience, patience) = group.patience();
    let Group { tickets, items, .. } = group;
    match timeout(patience, desk.raft.write_encoded_within(items, leader_patience)).await {
        Ok(Ok(responses)) => answer_all(&desk, &tickets, responses.iter().map(done)),
        Ok(Err(error)) => fail_all(&desk, &tickets, &failed_write(&error)),
        Err(_) => fail_all(&desk, &tickets, &Outcome::Unknown { reason: no_answer(patience) }),
    }
}

async fn query<S: Query>(desk: Arc<Desk<S>>, group: Group<S::Query>) {
    let (leader_patience, patience) = group.patience();
    let Group { tickets, items, .. } = group;
    match timeout(patience, desk.raft.read_within(move |state| ask(state, items), leader_patience)).await {
        Ok(Ok(answers)) => {
            answer_all(&desk, &tickets, answers.into_iter().map(|answer| answered(LogIndex::ZERO, answer)));
        }
        Ok(Err(error)) => fail_all(&desk, &tickets, &failed_read(&error)),
        Err(_) => fail_all(&desk, &tickets, &Outcome::NotNow { reason: no_answer(patience) }),
    }
}

async fn query_local<S: Query>(desk: Arc<Desk<S>>, group: Group<S::Query>) {
    let Group { tickets, items, .. } = group;
    match desk.raft.read_local_at(move |state| ask(state, items)).await {
        Ok((applied, answers)) => {
            answer_all(&desk, &tickets, answers.into_iter().map(|answer| answered(applied, answer)));
        }
        Err(error) => fail_all(&desk, &tickets, &failed_read(&error)),
    }
}

/// Asks one after another. A query that panics fails alone: those that arrived with it come from other callers.
fn ask<S: Query>(state: &S, queries: Vec<S::Query>) -> Vec<Result<S::Answer, String>> {
    let ask = |query| catch_unwind(AssertUnwindSafe(|| state.query(query))).map_err(|panic| panicked(&*panic));
    queries.into_iter().map(ask).collect()
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the query panicked: {}", said.unwrap_or("it did not say why"))
}

fn no_answer(patience: Duration) -> String {
    format!("no answer within {patience:?}; is a majority of the nodes up?")
}

fn done(value: &impl Serialize) -> Outcome {
    answered(LogIndex::ZERO, Ok(value))
}

fn answered(applied: LogIndex, answer: Result<impl Serialize, String>) -> Outcome {
    match answer.map(|value| postcard::to_stdvec(&value)) {
        Ok(Ok(body)) => Outcome::Done { applied, body: body.into() },
        Ok(Err(error)) => {
            Outcome::Unknown { reason: format!("it was done, but its answer cannot be encoded: {error}") }
        }
        Err(reason) => Outcome::Never { reason },
    }
}

fn answer_all<S: Query>(desk: &Desk<S>, tickets: &[Ticket], outcomes: impl ExactSizeIterator<Item = Outcome>) {
    assert_eq!(tickets.len(), outcomes.len(), "every request of a batch has one answer");
    // Encoded before the desk is locked.
    let outcomes: Vec<Outcome> = outcomes.collect();
    desk.answer(|answers| {
        for (ticket, outcome) in tickets.iter().zip(&outcomes) {
            answers.put(*ticket, outcome);
        }
    });
}

fn fail_all<S: Query>(desk: &Desk<S>, tickets: &[Ticket], outcome: &Outcome) {
    desk.answer(|answers| {
        for ticket in tickets {
            answers.put(*ticket, outcome);
        }
    });
}

fn failed_write(error: &WriteError) -> Outcome {
    let reason = error.to_string();
    match error {
        WriteError::Unknown { .. } => Outcome::Unknown { reason },
        WriteError::Stopped => Outcome::NotNow { reason },
        _ if error.is_retryable() => Outcome::NotNow { reason },
        _ => Outcome::Never { reason },
    }
}

fn failed_read(error: &ReadError) -> Outcome {
    let reason = error.to_string();
    match error {
        ReadError::Panicked { .. } => Outcome::Never { reason },
        _ => Outcome::NotNow { reason },
    }
}
