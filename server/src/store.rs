//! The state machine of the server: an ordered map of byte strings, with a revision per key and a hash of the whole.
//!
//! ```text
//!   revision 3                      hash = mix( Σ digest(key, value, revision), revision 3 )
//!   ┌──────┬───────┬──────────┐              │
//!   │ key  │ value │ revision │              │  a sum does not care for order, so a change
//!   ├──────┼───────┼──────────┤              │  takes the old digest out and adds the new one
//!   │ city │ Oslo  │ 3        │ ─ digest ────┤
//!   │ lake │ Mjøsa │ 2        │ ─ digest ────┘
//!   └──────┴───────┴──────────┘
//! ```
//!
//! Two nodes that applied the same entries have the same hash, and the hash costs nothing to ask for. It finds
//! accidents, not attacks: it is no cryptographic hash.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use outrigger::{Query as Queried, StateMachine};
use serde::{Deserialize, Serialize};

mod digest;
#[cfg(test)]
mod tests;

use digest::{digest, mix};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// How many keys one [`Query::Range`] returns at most, whatever its limit says.
pub const RANGE_KEYS_MAX: usize = 10_000;
/// A [`Query::Range`] stops at about this many bytes of keys and values: at the first key that crosses the line.
pub const RANGE_BYTES_MAX: usize = 1 << 20;

/// What changes the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key, whether it is there or not.
    Put {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// 0 to [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
    },
    /// Takes a key out.
    Delete {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
    },
    /// Sets a key if it is as expected.
    CompareAndSwap {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// The value that the key must have; `None`: the key must be absent.
        expected: Option<Bytes>,
        /// 0 to [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
    },
}

impl Command {
    /// Sets `key` to `value`.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Whether the store would take the command. [`Store`] asks the same, so that no client can get round it; asking
    /// first saves the way.
    ///
    /// # Errors
    /// [`Refusal`]: which limit the command breaks.
    pub fn check(&self) -> Result<(), Refusal> {
        let (key, value) = match self {
            Self::Put { key, value } | Self::CompareAndSwap { key, value, .. } => (key, value.len()),
            Self::Delete { key } => (key, 0),
        };
        check_key(key)?;
        match value {
            bytes if bytes > VALUE_BYTES_MAX => Err(Refusal::ValueTooLong { bytes, bytes_max: VALUE_BYTES_MAX }),
            _ => Ok(()),
        }
    }
}

/// Whether the store can hold a key like this.
///
/// # Errors
/// [`Refusal::KeyEmpty`] or [`Refusal::KeyTooLong`].
pub fn check_key(key: &[u8]) -> Result<(), Refusal> {
    match key.len() {
        0 => Err(Refusal::KeyEmpty),
        bytes if bytes > KEY_BYTES_MAX => Err(Refusal::KeyTooLong { bytes, bytes_max: KEY_BYTES_MAX }),
        _ => Ok(()),
    }
}

/// What became of a command that the store took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Change {
    /// Done.
    Done {
        /// The revision that the change made; the first is 1.
        revision: u64,
    },
    /// Nothing changed: the key is not there.
    Absent,
    /// Nothing changed: the key is there, with another value than expected.
    NotEqual {
        /// The key's revision.
        revision: u64,
    },
}

/// Why the store did not take a command. Nothing changed, and the same command will be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An empty key means nothing.
    #[error("the key is empty: a key has 1 to {KEY_BYTES_MAX} bytes")]
    KeyEmpty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key has {bytes} bytes, the limit is {bytes_max}: shorten it")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("the value has {bytes} bytes, the limit is {bytes_max}: split it over several keys")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One key; answered by [`Answer::Value`].
    Get {
        /// The key.
        key: Bytes,
    },
    /// The keys that begin with a prefix, in order; answered by [`Answer::Page`].
    Range {
        /// What the keys begin with; empty for all.
        prefix: Bytes,
        /// Only keys behind this one: the last of the page before.
        after: Option<Bytes>,
        /// How many at most; [`RANGE_KEYS_MAX`] and [`RANGE_BYTES_MAX`] hold beside it.
        limit: usize,
    },
    /// The state's hash; answered by [`Answer::Summary`].
    Summary,
}

/// A value and when it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The store's revision that set it.
    pub revision: u64,
}

/// Some keys, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Keys and their values, ascending.
    pub entries: Vec<(Bytes, Versioned)>,
    /// Whether keys follow that did not fit: ask again `after` the last of these.
    pub more: bool,
}

/// The whole state in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// A hash over all keys, values and revisions: equal on nodes that applied the same entries.
    pub hash: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many changes there were.
    pub revision: u64,
}

/// What a [`Query`] is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Query::Get`]; `None`: the key is absent.
    Value(Option<Versioned>),
    /// To [`Query::Range`].
    Page(Page),
    /// To [`Query::Summary`].
    Summary(Summary),
}

/// A key's value as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    current: Versioned,
    /// Of key, value and revision; kept, so that a change need not read the old value again.
    digest: u64,
}

/// The store. Deterministic: what it becomes depends on the commands and their order alone.
///
/// ```
/// use outrigger::StateMachine;
/// use outrigger_server::store::{Change, Command, Store};
///
/// let mut store = Store::default();
/// assert_eq!(store.apply(Command::put("city", "Oslo")), Ok(Change::Done { revision: 1 }));
/// assert_eq!(store.value(b"city").unwrap().value, "Oslo");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Every key is within the limits; every revision is between 1 and `revision`, and no two are the same.
    entries: BTreeMap<Bytes, Entry>,
    /// How many changes there were; a command that changed nothing does not count.
    revision: u64,
    /// The wrapping sum of the digests of all entries.
    digests: u64,
}

impl Store {
    /// The value of a key; `None` when it is absent.
    #[must_use]
    pub fn value(&self, key: &[u8]) -> Option<&Versioned> {
        self.entries.get(key).map(|entry| &entry.current)
    }

    /// The keys that begin with `prefix` and follow `after`, in order, cut at `limit` keys and the limits of
    /// [`Query::Range`].
    #[must_use]
    pub fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Page {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = Page::default();
        let mut bytes = 0;
        let found = self.entries.range::<[u8], _>((from, Bound::Unbounded));
        for (key, entry) in found.take_while(|(key, _)| key.starts_with(prefix)) {
            if page.entries.len() >= limit.min(RANGE_KEYS_MAX) || bytes >= RANGE_BYTES_MAX {
                page.more = true;
                break;
            }
            bytes += key.len() + entry.current.value.len();
            page.entries.push((key.clone(), entry.current.clone()));
        }
        page
    }

    /// The whole state in three numbers, at once.
    ///
    /// # Panics
    /// When there are more keys than changes: a bug of this crate.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let keys = u64::try_from(self.entries.len()).expect("a length fits 64 bits");
        assert!(keys <= self.revision, "{keys} keys by {} changes", self.revision);
        Summary { hash: mix(self.digests ^ mix(self.revision)), keys, revision: self.revision }
    }

    fn set(&mut self, key: Bytes, value: Bytes) -> Change {
        let revision = self.next_revision();
        let digest = digest(&key, &value, revision);
        self.digests = self.digests.wrapping_add(digest);
        if let Some(old) = self.entries.insert(key, Entry { current: Versioned { value, revision }, digest }) {
            assert!(old.current.revision < revision, "revision {} before {revision}", old.current.revision);
            self.digests = self.digests.wrapping_sub(old.digest);
        }
        Change::Done { revision }
    }

    fn delete(&mut self, key: &[u8]) -> Change {
        let Some(old) = self.entries.remove(key) else { return Change::Absent };
        self.digests = self.digests.wrapping_sub(old.digest);
        Change::Done { revision: self.next_revision() }
    }

    fn compare_and_swap(&mut self, key: Bytes, expected: Option<&Bytes>, value: Bytes) -> Change {
        match (self.entries.get(&key), expected) {
            (None, Some(_)) => Change::Absent,
            (Some(entry), expected) if expected != Some(&entry.current.value) => {
                Change::NotEqual { revision: entry.current.revision }
            }
            _ => self.set(key, value),
        }
    }

    fn next_revision(&mut self) -> u64 {
        assert!(self.revision < u64::MAX, "revisions are exhausted");
        self.revision += 1;
        self.revision
    }
}

impl StateMachine for Store {
    type Command = Command;
    type Response = Result<Change, Refusal>;

    fn apply(&mut self, command: Command) -> Self::Response {
        command.check()?;
        Ok(match command {
            Command::Put { key, value } => self.set(key, value),
            Command::Delete { key } => self.delete(&key),
            Command::CompareAndSwap { key, expected, value } => self.compare_and_swap(key, expected.as_ref(), value),
        })
    }
}

impl Queried for Store {
    type Query = Query;
    type Answer = Answer;

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => Answer::Value(self.value(&key).cloned()),
            Query::Range { prefix, after, limit } => Answer::Page(self.range(&prefix, after.as_deref(), limit)),
            Query::Summary => Answer::Summary(self.summary()),
        }
    }
}
