//! Many histories, on all processors.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_simulation::{Failure, History, Report, Total};

/// What became of all seeds.
pub(crate) struct Outcome {
    pub(crate) total: Total,
    /// By seed.
    pub(crate) failures: Vec<Failure>,
    /// How long all histories took, added up over the processors.
    pub(crate) busy: Duration,
}

/// After so many failures the rest is not tried.
const FAILURES_MAX: usize = 10;
/// The progress is shown so often.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

type Lived = (Result<Report, Failure>, Duration);

/// Lives through all seeds, `jobs` at a time.
pub(crate) fn run(seeds: Range<u64>, jobs: usize, history: impl Fn(u64) -> History + Sync) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, end, history) = (sender.clone(), &next, seeds.end, &history);
            scope.spawn(move || {
                loop {
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
        collect(&receiver, seeds.end - seeds.start)
    })
}

fn collect(lived: &Receiver<Lived>, seeds: u64) -> Outcome {
    let mut outcome = Outcome { total: Total::new(), failures: Vec::new(), busy: Duration::ZERO };
    let mut shown = Instant::now();
    let is_watched = std::io::stderr().is_terminal();
    while let Ok((history, took)) = lived.recv() {
        outcome.busy += took;
        match history {
            Ok(report) => outcome.total.add(&report),
            Err(failure) => outcome.failures.push(failure),
        }
        if is_watched && shown.elapsed() >= SHOWN_EVERY {
            shown = Instant::now();
            show(&outcome, seeds);
        }
        if outcome.failures.len() == FAILURES_MAX {
            break;
        }
    }
    if is_watched {
        // Clears the line; a terminal that cannot be written to loses nothing but this.
        let _: std::io::Result<()> = write!(std::io::stderr(), "\r\x1b[K");
    }
    outcome.failures.sort_by_key(|failure| failure.seed);
    outcome
}

fn show(outcome: &Outcome, seeds: u64) {
    const WIDTH: u64 = 30;
    let done = outcome.total.seeds + outcome.failures.len() as u64;
    let filled = usize::try_from(done * WIDTH / seeds.max(1)).unwrap_or_default();
    let bar: String = (0..30).map(|place| if place < filled { '#' } else { '.' }).collect();
    let failures = outcome.failures.len();
    let _: std::io::Result<()> = write!(
        std::io::stderr(),
        "\r[{bar}] {done} of {seeds} seeds, {} steps, {failures} failures",
        outcome.total.steps
    );
}
