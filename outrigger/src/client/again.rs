//! The client protocol's decoders by themselves, for who feeds them bytes that nobody wrote: no part of the interface.

use bytes::Bytes;

use super::members;
use super::protocol::{
    HELLO, LEADER, Leader, Outcome, REPLY, REQUEST, Request, WELCOME, hello, put_hello, put_welcome, welcome,
};
use super::snapshots::{Opened, Wanted};
use super::status::NodeStatus;
use crate::network::frame::{BODY_BYTES_MAX, Frame, FrameBuffer};

/// Reads a frame as whoever receives it would, and writes what was read as a frame again; `None` for what is refused.
#[doc(hidden)]
#[must_use]
pub fn frame_again(frame: Frame) -> Option<Vec<u8>> {
    let mut output = FrameBuffer::default();
    match frame.kind {
        HELLO => put_hello(hello(frame).ok()?, &mut output).ok()?,
        WELCOME => {
            let (cluster, node) = welcome(frame.body).ok()?;
            put_welcome(cluster, node, &mut output).ok()?;
        }
        REQUEST => Request::decode(frame.body).ok()?.encode(BODY_BYTES_MAX, &mut output).ok()?,
        REPLY => {
            let (id, outcome) = Outcome::decode(frame.body).ok()?;
            outcome.encode(id, BODY_BYTES_MAX, &mut output);
        }
        LEADER => Leader::decode(frame.body).ok()?.encode(&mut output).ok()?,
        _ => return None,
    }
    Some(output.to_vec())
}

/// The same for the body of a status.
#[doc(hidden)]
#[must_use]
pub fn status_again(body: Bytes) -> Option<Bytes> {
    NodeStatus::decode(body).ok().map(|status| status.encode())
}

/// The same for what a client asks to change of the members.
#[doc(hidden)]
#[must_use]
pub fn change_again(body: Bytes) -> Option<Bytes> {
    members::decode_request(body).ok().map(|request| members::encode_request(&request))
}

/// The same for what comes of that.
#[doc(hidden)]
#[must_use]
pub fn answer_again(body: Bytes) -> Option<Bytes> {
    members::decode_answer(body).ok().map(|answer| members::encode_answer(&answer))
}

/// The same for which piece of a snapshot a client asks for.
#[doc(hidden)]
#[must_use]
pub fn wanted_again(body: Bytes) -> Option<Bytes> {
    Wanted::decode(body).ok().map(Wanted::encode)
}

/// The same for the first piece of one.
#[doc(hidden)]
#[must_use]
pub fn opened_again(body: Bytes) -> Option<Bytes> {
    Opened::decode(body).ok().map(|(opened, piece)| opened.encode(&piece))
}
