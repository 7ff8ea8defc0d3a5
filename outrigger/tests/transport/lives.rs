//! Who is called where, in which of its lives, and which connections end when.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use outrigger::engine::{Incarnation, LogId, NodeId, NodeMap, Peer, PeerRefusal};
use outrigger::network::frame::kind;
use outrigger::network::handshake::{Hello, Rejection};
use outrigger::network::{Local, TcpSettings, Transport, codec};

use crate::{Arrivals, Node1, PATIENCE, Place, Stranger, accept, calls_often, connected, listen, local, message};

/// By it the others tell a member's directory from another one under its id.
#[test]
fn a_node_says_by_which_entry_it_is_bound_to_whom_it_calls_and_to_whoever_calls() {
    let node = Node1::start(TcpSettings::default());
    let bound = Some(LogId::new(2, 3));
    node.transport.sign(local(1).peer.claiming(bound));
    let mut friend = node.dial();
    friend.say(|output| Hello::new(&local(3), NodeId(1)).encode(output).unwrap());
    let said = |stranger: &mut Stranger| Hello::decode(stranger.hear().unwrap()).unwrap().peer.bound;
    assert_eq!(said(&mut friend), bound);
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    assert_eq!(said(&mut accept(&listener)), bound);
}

/// No connection ends by itself.
fn patient() -> TcpSettings {
    TcpSettings { idle_timeout: 4 * PATIENCE, ..TcpSettings::default() }
}

/// Whether a connection ends within a few pings.
fn ends(stranger: &mut Stranger) -> bool {
    (0..10).any(|_| stranger.hear().is_none())
}

/// Whoever waits for a node's end may start another one in its place.
#[test]
fn a_stopped_transport_ends_its_connections_both_ways() {
    let node = Node1::start(patient());
    let (mut caller, mut called) = (node.befriend(3), connected(&node));
    node.transport.stop();
    assert!(ends(&mut called), "it was called");
    assert!(ends(&mut caller), "it has called");
}

#[test]
fn a_peer_that_calls_again_has_left_its_last_connection() {
    let node = Node1::start(patient());
    let mut first = node.befriend(3);
    let _second = node.befriend(3);
    assert!(ends(&mut first));
}

/// Only with a new connection it is judged anew.
#[test]
fn who_is_not_taken_in_when_it_calls_is_to_call_again() {
    // It has room for nothing.
    let (sender, arrivals) = mpsc::sync_channel(0);
    let node = Node1::start_with(patient(), Arc::new(Arrivals(sender)), arrivals);
    let mut friend = node.dial();
    friend.say(|output| Hello::new(&local(3), NodeId(1)).encode(output).unwrap());
    assert_eq!(friend.hear().map(|frame| frame.kind), Some(kind::HELLO));
    assert!(ends(&mut friend));
}

#[test]
fn a_life_that_the_engine_refuses_is_left_and_another_one_is_not() {
    let node = Node1::start(patient());
    let mut peer = connected(&node);
    let other = Peer::new(NodeId(2), Incarnation { id: 2, start: 9, nonce: 9 });
    node.transport.refuse(other, PeerRefusal::NotMember);
    node.transport.send(NodeId(2), message(7));
    let heard = (0..10).find_map(|_| peer.hear().filter(|frame| frame.kind != kind::PING)).unwrap();
    assert_eq!(codec::decode(heard.kind, heard.body), Ok(message(7)));
    node.transport.refuse(local(2).peer, PeerRefusal::NotMember);
    assert!(ends(&mut peer));
}

/// A friend that says where it is reached, in some life.
fn caller_from(node: &Node1, peer: Peer, address: &str) -> Stranger {
    node.befriend_as(&Local { peer, peer_address: Some(address.to_owned()), ..local(peer.node.0) })
}

/// Another directory under the same id as node 2's.
fn other_life() -> Peer {
    Peer::new(NodeId(2), Incarnation { id: 9, start: 1, nonce: 9 })
}

#[test]
fn a_life_is_answered_where_it_has_called_from_whoever_else_calls_under_its_id() {
    let node = Node1::start(calls_often());
    let [place, elsewhere] = [Place::new(), Place::new()];
    let _callers =
        [caller_from(&node, local(2).peer, &place.address), caller_from(&node, other_life(), &elsewhere.address)];
    node.transport.answer(local(2).peer);
    place.is_called(3);
    assert_eq!(elsewhere.drain(), 0);
}

#[test]
fn whoever_is_met_where_another_life_was_to_be_answered_is_told_nothing() {
    let node = Node1::start(patient());
    let (listener, _) = listen();
    let _caller = caller_from(&node, local(2).peer, &listener.local_addr().unwrap().to_string());
    node.transport.answer(local(2).peer);
    let mut peer = accept(&listener);
    assert_eq!(peer.hear().map(|frame| frame.kind), Some(kind::HELLO));
    let other = Local { peer: other_life(), ..local(2) };
    peer.say(|output| Hello::new(&other, NodeId(1)).encode(output).unwrap());
    assert!(ends(&mut peer));
    assert!(node.arrivals.try_recv().is_err(), "nor is it heard");
}

#[test]
fn a_life_that_is_connected_is_not_called_where_it_has_called_from() {
    let node = Node1::start(patient());
    let mut peer = connected(&node);
    let elsewhere = Place::new();
    let _caller = caller_from(&node, local(2).peer, &elsewhere.address);
    node.transport.answer(local(2).peer);
    node.transport.send(NodeId(2), message(7));
    let heard = (0..10).find_map(|_| peer.hear().filter(|frame| frame.kind != kind::PING)).unwrap();
    assert_eq!(codec::decode(heard.kind, heard.body), Ok(message(7)));
    assert_eq!(elsewhere.drain(), 0);
}

#[test]
fn a_member_that_has_moved_is_called_where_it_is_alone_and_a_node_does_not_call_itself() {
    let node = Node1::start(calls_often());
    let [own, before, after] = [Place::new(), Place::new(), Place::new()];
    let peers = |place: &Place| NodeMap::from([(NodeId(1), own.node()), (NodeId(2), place.node())]);
    node.transport.set_peers(&peers(&before));
    before.is_called(3);
    node.transport.set_peers(&peers(&after));
    after.is_called(3);
    before.drain();
    // As often as it would be called there.
    after.is_called(10);
    assert_eq!((before.drain(), own.drain()), (0, 0));
}

#[test]
fn whoever_has_gone_and_calls_again_is_answered_again() {
    let node = Node1::start(calls_often());
    let [members, before, after] = [Place::new(), Place::new(), Place::new()];
    node.transport.set_peers(&NodeMap::from([(NodeId(2), members.node())]));
    let caller = caller_from(&node, local(3).peer, &before.address);
    node.transport.answer(local(3).peer);
    before.is_called(2);
    drop(caller);
    let end = Instant::now() + PATIENCE;
    let mut calls = usize::MAX;
    while calls > 0 {
        assert!(Instant::now() < end, "it is dialled for ever");
        before.drain();
        // The members' place is dialled as often as the other would be.
        members.is_called(10);
        calls = before.drain();
    }
    let _caller = caller_from(&node, local(3).peer, &after.address);
    node.transport.answer(local(3).peer);
    after.is_called(2);
}

/// By it the engine knows that it was removed, or not added yet.
#[test]
fn whoever_is_no_member_for_a_peer_that_it_has_called_is_told_so() {
    let node = Node1::start(TcpSettings::default());
    let mut peer = connected(&node);
    peer.say(|output| Rejection::NotMember { node: NodeId(1) }.encode(output).unwrap());
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, Some(message(1000)))));
}

/// It is called again only much later: until then nothing shows that it has gone but its own connection.
#[test]
fn a_stranger_that_was_answered_and_has_gone_is_forgotten_though_it_is_called_in_vain() {
    let pause = 4 * PATIENCE;
    let node = Node1::start(TcpSettings { backoff_min: pause, backoff_max: pause, ..TcpSettings::default() });
    let place = Place::new();
    let introduced =
        Local { peer_address: Some(place.address.clone()), client_address: Some("somewhere:1".into()), ..local(4) };
    let caller = node.befriend_as(&introduced);
    node.transport.answer(local(4).peer);
    place.is_called(1);
    node.transport.set_peers(&NodeMap::new());
    assert!(node.transport.client_addresses().contains_key(&NodeId(4)), "it is connected");
    drop(caller);
    let end = Instant::now() + PATIENCE;
    while !node.transport.client_addresses().is_empty() {
        assert!(Instant::now() < end, "clients are sent to it for ever");
        node.transport.set_peers(&NodeMap::new());
    }
}
