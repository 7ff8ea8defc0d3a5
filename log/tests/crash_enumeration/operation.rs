//! What a workload is made of, and the run of one: a log, and what a crash may leave of it at each moment.

use std::error::Error;

use bytes::Bytes;
use outrigger_log::{FaultyDisk, GroupId, Log, LogPosition, OpenError, PeerIdentity, Record};

use crate::watched::Watched;
use crate::workload::{Model, apply, directory, observe, tiny};

/// The group of all records but those about peers.
const GROUP: GroupId = GroupId(1);
/// The group that is there for peers alone.
const OTHER: GroupId = GroupId(2);
/// The smallest that there is. Two long entries leave no room for a third, so that every second flush changes segments.
pub(crate) const SEGMENT: u64 = 4_096;
/// The length of a long entry.
const LONG: usize = 900;

/// One step of a workload. Together they write every kind of record, and every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Append a short entry.
    One,
    /// Append two long entries of the next term, marked.
    Two,
    /// Append a vote in the next term.
    Vote,
    /// Append what was met of a peer.
    Peer,
    /// Append a truncation of all that is not committed.
    Truncate,
    /// Append that all is committed.
    Commit,
    /// Append a purge of all that is committed.
    Purge,
    /// Make durable what was appended.
    Flush,
    /// Write the lazy evidence of the last sync.
    Mark,
    /// Remove what nothing needs, and make the next segment ahead of need.
    Prepare,
    /// Close the log and open it again; what was not flushed is gone.
    Reopen,
    /// Mark the directory as refused by a peer.
    Refuse,
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::One,
        Self::Two,
        Self::Vote,
        Self::Peer,
        Self::Truncate,
        Self::Commit,
        Self::Purge,
        Self::Flush,
        Self::Mark,
        Self::Prepare,
        Self::Reopen,
        Self::Refuse,
    ];
}

/// Whether a peer has refused the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody has.
    No,
    /// It is being written: a crash may leave it or not.
    Begun,
    /// It is durable.
    Durable,
}

/// A moment at which the power may fail, and what must be found then.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) disk: FaultyDisk,
    /// What may be recovered: the model after each record that may be on the disk, the acknowledged one first.
    pub(crate) allowed: Vec<Model>,
    /// The highest start that was answered.
    pub(crate) start: u64,
    pub(crate) refusal: Refusal,
}

/// A workload that is being run.
pub(crate) struct Run {
    disk: Watched,
    log: Log<Watched>,
    /// The model after each record since the last flush, and the flushed one first.
    prefixes: Vec<Model>,
    refusal: Refusal,
}

impl Run {
    /// Creates a log on an empty disk; answers the moments of that as well.
    pub(crate) fn begin() -> (Self, Vec<Moment>) {
        let disk = Watched::new(FaultyDisk::new());
        disk.watch();
        let log = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap();
        let seen = disk.seen();
        let run = Self { disk, log, prefixes: vec![Model::new()], refusal: Refusal::No };
        let now = run.now();
        let mut moments: Vec<Moment> = seen.into_iter().map(|disk| Moment { disk, start: 0, ..now.clone() }).collect();
        moments.push(now);
        (run, moments)
    }

    /// Whether something can follow.
    pub(crate) fn goes_on(&self) -> bool {
        self.refusal == Refusal::No
    }

    /// Performs one operation: the moments before each operation of the disk and the one behind the last, none for
    /// what only queues. `None` if the operation is not possible now, or would do nothing.
    pub(crate) fn perform(&mut self, operation: Operation) -> Option<Vec<Moment>> {
        if let Some(is_possible) = self.append(operation) {
            return is_possible.then(Vec::new);
        }
        let within = self.within(operation);
        self.disk.watch();
        self.attempt(operation).unwrap();
        self.settle(operation);
        let seen = self.disk.seen();
        if seen.is_empty() {
            return None;
        }
        let mut moments: Vec<Moment> = seen.into_iter().map(|disk| Moment { disk, ..within.clone() }).collect();
        moments.push(self.now());
        Some(moments)
    }

    /// Performs an operation that was found possible before, unwatched.
    pub(crate) fn repeat(&mut self, operation: Operation) {
        if self.append(operation).is_none() {
            self.attempt(operation).unwrap();
            self.settle(operation);
        }
    }

    /// What an operation that is over has changed about what must be found.
    fn settle(&mut self, operation: Operation) {
        match operation {
            Operation::Flush => self.prefixes = self.prefixes.split_off(self.prefixes.len() - 1),
            Operation::Refuse => self.refusal = Refusal::Durable,
            _ => {}
        }
    }

    /// Performs an operation of which one sync fails, the one after `syncs` others: the moment after that. The workload
    /// ends with it. `None` if there are not so many syncs.
    pub(crate) fn fail_sync(mut self, operation: Operation, syncs: u64) -> Option<Moment> {
        if self.append(operation).is_some() {
            return None;
        }
        let within = self.within(operation);
        self.disk.disk.fail_sync_after(syncs);
        self.attempt(operation).err()?;
        Some(Moment { disk: self.disk.disk.fork(), ..within })
    }

    /// What must be found if the power fails within an operation.
    fn within(&self, operation: Operation) -> Moment {
        let now = self.now();
        match operation {
            Operation::Flush => Moment { allowed: self.prefixes.clone(), ..now },
            Operation::Refuse => Moment { refusal: Refusal::Begun, ..now },
            _ => now,
        }
    }

    fn attempt(&mut self, operation: Operation) -> Result<(), Box<dyn Error>> {
        match operation {
            Operation::Flush => self.log.flush()?,
            Operation::Mark => self.log.mark()?,
            Operation::Reopen => self.reopen()?,
            Operation::Refuse => {
                let met = PeerIdentity { incarnation: 0xfeed, start: self.log.identity().start + 1, nonce: 77 };
                self.log.refuse(3, met)?;
            }
            _ => {
                self.log.preparer().prepare()?;
            }
        }
        Ok(())
    }

    /// The moment between two operations: what is queued is nowhere on the disk.
    fn now(&self) -> Moment {
        Moment {
            disk: self.disk.disk.fork(),
            allowed: self.prefixes[..1].to_vec(),
            start: self.log.identity().start,
            refusal: self.refusal,
        }
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        // The lock goes with the old log, whose place another one takes until then.
        self.log = Log::open(Watched::new(FaultyDisk::new()), directory(), tiny(SEGMENT))?;
        self.log = Log::open(self.disk.clone(), directory(), tiny(SEGMENT))?;
        self.prefixes.truncate(1);
        assert_eq!(observe(&self.log), self.prefixes[0], "opened again");
        assert_eq!(self.log.cut(), None, "nothing was torn");
        Ok(())
    }

    /// Appends the operation's record, if it has one: whether its group's state allows it.
    fn append(&mut self, operation: Operation) -> Option<bool> {
        let model = self.prefixes.last().expect("the flushed one is there");
        let state = model.get(&GROUP).cloned().unwrap_or_default();
        let last = state.last();
        let payload = |index: u64, bytes: usize| Bytes::from(vec![u8::try_from(index % 250).unwrap() + 1; bytes]);
        let one = [payload(last.index + 1, 20)];
        let two = [payload(last.index + 1, LONG), payload(last.index + 2, LONG)];
        let run =
            |term, payloads, marked| Record::Entries { term, first: last.index + 1, log_time: 5, payloads, marked };
        let committed = state.entries.get(&state.committed).map_or(state.purged.term, |entry| entry.term);
        let (group, record, is_allowed) = match operation {
            Operation::One => (GROUP, run(last.term.max(1), &one[..], false), true),
            Operation::Two => (GROUP, run(last.term + 1, &two[..], true), true),
            Operation::Vote => {
                let voted_for = (state.vote.term % 2 == 0).then_some(2);
                (GROUP, Record::Vote { term: state.vote.term + 1, voted_for }, true)
            }
            Operation::Peer => {
                let peers = model.get(&OTHER).map_or(0, |other| other.peers.len() as u64);
                let identity = PeerIdentity { incarnation: 9, start: peers, nonce: 8 };
                (OTHER, Record::Peer { node: peers, identity }, true)
            }
            Operation::Truncate => (GROUP, Record::Truncate { after: state.committed }, state.committed < last.index),
            Operation::Commit => (GROUP, Record::Committed { index: last.index }, state.committed < last.index),
            Operation::Purge => {
                let through = LogPosition { term: committed, index: state.committed };
                (GROUP, Record::Purge { through }, state.purged.index < state.committed)
            }
            _ => return None,
        };
        if is_allowed {
            self.log.append(group, record).unwrap();
            let mut model = model.clone();
            apply(&mut model, group, &record);
            self.prefixes.push(model);
        }
        Some(is_allowed)
    }
}
