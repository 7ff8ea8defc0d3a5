//! Logs and replication: traps 9 to 20, and 39.

use super::*;
use crate::cluster::Cluster;

/// Node 1 has followed a leader of term 1 to `1/4` durably, and three entries are committed.
fn following() -> Desk {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[1, 1, 1], 3));
    desk.flush();
    assert_eq!((desk.commit(), desk.engine.status().flushed), (3, LogIndex(4)));
    desk
}

#[test]
fn trap_9_entries_that_are_equal_are_never_dropped_and_written_again() {
    let mut desk = following();
    for (prev, terms) in [((0, 1), &[1][..]), ((0, 1), &[1, 1, 1]), ((1, 3), &[]), ((0, 0), &[0, 1, 1]), ((1, 2), &[1])]
    {
        let commands = desk.receive(2, append(1, prev, terms, 0));
        assert!(!said(&commands).contains("truncate_log"), "{}", said(&commands));
        assert!(!said(&commands).contains("append_input_entries"), "{}", said(&commands));
        assert_eq!(outcomes(&commands), [AppendOutcome::Matched(LogIndex(prev.1 + terms.len() as u64))]);
    }
    assert_eq!(desk.engine.status().last, LogId::new(1, 4));
    // A real conflict is cut exactly where it is.
    let commands = desk.receive(3, append(2, (0, 1), &[1, 1, 2], 0));
    assert_eq!(said(&commands).matches("truncate_log").count(), 1);
    assert!(said(&commands).contains("after 1/3\n") && said(&commands).contains(": 2/4\n"), "{}", said(&commands));
}

#[test]
fn trap_10_commit_goes_no_further_than_what_this_leader_has_shown() {
    let committed = Message::Committed { term: Term(5), commit: LogIndex(4) };
    for message in [heartbeat(5, 1, 4), committed, append(5, (9, 9), &[], 4), append(5, (1, 2), &[], 4)] {
        let mut desk = Desk::of(&[1, 2, 3]);
        desk.receive(2, append(1, (0, 1), &[1, 1, 1], 0));
        desk.flush();
        desk.receive(3, message.clone());
        let shown = if matches!(&message, Message::AppendEntries(it) if it.prev.index == LogIndex(2)) { 2 } else { 0 };
        assert_eq!(desk.commit(), shown, "{message}: entries 3 and 4 may not be what the new leader has committed");
        desk.receive(3, append(5, (1, 3), &[1], 4));
        assert_eq!(desk.commit(), 4);
    }
}

#[test]
fn trap_10_what_was_shown_by_an_earlier_leader_does_not_count_for_the_next() {
    let mut desk = following();
    desk.receive(3, heartbeat(2, 1, 4));
    assert_eq!(desk.commit(), 3);
    // Nor for the same leader after the node has campaigned in between.
    let mut desk = following();
    desk.timeout();
    assert_eq!(desk.engine.role_kind(), RoleKind::PreCandidate);
    desk.receive(2, heartbeat(1, 9, 4));
    assert_eq!(desk.commit(), 3);
}

#[test]
fn trap_11_quorums_are_what_their_definition_says_for_every_small_joint_configuration() {
    let set = |bits: u64| (0..4).filter(|bit| bits >> bit & 1 == 1).map(NodeId).collect::<NodeSet>();
    for (incoming, outgoing) in (1..16).flat_map(|a| (0..16).map(move |b| (set(a), set(b)))) {
        for case in 0..81_u64 {
            let held: Vec<u64> = (0..4).map(|node| case / 3_u64.pow(node) % 3).collect();
            let of = |node: NodeId| held[usize::try_from(node.0).unwrap()];
            let holds = |half: &NodeSet, index: u64| {
                half.is_empty() || 2 * half.iter().filter(|node| of(**node) >= index).count() > half.len()
            };
            let joint = Joint { incoming: Majority(&incoming), outgoing: Majority(&outgoing) };
            let by_definition = (0..3).rev().find(|at| holds(&incoming, *at) && holds(&outgoing, *at)).unwrap();
            assert_eq!(joint.committed_index(|node| LogIndex(of(node))).0, by_definition, "{incoming:?} {outgoing:?}");
            let won = holds(&incoming, 2) && holds(&outgoing, 2);
            assert_eq!(joint.vote_result(|node| Some(of(node) == 2)) == VoteResult::Won, won);
            // Who has not spoken may still say yes; with all those, it is lost only if no quorum is left.
            let possible =
                |half: &NodeSet| half.is_empty() || 2 * half.iter().filter(|node| of(**node) != 1).count() > half.len();
            let lost = !(possible(&incoming) && possible(&outgoing));
            let result = joint.vote_result(|node| [None, Some(false), Some(true)][usize::try_from(of(node)).unwrap()]);
            assert_eq!((result == VoteResult::Lost, result == VoteResult::Won), (lost, won));
        }
    }
}

#[test]
fn trap_12_a_leader_counts_only_what_its_own_disk_holds() {
    let mut desk = Desk::followed(&[1, 2]);
    assert_eq!(desk.commit(), 2);
    desk.propose(7, 1);
    desk.matched(2);
    assert_eq!(desk.commit(), 2, "of two, one disk has it");
    desk.flush();
    assert_eq!(desk.commit(), 3);
}

#[test]
fn trap_12_a_single_voter_commits_nothing_before_its_disk_has_it() {
    let mut desk = Desk::with(&[1], |_| {});
    desk.become_leader();
    assert_eq!(desk.commit(), 2);
    let commands = desk.propose(7, 1);
    assert!(!said(&commands).contains("apply"), "{}", said(&commands));
    assert!(said(&desk.flush()).contains("apply 3..1/3"));
}

#[test]
fn trap_12_no_answer_to_append_entries_leaves_before_the_term_is_durable() {
    let mut desk = following();
    for message in [append(2, (1, 4), &[], 0), append(2, (2, 9), &[], 0), append(1, (0, 1), &[], 0), heartbeat(2, 1, 0)]
    {
        assert_eq!(messages(&desk.receive(3, message)), Vec::<&Message>::new(), "term 2 is not durable");
    }
    assert_eq!(messages(&desk.flush()).len(), 4);
}

#[test]
fn trap_12_an_acknowledgement_waits_for_the_term_too_when_the_entries_came_before() {
    let mut desk = following();
    desk.receive(2, append(1, (1, 4), &[1, 1], 3));
    let entries = desk.written;
    desk.receive(3, append(2, (1, 4), &[1, 1], 3));
    let commands = desk.feed(Event::LogFlushed { write: entries });
    assert!(!said(&commands).contains("term 2"), "the entries are durable, term 2 is not: {}", said(&commands));
    assert!(said(&desk.flush()).contains("append_entries_reply term 2 matched 6"));
}

#[test]
fn trap_12_an_acknowledgement_waits_for_the_write_that_covers_it_and_no_longer() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    desk.receive(2, append(1, (0, 1), &[1], 0));
    let first = desk.written;
    desk.receive(2, append(1, (1, 2), &[1], 0));
    let second = desk.written;
    // Another stream shows the first entry again: that waits for the first write only.
    let Message::AppendEntries(again) = append(1, (0, 1), &[1], 0) else { unreachable!() };
    desk.receive(2, Message::AppendEntries(AppendEntries { epoch: Epoch(2), ..again }));
    let commands = desk.feed(Event::LogFlushed { write: first });
    assert_eq!(outcomes(&commands), [AppendOutcome::Matched(LogIndex(2)); 2]);
    // A copy of the first needs no disk any more, one of the second waits with it.
    assert_eq!(outcomes(&desk.receive(2, append(1, (0, 1), &[1], 0))), [AppendOutcome::Matched(LogIndex(2))]);
    assert_eq!(outcomes(&desk.receive(2, append(1, (1, 2), &[1], 0))), []);
    let commands = desk.feed(Event::LogFlushed { write: second });
    assert_eq!(outcomes(&commands), [AppendOutcome::Matched(LogIndex(3))], "one answer says it for both");
}

#[test]
fn trap_12_of_acknowledgements_that_leave_together_the_longest_is_enough_and_is_not_lost() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    desk.receive(2, append(1, (0, 1), &[1, 1, 1], 0));
    desk.receive(2, append(1, (0, 1), &[1], 0));
    let longest = outcomes(&desk.flush()).into_iter().filter(|it| *it == AppendOutcome::Matched(LogIndex(4))).count();
    assert_eq!(longest, 1, "a late copy of a shorter request takes nothing away");
    desk.receive(2, append(1, (1, 4), &[1], 0));
    desk.receive(2, append(1, (1, 5), &[1], 0));
    assert_eq!(outcomes(&desk.flush()), [AppendOutcome::Matched(LogIndex(6))], "two writes, one answer");
}

#[test]
fn trap_12_a_heartbeats_answer_tells_received_from_durable() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    desk.receive(2, append(1, (0, 1), &[1, 1], 0));
    let told = |commands: &[Command]| match messages(commands)[..] {
        [Message::HeartbeatReply(reply)] => (reply.received.0, reply.matched.0),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(told(&desk.receive(2, heartbeat(1, 1, 0))), (3, 1));
    desk.flush();
    assert_eq!(told(&desk.receive(2, heartbeat(1, 2, 0))), (3, 3));
}

#[test]
fn trap_13_an_older_completion_that_comes_late_changes_nothing() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.propose(7, 1);
    let first = desk.written;
    desk.propose(8, 1);
    desk.feed(Event::LogFlushed { write: desk.written });
    assert_eq!(desk.engine.status().flushed, LogIndex(4));
    desk.feed(Event::LogFlushed { write: first });
    assert_eq!(desk.engine.status().flushed, LogIndex(4));
    // What is promised next still leaves at once.
    let commands = desk.receive(3, ask_pre_vote(1, (0, 1)));
    assert_eq!(granted(&commands), Some(false), "an answer that waits for no write");
    // A vote that was durable stays durable as well.
    let mut desk = Desk::of(&[1, 2, 3]);
    let early = desk.written;
    desk.receive(2, ask_vote(1, (0, 1)));
    desk.flush();
    desk.feed(Event::LogFlushed { write: early });
    assert_eq!(granted(&desk.receive(2, ask_vote(1, (0, 1)))), Some(true), "it need not be written again");
}

#[test]
fn trap_14_entries_with_a_hole_or_out_of_order_are_refused() {
    let entry = |term, index| Batch::new(LogId::new(term, index), LogTime(0), Arc::new([command("x")]));
    let send = |prev: LogId, batches: Vec<Batch>| {
        let mut desk = Desk::of(&[1, 2, 3]);
        let (epoch, request, commit) = (Epoch(1), RequestId(1), LogIndex(9));
        let request = AppendEntries { term: Term(5), epoch, request, prev, batches, commit };
        let commands = desk.receive(2, Message::AppendEntries(request));
        assert_eq!((desk.engine.status().last, desk.commit()), (LogId::new(0, 1), 0), "nothing of it was taken");
        inconsistency(&commands)
    };
    let refused = |prev: (u64, u64), found: (u64, u64)| {
        let (prev, found) = (LogId::new(prev.0, prev.1), LogId::new(found.0, found.1));
        Some(Inconsistency::Entries { prev, found })
    };
    let first = LogId::new(0, 1);
    assert_eq!(send(LogId::ZERO, vec![entry(5, 2)]), refused((0, 0), (5, 2)), "prev = none with later entries");
    assert_eq!(send(first, vec![entry(5, 3)]), refused((0, 1), (5, 3)), "a hole at the front");
    assert_eq!(send(first, vec![entry(5, 2), entry(5, 4)]), refused((5, 2), (5, 4)), "a hole in the middle");
    assert_eq!(send(first, vec![entry(5, 2), entry(5, 2)]), refused((5, 2), (5, 2)), "twice the same");
    assert_eq!(send(first, vec![entry(5, 2), entry(4, 3)]), refused((5, 2), (4, 3)), "a term that goes back");
    assert_eq!(send(first, vec![entry(6, 2)]), refused((0, 1), (6, 2)), "a term after its leader's");
    assert_eq!(send(LogId::new(6, 1), vec![]), refused((6, 1), (5, 2)), "so is the one before");
}

#[test]
fn trap_15_answers_of_another_stream_do_not_count() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    let (epoch, request) = desk.request_to(2);
    let reply = |term, epoch| {
        let outcome = AppendOutcome::Matched(LogIndex(2));
        Message::AppendEntriesReply(AppendEntriesReply { term: Term(term), epoch, request, outcome })
    };
    desk.receive(2, reply(1, Epoch(epoch.0 + 1)));
    desk.receive(2, reply(1, desk.request_to(3).0));
    desk.receive(2, reply(0, epoch));
    assert_eq!(desk.commit(), 0);
    desk.receive(2, reply(1, epoch));
    assert_eq!(desk.commit(), 2);
}

#[test]
fn trap_15_epochs_and_requests_of_an_earlier_start_are_never_used_again() {
    let started = |start| {
        let mut config = EngineConfig::new(peer(1, start), 7);
        config.bind_directories = false;
        config.pre_vote = false;
        let mut desk = Desk::restored(config, Restored::default());
        desk.feed(Event::Initialize { token: Token(0), membership: voters(&[1, 2, 3]) });
        desk.become_leader();
        desk.request_to(2)
    };
    let (first, second) = (started(1), started(2));
    assert!(second.0.0 - first.0.0 > 1 << 31 && second.1.0 - first.1.0 > 1 << 31, "{first:?} {second:?}");
}

#[test]
fn trap_16_a_stale_conflict_does_not_rewind_what_has_matched() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    let (epoch, old) = desk.request_to(2);
    let conflict = |request, hint: (u64, u64)| {
        let outcome = AppendOutcome::Conflict { hint: LogId::new(hint.0, hint.1) };
        Message::AppendEntriesReply(AppendEntriesReply { term: Term(1), epoch, request, outcome })
    };
    desk.propose(7, 1);
    let commands = desk.receive(2, conflict(old, (0, 1)));
    assert!(!said(&commands).contains("replicate to 2"), "an answer that came twice: {}", said(&commands));
    let (_, current) = desk.request_to(2);
    // It cannot lack what it has acknowledged: it is named, and asked again from there, but not at once.
    let commands = desk.receive(2, conflict(current, (0, 0)));
    assert!(
        said(&commands).starts_with("refuse_peer node 2") && !said(&commands).contains("replicate"),
        "{}",
        said(&commands)
    );
    assert_eq!(desk.engine.status().matched[&NodeId(2)], LogIndex(2));
    desk.elapse(HEARTBEAT);
    let commands = desk.beat(2, 2, 2, 2);
    assert!(said(&commands).contains("replicate to 2: prev 1/2"), "no further back than 2: {}", said(&commands));
}

#[test]
fn trap_16_a_follower_that_lost_what_it_had_acknowledged_is_not_asked_in_a_busy_loop() {
    let mut desk = Desk::followed(&[1, 2, 3]);
    desk.propose(7, 1);
    let mut asked = 0;
    for _ in 0..100 {
        let (epoch, request) = desk.request_to(2);
        let outcome = AppendOutcome::Conflict { hint: LogId::new(0, 1) };
        let reply = AppendEntriesReply { term: Term(1), epoch, request, outcome };
        asked += said(&desk.receive(2, Message::AppendEntriesReply(reply))).matches("replicate to 2").count();
    }
    assert!(asked <= 2, "{asked} requests without a moment between them");
}

#[test]
fn trap_17_a_heartbeat_that_overtakes_entries_does_no_harm() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, 7, "x");
    cluster.elapse(HEARTBEAT);
    // Every heartbeat before every request.
    while cluster.deliver(|it| matches!(it.message, Message::Heartbeat(_) | Message::HeartbeatReply(_))) {}
    cluster.stabilize();
    cluster.elapse(HEARTBEAT);
    cluster.stabilize();
    assert_eq!([1, 2, 3].map(|id| cluster.log(id)), ["0/1 1/2 1/3"; 3].map(String::from));
    assert!(!cluster.trace.contains("truncate_log") && !cluster.trace.contains("conflict"), "{}", cluster.trace);
    assert_eq!([1, 2, 3].map(|id| cluster.commit(id)), [3; 3]);
}

#[test]
fn trap_19_any_number_of_conflicts_in_a_row_ends_with_equal_logs() {
    // 90 terms each, and not one in common: the worst that a hint can meet.
    let ours: Vec<u64> = (0..90).map(|n| 2 * n + 2).collect();
    let theirs: Vec<u64> = (0..90).map(|n| 2 * n + 1).collect();
    let mut cluster = Cluster::with_logs(&[(1, 180, &ours), (2, 180, &ours), (3, 179, &theirs)]);
    cluster.cut = vec![3];
    cluster.elect(1);
    cluster.cut.clear();
    for _ in 0..3 {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
    assert!(cluster.trace.matches("send_message to 1: append_entries_reply term 181 conflict").count() > 50);
    assert_eq!((cluster.log(3), cluster.commit(3)), (cluster.log(1), 92));
}

#[test]
fn trap_19_log_ids_compare_by_term_first() {
    assert!(LogId::new(2, 1) > LogId::new(1, 9) && LogId::new(2, 2) > LogId::new(2, 1));
}

#[test]
fn trap_20_a_write_of_an_old_leader_that_completes_late_does_not_count_for_the_new_one() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[], 0));
    desk.flush();
    desk.receive(2, append(1, (0, 1), &[1, 1, 1], 0));
    let old = desk.written;
    // A new leader replaces all three; nothing of that is durable.
    desk.receive(3, append(2, (0, 1), &[2, 2, 2], 0));
    assert_eq!(desk.engine.status().last, LogId::new(2, 4));
    let commands = desk.feed(Event::LogFlushed { write: old });
    assert_eq!(desk.engine.status().flushed, LogIndex(1));
    assert!(!said(&commands).contains("reply term 2"), "{}", said(&commands));
    let commands = desk.flush();
    assert!(said(&commands).contains("append_entries_reply term 2 matched 4"), "{}", said(&commands));
}

#[test]
fn trap_20_durable_entries_that_are_replaced_are_not_durable_any_more() {
    let mut desk = Desk::of(&[1, 2, 3]);
    desk.receive(2, append(1, (0, 1), &[1, 1, 1], 0));
    desk.flush();
    desk.receive(3, append(2, (1, 2), &[2, 2], 0));
    assert_eq!(desk.engine.status().flushed, LogIndex(2));
    let cut = WriteId(desk.written.0 - 1);
    let commands = desk.feed(Event::LogFlushed { write: cut });
    assert!(!said(&commands).contains("matched 4"), "{}", said(&commands));
    assert!(said(&desk.flush()).contains("matched 4"));
}

#[test]
fn trap_39_after_the_log_has_failed_nothing_counts_as_durable() {
    let mut desk = Desk::followed(&[1, 2]);
    desk.propose(7, 1);
    desk.matched(2);
    desk.feed(Event::StorageFailed { reason: "input/output error".into() });
    // The disk is tried again and "succeeds": too late.
    assert_eq!(desk.flush(), []);
    assert_eq!((desk.commit(), desk.engine.status().flushed), (2, LogIndex(2)));
    for message in [ask_vote(9, (9, 9)), append(9, (1, 2), &[], 2), heartbeat(9, 1, 0)] {
        assert_eq!(desk.receive(2, message), [], "it promises nothing any more");
    }
    assert_eq!((desk.engine.poll_timeout(), desk.engine.role_kind()), (None, RoleKind::Halted));
}

/// What acknowledged the entries was lost, and nothing else is under way.
#[test]
fn what_a_heartbeats_answer_says_to_be_durable_is_committed() {
    let mut desk = Desk::leading(&[1, 2, 3]);
    assert_eq!(desk.commit(), 0);
    desk.beat(2, 1, 2, 2);
    assert_eq!(desk.commit(), 2);
}
