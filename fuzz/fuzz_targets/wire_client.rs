//! What clients and nodes say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::{WIRE, client, run};

fuzz_target!(|input: &[u8]| {
    run(input, WIRE, client::body);
});
