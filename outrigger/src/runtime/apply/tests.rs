//! The worker where the disk does not answer.

use outrigger_engine::{LogTime, Node, NodeId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::arrivals::{Arrivals, Notice};
use super::super::environment::{Environment, Machine, Task};
use super::super::nothing::Nothing;
use super::super::respond::{ReadAnswer, ReadClosure, Reply, Slot};
use super::super::snapshot::SnapshotsEnd;
use super::*;
use crate::config::Limits;
use crate::store::{Built, LogReader, LogStore, MemoryStore};
use crate::{CommandBatch, StateMachine};

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

type Closure<S> = fn(&S);

fn read<S: LargeStateMachine>(deadline: Instant) -> (Job<S>, oneshot::Receiver<ReadAnswer<Closure<S>, ()>>) {
    let (sender, receiver) = oneshot::channel();
    let read: Closure<S> = |_| ();
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

/// Panics when it is told to.
#[derive(Clone, Serialize, Deserialize)]
struct Brittle;

impl StateMachine for Brittle {
    type Command = bool;
    type Response = ();
    fn apply(&mut self, breaks: bool) {
        assert!(!breaks, "told to break");
    }
}

/// What must not be waited for for ever.
async fn soon<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("it is answered")
}

/// A worker on a disk that answers, and what it reports.
struct Running<S: LargeStateMachine> {
    jobs: Arc<Jobs<S>>,
    inbox: Arc<Inbox<S>>,
    store: MemoryStore,
    clock: Clock,
    worker: JoinHandle<()>,
    _end: SnapshotsEnd,
}

impl<S: LargeStateMachine> Running<S> {
    fn start(state: S) -> Self {
        let (clock, store) = (Clock::start(), MemoryStore::new());
        let log = LogAccess { reader: store.reader(), environment: None };
        let (jobs, inbox) = (Arc::new(Jobs::<S>::new()), Arc::new(Inbox::new(Limits::default())));
        let (snapshots, end) = SnapshotAccess::new(store.snapshots(), Arc::new(Machine), 0);
        let (ways, disks) = ((Arc::clone(&jobs), Arc::clone(&inbox)), (log, snapshots));
        let worker = tokio::spawn(Worker::new(Replicated::new(state), ways, disks, clock).run());
        Self { jobs, inbox, store, clock, worker, _end: end }
    }

    fn put(&self, jobs: impl IntoIterator<Item = Job<S>>) {
        self.jobs.put(|queue| queue.extend(jobs)).expect("the worker is there");
    }

    /// Somebody who waits for the response of an entry of term 1.
    fn expect(&self, index: u64) -> (Job<S>, Reply<S::Response>) {
        let (slot, reply) = Slot::one();
        let deadline = self.clock.now() + Duration::from_secs(3_600);
        (Job::Expect(Run { next: LogId::new(1, index), slots: [slot].into(), deadline }), reply)
    }

    /// The next so many events that are reported.
    async fn events(&self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let report = async {
            while events.len() < count {
                let mut arrivals = Arrivals::default();
                poll_fn(|context| self.inbox.poll_take(&mut arrivals, context)).await;
                events.extend(arrivals.notices.drain(..).map(|notice| match notice {
                    Notice::Event(event) => event,
                    _ => panic!("a worker reports events alone"),
                }));
            }
        };
        soon(report).await;
        events
    }

    fn build(last: LogId) -> Job<S> {
        Job::BuildSnapshot { last, membership_at: LogId::new(1, 1), membership: members() }
    }
}

fn members() -> Arc<Membership> {
    Arc::new(Membership::new([(NodeId(1), Node::default())], []))
}

/// Entries of term 1 from an index on.
fn apply(first: u64, commands: &[bool]) -> Job<Brittle> {
    let payloads = commands.iter().map(|breaks| Payload::command(encoded::encode(breaks).unwrap())).collect();
    let batch = Batch::new(LogId::new(1, first), LogTime(0), payloads);
    Job::Apply { first: LogIndex(first), last: batch.last(), batches: vec![batch] }
}

/// The state may be half changed: nobody sees it any more, in no way, and nobody waits for it.
#[tokio::test]
async fn once_an_entry_is_not_applied_nothing_more_is_and_the_state_is_not_looked_at() {
    let running = Running::start(Brittle);
    let ((a, first), (b, second), (c, third)) = (running.expect(1), running.expect(2), running.expect(3));
    running.put([a, b, c, apply(1, &[false, true, false])]);
    let stopped = Err(Failure::Unknown(Doubt::Stopped));
    let answers = async { (first.await, second.await, third.await) };
    assert_eq!(soon(answers).await, (Ok(()), stopped, stopped));
    let events = running.events(2).await;
    let told = matches!(
        &events[..],
        [Event::Applied { last: LogIndex(1) }, Event::StateMachineFailed { at: LogIndex(2), reason }]
            if reason.contains("told to break")
    );
    assert!(told, "{events:?}");

    let (later, late) = running.expect(4);
    let (read, answer) = read(running.clock.now() + Duration::from_secs(3_600));
    running.put([
        later,
        apply(2, &[false]),
        read,
        Running::build(LogId::new(1, 1)),
        Job::HashState { at: LogIndex(1) },
    ]);
    assert_eq!(soon(late).await, stopped);
    assert!(matches!(soon(answer).await, Ok(ReadAnswer::NotRun(_, Failure::Stopped))));
    let events = running.events(2).await;
    let told = matches!(&events[..], [Event::SnapshotFailed { .. }, Event::StateHashed { hash: None, .. }]);
    assert!(told, "{events:?}");
    assert!(!running.worker.is_finished());
}

/// Builds a snapshot of entry 1/9 in a store, of what is written.
fn snapshot(
    store: &MemoryStore,
    log_time: u64,
    content: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
) -> Arc<Snapshot> {
    let of = Moment {
        last: LogId::new(1, 9),
        log_time: LogTime(log_time),
        membership_at: LogId::new(1, 1),
        membership: members(),
    };
    match store.snapshots().build(&of, content) {
        Ok(Built::Snapshot(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

/// By it sessions end: each node that is brought a snapshot must go on from the same time.
#[tokio::test]
async fn what_is_taken_in_brings_its_log_time_and_the_next_snapshot_has_it() {
    let running = Running::start(Nothing);
    let view = Replicated::new(Nothing).view(LogIndex(9)).unwrap();
    let brought = snapshot(&running.store, 77, &mut |out| view.write(out));
    running.put([Job::InstallSnapshot(Arc::clone(&brought)), Running::build(brought.last())]);
    let events = running.events(2).await;
    match &events[..] {
        [Event::Applied { last: LogIndex(9) }, Event::SnapshotBuilt { snapshot }] => {
            assert_eq!((snapshot.last(), snapshot.log_time), (brought.last(), LogTime(77)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn where_a_snapshot_is_not_taken_in_nobody_waits_for_what_follows_it() {
    let running = Running::start(Nothing);
    let (waits, reply) = running.expect(10);
    let brought = snapshot(&running.store, 77, &mut |out| out.write_all(b"no sessions"));
    running.put([waits, Job::InstallSnapshot(brought)]);
    assert_eq!(soon(reply).await, Err(Failure::Unknown(Doubt::Stopped)));
    let events = running.events(1).await;
    assert!(matches!(&events[..], [Event::StateMachineFailed { at: LogIndex(9), .. }]), "{events:?}");
}

/// A state on disk, which has entry 1/5 in it.
struct OnDisk;

impl LargeStateMachine for OnDisk {
    type Command = ();
    type Response = ();
    type View = ();

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|()| ());
        Ok(())
    }
    fn view(&self) -> io::Result<()> {
        Ok(())
    }
    fn write_view((): &(), _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }
    fn restore(&mut self, _: &mut dyn io::Read, _: LogId) -> io::Result<()> {
        Ok(())
    }
    fn last_applied(&self) -> Option<LogId> {
        Some(LogId::new(1, 5))
    }
}

/// Whoever compares two answers by that would else take the older one for the newer.
#[tokio::test]
async fn a_read_of_a_state_on_disk_says_how_much_is_in_it_before_the_log_is_gone_through() {
    let running = Running::start(OnDisk);
    let (read, answer) = read(running.clock.now() + Duration::from_secs(3_600));
    running.put([read]);
    assert!(matches!(soon(answer).await, Ok(ReadAnswer::Done(LogIndex(5), ()))));
}
