//! How often each kind of thing happened, by name.

use std::collections::BTreeMap;

/// Names and how often each was noted.
pub type Counts = BTreeMap<&'static str, u64>;

/// It happened once more.
pub(crate) fn note(counts: &mut Counts, name: &'static str) {
    *counts.entry(name).or_default() += 1;
}

/// Adds other counts.
pub(crate) fn add(counts: &mut Counts, others: &Counts) {
    for (name, count) in others {
        *counts.entry(name).or_default() += count;
    }
}

/// So many of something, which is called one way for one and another for any other number.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
