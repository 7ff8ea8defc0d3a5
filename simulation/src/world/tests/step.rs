//! Whatever a node does is shown to every judge: what one of them looks at is bent, and the node takes a step in which all is well.

use std::sync::Arc;

use outrigger::engine::{
    Command, Epoch, Genesis, InstallSnapshot, LogTime, Payload, Precondition, Refusal, RequestId, Snapshot, SnapshotId,
    Transferred, VoteReply, WriteId,
};
use outrigger::runtime::RaftRuntime;

use super::*;
use crate::check::Prompt;
use crate::machine::Came;
use crate::world::leadership::{Fulfilment, judge_succession};

/// A world in which a node leads whose log is committed, and others run.
fn led(is_wanted: impl Fn(&World, &Look) -> bool) -> (World, NodeId) {
    world_with(|world, node, running| {
        let (look, engine) = (node.look().expect("it runs"), running.driver.engine());
        let others = world.nodes.iter().filter(|other| other.running.is_some() && other.disguise().is_none()).count();
        let is_sound = look.leads() && look.commit == look.last.index && look.heir.is_none() && others > 1;
        is_sound && engine.membership().is_voter(node.id) && is_wanted(world, &look)
    })
}

/// Which check refuses that a node hears another one greet it.
fn greeted(world: &mut World, id: NodeId) -> Option<Check> {
    let from = another(world, id);
    refusing(world.step(id, Event::Received { from, message: None }))
}

fn propose(token: Token, only_in: Option<Term>) -> Event {
    Event::Propose { token, entries: Arc::from([Payload::blank()]), only_in }
}

const TOKEN: Token = Token(1 << 50);

#[test]
fn what_is_carried_out_in_another_order_is_noticed() {
    let (mut world, id) = led(|_, _| true);
    assert_eq!(refusing(world.settle(id)), None);
    let vote = look(&world, id).vote;
    let handed_back = running(&mut world, id).runtime.run_command(Command::SaveVote { write: WriteId(1 << 40), vote });
    assert_eq!(handed_back.map(|command| command.is_none()), Ok(true));
    assert_eq!(refusing(world.settle(id)), Some(Check::Lanes));
}

#[test]
fn an_heir_that_may_lack_something_is_noticed() {
    let (mut world, id) = led(|_, _| true);
    assert_eq!(greeted(&mut world, id), None);
    let term = look(&world, id).term;
    running(&mut world, id).runtime.effects.push(Effect::Send(NodeId(77), Message::TimeoutNow { term }));
    assert_eq!(greeted(&mut world, id), Some(Check::Succession));
}

#[test]
fn a_transfer_ends_when_somebody_is_told_what_has_become_of_it() {
    let (mut world, id) = led(|_, _| true);
    let look = look(&world, id);
    assert_eq!(judge_succession(running(&mut world, id), &look), Ok(false));
    let told = Fulfilment::Transferred(Ok(Transferred { leader: id, term: look.term }));
    running(&mut world, id).runtime.effects.push(Effect::Wish(TOKEN, told));
    assert_eq!(judge_succession(running(&mut world, id), &look), Ok(true));
}

#[test]
fn a_log_that_has_grown_during_a_transfer_is_noticed() {
    let (mut world, id) = world_with(|world, node, _| {
        let others = world.nodes.iter().filter(|other| other.running.is_some() && other.disguise().is_none()).count();
        others > 1 && node.look().is_some_and(|look| look.heir.is_some())
    });
    let (own, timeouts) = (world.time_at(id), world.terms.election_timeouts());
    let before = Look { last: LogId::new(1, 1), ..look(&world, id) };
    let succession = &mut running(&mut world, id).succession;
    *succession = Default::default();
    assert_eq!(succession.judge(Prompt::Other, &before, false, timeouts, own, || true), Ok(()));
    assert_eq!(greeted(&mut world, id), Some(Check::Succession));
}

#[test]
fn who_goes_on_though_its_leader_says_that_its_state_differs_is_noticed() {
    let (mut world, id) = world_with(|world, node, running| {
        let look = node.look().expect("it runs");
        let leader = look.leader.and_then(|leader| world.nodes.at(leader)).filter(|leader| leader.disguise().is_none());
        let leads = leader.and_then(Node::look).is_some_and(|leader| leader.leads() && leader.term == look.term);
        look.role == RoleKind::Follower && leads && running.driver.engine().commit_index().0 > 5
    });
    let (at, look) = (LogIndex(1 << 20), look(&world, id));
    let from = running(&mut world, look.leader.expect("it follows somebody")).runtime.me;
    let mut told = |hashed| {
        running(&mut world, id).runtime.hashed = hashed;
        let message = Message::StateDiffers { term: look.term, at, agreed: StateHash(2) };
        refusing(world.step(id, Event::Received { from, message: Some(message) }))
    };
    assert_eq!((told(None), told(Some((at, StateHash(1))))), (None, Some(Check::Divergence)));
}

#[test]
fn what_a_leader_says_of_a_term_and_the_time_that_it_gives_are_held_against_what_is_so() {
    let (mut world, id) = led(|_, _| true);
    let term = look(&world, id).term;
    assert_eq!(refusing(world.step(id, propose(TOKEN, Some(term)))), None);
    let refusal = Refusal::PreconditionFailed { actual: Precondition::Term(term) };
    running(&mut world, id).runtime.refused_last = Some((TOKEN, refusal));
    assert_eq!(refusing(world.step(id, propose(TOKEN, Some(term)))), Some(Check::Precondition));
    let (mut world, id) = led(|_, _| true);
    let clock = &mut running(&mut world, id).log_clock;
    clock.0 = LogTime(clock.0.0 + 10_000);
    assert_eq!(refusing(world.step(id, propose(TOKEN, None))), Some(Check::LogTime));
}

#[test]
fn a_node_that_speaks_less_than_its_log_is_noticed() {
    let (mut world, id) = led(|world, _| world.plan.upgrade_every > 0);
    assert_eq!(greeted(&mut world, id), None);
    running(&mut world, id).runtime.me.version = Version(0);
    assert_eq!(greeted(&mut world, id), Some(Check::Version));
}

#[test]
fn a_node_that_says_that_it_was_removed_and_was_not_is_noticed() {
    let (mut world, id) = led(|world, _| world.changes_members());
    let read = || Event::Read { token: TOKEN, consistency: Consistency::Linearizable };
    assert_eq!(refusing(world.step(id, read())), None);
    running(&mut world, id).runtime.refused_last = Some((TOKEN, Refusal::NotMember));
    assert_eq!(refusing(world.step(id, read())), Some(Check::Answers));
}

#[test]
fn what_a_node_says_is_held_against_its_disk_and_against_what_may_be_said() {
    let (mut world, id) = led(|world, _| world.plan.upgrade_every > 0 && world.builds_are_first());
    let (to, look) = (another(&world, id).node, look(&world, id));
    let vote = |term| Message::RequestVoteReply(VoteReply { term, asked: term, granted: true });
    assert_eq!(refusing(world.send(id, to, &vote(Term(look.term.0 + 5)))), Some(Check::Promise));
    let newer = Message::HashState { term: look.term, at: look.commit };
    assert_eq!(refusing(world.send(id, to, &newer)), Some(Check::Version));
    assert_eq!(refusing(world.send(id, to, &Message::Committed { term: look.term, commit: look.commit })), None);
}

#[test]
fn a_message_that_a_build_does_not_know_is_noticed_when_it_arrives() {
    let (mut world, id) =
        world_with(|world, _, running| world.plan.upgrade_every > 0 && running.runtime.me.version == Version::FIRST);
    let from = Peer::new(NodeId(77), running(&mut world, id).runtime.me.incarnation);
    let newer = world.network.encode(&Message::HashState { term: Term(1), at: LogIndex(1) });
    assert_eq!(refusing(world.arrive(id, from, Some(newer))), Some(Check::Version));
}

#[test]
fn what_a_node_makes_of_a_session_is_held_against_what_must_come_of_it() {
    let (mut world, id) = world_with(|world, _, _| world.workload.sessions.is_some());
    let (life, at) = (world.nodes.at(id).expect("it is there").life, LogIndex(1 << 20));
    let mut brings = |effect: &Effect| refusing(world.bring_about(id, life, effect));
    assert_eq!(brings(&Effect::Came(at, Came::Applied)), Some(Check::ExactlyOnce));
    assert_eq!(brings(&Effect::Sessions(at, 1)), None);
    assert_eq!(brings(&Effect::Sessions(at, 1)), None);
    assert_eq!(brings(&Effect::Sessions(at, 2)), Some(Check::ExactlyOnce));
}

/// A piece of one of two snapshots, by an order of a leader of long ago.
pub(crate) fn piece(leader: NodeId, snapshot: u64, request: u64) -> InstallSnapshot {
    let id = SnapshotId { last: LogId::new(0, snapshot), bytes: 9, checksum: 0 };
    let (membership, membership_at) = (Arc::new(Membership::default()), LogId::new(0, 1));
    let snapshot =
        Arc::new(Snapshot { id, genesis: Genesis::UNKNOWN, log_time: LogTime(0), membership, membership_at });
    let (epoch, request) = (Epoch(1), RequestId(request));
    InstallSnapshot { term: Term(0), leader, epoch, request, snapshot, offset: 0, chunk: Bytes::from_static(b"1") }
}

#[test]
fn the_pieces_of_snapshots_that_a_node_hears_are_known() {
    let (mut world, id) = led(|_, _| true);
    let from = another(&world, id);
    let mut orders = Vec::new();
    for (snapshot, request) in [(5, 1), (8, 2), (5, 1)] {
        let piece = piece(from.node, snapshot, request);
        let taken = piece.snapshot.id;
        // It does not listen to who speaks of such a snapshot, and has heard of it all the same.
        let _ = world.step(id, Event::Received { from, message: Some(Message::InstallSnapshot(piece)) });
        let pieces = &mut running(&mut world, id).runtime.pieces;
        pieces.take(taken);
        orders.push(refusing(pieces.order(id)));
    }
    assert_eq!(orders, [None, None, Some(Check::Replication)], "its leader has wanted the other one since");
    assert_eq!(refusing(running(&mut world, id).runtime.order()), Some(Check::Replication));
}

#[test]
fn a_node_that_stops_for_no_reason_is_noticed() {
    let (mut world, id) = led(|_, _| true);
    let (at, reason, own) =
        (LogIndex(1), "as somebody said".to_owned(), running(&mut world, id).runtime.me.incarnation);
    for fault in [
        Fault::Storage { reason: reason.clone() },
        Fault::StateMachine { at, reason },
        Fault::Refused { by: NodeId(77), met: own, own },
        Fault::Diverged { at, own: StateHash(1), agreed: StateHash(2) },
    ] {
        assert_eq!(refusing(world.halt(id, &fault)), Some(Check::Health), "{fault}");
    }
}

/// Who refuses a present peer as of another directory may know no better while it knows of no binding, unless that one names a later
/// entry: then the node only lacks it. A leader lacks nothing.
#[test]
fn who_refuses_another_directory_and_must_know_it_is_noticed() {
    let knows = |is_bound: bool, leads: bool| {
        let (mut world, id) = world_with(|world, node, running| {
            let (engine, other) = (running.driver.engine(), world.nodes.iter().find(|other| other.id != node.id));
            let other = other.filter(|other| other.disguise().is_none() && other.running.is_some());
            let members = engine.membership();
            let is_wanted = |other: &Node| {
                let bound = members.bindings().get(&other.id).map(|binding| binding.directory);
                members.is_voter(other.id) && bound == is_bound.then_some(other.incarnation().id)
            };
            (engine.role_kind() == RoleKind::Leader) == leads && other.is_some_and(is_wanted)
        });
        let at = running(&mut world, id).driver.engine().membership_at();
        let other = world.nodes.iter().find(|other| other.id != id).map(|other| other.id).expect("there are several");
        let peer = running(&mut world, other).runtime.me;
        let refusal = PeerRefusal::OtherIncarnation { met: peer.incarnation };
        let later = LogId { index: at.index.next(), ..at };
        [None, Some(at), Some(later)].map(|bound| refusing(world.refuse(id, Peer { bound, ..peer }, &refusal)))
    };
    let noticed = Some(Check::Health);
    assert_eq!(knows(true, false), [noticed; 3]);
    assert_eq!(knows(true, true), [noticed; 3]);
    assert_eq!(knows(false, false), [None, None, noticed]);
    assert_eq!(knows(false, true), [None; 3]);
}
