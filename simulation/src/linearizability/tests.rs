//! The checker against histories nobody wrote by hand: runs of a store that is right, and the same runs falsified.
//!
//! ```text
//!   a run that is linearizable ──► accepted, and the order that is found is checked by other means
//!        └─ falsified ──► judged as by all permutations, or as by another implementation
//! ```

mod differential;
mod permutations;
mod runs;
mod scale;

use super::key_value::{Expect, KeyValue, Operation, Outcome};
use super::{Fate, History, Invocation, Limits, OperationId, Verdict, check, check_applied};

type Ask = Operation<u64, u64>;
type Told = Outcome<u64>;
type Line = Invocation<Ask, Told>;

/// What is checked, and in which order the store did it: writes and reads, with the number of changes before.
#[derive(Clone)]
struct Run {
    lines: Vec<Line>,
    applied: Vec<(u64, usize)>,
    reads: Vec<(u64, usize)>,
}

/// The history of these lines, and its ids by their numbers.
fn history(lines: &[Line]) -> (History<Ask, Told>, Vec<OperationId>) {
    let mut history = History::new();
    let mut ids = Vec::new();
    for line in lines {
        let id = history.call(line.client, line.called, line.operation.clone());
        match line.fate.clone() {
            Fate::Unknown => {}
            Fate::Returned { at, outcome } => history.returned(id, at, outcome).expect("lines go forward in time"),
            Fate::Refused => history.refused(id).expect("every line is settled once"),
        }
        ids.push(id);
    }
    (history, ids)
}

fn verdict(lines: &[Line]) -> Verdict {
    check(&KeyValue::new(), &history(lines).0, Limits::default())
}
