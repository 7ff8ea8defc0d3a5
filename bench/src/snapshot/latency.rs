//! Writers that go on and on, and how long each of their writes took: from when it was due, if the one before
//! was too slow for that, so that one slow write does not hide others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger::{Error, Raft};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Failure;
use super::state::{Change, Large};

/// How long writes took.
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, more: Vec<Duration>) {
        self.0.extend(more);
        self.0.sort_unstable();
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of writes is far below 2^52")]
    pub(super) fn count(&self) -> f64 {
        self.0.len() as f64
    }

    /// Which so large a part of the writes did not exceed, in microseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a count of writes is a count of writes"
    )]
    pub(super) fn at(&self, part: f64) -> f64 {
        let place = ((self.count() * part).ceil() as usize).saturating_sub(1);
        self.0.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// See the module.
pub(super) struct Writers {
    taken: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<(), Error>>>,
}

impl Writers {
    pub(super) fn start(leader: &Raft<Large>, count: u16, rate: u32) -> Self {
        let between = Duration::from_secs(1) * u32::from(count) / rate;
        let (taken, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let tasks = (0..count).map(|writer| {
            let (leader, taken, is_over) = (leader.clone(), Arc::clone(&taken), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut at = u64::from(writer);
                // Not all at once.
                let mut due = Instant::now() + between * u32::from(writer) / u32::from(count);
                while !is_over.load(Ordering::Relaxed) {
                    let mut began = due;
                    if Instant::now() < due {
                        // A timer is late by up to a millisecond, which is nobody's latency.
                        tokio::time::sleep_until(due).await;
                        began = Instant::now();
                    }
                    leader.write(Change { at, bytes: vec![writer.to_le_bytes()[0]; 128] }).await?;
                    let took = began.elapsed();
                    due += between;
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    // Somewhere else in the state each time.
                    at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Self { taken, is_over, tasks }
    }

    /// Those since this was asked last.
    pub(super) async fn taken(&mut self) -> Result<Vec<Duration>, Failure> {
        if self.tasks.iter().any(JoinHandle::is_finished) {
            self.end().await?;
        }
        Ok(std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        self.end().await
    }

    async fn end(&mut self) -> Result<(), Failure> {
        for task in self.tasks.drain(..) {
            task.await.map_err(std::io::Error::other)??;
        }
        Ok(())
    }
}
