//! What clients can make a node hold: over real connections, by the node's own account.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use outrigger_engine::{ChangeMembers, ChangeRequest, LogIndex, NodeId, Refusal, SessionId};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::batch::failed_write;
use super::holdings::EXPORTS_MAX;
use super::*;
use crate::client::protocol::{Operation, Outcome, Request};
use crate::client::snapshots::{Opened, Wanted};
use crate::client::{Client, ClientError};
use crate::{Limits, StateMachine, WriteError};

/// What one query answers, about.
const ANSWER_BYTES: usize = 100_000;

/// What kernels keep for both ends of a connection, at most, and the frames around answers.
const ELSEWHERE_BYTES: usize = 64 << 20;

/// Adds up, and answers as much as it is asked for.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Talker {
    sum: u64,
    /// How many queries were asked.
    #[serde(skip)]
    asked: Arc<AtomicUsize>,
}

impl StateMachine for Talker {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, add: u64) -> u64 {
        self.sum += add;
        self.sum
    }
}

impl Query for Talker {
    type Query = usize;
    type Answer = String;

    fn query(&self, bytes: usize) -> String {
        self.asked.fetch_add(1, Ordering::Relaxed);
        "x".repeat(bytes)
    }
}

struct Node {
    service: Arc<Service<Talker>>,
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Node {
    async fn start(limits: Limits, request_timeout: Duration) -> Self {
        let config = Config {
            listen_peer: "127.0.0.1:0".to_owned(),
            initial_cluster: [(1, "127.0.0.1:7101".to_owned())].into(),
            heartbeat_interval: Duration::from_millis(20),
            election_timeout_min: Duration::from_millis(50),
            election_timeout_max: Duration::from_millis(100),
            request_timeout,
            limits,
            ..Config::default()
        };
        let state = Talker::default();
        let asked = Arc::clone(&state.asked);
        let raft = Raft::start(config, state).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = Arc::new(Service::new(raft));
        tokio::spawn(serve(Arc::clone(&service), listener));
        Self { service, address, asked }
    }

    async fn client(&self) -> Client<Talker> {
        Client::connect([self.address.clone()]).await.unwrap()
    }

    /// A connection whose hands are shaken.
    async fn stranger(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let mut output = FrameBuffer::default();
        protocol::put_hello(ANY_CLUSTER, &mut output).unwrap();
        stream.write_all_buf(&mut output).await.unwrap();
        let mut input = BytesMut::new();
        let welcome = connection::read_frame(&mut stream, &mut input, 1000).await.unwrap();
        assert_eq!(welcome.kind, protocol::WELCOME);
        stream
    }

    /// A connection that asks for much and takes nothing in.
    async fn deaf(&self, queries: u64) -> TcpStream {
        let mut stream = self.stranger().await;
        let mut output = FrameBuffer::default();
        for id in 0..queries {
            request(id, Operation::QueryLocal, &ANSWER_BYTES).encode(BODY_BYTES_MAX, &mut output).unwrap();
        }
        stream.write_all_buf(&mut output).await.unwrap();
        stream
    }

    fn answers(&self) -> usize {
        self.service.holdings.answers.held()
    }

    /// Waits for a condition, and looks all the while that no more than `limit` and one answer are held.
    async fn wait_below(&self, limit: usize, what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                let held = self.answers();
                assert!(held <= limit + ANSWER_BYTES + 1000, "{held} bytes of answers are held, the limit is {limit}");
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn request(id: u64, operation: Operation, body: &impl Serialize) -> Request {
    Request { id, patience: Duration::from_secs(60), operation, body: postcard::to_stdvec(body).unwrap().into() }
}

fn limits(one: usize, all: usize) -> Limits {
    Limits { connection_answers_bytes_max: one, answers_bytes_max: all, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answer_in_costs_its_limit_and_delays_nobody() {
    let one = 1 << 20;
    let node = Node::start(limits(one, 16 << 20), Duration::from_secs(30)).await;
    let deaf = node.deaf(20_000).await;
    node.wait_below(one, "the connection is full", || node.answers() >= one).await;
    let client = node.client().await;
    for sum in 1..=50 {
        assert_eq!(client.write(1).await, Ok(sum));
        assert_eq!(client.query(10).await.map(|answer| answer.len()), Ok(10));
        assert!(node.answers() <= one + ANSWER_BYTES + 1000, "{} bytes are held", node.answers());
    }
    let asked = node.asked.load(Ordering::Relaxed);
    assert!(asked < (one + ELSEWHERE_BYTES) / ANSWER_BYTES, "{asked} queries were run");
    drop(deaf);
    node.wait_below(one, "what is gone holds nothing", || node.answers() == 0).await;
    assert_eq!(node.service.holdings.requests.held(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_in_late_gets_every_answer() {
    let one = 1 << 20;
    let node = Node::start(limits(one, 16 << 20), Duration::from_secs(30)).await;
    let mut stream = node.deaf(500).await;
    node.wait_below(one, "the connection is full", || node.answers() >= one).await;
    let mut input = BytesMut::new();
    let mut answered = 0;
    while answered < 500 {
        let frame = connection::read_frame(&mut stream, &mut input, BODY_BYTES_MAX).await.unwrap();
        if frame.kind == protocol::REPLY {
            let (_, outcome) = Outcome::decode(frame.body).unwrap();
            assert!(matches!(&outcome, Outcome::Done { body, .. } if body.len() > ANSWER_BYTES), "{outcome:?}");
            answered += 1;
        }
    }
    node.wait_below(one, "all is taken in", || node.answers() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_that_take_nothing_in_cost_the_limit_of_all_and_writes_go_on() {
    let (one, all) = (1 << 20, 3 << 20);
    let node = Node::start(limits(one, all), Duration::from_secs(30)).await;
    // Together they ask for more than the limit of all; what is refused is answered too, in few bytes.
    let most = all + (2 << 20);
    let mut deaf = Vec::new();
    for _ in 0..8 {
        deaf.push(node.deaf(20_000).await);
    }
    node.wait_below(most, "the node is full", || node.answers() >= all).await;
    let client = node.client().await.with_timeout(Duration::from_millis(500));
    let refused = loop {
        assert!(node.answers() <= most, "{} bytes are held", node.answers());
        // Until the kernel takes no more in for those who do not.
        if let Err(refused) = client.query(10).await {
            break refused;
        }
    };
    assert!(refused.is_retryable() && refused.to_string().contains("in hand, the limit is 3145728"), "{refused}");
    for sum in 1..=50 {
        assert_eq!(client.write(1).await, Ok(sum));
    }
    assert!(node.answers() <= most, "{} bytes are held", node.answers());
    drop(deaf);
    node.wait_below(most, "what is gone holds nothing", || node.answers() == 0).await;
    assert_eq!(client.query(10).await.map(|answer| answer.len()), Ok(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_in_is_left_and_who_is_slow_is_not() {
    let one = 1 << 20;
    let node = Node::start(limits(one, 16 << 20), Duration::from_millis(400)).await;
    let deaf = node.deaf(20_000).await;
    node.wait_below(one, "the connection is full", || node.answers() >= one).await;
    node.wait_below(one, "the node leaves it", || node.answers() == 0).await;
    drop(deaf);

    let mut slow = node.deaf(400).await;
    let (mut taken, mut piece) = (0, vec![0; 1 << 20]);
    let start = tokio::time::Instant::now();
    while taken < 400 * ANSWER_BYTES {
        let count = slow.read(&mut piece).await.unwrap();
        assert!(count > 0, "it is left after {taken} bytes and {:?}", start.elapsed());
        taken += count;
        // Slower than the node, for longer than it waits for one that takes nothing.
        sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() > patience(node.service.raft.config()), "{:?} is no time", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_writes_beyond_a_limit_are_refused_and_counted_as_such() {
    let limits = Limits { requests_max: 4, ..Limits::default() };
    let node = Node::start(limits, Duration::from_secs(30)).await;
    let mut stream = node.stranger().await;
    let (mut output, mut input) = (FrameBuffer::default(), BytesMut::new());
    let count = 20_000;
    for id in 0..count {
        request(id, Operation::Write, &1_u64).encode(BODY_BYTES_MAX, &mut output).unwrap();
    }
    let (mut read, mut write) = stream.split();
    let hear = async {
        let (mut done, mut refused) = (0, 0);
        while done + refused < count {
            let frame = connection::read_frame(&mut read, &mut input, BODY_BYTES_MAX).await.unwrap();
            if frame.kind != protocol::REPLY {
                continue;
            }
            match Outcome::decode(frame.body).unwrap().1 {
                Outcome::Done { .. } => done += 1,
                Outcome::NotNow { reason } => {
                    assert!(reason.contains("in hand") && reason.contains("try again"), "{reason}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        done
    };
    let (written, done) = tokio::join!(write.write_all_buf(&mut output), hear);
    written.unwrap();
    assert_eq!(node.service.raft.read(|talker| talker.sum).await.unwrap(), done);
    assert_eq!(node.service.holdings.requests.held(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_large_requests_are_bounded_over_all_connections() {
    let limit = 1 << 20;
    let node = Node::start(Limits { received_bytes_max: limit, ..Limits::default() }, Duration::from_millis(400)).await;
    let body = postcard::to_stdvec(&"x".repeat(8 << 20)).unwrap();
    let mut output = FrameBuffer::default();
    let large = Request { id: 1, patience: Duration::from_secs(9), operation: Operation::Write, body: body.into() };
    large.encode(BODY_BYTES_MAX, &mut output).unwrap();
    let bytes = output.to_vec();
    let mut strangers = JoinSet::new();
    for _ in 0..20 {
        let (mut stream, bytes) = (node.stranger().await, bytes.clone());
        // All but the end.
        strangers.spawn(async move {
            let _ = stream.write_all(&bytes[..bytes.len() - 1]).await;
            let _ = stream.read(&mut [0]).await;
        });
    }
    let held = || node.service.holdings.requests.held();
    node.wait_below(limit, "the node is full", || held() >= limit).await;
    let client = node.client().await;
    assert_eq!(client.write(1).await, Ok(1), "who sends little is served");
    let mut most = 0;
    let wait = async {
        while !strangers.is_empty() {
            most = most.max(held());
            while strangers.try_join_next().is_some() {}
            sleep(Duration::from_millis(1)).await;
        }
    };
    let all_left = timeout(Duration::from_secs(40), wait).await;
    assert!(all_left.is_ok(), "{} strangers are still heard", strangers.len());
    assert!(most < 20 * bytes.len() / 3, "{most} bytes were held");
    assert_eq!(client.write(1).await, Ok(2));
    node.wait_below(limit, "what is gone holds nothing", || held() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_members_takes_as_long_as_the_client_grants_it() {
    let node = Node::start(Limits::default(), Duration::from_millis(50)).await;
    let client = node.client().await;
    assert_eq!(client.write(1).await, Ok(1));
    let silent = outrigger_engine::Node { address: "127.0.0.1:9".to_owned() };
    let change = ChangeMembers::AddVoters([(NodeId(2), silent)].into());
    let request = |patience| ChangeRequest { patience, ..change.clone().into() };
    // Far beyond what a write may take; the leader's own word comes all the same.
    let outcome = client.change_members(request(Duration::from_secs(1))).await;
    let is_lagging = matches!(&outcome, Err(ClientError::MembersNotChanged { refusal: Refusal::Lagging { .. } }));
    assert!(is_lagging, "{outcome:?}");
    let impatient = client.clone().with_timeout(Duration::from_millis(200));
    let outcome = impatient.change_members(request(Duration::from_secs(60))).await;
    let Err(ClientError::Unknown { reason }) = outcome else { panic!("nobody knows yet, not {outcome:?}") };
    assert!(reason.contains("may go on"), "{reason}");
    node.service.raft.shutdown().await.unwrap();
}

#[tokio::test]
async fn session_0_is_refused_and_the_node_serves_on() {
    let node = Node::start(Limits::default(), Duration::from_secs(5)).await;
    let mut stranger = node.stranger().await;
    let session = SessionId(0);
    for operation in [Operation::KeepAlive { session }, Operation::WriteOnce { session, sequence: 1 }] {
        let mut output = FrameBuffer::default();
        request(1, operation, &1_u64).encode(BODY_BYTES_MAX, &mut output).unwrap();
        stranger.write_all_buf(&mut output).await.unwrap();
        let mut input = BytesMut::new();
        let reply = loop {
            let frame = connection::read_frame(&mut stranger, &mut input, 1000).await.unwrap();
            if frame.kind == protocol::REPLY {
                break Outcome::decode(frame.body).unwrap().1;
            }
        };
        assert!(matches!(&reply, Outcome::Never { reason } if reason.contains("session 0")), "{reply:?}");
    }
    assert_eq!(node.client().await.write(7).await.unwrap(), 7);
}

/// Found by reading: a node whose disk fails refuses what waits for it, and clients took that for the cluster's last word.
#[test]
fn what_a_node_that_halts_refuses_is_for_another() {
    let halted = WriteError::NotApplied { refusal: Refusal::Halted };
    assert!(!halted.is_retryable(), "not on this node");
    assert!(matches!(failed_write(&halted), Outcome::NotNow { .. }));
    let limit = WriteError::NotApplied { refusal: Refusal::EntryTooLarge { bytes: 2, limit: 1 } };
    assert!(matches!(failed_write(&limit), Outcome::Never { .. }));
}

/// Keeps the length of what was written last.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Last(usize);

impl StateMachine for Last {
    type Command = String;
    type Response = usize;

    fn apply(&mut self, text: String) -> usize {
        self.0 = text.len();
        self.0
    }
}

impl Query for Last {
    type Query = ();
    type Answer = usize;

    fn query(&self, (): ()) -> usize {
        self.0
    }
}

/// Found by reading: what arrives together with a large write was refused together with it, for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_too_large_together_are_written_one_by_one() {
    let bytes_max = 40 << 20;
    let limits = Limits {
        entry_bytes_max: bytes_max,
        requests_bytes_max: 60 << 20,
        uncommitted_bytes_max: 240 << 20,
        ..Limits::default()
    };
    let config = Config {
        listen_peer: "127.0.0.1:0".to_owned(),
        initial_cluster: [(1, "127.0.0.1:7101".to_owned())].into(),
        limits,
        ..Config::default()
    };
    let raft = Raft::start(config, Last::default()).await.unwrap();
    assert_eq!(raft.read(|last| last.0).await, Ok(0), "it leads");
    let service = Arc::new(Service::new(raft));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(serve(service, listener));
    let (mut output, mut input) = (FrameBuffer::default(), BytesMut::new());
    protocol::put_hello(ANY_CLUSTER, &mut output).unwrap();
    for (id, length) in [(1, 5), (2, bytes_max - 100)] {
        request(id, Operation::Write, &"x".repeat(length)).encode(BODY_BYTES_MAX, &mut output).unwrap();
    }
    let (mut read, mut write) = stream.split();
    let hear = async {
        let mut done = Vec::new();
        while done.len() < 2 {
            let frame = connection::read_frame(&mut read, &mut input, BODY_BYTES_MAX).await.unwrap();
            if frame.kind == protocol::REPLY {
                let (id, outcome) = Outcome::decode(frame.body).unwrap();
                assert!(matches!(&outcome, Outcome::Done { .. }), "{id}: {outcome:?}");
                done.push(id);
            }
        }
    };
    let (written, ()) = tokio::join!(write.write_all_buf(&mut output), hear);
    written.unwrap();
}

/// Found by reading: the log's tail counts the bytes of a command, and a small one held all that it had arrived with.
#[tokio::test]
async fn a_small_write_holds_nothing_of_what_it_arrived_with() {
    let node = Node::start(Limits::default(), Duration::from_secs(5)).await;
    let desk = Arc::new(Desk::new(node.service.raft.clone(), Arc::clone(&node.service.holdings)));
    let arrived = Bytes::from([postcard::to_stdvec(&7_u64).unwrap(), vec![0; 60_000]].concat());
    let mut batch = Batch::default();
    for id in 0..3 {
        let body = arrived.slice(..1);
        batch.add(Request { id, patience: Duration::from_secs(5), operation: Operation::Write, body }, &desk);
    }
    let group = batch.take_writes().unwrap();
    assert!(arrived.is_unique(), "it is held by a write of one byte");
    for payload in &group.items {
        assert!(matches!(&payload.body, outrigger_engine::Body::Command(command) if command[..] == [7]), "{payload:?}");
    }
}

/// So long a text is three pieces.
const TEXT_BYTES: usize = 5 << 19;

/// A text, whose snapshot has several pieces.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Text(String, #[serde(skip)] Arc<Gate>);

/// While it is closed, nothing is applied.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opens: Condvar,
}

impl Gate {
    fn close(&self) -> Closed<'_> {
        *self.is_closed.lock().unwrap() = true;
        Closed(self)
    }

    fn pass(&self) {
        drop(self.opens.wait_while(self.is_closed.lock().unwrap(), |is_closed| *is_closed).unwrap());
    }
}

struct Closed<'a>(&'a Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        *self.0.is_closed.lock().unwrap() = false;
        self.0.opens.notify_all();
    }
}

impl StateMachine for Text {
    type Command = String;
    type Response = ();

    fn apply(&mut self, text: String) {
        self.1.pass();
        self.0 = text;
    }
}

impl Query for Text {
    type Query = ();
    type Answer = ();

    fn query(&self, (): ()) {}
}

/// What one connection to a node has in hand, whose snapshot has three pieces.
async fn desk_of_text() -> Arc<Desk<Text>> {
    desk_of(Text::default()).await
}

async fn desk_of(text: Text) -> Arc<Desk<Text>> {
    let config = Config {
        listen_peer: "127.0.0.1:0".to_owned(),
        initial_cluster: [(1, "127.0.0.1:7101".to_owned())].into(),
        ..Config::default()
    };
    let holdings = Arc::new(Holdings::new(&config.limits));
    let raft = Raft::start(config, text).await.unwrap();
    raft.write("x".repeat(TEXT_BYTES)).await.unwrap();
    Arc::new(Desk::new(raft, holdings))
}

async fn piece(desk: &Desk<Text>, offset: u64) -> Outcome {
    timeout(Duration::from_secs(20), snapshots::piece(desk, Wanted { offset, local: false })).await.unwrap()
}

/// The length of what comes behind what stands before a snapshot.
fn length(outcome: &Outcome, is_first: bool) -> u64 {
    let Outcome::Done { body, .. } = outcome else { panic!("{outcome:?}") };
    let piece = if is_first { Opened::decode(body.clone()).unwrap().1 } else { body.clone() };
    piece.len() as u64
}

/// Mutants that nothing noticed: a snapshot that stays open when it was sent, and one that is lost by a wrong question.
#[tokio::test]
async fn a_snapshot_is_open_until_its_last_piece_and_a_wrong_offset_changes_nothing() {
    let desk = desk_of_text().await;
    let mut next = 0;
    for number in 0..3 {
        assert_eq!(desk.export.lock().await.is_some(), number > 0, "piece {number}");
        if number > 0 {
            for wrong in [1, next - 1, next + 1, u64::MAX] {
                let refused = piece(&desk, wrong).await;
                let part = format!("the next piece on this connection is at {next}, not {wrong}");
                assert!(matches!(&refused, Outcome::Never { reason } if *reason == part), "{refused:?}");
            }
        }
        next += length(&piece(&desk, next).await, number == 0);
    }
    assert!(next > TEXT_BYTES as u64, "{next} bytes");
    assert!(desk.export.lock().await.is_none(), "its file is open for nothing");
    let refused = piece(&desk, next).await;
    assert!(matches!(&refused, Outcome::Never { reason } if reason.contains("is at 0")), "{refused:?}");
}

/// A mutant that nothing noticed: pieces for who takes none in.
#[tokio::test]
async fn pieces_wait_until_answers_are_taken_in_and_are_refused_while_others_hold_too_much() {
    let desk = desk_of_text().await;
    let next = length(&piece(&desk, 0).await, true);
    let limits = &desk.raft.config().limits;
    desk.gauge.change(0, limits.connection_answers_bytes_max);
    let waits = timeout(Duration::from_millis(200), snapshots::piece(&desk, Wanted { offset: next, local: false }));
    assert!(waits.await.is_err(), "it is in memory beyond the limit");
    desk.gauge.change(limits.connection_answers_bytes_max, 0);

    desk.holdings.answers.change(0, limits.answers_bytes_max);
    let refused = piece(&desk, next).await;
    assert!(matches!(&refused, Outcome::NotNow { reason } if reason.contains("in hand")), "{refused:?}");
    desk.holdings.answers.change(limits.answers_bytes_max, 0);
    assert!(length(&piece(&desk, next).await, false) > 0, "neither has cost it what is open");
}

/// Found by reading: each connection could keep the file of another snapshot open.
#[tokio::test]
async fn few_connections_at_once_have_a_snapshot_open() {
    let desk = desk_of_text().await;
    let exports = &desk.holdings.exports;
    let others = Arc::clone(exports).try_acquire_many_owned(u32::try_from(EXPORTS_MAX).unwrap() - 1).unwrap();
    let next = length(&piece(&desk, 0).await, true);
    assert_eq!(exports.available_permits(), 0);
    let another = Desk::new(desk.raft.clone(), Arc::clone(&desk.holdings));
    let refused = piece(&another, 0).await;
    assert!(matches!(&refused, Outcome::NotNow { reason } if reason.contains("16 snapshots are being")), "{refused:?}");
    assert_eq!(length(&piece(&desk, 0).await, true), next, "who has one open may begin anew");
    drop((desk, others));
    length(&piece(&another, 0).await, true);
    drop(another);
}

/// What a batch of requests is answered, in the order of the answers.
async fn answers_to(desk: &Arc<Desk<Text>>, requests: impl IntoIterator<Item = Request>) -> Vec<(u64, Outcome)> {
    let (mut batch, mut tasks) = (Batch::default(), JoinSet::new());
    requests.into_iter().for_each(|request| batch.add(request, desk));
    batch.start(desk, &mut tasks);
    tasks.join_all().await;
    answers(desk).await
}

async fn answers(desk: &Desk<Text>) -> Vec<(u64, Outcome)> {
    let mut output = FrameBuffer::default();
    desk.collect(&mut output).await;
    let mut bytes = BytesMut::from(&output.to_vec()[..]);
    let frames = std::iter::from_fn(|| frame::split(&mut bytes, BODY_BYTES_MAX).unwrap());
    frames.filter(|frame| frame.kind == protocol::REPLY).map(|frame| Outcome::decode(frame.body).unwrap()).collect()
}

/// It was handed to the node, and may be applied: a client that hears "not now" sends it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_in_time_is_in_doubt() {
    let gate = Arc::new(Gate::default());
    let desk = desk_of(Text(String::new(), Arc::clone(&gate))).await;
    let _closed = gate.close();
    let patience = Duration::from_millis(250);
    let at_once = |id, operation, body: Bytes| Request { id, patience, operation, body };
    let text = Bytes::from(postcard::to_stdvec("text").unwrap());
    let requests = [
        at_once(1, Operation::Write, text.clone()),
        at_once(2, Operation::WriteOnce { session: SessionId(9), sequence: 1 }, text),
        at_once(3, Operation::RegisterSession, protocol::encode_number(1_000)),
    ];
    for request in requests {
        let id = request.id;
        let answers = answers_to(&desk, [request]).await;
        assert!(matches!(&answers[..], [(it, Outcome::Unknown { .. })] if *it == id), "{answers:?}");
    }
}

#[tokio::test]
async fn what_a_node_that_was_stopped_does_not_know_of_a_change_is_in_doubt() {
    let desk = desk_of_text().await;
    desk.raft.shutdown().await.unwrap();
    desk.take_in(0);
    let change = ChangeMembers::RemoveNodes([NodeId(9)].into());
    members::change(Arc::clone(&desk), (1, 0), Duration::from_secs(60), ChangeRequest::from(change)).await;
    let answers = answers(&desk).await;
    assert!(matches!(&answers[..], [(1, Outcome::Unknown { .. })]), "{answers:?}");
}

#[test]
fn a_write_in_doubt_is_told_as_such_and_what_another_node_may_do_as_not_now() {
    let doubtful = WriteError::Unknown { reason: "silence".to_owned() };
    assert_eq!(failed_write(&doubtful), Outcome::Unknown { reason: "silence".to_owned() });
    for refusal in [Refusal::NoLeader, Refusal::Halted, Refusal::Overloaded { current: 1, limit: 1 }] {
        let outcome = failed_write(&WriteError::NotApplied { refusal });
        assert!(matches!(outcome, Outcome::NotNow { .. }), "{outcome:?}");
    }
    assert!(matches!(failed_write(&WriteError::Stopped), Outcome::NotNow { .. }));
    let refusal = Refusal::EntryTooLarge { bytes: 2, limit: 1 };
    let outcome = failed_write(&WriteError::NotApplied { refusal });
    assert!(matches!(outcome, Outcome::Never { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_session_that_is_not_there_is_denied() {
    let desk = desk_of_text().await;
    let alive = Request {
        id: 1,
        patience: Duration::from_secs(60),
        operation: Operation::KeepAlive { session: SessionId(1 << 40) },
        body: Bytes::new(),
    };
    let answers = answers_to(&desk, [alive]).await;
    assert!(matches!(&answers[..], [(1, Outcome::Denied(crate::client::Denied::Expired))]), "{answers:?}");
}

/// As over a connection, where the two may arrive one by one.
#[tokio::test]
async fn two_writes_of_one_batch_that_are_too_large_together_are_both_done() {
    let desk = desk_of_text().await;
    let length = desk.raft.config().limits.entry_bytes_max - 100;
    let count = u64::try_from(BODY_BYTES_MAX / 2 / length + 1).unwrap();
    let writes = (0..count).map(|id| request(id, Operation::Write, &"x".repeat(length)));
    let mut answers = answers_to(&desk, writes).await;
    answers.sort_by_key(|(id, _)| *id);
    assert!(answers.iter().map(|(id, _)| *id).eq(0..count), "{} answers", answers.len());
    assert!(answers.iter().all(|(_, outcome)| matches!(outcome, Outcome::Done { .. })));
}

/// One batch is one proposal: it must fit into what the node takes, beside those of others.
#[tokio::test]
async fn a_batch_ends_where_a_quarter_of_what_the_node_takes_would_be_in_it() {
    let desk = desk_of_text().await;
    let texts = |length: usize| request(1, Operation::Write, &"x".repeat(length));
    let fills = |limits: Limits, request: &dyn Fn() -> Request| {
        let (mut batch, config) = (Batch::default(), Config { limits, ..Config::default() });
        // Twice: what has begun counts no more.
        let mut counts = [0, 0];
        for count in &mut counts {
            while !batch.is_full(&config) && *count < 100 {
                batch.add(request(), &desk);
                *count += 1;
            }
            batch.start(&desk, &mut JoinSet::new());
        }
        assert_eq!(counts[0], counts[1]);
        counts[0]
    };
    let (of, limits) = (|length| move || texts(length), Limits::default());
    assert_eq!(fills(Limits { requests_max: 40, ..limits }, &of(1)), 10);
    assert_eq!(fills(Limits { uncommitted_entries_max: 20, ..limits }, &of(1)), 5);
    assert_eq!(fills(Limits { requests_bytes_max: 40_000, ..limits }, &of(999)), 10);
    assert_eq!(fills(Limits { uncommitted_bytes_max: 20_000, ..limits }, &of(999)), 5);
    for operation in [Operation::QueryLocal, Operation::Query { consistency: crate::Consistency::Linearizable }] {
        assert_eq!(fills(Limits { requests_max: 40, ..limits }, &|| request(1, operation, &())), 10);
    }
}

/// Who is read on from fills the node's memory.
#[tokio::test]
async fn a_connection_is_read_on_only_while_there_is_room_for_what_it_asks_and_is_answered() {
    let desk = desk_of_text().await;
    let limits = &desk.raft.config().limits;
    let has_room = || async { timeout(Duration::ZERO, desk.room()).await.is_ok() };
    let done = Outcome::Done { applied: LogIndex(0), body: Bytes::new() };
    for (count, bytes) in [(8192, 0), (1, 64 << 20)] {
        assert!(has_room().await);
        (0..count).for_each(|_| desk.take_in(bytes));
        assert!(!has_room().await, "{count} requests of {bytes} bytes");
        // Whoever waits is told when one of them is answered.
        let answer = async { desk.answer(|answers| answers.put((1, bytes), &done)) };
        let (waited, ()) = tokio::join!(timeout(Duration::from_secs(20), desk.room()), answer);
        waited.expect("there is room again");
        (1..count).for_each(|_| desk.answer(|answers| answers.put((1, bytes), &done)));
        answers(&desk).await;
    }
    // Nor if it does not take in what it is answered.
    desk.gauge.change(0, limits.connection_answers_bytes_max);
    assert!(!has_room().await);
    let take_in = async { desk.gauge.change(limits.connection_answers_bytes_max, 0) };
    let (waited, ()) = tokio::join!(timeout(Duration::from_secs(20), desk.room()), take_in);
    waited.expect("there is room again");
    // When all connections together hold too much, those go on that hold little.
    desk.holdings.requests.change(0, limits.received_bytes_max);
    desk.take_in(FREE_BYTES - 1);
    assert!(has_room().await);
    desk.take_in(1);
    assert!(!has_room().await);
    desk.holdings.requests.change(limits.received_bytes_max, 0);
    assert!(has_room().await);
}

/// A connection on which nothing else comes is known by it to be alive.
#[tokio::test]
async fn a_client_that_asks_whether_a_node_is_there_is_answered() {
    let node = Node::start(Limits::default(), Duration::from_secs(5)).await;
    let mut stream = node.stranger().await;
    let mut output = FrameBuffer::default();
    output.frame(kind::PING, 0, BODY_BYTES_MAX, |_| {}).unwrap();
    stream.write_all_buf(&mut output).await.unwrap();
    let mut input = BytesMut::new();
    let pong = async {
        // A word of who leads may come first.
        while connection::read_frame(&mut stream, &mut input, 1000).await.unwrap().kind != kind::PONG {}
    };
    timeout(Duration::from_secs(20), pong).await.expect("a pong");
}
