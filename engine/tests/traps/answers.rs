//! Everyone who waits is answered: trap 35, every kind of refusal, and halting.

use super::*;

/// Node 1 follows node 2 in term 1, with a write and reads on their way: #60 is handed to the leader, #80 asked for, #81
/// waits for the next question, #79 has its index and waits for it to be committed.
fn waiting_follower() -> Desk {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[1], 2));
    desk.flush();
    let asked = desk.read(79);
    let Some(Message::ReadIndex { request, .. }) = messages(&asked).into_iter().next() else { panic!("{asked:?}") };
    desk.receive(2, Message::ReadIndexReply { request: *request, outcome: Ok(LogIndex(9)) });
    desk.read(80);
    desk.read(81);
    desk.propose(60, 1);
    desk
}

/// Node 1 leads in term 1, with a write and reads under way: #60 is in its log, #80 waits for its round, #79 is confirmed and
/// waits for the first entry of the term, node 3 waits for an index.
fn waiting_leader() -> Desk {
    let mut desk = Desk::leading(&[1, 2, 3]);
    desk.propose(60, 1);
    desk.read(79);
    desk.beat(2, 2, 1, 1);
    desk.read(80);
    desk.receive(3, Message::ReadIndex { term: Term(1), request: RequestId(5), proof: Proof::Round });
    desk
}

fn refused(commands: &[Command]) -> Vec<(u64, Refusal)> {
    let refused = |command: &Command| match command {
        Command::Refused { token, refusal } => Some((token.0, *refusal)),
        _ => None,
    };
    let mut all: Vec<_> = commands.iter().filter_map(refused).collect();
    all.sort_unstable_by_key(|(token, _)| *token);
    all
}

const LOST: Refusal = Refusal::LeadershipLost;

#[test]
fn trap_35_a_follower_that_loses_its_leader_answers_everyone() {
    let ways: [fn(&mut Desk) -> Vec<Command>; 3] = [
        |desk| desk.receive(3, heartbeat(2, 1, 0)),
        |desk| desk.receive(3, append(2, (1, 2), &[], 0)),
        |desk| {
            // The leader is silent for a whole timeout.
            let mut commands = Vec::new();
            while desk.engine.role_kind() == RoleKind::Follower {
                commands.extend(desk.timeout());
            }
            commands
        },
    ];
    for way in ways {
        let mut desk = waiting_follower();
        let commands = way(&mut desk);
        assert_eq!(refused(&commands), [(60, Refusal::Unknown), (79, LOST), (80, LOST), (81, LOST)]);
        assert!(said(&commands).contains("abandoned from 3\n"), "{}", said(&commands));
        // Late answers of the old leader reach nobody.
        for request in 0..20 {
            let request = RequestId((1 << 32) + request);
            let first = Ok(LogId::new(1, 9));
            assert!(!said(&desk.receive(2, Message::ProposeReply { request, outcome: first })).contains('#'));
        }
    }
}

#[test]
fn trap_35_a_leader_that_loses_its_leadership_answers_everyone() {
    let ways: [fn(&mut Desk) -> Vec<Command>; 2] =
        [|desk| desk.receive(3, ask_vote(2, (9, 9))), |desk| desk.elapse(3 * MAX)];
    for way in ways {
        let mut desk = waiting_leader();
        let commands = way(&mut desk);
        assert_ne!(desk.engine.role_kind(), RoleKind::Leader);
        assert_eq!(refused(&commands), [(79, LOST), (80, LOST)]);
        let told = Message::ReadIndexReply { request: RequestId(5), outcome: Err(LOST) };
        assert!(messages(&commands).contains(&&told), "{}", said(&commands));
        assert!(said(&commands).contains("abandoned from 1\n"), "{}", said(&commands));
        assert!(said(&commands).contains("rebuild_replication_streams to []\n"), "{}", said(&commands));
        // The streams are over: what is reported of them says nothing, and nothing more is sent.
        let (epoch, request) = desk.request_to(2);
        let (target, last) = (NodeId(2), LogIndex(2));
        assert_eq!(desk.feed(Event::Sent { target, epoch, request, last, bytes: 1 }), []);
        assert_eq!(desk.feed(Event::ReplicateGone { target, epoch, request }), []);
        assert_eq!(said(&desk.elapse(3 * HEARTBEAT)).matches("broadcast_heartbeat").count(), 0);
    }
}

#[test]
fn trap_35_a_write_that_the_leader_never_answers_for_ends_as_unknown() {
    let mut desk = waiting_follower();
    let begin = desk.now;
    let mut commands = Vec::new();
    for round in 1..30 {
        desk.receive(2, heartbeat(1, round, 2));
        commands.extend(desk.elapse(Duration::from_millis(50)));
        let told = refusal(&commands, 60);
        assert_eq!(told.is_some(), desk.now >= begin + MAX, "{told:?} after {:?}", desk.now.since(begin));
    }
    assert_eq!(refused(&commands), [(60, Refusal::Unknown)]);
    assert_eq!(desk.engine.role_kind(), RoleKind::Follower);
    // #61 has its own deadline.
    desk.propose(61, 1);
    desk.receive(2, heartbeat(1, 31, 2));
    assert_eq!(refused(&desk.elapse(Duration::from_millis(300))), []);
}

#[test]
fn trap_35_each_of_several_writes_that_the_leader_never_answers_for_ends_at_its_own_time() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[1], 2));
    desk.flush();
    let begin = desk.now;
    desk.propose(60, 1);
    desk.elapse(MAX / 5);
    desk.propose(61, 1);
    let mut ended = Vec::new();
    for round in 1..15 {
        desk.receive(2, heartbeat(1, round, 2));
        let commands = desk.elapse(MAX / 10);
        ended.extend(refused(&commands).into_iter().map(|(token, why)| (token, why, desk.now.since(begin))));
    }
    assert_eq!(ended, [(60, Refusal::Unknown, MAX), (61, Refusal::Unknown, MAX + MAX / 5)]);
}

#[test]
fn trap_35_the_leaders_answers_reach_who_asked() {
    let mut desk = waiting_follower();
    let proposed = desk.propose(61, 1);
    let Some(Message::Propose { request: second, .. }) = messages(&proposed).into_iter().next() else { panic!() };
    let refusing = |refusal| Message::ProposeReply { request: *second, outcome: Err(refusal) };
    let overloaded = Refusal::Overloaded { current: 5, limit: 5 };
    assert_eq!(refused(&desk.receive(2, refusing(overloaded))), [(61, overloaded)]);
    assert_eq!(refused(&desk.receive(2, refusing(overloaded))), [], "once");
    let first = RequestId(second.0 - 1);
    let commands = desk.receive(2, Message::ProposeReply { request: first, outcome: Ok(LogId::new(1, 3)) });
    assert_eq!(said(&commands), "accepted #60: first 1/3\n");
    // A question that the leader refuses is refused here; those who wait go on with the next one.
    let request = RequestId(first.0 - 1);
    let commands = desk.receive(2, Message::ReadIndexReply { request, outcome: Err(Refusal::NotLeader) });
    assert_eq!(refused(&commands), [(80, Refusal::NotLeader)]);
    assert!(said(&commands).contains("read_index term 1"), "{}", said(&commands));
}

#[test]
fn a_forwarded_proposal_is_taken_in_once() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    let propose = |request, entries: &[&Payload]| {
        let (term, request) = (Term(1), RequestId(request));
        let entries = entries.iter().map(|entry| (*entry).clone()).collect();
        Message::Propose { term, request, entries }
    };
    let (one, other) = (command("one"), command("other"));
    let commands = desk.receive(2, propose(8, &[&one]));
    let told = Message::ProposeReply { request: RequestId(8), outcome: Ok(LogId::new(1, 3)) };
    assert_eq!(messages(&commands), [&told]);
    for late in [propose(8, &[&one]), propose(7, &[&other])] {
        assert_eq!(desk.receive(2, late), [], "a copy, or one that was overtaken");
    }
    let commands = desk.receive(3, propose(7, &[&other, &one]));
    let told = Message::ProposeReply { request: RequestId(7), outcome: Ok(LogId::new(1, 4)) };
    assert_eq!(messages(&commands), [&told], "another node counts for itself");
    assert_eq!(desk.engine.status().last, LogId::new(1, 5));
    // What no client may propose is not taken from a peer either.
    for foul in [propose(20, &[]), propose(21, &[&Payload::membership(voters(&[2]))])] {
        desk.receive(2, foul);
        assert_eq!(desk.engine.status().last, LogId::new(1, 5));
    }
}

/// What an earlier life of a leader may have taken in is not refused as if that were certain.
#[test]
fn a_late_proposal_for_a_term_of_an_earlier_life_has_an_unknown_outcome() {
    let outcome = |voted_for: u64, term: u64| {
        let vote = Vote { term: Term(3), voted_for: Some(NodeId(voted_for)) };
        let restored = Restored { vote, ..Restored::default() };
        let mut desk =
            Desk::restored(EngineConfig { bind_directories: false, ..EngineConfig::new(peer(1, 2), 7) }, restored);
        let entries: Arc<[Payload]> = Arc::new([command("x")]);
        let commands = desk.receive(2, Message::Propose { term: Term(term), request: RequestId(5), entries });
        match messages(&commands)[..] {
            [Message::ProposeReply { outcome, .. }] => outcome.unwrap_err(),
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!((outcome(1, 2), outcome(1, 3), outcome(1, 4)), (Refusal::Unknown, Refusal::Unknown, Refusal::NotLeader));
    assert_eq!((outcome(2, 2), outcome(2, 3)), (Refusal::Unknown, Refusal::NotLeader), "node 2 had its vote in term 3");
}

#[test]
fn a_leaders_answer_that_its_own_entries_overtook_is_unknown() {
    let mut desk = waiting_follower();
    let commands = desk.propose(61, 1);
    let [Message::Propose { request, .. }] = messages(&commands)[..] else { panic!("{}", said(&commands)) };
    let request = *request;
    desk.receive(2, append(1, (1, 2), &[1], 3));
    assert_eq!(desk.commit(), 3);
    let commands = desk.receive(2, Message::ProposeReply { request, outcome: Ok(LogId::new(1, 3)) });
    assert_eq!(refused(&commands), [(61, Refusal::Unknown)], "its result has passed by");
}

#[test]
fn initialize_makes_the_same_first_entry_everywhere_and_only_once() {
    let first = |id| {
        let mut desk = Desk::restored(
            EngineConfig { bind_directories: false, ..EngineConfig::new(peer(id, 1), id) },
            Restored::default(),
        );
        let commands = desk.feed(Event::Initialize { token: Token(9), membership: voters(&[3, 1, 2]) });
        let [Command::AppendInputEntries { batches, .. }, Command::Accepted { token, first }, ..] = &commands[..]
        else {
            panic!("{}", said(&commands))
        };
        assert_eq!((*token, *first), (Token(9), LogId::new(0, 1)));
        let again = desk.feed(Event::Initialize { token: Token(10), membership: voters(&[1]) });
        assert_eq!(refused(&again), [(10, Refusal::AlreadyInitialized)]);
        assert_eq!(*desk.engine.status().membership, *voters(&[1, 2, 3]));
        batches.clone()
    };
    assert_eq!(first(1), first(2));
    assert_eq!(first(2), first(3));
}

#[test]
fn initialize_without_a_voter_is_refused_and_may_be_tried_again() {
    let mut desk = Desk::empty(|_| {});
    let learners = Membership::new([], [(NodeId(1), Node::default())]);
    let commands = desk.feed(Event::Initialize { token: Token(1), membership: Arc::new(learners) });
    assert_eq!(said(&commands), format!("refused #1: {}\n", Refusal::NoVoters));
    let commands = desk.feed(Event::Initialize { token: Token(2), membership: voters(&[1]) });
    assert!(said(&commands).contains("accepted #2: first 0/1"));
}

/// It has no cluster yet that it could do harm to: that it halted for good told nobody what to do.
#[test]
fn initialize_with_a_version_that_the_node_does_not_speak_is_refused_and_may_be_tried_again() {
    let mut desk = Desk::empty(|config| config.node.version = Version::FIRST);
    let newer = Event::Initialize { token: Token(1), membership: voters(&[1]) };
    let commands = desk.feed(newer);
    let refusal = Refusal::VersionNotSpoken { cluster: Version::LATEST, spoken: Version::FIRST };
    assert_eq!(said(&commands), format!("refused #1: {refusal}\n"));
    let text = refusal.to_string();
    assert!(text.contains("begin with version 2") && text.contains("speaks no more than 1"), "{text}");
    assert!(
        text.contains("begin with members of version 1, or start the node in a build that speaks version 2"),
        "{text}"
    );
    assert_eq!(
        (desk.engine.role_kind(), desk.engine.last_log_id()),
        (RoleKind::Learner, LogId::ZERO),
        "it stays up, and empty"
    );
    let first = Membership::new([(NodeId(1), Node::default())], []);
    let commands = desk.feed(Event::Initialize { token: Token(2), membership: Arc::new(first) });
    assert!(said(&commands).contains("accepted #2: first 0/1"), "{}", said(&commands));
    desk.flush();
    desk.become_leader();
}

#[test]
fn a_node_that_received_a_log_is_initialized() {
    let mut desk = Desk::empty(|_| {});
    desk.receive(2, append(1, (0, 0), &[1], 0));
    let commands = desk.feed(Event::Initialize { token: Token(1), membership: voters(&[1]) });
    assert_eq!(refused(&commands), [(1, Refusal::AlreadyInitialized)]);
}

#[test]
fn a_halted_node_has_answered_everyone_and_refuses_whoever_comes() {
    let storage = Event::StorageFailed { reason: "no space left".into() };
    let state_machine = Event::StateMachineFailed { at: LogIndex(2), reason: "a panic".into() };
    for failure in [storage, state_machine] {
        let mut follower = waiting_follower();
        let commands = follower.feed(failure.clone());
        assert_eq!(refused(&commands), [(60, Refusal::Unknown), (79, LOST), (80, LOST), (81, LOST)]);
        let mut leader = waiting_leader();
        let commands = leader.feed(failure.clone());
        assert_eq!(refused(&commands), [(79, LOST), (80, LOST)]);
        let told = Message::ReadIndexReply { request: RequestId(5), outcome: Err(LOST) };
        assert!(messages(&commands).contains(&&told), "{}", said(&commands));
        let fault = match &failure {
            Event::StorageFailed { reason } => Fault::Storage { reason: reason.clone() },
            _ => Fault::StateMachine { at: LogIndex(2), reason: "a panic".into() },
        };
        assert_eq!(commands.last(), Some(&Command::Halt { fault }), "the last word");
        for desk in [&mut follower, &mut leader] {
            assert_eq!((desk.engine.role_kind(), desk.engine.poll_timeout()), (RoleKind::Halted, None));
            assert_eq!(desk.engine.leadership().1, None);
            assert_eq!(refused(&desk.propose(1, 1)), [(1, Refusal::Halted)]);
            assert_eq!(refused(&desk.read(2)), [(2, Refusal::Halted)]);
            let commands = desk.feed(Event::Initialize { token: Token(3), membership: voters(&[1]) });
            assert_eq!(refused(&commands), [(3, Refusal::Halted)]);
            for event in [failure.clone(), Event::Timeout, Event::Applied { last: LogIndex(1) }] {
                assert_eq!(desk.feed(event), [], "nothing more comes from it");
            }
            assert_eq!(desk.receive(2, heartbeat(7, 1, 0)), []);
        }
    }
}

#[test]
fn a_halted_node_abandons_whatever_is_not_applied() {
    // On a leader, #60 is committed and not applied when the state machine fails.
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.feed(Event::Applied { last: LogIndex(2) });
    desk.propose(60, 1);
    desk.flush();
    desk.matched(2);
    assert_eq!(desk.commit(), 3);
    let commands = desk.feed(Event::StateMachineFailed { at: LogIndex(3), reason: "a panic".into() });
    assert!(said(&commands).contains("abandoned from 3\n"), "{}", said(&commands));
    // Whoever waits for the first entry of all is told too, though no leader was ever heard of.
    let mut desk = Desk::empty(|_| {});
    desk.feed(Event::Initialize { token: Token(1), membership: voters(&[1, 2]) });
    let commands = desk.feed(Event::StorageFailed { reason: "no space left".into() });
    assert!(said(&commands).contains("abandoned from 1\n"), "{}", said(&commands));
}

#[test]
fn only_an_unknown_outcome_is_uncertain() {
    let numbers = (Refusal::Overloaded { current: 1, limit: 1 }, Refusal::EntryTooLarge { bytes: 2, limit: 1 });
    let certain = [
        Refusal::NoLeader,
        Refusal::NotLeader,
        Refusal::LeadershipLost,
        numbers.0,
        numbers.1,
        Refusal::AlreadyInitialized,
        Refusal::NoVoters,
        Refusal::Halted,
    ];
    assert!(certain.iter().all(|refusal| refusal.is_certain()) && !Refusal::Unknown.is_certain());
}

#[test]
fn before_a_life_has_heard_a_leader_another_directory_may_have_led_under_its_id_in_any_term() {
    let mut desk = Desk::with(&[1, 2, 3], |config| config.bind_directories = true);
    let proposal = Message::Propose { term: Term(1), request: RequestId(1), entries: Arc::new([command("x")]) };
    let commands = desk.receive(2, proposal);
    let outcome = messages(&commands).into_iter().find_map(|message| match message {
        Message::ProposeReply { outcome, .. } => Some(*outcome),
        _ => None,
    });
    assert_eq!(outcome, Some(Err(Refusal::Unknown)));
}
