//! States that cannot be copied or written, and one that takes its time.

use std::sync::{Condvar, Mutex, PoisonError};

use outrigger::engine::Refusal;
use outrigger::{SnapshotError, StateMachine};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{alone, start};

/// How a [`Stubborn`] takes it when a snapshot is taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Mood {
    #[default]
    Mild,
    PanicsInClone,
    PanicsInSerialize,
    Refuses,
}

#[derive(Default)]
struct Stubborn {
    mood: Mood,
    changes: u64,
}

impl Clone for Stubborn {
    fn clone(&self) -> Self {
        assert!(self.mood != Mood::PanicsInClone, "no copy of this");
        Self { ..*self }
    }
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.mood {
            Mood::Refuses => Err(serde::ser::Error::custom("it does not want to")),
            Mood::PanicsInSerialize => panic!("not like this"),
            mood => (mood, self.changes).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(Mood, u64)>::deserialize(deserializer).map(|(mood, changes)| Self { mood, changes })
    }
}

impl StateMachine for Stubborn {
    type Command = Mood;
    type Response = u64;

    fn apply(&mut self, mood: Mood) -> u64 {
        self.mood = mood;
        self.changes += 1;
        self.changes
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_copied_or_written_says_so_and_the_node_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(alone(directory.path()), Stubborn::default()).await;
    let mut changes = 0;
    for mood in [Mood::PanicsInClone, Mood::PanicsInSerialize, Mood::Refuses] {
        changes += 1;
        assert_eq!(node.write(mood).await, Ok(changes));
        let error = node.snapshot().await.unwrap_err();
        assert_eq!(error, SnapshotError::Refused { refusal: Refusal::SnapshotFailed }, "{mood:?}");
        assert!(error.to_string().contains("the node's log says why"), "{error}");
    }
    changes += 1;
    assert_eq!(node.write(Mood::Mild).await, Ok(changes));
    let last = node.snapshot().await.unwrap();
    assert_eq!(node.metrics().latest().fault, None);
    node.shutdown().await.unwrap();
    let node = start(alone(directory.path()), Stubborn::default()).await;
    assert_eq!(node.metrics().latest().snapshot, last);
    assert_eq!(node.read(|state| state.changes).await, Ok(changes));
    node.shutdown().await.unwrap();
}

/// Whether the state may be written to its end; the tests that use it run one after the other.
static MAY_END: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
static ONE_TEST: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn may_end(is_so: bool) {
    *MAY_END.0.lock().unwrap_or_else(PoisonError::into_inner) = is_so;
    MAY_END.1.notify_all();
}

/// Some MiB of state, which are not written before the test says so.
#[derive(Clone, Default)]
struct Slow(Vec<u64>);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let guard = MAY_END.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(MAY_END.1.wait_while(guard, |may_end| !*may_end));
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl StateMachine for Slow {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, number: u64) -> u64 {
        self.0.push(number);
        self.0.len() as u64
    }
}

fn large() -> Slow {
    Slow((0..500_000).map(|number| u64::MAX - number).collect())
}

#[tokio::test]
async fn writes_go_on_while_a_large_state_is_written() {
    let _alone = ONE_TEST.lock().await;
    may_end(false);
    let directory = tempfile::tempdir().unwrap();
    let node = start(alone(directory.path()), large()).await;
    let count = node.write(0).await.unwrap();
    let taking = tokio::spawn({
        let node = node.clone();
        async move { node.snapshot().await }
    });
    for number in 1..=100 {
        assert_eq!(node.write(number).await, Ok(count + number));
    }
    assert!(!taking.is_finished(), "it takes as long as the test wants");
    may_end(true);
    let last = taking.await.unwrap().unwrap();
    assert_eq!(node.metrics().wait_for(|metrics| metrics.snapshot == last).await.unwrap().purged, last);
    node.shutdown().await.unwrap();
    let node = start(alone(directory.path()), Slow::default()).await;
    assert_eq!(node.read(|state| state.0.len() as u64).await, Ok(count + 100));
    node.shutdown().await.unwrap();
}

/// Whoever starts a node again in the same directory would find it in use.
#[tokio::test]
async fn a_shutdown_ends_the_snapshot_that_is_being_written_and_leaves_nothing_of_it() {
    let _alone = ONE_TEST.lock().await;
    may_end(false);
    let directory = tempfile::tempdir().unwrap();
    let node = start(alone(directory.path()), large()).await;
    node.write(0).await.unwrap();
    let taking = tokio::spawn({
        let node = node.clone();
        async move { node.snapshot().await }
    });
    // It is being written as soon as its file is there.
    let building = directory.path().join("snapshots").join("building");
    super::until(|| building.exists()).await;
    let stopping = tokio::spawn(async move { node.shutdown().await });
    assert_eq!(taking.await.unwrap(), Err(SnapshotError::Stopped));
    may_end(true);
    stopping.await.unwrap().unwrap();
    let node = start(alone(directory.path()), large()).await;
    assert_eq!(node.metrics().latest().snapshot.index.0, 0, "it was given up");
    assert!(!building.exists());
    node.shutdown().await.unwrap();
}
