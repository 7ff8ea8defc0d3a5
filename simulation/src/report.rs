//! What histories came to: one, or many together.

use std::fmt;
use std::time::Duration;

use outrigger_model::extended::Action;

use crate::Failure;
use crate::check::Checks;
use crate::count::{Counts, add, counted};

/// What one history came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed that it came from.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: u64,
    /// How many events the engines handled.
    pub steps: u64,
    /// How long it lasted, in virtual time.
    pub simulated: Duration,
    /// How many terms had a leader.
    pub leaders: u64,
    /// How many entries were committed.
    pub committed: u64,
    /// How many writes were acknowledged.
    pub written: u64,
    /// How many reads were answered.
    pub read: u64,
    /// How many requests ended in doubt.
    pub unknown: u64,
    /// How many troubles there were, struck or spared.
    pub troubles: u64,
    /// Whether so many disks were lost that the rest was no quorum, and could not be asked to converge.
    pub is_excused: bool,
    /// Whether the check of linearizability came to an end; if not, the order of the log was checked alone.
    pub is_decided: bool,
    /// How often each kind of fault struck.
    pub faults: Counts,
    /// How often clients were served in each way.
    pub services: Counts,
    /// How often each action of the extended model was taken.
    pub actions: Counts,
    /// The digest of everything that happened, if it was asked for; else the same number for any history.
    pub digest: u64,
}

impl Report {
    /// How often a process died.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        ["power cut", "kill"].iter().filter_map(|kind| self.faults.get(kind)).sum()
    }
}

/// One line for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, steps, simulated, leaders, written, read, unknown, .. } = self;
        let (nodes, steps) = (counted(*nodes, "node", "nodes"), counted(*steps, "step", "steps"));
        let (leaders, crashes) = (counted(*leaders, "term", "terms"), counted(self.crashes(), "crash", "crashes"));
        let (writes, reads) = (counted(*written, "write", "writes"), counted(*read, "read", "reads"));
        write!(f, "seed {seed}: {nodes}, {steps} in {:.1} s, {leaders} with a leader, ", simulated.as_secs_f64())?;
        write!(f, "{crashes}, {writes}, {reads}, {unknown} in doubt: nothing went wrong")
    }
}

/// What many histories came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many histories there were.
    pub seeds: u64,
    /// The sum of their steps.
    pub steps: u64,
    /// The sum of their virtual time.
    pub simulated: Duration,
    /// The sum of their terms with a leader.
    pub leaders: u64,
    /// The sum of their acknowledged writes.
    pub written: u64,
    /// The sum of their answered reads.
    pub read: u64,
    /// The sum of their requests in doubt.
    pub unknown: u64,
    /// How many histories ended with so many disks lost that the rest was no quorum.
    pub excused: u64,
    /// How many histories were checked for linearizability along the log alone: they were too long for the search, or it was
    /// not asked for.
    pub undecided: u64,
    /// How often each kind of fault struck; every kind is in it, also with 0.
    pub faults: Counts,
    /// How often clients were served in each way; every way is in it, also with 0.
    pub services: Counts,
    /// How often each action of the extended model was taken; every action is in it, also with 0.
    pub actions: Counts,
}

/// The kinds that strike a copy of the disk, to check what a start makes of it.
const FAULTS_OF_RECOVERY: [&str; 6] = [
    "bit rotten and refused",
    "frame rotten and refused",
    "segment missing and refused",
    "snapshot rotten and refused",
    "write astray and refused",
    "write lost and refused",
];

/// Every kind of fault that a history may hold.
const FAULTS: [&str; 86] = [
    "bit rotten and refused",
    "change given up",
    "change refused",
    "clock adrift",
    "clock leaps ahead",
    "clock set back",
    "completion told twice",
    "crash before a word",
    "crash in the middle of a flush",
    "crash while a segment is sealed",
    "crash while a snapshot is kept",
    "disk full",
    "disk lost for good",
    "disk replaced",
    "election lost by hand",
    "election wanted",
    "election won by hand",
    "entries gone before they were sent",
    "frame rotten and refused",
    "kill",
    "late piece of a snapshot",
    "leader stranded",
    "leader to be forgotten",
    "leader told to step down",
    "leadership handed over",
    "leadership not handed over",
    "leadership to hand over",
    "links cut one by one",
    "log purged by hand",
    "log to be purged",
    "long outage",
    "members changed",
    "members to change",
    "message cut off",
    "message doubled",
    "message lost",
    "message overtaken",
    "node away from the healed cluster",
    "node cut off",
    "node cut off from the healed cluster",
    "node deaf in the healed cluster",
    "node downgraded",
    "node heard or hearing one way",
    "node upgraded",
    "old copy refused",
    "old voters cut off",
    "older build halts",
    "older build heard once",
    "older build refused",
    "partition in two",
    "partition with a bridge",
    "pause",
    "piece of a snapshot received",
    "piece of a snapshot sent by a follower",
    "power cut",
    "power cut in a recovery",
    "power cut of all at once",
    "priority set",
    "removed node asked",
    "replaced disk found again",
    "request cut short",
    "rotten state found",
    "segment missing and refused",
    "send slow",
    "snapshot not kept",
    "snapshot received",
    "snapshot rotted",
    "snapshot rotten and refused",
    "snapshot slow to be kept",
    "snapshot taken",
    "snapshot taken by hand",
    "snapshot wanted",
    "start without room",
    "state rotted",
    "stranger refused",
    "node of another cluster refused",
    "sync failed",
    "sync failed in a recovery",
    "sync slow",
    "version raised",
    "wiped disk refused",
    "wish about the leader done",
    "wish about the leader refused",
    "write astray and refused",
    "write lost and refused",
    "write short",
];

/// Every way in which clients may be served.
const SERVICES: [&str; 16] = [
    "read answered by a follower",
    "read answered by a leader",
    "read answered by a learner",
    "read by lease",
    "read of an acknowledged age",
    "response in a session not kept",
    "session displaced",
    "session found expired",
    "session over",
    "session registered or kept alive",
    "stale read",
    "write in a session answered again",
    "write in a session applied",
    "write in a session forgotten",
    "write meant for one term",
    "writes together",
];

/// From so many histories on, a kind of fault or an action that never came is a failure of the simulation itself.
const SEEDS_THAT_SHOW_ALL: u64 = 500;

/// What has never come where every search for an order of all that clients did was given up.
const DECIDED: &str = "search for linearizability that comes to its end";

impl Total {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let zeros = |names: &[&'static str]| names.iter().map(|name| (*name, 0)).collect();
        Self {
            faults: zeros(&FAULTS),
            services: zeros(&SERVICES),
            actions: zeros(&Action::<u8>::NAMES),
            ..Self::default()
        }
    }

    /// Adds one history.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.simulated += report.simulated;
        self.leaders += report.leaders;
        self.written += report.written;
        self.read += report.read;
        self.unknown += report.unknown;
        self.excused += u64::from(report.is_excused);
        self.undecided += u64::from(!report.is_decided);
        add(&mut self.faults, &report.faults);
        add(&mut self.services, &report.services);
        add(&mut self.actions, &report.actions);
    }

    /// Adds one history in which something went wrong, as far as it came: what it knows of itself is less.
    pub fn add_failed(&mut self, failure: &Failure) {
        self.seeds += 1;
        self.steps += failure.steps;
        self.simulated += Duration::from_millis(failure.milliseconds);
        add(&mut self.faults, &failure.faults);
    }

    /// The kinds of faults, the ways to be served and the actions that should have come by now and did not. What only comes with a
    /// check that was left out is none of them.
    #[must_use]
    pub fn missing(&self, checks: Checks) -> Vec<&'static str> {
        let faults = self.faults.iter().filter(|(name, _)| checks.recovery || !FAULTS_OF_RECOVERY.contains(name));
        let actions = self.actions.iter().filter(|_| checks.model);
        let decided = (checks.linearizability && self.undecided == self.seeds).then_some(DECIDED);
        let never = faults.chain(&self.services).chain(actions).filter(|(_, count)| **count == 0);
        let never = never.map(|(name, _)| *name).chain(decided);
        never.filter(|_| self.seeds >= SEEDS_THAT_SHOW_ALL).collect()
    }
}

/// One line for people.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, simulated, written, read, faults, .. } = self;
        let fault = |name: &str| faults.get(name).copied().unwrap_or(0);
        let histories = counted(*seeds, "history", "histories");
        let (writes, reads) = (counted(*written, "write", "writes"), counted(*read, "read", "reads"));
        let kills = counted(fault("kill"), "kill", "kills");
        let power_cuts = counted(fault("power cut"), "power cut", "power cuts");
        let all = counted(faults.values().sum(), "fault", "faults");
        write!(f, "{histories}, {} s of virtual time, {writes}, {reads}, {all} ", simulated.as_secs())?;
        write!(f, "({kills} and {power_cuts} among them)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_is_missing_only_after_many_histories() {
        let mut total = Total::new();
        assert_eq!(total.missing(Checks::ALL), Vec::<&str>::new());
        total.seeds = SEEDS_THAT_SHOW_ALL;
        assert_eq!(total.missing(Checks::ALL).len(), FAULTS.len() + SERVICES.len() + Action::<u8>::NAMES.len());
        assert_eq!(total.missing(Checks::LIGHT).len(), FAULTS.len() - FAULTS_OF_RECOVERY.len() + SERVICES.len());
        [&mut total.faults, &mut total.services, &mut total.actions]
            .into_iter()
            .flat_map(Counts::values_mut)
            .for_each(|count| *count = 1);
        assert_eq!(total.missing(Checks::ALL), Vec::<&str>::new());
        total.undecided = total.seeds;
        assert_eq!(total.missing(Checks::ALL), [DECIDED]);
        assert_eq!(total.missing(Checks::LIGHT), Vec::<&str>::new(), "nobody has searched");
        total.undecided -= 1;
        assert_eq!(total.missing(Checks::ALL), Vec::<&str>::new());
    }

    #[test]
    fn every_fault_that_strikes_has_a_name_that_is_counted() {
        let mut total = Total::new();
        (1..40).for_each(|seed| total.add(&crate::History::new(seed).live().unwrap()));
        assert!(total.faults.keys().all(|name| FAULTS.contains(name)), "{:?}", total.faults);
        assert!(total.services.keys().all(|name| SERVICES.contains(name)), "{:?}", total.services);
    }
}
