//! A node that learns, while it is connected, of which cluster it is, or by which entry it is a member.

use outrigger::engine::{Genesis, Incarnation, LogId, NodeId, Peer};
use outrigger::network::codec;
use outrigger::network::frame::{BODY_BYTES_MAX, Frame, kind};
use outrigger::network::handshake::{Hello, Rejection};
use outrigger::network::{Local, TcpSettings, Transport};

use crate::{Node1, PATIENCE, Stranger, connected, local, message};

/// The next frame that is no ping.
fn hear(stranger: &mut Stranger) -> Frame {
    (0..10).find_map(|_| stranger.hear().filter(|frame| frame.kind != kind::PING)).expect("a frame")
}

#[test]
fn what_a_node_has_learnt_of_itself_stands_before_what_it_sends_then_and_is_said_once() {
    let node = Node1::start(TcpSettings::default());
    let mut peer = connected(&node);
    let signature = local(1).peer.claiming(Some(LogId::new(2, 3)));
    node.transport.sign(signature);
    for number in [7, 8] {
        node.transport.send(NodeId(2), message(number));
        if number == 7 {
            let said = Hello::decode(hear(&mut peer)).unwrap();
            assert_eq!((said.peer, said.target), (signature, NodeId(2)));
        }
        let heard = hear(&mut peer);
        assert_eq!(codec::decode(heard.kind, heard.body), Ok(message(number)));
    }
}

/// Somebody who does not know yet of which cluster it is, and has called.
fn joining(node: &Node1) -> (Stranger, Local) {
    let unknown = Local { peer: local(3).peer.of(Genesis::UNKNOWN), ..local(3) };
    (node.befriend_as(&unknown), unknown)
}

fn say_hello_as(stranger: &mut Stranger, peer: Peer) {
    stranger.say(|output| Hello::new(&Local { peer, ..local(3) }, NodeId(1)).encode(output).unwrap());
}

#[test]
fn what_a_caller_sends_is_from_who_it_has_said_last_that_it_is() {
    let node = Node1::start(TcpSettings::default());
    let (mut caller, unknown) = joining(&node);
    for (number, peer) in [(1, unknown.peer), (2, local(3).peer), (3, local(3).peer.claiming(Some(LogId::new(2, 3))))] {
        if number > 1 {
            say_hello_as(&mut caller, peer);
        }
        caller.say(|output| codec::encode(&message(number), 0, BODY_BYTES_MAX, output).unwrap());
        assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((peer, Some(message(number)))));
    }
}

#[test]
fn a_caller_that_turns_out_to_be_of_another_cluster_is_told_so_and_left() {
    let node = Node1::start(TcpSettings::default());
    let (mut caller, _) = joining(&node);
    say_hello_as(&mut caller, local(3).peer.of(Genesis(4)));
    assert_eq!(caller.hear_rejection(), Rejection::Genesis { ours: Genesis(6), theirs: Genesis(4) });
}

#[test]
fn a_caller_cannot_become_another_life_or_another_node() {
    let node = Node1::start(TcpSettings::default());
    let (mut caller, _) = joining(&node);
    say_hello_as(&mut caller, Peer::new(NodeId(3), Incarnation { id: 3, start: 2, nonce: 4 }).of(Genesis(6)));
    assert_eq!(caller.hear(), None);
    let (mut caller, _) = joining(&node);
    say_hello_as(&mut caller, local(4).peer);
    assert_eq!(caller.hear_rejection(), Rejection::WrongNode { asked: NodeId(3), found: NodeId(4) });
}

/// Who was started to join has let it in before it knew better.
#[test]
fn whom_the_cluster_shuts_out_that_a_node_has_learnt_to_be_of_it_does_not_let_in_again() {
    let node = Node1::start(TcpSettings::default());
    let foreigner = local(3).peer.of(Genesis(4));
    node.transport.sign(local(1).peer.of(Genesis::UNKNOWN));
    let _let_in = node.befriend_as(&Local { peer: foreigner, ..local(3) });
    node.transport.sign(local(1).peer);
    let mut again = node.dial();
    say_hello_as(&mut again, foreigner);
    assert_eq!(again.hear_rejection(), Rejection::Genesis { ours: Genesis(6), theirs: Genesis(4) });
}
