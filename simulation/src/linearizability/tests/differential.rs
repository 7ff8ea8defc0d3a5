//! The checker against another published one: `todc-utils`, with the register that it brings along.
//!
//! That one searches operations of unknown outcome as if they were answered at the end of time, and knows neither
//! keys, deletes nor revisions; the runs are drawn to fit.

use todc_utils::specifications::etcd::{EtcdOperation, EtcdSpecification, EtcdStatus};
use todc_utils::{Action, History as Actions, WGLChecker};

use super::runs::{Shape, draw, falsify};
use super::{Ask, Expect, Fate, Line, Operation, Outcome, Told, Verdict, verdict};
use crate::rng::Rng;

fn small(value: u64) -> u32 {
    u32::try_from(value).expect("values are small")
}

fn translate(operation: &Ask, told: Option<&Told>) -> EtcdOperation {
    let status = match told {
        None => EtcdStatus::Unknown,
        Some(Outcome::Mismatch) => EtcdStatus::Fail,
        Some(_) => EtcdStatus::Okay,
    };
    match (operation, told) {
        (Operation::Get { .. }, Some(Outcome::Got { value, .. })) => EtcdOperation::Read(status, value.map(small)),
        (Operation::Put { value, .. }, _) => EtcdOperation::Write(status, small(*value)),
        (Operation::Cas { expect: Expect::Value(from), value, .. }, _) => {
            EtcdOperation::CompareAndSwap(status, (small(*from), small(*value)))
        }
        other => unreachable!("{other:?} is not drawn"),
    }
}

/// The verdict of the other implementation.
fn other(lines: &[Line]) -> bool {
    let mut events = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let lost_read = line.outcome().is_none() && matches!(line.operation, Operation::Get { .. });
        if lost_read || line.fate == Fate::Refused {
            continue;
        }
        let operation = translate(&line.operation, line.outcome());
        events.push((line.called, false, number, Action::Call(operation)));
        events.push((line.returned(), true, number, Action::Response(operation)));
    }
    events.sort_by_key(|(time, is_return, number, _)| (*time, *is_return, *number));
    if events.is_empty() {
        return true;
    }
    let actions = events.into_iter().map(|(_, _, number, action)| (number, action)).collect();
    WGLChecker::<EtcdSpecification>::is_linearizable(Actions::from_actions(actions))
}

fn forget_revision(line: &mut Line) {
    if let Fate::Returned { outcome: Outcome::Got { revision, .. } | Outcome::Written { revision }, .. } =
        &mut line.fate
    {
        *revision = None;
    }
}

fn compare(seed: u64, histories: usize, shape: impl Fn(&mut Rng) -> Shape) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let (mut good, mut bad) = (0, 0);
    for number in 0..histories {
        let shape = shape(&mut rng);
        let mut lines = draw(rng.fork(), shape).lines;
        // Times of their own for all: what touches is not the same to all checkers.
        for line in &mut lines {
            line.called *= 2;
            if let Fate::Returned { at, .. } = &mut line.fate {
                *at = *at * 2 + 1;
            }
        }
        for _ in 0..rng.below(3) {
            falsify(&mut rng, &mut lines);
        }
        lines.iter_mut().for_each(forget_revision);
        let ours = verdict(&lines);
        assert!(!matches!(ours, Verdict::Undecided(_)), "history {number}, {shape:?}: {ours}");
        assert_eq!(ours.is_linearizable(), other(&lines), "history {number}, {shape:?}: {ours}\n{lines:#?}");
        *if ours.is_linearizable() { &mut good } else { &mut bad } += 1;
    }
    (good, bad)
}

#[test]
fn short_histories_are_judged_as_by_another_implementation() {
    let (good, bad) = compare(21, 8_000, |rng| Shape {
        operations: rng.count(2, 14),
        clients: rng.count(2, 5),
        keys: 1,
        values: 3,
        lost: 100_000,
        rich: false,
    });
    assert!(good > 2_000 && bad > 2_000, "{good} linearizable, {bad} not");
}

#[test]
fn longer_histories_are_judged_as_by_another_implementation() {
    let (good, bad) = compare(22, 600, |rng| Shape {
        operations: rng.count(40, 120),
        clients: rng.count(3, 6),
        keys: 1,
        values: *rng.pick(&[0, 4]),
        lost: 0,
        rich: false,
    });
    assert!(good > 150 && bad > 150, "{good} linearizable, {bad} not");
}
