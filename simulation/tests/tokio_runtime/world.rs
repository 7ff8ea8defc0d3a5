//! One history: a cluster, its clients, what strikes them, and the end that shows whether all went well.
//!
//! ```text
//!   faults ─────────────────┐ healed ── all serve, all equal ── power cut of all ── all serve, all equal ── judged
//!   clients ────────────────┴────────┐                          (only what is durable survives it)
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger::Raft;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::faults::Faults;
use crate::network::Network;
use crate::plan::{ANSWER_WITHIN, CONVERGE_WITHIN, Plan};
use crate::record::Record;
use crate::register::Register;
use crate::rng::Rng;
use crate::slot::Slot;
use crate::trace::{Counts, Trace};

/// What became of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// Of everything that happened, and when.
    pub(crate) digest: u64,
    pub(crate) counts: Counts,
    /// What went wrong first.
    pub(crate) violation: Option<String>,
}

/// Lives through the history that a seed names.
pub(crate) fn run(seed: u64, prints: bool) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime needs nothing but memory");
    runtime.block_on(async {
        let world = World::new(seed, Trace::begin(prints));
        world.live().await;
        Report { seed, digest: world.trace.digest(), counts: world.trace.counts(), violation: world.trace.violation() }
    })
}

struct World {
    rng: Mutex<Rng>,
    plan: Arc<Plan>,
    trace: Trace,
    network: Arc<Network>,
    slots: Vec<Arc<Slot>>,
    record: Arc<Mutex<Record>>,
}

impl World {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Arc::new(Plan::draw(&mut rng));
        let network = Arc::new(Network::new(rng.fork(), Arc::clone(&plan), trace.clone()));
        let slot = |id| Arc::new(Slot::new(id, rng.fork(), Arc::clone(&plan), Arc::clone(&network), trace.clone()));
        let slots = (1..=plan.nodes).map(slot).collect();
        Self { rng: Mutex::new(rng), plan, trace, network, slots, record: Arc::default() }
    }

    /// See the module.
    async fn live(&self) {
        let carrier = tokio::spawn(Arc::clone(&self.network).carry());
        let keepers: Vec<_> = self.slots.iter().map(|slot| tokio::spawn(Arc::clone(slot).keep())).collect();
        let until = self.plan.faults_for + Duration::from_secs(1);
        let clients: Vec<_> = (1..=self.plan.clients).map(|id| tokio::spawn(self.client(id).live(until))).collect();
        self.faults().strike().await;
        self.heal();
        self.joined(clients).await;
        self.recover().await;
        for slot in &self.slots {
            slot.crash("power cut of all nodes");
        }
        let state = self.recover().await;
        for slot in &self.slots {
            slot.retire();
            slot.stop().await;
        }
        self.joined(keepers).await;
        carrier.abort();
        self.judge(state);
    }

    fn fork(&self) -> Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    fn client(&self, id: u64) -> Client {
        let (plan, trace) = (Arc::clone(&self.plan), self.trace.clone());
        Client { id, rng: self.fork(), plan, trace, slots: self.slots.clone(), record: Arc::clone(&self.record) }
    }

    fn faults(&self) -> Faults {
        let (plan, trace, network) = (Arc::clone(&self.plan), self.trace.clone(), Arc::clone(&self.network));
        Faults { rng: self.fork(), plan, trace, network, slots: self.slots.clone() }
    }

    fn heal(&self) {
        self.trace.note("healed", &[], String::new);
        self.network.heal();
        self.slots.iter().for_each(|slot| slot.heal());
    }

    /// Waits for tasks of which each must end, and without a panic.
    async fn joined(&self, tasks: Vec<JoinHandle<()>>) {
        for task in tasks {
            match timeout(2 * ANSWER_WITHIN, task).await {
                Ok(Ok(())) => {}
                Ok(Err(panic)) => self.trace.violate(format!("a task of the simulation failed: {panic}")),
                Err(_) => self.trace.violate("a task of the simulation does not end"),
            }
        }
    }

    /// A cluster in which all is well serves through every node, and all nodes come to hold the same; what they hold.
    async fn recover(&self) -> Option<Register> {
        let mut client = self.client(0);
        let recovery = async {
            for slot in &self.slots {
                while !Self::serves(&mut client, slot).await {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            loop {
                let mut states = Vec::new();
                for slot in &self.slots {
                    states.extend(state(slot).await);
                }
                let first = states
                    .first()
                    .cloned()
                    .filter(|first| states.len() == self.slots.len() && states.iter().all(|other| other == first));
                if let Some(first) = first {
                    return first;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let recovered = timeout(CONVERGE_WITHIN, recovery).await.ok();
        if recovered.is_none() {
            let nodes = self.slots.iter().map(|slot| format!("{:?}", slot.raft()));
            let nodes = nodes.collect::<Vec<_>>().join("\n");
            self.trace.violate(format!("the cluster does not recover within {CONVERGE_WITHIN:?}:\n{nodes}\n"));
        }
        recovered
    }

    async fn serves(client: &mut Client, slot: &Slot) -> bool {
        let Some(raft) = slot.raft() else { return false };
        client.write(&raft, 1).await && client.read(&raft).await
    }

    fn judge(&self, state: Option<Register>) {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state else { return };
        self.trace.note("ended", &record.tally(), || format!("{} writes applied", state.applied.len()));
        match record.check(&state) {
            Ok(false) => self.trace.count("history searched to the end", &[]),
            Ok(true) => self.trace.count("history too long to search", &[]),
            Err(violation) => self.trace.violate(violation),
        }
    }
}

/// What a node holds.
async fn state(slot: &Slot) -> Option<Register> {
    let raft: Raft<Register> = slot.raft()?;
    timeout(ANSWER_WITHIN, raft.read_local(Register::clone)).await.ok()?.ok()
}
