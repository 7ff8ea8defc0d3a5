//! Both transports go through the conformance suite; the TCP one then meets strangers, garbage and silence.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use outrigger::engine::{Genesis, Incarnation, LogIndex, Message, Node, NodeId, NodeMap, Peer, PeerRefusal, Term};
use outrigger::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer, kind};
use outrigger::network::handshake::{Hello, Rejection};
use outrigger::network::{InProcessNetwork, Local, Receive, TcpSettings, TcpTransport, Transport, codec, suite};
use tokio::runtime::Runtime;

mod in_process;
mod lives;
mod signature;

/// A test that waits for longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn calls_within_a_process_keep_every_promise() {
    suite::run(|| {
        let network = InProcessNetwork::default();
        move || (Arc::new(network.transport()) as Arc<dyn Transport>, Node::default())
    });
}

/// Runs the suite over TCP: where each node listens, and the host under which the others find it.
fn tcp_keeps_every_promise(listen: &str, host: &str) {
    let runtime = runtime();
    let _context = runtime.enter();
    suite::run(|| {
        || {
            let transport = TcpTransport::bind(listen).unwrap();
            let address = format!("{host}:{}", transport.local_address().port());
            (Arc::new(transport) as Arc<dyn Transport>, Node { address })
        }
    });
}

#[test]
fn tcp_keeps_every_promise_to_addresses() {
    tcp_keeps_every_promise("127.0.0.1:0", "127.0.0.1");
}

#[test]
fn tcp_keeps_every_promise_to_host_names() {
    tcp_keeps_every_promise("127.0.0.1:0", "localhost");
}

#[test]
fn tcp_keeps_every_promise_over_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("this machine has no IPv6");
        return;
    }
    tcp_keeps_every_promise("[::1]:0", "[::1]");
}

/// What a peer says it has met under another's id.
const MET: Incarnation = Incarnation { id: 2, start: 8, nonce: 9 };

/// Passes on what arrives.
struct Arrivals(mpsc::SyncSender<(Peer, Option<Message>)>);

impl Receive for Arrivals {
    fn receive(&self, from: Peer, message: Option<Message>) -> bool {
        self.0.try_send((from, message)).is_ok()
    }

    /// As a message that no peer sends: the index is the start that was met.
    fn refused(&self, by: Peer, met: Option<Incarnation>, _: String) {
        let _ = self.0.try_send((by, Some(message(1000 + met.map_or(0, |met| met.start)))));
    }
}

fn local(node: u64) -> Local {
    let incarnation = Incarnation { id: node, start: 1, nonce: 3 };
    let peer = Peer::new(NodeId(node), incarnation).of(Genesis(6));
    Local { cluster: 5, peer, client_address: None, peer_address: None }
}

fn message(number: u64) -> Message {
    Message::Committed { term: Term(1), commit: LogIndex(number) }
}

/// Node 1 on TCP, and a runtime for it.
struct Node1 {
    transport: TcpTransport,
    arrivals: mpsc::Receiver<(Peer, Option<Message>)>,
    _runtime: Runtime,
}

impl Node1 {
    fn start(settings: TcpSettings) -> Self {
        let (sender, arrivals) = mpsc::sync_channel(1 << 16);
        Self::start_with(settings, Arc::new(Arrivals(sender)), arrivals)
    }

    fn start_with(
        settings: TcpSettings,
        receive: Arc<dyn Receive>,
        arrivals: mpsc::Receiver<(Peer, Option<Message>)>,
    ) -> Self {
        let runtime = runtime();
        let context = runtime.enter();
        let transport = TcpTransport::bind_with("127.0.0.1:0", settings).unwrap();
        transport.start(local(1), receive).unwrap();
        drop(context);
        Self { transport, arrivals, _runtime: runtime }
    }

    fn dial(&self) -> Stranger {
        let stream = TcpStream::connect(self.transport.local_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Stranger { stream, input: BytesMut::new() }
    }

    /// A friend that has shaken hands.
    fn befriend(&self, node: u64) -> Stranger {
        self.befriend_as(&local(node))
    }

    /// A friend that has said this of itself when it shook hands.
    fn befriend_as(&self, local: &Local) -> Stranger {
        let mut friend = self.dial();
        friend.say(|output| Hello::new(local, NodeId(1)).encode(output).unwrap());
        assert_eq!(friend.hear().map(|frame| frame.kind), Some(kind::HELLO));
        assert_eq!(self.arrivals.recv_timeout(PATIENCE), Ok((local.peer, None)));
        friend
    }

    /// The node still serves: a friend's message arrives.
    fn serves(&self) {
        let mut friend = self.befriend(9);
        friend.say(|output| codec::encode(&message(77), 0, BODY_BYTES_MAX, output).unwrap());
        let arrival = self.arrivals.recv_timeout(PATIENCE);
        assert_eq!(arrival, Ok((local(9).peer, Some(message(77)))));
    }
}

/// The other end of a connection, played by hand.
struct Stranger {
    stream: TcpStream,
    input: BytesMut,
}

impl Stranger {
    fn say(&mut self, words: impl FnOnce(&mut FrameBuffer)) {
        let mut output = FrameBuffer::default();
        words(&mut output);
        self.stream.write_all(&output.to_vec()).unwrap();
    }

    /// The next frame; `None` when the connection has ended.
    fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = frame::split(&mut self.input, BODY_BYTES_MAX).unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("neither a frame nor an end: {error}"),
            }
        }
    }

    fn hear_rejection(&mut self) -> Rejection {
        let frame = self.hear().expect("a word of farewell");
        assert_eq!(frame.kind, kind::REJECT);
        let rejection = Rejection::decode(frame.body).unwrap();
        assert_eq!(self.hear(), None, "the connection ends behind a rejection");
        rejection
    }
}

/// A stranger that shakes hands as this node, and says where its clients go.
fn introduce(node: &Node1, peer: Peer, client_address: &str) -> Stranger {
    node.befriend_as(&Local { peer, client_address: Some(client_address.into()), ..local(peer.node.0) })
}

/// Clients would be sent to whoever was wiped, or pretends to be a member.
#[test]
fn where_clients_go_is_not_taken_from_who_is_refused() {
    let node = Node1::start(TcpSettings::default());
    let real = local(2).peer;
    let wiped = Peer::new(NodeId(2), Incarnation { id: 99, start: 1, nonce: 4 });
    let _real = introduce(&node, real, "real:1");
    let mut pretender = introduce(&node, wiped, "wiped:1");
    node.transport.refuse(wiped, PeerRefusal::OtherIncarnation { met: real.incarnation });
    assert!(matches!(pretender.hear_rejection(), Rejection::Peer { .. }));
    assert_eq!(node.transport.client_addresses(), BTreeMap::from([(NodeId(2), "real:1".into())]));
}

#[test]
fn who_is_no_member_any_more_and_has_gone_is_forgotten() {
    let node = Node1::start(TcpSettings::default());
    let known = || node.transport.client_addresses().into_keys().map(|node| node.0).collect::<Vec<_>>();
    let member = Node { address: "127.0.0.1:9".into() };
    let peers = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), member.clone())).collect::<NodeMap<Node>>();
    node.transport.set_peers(&peers(&[2, 3]));
    let connections = [2, 3, 4].map(|id| introduce(&node, local(id).peer, "somewhere:1"));
    // Of node 4 this node is perhaps yet to hear that it is a member.
    assert_eq!(known(), [2, 3, 4]);
    drop(connections);
    let end = Instant::now() + PATIENCE;
    while known() != [2, 3] {
        assert!(Instant::now() < end, "{:?} are known", known());
        std::thread::sleep(Duration::from_millis(1));
    }
    node.transport.set_peers(&peers(&[2]));
    assert_eq!(known(), [2]);
}

/// Takes in no handshake until it has room.
struct Busy {
    has_room: AtomicBool,
    arrivals: Arrivals,
}

impl Receive for Busy {
    fn receive(&self, from: Peer, message: Option<Message>) -> bool {
        (message.is_some() || self.has_room.load(Ordering::SeqCst)) && self.arrivals.receive(from, message)
    }

    fn refused(&self, by: Peer, met: Option<Incarnation>, reason: String) {
        self.arrivals.refused(by, met, reason);
    }
}

/// It would never be known that it has connected anew, and is to be answered where it is.
#[test]
fn whose_handshake_finds_no_room_connects_anew_until_it_is_taken_in() {
    let (sender, arrivals) = mpsc::sync_channel(1 << 16);
    let busy = Arc::new(Busy { has_room: AtomicBool::new(false), arrivals: Arrivals(sender) });
    let node = Node1::start_with(TcpSettings::default(), Arc::clone(&busy) as Arc<dyn Receive>, arrivals);
    let shake_hands = || {
        let mut friend = node.dial();
        friend.say(|output| Hello::new(&local(2), NodeId(1)).encode(output).unwrap());
        assert_eq!(friend.hear().map(|frame| frame.kind), Some(kind::HELLO));
        friend
    };
    for _ in 0..3 {
        assert_eq!(shake_hands().hear(), None, "the connection ends");
    }
    busy.has_room.store(true, Ordering::SeqCst);
    let mut friend = shake_hands();
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, None)), "the first that is taken in");
    friend.say(|output| codec::encode(&message(5), 0, BODY_BYTES_MAX, output).unwrap());
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, Some(message(5)))));
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let node = Node1::start(TcpSettings::default());
    let mut friend = node.befriend(2);
    let noise: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        (0..4096u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
    ];
    for bytes in noise {
        let mut stranger = node.dial();
        stranger.stream.write_all(&bytes).unwrap();
        assert!(stranger.hear().is_none_or(|frame| frame.kind == kind::REJECT));
        assert_eq!(stranger.hear(), None);
        // The same from someone who has shaken hands.
        let mut friend = node.befriend(3);
        friend.stream.write_all(&bytes).unwrap();
        assert_eq!(friend.hear(), None);
    }
    friend.say(|output| codec::encode(&message(1), 0, BODY_BYTES_MAX, output).unwrap());
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, Some(message(1)))));
    node.serves();
}

#[test]
fn damaged_oversized_and_unknown_frames_end_their_connection() {
    let settings = TcpSettings { frame_bytes_max: 1000, ..TcpSettings::default() };
    let node = Node1::start(settings);
    let whole = |words: &dyn Fn(&mut FrameBuffer)| {
        let mut output = FrameBuffer::default();
        words(&mut output);
        output.to_vec()
    };
    let good = whole(&|output| codec::encode(&message(1), 0, BODY_BYTES_MAX, output).unwrap());
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let oversized = whole(&|output| output.frame(24, 0, BODY_BYTES_MAX, |body| body.put_slice(&[0; 1001])).unwrap());
    let unknown = whole(&|output| output.frame(200, 0, BODY_BYTES_MAX, |_| {}).unwrap());
    let trailing = whole(&|output| output.frame(24, 0, BODY_BYTES_MAX, |body| body.put_slice(&[0; 17])).unwrap());
    let elsewhere = whole(&|output| codec::encode(&message(1), 8, BODY_BYTES_MAX, output).unwrap());
    for bytes in [damaged, oversized, unknown, trailing, elsewhere] {
        let mut friend = node.befriend(2);
        friend.stream.write_all(&bytes).unwrap();
        assert_eq!(friend.hear(), None);
        // Nothing arrived of it: the next arrival is the next friend's handshake.
        node.serves();
    }
}

#[test]
fn every_misfit_hears_why_it_is_refused() {
    let node = Node1::start(TcpSettings::default());
    let refused = |change: &dyn Fn(&mut Hello)| {
        let mut hello = Hello::new(&local(2), NodeId(1));
        change(&mut hello);
        let mut stranger = node.dial();
        stranger.say(|output| hello.encode(output).unwrap());
        stranger.hear_rejection()
    };
    assert_eq!(refused(&|hello| hello.cluster = 4), Rejection::Cluster { ours: 5, theirs: 4 });
    let other = Rejection::Genesis { ours: Genesis(6), theirs: Genesis(4) };
    assert_eq!(refused(&|hello| hello.peer.genesis = Genesis(4)), other);
    let wrong = Rejection::WrongNode { asked: NodeId(3), found: NodeId(1) };
    assert_eq!(refused(&|hello| hello.target = NodeId(3)), wrong);
    assert_eq!(refused(&|hello| hello.peer.node = NodeId(1)), Rejection::OwnId { node: NodeId(1) });
    let mut stranger = node.dial();
    stranger.say(|output| codec::encode(&message(1), 0, BODY_BYTES_MAX, output).unwrap());
    assert_eq!(stranger.hear_rejection(), Rejection::NoHello);
    node.serves();
}

#[test]
fn a_life_that_the_engine_refuses_hears_why() {
    let node = Node1::start(TcpSettings::default());
    let mut friend = node.befriend(2);
    let mut other = node.befriend(3);
    node.transport.refuse(local(2).peer, PeerRefusal::SecondCopy { met: MET });
    let reason = PeerRefusal::SecondCopy { met: MET }.to_string();
    assert_eq!(friend.hear_rejection(), Rejection::Peer { reason, met: Some(MET) });
    let mut stranger = node.befriend(4);
    node.transport.refuse(local(4).peer, PeerRefusal::NotMember);
    assert_eq!(stranger.hear_rejection(), Rejection::NotMember { node: NodeId(4) });
    other.say(|output| codec::encode(&message(4), 0, BODY_BYTES_MAX, output).unwrap());
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(3).peer, Some(message(4)))));
}

/// Whoever dials may claim to be anybody: only the one at a member's own address is believed, once hands are shaken.
#[test]
fn a_refusal_is_believed_only_from_whom_this_node_has_called() {
    let node = Node1::start(TcpSettings { backoff_max: Duration::from_millis(20), ..TcpSettings::default() });
    let reject = |output: &mut FrameBuffer| {
        Rejection::Peer { reason: "old".into(), met: Some(MET) }.encode(output).unwrap();
    };
    let mut friend = node.befriend(2);
    friend.say(reject);
    assert_eq!(friend.hear(), None, "the connection ends");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    node.transport.set_peers(&NodeMap::from([(NodeId(2), Node { address })]));
    for shakes_hands in [false, true] {
        let mut caller = Stranger { stream: listener.accept().unwrap().0, input: BytesMut::new() };
        assert_eq!(caller.hear().map(|frame| frame.kind), Some(kind::HELLO));
        if shakes_hands {
            caller.say(|output| Hello::new(&local(2), NodeId(1)).encode(output).unwrap());
        }
        caller.say(reject);
    }
    // Had one of the others been believed, it had come first.
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, None)));
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, Some(message(1000 + MET.start)))));
}

/// Found by an attack on real processes: two nodes that refused each other called again a thousand times a second, because
/// each call cut the other's backoff short.
#[test]
fn a_peer_that_refuses_is_not_called_again_at_once_even_if_it_calls() {
    let backoff_max = Duration::from_millis(200);
    let node = Node1::start(TcpSettings { backoff_max, ..TcpSettings::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    node.transport.set_peers(&NodeMap::from([(NodeId(2), Node { address })]));
    let mut refused_at: Option<Instant> = None;
    for _ in 0..4 {
        let (stream, _) = listener.accept().unwrap();
        if let Some(at) = refused_at {
            assert!(at.elapsed() >= backoff_max / 2, "called again after {:?}", at.elapsed());
        }
        let mut caller = Stranger { stream, input: BytesMut::new() };
        assert_eq!(caller.hear().map(|frame| frame.kind), Some(kind::HELLO));
        refused_at = Some(Instant::now());
        let reason = PeerRefusal::SecondCopy { met: MET }.to_string();
        caller.say(|output| Rejection::Peer { reason, met: None }.encode(output).unwrap());
        drop(node.befriend(2));
    }
}

/// Lets a node call, refuses it as no member, and calls it, as who has added it does.
fn refuse_and_call(node: &Node1, listener: &TcpListener) {
    let mut caller = accept(listener);
    assert_eq!(caller.hear().map(|frame| frame.kind), Some(kind::HELLO));
    caller.say(|output| Rejection::NotMember { node: NodeId(1) }.encode(output).unwrap());
    drop(node.befriend(2));
}

#[test]
fn who_was_no_member_and_is_called_calls_back_at_once() {
    let backoff_max = Duration::from_secs(40);
    let node = Node1::start(TcpSettings { backoff_max, ..TcpSettings::default() });
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    refuse_and_call(&node, &listener);
    let called_at = Instant::now();
    accept(&listener);
    assert!(called_at.elapsed() < backoff_max / 2, "called back after {:?}", called_at.elapsed());
}

#[test]
fn strangers_to_each_other_do_not_call_for_ever_as_fast_as_they_can() {
    let backoff_max = Duration::from_millis(200);
    let node = Node1::start(TcpSettings { backoff_max, ..TcpSettings::default() });
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    let began = Instant::now();
    for _ in 0..10 {
        refuse_and_call(&node, &listener);
    }
    // Of ten calls, every second one came after a whole pause.
    assert!(began.elapsed() >= 4 * backoff_max / 2, "ten calls within {:?}", began.elapsed());
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let short = Duration::from_millis(50);
    let node = Node1::start(TcpSettings { connect_timeout: short, idle_timeout: 2 * short, ..TcpSettings::default() });
    assert_eq!(node.dial().hear(), None);
    let mut friend = node.befriend(2);
    friend.say(|output| output.frame(kind::PING, 0, BODY_BYTES_MAX, |_| {}).unwrap());
    assert_eq!(friend.hear().map(|frame| frame.kind), Some(kind::PONG));
    assert_eq!(friend.hear(), None);
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let node = Node1::start(TcpSettings { connections_max: 2, ..TcpSettings::default() });
    let friends = [node.befriend(2), node.befriend(3)];
    let mut third = node.dial();
    assert_eq!(third.hear_rejection(), Rejection::Full { limit: 2 });
    drop(friends);
    // The places are free again as soon as the node has seen the ends.
    while {
        let mut again = node.dial();
        again.say(|output| Hello::new(&local(4), NodeId(1)).encode(output).unwrap());
        again.hear().is_none_or(|frame| frame.kind != kind::HELLO)
    } {}
}

/// Each that is told why costs a task and a descriptor, for as long as it likes to listen.
#[test]
fn only_so_many_of_those_who_are_turned_away_are_told_why() {
    let node = Node1::start(TcpSettings { connections_max: 1, ..TcpSettings::default() });
    let _friend = node.befriend(2);
    let mut told = Vec::new();
    let is_just_closed = (0..200).any(|_| {
        let mut stranger = node.dial();
        let farewell = stranger.hear();
        told.push(stranger);
        farewell.is_none()
    });
    assert!(is_just_closed, "all of {} were told", told.len());
    assert!(told.len() > 64, "only {} were told", told.len());
}

/// A peer that takes connections and then does what the test wants.
fn listen() -> (TcpListener, NodeMap<Node>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, [(NodeId(2), Node { address })].into())
}

fn accept(listener: &TcpListener) -> Stranger {
    let (listener, (sender, accepted)) = (listener.try_clone().unwrap(), mpsc::channel());
    std::thread::spawn(move || sender.send(listener.accept()));
    let (stream, _) = accepted.recv_timeout(PATIENCE).expect("the node dials").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Stranger { stream, input: BytesMut::new() }
}

/// Lets a node call, and answers as node 2; it is met, and what is sent to it goes there.
fn shake_hands(node: &Node1, listener: &TcpListener) -> Stranger {
    let mut peer = accept(listener);
    assert_eq!(peer.hear().map(|frame| frame.kind), Some(kind::HELLO));
    peer.say(|output| Hello::new(&local(2), NodeId(1)).encode(output).unwrap());
    assert_eq!(node.arrivals.recv_timeout(PATIENCE), Ok((local(2).peer, None)));
    peer
}

fn quick_to_ping() -> TcpSettings {
    TcpSettings { keepalive_interval: Duration::from_millis(100), ..TcpSettings::default() }
}

#[test]
fn a_peer_that_answers_with_the_wrong_name_is_refused_and_dialled_again() {
    let node = Node1::start(TcpSettings::default());
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    for _ in 0..2 {
        let mut peer = accept(&listener);
        assert_eq!(peer.hear().map(Hello::decode), Some(Ok(Hello::new(&local(1), NodeId(2)))));
        peer.say(|output| Hello::new(&local(3), NodeId(1)).encode(output).unwrap());
        let wrong = Rejection::WrongNode { asked: NodeId(2), found: NodeId(3) };
        assert_eq!(peer.hear_rejection(), wrong);
    }
    assert!(node.arrivals.try_recv().is_err());
}

#[test]
fn a_peer_that_hangs_is_noticed_and_holds_up_nobody() {
    let short = Duration::from_millis(100);
    let settings = TcpSettings { keepalive_interval: short, idle_timeout: 3 * short, ..TcpSettings::default() };
    let node = Node1::start(settings);
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    let peer = shake_hands(&node, &listener);
    // It takes nothing in from now on: more is sent than sockets and lanes hold, and sending never waits.
    let entries = vec![outrigger::engine::Payload::command(vec![0; 1 << 20].into())];
    let propose = Message::Propose { term: Term(1), request: outrigger::engine::RequestId(1), entries: entries.into() };
    for _ in 0..300 {
        node.transport.send(NodeId(2), propose.clone());
    }
    node.serves();
    // It is given up, and dialled again.
    let mut again = accept(&listener);
    assert_eq!(again.hear().map(|frame| frame.kind), Some(kind::HELLO));
    drop(peer);
}

/// Connects node 1 to a peer that is played by hand.
fn connected(node: &Node1) -> Stranger {
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    shake_hands(node, &listener)
}

/// Found by reading: the last word to a node that was removed, which tells it so, went with its connection.
#[test]
fn who_is_no_peer_any_more_still_gets_what_was_sent_before() {
    let node = Node1::start(TcpSettings::default());
    let mut peer = connected(&node);
    for number in 0..3000 {
        node.transport.send(NodeId(2), message(number));
    }
    node.transport.set_peers(&NodeMap::new());
    node.transport.send(NodeId(2), message(3000));
    let messages = std::iter::from_fn(|| peer.hear()).map(|frame| codec::decode(frame.kind, frame.body).unwrap());
    assert!(messages.eq((0..3000).map(message)), "all of it, and nothing more, and then the connection ends");
}

#[test]
fn who_is_no_peer_any_more_and_takes_nothing_in_is_not_waited_for() {
    let node = Node1::start(TcpSettings { idle_timeout: 2 * PATIENCE, ..TcpSettings::default() });
    let mut peer = connected(&node);
    let entries = vec![outrigger::engine::Payload::command(vec![0; 1 << 20].into())];
    let propose = Message::Propose { term: Term(1), request: outrigger::engine::RequestId(1), entries: entries.into() };
    for _ in 0..60 {
        node.transport.send(NodeId(2), propose.clone());
    }
    node.transport.set_peers(&NodeMap::new());
    let mut pong = FrameBuffer::default();
    pong.frame(kind::PONG, 0, BODY_BYTES_MAX, |_| {}).unwrap();
    let (pong, end) = (pong.to_vec(), Instant::now() + PATIENCE);
    // It is there, and reads nothing.
    while peer.stream.write_all(&pong).is_ok() {
        assert!(Instant::now() < end, "the connection is kept for ever");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Found by planting faults: each ping that fitted into the socket counted as taken in, so that a peer whose every word was lost was
/// called anew only when the network itself gave the connection up, minutes later.
#[test]
fn a_peer_that_answers_pings_is_kept_and_one_that_does_not_is_noticed_though_little_is_sent() {
    let idle_timeout = Duration::from_secs(1);
    let node = Node1::start(TcpSettings { idle_timeout, ..quick_to_ping() });
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    let mut peer = shake_hands(&node, &listener);
    let began = Instant::now();
    while began.elapsed() < 3 * idle_timeout {
        assert_eq!(peer.hear().map(|frame| frame.kind), Some(kind::PING));
        peer.say(|output| output.frame(kind::PONG, 0, BODY_BYTES_MAX, |_| {}).unwrap());
    }
    let mut again = accept(&listener);
    assert_eq!(again.hear().map(|frame| frame.kind), Some(kind::HELLO));
}

/// A link on which much waits is slow for pongs too: they stand behind what is being sent.
#[test]
fn a_peer_that_takes_in_what_is_sent_slowly_is_not_given_up() {
    let idle_timeout = Duration::from_millis(500);
    let node = Node1::start(TcpSettings { idle_timeout, ..quick_to_ping() });
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    let mut peer = shake_hands(&node, &listener);
    let entries = vec![outrigger::engine::Payload::command(vec![0; 1 << 20].into())];
    let propose = Message::Propose { term: Term(1), request: outrigger::engine::RequestId(1), entries: entries.into() };
    for _ in 0..60 {
        node.transport.send(NodeId(2), propose.clone());
    }
    // The slow link: for more than four times as long as anybody would be waited for that takes in nothing.
    let (mut taken, mut piece) = (0, vec![0; 256 << 10]);
    while taken < 28 << 20 {
        let count = peer.stream.read(&mut piece).unwrap_or(0);
        assert!(count > 0, "given up after {taken} bytes");
        taken += count;
        std::thread::sleep(Duration::from_secs_f64(0.02 * count as f64 / piece.len() as f64));
    }
}

/// A peer that is not there is called more and more seldom; one that was there for long, and is gone, soon.
#[test]
fn after_a_connection_that_lasted_the_pauses_between_calls_begin_anew() {
    let (backoff_min, backoff_max) = (Duration::from_millis(10), Duration::from_secs(1));
    let connect_timeout = Duration::from_millis(500);
    let node = Node1::start(TcpSettings { backoff_min, backoff_max, connect_timeout, ..quick_to_ping() });
    let (listener, peers) = listen();
    node.transport.set_peers(&peers);
    while {
        drop(accept(&listener));
        let ended = Instant::now();
        drop(accept(&listener));
        ended.elapsed() < backoff_max / 2
    } {}
    let mut peer = shake_hands(&node, &listener);
    let began = Instant::now();
    while began.elapsed() <= backoff_max + connect_timeout + backoff_max / 4 {
        assert_eq!(peer.hear().map(|frame| frame.kind), Some(kind::PING));
        peer.say(|output| output.frame(kind::PONG, 0, BODY_BYTES_MAX, |_| {}).unwrap());
    }
    drop(peer);
    let ended = Instant::now();
    accept(&listener);
    assert!(ended.elapsed() < backoff_max / 2, "called again after {:?}", ended.elapsed());
}

#[test]
fn a_stopped_transport_frees_its_port_at_once() {
    let runtime = runtime();
    let _context = runtime.enter();
    let mut address = "127.0.0.1:0".to_owned();
    for _ in 0..20 {
        let transport = TcpTransport::bind(&address).unwrap();
        address = transport.local_address().to_string();
        let (sender, _arrivals) = mpsc::sync_channel(1);
        transport.start(local(1), Arc::new(Arrivals(sender))).unwrap();
        let _stays_open = TcpStream::connect(&address).unwrap();
        transport.stop();
    }
}

/// A place where nobody shakes hands: every call is counted and ends at once.
struct Place {
    address: String,
    calls: mpsc::Receiver<()>,
}

impl Place {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, calls) = mpsc::channel();
        std::thread::spawn(move || listener.incoming().take_while(|_| sender.send(()).is_ok()).for_each(drop));
        Self { address, calls }
    }

    fn is_called(&self, times: usize) {
        (0..times).for_each(|_| self.calls.recv_timeout(PATIENCE).unwrap());
    }

    fn drain(&self) -> usize {
        self.calls.try_iter().count()
    }

    fn node(&self) -> Node {
        Node { address: self.address.clone() }
    }
}

/// A friend that says where it is reached.
fn befriend_from(node: &Node1, id: u64, place: &Place) -> Stranger {
    node.befriend_as(&Local { peer_address: Some(place.address.clone()), ..local(id) })
}

fn calls_often() -> TcpSettings {
    TcpSettings { backoff_max: Duration::from_millis(20), ..TcpSettings::default() }
}

#[test]
fn whoever_calls_under_a_members_id_is_not_dialled_unasked() {
    let node = Node1::start(calls_often());
    let (members, elsewhere) = (Place::new(), Place::new());
    let _caller = befriend_from(&node, 2, &elsewhere);
    node.transport.set_peers(&NodeMap::from([(NodeId(2), members.node())]));
    members.is_called(8);
    assert_eq!(elsewhere.drain(), 0);
}

/// Each of them costs a task and a socket, and whoever knows the cluster's name can say that it is anybody.
#[test]
fn only_so_many_are_dialled_who_are_no_members() {
    const LINKS_MAX: usize = 256;
    let backoff = Duration::from_millis(300);
    let idle_timeout = 3 * PATIENCE;
    let settings = TcpSettings { backoff_min: backoff, backoff_max: backoff, idle_timeout, ..TcpSettings::default() };
    let node = Node1::start(settings);
    let (listener, _) = listen();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, calls) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut caller = Stranger { stream: stream.unwrap(), input: BytesMut::new() };
            let Some(Ok(hello)) = caller.hear().map(Hello::decode) else { continue };
            if sender.send(hello.target).is_err() {
                return;
            }
        }
    });
    let ids = 2..2 + LINKS_MAX as u64 + 1;
    let place = Place { address, calls: mpsc::channel().1 };
    let _callers: Vec<Stranger> = ids.clone().map(|id| befriend_from(&node, id, &place)).collect();
    ids.for_each(|id| node.transport.answer(local(id).peer));
    let mut called: BTreeMap<NodeId, usize> = BTreeMap::new();
    while called.len() < LINKS_MAX || called.values().any(|times| *times < 3) {
        *called.entry(calls.recv_timeout(PATIENCE).unwrap()).or_default() += 1;
    }
    assert_eq!(called.len(), LINKS_MAX);
}

#[test]
fn who_was_to_be_answered_and_has_gone_is_dialled_no_more() {
    let node = Node1::start(calls_often());
    let [members, moved, stranger] = [Place::new(), Place::new(), Place::new()];
    let callers = [(2, &moved), (3, &stranger)].map(|(id, place)| befriend_from(&node, id, place));
    let peers = NodeMap::from([(NodeId(2), members.node())]);
    node.transport.set_peers(&peers);
    [2, 3].iter().for_each(|id| node.transport.answer(local(*id).peer));
    // The members that are known are told again, and say nothing new.
    for _ in 0..3 {
        node.transport.set_peers(&peers);
        moved.is_called(2);
        stranger.is_called(2);
    }
    drop(callers);
    let end = Instant::now() + PATIENCE;
    let mut calls = usize::MAX;
    while calls > 0 {
        assert!(Instant::now() < end, "they are dialled for ever");
        for place in [&members, &moved, &stranger] {
            place.drain();
        }
        // The members' place is dialled as often as the others would be.
        members.is_called(10);
        calls = moved.drain() + stranger.drain();
    }
}
