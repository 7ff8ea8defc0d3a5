//! Queries: run one by one on the state, for as long as there is room for their answers.
//!
//! ```text
//!   group ──► read ──► on the state: query, query, query ... full! ──► answered
//!     ▲                                                   └─ the rest ─┐
//!     └──────────── one group at a time, once there is room ◄──────────┘
//! ```
//!
//! What a client does not take in costs the node only so much: its further queries wait, those of others do not.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use outrigger_engine::LogIndex;
use serde::Serialize;
use tokio::time::{Duration, Instant, timeout_at};

use super::batch::{Group, answer_all, answered, fail_all, no_answer};
use super::desk::Desk;
use super::holdings::{Gauge, Reserved};
use crate::Query;
use crate::client::protocol::{Operation, Outcome};
use crate::error::ReadError;

/// What stands around an answer in its frame, at most.
const AROUND_BYTES: usize = 64;

/// What came of some queries.
struct Asked<S: Query> {
    /// The last entry that the state held; 0 when it does not matter.
    applied: LogIndex,
    /// Of the first ones, in their order.
    answers: Vec<Result<S::Answer, Outcome>>,
    /// Those for whose answers there was no room.
    rest: Vec<S::Query>,
    /// Room for the answers.
    reserved: Reserved,
}

/// Answers all queries of a group.
pub(super) async fn run<S: Query>(desk: Arc<Desk<S>>, operation: Operation, mut group: Group<S::Query>) {
    let (leader_patience, patience) = group.patience();
    let deadline = Instant::now() + patience;
    let late = Outcome::NotNow { reason: no_answer(patience) };
    let mut turn = None;
    loop {
        if desk.gauge.is_full() {
            let room = async {
                // Kept to the end: what has waited longest goes first.
                if turn.is_none() {
                    turn = Some(desk.turn.lock().await);
                }
                desk.gauge.room().await;
            };
            if timeout_at(deadline, room).await.is_err() {
                return fail_all(&desk, &group.tickets, &late);
            }
        }
        if let Some(refusal) = desk.gauge.refusal() {
            desk.report_overload(refusal);
            return fail_all(&desk, &group.tickets, &failed(&ReadError::Refused { refusal }));
        }
        let queries = std::mem::take(&mut group.items);
        let asked = match timeout_at(deadline, read(&desk, operation, queries, leader_patience)).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => return fail_all(&desk, &group.tickets, &failed(&error)),
            Err(_) => return fail_all(&desk, &group.tickets, &late),
        };
        let Asked { applied, answers, rest, reserved } = asked;
        let waiting = group.tickets.split_off(answers.len());
        let outcomes =
            answers.into_iter().map(|answer| answer.map_or_else(|outcome| outcome, |it| answered(applied, it)));
        answer_all(&desk, &group.tickets, outcomes, reserved);
        if waiting.is_empty() {
            return;
        }
        (group.tickets, group.items) = (waiting, rest);
    }
}

async fn read<S: Query>(
    desk: &Desk<S>,
    operation: Operation,
    queries: Vec<S::Query>,
    patience: Duration,
) -> Result<Asked<S>, ReadError> {
    let reserved = Reserved::none(Arc::clone(&desk.gauge));
    let ask = move |state: &S| ask(state, queries, reserved);
    if let Operation::Query { consistency } = operation {
        return desk.raft.read_within(consistency, ask, patience).await;
    }
    let (applied, asked) = desk.raft.read_local_at(ask).await?;
    Ok(Asked { applied, ..asked })
}

/// Asks one after another, for as long as there is room.
fn ask<S: Query>(state: &S, queries: Vec<S::Query>, mut reserved: Reserved) -> Asked<S> {
    let mut queries = queries.into_iter();
    let mut answers = Vec::new();
    while !reserved.gauge().is_full()
        && let Some(query) = queries.next()
    {
        let answer = ask_one(state, query, reserved.gauge());
        let bytes = answer.as_ref().map_or(0, size);
        reserved.add(bytes + AROUND_BYTES);
        answers.push(answer);
    }
    Asked { applied: LogIndex::ZERO, answers, rest: queries.collect(), reserved }
}

/// A query that panics fails alone: those that arrived with it come from other callers.
fn ask_one<S: Query>(state: &S, query: S::Query, gauge: &Gauge) -> Result<S::Answer, Outcome> {
    if let Some(refusal) = gauge.refusal() {
        return Err(failed(&ReadError::Refused { refusal }));
    }
    let answer = catch_unwind(AssertUnwindSafe(|| state.query(query)));
    answer.map_err(|panic| Outcome::Never { reason: panicked(&*panic) })
}

/// How long an answer is when it is encoded; nothing if it cannot be, which is told when it is tried.
fn size(answer: &impl Serialize) -> usize {
    postcard::serialize_with_flavor(answer, postcard::ser_flavors::Size::default()).unwrap_or_default()
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the query panicked: {}", said.unwrap_or("it did not say why"))
}

fn failed(error: &ReadError) -> Outcome {
    let reason = error.to_string();
    match error {
        ReadError::Panicked { .. } => Outcome::Never { reason },
        _ => Outcome::NotNow { reason },
    }
}
