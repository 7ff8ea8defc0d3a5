//! The queue of what will happen, in the order of virtual time.
//!
//! ```text
//!   sorted   time | number | place   one number of 64 + 40 + 24 bits, so that sorting compares and moves little
//!   patience time | number           of clients, who all wait equally long: it ends in order by itself, and is not sorted
//!   places   what happens            stays where it is until its time comes
//! ```

use std::collections::VecDeque;

use outrigger::engine::Token;

use super::happening::Happening;

/// So much waits in most worlds at once.
const ROOM: usize = 128;

/// What will happen. Of what happens at the same time, the first that was put in comes first.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The next one last; numbers are unique, so the order is total. What is put in mostly comes soon and few are before it, so
    /// this moves less than a heap does.
    sorted: Vec<Key>,
    /// Until when clients wait, and for what; increasing. It is by far the longest wait, and hardly ever comes to its end: then
    /// somebody loses hope.
    patience: VecDeque<(Key, Token)>,
    /// What waits; `None` in a place that is free.
    places: Vec<Option<Happening>>,
    /// The places that are free.
    free: Vec<usize>,
    /// How many were ever put in.
    number: u64,
}

impl Default for Queue {
    fn default() -> Self {
        let (sorted, places, free) = (Vec::with_capacity(ROOM), Vec::with_capacity(ROOM), Vec::with_capacity(ROOM));
        Self { sorted, patience: VecDeque::new(), places, free, number: 0 }
    }
}

/// When something happens, the how-manieth it was to be put in, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    const PLACE_BITS: u32 = 24;
    const NUMBER_BITS: u32 = 40;

    fn new(at: u64, number: u64, place: usize) -> Self {
        assert!(
            number >> Self::NUMBER_BITS == 0 && place >> Self::PLACE_BITS == 0,
            "{number} and {place} are too many"
        );
        let order = u128::from(at) << Self::NUMBER_BITS | u128::from(number);
        Self(order << Self::PLACE_BITS | place as u128)
    }

    const fn at(self) -> u64 {
        (self.0 >> (Self::NUMBER_BITS + Self::PLACE_BITS)) as u64
    }

    const fn place(self) -> usize {
        self.0 as usize & ((1 << Self::PLACE_BITS) - 1)
    }
}

impl Queue {
    /// Something will happen at a time, in virtual nanoseconds.
    pub(crate) fn put(&mut self, at: u64, happening: Happening) {
        let key = self.place(at, happening);
        let later = self.sorted.partition_point(|other| *other > key);
        self.sorted.insert(later, key);
    }

    /// A client waits for an answer until then: no shorter than any that waits already.
    pub(crate) fn wait(&mut self, at: u64, token: Token) {
        self.number += 1;
        let key = Key::new(at, self.number, 0);
        assert!(
            self.patience.back().is_none_or(|(last, _)| *last < key),
            "who waits until {at} waits no longer than the last"
        );
        self.patience.push_back((key, token));
    }

    /// A client has its answer.
    pub(crate) fn end_wait(&mut self, token: Token) {
        if let Some(place) = self.patience.iter().position(|(_, waiting)| *waiting == token) {
            self.patience.remove(place);
        }
    }

    /// Whether whatever is put in now, for this time, happens next.
    pub(crate) fn is_free_at(&self, at: u64) -> bool {
        let comes_later = |key: &Key| key.at() > at;
        self.sorted.last().is_none_or(comes_later) && self.patience.front().is_none_or(|(key, _)| comes_later(key))
    }

    /// Keeps what will happen; answers with what it is sorted by.
    fn place(&mut self, at: u64, happening: Happening) -> Key {
        self.number += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(happening);
                place
            }
            None => {
                self.places.push(Some(happening));
                self.places.len() - 1
            }
        };
        Key::new(at, self.number, place)
    }

    /// What happens next, and when; `None` when nothing ever will.
    pub(crate) fn take(&mut self) -> Option<(u64, Happening)> {
        if let Some((key, token)) = self.patience.front().copied()
            && self.sorted.last().is_none_or(|sorted| key < *sorted)
        {
            self.patience.pop_front();
            return Some((key.at(), Happening::LoseHope { token }));
        }
        let key = self.sorted.pop()?;
        let place = key.place();
        self.free.push(place);
        Some((key.at(), self.places[place].take().expect("a place that has a key is taken")))
    }

    /// Some of it will never happen. Clients wait all the same.
    pub(crate) fn keep(&mut self, keeps: impl Fn(&Happening) -> bool) {
        let Self { sorted, places, free, .. } = self;
        sorted.retain(|key| {
            let place = key.place();
            let kept = places[place].as_ref().is_some_and(&keeps);
            if !kept {
                places[place] = None;
                free.push(place);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(queue: &mut Queue) -> Vec<(u64, u64)> {
        let client = |happening| match happening {
            Happening::Ask { client } => client,
            Happening::LoseHope { token } => token.0,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| queue.take()).map(|(at, happening)| (at, client(happening))).collect()
    }

    #[test]
    fn what_is_due_first_comes_first_and_of_equals_what_was_put_in_first() {
        let mut queue = Queue::default();
        for (at, client) in [(7, 1), (3, 2), (7, 3), (1, 4)] {
            queue.put(at, Happening::Ask { client });
        }
        assert_eq!(queue.take().map(|(at, _)| at), Some(1));
        queue.put(7, Happening::Ask { client: 5 });
        assert_eq!(clients(&mut queue), [(3, 2), (7, 1), (7, 3), (7, 5)]);
    }

    #[test]
    fn a_wait_that_is_not_ended_ends_in_its_place_among_the_others() {
        let mut queue = Queue::default();
        queue.put(5, Happening::Ask { client: 1 });
        queue.wait(5, Token(2));
        queue.wait(9, Token(3));
        queue.put(5, Happening::Ask { client: 4 });
        queue.put(8, Happening::Ask { client: 5 });
        queue.wait(9, Token(6));
        queue.end_wait(Token(3));
        assert!(queue.is_free_at(4) && !queue.is_free_at(5));
        assert_eq!(clients(&mut queue), [(5, 1), (5, 2), (5, 4), (8, 5), (9, 6)]);
    }

    #[test]
    #[should_panic(expected = "who waits until 4 waits no longer than the last")]
    fn a_wait_that_is_shorter_than_another_is_a_mistake() {
        let mut queue = Queue::default();
        queue.wait(5, Token(1));
        queue.wait(4, Token(2));
    }

    #[test]
    fn what_is_not_kept_never_comes_and_its_place_is_used_again() {
        let mut queue = Queue::default();
        (1..=4).for_each(|client| queue.put(client, Happening::Ask { client }));
        queue.keep(|happening| matches!(happening, Happening::Ask { client: 1 | 4 }));
        queue.put(2, Happening::Ask { client: 9 });
        assert_eq!(clients(&mut queue), [(1, 1), (2, 9), (4, 4)]);
        assert_eq!(queue.places.len(), 4);
    }
}
