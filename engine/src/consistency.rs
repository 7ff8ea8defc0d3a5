//! How new the state must be that a read sees, and what shows a leader that it may answer.
//!
//! ```text
//!   what is acknowledged    ──●──────●──────────●─────────●──────► time
//!                                               read begins ▲
//!   linearizable, lease     everything before ──────────────┘      the leader is asked
//!   acknowledged            everything up to so long before ──┘    the leader is asked
//!   stale                   everything that came here so long ago  nobody is asked
//! ```

use std::fmt;
use std::time::Duration;

/// How new the state must be that a read sees. The stricter, the dearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Consistency {
    /// Everything is seen that was acknowledged before the read began: the leader lets a quorum confirm that it still leads
    /// (thesis, section 6.4). Needs no clock.
    #[default]
    Linearizable,
    /// The same, as long as clocks keep within [`EngineConfig::clock_drift_ppm_max`](crate::EngineConfig::clock_drift_ppm_max): a
    /// leader that holds a lease asks nobody (thesis, section 6.4.1). One that holds none, or has none to hold because
    /// [`EngineConfig::lease`](crate::EngineConfig::lease) is off, asks as for [`Consistency::Linearizable`].
    Lease,
    /// Everything is seen that was acknowledged so long before the read began, by the clock of the leader. It answers at once if a
    /// quorum has acknowledged a round of its heartbeats that it sent no longer ago, and asks again if not.
    Acknowledged {
        /// How old the newest acknowledged round may be, from when it was sent.
        age_max: Duration,
    },
    /// The state of the node that is asked, if it had all that a leader had committed no longer ago than this, by its own clock and
    /// from when the leader's word reached it; else the read is refused at once, with
    /// [`Refusal::TooStale`](crate::Refusal::TooStale). On a leader it counts as with [`Consistency::Acknowledged`], and waits for
    /// nobody.
    ///
    /// A follower cannot know how long the leader's word was on its way, nor that a leader that it hears was replaced beyond a
    /// partition: until that one steps down, an election timeout later at most, this adds to the bound.
    Stale {
        /// How long ago.
        staleness_max: Duration,
    },
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Lease => f.write_str("lease"),
            Self::Acknowledged { age_max } => write!(f, "acknowledged within {age_max:?}"),
            Self::Stale { staleness_max } => write!(f, "stale by {staleness_max:?} at most"),
        }
    }
}

/// What shows a leader that it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A round of heartbeats that began after the read, acknowledged by a quorum.
    Round,
    /// Its lease; a round where it holds none.
    Lease,
    /// A round that was sent no longer ago than this; a new one where there is none.
    Age(Duration),
}

impl Proof {
    /// What is proof enough for both.
    pub(crate) fn both(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lease, Self::Lease) => Self::Lease,
            (Self::Age(one), Self::Age(other)) => Self::Age(one.min(other)),
            // A lease says nothing of the age of a round, nor that of the lease.
            _ => Self::Round,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Round => f.write_str("by a round"),
            Self::Lease => f.write_str("by lease"),
            Self::Age(age) => write!(f, "acknowledged within {age:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_two_reads_is_the_stricter_and_a_round_where_neither_is() {
        let (short, long) = (Proof::Age(Duration::from_millis(5)), Proof::Age(Duration::from_millis(50)));
        assert_eq!(short.both(long), short);
        assert_eq!(Proof::Lease.both(Proof::Lease), Proof::Lease);
        for (one, other) in
            [(Proof::Round, long), (Proof::Lease, long), (short, Proof::Lease), (Proof::Lease, Proof::Round)]
        {
            assert_eq!(one.both(other), Proof::Round, "{one} and {other}");
        }
    }
}
