//! The repository itself is tidy: what `cargo xtask tidy` prints fails `cargo test --workspace`.

use std::path::Path;

#[test]
fn the_repository_is_tidy() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().expect("the package lies in the repository");
    let report = xtask::tidy(root).expect("the repository is readable");
    let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.files > 20, "only {} files were found below {}", report.files, root.display());
    assert!(lines.is_empty(), "{} findings:\n{}\n", lines.len(), lines.join("\n"));
}
