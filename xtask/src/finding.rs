//! What a check found: where, by which rule, what is wrong and what to do, in one line that an editor can jump to.

use std::fmt;

/// One violation at one place.
///
/// Ordered by path, then line, so that a report reads from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the root, with `/` between its parts.
    pub path: String,
    /// From 1; 1 for what concerns the whole file.
    pub line: usize,
    /// Which rule is broken.
    pub rule: Rule,
    /// What is wrong, with the numbers, and what to do.
    pub message: String,
}

impl Finding {
    /// A finding at a line of a file.
    ///
    /// # Panics
    /// When `line` is 0: a check has counted from 0.
    pub fn new(path: &str, line: usize, rule: Rule, message: impl Into<String>) -> Self {
        assert!(line >= 1, "lines are counted from 1, in {path}");
        Self { path: path.to_owned(), line, rule, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        write!(formatter, "{path}:{line}: {message} [{}]", rule.name())
    }
}

macro_rules! rules {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// The rules that [`crate::tidy`] holds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $meaning] $variant,)*
        }

        impl Rule {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that reports and exceptions use; no two rules share one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The rule in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}

rules! {
    FileLength "file-length" "a Rust file has at most 800 lines, tests included; no exceptions"
    LineLength "line-length" "a line of Rust has at most 140 characters"
    Whitespace "whitespace" "UTF-8, no tab, no trailing space, no carriage return, one newline at the end"
    Opening "opening" "a Rust file opens with a paragraph of `//!`"
    Leftover "leftover" "no stub, no ignored test or example, no open mark without an issue, no code in comments"
    Name "name" "no file or module named for nothing in particular; no function with a filler prefix or suffix"
    FunctionLength "function-length" "a function's body has at most 70 lines of code, in tests and macros too"
    Purity "purity" "engine and model are pure functions; log knows neither clock, chance nor executor"
    Layering "layering" "crates depend only downwards and take lints, edition and licence from the workspace"
    Link "link" "links, anchors and paths that a text mentions exist"
    Machine "machine" "no path of one person's machine, no host of a package registry"
    Allowance "allowance" "an exception names a rule, gives a reason, and is needed; no exceptions"
}

impl Rule {
    /// The rule of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// Whether a line may be excepted from it: not the rules that keep the others honest.
    #[must_use]
    pub const fn can_be_allowed(self) -> bool {
        !matches!(self, Self::FileLength | Self::Allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_as_a_place_that_an_editor_understands() {
        let finding = Finding::new("engine/src/lib.rs", 7, Rule::Purity, "`tokio` is not pure: take it out");
        assert_eq!(finding.to_string(), "engine/src/lib.rs:7: `tokio` is not pure: take it out [purity]");
    }

    #[test]
    fn findings_sort_by_path_then_line() {
        let late = Finding::new("a.rs", 10, Rule::Link, "");
        let early = Finding::new("a.rs", 9, Rule::Purity, "");
        let elsewhere = Finding::new("b.rs", 1, Rule::FileLength, "");
        let mut findings = vec![elsewhere.clone(), late.clone(), early.clone()];
        findings.sort();
        assert_eq!(findings, [early, late, elsewhere]);
    }

    #[test]
    fn every_rule_is_found_by_its_own_name() {
        for rule in Rule::ALL {
            assert_eq!(Rule::named(rule.name()), Some(*rule));
        }
        assert_eq!(Rule::named("no-such-rule"), None);
    }
}
