//! Some hundred histories, on every run of the tests, and the proof that a seed means one history.

use outrigger_simulation::{History, Report};

/// Lives through some seeds and asks that they were worth it: faults struck, and the clusters served.
fn survive(seeds: std::ops::Range<u64>) {
    let reports: Vec<Report> =
        seeds.map(|seed| History::new(seed).live().unwrap_or_else(|failure| panic!("{failure}"))).collect();
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let seeds = reports.len() as u64;
    assert!(sum(Report::crashes) > seeds * 2, "{} crashes", sum(Report::crashes));
    assert!(sum(|it| it.leaders) > seeds * 2, "{} leaders", sum(|it| it.leaders));
    assert!(sum(|it| it.written) > seeds * 50, "{} writes", sum(|it| it.written));
    assert!(sum(|it| it.read) > seeds * 20, "{} reads", sum(|it| it.read));
    assert!(sum(|it| it.unknown) > seeds, "{} in doubt", sum(|it| it.unknown));
    assert!(reports.iter().all(|it| it.committed >= it.written), "what is acknowledged is committed");
}

#[test]
fn clusters_survive_the_first_hundred_seeds() {
    survive(1..101);
}

#[test]
fn clusters_survive_the_second_hundred_seeds() {
    survive(101..201);
}

/// Whoever was told of a seed lives through the same history with another build, on another machine, and years later. Where what is
/// drawn, or what the engine does, is changed on purpose, these change with it.
#[test]
fn a_seed_is_the_same_history_for_everybody() {
    let digests = [1, 2, 3].map(|seed| History::new(seed).digested().live().unwrap().digest);
    assert_eq!(digests, [13_561_600_335_211_876_444, 8_935_591_210_851_934_593, 12_302_337_193_168_783_025]);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let histories: Vec<Report> = (1..11).map(|seed| History::new(seed).digested().live().unwrap()).collect();
    for first in &histories {
        assert_eq!(History::new(first.seed).digested().live().as_ref(), Ok(first), "the second time");
    }
    let mut digests: Vec<u64> = histories.iter().map(|it| it.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), histories.len(), "two seeds with one history");
}
