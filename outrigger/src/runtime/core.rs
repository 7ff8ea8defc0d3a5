//! RaftCore: the task that owns the engine. It takes in what has arrived, steps the engine, runs its commands, and
//! sleeps until more arrives or a deadline comes.
//!
//! ```text
//!      callers ─┐                                  ┌─► log writer
//!        peers ─┼─► Inbox ──► RaftCore ─ Driver ───┼─► state machine worker
//!  completions ─┘    ▲         (engine)            ├─► replication streams, transport
//!                    │                             └─► callers, metrics
//!                    └─────────── completions ◄────────────┘
//! ```
//!
//! It never waits for storage, network, the state machine or a watcher of its metrics: a slow disk must not stop
//! heartbeats, votes or reads. All writes that have come together become one proposal, and one round of heartbeats
//! confirms all reads.

use std::future::poll_fn;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use outrigger_engine::{Event, Instant, Lane, Membership, Message, Payload, Refusal, Token};
use tokio::time::Sleep;

use super::apply::decode;
use super::arrivals::{Arrivals, Conditional, Inbox, Mail, Notice};
use super::clock::Clock;
use super::command::TokioRuntime;
use super::driver::Driver;
use super::publish::Publisher;
use super::respond::{Asked, Doubt, Failure, Slot};
use super::spin::Spin;
use crate::LargeStateMachine;

/// Callers that have waited for too long are looked for so often in the time that they may wait.
const LOOKS_PER_TIMEOUT: u32 = 10;
/// How often RaftCore looks for more before it sleeps; a look takes about 100 ns if the other tasks have nothing to do...
const LOOKS_MAX: u32 = 1_000;
/// ... and for how long, if they have. Longer than a caller needs to wake up.
const LOOKS_FOR: Duration = Duration::from_micros(100);

/// See the module.
pub(crate) struct Core<S: LargeStateMachine> {
    driver: Driver,
    runtime: TokioRuntime<S>,
    publisher: Publisher,
    inbox: Arc<Inbox<S>>,
    /// What was taken from the inbox; empty between two rounds, with the capacity that it has grown.
    arrivals: Arrivals<S>,
    clock: Clock,
    /// Whether to look for more before sleeping.
    spin: Spin,
    /// How many callers may come back together: as many as came last. None on a node that nobody calls.
    expected_callers: usize,
    /// Rings at `rings_at`.
    alarm: Pin<Box<Sleep>>,
    rings_at: Instant,
    /// How long callers wait.
    request_timeout: Duration,
    /// When to look next for callers that have waited for too long.
    next_look: Instant,
    /// Writes that have come together are proposed together, up to this size.
    proposal_bytes_max: usize,
    /// What a new cluster begins with, on the first start.
    initialize: Option<Arc<Membership>>,
    /// Whether the node was told to stop.
    is_stopping: bool,
}

impl<S: LargeStateMachine> Core<S> {
    pub(crate) fn new(
        driver: Driver,
        runtime: TokioRuntime<S>,
        publisher: Publisher,
        inbox: Arc<Inbox<S>>,
        clock: Clock,
        (request_timeout, proposal_bytes_max, processors): (Duration, usize, usize),
        initialize: Option<Arc<Membership>>,
    ) -> Self {
        let now = clock.now();
        let next_look = now + request_timeout / LOOKS_PER_TIMEOUT;
        Self {
            driver,
            runtime,
            publisher,
            inbox,
            arrivals: Arrivals::default(),
            clock,
            spin: Spin::new(LOOKS_MAX, processors),
            expected_callers: 0,
            alarm: Box::pin(tokio::time::sleep_until(clock.at(next_look))),
            rings_at: next_look,
            request_timeout,
            next_look,
            proposal_bytes_max,
            initialize,
            is_stopping: false,
        }
    }

    /// Runs until the node is told to stop, or stops by a fault, which it answers.
    pub(crate) async fn run(mut self) -> Option<String> {
        let now = self.clock.now();
        self.driver.start(now, &mut self.runtime);
        if let Some(membership) = self.initialize.take() {
            self.step(Event::Initialize { token: Token(0), membership }, now);
        }
        self.settle(now);
        while !self.is_stopping && self.runtime.fault.is_none() {
            self.wait().await;
            // Once for all that has arrived, and after it: what came in time is not judged by a later clock.
            let now = self.clock.now();
            self.take_in(now);
            self.keep_time(now);
            self.settle(now);
        }
        self.inbox.close();
        self.runtime.stop().await;
        let fault = self.runtime.fault.take().map(|fault| fault.to_string());
        self.publisher.publish_last(self.driver.engine().status(), fault.clone());
        fault
    }

    /// Waits until something arrives or the alarm rings. Looks for more before it sleeps, when nothing is left to do but
    /// to wait for callers: those who were answered just now may come back together.
    async fn wait(&mut self) {
        let deadline = [self.driver.poll_timeout(), self.publisher.due(), Some(self.next_look)];
        let deadline = deadline.into_iter().flatten().min().unwrap_or(self.next_look);
        if deadline != self.rings_at {
            self.rings_at = deadline;
            self.alarm.as_mut().reset(self.clock.at(deadline));
        }
        if self.expected_callers > 0 && self.runtime.has_applied_all() {
            self.spin.begin();
        } else {
            self.spin.begin_asleep();
        }
        let began = self.clock.now();
        let mut has_yielded = false;
        poll_fn(|context| {
            let mail = self.inbox.mail(self.expected_callers);
            if mail >= Mail::AllCallers && has_yielded {
                if mail == Mail::AllCallers {
                    self.spin.found();
                }
                return self.inbox.poll_take(&mut self.arrivals, context);
            }
            if self.alarm.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let is_first_mail = mail != Mail::Nothing && !has_yielded;
            has_yielded |= is_first_mail;
            if is_first_mail || self.spin.looks_again(|| self.clock.now().since(began) >= LOOKS_FOR) {
                // Let the other tasks of this thread run first: more comes together meanwhile.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.inbox.poll_take(&mut self.arrivals, context)
        })
        .await;
    }

    fn step(&mut self, event: Event, now: Instant) {
        self.driver.step(event, now, &mut self.runtime);
        if self.runtime.is_durable(self.driver.engine().flushed_index()) {
            self.driver.room(Lane::Apply, now, &mut self.runtime);
        }
    }

    /// Hands all that has arrived to the engine: completions, then messages, then what callers want.
    fn take_in(&mut self, now: Instant) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for notice in arrivals.notices.drain(..) {
            match notice {
                Notice::Event(event) => self.complete(event, now),
                Notice::Room(lane) => self.driver.room(lane, now, &mut self.runtime),
                Notice::Change(request, slot) => {
                    let token = self.runtime.callers.wait_for_order(slot);
                    self.step(Event::ChangeMembers { token, request }, now);
                }
                Notice::Order(order, slot) => {
                    let token = self.runtime.callers.wait_for_order(slot);
                    self.step(order.event(token), now);
                }
                Notice::Stop => self.is_stopping = true,
            }
        }
        for (from, message) in arrivals.messages.drain(..) {
            if message.is_none() {
                self.publisher.addresses_changed();
            }
            if let Some(Message::Propose { request, entries, .. }) = &message
                && !decode::<S>(entries)
            {
                let outcome = Err(Refusal::Undecodable);
                self.runtime.transport.send(from.node, Message::ProposeReply { request: *request, outcome });
                continue;
            }
            self.step(Event::Received { from, message }, now);
        }
        let callers = arrivals.callers();
        if callers > 0 {
            self.inbox.came_together(callers);
            self.expected_callers = callers;
        }
        self.propose(&mut arrivals, now);
        self.read(&mut arrivals, now);
        arrivals.emptied();
        self.arrivals = arrivals;
    }

    fn complete(&mut self, event: Event, now: Instant) {
        let has_room = match &event {
            Event::Applied { last } => self.runtime.applied(*last),
            _ => false,
        };
        self.step(event, now);
        if has_room {
            self.driver.room(Lane::Apply, now, &mut self.runtime);
        }
    }

    /// Proposes all that callers want written, in one piece if it is not too large.
    fn propose(&mut self, arrivals: &mut Arrivals<S>, now: Instant) {
        while !arrivals.slots.is_empty() {
            let (slots, payloads) = if arrivals.payload_bytes <= self.proposal_bytes_max {
                (arrivals.slots.len(), arrivals.payloads.len())
            } else {
                first_piece(&arrivals.slots, &arrivals.payloads, self.proposal_bytes_max)
            };
            let slots: Vec<_> = arrivals.slots.drain(..slots).collect();
            let entries: Arc<[Payload]> = arrivals.payloads.drain(..payloads).collect();
            let token = self.runtime.callers.wait(Asked::Writes(slots), now + self.request_timeout);
            self.step(Event::Propose { token, entries, only_in: None }, now);
        }
        assert!(arrivals.payloads.is_empty(), "nobody waits for {} commands", arrivals.payloads.len());
        for Conditional { term, payload, slot } in arrivals.conditional.drain(..) {
            let token = self.runtime.callers.wait(Asked::Writes(vec![slot]), now + self.request_timeout);
            self.step(Event::Propose { token, entries: Arc::new([payload]), only_in: Some(term) }, now);
        }
    }

    /// Asks for all that callers want read: once for those that want it equally new.
    fn read(&mut self, arrivals: &mut Arrivals<S>, now: Instant) {
        if !arrivals.reads.is_sorted_by_key(|(consistency, _)| *consistency) {
            arrivals.reads.sort_by_key(|(consistency, _)| *consistency);
        }
        let mut reads = arrivals.reads.drain(..).peekable();
        while let Some((consistency, first)) = reads.next() {
            let mut together = vec![first];
            together.extend(iter::from_fn(|| reads.next_if(|(next, _)| *next == consistency)).map(|(_, read)| read));
            let token = self.runtime.callers.wait(Asked::Reads(together), now + self.request_timeout);
            self.driver.step(Event::Read { token, consistency }, now, &mut self.runtime);
        }
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Instant) {
        if self.driver.poll_timeout().is_some_and(|due| due <= now) {
            self.step(Event::Timeout, now);
        }
        if self.next_look <= now {
            self.next_look = now + self.request_timeout / LOOKS_PER_TIMEOUT;
            self.runtime.expire(now);
            self.publisher.addresses_changed();
        }
    }

    /// Deals with what follows at once, until nothing does; then lets the others have their part.
    fn settle(&mut self, now: Instant) {
        loop {
            let flushed = self.runtime.log.take_flushed().map(|write| Event::LogFlushed { write });
            let Some(event) = flushed.or_else(|| self.runtime.completions.pop_front()) else { break };
            self.step(event, now);
        }
        let engine = self.driver.engine();
        self.runtime.committing.answer(engine.commit_index(), |index| engine.log_id(index));
        self.runtime.hand_over_jobs();
        let (transport, fault) = (self.runtime.transport.as_ref(), self.runtime.fault.as_ref());
        if let Some(status) = self.publisher.publish(&self.driver, transport, fault, now) {
            self.runtime.tail.evict(status.applied.min(status.flushed));
        }
    }
}

/// However RaftCore ends, nobody waits for it.
impl<S: LargeStateMachine> Drop for Core<S> {
    fn drop(&mut self) {
        self.inbox.close();
        self.runtime.callers.fail_all(Failure::Unknown(Doubt::Stopped));
    }
}

/// How many slots, and the payloads that belong to them, fit a size; at least one slot.
fn first_piece<R>(slots: &[Slot<R>], payloads: &[Payload], bytes_max: usize) -> (usize, usize) {
    let (mut bytes, mut taken) = (0, (0, 0));
    for slot in slots {
        let end = taken.1 + slot.missing();
        bytes += payloads[taken.1..end].iter().map(Payload::bytes).sum::<usize>();
        if taken.0 > 0 && bytes > bytes_max {
            break;
        }
        taken = (taken.0 + 1, end);
    }
    taken
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn payloads(sizes: &[usize]) -> Vec<Payload> {
        sizes.iter().map(|size| Payload::command(Bytes::from(vec![0; *size]))).collect()
    }

    /// What is cut apart is proposed and answered as what it is: whole groups, in their order, and none that is left for ever.
    #[test]
    fn a_piece_of_what_came_together_ends_with_a_group_and_within_its_size_unless_one_alone_is_larger() {
        let payloads = payloads(&[10, 20, 30, 40, 1_000]);
        let size = |range: std::ops::Range<usize>| payloads[range].iter().map(Payload::bytes).sum::<usize>();
        let slots = [Slot::<()>::one().0, Slot::group(2).0, Slot::one().0, Slot::one().0];
        let piece = |slots: &[Slot<()>], from: usize, bytes_max| first_piece(slots, &payloads[from..], bytes_max);
        assert_eq!(piece(&slots, 0, size(0..3)), (2, 3), "it fits exactly");
        assert_eq!(piece(&slots, 0, size(0..3) - 1), (1, 1), "a group stays together");
        assert_eq!(piece(&slots, 0, size(0..4)), (3, 4));
        assert_eq!(piece(&slots[1..], 1, size(1..2)), (1, 2), "one that is larger goes alone");
        assert_eq!(piece(&slots[3..], 4, 1), (1, 1));
        assert_eq!(piece(&slots, 0, size(0..5)), (4, 5));
    }
}
