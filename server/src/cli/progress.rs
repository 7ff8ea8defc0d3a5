//! How far something long has come, on standard error, if that is a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is over sooner needs no line.
const QUIET: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);

/// A line that is drawn again and again, and is gone in the end.
pub(super) struct ProgressLine {
    is_terminal: bool,
    due: Instant,
    is_drawn: bool,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), due: Instant::now() + QUIET, is_drawn: false }
    }

    /// So many bytes of all are done.
    pub(super) fn show(&mut self, what: &str, bytes: u64, total: u64) {
        if self.is_terminal && Instant::now() >= self.due {
            let mib = |bytes: u64| bytes >> 20;
            let _ = write!(std::io::stderr(), "\r{what}: {} of {} MiB ", mib(bytes), mib(total));
            self.due = Instant::now() + REDRAW;
            self.is_drawn = true;
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_drawn {
            // Back to the beginning of the line, and nothing is left of it.
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
