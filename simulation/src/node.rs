//! One node: its disk, which outlives it, and its lives, from recovery to crash.

use std::path::{Path, PathBuf};

use outrigger::engine::{Command, Engine, Instant, Lane, NodeId, Status};
use outrigger::runtime::Driver;
use outrigger::store::{DurableStore, LogStore};
use outrigger_log::{FaultyDisk, OpenOptions};

use crate::check::{Check, Violation, require};
use crate::count::{Counts, note};
use crate::durable::Durable;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::runtime::Runtime;
use crate::trace::Trace;

/// Where a node keeps its log.
const DIRECTORY: &str = "/data";
/// The cluster that all nodes belong to.
const CLUSTER: u64 = 7;

/// One node of the world.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) id: NodeId,
    /// How often it was started.
    pub(crate) life: u64,
    /// Until then the process is stopped, and everything waits for it.
    pub(crate) paused_until: u64,
    /// What runs; nothing between a crash and the next start.
    pub(crate) running: Option<Running>,
    /// Whether a sync of its disk will fail, or has failed.
    pub(crate) is_failing: bool,
    /// Outlives every life.
    disk: FaultyDisk,
    /// What the last life left on the disk for certain, and what it may have left.
    left: (Durable, Vec<Command>),
    /// Decides how crashes tear, and how long what the node does takes.
    pub(crate) rng: Rng,
    /// What happened in all lives that are over.
    pub(crate) trace: Trace,
    /// What went wrong with it.
    pub(crate) faults: Counts,
}

/// A node that lives.
#[derive(Debug)]
pub(crate) struct Running {
    /// The engine, and the commands that wait for room.
    pub(crate) driver: Driver,
    /// Everything that the engine decides about.
    pub(crate) runtime: Runtime,
    /// Whether the world knows of the state machine's work.
    pub(crate) working: bool,
    /// The deadline that the world knows of.
    pub(crate) armed: Option<Instant>,
}

impl Node {
    pub(crate) fn new(id: NodeId, rng: Rng, print: bool) -> Self {
        let (disk, left, trace) = (FaultyDisk::new(), Default::default(), Trace::new(print));
        Self {
            id,
            life: 0,
            paused_until: 0,
            running: None,
            is_failing: false,
            disk,
            left,
            rng,
            trace,
            faults: Counts::new(),
        }
    }

    /// What is on the node's disk for certain, whether it runs or not.
    pub(crate) fn durable(&self) -> &Durable {
        self.running.as_ref().map_or(&self.left.0, |running| &running.runtime.durable)
    }

    /// What the running engine says of itself.
    pub(crate) fn status(&self) -> Option<Status> {
        self.running.as_ref().map(|running| running.driver.engine().status())
    }

    /// Recovers from the disk and starts, after some starts that were cut short.
    pub(crate) fn start(&mut self, plan: &Plan, now: Instant) -> Result<(), Violation> {
        assert!(self.running.is_none(), "node {} runs already", self.id);
        self.life += 1;
        while self.rng.chance(100_000) {
            note(&mut self.faults, "power cut in a recovery");
            self.disk.power_off_after(self.rng.below(12));
            drop(self.open(plan));
            self.tear();
        }
        if self.rng.chance(plan.rot)
            && let Some((file, offset)) = self.rot()
        {
            self.start_rotten(plan, &file, offset)?;
        }
        let store = self.open(plan).map_err(|error| self.unrecovered(&error))?;
        self.run(plan, now, store)
    }

    /// From now on, one of the next syncs fails.
    pub(crate) fn fail_sync(&mut self) {
        self.is_failing = true;
        self.disk.fail_sync_after(self.rng.below(3));
    }

    /// A place in the log that a later header proves to have been synced: damage there is no tear.
    fn rot(&mut self) -> Option<(PathBuf, u64)> {
        let files = self.disk.files().into_iter();
        let groups = |bytes: &[u8]| bytes.chunks(512).filter(|sector| sector.starts_with(b"OUTRGRUP")).count();
        let ripe: Vec<PathBuf> = files.filter(|(_, bytes)| groups(bytes) > 2).map(|(path, _)| path).collect();
        let file = ripe.get(usize::try_from(self.rng.below(ripe.len().max(1) as u64)).ok()?)?.clone();
        Some((file, self.rng.between(512, 1023)))
    }

    /// A start on a disk on which one bit has rotted finds all that was left, or refuses. Then somebody mends the bit.
    fn start_rotten(&mut self, plan: &Plan, file: &Path, offset: u64) -> Result<(), Violation> {
        let bit = u32::try_from(self.rng.below(8)).unwrap_or_default();
        self.disk.flip_bit(file, offset, bit);
        let found = match self.open(plan) {
            Ok(mut store) => store.restore().and_then(|restored| Durable::found(&restored, &*store.reader())).ok(),
            Err(_) => None,
        };
        match &found {
            Some(found) => self.expect_left(found)?,
            None => note(&mut self.faults, "bit rotten and refused"),
        }
        self.disk.flip_bit(file, offset, bit);
        Ok(())
    }

    /// What a start finds must be what the last life has left.
    fn expect_left(&self, found: &Durable) -> Result<(), Violation> {
        let (left, writes) = &self.left;
        let expected = left.may_become(writes, found);
        require!(expected, Recovery, "node {} finds {found:?} and left {left:?}, and maybe {writes:?}", self.id);
        Ok(())
    }

    fn run(&mut self, plan: &Plan, now: Instant, mut store: DurableStore<FaultyDisk>) -> Result<(), Violation> {
        let restored = store.restore().map_err(|error| self.unrecovered(&error))?;
        let found = Durable::found(&restored, &*store.reader()).map_err(|error| self.unrecovered(&error))?;
        self.expect_left(&found)?;
        let me = store.identity();
        let engine = Engine::new(plan.engine(me, self.rng.next()), restored, now);
        let mut runtime = Runtime::new(plan, store, found, self.trace.clone());
        let mut driver = Driver::new(engine);
        runtime.now = now;
        driver.start(now, &mut runtime);
        self.running = Some(Running { driver, runtime, working: false, armed: None });
        Ok(())
    }

    fn open(&mut self, plan: &Plan) -> Result<DurableStore<FaultyDisk>, outrigger_log::OpenError> {
        let (incarnation, nonce) = (self.rng.next(), self.rng.next());
        let options = OpenOptions::new(CLUSTER, self.id.0, incarnation, nonce);
        let options = OpenOptions { segment_bytes: plan.segment_bytes, ..options };
        DurableStore::open(self.disk.clone(), Path::new(DIRECTORY), options)
    }

    fn unrecovered(&self, error: &impl std::fmt::Display) -> Violation {
        Violation { check: Check::Recovery, reason: format!("node {} does not start: {error}", self.id) }
    }

    /// Dies at once, at any point of a flush that is under way; `power` says whether its disk loses what was not synced.
    pub(crate) fn crash(&mut self, power: bool) {
        let Some(Running { mut runtime, .. }) = self.running.take() else { return };
        self.paused_until = 0;
        if !runtime.in_flight().is_empty() {
            note(&mut self.faults, "crash in the middle of a flush");
            self.disk.power_off_after(self.rng.below(6));
            // Whether it succeeded before the lights went out is what the recovery is asked.
            let _ = runtime.write_in_flight();
        }
        self.left = (runtime.durable.clone(), runtime.in_flight().to_vec());
        self.trace = runtime.trace.clone();
        drop(runtime);
        if power {
            self.tear();
        } else {
            // What was not synced stays in the page cache, and may be lost with the power yet.
            self.disk.kill();
            self.disk.power_off_after(u64::MAX);
            self.disk.fail_sync_after(u64::MAX);
        }
        self.is_failing = false;
    }

    fn tear(&mut self) {
        self.disk.crash(self.rng.next());
    }
}

impl Running {
    /// A lane has room.
    pub(crate) fn room(&mut self, lane: Lane, now: Instant) {
        self.driver.room(lane, now, &mut self.runtime);
    }
}
