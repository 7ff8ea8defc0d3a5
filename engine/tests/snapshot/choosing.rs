//! Which follower sends a snapshot in the leader's stead.

use super::delegating::sent_by;
use super::*;

/// Five nodes of which these are away while the others write; nodes 2 and 3 have a snapshot of the same entries, node 1 leads.
fn without(away: &[u64]) -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3, 4, 5], |config| {
        config.snapshots = SnapshotPolicy { delegated: true, ..SnapshotPolicy::BY_HAND };
        config.limits.snapshot_chunk_bytes_max = 16;
        config.node.version = Version::LATEST;
    });
    cluster.elect(1);
    cluster.cut = away.to_vec();
    write(&mut cluster, 0..6);
    for node in [1, 2, 3] {
        cluster.snapshot(node);
    }
    cluster.drop_messages(|_| true);
    cluster
}

#[test]
fn two_that_need_a_snapshot_at_once_have_it_from_two_followers() {
    let mut cluster = without(&[4, 5]);
    cluster.cut = Vec::new();
    for _ in 0..6 {
        beat(&mut cluster);
    }
    for node in [4, 5] {
        assert_eq!(cluster.applied(node), cluster.applied(1), "node {node}:\n{}", cluster.trace);
    }
    let sent = sent_by(&cluster);
    assert_eq!(sent.keys().copied().collect::<Vec<_>>(), [2, 3], "the work is shared: {sent:?}\n{}", cluster.trace);
}

#[test]
fn who_does_not_answer_heartbeats_is_not_asked_to_send_one() {
    let mut cluster = without(&[4]);
    cluster.cut = vec![2, 4];
    for _ in 0..4 {
        beat(&mut cluster);
    }
    cluster.drop_messages(|_| true);
    cluster.cut = vec![2];
    for _ in 0..6 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(4), cluster.applied(1), "{}", cluster.trace);
    assert!(!cluster.trace.contains("send_message to 2: delegate_snapshot"), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [3], "{}", cluster.trace);
}
