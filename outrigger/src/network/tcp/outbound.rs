//! The connection that this node dialled, to send on: one task for each peer, for as long as it is a peer or is to be answered.
//!
//! ```text
//!   dial ─► hello, hello ─► lanes open ─► take, encode, write; ping and wait for pong ─┐
//!    ▲                                                                                 │ broken, silent, refused
//!    └──── backoff with jitter (cut short when the peer dials us) ◄──── lanes closed ◄─┘
//! ```
//!
//! Who was refused, here or there, waits the longest backoff, and nothing cuts it short: the reason will not go away by
//! asking at once, and two nodes that refuse each other would call for ever as fast as they can. But who was refused as no member
//! and is called then may have become one, and calls back at once; if it is refused again, it waits.
//!
//! The address is what the members say. They may be older than a peer that calls. If the engine wants to answer that very life of
//! the peer, it is dialled there where it says that it is reached, for as long as it is connected to this node; every other time
//! that this leads nowhere, where the members say. Nobody else who calls under the peer's id is dialled.
//!
//! Who is no peer any more is still sent what waits for it, for a moment: the last of it tells it that it was removed.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use outrigger_engine::{NodeId, Peer, PeerRefusal, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use super::lanes::{LaneLimits, Lanes};
use crate::network::connection::{self, Ended};
use crate::network::dial::connect;
use crate::network::frame::{FrameBuffer, kind};
use crate::network::handshake::{self, Hello, Rejection};
use crate::network::random::Random;
use crate::network::{DecodeError, codec};

/// So much is taken from the lanes for one write: an urgent message waits for no more than this.
const WRITE_BYTES: usize = 256 << 10;

/// How long who is no peer any more is given to take in what waits for it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a peer is dialled; one of the two says something.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// Where the peer listens, as the members say, if it is one.
    pub(super) members: Option<String>,
    /// The life that is to be answered, and where it says that it is reached.
    pub(super) answer: Option<(Peer, String)>,
}

/// What this node knows of one peer that it dials. Its task ends when the link is dropped from the transport's table, at the latest
/// a `FAREWELL` later.
#[derive(Debug)]
pub(super) struct Link {
    /// Whom it leads to.
    pub(super) node: NodeId,
    /// Where it is dialled.
    route: Mutex<Route>,
    /// What waits to be sent.
    pub(super) lanes: Lanes,
    /// The life at the other end, while there is a connection; and why the engine will not have it.
    at: Mutex<(Option<Peer>, Option<PeerRefusal>)>,
    /// Tells the task that another life than the one at the other end is to be answered.
    redirected: Notify,
    /// Tells the task that the engine refuses the life at the other end.
    refused: Notify,
    /// Cuts the backoff short.
    nudged: Notify,
    /// Whether it leads to no peer any more, and ends when what waits in its lanes is written.
    is_leaving: AtomicBool,
    /// Tells the task so.
    left: Notify,
}

impl Link {
    pub(super) fn new(node: NodeId, route: Route, urgent: LaneLimits, bulk: LaneLimits) -> Self {
        let lanes = Lanes::new(urgent, bulk);
        let (route, at) = (Mutex::new(route), Mutex::default());
        let (redirected, refused, nudged, left) = (Notify::new(), Notify::new(), Notify::new(), Notify::new());
        Self { node, route, lanes, at, redirected, refused, nudged, is_leaving: AtomicBool::new(false), left }
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This life is to be answered, there: a connection to another one ends.
    pub(super) fn answer(&self, peer: Peer, address: &str) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).0;
        if at.is_some_and(|at| at.is_same_life(&peer)) {
            return;
        }
        let mut route = self.route();
        let answer = Some((peer, address.to_owned())).filter(|_| route.members.as_deref() != Some(address));
        let key = |answer: &Option<(Peer, String)>| answer.as_ref().map(|(life, at)| (life.incarnation, at.clone()));
        if key(&route.answer) != key(&answer) {
            route.answer = answer;
            self.redirected.notify_one();
        }
    }

    /// The members say now that the peer is there, or nowhere. Answers whether the link leads there, and goes on: also if they say
    /// nothing new, and somebody is answered elsewhere.
    pub(super) fn follow_members(&self, address: Option<&str>) -> bool {
        let mut route = self.route();
        if route.members.as_deref() == address {
            return true;
        }
        let leads_there = route.answer.as_ref().is_some_and(|(_, place)| Some(place.as_str()) == address);
        *route = Route { members: address.map(ToOwned::to_owned), answer: None };
        leads_there
    }

    /// Where to dial after so many failures in a row; `None` if it is no peer, and who was to be answered has gone.
    pub(super) fn place(&self, shared: &Shared, failures: u32) -> Option<String> {
        let mut route = self.route();
        if self.awaited(&mut route, shared).is_none() {
            return route.members.clone();
        }
        let answer = route.answer.as_ref().map(|(_, place)| place.clone());
        if failures.is_multiple_of(2) { answer } else { route.members.clone().or(answer) }
    }

    /// The life that is to be answered, if it is still connected to this node.
    fn awaited(&self, route: &mut Route, shared: &Shared) -> Option<Peer> {
        let life = route.answer.as_ref().map(|(life, _)| *life)?;
        if shared.place_of(|peer| peer.is_same_life(&life)).is_none() {
            route.answer = None;
            return None;
        }
        Some(life)
    }

    /// Whether what waits for this peer is for another life than this one.
    fn is_for_another(&self, peer: &Peer, shared: &Shared) -> bool {
        self.awaited(&mut self.route(), shared).is_some_and(|life| !life.is_same_life(peer))
    }

    /// It leads to no peer any more: whoever holds it sends nothing more, and it ends soon.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.left.notify_one();
        self.lanes.wake();
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Waits until it leads to no peer any more, and then as long as that one may take.
    async fn left(&self) {
        self.left.notified().await;
        if self.is_connected() {
            sleep(FAREWELL).await;
        }
    }

    /// The peer has dialled us, so that it is there: tries again at once.
    pub(super) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Ends the connection if this life is at its other end; it is answered no more.
    pub(super) fn refuse(&self, peer: Peer, reason: PeerRefusal) {
        let mut route = self.route();
        route.answer = route.answer.take().filter(|(life, _)| !life.is_same_life(&peer));
        drop(route);
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.0.is_some_and(|at| at.is_same_life(&peer)) {
            at.1 = Some(reason);
            self.refused.notify_one();
        }
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    fn set_at(&self, peer: Option<Peer>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = (peer, None);
    }

    /// Waits until the engine refuses the life at the other end.
    async fn refused(&self) -> PeerRefusal {
        loop {
            if let Some(reason) = self.at.lock().unwrap_or_else(PoisonError::into_inner).1 {
                return reason;
            }
            self.refused.notified().await;
        }
    }
}

/// Keeps a connection to the peer, for as long as there is anywhere to go.
pub(super) async fn run(link: Arc<Link>, shared: Arc<Shared>) {
    tokio::select! {
        biased;
        () = link.left() => {}
        () = keep(&link, &shared) => {}
    }
}

async fn keep(link: &Arc<Link>, shared: &Arc<Shared>) {
    let settings = shared.settings;
    let nonce = shared.local.peer.incarnation.nonce;
    let mut random = Random::new(nonce ^ link.node.0.rotate_left(32));
    let mut backoff = settings.backoff_min;
    // Whether this node, refused as no member, calls back at once when it is called; not twice without a whole pause between.
    let mut calls_back = true;
    let mut is_stranger = false;
    let mut failures = 0;
    loop {
        let start = Instant::now();
        let Some(place) = link.place(shared, failures) else {
            if shared.end(link) {
                return;
            }
            continue;
        };
        let mut has_met = false;
        let ended = tokio::select! {
            biased;
            () = link.redirected.notified() => {
                failures = 0;
                continue;
            }
            ended = converse(link, &place, shared, is_stranger, &mut has_met) => ended,
        };
        if link.is_leaving() {
            return;
        }
        shared.report(&place, &format!("node {} at {place}", link.node), &ended);
        is_stranger = matches!(ended, Ended::Rejected(Rejection::NotMember { .. }));
        let is_refusal = matches!(ended, Ended::Refused(_) | Ended::Rejected(_));
        if let Ended::Refused(rejection) | Ended::Rejected(rejection) = &ended
            && !has_met
            && rejection.is_misfit()
        {
            shared.receive.misfit(link.node, rejection.to_string());
        }
        if is_refusal || !has_met {
            failures += 1;
        }
        if is_refusal {
            backoff = settings.backoff_max;
        } else if start.elapsed() > settings.backoff_max + settings.connect_timeout {
            backoff = settings.backoff_min;
        }
        // Half of the time is fixed and half random, so that nodes that lost each other do not come back in step.
        let half = u64::try_from(backoff.as_micros() / 2).unwrap_or(u64::MAX / 2);
        let pause = Duration::from_micros(half + random.below(half + 1));
        backoff = (backoff * 2).min(settings.backoff_max);
        let is_nudged = tokio::select! {
            biased;
            () = link.redirected.notified() => {
                failures = 0;
                true
            }
            () = link.nudged.notified(), if !is_refusal || (is_stranger && calls_back) => true,
            () = sleep(pause) => false,
        };
        calls_back = !(is_stranger && is_nudged);
    }
}

/// Dials, shakes hands, and sends until the connection ends. Of whom this node was a stranger to the log hears little: it will
/// most likely be refused again, every second.
async fn converse(link: &Link, place: &str, shared: &Shared, is_stranger: bool, has_met: &mut bool) -> Ended {
    let settings = shared.settings;
    let dialled = timeout(settings.connect_timeout, dial(link, place, shared)).await;
    let (mut stream, input, said, hello) = match dialled {
        Ok(Ok(dialled)) => dialled,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Lost(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt")),
    };
    if link.is_for_another(&hello.peer, shared) {
        return Ended::Lost(io::Error::other(format!(
            "{} is there, and another life of it is to be answered",
            hello.peer
        )));
    }
    *has_met = true;
    link.set_at(Some(hello.peer));
    link.lanes.open();
    let closing = Closing(link);
    // There is a way to it already, whoever was to be told so; and its first message tells of it too.
    let _taken = shared.met(&hello);
    if !is_stranger {
        shared.tell(place, "connected", || format!("connected to {} at {place}", hello.peer));
    }
    let (read, write) = stream.split();
    let progress = Progress::new();
    let ended = tokio::select! {
        biased;
        reason = link.refused() => Ended::Refused(Rejection::of_peer(link.node, reason)),
        ended = listen(read, input, shared, &progress) => ended,
        ended = send(link, place, (said, hello.peer.version), write, shared, &progress) => ended,
    };
    drop(closing);
    if link.is_leaving() {
        return ended;
    }
    match &ended {
        Ended::Rejected(Rejection::Peer { reason, met }) => shared.receive.refused(hello.peer, *met, reason.clone()),
        Ended::Rejected(rejection @ Rejection::NotMember { .. }) => {
            shared.receive.refused(hello.peer, None, rejection.to_string());
            return ended;
        }
        _ => {}
    }
    shared.tell(place, "lost", || format!("lost {} at {place}: {ended}", hello.peer));
    ended
}

/// Empties the lanes when the connection ends, however it ends.
struct Closing<'a>(&'a Link);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.set_at(None);
        self.0.lanes.close();
    }
}

/// Shakes hands, and tells as whom. What came behind the other side's hello is not lost: it may be a farewell already.
async fn dial(link: &Link, place: &str, shared: &Shared) -> Result<(TcpStream, BytesMut, Peer, Hello), Ended> {
    let mut stream = connect(place, shared.settings.connect_timeout).await?;
    stream.set_nodelay(true)?;
    let mut output = FrameBuffer::default();
    let own = shared.hello(link.node);
    own.encode(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    let mut input = BytesMut::new();
    let frame = connection::read_frame(&mut stream, &mut input, handshake::BODY_BYTES_MAX).await?;
    if frame.kind == kind::REJECT {
        return Err(Ended::Rejected(Rejection::decode(frame.body)?));
    }
    let checked = Hello::decode(frame).and_then(|hello| hello.check(&shared.local(), Some(link.node)).map(|()| hello));
    match checked {
        Ok(hello) => Ok((stream, input, own.peer, hello)),
        Err(rejection) => {
            connection::reject(&mut stream, &rejection).await;
            Err(Ended::Refused(rejection))
        }
    }
}

/// When the peer last took something in, in milliseconds since the connection began.
struct Progress {
    start: Instant,
    millis: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    fn mark(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn deadline(&self, after: Duration) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed)) + after
    }
}

/// Reads pongs, or why the peer ends the connection. A peer that neither answers nor takes anything in is gone.
async fn listen(mut read: ReadHalf<'_>, mut input: BytesMut, shared: &Shared, progress: &Progress) -> Ended {
    loop {
        let frame = tokio::select! {
            biased;
            frame = connection::read_frame(&mut read, &mut input, handshake::BODY_BYTES_MAX) => frame,
            () = silence(progress, shared.settings.idle_timeout) => {
                return Ended::Silent(shared.settings.idle_timeout);
            }
        };
        match frame {
            Ok(frame) if frame.kind == kind::PONG => progress.mark(),
            Ok(frame) if frame.kind == kind::REJECT => {
                return Rejection::decode(frame.body).map_or_else(Ended::from, Ended::Rejected);
            }
            Ok(frame) => return Ended::from(DecodeError::UnknownKind { kind: frame.kind }),
            Err(ended) => return ended,
        }
    }
}

async fn silence(progress: &Progress, idle_timeout: Duration) {
    loop {
        let deadline = progress.deadline(idle_timeout);
        if Instant::now() >= deadline {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// Sends what the lanes hold, and pings. The other side knows this node as `said`, and speaks `spoken`.
async fn send(
    link: &Link,
    place: &str,
    (mut said, spoken): (Peer, Version),
    mut write: WriteHalf<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Ended {
    let settings = shared.settings;
    let (mut taken, mut output) = (Vec::new(), FrameBuffer::default());
    let mut next_ping = Instant::now() + settings.keepalive_interval;
    loop {
        link.lanes.take(&mut taken, WRITE_BYTES);
        if Instant::now() >= next_ping {
            next_ping = Instant::now() + settings.keepalive_interval;
            if link.place(shared, 0).is_none() {
                return Ended::Lost(io::Error::other("it is no peer, and has gone"));
            }
            if let Err(error) = output.frame(kind::PING, 0, settings.frame_bytes_max, |_| {}) {
                return error.into();
            }
        } else if taken.is_empty() && link.is_leaving() {
            return bid_farewell(write).await;
        } else if taken.is_empty() {
            tokio::select! {
                biased;
                () = link.lanes.filled() => {}
                () = sleep_until(next_ping) => {}
            }
            continue;
        }
        // Asked after what is sent was taken: none of it knows more of this node than its signature says.
        let signature = shared.signature();
        if said != signature {
            said = signature;
            if let Err(error) = shared.hello(link.node).encode(&mut output) {
                return error.into();
            }
        }
        // The engine says nothing that the peer does not know. But who is there may be another than the engine has heard: it is
        // about to be refused.
        for message in taken.drain(..).filter(|message| message.since() <= spoken) {
            if let Err(error) = codec::encode(&message, 0, settings.frame_bytes_max, &mut output) {
                // Only this message is lost. It will be as long when it is sent again, so the log must tell.
                shared.report(place, &format!("a message to node {}", link.node), &Ended::from(error));
            }
        }
        while output.has_remaining() {
            if let Err(error) = write_some(&mut write, &mut output, progress).await {
                return Ended::Lost(error);
            }
        }
        output.clear();
    }
}

/// All is written. The other side is to read it to its end: a socket that is closed with bytes unread resets the connection.
async fn bid_farewell(mut write: WriteHalf<'_>) -> Ended {
    match write.shutdown().await {
        Ok(()) => std::future::pending().await,
        Err(error) => Ended::Lost(error),
    }
}

/// What goes into the socket at once shows nothing: there is room for many pings that nobody answers. But where that had to wait for
/// room, the peer has taken something in, though its pongs stand behind what is on the way.
async fn write_some(write: &mut WriteHalf<'_>, output: &mut FrameBuffer, progress: &Progress) -> io::Result<()> {
    let mut has_waited = false;
    let mut writing = pin!(write.write_buf(output));
    poll_fn(|context| {
        let polled = writing.as_mut().poll(context);
        has_waited |= polled.is_pending();
        polled
    })
    .await?;
    if has_waited {
        progress.mark();
    }
    Ok(())
}
