//! Elections: traps 21 to 25, 44.

use super::*;
use crate::cluster::Cluster;

#[test]
fn trap_21_a_refused_vote_does_not_count_and_neither_does_a_vote_for_another_term() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.pre_vote = false);
    desk.timeout();
    desk.flush();
    for reply in [vote(1, 1, false), vote(1, 0, true), vote(0, 2, true)] {
        desk.receive(2, Message::RequestVoteReply(reply));
        desk.receive(3, Message::PreVoteReply(vote(1, 1, true)));
        desk.receive(3, Message::PreVoteReply(vote(1, 2, true)));
        assert_eq!(desk.engine.role_kind(), RoleKind::Candidate);
    }
    desk.receive(2, Message::RequestVoteReply(vote(1, 1, true)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn trap_21_an_own_vote_that_is_not_durable_does_not_count() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.pre_vote = false);
    let commands = desk.timeout();
    assert!(!said(&commands).contains("send_vote"), "{}", said(&commands));
    // An answer before the question, from a node that plays foul: alone it is no quorum.
    desk.receive(2, Message::RequestVoteReply(vote(1, 1, true)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Candidate);
    desk.flush();
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
    // The own vote of a campaign that is over does not count for the next one.
    let mut desk = Desk::with(&[1, 2, 3], |config| config.pre_vote = false);
    desk.timeout();
    let first = desk.written;
    desk.timeout();
    let commands = desk.feed(Event::LogFlushed { write: first });
    assert_eq!(said(&commands), "", "term 1 is over, term 2 is not durable");
    desk.receive(2, Message::RequestVoteReply(vote(2, 2, true)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Candidate);
    desk.flush();
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn trap_21_a_vote_that_was_given_is_not_written_again() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, ask_vote(1, (0, 1)));
    desk.flush();
    let commands = desk.receive(2, ask_vote(1, (0, 1)));
    assert_eq!(said(&commands), "send_message to 2: request_vote_reply granted for term 1, own term 1\n");
}

#[test]
fn trap_22_a_pre_vote_asks_for_what_a_vote_would_need_and_for_a_silent_leader() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(3, (0, 1), &[2, 3], 0));
    desk.flush();
    let asked = |desk: &mut Desk, term, last| granted(&desk.receive(3, ask_pre_vote(term, last))).unwrap();
    assert!(!asked(&mut desk, 4, (3, 3)), "its leader was heard from just now");
    desk.now = desk.now + Duration::from_millis(499);
    assert!(!asked(&mut desk, 4, (3, 3)), "and still within the shortest timeout");
    desk.now = desk.now + Duration::from_millis(1);
    assert!(asked(&mut desk, 4, (3, 3)), "it is silent now");
    assert!(!asked(&mut desk, 3, (3, 3)), "that term is taken");
    assert!(!asked(&mut desk, 4, (3, 2)), "a shorter log");
    assert!(!asked(&mut desk, 9, (2, 9)), "an older log");
    assert!(asked(&mut desk, 4, (4, 1)), "a newer log");
    assert_eq!(
        (desk.engine.vote(), desk.engine.role_kind()),
        (Vote { term: Term(3), voted_for: None }, RoleKind::Follower)
    );
    // Every word of the leader counts.
    for message in
        [heartbeat(3, 1, 0), append(3, (3, 3), &[], 0), Message::Committed { term: Term(3), commit: LogIndex(1) }]
    {
        desk.now = desk.now + MAX;
        desk.receive(2, message);
        desk.now = desk.now + Duration::from_millis(400);
        assert!(!asked(&mut desk, 4, (3, 3)));
    }
}

#[test]
fn trap_22_a_leader_and_whoever_came_back_to_one_give_no_pre_vote() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    assert_eq!(granted(&desk.receive(3, ask_pre_vote(9, (9, 9)))), Some(false));
    let mut desk = Desk::of(&[1, 2, 3]);
    assert_eq!(
        granted(&desk.receive(3, ask_pre_vote(1, (0, 1)))),
        Some(true),
        "it has heard of none, however early it is"
    );
    desk.receive(2, heartbeat(1, 1, 0));
    desk.flush();
    desk.timeout();
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate);
    desk.receive(2, heartbeat(1, 2, 0));
    assert_eq!(granted(&desk.receive(3, ask_pre_vote(9, (9, 9)))), Some(false));
}

#[test]
fn trap_22_pre_votes_pass_on_higher_terms_so_that_nobody_waits_for_ever() {
    // Node 1 is behind in term and ahead in log; node 2 the other way round; node 3 is gone. Only 1 can win.
    let mut cluster = Cluster::with_logs(&[(1, 3, &[1, 3]), (2, 7, &[1]), (3, 3, &[])]);
    cluster.crash(3);
    for _ in 0..40 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Leader, 8));
}

#[test]
fn trap_22_late_pre_vote_replies_start_nothing() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    desk.receive(3, Message::PreVoteReply(vote(1, 2, true)));
    desk.receive(2, Message::PreVoteReply(vote(1, 2, true)));
    assert_eq!((desk.engine.role_kind(), desk.term()), (RoleKind::Leader, Term(1)));
    // Nor do those of an earlier question.
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.timeout();
    desk.receive(2, ask_vote(4, (0, 0)));
    desk.flush();
    desk.timeout();
    desk.receive(3, Message::PreVoteReply(vote(0, 1, true)));
    assert_eq!((desk.engine.role_kind(), desk.term()), (RoleKind::PreCandidate, Term(4)));
    desk.receive(3, Message::PreVoteReply(vote(4, 5, false)));
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate);
    desk.receive(3, Message::PreVoteReply(vote(4, 5, true)));
    assert_eq!((desk.engine.role_kind(), desk.term()), (RoleKind::Candidate, Term(5)));
}

#[test]
fn trap_22_a_node_that_was_cut_off_does_not_depose_a_working_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.cut = vec![3];
    for _ in 0..50 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert_eq!(cluster.role(3), RoleKind::PreCandidate);
    cluster.cut.clear();
    for _ in 0..20 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert_eq!((cluster.role(1), [1, 2, 3].map(|id| cluster.term(id))), (RoleKind::Leader, [1; 3]));
}

#[test]
fn trap_22_a_late_word_of_a_past_leader_is_not_heard() {
    for last_heard in [None, Some(NodeId(3))] {
        let mut desk = Desk::of(&[1, 2, 3]);
        desk.receive(2, append(1, (0, 1), &[1, 1], 1));
        desk.receive(3, ask_vote(2, (9, 9)));
        if last_heard.is_some() {
            desk.receive(3, append(2, (1, 3), &[], 1));
        }
        desk.flush();
        let deadline = desk.engine.poll_timeout();
        for message in
            [heartbeat(1, 9, 3), Message::Committed { term: Term(1), commit: LogIndex(3) }, append(1, (1, 3), &[1], 3)]
        {
            desk.now = desk.now + Duration::from_millis(10);
            let commands = desk.receive(2, message);
            assert_eq!(turned_away(&commands), None, "it is late, not wrong");
            assert_eq!((desk.engine.leadership(), desk.commit()), ((Term(2), last_heard), 1));
            assert_eq!((desk.engine.poll_timeout(), desk.engine.status().last), (deadline, LogId::new(1, 3)));
        }
    }
}

/// Node 1 learns from a cluster of `{2 3}`.
fn learner() -> Desk {
    let node = |id| (NodeId(id), Node::default());
    let mut desk = Desk::empty(|_| {});
    let membership = Arc::new(Membership::new([node(2), node(3)], [node(1)]));
    desk.feed(Event::Initialize { token: Token(0), membership });
    desk.flush();
    desk
}

#[test]
fn trap_23_a_learner_votes_when_asked_and_never_campaigns_by_itself() {
    let mut desk = learner();
    assert_eq!((desk.engine.role_kind(), desk.engine.poll_timeout()), (RoleKind::Learner, None));
    assert_eq!(desk.feed(Event::Timeout), []);
    assert_eq!(desk.engine.role_kind(), RoleKind::Learner);
    desk.receive(2, ask_vote(1, (0, 1)));
    assert_eq!(granted(&desk.flush()), Some(true), "whoever asks may know more than it does");
    desk.receive(2, heartbeat(1, 1, 0));
    desk.receive(3, ask_vote(2, (0, 1)));
    assert_eq!(desk.engine.poll_timeout(), None);
}

/// It is not by itself that it does (`membership.rs`): somebody needs its vote, and cannot have it.
#[test]
fn trap_23_a_learner_that_is_ahead_of_who_asks_for_its_vote_campaigns_and_is_not_counted() {
    let mut desk = learner();
    desk.receive(3, ask_vote(1, (0, 0)));
    assert_eq!((granted(&desk.flush()), desk.engine.role_kind()), (Some(false), RoleKind::PreCandidate));
    let vote = |term: u64, asked: u64| VoteReply { term: Term(term), asked: Term(asked), granted: true };
    desk.receive(3, Message::PreVoteReply(vote(1, 2)));
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate, "one of two voters");
    desk.receive(2, Message::PreVoteReply(vote(1, 2)));
    desk.flush();
    desk.receive(2, Message::RequestVoteReply(vote(2, 2)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Candidate, "its own vote does not count");
    desk.receive(3, Message::RequestVoteReply(vote(2, 2)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn trap_23_who_is_no_voter_any_more_campaigns_only_until_that_is_committed() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let entries = Arc::new([Payload::membership(voters(&[2, 3]))]);
    let batches = vec![Batch::new(LogId::new(1, 2), LogTime(0), entries)];
    let (epoch, request, prev, commit) = (Epoch(1), RequestId(1), LogId::new(0, 1), LogIndex(0));
    desk.receive(2, Message::AppendEntries(AppendEntries { term: Term(1), epoch, request, prev, batches, commit }));
    assert!(desk.engine.poll_timeout().is_some(), "its log may be the one that the others need");
    desk.receive(2, Message::Committed { term: Term(1), commit: LogIndex(2) });
    assert_eq!(said(&desk.elapse(5 * MAX)), "");
    assert_eq!((desk.engine.role_kind(), desk.term()), (RoleKind::Learner, Term(1)));
    // Nor at somebody's request: who asks lacks that entry, and others have it.
    desk.flush();
    desk.receive(2, ask_pre_vote(2, (0, 1)));
    desk.receive(2, ask_vote(2, (0, 1)));
    assert_eq!((granted(&desk.flush()), desk.engine.role_kind()), (Some(false), RoleKind::Learner));
}

#[test]
fn trap_23_only_voters_are_asked_for_votes() {
    let node = |id| (NodeId(id), Node::default());
    let mut desk = Desk::empty(|config| config.pre_vote = false);
    let membership = Arc::new(Membership::new([node(1), node(2)], [node(3)]));
    desk.feed(Event::Initialize { token: Token(0), membership });
    desk.timeout();
    assert_eq!(said(&desk.flush()), "send_vote to [2]: request_vote term 1 last 0/1\n");
    // The vote of a learner is none.
    desk.receive(3, Message::RequestVoteReply(vote(1, 1, true)));
    assert_eq!(desk.engine.role_kind(), RoleKind::Candidate);
}

#[test]
fn trap_23_a_single_voter_leads_again_only_in_a_new_and_durable_term() {
    let mut cluster = Cluster::new(&[1]);
    cluster.elect(1);
    cluster.propose(1, 7, "x");
    cluster.flush(1);
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 1));
    cluster.timeout(1);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 2), "its vote is not durable yet");
    cluster.flush(1);
    cluster.flush(1);
    assert_eq!((cluster.role(1), cluster.applied(1)), (RoleKind::Leader, vec!["x"]));
}

#[test]
fn trap_24_a_leader_that_reaches_one_voter_only_steps_down_however_often_that_one_answers() {
    let mut desk = Desk::followed(&[1, 2, 3, 4, 5]);
    let mut round = 1;
    while desk.engine.role_kind() == RoleKind::Leader {
        assert!(desk.now < Instant(0) + 4 * MAX, "it leads on, heard by one of five");
        round +=
            desk.elapse(HEARTBEAT).iter().filter(|it| matches!(it, Command::BroadcastHeartbeat { .. })).count() as u64;
        desk.beat(2, round, 2, 2);
        // Answers of a past term do not count: those nodes may follow another by now.
        for node in [3, 4, 5] {
            let (epoch, request) = desk.request_to(node);
            let reply =
                AppendEntriesReply { term: Term(0), epoch, request, outcome: AppendOutcome::Matched(LogIndex(2)) };
            desk.receive(node, Message::AppendEntriesReply(reply));
            let stale = HeartbeatReply {
                term: Term(1),
                asked: Term(0),
                round: Round(1),
                received: LogIndex(0),
                matched: LogIndex(0),
            };
            desk.receive(node, Message::HeartbeatReply(stale));
        }
    }
    assert_eq!((desk.engine.role_kind(), desk.engine.leadership()), (RoleKind::Follower, (Term(1), None)));
    assert!(desk.engine.poll_timeout().is_some(), "it may campaign again");
}

#[test]
fn trap_24_a_leader_that_a_quorum_answers_stays() {
    for answers_by_entries in [false, true] {
        let mut desk = Desk::followed(&[1, 2, 3]);
        let mut round = 1;
        for token in 0..50 {
            round += desk.elapse(HEARTBEAT).iter().filter(|it| matches!(it, Command::BroadcastHeartbeat { .. })).count()
                as u64;
            if answers_by_entries {
                desk.propose(100 + token, 1);
                desk.flush();
                desk.matched(3);
            } else {
                desk.beat(3, round, 2, 2);
            }
        }
        assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
    }
}

#[test]
fn trap_24_without_check_quorum_a_leader_stays() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.check_quorum = false);
    desk.elapse(10 * MAX);
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn trap_25_nodes_that_time_out_together_do_not_stay_in_step() {
    let deadlines = |seed| {
        let mut desk = Desk::with(&[1, 2, 3], |config| config.seed = seed);
        (0..20)
            .map(|_| {
                desk.timeout();
                desk.engine.poll_timeout().unwrap().since(desk.now)
            })
            .collect::<Vec<_>>()
    };
    let (one, two) = (deadlines(1), deadlines(2));
    assert!(one.iter().zip(&two).all(|(a, b)| a != b), "{one:?} {two:?}");
    let near = one.iter().zip(&two).filter(|(a, b)| a.abs_diff(**b) < Duration::from_millis(20)).count();
    assert!(near <= 6, "{near} of 20 within 20 ms of each other");
}

#[test]
fn trap_25_a_word_of_the_leader_puts_the_election_off_and_a_higher_term_alone_does_not() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let before = desk.engine.poll_timeout().unwrap();
    desk.now = before - Duration::from_millis(1);
    desk.receive(3, Message::RequestVoteReply(vote(4, 1, false)));
    assert_eq!((desk.term(), desk.engine.poll_timeout()), (Term(4), Some(before)));
    desk.receive(2, heartbeat(4, 1, 0));
    assert!(desk.engine.poll_timeout() >= Some(desk.now + Duration::from_millis(500)));
    // A deposed leader had no election timer; now it has one.
    let mut desk = Desk::leading(&[1, 2, 3]);
    desk.elapse(Duration::from_millis(650));
    desk.receive(3, ask_vote(9, (0, 0)));
    let wait = desk.engine.poll_timeout().unwrap().since(desk.now);
    assert!(wait >= Duration::from_millis(500) && wait < MAX, "{wait:?}");
    desk.timeout();
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate, "and it has no other timer");
}

/// The followers' disks work, the leader's own does not: it can take in less and less, and nobody else may lead.
#[test]
fn trap_44_a_leader_whose_disk_hangs_gives_up_its_leadership() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.stabilize();
    cluster.propose(1, 7, "x");
    for _ in 0..40 {
        cluster.elapse(HEARTBEAT);
        // Nothing of node 1 becomes durable any more.
        while [2, 3].map(|id| cluster.flush(id)).contains(&true) | cluster.deliver(|_| true) {}
    }
    assert_ne!(cluster.role(1), RoleKind::Leader);
    assert!([2, 3].iter().any(|id| cluster.role(*id) == RoleKind::Leader));
}

/// Found on real processes: a leader that was deposed because its disk hangs took in what it could not hand on, and let its callers wait
/// for as long as they would.
#[test]
fn trap_44_who_may_say_nothing_to_its_leader_as_its_disk_hangs_refuses_its_callers() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    let term = desk.term().0 + 1;
    desk.receive(2, heartbeat(term, 1, 0));
    assert_eq!((desk.engine.role_kind(), desk.term()), (RoleKind::Follower, Term(term)), "its term is not durable yet");
    assert_eq!(refusal(&desk.read(5), 5), None, "its leader is asked");
    for round in 2..5 {
        assert_eq!(refusal(&desk.elapse(MAX / 10 * 3), 5), None, "it may only be slow");
        desk.receive(2, heartbeat(term, round, 0));
    }
    let told = desk.elapse(MAX / 10 * 2);
    assert_eq!(refusal(&told, 5), Some(Refusal::DiskHangs), "{told:?}");
    assert_eq!(refusal(&desk.read(6), 6), Some(Refusal::DiskHangs));
    assert_eq!(refusal(&desk.propose(7, 1), 7), Some(Refusal::DiskHangs));
    desk.flush();
    assert_eq!(refusal(&desk.read(8), 8), None, "its disk works again");
    assert_eq!(refusal(&desk.propose(9, 1), 9), None);
}

#[test]
fn trap_44_a_follower_whose_disk_hangs_does_not_campaign() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.stabilize();
    cluster.propose(1, 7, "x");
    for _ in 0..20 {
        cluster.elapse(HEARTBEAT);
        // Nothing of node 3 becomes durable any more.
        while [1, 2].map(|id| cluster.flush(id)).contains(&true) | cluster.deliver(|_| true) {}
    }
    cluster.crash(1);
    let term = cluster.term(3);
    cluster.drop_messages(|_| true);
    for _ in 0..4 {
        cluster.timeout(3);
        assert_eq!((cluster.role(3), cluster.term(3)), (RoleKind::Follower, term), "{}", cluster.trace);
    }
    assert!(cluster.network.iter().all(|envelope| envelope.from.node != NodeId(3)), "it asks nobody");
    // As soon as its disk works again, so does the node.
    while cluster.flush(3) {}
    cluster.timeout(3);
    assert_eq!(cluster.role(3), RoleKind::PreCandidate);
}

/// A disk that was idle for long and has just been given something to do was taken for one that hangs.
#[test]
fn trap_44_a_disk_hangs_only_from_when_it_has_something_to_do() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.priority = 0);
    desk.timeout();
    let deadline = desk.engine.poll_timeout().expect("it campaigns");
    assert!(deadline.since(desk.now) >= MAX, "it lets others go first");
    desk.now = deadline - Duration::from_millis(1);
    let behind = VoteRequest { term: Term(1), last: LogId::ZERO, warrant: Warrant::None };
    desk.receive(2, Message::RequestVote(behind));
    assert_eq!(
        (desk.engine.role_kind(), desk.engine.vote().term),
        (RoleKind::Follower, Term(1)),
        "a vote is not durable yet"
    );
    desk.timeout();
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate);
}

#[test]
fn trap_44_a_campaign_ends_when_the_own_vote_hangs() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.pre_vote = false);
    while desk.engine.role_kind() != RoleKind::Follower || desk.engine.vote().term == Term(0) {
        assert!(desk.engine.vote().term < Term(3), "it campaigns again and again");
        desk.timeout();
    }
    let term = desk.engine.vote().term;
    desk.timeout();
    assert_eq!((desk.engine.role_kind(), desk.engine.vote().term), (RoleKind::Follower, term));
    desk.flush();
    desk.timeout();
    assert_eq!((desk.engine.role_kind(), desk.engine.vote().term), (RoleKind::Candidate, term.next()));
}

#[test]
fn trap_44_a_slow_disk_alone_costs_no_leadership() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    let (mut round, mut behind) = (1, std::collections::VecDeque::new());
    for token in 0..60 {
        desk.propose(100 + token, 1);
        behind.push_back(desk.written);
        // Every write takes 900 ms.
        if behind.len() > 9 {
            desk.feed(Event::LogFlushed { write: behind.pop_front().unwrap() });
        }
        round +=
            desk.elapse(HEARTBEAT).iter().filter(|it| matches!(it, Command::BroadcastHeartbeat { .. })).count() as u64;
        desk.beat(2, round, 2, 2);
    }
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
    // Nor does one that has nothing to do.
    desk.flush();
    for _ in 0..60 {
        round +=
            desk.elapse(HEARTBEAT).iter().filter(|it| matches!(it, Command::BroadcastHeartbeat { .. })).count() as u64;
        desk.beat(2, round, 2, 2);
    }
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn a_quorum_that_was_silent_for_the_whole_of_the_longest_timeout_is_silent() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    let heard = desk.now;
    while desk.now < heard + MAX {
        desk.timeout();
    }
    assert_eq!((desk.now, desk.engine.role_kind()), (heard + MAX, RoleKind::Follower));
}

#[test]
fn a_leader_looks_soon_again_whether_a_quorum_is_there() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.elapse(MAX * 6 / 10);
    desk.beat(2, 1, 2, 2);
    desk.elapse(MAX + HEARTBEAT);
    assert_eq!(desk.engine.role_kind(), RoleKind::Follower);
}

#[test]
fn a_disk_that_has_finished_nothing_for_the_whole_of_the_longest_timeout_hangs() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[1], 0));
    desk.now = desk.now + MAX;
    desk.feed(Event::Timeout);
    assert_eq!(desk.engine.role_kind(), RoleKind::Follower);
}

/// Whoever asks by a leader's own word is heard beside every pledge; an operator's word is less than that.
#[test]
fn who_is_told_by_hand_to_campaign_does_not_ask_in_the_name_of_a_leader() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let mut commands = desk.feed(Event::Elect { token: Token(4), pre_vote: false });
    commands.extend(desk.flush());
    let warrant = commands.iter().find_map(|command| match command {
        Command::SendVote { request, pre_vote: false, .. } => Some(request.warrant),
        _ => None,
    });
    assert_eq!(warrant, Some(Warrant::Operator), "{}", said(&commands));
}

/// In its last life it may have pledged itself to a leader that it never had to vote for.
#[test]
fn a_node_that_was_in_a_term_and_voted_for_nobody_is_pledged_when_it_starts() {
    let elected = |term| {
        let config = EngineConfig { bind_directories: false, ..EngineConfig::new(peer(1, 2), 7) };
        let restored = Restored {
            vote: Vote { term: Term(term), voted_for: None },
            terms: vec![LogId::new(0, 1)],
            last: LogId::new(0, 1),
            memberships: vec![(LogId::new(0, 1), voters(&[1, 2, 3]))],
            ..Restored::default()
        };
        let mut desk = Desk::restored(config, restored);
        said(&desk.feed(Event::Elect { token: Token(4), pre_vote: false }))
    };
    assert!(elected(3).contains("a leader may count on this node not to campaign"), "{}", elected(3));
    assert!(elected(0).contains("save_vote"), "nobody has led it yet: {}", elected(0));
}

#[test]
fn log_time_runs_on_in_a_new_leader_from_what_its_predecessor_said_last() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let batch = Batch::new(LogId::new(1, 2), LogTime(1_000_000), Arc::new([command("late")]));
    let Message::AppendEntries(request) = append(1, (0, 1), &[], 1) else { unreachable!("it is one") };
    desk.receive(2, Message::AppendEntries(AppendEntries { batches: vec![batch], ..request }));
    desk.flush();
    let heard_at = desk.now;
    desk.become_leader();
    let passed = u64::try_from(desk.now.since(heard_at).as_millis()).unwrap();
    assert!(passed >= 500, "an election timeout");
    let proposed = desk.propose(5, 1);
    let stamped = proposed.iter().find_map(|command| match command {
        Command::AppendInputEntries { batches, .. } => batches.first().map(Batch::log_time),
        _ => None,
    });
    assert_eq!(stamped, Some(LogTime(1_000_000 + passed)));
}

#[test]
fn the_last_entry_that_a_leader_has_sent_is_not_rewritten_by_it_either() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(2, (0, 1), &[1, 1], 1));
    let proposed = LogId::new(2, 3);
    let commands = desk.receive(2, append(2, (1, 2), &[2], 1));
    assert_eq!(inconsistency(&commands), Some(Inconsistency::Rewritten { held: LogId::new(1, 3), proposed }));
}
