//! Snapshots and purges: what they take the place of, what a start makes of a crash between the two, and how a snapshot is
//! built, read and received.

use std::io;
use std::sync::Arc;

use outrigger_engine::{Body, LogId, LogIndex, LogTime, Payload, Snapshot, SnapshotId};

use super::Case;
use super::subject::{Subject, in_session, membership};
use crate::store::snapshots::checksum;
use crate::store::{Built, Moment, Received, genesis_of};

/// The cases of this file.
pub(super) const CASES: &[Case] = &[
    ("a purge within the log keeps what follows", |subject| {
        ten_entries(subject);
        subject.build(6, b"six");
        subject.purge(3);
        subject.reopen();
        assert_eq!(subject.expected().terms, [LogId::new(1, 4), LogId::new(2, 6)], "the expectation itself");
        subject.purge(6);
        subject.reopen();
        subject.append(2, 2);
        subject.truncate(11);
        subject.reopen();
    }),
    ("a purge through everything leaves a log that goes on behind it", |subject| {
        ten_entries(subject);
        subject.build(10, b"ten");
        subject.purge(10);
        subject.reopen();
        assert_eq!((subject.last(), subject.expected().commit), (LogId::new(2, 10), LogIndex(10)));
        subject.append(2, 1);
        subject.append(3, 2);
        subject.reopen();
        subject.truncate(10);
        subject.reopen();
    }),
    ("a snapshot from elsewhere takes the place of a log that does not reach it", |subject| {
        ten_entries(subject);
        let snapshot = announced(LogId::new(4, 90), b"ninety");
        receive(subject, &snapshot, b"ninety");
        subject.purge_beyond(LogId::new(4, 90));
        subject.reopen();
        subject.append(4, 3);
        subject.reopen();
        subject.truncate(90);
        subject.reopen();
    }),
    ("a snapshot from elsewhere begins the log of a new node", |subject| {
        let snapshot = announced(LogId::new(4, 90), b"ninety");
        receive(subject, &snapshot, b"ninety");
        subject.purge_beyond(LogId::new(4, 90));
        subject.append(5, 1);
        subject.reopen();
    }),
    ("a snapshot without a purge leaves the log alone", |subject| {
        ten_entries(subject);
        subject.build(6, b"six");
        subject.reopen();
        assert_eq!(subject.expected().purged, LogId::ZERO, "the expectation itself");
    }),
    ("a crash between a snapshot from elsewhere and its purge is made up for", |subject| {
        ten_entries(subject);
        let snapshot = announced(LogId::new(4, 90), b"ninety");
        receive(subject, &snapshot, b"ninety");
        subject.check();
        subject.begins_behind_all(LogId::new(4, 90));
        subject.is_of_term_at_least(snapshot.last().term);
        subject.reopen_as_expected();
        subject.append(4, 2);
        subject.reopen();
    }),
    ("entries that a snapshot from elsewhere contradicts do not outlive a crash", |subject| {
        ten_entries(subject);
        // The log holds entry 8 of term 2, which was never committed.
        let snapshot = announced(LogId::new(3, 8), b"eight");
        receive(subject, &snapshot, b"eight");
        subject.check();
        subject.begins_behind_all(LogId::new(3, 8));
        subject.is_of_term_at_least(snapshot.last().term);
        subject.reopen_as_expected();
        subject.append(3, 1);
        subject.reopen();
    }),
    ("the members that were purged are in the snapshot", |subject| {
        subject.append_membership(0, &[1]);
        subject.append_payloads(1, Arc::new([in_session(1, 1), membership(&[1, 2]), in_session(1, 2)]));
        let first = subject.build(4, b"four");
        assert_eq!((first.membership_at, first.membership.voters().len()), (LogId::new(1, 3), 2));
        subject.purge(4);
        subject.append(1, 2);
        subject.reopen();
        let second = subject.build(6, b"six");
        assert_eq!((second.membership_at, &second.membership), (LogId::new(1, 3), &first.membership));
        assert!(
            first.genesis.is_known() && second.genesis == first.genesis,
            "what the cluster is known by is handed on"
        );
    }),
    ("a new store has no snapshot", |subject| {
        let (snapshots, unknown) = (subject.snapshots(), announced(LogId::new(1, 1), b"one").id);
        assert_eq!(snapshots.newest(), None);
        assert_eq!(snapshots.read(unknown, 0, 10), Ok(None));
        assert!(snapshots.content(unknown).is_err());
    }),
    ("a snapshot is read in pieces, verified", |subject| {
        ten_entries(subject);
        let content = long_content();
        let id = subject.build(6, &content).id;
        let snapshots = subject.snapshots();
        let mut found = Vec::new();
        while found.len() < content.len() {
            let piece =
                snapshots.read(id, found.len() as u64, 70_001).expect("a piece").expect("the snapshot is there");
            assert!(!piece.is_empty() && piece.len() <= 70_001, "a piece of {} bytes", piece.len());
            found.extend_from_slice(&piece);
        }
        assert_eq!(found, content);
        assert_eq!(snapshots.read(id, content.len() as u64, 10), Ok(Some(bytes::Bytes::new())), "the end");
    }),
    ("another snapshot of the same entries takes the place of the first", |subject| {
        ten_entries(subject);
        let first = subject.build(6, b"six").id;
        let second = subject.build(6, b"six, in other words").id;
        let snapshots = subject.snapshots();
        assert_eq!(snapshots.newest().map(|newest| newest.id), Some(second));
        assert_eq!(snapshots.read(first, 0, 10), Ok(None));
        drop(snapshots);
        subject.reopen();
    }),
    ("an empty state is a snapshot too", |subject| {
        ten_entries(subject);
        subject.build(6, b"");
        subject.reopen();
    }),
    ("a newer snapshot takes the place of an older one, and never the other way", |subject| {
        ten_entries(subject);
        let six = subject.build(6, b"six");
        let nine = subject.build(9, b"nine");
        assert_eq!(subject.snapshots().read(six.id, 0, 10), Ok(None), "the older one is gone");
        // A store may refuse it or ignore it.
        let _ = subject.snapshots().receive(&announced(LogId::new(1, 5), b"five"), 0, b"five");
        subject.holds(&nine, b"nine");
        subject.reopen();
    }),
    ("a build that fails leaves nothing of itself", |subject| {
        ten_entries(subject);
        let six = subject.build(6, b"six");
        let of = subject.moment(9);
        let broken = subject.snapshots().build(&of, &mut |out| {
            out.write_all(&long_content())?;
            Err(io::Error::other("the state cannot be written"))
        });
        let broken = broken.expect("the disk works");
        assert!(matches!(&broken, Built::Not(reason) if reason.contains("the state cannot be written")), "{broken:?}");
        subject.holds(&six, b"six");
        subject.reopen();
        subject.build(9, b"nine");
    }),
    ("a snapshot that comes in pieces is there when all of them are", |subject| {
        ten_entries(subject);
        let content = long_content();
        let snapshot = announced(LogId::new(4, 90), &content);
        let snapshots = subject.snapshots();
        for (number, piece) in content.chunks(50_000).enumerate() {
            assert_eq!(snapshots.newest(), None, "a part is no snapshot");
            let (offset, end) = (number * 50_000, number * 50_000 + piece.len());
            let held = Ok(Received::Held(end as u64));
            assert_eq!(snapshots.receive(&snapshot, offset as u64, piece), held, "at {offset}");
            if end < content.len() {
                assert_eq!(snapshots.receive(&snapshot, offset as u64, piece), held, "the same piece again");
                assert_eq!(snapshots.receive(&snapshot, end as u64 + 1, piece), held, "a hole");
                assert_eq!(snapshots.receive(&snapshot, end as u64, &[]), held, "a question");
            }
        }
        drop(snapshots);
        subject.holds(&snapshot, &content);
        subject.purge_beyond(snapshot.last());
        subject.reopen();
    }),
    ("a reception goes on where it stopped after a restart", |subject| {
        ten_entries(subject);
        let content = long_content();
        let snapshot = announced(LogId::new(4, 90), &content);
        let half = content.len() / 2;
        assert_eq!(subject.snapshots().receive(&snapshot, 0, &content[..half]), Ok(Received::Held(half as u64)));
        subject.reopen();
        // How much was durable is the store's business.
        let Ok(Received::Held(held)) = subject.snapshots().receive(&snapshot, u64::MAX, &[]) else {
            panic!("a question spoils nothing")
        };
        let held = usize::try_from(held).expect("a small number");
        assert!(held <= half, "{held} bytes are held of {half} that came");
        let end = Ok(Received::Held(content.len() as u64));
        assert_eq!(subject.snapshots().receive(&snapshot, held as u64, &content[held..]), end);
        subject.holds(&snapshot, &content);
        subject.purge_beyond(snapshot.last());
    }),
    ("another snapshot throws away what has come of the first", |subject| {
        ten_entries(subject);
        let (first, second) = (announced(LogId::new(4, 90), b"ninety"), announced(LogId::new(4, 95), b"more"));
        let snapshots = subject.snapshots();
        assert_eq!(snapshots.receive(&first, 0, b"nine"), Ok(Received::Held(4)));
        assert_eq!(snapshots.receive(&second, 0, b"mo"), Ok(Received::Held(2)));
        assert_eq!(snapshots.receive(&first, 4, b"ty"), Ok(Received::Held(0)));
        drop(snapshots);
        receive(subject, &second, b"more");
        subject.purge_beyond(second.last());
    }),
    ("what is not what was announced is thrown away, and can come again", |subject| {
        ten_entries(subject);
        let snapshot = announced(LogId::new(4, 90), b"ninety");
        let snapshots = subject.snapshots();
        for wrong in [b"mighty", b"nineth"] {
            let received = snapshots.receive(&snapshot, 0, wrong);
            assert!(matches!(received, Ok(Received::Spoiled(_))), "{received:?}");
            assert_eq!(snapshots.newest(), None);
            assert_eq!(snapshots.receive(&snapshot, 9, &[]), Ok(Received::Held(0)));
        }
        drop(snapshots);
        receive(subject, &snapshot, b"ninety");
        subject.purge_beyond(snapshot.last());
    }),
];

/// The members, four entries of term 1, five of term 2; half of them committed.
fn ten_entries(subject: &mut Subject<'_>) {
    subject.append_membership(0, &[1, 2, 3]);
    subject.append(1, 4);
    subject.append_payloads(2, Arc::new([Payload::blank()]));
    subject.append_sized(2, 4, 500);
    subject.save_committed(5);
}

/// More than a few blocks of any store.
fn long_content() -> Vec<u8> {
    (0..300_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 3 == 0)]).collect()
}

/// A snapshot of another node of this cluster, before any of it has come.
fn announced(last: LogId, content: &[u8]) -> Arc<Snapshot> {
    let Body::Membership(membership) = membership(&[1, 2, 3]).body else { panic!("a membership has one") };
    let genesis = genesis_of(&membership);
    let of = Moment { last, log_time: LogTime(5_000), membership_at: LogId::new(0, 1), membership };
    let id = SnapshotId { last, bytes: content.len() as u64, checksum: checksum(&of, genesis, content) };
    let Moment { log_time, membership_at, membership, .. } = of;
    Arc::new(Snapshot { id, log_time, membership, membership_at, genesis })
}

/// Receives all of a snapshot at once.
fn receive(subject: &mut Subject<'_>, snapshot: &Arc<Snapshot>, content: &[u8]) {
    let received = subject.snapshots().receive(snapshot, 0, content);
    assert_eq!(received, Ok(Received::Held(content.len() as u64)));
    subject.holds(snapshot, content);
}
