//! What the fuzzers have in common: the functions that they drive, which are those of the tests of their corpora, and a
//! count of what these allocate.
//!
//! ```text
//!   cargo fuzz run log_records            one fuzzer; RUSTC_BOOTSTRAP=1 where the toolchain is stable
//!   cargo test                            every corpus once more, with its allocations counted
//! ```
//!
//! What our own encoders make is in the corpora too (`outrigger/tests/corpus/seeds.rs`).
//!
//! A finding becomes a file in `corpus/` and a test named for what went wrong.

/// What is read from a log's directory.
#[path = "../../log/tests/corpus/hostile.rs"]
pub mod log;

/// What comes from a peer, and entries.
#[path = "../../outrigger/tests/corpus/hostile.rs"]
pub mod hostile;

/// What comes from a client, or from a node to one.
#[path = "../../outrigger/tests/corpus/client.rs"]
pub mod client;

/// What a fuzzer drives: reads an input, and answers whether it was read as something.
pub type Decode = fn(&[u8]) -> bool;

/// How much a decoder may allocate at any moment: so many bytes, and so many for each byte of its input.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Whatever the input is.
    pub fixed: u64,
    /// For each byte of the input.
    pub each: u64,
}

/// For what comes by wire. A connection makes room for 64 KiB before anything arrives; an entry of 5 bytes takes 72 in
/// memory, is written again and compared, and a node of a membership is in three maps.
pub const WIRE: Allowance = Allowance { fixed: 160 << 10, each: 64 };

/// For what is on a disk. The disk is simulated, in memory, and copied; a file that was written is there three times.
pub const LOG: Allowance = Allowance { fixed: 1 << 20, each: 96 };

/// Runs one input, and fails if it makes its decoder hold more memory than it is allowed.
///
/// # Panics
/// Then, or when the decoder does.
pub fn run(input: &[u8], allowance: Allowance, decode: Decode) -> bool {
    let mut answer = false;
    let measured = allocation_counter::measure(|| answer = decode(input));
    let limit = allowance.fixed + allowance.each * input.len() as u64;
    let held = measured.bytes_max;
    assert!(held <= limit, "{held} bytes are held for an input of {}, at most {limit} may be", input.len());
    answer
}

/// Every fuzzer: its name, which is that of its corpus, what it drives, and what that may allocate.
pub const FUZZERS: [(&str, Decode, Allowance); 10] = [
    ("log_segment", log::segment, LOG),
    ("log_records", log::records, LOG),
    ("log_identity", log::identity, LOG),
    ("log_snapshot", log::snapshot, LOG),
    ("wire_frames", hostile::frames, WIRE),
    ("wire_message", hostile::message, WIRE),
    ("wire_handshake", hostile::handshake, WIRE),
    ("wire_client", client::body, WIRE),
    ("envelope", hostile::envelope, WIRE),
    ("snapshot", hostile::snapshot, WIRE),
];
