//! Ctrl-C, and a polite kill: the first of them ends the work where that can be done well, so that what was done so far is
//! told; the second ends the process as it would any other.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether one has come.
static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// What shells give a process that this signal ended, or 0.
static CODE: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on the first one is only noted.
pub(crate) fn listen() {
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
        // Where this cannot be had, the first one ends the process.
        let _ = flag::register_conditional_default(signal, Arc::clone(&CAME))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&CODE), code))
            .and_then(|_| flag::register(signal, Arc::clone(&CAME)));
    }
}

/// Whether nothing more is to be begun.
pub(crate) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// How a process ends that was told to: with 130 after Ctrl-C.
pub(crate) fn code() -> Option<ExitCode> {
    let code = u8::try_from(CODE.load(Ordering::Relaxed)).unwrap_or(u8::MAX);
    (code > 0).then(|| ExitCode::from(code))
}
