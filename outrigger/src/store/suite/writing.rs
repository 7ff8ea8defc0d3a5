//! Appending, truncating, overwriting: what the log holds afterwards, and after it was opened again.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_engine::{LogId, LogIndex, Payload};

use super::Case;
use super::subject::{in_session, membership};

/// The cases of this file.
pub(super) const CASES: &[Case] = &[
    ("entries survive", |subject| {
        subject.append(1, 1);
        subject.append(1, 10);
        subject.reopen();
        subject.append(1, 1);
        subject.reopen();
    }),
    ("payloads of every kind survive", |subject| {
        let empty = Payload::command(Bytes::new());
        let all = [Payload::blank(), empty, in_session(9, u64::MAX), membership(&[1, 2]), in_session(u64::MAX, 0)];
        subject.append_payloads(1, Arc::new(all));
        subject.reopen();
    }),
    ("a large entry survives", |subject| {
        subject.append_sized(1, 1, 200_000);
        subject.append_sized(1, 3, 70_000);
        subject.reopen();
    }),
    ("several batches of one call survive", |subject| {
        let first = subject.next_batch(1, Arc::new([Payload::blank(), in_session(1, 1)]));
        let rest = first.after(LogIndex(1)).expect("two entries");
        let first = first.through(LogIndex(1)).expect("two entries");
        subject.append_batches(&[first, rest]);
        subject.append(2, 1);
        subject.reopen();
    }),
    ("no batches are no entries", |subject| {
        subject.append_batches(&[]);
        subject.append(1, 1);
        subject.append_batches(&[]);
        subject.reopen();
    }),
    ("a part of a batch is appended as what it shows", |subject| {
        let whole = subject.next_batch(1, Arc::new([in_session(1, 1), in_session(1, 2), in_session(1, 3)]));
        subject.append_batches(&[whole.through(LogIndex(2)).expect("three entries")]);
        subject.reopen();
        let tail = whole.after(LogIndex(2)).expect("three entries");
        subject.append_batches(&[tail]);
        subject.reopen();
    }),
    ("an entry of term 0 is an entry", |subject| {
        subject.append_membership(0, &[1, 2, 3]);
        subject.reopen();
        subject.append(1, 1);
        subject.reopen();
    }),
    ("the first entry of each term is known", |subject| {
        subject.append(1, 3);
        subject.append(4, 1);
        subject.append(4, 2);
        subject.append(9, 1);
        subject.reopen();
        let first_entries = [LogId::new(1, 1), LogId::new(4, 4), LogId::new(9, 7)];
        assert_eq!(subject.expected().terms, first_entries, "the expectation itself");
    }),
    ("a truncation in the middle of a batch keeps its beginning", |subject| {
        subject.append(1, 4);
        subject.append(1, 6);
        subject.truncate(7);
        subject.reopen();
        subject.truncate(6);
        subject.reopen();
    }),
    ("a truncation between two batches drops the second", |subject| {
        subject.append(1, 4);
        subject.append(2, 6);
        subject.truncate(4);
        subject.reopen();
    }),
    ("a truncation of everything leaves an empty log", |subject| {
        subject.append(1, 4);
        subject.append(3, 4);
        subject.flush();
        subject.truncate(0);
        subject.reopen();
        subject.append(2, 1);
        subject.reopen();
    }),
    ("a truncation after the last entry drops nothing", |subject| {
        subject.append(1, 4);
        subject.truncate(4);
        subject.reopen();
        subject.append(1, 1);
        subject.reopen();
    }),
    ("what was truncated before it was flushed is gone", |subject| {
        subject.append(1, 4);
        subject.truncate(2);
        subject.append(2, 1);
        subject.reopen();
    }),
    ("entries of a later term replace truncated ones", |subject| {
        subject.append(1, 10);
        subject.reopen();
        subject.truncate(5);
        subject.append(2, 3);
        subject.flush();
        subject.truncate(6);
        subject.append(3, 8);
        subject.reopen();
    }),
    ("terms that were truncated are forgotten", |subject| {
        for term in 1..=6 {
            subject.append(term, 2);
        }
        subject.truncate(5);
        subject.reopen();
        subject.append(8, 1);
        subject.reopen();
    }),
    ("the log time is that of the last entry", |subject| {
        subject.append(1, 2);
        subject.append(1, 2);
        subject.truncate(2);
        subject.reopen();
    }),
    ("memberships are found among other entries", |subject| {
        subject.append_membership(0, &[1]);
        let mixed = [in_session(1, 1), membership(&[1, 2]), in_session(1, 2), membership(&[1, 2, 3]), membership(&[3])];
        subject.append_payloads(1, Arc::new(mixed));
        subject.append(2, 5);
        subject.reopen();
    }),
    ("all memberships that may be truncated are found, and the last before them", |subject| {
        subject.append_membership(0, &[1]);
        subject.append_membership(1, &[1, 2]);
        subject.save_committed(2);
        for voters in [&[1, 3][..], &[1, 4], &[1, 5], &[1, 6]] {
            subject.append_membership(1, voters);
        }
        subject.reopen();
        subject.truncate(3);
        subject.reopen();
        subject.truncate(2);
        subject.reopen();
    }),
    ("a truncation brings the membership before back", |subject| {
        subject.append_membership(0, &[1]);
        subject.append(1, 3);
        subject.append_membership(1, &[1, 2]);
        subject.append_membership(1, &[1, 2, 3]);
        subject.reopen();
        subject.truncate(5);
        subject.reopen();
        subject.truncate(4);
        subject.append(2, 1);
        subject.reopen();
        subject.truncate(0);
        subject.reopen();
    }),
    ("a long log survives", |subject| {
        for _ in 0..300 {
            subject.append(1, 1);
            subject.flush();
        }
        for term in 2..20 {
            subject.append_sized(term, 20, 500);
        }
        subject.reopen();
    }),
];
