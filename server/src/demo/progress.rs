//! A bar on standard error: redrawn in place on a terminal, a line per tenth elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const WIDTH: u64 = 32;
const REDRAW: Duration = Duration::from_millis(80);

/// How far the writes have come.
pub(super) struct Progress {
    total: u64,
    done: u64,
    began: Instant,
    drawn: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        assert!(total > 0, "a bar needs a length");
        let is_terminal = std::io::stderr().is_terminal();
        Self { total, done: 0, began: Instant::now(), drawn: None, is_terminal }
    }

    /// One more is done.
    pub(super) fn advance(&mut self) {
        let tenth = self.done * 10 / self.total;
        self.done += 1;
        assert!(self.done <= self.total, "{} of {} done", self.done, self.total);
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) || self.done == self.total;
        if self.is_terminal && is_due {
            self.drawn = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r{}", self.bar());
        } else if !self.is_terminal && self.done * 10 / self.total > tenth {
            super::tell(&self.bar());
        }
        if self.is_terminal && self.done == self.total {
            super::tell("");
        }
    }

    /// Says something between the bars.
    pub(super) fn tell(&self, line: &str) {
        if self.is_terminal {
            let width = usize::try_from(WIDTH).expect("a width is small") + 48;
            super::tell(&format!("\r{line:width$}"));
        } else {
            super::tell(line);
        }
    }

    fn bar(&self) -> String {
        let filled = usize::try_from(self.done * WIDTH / self.total).expect("a bar fits the screen");
        let empty = usize::try_from(WIDTH).expect("a width is small") - filled;
        let millis = self.began.elapsed().as_millis().max(1);
        let rate = u128::from(self.done) * 1000 / millis;
        format!("[{}{}] {}/{} writes, {rate}/s ", "#".repeat(filled), ".".repeat(empty), self.done, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_from_left_to_right() {
        let mut progress = Progress { is_terminal: false, ..Progress::new(4) };
        assert!(progress.bar().starts_with(&format!("[{}] 0/4 writes", ".".repeat(32))));
        progress.advance();
        assert!(progress.bar().starts_with(&format!("[{}{}] 1/4", "#".repeat(8), ".".repeat(24))));
        for _ in 0..3 {
            progress.advance();
        }
        assert!(progress.bar().starts_with(&format!("[{}] 4/4", "#".repeat(32))));
    }
}
