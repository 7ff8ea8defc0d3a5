//! What the apply lane takes, for a state on disk.

use std::sync::Mutex;

use outrigger_engine::{Batch, Genesis, Incarnation, LogTime, Node, Payload, Peer, RequestId, Term};

use super::super::environment::Machine;
use super::super::nothing::Nothing;
use super::*;
use crate::config::Limits;
use crate::network::{InProcessNetwork, InProcessTransport, Local, Receive, Transport};
use crate::store::{LogStore, MemoryStore};

/// Of a node with a state on disk.
fn runtime() -> TokioRuntime<Nothing> {
    runtime_of(InProcessNetwork::default().transport(), (1_000, Some(LogIndex::ZERO)))
}

/// Of a node whose log writer is told what to write and never gets to it.
fn runtime_of(transport: InProcessTransport, limits: (u64, Option<LogIndex>)) -> TokioRuntime<Nothing> {
    let store = MemoryStore::new();
    let log = LogAccess { reader: store.reader(), environment: None };
    let (snapshots, _) = SnapshotAccess::new(store.snapshots(), Arc::new(Machine), 0);
    let parts = (Tail::new(LogId::ZERO, 1 << 20), LogWriter::Queue(Arc::default()), log, snapshots);
    let inbox = Arc::new(Inbox::new(Limits::default()));
    TokioRuntime::new(parts, Arc::new(transport), Arc::new(Jobs::new()), inbox, limits)
}

/// Entries of one term.
fn append(write: u64, term: u64, first: u64, len: usize) -> Command {
    let entries = (0..len).map(|_| Payload::command(Bytes::new())).collect();
    let batches = vec![Batch::new(LogId::new(term, first), LogTime(0), entries)];
    Command::AppendInputEntries { write: WriteId(write), batches }
}

fn apply(first: u64, last: LogId) -> Command {
    Command::Apply { first: LogIndex(first), last }
}

/// Whether it was taken.
fn takes(runtime: &mut TokioRuntime<Nothing>, command: &Command) -> bool {
    let handed_back = runtime.run_command(command.clone()).expect("nothing is written here");
    assert!(handed_back.as_ref().is_none_or(|back| back == command), "{handed_back:?} for {command:?}");
    handed_back.is_none()
}

#[tokio::test]
async fn a_state_on_disk_is_given_no_entry_before_that_is_durable_here() {
    let mut runtime = runtime();
    let last = LogId::new(2, 5);
    assert!(takes(&mut runtime, &append(1, 2, 1, 5)));
    assert!(!takes(&mut runtime, &apply(1, last)));
    assert!(!runtime.is_durable(LogIndex::ZERO) && runtime.is_durable(LogIndex(5)), "it is told when it may");
    assert!(takes(&mut runtime, &apply(1, last)));
}

/// A leader may say in one message what takes the place of entries that were durable, and that it is committed.
#[tokio::test]
async fn what_takes_the_place_of_durable_entries_is_not_durable_itself() {
    let mut runtime = runtime();
    assert!(takes(&mut runtime, &append(1, 2, 1, 5)));
    assert!(!runtime.is_durable(LogIndex(5)), "nobody waits");
    assert!(takes(&mut runtime, &apply(1, LogId::new(2, 3))));
    let (after, last) = (LogId::new(2, 3), LogId::new(3, 5));
    assert!(takes(&mut runtime, &Command::TruncateLog { write: WriteId(2), after }));
    assert!(takes(&mut runtime, &append(3, 3, 4, 2)));
    assert!(!takes(&mut runtime, &apply(4, last)), "the log on disk ends at {after}");
    assert!(runtime.is_durable(LogIndex(5)), "it is told when it may");
    assert!(takes(&mut runtime, &apply(4, last)));
}

/// What the state machine has yet to apply is in memory.
#[tokio::test]
async fn entries_are_given_to_the_state_machine_up_to_a_number_and_a_longer_run_alone() {
    let mut runtime = runtime_of(InProcessNetwork::default().transport(), (5, None));
    assert!(takes(&mut runtime, &append(1, 2, 1, 12)));
    assert!(takes(&mut runtime, &apply(1, LogId::new(2, 4))));
    assert!(takes(&mut runtime, &apply(5, LogId::new(2, 5))), "just as many");
    assert!(!takes(&mut runtime, &apply(6, LogId::new(2, 6))));
    assert!(runtime.applied(LogIndex(4)), "it is told when there is room");
    assert!(takes(&mut runtime, &apply(6, LogId::new(2, 6))));
    assert!(!takes(&mut runtime, &apply(7, LogId::new(2, 12))));
    assert!(runtime.applied(LogIndex(6)));
    assert!(takes(&mut runtime, &apply(7, LogId::new(2, 12))), "it is applied alone, or never");
    assert!(!runtime.applied(LogIndex(12)), "nobody waits");
}

/// Else the engine waits for an answer to what was never sent.
#[tokio::test]
async fn that_entries_to_send_have_given_way_to_others_is_reported() {
    let mut runtime = runtime();
    assert!(takes(&mut runtime, &append(1, 2, 1, 5)));
    let (target, epoch) = (NodeId(2), Epoch(1));
    assert!(takes(&mut runtime, &Command::RebuildReplicationStreams { targets: [(target, epoch)].into() }));
    let (request, term, prev, last) = (RequestId(3), Term(2), LogId::new(1, 2), LogId::new(2, 5));
    let replicate =
        Command::Replicate { target, epoch, request, term, prev, last, commit: LogIndex::ZERO, bytes_max: 1_000 };
    assert!(takes(&mut runtime, &replicate));
    assert_eq!(runtime.completions, [Event::ReplicateGone { target, epoch, request }]);
}

/// Whom it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<Peer>>);

impl Receive for Heard {
    fn receive(&self, from: Peer, message: Option<Message>) -> bool {
        if message.is_some() {
            self.0.lock().unwrap().push(from);
        }
        true
    }
    fn refused(&self, _: Peer, _: Option<Incarnation>, _: String) {}
}

/// By it the others tell this directory from another one under its id.
#[tokio::test]
async fn what_is_sent_is_signed_with_what_this_node_knows_of_itself() {
    let network = InProcessNetwork::default();
    let (own, other, heard) = (network.transport(), network.transport(), Arc::new(Heard::default()));
    let local = |node| {
        let peer = Peer::new(NodeId(node), Incarnation { id: node, start: 1, nonce: 1 });
        Local { cluster: 1, peer, client_address: None, peer_address: None }
    };
    own.start(local(1), Arc::new(Heard::default())).unwrap();
    other.start(local(2), Arc::clone(&heard) as Arc<dyn Receive>).unwrap();
    let mut runtime = runtime_of(own, (1_000, None));
    let peers = [1, 2].map(|node| (NodeId(node), Node::default())).into();
    assert!(takes(&mut runtime, &Command::SetPeers { peers }));
    let own = local(1).peer;
    for signature in [own, own.of(Genesis(7)), own.of(Genesis(7)).claiming(Some(LogId::new(2, 9)))] {
        assert!(takes(&mut runtime, &Command::Sign { signature }));
        let message = Message::Committed { term: Term(1), commit: LogIndex(1) };
        assert!(takes(&mut runtime, &Command::SendMessage { target: NodeId(2), message }));
        assert_eq!(heard.0.lock().unwrap().pop(), Some(signature));
    }
}
