//! A stream on a transport whose lane has room when the test says so.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::task::Poll;

use bytes::Bytes;
use outrigger_engine::{LogTime, Membership, Node, NodeMap, Payload, Peer, PeerRefusal, SnapshotId};

use super::super::arrivals::Arrivals;
use super::super::environment::Machine;
use super::super::nothing::Nothing;
use super::*;
use crate::config::Limits;
use crate::network::{Local, Receive};
use crate::store::{Built, LogReader, LogStore, MemoryStore, Moment};

/// A transport that keeps what is sent.
#[derive(Default)]
struct Wire {
    sent: Mutex<Vec<Message>>,
    /// None while there is room.
    full: Mutex<Option<Vec<Waker>>>,
}

impl Wire {
    fn fill(&self) {
        *self.full.lock().unwrap() = Some(Vec::new());
    }

    fn drain(&self) {
        let wakers = self.full.lock().unwrap().take();
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// What was sent: an append by its last index, a commit index with a `c`.
    fn sent(&self) -> String {
        let sent = self.sent.lock().unwrap();
        let said = sent.iter().map(|message| match message {
            Message::AppendEntries(append) => append.batches.last().map_or(append.prev, Batch::last).index.to_string(),
            Message::Committed { commit, .. } => format!("c{commit}"),
            other => panic!("{other:?} is of another lane"),
        });
        said.collect::<Vec<_>>().join(" ")
    }
}

impl Transport for Wire {
    fn start(&self, _: Local, _: Arc<dyn Receive>) -> std::io::Result<()> {
        Ok(())
    }
    fn set_peers(&self, _: &NodeMap<Node>) {}
    fn sign(&self, _: Peer) {}
    fn answer(&self, _: Peer) {}
    fn send(&self, _: NodeId, message: Message) {
        panic!("entries travel in the bulk lane: {message:?}")
    }
    fn poll_ready(&self, _: NodeId, context: &mut Context<'_>) -> Poll<()> {
        match self.full.lock().unwrap().as_mut() {
            None => Poll::Ready(()),
            Some(wakers) => {
                wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
    fn send_bulk(&self, _: NodeId, message: Message) {
        self.sent.lock().unwrap().push(message);
    }
    fn refuse(&self, _: Peer, _: PeerRefusal) {}
    fn client_addresses(&self) -> BTreeMap<NodeId, String> {
        BTreeMap::new()
    }
    fn stop(&self) {}
}

struct Setup {
    wire: Arc<Wire>,
    inbox: Arc<Inbox<Nothing>>,
    stream: Stream<Nothing>,
    _tasks: JoinSet<()>,
}

/// A stream over a log of five entries of term 2, in two batches.
fn setup() -> Setup {
    let mut store = MemoryStore::new();
    store.append(&[batch(1, 3), batch(4, 2)]).unwrap();
    setup_over(store.reader(), &store)
}

fn setup_over(reader: Arc<dyn LogReader>, store: &MemoryStore) -> Setup {
    let wire = Arc::new(Wire::default());
    let transport: Arc<dyn Transport> = Arc::clone(&wire) as _;
    let log = LogAccess { reader, environment: None };
    let inbox = Arc::new(Inbox::new(Limits::default()));
    let mut tasks = JoinSet::new();
    let (snapshots, _) = SnapshotAccess::new(store.snapshots(), Arc::new(Machine), 0);
    let stream = Stream::begin((NodeId(2), Epoch(1)), &transport, (&log, &snapshots), &inbox, &mut tasks);
    Setup { wire, inbox, stream, _tasks: tasks }
}

fn batch(first: u64, len: usize) -> Batch {
    let entries = (0..len).map(|_| Payload::command(Bytes::new())).collect();
    Batch::new(LogId::new(2, first), LogTime(0), entries)
}

fn replicate(request: u64, prev: LogId, last: u64) -> Replicate {
    Replicate {
        epoch: Epoch(1),
        request: RequestId(request),
        term: Term(2),
        prev,
        last: LogId::new(2, last),
        commit: LogIndex(0),
        bytes_max: 1000,
    }
}

fn commit(index: u64) -> Outgoing {
    Outgoing::Committed { term: Term(2), commit: LogIndex(index) }
}

fn sent(request: u64, last: u64, entries: usize) -> Event {
    let bytes = entries * Payload::OVERHEAD_BYTES;
    Event::Sent { target: NodeId(2), epoch: Epoch(1), request: RequestId(request), last: LogIndex(last), bytes }
}

impl Setup {
    /// What the stream's task reports next.
    async fn reported(&self) -> Vec<Notice> {
        let mut arrivals = Arrivals::default();
        poll_fn(|context| self.inbox.poll_take(&mut arrivals, context)).await;
        arrivals.notices
    }

    async fn event(&self) -> Event {
        let mut notices = self.reported().await;
        match (notices.pop(), notices.is_empty()) {
            (Some(Notice::Event(event)), true) => event,
            _ => panic!("one event was expected"),
        }
    }
}

#[tokio::test]
async fn what_needs_no_waiting_is_sent_at_once() {
    let setup = setup();
    let event = setup.stream.send(Outgoing::Entries(replicate(7, LogId::ZERO, 3), vec![batch(1, 3)]));
    assert_eq!(event, Some(sent(7, 3, 3)));
    assert_eq!(setup.stream.send(commit(3)), None);
    assert_eq!(setup.wire.sent(), "3 c3");
}

#[tokio::test]
async fn what_waits_keeps_its_order_and_a_full_stream_tells_of_room() {
    let setup = setup();
    setup.wire.fill();
    assert_eq!(setup.stream.send(Outgoing::Entries(replicate(7, LogId::ZERO, 3), vec![batch(1, 3)])), None);
    for index in 1..8 {
        assert!(!setup.stream.is_full(), "with {index} waiting");
        setup.stream.send(commit(index));
    }
    assert!(setup.stream.is_full());
    assert_eq!(setup.wire.sent(), "");
    setup.wire.drain();
    let notices = setup.reported().await;
    assert!(
        matches!(&notices[..], [Notice::Event(event), Notice::Room(Lane::Peer(NodeId(2)))] if *event == sent(7, 3, 3))
    );
    assert!(!setup.stream.is_full());
    assert_eq!(setup.wire.sent(), "3 c1 c2 c3 c4 c5 c6 c7");
}

#[tokio::test]
async fn what_memory_has_let_go_of_comes_from_the_log() {
    let setup = setup();
    let prev = LogId::new(2, 2);
    assert_eq!(setup.stream.send(Outgoing::FromLog(replicate(7, prev, 9), LogIndex(5))), None);
    assert_eq!(setup.event().await, sent(7, 5, 3));
    assert_eq!(setup.stream.send(Outgoing::FromLog(replicate(8, prev, 2), LogIndex(2))), None, "a probe");
    assert_eq!(setup.event().await, sent(8, 2, 0));
}

#[tokio::test]
async fn other_entries_in_the_log_are_not_sent() {
    let setup = setup();
    let gone = |request| Event::ReplicateGone { target: NodeId(2), epoch: Epoch(1), request: RequestId(request) };
    setup.stream.send(Outgoing::FromLog(replicate(7, LogId::new(1, 2), 5), LogIndex(5)));
    assert_eq!(setup.event().await, gone(7), "prev is another entry");
    let last = LogId::new(3, 5);
    setup.stream.send(Outgoing::FromLog(Replicate { last, ..replicate(8, LogId::new(2, 2), 5) }, LogIndex(5)));
    assert_eq!(setup.event().await, gone(8), "last is another entry");
    assert_eq!(setup.wire.sent(), "");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_fails_the_node() {
    let setup = setup();
    setup.stream.send(Outgoing::FromLog(replicate(7, LogId::new(2, 8), 9), LogIndex(9)));
    assert!(matches!(setup.event().await, Event::StorageFailed { .. }));
}

/// A log that is purged through an entry just before that is read.
struct PurgedMeanwhile {
    store: Mutex<MemoryStore>,
    reader: Arc<dyn LogReader>,
    through: LogId,
}

impl LogReader for PurgedMeanwhile {
    fn batches(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Result<Vec<Batch>, StorageError> {
        let mut store = self.store.lock().unwrap();
        store.purge(self.through)?;
        store.flush()?;
        self.reader.batches(from, through, bytes_max)
    }

    fn purged(&self) -> LogId {
        self.reader.purged()
    }
}

/// A log that answers something else than it was asked for.
struct Astray(Box<dyn Fn() -> Vec<Batch> + Send + Sync>);

impl LogReader for Astray {
    fn batches(&self, _: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Batch>, StorageError> {
        Ok(self.0())
    }

    fn purged(&self) -> LogId {
        LogId::ZERO
    }
}

async fn said_of(log: impl Fn() -> Vec<Batch> + Send + Sync + 'static) -> String {
    let setup = setup_over(Arc::new(Astray(Box::new(log))), &MemoryStore::new());
    setup.stream.send(Outgoing::FromLog(replicate(7, LogId::ZERO, 5), LogIndex(5)));
    let said = tokio::time::timeout(std::time::Duration::from_secs(60), setup.event());
    match said.await.expect("it says so") {
        Event::StorageFailed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_log_that_answers_more_than_it_was_asked_for_fails_the_node() {
    let said = said_of(|| vec![batch(1, 6)]).await;
    assert_eq!(said, "the log answered 2/1..6 where an entry from 0/1 to index 5 should be");
}

#[tokio::test]
async fn a_stream_that_panics_fails_the_node() {
    assert_eq!(said_of(|| panic!("out of order")).await, "the replication stream to node 2 has panicked");
}

/// Of the store's snapshots, all of the same entries.
fn take(store: &MemoryStore, content: &[u8]) -> Arc<Snapshot> {
    let members = Membership::new([(NodeId(1), Node::default())], []);
    let (last, membership_at, log_time) = (LogId::new(2, 5), LogId::new(2, 1), LogTime(0));
    let of = Moment { last, log_time, membership_at, membership: Arc::new(members) };
    match store.snapshots().build(&of, &mut |out| out.write_all(content)) {
        Ok(Built::Snapshot(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_snapshot_whose_place_another_one_of_the_same_entries_has_taken_is_told_to_be_unreadable() {
    let store = MemoryStore::new();
    let setup = setup_over(store.reader(), &store);
    let send = |snapshot: &Arc<Snapshot>, request, bytes_max| {
        let (epoch, request, snapshot) = (Epoch(1), RequestId(request), Arc::clone(snapshot));
        let piece = SendSnapshot { epoch, request, term: Term(2), leader: NodeId(1), snapshot, offset: 0, bytes_max };
        assert_eq!(setup.stream.send(Outgoing::Snapshot(piece)), None);
    };
    let first = take(&store, b"first");
    send(&first, 7, 9);
    let is_sent = |event| matches!(event, Event::SnapshotSent { request: RequestId(7), .. });
    assert!(is_sent(setup.event().await));
    let second = take(&store, b"second");
    for (request, bytes_max) in [(8, 0), (9, 9)] {
        send(&first, request, bytes_max);
        match setup.event().await {
            Event::SnapshotUnreadable { id, reason, .. } if id == first.id => {
                assert_eq!(reason, "another one of the same entries has taken its place");
            }
            other => panic!("{other:?}"),
        }
    }
    let older = Arc::new(Snapshot { id: SnapshotId { last: LogId::new(2, 4), ..second.id }, ..(*second).clone() });
    send(&older, 10, 9);
    assert!(matches!(setup.event().await, Event::ReplicateGone { .. }), "RaftCore hears of the next one soon");
}

#[tokio::test]
async fn entries_that_are_purged_while_they_are_read_are_gone_and_no_damage() {
    for purged in [2, 3] {
        let mut store = MemoryStore::new();
        store.append(&[batch(1, 3), batch(4, 2)]).unwrap();
        let (reader, through) = (store.reader(), LogId::new(2, purged));
        let log = PurgedMeanwhile { store: Mutex::new(store.clone()), reader, through };
        let setup = setup_over(Arc::new(log), &store);
        setup.stream.send(Outgoing::FromLog(replicate(7, LogId::new(2, 2), 5), LogIndex(5)));
        let gone = Event::ReplicateGone { target: NodeId(2), epoch: Epoch(1), request: RequestId(7) };
        assert_eq!(setup.event().await, gone, "purged through {purged}");
    }
}

/// Lets the stream's task run as far as it comes.
async fn let_it_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_could_be_sent_at_once_does_not_overtake_what_is_being_read() {
    let setup = setup();
    setup.stream.send(Outgoing::FromLog(replicate(7, LogId::new(2, 2), 5), LogIndex(5)));
    assert_eq!(setup.stream.send(Outgoing::Entries(replicate(8, LogId::new(2, 5), 6), vec![batch(6, 1)])), None);
    let_it_run().await;
    assert_eq!(setup.wire.sent(), "5 6");
}

/// Another directory may have taken the peer's place, or this node leads no more.
#[tokio::test]
async fn a_stream_that_has_ended_sends_nothing_any_more() {
    let Setup { wire, inbox: _inbox, stream, _tasks } = setup();
    wire.fill();
    stream.send(commit(3));
    let_it_run().await;
    drop(stream);
    wire.drain();
    let_it_run().await;
    assert_eq!(wire.sent(), "");
}

#[tokio::test]
async fn nothing_is_sent_before_the_transport_has_room() {
    let setup = setup();
    setup.wire.fill();
    setup.stream.send(commit(3));
    let_it_run().await;
    assert_eq!(setup.wire.sent(), "");
    setup.wire.drain();
    let_it_run().await;
    assert_eq!(setup.wire.sent(), "c3");
}

#[tokio::test]
async fn entries_that_are_purged_already_or_that_follow_another_one_than_is_purged_are_gone() {
    let mut store = MemoryStore::new();
    store.append(&[batch(1, 3), batch(4, 2)]).unwrap();
    store.purge(LogId::new(2, 3)).unwrap();
    store.flush().unwrap();
    let setup = setup_over(store.reader(), &store);
    let gone = |request| Event::ReplicateGone { target: NodeId(2), epoch: Epoch(1), request: RequestId(request) };
    for (request, prev) in [(7, LogId::new(2, 2)), (8, LogId::new(1, 3))] {
        setup.stream.send(Outgoing::FromLog(replicate(request, prev, 5), LogIndex(5)));
        assert_eq!(setup.event().await, gone(request), "behind {prev}");
    }
    setup.stream.send(Outgoing::FromLog(replicate(9, LogId::new(2, 3), 5), LogIndex(5)));
    assert_eq!(setup.event().await, sent(9, 5, 2));
}

/// Cut short by a limit, the end of what was read says nothing of the last one but that it is no earlier.
#[tokio::test]
async fn entries_of_a_later_term_than_the_last_that_is_wanted_are_gone() {
    let setup = setup();
    let last = LogId::new(1, 9);
    setup.stream.send(Outgoing::FromLog(Replicate { last, ..replicate(7, LogId::new(2, 2), 9) }, LogIndex(5)));
    let gone = Event::ReplicateGone { target: NodeId(2), epoch: Epoch(1), request: RequestId(7) };
    assert_eq!(setup.event().await, gone);
}
