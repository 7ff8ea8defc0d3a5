//! Names that say nothing: a file called `utils` takes in anything, and `get_` before a noun adds no sense.
//!
//! The methods of `impl Trait for Type` are named by the trait, so they are judged where the trait is defined, if that
//! is here at all.

use crate::finding::{Finding, Rule};
use crate::token::{Source, Token, closing, follows};

/// Names of files, directories and modules that are no names.
const EMPTY_MODULES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "misc", "stuff"];

/// What a function's name does not begin with.
const EMPTY_PREFIXES: [&str; 2] = ["get_", "do_"];

/// What a function's name does not end with.
const EMPTY_SUFFIXES: [&str; 2] = ["_impl", "_ext"];

/// Checks the path of a Rust file and the names that it defines.
#[must_use]
pub fn check(source: &Source<'_>) -> Vec<Finding> {
    let path = &source.file.path;
    let mut found: Vec<Finding> = empty_part(path)
        .map(|part| {
            Finding::new(
                path,
                1,
                Rule::Name,
                format!("`{part}` names nothing: name the file for the one thing it holds"),
            )
        })
        .into_iter()
        .collect();
    let named_by_traits = trait_implementations(&source.tokens);
    for (index, pair) in source.tokens.windows(2).enumerate() {
        let is_given = named_by_traits.iter().any(|&(open, close)| (open..close).contains(&index));
        let fault = match pair[0].text {
            "fn" if is_given => None,
            "mod" => module_fault(pair[1].text),
            "fn" => function_fault(pair[1].text),
            _ => None,
        };
        found.extend(fault.map(|message| Finding::new(path, pair[1].line, Rule::Name, message)));
    }
    found
}

/// Where the bodies of `impl Trait for Type` open and close.
fn trait_implementations(tokens: &[Token<'_>]) -> Vec<(usize, usize)> {
    let starts = (0..tokens.len()).filter(|index| tokens[*index].text == "impl");
    let bodies = starts.filter_map(|start| {
        let length = tokens[start..].iter().position(|token| matches!(token.text, "{" | ";"))?;
        let open = start + length;
        let names_trait = (start..open).any(|index| tokens[index].text == "for" && !follows(tokens, index + 1, &["<"]));
        (names_trait && tokens[open].text == "{").then(|| (open, closing(tokens, open)))
    });
    bodies.collect()
}

/// The part of a path that names nothing.
fn empty_part(path: &str) -> Option<&str> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    stem.split('/').find(|part| EMPTY_MODULES.contains(part))
}

fn module_fault(name: &str) -> Option<String> {
    let is_empty = EMPTY_MODULES.contains(&name);
    is_empty.then(|| format!("module `{name}` names nothing: name it for the one thing it holds"))
}

fn function_fault(name: &str) -> Option<String> {
    if let Some(prefix) = EMPTY_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix)) {
        let better = name.trim_start_matches(prefix);
        return Some(format!("function `{name}`: drop `{prefix}`, `{better}` or a verb that says more will do"));
    }
    let suffix = EMPTY_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix))?;
    Some(format!("function `{name}`: drop `{suffix}`, say what sets it apart"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::made_up::{lines, run};

    #[test]
    fn files_and_directories_named_for_nothing_are_refused() {
        for path in ["engine/src/utils.rs", "log/tests/common/mod.rs", "server/src/misc.rs", "log/src/helper.rs"] {
            assert_eq!(lines(&run(path, "fn a() {}\n", check)), [1], "{path}");
        }
        assert_eq!(run("engine/src/commonwealth.rs", "fn a() {}\n", check), []);
    }

    #[test]
    fn modules_named_for_nothing_are_refused() {
        assert_eq!(lines(&run("a.rs", "mod quorum;\nmod helpers {}\n", check)), [2]);
    }

    #[test]
    fn a_trait_is_judged_where_it_is_defined() {
        assert_eq!(run("a.rs", "impl<T> Store for Log<T> {\n    fn get_term(&self) {}\n}\n", check), []);
        assert_eq!(lines(&run("a.rs", "trait Store {\n    fn get_term(&self);\n}\n", check)), [2]);
        assert_eq!(
            lines(&run("a.rs", "impl<F: for<'a> Fn(&'a u8)> Log<F> {\n    fn get_term(&self) {}\n}\n", check)),
            [2]
        );
        assert_eq!(lines(&run("a.rs", "impl A for B {}\nfn get_term() {}\n", check)), [2]);
    }

    #[test]
    fn functions_with_filler_are_refused() {
        let text = "fn get_term() {}\nfn do_send() {}\nfn step_impl() {}\nfn log_ext() {}\n";
        assert_eq!(lines(&run("a.rs", text, check)), [1, 2, 3, 4]);
        assert_eq!(run("a.rs", "fn getter() {}\nfn domain() {}\nfn next() {}\nfn implied() {}\n", check), []);
        assert_eq!(run("a.rs", "let x = map.get_mut(&k); // fn get_a()\n", check), [], "calls and comments are free");
    }
}
