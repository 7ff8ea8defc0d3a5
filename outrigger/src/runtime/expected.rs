//! Which entry answers whom: callers whose commands have an id in the log wait here until an entry with that id, or
//! another in its place, is applied.
//!
//! ```text
//!   applied so far     3/7
//!   expected           3/8 3/9 │ 4/10 │ 5/12 5/13          (runs: a first id, and a slot for each entry or group)
//!   next entry         3/8  ─► its slot gets the response
//!                      4/8  ─► 3/8 was overwritten: its slot, and all of its run, are told that nothing was applied
//! ```

use std::collections::VecDeque;

use outrigger_engine::{Instant, LogId, LogIndex, Refusal};

use super::respond::{Doubt, Failure, Slot};
use super::sessions::Denied;

/// The callers of entries with consecutive ids.
#[derive(Debug)]
pub(crate) struct Run<R> {
    /// The id of the next entry that answers one of them.
    pub(crate) next: LogId,
    /// Never empty while it is expected; a group's slot stays in front for all its entries.
    pub(crate) slots: VecDeque<Slot<R>>,
    /// Until when they wait.
    pub(crate) deadline: Instant,
}

impl<R> Run<R> {
    pub(crate) fn fail(self, failure: Failure) {
        self.slots.into_iter().for_each(|slot| slot.fail(failure));
    }

    /// Keeps the callers of the first so many entries; a group of which not all stay does not stay.
    fn abandon(&mut self, entries: usize) {
        let mut staying = entries;
        let kept = self.slots.iter().take_while(|slot| {
            let fits = slot.missing() <= staying;
            staying = staying.saturating_sub(slot.missing());
            fits
        });
        let kept = kept.count();
        for slot in self.slots.drain(kept..) {
            slot.fail(Failure::Unknown(Doubt::LeadershipLost));
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Expected<R> {
    /// Ordered by the index of `next`.
    runs: VecDeque<Run<R>>,
}

impl<R> Expected<R> {
    pub(crate) const fn new() -> Self {
        Self { runs: VecDeque::new() }
    }

    /// Waits for a run of entries. `applied` is the last entry that was applied.
    pub(crate) fn expect(&mut self, run: Run<R>, applied: LogIndex) {
        if run.next.index <= applied {
            // The leader's answer came after the entries: what `apply` returned is gone.
            return run.fail(Failure::Unknown(Doubt::LateAnswer));
        }
        if run.slots.is_empty() {
            return;
        }
        let place = self.runs.partition_point(|other| other.next.index <= run.next.index);
        self.runs.insert(place, run);
    }

    /// The entry `id` is applied, with this response, or its session denies one: answers who waits for it.
    pub(crate) fn applied(&mut self, id: LogId, response: Result<R, Denied>) {
        let Some(run) = self.run_at(id) else { return };
        let Some(slot) = run.slots.pop_front() else { return };
        if let Some(group) = slot.answer(response) {
            run.slots.push_front(group);
        }
        run.next.index = id.index.next();
        if run.slots.is_empty() {
            self.runs.pop_front();
        }
    }

    /// The entry `id` is applied and has no response: answers who waits for that.
    ///
    /// # Panics
    /// If somebody waits for a response: ids are never given twice.
    pub(crate) fn passed(&mut self, id: LogId) {
        let Some(run) = self.run_at(id) else { return };
        match run.slots.pop_front() {
            // A caller that has gone away wants no answer.
            Some(Slot::Passed(sender)) => {
                let _ = sender.send(Ok(id));
            }
            Some(Slot::Nobody) => {}
            Some(slot) => panic!("{id} is no command, but {} wait for it", slot.missing()),
            None => return,
        }
        run.next.index = id.index.next();
        if run.slots.is_empty() {
            self.runs.pop_front();
        }
    }

    /// What becomes of the entries from an index on is not known any more.
    pub(crate) fn abandon(&mut self, from: LogIndex) {
        for run in &mut self.runs {
            let staying = usize::try_from(from.since(run.next.index)).unwrap_or(usize::MAX);
            run.abandon(staying);
        }
        self.runs.retain(|run| !run.slots.is_empty());
    }

    /// Answers those who have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let runs = std::mem::take(&mut self.runs);
        let (late, waiting): (VecDeque<_>, VecDeque<_>) = runs.into_iter().partition(|run| run.deadline <= now);
        self.runs = waiting;
        late.into_iter().for_each(|run| run.fail(Failure::Unknown(Doubt::TimedOut)));
    }

    /// Answers all: nothing more is applied.
    pub(crate) fn stop(&mut self) {
        for run in std::mem::take(&mut self.runs) {
            run.fail(Failure::Unknown(Doubt::Stopped));
        }
    }

    /// The run that waits for the entry `id`; those whose turn has passed, or never comes, are answered.
    fn run_at(&mut self, id: LogId) -> Option<&mut Run<R>> {
        // Terms do not go back within a log: behind this entry stands nothing of an earlier one.
        while self.runs.back().is_some_and(|run| run.next.term < id.term && run.next.index > id.index) {
            self.runs.pop_back()?.fail(Failure::Refused(Refusal::NotLeader));
        }
        while self.runs.front().is_some_and(|run| run.next.index <= id.index && run.next != id) {
            let run = self.runs.pop_front()?;
            // Another entry took the place of its next: a log that holds the ones behind that would hold it too (Log
            // Matching, Raft paper, section 5.3), so that none of them is ever applied.
            let is_overwritten = run.next.index == id.index;
            run.fail(if is_overwritten {
                Failure::Refused(Refusal::NotLeader)
            } else {
                Failure::Unknown(Doubt::LateAnswer)
            });
        }
        self.runs.front_mut().filter(|run| run.next == id)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::respond::Reply;
    use super::*;

    fn run(term: u64, index: u64, slots: Vec<Slot<char>>) -> Run<char> {
        Run { next: LogId::new(term, index), slots: slots.into(), deadline: Instant(100) }
    }

    fn answer<T>(reply: Reply<T>) -> Option<Result<T, Failure>> {
        match pin!(reply).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_entry_with_the_same_term_and_index_answers() {
        let mut expected = Expected::new();
        let ((a, first), (b, second)) = (Slot::one(), Slot::one());
        expected.expect(run(3, 8, vec![a, b]), LogIndex(7));
        expected.passed(LogId::new(3, 7));
        expected.applied(LogId::new(3, 8), Ok('x'));
        assert_eq!(answer(first), Some(Ok('x')));
        expected.applied(LogId::new(3, 9), Ok('y'));
        assert_eq!(answer(second), Some(Ok('y')));
        assert!(expected.runs.is_empty());
    }

    #[test]
    fn a_caller_whose_entry_was_overwritten_hears_that_nothing_was_applied() {
        let mut expected = Expected::new();
        let ((a, first), (b, second)) = (Slot::one(), Slot::one());
        expected.expect(run(3, 8, vec![a, b]), LogIndex(7));
        expected.passed(LogId::new(4, 8));
        assert_eq!(answer(first), Some(Err(Failure::Refused(Refusal::NotLeader))));
        assert_eq!(answer(second), Some(Err(Failure::Refused(Refusal::NotLeader))), "3/9 cannot follow 4/8");
    }

    #[test]
    fn a_caller_of_an_earlier_term_than_what_is_applied_does_not_wait_for_its_place() {
        let mut expected = Expected::new();
        let ([(a, own), (b, far), (c, later)], id) = ([(); 3].map(|()| Slot::one()), LogId::new);
        expected.expect(run(3, 9, vec![b]), LogIndex(7));
        expected.expect(run(4, 8, vec![a]), LogIndex(7));
        expected.applied(id(4, 8), Ok('x'));
        assert_eq!(answer(own), Some(Ok('x')));
        assert_eq!(answer(far), Some(Err(Failure::Refused(Refusal::NotLeader))), "it is applied nowhere");
        expected.expect(run(4, 11, vec![c]), LogIndex(8));
        expected.applied(id(4, 9), Ok('y'));
        assert_eq!(answer(later), None, "that may come");
    }

    #[test]
    fn nobody_gets_the_response_of_another_entry_in_the_same_place() {
        let mut expected = Expected::new();
        let (slot, overwritten) = Slot::one();
        expected.expect(run(3, 8, vec![slot]), LogIndex(7));
        expected.applied(LogId::new(4, 8), Ok('x'));
        assert_eq!(answer(overwritten), Some(Err(Failure::Refused(Refusal::NotLeader))));
    }

    #[test]
    fn a_group_takes_as_many_entries_as_it_has_commands() {
        let mut expected = Expected::new();
        let ((group, both), (one, third)) = (Slot::group(2), Slot::one());
        expected.expect(run(3, 8, vec![group, one]), LogIndex(7));
        for (index, response) in [(8, 'x'), (9, 'y'), (10, 'z')] {
            expected.applied(LogId::new(3, index), Ok(response));
        }
        assert_eq!((answer(both), answer(third)), (Some(Ok(vec![Ok('x'), Ok('y')])), Some(Ok('z'))));
    }

    #[test]
    fn what_is_abandoned_is_in_doubt_and_the_rest_waits_on() {
        let mut expected = Expected::new();
        let ((group, pair), (a, first), (b, second)) = (Slot::group(2), Slot::one(), Slot::one());
        expected.expect(run(3, 8, vec![a]), LogIndex(7));
        expected.expect(run(3, 9, vec![group, b]), LogIndex(7));
        expected.abandon(LogIndex(10));
        assert_eq!(answer(second), Some(Err(Failure::Unknown(Doubt::LeadershipLost))));
        assert_eq!(answer(pair), Some(Err(Failure::Unknown(Doubt::LeadershipLost))), "a half of it is abandoned");
        expected.abandon(LogIndex(9));
        assert_eq!(expected.runs.len(), 1, "nobody waits for 3/9, and 3/8 is before it");
        expected.applied(LogId::new(3, 8), Ok('x'));
        assert_eq!(answer(first), Some(Ok('x')));
    }

    /// A snapshot has taken the place of what was waited for: it may well hold it.
    #[test]
    fn a_caller_whose_place_is_passed_unseen_is_in_doubt() {
        let mut expected = Expected::new();
        let ((a, first), (b, second)) = (Slot::one(), Slot::one());
        expected.expect(run(3, 8, vec![a, b]), LogIndex(7));
        expected.applied(LogId::new(4, 10), Ok('x'));
        assert_eq!(answer(first), Some(Err(Failure::Unknown(Doubt::LateAnswer))));
        assert_eq!(answer(second), Some(Err(Failure::Unknown(Doubt::LateAnswer))));
    }

    #[test]
    fn late_and_early_callers_are_told_so() {
        let mut expected = Expected::new();
        let ((a, late), (b, waiting)) = (Slot::one(), Slot::one());
        expected.expect(run(3, 7, vec![a]), LogIndex(7));
        assert_eq!(answer(late), Some(Err(Failure::Unknown(Doubt::LateAnswer))));
        expected.expect(run(3, 9, vec![b]), LogIndex(7));
        expected.expire(Instant(99));
        assert_eq!(expected.runs.len(), 1);
        expected.expire(Instant(100));
        assert_eq!(answer(waiting), Some(Err(Failure::Unknown(Doubt::TimedOut))));
    }
}
