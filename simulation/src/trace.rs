//! What happened, as a number to compare and as lines to read.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write;

use outrigger_engine::{Instant, NodeId};

/// What becomes of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Nobody is told.
    Nothing,
    /// It goes into a digest.
    Digest,
    /// It goes into a digest and is printed.
    Print,
}

/// Tells what happens to one part of the world.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The digest of everything so far, in its order, if it is told.
    hash: Fnv,
    telling: Telling,
}

impl Trace {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { hash: Fnv::default(), telling }
    }

    /// Something happened; `sign` says which way it went (`>` into a node, `<` out of it).
    pub(crate) fn note(&mut self, now: Instant, node: NodeId, sign: char, what: &(impl fmt::Display + Hash)) {
        if self.is_told() {
            self.take_down(now, node, sign, what);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_down(&mut self, now: Instant, node: NodeId, sign: char, what: &(impl fmt::Display + Hash)) {
        (now, node, sign).hash(&mut self.hash);
        what.hash(&mut self.hash);
        if self.telling == Telling::Print {
            print(now, format_args!("node {node}"), sign, what);
        }
    }

    /// Something happened to a node, or to what lies between all of them, that no engine sees. Its words are made only if
    /// somebody is told.
    pub(crate) fn tell<T: fmt::Display + Hash>(&mut self, now: u64, node: Option<NodeId>, what: impl FnOnce() -> T) {
        if self.is_told() {
            self.find_words(now, node, what);
        }
    }

    // Cold: what is told is made up apart, so that where nobody is told the code is short.
    #[cold]
    #[inline(never)]
    fn find_words<T: fmt::Display + Hash>(&mut self, now: u64, node: Option<NodeId>, what: impl FnOnce() -> T) {
        match node {
            Some(node) => self.take_down(Instant(now), node, '!', &what()),
            None => self.note_of_world(Instant(now), &what()),
        }
    }

    fn note_of_world(&mut self, now: Instant, what: &(impl fmt::Display + Hash)) {
        now.hash(&mut self.hash);
        what.hash(&mut self.hash);
        if self.telling == Telling::Print {
            print(now, "world ", '!', what);
        }
    }

    /// Whether anybody is told of anything.
    pub(crate) fn is_told(&self) -> bool {
        self.telling != Telling::Nothing
    }

    /// The digest of everything so far.
    pub(crate) fn digest(&self) -> u64 {
        self.hash.finish()
    }

    /// Takes another part's digest in.
    pub(crate) fn join(&mut self, other: &Self) {
        other.digest().hash(&mut self.hash);
    }
}

fn print(now: Instant, who: impl fmt::Display, sign: char, what: &impl fmt::Display) {
    let (seconds, micros) = (now.0 / 1_000_000_000, now.0 / 1000 % 1_000_000);
    // Whoever reads the beginning only, as `head` does, has seen enough.
    let _: std::io::Result<()> = writeln!(std::io::stdout(), "{seconds:3}.{micros:06} {who} {sign} {what}");
}

/// A digest of one value, the same on every run.
pub(crate) fn digest(value: &impl Hash) -> u64 {
    let mut hash = Fnv::default();
    value.hash(&mut hash);
    hash.finish()
}

/// FNV-1a over words where it can: quick, and not seeded as the standard library's is.
#[derive(Clone, Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The rotation carries the upper bits down, which a multiplication alone never does.
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}
