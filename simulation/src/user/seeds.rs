//! Which histories a test lives through.

use std::env;
use std::ops::Range;

/// The variable that names how many seeds, or which.
const SEEDS: &str = "OUTRIGGER_SEEDS";
/// The variable that names the only seed.
const SEED: &str = "OUTRIGGER_SEED";
/// How many seeds a test lives through if nobody says otherwise.
const COUNT: u64 = 100;

/// The seeds of a test: one history each.
///
/// ```
/// use outrigger_simulation::Seeds;
///
/// assert_eq!(Seeds::parse(None, None), Ok(Seeds::count(100)));
/// assert_eq!(Seeds::parse(Some("2000"), None), Ok(Seeds::range(1..2001)));
/// assert_eq!(Seeds::parse(Some("17..18"), None), Ok(Seeds::range(17..18)));
/// assert_eq!(Seeds::parse(Some("2000"), Some("17")), Ok(Seeds::one(17)), "one seed is meant");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    first: u64,
    /// The one behind the last; above the first.
    end: u64,
    /// Whether everything that happens is printed.
    pub(crate) trace: bool,
}

/// A variable that names no seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedsError {
    variable: &'static str,
    value: String,
    wanted: &'static str,
}

impl std::fmt::Display for SeedsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { variable, value, wanted } = self;
        write!(f, "{variable} is {value:?}; it must be {wanted}")
    }
}

impl std::error::Error for SeedsError {}

impl Seeds {
    /// What the environment says, and 100 seeds if it says nothing:
    ///
    /// | variable | means |
    /// |---|---|
    /// | `OUTRIGGER_SEEDS=2000` | the seeds 1 to 2000 |
    /// | `OUTRIGGER_SEEDS=17..20` | the seeds 17, 18 and 19 |
    /// | `OUTRIGGER_SEED=17` | this one alone, and everything that happens is printed |
    ///
    /// # Panics
    /// When a variable says something else: see [`SeedsError`].
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_env_or(COUNT)
    }

    /// As [`Seeds::from_env`], with so many seeds if the environment says nothing.
    ///
    /// # Panics
    /// When a variable says something else, and when `count` is 0.
    #[must_use]
    pub fn from_env_or(count: u64) -> Self {
        let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let (seeds, seed) = (variable(SEEDS), variable(SEED));
        if seeds.is_none() && seed.is_none() {
            return Self::count(count);
        }
        Self::parse(seeds.as_deref(), seed.as_deref()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What these values of `OUTRIGGER_SEEDS` and `OUTRIGGER_SEED` mean. The latter, if it is there, is meant.
    ///
    /// # Errors
    /// [`SeedsError`], which names the variable and what it should be.
    pub fn parse(seeds: Option<&str>, seed: Option<&str>) -> Result<Self, SeedsError> {
        if let Some(value) = seed {
            let wrong = || SeedsError { variable: SEED, value: value.to_owned(), wanted: "one seed, such as 17" };
            return number(value).map(Self::one).ok_or_else(wrong);
        }
        let Some(value) = seeds else { return Ok(Self::count(COUNT)) };
        let range = match value.split_once("..") {
            Some((first, end)) => number(first).zip(number(end)).map(|(first, end)| first..end),
            None => number(value).and_then(|count| Some(1..count.checked_add(1)?)),
        };
        let wanted = "how many seeds, such as 2000, or a range of them, such as 17..20, and not none";
        let wrong = || SeedsError { variable: SEEDS, value: value.to_owned(), wanted };
        range.filter(|range| !range.is_empty()).map(Self::range).ok_or_else(wrong)
    }

    /// So many seeds, from 1 on.
    ///
    /// # Panics
    /// When `count` is 0.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::range(1..count.saturating_add(1))
    }

    /// These seeds.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn range(seeds: Range<u64>) -> Self {
        assert!(!seeds.is_empty(), "a test without seeds tests nothing: {seeds:?}");
        Self { first: seeds.start, end: seeds.end, trace: false }
    }

    /// This seed alone, and everything that happens is printed to standard output.
    #[must_use]
    pub const fn one(seed: u64) -> Self {
        // The last of all numbers cannot be the first of a range; nobody will miss it.
        let first = if seed == u64::MAX { seed - 1 } else { seed };
        Self { first, end: first + 1, trace: true }
    }

    pub(crate) const fn all(self) -> Range<u64> {
        self.first..self.end
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused_with_what_it_should_be() {
        for value in ["", "0", "-3", "many", "5..5", "9..3", "1..", "..3", "1..2..3", "1..=3", "18446744073709551615"] {
            let error = Seeds::parse(Some(value), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("OUTRIGGER_SEEDS is {value:?}; it must be how many seeds")), "{error}");
        }
        let error = Seeds::parse(Some("3"), Some("1..2")).unwrap_err().to_string();
        assert_eq!(error, "OUTRIGGER_SEED is \"1..2\"; it must be one seed, such as 17");
    }

    #[test]
    fn seeds_are_those_that_were_named() {
        let named = |seeds, seed| Seeds::parse(seeds, seed).map(|it| (it.all(), it.trace));
        assert_eq!(named(None, None), Ok((1..101, false)));
        assert_eq!(named(Some(" 1_000 "), None), Ok((1..1001, false)));
        assert_eq!(named(Some("7..9"), None), Ok((7..9, false)));
        assert_eq!(named(None, Some("0")), Ok((0..1, true)));
    }
}
