//! The calls and returns that are left, in order of time: three linked lists over one array, out of which operations
//! are lifted and into which they are put back, last out first in, without moving anything else.
//!
//! ```text
//!   answered      ⇄ call a ⇄ call b ⇄ return a ⇄ call d ⇄ return b ⇄ return d ⇄     lift b: its neighbours join
//!   overwriting   ⇄ call c ⇄                                                        hands, b remembers them
//!   dependent     ⇄ call e ⇄
//! ```
//!
//! The two latter hold operations of unknown outcome. Places in the array are in order of time, over all lists. What
//! may come next are the calls before the first return that is left: the *barrier*.

/// The place of an event.
pub(super) type Place = usize;

/// What happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The start, and the end, of this list.
    Rim(List),
    /// The operation with this number is called.
    Call(usize),
    /// The operation with this number is answered.
    Return(usize),
}

/// What is known of the operations in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// They were answered.
    Answered,
    /// Their outcome is unknown, and their effect is the same in every state.
    Overwriting,
    /// Their outcome is unknown, and their effect depends on the state.
    Dependent,
}

impl List {
    const ALL: [Self; 3] = [Self::Answered, Self::Overwriting, Self::Dependent];

    /// Where the list starts and ends.
    pub(super) const fn rim(self) -> Place {
        self as Place
    }
}

/// When an operation is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) called: u64,
    /// `None` if it was never answered.
    pub(super) returned: Option<u64>,
    /// The list that it belongs to; the answered one if and only if it was.
    pub(super) list: List,
}

/// The events that are left.
#[derive(Debug)]
pub(super) struct Timeline {
    /// What happens at each place; the rims of the lists come first.
    marks: Vec<Mark>,
    /// The place after each one in its list; circular.
    next: Vec<Place>,
    /// The place before each one in its list; `next[previous[p]] == p` unless `p` is lifted.
    previous: Vec<Place>,
    /// The places of each operation's call and, if it was answered, of its return.
    spans: Vec<(Place, Option<Place>)>,
}

impl Timeline {
    /// All events of these operations. Events at the same time: calls first, so that they count as at once.
    pub(super) fn new(intervals: &[Interval]) -> Self {
        let mut events = Vec::with_capacity(2 * intervals.len());
        for (number, interval) in intervals.iter().enumerate() {
            events.push((interval.called, false, number));
            events.extend(interval.returned.map(|at| (at, true, number)));
        }
        events.sort_unstable();
        let mut line = Self {
            marks: List::ALL.map(Mark::Rim).to_vec(),
            next: List::ALL.map(List::rim).to_vec(),
            previous: List::ALL.map(List::rim).to_vec(),
            spans: vec![(0, None); intervals.len()],
        };
        for (_, is_return, number) in events {
            let (place, rim) = (line.marks.len(), intervals[number].list.rim());
            if is_return {
                line.marks.push(Mark::Return(number));
                line.spans[number].1 = Some(place);
            } else {
                line.marks.push(Mark::Call(number));
                line.spans[number].0 = place;
            }
            line.next.push(rim);
            line.previous.push(rim);
            line.join(line.previous[rim], place);
            line.join(place, rim);
        }
        line
    }

    fn join(&mut self, left: Place, right: Place) {
        self.next[left] = right;
        self.previous[right] = left;
    }

    pub(super) fn mark(&self, place: Place) -> Mark {
        self.marks[place]
    }

    /// The event after this one in its list.
    pub(super) fn after(&self, place: Place) -> Place {
        self.next[place]
    }

    /// Where an operation is called.
    pub(super) fn call(&self, number: usize) -> Place {
        self.spans[number].0
    }

    /// Takes an operation out of its list.
    pub(super) fn lift(&mut self, number: usize) {
        let (call, answer) = self.spans[number];
        for place in [Some(call), answer].into_iter().flatten() {
            let (left, right) = (self.previous[place], self.next[place]);
            assert!(self.next[left] == place, "operation {number} is lifted already");
            self.join(left, right);
        }
    }

    /// Puts the operation that was lifted last back to where it was.
    pub(super) fn unlift(&mut self, number: usize) {
        let (call, answer) = self.spans[number];
        for place in [answer, Some(call)].into_iter().flatten() {
            let (left, right) = (self.previous[place], self.next[place]);
            let joined = self.next[left] == right && self.previous[right] == left;
            assert!(joined, "operation {number} was not lifted last");
            self.next[left] = place;
            self.previous[right] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(line: &Timeline, list: List) -> Vec<Mark> {
        let (mut found, mut place) = (Vec::new(), line.after(list.rim()));
        while line.mark(place) != Mark::Rim(list) {
            found.push(line.mark(place));
            place = line.after(place);
        }
        found
    }

    fn timeline() -> Timeline {
        let spans = [(0, Some(4)), (2, Some(6)), (3, None), (4, Some(5))];
        Timeline::new(&spans.map(|(called, returned)| {
            let list = if returned.is_some() { List::Answered } else { List::Dependent };
            Interval { called, returned, list }
        }))
    }

    #[test]
    fn equal_times_count_as_at_once() {
        use Mark::{Call, Return};
        let line = timeline();
        assert_eq!(list(&line, List::Answered), [Call(0), Call(1), Call(3), Return(0), Return(3), Return(1)]);
        assert_eq!(list(&line, List::Dependent), [Call(2)]);
        assert!(line.call(2) > line.call(1) && line.call(2) < line.call(3), "places are in order over all lists");
    }

    #[test]
    fn what_is_lifted_comes_back_to_its_place() {
        let mut line = timeline();
        let before = (list(&line, List::Answered), list(&line, List::Dependent));
        for number in [1, 2, 0, 3] {
            line.lift(number);
            assert!(!list(&line, List::Answered).contains(&Mark::Call(number)));
        }
        assert!(list(&line, List::Answered).is_empty() && list(&line, List::Dependent).is_empty());
        for number in [3, 0, 2, 1] {
            line.unlift(number);
        }
        assert_eq!((list(&line, List::Answered), list(&line, List::Dependent)), before);
    }

    #[test]
    #[should_panic(expected = "operation 1 was not lifted last")]
    fn the_order_of_putting_back_is_held() {
        let mut line = timeline();
        line.lift(1);
        line.lift(0);
        line.unlift(1);
    }
}
