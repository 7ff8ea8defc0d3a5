//! What stands before the state in a snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::{WIRE, hostile, run};

fuzz_target!(|input: &[u8]| {
    run(input, WIRE, hostile::snapshot);
});
