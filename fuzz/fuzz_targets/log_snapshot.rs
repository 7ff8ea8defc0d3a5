//! The file of a snapshot, and that of a reception.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::{LOG, log, run};

fuzz_target!(|input: &[u8]| {
    run(input, LOG, log::snapshot);
});
