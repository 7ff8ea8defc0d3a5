//! What strikes, and when: one task that draws a fault, does it, and rests.

use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::NodeId;
use tokio::time::sleep;

use crate::network::Network;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::slot::{PowerCut, Slot};
use crate::trace::Trace;

/// See the module.
pub(crate) struct Faults {
    pub(crate) rng: Rng,
    pub(crate) plan: Arc<Plan>,
    pub(crate) trace: Trace,
    pub(crate) network: Arc<Network>,
    pub(crate) slots: Vec<Arc<Slot>>,
}

impl Faults {
    /// Strikes again and again, until the plan says that it is enough.
    pub(crate) async fn strike(mut self) {
        loop {
            let (low, high) = self.plan.pause;
            sleep(Duration::from_millis(self.rng.between(low, high))).await;
            if self.trace.now() >= self.plan.faults_for {
                return;
            }
            self.strike_once();
        }
    }

    fn strike_once(&mut self) {
        let rng = &mut self.rng;
        let slot = Arc::clone(rng.pick(&self.slots));
        if self.plan.is_crowded && rng.chance(800_000) {
            let time = Duration::from_millis(rng.between(20, 400));
            let node = self.slots.iter().find(|slot| slot.leads()).unwrap_or(&slot);
            return self.hold_back(NodeId(node.id), time);
        }
        match rng.below(18) {
            0 => slot.crash("power cut"),
            1..4 => {
                let delay = Duration::from_millis(*rng.pick(&[0, 0, 5, 50, 500]));
                slot.order_power_cut(rng.below(12), PowerCut { is_behind: rng.chance(500_000), delay });
            }
            4 => slot.kill(),
            5 if rng.chance(200_000) => self.slots.iter().for_each(|slot| slot.crash("power cut of all nodes")),
            5 | 6 => self.network.come_apart(rng),
            7..10 => self.network.join(),
            10 => self.network.break_link(NodeId(slot.id), NodeId(rng.between(1, self.plan.nodes))),
            11 | 12 => slot.hang(*rng.pick(&[20, 200, 2_000, 9_000])),
            13 => slot.order_failure(rng.below(8), rng.chance(700_000)),
            14 | 15 => {
                let time = Duration::from_millis(*rng.pick(&[100, 1_000, 4_000]));
                self.network.stall(NodeId(slot.id), NodeId(rng.between(1, self.plan.nodes)), time);
            }
            16 => slot.order_short_write(rng.below(4)),
            _ => drop(tokio::spawn(async move { slot.stop().await })),
        }
    }

    /// Lets a node hear nothing for a while, and then all at once: a leader learns from one answer after the other what is
    /// committed, and passes each on before the first of these messages can have arrived.
    fn hold_back(&self, node: NodeId, time: Duration) {
        self.trace.count("answers held back", &[node.0]);
        for other in (1..=self.plan.nodes).map(NodeId).filter(|other| *other != node) {
            self.network.stall(other, node, time);
        }
    }
}
