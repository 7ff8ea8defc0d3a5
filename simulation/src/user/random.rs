//! What clients draw their commands from.

use std::ops::Range;

use crate::rng;

/// The letters that texts are made of: some take more than one byte.
const LETTERS: [char; 12] = ['a', 'b', 'c', 'd', 'e', 'f', ' ', '"', '\\', 'ø', '語', '🚣'];

/// Random values for a client's commands. The seed determines all of them: a command that is made of nothing else is the
/// same when its history is replayed.
///
/// ```
/// use outrigger_simulation::{Seeds, run};
/// # use outrigger::StateMachine;
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// # struct Counter(u64);
/// # impl StateMachine for Counter {
/// #     type Command = u64;
/// #     type Response = u64;
/// #     fn apply(&mut self, add: u64) -> u64 {
/// #         self.0 = self.0.wrapping_add(add);
/// #         self.0
/// #     }
/// # }
///
/// run::<Counter>(Seeds::count(2), |sim| {
///     sim.clients(3, |rng| if rng.chance(0.1) { 0 } else { rng.number(1..100) });
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Rng(rng::Rng);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(rng::Rng::new(seed))
    }

    /// One of `keys` keys, `key-0` and so on. Few keys make clients meet.
    ///
    /// # Panics
    /// With 0 keys.
    pub fn key(&mut self, keys: u64) -> String {
        assert!(keys > 0, "rng.key(0): there is no key to choose");
        format!("key-{}", self.0.below(keys))
    }

    /// Any text: mostly short, at times empty, now and then some kilobytes, and not of ASCII alone.
    pub fn text(&mut self) -> String {
        let letters = if self.0.chance(20_000) { self.0.count(0, 2000) } else { self.0.count(0, 12) };
        (0..letters).map(|_| *self.0.pick(&LETTERS)).collect()
    }

    /// A number of the range.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn number(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "rng.number({range:?}): there is no number to choose");
        self.0.between(range.start, range.end - 1)
    }

    /// True with this probability, of 0.0 to 1.0.
    ///
    /// # Panics
    /// With any other probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.chance(super::conditions::parts_per_million("rng.chance", probability))
    }

    /// One of these.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        assert!(!from.is_empty(), "rng.pick(&[]): there is nothing to choose");
        self.0.pick(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_values() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| (rng.key(3), rng.text(), rng.number(5..9), rng.chance(0.5))).collect::<Vec<_>>()
        };
        assert_eq!(draw(4), draw(4));
        assert_ne!(draw(4), draw(5));
    }

    #[test]
    fn values_stay_in_their_bounds_and_reach_them() {
        let mut rng = Rng::new(1);
        let numbers: Vec<u64> = (0..200).map(|_| rng.number(5..9)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&5), Some(&8)));
        let keys: std::collections::BTreeSet<String> = (0..200).map(|_| rng.key(2)).collect();
        assert_eq!(keys, ["key-0".to_owned(), "key-1".to_owned()].into());
        let lengths: Vec<usize> = (0..2000).map(|_| rng.text().len()).collect();
        assert!(lengths.contains(&0) && lengths.iter().any(|length| *length > 1000));
        assert!((0..100).all(|_| rng.chance(1.0) && !rng.chance(0.0)));
        assert_eq!((0..100).map(|_| *rng.pick(&[7, 8])).max(), Some(8));
    }
}
