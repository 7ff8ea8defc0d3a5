//! Every input of every corpus, with its allocations counted: none makes its decoder hold more than its size allows.

use std::fs;
use std::path::Path;

use outrigger_fuzz::{FUZZERS, run};

#[test]
fn no_input_makes_its_decoder_hold_more_memory_than_its_own_size_allows() {
    let mut inputs = 0;
    for (name, decode, allowance) in FUZZERS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        for entry in fs::read_dir(&corpus).unwrap() {
            run(&fs::read(entry.unwrap().path()).unwrap(), allowance, decode);
            inputs += 1;
        }
    }
    assert!(inputs >= 12 * FUZZERS.len(), "{inputs} inputs are no corpus");
}
