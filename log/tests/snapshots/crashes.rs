//! Every crash that building, receiving and replacing can meet, tried one by one.
//!
//! ```text
//!   each story, step by step
//!     x every moment before an operation of the disk, and behind the last
//!       x every legal subset of what was not synced then
//!         -> open, read all of it, crash again at each operation of the open, receive what was to be received
//!       x the process killed, what it wrote still in the cache, opened, and then the power cut
//! ```
//!
//! Bodies are nearly all zeros: a sector of zeros that was not written reads as one that was, and needs no trial.

use std::collections::BTreeSet;

use outrigger_log::{FaultyDisk, Snapshot, Snapshots};

use crate::image::{digest, each_crash};
use crate::scene::{BLOCK, announced, at, build, cut_power, head, names, open, path, read, receive, send};
use crate::watched::Watched;

/// What whoever changes the numbers must know.
const RECOUNT: &str = "nothing was found wrong, but other cases were tried than before: does the format, or the order of \
                       the disk's operations, explain the difference?";

type Content = Option<(Snapshot, Vec<u8>)>;
type Step<'a> = (&'a dyn Fn(&Snapshots<Watched>), Content);

/// How much was tried.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Moments at which the power was cut.
    crash_points: u64,
    /// Disks that a power cut has left, each counted once a step.
    images: u64,
    /// Of these, those on which the older one was still the newest.
    older: u64,
    /// Disks that a second power cut has left, while they were opened.
    crashes_in_open: u64,
    /// Receptions that went on behind something that was held.
    resumed: u64,
}

impl Counts {
    fn of([crash_points, images, older, crashes_in_open, resumed]: [u64; 5]) -> Self {
        Self { crash_points, images, older, crashes_in_open, resumed }
    }
}

/// Tries crashes, and judges what is left.
#[derive(Default)]
struct Judge {
    counts: Counts,
    /// The step that is judged, of all stories.
    step: u64,
    /// What was judged: in which step, with how many outcomes that would be legal, which disk.
    seen: BTreeSet<(u64, usize, u64)>,
    /// What is received again from whatever a crash has left.
    received: Content,
}

impl Judge {
    /// Takes the steps, each of which leads from the content before to its own.
    fn tell(&mut self, disk: &FaultyDisk, steps: &[Step<'_>]) {
        let watched = Watched::new(disk.fork());
        let snapshots = open(&watched);
        let mut before = read(&snapshots).unwrap();
        for (number, (act, after)) in steps.iter().enumerate() {
            self.step += 1;
            watched.watch();
            act(&snapshots);
            let moments = watched.seen();
            assert_eq!(read(&snapshots).unwrap(), *after, "after step {number}");
            for (at, moment) in moments.iter().enumerate() {
                self.judge(moment, &[&before, after], &format!("step {number}, moment {at} of {}", moments.len()));
            }
            self.judge(&watched.disk, &[after], &format!("behind step {number}"));
            before.clone_from(after);
        }
    }

    fn judge(&mut self, moment: &FaultyDisk, legal: &[&Content], story: &str) {
        self.counts.crash_points += 1;
        each_crash(moment, |image| {
            if self.seen.insert((self.step, legal.len(), digest(image))) {
                self.judge_image(image, legal, story);
            }
        });
        self.judge_killed(moment, legal, story);
    }

    /// The process dies and the machine lives on: what the next one reads may be in the cache only, until it says so.
    fn judge_killed(&mut self, moment: &FaultyDisk, legal: &[&Content], story: &str) {
        let watched = Watched::new(moment.fork());
        watched.disk.kill();
        watched.watch();
        let told = read(&open(&watched)).unwrap_or_else(|error| panic!("{story}, killed: {error}"));
        assert!(legal.contains(&&told), "{story}, killed: {told:?}");
        let outcomes = |moment: &FaultyDisk, check: &dyn Fn(&Content)| {
            each_crash(moment, |image| {
                let kept = read(&open(image)).unwrap_or_else(|error| panic!("{story}, killed and crashed: {error}"));
                check(&kept);
            })
        };
        for moment in watched.seen() {
            let check = |kept: &Content| assert!(legal.contains(&kept), "{story}, killed, crashed in open: {kept:?}");
            self.counts.crashes_in_open += outcomes(&moment, &check);
        }
        let check = |kept: &Content| assert!(*kept == told, "{story}: a start tells of {told:?}, the next of {kept:?}");
        outcomes(&watched.disk, &check);
    }

    fn judge_image(&mut self, image: &FaultyDisk, legal: &[&Content], story: &str) {
        self.counts.images += 1;
        let watched = Watched::new(image.fork());
        watched.watch();
        let found = read(&open(&watched)).unwrap_or_else(|error| panic!("{story}: {error}"));
        assert!(legal.contains(&&found), "{story}: {found:?}");
        self.counts.older += u64::from(legal.len() == 2 && found == *legal[0]);
        for moment in watched.seen() {
            each_crash(&moment, |image| {
                self.counts.crashes_in_open += 1;
                let again = read(&open(&image.fork())).unwrap_or_else(|error| panic!("{story}, twice: {error}"));
                assert!(again == found, "{story}: crashed while it was opened, and {again:?} is left");
            });
        }
        self.receive_again(&watched.disk, story);
    }

    /// Whatever is left of a reception, it ends well.
    fn receive_again(&mut self, disk: &FaultyDisk, story: &str) {
        let Some((snapshot, body)) = &self.received else { return };
        let snapshots = open(disk);
        let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
        self.counts.resumed += u64::from(receiver.held() > 0);
        send(&mut receiver, body, BLOCK).unwrap();
        let received = receiver.finish().unwrap_or_else(|error| panic!("{story}, received again: {error}"));
        assert_eq!(read(&snapshots).unwrap(), Some((received, body.clone())), "{story}, received again");
        drop(snapshots);
        assert_eq!(names(disk).len(), 2, "{story}: {:?}", names(disk));
    }
}

/// So many bytes, of which one in each block is not zero.
fn sparse(length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    body.chunks_mut(BLOCK).zip(1..).for_each(|(block, mark)| block[0] = mark);
    body
}

fn content(index: u64, text: &'static str, body: &[u8]) -> Content {
    Some((announced(at(index), &head(text), body), body.to_vec()))
}

/// A disk on which this is the newest, as a start has left it.
fn disk_with(content: &Content) -> FaultyDisk {
    let disk = FaultyDisk::new();
    let snapshots = open(&disk);
    if let Some((snapshot, body)) = content {
        build(&snapshots, snapshot.id.position, &snapshot.head, body).unwrap();
    }
    drop(snapshots);
    cut_power(&disk);
    drop(open(&disk));
    disk
}

fn builds(content: &Content) -> impl Fn(&Snapshots<Watched>) {
    let (snapshot, body) = content.clone().unwrap();
    move |snapshots| {
        build(snapshots, snapshot.id.position, &snapshot.head, &body).unwrap();
    }
}

fn receives(content: &Content) -> impl Fn(&Snapshots<Watched>) {
    let (snapshot, body) = content.clone().unwrap();
    move |snapshots| {
        receive(snapshots, &snapshot, &body, BLOCK - 1).unwrap();
    }
}

#[test]
fn a_crash_of_a_first_build_leaves_nothing_or_all_of_it() {
    let mut judge = Judge::default();
    for body in [sparse(0), sparse(5), sparse(2 * BLOCK + 5)] {
        let new = content(9, "members", &body);
        judge.tell(&disk_with(&None), &[(&builds(&new), new.clone())]);
    }
    assert_eq!(judge.counts, Counts::of([28, 156, 150, 2_235, 0]), "{RECOUNT}");
}

#[test]
fn a_crash_of_builds_leaves_the_older_or_the_newer_one_whole() {
    let mut judge = Judge::default();
    let old = content(9, "old", &sparse(BLOCK + 9));
    let (new, newest) = (content(12, "new", &sparse(BLOCK + 5)), content(15, "newest", &sparse(7)));
    judge.tell(&disk_with(&old), &[(&builds(&new), new.clone()), (&builds(&newest), newest.clone())]);
    assert_eq!(judge.counts, Counts::of([21, 82, 75, 1_144, 0]), "{RECOUNT}");
}

#[test]
fn a_crash_of_a_build_at_the_same_position_leaves_one_of_the_two_whole() {
    let mut judge = Judge::default();
    let (old, new) = (content(9, "old", &sparse(9)), content(9, "new", &sparse(BLOCK + 5)));
    judge.tell(&disk_with(&old), &[(&builds(&new), new.clone())]);
    assert_eq!(judge.counts, Counts::of([10, 45, 43, 644, 0]), "{RECOUNT}");
}

#[test]
fn a_crash_of_a_reception_leaves_the_older_or_the_newer_one_and_it_is_resumed() {
    let new = content(12, "new", &sparse(2 * BLOCK + 5));
    let mut judge = Judge { received: new.clone(), ..Judge::default() };
    for old in [None, content(9, "old", &sparse(9))] {
        judge.tell(&disk_with(&old), &[(&receives(&new), new.clone())]);
    }
    assert_eq!(judge.counts, Counts::of([25, 251, 246, 2_742, 38]), "{RECOUNT}");
}

/// What crashes leave of a reception that was about to end: with everything, nothing, and half of the choices kept.
fn torn_receptions(old: &Content, new: &Content) -> Vec<FaultyDisk> {
    let (snapshot, body) = new.as_ref().unwrap();
    let disk = disk_with(old);
    let snapshots = open(&disk);
    let mut receiver = snapshots.receive(snapshot.clone()).unwrap();
    send(&mut receiver, &body[..body.len() - 2], 30_000).unwrap();
    drop((receiver, snapshots));
    let mut torn = Vec::new();
    each_crash(&disk, |image| {
        if image.bytes_of(&path("receiving")).is_some_and(|file| file.len() > BLOCK) {
            torn.push(image.fork());
        }
    });
    let (few, all) = (torn.len() / 5, torn.len());
    assert!(few > 0, "{all} torn receptions");
    torn.into_iter().rev().step_by(few).collect()
}

#[test]
fn a_crash_of_a_resumed_reception_leaves_the_older_or_the_newer_one_and_it_is_resumed() {
    let (old, new) = (content(9, "old", &sparse(9)), content(12, "new", &sparse(2 * BLOCK + 5)));
    let mut judge = Judge { received: new.clone(), ..Judge::default() };
    for torn in torn_receptions(&old, &new) {
        judge.tell(&torn, &[(&receives(&new), new.clone())]);
    }
    assert_eq!(judge.counts, Counts::of([72, 427, 406, 7_583, 88]), "{RECOUNT}");
}

#[test]
fn a_crash_while_one_reception_takes_the_place_of_another_mixes_nothing_of_the_two() {
    let (old, first) = (content(9, "old", &sparse(9)), content(12, "new", &sparse(2 * BLOCK + 5)));
    // The same position and length, so that every block of the first would verify in the second.
    let mut other = sparse(2 * BLOCK + 5);
    other[BLOCK + 70] = 9;
    let second = content(12, "new", &other);
    let mut judge = Judge { received: second.clone(), ..Judge::default() };
    for torn in torn_receptions(&old, &first) {
        judge.tell(&torn, &[(&receives(&second), second.clone())]);
    }
    assert_eq!(judge.counts, Counts::of([78, 767, 743, 14_574, 114]), "{RECOUNT}");
}

#[test]
fn a_crash_of_a_build_that_overtakes_a_reception_leaves_the_older_or_the_newer_one_whole() {
    let (old, held) = (content(9, "old", &sparse(9)), content(12, "new", &sparse(2 * BLOCK + 5)));
    let new = content(15, "built", &sparse(BLOCK + 5));
    let mut judge = Judge::default();
    let torn = torn_receptions(&old, &held);
    judge.tell(&torn[0], &[(&builds(&new), new.clone())]);
    assert_eq!(judge.counts, Counts::of([12, 49, 43, 680, 0]), "{RECOUNT}");
}
