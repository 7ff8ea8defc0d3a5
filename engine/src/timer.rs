//! The engine's timers: deadlines that go out through `poll_timeout` and come back as `Event::Timeout`.

use crate::fingerprint::Fingerprint;
use crate::types::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// When to campaign, unless a leader is heard from before.
    Election,
    /// When to tell the followers again that this node leads.
    Heartbeat,
    /// When to see whether a quorum of followers has answered lately.
    CheckQuorum,
    /// When to ask the leader again for a read index, and to give up on entries that it did not answer for.
    Requests,
    /// When to give up handing leadership over.
    Transfer,
}

impl Timer {
    /// All timers, in the order in which those that are due at the same moment fire.
    pub(crate) const ALL: [Self; 5] =
        [Self::Election, Self::Heartbeat, Self::CheckQuorum, Self::Requests, Self::Transfer];
}

/// The deadline of a timer that is not running, beyond all that a clock shows: the earliest deadline is a plain minimum, which is
/// asked for after every event.
const NEVER: Instant = Instant(u64::MAX);

/// The deadline of each timer; [`NEVER`] when it is not running.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timers([Instant; Timer::ALL.len()]);

impl Default for Timers {
    fn default() -> Self {
        Self([NEVER; Timer::ALL.len()])
    }
}

impl Timers {
    /// One that would fall on the end of all time runs a nanosecond earlier, so that it is running.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.0[timer as usize] = deadline.min(Instant(NEVER.0 - 1));
    }

    pub(crate) const fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(crate) fn is_running(&self, timer: Timer) -> bool {
        self.0[timer as usize] < NEVER
    }

    /// A deadline is there or not; when it falls due is for whoever chooses time.
    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        self.0.iter().for_each(|deadline| out.flag(*deadline < NEVER));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        let earliest = self.0.iter().fold(NEVER, |earliest, deadline| earliest.min(*deadline));
        (earliest < NEVER).then_some(earliest)
    }

    /// A timer whose deadline has come; it stops running.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|timer| self.is_running(*timer) && self.0[*timer as usize] <= now)?;
        self.stop(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_once_when_due() {
        let mut timers = Timers::default();
        timers.set(Timer::Heartbeat, Instant(20));
        timers.set(Timer::Election, Instant(10));
        assert_eq!(timers.next(), Some(Instant(10)));
        assert_eq!(timers.take_due(Instant(9)), None);
        assert_eq!(timers.take_due(Instant(20)), Some(Timer::Election));
        assert_eq!(timers.take_due(Instant(20)), Some(Timer::Heartbeat));
        assert_eq!((timers.take_due(Instant(20)), timers.next()), (None, None));
    }
}
