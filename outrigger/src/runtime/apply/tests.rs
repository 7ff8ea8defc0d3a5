//! The worker where the disk does not answer.

use outrigger_engine::LogTime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::environment::{Environment, Task};
use super::super::nothing::Nothing;
use super::super::respond::{ReadAnswer, ReadClosure, Reply, Slot};
use super::*;
use crate::config::Limits;
use crate::store::{LogReader, MemoryStore};

/// A disk that takes a day for everything.
struct HungDisk;

impl Environment for HungDisk {
    fn random(&self) -> u64 {
        1
    }
    fn processors(&self) -> usize {
        1
    }
    fn spawn(&self, task: Task) -> JoinHandle<Option<String>> {
        tokio::spawn(task)
    }
    fn disk_time(&self) -> Option<Duration> {
        Some(Duration::from_secs(86_400))
    }
}

impl LogReader for HungDisk {
    fn batches(&self, from: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Batch>, StorageError> {
        let command = Payload::command(bytes::Bytes::new());
        Ok(vec![Batch::new(LogId { term: outrigger_engine::Term(1), index: from }, LogTime(0), Arc::new([command]))])
    }
    fn purged(&self) -> LogId {
        LogId::ZERO
    }
}

fn expect(index: u64, deadline: Instant) -> (Job<Nothing>, Reply<()>) {
    let (slot, reply) = Slot::one();
    (Job::Expect(Run { next: LogId::new(1, index), slots: [slot].into(), deadline }), reply)
}

type Closure = fn(&Nothing);

fn read(deadline: Instant) -> (Job<Nothing>, oneshot::Receiver<ReadAnswer<Closure, ()>>) {
    let (sender, receiver) = oneshot::channel();
    let read: Closure = |_| ();
    (Job::Read { reads: vec![Box::new(ReadClosure { read, sender })], deadline }, receiver)
}

/// Found by the simulation of the runtime: after a restart on a disk that hung, a read was not answered for as long as
/// the disk was not, whatever its timeout.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_hung_disk_longer_than_for_anything_else() {
    let clock = Clock::start();
    let log = LogAccess { reader: Arc::new(HungDisk), environment: Some(Arc::new(HungDisk)) };
    let jobs = Arc::new(Jobs::<Nothing>::new());
    let inbox = Arc::new(Inbox::new(Limits::default()));
    let (snapshots, _) = SnapshotAccess::new(Arc::new(MemoryStore::new()), Arc::new(HungDisk), 0);
    let worker = Worker::new(Replicated::new(Nothing), (Arc::clone(&jobs), inbox), (log, snapshots), clock);
    let worker = tokio::spawn(worker.run());

    let timeout = Duration::from_secs(2);
    let deadline = clock.now() + timeout;
    let late = Failure::Unknown(Doubt::TimedOut);
    let (before, expected) = expect(1, deadline);
    let (behind, taken) = read(deadline);
    let apply = Job::Apply { first: LogIndex(1), last: LogId::new(1, 1), batches: Vec::new() };
    jobs.put(|jobs| jobs.extend([before, apply, behind])).unwrap();
    tokio::time::sleep(timeout / 2).await;
    let (behind, not_taken) = expect(2, deadline);
    let (later, patient) = read(deadline + timeout);
    jobs.put(|jobs| jobs.extend([behind, later])).unwrap();

    assert_eq!(expected.await, Err(late));
    assert!(matches!(taken.await, Ok(ReadAnswer::NotRun(_, failure)) if failure == late));
    assert_eq!(not_taken.await, Err(late));
    let waited = clock.now().since(deadline);
    assert!(waited <= 2 * LOOK_EVERY, "answered {waited:?} late");
    assert!(matches!(patient.await, Ok(ReadAnswer::NotRun(_, failure)) if failure == late));
    assert!(clock.now() >= deadline + timeout, "and nobody before its time");
    worker.abort();
}
