//! Who waits for what: the answer slots of callers, from their call until they are answered.
//!
//! ```text
//!   Raft::write ──► Slot ──► Callers, by token ──Accepted──► Expected, by log id ──applied──► Reply wakes up
//!                              │                                │
//!                              └─ refused, timed out, stopped ──┴─ abandoned, timed out, stopped
//! ```
//!
//! Every path ends in an answer. A slot that is dropped on the way answers too: its caller hears that the outcome is
//! unknown, and never waits for ever.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use outrigger_engine::{Instant, LogId, LogIndex, Refusal, Token};
use tokio::sync::oneshot;

use crate::LargeStateMachine;
use crate::runtime::encoded::panic_caught;
use crate::runtime::order::OrderSlot;
use crate::runtime::sessions::Denied;

/// Why a caller gets no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The engine, or a limit of the runtime, said no.
    Refused(Refusal),
    /// Its entry came to nothing more than this, in its session.
    Denied(Denied),
    /// What was asked for may or may not be done.
    Unknown(Doubt),
    /// The node stopped before it did anything about it.
    Stopped,
}

/// How the trace of a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Leadership changed after the command was in a log.
    LeadershipLost,
    /// No answer within the request timeout.
    TimedOut,
    /// The command was handed to the leader, which did not answer.
    LeaderSilent,
    /// The command was applied, or overwritten, before this node learned its place in the log.
    LateAnswer,
    /// Some commands of a group were applied.
    Partly,
    /// The node stopped.
    Stopped,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadershipLost => {
                "leadership changed before it was committed, or a snapshot took its place in the log here"
            }
            Self::TimedOut => "no answer within the request timeout; is a majority of the nodes up?",
            Self::LeaderSilent => "it was handed to the leader, which did not answer",
            Self::LateAnswer => "its place in the log was passed before this node learned it",
            Self::Partly => "some commands of the group are applied, others may not be",
            Self::Stopped => "this node stopped before it was answered",
        })
    }
}

/// Where the answer to a write goes.
#[derive(Debug)]
pub(crate) enum Slot<R> {
    /// Of one command.
    One(oneshot::Sender<Result<R, Failure>>),
    /// Of a group of commands with one answer.
    Group(Box<Group<R>>),
    /// Of an entry that has no response: its id, once it is applied.
    Passed(oneshot::Sender<Result<LogId, Failure>>),
    /// Of a command of which only its place in the log matters: its id, as soon as it is committed.
    Committed(oneshot::Sender<Result<LogId, Failure>>),
    /// Of a command whose caller was answered, or is answered elsewhere.
    Nobody,
}

/// What came of each command of a group.
pub(crate) type Responses<R> = Vec<Result<R, Denied>>;

#[derive(Debug)]
pub(crate) struct Group<R> {
    /// The responses so far, in the order of the commands; fewer than `size`.
    responses: Vec<Result<R, Denied>>,
    /// How many commands the group has; at least 1.
    size: usize,
    sender: oneshot::Sender<Result<Responses<R>, Failure>>,
}

/// The caller's end of a slot.
#[derive(Debug)]
pub(crate) struct Reply<T>(oneshot::Receiver<Result<T, Failure>>);

impl<T> Reply<T> {
    /// A reply that is there already.
    pub(crate) fn ready(answer: T) -> Self {
        let (sender, receiver) = oneshot::channel();
        drop(sender.send(Ok(answer)));
        Self(receiver)
    }

    /// The answer, if it is there.
    pub(crate) fn look(&mut self) -> Option<Result<T, Failure>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(Failure::Unknown(Doubt::Stopped))),
        }
    }
}

impl<R> Slot<R> {
    pub(crate) fn one() -> (Self, Reply<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self::One(sender), Reply(receiver))
    }

    pub(crate) fn group(size: usize) -> (Self, Reply<Responses<R>>) {
        assert!(size > 0, "a group without commands waits for nothing");
        let (sender, receiver) = oneshot::channel();
        (Self::Group(Box::new(Group { responses: Vec::with_capacity(size), size, sender })), Reply(receiver))
    }

    pub(crate) fn passed() -> (Self, Reply<LogId>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Passed(sender), Reply(receiver))
    }

    pub(crate) fn committed() -> (Self, Reply<LogId>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Committed(sender), Reply(receiver))
    }

    /// How many entries it still waits for; at least 1.
    pub(crate) fn missing(&self) -> usize {
        match self {
            Self::One(_) | Self::Passed(_) | Self::Committed(_) | Self::Nobody => 1,
            Self::Group(group) => group.size - group.responses.len(),
        }
    }

    /// Takes what came of the next command; gives the slot back if it waits for more.
    ///
    /// # Panics
    /// If it waits for something that is no command, and got a response.
    pub(crate) fn answer(self, response: Result<R, Denied>) -> Option<Self> {
        match self {
            Self::One(sender) => {
                // A caller that has gone away wants no answer.
                drop(sender.send(response.map_err(Failure::Denied)));
                None
            }
            Self::Passed(sender) => {
                let denied = response.err().expect("an entry that carries no command has no response");
                let _ = sender.send(Err(Failure::Denied(denied)));
                None
            }
            Self::Committed(_) => panic!("who waits for a commit waits elsewhere"),
            Self::Nobody => None,
            Self::Group(mut group) => {
                group.responses.push(response);
                if group.responses.len() < group.size {
                    return Some(Self::Group(group));
                }
                drop(group.sender.send(Ok(group.responses)));
                None
            }
        }
    }

    pub(crate) fn fail(self, failure: Failure) {
        match self {
            Self::One(sender) => drop(sender.send(Err(failure))),
            Self::Passed(sender) | Self::Committed(sender) => {
                let _ = sender.send(Err(failure));
            }
            Self::Nobody => {}
            Self::Group(group) => {
                let failure = if group.responses.is_empty() { failure } else { Failure::Unknown(Doubt::Partly) };
                drop(group.sender.send(Err(failure)));
            }
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(Failure::Unknown(Doubt::Stopped))))
    }
}

/// A read on its way to the state machine.
pub(crate) trait Read<S>: Send {
    /// Runs it on the state after the entry at `applied`, and answers the caller.
    fn run(self: Box<Self>, state: &S, applied: LogIndex);
    /// Answers the caller that it was not run.
    fn fail(self: Box<Self>, failure: Failure);
}

pub(crate) type BoxedRead<S> = Box<dyn Read<S>>;

/// What the caller of a read gets back.
pub(crate) enum ReadAnswer<F, R> {
    /// The answer, and the index of the entry after which it holds.
    Done(LogIndex, R),
    /// It panicked; with the panic's words.
    Panicked(String),
    /// It was not run; here it is again.
    NotRun(F, Failure),
}

/// A closure of a user that reads.
pub(crate) struct ReadClosure<F, R> {
    pub(crate) read: F,
    pub(crate) sender: oneshot::Sender<ReadAnswer<F, R>>,
}

impl<S, F: FnOnce(&S) -> R + Send, R: Send> Read<S> for ReadClosure<F, R> {
    fn run(self: Box<Self>, state: &S, applied: LogIndex) {
        let Self { read, sender } = *self;
        // A read has the state by shared reference only: its panic leaves nothing half done.
        let answer = match panic_caught(|| read(state)) {
            Ok(answer) => ReadAnswer::Done(applied, answer),
            Err(reason) => ReadAnswer::Panicked(reason),
        };
        drop(sender.send(answer));
    }

    fn fail(self: Box<Self>, failure: Failure) {
        let Self { read, sender } = *self;
        drop(sender.send(ReadAnswer::NotRun(read, failure)));
    }
}

/// All who wait behind one token: the writes, or the reads, of one drain of the mailbox.
pub(crate) enum Asked<S: LargeStateMachine> {
    /// Their entries, in this order.
    Writes(Vec<Slot<S::Response>>),
    /// One confirmation of leadership serves them all.
    Reads(Vec<BoxedRead<S>>),
}

impl<S: LargeStateMachine> Asked<S> {
    pub(crate) fn fail(self, failure: Failure) {
        match self {
            Self::Writes(slots) => slots.into_iter().for_each(|slot| slot.fail(failure)),
            Self::Reads(reads) => reads.into_iter().for_each(|read| read.fail(failure)),
        }
    }
}

/// Who waits for the engine's word, by token.
pub(crate) struct Callers<S: LargeStateMachine> {
    /// Not given out yet; tokens increase.
    next: Token,
    /// Until when each is waited for. Deadlines increase with the tokens.
    waiting: BTreeMap<Token, (Instant, Asked<S>)>,
    /// Who waits for what takes as long as it takes: a change of the members, a snapshot, another leader. The engine ends each of them.
    orders: BTreeMap<Token, OrderSlot>,
}

impl<S: LargeStateMachine> Callers<S> {
    pub(crate) const fn new(first: Token) -> Self {
        Self { next: first, waiting: BTreeMap::new(), orders: BTreeMap::new() }
    }

    /// Notes who waits; gives them a token.
    pub(crate) fn wait(&mut self, asked: Asked<S>, deadline: Instant) -> Token {
        let latest = self.waiting.last_key_value().map(|(_, (deadline, _))| *deadline);
        assert!(latest.is_none_or(|latest| latest <= deadline), "a deadline {deadline:?} before {latest:?}");
        let token = self.next;
        self.next = token.next();
        self.waiting.insert(token, (deadline, asked));
        token
    }

    /// Notes who waits for an order; gives them a token.
    pub(crate) fn wait_for_order(&mut self, slot: OrderSlot) -> Token {
        let token = self.next;
        self.next = token.next();
        self.orders.insert(token, slot);
        token
    }

    /// Who waits for that behind a token; `None` if it stands for writes or reads.
    pub(crate) fn take_order(&mut self, token: Token) -> Option<OrderSlot> {
        self.orders.remove(&token)
    }

    /// Who waits behind a token, and until when; `None` when they were answered already, by a timeout.
    pub(crate) fn take(&mut self, token: Token) -> Option<(Instant, Asked<S>)> {
        assert!(token < self.next, "token {token} was never given out");
        self.waiting.remove(&token)
    }

    /// Answers those who have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.get().0 <= now
        {
            first.remove().1.fail(Failure::Unknown(Doubt::TimedOut));
        }
    }

    /// Answers all. What was handed to the engine may be on its way to the leader.
    pub(crate) fn fail_all(&mut self, failure: Failure) {
        for (_, (_, asked)) in std::mem::take(&mut self.waiting) {
            asked.fail(failure);
        }
        for slot in std::mem::take(&mut self.orders).into_values() {
            slot.fail(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(reply: Reply<T>) -> Option<Result<T, Failure>> {
        let mut reply = std::pin::pin!(reply);
        match reply.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_dropped_slot_answers_that_nobody_knows() {
        let (slot, reply) = Slot::<u32>::one();
        drop(slot);
        assert_eq!(now(reply), Some(Err(Failure::Unknown(Doubt::Stopped))));
        let (_slot, reply) = Slot::<u32>::one();
        assert_eq!(now(reply), None);
    }

    type Nobody = Callers<super::super::nothing::Nothing>;

    /// It may have been handed to the leader, which took it: nobody knows.
    #[test]
    fn callers_who_have_waited_for_too_long_are_in_doubt_and_the_others_wait_on() {
        let mut callers = Nobody::new(Token(1));
        let ((a, first), (b, second)) = (Slot::one(), Slot::one());
        callers.wait(Asked::Writes(vec![a]), Instant(100));
        callers.wait(Asked::Writes(vec![b]), Instant(200));
        callers.expire(Instant(99));
        assert_eq!(callers.waiting.len(), 2);
        callers.expire(Instant(100));
        assert_eq!(now(first), Some(Err(Failure::Unknown(Doubt::TimedOut))));
        assert_eq!(now(second), None);
        assert_eq!(callers.waiting.len(), 1);
    }

    #[test]
    fn all_are_answered_at_the_end_whatever_they_wait_for() {
        let mut callers = Nobody::new(Token(1));
        let ((slot, write), (order, mut done)) = (Slot::one(), oneshot::channel());
        callers.wait(Asked::Writes(vec![slot]), Instant(100));
        callers.wait_for_order(OrderSlot::Deed(order));
        let failure = Failure::Unknown(Doubt::Stopped);
        callers.fail_all(failure);
        assert_eq!((now(write), done.try_recv()), (Some(Err(failure)), Ok(Err(failure))));
    }

    #[test]
    fn a_group_answers_once_it_is_complete() {
        let (slot, reply) = Slot::group(2);
        let slot = slot.answer(Ok('a')).expect("one is missing");
        assert!(slot.answer(Ok('b')).is_none());
        assert_eq!(now(reply), Some(Ok(vec![Ok('a'), Ok('b')])));
    }

    #[test]
    fn a_group_of_which_a_part_is_applied_is_in_doubt_whatever_the_failure() {
        let (slot, reply) = Slot::group(2);
        slot.answer(Ok('a')).expect("one is missing").fail(Failure::Refused(Refusal::NotLeader));
        assert_eq!(now(reply), Some(Err(Failure::Unknown(Doubt::Partly))));
        let (slot, reply) = Slot::<char>::group(2);
        slot.fail(Failure::Refused(Refusal::NotLeader));
        assert_eq!(now(reply), Some(Err(Failure::Refused(Refusal::NotLeader))));
    }
}
