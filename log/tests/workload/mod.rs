//! A random workload, and a model that says what a log must hold after it.
//!
//! The model keeps what every record of the one total order added up to, in the plainest way there is: a map of
//! entries. It shares no code with the log.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use outrigger_log::{Disk, FaultyDisk, FlushError, GroupId, Log, LogPosition, OpenOptions, PeerIdentity, Record, Vote};

/// Where the tests' logs are.
pub fn directory() -> &'static Path {
    Path::new("/log")
}

/// The file of a segment.
pub fn segment(sequence: u64) -> PathBuf {
    directory().join(format!("{sequence:020}.segment"))
}

/// Loses everything that was not synced.
pub fn lose(disk: &FaultyDisk) {
    disk.crash_with(&mut |_| 0);
}

/// Options with tiny segments, so that a short workload fills many.
pub fn tiny(segment_bytes: u64) -> OpenOptions {
    OpenOptions { segment_bytes, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) }
}

/// Numbers that a seed determines.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = self.0 ^ (self.0 >> 33);
        high.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub log_time: u64,
    pub marked: bool,
    pub payload: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelGroup {
    pub vote: Vote,
    pub committed: u64,
    pub purged: LogPosition,
    pub entries: BTreeMap<u64, Entry>,
    pub peers: BTreeMap<u64, PeerIdentity>,
}

impl ModelGroup {
    pub fn last(&self) -> LogPosition {
        self.entries.last_key_value().map_or(self.purged, |(&index, entry)| LogPosition { term: entry.term, index })
    }

    fn term_at(&self, index: u64) -> u64 {
        if index == self.purged.index { self.purged.term } else { self.entries[&index].term }
    }
}

/// All groups.
pub type Model = BTreeMap<GroupId, ModelGroup>;

pub fn apply(model: &mut Model, group: GroupId, record: &Record<'_>) {
    let state = model.entry(group).or_default();
    match *record {
        Record::Vote { term, voted_for } => state.vote = Vote { term, voted_for },
        Record::Entries { term, first, log_time, payloads, marked } => {
            for (index, payload) in (first..).zip(payloads) {
                state.entries.insert(index, Entry { term, log_time, marked, payload: payload.clone() });
            }
        }
        Record::Truncate { after } => state.entries.retain(|index, _| *index <= after),
        Record::Purge { through } => {
            state.entries.retain(|index, _| *index > through.index);
            state.purged = through;
            state.committed = state.committed.max(through.index);
        }
        Record::Committed { index } => state.committed = index,
        Record::Peer { node, identity } => {
            state.peers.insert(node, identity);
        }
    }
}

/// What the log says it holds, in the model's terms; every entry is read.
pub fn observe<D: Disk>(log: &Log<D>) -> Model {
    let reader = log.reader();
    let mut model = Model::new();
    for group in log.groups() {
        let state = log.group(group).unwrap();
        let mut entries = BTreeMap::new();
        let mut next = state.purged.index + 1;
        while next <= state.last.index {
            for run in reader.entries(group, next, state.last.index, 700).unwrap() {
                assert_eq!(run.first, next, "a gap");
                for payload in run.payloads {
                    assert_eq!(state.term_at(next), Some(run.term));
                    let marked = state.marked.binary_search(&next).is_ok();
                    entries.insert(next, Entry { term: run.term, log_time: run.log_time, marked, payload });
                    next += 1;
                }
            }
        }
        let observed = ModelGroup {
            vote: state.vote,
            committed: state.committed,
            purged: state.purged,
            entries,
            peers: state.peers.clone(),
        };
        assert_eq!(observed.last(), state.last);
        model.insert(group, observed);
    }
    model
}

/// Draws a record that the state of its group allows, and appends it to log and model.
pub fn append_random(rng: &mut Rng, log: &mut Log<FaultyDisk>, model: &mut Model, groups: u64) {
    let group = GroupId(rng.below(groups));
    let state = model.get(&group).cloned().unwrap_or_default();
    let last = state.last();
    let payloads: Vec<Bytes> = (0..=rng.below(4)).map(|_| random_payload(rng)).collect();
    let record = match rng.below(20) {
        0..10 => Record::Entries {
            term: last.term + u64::from(rng.one_in(4)),
            first: last.index + 1,
            log_time: rng.next(),
            payloads: &payloads,
            marked: rng.one_in(6),
        },
        10..12 => Record::Truncate { after: state.committed + rng.below(last.index - state.committed + 1) },
        12..14 => Record::Committed { index: state.committed + rng.below(last.index - state.committed + 1) },
        14..16 => {
            let index = state.purged.index + rng.below(last.index - state.purged.index + 1);
            Record::Purge { through: LogPosition { term: state.term_at(index), index } }
        }
        16 if rng.one_in(4) => {
            Record::Purge { through: LogPosition { term: last.term + 1, index: last.index + 1 + rng.below(9) } }
        }
        16 => Record::Peer {
            node: rng.below(3),
            identity: PeerIdentity { incarnation: rng.next(), start: rng.next(), nonce: rng.next() },
        },
        _ => {
            Record::Vote { term: state.vote.term + 1, voted_for: if rng.one_in(2) { Some(rng.below(3)) } else { None } }
        }
    };
    log.append(group, record).unwrap();
    apply(model, group, &record);
}

fn random_payload(rng: &mut Rng) -> Bytes {
    let bytes = match rng.below(30) {
        0 => rng.below(6_000),
        1..5 => rng.below(900),
        _ => rng.below(60),
    };
    (0..bytes).map(|_| rng.next().to_le_bytes()[0]).collect()
}

/// A run of entries with these payloads behind the last one, in term 1, appended and flushed.
pub fn flush_entries(log: &mut Log<FaultyDisk>, group: GroupId, payloads: &[&'static [u8]]) -> Result<(), FlushError> {
    append_entries(log, group, payloads);
    log.flush()
}

/// A run of entries with these payloads behind the last one, in term 1, appended only.
pub fn append_entries(log: &mut Log<FaultyDisk>, group: GroupId, payloads: &[&'static [u8]]) {
    let first = log.group(group).map_or(0, |state| state.last.index) + 1;
    let payloads: Vec<Bytes> = payloads.iter().map(|payload| Bytes::from_static(payload)).collect();
    log.append(group, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false }).unwrap();
}
