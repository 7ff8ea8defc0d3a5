//! The search for an order of the operations on one key.
//!
//! ```text
//!   place ──► the specification agrees, and nobody was here before ──► lift it, begin again at the front
//!     ▲  └──► else: the next call before the barrier
//!     │        └──► none is left: operations of unknown outcome called before the barrier, one by one
//!     │              └──► none is left: take back what was placed last, go on behind it
//!     └── all answered operations are placed: explained          nothing is left to take back: stuck ──┘
//! ```
//!
//! A *configuration* is what was placed, as a set, and the state that it led to: all that the future depends on. Each
//! is entered once.
//!
//! An operation `u` of unknown outcome may be placed anywhere behind its call or left out, so `k` of them would cost
//! `2^k` configurations. Two rules, which drop no answer, keep them few. Placing `u` where it changes nothing is leaving
//! it out. And if `x` comes right behind `u` and leaves the same state as without `u`, then `u` can be left out: whatever
//! follows, follows from there too, with `u` still at hand. In a register only the one write that the next answer shows
//! remains. What always overwrites is not even tried behind another such operation.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use super::bits::{BitSet, Packed};
use super::picture::{Picture, Rank, Row};
use super::timeline::{Interval, List, Mark, Place, Timeline};
use super::verdict::{Limit, Limits, Violation};
use super::{Effect, Fate, HistoryOf, OperationId, Specification};

/// How many operations of the longest order a picture shows.
const SHOWN_PLACED: usize = 8;
/// How many operations that are not placed a picture shows, besides the one that is stuck.
const SHOWN_LEFT: usize = 12;

/// How many of the states in which an operation gets stuck are told.
const STATES_MAX: usize = 8;

/// How a search ends.
pub(super) enum Outlook {
    /// This order explains every answer.
    Explained(Vec<OperationId>),
    /// No order does.
    Stuck,
    /// A limit was reached before one of these was known.
    Limit(Limit),
}

/// One operation to be placed.
struct Candidate<'a, S: Specification> {
    id: OperationId,
    operation: &'a S::Operation,
    outcome: Option<&'a S::Outcome>,
    /// Its number among those with an outcome, or among those without, in the order of calls.
    bit: usize,
    /// Where it is when it is not placed.
    list: List,
}

/// All that the future of a search depends on.
#[derive(PartialEq, Eq, Hash)]
struct Configuration<T> {
    answered: Packed,
    unknown: Packed,
    state: T,
}

/// An operation in the order that is tried.
struct Placed<T> {
    number: usize,
    /// The state before it.
    before: T,
    /// For an operation of unknown outcome: the first return that was left when it was placed.
    barrier: Option<Place>,
}

/// Where the search looks for the next operation.
struct Cursor {
    place: Place,
    /// Among operations of unknown outcome: the first return that is left, behind which no call counts.
    barrier: Option<Place>,
}

/// The order that got furthest: past the most returns, and then with the most answers explained.
struct Furthest<T> {
    barrier: Place,
    /// What such an order can lead to, this one and others that get past as many returns; no more than are told.
    states: Vec<T>,
    explained: usize,
    order: Vec<usize>,
    /// How many operations at the start of `order` are also those that are placed now.
    shared: usize,
}

/// The search on one key.
pub(super) struct Search<'a, S: Specification> {
    specification: &'a S,
    history: &'a HistoryOf<S>,
    initial: S::State,
    candidates: Vec<Candidate<'a, S>>,
    line: Timeline,
    /// The answered operations that are placed.
    answered: BitSet,
    /// The operations of unknown outcome that are placed.
    unknown: BitSet,
    visited: HashSet<Configuration<S::State>, BuildHasherDefault<DefaultHasher>>,
    /// After everything that is placed.
    state: S::State,
    placed: Vec<Placed<S::State>>,
    /// How many answered operations there are, and how many of them are not placed.
    total: usize,
    left: usize,
    furthest: Furthest<S::State>,
    steps: u64,
}

impl<'a, S: Specification> Search<'a, S> {
    /// A search among these operations, none of which was refused.
    pub(super) fn new(
        specification: &'a S,
        history: &'a HistoryOf<S>,
        initial: S::State,
        operations: &[OperationId],
    ) -> Self {
        let mut ids = operations.to_vec();
        ids.sort_by_key(|id| history.known(*id).called);
        let (mut total, mut unknown) = (0, 0);
        let (mut candidates, mut intervals) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for id in ids {
            let invocation = history.known(id);
            assert!(!matches!(invocation.fate, Fate::Refused), "{id} was refused and is searched for");
            let outcome = invocation.outcome();
            let list = match (outcome, specification.effect(&invocation.operation)) {
                (Some(_), _) => List::Answered,
                (None, Effect::Nothing) => continue,
                (None, Effect::Overwrites) => List::Overwriting,
                (None, Effect::Depends) => List::Dependent,
            };
            let count = if outcome.is_some() { &mut total } else { &mut unknown };
            candidates.push(Candidate { id, operation: &invocation.operation, outcome, bit: *count, list });
            let returned = outcome.map(|_| invocation.returned());
            intervals.push(Interval { called: invocation.called, returned, list });
            *count += 1;
        }
        Self {
            specification,
            history,
            state: initial.clone(),
            initial,
            candidates,
            line: Timeline::new(&intervals),
            answered: BitSet::new(total),
            unknown: BitSet::new(unknown),
            visited: HashSet::default(),
            placed: Vec::new(),
            total,
            left: total,
            furthest: Furthest {
                barrier: Place::default(),
                states: Vec::new(),
                explained: 0,
                order: Vec::new(),
                shared: 0,
            },
            steps: 0,
        }
    }

    /// How many times the specification was asked for the next state.
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Searches to an end or to a limit.
    pub(super) fn run(&mut self, limits: &mut Limits<'_>) -> Outlook {
        let mut cursor = self.front();
        while self.left > 0 {
            let reached = match self.line.mark(cursor.place) {
                // Behind the barrier there are only calls that come too late; the list is as good as over.
                Mark::Call(number) if cursor.barrier.is_some_and(|barrier| cursor.place > barrier) => {
                    Mark::Rim(self.candidates[number].list)
                }
                mark => mark,
            };
            match reached {
                Mark::Call(number) => {
                    if let Some(limit) = limits.reached(self.steps) {
                        return Outlook::Limit(limit);
                    }
                    if self.place(number, cursor.barrier) {
                        cursor = self.front();
                    } else {
                        cursor.place = self.line.after(cursor.place);
                    }
                }
                Mark::Return(_) => {
                    self.note_dead_end(cursor.place);
                    let after_unknown = self.placed.last().is_some_and(|last| last.barrier.is_some());
                    let list = if after_unknown { List::Dependent } else { List::Overwriting };
                    cursor = Cursor { place: self.line.after(list.rim()), barrier: Some(cursor.place) };
                }
                Mark::Rim(List::Overwriting) => cursor.place = self.line.after(List::Dependent.rim()),
                Mark::Rim(List::Dependent) => match self.take_back() {
                    Some(behind) => cursor = behind,
                    None => return Outlook::Stuck,
                },
                Mark::Rim(List::Answered) => unreachable!("the answered operations that are left end in a return"),
            }
        }
        Outlook::Explained(self.placed.iter().map(|placed| self.candidates[placed.number].id).collect())
    }

    fn front(&self) -> Cursor {
        Cursor { place: self.line.after(List::Answered.rim()), barrier: None }
    }

    /// Places an operation next, if it may come next and that leads to anything new.
    fn place(&mut self, number: usize, barrier: Option<Place>) -> bool {
        let Candidate { operation, outcome, bit, .. } = self.candidates[number];
        self.steps += 1;
        let Some(state) = self.specification.step(&self.state, operation, outcome) else { return false };
        if self.is_idle(number, &state) {
            return false;
        }
        self.members(number).insert(bit);
        let here = Configuration { answered: self.answered.pack(), unknown: self.unknown.pack(), state: state.clone() };
        if !self.visited.insert(here) {
            self.members(number).remove(bit);
            return false;
        }
        self.line.lift(number);
        self.left -= usize::from(outcome.is_some());
        let before = std::mem::replace(&mut self.state, state);
        self.placed.push(Placed { number, before, barrier });
        true
    }

    /// Whether an operation of unknown outcome is of no use: this one, or the one before it.
    fn is_idle(&mut self, number: usize, after: &S::State) -> bool {
        let Candidate { operation, outcome, .. } = self.candidates[number];
        if outcome.is_none() && *after == self.state {
            return true;
        }
        let Some(Placed { before, barrier: Some(_), .. }) = self.placed.last() else { return false };
        self.steps += 1;
        self.specification.step(before, operation, outcome).as_ref() == Some(after)
    }

    fn members(&mut self, number: usize) -> &mut BitSet {
        if self.candidates[number].outcome.is_some() { &mut self.answered } else { &mut self.unknown }
    }

    /// Takes the last operation back; the search goes on behind it. `None` if nothing is placed.
    fn take_back(&mut self) -> Option<Cursor> {
        let Placed { number, before, barrier } = self.placed.pop()?;
        self.state = before;
        self.line.unlift(number);
        let bit = self.candidates[number].bit;
        self.members(number).remove(bit);
        self.left += usize::from(barrier.is_none());
        self.furthest.shared = self.furthest.shared.min(self.placed.len());
        Some(Cursor { place: self.line.after(self.line.call(number)), barrier })
    }

    /// No answered operation can come next, and the one that returns at the barrier must.
    fn note_dead_end(&mut self, barrier: Place) {
        let explained = self.total - self.left;
        let furthest = &mut self.furthest;
        if barrier > furthest.barrier {
            furthest.states.clear();
        }
        let is_new = barrier >= furthest.barrier && furthest.states.len() < STATES_MAX;
        if is_new && !furthest.states.contains(&self.state) {
            furthest.states.push(self.state.clone());
        }
        if (barrier, explained) <= (furthest.barrier, furthest.explained) {
            return;
        }
        furthest.order.truncate(furthest.shared);
        furthest.order.extend(self.placed[furthest.shared..].iter().map(|placed| placed.number));
        (furthest.barrier, furthest.explained, furthest.shared) = (barrier, explained, furthest.order.len());
    }

    /// What is wrong, after the search got stuck.
    pub(super) fn violation(&self, key: String) -> Violation {
        let Mark::Return(stuck) = self.line.mark(self.furthest.barrier) else {
            panic!("the search of key {key} is not stuck");
        };
        let order = &self.furthest.order;
        let end = order.iter().fold(self.initial.clone(), |state, number| {
            let Candidate { id, operation, outcome, .. } = self.candidates[*number];
            let next = self.specification.step(&state, operation, outcome);
            next.unwrap_or_else(|| panic!("the specification changed its mind on {id} in state {state:?}"))
        });
        let text = |state: &S::State| self.specification.state_text(state);
        let others = self.furthest.states.iter().filter(|state| **state != end).map(text).collect();
        let prefix: Vec<OperationId> = order.iter().map(|number| self.candidates[*number].id).collect();
        let stuck = self.candidates[stuck].id;
        let picture = self.picture(stuck, &prefix).to_string();
        let invocation = self.history.known(stuck);
        let (client, said) = (invocation.client, self.says(stuck));
        Violation { key, stuck, client, said, prefix, state: text(&end), others, picture }
    }

    /// An operation and how it was answered.
    fn says(&self, id: OperationId) -> String {
        let invocation = self.history.known(id);
        self.specification.operation_text(&invocation.operation, invocation.outcome())
    }

    /// The end of the longest order, the operation that is stuck, and all else that was under way.
    fn picture(&self, stuck: OperationId, prefix: &[OperationId]) -> Picture {
        let hidden = prefix.len().saturating_sub(SHOWN_PLACED);
        let mut rows: Vec<Row> =
            (1..).zip(prefix).skip(hidden).map(|(place, id)| self.row(*id, Rank::Placed(place))).collect();
        let (end, placed): (_, HashSet<OperationId>) =
            (self.history.known(stuck).returned(), prefix.iter().copied().collect());
        let mut left = self
            .candidates
            .iter()
            .map(|candidate| candidate.id)
            .filter(|id| *id != stuck && self.history.known(*id).called <= end && !placed.contains(id));
        rows.push(self.row(stuck, Rank::Stuck));
        rows.extend(left.by_ref().take(SHOWN_LEFT).map(|id| self.row(id, Rank::Left)));
        Picture { rows, earlier: hidden, more: left.count() }
    }

    fn row(&self, id: OperationId, rank: Rank) -> Row {
        let invocation = self.history.known(id);
        Row {
            rank,
            id,
            client: invocation.client,
            says: self.says(id),
            called: invocation.called,
            returned: invocation.outcome().map(|_| invocation.returned()),
        }
    }
}
