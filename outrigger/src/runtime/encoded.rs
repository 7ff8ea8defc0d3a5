//! Commands as the log holds them: how a command becomes bytes, and how a node applies what it decodes from them.
//!
//! ```text
//!   command ── encode ──► bytes ──► log, peers ──► bytes ── apply ──► decode, StateMachine::apply ──► response
//! ```
//!
//! Every node, the leader included, applies what it decodes. The runtime on tokio, the simulator, and a runtime of one's
//! own that hosts a [`StateMachine`] all come through here, so that they cannot differ.

use std::io;

use bytes::Bytes;
use outrigger_engine::LogId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StateMachine;

/// A value that has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be encoded: {reason}")]
pub struct EncodeError {
    /// What serde said.
    pub reason: String,
}

/// Bytes that are not a value of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No value begins like this.
    #[error("{reason}")]
    Invalid {
        /// What serde said.
        reason: String,
    },
    /// There is something behind the value.
    #[error("{bytes} bytes too many")]
    TooLong {
        /// How many bytes are left.
        bytes: usize,
    },
}

/// Why a command is not applied. In production this stops the node, for good: nothing is skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Its bytes are no command.
    #[error("the command does not decode ({0}); do all nodes run the same version?")]
    Decode(DecodeError),
    /// [`StateMachine::apply`], or the decoding, panicked: the state may be half changed.
    #[error("apply panicked: {reason}")]
    Panicked {
        /// What the panic said.
        reason: String,
    },
    /// [`LargeStateMachine::apply_batch`](crate::LargeStateMachine::apply_batch) failed.
    #[error("the state machine failed: {reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
    /// [`LargeStateMachine::apply_batch`](crate::LargeStateMachine::apply_batch) returned, and had not applied a command.
    #[error("the state machine left out a command; apply_batch must apply all of its batch, or fail")]
    LeftOut,
    /// The state machine has applied another entry than the log holds in its place.
    #[error(
        "the state machine has applied {applied} on disk, but the log holds {found}; is it the state of another node?"
    )]
    OtherEntry {
        /// What it says of itself.
        applied: LogId,
        /// What is in the log.
        found: LogId,
    },
}

/// The bytes of a value, by [postcard](https://docs.rs/postcard); without an allocation if there are none.
///
/// ```
/// use outrigger::runtime::encoded;
///
/// let bytes = encoded::encode(&("city", 7_u64))?;
/// assert_eq!(encoded::decode::<(String, u64)>(&bytes), Ok(("city".to_owned(), 7)));
/// # Ok::<(), encoded::EncodeError>(())
/// ```
///
/// # Errors
/// What serde or postcard cannot do: a `#[serde(flatten)]`, a sequence that does not say how long it is.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    let bytes = postcard::to_extend(value, Vec::new());
    bytes.map(Bytes::from).map_err(|error| EncodeError { reason: error.to_string() })
}

/// Writes the bytes of a value, as [`encode`] would give them, piece by piece.
///
/// # Errors
/// What [`encode`] cannot do, and what the writer says.
pub fn write<T: Serialize>(value: &T, out: &mut dyn io::Write) -> io::Result<()> {
    let mut sink = Sink { out: io::BufWriter::new(out), failure: None };
    let written = postcard::to_io(value, &mut sink).map(drop);
    match (sink.failure.take(), written) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(io::Error::other(error)),
        (None, Ok(())) => io::Write::flush(&mut sink.out),
    }
}

/// Where postcard's bytes go. It ends with the first that finds no room, and does not say why: that is kept here.
struct Sink<'a> {
    out: io::BufWriter<&'a mut dyn io::Write>,
    failure: Option<io::Error>,
}

impl Sink<'_> {
    fn keep(&mut self, failure: io::Error) -> io::Error {
        let kind = failure.kind();
        self.failure = Some(failure);
        kind.into()
    }
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| self.keep(error))
    }

    /// Here it shows what is wrong with whatever fits into the buffer.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| self.keep(error))
    }
}

/// The value that was encoded to these bytes, all of them.
///
/// # Errors
/// [`DecodeError`]: no value begins like this, or there are bytes behind it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::TooLong { bytes: rest.len() }),
        Err(error) => Err(DecodeError::Invalid { reason: error.to_string() }),
    }
}

/// Decodes a command and applies it. After an error the state may be half changed: it must not be read or changed again.
///
/// ```
/// use outrigger::StateMachine;
/// use outrigger::runtime::encoded;
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// # struct Counter(u64);
/// # impl StateMachine for Counter {
/// #     type Command = u64;
/// #     type Response = u64;
/// #     fn apply(&mut self, add: u64) -> u64 {
/// #         self.0 += add;
/// #         self.0
/// #     }
/// # }
///
/// let mut counter = Counter::default();
/// assert_eq!(encoded::apply(&mut counter, &[3]), Ok(3));
/// assert!(encoded::apply(&mut counter, &[3, 4]).is_err(), "a byte too many");
/// ```
///
/// # Errors
/// [`ApplyError`]: the bytes are no command, or `apply` panicked.
pub fn apply<S: StateMachine>(state: &mut S, command: &[u8]) -> Result<S::Response, ApplyError> {
    panic_caught(|| decode(command).map(|command| state.apply(command)))
        .map_err(|reason| ApplyError::Panicked { reason })?
        .map_err(ApplyError::Decode)
}

/// Runs what a user wrote; a panic becomes its words.
pub(crate) fn panic_caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Panics at zero.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Touchy;

    impl StateMachine for Touchy {
        type Command = u8;
        type Response = u8;
        fn apply(&mut self, command: u8) -> u8 {
            100 / command
        }
    }

    #[test]
    fn a_value_is_written_as_it_is_encoded_and_a_full_disk_is_told() {
        let value: Vec<(u64, String)> = (0..4_000).map(|number| (number, format!("value {number}"))).collect();
        let mut written = Vec::new();
        write(&value, &mut written).unwrap();
        assert_eq!(encode(&value).unwrap(), written);
        let mut small = [0; 100];
        assert!(write(&value, &mut small.as_mut_slice()).is_err(), "it has room for 100 bytes only");
    }

    /// Many numbers, of which it counts those that were asked for.
    struct Counted(std::cell::Cell<usize>);

    impl Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let numbers = (0..100_000_u32).inspect(|_| self.0.set(self.0.get() + 1));
            serializer.collect_seq(numbers)
        }
    }

    #[test]
    fn what_cannot_be_written_on_is_not_encoded_to_its_end() {
        let value = Counted(std::cell::Cell::new(0));
        let mut small = [0; 100];
        let said = write(&value, &mut small.as_mut_slice()).map_err(|error| error.kind());
        assert_eq!(said, Err(io::ErrorKind::WriteZero), "what the writer said");
        // One buffer is filled before the first byte is written.
        assert!(value.0.get() < 10_000, "{} of 100000 numbers", value.0.get());
    }

    /// Found by a test of something else: of a small state nobody heard why it was not written.
    #[test]
    fn what_is_small_and_cannot_be_written_says_why() {
        let mut small = [0; 4];
        let said = write(&"longer than that", &mut small.as_mut_slice()).map_err(|error| error.kind());
        assert_eq!(said, Err(io::ErrorKind::WriteZero), "what the writer said");
    }

    #[test]
    fn what_is_not_applied_says_why() {
        let said = |command: &[u8]| apply(&mut Touchy, command).map_err(|error| error.to_string());
        assert_eq!(said(&[4]), Ok(25));
        assert_eq!(said(&[0]), Err("apply panicked: attempt to divide by zero".into()));
        assert_eq!(
            said(&[4, 4]),
            Err("the command does not decode (1 bytes too many); do all nodes run the same version?".into())
        );
        assert!(said(&[]).is_err_and(|reason| reason.starts_with("the command does not decode (")));
    }
}
