//! The node's side of the client protocol: one task for each connection, and one for each *batch* of requests.
//!
//! ```text
//!   ══ read ══► split into requests ─┬─ writes of this read ──► one task: write_encoded ──┐
//!                                    ├─ queries of this read ─► one task: read ───────────┤
//!                                    ├─ local queries ────────► one task: read_local ─────┤
//!                                    └─ status ───────────────────────────────────────────┤
//!   ◄═ write ══ everything that has gathered ◄── output ◄── replies, encoded ◄────────────┘
//! ```
//!
//! What arrives together is proposed together and answered together, so that the cost of a task, of a proposal and of
//! a system call is shared by as many requests as the load brings. A connection with too much in hand is not read from
//! until it has less.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::protocol::{self, ANY_CLUSTER};
use crate::network::DecodeError;
use crate::network::connection::{self, Ended};
use crate::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer, kind};
use crate::network::handshake::{self, Rejection};
use crate::network::log_limit::LogLimit;
use crate::{Query, Raft};
use batch::Batch;
use desk::Desk;

mod batch;
mod desk;

/// Connections that clients may have open to this node.
const CONNECTIONS_MAX: usize = 4096;

/// So many connections beyond the limit are told that they are; further ones are just closed.
const TURNED_AWAY_MAX: usize = 64;

/// How long shaking hands may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection ends when nothing was heard on it for so long; clients ask every second whether the node is there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that takes in nothing of its answers for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Query> Raft<S> {
    /// Begins to serve [clients](crate::client::Client) that connect to `listener`, and returns at once. It ends when
    /// the node stops; until then it keeps the node alive, as any clone of the handle does.
    ///
    /// Bad input ends its connection with one line in the log, or is answered with an error; the node serves on.
    #[expect(clippy::unused_async, reason = "it is called on a runtime, and says so")]
    pub async fn serve_clients(&self, listener: TcpListener) {
        tokio::spawn(serve(self.clone(), listener));
    }
}

/// Who leads and which cluster this is, for all connections; and what keeps strangers from filling the log.
struct Service<S: Query> {
    raft: Raft<S>,
    log: LogLimit,
}

async fn serve<S: Query>(raft: Raft<S>, listener: TcpListener) {
    let service = Arc::new(Service { raft: raft.clone(), log: LogLimit::default() });
    tokio::select! {
        biased;
        // Who waits for the end hears of a fault; here it only means that there is nothing left to serve.
        _ = raft.stopped() => {}
        () = accept(&service, &listener) => {}
    }
}

async fn accept<S: Query>(service: &Arc<Service<S>>, listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
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

impl<S: Query> Service<S> {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let ended = self.converse(&mut stream).await;
        if let Ended::Refused(rejection) = &ended {
            connection::reject(&mut stream, rejection).await;
        }
        self.report(from, &ended);
    }

    async fn turn_away(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let rejection = Rejection::Full { limit: CONNECTIONS_MAX };
        connection::reject(&mut stream, &rejection).await;
        self.report(from, &Ended::Refused(rejection));
    }

    fn report(&self, from: SocketAddr, ended: &Ended) {
        let what = format!("a client's connection from {from}");
        ended.report(&self.log, self.raft.config().node(), &from.ip().to_string(), &what);
    }

    async fn converse(&self, stream: &mut TcpStream) -> Ended {
        let mut input = BytesMut::new();
        match timeout(HELLO_TIMEOUT, self.greet(stream, &mut input)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Silent(HELLO_TIMEOUT),
        }
        let desk = Arc::new(Desk::new(self.raft.clone()));
        let (mut read, mut write) = stream.split();
        tokio::select! {
            biased;
            ended = listen(&mut read, input, &desk) => ended,
            ended = answer(&mut write, &desk) => ended,
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
) -> Ended {
    // Ends with the connection: nobody could hear the answers.
    let mut tasks = JoinSet::new();
    let mut batch = Batch::default();
    loop {
        loop {
            let frame = match frame::split(&mut input, BODY_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return error.into(),
            };
            if let Err(ended) = take_in(frame, &mut batch, desk) {
                return ended;
            }
            if batch.is_full(desk.raft.config()) {
                batch.start(desk, &mut tasks);
                desk.room().await;
            }
        }
        batch.start(desk, &mut tasks);
        while tasks.try_join_next().is_some() {}
        desk.room().await;
        match timeout(IDLE_TIMEOUT, connection::read_some(read, &mut input)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Silent(IDLE_TIMEOUT),
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
async fn answer<S: Query>(write: &mut (impl tokio::io::AsyncWrite + Unpin), desk: &Desk<S>) -> Ended {
    let mut output = FrameBuffer::default();
    loop {
        desk.collect(&mut output).await;
        match timeout(WRITE_TIMEOUT, write.write_all_buf(&mut output)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent(WRITE_TIMEOUT),
        }
    }
}
