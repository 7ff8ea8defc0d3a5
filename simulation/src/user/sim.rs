//! What a test says of the world that its state machine must survive.

use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use outrigger::StateMachine;
use outrigger::engine::Limits;

use super::conditions::{Conditions, parts_per_million};
use super::machine::{Fault, encode_command};
use super::random::Rng;
use super::subject::{Maker, Subject};
use crate::check::{Check, Checks, Violation};
use crate::history::History;
use crate::plan::{SECOND, Trouble};
use crate::report::Report;
use crate::trace::Telling;
use crate::world::World;
use crate::{Failure, panic_words, rng};

/// Makes a command of any client.
type Draw<S> = Box<dyn FnMut(&mut Rng) -> <S as StateMachine>::Command>;

/// A larger command is refused by every node; some bytes of an entry are the simulation's own.
const COMMAND_BYTES_MAX: fn() -> usize = || Limits::default().entry_bytes_max - 64;

/// The world that a state machine must survive, as a test describes it. What a test does not say the seed draws, and
/// each seed otherwise: how many nodes there are, whether messages get lost, how often nodes crash. Whatever is said is so
/// in every history.
///
/// # What a chance means
/// [`crash`](Sim::crash), [`torn_writes`](Sim::torn_writes), [`pauses`](Sim::pauses),
/// [`failing_syncs`](Sim::failing_syncs), [`full_disks`](Sim::full_disks) and
/// [`wrong_disks`](Sim::wrong_disks) take the chance that it happens **to one node within each 100 ms of virtual
/// time**. So 0.01 among five nodes means a crash every two seconds somewhere, and five in a history of ten seconds.
/// [`power_cuts`](Sim::power_cuts) and [`partition`](Sim::partition) take the chance that it happens to the cluster
/// within each 100 ms: 0.02 means once in five seconds. [`loss`](Sim::loss), [`duplication`](Sim::duplication) and
/// [`reordering`](Sim::reordering) take the chance of each message, [`slow_syncs`](Sim::slow_syncs) that of each sync,
/// [`damage`](Sim::damage) that of each start. All are from 0.0 to 1.0, and hold on average. Elections take from a
/// sixteenth of a second to a second.
///
/// Who fixes `crash`, `torn_writes` or `partition` gets no such fault beyond that: nobody lies in wait for new leaders, as
/// is usual otherwise.
pub struct Sim<S: StateMachine> {
    conditions: Conditions,
    /// Makes the clients' commands, once there are clients.
    commands: Option<Draw<S>>,
    /// Whether the clients' history is searched as well.
    is_searched: bool,
}

impl<S: StateMachine> std::fmt::Debug for Sim<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("conditions", &self.conditions).finish_non_exhaustive()
    }
}

impl<S: StateMachine> Sim<S> {
    pub(super) fn new() -> Self {
        Self { conditions: Conditions::default(), commands: None, is_searched: false }
    }

    /// How many clients there are, and what each of them writes: one command after the other, through any node. Now and
    /// then it writes several at once, or reads instead. Needed, as nobody else knows what commands are worth trying.
    ///
    /// A command must depend on nothing but the [`Rng`] and what the closure holds, which each history gets anew: a failure is
    /// shrunk by living through its seed again.
    ///
    /// # Panics
    /// With 0 clients.
    pub fn clients(&mut self, clients: u64, command: impl FnMut(&mut Rng) -> S::Command + 'static) -> &mut Self {
        assert!(clients > 0, "sim.clients(0, ..): without clients nothing is written");
        self.conditions.clients = Some(clients);
        self.commands = Some(Box::new(command));
        self
    }

    /// How many nodes there are, all of them voters. Drawn: 1 to 5, mostly 3.
    ///
    /// # Panics
    /// With no node, or more than 9.
    pub fn cluster(&mut self, nodes: u64) -> &mut Self {
        assert!((1..=9).contains(&nodes), "sim.cluster({nodes}): a cluster has 1 to 9 nodes");
        self.conditions.nodes = Some(nodes);
        self
    }

    /// How long there are faults, in virtual seconds; then the cluster is healed, and must converge and serve. Drawn: 5
    /// to 15.
    ///
    /// # Panics
    /// With 0 seconds, or more than an hour.
    pub fn seconds(&mut self, seconds: u64) -> &mut Self {
        assert!((1..=3600).contains(&seconds), "sim.seconds({seconds}): a history lasts 1 to 3600 seconds");
        self.conditions.faults_last = Some(seconds * SECOND);
        self
    }

    /// Within 100 ms a node is killed, with this chance, and started again soon. What it wrote stays in the system's cache.
    ///
    /// # Panics
    /// When it is no probability; so do all of these.
    pub fn crash(&mut self, chance: f64) -> &mut Self {
        self.conditions.crash = Some(parts_per_million("sim.crash", chance));
        self
    }

    /// Within 100 ms a node loses its power, with this chance: what was not synced is lost, in any part, or torn in the
    /// middle.
    pub fn torn_writes(&mut self, chance: f64) -> &mut Self {
        self.conditions.torn_writes = Some(parts_per_million("sim.torn_writes", chance));
        self
    }

    /// Within 100 ms all nodes lose their power at once, with this chance.
    pub fn power_cuts(&mut self, chance: f64) -> &mut Self {
        self.conditions.power_cut = Some(parts_per_million("sim.power_cuts", chance));
        self
    }

    /// Within 100 ms a node stops for a while, with this chance, and knows nothing of it when it goes on.
    pub fn pauses(&mut self, chance: f64) -> &mut Self {
        self.conditions.pause = Some(parts_per_million("sim.pauses", chance));
        self
    }

    /// Within 100 ms a node's disk begins to fail, with this chance: one of its next syncs does, and the process ends.
    pub fn failing_syncs(&mut self, chance: f64) -> &mut Self {
        self.conditions.failing_syncs = Some(parts_per_million("sim.failing_syncs", chance));
        self
    }

    /// Within 100 ms the network comes apart, with this chance, in one of many ways, for a while.
    pub fn partition(&mut self, chance: f64) -> &mut Self {
        self.conditions.partition = Some(parts_per_million("sim.partition", chance));
        self
    }

    /// A message is lost, with this chance.
    pub fn loss(&mut self, chance: f64) -> &mut Self {
        self.conditions.set(Trouble::Loss, parts_per_million("sim.loss", chance));
        self
    }

    /// A message arrives twice, with this chance.
    pub fn duplication(&mut self, chance: f64) -> &mut Self {
        self.conditions.set(Trouble::Duplicates, parts_per_million("sim.duplication", chance));
        self
    }

    /// A message takes a hundred times as long as others, with this chance, so that many overtake it.
    pub fn reordering(&mut self, chance: f64) -> &mut Self {
        self.conditions.set(Trouble::Stragglers, parts_per_million("sim.reordering", chance));
        self
    }

    /// A sync of a disk takes fifty times as long as others, with this chance.
    pub fn slow_syncs(&mut self, chance: f64) -> &mut Self {
        self.conditions.set(Trouble::SlowFlushes, parts_per_million("sim.slow_syncs", chance));
        self
    }

    /// At a start, something that was synced is damaged, with this chance: a bit has rotted, a write was lost or went
    /// astray. The node refuses to start until somebody mends it.
    pub fn damage(&mut self, chance: f64) -> &mut Self {
        self.conditions.set(Trouble::Damage, parts_per_million("sim.damage", chance));
        self
    }

    /// Within 100 ms the disk of a node is full, with this chance, for a while: its process ends when it needs more room.
    pub fn full_disks(&mut self, chance: f64) -> &mut Self {
        self.conditions.full_disks = Some(parts_per_million("sim.full_disks", chance));
        self
    }

    /// Within 100 ms a node dies and comes back from an empty disk or an older copy of its own, with this chance: the
    /// others refuse it, until its disk is found again.
    pub fn wrong_disks(&mut self, chance: f64) -> &mut Self {
        self.conditions.wrong_disks = Some(parts_per_million("sim.wrong_disks", chance));
        self
    }

    /// Clocks run too fast or too slow, by this part of the time at most: 0.05 is one second in twenty.
    pub fn clock_drift(&mut self, part: f64) -> &mut Self {
        self.conditions.set(Trouble::Drift, parts_per_million("sim.clock_drift", part));
        self
    }

    /// None of these faults, but for those that are named after it. In the end, when it is asked whether the cluster comes
    /// to rest, one node restarts and one link fails all the same.
    pub fn without_faults(&mut self) -> &mut Self {
        self.conditions.without_faults();
        self
    }

    /// Checks also, in the end, that an order of all writes and reads exists that explains what every client was told,
    /// by a search that does not look at any log (Wing and Gong, 1993; Lowe, 2017). See the [crate](crate) for why this
    /// speaks of your state machine too.
    ///
    /// Without it, the real-time order is held along the log alone, which is quicker.
    pub fn check_linearizable(&mut self) -> &mut Self {
        self.is_searched = true;
        self
    }

    /// Lives through a history with it.
    pub(super) fn live(self, history: History, make: Maker) -> Result<Report, Failure> {
        let Self { conditions, commands, is_searched } = self;
        let Some(mut draw) = commands else {
            panic!("this simulation has no clients: say what they write, as in sim.clients(8, |rng| Command::Put(..))");
        };
        let subject = Subject::new(make, history.telling == Telling::Print);
        let mut rng = Rng::new(rng::Rng::new(!history.seed).fork().next());
        let told = subject.clone();
        let next = move || {
            next_command::<S>(&mut draw, &mut rng).unwrap_or_else(|violation| {
                told.violate(violation);
                Bytes::new()
            })
        };
        let history = history.checks(Checks { linearizability: is_searched, ..Checks::ALL });
        let world = World::under(&history, |plan| conditions.put_into(plan));
        history.live_in(world.hosting(subject, Commands(Box::new(next))))
    }
}

fn next_command<S: StateMachine>(
    draw: &mut dyn FnMut(&mut Rng) -> S::Command,
    rng: &mut Rng,
) -> Result<Bytes, Violation> {
    let violated = |check, reason| Violation { check, reason };
    let command = panic::catch_unwind(AssertUnwindSafe(|| draw(rng))).map_err(|words| {
        violated(Check::Assertion, format!("the closure of sim.clients panics: {}", panic_words(&*words)))
    })?;
    let bytes = encode_command::<S>(&command);
    let bytes =
        bytes.map_err(|(Fault::Panicked(reason) | Fault::Encoding(reason))| violated(Check::Encoding, reason))?;
    let (length, limit) = (bytes.len(), COMMAND_BYTES_MAX());
    if length > limit {
        let reason = format!("a client's command has {length} bytes; a node takes {limit} at most, and refuses it");
        return Err(violated(Check::Encoding, reason));
    }
    Ok(bytes)
}

/// Makes the next command of any client, encoded.
pub(crate) struct Commands(Box<dyn FnMut() -> Bytes>);

impl Commands {
    /// The next one; without bytes if it cannot be made, which the subject knows.
    pub(crate) fn next(&mut self) -> Bytes {
        (self.0)()
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commands")
    }
}
