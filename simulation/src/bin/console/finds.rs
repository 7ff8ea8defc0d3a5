//! Assertions of production code that fail in a history: they are finds, and told as such.

use std::panic::{self, PanicHookInfo};

/// From now on no assertion of the engine, the log or the runtime that fails is printed where it does: whoever lives through the
/// history tells of it, once, and not in each of hundreds of tries. What fails elsewhere is a fault of this program, and printed.
pub(crate) fn tell_once() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_find(panic) {
            told(panic);
        }
    }));
}

fn is_find(panic: &PanicHookInfo<'_>) -> bool {
    let production = ["engine/", "log/", "outrigger/"];
    panic.location().is_some_and(|at| production.iter().any(|part| at.file().starts_with(part)))
}
