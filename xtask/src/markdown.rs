//! As much Markdown as links need: where a text points to, and which anchors its headings make.
//!
//! What stands in fences and code spans points nowhere. Anchors follow the rule of the forges: the heading in lower
//! case, blanks as hyphens, other signs dropped, repetitions numbered from 1.

use std::collections::{BTreeMap, BTreeSet};

/// One place that points somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// As it is written.
    pub target: String,
    /// From 1.
    pub line: usize,
}

/// What a text points to and what can be pointed at in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Inline links, images, reference definitions, `href` and `src`, by line.
    pub links: Vec<Link>,
    /// `[text][id]` whose `id` nothing defines, by line.
    pub undefined: Vec<Link>,
    /// Names that `#name` may point at.
    pub anchors: BTreeSet<String>,
}

impl Document {
    /// Reads a text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut slugs = Slugs::default();
        let mut uses = Vec::new();
        let mut defined = BTreeSet::new();
        let mut previous = String::new();
        for (line, raw) in prose(text) {
            let visible = without_code_spans(raw);
            if let Some(heading) = heading(raw, &previous) {
                document.anchors.insert(slugs.next(heading));
            }
            document.anchors.extend(attributes(&visible, &["id", "name"]));
            let mut targets = inline_targets(&visible);
            targets.extend(attributes(&visible, &["href", "src"]));
            if let Some((id, target)) = definition(&visible) {
                defined.insert(id);
                targets.push(target);
            }
            document.links.extend(targets.into_iter().map(|target| Link { target, line }));
            uses.extend(reference_uses(&visible).into_iter().map(|target| Link { target, line }));
            raw.clone_into(&mut previous);
        }
        document.undefined = uses.into_iter().filter(|link| !defined.contains(&link.target)).collect();
        document
    }
}

/// The lines outside of fences, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut open: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let marks = fence(line);
        match (open, marks) {
            (None, Some(marks)) => {
                open = Some(marks);
                None
            }
            (Some(opened), Some(marks)) if marks.starts_with(opened) && line.trim() == marks => {
                open = None;
                None
            }
            (Some(_), _) => None,
            (None, None) => Some((index + 1, line)),
        }
    })
}

/// The marks of a fence, three or more of a kind at the start of a line.
fn fence(line: &str) -> Option<&str> {
    let trimmed = line.trim_start();
    let length = |mark: char| trimmed.find(|c| c != mark).unwrap_or(trimmed.len());
    let longest = length('`').max(length('~'));
    (longest >= 3).then(|| &trimmed[..longest])
}

/// The line with what stands between backticks made blank.
fn without_code_spans(line: &str) -> String {
    let mut visible = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let marks = rest[start..].find(|c| c != '`').unwrap_or(rest.len() - start);
        let inside = &rest[start + marks..];
        let Some(length) = span_length(inside, marks) else { break };
        visible.push_str(&rest[..start]);
        visible.push(' ');
        rest = &inside[length + marks..];
    }
    visible + rest
}

/// How long a code span is that ends with exactly so many backticks.
fn span_length(inside: &str, marks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = inside[at..].find('`') {
        let start = at + found;
        let run = inside[start..].find(|c| c != '`').unwrap_or(inside.len() - start);
        if run == marks {
            return Some(start);
        }
        at = start + run;
    }
    None
}

/// The text of a heading: `## Text`, or the line above one of `===` or `---`.
fn heading<'a>(line: &'a str, previous: &'a str) -> Option<&'a str> {
    let underlines =
        !line.is_empty() && (line.chars().all(|c| c == '=') || (line.len() >= 3 && line.chars().all(|c| c == '-')));
    if underlines && !previous.trim().is_empty() && heading(previous, "").is_none() {
        return Some(previous.trim());
    }
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let is_heading = (1..=6).contains(&level) && text.starts_with(' ');
    is_heading.then(|| text.trim().trim_end_matches('#').trim_end())
}

/// Anchors in the order of their headings.
#[derive(Default)]
struct Slugs {
    /// How often each has been made so far; at least 1.
    seen: BTreeMap<String, usize>,
}

impl Slugs {
    fn next(&mut self, heading: &str) -> String {
        let slug = slug(heading);
        let seen = self.seen.entry(slug.clone()).or_default();
        *seen += 1;
        if *seen == 1 { slug } else { format!("{slug}-{}", *seen - 1) }
    }
}

fn slug(heading: &str) -> String {
    let text = without_targets(heading).to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// `[text](target)` as `text`.
fn without_targets(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    text + rest
}

/// The targets of `[text](target "title")`.
fn inline_targets(line: &str) -> Vec<String> {
    let openings = line.match_indices("](").map(|(at, marks)| &line[at + marks.len()..]);
    openings.map(|rest| target(rest.trim_start())).collect()
}

/// The target at the start of a text: up to a blank or the bracket that closes; all between `<` and `>`.
fn target(text: &str) -> String {
    if let Some((inside, _)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        return inside.to_owned();
    }
    let mut depth = 0_usize;
    let end = text.find(|c: char| {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ')' => return true,
            _ => {}
        }
        c.is_whitespace()
    });
    text[..end.unwrap_or(text.len())].to_owned()
}

/// `[id]: target`, but no footnote.
fn definition(line: &str) -> Option<(String, String)> {
    let (id, rest) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    let is_plain = !id.starts_with('^') && !id.contains(['[', ']']);
    is_plain.then(|| (id.to_lowercase(), target(rest.trim_start())))
}

/// The ids of `[text][id]`; `[id][]` means its text, which is left alone.
fn reference_uses(line: &str) -> Vec<String> {
    let openings = line.match_indices("][").map(|(at, marks)| &line[at + marks.len()..]);
    let ids = openings.filter_map(|rest| rest.split_once(']').map(|(id, _)| id.to_lowercase()));
    ids.filter(|id| !id.is_empty()).collect()
}

/// The values of HTML attributes with these names.
fn attributes(line: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for name in names {
        let opening = format!(" {name}=\"");
        let values = line.match_indices(&opening).map(|(at, marks)| &line[at + marks.len()..]);
        found.extend(values.filter_map(|rest| rest.split_once('"').map(|(value, _)| value.to_owned())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<String> {
        Document::parse(text).links.into_iter().map(|link| link.target).collect()
    }

    fn anchors(text: &str) -> Vec<String> {
        Document::parse(text).anchors.into_iter().collect()
    }

    #[test]
    fn all_ways_to_point_are_seen() {
        assert_eq!(targets("See [a](b.md), ![c](d.svg \"e\") and [f](<g h.md>).\n"), ["b.md", "d.svg", "g h.md"]);
        assert_eq!(targets("[a](b_(c).md) <img alt=\"\" src=\"d.svg\"> <a href=\"e\">\n"), ["b_(c).md", "e", "d.svg"]);
        assert_eq!(targets("[a]: b.md\n[^1]: not one\n"), ["b.md"]);
    }

    #[test]
    fn code_points_nowhere() {
        assert_eq!(targets("`[a](b)` and ``[c](`d)`` [e](f)\n"), ["f"]);
        assert_eq!(targets("```text\n[a](b)\n~~~\n```\n[c](d)\n"), ["d"]);
        assert_eq!(targets("````\n```\n[a](b)\n````\n[c](d)\n"), ["d"]);
    }

    #[test]
    fn code_ends_with_the_marks_that_it_began_with() {
        assert_eq!(targets("``a` [b](c)`` [d](e)\n"), ["e"]);
        assert_eq!(targets("```text\n```rust\n[a](b)\n```\n[c](d)\n"), ["d"], "a closing fence has no word behind it");
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(anchors("# The `Raft` handle, in short!\n"), ["the-raft-handle-in-short"]);
        assert_eq!(anchors("## A\n## A\n### A ##\n"), ["a", "a-1", "a-2"]);
        assert_eq!(anchors("# [Log](FORMAT.md) format\n```sh\n# no heading\n```\n#neither\n"), ["log-format"]);
        assert_eq!(anchors("Title\n=====\nSecond\n---\n\n---\n<a id=\"x\"></a>\n"), ["second", "title", "x"]);
    }

    #[test]
    fn an_undefined_reference_is_seen() {
        let document = Document::parse("[a][Known] [b][gone]\n\n[known]: c.md\n");
        assert_eq!(document.undefined, [Link { target: "gone".to_owned(), line: 1 }]);
    }

    #[test]
    fn lines_are_counted_through_fences() {
        assert_eq!(Document::parse("```\n\n```\n[a](b)\n").links, [Link { target: "b".to_owned(), line: 4 }]);
    }
}
