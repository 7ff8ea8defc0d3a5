//! Many histories, on all processors.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_simulation::{Failure, Report, Total};

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
        let mut outcome = Self::of_none(1);
        outcome.add(lived.clone(), took);
        outcome
    }

    /// Of so many seeds, before the first.
    fn of_none(seeds: u64) -> Self {
        let (total, failures, busy) = (Total::new(), Vec::new(), Duration::ZERO);
        Self { total, failures, seeds, is_interrupted: false, busy }
    }

    fn add(&mut self, lived: Result<Report, Failure>, took: Duration) {
        self.busy += took;
        match lived {
            Ok(report) => self.total.add(&report),
            Err(failure) => {
                self.total.add_failed(&failure);
                self.failures.push(failure);
            }
        }
    }

    /// How many histories were lived through.
    pub(crate) const fn tried(&self) -> u64 {
        self.total.seeds
    }

    /// Whether so much went wrong that the rest was not tried.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failures.len() >= FAILURES_MAX && self.tried() < self.seeds
    }

    /// Whether nothing went wrong, and nothing is `missing`.
    pub(crate) fn is_well(&self, missing: &[&str]) -> bool {
        self.failures.is_empty() && missing.is_empty()
    }
}

/// After so many failures the rest is not tried.
const FAILURES_MAX: usize = 10;

type Lived = (Result<Report, Failure>, Duration);

/// Lives through all seeds as `live` does, `jobs` at a time, and tells `told` after each how far it is.
pub(crate) fn run(
    seeds: Range<u64>,
    jobs: usize,
    live: impl Fn(u64) -> Result<Report, Failure> + Sync,
    told: impl FnMut(&Outcome),
) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, end, live) = (sender.clone(), &next, seeds.end, &live);
            scope.spawn(move || {
                while !interrupt::came() {
                    let taken =
                        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| (seed < end).then(|| seed + 1));
                    let Ok(seed) = taken else { return };
                    let began = Instant::now();
                    let lived = live(seed);
                    // Nobody listens any more once there are enough failures.
                    if sender.send((lived, began.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(receiver, seeds.end - seeds.start, told)
    })
}

/// Ends the campaign with `lived`, which it owns: who cannot send any more does not begin another history.
fn collect(lived: Receiver<Lived>, seeds: u64, mut told: impl FnMut(&Outcome)) -> Outcome {
    let mut outcome = Outcome::of_none(seeds);
    for (history, took) in lived {
        outcome.add(history, took);
        told(&outcome);
        if outcome.failures.len() == FAILURES_MAX {
            break;
        }
    }
    outcome.is_interrupted = interrupt::came() && outcome.tried() < seeds && !outcome.is_given_up();
    outcome.failures.sort_by_key(|failure| failure.seed);
    outcome
}

#[cfg(test)]
mod tests {
    use outrigger::StateMachine;
    use outrigger_simulation::{History, Seeds, try_run_with};
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::table;

    /// Answers each time something else: no node agrees with another.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Whim;

    impl StateMachine for Whim {
        type Command = u64;
        type Response = u128;

        fn apply(&mut self, _: u64) -> u128 {
            std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos())
        }
    }

    /// A history in which something goes wrong.
    fn failure() -> Failure {
        let seeds = Seeds::count(20).shrink_for(Duration::ZERO);
        let lived = try_run_with(seeds, Whim::default, |sim| {
            sim.clients(2, |rng| rng.number(0..9));
        });
        lived.expect_err("a whim is noticed")
    }

    /// The same, of another seed.
    fn of_seed(seed: u64, failure: &Failure) -> Failure {
        let mut failure = failure.clone();
        failure.seed = seed;
        failure
    }

    #[test]
    fn after_ten_failures_the_rest_is_not_tried_and_what_was_tried_is_counted() {
        let (failure, lived) = (failure(), AtomicU64::new(0));
        let live = |seed| {
            lived.fetch_add(1, Ordering::Relaxed);
            Err(of_seed(seed, &failure))
        };
        let outcome = run(5..1_000_000, 2, live, |_| {});
        assert_eq!(outcome.failures.len(), FAILURES_MAX);
        assert!(outcome.failures.is_sorted_by_key(|failure| failure.seed));
        let lived = lived.into_inner();
        assert!(lived < 1_000_000 - 5, "every seed is lived through");
        assert!(outcome.is_given_up() && !outcome.is_interrupted && !outcome.is_well(&[]));
        assert_eq!((outcome.tried(), outcome.total.steps), (10, 10 * failure.steps));
        assert_eq!(outcome.total.simulated, 10 * Duration::from_millis(failure.milliseconds));
        let json = table::json(&outcome, &[]);
        let counted = format!(r#"{{"seeds":10,"interrupted":false,"given_up":true,"steps":{},"#, 10 * failure.steps);
        assert!(json.starts_with(&counted), "{json}");
        assert_eq!(json.matches(r#""check":"Determinism""#).count(), 10, "{json}");
        assert!(table::table(&outcome).contains("  failures                                      10\n"));
    }

    #[test]
    fn a_campaign_is_well_if_nothing_went_wrong_and_all_came() {
        let failure = failure();
        let live = |seed| if seed == 3 { Err(of_seed(seed, &failure)) } else { History::new(seed).live() };
        let outcome = run(1..3, 2, live, |_| {});
        assert!(outcome.is_well(&[]) && !outcome.is_well(&["pause"]) && !outcome.is_given_up());
        let mut shown = Vec::new();
        let outcome = run(1..4, 1, live, |outcome| shown.push((outcome.tried(), outcome.failures.len())));
        assert_eq!(shown, [(1, 0), (2, 0), (3, 1)]);
        assert!(!outcome.is_well(&[]) && !outcome.is_given_up(), "all were tried");
    }
}
