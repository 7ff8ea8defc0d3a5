//! The order of the lanes, as an account of its own: what is carried out must be what the engine said next.
//!
//! The driver keeps commands that found no room, and what it keeps it could mix up, or keep for too long.

use outrigger::engine::{Batch, Body, Command, Epoch, LogIndex, NodeId, RequestId, Term, WriteId};

use super::{Check, Violation};
use crate::by_node::ByNode;

/// What is sent to a peer, while one node leads.
#[derive(Debug)]
struct Stream {
    epoch: Epoch,
    /// The last request; they increase.
    request: RequestId,
    /// The term of all that is sent, once something is.
    term: Option<Term>,
}

/// What was carried out last in each lane of a node.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The last write of the log lane.
    write: WriteId,
    /// The last entry that was handed to the state machine.
    applied: LogIndex,
    /// The stream to each peer.
    streams: ByNode<Stream>,
    /// The bytes of entries that were handed to the log lane and are not durable.
    unflushed_bytes: usize,
    /// Beyond this many nothing more may be handed to it.
    unflushed_bytes_max: usize,
    /// What contradicts it, once something does.
    broken: Option<Violation>,
}

impl Lanes {
    pub(crate) fn new(unflushed_bytes_max: usize) -> Self {
        Self {
            write: WriteId(0),
            applied: LogIndex::ZERO,
            streams: ByNode::default(),
            unflushed_bytes: 0,
            unflushed_bytes_max,
            broken: None,
        }
    }

    /// What was wrong.
    pub(crate) fn order(&mut self) -> Result<(), Violation> {
        self.broken.take().map_or(Ok(()), Err)
    }

    fn require(&mut self, holds: bool, check: Check, reason: impl FnOnce() -> String) -> bool {
        if !holds {
            self.broken.get_or_insert_with(|| Violation { check, reason: reason() });
        }
        holds
    }

    /// A command of the log lane is taken up. Answers whether it may be.
    pub(crate) fn writes(&mut self, write: Option<WriteId>, command: &Command) -> bool {
        if let Some(write) = write {
            let last = std::mem::replace(&mut self.write, write);
            if !self.require(write.0 == last.0 + 1, Check::Lanes, || format!("write {write} follows {last}")) {
                return false;
            }
        }
        let Command::AppendInputEntries { batches, .. } = command else { return true };
        let (held, limit) = (self.unflushed_bytes, self.unflushed_bytes_max);
        self.unflushed_bytes += bytes(batches);
        // A new leader's first entry asks nobody.
        let is_first = batches.iter().all(|batch| batch.len() == 1 && batch.entries()[0].body == Body::Blank);
        self.require(held <= limit || is_first, Check::Limits, || {
            format!("{command} is written while {held} bytes are not flushed; the limit is {limit}")
        })
    }

    /// These writes are durable.
    pub(crate) fn flushed(&mut self, writes: &[Command]) {
        for write in writes {
            if let Command::AppendInputEntries { batches, .. } = write {
                self.unflushed_bytes -= bytes(batches);
            }
        }
    }

    /// Entries are handed to the state machine.
    pub(crate) fn applies(&mut self, first: LogIndex, last: LogIndex) -> bool {
        let before = self.applied;
        let follows = first == before.next() && first <= last;
        self.applied = last;
        self.require(follows, Check::Lanes, || format!("{first} to {last} are to be applied after {before}"))
    }

    /// These are the streams from now on.
    pub(crate) fn rebuild(&mut self, targets: Vec<(NodeId, Epoch)>) {
        let stream = |(node, epoch)| (node, Stream { epoch, request: RequestId(0), term: None });
        self.streams = targets.into_iter().map(stream).collect();
    }

    /// A command goes to a peer. Answers whether it may.
    pub(crate) fn sends(&mut self, command: &Command) -> bool {
        let follows = match command {
            Command::Replicate { target, epoch, request, term, .. } => {
                let stream = self.streams.at_mut(*target).filter(|stream| stream.epoch == *epoch);
                stream.is_some_and(|stream| {
                    std::mem::replace(&mut stream.request, *request) < *request && stream.is_in(*term)
                })
            }
            Command::ReplicateCommitted { target, term, .. } => {
                self.streams.at_mut(*target).is_some_and(|stream| stream.is_in(*term))
            }
            _ => true,
        };
        self.require(follows, Check::Lanes, || format!("{command} is not of a stream that goes on"))
    }
}

impl Stream {
    fn is_in(&mut self, term: Term) -> bool {
        *self.term.get_or_insert(term) == term
    }
}

fn bytes(batches: &[Batch]) -> usize {
    batches.iter().map(Batch::bytes).sum()
}
