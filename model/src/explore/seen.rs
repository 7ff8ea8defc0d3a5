//! The states that a search has met: 128 bits and a parent for each, in the order in which they were met.
//!
//! ```text
//!   fingerprint ─▶ slots: open addressing, linear probing         16 bytes / load
//!
//!   number      ─▶ fingerprints[number]   0 is the initial state  16 bytes
//!                  parents[number]        always a lower number    4 bytes
//! ```
//! That is 41 to 63 bytes a state; while a table grows, for a moment the old one beside the new. Fingerprints are there
//! twice so that most look-ups wait for memory once: nearly all are of states that were met.

use std::hash::{DefaultHasher, Hasher};
use std::hint;

/// 128 bits that stand for a state's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// What no key has.
    const NONE: Self = Self([0; 2]);

    /// Of `key`: two keyed hashes of it, under different prefixes.
    pub(super) fn of(key: &[u8]) -> Self {
        let [first, second] = [0, 1].map(|prefix| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(prefix);
            hasher.write(key);
            hasher.finish()
        });
        // Half of the one hash that would mean none is lost.
        Self([first, if first == 0 { second.max(1) } else { second }])
    }

    /// Where to begin to look among `slots` slots, a power of two.
    fn slot(self, slots: usize) -> usize {
        let bits = self.0[0] & (slots as u64 - 1);
        usize::try_from(bits).unwrap_or(0)
    }
}

/// The set of fingerprints.
pub(super) struct Seen {
    /// By number. Its length is the next number.
    fingerprints: Vec<Fingerprint>,
    /// By number; that of the initial state is its own.
    parents: Vec<u32>,
    /// A power of two, at most three quarters taken; the others are [`Fingerprint::NONE`].
    slots: Vec<Fingerprint>,
}

impl Seen {
    /// How many states can be told apart by number: some four billion.
    pub(super) const LEN_MAX: u64 = u32::MAX as u64 - 1;

    /// Knows nothing but the initial state, number 0.
    pub(super) fn new(initial: Fingerprint) -> Self {
        let slots = vec![Fingerprint::NONE; 1 << 10];
        let mut seen = Self { fingerprints: Vec::new(), parents: Vec::new(), slots };
        assert!(seen.insert(initial, 0), "nothing was seen before the initial state");
        seen
    }

    /// How many states were met.
    pub(super) fn len(&self) -> u64 {
        self.fingerprints.len() as u64
    }

    /// Has the memory fetch what will be looked up, all at once: one look-up after the other would wait for each.
    pub(super) fn fetch(&self, fingerprints: impl Iterator<Item = Fingerprint>) {
        let first_words = fingerprints.map(|fingerprint| self.slots[fingerprint.slot(self.slots.len())].0[0]);
        hint::black_box(first_words.fold(0, |all, word| all ^ word));
    }

    /// Adds a state under the next number; `false` if it was met before.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, parent: u32) -> bool {
        let Some(slot) = self.empty_slot(fingerprint) else {
            return false;
        };
        assert!(self.len() < Self::LEN_MAX, "more states than numbers for them: narrow the bounds");
        self.fingerprints.push(fingerprint);
        self.parents.push(parent);
        self.slots[slot] = fingerprint;
        if self.fingerprints.len() * 4 > self.slots.len() * 3 {
            self.grow();
        }
        true
    }

    /// The slot where `fingerprint` belongs; `None` if it is there.
    fn empty_slot(&self, fingerprint: Fingerprint) -> Option<usize> {
        let last = self.slots.len() - 1;
        let mut slot = fingerprint.slot(self.slots.len());
        loop {
            match self.slots[slot] {
                Fingerprint::NONE => return Some(slot),
                met if met == fingerprint => return None,
                _ => slot = (slot + 1) & last,
            }
        }
    }

    /// Doubles the slots.
    fn grow(&mut self) {
        self.slots = vec![Fingerprint::NONE; self.slots.len() * 2];
        for number in 0..self.fingerprints.len() {
            let fingerprint = self.fingerprints[number];
            let slot = self.empty_slot(fingerprint);
            assert!(slot.is_some(), "a state was met twice");
            self.slots[slot.unwrap_or(0)] = fingerprint;
        }
    }

    /// The fingerprints on the way from the initial state, which is left out, to the state `number`.
    pub(super) fn way_to(&self, mut number: u32) -> Vec<Fingerprint> {
        let mut way = Vec::new();
        while number != 0 {
            way.push(self.fingerprints[number as usize]);
            let parent = self.parents[number as usize];
            assert!(parent < number, "a parent is met before its child");
            number = parent;
        }
        way.reverse();
        way
    }

    /// What this occupies in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let fingerprints = self.fingerprints.capacity() + self.slots.capacity();
        (fingerprints * size_of::<Fingerprint>() + self.parents.capacity() * size_of::<u32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u32) -> Fingerprint {
        Fingerprint::of(&number.to_le_bytes())
    }

    #[test]
    fn what_was_met_is_met_once_through_many_doublings() {
        let mut seen = Seen::new(fingerprint(0));
        for number in 1..100_000 {
            assert!(seen.insert(fingerprint(number), number / 2), "{number} is new");
        }
        assert!((0..100_000).all(|number| !seen.insert(fingerprint(number), 0)));
        assert_eq!(seen.len(), 100_000);
    }

    #[test]
    fn the_way_back_is_that_of_the_first_meeting() {
        let mut seen = Seen::new(fingerprint(0));
        for number in 1..1_000 {
            seen.insert(fingerprint(number), number / 2);
        }
        assert!(!seen.insert(fingerprint(11), 900));
        assert_eq!(seen.way_to(11), [1, 2, 5, 11].map(fingerprint));
        assert!(seen.way_to(0).is_empty());
    }

    #[test]
    fn states_that_begin_in_the_same_slot_are_told_apart() {
        let collide = |high| Fingerprint([7, high]);
        let mut seen = Seen::new(collide(0));
        assert!((1..50).all(|high| seen.insert(collide(high), 0)));
        assert!((1..50).all(|high| !seen.insert(collide(high), 0)));
        assert!(seen.insert(Fingerprint([7 + (1 << 40), 3]), 0), "equal halves are not enough");
    }

    #[test]
    fn a_fingerprint_depends_on_every_byte_and_on_their_number() {
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"ab", b"ba"];
        for (place, key) in keys.iter().enumerate() {
            for other in &keys[place + 1..] {
                let (one, two) = (Fingerprint::of(key), Fingerprint::of(other));
                assert!(one.0[0] != two.0[0] && one.0[1] != two.0[1], "{key:?} and {other:?}");
            }
            let Fingerprint([first, second]) = Fingerprint::of(key);
            assert_ne!(first, second, "two hashes, not one twice");
        }
    }
}
