//! What is counted towards the next snapshot: bytes of entries that the last one does not cover.

use super::*;

/// A node that takes a snapshot for each 2,000 bytes, and whose log has so many that none covers.
fn counting(log_bytes: u64) -> Engine {
    let members = [1, 2, 3].map(|id| (NodeId(id), Node::default()));
    let restored = Restored {
        vote: Vote { term: Term(5), voted_for: None },
        terms: vec![LogId::new(0, 1), LogId::new(1, 2)],
        last: LogId::new(1, 3),
        commit: LogIndex(3),
        memberships: vec![(LogId::new(0, 1), Arc::new(Membership::new(members, [])))],
        log_bytes,
        ..Restored::default()
    };
    let snapshots = SnapshotPolicy { bytes: Some(2_000), ..SnapshotPolicy::BY_HAND };
    let mut engine = Engine::new(EngineConfig { snapshots, ..config(2) }, restored, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(0));
    engine
}

/// Its leader sends an entry of about so many bytes, committed. Answers whether it takes a snapshot then.
fn builds_after(engine: &mut Engine, bytes: usize) -> bool {
    let (term, prev) = (Term(5), engine.last_log_id());
    let entry = Payload::command(Bytes::from(vec![b'x'; bytes - Payload::OVERHEAD_BYTES]));
    let batch = Batch::new(LogId { term, index: prev.index.next() }, LogTime(60), Arc::new([entry]));
    let (epoch, request, commit) = (Epoch(1), RequestId(1), prev.index.next());
    let append = AppendEntries { term, epoch, request, prev, batches: vec![batch], commit };
    let message = Some(Message::AppendEntries(append));
    engine.handle_event(Event::Received { from: peer(1, 1), message }, Instant(9));
    let said = flush(engine, Instant(9));
    engine.handle_event(Event::Applied { last: commit }, Instant(9));
    has(&said, "build snapshot") || has(&flush(engine, Instant(9)), "build snapshot")
}

#[test]
fn what_an_installed_snapshot_covers_is_not_counted_towards_the_next_one() {
    let mut engine = counting(1_000);
    flush(&mut engine, Instant(0));
    let request = whole_snapshot(LogId::new(4, 9));
    let id = request.snapshot.id;
    receive(&mut engine, request);
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(1));
    assert!(has(&flush(&mut engine, Instant(1)), "install snapshot"));
    engine.handle_event(Event::Applied { last: LogIndex(9) }, Instant(1));
    assert!(!builds_after(&mut engine, 1_500), "the thousand bytes are in it");
    assert!(builds_after(&mut engine, 600), "now there are 2,100");
}

#[test]
fn by_time_no_snapshot_is_taken_of_what_the_last_one_covers() {
    let mut engine = counting(0);
    let snapshots = SnapshotPolicy { interval: Some(HEARTBEAT), ..SnapshotPolicy::BY_HAND };
    let restored = Restored {
        vote: Vote { term: Term(5), voted_for: None },
        terms: vec![LogId::new(0, 1)],
        last: LogId::new(0, 1),
        commit: LogIndex(1),
        memberships: vec![(LogId::new(0, 1), Arc::new(engine.membership().clone()))],
        ..Restored::default()
    };
    engine = Engine::new(EngineConfig { snapshots, ..config(2) }, restored, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(1) }, Instant(0));
    let told = |engine: &mut Engine, beats: u32| {
        let now = Instant(0) + HEARTBEAT * beats;
        engine.handle_event(Event::Received { from: peer(1, 1), message: None }, now);
        has(&flush(engine, now), "build snapshot")
    };
    assert!(!told(&mut engine, 0) && told(&mut engine, 1), "the time has come");
    engine.handle_event(built(LogId::new(0, 1)), Instant(0) + HEARTBEAT);
    assert!(!(2..9).any(|beats| told(&mut engine, beats)), "nothing has come since");
}

#[test]
fn what_comes_while_a_snapshot_is_taken_is_counted_towards_the_next_one() {
    let mut engine = counting(2_000);
    assert!(has(&flush(&mut engine, Instant(0)), "build snapshot"));
    assert!(!builds_after(&mut engine, 1_500), "one at a time");
    engine.handle_event(built(LogId::new(1, 3)), Instant(8));
    assert!(!has(&flush(&mut engine, Instant(8)), "build snapshot"), "1,500 bytes are not covered");
    assert!(builds_after(&mut engine, 600), "now it is 2,100");
}
