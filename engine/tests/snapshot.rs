//! Snapshots, sentence by sentence of the Raft paper's section 7 and the thesis' chapter 5, in our words; then what others
//! got wrong, and what callers are told.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, Disk, Envelope, peer};
use outrigger_engine::*;

// ---- what the tests are made of ------------------------------------------------------------------------------------

const HEARTBEAT: Duration = Duration::from_millis(100);

/// Three nodes that take snapshots when told to, and send them in pieces of 16 bytes; node 1 leads.
fn led() -> Cluster {
    led_with(|_| {})
}

fn led_with(change: impl Fn(&mut EngineConfig)) -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| {
        config.snapshots = SnapshotPolicy::BY_HAND;
        config.limits.snapshot_chunk_bytes_max = 16;
        change(config);
    });
    cluster.elect(1);
    cluster
}

fn write(cluster: &mut Cluster, values: std::ops::Range<u64>) {
    for value in values {
        cluster.propose(1, value, &format!("v{value}"));
        cluster.stabilize();
    }
}

/// Node 3 is away while the others write, take a snapshot and drop what it covers; then it is back.
fn left_behind(mut cluster: Cluster) -> Cluster {
    cluster.cut = vec![3];
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    write(&mut cluster, 6..8);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    cluster
}

/// Flushes and delivers until nothing but pieces is on its way.
fn all_but_pieces(cluster: &mut Cluster) {
    loop {
        let flushed = [1, 2, 3].into_iter().filter(|id| cluster.flush(*id)).count();
        if !cluster.deliver(|envelope| !is_piece(envelope)) && flushed == 0 {
            return;
        }
    }
}

fn beat(cluster: &mut Cluster) {
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
}

fn catch_up(cluster: &mut Cluster) {
    for _ in 0..4 {
        beat(cluster);
    }
}

fn is_piece(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::InstallSnapshot(_))
}

/// The bytes of snapshots that were sent, by the trace.
fn bytes_sent(cluster: &Cluster) -> u64 {
    let received = cluster.trace.lines().filter_map(|line| line.trim().strip_prefix("receive_snapshot "));
    let bytes = |line: &str| line.split(": ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    received.filter_map(bytes).sum()
}

fn snapshot_bytes(cluster: &Cluster, id: u64) -> u64 {
    cluster.node(id).disk.snapshot.as_ref().map_or(0, |(snapshot, _)| snapshot.id.bytes)
}

// ---- taking one ----------------------------------------------------------------------------------------------------

#[test]
fn p7_each_server_takes_snapshots_by_itself_and_of_committed_entries_only() {
    let mut cluster = led();
    write(&mut cluster, 0..3);
    cluster.propose(1, 9, "not committed");
    let commit = cluster.engine(2).commit_index();
    cluster.snapshot(2);
    assert_eq!(cluster.engine(2).snapshot().index, commit);
    assert_eq!(cluster.engine(1).snapshot(), LogId::ZERO, "that is nobody else's business");
    cluster.snapshot(1);
    assert_eq!(cluster.engine(1).snapshot().index, commit, "the last entry is not committed");
}

#[test]
fn p7_once_a_snapshot_is_written_the_entries_up_to_it_are_dropped() {
    let mut cluster = led();
    write(&mut cluster, 0..3);
    let last = cluster.engine(1).last_log_id();
    cluster.snapshot(1);
    assert_eq!((cluster.engine(1).purged(), cluster.log(1)), (last, String::new()));
    assert_eq!(cluster.node(1).disk.purged, last, "durably");
    write(&mut cluster, 3..5);
    assert_eq!(cluster.log(1), "1/6 1/7");
    assert_eq!(cluster.log(2), "0/1 1/2 1/3 1/4 1/5 1/6 1/7");
}

#[test]
fn some_entries_that_a_snapshot_covers_stay_for_followers_that_are_a_little_behind() {
    let mut cluster = led_with(|config| config.snapshots.keep_entries = 3);
    write(&mut cluster, 0..5);
    cluster.snapshot(1);
    assert_eq!((cluster.engine(1).snapshot().index, cluster.engine(1).purged().index), (LogIndex(7), LogIndex(4)));
    cluster.cut = vec![3];
    write(&mut cluster, 5..6);
    cluster.cut = Vec::new();
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert!(!cluster.trace.contains("install_snapshot"), "the log reaches back far enough:\n{}", cluster.trace);
}

#[test]
fn a_snapshot_is_taken_when_the_policy_says_so() {
    let taken = |change: fn(&mut SnapshotPolicy)| {
        let mut cluster = led_with(|config| change(&mut config.snapshots));
        write(&mut cluster, 0..9);
        cluster.elapse(Duration::from_secs(2));
        cluster.engine(1).snapshot().index.0
    };
    assert_eq!(taken(|_| {}), 0, "nobody asked");
    assert_eq!(taken(|policy| policy.entries = Some(4)), 8, "after 4 and 8 entries");
    assert_eq!(taken(|policy| policy.entries = Some(100)), 0);
    assert!(taken(|policy| policy.bytes = Some(200)) > 2);
    assert_eq!(taken(|policy| policy.bytes = Some(1 << 20)), 0);
    assert_eq!(taken(|policy| policy.interval = Some(Duration::from_secs(1))), 11);
    assert_eq!(taken(|policy| policy.interval = Some(Duration::from_secs(9))), 0);
}

#[test]
fn a_snapshot_that_could_not_be_kept_is_tried_again_later_and_nothing_is_purged() {
    let mut engine = Engine::new(
        EngineConfig { snapshots: SnapshotPolicy { entries: Some(1), ..SnapshotPolicy::BY_HAND }, ..config(1) },
        Restored::default(),
        Instant(0),
    );
    let alone = Membership::new([(NodeId(1), Node::default())], []);
    engine.handle_event(Event::Initialize { token: Token(1), membership: Arc::new(alone) }, Instant(0));
    while engine.role_kind() != RoleKind::Leader {
        let now = engine.poll_timeout().unwrap();
        engine.handle_event(Event::Timeout, now);
        flush(&mut engine, now);
    }
    let now = engine.poll_timeout().unwrap();
    let ordered =
        |engine: &mut Engine, now| flush(engine, now).iter().filter(|it| it.contains("build snapshot")).count();
    engine.handle_event(Event::Applied { last: engine.commit_index() }, now);
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, now);
    engine.handle_event(Event::SnapshotFailed { reason: "no room".into() }, now);
    let said = flush(&mut engine, now);
    assert!(said.iter().any(|it| it.starts_with("refused #5: the snapshot could not be kept")), "{said:?}");
    engine.handle_event(Event::Timeout, now + HEARTBEAT);
    assert_eq!(ordered(&mut engine, now + HEARTBEAT), 0, "not at once");
    assert_eq!(engine.purged(), LogId::ZERO);
    let later = now + Duration::from_secs(9);
    engine.handle_event(Event::Timeout, later);
    assert_eq!(ordered(&mut engine, later), 1);
}

#[test]
fn whoever_asks_for_a_snapshot_is_told_what_it_covers() {
    let mut cluster = Cluster::empty(&[1], |config| config.snapshots = SnapshotPolicy::BY_HAND);
    cluster.snapshot(1);
    assert_eq!(
        cluster.node(1).answers,
        ["refused #99: nothing is committed yet; there is nothing to take a snapshot of"]
    );
    let mut cluster = led();
    write(&mut cluster, 0..1);
    cluster.snapshot(1);
    cluster.snapshot(1);
    let answers = &cluster.node(1).answers;
    assert_eq!(answers[answers.len() - 2..], ["snapshot_taken #99: 1/3", "snapshot_taken #99: 1/3"]);
    assert_eq!(cluster.trace.matches("build snapshot").count(), 1, "there is nothing new in a second one");
}

/// A node alone that leads, with a snapshot of what is committed under way, which `#5` waits for.
fn alone_and_building(now: Instant) -> Engine {
    let mut engine = Engine::new(config(1), Restored::default(), Instant(0));
    let alone = Membership::new([(NodeId(1), Node::default())], []);
    engine.handle_event(Event::Initialize { token: Token(1), membership: Arc::new(alone) }, Instant(0));
    while engine.role_kind() != RoleKind::Leader {
        engine.handle_event(Event::Timeout, engine.poll_timeout().unwrap());
        flush(&mut engine, now);
    }
    engine.handle_event(Event::Applied { last: engine.commit_index() }, now);
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, now);
    flush(&mut engine, now);
    engine
}

fn built(last: LogId) -> Event {
    let InstallSnapshot { snapshot, .. } = whole_snapshot(last);
    Event::SnapshotBuilt { snapshot }
}

#[test]
fn whoever_asks_while_one_is_taken_is_told_of_one_that_covers_all_that_was_committed_then() {
    let now = Instant(9_000_000_000);
    let mut engine = alone_and_building(now);
    let first = engine.last_log_id();
    engine.handle_event(Event::TakeSnapshot { token: Token(6) }, now);
    engine.handle_event(Event::Propose { token: Token(2), entries: Arc::new([cluster::command("more")]) }, now);
    flush(&mut engine, now);
    assert!(engine.commit_index() > first.index);
    engine.handle_event(Event::TakeSnapshot { token: Token(7) }, now);
    engine.handle_event(built(first), now);
    let said = flush(&mut engine, now);
    assert!(has(&said, &format!("snapshot_taken #5: {first}")) && has(&said, "snapshot_taken #6"), "{said:?}");
    assert!(!has(&said, "#7") && has(&said, "build snapshot of"), "the second is not covered: {said:?}");
    engine.handle_event(built(engine.last_log_id()), now);
    let last = engine.last_log_id();
    assert!(has(&flush(&mut engine, now), &format!("snapshot_taken #7: {last}")));
}

#[test]
fn whoever_waits_for_a_snapshot_is_told_when_the_node_stops() {
    let now = Instant(9_000_000_000);
    let mut engine = alone_and_building(now);
    engine.handle_event(Event::StorageFailed { reason: "gone".into() }, now);
    assert!(has(&flush(&mut engine, now), "refused #5"));
}

// ---- bringing one --------------------------------------------------------------------------------------------------

#[test]
fn p7_a_follower_is_sent_the_snapshot_when_the_next_entry_that_it_needs_is_discarded() {
    let mut cluster = left_behind(led());
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"]);
    assert_eq!(cluster.log(3), "1/9 1/10", "its log begins behind the snapshot");
    assert_eq!(cluster.engine(3).commit_index(), cluster.engine(1).commit_index());
    assert_eq!(bytes_sent(&cluster), snapshot_bytes(&cluster, 3), "each byte was sent once:\n{}", cluster.trace);
    assert!(snapshot_bytes(&cluster, 3) > 32, "in several pieces");
}

#[test]
fn t5_a_learner_that_joins_is_brought_what_the_log_does_not_hold() {
    let mut cluster = led();
    write(&mut cluster, 0..3);
    cluster.snapshot(1);
    cluster.join(&[4]);
    let added = [(NodeId(4), Node { address: "node4".into() })].into();
    cluster.change(1, 7, ChangeMembers::AddNodes(added));
    cluster.stabilize();
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(4), cluster.applied(1));
    assert_eq!(cluster.engine(4).membership().to_string(), "voters {1 2 3} learners {4}");
    assert_eq!(cluster.engine(4).membership_at(), cluster.engine(1).membership_at());
}

#[test]
fn a_piece_that_was_lost_is_asked_for_again_when_heartbeats_are_answered() {
    let mut cluster = left_behind(led());
    let mut lost = 0;
    for _ in 0..40 {
        lost += cluster.drop_messages(is_piece);
        cluster.elapse(HEARTBEAT);
        // Every second piece is lost.
        all_but_pieces(&mut cluster);
        cluster.deliver(is_piece);
        all_but_pieces(&mut cluster);
    }
    cluster.stabilize();
    assert!(lost > 1, "{lost} were lost");
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
}

#[test]
fn a_piece_that_is_slow_is_not_sent_with_every_heartbeat() {
    let mut cluster = left_behind(led());
    for _ in 0..30 {
        cluster.elapse(HEARTBEAT);
        // Nothing but pieces is slow.
        all_but_pieces(&mut cluster);
    }
    let under_way = cluster.network.iter().filter(|envelope| is_piece(envelope)).count();
    assert!((2..=6).contains(&under_way), "{under_way} pieces are under way after 30 heartbeats");
    cluster.stabilize();
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
}

#[test]
fn a_transfer_goes_on_where_it_stopped_after_a_restart_of_the_follower() {
    let mut cluster = left_behind(led());
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.received.as_ref().is_some_and(|(_, bytes)| bytes.len() >= 32));
    cluster.drop_messages(|_| true);
    cluster.crash(3);
    cluster.restart(3);
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    let twice = bytes_sent(&cluster) - snapshot_bytes(&cluster, 3);
    assert!(twice <= 16, "{twice} bytes were sent twice, more than the one piece whose answer was lost");
}

#[test]
fn a_newer_snapshot_takes_the_place_of_one_that_is_gone() {
    let mut cluster = left_behind(led());
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.received.as_ref().is_some_and(|(_, bytes)| bytes.len() >= 16));
    cluster.snapshot(1);
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(1).snapshot());
}

#[test]
fn no_new_one_is_taken_while_a_follower_that_is_there_is_brought_one() {
    let mut cluster = left_behind(led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(6);
    }));
    let first = cluster.engine(1).snapshot();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.received.is_some());
    for value in 20..40 {
        cluster.propose(1, value, "more");
    }
    cluster.stabilize_until(|it| it.commit(1) >= first.index.0 + 10);
    assert_eq!(cluster.engine(1).snapshot(), first, "it would have to begin anew");
    catch_up(&mut cluster);
    assert!(cluster.engine(1).snapshot() > first, "now there is one:\n{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1));
}

// ---- installing one ------------------------------------------------------------------------------------------------

/// The first message of a transfer of what a leader in term 5 has, with the members 1 and 2.
fn whole_snapshot(last: LogId) -> InstallSnapshot {
    let members = [1, 2].map(|id| (NodeId(id), Node::default()));
    let snapshot = Snapshot {
        id: SnapshotId { last, bytes: 4, checksum: 7 },
        genesis: 0,
        log_time: LogTime(50),
        membership: Arc::new(Membership::new(members, [])),
        membership_at: if last.term < Term(3) { LogId::new(0, 1) } else { LogId::new(3, 6) },
    };
    let (epoch, request, chunk) = (Epoch(1), RequestId(1), Bytes::from_static(b"abcd"));
    InstallSnapshot { term: Term(5), epoch, request, snapshot: Arc::new(snapshot), offset: 0, chunk }
}

fn config(node: u64) -> EngineConfig {
    EngineConfig { snapshots: SnapshotPolicy::BY_HAND, ..EngineConfig::new(peer(node, 1), node) }
}

/// Makes everything durable at once; what else was wanted comes back as text.
fn flush(engine: &mut Engine, now: Instant) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(command) = engine.poll_command() {
        seen.push(command.to_string());
        if let Command::SaveVote { write, .. }
        | Command::SavePeer { write, .. }
        | Command::AppendInputEntries { write, .. }
        | Command::TruncateLog { write, .. }
        | Command::PurgeLog { write, .. } = command
        {
            engine.handle_event(Event::LogFlushed { write }, now);
        }
    }
    seen
}

/// A follower whose log is 0/1 1/2 1/3 .. 1/`last`, committed up to `commit`.
fn follower(last: u64, commit: u64) -> Engine {
    let members = [1, 2, 3].map(|id| (NodeId(id), Node::default()));
    let restored = Restored {
        vote: Vote { term: Term(5), voted_for: None },
        terms: vec![LogId::new(0, 1), LogId::new(1, 2)],
        last: LogId::new(1, last),
        commit: LogIndex(commit),
        memberships: vec![(LogId::new(0, 1), Arc::new(Membership::new(members, [])))],
        ..Restored::default()
    };
    Engine::new(config(2), restored, Instant(0))
}

fn receive(engine: &mut Engine, message: InstallSnapshot) -> Vec<String> {
    let message = Some(Message::InstallSnapshot(message));
    engine.handle_event(Event::Received { from: peer(1, 1), message }, Instant(1));
    flush(engine, Instant(1))
}

fn has(said: &[String], what: &str) -> bool {
    said.iter().any(|it| it.contains(what))
}

#[test]
fn p7_a_snapshot_that_is_behind_the_log_discards_the_whole_log() {
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(1));
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
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(1));
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
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    assert_eq!((engine.membership().to_string(), engine.membership_at()), ("voters {1 2}".into(), LogId::new(3, 6)));
    assert!(has(&flush(&mut engine, Instant(1)), "set_peers 1="), "and who is spoken to");
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
    let mut engine = follower(5, 3);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(1));
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    flush(&mut engine, Instant(1));
    let mut stamped = None;
    while stamped.is_none() {
        let now = engine.poll_timeout().expect("it may campaign");
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
    assert!(stamped >= Some(LogTime(50)), "{stamped:?}, but the snapshot ends at 50");
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
