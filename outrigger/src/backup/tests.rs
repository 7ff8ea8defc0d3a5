//! What a directory holds that was restored from a file, and what files and directories are refused.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use outrigger_engine::{Genesis, LogTime, Node, NodeId, Restored};
use outrigger_log::{SnapshotFileWriter, SnapshotId};
use tempfile::TempDir;

use super::*;
use crate::store::{DurableStore, LogStore};

const LAST: LogId = LogId::new(4, 90);
/// Where a cluster begins that is restored from that, beyond all that the old one can have come to.
const BEGIN: LogId = LogId::new(1_000_004, 1_000_000_090);
const CONTENT: &[u8] = b"sessions and state, to the last byte of it";

fn members(ids: impl IntoIterator<Item = u64>) -> Membership {
    Membership::new(ids.into_iter().map(|id| (NodeId(id), Node { address: format!("host-{id}:7101") })), [])
}

/// A file that holds a snapshot of a cluster of nodes 7 and 8.
fn saved(scratch: &TempDir) -> (PathBuf, SnapshotId) {
    saved_in(scratch, Version::FIRST)
}

fn saved_in(scratch: &TempDir, version: Version) -> (PathBuf, SnapshotId) {
    saved_at(scratch, version, LAST)
}

fn saved_at(scratch: &TempDir, version: Version, last: LogId) -> (PathBuf, SnapshotId) {
    let moment = Moment {
        last,
        log_time: LogTime(1_234),
        membership_at: LogId::new(2, 40),
        membership: Arc::new(members([7, 8]).with_version(version)),
    };
    let head = encode_head(&moment, Genesis(77));
    let checksum = store::snapshots::checksum(&moment, Genesis(77), CONTENT);
    let id = SnapshotId { position: position(last), bytes: CONTENT.len() as u64, checksum };
    let path = scratch.path().join("monday");
    let snapshot = outrigger_log::Snapshot { id, head };
    let mut file = SnapshotFileWriter::create(RealDisk, &path, 5, &snapshot).unwrap();
    file.write(CONTENT).unwrap();
    file.finish().unwrap();
    (path, id)
}

fn config(scratch: &TempDir, id: u64) -> Config {
    let initial_cluster = (1..=3).map(|id| (id, format!("host-{id}:7101"))).collect();
    Config { id, data_dir: Some(scratch.path().join(format!("node-{id}"))), initial_cluster, ..Config::default() }
}

fn restore(file: &Path, config: &Config) -> Result<SavedSnapshot, RestoreError> {
    restore_snapshot(file, config, &mut |_, _| {})
}

/// Starts from a directory: what the engine is told, and the content of its snapshot.
fn start(config: &Config) -> (Restored, Vec<u8>) {
    let mut options = OpenOptions::new(config.cluster_id(), config.id, 111, 112);
    options.segment_bytes = SEGMENT_BYTES;
    let mut store = DurableStore::open(RealDisk, config.data_dir.as_ref().unwrap(), options).unwrap();
    assert_eq!(store.identity().incarnation.id, 111, "the first start draws it");
    let restored = store.restore().unwrap();
    let mut content = Vec::new();
    let id = restored.snapshot.as_ref().unwrap().id;
    store.snapshots().content(id).unwrap().read_to_end(&mut content).unwrap();
    (restored, content)
}

#[test]
fn a_restored_cluster_has_the_version_of_the_saved_one_and_a_build_that_speaks_less_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, _) = saved_in(&scratch, Version(2));
    let older = Config { speak_version_max: 1, ..config(&scratch, 1) };
    let error = restore(&file, &older).unwrap_err().to_string();
    assert!(error.contains("the cluster has version 2, and this node is told to speak no more than 1"), "{error}");
    assert!(!older.data_dir.as_ref().unwrap().exists(), "nothing is made");
    restore(&file, &config(&scratch, 1)).unwrap();
    let (restored, _) = start(&config(&scratch, 1));
    assert_eq!(restored.snapshot.unwrap().membership.version(), Version(2));
}

#[test]
fn all_nodes_begin_with_the_same_snapshot_far_behind_which_terms_and_indexes_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, id) = saved(&scratch);
    let mut told = Vec::new();
    let first = restore_snapshot(&file, &config(&scratch, 1), &mut |bytes, total| told.push((bytes, total))).unwrap();
    let total = 2 * CONTENT.len() as u64;
    assert!(told.is_sorted() && told.last() == Some(&(total, total)), "{told:?}");
    assert_eq!((first.last, first.bytes), (BEGIN, CONTENT.len() as u64));
    let mut known = Vec::new();
    for node in 1..=3 {
        if node > 1 {
            assert_eq!(restore(&file, &config(&scratch, node)).unwrap(), first);
        }
        let (restored, content) = start(&config(&scratch, node));
        assert_eq!(content, CONTENT);
        assert_eq!((restored.last, restored.purged, restored.commit), (BEGIN, BEGIN, BEGIN.index));
        assert_eq!((restored.vote.term, restored.vote.voted_for), (BEGIN.term, None));
        let snapshot = restored.snapshot.unwrap();
        assert_eq!((restored.log_time, snapshot.log_time), (LogTime(1_234), LogTime(1_234)));
        assert_eq!((&*snapshot.membership, snapshot.membership_at), (&members(1..=3), BEGIN));
        known.push(snapshot);
    }
    assert!(known.iter().all(|snapshot| *snapshot == known[0]));
    let genesis = known[0].genesis;
    assert_eq!(genesis, store::genesis_from(&members(1..=3), &id));
    let others =
        [Genesis(77), store::genesis_of(&members(1..=3)), store::genesis_from(&members(1..=2), &id), Genesis::UNKNOWN];
    assert!(!others.contains(&genesis), "members of another cluster would be let in");
    let other = SnapshotId { checksum: id.checksum ^ 1, ..id };
    assert_ne!(genesis, store::genesis_from(&members(1..=3), &other), "so would those that began from another file");
}

#[test]
fn a_file_that_is_not_whole_is_refused_with_the_offset_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, _) = saved(&scratch);
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        match restore(&file, &config(&scratch, 1)) {
            Err(RestoreError::File { offset, reason, .. }) => (offset, reason),
            other => panic!("{other:?}"),
        }
    };
    let mut rotten = whole.clone();
    let at = whole.len() - 60;
    rotten[at] ^= 1;
    let (offset, reason) = refused(&rotten);
    assert!(offset.unwrap() < at as u64 && reason.contains("a block's checksum"), "{offset:?} {reason}");
    let (offset, reason) = refused(&whole[..whole.len() - 9]);
    let (cut, bytes) = (whole.len() - 9, whole.len());
    let expected = format!("its length is not what its header says: {cut} bytes are there, {bytes} were written");
    assert_eq!((offset, reason), (Some(cut as u64), expected));
    assert_eq!(refused(b"#!/bin/sh\necho this is something else").0, Some(0));
    assert_eq!(refused(b"").0, Some(0));
    assert!(!scratch.path().join("node-1").exists());

    fs::remove_file(&file).unwrap();
    let error = restore(&file, &config(&scratch, 1)).unwrap_err().to_string();
    assert!(error.contains("monday") && error.contains("No such file"), "{error}");
}

#[test]
fn a_snapshot_of_another_program_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("foreign");
    let head = Bytes::from_static(b"something else");
    let checksum = crc32c::crc32c(&head);
    let id = SnapshotId { position: position(LAST), bytes: 0, checksum };
    SnapshotFileWriter::create(RealDisk, &path, 5, &outrigger_log::Snapshot { id, head }).unwrap().finish().unwrap();
    let error = restore(&path, &config(&scratch, 1)).unwrap_err().to_string();
    assert!(error.contains("foreign is not restored: the head of the snapshot"), "{error}");
}

#[test]
fn what_is_there_is_never_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, _) = saved(&scratch);
    let config = config(&scratch, 1);
    let directory = config.data_dir.clone().unwrap();
    let occupied = |found: &str| match restore(&file, &config) {
        Err(RestoreError::Occupied { found: told, .. }) => assert_eq!(told, found),
        other => panic!("{found}: {other:?}"),
    };
    fs::create_dir_all(directory.join("snapshots")).unwrap();
    occupied("snapshots");
    fs::remove_dir(directory.join("snapshots")).unwrap();
    fs::write(directory.join("letter"), "dear").unwrap();
    occupied("letter");
    fs::remove_file(directory.join("letter")).unwrap();
    restore(&file, &config).unwrap();
    assert!(matches!(restore(&file, &config), Err(RestoreError::Occupied { .. })));
    assert_eq!(start(&config).1, CONTENT);
    assert!(matches!(restore(&file, &config), Err(RestoreError::Occupied { .. })));
}

#[test]
fn settings_that_name_no_cluster_or_no_directory_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, _) = saved(&scratch);
    let whole = config(&scratch, 1);
    let refused = |config: Config| restore(&file, &config).unwrap_err().to_string();
    assert!(refused(Config { data_dir: None, ..whole.clone() }).contains("data_dir is missing"));
    let none = Config { initial_cluster: [].into(), join: [(1, "host-1:7101".to_owned())].into(), ..whole.clone() };
    assert!(!refused(none).is_empty());
    assert!(refused(Config { id: 9, ..whole }).contains("node 9 is missing from the initial cluster"));
}

/// Found by reading: the sum wrapped, and the new cluster began before the old one.
#[test]
fn a_snapshot_behind_which_no_log_can_begin_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    for last in [LogId::new(u64::MAX - 5, 90), LogId::new(4, u64::MAX - 5)] {
        let (file, _) = saved_at(&scratch, Version::FIRST, last);
        let error = restore(&file, &config(&scratch, 1)).unwrap_err().to_string();
        assert!(error.contains("no room for a new log"), "{error}");
        assert!(!scratch.path().join("node-1").exists());
    }
}
