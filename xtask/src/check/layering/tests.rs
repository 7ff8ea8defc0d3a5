//! Made-up workspaces, each with one thing wrong.

use super::*;
use crate::tree::File;

const PACKAGE: &str = "version.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
                       [lints]\nworkspace = true\n";

/// A workspace of one package beside the engine and the library, with these lines at its manifest's end.
fn workspace(package: &str, end: &str) -> Tree {
    let manifest = |name: &str, end: &str| format!("[package]\nname = \"{name}\"\n{PACKAGE}{end}");
    let root = "[workspace]\nmembers = [\"it\", \"engine\", \"outrigger\"]\n\
                [workspace.dependencies]\noutrigger = { path = \"outrigger\", default-features = false }\n";
    Tree::of(vec![
        File::new("Cargo.toml", root),
        File::new("it/Cargo.toml", manifest(package, end)),
        File::new("engine/Cargo.toml", manifest("outrigger-engine", "[dependencies]\nbytes.workspace = true\n")),
        File::new("outrigger/Cargo.toml", manifest("outrigger", "")),
    ])
}

fn found(package: &str, end: &str) -> Vec<String> {
    check(&workspace(package, end)).into_iter().map(|finding| finding.to_string()).collect()
}

fn dependencies(package: &str, lines: &str) -> usize {
    found(package, &format!("[dependencies]\n{lines}")).len()
}

#[test]
fn each_layer_may_depend_on_what_lies_below() {
    assert_eq!(dependencies("outrigger-log", "bytes = \"1\"\ncrc32c.workspace = true\n"), 0);
    assert_eq!(
        dependencies(
            "outrigger-simulation",
            "outrigger.workspace = true\noutrigger-engine = { path = \"../engine\" }\n"
        ),
        0
    );
    assert_eq!(
        dependencies("outrigger-server", "outrigger = { workspace = true, features = [\"tokio\"] }\nclap = \"4\"\n"),
        0
    );
    assert!(found("outrigger-model", "[dev-dependencies]\nserde_json = \"1\"\n").is_empty());
}

#[test]
fn the_leaves_depend_on_no_crate_of_the_workspace() {
    assert_eq!(dependencies("outrigger-model", "outrigger-engine.workspace = true\n"), 1);
    assert_eq!(dependencies("outrigger-log", "outrigger-engine.workspace = true\n"), 1);
    assert_eq!(
        dependencies(
            "outrigger-log",
            "[target.'cfg(unix)'.dependencies]\noutrigger-engine = { path = \"../engine\" }\n"
        ),
        1
    );
    assert_eq!(
        dependencies("outrigger-log", "renamed = { package = \"outrigger-engine\", path = \"../engine\" }\n"),
        1
    );
}

#[test]
fn the_pure_crates_take_next_to_nothing_from_elsewhere() {
    assert_eq!(dependencies("outrigger-model", "bytes = \"1\"\n"), 1);
    assert_eq!(dependencies("outrigger-engine", "bytes = \"1\"\nserde = \"1\"\n"), 1);
    assert_eq!(dependencies("xtask", "syn = \"2\"\n"), 1);
}

#[test]
fn the_log_knows_neither_clock_chance_nor_executor() {
    for name in ["tokio", "tokio-util", "rand", "rand_core", "chrono", "async-io"] {
        assert_eq!(dependencies("outrigger-log", &format!("{name} = \"1\"\n")), 1, "{name}");
    }
}

#[test]
fn the_server_uses_the_library_alone() {
    assert_eq!(dependencies("outrigger-server", "outrigger-engine.workspace = true\n"), 1);
}

#[test]
fn the_simulation_hosts_the_library_without_its_runtime() {
    let on = [
        "outrigger = { path = \"../outrigger\" }\n",
        "outrigger = { workspace = true, default-features = true }\n",
        "outrigger = { workspace = true, features = [\"default\"] }\n",
    ];
    for line in on {
        assert_eq!(dependencies("outrigger-simulation", line), 1, "{line}");
    }
    assert_eq!(
        dependencies("outrigger-simulation", "outrigger = { path = \"../outrigger\", default-features = false }\n"),
        0
    );
}

#[test]
fn what_is_not_inherited_is_named() {
    for key in INHERITED {
        let tree = workspace("outrigger-model", "");
        let files = tree.files.into_iter().map(|file| {
            let own = file.text.replace(&format!("\n{key}.workspace = true"), &format!("\n{key} = \"1\""));
            if file.path == "it/Cargo.toml" { File::new(file.path, own) } else { file }
        });
        let found = check(&Tree::of(files.collect()));
        assert_eq!(found.len(), 1, "{key}");
        assert!(found[0].message.starts_with(&format!("`{key}`")), "{}", found[0]);
    }
}

#[test]
fn lints_are_inherited() {
    let mut tree = workspace("outrigger-model", "");
    for file in &mut tree.files {
        file.text = file.text.replace("[lints]\nworkspace = true\n", "");
    }
    assert_eq!(check(&tree).len(), 3);
}

#[test]
fn a_package_without_a_layer_and_a_member_without_a_manifest_are_named() {
    assert_eq!(found("outrigger-novelty", "").len(), 1);
    let root = File::new("Cargo.toml", "[workspace]\nmembers = [\"gone\"]\n");
    assert_eq!(check(&Tree::of(vec![root])).len(), 1);
}
