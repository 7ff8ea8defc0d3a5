//! What the apply lane takes, for a state on disk.

use outrigger_engine::{Batch, LogTime, Payload};

use super::super::environment::Machine;
use super::super::nothing::Nothing;
use super::*;
use crate::config::Limits;
use crate::network::InProcessNetwork;
use crate::store::{LogStore, MemoryStore};

/// Of a node with a state on disk, whose log writer is told what to write and never gets to it.
fn runtime() -> TokioRuntime<Nothing> {
    let store = MemoryStore::new();
    let log = LogAccess { reader: store.reader(), environment: None };
    let (snapshots, _) = SnapshotAccess::new(store.snapshots(), Arc::new(Machine), 0);
    let parts = (Tail::new(LogId::ZERO, 1 << 20), LogWriter::Queue(Arc::default()), log, snapshots);
    let transport = Arc::new(InProcessNetwork::default().transport());
    let inbox = Arc::new(Inbox::new(Limits::default()));
    TokioRuntime::new(parts, transport, Arc::new(Jobs::new()), inbox, (1_000, Some(LogIndex::ZERO)))
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
