//! A snapshot that cannot be read any more when it is to be sent: the state that it was of is whole.

use super::delegating::{both_have_one, half_way, sent_by};
use super::*;

/// After one that cannot be read, the next is taken no sooner than so long after the last.
const PAUSE: Duration = Duration::from_secs(8);

/// How often a snapshot was found to be damaged.
fn found_damaged(cluster: &Cluster) -> usize {
    cluster.nodes.values().map(|node| node.disk.found_rotten).sum()
}

/// How many snapshots were taken.
fn taken(cluster: &Cluster) -> usize {
    cluster.trace.matches("build snapshot").count()
}

fn pass(cluster: &mut Cluster, time: Duration) {
    for _ in 0..time.as_nanos() / HEARTBEAT.as_nanos() {
        beat(cluster);
    }
}

#[test]
fn a_leader_whose_snapshot_is_damaged_takes_another_one_and_the_follower_is_served() {
    let mut cluster = left_behind(led());
    cluster.nodes.get_mut(&1).unwrap().disk.rots = true;
    let before = cluster.engine(1).snapshot();
    catch_up(&mut cluster);
    assert!(found_damaged(&cluster) > 0, "{}", cluster.trace);
    assert_eq!(cluster.engine(1).role_kind(), RoleKind::Leader, "nothing that it answers with comes from there");
    pass(&mut cluster, PAUSE * 2);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert!(cluster.engine(1).snapshot() > before, "it covers what came since");
    assert_eq!(found_damaged(&cluster), 1, "it is not tried again and again:\n{}", cluster.trace);
}

/// Nothing came since: another one with the same id takes the place of the damaged one.
#[test]
fn one_of_the_same_entries_takes_the_place_of_a_damaged_one() {
    let mut cluster = led();
    cluster.cut = vec![3];
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    let before = cluster.node(1).disk.snapshot.clone();
    cluster.nodes.get_mut(&1).unwrap().disk.rots = true;
    catch_up(&mut cluster);
    assert_eq!((found_damaged(&cluster), taken(&cluster)), (1, 1), "{}", cluster.trace);
    pass(&mut cluster, PAUSE * 2);
    assert_eq!(cluster.node(1).disk.snapshot, before, "it is the same");
    assert_eq!(taken(&cluster), 2, "{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
}

/// Where the disk keeps nothing, the state machine must not be kept busy by it.
#[test]
fn a_snapshot_that_is_damaged_again_and_again_is_taken_anew_once_in_a_while() {
    let mut cluster = left_behind(led());
    let rot = |cluster: &mut Cluster| cluster.nodes.get_mut(&1).unwrap().disk.rots = true;
    for _ in 0..400 {
        rot(&mut cluster);
        beat(&mut cluster);
    }
    let lasted = HEARTBEAT * 400;
    let most = usize::try_from(lasted.as_secs() / PAUSE.as_secs()).unwrap() + 1;
    assert!((2..=most).contains(&taken(&cluster)), "{} in {lasted:?}:\n{}", taken(&cluster), cluster.trace);
}

#[test]
fn whoever_asks_for_a_snapshot_gets_another_one_than_the_damaged_one() {
    let mut cluster = left_behind(led());
    cluster.nodes.get_mut(&1).unwrap().disk.rots = true;
    catch_up(&mut cluster);
    cluster.snapshot(1);
    assert!(!cluster.node(1).disk.rots, "{}", cluster.trace);
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
}

/// What a damaged one covers is nowhere else on this disk.
#[test]
fn nothing_is_purged_because_of_a_damaged_snapshot() {
    let mut cluster = led_with(|config| config.snapshots.keep_entries = 3);
    cluster.cut = vec![3];
    write(&mut cluster, 0..5);
    cluster.snapshot(1);
    write(&mut cluster, 5..7);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    let purged = cluster.engine(1).purged();
    assert!(LogId::ZERO < purged && purged < cluster.engine(1).snapshot());
    cluster.nodes.get_mut(&1).unwrap().disk.rots = true;
    catch_up(&mut cluster);
    assert_eq!(found_damaged(&cluster), 1, "{}", cluster.trace);
    cluster.handle(1, Event::Purge { token: Token(8), keep_entries: 0 });
    assert_eq!(cluster.engine(1).purged(), purged);
    cluster.snapshot(1);
    cluster.handle(1, Event::Purge { token: Token(8), keep_entries: 0 });
    assert_eq!(cluster.engine(1).purged(), cluster.engine(1).snapshot());
}

/// A build that fails leaves the damaged one in force, and is tried again: whoever waited for it is told so.
#[test]
fn another_one_that_cannot_be_kept_is_tried_again_later() {
    let now = Instant(0) + PAUSE * 2;
    let mut engine = alone_and_building(now);
    let (commit, alone) = (engine.commit_index(), Membership::new([(NodeId(1), Node::default())], []));
    let last = LogId { term: engine.vote().term, index: commit };
    let id = SnapshotId { last, bytes: 40, checksum: 1 };
    let at = LogId::new(0, 1);
    let (log_time, membership) = (LogTime(0), Arc::new(alone));
    let snapshot = Arc::new(Snapshot { id, log_time, membership, membership_at: at, genesis: Genesis::UNKNOWN });
    engine.handle_event(Event::SnapshotBuilt { snapshot }, Instant(0));
    let (target, epoch, request, reason) = (NodeId(2), Epoch(1), RequestId(1), "it rots".to_owned());
    let unreadable = |id| Event::SnapshotUnreadable { target, epoch, request, id, reason: reason.clone() };
    let ordered =
        |engine: &mut Engine, now| flush(engine, now).iter().filter(|it| it.contains("build snapshot")).count();
    ordered(&mut engine, now);
    engine.handle_event(unreadable(SnapshotId { checksum: 2, ..id }), now);
    assert_eq!(ordered(&mut engine, now), 0, "that is not the newest");
    engine.handle_event(unreadable(id), now);
    assert_eq!(ordered(&mut engine, now), 1);
    engine.handle_event(Event::TakeSnapshot { token: Token(6) }, now);
    engine.handle_event(Event::SnapshotFailed { reason: "no room".into() }, now);
    let said = flush(&mut engine, now);
    assert!(has(&said, "refused #6: the snapshot could not be kept"), "{said:?}");
    engine.handle_event(Event::Timeout, now + HEARTBEAT);
    assert_eq!(ordered(&mut engine, now + HEARTBEAT), 0, "not at once");
    engine.handle_event(Event::Timeout, now + PAUSE);
    assert_eq!(ordered(&mut engine, now + PAUSE), 1);
}

#[test]
fn a_delegate_whose_snapshot_is_damaged_sends_nothing_more_and_the_leader_sends_its_own() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    cluster.nodes.get_mut(&2).unwrap().disk.rots = true;
    for _ in 0..40 {
        beat(&mut cluster);
    }
    assert_eq!(found_damaged(&cluster), 1, "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(1).snapshot(), "{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [1, 2], "{}", cluster.trace);
    pass(&mut cluster, PAUSE * 2);
    assert!(!cluster.node(2).disk.rots, "the delegate has another one by then");
}

#[test]
fn a_follower_is_served_although_the_snapshots_of_delegate_and_leader_are_damaged() {
    let mut cluster = both_have_one();
    for node in [1, 2] {
        cluster.nodes.get_mut(&node).unwrap().disk.rots = true;
    }
    pass(&mut cluster, PAUSE * 3);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(1).role_kind(), RoleKind::Leader);
    assert!(!cluster.node(1).disk.rots && !cluster.node(2).disk.rots, "{}", cluster.trace);
}
