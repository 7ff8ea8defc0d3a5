//! Bytes that nobody wrote, where a client and a node expect those of each other; see `hostile.rs`.

use bytes::Bytes;
use outrigger::client;
use outrigger::network::frame::{Frame, HEADER_BYTES};

use crate::hostile::split_one;

/// The kinds that stand for bodies that have no frame of their own: a status, a change of the members, what comes of one, which
/// piece of a snapshot is wanted, the first of one.
const STATUS: u8 = 0;
const CHANGE: u8 = 1;
const ANSWER: u8 = 2;
const WANTED: u8 = 3;
const OPENED: u8 = 4;

/// Reads the body of a frame between clients and nodes, or one of those within; the first byte is its kind.
pub fn body(input: &[u8]) -> bool {
    let Some((kind, body)) = input.split_first() else { return false };
    let body = Bytes::copy_from_slice(body);
    match *kind {
        STATUS => within(body, client::status_again),
        CHANGE => within(body, client::change_again),
        ANSWER => within(body, client::answer_again),
        WANTED => within(body, client::wanted_again),
        OPENED => within(body, client::opened_again),
        kind => frame(Frame { kind, group: 0, body }),
    }
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

fn within(body: Bytes, again: fn(Bytes) -> Option<Bytes>) -> bool {
    let length = body.len();
    let Some(once) = again(body) else { return false };
    assert!(once.len() <= length, "{} bytes are written of {length} that were read", once.len());
    assert_eq!(again(once.clone()), Some(once));
    true
}
