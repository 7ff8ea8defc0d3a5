//! Who reaches whom within one process. Every call is over when it returns, so that nothing is waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use outrigger::engine::{Genesis, Incarnation, LogId, Message, Node, NodeId, NodeMap, Peer, PeerRefusal, Version};
use outrigger::network::{InProcessNetwork, InProcessTransport, Local, Transport};

use crate::{Arrivals, MET, local, message};

/// A node that has started, and what has arrived there.
struct Station {
    transport: InProcessTransport,
    local: Local,
    arrivals: mpsc::Receiver<(Peer, Option<Message>)>,
}

impl Station {
    fn start(network: &InProcessNetwork, local: Local) -> Self {
        let (sender, arrivals) = mpsc::sync_channel(1000);
        let transport = network.transport();
        transport.start(local.clone(), Arc::new(Arrivals(sender))).unwrap();
        Self { transport, local, arrivals }
    }

    /// The next life of a node.
    fn restart(network: &InProcessNetwork, id: u64) -> Self {
        let mut local = local(id);
        local.peer.incarnation.start += 1;
        Self::start(network, local)
    }

    fn peer(&self) -> Peer {
        self.local.peer
    }

    fn knows(&self, peers: &[u64]) {
        let peers = peers.iter().map(|id| (NodeId(*id), Node::default())).collect::<NodeMap<Node>>();
        self.transport.set_peers(&peers);
    }

    /// What has arrived since it was asked last.
    fn heard(&self) -> Vec<(Peer, Option<Message>)> {
        self.arrivals.try_iter().collect()
    }

    /// Whether what is sent there arrives.
    fn reaches(&self, other: &Self) -> bool {
        other.heard();
        self.transport.send(other.peer().node, message(5));
        other.heard().iter().any(|(_, said)| *said == Some(message(5)))
    }
}

/// Nodes that know each other, with what they have heard until then forgotten.
fn friends(network: &InProcessNetwork, count: u64) -> Vec<Station> {
    let ids: Vec<u64> = (1..=count).collect();
    let stations: Vec<_> = ids.iter().map(|id| Station::start(network, local(*id))).collect();
    stations.iter().for_each(|station| station.knows(&ids));
    stations.iter().for_each(|station| drop(station.heard()));
    stations
}

/// As `Arrivals` writes a refusal down that tells of `MET`.
fn refused_by(station: &Station, met: u64) -> (Peer, Option<Message>) {
    (station.peer(), Some(message(1000 + met)))
}

/// The engine takes a handshake for a connection that is new.
#[test]
fn each_way_that_opens_is_one_handshake_for_both_and_nothing_else_is() {
    let network = InProcessNetwork::default();
    let [a, b] = [1, 2].map(|id| Station::start(&network, local(id)));
    a.knows(&[2]);
    assert_eq!((a.heard(), b.heard()), (vec![(b.peer(), None)], vec![(a.peer(), None)]));
    b.knows(&[1]);
    assert_eq!((a.heard(), b.heard()), (vec![(b.peer(), None)], vec![(a.peer(), None)]));
    a.knows(&[2, 3]);
    let c = Station::start(&network, local(3));
    network.cut(NodeId(2), NodeId(3));
    assert_eq!((a.heard(), b.heard(), c.heard()), (vec![(c.peer(), None)], vec![], vec![(a.peer(), None)]));
}

#[test]
fn a_life_that_takes_the_place_of_another_is_met_anew() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    let again = Station::restart(&network, 2);
    assert_eq!(nodes[0].heard(), [(again.peer(), None)]);
    assert_eq!(again.heard(), [(nodes[0].peer(), None)]);
    assert!(nodes[0].reaches(&again));
}

#[test]
fn a_cut_is_one_of_both_ways_whoever_is_named_first_and_of_no_other() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 3);
    network.cut(NodeId(2), NodeId(1));
    assert!(!nodes[0].reaches(&nodes[1]) && !nodes[1].reaches(&nodes[0]));
    assert!(nodes[0].reaches(&nodes[2]) && nodes[2].reaches(&nodes[1]));
    network.heal();
    assert!(nodes[0].reaches(&nodes[1]) && nodes[1].reaches(&nodes[0]));
    network.isolate(NodeId(3));
    assert!(nodes[0].reaches(&nodes[1]));
    for other in &nodes[..2] {
        assert!(!nodes[2].reaches(other) && !other.reaches(&nodes[2]));
    }
}

/// It has no members yet, and learns them from who calls it.
#[test]
fn who_does_not_know_the_first_members_is_talked_to_in_both_ways() {
    let network = InProcessNetwork::default();
    let joins = Station::start(&network, Local { peer: local(1).peer.of(Genesis::UNKNOWN), ..local(1) });
    let member = Station::start(&network, local(2));
    joins.knows(&[2]);
    member.knows(&[1]);
    assert!(joins.reaches(&member) && member.reaches(&joins));
}

/// Whoever leads it first tells it of which cluster it is.
#[test]
fn whoever_knows_of_which_cluster_it_is_talks_to_no_other_any_more() {
    let network = InProcessNetwork::default();
    let joins = Station::start(&network, Local { peer: local(1).peer.of(Genesis::UNKNOWN), ..local(1) });
    let [member, foreigner] =
        [local(2), Local { peer: local(3).peer.of(Genesis(9)), ..local(3) }].map(|it| Station::start(&network, it));
    joins.knows(&[2, 3]);
    member.knows(&[1]);
    foreigner.knows(&[1]);
    assert!(foreigner.reaches(&joins) && joins.reaches(&foreigner));
    joins.transport.sign(local(1).peer);
    assert!(member.reaches(&joins) && joins.reaches(&member));
    assert!(!foreigner.reaches(&joins) && !joins.reaches(&foreigner));
}

#[test]
fn nodes_of_another_cluster_or_begun_with_other_members_are_not_talked_to() {
    for other in [Local { cluster: 9, ..local(2) }, Local { peer: local(2).peer.of(Genesis(9)), ..local(2) }] {
        let network = InProcessNetwork::default();
        let nodes = [Station::start(&network, local(1)), Station::start(&network, other)];
        nodes.iter().for_each(|node| node.knows(&[1, 2]));
        assert!(!nodes[0].reaches(&nodes[1]) && !nodes[1].reaches(&nodes[0]));
        assert!(nodes.iter().all(|node| node.heard().is_empty()));
    }
}

#[test]
fn a_node_that_stands_among_its_own_peers_does_not_call_itself() {
    let network = InProcessNetwork::default();
    let alone = Station::start(&network, local(1));
    alone.knows(&[1]);
    alone.transport.send(NodeId(1), message(5));
    assert_eq!(alone.heard(), []);
}

#[test]
fn whoever_refuses_ends_both_ways_and_says_so_once_until_it_knows_other_members() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    let refuse = || nodes[0].transport.refuse(nodes[1].peer(), PeerRefusal::SecondCopy { met: MET });
    for _ in 0..2 {
        refuse();
        assert_eq!(nodes[1].heard(), [refused_by(&nodes[0], MET.start)]);
        refuse();
        assert_eq!(nodes[1].heard(), []);
        assert!(!nodes[0].reaches(&nodes[1]) && !nodes[1].reaches(&nodes[0]));
        nodes[0].knows(&[2]);
        assert!(nodes[0].reaches(&nodes[1]) && nodes[1].reaches(&nodes[0]));
    }
}

#[test]
fn a_life_that_is_not_there_any_more_is_refused_without_a_word_to_the_one_that_is() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    let gone = Peer::new(NodeId(2), Incarnation { start: 8, ..nodes[1].peer().incarnation });
    nodes[0].transport.refuse(gone, PeerRefusal::SecondCopy { met: MET });
    assert_eq!(nodes[1].heard(), []);
    assert!(nodes[0].reaches(&nodes[1]) && nodes[1].reaches(&nodes[0]));
}

/// The cluster may turn out to have an older version than its members spoke of.
#[test]
fn whose_build_is_too_old_is_told_so_each_time_and_still_heard() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    for _ in 0..2 {
        let reason = PeerRefusal::TooOld { cluster: Version::LATEST, spoken: Version::FIRST };
        nodes[0].transport.refuse(nodes[1].peer(), reason);
        assert_eq!(nodes[1].heard(), [refused_by(&nodes[0], 0)]);
    }
    assert!(nodes[0].reaches(&nodes[1]) && nodes[1].reaches(&nodes[0]));
}

#[test]
fn who_was_refused_and_is_to_be_answered_is_reached_again() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    nodes[0].transport.refuse(nodes[1].peer(), PeerRefusal::NotMember);
    nodes[0].transport.answer(nodes[1].peer());
    assert!(nodes[0].reaches(&nodes[1]));
}

/// Where an older claim was refused, this one may be heard.
#[test]
fn another_claim_is_another_handshake_and_the_same_one_is_none() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    nodes[1].transport.refuse(nodes[0].peer(), PeerRefusal::NotMember);
    assert!(!nodes[0].reaches(&nodes[1]));
    let signed = nodes[0].peer().claiming(Some(LogId::new(2, 3)));
    nodes[1].heard();
    nodes[0].transport.sign(signed);
    assert_eq!(nodes[1].heard(), [(signed, None), (signed, None)], "one for each way");
    nodes[0].transport.sign(signed);
    nodes[0].transport.send(NodeId(2), message(5));
    assert_eq!(nodes[1].heard(), [(signed, Some(message(5)))]);
}

/// Whoever waits for the old life's end need not have waited for it before a new one began.
#[test]
fn the_transport_of_an_earlier_life_changes_nothing_for_a_later_one_and_carries_nothing_once_it_has_stopped() {
    let network = InProcessNetwork::default();
    let nodes = friends(&network, 2);
    let again = Station::restart(&network, 2);
    again.knows(&[1]);
    nodes[1].knows(&[]);
    nodes[1].transport.sign(nodes[1].peer().claiming(Some(LogId::new(2, 3))));
    nodes[1].transport.stop();
    assert!(again.reaches(&nodes[0]) && nodes[0].reaches(&again));
    assert!(!nodes[1].reaches(&nodes[0]));
}

#[test]
fn clients_are_sent_only_to_who_is_reached() {
    let network = InProcessNetwork::default();
    let introduced = |id: u64| Local { client_address: Some(format!("client of {id}")), ..local(id) };
    let nodes = [1, 2, 3].map(|id| Station::start(&network, introduced(id)));
    nodes[0].knows(&[2, 3]);
    network.cut(NodeId(1), NodeId(3));
    assert_eq!(nodes[0].transport.client_addresses(), BTreeMap::from([(NodeId(2), "client of 2".to_owned())]));
}
