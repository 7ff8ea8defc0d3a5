//! Installing a snapshot that was brought, and starting from one.

use super::*;

/// A follower with a log up to 1/5, which has applied all that it knows to be committed, up to 1/3.
fn at_rest() -> Engine {
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(1));
    engine
}

/// The whole of a snapshot has come, and is durable.
fn received(engine: &mut Engine, last: LogId) {
    let request = whole_snapshot(last);
    let id = request.snapshot.id;
    receive(engine, request);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
}

#[test]
fn p7_a_snapshot_that_is_behind_the_log_discards_the_whole_log() {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    assert!(has(&receive(&mut engine, request), "receive_snapshot 4/9 of 4 bytes: 4 bytes from 0"));
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    let said = flush(&mut engine, Instant(1));
    let place = |what: &str| said.iter().position(|it| it.contains(what)).unwrap_or_else(|| panic!("{what}: {said:?}"));
    assert!(place("truncate_log") < place("purge_log") && place("purge_log") < place("install snapshot 4/9"));
    assert!(place("abandoned from 4") < place("install snapshot"), "callers are told");
    assert_eq!((engine.last_log_id(), engine.commit_index()), (LogId::new(4, 9), LogIndex(9)));
    assert_eq!(engine.membership().to_string(), "voters {1 2}");
}

#[test]
fn what_is_installed_is_acknowledged_only_once_it_is_durable() {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request.clone());
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    // The leader asks whether it is done: the log does not say so on the disk.
    let message = Some(Message::InstallSnapshot(InstallSnapshot { request: RequestId(2), ..request }));
    engine.handle_event(Event::Received { from: peer(1, 1), message }, Instant(2));
    let (mut write, mut said) = (WriteId(0), Vec::new());
    while let Some(command) = engine.poll_command() {
        said.push(command.to_string());
        if let Command::PurgeLog { write: purge, .. } = command {
            write = purge;
        }
    }
    assert!(!has(&said, "matched 9"), "{said:?}");
    assert!(engine.flushed_index() < LogIndex(9));
    engine.handle_event(Event::LogFlushed { write }, Instant(3));
    assert!(has(&flush(&mut engine, Instant(3)), "append_entries_reply term 5 matched 9"));
    assert_eq!(engine.flushed_index(), LogIndex(9));
}

#[test]
fn p7_entries_behind_the_snapshot_stay_if_the_log_holds_its_last_entry() {
    let mut engine = follower(8, 3);
    flush(&mut engine, Instant(0));
    let said = receive(&mut engine, whole_snapshot(LogId::new(1, 6)));
    assert!(has(&said, "apply 4..1/6") && has(&said, "matched 6"), "what it covers is committed: {said:?}");
    assert!(!has(&said, "purge") && !has(&said, "receive_snapshot"), "{said:?}");
    assert_eq!((engine.last_log_id(), engine.commit_index()), (LogId::new(1, 8), LogIndex(6)));
}

#[test]
fn trap28_the_members_that_a_snapshot_says_take_the_place_of_those_in_the_log() {
    let mut engine = follower(5, 1);
    let others = Membership::new([1, 2, 3, 4, 5].map(|id| (NodeId(id), Node::default())), []);
    let batch = Batch::new(LogId::new(1, 6), LogTime(1), Arc::new([Payload::membership(Arc::new(others))]));
    let append = AppendEntries {
        term: Term(5),
        epoch: Epoch(1),
        request: RequestId(1),
        prev: LogId::new(1, 5),
        batches: vec![batch],
        commit: LogIndex(1),
    };
    let message = Some(Message::AppendEntries(append));
    engine.handle_event(Event::Received { from: peer(1, 1), message }, Instant(1));
    assert_eq!(engine.membership().to_string(), "voters {1 2 3 4 5}");
    engine.handle_event(Event::Applied { last: LogIndex(1) }, Instant(1));
    received(&mut engine, LogId::new(4, 9));
    assert_eq!((engine.membership().to_string(), engine.membership_at()), ("voters {1 2}".into(), LogId::new(3, 6)));
    assert!(has(&flush(&mut engine, Instant(1)), "set_peers 1="), "and who is spoken to");
}

#[test]
fn who_is_no_member_by_a_snapshot_is_spoken_to_no_more() {
    let mut engine = follower(5, 5);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(5) }, Instant(1));
    received(&mut engine, LogId::new(4, 9));
    let said = flush(&mut engine, Instant(1));
    let peers = said.iter().find(|said| said.starts_with("set_peers"));
    assert!(peers.is_some_and(|peers| peers.contains("1=") && !peers.contains("3=")), "{said:?}");
}

#[test]
fn a_read_that_waits_for_what_a_snapshot_covers_goes_on_when_that_is_installed() {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    engine.handle_event(Event::Read { token: Token(7), consistency: Consistency::Linearizable }, Instant(1));
    let mut asked = None;
    while let Some(command) = engine.poll_command() {
        if let Command::SendMessage { message: Message::ReadIndex { request, .. }, .. } = command {
            asked = Some(request);
        }
    }
    let reply = Message::ReadIndexReply { request: asked.expect("it asks its leader"), outcome: Ok(LogIndex(9)) };
    engine.handle_event(Event::Received { from: peer(1, 1), message: Some(reply) }, Instant(1));
    assert!(!has(&flush(&mut engine, Instant(1)), "read #7"), "so much is not committed here");
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(2));
    assert!(has(&flush(&mut engine, Instant(2)), "read #7"));
}

#[test]
fn trap29_a_snapshot_against_a_committed_entry_of_another_term_is_refused() {
    let mut engine = follower(8, 6);
    flush(&mut engine, Instant(0));
    let said = receive(&mut engine, whole_snapshot(LogId::new(4, 6)));
    assert!(has(&said, "it would replace the committed entry 1/6 by 4/6"), "{said:?}");
    assert_eq!(engine.commit_index(), LogIndex(6));
}

#[test]
fn trap30_what_is_applied_never_goes_back() {
    let mut engine = follower(8, 6);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(6) }, Instant(1));
    let said = receive(&mut engine, whole_snapshot(LogId::new(1, 4)));
    assert!(has(&said, "matched 4") && !has(&said, "install snapshot"), "{said:?}");
    assert_eq!((engine.commit_index(), engine.applied()), (LogIndex(6), LogIndex(6)));
}

#[test]
fn nothing_is_installed_while_entries_wait_to_be_applied() {
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request.clone());
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    let said = flush(&mut engine, Instant(1));
    assert!(!has(&said, "purge_log"), "the state machine reads these entries from the log: {said:?}");
    let again = receive(&mut engine, InstallSnapshot { request: RequestId(2), ..request });
    assert!(has(&again, "held 4") && !has(&again, "receive_snapshot"), "it is here already: {again:?}");
    engine.handle_event(Event::Applied { last: LogIndex(2) }, Instant(2));
    assert!(!has(&flush(&mut engine, Instant(2)), "purge_log"));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(3));
    assert!(has(&flush(&mut engine, Instant(3)), "purge_log"));
}

/// A follower that has applied 1/3 and receives the snapshot of 1/5; then the log brings all that it covers.
fn received_in_vain(held: u64) -> (Engine, LogId) {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(1, 7));
    let (last, id) = (request.snapshot.last(), request.snapshot.id);
    receive(&mut engine, request);
    let prev = LogId::new(1, 5);
    let batches = vec![Batch::new(LogId::new(1, 6), LogTime(9), Arc::new([Payload::blank(), Payload::blank()]))];
    let (epoch, request) = (Epoch(1), RequestId(5));
    let append = AppendEntries { term: Term(5), epoch, request, prev, batches, commit: LogIndex(7) };
    let message = Some(Message::AppendEntries(append));
    engine.handle_event(Event::Received { from: peer(1, 1), message }, Instant(2));
    flush(&mut engine, Instant(2));
    assert_eq!(engine.commit_index(), LogIndex(7));
    engine.handle_event(Event::SnapshotReceived { id, held }, Instant(3));
    assert!(!has(&flush(&mut engine, Instant(3)), "install snapshot"));
    (engine, last)
}

#[test]
fn a_snapshot_that_came_in_vain_is_the_newest_all_the_same_for_it_took_the_place_of_the_last() {
    let (engine, last) = received_in_vain(4);
    assert_eq!(engine.snapshot(), last);
    let (engine, _) = received_in_vain(3);
    assert_eq!(engine.snapshot(), LogId::ZERO, "some of it is missing");
}

/// A node that has been sent a snapshot of 1/7, which its disk does not hold yet.
fn receiving() -> (Engine, SnapshotId) {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(1, 7));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    (engine, id)
}

/// Entries 1/6 to 1/`last` from the leader, and what it has committed.
fn appended(engine: &mut Engine, last: u64, commit: u64) {
    let (prev, entries) = (LogId::new(1, 5), (6..=last).map(|_| Payload::blank()).collect());
    let batches = vec![Batch::new(LogId::new(1, 6), LogTime(9), entries)];
    let (epoch, request, commit) = (Epoch(1), RequestId(5), LogIndex(commit));
    let message = Message::AppendEntries(AppendEntries { term: Term(5), epoch, request, prev, batches, commit });
    engine.handle_event(Event::Received { from: peer(1, 1), message: Some(message) }, Instant(2));
    flush(engine, Instant(2));
}

#[test]
fn a_snapshot_whose_entries_have_come_before_it_says_that_they_are_committed_and_is_the_newest() {
    let (mut engine, id) = receiving();
    appended(&mut engine, 8, 3);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(3));
    let said = flush(&mut engine, Instant(3));
    assert!(has(&said, "apply 4..1/7") && !has(&said, "install snapshot"), "{said:?}");
    assert_eq!((engine.commit_index(), engine.snapshot()), (LogIndex(7), id.last));
}

#[test]
fn a_snapshot_that_has_come_when_the_node_has_taken_a_newer_one_does_not_take_its_place() {
    let (mut engine, id) = receiving();
    appended(&mut engine, 9, 9);
    engine.handle_event(Event::Applied { last: LogIndex(9) }, Instant(3));
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, Instant(3));
    engine.handle_event(built(LogId::new(1, 9)), Instant(4));
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(5));
    assert_eq!(engine.snapshot(), LogId::new(1, 9));
}

/// A node that was started less often numbers its requests from further below.
#[test]
fn a_new_leaders_snapshot_is_received_however_low_it_numbers_its_requests() {
    let mut engine = at_rest();
    let old = InstallSnapshot { request: RequestId(900), ..whole_snapshot(LogId::new(4, 9)) };
    let id = old.snapshot.id;
    receive(&mut engine, InstallSnapshot { chunk: old.chunk.slice(..2), ..old });
    engine.handle_event(Event::SnapshotReceived { id, held: 2 }, Instant(1));
    flush(&mut engine, Instant(1));
    let (term, leader) = (Term(6), NodeId(3));
    let new = InstallSnapshot { term, leader, request: RequestId(5), ..whole_snapshot(LogId::new(4, 12)) };
    engine.handle_event(Event::Received { from: peer(3, 1), message: Some(Message::InstallSnapshot(new)) }, Instant(2));
    assert!(has(&flush(&mut engine, Instant(2)), "receive_snapshot 4/12"));
}

#[test]
fn by_hand_the_log_keeps_what_is_yet_to_be_applied_though_a_snapshot_that_came_in_vain_covers_it() {
    let (mut engine, last) = received_in_vain(4);
    assert_eq!((engine.snapshot(), engine.applied()), (last, LogIndex(3)));
    let purge = |engine: &mut Engine| {
        engine.handle_event(Event::Purge { token: Token(8), keep_entries: 0 }, Instant(4));
        flush(engine, Instant(4))
    };
    assert!(has(&purge(&mut engine), "purged #8: through 1/3"), "the state machine reads the rest from there");
    engine.handle_event(Event::Applied { last: last.index }, Instant(5));
    assert!(has(&purge(&mut engine), "purged #8: through 1/7"));
}

/// Another one of the same entries: what a node answers once is not in it, say.
fn another_of_the_same(last: LogId) -> Arc<Snapshot> {
    let mut other = (*whole_snapshot(last).snapshot).clone();
    other.id.checksum += 1;
    Arc::new(other)
}

/// A node takes a snapshot, and another one of the same entries comes in vain; `is_own_last` tells which is complete last. Answers
/// whether it knows that this one is the one that is there now.
fn knows_which_is_there(is_own_last: bool) -> bool {
    let last = LogId::new(1, 7);
    let (mut engine, _) = received_in_vain(3);
    engine.handle_event(Event::Applied { last: last.index }, Instant(4));
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, Instant(4));
    let (own, came) = (another_of_the_same(last), whole_snapshot(last).snapshot.id);
    let (taken, received) = (Arc::clone(&own), Event::SnapshotReceived { id: came, held: came.bytes });
    let mut complete = [received, Event::SnapshotBuilt { snapshot: taken }];
    if !is_own_last {
        complete.reverse();
    }
    complete.into_iter().for_each(|event| engine.handle_event(event, Instant(5)));
    assert!(has(&flush(&mut engine, Instant(5)), "snapshot_taken #5: 1/7"));
    assert_eq!(engine.snapshot(), last);
    // If it is the newest that is damaged, another one is taken after a pause.
    let damaged = if is_own_last { own.id } else { came };
    let (target, epoch, request, reason) = (NodeId(3), Epoch(1), RequestId(1), "it rots".into());
    engine.handle_event(Event::SnapshotUnreadable { target, epoch, request, id: damaged, reason }, Instant(6));
    let later = Instant(0) + Duration::from_secs(60);
    engine.handle_event(Event::Timeout, later);
    has(&flush(&mut engine, later), "build snapshot")
}

/// The store keeps the one that was complete last. A leader that took the other for the newest would have nothing to send, for ever.
#[test]
fn of_two_snapshots_of_the_same_entries_the_one_that_was_complete_last_is_there() {
    assert!(knows_which_is_there(true), "its own was");
    assert!(knows_which_is_there(false), "the one that came was");
}

#[test]
fn no_newer_one_is_received_before_the_state_machine_has_the_last() {
    let mut engine = at_rest();
    received(&mut engine, LogId::new(4, 9));
    assert!(has(&flush(&mut engine, Instant(1)), "install snapshot"));
    let newer = whole_snapshot(LogId::new(4, 12));
    let said = receive(&mut engine, newer.clone());
    assert!(!has(&said, "receive_snapshot"), "it would take the place of the one that is loaded: {said:?}");
    engine.handle_event(Event::Applied { last: LogIndex(9) }, Instant(2));
    assert!(has(&receive(&mut engine, newer), "receive_snapshot"));
}

#[test]
fn who_waits_for_one_that_a_newer_one_overtook_is_told_of_the_newer() {
    let mut engine = at_rest();
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, Instant(1));
    received(&mut engine, LogId::new(4, 9));
    engine.handle_event(Event::SnapshotFailed { reason: "there is a newer one".into() }, Instant(2));
    let said = flush(&mut engine, Instant(2));
    assert!(has(&said, "snapshot_taken #5: 4/9") && !has(&said, "refused"), "{said:?}");
}

#[test]
fn one_that_is_built_when_a_newer_one_has_come_does_not_take_its_place() {
    let mut engine = at_rest();
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, Instant(1));
    received(&mut engine, LogId::new(4, 9));
    flush(&mut engine, Instant(1));
    engine.handle_event(built(LogId::new(1, 3)), Instant(2));
    assert!(has(&flush(&mut engine, Instant(2)), "snapshot_taken #5: 1/3"));
    assert_eq!(engine.snapshot(), LogId::new(4, 9));
}

#[test]
fn one_piece_is_written_at_a_time() {
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    let request = whole_snapshot(LogId::new(4, 9));
    let piece = |offset, chunk| InstallSnapshot { offset, chunk, ..request.clone() };
    let halves = (request.chunk.slice(..2), request.chunk.slice(2..));
    assert!(has(&receive(&mut engine, piece(0, halves.0)), "receive_snapshot"));
    let said = receive(&mut engine, piece(2, halves.1.clone()));
    assert!(!has(&said, "receive_snapshot"), "it counts as lost: {said:?}");
    engine.handle_event(Event::SnapshotReceived { id: request.snapshot.id, held: 2 }, Instant(1));
    flush(&mut engine, Instant(1));
    assert!(has(&receive(&mut engine, piece(2, halves.1)), "receive_snapshot"));
}

#[test]
fn what_is_complete_is_installed_before_anything_of_another_one_is_received() {
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    received(&mut engine, LogId::new(4, 9));
    let newer = InstallSnapshot { request: RequestId(2), ..whole_snapshot(LogId::new(4, 12)) };
    let said = receive(&mut engine, newer.clone());
    assert!(!has(&said, "receive_snapshot"), "it would take the place of what is to be installed: {said:?}");
    assert!(has(&said, "not now: 4/12"), "nothing of it is here: {said:?}");
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(2));
    assert!(has(&flush(&mut engine, Instant(2)), "install snapshot 4/9"));
    engine.handle_event(Event::Applied { last: LogIndex(9) }, Instant(3));
    assert!(has(&receive(&mut engine, newer), "receive_snapshot 4/12"));
}

#[test]
fn what_was_spoiled_or_has_come_of_another_one_says_nothing_of_this_one() {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    let other = SnapshotId { checksum: 8, ..id };
    engine.handle_event(Event::SnapshotSpoiled { id: other, reason: "a late word".into() }, Instant(1));
    engine.handle_event(Event::SnapshotReceived { id: other, held: 4 }, Instant(1));
    assert!(!has(&flush(&mut engine, Instant(1)), "install snapshot"), "nor is it the one that has come");
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    assert!(has(&flush(&mut engine, Instant(1)), "install snapshot 4/9"));
}

/// The leader of a term that is over must not take it for a sign that somebody follows it.
#[test]
fn a_piece_of_an_earlier_term_is_kept_and_not_answered() {
    let mut engine = at_rest();
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    let beat = Heartbeat { term: Term(6), round: Round(1), commit: LogIndex(0), pledge: Duration::ZERO };
    let message = Some(Message::Heartbeat(beat));
    engine.handle_event(Event::Received { from: peer(3, 1), message }, Instant(1));
    engine.handle_event(Event::SnapshotReceived { id, held: 2 }, Instant(1));
    let said = flush(&mut engine, Instant(1));
    assert!(!has(&said, "install_snapshot_reply"), "{said:?}");
}

/// What the log took in before is covered, or gone.
#[test]
fn by_bytes_the_next_snapshot_is_counted_from_what_was_installed() {
    let mut cluster = led_with(|config| {
        config.snapshots.bytes = (config.node.node == NodeId(3)).then_some(2_000);
    });
    let large = |cluster: &mut Cluster, count: u64| {
        for value in 0..count {
            cluster.propose(1, value, &"x".repeat(100));
            cluster.stabilize();
        }
    };
    large(&mut cluster, 12);
    assert_eq!(cluster.engine(3).snapshot(), LogId::ZERO);
    let mut cluster = left_behind(cluster);
    for _ in 0..120 {
        beat(&mut cluster);
    }
    let installed = cluster.engine(1).snapshot();
    assert_eq!(cluster.engine(3).snapshot(), installed);
    large(&mut cluster, 10);
    assert_eq!(cluster.engine(3).snapshot(), installed, "ten of a hundred bytes are no two thousand");
    large(&mut cluster, 10);
    assert!(cluster.engine(3).snapshot() > installed);
}

#[test]
fn what_was_spoiled_on_the_way_is_brought_anew() {
    let mut cluster = left_behind(led());
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.network.iter().any(|it| is_piece(it) && is_full(it)));
    for envelope in &mut cluster.network {
        if let Message::InstallSnapshot(piece) = &mut envelope.message
            && !piece.chunk.is_empty()
        {
            piece.chunk = Bytes::from(vec![b'x'; piece.chunk.len()]);
        }
    }
    catch_up(&mut cluster);
    for _ in 0..12 {
        beat(&mut cluster);
    }
    assert!(cluster.trace.contains("snapshot 1/8") || cluster.trace.contains("install snapshot"), "{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert!(bytes_sent(&cluster) > snapshot_bytes(&cluster, 3), "it was sent again");
}

fn is_full(envelope: &Envelope) -> bool {
    matches!(&envelope.message, Message::InstallSnapshot(piece) if !piece.chunk.is_empty())
}

#[test]
fn garbage_is_refused_and_changes_nothing() {
    let fresh = || {
        let mut engine = follower(5, 3);
        flush(&mut engine, Instant(0));
        engine
    };
    let good = whole_snapshot(LogId::new(4, 9));
    let with = |change: fn(&mut Snapshot)| {
        let mut snapshot = (*good.snapshot).clone();
        change(&mut snapshot);
        InstallSnapshot { snapshot: Arc::new(snapshot), ..good.clone() }
    };
    let bad = [
        InstallSnapshot { offset: 1, ..good.clone() },
        InstallSnapshot { offset: u64::MAX, ..good.clone() },
        with(|it| it.id.last = LogId::new(6, 9)),
        with(|it| it.id.last = LogId::ZERO),
        with(|it| it.membership_at = LogId::new(4, 10)),
        with(|it| it.membership_at = LogId::ZERO),
        with(|it| it.membership_at.term = Term(5)),
        with(|it| it.membership = Arc::new(Membership::default())),
    ];
    for message in bad {
        let (mut engine, shown) = (fresh(), message.clone());
        let said = receive(&mut engine, message);
        assert!(has(&said, "refuse_peer") && !has(&said, "receive_snapshot"), "{shown:?}: {said:?}");
        assert_eq!(engine.last_log_id(), LogId::new(1, 5));
    }
    let mut engine = fresh();
    let old = InstallSnapshot { term: Term(4), ..good };
    assert!(has(&receive(&mut engine, old), "append_entries_reply stale, own term 5"));
}

#[test]
fn log_time_goes_on_from_what_a_snapshot_covers() {
    let mut engine = at_rest();
    let mut request = whole_snapshot(LogId::new(4, 9));
    // Further than the node's own clock comes until it leads.
    request.snapshot = Arc::new(Snapshot { log_time: LogTime(1_000_000), ..(*request.snapshot).clone() });
    let id = request.snapshot.id;
    receive(&mut engine, request);
    let installed_at = Instant(0) + Duration::from_secs(60);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, installed_at);
    flush(&mut engine, installed_at);
    let mut stamped = None;
    while stamped.is_none() {
        let now = engine.poll_timeout().expect("it may campaign").max(installed_at);
        engine.handle_event(Event::Timeout, now);
        flush(&mut engine, now);
        let asked = engine.vote().term;
        for reply in [
            Message::PreVoteReply(VoteReply { term: asked, asked: asked.next(), granted: true }),
            Message::RequestVoteReply(VoteReply { term: asked.next(), asked: asked.next(), granted: true }),
        ] {
            engine.handle_event(Event::Received { from: peer(1, 1), message: Some(reply) }, now);
            while let Some(command) = engine.poll_command() {
                if let Command::AppendInputEntries { batches, .. } = &command {
                    stamped = batches.first().map(Batch::log_time);
                }
                if let Command::SaveVote { write, .. } | Command::SavePeer { write, .. } = command {
                    engine.handle_event(Event::LogFlushed { write }, now);
                }
            }
        }
    }
    assert!(stamped >= Some(LogTime(1_000_000)), "{stamped:?}, but the snapshot ends at a million");
    assert!(stamped < Some(LogTime(1_030_000)), "{stamped:?}: the minute before it was installed does not count");
}

// ---- the log behind it ---------------------------------------------------------------------------------------------

#[test]
fn a_late_request_that_reaches_before_what_was_purged_counts_for_what_is_behind_it() {
    let mut cluster = led();
    write(&mut cluster, 0..2);
    cluster.propose(1, 5, "late");
    cluster.flush(1);
    let late = cluster.network.iter().find(|it| it.to == 2 && matches!(it.message, Message::AppendEntries(_))).cloned();
    cluster.stabilize();
    beat(&mut cluster);
    cluster.snapshot(2);
    assert_eq!(cluster.engine(2).purged(), LogId::new(1, 5));
    let Some(Message::AppendEntries(request)) = late.map(|it| it.message) else { panic!("{}", cluster.trace) };
    let earlier = AppendEntries { prev: LogId::new(1, 4), ..request.clone() };
    cluster.receive(2, 1, Message::AppendEntries(earlier));
    cluster.stabilize();
    assert_eq!(cluster.engine(2).last_log_id(), LogId::new(1, 5));
    let other = Batch::new(LogId::new(2, 5), LogTime(0), Arc::new([cluster::command("other")]));
    let contradicting = AppendEntries { term: Term(2), prev: LogId::new(1, 4), batches: vec![other], ..request };
    cluster.receive(2, 3, Message::AppendEntries(contradicting));
    assert!(cluster.trace.contains("it would replace the committed entry 1/5 by 2/5"), "{}", cluster.trace);
}

#[test]
fn a_node_starts_from_its_snapshot_and_applies_what_is_behind_it() {
    let mut cluster = led();
    write(&mut cluster, 0..4);
    cluster.snapshot(2);
    write(&mut cluster, 4..6);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.applied(2), ["v0", "v1", "v2", "v3"], "what the snapshot covers is committed");
    beat(&mut cluster);
    beat(&mut cluster);
    assert_eq!(cluster.applied(2), cluster.applied(1));
    assert_eq!(cluster.engine(2).membership().to_string(), "voters {1 2 3}", "from the snapshot");
}

#[test]
fn a_crash_between_the_snapshot_and_the_purge_loses_nothing() {
    let mut cluster = left_behind(led());
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.snapshot.is_some());
    assert_eq!(cluster.node(3).disk.purged, LogId::ZERO, "its log does not know of it yet");
    cluster.crash(3);
    cluster.drop_messages(|_| true);
    cluster.restart(3);
    assert_eq!(cluster.engine(3).commit_index(), LogIndex(8));
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
}

#[test]
fn a_leader_that_began_from_a_snapshot_brings_it_to_others() {
    let mut cluster = led();
    cluster.cut = vec![3];
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    cluster.snapshot(2);
    cluster.crash(1);
    cluster.crash(2);
    cluster.restart(1);
    cluster.restart(2);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    cluster.elect(2);
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(2));
    assert!(cluster.applied(3).len() == 6, "{:?}", cluster.applied(3));
}

#[test]
fn a_node_that_has_only_a_snapshot_may_be_elected() {
    let mut cluster = led();
    write(&mut cluster, 0..3);
    for id in [1, 2, 3] {
        cluster.snapshot(id);
        cluster.crash(id);
        cluster.restart(id);
    }
    cluster.drop_messages(|_| true);
    cluster.elect(3);
    cluster.propose(3, 1, "after");
    cluster.stabilize();
    beat(&mut cluster);
    for id in [1, 2, 3] {
        assert_eq!(cluster.applied(id), ["v0", "v1", "v2", "after"]);
    }
}

#[test]
#[should_panic(expected = "does not hold that")]
fn a_hole_between_snapshot_and_log_is_no_start() {
    let disk = Disk { purged: LogId::new(1, 5), starts: 1, ..Disk::default() };
    Cluster::empty(&[1], |_| {}).start(1, config(1), disk);
}
