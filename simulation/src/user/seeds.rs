//! Which histories a test lives through.

use std::borrow::Cow;
use std::env;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Changes, History};

/// The variable that names how many seeds, or which.
const SEEDS: &str = "OUTRIGGER_SEEDS";
/// The variable that names the only seed.
const SEED: &str = "OUTRIGGER_SEED";
/// The variables that name what is left out of each history.
const WITHOUT: &str = "OUTRIGGER_WITHOUT";
const CLIENTS: &str = "OUTRIGGER_CLIENTS";
const SPARE: &str = "OUTRIGGER_SPARE";
const ONLY: &str = "OUTRIGGER_ONLY";
/// The variable that names the file into which a history is drawn.
const DIAGRAM: &str = "OUTRIGGER_DIAGRAM";
/// The variable that says how long a smaller history is looked for.
const SHRINK_SECONDS: &str = "OUTRIGGER_SHRINK_SECONDS";
/// How many seeds a test lives through if nobody says otherwise.
const COUNT: u64 = 100;
/// How long a smaller history is looked for if nobody says otherwise: about as long as a person waits without a doubt.
const SHRINK_FOR: Duration = Duration::from_secs(20);
/// More is a mistake.
const SHRINK_SECONDS_MAX: u64 = 3600;

/// The seeds of a test: one history each; and what is done with one that goes wrong.
///
/// ```
/// use outrigger_simulation::Seeds;
///
/// assert_eq!(Seeds::parse(None, None), Ok(Seeds::count(100)));
/// assert_eq!(Seeds::parse(Some("2000"), None), Ok(Seeds::range(1..2001)));
/// assert_eq!(Seeds::parse(Some("17..18"), None), Ok(Seeds::range(17..18)));
/// assert_eq!(Seeds::parse(Some("2000"), Some("17")), Ok(Seeds::one(17)), "one seed is meant");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    first: u64,
    /// The one behind the last; above the first.
    end: u64,
    /// Whether everything that happens is printed: one history is meant, as it is.
    pub(super) trace: bool,
    /// Whether the environment has a say, so that it can name another seed.
    pub(super) is_from_env: bool,
    /// What is left out of each history.
    changes: Changes,
    /// How long a smaller history is looked for; 0 for not at all.
    pub(super) shrink_for: Duration,
    /// Where a history that goes wrong is drawn, if anywhere.
    pub(super) diagram: Option<PathBuf>,
    /// Whether the environment says so.
    is_diagram_from_env: bool,
}

/// A variable that says what makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedsError {
    variable: &'static str,
    value: String,
    wanted: Cow<'static, str>,
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
    /// | `OUTRIGGER_SEED=17` | this one alone; everything that happens is printed, and nothing is shrunk |
    /// | `OUTRIGGER_DIAGRAM=FILE.svg` | the end of the history that goes wrong, or of the only one, is drawn into this file |
    /// | `OUTRIGGER_SHRINK_SECONDS=60` | so long a smaller history is looked for: 20 if nobody says, 0 for not at all, 3600 at most |
    /// | `OUTRIGGER_WITHOUT=loss,drift` | these kinds of trouble are left out, or `all`; `simulate --without help` names all |
    /// | `OUTRIGGER_CLIENTS=2` | how many clients there are, whatever the test says |
    /// | `OUTRIGGER_SPARE=1-3,7` | single troubles that are left out, by their numbers; only with `OUTRIGGER_SEED` |
    /// | `OUTRIGGER_ONLY=4-6,9` | the only single troubles that strike, or `none`; only with `OUTRIGGER_SEED` |
    ///
    /// The last four are for replays: the line that a failure prints has what it needs of them. A relative file is looked
    /// for where the test runs, which with `cargo test` is the directory of its package.
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
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::from_variables(count, variable).unwrap_or_else(|error| panic!("{error}"))
    }

    fn from_variables(count: u64, variable: impl Fn(&str) -> Option<String>) -> Result<Self, SeedsError> {
        let (seeds, seed) = (variable(SEEDS), variable(SEED));
        let none_is_named = seeds.is_none() && seed.is_none();
        let named = if none_is_named { Self::count(count) } else { Self::parse(seeds.as_deref(), seed.as_deref())? };
        let (spare, only) = (variable(SPARE), variable(ONLY));
        for (name, value) in [(SPARE, &spare), (ONLY, &only)] {
            if let (Some(value), None) = (value, &seed) {
                return Err(wrong(
                    name,
                    value,
                    "left out without OUTRIGGER_SEED: each history numbers its own troubles",
                ));
            }
        }
        if let (Some(_), Some(value)) = (&spare, &only) {
            return Err(wrong(
                ONLY,
                value,
                "left out beside OUTRIGGER_SPARE: either says which single troubles strike",
            ));
        }
        let mut changes = changes(variable(WITHOUT).as_deref(), variable(CLIENTS).as_deref(), spare.as_deref())?;
        if let Some(value) = only {
            let kept = changes.only(&value);
            changes = kept.map_err(|_| wrong(ONLY, &value, "numbers of troubles, such as 4-6,9, or none"))?;
        }
        let shrink_for = variable(SHRINK_SECONDS).map_or(Ok(SHRINK_FOR), |value| {
            let seconds = number(&value).filter(|seconds| *seconds <= SHRINK_SECONDS_MAX);
            let wanted = "a number of seconds from 0, for not at all, to 3600";
            seconds.map(Duration::from_secs).ok_or_else(|| wrong(SHRINK_SECONDS, &value, wanted))
        })?;
        let diagram = variable(DIAGRAM);
        if let Some(value) = diagram.as_deref().filter(|value| value.trim().is_empty()) {
            return Err(wrong(DIAGRAM, value, "a file, such as failure.svg"));
        }
        let (is_diagram_from_env, diagram) = (diagram.is_some(), diagram.map(PathBuf::from));
        Ok(Self { is_from_env: true, changes, shrink_for, diagram, is_diagram_from_env, ..named })
    }

    /// What these values of `OUTRIGGER_SEEDS` and `OUTRIGGER_SEED` mean. The latter, if it is there, is meant.
    ///
    /// # Errors
    /// [`SeedsError`], which names the variable and what it should be.
    pub fn parse(seeds: Option<&str>, seed: Option<&str>) -> Result<Self, SeedsError> {
        if let Some(value) = seed {
            return number(value).map(Self::one).ok_or_else(|| wrong(SEED, value, "one seed, such as 17"));
        }
        let Some(value) = seeds else { return Ok(Self::count(COUNT)) };
        let range = match value.split_once("..") {
            Some((first, end)) => number(first).zip(number(end)).map(|(first, end)| first..end),
            None => number(value).and_then(|count| Some(1..count.checked_add(1)?)),
        };
        let wanted = "how many seeds, such as 2000, or a range of them, such as 17..20, and not none";
        range.filter(|range| !range.is_empty()).map(Self::range).ok_or_else(|| wrong(SEEDS, value, wanted))
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
        let Range { start: first, end } = seeds;
        let changes = Changes::default();
        let (trace, is_from_env, is_diagram_from_env) = (false, false, false);
        Self { first, end, trace, is_from_env, changes, shrink_for: SHRINK_FOR, diagram: None, is_diagram_from_env }
    }

    /// This seed alone, as it is: everything that happens is printed to standard output, and nothing is shrunk. To have it
    /// shrunk, name a [range](Seeds::range) that holds it alone.
    #[must_use]
    pub fn one(seed: u64) -> Self {
        // The last of all numbers cannot be the first of a range; nobody will miss it.
        let first = seed.min(u64::MAX - 1);
        Self { trace: true, ..Self::range(first..first + 1) }
    }

    /// Leaves these out of each history, as a [`Failure`](crate::Failure) has them that was shrunk.
    #[must_use]
    pub fn changed(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// When a history goes wrong, a smaller one is looked for so long: 20 s if nobody says otherwise, and not at all with 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use outrigger_simulation::Seeds;
    ///
    /// let seeds = Seeds::count(1000).shrink_for(Duration::from_secs(60)).drawn_into("failure.svg");
    /// assert_ne!(seeds, Seeds::count(1000));
    /// ```
    #[must_use]
    pub fn shrink_for(self, duration: Duration) -> Self {
        Self { shrink_for: duration, ..self }
    }

    /// Draws the end of the history that goes wrong, shrunk, into this file, as a sequence diagram (SVG). [One](Seeds::one)
    /// seed is drawn whatever comes of it.
    #[must_use]
    pub fn drawn_into(self, file: impl AsRef<Path>) -> Self {
        Self { diagram: Some(file.as_ref().to_owned()), is_diagram_from_env: false, ..self }
    }

    /// Who named the file for the diagram, if it was the environment: whoever cannot find the name in the test looks there.
    pub(super) fn diagram_from(&self) -> String {
        if self.is_diagram_from_env { format!("{DIAGRAM}: ") } else { String::new() }
    }

    pub(super) const fn all(&self) -> Range<u64> {
        self.first..self.end
    }

    pub(super) fn history(&self, seed: u64) -> History {
        let history = History::new(seed).changed(self.changes.clone());
        if self.trace { history.printed() } else { history }
    }
}

/// How the environment says what is left out, with a blank behind each variable.
pub(super) fn variables(seed: u64, changes: &Changes) -> String {
    let left_out = changes.parts().map(|(name, words)| format!("OUTRIGGER_{}={words} ", name.to_uppercase()));
    format!("{SEED}={seed} {}", left_out.collect::<String>())
}

fn changes(without: Option<&str>, clients: Option<&str>, spare: Option<&str>) -> Result<Changes, SeedsError> {
    let without = without.unwrap_or_default();
    if Changes::parse(without, None, "").is_err() {
        let names: Vec<_> = Changes::kinds().map(|(name, _)| name).collect();
        return Err(wrong(
            WITHOUT,
            without,
            format!("all, or some of these with commas between them: {}", names.join(", ")),
        ));
    }
    let count = |value: &str| {
        let count = number(value).filter(|clients| *clients > 0);
        count.ok_or_else(|| wrong(CLIENTS, value, "how many clients there are, such as 2, and not none"))
    };
    let (clients, spare) = (clients.map(count).transpose()?, spare.unwrap_or_default());
    Changes::parse(without, clients, spare).map_err(|_| wrong(SPARE, spare, "numbers of troubles, such as 1-3,7"))
}

fn wrong(variable: &'static str, value: &str, wanted: impl Into<Cow<'static, str>>) -> SeedsError {
    SeedsError { variable, value: value.to_owned(), wanted: wanted.into() }
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

    /// What these variables mean.
    fn from(variables: &[(&str, &str)]) -> Result<Seeds, String> {
        let value = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        Seeds::from_variables(5, value).map_err(|error| error.to_string())
    }

    #[test]
    fn garbage_in_the_other_variables_is_refused_too() {
        for (variable, value, wanted) in [
            (WITHOUT, "loss,fog", "all, or some of these with commas between them: loss, duplicates, "),
            (CLIENTS, "0", "how many clients there are, such as 2, and not none"),
            (SPARE, "3-1", "numbers of troubles, such as 1-3,7"),
            (ONLY, "", "numbers of troubles, such as 4-6,9, or none"),
            (SHRINK_SECONDS, "3601", "a number of seconds from 0, for not at all, to 3600"),
            (DIAGRAM, " ", "a file, such as failure.svg"),
        ] {
            let error = from(&[(SEED, "1"), (variable, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{variable} is {value:?}; it must be {wanted}")), "{error}");
        }
        let error = from(&[(SEEDS, "3"), (SPARE, "7")]).unwrap_err();
        assert!(error.contains("OUTRIGGER_SPARE is \"7\"") && error.contains("OUTRIGGER_SEED"), "{error}");
        let error = from(&[(SEEDS, "3"), (ONLY, "7")]).unwrap_err();
        assert!(error.contains("OUTRIGGER_ONLY is \"7\"") && error.contains("OUTRIGGER_SEED"), "{error}");
        let error = from(&[(SEED, "3"), (ONLY, "7"), (SPARE, "8")]).unwrap_err();
        assert!(error.contains("OUTRIGGER_ONLY is \"7\"") && error.contains("OUTRIGGER_SPARE"), "{error}");
    }

    #[test]
    fn the_variables_of_a_replay_mean_what_was_left_out() {
        let changes = Changes::parse("loss,drift", Some(2), "1-3,7").unwrap();
        let said = variables(17, &changes);
        assert_eq!(said, "OUTRIGGER_SEED=17 OUTRIGGER_WITHOUT=loss,drift OUTRIGGER_CLIENTS=2 OUTRIGGER_SPARE=1-3,7 ");
        let pairs: Vec<_> = said.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(from(&pairs), Ok(Seeds { is_from_env: true, ..Seeds::one(17).changed(changes) }));
        let kept = Changes::default().only("4-6,9").unwrap();
        assert_eq!(variables(17, &kept), "OUTRIGGER_SEED=17 OUTRIGGER_ONLY=4-6,9 ");
        assert_eq!(from(&[(SEED, "17"), (ONLY, "4-6,9")]).map(|seeds| seeds.changes), Ok(kept));
        assert_eq!(variables(17, &Changes::default()), "OUTRIGGER_SEED=17 ");
        assert_eq!(from(&[]), Ok(Seeds { is_from_env: true, ..Seeds::count(5) }));
        let drawn = Seeds::count(5).drawn_into("a.svg").shrink_for(Duration::ZERO);
        let drawn = Seeds { is_from_env: true, is_diagram_from_env: true, ..drawn };
        assert_eq!(from(&[(DIAGRAM, "a.svg"), (SHRINK_SECONDS, "0")]), Ok(drawn));
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
