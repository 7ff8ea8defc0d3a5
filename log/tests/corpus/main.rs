//! Every input that the fuzzers of the log keep, run as a plain test: no input panics, or makes the log allocate beyond
//! its own size.
//!
//! The inputs are in `fuzz/corpus`. One whose name begins with `valid` was written by the log itself, or says what it
//! would write: it must be opened.

#[allow(unreachable_pub, reason = "a module of the fuzzers too")]
mod hostile;

use std::fs;
use std::path::Path;

/// Fewer inputs than this are no corpus: something has lost it.
const INPUTS_MIN: usize = 12;
const CORPUS_BYTES_MAX: usize = 300 << 10;

/// Runs all inputs of a fuzzer; answers how many were opened.
fn run_corpus(target: &str, run: fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let (mut inputs, mut bytes, mut opened) = (0, 0, 0);
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let is_opened = run(&input);
        let is_valid = path.file_name().unwrap().to_str().unwrap().starts_with("valid");
        assert!(is_opened || !is_valid, "{} is not opened any more", path.display());
        inputs += 1;
        bytes += input.len();
        opened += usize::from(is_opened);
    }
    println!("{target}: {inputs} inputs of {bytes} bytes, {opened} opened");
    assert!(inputs >= INPUTS_MIN, "{inputs} inputs in {}", corpus.display());
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes in {}: keep the smallest", corpus.display());
    assert!(opened > 0 && opened < inputs, "{opened} of {inputs} inputs are opened: a corpus has both kinds");
}

#[test]
fn no_segment_panics_or_allocates_beyond_its_own_size() {
    run_corpus("log_segment", hostile::segment);
}

#[test]
fn no_record_or_footer_that_verifies_panics_or_allocates_beyond_its_own_size() {
    run_corpus("log_records", hostile::records);
}

#[test]
fn no_identity_and_no_mark_of_a_refusal_panics_or_allocates_beyond_its_own_size() {
    run_corpus("log_identity", hostile::identity);
}

#[test]
fn no_snapshot_and_no_reception_panics_or_allocates_beyond_its_own_size() {
    run_corpus("log_snapshot", hostile::snapshot);
}
