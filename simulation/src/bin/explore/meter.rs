//! What is told while a search runs, and the table of what it did.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use outrigger_model::explore::Progress;
use outrigger_simulation::exploration::Report;

use crate::output::say;

/// How often a terminal is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells a terminal how far a search is.
pub(crate) struct Meter {
    is_quiet: bool,
    began: Instant,
    /// When it is told again.
    next: Instant,
}

impl Meter {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let began = Instant::now();
        Self { is_quiet: is_quiet || !io::stderr().is_terminal(), began, next: began + INTERVAL }
    }

    pub(crate) fn tell(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.is_quiet || now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let Progress { generated, distinct, depth, waiting, bytes } = progress;
        let (seconds, mebibytes) = (self.began.elapsed().as_secs(), bytes >> 20);
        say(format_args!(
            "{seconds:>5} s  depth {depth:>3}  states {distinct:>10}  waiting {waiting:>9}  transitions {generated:>11}  \
             {mebibytes:>5} MiB seen"
        ));
    }
}

/// How often each action was taken and each kind of message delivered.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::new();
    for (what, counts) in [("actions", &report.actions), ("delivered", &report.messages)] {
        for (name, count) in counts {
            let _ = writeln!(text, "{what:<11}{name:<24}{count:>12}");
        }
    }
    text
}
