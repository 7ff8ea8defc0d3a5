//! What must hold of every disk that a crash may leave.
//!
//! ```text
//!   moment --power cut--> image --recover--> state R       one of the allowed ones
//!                           |  at each step of it
//!                           +--power cut--> image --recover--> R again, and nothing else
//!                           `--append, flush, power cut, recover--> R and the entry
//!   moment --kill-------> cache --recover--> state R       what was found in the cache only is durable by then
//!                           +--power cut within it --> allowed, and R once the recovery has answered
//! ```
//!
//! What a disk recovers to depends on its bytes alone, so that equal images are recovered once, whatever led to them.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use outrigger_log::{FaultyDisk, GroupId, Log, OpenError, Record};

use crate::image::{digest, digest_of, each_crash};
use crate::operation::{Moment, Refusal, SEGMENT};
use crate::watched::Watched;
use crate::workload::{Model, ModelGroup, apply, directory, observe, tiny};

/// How much was looked at; the numbers are asserted, so that nothing is ever left out silently.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Different workloads, each a prefix of another or not.
    pub(crate) workloads: u64,
    /// Moments at which the power failed or the process was killed, those within recoveries not counted.
    pub(crate) crash_points: u64,
    /// Those among them that follow a sync that failed.
    pub(crate) failed_syncs: u64,
    /// Moments with each legal subset of what was not synced, each judged.
    pub(crate) cases: u64,
    /// Different disks among those, each recovered with a crash at every step, and used afterwards.
    pub(crate) images: u64,
    /// Those among them of which a recovery cuts off a torn end.
    pub(crate) torn: u64,
    /// Those among them that a peer's refusal keeps from being opened.
    pub(crate) refused: u64,
    /// Crashes within a recovery, with each legal subset of what was not synced then.
    pub(crate) crashes_in_recovery: u64,
}

/// What a disk recovers to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Recovered {
    /// A log with this in it, opened for the `start`th time.
    Log { model: Model, start: u64 },
    /// The mark of a refusal.
    Refused,
}

/// What a disk recovers to when its process is killed and the power fails during or after the recovery.
struct Killed {
    recovered: Recovered,
    /// What a power cut within the recovery leads to.
    within: Vec<Recovered>,
}

/// Judges moments, and remembers what it has seen.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) counts: Counts,
    /// By the digest of the disk: what it recovers to.
    recovered: BTreeMap<u64, Rc<Recovered>>,
    /// The same, once all crashes within the recovery were tried as well.
    proven: BTreeMap<u64, Rc<Recovered>>,
    /// By the digest of the cache and of everything that a power cut would leave of it.
    killed: BTreeMap<u64, Rc<Killed>>,
}

impl Judge {
    /// Tries all that can happen at a moment.
    pub(crate) fn judge(&mut self, moment: &Moment, story: &str) {
        self.counts.crash_points += 1;
        let mut images = Vec::new();
        let cases = each_crash(&moment.disk, |image| {
            let seen = digest(image);
            images.push(seen);
            let recovered = self.prove(image, seen, story);
            assert_allowed(&recovered, moment, story);
        });
        self.counts.cases += cases;
        images.sort_unstable();
        let key = digest_of(&(digest(&moment.disk), images));
        let killed = match self.killed.get(&key) {
            Some(killed) => Rc::clone(killed),
            None => {
                let killed = Rc::new(self.kill(&moment.disk, story));
                self.killed.insert(key, Rc::clone(&killed));
                killed
            }
        };
        let story = format!("{story}, killed");
        assert_allowed(&killed.recovered, moment, &story);
        killed.within.iter().for_each(|recovered| assert_allowed(recovered, moment, &story));
    }

    /// What a disk recovers to, once it is certain that crashes within the recovery change nothing about it.
    fn prove(&mut self, image: &FaultyDisk, seen: u64, story: &str) -> Rc<Recovered> {
        if let Some(proven) = self.proven.get(&seen) {
            return Rc::clone(proven);
        }
        self.counts.images += 1;
        let Opened { recovered, steps, is_torn } = open(image, story);
        self.counts.torn += u64::from(is_torn);
        self.counts.refused += u64::from(recovered == Recovered::Refused);
        let last = steps.len().saturating_sub(1);
        for (step, disk) in steps.iter().enumerate() {
            self.counts.crashes_in_recovery += each_crash(disk, |image| {
                let again = self.recover(image, story);
                assert_same(
                    &recovered,
                    &again,
                    step == last,
                    &format!("{story}, crash at step {step} of the recovery"),
                );
            });
        }
        if let Recovered::Log { model, .. } = &recovered {
            go_on(image, model, story);
        }
        let recovered = Rc::new(recovered);
        self.proven.insert(seen, Rc::clone(&recovered));
        recovered
    }

    fn recover(&mut self, image: &FaultyDisk, story: &str) -> Rc<Recovered> {
        let seen = digest(image);
        let known = self.recovered.entry(seen).or_insert_with(|| Rc::new(open(image, story).recovered));
        Rc::clone(known)
    }

    /// The process dies and the machine lives on; then the power fails, within the recovery or behind it.
    fn kill(&mut self, disk: &FaultyDisk, story: &str) -> Killed {
        let disk = disk.fork();
        disk.kill();
        let Opened { recovered, steps, .. } = open(&disk, story);
        let last = steps.len().saturating_sub(1);
        let mut within: Vec<Recovered> = Vec::new();
        for (step, disk) in steps.iter().enumerate() {
            self.counts.crashes_in_recovery += each_crash(disk, |image| {
                let again = self.recover(image, story);
                if step == last {
                    assert_same(&recovered, &again, true, &format!("{story}, killed, recovered, power cut"));
                } else if !within.contains(&again) {
                    within.push(Recovered::clone(&again));
                }
            });
        }
        Killed { recovered, within }
    }
}

/// What opening a disk came to.
struct Opened {
    recovered: Recovered,
    /// The disk before each step, and behind the last.
    steps: Vec<FaultyDisk>,
    /// Whether something was cut off.
    is_torn: bool,
}

/// Opens a copy of the disk.
fn open(disk: &FaultyDisk, story: &str) -> Opened {
    let watched = Watched::new(disk.fork());
    watched.watch();
    match Log::open(watched.clone(), directory(), tiny(SEGMENT)) {
        Ok(log) => {
            let mut steps = watched.seen();
            steps.push(watched.disk.fork());
            let model = observe(&log);
            let entries: u64 = model.values().map(|group| group.entries.len() as u64).sum();
            assert!(log.reader().verify().unwrap() >= entries, "{story}: not every entry verifies");
            let recovered = Recovered::Log { model, start: log.identity().start };
            Opened { recovered, steps, is_torn: log.cut().is_some() }
        }
        Err(OpenError::Refused(_)) => Opened { recovered: Recovered::Refused, steps: Vec::new(), is_torn: false },
        Err(error) => panic!("{story}: a mere crash, and it is not opened: {error}"),
    }
}

/// Nothing that was acknowledged is missing, and nothing is there that was not written, in the order it was written.
fn assert_allowed(recovered: &Recovered, moment: &Moment, story: &str) {
    match recovered {
        Recovered::Refused => assert_ne!(moment.refusal, Refusal::No, "{story}: refused, and nobody did"),
        Recovered::Log { model, start } => {
            assert_ne!(moment.refusal, Refusal::Durable, "{story}: the refusal is forgotten");
            assert!(*start > moment.start, "{story}: start {start} after start {}", moment.start);
            let is_allowed = moment.allowed.contains(model);
            assert!(is_allowed, "{story}: recovered {model:#?}\nwhich is none of {:#?}", moment.allowed);
        }
    }
}

/// A recovery that is repeated finds what the first found; its start counts once it was answered.
fn assert_same(first: &Recovered, again: &Recovered, is_answered: bool, story: &str) {
    match (first, again) {
        (Recovered::Log { model, start }, Recovered::Log { model: model_again, start: start_again }) => {
            assert_eq!(model_again, model, "{story}: the first recovery found something else");
            let is_next = *start_again == start + 1;
            assert!(is_next || (!is_answered && start_again == start), "{story}: start {start_again} after {start}");
        }
        _ => assert_eq!(first, again, "{story}"),
    }
}

/// What was recovered is a log like any other: what it acknowledges now survives, beside what was found.
fn go_on(image: &FaultyDisk, model: &Model, story: &str) {
    let disk = image.fork();
    let mut log = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap();
    let group = GroupId(1);
    let last = model.get(&group).map(ModelGroup::last).unwrap_or_default();
    let payloads = [Bytes::from_static(b"after the crash")];
    let (term, first) = (last.term + 1, last.index + 1);
    let record = Record::Entries { term, first, log_time: 6, payloads: &payloads, marked: false };
    log.append(group, record).unwrap();
    log.flush().unwrap();
    disk.crash_with(&mut |_| 0);
    let mut expected = model.clone();
    apply(&mut expected, group, &record);
    let log = Log::open(disk, directory(), tiny(SEGMENT)).unwrap();
    assert_eq!(observe(&log), expected, "{story}: what came after the recovery");
}
