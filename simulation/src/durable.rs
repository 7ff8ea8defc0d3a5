//! What must be on a node's disk: a copy beside the real log, changed by the same writes, to compare with what a
//! recovery finds.

use std::collections::BTreeMap;
use std::fmt;

use outrigger::engine::{Batch, Command, Incarnation, LogId, LogIndex, LogTime, NodeId, Restored, Term, Vote};
use outrigger::store::{LogReader, StorageError};

use crate::trace::digest;
use crate::words;

/// One entry as the checks know it: Log Matching makes its id enough, and that is checked by the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    /// The entry's id.
    pub(crate) id: LogId,
    /// When its leader took it in.
    pub(crate) log_time: LogTime,
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
            log_time: batch.log_time(),
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

    /// The last entry of a term before this one.
    pub(crate) fn before(&self, term: Term) -> LogIndex {
        LogIndex(self.0.partition_point(|stamp| stamp.id.term < term) as u64)
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
        let same_time = self.log_time() == restored.log_time;
        let same_end = same_time && self.log.last() == restored.last && self.commit == restored.commit;
        same_end && self.vote == restored.vote && self.peers == restored.peers
    }

    /// The log time of the last entry.
    pub(crate) fn log_time(&self) -> LogTime {
        self.log.0.last().map_or(LogTime(0), |last| last.log_time)
    }

    /// The life of another node that was met last.
    pub(crate) fn met(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.get(&node).copied()
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
}

/// What a life has left on its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// What is there for certain.
    pub(crate) certain: Durable,
    /// The writes that were under way when it ended: all up to one of them may be there, and nothing of those behind it.
    pub(crate) maybe: Vec<Command>,
    /// Whether the disk was full: then the votes among those writes may have overtaken the others, for a log keeps a
    /// reserve for them.
    pub(crate) was_full: bool,
}

impl Left {
    /// Whether a start may find this.
    pub(crate) fn may_be(&self, found: &Durable) -> bool {
        self.find(|expected| expected == found).is_some()
    }

    /// What a start found, by how it ends.
    pub(crate) fn ends_as(&self, restored: &Restored) -> Option<Durable> {
        self.find(|expected| expected.ends_as(restored))
    }

    /// The first of the states that may be there that is as it must be.
    fn find(&self, is_found: impl Fn(&Durable) -> bool) -> Option<Durable> {
        let mut expected = self.certain.clone();
        for step in self.maybe.iter().flat_map(pieces) {
            if is_found(&expected) {
                return Some(expected);
            }
            expected.write(&step);
        }
        if is_found(&expected) {
            return Some(expected);
        }
        self.find_overtaken(is_found)
    }

    /// The same with the last vote in front.
    fn find_overtaken(&self, is_found: impl Fn(&Durable) -> bool) -> Option<Durable> {
        let is_vote = |write: &&Command| self.was_full && matches!(write, Command::SaveVote { .. });
        let vote = self.maybe.iter().rev().find(is_vote)?;
        let mut expected = self.certain.clone();
        for step in self.maybe.iter().flat_map(pieces) {
            let mut overtaken = expected.clone();
            overtaken.write(vote);
            if is_found(&overtaken) {
                return Some(overtaken);
            }
            expected.write(&step);
        }
        None
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certain.fmt(f)?;
        self.maybe.iter().try_for_each(|write| write!(f, ", and maybe {write}"))?;
        f.write_str(if self.was_full { "; its disk was full" } else { "" })
    }
}

/// What matters of it to who compares two by eye.
impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vote, log, commit, peers } = self;
        write!(f, "{}, log to {}", words::vote(*vote), log.last())?;
        write!(f, " ({:016x}), commit {commit}, met", digest(&log.0))?;
        f.write_str(if peers.is_empty() { " nobody" } else { "" })?;
        peers.iter().try_for_each(|(node, life)| write!(f, " {node}:{:04x}/{}", life.id & 0xffff, life.start))
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
