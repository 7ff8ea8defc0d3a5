//! The checks, one file each: every one a function from text to findings.

pub mod function;
pub mod layering;
pub mod leftover;
pub mod link;
pub mod machine;
pub mod name;
pub mod opening;
pub mod purity;
pub mod text;

use crate::finding::Finding;
use crate::strip::Stripped;
use crate::token::Source;
use crate::tree::{File, Tree};

/// All checks of one Rust file that look at its code or its comments.
#[must_use]
pub fn rust(tree: &Tree, file: &File) -> Vec<Finding> {
    let stripped = Stripped::of(&file.text);
    let source = Source::new(file, &stripped);
    let mut found = opening::check(file);
    found.extend(leftover::check(&source));
    found.extend(name::check(&source));
    found.extend(function::check(&source));
    found.extend(purity::check(tree, &source));
    found.extend(link::check_comments(tree, &source));
    found
}

/// What the tests of the checks share: one made-up Rust file.
#[cfg(test)]
mod made_up {
    use super::*;

    /// Runs a check on a source at a path.
    pub(super) fn run(path: &str, text: &str, check: impl Fn(&Source<'_>) -> Vec<Finding>) -> Vec<Finding> {
        let file = File::new(path, text);
        let stripped = Stripped::of(text);
        check(&Source::new(&file, &stripped))
    }

    /// The lines of the findings.
    pub(super) fn lines(found: &[Finding]) -> Vec<usize> {
        found.iter().map(|finding| finding.line).collect()
    }
}
