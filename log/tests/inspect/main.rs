//! Looking into a directory: all that is damaged is told, with file, offset and index, what a crash leaves is not, and
//! no byte changes.

mod damage;
#[path = "../workload/mod.rs"]
mod workload;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use outrigger_log::{
    Damage, FaultyDisk, GroupId, Inspection, Log, LogPosition, OpenError, PeerIdentity, Record, Snapshots,
    Verification, verify,
};
use std::io::Write;
use workload::{Model, Rng, append_random, directory, flush_entries, observe, tiny};

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const SEGMENT: u64 = 8 << 10;

pub(crate) fn open(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap()
}

pub(crate) fn segment(sequence: u64) -> PathBuf {
    directory().join(format!("{sequence:020}.segment"))
}

/// Verifies, and asserts that it changes nothing.
#[track_caller]
pub(crate) fn verified(disk: &FaultyDisk) -> Verification {
    let before = disk.files();
    let found = verify(disk, directory(), &mut |_| {}).unwrap();
    assert!(disk.files() == before, "somebody who looks has changed something");
    found
}

#[track_caller]
pub(crate) fn damage(disk: &FaultyDisk) -> Vec<Damage> {
    verified(disk).damage
}

/// A closed directory with three sealed segments at least, snapshots beside them, and all kinds of records.
pub(crate) fn full() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let mut log = open(&disk);
    let preparer = log.preparer();
    log.append(GROUP, Record::Vote { term: 1, voted_for: Some(1) }).unwrap();
    let identity = PeerIdentity { incarnation: 11, start: 12, nonce: 13 };
    log.append(GROUP, Record::Peer { node: 2, identity }).unwrap();
    while !disk.files().contains_key(&segment(4)) {
        flush_entries(&mut log, GROUP, &[&[7; 300], b"one", &[8; 500]]).unwrap();
        let index = log.group(GROUP).unwrap().last.index;
        log.append(GROUP, Record::Committed { index: index - 1 }).unwrap();
        log.append(GROUP, Record::Truncate { after: index - 1 }).unwrap();
        log.flush().unwrap();
    }
    flush_entries(&mut log, GROUP, &[b"the last but one"]).unwrap();
    flush_entries(&mut log, GROUP, &[b"the last"]).unwrap();
    preparer.prepare().unwrap();
    let snapshots = Snapshots::open(disk.clone(), directory(), 7).unwrap();
    let mut build = snapshots.build(LogPosition { term: 1, index: 3 }, Bytes::from_static(b"head")).unwrap();
    build.write_all(b"all that was applied").unwrap();
    build.finish().unwrap();
    disk
}

#[test]
fn a_whole_directory_is_told_as_a_start_would_find_it() {
    let disk = full();
    disk.kill();
    let found = verified(&disk);
    assert_eq!(found.damage, []);
    let inspection = Inspection::open(disk.clone(), directory()).unwrap();
    assert_eq!(found.identity, Some(inspection.identity()));
    assert_eq!((inspection.identity().cluster, inspection.identity().node, inspection.identity().start), (7, 1, 1));
    assert_eq!(inspection.groups(), [GROUP]);
    let snapshots: Vec<_> =
        inspection.snapshots().iter().map(|file| file.opened.as_ref().unwrap().snapshot()).collect();
    assert_eq!(snapshots, found.snapshots.iter().collect::<Vec<_>>());
    assert_eq!(snapshots[0].head, "head");
    let state = inspection.group(GROUP).unwrap();
    assert_eq!(found.groups.get(&GROUP), Some(&state));
    assert_eq!(found.entries(), state.last.index);
    assert!(found.segments >= 4 && found.records > found.writes, "{found:?}");
    let length: usize = disk.files().iter().filter(|(name, _)| is_counted(name)).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(found.bytes, length as u64);
    let reader = inspection.reader();
    assert_eq!(reader.place(GROUP, state.last.index).map(|(file, _)| file), Some(segment(4)));
    assert_eq!(reader.place(GROUP, state.last.index + 1), None);
    let last = reader.entries(GROUP, state.last.index, state.last.index, usize::MAX).unwrap();
    assert_eq!(last[0].payloads, ["the last"]);
    drop((reader, inspection));
    let log = open(&disk);
    assert_eq!(log.group(GROUP), Some(&state));
    assert_eq!(log.identity().start, 2, "looking is no start");
}

fn is_counted(name: &Path) -> bool {
    let name = name.file_name().unwrap().to_str().unwrap();
    name.ends_with(".segment") || name.starts_with("snapshot-")
}

#[test]
fn progress_goes_up_to_all_there_is() {
    let disk = full();
    disk.kill();
    let mut seen = Vec::new();
    let found = verify(&disk, directory(), &mut |progress| seen.push(progress)).unwrap();
    assert!(seen.len() >= 5 && seen.is_sorted_by_key(|progress| progress.bytes), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.bytes, last.total), (found.bytes, found.bytes));
}

#[test]
fn every_random_log_is_whole_and_holds_what_was_appended() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let disk = FaultyDisk::new();
        let mut model = Model::new();
        for _ in 0..3 {
            let mut log = Log::open(disk.clone(), directory(), tiny(4_096)).unwrap();
            for _ in 0..rng.below(120) {
                append_random(&mut rng, &mut log, &mut model, 3);
                if rng.one_in(3) {
                    log.flush().unwrap();
                }
            }
            log.flush().unwrap();
            if rng.one_in(2) {
                log.mark().unwrap();
            }
            let states: Vec<_> = log.groups().map(|group| (group, log.group(group).cloned())).collect();
            assert_eq!(observe(&log), model, "seed {seed}");
            drop(log);
            let found = verified(&disk);
            assert_eq!((&found.damage[..], &found.cut), (&[][..], &None), "seed {seed}");
            let told: Vec<_> = found.groups.into_iter().map(|(group, state)| (group, Some(state))).collect();
            assert_eq!(told, states, "seed {seed}");
        }
    }
}

#[test]
fn a_directory_in_use_is_not_looked_into() {
    let disk = FaultyDisk::new();
    let log = open(&disk);
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::Locked { .. })));
    assert!(matches!(verify(&disk, directory(), &mut |_| {}), Err(OpenError::Locked { .. })));
    drop(log);
    let inspection = Inspection::open(disk.clone(), directory()).unwrap();
    assert!(matches!(Log::open(disk.clone(), directory(), tiny(SEGMENT)), Err(OpenError::Locked { .. })));
    drop(inspection);
    open(&disk);
}

#[test]
fn what_is_no_log_is_said_to_be_none_and_nothing_is_made_there() {
    use outrigger_log::Disk;

    let disk = FaultyDisk::new();
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::Disk(_))), "there is no directory");
    disk.create_directory(directory()).unwrap();
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::NoLog { .. })));
    assert!(matches!(verify(&disk, directory(), &mut |_| {}), Err(OpenError::NoLog { .. })));
    assert!(disk.files().is_empty());
    disk.create(&directory().join("letter")).unwrap();
    assert!(matches!(verify(&disk, directory(), &mut |_| {}), Err(OpenError::NotALog { .. })));
}

#[test]
fn a_copy_without_the_lock_file_is_looked_into_without_making_one() {
    use outrigger_log::Disk;

    let disk = full();
    disk.kill();
    disk.remove(&directory().join("lock")).unwrap();
    assert_eq!(damage(&disk), []);
    let inspection = Inspection::open(disk.clone(), directory()).unwrap();
    assert!(inspection.group(GROUP).is_some());
    assert!(!disk.files().contains_key(&directory().join("lock")));
}

#[test]
fn a_refused_directory_is_looked_into_and_the_mark_is_told() {
    let disk = full();
    disk.kill();
    let mut log = open(&disk);
    let met = PeerIdentity { incarnation: 5, start: 6, nonce: 7 };
    log.refuse(3, met).unwrap();
    drop(log);
    let found = verified(&disk);
    assert_eq!(found.damage, []);
    assert_eq!(found.refused.map(|mark| (mark.by, mark.met)), Some((3, met)));
    let inspection = Inspection::open(disk, directory()).unwrap();
    assert_eq!(inspection.refused(), found.refused);
}

#[test]
fn a_creation_that_was_interrupted_anywhere_is_no_damage() {
    let mut looked_into = 0;
    for operations in 0..60 {
        let disk = FaultyDisk::new();
        disk.power_off_after(operations);
        let is_created = Log::open(disk.clone(), directory(), tiny(SEGMENT)).is_ok();
        disk.crash(operations);
        match verify(&disk, directory(), &mut |_| {}) {
            Err(OpenError::NoLog { .. } | OpenError::Disk(_)) => assert!(!is_created, "{operations}"),
            found => {
                assert_eq!(found.unwrap().damage, [], "{operations}");
                let inspection = Inspection::open(disk, directory()).unwrap();
                assert_eq!(inspection.groups(), []);
                looked_into += u64::from(inspection.identity().start == 0);
            }
        }
    }
    assert!(looked_into > 0, "no creation was ever interrupted behind its identity");
}

#[test]
fn a_torn_end_is_told_apart_and_is_what_the_next_start_cuts() {
    let mut torn = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new();
        let mut log = open(&disk);
        flush_entries(&mut log, GROUP, &[b"whole"]).unwrap();
        // The group is written, and the power fails before it is synced.
        disk.power_off_after(1);
        assert!(flush_entries(&mut log, GROUP, &[&[3; 2_000]]).is_err());
        drop(log);
        disk.crash(seed);
        let found = verified(&disk);
        assert_eq!(found.damage, [], "seed {seed}");
        let inspection = Inspection::open(disk.clone(), directory()).unwrap();
        assert_eq!(inspection.cut(), found.cut.as_ref(), "seed {seed}");
        drop(inspection);
        if let Some(cut) = &found.cut {
            assert_eq!((&cut.file, cut.index), (&segment(1), Some(2)), "seed {seed}");
            torn += 1;
        }
        assert_eq!(open(&disk).cut(), found.cut.as_ref(), "seed {seed}");
    }
    assert!(torn > 10, "only {torn} of 40 power cuts have torn the group");
}
