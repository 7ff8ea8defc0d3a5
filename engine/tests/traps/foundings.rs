//! Two clusters that began with the same first members, as those of one of them were begun anew: nothing of one may count in the
//! other. What tells them apart is what the first leader of each has founded it as.

use super::*;

const OURS: Founding = Founding(7);
const OTHER: Founding = Founding(8);

/// Node 1, which founds and binds as nodes do, and is one of nodes 1 to 3.
fn first() -> Desk {
    Desk::with(&[1, 2, 3], |config| config.bind_directories = true)
}

fn of(node: u64, founding: Founding) -> Peer {
    peer(node, 1).founded(founding)
}

fn hear(desk: &mut Desk, from: Peer, message: Message) -> Vec<Command> {
    desk.feed(Event::Received { from, message: Some(message) })
}

/// The members of a cluster that was founded as this.
fn founded(founding: Founding) -> Arc<Membership> {
    Arc::new((*voters(&[1, 2, 3])).clone().founded(founding))
}

/// What a leader of `term` sends: these members, each in an entry of that term behind the first.
fn members(term: u64, members: &[Arc<Membership>], commit: u64) -> Message {
    let batch = |(index, members): (u64, &Arc<Membership>)| {
        Batch::new(LogId::new(term, index), LogTime(0), Arc::new([Payload::membership(Arc::clone(members))]))
    };
    let batches = (2..).zip(members).map(batch).collect();
    let (prev, commit, epoch, request) = (LogId::new(0, 1), LogIndex(commit), Epoch(1), RequestId(1));
    Message::AppendEntries(AppendEntries { term: Term(term), epoch, request, prev, batches, commit })
}

/// Node 1, whose leader, node 2, has told it that the founding is committed.
fn knowing() -> Desk {
    let mut desk = first();
    hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OURS)], 2));
    desk.flush();
    assert_eq!(told(&desk), OURS);
    desk
}

/// As what this node says that its cluster was founded.
fn told(desk: &Desk) -> Founding {
    desk.engine.signature().founding
}

#[test]
fn the_first_leader_founds_its_cluster_once_it_has_committed_anything_and_says_so_once_that_is_committed_too() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.bind_directories = true);
    assert!(!desk.engine.membership().founding().is_known(), "nothing of this leader is committed");
    desk.matched(2);
    let founding = desk.engine.membership().founding();
    assert!(founding.is_known() && told(&desk) == Founding::UNKNOWN, "it may have to be truncated yet");
    desk.flush();
    let commands = desk.matched(2);
    let says = |it: &Command| matches!(it, Command::Sign { signature } if signature.founding == founding);
    assert!(told(&desk) == founding && commands.iter().any(says), "{}", said(&commands));
    let mut other = Desk::leading_with(&[1, 2, 3], |config| {
        *config = EngineConfig { bind_directories: true, ..EngineConfig::new(config.node, 8) };
    });
    other.matched(2);
    assert_ne!(other.engine.membership().founding(), founding, "another cluster draws another one");
}

#[test]
fn no_change_of_the_members_begins_before_the_cluster_is_founded_and_each_keeps_that() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.bind_directories = true);
    let four: NodeMap<Node> = [(NodeId(4), Node { address: "node4".to_owned() })].into();
    let add = |token| Event::ChangeMembers {
        token: Token(token),
        request: Arc::new(ChangeMembers::AddNodes(four.clone()).into()),
    };
    assert_eq!(refusal(&desk.feed(add(5)), 5), Some(Refusal::NotReady));
    desk.matched(2);
    let (at, founding) = (desk.engine.membership_at(), desk.engine.membership().founding());
    assert_eq!((at, refusal(&desk.feed(add(6)), 6)), (LogId::new(1, 3), None));
    assert!(desk.engine.membership_at() == at && founding.is_known(), "it waits for that to be committed");
    desk.flush();
    desk.matched(2);
    let (now, membership) = (desk.engine.membership_at(), desk.engine.membership());
    assert!(now > at && membership.nodes().contains_key(&NodeId(4)), "{now}: {membership}");
    assert_eq!(membership.founding(), founding);
}

#[test]
fn what_is_not_committed_is_nothing_that_a_node_judges_by() {
    let mut desk = first();
    hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OURS)], 1));
    desk.flush();
    assert_eq!((desk.engine.membership().founding(), told(&desk)), (OURS, Founding::UNKNOWN));
    // Another leader, which has never heard of that entry, founds the cluster.
    let commands = hear(&mut desk, of(3, OTHER), members(2, &[founded(OTHER)], 2));
    assert_eq!(turned_away(&commands), None);
    assert_eq!(told(&desk), OTHER);
}

#[test]
fn a_membership_that_another_one_follows_is_committed_whatever_a_node_knows_of_that() {
    let mut desk = first();
    hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OURS), founded(OURS)], 1));
    assert_eq!(told(&desk), OURS);
}

#[test]
fn whoever_is_of_another_cluster_is_turned_away_whatever_it_says_and_nothing_changes() {
    let mut desk = knowing();
    let before = desk.engine.status();
    let id = SnapshotId { last: LogId::new(8, 100), bytes: 4, checksum: 7 };
    for node in [2, 12] {
        let from = of(node, OTHER);
        for message in [
            append(9, (0, 1), &[9, 9], 3),
            heartbeat(9, 1, 9),
            ask_vote(9, (8, 100)),
            ask_pre_vote(9, (8, 100)),
            Message::InstallSnapshot(snapshot_of(id, OTHER)),
            Message::RequestVoteReply(vote(9, 9, true)),
        ] {
            let reason = PeerRefusal::OtherFounding { ours: OURS, theirs: OTHER };
            let commands = hear(&mut desk, from, message.clone());
            assert_eq!(commands, [Command::RefusePeer { peer: from, reason }], "{message}");
        }
        assert!(turned_away(&desk.feed(Event::Received { from, message: None })).is_some(), "a greeting of {node}");
    }
    assert_eq!(desk.engine.status(), before);
}

#[test]
fn a_leader_that_does_not_know_yet_is_heard_as_the_entry_may_not_be_committed_for_it() {
    let mut desk = knowing();
    assert_eq!(turned_away(&hear(&mut desk, of(3, Founding::UNKNOWN), heartbeat(2, 1, 1))), None);
    assert_eq!((desk.term(), told(&desk)), (Term(2), OURS), "and what is known stays");
    assert_eq!(turned_away(&hear(&mut desk, of(3, OURS), heartbeat(2, 2, 2))), None);
}

#[test]
fn who_joins_learns_it_from_its_first_leader_and_is_of_no_other_cluster_from_then_on() {
    let genesis = Genesis(1 << 32 | 7);
    let mut desk = Desk::empty(|config| config.bind_directories = true);
    hear(&mut desk, of(2, OURS).of(genesis), append(1, (0, 9), &[], 0));
    assert_eq!(told(&desk), OURS);
    let refused = turned_away(&hear(&mut desk, of(3, OTHER).of(genesis), append(9, (0, 9), &[], 0)));
    assert_eq!(refused, Some(PeerRefusal::OtherFounding { ours: OURS, theirs: OTHER }));
}

fn snapshot_of(id: SnapshotId, founding: Founding) -> InstallSnapshot {
    let (membership, membership_at) = (founded(founding), LogId::new(1, 2));
    let snapshot = Snapshot { id, genesis: Genesis::UNKNOWN, log_time: LogTime(5), membership, membership_at };
    let (epoch, request, chunk) = (Epoch(1), RequestId(1), bytes::Bytes::from_static(b"abcd"));
    let (term, leader, snapshot) = (Term(9), NodeId(2), Arc::new(snapshot));
    InstallSnapshot { term, leader, epoch, request, snapshot, offset: 0, chunk }
}

#[test]
fn a_snapshot_of_another_cluster_is_garbage_whoever_sends_it() {
    let id = SnapshotId { last: LogId::new(8, 100), bytes: 4, checksum: 7 };
    let bring = |founding| {
        let mut desk = knowing();
        let mut commands = hear(&mut desk, of(2, OURS), Message::InstallSnapshot(snapshot_of(id, founding)));
        commands.extend(desk.flush());
        let is_taken = commands.iter().any(|it| matches!(it, Command::ReceiveSnapshot { .. }));
        (inconsistency(&commands), is_taken)
    };
    assert_eq!(bring(OTHER), (Some(Inconsistency::Snapshot { id }), false));
    let lost = Inconsistency::FoundedAgain { from: OURS, to: Founding::UNKNOWN };
    assert_eq!(bring(Founding::UNKNOWN), (Some(lost), false), "it covers the entry that says it");
    assert_eq!(bring(OURS), (None, true));
}

#[test]
fn a_snapshot_takes_the_place_of_a_founding_that_is_not_committed() {
    let id = SnapshotId { last: LogId::new(8, 100), bytes: 4, checksum: 7 };
    let mut desk = first();
    hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OTHER)], 1));
    assert_eq!((desk.engine.membership().founding(), told(&desk)), (OTHER, Founding::UNKNOWN));
    let mut commands = hear(&mut desk, of(2, OURS), Message::InstallSnapshot(snapshot_of(id, OURS)));
    commands.extend(desk.flush());
    assert!(commands.iter().any(|it| matches!(it, Command::ReceiveSnapshot { .. })), "{}", said(&commands));
}

#[test]
fn an_entry_that_founds_the_cluster_again_is_not_taken_in() {
    for after in [OTHER, Founding::UNKNOWN] {
        let mut desk = first();
        let commands = hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OURS), founded(after)], 1));
        let again = Inconsistency::FoundedAgain { from: OURS, to: after };
        assert_eq!((inconsistency(&commands), desk.engine.last_log_id()), (Some(again), LogId::new(0, 1)));
    }
}

#[test]
fn an_entry_right_behind_the_one_that_founds_the_cluster_does_not_found_it_again() {
    for after in [OTHER, Founding::UNKNOWN] {
        let mut desk = first();
        hear(&mut desk, of(2, Founding::UNKNOWN), members(1, &[founded(OURS)], 1));
        let batch = Batch::new(LogId::new(1, 3), LogTime(0), Arc::new([Payload::membership(founded(after))]));
        let Message::AppendEntries(request) = append(1, (1, 2), &[], 1) else { unreachable!("it is one") };
        let behind = Message::AppendEntries(AppendEntries { batches: vec![batch], ..request });
        let again = Inconsistency::FoundedAgain { from: OURS, to: after };
        let commands = hear(&mut desk, of(2, Founding::UNKNOWN), behind);
        assert_eq!((inconsistency(&commands), desk.engine.last_log_id()), (Some(again), LogId::new(1, 2)));
    }
}

/// Its log begins with members of before the founding, which says nothing against what it was told.
#[test]
fn who_joins_does_not_forget_what_it_was_told_while_it_is_brought_the_log_from_its_beginning() {
    let genesis = Genesis(1 << 32 | 7);
    let leader = of(2, OURS).of(genesis);
    let mut desk = Desk::empty(|config| config.bind_directories = true);
    let beginning = Batch::new(LogId::new(0, 1), LogTime(0), Arc::new([Payload::membership(voters(&[1, 2, 3]))]));
    let Message::AppendEntries(request) = append(1, (0, 0), &[], 1) else { unreachable!("it is one") };
    hear(&mut desk, leader, Message::AppendEntries(AppendEntries { batches: vec![beginning], ..request }));
    assert_eq!((desk.engine.last_log_id(), desk.commit(), told(&desk)), (LogId::new(0, 1), 1, OURS));
    let refused = turned_away(&hear(&mut desk, of(3, OTHER).of(genesis), append(9, (0, 1), &[], 1)));
    assert_eq!(refused, Some(PeerRefusal::OtherFounding { ours: OURS, theirs: OTHER }));
}

#[test]
fn a_leader_that_has_committed_nothing_of_its_own_founds_and_binds_nothing_though_its_predecessors_entries_are() {
    let mut desk = first();
    hear(&mut desk, of(2, Founding::UNKNOWN), append(1, (0, 1), &[], 1));
    desk.flush();
    assert_eq!(desk.commit(), 1);
    desk.become_leader();
    let end = desk.now + 2 * MAX;
    for round in 1.. {
        desk.beat(2, round, 0, 0);
        desk.elapse(HEARTBEAT);
        if desk.now > end {
            break;
        }
    }
    assert_eq!((desk.engine.role_kind(), desk.engine.membership_at()), (RoleKind::Leader, LogId::new(0, 1)));
    desk.matched(2);
    assert!(desk.engine.membership().founding().is_known());
}

/// Whoever holds the one behind it would take it for committed.
#[test]
fn a_leader_appends_nothing_about_the_members_behind_a_founding_that_is_not_committed() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.bind_directories = true);
    desk.matched(2);
    let at = desk.engine.membership_at();
    assert!(desk.engine.membership().founding().is_known() && desk.commit() < at.index.0);
    let end = desk.now + 2 * MAX;
    for round in 1.. {
        desk.beat(2, round, 2, 2);
        desk.beat(3, round, 0, 0);
        desk.flush();
        desk.elapse(HEARTBEAT);
        if desk.now > end {
            break;
        }
    }
    assert_eq!((desk.engine.role_kind(), desk.engine.membership_at()), (RoleKind::Leader, at));
    assert_eq!(told(&desk), Founding::UNKNOWN);
}

/// The heir must hold all that the log holds.
#[test]
fn nothing_is_founded_or_bound_while_leadership_is_handed_over() {
    let mut desk = Desk::leading_with(&[1, 2, 3], |config| config.bind_directories = true);
    desk.feed(Event::TransferLeadership { token: Token(5), to: Some(NodeId(3)) });
    desk.matched(2);
    assert_eq!((desk.commit(), desk.engine.transferring_to()), (2, Some(NodeId(3))), "it lacks an entry");
    assert_eq!(desk.engine.membership_at(), LogId::new(0, 1));
}

#[test]
fn after_a_restart_the_log_says_it_if_it_is_known_to_be_committed() {
    let entries = |count: u64| (2..2 + count).map(|index| (LogId::new(1, index), founded(OURS)));
    let restarted = |count, commit| {
        let memberships = [(LogId::new(0, 1), voters(&[1, 2, 3]))].into_iter().chain(entries(count)).collect();
        let terms = [LogId::new(0, 1), LogId::new(1, 2)][..if count == 0 { 1 } else { 2 }].to_vec();
        let last = if count == 0 { terms[0] } else { LogId::new(1, 1 + count) };
        let vote = Vote { term: Term(1), voted_for: None };
        let restored = Restored { vote, terms, last, memberships, commit: LogIndex(commit), ..Restored::default() };
        told(&Desk::restored(EngineConfig::new(peer(1, 2), 7), restored))
    };
    assert_eq!((restarted(0, 1), restarted(1, 1), restarted(1, 0)), Default::default(), "it may be truncated");
    assert_eq!((restarted(1, 2), restarted(2, 1), restarted(2, 0)), (OURS, OURS, OURS));
}

/// The state of a snapshot is committed: what it says of the members counts.
#[test]
fn after_a_restart_a_snapshot_says_it() {
    let id = SnapshotId { last: LogId::new(1, 9), bytes: 4, checksum: 7 };
    let snapshot = Some(snapshot_of(id, OURS).snapshot);
    let vote = Vote { term: Term(1), voted_for: None };
    let restored = Restored { vote, last: id.last, purged: id.last, snapshot, ..Restored::default() };
    assert_eq!(told(&Desk::restored(EngineConfig::new(peer(1, 2), 7), restored)), OURS);
}

#[test]
fn where_somebody_else_is_than_a_member_the_status_says_so_for_a_while() {
    let mut desk = first();
    for node in [2, 9] {
        desk.feed(Event::Misfit { node: NodeId(node), reason: "another cluster".to_owned() });
    }
    let told = [(NodeId(2), "another cluster".to_owned())].into();
    assert_eq!(desk.engine.status().refuses, told, "node 9 is no member");
    desk.now = desk.now + Duration::from_secs(6);
    hear(&mut desk, peer(2, 1), heartbeat(1, 1, 1));
    assert_eq!(desk.engine.status().refuses, [].into());
}
