//! A user's state machine behind one face, whatever its types: what the simulation does with it is what production does.
//!
//! ```text
//!   command ── encode ──► log ──► apply: decode, StateMachine::apply ──► response ── encode ──► compared
//!                                                  └──► state ── encode ──► compared, restored
//! ```

use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use outrigger::StateMachine;
use outrigger::runtime::encoded::{self, ApplyError};

use super::text::text;
use crate::panic_words;

/// What somebody's code could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `apply` panicked, with these words.
    Panicked(String),
    /// Something has no encoding, or none that is decoded again.
    Encoding(String),
}

/// One state, with the types of its machine.
pub(crate) trait State {
    /// Decodes and applies a command, as every node does; the response's bytes.
    fn apply(&mut self, command: &[u8]) -> Result<Bytes, Fault>;
    /// What a snapshot would hold.
    fn bytes(&self) -> Result<Bytes, Fault>;
    /// The state that a snapshot holds.
    fn restored(&self, snapshot: &[u8]) -> Result<Box<dyn State>, Fault>;
    /// What a snapshot is made of while the original goes on.
    fn copy(&self) -> Result<Box<dyn State>, Fault>;
    /// The state as people read it.
    fn text(&self) -> String;
    /// A command as people read it.
    fn command_text(&self, command: &[u8]) -> String;
    /// A response as people read it.
    fn response_text(&self, response: &[u8]) -> String;
}

/// A state of a machine whose types are known.
pub(crate) struct Typed<S>(pub(crate) S);

impl<S: StateMachine> State for Typed<S> {
    fn apply(&mut self, command: &[u8]) -> Result<Bytes, Fault> {
        match encoded::apply(&mut self.0, command) {
            Ok(response) => encode("the response", &response),
            Err(ApplyError::Panicked { reason }) => Err(Fault::Panicked(reason)),
            Err(error) => Err(Fault::Encoding(error.to_string())),
        }
    }

    fn bytes(&self) -> Result<Bytes, Fault> {
        encode("the state", &self.0)
    }

    fn restored(&self, snapshot: &[u8]) -> Result<Box<dyn State>, Fault> {
        let state = guarded("the state", || encoded::decode::<S>(snapshot))?;
        Ok(Box::new(Self(state)))
    }

    fn copy(&self) -> Result<Box<dyn State>, Fault> {
        let copy = panic::catch_unwind(AssertUnwindSafe(|| self.0.clone()));
        copy.map(|copy| Box::new(Self(copy)) as Box<dyn State>)
            .map_err(|words| Fault::Encoding(format!("the state cannot be cloned: {}", panic_words(&*words))))
    }

    fn text(&self) -> String {
        text(&self.0)
    }

    fn command_text(&self, command: &[u8]) -> String {
        encoded::decode::<S::Command>(command).map_or_else(|_| format!("{command:?}"), |command| text(&command))
    }

    fn response_text(&self, response: &[u8]) -> String {
        encoded::decode::<S::Response>(response).map_or_else(|_| format!("{response:?}"), |response| text(&response))
    }
}

/// The bytes of a command, which every node will be able to decode.
pub(crate) fn encode_command<S: StateMachine>(command: &S::Command) -> Result<Bytes, Fault> {
    let bytes = encode("a command", command).map_err(|fault| with(&fault, &text(command)))?;
    guarded("a command", || encoded::decode::<S::Command>(&bytes)).map_err(|fault| with(&fault, &text(command)))?;
    Ok(bytes)
}

fn with(fault: &Fault, command: &str) -> Fault {
    let (Fault::Panicked(reason) | Fault::Encoding(reason)) = fault;
    Fault::Encoding(format!("{reason}; it is {command}"))
}

fn encode<T: serde::Serialize>(what: &str, value: &T) -> Result<Bytes, Fault> {
    match panic::catch_unwind(AssertUnwindSafe(|| encoded::encode(value))) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Fault::Encoding(format!("{what} cannot be encoded by postcard: {}", error.reason))),
        Err(words) => Err(Fault::Encoding(format!("encoding {what} panics: {}", panic_words(&*words)))),
    }
}

fn guarded<T>(what: &str, decode: impl FnOnce() -> Result<T, encoded::DecodeError>) -> Result<T, Fault> {
    match panic::catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::Encoding(format!("{what} is encoded and does not decode: {error}"))),
        Err(words) => Err(Fault::Encoding(format!("decoding {what} panics: {}", panic_words(&*words)))),
    }
}
