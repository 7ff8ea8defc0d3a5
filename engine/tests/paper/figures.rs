//! The Raft paper's figures: 2 as rules, 7 and 8 as stories.

use std::time::Duration;

use outrigger_engine::*;

use super::cluster::{Cluster, command};
use super::{MAX, answer, append, ask_vote, outcome, without_pre_vote};

// ---- figure 2 ------------------------------------------------------------------------------------------------------

#[test]
fn figure_2_term_vote_and_log_are_durable_before_an_answer_leaves() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.network.clear();
    cluster.receive(1, 2, ask_vote(1, (0, 1)));
    assert!(cluster.network.is_empty(), "the vote is not durable yet");
    cluster.flush(1);
    assert_eq!(cluster.network.len(), 1);
    cluster.network.clear();
    cluster.receive(1, 2, append(1, (0, 1), &[1], 0));
    assert!(cluster.network.is_empty(), "the entry is not durable yet");
    cluster.flush(1);
    assert_eq!(cluster.network.len(), 1);
}

#[test]
fn figure_2_commit_index_and_last_applied_begin_at_zero_and_only_grow() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    assert_eq!((cluster.commit(1), cluster.engine(1).status().applied), (0, LogIndex(0)));
    cluster.receive(1, 2, append(1, (0, 1), &[1, 1], 3));
    assert_eq!((cluster.commit(1), cluster.engine(1).status().applied), (3, LogIndex(3)));
    cluster.receive(1, 2, append(1, (0, 1), &[1], 1));
    assert_eq!(cluster.commit(1), 3);
}

#[test]
fn figure_2_match_index_begins_at_zero() {
    let mut cluster = without_pre_vote(&[1, 2, 3]);
    cluster.timeout(1);
    cluster.flush(1);
    let vote = VoteReply { term: Term(1), asked: Term(1), granted: true };
    cluster.receive(1, 2, Message::RequestVoteReply(vote));
    let matched = cluster.engine(1).status().matched;
    assert_eq!(matched.into_values().collect::<Vec<_>>(), [LogIndex(0); 2]);
}

#[test]
fn figure_2_entries_behind_a_conflict_go_with_it() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 2, 2, 2]), (2, 3, &[]), (3, 3, &[])]);
    answer(&mut cluster, 1, 2, append(4, (1, 2), &[3], 0));
    assert_eq!(cluster.log(1), "0/1 1/2 3/3");
}

#[test]
fn figure_2_entries_that_are_there_already_stay_and_so_does_what_follows_them() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 2, 2, 2]), (2, 3, &[]), (3, 3, &[])]);
    let matched = outcome(answer(&mut cluster, 1, 2, append(4, (1, 2), &[2, 2], 0)));
    assert_eq!(cluster.log(1), "0/1 1/2 2/3 2/4 2/5", "a short, late request does not cut the log");
    assert_eq!(matched, AppendOutcome::Matched(LogIndex(4)), "and vouches for no more than it carried");
}

#[test]
fn figure_2_a_follower_commits_no_more_than_the_request_has_shown_to_be_the_leaders() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 2, 2, 2]), (2, 3, &[]), (3, 3, &[])]);
    answer(&mut cluster, 1, 2, append(4, (1, 2), &[2], 5));
    assert_eq!(cluster.commit(1), 3, "entries 4 and 5 may not be what the leader has committed");
    answer(&mut cluster, 1, 2, append(4, (0, 1), &[], 5));
    assert_eq!(cluster.commit(1), 3);
}

#[test]
fn figure_2_a_refused_request_commits_nothing() {
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 2]), (2, 3, &[]), (3, 3, &[])]);
    answer(&mut cluster, 1, 2, append(4, (3, 3), &[], 3));
    assert_eq!(cluster.commit(1), 0);
}

#[test]
fn figure_2_a_vote_for_someone_restarts_the_election_timer_and_a_refusal_does_not() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let before = cluster.engine(1).poll_timeout().unwrap();
    cluster.now = before - Duration::from_millis(1);
    answer(&mut cluster, 1, 2, ask_vote(1, (0, 0)));
    assert_eq!(cluster.engine(1).poll_timeout(), Some(before), "refused: its log is behind");
    answer(&mut cluster, 1, 2, ask_vote(1, (0, 1)));
    assert!(cluster.engine(1).poll_timeout() > Some(before), "granted");
}

#[test]
fn figure_2_a_leader_commits_what_a_majority_holds_and_is_of_its_term() {
    let mut cluster = Cluster::new(&[1, 2, 3, 4, 5]);
    cluster.elect(1);
    cluster.cut = vec![4, 5];
    cluster.propose(1, 7, "x");
    cluster.stabilize();
    assert_eq!(cluster.commit(1), 3);
    cluster.cut = vec![3, 4, 5];
    cluster.propose(1, 8, "y");
    cluster.stabilize();
    assert_eq!(cluster.commit(1), 3, "two of five are no majority");
}

// ---- figures 7 and 8 -----------------------------------------------------------------------------------------------

/// Figure 7: the leader of term 8 meets followers that lack entries, have too many, or both. Each ends up with its log.
#[test]
fn figure_7_every_kind_of_diverged_follower_is_brought_to_the_leaders_log() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [(&str, u64, &[u64]); 6] = [
        ("a: lacks one entry", 6, &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ("b: lacks many", 4, &[1, 1, 1, 4]),
        ("c: one too many, of the same term", 6, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ("d: two too many, of a later term", 7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ("e: two of an old term in the place of others", 4, &[1, 1, 1, 4, 4, 4, 4]),
        ("f: terms that nobody else has seen", 3, &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    for (kind, term, log) in followers {
        // Two nodes with the leader's log elect one of them; the third is the follower in question.
        let mut cluster = Cluster::with_logs(&[(1, 7, leader), (2, 7, leader), (3, term, log)]);
        cluster.cut = vec![3];
        cluster.elect(1);
        assert_eq!(cluster.term(1), 8);
        cluster.cut.clear();
        for _ in 0..4 {
            cluster.elapse(Duration::from_millis(100));
            cluster.stabilize();
        }
        assert_eq!(cluster.log(3), cluster.log(1), "{kind}");
        assert_eq!(cluster.node(3).disk.log, cluster.node(1).disk.log, "{kind}");
        assert_eq!(cluster.commit(3), 12, "{kind}");
    }
}

/// Figure 8: an entry of an old term on a majority may still be replaced; so it must not count as committed before an
/// entry of the leader's own term is.
#[test]
fn figure_8_an_old_entry_on_a_majority_can_still_be_replaced_and_was_never_committed() {
    // (a)-(b): node 1 led in term 2 and wrote 2/3 to itself and node 2; node 5 led in term 3 and wrote 3/3 to itself.
    let mut cluster =
        Cluster::with_logs(&[(1, 3, &[1, 2]), (2, 3, &[1, 2]), (3, 3, &[1]), (4, 3, &[1]), (5, 3, &[1, 3])]);
    // (c): node 1 leads again, in term 4. It sends 2/3 to node 3, but its own entry 4/4 reaches nobody.
    cluster.cut = vec![4, 5];
    cluster.timeout(1);
    while cluster.role(1) != RoleKind::Leader {
        assert!([1, 2, 3].map(|id| cluster.flush(id)).contains(&true) | cluster.deliver(|_| true));
    }
    cluster.network.clear();
    let term = cluster.term(1);
    let epoch = Epoch(u64::MAX); // no stream of this leader: the answer is delivered by hand
    let shown = AppendEntries {
        term: Term(term),
        epoch,
        request: RequestId(1),
        prev: LogId::new(1, 2),
        batches: vec![Batch::new(LogId::new(2, 3), LogTime(0), std::sync::Arc::new([command("2.3")]))],
        commit: LogIndex(0),
    };
    cluster.receive(3, 1, Message::AppendEntries(shown));
    cluster.flush(3);
    cluster.flush(1);
    for follower in [2, 3] {
        let beat = Heartbeat { term: Term(term), round: Round(1), commit: LogIndex(0), pledge: Duration::ZERO };
        cluster.network.clear();
        cluster.receive(follower, 1, Message::Heartbeat(beat));
        cluster.flush(follower);
        cluster.deliver(|it| it.to == 1);
    }
    assert_eq!(cluster.log(3), "0/1 1/2 2/3", "now 1, 2 and 3 hold 2/3: a majority");
    assert_eq!(cluster.commit(1), 0, "and it is not committed");
    // (d): node 1 crashes; node 5 can win with the votes of 3 and 4, and replaces 2/3 everywhere.
    cluster.crash(1);
    cluster.network.clear();
    cluster.cut = vec![2];
    cluster.elapse(MAX);
    cluster.network.clear();
    cluster.elect(5);
    cluster.cut.clear();
    for _ in 0..5 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert!(cluster.log(2).starts_with("0/1 1/2 3/3"), "{}", cluster.log(2));
    assert!(cluster.applied(3).contains(&"3.3") && !cluster.applied(3).contains(&"2.3"));
    // (e): had 4/4 reached a majority, node 5 could not have won.
    let mut cluster = Cluster::with_logs(&[
        (1, 4, &[1, 2, 4]),
        (2, 4, &[1, 2, 4]),
        (3, 4, &[1, 2, 4]),
        (4, 4, &[1]),
        (5, 4, &[1, 3]),
    ]);
    cluster.crash(1);
    for _ in 0..10 {
        cluster.timeout(5);
        cluster.drop_messages(|it| it.from.node == NodeId(5) && matches!(it.message, Message::Heartbeat(_)));
        cluster.stabilize();
        assert_ne!(cluster.role(5), RoleKind::Leader);
    }
}
