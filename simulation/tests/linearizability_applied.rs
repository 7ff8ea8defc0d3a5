//! The check of a known order: every way in which a log and what clients saw can contradict each other.

use outrigger_simulation::linearizability::key_value::{KeyValue, Operation, Outcome};
use outrigger_simulation::linearizability::{AppliedViolation, History, OperationId, check_applied};

/// A history under construction, with the places that its operations had.
struct Story {
    history: History<Operation<char, u64>, Outcome<u64>>,
    applied: Vec<(u64, OperationId)>,
    reads: Vec<(u64, OperationId)>,
}

impl Story {
    fn new() -> Self {
        Self { history: History::new(), applied: Vec::new(), reads: Vec::new() }
    }

    fn open(&mut self, called: u64, key: char, value: u64) -> OperationId {
        self.history.call(1, called, Operation::Put { key, value })
    }

    /// A put of `x` that was answered, as the entry at `index`.
    fn put(&mut self, (called, returned): (u64, u64), value: u64, index: u64) -> OperationId {
        let put = self.open(called, 'x', value);
        self.history.returned(put, returned, Outcome::Written { revision: Some(index) }).expect("open");
        self.applied.push((index, put));
        put
    }

    /// A get of `x` that was answered, served after the entry at `index`.
    fn get(&mut self, (called, returned): (u64, u64), value: Option<u64>, index: u64) -> OperationId {
        let get = self.history.call(2, called, Operation::Get { key: 'x' });
        self.history.returned(get, returned, Outcome::Got { value, revision: None }).expect("open");
        self.reads.push((index, get));
        get
    }

    fn check(&self) -> Result<usize, AppliedViolation> {
        check_applied(&KeyValue::new(), &self.history, &self.applied, &self.reads)
    }
}

/// Two puts, three reads and a put that nobody answered; all is well.
fn story() -> Story {
    let mut story = Story::new();
    story.put((0, 10), 1, 3);
    let lost = story.open(5, 'x', 9);
    story.applied.push((4, lost));
    story.put((20, 40), 2, 7);
    // Out of the order of the log, as nodes answer.
    story.get((41, 50), Some(2), 9);
    story.get((12, 30), Some(9), 4);
    story.get((0, 50), None, 0);
    story
}

#[test]
fn what_happened_as_the_log_says_is_accepted() {
    assert_eq!(story().check(), Ok(6));
    assert_eq!(Story::new().check(), Ok(0));
}

#[test]
fn a_lost_write_need_not_be_in_the_log() {
    let mut story = story();
    story.open(60, 'x', 5);
    assert_eq!(story.check(), Ok(6));
}

#[test]
fn an_acknowledged_write_that_is_not_in_the_log_is_found() {
    let mut story = story();
    let (_, operation) = story.applied.remove(2);
    story.reads.remove(0);
    assert_eq!(story.check(), Err(AppliedViolation::Lost { operation }));
}

#[test]
fn a_request_applied_twice_is_found() {
    let mut story = story();
    let (_, operation) = story.applied[1];
    story.applied.push((8, operation));
    assert_eq!(story.check(), Err(AppliedViolation::Twice { operation, index: 8 }));
}

#[test]
fn a_refused_write_that_happened_is_found() {
    let mut story = story();
    let (index, operation) = story.applied[1];
    story.history.refused(operation).expect("open");
    assert_eq!(story.check(), Err(AppliedViolation::Refused { operation, index }));
}

#[test]
fn a_stale_read_is_found() {
    let mut story = story();
    // Asked after the second put had returned, served at a place before it.
    let stale = story.get((41, 50), Some(9), 6);
    let second = story.applied[2].1;
    let expected = AppliedViolation::RealTime { first: stale, called: 41, second, returned: 40 };
    assert_eq!(story.check(), Err(expected));
}

#[test]
fn a_stale_read_of_another_key_is_found_too() {
    let mut story = story();
    let stale = story.history.call(2, 41, Operation::Get { key: 'y' });
    story.history.returned(stale, 50, Outcome::Got { value: None, revision: None }).expect("open");
    story.reads.push((6, stale));
    assert!(matches!(story.check(), Err(AppliedViolation::RealTime { first, .. }) if first == stale));
}

#[test]
fn a_write_ahead_of_its_call_is_found() {
    let mut story = story();
    let early = story.open(15, 'x', 5);
    story.applied.insert(0, (1, early));
    let second = story.applied[1].1;
    let expected = AppliedViolation::RealTime { first: early, called: 15, second, returned: 10 };
    assert_eq!(story.check(), Err(expected));
}

#[test]
fn reads_between_two_entries_are_in_no_order() {
    let mut story = story();
    story.get((60, 61), Some(2), 9);
    story.get((62, 63), Some(2), 8);
    assert_eq!(story.check(), Ok(8));
}

#[test]
fn times_that_touch_are_at_once() {
    let mut story = story();
    story.get((40, 45), Some(9), 6);
    assert_eq!(story.check(), Ok(7));
}

#[test]
fn a_wrong_answer_is_found() {
    let mut story = story();
    let operation = story.get((41, 50), Some(1), 8);
    let Err(violation) = story.check() else { panic!("a value that was overwritten") };
    let text = "get 'x': 1, and at its place, index 8, there was ";
    let begins = violation.to_string().starts_with("client ");
    assert!(begins && violation.to_string().contains(&format!(" was told by {operation}, {text}")), "{violation}");
    assert!(matches!(violation, AppliedViolation::Answer { index: 8, .. }), "{violation}");
}

#[test]
fn an_order_that_goes_back_is_refused() {
    let mut story = story();
    story.applied.swap(1, 2);
    let operation = story.applied[2].1;
    assert_eq!(story.check(), Err(AppliedViolation::OutOfOrder { operation, index: 4, previous: 7 }));
}

#[test]
fn what_nobody_called_is_refused() {
    let mut other = story();
    let stranger = other.open(70, 'x', 1);
    let mut story = story();
    story.applied.push((9, stranger));
    assert_eq!(story.check(), Err(AppliedViolation::NeverCalled { operation: stranger, index: 9 }));
}

#[test]
fn commands_in_one_entry_come_in_their_order() {
    let mut story = Story::new();
    for value in 1..=3 {
        let put = story.open(0, 'x', value);
        story.applied.push((5, put));
    }
    story.get((10, 11), Some(3), 5);
    assert_eq!(story.check(), Ok(4));
}
