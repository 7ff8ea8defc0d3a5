//! A client against nodes that are played by hand: what it does when they break, refuse, hang or send it elsewhere.

use std::net::SocketAddr;

use bytes::BytesMut;
use outrigger_engine::{ChangeMembers, Membership, NodeId, Refusal, RoleKind, Term};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::protocol::Request;
use super::*;
use crate::StateMachine;
use crate::network::connection;
use crate::network::frame::{self, FrameBuffer, kind};

mod sessions;

/// Adds up.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sum(u64);

impl StateMachine for Sum {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, add: u64) -> u64 {
        self.0 += add;
        self.0
    }
}

impl Query for Sum {
    type Query = String;
    type Answer = u64;

    fn query(&self, _: String) -> u64 {
        self.0
    }
}

/// A node that is played by hand.
struct Played {
    listener: TcpListener,
    address: String,
}

impl Played {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// Takes a connection and shakes hands.
    async fn accept(&self) -> Conversation {
        self.accept_as(7).await
    }

    async fn accept_as(&self, cluster: u64) -> Conversation {
        let (stream, _): (TcpStream, SocketAddr) = self.listener.accept().await.unwrap();
        let mut conversation = Conversation { stream, input: BytesMut::new() };
        let hello = conversation.hear().await.unwrap();
        protocol::hello(hello).unwrap();
        conversation.say(|output| protocol::put_welcome(cluster, NodeId(1), output).unwrap()).await;
        conversation
    }
}

struct Conversation {
    stream: TcpStream,
    input: BytesMut,
}

impl Conversation {
    async fn hear(&mut self) -> Option<frame::Frame> {
        connection::read_frame(&mut self.stream, &mut self.input, 1 << 20).await.ok()
    }

    async fn say(&mut self, words: impl FnOnce(&mut FrameBuffer)) {
        let mut output = FrameBuffer::default();
        words(&mut output);
        self.stream.write_all_buf(&mut output).await.unwrap();
    }

    /// The next request; pings are answered.
    async fn request(&mut self) -> Request {
        loop {
            let frame = self.hear().await.expect("a request");
            match frame.kind {
                protocol::REQUEST => return Request::decode(frame.body).unwrap(),
                kind::PING => self.say(|output| output.frame(kind::PONG, 0, 100, |_| {}).unwrap()).await,
                kind => panic!("a request, not kind {kind}"),
            }
        }
    }

    async fn reply(&mut self, id: u64, outcome: Outcome) {
        self.say(|output| outcome.encode(id, 1 << 20, output)).await;
    }

    /// Serves one write as if its response were this.
    async fn serve(&mut self, response: u64) {
        let request = self.request().await;
        self.reply(request.id, done(response)).await;
    }
}

fn done(value: u64) -> Outcome {
    Outcome::Done { applied: LogIndex(0), body: postcard::to_stdvec(&value).unwrap().into() }
}

async fn client(nodes: &[&Played]) -> Client<Sum> {
    Client::connect(nodes.iter().map(|node| node.address.clone())).await.unwrap().without_sessions()
}

fn reason() -> String {
    "because".to_owned()
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let play = async {
        let mut conversation = node.accept().await;
        let (first, second) = (conversation.request().await, conversation.request().await);
        conversation.reply(second.id, done(second.body[0].into())).await;
        conversation.reply(99, done(0)).await;
        conversation.reply(first.id, done(first.body[0].into())).await;
    };
    let (one, two, ()) = tokio::join!(client.write(1), client.write(2), play);
    assert_eq!((one, two), (Ok(1), Ok(2)));
}

/// Found by killing real processes under writers of little patience: the node was slow to shake hands, the caller was told
/// that nothing had been done, and the request left after all.
#[tokio::test]
async fn a_write_that_was_given_up_before_it_left_is_never_sent() {
    let node = Played::listen().await;
    let patient = client(&[&node]).await;
    let hasty = patient.clone().with_timeout(Duration::from_millis(50));
    let refused = hasty.write(5).await.unwrap_err();
    assert_eq!(refused.outcome(), crate::Outcome::NotApplied, "{refused}");
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        conversation.reply(request.id, done(request.body[0].into())).await;
    };
    let (written, ()) = tokio::join!(patient.write(6), play);
    assert_eq!(written, Ok(6), "the first request that leaves is the one that somebody waits for");
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_unknown_at_once_and_never_sent_again() {
    let (node, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node, &other]).await;
    let play = async {
        let mut conversation = node.accept().await;
        conversation.request().await
    };
    let start = Instant::now();
    let (outcome, _) = tokio::join!(client.write(1), play);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!((error.outcome(), error.is_retryable()), (crate::Outcome::Unknown, false));
    assert!(start.elapsed() < PATIENCE / 2);
    // The next write goes to the other endpoint, which has seen nothing of the first.
    let play = async { other.accept().await.serve(5).await };
    assert_eq!(tokio::join!(client.write(2), play).0, Ok(5));
}

#[tokio::test]
async fn a_query_whose_connection_breaks_is_asked_elsewhere() {
    let (node, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node, &other]).await;
    let play = async {
        node.accept().await.request().await;
        other.accept().await.serve(5).await;
    };
    assert_eq!(tokio::join!(client.query(String::new()), play).0, Ok(5));
}

#[tokio::test]
async fn a_write_that_never_left_is_tried_elsewhere() {
    let (gone, node) = (Played::listen().await, Played::listen().await);
    let client = client(&[&gone, &node]).await;
    drop(gone);
    let play = async { node.accept().await.serve(5).await };
    assert_eq!(tokio::join!(client.write(1), play).0, Ok(5));
}

#[tokio::test]
async fn each_outcome_is_what_the_node_says() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let play = async {
        let mut conversation = node.accept().await;
        // Not now, not now, done: the client does not give up.
        for outcome in [Outcome::NotNow { reason: reason() }, Outcome::NotNow { reason: reason() }, done(3)] {
            let request = conversation.request().await;
            conversation.reply(request.id, outcome).await;
        }
        for outcome in [Outcome::Never { reason: reason() }, Outcome::Unknown { reason: reason() }] {
            let request = conversation.request().await;
            conversation.reply(request.id, outcome).await;
        }
        let mut garbage = conversation.request().await;
        garbage.body = Bytes::new();
        conversation.reply(garbage.id, Outcome::Done { applied: LogIndex(0), body: garbage.body }).await;
    };
    let asks = async {
        assert_eq!(client.write(1).await, Ok(3));
        assert_eq!(client.write(1).await, Err(ClientError::Refused { reason: reason() }));
        assert_eq!(client.write(1).await, Err(ClientError::Unknown { reason: reason() }));
        assert!(matches!(client.write(1).await, Err(ClientError::Decode { .. })));
    };
    tokio::join!(asks, play);
}

#[tokio::test]
async fn writes_follow_the_leader_and_local_questions_stay() {
    let (node, leader) = (Played::listen().await, Played::listen().await);
    // That the leader was named too makes it no home.
    let client = client(&[&node, &leader]).await;
    let told = Leader { term: Term(1), address: leader.address.clone() };
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        conversation.say(|output| told.encode(output).unwrap()).await;
        conversation.reply(request.id, done(1)).await;
        let mut at_leader = leader.accept().await;
        at_leader.serve(2).await;
        at_leader.serve(3).await;
        assert_eq!(conversation.request().await.operation, Operation::QueryLocal);
    };
    let asks = async {
        assert_eq!(client.write(1).await, Ok(1));
        assert_eq!(client.write(1).await, Ok(2));
        assert_eq!(client.query(String::new()).await, Ok(3));
        let local = client.clone().with_timeout(Duration::from_millis(500)).query_local(String::new()).await;
        assert!(matches!(&local, Err(ClientError::NotAnswered { .. })), "{local:?}");
        assert!(local.unwrap_err().to_string().starts_with("not answered within"));
    };
    tokio::join!(asks, play);
}

#[tokio::test]
async fn what_may_be_stale_is_asked_at_home_and_of_the_leader_only_where_that_lags() {
    let (node, leader) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node]).await;
    let told = Leader { term: Term(1), address: leader.address.clone() };
    let consistency = Consistency::Stale { staleness_max: Duration::from_secs(9) };
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        conversation.say(|output| told.encode(output).unwrap()).await;
        conversation.reply(request.id, done(1)).await;
        for outcome in [done(2), Outcome::NotNow { reason: "its state is too old".to_owned() }] {
            let request = conversation.request().await;
            assert_eq!(request.operation, Operation::Query { consistency });
            conversation.reply(request.id, outcome).await;
        }
        leader.accept().await.serve(3).await;
    };
    let asks = async {
        assert_eq!(client.write(1).await, Ok(1));
        assert_eq!(client.query_with(consistency, String::new()).await, Ok(2));
        assert_eq!(client.query_with(consistency, String::new()).await, Ok(3));
    };
    tokio::join!(asks, play);
}

/// Found by reading: the first endpoint lagged and knew of no leader, and was asked until the time was over.
#[tokio::test]
async fn what_may_be_stale_is_asked_of_another_where_the_first_lags_and_knows_no_leader() {
    let (lagging, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&lagging, &other]).await;
    let consistency = Consistency::Stale { staleness_max: Duration::from_secs(9) };
    let play = async {
        let mut conversation = lagging.accept().await;
        let request = conversation.request().await;
        conversation.reply(request.id, Outcome::NotNow { reason: "its state is too old".to_owned() }).await;
        let mut conversation = other.accept().await;
        conversation.serve(2).await;
        conversation.serve(3).await;
    };
    let asks = async {
        assert_eq!(client.query_with(consistency, String::new()).await, Ok(2));
        assert_eq!(client.query_with(consistency, String::new()).await, Ok(3), "that one is its home from now on");
    };
    tokio::join!(asks, play);
}

/// Found by reading: such a query was run again and again, on every node, until the time was over.
#[tokio::test]
async fn a_query_whose_answer_cannot_be_sent_is_asked_once() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        conversation.reply(request.id, Outcome::Unknown { reason: reason() }).await;
    };
    let (answer, ()) = tokio::join!(client.query(String::new()), play);
    assert_eq!(answer, Err(ClientError::Refused { reason: reason() }));
}

#[tokio::test]
async fn a_timeout_of_all_time_is_a_long_one() {
    let node = Played::listen().await;
    let client = client(&[&node]).await.with_timeout(Duration::MAX);
    let play = async { node.accept().await.serve(5).await };
    assert_eq!(tokio::join!(client.write(1), play).0, Ok(5));
}

#[tokio::test]
async fn a_told_leader_that_cannot_be_reached_is_done_without() {
    let (node, hidden) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node]).await;
    let told = Leader { term: Term(1), address: hidden.address.clone() };
    drop(hidden);
    let play = async {
        let mut conversation = node.accept().await;
        conversation.say(|output| told.encode(output).unwrap()).await;
        conversation.serve(1).await;
        conversation.serve(2).await;
    };
    let asks = async { (client.write(1).await, client.write(1).await) };
    assert_eq!(tokio::join!(asks, play).0, (Ok(1), Ok(2)));
}

#[tokio::test]
async fn a_node_that_hangs_is_left_for_another() {
    let (node, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node, &other]).await;
    let play = async {
        // It takes the request in, and says nothing any more, not even to pings.
        let mut conversation = node.accept().await;
        conversation.request().await;
        other.accept().await.serve(5).await;
        drop(conversation);
    };
    assert_eq!(tokio::join!(client.query(String::new()), play).0, Ok(5));
}

/// Found by stopping real processes: their kernels still take connections, and each command waited a second for nothing.
#[tokio::test]
async fn an_endpoint_that_is_silent_costs_its_head_start_once_and_is_never_handed_a_write() {
    let (silent, node) = (Played::listen().await, Played::listen().await);
    let client = client(&[&silent, &node]).await;
    let play = async {
        let mut conversation = node.accept().await;
        for sum in 1..=3 {
            conversation.serve(sum).await;
        }
    };
    let asks = async {
        let start = Instant::now();
        assert_eq!(client.write(1).await, Ok(1));
        let first = start.elapsed();
        assert!(first >= HEAD_START && first < Duration::from_millis(700), "{first:?}");
        let start = Instant::now();
        assert_eq!(client.write(1).await, Ok(2));
        assert_eq!(client.write(1).await, Ok(3));
        assert!(start.elapsed() < HEAD_START, "who answered is asked first: {:?}", start.elapsed());
    };
    tokio::join!(asks, play);
    // When it wakes up, it finds a hello and nothing behind it.
    let mut conversation = silent.accept().await;
    drop(client);
    assert!(conversation.hear().await.is_none(), "the silent endpoint was handed a request");
}

#[tokio::test]
async fn one_endpoint_that_is_slow_to_say_hello_is_waited_for() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let play = async {
        tokio::time::sleep(3 * HEAD_START).await;
        node.accept().await.serve(1).await;
    };
    assert_eq!(tokio::join!(client.write(1), play).0, Ok(1));
}

#[tokio::test]
async fn a_leader_that_is_silent_is_passed_over() {
    let (node, silent) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node]).await;
    let told = Leader { term: Term(1), address: silent.address.clone() };
    let play = async {
        let mut conversation = node.accept().await;
        conversation.say(|output| told.encode(output).unwrap()).await;
        for sum in 1..=3 {
            conversation.serve(sum).await;
        }
    };
    let asks = async {
        assert_eq!(client.write(1).await, Ok(1));
        let start = Instant::now();
        assert_eq!((client.write(1).await, client.write(1).await), (Ok(2), Ok(3)));
        assert!(start.elapsed() < 5 * HEAD_START, "{:?}", start.elapsed());
    };
    tokio::join!(asks, play);
}

#[tokio::test]
async fn the_time_is_over_when_it_is_over() {
    let node = Played::listen().await;
    let patience = Duration::from_millis(300);
    let client = client(&[&node]).await.with_timeout(patience);
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        assert!(request.patience <= patience && !request.patience.is_zero());
        conversation.request().await
    };
    let start = Instant::now();
    let asks = async {
        assert!(matches!(client.write(1).await, Err(ClientError::Unknown { .. })));
        let error = client.query(String::new()).await.unwrap_err();
        assert_eq!(error.outcome(), crate::Outcome::NotApplied, "{error}");
    };
    tokio::join!(asks, play);
    assert!(start.elapsed() >= 2 * patience && start.elapsed() < 10 * patience);
}

#[tokio::test]
async fn nobody_there_is_an_error_in_time() {
    let gone = Played::listen().await;
    let client = client(&[&gone]).await.with_timeout(Duration::from_millis(200));
    drop(gone);
    let error = client.write(1).await.unwrap_err();
    assert!(matches!(error, ClientError::NotApplied { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("127.0.0.1"), "it names the endpoint: {error}");
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_refused() {
    let (node, stranger) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node, &stranger]).await.with_timeout(Duration::from_millis(500));
    let play = async {
        let mut conversation = node.accept_as(7).await;
        conversation.serve(1).await;
        drop(conversation);
        drop(node);
        loop {
            let mut conversation = stranger.accept_as(8).await;
            assert!(conversation.hear().await.is_none(), "it is asked something");
        }
    };
    let asks = async {
        assert_eq!(client.write(1).await, Ok(1));
        client.query(String::new()).await.unwrap_err()
    };
    tokio::select! {
        error = asks => assert!(matches!(error, ClientError::NotAnswered { .. }), "{error}"),
        () = play => {}
    }
}

#[tokio::test]
async fn garbage_from_a_node_ends_the_connection_and_not_the_client() {
    let (node, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&node, &other]).await;
    let play = async {
        let mut conversation = node.accept().await;
        conversation.request().await;
        conversation.stream.write_all(&[0xff; 100]).await.unwrap();
        other.accept().await.serve(5).await;
    };
    assert_eq!(tokio::join!(client.query(String::new()), play).0, Ok(5));
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    for wrong in ["", "host", ":7201", "host:", "host:port", "host:99999"] {
        let refused = Client::<Sum>::connect([wrong]).await.map(drop);
        assert_eq!(refused, Err(ClientError::Endpoint { endpoint: wrong.to_owned() }));
    }
    let none: [String; 0] = [];
    assert!(Client::<Sum>::connect(none).await.is_err());
    assert!(Client::<Sum>::connect(["localhost:1", "[::1]:2", "10.0.0.1:3"]).await.is_ok());
}

/// What a node says of itself.
fn status() -> NodeStatus {
    NodeStatus {
        node: NodeId(4),
        role: RoleKind::Learner,
        term: Term(2),
        leader: None,
        last: LogId::new(2, 9),
        flushed: LogIndex(9),
        snapshot: LogId::ZERO,
        purged: LogId::ZERO,
        committed: LogIndex(8),
        applied: LogIndex(7),
        membership: Membership::default(),
        membership_at: LogId::ZERO,
        version: Default::default(),
        versions: BTreeMap::new(),
        matched: BTreeMap::new(),
        brought: BTreeMap::new(),
        client_addresses: BTreeMap::new(),
        fault: None,
    }
}

#[tokio::test]
async fn a_status_is_that_of_the_endpoint() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let status = status();
    let play = async {
        let mut conversation = node.accept().await;
        let request = conversation.request().await;
        assert_eq!(request.operation, Operation::Status);
        let body = status.encode();
        conversation.reply(request.id, Outcome::Done { applied: LogIndex(0), body }).await;
    };
    assert_eq!(tokio::join!(client.status(), play).0, Ok(status.clone()));
}

/// Plays a leader that does not know what became of a change, and answers in turn when it is asked to change nothing.
async fn play_lost_change(node: &Played, told: &[Result<&Membership, Refusal>]) -> Conversation {
    let mut conversation = node.accept().await;
    let request = conversation.request().await;
    assert_eq!(request.operation, Operation::ChangeMembers);
    conversation.reply(request.id, Outcome::Unknown { reason: reason() }).await;
    for answer in told {
        answer_change_of_nothing(&mut conversation, *answer).await;
    }
    conversation
}

/// Who the members are is asked of a leader, which must confirm it: what any node says of itself may be of other times.
async fn answer_change_of_nothing(conversation: &mut Conversation, answer: Result<&Membership, Refusal>) {
    let request = conversation.request().await;
    assert_eq!(request.operation, Operation::ChangeMembers);
    let asked = members::decode_request(request.body).unwrap();
    assert_eq!(asked, ChangeMembers::Batch(Vec::new()).into());
    let answer = answer.map(|membership| MembersChanged { at: LogId::new(2, 8), membership: membership.clone() });
    let body = members::encode_answer(&answer);
    conversation.reply(request.id, Outcome::Done { applied: LogIndex(0), body }).await;
}

/// Members 1 and 2, a change that adds the third, and what the members are in the end.
fn addition() -> (Membership, ChangeMembers, Membership) {
    let node = |id: u64| (NodeId(id), outrigger_engine::Node { address: format!("node{id}:1") });
    let (before, change) = (Membership::new([node(1), node(2)], []), ChangeMembers::AddVoters([node(3)].into()));
    let end = before.changed(&change, false).unwrap().joint().settled();
    (before, change, end)
}

/// Its leader has died, or handed over: the next one ends it.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_followed_until_the_members_are_committed_as_wanted() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let (before, change, end) = addition();
    let under_way = Err(Refusal::ChangeInProgress { at: LogIndex(7) });
    let told = [Err(Refusal::NotReady), Ok(&before), under_way, under_way, Ok(&end)];
    let (changed, _conversation) = tokio::join!(client.change_members(change), play_lost_change(&node, &told));
    assert_eq!(changed, Ok(MembersChanged { at: LogId::new(2, 8), membership: end }));
}

#[tokio::test]
async fn a_change_of_which_nothing_is_to_be_seen_is_not_followed_for_ever() {
    let node = Played::listen().await;
    let client = client(&[&node]).await.with_timeout(Duration::from_secs(600));
    let (before, change, _) = addition();
    let play = async {
        let mut conversation = play_lost_change(&node, &[]).await;
        loop {
            answer_change_of_nothing(&mut conversation, Ok(&before)).await;
        }
    };
    tokio::select! {
        changed = client.change_members(change) => assert_eq!(changed, Err(ClientError::Unknown { reason: reason() })),
        () = play => {}
    }
}

/// The members may be as wanted by somebody else's change, which the caller did not want to mistake for its own.
#[tokio::test]
async fn a_change_with_preconditions_is_not_followed() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let (_, change, _) = addition();
    let preconditions = Preconditions { term: Some(Term(2)), ..Preconditions::default() };
    let request = ChangeRequest { preconditions, ..change.into() };
    let (changed, _conversation) = tokio::join!(client.change_members(request), play_lost_change(&node, &[]));
    assert_eq!(changed, Err(ClientError::Unknown { reason: reason() }));
}

/// It would be tried again and again, and never fit into a frame.
#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_anybody_is_asked() {
    let node = Played::listen().await;
    let client = client(&[&node]).await.with_timeout(Duration::from_secs(1));
    let refused = client.query("x".repeat(REQUEST_BYTES_MAX)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }), "{refused}");
}
