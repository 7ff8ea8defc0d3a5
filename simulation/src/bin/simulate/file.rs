//! Files that the command line names: what goes into them is no part of the answer, unless `-` says that it is.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::output::say;

/// Whether standard output is meant.
pub(crate) fn is_stdout(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Sees to it that a file can be written, before any work is done for it. What it holds stays until there is something
/// better.
pub(crate) fn open(file: &Path) -> io::Result<()> {
    if is_stdout(file) { Ok(()) } else { OpenOptions::new().create(true).append(true).open(file).map(drop) }
}

/// Writes a file, or says why it cannot be written and answers `false`.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<bool> {
    if is_stdout(file) {
        return io::stdout().write_all(text.as_bytes()).map(|()| true);
    }
    let written = fs::write(file, text);
    if let Err(error) = &written {
        say(format_args!("simulate: {}", unwritten(file, error)));
    }
    Ok(written.is_ok())
}

/// What to say of a file that cannot be written.
pub(crate) fn unwritten(file: &Path, error: &io::Error) -> impl Display {
    format!("{} cannot be written: {error}", file.display())
}
