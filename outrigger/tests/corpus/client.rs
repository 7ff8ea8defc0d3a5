//! Bytes that nobody wrote, where a client and a node expect those of each other; see `hostile.rs`.

use bytes::Bytes;
use outrigger::client;
use outrigger::network::frame::{Frame, HEADER_BYTES};

use crate::hostile::split_one;

/// The kind that stands for the body of a status, which has no frame of its own.
const STATUS: u8 = 0;

/// Reads the body of a frame between clients and nodes, or of a status; the first byte is its kind.
pub fn body(input: &[u8]) -> bool {
    let Some((kind, body)) = input.split_first() else { return false };
    let body = Bytes::copy_from_slice(body);
    if *kind == STATUS { status(body) } else { frame(Frame { kind: *kind, group: 0, body }) }
}

fn frame(found: Frame) -> bool {
    let length = found.body.len();
    let Some(once) = client::frame_again(found) else { return false };
    assert!(once.len() <= HEADER_BYTES + length, "{} bytes are written of {length} that were read", once.len());
    // A text that was too long is cut when it is written, and only then.
    let again = split_one(&once);
    assert_eq!(client::frame_again(again), Some(once), "what was read is written as something else");
    true
}

fn status(body: Bytes) -> bool {
    let length = body.len();
    let Some(once) = client::status_again(body) else { return false };
    assert!(once.len() <= length, "{} bytes are written of {length} that were read", once.len());
    assert_eq!(client::status_again(once.clone()), Some(once));
    true
}
