//! Snapshots as files of their own: saved whole or not at all, and whatever is wrong with one is found.

use std::path::Path;

use bytes::Bytes;
use outrigger_log::{Disk, FaultyDisk, SnapshotError, SnapshotFileWriter, SnapshotReader};

use crate::scene::{BLOCK, CLUSTER, announced, at, body, build, cut_power, head, open, path_of};

fn file() -> &'static Path {
    Path::new("/backup/monday")
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_directory(Path::new("/backup")).unwrap();
    disk
}

fn save(disk: &FaultyDisk, head: &Bytes, body: &[u8]) -> Result<(), SnapshotError> {
    let mut saving = SnapshotFileWriter::create(disk.clone(), file(), CLUSTER, &announced(at(9), head, body))?;
    for piece in body.chunks(1_000) {
        saving.write(piece)?;
    }
    saving.finish()
}

/// The body of the file, or what is wrong with it.
fn read(disk: &FaultyDisk) -> Result<Vec<u8>, SnapshotError> {
    let reader = SnapshotReader::open_file(disk, file())?;
    let mut done = Vec::new();
    reader.verify(&mut |bytes| done.push(bytes))?;
    let bytes = reader.snapshot().id.bytes;
    assert_eq!(done.last().copied().unwrap_or(0), bytes);
    let read = reader.read_at(0, usize::try_from(bytes).unwrap())?;
    Ok(read.to_vec())
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    disk.list(Path::new("/backup")).unwrap()
}

#[test]
fn a_saved_file_has_the_bytes_of_a_node_and_survives_a_power_cut() {
    for length in [0, 1, BLOCK, 2 * BLOCK + 7] {
        let (disk, head, body) = (disk(), head("members"), body(length));
        save(&disk, &head, &body).unwrap();
        cut_power(&disk);
        assert_eq!(names(&disk), ["monday"]);
        assert_eq!(read(&disk).unwrap(), body);
        let node = FaultyDisk::new();
        build(&open(&node), at(9), &head, &body).unwrap();
        assert_eq!(disk.bytes_of(file()), node.bytes_of(&path_of(at(9))));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found_with_its_offset() {
    let disk = disk();
    save(&disk, &head("members"), &body(150)).unwrap();
    let whole = disk.bytes_of(file()).unwrap();
    for offset in 0..whole.len() as u64 {
        let rotten = disk.fork();
        assert!(rotten.flip_bit(file(), offset, 3));
        match read(&rotten) {
            Err(SnapshotError::Corrupt(found)) => assert!(found.offset <= offset && found.file == file(), "{found}"),
            // A version that is later than ours.
            Err(SnapshotError::NewerFormat { .. }) => assert!((8..12).contains(&offset)),
            other => panic!("{offset}: {other:?}"),
        }
    }
    for length in 0..whole.len() {
        let cut = self::disk();
        let file_there = cut.create(file()).unwrap();
        outrigger_log::DiskFile::write_all_at(&file_there, &whole[..length], 0).unwrap();
        let found = read(&cut);
        assert!(matches!(found, Err(SnapshotError::Corrupt(_))), "{length} bytes: {found:?}");
    }
}

#[test]
fn a_file_that_is_not_finished_leaves_what_was_there() {
    let (disk, head) = (disk(), head("members"));
    save(&disk, &head, b"older").unwrap();
    let snapshot = announced(at(9), &head, b"newer than that");
    let begin = || SnapshotFileWriter::create(disk.clone(), file(), CLUSTER, &snapshot).unwrap();
    drop(begin());
    let mut saving = begin();
    saving.write(b"newer").unwrap();
    assert!(matches!(
        SnapshotFileWriter::create(disk.clone(), file(), CLUSTER, &snapshot),
        Err(SnapshotError::Locked { .. })
    ));
    assert!(matches!(saving.finish(), Err(SnapshotError::Incomplete { held: 5, bytes: 15 })));
    assert_eq!(names(&disk), ["monday"]);
    let mut saving = begin();
    saving.write(b"newer THAN that").unwrap();
    assert!(matches!(saving.finish(), Err(SnapshotError::NotAsAnnounced { .. })));
    assert_eq!(names(&disk), ["monday"]);
    let mut saving = begin();
    assert!(matches!(saving.write(b"newer than that one"), Err(SnapshotError::Beyond { end: 19, bytes: 15 })));
    drop(saving);
    assert_eq!(names(&disk), ["monday"]);
    assert_eq!(read(&disk).unwrap(), b"older");
}

#[test]
fn a_crash_at_any_step_leaves_the_older_file_or_the_newer_one() {
    let head = head("members");
    let (older, newer) = (b"older".to_vec(), body(BLOCK + 9));
    let mut seen = [false; 2];
    for step in 0..40 {
        for seed in 0..8 {
            let disk = disk();
            save(&disk, &head, &older).unwrap();
            disk.power_off_after(step);
            let saved = save(&disk, &head, &newer);
            disk.crash(seed);
            let found = read(&disk).unwrap();
            assert!(found == older || found == newer, "step {step}, seed {seed}");
            assert!(saved.is_err() || found == newer, "step {step}, seed {seed}: it was said to be saved");
            seen[usize::from(found == newer)] = true;
            // What a crash has left is in nobody's way.
            save(&disk, &head, &newer).unwrap();
            assert_eq!(names(&disk), ["monday"]);
        }
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_left() {
    let disk = disk();
    disk.limit_bytes(Some(BLOCK as u64));
    let (head, body) = (head("members"), body(3 * BLOCK));
    let mut saving =
        SnapshotFileWriter::create(disk.clone(), file(), CLUSTER, &announced(at(9), &head, &body)).unwrap();
    let mut failures = body.chunks(BLOCK).filter_map(|piece| saving.write(piece).err());
    assert!(failures.next().unwrap().is_full());
    assert!(matches!(failures.next(), Some(SnapshotError::Ended { .. })));
    assert!(matches!(saving.finish(), Err(SnapshotError::Ended { .. })));
    assert_eq!(names(&disk), Vec::<String>::new());
}

/// Found by reading: the file of an operator who replaced it while it was restored from was cut, for everybody who had it open.
#[test]
fn only_what_a_directory_has_replaced_gives_its_room_back() {
    let disk = disk();
    save(&disk, &head(""), &body(3 * BLOCK)).unwrap();
    let reader = SnapshotReader::open_file(&disk, file()).unwrap();
    disk.remove(file()).unwrap();
    drop(reader);
    assert_eq!(disk.counts().given_back, 0, "it is somebody else's");

    let snapshots = open(&disk);
    let older = build(&snapshots, at(5), &head(""), &body(3 * BLOCK)).unwrap();
    let reader = snapshots.reader(older.id).unwrap();
    build(&snapshots, at(9), &head(""), &body(3 * BLOCK)).unwrap();
    assert_eq!(disk.counts().given_back, 0, "it is read");
    drop(reader);
    assert_eq!(disk.counts().given_back, 1);
    disk.fail_removals(true);
    build(&snapshots, at(12), &head(""), b"newest").unwrap();
    assert_eq!(disk.counts().given_back, 1, "it has its name yet");
    drop(snapshots);
    assert_eq!(disk.counts().given_back, 1, "the newest stays");
}
