//! Nodes of two clusters that have a name, ids or addresses in common: nothing of one may count in the other.

use super::*;

const OURS: Genesis = Genesis(1 << 32 | 7);
const OTHER: Genesis = Genesis(1 << 32 | 8);

fn of(node: u64, genesis: Genesis) -> Peer {
    peer(node, 1).of(genesis)
}

fn hear(desk: &mut Desk, from: Peer, message: Message) -> Vec<Command> {
    desk.feed(Event::Received { from, message: Some(message) })
}

/// Node 1, which was started to join, and knows nothing.
fn joining() -> Desk {
    Desk::empty(|_| {})
}

/// The first entry, by which nodes 1 to 3 are the members, from a leader in this term.
fn first_entry(term: u64) -> Message {
    let batch = Batch::new(LogId::new(0, 1), LogTime(0), Arc::new([Payload::membership(voters(&[1, 2, 3]))]));
    let (term, prev, commit) = (Term(term), LogId::ZERO, LogIndex(0));
    Message::AppendEntries(AppendEntries {
        term,
        epoch: Epoch(1),
        request: RequestId(1),
        prev,
        batches: vec![batch],
        commit,
    })
}

/// The same once a leader of its cluster has brought it the first entry.
fn joined() -> Desk {
    let mut desk = joining();
    hear(&mut desk, of(2, OURS), first_entry(1));
    desk.flush();
    desk
}

fn other_cluster(theirs: Genesis) -> PeerRefusal {
    PeerRefusal::OtherCluster { ours: OURS, theirs }
}

#[test]
fn who_joins_learns_of_which_cluster_it_is_by_its_first_leader_and_says_so_in_its_answer() {
    let mut desk = joining();
    let commands = hear(&mut desk, of(2, OURS), append(1, (0, 9), &[], 0));
    let place = |is_wanted: fn(&Command) -> bool| commands.iter().position(is_wanted);
    let signed = place(|it| matches!(it, Command::Sign { signature } if signature.genesis == OURS));
    assert!(signed.is_some(), "{}", said(&commands));
    let commands: Vec<Command> = commands.into_iter().skip(signed.unwrap()).chain(desk.flush()).collect();
    assert!(!messages(&commands).is_empty(), "it is answered behind that: {}", said(&commands));
    assert_eq!(desk.engine.signature().genesis, OURS);
}

#[test]
fn who_asks_for_a_vote_tells_it_as_well_and_neither_a_greeting_nor_an_answer_does() {
    let mut desk = joining();
    desk.feed(Event::Received { from: of(2, OTHER), message: None });
    let answer = VoteReply { term: Term(0), asked: Term(0), granted: true };
    hear(&mut desk, of(2, OTHER), Message::RequestVoteReply(answer));
    assert_eq!(desk.engine.signature().genesis, Genesis::UNKNOWN);
    hear(&mut desk, of(3, OURS), ask_vote(1, (0, 1)));
    assert_eq!(desk.engine.signature().genesis, OURS);
}

/// A leader of a later term that was told, by mistake, that this node is to be added to its own cluster.
#[test]
fn whoever_is_of_another_cluster_is_turned_away_whatever_it_says_and_nothing_changes() {
    let mut desk = joined();
    let before = desk.engine.status();
    let last = LogId::new(8, 100);
    let said_by_leader = [
        append(9, (0, 1), &[9, 9], 3),
        first_entry(9),
        Message::InstallSnapshot(snapshot_of(last, OTHER)),
        ask_vote(9, (8, 100)),
        Message::TimeoutNow { term: Term(9) },
        Message::Heartbeat(Heartbeat { term: Term(9), round: Round(1), commit: LogIndex(9), pledge: Duration::ZERO }),
        Message::AppendEntriesReply(AppendEntriesReply {
            term: Term(9),
            epoch: Epoch(1),
            request: RequestId(1),
            outcome: AppendOutcome::Stale,
        }),
    ];
    // Also under the id, and in the very life, of a member.
    for node in [2, 12] {
        for message in &said_by_leader {
            let from = of(node, OTHER);
            let reason = other_cluster(OTHER);
            assert_eq!(
                hear(&mut desk, from, message.clone()),
                [Command::RefusePeer { peer: from, reason }],
                "{message}"
            );
        }
        let refused = desk.feed(Event::Received { from: of(node, OTHER), message: None });
        assert_eq!(turned_away(&refused), Some(other_cluster(OTHER)), "a greeting of {node}");
    }
    assert_eq!(desk.engine.status(), before);
    assert_eq!(turned_away(&hear(&mut desk, of(2, OURS), append(1, (0, 1), &[1], 1))), None, "its own are heard");
}

#[test]
fn who_leads_or_asks_must_know_of_which_cluster_it_is_and_who_answers_need_not() {
    let mut desk = joined();
    let lost = of(2, Genesis::UNKNOWN);
    for message in [append(2, (0, 1), &[], 0), ask_vote(2, (1, 9))] {
        assert_eq!(turned_away(&hear(&mut desk, lost, message)), Some(other_cluster(Genesis::UNKNOWN)));
        assert_eq!(desk.term(), Term(1));
    }
    let answer = VoteReply { term: Term(2), asked: Term(2), granted: false };
    assert_eq!(turned_away(&hear(&mut desk, lost, Message::RequestVoteReply(answer))), None);
    assert_eq!(desk.term(), Term(2), "it is heard");
}

fn snapshot_of(last: LogId, genesis: Genesis) -> InstallSnapshot {
    let (id, membership_at) = (SnapshotId { last, bytes: 4, checksum: 7 }, LogId::new(0, 1));
    let snapshot =
        Arc::new(Snapshot { id, genesis, log_time: LogTime(5), membership: voters(&[1, 2, 3]), membership_at });
    let (epoch, request, chunk) = (Epoch(1), RequestId(1), bytes::Bytes::from_static(b"abcd"));
    InstallSnapshot { term: Term(9), leader: NodeId(2), epoch, request, snapshot, offset: 0, chunk }
}

#[test]
fn a_snapshot_of_another_cluster_is_garbage_whoever_sends_it() {
    let last = LogId::new(8, 100);
    let bring = |genesis| {
        let mut desk = joined();
        let mut commands = hear(&mut desk, of(2, OURS), Message::InstallSnapshot(snapshot_of(last, genesis)));
        commands.extend(desk.flush());
        let is_taken = commands.iter().any(|it| matches!(it, Command::ReceiveSnapshot { .. }));
        (turned_away(&commands), is_taken)
    };
    let id = snapshot_of(last, OTHER).snapshot.id;
    assert_eq!(bring(OTHER), (Some(PeerRefusal::Inconsistent(Inconsistency::Snapshot { id })), false));
    assert_eq!(bring(OURS), (None, true));
}

#[test]
fn what_the_log_says_counts_after_a_restart_and_else_what_the_node_was_started_with() {
    let signed = |started: Genesis, stored: Genesis| {
        let restored = Restored { genesis: stored, ..Restored::default() };
        Engine::new(EngineConfig::new(of(1, started), 7), restored, Instant(0)).signature().genesis
    };
    assert_eq!(signed(Genesis::UNKNOWN, Genesis::UNKNOWN), Genesis::UNKNOWN);
    assert_eq!(signed(OURS, Genesis::UNKNOWN), OURS);
    assert_eq!(signed(Genesis::UNKNOWN, OURS), OURS);
    assert_eq!(signed(OTHER, OURS), OURS);
}
