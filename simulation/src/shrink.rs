//! Shrinking: what of a history is not needed for what went wrong in it.
//!
//! ```text
//!   kinds of trouble     without all? without losses? without drift? ...      each by itself
//!   clients              one? half of them? one less?
//!   single troubles      without all? the first half? the second? quarters, ... each by itself
//!        ▲                     │
//!        └── again, until nothing can be left out any more
//! ```
//!
//! A history that is left with less is another history, for every draw behind the change is another one. It is as good as
//! the first if the same check fails in it. In the end each kind, client and trouble that is left is one that it takes. On
//! the way there, what makes the history hardly longer is left out first: whoever reads it wants few lines too, and short
//! histories are tried quickly. While single troubles are left out, none strikes in their place: of all that could strike,
//! those that are left do, and no others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::Failure;
use crate::count::counted;
use crate::plan::Trouble;
use crate::report::Report;

mod changes;

pub use changes::Changes;

use changes::{Numbers, Singles};

/// By this part a history with less in it may be longer before another one is looked for.
const LONGER: u64 = 4;

/// So many histories are lived through at most to find a smaller one.
pub(crate) const TRIES_MAX: u32 = 1000;

/// How far a failure was shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shrunk {
    /// How many histories were lived through for it.
    pub tries: u32,
    /// Whether the same check fails in none that has one kind of trouble, client or single trouble less; else it was ended
    /// before that was known.
    pub is_minimal: bool,
}

/// In words, for whoever reads the failure.
impl std::fmt::Display for Shrunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tries = counted(u64::from(self.tries), "history", "histories");
        if self.is_minimal {
            return write!(f, "no kind, client or single trouble more can be left out ({tries} tried)");
        }
        let limit = if self.tries < TRIES_MAX { "" } else { ", which is the limit" };
        write!(f, "some of the rest may not be needed either: looking for less ended after {tries}{limit}")
    }
}

/// A failure while it is shrunk.
struct Shrinking<'a> {
    /// Lives through the history with these left out of it.
    live: &'a mut dyn FnMut(Changes) -> Result<Report, Failure>,
    /// The smallest so far.
    best: Failure,
    /// How many steps a history may have until the check fails in it.
    steps_max: u64,
    /// Of the histories that were tried and not kept since this was last set: the fewest steps after which one failed.
    next_shortest: Option<u64>,
    /// What became of each history: how the check failed in it, if it did.
    tried: BTreeMap<Changes, Option<Failure>>,
    /// Answers whether to go on, when it is told what is being tried.
    goes_on: &'a mut dyn FnMut(&Failure) -> bool,
    /// Whether it was told to stop, or has tried enough.
    is_over: bool,
}

impl Shrinking<'_> {
    /// Tries the history with these changes, and keeps them if the same check fails, not too late.
    fn keeps(&mut self, changes: Changes) -> bool {
        if self.is_over || changes == *self.best.changes {
            return false;
        }
        let tries = self.tries();
        let failed = match self.tried.entry(changes) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.is_over = tries == TRIES_MAX || !(self.goes_on)(&self.best);
                if self.is_over {
                    return false;
                }
                let failed = (self.live)(new.key().clone()).err();
                new.insert(failed.filter(|failure| failure.violation.check == self.best.violation.check))
            }
        };
        let Some(failure) = failed else { return false };
        let is_kept = failure.steps <= self.steps_max;
        if is_kept {
            self.best = failure.clone();
            self.steps_max = self.steps_max.min(longest(self.best.steps));
        } else {
            self.next_shortest = Some(self.next_shortest.map_or(failure.steps, |steps| steps.min(failure.steps)));
        }
        is_kept
    }

    fn tries(&self) -> u32 {
        u32::try_from(self.tried.len()).expect("no more than the limit")
    }

    /// Leaves out what can be, until nothing more can be: first where that makes the history hardly longer, and then where
    /// it does so least.
    fn leave_out_all(&mut self) {
        loop {
            let before = self.left();
            self.next_shortest = None;
            self.leave_out_kinds();
            self.leave_out_clients();
            self.leave_out_troubles();
            if self.is_over {
                return;
            }
            if self.left() == before {
                let Some(steps) = self.next_shortest else { return };
                self.steps_max = longest(steps);
            }
        }
    }

    fn left(&self) -> (usize, u64, usize) {
        self.best.changes.left(self.best.troubles, self.best.clients)
    }

    fn leave_out_kinds(&mut self) {
        let all = Trouble::ALL.map(|(trouble, ..)| trouble);
        self.keeps_in_any(|changes| changes.without.extend(all));
        for trouble in all {
            self.keeps_in_any(|changes| changes.without.extend([trouble]));
        }
    }

    fn leave_out_clients(&mut self) {
        let now = self.best.clients;
        for clients in [1, now / 2, now.saturating_sub(1)].into_iter().filter(|fewer| (1..now).contains(fewer)) {
            if self.keeps_in_any(|changes| changes.clients = Some(clients)) {
                return;
            }
        }
    }

    /// Tries a change behind which other troubles have the numbers: with those numbers alone that are left, and without those
    /// alone that were left out.
    fn keeps_in_any(&mut self, change: impl Fn(&mut Changes)) -> bool {
        let mut changes = Changes::clone(&self.best.changes);
        change(&mut changes);
        if changes == *self.best.changes {
            return false;
        }
        let left = self.best.changes.singles.left(self.best.troubles);
        let spared = (1..=self.best.troubles).filter(|trouble| !left.contains(trouble)).collect();
        let (only, spared) = (Singles::Only(Numbers(left)), Singles::Spared(spared));
        self.keeps(Changes { singles: only, ..changes.clone() }) || self.keeps(Changes { singles: spared, ..changes })
    }

    /// Leaves out troubles by halves, quarters, and so on (delta debugging; Zeller, Hildebrandt 2002).
    fn leave_out_troubles(&mut self) {
        let left =
            |failure: &Failure| -> Vec<u64> { failure.changes.singles.left(failure.troubles).into_iter().collect() };
        let mut piece = left(&self.best).len();
        while piece > 0 && !self.is_over {
            let mut from = 0;
            loop {
                let numbers = left(&self.best);
                if from >= numbers.len() || self.is_over {
                    break;
                }
                let behind = numbers.len().min(from + piece);
                let kept = numbers[..from].iter().chain(&numbers[behind..]).copied().collect();
                let changes = Changes { singles: Singles::Only(kept), ..Changes::clone(&self.best.changes) };
                if !self.keeps(changes) {
                    from += piece;
                }
            }
            piece /= 2;
        }
    }
}

/// How many steps a history may have beside the shortest, as long as that counts.
const fn longest(shortest: u64) -> u64 {
    shortest + shortest / LONGER
}

/// The smallest history that can be found in which the same check fails. `live` lives through the history with these left
/// out of it, and nothing else. `goes_on` is asked before each try, with the smallest so far: whoever has waited long enough
/// says no. [`Failure::shrunk`] says whether anything more could be left out; after 1000 tries that stays open.
///
/// ```
/// use outrigger_simulation::{History, shrink};
///
/// let history = History::new(1);
/// if let Err(failure) = history.live() {
///     let shrunk = shrink(failure, |changes| history.clone().changed(changes).live(), |_| true);
///     panic!("{shrunk}");
/// }
/// ```
#[must_use]
pub fn shrink(
    failure: Failure,
    mut live: impl FnMut(Changes) -> Result<Report, Failure>,
    mut goes_on: impl FnMut(&Failure) -> bool,
) -> Failure {
    let steps_max = longest(failure.steps);
    let mut shrinking = Shrinking {
        live: &mut live,
        best: failure,
        steps_max,
        next_shortest: None,
        tried: BTreeMap::new(),
        goes_on: &mut goes_on,
        is_over: false,
    };
    shrinking.leave_out_all();
    let (tries, is_minimal) = (shrinking.tries(), !shrinking.is_over);
    let mut best = shrinking.best;
    best.changes.singles = best.changes.singles.shortest(best.troubles);
    best.shrunk = (tries > 0).then_some(Shrunk { tries, is_minimal });
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Checks};
    use crate::plan::SECOND;
    use crate::{Again, History};

    #[test]
    fn what_is_left_out_does_not_strike_and_the_rest_does() {
        let calm = Trouble::ALL.map(|(_, name, ..)| name).join(",");
        let report = History::new(10).changed(Changes::parse(&calm, None, "").unwrap()).live().unwrap();
        let is_of_the_end = |name: &str| ["power cut", "power cut in a recovery", "message cut off"].contains(&name);
        assert!(report.faults.keys().all(|name| is_of_the_end(name)), "{:?}", report.faults);
        assert_eq!(report.crashes(), 1, "the restart of one node in the end");
        let spared = History::new(10).changed(Changes::parse("", None, "1-1000000").unwrap()).live().unwrap();
        assert_eq!(spared.crashes(), 1, "each single trouble was spared");
        assert!(
            spared.faults.contains_key("message cut off") || spared.faults.contains_key("message lost"),
            "others go on"
        );
    }

    /// Whether the check of a failure fails too with these changes.
    fn fails(history: &History, failure: &Failure, changes: Changes) -> bool {
        history.clone().changed(changes).live().is_err_and(|other| other.violation.check == failure.violation.check)
    }

    /// All that has one kind of trouble, client or single trouble less than a failure.
    fn with_one_less(failure: &Failure) -> Vec<Changes> {
        let changes = || Changes::clone(&failure.changes);
        let kinds = Trouble::ALL.into_iter().filter(|(trouble, ..)| !failure.changes.without.contains(trouble));
        let kinds = kinds.map(|(trouble, ..)| {
            let mut changes = changes();
            changes.without.insert(trouble);
            changes
        });
        let clients = (failure.clients > 1).then(|| Changes { clients: Some(failure.clients - 1), ..changes() });
        let left = failure.changes.singles.left(failure.troubles);
        let singles = left.iter().map(|trouble| {
            let kept = left.iter().filter(|other| *other != trouble).copied().collect();
            Changes { singles: Singles::Only(kept), ..changes() }
        });
        kinds.chain(clients).chain(singles).collect()
    }

    /// A history goes wrong, as far as shrinking can tell, when any trouble strikes after some time.
    #[test]
    fn a_failure_is_shrunk_to_what_it_takes() {
        for seed in 1..=3 {
            let history = History::new(seed).falling_over(3 * SECOND);
            let failure = history.live().unwrap_err();
            assert_eq!(failure.violation.check, Check::Health, "{failure}");
            let shrunk = shrink(failure, |changes| history.clone().changed(changes).live(), |_| true);
            assert_eq!(shrunk.violation.check, Check::Health);
            let how = shrunk.shrunk.expect("it was shrunk");
            assert!(how.is_minimal && (1..TRIES_MAX).contains(&how.tries), "{shrunk}");
            let left = shrunk.changes.singles.left(shrunk.troubles).len() as u64;
            assert!((1..=shrunk.troubles).contains(&left), "{left} troubles are left: {shrunk}");
            for less in with_one_less(&shrunk) {
                assert!(!fails(&history, &shrunk, less.clone()), "it takes no more than {less}: {shrunk}");
            }
            let again = history.changed(Changes::clone(&shrunk.changes)).live().unwrap_err();
            assert_eq!(Failure { shrunk: shrunk.shrunk, ..again }, shrunk, "it can be replayed");
        }
    }

    #[test]
    fn the_line_that_replays_a_failure_says_what_was_checked() {
        let history = History::new(9).falling_over(3 * SECOND);
        let replay = |checks: Checks| history.clone().checks(checks).live().unwrap_err().replay();
        let all = "cargo run --release -p outrigger-simulation --bin simulate -- --seed 9";
        assert_eq!(replay(Checks::ALL), all);
        // Who sees a whole history is told how to see less; who has chosen what is in it means that.
        let told = |history: &History| history.live().unwrap_err().to_string();
        let smaller = format!("\nlook for a smaller one with: {all}\nreplay it with: {all} --trace");
        assert!(told(&history).ends_with(&smaller), "{}", told(&history));
        let chosen = history.clone().changed(Changes::default().only("1-40").unwrap());
        assert!(!told(&chosen).contains("smaller one"), "{}", told(&chosen));
        assert_eq!(replay("model,recovery".parse().unwrap()), format!("{all} --checks model,recovery"));
        let changed = history.clone().changed(Changes::default().only("1-40").unwrap()).checks(Checks::LIGHT);
        assert_eq!(changed.live().unwrap_err().replay(), format!("{all} --only 1-40 --checks light"));
    }

    /// It takes losses or clocks adrift, and one of four clients; with losses it is ten times as short.
    #[test]
    fn what_makes_a_history_longer_is_left_out_last() {
        let history = History::new(9).falling_over(3 * SECOND);
        let failure = Failure { clients: 4, troubles: 0, ..history.live().unwrap_err() };
        let live = |changes: Changes| {
            let is_there = |trouble| !changes.without.contains(&trouble);
            let steps = match (is_there(Trouble::Loss), is_there(Trouble::Drift)) {
                (false, false) => return Ok(History::new(9).live().unwrap()),
                (false, true) => failure.steps * 10,
                (true, _) => failure.steps,
            };
            let clients = changes.clients.unwrap_or(failure.clients);
            // Each client that is left out makes it longer by half.
            let steps = steps + (failure.clients - clients) * steps / 2;
            Err(Failure { steps, clients, changes: Box::new(changes), ..failure.clone() })
        };
        let shrunk = shrink(failure.clone(), live, |_| true);
        let left: Vec<_> = Trouble::ALL.into_iter().filter(|it| !shrunk.changes.without.contains(&it.0)).collect();
        assert!(matches!(left[..], [(Trouble::Loss, ..)]), "{shrunk}");
        assert_eq!((shrunk.clients, shrunk.steps), (1, failure.steps * 5 / 2), "{shrunk}");
        assert!(shrunk.to_string().contains("\nno kind, client or single trouble more can be left out ("), "{shrunk}");
    }

    #[test]
    fn looking_for_less_ends_after_so_many_tries_and_says_so() {
        let history = History::new(9).falling_over(3 * SECOND);
        let failure = Failure { troubles: 5000, ..history.live().unwrap_err() };
        let sound = History::new(9).changed(Changes::parse("all", Some(1), "").unwrap()).live().unwrap();
        let mut lived = 0;
        let live = |_| {
            lived += 1;
            Ok(sound.clone())
        };
        let shrunk = shrink(failure.clone(), live, |_| true);
        assert_eq!(shrunk.shrunk, Some(Shrunk { tries: TRIES_MAX, is_minimal: false }));
        assert_eq!((lived, &shrunk.changes), (TRIES_MAX, &failure.changes));
        let said = "\nsome of the rest may not be needed either: looking for less ended after 1000 histories, which is the limit\n";
        assert!(shrunk.to_string().contains(said), "{shrunk}");
    }

    #[test]
    fn whoever_has_waited_long_enough_gets_the_smallest_so_far() {
        let history = History::new(9).falling_over(3 * SECOND);
        let failure = history.live().unwrap_err();
        let mut left = 3;
        let live = |changes| history.clone().changed(changes).live();
        let shrunk = shrink(failure.clone(), live, |_| {
            left -= 1;
            left >= 0
        });
        assert_eq!(shrunk.violation.check, failure.violation.check);
        assert!(left < 0, "it was asked");
        assert!(shrunk.to_string().contains("looking for less ended after 3 histories\nreplay it with"), "{shrunk}");
        // In a user's test it is the time that ends it.
        let again = Again { command: Some("cargo test".to_owned()), ..*shrunk.again.clone() };
        let of_a_user = Failure { again: Box::new(again), ..shrunk };
        let said = "after 3 histories; OUTRIGGER_SHRINK_SECONDS=120 gives it more time\nreplay it with: cargo test\n";
        assert!(of_a_user.to_string().contains(said), "{of_a_user}");
    }
}
