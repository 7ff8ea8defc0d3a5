//! Full disks, failed writes and failed syncs.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use outrigger_log::{Access, Disk, DiskFile, FaultyDisk, FaultyFile, FaultyLock, Snapshot, SnapshotError, Snapshots};

use crate::scene::{
    BLOCK, announced, at, body, build, cut_power, head, names, open, path_of, read, receive, send, try_open,
};

/// A way to make a snapshot.
type Make = fn(&Snapshots<FaultyDisk>, &Snapshot, &[u8]) -> Result<Snapshot, SnapshotError>;

const WAYS: [(&str, Make); 2] = [
    ("built", |snapshots, snapshot, body| build(snapshots, snapshot.id.position, &snapshot.head, body)),
    ("received", |snapshots, snapshot, body| receive(snapshots, snapshot, body, 20_000)),
];

/// A disk with an old snapshot, which is the newest, and that snapshot.
fn with_old() -> (FaultyDisk, Snapshots<FaultyDisk>, Snapshot) {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let old = build(&snapshots, at(3), &head("old"), &body(700)).unwrap();
    (disk, snapshots, old)
}

#[test]
fn a_disk_that_is_full_at_any_byte_leaves_nothing_behind_and_the_newest_one_usable() {
    for length in [0, 90, BLOCK + 90] {
        let body_new = body(length);
        let new = announced(at(9), &head("members"), &body_new);
        let bytes = 64 + 7 + length + 4 * length.div_ceil(BLOCK) + 40;
        for (way, make) in WAYS {
            for room in (0..bytes).step_by(if length > BLOCK { 1_009 } else { 1 }).chain([bytes - 1]) {
                let (disk, snapshots, old) = with_old();
                let before = disk.files();
                disk.limit_bytes(Some(disk.bytes_held() + room as u64));
                let error = make(&snapshots, &new, &body_new).unwrap_err();
                assert!(error.is_full(), "{way}, room for {room} of {bytes} bytes: {error}");
                assert_eq!(disk.files(), before, "{way}, room for {room} of {bytes} bytes: something is left");
                assert_eq!(read(&snapshots).unwrap(), Some((old, body(700))));
                disk.limit_bytes(Some(disk.bytes_held() + bytes as u64));
                assert_eq!(make(&snapshots, &new, &body_new).unwrap(), new, "{way}, once there is room");
            }
        }
    }
}

#[test]
fn a_full_disk_is_no_obstacle_to_a_start() {
    let (disk, snapshots, old) = with_old();
    drop(snapshots);
    disk.limit_bytes(Some(disk.bytes_held()));
    assert_eq!(open(&disk).newest(), Some(old));
}

#[test]
fn a_write_that_fails_ends_the_build_and_finish_says_why() {
    let (disk, snapshots, _) = with_old();
    let mut build = snapshots.build(at(9), Bytes::new()).unwrap();
    disk.limit_bytes(Some(disk.bytes_held() + 1_000));
    assert_eq!(build.write(&body(2 * BLOCK)).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(!names(&disk).contains(&"building".to_owned()), "given back at once");
    disk.limit_bytes(None);
    assert_eq!(build.write(b"more").unwrap_err().kind(), ErrorKind::Other, "it is over, also once there is room");
    let error = build.finish().unwrap_err();
    assert!(error.is_full(), "{error}");
}

#[test]
fn a_write_that_fails_at_any_time_leaves_nothing_half_made() {
    let (bytes, mut failed) = (body(2 * BLOCK + 7), 0);
    let new = announced(at(9), &head("members"), &bytes);
    for (way, make) in WAYS {
        for writes in 0.. {
            let (disk, snapshots, old) = with_old();
            disk.fail_write_after(writes);
            let Err(error) = make(&snapshots, &new, &bytes) else { break };
            assert!(matches!(error, SnapshotError::Disk(_)), "{way}, write {writes}: {error}");
            assert_eq!(snapshots.newest(), Some(old), "{way}, write {writes}");
            // The next one is right, whatever the failed write has left.
            assert_eq!(make(&snapshots, &new, &bytes).unwrap(), new, "{way}, write {writes}");
            assert_eq!(read(&snapshots).unwrap(), Some((new.clone(), bytes.clone())), "{way}, write {writes}");
            failed += 1;
        }
    }
    assert!(failed >= 2 * 5, "only {failed} writes have failed");
}

#[test]
fn a_reception_whose_write_has_failed_is_over_and_the_next_one_holds_what_verifies() {
    let (disk, bytes) = (FaultyDisk::new(), body(3 * BLOCK));
    let (snapshots, snapshot) = (open(&disk), announced(at(9), &head(""), &bytes));
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &bytes[..BLOCK], BLOCK).unwrap();
    disk.fail_write_after(0);
    assert!(matches!(send(&mut receiver, &bytes, BLOCK).unwrap_err(), SnapshotError::Disk(_)));
    assert!(matches!(receiver.write(0, &bytes).unwrap_err(), SnapshotError::Ended { .. }));
    assert!(matches!(receiver.finish().unwrap_err(), SnapshotError::Ended { .. }));
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    assert_eq!(receiver.held(), BLOCK as u64);
    send(&mut receiver, &bytes, BLOCK).unwrap();
    assert_eq!(receiver.finish().unwrap(), snapshot);
}

#[test]
fn a_file_whose_sync_has_failed_is_never_used() {
    let bytes = body(2 * BLOCK + 7);
    let new = announced(at(9), &head("members"), &bytes);
    for (way, make) in WAYS {
        let (disk, snapshots, old) = with_old();
        disk.fail_sync_after(0);
        let error = make(&snapshots, &new, &bytes).unwrap_err();
        assert!(matches!(&error, SnapshotError::Disk(error) if error.operation == "sync"), "{way}: {error}");
        assert_eq!((snapshots.newest(), names(&disk).len()), (Some(old), 2), "{way}: what may be lost is gone");
        // A disk that lies reads well until its power is cut.
        make(&snapshots, &new, &bytes).unwrap();
        drop(snapshots);
        cut_power(&disk);
        assert_eq!(read(&open(&disk)).unwrap(), Some((new.clone(), bytes.clone())), "{way}");
    }
}

/// Found by reading: what a failed sync had lost read well, and was resumed, where the file could not be removed at once.
#[test]
fn what_is_resumed_is_durable_in_the_end_though_a_sync_had_failed_and_the_file_stayed() {
    let (disk, bytes) = (FaultyDisk::new(), body(6 * BLOCK + 7));
    let (snapshots, snapshot) = (open(&disk), announced(at(9), &head("members"), &bytes));
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    disk.fail_sync_after(0);
    disk.fail_removals(true);
    assert!(matches!(send(&mut receiver, &bytes, BLOCK).unwrap_err(), SnapshotError::Disk(_)));
    disk.fail_removals(false);
    disk.kill();
    let snapshots = open(&disk);
    assert_eq!(snapshots.receive(snapshot.clone()).unwrap().held(), 4 * BLOCK as u64);
    assert_eq!(receive(&snapshots, &snapshot, &bytes, BLOCK).unwrap(), snapshot);
    cut_power(&disk);
    assert_eq!(read(&open(&disk)).unwrap(), Some((snapshot, bytes)));
}

#[test]
fn a_directory_whose_sync_has_failed_is_only_read_from_until_the_next_open() {
    let bytes = body(BLOCK + 7);
    let (new, newer) = (announced(at(9), &head("members"), &bytes), announced(at(12), &head(""), b"newer"));
    for (way, make) in WAYS {
        let (disk, snapshots, old) = with_old();
        disk.fail_sync_after(1);
        let error = make(&snapshots, &new, &bytes).unwrap_err();
        assert!(matches!(&error, SnapshotError::Disk(error) if error.operation == "sync"), "{way}: {error}");
        assert_eq!(read(&snapshots).unwrap(), Some((old.clone(), body(700))), "{way}");
        assert!(disk.bytes_of(&path_of(at(3))).is_some(), "{way}: the older one stays while the newer is in doubt");
        let refused =
            [snapshots.build(at(12), Bytes::new()).unwrap_err(), snapshots.receive(newer.clone()).unwrap_err()];
        refused.iter().for_each(|error| assert!(matches!(error, SnapshotError::Poisoned { .. }), "{way}: {error}"));
        drop(snapshots);
        for choice in 0..8 {
            let crashed = disk.fork();
            crashed.crash(choice);
            let found = read(&open(&crashed)).unwrap().unwrap();
            assert!([(&old, &body(700)), (&new, &bytes)].contains(&(&found.0, &found.1)), "{way}: {found:?}");
        }
    }
}

#[test]
fn a_sync_of_the_directory_that_says_that_the_disk_is_full_is_no_want_of_room() {
    for (way, make) in WAYS {
        let (disk, snapshots, _) = with_old();
        disk.fail_sync_with(ErrorKind::StorageFull, 1);
        let error = make(&snapshots, &announced(at(9), &head(""), b"new"), b"new").unwrap_err();
        assert!(matches!(error, SnapshotError::Disk(_)), "{way}: {error}");
    }
}

#[test]
fn a_build_that_was_begun_before_the_directory_was_poisoned_does_not_come_into_force() {
    let (disk, snapshots, old) = with_old();
    let mut build = snapshots.build(at(12), Bytes::new()).unwrap();
    build.write_all(b"late").unwrap();
    disk.fail_sync_after(1);
    receive(&snapshots, &announced(at(9), &head(""), b"new"), b"new", 9).unwrap_err();
    assert!(matches!(build.finish().unwrap_err(), SnapshotError::Poisoned { .. }));
    assert_eq!(snapshots.newest(), Some(old));
}

#[test]
fn a_start_whose_sync_fails_removes_nothing() {
    let (disk, snapshots, _) = with_old();
    let file = disk.bytes_of(&path_of(at(3))).unwrap();
    build(&snapshots, at(9), &head(""), b"newer").unwrap();
    drop(snapshots);
    crate::promises::plant(&disk, path_of(at(3)).file_name().unwrap().to_str().unwrap(), &file);
    let before = disk.files();
    disk.fail_sync_after(0);
    assert!(matches!(try_open(&disk).unwrap_err(), SnapshotError::Disk(_)));
    assert_eq!(disk.files(), before);
}

#[test]
fn an_older_one_that_could_not_be_removed_goes_with_the_next() {
    let (disk, snapshots, _) = with_old();
    disk.fail_removals(true);
    build(&snapshots, at(9), &head(""), b"newer").unwrap();
    assert!(disk.bytes_of(&path_of(at(3))).is_some(), "it stays");
    disk.fail_removals(false);
    build(&snapshots, at(12), &head(""), b"newest").unwrap();
    assert_eq!(names(&disk), ["lock", path_of(at(12)).file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn short_writes_are_gone_on_with() {
    let bytes = body(BLOCK + 7);
    let new = announced(at(9), &head("members"), &bytes);
    for (way, make) in WAYS {
        for writes in 0..6 {
            let (disk, snapshots, _) = with_old();
            disk.short_write_after(writes);
            make(&snapshots, &new, &bytes).unwrap();
            assert_eq!(read(&snapshots).unwrap(), Some((new.clone(), bytes.clone())), "{way}, write {writes}");
        }
    }
}

/// A disk that remembers the largest piece that was read or written at once.
#[derive(Clone)]
struct Measured(FaultyDisk, Arc<AtomicUsize>);

struct MeasuredFile(FaultyFile, Arc<AtomicUsize>);

impl Measured {
    fn file(&self, file: FaultyFile) -> MeasuredFile {
        MeasuredFile(file, Arc::clone(&self.1))
    }
}

impl Disk for Measured {
    type File = MeasuredFile;
    type Lock = FaultyLock;

    fn create_directory(&self, directory: &std::path::Path) -> std::io::Result<()> {
        self.0.create_directory(directory)
    }

    fn list(&self, directory: &std::path::Path) -> std::io::Result<Vec<String>> {
        self.0.list(directory)
    }

    fn create(&self, path: &std::path::Path) -> std::io::Result<MeasuredFile> {
        self.0.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &std::path::Path, access: Access) -> std::io::Result<MeasuredFile> {
        self.0.open(path, access).map(|file| self.file(file))
    }

    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.0.remove(path)
    }

    fn sync_directory(&self, directory: &std::path::Path) -> std::io::Result<()> {
        self.0.sync_directory(directory)
    }

    fn lock(&self, path: &std::path::Path) -> std::io::Result<FaultyLock> {
        self.0.lock(path)
    }

    fn lock_directory(&self, directory: &std::path::Path) -> std::io::Result<FaultyLock> {
        self.0.lock_directory(directory)
    }
}

impl DiskFile for MeasuredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.1.fetch_max(buffer.len(), Ordering::Relaxed);
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
        self.1.fetch_max(bytes.len(), Ordering::Relaxed);
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> std::io::Result<()> {
        self.0.sync_all()
    }

    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }
}

#[test]
fn whatever_is_done_no_more_than_a_block_is_read_or_written_at_once() {
    let (largest, bytes) = (Arc::new(AtomicUsize::new(0)), body(9 * BLOCK + 1));
    let disk = Measured(FaultyDisk::new(), Arc::clone(&largest));
    let snapshots = open(&disk);
    let built = build(&snapshots, at(9), &head(""), &bytes).unwrap();
    assert_eq!(read(&snapshots).unwrap().unwrap().1, bytes);
    snapshots.reader(built.id).unwrap().read_at(0, usize::MAX).unwrap();
    let new = announced(at(12), &head(""), &bytes);
    let mut receiver = snapshots.receive(new.clone()).unwrap();
    send(&mut receiver, &bytes[..5 * BLOCK], 4 * BLOCK).unwrap();
    drop((receiver, snapshots));
    receive(&open(&disk), &new, &bytes, 4 * BLOCK).unwrap();
    assert_eq!(largest.load(Ordering::Relaxed), BLOCK + 4);
}

/// So that who syncs another file on the same disk, such as the log, does not wait for all of it.
#[test]
fn no_more_than_a_part_of_a_large_snapshot_is_left_unsynced() {
    for (way, make) in WAYS {
        let syncs = |blocks: usize| {
            let (disk, snapshots, _) = with_old();
            let (before, large) = (disk.counts().syncs, body(blocks * BLOCK));
            make(&snapshots, &announced(at(9), &head("large"), &large), &large).unwrap();
            disk.counts().syncs - before
        };
        assert_eq!(syncs(12), syncs(1) + 3, "{way}: once every four blocks");
    }
}

/// What reads well after a failed sync may be lost all the same: it must not be gone on with.
#[test]
fn a_sync_that_fails_on_the_way_leaves_nothing_that_is_gone_on_with() {
    let large = body(9 << 20);
    let new = announced(at(9), &head("large"), &large);
    for (way, make) in WAYS {
        let (disk, snapshots, old) = with_old();
        disk.fail_sync_after(1);
        let error = make(&snapshots, &new, &large).unwrap_err();
        assert!(matches!(&error, SnapshotError::Disk(error) if error.operation == "sync"), "{way}: {error}");
        assert_eq!(names(&disk).len(), 2, "{way}: the lock and the old one, but {:?}", names(&disk));
        assert_eq!(read(&snapshots).unwrap(), Some((old, body(700))), "{way}");
    }
}

#[test]
fn a_reception_that_cannot_be_opened_for_want_of_files_is_kept() {
    let (disk, bytes) = (FaultyDisk::new(), body(3 * BLOCK));
    let (snapshots, snapshot) = (open(&disk), announced(at(9), &head(""), &bytes));
    send(&mut snapshots.receive(snapshot.clone()).unwrap(), &bytes[..2 * BLOCK], BLOCK).unwrap();
    disk.run_out_of_files(true);
    assert!(matches!(snapshots.receive(snapshot.clone()), Err(SnapshotError::DiskFull(_))));
    disk.run_out_of_files(false);
    assert_eq!(snapshots.receive(snapshot).unwrap().held(), 2 * BLOCK as u64);
}

#[test]
fn snapshots_of_which_either_lock_is_held_are_not_opened() {
    let (disk, snapshots, _) = with_old();
    drop(snapshots);
    let directory = crate::scene::directory().join("snapshots");
    let file = disk.lock(&directory.join("lock")).unwrap();
    assert!(matches!(try_open(&disk), Err(SnapshotError::Locked { .. })));
    drop(file);
    let itself = disk.lock_directory(&directory).unwrap();
    assert!(matches!(try_open(&disk), Err(SnapshotError::Locked { .. })));
    drop(itself);
    open(&disk);
}
