//! A node's place: a disk that outlives every process, and the process that runs there now, if one does.
//!
//! ```text
//!   ┌─► store opened, node started ──► runs ──┬── crash: tasks gone, disk without what was not synced ──┐
//!   │                                         ├── killed: tasks gone, disk as it is                     │
//!   │                                         ├── told to stop                                          │
//!   │                                         └── stopped by its disk, as it should                     │
//!   └──────────────────────── after a while ◄───────────────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger::engine::{NodeId, Peer};
use outrigger::store::DurableStore;
use outrigger::{Error, Raft};
use outrigger_log::{FaultyDisk, OpenOptions};
use tokio::time::{sleep, timeout};

use crate::disk::SlotDisk;
use crate::life::Life;
use crate::network::{Network, Wire};
use crate::plan::{HANG_MAX, Plan, STOP_WITHIN};
use crate::register::Register;
use crate::rng::Rng;
use crate::trace::Trace;

/// See the module.
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) trace: Trace,
    plan: Arc<Plan>,
    network: Arc<Network>,
    disk: FaultyDisk,
    inside: Mutex<Inside>,
}

struct Inside {
    rng: Rng,
    /// The node as clients know it; after its death, until it starts again, the dead one.
    raft: Option<Raft<Register>>,
    /// The life that goes on, or is about to begin, and who it is once that is known.
    life: Option<(Arc<Life>, Option<Peer>)>,
    /// The power goes off at the disk operation after so many more.
    power: Option<(u64, PowerCut)>,
    /// Whether a failure of the disk is ordered, so that the node may stop by it.
    is_failing: bool,
    /// Whether nothing strikes any more: who is down comes back soon.
    is_healed: bool,
    /// Whether the node stays down once it stops.
    is_retired: bool,
}

/// How the power goes off at a disk operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerCut {
    /// Whether the operation is done before.
    pub(crate) is_behind: bool,
    /// How much later all else stops.
    pub(crate) delay: Duration,
}

impl Slot {
    pub(crate) fn new(id: u64, rng: Rng, plan: Arc<Plan>, network: Arc<Network>, trace: Trace) -> Self {
        let inside =
            Inside { rng, raft: None, life: None, power: None, is_failing: false, is_healed: false, is_retired: false };
        Self { id, trace, plan, network, disk: FaultyDisk::new(), inside: Mutex::new(inside) }
    }

    /// Keeps a node running here, however often it dies, until it is retired.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            let life = self.begin();
            if let Some(raft) = self.start(&life).await {
                self.lock().raft = Some(raft.clone());
                let end = raft.stopped().await;
                self.judge_end(&life, end);
            }
            self.lock().life = None;
            if self.lock().is_retired {
                return;
            }
            sleep(self.down_time()).await;
        }
    }

    fn begin(&self) -> Arc<Life> {
        let mut inside = self.lock();
        let life = Arc::new(Life::new(inside.rng.fork(), &self.plan));
        inside.life = Some((Arc::clone(&life), None));
        life
    }

    /// Opens the log and starts the node; none if it dies over that.
    async fn start(self: &Arc<Self>, life: &Arc<Life>) -> Option<Raft<Register>> {
        let (incarnation, nonce) = {
            let rng = &mut self.lock().rng;
            (rng.next(), rng.next())
        };
        let mut options = OpenOptions::new(1, self.id, incarnation, nonce);
        options.segment_bytes = self.plan.segment_bytes();
        let disk = SlotDisk::new(self.disk.clone(), Arc::clone(self), Arc::clone(life));
        let store = match DurableStore::open(disk, "/log".as_ref(), options) {
            Ok(store) => store,
            Err(error) => {
                self.judge_failure(life, &error.to_string());
                return None;
            }
        };
        let peer = store.identity();
        if let Some((_, own)) = &mut self.lock().life {
            *own = Some(peer);
        }
        let wire = Arc::new(Wire::new(Arc::clone(&self.network)));
        let starting = Raft::builder(self.plan.config(self.id), Register::default())
            .transport(wire)
            .log_store(Box::new(store), peer)
            .environment(Arc::<Life>::clone(life))
            .start();
        let started = tokio::select! {
            biased;
            () = life.ended() => return None,
            started = starting => started,
        };
        self.trace.count("node started", &[self.id, peer.incarnation.start]);
        started.map_err(|error| self.judge_failure(life, &error.to_string())).ok()
    }

    fn judge_end(&self, life: &Life, end: Result<(), Error>) {
        match end {
            _ if !life.has_disk() => {}
            Err(error) => self.judge_failure(life, &error.to_string()),
            Ok(()) => {
                self.trace.count("node stopped as it was told", &[self.id]);
                if life.tasks_left() > 0 {
                    self.trace.violate(format!(
                        "node {} has stopped, but not {} of its tasks",
                        self.id,
                        life.tasks_left()
                    ));
                }
            }
        }
    }

    /// A node may stop by its disk only if that was told to fail; then its machine starts anew.
    fn judge_failure(&self, life: &Life, why: &str) {
        if !life.has_disk() {
            return;
        }
        if !self.lock().is_failing {
            return self.trace.violate(format!("node {} stopped by itself: {why}", self.id));
        }
        self.trace.count("node stopped by its disk", &[self.id]);
        self.lose_power();
    }

    fn down_time(&self) -> Duration {
        let mut inside = self.lock();
        let milliseconds = if inside.is_healed { 1 } else { *inside.rng.pick(&[1, 100, 1_000, 3_000]) };
        Duration::from_millis(inside.rng.between(milliseconds, 2 * milliseconds))
    }

    // ---- faults ------------------------------------------------------------------------------------------------

    /// Power off: all at once, everything that is not on the platter is gone, or half of it.
    pub(crate) fn crash(&self, what: &'static str) {
        if self.end_life() {
            self.trace.count(what, &[self.id]);
            self.lose_power();
        }
    }

    /// As [`crash`](Self::crash), if the node is still in this life.
    pub(crate) fn end(&self, life: &Arc<Life>, what: &'static str) {
        let lives = self.lock().life.as_ref().is_some_and(|(now, _)| Arc::ptr_eq(now, life));
        if lives {
            self.crash(what);
        }
    }

    /// The process is gone; what it wrote is still there.
    pub(crate) fn kill(&self) {
        if self.end_life() {
            self.trace.count("process killed", &[self.id]);
            self.disk.kill();
        }
    }

    /// Ends the tasks and connections of the node that runs; false if none does.
    fn end_life(&self) -> bool {
        let Some((life, peer)) = self.lock().life.take() else { return false };
        life.end();
        peer.into_iter().for_each(|peer| self.network.vanish(peer));
        true
    }

    fn lose_power(&self) {
        let choice = {
            let mut inside = self.lock();
            inside.is_failing = false;
            inside.power = None;
            inside.rng.next()
        };
        self.disk.crash(choice);
    }

    /// Orders a power cut at the disk operation after so many more.
    pub(crate) fn order_power_cut(&self, operations: u64, cut: PowerCut) {
        self.lock().power = Some((operations, cut));
    }

    /// Whether the power goes off at this operation.
    pub(crate) fn power_goes_off(&self) -> Option<PowerCut> {
        let power = &mut self.lock().power;
        let (left, cut) = power.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let cut = *cut;
        *power = None;
        Some(cut)
    }

    /// Lets a sync or a write fail, and the node with it.
    pub(crate) fn order_failure(&self, operations: u64, of_sync: bool) {
        self.lock().is_failing = true;
        if of_sync {
            self.disk.fail_sync_after(operations);
        } else {
            self.disk.fail_write_after(operations);
        }
        self.trace.count("failure of the disk ordered", &[self.id]);
    }

    /// Lets a write take half of its bytes, which is no failure.
    pub(crate) fn order_short_write(&self, writes: u64) {
        self.disk.short_write_after(writes);
        self.trace.count("short write ordered", &[self.id]);
    }

    /// Lets the disk hang.
    pub(crate) fn hang(&self, milliseconds: u64) {
        let time = Duration::from_millis(milliseconds).min(HANG_MAX);
        if let Some((life, _)) = &self.lock().life {
            life.hang(time);
            self.trace.count("disk hangs", &[self.id]);
        }
    }

    /// Tells the node to stop; it must have done so in time, unless it dies first.
    pub(crate) async fn stop(&self) {
        let Some(raft) = self.raft() else { return };
        if timeout(STOP_WITHIN, raft.shutdown()).await.is_err() {
            self.trace.violate(format!("node {} was told to stop and did not", self.id));
        }
    }

    /// Nothing strikes any more.
    pub(crate) fn heal(&self) {
        let mut inside = self.lock();
        inside.is_healed = true;
        inside.power = None;
        inside.life.iter().for_each(|(life, _)| life.hang(Duration::ZERO));
        drop(inside);
        // What was ordered and has not failed by now does not.
        self.disk.fail_sync_after(u64::MAX);
        self.disk.fail_write_after(u64::MAX);
    }

    /// The node does not start again.
    pub(crate) fn retire(&self) {
        self.lock().is_retired = true;
    }

    /// The node as a client has it.
    pub(crate) fn raft(&self) -> Option<Raft<Register>> {
        self.lock().raft.clone()
    }

    /// Whether the node that runs here believes to lead.
    pub(crate) fn leads(&self) -> bool {
        self.raft().is_some_and(|raft| raft.metrics().latest().leader == Some(NodeId(self.id)))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
