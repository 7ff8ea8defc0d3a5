//! A history of a user's that goes wrong: made smaller, and drawn.
//!
//! Both live through histories again. So what hangs on chance, on hash order or on a clock may come out otherwise; whoever
//! is told of a smaller history is told of one that has failed twice.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path;
use std::sync::Once;
use std::time::Instant;

use super::{Live, Seeds};
use crate::report::Report;
use crate::trace::Telling;
use crate::{Changes, Diagram, Failure, History, shrink};

/// The smallest history found in time in which the same check fails.
pub(super) fn shrunk(seeds: &Seeds, history: &History, failure: Failure, live: &mut Live<'_>) -> Failure {
    if seeds.trace || seeds.shrink_for.is_zero() {
        return failure;
    }
    eprintln!(
        "seed {} goes wrong; for {} s at most a smaller history is looked for that does too",
        failure.seed,
        seeds.shrink_for.as_secs_f64()
    );
    let mut live = |changes| quietly(|| live(history.clone().changed(changes)));
    let began = Instant::now();
    let smaller = shrink(failure.clone(), &mut live, |_| began.elapsed() < seeds.shrink_for);
    if smaller.changes == failure.changes {
        return smaller;
    }
    match live(Changes::clone(&smaller.changes)) {
        Err(again) if again.violation.check == failure.violation.check => Failure { shrunk: smaller.shrunk, ..again },
        // It failed by luck.
        Ok(_) | Err(_) => failure,
    }
}

/// Draws the history that went wrong, or the only one, if it is asked for.
pub(super) fn draw(seeds: &Seeds, history: &History, lived: &Result<Report, Failure>, live: &mut Live<'_>) {
    let Some(file) = seeds.diagram.as_deref().filter(|_| seeds.trace || lived.is_err()) else { return };
    let failed = lived.as_ref().err();
    let changes = failed.map_or_else(|| history.changes.clone(), |failure| Changes::clone(&failure.changes));
    let (diagram, title) = (Diagram::default(), format!("seed {} {}", history.seed, changes.summary()));
    // It is told already, if it is to be.
    let untold = History { telling: Telling::Nothing, ..history.clone() };
    let again = quietly(|| live(untold.changed(changes).drawn(&diagram)));
    let violated = again.as_ref().err().map(|failure| failure.violation.to_string());
    let shown = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    match fs::write(file, diagram.svg(title.trim_end(), violated.as_deref())) {
        Err(error) => eprintln!("{}{} cannot be written: {error}", seeds.diagram_from(), shown.display()),
        Ok(()) if failed.is_some() && again.is_ok() => eprintln!(
            "drawn into {}, although nothing went wrong when it was drawn: something is not deterministic",
            shown.display()
        ),
        Ok(()) => eprintln!("drawn into {}", shown.display()),
    }
}

thread_local! {
    /// Whether panics of this thread are known already.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Lets something happen without a word of its panics: those of hundreds of tries would hide the one that counts. Other
/// threads, such as other tests, are heard as ever.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                told(panic);
            }
        }));
    });
    /// Is dropped also when a test's own closure panics.
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            IS_QUIET.set(false);
        }
    }
    IS_QUIET.set(true);
    let _loud = Loud;
    run()
}
