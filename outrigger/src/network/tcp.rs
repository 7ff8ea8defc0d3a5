//! Messages over TCP: every node dials every other, sends on what it dialled, and receives on what others dialled.
//!
//! ```text
//!                  ┌──────────────── TcpTransport of node 1 ────────────────┐
//!   send ────────► │ lanes to 2 ─► outbound task ══ TCP ═══════════════════ │ ══► inbound task of 2 ─► receive
//!   send_bulk ───► │ lanes to 3 ─► outbound task ══ TCP ═══════════════════ │ ══► inbound task of 3 ─► receive
//!   receive ◄───── │ inbound tasks ◄═ accept ◄═════════════════════════════ │ ◄══ outbound tasks of 2 and 3
//!                  └────────────────────────────────────────────────────────┘
//! ```
//!
//! No task waits for another peer's: a peer that hangs fills its own lanes and nothing else. What is no protocol of
//! ours ends its connection with one line in the log, and the node serves on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_engine::{Message, Node, NodeId, NodeMap, Peer, PeerRefusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::Ended;
use super::descriptors::{self, Caller};
use super::frame::BODY_BYTES_MAX;
use super::handshake::{Hello, Rejection};
use super::log_limit::LogLimit;
use super::{Local, Receive, Transport};
use addresses::ClientAddresses;
use inbound::InboundTable;
use lanes::LaneLimits;
use outbound::{Link, Route};

mod addresses;
mod inbound;
mod lanes;
mod outbound;

/// So many connections beyond the limit are told that they are; further ones are just closed.
const TURNED_AWAY_MAX: usize = 64;

/// Who is heard and is none of the members that are known is dialled only below so many links.
const LINKS_MAX: usize = 256;

/// How a [`TcpTransport`] behaves. The defaults suit a local network and the default election timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// How long dialling and shaking hands may take; 1 s.
    pub connect_timeout: Duration,
    /// How often a peer is asked whether it is there; 1 s.
    pub keepalive_interval: Duration,
    /// A connection ends when nothing was heard on it for so long; 5 s, above `keepalive_interval`.
    pub idle_timeout: Duration,
    /// The first pause before a peer is dialled again; 20 ms. It doubles with each failure.
    pub backoff_min: Duration,
    /// The longest pause; 1 s.
    pub backoff_max: Duration,
    /// The longest body of a frame, in bytes; 64 MiB. At most 4 GiB.
    pub frame_bytes_max: usize,
    /// Messages that may wait in one lane to a peer; 4,096.
    pub lane_messages_max: usize,
    /// Bytes that may wait in the bulk lane to a peer; 4 MiB.
    pub bulk_bytes_max: usize,
    /// Bytes that may wait in the urgent lane to a peer; 64 MiB. Its clients' forwarded entries travel there too.
    pub urgent_bytes_max: usize,
    /// Connections that others may have open to this node; 1,024. Fewer if this process may have few files open: 128 descriptors,
    /// or a quarter of them, are left to the log, to snapshots, and to the connections that this node makes.
    pub connections_max: usize,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            frame_bytes_max: BODY_BYTES_MAX,
            lane_messages_max: 4096,
            bulk_bytes_max: 4 << 20,
            urgent_bytes_max: 64 << 20,
            connections_max: 1024,
        }
    }
}

/// [`Transport`] over TCP.
pub struct TcpTransport {
    /// How it behaves.
    settings: TcpSettings,
    /// Where it listens.
    local_address: SocketAddr,
    /// The listening socket; `None` once stopped. Kept here so that the port is free when `stop` returns.
    listener: Arc<Mutex<Option<TcpListener>>>,
    /// What its tasks share; set by `start`.
    shared: OnceLock<Arc<Shared>>,
    /// Accepts connections, and hosts their tasks.
    acceptor: OnceLock<AbortHandle>,
}

/// What the tasks of a transport share.
struct Shared {
    settings: TcpSettings,
    /// Who this node is.
    local: Local,
    /// The same, and what it has learnt of that since it started.
    signature: Mutex<Peer>,
    /// Takes in what arrives.
    receive: Arc<dyn Receive>,
    /// Where to spawn.
    handle: Handle,
    /// The peers, and the task that dials each.
    links: Mutex<BTreeMap<NodeId, (Arc<Link>, AbortHandle)>>,
    /// The tasks that write the last that was sent to who is no peer any more; each ends soon.
    leaving: Mutex<Vec<AbortHandle>>,
    /// The connections that peers dialled.
    inbound: Mutex<InboundTable>,
    /// Where clients reach the nodes that were met.
    client_addresses: Mutex<ClientAddresses>,
    /// Keeps strangers from filling the log.
    log: LogLimit,
}

impl TcpTransport {
    /// Listens on `address`, such as `127.0.0.1:7101` or `[::1]:0`; connections are accepted once it is started.
    ///
    /// # Errors
    /// When the address cannot be resolved or is in use, or outside of a tokio runtime.
    pub fn bind(address: &str) -> io::Result<Self> {
        Self::bind_with(address, TcpSettings::default())
    }

    /// The same with settings of one's own.
    ///
    /// # Errors
    /// As [`TcpTransport::bind`].
    pub fn bind_with(address: &str, settings: TcpSettings) -> io::Result<Self> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        let _context = handle.enter();
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let local_address = listener.local_addr()?;
        let listener = Arc::new(Mutex::new(Some(TcpListener::from_std(listener)?)));
        Ok(Self { settings, local_address, listener, shared: OnceLock::new(), acceptor: OnceLock::new() })
    }

    /// Where it listens, with the port that was found when 0 was asked for.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Calls `with` with the link to a peer, if it is one.
    fn link<T>(&self, target: NodeId, with: impl FnOnce(&Link) -> T) -> Option<T> {
        let link = self.shared.get()?.links().get(&target).map(|(link, _)| Arc::clone(link))?;
        Some(with(&link))
    }
}

impl Transport for TcpTransport {
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> io::Result<()> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            settings: self.settings,
            signature: Mutex::new(local.peer),
            local,
            receive,
            handle: handle.clone(),
            links: Mutex::default(),
            leaving: Mutex::default(),
            inbound: Mutex::default(),
            client_addresses: Mutex::default(),
            log: LogLimit::default(),
        });
        if self.shared.set(Arc::clone(&shared)).is_err() {
            return Err(io::Error::other("a transport starts once"));
        }
        let acceptor = handle.spawn(accept(Arc::clone(&self.listener), shared)).abort_handle();
        self.acceptor.set(acceptor).map_err(|_| io::Error::other("a transport starts once"))
    }

    fn set_peers(&self, peers: &NodeMap<Node>) {
        let Some(shared) = self.shared.get() else { return };
        shared.set_peers(peers);
    }

    fn sign(&self, signature: Peer) {
        if let Some(shared) = self.shared.get() {
            *shared.signature.lock().unwrap_or_else(PoisonError::into_inner) = signature;
        }
    }

    fn answer(&self, peer: Peer) {
        if let Some(shared) = self.shared.get() {
            shared.answer(peer);
        }
    }

    fn send(&self, target: NodeId, message: Message) {
        self.link(target, |link| link.lanes.push_urgent(message));
    }

    fn poll_ready(&self, target: NodeId, context: &mut Context<'_>) -> Poll<()> {
        self.link(target, |link| link.lanes.poll_ready(context)).unwrap_or(Poll::Ready(()))
    }

    fn send_bulk(&self, target: NodeId, message: Message) {
        self.link(target, |link| link.lanes.push_bulk(message));
    }

    fn refuse(&self, peer: Peer, reason: PeerRefusal) {
        self.link(peer.node, |link| link.refuse(peer, reason));
        if let Some(shared) = self.shared.get() {
            let why = || Ended::Refused(Rejection::of_peer(peer.node, reason));
            shared.inbound.lock().unwrap_or_else(PoisonError::into_inner).end(peer, why);
            shared.client_addresses().refuse(peer);
        }
    }

    fn client_addresses(&self) -> BTreeMap<NodeId, String> {
        let Some(shared) = self.shared.get() else { return BTreeMap::new() };
        shared.client_addresses().newest()
    }

    fn stop(&self) {
        drop(self.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(acceptor) = self.acceptor.get() {
            acceptor.abort();
        }
        if let Some(shared) = self.shared.get() {
            shared.end_all();
        }
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Arc<Link>, AbortHandle)>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client_addresses(&self) -> MutexGuard<'_, ClientAddresses> {
        self.client_addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets where clients reached who is no member, and not connected either.
    fn forget_strangers(&self) {
        let mut connected: BTreeSet<NodeId> =
            self.links().values().filter(|(link, _)| link.is_connected()).map(|(link, _)| link.node).collect();
        connected.extend(self.inbound.lock().unwrap_or_else(PoisonError::into_inner).nodes());
        self.client_addresses().forget_strangers(|node| connected.contains(&node));
    }

    /// Dials whom it should and does not yet; ends what leads to others or elsewhere.
    fn set_peers(self: &Arc<Self>, peers: &NodeMap<Node>) {
        self.client_addresses().set_members(peers.keys().copied());
        self.set_links(peers);
        self.forget_strangers();
    }

    fn set_links(self: &Arc<Self>, peers: &NodeMap<Node>) {
        let mut links = self.links();
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|task| !task.is_finished());
        links.retain(|node, (link, task)| {
            let stays = link.follow_members(peers.get(node).map(|peer| peer.address.as_str()));
            if !stays && peers.contains_key(node) {
                task.abort();
            } else if !stays {
                link.leave();
                leaving.push(task.clone());
            }
            stays
        });
        drop(leaving);
        for (node, peer) in peers {
            if *node != self.local.peer.node && !links.contains_key(node) {
                let route = Route { members: Some(peer.address.clone()), answer: None };
                links.insert(*node, self.dial(*node, route));
            }
        }
    }

    /// A node that is heard, and is not where the members that are known say, or is none of them.
    fn answer(self: &Arc<Self>, peer: Peer) {
        let Some(address) = self.place_of(|at| at.is_same_life(&peer)) else { return };
        let mut links = self.links();
        if let Some((link, _)) = links.get(&peer.node) {
            link.answer(peer, &address);
        } else if links.len() < LINKS_MAX && peer.node != self.local.peer.node {
            let route = Route { members: None, answer: Some((peer, address)) };
            links.insert(peer.node, self.dial(peer.node, route));
        }
    }

    /// A link has nowhere to go. Answers whether it is gone: it may have been told of a place just now.
    fn end(&self, link: &Arc<Link>) -> bool {
        let mut links = self.links();
        let is_over = link.place(self, 0).is_none();
        if is_over && links.get(&link.node).is_some_and(|(it, _)| Arc::ptr_eq(it, link)) {
            links.remove(&link.node);
        }
        is_over
    }

    /// Nobody is dialled any more.
    fn end_all(&self) {
        for (_, task) in std::mem::take(&mut *self.links()).into_values() {
            task.abort();
        }
        for task in std::mem::take(&mut *self.leaving.lock().unwrap_or_else(PoisonError::into_inner)) {
            task.abort();
        }
    }

    fn dial(self: &Arc<Self>, node: NodeId, route: Route) -> (Arc<Link>, AbortHandle) {
        let lane = |bytes_max| LaneLimits { messages_max: self.settings.lane_messages_max, bytes_max };
        let (urgent, bulk) = (lane(self.settings.urgent_bytes_max), lane(self.settings.bulk_bytes_max));
        let link = Arc::new(Link::new(node, route, urgent, bulk));
        let task = self.handle.spawn(outbound::run(Arc::clone(&link), Arc::clone(self))).abort_handle();
        (link, task)
    }

    /// Where one of those who called says that it is reached.
    fn place_of(&self, is_meant: impl Fn(&Peer) -> bool) -> Option<String> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner).place_of(is_meant)
    }

    fn signature(&self) -> Peer {
        *self.signature.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this node is now.
    fn local(&self) -> Local {
        Local { peer: self.signature(), ..self.local.clone() }
    }

    /// What this node says to another one now.
    fn hello(&self, target: NodeId) -> Hello {
        Hello::new(&self.local(), target)
    }

    /// A handshake has succeeded. Answers whether that was taken in.
    fn met(&self, hello: &Hello) -> bool {
        // Before the engine hears of it: it may be refused at once.
        if let Some(address) = &hello.client_address {
            self.client_addresses().met(hello.peer, address.clone());
        }
        self.receive.receive(hello.peer, None)
    }

    fn nudge(&self, node: NodeId) {
        if let Some((link, _)) = self.links().get(&node) {
            link.nudge();
        }
    }

    fn report(&self, origin: &str, what: &str, ended: &Ended) {
        ended.report(&self.log, self.local.peer.node, origin, what);
    }

    /// Whether there are enough descriptors for this connection.
    fn admits(&self, stream: &TcpStream, from: SocketAddr) -> bool {
        descriptors::admits(stream, from, Caller::Peer, self.local.peer.node.0, &self.log)
    }

    /// Tells the log what operators like to know, at most once in a while.
    fn tell(&self, origin: &str, reason: &'static str, line: impl FnOnce() -> String) {
        if let Some(suppressed) = self.log.admit(origin, reason, std::time::Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::info!(node = self.local.peer.node.0, suppressed, "{}", line());
        }
    }
}

/// Accepts connections until the listener is taken away.
async fn accept(listener: Arc<Mutex<Option<TcpListener>>>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Some(accepted) = poll_fn(|context| poll_accept(&listener, context)).await {
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) if !shared.admits(&stream, from) => {}
            Ok((stream, from)) if connections.len() < shared.settings.connections_max => {
                connections.spawn(inbound::serve(stream, from, Arc::clone(&shared)));
            }
            Ok((stream, from)) if connections.len() < shared.settings.connections_max + TURNED_AWAY_MAX => {
                connections.spawn(inbound::turn_away(stream, from, Arc::clone(&shared)));
            }
            Ok(_) => {}
            Err(error) => {
                // Out of descriptors, or a connection that is gone already: neither gets better by trying at once.
                shared.report("accept", "accepting a connection", &Ended::Lost(error));
                tokio::time::sleep(shared.settings.backoff_min).await;
            }
        }
    }
}

type Accepted = io::Result<(TcpStream, SocketAddr)>;

fn poll_accept(listener: &Mutex<Option<TcpListener>>, context: &mut Context<'_>) -> Poll<Option<Accepted>> {
    match listener.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some(listener) => listener.poll_accept(context).map(Some),
        None => Poll::Ready(None),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use outrigger_engine::{Genesis, Incarnation, Payload, RequestId, Term};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::network::connection::read_frame;
    use crate::network::frame::FrameBuffer;

    /// Takes everything in.
    struct Deaf;

    impl Receive for Deaf {
        fn receive(&self, _: Peer, _: Option<Message>) -> bool {
            true
        }
        fn refused(&self, _: Peer, _: Option<Incarnation>, _: String) {}
    }

    fn transport() -> TcpTransport {
        let transport = TcpTransport::bind("127.0.0.1:0").unwrap();
        transport.start(local(1), Arc::new(Deaf)).unwrap();
        transport
    }

    fn shared(transport: &TcpTransport) -> &Arc<Shared> {
        transport.shared.get().unwrap()
    }

    fn local(id: u64) -> Local {
        let peer = Peer::new(NodeId(id), Incarnation::default()).of(Genesis(6));
        Local { cluster: 5, peer, client_address: None, peer_address: None }
    }

    fn peers(address: &str) -> NodeMap<Node> {
        NodeMap::from([(NodeId(2), Node { address: address.to_owned() })])
    }

    /// A peer that has shaken hands and takes nothing in, though more waits for it than sockets hold; and the task that sends to it.
    async fn overwhelmed(transport: &TcpTransport) -> (TcpStream, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        transport.set_peers(&peers(&listener.local_addr().unwrap().to_string()));
        let (mut peer, _) = listener.accept().await.unwrap();
        read_frame(&mut peer, &mut BytesMut::new(), BODY_BYTES_MAX).await.unwrap();
        let mut hello = FrameBuffer::default();
        Hello::new(&local(2), NodeId(1)).encode(&mut hello).unwrap();
        peer.write_all_buf(&mut hello).await.unwrap();
        while transport.link(NodeId(2), Link::is_connected) != Some(true) {
            tokio::task::yield_now().await;
        }
        let entries: Arc<[Payload]> = [Payload::command(vec![0; 1 << 20].into())].into();
        for request in (0..60).map(RequestId) {
            transport.send(NodeId(2), Message::Propose { term: Term(1), request, entries: Arc::clone(&entries) });
        }
        let task = shared(transport).links()[&NodeId(2)].1.clone();
        // From now on no time passes while anybody has something to do.
        tokio::time::pause();
        (peer, task)
    }

    /// Whether it ends while no time passes.
    async fn ends_at_once(task: &AbortHandle) -> bool {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        task.is_finished()
    }

    /// What is sent to where it is now may overtake the rest.
    #[tokio::test]
    async fn a_member_that_has_moved_is_sent_nothing_more_where_it_was() {
        let transport = transport();
        let (_peer, task) = overwhelmed(&transport).await;
        transport.set_peers(&peers("127.0.0.1:1"));
        assert!(ends_at_once(&task).await);
    }

    /// Else it has a moment to take in the last that it was sent.
    #[tokio::test]
    async fn a_transport_that_is_stopped_sends_nothing_more_to_who_is_no_peer_any_more() {
        let transport = transport();
        let (_peer, task) = overwhelmed(&transport).await;
        transport.set_peers(&NodeMap::new());
        assert!(!ends_at_once(&task).await);
        transport.stop();
        assert!(ends_at_once(&task).await);
    }

    fn known(address: &str) -> Route {
        Route { members: Some(address.to_owned()), answer: None }
    }

    /// A link's task finds that it has nowhere to go, and somebody has told of a place, or begun another link, just then.
    #[tokio::test]
    async fn a_link_is_gone_only_while_it_has_nowhere_to_go_and_takes_no_other_one_with_it() {
        let transport = transport();
        let shared = shared(&transport);
        let [(gone, task), (link, other)] =
            [shared.dial(NodeId(2), known("a:1")), shared.dial(NodeId(2), known("b:1"))];
        task.abort();
        other.abort();
        shared.links().insert(NodeId(2), (Arc::clone(&link), other));
        assert!(!gone.follow_members(None));
        assert!(shared.end(&gone));
        assert!(shared.links().contains_key(&NodeId(2)), "it is another one");
        assert!(!shared.end(&link));
        assert!(shared.links().contains_key(&NodeId(2)), "it has been told of a place");
        assert!(!link.follow_members(None));
        assert!(shared.end(&link));
        assert!(shared.links().is_empty());
    }

    /// Members come and go for as long as a node lives.
    #[tokio::test]
    async fn whoever_has_left_is_not_kept_in_mind() {
        let transport = transport();
        let shared = shared(&transport);
        let left = || shared.leaving.lock().unwrap().clone();
        transport.set_peers(&peers("127.0.0.1:1"));
        transport.set_peers(&NodeMap::new());
        assert_eq!(left().len(), 1);
        while !left()[0].is_finished() {
            tokio::task::yield_now().await;
        }
        transport.set_peers(&NodeMap::new());
        assert!(left().is_empty());
    }
}
