//! Who is listened to (trap 45), and every way in which a message can contradict what Raft guarantees.

use super::*;

fn life(id: u64, start: u64, nonce: u64) -> Peer {
    Peer::new(NodeId(2), Incarnation { id, start, nonce })
}

fn hear(desk: &mut Desk, from: Peer) -> Vec<Command> {
    desk.feed(Event::Received { from, message: Some(ask_vote(5, (9, 9))) })
}

#[test]
fn trap_45_a_wiped_a_copied_and_a_doubled_node_are_turned_away() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let commands = desk.feed(Event::Received { from: life(7, 3, 40), message: None });
    assert!(said(&commands).starts_with("save_peer w2: node 2"), "{}", said(&commands));
    let refused = [
        (life(8, 1, 1), PeerRefusal::OtherIncarnation { met: life(7, 3, 40).incarnation }),
        (life(8, 9, 1), PeerRefusal::OtherIncarnation { met: life(7, 3, 40).incarnation }),
        (life(7, 2, 40), PeerRefusal::EarlierStart { met: life(7, 3, 40).incarnation }),
        (life(7, 3, 41), PeerRefusal::SecondCopy { met: life(7, 3, 40).incarnation }),
        (Peer { node: NodeId(1), ..life(7, 3, 40) }, PeerRefusal::OwnId),
    ];
    for (from, reason) in refused {
        assert_eq!(hear(&mut desk, from), [Command::RefusePeer { peer: from, reason }]);
        assert_eq!(desk.term(), Term(0), "not a word of it was heard");
    }
    let commands = desk.feed(Event::Received { from: life(7, 3, 40), message: None });
    assert_eq!(commands, [], "known already");
    hear(&mut desk, life(7, 4, 1));
    assert_eq!(desk.term(), Term(5), "its next start is welcome");
    assert_eq!(
        turned_away(&hear(&mut desk, life(7, 3, 40))),
        Some(PeerRefusal::EarlierStart { met: life(7, 4, 1).incarnation })
    );
}

/// Who knows no members yet cannot tell who is one: strangers must not fill its memory.
#[test]
fn so_many_are_remembered_by_who_knows_no_members_and_those_are_heard_on() {
    let mut desk = Desk::empty(|_| {});
    let called = |desk: &mut Desk, node| desk.feed(Event::Received { from: peer(node, 1), message: None });
    (2..2 + 4096).for_each(|node| assert_eq!(turned_away(&called(&mut desk, node)), None));
    let refused = turned_away(&called(&mut desk, 9999));
    assert!(matches!(refused, Some(PeerRefusal::TooMany { limit: 4096 })), "{refused:?}");
    assert_eq!(called(&mut desk, 2), [], "it is known");
}

#[test]
fn trap_45_whom_a_node_has_met_it_knows_after_a_restart() {
    let peers = [(NodeId(2), Incarnation { id: 7, start: 3, nonce: 40 })].into();
    let restored = Restored { peers, ..Restored::default() };
    let mut desk = Desk::restored(EngineConfig::new(peer(1, 2), 7), restored);
    assert_eq!(
        turned_away(&hear(&mut desk, life(8, 1, 1))),
        Some(PeerRefusal::OtherIncarnation { met: life(7, 3, 40).incarnation })
    );
    assert_eq!(
        turned_away(&hear(&mut desk, life(7, 2, 40))),
        Some(PeerRefusal::EarlierStart { met: life(7, 3, 40).incarnation })
    );
    assert_eq!(
        turned_away(&hear(&mut desk, life(7, 3, 1))),
        Some(PeerRefusal::SecondCopy { met: life(7, 3, 40).incarnation })
    );
    assert_eq!(turned_away(&hear(&mut desk, life(7, 3, 40))), None);
}

/// Node 1 of three, in its fourth start, which has met node 2 in its third.
fn fourth_start() -> Desk {
    let own = Peer::new(NodeId(1), Incarnation { id: 9, start: 4, nonce: 5 });
    let mut desk = Desk::restored(EngineConfig::new(own, 7), Restored::default());
    desk.feed(Event::Initialize { token: Token(0), membership: voters(&[1, 2, 3]) });
    desk.feed(Event::Received { from: life(7, 3, 40), message: None });
    desk.flush();
    desk
}

fn refused(by: Peer, met: Option<(u64, u64, u64)>) -> Event {
    let met = met.map(|(id, start, nonce)| Incarnation { id, start, nonce });
    Event::Refused { by, met, reason: "because".into() }
}

#[test]
fn trap_45_a_node_that_lacks_what_it_may_have_acknowledged_is_marked_and_stops_for_good() {
    let by = life(7, 3, 40);
    for (met, words) in [
        ((9, 5, 1), "an older copy: this is start 4, node 2 has met start 5"),
        ((9, 4, 6), "one of two copies: node 2 has met another start 4"),
        ((8, 1, 1), "was made after another (0000000000000008), which node 2 has met"),
    ] {
        let mut desk = fourth_start();
        let commands = desk.feed(refused(by, Some(met)));
        let Command::SaveRefusal { by: marked_by, met: marked } = &commands[0] else { panic!("{}", said(&commands)) };
        assert_eq!((*marked_by, *marked), (by, Incarnation { id: met.0, start: met.1, nonce: met.2 }));
        let Some(Command::Halt { fault }) = commands.last() else { panic!("{}", said(&commands)) };
        let said = fault.to_string();
        assert!(said.contains(words) && said.contains("it is marked and will not be started again"), "{said}");
        assert_eq!(desk.engine.role_kind(), RoleKind::Halted);
        assert_eq!(granted(&desk.receive(2, ask_vote(5, (9, 9)))), None, "it takes no part any more");
    }
}

#[test]
fn trap_45_nobody_who_is_behind_or_unknown_can_stop_a_good_node() {
    let stranger = Peer { node: NodeId(9), ..life(7, 3, 40) };
    for (by, met) in [
        // What an older copy of node 2 can have met; it is not listened to anyway.
        (life(7, 2, 1), Some((9, 3, 1))),
        (life(7, 2, 1), Some((9, 5, 1))),
        (life(8, 1, 1), Some((9, 5, 1))),
        // Words about an earlier life that come late, and about this one.
        (life(7, 3, 40), Some((9, 3, 1))),
        (life(7, 3, 40), Some((9, 4, 5))),
        (life(7, 3, 40), None),
        (stranger, Some((9, 5, 1))),
    ] {
        let mut desk = fourth_start();
        let commands = desk.feed(refused(by, met));
        let marks = |command: &Command| matches!(command, Command::SaveRefusal { .. } | Command::Halt { .. });
        assert!(!commands.iter().any(marks), "{}", said(&commands));
        assert_eq!(desk.engine.role_kind(), RoleKind::Follower);
    }
}

#[test]
fn a_refusal_is_told_in_the_status_for_as_long_as_it_is_repeated() {
    let mut desk = fourth_start();
    desk.feed(refused(life(7, 3, 40), None));
    assert_eq!(desk.engine.status().refused_by, [(NodeId(2), "because".to_owned())].into());
    desk.now = desk.now + Duration::from_secs(4);
    desk.feed(refused(life(7, 3, 40), None));
    desk.now = desk.now + Duration::from_secs(4);
    desk.feed(Event::Timeout);
    assert_eq!(desk.engine.status().refused_by.len(), 1, "repeated");
    desk.now = desk.now + Duration::from_secs(1);
    desk.feed(Event::Timeout);
    assert!(desk.engine.status().refused_by.is_empty(), "not repeated");
}

#[test]
fn whom_a_node_refuses_as_it_contradicts_raft_is_told_in_the_status() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, heartbeat(1, 1, 0));
    desk.receive(3, heartbeat(1, 1, 0));
    let told = desk.engine.status().refuses;
    assert!(told[&NodeId(3)].contains("term 1, which node 2 leads") && told.len() == 1, "{told:?}");
    desk.now = desk.now + Duration::from_secs(5);
    desk.feed(Event::Timeout);
    assert!(desk.engine.status().refuses.is_empty());
}

#[test]
fn a_second_leader_of_a_term_is_an_inconsistency() {
    let wrong = |leader| Some(Inconsistency::SecondLeader { term: Term(1), leader: NodeId(leader) });
    let committed = Message::Committed { term: Term(1), commit: LogIndex(0) };
    for message in [append(1, (0, 1), &[1], 0), heartbeat(1, 1, 0), committed] {
        let mut follower = Desk::of(&[1, 2, 3]);
        follower.receive(2, heartbeat(1, 1, 0));
        assert_eq!(inconsistency(&follower.receive(3, message.clone())), wrong(2));
        assert_eq!(follower.engine.leadership(), (Term(1), Some(NodeId(2))));
        let mut leader = Desk::leading(&[1, 2, 3]);
        assert_eq!(inconsistency(&leader.receive(3, message)), wrong(1));
        assert_eq!((leader.engine.role_kind(), leader.engine.status().last), (RoleKind::Leader, LogId::new(1, 2)));
    }
}

#[test]
fn replacing_what_is_committed_is_an_inconsistency() {
    let committed = || {
        let mut desk = Desk::of(&[1, 2, 3]);
        desk.receive(2, append(1, (0, 1), &[1, 1, 1], 3));
        desk.flush();
        desk
    };
    let wrong = |committed: u64, proposed: (u64, u64)| {
        let (committed, proposed) = (LogId::new(1, committed), LogId::new(proposed.0, proposed.1));
        Some(Inconsistency::CommittedConflict { committed, proposed })
    };
    let mut desk = committed();
    assert_eq!(inconsistency(&desk.receive(3, append(2, (0, 1), &[1, 2, 2], 0))), wrong(3, (2, 3)));
    assert_eq!(inconsistency(&desk.receive(3, append(2, (2, 3), &[2], 0))), wrong(3, (2, 3)), "by the entry before");
    assert_eq!((desk.engine.status().last, desk.commit()), (LogId::new(1, 4), 3));
    desk.receive(3, append(2, (1, 3), &[2], 0));
    assert_eq!(desk.engine.status().last, LogId::new(2, 4), "what is not committed may be replaced");
}

#[test]
fn acknowledging_what_was_never_sent_is_an_inconsistency() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    let (epoch, request) = desk.request_to(2);
    let outcome = AppendOutcome::Matched(LogIndex(3));
    let reply = AppendEntriesReply { term: Term(1), epoch, request, outcome };
    let wrong = Some(Inconsistency::BeyondLog { matched: LogIndex(3), last: LogIndex(2) });
    assert_eq!(inconsistency(&desk.receive(2, Message::AppendEntriesReply(reply))), wrong);
    assert_eq!(inconsistency(&desk.beat(2, 1, 3, 2)), wrong);
    assert!(inconsistency(&desk.beat(2, 1, 1, 2)).is_some(), "durable beyond what was received");
    assert!(inconsistency(&desk.beat(2, 2, 2, 2)).is_some(), "a round that has not begun");
    assert_eq!((desk.commit(), desk.engine.status().matched[&NodeId(2)]), (0, LogIndex(0)));
}

#[test]
fn a_leader_that_changes_its_own_entries_is_an_inconsistency() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(5, (0, 1), &[5, 5, 5], 0));
    assert!(inconsistency(&desk.receive(2, append(5, (0, 1), &[4], 0))).is_some());
    assert_eq!(desk.engine.status().last, LogId::new(5, 4));
}

#[test]
fn numbers_that_no_cluster_reaches_are_an_inconsistency() {
    let huge = [u64::MAX, u64::MAX - 1, 1 << 63];
    for number in huge {
        let mut desk = Desk::of(&[1, 2, 3]);
        let entries: Arc<[Payload]> = Arc::new([command("x"), command("y")]);
        let (epoch, request, commit) = (Epoch(1), RequestId(1), LogIndex(1));
        let entries = |term: u64, prev: LogId, first: LogId| {
            let batches = vec![Batch::new(first, LogTime(0), entries.clone())];
            Message::AppendEntries(AppendEntries { term: Term(term), epoch, request, prev, batches, commit })
        };
        let foul = [
            entries(1, LogId::new(1, number), LogId::new(1, 2)),
            entries(1, LogId::new(1, number - 1), LogId::new(1, number)),
            entries(number, LogId::new(0, 1), LogId::new(number, 2)),
            append(number, (0, 1), &[], 0),
            heartbeat(number, 1, 0),
            ask_vote(number, (0, 1)),
            ask_pre_vote(number, (number, number)),
            Message::RequestVoteReply(vote(number, 1, false)),
            Message::PreVoteReply(vote(number, 1, true)),
            Message::Committed { term: Term(number), commit: LogIndex(number) },
            Message::ReadIndex { term: Term(number), request, proof: Proof::Round },
        ];
        for message in foul {
            let text = message.to_string();
            assert!(inconsistency(&desk.receive(2, message)).is_some(), "{text}");
        }
        assert_eq!((desk.term(), desk.engine.status().last), (Term(0), LogId::new(0, 1)));
        desk.timeout();
    }
}

#[test]
fn nobody_leads_in_term_zero() {
    let committed = Message::Committed { term: Term(0), commit: LogIndex(1) };
    for message in [heartbeat(0, 1, 1), append(0, (0, 1), &[0], 1), committed] {
        let mut desk = Desk::of(&[1, 2, 3]);
        assert!(inconsistency(&desk.receive(2, message)).is_some());
        assert_eq!((desk.engine.leadership(), desk.commit()), ((Term(0), None), 0));
    }
}

/// Node 1 of `{1 2 3}` holds an entry of term 1, not committed, by which the members are others.
fn with_uncommitted_members(ids: &[u64]) -> Desk {
    let mut desk = Desk::of(&[1, 2, 3]);
    let batches = vec![Batch::new(LogId::new(1, 2), LogTime(0), Arc::new([Payload::membership(voters(ids))]))];
    let (epoch, request, prev, commit) = (Epoch(1), RequestId(1), LogId::new(0, 1), LogIndex(1));
    desk.receive(2, Message::AppendEntries(AppendEntries { term: Term(1), epoch, request, prev, batches, commit }));
    desk
}

#[test]
fn who_is_to_be_removed_is_heard_until_that_is_committed() {
    let mut desk = with_uncommitted_members(&[1, 2]);
    let question = |request| Message::ReadIndex { term: Term(1), request: RequestId(request), proof: Proof::Round };
    assert_eq!(turned_away(&desk.receive(3, question(1))), None, "it may stay a member");
    desk.receive(2, Message::Committed { term: Term(1), commit: LogIndex(2) });
    assert_eq!(turned_away(&desk.receive(3, question(2))), Some(PeerRefusal::NotMember));
}

#[test]
fn who_was_added_by_an_entry_that_is_truncated_is_spoken_to_no_more() {
    let mut desk = with_uncommitted_members(&[1, 2, 3, 4]);
    let said = said(&desk.receive(3, append(2, (0, 1), &[2], 1)));
    assert!(said.contains("set_peers") && !said.contains("4="), "{said}");
}

#[test]
fn memberships_that_are_not_committed_go_with_their_entries() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let entry = |at: LogId, ids: &[u64]| Batch::new(at, LogTime(0), Arc::new([Payload::membership(voters(ids))]));
    let batches = vec![entry(LogId::new(1, 2), &[1, 2]), entry(LogId::new(1, 3), &[1, 2, 4])];
    let (epoch, request, prev, commit) = (Epoch(1), RequestId(1), LogId::new(0, 1), LogIndex(0));
    let both = AppendEntries { term: Term(1), epoch, request, prev, batches, commit };
    desk.receive(2, Message::AppendEntries(both));
    assert_eq!(*desk.engine.status().membership, *voters(&[1, 2, 4]));
    desk.receive(3, append(2, (1, 2), &[2], 0));
    assert_eq!(*desk.engine.status().membership, *voters(&[1, 2]));
    desk.receive(2, append(3, (0, 1), &[3], 0));
    assert_eq!(*desk.engine.status().membership, *voters(&[1, 2, 3]));
}

#[test]
fn every_reason_says_what_is_wrong_and_with_which_numbers() {
    let (term, leader) = (Term(3), NodeId(7));
    let reasons = [
        (PeerRefusal::OtherIncarnation { met: life(0xab, 1, 1).incarnation }, "ab"),
        (PeerRefusal::EarlierStart { met: life(7, 9, 1).incarnation }, "start 9"),
        (PeerRefusal::SecondCopy { met: life(7, 9, 1).incarnation }, "another copy"),
        (PeerRefusal::OwnId, "own id"),
        (PeerRefusal::Inconsistent(Inconsistency::SecondLeader { term, leader }), "term 3, which node 7 leads"),
    ];
    for (reason, words) in reasons {
        assert!(reason.to_string().contains(words), "{reason}");
    }
}

#[test]
fn nobody_is_remembered_for_a_greeting() {
    let mut desk = Desk::of(&[1, 2, 3]);
    let commands = desk.feed(Event::Received { from: peer(9, 1), message: None });
    assert!(commands.is_empty(), "{}", said(&commands));
}

#[test]
fn who_knows_no_members_is_stopped_by_nobody() {
    let mut desk = Desk::empty(|_| {});
    let commands = desk.feed(refused(peer(2, 1), Some((101, 5, 1))));
    assert!(commands.is_empty() && desk.engine.role_kind() != RoleKind::Halted, "{}", said(&commands));
}

#[test]
fn a_first_voter_whose_log_has_more_than_its_beginning_is_not_stopped_for_another_directory() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.feed(refused(peer(2, 1), Some((999, 5, 1))));
    assert_eq!(desk.engine.role_kind(), RoleKind::Leader);
}

#[test]
fn a_learner_with_only_its_beginning_is_not_stopped_for_another_directory() {
    let mut desk = Desk::empty(|_| {});
    let node = |id| (NodeId(id), Node::default());
    let members = Membership::new([node(2), node(3)], [node(1)]).with_version(Version::LATEST);
    desk.feed(Event::Initialize { token: Token(0), membership: Arc::new(members) });
    desk.feed(refused(peer(2, 1), Some((999, 5, 1))));
    assert_eq!(desk.engine.role_kind(), RoleKind::Learner);
}
