//! The files of the repository, read once: everything else works on text in memory, so that a check is tested on
//! made-up files and one run takes milliseconds.
//!
//! What `.gitignore` names is left out, where it names a path from the root (`/target`); patterns are not understood,
//! so that what they hide is still checked.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// What a file is, which decides the checks that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rust source.
    Rust,
    /// Markdown.
    Markdown,
    /// A `Cargo.toml`.
    Manifest,
    /// A `Cargo.lock`, which is generated.
    Lock,
    /// Other files whose comments begin with `#`: TOML, YAML, shell.
    Script,
    /// Any other text.
    Plain,
}

/// One text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the root, with `/` between its parts.
    pub path: String,
    /// The whole content; what is not UTF-8 is replaced by U+FFFD, which the check of white space refuses.
    pub text: String,
}

impl File {
    /// A file in memory.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// What the file's name says that it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (self.name(), extension(self.name())) {
            ("Cargo.toml", _) => Kind::Manifest,
            ("Cargo.lock", _) => Kind::Lock,
            (_, "rs") => Kind::Rust,
            (_, "md") => Kind::Markdown,
            (_, "toml" | "yml" | "yaml" | "sh") | (".gitignore", _) => Kind::Script,
            (_, "") if self.text.starts_with("#!") => Kind::Script,
            _ => Kind::Plain,
        }
    }

    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without its last part; empty at the root.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// The lines with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// What follows the last dot of a file's name; empty when there is none but a leading one.
#[must_use]
pub fn extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    }
}

/// All text files of the repository, and the names of all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Sorted by path; only files of text.
    pub files: Vec<File>,
    /// Paths of all files and directories, those that are not text too.
    pub paths: BTreeSet<String>,
}

impl Tree {
    /// A tree in memory, for tests.
    #[must_use]
    pub fn of(files: Vec<File>) -> Self {
        let mut tree = Self::default();
        for file in files {
            tree.add(file);
        }
        tree
    }

    /// Reads the repository below `root`.
    ///
    /// # Errors
    /// When a directory or file cannot be read; the message names it.
    pub fn read(root: &Path) -> io::Result<Self> {
        let ignored = match fs::read_to_string(root.join(".gitignore")) {
            Ok(text) => ignored_paths(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        let mut tree = Self::default();
        tree.read_directory(root, "", &ignored)?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_directory(&mut self, root: &Path, directory: &str, ignored: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(root.join(directory))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let kind = entry.file_type()?;
            if name == ".git" || ignored.contains(&path) {
                continue;
            }
            self.paths.insert(path.clone());
            if kind.is_dir() {
                self.read_directory(root, &path, ignored)?;
            } else if kind.is_file() && is_text(&path) {
                let bytes = fs::read(entry.path()).map_err(|error| named(&path, &error))?;
                self.files.push(File::new(path, String::from_utf8_lossy(&bytes)));
            }
        }
        Ok(())
    }

    fn add(&mut self, file: File) {
        for (at, _) in file.path.match_indices('/') {
            self.paths.insert(file.path[..at].to_owned());
        }
        self.paths.insert(file.path.clone());
        self.files.push(file);
    }

    /// The text file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The nearest directory above `path` that holds a `Cargo.toml`; the root is the empty string.
    #[must_use]
    pub fn package_of<'a>(&self, path: &'a str) -> &'a str {
        let mut directory = path;
        while let Some((above, _)) = directory.rsplit_once('/') {
            directory = above;
            if self.paths.contains(&format!("{directory}/Cargo.toml")) {
                return directory;
            }
        }
        ""
    }
}

fn named(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The paths that start at the root, without the leading slash.
fn ignored_paths(gitignore: &str) -> BTreeSet<String> {
    let rooted = gitignore.lines().filter_map(|line| line.trim().strip_prefix('/'));
    rooted.map(|path| path.trim_end_matches('/').to_owned()).collect()
}

/// By name only: corpora of fuzzers and pictures are bytes that no rule of text binds.
fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let by_extension =
        matches!(extension(name), "rs" | "md" | "toml" | "txt" | "yml" | "yaml" | "sh" | "py" | "lock" | "proto");
    let by_name = name.starts_with("LICENSE") || name == ".gitignore" || path.starts_with(".ci/");
    by_extension || by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        for (path, kind) in [
            ("engine/src/lib.rs", Kind::Rust),
            ("README.md", Kind::Markdown),
            ("log/Cargo.toml", Kind::Manifest),
            ("Cargo.lock", Kind::Lock),
            ("deny.toml", Kind::Script),
            (".gitignore", Kind::Script),
            ("LICENSE-MIT", Kind::Plain),
        ] {
            assert_eq!(File::new(path, "").kind(), kind, "{path}");
        }
        assert_eq!(File::new(".ci/run", "#!/bin/sh\n").kind(), Kind::Script);
    }

    #[test]
    fn a_package_is_the_nearest_directory_with_a_manifest() {
        let tree = Tree::of(vec![
            File::new("Cargo.toml", ""),
            File::new("log/Cargo.toml", ""),
            File::new("log/src/a/b.rs", ""),
        ]);
        assert_eq!(tree.package_of("log/src/a/b.rs"), "log");
        assert_eq!(tree.package_of("README.md"), "");
        assert!(tree.paths.contains("log/src/a"), "directories are paths too");
    }

    #[test]
    fn only_rooted_paths_are_ignored() {
        let ignored = ignored_paths("/target\n/fuzz/corpus/\n*.tmp\n\n");
        assert_eq!(ignored, BTreeSet::from(["target".to_owned(), "fuzz/corpus".to_owned()]));
    }
}
