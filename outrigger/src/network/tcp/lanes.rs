//! The two lanes to one peer: messages wait here until the connection's task takes them.
//!
//! ```text
//!   push_urgent ──► ▒▒▒▒▒▒ ─┐
//!                           ├─ take: urgent ones first, then bulk, up to a batch of bytes
//!   push_bulk ────► ▒▒▒▒▒▒ ─┘  └─► wakes who waits for room in the bulk lane
//! ```

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use outrigger_engine::Message;
use tokio::sync::Notify;

use crate::network::codec;

/// How much may wait in one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Messages.
    pub(super) messages_max: usize,
    /// Their bytes. A message that begins below it may exceed it.
    pub(super) bytes_max: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// What waits, in order.
    messages: VecDeque<Message>,
    /// The bytes of `messages`, as [`codec::bytes`] counts them.
    bytes: usize,
}

impl Lane {
    fn has_room(&self, limits: LaneLimits) -> bool {
        self.messages.len() < limits.messages_max && self.bytes < limits.bytes_max
    }

    fn push(&mut self, message: Message) {
        self.bytes += codec::bytes(&message);
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= codec::bytes(&message);
        assert!(!self.messages.is_empty() || self.bytes == 0, "an empty lane of {} bytes", self.bytes);
        Some(message)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is a connection; while not, the lanes are empty and what is pushed is lost.
    open: bool,
    /// Votes, heartbeats, answers.
    urgent: Lane,
    /// Entries.
    bulk: Lane,
    /// Whether the connection's task found nothing and must be told of the next message.
    idle: bool,
    /// Who waits for room in the bulk lane.
    waiting: Vec<Waker>,
}

/// The lanes to one peer.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    /// Tells the connection's task that there is something again.
    filled: Notify,
    /// Of the urgent lane: what finds it full is lost.
    urgent_limits: LaneLimits,
    /// Of the bulk lane: who finds it full waits.
    bulk_limits: LaneLimits,
}

impl Lanes {
    pub(super) fn new(urgent_limits: LaneLimits, bulk_limits: LaneLimits) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), urgent_limits, bulk_limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection: messages are kept from now on.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        assert!(state.urgent.messages.is_empty() && state.bulk.messages.is_empty(), "a closed lane kept messages");
        state.open = true;
    }

    /// The connection is gone, and what waited is lost.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            std::mem::take(&mut *state).waiting
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn push_urgent(&self, message: Message) {
        let mut state = self.lock();
        if state.open && state.urgent.has_room(self.urgent_limits) {
            state.urgent.push(message);
            self.tell(&mut state);
        }
    }

    pub(super) fn push_bulk(&self, message: Message) {
        let mut state = self.lock();
        if state.open {
            state.bulk.push(message);
            self.tell(&mut state);
        }
    }

    fn tell(&self, state: &mut State) {
        if std::mem::take(&mut state.idle) {
            self.filled.notify_one();
        }
    }

    pub(super) fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.open || state.bulk.has_room(self.bulk_limits) {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Takes messages, urgent ones first, until they have `bytes_max` bytes or nothing is left.
    pub(super) fn take(&self, taken: &mut Vec<Message>, bytes_max: usize) {
        let mut state = self.lock();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(message) = state.urgent.pop().or_else(|| state.bulk.pop()) else { break };
            bytes += codec::bytes(&message);
            taken.push(message);
        }
        state.idle = taken.is_empty();
        if state.bulk.has_room(self.bulk_limits) {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Has the connection's task look, though nothing may be there.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits until there may be something to take.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::{LogIndex, Term};

    use super::*;

    fn message(number: u64) -> Message {
        Message::Committed { term: Term(1), commit: LogIndex(number) }
    }

    fn lanes(messages_max: usize) -> Lanes {
        let limits = LaneLimits { messages_max, bytes_max: usize::MAX };
        let lanes = Lanes::new(limits, limits);
        lanes.open();
        lanes
    }

    fn taken(lanes: &Lanes, bytes_max: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        lanes.take(&mut taken, bytes_max);
        taken
    }

    #[test]
    fn urgent_messages_overtake_bulk_ones_and_order_holds_within_a_lane() {
        let lanes = lanes(9);
        lanes.push_bulk(message(1));
        lanes.push_bulk(message(2));
        lanes.push_urgent(message(3));
        lanes.push_urgent(message(4));
        assert_eq!(taken(&lanes, 1), [message(3)]);
        assert_eq!(taken(&lanes, usize::MAX), [message(4), message(1), message(2)]);
    }

    #[test]
    fn a_full_urgent_lane_loses_and_a_full_bulk_lane_makes_wait() {
        let lanes = lanes(2);
        (1..=3).for_each(|number| lanes.push_urgent(message(number)));
        let context = Context::from_waker(Waker::noop());
        assert!(lanes.poll_ready(&context).is_ready());
        lanes.push_bulk(message(4));
        lanes.push_bulk(message(5));
        assert!(lanes.poll_ready(&context).is_pending());
        assert_eq!(taken(&lanes, usize::MAX), [message(1), message(2), message(4), message(5)]);
        assert!(lanes.poll_ready(&context).is_ready());
    }

    /// A peer that takes nothing in is asked about for as long as it is there.
    #[test]
    fn whoever_asks_again_whether_there_is_room_is_noted_once() {
        let lanes = lanes(1);
        lanes.push_bulk(message(1));
        let context = Context::from_waker(Waker::noop());
        assert!([(); 3].iter().all(|()| lanes.poll_ready(&context).is_pending()));
        assert_eq!(lanes.lock().waiting.len(), 1);
    }

    #[test]
    fn bytes_fill_a_lane_as_counts_do() {
        let limits = LaneLimits { messages_max: 100, bytes_max: codec::bytes(&message(1)) + 1 };
        let lanes = Lanes::new(limits, limits);
        lanes.open();
        (1..=3).for_each(|number| lanes.push_urgent(message(number)));
        assert_eq!(taken(&lanes, usize::MAX), [message(1), message(2)]);
    }

    #[test]
    fn a_closed_lane_is_ready_and_loses_everything() {
        let lanes = lanes(1);
        lanes.push_bulk(message(1));
        let context = Context::from_waker(Waker::noop());
        assert!(lanes.poll_ready(&context).is_pending());
        lanes.close();
        assert!(lanes.poll_ready(&context).is_ready());
        lanes.push_bulk(message(2));
        lanes.push_urgent(message(3));
        lanes.open();
        assert_eq!(taken(&lanes, usize::MAX), []);
    }
}
