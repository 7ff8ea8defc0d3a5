//! Snapshots beside a log on a disk that fails: what the simulator found, a test for each, named for what went wrong.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outrigger::engine::{Batch, LogId, LogIndex, LogTime, Membership, Node, NodeId, Payload, Snapshot, Term, Vote};
use outrigger::store::{Built, DurableStore, LogStore, Moment, Received};
use outrigger_log::{FaultyDisk, OpenOptions};

fn open(disk: &FaultyDisk) -> DurableStore<FaultyDisk> {
    DurableStore::open(disk.clone(), Path::new("/data"), OpenOptions::new(7, 1, 0x1234, 0x5678)).expect("it opens")
}

fn members() -> Arc<Membership> {
    Arc::new(Membership::new([1, 2, 3].map(|id| (NodeId(id), Node::default())), []))
}

/// A store whose log holds the members, and three commands of term 1.
fn store(disk: &FaultyDisk) -> DurableStore<FaultyDisk> {
    let mut store = open(disk);
    store.save_vote(Vote { term: Term(1), voted_for: None }).unwrap();
    let first = Batch::new(LogId::new(0, 1), LogTime(0), Arc::new([Payload::membership(members())]));
    let commands = (0..3).map(|_| Payload::command(Bytes::from_static(b"set"))).collect();
    store.append(&[first, Batch::new(LogId::new(1, 2), LogTime(5), commands)]).unwrap();
    store
}

fn moment(last: LogId) -> Moment {
    Moment { last, log_time: LogTime(40), membership_at: LogId::new(0, 1), membership: members() }
}

fn build(store: &DurableStore<FaultyDisk>, last: LogId) -> Arc<Snapshot> {
    match store.snapshots().build(&moment(last), &mut |out| out.write_all(b"the state")).unwrap() {
        Built::Snapshot(snapshot) => snapshot,
        Built::Not(reason) => panic!("{reason}"),
    }
}

/// What another node has: a snapshot of `last`.
fn from_elsewhere(last: LogId) -> (Arc<Snapshot>, Bytes) {
    let elsewhere = FaultyDisk::new();
    let mut other = store(&elsewhere);
    other.flush().unwrap();
    let snapshot = build(&other, last);
    let content = other.snapshots().read(snapshot.id, 0, 100).unwrap().expect("it is there");
    (snapshot, content)
}

/// A follower had received a snapshot of a later term than its disk knew, as its vote was still on the way there, when it
/// crashed. The log was made to begin behind the snapshot, in a term that the node had never been in.
#[test]
fn a_log_that_begins_behind_a_snapshot_of_a_later_term_is_of_that_term() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.flush().unwrap();
    let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
    assert_eq!(store.snapshots().receive(&snapshot, 0, &content).unwrap(), Received::Held(9));
    drop(store);
    disk.crash(0);
    let restored = open(&disk).restore().unwrap();
    assert_eq!((restored.last, restored.purged), (LogId::new(3, 90), LogId::new(3, 90)));
    assert_eq!(restored.vote, Vote { term: Term(3), voted_for: None });
    assert_eq!((restored.log_time, restored.commit.0), (LogTime(40), 90));
    // All of it is durable: the next start finds the same.
    disk.crash(0);
    assert_eq!(open(&disk).restore().unwrap(), restored);
}

/// A purge that contradicts the term of an entry is refused: what is not committed has to go first.
#[test]
fn a_log_whose_uncommitted_entries_reach_beyond_a_snapshot_begins_behind_it() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.save_committed(LogIndex(1)).unwrap();
    store.flush().unwrap();
    let (snapshot, content) = from_elsewhere(LogId::new(3, 2));
    assert_eq!(store.snapshots().receive(&snapshot, 0, &content).unwrap(), Received::Held(9));
    drop(store);
    let restored = open(&disk).restore().unwrap();
    assert_eq!((restored.last, restored.purged), (LogId::new(3, 2), LogId::new(3, 2)));
}

/// A node that restarts often would else never have enough in its log for a snapshot by bytes.
#[test]
fn a_start_counts_the_bytes_of_the_log_behind_its_snapshot() {
    let disk = FaultyDisk::new();
    let mut first = store(&disk);
    first.save_committed(LogIndex(4)).unwrap();
    first.flush().unwrap();
    drop(first);
    let behind = |last: Option<LogId>| {
        let mut store = open(&disk);
        last.into_iter().for_each(|last| drop(build(&store, last)));
        store.restore().unwrap().log_bytes
    };
    let (all, commands, none) = (behind(None), behind(Some(LogId::new(0, 1))), behind(Some(LogId::new(1, 4))));
    assert!(all > commands && commands > none && none == 0, "{all}, {commands}, {none}");
}

/// A follower applied what others had committed before its own disk had the first entry, and took a snapshot. That there was no
/// first entry to know the cluster by counted as a failure of the disk, and stopped the node.
#[test]
fn a_snapshot_before_the_first_entry_is_durable_waits_for_it() {
    let mut store = store(&FaultyDisk::new());
    let built = store.snapshots().build(&moment(LogId::new(1, 4)), &mut |out| out.write_all(b"the state")).unwrap();
    assert!(matches!(&built, Built::Not(reason) if reason.contains("not durable yet")), "{built:?}");
    store.flush().unwrap();
    assert!(build(&store, LogId::new(1, 4)).genesis.is_known());
}

/// After a sync of their directory had failed, snapshots could not be kept any more, and the node went on: it dropped nothing of
/// its log, and a follower that needed a snapshot stayed behind for ever.
#[test]
fn a_failed_sync_while_a_snapshot_is_kept_is_a_failure_of_the_disk() {
    for syncs in 0..2 {
        let disk = FaultyDisk::new();
        let mut store = store(&disk);
        store.flush().unwrap();
        disk.fail_sync_after(syncs);
        let built = store.snapshots().build(&moment(LogId::new(1, 4)), &mut |out| out.write_all(b"the state"));
        assert!(built.is_err(), "sync {syncs}: {built:?}");
        let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
        disk.fail_sync_after(syncs);
        let received = store.snapshots().receive(&snapshot, 0, &content);
        assert!(received.is_err(), "sync {syncs}: {received:?}");
    }
}

/// Also where it is the state machine that is told first.
#[test]
fn a_failed_write_while_a_snapshot_is_built_is_a_failure_of_the_disk() {
    let large = vec![7; 300_000];
    for writes in 0..5 {
        let disk = FaultyDisk::new();
        let mut store = store(&disk);
        store.flush().unwrap();
        disk.fail_write_after(writes);
        let built = store.snapshots().build(&moment(LogId::new(1, 4)), &mut |out| out.write_all(&large));
        assert!(built.is_err(), "write {writes}: {built:?}");
    }
}

/// A disk without room is none: it is tried again when there is some.
#[test]
fn a_full_disk_keeps_no_snapshot_and_fails_nothing_else() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.flush().unwrap();
    disk.limit_bytes(Some(disk.bytes_held()));
    let built = store.snapshots().build(&moment(LogId::new(1, 4)), &mut |out| out.write_all(b"the state")).unwrap();
    assert!(matches!(built, Built::Not(_)), "{built:?}");
    let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
    let received = store.snapshots().receive(&snapshot, 0, &content).unwrap();
    assert!(matches!(received, Received::Spoiled(_)), "{received:?}");
    disk.limit_bytes(None);
    assert_eq!(build(&store, LogId::new(1, 4)).last(), LogId::new(1, 4));
    let unwritten = store.snapshots().build(&moment(LogId::new(1, 4)), &mut |_| Err(std::io::Error::other("no state")));
    assert_eq!(unwritten.unwrap(), Built::Not("no state".into()));
}

/// A purge was queued behind a truncation, and the sync of both failed. Queued once more, the truncation met a log that the purge
/// had changed already, and panicked where it should have said that the log is poisoned.
#[test]
fn a_truncation_on_a_poisoned_log_says_so() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.flush().unwrap();
    let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
    store.snapshots().receive(&snapshot, 0, &content).unwrap();
    disk.fail_sync_after(0);
    store.truncate(LogId::new(1, 2)).unwrap();
    store.purge(LogId::new(3, 90)).unwrap();
    let failure = store.flush().unwrap_err();
    assert_eq!(store.truncate(LogId::new(1, 2)), Err(failure));
}

/// Found by reading: clients that took all open files halted every node that was about to take a snapshot, or to receive one.
#[test]
fn want_of_open_files_puts_snapshots_off_and_keeps_what_was_received() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.save_committed(LogIndex(4)).unwrap();
    store.flush().unwrap();
    let build = |store: &DurableStore<FaultyDisk>| {
        store.snapshots().build(&moment(LogId::new(1, 3)), &mut |out| out.write_all(b"the state")).unwrap()
    };
    let is_put_off = |reason: &str| assert!(reason.contains("raise the limit of open files"), "{reason}");
    disk.run_out_of_files(true);
    match build(&store) {
        Built::Not(reason) => is_put_off(&reason),
        built @ Built::Snapshot(_) => panic!("{built:?}"),
    }
    disk.run_out_of_files(false);
    assert!(matches!(build(&store), Built::Snapshot(_)));
    disk.run_out_of_files(true);
    match build(&store) {
        Built::Not(reason) => is_put_off(&reason),
        built @ Built::Snapshot(_) => panic!("{built:?}"),
    }
    let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
    let receive = |store: &DurableStore<FaultyDisk>| store.snapshots().receive(&snapshot, 0, &content[..5]).unwrap();
    match receive(&store) {
        Received::Spoiled(reason) => is_put_off(&reason),
        held @ Received::Held(_) => panic!("{held:?}"),
    }
    disk.run_out_of_files(false);
    assert_eq!(receive(&store), Received::Held(5));
    // The file of the reception is there, and the next process cannot open it yet.
    drop(store);
    let receiving = disk.bytes_of(Path::new("/data/snapshots/receiving"));
    let store = open(&disk);
    disk.run_out_of_files(true);
    assert!(matches!(receive(&store), Received::Spoiled(_)));
    assert_eq!(disk.bytes_of(Path::new("/data/snapshots/receiving")), receiving, "it is kept");
    disk.run_out_of_files(false);
    assert_eq!(store.snapshots().receive(&snapshot, 0, &content).unwrap(), Received::Held(9));
}

/// A node that goes on without snapshots would keep its whole log, and could receive none.
#[test]
fn snapshots_that_are_poisoned_are_a_failure_of_the_disk_each_time() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk);
    store.flush().unwrap();
    let build = || store.snapshots().build(&moment(LogId::new(1, 3)), &mut |out| out.write_all(b"the state"));
    // The file is synced, and then the directory.
    disk.fail_sync_after(1);
    let first = build().unwrap_err();
    assert!(first.reason.contains("the sync of a directory failed"), "{first}");
    let again = build().unwrap_err();
    assert!(again.reason.contains("until the node is restarted"), "{again}");
    let (snapshot, content) = from_elsewhere(LogId::new(3, 90));
    let received = store.snapshots().receive(&snapshot, 0, &content).unwrap_err();
    assert!(received.reason.contains("until the node is restarted"), "{received}");
}
