//! What happened, in the order in which it did: a digest of all of it, counts by name, and the first thing that must not.
//!
//! ```text
//!   message sent ──┐
//!   disk written ──┼──► what, when, numbers ──► digest: equal for equal histories, and for no others
//!   call answered ─┘                       └──► a line, where somebody reads along
//! ```

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often what happened.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Where everybody notes what happens; clones share it.
#[derive(Clone)]
pub(crate) struct Trace {
    inside: Arc<Mutex<Inside>>,
    /// The moment 0 of the history.
    began: Instant,
    /// Whether each event is a line on the standard output.
    prints: bool,
}

#[derive(Default)]
struct Inside {
    /// Of all events so far.
    digest: u64,
    /// How many there were; each call and each answer has the number of its event for a time.
    steps: u64,
    counts: Counts,
    /// What went wrong first.
    violation: Option<String>,
}

impl Trace {
    /// Begins a history, on the runtime whose clock it has.
    pub(crate) fn begin(prints: bool) -> Self {
        Self { inside: Arc::default(), began: Instant::now(), prints }
    }

    /// Virtual time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment as tokio's timers know it.
    pub(crate) fn at(&self, since_begin: Duration) -> Instant {
        self.began + since_begin
    }

    /// Something happened. `detail` is for people, and asked for only if they read along.
    pub(crate) fn note<D: Display>(&self, what: &'static str, values: &[u64], detail: impl FnOnce() -> D) -> u64 {
        let now = self.now();
        let mut inside = self.lock();
        inside.steps += 1;
        let nanoseconds = u64::try_from(now.as_nanos()).expect("no history takes centuries");
        let mut digest = mix(mix(inside.digest, hash(what.as_bytes())), nanoseconds);
        for value in values {
            digest = mix(digest, *value);
        }
        inside.digest = digest;
        if self.prints {
            println!("{:>9.3} ms  {what} {values:?} {}", now.as_secs_f64() * 1000.0, detail());
        }
        inside.steps
    }

    /// Something happened that is worth counting. It is noted too.
    pub(crate) fn count(&self, what: &'static str, values: &[u64]) {
        *self.lock().counts.entry(what).or_default() += 1;
        self.note(what, values, String::new);
    }

    /// Something happened that must not.
    pub(crate) fn violate(&self, what: impl Display) {
        let what = format!("{what} (after {:?} of virtual time)", self.now());
        self.note("VIOLATION", &[], || &what);
        self.lock().violation.get_or_insert(what);
    }

    /// What went wrong first.
    pub(crate) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.lock().digest
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest of bytes (FNV-1a, a number of eight bytes at a time).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.by_ref().fold(bytes.len() as u64, mix)
}

/// The digest of a sequence and what comes next in it.
pub(crate) const fn mix(digest: u64, next: u64) -> u64 {
    let mixed = (digest ^ next).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}
