//! Readers: what they answer, where they stop, what they refuse, and that they go on while the owner writes.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use outrigger_engine::{Batch, LogIndex, Payload};

use super::Case;
use super::subject::{Entry, Subject, entries_of, in_session};

/// The cases of this file.
pub(super) const CASES: &[Case] = &[
    ("every range can be read", |subject| {
        subject.append(1, 1);
        subject.append(1, 4);
        subject.append(3, 2);
        subject.check();
        let reader = subject.reader();
        for from in 1..=7 {
            for through in from..=7 {
                subject.check_range(&*reader, from, through);
            }
        }
    }),
    ("what is read is contiguous batches of one term each", |subject| {
        subject.append(1, 3);
        subject.append(2, 3);
        subject.append(2, 3);
        subject.flush();
        let batches = subject.reader().batches(LogIndex(2), LogIndex(8), usize::MAX).expect("seven entries");
        for pair in batches.windows(2) {
            assert_eq!(pair[0].last().index.next(), pair[1].first().index, "a hole or an overlap");
        }
        assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 7);
    }),
    ("a limit cuts, and one entry always passes", |subject| {
        subject.append_sized(1, 5, 100);
        subject.append_sized(1, 5, 100);
        subject.flush();
        assert_eq!(read_count(subject, 0), 1);
        assert_eq!(read_count(subject, 1), 1);
        let entry = subject.range(1, 1)[0].2.bytes();
        // About the limit: a store may count another overhead, but not by more than an entry in three.
        let three = read_count(subject, 3 * entry);
        assert!((2..=4).contains(&three), "{three} entries of {entry} bytes within three times that");
        let seven = read_count(subject, 7 * entry);
        assert!((5..=9).contains(&seven), "{seven} entries of {entry} bytes within seven times that");
        assert_eq!(read_count(subject, 1000 * entry), 10);
    }),
    ("a large entry passes a small limit, alone", |subject| {
        subject.append_sized(1, 2, 5000);
        subject.append_sized(1, 2, 10);
        subject.flush();
        assert_eq!(read_count(subject, 100), 1);
    }),
    ("a limit bounds small entries of several batches, wherever it falls", |subject| {
        subject.append(1, 6);
        subject.append(1, 6);
        subject.append(2, 6);
        subject.flush();
        let bytes = |subject: &Subject<'_>, count| -> usize {
            subject.range(1, count).iter().map(|entry| entry.2.bytes()).sum()
        };
        let all = bytes(subject, 18);
        for limit in (0..=all).step_by(13).chain([bytes(subject, 6), bytes(subject, 12)]) {
            let read = read_count(subject, limit) as u64;
            assert!(read == 1 || bytes(subject, read) <= limit, "{read} entries within {limit} bytes");
        }
    }),
    ("behind an entry that does not fit none follows that would", |subject| {
        let command = |bytes| Payload::command(Bytes::from(vec![7; bytes]));
        subject.append_payloads(1, [command(8), command(20)].into());
        subject.append_payloads(1, [command(0)].into());
        subject.flush();
        read_count(subject, 2 * Payload::OVERHEAD_BYTES + 10);
    }),
    ("a limit bounds many small entries too", |subject| {
        subject.append_payloads(1, (0..1000).map(|_| Payload::command(Bytes::new())).collect());
        subject.flush();
        let ten = read_count(subject, 10 * Payload::OVERHEAD_BYTES);
        assert!((1..=40).contains(&ten), "{ten} empty entries within ten times what the limits count for one");
    }),
    ("a log read by pieces is the whole log", |subject| {
        subject.append_sized(1, 17, 30);
        subject.append_sized(2, 1, 900);
        subject.append_sized(2, 23, 30);
        subject.flush();
        for bytes_max in [0, 100, 500, 5000] {
            let (reader, mut found, mut next) = (subject.reader(), Vec::<Entry>::new(), 1);
            while next <= 41 {
                let batches = reader.batches(LogIndex(next), LogIndex(41), bytes_max).expect("a piece");
                found.extend(batches.iter().flat_map(entries_of));
                next = found.last().expect("at least one entry").0.index.0 + 1;
            }
            assert_eq!(found, subject.range(1, 41), "in pieces of {bytes_max} bytes");
        }
    }),
    ("what is not in the log is an error, not an early end", |subject| {
        refuses(subject, 1, 1);
        subject.append(1, 5);
        subject.flush();
        refuses(subject, 0, 3);
        refuses(subject, 4, 6);
        refuses(subject, 6, 6);
        refuses(subject, 4, 3);
        refuses(subject, 1, u64::MAX);
        subject.truncate(3);
        subject.flush();
        refuses(subject, 3, 4);
        subject.check();
    }),
    ("a reader sees what is written later", |subject| {
        let reader = subject.reader();
        subject.append(1, 2);
        subject.flush();
        subject.check_range(&*reader, 1, 2);
        subject.truncate(1);
        subject.append(2, 3);
        subject.flush();
        subject.check_range(&*reader, 1, 4);
    }),
    ("a reader goes on while the owner writes", |subject| {
        subject.append(1, 50);
        subject.flush();
        let (reader, expected) = (subject.reader(), subject.range(1, 50).to_vec());
        let reading = thread::spawn(move || {
            for _ in 0..200 {
                let found = reader.batches(LogIndex(1), LogIndex(50), usize::MAX).expect("flushed entries");
                assert_eq!(found.iter().flat_map(entries_of).collect::<Vec<_>>(), expected);
            }
        });
        for _ in 0..100 {
            let next = subject.next_batch(1, Arc::new([Payload::blank(), in_session(1, 1)]));
            subject.append_batches(&[next]);
            subject.flush();
            subject.truncate(50);
        }
        reading.join().expect("the reader found what was there");
    }),
];

/// How many entries from the first on are read within a limit.
fn read_count(subject: &mut Subject<'_>, bytes_max: usize) -> usize {
    let last = subject.last().index;
    let batches = subject.reader().batches(LogIndex(1), last, bytes_max).expect("at least one entry");
    let found: Vec<Entry> = batches.iter().flat_map(entries_of).collect();
    assert_eq!(found, subject.range(1, found.len() as u64), "the first entries");
    found.len()
}

fn refuses(subject: &mut Subject<'_>, from: u64, through: u64) {
    let found = subject.reader().batches(LogIndex(from), LogIndex(through), usize::MAX);
    assert!(found.is_err(), "the entries {from} to {through} are not in the log, and {found:?} was read");
}
