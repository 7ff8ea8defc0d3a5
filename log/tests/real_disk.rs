//! The log on real files: threads that write, prepare and read at once, and the kernel's lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use outrigger_log::{GroupId, Log, LogPosition, OpenError, OpenOptions, RealDisk, Record};

const GROUP: GroupId = GroupId(1);

fn options() -> OpenOptions {
    OpenOptions { segment_bytes: 32 << 10, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) }
}

fn payload(index: u64) -> Bytes {
    Bytes::from(index.to_le_bytes().repeat(1 + usize::try_from(index % 40).unwrap()))
}

#[test]
fn readers_see_only_whole_contiguous_entries_while_the_writer_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("made").join("on the way");
    let mut log = Log::open(RealDisk, &directory, options()).unwrap();
    let (reader, preparer) = (log.reader(), log.preparer());
    let done = AtomicBool::new(false);
    let last = 600;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < last {
                    let Ok(runs) = reader.entries(GROUP, seen + 1, seen + 1, usize::MAX) else {
                        thread::yield_now();
                        continue;
                    };
                    assert_eq!((runs.len(), runs[0].first, &runs[0].payloads[0]), (1, seen + 1, &payload(seen + 1)));
                    seen += 1;
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                preparer.prepare().unwrap();
                thread::yield_now();
            }
        });
        for first in (1..last).step_by(3) {
            let payloads = [payload(first), payload(first + 1), payload(first + 2)];
            log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false })
                .unwrap();
            log.flush().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    drop((log, preparer));
    let log = Log::open(RealDisk, &directory, options()).unwrap();
    assert_eq!((log.identity().start, log.reader().verify().unwrap()), (2, last));
}

#[test]
fn purged_segments_leave_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let mut log = Log::open(RealDisk, scratch.path(), options()).unwrap();
    let preparer = log.preparer();
    for index in 1..=500 {
        let payloads = [Bytes::from(vec![1; 400])];
        log.append(GROUP, Record::Entries { term: 1, first: index, log_time: 0, payloads: &payloads, marked: false })
            .unwrap();
        if index > 20 {
            log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: index - 20 } }).unwrap();
        }
        log.flush().unwrap();
        preparer.prepare().unwrap();
    }
    let files = std::fs::read_dir(scratch.path()).unwrap().count();
    assert!(files <= 7, "lock, identity, and a few segments: {files} files");
    drop((log, preparer));
    assert_eq!(Log::open(RealDisk, scratch.path(), options()).unwrap().reader().verify().unwrap(), 20);
}

#[test]
fn a_second_log_in_the_same_directory_is_refused_until_the_first_is_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let log = Log::open(RealDisk, scratch.path(), options()).unwrap();
    let error = Log::open(RealDisk, scratch.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(log);
    assert_eq!(Log::open(RealDisk, scratch.path(), options()).unwrap().identity().start, 2);
}
