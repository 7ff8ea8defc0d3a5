//! The clients: each asks one thing at a time, of any node, and believes what it is told.
//!
//! ```text
//!   thinks ──► asks a node ──► waits ──► written, read, refused, unknown ──► thinks ──► ...
//!                                └────── waits too long, or the node died: unknown
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger::engine::{Consistency, Event, LogIndex, NodeId, Payload, SessionId, Term, Token};

use outrigger::runtime::sessions::Denied;

use crate::check::{Check, ClientHistory, ClientJudge, Violation};
use crate::count::Counts;
use crate::machine::{Answer, Write};
use crate::plan::{Plan, ReadPlan, SECOND};
use crate::rng::Rng;
use crate::user::Commands;

mod sessions;

use sessions::Pending;
pub(crate) use sessions::{ClientSessions, Once};

/// How many registers there are: few, so that reads meet writes.
const REGISTERS: u64 = 5;
/// How long a client waits for an answer.
const PATIENCE: u64 = 4 * SECOND;
/// How many answers each client wants of a healed cluster.
const WANTED_WHEN_CALM: u64 = 4;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// All of these written, in one proposal.
    Write(Vec<Write>),
    /// This register read, from a state that is how new.
    Read(u64, Consistency),
    /// This written, once.
    Once(Once),
    /// A write that is settled comes once more; nobody wants to know.
    Copy(Payload),
    /// A session that is kept unused for so many milliseconds.
    Register(u64),
    /// That a session goes on.
    KeepAlive(SessionId),
}

/// A wish that was asked and is not answered.
#[derive(Debug)]
struct Asked {
    client: u64,
    node: NodeId,
    wish: Wish,
    /// The highest place that any client knew when this one asked.
    floor: LogIndex,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Decides what clients want, and whom they ask.
    rng: Rng,
    /// What waits for an answer.
    asked: Vec<(Token, Asked)>,
    /// The next token; never used twice.
    next_token: u64,
    /// The next value; never used twice.
    next_value: u64,
    /// Holds what clients are told against what happens.
    pub(crate) judge: ClientJudge,
    /// What clients asked and were told.
    pub(crate) history: ClientHistory,
    /// How many reads were answered.
    reads: u64,
    /// How many wishes ended in doubt.
    unknown: u64,
    /// In which ways clients were served.
    pub(crate) services: Counts,
    /// Once the cluster is healed: how many answers each client still wants.
    wanted: Option<BTreeMap<u64, u64>>,
    /// Whether nobody writes any more.
    only_reads: bool,
    /// The sessions that clients write in, if they do.
    pub(crate) sessions: Option<ClientSessions>,
    /// How clients read, where not all reads are linearizable.
    pub(crate) reads_plan: Option<ReadPlan>,
    /// Makes the commands of a user's state machine, if there is one.
    pub(crate) commands: Option<Commands>,
}

/// What a client does next.
pub(crate) struct Request {
    pub(crate) node: NodeId,
    pub(crate) token: Token,
    pub(crate) event: Event,
}

impl Workload {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            asked: Vec::new(),
            next_token: 1,
            next_value: 1,
            judge: ClientJudge::default(),
            history: ClientHistory::default(),
            reads: 0,
            unknown: 0,
            services: Counts::new(),
            wanted: None,
            only_reads: false,
            sessions: None,
            reads_plan: None,
            commands: None,
        }
    }

    /// How many reads were answered, and how many wishes ended in doubt.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.reads, self.unknown)
    }

    /// How long a client thinks.
    pub(crate) fn thinking(&mut self, plan: &Plan) -> u64 {
        self.rng.between(1, plan.think)
    }

    /// How long a client waits for an answer.
    pub(crate) const fn patience() -> u64 {
        PATIENCE
    }

    /// The cluster is healed: every client wants some answers yet, and is quiet then.
    pub(crate) fn become_calm(&mut self, plan: &Plan) {
        self.wanted = Some((0..plan.clients).map(|client| (client, WANTED_WHEN_CALM)).collect());
    }

    /// From now on nobody writes; every client wants one more read.
    pub(crate) fn become_idle(&mut self, plan: &Plan) {
        self.only_reads = true;
        self.wanted = Some((0..plan.clients).map(|client| (client, 1)).collect());
    }

    /// Whether a client asks no more.
    pub(crate) fn is_quiet(&self, client: u64) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.get(&client) == Some(&0))
    }

    /// Whether every client got what it wanted of the healed cluster.
    pub(crate) fn is_content(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.values().all(|left| *left == 0))
    }

    /// What somebody waits for, and of which node.
    pub(crate) fn asked(&self, token: Token) -> Option<(NodeId, &Wish)> {
        self.asked.get(self.place(token)?).map(|(_, asked)| (asked.node, &asked.wish))
    }

    /// The nodes that owe somebody an answer.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = NodeId> {
        self.asked.iter().map(|(_, asked)| asked.node)
    }

    /// A client asks one of these nodes, each of which is in some term.
    pub(crate) fn ask(&mut self, client: u64, nodes: &[NodeId], term: impl Fn(NodeId) -> Term, now: u64) -> Request {
        let (any, token) = (*self.rng.pick(nodes), Token(self.next_token));
        self.next_token += 1;
        let left = self.wanted.as_ref().and_then(|wanted| wanted.get(&client)).copied();
        // Of a healed cluster every node must serve: each client is faithful to one.
        let own = client.checked_rem(nodes.len() as u64).and_then(|place| usize::try_from(place).ok());
        let node = own.filter(|_| left.is_some()).and_then(|place| nodes.get(place)).copied().unwrap_or(any);
        let is_due = left == Some(WANTED_WHEN_CALM);
        let only_in = if left.is_none() { self.condition(term(node)) } else { None };
        let wish = match self.again(client, token) {
            Some(once) => Wish::Once(once),
            None => {
                let wish = self.wish(is_due);
                self.in_session(client, wish, left.is_some(), now)
            }
        };
        let propose = |payload: Payload| Event::Propose { token, entries: Arc::from([payload]), only_in: None };
        let event = match &wish {
            Wish::Once(once) => propose(once.payload.clone()),
            Wish::Copy(payload) => propose(payload.clone()),
            Wish::Register(time_to_live_ms) => propose(Payload::register_session(*time_to_live_ms)),
            Wish::KeepAlive(session) => propose(Payload::blank().in_session(*session, 0)),
            Wish::Write(writes) => {
                let entries: Arc<[Payload]> = writes.iter().map(|write| self.payload(*write)).collect();
                let judge = &mut self.judge;
                only_in.into_iter().for_each(|term| writes.iter().for_each(|write| judge.meant(*write, term)));
                Event::Propose { token, entries, only_in }
            }
            Wish::Read(_, consistency) => Event::Read { token, consistency: *consistency },
        };
        let floor = self.floor(&wish, now);
        self.begin(client, token, &wish, (floor, now));
        self.asked.push((token, Asked { client, node, wish, floor }));
        Request { node, token, event }
    }

    /// Some writes are meant for the leader of one term only: the term that the node is in, or the one before.
    fn condition(&mut self, current: Term) -> Option<Term> {
        let is_stale = match self.rng.below(32) {
            0..3 => false,
            3 => true,
            _ => return None,
        };
        Some(Term(current.0.saturating_sub(u64::from(is_stale))))
    }

    /// The lowest place that a wish may end at, or see.
    fn floor(&self, wish: &Wish, now: u64) -> LogIndex {
        match (wish, &self.reads_plan) {
            (Wish::Read(_, Consistency::Acknowledged { age_max }), Some(plan)) => {
                self.judge.floor_at(now.saturating_sub(plan.at_most(*age_max)))
            }
            // That of a follower is held against what it has heard, when it answers.
            (Wish::Read(_, Consistency::Stale { .. }), _) => LogIndex::ZERO,
            _ => self.judge.floor(),
        }
    }

    /// What a client wants next; each wants to write to the healed cluster before anything else.
    fn wish(&mut self, is_write: bool) -> Wish {
        if self.only_reads || (!is_write && self.rng.chance(300_000)) {
            let key = self.rng.below(REGISTERS);
            return Wish::Read(key, self.reads_plan.as_mut().map_or(Consistency::Linearizable, ReadPlan::consistency));
        }
        let count = if self.rng.chance(200_000) { self.rng.between(2, 6) } else { 1 };
        let writes = (0..count).map(|_| {
            self.next_value += 1;
            Write { key: self.rng.below(REGISTERS), value: self.next_value }
        });
        Wish::Write(writes.collect())
    }

    /// What a client has asked before and does not know about, if anything.
    fn again(&mut self, client: u64, token: Token) -> Option<Once> {
        let sessions = self.sessions.as_mut()?;
        if self.only_reads {
            // It never learns more.
            sessions.settle(client);
            return None;
        }
        let pending = sessions.pending.get_mut(&client)?;
        self.history.called_again(pending.token, token);
        pending.token = token;
        Some(pending.once.clone())
    }

    /// What a client that wants to write does in its session.
    fn in_session(&mut self, client: u64, wish: Wish, is_hurried: bool, now: u64) -> Wish {
        let (Some(sessions), Wish::Write(writes)) = (&mut self.sessions, &wish) else { return wish };
        sessions.wish(client, writes, is_hurried, now).unwrap_or(wish)
    }

    /// A wish is asked for the first time, or again.
    fn begin(&mut self, client: u64, token: Token, wish: &Wish, (floor, now): (LogIndex, u64)) {
        match (&mut self.sessions, wish) {
            (Some(sessions), Wish::Once(_)) if sessions.pending.contains_key(&client) => return,
            (Some(sessions), Wish::Once(once)) => {
                sessions.pending.insert(client, Pending { once: once.clone(), token, floor, in_doubt: false });
            }
            _ => {}
        }
        self.history.called(client, token, wish, now);
    }

    /// A client hears of its write in a session. Answers whether it is done.
    fn answer_once(&mut self, client: u64, once: &Once, answer: Answer, now: u64) -> Result<bool, Violation> {
        let Some(sessions) = &mut self.sessions else { return Ok(false) };
        let Some(pending) = sessions.pending.get_mut(&client) else { return Ok(false) };
        let (token, floor, in_doubt) = (pending.token, pending.floor, pending.in_doubt);
        let settled = match answer {
            Answer::Unknown => {
                pending.in_doubt = true;
                return Ok(false);
            }
            Answer::Refused if in_doubt || !sessions.gives_up() => return Ok(false),
            Answer::Refused => Answer::Refused,
            Answer::Denied(Denied::Expired) => {
                sessions.expired(client, once.payload.session);
                if in_doubt { Answer::Unknown } else { Answer::Refused }
            }
            Answer::Denied(Denied::NotKept) => Answer::Unknown,
            Answer::Written(first) => {
                self.judge.written(once.write, first, floor, now)?;
                sessions.written(client, once.payload.clone(), now);
                answer
            }
            Answer::Denied(_) | Answer::Read(..) | Answer::Alive(_) => {
                let (sequence, session) = (once.payload.sequence, once.payload.session);
                let reason =
                    format!("write {sequence} of session {session}, which is still tried, is answered: {answer}");
                return Err(Violation { check: Check::ExactlyOnce, reason });
            }
        };
        sessions.settle(client);
        self.history.answered(token, &settled, now);
        match settled {
            Answer::Refused => self.judge.refused(once.write)?,
            Answer::Unknown if answer != Answer::Denied(Denied::NotKept) => self.unknown += 1,
            _ => {}
        }
        Ok(matches!(answer, Answer::Written(_) | Answer::Denied(Denied::NotKept)))
    }

    /// A client hears of its session.
    fn answer_session(&mut self, client: u64, wish: &Wish, answer: Answer) {
        let Some(sessions) = &mut self.sessions else { return };
        if let Wish::Register(_) = wish {
            sessions.has_registered(client);
        }
        match (wish, answer) {
            (Wish::Register(_), Answer::Alive(session)) => sessions.registered(client, session),
            (Wish::KeepAlive(session), Answer::Denied(_)) => sessions.expired(client, *session),
            _ => {}
        }
    }

    fn payload(&mut self, write: Write) -> Payload {
        match &mut self.commands {
            Some(commands) => write.encode_with(&commands.next()),
            None => write.encode(self.padding()),
        }
    }

    fn padding(&mut self) -> usize {
        if self.rng.chance(100_000) { self.rng.count(0, 3000) } else { self.rng.count(0, 40) }
    }

    /// Whether a client waits for the answer to a request.
    pub(crate) fn waits_for(&self, token: Token) -> bool {
        self.place(token).is_some()
    }

    /// Where a request stands among those that are not answered: no client has two, so they are few.
    fn place(&self, token: Token) -> Option<usize> {
        self.asked.iter().position(|(asked, _)| *asked == token)
    }

    /// A client gets its answer. Answers with the client if it was still waiting for it.
    pub(crate) fn answer(&mut self, token: Token, answer: Answer, now: u64) -> Result<Option<u64>, Violation> {
        let Some(place) = self.place(token) else { return Ok(None) };
        let (_, Asked { client, wish, floor, .. }) = self.asked.remove(place);
        if !matches!(wish, Wish::Once(_)) {
            self.history.answered(token, &answer, now);
        }
        let done = match (&wish, answer) {
            (Wish::Once(once), answer) => self.answer_once(client, once, answer, now)?,
            (Wish::Copy(_) | Wish::Register(_) | Wish::KeepAlive(_), answer) => {
                self.answer_session(client, &wish, answer);
                false
            }
            (Wish::Write(writes), Answer::Written(first)) => {
                for (write, index) in writes.iter().zip(first.index.0..) {
                    let id = outrigger::engine::LogId { term: first.term, index: LogIndex(index) };
                    self.judge.written(*write, id, floor, now)?;
                }
                true
            }
            (Wish::Read(key, _), Answer::Read(at, value)) => {
                self.judge.read((*key, value), at, floor, now)?;
                self.reads += 1;
                true
            }
            (Wish::Write(writes), Answer::Refused) => {
                writes.iter().try_for_each(|write| self.judge.refused(*write))?;
                false
            }
            (Wish::Read(..), Answer::Refused) => false,
            (_, Answer::Unknown) => {
                self.unknown += 1;
                false
            }
            (wish, answer) => panic!("{wish:?} is answered with {answer:?}"),
        };
        if let Some(left) = self.wanted.as_mut().and_then(|wanted| wanted.get_mut(&client)).filter(|_| done) {
            *left = left.saturating_sub(1);
        }
        Ok(Some(client))
    }

    /// A node died: whoever waits for it learns nothing any more. Answers with those clients.
    pub(crate) fn lose(&mut self, node: NodeId, now: u64) -> Result<Vec<u64>, Violation> {
        let waiting = self.asked.iter().filter(|(_, asked)| asked.node == node).map(|(token, _)| *token);
        let tokens: Vec<Token> = waiting.collect();
        let clients: Result<Vec<_>, _> =
            tokens.into_iter().map(|token| self.answer(token, Answer::Unknown, now)).collect();
        Ok(clients?.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger::engine::LogId;

    use super::*;

    /// Which check refuses it that somebody who wished for this, when so much was known, is answered so.
    fn answered(wish: Wish, floor: u64, answer: Answer, prepare: impl FnOnce(&mut Workload)) -> Option<Check> {
        let mut workload = Workload::new(Rng::new(1));
        prepare(&mut workload);
        let (client, node, token, floor) = (1, NodeId(1), Token(7), LogIndex(floor));
        workload.history.called(client, token, &wish, 0);
        workload.asked.push((token, Asked { client, node, wish, floor }));
        workload.answer(token, answer, 1).err().map(|violation| violation.check)
    }

    const WRITE: Write = Write { key: 1, value: 9 };

    fn committed(workload: &mut Workload) {
        workload.judge.committed(WRITE, LogId::new(1, 5)).expect("it is new");
    }

    #[test]
    fn what_a_client_is_told_of_its_wish_is_judged() {
        let (writes, id) = (|| Wish::Write(vec![WRITE]), LogId::new(1, 5));
        assert_eq!(answered(writes(), 0, Answer::Written(id), committed), None);
        assert_eq!(answered(writes(), 0, Answer::Written(id), |_| ()), Some(Check::Acknowledged));
        assert_eq!(answered(writes(), 5, Answer::Written(id), committed), Some(Check::Acknowledged), "it began later");
        assert_eq!(answered(writes(), 0, Answer::Refused, |_| ()), None);
        assert_eq!(answered(writes(), 0, Answer::Refused, committed), Some(Check::AtMostOnce));
        let reads = || Wish::Read(1, Consistency::Linearizable);
        let seen = |value| Answer::Read(LogIndex(6), value);
        assert_eq!(answered(reads(), 6, seen(Some(9)), committed), None);
        assert_eq!(answered(reads(), 7, seen(Some(9)), committed), Some(Check::LinearizableRead));
        assert_eq!(answered(reads(), 0, seen(None), committed), Some(Check::LinearizableRead));
    }

    #[test]
    fn a_cluster_is_content_once_every_client_is() {
        let mut workload = Workload::new(Rng::new(1));
        assert!(!workload.is_content(), "nobody has asked for anything yet");
        workload.wanted = Some([(0, 0), (1, 0)].into());
        assert!(workload.is_content());
        workload.wanted = Some([(0, 0), (1, 1)].into());
        assert!(!workload.is_content());
    }

    #[test]
    fn a_wish_ends_at_what_was_known_when_it_began() {
        let mut workload = Workload::new(Rng::new(1));
        committed(&mut workload);
        workload.judge.written(WRITE, LogId::new(1, 5), LogIndex(0), 100).expect("it is committed");
        let floor = |workload: &Workload, consistency| workload.floor(&Wish::Read(1, consistency), 200).0;
        assert_eq!(floor(&workload, Consistency::Linearizable), 5);
        assert_eq!(floor(&workload, Consistency::Lease), 5);
        assert_eq!(floor(&workload, Consistency::Stale { staleness_max: Duration::ZERO }), 0);
        assert_eq!(workload.floor(&Wish::Write(vec![WRITE]), 200).0, 5);
    }
}
