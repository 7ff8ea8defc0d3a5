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

#[cfg(test)]
mod tests {
    use super::super::sample::{S1, S2, X, Y, stable};
    use super::super::{Command, Configuration};
    use super::*;

    /// A server of three, in term 1.
    fn fresh() -> Server<Command> {
        let mut server = Server::new(&ServerSet::first(3));
        server.enter(Term(1), None);
        server.flush();
        server
    }

    fn entry(value: Command) -> Entry<Command> {
        Entry { term: Term(1), value }
    }

    /// How much of the log is on the disk, and how much of that stays, after each flush.
    fn flushes(server: &mut Server<Command>) -> Vec<(usize, usize)> {
        let mut counted = Vec::new();
        while !server.pending.is_empty() {
            server.flush();
            assert!(server.on_disk <= server.log.common_prefix(&server.disk.log), "it counts what is there");
            counted.push((server.on_disk.0, server.durable_index().0));
        }
        counted
    }

    /// Raft paper, section 5.4.1.
    #[test]
    fn a_log_lacks_nothing_if_it_ends_in_a_later_term_or_as_late_and_is_as_long() {
        let mut server = fresh();
        (0..2).for_each(|_| server.append(entry(X)));
        let accepts = |term, index| server.accepts_log((Term(term), LogIndex(index)));
        assert!(accepts(1, 2) && accepts(1, 3) && accepts(2, 1));
        assert!(!accepts(1, 1) && !accepts(0, 3));
    }

    #[test]
    fn a_configuration_that_is_cut_off_counts_no_more() {
        let mut server = fresh();
        [stable(&[1, 2, 3]), X, stable(&[1])].into_iter().for_each(|value| server.append(entry(value)));
        let only = |id| Configuration::stable([id].into_iter().collect());
        assert_eq!((server.configured_at(), server.configuration()), (LogIndex(3), Some(&only(S1))));
        server.truncate(LogIndex(2));
        let first = Configuration::stable(ServerSet::first(3));
        assert_eq!((server.configured_at(), server.configuration()), (LogIndex(1), Some(&first)));
        server.install(LogIndex(0), vec![entry(X), entry(stable(&[2]))]);
        assert_eq!((server.configured_at(), server.configuration()), (LogIndex(2), Some(&only(S2))));
        server.restart(LogIndex(0));
        assert_eq!((server.configured_at(), server.configuration()), (LogIndex(0), None), "nothing was durable");
    }

    #[test]
    fn an_entry_that_was_replaced_before_it_reached_the_disk_does_not_count() {
        let mut server = fresh();
        server.append(entry(X));
        server.truncate(LogIndex(0));
        server.append(entry(Y));
        assert_eq!(flushes(&mut server), [(0, 0), (0, 0), (1, 1)]);
    }

    #[test]
    fn what_a_pending_write_will_cut_off_is_not_durable_though_it_is_there() {
        let mut server = fresh();
        server.append(entry(X));
        server.truncate(LogIndex(0));
        server.append(entry(X));
        assert_eq!(flushes(&mut server), [(1, 0), (0, 0), (1, 1)]);
    }

    #[test]
    fn a_snapshot_replaces_what_was_counted_behind_its_beginning() {
        let mut server = fresh();
        server.append(entry(X));
        server.install(LogIndex(0), vec![entry(Y), entry(Y)]);
        server.truncate(LogIndex(0));
        server.append(entry(X));
        assert_eq!(flushes(&mut server), [(1, 0), (0, 0), (0, 0), (1, 1)]);
        let mut server = fresh();
        server.append(entry(X));
        server.install(LogIndex(1), vec![entry(Y), entry(Y)]);
        assert_eq!(flushes(&mut server), [(1, 1), (3, 3)]);
    }

    #[test]
    fn what_was_verified_in_a_term_is_remembered_until_a_later_one_is_durable() {
        let mut server = fresh();
        server.verified = LogIndex(2);
        server.enter(Term(2), None);
        assert_eq!((server.verified, &*server.verified_before), (LogIndex(0), &[(Term(1), LogIndex(2))][..]));
        server.enter(Term(3), None);
        assert_eq!(server.verified_before, [(Term(1), LogIndex(2))], "in term 2 there was nothing");
        server.flush();
        assert_eq!(server.verified_before, [], "what is on the disk is in term 2");
        server.verified = LogIndex(4);
        server.enter(Term(4), None);
        server.flush();
        assert_eq!(server.verified_before, [(Term(3), LogIndex(4))], "term 3 is on the disk");
        server.restart(LogIndex(0));
        assert_eq!(server.verified_before, [], "nobody reads the log against its leader's at a start");
    }

    #[test]
    fn a_follower_has_nothing_of_its_office() {
        let mut server = fresh();
        let follower = server.clone();
        server.role = Role::Leader;
        server.votes_granted.insert(S1);
        server.match_index.fill(LogIndex(1));
        (server.term_start, server.verified) = (LogIndex(1), LogIndex(1));
        server.become_follower();
        assert_eq!(server, follower);
    }
}
