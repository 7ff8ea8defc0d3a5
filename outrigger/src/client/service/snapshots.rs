//! Snapshots on request: taken, and sent piece by piece to whoever saves one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::LogIndex;
use tokio::time::timeout;

use super::batch::Ticket;
use super::desk::Desk;
use super::holdings::EXPORTS_MAX;
use crate::Query;
use crate::client::protocol::{self, Outcome};
use crate::client::snapshots::{Opened, Wanted};

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// A snapshot of this node's state.
    Take,
    /// That the log lets go of what the newest one covers, but for so many entries.
    Purge(u64),
}

/// Takes one, or drops what it covers.
pub(super) async fn fulfil<S: Query>(desk: Arc<Desk<S>>, ticket: Ticket, patience: Duration, wish: Wish) {
    let outcome_of = async {
        match wish {
            Wish::Take => desk.raft.snapshot().await,
            Wish::Purge(keep_entries) => desk.raft.purge(keep_entries).await,
        }
    };
    let outcome = match timeout(patience, outcome_of).await {
        Ok(Ok(at)) => done(protocol::encode_log_id(at)),
        Ok(Err(error)) if error.may_pass() => Outcome::NotNow { reason: error.to_string() },
        Ok(Err(error)) => Outcome::Never { reason: error.to_string() },
        Err(_) => Outcome::Unknown { reason: format!("it was not done within {patience:?}, and goes on") },
    };
    desk.answer(|answers| answers.put(ticket, &outcome));
}

/// Opens one, or sends the next piece of the one that is open. There is one for each connection.
pub(super) async fn send<S: Query>(desk: Arc<Desk<S>>, ticket: Ticket, patience: Duration, wanted: Wanted) {
    let outcome = match timeout(patience, piece(&desk, wanted)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::NotNow { reason: format!("nothing could be read of a snapshot within {patience:?}") },
    };
    desk.answer(|answers| answers.put(ticket, &outcome));
}

pub(super) async fn piece<S: Query>(desk: &Desk<S>, wanted: Wanted) -> Outcome {
    let mut open = desk.export.lock().await;
    // Whoever asks for more than it takes in waits, so that no more is in memory than the limits allow.
    desk.gauge.room().await;
    if let Some(refusal) = desk.gauge.refusal() {
        return Outcome::NotNow { reason: refusal.to_string() };
    }
    let (export, leave) = match (open.take(), wanted.offset) {
        (before, 0) => {
            let leave = match before {
                Some((_, leave)) => Ok(leave),
                None => Arc::clone(&desk.holdings.exports).try_acquire_owned(),
            };
            let Ok(leave) = leave else {
                return Outcome::NotNow { reason: format!("{EXPORTS_MAX} snapshots are being read out of this node") };
            };
            match desk.raft.export(wanted.local).await {
                Ok(export) => (export, leave),
                Err(error) if error.may_pass() => return Outcome::NotNow { reason: error.why() },
                Err(error) => return Outcome::Never { reason: error.why() },
            }
        }
        (Some((export, leave)), offset) if export.next() == offset => (export, leave),
        (before, offset) => {
            let next = before.as_ref().map_or(0, |(export, _)| export.next());
            *open = before;
            return Outcome::Never { reason: format!("the next piece on this connection is at {next}, not {offset}") };
        }
    };
    match desk.raft.next_piece(export).await {
        Ok((export, piece)) => {
            let body = if wanted.offset == 0 { Opened::of(&export).encode(&piece) } else { piece };
            // What is complete need not be kept open.
            *open = (export.next() < export.snapshot.id.bytes).then_some((export, leave));
            done(body)
        }
        Err(error) => Outcome::Never { reason: error.why() },
    }
}

const fn done(body: Bytes) -> Outcome {
    Outcome::Done { applied: LogIndex::ZERO, body }
}
