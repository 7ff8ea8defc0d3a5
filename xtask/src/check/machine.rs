//! What belongs to one machine and not into a repository: paths of somebody's directories, hosts of package
//! registries and their mirrors.

use crate::finding::{Finding, Rule};
use crate::tree::{File, Kind};

/// Directories that exist on the machine of whoever wrote them down.
const DIRECTORIES: [&str; 6] = [
    concat!("/", "work"),
    concat!("/", "home"),
    concat!("/", "tmp"),
    concat!("/", "root"),
    concat!("/", "farm"),
    concat!("/", "Users"),
];

/// Parts of the names of hosts that serve packages.
const HOSTS: [&str; 7] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("proxy.", "golang.org"),
    concat!("artifac", "tory"),
    concat!("jfrog", ".io"),
    concat!("rsproxy", ".cn"),
];

/// The one source of packages that a lock file may name.
const PUBLIC_INDEX: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

/// Checks one text file of any kind.
#[must_use]
pub fn check(file: &File) -> Vec<Finding> {
    let fault = |text: &str| if file.kind() == Kind::Lock { lock_fault(text) } else { fault(text) };
    let found = file.lines().filter_map(|(line, text)| fault(text).map(|message| (line, message)));
    found.map(|(line, message)| Finding::new(&file.path, line, Rule::Machine, message)).collect()
}

fn fault(line: &str) -> Option<String> {
    // Both a path and the address of a host have one of these.
    if let Some(directory) = DIRECTORIES.into_iter().find(|directory| names_directory(line, directory)) {
        return Some(format!(
            "`{directory}` is a path of one machine: write it relative, or ask the system for a directory"
        ));
    }
    let lower = line.to_lowercase();
    let host = HOSTS.into_iter().find(|host| lower.contains(host))?;
    Some(format!("`{host}` is a host of packages: leave it to each user's configuration"))
}

/// Whether a line holds the directory as the first part of an absolute path.
fn names_directory(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + directory.len()..].chars().next();
        let is_absolute = !before.is_some_and(|c| c.is_alphanumeric() || "_-./~}*)>".contains(c));
        let is_whole = !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
        is_absolute && is_whole
    })
}

/// A lock file is generated, but what it points at is checked in.
fn lock_fault(line: &str) -> Option<String> {
    let source = line.strip_prefix("source = ")?.trim_matches('"');
    let message =
        || format!("a package from `{source}`: only the public index is a source, so that all can build this");
    (source != PUBLIC_INDEX).then(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&File::new(path, text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn paths_of_a_machine_are_refused() {
        for directory in DIRECTORIES {
            assert_eq!(found("README.md", &format!("a\nrun `serve --data-dir {directory}/node1`\n")), [2]);
            assert_eq!(found("a.rs", &format!("//! {directory}\n")), [1]);
            assert_eq!(found("a.rs", &format!("const A: &str = \"{directory}/a\";\n")), [1]);
        }
    }

    #[test]
    fn parts_of_other_paths_are_free() {
        for directory in DIRECTORIES {
            let name = directory.trim_start_matches('/');
            assert_eq!(found("a.md", &format!("a{directory} .{directory}/b {directory}-load {name}/c\n")), []);
        }
    }

    #[test]
    fn hosts_of_packages_are_refused() {
        for host in HOSTS {
            assert_eq!(found("a.toml", &format!("index = \"https://mirror.{host}/index\"\n")), [1]);
        }
        assert_eq!(found("a.md", "https://raft.github.io/raft.pdf\n"), []);
    }

    #[test]
    fn a_lock_file_names_the_public_index_alone() {
        let lock = |source: &str| format!("[[package]]\nname = \"a\"\nsource = \"{source}\"\n");
        assert_eq!(found("Cargo.lock", &lock(PUBLIC_INDEX)), []);
        assert_eq!(found("Cargo.lock", &lock("git+https://example.org/a#1")), [3]);
    }
}
