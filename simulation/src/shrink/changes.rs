//! What of a history is left out, and how a command line says it.
//!
//! ```text
//!   troubles in their order     1  2  3  4  5  6  7  8  9  10  11 ...
//!   --spare 1-3,7               -  -  -  x  x  x  -  x  x   x   x        all that are named do not strike
//!   --only 2,5                  -  x  -  -  x  -  -  -  -   -   -        none but these strike
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::count::counted;
use crate::plan::{Plan, Trouble, UnknownTrouble};

/// What stands for every kind of trouble.
const ALL: &str = "all";

/// What stands for no single trouble.
const NONE: &str = "none";

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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changes {
    /// Kinds of trouble that never come.
    pub(super) without: BTreeSet<Trouble>,
    /// How many clients there are, if not as many as the seed says.
    pub(super) clients: Option<u64>,
    /// Single troubles, by their numbers.
    pub(super) singles: Singles,
}

/// Which single troubles do not strike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Singles {
    /// These.
    Spared(Numbers),
    /// All but these.
    Only(Numbers),
}

impl Default for Singles {
    fn default() -> Self {
        Self::Spared(Numbers::default())
    }
}

impl Singles {
    fn strikes(&self, trouble: u64) -> bool {
        match self {
            Self::Spared(Numbers(spared)) => !spared.contains(&trouble),
            Self::Only(Numbers(kept)) => kept.contains(&trouble),
        }
    }

    /// The troubles of a history that has so many which are not left out of it.
    pub(super) fn left(&self, troubles: u64) -> BTreeSet<u64> {
        match self {
            Self::Spared(Numbers(spared)) if spared.is_empty() => (1..=troubles).collect(),
            Self::Spared(Numbers(spared)) => (1..=troubles).filter(|trouble| !spared.contains(trouble)).collect(),
            Self::Only(Numbers(kept)) => kept.range(..=troubles).copied().collect(),
        }
    }

    /// The same of a history that has so many, in the way that takes fewer letters.
    pub(super) fn shortest(&self, troubles: u64) -> Self {
        let left = self.left(troubles);
        let spared = Self::Spared((1..=troubles).filter(|trouble| !left.contains(trouble)).collect());
        let only = Self::Only(Numbers(left));
        let letters = |singles: &Self| singles.part().map_or(0, |(name, words)| name.len() + words.len());
        if letters(&only) < letters(&spared) { only } else { spared }
    }

    /// The name and the words that say so; nothing if all strike.
    fn part(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Spared(numbers) if numbers.0.is_empty() => None,
            Self::Spared(numbers) => Some(("spare", numbers.to_string())),
            Self::Only(numbers) if numbers.0.is_empty() => Some(("only", NONE.to_owned())),
            Self::Only(numbers) => Some(("only", numbers.to_string())),
        }
    }
}

impl Changes {
    /// From the words of a command line: names of troubles with commas between them, or `all`; how many clients; and numbers
    /// of single troubles that do not strike (`1-3,7`).
    ///
    /// # Errors
    /// A name that no trouble has, or numbers that are none.
    pub fn parse(without: &str, clients: Option<u64>, spared: &str) -> Result<Self, String> {
        let names = without.split(',').filter(|name| !name.is_empty());
        let without: Result<BTreeSet<Trouble>, UnknownTrouble> = match without.trim() {
            ALL => Ok(Trouble::ALL.map(|(trouble, ..)| trouble).into()),
            _ => names.map(Trouble::from_str).collect(),
        };
        let singles = Singles::Spared(spared.parse()?);
        Ok(Self { without: without.map_err(|error| error.to_string())?, clients, singles })
    }

    /// The same, with the numbers of those single troubles that strike, or `none`.
    ///
    /// ```
    /// use outrigger_simulation::Changes;
    ///
    /// let changes = Changes::parse("loss", None, "").unwrap();
    /// assert_eq!(changes.only("4-6,9").unwrap().to_string(), "--without loss --only 4-6,9");
    /// ```
    ///
    /// # Errors
    /// Numbers that are none.
    pub fn only(self, kept: &str) -> Result<Self, String> {
        let numbers: Numbers = if kept.trim() == NONE { Numbers::default() } else { kept.parse()? };
        if numbers.0.is_empty() && kept.trim() != NONE {
            return Err(format!("{kept:?} names no trouble; say {NONE} if none is to strike"));
        }
        Ok(Self { singles: Singles::Only(numbers), ..self })
    }

    /// In a few words, for a title; nothing for no changes.
    ///
    /// ```
    /// use outrigger_simulation::Changes;
    ///
    /// let changes = Changes::parse("loss,drift", Some(1), "1-3,7").unwrap();
    /// assert_eq!(changes.summary(), "without 2 of 26 kinds of trouble, without 4 single troubles, with 1 client");
    /// let changes = changes.only("3").unwrap();
    /// assert_eq!(changes.summary(), "without 2 of 26 kinds of trouble, with 1 single trouble only, with 1 client");
    /// ```
    #[must_use]
    pub fn summary(&self) -> String {
        let kinds = self.without.len();
        let without = (kinds > 0).then(|| format!("without {kinds} of {} kinds of trouble", Trouble::ALL.len()));
        let count = |numbers: &Numbers| counted(numbers.0.len() as u64, "single trouble", "single troubles");
        let singles = match &self.singles {
            Singles::Spared(numbers) => (!numbers.0.is_empty()).then(|| format!("without {}", count(numbers))),
            Singles::Only(numbers) if numbers.0.is_empty() => Some("without single troubles".to_owned()),
            Singles::Only(numbers) => Some(format!("with {} only", count(numbers))),
        };
        let clients = self.clients.map(|clients| format!("with {}", counted(clients, "client", "clients")));
        [without, singles, clients].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What is left out of a history in which there were so many troubles, in words; nothing for no changes.
    pub(crate) fn told(&self, troubles: u64) -> String {
        let all = Trouble::ALL.len();
        let left: Vec<_> = Trouble::ALL.iter().filter(|(it, ..)| !self.without.contains(it)).map(|it| it.1).collect();
        let but = if left.is_empty() { String::new() } else { format!(" (all but {})", left.join(", ")) };
        let kinds =
            (!self.without.is_empty()).then(|| format!("{} of {all} kinds of trouble{but}", self.without.len()));
        let spared = troubles - self.singles.left(troubles).len() as u64;
        let singles =
            (spared > 0).then(|| format!("{spared} of {}", counted(troubles, "single trouble", "single troubles")));
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
        [without, clients, self.singles.part()].into_iter().flatten()
    }

    /// The kinds of trouble that can be left out, each with a few words on what it is.
    pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
        Trouble::ALL.into_iter().map(|(_, name, .., told)| (name, told))
    }

    pub(crate) fn apply(&self, plan: &mut Plan) {
        self.without.iter().for_each(|trouble| plan.leave_out(*trouble));
        plan.clients = self.clients.unwrap_or(plan.clients);
    }

    /// What to say of numbers of single troubles that no trouble of a history has, of which there are so many; nothing if
    /// there are none.
    ///
    /// ```
    /// use outrigger_simulation::Changes;
    ///
    /// let changes = Changes::parse("", None, "1-3,7-9").unwrap();
    /// let said = "--spare 8-9 spares nothing: the last trouble of this history has number 7";
    /// assert_eq!(changes.beyond(7).as_deref(), Some(said));
    /// assert_eq!(changes.beyond(9), None);
    /// let changes = changes.only("8").unwrap();
    /// let said = "--only 8 keeps nothing: the last trouble of this history has number 7";
    /// assert_eq!(changes.beyond(7).as_deref(), Some(said));
    /// ```
    #[must_use]
    pub fn beyond(&self, troubles: u64) -> Option<String> {
        let (flag, Numbers(numbers)) = match &self.singles {
            Singles::Spared(numbers) => ("--spare {} spares", numbers),
            Singles::Only(numbers) => ("--only {} keeps", numbers),
        };
        let beyond: Numbers = numbers.range(troubles + 1..).copied().collect();
        let last = match troubles {
            0 => "this history has no troubles".to_owned(),
            last => format!("the last trouble of this history has number {last}"),
        };
        (!beyond.0.is_empty()).then(|| format!("{} nothing: {last}", flag.replace("{}", &beyond.to_string())))
    }

    /// Whether a single trouble does not strike.
    pub(crate) fn spares(&self, trouble: u64) -> bool {
        !self.singles.strikes(trouble)
    }

    /// How much is left of a history with so many troubles and clients: what shrinking makes smaller.
    pub(super) fn left(&self, troubles: u64, clients: u64) -> (usize, u64, usize) {
        let kinds = Trouble::ALL.len() - self.without.len();
        (kinds, self.clients.unwrap_or(clients), self.singles.left(troubles).len())
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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Numbers(pub(super) BTreeSet<u64>);

impl FromIterator<u64> for Numbers {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        Self(numbers.into_iter().collect())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(told("all", None, "9"), "26 of 26 kinds of trouble", "no trouble has the number 9");
        assert_eq!(
            told(&all.replace("loss,", "").replace("drift,", ""), Some(2), "1-3,6-9"),
            "24 of 26 kinds of trouble (all but loss, drift), 5 of 7 single troubles, all clients but 2"
        );
    }

    #[test]
    fn of_two_ways_to_say_which_troubles_strike_the_shorter_is_said() {
        let singles = |text: &str| Singles::Spared(text.parse().unwrap()).shortest(20).part();
        let part = |name, words: &str| Some((name, words.to_owned()));
        assert_eq!(singles("1-3"), part("spare", "1-3"));
        assert_eq!(singles("1-6,8-11,13-20,33"), part("only", "7,12"));
        assert_eq!(singles("1-20"), part("only", "none"));
        assert_eq!(singles(""), None);
        for spared in ["1-3", "1-6,8-11,13-20", "1-20"] {
            let changes = Changes::parse("", None, spared).unwrap();
            let shortest = Changes { singles: changes.singles.shortest(20), ..Changes::default() };
            for trouble in 1..=20 {
                assert_eq!(shortest.spares(trouble), changes.spares(trouble), "{spared}: {trouble}");
            }
            let said = shortest.to_string();
            let (flag, words) = said.split_once(' ').unwrap();
            let read = if flag == "--only" { Changes::default().only(words) } else { Changes::parse("", None, words) };
            assert_eq!(read.as_ref(), Ok(&shortest));
        }
        assert!(Changes::default().only("").unwrap_err().contains("say none if none is to strike"));
        assert_eq!(Changes::default().only("2,3,9").unwrap().told(7), "5 of 7 single troubles");
    }
}
