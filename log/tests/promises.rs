//! A test for each promise of a durable log; removing a sync, a check or a bound turns one of them red.

mod workload;

use std::path::PathBuf;

use bytes::Bytes;
use outrigger_log::{
    AppendError, Corruption, FaultyDisk, FlushError, Frames, GroupId, Log, LogPosition, OpenError, PrepareError,
    ReadError, Record, Vote,
};
use workload::{Rng, append_entries, directory, flush_entries, lose, observe, segment, tiny};

const GROUP: GroupId = GroupId(1);
const SEGMENT: u64 = 16 << 10;

fn open(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap()
}

fn last_index(log: &Log<FaultyDisk>) -> u64 {
    log.group(GROUP).map_or(0, |state| state.last.index)
}

#[test]
fn a_vote_is_durable_when_the_flush_answers() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    log.append(GROUP, Record::Vote { term: 3, voted_for: Some(2) }).unwrap();
    log.flush().unwrap();
    log.append(GROUP, Record::Vote { term: 4, voted_for: Some(1) }).unwrap();
    lose(&disk);
    assert_eq!(open(&disk).group(GROUP).unwrap().vote, Vote { term: 3, voted_for: Some(2) });
}

#[test]
#[should_panic(expected = "contradicts the saved one for Some(2) in term 3")]
fn a_vote_never_changes_within_its_term() {
    let mut log = open(&FaultyDisk::new());
    log.append(GROUP, Record::Vote { term: 3, voted_for: Some(2) }).unwrap();
    let _ = log.append(GROUP, Record::Vote { term: 3, voted_for: Some(1) });
}

#[test]
fn entries_are_durable_when_the_flush_answers_and_not_seen_before() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one", b"two"]).unwrap();
    append_entries(&mut log, GROUP, &[b"three"]);
    assert!(matches!(log.reader().entries(GROUP, 1, 3, 99), Err(ReadError::Beyond { through: 3, .. })));
    assert_eq!((last_index(&log), log.reader().entries(GROUP, 1, 2, 99).unwrap()[0].payloads.len()), (3, 2));
    lose(&disk);
    assert_eq!(last_index(&open(&disk)), 2);
}

#[test]
fn all_that_is_queued_takes_one_write_and_one_sync() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let before = disk.counts();
    for group in 0..64 {
        append_entries(&mut log, GroupId(group), &[b"x"]);
    }
    assert!(log.queued_bytes() > 64);
    log.flush().unwrap();
    log.flush().unwrap();
    let after = disk.counts();
    assert_eq!((after.operations - before.operations, after.writes - before.writes), (2, 1));
    assert_eq!((after.syncs - before.syncs, log.queued_bytes()), (1, 0));
}

#[test]
fn the_name_of_a_new_segment_is_durable_before_anything_in_it_is_acknowledged() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let mut flushed = 0;
    while !disk.files().contains_key(&segment(4)) {
        flush_entries(&mut log, GROUP, &[&[7; 900]]).unwrap();
        flushed += 1;
    }
    lose(&disk);
    let log = open(&disk);
    assert_eq!(last_index(&log), flushed);
    assert_eq!(log.reader().verify().unwrap(), flushed);
}

#[test]
fn a_prepared_segment_saves_the_flush_from_making_one() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let preparer = log.preparer();
    assert!(preparer.prepare().unwrap());
    assert!(!preparer.prepare().unwrap(), "one is enough");
    let before = disk.counts();
    let flushes = 40;
    for _ in 0..flushes {
        flush_entries(&mut log, GROUP, &[&[7; 300]]).unwrap();
    }
    let after = disk.counts();
    assert!(disk.files().contains_key(&segment(2)));
    assert!(!disk.files().contains_key(&segment(3)));
    // One write and one sync a flush, two writes and one sync for the footer and its trailer, and no directory.
    assert_eq!(after.operations - before.operations, 2 * flushes + 3);
}

/// Every legal outcome of a crash in the middle of the flush of a group of several sectors.
#[test]
fn a_torn_group_is_cut_whole_whatever_of_it_was_written() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"kept"]).unwrap();
    let before = observe(&log);
    append_entries(&mut log, GROUP, &[&[1; 600], &[2; 600], &[3; 600]]);
    disk.power_off_after(1);
    assert!(matches!(log.flush(), Err(FlushError::Disk(_))), "the sync was to fail");
    let sectors = 4;
    for kept in 0..1_u32 << sectors {
        let torn = disk.fork();
        let mut sector = 0;
        torn.crash_with(&mut |_| {
            sector += 1;
            // The first question is about the length, which is preallocated.
            if sector == 1 { 0 } else { (kept >> (sector - 2) & 1) as usize }
        });
        assert_eq!(sector, sectors + 1, "a group of another size");
        let mut recovered = open(&torn);
        if kept + 1 == 1 << sectors {
            assert_eq!(last_index(&recovered), 4);
            continue;
        }
        assert_eq!(observe(&recovered), before, "kept sectors: {kept:04b}");
        let cut = recovered.cut().map(|cut| (cut.file.clone(), cut.offset, cut.index));
        assert_eq!(cut, (kept > 0).then(|| (segment(1), 1_024, Some(2))), "what was cut is told, and only that");
        flush_entries(&mut recovered, GROUP, &[b"new"]).unwrap();
        lose(&torn);
        assert_eq!(last_index(&open(&torn)), 2);
    }
}

#[test]
fn what_was_cut_never_comes_back() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"kept"]).unwrap();
    log.mark().unwrap();
    append_entries(&mut log, GROUP, &[b"never acknowledged"]);
    disk.power_off_after(1);
    log.flush().unwrap_err();
    // The mark is lost and the group behind it, whole, is not.
    let mut question = 0;
    disk.crash_with(&mut |ways| {
        question += 1;
        if question == 3 { ways - 1 } else { 0 }
    });
    assert_eq!(question, 3, "the length, the mark, the group");
    let mut log = open(&disk);
    assert_eq!(last_index(&log), 1);
    // This group fills exactly the gap before the one that was cut.
    flush_entries(&mut log, GROUP, &[b"acknowledged"]).unwrap();
    lose(&disk);
    let log = open(&disk);
    assert_eq!(last_index(&log), 2);
    assert_eq!(log.reader().entries(GROUP, 2, 2, 99).unwrap()[0].payloads, [Bytes::from_static(b"acknowledged")]);
}

#[test]
fn whichever_sync_fails_what_the_next_process_finds_in_the_cache_is_made_durable() {
    let mut footers = 0;
    for syncs in 0..20 {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        assert!(log.preparer().prepare().unwrap());
        disk.fail_sync_after(syncs);
        while flush_entries(&mut log, GROUP, &[&[7; 900]]).is_ok() {}
        let files = disk.files();
        let is_sealed = Frames::find(&files[&segment(1)]).unwrap().seal.is_some();
        let is_next_used = files[&segment(2)][512..].iter().any(|&byte| byte != 0);
        footers += u32::from(is_sealed && !is_next_used);
        disk.kill();
        let mut log = open(&disk);
        let found = last_index(&log);
        flush_entries(&mut log, GROUP, &[b"more"]).unwrap();
        lose(&disk);
        assert_eq!(open(&disk).reader().verify().unwrap(), found + 1, "sync {syncs} failed");
    }
    assert_eq!(footers, 1, "the sync of the footer was to be among them");
}

/// Three flushed groups of one sector each: at 512, 1024 and 1536.
fn three_groups() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    for payload in [b"one", b"two", b"six"] {
        flush_entries(&mut log, GROUP, &[payload]).unwrap();
    }
    drop(log);
    disk
}

#[test]
fn rot_that_a_later_header_proves_to_have_been_synced_is_refused_with_file_offset_and_index() {
    let whole = three_groups();
    for offset in 1_024..1_024 + 64 + 48 + 4 + 3 {
        let disk = whole.fork();
        assert!(disk.flip_bit(&segment(1), offset, 3));
        let files = disk.files();
        match Log::open(disk.clone(), directory(), tiny(SEGMENT)) {
            Err(OpenError::Corrupt(Corruption { file, offset: found, group, index, .. })) => {
                let record = if offset < 1_088 { 1_024 } else { 1_088 };
                assert_eq!((file, found), (segment(1), record), "rot at {offset}");
                assert_eq!((group, index), (Some(GROUP), Some(2)), "rot at {offset}");
            }
            other => panic!("rot at {offset}: {other:?}"),
        }
        assert_eq!(disk.files(), files, "something was changed");
    }
}

#[test]
fn of_a_rotten_group_the_first_index_that_cannot_be_read_is_told() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"one"]).unwrap();
    append_entries(&mut log, GROUP, &[b"two"]);
    flush_entries(&mut log, GROUP, &[b"three"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"four"]).unwrap();
    drop(log);
    let second = disk.bytes_of(&segment(1)).unwrap().windows(5).position(|bytes| bytes == b"three").unwrap() as u64;
    assert!(disk.flip_bit(&segment(1), second, 0));
    let error = Log::open(disk, directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt(found) if found.index == Some(3)), "two is whole: {error}");
}

#[test]
fn a_lost_write_that_was_reported_synced_is_refused() {
    let disk = three_groups();
    assert!(disk.overwrite(&segment(1), 1_024, &[0; 512]));
    let error = Log::open(disk, directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt(found) if found.offset == 1_024 && found.index == Some(2)), "{error}");
}

#[test]
fn rot_in_the_last_group_looks_like_a_tear_unless_a_mark_says_that_it_was_synced() {
    let disk = three_groups();
    let marked = disk.fork();
    open(&marked).mark().unwrap();
    lose(&marked); // a mark is lazy: it may be lost, and nothing with it
    assert_eq!(last_index(&open(&marked)), 3);

    let mut log = open(&marked);
    log.mark().unwrap();
    let writes = marked.counts().writes;
    log.mark().unwrap();
    assert_eq!(marked.counts().writes, writes, "one mark is enough");
    drop(log);
    for disk in [&disk, &marked] {
        assert!(disk.flip_bit(&segment(1), 1_600, 0));
    }
    let log = open(&disk);
    assert_eq!(last_index(&log), 2);
    let cut = log.cut().expect("a record was cut").to_string();
    let path = segment(1).display().to_string();
    assert!(cut.contains(&path) && cut.contains("offset 1536, ") && cut.contains("is 3: "), "{cut}");
    drop(log);
    assert_eq!(open(&disk).cut(), None, "it is cut once");
    let error = Log::open(marked, directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt(found) if found.index == Some(3)), "{error}");
}

/// Fills segments of one group until there are `sealed` of them; answers the last index.
fn fill(log: &mut Log<FaultyDisk>, disk: &FaultyDisk, sealed: u64) -> u64 {
    while !disk.files().contains_key(&segment(sealed + 1)) {
        flush_entries(log, GROUP, &[&[7; 300], &[8; 300]]).unwrap();
    }
    last_index(log)
}

#[test]
fn rot_in_a_sealed_segment_is_found_when_it_is_read() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 2);
    drop(log);
    assert!(disk.flip_bit(&segment(1), 1_024 + 512 + 100, 5));
    let log = open(&disk);
    assert_eq!(last_index(&log), last);
    let found = match log.reader().entries(GROUP, 1, last, usize::MAX) {
        Err(ReadError::Corrupt(found)) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!((found.file, found.offset, found.index), (segment(1), 1_600, Some(3)));
    assert!(matches!(log.reader().verify(), Err(ReadError::Corrupt(_))));
    assert_eq!(log.reader().entries(GROUP, 5, last, 1).unwrap()[0].first, 5, "the rest is readable");
}

#[test]
fn a_start_reads_footers_and_the_last_segment_only() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 3);
    let before = observe(&log);
    drop(log);
    // Bodies that nobody reads may be gone.
    let whole = disk.files();
    for sequence in 1..=3 {
        assert!(disk.overwrite(&segment(sequence), 512, &[0xff; 4_096]));
    }
    assert_eq!(last_index(&open(&disk)), last);
    for sequence in 1..=3 {
        assert!(disk.overwrite(&segment(sequence), 0, &whole[&segment(sequence)]));
    }
    assert_eq!(observe(&open(&disk)), before);
}

#[test]
fn a_failed_sync_poisons_the_log_and_is_never_tried_again() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"kept"]).unwrap();
    disk.fail_sync_after(0);
    let error = flush_entries(&mut log, GROUP, &[b"doubtful"]).unwrap_err();
    assert!(matches!(error, FlushError::Disk(_)), "{error}");
    let operations = disk.counts().operations;
    assert!(matches!(log.flush(), Err(FlushError::Poisoned { .. })));
    assert!(matches!(log.mark(), Err(FlushError::Poisoned { .. })));
    assert!(matches!(log.append(GROUP, Record::Committed { index: 1 }), Err(AppendError::Poisoned { .. })));
    assert!(log.preparer().prepare().is_err());
    assert_eq!(disk.counts().operations, operations, "the disk was asked again");
    assert_eq!(log.reader().entries(GROUP, 1, 1, 99).unwrap().len(), 1, "reads go on");
    assert!(matches!(log.reader().entries(GROUP, 1, 2, 99), Err(ReadError::Beyond { .. })));
}

#[test]
fn what_is_recovered_after_a_failed_sync_or_a_kill_survives_the_next_power_cut() {
    for sync_fails in [true, false] {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        flush_entries(&mut log, GROUP, &[b"kept"]).unwrap();
        if sync_fails {
            disk.fail_sync_after(0);
        } else {
            disk.power_off_after(1);
        }
        flush_entries(&mut log, GROUP, &[b"in the cache only"]).unwrap_err();
        let disk = if sync_fails { disk } else { restored_power(&disk) };
        disk.kill();
        let recovered = last_index(&open(&disk));
        lose(&disk);
        assert_eq!(last_index(&open(&disk)), recovered, "sync fails: {sync_fails}");
    }
}

/// The same disk with its cache, as if only the process had died.
fn restored_power(disk: &FaultyDisk) -> FaultyDisk {
    disk.power_off_after(u64::MAX);
    disk.clone()
}

#[test]
fn a_full_disk_refuses_entries_and_still_saves_votes_and_serves_reads() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let used = disk.files().values().map(Vec::len).sum::<usize>() as u64;
    disk.limit_bytes(Some(used + 512));
    let mut flushed = 0;
    let error = loop {
        match flush_entries(&mut log, GROUP, &[&[7; 900]]) {
            Ok(()) => flushed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FlushError::DiskFull { votes_saved: true, .. }), "{error}");
    assert_eq!(log.reader().entries(GROUP, 1, flushed, usize::MAX).unwrap().len() as u64, flushed);
    log.append(GROUP, Record::Vote { term: 9, voted_for: Some(3) }).unwrap();
    let error = log.flush().unwrap_err();
    assert!(matches!(error, FlushError::DiskFull { votes_saved: true, .. }), "{error}");

    let crashed = disk.fork();
    lose(&crashed);
    crashed.limit_bytes(None);
    let recovered = open(&crashed);
    let state = recovered.group(GROUP).unwrap();
    assert_eq!((state.vote.voted_for, state.last.index), (Some(3), flushed));

    // Nothing was lost: with room again, what is queued goes on.
    disk.limit_bytes(None);
    log.flush().unwrap();
    assert_eq!(log.reader().verify().unwrap(), flushed + 1);
}

#[test]
fn a_full_disk_takes_votes_only_as_long_as_space_is_kept_and_says_so() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    disk.limit_bytes(Some(SEGMENT));
    while flush_entries(&mut log, GROUP, &[&[7; 900]]).is_ok() {}
    let mut saved = 0;
    let error = loop {
        log.append(GROUP, Record::Vote { term: saved + 1, voted_for: None }).unwrap();
        match log.flush() {
            Err(FlushError::DiskFull { votes_saved: true, .. }) => saved += 1,
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, FlushError::DiskFull { votes_saved: false, .. }), "{error}");
    assert!(saved >= 4, "an eighth of the segment holds {saved} votes");
    let crashed = disk.fork();
    lose(&crashed);
    crashed.limit_bytes(None);
    assert_eq!(open(&crashed).group(GROUP).unwrap().vote.term, saved);

    // With room again, the vote that had none is saved, and all that is queued with it.
    let last = last_index(&log);
    disk.limit_bytes(None);
    log.flush().unwrap();
    drop(log);
    lose(&disk);
    let recovered = open(&disk);
    assert_eq!((recovered.group(GROUP).unwrap().vote.term, last_index(&recovered)), (saved + 1, last));
}

/// Fills the disk, so that the last entry waits for room; answers the last index on the disk.
fn fill_up(log: &mut Log<FaultyDisk>, disk: &FaultyDisk, payload: &'static [u8]) -> u64 {
    disk.limit_bytes(Some(disk.bytes_held()));
    while flush_entries(log, GROUP, &[payload]).is_ok() {}
    last_index(log) - 1
}

/// What is committed and purged of a log is what stands behind the truncation: of what stood there before, it would be another's.
#[test]
fn on_a_full_disk_nothing_of_a_group_goes_ahead_of_a_truncation() {
    for purges in [false, true] {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        let flushed = fill_up(&mut log, &disk, &[7; 900]);
        assert!(flushed > 4, "the indexes below are on the disk, in term 1");
        log.append(GROUP, Record::Truncate { after: 2 }).unwrap();
        let payloads = [Bytes::from_static(&[8; 900]), Bytes::from_static(&[9; 900])];
        let anew = Record::Entries { term: 2, first: 3, log_time: 0, payloads: &payloads, marked: false };
        log.append(GROUP, anew).unwrap();
        log.append(GROUP, Record::Committed { index: 4 }).unwrap();
        if purges {
            log.append(GROUP, Record::Purge { through: LogPosition { term: 2, index: 3 } }).unwrap();
        }
        log.append(GROUP, Record::Vote { term: 5, voted_for: Some(3) }).unwrap();
        assert!(matches!(log.flush(), Err(FlushError::DiskFull { votes_saved: true, .. })), "purges: {purges}");
        let crashed = disk.fork();
        lose(&crashed);
        crashed.limit_bytes(None);
        let state = open(&crashed).group(GROUP).unwrap().clone();
        assert_eq!((state.vote.term, state.committed, state.last), (5, 0, LogPosition { term: 1, index: flushed }));
        disk.limit_bytes(None);
        log.flush().unwrap();
        let all = observe(&log);
        drop(log);
        lose(&disk);
        assert_eq!(observe(&open(&disk)), all);
        assert_eq!(all[&GROUP].last(), LogPosition { term: 2, index: 4 });
    }
}

#[test]
fn on_a_full_disk_votes_of_groups_that_no_footer_knows_leave_room_for_the_footer() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill_up(&mut log, &disk, &[7; 900]);
    // An entry makes each of them known, and its vote goes ahead of that.
    for group in (10..30).map(GroupId) {
        append_entries(&mut log, group, &[&[7; 900]]);
        log.append(group, Record::Vote { term: 1, voted_for: None }).unwrap();
    }
    assert!(matches!(log.flush(), Err(FlushError::DiskFull { votes_saved: false, .. })), "there is room for a few");
    disk.limit_bytes(None);
    log.flush().unwrap();
    let all = observe(&log);
    drop(log);
    lose(&disk);
    assert_eq!((observe(&open(&disk)), all.len()), (all, 21));
}

#[test]
fn a_mark_takes_nothing_of_the_space_that_is_kept_for_votes() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill_up(&mut log, &disk, b"less than a sector");
    let writes = disk.counts().writes;
    log.mark().unwrap();
    assert_eq!(disk.counts().writes, writes);
    disk.limit_bytes(None);
    log.flush().unwrap();
    log.mark().unwrap();
    assert!(disk.counts().writes > writes + 1, "where there is room it is written");
}

#[test]
fn a_segment_that_somebody_has_removed_already_is_no_failure() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 3);
    log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: last - 1 } }).unwrap();
    log.flush().unwrap();
    let preparer = log.preparer();
    assert!([1, 2].iter().all(|sequence| disk.files().contains_key(&segment(*sequence))));
    outrigger_log::Disk::remove(&disk, &segment(1)).unwrap();
    assert!(preparer.prepare().unwrap());
    assert!(!disk.files().contains_key(&segment(2)));
    flush_entries(&mut log, GROUP, &[b"it goes on"]).unwrap();
}

#[test]
fn a_purge_makes_room_on_a_full_disk_and_need_not_wait_behind_the_entries_that_lack_it() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 2);
    disk.limit_bytes(Some(3 * SEGMENT + 1_024));
    while log.queued_bytes() == 0 {
        let _ = flush_entries(&mut log, GROUP, &[&[7; 900]]);
    }
    let appended = last_index(&log);
    assert!(matches!(log.flush(), Err(FlushError::DiskFull { votes_saved: true, .. })));
    log.append(GROUP, Record::Committed { index: last - 1 }).unwrap();
    log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: last } }).unwrap();
    log.append(GROUP, Record::Committed { index: appended }).unwrap();
    log.flush().unwrap();
    assert!(!disk.files().contains_key(&segment(1)), "nothing lives in the first segment");
    lose(&disk);
    assert_eq!(open(&disk).reader().verify().unwrap(), appended - last);
}

#[test]
fn segments_that_come_back_after_a_crash_bring_nothing_back() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill(&mut log, &disk, 2);
    log.append(GROUP, Record::Truncate { after: 3 }).unwrap();
    log.flush().unwrap();
    let last = fill(&mut log, &disk, 4);
    log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: last - 1 } }).unwrap();
    log.flush().unwrap();
    let before = observe(&log);
    let names = disk.files().into_keys().collect::<Vec<_>>();
    disk.power_off_after(2);
    assert!(log.preparer().prepare().is_err(), "the power fails before the directory is synced");
    assert_eq!(disk.files().len(), names.len() - 2, "two segments were removed");
    lose(&disk);
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), names, "and came back");
    let log = open(&disk);
    assert_eq!(observe(&log), before);
    assert!(log.preparer().prepare().unwrap());
    assert!(!disk.files().contains_key(&segment(1)), "removed again");
}

/// Found by reading: one failed removal kept every later segment from being made ahead of need.
#[test]
fn a_segment_that_cannot_be_removed_keeps_no_other_from_being_made_and_is_removed_later() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 3);
    log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: last - 1 } }).unwrap();
    log.flush().unwrap();
    disk.fail_removals(true);
    let error = log.preparer().prepare().unwrap_err();
    assert!(matches!(error, PrepareError::NotRemoved(_)) && error.to_string().contains("remove of"), "{error}");
    assert!(disk.files().contains_key(&segment(5)), "the next one is made nevertheless");
    let operations = disk.counts().operations;
    assert!(!log.preparer().prepare().unwrap(), "it is not tried again with every call");
    assert_eq!(disk.counts().operations, operations);
    fill(&mut log, &disk, 5);
    let error = log.preparer().prepare().unwrap_err();
    assert!(matches!(error, PrepareError::NotRemoved(_)), "but with the next segment: {error}");
    disk.fail_removals(false);
    fill(&mut log, &disk, 7);
    assert!(log.preparer().prepare().unwrap());
    assert!((1..=3).all(|sequence| !disk.files().contains_key(&segment(sequence))), "removed at last");
}

#[test]
fn bytes_of_another_segment_or_of_an_earlier_life_never_verify() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    fill(&mut log, &disk, 1);
    flush_entries(&mut log, GROUP, &[b"first of segment 2"]).unwrap();
    let last = last_index(&log);
    drop(log);
    let older = disk.files()[&segment(1)].clone();
    // A group of segment 1, at its own offset, where segment 2 has zeros.
    assert!(disk.overwrite(&segment(2), 4_096, &older[4_096..8_192]));
    assert_eq!(last_index(&open(&disk)), last);
    // The whole file under another name.
    assert!(disk.overwrite(&segment(2), 0, &older));
    let error = Log::open(disk, directory(), tiny(SEGMENT)).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt(found) if found.file == segment(2) && found.offset == 0), "{error}");
}

#[test]
fn opening_may_crash_at_every_step_and_be_repeated() {
    // A tail to cut, segments to remove, a leftover: everything that a recovery repairs.
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let last = fill(&mut log, &disk, 3);
    log.append(GROUP, Record::Purge { through: LogPosition { term: 1, index: last - 5 } }).unwrap();
    log.flush().unwrap();
    let before = observe(&log);
    append_entries(&mut log, GROUP, &[&[1; 3_000]]);
    disk.power_off_after(1);
    log.flush().unwrap_err();
    let start = log.identity().start;
    drop(log);
    for seed in 0..200 {
        let disk = disk.fork();
        disk.crash(Rng(seed).next());
        let mut steps = 0;
        loop {
            disk.power_off_after(steps);
            match Log::open(disk.clone(), directory(), tiny(SEGMENT)) {
                Ok(_) => break,
                Err(OpenError::Disk(_)) => disk.crash(Rng(seed * 100 + steps).next()),
                Err(error) => panic!("seed {seed}, step {steps}: {error}"),
            }
            steps += 1;
        }
        assert!(steps > 5, "{steps} steps");
        disk.crash(seed);
        let log = open(&disk);
        let found = observe(&log);
        let torn = found != before;
        assert!(!torn || found[&GROUP].last().index == last + 1, "seed {seed}");
        assert!(log.identity().start > start + 1, "seed {seed}: start {}", log.identity().start);
        assert_eq!(log.identity().incarnation, 0xfeed);
    }
}

#[test]
fn creation_may_crash_at_every_step_and_be_repeated() {
    for seed in 0..200 {
        let disk = FaultyDisk::new();
        for steps in 0.. {
            disk.power_off_after(steps);
            match Log::open(disk.clone(), directory(), tiny(SEGMENT)) {
                Ok(_) => break,
                Err(OpenError::Disk(_)) => disk.crash(Rng(seed * 100 + steps).next()),
                Err(error) => panic!("seed {seed}, step {steps}: {error}"),
            }
        }
        lose(&disk);
        let log = open(&disk);
        assert!(log.identity().start >= 2, "seed {seed}: a start that was answered is counted");
        assert_eq!(log.groups().count(), 0, "seed {seed}");
    }
}

#[test]
fn the_zeros_of_a_long_segment_are_synced_piece_by_piece_so_that_no_flush_waits_behind_all_of_them() {
    let syncs = |segment_bytes| {
        let disk = FaultyDisk::new();
        Log::open(disk.clone(), directory(), tiny(segment_bytes)).unwrap();
        disk.counts().syncs
    };
    let short = syncs(SEGMENT);
    assert_eq!((syncs(1 << 20), syncs(3 << 20), syncs(8 << 20)), (short, short + 2, short + 7));
}

#[test]
fn each_start_is_durably_counted() {
    let disk = FaultyDisk::new();
    for start in 1..5 {
        let options = outrigger_log::OpenOptions { nonce: start * 10, incarnation: start, ..tiny(SEGMENT) };
        let identity = Log::open(disk.clone(), directory(), options).unwrap().identity();
        assert_eq!((identity.start, identity.nonce, identity.incarnation), (start, start * 10, 1));
        lose(&disk);
    }
}

#[test]
fn a_short_write_is_continued() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    disk.short_write_after(0);
    flush_entries(&mut log, GROUP, &[&[5; 2_000]]).unwrap();
    lose(&disk);
    assert_eq!(open(&disk).reader().verify().unwrap(), 1);
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_larger_segment() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let large = Bytes::from(vec![9; 100_000]);
    let payloads = [Bytes::from_static(b"small"), large.clone(), Bytes::from_static(b"small")];
    log.append(GROUP, Record::Entries { term: 1, first: 1, log_time: 5, payloads: &payloads, marked: true }).unwrap();
    log.flush().unwrap();
    lose(&disk);
    let log = open(&disk);
    assert_eq!(log.group(GROUP).unwrap().marked, [1, 2, 3]);
    let runs = log.reader().entries(GROUP, 2, 2, usize::MAX).unwrap();
    assert_eq!((runs[0].payloads[0].len(), runs[0].log_time), (100_000, 5));
    assert_eq!(log.reader().verify().unwrap(), 3);
}

#[test]
fn an_entry_beyond_the_limit_is_refused_and_nothing_is_queued() {
    let options = outrigger_log::OpenOptions { entry_bytes_max: 10, ..tiny(SEGMENT) };
    let mut log = Log::open(FaultyDisk::new(), directory(), options).unwrap();
    let payloads = [Bytes::from_static(b"0123456789"), Bytes::from_static(b"0123456789a")];
    let run = Record::Entries { term: 1, first: 1, log_time: 0, payloads: &payloads, marked: false };
    let refused = AppendError::EntryTooLarge { index: 2, bytes: 11, bytes_max: 10 };
    assert_eq!(log.append(GROUP, run), Err(refused));
    assert_eq!((log.queued_bytes(), log.groups().count()), (0, 0));
}

#[test]
fn a_segment_full_of_marked_entries_has_room_for_a_footer_that_names_them_all() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let payloads = [(); 10].map(|()| Bytes::from_static(b"x"));
    for first in (1..1000).step_by(10) {
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: true }).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    lose(&disk);
    assert!(open(&disk).group(GROUP).unwrap().marked.iter().copied().eq(1..=1000));
}

#[test]
fn the_states_of_many_groups_outlive_the_segments_they_were_written_in() {
    let disk = FaultyDisk::new();
    let mut log = Log::open(disk.clone(), directory(), tiny(4_096)).unwrap();
    for round in 1..=3 {
        for group in 0..300 {
            log.append(GroupId(group), Record::Vote { term: round, voted_for: Some(group) }).unwrap();
            append_entries(&mut log, GroupId(group), &[b"entry"]);
            let through = LogPosition { term: u64::from(round > 1), index: round - 1 };
            log.append(GroupId(group), Record::Purge { through }).unwrap();
        }
        log.flush().unwrap();
        log.preparer().prepare().unwrap();
    }
    let before = observe(&log);
    lose(&disk);
    let log = Log::open(disk, directory(), tiny(4_096)).unwrap();
    assert_eq!(observe(&log), before);
    assert_eq!(log.groups().count(), 300);
}

#[test]
fn garbage_anywhere_is_refused_or_cut_and_never_panics() {
    let whole = three_groups();
    let mut sealed = Log::open(whole.clone(), directory(), tiny(SEGMENT)).unwrap();
    fill(&mut sealed, &whole, 2);
    drop(sealed);
    let names: Vec<PathBuf> = whole.files().into_keys().collect();
    for seed in 0..3_000 {
        let mut rng = Rng(seed);
        let disk = whole.fork();
        let path = &names[usize::try_from(rng.below(names.len() as u64)).unwrap()];
        let garbage: Vec<u8> = (0..rng.below(80)).map(|_| rng.next().to_le_bytes()[0]).collect();
        disk.overwrite(path, rng.below(SEGMENT), &garbage);
        if let Ok(log) = Log::open(disk, directory(), tiny(SEGMENT)) {
            let _ = log.reader().verify();
        }
    }
}
