//! The chores of this repository: `cargo xtask tidy` holds what neither the compiler nor clippy can.
//!
//! Every check is a small function from text to findings; only [`tree`] touches the disk. One pass:
//!
//! ```text
//!   tree ──► every text file ─────────────────────────► check::text, check::machine
//!     │          ├── *.rs ──► strip ──► token ──► check::{opening, leftover, name, function, purity}
//!     │          ├── *.md ──► markdown ─────────► check::link
//!     │          └── Cargo.toml ──► manifest ───► check::layering
//!     └── allowance: takes out what a line of the file permits, with its reason
//! ```
//!
//! The same run is the test `the_repository_is_tidy`, so that `cargo test --workspace` holds it.

pub mod allowance;
pub mod check;
pub mod finding;
pub mod manifest;
pub mod markdown;
pub mod strip;
pub mod token;
pub mod tree;

use std::io;
use std::path::Path;

pub use finding::{Finding, Rule};
use tree::{Kind, Tree};

/// What one run of [`tidy`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many text files were read; zero only for an empty directory.
    pub files: usize,
    /// Sorted by path, then line; empty when all is tidy.
    pub findings: Vec<Finding>,
}

/// Runs every check on the repository whose root is `root`.
///
/// # Errors
/// When a directory or file below `root` cannot be read.
pub fn tidy(root: &Path) -> io::Result<Report> {
    let tree = Tree::read(root)?;
    Ok(Report { files: tree.files.len(), findings: findings(&tree) })
}

/// Runs every check on a tree that is in memory already; sorted by path, then line.
#[must_use]
pub fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found = check::layering::check(tree);
    for file in &tree.files {
        let mut of_file = check::text::check(file);
        of_file.extend(check::machine::check(file));
        match file.kind() {
            Kind::Rust => of_file.extend(check::rust(tree, file)),
            Kind::Markdown => {
                of_file.extend(check::link::check(tree, file));
                of_file.extend(check::leftover::ignored_fences(file, file.lines()));
            }
            Kind::Manifest | Kind::Script => of_file.extend(check::leftover::check_script(file)),
            Kind::Lock | Kind::Plain => {}
        }
        let of_manifest = found.extract_if(.., |finding| finding.path == file.path);
        of_file.extend(of_manifest);
        found.extend(allowance::apply(file, of_file));
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree::File;

    fn places(files: Vec<File>) -> Vec<(String, usize, Rule)> {
        findings(&Tree::of(files)).into_iter().map(|finding| (finding.path, finding.line, finding.rule)).collect()
    }

    #[test]
    fn findings_of_all_checks_are_sorted_by_place() {
        let rust = File::new("engine/src/a.rs", "fn get_a() {}\n\nuse std::fs; \n");
        let text = File::new("README.md", "[a](gone.md)\n\n```ignore\n```\n");
        let engine = |line, rule| ("engine/src/a.rs".to_owned(), line, rule);
        let readme = |line, rule| ("README.md".to_owned(), line, rule);
        let expected = [
            readme(1, Rule::Link),
            readme(3, Rule::Leftover),
            engine(1, Rule::Opening),
            engine(1, Rule::Name),
            engine(3, Rule::Whitespace),
            engine(3, Rule::Purity),
        ];
        assert_eq!(places(vec![rust, text]), expected);
    }

    #[test]
    fn a_manifest_may_be_excepted_like_any_file() {
        let root = File::new("Cargo.toml", "[workspace]\nmembers = [\"it\"]\n");
        let line = "bytes = \"1\"\n";
        let head = "[package]\nname = \"outrigger-model\"\nversion.workspace = true\nedition.workspace = true\n\
                    rust-version.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n";
        let broken = File::new("it/Cargo.toml", format!("{head}{line}"));
        assert_eq!(places(vec![root.clone(), broken]), [("it/Cargo.toml".to_owned(), 10, Rule::Layering)]);
        let excepted = format!("{head}# tidy: allow layering because this shows how\n{line}");
        assert_eq!(places(vec![root, File::new("it/Cargo.toml", excepted)]), []);
    }
}
