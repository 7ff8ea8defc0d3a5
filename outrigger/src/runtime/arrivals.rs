//! What reaches RaftCore: the requests of callers, the messages of peers, the completions of what was begun.
//!
//! All of it lies in one mailbox and is taken at once, so that the writes of a thousand callers become one proposal.
//! Requests and messages are bounded, in counts and bytes; completions are as many as the commands that asked for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use outrigger_engine::{
    ChangeRequest, Consistency, Event, Incarnation, Lane, Message, NodeId, Payload, Peer, Refusal, Term,
};

use super::mailbox::{Mailbox, Queue};
use super::order::{Order, OrderSlot};
use super::respond::{BoxedRead, Failure, Slot};
use crate::LargeStateMachine;
use crate::config::Limits;
use crate::network::Receive;

/// When so many requests have come one by one, their caller is thought to be the only one.
const SINGLE_REQUESTS: u32 = 32;

/// What came since RaftCore looked last.
pub(crate) struct Arrivals<S: LargeStateMachine> {
    /// In order: a completion never overtakes an older one.
    pub(crate) notices: Vec<Notice>,
    /// Of other nodes; none for a handshake.
    pub(crate) messages: Vec<(Peer, Option<Message>)>,
    /// The size of the entries in `messages`.
    message_bytes: usize,
    /// What callers want written; as many as `slots` wait for.
    pub(crate) payloads: Vec<Payload>,
    /// Who waits for `payloads`, in the same order.
    pub(crate) slots: Vec<Slot<S::Response>>,
    /// The size of `payloads`, as the limits count it.
    pub(crate) payload_bytes: usize,
    /// What callers want written by the leader of a term only.
    pub(crate) conditional: Vec<Conditional<S::Response>>,
    /// What callers want read, and how new that must be.
    pub(crate) reads: Vec<(Consistency, BoxedRead<S>)>,
}

/// A write that is proposed by itself, for the leader of one term.
pub(crate) struct Conditional<R> {
    pub(crate) term: Term,
    pub(crate) payload: Payload,
    pub(crate) slot: Slot<R>,
}

/// What lies in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mail {
    Nothing,
    /// Only requests, of fewer callers than were expected.
    SomeCallers,
    /// Only requests, of as many callers.
    AllCallers,
    /// Messages or notices.
    Urgent,
}

/// Something that happened on this node.
pub(crate) enum Notice {
    /// For the engine.
    Event(Event),
    /// A lane can take commands again.
    Room(Lane),
    /// Somebody wants other members.
    Change(Arc<ChangeRequest>, OrderSlot),
    /// Somebody wants something else of this node.
    Order(Order, OrderSlot),
    /// The node is to stop.
    Stop,
}

impl<S: LargeStateMachine> Default for Arrivals<S> {
    fn default() -> Self {
        Self {
            notices: Vec::new(),
            messages: Vec::new(),
            message_bytes: 0,
            payloads: Vec::new(),
            slots: Vec::new(),
            payload_bytes: 0,
            conditional: Vec::new(),
            reads: Vec::new(),
        }
    }
}

impl<S: LargeStateMachine> Queue for Arrivals<S> {
    fn is_empty(&self) -> bool {
        !self.is_urgent() && self.payloads.is_empty() && self.conditional.is_empty() && self.reads.is_empty()
    }
}

impl<S: LargeStateMachine> Arrivals<S> {
    /// How many callers want something.
    pub(crate) fn callers(&self) -> usize {
        self.slots.len() + self.conditional.len() + self.reads.len()
    }

    /// Whether there is more than requests.
    fn is_urgent(&self) -> bool {
        !self.notices.is_empty() || !self.messages.is_empty()
    }

    /// Notes that all messages and writes have been dealt with.
    pub(crate) fn emptied(&mut self) {
        assert!(self.is_empty() && self.slots.is_empty(), "{} slots are left", self.slots.len());
        (self.message_bytes, self.payload_bytes) = (0, 0);
    }

    /// Answers all callers: nobody has looked at what they want.
    pub(crate) fn refuse(self, failure: Failure) {
        let conditional = self.conditional.into_iter().map(|write| write.slot);
        self.slots.into_iter().chain(conditional).for_each(|slot| slot.fail(failure));
        self.reads.into_iter().for_each(|(_, read)| read.fail(failure));
    }
}

/// RaftCore's mailbox, with its limits.
pub(crate) struct Inbox<S: LargeStateMachine> {
    mailbox: Mailbox<Arrivals<S>>,
    limits: Limits,
    /// How many times in a row RaftCore took the request of one caller alone; at most `SINGLE_REQUESTS`.
    single_requests: AtomicU32,
}

impl<S: LargeStateMachine> Inbox<S> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { mailbox: Mailbox::new(), limits, single_requests: AtomicU32::new(0) }
    }

    /// Puts in one command. A failure says that it was not put in, and drops the slot unanswered.
    pub(crate) fn write(&self, payload: Payload, slot: Slot<S::Response>) -> Result<(), Failure> {
        let bytes = payload.bytes();
        self.request(1, bytes, |arrivals| {
            arrivals.payloads.push(payload);
            arrivals.slots.push(slot);
            arrivals.payload_bytes += bytes;
        })
    }

    /// Puts in one command for the leader of a term only.
    pub(crate) fn write_conditional(&self, write: Conditional<S::Response>) -> Result<(), Failure> {
        let bytes = write.payload.bytes();
        self.request(1, bytes, |arrivals| {
            arrivals.conditional.push(write);
            arrivals.payload_bytes += bytes;
        })
    }

    /// Puts in commands that stay together, each with its slot.
    pub(crate) fn write_each(&self, payloads: Vec<Payload>, slots: Vec<Slot<S::Response>>) -> Result<(), Failure> {
        assert!(slots.len() == payloads.len(), "{} payloads for {} slots", payloads.len(), slots.len());
        let bytes = payloads.iter().map(Payload::bytes).sum::<usize>();
        self.request(payloads.len(), bytes, |arrivals| {
            arrivals.payloads.extend(payloads);
            arrivals.slots.extend(slots);
            arrivals.payload_bytes += bytes;
        })
    }

    /// Puts in the commands of a group.
    pub(crate) fn write_group(&self, payloads: Vec<Payload>, slot: Slot<S::Response>) -> Result<(), Failure> {
        assert!(slot.missing() == payloads.len(), "{} payloads for {} places", payloads.len(), slot.missing());
        let bytes = payloads.iter().map(Payload::bytes).sum::<usize>();
        self.request(payloads.len(), bytes, |arrivals| {
            arrivals.payloads.extend(payloads);
            arrivals.slots.push(slot);
            arrivals.payload_bytes += bytes;
        })
    }

    pub(crate) fn read(&self, consistency: Consistency, read: BoxedRead<S>) -> Result<(), Failure> {
        self.request(1, 0, |arrivals| arrivals.reads.push((consistency, read)))
    }

    fn request(&self, count: usize, bytes: usize, put: impl FnOnce(&mut Arrivals<S>)) -> Result<(), Failure> {
        let outcome = self.mailbox.put(|arrivals| {
            let waiting = arrivals.payloads.len() + arrivals.conditional.len() + arrivals.reads.len();
            let bounds = [
                (waiting, count, self.limits.requests_max),
                (arrivals.payload_bytes, bytes, self.limits.requests_bytes_max),
            ];
            for (current, added, limit) in bounds {
                // What is larger than the limit by itself still gets in where nothing waits.
                if current > 0 && current.saturating_add(added) > limit {
                    return Err(Failure::Refused(Refusal::Overloaded { current, limit }));
                }
            }
            put(arrivals);
            Ok(())
        });
        outcome.unwrap_or(Err(Failure::Stopped))
    }

    /// Tells the engine what happened.
    pub(crate) fn notify(&self, event: Event) {
        self.notice(Notice::Event(event));
    }

    /// Tells RaftCore what happened; it does not matter any more once that has gone.
    pub(crate) fn notice(&self, notice: Notice) {
        let _: Option<()> = self.mailbox.put(|arrivals| arrivals.notices.push(notice));
    }

    /// RaftCore has taken the requests of so many callers together, at least one.
    pub(crate) fn came_together(&self, callers: usize) {
        let before = self.single_requests.load(Ordering::Relaxed);
        let now = if callers == 1 { (before + 1).min(SINGLE_REQUESTS) } else { 0 };
        if now != before {
            self.single_requests.store(now, Ordering::Relaxed);
        }
    }

    /// Whether there seems to be one caller only. Just a hint: it may be out of date.
    pub(crate) fn has_one_caller(&self) -> bool {
        self.single_requests.load(Ordering::Relaxed) == SINGLE_REQUESTS
    }

    /// What a take would find, when so many callers are expected.
    pub(crate) fn mail(&self, callers: usize) -> Mail {
        self.mailbox.look(|arrivals| {
            if arrivals.is_empty() {
                Mail::Nothing
            } else if arrivals.is_urgent() {
                Mail::Urgent
            } else if arrivals.callers() >= callers {
                Mail::AllCallers
            } else {
                Mail::SomeCallers
            }
        })
    }

    pub(crate) fn poll_take(&self, taken: &mut Arrivals<S>, context: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_take(taken, context)
    }

    /// Takes in nothing any more, and tells those who wait in it.
    pub(crate) fn close(&self) {
        self.mailbox.close().refuse(Failure::Stopped);
    }
}

/// The end of the inbox that the transport has.
pub(crate) struct Inlet<S: LargeStateMachine>(pub(crate) Arc<Inbox<S>>);

impl<S: LargeStateMachine> Receive for Inlet<S> {
    fn receive(&self, from: Peer, message: Option<Message>) -> bool {
        let limits = &self.0.limits;
        let bytes = message.as_ref().map_or(0, entry_bytes);
        let taken = self.0.mailbox.put(|arrivals| {
            // What carries nothing takes no such room: a vote is not lost because a large entry waits.
            let is_alone = bytes == 0 || arrivals.message_bytes == 0;
            let has_room = arrivals.messages.len() < limits.messages_max
                && (is_alone || arrivals.message_bytes + bytes <= limits.messages_bytes_max);
            if has_room {
                arrivals.message_bytes += bytes;
                arrivals.messages.push((from, message));
            }
            has_room
        });
        taken.unwrap_or(false)
    }

    fn refused(&self, by: Peer, met: Option<Incarnation>, reason: String) {
        self.0.notify(Event::Refused { by, met, reason });
    }

    fn misfit(&self, node: NodeId, reason: String) {
        self.0.notify(Event::Misfit { node, reason });
    }
}

/// The size of the entries that a message carries.
fn entry_bytes(message: &Message) -> usize {
    match message {
        Message::AppendEntries(append) => append.batches.iter().map(outrigger_engine::Batch::bytes).sum(),
        Message::Propose { entries, .. } => entries.iter().map(Payload::bytes).sum(),
        Message::InstallSnapshot(piece) => piece.chunk.len(),
        Message::PreVote(_)
        | Message::PreVoteReply(_)
        | Message::RequestVote(_)
        | Message::RequestVoteReply(_)
        | Message::AppendEntriesReply(_)
        | Message::InstallSnapshotReply(_)
        | Message::DelegateSnapshot(_)
        | Message::Heartbeat(_)
        | Message::HeartbeatReply(_)
        | Message::Committed { .. }
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. }
        | Message::ProposeReply { .. }
        | Message::TimeoutNow { .. }
        | Message::HashState { .. }
        | Message::StateHashed { .. }
        | Message::StateDiffers { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Waker;

    use bytes::Bytes;
    use outrigger_engine::{
        AppendEntries, Batch, Epoch, Genesis, InstallSnapshot, LogId, LogIndex, LogTime, Membership, NodeId, RequestId,
        Snapshot, SnapshotId,
    };
    use tokio::sync::oneshot;

    use super::super::nothing::Nothing;
    use super::super::respond::{ReadAnswer, ReadClosure, Reply};
    use super::*;

    const FROM: Peer = Peer::new(NodeId(2), Incarnation { id: 2, start: 1, nonce: 3 });

    /// A message that carries an entry, and the bytes that this counts for.
    fn carrying(bytes: usize) -> (Message, usize) {
        let entry = Payload::command(vec![0; bytes].into());
        let counts = entry.bytes();
        (Message::Propose { term: Term(1), request: RequestId(1), entries: [entry].into() }, counts)
    }

    fn small() -> Message {
        Message::Committed { term: Term(1), commit: LogIndex(1) }
    }

    /// What is not taken counts as lost: it must not be what costs no memory, nor all that is larger than the limit.
    #[test]
    fn messages_are_taken_up_to_a_number_and_a_size_and_what_is_larger_alone() {
        let (message, bytes) = carrying(1_000);
        let limits = Limits { messages_max: 5, messages_bytes_max: 2 * bytes, ..Limits::default() };
        let inlet = Inlet(Arc::new(Inbox::<Nothing>::new(limits)));
        let receive = |message: &Message| inlet.receive(FROM, Some(message.clone()));
        let mut taken = Arrivals::default();
        let mut context = Context::from_waker(Waker::noop());
        // As often as the inbox is emptied there is as much room again.
        for _ in 0..3 {
            assert_eq!([(); 3].map(|()| receive(&message)), [true, true, false]);
            assert_eq!([(); 4].map(|()| receive(&small())), [true, true, true, false]);
            assert!(inlet.0.poll_take(&mut taken, &mut context).is_ready());
            assert_eq!(taken.messages.len(), 5);
            taken.messages.clear();
            taken.emptied();
        }
        let (large, _) = carrying(10_000);
        assert_eq!([(); 2].map(|()| receive(&large)), [true, false], "it passes alone, or never");
        assert!(receive(&small()));
    }

    /// What is larger than all that may wait is not taken beside anything, whatever carries it.
    #[test]
    fn a_message_counts_as_large_as_the_entries_or_the_piece_of_a_snapshot_that_it_carries() {
        let (term, epoch, request) = (Term(1), Epoch(1), RequestId(1));
        let entry = |bytes| Payload::command(vec![0; bytes].into());
        let batches = [(1, 100), (2, 200)]
            .map(|(index, bytes)| Batch::new(LogId::new(1, index), LogTime(0), [entry(bytes)].into()))
            .to_vec();
        let (prev, commit) = (LogId::ZERO, LogIndex::ZERO);
        let append = Message::AppendEntries(AppendEntries { term, epoch, request, prev, batches, commit });
        assert_eq!(entry_bytes(&append), entry(100).bytes() + entry(200).bytes());

        let id = SnapshotId { last: LogId::new(1, 1), bytes: 300, checksum: 0 };
        let membership = Arc::new(Membership::default());
        let snapshot = Arc::new(Snapshot {
            id,
            log_time: LogTime(0),
            membership,
            membership_at: LogId::ZERO,
            genesis: Genesis::UNKNOWN,
        });
        let (leader, chunk) = (NodeId(1), vec![0; 300].into());
        let piece = InstallSnapshot { term, leader, epoch, request, snapshot, offset: 0, chunk };
        assert_eq!(entry_bytes(&Message::InstallSnapshot(piece)), 300);
        assert_eq!(entry_bytes(&small()), 0);
    }

    type Answer = oneshot::Receiver<ReadAnswer<fn(&Nothing), ()>>;

    /// What callers ask of a node, in each of the ways there are.
    struct Asking {
        inbox: Inbox<Nothing>,
        /// What was taken last, emptied: it is filled again, as in `RaftCore`.
        taken: RefCell<Arrivals<Nothing>>,
    }

    impl Asking {
        fn new(limits: Limits) -> Self {
            Self { inbox: Inbox::new(limits), taken: RefCell::default() }
        }

        fn one(&self, payload: Payload) -> (Result<(), Failure>, Reply<()>) {
            let (slot, reply) = Slot::one();
            (self.inbox.write(payload, slot), reply)
        }

        fn conditional(&self, payload: Payload) -> (Result<(), Failure>, Reply<()>) {
            let (slot, reply) = Slot::one();
            (self.inbox.write_conditional(Conditional { term: Term(1), payload, slot }), reply)
        }

        fn each(&self, payload: Payload) -> Result<(), Failure> {
            self.inbox.write_each(vec![payload], vec![Slot::one().0])
        }

        fn group(&self, payload: Payload) -> Result<(), Failure> {
            self.inbox.write_group(vec![payload], Slot::group(1).0)
        }

        fn read(&self) -> (Result<(), Failure>, Answer) {
            let (sender, receiver) = oneshot::channel();
            let read: fn(&Nothing) = |_| ();
            (self.inbox.read(Consistency::Linearizable, Box::new(ReadClosure { read, sender })), receiver)
        }

        fn empty(&self) {
            let mut taken = self.taken.borrow_mut();
            assert!(self.inbox.poll_take(&mut taken, &mut Context::from_waker(Waker::noop())).is_ready());
            taken.payloads.clear();
            taken.slots.clear();
            taken.conditional.clear();
            taken.reads.clear();
            taken.emptied();
        }
    }

    fn overloaded(amount: usize) -> Result<(), Failure> {
        Err(Failure::Refused(Refusal::Overloaded { current: amount, limit: amount }))
    }

    #[test]
    fn callers_of_every_kind_are_taken_up_to_a_number() {
        let asking = Asking::new(Limits { requests_max: 5, ..Limits::default() });
        let payload = || Payload::command(Bytes::new());
        for _ in 0..2 {
            let taken = [asking.one(payload()).0, asking.conditional(payload()).0, asking.read().0];
            assert_eq!((taken, asking.each(payload()), asking.group(payload())), ([Ok(()); 3], Ok(()), Ok(())));
            let refused = [asking.one(payload()).0, asking.conditional(payload()).0, asking.read().0];
            assert_eq!((refused, asking.each(payload())), ([overloaded(5); 3], overloaded(5)));
            assert_eq!(asking.group(payload()), overloaded(5));
            asking.empty();
        }
    }

    #[test]
    fn commands_of_every_kind_are_taken_up_to_a_size_and_what_is_larger_alone() {
        let payload = || Payload::command(vec![0; 1_000].into());
        let limit = 4 * payload().bytes();
        let asking = Asking::new(Limits { requests_bytes_max: limit, ..Limits::default() });
        for _ in 0..3 {
            let taken = [asking.one(payload()).0, asking.conditional(payload()).0];
            assert_eq!((taken, asking.each(payload()), asking.group(payload())), ([Ok(()); 2], Ok(()), Ok(())));
            assert!(asking.one(Payload::command(Bytes::new())).0.is_err(), "every entry has a size");
            assert_eq!(asking.read().0, Ok(()), "a read has none");
            asking.empty();
        }
        let large = || Payload::command(vec![0; 10_000].into());
        assert_eq!(asking.conditional(large()).0, Ok(()), "it passes alone, or never");
        assert!(asking.one(payload()).0.is_err());
    }

    /// What a node never looked at was certainly not done.
    #[test]
    fn who_is_not_taken_in_before_the_end_hears_that_the_node_has_stopped() {
        let asking = Asking::new(Limits::default());
        let payload = || Payload::command(Bytes::new());
        let ((_, mut one), (_, mut conditional), (_, mut read)) =
            (asking.one(payload()), asking.conditional(payload()), asking.read());
        asking.inbox.close();
        assert_eq!([one.look(), conditional.look()], [const { Some(Err(Failure::Stopped)) }; 2]);
        assert!(matches!(read.try_recv(), Ok(ReadAnswer::NotRun(_, Failure::Stopped))));
        assert_eq!(asking.one(payload()).0, Err(Failure::Stopped));
    }
}
