//! Purity: the engine and the model decide, and nothing of the world may reach them but through their arguments.
//!
//! Whatever reads a clock, draws a number, waits, shares or iterates in hash order makes a run that cannot be
//! replayed. The engine and the model may import from a short list only; the log does I/O, yet knows neither clock,
//! chance nor executor, so that the simulator can host it.
//!
//! Tests are held to less: they read scripts from files and collect what they saw in sets. But a test that sleeps,
//! reads the clock or draws from the system's randomness is not repeatable, so that stays refused there.

use std::collections::BTreeSet;

use crate::finding::{Finding, Rule};
use crate::token::{Source, Token, closing, follows, test_modules};
use crate::tree::{File, Tree};

/// What one crate may not know.
struct Boundary {
    /// The crate's directory.
    directory: &'static str,
    /// Crates that it may import besides `std` and its own modules; unused where `std` is empty.
    crates: &'static [&'static str],
    /// Beginnings of paths in `std` that it may use; empty means all.
    std: &'static [&'static str],
    /// Words that its code does not hold, with the reason.
    words: &'static [Words],
    /// Words that its tests do not hold either.
    words_in_tests: &'static [Words],
}

/// Words refused for one reason; one that ends with `*` stands for all that begin so.
type Words = (&'static [&'static str], &'static str);

const BOUNDARIES: &[Boundary] = &[
    Boundary { directory: "engine", crates: &["bytes"], std: PURE_STD, words: PURE, words_in_tests: UNREPEATABLE },
    Boundary { directory: "model", crates: &[], std: PURE_STD, words: PURE, words_in_tests: UNREPEATABLE },
    Boundary { directory: "log", crates: &[], std: &[], words: LOG, words_in_tests: LOG_TESTS },
];

const PURE_STD: &[&str] = &[
    "array",
    "ascii",
    "borrow",
    "boxed",
    "char",
    "clone",
    "cmp",
    "collections",
    "convert",
    "default",
    "error",
    "fmt",
    "hash",
    "hint",
    "iter",
    "marker",
    "mem",
    "num",
    "ops",
    "option",
    "result",
    "slice",
    "str",
    "string",
    "sync::Arc",
    "time::Duration",
    "vec",
];

const CLOCK: Words = (&["SystemTime", "UNIX_EPOCH"], "reads the clock: take `now` as an argument");
const STD_CLOCK: Words = (&["Instant"], "reads the clock: whoever hosts this crate passes the time in");
const CHANCE: Words = (
    &["rand", "fastrand", "getrandom", "thread_rng", "RandomState"],
    "draws from the system: take a seed as an argument",
);
const HASHED: Words =
    (&["HashMap", "HashSet", "hash_map", "hash_set"], "iterates in another order each run: use a BTreeMap or BTreeSet");
const EXECUTOR: Words =
    (&["tokio", "futures", "async", "await"], "waits: nothing here is asynchronous, the runtime is");
const CHANNEL: Words =
    (&["mpsc", "oneshot", "crossbeam*", "flume"], "is a channel: let whoever waits be a token in plain data");
const SHARED: Words = (
    &[
        "Mutex",
        "RwLock",
        "Condvar",
        "Atomic*",
        "OnceLock",
        "LazyLock",
        "OnceCell",
        "LazyCell",
        "RefCell",
        "Cell",
        "thread_local",
    ],
    "shares or hides state: keep it in a field and take `&mut self`",
);
const OBJECT: Words = (&["dyn"], "is a trait object: a value of it cannot be compared, cloned or replayed");
const PRINTED: Words =
    (&["println", "print", "eprintln", "eprint"], "writes to the outside: return what there is to say");
const SLEEP: Words = (&["sleep"], "stands in for a condition: wait for the condition, or move the time by hand");
const SIBLINGS: Words =
    (&["outrigger", "outrigger_engine", "outrigger_model"], "is a crate above or beside: the log is a leaf");

const PURE: &[Words] = &[CLOCK, CHANCE, HASHED, EXECUTOR, CHANNEL, SHARED, OBJECT, PRINTED, SLEEP];
const UNREPEATABLE: &[Words] = &[CLOCK, CHANCE, EXECUTOR, SLEEP];
const LOG: &[Words] = &[CLOCK, STD_CLOCK, CHANCE, HASHED, EXECUTOR, SLEEP, SIBLINGS];
const LOG_TESTS: &[Words] = &[CHANCE, EXECUTOR, SLEEP, SIBLINGS];

/// Checks one Rust file, if it belongs to a crate with a boundary.
#[must_use]
pub fn check(tree: &Tree, source: &Source<'_>) -> Vec<Finding> {
    let path = &source.file.path;
    let Some(boundary) = BOUNDARIES.iter().find(|boundary| is_below(path, boundary.directory)) else {
        return Vec::new();
    };
    let is_test_file = !is_below(path, &format!("{}/src", boundary.directory)) || is_test_module(tree, path);
    let is_test = |line: usize| is_test_file || source.is_test_line(line);
    let mut faults = Vec::new();
    for token in source.tokens.iter().filter(|token| token.is_identifier()) {
        let words = if is_test(token.line) { boundary.words_in_tests } else { boundary.words };
        faults.extend(word_fault(words, token.text).map(|message| (token.line, message)));
    }
    if !boundary.std.is_empty() {
        let own = own_names(tree, boundary.directory);
        let paths = paths(&source.tokens).into_iter().filter(|path| !is_test(path.line));
        faults.extend(paths.filter_map(|path| path_fault(boundary, &own, &path).map(|message| (path.line, message))));
    }
    if boundary.directory == "engine" {
        faults.extend(type_parameters(&source.tokens));
    }
    faults.into_iter().map(|(line, message)| Finding::new(path, line, Rule::Purity, message)).collect()
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a file is a module that its parent declares under `#[cfg(test)]`, or lies inside of one.
fn is_test_module(tree: &Tree, path: &str) -> bool {
    let mut child = path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or(path);
    while let Some((directory, name)) = child.rsplit_once('/') {
        let parents = [format!("{directory}.rs"), format!("{directory}/mod.rs"), format!("{directory}/lib.rs")];
        // Most files are declared for all: their parents need not be taken apart.
        let declaration = format!("mod {name};");
        let declares = |parent: &&File| parent.text.contains(&declaration) && parent.text.contains("cfg");
        let is_test = parents.iter().filter_map(|parent| tree.file(parent)).filter(declares).any(|parent| {
            let stripped = crate::strip::Stripped::of(&parent.text);
            test_modules(&Source::new(parent, &stripped)).contains(&name)
        });
        if is_test {
            return true;
        }
        child = directory;
    }
    false
}

fn word_fault(words: &[Words], text: &str) -> Option<String> {
    let matches = |word: &&str| word.strip_suffix('*').map_or(*word == text, |beginning| text.starts_with(beginning));
    let (_, reason) = words.iter().find(|(words, _)| words.iter().any(matches))?;
    Some(format!("`{text}` {reason}"))
}

/// A path that code uses or imports.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UsedPath {
    /// Its parts; an import of everything ends with `*`.
    parts: Vec<String>,
    line: usize,
    /// Whether it stands in a `use`.
    imported: bool,
}

/// All imported paths, and all paths in expressions and types that begin at `std`, `core` or `alloc`.
fn paths(tokens: &[Token<'_>]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let is_import = token.text == "use" && !follows(tokens, index + 1, &["<"]);
        let is_root = matches!(token.text, "std" | "core" | "alloc") && follows(tokens, index + 1, &[":", ":"]);
        let is_inner = index >= 3 && follows(tokens, index - 2, &[":", ":"]) && tokens[index - 3].is_identifier();
        if is_import {
            let end = index + tokens[index..].iter().take_while(|token| token.text != ";").count();
            imports(&tokens[index + 1..end.min(tokens.len())], &[], &mut found);
            index = end;
        } else if is_root && !is_inner {
            let parts = chain(&tokens[index..]);
            found.push(UsedPath { parts, line: token.line, imported: false });
        }
        index += 1;
    }
    found
}

/// The parts of `a::b::c` at the beginning of the tokens.
fn chain(tokens: &[Token<'_>]) -> Vec<String> {
    let mut parts = vec![tokens[0].text.to_owned()];
    let mut at = 1;
    while follows(tokens, at, &[":", ":"]) && tokens.get(at + 2).is_some_and(Token::is_identifier) {
        parts.push(tokens[at + 2].text.to_owned());
        at += 3;
    }
    parts
}

/// Spreads out a tree of imports: `a::{b, c::{self, d}}` is `a::b`, `a::c`, `a::c::d`.
fn imports(tokens: &[Token<'_>], prefix: &[String], found: &mut Vec<UsedPath>) {
    let Some(first) = tokens.first() else { return };
    let mut parts = prefix.to_vec();
    for (index, token) in tokens.iter().enumerate() {
        match token.text {
            ":" => {}
            "{" => {
                let inside = &tokens[index + 1..closing(tokens, index).max(index + 1)];
                for branch in branches(inside) {
                    imports(branch, &parts, found);
                }
                return;
            }
            "as" => break,
            "self" if !prefix.is_empty() => {}
            part => parts.push(part.to_owned()),
        }
    }
    found.push(UsedPath { parts, line: first.line, imported: true });
}

/// Splits at the commas that stand in no inner braces.
fn branches<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                found.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(&tokens[start..]);
    found
}

/// The modules of a crate, by the names of its files and by declaration.
fn own_names(tree: &Tree, directory: &str) -> BTreeSet<String> {
    let below = format!("{directory}/src/");
    let parts = tree.paths.iter().filter_map(|path| path.strip_prefix(below.as_str())).flat_map(|path| path.split('/'));
    parts.map(|part| part.trim_end_matches(".rs").to_owned()).collect()
}

fn path_fault(boundary: &Boundary, own: &BTreeSet<String>, path: &UsedPath) -> Option<String> {
    let root = path.parts.first()?.as_str();
    if matches!(root, "std" | "core" | "alloc") {
        let rest = path.parts[1..].join("::");
        let is_allowed =
            boundary.std.iter().any(|allowed| rest == *allowed || rest.starts_with(&format!("{allowed}::")));
        let message = || {
            format!(
                "`{root}::{rest}` is not among what a pure crate may use: pass the value in, or do it in the runtime"
            )
        };
        return (!is_allowed).then(message);
    }
    let is_own =
        matches!(root, "crate" | "self" | "super") || own.contains(root) || root.starts_with(char::is_uppercase);
    let is_allowed = is_own || boundary.crates.contains(&root) || !path.imported;
    let message = || format!("imports `{root}`: {} depends on {} only", boundary.directory, allowed_crates(boundary));
    (!is_allowed).then(message)
}

fn allowed_crates(boundary: &Boundary) -> String {
    if boundary.crates.is_empty() {
        "`core` and `std`".to_owned()
    } else {
        format!("`std` and `{}`", boundary.crates.join("`, `"))
    }
}

/// The engine is one type: with a parameter it would be compiled, explored and replayed once per choice.
fn type_parameters(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let keywords = ["struct", "enum", "type"];
    let definitions =
        tokens.windows(3).filter(|window| keywords.contains(&window[0].text) && window[1].text == "Engine");
    let generic = definitions.filter(|window| window[2].text == "<");
    generic
        .map(|window| (window[1].line, "`Engine` has a type parameter: make what varies plain data".to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
