//! What must be on a node's disk: a copy beside the real log, changed by the same writes, to compare with what a
//! recovery finds.

use std::fmt;
use std::sync::Arc;

use outrigger::engine::{Batch, Command, Incarnation, LogId, LogIndex, LogTime, NodeId, Restored, Term, Vote};
use outrigger::store::{LogReader, StorageError};

use crate::by_node::ByNode;
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(pub(crate) Vec<Stamp>);

/// A copy has room: nearly every log that is copied goes on.
impl Clone for Stamps {
    fn clone(&self) -> Self {
        let mut copy = Vec::with_capacity(self.0.len() + self.0.len() / 4 + 16);
        copy.extend_from_slice(&self.0);
        Self(copy)
    }
}

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

    /// Appends what another log has stamped already; what it does not hold any more is stamped anew.
    fn append_as_in(&mut self, other: &Self, batch: &Batch) {
        let (first, last) = (batch.first(), batch.last());
        if !other.has(first) || !other.has(last) {
            return self.append(batch);
        }
        assert_eq!(first.index, self.last().index.next(), "entries follow the last");
        let place = |index: LogIndex| usize::try_from(index.0).expect("a small index");
        self.0.extend_from_slice(&other.0[place(first.index.previous())..place(last.index)]);
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
    peers: ByNode<Incarnation>,
    /// What was purged: `log` has it all the same, for what was once committed stays known.
    purged: LogId,
    /// What the newest snapshot covers.
    pub(crate) snapshot: Option<Arc<Stamps>>,
}

impl Durable {
    /// What a store found when it was opened, its whole log included; and that log.
    pub(crate) fn found(
        restored: &Restored,
        snapshot: Option<Arc<Stamps>>,
        reader: &dyn LogReader,
    ) -> Result<(Self, Vec<Batch>), StorageError> {
        let (mut log, mut entries) = (snapshot.as_deref().cloned().unwrap_or_default(), Vec::new());
        log.truncate(restored.purged.index);
        while log.last() != restored.last {
            let batches = reader.batches(log.last().index.next(), restored.last.index, 1 << 20)?;
            batches.iter().for_each(|batch| log.append(batch));
            entries.extend(batches);
        }
        let covered = snapshot.as_deref().map_or(LogId::ZERO, Stamps::last);
        if restored.purged.index > covered.index || !log.0.starts_with(snapshot.as_deref().map_or(&[], |it| &it.0)) {
            return Err(StorageError::new(format!("the log does not continue the snapshot of {covered}")));
        }
        let (vote, commit, purged) = (restored.vote, restored.commit, restored.purged);
        let peers = met(restored);
        Ok((Self { vote, log, commit, peers, purged, snapshot }, entries))
    }

    /// A snapshot of these entries is complete.
    pub(crate) fn keep(&mut self, covered: Stamps) {
        if self.snapshot.as_ref().is_none_or(|newest| newest.last() < covered.last()) {
            self.snapshot = Some(Arc::new(covered));
        }
    }

    /// What a start does: a log that does not hold the last entry of the snapshot is made to begin behind it.
    fn begin_behind(&mut self) {
        if self.begins_too_early() {
            let last = self.covered();
            self.purge(last);
            if self.vote.term < last.term {
                self.vote = Vote { term: last.term, voted_for: None };
            }
        }
    }

    /// Whether the log does not hold the last entry of the snapshot.
    fn begins_too_early(&self) -> bool {
        !self.log.has(self.covered())
    }

    /// The last entry of the snapshot.
    fn covered(&self) -> LogId {
        self.snapshot.as_deref().map_or(LogId::ZERO, Stamps::last)
    }

    fn purge(&mut self, through: LogId) {
        if !self.log.has(through) {
            // While the purge was on its way to the disk, a snapshot of more may have come.
            let covered = self.snapshot.as_deref().filter(|covered| covered.has(through));
            self.log = covered.expect("a snapshot takes the place of the log").clone();
            self.log.truncate(through.index);
        }
        self.purged = through;
        self.commit = self.commit.max(through.index);
    }

    /// Whether a store found this, as far as can be told without reading its log.
    fn ends_as(&self, restored: &Restored) -> bool {
        let same_time = self.log_time() == restored.log_time;
        let same_ids = self.log.last() == restored.last && self.purged == restored.purged;
        let same_end = same_time && same_ids && self.commit == restored.commit;
        same_end && self.vote == restored.vote && self.peers == met(restored)
    }

    /// What was purged.
    pub(crate) const fn purged(&self) -> LogId {
        self.purged
    }

    /// The log time of the last entry.
    pub(crate) fn log_time(&self) -> LogTime {
        self.log.0.last().map_or(LogTime(0), |last| last.log_time)
    }

    /// The life of another node that was met last.
    pub(crate) fn met(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.at(node).copied()
    }

    /// A command of the log lane became durable, whose entries may stand in the node's log.
    pub(crate) fn write_as_in(&mut self, log: &Stamps, command: &Command) {
        match command {
            Command::AppendInputEntries { batches, .. } => {
                batches.iter().for_each(|batch| self.log.append_as_in(log, batch));
            }
            other => self.write(other),
        }
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
            Command::PurgeLog { through, .. } => self.purge(*through),
            Command::SaveCommitted { commit } => self.commit = *commit,
            other => panic!("{other:?} does not stand in the log lane"),
        }
    }
}

/// Whom a node has met, by its disk.
fn met(restored: &Restored) -> ByNode<Incarnation> {
    restored.peers.iter().map(|(node, life)| (*node, *life)).collect()
}

/// What a life has left on its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// What is there for certain.
    pub(crate) certain: Durable,
    /// The writes that were under way when it ended: all up to one of them may be there, and nothing of those behind it.
    pub(crate) maybe: Vec<Command>,
    /// The last entries of the snapshots that may be complete, although it was never said that they are.
    pub(crate) maybe_covers: Vec<LogId>,
    /// Whether the disk was full: then votes, and what makes room, may have overtaken the others, for a log keeps a reserve for
    /// them.
    pub(crate) was_full: bool,
}

impl Left {
    /// Whether a start may find this.
    pub(crate) fn may_be(&self, found: &Durable) -> bool {
        self.find(found.snapshot.as_ref(), |expected| expected == found).is_some()
    }

    /// What a start found, by how it ends and what its newest snapshot covers.
    pub(crate) fn ends_as(&self, restored: &Restored, snapshot: Option<&Arc<Stamps>>) -> Option<Durable> {
        self.find(snapshot, |expected| expected.ends_as(restored) && expected.snapshot.as_ref() == snapshot)
    }

    /// The first of the states that may be there that is as it must be.
    fn find(&self, snapshot: Option<&Arc<Stamps>>, is_found: impl Fn(&Durable) -> bool) -> Option<Durable> {
        let certain = || {
            let mut certain = self.certain.clone();
            if let Some(snapshot) = snapshot.filter(|it| self.maybe_covers.contains(&it.last())) {
                certain.snapshot = Some(Arc::clone(snapshot));
            }
            certain
        };
        // A start acts on what it finds before anybody can look.
        let begun = |found: &Durable| {
            if !found.begins_too_early() {
                return is_found(found).then(|| found.clone());
            }
            let mut found = found.clone();
            found.begin_behind();
            is_found(&found).then_some(found)
        };
        let mut expected = certain();
        for step in self.maybe.iter().flat_map(pieces) {
            if let Some(found) = begun(&expected) {
                return Some(found);
            }
            expected.write(&step);
        }
        begun(&expected).or_else(|| self.find_overtaken(certain, begun))
    }

    /// The same with what a log writes ahead of entries that its disk has no room for: votes, and purges and commits of what is
    /// flushed, unless its end is to be cut.
    fn find_overtaken(
        &self,
        certain: impl FnOnce() -> Durable,
        begun: impl Fn(&Durable) -> Option<Durable>,
    ) -> Option<Durable> {
        if !self.was_full {
            return None;
        }
        let (steps, mut expected) = (self.maybe.iter().flat_map(pieces).collect::<Vec<_>>(), certain());
        for (written, step) in steps.iter().enumerate() {
            // Commits go ahead only with a purge, and that may not have been queued yet.
            for makes_room in [false, true] {
                let mut overtaken = expected.clone();
                for urgent in urgent(&steps[written..], expected.log.last().index, makes_room) {
                    overtaken.write(urgent);
                    if let Some(found) = begun(&overtaken) {
                        return Some(found);
                    }
                }
            }
            expected.write(step);
        }
        None
    }
}

/// What may go ahead of the others of these writes.
fn urgent(writes: &[Command], flushed: LogIndex, makes_room: bool) -> impl Iterator<Item = &Command> {
    let uncut = writes.iter().take_while(|write| !matches!(write, Command::TruncateLog { .. })).count();
    let goes_ahead = move |(place, write): &(usize, &Command)| match write {
        Command::SaveVote { .. } => true,
        Command::PurgeLog { through: LogId { index, .. }, .. } | Command::SaveCommitted { commit: index } => {
            makes_room && *place < uncut && *index <= flushed
        }
        _ => false,
    };
    writes.iter().enumerate().filter(goes_ahead).map(|(_, write)| write)
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
        let Self { vote, log, commit, peers, purged, snapshot } = self;
        write!(f, "{}, log to {}", words::vote(*vote), log.last())?;
        write!(f, " ({:016x}), commit {commit}, met", digest(&log.0))?;
        f.write_str(if peers.values().next().is_none() { " nobody" } else { "" })?;
        if let Some(snapshot) = snapshot {
            write!(f, ", purged to {purged}, a snapshot of {}", snapshot.last())?;
        }
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

#[cfg(test)]
mod tests {
    use outrigger::engine::{Payload, WriteId};

    use super::*;

    fn append(indexes: std::ops::RangeInclusive<u64>) -> Command {
        let batch = |index| Batch::new(LogId::new(1, index), LogTime(index), Arc::new([Payload::blank()]));
        Command::AppendInputEntries { write: WriteId(1), batches: indexes.map(batch).collect() }
    }

    /// What stands on the disk once these were written.
    fn after(writes: &[Command]) -> Durable {
        let mut durable = Durable::default();
        writes.iter().for_each(|write| durable.write(write));
        durable
    }

    /// A log that has no room for entries writes what makes room ahead of them; nobody was told of those.
    #[test]
    fn a_purge_overtakes_entries_only_on_a_full_disk_and_only_of_what_is_flushed() {
        let purge = |index| Command::PurgeLog { write: WriteId(2), through: LogId::new(1, index) };
        let commit = Command::SaveCommitted { commit: LogIndex(3) };
        let mut left = Left { certain: after(&[append(1..=3)]), ..Left::default() };
        left.maybe = vec![append(4..=4), append(5..=6), commit.clone(), purge(3), append(7..=7)];
        let overtaken = after(&[append(1..=4), commit.clone(), purge(3)]);
        assert!(!left.may_be(&overtaken), "the disk has room");
        left.was_full = true;
        assert!(left.may_be(&overtaken) && left.may_be(&after(&[append(1..=4), commit.clone()])));
        assert!(left.may_be(&after(&[append(1..=6), commit.clone(), purge(3), append(7..=7)])), "all of it in order");
        let vote = Command::SaveVote { write: WriteId(4), vote: Vote { term: Term(2), voted_for: None } };
        left.maybe = vec![append(4..=6), commit.clone(), vote.clone()];
        assert!(
            left.may_be(&after(&[append(1..=3), vote])),
            "a commit without a purge makes no room, and stays behind"
        );
        left.maybe = vec![append(4..=6), purge(5)];
        assert!(!left.may_be(&after(&[append(1..=5), commit, purge(3)])), "that was never asked for");
        assert!(left.may_be(&after(&[append(1..=5), purge(5)])), "what it depends on is there");
        left.maybe = vec![append(4..=6), Command::TruncateLog { write: WriteId(3), after: LogId::new(1, 2) }, purge(2)];
        assert!(!left.may_be(&after(&[append(1..=4), purge(2)])), "the end of the log is to be cut first");
    }

    #[test]
    fn the_newest_snapshot_stays_and_what_is_purged_was_committed() {
        let log = |length| after(&[append(1..=length)]).log;
        let mut durable = after(&[append(1..=4)]);
        durable.keep(log(3));
        durable.keep(log(2));
        assert_eq!(durable.covered(), LogId::new(1, 3), "an older one may be complete later");
        assert_eq!(durable.commit, LogIndex(0));
        durable.write(&Command::PurgeLog { write: WriteId(2), through: LogId::new(1, 3) });
        assert_eq!((durable.commit, durable.purged()), (LogIndex(3), LogId::new(1, 3)));
    }

    #[test]
    fn what_a_start_found_ends_as_what_was_left_in_all_that_it_tells() {
        let mut left = Left { certain: after(&[append(1..=4)]), ..Left::default() };
        left.certain.keep(after(&[append(1..=3)]).log);
        let snapshot = left.certain.snapshot.clone();
        let found = |bend: &dyn Fn(&mut Restored), snapshot: Option<&Arc<Stamps>>| {
            let mut restored = Restored { last: LogId::new(1, 4), log_time: LogTime(4), ..Restored::default() };
            bend(&mut restored);
            left.ends_as(&restored, snapshot).is_some()
        };
        let right = snapshot.as_ref();
        assert!(found(&|_| (), right));
        assert!(!found(&|it| it.last = LogId::new(2, 4), right));
        assert!(!found(&|it| it.log_time = LogTime(5), right));
        assert!(!found(&|it| it.purged = LogId::new(1, 1), right));
        assert!(!found(&|it| it.commit = LogIndex(1), right));
        assert!(!found(&|it| it.vote.term = Term(1), right));
        assert!(!found(&|it| it.peers = [(NodeId(2), Incarnation::default())].into(), right));
        assert!(!found(&|_| (), None), "its snapshot is gone");
        let other = Arc::new(after(&[append(1..=4)]).log);
        assert!(!found(&|_| (), Some(&other)), "that was never there");
        let maybe = Left { maybe_covers: vec![LogId::new(1, 4)], ..left.clone() };
        let restored = Restored { last: LogId::new(1, 4), log_time: LogTime(4), ..Restored::default() };
        assert!(maybe.ends_as(&restored, Some(&other)).is_some(), "it may have been complete");
    }
}
