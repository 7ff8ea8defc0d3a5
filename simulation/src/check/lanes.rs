//! The order of the lanes, as an account of its own: what is carried out must be what the engine said next.
//!
//! The driver keeps commands that found no room, and what it keeps it could mix up, or keep for too long.

use std::collections::VecDeque;

use outrigger::engine::{Batch, Body, Command, Epoch, Limits, LogIndex, NodeId, Payload, RequestId, Term, WriteId};

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
    /// How large a command may be.
    entry_bytes_max: usize,
    /// The last index and the bytes of each batch that was handed to the log lane and is not applied.
    unapplied: VecDeque<(LogIndex, usize)>,
    /// What contradicts it, once something does.
    broken: Option<Violation>,
}

impl Lanes {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            write: WriteId(0),
            applied: LogIndex::ZERO,
            streams: ByNode::default(),
            unflushed_bytes: 0,
            unflushed_bytes_max: limits.unflushed_bytes_max,
            entry_bytes_max: limits.entry_bytes_max,
            unapplied: VecDeque::new(),
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
        let batches = match command {
            Command::AppendInputEntries { batches, .. } => batches,
            Command::PurgeLog { through, .. } => {
                self.unapplied.retain(|(last, _)| *last > through.index);
                return true;
            }
            Command::TruncateLog { after, .. } => {
                self.unapplied.retain(|(last, _)| *last <= after.index);
                return true;
            }
            _ => return true,
        };
        self.unapplied.extend(batches.iter().map(|batch| (batch.last().index, batch.bytes())));
        let (largest, at_most) = (batches.iter().map(largest).max().unwrap_or_default(), self.entry_bytes_max);
        self.require(largest <= at_most, Check::Limits, || format!("a command of {largest} bytes is in {command}"));
        let (held, limit) = (self.unflushed_bytes, self.unflushed_bytes_max);
        self.unflushed_bytes += bytes(batches);
        // A new leader's first entry asks nobody, and neither does a step of a change of the members.
        let is_own = |batch: &Batch| batch.len() == 1 && !matches!(batch.entries()[0].body, Body::Command(_));
        self.require(held <= limit || batches.iter().all(is_own), Check::Limits, || {
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

    /// The bytes of the batches behind `before` that are not applied, and of the last of them.
    pub(crate) fn in_hand(&mut self, applied: LogIndex, before: LogIndex) -> (usize, usize) {
        while self.unapplied.front().is_some_and(|(last, _)| *last <= applied) {
            self.unapplied.pop_front();
        }
        let first = self.unapplied.partition_point(|(last, _)| *last <= before);
        let mut bytes = self.unapplied.range(first..).map(|(_, bytes)| *bytes);
        (bytes.clone().sum(), bytes.next_back().unwrap_or_default())
    }

    /// Entries are handed to the state machine.
    pub(crate) fn applies(&mut self, first: LogIndex, last: LogIndex) -> bool {
        let before = self.applied;
        let follows = first == before.next() && first <= last;
        self.applied = last;
        self.require(follows, Check::Lanes, || format!("{first} to {last} are to be applied after {before}"))
    }

    /// A snapshot is handed to the state machine.
    pub(crate) fn installs(&mut self, last: LogIndex) -> bool {
        let before = std::mem::replace(&mut self.applied, last);
        self.require(last > before, Check::Lanes, || format!("a snapshot of {last} is to be taken in after {before}"))
    }

    /// These are the streams from now on.
    pub(crate) fn rebuild(&mut self, targets: Vec<(NodeId, Epoch)>) {
        let mut before = std::mem::take(&mut self.streams);
        for (node, epoch) in targets {
            let same = before.remove(node).filter(|stream| stream.epoch == epoch);
            self.streams.insert(node, same.unwrap_or(Stream { epoch, request: RequestId(0), term: None }));
        }
    }

    /// A command goes to a peer. Answers whether it may.
    pub(crate) fn sends(&mut self, command: &Command) -> bool {
        let follows = match command {
            Command::Replicate { target, epoch, request, term, .. }
            | Command::SendSnapshot { target, epoch, request, term, .. } => {
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

/// The bytes of the largest command of a batch.
fn largest(batch: &Batch) -> usize {
    let commands = batch.entries().iter().filter(|entry| matches!(entry.body, Body::Command(_)));
    commands.map(|entry| entry.bytes() - Payload::OVERHEAD_BYTES).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::engine::{Genesis, LogId, LogTime};

    use super::*;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    /// So many bytes may wait for the disk.
    fn limited(unflushed_bytes_max: usize) -> Lanes {
        Lanes::new(&Limits { unflushed_bytes_max, entry_bytes_max: 13, ..Limits::default() })
    }

    fn append(write: u64, entries: &[Payload]) -> Command {
        let batch = Batch::new(LogId::new(1, write), LogTime(0), Arc::from(entries));
        Command::AppendInputEntries { write: WriteId(write), batches: vec![batch] }
    }

    fn command() -> Payload {
        Payload::command(bytes::Bytes::from_static(b"of some bytes"))
    }

    fn blank() -> Payload {
        Payload { body: Body::Blank, ..command() }
    }

    fn replicate(target: NodeId, epoch: u64, request: u64, term: u64) -> Command {
        Command::Replicate {
            target,
            epoch: Epoch(epoch),
            request: RequestId(request),
            term: Term(term),
            prev: LogId::ZERO,
            last: LogId::ZERO,
            commit: LogIndex::ZERO,
            bytes_max: 0,
        }
    }

    fn committed(target: NodeId, term: u64) -> Command {
        Command::ReplicateCommitted { target, term: Term(term), commit: LogIndex::ZERO }
    }

    /// Which check says no; it says it once.
    fn refused(lanes: &mut Lanes) -> Option<Check> {
        let refused = lanes.order().err().map(|violation| violation.check);
        assert_eq!(lanes.order(), Ok(()));
        refused
    }

    #[test]
    fn writes_follow_each_other_without_a_gap() {
        let mut lanes = limited(usize::MAX);
        let saved = Command::SaveCommitted { commit: LogIndex(1) };
        assert!(lanes.writes(Some(WriteId(1)), &saved) && lanes.writes(Some(WriteId(2)), &saved));
        assert!(lanes.writes(None, &saved), "what has no number is in nobody's way");
        assert_eq!(refused(&mut lanes), None);
        for wrong in [2, 4, 1] {
            let mut lanes = limited(usize::MAX);
            assert!(lanes.writes(Some(WriteId(1)), &saved) && lanes.writes(Some(WriteId(2)), &saved));
            assert!(!lanes.writes(Some(WriteId(wrong)), &saved), "write {wrong} behind 2");
            assert_eq!(refused(&mut lanes), Some(Check::Lanes));
        }
    }

    #[test]
    fn entries_are_written_up_to_the_limit_of_what_is_not_durable() {
        let one = [command()];
        let first = append(1, &one);
        let bytes = one[0].bytes();
        let mut lanes = limited(bytes);
        assert!(lanes.writes(Some(WriteId(1)), &first) && lanes.writes(Some(WriteId(2)), &append(2, &one)));
        assert!(lanes.writes(Some(WriteId(3)), &append(3, &[blank()])), "a new leader's first entry asks nobody");
        assert_eq!(refused(&mut lanes), None, "at the limit, which is not beyond it");
        assert!(!lanes.writes(Some(WriteId(4)), &append(4, &one)));
        assert_eq!(refused(&mut lanes), Some(Check::Limits));
        let mut lanes = limited(bytes);
        assert!(lanes.writes(Some(WriteId(1)), &first) && lanes.writes(Some(WriteId(2)), &append(2, &one)));
        assert!(
            !lanes.writes(Some(WriteId(3)), &append(3, &[blank(), command()])),
            "only a blank entry alone is first"
        );
        let mut lanes = limited(bytes);
        assert!(lanes.writes(Some(WriteId(1)), &first) && lanes.writes(Some(WriteId(2)), &append(2, &one)));
        lanes.flushed(&[first]);
        assert!(lanes.writes(Some(WriteId(3)), &append(3, &one)), "what is durable takes no room");
        assert_eq!(refused(&mut lanes), None);
    }

    #[test]
    fn no_command_is_larger_than_an_entry_may_be() {
        let mut lanes = limited(usize::MAX);
        assert!(lanes.writes(Some(WriteId(1)), &append(1, &[blank(), command()])));
        assert_eq!(refused(&mut lanes), None, "13 bytes");
        let longer = Payload::command(bytes::Bytes::from_static(b"of more bytes."));
        lanes.writes(Some(WriteId(2)), &append(2, &[command(), longer]));
        assert_eq!(refused(&mut lanes), Some(Check::Limits));
    }

    #[test]
    fn what_was_written_and_is_not_applied_is_in_hand() {
        let mut lanes = limited(usize::MAX);
        for write in 1..=4 {
            assert!(lanes.writes(Some(WriteId(write)), &append(write, &[command()])));
        }
        let bytes = command().bytes();
        let mut in_hand = |applied, before| lanes.in_hand(LogIndex(applied), LogIndex(before));
        assert_eq!(in_hand(0, 0), (4 * bytes, bytes));
        assert_eq!(in_hand(0, 1), (3 * bytes, bytes), "what was there before a term is not in its leader's hand");
        assert_eq!(in_hand(2, 1), (2 * bytes, bytes));
        assert!(lanes.writes(Some(WriteId(5)), &Command::TruncateLog { write: WriteId(5), after: LogId::new(1, 3) }));
        assert_eq!(lanes.in_hand(LogIndex(2), LogIndex(0)), (bytes, bytes));
        assert_eq!(lanes.in_hand(LogIndex(3), LogIndex(0)), (0, 0));
    }

    #[test]
    fn entries_are_applied_in_order_and_once() {
        let applied = |first, last| {
            let mut lanes = limited(0);
            assert!(lanes.applies(LogIndex(1), LogIndex(3)));
            let follows = lanes.applies(LogIndex(first), LogIndex(last));
            assert_eq!(refused(&mut lanes), (!follows).then_some(Check::Lanes));
            follows
        };
        assert!(applied(4, 4));
        assert!(!applied(3, 4) && !applied(5, 5) && !applied(4, 3));
    }

    #[test]
    fn a_stream_goes_on_with_later_requests_of_its_epoch_and_term() {
        let sent = |commands: &[Command]| {
            let mut lanes = limited(0);
            lanes.rebuild(vec![(TWO, Epoch(7))]);
            let (last, before) = commands.split_last().unwrap();
            assert!(before.iter().all(|command| lanes.sends(command)));
            let may = lanes.sends(last);
            assert_eq!(refused(&mut lanes), (!may).then_some(Check::Lanes), "{last}");
            may
        };
        assert!(sent(&[replicate(TWO, 7, 1, 5), committed(TWO, 5), replicate(TWO, 7, 2, 5)]));
        assert!(!sent(&[replicate(TWO, 7, 2, 5), replicate(TWO, 7, 2, 5)]), "the same request again");
        assert!(!sent(&[replicate(TWO, 7, 2, 5), replicate(TWO, 7, 1, 5)]), "an earlier one");
        assert!(!sent(&[replicate(TWO, 6, 1, 5)]), "of a stream that has ended");
        assert!(!sent(&[replicate(ONE, 7, 1, 5)]) && !sent(&[committed(ONE, 5)]), "to nobody's stream");
        assert!(!sent(&[replicate(TWO, 7, 1, 5), replicate(TWO, 7, 2, 6)]), "of another term");
        assert!(!sent(&[replicate(TWO, 7, 1, 5), committed(TWO, 4)]), "of another term");
    }

    #[test]
    fn what_is_purged_is_in_nobodys_hand_and_what_stands_behind_it_is() {
        let mut lanes = limited(usize::MAX);
        for write in 1..=4 {
            assert!(lanes.writes(Some(WriteId(write)), &append(write, &[command()])));
        }
        let (bytes, through) = (command().bytes(), LogId::new(1, 3));
        assert!(lanes.writes(Some(WriteId(5)), &Command::PurgeLog { write: WriteId(5), through }));
        assert_eq!(lanes.in_hand(LogIndex(0), LogIndex(0)), (bytes, bytes));
    }

    #[test]
    fn a_snapshot_is_taken_in_for_more_than_was_applied() {
        let installs = |last| {
            let mut lanes = limited(0);
            assert!(lanes.applies(LogIndex(1), LogIndex(3)));
            let may = lanes.installs(LogIndex(last));
            assert_eq!(refused(&mut lanes), (!may).then_some(Check::Lanes));
            may && lanes.applies(LogIndex(last + 1), LogIndex(last + 1))
        };
        assert!(installs(4) && installs(9));
        assert!(!installs(3) && !installs(2));
    }

    #[test]
    fn a_stream_that_goes_on_keeps_its_place_and_a_new_one_begins() {
        let mut lanes = limited(0);
        lanes.rebuild(vec![(TWO, Epoch(7))]);
        assert!(lanes.sends(&replicate(TWO, 7, 3, 5)));
        lanes.rebuild(vec![(ONE, Epoch(1)), (TWO, Epoch(7))]);
        assert!(!lanes.sends(&replicate(TWO, 7, 3, 5)), "that was sent");
        assert!(lanes.sends(&replicate(ONE, 1, 1, 5)));
        lanes.rebuild(vec![(TWO, Epoch(8))]);
        assert!(lanes.sends(&replicate(TWO, 8, 1, 6)), "the next leader's");
        assert!(!lanes.sends(&replicate(ONE, 1, 2, 5)), "that one has ended");
    }

    #[test]
    fn the_pieces_of_a_snapshot_go_by_the_stream_too() {
        use outrigger::engine::{Membership, Snapshot, SnapshotId};
        let id = SnapshotId { last: LogId::new(1, 5), bytes: 9, checksum: 0 };
        let (membership, membership_at) = (Arc::new(Membership::default()), LogId::new(0, 1));
        let snapshot =
            Arc::new(Snapshot { id, genesis: Genesis::UNKNOWN, log_time: LogTime(0), membership, membership_at });
        let piece = |epoch, request| Command::SendSnapshot {
            target: TWO,
            epoch: Epoch(epoch),
            request: RequestId(request),
            term: Term(5),
            leader: ONE,
            snapshot: Arc::clone(&snapshot),
            offset: 0,
            bytes_max: 1,
        };
        let mut lanes = limited(0);
        lanes.rebuild(vec![(TWO, Epoch(7))]);
        assert!(lanes.sends(&piece(7, 1)) && !lanes.sends(&piece(7, 1)) && !lanes.sends(&piece(6, 2)));
        assert_eq!(refused(&mut lanes), Some(Check::Lanes));
    }
}
