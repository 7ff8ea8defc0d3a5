//! Functions that are too long. Clippy counts too, but neither in macros nor, with tests, where it is told not to.

use crate::finding::{Finding, Rule};
use crate::token::{Source, Token, closing, follows};

/// Beyond this a function is a design that asks for help.
const BODY_LINES_MAX: usize = 70;

/// Checks every function and macro of a Rust file.
#[must_use]
pub fn check(source: &Source<'_>) -> Vec<Finding> {
    let counts = CodeLines::of(source);
    let tokens = &source.tokens;
    let bodies =
        (0..tokens.len()).filter_map(|index| body(tokens, index).map(|(name, open)| (name, tokens[index].line, open)));
    let lengths = bodies.map(|(name, line, open)| {
        let (first, last) = (tokens[open].line, tokens[closing(tokens, open)].line);
        (name, line, counts.between(first, last))
    });
    let too_long = lengths.filter(|(_, _, length)| *length > BODY_LINES_MAX);
    too_long
        .map(|(name, line, length)| {
            let message = format!(
                "the body of `{name}` has {length} lines, at most {BODY_LINES_MAX}: give its parts names of their own"
            );
            Finding::new(&source.file.path, line, Rule::FunctionLength, message)
        })
        .collect()
}

/// The name of the function or macro that is defined at `index`, and where its body opens.
fn body<'a>(tokens: &[Token<'a>], index: usize) -> Option<(&'a str, usize)> {
    if follows(tokens, index, &["macro_rules", "!"]) {
        return Some((tokens.get(index + 2)?.text, index + 3));
    }
    if tokens.get(index)?.text != "fn" {
        return None;
    }
    // In a macro the name may be `$name`; without a name it is the type of a pointer.
    let name = tokens.get(index + 1..)?.iter().find(|token| token.text != "$")?;
    if !name.is_identifier() {
        return None;
    }
    let mut at = index + 1;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => return Some((name.text, at)),
            ";" | "}" | ")" => return None,
            "(" | "[" => at = closing(tokens, at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// How many lines up to each are neither blank nor comment alone; strings of many lines count.
struct CodeLines {
    /// `sums[n]`: among the first n lines. Never decreases.
    sums: Vec<usize>,
}

impl CodeLines {
    fn of(source: &Source<'_>) -> Self {
        let code = source.stripped.code.lines();
        let comments = source.stripped.comments.lines();
        let mut sums = vec![0];
        let mut sum = 0;
        for ((text, code), comment) in source.file.text.lines().zip(code).zip(comments) {
            let is_code = !code.trim().is_empty() || (!text.trim().is_empty() && comment.trim().is_empty());
            sum += usize::from(is_code);
            sums.push(sum);
        }
        Self { sums }
    }

    /// Lines of code strictly between two lines, those of the braces.
    fn between(&self, first: usize, last: usize) -> usize {
        let before = |line: usize| self.sums.get(line).copied().unwrap_or(0);
        before(last.saturating_sub(1)).saturating_sub(before(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::made_up::{lines, run};

    fn found(text: &str) -> Vec<usize> {
        lines(&run("engine/tests/a.rs", text, check))
    }

    #[test]
    fn a_body_of_71_lines_is_refused_and_one_of_70_is_not() {
        let function = |lines: usize| {
            format!("\nfn a(x: [u8; 2]) -> [u8; 2]\nwhere\n    u8: Copy,\n{{\n{}}}\n", "    b();\n".repeat(lines))
        };
        assert_eq!(found(&function(70)), []);
        assert_eq!(found(&function(71)), [2]);
    }

    #[test]
    fn comments_and_blank_lines_are_free_but_strings_are_not() {
        let body = format!("fn a() {{\n{}}}\n", "    // why\n\n".repeat(80));
        assert_eq!(found(&body), []);
        let text = format!("fn a() {{\n    b(\"{}\")\n}}\n", "word\n".repeat(80));
        assert_eq!(found(&text), [1]);
    }

    #[test]
    fn functions_in_tests_and_macros_count() {
        let long = "        b();\n".repeat(71);
        assert_eq!(found(&format!("#[cfg(test)]\nmod tests {{\n    fn a() {{\n{long}    }}\n}}\n")), [3]);
        assert_eq!(
            found(&format!(
                "macro_rules! m {{\n    ($a:ident) => {{\n        fn $a() {{\n{long}        }}\n    }}\n}}\n"
            )),
            [1, 3]
        );
    }

    #[test]
    fn what_has_no_body_is_no_function() {
        let declaration = format!(
            "trait A {{ fn a(&self); }}\ntype B = fn(u8) -> u8;\nconst C: [u8; 71] = [{}];\n",
            "1,\n".repeat(71)
        );
        assert_eq!(found(&declaration), []);
    }
}
