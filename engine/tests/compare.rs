//! States compared: who is in another state than a quorum is found, named, and stopped; nobody else is.

mod cluster;

use std::time::Duration;

use cluster::Cluster;
use outrigger_engine::*;

const INTERVAL: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Nodes whose states are compared; the first leads.
fn led(ids: &[u64]) -> Cluster {
    let mut cluster = Cluster::with(ids, |config| {
        config.state_check_interval = Some(INTERVAL);
        config.node.version = Version::LATEST;
    });
    cluster.elect(ids[0]);
    cluster.stabilize();
    cluster
}

/// Time for a comparison to begin, with all that is said.
fn let_begin(cluster: &mut Cluster) {
    for _ in 0..12 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
}

/// One whole comparison: it begins, the log gets there, and what was lost is asked again.
fn compare(cluster: &mut Cluster) {
    let_begin(cluster);
    cluster.propose(leader(cluster), 1, "x");
    cluster.stabilize();
    for _ in 0..5 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
}

fn leader(cluster: &Cluster) -> u64 {
    let leads = |id: &&u64| cluster.node(**id).alive && cluster.role(**id) == RoleKind::Leader;
    *cluster.nodes.keys().find(leads).expect("somebody leads")
}

/// This node's state machine forgets what it was told first.
fn rot(cluster: &mut Cluster, id: u64) {
    let (_, text) = &mut cluster.nodes.get_mut(&id).expect("a node").applied[0];
    *text = "rotten".into();
}

fn told(cluster: &Cluster, id: u64, part: &str) -> usize {
    cluster.node(id).answers.iter().filter(|answer| answer.contains(part)).count()
}

#[test]
fn nodes_that_applied_the_same_go_on() {
    let mut cluster = led(&[1, 2, 3]);
    for _ in 0..3 {
        compare(&mut cluster);
    }
    assert_eq!(cluster.trace.matches("hash state at").count(), 9, "each node, each time:\n{}", cluster.trace);
    assert!((1..=3).all(|id| cluster.role(id) != RoleKind::Halted));
    assert!((1..=3).all(|id| told(&cluster, id, "states_differ") == 0));
}

#[test]
fn states_are_not_compared_unless_it_is_asked_for() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    compare(&mut cluster);
    assert!(!cluster.trace.contains("hash_state") && !cluster.trace.contains("hash state"));
}

#[test]
fn who_is_in_another_state_than_a_quorum_is_named_and_stops() {
    let mut cluster = led(&[1, 2, 3]);
    rot(&mut cluster, 3);
    compare(&mut cluster);
    assert_eq!([1, 2, 3].map(|id| cluster.role(id)), [RoleKind::Leader, RoleKind::Follower, RoleKind::Halted]);
    assert_eq!(
        (told(&cluster, 1, "states_differ at"), told(&cluster, 1, "3 has ")),
        (1, 1),
        "{:?}",
        cluster.node(1).answers
    );
    assert_eq!(told(&cluster, 3, "and that of a majority"), 1, "{:?}", cluster.node(3).answers);
    compare(&mut cluster);
    assert_eq!(cluster.applied(2), cluster.applied(1), "the others go on");
}

#[test]
fn a_leader_that_is_in_another_state_than_a_quorum_stops_and_another_leads() {
    let mut cluster = led(&[1, 2, 3]);
    rot(&mut cluster, 1);
    compare(&mut cluster);
    assert_eq!(cluster.role(1), RoleKind::Halted);
    assert_eq!(told(&cluster, 1, "states_differ at"), 1);
    while [2, 3].into_iter().all(|id| cluster.role(id) != RoleKind::Leader) {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    compare(&mut cluster);
    assert!([2, 3].into_iter().all(|id| cluster.role(id) != RoleKind::Halted), "those two agree");
}

/// A quorum of voters decides, not of all members: learners may be many.
#[test]
fn a_learner_that_differs_stops_and_has_no_say() {
    let mut cluster = led(&[1, 2, 3]);
    cluster.join(&[4]);
    cluster.change(1, 9, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    rot(&mut cluster, 4);
    compare(&mut cluster);
    let halted = [1, 2, 3, 4].map(|id| cluster.role(id) == RoleKind::Halted);
    assert_eq!(halted, [false, false, false, true]);
}

#[test]
fn where_no_quorum_agrees_it_is_told_and_nobody_stops() {
    let mut cluster = led(&[1, 2]);
    rot(&mut cluster, 2);
    compare(&mut cluster);
    assert_eq!(told(&cluster, 1, "states_differ at"), 1);
    assert!(told(&cluster, 1, "a quorum") == 0 && (1..=2).all(|id| cluster.role(id) != RoleKind::Halted));
}

/// Its memory may be the one that forgets, and then all the others would stop.
#[test]
fn the_word_of_a_single_voter_stops_nobody() {
    let mut cluster = led(&[1]);
    cluster.join(&[2, 3]);
    cluster.change(1, 9, ChangeMembers::AddNodes([2, 3].map(|id| (NodeId(id), Node::default())).into()));
    cluster.stabilize();
    rot(&mut cluster, 1);
    compare(&mut cluster);
    assert_eq!(told(&cluster, 1, "states_differ at"), 1, "{}", cluster.trace);
    assert!((1..=3).all(|id| cluster.role(id) != RoleKind::Halted));
}

/// The next comparison may be far away.
#[test]
fn who_did_not_hear_that_its_state_differs_is_told_again_in_the_same_comparison() {
    let mut cluster = led(&[1, 2, 3]);
    rot(&mut cluster, 3);
    let_begin(&mut cluster);
    cluster.propose(1, 1, "x");
    let is_word = |message: &Message| matches!(message, Message::StateDiffers { .. });
    while cluster.deliver(|envelope| !is_word(&envelope.message))
        | [1, 2, 3].map(|id| cluster.flush(id)).contains(&true)
    {}
    assert!(cluster.drop_messages(|envelope| is_word(&envelope.message)) > 0);
    assert_eq!(cluster.role(3), RoleKind::Follower);
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
    assert_eq!(cluster.role(3), RoleKind::Halted, "{}", cluster.trace);
}

#[test]
fn what_was_lost_is_asked_again() {
    for lost in ["hash_state", "state_hashed", "state_differs"] {
        let mut cluster = led(&[1, 2, 3]);
        rot(&mut cluster, 3);
        let mut losses = 0;
        let mut lose_once = |cluster: &mut Cluster| {
            let is_lost = |message: &Message| message.to_string().starts_with(lost);
            if losses == 0 {
                losses = cluster.drop_messages(|envelope| is_lost(&envelope.message));
            }
        };
        for turn in 0..40 {
            cluster.elapse(HEARTBEAT);
            lose_once(&mut cluster);
            while cluster.deliver(|_| true) | [1, 2, 3].map(|id| cluster.flush(id)).contains(&true) {
                lose_once(&mut cluster);
            }
            if turn % 4 == 3 {
                cluster.propose(1, 1, "x");
            }
        }
        assert!(losses > 0, "{lost}");
        assert_eq!(cluster.role(3), RoleKind::Halted, "{lost} was lost:\n{}", cluster.trace);
    }
}

/// The hash is of the state behind that very entry, also where more is committed at once.
#[test]
fn the_state_is_hashed_between_two_entries() {
    let mut cluster = led(&[1, 2, 3]);
    let_begin(&mut cluster);
    let at = cluster.engine(1).last_log_id().index.next();
    let four =
        Event::Propose { token: Token(1), entries: ["a", "b", "c", "d"].map(cluster::command).into(), only_in: None };
    cluster.handle(1, four);
    cluster.stabilize();
    let lines: Vec<&str> = cluster.trace.lines().collect();
    let around: Vec<&[&str]> = lines.windows(3).filter(|it| it[1].ends_with(&format!("hash state at {at}"))).collect();
    assert_eq!(around.len(), 3, "{}", cluster.trace);
    for it in around {
        assert!(it[0].contains("apply") && it[0].ends_with(&at.to_string()) && it[2].contains("apply"), "{it:?}");
    }
}

/// The views of two would be in memory at once.
#[test]
fn one_state_is_hashed_at_a_time() {
    let mut cluster = led(&[1, 2, 3]);
    let mut engine = cluster.engine(2).clone();
    while engine.poll_command().is_some() {}
    let (now, last) = (cluster.now, engine.last_log_id());
    cluster.network.clear();
    let mut hashed = Vec::new();
    for index in last.index.0 + 1..last.index.0 + 4 {
        let at = LogIndex(index);
        let prev = engine.last_log_id();
        let entry = Batch::new(LogId { index: at, ..last }, LogTime(0), [cluster::command("x")].into());
        let (term, epoch, request) = (last.term, Epoch(1), RequestId(index));
        let append = AppendEntries { term, epoch, request, prev, batches: vec![entry], commit: at };
        for message in [Message::HashState { term, at }, Message::AppendEntries(append)] {
            let from = cluster::peer(1, 1).speaking(Version::LATEST);
            engine.handle_event(Event::Received { from, message: Some(message) }, now);
        }
        while let Some(command) = engine.poll_command() {
            if let Command::StateMachine(StateMachineRequest::HashState { at }) = command {
                hashed.push(at.0 - last.index.0);
            }
        }
        if index == last.index.0 + 2 {
            let hash = Some(StateHash(1));
            engine.handle_event(Event::StateHashed { at: LogIndex(last.index.0 + 1), hash }, now);
        }
    }
    assert_eq!(hashed, [1, 3], "the second was to be hashed while the first was");
}

#[test]
fn a_state_that_cannot_be_hashed_harms_nobody() {
    let mut cluster = led(&[1, 2, 3]);
    let at = LogIndex(3);
    cluster.receive(2, 1, Message::HashState { term: Term(1), at });
    cluster.receive(3, 1, Message::HashState { term: Term(1), at: LogIndex(2) });
    assert!(!cluster.network.iter().any(|it| matches!(it.message, Message::StateHashed { .. })), "that is past");
    cluster.receive(2, 1, Message::StateDiffers { term: Term(1), at, agreed: StateHash(1) });
    assert_eq!(cluster.role(2), RoleKind::Follower, "it has hashed nothing");
    let mut engine = cluster.engine(2).clone();
    while engine.poll_command().is_some() {}
    engine.handle_event(
        Event::Received { from: cluster::peer(1, 1), message: Some(Message::HashState { term: Term(1), at }) },
        cluster.now,
    );
    assert_eq!(engine.role_kind(), RoleKind::Follower);
}

/// A question that takes a round of heartbeats to arrive must still be about entries to come.
#[test]
fn where_the_log_grows_states_are_compared_far_enough_ahead_for_who_is_asked_late() {
    let mut cluster = led(&[1, 2, 3]);
    let is_question = |envelope: &cluster::Envelope| matches!(envelope.message, Message::HashState { .. });
    let settle_but_questions = |cluster: &mut Cluster| loop {
        let flushed = (1..=3).filter(|id| cluster.flush(*id)).count();
        if !cluster.deliver(|envelope| !is_question(envelope)) && flushed == 0 {
            return;
        }
    };
    let mut round = 0;
    while cluster.trace.matches("hash state at").count() < 3 {
        cluster.elapse(HEARTBEAT);
        settle_but_questions(&mut cluster);
        for token in 0..4 {
            cluster.propose(1, token, "x");
            settle_but_questions(&mut cluster);
        }
        while cluster.deliver(is_question) {}
        round += 1;
        assert!(round < 18, "all three have hashed what the first question was about:\n{}", cluster.trace);
    }
}

/// Node 2 in the hand, with node 1 as its leader: what it wants done when one of them says this.
fn told_by(engine: &mut Engine, now: Instant, from: u64, message: Message) -> Vec<Command> {
    let from = cluster::peer(from, 1).speaking(Version::LATEST);
    engine.handle_event(Event::Received { from, message: Some(message) }, now);
    std::iter::from_fn(|| engine.poll_command()).collect()
}

fn entry_at(prev: LogId) -> Message {
    let first = LogId { index: prev.index.next(), ..prev };
    let entry = Batch::new(first, LogTime(0), [cluster::command("x")].into());
    let (term, epoch, request) = (prev.term, Epoch(1), RequestId(first.index.0));
    Message::AppendEntries(AppendEntries { term, epoch, request, prev, batches: vec![entry], commit: first.index })
}

/// Node 2 has hashed its state behind this entry.
fn that_has_hashed() -> (Engine, Instant, LogIndex) {
    let cluster = led(&[1, 2, 3]);
    let (mut engine, now) = (cluster.engine(2).clone(), cluster.now);
    let last = engine.last_log_id();
    let at = last.index.next();
    told_by(&mut engine, now, 1, Message::HashState { term: last.term, at });
    told_by(&mut engine, now, 1, entry_at(last));
    engine.handle_event(Event::StateHashed { at, hash: Some(StateHash(1)) }, now);
    while engine.poll_command().is_some() {}
    (engine, now, at)
}

#[test]
fn who_does_not_lead_is_told_no_hash_and_stops_nobody() {
    let (mut engine, now, at) = that_has_hashed();
    let term = engine.vote().term;
    let said = told_by(&mut engine, now, 3, Message::HashState { term, at });
    assert!(!said.iter().any(|it| matches!(it, Command::SendMessage { .. })), "{said:?}");
    let said = told_by(&mut engine, now, 3, Message::StateDiffers { term, at, agreed: StateHash(2) });
    assert!(said.is_empty() && engine.role_kind() == RoleKind::Follower, "{said:?}");
}

#[test]
fn a_word_about_another_entry_than_was_hashed_last_stops_nobody() {
    let (mut engine, now, at) = that_has_hashed();
    let term = engine.vote().term;
    told_by(&mut engine, now, 1, Message::StateDiffers { term, at: at.previous(), agreed: StateHash(2) });
    assert_eq!(engine.role_kind(), RoleKind::Follower);
}

/// Nothing of it is applied a second time.
#[test]
fn what_a_snapshot_has_overtaken_is_not_hashed() {
    let cluster = led(&[1, 2, 3]);
    let (mut engine, now) = (cluster.engine(2).clone(), cluster.now);
    let before = engine.last_log_id();
    let last = LogId { index: LogIndex(before.index.0 + 5), ..before };
    told_by(&mut engine, now, 1, Message::HashState { term: last.term, at: LogIndex(before.index.0 + 2) });
    let snapshot = std::sync::Arc::new(Snapshot {
        id: SnapshotId { last, bytes: 1, checksum: 7 },
        log_time: LogTime(0),
        membership: std::sync::Arc::new(engine.membership().clone()),
        membership_at: engine.membership_at(),
        genesis: Genesis::UNKNOWN,
    });
    let piece = InstallSnapshot {
        term: last.term,
        leader: NodeId(1),
        epoch: Epoch(1),
        request: RequestId(1),
        snapshot: snapshot.clone(),
        offset: 0,
        chunk: bytes::Bytes::from_static(b"x"),
    };
    told_by(&mut engine, now, 1, Message::InstallSnapshot(piece));
    engine.handle_event(Event::SnapshotReceived { id: snapshot.id, held: 1 }, now);
    while engine.poll_command().is_some() {}
    assert_eq!(engine.last_log_id(), last);
    engine.handle_event(Event::Applied { last: last.index }, now);
    let said = told_by(&mut engine, now, 1, entry_at(last));
    let hashes = |it: &&Command| matches!(it, Command::StateMachine(StateMachineRequest::HashState { .. }));
    assert_eq!(said.iter().filter(hashes).count(), 0, "{said:?}");
    let applies =
        said.iter().find_map(|it| if let Command::Apply { first, last } = it { Some((*first, *last)) } else { None });
    let next = LogId { index: last.index.next(), ..last };
    assert_eq!(applies, Some((next.index, next)));
}

#[test]
fn what_comes_late_of_an_earlier_comparison_counts_for_nothing() {
    let mut cluster = led(&[1, 2, 3]);
    let_begin(&mut cluster);
    let at = cluster.engine(1).last_log_id().index;
    for id in [2, 3] {
        cluster.receive(1, id, Message::StateHashed { at, hash: StateHash(5) });
    }
    cluster.propose(1, 1, "x");
    cluster.stabilize();
    assert!((1..=3).all(|id| cluster.role(id) != RoleKind::Halted), "{}", cluster.trace);
    assert_eq!(told(&cluster, 1, "states_differ"), 0);
}

#[test]
fn that_they_differ_is_told_once_it_is_known_who_is_right() {
    let mut cluster = led(&[1, 2, 3]);
    rot(&mut cluster, 3);
    let_begin(&mut cluster);
    cluster.propose(1, 1, "x");
    let is_late =
        |it: &cluster::Envelope| it.from.node == NodeId(2) && matches!(it.message, Message::StateHashed { .. });
    while cluster.deliver(|it| !is_late(it)) | [1, 2, 3].map(|id| cluster.flush(id)).contains(&true) {}
    assert_eq!(told(&cluster, 1, "states_differ"), 0, "node 2 may agree with either");
    cluster.stabilize();
    assert_eq!(told(&cluster, 1, "states_differ"), 1);
    assert_eq!(cluster.role(3), RoleKind::Halted);
}

#[test]
fn who_is_alone_hashes_nothing() {
    let mut cluster = led(&[1]);
    compare(&mut cluster);
    assert!(!cluster.trace.contains("hash state"));
}

#[test]
fn two_of_five_that_agree_stop_nobody_and_nothing_is_told_twice() {
    let mut cluster = led(&[1, 2, 3, 4, 5]);
    let_begin(&mut cluster);
    let (at, term) = (cluster.engine(1).last_log_id().index.next(), cluster.engine(1).vote().term);
    assert!(cluster.trace.contains(&format!("hash_state term {term} at {at}")), "{}", cluster.trace);
    cluster.drop_messages(|_| true);
    for (id, hash) in [(2, 5), (3, 5), (4, 6)] {
        cluster.receive(1, id, Message::StateHashed { at, hash: StateHash(hash) });
    }
    assert!(!cluster.trace.contains("state_differs"), "the other two may have what node 4 has:\n{}", cluster.trace);
    cluster.receive(1, 5, Message::StateHashed { at, hash: StateHash(5) });
    assert!(cluster.trace.contains("state_differs"), "three of five are a quorum:\n{}", cluster.trace);
    assert_eq!(told(&cluster, 1, "states_differ"), 1);
    cluster.receive(1, 5, Message::StateHashed { at, hash: StateHash(5) });
    assert_eq!(told(&cluster, 1, "states_differ"), 1);
}

#[test]
fn a_word_about_no_entry_is_none() {
    let mut cluster = led(&[1, 2, 3]);
    for (id, hash) in [(2, 5), (3, 5), (2, 6)] {
        cluster.receive(1, id, Message::StateHashed { at: LogIndex(0), hash: StateHash(hash) });
    }
    assert!(!cluster.trace.contains("differ"), "{}", cluster.trace);
}
