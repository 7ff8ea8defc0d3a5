//! Building, receiving, reading and replacing, as long as nothing fails.

use std::io::Write;

use bytes::Bytes;
use outrigger_log::{Disk, FaultyDisk, LogPosition, SNAPSHOT_HEAD_BYTES_MAX, SnapshotError, SnapshotId, Snapshots};

use crate::scene::{
    BLOCK, announced, at, body, build, cut_power, directory, head, names, open, path, path_of, read, receive, send,
};

const LENGTHS: [usize; 8] = [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 4 * BLOCK + 77];

#[test]
fn what_is_built_reads_back_whole_and_in_pieces_and_survives_a_restart() {
    for length in LENGTHS {
        let (disk, body, head) = (FaultyDisk::new(), body(length), head("members"));
        let snapshots = open(&disk);
        assert_eq!(snapshots.newest(), None);
        let built = build(&snapshots, at(9), &head, &body).unwrap();
        assert_eq!(built, announced(at(9), &head, &body));
        drop(snapshots);
        cut_power(&disk);
        let snapshots = open(&disk);
        assert_eq!(read(&snapshots).unwrap(), Some((built.clone(), body.clone())), "{length} bytes");
        let reader = snapshots.reader(built.id).unwrap();
        assert_eq!(reader.snapshot(), &built);
        for (offset, bytes_max) in [(0, 1), (0, length), (1, BLOCK), (BLOCK - 1, 2), (BLOCK, BLOCK), (length, 5)] {
            let expected = body.get(offset..).unwrap_or_default();
            let found = reader.read_at(offset as u64, bytes_max).unwrap();
            assert_eq!(found, expected[..expected.len().min(bytes_max)], "{length} bytes, {bytes_max} at {offset}");
        }
        assert_eq!(reader.read_at(u64::MAX, usize::MAX).unwrap(), Bytes::new());
        assert_eq!(reader.read_at(0, usize::MAX).unwrap(), body);
    }
}

#[test]
fn what_is_written_in_pieces_of_any_size_is_the_same_snapshot() {
    let (body, head) = (body(2 * BLOCK + 9), head("h"));
    let expected = announced(at(9), &head, &body);
    for piece in [1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
        let snapshots = open(&FaultyDisk::new());
        let mut build = snapshots.build(at(9), head.clone()).unwrap();
        body.chunks(piece).for_each(|piece| build.write_all(piece).unwrap());
        assert_eq!(build.bytes(), body.len() as u64);
        assert_eq!(build.finish().unwrap(), expected);
        assert_eq!(read(&snapshots).unwrap().unwrap().1, body, "in pieces of {piece}");
    }
}

#[test]
fn what_is_received_in_chunks_of_any_size_is_what_was_built() {
    for length in LENGTHS {
        for chunk in [977, BLOCK, BLOCK + 1, 5 * BLOCK] {
            let (disk, body, head) = (FaultyDisk::new(), body(length), head("members"));
            let (snapshots, snapshot) = (open(&disk), announced(at(9), &head, &body));
            assert_eq!(receive(&snapshots, &snapshot, &body, chunk).unwrap(), snapshot);
            drop(snapshots);
            cut_power(&disk);
            assert_eq!(read(&open(&disk)).unwrap(), Some((snapshot, body)), "{length} bytes in chunks of {chunk}");
        }
    }
}

#[test]
fn both_ways_make_the_same_file_byte_by_byte() {
    let (body, head) = (body(BLOCK + 5), head("members"));
    let (built, received) = (FaultyDisk::new(), FaultyDisk::new());
    let snapshot = build(&open(&built), at(9), &head, &body).unwrap();
    receive(&open(&received), &snapshot, &body, 1_000).unwrap();
    assert_eq!(built.bytes_of(&path_of(at(9))), received.bytes_of(&path_of(at(9))));
    assert_eq!(built.bytes_of(&path_of(at(9))).unwrap().len(), 64 + 7 + body.len() + 2 * 4 + 40);
}

#[test]
fn a_newer_snapshot_replaces_the_older_one_and_leaves_no_file_of_it() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    build(&snapshots, at(9), &head("first"), b"one").unwrap();
    let second = build(&snapshots, at(12), &head("second"), b"two").unwrap();
    assert_eq!(snapshots.newest(), Some(second.clone()));
    let third = announced(at(15), &head("third"), b"three");
    receive(&snapshots, &third, b"three", 2).unwrap();
    assert_eq!(read(&snapshots).unwrap(), Some((third, b"three".to_vec())));
    assert_eq!(names(&disk), ["lock", path_of(at(15)).file_name().unwrap().to_str().unwrap()]);
    assert!(matches!(snapshots.reader(second.id), Err(SnapshotError::Unknown { newest: Some(_), .. })));
}

#[test]
fn another_snapshot_at_the_same_position_replaces_the_first() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let first = build(&snapshots, at(9), &head("a"), b"one").unwrap();
    let reader = snapshots.reader(first.id).unwrap();
    let second = build(&snapshots, at(9), &head("b"), b"another").unwrap();
    assert!(snapshots.reader(first.id).is_err());
    assert_eq!(reader.read_at(0, 9).unwrap(), &b"one"[..]);
    drop((snapshots, reader));
    cut_power(&disk);
    assert_eq!(read(&open(&disk)).unwrap(), Some((second, b"another".to_vec())));
}

#[test]
fn a_snapshot_that_is_older_than_the_newest_is_refused_before_anything_is_written() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    build(&snapshots, at(9), &head(""), b"newest").unwrap();
    let before = disk.files();
    for position in [at(8), LogPosition { term: 1, index: 9 }, LogPosition { term: 1, index: 70 }] {
        let refused = [
            snapshots.build(position, Bytes::new()).unwrap_err(),
            snapshots.receive(announced(position, &Bytes::new(), b"x")).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, SnapshotError::Older { newest, .. } if newest == at(9)), "{error}");
        }
    }
    assert_eq!(disk.files(), before);
}

#[test]
fn what_was_overtaken_while_it_was_made_never_comes_into_force() {
    let (disk, older) = (FaultyDisk::new(), announced(at(9), &head(""), b"older"));
    let snapshots = open(&disk);
    let mut late = snapshots.build(at(9), Bytes::new()).unwrap();
    late.write_all(b"older").unwrap();
    let newest = announced(at(12), &head(""), b"newest");
    receive(&snapshots, &newest, b"newest", 9).unwrap();
    assert!(matches!(late.finish().unwrap_err(), SnapshotError::Older { .. }));
    assert_eq!(snapshots.newest(), Some(newest.clone()));

    // And the other way round: a build overtakes a reception.
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let mut late = snapshots.receive(older).unwrap();
    build(&snapshots, at(12), &head(""), b"newest").unwrap();
    assert!(!names(&disk).contains(&"receiving".to_owned()), "nobody can finish it any more");
    assert!(matches!(late.write(0, b"older").unwrap_err(), SnapshotError::Ended { .. }));
    assert!(matches!(late.finish().unwrap_err(), SnapshotError::Ended { .. }));
    assert_eq!(snapshots.newest(), Some(newest));
}

#[test]
fn one_build_at_a_time_and_the_second_is_told_so() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let mut first = snapshots.build(at(9), Bytes::new()).unwrap();
    first.write_all(&body(BLOCK)).unwrap();
    let error = snapshots.clone().build(at(10), Bytes::new()).unwrap_err();
    assert!(matches!(error, SnapshotError::BuildUnderWay { position } if position == at(9)), "{error}");
    assert!(names(&disk).contains(&"building".to_owned()), "the first goes on");
    drop(first);
    assert_eq!(names(&disk), ["lock"], "what is dropped leaves nothing");
    let built = build(&snapshots, at(10), &head(""), b"second").unwrap();
    assert_eq!(snapshots.newest(), Some(built));
    assert!(snapshots.build(at(11), Bytes::new()).is_ok(), "what is finished is no build any more");
}

#[test]
fn a_reader_goes_on_when_a_newer_snapshot_replaces_what_it_reads() {
    let (disk, old) = (FaultyDisk::new(), body(3 * BLOCK));
    let snapshots = open(&disk);
    let first = build(&snapshots, at(9), &head(""), &old).unwrap();
    let (reader, mut stream) = (snapshots.reader(first.id).unwrap(), snapshots.reader(first.id).unwrap().body());
    let mut begun = vec![0; 100];
    std::io::Read::read_exact(&mut stream, &mut begun).unwrap();
    build(&snapshots, at(10), &head(""), &body(BLOCK)).unwrap();
    assert!(disk.bytes_of(&path_of(at(9))).is_none());
    drop(snapshots);
    assert_eq!(reader.read_at(70, 3 * BLOCK).unwrap(), old[70..]);
    std::io::Read::read_to_end(&mut stream, &mut begun).unwrap();
    assert_eq!(begun, old);
}

#[test]
fn a_reception_goes_on_in_the_next_life_behind_what_is_held_in_whole_blocks() {
    let (disk, body) = (FaultyDisk::new(), body(3 * BLOCK + 5));
    let snapshot = announced(at(9), &head("members"), &body);
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &body[..2 * BLOCK + 100], 10_000).unwrap();
    drop((receiver, snapshots));
    disk.kill();
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    assert_eq!(receiver.held(), 2 * BLOCK as u64);
    send(&mut receiver, &body, 10_000).unwrap();
    drop(receiver);
    // Everything is there but the last word.
    let receiver = snapshots.receive(snapshot.clone()).unwrap();
    assert_eq!(receiver.held(), body.len() as u64);
    assert_eq!(receiver.finish().unwrap(), snapshot);
    assert_eq!(read(&snapshots).unwrap(), Some((snapshot, body)));
}

#[test]
fn of_what_is_held_nothing_is_written_again_and_a_hole_is_refused() {
    let body = body(BLOCK + 50);
    let snapshots = open(&FaultyDisk::new());
    let mut receiver = snapshots.receive(announced(at(9), &head(""), &body)).unwrap();
    assert_eq!(receiver.write(0, &body[..10]).unwrap(), 10);
    // Of what is held other bytes are not even looked at.
    assert_eq!(receiver.write(0, &[0xff; 10]).unwrap(), 10);
    assert_eq!(receiver.write(4, &[&[0xff; 6][..], &body[10..30]].concat()).unwrap(), 30);
    let error = receiver.write(31, b"x").unwrap_err();
    assert!(matches!(error, SnapshotError::Hole { offset: 31, held: 30 }), "{error}");
    let error = receiver.write(30, &body[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Beyond { .. }), "{error}");
    let error = receiver.write(u64::MAX, b"x").unwrap_err();
    assert!(matches!(error, SnapshotError::Hole { .. }), "{error}");
    send(&mut receiver, &body, 7).unwrap();
    receiver.finish().unwrap();
    assert_eq!(read(&snapshots).unwrap().unwrap().1, body);
}

#[test]
fn a_reception_that_lacks_bytes_is_not_finished_and_goes_on() {
    let body = body(2 * BLOCK);
    let (snapshots, snapshot) = (open(&FaultyDisk::new()), announced(at(9), &head(""), &body));
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &body[..BLOCK], BLOCK).unwrap();
    let error = receiver.finish().unwrap_err();
    assert!(
        matches!(error, SnapshotError::Incomplete { held, bytes } if (held, bytes) == (65_536, 131_072)),
        "{error}"
    );
    assert_eq!(snapshots.newest(), None);
    assert_eq!(snapshots.receive(snapshot).unwrap().held(), BLOCK as u64);
}

#[test]
fn another_reception_throws_the_first_away_and_ends_it() {
    let (disk, body) = (FaultyDisk::new(), body(2 * BLOCK));
    let (first, second) = (announced(at(9), &head("a"), &body), announced(at(9), &head("b"), &body));
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(first.clone()).unwrap();
    send(&mut receiver, &body, BLOCK).unwrap();
    let mut other = snapshots.receive(second.clone()).unwrap();
    assert_eq!(other.held(), 0, "not one byte of the first is held for the second");
    assert!(matches!(receiver.write(0, &body).unwrap_err(), SnapshotError::Ended { .. }));
    assert!(matches!(receiver.finish().unwrap_err(), SnapshotError::Ended { .. }));
    send(&mut other, &body, BLOCK).unwrap();
    // Also of the same one there is only one receiver: two of them would write to one file.
    let last = snapshots.receive(second.clone()).unwrap();
    assert!(matches!(other.finish().unwrap_err(), SnapshotError::Ended { .. }));
    assert_eq!(last.finish().unwrap(), second);
    assert_eq!(read(&snapshots).unwrap(), Some((second, body)));
}

#[test]
fn what_was_received_and_is_not_what_was_announced_is_thrown_away() {
    let (disk, right) = (FaultyDisk::new(), body(BLOCK + 3));
    let snapshots = open(&disk);
    let older = build(&snapshots, at(3), &head(""), b"older").unwrap();
    let announcement = announced(at(9), &head("h"), &right);
    let mut wrong = right.clone();
    wrong[70] ^= 1;
    let other_head = announced(at(9), &head("x"), &right);
    let false_head = outrigger_log::Snapshot { head: other_head.head, ..announcement.clone() };
    for (announcement, sent) in [(announcement.clone(), &wrong), (false_head, &right)] {
        let error = receive(&snapshots, &announcement, sent, 10_000).unwrap_err();
        assert!(matches!(error, SnapshotError::NotAsAnnounced { .. }), "{error}");
        assert_eq!(snapshots.newest(), Some(older.clone()));
        assert_eq!(names(&disk).len(), 2, "thrown away: {:?}", names(&disk));
    }
    receive(&snapshots, &announcement, &right, 10_000).unwrap();
    assert_eq!(read(&snapshots).unwrap(), Some((announcement, right)));
}

#[test]
fn heads_and_bodies_beyond_the_limits_are_refused() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let largest = Bytes::from(vec![5; SNAPSHOT_HEAD_BYTES_MAX]);
    let built = build(&snapshots, at(9), &largest, b"body").unwrap();
    drop(snapshots);
    let snapshots = open(&disk);
    assert_eq!(snapshots.newest(), Some(built.clone()));
    let before = disk.files();
    let larger = Bytes::from(vec![5; SNAPSHOT_HEAD_BYTES_MAX + 1]);
    let endless = SnapshotId { bytes: u64::MAX, ..built.id };
    let refused = [
        snapshots.build(at(10), larger.clone()).unwrap_err(),
        snapshots.receive(announced(at(10), &larger, b"")).unwrap_err(),
        snapshots.receive(outrigger_log::Snapshot { id: endless, ..built }).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
    }
    assert_eq!(disk.files(), before);
}

#[test]
fn a_start_keeps_the_newest_and_removes_what_nobody_needs() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    build(&snapshots, at(8), &head(""), b"oldest").unwrap();
    let oldest = disk.bytes_of(&path_of(at(8))).unwrap();
    let newest = build(&snapshots, at(9), &head(""), b"newest").unwrap();
    let mut building = snapshots.build(at(10), Bytes::new()).unwrap();
    building.write_all(&body(2 * BLOCK)).unwrap();
    disk.kill();
    drop((building, snapshots));
    plant(&disk, "building", b"what a killed process has left");
    plant(&disk, path_of(at(8)).file_name().unwrap().to_str().unwrap(), &oldest);
    let snapshots = open(&disk);
    assert_eq!(read(&snapshots).unwrap(), Some((newest, b"newest".to_vec())));
    assert_eq!(names(&disk), ["lock", path_of(at(9)).file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn a_start_removes_a_reception_that_could_never_come_into_force() {
    let (disk, bytes) = (FaultyDisk::new(), body(2 * BLOCK));
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(announced(at(5), &head(""), &bytes)).unwrap();
    send(&mut receiver, &bytes, BLOCK).unwrap();
    let older = disk.bytes_of(&path("receiving")).unwrap();
    drop(receiver);
    build(&snapshots, at(9), &head(""), b"newest").unwrap();
    drop(snapshots);
    for left in [&older[..], &older[..40], b"", &[0; 200]] {
        plant(&disk, "receiving", left);
        drop(open(&disk));
        assert_eq!(names(&disk).len(), 2, "{} bytes of a reception are left", left.len());
    }
}

#[test]
fn names_that_are_not_ours_are_left_alone() {
    let disk = FaultyDisk::new();
    drop(open(&disk));
    let foreign = [
        "notes.txt",
        "snapshot",
        "snapshot-9-2",
        "snapshot-00000000000000000009-00000000000000000002.bak",
        "snapshot-+0000000000000000009-00000000000000000002",
        "snapshot-99999999999999999999-00000000000000000002",
        "receiving.old",
    ];
    foreign.iter().for_each(|name| plant(&disk, name, b"not ours"));
    let snapshots = open(&disk);
    assert_eq!(snapshots.newest(), None);
    build(&snapshots, at(9), &head(""), b"ours").unwrap();
    build(&snapshots, at(10), &head(""), b"ours").unwrap();
    drop(snapshots);
    assert!(open(&disk).newest().is_some());
    for name in foreign {
        assert_eq!(disk.bytes_of(&path(name)).as_deref(), Some(&b"not ours"[..]), "{name}");
    }
}

#[test]
fn the_directory_belongs_to_one_process_at_a_time() {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let build = snapshots.build(at(9), Bytes::new()).unwrap();
    drop(snapshots);
    let again = || Snapshots::open(disk.clone(), directory(), 7);
    assert!(matches!(again(), Err(SnapshotError::Locked { .. })), "a build is still under way");
    drop(build);
    assert!(again().is_ok());
}

/// A file that somebody else has written.
pub(crate) fn plant(disk: &FaultyDisk, name: &str, bytes: &[u8]) {
    use outrigger_log::DiskFile;
    disk.create(&path(name)).unwrap().write_all_at(bytes, 0).unwrap();
}
