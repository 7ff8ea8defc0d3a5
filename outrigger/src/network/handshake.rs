//! The first words on a connection between nodes: who speaks, to whom, in which life, of which cluster.
//!
//! ```text
//!   who dialled                            who listens
//!        │ ── hello (target: you) ────────────► │  not mine: reject, and the connection ends
//!        │ ◄──────────────────────────── hello ─│
//!        │ ── messages ───────────────────────► │  signed with the hello's node and incarnation
//! ```
//!
//! Every node dials every other and sends only on what it dialled itself. Both sides judge the other's hello; who is
//! not content says why in a reject. Who learns later of which cluster it is, or by which entry it is a member, says hello once
//! more on the same connection, before its next messages, and is judged again.

use bytes::Bytes;
use outrigger_engine::{Founding, Genesis, Incarnation, LogId, NodeId, Peer, PeerRefusal, Version};

use super::Local;
use super::fields::{DecodeError, Fields};
use super::frame::{Frame, FrameBuffer, FrameError, kind};

/// The version of what nodes say to each other inside their frames.
pub const PROTOCOL_VERSION: u32 = 1;

/// Begins every hello, so that no other program's bytes pass for one: `OUTRIGGR`.
const MAGIC: u64 = u64::from_le_bytes(*b"OUTRIGGR");

/// The longest body of a frame before both sides trust each other.
pub(crate) const BODY_BYTES_MAX: usize = 4096;

/// The longest text that travels in a hello or a reject.
const TEXT_BYTES_MAX: usize = 1024;

/// Who speaks, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Names the cluster.
    pub cluster: u64,
    /// Who speaks.
    pub peer: Peer,
    /// To whom.
    pub target: NodeId,
    /// Where clients reach the speaker.
    pub client_address: Option<String>,
    /// Where peers reach the speaker, as far as it knows itself.
    pub peer_address: Option<String>,
}

/// Why a connection is refused; travels to the other side as a frame, so that both logs tell it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The first bytes were no hello.
    #[error("the first frame is no hello; is this another program, or the wrong port?")]
    NoHello,
    /// Another version of the protocol.
    #[error("protocol version {theirs} is not version {ours}; run versions that are compatible")]
    Protocol {
        /// Of the node that refuses.
        ours: u32,
        /// Of the node that is refused.
        theirs: u32,
    },
    /// Another cluster.
    #[error("cluster {theirs:016x} is not cluster {ours:016x}; do both nodes have the same cluster name?")]
    Cluster {
        /// Of the node that refuses.
        ours: u64,
        /// Of the node that is refused.
        theirs: u64,
    },
    /// The address leads to a node with another id than the one that was called.
    #[error("node {asked} was called and node {found} is here; check the addresses of the members")]
    WrongNode {
        /// Who was called.
        asked: NodeId,
        /// Who is there.
        found: NodeId,
    },
    /// Both nodes have the same id.
    #[error("both nodes have the id {node}; every node needs an id of its own")]
    OwnId {
        /// The id.
        node: NodeId,
    },
    /// The clusters began with different members.
    #[error(
        "the cluster began otherwise on the node that is refused ({theirs}) than on the one that refuses it ({ours}): all nodes must \
         begin with the same initial members and, if they were restored, from the same snapshot file; if this is a node of another \
         cluster of the same name, correct its addresses"
    )]
    Genesis {
        /// Of the node that refuses.
        ours: Genesis,
        /// Of the node that is refused.
        theirs: Genesis,
    },
    /// The clusters began alike, and are two all the same.
    #[error(
        "the node that is refused is of the cluster that was founded as {theirs}, and the one that refuses it of that which was founded \
         as {ours}, though both began alike: if one of them is to go over to the other's cluster, start it with an empty data \
         directory and --join; if its data directory is the wrong one, put the right one back; else correct its addresses"
    )]
    Founding {
        /// Of the node that refuses.
        ours: Founding,
        /// Of the node that is refused.
        theirs: Founding,
    },
    /// Too many connections.
    #[error("{limit} connections are open, which is the limit; try again later")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The node that is refused is none of the members, as far as the node that refuses knows.
    #[error("node {node} is no member of this cluster: add it, or stop it if it was removed")]
    NotMember {
        /// Who is refused.
        node: NodeId,
    },
    /// The engine does not listen to this life of the node.
    #[error("{reason}")]
    Peer {
        /// Why, for people.
        reason: String,
        /// Which life was met instead, if that is why: the node that is refused judges by it whether it may ever start
        /// again.
        met: Option<Incarnation>,
    },
}

impl Rejection {
    /// What a node hears that the engine does not listen to.
    #[must_use]
    pub fn of_peer(node: NodeId, reason: PeerRefusal) -> Self {
        match reason {
            PeerRefusal::NotMember => Self::NotMember { node },
            PeerRefusal::OtherCluster { ours, theirs } => Self::Genesis { ours, theirs },
            PeerRefusal::OtherFounding { ours, theirs } => Self::Founding { ours, theirs },
            reason => Self::Peer { reason: reason.to_string(), met: reason.met() },
        }
    }

    /// Whether the two nodes do not fit each other, whatever else they may come to know.
    #[cfg(feature = "tokio")]
    pub(crate) const fn is_misfit(&self) -> bool {
        match self {
            Self::Protocol { .. }
            | Self::Cluster { .. }
            | Self::WrongNode { .. }
            | Self::OwnId { .. }
            | Self::Genesis { .. }
            | Self::Founding { .. } => true,
            Self::NoHello | Self::Full { .. } | Self::NotMember { .. } | Self::Peer { .. } => false,
        }
    }

    /// A word for the kind of rejection: lines of the same kind are limited together in the log.
    #[cfg(feature = "tokio")]
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::NoHello => "no hello",
            Self::Protocol { .. } => "protocol",
            Self::Cluster { .. } => "cluster",
            Self::WrongNode { .. } => "wrong node",
            Self::OwnId { .. } => "own id",
            Self::Genesis { .. } => "genesis",
            Self::Founding { .. } => "founding",
            Self::Full { .. } => "full",
            Self::NotMember { .. } => "no member",
            Self::Peer { .. } => "peer",
        }
    }

    const fn code(&self) -> (u8, u64, u64) {
        match self {
            Self::NoHello => (1, 0, 0),
            Self::Protocol { ours, theirs } => (2, *ours as u64, *theirs as u64),
            Self::Cluster { ours, theirs } => (3, *ours, *theirs),
            Self::WrongNode { asked, found } => (4, asked.0, found.0),
            Self::OwnId { node } => (5, node.0, 0),
            Self::Genesis { ours, theirs } => (6, ours.0, theirs.0),
            Self::Full { limit } => (7, *limit as u64, 0),
            Self::Peer { met: None, .. } => (8, 0, 0),
            Self::Peer { met: Some(met), .. } => (9, met.id, met.start),
            Self::NotMember { node } => (10, node.0, 0),
            Self::Founding { ours, theirs } => (11, ours.0, theirs.0),
        }
    }

    /// Adds this as a frame.
    ///
    /// # Errors
    /// Never in practice: the text is cut to fit.
    pub fn encode(&self, output: &mut FrameBuffer) -> Result<(), FrameError> {
        let (code, first, second) = self.code();
        let (text, met) = if let Self::Peer { reason, met } = self { (cut(reason), *met) } else { ("", None) };
        output.frame(kind::REJECT, 0, BODY_BYTES_MAX, |body| {
            body.put_u8(code);
            body.put_u64(first);
            body.put_u64(second);
            body.put_text(text);
            if let Some(met) = met {
                body.put_u64(met.nonce);
            }
        })
    }

    /// Reads the body of a reject.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(body);
        let (code, first, second, text) = (fields.u8()?, fields.u64()?, fields.u64()?, fields.text()?);
        let nonce = if code == 9 { fields.u64()? } else { 0 };
        fields.finish()?;
        let version = |value| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(match code {
            1 => Self::NoHello,
            2 => Self::Protocol { ours: version(first), theirs: version(second) },
            3 => Self::Cluster { ours: first, theirs: second },
            4 => Self::WrongNode { asked: NodeId(first), found: NodeId(second) },
            5 => Self::OwnId { node: NodeId(first) },
            6 => Self::Genesis { ours: Genesis(first), theirs: Genesis(second) },
            7 => Self::Full { limit: usize::try_from(first).unwrap_or(usize::MAX) },
            8 => Self::Peer { reason: cut(&text).to_owned(), met: None },
            9 => {
                let met = Some(Incarnation { id: first, start: second, nonce });
                Self::Peer { reason: cut(&text).to_owned(), met }
            }
            10 => Self::NotMember { node: NodeId(first) },
            11 => Self::Founding { ours: Founding(first), theirs: Founding(second) },
            _ => return Err(DecodeError::Invalid { what: "rejection", value: code.into() }),
        })
    }
}

/// The longest beginning of a text that may travel.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Hello {
    /// What this node says to `target`.
    #[must_use]
    pub fn new(local: &Local, target: NodeId) -> Self {
        let Local { cluster, peer, client_address, peer_address } = local.clone();
        let fits = |address: &String| address.len() <= TEXT_BYTES_MAX;
        let (client_address, peer_address) = (client_address.filter(fits), peer_address.filter(fits));
        Self { cluster, peer, target, client_address, peer_address }
    }

    /// Adds this as a frame.
    ///
    /// # Errors
    /// When an address is longer than a hello may be.
    pub fn encode(&self, output: &mut FrameBuffer) -> Result<(), FrameError> {
        // No member is bound by what stands before the first entry.
        let (incarnation, bound) = (self.peer.incarnation, self.peer.bound.unwrap_or(LogId::ZERO));
        output.frame(kind::HELLO, 0, BODY_BYTES_MAX, |body| {
            body.put_u64(MAGIC);
            body.put_u32(PROTOCOL_VERSION);
            for number in [
                self.cluster,
                self.peer.node.0,
                incarnation.id,
                incarnation.start,
                incarnation.nonce,
                self.target.0,
                self.peer.genesis.0,
                self.peer.founding.0,
                bound.term.0,
                bound.index.0,
            ] {
                body.put_u64(number);
            }
            body.put_u32(self.peer.version.0.into());
            body.put_text(self.client_address.as_deref().unwrap_or_default());
            body.put_text(self.peer_address.as_deref().unwrap_or_default());
        })
    }

    /// Reads the first frame of a connection.
    ///
    /// # Errors
    /// [`Rejection::NoHello`] when it is none, [`Rejection::Protocol`] when it is one of another version.
    pub fn decode(frame: Frame) -> Result<Self, Rejection> {
        if frame.kind != kind::HELLO {
            return Err(Rejection::NoHello);
        }
        let mut fields = Fields::new(frame.body);
        let magic = fields.u64().map_err(|_| Rejection::NoHello)?;
        let theirs = fields.u32().map_err(|_| Rejection::NoHello)?;
        if magic != MAGIC {
            return Err(Rejection::NoHello);
        }
        if theirs != PROTOCOL_VERSION {
            // What follows may be laid out in another way: it is not looked at.
            return Err(Rejection::Protocol { ours: PROTOCOL_VERSION, theirs });
        }
        Self::decode_fields(fields).map_err(|_| Rejection::NoHello)
    }

    fn decode_fields(mut fields: Fields) -> Result<Self, DecodeError> {
        let (cluster, node) = (fields.u64()?, NodeId(fields.u64()?));
        let incarnation = Incarnation { id: fields.u64()?, start: fields.u64()?, nonce: fields.u64()? };
        let target = NodeId(fields.u64()?);
        let (genesis, founding) = (Genesis(fields.u64()?), Founding(fields.u64()?));
        let bound = Some(LogId::new(fields.u64()?, fields.u64()?)).filter(|bound| *bound != LogId::ZERO);
        let spoken = fields.u32()?;
        let invalid = |value: u32| DecodeError::Invalid { what: "version", value: value.into() };
        let version = u16::try_from(spoken).ok().filter(|version| *version > 0).ok_or_else(|| invalid(spoken))?;
        let (client, peer) = (fields.text()?, fields.text()?);
        fields.finish()?;
        let said = |text: String| (!text.is_empty()).then_some(text);
        let (client_address, peer_address) = (said(client), said(peer));
        let peer = Peer { node, incarnation, version: Version(version), bound, genesis, founding };
        Ok(Self { cluster, peer, target, client_address, peer_address })
    }

    /// Whether `local` talks to who says this. `dialled` names whom this node called; `None` when it was called.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, local: &Local, dialled: Option<NodeId>) -> Result<(), Rejection> {
        let (ours, theirs) = (local.cluster, self.cluster);
        mutate!(other_cluster_heard, theirs = ours);
        if ours != theirs {
            return Err(Rejection::Cluster { ours, theirs });
        }
        if let Some(asked) = dialled.filter(|asked| *asked != self.peer.node) {
            return Err(Rejection::WrongNode { asked, found: self.peer.node });
        }
        let target = self.target;
        mutate!(call_for_another_answered, target = local.peer.node);
        if target != local.peer.node {
            return Err(Rejection::WrongNode { asked: self.target, found: local.peer.node });
        }
        if self.peer.node == local.peer.node {
            return Err(Rejection::OwnId { node: local.peer.node });
        }
        let (ours, theirs) = (local.peer.genesis, self.peer.genesis);
        mutate!(other_genesis_heard, theirs = ours);
        if ours.contradicts(theirs) {
            return Err(Rejection::Genesis { ours, theirs });
        }
        let (ours, theirs) = (local.peer.founding, self.peer.founding);
        mutate!(other_founding_let_in, theirs = ours);
        if ours.contradicts(theirs) {
            return Err(Rejection::Founding { ours, theirs });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
