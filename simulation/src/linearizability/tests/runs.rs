//! Random runs of a store that is right: each operation takes effect at one moment between call and answer, some
//! answers get lost, some operations take effect long after their client gave up, and some requests are refused.

use std::collections::BTreeMap;

use super::{
    Ask, Expect, Fate, KeyValue, Line, Operation, Outcome, Run, Told, Verdict, check_applied, history, verdict,
};
use crate::rng::Rng;

/// How a run is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) operations: usize,
    pub(super) clients: usize,
    pub(super) keys: u64,
    /// How many values there are; 0 if every write has its own.
    pub(super) values: u64,
    /// How many answers in a million get lost, and how many requests are refused.
    pub(super) lost: u64,
    /// Whether there are deletes, creations, and answers with revisions.
    pub(super) rich: bool,
}

/// A store that is right, and what is under way.
struct Store {
    rng: Rng,
    shape: Shape,
    now: u64,
    run: Run,
    /// Values with the revision of their last change.
    registers: BTreeMap<u64, (u64, u64)>,
    /// How many operations changed something, or might have.
    revision: u64,
    /// What each client waits for: the line, and its outcome once it has taken effect.
    clients: Vec<Option<(usize, Option<Told>)>>,
    /// What may yet take effect although nobody waits.
    orphans: Vec<usize>,
}

/// A run of a store that is right.
pub(super) fn draw(rng: Rng, shape: Shape) -> Run {
    let run = Run { lines: Vec::new(), applied: Vec::new(), reads: Vec::new() };
    let clients = vec![None; shape.clients];
    let (registers, orphans) = (BTreeMap::new(), Vec::new());
    let mut store = Store { rng, shape, now: 0, run, registers, revision: 0, clients, orphans };
    while store.run.lines.len() < shape.operations || store.clients.iter().any(Option::is_some) {
        store.tick();
    }
    store.run
}

impl Store {
    fn tick(&mut self) {
        // Not every event has a time of its own.
        self.now += self.rng.below(3);
        if !self.orphans.is_empty() && self.rng.chance(20_000) {
            let place = self.rng.count(0, self.orphans.len() - 1);
            let orphan = self.orphans.swap_remove(place);
            self.apply(orphan);
        }
        let client = self.rng.count(0, self.clients.len() - 1);
        match self.clients[client].take() {
            None if self.run.lines.len() < self.shape.operations => {
                let operation = self.operation();
                self.clients[client] = Some((self.run.lines.len(), None));
                let fate = Fate::Unknown;
                self.run.lines.push(Line { client: client as u64, called: self.now, operation, fate });
            }
            None => {}
            Some((line, None)) if self.rng.chance(self.shape.lost) => {
                if self.rng.chance(300_000) {
                    self.run.lines[line].fate = Fate::Refused;
                } else {
                    self.orphans.push(line);
                }
            }
            Some((line, None)) => self.clients[client] = Some((line, Some(self.apply(line)))),
            Some(_) if self.rng.chance(self.shape.lost) => {}
            Some((line, Some(outcome))) => self.run.lines[line].fate = Fate::Returned { at: self.now, outcome },
        }
    }

    fn operation(&mut self) -> Ask {
        let key = self.rng.below(self.shape.keys);
        let value = match self.shape.values {
            0 => self.run.lines.len() as u64,
            values => self.rng.below(values),
        };
        let present = self.registers.get(&key).map(|(value, _)| *value);
        match self.rng.below(if self.shape.rich { 8 } else { 6 }) {
            0..=2 => Operation::Get { key },
            3..=4 => Operation::Put { key, value },
            // A guess that is right more often than chance would have it.
            5 => Operation::Cas { key, expect: Expect::Value(present.unwrap_or(value)), value },
            6 => Operation::Cas { key, expect: Expect::Absent, value },
            _ => Operation::Delete { key },
        }
    }

    /// An operation takes effect now.
    fn apply(&mut self, line: usize) -> Told {
        let operation = self.run.lines[line].operation.clone();
        if let Operation::Get { key } = operation {
            self.run.reads.push((self.revision, line));
            let found = self.registers.get(&key);
            return Outcome::Got { value: found.map(|(value, _)| *value), revision: self.tell(found.map(|at| at.1)) };
        }
        self.revision += 1;
        self.run.applied.push((self.revision, line));
        let revision = self.tell(Some(self.revision));
        match operation {
            Operation::Delete { key } => {
                let existed = self.registers.remove(&key).is_some();
                if self.rng.chance(300_000) {
                    Outcome::Written { revision }
                } else {
                    Outcome::Deleted { existed, revision }
                }
            }
            Operation::Cas { key, expect, .. }
                if self.registers.get(&key).map_or(Expect::Absent, |(value, _)| Expect::Value(*value)) != expect =>
            {
                Outcome::Mismatch
            }
            Operation::Put { key, value } | Operation::Cas { key, value, .. } => {
                self.registers.insert(key, (value, self.revision));
                Outcome::Written { revision }
            }
            Operation::Get { .. } => unreachable!("a get has returned above"),
        }
    }

    fn tell(&mut self, revision: Option<u64>) -> Option<u64> {
        revision.filter(|_| self.shape.rich && self.rng.chance(300_000))
    }
}

/// Changes one thing that a client saw, or when it saw it. The result may still be linearizable.
pub(super) fn falsify(rng: &mut Rng, lines: &mut [Line]) {
    let answered: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].outcome().is_some()).collect();
    if answered.is_empty() {
        return;
    }
    let line = &mut lines[*rng.pick(&answered)];
    let Fate::Returned { at, outcome } = &mut line.fate else { unreachable!("it is answered") };
    if rng.chance(300_000) {
        // The whole interval moves, or shrinks to one end.
        let by = rng.between(1, 12);
        match rng.below(4) {
            0 => (line.called, *at) = (line.called + by, *at + by),
            1 => (line.called, *at) = (line.called.saturating_sub(by), at.saturating_sub(by)),
            2 => *at = line.called,
            _ => line.called = *at,
        }
        return;
    }
    match outcome {
        Outcome::Got { value, revision } => {
            if rng.chance(200_000) && revision.is_some() {
                *revision = Some(rng.between(1, 8));
            } else {
                *value = if rng.chance(250_000) { None } else { Some(rng.below(4)) };
            }
        }
        Outcome::Deleted { existed, .. } => *existed = !*existed,
        Outcome::Mismatch => *outcome = Outcome::Written { revision: None },
        Outcome::Written { revision } => {
            if matches!(line.operation, Operation::Cas { .. }) {
                *outcome = Outcome::Mismatch;
            } else {
                *revision = Some(rng.between(1, 8));
            }
        }
    }
}

fn shape(rng: &mut Rng) -> Shape {
    Shape {
        operations: rng.count(1, 120),
        clients: rng.count(1, 8),
        keys: rng.between(1, 4),
        values: *rng.pick(&[0, 2, 3, 10]),
        lost: *rng.pick(&[0, 20_000, 100_000]),
        rich: rng.chance(500_000),
    }
}

fn known_order_holds(run: &Run) -> bool {
    let (history, ids) = history(&run.lines);
    let places = |list: &[(u64, usize)]| list.iter().map(|(index, line)| (*index, ids[*line])).collect::<Vec<_>>();
    check_applied(&KeyValue::new(), &history, &places(&run.applied), &places(&run.reads)).is_ok()
}

#[test]
fn every_run_of_a_right_store_is_accepted() {
    let mut rng = Rng::new(1);
    for number in 0..2_000 {
        let shape = shape(&mut rng);
        let run = draw(rng.fork(), shape);
        let verdict = verdict(&run.lines);
        assert!(verdict.is_linearizable(), "run {number}, {shape:?}: {verdict}");
        assert!(known_order_holds(&run), "run {number}, {shape:?}");
    }
}

#[test]
fn a_known_order_is_never_accepted_where_there_is_none() {
    let mut rng = Rng::new(2);
    let (mut neither, mut both, mut search_alone) = (0, 0, 0);
    for number in 0..3_000 {
        let shape = shape(&mut rng);
        let mut run = draw(rng.fork(), shape);
        falsify(&mut rng, &mut run.lines);
        match (verdict(&run.lines), known_order_holds(&run)) {
            (Verdict::Linearizable(_), true) => both += 1,
            (Verdict::Linearizable(_), false) => search_alone += 1,
            (Verdict::Violated(_), false) => neither += 1,
            (verdict, known) => panic!("run {number}, {shape:?}: known order {known}, {verdict}"),
        }
    }
    let all_seen = neither > 800 && both > 200 && search_alone > 30;
    assert!(all_seen, "{neither} refused by both, {both} by none, {search_alone} by the known order alone");
}
