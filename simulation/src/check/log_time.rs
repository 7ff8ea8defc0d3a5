//! Log time, as a leader counts it: it goes on as the leader's own clock does, from when the last entry came that another leader gave
//! it, or from its start.
//!
//! ```text
//!   node's clock   7,000 ms ............... 7,250 ms ......... set back to 6,900 ms
//!   log time           400  (follows)           650  (leads)         650
//! ```

use std::time::Duration;

use outrigger::engine::{Instant, LogTime, NodeId};

use super::{Violation, require};
use crate::durable::Stamp;

/// By how many milliseconds two times that were rounded down may differ from what lies between them.
const ROUNDING: u64 = 1;

/// The log time of the last entry that was not a node's own to stamp, and what its clock showed when that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogClock(pub(crate) LogTime, pub(crate) Instant);

impl LogClock {
    /// A leader has appended these entries behind one of that log time; `own` is what its clock shows.
    pub(crate) fn judge(self, node: NodeId, before: LogTime, new: &[Stamp], own: Instant) -> Result<(), Violation> {
        let Self(began, at) = self;
        let passed = u64::try_from(own.since(at).as_millis()).unwrap_or(u64::MAX);
        // A clock that is set back does not take log time along.
        let due = before.max(LogTime(began.0.saturating_add(passed)));
        let wrong = new.iter().find(|stamp| stamp.log_time.0.abs_diff(due.0) > ROUNDING);
        let Some(Stamp { id, log_time, .. }) = wrong else { return Ok(()) };
        require!(
            false,
            LogTime,
            "node {node} gives {id} the log time {log_time}: the entry before it has {before}, and {:?} before there was {began}",
            Duration::from_millis(passed)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::LogId;

    use super::*;
    use crate::check::Check;

    #[test]
    fn log_time_that_does_not_go_on_as_its_leaders_clock_does_is_noticed() {
        let clock = LogClock(LogTime(400), Instant(7_000_000_000));
        let judge = |before, log_time, own: u64| {
            let stamp = Stamp { id: LogId::new(2, 9), log_time: LogTime(log_time), digest: 0 };
            let judged = clock.judge(NodeId(1), LogTime(before), &[stamp], Instant(own * 1_000_000));
            judged.err().map(|violation| violation.check)
        };
        assert_eq!(judge(400, 650, 7_250), None);
        assert_eq!((judge(400, 651, 7_250), judge(400, 649, 7_250)), (None, None), "rounding");
        assert_eq!(judge(400, 652, 7_250), Some(Check::LogTime));
        assert_eq!(judge(400, 648, 7_250), Some(Check::LogTime));
        assert_eq!(judge(400, 1_150, 7_250), Some(Check::LogTime), "three times as fast");
        assert_eq!(judge(650, 650, 6_900), None, "the clock was set back");
        assert_eq!(judge(650, 400, 6_900), Some(Check::LogTime), "log time goes back with it");
        assert_eq!(clock.judge(NodeId(1), LogTime(400), &[], Instant(0)), Ok(()), "nothing is appended");
        let both = [650, 900].map(|time| Stamp { id: LogId::new(2, 9), log_time: LogTime(time), digest: 0 });
        let judged = clock.judge(NodeId(1), LogTime(400), &both, Instant(7_250_000_000));
        assert_eq!(judged.map_err(|violation| violation.check), Err(Check::LogTime), "the second of two");
    }
}
