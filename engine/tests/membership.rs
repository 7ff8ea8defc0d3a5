//! Changes of the members, sentence by sentence of the thesis' chapter 4 (Ongaro, "Consensus: Bridging Theory and Practice"),
//! in our words; then what callers are told.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Envelope};
use outrigger_engine::*;

// ---- what the tests are made of ------------------------------------------------------------------------------------

fn nodes(ids: &[u64]) -> NodeMap<Node> {
    ids.iter().map(|id| (NodeId(*id), Node { address: format!("node{id}") })).collect()
}

fn ids(ids: &[u64]) -> NodeSet {
    ids.iter().map(|id| NodeId(*id)).collect()
}

/// Node 1 leads the voters given, everything is committed everywhere; the others wait to be added.
fn led(voters: &[u64], others: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(voters);
    cluster.elect(1);
    cluster.join(others);
    cluster
}

/// From some voters to others, in one call.
fn replace(old: &[u64], new: &[u64]) -> ChangeMembers {
    ChangeMembers::Batch(vec![ChangeMembers::AddVoters(nodes(new)), ChangeMembers::RemoveVoters(ids(old))])
}

fn members(cluster: &Cluster, id: u64) -> String {
    cluster.engine(id).membership().to_string()
}

fn answers(cluster: &Cluster, id: u64) -> Vec<&str> {
    cluster.node(id).answers.iter().map(String::as_str).filter(|it| !it.contains("accepted #0")).collect()
}

fn to(ids: &'static [u64]) -> impl Fn(&Envelope) -> bool {
    move |envelope| ids.contains(&envelope.to)
}

const HEARTBEAT: Duration = Duration::from_millis(100);

/// So many heartbeats pass, and all that follows from each.
fn pass(cluster: &mut Cluster, heartbeats: u32) {
    for _ in 0..heartbeats {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
}

// ---- 4.1 safety ----------------------------------------------------------------------------------------------------

#[test]
fn s4_1_a_server_uses_the_latest_configuration_in_its_log_whether_committed_or_not() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    assert_eq!(members(&cluster, 1), "voters {1 2} outgoing {1 2 3}", "on the leader as soon as it is appended");
    assert_eq!(members(&cluster, 2), "voters {1 2 3}");
    cluster.flush(1);
    assert!(cluster.deliver(to(&[2])));
    assert_eq!(members(&cluster, 2), "voters {1 2} outgoing {1 2 3}", "on a follower too");
    assert!(cluster.commit(1) < cluster.engine(1).last_log_id().index.0, "nothing of it is committed yet");
}

#[test]
fn s4_1_a_server_falls_back_to_the_configuration_before_when_the_entry_is_removed() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.cut = vec![1];
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[1])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 1), "voters {2 3} outgoing {1 2 3}");
    cluster.elapse(Duration::from_millis(1_500)); // node 1 gives up, others elect one of themselves
    cluster.stabilize();
    let leader = [2, 3].into_iter().find(|id| cluster.role(*id) == RoleKind::Leader);
    let leader = leader.unwrap_or_else(|| {
        cluster.elect(2);
        2
    });
    cluster.cut = Vec::new();
    cluster.timeout(leader);
    cluster.stabilize();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
    assert_eq!(members(&cluster, 1), "voters {1 2 3}");
    assert_eq!(cluster.log(1), cluster.log(leader));
    assert_eq!(cluster.role(1), RoleKind::Follower);
    assert!(cluster.engine(1).poll_timeout().is_some(), "it votes again, so it campaigns again");
    let told = answers(&cluster, 1);
    assert!(told.iter().any(|it| it.starts_with("refused #7: ") && it.contains("may or may not")), "{told:?}");
}

#[test]
fn s4_1_a_leader_changes_nothing_before_it_has_committed_an_entry_of_its_own_term() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.timeout(1);
    while cluster.role(1) != RoleKind::Leader {
        for id in 1..=3 {
            cluster.flush(id);
        }
        assert!(cluster.deliver(|_| true));
    }
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    assert_eq!(answers(&cluster, 1), ["refused #7: the leader has just been elected; try again in a moment"]);
    cluster.stabilize();
    cluster.change(1, 8, ChangeMembers::RemoveVoters(ids(&[3])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 1), "voters {1 2}");
}

#[test]
fn s4_1_one_change_at_a_time() {
    let mut cluster = led(&[1, 2, 3], &[4]);
    cluster.change(1, 7, ChangeMembers::AddNodes(nodes(&[4])));
    cluster.change(1, 8, ChangeMembers::RemoveVoters(ids(&[3])));
    assert!(answers(&cluster, 1)[0].starts_with("refused #8: another change of the members is under way"));
    cluster.stabilize();
    assert!(answers(&cluster, 1)[1].starts_with("changed #7"));
    cluster.change(1, 9, ChangeMembers::RemoveVoters(ids(&[3])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 2), "voters {1 2} learners {4}");
}

/// Node 3 of the voters 1, 2 and 3 was cut off while they became 1, 3 and 4, and then 3, 4 and 5.
fn node_3_has_missed_all() -> Cluster {
    let mut cluster = led(&[1, 2, 3], &[4, 5]);
    cluster.cut = vec![3];
    cluster.change(1, 7, replace(&[2], &[4]));
    cluster.stabilize();
    assert_eq!(members(&cluster, 4), "voters {1 3 4}");
    cluster.change(1, 8, ChangeMembers::AddVoters(nodes(&[5])));
    cluster.stabilize();
    cluster.change(1, 9, ChangeMembers::RemoveVoters(ids(&[1])));
    cluster.stabilize();
    assert_eq!((members(&cluster, 5).as_str(), members(&cluster, 3).as_str()), ("voters {3 4 5}", "voters {1 2 3}"));
    cluster
}

#[test]
fn s4_1_a_server_hears_a_leader_that_is_not_in_its_configuration() {
    let mut cluster = node_3_has_missed_all();
    cluster.cut = Vec::new();
    pass(&mut cluster, 3);
    assert_eq!(members(&cluster, 3), "voters {3 4 5}");
}

#[test]
fn s4_1_a_server_votes_for_a_candidate_that_is_not_in_its_configuration() {
    let mut cluster = node_3_has_missed_all();
    let leader = [4, 5].into_iter().find(|id| cluster.role(*id) == RoleKind::Leader).expect("one of them leads");
    cluster.crash(leader);
    cluster.cut = vec![1, 2];
    cluster.elapse(Duration::from_secs(5));
    cluster.stabilize();
    cluster.elect(9 - leader);
}

// ---- 4.2.1 catching up new servers ----------------------------------------------------------------------------------

#[test]
fn s4_2_1_a_new_server_receives_the_log_before_it_votes() {
    let mut cluster = led(&[1], &[2]);
    cluster.propose(1, 1, "a");
    cluster.stabilize();
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[2])));
    assert_eq!(members(&cluster, 1), "voters {1} soon {1 2} learners {2}");
    cluster.cut = vec![2];
    cluster.stabilize();
    cluster.propose(1, 2, "b");
    cluster.stabilize();
    assert_eq!(cluster.applied(1), ["a", "b"], "a majority without it goes on");
    assert_eq!(members(&cluster, 1), "voters {1} soon {1 2} learners {2}");
    cluster.cut = Vec::new();
    cluster.elapse(2 * HEARTBEAT);
    cluster.stabilize();
    cluster.elapse(2 * HEARTBEAT);
    cluster.stabilize();
    assert_eq!([1, 2].map(|id| members(&cluster, id)), ["voters {1 2}", "voters {1 2}"]);
    assert_eq!(cluster.applied(2), ["a", "b"]);
    assert!(answers(&cluster, 1).last().unwrap().starts_with("changed #7"));
}

#[test]
fn s4_2_1_a_change_is_given_up_when_a_new_server_makes_no_progress() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[4])));
    cluster.join(&[4]);
    cluster.cut = vec![4];
    pass(&mut cluster, 10);
    cluster.change(1, 8, ChangeMembers::RemoveVoters(ids(&[3])));
    pass(&mut cluster, 100);
    let told = answers(&cluster, 1);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("refused #8: another change of the members is under way"), "{told:?}");
    assert!(told[1].starts_with("refused #7: node 4 did not catch up: it holds entries up to 0 of "), "{told:?}");
    assert_eq!([1, 2, 3].map(|id| members(&cluster, id)), ["voters {1 2 3}"; 3].map(str::to_owned));
}

/// Who asked for how much patience is not in the log: the next leader has some of its own.
#[test]
fn s4_2_1_a_new_leader_is_patient_with_the_voters_that_its_predecessor_waited_for_and_not_for_ever() {
    let mut cluster = led(&[1, 2, 3], &[4]);
    cluster.cut = vec![4];
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[4])));
    cluster.stabilize();
    cluster.crash(1);
    cluster.elect(2);
    let patience = cluster.node(2).config.change_patience;
    let end = cluster.now + patience;
    while cluster.now + 2 * HEARTBEAT < end {
        pass(&mut cluster, 1);
        assert_eq!(members(&cluster, 2), "voters {1 2 3} soon {1 2 3 4} learners {4}", "node 4 may come yet");
    }
    pass(&mut cluster, 5);
    assert_eq!(members(&cluster, 3), "voters {1 2 3}");
}

/// The log grows, and one of the new voters follows it: that is no reason to wait for the other one for ever.
#[test]
fn s4_2_1_a_change_is_given_up_for_a_voter_that_never_comes_though_another_one_gets_on() {
    let mut cluster = led(&[1, 2, 3], &[4, 5]);
    cluster.cut = vec![5];
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[4, 5])));
    for token in 0..110 {
        cluster.propose(1, 1000 + token, "x");
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    let told = answers(&cluster, 1);
    let refused = told.iter().find(|it| it.starts_with("refused #7")).expect("it is given up");
    assert!(refused.starts_with("refused #7: node 5 did not catch up: it holds entries up to 0 of "), "{refused}");
    assert_eq!(members(&cluster, 2), "voters {1 2 3}");
}

#[test]
fn s4_3_a_change_whose_voters_would_be_no_living_majority_is_refused() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.crash(2);
    pass(&mut cluster, 15);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    cluster.stabilize();
    let why = "refused #7: those who would vote could decide nothing, because node 2 is silent; start it, or leave it out, and try again";
    assert_eq!(answers(&cluster, 1), [why]);
    cluster.propose(1, 8, "served on");
    cluster.stabilize();
    assert_eq!(cluster.applied(1), ["served on"]);
    cluster.change(1, 9, ChangeMembers::RemoveVoters(ids(&[2])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 3), "voters {1 3}", "the one that is away can be removed");
}

/// From {1 2 3 4 5} to {1 2 3 6}; while 6 catches up, 2 and 3 fall silent: 1 and 6 are no majority of four.
#[test]
fn s4_3_voters_that_fall_silent_while_new_ones_catch_up_are_waited_for_and_then_the_change_is_given_up() {
    for come_back in [true, false] {
        let mut cluster = led(&[1, 2, 3, 4, 5], &[6]);
        cluster.cut = vec![6];
        cluster.change(1, 8, replace(&[4, 5], &[6]));
        cluster.stabilize();
        [2, 3].into_iter().for_each(|id| cluster.crash(id));
        pass(&mut cluster, 15);
        cluster.cut.clear();
        pass(&mut cluster, 20);
        assert_eq!(members(&cluster, 1), "voters {1 2 3 4 5} soon {1 2 3 6} learners {6}", "no joint step is begun");
        if come_back {
            cluster.restart(2);
        }
        pass(&mut cluster, 120);
        let voters = if come_back { "voters {1 2 3 6}" } else { "voters {1 2 3 4 5}" };
        assert_eq!(members(&cluster, 1), voters);
        let told = answers(&cluster, 1).into_iter().find(|it| it.contains("#8")).expect("it is told");
        let refused =
            told.starts_with("refused #8: those who would vote could decide nothing, because node 2 is silent");
        assert_eq!(refused, !come_back, "{told}");
    }
}

/// It lacks nothing; but where its vote is needed it is not given to it while it is silent.
#[test]
fn s4_3_a_learner_that_has_caught_up_and_is_gone_is_not_promoted_where_it_would_be_missed() {
    let mut cluster = led(&[1], &[4]);
    cluster.change(1, 7, ChangeMembers::AddNodes(nodes(&[4])));
    cluster.stabilize();
    cluster.crash(4);
    pass(&mut cluster, 15);
    let change = ChangeMembers::AddVoterIds(ids(&[4]));
    let (retain, patience, preconditions) = (false, HEARTBEAT, Preconditions::default());
    cluster.request(1, 8, ChangeRequest { change, retain, patience, preconditions });
    pass(&mut cluster, 5);
    assert!(answers(&cluster, 1)[1].starts_with("refused #8"), "{:?}", answers(&cluster, 1));
    cluster.propose(1, 9, "served on");
    cluster.stabilize();
    assert_eq!(cluster.applied(1), ["served on"]);
}

#[test]
fn an_address_counts_as_soon_as_it_is_appended() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.cut = vec![2, 3];
    let elsewhere = Node { address: "elsewhere".into() };
    cluster.change(1, 7, ChangeMembers::SetNodes([(NodeId(2), elsewhere)].into()));
    let told = cluster.trace.lines().rev().find(|line| line.contains("set_peers")).expect("its transport is told");
    assert!(told.contains("2=elsewhere"), "where it is now it may be needed to commit this: {told}");
}

#[test]
fn who_is_alone_in_the_end_calls_nobody_any_more() {
    let mut cluster = led(&[1, 2], &[]);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[2])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 1), "voters {1}");
    assert!(cluster.trace.lines().any(|line| line.trim() == "set_peers"), "its transport is told: {}", cluster.trace);
}

#[test]
fn s4_2_1_a_learner_that_lags_is_not_promoted_at_once() {
    let mut cluster = led(&[1, 2, 3], &[4]);
    cluster.change(1, 7, ChangeMembers::AddNodes(nodes(&[4])));
    cluster.stabilize();
    cluster.cut = vec![4];
    cluster.propose(1, 1, "a");
    cluster.stabilize();
    let promote = ChangeRequest {
        change: ChangeMembers::AddVoterIds(ids(&[4])),
        retain: false,
        patience: Duration::ZERO,
        preconditions: Preconditions::default(),
    };
    cluster.request(1, 8, promote.clone());
    cluster.stabilize();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
    assert!(answers(&cluster, 1).last().unwrap().starts_with("refused #8: node 4 did not catch up"));
    assert_eq!(members(&cluster, 1), "voters {1 2 3} learners {4}");
    cluster.cut = Vec::new();
    cluster.elapse(2 * HEARTBEAT);
    cluster.stabilize();
    cluster.request(1, 9, promote);
    cluster.stabilize();
    assert_eq!(members(&cluster, 4), "voters {1 2 3 4}");
    assert_eq!(cluster.role(4), RoleKind::Follower);
}

#[test]
fn s4_2_1_a_new_server_whose_round_lasts_longer_than_an_election_timeout_gets_another_one() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.limits.append_bytes_max = 1);
    cluster.elect(1);
    cluster.join(&[4]);
    cluster.cut = vec![4];
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[4])));
    cluster.stabilize();
    let end = cluster.engine(1).last_log_id().index;
    for token in 10..18 {
        cluster.elapse(HEARTBEAT);
        cluster.propose(1, token, "a");
        cluster.stabilize();
    }
    cluster.cut = Vec::new();
    cluster.elapse(HEARTBEAT);
    let has = |cluster: &Cluster, index: LogIndex| {
        cluster.engine(1).matched().any(|(node, matched)| node == NodeId(4) && matched >= index)
    };
    cluster.stabilize_until(|cluster| has(cluster, end));
    assert!(!has(&cluster, cluster.engine(1).last_log_id().index), "it lacks what came meanwhile");
    assert!(!cluster.engine(1).membership().is_joint(), "it is too slow for what is written");
    cluster.stabilize();
    assert_eq!(members(&cluster, 1), "voters {1 2 3 4}");
}

// ---- 4.2.2 removing the current leader ------------------------------------------------------------------------------

#[test]
fn s4_2_2_a_leader_that_is_removed_leads_until_that_is_committed_and_then_hands_over() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[1])));
    cluster.flush(1);
    assert_eq!(cluster.role(1), RoleKind::Leader);
    let now = cluster.now;
    cluster.stabilize();
    assert!(answers(&cluster, 1)[0].starts_with("changed #7"), "{:?}", answers(&cluster, 1));
    assert_eq!(cluster.role(1), RoleKind::Learner);
    let leaders = [2, 3].into_iter().filter(|id| cluster.role(*id) == RoleKind::Leader).count();
    assert_eq!((leaders, cluster.now), (1, now), "nobody waits for a timeout");
    assert_eq!([1, 2, 3].map(|id| members(&cluster, id)), ["voters {2 3}"; 3].map(str::to_owned));
}

#[test]
fn s4_2_2_a_leader_that_is_being_removed_counts_no_vote_of_its_own() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[1])));
    cluster.stabilize_until(|cluster| members(cluster, 1) == "voters {2 3}");
    let settled = cluster.engine(1).last_log_id().index.0;
    cluster.flush(1);
    assert!(cluster.deliver(to(&[2])), "node 2 receives the last step");
    cluster.drop_messages(to(&[3]));
    cluster.flush(2);
    cluster.drop_messages(to(&[3]));
    while cluster.deliver(to(&[1])) {}
    assert!(cluster.commit(1) < settled, "nodes 1 and 2 have it, and 1 does not count");
}

/// A learner that is in the way of all others, because they need its vote and it has more of the log, campaigns itself.
///
/// ```text
///   1   ───────┐                              follows        behind both
///   2   ───────┴─ "4 votes too", uncommitted  campaigns      needs the vote of 4
///   3   ─────────── leads after 2, and goes
///   4   ───────────┘ what 3 wrote             refuses, and is a learner by its own log
/// ```
fn in_the_way(change: impl Fn(&mut EngineConfig)) -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3], &change);
    cluster.elect(2);
    cluster.join_with(4, |config| {
        config.bind_directories = false;
        config.node = config.node.speaking(Version::FIRST);
        change(config);
    });
    cluster.change(2, 7, ChangeMembers::AddNodes(nodes(&[4])));
    cluster.stabilize();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
    cluster.cut = vec![2];
    cluster.change(2, 8, ChangeMembers::AddVoters(nodes(&[4])));
    cluster.flush(2);
    cluster.network.clear();
    assert_eq!(members(&cluster, 2), "voters {1 2 3 4} outgoing {1 2 3}");
    while cluster.role(3) != RoleKind::PreCandidate && cluster.role(3) != RoleKind::Candidate {
        cluster.timeout(3);
    }
    cluster.stabilize_until(|cluster| cluster.role(3) == RoleKind::Leader);
    cluster.cut = vec![1, 2];
    cluster.propose(3, 9, "of node 3");
    cluster.stabilize();
    assert_eq!(members(&cluster, 4), "voters {1 2 3} learners {4}");
    assert!(cluster.engine(4).last_log_id() > cluster.engine(2).last_log_id());
    assert!(cluster.engine(1).last_log_id() < cluster.engine(2).last_log_id());
    cluster.crash(3);
    cluster.cut.clear();
    cluster.network.clear();
    // Node 4 has not heard from a leader for long.
    cluster.now = cluster.now + Duration::from_secs(2);
    cluster
}

fn leader(cluster: &Cluster) -> Option<u64> {
    [1, 2, 3, 4].into_iter().find(|id| cluster.node(*id).alive && cluster.role(*id) == RoleKind::Leader)
}

/// Whether a voter leads in the end. The learner that led before it waited for no time with handing over.
fn is_led_again(cluster: &mut Cluster) -> bool {
    (0..100).any(|_| {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
        let leader = leader(cluster);
        assert_ne!(leader, Some(4), "it leads on");
        leader.is_some()
    })
}

#[test]
fn s4_2_2_a_learner_whose_vote_is_needed_and_whose_log_is_ahead_campaigns_and_hands_over() {
    for pre_vote in [true, false] {
        let mut cluster = in_the_way(|config| config.pre_vote = pre_vote);
        assert!(is_led_again(&mut cluster), "nobody can be elected:\n{}", cluster.trace);
        assert!(
            cluster.applied(1).contains(&"of node 3"),
            "{:?}: what only the learner had is kept",
            cluster.applied(1)
        );
        assert_eq!(cluster.role(4), RoleKind::Learner);
        assert_eq!(cluster.engine(4).poll_timeout(), None, "it waits for no time once it is over");
        assert_eq!(members(&cluster, 2), "voters {1 2 3} learners {4}", "what was not committed is gone");
    }
}

#[test]
fn s4_2_2_a_learner_whose_vote_is_needed_campaigns_once_for_each_request() {
    let mut cluster = in_the_way(|_| {});
    let asks = |it: &&Envelope| it.from.node == NodeId(4) && matches!(it.message, Message::PreVote(_));
    let asked = |cluster: &Cluster| cluster.network.iter().filter(asks).map(|it| it.to).collect::<Vec<_>>();
    let ahead = VoteRequest { term: Term(99), last: cluster.engine(2).last_log_id(), warrant: Warrant::None };
    cluster.receive(4, 2, Message::PreVote(ahead));
    cluster.flush(4);
    assert_eq!((cluster.role(4), asked(&cluster)), (RoleKind::PreCandidate, vec![1, 2, 3]), "the voters that it knows");
    // Nobody answers: it waits for no time again.
    cluster.network.clear();
    cluster.timeout(4);
    let now = (cluster.role(4), asked(&cluster), cluster.engine(4).poll_timeout());
    assert_eq!(now, (RoleKind::Learner, vec![], None));
}

#[test]
fn s4_2_2_a_learner_does_not_campaign_for_who_lacks_nothing_nor_beside_a_leader_nor_with_elections_off() {
    let ask = |cluster: &mut Cluster, last| {
        let request = VoteRequest { term: Term(99), last, warrant: Warrant::None };
        cluster.receive(4, 2, Message::PreVote(request));
        cluster.role(4)
    };
    let mut cluster = in_the_way(|_| {});
    let (behind, own) = (cluster.engine(2).last_log_id(), cluster.engine(4).last_log_id());
    assert_eq!(ask(&mut cluster, own), RoleKind::Learner, "who has all that it has can be elected itself");
    let beat = Heartbeat { term: Term(98), round: Round(1), commit: LogIndex(0), pledge: Duration::ZERO };
    cluster.receive(4, 1, Message::Heartbeat(beat));
    assert_eq!(ask(&mut cluster, behind), RoleKind::Learner, "a leader is at work");

    let mut cluster = in_the_way(|_| {});
    cluster.handle(4, Event::SetElections { token: Token(5), on: false });
    assert_eq!(ask(&mut cluster, behind), RoleKind::Learner, "elections are off");
    cluster.handle(4, Event::SetElections { token: Token(5), on: true });
    assert_eq!(ask(&mut cluster, behind), RoleKind::PreCandidate, "and on again");
}

#[test]
fn s4_2_2_a_learner_whose_vote_is_needed_does_not_campaign_while_its_disk_hangs() {
    let mut cluster = in_the_way(|_| {});
    let request = VoteRequest { term: Term(99), last: cluster.engine(2).last_log_id(), warrant: Warrant::None };
    let beat = Heartbeat { term: Term(98), round: Round(1), commit: LogIndex(0), pledge: Duration::ZERO };
    cluster.receive(4, 1, Message::Heartbeat(beat));
    // Its leader is silent for longer than any election timeout, and the new term is not on its disk.
    cluster.now = cluster.now + Duration::from_secs(2);
    cluster.receive(4, 2, Message::PreVote(request));
    assert_eq!(cluster.role(4), RoleKind::Learner, "it could not keep its own vote");
    cluster.flush(4);
    cluster.receive(4, 2, Message::PreVote(request));
    assert_eq!(cluster.role(4), RoleKind::PreCandidate);
}

// ---- 4.2.3 disruptive servers ---------------------------------------------------------------------------------------

#[test]
fn s4_2_3_a_server_that_was_removed_does_not_campaign() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    cluster.stabilize();
    assert_eq!(members(&cluster, 3), "voters {1 2}", "it has learned that it is out");
    assert_eq!(cluster.engine(3).poll_timeout(), None);
    assert_eq!(cluster.role(3), RoleKind::Learner);
}

#[test]
fn s4_2_3_a_server_that_was_removed_and_does_not_know_it_is_not_listened_to() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.cut = vec![3];
    cluster.change(1, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    cluster.stabilize();
    cluster.cut = Vec::new();
    let term = cluster.term(1);
    for _ in 0..5 {
        cluster.timeout(3);
        cluster.stabilize();
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Leader, term));
    assert!(cluster.trace.contains("refuse_peer"), "{}", cluster.trace);
}

// ---- 4.3 arbitrary changes using joint consensus --------------------------------------------------------------------

#[test]
fn s4_3_one_call_leads_from_any_voters_to_any_others() {
    let mut cluster = led(&[1, 2, 3, 4, 5], &[6, 7, 8, 9, 10]);
    cluster.propose(1, 1, "a");
    cluster.change(1, 7, replace(&[1, 2, 3, 4, 5], &[6, 7, 8, 9, 10]));
    cluster.stabilize();
    let leader = (6..=10).find(|id| cluster.role(*id) == RoleKind::Leader).expect("one of the new ones leads");
    cluster.propose(leader, 2, "b");
    cluster.stabilize();
    for id in 6..=10 {
        assert_eq!(members(&cluster, id), "voters {6 7 8 9 10}");
        assert_eq!(cluster.applied(id), ["a", "b"]);
    }
    assert!(answers(&cluster, 1).iter().any(|it| it.starts_with("changed #7")));
}

#[test]
fn s4_3_joint_consensus_needs_a_majority_of_the_old_and_of_the_new() {
    for away in [[1, 2], [4, 5]] {
        let mut cluster = led(&[3, 1, 2], &[4, 5]);
        if away == [1, 2] {
            cluster.crash(1);
            cluster.elect(3);
            cluster.restart(1);
            cluster.elapse(2 * HEARTBEAT);
            cluster.stabilize();
        }
        let leader = if away == [1, 2] { 3 } else { 1 };
        let old: &[u64] = if away == [1, 2] { &[1, 2] } else { &[2, 3] };
        cluster.change(leader, 7, replace(old, &[4, 5]));
        cluster.stabilize_until(|cluster| cluster.engine(leader).membership().is_joint());
        let joint = cluster.engine(leader).last_log_id().index.0;
        cluster.cut = away.to_vec();
        cluster.stabilize();
        assert!(cluster.commit(leader) < joint, "without {away:?} the joint membership is not committed");
        cluster.cut = Vec::new();
        cluster.elapse(2 * HEARTBEAT);
        cluster.stabilize();
        assert!(cluster.commit(leader) >= joint);
    }
}

#[test]
fn s4_3_a_new_leader_ends_what_its_predecessor_began() {
    // Whatever step the leader dies at, and whoever leads then, the change ends; nobody asks for it again.
    let mut ended = std::collections::BTreeSet::new();
    for (steps, lost) in (0..60).flat_map(|steps| [(steps, false), (steps, true)]) {
        let mut cluster = led(&[1, 2, 3], &[4, 5]);
        cluster.change(1, 7, replace(&[1, 2], &[4, 5]));
        for _ in 0..steps {
            (1..=5).for_each(|id| {
                cluster.flush(id);
            });
            cluster.deliver(|_| true);
        }
        cluster.crash(1);
        if lost {
            cluster.drop_messages(|envelope| envelope.from.node == NodeId(1));
        }
        cluster.stabilize();
        let heir = (2..=5).find(|id| cluster.role(*id) == RoleKind::Leader);
        if heir.is_none() {
            let voters: Vec<u64> =
                (2..=5).filter(|id| cluster.engine(*id).membership().is_voter(NodeId(*id))).collect();
            for _ in 0..4 {
                for id in &voters {
                    if !voters.iter().any(|id| cluster.role(*id) == RoleKind::Leader) {
                        cluster.timeout(*id);
                        cluster.stabilize();
                    }
                }
            }
        }
        cluster.elapse(3 * HEARTBEAT);
        cluster.stabilize();
        let leader = (2..=5)
            .find(|id| cluster.role(*id) == RoleKind::Leader)
            .unwrap_or_else(|| panic!("after {steps} steps ({lost}):\n{}", cluster.trace));
        ended.insert(members(&cluster, leader));
        assert!(
            cluster.engine(leader).membership().goal().is_none(),
            "after {steps} steps: {}",
            members(&cluster, leader)
        );
    }
    let ways: Vec<&str> = ended.iter().map(String::as_str).collect();
    assert_eq!(ways, ["voters {1 2 3}", "voters {3 4 5}"], "it has ended, or was never known to anybody else");
}

#[test]
fn s4_3_a_voter_may_stay_as_a_learner() {
    let mut cluster = led(&[1, 2, 3], &[]);
    let patience = Duration::from_secs(1);
    let change = ChangeMembers::RemoveVoters(ids(&[3]));
    cluster.request(1, 7, ChangeRequest { change, retain: true, patience, preconditions: Preconditions::default() });
    cluster.stabilize();
    cluster.propose(1, 1, "a");
    cluster.stabilize();
    assert_eq!(members(&cluster, 3), "voters {1 2} learners {3}");
    assert_eq!((cluster.role(3), cluster.applied(3)), (RoleKind::Learner, vec!["a"]));
}

// ---- what callers are told ------------------------------------------------------------------------------------------

#[test]
fn a_follower_changes_nothing() {
    let mut cluster = led(&[1, 2, 3], &[]);
    cluster.change(2, 7, ChangeMembers::RemoveVoters(ids(&[3])));
    assert_eq!(answers(&cluster, 2), ["refused #7: the node that was asked does not lead; try again"]);
}

#[test]
fn a_precondition_that_does_not_hold_is_told_with_what_is() {
    let mut cluster = led(&[1, 2, 3], &[]);
    let last = cluster.engine(1).last_log_id();
    let (at, term) = (cluster.engine(1).status().membership_at, Term(cluster.term(1)));
    let right = Preconditions { term: Some(term), last: Some(last), membership: Some(at) };
    let other = LogId::new(9, 9);
    let cases = [
        (Preconditions { term: Some(Term(9)), ..right }, format!("the leader's term is {term}")),
        (Preconditions { last: Some(other), ..right }, format!("the last entry is {last}")),
        (Preconditions { last: Some(LogId::new(9, last.index.0)), ..right }, format!("the last entry is {last}")),
        (Preconditions { membership: Some(other), ..right }, format!("the members are those of entry {at}")),
        (Preconditions { membership: Some(last), ..right }, format!("the members are those of entry {at}")),
    ];
    let request = |preconditions| ChangeRequest {
        change: ChangeMembers::RemoveVoters(ids(&[3])),
        retain: false,
        patience: Duration::ZERO,
        preconditions,
    };
    for (token, (preconditions, actual)) in (10..).zip(cases) {
        cluster.request(1, token, request(preconditions));
        let expected = format!("refused #{token}: a precondition does not hold: {actual}");
        assert_eq!(answers(&cluster, 1).last(), Some(&expected.as_str()));
    }
    cluster.request(1, 8, request(right));
    cluster.stabilize();
    assert_eq!(members(&cluster, 2), "voters {1 2}");
    let now = cluster.engine(1).status().membership_at;
    cluster.request(1, 9, request(Preconditions { last: None, ..right }));
    let expected = format!("refused #9: a precondition does not hold: the members are those of entry {now}");
    assert_eq!(answers(&cluster, 1).last(), Some(&expected.as_str()), "those of {at} are gone");
}

#[test]
fn that_nothing_is_to_change_is_said_by_who_still_leads() {
    let mut cluster = led(&[1, 2, 3], &[]);
    let before = cluster.engine(1).status().membership_at;
    cluster.change(1, 7, ChangeMembers::AddVoters(nodes(&[2])));
    assert!(answers(&cluster, 1).is_empty(), "another one may have led since, and changed them");
    cluster.change(1, 6, ChangeMembers::AddVoters(nodes(&[3])));
    cluster.stabilize();
    let beside = "refused #6: another change of the members is under way (entry 3); try again when it has ended";
    assert_eq!(answers(&cluster, 1), [beside, "changed #7: 1/3"]);
    assert_eq!(
        cluster.engine(2).membership().of(),
        Some(before),
        "whoever knows the members by their entry is right still"
    );
    cluster.cut = vec![1];
    cluster.change(1, 8, ChangeMembers::AddVoters(nodes(&[2])));
    cluster.stabilize();
    assert_eq!(answers(&cluster, 1).len(), 2, "nobody has confirmed that it leads");
}

#[test]
fn an_address_changes_in_one_step() {
    let mut cluster = led(&[1, 2, 3], &[]);
    let elsewhere = Node { address: "elsewhere".into() };
    cluster.change(1, 7, ChangeMembers::SetNodes([(NodeId(2), elsewhere.clone())].into()));
    cluster.stabilize();
    for id in 1..=3 {
        assert_eq!(cluster.engine(id).membership().nodes().get(&NodeId(2)), Some(&elsewhere));
    }
    assert!(answers(&cluster, 1)[0].starts_with("changed #7"));
}

#[test]
fn a_learner_whose_vote_is_needed_keeps_its_pledge() {
    let mut cluster = in_the_way(|_| {});
    let request = VoteRequest { term: Term(99), last: cluster.engine(2).last_log_id(), warrant: Warrant::None };
    let pledge = Duration::from_secs(5);
    let beat = Heartbeat { term: Term(98), round: Round(1), commit: LogIndex(0), pledge };
    cluster.receive(4, 1, Message::Heartbeat(beat));
    cluster.flush(4);
    cluster.now = cluster.now + Duration::from_secs(2);
    cluster.receive(4, 2, Message::PreVote(request));
    assert_eq!(cluster.role(4), RoleKind::Learner);
}

#[test]
fn patience_ends_after_its_last_moment_and_for_who_lags_whoever_else_is_silent() {
    let mut cluster = led(&[1, 2, 3], &[4]);
    cluster.cut = vec![4];
    let began = cluster.now;
    let patience = Duration::from_secs(2);
    let change = ChangeMembers::AddVoters(nodes(&[4]));
    cluster.request(1, 7, ChangeRequest { patience, ..ChangeRequest::from(change) });
    cluster.stabilize();
    let last = cluster.engine(1).applied();
    cluster.now = began + patience;
    cluster.handle(1, Event::Applied { last });
    assert_eq!(members(&cluster, 1), "voters {1 2 3} soon {1 2 3 4} learners {4}");
    cluster.now = cluster.now + Duration::from_nanos(1);
    cluster.handle(1, Event::Applied { last });
    assert_eq!(members(&cluster, 1), "voters {1 2 3}");
    cluster.stabilize();
    assert!(
        answers(&cluster, 1).iter().any(|it| it.starts_with("refused #7") && it.contains("node 4")),
        "{:?}",
        answers(&cluster, 1)
    );
}
