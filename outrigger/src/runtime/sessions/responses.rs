//! The responses of one session, by the numbers of their commands.

use std::collections::VecDeque;

use bytes::Bytes;

/// What was answered to the newest numbers of a session, in the order of the numbers. A client counts up, so that as a rule one
/// comes behind all others and the first one goes: a queue, which has its memory in one piece and keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Responses(
    /// Strictly sorted by number. None for a response that is not kept.
    VecDeque<(u64, Option<Bytes>)>,
);

impl Responses {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The highest number that was answered.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.back().map(|(sequence, _)| *sequence)
    }

    /// What was answered to a number, if it was.
    pub(super) fn get(&self, sequence: u64) -> Option<&Option<Bytes>> {
        if self.last().is_none_or(|last| last < sequence) {
            return None;
        }
        let place = self.place(sequence).ok()?;
        self.0.get(place).map(|(_, response)| response)
    }

    /// Adds what was answered to a number; false if there was an answer.
    pub(super) fn insert(&mut self, sequence: u64, response: Option<Bytes>) -> bool {
        if self.last().is_none_or(|last| last < sequence) {
            self.0.push_back((sequence, response));
            return true;
        }
        let Err(place) = self.place(sequence) else { return false };
        self.0.insert(place, (sequence, response));
        true
    }

    /// Forgets the numbers below this one; answers how many bytes their responses had.
    pub(super) fn forget_below(&mut self, sequence: u64) -> usize {
        let mut bytes = 0;
        while let Some((_, response)) = self.0.front().filter(|(oldest, _)| *oldest < sequence) {
            bytes += response.as_ref().map_or(0, Bytes::len);
            self.0.pop_front();
        }
        bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Option<&Bytes>)> {
        self.0.iter().map(|(sequence, response)| (*sequence, response.as_ref()))
    }

    /// The responses in the order of the numbers.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Option<Bytes>> {
        self.0.iter_mut().map(|(_, response)| response)
    }

    /// Whether the number was answered; it is not any more.
    #[cfg(outrigger_mutants)]
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        self.place(sequence).is_ok_and(|place| self.0.remove(place).is_some())
    }

    /// Where a number stands, or would stand.
    fn place(&self, sequence: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&sequence, |(known, _)| *known)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map_from_numbers_in_their_order_whatever_the_order_in_which_they_come() {
        let (mut responses, mut tree) = (Responses::default(), BTreeMap::new());
        for length in [5, 6, 9, 7, 1, 9, 8, 20, 5, 2] {
            let sequence = length as u64;
            let response = (length % 3 > 0).then(|| Bytes::from(vec![0; length]));
            assert_eq!(responses.insert(sequence, response.clone()), !tree.contains_key(&sequence), "{sequence}");
            tree.entry(sequence).or_insert(response);
        }
        let expect = |responses: &Responses, tree: &BTreeMap<u64, Option<Bytes>>| {
            assert!(responses.iter().eq(tree.iter().map(|(sequence, it)| (*sequence, it.as_ref()))), "{responses:?}");
            assert_eq!((responses.len(), responses.last()), (tree.len(), tree.keys().next_back().copied()));
            (0..=21).for_each(|sequence| assert_eq!(responses.get(sequence), tree.get(&sequence), "{sequence}"));
        };
        expect(&responses, &tree);
        assert_eq!(responses.forget_below(7), 1 + 2 + 5, "of 6 nothing was kept");
        tree.retain(|sequence, _| *sequence >= 7);
        expect(&responses, &tree);
        assert_eq!(responses.forget_below(7), 0);
        responses.values_mut().chain(tree.values_mut()).for_each(|response| *response = None);
        expect(&responses, &tree);
        assert_eq!((responses.forget_below(100), responses.last()), (0, None));
    }
}
