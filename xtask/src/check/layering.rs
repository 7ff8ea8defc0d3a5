//! The layers of the workspace: each crate depends on what lies below it and on nothing else.
//!
//! ```text
//!   server ──► outrigger ──► engine, log          simulation ──► outrigger (no default features), log, model, engine
//!
//!   model, engine, log: leaves, which know nothing of each other
//! ```
//!
//! The manifests hold this direction, and this check holds the manifests. What tests alone need
//! (`[dev-dependencies]`) is free. Every crate takes its lints, edition, oldest compiler and licence from the
//! workspace, so that none is held to less than the others.

use crate::finding::{Finding, Rule};
use crate::manifest::{Dependency, Manifest};
use crate::tree::Tree;

/// What one crate may depend on.
struct Layer {
    /// The name of its package.
    package: &'static str,
    /// Packages of the workspace.
    inside: &'static [&'static str],
    /// Packages from elsewhere.
    outside: Outside,
}

enum Outside {
    Any,
    Only(&'static [&'static str]),
    /// None of these, nor what begins with one that ends with `*`.
    Not(&'static [&'static str]),
}

const CLOCKS_CHANCE_AND_EXECUTORS: &[&str] =
    &["tokio*", "futures*", "async-*", "smol", "rand*", "fastrand", "getrandom", "chrono", "time", "jiff", "quanta"];

const LAYERS: &[Layer] = &[
    Layer { package: "outrigger-model", inside: &[], outside: Outside::Only(&[]) },
    Layer { package: "outrigger-engine", inside: &[], outside: Outside::Only(&["bytes"]) },
    Layer { package: "outrigger-log", inside: &[], outside: Outside::Not(CLOCKS_CHANCE_AND_EXECUTORS) },
    Layer { package: "outrigger", inside: &["outrigger-engine", "outrigger-log"], outside: Outside::Any },
    Layer {
        package: "outrigger-simulation",
        inside: &["outrigger", "outrigger-engine", "outrigger-log", "outrigger-model"],
        outside: Outside::Any,
    },
    Layer { package: "outrigger-server", inside: &["outrigger"], outside: Outside::Any },
    Layer { package: "xtask", inside: &[], outside: Outside::Only(&[]) },
];

/// What each package takes from the workspace.
const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];

/// A member of the workspace.
struct Member<'a> {
    path: &'a str,
    manifest: Manifest,
}

impl Member<'_> {
    fn package(&self) -> &str {
        self.manifest.string(&["package", "name"]).unwrap_or("")
    }

    fn finding(&self, line: usize, message: String) -> Finding {
        Finding::new(self.path, line, Rule::Layering, message)
    }
}

/// Checks the manifests of all members of the workspace.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.file("Cargo.toml") else { return Vec::new() };
    let workspace = Manifest::parse(&root.text);
    let mut found = Vec::new();
    let mut members = Vec::new();
    for directory in workspace.strings(&["workspace", "members"]) {
        match tree.file(&format!("{directory}/Cargo.toml")) {
            Some(file) => members.push(Member { path: &file.path, manifest: Manifest::parse(&file.text) }),
            None => {
                let message = format!(
                    "the member `{directory}` has no manifest: name directories one by one, and those that exist"
                );
                found.push(Finding::new(&root.path, 1, Rule::Layering, message));
            }
        }
    }
    let packages: Vec<&str> = members.iter().map(Member::package).collect();
    for member in &members {
        found.extend(inheritance(member));
        found.extend(layer(member, &packages));
        found.extend(bare_library(member, &workspace));
    }
    found
}

fn inheritance(member: &Member<'_>) -> Vec<Finding> {
    let is_inherited = |keys: &[&str]| member.manifest.string(keys) == Some("true");
    let mut found = Vec::new();
    for key in INHERITED {
        if !is_inherited(&["package", key, "workspace"]) {
            found.push(
                member.finding(
                    1,
                    format!("`{key}` is not the workspace's: write `{key}.workspace = true` under [package]"),
                ),
            );
        }
    }
    if !is_inherited(&["lints", "workspace"]) {
        found.push(
            member.finding(1, "the lints are not the workspace's: add [lints] with `workspace = true`".to_owned()),
        );
    }
    found
}

fn layer(member: &Member<'_>, packages: &[&str]) -> Vec<Finding> {
    let package = member.package();
    let Some(layer) = LAYERS.iter().find(|layer| layer.package == package) else {
        let message =
            format!("the package `{package}` has no layer: say in xtask/src/check/layering.rs what it may depend on");
        return vec![member.finding(1, message)];
    };
    let dependencies = member.manifest.dependencies();
    let faults = dependencies.iter().filter_map(|dependency| {
        let message = dependency_fault(layer, dependency.package(), packages.contains(&dependency.package()))?;
        Some(member.finding(dependency.line, message))
    });
    faults.collect()
}

fn dependency_fault(layer: &Layer, dependency: &str, is_inside: bool) -> Option<String> {
    let package = layer.package;
    if is_inside {
        let allowed =
            if layer.inside.is_empty() { "no crate of the workspace".to_owned() } else { layer.inside.join(", ") };
        let message = || {
            format!(
                "`{package}` depends on `{dependency}`, but may on {allowed}: move what it needs down, or pass it in"
            )
        };
        return (!layer.inside.contains(&dependency)).then(message);
    }
    let is_named =
        |name: &&str| name.strip_suffix('*').map_or(*name == dependency, |beginning| dependency.starts_with(beginning));
    match layer.outside {
        Outside::Any => None,
        Outside::Only(allowed) if allowed.contains(&dependency) => None,
        Outside::Only([]) => Some(format!("`{package}` depends on `{dependency}`, but has no dependency: do without")),
        Outside::Only(allowed) => {
            Some(format!("`{package}` depends on `{dependency}`, but may on {} only: do without", allowed.join(", ")))
        }
        Outside::Not(banned) if banned.iter().any(is_named) => Some(format!(
            "`{package}` depends on `{dependency}`, but knows neither clock, chance nor executor: pass the value in"
        )),
        Outside::Not(_) => None,
    }
}

/// The simulation hosts the library without its runtime of threads and sockets.
fn bare_library(member: &Member<'_>, workspace: &Manifest) -> Option<Finding> {
    if member.package() != "outrigger-simulation" {
        return None;
    }
    let dependencies = member.manifest.dependencies();
    let library = dependencies.iter().find(|dependency| dependency.package() == "outrigger")?;
    let message =
        "the simulation needs `outrigger` with `default-features = false`: it is the runtime itself".to_owned();
    has_default_features(library, workspace).then(|| member.finding(library.line, message))
}

fn has_default_features(library: &Dependency, workspace: &Manifest) -> bool {
    let inherited = workspace.string(&["workspace", "dependencies", "outrigger", "default-features"]);
    let own = library.attribute("default-features");
    let is_inherited = library.attribute("workspace") == Some("true");
    let is_off =
        own != Some("true") && (own == Some("false") && !is_inherited || is_inherited && inherited == Some("false"));
    !is_off || library.attribute("features").is_some_and(|features| features.contains("\"default\""))
}

#[cfg(test)]
mod tests;
