//! Links that resolve: a reader who follows a link, or looks up a path that a sentence names, arrives.
//!
//! Two kinds of pointers are followed. Links of Markdown: the file exists, and the anchor is a heading of it. Paths
//! that any text or comment mentions: those that begin at a directory of the root, at a directory of the package
//! (`src`, `tests` and so on), or that are a document's name in capitals. Addresses of other hosts are left alone,
//! so that no check depends on the network.

use crate::finding::{Finding, Rule};
use crate::markdown::{Document, Link};
use crate::token::Source;
use crate::tree::{File, Tree, extension};

/// Endings of files that people write; what programs make (reports, sockets) may not exist yet.
const WRITTEN: [&str; 8] = ["rs", "md", "toml", "txt", "sh", "yml", "proto", "svg"];

/// Directories that Cargo gives a meaning inside of a package.
const PACKAGE_DIRECTORIES: [&str; 4] = ["src", "tests", "examples", "benches"];

/// Checks the links and the mentioned paths of a Markdown file.
#[must_use]
pub fn check(tree: &Tree, file: &File) -> Vec<Finding> {
    let document = Document::parse(&file.text);
    let finding = |line: usize, message: String| Finding::new(&file.path, line, Rule::Link, message);
    let broken =
        |link: &Link| link_fault(tree, file, &document, &link.target).map(|message| finding(link.line, message));
    let mut found: Vec<Finding> = document.links.iter().filter_map(broken).collect();
    let mentioned: Vec<Finding> = mention_findings(tree, file, file.lines())
        .into_iter()
        .filter(|mention| found.iter().all(|link| link.line != mention.line))
        .collect();
    found.extend(mentioned);
    found.extend(document.undefined.iter().map(|link| {
        finding(link.line, format!("nothing defines `[{}]`: add `[{}]: TARGET`", link.target, link.target))
    }));
    found
}

/// Checks the paths that the comments of a Rust file mention.
#[must_use]
pub fn check_comments(tree: &Tree, source: &Source<'_>) -> Vec<Finding> {
    mention_findings(tree, source.file, source.comment_lines())
}

fn link_fault(tree: &Tree, file: &File, document: &Document, target: &str) -> Option<String> {
    if has_scheme(target) {
        return None;
    }
    if target.is_empty() || target.starts_with('/') {
        return Some(format!("the link `{target}` is not relative: write the path from this file's directory"));
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = path.replace("%20", " ");
    let resolved = if path.is_empty() { Some(file.path.clone()) } else { join(file.directory(), &path) };
    let Some(resolved) = resolved.filter(|path| path.is_empty() || tree.paths.contains(path)) else {
        return Some(format!("the link `{target}` leads nowhere: no such file below the root, correct or remove it"));
    };
    let elsewhere = tree.file(&resolved).filter(|other| other.path != file.path && extension(other.name()) == "md");
    let elsewhere = elsewhere.map(|other| Document::parse(&other.text));
    let anchor = anchor.filter(|_| extension(&resolved) == "md")?;
    let known = elsewhere.as_ref().map_or(&document.anchors, |other| &other.anchors);
    let message = || format!("the link `{target}` leads to no heading: {resolved} has no anchor `{anchor}`");
    (!known.contains(anchor)).then(message)
}

/// Whether a target names a protocol, such as `https:` or `mailto:`.
fn has_scheme(target: &str) -> bool {
    let Some((scheme, rest)) = target.split_once(':') else { return false };
    !scheme.is_empty()
        && !rest.starts_with(':')
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
}

/// A relative path as seen from the root; `None` when it leaves the root.
fn join(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn mention_findings<'a>(tree: &Tree, file: &File, lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in lines {
        for path in mentions(text).filter(|path| is_lost(tree, file, path)) {
            let message =
                format!("`{path}` does not exist: correct the path, write it from the root, or say it without a path");
            found.push(Finding::new(&file.path, line, Rule::Link, message));
        }
    }
    found
}

/// The words of a line that may be paths: no part of an address, an absolute path or a pattern.
fn mentions(line: &str) -> impl Iterator<Item = &str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let words = line.split(move |c| !is_path(c)).filter(|word| !word.is_empty());
    let plain = words.filter(move |word| {
        // The word is a part of the line, so that its place follows from the two addresses' distance.
        let start = word.as_ptr().addr() - line.as_ptr().addr();
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(|c| "<>*{}$~@:".contains(c)) && !after.is_some_and(|c| "<*{$".contains(c))
    });
    plain.map(|word| word.trim_start_matches("./").trim_end_matches('.')).filter(|word| !word.starts_with('/'))
}

/// Whether a word claims to be a file or directory of this repository and is none.
fn is_lost(tree: &Tree, file: &File, word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    let Some((first, _)) = word.split_once('/') else {
        return is_document(word) && !tree.paths.iter().any(|path| path == word || path.ends_with(&format!("/{word}")));
    };
    let is_file = WRITTEN.contains(&extension(name));
    let is_directory = name.is_empty();
    let in_root = tree.paths.contains(first);
    let in_package = PACKAGE_DIRECTORIES.contains(&first) && is_file;
    if !(is_file || is_directory) || !(in_root || in_package) {
        return false;
    }
    let package = tree.package_of(&file.path);
    let bases = ["", package, file.directory()];
    let path = word.trim_end_matches('/');
    !bases.iter().any(|base| join(base, path).is_some_and(|path| tree.paths.contains(&path)))
}

/// A document's name in capitals, such as `README.md`.
fn is_document(word: &str) -> bool {
    let stem = word.strip_suffix(".md").unwrap_or("");
    stem.starts_with(|c: char| c.is_ascii_uppercase())
        && stem.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
