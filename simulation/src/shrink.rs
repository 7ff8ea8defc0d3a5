//! Shrinking: what of a history is not needed for what went wrong in it.
//!
//! ```text
//!   kinds of trouble     without losses? without drift? ...      each by itself
//!   clients              one? half of them?
//!   single troubles      without the first half? the second? quarters, ... each by itself
//!        ▲                     │
//!        └── again, as long as something could be left out, and for as long as anybody cares to wait
//! ```
//!
//! A history that is left with less is another history, for every draw behind the change is another one. It is as good as
//! the first if the same check fails in it, and not much later: whoever reads it would rather meet another kind of trouble
//! than ten times as many lines. What is left out is named, so that it can be replayed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::Failure;
use crate::plan::{Plan, Trouble, UnknownTrouble};
use crate::report::Report;

/// What stands for every kind of trouble.
const ALL: &str = "all";

/// By this part of the shortest history that is known to fail, one with less trouble in it may be longer.
const LONGER: u64 = 4;

/// No history has as many troubles.
const NUMBER_MAX: u64 = 1_000_000;

/// What of a history is left out.
///
/// ```
/// use outrigger_simulation::Changes;
///
/// let changes = Changes::parse("loss,drift", Some(2), "1-3,7").unwrap();
/// assert_eq!(changes.to_string(), "--without loss,drift --clients 2 --spare 1-3,7");
/// assert_eq!(Changes::default().to_string(), "");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Kinds of trouble that never come.
    without: BTreeSet<Trouble>,
    /// How many clients there are, if not as many as the seed says.
    clients: Option<u64>,
    /// Single troubles that do not strike, by their numbers.
    spared: Numbers,
}

impl Changes {
    /// From the words of a command line: names of troubles with commas between them, or `all`; how many clients; and numbers
    /// of single troubles (`1-3,7`).
    ///
    /// # Errors
    /// A name that no trouble has, or numbers that are none.
    pub fn parse(without: &str, clients: Option<u64>, spared: &str) -> Result<Self, String> {
        let names = without.split(',').filter(|name| !name.is_empty());
        let without: Result<BTreeSet<Trouble>, UnknownTrouble> = match without.trim() {
            ALL => Ok(Trouble::ALL.map(|(trouble, ..)| trouble).into()),
            _ => names.map(Trouble::from_str).collect(),
        };
        Ok(Self { without: without.map_err(|error| error.to_string())?, clients, spared: spared.parse()? })
    }

    /// In a few words, for a title; nothing for no changes.
    ///
    /// ```
    /// use outrigger_simulation::Changes;
    ///
    /// let changes = Changes::parse("loss,drift", Some(1), "1-3,7").unwrap();
    /// assert_eq!(changes.summary(), "without 2 of 24 kinds of trouble, without 4 single troubles, with 1 client");
    /// ```
    #[must_use]
    pub fn summary(&self) -> String {
        let (kinds, singles) = (self.without.len(), self.spared.0.len());
        let without = (kinds > 0).then(|| format!("without {kinds} of {} kinds of trouble", Trouble::ALL.len()));
        let spared = (singles > 0).then(|| format!("without {singles} single troubles"));
        let clients = self.clients.map(|count| format!("with {count} client{}", if count == 1 { "" } else { "s" }));
        [without, spared, clients].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What is left out of a history in which there were so many troubles, in words; nothing for no changes.
    pub(crate) fn told(&self, troubles: u64) -> String {
        let all = Trouble::ALL.len();
        let left: Vec<_> = Trouble::ALL.iter().filter(|(it, ..)| !self.without.contains(it)).map(|it| it.1).collect();
        let but = if left.is_empty() { String::new() } else { format!(" (all but {})", left.join(", ")) };
        let kinds =
            (!self.without.is_empty()).then(|| format!("{} of {all} kinds of trouble{but}", self.without.len()));
        let spared = self.spared.0.range(..=troubles).count();
        let singles = (spared > 0).then(|| format!("{spared} of {troubles} single troubles"));
        let clients = self.clients.map(|clients| format!("all clients but {clients}"));
        [kinds, singles, clients].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Each part that is not empty: its name, and its words, which hold no blank.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let names: Vec<_> = self.without.iter().map(|trouble| trouble.name()).collect();
        let is_all = names.len() == Trouble::ALL.len();
        let names = if is_all { ALL.to_owned() } else { names.join(",") };
        let without = (!names.is_empty()).then_some(("without", names));
        let clients = self.clients.map(|clients| ("clients", clients.to_string()));
        let spared = (!self.spared.0.is_empty()).then(|| ("spare", self.spared.to_string()));
        [without, clients, spared].into_iter().flatten()
    }

    /// The kinds of trouble that can be left out, each with a few words on what it is.
    pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
        Trouble::ALL.into_iter().map(|(_, name, .., told)| (name, told))
    }

    pub(crate) fn apply(&self, plan: &mut Plan) {
        self.without.iter().for_each(|trouble| plan.spare(*trouble));
        plan.clients = self.clients.unwrap_or(plan.clients);
    }

    /// The numbers of single troubles that are left out of a history and that none of its troubles, of which there are so
    /// many, has; in words, if there are any.
    ///
    /// ```
    /// use outrigger_simulation::Changes;
    ///
    /// let changes = Changes::parse("", None, "1-3,7-9").unwrap();
    /// assert_eq!(changes.beyond(7).as_deref(), Some("8-9"));
    /// assert_eq!(changes.beyond(9), None);
    /// ```
    #[must_use]
    pub fn beyond(&self, troubles: u64) -> Option<String> {
        let beyond: BTreeSet<u64> = self.spared.0.range(troubles + 1..).copied().collect();
        (!beyond.is_empty()).then(|| Numbers(beyond).to_string())
    }

    pub(crate) fn spares(&self, trouble: u64) -> bool {
        self.spared.0.contains(&trouble)
    }

    /// How much is left of a history with so many troubles and clients: what shrinking makes smaller.
    fn left(&self, troubles: u64, clients: u64) -> (usize, u64, u64) {
        let kinds = Trouble::ALL.len() - self.without.len();
        (kinds, self.clients.unwrap_or(clients), troubles.saturating_sub(self.spared.0.len() as u64))
    }
}

/// As the flags of a command line.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<_> = self.parts().map(|(name, words)| format!("--{name} {words}")).collect();
        f.write_str(&flags.join(" "))
    }
}

/// Numbers, as `1-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers(BTreeSet<u64>);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.push((number, number)),
            }
        }
        let run = |(first, last): (u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        f.write_str(&runs.into_iter().map(run).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = BTreeSet::new();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let number = |text: &str| text.trim().parse::<u64>().ok();
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first < 1 || last > NUMBER_MAX => {
                    return Err(format!("{run:?} names no trouble: they are numbered from 1 to {NUMBER_MAX}"));
                }
                (Some(first), Some(last)) if first <= last => numbers.extend(first..=last),
                _ => return Err(format!("{run:?} is neither a number nor a range such as 3-7")),
            }
        }
        Ok(Self(numbers))
    }
}

/// A failure while it is shrunk.
struct Shrinking<'a> {
    /// Lives through the history with these left out of it.
    live: &'a mut dyn FnMut(Changes) -> Result<Report, Failure>,
    /// The smallest so far.
    best: Failure,
    /// How many steps the shortest had that failed.
    shortest: u64,
    /// Answers whether to go on, when it is told what is being tried.
    goes_on: &'a mut dyn FnMut(&Failure) -> bool,
    /// Whether it was told to stop.
    is_over: bool,
}

impl Shrinking<'_> {
    /// Tries the history with these changes, and keeps them if the same check fails, not much later.
    fn keeps(&mut self, changes: Changes) -> bool {
        self.is_over = self.is_over || !(self.goes_on)(&self.best);
        if self.is_over || changes == *self.best.changes {
            return false;
        }
        match (self.live)(changes) {
            Err(failure) if failure.violation.check == self.best.violation.check => {
                self.shortest = self.shortest.min(failure.steps);
                let is_kept = failure.steps <= self.shortest + self.shortest / LONGER;
                if is_kept {
                    self.best = failure;
                }
                is_kept
            }
            Ok(_) | Err(_) => false,
        }
    }

    fn leave_out_kinds(&mut self) {
        for (trouble, ..) in Trouble::ALL {
            let mut changes = Changes::clone(&self.best.changes);
            changes.without.insert(trouble);
            self.keeps(changes);
        }
    }

    fn leave_out_clients(&mut self) {
        let now = self.best.clients;
        for clients in [1, now / 2, now.saturating_sub(1)].into_iter().filter(|fewer| (1..now).contains(fewer)) {
            if self.keeps(Changes { clients: Some(clients), ..Changes::clone(&self.best.changes) }) {
                return;
            }
        }
    }

    /// Leaves out troubles by halves, quarters, and so on (delta debugging; Zeller, Hildebrandt 2002).
    fn leave_out_troubles(&mut self) {
        let left = |failure: &Failure| -> Vec<u64> {
            (1..=failure.troubles).filter(|trouble| !failure.changes.spares(*trouble)).collect()
        };
        let mut piece = left(&self.best).len();
        while piece > 0 && !self.is_over {
            let mut from = 0;
            loop {
                let numbers = left(&self.best);
                let Some(tried) = numbers.get(from..) else { break };
                if tried.is_empty() || self.is_over {
                    break;
                }
                let mut changes = Changes::clone(&self.best.changes);
                changes.spared.0.extend(&tried[..tried.len().min(piece)]);
                if !self.keeps(changes) {
                    from += piece;
                }
            }
            piece /= 2;
        }
    }
}

/// The smallest history that can be found in which the same check fails, and which is hardly longer than the shortest that
/// was met: by a quarter of its steps at most. `live` lives through the history with these left
/// out of it, and nothing else. `goes_on` is asked before each try, with the smallest so far: whoever has waited long enough
/// says no.
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
    let shortest = failure.steps;
    let mut shrinking = Shrinking { live: &mut live, best: failure, shortest, goes_on: &mut goes_on, is_over: false };
    let left = |failure: &Failure| failure.changes.left(failure.troubles, failure.clients);
    loop {
        let before = left(&shrinking.best);
        shrinking.leave_out_kinds();
        shrinking.leave_out_clients();
        shrinking.leave_out_troubles();
        if shrinking.is_over || left(&shrinking.best) >= before {
            let mut best = shrinking.best;
            // No trouble of it has these numbers: they are of longer histories.
            best.changes.spared.0.retain(|number| *number <= best.troubles);
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::History;
    use crate::check::Check;
    use crate::plan::SECOND;

    #[test]
    fn numbers_are_written_as_ranges_and_read_again() {
        let numbers: Numbers = "7,1-3,2,10".parse().unwrap();
        assert_eq!(numbers.to_string(), "1-3,7,10");
        assert_eq!(numbers.to_string().parse(), Ok(numbers));
        assert!("3-1".parse::<Numbers>().unwrap_err().contains("\"3-1\""));
        assert!("1,x".parse::<Numbers>().unwrap_err().contains("\"x\""));
        assert!(Changes::parse("fog", None, "").unwrap_err().contains("no trouble is called \"fog\""));
    }

    #[test]
    fn what_is_left_out_is_told() {
        let told = |without: &str, clients, spared: &str| Changes::parse(without, clients, spared).unwrap().told(7);
        assert_eq!(told("", None, ""), "");
        let all = Trouble::ALL.map(|(_, name, ..)| name).join(",");
        assert_eq!(Changes::parse(&all, None, "").unwrap().to_string(), "--without all");
        assert_eq!(told("all", None, "9"), "24 of 24 kinds of trouble", "no trouble has the number 9");
        assert_eq!(
            told(&all.replace("loss,", "").replace("drift,", ""), Some(2), "1-3,6-9"),
            "22 of 24 kinds of trouble (all but loss, drift), 5 of 7 single troubles, all clients but 2"
        );
    }

    #[test]
    fn what_is_left_out_does_not_strike_and_the_rest_does() {
        let calm = Trouble::ALL.map(|(_, name, ..)| name).join(",");
        let report = History::new(3).changed(Changes::parse(&calm, None, "").unwrap()).live().unwrap();
        let is_of_the_end = |name: &str| ["power cut", "power cut in a recovery", "message cut off"].contains(&name);
        assert!(report.faults.keys().all(|name| is_of_the_end(name)), "{:?}", report.faults);
        assert_eq!(report.crashes(), 1, "the restart of one node in the end");
        let spared = History::new(3).changed(Changes::parse("", None, "1-1000000").unwrap()).live().unwrap();
        assert_eq!(spared.crashes(), 1, "each single trouble was spared");
        assert!(
            spared.faults.contains_key("message cut off") || spared.faults.contains_key("message lost"),
            "others go on"
        );
    }

    /// A history goes wrong, as far as shrinking can tell, when any trouble strikes after some time.
    #[test]
    fn a_failure_is_shrunk_to_what_it_takes() {
        let history = History::new(1).falling_over(3 * SECOND);
        let failure = history.live().unwrap_err();
        assert_eq!(failure.violation.check, Check::Health, "{failure}");
        let mut tries = 0;
        let live = |changes| history.clone().changed(changes).live();
        let shrunk = shrink(failure, live, |_| {
            tries += 1;
            true
        });
        assert_eq!(shrunk.violation.check, Check::Health);
        let left: Vec<u64> = (1..=shrunk.troubles).filter(|trouble| !shrunk.changes.spares(*trouble)).collect();
        let is_shrunk = !left.is_empty() && (left.len() as u64) < shrunk.troubles;
        assert!(is_shrunk && tries < 1_000, "{} troubles are left after {tries} tries: {shrunk}", left.len());
        for trouble in left {
            let mut changes = Changes::clone(&shrunk.changes);
            changes.spared.0.insert(trouble);
            let later = history.clone().changed(changes).live().map_or_else(|failure| failure.steps, |_| u64::MAX);
            assert!(later > shrunk.steps * 5 / 4, "it goes wrong without trouble {trouble} as soon");
        }
        let again = history.changed(Changes::clone(&shrunk.changes)).live().unwrap_err();
        assert_eq!(again, shrunk, "it can be replayed");
    }

    /// Without clocks adrift it fails in half of the steps, and without losses in four times as many, though in whatever
    /// else is left out.
    #[test]
    fn less_trouble_in_a_longer_history_is_not_smaller() {
        let history = History::new(9).falling_over(3 * SECOND);
        let failure = history.live().unwrap_err();
        let (steps, mut shortest) = (failure.steps, failure.steps);
        let live = |changes: Changes| {
            let left_out = |trouble| u64::from(changes.without.contains(&trouble));
            let steps = (steps << (2 * left_out(Trouble::Loss))) >> left_out(Trouble::Drift);
            // A little longer for each kind: less than a quarter only for the first few.
            let steps = steps + steps * changes.without.len() as u64 / 16;
            shortest = shortest.min(steps);
            Err(Failure { steps, changes: Box::new(changes), ..failure.clone() })
        };
        let shrunk = shrink(failure.clone(), live, |_| true);
        let kinds = &shrunk.changes.without;
        assert!(kinds.contains(&Trouble::Drift) && !kinds.contains(&Trouble::Loss), "{shrunk}");
        assert!(kinds.len() > 1 && shrunk.steps <= shortest * 5 / 4, "{} of {shortest} steps", shrunk.steps);
        let beyond = Changes::clone(&shrunk.changes).beyond(shrunk.troubles);
        assert_eq!(beyond, None, "numbers of troubles that it does not have");
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
    }
}
