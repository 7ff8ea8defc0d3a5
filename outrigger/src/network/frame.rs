//! Frames: how bytes on a connection are cut into pieces that can be trusted.
//!
//! ```text
//!   0        4        8         9      10       18                18 + length
//!   ┌────────┬────────┬─────────┬──────┬────────┬────────────────┐
//!   │ length │ crc32c │ version │ kind │ group  │ body           │   all numbers little endian
//!   │  u32   │  u32   │   u8    │  u8  │  u64   │ `length` bytes │
//!   └────────┴────────┴─────────┴──────┴────────┴────────────────┘
//!    where it           └────── covered by the checksum ─────────┘
//!    begins
//! ```
//!
//! The checksum begins with the length instead of 0, so that it covers that too and still runs over one piece of memory.
//!
//! Peers and clients use the same frames; `kind` tells what the body is (see [`kind`]). The group id is there from the
//! first version on, so that many Raft groups can share one connection.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// The version of the frame layout.
pub const FRAME_VERSION: u8 = 1;

/// What stands before every body.
pub const HEADER_BYTES: usize = 18;

/// The longest body that is sent or accepted when nothing else is said: 64 MiB.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The least room that is made for reading.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Where what the checksum covers begins: right behind it.
const CHECKED_FROM: usize = 8;

/// A payload of at least this many bytes is sent from where it is; a shorter one is copied, which costs less than one
/// more slice in a vectored write.
const SHARED_BYTES_MIN: usize = 4096;

/// What a buffer keeps when it is cleared, so that one huge frame does not pin its memory for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The kinds of frames. Messages of the engine have the kinds from 16 on (see [`codec`](super::codec)), those between
/// clients and nodes the kinds from 64 on.
pub mod kind {
    /// The first frame of a connection between nodes, in both directions.
    pub const HELLO: u8 = 1;
    /// Why the other side is not served; the connection ends behind it.
    pub const REJECT: u8 = 2;
    /// Are you there?
    pub const PING: u8 = 3;
    /// I am.
    pub const PONG: u8 = 4;
}

/// One frame whose checksum was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is; see [`kind`].
    pub kind: u8,
    /// The Raft group that it belongs to.
    pub group: u64,
    /// A slice of what was read: not copied.
    pub body: Bytes,
}

/// Why bytes are not a frame. What follows them on the connection cannot be trusted either: it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The body is longer than the limit; or the bytes are no frame at all.
    #[error("a frame of {bytes} bytes exceeds the limit of {limit} bytes (or this is another protocol)")]
    TooLong {
        /// What the header says.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The frame layout is another one.
    #[error("frame version {found} is not the version {FRAME_VERSION} that this program speaks; update the older side")]
    Version {
        /// What the header says.
        found: u8,
    },
    /// Some bit changed on the way.
    #[error("a frame of {bytes} bytes has the checksum {found:08x}, its header says {expected:08x}")]
    Checksum {
        /// The length of the body.
        bytes: usize,
        /// What the header says.
        expected: u32,
        /// What the bytes have.
        found: u32,
    },
}

/// Cuts the first frame off `input`; `None` when it is not complete yet, and then makes room for more of it.
///
/// The header is judged as soon as it is there: garbage is not waited for. The room grows with what has arrived, not
/// with what the header announces: an announcement costs its sender nothing.
///
/// # Errors
/// When the bytes are no frame, or one with a body above `limit` bytes.
///
/// ```
/// use outrigger::network::frame::{self, FrameBuffer};
/// let mut output = FrameBuffer::default();
/// output.frame(frame::kind::PING, 0, frame::BODY_BYTES_MAX, |_| {})?;
/// let mut input = bytes::BytesMut::from(&output.to_vec()[..]);
/// let ping = frame::split(&mut input, frame::BODY_BYTES_MAX)?.expect("it is complete");
/// assert_eq!((ping.kind, ping.body.len(), input.len()), (frame::kind::PING, 0, 0));
/// # Ok::<(), frame::FrameError>(())
/// ```
pub fn split(input: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(header) = Header::of(input) else { return Ok(None) };
    let bytes = header.body_bytes();
    if bytes > limit {
        return Err(FrameError::TooLong { bytes, limit });
    }
    if header.version != FRAME_VERSION {
        return Err(FrameError::Version { found: header.version });
    }
    let whole = HEADER_BYTES + bytes;
    if input.len() < whole {
        input.reserve((whole - input.len()).min(input.len().max(READ_BYTES)));
        return Ok(None);
    }
    let frame = input.split_to(whole).freeze();
    if whole > READ_BYTES {
        begin_anew(input);
    }
    header.open(frame).map(Some)
}

/// Behind a large frame the buffer is another one: the memory of the frame goes with its body, neither kept for what a connection that
/// sends no more may send, nor by some small part of what comes behind it, which may be held for long.
fn begin_anew(input: &mut BytesMut) {
    let mut anew = BytesMut::new();
    if !input.is_empty() {
        anew.reserve(input.len() + READ_BYTES);
        anew.extend_from_slice(input);
    }
    *input = anew;
}

/// The frame that these bytes are, when all that was sent at once arrives at once; `None` when they are more or less than one.
///
/// # Errors
/// When the bytes are no frame.
pub fn whole(bytes: Bytes) -> Result<Option<Frame>, FrameError> {
    match Header::of(&bytes) {
        Some(header) if header.version != FRAME_VERSION => Err(FrameError::Version { found: header.version }),
        Some(header) if bytes.len() - HEADER_BYTES == header.body_bytes() => header.open(bytes).map(Some),
        _ => Ok(None),
    }
}

/// What stands before the body.
struct Header {
    /// Of the body.
    length: u32,
    checksum: u32,
    version: u8,
    kind: u8,
    group: u64,
}

impl Header {
    /// That of the first frame, if it is there.
    fn of(input: &[u8]) -> Option<Self> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, version, kind, g0, g1, g2, g3, g4, g5, g6, g7] =
            *input.first_chunk::<HEADER_BYTES>()?;
        let (length, checksum) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
        Some(Self { length, checksum, version, kind, group: u64::from_le_bytes([g0, g1, g2, g3, g4, g5, g6, g7]) })
    }

    fn body_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// The frame, of which all bytes are there and no more.
    fn open(&self, mut frame: Bytes) -> Result<Frame, FrameError> {
        let found = crc32c::crc32c_append(self.length, &frame[CHECKED_FROM..]);
        if found != self.checksum {
            return Err(FrameError::Checksum { bytes: self.body_bytes(), expected: self.checksum, found });
        }
        frame.advance(HEADER_BYTES);
        Ok(Frame { kind: self.kind, group: self.group, body: frame })
    }
}

/// Frames on their way out: many small ones in one buffer, large payloads beside it and never copied.
///
/// ```text
///   text    │ header fields header fields 'abc' header fields      │     owned, used again and again
///   shared                                     ▲ a payload of 1 MiB      at its place in the text
/// ```
///
/// As a [`Buf`] it gives the bytes in order, fit for vectored writes.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    /// Everything that is not shared.
    text: Vec<u8>,
    /// Payloads and where in `text` each stands, in increasing order; none is empty.
    shared: Vec<(usize, Bytes)>,
    /// How much of `text` was taken; at most the place of `shared[shared_next]`.
    text_done: usize,
    /// The first payload that was not taken wholly.
    shared_next: usize,
    /// How much of it was taken; below its length.
    shared_done: usize,
    /// What was not taken yet, of both.
    remaining: usize,
}

impl FrameBuffer {
    /// Adds a frame whose body is what `body` puts.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the body exceeds `limit`: then nothing was added.
    ///
    /// # Panics
    /// When `limit` is above 4 GiB.
    pub fn frame(
        &mut self,
        kind: u8,
        group: u64,
        limit: usize,
        body: impl FnOnce(&mut Self),
    ) -> Result<(), FrameError> {
        assert!(u32::try_from(limit).is_ok(), "a limit of {limit} bytes does not fit the length field");
        let (start, shared_start, before) = (self.text.len(), self.shared.len(), self.remaining);
        let [g0, g1, g2, g3, g4, g5, g6, g7] = group.to_le_bytes();
        // Length and checksum follow when the body is there.
        let header: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, FRAME_VERSION, kind, g0, g1, g2, g3, g4, g5, g6, g7];
        self.put_slice(&header);
        body(self);
        let bytes = self.remaining - before - HEADER_BYTES;
        let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= limit) else {
            self.text.truncate(start);
            self.shared.truncate(shared_start);
            self.remaining = before;
            return Err(FrameError::TooLong { bytes, limit });
        };
        self.text[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let checksum = self.checksum(length, start, shared_start);
        self.text[start + 4..start + CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }

    /// The checksum of the frame that begins at `start` and is the last one.
    fn checksum(&self, length: u32, start: usize, shared_start: usize) -> u32 {
        let mut checksum = length;
        let mut at = start + CHECKED_FROM;
        for (place, payload) in &self.shared[shared_start..] {
            checksum = crc32c::crc32c_append(checksum, &self.text[at..*place]);
            checksum = crc32c::crc32c_append(checksum, payload);
            at = *place;
        }
        crc32c::crc32c_append(checksum, &self.text[at..])
    }

    /// Puts one byte into the body of the frame that is being added.
    pub fn put_u8(&mut self, value: u8) {
        self.put_slice(&[value]);
    }

    /// Puts four bytes, little endian.
    pub fn put_u32(&mut self, value: u32) {
        self.put_slice(&value.to_le_bytes());
    }

    /// Puts eight bytes, little endian.
    pub fn put_u64(&mut self, value: u64) {
        self.put_slice(&value.to_le_bytes());
    }

    /// Puts bytes by copying them.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.remaining += bytes.len();
    }

    /// Puts whatever `write` appends.
    ///
    /// # Panics
    /// If it removes something.
    pub fn put_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.text.len();
        write(&mut self.text);
        assert!(self.text.len() >= before, "a body only grows");
        self.remaining += self.text.len() - before;
    }

    /// Puts a length (u32) and that many bytes, as [`put_shared`](Self::put_shared) does.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        self.put_length(bytes.len());
        self.put_shared(bytes);
    }

    /// Puts bytes: few by copying them, many by sharing their memory.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.put_slice(bytes);
        } else {
            self.shared.push((self.text.len(), bytes.clone()));
            self.remaining += bytes.len();
        }
    }

    /// Puts a length (u32) and text.
    pub fn put_text(&mut self, text: &str) {
        self.put_length(text.len());
        self.put_slice(text.as_bytes());
    }

    /// Puts a length or count. What exceeds 32 bits makes a frame that exceeds every limit, so that it is never sent.
    pub fn put_length(&mut self, length: usize) {
        self.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Forgets what it holds and keeps its memory, unless that is much.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.shared.clear();
        (self.text_done, self.shared_next, self.shared_done, self.remaining) = (0, 0, 0, 0);
    }

    /// What it holds, copied.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        if self.shared.is_empty() {
            // As most are: they share nothing.
            return self.text[self.text_done..].to_vec();
        }
        let mut all = Vec::with_capacity(self.remaining);
        for piece in self.pieces() {
            all.extend_from_slice(piece);
        }
        all
    }

    /// What was not taken yet, piece by piece; no piece is empty.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.text_done;
        let mut skip = self.shared_done;
        let payloads = self.shared[self.shared_next..].iter().map(Some).chain([None]);
        payloads
            .flat_map(move |next| {
                let place = next.map_or(self.text.len(), |(place, _)| *place);
                let text = &self.text[at..place];
                at = place;
                let payload = next.map_or(&[][..], |(_, payload)| &payload[std::mem::take(&mut skip)..]);
                [text, payload]
            })
            .filter(|piece| !piece.is_empty())
    }
}

impl Buf for FrameBuffer {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.shared.get(self.shared_next) {
            Some((place, payload)) if *place == self.text_done => &payload[self.shared_done..],
            Some((place, _)) => &self.text[self.text_done..*place],
            None => &self.text[self.text_done..],
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces()) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advancing by {count} of {} bytes", self.remaining);
        self.remaining -= count;
        while count > 0 {
            let next = self.shared.get(self.shared_next);
            let place = next.map_or(self.text.len(), |(place, _)| *place);
            let step = count.min(place - self.text_done);
            self.text_done += step;
            count -= step;
            if let Some((_, payload)) = next
                && self.text_done == place
            {
                let step = count.min(payload.len() - self.shared_done);
                self.shared_done += step;
                count -= step;
                if self.shared_done == payload.len() {
                    self.shared_next += 1;
                    self.shared_done = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
