//! Exactly-once sessions (thesis, section 6.3): a command that comes into the log twice is applied once.
//!
//! ```text
//!   client                       log                                    table, on every node alike
//!   register ──────────────────► 17  RegisterSession                    17: {}
//!   write "a", no answer ──────► 18  session 17, sequence 1, "a" ─► apply, keep "ok"   17: {1: "ok"}
//!   write "a" again ───────────► 21  session 17, sequence 1, "a" ─► "ok" again; nothing is applied
//! ```
//!
//! A session's id is the index of the entry that registered it, so that all nodes agree on it and none is given twice.
//! Its client numbers what it writes, and has at most [`SessionLimits::window`] numbers between the oldest that it still
//! tries and the newest. So a table needs to hold no more responses than that, and needs not be told which the client has
//! (the thesis lets a client say so in each request; a fixed window saves the field, and bounds the table whatever a client
//! does). A number that is older than the window belongs to a late copy, and is never applied.
//!
//! Sessions go when they were not used for as long as was asked for at their registration, or when there are too many: then
//! the one that was unused for longest goes. Whoever writes in a session that is gone is told so, and nothing is applied:
//! the table cannot tell a retry from a first try any more. Everything that decides about this is in the log, or a
//! constant: log time, the time to live, the limits. So the tables of all nodes are equal after the same entry, and their
//! encodings in snapshots byte for byte.
//!
//! Only responses may differ: a node whose state is on disk has lost some with a crash (see
//! [`LargeStateMachine`](crate::LargeStateMachine)). What is applied never depends on them.
//!
//! The table is pure data beside the state machine; the tokio runtime, the simulator and a runtime of one's own apply
//! entries through it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use outrigger_engine::{Body, LogIndex, LogTime, Payload, SessionId};

use self::responses::Responses;

mod layout;
mod replicated;
mod responses;

pub use layout::SessionsError;
pub use replicated::{Replicated, ReplicatedView, StateView};

/// A client has at most so many numbers between the oldest that it tries and the newest.
pub const WINDOW: u64 = 64;

/// How long a session is kept unused when its client says nothing else: an hour, in milliseconds of log time.
pub const TIME_TO_LIVE_MS: u64 = 3_600_000;

/// What bounds a table. The same on every node of a cluster, or the nodes differ: to change one takes a new version of what
/// a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimits {
    /// So many of the newest numbers of a session are told apart from late copies; at least 1.
    pub window: u64,
    /// So many sessions there are at most; at least 1.
    pub sessions_max: usize,
    /// A longer response is not kept, in bytes: a retry learns only that the command was applied.
    pub response_bytes_max: usize,
    /// The responses of all sessions take at most so many bytes. Beyond that, the oldest of the session goes that was unused for
    /// longest: a retry learns only that its command was applied.
    pub kept_bytes_max: usize,
    /// The longest time to live, in milliseconds of log time; who asks for more gets this.
    pub time_to_live_max_ms: u64,
}

impl SessionLimits {
    /// What production has.
    pub const STANDARD: Self = Self {
        window: WINDOW,
        sessions_max: 65_536,
        response_bytes_max: 4 << 10,
        kept_bytes_max: 256 << 20,
        time_to_live_max_ms: 7 * 24 * TIME_TO_LIVE_MS,
    };
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// Why an entry of a session is not applied, or has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// There is no such session, or not any more. This entry is not applied; whether an earlier one with the same number
    /// was is not known any more.
    #[error("the session has expired: it was unused for too long, or others took its place; begin another one")]
    Expired,
    /// The number is older than the window: a late copy. This entry is not applied; an earlier one may have been.
    #[error(
        "the session has gone far beyond this number, so that this try was not applied; read what became of an earlier one, and go on in \
         another session"
    )]
    Forgotten,
    /// The command was applied, once; the response to it was not kept: it was too large, or a crash took it from a node whose state
    /// is on disk.
    #[error("it was applied once, but the response was not kept for a second answer")]
    NotKept,
}

/// What a table makes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// It is to be applied. If it belongs to a session, [`Sessions::keep`] wants the response.
    Apply,
    /// It was applied before, and this was the response.
    Kept(Bytes),
    /// It is not to be applied.
    Denied(Denied),
    /// This session is registered, or kept alive.
    Alive(SessionId),
    /// It carries nothing for the state machine.
    Nothing,
}

/// What is known of one session.
#[derive(Clone, Debug)]
struct Session {
    /// As asked for, within the limit.
    time_to_live_ms: u64,
    /// The log time of the last entry in it.
    used_at: LogTime,
    /// The index of the last entry in it.
    used_by: LogIndex,
    /// The highest number so far; 0 before the first.
    highest: u64,
    /// Where it stands in the two orders of the table: its deadline and its last use, or earlier ones of its own.
    queued: (LogTime, LogIndex),
    /// Where it stands in the order of those with responses: its last use then, or an earlier one of its own; `None` if it does not.
    /// Whoever has bytes of responses stands there.
    queued_to_give: Option<LogIndex>,
    /// The responses to the newest numbers; each is above `highest - window`. None for one that is not kept.
    kept: Responses,
    /// The bytes of those.
    kept_bytes: usize,
}

impl Session {
    /// It is there up to and with this log time.
    const fn deadline(&self) -> LogTime {
        LogTime(self.used_at.0.saturating_add(self.time_to_live_ms))
    }

    /// Stands among those with responses, if it has any and does not yet.
    fn list(&mut self, id: SessionId, givers: &mut BTreeSet<(LogIndex, SessionId)>) {
        if self.queued_to_give.is_none() && self.kept_bytes > 0 {
            self.queued_to_give = Some(self.used_by);
            givers.insert((self.used_by, id));
        }
    }
}

/// The sessions as they are after some entry. See the module.
///
/// ```
/// use bytes::Bytes;
/// use outrigger::engine::{LogIndex, LogTime, Payload, SessionId};
/// use outrigger::runtime::sessions::{Admission, SessionLimits, Sessions};
///
/// let mut sessions = Sessions::new(SessionLimits::STANDARD);
/// let register = Payload::register_session(60_000);
/// assert_eq!(sessions.admit(LogIndex(17), LogTime(5), &register), Admission::Alive(SessionId(17)));
/// let write = Payload::command(Bytes::from_static(b"a")).in_session(SessionId(17), 1);
/// assert_eq!(sessions.admit(LogIndex(18), LogTime(6), &write), Admission::Apply);
/// sessions.keep(&write, Bytes::from_static(b"ok"));
/// assert_eq!(sessions.admit(LogIndex(21), LogTime(9), &write), Admission::Kept(Bytes::from_static(b"ok")));
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    limits: SessionLimits,
    sessions: BTreeMap<SessionId, Session>,
    /// Each session once, with its deadline or an earlier one of its own: one that is used is not moved until that has passed.
    deadlines: BTreeSet<(LogTime, SessionId)>,
    /// Each session once, with the last use or an earlier one.
    uses: BTreeSet<(LogIndex, SessionId)>,
    /// Each session with responses once, with the last use or an earlier one; and some that have none any more.
    givers: BTreeSet<(LogIndex, SessionId)>,
    /// The bytes of all responses.
    kept_bytes: usize,
}

impl Sessions {
    /// No sessions.
    ///
    /// # Panics
    /// If a limit leaves no room for one session with one number.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        assert!(limits.window > 0 && limits.sessions_max > 0, "limits without room: {limits:?}");
        let (deadlines, uses, givers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { limits, sessions: BTreeMap::new(), deadlines, uses, givers, kept_bytes: 0 }
    }

    /// What bounds it.
    #[must_use]
    pub const fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes in the entry that follows the last one, and says what is to be done with it. Every entry passes here, in a
    /// session or not: its log time ends sessions.
    #[must_use]
    pub fn admit(&mut self, index: LogIndex, log_time: LogTime, payload: &Payload) -> Admission {
        self.expire(log_time);
        match &payload.body {
            Body::Membership(_) => Admission::Nothing,
            Body::RegisterSession { time_to_live_ms } => self.register(index, log_time, *time_to_live_ms),
            Body::Blank | Body::Command(_) if payload.session == SessionId(0) => match payload.body {
                Body::Command(_) => Admission::Apply,
                _ => Admission::Nothing,
            },
            Body::Blank => match self.touch(payload.session, index, log_time) {
                Some(_) => Admission::Alive(payload.session),
                None => Admission::Denied(Denied::Expired),
            },
            Body::Command(_) => self.admit_command(index, log_time, payload),
        }
    }

    /// Keeps the response to an entry that was to be applied; nothing for one outside of all sessions.
    pub fn keep(&mut self, payload: &Payload, response: Bytes) {
        let fits = response.len() <= self.limits.response_bytes_max;
        self.put(payload, fits.then_some(response));
    }

    /// Notes that an entry was applied whose response cannot be kept.
    pub fn keep_nothing(&mut self, payload: &Payload) {
        self.put(payload, None);
    }

    fn put(&mut self, payload: &Payload, response: Option<Bytes>) {
        let Some(session) = self.sessions.get_mut(&payload.session) else { return };
        let bytes = response.as_ref().map_or(0, Bytes::len);
        session.kept_bytes += bytes;
        self.kept_bytes += bytes;
        let is_first = session.kept.insert(payload.sequence, response);
        assert!(is_first, "the command {} of session {} is applied twice", payload.sequence, payload.session);
        session.list(payload.session, &mut self.givers);
        while self.kept_bytes > self.limits.kept_bytes_max && self.let_go_of_a_response() {}
    }

    /// Lets go of the oldest response of the session that was unused for longest, of those that have any. Its number stays, so
    /// that nothing is applied twice. Answers whether there was one.
    fn let_go_of_a_response(&mut self) -> bool {
        let Some(session) = self.first_giver() else { return false };
        let oldest = session.kept.values_mut().find(|response| response.as_ref().is_some_and(|it| !it.is_empty()));
        let bytes = oldest.and_then(Option::take).map_or(0, |response| response.len());
        assert!(0 < bytes && bytes <= session.kept_bytes, "{bytes} of {} bytes of responses", session.kept_bytes);
        session.kept_bytes -= bytes;
        self.kept_bytes -= bytes;
        true
    }

    /// The session with responses that was unused for longest. Each use, and each that has lost its responses, moves one in the order
    /// at most, so that the work is in proportion to the entries and not to the sessions.
    fn first_giver(&mut self) -> Option<&mut Session> {
        let found = loop {
            let (queued, id) = self.givers.first().copied()?;
            let Some(session) = self.sessions.get_mut(&id) else { unreachable!("session {id} gives and is gone") };
            if session.used_by == queued && session.kept_bytes > 0 {
                break id;
            }
            self.givers.remove(&(queued, id));
            session.queued_to_give = None;
            session.list(id, &mut self.givers);
        };
        self.sessions.get_mut(&found)
    }

    fn admit_command(&mut self, index: LogIndex, log_time: LogTime, payload: &Payload) -> Admission {
        let window = self.limits.window;
        let Some(session) = self.touch(payload.session, index, log_time) else {
            mutate!(session_expired_applied, return Admission::Apply);
            return Admission::Denied(Denied::Expired);
        };
        let sequence = payload.sequence;
        mutate!(session_retry_applied if session.kept.remove(sequence), return Admission::Apply);
        mutate!(
            session_answers_with_another,
            sequence = if session.kept.get(sequence).is_some() { session.highest } else { sequence }
        );
        match session.kept.get(sequence) {
            Some(Some(response)) => return Admission::Kept(response.clone()),
            Some(None) => return Admission::Denied(Denied::NotKept),
            None => {}
        }
        mutate!(session_late_numbers_forgotten if sequence < session.highest, return Admission::Denied(Denied::Forgotten));
        if session.highest.saturating_sub(sequence) >= window {
            return Admission::Denied(Denied::Forgotten);
        }
        session.highest = session.highest.max(sequence);
        mutate!(session_keeps_one_less, window = window - 1);
        let forgotten_bytes = session.kept.forget_below(session.highest.saturating_sub(window - 1));
        session.kept_bytes -= forgotten_bytes;
        self.kept_bytes -= forgotten_bytes;
        Admission::Apply
    }

    /// The session, if it is there, from now on used last by this entry.
    fn touch(&mut self, id: SessionId, index: LogIndex, log_time: LogTime) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&id)?;
        mutate!(session_use_not_noted, return Some(session));
        (session.used_at, session.used_by) = (log_time, index);
        Some(session)
    }

    fn register(&mut self, index: LogIndex, log_time: LogTime, time_to_live_ms: u64) -> Admission {
        let id = SessionId(index.0);
        mutate!(session_id_given_again, id = SessionId(self.sessions.len() as u64 + 1));
        mutate!(session_eviction_of_newest if self.sessions.len() >= self.limits.sessions_max, {
            let newest = self.sessions.keys().next_back().copied();
            newest.into_iter().for_each(|newest| self.remove(newest));
        });
        mutate!(session_one_too_many if self.sessions.len() == self.limits.sessions_max, {
            return self.insert(id, index, log_time, time_to_live_ms);
        });
        while self.sessions.len() >= self.limits.sessions_max {
            self.evict();
        }
        self.insert(id, index, log_time, time_to_live_ms)
    }

    fn insert(&mut self, id: SessionId, index: LogIndex, log_time: LogTime, time_to_live_ms: u64) -> Admission {
        let time_to_live_ms = time_to_live_ms.min(self.limits.time_to_live_max_ms);
        let kept = Responses::default();
        let queued = (log_time, index);
        let session = Session {
            time_to_live_ms,
            used_at: log_time,
            used_by: index,
            highest: 0,
            queued,
            queued_to_give: None,
            kept,
            kept_bytes: 0,
        };
        self.add(id, session);
        Admission::Alive(id)
    }

    fn add(&mut self, id: SessionId, mut session: Session) {
        session.queued = (session.deadline(), session.used_by);
        self.deadlines.insert((session.queued.0, id));
        self.uses.insert((session.queued.1, id));
        session.list(id, &mut self.givers);
        self.kept_bytes += session.kept_bytes;
        self.sessions.insert(id, session);
    }

    /// Ends the sessions whose time is over.
    fn expire(&mut self, now: LogTime) {
        while let Some((queued, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline < now) {
            let Some(session) = self.sessions.get_mut(&id) else {
                unreachable!("session {id} has a deadline and is gone")
            };
            let deadline = session.deadline();
            mutate!(session_expires_in_use, deadline = queued);
            if deadline < now {
                self.remove(id);
            } else {
                session.queued.0 = deadline;
                self.deadlines.remove(&(queued, id));
                self.deadlines.insert((deadline, id));
            }
        }
    }

    /// Ends the session that was unused for longest.
    fn evict(&mut self) {
        while let Some((queued, id)) = self.uses.first().copied() {
            let Some(session) = self.sessions.get_mut(&id) else { unreachable!("session {id} has a use and is gone") };
            if session.used_by == queued {
                return self.remove(id);
            }
            session.queued.1 = session.used_by;
            self.uses.remove(&(queued, id));
            self.uses.insert((session.queued.1, id));
        }
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let (deadline, used) = session.queued;
        let is_queued = self.deadlines.remove(&(deadline, id)) && self.uses.remove(&(used, id));
        assert!(is_queued, "session {id} stands in both orders");
        let gives = session.queued_to_give.is_none_or(|used| self.givers.remove(&(used, id)));
        assert!(gives, "session {id} stands among those with responses");
        self.kept_bytes -= session.kept_bytes;
    }
}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied<R> {
    /// The response of the state machine, now or when the command was applied.
    Response(R),
    /// The entry belongs to a session, and this is all that can be said.
    Denied(Denied),
    /// This session is registered, or kept alive.
    Alive(SessionId),
    /// It is nothing to the state machine, and nobody's.
    Nothing,
}

#[cfg(test)]
mod tests;
