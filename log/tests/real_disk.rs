//! The log and snapshots on real files: threads that write, prepare and read at once, and the kernel's lock.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use outrigger_log::{
    GroupId, Log, LogPosition, OpenError, OpenOptions, RealDisk, Record, Snapshot, SnapshotError, SnapshotId, Snapshots,
};

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

/// An operator who takes the file for a leftover of a crash would have two processes write one log.
#[test]
fn whoever_removes_the_lock_files_does_not_open_what_is_in_use() {
    use outrigger_log::{Inspection, verify};

    let scratch = tempfile::tempdir().unwrap();
    let mut log = Log::open(RealDisk, scratch.path(), options()).unwrap();
    let snapshots = Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
    for name in ["lock", "snapshots/lock"] {
        std::fs::remove_file(scratch.path().join(name)).unwrap();
    }
    let refused = |error: OpenError| {
        let said = error.to_string();
        assert!(matches!(error, OpenError::Locked { path } if path == scratch.path()), "{said}");
        assert!(said.contains("find that process") && said.contains("do not remove"), "{said}");
    };
    refused(Inspection::open(RealDisk, scratch.path()).unwrap_err());
    refused(verify(&RealDisk, scratch.path(), &mut |_| {}).unwrap_err());
    refused(Log::open(RealDisk, scratch.path(), options()).unwrap_err());
    assert!(matches!(Snapshots::open(RealDisk, scratch.path(), 7), Err(SnapshotError::Locked { .. })));
    log.append(GROUP, Record::Vote { term: 1, voted_for: None }).unwrap();
    log.flush().unwrap();
    drop((log, snapshots));
    assert_eq!(Log::open(RealDisk, scratch.path(), options()).unwrap().identity().start, 2);
}

#[test]
fn snapshots_are_built_received_and_read_at_once_and_the_newest_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let body = |index: u64| Bytes::from(index.to_le_bytes().repeat(10_000 + usize::try_from(index).unwrap()));
    let at = |index| LogPosition { term: 1, index };
    let open = || Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
    let (snapshots, last, done) = (open(), 40, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for index in (2..=last).step_by(2) {
                let Ok(mut build) = snapshots.build(at(index), Bytes::new()) else { continue };
                build.write_all(&body(index)).unwrap();
                let finished = build.finish();
                assert!(matches!(finished, Ok(_) | Err(SnapshotError::Older { .. })), "{finished:?}");
            }
        });
        let receptions = scope.spawn(|| {
            let mut ends = Vec::new();
            for index in (1..=last + 1).step_by(2) {
                let (body, position) = (body(index), at(index));
                let id = SnapshotId { position, bytes: body.len() as u64, checksum: crc32c::crc32c(&body) };
                let Ok(mut receiver) = snapshots.receive(Snapshot { id, head: Bytes::new() }) else { continue };
                ends.push(receiver.write(0, &body).and_then(|_| receiver.finish()));
            }
            done.store(true, Ordering::Relaxed);
            ends
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let Some(newest) = snapshots.newest() else { continue };
                    assert!(newest.id.position.index >= seen, "the newest has become older");
                    seen = newest.id.position.index;
                    let Ok(reader) = snapshots.reader(newest.id) else { continue };
                    assert_eq!(reader.read_at(0, usize::MAX).unwrap(), body(seen));
                }
            });
        }
        // A build may overtake any of them but the last.
        let is_legal =
            |end: &Result<_, _>| matches!(end, Ok(_) | Err(SnapshotError::Older { .. } | SnapshotError::Ended { .. }));
        let ends = receptions.join().unwrap();
        assert!(ends.iter().all(is_legal) && ends.last().is_some_and(Result::is_ok), "{ends:?}");
    });
    assert_eq!(snapshots.newest().map(|newest| newest.id.position), Some(at(last + 1)));
    let files = std::fs::read_dir(scratch.path().join("snapshots")).unwrap().count();
    assert_eq!(files, 2, "the lock and the newest");
    assert!(matches!(Snapshots::open(RealDisk, scratch.path(), 7), Err(SnapshotError::Locked { .. })));
    drop(snapshots);
    let snapshots = open();
    let newest = snapshots.newest().unwrap();
    let mut read = Vec::new();
    snapshots.reader(newest.id).unwrap().body().read_to_end(&mut read).unwrap();
    assert_eq!(read, body(last + 1));
}

#[test]
fn a_log_and_its_snapshots_share_a_directory() {
    let scratch = tempfile::tempdir().unwrap();
    for start in 1..=2 {
        let log = Log::open(RealDisk, scratch.path(), options()).unwrap();
        let snapshots = Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
        let position = LogPosition { term: 1, index: start };
        snapshots.build(position, Bytes::new()).unwrap().finish().unwrap();
        assert_eq!(log.identity().start, start);
    }
}

#[test]
fn a_snapshot_that_is_cut_under_its_reader_is_damage_and_no_failure_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(RealDisk, directory.path(), 7).unwrap();
    let built = snapshots.build(LogPosition { term: 1, index: 3 }, Bytes::new()).unwrap().finish().unwrap();
    assert_eq!(snapshots.reader(built.id).unwrap().read_at(0, 9).unwrap(), Bytes::new());
    let mut build = snapshots.build(LogPosition { term: 1, index: 4 }, Bytes::new()).unwrap();
    build.write_all(b"all that was applied").unwrap();
    let reader = snapshots.reader(build.finish().unwrap().id).unwrap();
    let name = directory.path().join(format!("snapshots/snapshot-{:020}-{:020}", 4, 1));
    std::fs::OpenOptions::new().write(true).open(name).unwrap().set_len(70).unwrap();
    let error = reader.read_at(0, 9).unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Corrupt(found) if found.what.contains("cut short: 70 bytes are there, ")),
        "{error}"
    );
}

/// The lengths of the files without a name that this process holds and that had this one.
#[cfg(target_os = "linux")]
fn nameless(name: &str) -> Vec<u64> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let lengths = open.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let is_meant = target.to_str().is_some_and(|path| path.contains(name) && path.ends_with(" (deleted)"));
        is_meant.then(|| std::fs::metadata(entry.path()).ok().map(|of| of.len()))?
    });
    lengths.collect()
}

/// Measured: a disk that frees 1 GiB at once lets everybody who syncs wait for 50 to 100 ms, again and again.
#[test]
#[cfg(target_os = "linux")]
fn the_room_of_a_snapshot_is_given_back_bit_by_bit_once_nobody_reads_it() {
    let scratch = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
    let body: Vec<u8> = (0..24_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let build = |index| {
        let mut build = snapshots.build(LogPosition { term: 1, index }, Bytes::new()).unwrap();
        build.write_all(&body).unwrap();
        build.finish().unwrap()
    };
    let first = build(1);
    let name = std::fs::read_dir(scratch.path().join("snapshots")).unwrap().flatten().map(|entry| entry.file_name());
    let name = name.filter_map(|name| name.into_string().ok()).find(|name| name != "lock").unwrap();
    let path = format!("{}/snapshots/{name}", scratch.path().display());
    let mut reader = snapshots.reader(first.id).unwrap().body();
    build(2);
    assert!(
        matches!(nameless(&path)[..], [length] if length > body.len() as u64),
        "it is read yet: {:?}",
        nameless(&path)
    );
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == body, "a reader reads all of it, whatever has taken its place");
    drop(reader);
    let mut lengths = Vec::new();
    let began = std::time::Instant::now();
    while let [length, ..] = nameless(&path)[..] {
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "it shrinks to the end: {lengths:?}");
        if lengths.last() != Some(&length) {
            lengths.push(length);
        }
        thread::yield_now();
    }
    assert!(lengths.len() >= 3 && lengths.is_sorted_by(|before, after| before > after), "{lengths:?}");
    assert!(lengths[0] > 8 << 20, "not all of it at once: {lengths:?}");
    assert_eq!(snapshots.newest().unwrap().id.position.index, 2);
    // The newest one has a name: to close it takes nothing of it.
    let newest = snapshots.newest().unwrap().id;
    drop(snapshots);
    let again = Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
    let mut read = Vec::new();
    again.reader(newest).unwrap().body().read_to_end(&mut read).unwrap();
    assert!(read == body);
}

/// In a process of its own, which may have few files open: all of them are taken, as clients may take them.
#[test]
#[cfg(target_os = "linux")]
fn a_process_that_has_run_out_of_open_files_goes_on_and_tries_again() {
    const CHILD: &str = "OUTRIGGER_LOG_FEW_FILES";
    if std::env::var_os(CHILD).is_some() {
        return with_few_files();
    }
    let name = "a_process_that_has_run_out_of_open_files_goes_on_and_tries_again";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("it has gone on"), "{said}");
}

#[cfg(target_os = "linux")]
fn with_few_files() {
    use outrigger_log::{FlushError, PrepareError, ReadError};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let scratch = tempfile::tempdir().unwrap();
    let mut log = Log::open(RealDisk, scratch.path(), options()).unwrap();
    let snapshots = Snapshots::open(RealDisk, scratch.path(), 7).unwrap();
    let at = |index| LogPosition { term: 1, index };
    let flush = |log: &mut Log, first| {
        let payloads = [Bytes::from(vec![1; 3 << 10])];
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false }).unwrap();
        log.flush()
    };
    flush(&mut log, 1).unwrap();
    let mut build = snapshots.build(at(1), Bytes::new()).unwrap();
    build.write_all(b"the state").unwrap();

    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) }).unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty());
    // What has its file goes on: neither its name nor that of the older one needs another.
    build.finish().unwrap();
    // What needs one is put off.
    let error = log.preparer().prepare().unwrap_err();
    assert!(matches!(&error, PrepareError::DiskFull(error) if error.is_scarce()), "{error}");
    assert!(error.to_string().contains("raise the limit of open files"), "{error}");
    let error = snapshots.build(at(1), Bytes::new()).unwrap_err();
    assert!(error.is_full() && error.to_string().contains("raise the limit of open files"), "{error}");
    let error = log.reader().entries(GROUP, 1, 1, 0).unwrap_err();
    assert!(matches!(&error, ReadError::Disk(error) if error.is_scarce()), "{error}");
    let (full, last) = (2..).find_map(|index| Some((flush(&mut log, index).err()?, index))).unwrap();
    assert!(matches!(&full, FlushError::DiskFull { source, .. } if source.is_scarce()), "{full}");
    assert!(last > 5, "the segment in use was not full at {last}");

    drop(taken);
    log.flush().unwrap();
    assert!(log.preparer().prepare().unwrap());
    assert_eq!(log.reader().verify().unwrap(), last);
    assert_eq!(snapshots.newest().unwrap().id.position, at(1));
    snapshots.build(at(2), Bytes::new()).unwrap().finish().unwrap();
    println!("it has gone on");
}
