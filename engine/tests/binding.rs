//! Which data directory is a member: a wiped one is refused by all, also by those who never met the real one, and has a way back.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, peer};
use outrigger_engine::*;

fn ids(ids: &[u64]) -> NodeSet {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn nodes(ids: &[u64]) -> NodeMap<Node> {
    ids.iter().map(|id| (NodeId(*id), Node { address: format!("node{id}") })).collect()
}

fn add(id: u64) -> ChangeMembers {
    ChangeMembers::AddNodes(nodes(&[id]))
}

fn promote(id: u64) -> ChangeMembers {
    ChangeMembers::AddVoterIds(ids(&[id]))
}

fn remove(id: u64) -> ChangeMembers {
    ChangeMembers::RemoveVoters(ids(&[id]))
}

/// Voters with node 1 in the lead, all bound; others have empty disks and wait to be added.
fn bound(voters: &[u64], others: &[u64]) -> Cluster {
    let mut cluster = Cluster::with(voters, |config| config.bind_directories = true);
    cluster.elect(1);
    settle(&mut cluster);
    for id in others {
        cluster.join_with(*id, |config| config.bind_directories = true);
    }
    cluster
}

/// Node 1 leads 2, and 3 has not been heard from for long enough: the entry that binds them is appended, and no more.
fn about_to_bind() -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.cut = vec![3];
    cluster.elect(1);
    while bindings(&cluster, 1).is_empty() {
        cluster.stabilize();
        cluster.elapse(Duration::from_millis(100));
    }
    assert_eq!(bindings(&cluster, 1), "1:101 2:102");
    cluster
}

fn settle(cluster: &mut Cluster) {
    for _ in 0..25 {
        cluster.stabilize();
        cluster.elapse(Duration::from_millis(100));
    }
    cluster.stabilize();
}

/// `1:101 2:102`: the directories of the members as a node knows them.
fn bindings(cluster: &Cluster, id: u64) -> String {
    let bindings = cluster.engine(id).membership().bindings();
    bindings.iter().map(|(node, it)| format!("{node}:{}", it.directory)).collect::<Vec<_>>().join(" ")
}

fn change(cluster: &mut Cluster, token: u64, change: ChangeMembers) {
    cluster.change(1, token, change);
    settle(cluster);
    let told = cluster.node(1).answers.iter().any(|it| it.starts_with(&format!("changed #{token}")));
    assert!(told, "{:?}\n{}", cluster.node(1).answers, cluster.trace);
}

fn life(node: u64, directory: u64, bound: Option<(u64, u64)>) -> Peer {
    let incarnation = Incarnation { id: directory, start: 1, nonce: 1 };
    Peer::new(NodeId(node), incarnation).claiming(bound.map(|(term, index)| LogId::new(term, index)))
}

fn hear(cluster: &mut Cluster, id: u64, from: Peer, message: Option<Message>) -> Option<PeerRefusal> {
    let before = cluster.node(id).refused.len();
    cluster.handle(id, Event::Received { from, message });
    cluster.node(id).refused.get(before).map(|(_, reason)| *reason)
}

fn heartbeat(term: u64) -> Message {
    Message::Heartbeat(Heartbeat { term: Term(term), round: Round(1), commit: LogIndex(1), pledge: Duration::ZERO })
}

#[test]
fn a_leader_founds_its_cluster_and_binds_all_members_by_one_entry_as_soon_as_it_has_heard_them() {
    let cluster = bound(&[1, 2, 3], &[]);
    let mut at_once = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    at_once.elect(1);
    let now = at_once.now;
    at_once.stabilize();
    assert_eq!((bindings(&at_once, 1).as_str(), at_once.now), ("1:101 2:102 3:103", now), "nobody waits for a timeout");
    for id in 1..=3 {
        assert_eq!(bindings(&cluster, id), "1:101 2:102 3:103");
        assert_eq!(cluster.engine(id).membership_at(), LogId::new(1, 4));
        assert_eq!(cluster.engine(id).signature().bound, Some(LogId::new(1, 4)));
    }
    assert_eq!(
        cluster.engine(1).last_log_id(),
        LogId::new(1, 4),
        "the first entry, the leader's own, the founding, the bindings: no more"
    );
}

#[test]
fn who_is_dead_is_not_bound_and_keeps_nobody_else_waiting_for_longer_than_an_election_timeout() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.cut = vec![3];
    cluster.elect(1);
    cluster.elapse(Duration::from_millis(900));
    cluster.stabilize();
    assert_eq!(bindings(&cluster, 2), "", "node 3 may come yet");
    settle(&mut cluster);
    assert_eq!(bindings(&cluster, 2), "1:101 2:102");
    cluster.cut.clear();
    settle(&mut cluster);
    assert_eq!(bindings(&cluster, 3), "1:101 2:102 3:103");
    assert_eq!(cluster.engine(1).last_log_id(), LogId::new(1, 5));
}

#[test]
fn a_binding_that_is_truncated_is_none() {
    let mut cluster = about_to_bind();
    cluster.drop_messages(|_| true);
    cluster.flush(1);
    cluster.cut = vec![1];
    cluster.elect(2);
    cluster.cut = Vec::new();
    settle(&mut cluster);
    let at = |cluster: &Cluster, id| cluster.engine(id).membership().bindings()[&NodeId(1)].at;
    assert_eq!(at(&cluster, 1).term, Term(2), "{}", cluster.trace);
    assert_eq!(at(&cluster, 1), at(&cluster, 3));
}

#[test]
fn a_wiped_directory_is_refused_also_by_a_member_that_never_met_the_real_one() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    cluster.crash(3);
    change(&mut cluster, 7, add(4));
    change(&mut cluster, 8, promote(4));
    assert_eq!(cluster.node(4).disk.peers.get(&NodeId(3)), None, "they never met");
    for id in [1, 2, 4] {
        let reason = hear(&mut cluster, id, life(3, 1103, None), None);
        assert!(matches!(reason, Some(PeerRefusal::OtherIncarnation { met }) if met.id == 103), "{id}: {reason:?}");
        assert_eq!(hear(&mut cluster, id, life(3, 103, None), None), None, "the real one is heard");
    }
}

#[test]
fn who_forgot_whom_it_met_still_refuses_a_wiped_directory() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let mut disk = cluster.node(2).disk.clone();
    disk.peers.clear();
    disk.starts += 1;
    let config = cluster.node(2).config.clone();
    cluster.start(2, config, disk);
    assert!(hear(&mut cluster, 2, life(3, 9, None), None).is_some());
}

#[test]
fn what_is_remembered_of_another_directory_than_the_bound_one_does_not_count() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let mut disk = cluster.node(2).disk.clone();
    disk.peers.insert(NodeId(3), Incarnation { id: 9, start: 70, nonce: 1 });
    disk.starts += 1;
    let config = cluster.node(2).config.clone();
    cluster.start(2, config, disk);
    let told = hear(&mut cluster, 2, life(3, 9, None), None);
    assert!(
        matches!(told, Some(PeerRefusal::OtherIncarnation { met }) if met.id == 103),
        "whom it is refused for is the one that is bound: {told:?}"
    );
    assert_eq!(hear(&mut cluster, 2, life(3, 103, None), None), None);
    assert!(hear(&mut cluster, 2, life(3, 9, None), None).is_some());
    cluster.flush(2);
    assert_eq!(cluster.node(2).disk.peers[&NodeId(3)], life(3, 103, None).incarnation, "durably");
}

#[test]
fn the_way_back_is_to_be_removed_added_as_a_learner_and_promoted() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.propose(1, 5, "before");
    settle(&mut cluster);
    cluster.crash(3);
    change(&mut cluster, 7, remove(3));
    assert_eq!(bindings(&cluster, 1), "1:101 2:102", "the binding has gone with the member");
    cluster.wipe(3);
    change(&mut cluster, 8, add(3));
    assert_eq!(bindings(&cluster, 3), "1:101 2:102 3:1103");
    change(&mut cluster, 9, promote(3));
    assert_eq!(cluster.engine(3).membership().to_string(), "voters {1 2 3}");
    assert_eq!(cluster.applied(3), ["before"]);
    assert!(hear(&mut cluster, 2, life(3, 103, None), None).is_some(), "it is the old directory that is refused now");
}

#[test]
fn a_voter_is_bound_by_an_entry_that_is_committed_before_the_one_that_gives_it_its_vote() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[4])));
    for _ in 0..100 {
        cluster.flush(1);
        cluster.stabilize();
        cluster.elapse(Duration::from_millis(20));
    }
    let memberships = cluster.node(1).log.iter().filter_map(|(id, payload)| match &payload.body {
        Body::Membership(membership) => Some((*id, membership.clone())),
        _ => None,
    });
    let steps: Vec<_> = memberships.collect();
    let votes = steps.iter().position(|(_, it)| it.is_voter(NodeId(4))).expect("it votes");
    let [(at, bound), (_, first)] = &steps[votes - 1..=votes] else { panic!("it was bound") };
    assert!(first.is_joint() && bound.goal().is_some());
    assert_eq!(first.bindings()[&NodeId(4)], Binding { directory: 104, at: *at });
    assert_eq!(bound.bindings()[&NodeId(4)], Binding { directory: 104, at: *at });
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 2 3 4}");
}

/// It lacks nothing, so that it need not catch up; but while another member has never been heard from, nobody has bound it yet.
#[test]
fn a_learner_that_is_promoted_before_it_is_bound_is_bound_first() {
    let mut cluster = bound(&[1, 2, 3], &[4, 5]);
    cluster.crash(5);
    cluster.change(1, 7, ChangeMembers::AddNodes(nodes(&[4, 5])));
    cluster.stabilize();
    assert_eq!(bindings(&cluster, 1), "1:101 2:102 3:103");
    assert_eq!(cluster.engine(4).last_log_id(), cluster.engine(1).last_log_id(), "it lacks nothing");
    cluster.change(1, 8, promote(4));
    cluster.stabilize();
    assert_eq!(bindings(&cluster, 1), "1:101 2:102 3:103 4:104");
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 2 3 4} learners {5}");
    assert!(cluster.node(1).answers.iter().any(|it| it.starts_with("changed #8")), "{:?}", cluster.node(1).answers);
}

#[test]
fn first_voters_that_are_away_and_not_bound_hold_up_no_change() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.crash(3);
    cluster.elect(1);
    cluster.join_with(4, |config| config.node = config.node.speaking(Version::FIRST));
    change(&mut cluster, 7, ChangeMembers::AddVoters(nodes(&[4])));
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 2 3 4}");
    assert!(!cluster.engine(1).membership().bindings().contains_key(&NodeId(3)), "it has never said a word");
}

/// Node 1 leads, node 3 is not there, and node 4 is brought the log: it will be bound together with node 3, and is not yet.
fn learns_before_it_is_bound() -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.cut = vec![3];
    cluster.elect(1);
    settle(&mut cluster);
    cluster.join_with(4, |config| config.bind_directories = true);
    cluster.change(1, 7, add(4));
    cluster.stabilize_until(|cluster| matched_by(cluster, 4) > LogIndex(0));
    assert_eq!(bindings(&cluster, 1), "1:101 2:102", "not yet");
    cluster
}

/// What the leader, node 1, knows a node to hold.
fn matched_by(cluster: &Cluster, id: u64) -> LogIndex {
    cluster.engine(1).status().matched.get(&NodeId(id)).copied().unwrap_or_default()
}

#[test]
fn what_a_learners_old_directory_acknowledged_counts_for_nothing_once_another_one_comes() {
    let mut cluster = learns_before_it_is_bound();
    let anew = Peer { bound: None, ..life(4, 1104, None) };
    assert_eq!(hear(&mut cluster, 1, anew, None), None, "a learner that nobody has bound is let in");
    assert_eq!(cluster.engine(1).status().matched[&NodeId(4)], LogIndex(0));
}

#[test]
fn who_is_behind_hears_a_directory_that_was_bound_by_an_entry_it_lacks() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    assert_eq!(cluster.engine(2).membership_at(), LogId::new(1, 4));
    for claim in [None, Some((1, 4)), Some((0, 9))] {
        let reason = hear(&mut cluster, 2, life(3, 1103, claim), Some(heartbeat(9)));
        assert!(matches!(reason, Some(PeerRefusal::OtherIncarnation { .. })), "{claim:?}: {reason:?}");
    }
    assert_eq!(hear(&mut cluster, 2, life(3, 1103, Some((1, 9))), Some(heartbeat(9))), None);
    assert_eq!(cluster.engine(2).leadership(), (Term(9), Some(NodeId(3))));
    assert_eq!(cluster.node(2).answered.last(), Some(&life(3, 1103, Some((1, 9)))), "and answered wherever it is");
    let leader = hear(&mut cluster, 1, life(3, 1103, Some((1, 9))), Some(heartbeat(1)));
    assert!(matches!(leader, Some(PeerRefusal::OtherIncarnation { .. })), "a leader is not behind: {leader:?}");
}

#[test]
fn a_deposed_leader_hears_its_successor_by_its_claim_and_counts_nothing_of_it_before() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let matched = cluster.engine(1).status().matched;
    let successor = life(3, 1103, Some((9, 9)));
    assert_eq!(hear(&mut cluster, 1, successor, None), None, "what it comes to depends on what it says");
    assert_eq!(cluster.engine(1).status().matched, matched);
    assert!(hear(&mut cluster, 1, life(3, 1103, Some((1, 2))), Some(heartbeat(9))).is_some(), "an older claim is none");
    assert_eq!(cluster.role(1), RoleKind::Leader);
    assert_eq!(hear(&mut cluster, 1, successor, Some(heartbeat(9))), None);
    assert_eq!(cluster.engine(1).leadership(), (Term(9), Some(NodeId(3))));
    assert_eq!(cluster.node(1).answered.last(), Some(&successor));
}

/// How often a node was asked to answer somebody wherever it is, since the last time that this was asked.
fn told_to_answer(cluster: &mut Cluster, id: u64) -> Vec<Peer> {
    std::mem::take(&mut cluster.nodes.get_mut(&id).unwrap().answered)
}

#[test]
fn a_leader_is_answered_wherever_it_is_once_for_each_connection() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let (leader, other) = (life(1, 101, None), life(3, 103, None));
    told_to_answer(&mut cluster, 2);
    assert_eq!(hear(&mut cluster, 2, other, Some(heartbeat(9))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [other], "it is heard for the first time in this term");
    assert_eq!(hear(&mut cluster, 2, other, Some(heartbeat(9))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [], "and answered already");
    assert_eq!(hear(&mut cluster, 2, other, None), None);
    assert_eq!(hear(&mut cluster, 2, other, Some(heartbeat(9))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [other], "it has connected anew");
    let next = Peer { incarnation: Incarnation { start: 2, ..other.incarnation }, ..other };
    assert_eq!(hear(&mut cluster, 2, next, Some(heartbeat(9))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [next], "its next life may be elsewhere");
    assert_eq!(hear(&mut cluster, 2, leader, Some(heartbeat(8))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [], "its term is over");
    assert!(hear(&mut cluster, 2, leader, Some(heartbeat(9))).is_some(), "a second leader");
    assert_eq!(told_to_answer(&mut cluster, 2), []);
}

/// The transport may have ended what was to be done for that, as the members are told.
#[test]
fn a_leader_is_answered_anew_once_the_members_have_been_told_again() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    let leader = life(1, 101, None);
    hear(&mut cluster, 2, leader, Some(heartbeat(1)));
    told_to_answer(&mut cluster, 2);
    hear(&mut cluster, 2, leader, Some(heartbeat(1)));
    assert_eq!(told_to_answer(&mut cluster, 2), [], "it is answered already");
    change(&mut cluster, 7, add(4));
    let told = told_to_answer(&mut cluster, 2);
    assert!(told.iter().any(|peer| peer.is_same_life(&leader)), "{told:?}");
}

/// Whoever knows the members by an entry is right for as long as they are the same.
#[test]
fn members_are_known_by_their_entry_however_often_directories_were_bound_since() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.cut = vec![3];
    cluster.elect(1);
    let at = LogId::new(0, 1);
    settle(&mut cluster);
    assert_eq!(cluster.engine(1).membership().of(), Some(at));
    cluster.cut.clear();
    settle(&mut cluster);
    assert_eq!((bindings(&cluster, 1).as_str(), cluster.engine(1).membership().of()), ("1:101 2:102 3:103", Some(at)));
    let preconditions = Preconditions { membership: Some(at), ..Preconditions::default() };
    cluster.request(1, 7, ChangeRequest { preconditions, ..ChangeRequest::from(remove(3)) });
    settle(&mut cluster);
    assert!(cluster.node(1).answers.iter().any(|it| it.starts_with("changed #7")), "{:?}", cluster.node(1).answers);
}

#[test]
fn who_asks_for_a_vote_beside_a_leader_is_not_answered_elsewhere() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let candidate = life(3, 103, Some((1, 3)));
    let request = VoteRequest { term: Term(2), last: LogId::new(1, 9), warrant: Warrant::None };
    told_to_answer(&mut cluster, 2);
    for message in [Message::PreVote(request), Message::RequestVote(request)] {
        assert_eq!(hear(&mut cluster, 2, candidate, Some(message)), None);
        assert_eq!(told_to_answer(&mut cluster, 2), []);
    }
    cluster.cut = vec![1, 2, 3];
    cluster.elapse(Duration::from_secs(5));
    told_to_answer(&mut cluster, 2);
    let request = VoteRequest { term: Term(9), ..request };
    assert_eq!(hear(&mut cluster, 2, candidate, Some(Message::PreVote(request))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [candidate], "without one it may get it");
    hear(&mut cluster, 2, candidate, Some(Message::RequestVote(request)));
    told_to_answer(&mut cluster, 2);
    assert_eq!(cluster.engine(2).leadership(), (Term(9), None));
    assert_eq!(hear(&mut cluster, 2, life(1, 101, None), Some(heartbeat(8))), None);
    assert_eq!(told_to_answer(&mut cluster, 2), [], "its term is over");
}

#[test]
fn what_an_old_directory_answered_counts_for_nothing_once_its_id_was_added_anew() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    change(&mut cluster, 7, add(4));
    assert_eq!(bindings(&cluster, 1), "1:101 2:102 3:103 4:104");
    let matched = cluster.engine(1).status().matched[&NodeId(4)];
    change(&mut cluster, 8, ChangeMembers::RemoveNodes(ids(&[4])));
    cluster.cut = vec![4];
    change(&mut cluster, 9, add(4));
    let late = HeartbeatReply { term: Term(1), asked: Term(1), round: Round(30), received: matched, matched };
    assert_eq!(hear(&mut cluster, 1, life(4, 104, None), Some(Message::HeartbeatReply(late))), None, "a learner");
    settle(&mut cluster);
    assert_eq!(cluster.engine(1).status().matched[&NodeId(4)], LogIndex(0));
    assert_eq!(bindings(&cluster, 1), "1:101 2:102 3:103", "an answer from before is no proof");
    cluster.wipe(4);
    cluster.cut.clear();
    settle(&mut cluster);
    assert_eq!(bindings(&cluster, 4), "1:101 2:102 3:103 4:1104");
}

#[test]
fn what_comes_to_a_first_leader_after_it_has_handed_over_is_refused_for_certain() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.handle(1, Event::TransferLeadership { token: Token(6), to: Some(NodeId(2)) });
    settle(&mut cluster);
    assert_eq!(cluster.role(2), RoleKind::Leader);
    for (request, term) in [(900, 0), (901, 1)] {
        let entries = [cluster::command("late")].into();
        let late = Message::Propose { term: Term(term), request: RequestId(request), entries };
        assert_eq!(hear(&mut cluster, 1, life(3, 103, None), Some(late)), None);
        // Before its term another directory may have led under its id.
        let refusal = if term == 1 { Refusal::NotLeader } else { Refusal::Unknown };
        let answer = Message::ProposeReply { request: RequestId(request), outcome: Err(refusal) };
        assert!(cluster.deliver(|it| it.message == answer), "term {term}");
    }
}

#[test]
fn a_follower_that_slept_through_all_of_it_catches_up_from_the_new_directory() {
    let mut cluster = bound(&[1, 2, 3, 4, 5], &[]);
    cluster.crash(5);
    cluster.crash(3);
    change(&mut cluster, 7, remove(3));
    cluster.wipe(3);
    change(&mut cluster, 8, add(3));
    change(&mut cluster, 9, promote(3));
    cluster.crash(1);
    cluster.elect(3);
    settle(&mut cluster);
    cluster.restart(5);
    assert_eq!(bindings(&cluster, 5), "1:101 2:102 3:103 4:104 5:105", "it knows of nothing");
    settle(&mut cluster);
    assert_eq!(cluster.log(5), cluster.log(3), "{}", cluster.trace);
    assert_eq!(bindings(&cluster, 5), "1:101 2:102 3:1103 4:104 5:105");
}

#[test]
fn a_good_node_is_not_stopped_by_one_that_is_behind() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.crash(3);
    change(&mut cluster, 7, remove(3));
    cluster.wipe(3);
    change(&mut cluster, 8, add(3));
    let met = Some(life(3, 103, None).incarnation);
    cluster.handle(3, Event::Refused { by: peer(2, 1), met, reason: "another directory".into() });
    assert_eq!(cluster.role(3), RoleKind::Learner, "it goes on");
    assert_eq!(cluster.engine(3).status().refused_by.len(), 1, "and says it");
}

#[test]
fn a_voter_whose_log_ends_with_the_entry_that_binds_it_is_not_stopped_by_who_met_another_directory() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    assert_eq!(cluster.engine(3).last_log_id(), cluster.engine(3).membership_at());
    let met = Some(life(3, 9, None).incarnation);
    cluster.handle(3, Event::Refused { by: peer(2, 1), met, reason: "another directory".into() });
    assert_eq!(cluster.role(3), RoleKind::Follower, "it has more than every node begins with");
}

/// Whoever was brought the first entry by a leader may come in the place of another one, which is removed further on in the log.
#[test]
fn a_directory_that_was_sent_its_beginning_is_not_stopped_by_who_does_not_know_yet_that_it_was_added() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let (config, log) = (cluster.node(3).config.clone(), cluster.node(3).disk.log[..1].to_vec());
    // Nor does it take itself for the beginner that its directory's former owner was.
    let peers = [(NodeId(1), life(1, 101, None).incarnation), (NodeId(3), life(3, 103, None).incarnation)].into();
    cluster.start(3, config, cluster::Disk { wipes: 1, starts: 2, log, peers, ..cluster::Disk::default() });
    assert_eq!(cluster.engine(3).poll_timeout(), None, "it did not begin the log, so that it does not campaign");
    let met = Some(life(3, 103, None).incarnation);
    cluster.handle(3, Event::Refused { by: peer(2, 1), met, reason: "another directory".into() });
    assert_eq!(cluster.role(3), RoleKind::Follower, "it goes on");
}

#[test]
fn a_learner_that_is_bound_is_heard_from_no_other_directory() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    change(&mut cluster, 7, add(4));
    assert_eq!(bindings(&cluster, 3), "1:101 2:102 3:103 4:104");
    for id in 1..=3 {
        let reason = hear(&mut cluster, id, life(4, 1104, None), None);
        assert!(matches!(reason, Some(PeerRefusal::OtherIncarnation { met }) if met.id == 104), "{id}: {reason:?}");
    }
}

#[test]
fn who_joins_later_is_bound_at_once_if_all_the_others_are() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    let now = cluster.now;
    cluster.change(1, 7, add(4));
    cluster.stabilize();
    assert_eq!((bindings(&cluster, 1).as_str(), cluster.now), ("1:101 2:102 3:103 4:104", now));
}

/// It may be truncated with what removes it, and then nobody else might lead.
#[test]
fn who_was_added_and_is_removed_by_an_entry_that_may_go_still_campaigns() {
    let mut cluster = bound(&[1, 2, 3], &[4]);
    change(&mut cluster, 7, add(4));
    change(&mut cluster, 8, promote(4));
    cluster.change(1, 9, remove(4));
    cluster.stabilize_until(|it| it.engine(4).membership().to_string() == "voters {1 2 3}");
    let engine = cluster.engine(4);
    assert!(engine.commit_index() < engine.membership_at().index && engine.membership().bindings().len() == 3);
    cluster.cut = vec![1];
    cluster.drop_messages(|_| true);
    cluster.timeout(4);
    assert_eq!(cluster.role(4), RoleKind::PreCandidate);
}

/// The second change names whom the first one left, as no member has changed since.
#[test]
fn members_are_known_by_their_entry_after_a_change_of_nothing_too() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let at = LogId::new(0, 1);
    for token in [7, 8] {
        change(&mut cluster, token, add(2));
        assert_eq!(cluster.engine(1).membership().of(), Some(at));
    }
    let preconditions = Preconditions { membership: Some(at), ..Preconditions::default() };
    cluster.request(1, 9, ChangeRequest { preconditions, ..ChangeRequest::from(remove(3)) });
    settle(&mut cluster);
    assert!(cluster.node(1).answers.iter().any(|it| it.starts_with("changed #9")), "{:?}", cluster.node(1).answers);
}

#[test]
fn a_node_that_knows_another_directory_to_be_the_member_does_not_campaign() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    let disk = cluster.node(3).disk.clone();
    let config = cluster.node(3).config.clone();
    // The log of the real one, as a leader that hears nothing of it might bring it.
    cluster.start(3, config, cluster::Disk { wipes: 1, ..disk });
    assert_eq!(cluster.engine(3).signature().bound, None, "what binds the other one is no claim of its own");
    assert_eq!(cluster.engine(3).poll_timeout(), None, "it waits for no election");
    cluster.handle(3, Event::Elect { token: Token(4), pre_vote: false });
    assert_eq!(cluster.engine(3).role_kind(), RoleKind::Follower);
}

/// Found by the simulator: the first entry of the log says that node 1 is the only voter.
#[test]
fn a_directory_that_was_brought_the_members_of_long_ago_does_not_lead_the_cluster_of_then() {
    let one_by_one = |config: &mut EngineConfig| {
        config.bind_directories = true;
        config.node = config.node.speaking(Version::FIRST);
        config.limits.append_bytes_max = 1;
    };
    let mut cluster = Cluster::with(&[1], one_by_one);
    cluster.elect(1);
    settle(&mut cluster);
    cluster.join_with(2, one_by_one);
    for (token, to) in [(7, add(2)), (8, promote(2)), (9, remove(1))] {
        change(&mut cluster, token, to);
    }
    settle(&mut cluster);
    assert_eq!((cluster.role(2), bindings(&cluster, 2)), (RoleKind::Leader, "2:102".to_owned()));
    cluster.wipe(1);
    cluster.change(2, 10, add(1));
    cluster.stabilize_until(|cluster| cluster.engine(1).last_log_id().index >= LogIndex(1));
    let is_the_only_voter = |cluster: &Cluster| cluster.engine(1).membership().to_string() == "voters {1}";
    assert!(is_the_only_voter(&cluster), "{}", cluster.engine(1).membership());
    cluster.flush(1);
    for _ in 0..2 {
        cluster.cut = vec![1];
        cluster.elapse(Duration::from_secs(10));
        cluster.handle(1, Event::Elect { token: Token(4), pre_vote: false });
        cluster.receive(1, 2, Message::TimeoutNow { term: cluster.engine(1).leadership().0 });
        cluster.stabilize();
        assert_ne!(cluster.role(1), RoleKind::Leader, "it leads the members of long ago");
        assert!(is_the_only_voter(&cluster));
        // Nor does it in a later life.
        cluster.restart(1);
    }
    cluster.cut = vec![];
    settle(&mut cluster);
    assert_eq!((cluster.role(1), bindings(&cluster, 1)), (RoleKind::Learner, "1:1101 2:102".to_owned()));
}

#[test]
fn a_directory_that_began_its_log_itself_knows_that_in_its_later_lives() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.bind_directories = true);
    cluster.cut = vec![3];
    cluster.elect(1);
    cluster.crash(1);
    cluster.cut = vec![];
    (2..=3).for_each(|id| cluster.restart(id));
    assert!(bindings(&cluster, 2).is_empty() && cluster.node(2).disk.peers.contains_key(&NodeId(1)));
    cluster.elapse(Duration::from_secs(2));
    cluster.elect(2);
}

#[test]
fn a_change_that_meets_the_entry_that_binds_waits_for_it() {
    let mut cluster = about_to_bind();
    cluster.cut = vec![];
    assert!(cluster.engine(1).membership_at().index > cluster.engine(1).commit_index(), "under way");
    let membership = Some(LogId::new(0, 1));
    let preconditions = Preconditions { membership, ..Preconditions::default() };
    let patience = Duration::from_secs(10);
    cluster.request(1, 7, ChangeRequest { change: remove(3), retain: false, patience, preconditions });
    settle(&mut cluster);
    let answers = cluster.node(1).answers.join("\n");
    assert!(answers.contains("changed #7") && !answers.contains("refused"), "{answers}");
    assert_eq!(bindings(&cluster, 1), "1:101 2:102");
}

#[test]
fn a_member_keeps_its_directory_at_another_address_and_is_not_removed_and_added_at_once() {
    let binding = Binding { directory: 4, at: LogId::new(1, 2) };
    let before = Membership::new(nodes(&[1]), nodes(&[4])).with_bindings([(NodeId(4), binding)].into(), None).unwrap();
    let again = ChangeMembers::Batch(vec![ChangeMembers::RemoveNodes(ids(&[4])), add(4)]);
    assert_eq!(before.changed(&again, false), Err(Refusal::AddedAgain { node: NodeId(4) }));
    let moved = ChangeMembers::SetNodes([(NodeId(4), Node { address: "elsewhere".into() })].into());
    assert_eq!(before.changed(&moved, false).unwrap().bindings(), before.bindings(), "an address is no directory");
}

#[test]
fn a_removed_node_refuses_at_once_what_its_last_leader_would_not_answer() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    change(&mut cluster, 7, remove(3));
    assert_eq!(cluster.engine(3).leadership(), (Term(1), Some(NodeId(1))), "it knows one, and will know no later one");
    cluster.elapse(Duration::from_secs(2));
    cluster.read(3, 8);
    cluster.propose(3, 9, "late");
    let refused = "this node is no member of the cluster any more; ask another";
    assert_eq!(cluster.node(3).answers[1..], [format!("refused #8: {refused}"), format!("refused #9: {refused}")]);
}

/// Found by reading: they waited until their callers gave up.
#[test]
fn reads_under_way_on_a_node_are_refused_as_soon_as_it_learns_that_it_was_removed() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.change(1, 7, remove(3));
    cluster.stabilize_until(|it| it.commit(1) == it.engine(1).last_log_id().index.0);
    // It knows of its removal, and not that it is committed; its leader does not hear it any more.
    cluster.read(3, 8);
    cluster.drop_messages(|envelope| envelope.from.node == NodeId(3));
    cluster.stabilize();
    let refused = "refused #8: this node is no member of the cluster any more; ask another";
    assert_eq!(cluster.node(3).answers.last().map(String::as_str), Some(refused), "{}", cluster.trace);
}

/// The leader's last words say more than has come through: nothing else will.
#[test]
fn reads_on_a_removed_node_that_lacks_its_leaders_last_entries_are_refused_once_nobody_is_heard() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    change(&mut cluster, 7, remove(3));
    let (term, commit) = (Term(cluster.term(1)), LogIndex(cluster.commit(3) + 1));
    cluster.receive(3, 1, Message::Committed { term, commit });
    cluster.read(3, 8);
    for _ in 0..8 {
        cluster.drop_messages(|envelope| envelope.from.node == NodeId(3));
        cluster.elapse(Duration::from_millis(100));
    }
    let refused = "refused #8: this node is no member of the cluster any more; ask another";
    assert_eq!(cluster.node(3).answers.last().map(String::as_str), Some(refused), "{}", cluster.trace);
}

#[test]
fn a_node_that_is_brought_up_to_the_entry_that_added_it_is_not_taken_for_one_that_was_removed() {
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.join_with(4, |config| config.bind_directories = true);
    let settings = cluster.node(4).config.clone();
    change(&mut cluster, 7, add(4));
    let log = cluster.node(1).disk.log[..1].to_vec();
    // It starts again, with the first entry alone, and follows a leader that sends it the rest.
    cluster.start(4, settings, cluster::Disk { starts: 2, log, ..cluster::Disk::default() });
    cluster.receive(4, 1, heartbeat(1));
    let holds = cluster.engine(4).membership().nodes().contains_key(&NodeId(4));
    assert!(!holds && cluster.engine(4).leadership().1 == Some(NodeId(1)));
    cluster.propose(4, 9, "early");
    assert!(!cluster.node(4).answers.iter().any(|it| it.contains("no member")), "{:?}", cluster.node(4).answers);
}

/// It begins with nothing: what the other one had for that time is not asked of it too.
#[test]
fn a_new_voter_that_comes_from_another_directory_has_all_the_patience_again() {
    let beat = Duration::from_millis(100);
    let mut cluster = bound(&[1, 2, 3], &[]);
    cluster.join_with(4, |config| config.bind_directories = true);
    for value in 0..40 {
        cluster.propose(1, value, "x");
    }
    cluster.stabilize();
    let last = cluster.engine(1).last_log_id().index.0;
    // So much of the log is let through to node 4.
    let lasts = |cluster: &mut Cluster, beats: u64, through: u64| {
        let is_beyond = |envelope: &cluster::Envelope| match &envelope.message {
            Message::AppendEntries(append) => {
                envelope.to == 4 && append.batches.last().is_some_and(|batch| batch.last().index.0 > through)
            }
            _ => false,
        };
        for _ in 0..beats {
            cluster.elapse(beat);
            loop {
                let flushed = (1..=4).filter(|id| cluster.flush(*id)).count();
                cluster.drop_messages(is_beyond);
                if !cluster.deliver(|_| true) && flushed == 0 {
                    break;
                }
            }
        }
    };
    let added = ChangeMembers::AddVoters(nodes(&[4]));
    cluster.request(1, 7, ChangeRequest { patience: beat * 8, ..added.into() });
    lasts(&mut cluster, 6, last - 1);
    cluster.wipe(4);
    lasts(&mut cluster, 5, 0);
    lasts(&mut cluster, 10, u64::MAX);
    settle(&mut cluster);
    let told = &cluster.node(1).answers;
    assert!(told.iter().any(|it| it.starts_with("changed #7")), "{told:?}\n{}", cluster.trace);
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 2 3 4}");
}

/// Node 2 has the entry that binds nodes 1 and 2, and does not know whether it is committed.
fn bound_and_not_committed() -> Cluster {
    let mut cluster = about_to_bind();
    while cluster.deliver(|envelope| envelope.to == 2) {}
    cluster.network.clear();
    assert_eq!(bindings(&cluster, 2), "1:101 2:102");
    assert!(cluster.engine(2).commit_index() < cluster.engine(2).membership_at().index);
    cluster
}

#[test]
fn who_is_shut_out_by_an_entry_that_may_go_is_heard() {
    let mut cluster = bound_and_not_committed();
    assert_eq!(hear(&mut cluster, 2, life(1, 1101, Some((0, 1))), Some(heartbeat(9))), None);
    assert_eq!(cluster.engine(2).leadership(), (Term(9), Some(NodeId(1))));
}

#[test]
fn a_leader_that_has_committed_nothing_yet_says_so_whatever_it_took_over() {
    let mut cluster = bound_and_not_committed();
    cluster.flush(2);
    cluster.crash(1);
    cluster.cut.clear();
    cluster.network.clear();
    while cluster.role(2) != RoleKind::PreCandidate {
        cluster.timeout(2);
    }
    cluster.stabilize_until(|cluster| cluster.role(2) == RoleKind::Leader);
    cluster.change(2, 7, add(4));
    let told = cluster.node(2).answers.last().cloned().unwrap_or_default();
    assert!(told.starts_with("refused #7: the leader has just been elected"), "{:?}", cluster.node(2).answers);
}

#[test]
fn a_late_word_of_a_directory_that_is_gone_takes_back_nothing_that_is_known_of_the_next() {
    let mut cluster = learns_before_it_is_bound();
    let late =
        HeartbeatReply { term: Term(0), asked: Term(0), round: Round(1), received: LogIndex(0), matched: LogIndex(0) };
    assert_eq!(hear(&mut cluster, 1, life(4, 1104, None), Some(Message::HeartbeatReply(late))), None);
    assert!(matched_by(&cluster, 4) > LogIndex(0));
}
