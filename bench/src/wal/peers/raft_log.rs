//! raft-log 0.4.6: one log for one Raft group; a thread of its own writes and syncs what has queued up.
//!
//! Writers append under a lock, which gives the order, and wait for the callback of their flush outside of it,
//! so that its thread syncs once for all that wait.

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Config, RaftLog, Types};

use crate::wal::Setting;
use crate::wal::group_commit::DurableLog;
use crate::wal::payload::{Batch, Pool};

/// How long its thread waits at most for the last of many writers, about as long as a sync takes.
const COMPANY_WAIT: Duration = Duration::from_micros(200);

/// The log's types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sizes;

impl Types for Sizes {
    type LogId = (u64, u64);
    type LogPayload = Payload;
    type Vote = (u64, u64);
    type Callback = SyncSender<io::Result<()>>;
    type UserData = u64;

    fn log_index(log_id: &(u64, u64)) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// An entry's bytes, shared instead of copied: what this log keeps in its cache costs it nothing.
#[derive(Clone, Debug, PartialEq)]
struct Payload(Bytes);

impl Encode for Payload {
    fn encode<W: io::Write>(&self, mut to: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(&self.0)?;
        Ok(4 + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: io::Read>(from: R) -> io::Result<Self> {
        Ok(Self(Bytes::from(Vec::<u8>::decode(from)?)))
    }
}

/// The log behind the lock that orders its appends.
struct Log(Mutex<Ordered>);

struct Ordered {
    log: RaftLog<Sizes>,
    /// Index of the next entry.
    next: u64,
}

/// Opens a fresh log.
pub(in crate::wal) fn open(dir: &Path, setting: &Setting, _pool: &Pool) -> io::Result<Box<dyn DurableLog>> {
    let dir = dir.join("raft-log");
    std::fs::create_dir(&dir)?;
    let mut config = Config::new(dir.display());
    // Its thread takes what has queued up only while it waits for company: not at all for one writer, whom that
    // would cost its rate; for many until the last of them has come, which none of them outruns.
    let company = if setting.writers == 1 { Duration::ZERO } else { COMPANY_WAIT };
    config.wal.flush_batch_wait = Some(company);
    config.wal.flush_batch_max_items = Some(usize::try_from(setting.writers).unwrap_or(usize::MAX));
    let log = RaftLog::open(Arc::new(config))?;
    Ok(Box::new(Log(Mutex::new(Ordered { log, next: 0 }))))
}

impl DurableLog for Log {
    fn append_durably(&self, _writer: usize, batch: &Arc<Batch>) -> io::Result<()> {
        let (flushed, wait) = sync_channel(1);
        {
            let mut ordered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let first = ordered.next;
            ordered.next += batch.payloads.len() as u64;
            let entries = (first..).zip(&batch.payloads).map(|(index, payload)| ((1, index), Payload(payload.clone())));
            ordered.log.append(entries)?;
            ordered.log.flush(true, Some(flushed))?;
        }
        wait.recv().map_err(|_| io::Error::other("the log's thread has ended without an answer"))?
    }

    fn flushes(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, open};
    use crate::wal::payload::Pool;
    use crate::wal::{Quota, Setting};
    use raft_log::codeq::{Decode, Encode};
    use std::time::Duration;

    #[test]
    fn an_append_is_in_the_files_when_it_returns() {
        let directory = tempfile::tempdir().unwrap();
        let quota = Quota { time: Duration::ZERO, appends: 1 };
        let setting = Setting { payload: 100, batch: 3, writers: 1, quota, segment_bytes: None };
        let pool = Pool::new(100, 3);
        let log = open(directory.path(), &setting, &pool).unwrap();
        log.append_durably(0, &pool.batches()[0]).unwrap();
        let files = std::fs::read_dir(directory.path().join("raft-log")).unwrap();
        let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default()).collect();
        for payload in &pool.batches()[0].payloads {
            assert!(bytes.windows(100).any(|window| window == payload), "a payload is missing after its flush");
        }
    }

    #[test]
    fn a_payload_reads_back_as_written() {
        let payload = Payload(bytes::Bytes::from_static(b"incompressible"));
        let mut bytes = Vec::new();
        let written = payload.encode(&mut bytes).unwrap();
        assert_eq!(written, bytes.len());
        assert_eq!(Payload::decode(bytes.as_slice()).unwrap(), payload);
    }
}
