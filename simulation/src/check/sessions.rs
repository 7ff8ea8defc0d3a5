//! Sessions, by rules of its own: what must come of every entry of the one chain, held against what each node makes of it.
//!
//! It remembers every command that a session ever had, and decides by looking at all of it; nodes have a table with a
//! window, and orders that they put off. Both must come to the same.

use std::collections::BTreeMap;

use outrigger::engine::{Body, LogId, LogIndex, LogTime, NodeId, Payload, SessionId};
use outrigger::runtime::sessions::{Denied, SessionLimits};

use super::{Violation, require};
use crate::machine::{Came, RESPONSE_BYTES};
use crate::words::or;

/// A session that has not ended.
#[derive(Debug)]
struct Known {
    time_to_live_ms: u64,
    used_at: LogTime,
    used_by: LogIndex,
    /// Every number that was applied in it, and where.
    done: BTreeMap<u64, LogId>,
}

impl Known {
    /// Whether a number is too far behind the newest to be told from a late copy.
    fn is_behind(&self, sequence: u64, window: u64) -> bool {
        self.done.last_key_value().is_some_and(|(newest, _)| newest.saturating_sub(sequence) >= window)
    }
}

/// What must come of every entry.
#[derive(Debug)]
pub(crate) struct SessionJudge {
    limits: SessionLimits,
    sessions: BTreeMap<SessionId, Known>,
    /// What must come of the entries of sessions.
    due: BTreeMap<LogIndex, Came>,
    /// The digest of the first table that was seen after an entry, and whose it is.
    tables: BTreeMap<LogIndex, (u64, NodeId)>,
    /// How often each kind of thing came of an entry.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl SessionJudge {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        let (sessions, due, tables) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { limits, sessions, due, tables, counts: BTreeMap::new() }
    }

    /// An entry was committed; answers what must come of it, if it has to do with a session.
    pub(crate) fn committed(&mut self, id: LogId, log_time: LogTime, payload: &Payload) -> Option<Came> {
        let came = self.decide(id, log_time, payload)?;
        *self.counts.entry(came.kind()).or_default() += 1;
        self.due.insert(id.index, came);
        Some(came)
    }

    fn decide(&mut self, id: LogId, log_time: LogTime, payload: &Payload) -> Option<Came> {
        let lives = |known: &Known| log_time.0 <= known.used_at.0.saturating_add(known.time_to_live_ms);
        let before = self.sessions.len();
        self.sessions.retain(|_, known| lives(known));
        *self.counts.entry("session over").or_default() += (before - self.sessions.len()) as u64;
        match &payload.body {
            Body::RegisterSession { time_to_live_ms } => {
                while self.sessions.len() >= self.limits.sessions_max {
                    self.evict();
                }
                let time_to_live_ms = (*time_to_live_ms).min(self.limits.time_to_live_max_ms);
                let known = Known { time_to_live_ms, used_at: log_time, used_by: id.index, done: BTreeMap::new() };
                self.sessions.insert(SessionId(id.index.0), known);
                Some(Came::Alive(SessionId(id.index.0)))
            }
            Body::Blank | Body::Command(_) if payload.session != SessionId(0) => {
                let Some(known) = self.sessions.get_mut(&payload.session) else {
                    return Some(Came::Denied(Denied::Expired));
                };
                (known.used_at, known.used_by) = (log_time, id.index);
                if payload.body == Body::Blank {
                    return Some(Came::Alive(payload.session));
                }
                Some(self.decide_command(id, payload))
            }
            _ => None,
        }
    }

    fn decide_command(&mut self, id: LogId, payload: &Payload) -> Came {
        let limits = self.limits;
        let known = self.sessions.get_mut(&payload.session).expect("a session that was found");
        if known.is_behind(payload.sequence, limits.window) {
            return Came::Denied(Denied::Forgotten);
        }
        let is_kept = RESPONSE_BYTES <= limits.response_bytes_max;
        match known.done.get(&payload.sequence) {
            Some(place) if is_kept => return Came::Again(*place),
            Some(_) => return Came::Denied(Denied::NotKept),
            None => known.done.insert(payload.sequence, id),
        };
        while is_kept && self.sessions.len() > 1 && self.kept_bytes() > limits.kept_bytes_max {
            self.evict();
        }
        Came::Applied
    }

    fn kept_bytes(&self) -> usize {
        let kept = |known: &Known| {
            known.done.keys().filter(|sequence| !known.is_behind(**sequence, self.limits.window)).count()
        };
        self.sessions.values().map(kept).sum::<usize>() * RESPONSE_BYTES
    }

    fn evict(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, known)| known.used_by).map(|(session, _)| *session);
        self.sessions.remove(&oldest.expect("there is one"));
        *self.counts.entry("session displaced").or_default() += 1;
    }

    /// A node has applied an entry of a session.
    pub(crate) fn applied(&self, node: NodeId, index: LogIndex, came: Came) -> Result<(), Violation> {
        let due = self.due.get(&index).copied();
        require!(
            due == Some(came),
            ExactlyOnce,
            "on node {node} entry {index} {came}; it should have been that it {}",
            or(due, "has nothing to do with a session")
        );
        Ok(())
    }

    /// A node has this table of sessions after an entry.
    pub(crate) fn table(&mut self, node: NodeId, index: LogIndex, digest: u64) -> Result<(), Violation> {
        let (first, whose) = *self.tables.entry(index).or_insert((digest, node));
        require!(
            first == digest,
            ExactlyOnce,
            "after entry {index} the sessions of node {node} are others than those of node {whose}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::check::Check;

    const ONE: NodeId = NodeId(1);

    fn id(index: u64) -> LogId {
        LogId::new(1, index)
    }

    /// Session 1, and its first command at index 2, which comes again at index 3.
    fn judge() -> SessionJudge {
        let mut judge = SessionJudge::new(SessionLimits::STANDARD);
        let write = Payload::command(Bytes::new()).in_session(SessionId(1), 1);
        let alive = judge.committed(id(1), LogTime(0), &Payload::register_session(100));
        assert_eq!(alive, Some(Came::Alive(SessionId(1))));
        assert_eq!(judge.committed(id(2), LogTime(5), &write), Some(Came::Applied));
        assert_eq!(judge.committed(id(3), LogTime(105), &write), Some(Came::Again(id(2))));
        assert_eq!(judge.committed(id(4), LogTime(206), &write), Some(Came::Denied(Denied::Expired)));
        assert_eq!(judge.committed(id(5), LogTime(206), &Payload::blank()), None);
        judge
    }

    #[test]
    fn whoever_makes_something_else_of_an_entry_is_found() {
        let judge = judge();
        assert_eq!(judge.applied(ONE, LogIndex(3), Came::Again(id(2))), Ok(()));
        for (index, came) in [(3, Came::Applied), (3, Came::Again(id(1))), (4, Came::Applied), (5, Came::Applied)] {
            let violation = judge.applied(ONE, LogIndex(index), came).unwrap_err();
            assert_eq!(violation.check, Check::ExactlyOnce, "{violation}");
        }
    }

    #[test]
    fn tables_that_differ_after_the_same_entry_are_found() {
        let mut judge = judge();
        assert_eq!(judge.table(ONE, LogIndex(3), 7), Ok(()));
        assert_eq!(judge.table(NodeId(2), LogIndex(3), 7), Ok(()));
        assert_eq!(judge.table(NodeId(2), LogIndex(4), 8), Ok(()));
        let violation = judge.table(NodeId(3), LogIndex(3), 8).unwrap_err();
        assert!(violation.reason.contains("node 3 are others than those of node 1"), "{violation}");
    }

    /// Two sessions under these limits, in each of which something is written.
    fn two_sessions(change: impl FnOnce(&mut SessionLimits)) -> SessionJudge {
        let mut limits = SessionLimits::STANDARD;
        change(&mut limits);
        let mut judge = SessionJudge::new(limits);
        for session in [1, 2] {
            let _ = judge.committed(id(session), LogTime(0), &Payload::register_session(100));
        }
        judge
    }

    fn writes(judge: &mut SessionJudge, at: u64, session: u64, sequence: u64) -> Option<Came> {
        let write = Payload::command(Bytes::new()).in_session(SessionId(session), sequence);
        judge.committed(id(at), LogTime(5), &write)
    }

    #[test]
    fn the_session_that_was_not_used_for_longest_makes_room() {
        let expired = Some(Came::Denied(Denied::Expired));
        let mut judge = two_sessions(|limits| limits.sessions_max = 1);
        assert_eq!([writes(&mut judge, 3, 1, 1), writes(&mut judge, 4, 2, 1)], [expired, Some(Came::Applied)]);
        let mut judge = two_sessions(|limits| limits.kept_bytes_max = RESPONSE_BYTES);
        assert_eq!([writes(&mut judge, 3, 2, 1), writes(&mut judge, 4, 1, 1)], [Some(Came::Applied); 2]);
        assert_eq!(writes(&mut judge, 5, 2, 2), expired, "its response is forgotten, and it with that");
        assert_eq!(judge.counts.get("session displaced"), Some(&1));
    }
}
