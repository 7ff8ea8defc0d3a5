//! Many histories, on all processors.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_simulation::{Failure, History, Report, Total};

use crate::interrupt;

/// What became of all seeds.
pub(crate) struct Outcome {
    pub(crate) total: Total,
    /// By seed.
    pub(crate) failures: Vec<Failure>,
    /// How many seeds there were to be tried.
    pub(crate) seeds: u64,
    /// Whether somebody ended it before all were tried.
    pub(crate) is_interrupted: bool,
    /// How long all histories took, added up over the processors.
    pub(crate) busy: Duration,
}

impl Outcome {
    /// Of one history.
    pub(crate) fn of_one(lived: &Result<Report, Failure>, took: Duration) -> Self {
        let (mut total, mut failures) = (Total::new(), Vec::new());
        match lived {
            Ok(report) => total.add(report),
            Err(failure) => failures.push(failure.clone()),
        }
        Self { total, failures, seeds: 1, is_interrupted: false, busy: took }
    }

    /// How many histories were lived through.
    pub(crate) fn tried(&self) -> u64 {
        self.total.seeds + self.failures.len() as u64
    }
}

/// After so many failures the rest is not tried.
const FAILURES_MAX: usize = 10;

type Lived = (Result<Report, Failure>, Duration);

/// Lives through all seeds, `jobs` at a time, and tells `told` after each how far it is.
pub(crate) fn run(
    seeds: Range<u64>,
    jobs: usize,
    history: impl Fn(u64) -> History + Sync,
    told: impl FnMut(&Outcome),
) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, end, history) = (sender.clone(), &next, seeds.end, &history);
            scope.spawn(move || {
                while !interrupt::came() {
                    let taken =
                        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| (seed < end).then(|| seed + 1));
                    let Ok(seed) = taken else { return };
                    let began = Instant::now();
                    let lived = history(seed).live();
                    // Nobody listens any more once there are enough failures.
                    if sender.send((lived, began.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(&receiver, seeds.end - seeds.start, told)
    })
}

fn collect(lived: &Receiver<Lived>, seeds: u64, mut told: impl FnMut(&Outcome)) -> Outcome {
    let (total, failures, busy) = (Total::new(), Vec::new(), Duration::ZERO);
    let mut outcome = Outcome { total, failures, seeds, is_interrupted: false, busy };
    while let Ok((history, took)) = lived.recv() {
        outcome.busy += took;
        match history {
            Ok(report) => outcome.total.add(&report),
            Err(failure) => outcome.failures.push(failure),
        }
        told(&outcome);
        if outcome.failures.len() == FAILURES_MAX {
            break;
        }
    }
    outcome.is_interrupted = interrupt::came() && outcome.tried() < seeds && outcome.failures.len() < FAILURES_MAX;
    outcome.failures.sort_by_key(|failure| failure.seed);
    outcome
}
