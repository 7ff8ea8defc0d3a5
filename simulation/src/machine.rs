//! The replicated state machine of the simulation, and the callers that wait for it.
//!
//! It is a map of registers, and remembers the id of every entry that it applied. Every value is written once in the
//! whole of a history, so that whatever is read tells which write it comes from.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use outrigger::engine::{Body, LogId, LogIndex, LogTime, Payload, SessionId, StateHash, Term, Token};
use outrigger::runtime::sessions::{Admission, Denied, SessionLimits, Sessions};

use crate::trace::digest;
use crate::user::Replica;
use crate::words::or;

/// How many bytes a write takes.
const WRITE_BYTES: usize = 16;

/// How many bytes a response has that a session keeps: the id of the entry that wrote.
pub(crate) const RESPONSE_BYTES: usize = 16;

/// One write of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// Which register.
    pub(crate) key: u64,
    /// What it holds from then on; unique.
    pub(crate) value: u64,
}

impl Write {
    /// The command's bytes, with some padding, so that entries differ in size.
    pub(crate) fn encode(self, padding: usize) -> Payload {
        let mut bytes = BytesMut::with_capacity(WRITE_BYTES + padding);
        bytes.put_u64_le(self.key);
        bytes.put_u64_le(self.value);
        bytes.put_bytes(0xaa, padding);
        Payload::command(bytes.freeze())
    }

    /// The command's bytes, with a user's command behind them.
    pub(crate) fn encode_with(self, command: &[u8]) -> Payload {
        let mut bytes = BytesMut::with_capacity(WRITE_BYTES + command.len());
        bytes.put_u64_le(self.key);
        bytes.put_u64_le(self.value);
        bytes.put_slice(command);
        Payload::command(bytes.freeze())
    }

    /// What stands behind the write that an entry carries, if it is one.
    pub(crate) fn behind(payload: &Payload) -> Option<Bytes> {
        match &payload.body {
            Body::Command(bytes) => Some(bytes.slice(WRITE_BYTES..)),
            Body::Blank | Body::Membership(_) | Body::RegisterSession { .. } => None,
        }
    }

    /// The write that an entry carries, if it is one.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        match &payload.body {
            Body::Command(bytes) => Some(Self::decode(bytes)),
            Body::Blank | Body::Membership(_) | Body::RegisterSession { .. } => None,
        }
    }

    fn decode(bytes: &Bytes) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self { key: word(0), value: word(8) }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the write of {} to register {}", self.value, self.key)
    }
}

/// What came of an entry of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was applied.
    Applied,
    /// It was applied before, by the entry with this id.
    Again(LogId),
    /// It was not applied.
    Denied(Denied),
    /// The session is registered, or kept alive.
    Alive(SessionId),
}

impl Came {
    /// What a client is told; `id` is the entry's.
    const fn answer(self, id: LogId) -> Answer {
        match self {
            Self::Applied => Answer::Written(id),
            Self::Again(first) => Answer::Written(first),
            Self::Denied(denied) => Answer::Denied(denied),
            Self::Alive(session) => Answer::Alive(session),
        }
    }

    /// In a word.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Applied => "write in a session applied",
            Self::Again(_) => "write in a session answered again",
            Self::Denied(Denied::Expired) => "session found expired",
            Self::Denied(Denied::Forgotten) => "write in a session forgotten",
            Self::Denied(_) => "response in a session not kept",
            Self::Alive(_) => "session registered or kept alive",
        }
    }
}

/// As what an entry does.
impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => f.write_str("is applied"),
            Self::Again(first) => write!(f, "is answered as {first} was"),
            Self::Denied(denied) => write!(f, "is not applied ({denied})"),
            Self::Alive(session) => write!(f, "keeps session {session}"),
        }
    }
}

/// The state of one node's state machine. It starts from nothing in each life.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// The last value of each register.
    registers: BTreeMap<u64, u64>,
    /// The id of each applied entry; the first has index 1.
    applied: Vec<LogId>,
    /// The sessions of clients, where they have some.
    sessions: Option<Sessions>,
    /// What came of the entries of sessions, but for those that a snapshot brought.
    came: BTreeMap<LogIndex, Came>,
    /// The user's state machine, if there is one; it has applied the same entries.
    user: Option<Replica>,
    /// Its memory has forgotten something that nobody reads; only a hash of the state shows it.
    is_rotten: bool,
}

impl Machine {
    /// From now on clients may have sessions.
    pub(crate) fn keep_sessions(&mut self, limits: SessionLimits) {
        assert!(self.applied.is_empty(), "it would miss what was applied before");
        self.sessions = Some(Sessions::new(limits));
    }

    /// The encoded sessions, as a snapshot holds them; nothing where there are none.
    pub(crate) fn sessions(&self) -> Vec<u8> {
        // They are encoded after every entry: room for most tables at once.
        let mut bytes = Vec::with_capacity(if self.sessions.is_some() { 1 << 10 } else { 0 });
        let written = self.sessions.as_ref().map_or(Ok(()), |sessions| sessions.write(&mut bytes));
        written.expect("memory takes all");
        bytes
    }

    /// Whether clients may have sessions.
    pub(crate) const fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// Applies the entry that follows the last one. Answers what came of it, if it has to do with a session.
    pub(crate) fn apply(&mut self, id: LogId, log_time: LogTime, payload: &Payload) -> Option<Came> {
        assert_eq!(id.index, self.last().next(), "entries are applied in order");
        let came = self.admit(id, log_time, payload);
        if let Some(came) = came {
            self.came.insert(id.index, came);
            if came != Came::Applied {
                self.applied.push(id);
                return Some(came);
            }
        }
        if let Some(write) = Write::of(payload) {
            self.registers.insert(write.key, write.value);
        }
        if let Some(user) = &mut self.user
            && let Some(command) = Write::behind(payload)
        {
            user.apply(id.index, &command);
        }
        self.applied.push(id);
        came
    }

    fn admit(&mut self, id: LogId, log_time: LogTime, payload: &Payload) -> Option<Came> {
        let sessions = self.sessions.as_mut()?;
        match sessions.admit(id.index, log_time, payload) {
            Admission::Apply if payload.session != SessionId(0) => {
                let response = [id.term.0.to_le_bytes(), id.index.0.to_le_bytes()].concat();
                sessions.keep(payload, response.into());
                Some(Came::Applied)
            }
            Admission::Kept(response) => {
                let word = |at: usize| u64::from_le_bytes(response[at..at + 8].try_into().expect("eight bytes"));
                Some(Came::Again(LogId { term: Term(word(0)), index: LogIndex(word(8)) }))
            }
            Admission::Denied(denied) => Some(Came::Denied(denied)),
            Admission::Alive(session) => Some(Came::Alive(session)),
            _ => None,
        }
    }

    /// From now on it is as a snapshot says, sessions included.
    pub(crate) fn restore(
        &mut self,
        registers: BTreeMap<u64, u64>,
        mut sessions: &[u8],
        user: Option<&Bytes>,
        applied: Vec<LogId>,
    ) {
        if let Some(limits) = self.sessions.as_ref().map(Sessions::limits) {
            let read = Sessions::read(&mut sessions, limits);
            self.sessions = Some(read.expect("a snapshot holds the sessions that were written into it"));
        }
        assert!(sessions.is_empty(), "{} bytes behind a snapshot's sessions", sessions.len());
        self.came.clear();
        assert!(applied.len() > self.applied.len(), "a snapshot takes back what was applied");
        assert_eq!(self.user.is_some(), user.is_some(), "a snapshot holds a user's state where there is one");
        (self.registers, self.applied) = (registers, applied);
        let last = self.last();
        self.user.iter_mut().zip(user).for_each(|(replica, state)| replica.install(last, state));
    }

    /// What a snapshot holds of the user's state machine, if there is one.
    pub(crate) fn user_bytes(&self) -> Option<Bytes> {
        self.user.as_ref().map(Replica::snapshot_bytes)
    }

    /// From now on a user's state machine applies the same entries.
    pub(crate) fn host(&mut self, user: Replica) {
        assert!(self.applied.is_empty(), "it would miss what was applied before");
        self.user = Some(user);
    }

    /// The state is read, or the history is over: the user's state is compared as well.
    pub(crate) fn look(&self) {
        self.user.iter().for_each(Replica::look);
    }

    /// Where the user's state was restored last.
    pub(crate) fn restored_at(&self) -> Option<LogIndex> {
        self.user.as_ref().and_then(Replica::restored_at)
    }

    /// From now on its state is another than it should be, for as long as it lives.
    pub(crate) const fn rot(&mut self) {
        self.is_rotten = true;
    }

    pub(crate) const fn is_rotten(&self) -> bool {
        self.is_rotten
    }

    /// A hash of the registers.
    pub(crate) fn hash(&self) -> StateHash {
        let bytes: Vec<u8> =
            self.registers.iter().flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()]).flatten().collect();
        StateHash(u64::from(self.is_rotten) ^ digest(&bytes))
    }

    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.applied.len() as u64)
    }

    pub(crate) fn read(&self, key: u64) -> Option<u64> {
        self.registers.get(&key).copied()
    }

    pub(crate) const fn registers(&self) -> &BTreeMap<u64, u64> {
        &self.registers
    }

    /// The id of the entry that was applied at an index.
    pub(crate) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        let place = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.applied.get(place).copied()
    }
}

/// The answer to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// All entries of the write are applied; the first has this id.
    Written(LogId),
    /// Nothing was done, and nothing will be.
    Refused,
    /// The write may be applied, now or later, or never.
    Unknown,
    /// The register's value, in the state after this index.
    Read(LogIndex, Option<u64>),
    /// This is all that the session can say.
    Denied(Denied),
    /// The session is registered, or kept alive.
    Alive(SessionId),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(first) => write!(f, "written at {first}"),
            Self::Refused => f.write_str("not done, and never will be"),
            Self::Unknown => f.write_str("nobody knows whether it is done"),
            Self::Denied(denied) => write!(f, "{denied}"),
            Self::Alive(session) => write!(f, "session {session} is alive"),
            Self::Read(index, value) => write!(f, "after {index} there is {}", or(*value, "nothing")),
        }
    }
}

/// Callers whose entries were accepted and are not applied.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    /// How many entries each proposal has that was neither accepted nor refused, and whether they have to do with a session.
    proposed: Vec<(Token, u64, bool)>,
    /// By the index of the last entry of a write, the id of that entry, the id of the first, and who waits.
    expected: BTreeMap<LogIndex, (LogId, LogId, Token)>,
    /// The register that each reader wants.
    reads: Vec<(Token, u64)>,
}

/// Takes out what belongs to a token. Few clients wait for one node, so a list finds it faster than a map.
fn take<T>(waiting: &mut Vec<T>, token: Token, of: impl Fn(&T) -> Token) -> Option<T> {
    let place = waiting.iter().position(|it| of(it) == token)?;
    Some(waiting.remove(place))
}

impl Callers {
    pub(crate) fn propose(&mut self, token: Token, entries: u64, in_session: bool) {
        self.proposed.push((token, entries, in_session));
    }

    pub(crate) fn ask(&mut self, token: Token, key: u64) {
        self.reads.push((token, key));
    }

    /// Entries got their ids. Answers at once when they are applied already, which a follower's may be.
    pub(crate) fn accepted(&mut self, token: Token, first: LogId, machine: &Machine) -> Option<(Token, Answer)> {
        let (_, entries, in_session) = self.take_proposed(token)?;
        let last = LogId { term: first.term, index: LogIndex(first.index.0 + entries - 1) };
        if last.index <= machine.last() {
            let applied = machine.id_at(first.index) == Some(first) && machine.id_at(last.index) == Some(last);
            let came = if in_session { machine.came.get(&last.index).copied() } else { Some(Came::Applied) };
            return Some((token, came.filter(|_| applied).map_or(Answer::Unknown, |came| came.answer(first))));
        }
        let before = self.expected.insert(last.index, (last, first, token));
        // Whom another's write displaces can never be told more than this.
        before.map(|(_, _, token)| (token, Answer::Unknown))
    }

    /// A proposal or a read was refused.
    pub(crate) fn refused(&mut self, token: Token, certain: bool) -> Option<(Token, Answer)> {
        let known = self.take_proposed(token).is_some() || self.take_read(token).is_some();
        known.then_some((token, if certain { Answer::Refused } else { Answer::Unknown }))
    }

    /// Nobody knows any more what becomes of entries from this index on.
    pub(crate) fn abandoned(&mut self, from: LogIndex) -> Vec<(Token, Answer)> {
        let abandoned = self.expected.split_off(&from);
        abandoned.into_values().map(|(_, _, token)| (token, Answer::Unknown)).collect()
    }

    fn take_proposed(&mut self, token: Token) -> Option<(Token, u64, bool)> {
        take(&mut self.proposed, token, |(token, ..)| *token)
    }

    fn take_read(&mut self, token: Token) -> Option<(Token, u64)> {
        take(&mut self.reads, token, |(token, _)| *token)
    }

    /// An entry was applied.
    pub(crate) fn applied(&mut self, id: LogId, came: Option<Came>) -> Option<(Token, Answer)> {
        let (last, first, token) = self.expected.remove(&id.index)?;
        let answer = came.unwrap_or(Came::Applied).answer(first);
        Some((token, if last == id { answer } else { Answer::Unknown }))
    }

    /// An entry was applied: behind it stands nothing of an earlier term. Answers somebody who waits for that.
    pub(crate) fn overtaken(&mut self, id: LogId) -> Option<(Token, Answer)> {
        let last = self.expected.last_entry().filter(|entry| entry.get().0.term < id.term)?;
        let (_, _, token) = last.remove();
        Some((token, Answer::Unknown))
    }

    /// Somebody who waits for an answer.
    pub(crate) fn waiting(&self) -> Option<Token> {
        let expected = self.expected.values().map(|(_, _, token)| token);
        let proposed = self.proposed.iter().map(|(token, ..)| token);
        proposed.chain(expected).chain(self.reads.iter().map(|(token, _)| token)).next().copied()
    }

    /// Somebody who waits for entries behind this index.
    pub(crate) fn waiting_behind(&self, index: LogIndex) -> Option<Token> {
        self.expected.range(index.next()..).next().map(|(_, (_, _, token))| *token)
    }

    /// A read's turn has come.
    pub(crate) fn read(&mut self, token: Token, machine: &Machine) -> Option<(Token, Answer)> {
        let (_, key) = self.take_read(token)?;
        Some((token, Answer::Read(machine.last(), machine.read(key))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has applied entries of these terms.
    fn machine(terms: &[u64]) -> Machine {
        let mut machine = Machine::default();
        for (index, term) in (1..).zip(terms) {
            machine.apply(LogId::new(*term, index), LogTime(0), &Payload::blank());
        }
        machine
    }

    /// Somebody waits for so many entries, the first of which is this one.
    fn waits(first: LogId, entries: u64, machine: &Machine) -> (Callers, Option<(Token, Answer)>) {
        let mut callers = Callers::default();
        callers.propose(Token(1), entries, false);
        let answer = callers.accepted(Token(1), first, machine);
        (callers, answer)
    }

    #[test]
    fn who_is_told_late_that_it_was_accepted_is_told_what_was_applied() {
        let applied = machine(&[1, 1, 2]);
        let told = |first, entries| waits(first, entries, &applied).1;
        assert_eq!(told(LogId::new(1, 1), 2), Some((Token(1), Answer::Written(LogId::new(1, 1)))));
        assert_eq!(told(LogId::new(2, 2), 2), Some((Token(1), Answer::Unknown)), "another's stands at the first place");
        assert_eq!(told(LogId::new(1, 2), 2), Some((Token(1), Answer::Unknown)), "and at the last");
        assert_eq!(told(LogId::new(2, 3), 2), None, "not all is applied");
    }

    #[test]
    fn whose_place_another_one_gets_or_a_later_term_overtakes_is_told_that_nobody_knows() {
        let (mut callers, _) = waits(LogId::new(1, 5), 1, &machine(&[]));
        callers.propose(Token(2), 1, false);
        let displaced = callers.accepted(Token(2), LogId::new(2, 5), &machine(&[]));
        assert_eq!(displaced, Some((Token(1), Answer::Unknown)));
        assert_eq!(callers.overtaken(LogId::new(2, 4)), None, "it may follow yet");
        assert_eq!(callers.overtaken(LogId::new(3, 4)), Some((Token(2), Answer::Unknown)));
        let (mut callers, _) = waits(LogId::new(1, 5), 1, &machine(&[]));
        assert_eq!(callers.applied(LogId::new(2, 5), None), Some((Token(1), Answer::Unknown)), "another term's");
        assert_eq!(callers.waiting(), None);
    }

    #[test]
    fn whoever_waits_for_whatever_is_known_to_wait() {
        let (callers, _) = waits(LogId::new(1, 5), 1, &machine(&[]));
        assert_eq!((callers.waiting(), callers.waiting_behind(LogIndex(4))), (Some(Token(1)), Some(Token(1))));
        assert_eq!(callers.waiting_behind(LogIndex(5)), None);
        let mut proposes = Callers::default();
        proposes.propose(Token(2), 1, false);
        let mut reads = Callers::default();
        reads.ask(Token(3), 1);
        assert_eq!((proposes.waiting(), reads.waiting()), (Some(Token(2)), Some(Token(3))));
    }

    #[test]
    fn a_state_that_has_rotted_has_another_hash() {
        let mut rotten = machine(&[1]);
        let sound = rotten.hash();
        assert_eq!(machine(&[1]).hash(), sound);
        rotten.rot();
        assert_ne!(rotten.hash(), sound);
    }
}
