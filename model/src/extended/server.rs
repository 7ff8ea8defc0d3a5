//! One server: what it has accepted, what of that is on its disk, and what lies between.

use super::configuration::Value;
use crate::log::{Entry, Log, LogIndex, Term};
use crate::server_set::{ServerId, ServerMap, ServerSet};
use std::collections::VecDeque;

/// What a server does in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It listens.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// One write on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write<V> {
    /// The term, and the vote in it.
    Vote(Term, Option<ServerId>),
    /// One more entry.
    Append(Entry<V>),
    /// Every entry behind this index goes.
    Truncate(LogIndex),
    /// A snapshot brings these entries behind this index, in the place of whatever stands there: all of it at once.
    Install(LogIndex, Vec<Entry<V>>),
}

/// What a crash leaves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk<V> {
    /// Never goes down.
    pub current_term: Term,
    /// Whom the server voted for in that term.
    pub voted_for: Option<ServerId>,
    /// The log.
    pub log: Log<V>,
}

impl<V: Clone> Disk<V> {
    /// One write reaches the disk.
    pub fn write(&mut self, write: &Write<V>) {
        match write {
            Write::Vote(term, vote) => (self.current_term, self.voted_for) = (*term, *vote),
            Write::Append(entry) => self.log.push(entry.clone()),
            Write::Truncate(after) => truncate(&mut self.log, *after),
            Write::Install(after, entries) => {
                truncate(&mut self.log, *after);
                entries.iter().for_each(|entry| self.log.push(entry.clone()));
            }
        }
    }
}

/// The variables of one server.
///
/// The fields are open, as variables of a specification are: tests break them on purpose to see an invariant notice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server<V> {
    /// Never goes down while the server runs.
    pub current_term: Term,
    /// At most one candidate in a term.
    pub voted_for: Option<ServerId>,
    /// What it does in its term.
    pub role: Role,
    /// Terms do not descend in it, and none is above `current_term`.
    pub log: Log<V>,
    /// Only grows while the server runs; never past the log.
    pub commit_index: LogIndex,
    /// What a crash leaves for certain.
    pub disk: Disk<V>,
    /// What was accepted and is not durable, in order; a crash leaves any beginning of it.
    pub pending: VecDeque<Write<V>>,
    /// As a candidate: who voted for it.
    pub votes_granted: ServerSet,
    /// As a leader: how far each other server holds its log durably.
    pub match_index: ServerMap<LogIndex>,
    /// As a leader: the index of its first own entry, once there is one.
    pub term_start: LogIndex,
    /// As a follower: up to here its log is that of the leader of its term.
    pub verified: LogIndex,
    /// The same of earlier terms whose writes are not all on the disk: their acknowledgements may still leave.
    pub verified_before: Vec<(Term, LogIndex)>,
    /// Up to here the log on the disk is the log.
    pub(crate) on_disk: LogIndex,
    /// Where configurations stand in the log, in its order.
    pub(crate) configured: Vec<LogIndex>,
}

impl<V: Value> Server<V> {
    pub(crate) fn new(servers: &ServerSet) -> Self {
        Self {
            current_term: Term::ZERO,
            voted_for: None,
            role: Role::Follower,
            log: Log::new(),
            commit_index: LogIndex::ZERO,
            disk: Disk { current_term: Term::ZERO, voted_for: None, log: Log::new() },
            pending: VecDeque::new(),
            votes_granted: ServerSet::new(),
            match_index: ServerMap::new(servers, |_| LogIndex::ZERO),
            term_start: LogIndex::ZERO,
            verified: LogIndex::ZERO,
            verified_before: Vec::new(),
            on_disk: LogIndex::ZERO,
            configured: Vec::new(),
        }
    }

    /// Up to here the log is durable and stays so, whatever of the pending writes a crash leaves.
    #[must_use]
    pub fn durable_index(&self) -> LogIndex {
        let cuts = self.pending.iter().filter_map(|write| match write {
            Write::Truncate(after) | Write::Install(after, _) => Some(*after),
            Write::Vote(..) | Write::Append(_) => None,
        });
        cuts.fold(self.on_disk, LogIndex::min)
    }

    /// Whether the present term is on the disk: before that, nothing is said in its name.
    #[must_use]
    pub fn has_durable_term(&self) -> bool {
        self.disk.current_term == self.current_term
    }

    /// Whether the log of a candidate that ends with this term and index lacks nothing of this one's (Raft paper, 5.4.1).
    #[must_use]
    pub fn accepts_log(&self, (last_term, last_index): (Term, LogIndex)) -> bool {
        (last_term, last_index) >= (self.log.last_term(), self.log.len())
    }

    // ---- what the actions do -----------------------------------------------------------------------------------

    /// Leaves its role and its term for a later one.
    pub(crate) fn enter(&mut self, term: Term, vote: Option<ServerId>) {
        if self.verified > LogIndex::ZERO {
            self.verified_before.push((self.current_term, self.verified));
        }
        self.become_follower();
        self.vote(term, vote);
    }

    pub(crate) fn vote(&mut self, term: Term, vote: Option<ServerId>) {
        (self.current_term, self.voted_for) = (term, vote);
        self.pending.push_back(Write::Vote(term, vote));
    }

    pub(crate) fn append(&mut self, entry: Entry<V>) {
        self.hold(&entry);
        self.pending.push_back(Write::Append(entry));
    }

    /// What a snapshot covers takes its place behind this index.
    pub(crate) fn install(&mut self, after: LogIndex, entries: Vec<Entry<V>>) {
        self.cut(after);
        entries.iter().for_each(|entry| self.hold(entry));
        self.pending.push_back(Write::Install(after, entries));
    }

    fn hold(&mut self, entry: &Entry<V>) {
        self.log.push(entry.clone());
        if entry.value.configuration().is_some() {
            self.configured.push(self.log.len());
        }
    }

    pub(crate) fn truncate(&mut self, after: LogIndex) {
        self.cut(after);
        self.pending.push_back(Write::Truncate(after));
    }

    fn cut(&mut self, after: LogIndex) {
        truncate(&mut self.log, after);
        self.on_disk = self.on_disk.min(after);
        self.configured.retain(|index| *index <= after);
    }

    /// The first pending write reaches the disk.
    pub(crate) fn flush(&mut self) {
        let Some(write) = self.pending.pop_front() else { return };
        self.disk.write(&write);
        match &write {
            Write::Vote(term, _) => self.verified_before.retain(|(before, _)| before >= term),
            Write::Append(entry) => self.count(self.disk.log.len(), entry),
            Write::Install(after, entries) => {
                self.on_disk = self.on_disk.min(*after);
                let first = self.disk.log.len().0 + 1 - entries.len();
                (first..).zip(entries).for_each(|(index, entry)| self.count(LogIndex(index), entry));
            }
            Write::Truncate(after) => self.on_disk = self.on_disk.min(*after),
        }
    }

    /// An entry has reached the disk: it counts if it is still the log's.
    fn count(&mut self, index: LogIndex, entry: &Entry<V>) {
        if self.on_disk == index.previous() && self.log.entry(index) == Some(entry) {
            self.on_disk = index;
        }
    }

    /// Forgets what only one role or one term needs.
    pub(crate) fn become_follower(&mut self) {
        self.role = Role::Follower;
        self.votes_granted.clear();
        self.match_index.fill(LogIndex::ZERO);
        self.term_start = LogIndex::ZERO;
        self.verified = LogIndex::ZERO;
    }

    pub(crate) fn restart(&mut self, commit: LogIndex) {
        self.pending.clear();
        self.verified_before.clear();
        self.become_follower();
        (self.current_term, self.voted_for) = (self.disk.current_term, self.disk.voted_for);
        self.log = self.disk.log.clone();
        self.on_disk = self.log.len();
        let configurations = self.log.iter().filter(|(_, entry)| entry.value.configuration().is_some());
        self.configured = configurations.map(|(index, _)| index).collect();
        self.commit_index = commit;
    }
}

fn truncate<V>(log: &mut Log<V>, after: LogIndex) {
    while log.len() > after {
        log.pop();
    }
}
