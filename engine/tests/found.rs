//! What the simulator and attacks on real processes found: a test for each fault, named for what went wrong.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use outrigger_engine::*;

fn beat(term: u64, round: u64) -> Message {
    Message::Heartbeat(Heartbeat { term: Term(term), round: Round(round), commit: LogIndex(0), pledge: Duration::ZERO })
}

/// Rounds begin anew with each term. A heartbeat of an earlier leadership that came late was answered in the present
/// term, and the answer counted for the present leadership's round of the same number: it could confirm a read that
/// had begun after the answer was given, and a healthy peer was refused when its number had not been reached yet.
#[test]
fn an_answer_to_a_heartbeat_of_an_earlier_leadership_counts_for_nothing() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    let (old, _) = cluster.engine(1).leadership();
    cluster.elect(2);
    cluster.elect(1);
    cluster.read(1, 7);
    cluster.network.clear();
    // Node 3 gets a heartbeat of node 1's first term now; its answer reaches node 1 at once.
    for round in [1, 2, 3, 64] {
        cluster.receive(3, 1, beat(old.0, round));
        cluster.stabilize();
    }
    assert!(!cluster.trace.contains("refuse_peer"), "node 3 did nothing wrong");
    assert!(!cluster.node(1).answers.iter().any(|it| it.contains("read #7")), "nobody has confirmed this leadership");
    cluster.elapse(Duration::from_millis(100));
    cluster.stabilize();
    assert!(cluster.node(1).answers.iter().any(|it| it.contains("read #7")), "now they have");
}

/// A node that ran on an older copy of its data directory had forgotten what it had acknowledged to a leader that was still
/// in office. It was never sent anything again, and nobody said a word.
#[test]
fn a_follower_that_forgot_what_it_acknowledged_is_named() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    let copy = cluster.node(2).disk.log.clone();
    for token in 10..15 {
        cluster.propose(1, token, "x");
        cluster.stabilize();
    }
    cluster.crash(2);
    cluster.nodes.get_mut(&2).unwrap().disk.log = copy;
    cluster.restart(2);
    for _ in 0..5 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert!(cluster.trace.contains("refuse_peer node 2"), "{}", cluster.trace);
    assert!(cluster.trace.contains("it acknowledged index 7 as durable and holds no more than 2"), "{}", cluster.trace);
    assert_eq!(cluster.role(1), RoleKind::Leader, "the others serve on");
}

/// While a disk hung, every pre-vote that a node was asked for left one more answer waiting: without bound, for candidates
/// ask again and again. An exploration with pre-votes did not come to an end.
#[test]
fn answers_to_candidates_that_ask_again_while_the_disk_hangs_do_not_pile_up() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let ask = |term| VoteRequest { term: Term(term), last: LogId::new(0, 1), warrant: Warrant::None };
    // Its vote for node 1 is on its way to a disk that takes long.
    cluster.receive(3, 1, Message::RequestVote(ask(1)));
    for _ in 0..100 {
        cluster.receive(3, 1, Message::PreVote(ask(2)));
        cluster.receive(3, 2, Message::PreVote(ask(2)));
    }
    cluster.network.clear();
    cluster.flush(3);
    let answers: Vec<_> = cluster.network.iter().map(|it| (it.to, it.message.to_string())).collect();
    let granted = |to, kind, term| (to, format!("{kind} granted for term {term}, own term 1"));
    let vote = granted(1, "request_vote_reply", 1);
    assert_eq!(answers, [vote, granted(1, "pre_vote_reply", 2), granted(2, "pre_vote_reply", 2)]);
}

/// So did each pre-campaign of the node itself leave one more question behind.
#[test]
fn questions_of_a_node_whose_disk_hangs_do_not_pile_up() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.receive(
        3,
        1,
        Message::RequestVote(VoteRequest { term: Term(1), last: LogId::new(0, 1), warrant: Warrant::None }),
    );
    for _ in 0..100 {
        cluster.timeout(3);
    }
    cluster.network.clear();
    cluster.flush(3);
    let asked = cluster.network.iter().filter(|it| matches!(it.message, Message::PreVote(_))).count();
    assert_eq!(asked, 2, "each of the other voters once");
}

/// A follower's log and its leader's differed at the very entry that the leader's log begins behind. The leader took the last
/// purged entry for the place where the two can agree, asked again from there, and was told the same, for ever.
#[test]
fn a_follower_that_differs_at_the_last_purged_entry_is_brought_a_snapshot() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.snapshots = SnapshotPolicy::BY_HAND);
    cluster.elect(3);
    cluster.cut = vec![3];
    cluster.propose(3, 1, "nobody else hears of it");
    cluster.flush(3);
    cluster.elapse(Duration::from_secs(2));
    cluster.stabilize();
    let leader = if cluster.role(1) == RoleKind::Leader { 1 } else { 2 };
    cluster.elect(leader);
    cluster.snapshot(leader);
    let purged = cluster.engine(leader).purged();
    let there = cluster.engine(3).log_id(purged.index);
    assert!(there.is_some_and(|id| id != purged), "node 3 has {there:?} where {purged} was purged");
    cluster.cut = Vec::new();
    for _ in 0..6 {
        cluster.elapse(Duration::from_millis(100));
        cluster.stabilize();
    }
    assert_eq!(cluster.engine(3).last_log_id(), cluster.engine(leader).last_log_id(), "{}", cluster.trace);
}

/// A node that started from a log with a change that is over spoke to those who had left until its first event, whatever
/// that was: a word of a stranger, which must change nothing, put its election off.
#[test]
fn a_start_knows_at_once_who_has_left() {
    let members = |ids: &[u64]| Arc::new(Membership::new(ids.iter().map(|id| (NodeId(*id), Node::default())), []));
    let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation { id: 7, start: 1, nonce: 1 }), 1);
    let restored = Restored {
        vote: Vote { term: Term(1), voted_for: None },
        terms: vec![LogId::new(0, 1), LogId::new(1, 2)],
        last: LogId::new(1, 5),
        commit: LogIndex(5),
        memberships: vec![(LogId::new(0, 1), members(&[1, 2, 3])), (LogId::new(1, 5), members(&[1, 2]))],
        ..Restored::default()
    };
    let mut engine = Engine::new(config, restored, Instant(0));
    let peers: Vec<_> = std::iter::from_fn(|| engine.poll_command())
        .filter_map(|command| if let Command::SetPeers { peers, .. } = command { Some(peers) } else { None })
        .collect();
    assert_eq!(peers.iter().map(|peers| peers.keys().copied().collect::<Vec<_>>()).collect::<Vec<_>>(), [[NodeId(2)]]);
    let due = engine.poll_timeout();
    assert!(due.is_some());
    let namesake = Peer::new(NodeId(1), Incarnation { id: 8, start: 1, nonce: 2 });
    engine.handle_event(Event::Received { from: namesake, message: Some(beat(1, 1)) }, Instant(1_000));
    assert_eq!(engine.poll_timeout(), due, "a stranger changes nothing");
}

/// A snapshot is kept beside the log, and could be durable before the term of the leader that brought it. A start then began
/// in the term before with a log of what is committed later: a leader of that term, which may not have it, was refused as one
/// that contradicts what is committed.
#[test]
fn a_snapshot_is_not_kept_before_the_term_that_it_came_in_is_durable() {
    let mut cluster = Cluster::with(&[1, 2, 3], |config| config.snapshots = SnapshotPolicy::BY_HAND);
    cluster.elect(1);
    let membership = Arc::new(cluster.engine(1).membership().clone());
    let id = SnapshotId { last: LogId::new(1, 9), bytes: 2, checksum: 7 };
    let snapshot =
        Snapshot { id, log_time: LogTime(1), membership, membership_at: LogId::new(0, 1), genesis: Genesis::UNKNOWN };
    let chunk = bytes::Bytes::from_static(b"s");
    let piece = InstallSnapshot {
        term: Term(5),
        leader: NodeId(1),
        epoch: Epoch(1),
        request: RequestId(1),
        snapshot: Arc::new(snapshot),
        offset: 0,
        chunk,
    };
    cluster.receive(3, 1, Message::InstallSnapshot(piece));
    assert_eq!((cluster.term(3), cluster.node(3).disk.vote.term), (5, Term(1)));
    assert!(!cluster.trace.contains("receive_snapshot"), "{}", cluster.trace);
    cluster.flush(3);
    assert!(cluster.trace.contains("receive_snapshot"), "{}", cluster.trace);
}

/// So could one that the node takes itself be, of what it has just heard to be committed.
#[test]
fn a_snapshot_is_not_taken_before_the_term_is_durable_that_it_was_committed_in() {
    let by_policy = SnapshotPolicy { entries: Some(1), ..SnapshotPolicy::BY_HAND };
    for policy in [by_policy, SnapshotPolicy::BY_HAND] {
        let mut cluster = Cluster::with(&[1, 2, 3], |config| config.snapshots = policy.clone());
        cluster.elect(1);
        let (prev, first) = (cluster.engine(3).last_log_id(), cluster.engine(3).last_log_id().index.next());
        let entry = Batch::new(LogId { term: Term(5), index: first }, LogTime(9), Arc::new([Payload::blank()]));
        let append = AppendEntries {
            term: Term(5),
            epoch: Epoch(1),
            request: RequestId(1),
            prev,
            batches: vec![entry],
            commit: first,
        };
        let before = cluster.trace.len();
        cluster.receive(3, 2, Message::AppendEntries(append));
        cluster.handle(3, Event::TakeSnapshot { token: Token(7) });
        assert_eq!((cluster.commit(3), cluster.node(3).disk.vote.term), (first.0, Term(1)));
        assert!(!cluster.trace[before..].contains("build snapshot"), "{}", &cluster.trace[before..]);
        cluster.flush(3);
        let last = &cluster.trace[before..];
        assert!(last.contains("build snapshot of 5/") && last.contains("snapshot_taken #7: 5/"), "{last}");
    }
}

/// A read waits for a quorum to answer a round of heartbeats. When the others left meanwhile, nobody was left to answer, and the reads
/// of a leader that alone was a quorum by then waited until somebody joined, or a limit was reached and all later ones were refused.
#[test]
fn reads_that_wait_are_confirmed_when_the_leader_becomes_the_only_voter() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, 1, "a");
    cluster.stabilize();
    cluster.read(1, 7);
    cluster.change(1, 8, ChangeMembers::RemoveVoters([NodeId(2), NodeId(3)].into()));
    loop {
        cluster.drop_messages(|envelope| matches!(envelope.message, Message::HeartbeatReply(_)));
        let all: Vec<u64> = cluster.nodes.keys().copied().collect();
        let flushed = all.into_iter().filter(|id| cluster.flush(*id)).count();
        if !cluster.deliver(|_| true) && flushed == 0 {
            break;
        }
    }
    assert_eq!(cluster.engine(1).membership().to_string(), "voters {1}", "{}", cluster.trace);
    assert!(cluster.trace.contains("state_machine: read #7"), "{}", cluster.trace);
}

/// A follower that is made the leader by hand still waits for what it handed to the leader before it. When it stepped down, the answer
/// that came then was told, and that nobody knows what becomes of it was not: that had been said before.
#[test]
fn what_was_handed_to_the_leader_before_is_given_up_with_ones_own_leadership() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster.propose(2, 7, "handed on");
    cluster.network.clear();
    cluster.handle(2, Event::Elect { token: Token(8), pre_vote: false });
    cluster.stabilize();
    assert_eq!(cluster.role(2), RoleKind::Leader);
    assert!(!cluster.node(2).answers.iter().any(|it| it.contains("#7")), "the answer may come");
    cluster.handle(2, Event::StepDown { token: Token(9) });
    let told = cluster.node(2).answers.iter().find(|it| it.contains("#7")).expect("it is told now");
    assert!(told.starts_with("refused #7: the leader did not answer"), "{told}");
}
