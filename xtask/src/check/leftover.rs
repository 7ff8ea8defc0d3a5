//! What shows that something is not done: stubs, ignored tests and examples, open marks that no issue follows, and
//! code that was taken out by comment marks instead of being deleted.

use crate::finding::{Finding, Rule};
use crate::token::{Source, follows};
use crate::tree::File;

/// Marks of open work, which need an issue's number on their line.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// This many comment lines in a row that end like code are code.
const CODE_LINES_MIN: usize = 3;

/// Checks one Rust file.
#[must_use]
pub fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut found = stubs(source);
    found.extend(comment_marks(source));
    found.extend(ignored_examples(source));
    found.extend(commented_out_code(source));
    found
}

/// Checks a text that is not Rust: marks in the comments of scripts, examples in Markdown that no test runs.
#[must_use]
pub fn check_script(file: &File) -> Vec<Finding> {
    let comments = file.lines().filter_map(|(line, text)| text.split_once('#').map(|(_, comment)| (line, comment)));
    marks(file, comments)
}

fn stubs(source: &Source<'_>) -> Vec<Finding> {
    let stub_macros = [concat!("to", "do"), "unimplemented"];
    let tokens = &source.tokens;
    let message = |index: usize| {
        if stub_macros.contains(&tokens[index].text) && follows(tokens, index + 1, &["!"]) {
            return Some("a stub: write it, or leave out what cannot be done yet");
        }
        if follows(tokens, index, &["#", "[", "ignore"]) {
            return Some("an ignored test: make it pass and fast enough to run, or delete it");
        }
        let is_bare = follows(tokens, index, &["#", "[", "should_panic", "]"]);
        is_bare.then_some("a panic of any kind passes this test: name it with `expected = \"...\"`")
    };
    let found = (0..tokens.len()).filter_map(|index| message(index).map(|message| (tokens[index].line, message)));
    found.map(|(line, message)| Finding::new(&source.file.path, line, Rule::Leftover, message)).collect()
}

fn comment_marks(source: &Source<'_>) -> Vec<Finding> {
    marks(source.file, source.comment_lines())
}

fn marks<'a>(file: &File, comments: impl Iterator<Item = (usize, &'a str)>) -> Vec<Finding> {
    let open = comments.filter_map(|(line, comment)| mark(comment).map(|mark| (line, mark)));
    open.map(|(line, mark)| {
        let message = format!("`{mark}` without an issue's number: do it now, or open an issue and write `{mark}(#N)`");
        Finding::new(&file.path, line, Rule::Leftover, message)
    })
    .collect()
}

/// A mark of open work, as a word of its own, in a comment that names no issue.
fn mark(comment: &str) -> Option<&'static str> {
    let mut words = comment.split(|c: char| !c.is_alphanumeric());
    let mark = words.find_map(|word| MARKS.into_iter().find(|mark| *mark == word))?;
    let mut numbers = comment.split('#').skip(1);
    let names_issue = numbers.any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    (!names_issue).then_some(mark)
}

/// Fences in doc comments whose example the compiler never sees.
fn ignored_examples(source: &Source<'_>) -> Vec<Finding> {
    let docs = source.comment_lines().filter_map(|(line, comment)| {
        let text = comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!"))?;
        Some((line, text.trim()))
    });
    ignored_fences(source.file, docs)
}

/// Fences marked `ignore` among lines of Markdown.
pub(crate) fn ignored_fences<'a>(file: &File, lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Finding> {
    let fences = lines.filter_map(|(line, text)| text.trim().strip_prefix("```").map(|info| (line, info)));
    let ignored = fences.filter(|(_, info)| info.split(',').any(|word| word.trim().starts_with("ignore")));
    let message = "an example that is never compiled: make it compile (`no_run` if it must not run), or mark it `text`";
    ignored.map(|(line, _)| Finding::new(&file.path, line, Rule::Leftover, message)).collect()
}

fn commented_out_code(source: &Source<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut run = 0;
    let mut previous = 0;
    for (line, comment) in source.comment_lines() {
        run = match (ends_like_code(comment), line == previous + 1) {
            (false, _) => 0,
            (true, true) => run + 1,
            (true, false) => 1,
        };
        previous = line;
        if run == CODE_LINES_MIN {
            let first = line + 1 - CODE_LINES_MIN;
            let message = "code in comments: delete it (the history keeps it), or say in words what it was to show";
            found.push(Finding::new(&source.file.path, first, Rule::Leftover, message));
        }
    }
    found
}

/// Only for plain comments: doc comments hold examples, which are compiled.
fn ends_like_code(comment: &str) -> bool {
    let is_doc = comment.starts_with("///") || comment.starts_with("//!");
    !is_doc && comment.starts_with("//") && comment.ends_with([';', '{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::made_up::{lines, run};

    fn found(text: &str) -> Vec<usize> {
        lines(&run("engine/src/a.rs", text, check))
    }

    #[test]
    fn stubs_are_refused_but_not_their_names_in_words() {
        assert_eq!(found(concat!("fn a() { to", "do!() }\n")), [1]);
        assert_eq!(found("fn a() {\n    unimplemented!(\"later\")\n}\n"), [2]);
        assert_eq!(found("fn a() { unimplemented(); \"todo!()\"; } // unimplemented!()\n"), []);
    }

    #[test]
    fn ignored_tests_and_panics_of_any_kind_are_refused() {
        assert_eq!(found(concat!("#[ig", "nore]\nfn a() {}\n")), [1]);
        assert_eq!(found("#[test]\n#[ignore = \"slow\"]\nfn a() {}\n"), [2]);
        assert_eq!(found("#[should_panic]\nfn a() {}\n"), [1]);
        assert_eq!(found("#[should_panic(expected = \"index 3\")]\nfn a() {}\n"), []);
    }

    #[test]
    fn an_open_mark_needs_an_issue() {
        for mark in MARKS {
            assert_eq!(found(&format!("// {mark}: later\n")), [1]);
            assert_eq!(found(&format!("/// a\n/// {mark}(#12): later\n")), []);
            assert_eq!(found(&format!("fn {mark}() {{}}\n")), [], "only comments are read");
            assert_eq!(found(&format!("// {mark}S are not marks\n")), []);
        }
        let script = File::new("deny.toml", format!("a = 1\nb = 2 # {}\n", MARKS[0]));
        assert_eq!(lines(&check_script(&script)), [2]);
    }

    #[test]
    fn examples_that_are_never_compiled_are_refused() {
        assert_eq!(found("/// ```ignore\n/// a\n/// ```\n"), [1]);
        assert_eq!(found("//! A.\n//!\n//! ```rust,ignore\n"), [3]);
        assert_eq!(found("/// ```no_run\n/// ```text\n/// ```\n"), []);
    }

    #[test]
    fn three_lines_of_code_in_comments_are_refused() {
        assert_eq!(found("fn a() {\n    // let a = 1;\n    // if a {\n    // b();\n    // c();\n}\n"), [2]);
        assert_eq!(found("// let a = 1;\n// b();\nfn a() {}\n// c();\n"), [], "not in a row");
        assert_eq!(found("/// a;\n/// b;\n/// c;\n"), [], "an example");
        assert_eq!(found("// First the vote is saved;\n// then, and only then,\n// it is sent;\n"), []);
    }
}
