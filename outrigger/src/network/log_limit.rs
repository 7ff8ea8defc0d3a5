//! Keeps strangers from filling the log: one line for each origin and reason in a while, and how many were left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line of the same origin and reason in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// So many origins and reasons are told apart; further ones share one line.
const KEYS_MAX: usize = 1024;

/// Says which lines are written.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    /// At most [`KEYS_MAX`] keys and the one that is shared.
    lines: Mutex<BTreeMap<Key, Line>>,
}

/// Where a line comes from, and why.
type Key = (String, &'static str);

#[derive(Debug)]
struct Line {
    /// When it was last written.
    last: Instant,
    /// How many like it were left out since.
    suppressed: u64,
}

impl LogLimit {
    /// Whether to write a line now: then how many like it were left out since the last one.
    pub(crate) fn admit(&self, origin: &str, reason: &'static str, now: Instant) -> Option<u64> {
        self.admit_every(INTERVAL, origin, reason, now)
    }

    /// As [`admit`](Self::admit), with another time between two lines.
    pub(crate) fn admit_every(
        &self,
        interval: Duration,
        origin: &str,
        reason: &'static str,
        now: Instant,
    ) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (origin.to_owned(), reason);
        if !lines.contains_key(&key) && lines.len() >= KEYS_MAX {
            lines.retain(|_, line| now.duration_since(line.last) < INTERVAL);
            if lines.len() >= KEYS_MAX {
                key = (String::new(), "");
            }
        }
        let Some(line) = lines.get_mut(&key) else {
            lines.insert(key, Line { last: now, suppressed: 0 });
            return Some(0);
        };
        if now.duration_since(line.last) < interval {
            line.suppressed += 1;
            return None;
        }
        line.last = now;
        Some(std::mem::take(&mut line.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_origin_and_reason_and_then_the_count_of_what_was_left_out() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limit.admit("a", "garbage", at(0)), Some(0));
        assert_eq!(limit.admit("a", "garbage", at(1)), None);
        assert_eq!(limit.admit("a", "garbage", at(9)), None);
        assert_eq!(limit.admit("a", "cluster", at(9)), Some(0));
        assert_eq!(limit.admit("b", "garbage", at(9)), Some(0));
        assert_eq!(limit.admit("a", "garbage", at(10)), Some(2));
        assert_eq!(limit.admit("a", "garbage", at(11)), None);
        let minute = Duration::from_secs(60);
        assert_eq!(limit.admit_every(minute, "c", "no member", at(0)), Some(0));
        assert_eq!(limit.admit_every(minute, "c", "no member", at(59)), None);
        assert_eq!(limit.admit_every(minute, "c", "no member", at(60)), Some(1));
    }

    #[test]
    fn a_flood_of_origins_shares_one_line() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let written = (0..5000).filter(|i| limit.admit(&i.to_string(), "garbage", start).is_some()).count();
        assert_eq!(written, KEYS_MAX + 1);
        assert!(limit.lines.lock().unwrap().len() <= KEYS_MAX + 1);
        assert_eq!(limit.admit("late", "garbage", start + INTERVAL), Some(0));
    }
}
