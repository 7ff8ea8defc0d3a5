//! Some hundred histories, on every run of the tests, and the proof that a seed means one history.

use outrigger_simulation::{Report, run};

/// Lives through each of these seeds.
fn survive_each(seeds: &[u64]) -> Vec<Report> {
    seeds.iter().map(|seed| run(*seed, false).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

/// Lives through some seeds and asks that they were worth it: faults struck, and the clusters served.
fn survive(seeds: std::ops::Range<u64>) {
    let reports = survive_each(&seeds.collect::<Vec<u64>>());
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

/// On each of these an engine that was broken on purpose was found out: by commits of an older term (2931), logs compared
/// by length (74), a read confirmed by a heartbeat from before it (1816), by answers to another term's heartbeats (12), a
/// doubled proposal that was refused for certain (127), a truncation where nothing differed (226).
#[test]
fn clusters_survive_seeds_that_found_broken_engines() {
    survive_each(&[2931, 74, 1816, 12, 127, 226]);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let histories: Vec<Report> = (1..11).map(|seed| run(seed, false).unwrap()).collect();
    for first in &histories {
        assert_eq!(run(first.seed, false).as_ref(), Ok(first), "the second time");
    }
    let mut digests: Vec<u64> = histories.iter().map(|it| it.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), histories.len(), "two seeds with one history");
}
