//! What every transport must do, as cases that any implementation can be run through.
//!
//! A transport may lose messages while there is no connection, so the cases first wait until two nodes are *linked*:
//! until a probe has come through. What is sent from then on must arrive whole and in the order of its lane.
//!
//! ```
//! use std::sync::Arc;
//! use outrigger::engine::Node;
//! use outrigger::network::{InProcessNetwork, Transport, suite};
//!
//! // Makes a new network each time; the network makes a transport for each node, and says where its peers find it.
//! suite::run(|| {
//!     let network = InProcessNetwork::default();
//!     move || (Arc::new(network.transport()) as Arc<dyn Transport>, Node::default())
//! });
//! ```

use std::sync::Arc;

use outrigger_engine::{Genesis, Incarnation, LogId, Node, PeerRefusal, Version};

use super::Transport;

mod message;
mod station;

use message::{bulk, every_message, huge, urgent};
pub use station::Network;

/// One thing that every transport must do: its name, and the steps that show it. It panics where the transport fails.
pub type Case = (&'static str, fn(&mut Network<'_>));

/// Makes one more transport of a network, and says where its peers find it.
pub type Make<'a> = dyn FnMut() -> (Arc<dyn Transport>, Node) + 'a;

/// Runs every case, each in a new network that `fresh` makes. Blocks the thread: a transport that needs a runtime needs
/// one with other threads.
///
/// # Panics
/// When the transport fails a case; what is printed before names it.
pub fn run<N: FnMut() -> (Arc<dyn Transport>, Node)>(mut fresh: impl FnMut() -> N) {
    for (name, case) in CASES {
        println!("case {name}");
        let mut make = fresh();
        case(&mut Network::new(&mut make));
    }
}

/// All cases, for a test harness of one's own.
pub const CASES: &[Case] = &[
    ("both sides learn who the other is, in which life, and where its clients go", |network| {
        let (a, b) = network.linked_pair();
        assert_eq!(a.transport.client_addresses()[&b.node()], "client of 2");
        assert_eq!(b.transport.client_addresses()[&a.node()], "client of 1");
        assert!(a.saw(|from, message| from == b.peer() && message.is_none()));
        assert!(b.saw(|from, message| from == a.peer() && message.is_none()));
    }),
    ("every kind of message arrives as it was sent", |network| {
        let (a, b) = network.linked_pair();
        for message in every_message() {
            a.transport.send(b.node(), message.clone());
            b.wait_for(|from, found| from == a.peer() && found == Some(&message));
            a.send_bulk(b.node(), message.clone());
            b.wait_for_all(&[message.clone(), message]);
            b.forget();
        }
    }),
    ("nobody is sent what its handshake says that it does not know", |network| {
        let a = network.start(1);
        let b = network.start_as(2, |local| local.peer.version = Version::FIRST);
        network.introduce();
        network.link(&a, &b);
        for message in every_message() {
            a.transport.send(b.node(), message.clone());
            a.send_bulk(b.node(), message);
        }
        a.transport.send(b.node(), urgent(7));
        a.send_bulk(b.node(), bulk(8, 0));
        b.wait_for_all(&[urgent(7)]);
        b.wait_for_all(&[bulk(8, 0)]);
        assert!(!b.saw(|_, message| message.is_some_and(|message| message.since() > Version::FIRST)));
        assert!(every_message().iter().any(|message| message.since() > Version::FIRST));
    }),
    ("a lane keeps its order", |network| {
        let (a, b) = network.linked_pair();
        let (first, second): (Vec<_>, Vec<_>) = (0..2000).map(|number| (urgent(number), bulk(number, 100))).unzip();
        for (urgent, bulk) in first.iter().zip(&second) {
            a.transport.send(b.node(), urgent.clone());
            a.send_bulk(b.node(), bulk.clone());
        }
        b.wait_for_all(&first);
        b.wait_for_all(&second);
    }),
    ("a message of many megabytes arrives whole, and small ones beside it", |network| {
        let (a, b) = network.linked_pair();
        a.send_bulk(b.node(), huge());
        a.transport.send(b.node(), urgent(1));
        a.send_bulk(b.node(), bulk(2, 0));
        b.wait_for_all(&[huge(), bulk(2, 0)]);
        b.wait_for_all(&[urgent(1)]);
    }),
    ("who is not there is always ready, and what is sent to it is lost", |network| {
        let a = network.start(1);
        let nobody = outrigger_engine::NodeId(77);
        for number in 0..100_000 {
            a.transport.send(nobody, urgent(number));
            a.send_bulk(nobody, bulk(number, 0));
        }
    }),
    ("who takes nothing in holds up nobody", |network| {
        let (a, b) = network.linked_pair();
        b.take_in(false);
        (0..100).for_each(|number| a.send_bulk(b.node(), bulk(number, 1000)));
        b.wait_until_offered(100);
        b.take_in(true);
        a.transport.send(b.node(), urgent(7));
        b.wait_for_all(&[urgent(7)]);
    }),
    ("a node that comes back is met in its new life", |network| {
        let (a, b) = network.linked_pair();
        b.transport.stop();
        let again = network.start(2);
        assert!(again.peer() > b.peer());
        network.link(&a, &again);
        assert!(a.saw(|from, message| from == again.peer() && message.is_none()));
        network.link(&again, &a);
    }),
    ("who is no peer any more gets nothing more, and the others do", |network| {
        let (a, b) = network.linked_pair();
        let c = network.start(3);
        network.link(&a, &c);
        network.set_peers(&a, &[&c]);
        b.forget();
        (0..100).for_each(|number| a.transport.send(b.node(), urgent(number)));
        a.transport.send(c.node(), urgent(1));
        c.wait_for_all(&[urgent(1)]);
        assert!(!b.saw(|from, message| from == a.peer() && (0..100).any(|number| message == Some(&urgent(number)))));
    }),
    ("a stranger of another cluster is not listened to, and a friend is", |network| {
        let a = network.start(1);
        let stranger = network.start_as(2, |local| local.cluster += 1);
        let founder = network.start_as(3, |local| local.peer.genesis.0 += 1);
        let friend = network.start(4);
        network.introduce();
        for number in 0..100 {
            stranger.transport.send(a.node(), urgent(number));
            founder.transport.send(a.node(), urgent(number));
        }
        network.link(&friend, &a);
        assert!(!a.saw(|from, _| from == stranger.peer() || from == founder.peer()));
        assert!(!stranger.saw(|_, _| true) && !founder.saw(|_, _| true));
    }),
    ("what a node learns of itself is said with all that it sends from then on", |network| {
        let a = network.start_as(1, |local| local.peer.genesis = Genesis::UNKNOWN);
        let b = network.start(2);
        network.link(&a, &b);
        let knowing = a.peer().of(Genesis(6));
        let bound = knowing.claiming(Some(LogId::new(2, 3)));
        for (number, signature) in [(1, knowing), (2, bound)] {
            a.transport.sign(signature);
            a.transport.send(b.node(), urgent(number));
            b.wait_for(|from, message| from == signature && message == Some(&urgent(number)));
        }
        b.transport.send(a.node(), urgent(3));
        a.wait_for(|from, message| from == b.peer() && message == Some(&urgent(3)));
    }),
    ("a refusal ends the connection, is told to the other side, and the others stay", |network| {
        let (a, b) = network.linked_pair();
        let c = network.start(3);
        network.link(&a, &c);
        let met = Incarnation { nonce: 99, ..b.peer().incarnation };
        a.transport.refuse(b.peer(), PeerRefusal::SecondCopy { met });
        b.wait_for_refusal(a.peer(), met);
        a.transport.send(c.node(), urgent(1));
        c.wait_for_all(&[urgent(1)]);
        let again = network.start(2);
        network.link(&a, &again);
        network.link(&again, &a);
    }),
    ("who is no peer is answered where it says that it is reached", |network| {
        let (a, b) = (network.start_as(1, |_| ()), network.start_as(2, |_| ()));
        network.set_peers(&b, &[&a]);
        network.link(&b, &a);
        a.transport.answer(b.peer());
        network.link(&a, &b);
    }),
    ("who is to be answered is reached in its own place, though another life is where the members say", |network| {
        let (a, old) = network.linked_pair();
        let new = network.start_as(2, |_| ());
        network.set_peers(&new, &[&a]);
        network.link(&new, &a);
        a.transport.answer(new.peer());
        network.link(&a, &new);
        old.forget();
        network.set_peers(&a, &[&new]);
        network.link(&a, &new);
        assert!(!old.saw(|from, message| from == a.peer() && message.is_some()));
    }),
    ("who was refused is met again once the peers are told again", |network| {
        let (a, b) = network.linked_pair();
        let met = Incarnation { nonce: 99, ..b.peer().incarnation };
        a.transport.refuse(b.peer(), PeerRefusal::SecondCopy { met });
        b.wait_for_refusal(a.peer(), met);
        a.forget();
        network.set_peers(&a, &[&b]);
        network.link(&a, &b);
        network.link(&b, &a);
    }),
    ("whoever waits for room is woken when the peer goes", |network| {
        let (a, b) = network.linked_pair();
        b.transport.stop();
        // Much more than any lane or socket holds: it ends only because the lane of a lost peer is ready.
        (0..300).for_each(|number| a.send_bulk(b.node(), bulk(number, 1 << 20)));
    }),
];
