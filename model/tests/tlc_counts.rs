//! The model against TLC: a search within bounds must meet exactly the states that TLC meets in raft.tla.
//!
//! A state outside the bounds is generated, but neither counted as distinct nor searched further. The initial state
//! counts as generated and distinct, and its depth is 1. The expected numbers are those of TLC 2.15 without symmetry.

use outrigger_model::explore::{Bounds, Raft, Search, Verdict};

#[track_caller]
fn assert_counts(bounds: [usize; 5], counts: [u64; 3]) {
    let [servers, values, term_max, log_max, messages_max] = bounds;
    let bounds = Bounds { servers, values, term_max, log_max, messages_max };
    let report = Search::new(Raft::new(bounds).expect("bounds in range")).run().expect("it begins within the bounds");
    assert_eq!([report.generated, report.distinct, report.depth], counts);
    assert_eq!(report.covered, report.distinct);
    assert_eq!(report.verdict, Verdict::Exhausted);
}

// Bounds: servers, values, last term, longest log, messages in flight. Counts: generated, distinct, depth.

#[test]
fn an_election_and_an_entry_count_as_in_tlc() {
    assert_counts([2, 1, 2, 1, 1], [12_861, 1_645, 28]);
}

#[test]
fn conflicts_between_leaders_of_two_terms_count_as_in_tlc() {
    assert_counts([2, 1, 3, 2, 1], [367_277, 46_207, 46]);
}

#[test]
fn two_values_count_as_in_tlc() {
    assert_counts([2, 2, 2, 2, 1], [41_173, 5_133, 33]);
}

#[test]
fn two_messages_in_flight_count_as_in_tlc() {
    assert_counts([2, 1, 2, 1, 2], [134_721, 13_479, 32]);
}

#[test]
fn two_values_in_three_terms_count_as_in_tlc() {
    assert_counts([2, 2, 3, 1, 1], [247_049, 30_665, 41]);
}

#[test]
fn longer_logs_and_two_messages_count_as_in_tlc() {
    assert_counts([2, 1, 2, 2, 2], [310_721, 31_283, 43]);
}

#[test]
fn a_single_server_counts_as_in_tlc() {
    assert_counts([1, 3, 4, 3, 3], [909_752, 106_390, 27]);
}

#[test]
fn elections_of_three_servers_count_as_in_tlc() {
    assert_counts([3, 1, 2, 0, 1], [7_680_091, 617_361, 39]);
}

/// Counted by another search, which was written from the text of raft.tla and shares nothing with this one.
#[test]
fn further_bounds_count_as_another_search_counts_them() {
    assert_counts([2, 2, 2, 1, 1], [15_877, 1_989, 28]);
    assert_counts([2, 1, 3, 1, 1], [147_375, 18_575, 41]);
    assert_counts([2, 2, 2, 1, 2], [195_853, 19_217, 32]);
    assert_counts([2, 1, 2, 0, 3], [275_421, 22_381, 28]);
    assert_counts([1, 3, 3, 2, 2], [11_089, 1_799, 18]);
    // Nobody can be elected.
    assert_counts([2, 1, 1, 1, 1], [5, 1, 1]);
}
