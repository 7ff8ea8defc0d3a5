//! The pace of snapshots, under a clock that leaps, and their end.

use std::io::Write;
use std::sync::mpsc as threads;

use outrigger_engine::{LogId, LogIndex, LogTime, Membership, Node, NodeId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::environment::{Machine, Task};
use super::*;
use crate::CommandBatch;
use crate::store::MemoryStore;

const MIB: usize = 1 << 20;

/// Writes so many MiB, and says so after each.
struct Long(usize, threads::Sender<usize>);

impl LargeStateMachine for Long {
    type Command = ();
    type Response = ();
    type View = (usize, threads::Sender<usize>);

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|()| ());
        Ok(())
    }

    fn view(&self) -> io::Result<Self::View> {
        Ok((self.0, self.1.clone()))
    }

    fn write_view((mib, done): &Self::View, out: &mut dyn Write) -> io::Result<()> {
        (1..=*mib).try_for_each(|number| {
            out.write_all(&vec![7; MIB])?;
            done.send(number).map_err(io::Error::other)
        })
    }

    fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
        io::copy(content, &mut io::sink()).map(drop)
    }
}

/// A disk that takes no time of its own.
struct Simulated;

impl Environment for Simulated {
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
        Some(Duration::ZERO)
    }
}

fn access(environment: impl Environment, mib_per_second: usize) -> (SnapshotAccess, SnapshotsEnd) {
    let store = Arc::new(MemoryStore::new());
    SnapshotAccess::new(store, Arc::new(environment), (mib_per_second * MIB) as u64)
}

/// Builds a snapshot of a state of so many MiB; what comes of it, and where each MiB is told that is written.
fn build(access: &SnapshotAccess, mib: usize) -> (oneshot::Receiver<Event>, threads::Receiver<usize>) {
    let ((sender, written), (tell, told)) = (threads::channel(), oneshot::channel());
    let members = Membership::new([(NodeId(1), Node::default())], []);
    let (last, membership_at) = (LogId::new(1, 9), LogId::new(0, 1));
    let of = Moment { last, log_time: LogTime(0), membership_at, membership: Arc::new(members) };
    let view = Replicated::new(Long(mib, sender)).view(LogIndex(9)).unwrap();
    access.build(of, view, move |event| drop(tell.send(event)));
    (told, written)
}

#[tokio::test(start_paused = true)]
async fn a_build_on_a_simulated_disk_takes_as_long_as_its_pace_says() {
    for (mib_per_second, least) in [(2, 5_000), (20, 500), (0, 0)] {
        let (access, _end) = access(Simulated, mib_per_second);
        let began = Instant::now();
        let (told, _written) = build(&access, 10);
        assert!(matches!(told.await, Ok(Event::SnapshotBuilt { .. })));
        let (took, least) = (began.elapsed(), Duration::from_millis(least));
        assert!(took >= least && took <= least + Duration::from_millis(5), "{took:?} at {mib_per_second} MiB/s");
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_are_sent_at_their_pace_whoever_they_go_to() {
    let (access, _end) = access(Simulated, 4);
    let began = Instant::now();
    let send = |access: SnapshotAccess| async move {
        for _ in 0..20 {
            access.sending(MIB / 2).await;
        }
    };
    tokio::join!(send(access.clone()), send(access.clone()));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(5) && took <= Duration::from_millis(5_005), "{took:?} for 20 MiB");
}

/// At its pace it would take a day.
#[tokio::test]
async fn a_build_that_waits_for_its_pace_is_given_up_at_once_when_the_node_ends() {
    let (access, end) = access(Machine, 1);
    let (told, written) = build(&access, 86_400);
    let written = tokio::task::spawn_blocking(move || written.recv().map(|_| written)).await.unwrap();
    drop(access);
    end.reached().await;
    match told.await.unwrap() {
        Event::SnapshotFailed { reason } => assert_eq!(reason, "the node ends"),
        other => panic!("{other:?}"),
    }
    let most = written.unwrap().try_iter().count();
    assert!(most < 60, "{most} MiB more at 1 MiB/s");
}

/// Whoever is told that a node has ended may remove its directory, or start another one on it.
#[tokio::test]
async fn the_end_is_reached_once_nobody_has_a_snapshot_in_hand() {
    let (access, end) = access(Machine, 0);
    let other = access.clone();
    let mut reached = std::pin::pin!(end.reached());
    drop(access);
    assert!(tokio::time::timeout(Duration::ZERO, reached.as_mut()).await.is_err(), "there is another");
    drop(other);
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("there is nobody");
}

/// At its pace it would take a day, on a thread that the runtime waits for.
#[tokio::test]
async fn a_build_is_given_up_also_when_nobody_sees_to_the_end() {
    let (access, end) = access(Machine, 1);
    let (told, _written) = build(&access, 86_400);
    drop(end);
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is given up").unwrap();
    assert!(matches!(told, Event::SnapshotFailed { .. }), "{told:?}");
}
