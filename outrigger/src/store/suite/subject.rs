//! The store under test, and beside it a plain copy of what it must hold.

#![expect(clippy::missing_panics_doc, reason = "a suite says what is wrong by panicking, everywhere")]

use std::sync::Arc;

use bytes::Bytes;
use outrigger_engine::{
    Batch, Body, Genesis, Incarnation, LogId, LogIndex, LogTime, Membership, Node, NodeId, Payload, Peer, Restored,
    SessionId, Snapshot, Term, Vote,
};

use super::Open;
use crate::store::{Built, LogReader, LogStore, Moment, SnapshotStore, genesis_of};

/// One entry as both sides must hold it; how entries are cut into batches is the store's own business.
pub(super) type Entry = (LogId, LogTime, Payload);

/// A store under test and what it must hold. Each method does one thing to both.
#[expect(missing_debug_implementations, reason = "what opens a store cannot be shown")]
pub struct Subject<'a> {
    /// Opens the store again.
    open: &'a mut Open<'a>,
    /// The open store; `None` only while it is opened again.
    store: Option<Box<dyn LogStore>>,
    /// Every entry that is not purged, the oldest first.
    entries: Vec<Entry>,
    /// What the store must answer at its next opening; only vote, commit index, peers, snapshot and what was purged are kept
    /// here.
    beside: Restored,
    /// How many entries were made, so that each is another one.
    made: u64,
}

impl<'a> Subject<'a> {
    /// Opens the store of a new place and asks that it is empty.
    pub(super) fn open(open: &'a mut Open<'a>) -> Self {
        let store = open();
        let mut subject = Self { open, store: Some(store), entries: Vec::new(), beside: Restored::default(), made: 0 };
        subject.check_restored();
        subject
    }

    /// The store, to ask it what the steps here do not.
    pub fn store(&mut self) -> &mut dyn LogStore {
        self.store.as_deref_mut().expect("the store is closed only while it is opened again")
    }

    /// A new reader of the store.
    pub fn reader(&mut self) -> Arc<dyn LogReader> {
        self.store().reader()
    }

    /// The last entry that the store must hold.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.beside.purged, |entry| entry.0)
    }

    /// What the store must answer at its next opening.
    #[must_use]
    pub fn expected(&self) -> Restored {
        let mut terms: Vec<LogId> = self.entries.iter().map(|entry| entry.0).collect();
        terms.dedup_by_key(|id| id.term);
        let memberships = self.entries.iter().filter_map(|(id, _, payload)| match &payload.body {
            Body::Membership(membership) => Some((*id, Arc::clone(membership))),
            Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
        });
        Restored {
            terms,
            last: self.last(),
            log_time: self.log_time(),
            memberships: memberships.collect(),
            genesis: self.genesis(),
            ..self.beside.clone()
        }
    }

    /// Of which cluster the log is, as far as it tells.
    fn genesis(&self) -> Genesis {
        match (&self.beside.snapshot, self.entries.first()) {
            (Some(snapshot), _) => snapshot.genesis,
            (None, Some((_, _, Payload { body: Body::Membership(first), .. }))) => genesis_of(first),
            (None, _) => Genesis::UNKNOWN,
        }
    }

    /// Saves a vote.
    pub fn save_vote(&mut self, term: u64, voted_for: Option<u64>) {
        let vote = Vote { term: Term(term), voted_for: voted_for.map(NodeId) };
        self.store().save_vote(vote).expect("a vote is saved");
        self.beside.vote = vote;
    }

    /// Saves the life `(id, start, nonce)` of a peer.
    pub fn save_peer(&mut self, node: u64, (id, start, nonce): (u64, u64, u64)) {
        let peer = Peer::new(NodeId(node), Incarnation { id, start, nonce });
        self.store().save_peer(peer).expect("a peer is saved");
        self.beside.peers.insert(peer.node, peer.incarnation);
    }

    /// Saves the commit index.
    pub fn save_committed(&mut self, commit: u64) {
        self.store().save_committed(LogIndex(commit)).expect("a commit index is saved");
        self.beside.commit = LogIndex(commit);
    }

    /// Appends that many small commands of a term, as one batch.
    pub fn append(&mut self, term: u64, count: usize) {
        self.append_sized(term, count, 20);
    }

    /// Appends that many commands of that many bytes, each another one, as one batch.
    pub fn append_sized(&mut self, term: u64, count: usize, bytes: usize) {
        let payloads = (0..count).map(|_| {
            self.made += 1;
            let mut command = self.made.to_le_bytes().to_vec();
            command.resize(bytes, self.made.to_le_bytes()[0]);
            Payload::command(Bytes::from(command))
        });
        let payloads: Arc<[Payload]> = payloads.collect();
        self.append_payloads(term, payloads);
    }

    /// Appends a membership with these voters, as a batch of its own.
    pub fn append_membership(&mut self, term: u64, voters: &[u64]) {
        self.append_payloads(term, Arc::new([membership(voters)]));
    }

    /// Appends these payloads as one batch.
    pub fn append_payloads(&mut self, term: u64, payloads: Arc<[Payload]>) {
        let batch = self.next_batch(term, payloads);
        self.append_batches(&[batch]);
    }

    /// A batch that may follow the last entry; its log time is above all before.
    #[must_use]
    pub fn next_batch(&self, term: u64, payloads: Arc<[Payload]>) -> Batch {
        let log_time = LogTime(self.log_time().0.max(993) + 7);
        Batch::new(LogId { term: Term(term), index: self.last().index.next() }, log_time, payloads)
    }

    /// Appends batches by one call.
    pub fn append_batches(&mut self, batches: &[Batch]) {
        self.store().append(batches).expect("entries are appended");
        self.entries.extend(batches.iter().flat_map(entries_of));
    }

    /// Drops every entry behind `after`.
    pub fn truncate(&mut self, after: u64) {
        let keep = self.kept(after);
        let after = self.id(after);
        self.store().truncate(after).expect("entries are dropped");
        self.entries.truncate(keep);
    }

    /// Drops every entry up to `through`, which the log holds.
    pub fn purge(&mut self, through: u64) {
        let (kept, through) = (self.kept(through), self.id(through));
        self.store().purge(through).expect("entries are purged");
        self.entries.drain(..kept);
        self.begins_behind(through);
    }

    /// Drops every entry: the log does not hold this one, but a snapshot that came from elsewhere does.
    pub fn purge_beyond(&mut self, through: LogId) {
        let commit = self.beside.commit.0;
        self.truncate(commit);
        self.store().purge(through).expect("entries are purged");
        self.begins_behind_all(through);
    }

    /// From now on the log is expected to hold nothing, and to begin behind this entry.
    pub(super) fn begins_behind_all(&mut self, through: LogId) {
        self.entries.clear();
        self.begins_behind(through);
    }

    fn begins_behind(&mut self, through: LogId) {
        self.beside.purged = through;
        self.beside.commit = self.beside.commit.max(through.index);
    }

    /// The snapshots of the store.
    pub fn snapshots(&mut self) -> Arc<dyn SnapshotStore> {
        self.store().snapshots()
    }

    /// Builds a snapshot of all up to an entry of the log, with that content.
    pub fn build(&mut self, last: u64, content: &[u8]) -> Arc<Snapshot> {
        self.flush();
        let of = self.moment(last);
        let write = &mut |out: &mut dyn std::io::Write| out.write_all(content);
        let built = match self.snapshots().build(&of, write).expect("the disk works") {
            Built::Snapshot(built) => built,
            Built::Not(reason) => panic!("no snapshot is built: {reason}"),
        };
        let Snapshot { id, log_time, membership, membership_at, genesis: _ } = (*built).clone();
        assert_eq!((id.last, id.bytes), (of.last, content.len() as u64), "what it covers, and its size");
        assert_eq!(Moment { last: id.last, log_time, membership_at, membership }, of, "what it says");
        self.holds(&built, content);
        built
    }

    /// The last entry that the newest snapshot covers.
    pub(super) fn covered(&self) -> LogId {
        self.beside.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last())
    }

    /// Whether there is anything up to this entry that says who the members are.
    pub(super) fn knows_members(&self, last: u64) -> bool {
        let is_membership = |entry: &Entry| matches!(entry.2.body, Body::Membership(_));
        self.beside.snapshot.is_some() || self.entries[..self.kept(last)].iter().any(is_membership)
    }

    /// The moment after an entry of the log.
    pub(super) fn moment(&self, last: u64) -> Moment {
        let before = &self.entries[..self.kept(last)];
        let of_entry = |(id, _, payload): &Entry| match &payload.body {
            Body::Membership(membership) => Some((*id, Arc::clone(membership))),
            Body::Blank | Body::Command(_) | Body::RegisterSession { .. } => None,
        };
        let in_snapshot = || {
            let snapshot = self.beside.snapshot.as_ref();
            snapshot.map(|snapshot| (snapshot.membership_at, Arc::clone(&snapshot.membership)))
        };
        let known = before.iter().rev().find_map(of_entry).or_else(in_snapshot);
        let (membership_at, membership) = known.expect("a case whose log begins with its members");
        Moment { last: self.id(last), log_time: before.last().expect("a last entry").1, membership_at, membership }
    }

    /// From now on this is expected to be the newest snapshot; asks that it is, and can be read.
    pub fn holds(&mut self, snapshot: &Arc<Snapshot>, content: &[u8]) {
        self.beside.snapshot = Some(Arc::clone(snapshot));
        let snapshots = self.snapshots();
        assert_eq!(snapshots.newest().as_ref(), Some(snapshot), "the newest snapshot");
        let mut found = Vec::new();
        let mut reader = snapshots.content(snapshot.id).expect("the newest snapshot can be read");
        std::io::Read::read_to_end(&mut reader, &mut found).expect("its content can be read");
        assert_eq!(found, content, "the content of {}", snapshot.id);
    }

    /// Makes everything durable.
    pub fn flush(&mut self) {
        self.store().flush().expect("a flush");
    }

    /// Flushes, and asks that the store holds what it must: every range of a short log can be read, and of a long one
    /// some from all over it.
    pub fn check(&mut self) {
        self.flush();
        let (reader, last, purged) = (self.reader(), self.last().index.0, self.beside.purged);
        assert_eq!(reader.purged(), purged, "what was purged");
        if purged.index.0 > 0 {
            let found = reader.batches(purged.index, purged.index, usize::MAX);
            assert!(found.is_err(), "entry {purged} was purged, and {found:?} was read");
        }
        let step = usize::try_from((last - purged.index.0) / 32 + 1).expect("a small number");
        for from in (purged.index.0 + 1..=last).step_by(step) {
            for through in [from, from + (last - from) / 2, last] {
                self.check_range(&*reader, from, through);
            }
        }
    }

    /// Asks that the store reads exactly these entries.
    pub fn check_range(&self, reader: &dyn LogReader, from: u64, through: u64) {
        let found = reader.batches(LogIndex(from), LogIndex(through), usize::MAX);
        let found = found.unwrap_or_else(|error| panic!("entries {from} to {through} cannot be read: {error}"));
        let found: Vec<Entry> = found.iter().flat_map(entries_of).collect();
        assert_eq!(found, self.range(from, through), "the entries {from} to {through}");
    }

    /// The entries that the store must hold at these indexes.
    pub(super) fn range(&self, from: u64, through: u64) -> &[Entry] {
        &self.entries[self.kept(from) - 1..self.kept(through)]
    }

    /// How many of the entries up to an index were not purged.
    fn kept(&self, index: u64) -> usize {
        usize::try_from(index - self.beside.purged.index.0).expect("a small index")
    }

    /// The entry at an index, or what stands before the first one.
    pub(super) fn id(&self, index: u64) -> LogId {
        self.kept(index).checked_sub(1).map_or(self.beside.purged, |at| self.entries[at].0)
    }

    fn log_time(&self) -> LogTime {
        let in_snapshot = self.beside.snapshot.as_ref().map_or(LogTime(0), |snapshot| snapshot.log_time);
        self.entries.last().map_or(in_snapshot, |entry| entry.1)
    }

    /// Flushes, closes, opens again, and asks that all is still there.
    pub fn reopen(&mut self) {
        self.check();
        self.reopen_as_expected();
    }

    /// The term is expected not to be before this one: a log that begins behind a snapshot is of its term.
    pub(super) fn is_of_term_at_least(&mut self, term: Term) {
        if self.beside.vote.term < term {
            self.beside.vote = Vote { term, voted_for: None };
        }
    }

    /// Closes, opens again, and asks that there is what is expected then: not necessarily what was there.
    pub(super) fn reopen_as_expected(&mut self) {
        self.store = None;
        self.store = Some((self.open)());
        self.check_restored();
        self.check();
    }

    /// Closes without a flush and opens again: what was not flushed may be gone, from some write on, and then counts as
    /// gone. Asks for no more than the entries and the vote.
    pub fn reopen_unflushed(&mut self) {
        self.store = None;
        self.store = Some((self.open)());
        let found = self.store().restore().expect("the store is restored");
        let kept = self.kept(found.last.index.0);
        assert!(kept <= self.entries.len(), "more entries than were ever appended: {}", found.last);
        self.entries.truncate(kept);
        assert_eq!(found.last, self.last(), "the last entry");
        assert!(found.vote.term <= self.beside.vote.term, "a vote that was never saved: {:?}", found.vote);
        self.beside.vote = found.vote;
        self.check();
    }

    fn check_restored(&mut self) {
        let found = self.store().restore().expect("the store is restored");
        let expected = self.expected();
        // Those that may be truncated and the last before them are enough, all are welcome.
        let settled = expected.memberships.iter().filter(|(at, _)| at.index <= expected.commit).count();
        let least = expected.memberships.len() - settled.saturating_sub(1);
        assert!(found.memberships.len() >= least, "memberships {:?}", found.memberships);
        assert!(expected.memberships.ends_with(&found.memberships), "memberships {:?}", found.memberships);
        // How much the log holds is an estimate.
        let (memberships, log_bytes) = (expected.memberships.clone(), expected.log_bytes);
        assert_eq!(Restored { memberships, log_bytes, ..found }, expected);
    }
}

/// An entry that sets the membership.
pub(super) fn membership(voters: &[u64]) -> Payload {
    let node = |id: &u64| (NodeId(*id), Node { address: format!("host-{id}:7101") });
    Payload::membership(Arc::new(Membership::new(voters.iter().map(node), [])))
}

/// A command of a client's session.
pub(super) fn in_session(session: u64, sequence: u64) -> Payload {
    Payload { session: SessionId(session), sequence, body: Body::Command(Bytes::from_static(b"once")) }
}

/// The entries of a batch, each with its id.
pub(super) fn entries_of(batch: &Batch) -> impl Iterator<Item = Entry> + '_ {
    let ids = (batch.first().index.0..).map(|index| LogId { term: batch.term(), index: LogIndex(index) });
    ids.zip(batch.entries()).map(|(id, payload)| (id, batch.log_time(), payload.clone()))
}
