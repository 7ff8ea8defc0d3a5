//! What must be on a node's disk: a copy beside the real log, changed by the same writes, to compare with what a
//! recovery finds.

use std::collections::BTreeMap;

use outrigger::engine::{Batch, Command, Incarnation, LogId, LogIndex, NodeId, Restored, Vote};
use outrigger::store::{LogReader, StorageError};

use crate::trace::digest;

/// One entry as the checks know it: Log Matching makes its id enough, and that is checked by the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The entry's id.
    pub(crate) id: LogId,
    /// The digest of its payload.
    pub(crate) digest: u64,
}

/// A log by its stamps; the entry with index 1 comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(pub(crate) Vec<Stamp>);

impl Stamps {
    pub(crate) fn append(&mut self, batch: &Batch) {
        assert_eq!(batch.first().index, self.last().index.next(), "entries follow the last");
        let indexes = batch.first().index.0..;
        self.0.extend(indexes.zip(batch.entries()).map(|(index, payload)| Stamp {
            id: LogId { term: batch.term(), index: LogIndex(index) },
            digest: digest(payload),
        }));
    }

    pub(crate) fn truncate(&mut self, after: LogIndex) {
        self.0.truncate(usize::try_from(after.0).expect("a small index"));
    }

    pub(crate) fn at(&self, index: LogIndex) -> Option<Stamp> {
        self.0.get(usize::try_from(index.0.checked_sub(1)?).ok()?).copied()
    }

    pub(crate) fn last(&self) -> LogId {
        self.0.last().map_or(LogId::ZERO, |stamp| stamp.id)
    }

    /// Whether the log holds the entry; what stands before the first is in every log.
    pub(crate) fn has(&self, id: LogId) -> bool {
        id == LogId::ZERO || self.at(id.index).is_some_and(|stamp| stamp.id == id)
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// The last vote.
    pub(crate) vote: Vote,
    /// The log.
    pub(crate) log: Stamps,
    /// The commit index.
    commit: LogIndex,
    /// Whom the node met.
    peers: BTreeMap<NodeId, Incarnation>,
}

impl Durable {
    /// What a store found when it was opened, its whole log included; and that log.
    pub(crate) fn found(restored: &Restored, reader: &dyn LogReader) -> Result<(Self, Vec<Batch>), StorageError> {
        let (mut log, mut entries) = (Stamps::default(), Vec::new());
        while log.last() != restored.last {
            let batches = reader.batches(log.last().index.next(), restored.last.index, 1 << 20)?;
            batches.iter().for_each(|batch| log.append(batch));
            entries.extend(batches);
        }
        Ok((Self { vote: restored.vote, log, commit: restored.commit, peers: restored.peers.clone() }, entries))
    }

    /// Whether a store found this, as far as can be told without reading its log.
    fn ends_as(&self, restored: &Restored) -> bool {
        let same_end = self.log.last() == restored.last && self.commit == restored.commit;
        same_end && self.vote == restored.vote && self.peers == restored.peers
    }

    /// A command of the log lane became durable.
    pub(crate) fn write(&mut self, command: &Command) {
        match command {
            Command::SaveVote { vote, .. } => self.vote = *vote,
            Command::SavePeer { peer, .. } => {
                self.peers.insert(peer.node, peer.incarnation);
            }
            Command::AppendInputEntries { batches, .. } => batches.iter().for_each(|batch| self.log.append(batch)),
            Command::TruncateLog { after, .. } => self.log.truncate(after.index),
            Command::SaveCommitted { commit } => self.commit = *commit,
            other => panic!("{other:?} does not stand in the log lane"),
        }
    }

    /// Whether `found` is what these writes can have left when the power went in the middle of them: all up to one of
    /// them are there, and nothing of those behind it.
    pub(crate) fn may_become(&self, writes: &[Command], found: &Self) -> bool {
        self.after_some(writes, |expected| expected == found).is_some()
    }

    /// What these writes have left, if a store that was opened after them found its end.
    pub(crate) fn become_as(&self, writes: &[Command], restored: &Restored) -> Option<Self> {
        self.after_some(writes, |expected| expected.ends_as(restored))
    }

    /// The state after the first writes, as few as it takes, that is as it must be.
    fn after_some(&self, writes: &[Command], is_found: impl Fn(&Self) -> bool) -> Option<Self> {
        let mut expected = self.clone();
        for step in writes.iter().flat_map(pieces) {
            if is_found(&expected) {
                return Some(expected);
            }
            expected.write(&step);
        }
        is_found(&expected).then_some(expected)
    }
}

/// The records of one write: a tear may fall between any two.
fn pieces(write: &Command) -> Vec<Command> {
    match write {
        Command::AppendInputEntries { write, batches } => {
            let single = |batch: &Batch| Command::AppendInputEntries { write: *write, batches: vec![batch.clone()] };
            batches.iter().map(single).collect()
        }
        other => vec![other.clone()],
    }
}
