//! Stripped code as words and signs with their lines: enough to see functions, imports and test modules without a
//! parser of the whole language.

use crate::strip::Stripped;
use crate::tree::File;

/// A word (identifier, keyword, number) or one sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// A raw identifier keeps its `r#`, so that it never equals a keyword.
    pub text: &'a str,
    /// From 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether it is a word that does not begin with a digit.
    #[must_use]
    pub fn is_identifier(&self) -> bool {
        self.text.starts_with(|first: char| first == '_' || first.is_alphabetic())
    }
}

/// Splits stripped code into tokens; a `::` is two signs.
#[must_use]
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::with_capacity(code.len() / 5);
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let (text, after) = rest.split_at(token_length(rest, first));
            found.push(Token { text, line: index + 1 });
            rest = after.trim_start();
        }
    }
    found
}

fn token_length(rest: &str, first: char) -> usize {
    let word = |text: &str| text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
    if first != '_' && !first.is_alphanumeric() {
        return first.len_utf8();
    }
    match rest.strip_prefix("r#") {
        Some(raw) if word(raw) > 0 => 2 + word(raw),
        _ => word(rest),
    }
}

/// The index of the sign that closes what opens at `open`; the last token when nothing does.
#[must_use]
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

/// Whether the tokens from `at` on are these.
#[must_use]
pub fn follows(tokens: &[Token<'_>], at: usize, expected: &[&str]) -> bool {
    let end = at.saturating_add(expected.len());
    let Some(found) = tokens.get(at..end) else { return false };
    found.iter().zip(expected).all(|(token, text)| token.text == *text)
}

/// One Rust file with all that the checks look at, made once.
#[derive(Debug)]
pub struct Source<'a> {
    /// The file itself.
    pub file: &'a File,
    /// Its code and comments.
    pub stripped: &'a Stripped,
    /// The tokens of its code.
    pub tokens: Vec<Token<'a>>,
    /// Lines (first, last) that are compiled for tests only.
    pub test_lines: Vec<(usize, usize)>,
    /// The comments' lines with their numbers from 1, trimmed and never empty; lines without a comment are left out.
    comments: Vec<(usize, &'a str)>,
}

impl<'a> Source<'a> {
    /// Tokenizes a file that is stripped already.
    #[must_use]
    pub fn new(file: &'a File, stripped: &'a Stripped) -> Self {
        let tokens = tokens(&stripped.code);
        let test_lines = test_lines(&tokens);
        let lines = stripped.comments.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let comments = lines.filter(|(_, line)| !line.is_empty()).collect();
        Self { file, stripped, tokens, test_lines, comments }
    }

    /// Whether a line (from 1) belongs to an item under `#[cfg(test)]`.
    #[must_use]
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|&(first, last)| (first..=last).contains(&line))
    }

    /// The comments' lines with their numbers from 1, trimmed; lines without a comment are left out.
    pub fn comment_lines(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.comments.iter().copied()
    }
}

/// The lines of items under `#[cfg(test)]` or `#[cfg(all(test, ...))]`, and of a whole file under `#![cfg(test)]`.
fn test_lines(tokens: &[Token<'_>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.text != "#" {
            continue;
        }
        let inner = follows(tokens, index, &["#", "!", "["]);
        let bracket = index + if inner { 2 } else { 1 };
        if !is_cfg_test(tokens, bracket + 1) {
            continue;
        }
        let last = if inner { tokens.len().saturating_sub(1) } else { item_end(tokens, closing(tokens, bracket) + 1) };
        let last_line = tokens.get(last).map_or(token.line, |token| token.line);
        found.push((token.line, last_line));
    }
    found
}

/// Whether a `cfg` that holds only when testing begins here.
fn is_cfg_test(tokens: &[Token<'_>], at: usize) -> bool {
    follows(tokens, at, &["cfg", "(", "test", ")"]) || follows(tokens, at, &["cfg", "(", "all", "(", "test"])
}

/// The last token of the item whose attributes or first words begin at `at`.
fn item_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut index = at;
    while let Some(token) = tokens.get(index) {
        match token.text {
            ";" => return index,
            "{" => return closing(tokens, index),
            "(" | "[" => index = closing(tokens, index),
            _ => {}
        }
        index += 1;
    }
    tokens.len().saturating_sub(1)
}

/// The modules that a file declares for tests only, without their bodies: `#[cfg(test)] mod NAME;`.
#[must_use]
pub fn test_modules<'a>(source: &Source<'a>) -> Vec<&'a str> {
    let tokens = &source.tokens;
    let declared = tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declared.filter(|window| source.is_test_line(window[0].line)).map(|window| window[1].text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<&str> {
        tokens(code).iter().map(|token| token.text).collect()
    }

    #[test]
    fn words_and_signs_are_told_apart() {
        assert_eq!(texts("use std::{io, r#async};"), ["use", "std", ":", ":", "{", "io", ",", "r#async", "}", ";"]);
        assert_eq!(texts("x.r#fn()"), ["x", ".", "r#fn", "(", ")"]);
        assert_eq!(tokens("a\n\n  b")[1], Token { text: "b", line: 3 });
    }

    #[test]
    fn a_bracket_finds_its_partner() {
        let tokens = tokens("f(a, [b], { c }) d");
        assert_eq!(tokens[closing(&tokens, 1)].text, ")");
        assert_eq!(tokens[closing(&tokens, 1) + 1].text, "d");
    }

    #[test]
    fn test_modules_are_seen_with_their_attributes() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod cases;\n";
        let file = File::new("engine/src/a.rs", text);
        let stripped = Stripped::of(text);
        let source = Source::new(&file, &stripped);
        let test: Vec<usize> = (1..=9).filter(|line| source.is_test_line(*line)).collect();
        assert_eq!(test, [2, 3, 4, 5, 6, 8, 9]);
        assert_eq!(test_modules(&source), ["cases"]);
    }

    #[test]
    fn an_inner_cfg_makes_the_whole_file_a_test() {
        let text = "#![cfg(test)]\nfn a() {}\n";
        let file = File::new("engine/src/a.rs", text);
        let stripped = Stripped::of(text);
        assert!(Source::new(&file, &stripped).is_test_line(2));
    }

    #[test]
    fn not_test_is_not_test() {
        let text = "#[cfg(not(test))]\nfn a() {}\n";
        let file = File::new("engine/src/a.rs", text);
        let stripped = Stripped::of(text);
        assert!(!Source::new(&file, &stripped).is_test_line(2));
    }
}
