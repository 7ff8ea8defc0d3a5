//! What a leader knows of one other node's log, and what it has under way to it.
//!
//! ```text
//!   Probe      one request at a time, until the follower says where the logs agree
//!     │  ▲
//!     ▼  │ a conflict, or a request that was lost
//!   Pipeline   many requests at once, each following the one before, bounded in count and bytes
//!
//!   Snapshot   the log does not reach back to what the follower lacks: one piece of a snapshot at a time, until it has it
//! ```

use std::collections::VecDeque;

use crate::config::Limits;
use crate::fingerprint::Fingerprint;
use crate::snapshot::SnapshotId;
use crate::status::Brought;
use crate::types::{Epoch, Instant, LogIndex, NodeId, RequestId, Round, Term};

/// How entries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Where the logs agree is not known: one request at a time.
    Probe,
    /// The follower follows: requests do not wait for each other's answers.
    Pipeline,
    /// The follower is brought a snapshot.
    Snapshot,
}

/// A snapshot on its way to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bringing {
    /// Who sends it; `None`: the leader itself.
    delegate: Option<NodeId>,
    /// Which; `None` before the follower has told which its delegate has.
    id: Option<SnapshotId>,
    /// The first request of it: whatever answers that or a later one tells of this snapshot.
    first: RequestId,
    /// How many of its bytes the follower has; `None` before it was asked.
    held: Option<u64>,
    /// A piece that is not answered after so many rounds of heartbeats is lost: twice as many each time, so that what is only
    /// slow is not sent again and again.
    patience: u64,
    /// How often the follower had less than before: its disk is full, or it starts over and over.
    setbacks: u32,
    /// How many pieces in a row were not answered.
    unanswered: u32,
}

/// The longest time that a piece is waited for, in rounds of heartbeats.
pub(crate) const PATIENCE_MAX: u32 = 64;
/// The longest time that a follower is left alone after it has lost what it had, as a power of two of rounds of heartbeats.
const SETBACKS_MAX: u32 = 9;
/// A delegate of whom so many pieces in a row arrived nowhere is gone: with the patience that doubles, after 31 rounds of heartbeats,
/// so that one that starts again goes on where it was.
const UNANSWERED_MAX: u32 = 5;
/// One whose first question arrives nowhere, twice, has no fitting snapshot.
const UNANSWERED_QUESTIONS_MAX: u32 = 2;
/// Who has answered one of so many last rounds of heartbeats is there.
const ROUNDS_THERE: u64 = 2;

/// A request that was sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inflight {
    request: RequestId,
    /// Whether the follower had acknowledged the entry before the first when the request was issued.
    is_on_matched: bool,
    /// The last entry that it carries; the entry before the first when it carries none.
    last: LogIndex,
    bytes: usize,
    /// The leader's heartbeat round when it was sent.
    round: Round,
}

/// A leader's view of one other node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The stream that this is; answers of another one do not count.
    epoch: Epoch,
    /// Whose log this is: the data directory that answers. `None` until it was heard from.
    directory: Option<u64>,
    /// The heartbeat round when this began; what answers that or an earlier one may be of another directory.
    since: Round,
    /// Up to here the follower's log is durable and equal to the leader's. Never goes back.
    match_index: LogIndex,
    /// The next entry to send. `next_index > match_index`.
    next_index: LogIndex,
    mode: Mode,
    /// There in `Snapshot`.
    bringing: Option<Bringing>,
    /// A delegate has failed: until the follower has come so far that the log reaches back to it, the leader sends what it lacks.
    only_by_leader: bool,
    /// What is on its way, oldest first; requests and last indexes increase. At most one in `Probe`.
    window: VecDeque<Inflight>,
    /// The sum of the window's bytes.
    window_bytes: usize,
    /// The command that the runtime has not answered yet, and its `is_on_matched`.
    issued: Option<(RequestId, bool)>,
    /// Nothing is sent until the next heartbeat is answered: the log could not deliver what was asked of it.
    paused: bool,
    /// The highest commit index that was sent.
    commit_sent: LogIndex,
    /// The highest heartbeat round that was answered.
    answered: Round,
    /// When the follower was last heard from.
    heard_at: Instant,
}

impl Progress {
    pub(crate) const fn new(epoch: Epoch, last: LogIndex, now: Instant) -> Self {
        Self {
            epoch,
            directory: None,
            since: Round(0),
            match_index: LogIndex::ZERO,
            next_index: LogIndex(last.0 + 1),
            mode: Mode::Probe,
            bringing: None,
            only_by_leader: false,
            window: VecDeque::new(),
            window_bytes: 0,
            issued: None,
            paused: false,
            commit_sent: LogIndex::ZERO,
            answered: Round(0),
            heard_at: now,
        }
    }

    /// Of another data directory than before, that is, of one that may hold nothing; `None` if it was not heard from yet. What was
    /// asked by `since` was not asked of this one.
    pub(crate) const fn anew(epoch: Epoch, last: LogIndex, since: Round, directory: Option<u64>, now: Instant) -> Self {
        let mut anew = Self::new(epoch, last, now);
        anew.directory = directory;
        anew.since = since;
        anew
    }

    /// Whether this is the log of a data directory; it is from the first one that is heard from.
    pub(crate) fn is_of(&mut self, directory: u64) -> bool {
        *self.directory.get_or_insert(directory) == directory
    }

    /// Whether it was heard from, and from this data directory.
    pub(crate) fn is_known_of(&self, directory: u64) -> bool {
        self.directory == Some(directory)
    }

    /// The data directory that this is the log of, once that has acknowledged something: a word that comes late is no proof.
    pub(crate) fn proven_directory(&self) -> Option<u64> {
        self.directory.filter(|_| self.match_index > LogIndex::ZERO)
    }

    /// Whether what answers a heartbeat is of this directory. A round of 0 stands before the first heartbeat.
    pub(crate) fn answers_since(&self, round: Round) -> bool {
        round > self.since || self.since == Round(0)
    }

    pub(crate) fn fingerprint(&self, own: NodeId, term: Term, out: &mut Fingerprint) {
        let Self {
            epoch,
            directory,
            since,
            match_index,
            next_index,
            mode,
            bringing,
            only_by_leader,
            window,
            window_bytes,
            issued,
            paused,
            commit_sent,
            answered,
            heard_at: _,
        } = self;
        out.epoch(own, *epoch);
        out.flag(directory.is_some());
        out.number(directory.unwrap_or_default());
        out.flag(*since > Round(0));
        if *since > Round(0) {
            out.round(own, term, *since);
        }
        [match_index, next_index, commit_sent].into_iter().for_each(|index| out.number(index.0));
        out.size(*mode as usize);
        out.flag(bringing.is_some());
        if let Some(Bringing { delegate, id, first, held, patience, setbacks, unanswered }) = bringing {
            out.number(delegate.map_or(0, |node| node.0 + 1));
            out.flag(id.is_some());
            id.iter().for_each(|id| out.snapshot_id(*id));
            out.number(u64::from(*unanswered));
            out.append(own, *first);
            out.number(held.map_or(0, |held| held + 1));
            out.number(*patience);
            out.number(u64::from(*setbacks));
        }
        out.flag(*only_by_leader);
        out.flag(*paused);
        out.size(*window_bytes);
        out.size(window.len());
        for Inflight { request, is_on_matched, last, bytes, round } in window {
            out.append(own, *request);
            out.flag(*is_on_matched);
            out.number(last.0);
            out.size(*bytes);
            out.round(own, term, *round);
        }
        out.flag(issued.is_some());
        if let Some((request, is_on_matched)) = issued {
            out.append(own, *request);
            out.flag(*is_on_matched);
        }
        out.round(own, term, *answered);
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) const fn match_index(&self) -> LogIndex {
        self.match_index
    }

    pub(crate) const fn next_index(&self) -> LogIndex {
        self.next_index
    }

    pub(crate) const fn answered(&self) -> Round {
        self.answered
    }

    pub(crate) const fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// It was not heard from since.
    pub(crate) const fn silent_since(&mut self, moment: Instant) {
        self.heard_at = moment;
    }

    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
    }

    /// Whether another request may be issued now.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.issued.is_none()
            && !self.paused
            && match self.mode {
                Mode::Probe | Mode::Snapshot => self.window.is_empty(),
                Mode::Pipeline => {
                    mutate!(window_ignores_requests, return self.window_bytes < limits.inflight_bytes_max);
                    mutate!(window_ignores_bytes, return self.window.len() < limits.inflight_requests_max);
                    self.window.len() < limits.inflight_requests_max && self.window_bytes < limits.inflight_bytes_max
                }
            }
    }

    /// Whether the follower wants a request: there are entries for it, or where the logs agree is not known.
    pub(crate) fn wants(&self, last: LogIndex) -> bool {
        self.next_index <= last || self.mode != Mode::Pipeline
    }

    pub(crate) fn is_brought_snapshot(&self) -> bool {
        self.mode == Mode::Snapshot
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// Who sends the follower a snapshot in the leader's stead.
    pub(crate) fn delegate(&self) -> Option<NodeId> {
        self.bringing.and_then(|it| it.delegate)
    }

    /// Whether another than the leader may send it what it lacks.
    pub(crate) const fn may_delegate(&self) -> bool {
        !self.only_by_leader
    }

    /// Whether the follower is there, has its log from its leader, and as much of it as was purged here.
    pub(crate) fn follows(&self, round: Round, purged: LogIndex) -> bool {
        self.mode == Mode::Pipeline && self.match_index >= purged && self.answered.0 + ROUNDS_THERE >= round.0
    }

    /// A piece of a snapshot is about to be sent, of this one, or of the one that a delegate has. Answers which it is and how much of
    /// it the follower has, if that is known.
    pub(crate) fn issue_piece(
        &mut self,
        delegate: Option<NodeId>,
        id: Option<SnapshotId>,
        request: RequestId,
    ) -> Option<(SnapshotId, u64)> {
        assert!(self.issued.is_none(), "request {request} while {:?} is not reported sent", self.issued);
        self.issued = Some((request, true));
        self.mode = Mode::Snapshot;
        let is_same = |it: &Bringing| it.delegate == delegate && (id.is_none() || it.id == id);
        match self.bringing.filter(is_same) {
            Some(bringing) => bringing.id.zip(bringing.held),
            None => {
                let (held, patience, setbacks, unanswered) = (None, 1, 0, 0);
                self.bringing = Some(Bringing { delegate, id, first: request, held, patience, setbacks, unanswered });
                self.clear_window();
                None
            }
        }
    }

    /// The runtime sent the issued piece.
    pub(crate) fn piece_sent(&mut self, request: RequestId, round: Round) {
        let Some((_, is_on_matched)) = self.issued.take_if(|(issued, _)| *issued == request) else { return };
        if self.mode == Mode::Snapshot {
            self.window.push_back(Inflight { request, is_on_matched, last: self.match_index, bytes: 0, round });
        }
    }

    /// The follower has so much of the snapshot. The answer to a piece that was given up counts if it tells of more.
    pub(crate) fn piece_held(&mut self, request: RequestId, id: SnapshotId, held: u64) {
        let is_unreported = self.issued.take_if(|(issued, _)| *issued == request).is_some();
        let awaited = self.window.front().filter(|sent| sent.request == request).map(|sent| sent.round);
        let round = awaited.or_else(|| is_unreported.then_some(self.answered));
        let is_ours = |it: &Bringing| it.first <= request && held <= id.bytes && it.id.is_none_or(|ours| ours == id);
        let Some(bringing) = self.bringing.as_mut().filter(|bringing| is_ours(bringing)) else { return };
        bringing.id = Some(id);
        bringing.unanswered = 0;
        let before = bringing.held.replace(held);
        match round {
            Some(round) if before.is_some_and(|before| held < before) => {
                // It is asked for again when the patience is over: at once it would go as badly.
                bringing.setbacks = (bringing.setbacks + 1).min(SETBACKS_MAX);
                bringing.patience = 1 << bringing.setbacks;
                self.clear_window();
                self.window.push_back(Inflight {
                    request,
                    is_on_matched: true,
                    last: self.match_index,
                    bytes: 0,
                    round,
                });
                return;
            }
            // How long it took, and as long again: a link that is slow for one piece is so for the next.
            Some(round) => {
                bringing.patience = (2 * (self.answered.0.saturating_sub(round.0)) + 1).min(u64::from(PATIENCE_MAX));
            }
            None if before.is_none_or(|before| before < held) => {}
            None => {
                bringing.held = before;
                return;
            }
        }
        // All of it is there and being installed: with the next heartbeat it is asked whether that is done.
        self.paused = held == id.bytes;
        self.clear_window();
    }

    /// A piece came to the follower, and was not taken in: whoever sent it is there.
    pub(crate) fn piece_arrived(&mut self, request: RequestId) {
        let bringing = self.bringing.as_mut().filter(|bringing| bringing.first <= request);
        bringing.into_iter().for_each(|bringing| bringing.unanswered = 0);
    }

    /// Whether the snapshot that the follower is brought, if it is known which, covers this entry.
    pub(crate) fn is_brought_to(&self, covers: LogIndex) -> bool {
        self.bringing.is_none_or(|it| it.id.is_none_or(|id| id.last.index >= covers))
    }

    /// The last entry of the snapshot that the follower is brought, and how many bytes of it it has.
    pub(crate) fn brought(&self) -> (LogIndex, u64) {
        let covered = |it: Bringing| it.id.map_or(LogIndex::ZERO, |id| id.last.index);
        self.bringing.map_or((LogIndex::ZERO, 0), |it| (covered(it), it.held.unwrap_or(0)))
    }

    /// How much of that snapshot the follower has; `None` while it is brought none, or nobody has told which.
    pub(crate) fn bringing(&self) -> Option<Brought> {
        let Bringing { id, held, .. } = self.bringing?;
        id.map(|id| Brought { held: held.unwrap_or(0), bytes: id.bytes })
    }

    pub(crate) fn issue(&mut self, request: RequestId, commit: LogIndex) {
        assert!(self.issued.is_none(), "request {request} while {:?} is not reported sent", self.issued);
        if self.mode == Mode::Snapshot {
            // It has come so far that the log reaches back to it.
            self.probe_from(self.match_index);
        }
        self.issued = Some((request, self.next_index.previous() <= self.match_index));
        self.commit_sent = self.commit_sent.max(commit);
    }

    /// The commit index to tell the follower by itself, if it would learn something from it. Bounded by what the follower
    /// has acknowledged, so that one that is away is told no more than once; who is brought a snapshot learns it behind that.
    pub(crate) fn commit_to_send(&mut self, commit: LogIndex) -> Option<LogIndex> {
        let useful = commit.min(self.match_index);
        if useful <= self.commit_sent || self.issued.is_some() || self.mode == Mode::Snapshot {
            return None;
        }
        self.commit_sent = commit;
        Some(commit)
    }

    /// The runtime sent the issued request up to `last`.
    pub(crate) fn sent(&mut self, request: RequestId, last: LogIndex, bytes: usize, round: Round) {
        mutate!(late_sent_counts, request = self.issued.map_or(request, |(issued, _)| issued));
        let Some((_, is_on_matched)) = self.issued.take_if(|(issued, _)| *issued == request) else { return };
        if last <= self.match_index && self.mode == Mode::Pipeline {
            return; // answered before it was reported sent
        }
        self.window.push_back(Inflight { request, is_on_matched, last, bytes, round });
        self.window_bytes += bytes;
        if self.mode == Mode::Pipeline {
            self.next_index = self.next_index.max(last.next());
        }
    }

    /// The log could not deliver the issued request.
    pub(crate) fn gone(&mut self, request: RequestId) {
        if self.issued.take_if(|(issued, _)| *issued == request).is_some() {
            self.probe_from(self.match_index);
            self.paused = true;
        }
    }

    /// Up to `matched` the follower's log is durable and equal.
    pub(crate) fn matched(&mut self, matched: LogIndex) {
        mutate!(late_acknowledgement_rewinds, self.match_index = LogIndex::ZERO);
        self.match_index = self.match_index.max(matched);
        while let Some(sent) = self.window.front().filter(|sent| sent.last <= matched) {
            self.window_bytes -= sent.bytes;
            self.window.pop_front();
        }
        let covers = |it: Bringing| it.id.is_some_and(|id| id.last.index <= self.match_index);
        let is_brought = self.bringing.is_some_and(covers);
        if is_brought || (self.mode == Mode::Probe && matched.next() >= self.next_index) {
            self.mode = Mode::Pipeline;
            self.bringing = None;
            self.only_by_leader = false;
            self.clear_window();
        }
        self.next_index = self.next_index.max(self.match_index.next());
    }

    /// The follower does not hold what came before a request. `agree` is the last place where the logs can agree.
    /// An answer to a request that is not under way any more says nothing (it may be older than what has matched since).
    ///
    /// Answers whether the follower lacks what it had acknowledged before it was asked: a broken promise, after which asking
    /// again at once would ask for ever.
    #[must_use]
    pub(crate) fn conflicted(&mut self, request: RequestId, agree: LogIndex) -> bool {
        mutate!(stale_conflict_rewinds, self.match_index = self.match_index.min(agree));
        // It may be answered before it is reported sent.
        let unreported = self.issued.take_if(|(issued, _)| *issued == request).map(|(_, is_on_matched)| is_on_matched);
        let sent = self.window.iter().find(|sent| sent.request == request).map(|sent| sent.is_on_matched);
        let Some(has_forgotten) = unreported.or(sent) else { return false };
        self.probe_from(agree);
        self.paused = agree < self.match_index;
        has_forgotten
    }

    /// A heartbeat was answered: `received` tells how far the follower has verified this leader's stream. What was sent
    /// before the heartbeat and has not arrived is lost.
    pub(crate) fn heartbeat_answered(&mut self, round: Round, received: LogIndex) {
        self.answered = self.answered.max(round);
        self.paused = false;
        let lost = self.window.front().is_some_and(|sent| sent.round < round && sent.last > received);
        mutate!(lost_request_not_sent_again, lost = false);
        match self.mode {
            Mode::Pipeline if lost => self.probe_from(received),
            // It has restarted, or had given this leader up, and does not know any more that its log is the leader's:
            // without being shown, it would commit nothing.
            Mode::Pipeline if self.window.is_empty() && received < self.match_index => {
                self.probe_from(self.match_index);
            }
            // Where to probe is still right; only the question was lost, or its answer.
            Mode::Probe if self.window.front().is_some_and(|sent| sent.round < round) => self.clear_window(),
            Mode::Snapshot => self.piece_may_be_lost(round),
            Mode::Probe | Mode::Pipeline => {}
        }
    }

    fn piece_may_be_lost(&mut self, round: Round) {
        mutate!(lost_piece_not_sent_again, return);
        let Some(bringing) = &mut self.bringing else { return };
        if self.window.front().is_some_and(|sent| sent.round.0 + bringing.patience <= round.0) {
            bringing.patience = (bringing.patience * 2).min(u64::from(PATIENCE_MAX));
            bringing.unanswered += 1;
            let unanswered_max = if bringing.id.is_some() { UNANSWERED_MAX } else { UNANSWERED_QUESTIONS_MAX };
            mutate!(delegate_never_given_up, unanswered_max = u32::MAX);
            self.only_by_leader |= bringing.delegate.is_some() && bringing.unanswered >= unanswered_max;
            self.clear_window();
        }
    }

    fn probe_from(&mut self, agree: LogIndex) {
        self.mode = Mode::Probe;
        self.bringing = None;
        self.clear_window();
        self.next_index = agree.max(self.match_index).next();
    }

    fn clear_window(&mut self) {
        self.window.clear();
        self.window_bytes = 0;
    }

    pub(crate) fn check(&self, last: LogIndex) {
        assert!(self.match_index < self.next_index, "0 <= match < next: {self:?}");
        assert!(self.next_index <= last.next(), "next is at most one beyond the log's {last}: {self:?}");
        assert!(self.mode == Mode::Pipeline || self.window.len() <= 1, "one probe at a time: {self:?}");
        assert_eq!(self.mode == Mode::Snapshot, self.bringing.is_some(), "a snapshot is brought: {self:?}");
    }
}

#[cfg(test)]
mod tests;
