//! The cluster's version: raised when all members speak more, never before, never back; and nobody is told what it does not know.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, peer};
use outrigger_engine::*;

const HEARTBEAT: Duration = Duration::from_millis(100);
const OLD: Version = Version::FIRST;
const NEW: Version = Version::LATEST;

/// A cluster of the first version, whose nodes speak the latest but for some; states are compared as soon as that is known. The
/// first node leads.
fn mixed(ids: &[u64], old: &[u64]) -> Cluster {
    let mut cluster = begun(ids, old);
    cluster.elect(ids[0]);
    beat(&mut cluster, 2);
    cluster
}

fn begun(ids: &[u64], old: &[u64]) -> Cluster {
    Cluster::with(ids, |config| {
        // Node 0 stands for what the cluster begins with.
        let is_old = config.node.node == NodeId(0) || old.contains(&config.node.node.0);
        config.node.version = if is_old { OLD } else { NEW };
        config.state_check_interval = Some(HEARTBEAT * 10);
    })
}

fn beat(cluster: &mut Cluster, rounds: u32) {
    for _ in 0..rounds {
        cluster.elapse(HEARTBEAT);
        cluster.stabilize();
    }
}

/// A node stops, and starts in a build that speaks this version.
fn restart_speaking(cluster: &mut Cluster, id: u64, version: Version) {
    cluster.crash(id);
    cluster.nodes.get_mut(&id).expect("a node").config.node.version = version;
    cluster.restart(id);
    cluster.stabilize();
}

fn version(cluster: &Cluster, id: u64) -> Version {
    cluster.engine(id).membership().version()
}

/// The node is made leader: by the one that leads, if that one can be reached.
fn lead(cluster: &mut Cluster, id: u64) {
    let leads = |other: &u64| cluster.role(*other) == RoleKind::Leader && !cluster.cut.contains(other);
    let present = cluster.nodes.keys().copied().find(leads);
    match present {
        Some(leader) => {
            cluster.handle(leader, Event::TransferLeadership { token: Token(77), to: Some(NodeId(id)) });
            cluster.stabilize();
        }
        None => cluster.elect(id),
    }
    assert_eq!(cluster.role(id), RoleKind::Leader, "{}", cluster.trace);
    beat(cluster, 2);
}

/// The last node that spoke less is upgraded, and heard; the raise is on its way.
fn let_raise(cluster: &mut Cluster, upgraded: u64) {
    cluster.crash(upgraded);
    cluster.nodes.get_mut(&upgraded).expect("a node").config.node.version = NEW;
    cluster.restart(upgraded);
    cluster.elapse(HEARTBEAT);
    cluster.stabilize_until(|cluster| version(cluster, 1) == NEW);
    let engine = cluster.engine(1);
    assert!(engine.membership_at().index > engine.commit_index(), "it is under way");
}

#[test]
fn nodes_are_upgraded_one_at_a_time_and_the_new_is_used_only_after_the_last() {
    let mut cluster = mixed(&[1, 2, 3], &[1, 2, 3]);
    for id in [3, 2] {
        restart_speaking(&mut cluster, id, NEW);
        beat(&mut cluster, 12);
        assert_eq!([1, 2, 3].map(|id| version(&cluster, id)), [OLD; 3], "node 1 is of the older build");
    }
    restart_speaking(&mut cluster, 1, NEW);
    assert!(!cluster.trace.contains("hash_state"), "{}", cluster.trace);
    lead(&mut cluster, 2);
    assert_eq!([1, 2, 3].map(|id| version(&cluster, id)), [NEW; 3]);
    let spoken = cluster.engine(2).status().versions;
    assert_eq!(spoken, [(NodeId(1), NEW), (NodeId(2), NEW), (NodeId(3), NEW)].into());
    beat(&mut cluster, 12);
    cluster.propose(2, 1, "x");
    cluster.stabilize();
    assert!(cluster.trace.contains("state_hashed"), "it begins by itself:\n{}", cluster.trace);
}

#[test]
fn a_learner_that_speaks_less_holds_the_version_back() {
    let mut cluster = mixed(&[1, 2, 3], &[2]);
    cluster.join(&[4]);
    cluster.change(1, 9, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    restart_speaking(&mut cluster, 4, OLD);
    restart_speaking(&mut cluster, 2, NEW);
    beat(&mut cluster, 3);
    assert_eq!(version(&cluster, 1), OLD, "the learner speaks no more");
    restart_speaking(&mut cluster, 4, NEW);
    beat(&mut cluster, 3);
    assert_eq!([1, 2, 3, 4].map(|id| version(&cluster, id)), [NEW; 4]);
}

#[test]
fn what_a_member_spoke_in_an_earlier_life_does_not_count() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    restart_speaking(&mut cluster, 2, OLD);
    beat(&mut cluster, 2);
    restart_speaking(&mut cluster, 3, NEW);
    beat(&mut cluster, 2);
    assert_eq!(version(&cluster, 1), OLD, "node 2 went back in time");
    // A leader knows only what it has heard itself, in its own life.
    restart_speaking(&mut cluster, 2, NEW);
    cluster.cut = vec![3];
    restart_speaking(&mut cluster, 1, NEW);
    let leads = |cluster: &Cluster| [1, 2].into_iter().find(|id| cluster.role(*id) == RoleKind::Leader);
    while leads(&cluster).is_none() {
        beat(&mut cluster, 1);
    }
    beat(&mut cluster, 3);
    assert_eq!([1, 2].map(|id| version(&cluster, id)), [OLD; 2], "node 3 has not spoken to the new leader yet");
    cluster.cut.clear();
    beat(&mut cluster, 3);
    assert_eq!([1, 2, 3].map(|id| version(&cluster, id)), [NEW; 3]);
}

#[test]
fn a_raise_that_is_lost_with_its_leader_is_rolled_back_and_whoever_went_back_is_heard_again() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    cluster.drop_messages(|_| true);
    cluster.cut = vec![1];
    restart_speaking(&mut cluster, 3, OLD);
    lead(&mut cluster, 2);
    assert_eq!(version(&cluster, 2), OLD);
    cluster.propose(2, 1, "x");
    beat(&mut cluster, 2);
    cluster.cut.clear();
    beat(&mut cluster, 12);
    assert_eq!([1, 2, 3].map(|id| version(&cluster, id)), [OLD; 3], "{}", cluster.trace);
    assert_eq!(cluster.applied(1), ["x"]);
    assert!(!cluster.trace.contains("hash_state"));
    restart_speaking(&mut cluster, 3, NEW);
    beat(&mut cluster, 3);
    assert_eq!([1, 2, 3].map(|id| version(&cluster, id)), [NEW; 3]);
}

#[test]
fn an_older_build_does_not_start_from_a_log_that_says_more() {
    let mut cluster = mixed(&[1, 2, 3], &[]);
    assert_eq!(version(&cluster, 3), NEW);
    cluster.trace.clear();
    cluster.crash(3);
    cluster.nodes.get_mut(&3).expect("a node").config.node.version = OLD;
    cluster.restart(3);
    assert_eq!(cluster.role(3), RoleKind::Halted);
    let commands: Vec<&str> = cluster.trace.lines().filter(|line| line.starts_with("    ")).map(str::trim).collect();
    assert!(commands.iter().all(|it| it.starts_with("abandoned") || it.starts_with("halt")), "{commands:?}");
    let told = cluster.node(3).answers.last().expect("it says why");
    assert!(
        ["version to 2", "no more than 1", "without `speak_version_max`", "or in a build that speaks version 2"]
            .iter()
            .all(|part| told.contains(part)),
        "{told}"
    );
    assert!(cluster.node(3).applied.is_empty());
    restart_speaking(&mut cluster, 3, NEW);
    beat(&mut cluster, 2);
    assert_eq!(cluster.role(3), RoleKind::Follower, "nothing is lost");
}

/// The others went back to the older build: the raise that one of them holds must be rolled back by a leader of that build.
#[test]
fn a_raise_that_was_never_committed_shuts_nobody_out_of_a_cluster_that_went_back() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    while cluster.flush(1) {}
    cluster.drop_messages(|_| true);
    for id in [1, 2, 3] {
        cluster.crash(id);
    }
    for id in [2, 3] {
        restart_speaking(&mut cluster, id, OLD);
    }
    cluster.cut = vec![1];
    lead(&mut cluster, 2);
    cluster.cut.clear();
    cluster.propose(2, 1, "x");
    cluster.stabilize();
    // Whoever holds it does not start in the older build, and is told what to do.
    restart_speaking(&mut cluster, 1, OLD);
    assert_eq!(cluster.role(1), RoleKind::Halted);
    let told = cluster.node(1).answers.last().expect("it says why").clone();
    assert!(told.contains("raises the cluster's version to 2") && told.contains("can be started so again"), "{told}");
    restart_speaking(&mut cluster, 1, NEW);
    assert_eq!(
        (version(&cluster, 1), cluster.engine(1).version()),
        (NEW, OLD),
        "it has the raise, which is not committed"
    );
    beat(&mut cluster, 6);
    assert!(!cluster.trace.contains("refuse_peer"), "{}", cluster.trace);
    assert_eq!((version(&cluster, 1), cluster.applied(1)), (OLD, vec!["x"]), "{}", cluster.trace);
    restart_speaking(&mut cluster, 1, OLD);
    assert_eq!(cluster.role(1), RoleKind::Follower, "now it can go back too");
    for id in [1, 3, 2] {
        restart_speaking(&mut cluster, id, NEW);
    }
    lead(&mut cluster, 1);
    beat(&mut cluster, 3);
    assert_eq!([1, 2, 3].map(|id| cluster.engine(id).version()), [NEW; 3], "{}", cluster.trace);
}

/// It rolls back no entry of its own, and whoever went back cannot take it in.
#[test]
fn a_leader_refuses_who_went_back_before_its_raise_is_committed() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    assert_eq!(cluster.engine(1).version(), OLD);
    let told = cluster.trace.len();
    cluster.handle(1, Event::Received { from: peer(3, 9).speaking(OLD), message: None });
    assert!(cluster.trace[told..].contains("speaks no more than 1"), "{}", &cluster.trace[told..]);
}

#[test]
fn an_older_build_does_not_start_from_a_snapshot_that_says_more() {
    let mut cluster = mixed(&[1, 2, 3], &[]);
    cluster.snapshot(3);
    restart_speaking(&mut cluster, 3, OLD);
    assert_eq!(cluster.role(3), RoleKind::Halted);
}

/// It was heard in a newer build, went back before the entry reached it, and the leader does not know that yet.
#[test]
fn an_older_build_halts_when_it_is_handed_the_raise_and_does_not_keep_it() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    cluster.drop_messages(|_| true);
    cluster.crash(3);
    let raise = Batch::new(
        cluster.engine(1).membership_at(),
        LogTime(0),
        Arc::new([Payload::membership(Arc::new(cluster.engine(1).membership().clone()))]),
    );
    cluster.nodes.get_mut(&3).expect("a node").config.node.version = OLD;
    cluster.restart(3);
    let (term, prev) = (Term(cluster.term(1)), cluster.engine(3).last_log_id());
    assert_eq!(prev.index.next(), raise.first().index, "it lacks that entry alone");
    let request = AppendEntries {
        term,
        epoch: Epoch(1),
        request: RequestId(1),
        prev,
        batches: vec![raise],
        commit: LogIndex::ZERO,
    };
    cluster.receive(3, 1, Message::AppendEntries(request));
    assert_eq!((cluster.role(3), cluster.engine(3).last_log_id()), (RoleKind::Halted, prev));
    assert!(cluster.trace.contains("the node can be started so again afterwards"), "it may be rolled back yet");
}

#[test]
fn who_speaks_less_than_the_cluster_is_refused_and_told_both_versions() {
    let mut cluster = mixed(&[1, 2], &[]);
    let before = cluster.trace.len();
    let stranger = peer(7, 1).speaking(OLD);
    cluster.handle(1, Event::Received { from: stranger, message: None });
    let told = &cluster.trace[before..];
    assert!(told.contains("the cluster has version 2, and its build speaks no more than 1"), "{told}");
    let member = peer(2, 2).speaking(OLD);
    cluster.handle(1, Event::Received { from: member, message: None });
    assert!(cluster.trace.matches("speaks no more than 1").count() == 2, "a member too:\n{}", cluster.trace);
}

#[test]
fn a_change_that_comes_beside_a_raise_waits_for_it_and_its_precondition_holds() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    cluster.join(&[4]);
    let at = cluster.engine(1).membership_at();
    let_raise(&mut cluster, 3);
    let request = ChangeRequest {
        preconditions: Preconditions { membership: Some(at), ..Preconditions::default() },
        ..ChangeRequest::from(ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()))
    };
    cluster.request(1, 5, request.clone());
    cluster.request(1, 6, request);
    cluster.stabilize();
    let answers: Vec<&String> =
        cluster.node(1).answers.iter().filter(|it| it.contains("#5") || it.contains("#6")).collect();
    assert!(answers[0].contains("#6") && answers[0].contains("another change"), "{answers:?}");
    assert!(answers[1].starts_with("changed #5"), "{answers:?}");
    assert_eq!(version(&cluster, 1), NEW);
}

#[test]
fn a_change_does_not_wait_for_a_raise_while_leadership_is_handed_over() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    cluster.handle(1, Event::TransferLeadership { token: Token(4), to: Some(NodeId(2)) });
    cluster.change(1, 5, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    let told = cluster.node(1).answers.last();
    assert!(told.is_some_and(|it| it.starts_with("refused #5: not now")), "{:?}", cluster.node(1).answers);
}

#[test]
fn a_change_that_waits_for_a_raise_is_refused_for_certain_when_its_leader_goes() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    cluster.change(1, 5, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.handle(1, Event::StepDown { token: Token(6) });
    assert!(
        cluster.node(1).answers.iter().any(|it| it.contains("#5") && it.contains("does not lead")),
        "{:?}",
        cluster.node(1).answers
    );
}

/// A node that lacks the entry durably could be started in an older build yet.
#[test]
fn nobody_is_told_what_is_new_before_it_holds_the_raise_durably() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let_raise(&mut cluster, 3);
    // What leaves it is lost: it has the entry, and its leader does not know.
    for _ in 0..16 {
        cluster.elapse(HEARTBEAT);
        while cluster.deliver(|envelope| envelope.from.node != NodeId(3))
            | [1, 2, 3].map(|id| cluster.flush(id)).contains(&true)
        {}
        cluster.drop_messages(|envelope| envelope.from.node == NodeId(3));
    }
    assert!(cluster.engine(1).membership_at().index <= cluster.engine(1).commit_index(), "it is committed");
    let asked = |cluster: &Cluster, id: u64| cluster.trace.matches(&format!("to {id}: hash_state")).count();
    assert!(asked(&cluster, 2) > 0, "{}", cluster.trace);
    assert_eq!((version(&cluster, 3), asked(&cluster, 3)), (NEW, 0));
    beat(&mut cluster, 12);
    assert!(asked(&cluster, 3) > 0, "now it is known that it has");
}

#[test]
fn a_leader_that_would_take_the_version_back_is_refused() {
    let mut cluster = mixed(&[1, 2, 3], &[]);
    let last = cluster.engine(2).last_log_id();
    let lowered = Membership::clone(cluster.engine(2).membership()).with_version(OLD);
    let batch = Batch::new(
        LogId { index: last.index.next(), ..last },
        LogTime(0),
        Arc::new([Payload::membership(Arc::new(lowered))]),
    );
    let commit = cluster.engine(2).commit_index();
    let (epoch, request, term) = (Epoch(1), RequestId(1), Term(cluster.term(2)));
    let message = AppendEntries { term, epoch, request, prev: last, batches: vec![batch], commit };
    cluster.receive(2, 1, Message::AppendEntries(message));
    assert!(cluster.trace.contains("it would take the cluster's version back from 2 to 1"), "{}", cluster.trace);
    assert_eq!((version(&cluster, 2), cluster.engine(2).last_log_id()), (NEW, last));
}

#[test]
fn a_build_cannot_be_told_to_speak_what_it_does_not_know() {
    let config =
        |version| EngineConfig::new(peer(1, 1).speaking(version), 1).validate().map_err(|error| error.to_string());
    assert_eq!(config(OLD).and(config(NEW)), Ok(()));
    let error = Err("version 3 is not spoken by this build, which speaks versions 1 to 2".to_owned());
    assert_eq!(config(Version(3)), error);
    assert!(config(Version(0)).is_err());
}

#[test]
fn a_precondition_that_names_members_who_were_rolled_back_does_not_hold() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    cluster.change(1, 5, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    let lost = cluster.engine(1).membership_at();
    cluster.drop_messages(|_| true);
    cluster.cut = vec![1];
    lead(&mut cluster, 2);
    restart_speaking(&mut cluster, 3, NEW);
    beat(&mut cluster, 3);
    let raised = cluster.engine(2).membership_at();
    assert_eq!((version(&cluster, 2), raised.index <= cluster.engine(2).commit_index()), (NEW, true));
    assert!(lost < raised && lost > cluster.engine(2).membership().of().unwrap(), "{lost}, {raised}");
    let request = ChangeRequest {
        preconditions: Preconditions { membership: Some(lost), ..Preconditions::default() },
        ..ChangeRequest::from(ChangeMembers::RemoveVoters([NodeId(1)].into()))
    };
    cluster.request(2, 8, request);
    let answers = &cluster.node(2).answers;
    assert!(answers.iter().any(|it| it.contains("refused #8") && it.contains(&raised.to_string())), "{answers:?}");
}

#[test]
fn a_leader_that_is_removed_hands_over_though_a_raise_is_due() {
    let mut cluster = mixed(&[1, 2, 3], &[3]);
    let now = cluster.now;
    cluster.change(1, 7, ChangeMembers::RemoveVoters([NodeId(1), NodeId(3)].into()));
    cluster.stabilize();
    assert_eq!(
        (cluster.role(2), cluster.now),
        (RoleKind::Leader, now),
        "nobody waits for a timeout:\n{}",
        cluster.trace
    );
    assert_eq!(cluster.engine(2).membership_at().term, Term(cluster.term(2)), "the raise is the next leader's");
    assert_eq!(version(&cluster, 2), NEW);
}

#[test]
fn what_another_directory_spoke_under_the_id_does_not_count() {
    let mut cluster = Cluster::with(&[1, 2], |config| {
        config.bind_directories = true;
        config.node.version = if config.node.node == NodeId(1) { NEW } else { OLD };
    });
    cluster.elect(1);
    let settle = |cluster: &mut Cluster| beat(cluster, 25);
    settle(&mut cluster);
    let learner = || ChangeMembers::AddNodes([(NodeId(4), Node::default())].into());
    cluster.join_with(4, |config| config.node.version = NEW);
    cluster.change(1, 5, learner());
    settle(&mut cluster);
    assert_eq!(cluster.engine(1).status().versions[&NodeId(4)], NEW);
    cluster.change(1, 6, ChangeMembers::RemoveNodes([NodeId(4)].into()));
    settle(&mut cluster);
    cluster.wipe(4);
    cluster.crash(4);
    cluster.change(1, 7, learner());
    restart_speaking(&mut cluster, 2, NEW);
    settle(&mut cluster);
    assert_eq!(version(&cluster, 1), OLD, "who is a member now has not spoken yet");
    restart_speaking(&mut cluster, 4, OLD);
    settle(&mut cluster);
    let is_shut_out = cluster.node(1).refused.iter().any(|(_, reason)| matches!(reason, PeerRefusal::TooOld { .. }));
    assert_eq!((version(&cluster, 4), is_shut_out), (OLD, false), "it is heard");
    restart_speaking(&mut cluster, 4, NEW);
    settle(&mut cluster);
    assert_eq!([1, 2, 4].map(|id| version(&cluster, id)), [NEW; 3]);
}

#[test]
fn a_leader_tells_who_holds_the_version_back_itself_too() {
    let held_back = |cluster: &Cluster, id: u64| cluster.engine(id).status().version_held_back_by;
    let by = |nodes: &[(u64, Option<Version>)]| nodes.iter().map(|(id, spoken)| (NodeId(*id), *spoken)).collect();
    let mut cluster = begun(&[1, 2, 3], &[3]);
    cluster.cut = vec![3];
    cluster.elect(1);
    assert_eq!(held_back(&cluster, 1), by(&[(3, None)]), "it was not heard yet");
    cluster.cut = Vec::new();
    beat(&mut cluster, 2);
    assert_eq!(held_back(&cluster, 1), by(&[(3, Some(OLD))]));
    assert_eq!(held_back(&cluster, 2), by(&[]), "a follower does not know");
    lead(&mut cluster, 3);
    beat(&mut cluster, 2);
    assert_eq!(held_back(&cluster, 3), by(&[(3, Some(OLD))]), "it leads, and the others speak more");
    restart_speaking(&mut cluster, 3, NEW);
    lead(&mut cluster, 1);
    beat(&mut cluster, 2);
    assert_eq!((version(&cluster, 1), held_back(&cluster, 1)), (NEW, by(&[])));
}

/// Node 3, which has heard of nobody, is handed these entries behind its first one by node 1, as the leader of term 1.
fn handed(id: u64, old: &[u64], entries: impl Fn(&Membership) -> Vec<Payload>, commit: u64) -> Cluster {
    let mut cluster = begun(&[1, 2, 3], old);
    let members = cluster.engine(id).membership().clone();
    let batch = Batch::new(LogId::new(1, 2), LogTime(0), entries(&members).into());
    let (term, epoch, request, prev) = (Term(1), Epoch(1), RequestId(1), LogId::new(0, 1));
    let message = AppendEntries { term, epoch, request, prev, batches: vec![batch], commit: LogIndex(commit) };
    cluster.receive(id, 1, Message::AppendEntries(message));
    cluster
}

#[test]
fn a_request_that_raises_the_version_and_takes_it_back_is_refused() {
    let with = |members: &Membership, version| Payload::membership(Arc::new(members.clone().with_version(version)));
    let cluster = handed(3, &[], |members| vec![with(members, NEW), with(members, OLD)], 1);
    assert!(cluster.trace.contains("it would take the cluster's version back from 2 to 1"), "{}", cluster.trace);
    assert_eq!(cluster.engine(3).last_log_id(), LogId::new(0, 1));
}

#[test]
fn a_raise_behind_a_committed_entry_of_the_same_request_is_not_settled() {
    let raise = |members: &Membership| Payload::membership(Arc::new(members.clone().with_version(NEW)));
    let cluster = handed(3, &[3], |members| vec![Payload::blank(), raise(members)], 2);
    assert_eq!(cluster.role(3), RoleKind::Halted);
    assert!(cluster.trace.contains("the node can be started so again afterwards"), "{}", cluster.trace);
}

#[test]
fn a_raise_that_is_handed_over_as_committed_is_settled() {
    let raise = |members: &Membership| Payload::membership(Arc::new(members.clone().with_version(NEW)));
    let cluster = handed(3, &[3], |members| vec![Payload::blank(), raise(members)], 3);
    assert_eq!(cluster.role(3), RoleKind::Halted);
    assert!(cluster.trace.contains("there is no way back to an older one"), "{}", cluster.trace);
}

#[test]
fn who_was_not_heard_holds_back_nothing_that_is_raised() {
    let mut cluster = mixed(&[1, 2, 3], &[]);
    assert_eq!(version(&cluster, 1), NEW);
    cluster.join(&[4]);
    cluster.cut = vec![4];
    cluster.change(1, 7, ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()));
    cluster.stabilize();
    assert_eq!(cluster.engine(1).status().version_held_back_by, [].into());
}

#[test]
fn what_a_snapshot_says_is_settled() {
    let mut cluster = mixed(&[1, 2, 3], &[]);
    cluster.snapshot(3);
    cluster.crash(3);
    cluster.trace.clear();
    restart_speaking(&mut cluster, 3, OLD);
    assert_eq!(cluster.role(3), RoleKind::Halted);
    assert!(!cluster.trace.contains("can be started so again afterwards"), "{}", cluster.trace);
}
