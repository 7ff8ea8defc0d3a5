//! Snapshots, sentence by sentence of the Raft paper's section 7 and the thesis' chapter 5, in our words; then what others
//! got wrong, and what callers are told.

#[path = "snapshot/bringing.rs"]
mod bringing;
#[path = "snapshot/choosing.rs"]
mod choosing;
mod cluster;
#[path = "snapshot/counting.rs"]
mod counting;
#[path = "snapshot/damaged.rs"]
mod damaged;
#[path = "snapshot/delegating.rs"]
mod delegating;
#[path = "snapshot/installing.rs"]
mod installing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, Disk, Envelope, peer};
use outrigger_engine::*;

// ---- what the tests are made of ------------------------------------------------------------------------------------

const HEARTBEAT: Duration = Duration::from_millis(100);

/// Three nodes that take snapshots when told to, and send them in pieces of 16 bytes; node 1 leads, and sends its own.
fn led() -> Cluster {
    led_with(|_| {})
}

fn led_with(change: impl Fn(&mut EngineConfig)) -> Cluster {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| {
        config.snapshots = SnapshotPolicy { delegated: false, ..SnapshotPolicy::BY_HAND };
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
        let all: Vec<u64> = cluster.nodes.keys().copied().collect();
        let flushed = all.into_iter().filter(|id| cluster.flush(*id)).count();
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

/// The first message of a transfer of what a leader in term 5 has, with the members 1 and 2.
fn whole_snapshot(last: LogId) -> InstallSnapshot {
    let members = [1, 2].map(|id| (NodeId(id), Node::default()));
    let snapshot = Snapshot {
        id: SnapshotId { last, bytes: 4, checksum: 7 },
        genesis: Genesis::UNKNOWN,
        log_time: LogTime(50),
        membership: Arc::new(Membership::new(members, [])),
        membership_at: if last.term < Term(3) { LogId::new(0, 1) } else { LogId::new(3, 6) },
    };
    let (epoch, request, chunk) = (Epoch(1), RequestId(1), Bytes::from_static(b"abcd"));
    InstallSnapshot { term: Term(5), leader: NodeId(1), epoch, request, snapshot: Arc::new(snapshot), offset: 0, chunk }
}

fn config(node: u64) -> EngineConfig {
    EngineConfig {
        snapshots: SnapshotPolicy::BY_HAND,
        bind_directories: false,
        ..EngineConfig::new(peer(node, 1), node)
    }
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
fn by_hand_the_log_lets_go_of_what_the_snapshot_covers_and_of_nothing_else() {
    let mut cluster = led_with(|config| config.snapshots.keep_entries = 1_000);
    let purge = |cluster: &mut Cluster, keep_entries| {
        cluster.handle(1, Event::Purge { token: Token(8), keep_entries });
        cluster.stabilize();
        let told = cluster.node(1).answers.last().expect("an answer").clone();
        (told, cluster.engine(1).purged().index.0, cluster.node(1).disk.purged.index.0)
    };
    write(&mut cluster, 0..5);
    assert_eq!(purge(&mut cluster, 0), ("purged #8: through 0/0".into(), 0, 0), "no snapshot covers anything");
    cluster.snapshot(1);
    write(&mut cluster, 5..8);
    assert_eq!(cluster.engine(1).purged(), LogId::ZERO, "the policy keeps more");
    assert_eq!(purge(&mut cluster, 3), ("purged #8: through 1/4".into(), 4, 4));
    assert_eq!(purge(&mut cluster, 5), ("purged #8: through 1/4".into(), 4, 4), "nothing comes back");
    assert_eq!(purge(&mut cluster, 0), ("purged #8: through 1/7".into(), 7, 7), "what is behind the snapshot stays");
    assert_eq!(cluster.log(1), "1/8 1/9 1/10");
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
    // m324: it waits for eight of the longest election timeouts.
    let early = now + Duration::from_secs(7);
    engine.handle_event(Event::Timeout, early);
    assert_eq!(ordered(&mut engine, early), 0, "m324 nor soon");
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

#[test]
fn log_time_runs_on_from_where_a_restart_found_it() {
    let alone = Arc::new(Membership::new([(NodeId(1), Node::default())], []));
    let restored = Restored {
        vote: Vote { term: Term(5), voted_for: Some(NodeId(1)) },
        terms: vec![LogId::new(0, 1), LogId::new(1, 2)],
        last: LogId::new(1, 2),
        log_time: LogTime(1_000_000),
        memberships: vec![(LogId::new(0, 1), alone)],
        ..Restored::default()
    };
    let mut engine = Engine::new(config(1), restored, Instant(0));
    while engine.role_kind() != RoleKind::Leader {
        let now = engine.poll_timeout().expect("it campaigns");
        engine.handle_event(Event::Timeout, now);
        flush(&mut engine, now);
    }
    let now = Instant(0) + Duration::from_secs(7);
    engine.handle_event(Event::Propose { token: Token(9), entries: Arc::new([Payload::blank()]), only_in: None }, now);
    let stamped = std::iter::from_fn(|| engine.poll_command()).find_map(|command| match command {
        Command::AppendInputEntries { batches, .. } => batches.first().map(Batch::log_time),
        _ => None,
    });
    assert_eq!(stamped, Some(LogTime(1_007_000)));
}

/// Each of the leader's batches begins less than a millisecond after the last, by the clock that counts log time.
#[test]
fn log_time_does_not_fall_behind_the_clock_of_a_leader_that_writes_often() {
    let mut engine = alone_and_building(Instant(0));
    let began = engine.poll_timeout().expect("a leader has heartbeats to send");
    let mut stamped = Vec::new();
    for step in 1..=1000 {
        let now = began + Duration::from_micros(1500 * step);
        engine.handle_event(
            Event::Propose { token: Token(9), entries: Arc::new([Payload::blank()]), only_in: None },
            now,
        );
        let mut written = None;
        while let Some(command) = engine.poll_command() {
            if let Command::AppendInputEntries { write, batches } = command {
                stamped.extend(batches.iter().map(Batch::log_time));
                written = Some(write);
            }
        }
        engine.handle_event(Event::LogFlushed { write: written.expect("it takes it in") }, now);
        engine.handle_event(Event::Applied { last: engine.commit_index() }, now);
    }
    let (first, last) = (stamped.first().expect("some"), stamped.last().expect("some"));
    assert!(last.0 - first.0 >= 1498, "from {first:?} to {last:?} in a second and a half");
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
    engine.handle_event(
        Event::Propose { token: Token(2), entries: Arc::new([cluster::command("more")]), only_in: None },
        now,
    );
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
fn no_more_may_wait_for_a_snapshot_than_the_limits_allow() {
    let now = Instant(9_000_000_000);
    let mut engine = alone_and_building(now);
    for token in 100..100 + config(1).limits.forwards_max as u64 {
        engine.handle_event(Event::TakeSnapshot { token: Token(token) }, now);
    }
    let refused: Vec<String> = flush(&mut engine, now).into_iter().filter(|said| said.contains("refused")).collect();
    assert!(refused.len() == 1 && refused[0].contains("in hand"), "{refused:?}");
}

#[test]
fn whoever_waits_for_a_snapshot_is_told_when_the_node_stops() {
    let now = Instant(9_000_000_000);
    let mut engine = alone_and_building(now);
    engine.handle_event(Event::StorageFailed { reason: "gone".into() }, now);
    assert!(has(&flush(&mut engine, now), "refused #5"));
}

#[test]
fn the_interval_counts_from_the_last_snapshot() {
    let mut cluster = led_with(|config| config.snapshots.interval = Some(Duration::from_secs(1)));
    write(&mut cluster, 0..3);
    for _ in 0..12 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    let first = cluster.engine(1).snapshot();
    assert!(first > LogId::ZERO);
    write(&mut cluster, 3..6);
    assert_eq!(cluster.engine(1).snapshot(), first, "{}", cluster.trace);
}

#[test]
fn a_leader_is_brought_nothing_in_its_own_stead() {
    let mut cluster = led();
    let last = cluster.engine(1).last_log_id();
    cluster.network.clear();
    let mut piece = whole_snapshot(LogId::new(0, 1));
    (piece.term, piece.leader) = (last.term, NodeId(1));
    cluster.receive(1, 2, Message::InstallSnapshot(piece));
    assert!(cluster.network.is_empty(), "{:?}", cluster.network);
}

#[test]
fn how_much_a_follower_has_is_asked_with_nothing_in_hand() {
    let mut cluster = left_behind(led());
    cluster.trace.clear();
    while cluster.network.iter().all(|it| !matches!(it.message, Message::InstallSnapshot(_))) {
        cluster.elapse(HEARTBEAT);
        while cluster.network.iter().all(|it| !matches!(it.message, Message::InstallSnapshot(_)))
            && cluster.deliver(|_| true)
        {}
    }
    let first = cluster.network.iter().find_map(|it| match &it.message {
        Message::InstallSnapshot(piece) => Some(piece.chunk.len()),
        _ => None,
    });
    assert_eq!(first, Some(0));
}

#[test]
fn what_is_reported_twice_is_answered_once() {
    let mut engine = follower(3, 3);
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(1));
    flush(&mut engine, Instant(1));
    let piece = InstallSnapshot { chunk: Bytes::from_static(b"ab"), ..whole_snapshot(LogId::new(4, 9)) };
    let id = piece.snapshot.id;
    receive(&mut engine, piece);
    let mut answers = 0;
    for _ in 0..2 {
        engine.handle_event(Event::SnapshotReceived { id, held: 2 }, Instant(1));
        answers += flush(&mut engine, Instant(1)).iter().filter(|it| it.contains("install_snapshot_reply")).count();
    }
    assert_eq!(answers, 1);
}
