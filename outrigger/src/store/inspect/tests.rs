//! What is told of a directory beyond its checksums: what it holds, and what no node could read.

use std::fs;

use bytes::Bytes;
use outrigger_engine::{Founding, Genesis, LogTime, Node, Version};
use outrigger_log::{GroupId, Log, LogPosition, OpenOptions, Record, Snapshots};
use tempfile::TempDir;

use super::super::durable::position;
use super::super::snapshots::encode_head;
use super::*;
use crate::store::{Built, DurableStore, LogStore, Moment, genesis_of};

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(7, 1, 11, 12);
    options.segment_bytes = 64 << 10;
    options
}

fn members() -> Arc<Membership> {
    let node = |id| (NodeId(id), Node { address: format!("host-{id}:7101") });
    Arc::new(Membership::new([1, 2].map(node), [node(5)]))
}

/// A directory with a snapshot of three entries, which the log does not hold any more, and three entries behind it.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
    store.save_vote(Vote { term: Term(2), voted_for: Some(NodeId(2)) }).unwrap();
    let entries = |text: &str| Payload::command(Bytes::copy_from_slice(text.as_bytes()));
    let first = Payload::membership(members());
    let batch = |first, payloads: Vec<Payload>| Batch::new(first, LogTime(5), payloads.into());
    store.append(&[batch(LogId::new(0, 1), vec![first.clone()])]).unwrap();
    store.append(&[batch(LogId::new(1, 2), vec![Payload::blank(), entries("one")])]).unwrap();
    store.append(&[batch(LogId::new(2, 4), vec![entries("two"), first, entries("three")])]).unwrap();
    store.save_committed(LogIndex(4)).unwrap();
    store.flush().unwrap();
    let moment =
        Moment { last: LogId::new(1, 3), log_time: LogTime(5), membership_at: LogId::new(0, 1), membership: members() };
    let built = store.snapshots().build(&moment, &mut |out| out.write_all(b"state")).unwrap();
    assert!(matches!(built, Built::Snapshot(_)));
    store.purge(LogId::new(1, 3)).unwrap();
    store.flush().unwrap();
    directory
}

#[test]
fn a_directory_is_summed_up_and_its_entries_are_read() {
    let directory = directory();
    let inspection = Inspection::open(directory.path()).unwrap();
    let summary = inspection.summary();
    assert_eq!((summary.identity.node, summary.identity.start, summary.refused), (1, 1, None));
    assert_eq!(summary.vote, Vote { term: Term(2), voted_for: Some(NodeId(2)) });
    assert_eq!((summary.commit, summary.purged, summary.last), (LogIndex(4), LogId::new(1, 3), LogId::new(2, 6)));
    assert_eq!(summary.memberships, [(LogId::new(2, 5), Ok(members()))]);
    let snapshot = summary.snapshots[0].1.as_ref().unwrap();
    assert_eq!((snapshot.last(), &snapshot.membership), (LogId::new(1, 3), &members()));
    let read = |from, through| {
        let batches = inspection.entries(LogIndex(from), LogIndex(through)).flat_map(Result::unwrap);
        batches.flat_map(|batch| (batch.first().index.0..).take(batch.len()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(read(0, u64::MAX), [4, 5, 6]);
    assert_eq!((read(5, 5), read(7, 9), read(6, 5)), (vec![5], vec![], vec![]));
    drop(inspection);
    assert_eq!(verify_damage(&directory), Vec::<Damage>::new());
}

fn verify_damage(directory: &TempDir) -> Vec<Damage> {
    verify(directory.path(), &mut |_| {}).unwrap().damage
}

#[test]
fn entries_that_no_node_can_read_are_told_with_file_and_index() {
    for (payload, marked, part) in [
        (&b"\x7fwhat"[..], false, "entry kind 127 is unknown"),
        (b"\x02command", true, "names none"),
        (b"\x03\x00", false, "is not marked"),
    ] {
        let directory = directory();
        let mut log = Log::open(RealDisk, directory.path(), options()).unwrap();
        let payloads = [Bytes::from_static(b"\x02whole"), Bytes::copy_from_slice(payload)];
        for (first, payload, marked) in [(7, &payloads[0], false), (8, &payloads[1], marked)] {
            let payloads = std::slice::from_ref(payload);
            log.append(GROUP, Record::Entries { term: 2, first, log_time: 9, payloads, marked }).unwrap();
        }
        log.flush().unwrap();
        drop(log);
        let found = verify_damage(&directory);
        assert_eq!((found.len(), found[0].index), (1, Some(8)), "{part}: {found:?}");
        assert!(found[0].what.contains(part), "{found:?}");
        assert!(found[0].path.ends_with("00000000000000000001.segment") && found[0].offset.is_some(), "{found:?}");
    }
}

/// Found by reading: then nothing at all was told of the directory.
#[test]
fn an_entry_that_names_members_and_cannot_be_read_hides_nothing_else() {
    let directory = directory();
    let mut log = Log::open(RealDisk, directory.path(), options()).unwrap();
    let payloads = &[Bytes::from_static(b"\x02command")];
    log.append(GROUP, Record::Entries { term: 2, first: 7, log_time: 9, payloads, marked: true }).unwrap();
    log.flush().unwrap();
    drop(log);
    let summary = Inspection::open(directory.path()).unwrap().summary();
    assert_eq!((summary.last, summary.vote.term), (LogId::new(2, 7), Term(2)));
    assert_eq!(summary.memberships[0], (LogId::new(2, 5), Ok(members())));
    assert!(summary.memberships[1].0 == LogId::new(2, 7) && summary.memberships[1].1.is_err(), "{summary:?}");
}

#[test]
fn a_log_that_lacks_what_no_snapshot_covers_is_told() {
    let directory = directory();
    fs::remove_dir_all(directory.path().join("snapshots")).unwrap();
    let found = verify_damage(&directory);
    assert_eq!((found.len(), found[0].index), (1, Some(1)), "{found:?}");
    assert!(found[0].what.contains("behind 3") && found[0].what.contains("no more than 0"), "{found:?}");
}

#[test]
fn a_snapshot_whose_head_no_node_can_read_is_told() {
    let directory = directory();
    let snapshots = Snapshots::open(RealDisk, directory.path(), 7).unwrap();
    let position = LogPosition { term: 2, index: 4 };
    snapshots.build(position, Bytes::from_static(b"no head of ours")).unwrap().finish().unwrap();
    drop(snapshots);
    let found = verify_damage(&directory);
    assert!(found[0].what.contains("too short"), "{found:?}");
}

#[test]
fn other_groups_are_verified_as_well() {
    let directory = directory();
    let mut log = Log::open(RealDisk, directory.path(), options()).unwrap();
    log.append(GroupId(9), Record::Vote { term: 3, voted_for: None }).unwrap();
    log.flush().unwrap();
    drop(log);
    let found = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((found.damage.len(), found.groups.len(), found.entries()), (0, 2, 3));
}

/// What a start says of a directory in which a snapshot of this entry takes the place of the one that is there.
fn start_with_snapshot_of(directory: &TempDir, last: LogId) -> String {
    fs::remove_dir_all(directory.path().join("snapshots")).unwrap();
    let snapshots = Snapshots::open(RealDisk, directory.path(), 7).unwrap();
    let moment = Moment { last, log_time: LogTime(5), membership_at: LogId::new(0, 1), membership: members() };
    let head = encode_head(&moment, Genesis(5));
    snapshots.build(position(last), head).unwrap().finish().unwrap();
    drop(snapshots);
    let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
    store.restore().map_or_else(|error| error.reason, |_| "it starts".to_owned())
}

/// Found by reading: a verification called a directory whole that no node starts from.
#[test]
fn a_snapshot_that_contradicts_the_log_is_told() {
    let directory = directory();
    let said = start_with_snapshot_of(&directory, LogId::new(3, 4));
    assert!(said.contains("contradicts"), "{said}");
    let found = verify_damage(&directory);
    assert_eq!((found.len(), found[0].index), (1, Some(4)), "{found:?}");
    assert!(found[0].what.contains("contradicts the log, which is committed up to 4"), "{found:?}");
}

/// Found by reading: the files of two nodes were suspected, where one was removed.
#[test]
fn a_snapshot_from_before_what_the_log_has_dropped_covers_too_little_and_contradicts_nothing() {
    let directory = directory();
    let said = start_with_snapshot_of(&directory, LogId::new(1, 2));
    assert!(said.contains("cover no more than 1/2"), "{said}");
    let found = verify_damage(&directory);
    assert_eq!((found.len(), found[0].index), (1, Some(3)), "{found:?}");
}

#[test]
fn a_snapshot_of_what_the_log_holds_or_ends_before_contradicts_nothing() {
    for (last, end) in
        [(LogId::new(2, 4), "it starts"), (LogId::new(2, 6), "it starts"), (LogId::new(3, 6), "it starts")]
    {
        let directory = directory();
        assert_eq!(start_with_snapshot_of(&directory, last), end, "{last}");
        assert_eq!(verify_damage(&directory), [], "{last}");
    }
}

/// Found by a user: a directory was called whole whose snapshot was put there from another cluster's.
#[test]
fn a_snapshot_of_a_cluster_that_began_otherwise_is_told_where_the_log_reaches_back_to_its_beginning() {
    for (genesis, expected) in [(genesis_of(&members()), 0), (Genesis(genesis_of(&members()).0 + 1), 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
        for (at, entry) in [(LogId::new(0, 1), Payload::membership(members())), (LogId::new(1, 2), Payload::blank())] {
            store.append(&[Batch::new(at, LogTime(5), vec![entry].into())]).unwrap();
        }
        store.save_committed(LogIndex(2)).unwrap();
        store.flush().unwrap();
        drop(store);
        let (last, membership_at) = (LogId::new(1, 2), LogId::new(0, 1));
        let head = encode_head(&Moment { last, log_time: LogTime(5), membership_at, membership: members() }, genesis);
        Snapshots::open(RealDisk, directory.path(), 7).unwrap().build(position(last), head).unwrap().finish().unwrap();
        let found = verify_damage(&directory);
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|damage| damage.what.contains("of a cluster that began otherwise")), "{found:?}");
        let started = DurableStore::open(RealDisk, directory.path(), options()).unwrap().restore();
        assert_eq!(started.is_err(), expected == 1, "{started:?}");
    }
}

#[test]
fn a_snapshot_of_a_cluster_that_was_founded_as_another_one_is_told_and_no_node_starts_from_it() {
    let of = |founding| Arc::new((*members()).clone().founded(Founding(founding)));
    // Also one that covers more than the log holds: a start would drop all of that.
    // What is not committed says nothing: its founding may have come to nothing.
    for (founding, end, committed, expected) in
        [(7, 2, 3, 0), (8, 2, 3, 1), (7, 9, 3, 0), (8, 9, 3, 1), (8, 9, 2, 1), (8, 9, 1, 0), (8, 3, 1, 1), (8, 2, 1, 1)]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
        let entries = [members(), of(7), of(7)].map(Payload::membership);
        for (index, entry) in (1..).zip(entries) {
            store.append(&[Batch::new(LogId::new(1, index), LogTime(5), vec![entry].into())]).unwrap();
        }
        store.save_committed(LogIndex(committed)).unwrap();
        store.flush().unwrap();
        drop(store);
        let (last, membership_at) = (LogId::new(1, end), LogId::new(1, end));
        let moment = Moment { last, log_time: LogTime(5), membership_at, membership: of(founding) };
        let head = encode_head(&moment, genesis_of(&members()));
        Snapshots::open(RealDisk, directory.path(), 7).unwrap().build(position(last), head).unwrap().finish().unwrap();
        let found = verify_damage(&directory);
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|damage| damage.what.contains("that was founded as")), "{found:?}");
        let started = DurableStore::open(RealDisk, directory.path(), options()).unwrap().restore();
        let reason = started.err().map(|error| error.reason).unwrap_or_default();
        assert_eq!(reason.contains("that was founded as"), expected == 1, "{reason}");
    }
}

/// Behind a snapshot the version never goes back, and what the cluster was founded as stays, also in what is not committed.
#[test]
fn members_in_the_log_that_cannot_follow_those_of_the_snapshot_are_told_and_no_node_starts_from_them() {
    let founded = |version| Arc::new((*members()).clone().with_version(version).founded(Founding(7)));
    let unfounded = |version| Arc::new((*members()).clone().with_version(version));
    let (first, newest) = (Version::FIRST, Version::LATEST);
    for (ours, theirs, expected) in [
        (founded(first), founded(newest), 0),
        (founded(newest), founded(first), 1),
        (founded(first), unfounded(first), 1),
        (unfounded(first), founded(first), 0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = DurableStore::open(RealDisk, directory.path(), options()).unwrap();
        for (index, membership) in (1..).zip([members(), Arc::clone(&ours), theirs]) {
            let entry = Payload::membership(membership);
            store.append(&[Batch::new(LogId::new(1, index), LogTime(5), vec![entry].into())]).unwrap();
        }
        store.save_committed(LogIndex(1)).unwrap();
        store.flush().unwrap();
        drop(store);
        let last = LogId::new(1, 2);
        let moment = Moment { last, log_time: LogTime(5), membership_at: last, membership: ours };
        let head = encode_head(&moment, genesis_of(&members()));
        Snapshots::open(RealDisk, directory.path(), 7).unwrap().build(position(last), head).unwrap().finish().unwrap();
        let found = verify_damage(&directory);
        assert_eq!(found.len(), expected, "{found:?}");
        let started = DurableStore::open(RealDisk, directory.path(), options()).unwrap().restore();
        let reason = started.err().map(|error| error.reason).unwrap_or_default();
        assert_eq!(reason.contains("that was founded as"), expected == 1, "{reason}");
    }
}

#[test]
fn damage_is_told_also_where_nobody_could_look_into_the_directory() {
    let directory = directory();
    fs::remove_file(directory.path().join("identity")).unwrap();
    let found = verify_damage(&directory);
    assert!(found.iter().any(|damage| damage.what.contains("no identity")), "{found:?}");
}

#[test]
fn a_snapshot_contradicts_what_the_log_holds_committed_and_what_it_begins_behind_and_nothing_else() {
    let position = |term, index| LogPosition { term, index };
    let state = GroupState {
        committed: 6,
        purged: position(1, 4),
        last: position(2, 9),
        terms: vec![position(1, 5), position(2, 6)],
        ..GroupState::default()
    };
    for (index, term) in [(4, 1), (5, 1), (6, 2)] {
        assert!(!contradicts(LogId::new(term, index), &state), "index {index}");
        assert!(contradicts(LogId::new(term + 1, index), &state), "index {index}");
    }
    assert!(!contradicts(LogId::new(9, 3), &state) && !contradicts(LogId::new(9, 7), &state));
}
