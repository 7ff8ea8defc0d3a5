//! A node's own clock: it began anywhere, runs too fast or too slow, and jumps.
//!
//! ```text
//!   local   ▲        ╱     a rate other than 1: drift
//!           │   ┌──╱       a jump: a virtual machine that was moved or slept
//!           │ ╱─┘
//!           └──────────► virtual time, which only the world knows
//! ```
//!
//! Nodes agree on nothing about time. Safety must not need it; leases, once they exist, will need a bound on the drift.

use outrigger::engine::Instant;

/// Parts in a whole, for rates.
const MILLION: u64 = 1_000_000;

/// What one node takes for time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The virtual time since which the rate holds, in nanoseconds.
    since: u64,
    /// What the clock showed then.
    shown: u64,
    /// How fast it runs, in parts per million: 1,000,000 is right. Above 0.
    rate: u64,
}

impl Clock {
    /// A clock that shows some time at the beginning of the world.
    pub(crate) const fn showing(shown: u64) -> Self {
        Self { since: 0, shown, rate: MILLION }
    }

    /// What it shows.
    pub(crate) fn at(&self, now: u64) -> Instant {
        let passed = now - self.since;
        // The whole millions apart from the rest: in 64 bits, and yet exact.
        Instant(self.shown + passed / MILLION * self.rate + passed % MILLION * self.rate / MILLION)
    }

    /// The first virtual time, from `now` on, at which it shows `deadline` or later.
    pub(crate) fn reaches(&self, deadline: Instant, now: u64) -> u64 {
        let left = deadline.0.saturating_sub(self.shown);
        let passes = left / self.rate * MILLION + (left % self.rate * MILLION).div_ceil(self.rate);
        (self.since + passes).max(now)
    }

    /// From now on it runs at this rate, in parts per million.
    pub(crate) fn run_at(&mut self, rate: u64, now: u64) {
        assert!(rate > 0, "a clock that stands still");
        *self = Self { since: now, shown: self.at(now).0, rate };
    }

    /// It leaps ahead.
    pub(crate) fn leap(&mut self, ahead: u64, now: u64) {
        *self = Self { since: now, shown: self.at(now).0 + ahead, ..*self };
    }

    /// It is set back.
    pub(crate) fn set_back(&mut self, by: u64, now: u64) {
        *self = Self { since: now, shown: self.at(now).0.saturating_sub(by), ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_the_clock_shows_it_and_not_before() {
        for rate in [MILLION, 900_001, 1_099_999, 1_300_003] {
            let mut clock = Clock::showing(1_000);
            clock.run_at(rate, 50);
            for deadline in [1_051, 1_777, 99_999].map(Instant) {
                let at = clock.reaches(deadline, 50);
                assert!(clock.at(at) >= deadline, "{rate}: {:?} at {at}", clock.at(at));
                assert!(clock.at(at - 1) < deadline, "{rate}: {deadline:?} before {at}");
            }
        }
    }

    #[test]
    fn leaps_and_steps_back_change_what_is_shown_at_once() {
        let mut clock = Clock::showing(1_000);
        clock.leap(500, 100);
        assert_eq!((clock.at(100), clock.at(101)), (Instant(1_600), Instant(1_601)));
        assert_eq!(clock.reaches(Instant(1_200), 100), 100, "a deadline that was leapt over is due now");
        clock.set_back(600, 200);
        assert_eq!(clock.at(200), Instant(1_100));
    }
}
