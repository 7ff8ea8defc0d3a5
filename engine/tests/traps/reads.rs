//! Reads: traps 34 and 38.

use super::*;
use crate::cluster::Cluster;

/// The reads that were handed to the state machine.
fn run(commands: &[Command]) -> Vec<u64> {
    let read = |command: &Command| match command {
        Command::StateMachine(StateMachineRequest::Read { token }) => Some(token.0),
        _ => None,
    };
    commands.iter().filter_map(read).collect()
}

/// What a follower asked its leader.
fn question(commands: &[Command]) -> RequestId {
    match messages(commands)[..] {
        [Message::ReadIndex { request, .. }] => *request,
        ref other => panic!("{other:?}"),
    }
}

fn index(request: RequestId, index: u64) -> Message {
    Message::ReadIndexReply { request, outcome: Ok(LogIndex(index)) }
}

/// Node 1 follows node 2, which leads in term 1; it holds and has committed `1/2`.
fn following() -> Desk {
    following_with(|_| {})
}

fn following_with(change: impl FnOnce(&mut EngineConfig)) -> Desk {
    let mut desk = Desk::with(&[1, 2, 3], change);
    desk.receive(2, append(1, (0, 1), &[1], 2));
    desk.flush();
    desk
}

#[test]
fn trap_34_a_new_leader_serves_no_read_before_an_entry_of_its_term_is_committed() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    desk.read(70);
    let commands = desk.beat(2, 2, 1, 1);
    assert_eq!(run(&commands), [], "confirmed, but what was committed before its term is not known");
    let commands = desk.matched(2);
    assert_eq!(run(&commands), [70]);
    assert!(said(&commands).find("apply ..") < said(&commands).find("read #70"), "{}", said(&commands));
    let (apply, read) = (said(&commands).find("apply").unwrap(), said(&commands).find("read #70").unwrap());
    assert!(apply < read, "behind the entries that it must see");
}

#[test]
fn trap_34_nor_does_it_tell_another_node_a_lower_index() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    desk.receive(3, Message::ReadIndex { term: Term(1), request: RequestId(5), proof: Proof::Round });
    let commands = desk.beat(2, 2, 1, 1);
    assert_eq!(messages(&commands), [&index(RequestId(5), 2)]);
}

#[test]
fn trap_34_reads_and_writes_pass_the_same_gate() {
    // (how the node got there, what it answers to both)
    let mut alone = Desk::of(&[1, 2, 3]);
    let mut pre_candidate = Desk::of(&[1, 2, 3]);
    pre_candidate.timeout();
    let mut candidate = Desk::with(&[1, 2, 3], |config| config.pre_vote = false);
    candidate.timeout();
    let mut deposed = Desk::followed(&[1, 2, 3]);
    deposed.receive(3, ask_vote(9, (0, 0)));
    let mut voter = following();
    voter.receive(3, ask_vote(9, (1, 2)));
    for desk in [&mut alone, &mut pre_candidate, &mut candidate, &mut deposed, &mut voter] {
        assert_eq!(refusal(&desk.read(70), 70), Some(Refusal::NoLeader));
        assert_eq!(refusal(&desk.propose(71, 1), 71), Some(Refusal::NoLeader));
        let asked =
            desk.receive(2, Message::ReadIndex { term: desk.term(), request: RequestId(5), proof: Proof::Round });
        let proposed = Message::Propose { term: desk.term(), request: RequestId(6), entries: Arc::new([command("x")]) };
        let proposed = desk.receive(2, proposed);
        let (read, write) = (RequestId(5), RequestId(6));
        let refused = Refusal::NotLeader;
        assert_eq!(messages(&asked), [&Message::ReadIndexReply { request: read, outcome: Err(refused) }]);
        assert_eq!(messages(&proposed), [&Message::ProposeReply { request: write, outcome: Err(refused) }]);
    }
}

#[test]
fn trap_34_questions_of_another_term_are_not_answered_by_this_ones_leader() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.receive(3, ask_vote(4, (0, 0)));
    desk.become_leader();
    assert_eq!(desk.term(), Term(5));
    let asked = desk.receive(2, Message::ReadIndex { term: Term(1), request: RequestId(5), proof: Proof::Round });
    let refused = Refusal::NotLeader;
    assert_eq!(messages(&asked), [&Message::ReadIndexReply { request: RequestId(5), outcome: Err(refused) }]);
    let entries: Arc<[Payload]> = Arc::new([command("x")]);
    let proposed = desk.receive(2, Message::Propose { term: Term(1), request: RequestId(6), entries });
    assert_eq!(messages(&proposed), [&Message::ProposeReply { request: RequestId(6), outcome: Err(refused) }]);
    assert_eq!(desk.engine.status().last, LogId::new(5, 3));
}

#[test]
fn trap_34_a_read_is_confirmed_only_by_a_round_that_began_after_it() {
    let mut desk = Desk::followed(&[1, 2, 3, 4, 5]);
    let beats = desk.elapse(HEARTBEAT);
    assert!(said(&beats).contains("round 2"));
    desk.read(70);
    desk.read(71);
    assert_eq!(run(&desk.beat(2, 2, 2, 2)), []);
    assert_eq!(run(&desk.beat(3, 2, 2, 2)), [], "a quorum, but of a round that had begun before");
    assert_eq!(run(&desk.beat(2, 3, 2, 2)), []);
    assert_eq!(run(&desk.beat(2, 3, 2, 2)), [], "the same node twice");
    let commands = desk.beat(4, 3, 2, 2);
    assert_eq!(run(&commands), [70], "#71 came when round 3 was under way: it needs the next one");
    assert!(said(&commands).contains("round 4"), "{}", said(&commands));
    assert_eq!(run(&desk.beat(4, 3, 2, 2)), []);
    desk.beat(4, 4, 2, 2);
    assert_eq!(run(&desk.beat(2, 2, 2, 2)), [], "an old answer that comes late");
    assert_eq!(run(&desk.beat(5, 4, 2, 2)), [71]);
}

#[test]
fn trap_34_answers_of_an_earlier_leadership_confirm_nothing() {
    // The story of found.rs with all its delays: the answer to a heartbeat of term 1 is given in term 3, and arrives when
    // node 1 has lost its leadership of term 3 without knowing it.
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    while !cluster.trace.contains("round 6") {
        cluster.stabilize();
        cluster.elapse(HEARTBEAT);
    }
    let late = cluster.network.iter().rev().find(|it| it.to == 2).unwrap().message.clone();
    cluster.stabilize();
    cluster.elect(2);
    cluster.elect(1);
    cluster.network.clear();
    cluster.receive(2, 1, late);
    cluster.flush(2);
    let answer = cluster.network.pop_back();
    cluster.cut = vec![1];
    for _ in 0..4 {
        cluster.now = cluster.now + HEARTBEAT;
        cluster.handle(1, Event::Timeout);
    }
    cluster.elect(2);
    cluster.propose(2, 99, "new");
    cluster.stabilize();
    assert_eq!((cluster.applied(2), cluster.role(1)), (vec!["new"], RoleKind::Leader));
    cluster.read(1, 50);
    if let Some(answer) = answer {
        cluster.handle(1, Event::Received { from: answer.from, message: Some(answer.message) });
    }
    assert!(!cluster.node(1).answers.iter().any(|it| it.contains("read #50 sees")), "it would not see \"new\"");
}

#[test]
fn trap_38_an_answer_counts_for_its_own_question_only() {
    let mut desk = following();
    let first = question(&desk.read(80));
    desk.read(81);
    assert_eq!(run(&desk.receive(2, index(RequestId(first.0 + 9), 2))), []);
    assert_eq!(run(&desk.receive(2, index(RequestId(first.0 - 1), 2))), []);
    // #81 came after the question had left: the answer may be older than the read.
    let commands = desk.receive(2, index(first, 2));
    assert_eq!(run(&commands), [80]);
    let second = question(&commands);
    assert_eq!(run(&desk.receive(2, index(first, 2))), [], "the same answer twice");
    assert_eq!(run(&desk.receive(2, index(second, 2))), [81]);
}

#[test]
fn trap_38_an_answer_of_an_earlier_leader_counts_for_nothing() {
    let mut desk = following();
    let first = question(&desk.read(80));
    desk.receive(3, append(2, (1, 2), &[], 0));
    desk.flush();
    let second = question(&desk.read(81));
    assert_ne!(first, second);
    assert_eq!(run(&desk.receive(2, index(first, 2))), []);
    assert_eq!(run(&desk.receive(3, index(second, 2))), [81]);
}

#[test]
fn trap_38_a_read_on_a_follower_waits_for_its_index() {
    let mut desk = following();
    let asked = question(&desk.read(80));
    assert_eq!(run(&desk.receive(2, index(asked, 4))), [], "it has committed no more than 2");
    assert_eq!(run(&desk.receive(2, append(1, (1, 2), &[1, 1], 3))), []);
    let commands = desk.receive(2, heartbeat(1, 9, 4));
    assert_eq!(run(&commands), [80]);
    assert!(said(&commands).find("apply").unwrap() < said(&commands).find("read #80").unwrap());
}

#[test]
fn trap_38_a_lost_question_is_repeated_until_it_is_answered_and_nobody_is_forgotten() {
    let mut desk = following();
    desk.read(80);
    desk.read(81);
    let mut asked = Vec::new();
    for round in 1..=30 {
        asked.extend(messages(&desk.elapse(HEARTBEAT)).into_iter().cloned());
        desk.receive(2, heartbeat(1, round, 2));
    }
    assert!((25..=35).contains(&asked.len()), "{} questions in 30 heartbeats", asked.len());
    let Some(Message::ReadIndex { request, term: Term(1), proof: Proof::Round }) = asked.last() else {
        panic!("{asked:?}")
    };
    let mut done = run(&desk.receive(2, index(*request, 2)));
    while let Some(Message::ReadIndex { request, .. }) = messages(&desk.elapse(HEARTBEAT)).last() {
        done.extend(run(&desk.receive(2, index(*request, 2))));
    }
    done.sort_unstable();
    assert_eq!(done, [80, 81]);
    assert!(!said(&desk.elapse(2 * HEARTBEAT)).contains("read_index"), "and then it asks no more");
}

/// One timer serves both: what is due of the one is not of the other.
#[test]
fn trap_38_a_question_is_not_repeated_because_a_write_is_given_up() {
    let mut desk = following();
    desk.propose(60, 1);
    for round in 1..=19 {
        desk.receive(2, heartbeat(1, round, 2));
        desk.elapse(HEARTBEAT / 2);
    }
    desk.read(80);
    let commands = desk.elapse(HEARTBEAT - Duration::from_nanos(1));
    assert_eq!(refusal(&commands, 60), Some(Refusal::Unknown));
    assert!(!said(&commands).contains("read_index"), "{}", said(&commands));
    assert!(said(&desk.elapse(Duration::from_nanos(1))).contains("read_index"));
}

/// A leader that needs longer than a heartbeat interval to answer: two round trips of 60 ms each.
#[test]
fn trap_38_reads_on_a_follower_end_however_slow_the_network_is() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.read(2, 80);
    let mut wire = Vec::new();
    for _ in 0..2000 {
        wire.extend(cluster.network.drain(..).map(|envelope| (cluster.now + Duration::from_millis(30), envelope)));
        cluster.elapse(Duration::from_millis(1));
        let now = cluster.now;
        let due = wire.iter().take_while(|(at, _)| *at <= now).count();
        for (_, envelope) in wire.drain(..due).collect::<Vec<_>>() {
            cluster.handle(envelope.to, Event::Received { from: envelope.from, message: Some(envelope.message) });
        }
    }
    assert_eq!((cluster.term(2), cluster.role(1)), (1, RoleKind::Leader));
    assert!(cluster.node(2).answers.contains(&"read #80 sees 2".to_string()), "{:?}", cluster.node(2).answers);
}

/// Nobody writes any more; a follower that starts again, or that asked for votes in vain, must find out by itself how much is
/// committed.
#[test]
fn reads_work_on_a_follower_that_comes_back_to_an_idle_cluster() {
    for restarts in [true, false] {
        let mut cluster = Cluster::new(&[1, 2, 3]);
        cluster.elect(1);
        cluster.propose(1, 7, "x");
        if restarts {
            cluster.stabilize();
            cluster.elapse(HEARTBEAT);
            cluster.stabilize();
            cluster.crash(2);
            cluster.restart(2);
        } else {
            // What is committed does not reach node 2, then it hears nothing and asks for pre-votes.
            while cluster.commit(1) < 3 {
                assert!([1, 2, 3].map(|id| cluster.flush(id)).contains(&true) | cluster.deliver(|_| true));
            }
            cluster.network.clear();
            cluster.now = cluster.engine(2).poll_timeout().unwrap();
            cluster.handle(2, Event::Timeout);
            cluster.network.clear();
            assert_eq!(cluster.role(2), RoleKind::PreCandidate);
        }
        for _ in 0..5 {
            cluster.elapse(HEARTBEAT);
            cluster.stabilize();
        }
        assert_eq!((cluster.role(1), cluster.term(1), cluster.commit(2)), (RoleKind::Leader, 1, 3));
        cluster.read(2, 80);
        cluster.stabilize();
        assert!(cluster.node(2).answers.contains(&"read #80 sees 3".to_string()), "{:?}", cluster.node(2).answers);
    }
}

/// Else a follower would answer with a state from before what the leader has told others to be committed.
#[test]
fn a_follower_is_told_to_wait_for_all_that_its_leader_has_committed_when_it_asked() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.propose(5, 3);
    desk.flush();
    desk.matched(2);
    assert_eq!((desk.engine.status().last, desk.commit()), (LogId::new(1, 3), 3), "one behind the leader's own entry");
    let request = RequestId(9);
    let commands = desk.receive(2, Message::ReadIndex { term: desk.term(), request, proof: Proof::Round });
    let round = commands.iter().find_map(|command| match command {
        Command::BroadcastHeartbeat { heartbeat, .. } => Some(heartbeat.round.0),
        _ => None,
    });
    let commands = desk.beat(2, round.expect("it asks who follows it"), 3, 3);
    let told = Message::ReadIndexReply { request, outcome: Ok(LogIndex(3)) };
    assert!(messages(&commands).contains(&&told), "{}", said(&commands));
}

/// A write that waits has more time than a question.
#[test]
fn trap_38_a_lost_question_is_repeated_as_soon_beside_a_write_that_waits_for_its_answer() {
    let mut desk = following();
    desk.propose(5, 3);
    let asked = question(&desk.read(6));
    let again = desk.elapse(HEARTBEAT);
    assert_eq!(question(&again), asked, "{}", said(&again));
}
