//! Every input that the fuzzers of the wire keep, run as a plain test: no input panics, or is read as more than its own
//! size pays for.
//!
//! The inputs are in `fuzz/corpus`. One whose name begins with `valid` was written by our own encoders: it must be read.

#[cfg(feature = "tokio")]
#[allow(unreachable_pub, reason = "a module of the fuzzers too")]
mod client;
#[allow(unreachable_pub, reason = "a module of the fuzzers too")]
mod hostile;
#[cfg(feature = "tokio")]
mod seeds;

use std::fs;
use std::path::Path;

/// Fewer inputs than this are no corpus: something has lost it.
const INPUTS_MIN: usize = 12;
const CORPUS_BYTES_MAX: usize = 150 << 10;

/// Runs all inputs of a fuzzer.
fn run_corpus(target: &str, run: fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let (mut inputs, mut bytes, mut read) = (0, 0, 0);
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let is_read = run(&input);
        let is_valid = path.file_name().unwrap().to_str().unwrap().starts_with("valid");
        assert!(is_read || !is_valid, "{} is not read any more", path.display());
        inputs += 1;
        bytes += input.len();
        read += usize::from(is_read);
    }
    println!("{target}: {inputs} inputs of {bytes} bytes, {read} read");
    assert!(inputs >= INPUTS_MIN, "{inputs} inputs in {}", corpus.display());
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes in {}: keep the smallest", corpus.display());
    assert!(read > 0 && read < inputs, "{read} of {inputs} inputs are read: a corpus has both kinds");
}

#[test]
fn no_bytes_of_a_connection_panic_or_allocate_beyond_their_own_size() {
    run_corpus("wire_frames", hostile::frames);
}

#[test]
fn no_message_of_a_peer_panics_or_allocates_beyond_its_own_size() {
    run_corpus("wire_message", hostile::message);
}

#[test]
fn no_handshake_panics_or_allocates_beyond_its_own_size() {
    run_corpus("wire_handshake", hostile::handshake);
}

#[cfg(feature = "tokio")]
#[test]
fn no_word_of_a_client_or_to_one_panics_or_allocates_beyond_its_own_size() {
    run_corpus("wire_client", client::body);
}

#[test]
fn nothing_before_the_state_in_a_snapshot_panics_or_allocates_beyond_its_own_size() {
    run_corpus("snapshot", hostile::snapshot);
}

#[test]
fn no_entry_panics_or_allocates_beyond_its_own_size() {
    run_corpus("envelope", hostile::envelope);
}
