//! Reads the fields of a body that a stranger may have written: every step checks, no step allocates what the body
//! does not pay for.

use bytes::Bytes;

use crate::store::envelope::EnvelopeError;

/// Why a body is not what its frame says. The checksum was right, so the other side meant it: it is another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body ends before its last field.
    #[error("the body ends at byte {at}, {missing} bytes before the end of a field")]
    Truncated {
        /// Where the field begins.
        at: usize,
        /// How much of it, or of what it announces, is missing.
        missing: usize,
    },
    /// The body goes on behind its last field.
    #[error("{bytes} bytes follow the last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Nothing of this kind is known.
    #[error("frame kind {kind} is not known here")]
    UnknownKind {
        /// The frame's kind.
        kind: u8,
    },
    /// An entry is none.
    #[error(transparent)]
    Entry(#[from] EnvelopeError),
    /// A field has a value that has no meaning.
    #[error("{value} is no {what}")]
    Invalid {
        /// What the field is.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// The fields of a body, taken one after another.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The whole body.
    body: Bytes,
    /// What was taken; at most the length of `body`.
    at: usize,
}

impl Fields {
    pub(crate) const fn new(body: Bytes) -> Self {
        Self { body, at: 0 }
    }

    fn left(&self) -> usize {
        self.body.len() - self.at
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.body.get(self.at..).unwrap_or_default();
        let Some(array) = left.first_chunk::<N>() else {
            return Err(DecodeError::Truncated { at: self.at, missing: N - left.len() });
        };
        let array = *array;
        self.at += N;
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn size(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let value = self.u64()?;
        usize::try_from(value).map_err(|_| DecodeError::Invalid { what, value })
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Invalid { what, value: value.into() }),
        }
    }

    /// A length (u32) and that many bytes, sharing the body's memory.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > self.left() {
            return Err(DecodeError::Truncated { at: self.at, missing: length - self.left() });
        }
        let bytes = self.body.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    /// A length (u32) and text.
    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(DecodeError::Invalid { what: "place of valid UTF-8", value: error.valid_up_to() as u64 }),
        }
    }

    /// How many items follow, each of at least `item_bytes_min` bytes: so many as fit, else it is refused.
    pub(crate) fn count(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        assert!(item_bytes_min > 0, "an item without bytes cannot bound a count");
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let needed = count.saturating_mul(item_bytes_min);
        if needed > self.left() {
            return Err(DecodeError::Truncated { at: self.at, missing: needed - self.left() });
        }
        Ok(count)
    }

    /// Whatever is left.
    #[cfg(feature = "tokio")]
    pub(crate) fn rest(self) -> Bytes {
        self.body.slice(self.at..)
    }

    /// Nothing is left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}
