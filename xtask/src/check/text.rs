//! Lengths and white space: what makes a file hard to take in, or a diff noisy.

use crate::finding::{Finding, Rule};
use crate::tree::{File, Kind};

/// Beyond this a file has more than one job (tests included).
const FILE_LINES_MAX: usize = 800;

/// Code is formatted to 100 columns; this leaves room for tables and strings.
const LINE_CHARACTERS_MAX: usize = 140;

/// Checks one text file of any kind.
#[must_use]
pub fn check(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    if file.kind() == Kind::Rust {
        found.extend(file_length(file));
        found.extend(line_lengths(file));
    }
    if file.kind() != Kind::Lock {
        found.extend(white_space(file));
        found.extend(ending(file));
    }
    found
}

fn file_length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let message = format!(
        "{lines} lines, at most {FILE_LINES_MAX}: split the file where its jobs part, or move its tests to a file of their own"
    );
    (lines > FILE_LINES_MAX).then(|| Finding::new(&file.path, FILE_LINES_MAX + 1, Rule::FileLength, message))
}

fn line_lengths(file: &File) -> Vec<Finding> {
    let lengths = file.lines().map(|(line, text)| (line, text.chars().count()));
    let too_long = lengths.filter(|(_, length)| *length > LINE_CHARACTERS_MAX);
    too_long
        .map(|(line, length)| {
            let message = format!("{length} characters, at most {LINE_CHARACTERS_MAX}: break the line");
            Finding::new(&file.path, line, Rule::LineLength, message)
        })
        .collect()
}

fn white_space(file: &File) -> Vec<Finding> {
    let faults = |line: &str| {
        let body = line.strip_suffix('\r').unwrap_or(line);
        [
            (line.ends_with('\r'), "a carriage return: end lines with a newline alone"),
            (body.contains('\t'), "a tab: use spaces"),
            (body.ends_with(char::is_whitespace), "white space at the end of the line: remove it"),
            (body.contains('\u{FFFD}'), "not UTF-8: save the file as UTF-8"),
        ]
    };
    let lines = file.text.split('\n').enumerate();
    let broken = lines.flat_map(|(index, line)| faults(line).map(|(broken, message)| (index + 1, broken, message)));
    broken
        .filter(|(_, broken, _)| *broken)
        .map(|(line, _, message)| Finding::new(&file.path, line, Rule::Whitespace, message))
        .collect()
}

fn ending(file: &File) -> Option<Finding> {
    let text = file.text.as_str();
    let message = match text {
        "" => return None,
        _ if !text.ends_with('\n') => "no newline at the end of the file: add one",
        _ if text.ends_with("\n\n") => "blank lines at the end of the file: remove them",
        _ => return None,
    };
    let line = text.lines().count().max(1);
    Some(Finding::new(&file.path, line, Rule::Whitespace, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, Rule)> {
        check(&File::new(path, text)).iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_tidy_file_passes() {
        assert_eq!(found("a.rs", "//! A.\nfn a() {}\n"), []);
        assert_eq!(found("empty.txt", ""), []);
    }

    #[test]
    fn a_file_of_801_lines_is_refused_and_one_of_800_is_not() {
        assert_eq!(found("a.rs", &"x\n".repeat(800)), []);
        assert_eq!(found("a.rs", &"x\n".repeat(801)), [(801, Rule::FileLength)]);
        assert_eq!(found("a.md", &"x\n".repeat(801)), [], "only Rust is held to it");
    }

    #[test]
    fn a_line_of_141_characters_is_refused_and_one_of_140_is_not() {
        assert_eq!(found("a.rs", &format!("{}\n", "ü".repeat(140))), []);
        assert_eq!(found("a.rs", &format!("x\n{}\n", "ü".repeat(141))), [(2, Rule::LineLength)]);
    }

    #[test]
    fn white_space_is_held_in_every_text() {
        assert_eq!(found("a.md", "a\tb\n"), [(1, Rule::Whitespace)]);
        assert_eq!(found("a.toml", "a = 1 \n"), [(1, Rule::Whitespace)]);
        assert_eq!(found("a.txt", "a\nb\r\n"), [(2, Rule::Whitespace)]);
        assert_eq!(found("a.txt", "a\u{FFFD}\n"), [(1, Rule::Whitespace)]);
    }

    #[test]
    fn a_file_ends_with_one_newline() {
        assert_eq!(found("a.rs", "a\nb"), [(2, Rule::Whitespace)]);
        assert_eq!(found("a.rs", "a\n\n"), [(2, Rule::Whitespace)]);
    }
}
