//! How fast snapshots are written and sent, so that what is urgent on the same disk and network does not wait behind them.
//!
//! ```text
//!   bytes    ██ ██ ██ ██ ██          at once, for what was not used lately, up to BURST
//!                       └──┬──► ██ ──┬──► ██ ──┬──► ██      then each waits for those before it
//!                        waits     waits     waits
//! ```

use std::time::Duration;

/// What was not used of so much time may be made up for at once: small snapshots never wait.
const BURST: Duration = Duration::from_millis(50);

/// A rate that is kept over time. It has no clock: a moment is how long it is after any fixed one.
#[derive(Debug)]
pub(crate) struct Pace {
    /// `None` for as fast as it goes.
    bytes_per_second: Option<u64>,
    /// When all that was let through has gone at this rate; never more than `BURST` before the last moment it was asked.
    free_at: Duration,
}

impl Pace {
    /// 0 stands for no limit.
    pub(crate) const fn new(bytes_per_second: u64) -> Self {
        let bytes_per_second = if bytes_per_second == 0 { None } else { Some(bytes_per_second) };
        Self { bytes_per_second, free_at: Duration::ZERO }
    }

    /// So many bytes are about to go. Answers how long they wait before they do.
    pub(crate) fn take(&mut self, bytes: usize, now: Duration) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now.saturating_sub(BURST)).saturating_add(takes);
        self.free_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_goes_in_a_while_is_what_the_rate_allows_and_one_burst() {
        let mut pace = Pace::new(10 * MIB as u64);
        let (mut now, mut gone) = (Duration::from_secs(7), 0);
        let end = now + Duration::from_secs(10);
        loop {
            now += pace.take(MIB / 16, now);
            if now > end {
                break;
            }
            gone += MIB / 16;
        }
        let most = 100 * MIB + MIB / 2;
        assert!(gone <= most && gone > most - MIB / 8, "{gone} bytes in ten seconds, where {most} may go");
    }

    #[test]
    fn a_pause_is_made_up_for_by_no_more_than_a_burst() {
        let mut pace = Pace::new(MIB as u64);
        let later = Duration::from_secs(3_600);
        assert_eq!(pace.take(MIB / 32, later), Duration::ZERO, "less than a burst");
        assert_eq!(pace.take(MIB, later + Duration::from_secs(60)), Duration::from_millis(950));
        assert_eq!(pace.take(MIB, later + Duration::from_secs(60)), Duration::from_millis(1_950), "behind the first");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.take(usize::MAX, Duration::ZERO), Duration::ZERO);
        assert_eq!(pace.take(usize::MAX, Duration::ZERO), Duration::ZERO);
    }
}
