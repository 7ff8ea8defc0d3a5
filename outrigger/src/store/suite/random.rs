//! Long random walks through all that can be written, checked all along.

use super::subject::Subject;
use super::{Case, LogIndex};

/// The cases of this file.
pub(super) const CASES: &[Case] = &[
    ("a random walk, one", |subject| walk(subject, 1, 400)),
    ("a random walk, two", |subject| walk(subject, 2, 400)),
    ("a random walk, three", |subject| walk(subject, 3, 400)),
];

/// Takes that many random steps; the same seed takes the same ones.
fn walk(subject: &mut Subject<'_>, seed: u64, steps: u64) {
    let mut random = seed;
    let mut draw = |below: u64| {
        // Knuth's linear congruential generator; its upper bits are random enough to choose steps by.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..steps {
        let (term, last) = (subject.expected().vote.term.0, subject.last().index.0);
        let commit = subject.expected().commit.0;
        let (purged, covered) = (subject.expected().purged.index.0, subject.covered().index.0);
        match draw(18) {
            0 => subject.save_vote(term + 1, None),
            1 => subject.save_vote(term + 1 + draw(3), Some(draw(4))),
            2 => subject.save_peer(draw(4), (1, draw(1000), draw(1000))),
            3 => subject.save_committed(commit + draw(last - commit + 1)),
            4 => subject.truncate(commit + draw(last - commit + 1)),
            5 => subject.append_membership(term, &[draw(5), draw(5)]),
            6 => subject.append_sized(term, 1, usize::try_from(draw(20_000)).expect("a small number")),
            7..=11 => subject.append(term, usize::try_from(1 + draw(4)).expect("a small number")),
            12 => subject.check(),
            13 => subject.reopen(),
            14 if commit > covered && subject.knows_members(commit) => {
                subject.build(commit, &draw(u64::MAX).to_le_bytes());
            }
            14 | 15 if covered > purged => subject.purge(purged + 1 + draw(covered - purged)),
            _ => subject.flush(),
        }
        assert!(subject.expected().commit >= LogIndex(commit), "the walk itself takes nothing back");
    }
}
