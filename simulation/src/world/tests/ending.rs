//! A history ends well only if everything is as it must be: a world that has ended is bent, and looked at once more.

use std::sync::Arc;

use super::*;
use crate::machine::Machine;
use crate::workload::Wish;

/// A world that has ended, and may be looked at once more; the last of the nodes that have converged.
fn ended() -> (World, NodeId) {
    let (mut world, _) = ended_world();
    world.patience = Some(Patience { until: u64::MAX, at_most: u64::MAX });
    let last = world.core().last().expect("somebody has converged").id;
    (world, last)
}

/// What comes of a look at the world that has ended, once it is bent.
fn looked_at(bend: impl FnOnce(&mut World, NodeId)) -> Result<bool, Check> {
    let (mut world, last) = ended();
    bend(&mut world, last);
    world.review().map_err(|violation| violation.check)
}

#[test]
fn a_world_has_ended_only_once_all_are_served_and_the_same() {
    assert_eq!(looked_at(|_, _| ()), Ok(true));
    assert_eq!(looked_at(|world, _| world.workload.become_calm(&world.plan.clone())), Ok(false), "clients wait");
    let grows = |world: &mut World, last| {
        let stamp = *running(world, last).runtime.accepted.0.last().expect("it has some");
        running(world, last).runtime.accepted.0.push(stamp);
    };
    assert_eq!(looked_at(grows), Ok(false), "a log goes on");
    let other = |world: &mut World, _| {
        let (at, members) = (world.judge.chain().last().index, world.core().map(|node| node_at(node.id)));
        let other = Membership::new([], members.collect::<Vec<_>>());
        world.members.commit(at, &Arc::new(other));
    };
    assert_eq!(looked_at(other), Ok(false), "the members are others");
}

#[test]
fn peace_has_its_parts_and_each_is_looked_at() {
    let part = |peace| {
        let (mut world, _) = ended();
        world.peace = peace;
        let looked_at = refusing(world.review());
        (looked_at, world.peace)
    };
    assert_eq!(part(Peace::Calm), (None, Peace::Idle), "one of them restarts yet");
    assert_eq!(part(Peace::Idle), (None, Peace::Still), "they are left alone yet");
    let changed = looked_at(|world, _| (world.peace, world.reign) = (Peace::Still, Some((Term(99), NodeId(77)))));
    assert_eq!(changed, Err(Check::Convergence));
    let restarts = |world: &World| world.nodes.iter().filter(|node| node.running.is_none()).count();
    let (mut world, _) = ended();
    assert_eq!(restarts(&world), 0);
    world.become_idle().expect("all is well");
    assert_eq!(restarts(&world), 1, "it crashes");
    assert!(!world.workload.is_content(), "every client wants to read once more");
}

#[test]
fn a_cluster_that_does_not_get_on_has_only_so_much_time() {
    let (mut world, _) = ended();
    world.workload.become_calm(&world.plan.clone());
    let mut look = |applied, until, at_most| {
        world.applied = applied;
        world.patience = Some(Patience { until, at_most });
        let judged = refusing(world.review());
        (judged, world.patience.expect("it is calm").until)
    };
    let long = u64::MAX / 2;
    assert_eq!(look(u64::MAX, long, u64::MAX), (None, long), "nothing was applied since");
    assert_eq!(look(u64::MAX, 0, u64::MAX), (Some(Check::Convergence), 0));
    assert_eq!(look(0, 0, u64::MAX).0, None, "it gets on");
    assert_eq!(look(0, 0, 7), (Some(Check::Convergence), 7), "but not for ever");
}

/// As many disks are lost as nobody can do without.
fn lose_all(world: &mut World) {
    let all: Vec<NodeId> = world.nodes.iter().map(|node| node.id).collect();
    all.into_iter().for_each(|id| world.nodes.at_mut(id).expect("it is there").is_lost = true);
}

#[test]
fn who_is_excused_has_told_its_clients_the_truth_all_the_same() {
    assert_eq!(looked_at(|world, _| lose_all(world)), Ok(true));
    let falsified = looked_at(|world, _| {
        lose_all(world);
        world.refinement.falsify();
    });
    assert_eq!(falsified, Err(Check::Refinement));
    let lost = |world: &mut World| {
        let (write, at) = (Write { key: 1, value: 1 << 20 }, LogId::new(99, 1 << 20));
        world.workload.judge.committed(write, at).expect("it is new");
        world.workload.judge.written(write, at, LogIndex(0), 0).expect("it is committed");
    };
    let acknowledged = looked_at(|world, _| {
        lose_all(world);
        lost(world);
    });
    assert_eq!(acknowledged, Err(Check::Acknowledged));
}

#[test]
fn in_the_end_the_answers_of_clients_are_held_against_the_log() {
    let (mut world, _) = ended();
    assert_eq!(world.conclude(), Ok(true));
    let token = Token(1 << 40);
    let write = Write { key: 1, value: 1 << 12 };
    world.workload.history.called(99, token, &Wish::Write(vec![write]), world.now);
    world.workload.history.answered(token, &Answer::Written(LogId::new(99, 1 << 20)), world.now);
    assert_eq!(refusing(world.conclude()), Some(Check::Linearizability));
}

#[test]
fn in_the_end_the_state_of_every_node_is_looked_at_and_what_it_came_from() {
    let restored = |is_whole: bool, is_right: bool| {
        let (mut world, last) = ended();
        let machine = &mut running(&mut world, last).runtime.machine;
        let ids = (1..=machine.last().0).map(|index| machine.id_at(LogIndex(index)).expect("it was applied"));
        let ids = ids.map(|id| if is_right { id } else { LogId { term: Term(99), ..id } }).collect();
        let registers = if is_whole { machine.registers().clone() } else { BTreeMap::new() };
        let mut other = Machine::default();
        other.restore(registers, &[], None, ids);
        *machine = other;
        refusing(world.conclude())
    };
    assert_eq!(restored(true, true), None);
    assert_eq!(restored(true, false), Some(Check::Acknowledged), "it has applied other entries");
    assert_eq!(restored(false, true), Some(Check::Acknowledged), "it shows nothing of them");
}

/// What clients are told is looked at while the world goes on.
#[test]
fn a_write_that_was_refused_and_is_committed_later_ends_a_history() {
    let mut world = World::new(&History::new(1).checks(Checks::LIGHT));
    (1..500).for_each(|value| drop(world.workload.judge.refused(Write { key: 1, value })));
    assert_eq!(refusing(world.run()), Some(Check::AtMostOnce));
}

#[test]
fn what_was_seen_and_has_changed_since_is_judged() {
    let (mut world, id) = world_with(|_, node, running| {
        let look = node.look().expect("it runs");
        look.leads() && running.judged == Some(look) && look.last.index.0 > 5
    });
    let now = look(&world, id);
    assert_eq!(refusing(world.judge_step(id, &now)), None);
    running(&mut world, id).runtime.truncated = true;
    assert_eq!(refusing(world.judge_step(id, &now)), Some(Check::LeaderAppendOnly));
    running(&mut world, id).runtime.truncated = false;
    let stamp = *running(&mut world, id).runtime.accepted.0.last().expect("it has some");
    let other = crate::durable::Stamp { id: LogId { index: stamp.id.index.next(), ..stamp.id }, ..stamp };
    running(&mut world, id).runtime.accepted.0.push(other);
    assert_eq!(refusing(world.judge_step(id, &now)), Some(Check::Health), "it says that its log ends before that");
    running(&mut world, id).runtime.accepted.0.pop();
    let halted = Look { role: RoleKind::Halted, ..now };
    assert_eq!(refusing(world.judge_step(id, &halted)), Some(Check::Health), "it has no reason to stop");
}

#[test]
fn a_disk_that_hung_before_its_node_led_or_slept_is_no_reason_to_go() {
    let (mut world, id) = world_with(|world, _, running| running.leads_since.is_some() && world.now > 2 * SECOND);
    world.now += 60 * SECOND;
    let (now, look) = (world.now, look(&world, id));
    (running(&mut world, id).flush_began, running(&mut world, id).leads_since) = (Some(0), Some(now));
    assert_eq!(refusing(world.judge_step(id, &look)), None);
    running(&mut world, id).leads_since = Some(0);
    assert_eq!(refusing(world.judge_step(id, &look)), Some(Check::Health));
    world.nodes.at_mut(id).expect("it is there").disturbed_at = now;
    assert_eq!(refusing(world.judge_step(id, &look)), None);
}
