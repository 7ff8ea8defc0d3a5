//! The requests that arrived together: judged one by one, done together, answered together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use outrigger_engine::{Body, ChangeRequest, Consistency, LogIndex, Payload, Refusal, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::Desk;
use super::holdings::Reserved;
use super::leadership::{Wish, fulfil};
use super::{members, queries, snapshots};
use crate::client::leadership;
use crate::client::protocol::{self, Operation, Outcome, Request};
use crate::client::snapshots::Wanted;
use crate::error::WriteError;
use crate::network::DecodeError;
use crate::runtime::sessions::Denied;
use crate::{Config, Query};

/// So many requests make a full batch: beyond that, sharing saves nothing more.
const REQUESTS_MAX: usize = 1024;

/// And so many bytes.
const BYTES_MAX: usize = 1 << 20;

/// A command below this is copied out of what it arrived with.
const SMALL_BYTES: usize = 4096;

/// Of the time that a client waits, a leader is waited for this part, so that the client hears in time that nothing
/// was done, not that nobody knows.
const LEADER_PATIENCE_PERCENT: u32 = 90;

/// ... and no longer than this.
const LEADER_PATIENCE_MAX: Duration = Duration::from_millis(500);

/// No client waits longer than this, whatever it says.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

/// A request is told apart by its id; and how many bytes it weighs.
pub(super) type Ticket = (u64, usize);

/// Requests that wait to be started.
pub(super) struct Batch<S: Query> {
    /// Encoded commands, each of which decodes, in sessions or not.
    writes: Group<Payload>,
    /// Queries by how new the state must be.
    queries: BTreeMap<Consistency, Group<S::Query>>,
    /// Queries of the state as this node has it.
    local_queries: Group<S::Query>,
    /// Changes of the members, and for how long their clients wait.
    changes: Vec<(Ticket, Duration, ChangeRequest)>,
    /// Who wants a session, or to keep one, and for how long they wait.
    sessions: Vec<(Ticket, Duration, SessionWish)>,
    /// Who wants a snapshot taken, or the log shortened, and for how long.
    snapshots: Vec<(Ticket, Duration, snapshots::Wish)>,
    /// Who wants a piece of one, and for how long.
    pieces: Vec<(Ticket, Duration, Wanted)>,
    /// Who wants another leader, and for how long.
    wishes: Vec<(Ticket, Duration, Wish)>,
    /// The bytes of all of them.
    bytes: usize,
}

/// What somebody wants with a session.
enum SessionWish {
    /// A new one that is kept unused for so many milliseconds.
    Register(u64),
    /// To keep this one.
    KeepAlive(SessionId),
}

/// Requests of one kind.
pub(super) struct Group<T> {
    pub(super) tickets: Vec<Ticket>,
    /// What is asked; as many as tickets.
    pub(super) items: Vec<T>,
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
    pub(super) fn patience(&self) -> (Duration, Duration) {
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
        Self {
            writes: Group::default(),
            queries: BTreeMap::new(),
            local_queries: Group::default(),
            changes: Vec::new(),
            sessions: Vec::new(),
            snapshots: Vec::new(),
            pieces: Vec::new(),
            wishes: Vec::new(),
            bytes: 0,
        }
    }
}

impl<S: Query> Batch<S> {
    /// Takes a request in, or answers it at once: a status, or what cannot be done.
    pub(super) fn add(&mut self, request: Request, desk: &Desk<S>) {
        let Request { id, patience, operation, body } = request;
        let patience = patience.min(PATIENCE_MAX);
        let ticket = (id, body.len());
        desk.take_in(body.len());
        self.bytes += body.len();
        let refused = match operation {
            Operation::WriteOnce { session: SessionId(0), .. } | Operation::KeepAlive { session: SessionId(0) } => {
                "there is no session 0; register one".to_owned()
            }
            Operation::Status => return desk.status(ticket),
            Operation::Snapshot => return self.snapshots.push((ticket, patience, snapshots::Wish::Take)),
            Operation::Purge => match protocol::decode_number(body) {
                Ok(keep) => return self.snapshots.push((ticket, patience, snapshots::Wish::Purge(keep))),
                Err(error) => format!("how many entries to keep does not decode: {error}"),
            },
            Operation::SaveSnapshot => match Wanted::decode(body) {
                Ok(wanted) => return self.pieces.push((ticket, patience, wanted)),
                Err(error) => format!("the wish for a piece of a snapshot does not decode: {error}"),
            },
            Operation::Write | Operation::WriteOnce { .. } => match judge::<S>(&body, desk.raft.config()) {
                Ok(()) => return self.writes.add(ticket, patience, payload(operation, body)),
                Err(reason) => reason,
            },
            Operation::RegisterSession => match protocol::decode_number(body) {
                Ok(time_to_live) => return self.sessions.push((ticket, patience, SessionWish::Register(time_to_live))),
                Err(error) => format!("the time to live does not decode: {error}"),
            },
            Operation::KeepAlive { session } => {
                return self.sessions.push((ticket, patience, SessionWish::KeepAlive(session)));
            }
            Operation::Query { .. } | Operation::QueryLocal => match decode::<S::Query>(&body) {
                Ok(query) => return self.queries_of(operation).add(ticket, patience, query),
                Err(reason) => format!("the query does not decode: {reason}"),
            },
            Operation::ChangeMembers => match members::judge(body) {
                Ok(request) => return self.changes.push((ticket, patience, request)),
                Err(reason) => reason,
            },
            Operation::Transfer | Operation::Elect | Operation::SetPriority => match wish(operation, body) {
                Ok(wish) => return self.wishes.push((ticket, patience, wish)),
                Err(error) => format!("the wish for a leader does not decode: {error}"),
            },
        };
        desk.answer(|answers| answers.put(ticket, &Outcome::Never { reason: refused }));
    }

    /// Those that a query belongs to.
    fn queries_of(&mut self, operation: Operation) -> &mut Group<S::Query> {
        match operation {
            Operation::Query { consistency } => self.queries.entry(consistency).or_default(),
            _ => &mut self.local_queries,
        }
    }

    /// Whether it should be started before more is added. A batch must fit into what a leader may have in hand, or it
    /// would be refused for ever.
    pub(super) fn is_full(&self, config: &Config) -> bool {
        let limits = &config.limits;
        let requests_max = REQUESTS_MAX.min(limits.uncommitted_entries_max / 4).min(limits.requests_max / 4);
        let bytes_max = BYTES_MAX.min(limits.uncommitted_bytes_max / 4).min(limits.requests_bytes_max / 4);
        let queries = self.queries.values().map(|group| group.items.len()).sum();
        let requests = self.writes.items.len().max(queries).max(self.local_queries.items.len());
        requests >= requests_max.max(1) || self.bytes >= bytes_max
    }

    /// The writes, if there are any, the small ones apart from what they arrived with.
    pub(super) fn take_writes(&mut self) -> Option<Group<Payload>> {
        let mut group = self.writes.take()?;
        apart(&mut group.items);
        Some(group)
    }

    /// Starts what was taken in: a task for each kind of request.
    pub(super) fn start(&mut self, desk: &Arc<Desk<S>>, tasks: &mut JoinSet<()>) {
        self.bytes = 0;
        if let Some(group) = self.take_writes() {
            tasks.spawn(write(Arc::clone(desk), group));
        }
        for (consistency, group) in std::mem::take(&mut self.queries) {
            tasks.spawn(queries::run(Arc::clone(desk), Operation::Query { consistency }, group));
        }
        if let Some(group) = self.local_queries.take() {
            tasks.spawn(queries::run(Arc::clone(desk), Operation::QueryLocal, group));
        }
        for (ticket, patience, request) in self.changes.drain(..) {
            tasks.spawn(members::change(Arc::clone(desk), ticket, patience, request));
        }
        for (ticket, patience, wish) in self.wishes.drain(..) {
            tasks.spawn(fulfil(Arc::clone(desk), ticket, patience, wish));
        }
        for (ticket, patience, wish) in self.sessions.drain(..) {
            tasks.spawn(serve_session(Arc::clone(desk), ticket, patience, wish));
        }
        for (ticket, patience, wish) in self.snapshots.drain(..) {
            tasks.spawn(snapshots::fulfil(Arc::clone(desk), ticket, patience, wish));
        }
        for (ticket, patience, wanted) in self.pieces.drain(..) {
            tasks.spawn(snapshots::send(Arc::clone(desk), ticket, patience, wanted));
        }
    }
}

/// Gives small commands memory of their own, all together. They are held for long, in the log's tail; and what they arrived with, which
/// may be a thousand times as much, would be held by them, and counted by nobody.
fn apart(payloads: &mut [Payload]) {
    let is_small = |command: &Bytes| command.len() < SMALL_BYTES;
    let small = |payload: &Payload| match &payload.body {
        Body::Command(command) if is_small(command) => command.len(),
        _ => 0,
    };
    let mut all = BytesMut::with_capacity(payloads.iter().map(small).sum());
    for payload in payloads {
        if let Body::Command(command) = &mut payload.body
            && is_small(command)
        {
            all.extend_from_slice(command);
            *command = all.split().freeze();
        }
    }
}

/// What is wished about who leads.
fn wish(operation: Operation, body: Bytes) -> Result<Wish, DecodeError> {
    match operation {
        Operation::Transfer => leadership::decode_heir(body).map(Wish::Transfer),
        Operation::SetPriority => {
            let priority = protocol::decode_number(body)?;
            let invalid = DecodeError::Invalid { what: "priority", value: priority };
            u8::try_from(priority).map(Wish::SetPriority).map_err(|_| invalid)
        }
        _ => leadership::decode_pre_vote(body).map(Wish::Elect),
    }
}

/// A command's entry.
fn payload(operation: Operation, command: Bytes) -> Payload {
    let payload = Payload::command(command);
    match operation {
        Operation::WriteOnce { session, sequence } => payload.in_session(session, sequence),
        _ => payload,
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

/// Writes a group together. If all of it is refused for what may be wrong with one of them, each is written by itself.
async fn write<S: Query>(desk: Arc<Desk<S>>, group: Group<Payload>) {
    let Err((Group { tickets, items, patience }, error)) = write_group(&desk, group).await else { return };
    if tickets.len() == 1 || !is_of_one(&error) {
        return fail_all(&desk, &tickets, &failed_write(&error));
    }
    let mut writes = JoinSet::new();
    for (ticket, item) in tickets.into_iter().zip(items) {
        let (desk, alone) = (Arc::clone(&desk), Group { tickets: vec![ticket], items: vec![item], patience });
        writes.spawn(async move {
            if let Err((refused, error)) = write_group(&desk, alone).await {
                fail_all(&desk, &refused.tickets, &failed_write(&error));
            }
        });
    }
    writes.join_all().await;
}

/// Writes a group, and answers it unless it was refused: then it comes back, with what was said.
async fn write_group<S: Query>(desk: &Desk<S>, group: Group<Payload>) -> Result<(), (Group<Payload>, WriteError)> {
    let (leader_patience, patience) = group.patience();
    match timeout(patience, desk.raft.write_encoded_within(&group.items, leader_patience)).await {
        Ok(Ok(responses)) => {
            let outcomes = responses.into_iter().map(|response| match response {
                Ok(response) => answered(LogIndex::ZERO, response),
                Err(denied) => Outcome::Denied(denied),
            });
            answer_all(desk, &group.tickets, outcomes, Reserved::none(Arc::clone(&desk.gauge)));
        }
        Ok(Err(error)) => return Err((group, error)),
        Err(_) => fail_all(desk, &group.tickets, &Outcome::Unknown { reason: no_answer(patience) }),
    }
    Ok(())
}

/// Whether it may be one write of several for which all were refused, so that the others go better without it.
const fn is_of_one(error: &WriteError) -> bool {
    let WriteError::NotApplied { refusal } = error else { return false };
    matches!(refusal, Refusal::Undecodable | Refusal::EntryTooLarge { .. })
}

async fn serve_session<S: Query>(desk: Arc<Desk<S>>, ticket: Ticket, patience: Duration, wish: SessionWish) {
    let within = ((patience / 100 * LEADER_PATIENCE_PERCENT).min(LEADER_PATIENCE_MAX), patience);
    let done = |number| Outcome::Done { applied: LogIndex::ZERO, body: protocol::encode_number(number) };
    let served = async {
        match wish {
            SessionWish::Register(milliseconds) => {
                let time_to_live = Duration::from_millis(milliseconds);
                desk.raft.register_session(time_to_live, within).await.map(|session| session.0)
            }
            SessionWish::KeepAlive(session) => desk.raft.keep_session_alive(session, within).await.map(|()| session.0),
        }
    };
    let outcome = match timeout(patience, served).await {
        Ok(Ok(number)) => done(number),
        Ok(Err(WriteError::SessionExpired { .. })) => Outcome::Denied(Denied::Expired),
        Ok(Err(error)) => failed_write(&error),
        Err(_) => Outcome::Unknown { reason: no_answer(patience) },
    };
    desk.answer(|answers| answers.put(ticket, &outcome));
}

pub(super) fn no_answer(patience: Duration) -> String {
    format!("no answer within {patience:?}; is a majority of the nodes up?")
}

/// A value on its way to whoever asked for it.
pub(super) fn answered(applied: LogIndex, value: impl Serialize) -> Outcome {
    match postcard::to_stdvec(&value) {
        Ok(body) => Outcome::Done { applied, body: body.into() },
        Err(error) => Outcome::Unknown { reason: format!("it was done, but its answer cannot be encoded: {error}") },
    }
}

/// Answers each of some requests; `reserved` is the room that was made for it.
pub(super) fn answer_all<S: Query>(
    desk: &Desk<S>,
    tickets: &[Ticket],
    outcomes: impl ExactSizeIterator<Item = Outcome>,
    reserved: Reserved,
) {
    assert_eq!(tickets.len(), outcomes.len(), "every request of a batch has one answer");
    // Encoded before the desk is locked.
    let outcomes: Vec<Outcome> = outcomes.collect();
    desk.answer_reserved(reserved, |answers| {
        for (ticket, outcome) in tickets.iter().zip(&outcomes) {
            answers.put(*ticket, outcome);
        }
    });
}

/// Answers all of some requests the same.
pub(super) fn fail_all<S: Query>(desk: &Desk<S>, tickets: &[Ticket], outcome: &Outcome) {
    desk.answer(|answers| {
        for ticket in tickets {
            answers.put(*ticket, outcome);
        }
    });
}

pub(super) fn failed_write(error: &WriteError) -> Outcome {
    // The client says itself what that means for the write.
    let reason = match error {
        WriteError::Unknown { reason } => reason.clone(),
        WriteError::NotApplied { refusal } => refusal.to_string(),
        other => other.to_string(),
    };
    match error {
        WriteError::Unknown { .. } => Outcome::Unknown { reason },
        // This node will not do it any more. Certainly nothing was done, and others go on.
        WriteError::Stopped | WriteError::NotApplied { refusal: Refusal::Halted } => Outcome::NotNow { reason },
        _ if error.is_retryable() => Outcome::NotNow { reason },
        _ => Outcome::Never { reason },
    }
}
