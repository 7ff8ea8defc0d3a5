//! The connections that peers dialled, to receive from: one task for each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use bytes::BytesMut;
use outrigger_engine::{NodeId, Peer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use crate::network::connection::{self, Ended};
use crate::network::frame::{self, Frame, FrameBuffer, kind};
use crate::network::handshake::{self, Hello, Rejection};
use crate::network::{DecodeError, codec};

/// The connections that peers dialled.
#[derive(Debug, Default)]
pub(super) struct InboundTable {
    /// By the order in which they came: who dialled, where that is reached as it says, and what ends it.
    open: BTreeMap<u64, (Peer, Option<String>, oneshot::Sender<Ended>)>,
    /// The next number; never used twice.
    next: u64,
}

impl InboundTable {
    /// Ends the connections of this life of a node.
    pub(super) fn end(&mut self, peer: Peer, why: impl Fn() -> Ended) {
        let numbers: Vec<u64> =
            self.open.iter().filter(|(_, (at, ..))| at.is_same_life(&peer)).map(|(n, _)| *n).collect();
        for (.., end) in numbers.iter().filter_map(|number| self.open.remove(number)) {
            // When nobody listens any more, the connection has ended already.
            let _ = end.send(why());
        }
    }

    /// Who has called and is still there.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.open.values().map(|(at, ..)| at.node)
    }

    /// Where the last one of those who called says that it is reached.
    pub(super) fn place_of(&self, is_meant: impl Fn(&Peer) -> bool) -> Option<String> {
        let last = self.open.values().rev().find(|(at, ..)| is_meant(at));
        last.and_then(|(_, address, _)| address.clone())
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(mut stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    let ended = converse(&mut stream, &shared).await;
    if let Ended::Refused(rejection) = &ended {
        connection::reject(&mut stream, rejection).await;
    }
    shared.report(&from.ip().to_string(), &format!("a connection from {from}"), &ended);
}

/// Tells a connection beyond the limit that it is one.
pub(super) async fn turn_away(mut stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    let rejection = Rejection::Full { limit: shared.settings.connections_max };
    connection::reject(&mut stream, &rejection).await;
    shared.report(&from.ip().to_string(), &format!("a connection from {from}"), &Ended::Refused(rejection));
}

async fn converse(stream: &mut TcpStream, shared: &Shared) -> Ended {
    let mut input = BytesMut::new();
    let hello = match timeout(shared.settings.connect_timeout, greet(stream, &mut input, shared)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Silent(shared.settings.connect_timeout),
    };
    let (registration, mut end) = Registration::new(shared, &hello);
    if !shared.met(&hello) {
        // Else it would not be answered where it is: that ended with its last connection, and by a new one alone it is begun anew.
        // Nor will it be judged, so that nothing of what it said counts.
        shared.client_addresses().refuse(hello.peer);
        return Ended::Busy;
    }
    shared.nudge(hello.peer.node);
    let mut peer = hello.peer;
    let ended = loop {
        let step = async { take_in(stream, &mut input, &mut peer, shared).await };
        tokio::select! {
            biased;
            Ok(ended) = &mut end => break ended,
            outcome = timeout(shared.settings.idle_timeout, step) => match outcome {
                Ok(Ok(())) => {}
                Ok(Err(ended)) => break ended,
                Err(_) => break Ended::Silent(shared.settings.idle_timeout),
            },
        }
    };
    drop(registration);
    ended
}

/// Reads the other side's hello and answers it.
async fn greet(stream: &mut TcpStream, input: &mut BytesMut, shared: &Shared) -> Result<Hello, Ended> {
    stream.set_nodelay(true)?;
    let frame = connection::read_frame(stream, input, handshake::BODY_BYTES_MAX).await?;
    if frame.kind == kind::REJECT {
        return Err(Ended::Rejected(Rejection::decode(frame.body)?));
    }
    let hello = Hello::decode(frame).map_err(Ended::Refused)?;
    hello.check(&shared.local(), None).map_err(Ended::Refused)?;
    let mut output = FrameBuffer::default();
    shared.hello(hello.peer.node).encode(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    Ok(hello)
}

/// Takes in the frames that have arrived, then reads on.
async fn take_in(stream: &mut TcpStream, input: &mut BytesMut, peer: &mut Peer, shared: &Shared) -> Result<(), Ended> {
    while let Some(frame) = frame::split(input, shared.settings.frame_bytes_max)? {
        match frame.kind {
            kind::PING => pong(stream).await?,
            kind::HELLO => *peer = hear_again(frame, peer, shared)?,
            kind::REJECT => return Err(Ended::Rejected(Rejection::decode(frame.body)?)),
            _ if frame.group != 0 => {
                return Err(DecodeError::Invalid { what: "group of this node", value: frame.group }.into());
            }
            _ => {
                let message = codec::decode(frame.kind, frame.body)?;
                // What is not taken counts as lost, as it may be on any network.
                let _taken = shared.receive.receive(*peer, Some(message));
            }
        }
    }
    connection::read_some(stream, input).await
}

/// The other side knows more of itself than when it called.
fn hear_again(frame: Frame, before: &Peer, shared: &Shared) -> Result<Peer, Ended> {
    let hello = Hello::decode(frame).map_err(Ended::Refused)?;
    hello.check(&shared.local(), Some(before.node)).map_err(Ended::Refused)?;
    if !hello.peer.is_same_life(before) {
        return Err(DecodeError::Invalid { what: "life of who called", value: hello.peer.incarnation.start }.into());
    }
    Ok(hello.peer)
}

async fn pong(stream: &mut TcpStream) -> Result<(), Ended> {
    let mut output = FrameBuffer::default();
    output.frame(kind::PONG, 0, handshake::BODY_BYTES_MAX, |_| {})?;
    stream.write_all_buf(&mut output).await?;
    Ok(())
}

/// The connection's place in the transport's table, for as long as it lasts.
struct Registration<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Registration<'a> {
    /// Enters the connection. An older one of the same life is over: the peer would not have dialled again.
    fn new(shared: &'a Shared, hello: &Hello) -> (Self, oneshot::Receiver<Ended>) {
        let (end, ended) = oneshot::channel();
        let mut table = shared.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        table.end(hello.peer, || Ended::Replaced);
        let number = table.next;
        table.next += 1;
        table.open.insert(number, (hello.peer, hello.peer_address.clone(), end));
        (Self { shared, number }, ended)
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.shared.inbound.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.number);
        self.shared.forget_strangers();
    }
}
