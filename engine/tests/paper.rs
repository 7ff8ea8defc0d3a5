//! The Raft paper, sentence by sentence: sections 5.1 to 5.6 and figure 2, a test for each thing that they say, in their
//! order, in our words; figures 7 and 8 as stories. ("In Search of an Understandable Consensus Algorithm", extended
//! version.) Every log here begins with the membership at index 1, so the paper's index n is our n + 1.

mod cluster;
#[path = "paper/figures.rs"]
mod figures;

use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, command, peer};
use outrigger_engine::*;

// ---- what the tests are made of ------------------------------------------------------------------------------------

fn append(term: u64, prev: (u64, u64), terms: &[u64], commit: u64) -> Message {
    let batch = |(index, term): (u64, &u64)| {
        let entries = std::sync::Arc::new([command(&format!("{term}.{index}"))]);
        Batch::new(LogId::new(*term, index), LogTime(0), entries)
    };
    let batches = (prev.1 + 1..).zip(terms).map(batch).collect();
    let (prev, commit) = (LogId::new(prev.0, prev.1), LogIndex(commit));
    Message::AppendEntries(AppendEntries {
        term: Term(term),
        epoch: Epoch(1),
        request: RequestId(1),
        prev,
        batches,
        commit,
    })
}

/// One that is heard even beside a leader.
fn ask_vote(term: u64, last: (u64, u64)) -> Message {
    Message::RequestVote(VoteRequest { term: Term(term), last: LogId::new(last.0, last.1), warrant: Warrant::Operator })
}

/// What a node answered to the message that it was just sent, once its disk had it.
fn answer(cluster: &mut Cluster, to: u64, from: u64, message: Message) -> Option<Message> {
    cluster.network.clear();
    cluster.receive(to, from, message);
    cluster.flush(to);
    cluster.network.pop_back().map(|envelope| envelope.message)
}

fn granted(message: Option<Message>) -> bool {
    match message {
        Some(Message::RequestVoteReply(reply) | Message::PreVoteReply(reply)) => reply.granted,
        other => panic!("not the answer to a request for a vote: {other:?}"),
    }
}

fn outcome(message: Option<Message>) -> AppendOutcome {
    match message {
        Some(Message::AppendEntriesReply(reply)) => reply.outcome,
        other => panic!("not the answer to append_entries: {other:?}"),
    }
}

fn without_pre_vote(ids: &[u64]) -> Cluster {
    Cluster::with(ids, |config| config.pre_vote = false)
}

/// Three nodes, node 1 leads in term 1, everything is committed everywhere.
fn led() -> Cluster {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster
}

const MAX: Duration = Duration::from_millis(1000);

// ---- 5.1 basics ----------------------------------------------------------------------------------------------------

#[test]
fn s5_1_there_is_one_leader_and_all_others_follow() {
    let cluster = led();
    assert_eq!([1, 2, 3].map(|id| cluster.role(id)), [RoleKind::Leader, RoleKind::Follower, RoleKind::Follower]);
}

#[test]
fn s5_1_a_follower_issues_nothing_by_itself_and_only_answers() {
    let mut cluster = led();
    cluster.cut.push(1);
    cluster.elapse(Duration::from_millis(400));
    assert!(cluster.network.iter().all(|it| it.from.node == NodeId(1)), "nobody but the leader has sent anything");
}

#[test]
fn s5_1_the_leader_handles_requests_and_a_follower_passes_them_on() {
    let mut cluster = led();
    cluster.propose(1, 10, "a");
    cluster.propose(3, 30, "b");
    assert!(cluster.network.iter().any(|it| it.to == 1 && matches!(it.message, Message::Propose { .. })));
    cluster.stabilize();
    assert_eq!(cluster.applied(3), ["a", "b"]);
    assert_eq!(cluster.node(3).answers, ["accepted #0: first 0/1", "accepted #30: first 1/4"]);
}

#[test]
fn s5_1_terms_are_consecutive_and_begin_with_an_election() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    for (term, id) in [(1, 1), (2, 2), (3, 3)] {
        cluster.elect(id);
        assert_eq!(cluster.term(id), term);
    }
}

#[test]
fn s5_1_a_split_vote_ends_a_term_without_a_leader_and_a_new_term_follows() {
    let mut cluster = without_pre_vote(&[1, 2]);
    cluster.timeout(1);
    cluster.timeout(2);
    cluster.stabilize();
    assert_eq!([1, 2].map(|id| (cluster.role(id), cluster.term(id))), [(RoleKind::Candidate, 1); 2]);
    cluster.timeout(1);
    cluster.stabilize();
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Leader, 2));
}

#[test]
fn s5_1_there_is_at_most_one_leader_in_a_term() {
    let mut cluster = without_pre_vote(&[1, 2, 3, 4, 5]);
    let mut leaders = std::collections::BTreeMap::new();
    for round in 0..30 {
        let id = round % 5 + 1;
        if cluster.role(id) != RoleKind::Leader {
            cluster.timeout(id);
        }
        cluster.timeout((round * 3) % 5 + 1);
        cluster.stabilize();
        for id in 1..=5 {
            if cluster.role(id) == RoleKind::Leader {
                assert_eq!(*leaders.entry(cluster.term(id)).or_insert(id), id, "term {}", cluster.term(id));
            }
        }
    }
    assert!(leaders.len() > 5, "{leaders:?}");
}

#[test]
fn s5_1_the_current_term_only_grows_and_survives_a_restart() {
    let mut cluster = led();
    answer(&mut cluster, 2, 3, ask_vote(9, (0, 0)));
    assert_eq!(cluster.term(2), 9);
    answer(&mut cluster, 2, 3, ask_vote(4, (0, 0)));
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.term(2), 9);
}

#[test]
fn s5_1_whoever_hears_of_a_larger_term_takes_it() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    for (term, message) in [
        (3, ask_vote(3, (0, 0))),
        (4, append(4, (0, 1), &[], 0)),
        (
            5,
            Message::Heartbeat(Heartbeat {
                term: Term(5),
                round: Round(1),
                commit: LogIndex(0),
                pledge: Duration::ZERO,
            }),
        ),
        (6, Message::RequestVoteReply(VoteReply { term: Term(6), asked: Term(1), granted: false })),
        (7, Message::PreVoteReply(VoteReply { term: Term(7), asked: Term(1), granted: false })),
    ] {
        cluster.receive(2, 3, message);
        assert_eq!(cluster.term(2), term);
    }
}

#[test]
fn s5_1_a_leader_or_candidate_that_hears_of_a_larger_term_becomes_a_follower() {
    let mut cluster = led();
    cluster.receive(1, 3, ask_vote(5, (0, 0)));
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 5));
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.timeout(1);
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.receive(1, 3, ask_vote(5, (0, 0)));
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 5));
}

#[test]
fn s5_1_a_request_of_a_past_term_is_refused() {
    let mut cluster = led();
    cluster.receive(2, 3, ask_vote(5, (0, 0)));
    assert!(!granted(answer(&mut cluster, 2, 3, ask_vote(4, (9, 9)))));
    assert_eq!(outcome(answer(&mut cluster, 2, 1, append(1, (1, 2), &[1], 0))), AppendOutcome::Stale);
    assert_eq!(cluster.log(2), "0/1 1/2");
}

// ---- 5.2 leader election -------------------------------------------------------------------------------------------

#[test]
fn s5_2_nodes_begin_as_followers() {
    let cluster = Cluster::new(&[1, 2, 3]);
    assert_eq!([1, 2, 3].map(|id| cluster.role(id)), [RoleKind::Follower; 3]);
}

#[test]
fn s5_2_a_follower_stays_one_while_it_hears_from_a_leader() {
    let mut cluster = led();
    for _ in 0..50 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!((cluster.role(1), cluster.term(2), cluster.term(3)), (RoleKind::Leader, 1, 1));
}

#[test]
fn s5_2_a_leader_sends_heartbeats_to_everyone_again_and_again() {
    let mut cluster = led();
    cluster.elapse(Duration::from_millis(350));
    for to in [2, 3] {
        let beats = cluster.network.iter().filter(|it| it.to == to && matches!(it.message, Message::Heartbeat(_)));
        assert_eq!(beats.count(), 3);
    }
}

#[test]
fn s5_2_a_follower_that_hears_nothing_for_a_timeout_begins_an_election() {
    let mut cluster = led();
    cluster.crash(1);
    cluster.drop_messages(|_| true);
    cluster.elapse(MAX);
    assert!([2, 3].iter().all(|id| cluster.role(*id) == RoleKind::PreCandidate));
}

#[test]
fn s5_2_a_candidate_takes_the_next_term_votes_for_itself_and_asks_all_others_at_once() {
    let mut cluster = without_pre_vote(&[1, 2, 3, 4, 5]);
    cluster.timeout(1);
    cluster.flush(1);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 1));
    assert_eq!(cluster.node(1).disk.vote, Vote { term: Term(1), voted_for: Some(NodeId(1)) });
    let asked: Vec<u64> = cluster.network.iter().map(|it| it.to).collect();
    assert_eq!(asked, [2, 3, 4, 5]);
}

#[test]
fn s5_2_votes_of_a_majority_of_the_whole_cluster_in_one_term_win() {
    let mut cluster = without_pre_vote(&[1, 2, 3, 4, 5]);
    cluster.timeout(1);
    cluster.flush(1);
    let vote = |term, granted| Message::RequestVoteReply(VoteReply { term: Term(1), asked: Term(term), granted });
    cluster.receive(1, 2, vote(1, true));
    cluster.receive(1, 2, vote(1, true));
    cluster.receive(1, 3, vote(1, false));
    cluster.receive(1, 4, vote(0, true));
    assert_eq!(cluster.role(1), RoleKind::Candidate, "itself and node 2; the others refused or mean another term");
    cluster.receive(1, 5, vote(1, true));
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

#[test]
fn s5_2_a_node_votes_once_a_term_first_come_first_served() {
    let mut cluster = Cluster::new(&[1, 2, 3, 4]);
    assert!(granted(answer(&mut cluster, 1, 2, ask_vote(1, (0, 1)))));
    assert!(!granted(answer(&mut cluster, 1, 3, ask_vote(1, (9, 9)))));
    assert!(granted(answer(&mut cluster, 1, 2, ask_vote(1, (0, 1)))), "the same candidate asks again");
    assert!(granted(answer(&mut cluster, 1, 3, ask_vote(2, (0, 1)))), "another term, another vote");
}

#[test]
fn s5_2_the_vote_of_a_term_survives_a_restart() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    assert!(granted(answer(&mut cluster, 1, 2, ask_vote(1, (0, 1)))));
    cluster.crash(1);
    cluster.restart(1);
    assert!(!granted(answer(&mut cluster, 1, 3, ask_vote(1, (0, 1)))));
}

#[test]
fn s5_2_a_new_leader_tells_everyone_at_once() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.timeout(1);
    cluster.flush(1);
    cluster.network.clear();
    let vote = VoteReply { term: Term(1), asked: Term(1), granted: true };
    cluster.receive(1, 2, Message::RequestVoteReply(vote));
    let told = cluster.network.iter().filter(|it| matches!(it.message, Message::Heartbeat(_)));
    assert_eq!(told.map(|it| it.to).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn s5_2_a_candidate_that_hears_from_a_leader_of_its_term_or_later_follows_it() {
    for term in [1, 2] {
        let mut cluster = without_pre_vote(&[1, 2, 3]);
        cluster.timeout(1);
        cluster.receive(1, 3, append(term, (0, 1), &[], 0));
        assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, term));
        assert_eq!(cluster.engine(1).leadership().1, Some(NodeId(3)));
    }
}

#[test]
fn s5_2_a_candidate_refuses_a_leader_of_an_earlier_term_and_goes_on() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.timeout(1);
    cluster.timeout(1);
    assert_eq!(outcome(answer(&mut cluster, 1, 3, append(1, (0, 1), &[], 0))), AppendOutcome::Stale);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 2));
}

#[test]
fn s5_2_a_candidate_that_neither_wins_nor_loses_tries_again_in_the_next_term() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.cut.push(1);
    for term in 1..=4 {
        cluster.timeout(1);
        cluster.stabilize();
        assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, term));
    }
}

#[test]
fn s5_2_timeouts_are_drawn_anew_from_a_fixed_range_for_every_election() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.cut.push(1);
    let mut waits = Vec::new();
    for _ in 0..200 {
        let wait = cluster.engine(1).poll_timeout().unwrap().since(cluster.now);
        assert!((Duration::from_millis(500)..MAX).contains(&wait), "{wait:?}");
        waits.push(wait);
        cluster.timeout(1);
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 190, "{} different ones", waits.len());
}

// ---- 5.3 log replication -------------------------------------------------------------------------------------------

#[test]
fn s5_3_the_leader_appends_a_command_and_sends_it_to_all_in_parallel() {
    let mut cluster = led();
    cluster.propose(1, 7, "x");
    assert_eq!(cluster.log(1), "0/1 1/2 1/3");
    let sent: Vec<u64> = cluster.network.iter().map(|it| it.to).collect();
    assert_eq!(sent, [2, 3], "before any answer, and before its own disk has it");
}

#[test]
fn s5_3_an_entry_is_applied_and_answered_once_it_is_safely_replicated() {
    let mut cluster = led();
    cluster.propose(1, 7, "x");
    cluster.flush(1);
    assert!(cluster.applied(1).is_empty());
    cluster.deliver(|it| it.to == 2);
    cluster.deliver(|it| it.to == 1);
    assert!(cluster.applied(1).is_empty(), "received is not yet durable");
    cluster.flush(2);
    cluster.deliver(|it| it.to == 1);
    assert_eq!(cluster.applied(1), ["x"]);
}

#[test]
fn s5_3_the_leader_sends_again_until_every_follower_has_every_entry() {
    let mut cluster = led();
    cluster.crash(3);
    cluster.propose(1, 7, "x");
    cluster.stabilize();
    assert_eq!(cluster.applied(1), ["x"], "answered with two of three");
    cluster.restart(3);
    for _ in 0..5 {
        cluster.elapse(Duration::from_millis(100));
        cluster.drop_messages(|it| it.to == 3 && matches!(it.message, Message::AppendEntries(_)));
        cluster.stabilize();
    }
    for _ in 0..5 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!(cluster.applied(3), ["x"]);
}

#[test]
fn s5_3_an_entry_holds_its_command_and_its_term_at_its_index() {
    let mut cluster = led();
    cluster.propose(1, 7, "x");
    let (id, payload) = cluster.node(1).log.last().unwrap();
    assert_eq!((*id, &payload.body), (LogId::new(1, 3), &Body::Command(Bytes::from_static(b"x"))));
}

#[test]
fn s5_3_committing_an_entry_commits_all_before_it_those_of_earlier_leaders_too() {
    let mut cluster = Cluster::with_logs(&[(1, 4, &[1, 1, 3]), (2, 4, &[1, 1, 3]), (3, 4, &[])]);
    cluster.elect(1);
    assert_eq!((cluster.log(1), cluster.commit(1)), ("0/1 1/2 1/3 3/4 5/5".into(), 5));
    assert_eq!(cluster.applied(1), ["1.2", "1.3", "3.4"]);
}

#[test]
fn s5_3_followers_learn_what_is_committed_from_what_the_leader_sends_next() {
    let mut cluster = led();
    cluster.propose(1, 7, "x");
    cluster.stabilize();
    cluster.propose(1, 8, "y");
    let carried = cluster.network.iter().find_map(|it| match &it.message {
        Message::AppendEntries(request) => Some(request.commit),
        _ => None,
    });
    assert_eq!(carried, Some(LogIndex(3)));
    cluster.stabilize();
    assert_eq!(cluster.applied(2), ["x", "y"]);
}

#[test]
fn s5_3_entries_are_applied_in_the_order_of_the_log() {
    let mut cluster = led();
    let values: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for (token, value) in (10..).zip(&values) {
        cluster.propose(1 + token % 3, token, value);
    }
    cluster.stabilize();
    assert_eq!(cluster.applied(1).len(), 50);
    assert!([2, 3].iter().all(|id| cluster.applied(*id) == cluster.applied(1)));
}

#[test]
fn s5_3_entries_of_the_same_index_and_term_are_the_same_and_so_is_all_before_them() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    for round in 0..6 {
        let leader = round % 3 + 1;
        cluster.elect(leader);
        cluster.propose(leader, 100 + round, &format!("round {round}"));
        for _ in 0..4 {
            cluster.drop_messages(|it| it.to == round / 2 + 1);
            cluster.elapse(Duration::from_millis(100));
            cluster.stabilize();
        }
        // What the leader writes last reaches nobody, and the next leader writes something else in its place.
        cluster.propose(leader, 200 + round, &format!("lost {round}"));
        cluster.flush(leader);
        cluster.network.clear();
        cluster.elapse(Duration::from_millis(1100));
        cluster.network.clear();
        cluster.crash(leader);
        cluster.restart(leader);
    }
    for (a, b) in [(1, 2), (2, 3), (1, 3)] {
        let (a, b) = (&cluster.node(a).log, &cluster.node(b).log);
        let agree = (0..a.len().min(b.len())).rev().find(|at| a[*at].0 == b[*at].0).expect("the first entry");
        assert_eq!(a[..=agree], b[..=agree]);
        assert!(agree >= 6);
    }
}

#[test]
fn s5_3_a_leader_makes_one_entry_of_a_term_at_an_index_and_never_moves_or_changes_it() {
    let mut cluster = led();
    let mut before = cluster.node(1).log.clone();
    for token in 10..30 {
        cluster.propose(1, token, &token.to_string());
        cluster.receive(1, 2, append(1, (0, 1), &[1, 1, 1], 9));
        cluster.deliver(|_| true);
        let log = &cluster.node(1).log;
        assert_eq!(log[..before.len()], before, "what a leader holds stays");
        before = log.clone();
    }
}

#[test]
fn s5_3_a_follower_that_lacks_the_entry_before_refuses() {
    let mut cluster = Cluster::with_logs(&[(1, 2, &[1, 1]), (2, 2, &[]), (3, 2, &[])]);
    let refused = outcome(answer(&mut cluster, 1, 2, append(3, (1, 4), &[3], 0)));
    assert_eq!(refused, AppendOutcome::Conflict { hint: LogId::new(1, 3) }, "too short");
    let refused = outcome(answer(&mut cluster, 1, 2, append(3, (2, 3), &[3], 0)));
    assert_eq!(refused, AppendOutcome::Conflict { hint: LogId::new(1, 3) }, "another term");
    let taken = outcome(answer(&mut cluster, 1, 2, append(3, (1, 3), &[3], 0)));
    assert_eq!(taken, AppendOutcome::Matched(LogIndex(4)));
}

#[test]
fn s5_3_conflicting_entries_of_a_follower_are_replaced_by_the_leaders() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 3, 3]), (2, 3, &[1, 3, 3]), (3, 2, &[1, 2, 2, 2, 2])]);
    cluster.elect(1);
    for _ in 0..3 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!(cluster.log(3), "0/1 1/2 3/3 3/4 4/5");
    assert_eq!(cluster.node(3).disk.log, cluster.node(1).disk.log);
}

#[test]
fn s5_3_a_leader_begins_with_the_entry_behind_its_last_for_everyone() {
    let mut cluster = Cluster::with_logs(&[(1, 2, &[1, 2]), (2, 2, &[1, 2]), (3, 2, &[])]);
    cluster.elect(1);
    assert!(cluster.trace.contains("replicate to 3: prev 2/3 last 3/4"), "{}", cluster.trace);
}

#[test]
fn s5_3_a_refusal_goes_back_a_whole_term_not_an_entry() {
    let (ours, theirs) = (vec![1, 5], [vec![1], vec![2; 100], vec![3; 100], vec![4; 100]].concat());
    let mut cluster = Cluster::with_logs(&[(1, 5, &ours), (2, 5, &ours), (3, 4, &theirs)]);
    cluster.elect(1);
    for _ in 0..10 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!(cluster.log(3), cluster.log(1));
    let refusals = cluster.trace.matches("    send_message to 1: append_entries_reply term 6 conflict").count();
    assert!((1..=3).contains(&refusals), "{refusals} refusals for three terms of 100 entries");
}

#[test]
fn s5_3_once_the_logs_agree_they_stay_so_for_the_term() {
    let mut cluster = led();
    for token in 10..40 {
        cluster.propose(1, token, "x");
        if token % 3 == 0 {
            cluster.stabilize();
        }
    }
    cluster.stabilize();
    assert!(!cluster.trace.contains("conflict"), "no refusal in a whole term without faults");
}

#[test]
fn s5_3_a_leader_never_drops_entries_of_its_own_log() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 3]), (2, 3, &[1, 3]), (3, 2, &[1, 2, 2, 2])]);
    cluster.elect(1);
    cluster.stabilize();
    assert!(
        !cluster
            .trace
            .lines()
            .scan(0, |node, line| {
                *node = line.chars().next().and_then(|c| c.to_digit(10)).unwrap_or(*node);
                Some((*node, line))
            })
            .any(|(node, line)| node == 1 && line.contains("truncate_log"))
    );
}

#[test]
fn s5_3_one_slow_follower_does_not_slow_the_rest() {
    let mut cluster = led();
    cluster.cut.push(3);
    for token in 10..300 {
        cluster.propose(1, token, "x");
        cluster.stabilize();
    }
    assert_eq!(cluster.applied(1).len(), 290);
}

// ---- 5.4.1 election restriction ------------------------------------------------------------------------------------

#[test]
fn s5_4_1_a_vote_is_refused_to_a_log_that_is_less_up_to_date() {
    let grants = |last| {
        let mut cluster = Cluster::with_logs(&[(1, 5, &[2, 2, 4]), (2, 5, &[]), (3, 5, &[])]);
        // What it has pledged before its start is over.
        cluster.now = cluster.now + Duration::from_millis(500);
        granted(answer(&mut cluster, 1, 2, ask_vote(6, last)))
    };
    assert!(!grants((2, 9)), "an earlier last term loses, however long");
    assert!(!grants((4, 3)), "the same last term, but shorter");
    assert!(grants((4, 4)), "the same");
    assert!(grants((4, 5)), "the same last term, and longer");
    assert!(grants((5, 2)), "a later last term wins, however short");
}

#[test]
fn s5_4_1_only_who_holds_every_committed_entry_is_elected() {
    let mut cluster = led();
    cluster.cut.push(3);
    cluster.propose(1, 7, "x");
    cluster.stabilize();
    cluster.cut = vec![1];
    cluster.drop_messages(|_| true);
    for _ in 0..80 {
        cluster.elapse(Duration::from_millis(50));
        cluster.stabilize();
    }
    assert_eq!(cluster.role(2), RoleKind::Leader, "node 3 lacks x");
    assert_eq!(cluster.applied(3), ["x"]);
}

// ---- 5.4.2 entries of earlier terms --------------------------------------------------------------------------------

#[test]
fn s5_4_2_an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut cluster = Cluster::with_logs(&[(1, 2, &[2]), (2, 2, &[2]), (3, 2, &[])]);
    cluster.timeout(1);
    while cluster.role(1) != RoleKind::Leader {
        assert!(cluster.flush(1) | cluster.flush(2) | cluster.deliver(|it| it.to != 3));
    }
    // Nodes 1 and 2 hold 2/2 durably; the entry of term 3 is nowhere but on node 1.
    cluster.network.clear();
    cluster.flush(1);
    let status = cluster.engine(1).status();
    let reply = HeartbeatReply {
        term: status.term,
        asked: status.term,
        round: Round(1),
        received: LogIndex(2),
        matched: LogIndex(2),
    };
    cluster.receive(1, 2, Message::HeartbeatReply(reply));
    assert_eq!(cluster.engine(1).status().matched[&NodeId(2)], LogIndex(2));
    assert_eq!(cluster.commit(1), 0, "a majority holds 2/2, but that is not enough");
    cluster.stabilize();
    cluster.elapse(Duration::from_millis(200));
    cluster.stabilize();
    assert_eq!(cluster.commit(1), 3, "with an entry of its own term, all before it is");
}

#[test]
fn s5_4_2_entries_keep_their_term_when_a_later_leader_sends_them() {
    let mut cluster = Cluster::with_logs(&[(1, 4, &[1, 2, 4]), (2, 4, &[1, 2, 4]), (3, 1, &[])]);
    cluster.elect(1);
    cluster.elapse(Duration::from_millis(200));
    cluster.stabilize();
    assert_eq!(cluster.log(3), "0/1 1/2 2/3 4/4 5/5");
}

// ---- 5.5 crashes of followers and candidates -----------------------------------------------------------------------

#[test]
fn s5_5_a_request_that_was_received_before_does_nothing_the_second_time() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let message = append(1, (0, 1), &[1, 1], 2);
    let first = outcome(answer(&mut cluster, 1, 2, message.clone()));
    let again = outcome(answer(&mut cluster, 1, 2, message));
    assert_eq!((first, again), (AppendOutcome::Matched(LogIndex(3)), AppendOutcome::Matched(LogIndex(3))));
    assert_eq!((cluster.log(1), cluster.commit(1)), ("0/1 1/2 1/3".into(), 2));
    assert_eq!(cluster.trace.matches("append_input_entries").count(), 1);
}

#[test]
fn s5_5_a_follower_that_crashed_before_it_answered_gets_the_request_again() {
    let mut cluster = led();
    cluster.propose(1, 7, "x");
    cluster.deliver(|it| it.to == 2);
    cluster.flush(2);
    cluster.crash(2);
    cluster.drop_messages(|_| true);
    cluster.restart(2);
    for _ in 0..4 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!(cluster.applied(2), ["x"]);
}

// ---- 5.6 timing and availability -----------------------------------------------------------------------------------

#[test]
fn s5_6_heartbeats_must_be_faster_than_elections() {
    let mut config = EngineConfig::new(peer(1, 1), 1);
    config.bind_directories = false;
    config.heartbeat_interval = config.election_timeout_min;
    assert!(matches!(config.validate(), Err(ConfigError::HeartbeatTooSlow { .. })));
}

#[test]
fn s5_6_after_a_leader_fails_another_is_elected_within_about_a_timeout() {
    let mut cluster = led();
    cluster.crash(1);
    cluster.drop_messages(|_| true);
    let begin = cluster.now;
    while cluster.role(2) != RoleKind::Leader && cluster.role(3) != RoleKind::Leader {
        let next = [2, 3].into_iter().min_by_key(|id| cluster.engine(*id).poll_timeout()).unwrap();
        cluster.timeout(next);
        cluster.stabilize();
    }
    assert!(cluster.now.since(begin) <= MAX * 2, "{:?}", cluster.now.since(begin));
}
