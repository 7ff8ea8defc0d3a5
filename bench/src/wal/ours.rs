//! Our side: `outrigger-log` on a real disk, hosted as the runtime hosts it.
//!
//! ```text
//!   group commit ── append, append, flush ──▶ Log ──▶ segment in use
//!                          │ a quarter of a segment is flushed
//!                          └────────▶ preparing thread: zeroes the next segment, removes retired ones
//! ```
//!
//! The preparing thread runs only when a sample can outgrow its first segment.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use outrigger_log::{GroupId, Log, OpenOptions, Preparer, RealDisk, Record};

use super::group_commit::{Appender, DurableLog};
use super::payload::{Batch, Pool};
use super::{Setting, host};

/// The group that all writers append to, as the clients of one Raft group do.
const GROUP: GroupId = GroupId(1);
/// The longest segment that the log makes, in bytes.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;
/// The shortest segment that is made here, in bytes.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// A log with its preparing thread.
struct Ours {
    log: Log<RealDisk>,
    /// Index of the next entry, from 1 on.
    next: u64,
    /// There when a sample can outgrow a segment.
    preparing: Option<Preparing>,
}

/// Opens a fresh log: its first segment is zeroed when this returns, and the next one too if it can be needed.
pub(super) fn open(dir: &Path, setting: &Setting, _pool: &Pool) -> io::Result<Box<dyn DurableLog>> {
    let needed = setting.bytes_max();
    let segment_bytes = setting.segment_bytes.unwrap_or(needed).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let options = OpenOptions { segment_bytes, ..OpenOptions::new(1, 1, 1, 1) };
    let log = Log::open(RealDisk, dir, options).map_err(io::Error::other)?;
    let preparing = if segment_bytes < needed { Some(Preparing::start(log.preparer(), segment_bytes)?) } else { None };
    host(Ours { log, next: 1, preparing }, setting)
}

impl Appender for Ours {
    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let payloads = &batch.payloads;
        let record = Record::Entries { term: 1, first: self.next, log_time: 0, payloads, marked: false };
        self.log.append(GROUP, record).map_err(io::Error::other)?;
        self.next += payloads.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.log.queued_bytes();
        self.log.flush().map_err(io::Error::other)?;
        if let Some(preparing) = &mut self.preparing {
            preparing.flushed(bytes as u64);
        }
        Ok(())
    }
}

/// A thread that makes the next segment ahead of need.
struct Preparing {
    /// Bytes flushed since the thread was last woken.
    flushed: u64,
    /// Bytes after which it is woken.
    wake_after: u64,
    /// Wakes the thread; it ends when this is dropped.
    wake: Option<SyncSender<()>>,
    /// Joined when the log goes, because it holds the directory's lock.
    thread: Option<JoinHandle<()>>,
}

impl Preparing {
    /// Prepares the first segment now, then starts the thread.
    fn start(preparer: Preparer<RealDisk>, segment_bytes: u64) -> io::Result<Self> {
        preparer.prepare().map_err(io::Error::other)?;
        // One wake-up may wait while the thread is busy; more would tell it nothing new.
        let (wake, woken) = sync_channel(1);
        let thread = thread::Builder::new().name("preparer".to_owned()).spawn(move || prepare(&preparer, &woken))?;
        Ok(Self { flushed: 0, wake_after: segment_bytes / 4, wake: Some(wake), thread: Some(thread) })
    }

    /// Counts what was flushed and wakes the thread once in a quarter of a segment.
    fn flushed(&mut self, bytes: u64) {
        self.flushed += bytes;
        if self.flushed >= self.wake_after {
            self.flushed = 0;
            if let Some(wake) = &self.wake {
                // Full: a wake-up waits already. Closed: the thread has failed, and the next flush says why.
                let _ = wake.try_send(());
            }
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; the measured flushes have succeeded without it.
            let _ = thread.join();
        }
    }
}

/// The life of the preparing thread: prepares when woken, until the log goes or a segment cannot be made.
fn prepare(preparer: &Preparer<RealDisk>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        if let Err(failure) = preparer.prepare() {
            eprintln!("warning: cannot prepare a segment: {failure}");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GROUP, open};
    use crate::wal::payload::Pool;
    use crate::wal::writers::write;
    use crate::wal::{Quota, Setting};
    use outrigger_log::{Log, OpenOptions, RealDisk};
    use std::path::Path;
    use std::time::Duration;

    /// All payloads that a log in `dir` holds, from the first on.
    fn read_back(dir: &Path) -> Vec<u8> {
        let log = Log::open(RealDisk, dir, OpenOptions::new(1, 1, 2, 2)).unwrap();
        let last = log.group(GROUP).unwrap().last.index;
        let (reader, mut next, mut bytes) = (log.reader(), 1, Vec::new());
        while next <= last {
            for run in reader.entries(GROUP, next, last, 1 << 20).unwrap() {
                next = run.first + run.payloads.len() as u64;
                bytes.extend(run.payloads.concat());
            }
        }
        bytes
    }

    fn setting(writers: u64, segment_bytes: Option<u64>) -> Setting {
        let quota = Quota { time: Duration::from_secs(600), appends: 40 };
        Setting { payload: 1_000, batch: 16, writers, quota, segment_bytes }
    }

    #[test]
    fn what_a_single_writer_appended_is_in_the_log_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let (setting, pool) = (setting(1, None), Pool::new(1_000, 16));
        let log = open(directory.path(), &setting, &pool).unwrap();
        let written = write(&*log, &pool, 1, setting.quota).unwrap();
        assert_eq!((written.appends, written.flushes), (40, Some(40)));
        drop(log);
        let blocks: Vec<_> = pool.cycle_from(0).take(40).map(|batch| batch.block.clone()).collect();
        assert_eq!(read_back(directory.path()), blocks.concat());
    }

    #[test]
    fn many_writers_share_syncs_and_segments_and_nothing_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (setting, pool) = (setting(8, Some(1 << 20)), Pool::new(1_000, 16));
        let log = open(directory.path(), &setting, &pool).unwrap();
        let written = write(&*log, &pool, 8, setting.quota).unwrap();
        assert_eq!(written.appends, 320);
        assert!(written.flushes <= Some(320), "{:?} flushes for 320 appends of 8 writers", written.flushes);
        drop(log);
        let mut found: Vec<Vec<u8>> = read_back(directory.path()).chunks(16_000).map(<[u8]>::to_vec).collect();
        let mut expected: Vec<Vec<u8>> =
            (0..8).flat_map(|writer| pool.cycle_from(writer).take(40)).map(|batch| batch.block.to_vec()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{} appends found, {} expected, or their bytes differ", found.len(), expected.len());
    }
}
