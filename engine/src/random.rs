//! The engine's only source of chance: a generator that is part of its state, so that a run can be repeated.

use std::time::Duration;

use crate::types::Founding;

/// `SplitMix64` (Steele, Lea, Flood 2014): one word of state, good enough to spread timeouts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number that no other cluster has, but by an accident that nobody lives to see. Never 0.
    pub(crate) fn founding(&mut self) -> Founding {
        Founding(self.next().max(1))
    }

    /// A duration of at least `min` and below `max`.
    pub(crate) fn between(&mut self, min: Duration, max: Duration) -> Duration {
        assert!(min < max, "nothing lies between {min:?} and {max:?}");
        let span = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        min + Duration::from_nanos(self.next() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_spread_over_the_whole_range() {
        let (min, max) = (Duration::from_millis(500), Duration::from_millis(1000));
        let mut random = Random::new(7);
        let drawn: Vec<_> = (0..1000).map(|_| random.between(min, max)).collect();
        assert!(drawn.iter().all(|d| (min..max).contains(d)));
        for quarter in 0..4 {
            let from = min + (max - min) * quarter / 4;
            let hits = drawn.iter().filter(|d| (from..from + (max - min) / 4).contains(d)).count();
            assert!((180..320).contains(&hits), "{hits} of 1000 in quarter {quarter}");
        }
    }
}
