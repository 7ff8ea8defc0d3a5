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

use std::collections::BTreeMap;

use crate::plan::{MILLISECOND, Plan, SECOND, STRIKES, Trouble};

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
    /// The disk of a node is full within a span.
    pub(crate) full_disks: Option<u64>,
    /// A node comes back from another disk within a span.
    pub(crate) wrong_disks: Option<u64>,
    /// The network comes apart within a span.
    pub(crate) partition: Option<u64>,
    /// What a plan counts as the test does.
    odds: BTreeMap<Trouble, u64>,
}

/// How often each kind of fault of processes and disks strikes anybody within a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    power_cut: u64,
    pause: u64,
    failing_syncs: u64,
    full_disks: u64,
    wrong_disks: u64,
    torn_writes: u64,
    crash: u64,
}

impl Conditions {
    /// Fixes what a plan counts as a test does.
    pub(crate) fn set(&mut self, trouble: Trouble, odds: u64) {
        self.odds.insert(trouble, odds);
    }

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
            full_disks: none,
            wrong_disks: none,
            partition: none,
            odds: Trouble::ALL.map(|(trouble, ..)| (trouble, 0)).into(),
        };
    }

    /// Puts what is fixed into a plan that a seed has drawn.
    pub(crate) fn put_into(&self, plan: &mut Plan) {
        put(self.nodes, &mut plan.nodes);
        plan.spares = 0;
        plan.wish_every = 0;
        put(self.clients, &mut plan.clients);
        put(self.faults_last, &mut plan.faults_last);
        self.odds.iter().for_each(|(trouble, odds)| plan.set_odds(*trouble, *odds));
        let fixes_deaths = self.crash.is_some() || self.torn_writes.is_some();
        if let Some(partition) = self.partition {
            plan.partition_every = gap(partition);
            plan.set_odds(Trouble::Partitions, ALL);
            if partition == 0 {
                plan.spare(Trouble::Outsiders);
            }
        }
        // What nobody asked for would make the number wrong that somebody did ask for.
        if fixes_deaths {
            plan.upgrade_every = 0;
            plan.spare(Trouble::LastWords);
            plan.spare(Trouble::Disguises);
        }
        if fixes_deaths || self.partition.is_some() {
            plan.spare(Trouble::Hunts);
        }
        self.put_rates_into(plan);
    }

    fn put_rates_into(&self, plan: &mut Plan) {
        let of_nodes =
            [self.crash, self.torn_writes, self.pause, self.failing_syncs, self.full_disks, self.wrong_disks];
        if of_nodes.iter().chain([&self.power_cut]).all(Option::is_none) {
            return;
        }
        let mut rates = Rates::of(plan);
        put(self.power_cut, &mut rates.power_cut);
        let into = [
            &mut rates.crash,
            &mut rates.torn_writes,
            &mut rates.pause,
            &mut rates.failing_syncs,
            &mut rates.full_disks,
            &mut rates.wrong_disks,
        ];
        for (one, rate) in of_nodes.into_iter().zip(into) {
            put(one.map(|one| one * plan.nodes), rate);
        }
        rates.put_into(plan);
    }
}

impl Rates {
    /// What a plan amounts to.
    fn of(plan: &Plan) -> Self {
        let mut left = rate(plan.strike_every);
        let mut take = |share: u64| {
            let taken = left * share / ALL;
            left -= taken;
            taken
        };
        // Nobody removes nodes there, so that no disk is replaced.
        let [power_cut, pause, failing_syncs, full_disks, wrong_disks, _, deaths] =
            STRIKES.map(|trouble| take(plan.odds(trouble)));
        let torn_writes = deaths * plan.tears / ALL;
        Self { power_cut, pause, failing_syncs, full_disks, wrong_disks, torn_writes, crash: deaths - torn_writes }
    }

    fn put_into(self, plan: &mut Plan) {
        let deaths = self.torn_writes + self.crash;
        let strikes = [self.power_cut, self.pause, self.failing_syncs, self.full_disks, self.wrong_disks, 0, deaths];
        let mut left = strikes.iter().sum();
        plan.strike_every = gap(left);
        for (trouble, rate) in STRIKES.into_iter().zip(strikes) {
            plan.set_odds(trouble, (rate * ALL).checked_div(left).unwrap_or(0));
            left -= rate;
        }
        plan.tears = (self.torn_writes * ALL).checked_div(deaths).unwrap_or(0);
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
            let (mut drawn, mut same) = (plan(seed), plan(seed));
            Conditions::default().put_into(&mut same);
            drawn.spares = 0; // a user says how many nodes there are
            drawn.wish_every = 0; // ... and nobody has wishes there
            assert_eq!(format!("{same:?}"), format!("{drawn:?}"));
        }
    }

    #[test]
    fn a_plan_that_is_taken_apart_and_put_together_means_the_same() {
        for seed in 0..50 {
            let (drawn, mut again) = (plan(seed), plan(seed));
            Rates::of(&drawn).put_into(&mut again);
            let parts = |rates: Rates| {
                [rates.power_cut, rates.pause, rates.failing_syncs, rates.full_disks, rates.torn_writes, rates.crash]
            };
            for (was, is) in parts(Rates::of(&drawn)).into_iter().zip(parts(Rates::of(&again))) {
                assert!(was.abs_diff(is) < 1_000, "{was} and {is} parts per million");
            }
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
        assert_eq!(plan.strike_every * 9 / 8 / MILLISECOND, 1999);
        let odds = Trouble::ALL.map(|(trouble, ..)| (trouble, plan.odds(trouble)));
        let some: Vec<_> = odds.into_iter().filter(|(_, odds)| *odds > 0).collect();
        assert_eq!(some, [(Trouble::Partitions, ALL), (Trouble::Crashes, ALL)]);
        assert_eq!((plan.nodes, plan.partition_every, plan.tears), (5, NEVER, 0));
    }

    /// With all other troubles as the seed draws them.
    #[test]
    fn whoever_fixes_how_often_something_comes_gets_nothing_else_that_makes_it_come() {
        let fixed = [
            (
                Conditions { crash: Some(0), ..Conditions::default() },
                &[Trouble::LastWords, Trouble::Disguises, Trouble::Hunts][..],
            ),
            (
                Conditions { torn_writes: Some(0), ..Conditions::default() },
                &[Trouble::LastWords, Trouble::Disguises, Trouble::Hunts],
            ),
            (Conditions { partition: Some(0), ..Conditions::default() }, &[Trouble::Outsiders, Trouble::Hunts]),
            (Conditions { partition: Some(10_000), ..Conditions::default() }, &[Trouble::Hunts]),
        ];
        let mut drawn_at_all = Vec::new();
        for (seed, (conditions, spared)) in (0..200).flat_map(|seed| fixed.iter().map(move |fixed| (seed, fixed))) {
            let (drawn, mut plan) = (plan(seed), plan(seed));
            conditions.put_into(&mut plan);
            for trouble in [Trouble::LastWords, Trouble::Disguises, Trouble::Hunts, Trouble::Outsiders] {
                let is_spared = spared.contains(&trouble);
                let expected = if is_spared { 0 } else { drawn.odds(trouble) };
                assert_eq!(plan.odds(trouble), expected, "seed {seed}: {trouble:?} with {conditions:?}");
                drawn_at_all.extend((is_spared && drawn.odds(trouble) > 0).then_some(trouble));
            }
        }
        for trouble in [Trouble::LastWords, Trouble::Disguises, Trouble::Hunts, Trouble::Outsiders] {
            assert!(drawn_at_all.contains(&trouble), "no seed draws {trouble:?}");
        }
    }

    #[test]
    #[should_panic(expected = "crash(1.5): a probability is from 0.0 to 1.0")]
    fn what_is_no_probability_is_refused() {
        parts_per_million("crash", 1.5);
    }
}
