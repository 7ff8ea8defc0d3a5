//! Falsehoods about snapshots, in histories in which nodes take them often and keep nothing beside them.

use std::sync::Arc;

use outrigger::engine::{LogId, LogIndex, LogTime, Membership, NodeId, Snapshot, SnapshotPolicy};

use super::{Falsify, change, is_refused_in, start_with};
use crate::durable::{Stamp, Stamps};
use crate::history::History;
use crate::plan::Trouble;
use crate::refinement::{After, Note};
use crate::world::World;

/// A world in which who was away needs a snapshot.
fn snapshots(seed: u64) -> World {
    World::under(&History::new(seed), |plan| {
        plan.snapshots = SnapshotPolicy { entries: Some(10), keep_entries: 0, ..SnapshotPolicy::BY_HAND };
        plan.limits.snapshot_chunk_bytes_max = 4_000;
        plan.set_odds(Trouble::Loss, 100_000);
    })
}

fn step(falsify: fn(&mut After<'_>) -> bool, reason: &str) {
    is_refused_in(snapshots, 9..39, || Falsify::Step(falsify), reason);
}

/// A snapshot that a leader brings is another.
fn brought(falsify: fn(&mut Snapshot), reason: &str) {
    is_refused_in(snapshots, 9..39, || Falsify::Snapshot(falsify), reason);
}

fn installs(after: &After<'_>) -> bool {
    after.notes.iter().any(|note| matches!(note, Note::Install(..)))
}

/// The same log but for this; the test's end frees what it leaks.
fn with_log(after: &mut After<'_>, change: impl FnOnce(&mut Stamps)) {
    let mut log = after.log.clone();
    change(&mut log);
    (after.log, after.unchanged) = (Box::leak(Box::new(log)), 0);
}

#[test]
fn a_leader_brings_what_was_never_committed() {
    brought(|snapshot| snapshot.id.last.index = LogIndex(snapshot.id.last.index.0 + 1_000), "committed");
}

#[test]
fn a_leader_brings_a_snapshot_that_ends_in_another_term() {
    brought(|snapshot| snapshot.id.last.term = snapshot.id.last.term.next(), "brings a snapshot to");
}

#[test]
fn a_leader_brings_members_that_are_not_the_last() {
    brought(|snapshot| snapshot.membership_at.term = snapshot.membership_at.term.next(), "its model has them from");
    brought(|snapshot| snapshot.membership = Arc::new(Membership::new([NodeId(1)].map(of_nobody), [])), "from");
}

fn of_nobody(id: NodeId) -> (NodeId, outrigger::engine::Node) {
    (id, outrigger::engine::Node::default())
}

#[test]
fn the_commit_index_does_not_follow_a_snapshot() {
    step(
        |after| change(installs(after).then_some(()), |()| after.look.commit = after.look.commit.previous()),
        "has committed",
    );
}

#[test]
fn a_snapshot_leaves_out_what_was_committed() {
    step(
        |after| {
            let place = after.log.0.len() / 2;
            change(installs(after).then_some(()), |()| with_log(after, |log| log.0[place].digest += 1))
        },
        "the log of node",
    );
}

#[test]
fn what_conflicts_stays_behind_a_snapshot() {
    step(
        |after| {
            let id = LogId { index: after.look.last.index.next(), ..after.look.last };
            let stamp = Stamp { id, log_time: LogTime(0), digest: 7 };
            change(installs(after).then_some(()), |()| with_log(after, |log| log.0.push(stamp)))
        },
        "the log of node",
    );
}

#[test]
fn a_snapshot_takes_the_place_of_the_log_unwritten() {
    step(
        |after| {
            let place = after.notes.iter().position(|note| matches!(note, Note::Install(..)));
            change(place, |place| {
                after.notes.remove(place);
            })
        },
        "the log of node",
    );
}

#[test]
fn what_a_snapshot_brings_counts_as_durable_at_once() {
    step(
        |after| change(installs(after).then_some(()), |()| after.look.flushed = after.look.last.index),
        "is durable on",
    );
}

#[test]
fn what_no_snapshot_covers_is_purged() {
    step(
        |after| {
            let (covered, commit) = (after.snapshot.index, after.look.commit);
            let beyond = after.log.at(commit).filter(|_| covered > LogIndex(0) && commit > covered);
            change(beyond, |stamp| after.purged = stamp.id)
        },
        "has purged",
    );
}

#[test]
fn what_was_purged_was_of_another_term() {
    step(
        |after| {
            change((after.purged.index > LogIndex(0)).then_some(()), |()| after.purged.term = after.purged.term.next())
        },
        "has purged",
    );
}

#[test]
fn a_node_has_a_snapshot_of_what_it_has_not_committed() {
    step(
        |after| {
            let (commit, last) = (after.look.commit, after.look.last);
            change((last.index > commit).then_some(()), |()| after.snapshot = last)
        },
        "has a snapshot to",
    );
}

#[test]
fn a_snapshot_ends_in_another_term() {
    step(
        |after| {
            change((after.snapshot.index > LogIndex(0)).then_some(()), |()| {
                after.snapshot.term = after.snapshot.term.next();
            })
        },
        "has a snapshot to",
    );
}

#[test]
fn a_start_finds_a_snapshot_of_what_nobody_has_committed() {
    let last = LogId::new(0, 1);
    let stamp = Stamp { id: last, log_time: LogTime(0), digest: 7 };
    let refused = start_with(|after| {
        (after.look.last, after.look.commit, after.look.flushed, after.snapshot) = (last, last.index, last.index, last);
        with_log(after, |log| log.0.push(stamp));
    });
    assert!(refused.contains("InstallSnapshot(") && refused.contains("has committed so much"), "{refused}");
}
