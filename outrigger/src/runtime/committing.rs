//! Who waits for a commit: callers that do not care what the state machine answers, and need not wait until it has come so far.

use std::collections::VecDeque;

use outrigger_engine::{Instant, LogId, LogIndex, Refusal};
use tokio::sync::oneshot;

use super::respond::{Doubt, Failure, Slot};

#[derive(Debug)]
struct Caller {
    /// The entry that it waits for.
    id: LogId,
    /// Until when.
    deadline: Instant,
    sender: oneshot::Sender<Result<LogId, Failure>>,
}

impl Caller {
    fn answer(self, answer: Result<LogId, Failure>) {
        // One that has gone away wants no answer.
        let _ = self.sender.send(answer);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Committing {
    /// Ordered by index.
    callers: VecDeque<Caller>,
}

impl Committing {
    /// Takes in, of those who wait for the entries from `first` on, who waits for a commit only.
    pub(crate) fn wait<R>(&mut self, slots: &mut [Slot<R>], first: LogId, deadline: Instant) {
        let mut index = first.index;
        for slot in slots {
            let next = LogIndex(index.0 + slot.missing() as u64);
            if matches!(slot, Slot::Committed(_))
                && let Slot::Committed(sender) = std::mem::replace(slot, Slot::Nobody)
            {
                let place = self.callers.partition_point(|other| other.id.index <= index);
                self.callers.insert(place, Caller { id: LogId { index, ..first }, deadline, sender });
            }
            index = next;
        }
    }

    /// Answers those whose entry is committed, or another one in its place; `log_id` tells which one is, if that is still known.
    pub(crate) fn answer(&mut self, commit_index: LogIndex, log_id: impl Fn(LogIndex) -> Option<LogId>) {
        while self.callers.front().is_some_and(|caller| caller.id.index <= commit_index)
            && let Some(caller) = self.callers.pop_front()
        {
            let answer = match log_id(caller.id.index) {
                Some(committed) if committed == caller.id => Ok(committed),
                // By Log Matching (Raft paper, section 5.3) no log that has this one ever holds the caller's.
                Some(_) => Err(Failure::Refused(Refusal::NotLeader)),
                None => Err(Failure::Unknown(Doubt::LateAnswer)),
            };
            caller.answer(answer);
        }
    }

    /// What becomes of the entries from an index on is not known any more.
    pub(crate) fn abandon(&mut self, from: LogIndex) {
        let staying = self.callers.partition_point(|caller| caller.id.index < from);
        for caller in self.callers.drain(staying..) {
            caller.answer(Err(Failure::Unknown(Doubt::LeadershipLost)));
        }
    }

    /// Answers those who have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let callers = std::mem::take(&mut self.callers);
        let (late, waiting): (VecDeque<_>, VecDeque<_>) = callers.into_iter().partition(|it| it.deadline <= now);
        self.callers = waiting;
        late.into_iter().for_each(|caller| caller.answer(Err(Failure::Unknown(Doubt::TimedOut))));
    }

    /// Answers all: nothing more is committed.
    pub(crate) fn stop(&mut self) {
        for caller in std::mem::take(&mut self.callers) {
            caller.answer(Err(Failure::Unknown(Doubt::Stopped)));
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::Term;

    use super::super::respond::Reply;
    use super::*;

    /// Waits for 3/8 and 3/9, between which somebody waits for a response.
    fn waiting() -> (Committing, [Reply<LogId>; 2]) {
        let mut committing = Committing::default();
        let ((a, first), (b, _), (c, second)) = (Slot::committed(), Slot::<char>::one(), Slot::committed());
        let mut slots = [b, a, c];
        committing.wait(&mut slots, LogId::new(3, 7), Instant(100));
        assert!(matches!(slots, [Slot::One(_), Slot::Nobody, Slot::Nobody]), "{slots:?}");
        (committing, [first, second])
    }

    #[test]
    fn each_is_answered_once_its_own_entry_is_committed() {
        let (mut committing, [mut first, mut second]) = waiting();
        committing.answer(LogIndex(7), |index| Some(LogId { index, term: Term(3) }));
        assert_eq!(first.look(), None);
        committing.answer(LogIndex(8), |index| Some(LogId { index, term: Term(3) }));
        assert_eq!((first.look(), second.look()), (Some(Ok(LogId::new(3, 8))), None));
        committing.answer(LogIndex(9), |index| Some(LogId { index, term: Term(3) }));
        assert_eq!(second.look(), Some(Ok(LogId::new(3, 9))));
    }

    #[test]
    fn another_entry_in_its_place_means_that_nothing_was_done_and_a_forgotten_one_that_nobody_knows() {
        let (mut committing, [mut first, mut second]) = waiting();
        committing.answer(LogIndex(9), |index| (index.0 == 8).then(|| LogId::new(4, 8)));
        assert_eq!(first.look(), Some(Err(Failure::Refused(Refusal::NotLeader))));
        assert_eq!(second.look(), Some(Err(Failure::Unknown(Doubt::LateAnswer))));
    }

    #[test]
    fn what_is_abandoned_late_or_stopped_is_in_doubt() {
        let (mut committing, [mut first, mut second]) = waiting();
        committing.abandon(LogIndex(9));
        assert_eq!((first.look(), second.look()), (None, Some(Err(Failure::Unknown(Doubt::LeadershipLost)))));
        committing.expire(Instant(99));
        assert_eq!(first.look(), None);
        committing.expire(Instant(100));
        assert_eq!(first.look(), Some(Err(Failure::Unknown(Doubt::TimedOut))));
        let (mut committing, [mut first, _]) = waiting();
        committing.stop();
        assert_eq!(first.look(), Some(Err(Failure::Unknown(Doubt::Stopped))));
    }
}
