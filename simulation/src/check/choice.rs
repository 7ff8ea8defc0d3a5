//! Which of the dearer checks are made. Those that cost little always are: one leader a term, one vote, matching logs, one
//! chain of committed entries, promises kept, clients told the truth, each request answered.

use std::fmt;
use std::str::FromStr;

/// The checks that cost enough to be left out at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Every step is a step of the extended model.
    pub model: bool,
    /// The whole of every restored log is what was flushed, and a start notices what is damaged; without it, a restored log's
    /// end and vote are what was flushed.
    pub recovery: bool,
    /// The history of all clients is linearizable, found by searching for an order; without it, by the log's order only.
    pub linearizability: bool,
    /// What a node does with what it is told: whom it hears, when it campaigns, for how long it leads and promises not to vote,
    /// how fresh it reads, what it refuses, lets wait and tells its callers, and within which limits.
    pub conduct: bool,
}

impl Checks {
    /// All of them.
    pub const ALL: Self = Self { model: true, recovery: true, linearizability: true, conduct: true };
    /// None of them.
    pub const LIGHT: Self = Self { model: false, recovery: false, linearizability: false, conduct: false };
    /// Each of them by itself, with its name.
    pub const EACH: [(&'static str, Self); 4] = [
        ("model", Self { model: true, ..Self::LIGHT }),
        ("recovery", Self { recovery: true, ..Self::LIGHT }),
        ("linearizability", Self { linearizability: true, ..Self::LIGHT }),
        ("conduct", Self { conduct: true, ..Self::LIGHT }),
    ];

    const fn and(self, other: Self) -> Self {
        Self {
            model: self.model || other.model,
            recovery: self.recovery || other.recovery,
            linearizability: self.linearizability || other.linearizability,
            conduct: self.conduct || other.conduct,
        }
    }
}

/// `all`, `light`, or names with commas between them.
impl FromStr for Checks {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        match text {
            "all" => Ok(Self::ALL),
            "light" => Ok(Self::LIGHT),
            names => names.split(',').try_fold(Self::LIGHT, |checks, name| {
                let found = Self::EACH.into_iter().find(|(known, _)| *known == name.trim());
                found.map(|(_, check)| checks.and(check)).ok_or_else(|| UnknownCheck(name.to_owned()))
            }),
        }
    }
}

/// As [`Checks::from_str`] reads it.
impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("all"),
            Self::LIGHT => f.write_str("light"),
            some => {
                let names: Vec<_> =
                    Self::EACH.iter().filter(|(_, each)| some.and(*each) == some).map(|it| it.0).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// A name that no check has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCheck(String);

impl fmt::Display for UnknownCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Checks::EACH.iter().map(|(name, _)| *name).collect();
        write!(f, "no check is called {:?}; say all, light, or some of {}", self.0, names.join(","))
    }
}

impl std::error::Error for UnknownCheck {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_chosen_by_their_names() {
        assert_eq!("all".parse(), Ok(Checks::ALL));
        assert_eq!("light".parse(), Ok(Checks::LIGHT));
        assert_eq!("model, recovery,conduct".parse(), Ok(Checks { linearizability: false, ..Checks::ALL }));
        for said in ["all", "light", "model", "model,recovery", "recovery,linearizability", "linearizability,conduct"] {
            assert_eq!(said.parse::<Checks>().map(|checks| checks.to_string()).as_deref(), Ok(said));
        }
        let refused = "model,speed".parse::<Checks>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "no check is called \"speed\"; say all, light, or some of model,recovery,linearizability,conduct"
        );
    }
}
