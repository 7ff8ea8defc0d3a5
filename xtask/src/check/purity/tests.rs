//! Each ban of the pure crates on made-up sources: what is refused, and the innocent that looks like it.

use super::*;
use crate::check::made_up;
use crate::tree::File;

fn found_in(path: &str, text: &str) -> Vec<usize> {
    let tree = Tree::of(vec![File::new(path, text), File::new("engine/src/quorum.rs", "")]);
    made_up::lines(&made_up::run(path, text, |source| check(&tree, source)))
}

fn found(text: &str) -> Vec<usize> {
    found_in("engine/src/election.rs", text)
}

#[test]
fn what_a_pure_crate_needs_is_allowed() {
    let text = "use std::collections::{BTreeMap, VecDeque};\nuse std::{fmt, sync::Arc, time::Duration};\nuse bytes::Bytes;\n\
                use crate::types::{Instant, Term};\nuse quorum::Vote;\npub use self::role::Role;\nuse Role::*;\n\
                fn a(now: Instant) -> core::cmp::Ordering { std::mem::take(x) }\n";
    assert_eq!(found(text), []);
}

#[test]
fn imports_from_outside_are_refused() {
    for import in [
        "std::time::Instant",
        "std::time::{Duration, Instant}",
        "std::time::*",
        "std::time",
        "std::thread",
        "std::net::TcpStream",
        "std::fs",
        "std::io::Read",
        "std::env",
        "std::sync::{Arc, mpsc}",
        "std::sync::Mutex",
        "std::rc::Rc",
        "std::*",
        "std",
        "std::collections::HashMap",
        "std::{fmt, collections::{BTreeMap, HashSet}}",
        "tokio::time::Duration",
        "rand::Rng",
        "core::sync::atomic::AtomicU64",
        "std::cell::RefCell",
        "serde::Serialize",
        "outrigger_log::Log",
        "::std::process",
    ] {
        assert!(!found(&format!("use {import};\n")).is_empty(), "{import}");
    }
}

#[test]
fn paths_in_expressions_are_read_too() {
    assert_eq!(found("fn a() {\n    let now = std::time::Instant::now();\n}\n"), [2]);
    assert_eq!(found("fn a() { std::thread::yield_now() }\n"), [1]);
    assert_eq!(found("fn a() { ::std::process::exit(1) }\n"), [1]);
    assert_eq!(found("fn a() { crate::core::std::fs::x() }\n"), [], "a module of one's own");
}

#[test]
fn words_are_refused_wherever_they_stand() {
    for code in [
        "async fn a() {}",
        "let a = b.await;",
        "let a: Box<dyn Fn()> = b;",
        "let a: HashMap<u8, u8> = b;",
        "SystemTime::now()",
        "static A: AtomicU64 = b;",
        "println!(\"a\")",
        "let a = Mutex::new(1);",
        "let a = Cell::new(1);",
        "tokio::spawn(a)",
        "let (a, b) = mpsc::channel();",
        "sleep(a)",
        "crossbeam_channel::bounded(1)",
    ] {
        assert_eq!(found(&format!("fn a() {{\n    {code}\n}}\n")), [2], "{code}");
    }
}

#[test]
fn comments_and_strings_are_free() {
    assert_eq!(
        found("//! No tokio, no HashMap, no std::time::Instant, nothing async.\nfn a() { panic!(\"dyn std::fs\") }\n"),
        []
    );
    assert_eq!(found("fn r#async(dynamic: u8) {}\n"), [], "words are whole words");
}

#[test]
fn the_engine_has_no_type_parameter() {
    assert_eq!(found("pub struct Engine<C> {\n    a: C,\n}\n"), [1]);
    assert_eq!(found("pub struct Engine {\n    a: Vec<u8>,\n}\npub struct EngineConfig<A>(A);\n"), []);
}

#[test]
fn tests_may_read_files_but_not_the_clock() {
    let body = "use std::collections::HashSet;\nuse std::fs;\nfn a() { println!(\"b\"); }\n";
    assert_eq!(found_in("engine/tests/script.rs", body), []);
    assert_eq!(found(&format!("#[cfg(test)]\nmod tests {{\n{body}}}\n")), []);
    assert_eq!(
        found_in("engine/tests/paper.rs", "fn a() { thread::sleep(b) }\nfn c() { SystemTime::now() }\n"),
        [1, 2]
    );
}

#[test]
fn a_module_declared_for_tests_is_a_test() {
    let text = "use std::fs;\n";
    let tree = |parent: &str| {
        let parent = File::new("engine/src/election.rs", parent);
        Tree::of(vec![
            parent,
            File::new("engine/src/election/tests.rs", text),
            File::new("engine/src/election/tests/a.rs", text),
        ])
    };
    for path in ["engine/src/election/tests.rs", "engine/src/election/tests/a.rs"] {
        let lines = |parent: &str| made_up::lines(&made_up::run(path, text, |source| check(&tree(parent), source)));
        assert_eq!(lines("#[cfg(test)]\nmod tests;\n"), [], "{path}");
        assert_eq!(lines("mod tests;\n"), [1], "{path}");
    }
}

#[test]
fn the_log_does_io_but_knows_no_clock_no_chance_no_executor() {
    let log = |text: &str| found_in("log/src/writer.rs", text);
    assert_eq!(log("use std::fs::File;\nuse std::sync::Mutex;\nuse std::io;\n"), []);
    for code in [
        "tokio::spawn(a)",
        "Instant::now()",
        "outrigger_engine::Term",
        "HashMap::new()",
        "fastrand::u64(..)",
        "thread::sleep(a)",
    ] {
        assert_eq!(log(&format!("fn a() {{\n    {code}\n}}\n")), [2], "{code}");
    }
    assert_eq!(found_in("log/tests/promises.rs", "fn a() { Instant::now(); HashSet::new() }\n"), []);
    assert_eq!(found_in("log/tests/promises.rs", "fn a() { tokio::spawn(b) }\n"), [1]);
}

#[test]
fn other_crates_may_do_what_they_like() {
    assert_eq!(found_in("outrigger/src/raft.rs", "use tokio::sync::mpsc;\nuse std::time::Instant;\n"), []);
}

#[test]
fn a_tree_of_imports_is_spread_out() {
    let tokens = crate::token::tokens("pub use a::{self, b, c::{d as e, *}}; fn f() -> impl A + use<'a> {}");
    let spread: Vec<String> = paths(&tokens).iter().map(|path| path.parts.join("::")).collect();
    assert_eq!(spread, ["a", "a::b", "a::c::d", "a::c::*"]);
}
