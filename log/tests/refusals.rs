//! What is not opened, and that nothing in it is changed; what a reader answers.

mod meddled;
mod workload;

use std::path::Path;

use bytes::Bytes;
use meddled::{Before, Meddled};
use outrigger_log::{
    Access, Disk, DiskFile, FaultyDisk, Frames, GroupId, Inspection, Log, LogPosition, OpenError, OpenOptions,
    PeerIdentity, ReadError, Record, Seal,
};
use workload::{append_entries, directory, flush_entries, segment, tiny};

const GROUP: GroupId = GroupId(1);
const SEGMENT: u64 = 8 << 10;

fn open(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap()
}

/// A log of five segments, closed.
fn some_log() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    while !disk.files().contains_key(&segment(5)) {
        flush_entries(&mut log, GROUP, &[&[7; 400]]).unwrap();
    }
    drop(log);
    disk
}

/// Why it is refused, once it is certain that nothing in the directory was changed by trying.
fn refusal(disk: &FaultyDisk, options: OpenOptions) -> OpenError {
    let before = disk.files();
    let error = Log::open(disk.clone(), directory(), options).unwrap_err();
    assert_eq!(disk.files(), before, "changed, though refused: {error}");
    disk.crash_with(&mut |_| 0);
    assert_eq!(disk.files(), before, "changed, though refused: {error}");
    error
}

#[test]
fn data_of_another_cluster_or_node_is_refused() {
    let disk = some_log();
    let error = refusal(&disk, OpenOptions { cluster: 8, ..tiny(SEGMENT) });
    assert!(matches!(error, OpenError::OtherCluster { found: 7, expected: 8 }), "{error}");
    let error = refusal(&disk, OpenOptions { node: 2, ..tiny(SEGMENT) });
    assert!(matches!(error, OpenError::OtherNode { found: 1, expected: 2 }), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let disk = some_log();
    assert!(disk.overwrite(&directory().join("identity"), 8, &2_u32.to_le_bytes()));
    let error = refusal(&disk, tiny(SEGMENT));
    assert!(matches!(error, OpenError::NewerFormat { found: 2, supported: 1 }), "{error}");
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let disk = some_log();
    let log = open(&disk);
    let before = disk.files();
    let error = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path } if path.ends_with("lock")), "{error}");
    assert_eq!(disk.files(), before);
    let preparer = log.preparer();
    let reader = log.reader();
    drop(log);
    assert!(Log::open(disk.clone(), directory(), tiny(SEGMENT)).is_err(), "a preparer still writes");
    drop(preparer);
    open(&disk);
    assert!(reader.verify().is_ok(), "a reader only reads");
}

#[test]
fn a_directory_that_is_not_writable_is_refused() {
    let disk = some_log();
    disk.set_read_only(true);
    let error = refusal(&disk, tiny(SEGMENT));
    assert!(matches!(error, OpenError::NotWritable(_)), "{error}");
}

#[test]
fn a_full_disk_refuses_a_start_and_takes_it_when_there_is_room() {
    let disk = some_log();
    disk.limit_bytes(Some(0));
    let error = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(error, OpenError::DiskFull(_)), "{error}");
    disk.limit_bytes(None);
    open(&disk);
}

#[test]
fn a_start_on_a_full_disk_takes_its_room_from_the_segment_made_ahead() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    assert!(log.preparer().prepare().unwrap());
    drop(log);
    disk.limit_bytes(Some(2 * SEGMENT + 60));
    let mut log = open(&disk);
    log.append(GROUP, Record::Vote { term: 5, voted_for: Some(2) }).unwrap();
    log.flush().unwrap();
    disk.crash_with(&mut |_| 0);
    disk.limit_bytes(None);
    assert_eq!(open(&disk).group(GROUP).unwrap().vote.term, 5);
}

/// Found by reading: a node that had filled the disk with half a snapshot, or half a segment, could not start to remove it.
#[test]
fn a_start_on_a_full_disk_takes_its_room_from_what_was_interrupted_before() {
    let kept = ["identity.new", "lock", "identity"];
    for left in ["snapshots/building", "00000000000000000002.segment.new"] {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
        assert!(log.preparer().prepare().unwrap());
        drop(log);
        disk.create_directory(&directory().join("snapshots")).unwrap();
        let path = directory().join(left);
        disk.create(&path).unwrap().write_all_at(&[7; 100], 0).unwrap();
        let held = disk.files().into_iter().filter(|(path, _)| !kept.iter().any(|name| path.ends_with(name)));
        let held: usize = held.map(|(_, bytes)| bytes.len()).sum();
        // The identity that is there, and half of a new one.
        disk.limit_bytes(Some(held as u64 + 60 + 30));
        let log = open(&disk);
        assert_eq!(log.identity().start, 2, "{left}");
        assert!(!disk.files().contains_key(&path), "{left}");
        assert!(disk.files().contains_key(&segment(2)), "{left}: the segment made ahead need not go");
    }
}

#[test]
fn a_directory_that_holds_something_else_is_refused() {
    let disk = FaultyDisk::new();
    disk.create_directory(directory()).unwrap();
    disk.create(&directory().join("thesis.pdf")).unwrap().sync_all().unwrap();
    disk.sync_directory(directory()).unwrap();
    let error = refusal(&disk, tiny(SEGMENT));
    assert!(matches!(&error, OpenError::NotALog { found, .. } if found == "thesis.pdf"), "{error}");
}

#[test]
fn a_missing_file_is_refused() {
    let whole = some_log();
    let missing = |path: &Path| {
        let disk = whole.fork();
        disk.remove(path).unwrap();
        disk.sync_directory(directory()).unwrap();
        refusal(&disk, tiny(SEGMENT))
    };
    let error = missing(&directory().join("identity"));
    assert!(matches!(error, OpenError::IdentityMissing { .. }), "{error}");
    for sequence in 1..4 {
        let error = missing(&segment(sequence));
        assert!(matches!(error, OpenError::SegmentMissing { group: Some(GROUP), .. }), "{sequence}: {error}");
    }
    for sequence in 4..=5 {
        let error = missing(&segment(sequence));
        let found = matches!(&error, OpenError::SegmentMissing { .. });
        assert!(found, "{sequence}: {error}");
    }
}

#[test]
fn damage_to_what_was_synced_before_use_is_refused() {
    let whole = some_log();
    // The first sector of a sealed and of the newest segment, a trailer, a footer behind it, the identity.
    let Seal { trailer, footer } = Frames::find(&whole.files()[&segment(4)]).unwrap().seal.unwrap();
    let places = [
        (segment(1), 20),
        (segment(5), 40),
        (segment(4), trailer + 9),
        (segment(4), footer + 10),
        (segment(4), footer + 150),
        (directory().join("identity"), 20),
    ];
    for (path, offset) in places {
        let disk = whole.fork();
        assert!(disk.flip_bit(&path, offset, 1), "{} is not as long", path.display());
        let error = refusal(&disk, tiny(SEGMENT));
        assert!(matches!(&error, OpenError::Corrupt(found) if found.file == path), "{offset}: {error}");
    }
}

#[test]
fn a_segment_whose_groups_leave_no_room_for_its_footer_is_refused_before_it_is_written_to() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[&[7; 400]]).unwrap();
    drop(log);
    // As if the segment had been made for this group alone: the first sector, two of the group, the trailer.
    let mut image = disk.files()[&segment(1)][..2_048].to_vec();
    assert!(image[1_536..].iter().all(|&byte| byte == 0), "the group is longer");
    image[40..48].copy_from_slice(&2_048_u64.to_le_bytes());
    let checksum = crc32c::crc32c(&image[..48]);
    image[48..52].copy_from_slice(&checksum.to_le_bytes());
    let file = disk.create(&segment(1)).unwrap();
    file.write_all_at(&image, 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_directory(directory()).unwrap();
    let error = refusal(&disk, tiny(SEGMENT));
    assert!(matches!(&error, OpenError::Corrupt(found) if found.what.contains("no room for the footer")), "{error}");
}

#[test]
fn a_group_with_another_number_of_records_than_it_says_does_not_count() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"two"]).unwrap();
    drop(log);
    for records in [0_u32, 2] {
        let disk = disk.fork();
        let mut header = disk.files()[&segment(1)][1_024..1_088].to_vec();
        header[12..16].copy_from_slice(&records.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
        assert!(disk.overwrite(&segment(1), 1_024, &header));
        let log = open(&disk);
        assert_eq!(log.group(GROUP).map(|state| state.last.index), Some(1), "{records} records");
        assert!(log.cut().is_some_and(|cut| cut.offset == 1_024 && cut.what.contains("number of records")));
    }
}

#[test]
fn options_outside_of_their_range_are_refused_with_both_numbers() {
    for options in [
        OpenOptions { segment_bytes: 1_000, ..tiny(SEGMENT) },
        OpenOptions { segment_bytes: 1 << 40, ..tiny(SEGMENT) },
        OpenOptions { entry_bytes_max: 0, ..tiny(SEGMENT) },
        OpenOptions { entry_bytes_max: (1 << 29) + 1, ..tiny(SEGMENT) },
    ] {
        let disk = FaultyDisk::new();
        let error = Log::open(disk.clone(), directory(), options).unwrap_err();
        assert!(matches!(error, OpenError::InvalidOptions { .. }), "{error}");
        assert_eq!(disk.counts().operations, 0);
    }
}

#[test]
fn a_reader_answers_what_it_can_and_says_why_it_cannot() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let reader = log.reader();
    assert!(matches!(reader.entries(GROUP, 1, 1, 1), Err(ReadError::UnknownGroup { group: GROUP })));
    flush_entries(&mut log, GROUP, &[b"aaaa", b"bbbb", b"cccc"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"dddd"]).unwrap();
    let through = LogPosition { term: 1, index: 1 };
    log.append(GROUP, Record::Purge { through }).unwrap();
    log.flush().unwrap();
    assert!(matches!(reader.entries(GROUP, 1, 4, 99), Err(ReadError::Purged { from: 1, purged }) if purged == through));
    assert!(matches!(reader.entries(GROUP, 2, 5, 99), Err(ReadError::Beyond { through: 5, .. })));
    let lengths = |bytes_max| -> Vec<usize> {
        let runs = reader.entries(GROUP, 2, 4, bytes_max).unwrap();
        runs.iter().map(|run| run.payloads.len()).collect()
    };
    assert_eq!(lengths(0), [1], "at least one entry");
    assert_eq!(lengths(7), [1]);
    assert_eq!(lengths(8), [2]);
    assert_eq!(lengths(12), [2, 1]);
    assert_eq!(reader.entries(GROUP, 3, 3, 99).unwrap()[0].payloads, [Bytes::from_static(b"cccc")]);
}

#[test]
fn a_truncated_suffix_is_never_read_again() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one", b"two", b"old"]).unwrap();
    log.append(GROUP, Record::Truncate { after: 2 }).unwrap();
    let payloads = [Bytes::from_static(b"new")];
    log.append(GROUP, Record::Entries { term: 2, first: 3, log_time: 0, payloads: &payloads, marked: false }).unwrap();
    log.flush().unwrap();
    let assert_replaced = |log: &Log<FaultyDisk>| {
        let runs = log.reader().entries(GROUP, 1, 3, 99).unwrap();
        assert_eq!(runs.iter().map(|run| (run.term, run.payloads.len())).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
        assert_eq!(runs[1].payloads, payloads);
    };
    assert_replaced(&log);
    disk.crash_with(&mut |_| 0);
    assert_replaced(&open(&disk));
}

#[test]
#[should_panic(expected = "1 entries from index 3 of term 1 do not follow the last entry, index 1 of term 1")]
fn a_gap_is_a_callers_fault() {
    let mut log = open(&FaultyDisk::new());
    append_entries(&mut log, GROUP, &[b"one"]);
    let payloads = [Bytes::new()];
    let _ = log.append(GROUP, Record::Entries { term: 1, first: 3, log_time: 0, payloads: &payloads, marked: false });
}

#[test]
#[should_panic(expected = "a truncation after index 0 is outside of what may go: committed 1")]
fn a_truncation_of_what_is_committed_is_a_callers_fault() {
    let mut log = open(&FaultyDisk::new());
    append_entries(&mut log, GROUP, &[b"one"]);
    log.append(GROUP, Record::Committed { index: 1 }).unwrap();
    let _ = log.append(GROUP, Record::Truncate { after: 0 });
}

#[test]
fn a_directory_that_a_peer_refused_is_never_opened_again() {
    let disk = some_log();
    let mut log = open(&disk);
    let own = log.identity();
    let met = PeerIdentity { incarnation: own.incarnation, start: own.start + 1, nonce: 77 };
    log.refuse(3, met).unwrap();
    drop(log);
    // Nothing but what was synced.
    disk.crash_with(&mut |_| 0);
    for _ in 0..3 {
        let error = refusal(&disk, tiny(SEGMENT));
        let OpenError::Refused(refused) = &error else { panic!("{error}") };
        assert_eq!((refused.by, refused.met, refused.own.start), (3, met, own.start));
        let said = error.to_string();
        assert!(
            said.contains("node 3 has met start 3") && said.contains("start 2") && said.contains("remove"),
            "{said}"
        );
    }
    assert!(disk.overwrite(&directory().join("refused"), 20, &[0xff]));
    assert!(matches!(refusal(&disk, tiny(SEGMENT)), OpenError::Corrupt(_)), "a damaged mark is a mark");
}

#[test]
fn a_refusal_on_a_full_disk_takes_its_room_from_the_segment_made_ahead() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    assert!(log.preparer().prepare().unwrap());
    disk.limit_bytes(Some(0));
    let met = PeerIdentity { start: 9, ..PeerIdentity::default() };
    assert!(log.refuse(2, met).is_err(), "not a byte");
    drop(log);
    disk.limit_bytes(None);
    let mut log = open(&disk);
    log.preparer().prepare().unwrap();
    // Not even half a mark.
    disk.limit_bytes(Some(disk.bytes_held() + 30));
    log.refuse(2, met).unwrap();
    drop(log);
    assert!(matches!(refusal(&disk, tiny(SEGMENT)), OpenError::Refused(_)));
}

#[test]
fn a_reader_whose_file_goes_before_it_is_opened_looks_again() {
    let disk = Meddled::new(FaultyDisk::new());
    let mut log = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap();
    let reader = log.reader();
    let append = |log: &mut Log<Meddled>, first| {
        let payloads = [Bytes::from(vec![7; 900])];
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false }).unwrap();
        log.flush().unwrap();
    };
    (1..=30).for_each(|index| append(&mut log, index));
    let (path, _) = reader.place(GROUP, 1).unwrap();
    let through = LogPosition { term: 1, index: 29 };
    let gone = disk.clone();
    disk.once(Before::Open, move || {
        log.append(GROUP, Record::Purge { through }).unwrap();
        log.flush().unwrap();
        assert!(log.preparer().prepare().unwrap());
        assert!(gone.open(&path, Access::Read).is_err(), "the file was to go");
    });
    let read = reader.entries(GROUP, 1, 3, usize::MAX);
    assert!(matches!(read, Err(ReadError::Purged { from: 1, purged }) if purged == through), "{read:?}");
}

#[test]
fn a_segment_that_was_cut_is_refused_as_damaged_wherever_it_was_cut() {
    let whole = some_log();
    let bytes = whole.files()[&segment(2)].clone();
    for length in [0, 700, 1_023, bytes.len() - 512, bytes.len() - 1] {
        let disk = whole.fork();
        let file = disk.create(&segment(2)).unwrap();
        file.write_all_at(&bytes[..length], 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_directory(directory()).unwrap();
        let error = refusal(&disk, tiny(SEGMENT));
        let is_told =
            matches!(&error, OpenError::Corrupt(found) if found.file == segment(2) && found.offset == length as u64);
        assert!(is_told, "{length} bytes: {error}");
    }
}

/// The trailer alone says that a segment was in use, if its first group is lost.
#[test]
fn a_footer_that_is_lost_is_refused_though_no_later_segment_has_its_first_group() {
    let disk = some_log();
    let Seal { footer, .. } = Frames::find(&disk.files()[&segment(3)]).unwrap().seal.unwrap();
    assert!(disk.flip_bit(&segment(3), footer + 10, 0));
    for sequence in [4, 5] {
        assert!(disk.overwrite(&segment(sequence), 512, &[0; 512]));
    }
    let error = refusal(&disk, tiny(SEGMENT));
    assert!(matches!(&error, OpenError::Corrupt(found) if found.file == segment(3)), "{error}");
}

#[test]
#[should_panic(expected = "a run of no entries at index 2")]
fn a_run_of_no_entries_is_a_callers_fault() {
    let mut log = open(&FaultyDisk::new());
    append_entries(&mut log, GROUP, &[b"one"]);
    let _ = log.append(GROUP, Record::Entries { term: 1, first: 2, log_time: 0, payloads: &[], marked: false });
}

#[test]
#[should_panic(expected = "entries 0..=1 are no range")]
fn an_entry_before_the_first_is_a_readers_fault() {
    let mut log = open(&FaultyDisk::new());
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    let _ = log.reader().entries(GROUP, 0, 1, 99);
}

#[test]
#[should_panic(expected = "entries 2..=1 are no range")]
fn a_range_that_goes_back_is_a_readers_fault() {
    let mut log = open(&FaultyDisk::new());
    flush_entries(&mut log, GROUP, &[b"one", b"two"]).unwrap();
    let _ = log.reader().entries(GROUP, 2, 1, 99);
}

#[test]
#[should_panic(expected = "a directory is not refused for what it is")]
fn a_refusal_for_what_a_directory_is_is_a_callers_fault() {
    let mut log = open(&FaultyDisk::new());
    let own = log.identity();
    let _ = log.refuse(2, PeerIdentity { incarnation: own.incarnation, start: own.start, nonce: own.nonce });
}

#[test]
fn what_a_file_system_keeps_in_the_root_of_a_disk_is_nothing_else() {
    let disk = FaultyDisk::new();
    disk.create_directory(directory()).unwrap();
    disk.create(&directory().join("lost+found")).unwrap();
    open(&disk);
}

/// Each of the two is there for file systems, or people, that do without the other.
#[test]
fn a_directory_of_which_either_lock_is_held_is_refused() {
    let disk = some_log();
    let file = disk.lock(&directory().join("lock")).unwrap();
    assert!(matches!(Log::open(disk.clone(), directory(), tiny(SEGMENT)), Err(OpenError::Locked { .. })));
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::Locked { .. })));
    drop(file);
    let itself = disk.lock_directory(directory()).unwrap();
    assert!(matches!(Log::open(disk.clone(), directory(), tiny(SEGMENT)), Err(OpenError::Locked { .. })));
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::Locked { .. })));
    drop(itself);
    open(&disk);
}

#[test]
fn only_what_lies_behind_an_index_is_counted_in_bytes() {
    let mut log = open(&FaultyDisk::new());
    let reader = log.reader();
    assert_eq!(reader.bytes_behind(GROUP, 0), 0);
    flush_entries(&mut log, GROUP, &[b"one", b"two"]).unwrap();
    let first = reader.bytes_behind(GROUP, 0);
    flush_entries(&mut log, GROUP, &[&[7; 300]]).unwrap();
    assert!(first > 6 && reader.bytes_behind(GROUP, 2) > 300);
    assert_eq!(reader.bytes_behind(GROUP, 1), first + reader.bytes_behind(GROUP, 2), "a run counts as a whole");
    assert_eq!(reader.bytes_behind(GROUP, 3), 0);
}

#[test]
fn a_verification_that_is_overtaken_by_a_purge_goes_on_behind_that() {
    let disk = Meddled::new(FaultyDisk::new());
    let mut log = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap();
    let reader = log.reader();
    for first in 1..=30 {
        let payloads = [Bytes::from(vec![7; 900])];
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false }).unwrap();
        log.flush().unwrap();
    }
    disk.once(Before::Open, move || {
        log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: 29 } }).unwrap();
        log.flush().unwrap();
        assert!(log.preparer().prepare().unwrap());
    });
    assert_eq!(reader.verify().unwrap(), 1);
}
