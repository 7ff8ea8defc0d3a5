//! The log lane on a store that writes down what it is asked for, and fails when it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use outrigger_engine::{LogTime, NodeId, Payload, Restored, Term};
use outrigger_log::{FaultyDisk, OpenOptions};

use super::*;
use crate::runtime::environment::Machine;
use crate::store::{DurableStore, MemoryStore, SnapshotStore};

/// What a store was asked for, in order.
#[derive(Clone, Default)]
struct Notes {
    said: Arc<Mutex<Vec<&'static str>>>,
    /// Held by a test to keep the store busy in its flush.
    busy: Arc<Mutex<()>>,
    fails: bool,
    /// How often the log was told that nothing had been written for a while.
    rests: Arc<AtomicUsize>,
}

impl Notes {
    fn say(&self, what: &'static str) -> Result<(), StorageError> {
        self.said.lock().unwrap().push(what);
        Ok(())
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().join(" ")
    }
}

impl LogReader for Notes {
    fn batches(&self, from: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Batch>, StorageError> {
        let later = LogId { term: Term(1), index: from.next() };
        Ok(vec![Batch::new(later, LogTime(0), Arc::new([Payload::blank()]))])
    }
    fn purged(&self) -> LogId {
        LogId::ZERO
    }
}

impl LogStore for Notes {
    fn restore(&mut self) -> Result<Restored, StorageError> {
        Ok(Restored::default())
    }
    fn save_vote(&mut self, _: Vote) -> Result<(), StorageError> {
        self.say("vote")
    }
    fn save_peer(&mut self, _: Peer) -> Result<(), StorageError> {
        self.say("peer")
    }
    fn append(&mut self, _: &[Batch]) -> Result<(), StorageError> {
        self.say("append")
    }
    fn truncate(&mut self, _: LogId) -> Result<(), StorageError> {
        self.say("truncate")
    }
    fn purge(&mut self, _: LogId) -> Result<(), StorageError> {
        self.say("purge")
    }
    fn save_committed(&mut self, _: LogIndex) -> Result<(), StorageError> {
        self.say("committed")
    }
    fn save_refusal(&mut self, _: Peer, _: Incarnation) -> Result<(), StorageError> {
        self.say("refusal")
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        drop(self.busy.lock().unwrap());
        if self.fails { Err(StorageError::new("the disk is gone")) } else { self.say("flush") }
    }
    fn rest(&mut self) -> Result<(), StorageError> {
        self.rests.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }
    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        Arc::new(MemoryStore::new())
    }
}

fn vote(id: u64) -> Write {
    Write::Vote(WriteId(id), Vote { term: Term(id), voted_for: Some(NodeId(1)) })
}

fn append(id: u64) -> Write {
    let entries = Arc::new([Payload::command(Bytes::new())]);
    Write::Append(WriteId(id), vec![Batch::new(LogId::new(1, id), LogTime(0), entries)])
}

fn started(store: &Notes) -> (Arc<WriteQueue>, JoinHandle<()>, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel();
    let report = move |event| sender.send(event).unwrap();
    let (queue, thread) = spawn("log".into(), Box::new(store.clone()), || (), report).unwrap();
    (queue, thread, events)
}

#[test]
fn writes_that_queue_up_while_the_disk_syncs_share_the_next_sync() {
    let store = Notes::default();
    let disk_is_busy = store.busy.lock().unwrap();
    let (queue, thread, events) = started(&store);
    queue.push(vote(1));
    while store.said() != "vote" {
        std::thread::yield_now();
    }
    for write in [append(2), Write::Committed(LogIndex(1)), append(3), Write::Truncate(WriteId(4), LogId::new(1, 2))] {
        queue.push(write);
    }
    drop(disk_is_busy);
    assert_eq!(events.recv().unwrap(), Event::LogFlushed { write: WriteId(1) });
    assert_eq!(events.recv().unwrap(), Event::LogFlushed { write: WriteId(4) });
    assert_eq!(store.said(), "vote flush append committed append truncate flush");
    queue.close();
    thread.join().unwrap();
}

#[test]
fn a_commit_index_alone_waits_for_the_next_write_or_the_end() {
    let store = Notes::default();
    let (queue, thread, events) = started(&store);
    queue.push(Write::Committed(LogIndex(1)));
    queue.push(vote(1));
    assert_eq!(events.recv().unwrap(), Event::LogFlushed { write: WriteId(1) });
    queue.push(Write::Committed(LogIndex(2)));
    queue.close();
    thread.join().unwrap();
    assert_eq!(store.said(), "committed vote flush committed flush");
}

#[test]
fn a_log_rests_once_when_nothing_is_written_for_a_while_and_at_the_end() {
    let store = Notes::default();
    let rests = || store.rests.load(Ordering::SeqCst);
    let (queue, thread, events) = started(&store);
    for id in 1..=2 {
        queue.push(vote(id));
        assert_eq!(events.recv().unwrap(), Event::LogFlushed { write: WriteId(id) });
        while rests() < usize::try_from(id).unwrap() {
            std::thread::yield_now();
        }
    }
    queue.close();
    thread.join().unwrap();
    assert!((3..=4).contains(&rests()), "{} rests: before and behind the writes, and at the end", rests());
}

#[test]
fn a_failed_sync_is_reported_once_and_nothing_is_written_after_it() {
    let store = Notes { fails: true, ..Notes::default() };
    let (queue, thread, events) = started(&store);
    queue.push(append(1));
    assert_eq!(events.recv().unwrap(), Event::StorageFailed { reason: "the disk is gone".into() });
    thread.join().unwrap();
    queue.push(append(2));
    assert!(events.recv().is_err());
    assert_eq!(store.said(), "append");
}

#[test]
fn a_store_that_does_not_block_is_written_at_once() {
    let store = Notes::default();
    let mut writer = LogWriter::Inline { store: Box::new(store.clone()), flushed: None };
    writer.submit(append(1)).unwrap();
    writer.submit(Write::Committed(LogIndex(1))).unwrap();
    assert_eq!((writer.take_flushed(), writer.take_flushed()), (Some(WriteId(1)), None));
    assert_eq!(store.said(), "append flush committed");
}

#[tokio::test]
async fn a_log_that_answers_with_a_hole_is_not_believed() {
    let access = LogAccess { reader: Notes::default().reader(), environment: Some(Arc::new(Machine)) };
    let error = access.read(LogIndex(4), LogIndex(9), 100).await.unwrap_err();
    assert!(error.reason.contains("1/5") && error.reason.contains("to index 9"), "{error}");
}

/// Found by reading: a burst of connections that took all open files halted every node that read back from its log.
#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_for_want_of_open_files_is_read_once_there_are_some() {
    let disk = FaultyDisk::new();
    let mut store = DurableStore::open(disk.clone(), "/data".as_ref(), OpenOptions::new(7, 1, 2, 3)).unwrap();
    let batch = Batch::new(LogId::new(1, 1), LogTime(0), [Payload::blank()].into());
    store.append(std::slice::from_ref(&batch)).unwrap();
    store.flush().unwrap();
    disk.run_out_of_files(true);
    let refused = store.reader().batches(LogIndex(1), LogIndex(1), 0).unwrap_err();
    assert!(refused.reason.contains("raise the limit of open files"), "{refused}");
    let access = LogAccess { reader: store.reader(), environment: None };
    let mut read = std::pin::pin!(access.read(LogIndex(1), LogIndex(1), 0));
    assert!(timeout(Duration::from_secs(20), read.as_mut()).await.is_err(), "it waits");
    disk.run_out_of_files(false);
    assert_eq!(timeout(Duration::from_secs(20), read).await.expect("it goes on"), Ok(vec![batch]));
}

#[test]
fn a_log_that_answers_with_nothing_or_with_terms_that_go_back_is_not_believed() {
    let batch = |term, first| Batch::new(LogId::new(term, first), LogTime(0), [Payload::blank()].into());
    let said = |batches: &[Batch]| check(LogIndex(4), LogIndex(5), batches).map_err(|error| error.reason);
    assert_eq!(said(&[batch(2, 4), batch(3, 5)]), Ok(()));
    assert!(said(&[batch(3, 4), batch(2, 5)]).is_err());
    assert!(said(&[batch(2, 4), batch(2, 5), batch(2, 6)]).is_err(), "more than was asked for");
    assert!(said(&[]).is_err());
}

/// By it the next file is prepared before it is needed.
#[test]
fn who_makes_files_ahead_of_need_is_told_of_each_group_that_is_written() {
    let (store, told) = (Notes::default(), Arc::new(AtomicUsize::new(0)));
    let (sender, events) = mpsc::channel();
    let count = Arc::clone(&told);
    let written = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let (queue, thread) =
        spawn("log".into(), Box::new(store), written, move |event| sender.send(event).unwrap()).unwrap();
    for id in 1..=2 {
        queue.push(vote(id));
        assert_eq!(events.recv().unwrap(), Event::LogFlushed { write: WriteId(id) });
    }
    queue.close();
    thread.join().unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
}
