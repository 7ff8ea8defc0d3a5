//! Random workloads on a disk that is crashed, killed and made to fail at random points, recovery included.
//!
//! After each recovery the log must hold exactly what some prefix of the appended records adds up to, at least up to
//! the last record that a flush has acknowledged. What was recovered counts as acknowledged from then on, for the node
//! tells others of it.

mod workload;

use outrigger_log::{Cut, FaultyDisk, Log, OpenError, verify};
use workload::{Model, Rng, append_random, directory, observe, tiny};

const GROUPS: u64 = 3;

/// What may be recovered: the model after each record since the last acknowledged one, that one first.
struct Prefixes {
    since_acknowledged: Vec<Model>,
    /// The highest start that was ever in force.
    start: u64,
}

impl Prefixes {
    fn newest(&self) -> &Model {
        self.since_acknowledged.last().expect("the acknowledged one is there")
    }

    fn acknowledge(&mut self) {
        self.since_acknowledged.drain(..self.since_acknowledged.len() - 1);
    }

    /// The recovered log must be one of the prefixes; it becomes the acknowledged one.
    fn settle(&mut self, log: &Log<FaultyDisk>, story: &str) {
        let found = observe(log);
        let is_prefix = self.since_acknowledged.contains(&found);
        assert!(
            is_prefix,
            "{story}: recovered {found:#?}\nwhich is none of the {} prefixes since {:#?}",
            self.since_acknowledged.len(),
            self.since_acknowledged[0]
        );
        self.since_acknowledged = vec![found];
        assert!(log.identity().start > self.start, "{story}: start {} again", self.start);
        self.start = log.identity().start;
    }
}

/// Works until something fails or the draw says so. Nothing but what was ordered may fail.
fn work(rng: &mut Rng, log: &mut Log<FaultyDisk>, prefixes: &mut Prefixes) {
    let preparer = log.preparer();
    for _ in 0..rng.below(40) {
        let mut model = prefixes.newest().clone();
        append_random(rng, log, &mut model, GROUPS);
        prefixes.since_acknowledged.push(model);
        if rng.one_in(3) {
            if log.flush().is_err() {
                return;
            }
            prefixes.acknowledge();
            assert_eq!(&observe(log), prefixes.newest(), "readers see what is flushed");
        }
        if rng.one_in(8) && preparer.prepare().is_err() {
            return;
        }
        if rng.one_in(8) && log.mark().is_err() {
            return;
        }
    }
}

/// Orders a fault, most of the time.
fn order_fault(rng: &mut Rng, disk: &FaultyDisk) {
    match rng.below(8) {
        0..3 => disk.power_off_after(rng.below(60)),
        3 => disk.fail_sync_after(rng.below(12)),
        4 => disk.fail_write_after(rng.below(12)),
        5 => disk.short_write_after(rng.below(12)),
        _ => {}
    }
}

fn end_process(rng: &mut Rng, disk: &FaultyDisk) {
    if rng.one_in(4) {
        disk.kill();
    }
    // A disk that has failed serves again only after a restart of the machine.
    disk.crash(rng.next());
}

/// What a crash leaves is no damage to whoever looks, who changes nothing; answers what the next start will cut.
fn inspect(disk: &FaultyDisk, story: &str) -> Option<Cut> {
    let before = disk.files();
    let found = match verify(disk, directory(), &mut |_| {}) {
        Ok(found) => found,
        // A crash before the directory was durable, or before the identity was.
        Err(OpenError::NoLog { .. } | OpenError::Disk(_)) => return None,
        Err(error) => panic!("{story}: {error}"),
    };
    assert_eq!(found.damage, [], "{story}");
    assert!(disk.files() == before, "{story}: somebody who looks has changed something");
    found.cut
}

/// Opens the log, through as many crashes within the recovery as are drawn.
fn recover(rng: &mut Rng, disk: &FaultyDisk, segment_bytes: u64, story: &str) -> Log<FaultyDisk> {
    loop {
        let cut = inspect(disk, story);
        let is_at_peace = !rng.one_in(2);
        if !is_at_peace {
            order_fault(rng, disk);
        }
        match Log::open(disk.clone(), directory(), tiny(segment_bytes)) {
            Ok(log) => {
                assert!(!is_at_peace || log.cut() == cut.as_ref(), "{story}: {:?} was foretold: {cut:?}", log.cut());
                return log;
            }
            Err(OpenError::Disk(_)) => end_process(rng, disk),
            Err(error) => panic!("{story}: {error}"),
        }
    }
}

fn live_and_die(seed: u64) {
    let mut rng = Rng(seed);
    let disk = FaultyDisk::new();
    let segment_bytes = 4_096 << rng.below(3);
    let mut prefixes = Prefixes { since_acknowledged: vec![Model::new()], start: 0 };
    for life in 0..6 {
        let story = format!("seed {seed}, life {life}");
        let mut log = recover(&mut rng, &disk, segment_bytes, &story);
        prefixes.settle(&log, &story);
        order_fault(&mut rng, &disk);
        work(&mut rng, &mut log, &mut prefixes);
        if rng.one_in(3) {
            // The process dies and the machine lives on: what a new process reads may be in the cache only.
            disk.kill();
            if let Ok(log) = Log::open(disk.clone(), directory(), tiny(segment_bytes)) {
                prefixes.settle(&log, &format!("{story}, killed"));
            }
        }
        end_process(&mut rng, &disk);
    }
}

#[test]
fn what_is_acknowledged_survives_any_crash_and_nothing_appears_out_of_order() {
    let seeds = std::env::var("OUTRIGGER_LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1_500);
    (0..seeds).for_each(live_and_die);
}
