//! Bringing a snapshot to a follower that lacks what the log no longer holds.

use super::*;

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

/// So that whoever waits sees it come: nothing of it counts as matched before all of it is there.
#[test]
fn how_much_of_a_snapshot_has_come_is_in_the_status_of_the_leader_while_it_comes() {
    let mut cluster = left_behind(led());
    let brought = |cluster: &Cluster| cluster.engine(1).status().brought.get(&NodeId(3)).copied();
    let mut told: Vec<Brought> = Vec::new();
    assert_eq!(brought(&cluster), None);
    while cluster.engine(3).snapshot() == LogId::ZERO {
        cluster.elapse(HEARTBEAT);
        all_but_pieces(&mut cluster);
        cluster.deliver(is_piece);
        all_but_pieces(&mut cluster);
        told.extend(brought(&cluster).filter(|now| told.last() != Some(now)));
        assert!(told.len() < 60, "{}", cluster.trace);
    }
    let bytes = snapshot_bytes(&cluster, 3);
    assert!(told.len() > 2 && told.iter().all(|it| it.bytes == bytes && it.held <= bytes), "{told:?}");
    assert!(told.is_sorted_by(|one, next| one.held < next.held), "{told:?}");
    catch_up(&mut cluster);
    assert_eq!(brought(&cluster), None, "it has it");
}

#[test]
fn trap31_a_new_voter_that_is_being_brought_a_snapshot_is_waited_for() {
    let mut cluster = led();
    write(&mut cluster, 0..6);
    cluster.snapshot(1);
    cluster.join(&[4]);
    let change = ChangeMembers::AddVoters([(NodeId(4), Node { address: "node4".into() })].into());
    let patience = HEARTBEAT * 6;
    cluster.request(1, 7, ChangeRequest { patience, ..change.into() });
    let mut rounds = 0;
    while cluster.engine(4).snapshot() == LogId::ZERO {
        // One piece in three heartbeats.
        for _ in 0..3 {
            cluster.elapse(HEARTBEAT);
            all_but_pieces(&mut cluster);
        }
        while cluster.deliver(is_piece) {}
        all_but_pieces(&mut cluster);
        rounds += 1;
        assert!(rounds < 60, "{}", cluster.trace);
    }
    assert!(3 * HEARTBEAT * rounds > 2 * patience, "{rounds} pieces are too few for this test");
    catch_up(&mut cluster);
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1 2 3 4}", "{}", cluster.trace);
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

/// While a follower is brought a snapshot, its leader's log grows by so many entries like this, which would do for another one.
fn puts_off_another(policy: impl Fn(&mut SnapshotPolicy), count: u64, value: &str) {
    let mut cluster = left_behind(led_with(|config| {
        if config.node.node == NodeId(1) {
            policy(&mut config.snapshots);
        }
    }));
    let first = cluster.engine(1).snapshot();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.received.is_some());
    for token in 20..20 + count {
        cluster.propose(1, token, value);
    }
    cluster.stabilize_until(|it| it.commit(1) >= first.index.0 + count / 2);
    assert_eq!(cluster.engine(1).snapshot(), first, "it would have to begin anew");
    catch_up(&mut cluster);
    assert!(cluster.engine(1).snapshot() > first, "now there is one:\n{}", cluster.trace);
    assert_eq!(cluster.applied(3), cluster.applied(1));
}

#[test]
fn no_new_one_is_taken_while_a_follower_that_is_there_is_brought_one() {
    puts_off_another(|policy| policy.entries = Some(6), 20, "more");
}

#[test]
fn a_follower_that_is_gone_puts_no_snapshot_off() {
    let mut cluster = left_behind(led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(6);
    }));
    let first = cluster.engine(1).snapshot();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|it| it.node(3).disk.received.is_some());
    cluster.crash(3);
    for _ in 0..12 {
        beat(&mut cluster);
    }
    write(&mut cluster, 20..30);
    assert!(cluster.engine(1).snapshot() > first, "{}", cluster.trace);
}

/// Found by the simulator: the follower got most of each snapshot, and the next one came too early, for ever.
#[test]
fn a_follower_that_is_slow_has_a_snapshot_in_the_end_however_often_new_ones_are_due() {
    let mut cluster = led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(6);
    });
    cluster.cut = vec![3];
    write(&mut cluster, 0..60);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    let mut begun = std::collections::BTreeSet::new();
    for value in 60..400 {
        cluster.propose(1, value, "m");
        cluster.elapse(HEARTBEAT / 4);
        all_but_pieces(&mut cluster);
        if value % 4 > 0 {
            cluster.deliver(is_piece);
        }
        begun.extend(cluster.node(3).disk.received.as_ref().map(|(snapshot, _)| *snapshot));
        if cluster.engine(3).snapshot() > LogId::ZERO {
            assert!(begun.len() > 1, "the first one was as good: {begun:?}");
            return;
        }
    }
    panic!("it began anew for each of {begun:?}");
}

#[test]
fn a_follower_that_never_has_all_of_it_does_not_keep_the_log_growing() {
    let mut cluster = left_behind(led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(6);
    }));
    let first = cluster.engine(1).snapshot();
    for value in 20..60 {
        cluster.propose(1, value, "more");
        cluster.elapse(HEARTBEAT / 4);
        all_but_pieces(&mut cluster);
        cluster.drop_messages(is_piece);
    }
    let (last, purged) = (cluster.engine(1).snapshot(), cluster.engine(1).purged());
    assert!(last.index.0 >= first.index.0 + 4 * 6, "it is not put off for ever: {last} after {first}");
    assert!(purged > first, "what was dropped is {purged}");
}

/// Its disk is full: however long that lasts, the leader's log has an end. Each time twice as much is put off, but not for ever.
#[test]
fn the_log_of_a_leader_whose_follower_never_gets_any_of_it_has_a_bound() {
    const ENTRIES: u64 = 2;
    let mut cluster = left_behind(led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(ENTRIES);
    }));
    let (mut longest, mut snapshots, mut value) = (0, std::collections::BTreeSet::new(), 100);
    while snapshots.len() < 8 {
        value += 1;
        cluster.propose(1, value, "more");
        cluster.elapse(HEARTBEAT / 4);
        all_but_pieces(&mut cluster);
        cluster.drop_messages(is_piece);
        snapshots.insert(cluster.engine(1).snapshot());
        longest = longest.max(cluster.engine(1).last_log_id().index.since(cluster.engine(1).purged().index));
        assert!(value < 2000, "no more snapshots are taken behind {snapshots:?}");
    }
    assert!(cluster.engine(3).snapshot() == LogId::ZERO && longest > 15 * ENTRIES, "{snapshots:?}");
    assert!(longest <= 17 * ENTRIES, "the log had {longest} entries that {snapshots:?} did not cover");
}

/// Snapshots are put off for longer each time for who never has one. For the next one that is as far behind it begins anew.
#[test]
fn once_nobody_is_brought_one_the_next_is_put_off_no_longer_than_at_first() {
    const ENTRIES: u64 = 4;
    let mut cluster = left_behind(led_with(|config| {
        config.snapshots.entries = (config.node.node == NodeId(1)).then_some(ENTRIES);
    }));
    // How much comes before a snapshot is taken while node 3 gets no piece of the last one.
    let put_off = |cluster: &mut Cluster| {
        let before = cluster.engine(1).snapshot();
        while cluster.engine(1).snapshot() == before {
            cluster.propose(1, 200, "more");
            cluster.elapse(HEARTBEAT / 4);
            all_but_pieces(cluster);
            cluster.drop_messages(is_piece);
        }
        cluster.engine(1).snapshot().index.since(before.index)
    };
    let at_first = put_off(&mut cluster);
    let later = (0..3).map(|_| put_off(&mut cluster)).last();
    assert!(at_first <= 5 * ENTRIES && later >= Some(16 * ENTRIES), "{at_first}, {later:?}");
    // It gets the last one; then it is away until it lacks more than the log holds.
    for _ in 0..80 {
        beat(&mut cluster);
    }
    assert_eq!(cluster.applied(3), cluster.applied(1));
    write(&mut cluster, 300..330);
    cluster.cut = vec![3];
    write(&mut cluster, 330..360);
    cluster.drop_messages(|_| true);
    cluster.cut = Vec::new();
    // Whoever is not heard from is brought nothing.
    while !cluster.trace.lines().rev().take(40).any(|line| line.contains("send_snapshot to 3")) {
        cluster.elapse(HEARTBEAT / 4);
        all_but_pieces(&mut cluster);
        cluster.drop_messages(is_piece);
    }
    let again = put_off(&mut cluster);
    assert!(ENTRIES < again && again <= 5 * ENTRIES, "{again} entries after {at_first} at first");
}

/// The next one is due when as much again has come, counted from what the last one covers.
#[test]
fn by_bytes_one_snapshot_is_taken_for_each_bound() {
    let mut cluster = led_with(|config| config.snapshots.bytes = Some(2_000));
    let large = |cluster: &mut Cluster, count: u64| {
        for value in 0..count {
            cluster.propose(1, value, &"x".repeat(100));
            cluster.stabilize();
        }
    };
    let taken = |cluster: &Cluster| cluster.trace.matches("build snapshot").count() / 3;
    large(&mut cluster, 25);
    assert_eq!(taken(&cluster), 1, "{}", cluster.trace);
    large(&mut cluster, 25);
    assert_eq!(taken(&cluster), 2, "{}", cluster.trace);
}

#[test]
fn by_bytes_too_no_new_one_is_taken_while_a_follower_that_is_there_is_brought_one() {
    puts_off_another(|policy| policy.bytes = Some(2_000), 50, &"x".repeat(100));
}

/// Else a state that grows would be written again and again: the work would grow with the square of what is written.
#[test]
fn by_bytes_the_next_snapshot_waits_until_as_much_has_come_as_the_last_one_has() {
    let mut cluster = led_with(|config| config.snapshots.bytes = Some(200));
    let mut written = 0;
    let mut taken_at = Vec::new();
    for value in 0..64 {
        cluster.propose(1, value, &"x".repeat(50));
        cluster.stabilize();
        written += 1;
        if taken_at.last().map(|(last, _)| *last) != Some(cluster.engine(1).snapshot()) {
            taken_at.push((cluster.engine(1).snapshot(), written));
        }
    }
    let taken = taken_at.iter().filter(|(last, _)| *last > LogId::ZERO).count();
    assert!((4..=8).contains(&taken), "each covers about twice as much as the one before: {taken_at:?}");
}
