//! What long histories cost, in steps, which are the same on every machine.

use super::runs::{Shape, draw};
use super::{Fate, KeyValue, Limits, Line, Operation, Outcome, Verdict, check, history};
use crate::rng::Rng;

/// The steps that it takes to accept a run.
fn steps(seed: u64, shape: Shape) -> u64 {
    let run = draw(Rng::new(seed), shape);
    match check(&KeyValue::new(), &history(&run.lines).0, Limits::default()) {
        Verdict::Linearizable(found) => found.steps,
        other => panic!("{shape:?}: {other}"),
    }
}

const LARGE: Shape = Shape { operations: 100_000, clients: 8, keys: 100, values: 0, lost: 0, rich: true };

#[test]
fn a_hundred_thousand_operations_on_a_hundred_keys_take_hardly_more_steps() {
    let steps = steps(31, LARGE);
    assert!((100_000..150_000).contains(&steps), "{steps} steps");
}

#[test]
fn one_in_a_hundred_lost_does_not_change_that() {
    let steps = steps(32, Shape { lost: 10_000, ..LARGE });
    assert!((99_000..200_000).contains(&steps), "{steps} steps");
}

#[test]
fn one_key_for_all_takes_a_few_times_as_many() {
    let steps = steps(33, Shape { keys: 1, ..LARGE });
    assert!((100_000..3_000_000).contains(&steps), "{steps} steps");
}

#[test]
fn lost_writes_on_few_keys_stay_within_reach() {
    let few = steps(34, Shape { operations: 10_000, keys: 5, lost: 20_000, ..LARGE });
    assert!((10_000..1_000_000).contains(&few), "{few} steps");
    let one = steps(35, Shape { operations: 2_000, keys: 1, lost: 20_000, ..LARGE });
    assert!((2_000..2_000_000).contains(&one), "{one} steps");
}

#[test]
fn writes_that_may_never_have_happened_do_not_multiply() {
    // Sixty lost writes, then a read that none of them explains: 2^60 subsets, of which hardly one is worth a try.
    let mut lines: Vec<Line> = (0..60)
        .map(|value| Line {
            client: value,
            called: 0,
            operation: Operation::Put { key: 0, value },
            fate: Fate::Unknown,
        })
        .collect();
    let fate = Fate::Returned { at: 9, outcome: Outcome::Got { value: Some(99), revision: None } };
    lines.push(Line { client: 60, called: 8, operation: Operation::Get { key: 0 }, fate });
    let verdict = check(&KeyValue::new(), &history(&lines).0, Limits::steps(20_000));
    assert!(matches!(verdict, Verdict::Violated(_)), "{verdict}");
}
