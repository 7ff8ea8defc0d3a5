//! A follower sends its snapshot in the leader's stead.

use std::collections::BTreeMap;

use super::*;

/// Three nodes, of which followers send snapshots; node 1 leads.
fn delegating() -> Cluster {
    delegating_in(Version::LATEST)
}

/// The cluster's version is this one, and its nodes speak no more.
fn delegating_in(version: Version) -> Cluster {
    led_with(|config| {
        config.snapshots.delegated = true;
        config.node.version = version;
    })
}

pub(super) fn both_have_one() -> Cluster {
    both_have_one_of(delegating())
}

/// Node 3 was away; nodes 1 and 2 have a snapshot each, of different entries, and have dropped what it covers.
fn both_have_one_of(mut cluster: Cluster) -> Cluster {
    cluster.cut = vec![3];
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    write(&mut cluster, 6..8);
    cluster.snapshot(2);
    write(&mut cluster, 8..9);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    cluster
}

/// How many pieces and questions each node has sent.
pub(super) fn sent_by(cluster: &Cluster) -> BTreeMap<u64, usize> {
    let mut sent = BTreeMap::new();
    let mut node = 0;
    for line in cluster.trace.lines() {
        match line.strip_prefix(' ') {
            Some(command) if command.trim().starts_with("send_snapshot") => *sent.entry(node).or_default() += 1,
            Some(_) => {}
            None => node = line.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default(),
        }
    }
    sent
}

/// One round of heartbeats in which these messages are lost.
fn beat_without(cluster: &mut Cluster, lost: impl Fn(&Envelope) -> bool) {
    cluster.elapse(HEARTBEAT);
    loop {
        let all: Vec<u64> = cluster.nodes.keys().copied().collect();
        let flushed = all.into_iter().filter(|id| cluster.flush(*id)).count();
        cluster.drop_messages(&lost);
        if !cluster.deliver(|_| true) && flushed == 0 {
            return;
        }
    }
}

fn is_order(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::DelegateSnapshot(_))
}

/// Node 3 has some pieces of what node 2 sends it.
pub(super) fn half_way(cluster: &mut Cluster) {
    let is_later = |envelope: &Envelope| matches!(&envelope.message, Message::InstallSnapshot(it) if it.offset >= 32);
    beat_without(cluster, is_later);
    assert!(cluster.node(3).disk.received.as_ref().is_some_and(|(_, held)| held.len() == 32), "{}", cluster.trace);
}

#[test]
fn a_follower_that_has_a_snapshot_sends_it_in_the_leaders_stead() {
    let mut cluster = both_have_one();
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(2).snapshot(), "it has the one of node 2");
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [2], "{}", cluster.trace);
    assert_eq!(bytes_sent(&cluster), snapshot_bytes(&cluster, 3), "each byte was sent once:\n{}", cluster.trace);
    assert_eq!(cluster.engine(1).matched().collect::<Vec<_>>()[1].1, cluster.engine(1).last_log_id().index);
}

/// Nobody is asked for what it may not know.
#[test]
fn the_leader_sends_its_own_in_a_cluster_of_the_first_version() {
    let mut cluster = both_have_one_of(delegating_in(Version::FIRST));
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(1).snapshot(), "it has the leader's");
    assert!(!cluster.trace.contains("delegate_snapshot"), "{}", cluster.trace);
}

/// What the delegate has acknowledged lasts, whatever memberships come later: it is from the raise on that it knows what it is told.
#[test]
fn the_leader_sends_its_own_where_followers_are_to_send_none() {
    let mut cluster = both_have_one_of(led_with(|config| config.node.version = Version::LATEST));
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert_eq!(sent_by(&cluster).keys().copied().collect::<Vec<_>>(), [1], "{}", cluster.trace);
}

#[test]
fn a_change_of_the_members_that_the_delegate_lacks_does_not_end_its_transfer() {
    for version in [Version::FIRST, Version::LATEST] {
        let mut cluster = Cluster::with(&[1, 2, 3, 5, 6], |config| {
            config.snapshots = SnapshotPolicy { delegated: true, ..SnapshotPolicy::BY_HAND };
            config.limits.snapshot_chunk_bytes_max = 16;
            config.node.version = version;
        });
        cluster.elect(1);
        cluster.cut = vec![3];
        write(&mut cluster, 0..6);
        cluster.snapshot(1);
        cluster.snapshot(2);
        cluster.drop_messages(|_| true);
        cluster.cut = Vec::new();
        let is_late = |envelope: &Envelope| {
            let is_to_delegate = envelope.to == 2 && matches!(envelope.message, Message::AppendEntries(_));
            is_to_delegate || matches!(&envelope.message, Message::InstallSnapshot(it) if it.offset >= 32)
        };
        beat_without(&mut cluster, is_late);
        cluster.change(1, 9, ChangeMembers::SetNodes([(NodeId(6), Node { address: "elsewhere".to_owned() })].into()));
        beat_without(&mut cluster, is_late);
        let (at, lacks) = (cluster.engine(1).membership_at(), cluster.engine(2).last_log_id());
        assert!(at.index <= cluster.engine(1).commit_index() && lacks.index < at.index, "{}", cluster.trace);
        let before = sent_by(&cluster);
        beat_without(&mut cluster, is_late);
        catch_up(&mut cluster);
        let after = sent_by(&cluster);
        let sender = if version == Version::FIRST { 1 } else { 2 };
        assert!(after.get(&sender) > before.get(&sender), "{before:?} {after:?}\n{}", cluster.trace);
        assert_eq!(after.len(), 1, "nobody else sends: {after:?}\n{}", cluster.trace);
        assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    }
}

#[test]
fn the_leader_sends_its_own_if_no_follower_has_one() {
    let mut cluster = left_behind(delegating());
    for _ in 0..8 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [1], "{}", cluster.trace);
}

#[test]
fn a_snapshot_that_the_leaders_log_does_not_reach_back_to_is_not_sent() {
    let mut cluster = delegating();
    cluster.cut = vec![3];
    write(&mut cluster, 0..2);
    cluster.snapshot(2);
    write(&mut cluster, 2..6);
    cluster.snapshot(1);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    for _ in 0..8 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [1], "{}", cluster.trace);
}

#[test]
fn an_order_that_was_lost_is_given_again_and_the_transfer_goes_on_where_it_was() {
    let mut cluster = both_have_one();
    for round in 0..40 {
        beat_without(&mut cluster, |envelope| round % 2 == 0 && is_order(envelope));
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [2], "{}", cluster.trace);
    assert_eq!(bytes_sent(&cluster), snapshot_bytes(&cluster, 3), "each byte was sent once:\n{}", cluster.trace);
}

#[test]
fn a_delegate_that_starts_again_goes_on_where_it_was() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    cluster.crash(2);
    for _ in 0..3 {
        beat(&mut cluster);
    }
    cluster.restart(2);
    for _ in 0..12 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [2], "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(2).snapshot(), "it has the one of node 2");
}

#[test]
fn the_leader_sends_its_own_when_a_delegate_is_gone_for_good() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    cluster.crash(2);
    for _ in 0..40 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(1).snapshot(), "{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [1, 2], "{}", cluster.trace);
}

#[test]
fn a_delegate_takes_no_new_snapshot_while_it_sends_one() {
    let mut cluster = led_with(|config| {
        config.snapshots = SnapshotPolicy { entries: Some(4), keep_entries: 100, ..SnapshotPolicy::BY_HAND };
    });
    write(&mut cluster, 0..3);
    let first = cluster.engine(2).snapshot();
    let newest = Wanted::Newest { covers: LogIndex(1) };
    let (term, target, epoch) = (Term(1), NodeId(3), Epoch(77));
    let order = DelegateSnapshot { term, target, epoch, request: RequestId(1), wanted: newest };
    cluster.receive(2, 1, Message::DelegateSnapshot(order));
    write(&mut cluster, 3..9);
    assert_eq!(cluster.engine(2).snapshot(), first, "{}", cluster.trace);
    assert!(cluster.engine(1).snapshot() > first, "others take theirs");
    cluster.elapse(HEARTBEAT * 11);
    cluster.stabilize();
    assert!(cluster.engine(2).snapshot() > first, "nothing was ordered for long:\n{}", cluster.trace);
}

/// An order by hand to node 2, for the newest.
fn order(term: u64, target: u64, request: u64) -> Message {
    let wanted = Wanted::Newest { covers: LogIndex(1) };
    let (term, target, epoch) = (Term(term), NodeId(target), Epoch(77));
    Message::DelegateSnapshot(DelegateSnapshot { term, target, epoch, request: RequestId(request), wanted })
}

fn lender() -> (Engine, Instant) {
    let mut cluster = both_have_one();
    catch_up(&mut cluster);
    let mut engine = cluster.engine(2).clone();
    flush(&mut engine, cluster.now);
    (engine, cluster.now)
}

/// What node 2 says to this order of a leader.
fn ordered(engine: &mut Engine, from: u64, message: Message, now: Instant) -> Vec<String> {
    engine.handle_event(Event::Received { from: peer(from, 1), message: Some(message) }, now);
    let mut said = Vec::new();
    while let Some(command) = engine.poll_command() {
        said.push(command.to_string());
    }
    said
}

const BY_HAND: u64 = u64::MAX / 2;

#[test]
fn a_delegate_sends_one_piece_after_the_other() {
    let (mut engine, now) = lender();
    assert!(has(&ordered(&mut engine, 1, order(1, 3, BY_HAND), now), "send_snapshot"));
    let second = order(1, 3, BY_HAND + 1);
    let said = ordered(&mut engine, 1, second.clone(), now);
    assert!(!has(&said, "send_snapshot"), "its runtime is still sending the first: {said:?}");
    let (target, epoch) = (NodeId(3), Epoch(77));
    engine.handle_event(Event::SnapshotSent { target, epoch, request: RequestId(BY_HAND) }, now);
    assert!(has(&ordered(&mut engine, 1, second, now), "send_snapshot"));
}

/// What it sends says so.
#[test]
fn a_delegate_sends_nothing_before_its_term_is_durable() {
    let (mut engine, now) = lender();
    let said = ordered(&mut engine, 3, order(9, 1, 1), now);
    assert!(has(&said, "save_vote") && !has(&said, "send_snapshot"), "{said:?}");
    let vote =
        WriteId(said.iter().find_map(|it| it.strip_prefix("save_vote w")?.split(':').next()?.parse().ok()).unwrap());
    engine.handle_event(Event::LogFlushed { write: vote }, now);
    assert!(has(&ordered(&mut engine, 3, order(9, 1, 2), now), "send_snapshot"));
}

#[test]
fn a_delegate_sends_nothing_to_whom_it_does_not_know() {
    let (mut engine, now) = lender();
    let said = ordered(&mut engine, 1, order(1, 8, BY_HAND), now);
    assert!(!has(&said, "send_snapshot") && !has(&said, "rebuild_replication_streams"), "{said:?}");
}

#[test]
fn a_delegate_ends_the_stream_of_a_transfer_that_nothing_was_ordered_of_for_long() {
    let (mut engine, now) = lender();
    ordered(&mut engine, 1, order(1, 3, BY_HAND), now);
    let (target, epoch) = (NodeId(3), Epoch(77));
    engine.handle_event(Event::SnapshotSent { target, epoch, request: RequestId(BY_HAND) }, now);
    let streams =
        |said: &[String]| said.iter().filter(|it| it.contains("rebuild_replication")).cloned().collect::<Vec<_>>();
    let soon = ordered(&mut engine.clone(), 1, order(1, 1, BY_HAND + 1), now + HEARTBEAT);
    let late = ordered(&mut engine, 1, order(1, 1, BY_HAND + 1), now + HEARTBEAT * 100);
    assert_ne!(streams(&soon), streams(&late));
    assert!(!has(&streams(&late), "3"), "{late:?}");
}

/// It would be brought all of it, and then another one.
#[test]
fn a_transfer_that_the_log_goes_on_behind_no_more_is_not_gone_on_with() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    cluster.cut = vec![3];
    write(&mut cluster, 9..15);
    cluster.snapshot(1);
    cluster.drop_messages(|_| true);
    cluster.cut.clear();
    let (purged, old) = (cluster.engine(1).purged(), std::cell::Cell::new(0));
    assert!(purged > cluster.engine(2).snapshot());
    for _ in 0..20 {
        beat_without(&mut cluster, |envelope| {
            if let Message::DelegateSnapshot(DelegateSnapshot { wanted: Wanted::Piece { id, .. }, .. }) =
                &envelope.message
                && id.last < purged
            {
                old.set(old.get() + 1);
            }
            false
        });
    }
    assert_eq!((old.get(), cluster.applied(3)), (0, cluster.applied(1)), "{}", cluster.trace);
}

#[test]
fn the_leader_sends_its_own_when_the_delegate_is_removed() {
    let mut cluster = Cluster::with(&[1, 2, 3, 5], |config| {
        config.snapshots = SnapshotPolicy { delegated: true, ..SnapshotPolicy::BY_HAND };
        config.limits.snapshot_chunk_bytes_max = 16;
        config.node.version = Version::LATEST;
    });
    cluster.elect(1);
    cluster.cut = vec![3];
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    cluster.snapshot(2);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    half_way(&mut cluster);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [2]);
    let is_piece = |envelope: &Envelope| is_order(envelope) || matches!(envelope.message, Message::InstallSnapshot(_));
    cluster.change(1, 9, ChangeMembers::RemoveVoters([NodeId(2)].into()));
    while cluster.engine(1).membership().nodes().contains_key(&NodeId(2))
        || cluster.engine(1).membership_at().index > cluster.engine(1).commit_index()
    {
        beat_without(&mut cluster, is_piece);
    }
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
}

#[test]
fn an_old_order_and_one_of_an_old_leader_send_nothing() {
    let mut cluster = both_have_one();
    catch_up(&mut cluster);
    let before = sent_by(&cluster);
    let newest = Wanted::Newest { covers: LogIndex(1) };
    let order = |term, request| {
        let (target, epoch) = (NodeId(3), Epoch(77));
        Message::DelegateSnapshot(DelegateSnapshot {
            term: Term(term),
            target,
            epoch,
            request: RequestId(u64::MAX / 2 + request),
            wanted: newest,
        })
    };
    cluster.receive(2, 1, order(0, 5));
    assert_eq!(sent_by(&cluster), before, "a term that is over");
    cluster.receive(2, 1, order(1, 5));
    assert_eq!(sent_by(&cluster)[&2], before[&2] + 1);
    cluster.receive(2, 1, order(1, 5));
    cluster.receive(2, 1, order(1, 4));
    assert_eq!(sent_by(&cluster)[&2], before[&2] + 1, "copies and late ones");
    cluster.receive(2, 3, order(1, 6));
    assert_eq!(sent_by(&cluster)[&2], before[&2] + 1, "node 3 does not lead");
}

#[test]
fn a_delegate_lets_go_of_transfers_that_nothing_was_ordered_of_for_long() {
    let mut engine = follower(3, 3);
    flush(&mut engine, Instant(0));
    engine.handle_event(Event::Applied { last: LogIndex(3) }, Instant(0));
    engine.handle_event(Event::TakeSnapshot { token: Token(5) }, Instant(0));
    flush(&mut engine, Instant(0));
    engine.handle_event(built(LogId::new(1, 3)), Instant(0));
    flush(&mut engine, Instant(0));
    let streams = |engine: &mut Engine, target, request, now| {
        let (epoch, request, target) = (Epoch(70 + target), RequestId(request), NodeId(target));
        let wanted = Wanted::Newest { covers: LogIndex(1) };
        let order = DelegateSnapshot { term: Term(5), target, epoch, request, wanted };
        let message = Some(Message::DelegateSnapshot(order));
        engine.handle_event(Event::Received { from: peer(1, 1), message }, now);
        let mut targets = None;
        while let Some(command) = engine.poll_command() {
            if let Command::RebuildReplicationStreams { targets: all } = command {
                targets = Some(all.into_iter().map(|(node, _)| node.0).collect::<Vec<_>>());
            }
        }
        engine.handle_event(Event::SnapshotSent { target, epoch, request }, now);
        targets
    };
    let (soon, late) = (Instant(0) + HEARTBEAT * 60, Instant(0) + HEARTBEAT * 66);
    assert_eq!(streams(&mut engine, 3, 1, Instant(0)), Some(vec![3]));
    assert_eq!(streams(&mut engine, 1, 2, soon), Some(vec![1, 3]), "the other one may be slow");
    assert_eq!(streams(&mut engine, 1, 3, late), None, "that stream is there");
    let (epoch, request) = (Epoch(80), RequestId(4));
    let order = DelegateSnapshot {
        term: Term(5),
        target: NodeId(1),
        epoch,
        request,
        wanted: Wanted::Newest { covers: LogIndex(1) },
    };
    engine.handle_event(Event::Received { from: peer(1, 1), message: Some(Message::DelegateSnapshot(order)) }, late);
    let said = flush(&mut engine, late);
    let rebuilt = said.iter().find(|said| said.starts_with("rebuild_replication_streams")).expect("a new stream");
    assert!(rebuilt.contains('1') && !rebuilt.contains('3'), "{rebuilt}");
}

/// What a delegate sends proves nothing about the leader: a node that has given it up does not wait for it any longer.
#[test]
fn a_piece_from_a_delegate_is_taken_only_by_who_follows_the_leader_and_does_not_put_off_its_campaign() {
    let mut engine = follower(3, 3);
    let piece = InstallSnapshot { leader: NodeId(3), ..whole_snapshot(LogId::new(4, 9)) };
    let said = receive(&mut engine, piece.clone());
    assert!(!has(&said, "receive_snapshot"), "node 3 was not heard yet");
    assert!(!has(&said, "answer_peer"), "the answer would be node 3's: {said:?}");
    let round = Round(1);
    let heartbeat = Heartbeat { term: Term(5), round, commit: LogIndex(0), pledge: Duration::ZERO };
    let message = Some(Message::Heartbeat(heartbeat));
    engine.handle_event(Event::Received { from: peer(3, 1), message }, Instant(1));
    let deadline = engine.poll_timeout();
    let said = receive(&mut engine, piece.clone());
    assert!(has(&said, "receive_snapshot"), "{said:?}");
    assert_eq!(engine.poll_timeout(), deadline);
    let id = piece.snapshot.id;
    engine.handle_event(Event::SnapshotReceived { id, held: 4 }, Instant(2));
    let said = flush(&mut engine, Instant(2));
    let answered = said.iter().any(|it| it.contains("send_message to 3: install_snapshot_reply"));
    assert!(answered, "the leader is answered: {said:?}");
}

/// Rounds of heartbeats, message by message, until something holds.
fn beat_until(cluster: &mut Cluster, holds: impl Fn(&Cluster) -> bool) {
    for _ in 0..60 {
        cluster.elapse(HEARTBEAT);
        loop {
            if holds(cluster) {
                return;
            }
            let all: Vec<u64> = cluster.nodes.keys().copied().collect();
            let flushed = all.into_iter().filter(|id| cluster.flush(*id)).count();
            if !holds(cluster) && !cluster.deliver(|_| true) && flushed == 0 {
                break;
            }
        }
    }
    panic!("it never comes to that:\n{}", cluster.trace);
}

/// One round of heartbeats in which node 3 answers every piece that it has no hand free for it: its disk is slow.
fn beat_while_busy(cluster: &mut Cluster) {
    cluster.elapse(HEARTBEAT);
    loop {
        for envelope in &mut cluster.network {
            if let Message::InstallSnapshotReply(reply) = &mut envelope.message {
                reply.held = None;
            }
        }
        let all: Vec<u64> = cluster.nodes.keys().copied().collect();
        let flushed = all.into_iter().filter(|id| cluster.flush(*id)).count();
        if !cluster.deliver(|_| true) && flushed == 0 {
            return;
        }
    }
}

/// What is busy is there, and so is whoever sent what it had no hand free for: for longer than a delegate that is gone is waited for.
#[test]
fn a_follower_that_is_busy_is_served_by_its_delegate_once_it_has_a_hand_free() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    for _ in 0..80 {
        beat_while_busy(&mut cluster);
    }
    assert!(cluster.applied(3).is_empty(), "{}", cluster.trace);
    for _ in 0..64 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(2).snapshot(), "it has the one of node 2");
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [2], "{}", cluster.trace);
}

/// Its answers were lost, and the last one tells of all: nothing more of it is ordered.
#[test]
fn a_follower_that_has_all_of_it_before_its_leader_asks_for_the_rest_is_asked_for_nothing_more() {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    let is_reply = |envelope: &Envelope| matches!(envelope.message, Message::InstallSnapshotReply(_));
    // What the leader orders next is sent, with all that follows it.
    beat_until(&mut cluster, |cluster| cluster.network.iter().any(is_piece));
    let ordered = cluster.network.iter().find(|envelope| is_piece(envelope)).expect("a piece").message.clone();
    let Message::InstallSnapshot(first) = ordered else { panic!("no piece") };
    assert_eq!((first.offset, first.chunk.len()), (32, 16));
    let content = cluster.node(2).disk.snapshot.as_ref().expect("it has one").1.clone();
    let before = sent_by(&cluster);
    for (place, chunk) in content.as_bytes().chunks(16).enumerate().skip(2) {
        cluster.drop_messages(is_reply);
        let (offset, chunk) = (16 * place as u64, Bytes::copy_from_slice(chunk));
        cluster.receive(3, 2, Message::InstallSnapshot(InstallSnapshot { offset, chunk, ..first.clone() }));
        cluster.flush(3);
    }
    let told: Vec<Option<u64>> = cluster.network.iter().filter_map(held).collect();
    assert_eq!(told, [Some(content.len() as u64)], "{}", cluster.trace);
    cluster.drop_messages(is_piece);
    catch_up(&mut cluster);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(2).snapshot(), "it has the one of node 2");
    assert_eq!(sent_by(&cluster), before, "{}", cluster.trace);
}

/// How much of a snapshot an answer tells of.
fn held(envelope: &Envelope) -> Option<Option<u64>> {
    match &envelope.message {
        Message::InstallSnapshotReply(reply) => Some(reply.held),
        _ => None,
    }
}

/// Node 2 was to bring node 3 a snapshot, and is gone; the leader, which brings its own, has come to byte 32. A piece that node 2 had
/// sent arrives, and before it what is wanted.
fn late_piece_arrives(before: impl FnOnce(&mut Cluster, &InstallSnapshot)) {
    let mut cluster = both_have_one();
    half_way(&mut cluster);
    beat_until(&mut cluster, |cluster| cluster.network.iter().any(is_piece));
    let late: Vec<Envelope> = cluster.network.iter().filter(|envelope| is_piece(envelope)).cloned().collect();
    cluster.drop_messages(|_| true);
    cluster.crash(2);
    let is_by_leader = |cluster: &Cluster| {
        let snapshot = cluster.engine(1).snapshot();
        let received = cluster.node(3).disk.received.as_ref();
        received.is_some_and(|(receiving, held)| receiving.last == snapshot && held.len() == 32)
    };
    beat_until(&mut cluster, is_by_leader);
    let [Envelope { from, message, .. }] = late.try_into().expect("a piece of the former delegate's");
    let Message::InstallSnapshot(piece) = &message else { panic!("{message:?}") };
    before(&mut cluster, piece);
    cluster.handle(3, Event::Received { from, message: Some(message) });
    cluster.flush(3);
    assert!(is_by_leader(&cluster), "it goes on where it was:\n{}", cluster.trace);
    for _ in 0..8 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).snapshot(), cluster.engine(1).snapshot(), "it has the leader's");
}

/// It is of another snapshot than the one that is being received, which must not begin anew for it.
#[test]
fn a_late_piece_of_a_former_delegate_does_not_take_the_place_of_what_the_leader_sends() {
    late_piece_arrives(|_, _| ());
}

/// A doubled message brings a piece of the leader's snapshot once more, which it sent before it asked node 2 for its own: that makes
/// nothing of what came since any newer.
#[test]
fn a_late_piece_of_the_snapshot_that_is_received_does_not_let_one_of_another_in() {
    late_piece_arrives(|cluster, late| {
        let (snapshot, content) = cluster.node(1).disk.snapshot.clone().expect("the leader has one");
        let (chunk, request) = (Bytes::copy_from_slice(&content.as_bytes()[..16]), RequestId(late.request.0 - 1));
        let again = InstallSnapshot { snapshot, offset: 0, chunk, request, ..late.clone() };
        cluster.receive(3, 1, Message::InstallSnapshot(again));
        cluster.flush(3);
    });
}

/// What it has would be gone in the midst of the transfer. It says nothing, and the leader does not wait for it.
#[test]
fn a_delegate_that_is_taking_a_snapshot_sends_none_and_the_leader_sends_its_own() {
    let mut cluster = both_have_one();
    cluster.slow_builder = Some(2);
    cluster.snapshot(2);
    for _ in 0..8 {
        beat(&mut cluster);
    }
    assert!(cluster.trace.contains("delegate_snapshot"), "{}", cluster.trace);
    assert_eq!(sent_by(&cluster).into_keys().collect::<Vec<_>>(), [1], "{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1), "{}", cluster.trace);
    let before = cluster.engine(2).snapshot();
    cluster.end_build();
    assert!(cluster.engine(2).snapshot() > before, "{}", cluster.trace);
    // From then on it sends again.
    let (term, target, epoch, wanted) = (Term(1), NodeId(3), Epoch(77), Wanted::Newest { covers: LogIndex(1) });
    let order = DelegateSnapshot { term, target, epoch, request: RequestId(u64::MAX / 2), wanted };
    cluster.receive(2, 1, Message::DelegateSnapshot(order));
    assert_eq!(sent_by(&cluster).get(&2), Some(&1), "{}", cluster.trace);
}

fn order_of(epoch: u64, request: u64, wanted: Wanted) -> Message {
    let (term, target, epoch) = (Term(1), NodeId(3), Epoch(epoch));
    Message::DelegateSnapshot(DelegateSnapshot { term, target, epoch, request: RequestId(request), wanted })
}

#[test]
fn a_piece_of_another_snapshot_than_the_delegate_has_is_not_sent() {
    let (mut engine, now) = lender();
    let id = SnapshotId { last: engine.snapshot(), bytes: 3, checksum: 3 };
    let said = ordered(&mut engine, 1, order_of(77, BY_HAND, Wanted::Piece { id, offset: 0 }), now);
    assert!(!has(&said, "send_snapshot"), "{said:?}");
}

#[test]
fn a_new_stream_does_not_wait_for_a_piece_of_the_last_one() {
    let (mut engine, now) = lender();
    let newest = Wanted::Newest { covers: LogIndex(1) };
    assert!(has(&ordered(&mut engine, 1, order_of(77, BY_HAND, newest), now), "send_snapshot"));
    assert!(has(&ordered(&mut engine, 1, order_of(78, BY_HAND + 1, newest), now), "send_snapshot"));
}

#[test]
fn a_delegate_takes_no_new_snapshot_while_a_piece_is_on_its_way_however_long_that_takes() {
    let mut cluster = led_with(|config| config.snapshots.interval = Some(HEARTBEAT * 30));
    write(&mut cluster, 0..3);
    cluster.snapshot(2);
    write(&mut cluster, 3..5);
    let (mut engine, now) = (cluster.engine(2).clone(), cluster.now);
    let newest = Wanted::Newest { covers: LogIndex(1) };
    assert!(has(&ordered(&mut engine, 1, order_of(77, BY_HAND, newest), now), "send_snapshot"));
    let later = now + HEARTBEAT * 100;
    let mut after = |event| {
        engine.handle_event(event, later);
        std::iter::from_fn(|| engine.poll_command()).map(|it| it.to_string()).collect::<Vec<_>>()
    };
    let said = after(Event::SnapshotSent { target: NodeId(3), epoch: Epoch(1), request: RequestId(1) });
    assert!(!has(&said, "build"), "{said:?}");
    let said = after(Event::SnapshotSent { target: NodeId(3), epoch: Epoch(77), request: RequestId(BY_HAND) });
    assert!(has(&said, "build"), "{said:?}");
}

#[test]
fn who_follows_its_leader_no_more_ends_the_streams_in_its_stead() {
    let (mut engine, now) = lender();
    assert!(has(&ordered(&mut engine, 1, order(1, 3, BY_HAND), now), "send_snapshot"));
    let vote = VoteRequest { term: Term(9), last: LogId::ZERO, warrant: Warrant::Operator };
    let said = ordered(&mut engine, 3, Message::RequestVote(vote), now);
    assert!(has(&said, "rebuild_replication_streams"), "{said:?}");
}
