//! Rot in every part of every file.

use std::ops::Range;
use std::path::Path;

use outrigger_log::{Disk, FaultyDisk, Frames, Log, OpenOptions, Record, Snapshots};

use crate::workload::{directory, flush_entries, tiny};
use crate::{GROUP, SEGMENT, damage, full, open, segment, verified};

fn closed() -> FaultyDisk {
    let disk = full();
    disk.kill();
    assert_eq!(damage(&disk), []);
    disk
}

/// A copy with one bit flipped.
fn rotten(disk: &FaultyDisk, file: &Path, offset: u64) -> FaultyDisk {
    let rotten = disk.fork();
    assert!(rotten.flip_bit(file, offset, u32::try_from(offset % 8).unwrap()));
    rotten
}

/// The bytes of a segment that are under a checksum: header, groups, trailer.
fn covered(disk: &FaultyDisk, sequence: u64) -> Vec<Range<u64>> {
    let frames = Frames::find(&disk.files()[&segment(sequence)]).unwrap();
    let trailer = frames.seal.map(|seal| seal.trailer..seal.trailer + Frames::BYTES_MIN);
    std::iter::once(0..Frames::BYTES_MIN).chain(frames.groups).chain(trailer).collect()
}

#[test]
fn every_rotten_byte_of_a_sealed_segment_is_told_with_its_file_and_frame() {
    let disk = closed();
    for sequence in 1..=3 {
        let file = segment(sequence);
        for frame in covered(&disk, sequence) {
            for offset in frame.clone() {
                let found = damage(&rotten(&disk, &file, offset));
                let told = |place: &Option<u64>| place.is_some_and(|place| frame.contains(&place));
                let is_told = found.iter().any(|damage| damage.path == file && told(&damage.offset));
                // Without a trailer the footer of a segment cannot be found: it is told of the place where it should be.
                let is_trailer = frame.start >= disk.files()[&file].len() as u64 - 512;
                assert!(
                    is_told || (is_trailer && !found.is_empty()),
                    "{offset} of {frame:?}, segment {sequence}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn rot_in_the_segment_in_use_is_damage_where_it_is_proven_and_else_a_tear() {
    let disk = closed();
    let frames = Frames::find(&disk.files()[&segment(4)]).unwrap();
    let (last, proven) = frames.groups.split_last().unwrap();
    assert!(!proven.is_empty());
    for offset in proven.iter().cloned().flatten() {
        let found = damage(&rotten(&disk, &segment(4), offset));
        assert_eq!(found.len(), 1, "{offset}: {found:?}");
        assert_eq!(found[0].path, segment(4));
    }
    for offset in last.clone() {
        let found = verified(&rotten(&disk, &segment(4), offset));
        assert_eq!(found.damage, [], "{offset}");
        assert_eq!(found.cut.expect("the last group is cut").offset, last.start);
    }
}

#[test]
fn every_rotten_byte_of_the_other_files_is_told() {
    let disk = closed();
    let snapshot = disk.list(&directory().join("snapshots")).unwrap().into_iter().find(|name| name != "lock").unwrap();
    for file in [directory().join("identity"), directory().join("snapshots").join(snapshot)] {
        for offset in 0..disk.files()[&file].len() as u64 {
            let found = match outrigger_log::verify(&rotten(&disk, &file, offset), directory(), &mut |_| {}) {
                Ok(found) => found.damage,
                // A version that is later than ours, which is all that can be said of it.
                Err(error) => {
                    assert!((8..12).contains(&offset) && error.to_string().contains("format version"), "{error}");
                    continue;
                }
            };
            assert!(!found.is_empty() && found.iter().all(|damage| damage.path == file), "{offset}: {found:?}");
            assert!(found[0].offset.unwrap() <= offset, "{offset}: {found:?}");
        }
    }
}

/// The parts of a run of two entries, from the beginning of its record on.
const PARTS: [(&str, u64); 13] = [
    ("length", 0),
    ("checksum", 4),
    ("kind", 8),
    ("flags", 9),
    ("zero", 10),
    ("count", 12),
    ("group", 16),
    ("term", 24),
    ("index", 32),
    ("log time", 40),
    ("lengths", 48),
    ("first payload", 56),
    ("last payload", 56 + 9),
];

#[test]
fn each_part_of_a_record_has_its_index_told_also_where_nobody_reads() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"before"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"the rotten", b"one"]).unwrap();
    while !disk.files().contains_key(&segment(3)) {
        flush_entries(&mut log, GROUP, &[&[7; 700]]).unwrap();
    }
    drop(log);
    let frames = Frames::find(&disk.files()[&segment(1)]).unwrap();
    // Behind the header of the group, which has 64 bytes.
    let record = frames.groups[1].start + 64;
    for (part, offset) in PARTS {
        let rotten = rotten(&disk, &segment(1), record + offset);
        let found = damage(&rotten);
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        let at = (found[0].path.clone(), found[0].offset, found[0].group, found[0].index);
        assert_eq!(at, (segment(1), Some(record), Some(GROUP), Some(2)), "{part}: {found:?}");
        open(&rotten); // Its start sees no body, and so not this.
    }
}

#[test]
fn rot_in_what_was_purged_is_told_too() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"gone", b"gone", b"gone"]).unwrap();
    while !disk.files().contains_key(&segment(2)) {
        flush_entries(&mut log, GROUP, &[&[7; 700]]).unwrap();
    }
    let through = outrigger_log::LogPosition { term: 1, index: 3 };
    log.append(GROUP, Record::Purge { through }).unwrap();
    log.flush().unwrap();
    drop(log);
    let offset = Frames::find(&disk.files()[&segment(1)]).unwrap().groups[0].start + 64 + 60;
    let found = damage(&rotten(&disk, &segment(1), offset));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn all_damage_is_told_and_not_only_the_first() {
    let disk = closed();
    let rotten = disk.fork();
    let mut places = Vec::new();
    for sequence in 1..=3 {
        let frames = Frames::find(&disk.files()[&segment(sequence)]).unwrap();
        // A group's header, and in another one a record.
        for (group, offset) in [(1, 0), (3, 64)] {
            let place = frames.groups[group].start + offset;
            rotten.flip_bit(&segment(sequence), place + 5, 1);
            places.push((segment(sequence), Some(place)));
        }
    }
    let found = damage(&rotten);
    let told: Vec<_> = found.iter().map(|damage| (damage.path.clone(), damage.offset)).collect();
    assert_eq!(told, places, "{found:?}");
}

#[test]
fn of_the_segment_in_use_too_all_damage_is_told() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    for text in [&b"one"[..], b"two", b"three", b"four"] {
        flush_entries(&mut log, GROUP, &[text]).unwrap();
    }
    drop(log);
    let frames = Frames::find(&disk.files()[&segment(1)]).unwrap();
    let rotten = disk.fork();
    let places: Vec<_> = [0, 2].map(|group| frames.groups[group].start + 64).to_vec();
    for place in &places {
        rotten.flip_bit(&segment(1), place + 50, 1);
    }
    let found = damage(&rotten);
    let told: Vec<_> = found.iter().filter_map(|damage| damage.offset).collect();
    assert_eq!((told, found[0].index), (places, Some(1)), "{found:?}");
}

#[test]
fn what_is_missing_is_told() {
    let disk = closed();
    for (file, part) in [(segment(2), "a segment is missing"), (directory().join("identity"), "no identity")] {
        let less = disk.fork();
        less.remove(&file).unwrap();
        let found = damage(&less);
        assert!(found.iter().any(|damage| damage.what.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn a_file_that_was_cut_or_comes_from_elsewhere_is_told() {
    let disk = closed();
    let whole = disk.files()[&segment(2)].clone();
    for bytes in [&whole[..whole.len() - 512], &whole[..700], &[][..]] {
        let cut = disk.fork();
        cut.create(&segment(2)).unwrap();
        write(&cut, &segment(2), bytes);
        let found = damage(&cut);
        assert!(found.iter().any(|damage| damage.path == segment(2)), "{} bytes: {found:?}", bytes.len());
    }
    let swapped = disk.fork();
    write(&swapped, &segment(3), &whole);
    assert!(damage(&swapped).iter().any(|damage| damage.path == segment(3)));
}

fn write(disk: &FaultyDisk, path: &Path, bytes: &[u8]) {
    use outrigger_log::{Access, DiskFile};

    disk.open(path, Access::ReadWrite).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn an_older_snapshot_and_one_of_another_cluster_are_looked_at() {
    let disk = closed();
    let foreign = FaultyDisk::new();
    let snapshots = Snapshots::open(foreign.clone(), directory(), 8).unwrap();
    let position = outrigger_log::LogPosition { term: 1, index: 2 };
    snapshots.build(position, "head".into()).unwrap().finish().unwrap();
    let (path, bytes) = foreign.files().into_iter().find(|(name, _)| !name.ends_with("lock")).unwrap();
    disk.create(&path).unwrap();
    write(&disk, &path, &bytes);
    let found = damage(&disk);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].path, found[0].offset), (&path, Some(0)));
    assert!(found[0].what.contains("cluster 0x8"), "{}", found[0]);
}

/// A start ends at the first that it finds.
#[test]
fn each_file_that_was_cut_or_comes_from_elsewhere_is_told() {
    let disk = closed();
    let files = disk.files();
    let both = |disk: &FaultyDisk, what: &str| {
        let found = damage(disk);
        let is_told =
            |sequence| found.iter().any(|damage| damage.path == segment(sequence) && damage.what.contains(what));
        assert!(is_told(1) && is_told(2), "{what}: {found:?}");
    };
    let cut = disk.fork();
    for sequence in [1, 2] {
        let bytes = &files[&segment(sequence)];
        cut.create(&segment(sequence)).unwrap();
        write(&cut, &segment(sequence), &bytes[..bytes.len() - 512]);
    }
    both(&cut, "shorter than its first sector says");
    let swapped = disk.fork();
    write(&swapped, &segment(1), &files[&segment(2)]);
    write(&swapped, &segment(2), &files[&segment(1)]);
    both(&swapped, "");
    let foreign = FaultyDisk::new();
    let options = OpenOptions { incarnation: 5, ..tiny(SEGMENT) };
    let mut log = Log::open(foreign.clone(), directory(), options).unwrap();
    while !foreign.files().contains_key(&segment(3)) {
        flush_entries(&mut log, GROUP, &[&[7; 300]]).unwrap();
    }
    for sequence in [1, 2] {
        write(&disk, &segment(sequence), &foreign.files()[&segment(sequence)]);
    }
    both(&disk, "another directory");
}
