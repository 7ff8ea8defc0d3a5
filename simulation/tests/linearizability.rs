//! Histories whose answer is known: small enough that a person can judge them, each named for what it shows.
//!
//! Spans are `called..returned`, and the client is the line's number, so that a history reads as its picture:
//!
//! ```text
//!   put(0..4, 1)     ├───────┤
//!   get(2..6, 1)         ├───────┤
//! ```

use std::ops::Range;

use outrigger_simulation::linearizability::key_value::{Expect, KeyValue, Operation, Outcome};
use outrigger_simulation::linearizability::{
    Fate, History, HistoryError, Limit, Limits, Specification, Verdict, Violation, check,
};

type Ask = Operation<char, u64>;
type Line = (u64, Ask, Fate<Outcome<u64>>);

fn line(span: Range<u64>, ask: Ask, outcome: Outcome<u64>) -> Line {
    (span.start, ask, Fate::Returned { at: span.end, outcome })
}

fn put(span: Range<u64>, value: u64) -> Line {
    versioned_put(span, value, None)
}

fn versioned_put(span: Range<u64>, value: u64, revision: Option<u64>) -> Line {
    line(span, Operation::Put { key: 'x', value }, Outcome::Written { revision })
}

fn get(span: Range<u64>, value: impl Into<Option<u64>>) -> Line {
    versioned_get(span, value, None)
}

fn versioned_get(span: Range<u64>, value: impl Into<Option<u64>>, revision: Option<u64>) -> Line {
    line(span, Operation::Get { key: 'x' }, Outcome::Got { value: value.into(), revision })
}

fn delete(span: Range<u64>, existed: bool) -> Line {
    line(span, Operation::Delete { key: 'x' }, Outcome::Deleted { existed, revision: None })
}

fn ask_cas(expect: Expect<u64>, value: u64) -> Ask {
    Operation::Cas { key: 'x', expect, value }
}

fn cas(span: Range<u64>, from: u64, to: u64) -> Line {
    line(span, ask_cas(Expect::Value(from), to), Outcome::Written { revision: None })
}

fn cas_misses(span: Range<u64>, from: u64, to: u64) -> Line {
    line(span, ask_cas(Expect::Value(from), to), Outcome::Mismatch)
}

fn create(span: Range<u64>, value: u64) -> Line {
    line(span, ask_cas(Expect::Absent, value), Outcome::Written { revision: None })
}

fn lost(called: u64, ask: Ask) -> Line {
    (called, ask, Fate::Unknown)
}

fn lost_put(called: u64, value: u64) -> Line {
    lost(called, Operation::Put { key: 'x', value })
}

fn history(lines: &[Line]) -> History<Ask, Outcome<u64>> {
    let mut history = History::new();
    for (client, (called, ask, fate)) in (0..).zip(lines) {
        let id = history.call(client, *called, ask.clone());
        match fate.clone() {
            Fate::Unknown => {}
            Fate::Returned { at, outcome } => history.returned(id, at, outcome).expect("a span that goes forward"),
            Fate::Refused => history.refused(id).expect("an open operation"),
        }
    }
    history
}

fn judge(lines: &[Line]) -> Verdict {
    check(&KeyValue::new(), &history(lines), Limits::default())
}

#[track_caller]
fn accepted(lines: &[Line]) -> Vec<usize> {
    match judge(lines) {
        Verdict::Linearizable(found) => found.orders.concat().iter().map(|id| id.index()).collect(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn rejected(lines: &[Line]) -> Violation {
    match judge(lines) {
        Verdict::Violated(violation) => violation,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn stuck(lines: &[Line]) -> usize {
    rejected(lines).stuck.index()
}

#[test]
fn nothing_is_linearizable() {
    assert_eq!(accepted(&[]), []);
}

#[test]
fn one_after_another() {
    assert_eq!(accepted(&[get(0..1, None), put(2..3, 1), get(4..5, 1), put(6..7, 2), get(8..9, 2)]), [0, 1, 2, 3, 4]);
}

#[test]
fn a_read_of_what_nobody_wrote() {
    assert_eq!(stuck(&[put(0..1, 1), get(2..3, 9)]), 1);
}

#[test]
fn a_stale_read() {
    assert_eq!(stuck(&[put(0..1, 1), put(2..3, 2), get(4..5, 1)]), 2);
}

#[test]
fn a_read_during_a_write_sees_old_or_new() {
    assert_eq!(accepted(&[put(0..1, 1), put(2..9, 2), get(3..4, 1)]), [0, 2, 1]);
    assert_eq!(accepted(&[put(0..1, 1), put(2..9, 2), get(3..4, 2)]), [0, 1, 2]);
}

#[test]
fn once_new_never_old_again() {
    assert_eq!(stuck(&[put(0..1, 1), put(2..9, 2), get(3..4, 2), get(5..6, 1)]), 3);
}

#[test]
fn two_reads_at_once_may_see_old_and_new() {
    assert_eq!(accepted(&[put(0..1, 1), put(2..9, 2), get(3..6, 2), get(4..7, 1)]), [0, 3, 1, 2]);
}

#[test]
fn a_read_from_the_future() {
    assert_eq!(stuck(&[get(0..1, 1), put(2..3, 1)]), 0);
}

#[test]
fn a_read_from_the_future_of_a_lost_write() {
    assert_eq!(stuck(&[get(0..1, 1), lost_put(2, 1)]), 0);
}

#[test]
fn writes_at_once_in_the_order_that_reads_show() {
    let writes = [put(0..20, 1), put(0..20, 2), put(0..20, 3)];
    let reads = [get(2..3, 3), get(4..5, 2), get(6..7, 1)];
    assert_eq!(accepted(&[&writes[..], &reads[..]].concat()), [2, 3, 1, 4, 0, 5]);
}

#[test]
fn two_readers_who_saw_the_writes_in_different_orders() {
    let writes = [put(0..2, 1), put(0..2, 2)];
    let reads = [get(3..4, 1), get(5..6, 2)];
    rejected(&[&writes[..], &reads[..]].concat());
}

#[test]
fn a_lost_update() {
    // Both took 1 for the newest: the classic that cas exists to prevent.
    assert_eq!(rejected(&[put(0..1, 1), cas(2..6, 1, 2), cas(3..7, 1, 3)]).prefix.len(), 2);
}

#[test]
fn an_acknowledged_write_that_vanished() {
    assert_eq!(stuck(&[put(0..1, 1), get(2..3, None)]), 1);
}

#[test]
fn a_cas_that_missed_saw_another_value() {
    accepted(&[put(0..1, 1), cas_misses(2..3, 5, 6), get(4..5, 1)]);
    assert_eq!(stuck(&[put(0..1, 1), cas_misses(2..3, 1, 6)]), 1);
}

#[test]
fn a_cas_that_missed_wrote_nothing() {
    assert_eq!(stuck(&[put(0..1, 1), cas_misses(2..3, 5, 6), get(4..5, 6)]), 2);
}

#[test]
fn a_chain_of_cas_at_once() {
    assert_eq!(accepted(&[put(0..1, 1), cas(2..9, 3, 4), cas(2..9, 2, 3), cas(2..9, 1, 2)]), [0, 3, 2, 1]);
}

#[test]
fn one_creation_wins() {
    let (won, missed) = (create(0..5, 1), line(0..5, ask_cas(Expect::Absent, 2), Outcome::Mismatch));
    assert_eq!(accepted(&[missed.clone(), won.clone()]), [1, 0]);
    rejected(&[won, create(0..5, 2)]);
    assert_eq!(stuck(&[missed]), 0);
}

#[test]
fn a_lost_write_that_happened() {
    assert_eq!(accepted(&[lost_put(0, 1), get(2..3, 1)]), [0, 1]);
}

#[test]
fn a_lost_write_that_never_happened() {
    assert_eq!(accepted(&[put(0..1, 1), lost_put(2, 2), get(3..4, 1), get(5..6, 1)]), [0, 2, 3]);
}

#[test]
fn a_lost_write_that_happens_long_after() {
    let lines = [lost_put(0, 9), put(1..2, 1), get(3..4, 1), put(5..6, 2), get(7..8, 2), get(9..10, 9)];
    assert_eq!(accepted(&lines), [1, 2, 3, 4, 0, 5]);
}

#[test]
fn a_lost_write_happens_once() {
    assert_eq!(stuck(&[lost_put(0, 9), get(1..2, 9), put(3..4, 1), get(5..6, 9)]), 3);
}

#[test]
fn a_write_applied_twice() {
    assert_eq!(stuck(&[put(0..1, 1), put(2..3, 2), get(4..5, 2), get(6..7, 1)]), 3);
}

#[test]
fn a_lost_cas_that_must_have_happened() {
    let lines = [put(0..1, 1), lost(2, ask_cas(Expect::Value(1), 2)), cas(5..6, 2, 3)];
    assert_eq!(accepted(&lines), [0, 1, 2]);
    assert_eq!(stuck(&[put(0..1, 1), lost(2, ask_cas(Expect::Value(7), 2)), cas(5..6, 2, 3)]), 2);
}

#[test]
fn two_lost_operations_in_a_row() {
    let lines = [lost(0, ask_cas(Expect::Value(1), 2)), lost_put(0, 1), get(1..2, 2)];
    assert_eq!(accepted(&lines), [1, 0, 2]);
}

#[test]
fn a_lost_read_constrains_nobody() {
    accepted(&[put(0..1, 1), lost(2, Operation::Get { key: 'x' }), put(3..4, 2), get(5..6, 2)]);
}

#[test]
fn a_refused_write_never_happens() {
    let refused = (0, Operation::Put { key: 'x', value: 1 }, Fate::Refused);
    accepted(&[refused.clone(), get(2..3, None)]);
    assert_eq!(stuck(&[refused, get(2..3, 1)]), 1);
}

#[test]
fn deletes_tell_whether_something_was_there() {
    accepted(&[put(0..1, 1), delete(2..3, true), get(4..5, None), delete(6..7, false)]);
    assert_eq!(stuck(&[delete(0..1, true)]), 0);
    assert_eq!(stuck(&[put(0..1, 1), delete(2..3, false)]), 1);
    rejected(&[put(0..1, 1), delete(2..5, true), delete(2..5, true)]);
}

#[test]
fn a_deleted_value_that_rises_again() {
    assert_eq!(stuck(&[put(0..1, 1), delete(2..3, true), get(4..5, 1)]), 2);
    accepted(&[put(0..1, 1), lost(2, Operation::Delete { key: 'x' }), get(4..5, 1), get(6..7, None)]);
}

#[test]
fn equal_times_are_at_once() {
    accepted(&[put(0..5, 1), get(5..6, None), get(7..8, 1)]);
    rejected(&[put(0..5, 1), get(6..7, None), get(7..8, 1)]);
    accepted(&[put(3..3, 1), get(3..3, None), get(3..3, 1)]);
}

#[test]
fn revisions_grow_along_the_order() {
    accepted(&[versioned_put(0..9, 1, Some(8)), versioned_put(0..9, 2, Some(5)), versioned_get(10..11, 1, Some(8))]);
    assert_eq!(stuck(&[versioned_put(0..1, 1, Some(8)), versioned_put(2..3, 2, Some(5))]), 1);
    assert_eq!(stuck(&[versioned_put(0..1, 1, Some(8)), versioned_put(2..3, 1, Some(8))]), 1);
}

#[test]
fn a_revision_tells_equal_values_apart() {
    accepted(&[versioned_put(0..1, 1, Some(4)), versioned_put(2..3, 1, Some(5)), versioned_get(4..5, 1, Some(5))]);
    assert_eq!(
        stuck(&[versioned_put(0..1, 1, Some(4)), versioned_put(2..3, 1, Some(5)), versioned_get(4..5, 1, Some(4))]),
        2
    );
}

#[test]
fn a_revision_that_nobody_told_is_learnt_once() {
    accepted(&[
        put(0..1, 1),
        versioned_get(2..3, 1, Some(7)),
        versioned_get(4..5, 1, Some(7)),
        versioned_put(6..7, 2, Some(8)),
    ]);
    assert_eq!(stuck(&[put(0..1, 1), versioned_get(2..3, 1, Some(7)), versioned_get(4..5, 1, Some(8))]), 2);
    assert_eq!(stuck(&[versioned_put(0..1, 1, Some(3)), put(2..3, 2), versioned_get(4..5, 2, Some(3))]), 2);
}

#[test]
fn a_cas_on_a_revision() {
    let wins = line(4..5, ask_cas(Expect::Revision(3), 2), Outcome::Written { revision: Some(4) });
    let misses = line(4..5, ask_cas(Expect::Revision(3), 2), Outcome::Mismatch);
    accepted(&[versioned_put(0..1, 1, Some(3)), wins.clone(), versioned_get(6..7, 2, Some(4))]);
    assert_eq!(stuck(&[versioned_put(0..1, 1, Some(3)), versioned_put(2..3, 5, Some(4)), wins.clone()]), 2);
    assert_eq!(stuck(&[versioned_put(0..1, 1, Some(3)), misses.clone()]), 1);
    accepted(&[versioned_put(0..1, 1, Some(3)), versioned_put(2..3, 5, Some(4)), misses.clone()]);
    // Where the revision is not known, either may be right; that it won tells it.
    accepted(&[put(0..1, 1), misses]);
    accepted(&[put(0..1, 1), wins.clone()]);
    assert_eq!(stuck(&[wins]), 0);
}

#[test]
fn an_answer_to_another_question() {
    assert_eq!(stuck(&[line(0..1, Operation::Get { key: 'x' }, Outcome::Mismatch)]), 0);
    assert_eq!(stuck(&[line(0..1, Operation::Put { key: 'x', value: 1 }, Outcome::Mismatch)]), 0);
}

#[test]
fn keys_are_judged_each_by_itself() {
    let y = line(0..1, Operation::Put { key: 'y', value: 5 }, Outcome::Written { revision: None });
    accepted(&[y.clone(), get(2..3, None)]);
    let read = line(2..3, Operation::Get { key: 'y' }, Outcome::Got { value: None, revision: None });
    let violation = rejected(&[put(0..1, 1), y, get(2..3, 1), read]);
    assert_eq!((violation.key.as_str(), violation.stuck.index()), ("'y'", 3));
}

#[test]
fn the_verdict_names_what_got_stuck_and_draws_it() {
    let lines =
        [put(0..4, 1), lost_put(2, 3), get(5..6, 1), put(7..9, 2), get(8..12, 2), get(13..14, 1), put(13..20, 4)];
    let violation = rejected(&lines);
    assert_eq!(violation.prefix.iter().map(|id| id.index()).collect::<Vec<_>>(), [0, 2, 3, 4, 6]);
    let expected = "\
not linearizable: no order of the operations on key 'x' explains what client 5 was told
by #5, get 'x': 1
     1st  #0      client 0   put 1 into 'x': done  ├───┤
     2nd  #2      client 2   get 'x': 1                  ├─┤
     3rd  #3      client 3   put 2 into 'x': done            ├───┤
     4th  #4      client 4   get 'x': 2                        ├───┤
     5th  #6      client 6   put 4 into 'x': done                    ├───┤
   stuck  #5      client 5   get 'x': 1                              ├─┤
    left  #1      client 1   put 3 into 'x': ?       ├──────────────────────
the longest order before #5 has 5 operations, and leaves 4 in 'x'; others that come as far leave 3, or 2";
    assert_eq!(violation.to_string(), expected, "\n{violation}");
}

#[test]
fn a_long_history_is_drawn_from_its_end() {
    let mut lines: Vec<Line> = (0..100).map(|value| put(value * 10..value * 10 + 5, value)).collect();
    lines.extend((0..40).map(|value| lost_put(0, 1000 + value)));
    lines.push(get(2000..2001, 5));
    let violation = rejected(&lines);
    assert_eq!(violation.prefix.len(), 100);
    let drawn: Vec<&str> = violation.picture.lines().collect();
    assert_eq!(drawn.len(), 1 + 8 + 1 + 12 + 1, "{violation}");
    assert_eq!((drawn[0], drawn[22]), ("  ... after 92 more", "  ... and 28 more that were under way"));
}

/// A ledger that only grows, and of which nobody learns anything until it is read.
struct Ledger;

impl Specification for Ledger {
    type Key = ();
    type State = Vec<u8>;
    type Operation = Option<u8>;
    type Outcome = Vec<u8>;

    fn key(&self, _: &Option<u8>) {}

    fn initial(&self, (): &()) -> Vec<u8> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u8>, append: &Option<u8>, outcome: Option<&Vec<u8>>) -> Option<Vec<u8>> {
        let state: Vec<u8> = state.iter().copied().chain(*append).collect();
        outcome.is_none_or(|read| append.is_some() || *read == state).then_some(state)
    }
}

fn hard(writers: u8) -> History<Option<u8>, Vec<u8>> {
    let mut history = History::new();
    for writer in 0..writers {
        history.call(writer.into(), 0, Some(writer));
    }
    let read = history.call(99, 5, None);
    history.returned(read, 6, vec![200]).expect("a span that goes forward");
    history
}

#[test]
fn a_search_that_takes_too_long_is_undecided() {
    let Verdict::Undecided(first) = check(&Ledger, &hard(20), Limits::steps(50_000)) else { panic!("decided") };
    assert_eq!((first.steps, first.operations, first.limit), (50_000, 21, Limit::Steps));
    let again = check(&Ledger, &hard(20), Limits::steps(50_000));
    assert_eq!(again, Verdict::Undecided(first.clone()), "the same history, the same verdict");
    assert!(first.to_string().contains("with 21 operations was ended by the limit of steps after 50000 steps"));
    assert!(matches!(check(&Ledger, &hard(5), Limits::default()), Verdict::Violated(_)), "a small one is decided");
}

#[test]
fn a_search_stops_when_its_caller_says_so() {
    let mut asked = 0;
    let mut stop = || {
        asked += 1;
        asked == 7
    };
    let verdict = check(&Ledger, &hard(20), Limits::default().or_when(&mut stop));
    let Verdict::Undecided(undecided) = verdict else { panic!("{verdict}") };
    assert_eq!((asked, undecided.limit), (7, Limit::Stopped));
    assert!((7 * 1024 - 7..=7 * 1024 * 2).contains(&undecided.steps), "{undecided}");
}

#[test]
fn who_stops_a_search_is_not_asked_again_for_the_next_key() {
    let hard = |key| {
        (0..40).map(move |value| line(0..100, Operation::Put { key, value }, Outcome::Written { revision: None }))
    };
    let mut lines: Vec<Line> = ['x', 'y'].into_iter().flat_map(hard).collect();
    for key in ['x', 'y'] {
        lines.push(line(101..102, Operation::Get { key }, Outcome::Got { value: Some(99), revision: None }));
    }
    let mut asked = 0;
    let mut stop = || {
        asked += 1;
        true
    };
    let verdict = check(&KeyValue::new(), &history(&lines), Limits::default().or_when(&mut stop));
    let Verdict::Undecided(undecided) = verdict else { panic!("{verdict}") };
    assert_eq!((asked, undecided.limit), (1, Limit::Stopped));
}

#[test]
fn an_undecided_key_hides_no_violation_of_another() {
    let mut lines: Vec<Line> = (0..40).map(|value| put(0..100, value)).collect();
    lines.push(get(101..102, 99));
    let undecided = history(&lines);
    let limit = || Limits::steps(2_000);
    assert!(matches!(check(&KeyValue::new(), &undecided, limit()), Verdict::Undecided(_)));
    lines.push(line(0..1, Operation::Get { key: 'y' }, Outcome::Got { value: Some(1), revision: None }));
    let Verdict::Violated(violation) = check(&KeyValue::new(), &history(&lines), limit()) else { panic!("hidden") };
    assert_eq!(violation.key, "'y'");
}

#[test]
fn a_history_is_told_nothing_that_cannot_be() {
    let mut history = history(&[put(3..5, 1)]);
    let (first, outcome) = (history.invocations().next().expect("one").0, Outcome::Written { revision: None });
    let again = history.returned(first, 9, outcome.clone());
    assert_eq!(again, Err(HistoryError::Settled { operation: first }));
    assert_eq!(history.refused(first), Err(HistoryError::Settled { operation: first }));

    let second = history.call(1, 7, Operation::Get { key: 'x' });
    let early = history.returned(second, 6, outcome.clone());
    assert_eq!(early, Err(HistoryError::ReturnBeforeCall { operation: second, called: 7, returned: 6 }));

    let mut other = History::<Ask, Outcome<u64>>::new();
    let missing = other.returned(second, 6, outcome);
    assert_eq!(missing, Err(HistoryError::NoSuchOperation { operation: second, operations: 0 }));
    assert_eq!(history.invocation(second).map(|open| &open.fate), Some(&Fate::Unknown), "a refusal changes nothing");
}
