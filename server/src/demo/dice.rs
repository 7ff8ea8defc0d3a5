//! Chance from a seed: the same seed causes the same troubles in the same order, as far as the cluster can bear them.

use std::ops::Range;

/// Vigna's SplitMix64.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) const fn between(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "an empty range");
        range.start + self.next() % (range.end - range.start)
    }

    pub(super) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let place = self.next() % u64::try_from(among.len()).expect("a length fits 64 bits");
        &among[usize::try_from(place).expect("below a length")]
    }
}
