//! What every log store must do, as cases that any implementation can be run through.
//!
//! Each case drives a store and a plain copy of what it must hold side by side ([`Subject`]), and compares the two
//! by reading every range, and by closing and opening the store again.
//!
//! ```
//! use outrigger::store::{LogStore, MemoryStore, suite};
//!
//! // Makes a new, empty place for a log each time; the place opens the store that lives there, again and again.
//! suite::run(|| {
//!     let place = MemoryStore::new();
//!     move || Box::new(place.clone()) as Box<dyn LogStore>
//! });
//! ```

use outrigger_engine::{LogId, LogIndex, NodeId};

use super::LogStore;

mod random;
mod reading;
mod snapshots;
mod subject;
mod writing;

pub use subject::Subject;

/// One thing that every store must do: its name, and the steps that show it. It panics where the store fails.
pub type Case = (&'static str, fn(&mut Subject<'_>));

/// Opens the store of one place, with what was flushed there before. The one that was opened before has been dropped.
pub type Open<'a> = dyn FnMut() -> Box<dyn LogStore> + 'a;

/// Runs every case, each in a new place that `fresh` makes.
///
/// # Panics
/// When the store fails a case; what is printed before names it.
pub fn run<P: FnMut() -> Box<dyn LogStore>>(mut fresh: impl FnMut() -> P) {
    for (name, case) in cases() {
        println!("case {name}");
        let mut place = fresh();
        let mut subject = Subject::open(&mut place);
        case(&mut subject);
        subject.reopen();
    }
}

/// All cases, for a test harness of one's own.
pub fn cases() -> impl Iterator<Item = Case> {
    STATE.iter().chain(writing::CASES).chain(reading::CASES).chain(snapshots::CASES).chain(random::CASES).copied()
}

/// What stands beside the entries: vote, peers, commit index.
const STATE: &[Case] = &[
    ("a new store is empty", |subject| {
        subject.check();
        subject.reopen();
        assert_eq!(subject.last(), LogId::ZERO);
    }),
    ("a flush of nothing is none", |subject| {
        subject.flush();
        subject.flush();
        subject.reopen();
    }),
    ("a vote survives", |subject| {
        subject.save_vote(3, Some(2));
        subject.reopen();
    }),
    ("the last vote counts", |subject| {
        subject.save_vote(1, None);
        subject.save_vote(1, Some(7));
        subject.save_vote(2, None);
        subject.reopen();
        subject.save_vote(2, Some(0));
        subject.flush();
        subject.save_vote(9, None);
        subject.reopen();
    }),
    ("a vote for node 0 is a vote", |subject| {
        subject.save_vote(1, Some(0));
        subject.reopen();
    }),
    ("a vote and entries leave each other alone", |subject| {
        subject.append(1, 3);
        subject.save_vote(8, Some(1));
        subject.append(2, 2);
        subject.reopen();
    }),
    ("the highest life of each peer survives", |subject| {
        subject.save_peer(2, (5, 1, 9));
        subject.save_peer(NodeId(0).0, (u64::MAX, 3, 0));
        subject.reopen();
        subject.save_peer(2, (5, 2, 4));
        subject.reopen();
    }),
    ("the commit index survives with the next flush", |subject| {
        subject.append(1, 5);
        subject.save_committed(2);
        subject.flush();
        subject.save_committed(3);
        subject.append(1, 1);
        subject.save_committed(6);
        subject.reopen();
        subject.append(2, 1);
        subject.reopen();
    }),
    ("what is committed survives a truncation behind it", |subject| {
        subject.append(1, 5);
        subject.save_committed(3);
        subject.truncate(3);
        subject.append(2, 1);
        subject.reopen();
        assert_eq!(subject.expected().commit, LogIndex(3));
    }),
    ("one flush carries everything in its order", |subject| {
        subject.save_vote(1, None);
        subject.append(1, 4);
        subject.save_vote(2, Some(3));
        subject.save_peer(3, (1, 1, 1));
        subject.truncate(2);
        subject.append_membership(2, &[1, 2, 3]);
        subject.append(2, 3);
        subject.save_committed(4);
        subject.truncate(5);
        subject.append(4, 1);
        subject.reopen();
    }),
    ("what was not flushed does no harm to what was", |subject| {
        subject.append(1, 3);
        subject.save_vote(1, Some(1));
        subject.flush();
        subject.append(1, 2);
        subject.save_vote(2, None);
        subject.reopen_unflushed();
        subject.append(3, 2);
        subject.reopen();
    }),
];
