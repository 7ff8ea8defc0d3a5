//! When a leader takes the next step of a change of the members, and when it has to wait.

mod cluster;

use std::time::Duration;

use cluster::Cluster;
use outrigger_engine::*;

const HEARTBEAT: Duration = Duration::from_millis(100);

/// Node 1 leads 2 and 3, and node 4 is to vote in the place of node 1.
fn replacing() -> Cluster {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.join(&[4]);
    let four = [(NodeId(4), Node { address: "node4".to_owned() })].into();
    let leaves = [NodeId(1)].into_iter().collect();
    let steps = vec![ChangeMembers::AddVoters(four), ChangeMembers::RemoveVoters(leaves)];
    cluster.change(1, 7, ChangeMembers::Batch(steps));
    cluster
}

/// What a leader before it has committed may still be lost with it, as long as the next one has committed nothing of its own.
#[test]
fn a_new_leader_takes_no_step_before_it_has_committed_an_entry_of_its_own_though_the_last_step_is_committed() {
    let mut cluster = replacing();
    let is_joint = |it: &Cluster, id: u64| it.engine(id).membership().is_joint();
    cluster.stabilize_until(|it| is_joint(it, 2) && is_joint(it, 3) && is_joint(it, 4) && !is_joint(it, 1));
    // The others learn that it is committed, and nothing of the step behind it.
    cluster.elapse(HEARTBEAT);
    cluster.drop_messages(|it| matches!(it.message, Message::AppendEntries(_)));
    cluster.stabilize_until(|it| {
        let engine = it.engine(2);
        engine.commit_index() >= engine.membership_at().index
    });
    assert!(is_joint(&cluster, 2) && cluster.role(2) == RoleKind::Follower);
    cluster.crash(1);
    cluster.drop_messages(|_| true);
    while cluster.role(2) != RoleKind::PreCandidate {
        cluster.timeout(2);
    }
    cluster.stabilize_until(|it| it.role(2) == RoleKind::Leader);
    assert!(cluster.commit(2) < cluster.engine(2).last_log_id().index.0, "its own entry is on its way");
    assert!(is_joint(&cluster, 2), "{}", cluster.engine(2).membership());
    cluster.stabilize();
    assert_eq!(cluster.engine(2).membership().to_string(), "voters {2 3 4}");
}

/// The heir must hold all that the log holds.
#[test]
fn no_new_voter_is_let_vote_while_leadership_is_handed_over() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.join(&[4]);
    cluster.cut = vec![3, 4];
    let four = [(NodeId(4), Node { address: "node4".to_owned() })].into();
    cluster.change(1, 7, ChangeMembers::AddVoters(four));
    cluster.stabilize();
    cluster.handle(1, Event::TransferLeadership { token: Token(8), to: Some(NodeId(3)) });
    cluster.cut = vec![3];
    for _ in 0..3 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    let engine = cluster.engine(1);
    assert_eq!(engine.transferring_to(), Some(NodeId(3)), "it lacks an entry");
    let matched = engine.status().matched[&NodeId(4)];
    assert_eq!((matched, engine.membership().is_joint()), (engine.last_log_id().index, false), "it has caught up");
    for _ in 0..4 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert_eq!(
        cluster.engine(1).membership().to_string(),
        "voters {1 2 3 4}",
        "that has failed, and the change goes on"
    );
}
