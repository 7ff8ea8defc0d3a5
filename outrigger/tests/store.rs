//! Each store goes through the conformance suite: in memory, on a real disk, and on a simulated one that loses power
//! whenever a case closes its store.

use std::path::Path;

use outrigger::engine::{Batch, LogId, LogIndex, LogTime, Payload, Term, Vote};
use outrigger::store::{DurableStore, LogStore, MemoryStore, suite};
use outrigger_log::{FaultyDisk, OpenOptions, RealDisk};

/// Small segments, so that the cases cross from one to the next.
fn options() -> OpenOptions {
    OpenOptions { segment_bytes: 64 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) }
}

#[test]
fn the_log_in_memory_keeps_every_promise() {
    suite::run(|| {
        let place = MemoryStore::new();
        move || Box::new(place.clone()) as Box<dyn LogStore>
    });
}

#[test]
fn the_log_on_disk_keeps_every_promise() {
    suite::run(|| {
        let directory = tempfile::tempdir().unwrap();
        move || Box::new(DurableStore::open(RealDisk, directory.path(), options()).unwrap()) as Box<dyn LogStore>
    });
}

#[test]
fn the_log_keeps_every_promise_through_power_cuts() {
    for seed in 0..8 {
        let mut places = 0;
        suite::run(|| {
            places += 1;
            let (disk, mut cuts) = (FaultyDisk::new(), seed * 1000 + places * 100);
            move || {
                cuts += 1;
                disk.crash(cuts);
                let store = DurableStore::open(disk.clone(), Path::new("/data"), options()).unwrap();
                Box::new(store) as Box<dyn LogStore>
            }
        });
    }
}

#[test]
fn each_start_is_another_life_of_the_same_data() {
    let disk = FaultyDisk::new();
    let open = |nonce| {
        let options = OpenOptions { nonce, incarnation: nonce, ..options() };
        DurableStore::open(disk.clone(), Path::new("/data"), options).unwrap().identity()
    };
    let (first, second) = (open(5), open(6));
    assert_eq!((first.node.0, first.incarnation.id, first.incarnation.start, first.incarnation.nonce), (1, 5, 1, 5));
    assert_eq!((second.incarnation.id, second.incarnation.start, second.incarnation.nonce), (5, 2, 6));
}

#[test]
fn a_directory_in_use_is_refused() {
    let disk = FaultyDisk::new();
    let store = DurableStore::open(disk.clone(), Path::new("/data"), options()).unwrap();
    assert!(DurableStore::open(disk.clone(), Path::new("/data"), options()).is_err());
    drop(store);
    assert!(DurableStore::open(disk, Path::new("/data"), options()).is_ok());
}

#[test]
fn a_store_whose_sync_failed_answers_everything_with_the_first_error() {
    let disk = FaultyDisk::new();
    let mut store = DurableStore::open(disk.clone(), Path::new("/data"), options()).unwrap();
    store.save_vote(Vote { term: Term(1), voted_for: None }).unwrap();
    disk.fail_sync_after(0);
    let first = store.flush().unwrap_err();
    let batch = Batch::new(LogId::new(1, 1), LogTime(0), [Payload::blank()].into());
    assert_eq!(store.append(&[batch]), Err(first.clone()));
    assert_eq!(store.save_vote(Vote { term: Term(2), voted_for: None }), Err(first.clone()));
    assert_eq!(store.save_committed(LogIndex(0)), Err(first.clone()));
    assert_eq!(store.truncate(LogId::ZERO), Err(first.clone()));
    assert_eq!(store.flush(), Err(first.clone()));
    assert_eq!(store.restore(), Err(first));
}
