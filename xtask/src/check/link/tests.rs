//! Links and mentions in made-up trees: what arrives, what leads nowhere.

use super::*;
use crate::check::made_up;

fn tree() -> Tree {
    Tree::of(vec![
        File::new("README.md", "# Outrigger\n## Two commands\n"),
        File::new("Cargo.toml", ""),
        File::new("log/Cargo.toml", ""),
        File::new("log/FORMAT.md", "# Format\n## Records\n"),
        File::new("log/src/record.rs", ""),
        File::new("log/tests/promises.rs", ""),
    ])
}

fn found_in(path: &str, text: &str) -> Vec<usize> {
    made_up::lines(&check(&tree(), &File::new(path, text)))
}

fn comments(path: &str, text: &str) -> Vec<usize> {
    made_up::lines(&made_up::run(path, text, |source| check_comments(&tree(), source)))
}

#[test]
fn links_that_arrive_pass() {
    let text = "# Here\n[a](../README.md) [b](../README.md#two-commands) [c](#here) [d](src/record.rs) [e](src) [f](..)\n\
                [g](https://example.org/a.md#b) [h](mailto:a@example.org) [i](./../log/src/)\n";
    assert_eq!(found_in("log/FORMAT.md", text), []);
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    for target in
        ["gone.md", "../gone.md", "src/gone.rs", "../../README.md", "/README.md", "", "crate::Log", "readme.md"]
    {
        assert_eq!(found_in("log/FORMAT.md", &format!("\n[a]({target})\n")), [2], "{target}");
    }
    assert_eq!(found_in("README.md", "[a]: gone.md\n"), [1]);
    assert_eq!(found_in("README.md", "[a][gone]\n"), [1]);
}

#[test]
fn anchors_that_lead_nowhere_are_refused() {
    assert_eq!(found_in("log/FORMAT.md", "# Here\n[a](#there)\n"), [2]);
    assert_eq!(found_in("log/FORMAT.md", "[a](../README.md#three-commands)\n"), [1]);
}

#[test]
fn a_broken_link_is_reported_once() {
    assert_eq!(found_in("README.md", "[the format](log/GONE.md)\n"), [1]);
}

#[test]
fn mentioned_paths_exist() {
    for path in [
        "log/src/record.rs",
        "log/FORMAT.md",
        "log/src/",
        "FORMAT.md",
        "./log/src/record.rs",
        "log/tests/promises.rs:12",
    ] {
        assert_eq!(found_in("README.md", &format!("See `{path}`.\n")), [], "{path}");
    }
    for path in ["log/record.rs", "log/src/gone.rs", "log/gone/", "GONE.md", "src/record.rs"] {
        assert_eq!(found_in("README.md", &format!("See `{path}`.\n")), [1], "{path}");
        assert_eq!(found_in("README.md", &format!("```sh\ncat {path}\n```\n")), [2], "{path}, in a fence");
    }
}

#[test]
fn what_only_looks_like_a_path_is_free() {
    let words = "and/or log/state client/server log/src/*.rs log/src/<name>.rs https://example.org/log/src/gone.rs \
                 other/gone.rs log/run.json $HOME/log/gone.rs tests/ a.md";
    assert_eq!(found_in("README.md", &format!("{words}\n")), []);
}

#[test]
fn comments_may_point_into_their_own_package() {
    assert_eq!(comments("log/src/record.rs", "//! See src/record.rs, tests/promises.rs and FORMAT.md.\n"), []);
    assert_eq!(comments("log/src/record.rs", "fn a() {}\n// See tests/gone.rs.\n"), [2]);
    assert_eq!(comments("log/src/record.rs", "const A: &str = \"log/src/gone.rs\";\n"), [], "a string is no mention");
}
