//! One node: its disk, which outlives it, and its lives, from recovery to crash.
//!
//! ```text
//!   start ──► lives ──► crash ──► (away) ──► start ...         on its own disk
//!                         └──► disguise: starts from an empty disk, or from an older copy ──► is refused, ends
//!                                 its own disk waits aside, and comes back, or is lost for good
//! ```

use std::mem;
use std::path::Path;
use std::sync::Arc;

use outrigger::engine::{Engine, Incarnation, Instant, Lane, LogId, LogTime, NodeId, Restored, Version};
use outrigger::runtime::Driver;
use outrigger::store::{DurableStore, LogStore, StorageError, genesis_of};
use outrigger_log::{FaultyDisk, OpenError, OpenOptions};

use crate::by_node::place;
use crate::check::{Check, Checks, Heard, LogClock, Office, Succession, Violation, require};
use crate::clock::Clock;
use crate::count::{Counts, note};
use crate::durable::{Durable, Left, Stamps};
use crate::look::Look;
use crate::plan::{Plan, SECOND, Trouble};
use crate::rng::Rng;
use crate::runtime::Runtime;
use crate::runtime::snapshot::read_content;
use crate::trace::{Telling, Trace};
use crate::words;
use crate::world::initial_members;

mod damage;
mod decay;

use damage::{Damage, strike_frame, strike_snapshot};
use decay::Decay;

/// Where a node keeps its log.
const DIRECTORY: &str = "/data";
/// About what a node's clock shows in the beginning: no step back leads before its zero.
const FIRST_SHOWN: u64 = 1_000_000 * SECOND;
/// The cluster that all nodes belong to.
pub(crate) const CLUSTER: u64 = 7;

/// A disk, and what must be on it.
#[derive(Debug, Default)]
struct Home {
    disk: FaultyDisk,
    /// What the last life left.
    left: Left,
    /// The life that it was started for last.
    incarnation: Incarnation,
    /// What has become of a snapshot on it, if one has rotted.
    decay: Option<Decay>,
}

/// What a node runs from that is not its own disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disguise {
    /// An empty disk.
    Wiped,
    /// A copy of its disk that was made some starts ago.
    Copy,
}

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
    /// When it was stopped, or its clock leapt, for the last time.
    pub(crate) disturbed_at: u64,
    /// What runs; nothing between a crash and the next start.
    pub(crate) running: Option<Running>,
    /// Whether a sync of its disk will fail, or has failed.
    pub(crate) is_failing: bool,
    /// Whether its disk takes no more.
    pub(crate) is_full: bool,
    /// What the build speaks that is put in place for its next life.
    pub(crate) build: Version,
    /// The most that a build of it has spoken.
    newest_build: Version,
    /// Whether its disk is lost for good.
    pub(crate) is_lost: bool,
    /// Outlives every life.
    home: Home,
    /// Its own disk while it runs from another.
    aside: Option<(Disguise, Home)>,
    /// The disk that was replaced last.
    attic: Option<Home>,
    /// A copy that somebody made once.
    copy: Option<Home>,
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

    pub(crate) fn at(&self, id: NodeId) -> Option<&Node> {
        self.0.get(place(id))
    }

    pub(crate) fn at_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.0.get_mut(place(id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
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
    /// When the flush under way began.
    pub(crate) flush_began: Option<u64>,
    /// When the last flush ended.
    pub(crate) wrote_at: u64,
    /// Whether the log rests, and nobody looks whether it may.
    pub(crate) rests: bool,
    /// How it was when it was last held against what must hold, log and all.
    pub(crate) judged: Option<Look>,
    /// Since when it leads, if it does.
    pub(crate) leads_since: Option<u64>,
    /// Its office, while it leads.
    pub(crate) office: Option<Office>,
    /// How it follows others as leader, and others it.
    pub(crate) succession: Succession,
    /// Since when it campaigns though it is no voter, by its own clock.
    pub(crate) needed_since: Option<Instant>,
    /// From where on it counts log time while it leads.
    pub(crate) log_clock: LogClock,
    /// What it has heard of leaders.
    pub(crate) heard: Heard,
    /// When it heard last that its leader leads, by its own clock.
    pub(crate) led_at: Option<Instant>,
    /// The virtual time of the first look at its deadline that the world has put into its queue.
    pub(crate) armed: Option<u64>,
    /// By which clock, and for which deadline, the look was put in last.
    pub(crate) armed_for: (Clock, Instant),
}

impl Node {
    pub(crate) fn new(id: NodeId, mut rng: Rng, telling: Telling) -> Self {
        Self {
            id,
            life: 0,
            clock: Clock::showing(rng.between(FIRST_SHOWN / 2, FIRST_SHOWN)),
            paused_until: 0,
            disturbed_at: 0,
            running: None,
            is_failing: false,
            is_full: false,
            build: Version::LATEST,
            newest_build: Version::FIRST,
            is_lost: false,
            home: Home::default(),
            aside: None,
            attic: None,
            copy: None,
            rng,
            trace: Trace::new(telling),
            faults: Counts::new(),
        }
    }

    /// What is on the node's own disk for certain, whether it runs or not, and from whatever it runs.
    pub(crate) fn durable(&self) -> &Durable {
        match (&self.aside, &self.running) {
            (Some((_, own)), _) => &own.left.certain,
            (None, Some(running)) => &running.runtime.durable,
            (None, None) => &self.home.left.certain,
        }
    }

    /// What is to be seen of it while it runs.
    pub(crate) fn look(&self) -> Option<Look> {
        self.running.as_ref().map(|running| Look::at(self.id, running.driver.engine()))
    }

    /// Whether it waits for its disk.
    pub(crate) fn is_flushing(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.flush_began.is_some())
    }

    /// What it runs from, if that is not its own disk.
    pub(crate) fn disguise(&self) -> Option<Disguise> {
        self.aside.as_ref().map(|(disguise, _)| *disguise)
    }

    /// The last life that its own disk was started for.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.aside.as_ref().map_or(self.home.incarnation, |(_, own)| own.incarnation)
    }

    // ---- starts ------------------------------------------------------------------------------------------------

    /// Recovers from the disk and starts, after some starts that were cut short. A start that finds no room does not
    /// happen.
    pub(crate) fn start(&mut self, plan: &Plan, checks: Checks, now: u64) -> Result<(), Violation> {
        assert!(self.running.is_none() && !self.is_lost, "node {} runs already, or cannot", self.id);
        self.life += 1;
        self.mend_decay();
        if self.aside.is_none() {
            self.fail_to_start(plan, checks, now)?;
        }
        let store = match self.open(plan) {
            Err(OpenError::DiskFull(_)) if self.is_full => {
                note(&mut self.faults, "start without room");
                self.trace.tell(now, Some(self.id), || "finds no room on its disk to start");
                return Ok(());
            }
            opened => opened.map_err(|error| self.unrecovered(&error))?,
        };
        self.run(plan, checks, now, store)
    }

    /// Starts that come to nothing: the power goes, or the disk is damaged and is mended.
    fn fail_to_start(&mut self, plan: &Plan, checks: Checks, now: u64) -> Result<(), Violation> {
        while self.rng.chance(100_000) {
            // Drawn beside: what else is drawn for a node stays what it is.
            let mut beside = self.rng.clone().fork();
            let operations = self.rng.below(12);
            if beside.chance(250_000) {
                note(&mut self.faults, "sync failed in a recovery");
                self.trace.tell(now, Some(self.id), || "has a disk of which a sync fails while it starts");
                self.home.disk.fail_sync_after(beside.below(6));
            } else {
                note(&mut self.faults, "power cut in a recovery");
                self.trace.tell(now, Some(self.id), || "loses power while it starts");
                self.home.disk.power_off_after(operations + beside.below(8));
            }
            // What has come to its end is lost all the same: the process goes no further.
            drop(self.open(plan).map(|mut store| store.restore()));
            self.tear();
        }
        if self.rng.chance(plan.odds(Trouble::Damage)) && checks.recovery {
            self.start_unframed(plan)?;
            self.start_without_snapshot(plan)?;
            self.start_damaged(plan, now)?;
        }
        Ok(())
    }

    /// A start without one of its segments, or with a rotten frame of one. It happens to a copy of the disk, with dice of its
    /// own, so that nothing comes of it, and the history is the same where this is not checked.
    fn start_unframed(&mut self, plan: &Plan) -> Result<(), Violation> {
        let (disk, mut rng) = self.copied();
        let Some(name) = strike_frame(&disk, &mut rng) else { return Ok(()) };
        let opened = open(disk, self.id, plan, &mut rng).ok();
        self.expect_noticed(opened, name)
    }

    /// A start with a rotten snapshot, which happens to a copy, too: it says what the sound one says, or the start is refused. Whether
    /// a content is sound is seen when it is read.
    fn start_without_snapshot(&mut self, plan: &Plan) -> Result<(), Violation> {
        let (disk, mut rng) = self.copied();
        let sound = open(disk.fork(), self.id, plan, &mut rng.clone()).ok().and_then(|mut it| it.restore().ok());
        let Some(name) = strike_snapshot(&disk, &mut rng) else { return Ok(()) };
        let opened = open(disk.clone(), self.id, plan, &mut rng).ok();
        let found = opened.and_then(|mut store| store.restore().ok());
        if let (Some(sound), Some(found)) = (sound, found) {
            let (id, is_same) = (self.id, found.snapshot == sound.snapshot);
            require!(is_same, Recovery, "node {id} finds {:?}; it left {:?}", found.snapshot, sound.snapshot);
        }
        disk.kill();
        self.expect_noticed(open(disk, self.id, plan, &mut rng).ok(), name)
    }

    /// A start on a damaged disk, which is mended afterwards: what was refused must then be all there. It happens to a copy,
    /// too.
    fn start_damaged(&mut self, plan: &Plan, now: u64) -> Result<(), Violation> {
        let (disk, mut rng) = self.copied();
        let Some(damage) = Damage::strike(&disk, &mut rng) else { return Ok(()) };
        let opened = open(disk.clone(), self.id, plan, &mut rng).ok();
        self.expect_noticed(opened, damage.name)?;
        self.trace.tell(now, Some(self.id), || format!("has a damaged disk ({}), which is mended", damage.name));
        damage.mend(&disk);
        let mended = open(disk, self.id, plan, &mut rng).map_err(|error| self.unrecovered(&error))?;
        let found = all_found(mended).map_err(|error| self.unrecovered(&error))?;
        self.expect_left(&found)
    }

    /// A copy of the disk that has room, and dice for what happens to it.
    fn copied(&self) -> (FaultyDisk, Rng) {
        let copy = self.home.disk.fork();
        copy.limit_bytes(None);
        (copy, self.rng.clone().fork())
    }

    /// A start on a damaged disk finds all that was left, or refuses.
    fn expect_noticed(
        &mut self,
        opened: Option<DurableStore<FaultyDisk>>,
        damage: &'static str,
    ) -> Result<(), Violation> {
        let found = opened.and_then(|store| all_found(store).ok());
        match &found {
            Some(found) => self.expect_left(found),
            None => {
                note(&mut self.faults, damage);
                Ok(())
            }
        }
    }

    /// What a start finds must be what the last life has left.
    fn expect_left(&self, found: &Durable) -> Result<(), Violation> {
        let left = &self.home.left;
        require!(left.may_be(found), Recovery, "node {} finds {found}; it left {left}", self.id);
        Ok(())
    }

    /// What a start finds must end as the last life has left it.
    fn expect_end(&self, restored: &Restored, snapshot: Option<&Arc<Stamps>>) -> Result<Durable, Violation> {
        let left = &self.home.left;
        left.ends_as(restored, snapshot).ok_or_else(|| {
            let (vote, last, commit) = (restored.vote, restored.last, restored.commit);
            let found = format!("{}, a log to {last} and commit {commit}", words::vote(vote));
            Violation { check: Check::Recovery, reason: format!("node {} finds {found}; it left {left}", self.id) }
        })
    }

    fn run(
        &mut self,
        plan: &Plan,
        checks: Checks,
        now: u64,
        mut store: DurableStore<FaultyDisk>,
    ) -> Result<(), Violation> {
        let restored = store.restore().map_err(|error| self.unrecovered(&error))?;
        let snapshot = covered(&restored, &store).map_err(|error| self.unrecovered(&error))?;
        let found = if checks.recovery {
            let found = Durable::found(&restored, snapshot, &*store.reader());
            let found = found.map_err(|error| self.unrecovered(&error))?;
            self.expect_left(&found.0)?;
            expect_time(self.id, restored.log_time, &found.0)?;
            found
        } else {
            (self.expect_end(&restored, snapshot.as_ref())?, Vec::new())
        };
        let genesis = if self.begins(plan, &restored) { genesis_of(&initial_members(plan)) } else { restored.genesis };
        let (me, own) = (store.identity().speaking(self.build).of(genesis), self.clock.at(now));
        self.newest_build = self.newest_build.max(self.build);
        self.home.incarnation = me.incarnation;
        if self.copy.is_none() && self.aside.is_none() && self.rng.chance(plan.odds(Trouble::Disguises)) {
            let Home { disk, left, incarnation, .. } = &self.home;
            let copy = Home { disk: disk.fork(), left: left.clone(), incarnation: *incarnation, decay: None };
            copy.disk.kill();
            self.copy = Some(copy);
        }
        let log_clock = LogClock(restored.log_time, own);
        let engine = Engine::new(plan.engine(me, self.rng.next()), restored, own);
        let mut runtime = Runtime::new(plan, store, found, self.trace.clone(), checks);
        runtime.me = me;
        let mut driver = Driver::new(engine);
        runtime.now = Instant(now);
        driver.start(own, &mut runtime);
        self.running = Some(Running {
            driver,
            runtime,
            working: false,
            flush_began: None,
            wrote_at: now,
            rests: true,
            judged: None,
            leads_since: None,
            office: None,
            succession: Succession::default(),
            needed_since: None,
            log_clock,
            heard: Heard::default(),
            led_at: None,
            armed: None,
            armed_for: (self.clock, own),
        });
        Ok(())
    }

    fn open(&mut self, plan: &Plan) -> Result<DurableStore<FaultyDisk>, OpenError> {
        open(self.home.disk.clone(), self.id, plan, &mut self.rng)
    }

    fn unrecovered(&self, error: &impl std::fmt::Display) -> Violation {
        Violation { check: Check::Recovery, reason: format!("node {} does not start: {error}", self.id) }
    }

    // ---- faults of the disk ------------------------------------------------------------------------------------

    /// From now on, one of the next syncs fails.
    pub(crate) fn fail_sync(&mut self) {
        self.is_failing = true;
        self.home.disk.fail_sync_after(self.rng.below(3));
    }

    /// Whether its disk is in trouble.
    pub(crate) const fn has_disk_trouble(&self) -> bool {
        self.is_failing || self.is_full
    }

    /// The process is to die after so many operations of its disk.
    pub(crate) fn end_after(&self, operations: u64) {
        self.home.disk.power_off_after(operations);
    }

    /// It is to live on.
    pub(crate) fn end_not(&self) {
        self.home.disk.power_off_after(u64::MAX);
    }

    /// Whether its disk is in the trouble that this reason for a failure tells of.
    pub(crate) fn may_fail_so(&self, reason: &str) -> bool {
        (self.is_failing && reason.contains("sync") && reason.contains("as ordered"))
            || (self.is_full && (reason.contains("the disk is full") || reason.contains("no room")))
    }

    /// One of the next writes takes only a part of what it is given, and says so.
    pub(crate) fn write_short(&mut self) {
        note(&mut self.faults, "write short");
        self.home.disk.short_write_after(self.rng.below(3));
    }

    /// From now on the disk takes no more than it holds.
    pub(crate) fn fill(&mut self) {
        self.is_full = true;
        self.home.disk.limit_bytes(Some(self.home.disk.bytes_held()));
    }

    /// The disk has room again.
    pub(crate) fn make_room(&mut self) {
        self.is_full = false;
        self.home.disk.limit_bytes(None);
    }

    // ---- replacements ------------------------------------------------------------------------------------------

    /// Its disk is lost, or taken out: the node goes on with an empty one, or with the one that was replaced before. Answers
    /// which.
    pub(crate) fn replace_disk(&mut self) -> bool {
        assert!(self.running.is_none() && self.aside.is_none(), "node {} runs, or is in disguise", self.id);
        self.make_room();
        let old = if self.rng.chance(400_000) { self.attic.take() } else { None };
        let is_old = old.is_some();
        self.attic = Some(mem::replace(&mut self.home, old.unwrap_or_default()));
        self.copy = None;
        is_old
    }

    /// Whether it once had another disk: it waits to be added.
    pub(crate) const fn is_replaced(&self) -> bool {
        self.attic.is_some()
    }

    /// Whether it begins the cluster, with the others that do: it is not started to join one, and has nothing of one yet.
    fn begins(&self, plan: &Plan, restored: &Restored) -> bool {
        restored.last == LogId::ZERO && !self.is_replaced() && plan.founders().any(|founder| founder == self.id)
    }

    /// The data directory that it runs from, or did last.
    pub(crate) const fn directory(&self) -> u64 {
        self.home.incarnation.id
    }

    // ---- disguises ---------------------------------------------------------------------------------------------

    /// The copy that was made of this node, if a start from it is sure to be refused by whoever has met this life.
    fn has_old_copy(&self, met: Incarnation) -> bool {
        self.copy.as_ref().is_some_and(|copy| met.start > copy.incarnation.start)
    }

    /// From the next start on, the node runs from another disk. `met` is the oldest life of it that any other node has
    /// durably met: it must be one that those who meet the disguised node know better than.
    pub(crate) fn put_on(&mut self, met: Option<Incarnation>) -> Option<Disguise> {
        let met = met.filter(|met| met.id == self.home.incarnation.id && self.running.is_none())?;
        let copied = if self.has_old_copy(met) && self.rng.chance(600_000) { self.copy.take() } else { None };
        let disguise = if copied.is_some() { Disguise::Copy } else { Disguise::Wiped };
        self.make_room();
        let own = mem::replace(&mut self.home, copied.unwrap_or_default());
        self.aside = Some((disguise, own));
        Some(disguise)
    }

    /// A process that was refused for good has ended; what it ran from must never start again. Then the node's own disk
    /// comes back.
    pub(crate) fn take_off(&mut self, plan: &Plan, was_refused: bool) -> Result<(), Violation> {
        assert!(self.running.is_none(), "node {} still runs", self.id);
        if was_refused {
            let opened = self.open(plan);
            let refuses = matches!(opened, Err(OpenError::Refused(_)));
            require!(refuses, Recovery, "node {} starts from a disk with which it was refused", self.id);
        }
        if let Some((_, own)) = self.aside.take() {
            self.home = own;
        }
        Ok(())
    }

    // ---- ends --------------------------------------------------------------------------------------------------

    /// The engine has halted: the process writes what is queued, and ends.
    pub(crate) fn end(&mut self) {
        let Some(Running { mut runtime, .. }) = self.running.take() else { return };
        // A disk that fails now fails a process that is lost anyway.
        let _ = runtime.write_all();
        self.trace = runtime.trace.clone();
        drop(runtime);
        self.home.disk.kill();
    }

    /// Dies at once, at any point of a flush that is under way; `power` says whether its disk loses what was not synced.
    pub(crate) fn crash(&mut self, power: bool) {
        let Some(Running { mut runtime, .. }) = self.running.take() else { return };
        self.paused_until = 0;
        if !runtime.in_flight().is_empty() {
            note(&mut self.faults, "crash in the middle of a flush");
            self.home.disk.power_off_after(self.rng.below(6));
            // Whether it succeeded before the lights went out is what the recovery is asked.
            let _ = runtime.write_in_flight();
        }
        if runtime.is_keeping() {
            note(&mut self.faults, "crash while a snapshot is kept");
            self.home.disk.power_off_after(self.rng.below(12));
        }
        let maybe_covers = runtime.die_keeping();
        let (certain, maybe) = runtime.take_left();
        self.home.left = Left { certain, maybe, maybe_covers, was_full: self.is_full };
        self.trace = runtime.trace.clone();
        drop(runtime);
        if power {
            self.tear();
        } else {
            // What was not synced stays in the page cache, and may be lost with the power yet.
            self.home.disk.kill();
            self.home.disk.power_off_after(u64::MAX);
            self.home.disk.fail_sync_after(u64::MAX);
        }
        self.is_failing = false;
    }

    fn tear(&mut self) {
        self.home.disk.crash(self.rng.next());
    }
}

/// Opens what is on a disk.
fn open(disk: FaultyDisk, id: NodeId, plan: &Plan, rng: &mut Rng) -> Result<DurableStore<FaultyDisk>, OpenError> {
    let options = OpenOptions::new(CLUSTER, id.0, rng.next(), rng.next());
    DurableStore::open(disk, Path::new(DIRECTORY), OpenOptions { segment_bytes: plan.segment_bytes, ..options })
}

/// All that a store finds, its whole log included.
fn all_found(mut store: DurableStore<FaultyDisk>) -> Result<Durable, StorageError> {
    let restored = store.restore()?;
    let snapshot = covered(&restored, &store)?;
    Durable::found(&restored, snapshot, &*store.reader()).map(|(found, _)| found)
}

/// What a start says of log time is what the last entry has.
fn expect_time(id: NodeId, told: LogTime, found: &Durable) -> Result<(), Violation> {
    let read = found.log_time();
    require!(told == read, Recovery, "node {id} restores the log time {told}, its last entry has {read}");
    Ok(())
}

/// What the newest snapshot of a store covers.
fn covered(restored: &Restored, store: &DurableStore<FaultyDisk>) -> Result<Option<Arc<Stamps>>, StorageError> {
    let Some(snapshot) = &restored.snapshot else { return Ok(None) };
    read_content(&*store.snapshots(), snapshot.id).map(|content| Some(Arc::new(content.stamps)))
}

impl Node {
    /// The same, and its first life is to be in this build.
    pub(crate) fn of_build(self, build: Version) -> Self {
        Self { build, ..self }
    }

    /// Another build is put in place.
    pub(crate) const fn change_build(&mut self, build: Version) {
        self.build = build;
    }

    /// The most that a build of it has spoken.
    pub(crate) const fn newest_build(&self) -> Version {
        self.newest_build
    }

    #[cfg(test)]
    pub(crate) fn has_run_in(&mut self, build: Version) {
        self.newest_build = self.newest_build.max(build);
    }

    /// Whether it has run in a newer build than the one in place.
    pub(crate) fn has_gone_back(&self) -> bool {
        self.build < self.newest_build
    }

    /// Whether its state is another than it should be.
    pub(crate) fn is_rotten(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.runtime.machine.is_rotten())
    }

    /// Whether it knows how states are compared, or is down: the cluster's first version does not.
    pub(crate) fn compares_states(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.driver.engine().version() == Version::LATEST)
    }
}

impl Running {
    /// A lane has room.
    pub(crate) fn room(&mut self, lane: Lane, now: Instant) {
        self.driver.room(lane, now, &mut self.runtime);
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::LogId;

    use super::*;
    use crate::durable::Stamp;

    #[test]
    fn a_failure_of_a_disk_is_believed_only_in_the_trouble_that_it_tells_of() {
        let mut node = Node::new(NodeId(1), Rng::new(1), Telling::Nothing);
        let (sync, full) =
            ("a sync failed, as ordered", "the disk is full, free some space (votes are saved): no space");
        let other = "a sync failed, whatever the order was";
        let believed = |node: &Node| [sync, full, other].map(|reason| node.may_fail_so(reason));
        assert_eq!(believed(&node), [false; 3]);
        node.is_failing = true;
        assert_eq!(believed(&node), [true, false, false]);
        (node.is_failing, node.is_full) = (false, true);
        assert_eq!(believed(&node), [false, true, false]);
    }

    /// A node of a world that has crashed once it had something on its disk, and how that world is.
    fn crashed() -> (Node, Plan) {
        use crate::history::History;
        use crate::world::World;
        for seed in 1..50 {
            let mut world = World::new(&History::new(seed).checks(Checks::LIGHT));
            if let Some(crashed) = world.until_crashed() {
                return crashed;
            }
        }
        panic!("nobody has written anything in any of these worlds");
    }

    #[test]
    fn a_start_that_finds_something_else_than_was_left_is_noticed() {
        for checks in [Checks::ALL, Checks::LIGHT] {
            let starts = |bend: &dyn Fn(&mut Durable)| {
                let (mut node, mut plan) = crashed();
                // What a damaged start must find is another matter.
                plan.spare(Trouble::Damage);
                bend(&mut node.home.left.certain);
                node.start(&plan, checks, 0).err().map(|violation| violation.check)
            };
            let noticed = Some(Check::Recovery);
            assert_eq!(starts(&|_| ()), None);
            assert_eq!(starts(&|left| left.vote.term = left.vote.term.next()), noticed);
            assert_eq!(starts(&|left| left.log.truncate(left.log.last().index.previous())), noticed);
            let met = |left: &mut Durable| {
                let peer = outrigger::engine::Peer::new(NodeId(77), Incarnation::default());
                left.write(&outrigger::engine::Command::SavePeer { write: Default::default(), peer });
            };
            assert_eq!(starts(&met), noticed);
            let committed = |left: &mut Durable| {
                let commit = outrigger::engine::LogIndex(1 << 20);
                left.write(&outrigger::engine::Command::SaveCommitted { commit });
            };
            assert_eq!(starts(&committed), noticed);
            let later = |left: &mut Durable| {
                let last = left.log.0.last_mut().expect("it has some");
                last.log_time = LogTime(last.log_time.0 + 1);
            };
            assert_eq!(starts(&later), noticed);
        }
    }

    #[test]
    fn a_damaged_disk_is_refused_or_holds_all_and_a_mended_one_holds_all() {
        let (mut node, plan) = crashed();
        node.home.disk.kill();
        let mut refused = Counts::new();
        for draw in 0..60 {
            node.rng = Rng::new(draw);
            for start in [Node::start_unframed, Node::start_without_snapshot] {
                assert_eq!(start(&mut node, &plan), Ok(()));
            }
            assert_eq!(node.start_damaged(&plan, 0), Ok(()));
            refused = node.faults.clone();
        }
        for name in ["segment missing and refused", "frame rotten and refused"] {
            assert!(refused.contains_key(name), "{name}: {refused:?}");
        }
        node.home.left.certain.vote.term = outrigger::engine::Term(99);
        let refusals = |node: &Node| node.faults.values().sum::<u64>();
        let (mut mended, mut found) = (0, 0);
        for draw in 0..60 {
            node.rng = Rng::new(draw);
            let before = refusals(&node);
            if node.start_damaged(&plan, 0).is_err_and(|violation| violation.check == Check::Recovery) {
                *(if refusals(&node) > before { &mut mended } else { &mut found }) += 1;
            }
        }
        assert!(mended > 0 && found > 0, "what is found at once, and once it is mended: {found}, {mended}");
        let (disk, mut rng) = node.copied();
        let opened = open(disk, node.id, &plan, &mut rng).ok();
        assert!(opened.is_some(), "nothing has struck it");
        let judged = node.expect_noticed(opened, "nothing").map_err(|violation| violation.check);
        assert_eq!(judged, Err(Check::Recovery));
    }

    #[test]
    fn a_start_that_finds_no_room_on_a_disk_that_has_some_is_noticed() {
        let (mut node, mut plan) = crashed();
        plan.spare(Trouble::Damage);
        node.rng = Rng::new(1);
        node.home.disk.limit_bytes(Some(0));
        node.is_full = true;
        assert_eq!(node.start(&plan, Checks::LIGHT, 0), Ok(()));
        assert!(node.running.is_none(), "it does not happen");
        node.is_full = false;
        let judged = node.start(&plan, Checks::LIGHT, 0).map_err(|violation| violation.check);
        assert_eq!(judged, Err(Check::Recovery));
    }

    #[test]
    fn a_disk_with_which_a_node_was_refused_and_that_starts_again_is_noticed() {
        let (mut node, plan) = crashed();
        assert_eq!(node.take_off(&plan, false), Ok(()));
        let judged = node.take_off(&plan, true).map_err(|violation| violation.check);
        assert_eq!(judged, Err(Check::Recovery));
    }

    #[test]
    fn a_start_that_restores_another_log_time_than_its_last_entry_has_is_noticed() {
        let mut found = Durable::default();
        assert_eq!(expect_time(NodeId(1), LogTime(0), &found), Ok(()));
        found.log.0.push(Stamp { id: LogId::new(1, 1), log_time: LogTime(7), digest: 0 });
        assert_eq!(expect_time(NodeId(1), LogTime(7), &found), Ok(()));
        for told in [0, 6, 8] {
            let judged = expect_time(NodeId(1), LogTime(told), &found);
            assert_eq!(judged.map_err(|violation| violation.check), Err(Check::Recovery));
        }
    }
}
