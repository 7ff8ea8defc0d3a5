//! What is told: answers on standard output, all else on standard error.
//!
//! Either may be full or closed. An answer that reaches nobody is a failure of the program and no panic; a remark that
//! reaches nobody is not missed.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Reads the command line and does what it says. Ends with exit code 1 if standard output does not take the answer.
pub(crate) fn run<A: Parser>(program: &str, work: impl FnOnce(&A) -> io::Result<ExitCode>) -> ExitCode {
    let ended = match A::try_parse() {
        Ok(arguments) => work(&arguments),
        // Help that was asked for is an answer, too.
        Err(error) => match error.print() {
            Err(unprinted) if !error.use_stderr() => Err(unprinted),
            Ok(()) | Err(_) => Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))),
        },
    };
    // What is written without an error may still wait for the end of its line.
    match ended.and_then(|code| io::stdout().flush().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            // Whoever closed it, as `head` does, has seen enough.
            if error.kind() != io::ErrorKind::BrokenPipe {
                say(format_args!("{program}: standard output cannot be written: {error}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the answer.
pub(crate) fn answer(line: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Says a line beside the answer.
pub(crate) fn say(line: impl fmt::Display) {
    let _: io::Result<()> = writeln!(io::stderr(), "{line}");
}
