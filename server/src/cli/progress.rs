//! How far something long has come, on standard error: a line that is drawn again and again on a terminal, and a line now and then
//! where nothing can be drawn over, as in the log of a job.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// What is over sooner needs no line.
const QUIET: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);
/// How often a line is added where it stays; what is over sooner needs none.
const ADD: Duration = Duration::from_secs(5);

/// A line that is gone in the end, or lines that stay.
pub(super) struct ProgressLine<W: Write = Stderr> {
    out: W,
    is_terminal: bool,
    due: Instant,
    is_drawn: bool,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        let out = std::io::stderr();
        let is_terminal = out.is_terminal();
        Self::to(out, is_terminal, Instant::now())
    }

    /// So many bytes of all are done.
    pub(super) fn show(&mut self, what: &str, bytes: u64, total: u64) {
        self.show_at(Instant::now(), what, bytes, total);
    }
}

impl<W: Write> ProgressLine<W> {
    fn to(out: W, is_terminal: bool, now: Instant) -> Self {
        let due = now + if is_terminal { QUIET } else { ADD };
        Self { out, is_terminal, due, is_drawn: false }
    }

    fn show_at(&mut self, now: Instant, what: &str, bytes: u64, total: u64) {
        if now < self.due {
            return;
        }
        let (done, all) = (bytes >> 20, total >> 20);
        // What is under way does not depend on anybody listening.
        let _ = if self.is_terminal {
            write!(self.out, "\r{what}: {done} of {all} MiB ")
        } else {
            writeln!(self.out, "{what}: {done} of {all} MiB")
        };
        self.due = now + if self.is_terminal { REDRAW } else { ADD };
        self.is_drawn = self.is_terminal;
    }
}

impl<W: Write> Drop for ProgressLine<W> {
    fn drop(&mut self) {
        if self.is_drawn {
            // Back to the beginning of the line, and nothing is left of it.
            let _ = write!(self.out, "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of a gibibyte a minute, told of ten times a second.
    fn written(is_terminal: bool, seconds: u32) -> String {
        let (mut out, start) = (Vec::new(), Instant::now());
        let mut line = ProgressLine::to(&mut out, is_terminal, start);
        for tenth in 1..=seconds * 10 {
            let bytes = (1 << 30) / 600 * u64::from(tenth);
            line.show_at(start + Duration::from_millis(100) * tenth, "saving", bytes, 1 << 30);
        }
        drop(line);
        String::from_utf8(out).unwrap()
    }

    /// Found by a user: where standard error is no terminal, nothing was said for minutes.
    #[test]
    fn where_nothing_can_be_drawn_over_a_line_comes_now_and_then() {
        assert_eq!(written(false, 4), "");
        assert_eq!(written(false, 12), "saving: 85 of 1024 MiB\nsaving: 170 of 1024 MiB\n");
    }

    #[test]
    fn on_a_terminal_the_line_is_drawn_over_and_gone_in_the_end() {
        assert_eq!(written(true, 0), "");
        let drawn = written(true, 1);
        assert!(drawn.starts_with("\rsaving: 8 of 1024 MiB ") && drawn.ends_with("\r\x1b[K"), "{drawn:?}");
        assert!(!drawn.contains('\n'), "{drawn:?}");
    }
}
