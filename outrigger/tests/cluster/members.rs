//! Members that come and go, as a program sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::{ChangeMembers, ChangeRequest, LogId, Node, NodeId, NodeMap, Preconditions, Refusal, RoleKind};
use outrigger::{ChangeError, Config, Metrics, Raft};

use crate::counter::{Change, Cluster, Ledger, caught_up, config};

fn nodes(ids: &[u64]) -> NodeMap<Node> {
    ids.iter().map(|id| (NodeId(*id), Node { address: format!("node-{id}:1") })).collect()
}

impl Cluster {
    /// Starts a node that waits to be added.
    async fn join(&mut self, id: u64) {
        let config = Config { join: config(id).initial_cluster, initial_cluster: BTreeMap::new(), ..config(id) };
        let builder = Raft::builder(config, Ledger::default()).transport(Arc::new(self.network.transport()));
        self.nodes.push(builder.start().await.expect("the node starts"));
    }

    fn voters(&self, id: u64) -> Vec<u64> {
        self.node(id).metrics().latest().membership.voters().iter().map(|id| id.0).collect()
    }
}

#[tokio::test]
async fn a_node_that_joins_is_added_catches_up_and_votes() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    for number in 0..50 {
        cluster.node(leader).write(Change::Add(number)).await.unwrap();
    }
    cluster.join(4).await;
    let at = cluster.node(leader).change_members(ChangeMembers::AddVoters(nodes(&[4]))).await.unwrap();
    let metrics = cluster.node(leader).metrics().wait_for(|metrics| metrics.membership_at == at).await.unwrap();
    assert_eq!(metrics.membership.to_string(), "voters {1 2 3 4}");
    let fourth = cluster.node(4);
    fourth.metrics().wait_for(|metrics| metrics.role == RoleKind::Follower).await.unwrap();
    caught_up(fourth, cluster.node(leader)).await;
    assert_eq!(fourth.read(|ledger| ledger.added.len()).await.unwrap(), 50);
    assert_eq!(fourth.write(Change::Add(50)).await, Ok(51));
    cluster.shut_down().await;
}

#[tokio::test]
async fn all_voters_are_replaced_in_one_call_and_clients_notice_nothing_but_a_new_leader() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.node(leader).write(Change::Add(1)).await, Ok(1));
    for id in [4, 5, 6] {
        cluster.join(id).await;
    }
    let replace = ChangeMembers::Batch(vec![
        ChangeMembers::AddVoters(nodes(&[4, 5, 6])),
        ChangeMembers::RemoveVoters([1, 2, 3].map(NodeId).into()),
    ]);
    let writer = cluster.node(4).clone();
    let writes = tokio::spawn(async move {
        let mut written = 0;
        for number in 2..200 {
            // What is handed to a leader that leaves may be lost: its caller is told that nobody knows.
            written += u64::from(writer.write(Change::Add(number)).await.is_ok());
        }
        written
    });
    cluster.node(leader).change_members(replace).await.unwrap();
    let written = writes.await.unwrap();
    let new = cluster.leader_of(&[4, 5, 6]).await;
    assert!(new >= 4, "one of the new ones leads");
    assert_eq!(cluster.voters(new), [4, 5, 6]);
    let held = cluster.node(4).read(|ledger| ledger.added.len() as u64).await.unwrap();
    assert!(held > written, "{held} are held, {written} and one were acknowledged");
    cluster.shut_down().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words_that_help() {
    let cluster = Cluster::start().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let refused = |refusal| Err(ChangeError::Refused { refusal });
    let promote = ChangeMembers::AddVoterIds([NodeId(9)].into());
    let leader = cluster.node(leader);
    assert_eq!(leader.change_members(promote).await, refused(Refusal::UnknownNode { node: NodeId(9) }));
    let nobody = ChangeMembers::ReplaceAllVoters([].into());
    assert_eq!(leader.change_members(nobody.clone()).await, refused(Refusal::NoVoters));
    assert_eq!(cluster.node(follower).change_members(nobody).await, refused(Refusal::NotLeader));
    let request = ChangeRequest {
        preconditions: Preconditions { membership: Some(LogId::new(7, 7)), ..Preconditions::default() },
        ..ChangeMembers::AddNodes(nodes(&[4])).into()
    };
    let error = leader.change_members(request).await.unwrap_err().to_string();
    // Of the first entry, or of one that has founded the cluster, or bound them, by now.
    let says = "the members are not changed: a precondition does not hold: the members are those of entry ";
    assert!(error.strip_prefix(says).is_some_and(|entry| ["0/1", "1/3", "1/4"].contains(&entry)), "{error}");
    cluster.shut_down().await;
}

/// Whoever asked would wait for a leader that cannot tell any more.
#[tokio::test]
async fn who_has_asked_for_a_change_is_answered_when_leadership_is_handed_over_meanwhile() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let raft = cluster.node(leader).clone();
    let request = ChangeRequest { patience: Duration::MAX, ..ChangeMembers::AddVoters(nodes(&[4])).into() };
    let change = tokio::spawn(async move { raft.change_members(request).await });
    let goes_on = |id: u64| {
        let mut metrics = cluster.node(id).metrics();
        async move { metrics.wait_for(|metrics| metrics.membership.goal().is_some()).await.map(drop) }
    };
    goes_on(leader).await.unwrap();
    let heir = cluster.node(leader).transfer_leadership(None).await.unwrap().leader.0;
    let error = change.await.unwrap().unwrap_err();
    let reason = "leadership changed before it was committed, or a snapshot took its place in the log here".to_owned();
    assert_eq!(error, ChangeError::Unknown { reason });
    goes_on(heir).await.unwrap();
    // The next leader ends it as soon as the new voter is there.
    cluster.join(4).await;
    let done = |metrics: &Metrics| metrics.membership.to_string() == "voters {1 2 3 4}";
    cluster.node(heir).metrics().wait_for(done).await.unwrap();
    cluster.shut_down().await;
}

#[tokio::test]
async fn a_leader_that_is_removed_answers_and_follows() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    cluster.node(leader).change_members(ChangeMembers::RemoveVoters([NodeId(leader)].into())).await.unwrap();
    let new = cluster.leader_of(&others).await;
    assert_eq!(cluster.voters(new), others);
    assert_eq!(cluster.node(new).write(Change::Add(7)).await, Ok(1));
    cluster.node(leader).metrics().wait_for(|metrics| metrics.role == RoleKind::Learner).await.unwrap();
    cluster.shut_down().await;
}
