//! Snapshots: when one is taken, what of the log it makes superfluous, and how one is brought to a follower that lacks what
//! the log no longer holds (Raft paper, section 7; thesis, chapter 5).
//!
//! ```text
//!   take     policy ─► BuildSnapshot ─► (state machine, file) ─► SnapshotBuilt ─► PurgeLog
//!
//!   bring    leader    InstallSnapshot 0..          InstallSnapshot 4096..8192            append_entries 10/901 ..
//!                           │        ▲ held 4096        │         ▲ held 8192 = all            ▲
//!            follower       ▼        │                  ▼         │                            │ matched 900
//!                      ReceiveSnapshot ─► SnapshotReceived  ...   └─► PurgeLog 10/900, InstallSnapshot ─► flushed
//! ```
//!
//! A snapshot is known by what it holds, so that its transfer goes on where it stopped: after a lost message, a broken
//! connection, a restart of either side, and under another leader if that has the same one. There is one piece under way to
//! a follower at a time; it is asked for again when heartbeats are answered and it is not.
//!
//! Nothing is kept before the node's term is durable: what a snapshot covers is committed in that term or before, and a start
//! that finds it must not listen to leaders of terms in which it was not. So pieces wait for the last vote, and none is taken
//! before.
//!
//! One that cannot be read when it is to be sent is damaged: nothing of it is sent, and nothing purged because of it, until another
//! one has taken its place, of the same entries if nothing came since. The state that it was of is whole, in memory.
//!
//! ```text
//!   SnapshotUnreadable ─► (a pause after the last one) ─► BuildSnapshot ─► SnapshotBuilt ─► InstallSnapshot 0..
//! ```
//!
//! It is installed when all of it is durable and nothing waits to be applied: then its entry is committed here, the log
//! begins right behind it, and the state machine takes it in between two entries.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Command, StateMachineRequest};
use crate::engine::{Engine, Handled};
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::message::{AppendEntriesReply, AppendOutcome, InstallSnapshot, InstallSnapshotReply, Message};
use crate::refusal::{Inconsistency, Refusal};
use crate::replication::stream;
use crate::role::Role;
use crate::types::{Epoch, Founding, Genesis, Instant, LogId, LogIndex, LogTime, NodeId, RequestId, Term, Token};
use crate::writes::Promise;

/// After a failure, and after one that soon could not be read any more, no snapshot is taken for so many election timeouts: a disk
/// on which nothing lasts must not keep the state machine busy.
const PAUSE_TIMEOUTS: u32 = 8;

/// A snapshot that is put off, so that a follower can be brought the last one, is taken when so many have been due; the next one when
/// it was twice as many, and so on, until the follower has one.
const OVERDUE_TIMES: u32 = 4;

/// It is never put off for longer than until so many have been due: a follower whose disk is full never has one, and the log holds all
/// that came since the last was taken. Whoever is not brought one while so many times as much is written could not follow the log either.
const OVERDUE_TIMES_MAX: u32 = 16;

/// What a snapshot is known by: two with the same id hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The last entry that it covers.
    pub last: LogId,
    /// The size of its content in bytes.
    pub bytes: u64,
    /// The checksum of its content.
    pub checksum: u32,
}

/// `2/17 of 4096 bytes`.
impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.last, self.bytes)
    }
}

/// What the engine knows of a snapshot: all but its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// What it is known by.
    pub id: SnapshotId,
    /// The log time of its last entry.
    pub log_time: LogTime,
    /// The members as of its last entry.
    pub membership: Arc<Membership>,
    /// The entry that says so; at or before the last.
    pub membership_at: LogId,
    /// How its cluster began.
    pub genesis: Genesis,
}

impl Snapshot {
    /// The last entry that it covers.
    #[must_use]
    pub const fn last(&self) -> LogId {
        self.id.last
    }

    /// Whether what it says can be: else it is garbage, or of another cluster than its receiver.
    fn check(&self, term: Term, genesis: Genesis, founding: Founding) -> Handled {
        let (last, at) = (self.id.last, self.membership_at);
        let has_voters = !self.membership.voters().is_empty();
        let is_sound = LogIndex::ZERO < at.index && at.index <= last.index && at.term <= last.term && last.term <= term;
        let is_ours = !self.genesis.contradicts(genesis) && !self.membership.founding().contradicts(founding);
        if has_voters && is_sound && is_ours { Ok(()) } else { Err(Inconsistency::Snapshot { id: self.id }) }
    }
}

/// What a node has of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Snapshots {
    /// The newest that is durable here.
    newest: Option<Arc<Snapshot>>,
    /// The newest could not be read: from this moment on another one is taken in its place. Only where there is a newest.
    damaged: Option<Instant>,
    /// While a follower is brought the newest, another one is taken once so many are due.
    overdue: u32,
    /// The one that is being taken.
    building: Option<Building>,
    /// Who asked for more than that covers, or before the term was durable: they wait for the one behind it.
    wanted: Vec<Token>,
    /// The one that is being received.
    receiving: Option<Receiving>,
    /// Bytes of entries that the log took in since the newest was taken, or since the start.
    bytes: u64,
    /// When the newest was taken, or the node started; after a failure, when the next may be tried.
    since: Instant,
}

/// A snapshot that is being taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Building {
    /// What it will cover.
    last: LogId,
    /// How many of the bytes of entries that are counted it will cover, at most.
    bytes: u64,
    /// Who waits for it.
    waiting: Vec<Token>,
}

/// A snapshot that is being received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Receiving {
    snapshot: Arc<Snapshot>,
    /// The last piece that was taken, which is answered.
    last: Piece,
    /// The latest of its leader's requests that a piece came with: of another snapshot, what was wanted before is not taken any more.
    /// Pieces of one snapshot come from two senders when a delegate takes the leader's place, and in any order.
    latest: RequestId,
    /// That is being written; it is answered once it is there.
    is_writing: bool,
    /// All of it is durable. It is installed as soon as nothing waits to be applied.
    is_complete: bool,
}

/// Which message brought a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece {
    /// Who gets the answer.
    leader: NodeId,
    term: Term,
    epoch: Epoch,
    request: RequestId,
}

impl Receiving {
    /// Whether the leader has wanted something since that it did not want with this piece: then whoever sends in its stead was slow, or
    /// the network was.
    fn is_ahead_of(&self, piece: Piece) -> bool {
        mutate!(late_piece_begins_anew, return false);
        (piece.leader, piece.term) == (self.last.leader, self.last.term) && piece.request < self.latest
    }
}

impl Snapshots {
    pub(crate) const fn restore(newest: Option<Arc<Snapshot>>, bytes: u64, now: Instant) -> Self {
        Self {
            newest,
            damaged: None,
            overdue: OVERDUE_TIMES,
            building: None,
            wanted: Vec::new(),
            receiving: None,
            bytes,
            since: now,
        }
    }

    /// The last entry that the newest one covers; [`LogId::ZERO`] if there is none.
    pub(crate) fn last(&self) -> LogId {
        self.newest.as_ref().map_or(LogId::ZERO, |newest| newest.id.last)
    }

    /// The newest one, unless it is damaged.
    pub(crate) fn whole(&self) -> Option<&Arc<Snapshot>> {
        self.newest.as_ref().filter(|_| self.damaged.is_none())
    }

    fn replace(&mut self, newest: Arc<Snapshot>) {
        assert!(newest.id.last.index >= self.last().index, "{} takes the place of what covers more", newest.id);
        (self.newest, self.damaged) = (Some(newest), None);
    }

    /// How many wait for one.
    fn waiting(&self) -> usize {
        self.wanted.len() + self.building.as_ref().map_or(0, |building| building.waiting.len())
    }

    /// The log has taken entries in.
    pub(crate) const fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { newest, damaged, overdue, building, wanted, receiving, bytes: _, since: _ } = self;
        out.flag(newest.is_some());
        newest.iter().for_each(|newest| out.snapshot(newest));
        out.flag(damaged.is_some());
        out.number(u64::from(*overdue));
        out.flag(building.is_some());
        if let Some(Building { last, bytes: _, waiting }) = building {
            out.log_id(*last);
            out.size(waiting.len());
            waiting.iter().for_each(|token| out.number(token.0));
        }
        out.size(wanted.len());
        wanted.iter().for_each(|token| out.number(token.0));
        out.flag(receiving.is_some());
        if let Some(Receiving { snapshot, last, latest, is_writing, is_complete }) = receiving {
            out.snapshot(snapshot);
            out.flag(*is_complete);
            out.flag(*is_writing);
            let Piece { leader, term, epoch, request } = last;
            [leader.0, term.0].into_iter().for_each(|number| out.number(number));
            out.epoch(*leader, *epoch);
            out.append(*leader, *request);
            out.append(*leader, *latest);
        }
    }
}

/// Taking one.
impl Engine {
    pub(crate) fn handle_take_snapshot(&mut self, token: Token) {
        if self.commit_index == LogIndex::ZERO {
            return self.refuse(token, Refusal::NothingToSnapshot);
        }
        if self.snapshots.damaged.is_none() && self.snapshots.last().index == self.commit_index {
            let last = self.snapshots.last();
            return self.push(Command::SnapshotTaken { token, last });
        }
        let (current, limit) = (self.snapshots.waiting(), self.config.limits.forwards_max);
        if current >= limit {
            return self.refuse(token, Refusal::Overloaded { current, limit });
        }
        let commit = self.commit_index;
        match &mut self.snapshots.building {
            Some(building) if building.last.index == commit => building.waiting.push(token),
            // It will not cover what was committed since.
            Some(_) => self.snapshots.wanted.push(token),
            None if !self.writes.has_durable_term() => self.snapshots.wanted.push(token),
            None => self.build_snapshot(vec![token]),
        }
    }

    /// Whether one is being taken, which will take the place of the newest.
    pub(crate) const fn builds_snapshot(&self) -> bool {
        self.snapshots.building.is_some()
    }

    /// Everybody who waits for a snapshot.
    pub(crate) fn leave_snapshots(&mut self) -> Vec<Token> {
        let mut waiting = self.snapshots.building.take().map_or_else(Vec::new, |building| building.waiting);
        waiting.append(&mut self.snapshots.wanted);
        waiting
    }

    /// Takes a snapshot if it is time for one. Runs after every event.
    pub(crate) fn snapshot_by_policy(&mut self, now: Instant) {
        if !self.writes.has_durable_term() {
            return;
        }
        if self.snapshots.building.is_none() {
            std::mem::take(&mut self.snapshots.wanted).into_iter().for_each(|token| self.handle_take_snapshot(token));
        }
        let (policy, snapshots) = (&self.config.snapshots, &self.snapshots);
        let covers = snapshots.last().index;
        if snapshots.building.is_none() && snapshots.damaged.is_some_and(|from| from <= now) {
            // Whoever is brought it cannot be brought more of it, and the policy is about what is in order.
            return self.build_snapshot(Vec::new());
        }
        if snapshots.building.is_some() || self.commit_index <= covers || now < snapshots.since {
            return;
        }
        // As much again as the last one had, if that is more: so the work stays in proportion to what is written.
        let bytes_due = |least: u64| least.max(snapshots.newest.as_ref().map_or(0, |newest| newest.id.bytes));
        let is_due = |times: u32| {
            let most = u64::from(times);
            policy.entries.is_some_and(|entries| self.commit_index.since(covers) >= entries.saturating_mul(most))
                || policy.bytes.is_some_and(|least| snapshots.bytes >= bytes_due(least).saturating_mul(most))
                || policy.interval.is_some_and(|each| now.since(snapshots.since) >= each.saturating_mul(times))
        };
        if !is_due(1) {
            return;
        }
        let brings = self.brings_snapshot(now) || self.lends_snapshot(now);
        // One who is brought the last one for so long may never have it, and the log must not grow for ever. Nor must it get as far
        // with each, and never to the end.
        if !brings || is_due(self.snapshots.overdue) {
            self.snapshots.overdue =
                if brings { (self.snapshots.overdue * 2).min(OVERDUE_TIMES_MAX) } else { OVERDUE_TIMES };
            self.build_snapshot(Vec::new());
        }
    }

    /// Whether a follower that is there is being brought a snapshot: a newer one would make it begin anew.
    fn brings_snapshot(&self, now: Instant) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let patience = self.config.election_timeout_max;
        leader.progress.values().any(|it| it.is_brought_snapshot() && now.since(it.heard_at()) < patience)
    }

    fn build_snapshot(&mut self, waiting: Vec<Token>) {
        let last = self.log.id_at(self.commit_index).expect("what is committed is in the log, or right before it");
        mutate!(snapshot_of_present_term, last = LogId { term: self.vote.term, ..last });
        let (membership_at, membership) = self.memberships.committed().clone();
        assert!(
            LogIndex::ZERO < membership_at.index && membership_at.index <= last.index,
            "members of {membership_at} in a snapshot up to {last}"
        );
        self.snapshots.building = Some(Building { last, bytes: self.snapshots.bytes, waiting });
        let request = StateMachineRequest::BuildSnapshot { last, membership_at, membership };
        self.push(Command::StateMachine(request));
    }

    pub(crate) fn handle_snapshot_built(&mut self, snapshot: Arc<Snapshot>, now: Instant) {
        let last = snapshot.id.last;
        let Some(Building { last: ordered, bytes, waiting }) = self.snapshots.building.take() else {
            panic!("a snapshot up to {last} was taken that nobody wanted");
        };
        assert_eq!(last, ordered, "a snapshot covers what was applied when it was ordered");
        for token in waiting {
            self.push(Command::SnapshotTaken { token, last });
        }
        self.snapshots.since = now;
        // One that was brought meanwhile may be newer.
        let covered = self.snapshots.last().index;
        // Of two of the same entries, the one that was complete last is there.
        if last.index >= covered {
            self.snapshots.bytes = self.snapshots.bytes.saturating_sub(bytes);
            self.snapshots.replace(snapshot);
            // The state machine had applied all that it covers when it was taken, whether that was reported or not.
            self.purge(last.index, self.config.snapshots.keep_entries);
        }
        self.take_wanted();
    }

    /// Those who want more than the last one covers get the next.
    fn take_wanted(&mut self) {
        for token in std::mem::take(&mut self.snapshots.wanted) {
            self.handle_take_snapshot(token);
        }
    }

    /// Nothing is lost: the log still holds what the snapshot would have covered, or a newer one that came from the leader does.
    pub(crate) fn handle_snapshot_failed(&mut self, now: Instant) {
        let last = self.snapshots.last();
        let is_damaged = self.snapshots.damaged.is_some();
        let is_covered = |it: &mut Building| it.last.index <= last.index && !is_damaged;
        if let Some(Building { waiting, .. }) = self.snapshots.building.take_if(is_covered) {
            // One that covers as much has come meanwhile.
            waiting.into_iter().for_each(|token| self.push(Command::SnapshotTaken { token, last }));
            return self.take_wanted();
        }
        self.leave_snapshots().into_iter().for_each(|token| self.refuse(token, Refusal::SnapshotFailed));
        self.snapshots.since = now + self.config.election_timeout_max * PAUSE_TIMEOUTS;
        self.snapshots.damaged = self.snapshots.damaged.map(|_| self.snapshots.since);
    }

    /// A piece of the newest cannot be sent, or saved, because it is not there as it was written. What is not sent is done without: by a
    /// leader until it has taken another one, for a delegate by its leader.
    pub(crate) fn handle_snapshot_unreadable(&mut self, id: SnapshotId, now: Instant) {
        let Some(newest) = &self.snapshots.newest else { return };
        mutate!(damaged_snapshot_kept, return);
        if newest.id == id && self.snapshots.damaged.is_none() {
            let from = self.snapshots.since + self.config.election_timeout_max * PAUSE_TIMEOUTS;
            self.snapshots.damaged = Some(from.max(now));
        }
    }

    pub(crate) fn handle_purge(&mut self, token: Token, keep_entries: u64) {
        self.purge(self.applied, keep_entries);
        self.push(Command::Purged { token, through: self.log.purged() });
    }

    /// Drops what the newest snapshot covers and is applied, but for the last `keep_entries` of it: for followers that are a little
    /// behind.
    fn purge(&mut self, applied: LogIndex, keep_entries: u64) {
        // Of what a damaged one covers, the log may be the only copy. One that came in vain may cover what the state machine is yet to
        // read from the log.
        let covered = self.snapshots.whole().map_or(LogIndex::ZERO, |whole| whole.id.last.index).min(applied);
        mutate!(purges_beyond_snapshot, covered = self.commit_index);
        let through = LogIndex(covered.0.saturating_sub(keep_entries));
        if through <= self.log.purged().index {
            return;
        }
        let through = self.log.id_at(through).expect("what is not purged is in the log");
        let write = self.writes.accept();
        self.log.purge(through);
        mutate!(purges_one_too_many, through = self.log.id_at(through.index.next()).unwrap_or(through));
        self.push(Command::PurgeLog { write, through });
    }
}

/// Bringing one.
impl Engine {
    /// The next piece for a follower that lacks what the log no longer holds.
    pub(crate) fn bring_snapshot(&mut self, target: NodeId) {
        if let Some(delegate) = self.delegate_for(target) {
            return self.delegate_piece(delegate, target);
        }
        assert!(self.snapshots.newest.is_some(), "what was purged is in a snapshot");
        let Some(snapshot) = self.snapshots.whole().cloned() else { return };
        let (own, term, bytes_max) = (self.id(), self.vote.term, self.config.limits.snapshot_chunk_bytes_max);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.at_mut(&target) else { return };
        self.next_id += 1;
        let request = RequestId(self.next_id);
        let (offset, bytes_max) = match progress.issue_piece(None, Some(snapshot.id), request) {
            Some((_, offset)) => (offset, bytes_max),
            // How much of it the follower has is asked first.
            None => (0, 0),
        };
        let epoch = progress.epoch();
        self.push(Command::SendSnapshot { target, epoch, request, term, leader: own, snapshot, offset, bytes_max });
    }

    pub(crate) fn handle_install_snapshot_reply(
        &mut self,
        from: NodeId,
        reply: InstallSnapshotReply,
        now: Instant,
    ) -> Handled {
        if reply.term < self.vote.term {
            return Ok(());
        }
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        if let Some(progress) = stream(leader, from, reply.epoch) {
            progress.hear(now);
            match reply.held {
                Some(held) => progress.piece_held(reply.request, reply.snapshot, held),
                None => progress.piece_arrived(reply.request),
            }
        }
        Ok(())
    }

    pub(crate) fn handle_snapshot_sent(&mut self, target: NodeId, epoch: Epoch, request: RequestId) {
        let Role::Leader(leader) = &mut self.role else { return self.lent(target, epoch, request) };
        let round = leader.round;
        if let Some(progress) = stream(leader, target, epoch) {
            progress.piece_sent(request, round);
        }
    }
}

/// Receiving one.
impl Engine {
    pub(crate) fn handle_install_snapshot(&mut self, from: NodeId, request: InstallSnapshot, now: Instant) -> Handled {
        let InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk } = request;
        let reply = |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, epoch, request, outcome });
        if term < self.vote.term {
            let stale = AppendEntriesReply { term: self.vote.term, epoch, request, outcome: AppendOutcome::Stale };
            self.answer_after_vote(leader, Message::AppendEntriesReply(stale), now);
            return Ok(());
        }
        snapshot.check(term, self.genesis, self.founding)?;
        let end = offset.saturating_add(chunk.len() as u64);
        if end > snapshot.id.bytes {
            return Err(Inconsistency::Snapshot { id: snapshot.id });
        }
        if from == leader {
            self.hear_leader(from, now)?;
        } else if self.leader() != Some(leader) || leader == self.id() {
            // Only the leader itself proves that it leads; it is heard soon, and the piece sent again.
            return Ok(());
        }
        let last = snapshot.id.last;
        // All of that is committed: who hears an earlier word after it is not as new as the leader.
        self.note_told(last.index);
        let is_here = last.index <= self.commit_index || self.log.has(last);
        mutate!(stale_snapshot_installed, is_here = false);
        if is_here {
            if self.log.term_at(last.index).is_some_and(|term| term != last.term) {
                let committed = self.log.id_at(last.index).unwrap_or(LogId::ZERO);
                return Err(Inconsistency::CommittedConflict { committed, proposed: last });
            }
            // All that it covers is here, and committed.
            self.verify(last.index, last.index);
            let write = self.writes.of_entries(last.index);
            let message = reply(AppendOutcome::Matched(last.index));
            mutate!(snapshot_acknowledged_unflushed, self.send(leader, message); return Ok(()));
            self.push_after(write, Promise::Command(Command::SendMessage { target: leader, message }), now);
            return Ok(());
        }
        let before = Arc::clone(&self.memberships.committed().1);
        if !self.understands_members(&before, &snapshot.membership, true)? {
            return Ok(());
        }
        self.receive_piece(Piece { leader, term, epoch, request }, &snapshot, offset, chunk, now);
        Ok(())
    }

    fn receive_piece(&mut self, piece: Piece, snapshot: &Arc<Snapshot>, offset: u64, chunk: Bytes, now: Instant) {
        let is_loading = self.applied < self.snapshots.last().index;
        let mut latest = piece.request;
        if let Some(receiving) = &self.snapshots.receiving {
            let is_same = receiving.snapshot.id == snapshot.id;
            if receiving.is_complete && is_same {
                return self.answer_piece(piece, snapshot.id, Some(snapshot.id.bytes), now);
            }
            if receiving.is_ahead_of(piece) {
                if !is_same {
                    return;
                }
                latest = receiving.latest;
            }
            // What is complete is installed first, whatever comes.
            if receiving.is_writing || receiving.is_complete {
                return self.answer_piece(piece, snapshot.id, None, now);
            }
        }
        if is_loading {
            // A newer one would take the place of the last one under the state machine's hands.
            return self.answer_piece(piece, snapshot.id, None, now);
        }
        let snapshot = Arc::clone(snapshot);
        self.snapshots.receiving = Some(Receiving {
            snapshot: Arc::clone(&snapshot),
            last: piece,
            latest,
            is_writing: true,
            is_complete: false,
        });
        let receive = Command::ReceiveSnapshot { snapshot, offset, chunk };
        self.push_after_vote(receive, now);
    }

    /// Tells how much is there; `None`: the piece came, and is to be sent again.
    fn answer_piece(&mut self, piece: Piece, snapshot: SnapshotId, held: Option<u64>, now: Instant) {
        let Piece { leader, term, epoch, request } = piece;
        if term == self.vote.term {
            let reply = InstallSnapshotReply { term, epoch, request, snapshot, held };
            self.answer_after_vote(leader, Message::InstallSnapshotReply(reply), now);
        }
    }

    /// So much of a snapshot is here; all of it is durable, and verified.
    pub(crate) fn handle_snapshot_received(&mut self, id: SnapshotId, held: u64, now: Instant) {
        assert!(held <= id.bytes, "{held} bytes are here of a snapshot {id}");
        let Some(receiving) = self.snapshots.receiving.as_mut().filter(|it| it.snapshot.id == id) else { return };
        receiving.is_complete = held == id.bytes;
        let (piece, was_writing) = (receiving.last, std::mem::take(&mut receiving.is_writing));
        if was_writing {
            self.answer_piece(piece, id, Some(held), now);
        }
        self.install_when_idle(now);
    }

    /// What was received is not what was sent, or could not be kept: it is brought anew.
    pub(crate) fn handle_snapshot_spoiled(&mut self, id: SnapshotId) {
        if self.snapshots.receiving.as_ref().is_some_and(|receiving| receiving.snapshot.id == id) {
            self.snapshots.receiving = None;
        }
    }

    /// Installs the snapshot that was received, once all that was committed before is applied: what the log lets go of must
    /// not be waited for by the state machine.
    pub(crate) fn install_when_idle(&mut self, now: Instant) {
        let Some(receiving) = self.snapshots.receiving.as_ref().filter(|receiving| receiving.is_complete) else {
            return;
        };
        let last = receiving.snapshot.id.last;
        let is_stale = last.index <= self.commit_index;
        mutate!(stale_snapshot_installed, is_stale = false);
        if is_stale {
            return self.keep_received();
        }
        if self.applied < self.commit_index {
            return;
        }
        let is_here = self.log.has(last);
        mutate!(stale_snapshot_installed, is_here = false);
        if is_here {
            // Its entries came meanwhile.
            self.keep_received();
            return self.set_commit(last.index);
        }
        assert!(!matches!(self.role, Role::Leader(_)), "a leader's log holds all that is committed, but not {last}");
        let snapshot = Arc::clone(&receiving.snapshot);
        self.snapshots.receiving = None;
        if snapshot.membership.version() < self.version() {
            // It claims to cover what says more: no leader's snapshot does.
            return;
        }
        self.install(snapshot, now);
    }

    /// What was received is not needed. It has taken the place of an older one all the same.
    fn keep_received(&mut self) {
        let Some(Receiving { snapshot, .. }) = self.snapshots.receiving.take() else { return };
        // As the store does: of two of the same entries, the one that was complete last is there.
        if snapshot.last().index >= self.snapshots.last().index {
            self.snapshots.replace(snapshot);
        }
    }

    fn install(&mut self, snapshot: Arc<Snapshot>, now: Instant) {
        let last = snapshot.id.last;
        // What is not committed here is not in the snapshot, or is covered by it.
        if self.log.last().index > self.commit_index {
            self.truncate(self.commit_index);
        }
        let write = self.writes.accept_snapshot(last.index);
        self.log.purge(last);
        self.push(Command::PurgeLog { write, through: last });
        self.memberships.install(snapshot.membership_at, Arc::clone(&snapshot.membership));
        self.commit_index = last.index;
        (self.log_time, self.log_clock) = (snapshot.log_time, (snapshot.log_time, now));
        self.snapshots.bytes = 0;
        // Whoever waits for an entry that is covered cannot be told what came of it.
        let abandoned = Command::Abandoned { from: self.applied.next() };
        mutate!(snapshot_callers_forgotten, abandoned = Command::Abandoned { from: last.index.next() });
        self.push(abandoned);
        self.push(Command::StateMachine(StateMachineRequest::InstallSnapshot { snapshot: Arc::clone(&snapshot) }));
        self.snapshots.replace(snapshot);
        self.release_reads();
        if let Role::Follower(follower) = &mut self.role
            && follower.leader.is_some()
        {
            // A snapshot is of what is committed, and a leader's log holds all of that.
            follower.verified = follower.verified.max(last.index);
        }
    }
}
