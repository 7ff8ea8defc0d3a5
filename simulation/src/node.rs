//! One node: its disk, which outlives it, and its lives, from recovery to crash.

use std::path::{Path, PathBuf};

use outrigger::engine::{Command, Engine, Instant, Lane, NodeId, Restored};
use outrigger::runtime::Driver;
use outrigger::store::{DurableStore, LogStore};
use outrigger_log::{FaultyDisk, OpenOptions};

use crate::check::{Check, Checks, Violation, require};
use crate::clock::Clock;
use crate::count::{Counts, note};
use crate::durable::Durable;
use crate::look::Look;
use crate::plan::{Plan, SECOND};
use crate::rng::Rng;
use crate::runtime::Runtime;
use crate::trace::{Telling, Trace};

/// Where a node keeps its log.
const DIRECTORY: &str = "/data";
/// About what a node's clock shows in the beginning: no step back leads before its zero.
const FIRST_SHOWN: u64 = 1_000_000 * SECOND;
/// The cluster that all nodes belong to.
const CLUSTER: u64 = 7;

/// One node of the world.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) id: NodeId,
    /// How often it was started.
    pub(crate) life: u64,
    /// What it takes for time.
    pub(crate) clock: Clock,
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

/// All nodes of a world, alive or not. Their ids are 1, 2, 3 and so on.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    /// From the nodes, in the order of their ids.
    pub(crate) fn new(nodes: impl Iterator<Item = Node>) -> Self {
        let nodes: Vec<Node> = nodes.collect();
        assert!((1..).zip(&nodes).all(|(id, node)| node.id == NodeId(id)), "nodes are numbered from 1");
        Self(nodes)
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.0.get(place(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.0.get_mut(place(id)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }
}

fn place(id: NodeId) -> Option<usize> {
    usize::try_from(id.0.checked_sub(1)?).ok()
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
    /// The virtual time of the first look at its deadline that the world has put into its queue.
    pub(crate) armed: Option<u64>,
}

impl Node {
    pub(crate) fn new(id: NodeId, mut rng: Rng, telling: Telling) -> Self {
        let clock = Clock::showing(rng.between(FIRST_SHOWN / 2, FIRST_SHOWN));
        let (disk, left, trace) = (FaultyDisk::new(), Default::default(), Trace::new(telling));
        Self {
            id,
            life: 0,
            clock,
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

    /// What is to be seen of it while it runs.
    pub(crate) fn look(&self) -> Option<Look> {
        self.running.as_ref().map(|running| Look::at(self.id, running.driver.engine()))
    }

    /// Recovers from the disk and starts, after some starts that were cut short.
    pub(crate) fn start(&mut self, plan: &Plan, checks: Checks, now: u64) -> Result<(), Violation> {
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
        self.run(plan, checks, now, store)
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
            Some((found, _)) => self.expect_left(found)?,
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

    /// What a start finds must end as the last life has left it.
    fn expect_end(&self, restored: &Restored) -> Result<Durable, Violation> {
        let (left, writes) = &self.left;
        let Some(found) = left.become_as(writes, restored) else {
            let reason = format!("node {} finds {restored:?} and left {left:?}, and maybe {writes:?}", self.id);
            return Err(Violation { check: Check::Recovery, reason });
        };
        Ok(found)
    }

    fn run(
        &mut self,
        plan: &Plan,
        checks: Checks,
        now: u64,
        mut store: DurableStore<FaultyDisk>,
    ) -> Result<(), Violation> {
        let restored = store.restore().map_err(|error| self.unrecovered(&error))?;
        let found = if checks.recovery {
            let found = Durable::found(&restored, &*store.reader()).map_err(|error| self.unrecovered(&error))?;
            self.expect_left(&found.0)?;
            found
        } else {
            (self.expect_end(&restored)?, Vec::new())
        };
        let (me, own) = (store.identity(), self.clock.at(now));
        let engine = Engine::new(plan.engine(me, self.rng.next()), restored, own);
        let mut runtime = Runtime::new(plan, store, found, self.trace.clone());
        let mut driver = Driver::new(engine);
        runtime.now = Instant(now);
        driver.start(own, &mut runtime);
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
