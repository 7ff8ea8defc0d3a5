//! Orders: what callers want of a node beside reads and writes. The engine ends each of them, however long that takes.

use outrigger_engine::{Event, LogId, NodeId, NotElected, NotTransferred, Term, Token, Transferred};
use tokio::sync::oneshot;

use super::respond::Failure;

/// What a node is to do about its leadership, or another's, and about its snapshots and log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    TransferLeadership { to: Option<NodeId> },
    Elect { pre_vote: bool },
    StepDown,
    ForgetLeader,
    SetElections { on: bool },
    SetPriority { priority: u8 },
    TakeSnapshot,
    Purge { keep_entries: u64 },
}

impl Order {
    pub(crate) const fn event(self, token: Token) -> Event {
        match self {
            Self::TransferLeadership { to } => Event::TransferLeadership { token, to },
            Self::Elect { pre_vote } => Event::Elect { token, pre_vote },
            Self::StepDown => Event::StepDown { token },
            Self::ForgetLeader => Event::ForgetLeader { token },
            Self::SetElections { on } => Event::SetElections { token, on },
            Self::SetPriority { priority } => Event::SetPriority { token, priority },
            Self::TakeSnapshot => Event::TakeSnapshot { token },
            Self::Purge { keep_entries } => Event::Purge { token, keep_entries },
        }
    }
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(crate) enum OrderSlot {
    /// To a change of the members, or to a wish for a snapshot or a shorter log: the entry that it came to.
    Entry(oneshot::Sender<Result<LogId, Failure>>),
    /// To a wish for another leader.
    Transfer(oneshot::Sender<Result<Result<Transferred, NotTransferred>, Failure>>),
    /// To a wish for an election.
    Election(oneshot::Sender<Result<Result<Term, NotElected>, Failure>>),
    /// To what is done or refused at once.
    Deed(oneshot::Sender<Result<(), Failure>>),
}

/// What the engine answers to an order that it has not refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OrderAnswer {
    Entry(LogId),
    Transfer(Result<Transferred, NotTransferred>),
    Election(Result<Term, NotElected>),
    Deed,
}

impl OrderSlot {
    pub(crate) fn answer(self, answer: OrderAnswer) {
        // A caller that has gone away wants no answer.
        match (self, answer) {
            (Self::Entry(slot), OrderAnswer::Entry(at)) => drop(slot.send(Ok(at))),
            (Self::Transfer(slot), OrderAnswer::Transfer(result)) => drop(slot.send(Ok(result))),
            (Self::Election(slot), OrderAnswer::Election(result)) => drop(slot.send(Ok(result))),
            (Self::Deed(slot), OrderAnswer::Deed) => drop(slot.send(Ok(()))),
            (slot, answer) => panic!("{answer:?} is no answer to {slot:?}"),
        }
    }

    pub(crate) fn fail(self, failure: Failure) {
        match self {
            Self::Entry(slot) => drop(slot.send(Err(failure))),
            Self::Transfer(slot) => drop(slot.send(Err(failure))),
            Self::Election(slot) => drop(slot.send(Err(failure))),
            Self::Deed(slot) => drop(slot.send(Err(failure))),
        }
    }
}
