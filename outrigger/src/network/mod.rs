//! How nodes reach each other: the trait, TCP, and plain calls within a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use outrigger_engine::{Incarnation, Message, Node, NodeId, NodeMap, Peer, PeerRefusal};

pub mod codec;
#[cfg(feature = "tokio")]
pub(crate) mod connection;
#[cfg(feature = "tokio")]
pub(crate) mod descriptors;
#[cfg(feature = "tokio")]
pub(crate) mod dial;
pub(crate) mod fields;
pub mod frame;
pub mod handshake;
mod in_process;
#[cfg(feature = "tokio")]
pub(crate) mod log_limit;
#[cfg(any(test, feature = "tokio"))]
pub(crate) mod random;
pub mod suite;
#[cfg(feature = "tokio")]
mod tcp;

pub use fields::DecodeError;
pub use in_process::{InProcessNetwork, InProcessTransport};
#[cfg(feature = "tokio")]
pub use tcp::{TcpSettings, TcpTransport};

/// What a transport tells its peers about this node when a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Names the cluster; nodes of different clusters do not talk.
    pub cluster: u64,
    /// This node, in this life.
    pub peer: Peer,
    /// Where clients reach this node, if they do.
    pub client_address: Option<String>,
    /// Where peers reach this node, as far as it knows itself.
    pub peer_address: Option<String>,
}

/// Takes in what arrives. Called from the transport's own tasks; never blocks.
pub trait Receive: Send + Sync + 'static {
    /// A message of a peer; `None` for a finished handshake. Answers whether it was taken; when not (too much waits), it counts as lost.
    /// A peer that has connected, and whose handshake is not taken, must connect anew: only so is it known that whatever was done to
    /// [answer](Transport::answer) it has ended with its last connection.
    fn receive(&self, from: Peer, message: Option<Message>) -> bool;

    /// The engine of a peer refuses this life of this node; `met` is the one that it had met instead, if that is why.
    /// Called only for a connection that this node made itself, and after the handshake: whoever comes in may claim
    /// anything.
    fn refused(&self, by: Peer, met: Option<Incarnation>, reason: String);

    /// The handshake with whoever is where `peer` is said to be came to nothing, here or there. It is tried again; until then this is
    /// for people, and a transport without handshakes has nothing to tell.
    fn misfit(&self, peer: NodeId, reason: String) {
        let _ = (peer, reason);
    }
}

/// Carries messages between nodes. It may lose, delay, double and reorder them: Raft does not mind, only its speed does.
///
/// Two lanes lead to each peer: an urgent one that never blocks (votes, heartbeats, answers) and a bulk one with
/// back-pressure (entries). Implementations can be checked with the conformance suite.
pub trait Transport: Send + Sync + 'static {
    /// Begins to accept connections and to deliver to `receive`. Called once, before anything else.
    ///
    /// # Errors
    /// When it cannot begin, for example as an address is in use.
    fn start(&self, local: Local, receive: Arc<dyn Receive>) -> std::io::Result<()>;

    /// From now on these are the other nodes; connections to others end, changed addresses are followed. What was sent before to who
    /// is none of them any more should still arrive, if it can at once: the last of it tells that node that it was removed.
    fn set_peers(&self, peers: &NodeMap<Node>);

    /// From now on whatever this node sends is from this [`Peer`], also on connections that exist: it is the same life, and knows more
    /// of [which cluster it is](Peer::genesis) or of [how it is a member](Peer::bound). Handshakes with whom that cluster shuts out
    /// fail from now on; existing connections with them end once the engine [refuses](Transport::refuse) what comes.
    fn sign(&self, signature: Peer);

    /// What is sent to this node is for this life of it, there where its handshake said that it is reached
    /// ([`Local::peer_address`]): the members that are known here may be older than what it says. Nothing is to be done if it is
    /// there where the members say, or is not connected to this node.
    ///
    /// It ends when [`set_peers`](Transport::set_peers) says another address for the node than it did before, or at the next
    /// attempt to connect once that life is connected to this node no more. A transport may end it with any `set_peers`.
    fn answer(&self, peer: Peer);

    /// Queues a message in the urgent lane. Never blocks; a message that finds the lane full or the peer away is lost.
    ///
    /// So is one that is [known since](Message::since) a newer version than the peer's handshake says that it speaks
    /// ([`Peer::version`]): the engine names the node that it has heard, and who is there now may be about to be refused.
    fn send(&self, target: NodeId, message: Message);

    /// Whether the bulk lane to a peer has room; wakes `context` when it gets some. A peer that is away is ready: what
    /// is sent to it is lost at once, and the sender goes on.
    fn poll_ready(&self, target: NodeId, context: &mut Context<'_>) -> Poll<()>;

    /// Queues a message in the bulk lane, after [`poll_ready`](Transport::poll_ready) said that there is room.
    fn send_bulk(&self, target: NodeId, message: Message);

    /// Closes every connection with this life of a peer, tells it why ([`Receive::refused`] on its side), and says it in
    /// the log (rate limited).
    fn refuse(&self, peer: Peer, reason: PeerRefusal);

    /// Where clients reach the peers that are known, as their handshakes told.
    fn client_addresses(&self) -> BTreeMap<NodeId, String>;

    /// Ends all connections and tasks; returns at once.
    fn stop(&self);
}
