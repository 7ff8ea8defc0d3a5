//! Each judge of the world notices what it is there for: a node that is well is shown in a false light, and the judge that looks
//! at it must refuse it; and must not refuse what only looks like it.

use outrigger::engine::{
    Consistency, Incarnation, LogId, LogIndex, StateHash, Version, Vote, VoteRequest, VoteResult, Warrant,
};

use super::freshness::Freshness;
use super::office::Occasion;
use super::pledge::Matter;
use super::rot::Differs;
use super::*;
use crate::check::Office;
use crate::machine::{Answer, Write};
use crate::plan::SECOND;

mod ending;
pub(super) mod step;

/// A world at a moment at which one of its nodes is as wanted, and that node.
pub(super) fn world_with(is_wanted: impl Fn(&World, &Node, &Running) -> bool) -> (World, NodeId) {
    for seed in 1..300 {
        let mut world = World::new(&History::new(seed).checks(Checks { conduct: true, ..Checks::LIGHT }));
        while world.now < 10 * SECOND && !world.happen_next().expect("all is well") {
            let is_found = |node: &&Node| {
                let is_itself = node.disguise().is_none();
                node.running.as_ref().is_some_and(|running| is_itself && is_wanted(&world, node, running))
            };
            let found = world.nodes.iter().find(is_found).map(|node| node.id);
            if let Some(found) = found {
                return (world, found);
            }
        }
    }
    panic!("no node is as wanted in any of these worlds");
}

pub(super) fn look(world: &World, id: NodeId) -> Look {
    world.nodes.at(id).and_then(Node::look).expect("it runs")
}

pub(super) fn running(world: &mut World, id: NodeId) -> &mut Running {
    world.nodes.at_mut(id).and_then(|node| node.running.as_mut()).expect("it runs")
}

/// Another node that runs, as itself.
pub(super) fn another(world: &World, id: NodeId) -> Peer {
    let others = world.nodes.iter().filter(|node| node.id != id && node.disguise().is_none());
    others.filter_map(|node| node.running.as_ref()).next().expect("somebody else runs").runtime.me
}

/// Which check refuses it, if one does.
pub(super) fn refusing<T>(judged: Result<T, Violation>) -> Option<Check> {
    judged.err().map(|violation| violation.check)
}

impl World {
    /// Lives on until some node has something on its disk, and ends it; whatever else happens in this world is of no interest any more.
    pub(crate) fn until_crashed(&mut self) -> Option<(Node, Plan)> {
        while self.now < 10 * SECOND && self.happen_next() == Ok(false) {
            let is_rich = |node: &&Node| {
                let is_sound = node.running.is_some() && node.disguise().is_none() && !node.is_failing && !node.is_full;
                is_sound && node.durable().log.last().index.0 > 20
            };
            let found = self.nodes.iter().find(is_rich).map(|node| node.id);
            if let Some(node) = found.and_then(|id| self.nodes.at_mut(id)) {
                node.crash(true);
                let other = Node::new(node.id, node.rng.clone(), crate::trace::Telling::Nothing);
                return Some((std::mem::replace(node, other), self.plan.clone()));
            }
        }
        None
    }
}

/// The node has just refused somebody.
fn refuse(world: &mut World, id: NodeId) {
    let running = running(world, id);
    let peer = Peer::new(NodeId(77), running.runtime.me.incarnation);
    running.runtime.effects.push(Effect::RefusePeer(peer, PeerRefusal::NotMember));
}

#[test]
fn a_read_by_a_lease_that_no_quorum_vouches_for_is_noticed() {
    let (mut world, id) = world_with(|world, node, running| {
        let engine = running.driver.engine();
        let needs_others = engine.membership().voters().len() > 2;
        needs_others && engine.proves(outrigger::engine::Proof::Lease, world.time_at(node.id))
    });
    let (own, read) = (world.time_at(id), Event::Read { token: Token(0), consistency: Consistency::Lease });
    assert_eq!(world.is_proven(id, &read, own), Ok(true));
    let linearizable = Event::Read { token: Token(0), consistency: Consistency::Linearizable };
    world.allegiances = ByNode::default();
    assert_eq!(refusing(world.is_proven(id, &read, own)), Some(Check::Pledge));
    assert_eq!(world.is_proven(id, &linearizable, own), Ok(false), "a round is asked for");
    for reads in [world.plan.reads.clone(), None] {
        world.plan.reads = reads;
        let engine = world.nodes.at(id).and_then(|node| node.running.as_ref()).expect("it runs").driver.engine();
        let judged = world.judge_proof(id, engine, outrigger::engine::Proof::Round);
        assert_eq!(refusing(judged), Some(Check::LinearizableRead), "no round is one's own before it began");
    }
}

#[test]
fn a_vote_of_who_is_to_keep_still_is_noticed() {
    let (mut world, id) = world_with(|world, node, _| {
        world.allegiances.at(node.id).is_some_and(|it| it.keeps_still(world.time_at(node.id)))
    });
    let (own, mut look) = (world.time_at(id), look(&world, id));
    let before = look.vote;
    look.vote = Vote { term: Term(before.term.0 + 1), voted_for: Some(NodeId(77)) };
    assert_eq!(refusing(world.judge_pledge(&look, Matter::LeadersWish, before, own)), None);
    assert_eq!(refusing(world.judge_pledge(&look, Matter::Other, look.vote, own)), None, "it voted so before");
    assert_eq!(refusing(world.judge_pledge(&look, Matter::Other, before, own + Duration::from_secs(60))), None);
    assert_eq!(refusing(world.judge_pledge(&look, Matter::Other, before, own)), Some(Check::Pledge));
}

#[test]
fn a_node_that_knows_that_its_state_differs_and_goes_on_is_noticed() {
    let (mut world, id) = world_with(|_, node, running| {
        running.runtime.hashed.is_some() && node.look().is_some_and(|look| look.leader.is_some())
    });
    let look = look(&world, id);
    let (at, own) = running(&mut world, id).runtime.hashed.expect("it is hashed");
    let other = StateHash(own.0 ^ 1);
    let leader = look.leader.expect("it knows its leader");
    let told = |world: &World, from, term, at, agreed| {
        refusing(world.judge_rot(&look, Some(&Differs { from, term, at, agreed })))
    };
    let judge = |world: &World, term, at, hash| told(world, leader, term, at, hash);
    assert_eq!(told(&world, NodeId(77), look.term, at, other), None, "that is nobody's leader");
    assert_eq!(judge(&world, look.term, at, own), None, "its state is what all have");
    assert_eq!(judge(&world, look.term, LogIndex(at.0 + 1), other), None, "of that it knows nothing");
    assert_eq!(judge(&world, Term(look.term.0 + 1), at, other), None, "that is no leader of its term");
    assert_eq!(judge(&world, look.term, at, other), Some(Check::Divergence));
    refuse(&mut world, id);
    assert_eq!(judge(&world, look.term, at, other), None, "to whom it does not listen");
}

#[test]
fn a_stale_read_of_who_has_heard_nothing_for_long_is_noticed() {
    let (mut world, id) = world_with(|world, _, running| {
        let engine = running.driver.engine();
        world.plan.reads.is_some() && engine.role_kind() == RoleKind::Follower && engine.commit_index().0 > 5
    });
    let look = look(&world, id);
    let read = Freshness::of(&Event::Read {
        token: Token(0),
        consistency: Consistency::Stale { staleness_max: Duration::from_secs(600) },
    });
    assert_eq!(refusing(world.judge_freshness(&look, read)), None, "it heard of its leader in the last minutes");
    running(&mut world, id).heard = Default::default();
    assert_eq!(refusing(world.judge_freshness(&look, read)), Some(Check::BoundedStaleness));
    running(&mut world, id).runtime.effects.push(Effect::Answer(Token(0), Answer::Refused));
    assert_eq!(refusing(world.judge_freshness(&look, read)), None, "it is not served");
}

#[test]
fn a_stale_read_of_a_leader_that_has_committed_less_than_clients_knew_is_noticed() {
    let (mut world, id) = world_with(|world, node, running| {
        let look = node.look().expect("it runs");
        let knows = world.workload.judge.floor() > LogIndex(0) && look.commit >= world.workload.judge.floor();
        world.plan.reads.is_some() && look.leads() && knows && running.driver.engine().commit_index().0 > 5
    });
    let now = look(&world, id);
    running(&mut world, id).heard = Default::default();
    let bound = Duration::from_secs(1);
    let consistency = Consistency::Stale { staleness_max: bound };
    let read = Freshness::of(&Event::Read { token: Token(0), consistency });
    let behind = Look { commit: LogIndex(0), ..now };
    assert_eq!(refusing(world.judge_freshness(&now, read)), None);
    assert_eq!(refusing(world.judge_freshness(&behind, read)), None, "so long ago nobody knew more");
    // Some more than the bound later, by the slowest clock that there may be.
    world.now += world.plan.reads.as_ref().expect("it has some").at_most(bound) + SECOND;
    assert_eq!(refusing(world.judge_freshness(&behind, read)), Some(Check::BoundedStaleness));
}

#[test]
fn a_node_that_is_told_what_its_build_does_not_know_is_noticed() {
    let (mut world, id) =
        world_with(|world, _, running| world.plan.upgrade_every > 0 && running.runtime.me.version == Version::FIRST);
    let from = Peer::new(NodeId(77), running(&mut world, id).runtime.me.incarnation);
    let newer = Message::HashState { term: Term(1), at: LogIndex(1) };
    assert!(newer.since() > Version::FIRST);
    assert_eq!(world.is_heard_of(id, from, None), Ok(true));
    assert_eq!(refusing(world.is_heard_of(id, from, Some(&newer))), Some(Check::Version));
    world.crash(id, false).unwrap();
    world.nodes.at_mut(id).expect("it is there").replace_disk();
    world.start(id).unwrap();
    assert_eq!(world.is_heard_of(id, from, Some(&newer)), Ok(false), "it was said to another directory");
}

#[test]
fn a_node_whose_log_is_of_a_version_that_it_does_not_speak_is_noticed() {
    let (mut world, id) = world_with(|world, _, running| {
        world.plan.upgrade_every > 0 && running.driver.engine().membership().version() > Version::FIRST
    });
    let (look, peer) = (look(&world, id), running(&mut world, id).runtime.me);
    let older = Peer { version: Version::FIRST, ..peer };
    assert_eq!(refusing(world.judge_version(&look, Some((peer, peer.version)))), None);
    assert_eq!(refusing(world.judge_version(&look, Some((older, peer.version)))), Some(Check::Version), "it listens");
    let refused = PeerRefusal::NotMember;
    running(&mut world, id).runtime.effects.push(Effect::RefusePeer(older, refused));
    assert_eq!(refusing(world.judge_version(&look, Some((older, peer.version)))), None);
    running(&mut world, id).runtime.me = older;
    assert_eq!(refusing(world.judge_version(&look, None)), Some(Check::Version));
}

#[test]
fn a_leader_that_leads_beside_a_disk_that_hangs_is_noticed() {
    let (mut world, id) = world_with(|world, node, running| {
        running.leads_since.is_some() && world.now > 2 * SECOND && node.disturbed_at == 0
    });
    let look = look(&world, id);
    assert_eq!(refusing(world.judge_step(id, &look)), None);
    (running(&mut world, id).flush_began, running(&mut world, id).leads_since) = (Some(0), Some(0));
    world.now += 60 * SECOND;
    assert_eq!(refusing(world.judge_step(id, &look)), Some(Check::Health));
}

#[test]
fn a_node_that_refuses_a_member_in_its_present_life_is_noticed() {
    let (mut world, id) = world_with(|world, _, running| {
        let engine = running.driver.engine();
        world.plan.spares == 0 && world.nodes.iter().all(|node| node.running.is_some()) && engine.commit_index().0 > 5
    });
    let other = world.nodes.iter().find(|node| node.id != id).map(|node| node.id).expect("there are several");
    let peer = running(&mut world, other).runtime.me;
    let older = Peer { incarnation: Incarnation { start: peer.incarnation.start - 1, ..peer.incarnation }, ..peer };
    let of_older = PeerRefusal::EarlierStart { met: peer.incarnation };
    assert_eq!(refusing(world.refuse(id, older, &of_older)), None, "that is a life of before");
    assert_eq!(refusing(world.refuse(id, peer, &PeerRefusal::NotMember)), Some(Check::Health));
    assert!(running(&mut world, id).driver.engine().last_log_id() > LogId::ZERO);
}

#[test]
fn a_learner_that_campaigns_though_nobody_needs_it_to_is_noticed() {
    let (mut world, id) = world_with(|world, node, running| {
        let engine = running.driver.engine();
        let log = &running.runtime.accepted;
        engine.role_kind() == RoleKind::Learner
            && engine.last_log_id().term > Term(1)
            && world.changes_members()
            && !world.members.may_need(node.id, log, engine.commit_index())
    });
    let (own, last) = (world.time_at(id), look(&world, id).last);
    let campaigning = Look { role: RoleKind::PreCandidate, ..look(&world, id) };
    let asked = |last| {
        let request = VoteRequest { term: Term(99), last, warrant: Warrant::None };
        let from = Peer::new(NodeId(77), Incarnation::default());
        Occasion::of(&Event::Received { from, message: Some(Message::PreVote(request)) })
    };
    let mut judge = |occasion| refusing(world.judge_occasion(id, &campaigning, occasion, own));
    assert_eq!(judge(Occasion::of(&Event::Timeout)), Some(Check::Candidacy), "by itself");
    assert_eq!(judge(asked(last)), Some(Check::Candidacy), "who asks lacks nothing");
    assert_eq!(judge(asked(LogId::ZERO)), None, "who asks lacks what it has");
    // It goes on, by no other request.
    running(&mut world, id).judged = Some(campaigning);
    let lasts = world.terms.election_timeouts().1 * 4;
    let mut look = |after: Duration| {
        let judged = world.judge_occasion(id, &campaigning, Occasion::of(&Event::Timeout), own + after);
        refusing(judged)
    };
    assert_eq!((look(lasts), look(lasts + Duration::from_nanos(1))), (None, Some(Check::Candidacy)));
    assert!(running(&mut world, id).needed_since.is_none());
    let judged = world.judge_occasion(
        id,
        &Look { role: RoleKind::Learner, ..campaigning },
        Occasion::of(&Event::Timeout),
        own + lasts * 2,
    );
    assert_eq!(refusing(judged), None, "it has given up");
}

#[test]
fn a_node_that_is_shut_out_and_has_not_gone_back_is_noticed() {
    let (mut world, id) = world_with(|world, node, _| {
        world.plan.upgrade_every > 0 && !world.changes_members() && node.newest_build() == Version::FIRST
    });
    let (by, peer) = (NodeId(1 + id.0 % world.plan.nodes), running(&mut world, id).runtime.me);
    world.builds = Builds::default();
    let refused = |world: &mut World, cluster| {
        let reason = PeerRefusal::TooOld { cluster, spoken: peer.version };
        refusing(world.refused_as_too_old(by, peer, &reason))
    };
    let initial = initial_members(&world.plan).with_version(Version::LATEST);
    world.builds.commit(LogId::new(9, 9), &initial).expect("it is raised");
    assert_eq!(refused(&mut world, Version::LATEST), Some(Check::Version));
    assert_eq!(refused(&mut world, Version::FIRST), None);
    assert_eq!(refusing(world.find_too_old(id, Version::LATEST)), Some(Check::Version));
    assert_eq!(refusing(world.find_too_old(id, Version::FIRST)), None);
    let not_committed = Version(Version::LATEST.0 + 1);
    assert_eq!(refused(&mut world, not_committed), Some(Check::Version));
}

/// A world whose history has ended well, in which something was acknowledged, and one of the nodes that have converged.
fn ended_world() -> (World, NodeId) {
    for seed in 1..100 {
        let mut world = World::new(&History::new(seed).checks(Checks::LIGHT));
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        if !world.is_excused && world.workload.judge.acknowledged() > 3 {
            let id = world.core().next().expect("somebody has converged").id;
            return (world, id);
        }
    }
    panic!("no world ends well");
}

#[test]
fn in_the_end_what_is_not_as_it_was_told_is_noticed() {
    let (mut world, id) = ended_world();
    assert_eq!(world.conclude(), Ok(true));
    // Somebody is never answered.
    let (token, life) = (Token(1 << 62), world.nodes.at(id).expect("it is there").life);
    world.wishes.reach(id, life, &Event::StepDown { token });
    assert_eq!(refusing(world.conclude()), Some(Check::Answers));
    world.wishes.answered(id, token).expect("it is owed");
    running(&mut world, id).runtime.callers.ask(Token(1 << 40), 1);
    assert_eq!(refusing(world.conclude()), Some(Check::Answers));
    let (mut world, id) = ended_world();
    // A node has lost the end of its log.
    running(&mut world, id).runtime.accepted.truncate(LogIndex(1));
    assert_eq!(refusing(world.conclude()), Some(Check::Acknowledged));
    let (mut world, id) = ended_world();
    // A node has another state, as if it had applied nothing.
    running(&mut world, id).runtime.machine = Default::default();
    assert_eq!(refusing(world.conclude()), Some(Check::Acknowledged));
    let (mut world, _) = ended_world();
    // Something was committed that no node has applied.
    let (write, at) = (Write { key: 1, value: 1 << 20 }, LogId::new(99, 1 << 20));
    world.workload.judge.committed(write, at).expect("it is new");
    assert_eq!(refusing(world.conclude()), Some(Check::StateMachineSafety));
    // And it was acknowledged.
    world.workload.judge.written(write, at, LogIndex(0), 0).expect("it is committed");
    assert_eq!(refusing(world.conclude()), Some(Check::Acknowledged));
}

#[test]
fn in_the_end_the_model_is_asked_whether_its_invariants_hold() {
    let (mut world, _) = ended_world();
    world.refinement.falsify();
    assert_eq!(refusing(world.conclude()), Some(Check::Refinement));
}

#[test]
fn every_now_and_then_the_model_is_asked_whether_its_invariants_hold() {
    let mut world = World::new(&History::new(1));
    while world.steps < 50 {
        assert_eq!(world.happen_next(), Ok(false));
    }
    let mut falsified = World::new(&History::new(1));
    while falsified.steps < 50 {
        assert_eq!(falsified.happen_next(), Ok(false));
    }
    falsified.refinement.falsify();
    let next = |world: &mut World| {
        let steps = world.steps;
        while world.steps == steps {
            world.happen_next()?;
        }
        Ok(())
    };
    assert_eq!(next(&mut world), Ok(()));
    assert_eq!(refusing(next(&mut falsified)), Some(Check::Refinement));
}

#[test]
fn a_state_that_has_rotted_and_is_not_found_in_peace_is_noticed() {
    let (mut world, id) = world_with(|world, node, _| {
        let others: Vec<NodeId> = world.core().map(|other| other.id).filter(|other| *other != node.id).collect();
        let is_core = world.core().any(|other| other.id == node.id);
        let is_found = world.core().all(Node::compares_states) && world.members.have_quorum(&others);
        world.plan.state_check_interval.is_some() && is_core && others.len() > 1 && is_found
    });
    world.now += 3_600 * SECOND;
    assert_eq!(refusing(world.require_rot_found()), None, "nothing has rotted");
    running(&mut world, id).runtime.machine.rot();
    assert_eq!(world.rotten(), Some(id));
    assert_eq!(refusing(world.require_rot_found()), Some(Check::Divergence));
    world.calm_since = world.now;
    assert_eq!(refusing(world.require_rot_found()), None, "it takes its time");
    world.calm_since = 0;
    world.peace = Peace::Idle;
    assert_eq!(refusing(world.require_rot_found()), None, "the log does not grow any more");
    world.peace = Peace::Calm;
    world.patience = Some(Patience { until: u64::MAX, at_most: u64::MAX });
    assert_eq!(refusing(world.review()), Some(Check::Divergence));
    let others: Vec<NodeId> = world.core().map(|other| other.id).filter(|other| *other != id).collect();
    world.outsiders.extend(others.iter().map(|other| (*other, Outside::CutOff)));
    assert_eq!(world.rotten(), None, "nobody is there to find it");
}

#[test]
fn a_leader_that_gives_up_for_no_reason_is_noticed_on_whatever_occasion() {
    let (mut world, id) = world_with(|world, node, running| {
        let engine = running.driver.engine();
        let votes = engine.membership().voters().len() > 2 && engine.membership().is_voter(node.id);
        let (own, never) = (world.time_at(node.id), Duration::ZERO);
        let is_answered = |office: &Office| office.gives_up(node.id, &world.terms, own, never).is_err();
        votes
            && running.office.as_ref().is_some_and(is_answered)
            && node.disturbed_at + world.terms.pardon() <= world.now
            && running.flush_began.is_none()
    });
    let (own, now) = (world.time_at(id), look(&world, id));
    let gone = Look { role: RoleKind::Follower, ..now };
    let token = Token(1);
    let propose = Event::Read { token, consistency: Consistency::Linearizable };
    let office = running(&mut world, id).office.take();
    for (event, expected) in [
        (Event::Timeout, true),
        (propose, true),
        (Event::LogFlushed { write: Default::default() }, true),
        (Event::StepDown { token }, false),
    ] {
        running(&mut world, id).office.clone_from(&office);
        let judged = world.judge_occasion(id, &gone, Occasion::of(&event), own);
        assert_eq!(refusing(judged), expected.then_some(Check::Office), "{event:?}");
    }
    running(&mut world, id).office = office;
    let later = Look { term: Term(now.term.0 + 1), ..gone };
    assert_eq!(refusing(world.judge_occasion(id, &later, Occasion::Other, own)), None, "of a later term it has heard");
}

/// Nothing that happens depends on what is judged, so that a failure is the same with any choice of checks. Only the check of
/// recoveries has starts of its own, that fail, and are told beside the others.
#[test]
fn whatever_is_judged_the_same_happens() {
    for seed in 1..=12 {
        let live = |checks: Checks| {
            let report = History::new(seed).checks(checks).digested().live();
            let report = report.unwrap_or_else(|failure| panic!("{failure}"));
            let digest = checks.recovery.then_some(report.digest);
            (digest, report.steps, report.simulated, report.committed, report.services)
        };
        let (all, recovery) = (live(Checks::ALL), Checks { recovery: true, ..Checks::LIGHT });
        assert_eq!(live(recovery), all, "seed {seed}, checks {recovery}");
        let all = (None, all.1, all.2, all.3, all.4);
        for (name, checks) in [("light", Checks::LIGHT)].into_iter().chain(Checks::EACH).filter(|it| !it.1.recovery) {
            assert_eq!(live(checks), all, "seed {seed}, checks {name}");
        }
    }
}

/// How a node conducts itself is judged where that was asked for, and nowhere else.
#[test]
fn a_leader_whose_disk_hangs_is_noticed_by_whoever_judges_conduct() {
    let (mut world, id) = world_with(|_, node, running| running.leads_since.is_some() && node.disturbed_at == 0);
    let (look, now) = (look(&world, id), world.now);
    world.now = now + 60 * SECOND;
    running(&mut world, id).flush_began = Some(now);
    for (conduct, expected) in [(false, None), (true, Some(Check::Health))] {
        world.checks = Checks { conduct, ..Checks::LIGHT };
        assert_eq!(refusing(world.judge_step(id, &look)), expected);
    }
}

/// A leader that has just become joint, where those who leave are as many as the old majority cannot do without.
#[test]
fn a_joint_leader_is_left_with_the_new_majority_and_without_the_old_one() {
    let quorums = |world: &World, id: NodeId| {
        let engine = world.nodes.at(id).and_then(|node| node.running.as_ref()).expect("it runs").driver.engine();
        let hears = |node: NodeId| Some(node == id || !world.network.cuts(node, id) && !world.network.cuts(id, node));
        let quorum = engine.membership().quorum();
        [quorum.incoming, quorum.outgoing].map(|majority| majority.vote_result(hears) == VoteResult::Won)
    };
    let (mut world, id) = world_with(|world, node, running| {
        let engine = running.driver.engine();
        let (new, old) = (engine.membership().voters(), engine.membership().quorum().outgoing.0);
        let leave = old.iter().filter(|voter| **voter != node.id && !new.contains(voter)).count();
        let is_whole = !world.network.is_cut() && !world.is_calm();
        engine.role_kind() == RoleKind::Leader && is_whole && engine.membership().is_joint() && 2 * leave >= old.len()
    });
    assert_eq!(quorums(&world, id), [true, true]);
    world.split(id);
    assert_eq!((quorums(&world, id), world.faults.get("old voters cut off")), ([true, false], Some(&1)));
    let others: Vec<NodeId> = world.nodes.iter().map(|node| node.id).filter(|other| *other != id).collect();
    for other in others {
        let cuts = world.network.is_cut();
        world.split(other);
        assert_eq!((cuts, world.faults.get("old voters cut off")), (true, Some(&1)), "{other} does not lead");
    }
}
