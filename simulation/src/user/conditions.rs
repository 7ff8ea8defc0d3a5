//! What a test asks of its world, brought into the terms of a [`Plan`].
//!
//! A user thinks in chances, each by itself: that a node crashes, that it pauses, within a tenth of a second. A plan has
//! one stream of faults for all of them, and a share for each kind. So what the seed has drawn is taken apart into a rate
//! for each kind, what the test fixes is put into its place, and the plan is put together again.
//!
//! ```text
//!   plan: every 0.9 s, 20 % all at once, 10 % pauses ...  ──►  rates  ──►  plan
//!                                                    crash(0.01) ─┘
//! ```

use crate::plan::{MILLISECOND, Plan, SECOND};

/// What chances over time refer to: within so much virtual time.
const SPAN: u64 = 100 * MILLISECOND;
/// Longer than any history: what comes so seldom never comes.
const NEVER: u64 = 1_000_000 * SECOND;
/// All of something, in the parts per million that a plan counts in.
const ALL: u64 = 1_000_000;

/// What a test fixes; the seed draws the rest. In parts per million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// How many nodes there are; at least 1.
    pub(crate) nodes: Option<u64>,
    /// How many clients there are; at least 1.
    pub(crate) clients: Option<u64>,
    /// How long there are faults, in nanoseconds.
    pub(crate) faults_last: Option<u64>,
    /// A node is killed within a span.
    pub(crate) crash: Option<u64>,
    /// A node loses power within a span.
    pub(crate) torn_writes: Option<u64>,
    /// All nodes lose power within a span.
    pub(crate) power_cut: Option<u64>,
    /// A node is paused within a span.
    pub(crate) pause: Option<u64>,
    /// A sync of a node's disk fails within a span.
    pub(crate) failing_syncs: Option<u64>,
    /// The network comes apart within a span.
    pub(crate) partition: Option<u64>,
    /// A message is lost.
    pub(crate) loss: Option<u64>,
    /// A message arrives twice.
    pub(crate) duplication: Option<u64>,
    /// A message is overtaken by many.
    pub(crate) reordering: Option<u64>,
    /// A sync takes fifty times as long.
    pub(crate) slow_syncs: Option<u64>,
    /// A bit of the log rots before a start.
    pub(crate) bit_rot: Option<u64>,
}

/// How often each kind of fault of processes strikes anybody within a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    crash: u64,
    torn_writes: u64,
    power_cut: u64,
    pause: u64,
    failing_syncs: u64,
}

impl Conditions {
    /// A world in which nothing goes wrong.
    pub(crate) fn without_faults(&mut self) {
        let Self { nodes, clients, faults_last, .. } = *self;
        let none = Some(0);
        *self = Self {
            nodes,
            clients,
            faults_last,
            crash: none,
            torn_writes: none,
            power_cut: none,
            pause: none,
            failing_syncs: none,
            partition: none,
            loss: none,
            duplication: none,
            reordering: none,
            slow_syncs: none,
            bit_rot: none,
        };
    }

    /// Puts what is fixed into a plan that a seed has drawn.
    pub(crate) fn put_into(&self, plan: &mut Plan) {
        put(self.nodes, &mut plan.nodes);
        put(self.clients, &mut plan.clients);
        put(self.faults_last, &mut plan.faults_last);
        put(self.loss, &mut plan.loss);
        put(self.duplication, &mut plan.duplicates);
        put(self.reordering, &mut plan.stragglers);
        put(self.slow_syncs, &mut plan.slow_flushes);
        put(self.bit_rot, &mut plan.rot);
        if let Some(partition) = self.partition {
            plan.partition_every = gap(partition);
            plan.deaf = if partition == 0 { 0 } else { plan.deaf };
        }
        if self.crash.is_some() || self.torn_writes.is_some() {
            // A death that nobody asked for would make the number wrong that somebody did ask for.
            plan.dies_speaking = 0;
        }
        if self.crash.is_some() || self.torn_writes.is_some() || self.partition.is_some() {
            plan.hunts = 0;
        }
        self.put_rates_into(plan);
    }

    fn put_rates_into(&self, plan: &mut Plan) {
        let fixed = [self.crash, self.torn_writes, self.power_cut, self.pause, self.failing_syncs];
        if fixed.iter().all(Option::is_none) {
            return;
        }
        let mut rates = Rates::of(plan);
        let of_all_nodes = |one: Option<u64>| one.map(|one| one * plan.nodes);
        put(of_all_nodes(self.crash), &mut rates.crash);
        put(of_all_nodes(self.torn_writes), &mut rates.torn_writes);
        put(self.power_cut, &mut rates.power_cut);
        put(of_all_nodes(self.pause), &mut rates.pause);
        put(of_all_nodes(self.failing_syncs), &mut rates.failing_syncs);
        rates.put_into(plan);
    }
}

impl Rates {
    /// What a plan amounts to.
    fn of(plan: &Plan) -> Self {
        let mut left = rate(plan.crash_every);
        let mut take = |share: u64| {
            let taken = left * share / ALL;
            left -= taken;
            taken
        };
        let (power_cut, pause, failing_syncs) = (take(plan.power_cuts), take(plan.pauses), take(plan.failing_syncs));
        let torn_writes = take(plan.tears);
        Self { crash: left, torn_writes, power_cut, pause, failing_syncs }
    }

    fn put_into(self, plan: &mut Plan) {
        let mut left = self.crash + self.torn_writes + self.power_cut + self.pause + self.failing_syncs;
        plan.crash_every = gap(left);
        let mut share = |of: u64| {
            let share = (of * ALL).checked_div(left).unwrap_or(0);
            left -= of;
            share
        };
        plan.power_cuts = share(self.power_cut);
        plan.pauses = share(self.pause);
        plan.failing_syncs = share(self.failing_syncs);
        plan.tears = share(self.torn_writes);
    }
}

/// What a plan says of something that comes so often within a span: faults come after a quarter to double of what it says,
/// which is 9/8 of it on average.
fn gap(rate: u64) -> u64 {
    (SPAN * ALL * 8 / 9).checked_div(rate).unwrap_or(NEVER)
}

/// How often something comes within a span of which a plan says this.
fn rate(gap: u64) -> u64 {
    SPAN * ALL * 8 / 9 / gap
}

fn put(fixed: Option<u64>, into: &mut u64) {
    *into = fixed.unwrap_or(*into);
}

/// A probability as a plan counts it.
///
/// # Panics
/// When it is none.
pub(crate) fn parts_per_million(of: &str, probability: f64) -> u64 {
    assert!((0.0..=1.0).contains(&probability), "{of}({probability}): a probability is from 0.0 to 1.0");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million, as asserted")]
    let parts = (probability * 1e6).round() as u64;
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn plan(seed: u64) -> Plan {
        Plan::draw(&mut Rng::new(seed))
    }

    #[test]
    fn whoever_fixes_nothing_gets_what_the_seed_draws() {
        for seed in 0..50 {
            let (drawn, mut same) = (plan(seed), plan(seed));
            Conditions::default().put_into(&mut same);
            assert_eq!(format!("{same:?}"), format!("{drawn:?}"));
        }
    }

    #[test]
    fn a_plan_that_is_taken_apart_and_put_together_is_the_same() {
        for seed in 0..50 {
            let (drawn, mut again) = (plan(seed), plan(seed));
            Rates::of(&drawn).put_into(&mut again);
            let parts = |plan: &Plan| [plan.power_cuts, plan.pauses, plan.failing_syncs, plan.tears];
            for (was, is) in parts(&drawn).into_iter().zip(parts(&again)) {
                assert!(was.abs_diff(is) < 100, "{was} and {is} parts per million");
            }
            assert!(drawn.crash_every.abs_diff(again.crash_every) < MILLISECOND);
        }
    }

    #[test]
    fn a_chance_is_that_of_one_node_within_a_tenth_of_a_second() {
        let mut plan = plan(3);
        let mut conditions = Conditions { nodes: Some(5), ..Conditions::default() };
        conditions.without_faults();
        conditions.crash = Some(parts_per_million("crash", 0.01));
        conditions.put_into(&mut plan);
        // Five nodes, ten spans a second, one in a hundred: a crash every other second. The average gap is 9/8.
        assert_eq!(plan.crash_every * 9 / 8 / MILLISECOND, 1999);
        assert_eq!([plan.power_cuts, plan.pauses, plan.failing_syncs, plan.tears, plan.dies_speaking], [0; 5]);
        assert_eq!((plan.nodes, plan.partition_every, plan.loss), (5, NEVER, 0));
    }

    #[test]
    #[should_panic(expected = "crash(1.5): a probability is from 0.0 to 1.0")]
    fn what_is_no_probability_is_refused() {
        parts_per_million("crash", 1.5);
    }
}
