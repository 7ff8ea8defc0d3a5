//! What proves something, and what does not: bytes that are whole and stand where nobody wrote them, and what was left
//! by something that a crash or a full disk has interrupted.

mod workload;

use std::io::ErrorKind;
use std::path::PathBuf;

use outrigger_log::{
    Corruption, FaultyDisk, FlushError, Frames, GroupId, Log, OpenError, OpenOptions, PrepareError, ReadError, Record,
};
use workload::{append_entries, directory, flush_entries, lose, observe, segment, tiny};

const GROUP: GroupId = GroupId(1);
/// The group whose entries fill segments.
const FILLER: GroupId = GroupId(2);
const SEGMENT: u64 = 16 << 10;
const SECTOR: usize = 512;

fn open(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap()
}

/// Why the log is not opened.
fn corruption(disk: FaultyDisk) -> Corruption {
    match Log::open(disk, directory(), tiny(SEGMENT)) {
        Err(OpenError::Corrupt(found)) => found,
        other => panic!("{other:?}"),
    }
}

/// Appends until this segment is in use, its first sector behind the header taken.
fn fill_into(log: &mut Log<FaultyDisk>, disk: &FaultyDisk, sequence: u64) {
    while !disk.files().contains_key(&segment(sequence)) {
        flush_entries(log, FILLER, &[&[7; 300]]).unwrap();
    }
}

/// A log, and bytes that look in all but one respect like what its segment in use holds.
struct Alike {
    disk: FaultyDisk,
    log: Log<FaultyDisk>,
    /// The segment in use: a group of the filler, then one with entry 1 of the group.
    sequence: u64,
    /// Another one that began in the same way, with another entry 1, and is sealed.
    other: Vec<u8>,
}

/// The other bytes are of the segment before, which the same start has made.
fn another_segment() -> Alike {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill_into(&mut log, &disk, 2);
    flush_entries(&mut log, GROUP, &[b"old"]).unwrap();
    log.append(GROUP, Record::Truncate { after: 0 }).unwrap();
    log.flush().unwrap();
    fill_into(&mut log, &disk, 3);
    flush_entries(&mut log, GROUP, &[b"new"]).unwrap();
    let other = disk.files()[&segment(2)].clone();
    Alike { disk, log, sequence: 3, other }
}

/// The other bytes are of a segment with the same number, which another start has made.
fn earlier_life() -> Alike {
    let disk = FaultyDisk::new();
    drop(open(&disk));
    let earlier = disk.fork();
    let mut log = open(&earlier);
    fill_into(&mut log, &earlier, 2);
    flush_entries(&mut log, GROUP, &[b"old"]).unwrap();
    fill_into(&mut log, &earlier, 3);
    let other = earlier.files()[&segment(2)].clone();

    drop(open(&disk));
    let mut log = open(&disk);
    fill_into(&mut log, &disk, 2);
    flush_entries(&mut log, GROUP, &[b"new"]).unwrap();
    Alike { disk, log, sequence: 2, other }
}

fn assert_unreadable(log: &Log<FaultyDisk>, file: PathBuf, offset: u64) {
    match log.reader().entries(GROUP, 1, 1, 99) {
        Err(ReadError::Corrupt(found)) => assert_eq!((found.file, found.offset), (file, offset)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_that_was_written_for_another_place_is_never_read_though_it_has_the_same_index_and_term() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"old"]).unwrap();
    log.append(GROUP, Record::Truncate { after: 0 }).unwrap();
    log.flush().unwrap();
    flush_entries(&mut log, GROUP, &[b"new"]).unwrap();
    let image = disk.files()[&segment(1)].clone();
    assert!(disk.overwrite(&segment(1), 1_536, &image[512..1_024]));
    assert_unreadable(&log, segment(1), 1_600);

    for Alike { disk, log, sequence, other } in [another_segment(), earlier_life()] {
        assert!(disk.overwrite(&segment(sequence), 1_024, &other[1_024..1_536]));
        assert_unreadable(&log, segment(sequence), 1_088);
    }
}

#[test]
fn a_group_of_another_segment_or_of_an_earlier_life_proves_nothing() {
    for Alike { disk, log, sequence, other } in [another_segment(), earlier_life()] {
        let before = observe(&log);
        drop(log);
        // It says that everything before itself was synced, one sector behind the end.
        assert!(Frames::find(&other).unwrap().groups.iter().any(|group| group.start == 2_048));
        assert!(disk.overwrite(&segment(sequence), 2_048, &other[2_048..2_560]));
        let log = open(&disk);
        assert_eq!(observe(&log), before);
        assert_eq!(log.cut().map(|cut| cut.offset), Some(1_536));
    }
}

#[test]
fn a_trailer_of_another_segment_or_of_an_earlier_life_proves_nothing_and_is_removed() {
    for Alike { disk, log, sequence, other } in [another_segment(), earlier_life()] {
        let before = observe(&log);
        drop(log);
        assert!(Frames::find(&other).unwrap().seal.is_some());
        let trailer = other.last_chunk::<SECTOR>().unwrap();
        assert!(disk.overwrite(&segment(sequence), SEGMENT - 512, trailer));
        assert_eq!(observe(&open(&disk)), before);
        lose(&disk);
        assert_eq!(disk.files()[&segment(sequence)].last_chunk(), Some(&[0; SECTOR]));
    }
}

/// The crash came between the footer and its trailer. Nobody had written a footer before the last group was synced.
#[test]
fn a_footer_without_its_trailer_proves_that_the_group_before_it_was_durable() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill_into(&mut log, &disk, 2);
    drop(log);
    let frames = Frames::find(&disk.files()[&segment(1)]).unwrap();
    let footer = frames.seal.unwrap().footer;
    let last = frames.groups.iter().rfind(|group| group.start < footer).unwrap();
    assert!(disk.overwrite(&segment(1), SEGMENT - 512, &[0; SECTOR]));
    assert!(disk.overwrite(&segment(2), 512, &[0; SECTOR]));
    assert_eq!(open(&disk.fork()).cut().map(|cut| cut.offset), Some(footer), "the footer alone is written again");
    assert!(disk.overwrite(&segment(1), last.start + 200, b"rot"));
    assert_eq!(corruption(disk).offset, last.start + 64);
}

/// A mark has no records that could tell that it stands elsewhere.
#[test]
fn a_mark_that_took_the_place_of_a_vote_is_refused() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    for term in 1..=3 {
        log.append(GROUP, Record::Vote { term, voted_for: Some(2) }).unwrap();
        log.flush().unwrap();
        if term == 1 {
            log.mark().unwrap();
        }
    }
    drop(log);
    let image = disk.files()[&segment(1)].clone();
    let frames = Frames::find(&image).unwrap();
    assert!(frames.groups.contains(&(1_024..1_088)) && !frames.is_marked, "a header without records, not the last");
    assert!(disk.overwrite(&segment(1), 1_536, &image[1_024..1_536]));
    assert_eq!(corruption(disk).offset, 1_536);
}

/// Two groups, at 512 and 1024, and a segment that was to be sealed because of a third: the power fails before the sync,
/// and of what was not synced nothing is left but the trailer.
fn sealed_without_footer(is_marked: bool) -> FaultyDisk {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    assert!(log.preparer().prepare().unwrap());
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"two"]).unwrap();
    if is_marked {
        log.mark().unwrap();
    }
    append_entries(&mut log, GROUP, &[&[7; 12_000]]);
    disk.power_off_after(2);
    log.flush().unwrap_err();
    let mut questions = 0;
    disk.fork().crash_with(&mut |_| {
        questions += 1;
        0
    });
    let mut question = 0;
    disk.crash_with(&mut |ways| {
        question += 1;
        if question == questions { ways - 1 } else { 0 }
    });
    let image = disk.files()[&segment(1)].clone();
    assert!(Frames::find(&image).unwrap().seal.is_some(), "the trailer was to be left");
    assert!(image[1_536..15_872].iter().all(|&byte| byte == 0), "and nothing else");
    disk
}

#[test]
fn a_trailer_that_is_left_of_a_torn_sealing_proves_what_was_synced_and_no_more() {
    for is_marked in [false, true] {
        let disk = sealed_without_footer(is_marked);
        let rotten = disk.fork();
        let log = open(&disk);
        assert_eq!(log.group(GROUP).unwrap().last.index, 2, "marked: {is_marked}");
        drop(log);
        lose(&disk);
        assert_eq!(disk.files()[&segment(1)].last_chunk(), Some(&[0; SECTOR]), "it goes with the cut");

        assert!(rotten.flip_bit(&segment(1), 1_100, 3));
        let found = corruption(rotten);
        assert_eq!((found.offset, found.index), (1_088, Some(2)), "marked: {is_marked}");
    }
}

#[test]
fn a_footer_that_confuses_two_runs_is_noticed_when_they_are_read() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"two"]).unwrap();
    fill_into(&mut log, &disk, 2);
    drop(log);
    let mut image = disk.files()[&segment(1)].clone();
    let footer = usize::try_from(Frames::find(&image).unwrap().seal.unwrap().footer).unwrap();
    let record = footer + 64;
    // Behind the record's header: how many groups, the group's number, its state with one term, how many runs, and each
    // with its term, first index, count and offset.
    let [one, two] = [0, 28].map(|run| record + 48 + 4 + 8 + 96 + 4 + run + 20);
    let (first, second) = image.split_at_mut(two);
    first[one..one + 4].swap_with_slice(&mut second[..4]);
    let length = u32::from_le_bytes(image[record..][..4].try_into().unwrap());
    let mut checked = image[record + 8..record + usize::try_from(length).unwrap()].to_vec();
    checked.extend(length.to_le_bytes());
    for word in [1, 0, u64::try_from(record).unwrap()] {
        checked.extend(word.to_le_bytes());
    }
    image[record + 4..record + 8].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    assert!(disk.overwrite(&segment(1), 0, &image));
    assert_unreadable(&open(&disk), segment(1), 1_088);
}

#[test]
fn a_segment_of_another_directory_is_refused() {
    let [ours, theirs] = [0xfeed, 0xbad].map(|incarnation| {
        let disk = FaultyDisk::new();
        let options = OpenOptions { incarnation, ..tiny(SEGMENT) };
        fill_into(&mut Log::open(disk.clone(), directory(), options).unwrap(), &disk, 2);
        disk
    });
    assert!(ours.overwrite(&segment(2), 0, &theirs.files()[&segment(2)]));
    let found = corruption(ours);
    assert_eq!((found.file, &*found.what), (segment(2), "the segment belongs to another directory"));
}

#[test]
fn half_a_segment_that_a_killed_process_has_left_is_removed_at_the_next_start() {
    let disk = FaultyDisk::new();
    let log = open(&disk);
    let whole = disk.files();
    disk.power_off_after(1);
    log.preparer().prepare().unwrap_err();
    disk.power_off_after(u64::MAX);
    disk.kill();
    assert!(disk.files().keys().any(|path| path.to_string_lossy().ends_with("2.segment.new")));
    drop(open(&disk));
    assert!(disk.files().keys().eq(whole.keys()));
}

#[test]
fn half_a_segment_that_a_full_disk_has_no_room_for_is_removed_at_once() {
    let disk = FaultyDisk::new();
    let log = Log::open(disk.clone(), directory(), tiny(2 << 20)).unwrap();
    let before = disk.files();
    let held = before.values().map(Vec::len).sum::<usize>() as u64;
    disk.limit_bytes(Some(held + (3 << 19)));
    let writes = disk.counts().writes;
    assert!(matches!(log.preparer().prepare(), Err(PrepareError::DiskFull(_))));
    assert_eq!(disk.counts().writes, writes + 2, "the first half was to be written");
    assert_eq!(disk.files(), before);
}

/// Found by reading: where room is only sought when a sync writes, half a footer counted as none, and the log went on.
#[test]
fn a_sync_that_says_that_the_disk_is_full_poisons_the_log_where_something_is_in_doubt() {
    let mut footers = 0;
    for syncs in 0..20 {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        assert!(log.preparer().prepare().unwrap());
        disk.fail_sync_with(ErrorKind::StorageFull, syncs);
        let error = loop {
            if let Err(error) = flush_entries(&mut log, GROUP, &[&[7; 900]]) {
                break error;
            }
        };
        assert!(matches!(error, FlushError::Disk(_)), "sync {syncs}: {error}");
        assert!(matches!(log.flush(), Err(FlushError::Poisoned { .. })), "sync {syncs}");
        let files = disk.files();
        let is_sealed = Frames::find(&files[&segment(1)]).unwrap().seal.is_some();
        footers += u32::from(is_sealed && files[&segment(2)][512..].iter().all(|&byte| byte == 0));
    }
    assert_eq!(footers, 1, "the sync of the footer was to be among them");

    let disk = FaultyDisk::new();
    let log = open(&disk);
    let before = disk.files();
    disk.fail_sync_with(ErrorKind::StorageFull, 0);
    assert!(matches!(log.preparer().prepare(), Err(PrepareError::DiskFull(_))), "it has no name yet");
    assert_eq!(disk.files(), before);
    disk.fail_sync_with(ErrorKind::StorageFull, 1);
    assert!(matches!(log.preparer().prepare(), Err(PrepareError::Disk(_))), "its name may be lost");
    assert!(matches!(log.preparer().prepare(), Err(PrepareError::Poisoned { .. })));
}

/// Found by reading: the next segment is taken before the full one is sealed, so that a preparer may make one more meanwhile.
#[test]
fn a_second_empty_segment_goes_before_the_first_does() {
    use outrigger_log::{Disk, DiskFile};

    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    assert!(log.preparer().prepare().unwrap());
    let unsealed = disk.fork();
    fill_into(&mut log, &disk, 3);
    let bytes = disk.bytes_of(&segment(3)).unwrap();
    let third = unsealed.create(&segment(3)).unwrap();
    third.write_all_at(&[&bytes[..SECTOR], &vec![0; bytes.len() - SECTOR][..]].concat(), 0).unwrap();
    third.sync_all().unwrap();
    unsealed.sync_directory(directory()).unwrap();

    // With room for one new identity and two segments the first start gives up one, and with less another one as well.
    for (room, left) in [(u64::MAX, 2), (2 * SEGMENT + 120, 2), (SEGMENT + 120, 1)] {
        for operations in 0.. {
            let disk = unsealed.fork();
            disk.kill();
            disk.limit_bytes(Some(room));
            disk.power_off_after(operations);
            let is_open = Log::open(disk.clone(), directory(), tiny(SEGMENT)).is_ok();
            for choice in 0..16 {
                let disk = disk.fork();
                disk.crash(choice);
                let mut log = open(&disk);
                assert_eq!(log.reader().entries(GROUP, 1, 1, 99).unwrap().len(), 1);
                if choice == 0 && is_open {
                    let is_there = |sequence| disk.files().contains_key(&segment(sequence));
                    assert_eq!((is_there(1), is_there(2), is_there(3)), (true, left == 2, false), "room for {room}");
                }
                disk.limit_bytes(None);
                fill_into(&mut log, &disk, 5);
            }
            if is_open {
                assert!(operations > 5, "a start of {operations} operations");
                break;
            }
        }
    }
}

#[test]
fn a_start_counts_only_once_its_log_is_usable() {
    let disk = FaultyDisk::new();
    flush_entries(&mut open(&disk), GROUP, &[b"one"]).unwrap();
    for operations in 0.. {
        let disk = disk.fork();
        disk.power_off_after(operations);
        let is_open = Log::open(disk.clone(), directory(), tiny(SEGMENT)).is_ok();
        lose(&disk);
        assert_eq!(
            open(&disk).identity().start,
            2 + u64::from(is_open),
            "the power fails after {operations} operations"
        );
        if is_open {
            assert!(operations > 5, "a start of {operations} operations");
            break;
        }
    }
}
