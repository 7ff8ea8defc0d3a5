//! Bytes that nobody wrote, where a node or a client expects those of another: whatever they are, they are read or
//! refused.
//!
//! ```text
//!   frames      a connection's bytes, cut into frames, each read as what it says that it is
//!   message     the body of a message between nodes; the first byte is its kind
//!   handshake   the body of a hello, or of a rejection; the first byte says which
//!   envelope    one entry
//!   snapshot    what stands before the state in a snapshot that a peer sent: an even first byte is followed by its head, an odd one by
//!               its table of sessions
//! ```
//!
//! Shared by the fuzzers and by the test of their corpus. Nothing panics; what is read comes back when it is written
//! and read again; and what is read has no more parts than the bytes can pay for. Every function answers whether the
//! bytes were read as something.

use bytes::{Bytes, BytesMut};
use outrigger::engine::{Body, Message, Payload, SnapshotId};
use outrigger::network::codec;
use outrigger::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer, HEADER_BYTES, kind};
use outrigger::network::handshake::{Hello, Rejection};
use outrigger::runtime::sessions::{SessionLimits, Sessions};
use outrigger::store::envelope;
use outrigger::store::snapshots::{Moment, decode_head, encode_head};

/// What a connection makes room for although nothing has arrived.
const READ_BYTES: usize = 64 << 10;
/// The longest text of a hello or of a rejection that is written; a longer one is read.
const TEXT_BYTES_MAX: usize = 1_024;
/// An entry takes at least its length and its kind.
const ENTRY_BYTES_MIN: usize = 5;

/// Cuts bytes into frames, and reads each as its kind says.
pub fn frames(input: &[u8]) -> bool {
    let mut bytes = BytesMut::from(input);
    let (mut framed, mut is_read) = (0, false);
    while let Ok(Some(found)) = frame::split(&mut bytes, BODY_BYTES_MAX) {
        framed += HEADER_BYTES + found.body.len();
        assert_eq!(framed + bytes.len(), input.len(), "bytes are lost or doubled");
        is_read |= read(found);
    }
    assert!(bytes.capacity() <= 2 * input.len() + READ_BYTES, "{} bytes for {}", bytes.capacity(), input.len());
    is_read
}

fn read(found: Frame) -> bool {
    match found.kind {
        kind::HELLO => hello(found.body),
        kind::REJECT => rejection(found.body),
        _ => message_of(found.kind, found.body),
    }
}

/// Reads a message between nodes.
pub fn message(input: &[u8]) -> bool {
    let Some((kind, body)) = input.split_first() else { return false };
    message_of(*kind, Bytes::copy_from_slice(body))
}

fn message_of(kind: u8, body: Bytes) -> bool {
    let length = body.len();
    let Ok(message) = codec::decode(kind, body) else { return false };
    let entries: usize = match &message {
        Message::AppendEntries(append) => {
            assert!(append.batches.len() <= length / ENTRY_BYTES_MIN, "{} batches", append.batches.len());
            append.batches.iter().map(|batch| parts(batch.entries(), length)).sum()
        }
        Message::Propose { entries, .. } => parts(entries, length),
        _ => 0,
    };
    assert!(entries <= length / ENTRY_BYTES_MIN, "{entries} entries in {length} bytes");
    assert!(codec::bytes(&message) > 0, "a queue counts every message");
    let again = unframed(|output| codec::encode(&message, 0, BODY_BYTES_MAX, output).is_ok());
    assert_eq!(codec::decode(again.kind, again.body), Ok(message));
    true
}

/// How many entries there are; each is no longer than the whole.
fn parts(entries: &[Payload], length: usize) -> usize {
    for entry in entries {
        match &entry.body {
            Body::Blank | Body::RegisterSession { .. } => {}
            Body::Command(command) => assert!(command.len() < length, "a command is a part of the body"),
            Body::Membership(membership) => assert!(membership.nodes().len() < length, "a node takes some bytes"),
        }
    }
    entries.len()
}

/// Reads a hello (the first byte is even) or a rejection.
pub fn handshake(input: &[u8]) -> bool {
    let Some((choice, body)) = input.split_first() else { return false };
    let body = Bytes::copy_from_slice(body);
    if choice % 2 == 0 { hello(body) } else { rejection(body) }
}

fn hello(body: Bytes) -> bool {
    let length = body.len();
    let Ok(hello) = Hello::decode(Frame { kind: kind::HELLO, group: 0, body }) else { return false };
    let text = hello.client_address.as_ref().map_or(0, String::len);
    assert!(text < length, "an address of {text} bytes in {length}");
    if text <= TEXT_BYTES_MAX {
        let again = unframed(|output| hello.encode(output).is_ok());
        assert_eq!(Hello::decode(again), Ok(hello));
    }
    true
}

fn rejection(body: Bytes) -> bool {
    let Ok(rejection) = Rejection::decode(body) else { return false };
    let _ = rejection.to_string();
    let again = unframed(|output| rejection.encode(output).is_ok());
    assert_eq!(Rejection::decode(again.body), Ok(rejection));
    true
}

/// Reads one entry: its layout is canonical, so that the same bytes are written again.
pub fn envelope(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(membership) = envelope::decode_membership(&bytes) {
        let mut again = Vec::new();
        envelope::encode_membership(&membership, &mut again);
        assert_eq!(again, input, "a membership has one encoding");
    }
    let Ok(payload) = envelope::decode(bytes) else { return false };
    let mut again = Vec::new();
    envelope::encode(&payload, &mut again);
    assert_eq!((again.len(), &again[..]), (envelope::encoded_len(&payload), input), "an entry has one encoding");
    true
}

/// Reads the head of a snapshot (the first byte is even), or its table of sessions.
pub fn snapshot(input: &[u8]) -> bool {
    let Some((choice, body)) = input.split_first() else { return false };
    if choice % 2 == 0 { head(body) } else { sessions(body) }
}

/// Its layout is canonical.
fn head(input: &[u8]) -> bool {
    let id = SnapshotId::default();
    let Ok(head) = decode_head(id, Bytes::copy_from_slice(input)) else { return false };
    let (last, log_time, membership_at) = (id.last, head.log_time, head.membership_at);
    let moment = Moment { last, log_time, membership_at, membership: head.membership };
    assert_eq!(encode_head(&moment, head.genesis), input, "a head has one encoding");
    true
}

/// What stands behind the table is not touched.
fn sessions(input: &[u8]) -> bool {
    let mut rest = input;
    let Ok(sessions) = Sessions::read(&mut rest, SessionLimits::STANDARD) else { return false };
    let mut again = Vec::new();
    sessions.write(&mut again).expect("memory takes everything");
    assert_eq!(again, input[..input.len() - rest.len()], "a table has one encoding");
    true
}

/// The frame that is written.
fn unframed(write: impl FnOnce(&mut FrameBuffer) -> bool) -> Frame {
    let mut output = FrameBuffer::default();
    assert!(write(&mut output), "what was read cannot be written");
    split_one(&output.to_vec())
}

/// The one frame that these bytes are.
pub fn split_one(bytes: &[u8]) -> Frame {
    let mut bytes = BytesMut::from(bytes);
    let found = frame::split(&mut bytes, BODY_BYTES_MAX).expect("what was written is a frame").expect("a whole one");
    assert!(bytes.is_empty(), "{} bytes behind it", bytes.len());
    found
}
