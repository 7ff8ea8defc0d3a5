//! Makes the log's files ahead of need, on a thread of its own, so that no write waits for a new file.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrigger_log::{Disk, PrepareError, Preparer};

/// A full disk, or a system without room for one more open file, is not asked again, and not complained of, for so long.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(5);

/// Wakes the preparer.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rung {
    /// Nothing has happened since it looked.
    #[default]
    Not,
    /// The log was written: there may be something to prepare.
    Written,
    /// The end has come; it stays so.
    Closed,
}

impl Bell {
    /// The log was written.
    pub(crate) fn ring(&self) {
        let mut rung = self.lock();
        if *rung == Rung::Not {
            *rung = Rung::Written;
            self.changed.notify_one();
        }
    }

    /// Lets the thread end.
    pub(crate) fn close(&self) {
        *self.lock() = Rung::Closed;
        self.changed.notify_one();
    }

    /// Waits for the next ring; false for the end.
    fn wait(&self) -> bool {
        let mut rung = self.lock();
        while *rung == Rung::Not {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        let is_open = *rung == Rung::Written;
        if is_open {
            *rung = Rung::Not;
        }
        is_open
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread; it prepares at once, and then whenever the bell rings.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn spawn<D: Disk>(name: String, preparer: Preparer<D>) -> std::io::Result<(Arc<Bell>, JoinHandle<()>)>
where
    Preparer<D>: Send + 'static,
{
    let bell = Arc::new(Bell::default());
    let own = Arc::clone(&bell);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        own.ring();
        let mut full_until = None;
        while own.wait() {
            if full_until.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            full_until = None;
            match preparer.prepare() {
                Ok(_) => {}
                // Room may be made; until then the log goes on in the file it has.
                Err(error @ PrepareError::DiskFull(_)) => {
                    tracing::warn!(%error, "no file is prepared for the log");
                    full_until = Some(Instant::now() + PAUSE_WHEN_FULL);
                }
                // The next segment is there; the file that stays costs room alone, and is tried again.
                Err(error @ PrepareError::NotRemoved(_)) => tracing::warn!(%error, "a file of the log is not removed"),
                // The log is poisoned, and its writer says so.
                Err(_) => return,
            }
        }
    })?;
    Ok((bell, thread))
}

#[cfg(test)]
mod tests {
    use outrigger_log::{FaultyDisk, GroupId, Log, LogPosition, OpenOptions, Record};

    use super::*;

    /// Found by an attack: on a full disk every write tried to make a whole file, and complained of it.
    #[test]
    fn a_full_disk_is_asked_once_however_much_is_written() {
        let disk = FaultyDisk::new();
        let options = OpenOptions { segment_bytes: 8 << 10, ..OpenOptions::new(7, 1, 2, 3) };
        let log = Log::open(disk.clone(), "/data".as_ref(), options).unwrap();
        let used = disk.files().values().map(|file| file.len() as u64).sum();
        disk.limit_bytes(Some(used));
        let before = disk.counts().operations;
        let once = {
            assert!(log.preparer().prepare().is_err(), "there is no room");
            disk.counts().operations - before
        };
        let (bell, thread) = spawn("prepare".into(), log.preparer()).unwrap();
        for _ in 0..50 {
            bell.ring();
            while *bell.lock() != Rung::Not {
                std::thread::yield_now();
            }
        }
        bell.close();
        thread.join().unwrap();
        assert_eq!(disk.counts().operations - before, 2 * once, "asked more than once");
    }

    /// Found by reading: a burst of connections that took all open files poisoned the log.
    #[test]
    fn want_of_open_files_is_waited_for() {
        let disk = FaultyDisk::new();
        let options = OpenOptions { segment_bytes: 8 << 10, ..OpenOptions::new(7, 1, 2, 3) };
        let mut log = Log::open(disk.clone(), "/data".as_ref(), options).unwrap();
        disk.run_out_of_files(true);
        let error = log.preparer().prepare().unwrap_err();
        assert!(matches!(error, PrepareError::DiskFull(_)), "{error}");
        assert!(error.to_string().contains("raise the limit of open files"), "{error}");
        log.append(GroupId(1), Record::Vote { term: 1, voted_for: None }).unwrap();
        log.flush().unwrap();
        disk.run_out_of_files(false);
        assert!(log.preparer().prepare().unwrap(), "the next one is made");
    }

    /// Found by reading: one failed removal ended the thread without a word, and every segment was made inside a flush from then on.
    #[test]
    fn a_file_that_cannot_be_removed_does_not_end_the_thread() {
        let disk = FaultyDisk::new();
        let options = OpenOptions { segment_bytes: 8 << 10, ..OpenOptions::new(7, 1, 2, 3) };
        let mut log = Log::open(disk.clone(), "/data".as_ref(), options).unwrap();
        let segments = || disk.files().into_keys().filter(|path| path.extension() == Some("segment".as_ref())).count();
        let preparer = log.preparer();
        let mut write = |index| {
            let payloads = [vec![7; 2 << 10].into()];
            let run = Record::Entries { term: 1, first: index, log_time: 0, payloads: &payloads, marked: false };
            log.append(GroupId(1), run).unwrap();
            let through = LogPosition { term: u64::from(index > 1), index: index - 1 };
            log.append(GroupId(1), Record::Purge { through }).unwrap();
            log.flush().unwrap();
        };
        (1..=9).for_each(&mut write);
        disk.fail_removals(true);
        let before = segments();
        let (bell, thread) = spawn("prepare".into(), preparer).unwrap();
        // It has looked once at least since this was called: it takes the second ring only when it is done with the first.
        let looks = || {
            for _ in 0..2 {
                bell.ring();
                while *bell.lock() != Rung::Not {
                    assert!(!thread.is_finished(), "it has ended");
                    std::thread::yield_now();
                }
            }
        };
        looks();
        assert_eq!(segments(), before + 1, "the next one is made nevertheless");
        disk.fail_removals(false);
        for index in 10..=18 {
            write(index);
            looks();
        }
        assert!(segments() <= 3, "{} segments of {before} are there: they are not removed later", segments());
        bell.close();
        thread.join().unwrap();
    }
}
