//! Every crash that a short workload can meet, tried one by one.
//!
//! ```text
//!   every workload of up to 4 operations, on the smallest segments that there are
//!     x every moment before an operation of the disk, and behind the last; every sync that may fail
//!       x every legal subset of what was not synced then
//!         -> recover, check, crash again at each step of the recovery, recover, check
//! ```
//!
//! Longer workloads are drawn by a seed. `OUTRIGGER_LOG_WORKLOADS` says how many.

#[path = "../workload/mod.rs"]
mod workload;

mod image;
mod judge;
mod operation;
mod watched;

use std::time::Instant;

use judge::{Counts, Judge};
use operation::{Moment, Operation, Run};
use workload::Rng;

/// How many operations are enumerated.
const OPERATIONS_MAX: usize = 4;
/// How many operations are drawn.
const DRAWN_MAX: usize = 6;

/// What whoever changes the numbers must know.
const RECOUNT: &str = "nothing was found wrong, but other cases were tried than before: does the format, or the order of \
                       the disk's operations, explain the difference?";

/// A flushed entry, and room for more: what a mark is behind, and a truncation within.
const USED: &[Operation] = &[Operation::One, Operation::Flush];

/// Two sealed segments and a third in use that is full; some of it is committed.
const FULL: &[Operation] = {
    use Operation::{Commit, Flush, Two};
    &[Two, Commit, Flush, Two, Flush, Two, Flush]
};

/// One run of a workload: the moments that its last operation passes through, if that one is possible.
fn moments_of(workload: &[Operation]) -> Option<(Run, Vec<Moment>)> {
    let Some((last, before)) = workload.split_last() else { return Some(Run::begin()) };
    let mut run = after(before);
    let moments = run.perform(*last)?;
    Some((run, moments))
}

/// A workload that is known to be possible, up to its end.
fn after(workload: &[Operation]) -> Run {
    let (mut run, _) = Run::begin();
    workload.iter().for_each(|operation| run.repeat(*operation));
    run
}

/// Judges all workloads that begin with `workload` and have up to `longer` operations more. What is before its last
/// operation was judged with the shorter ones.
fn enumerate(workload: &mut Vec<Operation>, longer: usize, judge: &mut Judge) {
    let Some((run, moments)) = moments_of(workload) else { return };
    judge.counts.workloads += 1;
    for (at, moment) in moments.iter().enumerate() {
        judge.judge(moment, &format!("{workload:?}, moment {at}"));
    }
    if let Some((last, before)) = workload.split_last() {
        fail_each_sync(before, *last, judge);
    }
    if longer == 0 || !run.goes_on() {
        return;
    }
    drop(run);
    for operation in Operation::ALL {
        workload.push(operation);
        enumerate(workload, longer - 1, judge);
        workload.pop();
    }
}

/// Judges what is left when one sync of the last operation fails: whoever is told nothing may find the write in the
/// cache, and must not take it for durable (a sync is never worth a second try).
fn fail_each_sync(before: &[Operation], last: Operation, judge: &mut Judge) {
    for syncs in 0.. {
        let Some(moment) = after(before).fail_sync(last, syncs) else { return };
        judge.counts.failed_syncs += 1;
        judge.judge(&moment, &format!("{before:?}, {last:?} with sync {syncs} failing"));
    }
}

fn enumerate_after(before: &[Operation], operations_max: usize) -> Counts {
    let (mut judge, began) = (Judge::default(), Instant::now());
    enumerate(&mut before.to_vec(), operations_max, &mut judge);
    println!("after {before:?}, up to {operations_max} operations: {:#?} in {:?}", judge.counts, began.elapsed());
    judge.counts
}

#[test]
fn all_crashes_of_all_workloads_of_up_to_four_operations() {
    let expected = Counts {
        workloads: 3_237,
        crash_points: 11_172,
        failed_syncs: 2_783,
        cases: 31_315,
        images: 1_807,
        torn: 1_023,
        refused: 45,
        crashes_in_recovery: 147_572,
    };
    assert_eq!(enumerate_after(&[], OPERATIONS_MAX), expected, "{RECOUNT}");
}

#[test]
fn all_crashes_of_all_workloads_of_up_to_four_operations_on_a_used_log() {
    let expected = Counts {
        workloads: 8_089,
        crash_points: 28_563,
        failed_syncs: 6_707,
        cases: 88_648,
        images: 2_998,
        torn: 1_506,
        refused: 80,
        crashes_in_recovery: 265_994,
    };
    assert_eq!(enumerate_after(USED, OPERATIONS_MAX), expected, "{RECOUNT}");
}

#[test]
fn all_crashes_of_all_workloads_of_up_to_four_operations_on_a_full_log() {
    let expected = Counts {
        workloads: 7_954,
        crash_points: 30_037,
        failed_syncs: 7_366,
        cases: 84_281,
        images: 3_323,
        torn: 1_624,
        refused: 81,
        crashes_in_recovery: 288_156,
    };
    assert_eq!(enumerate_after(FULL, OPERATIONS_MAX), expected, "{RECOUNT}");
}

#[test]
fn all_crashes_of_drawn_workloads_of_up_to_six_operations() {
    let drawn = std::env::var("OUTRIGGER_LOG_WORKLOADS").ok().and_then(|drawn| drawn.parse().ok()).unwrap_or(1_000);
    let (mut judge, mut rng, began) = (Judge::default(), Rng(2_026), Instant::now());
    for draw in 0..drawn {
        let before = if rng.one_in(2) { FULL } else { &[] };
        let (mut run, mut moments) = Run::begin();
        let mut workload = Vec::new();
        while run.goes_on() && workload.len() < before.len() + DRAWN_MAX {
            let at = usize::try_from(rng.below(Operation::ALL.len() as u64)).unwrap();
            let operation = before.get(workload.len()).copied().unwrap_or(Operation::ALL[at]);
            let Some(passed) = run.perform(operation) else { continue };
            moments.extend(passed);
            workload.push(operation);
        }
        judge.counts.workloads += 1;
        for (at, moment) in moments.iter().enumerate() {
            judge.judge(moment, &format!("draw {draw}: {workload:?}, moment {at}"));
        }
    }
    println!("{drawn} drawn: {:#?} in {:?}", judge.counts, began.elapsed());
    assert_eq!(judge.counts.workloads, drawn);
    assert!(judge.counts.images > drawn, "the draws repeat each other: {:?}", judge.counts);
}
