//! Rot, cut files, files of others: whatever it is, it is said, and no wrong byte is ever answered.

use std::io;

use outrigger_log::{FaultyDisk, LogPosition, Snapshot, SnapshotError, Snapshots};

use crate::promises::plant;
use crate::scene::{
    BLOCK, CLUSTER, announced, at, body, build, directory, head, open, path, path_of, read, receive, send, try_open,
};

/// A closed directory with this snapshot as the newest, and its file's bytes.
fn closed(body: &[u8]) -> (FaultyDisk, Snapshot, Vec<u8>) {
    let disk = FaultyDisk::new();
    let snapshot = build(&open(&disk), at(9), &head("members"), body).unwrap();
    let file = disk.bytes_of(&path_of(at(9))).unwrap();
    (disk, snapshot, file)
}

/// What is wrong with a snapshot, however it comes out.
fn fault(disk: &FaultyDisk) -> Option<SnapshotError> {
    match try_open(disk) {
        Err(error) => Some(error),
        Ok(snapshots) => read(&snapshots).err().map(|error| inner(&error)),
    }
}

/// An error of a stream has the snapshot's within: told apart by its text, and made anew, since it cannot be taken out.
fn inner(error: &io::Error) -> SnapshotError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<SnapshotError>()).expect("one of ours");
    match inner {
        SnapshotError::Corrupt(corruption) => SnapshotError::Corrupt(corruption.clone()),
        other => panic!("{other}"),
    }
}

fn corruption_offset(error: &SnapshotError) -> Option<u64> {
    match error {
        SnapshotError::Corrupt(corruption) => Some(corruption.offset),
        _ => None,
    }
}

/// Mends the checksums of header and end, so that what they say is believed.
fn mend(file: &mut [u8]) {
    let end = file.len() - 40;
    for (from, to) in [(0, 60), (end, end + 36)] {
        let checksum = crc32c::crc32c(&file[from..to]);
        file[to..to + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}

#[test]
fn every_flipped_bit_of_a_file_is_found() {
    let (disk, _, file) = closed(&body(200));
    for bit in 0..u32::try_from(file.len()).unwrap() * 8 {
        let rotten = disk.fork();
        assert!(rotten.flip_bit(&path_of(at(9)), u64::from(bit / 8), bit % 8));
        let before = rotten.files();
        assert!(fault(&rotten).is_some(), "bit {bit} may flip");
        assert_eq!(rotten.files(), before, "something was changed because of bit {bit}");
    }
}

#[test]
fn rot_in_a_block_is_found_where_that_block_is_read_and_nowhere_else() {
    let body = body(3 * BLOCK + 900);
    let (disk, snapshot, file) = closed(&body);
    let first = file.len() - 40 - body.len() - 4 * 4;
    for damaged in (0..body.len() + 16).step_by(4_999).chain([BLOCK - 1, BLOCK, BLOCK + 3, body.len() + 15]) {
        let rotten = disk.fork();
        assert!(rotten.flip_bit(&path_of(at(9)), (first + damaged) as u64, 3));
        let snapshots = open(&rotten);
        let reader = snapshots.reader(snapshot.id).unwrap();
        let block_of = damaged / (BLOCK + 4);
        for block in 0..4 {
            let (from, length) = (block * BLOCK, BLOCK.min(body.len() - block * BLOCK));
            match reader.read_at(from as u64, BLOCK) {
                Ok(bytes) => {
                    assert_ne!(block, block_of, "byte {damaged} is rotten");
                    assert_eq!(bytes, body[from..from + length]);
                }
                Err(error) => {
                    assert_eq!(block, block_of, "byte {damaged} is rotten: {error}");
                    assert_eq!(corruption_offset(&error), Some((first + block * (BLOCK + 4)) as u64));
                    assert!(error.to_string().contains(path_of(at(9)).to_str().unwrap()), "{error}");
                }
            }
        }
        let error = read(&snapshots).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(corruption_offset(&inner(&error)).is_some());
    }
}

#[test]
fn rot_that_appears_behind_the_back_of_an_open_reader_is_found() {
    let body = body(2 * BLOCK);
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let id = build(&snapshots, at(9), &head(""), &body).unwrap().id;
    let reader = snapshots.reader(id).unwrap();
    assert_eq!(reader.read_at(0, 10).unwrap(), body[..10]);
    assert!(disk.flip_bit(&path_of(at(9)), 64 + 5_000, 1));
    assert!(matches!(reader.read_at(0, 10).unwrap_err(), SnapshotError::Corrupt(_)));
    assert!(matches!(inner(&read(&snapshots).unwrap_err()), SnapshotError::Corrupt(_)));
}

#[test]
fn a_file_that_was_cut_or_has_grown_is_refused() {
    let (disk, _, file) = closed(&body(BLOCK + 9));
    let lengths = (0..200).chain((200..file.len()).step_by(997)).chain([file.len() - 40, file.len() - 1]);
    for length in lengths {
        let cut = disk.fork();
        plant(&cut, path_of(at(9)).file_name().unwrap().to_str().unwrap(), &file[..length]);
        let error = try_open(&cut).unwrap_err();
        assert!(matches!(error, SnapshotError::Corrupt(_)), "{length} bytes: {error}");
        // What is there and what should be, for whoever wonders whether a copy is still on its way.
        let wanted = if length < 64 { 64 } else { file.len() };
        let said = error.to_string();
        let has =
            |number: usize| said.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == number.to_string());
        assert!(has(length) && has(wanted), "{length} of {wanted} bytes: {said}");
    }
    plant(&disk, path_of(at(9)).file_name().unwrap().to_str().unwrap(), &[&file[..], &[0]].concat());
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(error, SnapshotError::Corrupt(_)), "{error}");
    let lengths = format!("{} bytes are there, {} were written", file.len() + 1, file.len());
    assert!(error.to_string().contains(&lengths), "{error}");
}

#[test]
fn a_block_that_was_written_elsewhere_does_not_verify() {
    let (disk, _, file) = closed(&[7; 2 * BLOCK]);
    let first = 64 + "members".len();
    let (one, two) = (first as u64, (first + BLOCK + 4) as u64);
    // The same bytes, but the number of the block.
    assert!(disk.overwrite(&path_of(at(9)), one, &file[first + BLOCK + 4..first + 2 * (BLOCK + 4)]));
    assert_eq!(fault(&disk).as_ref().and_then(corruption_offset), Some(one));
    assert!(disk.overwrite(&path_of(at(9)), one, &file[first..first + BLOCK + 4]));
    assert!(fault(&disk).is_none());
    // The same block of another snapshot.
    let other = FaultyDisk::new();
    build(&open(&other), LogPosition { term: 3, index: 9 }, &head("members"), &[7; 2 * BLOCK]).unwrap();
    let theirs = other.bytes_of(&path_of(LogPosition { term: 3, index: 9 })).unwrap();
    assert!(disk.overwrite(&path_of(at(9)), two, &theirs[first + BLOCK + 4..first + 2 * (BLOCK + 4)]));
    assert_eq!(fault(&disk).as_ref().and_then(corruption_offset), Some(two));
}

#[test]
fn blocks_that_verify_are_not_enough_for_the_whole() {
    for length in [0, 100, BLOCK + 1] {
        let (disk, snapshot, mut file) = closed(&body(length));
        // Header and end agree on another checksum of the whole, and all else verifies.
        let end = file.len() - 40;
        file[48] ^= 1;
        file[end + 32] ^= 1;
        mend(&mut file);
        plant(&disk, path_of(at(9)).file_name().unwrap().to_str().unwrap(), &file);
        let error = fault(&disk).expect("another checksum");
        assert!(matches!(error, SnapshotError::Corrupt(_)), "{length} bytes: {error}");
        assert_eq!(snapshot.id.bytes, length as u64);
    }
}

#[test]
fn header_and_end_must_speak_of_the_same_snapshot() {
    let (disk, _, mut file) = closed(&body(100));
    let end = file.len() - 40;
    file[end + 16] ^= 1;
    mend(&mut file);
    plant(&disk, path_of(at(9)).file_name().unwrap().to_str().unwrap(), &file);
    assert_eq!(try_open(&disk).as_ref().err().and_then(corruption_offset), Some(end as u64));
}

#[test]
fn a_file_under_another_ones_name_is_refused() {
    use outrigger_log::Disk;
    let (disk, _, _) = closed(&body(100));
    disk.rename(&path_of(at(9)), &path_of(at(10))).unwrap();
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(error, SnapshotError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains(&format!("{}, and {}", at(10), at(9))), "{error}");
}

#[test]
fn files_of_another_cluster_are_refused_and_not_touched() {
    let (disk, _, _) = closed(&body(100));
    let with_older = disk.fork();
    let (newer, file) = (FaultyDisk::new(), path_of(at(12)));
    build(&Snapshots::open(newer.clone(), directory(), 8).unwrap(), at(12), &head(""), b"x").unwrap();
    plant(&with_older, file.file_name().unwrap().to_str().unwrap(), &newer.bytes_of(&file).unwrap());
    for disk in [disk, with_older] {
        let before = disk.files();
        let error = Snapshots::open(disk.clone(), directory(), CLUSTER + 1).unwrap_err();
        assert!(matches!(error, SnapshotError::OtherCluster { found: 7, expected: 8, .. }), "{error}");
        assert!(error.to_string().contains("/data/snapshots/"), "{error}");
        assert_eq!(disk.files(), before);
    }
}

/// Found by reading: it kept the node from starting, though nothing is lost with it.
#[test]
fn a_reception_of_another_cluster_is_dropped() {
    let (disk, bytes) = (FaultyDisk::new(), body(BLOCK + 1));
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(announced(at(9), &head(""), &bytes)).unwrap();
    send(&mut receiver, &bytes, BLOCK).unwrap();
    drop((receiver, snapshots));
    assert_eq!(Snapshots::open(disk.clone(), directory(), CLUSTER + 1).unwrap().newest(), None);
    assert!(!disk.files().contains_key(&path("receiving")));
}

#[test]
fn a_later_format_is_named_before_anything_else_is_judged() {
    let (disk, _, _) = closed(&body(100));
    assert!(disk.overwrite(&path_of(at(9)), 8, &[2]));
    let before = disk.files();
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(error, SnapshotError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    assert_eq!(disk.files(), before);
}

#[test]
fn an_older_one_that_is_corrupt_is_no_obstacle() {
    let (disk, _, mut file) = closed(&body(100));
    let newest = build(&open(&disk), at(12), &head(""), b"newest").unwrap();
    file[20] ^= 1;
    plant(&disk, path_of(at(9)).file_name().unwrap().to_str().unwrap(), &file);
    assert_eq!(open(&disk).newest(), Some(newest));
    assert!(disk.bytes_of(&path_of(at(9))).is_none());
}

#[test]
fn a_reception_is_resumed_before_the_first_block_that_has_rotted() {
    let bytes = body(3 * BLOCK);
    let snapshot = announced(at(9), &head("members"), &bytes);
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &bytes, BLOCK).unwrap();
    drop((receiver, snapshots));
    let (blocks, stored) = (64 + 7, BLOCK + 4);
    for (offset, held) in
        [(0, 0), (50, 0), (66, 0), (blocks, 0), (blocks + stored + 9, 1), (blocks + 3 * stored - 1, 2)]
    {
        let rotten = disk.fork();
        assert!(rotten.flip_bit(&path("receiving"), offset as u64, 2));
        let snapshots = open(&rotten);
        assert_eq!(snapshots.receive(snapshot.clone()).unwrap().held(), held * BLOCK as u64, "rotten at {offset}");
        receive(&snapshots, &snapshot, &bytes, 50_000).unwrap();
        assert_eq!(read(&snapshots).unwrap(), Some((snapshot.clone(), bytes.clone())), "rotten at {offset}");
    }
}

#[test]
fn a_reception_that_is_longer_than_it_may_be_begins_anew() {
    let (disk, bytes) = (FaultyDisk::new(), body(BLOCK));
    let (snapshots, snapshot) = (open(&disk), announced(at(9), &head(""), &bytes));
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &bytes, BLOCK).unwrap();
    drop(receiver);
    let longer = [disk.bytes_of(&path("receiving")).unwrap(), vec![0; 41]].concat();
    plant(&disk, "receiving", &longer);
    assert_eq!(snapshots.receive(snapshot.clone()).unwrap().held(), 0);
    receive(&snapshots, &snapshot, &bytes, BLOCK).unwrap();
    drop(snapshots);
    assert_eq!(read(&open(&disk)).unwrap(), Some((snapshot, bytes)));
}
