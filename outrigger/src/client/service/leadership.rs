//! Wishes for another leader: carried through by the engine, and awaited for as long as the client waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{LogIndex, NodeId, NotTransferred};
use tokio::time::timeout;

use super::batch::Ticket;
use super::desk::Desk;
use crate::client::leadership;
use crate::client::protocol::Outcome;
use crate::error::{ElectError, TransferError};
use crate::{Query, Raft};

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// That this node hands leadership over.
    Transfer(Option<NodeId>),
    /// That it campaigns, with pre-vote or without.
    Elect(bool),
    /// That it wants to lead so much.
    SetPriority(u8),
}

/// Does it on this node. Nobody is harmed by doing it again: nothing about it is ever unknown.
pub(super) async fn fulfil<S: Query>(desk: Arc<Desk<S>>, ticket: Ticket, patience: Duration, wish: Wish) {
    let outcome = match timeout(patience, outcome_of(&desk.raft, wish)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::NotNow { reason: format!("it has not come to an end within {patience:?}, and goes on") },
    };
    desk.answer(|answers| answers.put(ticket, &outcome));
}

async fn outcome_of<S: Query>(raft: &Raft<S>, wish: Wish) -> Outcome {
    match wish {
        Wish::Transfer(to) => match raft.transfer_leadership(to).await {
            Ok(transferred) => done(leadership::encode_transferred(&Ok(transferred))),
            // Another node may: the client asks that one.
            Err(error @ TransferError::NotTransferred { why: NotTransferred::NotLeader }) => {
                Outcome::NotNow { reason: error.to_string() }
            }
            Err(TransferError::NotTransferred { why }) => done(leadership::encode_transferred(&Err(why))),
            Err(error @ TransferError::Stopped) => Outcome::NotNow { reason: error.to_string() },
        },
        Wish::Elect(pre_vote) => match raft.elect(pre_vote).await {
            Ok(term) => done(leadership::encode_elected(Ok(term))),
            Err(ElectError::NotElected { why }) => done(leadership::encode_elected(Err(why))),
            Err(error @ ElectError::Stopped) => Outcome::NotNow { reason: error.to_string() },
        },
        Wish::SetPriority(priority) => match raft.set_priority(priority).await {
            Ok(()) => done(Bytes::new()),
            Err(error) => Outcome::NotNow { reason: error.to_string() },
        },
    }
}

const fn done(body: Bytes) -> Outcome {
    Outcome::Done { applied: LogIndex::ZERO, body }
}
