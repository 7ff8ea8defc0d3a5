//! How far long work is: a bar that is drawn over itself on a terminal; elsewhere a line for each part of the work, and one now and
//! then in the midst of it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::say;

/// The bar is drawn so often.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// Where no bar is drawn, a line tells so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How many places a bar has.
const WIDTH: u64 = 30;

/// Tells standard error how far the work is.
pub(crate) struct Progress {
    program: &'static str,
    is_terminal: bool,
    /// When the bar was drawn last, if it stands there.
    shown: Option<Instant>,
    /// Where no bar is drawn: when anything was told last.
    told: Instant,
}

impl Progress {
    pub(crate) fn new(program: &'static str) -> Self {
        Self { program, is_terminal: io::stderr().is_terminal(), shown: None, told: Instant::now() }
    }

    /// A part of the work begins, and is told where no bar tells it.
    pub(crate) fn begin(&mut self, part: impl Display) {
        if !self.is_terminal {
            self.told = Instant::now();
            say(format_args!("{}: {part}", self.program));
        }
    }

    /// So much of the work is done.
    pub(crate) fn show(&mut self, done: u64, of: u64, what: impl Display) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= SHOWN_EVERY) {
            self.shown = Some(Instant::now());
            // A terminal that cannot be written to loses nothing but this.
            let _: io::Result<()> = write!(io::stderr(), "\r[{}] {what}\x1b[K", bar(done, of));
        } else if !self.is_terminal && self.told.elapsed() >= TOLD_EVERY {
            self.begin(what);
        }
    }

    /// Takes the bar away, for something else is to be printed.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _: io::Result<()> = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: u64, of: u64) -> String {
    let filled = done.saturating_mul(WIDTH) / of.max(1);
    (0..WIDTH).map(|place| if place < filled { '#' } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_full_when_all_is_done_and_not_before() {
        assert_eq!(bar(0, 6), ".".repeat(30));
        assert_eq!(bar(2, 6), "#".repeat(10) + &".".repeat(20));
        assert_eq!(bar(999, 1000).find('.'), Some(29));
        assert_eq!([bar(6, 6), bar(0, 0)], ["#".repeat(30), ".".repeat(30)]);
    }
}
