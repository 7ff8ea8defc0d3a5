//! One connection of a client: many requests at once, answered in any order.
//!
//! ```text
//!   ask ─► queued ─┐                                         ┌─► pending, by id ─► whoever asked
//!   ask ─► queued ─┴─► encoded, one write ══════► one read ──┘
//!                      (all that has gathered and is still waited for)
//! ```
//!
//! A link is up once the node has welcomed it: a process that hangs still has its connections taken by its kernel. It ends
//! once and for all: with its first failure everyone who waits hears of it, and whether the request had
//! left this process. The client makes a new link when it asks that endpoint again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout, timeout_at};

use super::protocol::{self, Leader, Operation, Outcome, Request};
use crate::network::DecodeError;
use crate::network::connection::{self, Ended};
use crate::network::dial::connect;
use crate::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer, kind};
use crate::network::handshake::{self, Rejection};

/// How long dialling and shaking hands may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the node is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// A node that was not heard for so many keepalives is gone.
const KEEPALIVES_MISSED_MAX: u32 = 3;

/// Requests that wait to be written, in bytes; further ones are not taken.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Of the time that the caller grants, the node gets this part, so that its own answer comes before the time is over.
const NODE_PATIENCE_PERCENT: u32 = 90;

/// Why a link gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkError {
    /// Whether the request may have left this process.
    pub(super) sent: bool,
    /// What happened, for people.
    pub(super) reason: String,
}

/// What a link tells whoever made it.
pub(super) trait Hear: Send + Sync + 'static {
    /// The node's cluster is this one; whether that is the right one.
    fn cluster(&self, cluster: u64) -> Result<(), Rejection>;
    /// The node told who leads.
    fn leader(&self, leader: Leader);
}

/// A connection to one endpoint; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    task: AbortHandle,
    /// When it was dialled.
    since: Instant,
}

/// How far a link is; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The node has not said anything yet.
    Dialling,
    /// The node has welcomed the client.
    Up,
    /// It will not be used again.
    Ended,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells the task that there is something to write.
    filled: Notify,
    /// How far it is.
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that wait to be written, oldest first. They become bytes only when they leave: who has given up by
    /// then, and was told that nothing was done, must not be served after all.
    queued: VecDeque<Queued>,
    /// The sum of their bytes.
    queued_bytes: usize,
    /// The id of the next request; ids below were given.
    next: u64,
    /// Requests with an id below this may have left the process; at most `next`.
    sent: u64,
    /// Who waits for the answer to which request.
    pending: BTreeMap<u64, oneshot::Sender<Result<Outcome, LinkError>>>,
    /// Why the link has ended, if it has; then `pending` is empty and stays so.
    ended: Option<String>,
}

/// A request that waits to be written.
#[derive(Debug)]
struct Queued {
    id: u64,
    deadline: Instant,
    operation: Operation,
    body: Bytes,
}

impl State {
    /// Turns what is queued and still waited for into frames. From now on it counts as sent.
    fn take_queued(&mut self, output: &mut FrameBuffer) {
        let now = Instant::now();
        for Queued { id, deadline, operation, body } in self.queued.drain(..) {
            if !self.pending.contains_key(&id) {
                continue;
            }
            let patience = deadline.saturating_duration_since(now) / 100 * NODE_PATIENCE_PERCENT;
            let encoded = Request { id, patience, operation, body }.encode(BODY_BYTES_MAX, output);
            if let Err(error) = encoded
                && let Some(asker) = self.pending.remove(&id)
            {
                // Who does not wait any more needs no answer.
                let _ = asker.send(Err(LinkError { sent: false, reason: error.to_string() }));
            }
        }
        self.queued_bytes = 0;
        self.sent = self.next;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the link, unless it has ended, and tells everyone who waits.
    fn end(&self, reason: &str) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(reason.to_owned());
        state.queued.clear();
        let (pending, sent) = (std::mem::take(&mut state.pending), state.sent);
        drop(state);
        self.phase.send_replace(Phase::Ended);
        for (id, asker) in pending {
            // Who does not wait any more needs no answer.
            let _ = asker.send(Err(LinkError { sent: id < sent, reason: reason.to_owned() }));
        }
    }
}

impl Link {
    /// Dials an endpoint; requests can be asked at once.
    pub(super) fn dial(endpoint: String, cluster: u64, hear: Arc<impl Hear>) -> Self {
        let phase = watch::Sender::new(Phase::Dialling);
        let shared = Arc::new(Shared { state: Mutex::default(), filled: Notify::new(), phase });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                let ended = Ending(shared);
                let how = converse(&endpoint, cluster, &*hear, &ended.0).await;
                ended.0.end(&format!("{endpoint}: {how}"));
            }
        });
        Self { shared, task: task.abort_handle(), since: Instant::now() }
    }

    /// How far it is.
    pub(super) fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// When it was dialled.
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// Waits until it is up, or says why it has ended.
    pub(super) async fn is_up(&self) -> Result<(), String> {
        let mut phases = self.shared.phase.subscribe();
        // The sender lives as long as this link.
        let _ = phases.wait_for(|phase| *phase != Phase::Dialling).await;
        self.shared.lock().ended.clone().map_or(Ok(()), Err)
    }

    /// Asks, and waits for the answer until `deadline`. Dropping the future gives up waiting, not the request.
    pub(super) async fn ask(&self, operation: Operation, body: Bytes, deadline: Instant) -> Result<Outcome, LinkError> {
        let (id, answer) = self.put(operation, body, deadline)?;
        let mut waiting = Waiting { shared: &self.shared, id, answered: false };
        match timeout_at(deadline, answer).await {
            Ok(answer) => {
                waiting.answered = true;
                // The sender is only ever dropped unused with the whole state.
                answer.unwrap_or_else(|_| Err(LinkError { sent: true, reason: "the connection is gone".to_owned() }))
            }
            Err(_) => {
                // Under one lock: what is not sent by now never is.
                let mut state = self.shared.lock();
                state.pending.remove(&id);
                waiting.answered = true;
                Err(LinkError { sent: state.sent > id, reason: "no answer came in time".to_owned() })
            }
        }
    }

    fn put(&self, operation: Operation, body: Bytes, deadline: Instant) -> Result<(u64, Answer), LinkError> {
        let refuse = |reason| LinkError { sent: false, reason };
        let mut state = self.shared.lock();
        if let Some(reason) = &state.ended {
            return Err(refuse(reason.clone()));
        }
        if state.queued_bytes > QUEUED_BYTES_MAX {
            return Err(refuse(format!("{} bytes wait to be sent already", state.queued_bytes)));
        }
        let id = state.next;
        let was_idle = state.queued.is_empty();
        state.queued_bytes += body.len();
        state.queued.push_back(Queued { id, deadline, operation, body });
        let (asker, answer) = oneshot::channel();
        state.pending.insert(id, asker);
        state.next += 1;
        if was_idle {
            self.shared.filled.notify_one();
        }
        Ok((id, answer))
    }
}

type Answer = oneshot::Receiver<Result<Outcome, LinkError>>;

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends the link when its task ends in whatever way.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end("the client was closed");
    }
}

/// Takes a request off the table when nobody waits for it any more.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
    /// Whether it is off the table already.
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.lock().pending.remove(&self.id);
        }
    }
}

async fn converse(endpoint: &str, cluster: u64, hear: &impl Hear, shared: &Shared) -> Ended {
    let mut input = BytesMut::new();
    let mut stream = match timeout(CONNECT_TIMEOUT, dial(endpoint, cluster, hear, &mut input)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Silent(CONNECT_TIMEOUT),
    };
    shared.phase.send_replace(Phase::Up);
    let (read, write) = stream.split();
    let heard = Heard::default();
    tokio::select! {
        biased;
        ended = listen(read, input, hear, shared, &heard) => ended,
        ended = send(write, shared, &heard) => ended,
    }
}

async fn dial(endpoint: &str, cluster: u64, hear: &impl Hear, input: &mut BytesMut) -> Result<TcpStream, Ended> {
    let mut stream = connect(endpoint, CONNECT_TIMEOUT).await?;
    stream.set_nodelay(true)?;
    let mut output = FrameBuffer::default();
    protocol::put_hello(cluster, &mut output)?;
    stream.write_all_buf(&mut output).await?;
    let frame = connection::read_frame(&mut stream, input, handshake::BODY_BYTES_MAX).await?;
    match frame.kind {
        protocol::WELCOME => {
            let (cluster, _) = protocol::welcome(frame.body)?;
            hear.cluster(cluster).map_err(Ended::Refused)?;
            Ok(stream)
        }
        kind::REJECT => Err(Ended::Rejected(Rejection::decode(frame.body)?)),
        kind => Err(DecodeError::UnknownKind { kind }.into()),
    }
}

/// Whether anything was heard since the last keepalive.
#[derive(Default)]
struct Heard(std::sync::atomic::AtomicBool);

impl Heard {
    fn mark(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, std::sync::atomic::Ordering::Relaxed)
    }
}

/// Hands answers to whoever asked.
async fn listen(
    mut read: ReadHalf<'_>,
    mut input: BytesMut,
    hear: &impl Hear,
    shared: &Shared,
    heard: &Heard,
) -> Ended {
    let mut answers = Vec::new();
    loop {
        loop {
            match frame::split(&mut input, BODY_BYTES_MAX) {
                Ok(Some(frame)) => match take_in(frame, hear) {
                    Ok(answer) => answers.extend(answer),
                    Err(ended) => return ended,
                },
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
        hand_out(shared, &mut answers);
        match connection::read_some(&mut read, &mut input).await {
            Ok(()) => heard.mark(),
            Err(ended) => return ended,
        }
    }
}

fn take_in(frame: Frame, hear: &impl Hear) -> Result<Option<(u64, Outcome)>, Ended> {
    match frame.kind {
        protocol::REPLY => return Ok(Some(Outcome::decode(frame.body)?)),
        protocol::LEADER => hear.leader(Leader::decode(frame.body)?),
        kind::PONG => {}
        kind::REJECT => return Err(Ended::Rejected(Rejection::decode(frame.body)?)),
        kind => return Err(DecodeError::UnknownKind { kind }.into()),
    }
    Ok(None)
}

fn hand_out(shared: &Shared, answers: &mut Vec<(u64, Outcome)>) {
    if answers.is_empty() {
        return;
    }
    let mut state = shared.lock();
    // An answer that nobody waits for any more is dropped.
    let asked: Vec<_> =
        answers.drain(..).filter_map(|(id, outcome)| Some((state.pending.remove(&id)?, outcome))).collect();
    drop(state);
    for (asker, outcome) in asked {
        let _ = asker.send(Ok(outcome));
    }
}

/// Writes what has gathered, and pings.
async fn send(mut write: WriteHalf<'_>, shared: &Shared, heard: &Heard) -> Ended {
    let mut output = FrameBuffer::default();
    let mut keepalive = interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
    keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    loop {
        if !output.has_remaining() {
            output.clear();
            shared.lock().take_queued(&mut output);
        }
        let waits = !output.has_remaining();
        tokio::select! {
            biased;
            _ = keepalive.tick() => {
                missed = if heard.take() { 0 } else { missed + 1 };
                if missed >= KEEPALIVES_MISSED_MAX {
                    return Ended::Silent(KEEPALIVE * KEEPALIVES_MISSED_MAX);
                }
                if let Err(error) = output.frame(kind::PING, 0, BODY_BYTES_MAX, |_| {}) {
                    return error.into();
                }
            }
            // What is not written when the tick comes stays in the output.
            written = write.write_all_buf(&mut output), if !waits => {
                if let Err(error) = written {
                    return error.into();
                }
            }
            () = shared.filled.notified(), if waits => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Hears nothing.
    pub(in crate::client) struct Deaf;

    impl Hear for Deaf {
        fn cluster(&self, _: u64) -> Result<(), Rejection> {
            Ok(())
        }
        fn leader(&self, _: Leader) {}
    }

    /// A link that does not come up: a kernel takes its connection, and nobody says hello. What is asked stays queued until a test
    /// sends it.
    async fn link() -> (Link, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (Link::dial(listener.local_addr().unwrap().to_string(), 1, Arc::new(Deaf)), listener)
    }

    fn put(link: &Link) -> (u64, Answer) {
        link.put(Operation::Write, Bytes::from_static(b"write"), Instant::now() + CONNECT_TIMEOUT * 60).unwrap()
    }

    /// Sends what is queued; the ids of what was sent.
    fn send(link: &Link) -> Vec<u64> {
        let mut output = FrameBuffer::default();
        link.shared.lock().take_queued(&mut output);
        let mut bytes = BytesMut::from(&output.to_vec()[..]);
        std::iter::from_fn(|| frame::split(&mut bytes, BODY_BYTES_MAX).unwrap())
            .map(|frame| Request::decode(frame.body).unwrap().id)
            .collect()
    }

    /// Whoever is told that nothing was sent tries again: a write that was sent would be done twice.
    #[tokio::test]
    async fn at_its_end_everyone_hears_whether_the_request_had_left() {
        let (link, _listener) = link().await;
        let (id, sent) = put(&link);
        assert_eq!(send(&link), [id]);
        let (_, queued) = put(&link);
        link.shared.end("it ends");
        let ended = |sent| Ok(Err(LinkError { sent, reason: "it ends".to_owned() }));
        assert_eq!((sent.await, queued.await), (ended(true), ended(false)));
        let late = link.put(Operation::Write, Bytes::new(), Instant::now()).map(|_| ());
        assert_eq!(late, Err(LinkError { sent: false, reason: "it ends".to_owned() }));
    }

    /// It was told that nothing is done: that must stay so.
    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_sent() {
        let (link, _listener) = link().await;
        let ask = |deadline| link.ask(Operation::Write, Bytes::new(), deadline);
        let late = ask(Instant::now()).await.unwrap_err();
        assert!(!late.sent, "{late:?}");
        let later = Instant::now() + CONNECT_TIMEOUT * 60;
        assert!(timeout(Duration::ZERO, ask(later)).await.is_err(), "it was given up, with whoever asked");
        let (id, _answer) = put(&link);
        assert_eq!(send(&link), [id]);
    }

    /// Nobody knows what becomes of it.
    #[tokio::test(start_paused = true)]
    async fn what_has_left_and_is_given_up_counts_as_sent() {
        let (link, _listener) = link().await;
        let deadline = Instant::now() + Duration::from_millis(20);
        let ask = link.ask(Operation::Write, Bytes::new(), deadline);
        let (late, sent) = tokio::join!(ask, async { send(&link) });
        assert_eq!((late.map_err(|error| error.sent), sent), (Err(true), vec![0]));
        assert!(link.shared.lock().pending.is_empty(), "its answer would be kept for nobody");
    }

    #[tokio::test]
    async fn what_waits_to_be_sent_is_bounded_and_room_comes_back() {
        let (link, _listener) = link().await;
        let _answer = put(&link);
        link.shared.lock().queued_bytes += QUEUED_BYTES_MAX;
        let refused = link.put(Operation::Write, Bytes::new(), Instant::now()).map(|_| ());
        assert!(refused.as_ref().is_err_and(|error| !error.sent), "{refused:?}");
        send(&link);
        let _answer = put(&link);
        assert_eq!(link.shared.lock().queued_bytes, b"write".len());
    }

    #[tokio::test]
    async fn a_node_has_less_time_than_whoever_asks_so_that_its_own_word_comes_first() {
        let (link, _listener) = link().await;
        let second = Duration::from_secs(1);
        let (_, _answer) = link.put(Operation::Write, Bytes::new(), Instant::now() + second * 100).unwrap();
        let mut output = FrameBuffer::default();
        link.shared.lock().take_queued(&mut output);
        let frame = frame::split(&mut BytesMut::from(&output.to_vec()[..]), BODY_BYTES_MAX).unwrap().unwrap();
        let patience = Request::decode(frame.body).unwrap().patience;
        assert!(second * 50 < patience && patience <= second * 90, "{patience:?}");
    }
}
