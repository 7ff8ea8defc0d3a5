//! Sets of small numbers, and the compact copies of them that the search remembers.
//!
//! Operations are numbered in the order of their calls and leave the list in almost that order. So nearly every set is
//! a long run of members, then a few words of some, then nothing; only the middle is kept:
//!
//! ```text
//!   words   11111111 11111111 11111101 01000000 00000000 00000000
//!                             └ full             └ used
//!   packed  skip 2, [11111101, 01000000]
//! ```

const BITS: usize = u64::BITS as usize;

/// A set of numbers below a bound.
#[derive(Debug)]
pub(super) struct BitSet {
    /// One bit for each number; the bound, rounded up to whole words.
    words: Vec<u64>,
    /// How many words at the start are full; the next is not.
    full: usize,
    /// How many words there are up to the last that is not empty; never less than `full`.
    used: usize,
}

impl BitSet {
    /// The empty set of numbers below `bound`.
    pub(super) fn new(bound: usize) -> Self {
        Self { words: vec![0; bound.div_ceil(BITS)], full: 0, used: 0 }
    }

    /// Adds a number that is not a member.
    pub(super) fn insert(&mut self, number: usize) {
        let (word, mask) = (number / BITS, 1 << (number % BITS));
        assert!(self.words[word] & mask == 0, "{number} is a member already");
        self.words[word] |= mask;
        self.used = self.used.max(word + 1);
        while self.full < self.used && self.words[self.full] == u64::MAX {
            self.full += 1;
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, number: usize) {
        let (word, mask) = (number / BITS, 1 << (number % BITS));
        assert!(self.words[word] & mask != 0, "{number} is no member");
        self.words[word] &= !mask;
        self.full = self.full.min(word);
        while self.used > self.full && self.words[self.used - 1] == 0 {
            self.used -= 1;
        }
    }

    /// The set as it is now: two copies are equal if and only if the sets were.
    pub(super) fn pack(&self) -> Packed {
        assert!(self.full <= self.used, "{} full words, {} used", self.full, self.used);
        Packed { skip: self.full, words: self.words[self.full..self.used].into() }
    }
}

/// A copy of a [`BitSet`]: small where the set is regular.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    /// How many full words come first.
    skip: usize,
    /// What follows them; the first is not full, the last not empty.
    words: Box<[u64]>,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn copies_are_equal_exactly_when_the_sets_are() {
        let mut rng = Rng::new(1);
        let (mut bits, mut set) = (BitSet::new(200), BTreeSet::new());
        let mut seen: BTreeMap<BTreeSet<usize>, Packed> = BTreeMap::new();
        for step in 0..20_000 {
            // Drifts up and down through all lengths of the full run.
            let number = if rng.chance(700_000) { set.len().min(199) } else { rng.count(0, 199) };
            let grow = step / 400 % 2 == 0;
            if grow && set.insert(number) {
                bits.insert(number);
            } else if !grow && set.remove(&number.saturating_sub(1)) {
                bits.remove(number.saturating_sub(1));
            }
            let packed = bits.pack();
            assert!(packed.words.first() != Some(&u64::MAX) && packed.words.last() != Some(&0), "{packed:?}");
            let mut back: Vec<u64> = vec![u64::MAX; packed.skip];
            back.extend(&packed.words);
            let members = back.iter().enumerate().flat_map(|(word, bits)| {
                (0..BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * BITS + bit)
            });
            assert_eq!(members.collect::<BTreeSet<_>>(), set);
            assert_eq!(seen.entry(set.clone()).or_insert_with(|| bits.pack()), &packed);
        }
        assert!(seen.len() > 1_000, "{} sets were seen", seen.len());
    }

    #[test]
    fn a_long_run_takes_no_room() {
        let mut bits = BitSet::new(1_000_000);
        (0..999_999).for_each(|number| bits.insert(number));
        assert_eq!(bits.pack(), Packed { skip: 15_624, words: [u64::MAX >> 1].into() });
    }

    #[test]
    #[should_panic(expected = "3 is a member already")]
    fn nothing_is_inserted_twice() {
        let mut bits = BitSet::new(10);
        bits.insert(3);
        bits.insert(3);
    }
}
