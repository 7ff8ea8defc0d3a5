//! Every limit: what is beyond it is refused with a clear answer, or sent later, and never queued without bound.

use super::*;

const OVERHEAD: usize = Payload::OVERHEAD_BYTES;

fn overloaded(current: usize, limit: usize) -> Option<Refusal> {
    Some(Refusal::Overloaded { current, limit })
}

/// What is still to be sent to node 2.
fn replicated(commands: &[Command]) -> Vec<(u64, u64)> {
    let to_two = |command: &Command| match command {
        Command::Replicate { target: NodeId(2), prev, last, .. } => Some((prev.index.0, last.index.0)),
        _ => None,
    };
    commands.iter().filter_map(to_two).collect()
}

#[test]
fn entry_bytes_max_bounds_an_entry() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.entry_bytes_max = 10);
    assert_eq!(refusal(&desk.propose(1, 10), 1), None);
    assert_eq!(refusal(&desk.propose(2, 11), 2), Some(Refusal::EntryTooLarge { bytes: 11, limit: 10 }));
    let entries: Arc<[Payload]> = Arc::new([command("x"), command("0123456789a")]);
    let commands = desk.receive(2, Message::Propose { term: Term(1), request: RequestId(9), entries });
    let outcome = Err(Refusal::EntryTooLarge { bytes: 11, limit: 10 });
    assert_eq!(messages(&commands), [&Message::ProposeReply { request: RequestId(9), outcome }]);
    assert_eq!(desk.engine.status().last, LogId::new(1, 3), "all or nothing");
}

#[test]
fn append_bytes_max_is_asked_for_in_every_request() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.append_bytes_max = 77);
    desk.become_leader();
    desk.matched(2);
    let commands = desk.propose(1, 500);
    let sizes: Vec<usize> = commands
        .iter()
        .filter_map(|command| if let Command::Replicate { bytes_max, .. } = command { Some(*bytes_max) } else { None })
        .collect();
    assert_eq!(sizes, [77]);
}

#[test]
fn inflight_requests_max_bounds_the_window() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.inflight_requests_max = 3);
    desk.matched(2);
    let sent: usize = (0..10).map(|token| replicated(&desk.propose(token, 1)).len()).sum();
    assert_eq!(sent, 3);
    let (epoch, request) = desk.request_to(2);
    let reply = |index| {
        let outcome = AppendOutcome::Matched(LogIndex(index));
        Message::AppendEntriesReply(AppendEntriesReply { term: Term(1), epoch, request, outcome })
    };
    assert_eq!(replicated(&desk.receive(2, reply(3))), [(5, 12)], "a place is free: one request for all that waits");
    assert_eq!(replicated(&desk.propose(20, 1)), []);
    assert_eq!(replicated(&desk.receive(2, reply(12))), [(12, 13)]);
}

#[test]
fn inflight_bytes_max_bounds_the_window() {
    // Every request is reported sent with 100 bytes.
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.inflight_bytes_max = 201);
    desk.matched(2);
    let sent: usize = (0..10).map(|token| replicated(&desk.propose(token, 1)).len()).sum();
    assert_eq!(sent, 3, "the third begins below the limit");
    let (epoch, request) = desk.request_to(2);
    let outcome = AppendOutcome::Matched(LogIndex(4));
    let reply = AppendEntriesReply { term: Term(1), epoch, request, outcome };
    assert_eq!(replicated(&desk.receive(2, Message::AppendEntriesReply(reply))), [(5, 12)]);
    // What is lost does not stay counted.
    desk.elapse(HEARTBEAT);
    desk.beat(2, 2, 4, 4);
    assert_eq!(replicated(&desk.elapse(HEARTBEAT)), []);
    let commands = desk.matched(2);
    assert_eq!(replicated(&commands), []);
    let sent: usize = (30..40).map(|token| replicated(&desk.propose(token, 1)).len()).sum();
    assert_eq!(sent, 3);
}

#[test]
fn one_request_at_a_time_leaves_until_the_logs_agree() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    assert_eq!(replicated(&desk.propose(1, 1)), [], "the first probe is under way");
    let (epoch, request) = desk.request_to(2);
    let outcome = AppendOutcome::Conflict { hint: LogId::new(0, 1) };
    let conflict = AppendEntriesReply { term: Term(1), epoch, request, outcome };
    assert_eq!(replicated(&desk.receive(2, Message::AppendEntriesReply(conflict))), [(1, 3)]);
    assert_eq!(replicated(&desk.propose(2, 1)), []);
    // A probe that a later heartbeat overtook without an answer is asked again, and not before.
    assert_eq!(replicated(&desk.beat(2, 1, 0, 0)), []);
    desk.elapse(HEARTBEAT);
    assert_eq!(replicated(&desk.beat(2, 2, 0, 0)), [(1, 4)]);
}

#[test]
fn nothing_is_issued_before_the_last_request_is_reported() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.sends = false;
    let commands = desk.propose(1, 1);
    assert_eq!(replicated(&commands), [(2, 3)]);
    assert_eq!(replicated(&desk.propose(2, 1)), []);
    let Some(Command::Replicate { target, epoch, request, .. }) =
        commands.into_iter().find(|it| matches!(it, Command::Replicate { target: NodeId(2), .. }))
    else {
        panic!("a request to node 2")
    };
    let sent = |request, epoch, last| Event::Sent { target, epoch, request, last: LogIndex(last), bytes: 1 };
    assert_eq!(replicated(&desk.feed(sent(RequestId(request.0 + 1), epoch, 3))), [], "another request");
    assert_eq!(replicated(&desk.feed(sent(request, Epoch(epoch.0 + 9), 3))), [], "another stream");
    assert_eq!(replicated(&desk.feed(sent(request, epoch, 3))), [(3, 4)]);
}

#[test]
fn a_log_that_cannot_deliver_is_asked_again_after_the_next_heartbeat() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.sends = false;
    let commands = desk.propose(1, 1);
    let Some(Command::Replicate { target, epoch, request, .. }) =
        commands.into_iter().find(|it| matches!(it, Command::Replicate { target: NodeId(2), .. }))
    else {
        panic!("a request to node 2")
    };
    assert_eq!(replicated(&desk.feed(Event::ReplicateGone { target, epoch, request })), []);
    assert_eq!(replicated(&desk.propose(2, 1)), [], "not in a busy loop");
    desk.elapse(HEARTBEAT);
    assert_eq!(replicated(&desk.beat(2, 2, 2, 2)), [(2, 4)]);
}

#[test]
fn uncommitted_entries_max_bounds_what_is_not_applied() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.uncommitted_entries_max = 3);
    desk.propose(1, 1);
    desk.propose(2, 1);
    assert_eq!(refusal(&desk.propose(3, 1), 3), overloaded(3, 3), "a blank and two");
    desk.flush();
    desk.matched(2);
    assert_eq!(refusal(&desk.propose(4, 1), 4), overloaded(3, 3), "committed, but not applied");
    desk.feed(Event::Applied { last: LogIndex(3) });
    assert_eq!(refusal(&desk.propose(5, 1), 5), None);
    assert_eq!(refusal(&desk.propose(6, 1), 6), None);
    assert_eq!(refusal(&desk.propose(7, 1), 7), overloaded(3, 3));
    // What is applied already is not applied less when an older report comes late.
    desk.feed(Event::Applied { last: LogIndex(2) });
    assert_eq!(desk.engine.status().applied, LogIndex(3));
}

#[test]
fn uncommitted_entries_max_counts_each_entry_of_a_proposal() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.uncommitted_entries_max = 4);
    let three: Arc<[Payload]> = ["a", "b", "c"].map(command).into();
    desk.feed(Event::Propose { token: Token(1), entries: three, only_in: None });
    assert_eq!(refusal(&desk.propose(2, 1), 2), overloaded(4, 4), "a blank and three");
}

#[test]
fn uncommitted_bytes_max_bounds_what_is_not_applied_and_what_is_larger_passes_alone() {
    let limit = 4 * OVERHEAD;
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.uncommitted_bytes_max = limit);
    assert_eq!(refusal(&desk.propose(1, OVERHEAD), 1), None);
    assert_eq!(refusal(&desk.propose(2, 1), 2), overloaded(3 * OVERHEAD, limit), "one byte too many");
    assert_eq!(refusal(&desk.propose(3, 0), 3), None, "exactly the limit");
    desk.flush();
    desk.matched(2);
    desk.feed(Event::Applied { last: LogIndex(4) });
    assert_eq!(refusal(&desk.propose(4, 9 * OVERHEAD), 4), None, "no limit may refuse it for ever");
    assert_eq!(refusal(&desk.propose(5, 0), 5), overloaded(10 * OVERHEAD, limit));
}

#[test]
fn unflushed_bytes_max_bounds_what_a_leader_hands_to_its_disk() {
    let limit = 4 * OVERHEAD;
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.unflushed_bytes_max = limit);
    for token in 1..=4 {
        assert_eq!(refusal(&desk.propose(token, 0), token), None);
        desk.matched(2);
        desk.matched(3);
        desk.feed(Event::Applied { last: desk.engine.commit_index() });
    }
    assert_eq!(desk.commit(), 6, "the others' disks have it");
    assert_eq!(refusal(&desk.propose(5, 0), 5), overloaded(limit, limit));
    desk.flush();
    assert_eq!(refusal(&desk.propose(6, 0), 6), None);
}

#[test]
fn unflushed_bytes_max_bounds_what_a_follower_hands_to_its_disk() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.unflushed_bytes_max = 4 * OVERHEAD);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    desk.receive(2, append(1, (0, 1), &[1, 1, 1, 1], 0));
    assert!(desk.engine.status().last.index > LogIndex(4), "it takes in what takes it over the limit");
    assert_eq!(desk.receive(2, append(1, (1, 5), &[1], 0)), [], "as if it had been lost");
    assert_eq!(desk.engine.status().last, LogId::new(1, 5));
    desk.flush();
    desk.receive(2, append(1, (1, 5), &[1], 0));
    assert_eq!(desk.engine.status().last, LogId::new(1, 6));
}

#[test]
fn forwards_max_bounds_what_a_follower_has_at_its_leader() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.forwards_max = 3);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    let mut requests = Vec::new();
    for token in 1..=3 {
        let commands = desk.propose(token, 1);
        let [Message::Propose { request, .. }] = messages(&commands)[..] else { panic!("{}", said(&commands)) };
        requests.push(*request);
    }
    assert_eq!(refusal(&desk.propose(4, 1), 4), overloaded(3, 3));
    let reply = Message::ProposeReply { request: requests[1], outcome: Ok(LogId::new(1, 2)) };
    assert_eq!(said(&desk.receive(2, reply)), "accepted #2: first 1/2\n");
    assert_eq!(refusal(&desk.propose(5, 1), 5), None, "one is answered");
    assert_eq!(refusal(&desk.propose(6, 1), 6), overloaded(3, 3));
}

/// What a follower asked its leader.
fn asked(commands: &[Command]) -> RequestId {
    match messages(commands)[..] {
        [Message::ReadIndex { request, .. } | Message::Propose { request, .. }] => *request,
        _ => panic!("{}", said(commands)),
    }
}

#[test]
fn forwards_max_bounds_the_reads_that_wait_on_a_follower() {
    for outcome in [Ok(LogIndex(1)), Err(Refusal::NotLeader)] {
        let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.forwards_max = 3);
        desk.receive(2, append(1, (0, 1), &[], 1));
        desk.flush();
        for round in 0..3 {
            // One is asked for, two wait; whoever is answered, well or not, makes room.
            let mut request = asked(&desk.read(10 * round));
            for token in 10 * round + 1..10 * round + 3 {
                assert_eq!(refusal(&desk.read(token), token), None);
            }
            assert_eq!(refusal(&desk.read(99), 99), overloaded(3, 3));
            for _ in 0..2 {
                let commands = desk.receive(2, Message::ReadIndexReply { request, outcome });
                if !messages(&commands).is_empty() {
                    request = asked(&commands);
                }
            }
        }
    }
}

#[test]
fn uncommitted_bytes_max_bounds_what_a_follower_has_at_its_leader() {
    let limit = 4 * OVERHEAD;
    let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.uncommitted_bytes_max = limit);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    let first = asked(&desk.propose(1, OVERHEAD));
    assert_eq!(refusal(&desk.propose(2, OVERHEAD + 1), 2), overloaded(2 * OVERHEAD, limit));
    let second = asked(&desk.propose(3, OVERHEAD));
    assert_eq!(refusal(&desk.propose(4, 0), 4), overloaded(limit, limit));
    desk.receive(2, Message::ProposeReply { request: first, outcome: Ok(LogId::new(1, 2)) });
    desk.receive(2, Message::ProposeReply { request: second, outcome: Err(Refusal::NotLeader) });
    assert_eq!(refusal(&desk.propose(5, 99 * OVERHEAD), 5), None, "what is larger passes alone");
    assert_eq!(refusal(&desk.propose(6, 0), 6), overloaded(100 * OVERHEAD, limit));
    // What is given up does not stay counted.
    for round in 1..=12 {
        desk.receive(2, heartbeat(1, round, 0));
        desk.elapse(HEARTBEAT);
    }
    assert_eq!(refusal(&desk.propose(7, 0), 7), None);
}

/// Indexes come at once, but the entries up to them do not.
#[test]
fn forwards_max_bounds_the_reads_that_wait_for_their_index_to_be_committed() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.limits.forwards_max = 3);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    let mut told = Vec::new();
    for token in 1..=20 {
        let commands = desk.read(token);
        told.extend(refusal(&commands, token));
        for message in messages(&commands) {
            if let Message::ReadIndex { request, .. } = message {
                desk.receive(2, Message::ReadIndexReply { request: *request, outcome: Ok(LogIndex(9)) });
            }
        }
    }
    assert_eq!(told.len(), 17, "the fourth is one too many: {told:?}");
}

#[test]
fn forwards_max_bounds_the_reads_that_wait_on_a_leader() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.forwards_max = 3);
    let ask = |request| Message::ReadIndex { term: Term(1), request: RequestId(request), proof: Proof::Round };
    desk.read(1);
    desk.receive(3, ask(2));
    desk.read(3);
    assert_eq!(refusal(&desk.read(4), 4), overloaded(3, 3));
    let outcome = Err(Refusal::Overloaded { current: 3, limit: 3 });
    let told = Message::ReadIndexReply { request: RequestId(5), outcome };
    assert_eq!(messages(&desk.receive(3, ask(5))), [&told]);
}

/// Rounds are answered, but the first entry of the term is not: no disk but one works.
#[test]
fn forwards_max_bounds_the_reads_that_are_confirmed_and_wait_for_the_term_to_begin() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.forwards_max = 3);
    let mut told = Vec::new();
    for token in 1..=20 {
        told.extend(refusal(&desk.read(token), token));
        desk.beat(2, 1 + token, 1, 1);
    }
    assert_eq!(told.len(), 17, "the fourth is one too many: {told:?}");
}

#[test]
fn answers_to_heartbeats_that_wait_for_a_hung_disk_do_not_pile_up() {
    let mut desk = Desk::of(&[1, 2, 3]);
    for round in 1..1000 {
        desk.receive(2, heartbeat(2, round, 0));
    }
    // Late ones, of this leadership and of an earlier one, take nothing away.
    desk.receive(2, heartbeat(2, 998, 0));
    desk.receive(2, heartbeat(1, 5000, 0));
    let commands = desk.flush();
    let answered = |message: &Message| match message {
        Message::HeartbeatReply(reply) => Some((reply.asked.0, reply.round.0)),
        _ => None,
    };
    let answers: Vec<_> = messages(&commands).into_iter().filter_map(answered).collect();
    assert!(answers.len() <= 10 && answers.contains(&(2, 999)), "{answers:?}");
}

#[test]
fn a_commit_is_told_to_those_who_can_use_it_and_once() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.propose(1, 1);
    desk.flush();
    let commands = desk.matched(2);
    assert_eq!(said(&commands).matches("replicate_committed to 2: 3\n").count(), 1, "{}", said(&commands));
    assert!(!said(&commands).contains("replicate_committed to 3"), "it has not said that it holds 3");
    assert!(!said(&desk.matched(2)).contains("replicate_committed"));
    assert!(said(&desk.matched(3)).contains("replicate_committed to 3: 3\n"));
}

#[test]
fn settings_that_allow_nothing_are_refused() {
    type Change = fn(&mut EngineConfig);
    let zero: [(&str, Change); 11] = [
        ("heartbeat_interval", |it| it.heartbeat_interval = Duration::ZERO),
        ("election_timeout_min", |it| it.election_timeout_min = Duration::ZERO),
        ("election_timeout_max", |it| it.election_timeout_max = Duration::ZERO),
        ("entry_bytes_max", |it| it.limits.entry_bytes_max = 0),
        ("append_bytes_max", |it| it.limits.append_bytes_max = 0),
        ("inflight_requests_max", |it| it.limits.inflight_requests_max = 0),
        ("inflight_bytes_max", |it| it.limits.inflight_bytes_max = 0),
        ("uncommitted_bytes_max", |it| it.limits.uncommitted_bytes_max = 0),
        ("uncommitted_entries_max", |it| it.limits.uncommitted_entries_max = 0),
        ("unflushed_bytes_max", |it| it.limits.unflushed_bytes_max = 0),
        ("forwards_max", |it| it.limits.forwards_max = 0),
    ];
    for (name, change) in zero {
        let mut config = EngineConfig::new(peer(1, 1), 1);
        config.bind_directories = false;
        change(&mut config);
        assert_eq!(config.validate(), Err(ConfigError::Zero { name }));
    }
}

#[test]
fn a_commit_that_went_with_entries_is_not_told_by_itself() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.limits.inflight_requests_max = 1);
    desk.matched(2);
    desk.matched(3);
    desk.flush();
    desk.propose(7, 1);
    desk.flush();
    desk.propose(8, 1);
    let (epoch, request) = desk.request_to(2);
    let reply = AppendEntriesReply { term: desk.term(), epoch, request, outcome: AppendOutcome::Matched(LogIndex(3)) };
    let mut commands = desk.receive(2, Message::AppendEntriesReply(reply));
    commands.extend(desk.flush());
    commands.extend(desk.feed(Event::Applied { last: LogIndex(1) }));
    let told = |it: &&Command| matches!(it, Command::ReplicateCommitted { target: NodeId(2), .. });
    assert_eq!(desk.commit(), 3);
    assert_eq!(commands.iter().filter(told).count(), 0, "{}", said(&commands));
}
