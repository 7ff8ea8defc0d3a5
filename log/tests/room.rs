//! Room: what a segment keeps of it for its footer and for a full disk, and what a long segment, entry or run makes of it.

mod workload;

use bytes::Bytes;
use outrigger_log::{
    FaultyDisk, FlushError, GroupId, Log, LogPosition, OpenOptions, PeerIdentity, PrepareError, Record,
};
use workload::{append_entries, directory, flush_entries, lose, observe, segment, tiny};

const GROUP: GroupId = GroupId(1);
const SEGMENT: u64 = 16 << 10;

fn open(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap()
}

/// Appends so many entries, each in a run and a group of its own.
fn flush_runs(log: &mut Log<FaultyDisk>, runs: u64) -> Result<(), FlushError> {
    (0..runs).try_for_each(|_| flush_entries(log, GROUP, &[&[7; 300]]))
}

fn purge(index: u64) -> Record<'static> {
    Record::Purge { through: LogPosition { term: u64::from(index > 0), index } }
}

/// How many runs fit in the first segment, beside what is kept.
fn fitting_runs() -> u64 {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    disk.limit_bytes(Some(disk.bytes_held()));
    (0..).find(|_| flush_runs(&mut log, 1).is_err()).unwrap()
}

#[test]
fn on_a_full_disk_what_frees_space_and_whom_the_node_has_met_may_use_what_is_kept() {
    let runs = fitting_runs();
    let peer = Record::Peer { node: 2, identity: PeerIdentity { incarnation: 1, start: 2, nonce: 3 } };
    for record in [Record::Vote { term: 2, voted_for: None }, Record::Truncate { after: runs - 1 }, purge(runs), peer] {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        disk.limit_bytes(Some(disk.bytes_held()));
        flush_runs(&mut log, runs).unwrap();
        log.append(GROUP, record).unwrap();
        log.flush().unwrap();
        let all = observe(&log);
        lose(&disk);
        disk.limit_bytes(None);
        assert_eq!(observe(&open(&disk)), all, "{record:?}");
    }
}

#[test]
fn on_a_full_disk_a_purge_of_all_that_is_flushed_need_not_wait_behind_the_entries_that_lack_room() {
    let runs = fitting_runs();
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    disk.limit_bytes(Some(disk.bytes_held()));
    assert!(flush_runs(&mut log, runs + 1).is_err());
    log.append(GROUP, purge(runs)).unwrap();
    assert!(matches!(log.flush(), Err(FlushError::DiskFull { votes_saved: true, .. })));
    lose(&disk);
    disk.limit_bytes(None);
    assert_eq!(open(&disk).group(GROUP).unwrap().purged.index, runs);
}

#[test]
fn a_segment_full_of_peers_has_room_for_a_footer_that_names_them_all() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    for node in 0..400 {
        let identity = PeerIdentity { incarnation: node, start: 2, nonce: 3 };
        log.append(GROUP, Record::Peer { node, identity }).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    lose(&disk);
    assert!(open(&disk).group(GROUP).unwrap().peers.keys().copied().eq(0..400));
}

#[test]
fn the_runs_that_a_start_has_found_leave_room_for_the_footer_that_lists_them() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    (0..120).for_each(|_| append_entries(&mut log, GROUP, &[b"x"]));
    log.flush().unwrap();
    drop(log);
    let mut log = open(&disk);
    while !disk.files().contains_key(&segment(2)) {
        flush_runs(&mut log, 1).unwrap();
    }
    let all = observe(&log);
    lose(&disk);
    assert_eq!(observe(&open(&disk)), all);
}

#[test]
fn what_a_truncation_leaves_of_a_run_may_have_been_purged_before() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    append_entries(&mut log, GROUP, &[b"one", b"two", b"three"]);
    log.append(GROUP, purge(2)).unwrap();
    log.append(GROUP, Record::Truncate { after: 2 }).unwrap();
    log.flush().unwrap();
    append_entries(&mut log, GROUP, &[b"another"]);
    log.flush().unwrap();
    let all = observe(&log);
    lose(&disk);
    assert_eq!(observe(&open(&disk)), all);
    assert_eq!(all[&GROUP].entries.len(), 1);
}

#[test]
fn a_large_entry_gets_a_larger_segment_also_where_the_next_one_was_made_ahead() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    flush_entries(&mut log, GROUP, &[b"small"]).unwrap();
    assert!(log.preparer().prepare().unwrap());
    let large = [Bytes::from(vec![9; 100_000])];
    log.append(GROUP, Record::Entries { term: 1, first: 2, log_time: 0, payloads: &large, marked: false }).unwrap();
    log.flush().unwrap();
    lose(&disk);
    assert_eq!(open(&disk).reader().verify().unwrap(), 2);
}

#[test]
fn a_segment_is_made_of_whole_sectors_whatever_length_was_asked_for() {
    let disk = FaultyDisk::new();
    let mut log = Log::open(disk.clone(), directory(), tiny(5_000)).unwrap();
    flush_runs(&mut log, 20).unwrap();
    assert!((1..3).all(|sequence| disk.files()[&segment(sequence)].len() == 5_120));
}

#[test]
fn of_a_long_segment_no_more_is_kept_than_128_votes_take() {
    let disk = FaultyDisk::new();
    let mut log =
        Log::open(disk.clone(), directory(), OpenOptions { segment_bytes: 2 << 20, ..tiny(SEGMENT) }).unwrap();
    disk.limit_bytes(Some(disk.bytes_held()));
    let entries = (0..).find(|_| flush_entries(&mut log, GROUP, &[&[7; 100_000]]).is_err());
    assert_eq!(entries, Some(20), "of 2,097,152 bytes 65,536 are kept");
}

/// So that reading a few entries reads a few bytes.
#[test]
fn a_long_run_is_split_into_records() {
    let options = OpenOptions { segment_bytes: 8 << 20, ..tiny(SEGMENT) };
    let mut log = Log::open(FaultyDisk::new(), directory(), options).unwrap();
    flush_entries(&mut log, GROUP, &[&[7; 400_000][..]; 5]).unwrap();
    let reader = log.reader();
    let place = |index| reader.place(GROUP, index).unwrap();
    assert_eq!((place(1), place(3), place(5)), (place(2), place(4), place(5)));
    assert!(place(1) < place(3) && place(3) < place(5), "two entries of 400,000 bytes are less than a MiB");
}

#[test]
fn a_flush_that_makes_the_next_segment_itself_first_removes_what_could_not_be_removed() {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    while !disk.files().contains_key(&segment(4)) {
        flush_runs(&mut log, 1).unwrap();
    }
    log.append(GROUP, purge(log.group(GROUP).unwrap().last.index - 1)).unwrap();
    log.flush().unwrap();
    disk.fail_removals(true);
    assert!(matches!(log.preparer().prepare(), Err(PrepareError::NotRemoved(_))));
    while !disk.files()[&segment(5)][512..].iter().any(|&byte| byte != 0) {
        flush_runs(&mut log, 1).unwrap();
    }
    disk.fail_removals(false);
    disk.limit_bytes(Some(disk.bytes_held()));
    flush_runs(&mut log, 40).unwrap();
    assert!(disk.files().contains_key(&segment(6)) && !disk.files().contains_key(&segment(1)));
}
