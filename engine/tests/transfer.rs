//! Leadership transfer and elections by hand: a test for each sentence of the thesis (sections 3.10 and 4.2.3), and for each
//! promise of the interface.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, TestNode};
use outrigger_engine::*;

/// The shortest and the longest election timeout.
const TIMEOUT: Duration = Duration::from_millis(500);
const TIMEOUT_MAX: Duration = Duration::from_millis(1000);

/// Three nodes; node 1 leads, and everybody knows it.
fn led() -> Cluster {
    led_by_the_first(&[1, 2, 3])
}

fn led_by_the_first(ids: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(ids);
    cluster.elect(1);
    cluster.timeout(1);
    cluster.stabilize();
    for id in ids {
        cluster.nodes.get_mut(id).expect("a node").answers.clear();
    }
    cluster
}

fn transfer(cluster: &mut Cluster, id: u64, token: u64, to: impl Into<Option<u64>>) {
    let to = to.into().map(NodeId);
    cluster.handle(id, Event::TransferLeadership { token: Token(token), to });
}

fn answers(cluster: &Cluster, id: u64) -> Vec<&str> {
    cluster.node(id).answers.iter().map(String::as_str).collect()
}

fn leaders(cluster: &Cluster) -> Vec<u64> {
    let leads = |(id, node): (&u64, &TestNode)| (node.alive && cluster.role(*id) == RoleKind::Leader).then_some(*id);
    cluster.nodes.iter().filter_map(leads).collect()
}

fn is_timeout_now(message: &Message) -> bool {
    matches!(message, Message::TimeoutNow { .. })
}

// ---- 3.10 leadership transfer ---------------------------------------------------------------------------------------

#[test]
fn s3_10_the_prior_leader_stops_accepting_new_client_requests() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    let last = cluster.engine(1).last_log_id();
    cluster.propose(1, 8, "x");
    cluster.read(1, 9);
    cluster.change(1, 10, ChangeMembers::RemoveVoters([NodeId(3)].into()));
    let why = "not now: leadership is being handed over to node 2; try again in a moment";
    assert_eq!(answers(&cluster, 1), [8, 9, 10].map(|token| format!("refused #{token}: {why}")));
    assert_eq!(cluster.engine(1).last_log_id(), last, "its log does not grow");
    assert_eq!(cluster.engine(1).transferring_to(), Some(NodeId(2)));
}

#[test]
fn s3_10_a_follower_that_hands_on_a_request_meanwhile_is_told_to_try_again() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    cluster.drop_messages(|envelope| is_timeout_now(&envelope.message));
    cluster.propose(3, 8, "x");
    cluster.read(3, 9);
    cluster.stabilize();
    let why = "not now: leadership is being handed over to node 2; try again in a moment";
    assert_eq!(answers(&cluster, 3), [8, 9].map(|token| format!("refused #{token}: {why}")));
}

#[test]
fn s3_10_the_prior_leader_fully_updates_the_target_before_it_sends_timeout_now() {
    let mut cluster = led();
    cluster.propose(1, 6, "a");
    transfer(&mut cluster, 1, 7, 2);
    assert!(!cluster.network.iter().any(|envelope| is_timeout_now(&envelope.message)), "the heir lacks an entry");
    cluster.stabilize_until(|cluster| cluster.network.iter().any(|envelope| is_timeout_now(&envelope.message)));
    assert_eq!(cluster.log(2), cluster.log(1));
    assert_eq!(cluster.engine(2).flushed_index(), cluster.engine(1).last_log_id().index);
}

#[test]
fn s3_10_the_target_starts_an_election_at_once_without_pre_vote_and_wins_beside_the_leader_that_all_have_heard() {
    let mut cluster = led();
    let (now, term) = (cluster.now, cluster.term(1));
    cluster.propose(1, 6, "a");
    transfer(&mut cluster, 1, 7, 2);
    cluster.stabilize();
    assert_eq!((leaders(&cluster), cluster.now), (vec![2], now), "nobody waits for a timeout");
    assert!(!cluster.trace.split("transfer_leadership").nth(1).expect("it was asked").contains("pre_vote"));
    assert_eq!(cluster.term(1), term + 1, "one term suffices");
    assert!(
        answers(&cluster, 1).contains(&format!("transferred #7: node 2 leads in term {}", term + 1).as_str()),
        "{}",
        cluster.trace
    );
    assert!(cluster.applied(2).contains(&"a"), "what was taken in before goes on");
    cluster.propose(1, 8, "b");
    cluster.stabilize();
    assert!(cluster.applied(3).contains(&"b"), "the next leader takes requests in");
}

#[test]
fn s3_10_the_prior_leader_aborts_after_an_election_timeout_and_resumes() {
    let mut cluster = led();
    cluster.cut = vec![2];
    transfer(&mut cluster, 1, 7, 2);
    cluster.elapse(TIMEOUT - Duration::from_millis(1));
    cluster.drop_messages(|envelope| envelope.to == 2);
    cluster.stabilize();
    assert_eq!(answers(&cluster, 1), [] as [&str; 0], "it is not over yet");
    cluster.elapse(Duration::from_millis(1));
    let told = answers(&cluster, 1);
    assert!(told[0].starts_with("not transferred #7: node 2 did not take over within an election timeout"), "{told:?}");
    cluster.propose(1, 8, "x");
    cluster.stabilize();
    assert_eq!((leaders(&cluster), cluster.engine(1).transferring_to()), (vec![1], None));
    assert!(cluster.applied(1).contains(&"x"));
}

#[test]
fn s3_10_a_target_that_does_not_catch_up_is_told_apart_from_one_that_does_not_campaign() {
    let mut cluster = led();
    cluster.cut = vec![2];
    cluster.propose(1, 6, "a");
    cluster.stabilize();
    transfer(&mut cluster, 1, 7, 2);
    for _ in 0..5 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    let told = *answers(&cluster, 1).last().expect("an answer");
    assert!(told.starts_with("not transferred #7: node 2 did not catch up within an election timeout"), "{told}");
    assert!(!cluster.trace.contains("send_message to 2: timeout_now"));
}

#[test]
fn a_timeout_now_that_is_lost_is_sent_again_with_each_heartbeat() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    for _ in 0..3 {
        assert_eq!(cluster.drop_messages(|envelope| is_timeout_now(&envelope.message)), 1, "once a heartbeat");
        cluster.stabilize();
        cluster.timeout(1);
    }
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2]);
    assert!(answers(&cluster, 1).iter().any(|told| told.starts_with("transferred #7")));
}

#[test]
fn without_a_target_it_is_the_voter_that_lacks_the_least_and_was_heard_from_last() {
    let mut cluster = led();
    cluster.cut = vec![3];
    cluster.propose(1, 6, "a");
    cluster.stabilize();
    transfer(&mut cluster, 1, 7, None);
    assert_eq!(cluster.engine(1).transferring_to(), Some(NodeId(2)), "it has more");
    for (away, heard) in [(2, 3), (3, 2)] {
        let mut cluster = led();
        cluster.cut = vec![away];
        cluster.timeout(1);
        cluster.stabilize();
        transfer(&mut cluster, 1, 7, None);
        let heir = cluster.engine(1).transferring_to();
        assert_eq!(heir, Some(NodeId(heard)), "both have all, and it was heard from later");
    }
}

#[test]
fn without_a_target_who_was_not_heard_from_lately_is_no_heir_although_it_has_more() {
    let mut cluster = led();
    cluster.cut = vec![2];
    cluster.propose(1, 6, "a");
    cluster.stabilize();
    cluster.cut = vec![3];
    let carries_entries = |envelope: &cluster::Envelope| matches!(envelope.message, Message::AppendEntries(_));
    for _ in 0..6 {
        cluster.elapse(TIMEOUT / 5);
        while cluster.deliver(|envelope| !carries_entries(envelope)) {}
    }
    transfer(&mut cluster, 1, 7, None);
    assert_eq!(cluster.engine(1).transferring_to(), Some(NodeId(2)), "node 3 may be dead");
}

/// From the voters 1 and 2 to 1 and 3: node 2 has the joint step, node 3 lacks it.
fn in_a_joint_step() -> Cluster {
    let mut cluster = led_by_the_first(&[1, 2]);
    cluster.join(&[3]);
    cluster.change(
        1,
        7,
        ChangeMembers::Batch(vec![
            ChangeMembers::AddVoters([(NodeId(3), Node::default())].into()),
            ChangeMembers::RemoveVoters([NodeId(2)].into()),
        ]),
    );
    cluster.stabilize_until(|it| it.engine(1).membership().is_joint());
    cluster.cut = vec![3];
    cluster.stabilize();
    let matched = cluster.engine(1).status().matched;
    assert!(matched[&NodeId(2)] > matched[&NodeId(3)], "{matched:?}");
    cluster
}

#[test]
fn without_a_target_who_is_about_to_lose_its_vote_is_no_heir() {
    let mut cluster = in_a_joint_step();
    transfer(&mut cluster, 1, 8, None);
    assert_eq!(cluster.engine(1).transferring_to(), Some(NodeId(3)), "node 2 would have to hand over again");
}

#[test]
fn a_joint_step_that_is_committed_during_a_transfer_is_settled_by_the_next_leader() {
    let mut cluster = in_a_joint_step();
    transfer(&mut cluster, 1, 8, 3);
    let joint = cluster.engine(1).last_log_id();
    cluster.cut.clear();
    cluster.elapse(TIMEOUT / 5);
    while (1..=3).filter(|id| cluster.flush(*id)).count() > 0
        || cluster.deliver(|envelope| !is_timeout_now(&envelope.message))
    {}
    assert_eq!(cluster.commit(1), joint.index.0);
    assert_eq!(cluster.engine(1).last_log_id(), joint, "its log does not grow");
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [3]);
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 3}");
}

#[test]
fn without_a_target_no_learner_is_the_heir() {
    let mut cluster = led();
    cluster.join(&[4]);
    cluster.change(1, 1, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    cluster.timeout(1);
    cluster.stabilize();
    transfer(&mut cluster, 1, 7, None);
    assert_eq!(cluster.engine(1).transferring_to(), Some(NodeId(3)), "of equals the last, but not node 4");
}

#[test]
fn the_target_is_not_told_before_all_is_committed_so_that_no_write_is_in_doubt() {
    let mut cluster = led_by_the_first(&[1, 2, 3, 4, 5]);
    cluster.cut = vec![3, 4, 5];
    cluster.propose(1, 6, "a");
    transfer(&mut cluster, 1, 7, 2);
    cluster.stabilize();
    let last = cluster.engine(1).last_log_id().index;
    assert!(cluster.engine(1).matched().any(|known| known == (NodeId(2), last)), "the target has all of it");
    assert_eq!((leaders(&cluster), cluster.role(2)), (vec![1], RoleKind::Follower), "two of five are no quorum");
    cluster.cut.clear();
    cluster.timeout(1);
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2]);
}

#[test]
fn who_cannot_lead_is_refused_at_once() {
    let mut cluster = led();
    cluster.join(&[4]);
    cluster.change(1, 1, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    cluster.nodes.get_mut(&1).expect("a node").answers.clear();
    transfer(&mut cluster, 1, 7, 4);
    transfer(&mut cluster, 1, 8, 9);
    transfer(&mut cluster, 1, 9, 1);
    transfer(&mut cluster, 1, 10, 2);
    transfer(&mut cluster, 1, 11, 3);
    transfer(&mut cluster, 2, 12, 3);
    assert_eq!(
        answers(&cluster, 1),
        [
            "not transferred #7: node 4 is no voter; only a voter can be asked to lead",
            "not transferred #8: node 9 is no voter; only a voter can be asked to lead",
            &format!("transferred #9: node 1 leads in term {}", cluster.term(1)),
            "not transferred #11: leadership is being handed over to node 2 already",
        ]
    );
    assert_eq!(
        answers(&cluster, 2),
        ["not transferred #12: the node that was asked does not lead; ask the leader, or wait until there is one"]
    );
    let mut alone = Cluster::new(&[1]);
    alone.elect(1);
    transfer(&mut alone, 1, 7, None);
    assert!(answers(&alone, 1).contains(&"not transferred #7: there is no other voter"));
}

#[test]
fn a_leader_that_loses_its_leadership_to_another_node_says_so() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    cluster.cut = vec![2];
    cluster.drop_messages(|envelope| envelope.to == 2);
    cluster.handle(3, Event::Elect { token: Token(8), pre_vote: false });
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [3]);
    let lost = "not transferred #7: leadership was lost, and not to the node that was to have it";
    assert!(answers(&cluster, 1).contains(&lost), "{:?}", answers(&cluster, 1));
}

#[test]
fn a_leader_that_hears_of_no_next_leader_in_time_says_so() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    cluster.deliver(|envelope| is_timeout_now(&envelope.message));
    cluster.flush(2);
    cluster.deliver(|envelope| matches!(envelope.message, Message::RequestVote(_)) && envelope.to == 1);
    cluster.cut = vec![1];
    assert_ne!(cluster.role(1), RoleKind::Leader);
    cluster.network.clear();
    cluster.elapse(TIMEOUT);
    let told = *answers(&cluster, 1).last().expect("an answer");
    assert_eq!(told, "not transferred #7: leadership was lost, and not to the node that was to have it");
}

#[test]
fn a_timeout_now_of_who_does_not_lead_or_to_who_does_not_vote_changes_nothing() {
    let mut cluster = led();
    let term = cluster.term(1);
    cluster.receive(2, 3, Message::TimeoutNow { term: Term(term) });
    assert_eq!((cluster.role(2), cluster.term(2)), (RoleKind::Follower, term), "not its leader");
    cluster.join(&[4]);
    cluster.change(1, 1, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    cluster.receive(4, 1, Message::TimeoutNow { term: Term(term) });
    assert_eq!((cluster.role(4), cluster.term(4)), (RoleKind::Learner, term));
    cluster.receive(2, 1, Message::TimeoutNow { term: Term(term) });
    assert_eq!(cluster.role(2), RoleKind::Candidate, "the right one does");
    let asked = cluster.term(2);
    cluster.receive(2, 1, Message::TimeoutNow { term: Term(term) });
    assert_eq!(cluster.term(2), asked, "and a copy of it does nothing");
}

#[test]
fn a_removed_leader_whose_heir_is_gone_steps_down_after_an_election_timeout() {
    let mut cluster = led();
    cluster.change(1, 7, ChangeMembers::RemoveVoters([NodeId(1)].into()));
    cluster.stabilize_until(|cluster| cluster.engine(1).transferring_to().is_some());
    let heir = cluster.engine(1).transferring_to().expect("an heir").0;
    cluster.cut = vec![heir];
    cluster.drop_messages(|envelope| envelope.to == heir);
    cluster.stabilize();
    assert_eq!(cluster.role(1), RoleKind::Leader, "it looks at what comes of it");
    cluster.elapse(TIMEOUT);
    assert_ne!(cluster.role(1), RoleKind::Leader);
}

/// Those that know that it is removed do not answer it any more: it must not wait for them.
#[test]
fn a_removed_leader_hands_over_at_once_whatever_it_has_in_hand() {
    let mut cluster = led();
    cluster.change(1, 7, ChangeMembers::RemoveVoters([NodeId(1)].into()));
    cluster
        .stabilize_until(|it| !it.engine(1).membership().is_voter(NodeId(1)) && !it.engine(1).membership().is_joint());
    cluster.propose(1, 9, "in hand");
    cluster.stabilize_until(|it| it.engine(1).transferring_to().is_some());
    assert!(cluster.trace.contains("timeout_now"), "{}", cluster.trace);
}

#[test]
fn a_leader_that_was_removed_during_a_transfer_by_hand_does_not_lead_on() {
    let mut cluster = led_by_the_first(&[1, 2, 3, 4]);
    cluster.cut = vec![4];
    cluster.change(1, 7, ChangeMembers::RemoveVoters([NodeId(1)].into()));
    // The last step is in the log and not committed when somebody wants node 4 to lead, which is away.
    cluster
        .stabilize_until(|it| !it.engine(1).membership().is_voter(NodeId(1)) && !it.engine(1).membership().is_joint());
    transfer(&mut cluster, 1, 8, 4);
    cluster.stabilize();
    assert!(
        answers(&cluster, 1).iter().any(|told| told.contains("#7")),
        "the change is done: {:?}",
        answers(&cluster, 1)
    );
    for _ in 0..4 {
        cluster.elapse(TIMEOUT);
        cluster.stabilize();
    }
    assert_ne!(cluster.role(1), RoleKind::Leader, "{}", cluster.trace);
}

#[test]
fn a_change_of_the_members_waits_for_the_next_leader_while_leadership_is_handed_over() {
    let mut cluster = led();
    cluster.join(&[4]);
    cluster.cut = vec![4];
    cluster.change(1, 7, ChangeMembers::AddVoters([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    transfer(&mut cluster, 1, 8, 2);
    cluster.cut = Vec::new();
    cluster.stabilize();
    cluster.elapse(Duration::from_millis(100));
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2]);
    let unknown = "refused #7: the leader did not answer; the entries may or may not be applied";
    let told = answers(&cluster, 1);
    assert!(told.contains(&unknown), "who asked for it need not wait for what its successor decides: {told:?}");
    cluster.elapse(Duration::from_millis(200));
    cluster.stabilize();
    assert_eq!(cluster.engine(3).membership().to_string(), "voters {1 2 3 4}", "it ended what was begun");
}

#[test]
fn writes_that_a_follower_has_handed_on_outlive_an_orderly_succession() {
    for heir in [2, 3] {
        let mut cluster = led();
        cluster.propose(3, 8, "before");
        cluster.deliver(|envelope| matches!(envelope.message, Message::Propose { .. }));
        cluster.propose(3, 9, "late");
        let is_late = |envelope: &cluster::Envelope| matches!(envelope.message, Message::Propose { .. });
        let late = cluster.network.iter().position(is_late).and_then(|at| cluster.network.remove(at));
        transfer(&mut cluster, 1, 7, heir);
        // What the last leader tells node 3 comes after the heir has won, if it can win without.
        while cluster.role(heir) != RoleKind::Leader {
            for id in 1..=3 {
                cluster.flush(id);
            }
            let is_late = |envelope: &cluster::Envelope| heir == 2 && envelope.from.node.0 == 1 && envelope.to == 3;
            assert!(cluster.deliver(|envelope| !is_late(envelope)), "{}", cluster.trace);
        }
        cluster.network.extend(late);
        cluster.stabilize();
        assert_eq!(leaders(&cluster), [heir]);
        assert_eq!(cluster.applied(3).iter().filter(|command| **command == "before").count(), 1);
        let told = answers(&cluster, 3);
        assert!(!told.iter().any(|told| told.starts_with("abandoned") || told.contains("may or may not")), "{told:?}");
        assert!(told.contains(&"refused #9: the node that was asked does not lead; try again"), "{told:?}");
    }
}

#[test]
fn an_orderly_succession_that_comes_to_nothing_leaves_nobody_waiting() {
    let mut cluster = led();
    cluster.propose(3, 8, "a");
    cluster.network.clear();
    let request = ask_vote(&cluster, Warrant::Leader);
    cluster.receive(3, 2, request);
    assert_eq!(answers(&cluster, 3), [] as [&str; 0], "its leader may answer yet, and the heir may lead");
    cluster.cut = vec![1, 2, 3];
    cluster.timeout(3);
    cluster.timeout(3);
    let told = answers(&cluster, 3);
    let unknown = "refused #8: the leader did not answer; the entries may or may not be applied";
    assert!(told.contains(&unknown) && told.iter().any(|told| told.starts_with("abandoned from")), "{told:?}");
}

// ---- 4.2.3 disruptive servers ---------------------------------------------------------------------------------------

fn ask_vote(cluster: &Cluster, warrant: Warrant) -> Message {
    let (term, last) = (Term(cluster.term(1) + 1), cluster.engine(1).last_log_id());
    Message::RequestVote(VoteRequest { term, last, warrant })
}

#[test]
fn s4_2_3_within_the_minimum_election_timeout_of_hearing_from_a_leader_a_request_changes_no_term_and_gets_no_vote() {
    let mut cluster = led();
    let (term, request) = (cluster.term(1), ask_vote(&cluster, Warrant::None));
    for id in [1, 2] {
        cluster.receive(id, 3, request.clone());
        assert_eq!((cluster.term(id), cluster.network.len()), (term, 0), "node {id}");
    }
    cluster.now = cluster.now + TIMEOUT;
    cluster.receive(2, 3, request);
    assert_eq!(cluster.term(2), term + 1, "later it does");
}

#[test]
fn s4_2_3_a_request_with_the_leaders_permission_to_disrupt_is_answered() {
    let mut cluster = led();
    let (term, request) = (cluster.term(1), ask_vote(&cluster, Warrant::Leader));
    for id in [1, 2] {
        cluster.receive(id, 3, request.clone());
        cluster.flush(id);
        assert_eq!(cluster.term(id), term + 1, "node {id}");
    }
    let granted = cluster.network.iter().filter(|it| matches!(it.message, Message::RequestVoteReply(it) if it.granted));
    assert_eq!(granted.count(), 2);
}

#[test]
fn s4_2_3_permission_to_disrupt_makes_no_log_longer() {
    let mut cluster = led();
    cluster.propose(1, 6, "a");
    cluster.stabilize();
    let behind = VoteRequest { term: Term(cluster.term(1) + 1), last: LogId::new(0, 1), warrant: Warrant::Operator };
    let before = cluster.engine(2).vote().term;
    cluster.receive(2, 3, Message::RequestVote(behind));
    assert_eq!(cluster.engine(2).vote(), Vote { term: before.next(), voted_for: None });
}

#[test]
fn without_check_quorum_every_request_is_heard() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.check_quorum = false);
    cluster.elect(1);
    let (term, request) = (cluster.term(1), ask_vote(&cluster, Warrant::None));
    cluster.receive(2, 3, request);
    assert_eq!(cluster.term(2), term + 1);
}

// ---- elections by hand ----------------------------------------------------------------------------------------------

fn elect(cluster: &mut Cluster, id: u64, token: u64, pre_vote: bool) {
    cluster.handle(id, Event::Elect { token: Token(token), pre_vote });
}

#[test]
fn an_election_by_hand_with_pre_vote_leaves_a_leader_alone_and_without_deposes_it() {
    let mut cluster = led();
    let term = cluster.term(1);
    elect(&mut cluster, 2, 7, true);
    cluster.stabilize();
    assert!(answers(&cluster, 2)[0].starts_with("abandoned"), "{:?}", answers(&cluster, 2));
    assert!(answers(&cluster, 2)[1].starts_with("not elected #7: a majority refused"), "{:?}", answers(&cluster, 2));
    assert_eq!((leaders(&cluster), cluster.term(1)), (vec![1], term));
    elect(&mut cluster, 2, 8, false);
    cluster.stabilize();
    assert_eq!((leaders(&cluster), cluster.term(2)), (vec![2], term + 1));
    elect(&mut cluster, 2, 9, true);
    let won = [8, 9].map(|token| format!("elected #{token}: term {}", term + 1));
    assert!(won.iter().all(|won| answers(&cluster, 2).contains(&won.as_str())), "{:?}", answers(&cluster, 2));
}

#[test]
fn an_election_by_hand_that_is_not_won_says_why() {
    let mut cluster = led();
    cluster.cut = vec![2];
    elect(&mut cluster, 2, 7, true);
    cluster.stabilize();
    cluster.elapse(TIMEOUT_MAX);
    assert!(answers(&cluster, 2).iter().any(|it| it.starts_with("not elected #7: no majority answered")));
    let mut cluster = led();
    cluster.propose(1, 6, "a");
    cluster.stabilize();
    cluster.join(&[4]);
    cluster.change(1, 1, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    elect(&mut cluster, 4, 7, false);
    assert_eq!(answers(&cluster, 4), ["not elected #7: the node is no voter; only a voter can be asked to lead"]);
    let term = Term(cluster.term(3) + 2);
    elect(&mut cluster, 3, 8, false);
    cluster.receive(
        3,
        2,
        Message::Heartbeat(Heartbeat { term, round: Round(1), commit: LogIndex(1), pledge: Duration::ZERO }),
    );
    let overtaken = "another node leads, or a later term has begun: another node was faster, or a voter was in that term already \
                     and refused; try again if nobody leads";
    let told = format!("not elected #8: {overtaken}");
    assert!(answers(&cluster, 3).contains(&told.as_str()), "{:?}", answers(&cluster, 3));
}

/// It was told that another one was faster, though nobody was.
#[test]
fn who_is_refused_by_a_voter_in_a_later_term_is_not_told_that_another_node_leads() {
    let mut cluster = led();
    let term = Term(cluster.term(3) + 1);
    elect(&mut cluster, 3, 8, false);
    cluster.stabilize_until(|it| it.engine(3).vote().voted_for == Some(NodeId(3)) && !it.network.is_empty());
    let later = VoteReply { term: term.next(), asked: term, granted: false };
    cluster.receive(3, 2, Message::RequestVoteReply(later));
    let told = answers(&cluster, 3).join("; ");
    assert!(told.contains("not elected #8") && told.contains("a voter was in that term already and refused"), "{told}");
    assert!(cluster.engine(3).leadership().1.is_none(), "nobody leads");
}

#[test]
fn an_election_by_hand_is_answered_once() {
    let mut cluster = led();
    cluster.cut = vec![2];
    elect(&mut cluster, 2, 7, true);
    cluster.elapse(TIMEOUT_MAX);
    cluster.elapse(TIMEOUT_MAX);
    cluster.cut.clear();
    cluster.stabilize();
    let told = answers(&cluster, 2).iter().filter(|told| told.contains("#7")).count();
    assert_eq!(told, 1, "{:?}", answers(&cluster, 2));
}

#[test]
fn a_leader_that_steps_down_lets_the_others_go_first() {
    let mut cluster = led();
    cluster.handle(1, Event::StepDown { token: Token(7) });
    assert_eq!((cluster.role(1), *answers(&cluster, 1).last().expect("an answer")), (RoleKind::Follower, "done #7"));
    let deadline = cluster.engine(1).poll_timeout().expect("a timer");
    assert!(deadline >= cluster.now + TIMEOUT_MAX, "no campaign for one election timeout");
    cluster.handle(2, Event::StepDown { token: Token(8) });
    assert!(answers(&cluster, 2)[0].starts_with("refused #8"), "{:?}", answers(&cluster, 2));
}

#[test]
fn a_follower_that_forgets_its_leader_gives_pre_votes_and_hears_it_again() {
    let mut cluster = led();
    cluster.cut = vec![1];
    cluster.handle(3, Event::ForgetLeader { token: Token(7) });
    assert_eq!(answers(&cluster, 3), ["done #7"]);
    elect(&mut cluster, 2, 8, true);
    cluster.stabilize();
    assert_eq!(cluster.role(2), RoleKind::Leader, "nobody waited for an election timeout");
    let mut cluster = led();
    cluster.handle(3, Event::ForgetLeader { token: Token(7) });
    cluster.timeout(1);
    cluster.stabilize();
    elect(&mut cluster, 2, 8, true);
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [1]);
    cluster.handle(1, Event::ForgetLeader { token: Token(9) });
    assert!(answers(&cluster, 1).last().expect("an answer").starts_with("refused #9"));
}

#[test]
fn with_elections_off_a_node_votes_and_never_campaigns_by_itself() {
    let mut cluster = led();
    cluster.crash(1);
    for id in [2, 3] {
        cluster.handle(id, Event::SetElections { token: Token(7), on: false });
        assert_eq!(cluster.engine(id).poll_timeout(), None);
    }
    elect(&mut cluster, 2, 8, false);
    cluster.network.clear();
    cluster.flush(2);
    cluster.network.clear();
    cluster.elapse(TIMEOUT_MAX);
    assert!(answers(&cluster, 2).iter().any(|it| it.starts_with("not elected #8: no majority")), "{}", cluster.trace);
    assert_eq!((cluster.role(2), cluster.engine(2).poll_timeout()), (RoleKind::Follower, None), "once, and no more");
    elect(&mut cluster, 2, 9, true);
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2], "by hand it does, and node 3 votes");
    cluster.handle(3, Event::SetElections { token: Token(10), on: true });
    assert!(cluster.engine(3).poll_timeout().is_some());
}

/// When a node that hears from nobody campaigns first, after it was told how much it wants to lead.
fn campaigns_after(seed: u64, priority: u8) -> Duration {
    let config = EngineConfig { bind_directories: false, ..EngineConfig::new(cluster::peer(1, 1), seed) };
    let three = Membership::new([1, 2, 3].map(|id| (NodeId(id), Node::default())), []);
    let mut engine = Engine::new(config, Restored::default(), Instant(0));
    engine.handle_event(Event::SetPriority { token: Token(7), priority }, Instant(0));
    engine.handle_event(Event::Initialize { token: Token(1), membership: three.into() }, Instant(0));
    engine.poll_timeout().expect("it campaigns").since(Instant(0))
}

#[test]
fn a_node_that_wants_to_lead_more_campaigns_before_one_that_wants_to_less() {
    let spread = TIMEOUT_MAX - TIMEOUT;
    let drawn = |priority| (0..200).map(move |seed| campaigns_after(seed, priority));
    for priority in [u8::MAX, 100, 0] {
        let later = spread / 255 * u32::from(u8::MAX - priority);
        assert!(drawn(priority).all(|after| (TIMEOUT + later..TIMEOUT_MAX + later).contains(&after)), "{priority}");
    }
    let first = drawn(u8::MAX).max().expect("some");
    assert!(
        first <= drawn(0).min().expect("some"),
        "the one that wants most comes before the one that wants least, always"
    );
    assert!(first > drawn(100).min().expect("some"), "and not always before one between");
}

#[test]
fn who_wants_to_lead_less_leads_all_the_same_when_nobody_else_can_and_is_not_deposed() {
    let mut cluster =
        Cluster::with(&[1, 2, 3], |config| config.priority = if config.node.node == NodeId(3) { 255 } else { 0 });
    cluster.elect(1);
    for gone in [1, 3] {
        for _ in 0..30 {
            cluster.elapse(Duration::from_millis(100));
            cluster.stabilize();
        }
        assert_eq!(leaders(&cluster), [gone], "it leads until it dies; then node 3 does, as it wants most");
        cluster.crash(gone);
        cluster.restart(1);
        while leaders(&cluster).is_empty() {
            cluster.elapse(Duration::from_millis(10));
            cluster.stabilize();
        }
    }
    assert_eq!(leaders(&cluster).len(), 1, "and without it another one");
}

#[test]
fn a_node_that_has_halted_refuses_all_of_it_and_ends_what_was_under_way() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    cluster.handle(1, Event::StorageFailed { reason: "gone".into() });
    elect(&mut cluster, 1, 8, true);
    cluster.handle(1, Event::StepDown { token: Token(9) });
    let told = answers(&cluster, 1);
    for token in [7, 8, 9] {
        assert!(told.contains(&format!("refused #{token}: this node has halted").as_str()), "{told:?}");
    }
}

/// A leader that leads again may have been about to hand over before: what it said then is past, whoever it comes from. In term 1
/// alone, the term before would be out of range, and say nothing.
#[test]
fn a_timeout_now_of_an_earlier_leadership_of_the_same_node_changes_nothing() {
    let mut cluster = led();
    let before = cluster.term(1);
    cluster.handle(1, Event::StepDown { token: Token(5) });
    elect(&mut cluster, 1, 6, false);
    cluster.stabilize();
    let term = cluster.term(1);
    assert!(leaders(&cluster) == [1] && before < term);
    cluster.receive(2, 1, Message::TimeoutNow { term: Term(before) });
    assert_eq!((cluster.role(2), cluster.term(2)), (RoleKind::Follower, term));
}

#[test]
fn two_orderly_successions_in_a_row_that_come_to_nothing_leave_nobody_waiting() {
    let mut cluster = led();
    cluster.propose(3, 8, "a");
    cluster.network.clear();
    let (term, last) = (cluster.term(1), cluster.engine(1).last_log_id());
    for more in 1..=2 {
        let request = VoteRequest { term: Term(term + more), last, warrant: Warrant::Leader };
        cluster.receive(3, 2, Message::RequestVote(request));
    }
    assert!(cluster.engine(3).awaits_heir());
    cluster.cut = vec![1, 2, 3];
    cluster.timeout(3);
    cluster.timeout(3);
    assert!(answers(&cluster, 3).iter().any(|told| told.starts_with("abandoned from")), "{:?}", answers(&cluster, 3));
}

#[test]
fn once_the_heir_leads_nobody_awaits_it() {
    let mut cluster = led();
    transfer(&mut cluster, 1, 7, 2);
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2]);
    assert_eq!([1, 2, 3].map(|id| cluster.engine(id).awaits_heir()), [false; 3]);
}

#[test]
fn an_heir_that_another_node_forestalls_leaves_its_writes_on_their_way() {
    let mut cluster = led();
    cluster.propose(2, 8, "a");
    let term = cluster.term(1);
    cluster.receive(2, 1, Message::TimeoutNow { term: Term(term) });
    assert_eq!(cluster.role(2), RoleKind::Candidate);
    let beat = Heartbeat { term: Term(term + 1), round: Round(1), commit: LogIndex(0), pledge: Duration::ZERO };
    cluster.receive(2, 3, Message::Heartbeat(beat));
    assert_eq!((cluster.role(2), answers(&cluster, 2)), (RoleKind::Follower, vec![]));
}

#[test]
fn a_leader_that_is_told_to_campaign_by_itself_leads_on() {
    let mut cluster = led();
    cluster.handle(1, Event::SetElections { token: Token(7), on: true });
    for _ in 0..25 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!((leaders(&cluster), cluster.term(1)), (vec![1], 1));
}

#[test]
fn elections_that_are_on_already_put_none_off() {
    let mut cluster = led();
    let due = cluster.engine(2).poll_timeout();
    cluster.handle(2, Event::SetElections { token: Token(7), on: true });
    assert_eq!(cluster.engine(2).poll_timeout(), due);
}

#[test]
fn who_knows_no_leader_has_none_to_forget() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.handle(1, Event::ForgetLeader { token: Token(9) });
    assert!(answers(&cluster, 1).last().expect("an answer").starts_with("refused #9"));
}

#[test]
fn an_election_by_hand_that_pre_votes_allow_is_answered_when_it_is_won() {
    let mut cluster = led();
    cluster.crash(1);
    cluster.now = cluster.now + TIMEOUT;
    elect(&mut cluster, 2, 8, true);
    cluster.stabilize();
    assert_eq!(leaders(&cluster), [2]);
    assert!(answers(&cluster, 2).iter().any(|it| it.starts_with("elected #8")), "{:?}", answers(&cluster, 2));
}

#[test]
fn an_election_by_hand_that_a_halt_ends_is_answered() {
    let mut cluster = led();
    elect(&mut cluster, 2, 8, false);
    assert_eq!(cluster.role(2), RoleKind::Candidate);
    cluster.handle(2, Event::StorageFailed { reason: "gone".into() });
    let told = answers(&cluster, 2);
    assert!(told.iter().any(|it| it.starts_with("refused #8")), "{told:?}");
}
