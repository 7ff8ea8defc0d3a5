//! The node's side of the client protocol: one task for each connection, and one for each *batch* of requests.
//!
//! ```text
//!   ══ read ══► split into requests ─┬─ writes of this read ──► one task: write_encoded ──┐
//!                                    ├─ queries of this read ─► one task: read ───────────┤
//!                                    ├─ local queries ────────► one task: read_local ─────┤
//!                                    ├─ members, snapshots ───► a task each ──────────────┤
//!                                    └─ status ───────────────────────────────────────────┤
//!   ◄═ write ══ everything that has gathered ◄── output ◄── replies, encoded ◄────────────┘
//! ```
//!
//! What arrives together is proposed together and answered together, so that the cost of a task, of a proposal and of
//! a system call is shared by as many requests as the load brings. A connection with too much in hand is not read from
//! until it has less; what all of them together may have in hand is bounded too (see [`holdings`]). A client that takes
//! nothing in while answers wait for it is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

use super::protocol::{self, ANY_CLUSTER};
use crate::network::connection::{self, Ended};
use crate::network::descriptors::{self, Caller};
use crate::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer, kind};
use crate::network::handshake::{self, Rejection};
use crate::network::{DecodeError, TcpSettings};
use crate::{Config, Query, Raft};
use batch::Batch;
use desk::Desk;
use holdings::{FREE_BYTES, Holdings};

mod batch;
mod desk;
mod holdings;
mod leadership;
mod members;
mod queries;
mod snapshots;

/// Connections that clients may have open to this node.
const CONNECTIONS_MAX: usize = 4096;

/// So many connections beyond the limit are told that they are; further ones are just closed.
const TURNED_AWAY_MAX: usize = 64;

/// How long shaking hands may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection ends when nothing was heard on it for so long; clients ask every second whether the node is there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client must take in so many bytes of its answers, or all, within [`patience`].
const TAKEN_BYTES_MIN: usize = 64 << 10;

/// The pause after a connection could not be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Query> Raft<S> {
    /// Begins to serve [clients](crate::client::Client) that connect to `listener`, and returns at once. It ends when
    /// the node stops; until then it keeps the node alive, as any clone of the handle does.
    ///
    /// It serves up to 4,096 connections, and fewer where this process may have few files open: connections of clients leave 192
    /// descriptors free (three eighths of them all where there are fewer than 512), of which 64 are for other nodes, and the
    /// rest for the log and for snapshots. The log tells if that is less than 4,096.
    ///
    /// Bad input ends its connection with one line in the log, or is answered with an error; the node serves on.
    #[expect(clippy::unused_async, reason = "it is called on a runtime, and says so")]
    pub async fn serve_clients(&self, listener: TcpListener) {
        let service = Service::new(self.clone());
        service.report_shortage();
        tokio::spawn(serve(Arc::new(service), listener));
    }
}

/// The node, for all connections, and what they hold.
struct Service<S: Query> {
    raft: Raft<S>,
    holdings: Arc<Holdings>,
}

/// How long a client may take for some of its answers, or for the rest of a request that others wait for.
fn patience(config: &Config) -> Duration {
    config.request_timeout.saturating_mul(2)
}

async fn serve<S: Query>(service: Arc<Service<S>>, listener: TcpListener) {
    tokio::select! {
        biased;
        // Who waits for the end hears of a fault; here it only means that there is nothing left to serve.
        _ = service.raft.stopped() => {}
        () = accept(&service, &listener) => {}
    }
}

async fn accept<S: Query>(service: &Arc<Service<S>>, listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) if !service.admits(&stream, from) => {}
            Ok((stream, from)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(Arc::clone(service).serve(stream, from));
            }
            Ok((stream, from)) if connections.len() < CONNECTIONS_MAX + TURNED_AWAY_MAX => {
                connections.spawn(Arc::clone(service).turn_away(stream, from));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(node = service.raft.config().id, %error, "a client's connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How a conversation with a client ended.
enum End {
    /// As any connection ends.
    Ended(Ended),
    /// Answers of so many bytes waited, and the client took next to nothing in.
    Stalled { bytes: usize },
    /// Too much was being received from all clients, and so many bytes of a request were not all of it.
    Crowded { bytes: usize },
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl<S: Query> Service<S> {
    fn new(raft: Raft<S>) -> Self {
        let holdings = Arc::new(Holdings::new(&raft.config().limits));
        Self { raft, holdings }
    }

    /// Tells operators, once, if fewer connections can be served than the limits would allow.
    fn report_shortage(&self) {
        let node = self.raft.config().id;
        let peers = TcpSettings::default().connections_max;
        if let Some((limit, needed)) = descriptors::shortage(CONNECTIONS_MAX, peers) {
            tracing::warn!(
                node,
                "this process may have {limit} files open, and {CONNECTIONS_MAX} connections of clients, {peers} of nodes and the \
                 log may take {needed}: connections beyond what that allows will be closed; raise the limit (`ulimit -n`, LimitNOFILE)"
            );
        }
    }

    /// Whether there are enough descriptors for this connection.
    fn admits(&self, stream: &TcpStream, from: SocketAddr) -> bool {
        descriptors::admits(stream, from, Caller::Client, self.raft.config().id, &self.holdings.log)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        match self.converse(&mut stream).await {
            End::Ended(ended) => {
                if let Ended::Refused(rejection) = &ended {
                    connection::reject(&mut stream, rejection).await;
                }
                self.report(from, &ended);
            }
            End::Stalled { bytes } => {
                let what = format!("{bytes} bytes of answers waited, and it took next to nothing");
                self.report_slow(from, "stalled", &what);
            }
            End::Crowded { bytes } => {
                let received = self.holdings.requests.held();
                let what =
                    format!("it sent {bytes} bytes of a request, and with {received} bytes in hand not the rest");
                self.report_slow(from, "crowded", &what);
            }
        }
    }

    fn report_slow(&self, from: SocketAddr, reason: &'static str, what: &str) {
        let origin = from.ip().to_string();
        if let Some(suppressed) = self.holdings.log.admit(&origin, reason, std::time::Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let (node, waited) = (self.raft.config().id, patience(self.raft.config()));
            tracing::warn!(node, suppressed, "a client's connection from {from} ended: {what} within {waited:?}");
        }
    }

    async fn turn_away(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let rejection = Rejection::Full { limit: CONNECTIONS_MAX };
        connection::reject(&mut stream, &rejection).await;
        self.report(from, &Ended::Refused(rejection));
    }

    fn report(&self, from: SocketAddr, ended: &Ended) {
        let what = format!("a client's connection from {from}");
        ended.report(&self.holdings.log, self.raft.config().node(), &from.ip().to_string(), &what);
    }

    async fn converse(&self, stream: &mut TcpStream) -> End {
        let mut input = BytesMut::new();
        match timeout(HELLO_TIMEOUT, self.greet(stream, &mut input)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended.into(),
            Err(_) => return Ended::Silent(HELLO_TIMEOUT).into(),
        }
        let desk = Arc::new(Desk::new(self.raft.clone(), Arc::clone(&self.holdings)));
        let (mut read, mut write) = stream.split();
        tokio::select! {
            biased;
            end = listen(&mut read, input, &desk) => end,
            end = answer(&mut write, &desk) => end,
        }
    }

    async fn greet(&self, stream: &mut TcpStream, input: &mut BytesMut) -> Result<(), Ended> {
        stream.set_nodelay(true)?;
        let frame = connection::read_frame(stream, input, handshake::BODY_BYTES_MAX).await?;
        let theirs = protocol::hello(frame).map_err(Ended::Refused)?;
        let ours = self.raft.config().cluster_id();
        if theirs != ours && theirs != ANY_CLUSTER {
            return Err(Ended::Refused(Rejection::Cluster { ours, theirs }));
        }
        let mut output = FrameBuffer::default();
        protocol::put_welcome(ours, self.raft.config().node(), &mut output)?;
        stream.write_all_buf(&mut output).await?;
        Ok(())
    }
}

/// Takes requests in, batch by batch.
async fn listen<S: Query>(
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    mut input: BytesMut,
    desk: &Arc<Desk<S>>,
) -> End {
    // Ends with the connection: nobody could hear the answers.
    let mut tasks = JoinSet::new();
    let mut batch = Batch::default();
    // When all clients together have sent too much, those with large requests go on one at a time.
    let mut turn = None;
    loop {
        loop {
            let frame = match frame::split(&mut input, BODY_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Ended::from(error).into(),
            };
            if let Err(ended) = take_in(frame, &mut batch, desk) {
                return ended.into();
            }
            if batch.is_full(desk.raft.config()) {
                batch.start(desk, &mut tasks);
                desk.room().await;
            }
        }
        batch.start(desk, &mut tasks);
        while tasks.try_join_next().is_some() {}
        desk.room().await;
        desk.hold_partial(input.len());
        let is_crowded = input.len() >= FREE_BYTES && desk.holdings.requests.refusal().is_some();
        if !is_crowded {
            turn = None;
        } else if turn.is_none() {
            turn = Some(desk.holdings.turn(patience(desk.raft.config())).await);
        }
        let result = match &turn {
            None => timeout(IDLE_TIMEOUT, connection::read_some(read, &mut input)).await,
            Some(turn) => timeout_at(turn.until, connection::read_some(read, &mut input)).await,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended.into(),
            Err(_) if turn.is_some() => return End::Crowded { bytes: input.len() },
            Err(_) => return Ended::Silent(IDLE_TIMEOUT).into(),
        }
    }
}

fn take_in<S: Query>(frame: Frame, batch: &mut Batch<S>, desk: &Desk<S>) -> Result<(), Ended> {
    match frame.kind {
        protocol::REQUEST => batch.add(protocol::Request::decode(frame.body)?, desk),
        kind::PING => desk.pong()?,
        kind::REJECT => return Err(Ended::Rejected(Rejection::decode(frame.body)?)),
        kind => return Err(DecodeError::UnknownKind { kind }.into()),
    }
    Ok(())
}

/// Writes what has gathered on the desk, again and again.
async fn answer<S: Query>(write: &mut (impl AsyncWrite + Unpin), desk: &Desk<S>) -> End {
    let patience = patience(desk.raft.config());
    let mut output = FrameBuffer::default();
    loop {
        desk.collect(&mut output).await;
        while output.has_remaining() {
            match timeout(patience, write_some(write, &mut output)).await {
                Ok(Ok(())) => {}
                Ok(Err(ended)) => return ended.into(),
                Err(_) => return End::Stalled { bytes: desk.gauge.held() },
            }
        }
    }
}

/// Writes so much that the client cannot be said to stall.
async fn write_some(write: &mut (impl AsyncWrite + Unpin), output: &mut FrameBuffer) -> Result<(), Ended> {
    let enough = output.remaining().saturating_sub(TAKEN_BYTES_MIN);
    while output.remaining() > enough {
        if write.write_buf(output).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
