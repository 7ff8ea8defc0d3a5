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

/// Counts of a few kinds of things that happen all the time: a name is known by where it stands, and not read.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    /// It happened once more.
    pub(crate) fn note(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(other, _)| std::ptr::eq(*other, name)) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }

    /// Adds them to others. A name that stands in two places is one name.
    pub(crate) fn add_to(&self, counts: &mut Counts) {
        for (name, count) in &self.0 {
            *counts.entry(name).or_default() += count;
        }
    }
}

/// So many of something, which is called one way for one and another for any other number.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
