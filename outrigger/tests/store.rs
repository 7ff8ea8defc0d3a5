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

/// Rot in the very last write looks like a write that was cut short, and is cut. A log that has rested knows better.
#[test]
fn rot_in_the_last_write_is_refused_once_the_log_has_rested() {
    for rests in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
        store.restore().unwrap();
        let payload = Payload::command(bytes::Bytes::from_static(b"what was promised"));
        store.append(&[Batch::new(LogId::new(1, 1), LogTime(0), std::sync::Arc::new([payload]))]).unwrap();
        store.flush().unwrap();
        if rests {
            store.rest().unwrap();
        }
        drop(store);
        assert!(flip(directory.path(), b"promised"), "the entry is in one of the files");
        let opened = DurableStore::open(RealDisk, directory.path(), options());
        match (rests, opened) {
            (true, Err(error)) => assert!(error.to_string().contains("offset"), "{error}"),
            (false, Ok(mut store)) => assert_eq!(store.restore().unwrap().last, LogId::ZERO),
            (_, opened) => panic!("rested: {rests}, and then {opened:?}"),
        }
    }
}

/// Nothing can stand for what is gone: the node must not begin anew in the middle of its log.
#[test]
fn a_log_whose_snapshots_are_gone_is_refused() {
    let purged = |store: &mut dyn LogStore| {
        let entries: [Payload; 3] = std::array::from_fn(|_| Payload::blank());
        store.append(&[Batch::new(LogId::new(1, 1), LogTime(0), entries.into())]).unwrap();
        store.purge(LogId::new(1, 2)).unwrap();
        store.flush().unwrap();
    };
    let mut store = MemoryStore::new();
    purged(&mut store);
    let error = store.restore().unwrap_err();
    assert_eq!(error.reason, "the log begins behind 1/2, but its snapshot covers no more than 0/0");
    let disk = FaultyDisk::new();
    purged(&mut DurableStore::open(disk.clone(), Path::new("/data"), options()).unwrap());
    let error = DurableStore::open(disk, Path::new("/data"), options()).unwrap().restore().unwrap_err();
    let expected = "the log of node 1 begins behind 1/2, but its snapshots cover no more than 0/0: were files removed?";
    assert!(error.reason.starts_with(expected), "{error}");
    // An empty directory under the id of a member is refused by the others for good: whoever empties it first is told too late.
    let way_back =
        ["put them back", "remove node 1 from the members", "empty this directory", "as a learner", "promote it"];
    let said = way_back.map(|step| error.reason.find(step));
    assert!(said.iter().all(Option::is_some) && said.is_sorted(), "{error}");
}

/// Flips a bit in the first file that holds these bytes.
fn flip(directory: &Path, wanted: &[u8]) -> bool {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // Snapshots, of which there are none.
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return true;
        }
    }
    false
}
