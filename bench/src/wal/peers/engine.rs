//! raft-engine 0.4.2: one log for many Raft groups; writers of different groups share its writes and syncs.
//!
//! Each writer is a group of its own, the case that it was made for. Its entries must be protobuf messages;
//! they are built before the clock runs, so that only its own encoding is measured.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use protobuf::well_known_types::BytesValue;
use raft_engine::env::DefaultFileSystem;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::wal::Setting;
use crate::wal::group_commit::DurableLog;
use crate::wal::payload::{Batch, Pool};

thread_local! {
    /// The index of the entry that [`Numbered::index`] is asked for next.
    static NEXT_INDEX: Cell<u64> = const { Cell::new(1) };
}

/// Numbers entries in the order in which the engine asks for their indexes, once each: a message that carried its
/// index could not be built before the clock runs and be written again and again.
struct Numbered;

impl MessageExt for Numbered {
    type Entry = BytesValue;

    fn index(_entry: &BytesValue) -> u64 {
        NEXT_INDEX.replace(NEXT_INDEX.get() + 1)
    }
}

/// The engine and what it is to write.
struct RaftEngine {
    engine: Engine<DefaultFileSystem>,
    /// The messages of each batch, by its number in the pool.
    messages: Vec<Vec<BytesValue>>,
    /// The state of each writer, by its number.
    groups: Vec<Mutex<Group>>,
}

/// What a writer keeps between its appends.
struct Group {
    /// Index of the next entry, from 1 on.
    next: u64,
    /// The batch that the engine empties, so that its memory is used again.
    batch: LogBatch,
}

/// Opens a fresh engine for all writers.
pub(in crate::wal) fn open(dir: &Path, setting: &Setting, pool: &Pool) -> io::Result<Box<dyn DurableLog>> {
    let config = Config {
        dir: dir.join("raft-engine").to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize::kb(0),
        ..Config::default()
    };
    let engine = Engine::open(config).map_err(io::Error::other)?;
    let messages = pool.batches().iter().map(|batch| batch.payloads.iter().map(|payload| message(payload)).collect());
    let groups = (0..setting.writers).map(|_| Mutex::new(Group { next: 1, batch: LogBatch::default() }));
    Ok(Box::new(RaftEngine { engine, messages: messages.collect(), groups: groups.collect() }))
}

/// A payload as the message that the engine stores.
fn message(payload: &[u8]) -> BytesValue {
    let mut message = BytesValue::new();
    message.set_value(payload.to_vec());
    message
}

impl DurableLog for RaftEngine {
    fn append_durably(&self, writer: usize, batch: &Arc<Batch>) -> io::Result<()> {
        let missing = || io::Error::other(format!("the engine was opened without writer {writer} or its batch"));
        let messages = self.messages.get(batch.number).ok_or_else(missing)?;
        let group = self.groups.get(writer).ok_or_else(missing)?;
        let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
        NEXT_INDEX.set(group.next);
        group.batch.add_entries::<Numbered>(writer as u64 + 1, messages).map_err(io::Error::other)?;
        group.next += messages.len() as u64;
        assert_eq!(NEXT_INDEX.get(), group.next, "raft-engine must ask once for the index of each entry");
        self.engine.write(&mut group.batch, true).map_err(io::Error::other)?;
        Ok(())
    }

    fn flushes(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{NEXT_INDEX, Numbered, open};
    use crate::wal::payload::Pool;
    use crate::wal::{Quota, Setting};
    use raft_engine::{Config, Engine};
    use std::time::Duration;

    #[test]
    fn what_each_writer_appended_is_in_its_own_group() {
        let directory = tempfile::tempdir().unwrap();
        let quota = Quota { time: Duration::ZERO, appends: 1 };
        let setting = Setting { payload: 100, batch: 3, writers: 2, quota, segment_bytes: None };
        let pool = Pool::new(100, 3);
        let log = open(directory.path(), &setting, &pool).unwrap();
        for number in 0..2 {
            log.append_durably(1, &pool.batches()[number]).unwrap();
        }
        drop(log);
        let dir = directory.path().join("raft-engine").to_string_lossy().into_owned();
        let engine = Engine::open(Config { dir, ..Config::default() }).unwrap();
        assert_eq!((engine.first_index(1), engine.last_index(2)), (None, Some(6)));
        let mut entries = Vec::new();
        // The engine checks the index of what it reads.
        NEXT_INDEX.set(1);
        engine.fetch_entries_to::<Numbered>(2, 1, 7, None, &mut entries).unwrap();
        let values: Vec<&[u8]> = entries.iter().map(|entry| entry.value.as_slice()).collect();
        assert_eq!(values.concat(), [&pool.batches()[0].block[..], &pool.batches()[1].block[..]].concat());
    }
}
