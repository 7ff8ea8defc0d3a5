//! The checker against the definition itself: all permutations of all operations that may have happened, each held
//! against real time and against a store that shares no code with the specification.

use std::collections::BTreeMap;

use super::runs::{Shape, draw, falsify};
use super::{Expect, Fate, Line, Operation, Outcome, Verdict, verdict};
use crate::rng::Rng;

/// Whether no operation of the order was called after one behind it had returned.
fn keeps_time(order: &[usize], lines: &[Line]) -> bool {
    (0..order.len()).all(|later| {
        let returned = match &lines[order[later]].fate {
            Fate::Returned { at, .. } => *at,
            _ => return true,
        };
        order[..later].iter().all(|earlier| lines[*earlier].called <= returned)
    })
}

/// What is told of the changes of one key: for each, the revision if anybody was told one.
#[derive(Default)]
struct Changes {
    /// What is there.
    value: Option<u64>,
    revisions: Vec<Option<u64>>,
}

impl Changes {
    fn change(&mut self, value: Option<u64>, told: Option<u64>) -> bool {
        self.value = value;
        self.revisions.push(told);
        true
    }

    fn learn(&mut self, told: Option<u64>) -> bool {
        let Some(last) = self.revisions.last_mut().filter(|_| told.is_some() && self.value.is_some()) else {
            return true;
        };
        let agrees = last.is_none() || *last == told;
        *last = told;
        agrees
    }

    /// Revisions that are told grow, from above 0.
    fn grow(&self) -> bool {
        let told: Vec<u64> = [0].into_iter().chain(self.revisions.iter().flatten().copied()).collect();
        told.is_sorted_by(|before, after| before < after)
    }
}

/// Whether a store that did this, in this order, would have given these answers.
fn explains(order: &[usize], lines: &[Line]) -> bool {
    let mut keys: BTreeMap<u64, Changes> = BTreeMap::new();
    let fits = order.iter().all(|line| {
        let Line { operation, .. } = &lines[*line];
        let told = lines[*line].outcome();
        match operation {
            Operation::Get { key } => {
                let at = keys.entry(*key).or_default();
                told.is_none_or(|told| match told {
                    Outcome::Got { value, revision } => *value == at.value && at.learn(*revision),
                    _ => false,
                })
            }
            Operation::Put { key, value } => {
                let revision = match told {
                    None => None,
                    Some(Outcome::Written { revision }) => *revision,
                    Some(_) => return false,
                };
                keys.entry(*key).or_default().change(Some(*value), revision)
            }
            Operation::Delete { key } => {
                let at = keys.entry(*key).or_default();
                let (claim, revision) = match told {
                    None => (None, None),
                    Some(Outcome::Written { revision }) => (None, *revision),
                    Some(Outcome::Deleted { existed, revision }) => (Some(*existed), *revision),
                    Some(_) => return false,
                };
                let existed = at.value.is_some();
                claim.is_none_or(|claim| claim == existed) && (!existed || at.change(None, revision))
            }
            Operation::Cas { key, expect, value } => {
                let at = keys.entry(*key).or_default();
                let holds = match (expect, at.value) {
                    (Expect::Absent, there) => there.is_none(),
                    (Expect::Value(wanted), there) => there == Some(*wanted),
                    (Expect::Revision(_), _) => unreachable!("no run has these"),
                };
                match told {
                    None => !holds || at.change(Some(*value), None),
                    Some(Outcome::Written { revision }) => holds && at.change(Some(*value), *revision),
                    Some(Outcome::Mismatch) => !holds,
                    Some(_) => false,
                }
            }
        }
    });
    fits && keys.values().all(Changes::grow)
}

/// Calls with every permutation of the chosen until one is found good.
fn permute(chosen: &mut Vec<usize>, fixed: usize, good: &mut dyn FnMut(&[usize]) -> bool) -> bool {
    if fixed == chosen.len() {
        return good(chosen);
    }
    (fixed..chosen.len()).any(|next| {
        chosen.swap(fixed, next);
        let found = permute(chosen, fixed + 1, good);
        chosen.swap(fixed, next);
        found
    })
}

/// The definition, word by word.
fn is_linearizable(lines: &[Line]) -> bool {
    let answered: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].outcome().is_some()).collect();
    let unknown: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].fate == Fate::Unknown).collect();
    (0..1_u32 << unknown.len()).any(|happened| {
        let happened = unknown.iter().enumerate().filter(|(bit, _)| happened >> bit & 1 == 1).map(|(_, line)| *line);
        let mut chosen: Vec<usize> = answered.iter().copied().chain(happened).collect();
        permute(&mut chosen, 0, &mut |order| keeps_time(order, lines) && explains(order, lines))
    })
}

/// What a verdict claims besides yes or no.
fn evidence_holds(verdict: &Verdict, lines: &[Line]) -> bool {
    match verdict {
        Verdict::Linearizable(found) => {
            let order = found.orders.concat();
            let complete = (0..lines.len())
                .filter(|line| lines[*line].outcome().is_some())
                .all(|line| order.iter().filter(|id| id.index() == line).count() == 1);
            complete && found.orders.iter().all(|order| stands(order.iter().map(|id| id.index()), lines))
        }
        Verdict::Violated(violation) => {
            let stuck = violation.stuck;
            lines[stuck.index()].outcome().is_some()
                && !violation.prefix.contains(&stuck)
                && stands(violation.prefix.iter().map(|id| id.index()), lines)
        }
        Verdict::Undecided(_) => false,
    }
}

fn stands(order: impl Iterator<Item = usize>, lines: &[Line]) -> bool {
    let order: Vec<usize> = order.collect();
    keeps_time(&order, lines) && explains(&order, lines)
}

fn compare(seed: u64, histories: usize, lost: u64, keys: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let (mut good, mut bad) = (0, 0);
    for number in 0..histories {
        let shape = Shape { operations: rng.count(2, 6), clients: rng.count(2, 4), keys, values: 3, lost, rich: true };
        let mut run = draw(rng.fork(), shape);
        for _ in 0..rng.below(4) {
            falsify(&mut rng, &mut run.lines);
        }
        let verdict = verdict(&run.lines);
        let truth = is_linearizable(&run.lines);
        assert_eq!(verdict.is_linearizable(), truth, "history {number}: {verdict}\n{:#?}", run.lines);
        assert!(evidence_holds(&verdict, &run.lines), "history {number}: {verdict:?}\n{:#?}", run.lines);
        *if truth { &mut good } else { &mut bad } += 1;
    }
    (good, bad)
}

#[test]
fn verdicts_are_those_of_all_permutations() {
    let (good, bad) = compare(11, 6_000, 0, 1);
    assert!(good > 1_500 && bad > 1_500, "{good} linearizable, {bad} not");
}

#[test]
fn verdicts_are_those_of_all_permutations_with_unknown_outcomes() {
    let (good, bad) = compare(12, 6_000, 300_000, 1);
    assert!(good > 1_500 && bad > 1_000, "{good} linearizable, {bad} not");
}

#[test]
fn keys_can_be_judged_apart() {
    let (good, bad) = compare(13, 3_000, 150_000, 2);
    assert!(good > 500 && bad > 500, "{good} linearizable, {bad} not");
}
